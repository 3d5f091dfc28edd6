// SPDX-License-Identifier: MIT
/*
 * The stream becomes the policy's: parameters first, then the tail is asked for, and only when it is known to
 * fit do the entries of an earlier policy go. When something fails the parameters become again what they
 * were. What cannot be undone: entries that are gone already (a tail may still fail for want of one piece),
 * the rows of an earlier tail, and an EMA that was running.
 */
#include <stdlib.h>
#include <string.h>

#include "policy.h"

/* What the stream's parameters were. */
struct snapshot {
	uint64_t value[KVSINK_MAX_SCORE_GROUPS][KVSINK_PARAM_COUNT];
};

/* A policy sets neither: one is privileged, and layers have their weights one by one. */
static bool is_kept(unsigned param)
{
	return param != KVSINK_PARAM_TENANT_CAP && param != KVSINK_PARAM_TENANT_TAG &&
	       param != KVSINK_PARAM_LAYER_WEIGHT;
}

static int take_snapshot(struct kvs_policy *policy, struct snapshot *old)
{
	size_t bytes;

	for (uint32_t g = 0; g < policy->stream.score_groups; g++) {
		void *records;
		int count = kvs_query(policy->device, DRM_KVSINK_QUERY_PARAMS, policy->stream.stream, g,
				      &records, &bytes);

		if (count < 0)
			return count;
		for (int i = 0; i < count && i < KVSINK_PARAM_COUNT; i++)
			memcpy(&old->value[g][i], (char *)records + (size_t)i * bytes, sizeof(uint64_t));
		free(records);
		if (count < KVSINK_PARAM_COUNT)
			return kvs_fail(policy->device, -EIO, "policy: the device has %d parameters", count);
	}
	return 0;
}

/* Only what differs: a tail that is set again would be empty. */
static void put_back(struct kvs_policy *policy, const struct snapshot *old, const struct snapshot *now,
		     unsigned param)
{
	for (uint32_t g = 0; g < policy->stream.score_groups; g++) {
		uint64_t value = old->value[g][param];

		if (now->value[g][param] != value && kvs_policy_set(policy, g, param, value) == -EINVAL)
			kvs_policy_set(policy, KVSINK_GROUP_ALL, param, value); /* all groups share it */
	}
}

/* The thresholds never contradict each other, and PLACEMENT comes last. The line about the failure stays. */
static void restore(struct kvs_policy *policy, const struct snapshot *old)
{
	char line[KVS_ERROR_BYTES];
	struct snapshot now;

	memcpy(line, policy->device->error, sizeof(line));
	if (!kvs_policy_set(policy, KVSINK_GROUP_ALL, KVSINK_PARAM_T_EVICT, 0) &&
	    !take_snapshot(policy, &now)) {
		for (unsigned p = 0; p < KVSINK_PARAM_COUNT; p++)
			if (is_kept(p) && p != KVSINK_PARAM_PLACEMENT)
				put_back(policy, old, &now, p);
		put_back(policy, old, &now, KVSINK_PARAM_PLACEMENT);
	}
	memcpy(policy->device->error, line, sizeof(line));
}

/* ---- the tail ---- */

/* SRAM of the stream's entries, without tails. */
static int64_t entry_bytes(struct kvs_policy *policy, uint32_t *count)
{
	int64_t sum = 0;
	size_t bytes;
	void *records;
	int tags =
		kvs_query(policy->device, DRM_KVSINK_QUERY_TAGS, policy->stream.stream, 0, &records, &bytes);

	*count = 0;
	if (tags < 0)
		return tags;
	for (int i = 0; i < tags; i++) {
		struct kvsink_tag_rec tag;

		memcpy(&tag, (char *)records + (size_t)i * bytes, sizeof(tag));
		if (tag.flags & KVSINK_TAG_TAIL)
			continue;
		sum += tag.sram_bytes;
		++*count;
	}
	free(records);
	return sum;
}

static int set_tail(struct kvs_policy *policy, uint32_t tokens)
{
	return kvs_policy_set(policy, KVSINK_GROUP_ALL, KVSINK_PARAM_TAIL_TOKENS, tokens);
}

/*
 * Would the tail fit if the entries were gone? Ask for it while they are there: if it is refused, the chip
 * says how much is left without them.
 */
static int try_tail(struct kvs_policy *policy, uint64_t entries)
{
	struct drm_kvsink_config args = {.stream = policy->stream.stream,
					 .param = KVSINK_PARAM_TAIL_TOKENS,
					 .group = KVSINK_GROUP_ALL,
					 .value = policy->tail_tokens};
	uint64_t wanted = kvs_policy_tail_bytes(policy, policy->tail_tokens);
	int err = kvs_device_call(policy->device, DRM_IOCTL_KVSINK_CONFIG_SET, &args);
	bool limit = args.code == KVSINK_CODE_BUDGET || args.code == KVSINK_CODE_TENANT_CAP;

	if (!err || (err == -ENOSPC && (!limit || wanted <= args.address + entries)))
		return 0;
	if (err != -ENOSPC)
		return set_tail(policy, policy->tail_tokens); /* fails again, with a line */
	return kvs_fail(
		policy->device, err,
		"policy %s: tail_tokens = %u: %s: wanted %llu bytes, left %llu without the stream's entries",
		policy->ops->name, policy->tail_tokens, kvs_code_name(args.code), (unsigned long long)wanted,
		(unsigned long long)(args.address + entries));
}

/* ---- all of it ---- */

static int set_parameters(struct kvs_policy *policy)
{
	int err = kvs_policy_set(policy, KVSINK_GROUP_ALL, KVSINK_PARAM_PLACEMENT, KVSINK_PLACEMENT_OFF);

	if (!err && policy->ops->open)
		err = policy->ops->open(policy);
	err = err ? err
		  : kvs_policy_set(policy, KVSINK_GROUP_ALL, KVSINK_PARAM_COPY_DUE_NS,
				   policy->options.due_ns);
	return err ? err
		   : kvs_policy_set(policy, KVSINK_GROUP_ALL, KVSINK_PARAM_SRAM_BUDGET, policy->sram_bytes);
}

/* Nothing of an earlier policy stays, and the new tail lies at the beginning of what is free. */
static int take_over(struct kvs_policy *policy, uint32_t entries)
{
	const struct drm_kvsink_place all = {KVSINK_TOKEN_ALL, 0, policy->stream.layers, UINT64_MAX};
	int err = entries ? kvs_policy_drop(policy, &all, 1) : 0;

	err = err ? err : set_tail(policy, 0);
	err = err || !policy->tail_tokens ? err : set_tail(policy, policy->tail_tokens);
	policy->tail_from = policy->stream.length;
	if (!err && policy->ops->placement != KVSINK_PLACEMENT_OFF)
		err = kvs_policy_set(policy, KVSINK_GROUP_ALL, KVSINK_PARAM_PLACEMENT,
				     policy->ops->placement);
	return err;
}

int kvs_policy_configure(struct kvs_policy *policy)
{
	struct snapshot old;
	uint32_t entries;
	int64_t bytes = entry_bytes(policy, &entries);
	int err = bytes < 0 ? (int)bytes : take_snapshot(policy, &old);

	if (err)
		return err;
	err = set_parameters(policy);
	if (!err && policy->tail_tokens && entries)
		err = try_tail(policy, (uint64_t)bytes);
	err = err ? err : take_over(policy, entries);
	if (!err && policy->stream.shared)
		err = kvs_policy_inherit_budget(policy);
	if (err)
		restore(policy, &old);
	return err;
}
