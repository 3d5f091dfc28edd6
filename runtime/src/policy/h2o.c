// SPDX-License-Identifier: MIT
/*
 * H2O (arXiv 2306.14048) as a placement: in each layer half of the SRAM holds the newest rows (the tail),
 * half those that have received most attention so far, looked at again after every step. Rows outside are
 * read from HBM instead of being dropped, so the output stays exact and a row may come back.
 *
 * Attention of the prompt: what kvs_policy_layer() was told before kvs_policy_prefilled(), layer by layer; if
 * it was told nothing, the scores of the layer's group.
 */
#include <stdlib.h>
#include <string.h>

#include "policy.h"

struct state {
	struct kvs_rows rows; /* key: attention received */
	bool told;	      /* of some attention */
};

static uint32_t own_tail(const struct kvs_policy *policy)
{
	return kvs_policy_tail_fit(policy, policy->sram_bytes / 2);
}

/* H2O counts every query, near ones too; where scores exist already, the window stays as it is. */
static int open_window(struct kvs_policy *policy)
{
	int err = kvs_policy_set(policy, KVSINK_GROUP_ALL, KVSINK_PARAM_LOCAL_WINDOW, 0);

	return err == -EBUSY ? 0 : err;
}

static int layer(struct kvs_policy *policy, uint32_t layer, uint32_t tokens, const float *mass)
{
	struct state *state = policy->state;
	double *sum = kvs_rows_keys(policy, &state->rows, layer, tokens);

	if (!sum)
		return -ENOMEM;
	state->told = true;
	for (uint32_t h = 0; h < policy->stream.kv_heads; h++)
		for (uint32_t t = 0; t < tokens; t++)
			sum[t] += (double)mass[(size_t)h * tokens + t];
	return 0;
}

/* A group's scores are sums over its layers: each gets its share. */
static int read_group(struct kvs_policy *policy, uint32_t group)
{
	struct state *state = policy->state;
	uint32_t begin, end;
	size_t bytes;
	void *records;
	int count = kvs_query(policy->device, DRM_KVSINK_QUERY_SCORES, policy->stream.stream, group, &records,
			      &bytes);
	int err = count < 0 ? count : 0;

	kvs_policy_group(policy, group, &begin, &end);
	for (uint32_t l = begin; !err && l < end; l++) {
		double *sum = kvs_rows_keys(policy, &state->rows, l, (uint32_t)count);

		for (int i = 0; sum && i < count; i++) {
			uint64_t score;

			memcpy(&score, (char *)records + (size_t)i * bytes, sizeof(score));
			sum[i] = (double)score * 0x1p-32 / (end - begin);
		}
		err = sum ? 0 : -ENOMEM;
	}
	free(records);
	return err;
}

static int step(struct kvs_policy *policy)
{
	struct state *state = policy->state;

	return kvs_rows_place(policy, &state->rows);
}

static int prefilled(struct kvs_policy *policy)
{
	struct state *state = policy->state;
	int err = 0;

	for (uint32_t g = 0; !err && !state->told && g < policy->stream.score_groups; g++)
		err = read_group(policy, g);
	return err ? err : kvs_rows_begin(policy, &state->rows);
}

static void close_rows(struct kvs_policy *policy)
{
	struct state *state = policy->state;

	kvs_rows_free(&state->rows);
}

const struct kvs_policy_ops kvs_policy_h2o = {
	.name = "h2o",
	.about = "by layer: half the rows with most attention so far, half the newest",
	.takes = KVS_TAKES_TAIL,
	.wants_mass = true,
	.state_bytes = sizeof(struct state),
	.own_tail = own_tail,
	.open = open_window,
	.prefilled = prefilled,
	.layer = layer,
	.step = step,
	.close = close_rows,
};
