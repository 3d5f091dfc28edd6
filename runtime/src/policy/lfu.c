// SPDX-License-Identifier: MIT
/*
 * Least frequently used. A row enters when it is read, the one that was read least often leaves. Decode reads
 * every row in each step, so the oldest rows have been read most often.
 */
#include "policy.h"

static int layer(struct kvs_policy *policy, uint32_t layer, uint32_t tokens, const float *mass)
{
	double *reads = kvs_rows_keys(policy, policy->state, layer, tokens);

	(void)mass;
	if (!reads)
		return -ENOMEM;
	for (uint32_t t = 0; t < tokens; t++)
		reads[t]++;
	return 0;
}

static int step(struct kvs_policy *policy)
{
	return kvs_rows_place(policy, policy->state);
}

/* Token t was read by the queries of the prompt from t on. */
static int prefilled(struct kvs_policy *policy)
{
	for (uint32_t l = 0; l < policy->stream.layers; l++) {
		double *reads = kvs_rows_keys(policy, policy->state, l, policy->stream.length);

		if (!reads)
			return -ENOMEM;
		for (uint32_t t = 0; t < policy->stream.length; t++)
			reads[t] = policy->stream.length - t;
	}
	return kvs_rows_begin(policy, policy->state);
}

static void close_rows(struct kvs_policy *policy)
{
	kvs_rows_free(policy->state);
}

const struct kvs_policy_ops kvs_policy_lfu = {
	.name = "lfu",
	.about = "rows enter when they are read, the least often read one leaves",
	.takes = KVS_TAKES_TAIL,
	.state_bytes = sizeof(struct kvs_rows),
	.prefilled = prefilled,
	.layer = layer,
	.step = step,
	.close = close_rows,
};
