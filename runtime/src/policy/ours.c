// SPDX-License-Identifier: MIT
/*
 * What 1a, 1b and 1c share: the parameters with which they served most attention of a real model
 * (docs/policies.md says how they were found). They are set once, when the policy is opened; what CONFIG sets
 * later stays.
 *
 * Thresholds follow the SRAM: with room for c tokens a layer beside the tail, a token is worth a place when
 * it gets 1/32 of an equal share of all attention among them, 1/c; when the SRAM is full, replacement
 * decides.
 */
#include <stdlib.h>
#include <string.h>

#include "policy.h"

/*
 * With PLACEMENT and without a tail the newest tokens are placed by their EMA, too: no window hides them, and
 * the EMA must be quick.
 */
#define WINDOW 4u
#define ALPHA 0.9f
#define DWELL 4u
#define ALPHA_NO_TAIL 0.7f
#define DWELL_NO_TAIL 1u

static uint32_t bits_of(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

/* The tail next to a share of the SRAM. */
static uint32_t tail_share(const struct kvs_policy *policy, uint64_t bytes)
{
	uint32_t tokens = kvs_policy_tail_fit(policy, bytes);
	uint64_t below = kvs_policy_tail_bytes(policy, tokens),
		 above = kvs_policy_tail_bytes(policy, tokens + 1);

	return above <= policy->sram_bytes && above - bytes < bytes - below ? tokens + 1 : tokens;
}

uint32_t kvs_policy_half_tail(const struct kvs_policy *policy)
{
	return tail_share(policy, policy->sram_bytes / 2);
}

uint32_t kvs_policy_long_tail(const struct kvs_policy *policy)
{
	return tail_share(policy, (uint64_t)policy->sram_bytes * 2 / 3);
}

/* T_EVICT stays below T_PROMOTE all the time. */
static int set_thresholds(struct kvs_policy *policy)
{
	float token_bytes = (float)kvs_policy_tail_bytes(policy, 1), room = (float)kvs_policy_room(policy);
	float promote = room > 0 ? token_bytes / room / 32 : 1;
	int err = kvs_policy_set(policy, KVSINK_GROUP_ALL, KVSINK_PARAM_T_EVICT, 0);

	err = err ? err : kvs_policy_set(policy, KVSINK_GROUP_ALL, KVSINK_PARAM_T_PROMOTE, bits_of(promote));
	return err ? err
		   : kvs_policy_set(policy, KVSINK_GROUP_ALL, KVSINK_PARAM_T_EVICT, bits_of(promote / 2));
}

int kvs_policy_ours_open(struct kvs_policy *policy)
{
	bool tail = policy->tail_tokens || policy->ops->placement == KVSINK_PLACEMENT_OFF;
	const struct {
		enum kvsink_param param;
		uint32_t value;
	} parameters[] = {
		{KVSINK_PARAM_SCORE_MODE, KVSINK_SCORE_MEAN},
		{KVSINK_PARAM_LOCAL_WINDOW,
		 tail ? WINDOW : 0}, /* EBUSY once scores exist: then it stays as it is */
		{KVSINK_PARAM_ALPHA, bits_of(tail ? ALPHA : ALPHA_NO_TAIL)},
		{KVSINK_PARAM_N_PROMOTE, 1},
		{KVSINK_PARAM_N_EVICT, 1},
		{KVSINK_PARAM_N_DWELL, tail ? DWELL : DWELL_NO_TAIL},
		{KVSINK_PARAM_DELTA, 0},
	};
	int err = 0;

	for (size_t i = 0; !err && i < sizeof(parameters) / sizeof(parameters[0]); i++) {
		err = kvs_policy_set(policy, KVSINK_GROUP_ALL, parameters[i].param, parameters[i].value);
		if (err == -EBUSY && parameters[i].param == KVSINK_PARAM_LOCAL_WINDOW)
			err = 0;
	}
	return err ? err : set_thresholds(policy);
}

/* ---- by score ---- */

/* Patterns of non-negative floats are ordered as the floats are. */
static int by_score(const void *left, const void *right)
{
	const struct kvsink_sink_rec *a = left, *b = right;

	if (a->score != b->score)
		return a->score < b->score ? 1 : -1;
	if (a->group != b->group)
		return a->group < b->group ? -1 : 1;
	return a->token < b->token ? -1 : a->token > b->token;
}

int kvs_policy_pin_best(struct kvs_policy *policy, struct kvsink_sink_rec *sinks, uint32_t count)
{
	struct kvs_places places = {0};
	int err = 0;

	if (count)
		qsort(sinks, count, sizeof(*sinks), by_score);
	for (uint32_t i = 0; !err && i < count; i++) {
		uint32_t begin, end;

		kvs_policy_group(policy, sinks[i].group, &begin, &end);
		err = kvs_places_add(policy, &places, sinks[i].token, begin, end, NULL);
	}
	err = err ? err : kvs_policy_pin(policy, places.place, places.count, NULL);
	kvs_places_free(&places);
	return err < 0 ? err : 0;
}

/* Tokens of prefixes whose score in the group reaches T_PROMOTE, behind the list. */
static int read_group(struct kvs_policy *policy, uint32_t group, struct kvsink_sink_rec *sinks,
		      uint32_t *count)
{
	uint64_t threshold;
	size_t bytes;
	void *records;
	int err = kvs_policy_get(policy, group, KVSINK_PARAM_T_PROMOTE, &threshold), n;

	if (err)
		return err;
	n = kvs_query(policy->device, DRM_KVSINK_QUERY_SCORES, policy->stream.stream, group, &records,
		      &bytes);
	for (int t = 0; t < n && (uint32_t)t < policy->stream.shared; t++) {
		struct kvsink_score_rec rec = {0};

		memcpy(&rec, (char *)records + (size_t)t * bytes, bytes < sizeof(rec) ? bytes : sizeof(rec));
		if (rec.observers && rec.score >= threshold)
			sinks[(*count)++] = (struct kvsink_sink_rec){group, (uint32_t)t, rec.score, 0};
	}
	if (n > 0)
		free(records);
	return n < 0 ? n : 0;
}

int kvs_policy_ours_prefilled(struct kvs_policy *policy)
{
	uint32_t most = policy->stream.shared * policy->stream.score_groups, count = 0;
	struct kvsink_sink_rec *sinks;
	int err = 0;

	if (!most || policy->inherited_count)
		return 0;
	sinks = calloc(most, sizeof(*sinks));
	if (!sinks)
		return kvs_fail(policy->device, -ENOMEM, "policy: out of memory");
	for (uint32_t g = 0; !err && g < policy->stream.score_groups; g++)
		err = read_group(policy, g, sinks, &count);
	err = err ? err : kvs_policy_pin_best(policy, sinks, count);
	free(sinks);
	return err;
}
