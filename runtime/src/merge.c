// SPDX-License-Identifier: MIT
/*
 * Merge of attention that was computed over disjoint sets of tokens: streams that share a prefix, devices
 * that hold parts of one context. Exact sets and gated ones alike: the log-sum-exps are of all rows, read or
 * not, so the weights of the sets are exact, and errors add up by them.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "internal.h"

static double value(uint32_t pattern)
{
	float f;

	memcpy(&f, &pattern, sizeof(f));
	return f;
}

/* Not below x: certificates may not shrink by rounding. */
static uint32_t pattern_above(double x)
{
	float f = (float)x;
	uint32_t pattern;

	if ((double)f < x)
		f = nextafterf(f, INFINITY);
	memcpy(&pattern, &f, sizeof(pattern));
	return pattern;
}

static uint32_t pattern_of(double x)
{
	float f = (float)x;
	uint32_t pattern;

	memcpy(&pattern, &f, sizeof(pattern));
	return pattern;
}

/* The mean of two bounds. An infinite one says that its output is not finite, so the merge is not, either. */
static double mean(double w, uint32_t bound, double w2, uint32_t bound2)
{
	double a = value(bound), b = value(bound2);

	return isfinite(a) && isfinite(b) ? (w * a + w2 * b) * (1 + 0x1p-20) : INFINITY;
}

static double log_add(double a, double b)
{
	double top = a > b ? a : b;

	return top == -INFINITY ? top : top + log(exp(a - top) + exp(b - top));
}

KVS_PUBLIC int kvs_merge(float *out, struct drm_kvsink_attend_stat *stat, const float *out2,
			 const struct drm_kvsink_attend_stat *stat2, uint32_t d_v)
{
	double lse = value(stat->lse), lse2 = value(stat2->lse), top = lse > lse2 ? lse : lse2, w, w2;

	if (isnan(lse) || isnan(lse2) || top == INFINITY)
		return -EINVAL;
	if (lse2 == -INFINITY)
		return 0;
	if (lse == -INFINITY) {
		memcpy(out, out2, d_v * sizeof(*out));
		*stat = *stat2;
		return 0;
	}
	w = exp(lse - top);
	w2 = exp(lse2 - top);
	w2 /= w + w2;
	w = 1 - w2;
	for (uint32_t e = 0; e < d_v; e++)
		out[e] = (float)(w * out[e] + w2 * out2[e]);
	stat->lse = pattern_of(log_add(lse, lse2));
	stat->lse_sram = pattern_of(log_add(value(stat->lse_sram), value(stat2->lse_sram)));
	stat->lse_hbm = pattern_of(log_add(value(stat->lse_hbm), value(stat2->lse_hbm)));
	stat->mass_sram = pattern_of(w * value(stat->mass_sram) + w2 * value(stat2->mass_sram));
	stat->skipped = pattern_above(mean(w, stat->skipped, w2, stat2->skipped));
	stat->bound = pattern_above(mean(w, stat->bound, w2, stat2->bound));
	return 0;
}
