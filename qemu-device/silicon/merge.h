/* SPDX-License-Identifier: MIT */
/* LSE merge inside the datapath, where lse is still binary64. */
#ifndef KVSINK_MERGE_H
#define KVSINK_MERGE_H

struct kvsink_merged {
	double a, b; /* weights of the two outputs; they add up to 1, or are 0 where that side is empty */
	double lse;  /* of both together */
};

struct kvsink_merged kvsink_merge_weights(double lse_a, double lse_b);

#endif
