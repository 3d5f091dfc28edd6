/* SPDX-License-Identifier: MIT */
/*
 * LSE merge: combines the partial softmax states (O, lse) of two disjoint sets of tokens.
 *
 * An empty set has lse = -inf and weight 0: the other state passes through bit for bit. Formulas: the
 * project's notes on the mathematics, section 2; natural logarithm.
 */
#include "fp.h"

#include "datapath.h"
#include "merge.h"

struct kvsink_merged kvsink_merge_weights(double lse_a, double lse_b)
{
	double top = lse_a > lse_b ? lse_a : lse_b;
	double a, b;

	if (lse_b == -INFINITY)
		return (struct kvsink_merged){.a = lse_a == -INFINITY ? 0.0 : 1.0, .b = 0.0, .lse = lse_a};
	if (lse_a == -INFINITY)
		return (struct kvsink_merged){.a = 0.0, .b = 1.0, .lse = lse_b};
	a = kvsink_exp64(lse_a - top);
	b = kvsink_exp64(lse_b - top);
	return (struct kvsink_merged){.a = a / (a + b), .b = b / (a + b), .lse = top + kvsink_log64(a + b)};
}

void kvsink_merge(float *o, float *lse, const float *o2, float lse2, unsigned n)
{
	struct kvsink_merged m = kvsink_merge_weights(*lse, lse2);
	unsigned i;

	if (*lse == -INFINITY && lse2 == -INFINITY) {
		memset(o, 0, n * sizeof(*o));
	} else if (*lse == -INFINITY) {
		memcpy(o, o2, n * sizeof(*o));
		*lse = lse2;
	} else if (lse2 != -INFINITY) {
		for (i = 0; i < n; i++)
			o[i] = kvsink_f32_canonical((float)(m.a * o[i] + m.b * o2[i]));
		*lse = kvsink_f32_canonical((float)m.lse);
	}
}
