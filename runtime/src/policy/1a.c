// SPDX-License-Identifier: MIT
/*
 * Embodiment 1A: after the prompt, tokens whose score reaches T_SINK are promoted for the layers of their
 * group, best score first, as many as fit. Decode does no placement work at all (PLACEMENT is OFF).
 *
 * Scores of groups compare directly: MEAN is attention per row, so the same SRAM always holds the best rows.
 * Without options.t_sink the threshold is T_EVICT: what an entry needs at least to stay one.
 */
#include <stdlib.h>
#include <string.h>

#include "policy.h"

struct list {
	struct kvsink_sink_rec *sink; /* [count] */
	uint32_t count;
};

static int set_threshold(struct kvs_policy *policy)
{
	int err = kvs_policy_ours_open(policy);
	uint32_t bits;

	memcpy(&bits, &policy->options.t_sink, sizeof(bits));
	if (bits)
		return err ? err : kvs_policy_set(policy, KVSINK_GROUP_ALL, KVSINK_PARAM_T_SINK, bits);
	for (uint32_t g = 0; !err && g < policy->stream.score_groups; g++) {
		uint64_t threshold;

		err = kvs_policy_get(policy, g, KVSINK_PARAM_T_EVICT, &threshold);
		err = err ? err : kvs_policy_set(policy, g, KVSINK_PARAM_T_SINK, threshold);
	}
	return err;
}

static int read_group(struct kvs_policy *policy, uint32_t group, struct list *list)
{
	struct kvsink_sink_rec *more;
	size_t bytes;
	void *records;
	int count = kvs_query(policy->device, DRM_KVSINK_QUERY_SINKS, policy->stream.stream, group, &records,
			      &bytes);

	if (count <= 0)
		return count;
	more = realloc(list->sink, (list->count + (uint32_t)count) * sizeof(*more));
	if (!more) {
		free(records);
		return kvs_fail(policy->device, -ENOMEM, "policy: out of memory");
	}
	list->sink = more;
	for (int i = 0; i < count; i++)
		memcpy(&list->sink[list->count++], (char *)records + (size_t)i * bytes, sizeof(*more));
	free(records);
	return 0;
}

static int prefilled(struct kvs_policy *policy)
{
	struct list list = {0};
	int err = 0;

	for (uint32_t g = 0; !err && g < policy->stream.score_groups; g++)
		err = read_group(policy, g, &list);
	err = err ? err : kvs_policy_pin_best(policy, list.sink, list.count);
	free(list.sink);
	return err;
}

const struct kvs_policy_ops kvs_policy_1a = {
	.name = "1a",
	.about = "tokens whose score of the prompt reaches T_SINK, by group of layers, and a tail",
	.takes = KVS_TAKES_TAIL | KVS_TAKES_T_SINK,
	.needs_scores = true,
	.own_tail = kvs_policy_long_tail,
	.open = set_threshold,
	.prefilled = prefilled,
};
