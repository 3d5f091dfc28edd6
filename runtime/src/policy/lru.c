// SPDX-License-Identifier: MIT
/*
 * Least recently used. A row enters when it is read, the one whose last read is longest ago leaves. Decode
 * reads every row of a layer in each step, oldest first, so after a step the newest rows are left. (A cache
 * in the read path itself would have dropped each of them again before the next scan came to it: it would
 * serve nothing.)
 */
#include "policy.h"

/* Key of a row: when it was read last, scans before tokens. */
static double read_at(uint32_t scan, uint32_t token)
{
	return (double)scan * KVSINK_MAX_TOKENS + token;
}

static int read_rows(struct kvs_policy *policy, uint32_t layer, uint32_t tokens, uint32_t scan)
{
	double *key = kvs_rows_keys(policy, policy->state, layer, tokens);

	if (!key)
		return -ENOMEM;
	for (uint32_t t = 0; t < tokens; t++)
		key[t] = read_at(scan, t);
	return 0;
}

/* A query stands at token scan - 1 and has read [0, scan): its scan is the scan-th one. */
static int layer(struct kvs_policy *policy, uint32_t layer, uint32_t tokens, const float *mass)
{
	(void)mass;
	return read_rows(policy, layer, tokens, tokens);
}

static int step(struct kvs_policy *policy)
{
	return kvs_rows_place(policy, policy->state);
}

static int prefilled(struct kvs_policy *policy)
{
	int err = 0;

	for (uint32_t l = 0; !err && l < policy->stream.layers; l++)
		err = read_rows(policy, l, policy->stream.length, policy->stream.length);
	return err ? err : kvs_rows_begin(policy, policy->state);
}

static void close_rows(struct kvs_policy *policy)
{
	kvs_rows_free(policy->state);
}

const struct kvs_policy_ops kvs_policy_lru = {
	.name = "lru",
	.about = "rows enter when they are read, the least recently read one leaves",
	.takes = KVS_TAKES_TAIL,
	.state_bytes = sizeof(struct kvs_rows),
	.prefilled = prefilled,
	.layer = layer,
	.step = step,
	.close = close_rows,
};
