// SPDX-License-Identifier: MIT
/*
 * Embodiment 1B: the chip observes (EMA and comparator, PLACEMENT is OBSERVE), software decides. After every
 * step it carries out what QUERY VERDICTS lists, in that order, with the contract and the deadline of
 * copies that the chip would give: so its placements are those of 1C.
 */
#include <stdlib.h>
#include <string.h>

#include "policy.h"

static int read_contract(struct kvs_policy *policy, struct kvs_contract *contract)
{
	uint64_t dwell, priority, due_ns;
	int err = kvs_policy_get(policy, KVSINK_GROUP_ALL, KVSINK_PARAM_N_DWELL, &dwell);

	err = err ? err : kvs_policy_get(policy, KVSINK_GROUP_ALL, KVSINK_PARAM_PRIORITY, &priority);
	err = err ? err : kvs_policy_get(policy, KVSINK_GROUP_ALL, KVSINK_PARAM_COPY_DUE_NS, &due_ns);
	if (!err)
		*contract = (struct kvs_contract){.size = sizeof(*contract),
						  .dwell_steps = (uint32_t)dwell,
						  .priority = (uint32_t)priority,
						  .due_ns = due_ns};
	return err;
}

static int execute(struct kvs_policy *policy, uint32_t verdict, const struct kvs_places *places,
		   const struct kvs_contract *contract)
{
	int err = verdict == KVSINK_VERDICT_EVICT
			  ? kvs_policy_drop(policy, places->place, places->count)
			  : kvs_policy_pin(policy, places->place, places->count, contract);

	return err < 0 ? err : 0;
}

/* A device of another version may have shorter records: places without heads are refused then. */
static struct kvsink_verdict_rec verdict_at(const void *records, size_t bytes, int i)
{
	struct kvsink_verdict_rec rec = {0};

	memcpy(&rec, (const char *)records + (size_t)i * bytes, bytes < sizeof(rec) ? bytes : sizeof(rec));
	return rec;
}

/* Neighbours with the same verdict go in one call: a list is granted item by item in its order. */
static int execute_all(struct kvs_policy *policy, const void *records, size_t bytes, int count,
		       const struct kvs_contract *contract)
{
	struct kvs_places places = {0};
	int err = 0;

	for (int i = 0; !err && i < count; i++) {
		struct kvsink_verdict_rec rec = verdict_at(records, bytes, i);
		struct drm_kvsink_place place = {rec.token, rec.layer_begin, rec.layer_end, rec.head_mask};

		err = kvs_places_add_place(policy, &places, &place);
		if (err || (i + 1 < count && verdict_at(records, bytes, i + 1).verdict == rec.verdict))
			continue;
		err = execute(policy, rec.verdict, &places, contract);
		places.count = 0;
	}
	kvs_places_free(&places);
	return err;
}

static int step(struct kvs_policy *policy)
{
	struct kvs_contract contract;
	size_t bytes;
	void *records;
	int count = kvs_query(policy->device, DRM_KVSINK_QUERY_VERDICTS, policy->stream.stream, 0, &records,
			      &bytes);
	int err = count < 0 ? count : 0;

	if (count > 0)
		err = read_contract(policy, &contract);
	if (count > 0 && !err)
		err = execute_all(policy, records, bytes, count, &contract);
	free(records);
	return err;
}

const struct kvs_policy_ops kvs_policy_1b = {
	.name = "1b",
	.about = "the chip's EMA and comparator, carried out by software after each step, and a tail",
	.takes = KVS_TAKES_TAIL,
	.placement = KVSINK_PLACEMENT_OBSERVE,
	.own_tail = kvs_policy_half_tail,
	.open = kvs_policy_ours_open,
	.prefilled = kvs_policy_ours_prefilled,
	.step = step,
};
