// SPDX-License-Identifier: MIT
/*
 * kvs_merge(): sets of tokens that were attended to apart, exactly or with rows left unread, against
 * attention over all of them in binary64. The certificate of the merge must hold, and an empty set must
 * change no bit.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <kvsink.h>

#include "tap.h"

#define D 8
#define TOKENS 300

static uint64_t seed = 88172645463325252ull;

static double uniform(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (double)(seed >> 11) * 0x1p-53;
}

struct problem {
	double logit[TOKENS], v[TOKENS][D];
};

static uint32_t bits(double x)
{
	float f = (float)x;
	uint32_t pattern;

	memcpy(&pattern, &f, sizeof(pattern));
	return pattern;
}

static double value(uint32_t pattern)
{
	float f;

	memcpy(&f, &pattern, sizeof(f));
	return f;
}

static double norm(const double *x)
{
	double sum = 0;

	for (int e = 0; e < D; e++)
		sum += x[e] * x[e];
	return sqrt(sum);
}

/* Attention over [begin, end), V rows of weight below `floor` left out; what a device would say of it. */
static void attend(const struct problem *p, int begin, int end, double floor, float *out,
		   struct drm_kvsink_attend_stat *stat)
{
	double top = -INFINITY, z = 0, unread = 0, longest = 0, o[D] = {0};

	for (int t = begin; t < end; t++) {
		top = fmax(top, p->logit[t]);
		longest = fmax(longest, norm(p->v[t]));
	}
	for (int t = begin; t < end; t++) {
		double w = exp(p->logit[t] - top);

		z += w;
		unread += w < floor ? w : 0;
		for (int e = 0; w >= floor && e < D; e++)
			o[e] += w * p->v[t][e];
	}
	for (int e = 0; e < D; e++)
		out[e] = (float)(o[e] /= z - unread);
	*stat = (struct drm_kvsink_attend_stat){
		.lse = bits(top + log(z)),
		.lse_sram = bits(-INFINITY),
		.lse_hbm = bits(top + log(z - unread)),
		.skipped = bits(unread / z * 1.0001),
		.bound = bits(unread / z * (longest + norm(o)) * 1.0001),
	};
}

static void certificates(double floor)
{
	int violations = 0, wrong = 0;
	double largest = 0;

	for (int i = 0; i < 2000; i++) {
		struct drm_kvsink_attend_stat stat, stat2, whole;
		float out[D], out2[D], exact[D];
		struct problem p;
		double error = 0;
		int cut = 1 + (int)(uniform() * (TOKENS - 2));

		for (int t = 0; t < TOKENS; t++) {
			p.logit[t] = (uniform() - 0.5) * 20;
			for (int e = 0; e < D; e++)
				p.v[t][e] = uniform() - 0.5;
		}
		attend(&p, 0, cut, floor, out, &stat);
		attend(&p, cut, TOKENS, floor, out2, &stat2);
		attend(&p, 0, TOKENS, 0, exact, &whole);
		wrong += kvs_merge(out, &stat, out2, &stat2, D) != 0;
		for (int e = 0; e < D; e++)
			error += ((double)out[e] - exact[e]) * ((double)out[e] - exact[e]);
		error = sqrt(error);
		violations += !(error <= value(stat.bound) + 1e-5);
		wrong += fabs(value(stat.lse) - value(whole.lse)) > 1e-5;
		wrong += value(stat.skipped) < 1 - exp(value(stat.lse_hbm) - value(stat.lse)) - 1e-5;
		if (floor > 0 && error / value(stat.bound) > largest)
			largest = error / value(stat.bound);
	}
	tap_ok(!violations && !wrong, "%s",
	       floor > 0 ? "gated sets: the merged certificate holds, lse and shares are those of both"
			 : "exact sets: the merge is attention over both");
	tap_diag("largest error / bound %.3f", largest);
}

static void empty(void)
{
	struct drm_kvsink_attend_stat none = {
		.lse = bits(-INFINITY), .lse_sram = bits(-INFINITY), .lse_hbm = bits(-INFINITY)};
	struct drm_kvsink_attend_stat some = {.lse = bits(1.5), .bound = bits(0.25)}, stat = none,
				      kept = some;
	float a[2] = {1.25f, -3.0f}, b[2] = {0}, zero[2] = {0};

	tap_ok(!kvs_merge(b, &stat, a, &some, 2) && !memcmp(a, b, sizeof(a)) &&
		       !memcmp(&stat, &some, sizeof(stat)),
	       "an empty set first: the other, bit for bit");
	tap_ok(!kvs_merge(b, &kept, zero, &none, 2) && !memcmp(a, b, sizeof(a)) &&
		       !memcmp(&kept, &some, sizeof(kept)),
	       "an empty set second: the first, bit for bit");
	stat = none;
	tap_ok(!kvs_merge(zero, &stat, zero, &none, 2) && zero[0] == 0 && isinf(value(stat.lse)),
	       "two empty sets are empty");
}

/* An infinite bound marks an output that is not finite, whatever the share of its set. */
static void not_finite(void)
{
	struct drm_kvsink_attend_stat light = {.lse = bits(-900), .bound = bits(INFINITY)},
				      heavy = {.lse = bits(1)}, other = light;
	float a[1] = {NAN}, b[1] = {2}, c[1] = {2};

	tap_ok(!kvs_merge(a, &light, b, &heavy, 1) && isnan(a[0]) && isinf(value(light.bound)),
	       "an output that is not finite: so is the merge, and its bound is infinite");
	a[0] = NAN;
	tap_ok(!kvs_merge(c, &heavy, a, &other, 1) && isnan(c[0]) && isinf(value(heavy.bound)),
	       "the same in the other order");
}

static void bad(void)
{
	struct drm_kvsink_attend_stat good = {.lse = bits(1)}, nan = {.lse = bits(NAN)},
				      inf = {.lse = bits(INFINITY)};
	float a[1] = {1}, b[1] = {2};

	tap_ok(kvs_merge(a, &good, b, &nan, 1) == -EINVAL && kvs_merge(a, &nan, b, &good, 1) == -EINVAL &&
		       kvs_merge(a, &good, b, &inf, 1) == -EINVAL && a[0] == 1,
	       "an lse that is NaN or infinite is refused, nothing changes");
}

int main(void)
{
	certificates(0);
	certificates(0.001);
	certificates(0.05);
	empty();
	not_finite();
	bad();
	return tap_done();
}
