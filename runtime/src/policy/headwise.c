// SPDX-License-Identifier: MIT
/*
 * DuoAttention (arXiv 2410.10819) as a placement: streaming heads hold the first four tokens and the tail,
 * full heads hold every token, oldest first, as far as the SRAM goes. Rows outside are read from HBM instead
 * of being dropped.
 *
 * Which heads are full says options.head_masks (kvs_heads_load() reads the published tables); without them
 * the chip's profile: a head that puts half of its attention on sinks is a streaming one, one that was not
 * observed is full.
 */
#include <stdlib.h>
#include <string.h>

#include "policy.h"

#define SINKS 4u
#define STREAMING_SHARE 0.5f /* of a head's attention, on sinks */

struct state {
	uint64_t full[KVSINK_MAX_LAYERS]; /* masks */
	uint32_t next;			  /* token that full heads get next */
	bool exhausted;			  /* the SRAM holds no more */
};

static uint32_t own_tail(const struct kvs_policy *policy)
{
	return kvs_policy_tail_fit(policy, policy->sram_bytes / 2);
}

static void take_profile(struct state *state, const struct kvsink_profile_rec *rec)
{
	float share;

	memcpy(&share, &rec->share, sizeof(share));
	if (rec->queries && share >= STREAMING_SHARE && rec->layer < KVSINK_MAX_LAYERS && rec->head < 64)
		state->full[rec->layer] &= ~(1ull << rec->head);
}

static int read_profile(struct kvs_policy *policy)
{
	struct state *state = policy->state;
	size_t bytes;
	void *records;
	int count = kvs_query(policy->device, DRM_KVSINK_QUERY_PROFILE, policy->stream.stream, 0, &records,
			      &bytes);

	memset(state->full, 0xff, sizeof(state->full));
	for (int i = 0; i < count; i++) {
		struct kvsink_profile_rec rec;

		memcpy(&rec, (char *)records + (size_t)i * bytes, sizeof(rec));
		take_profile(state, &rec);
	}
	free(records);
	return count < 0 ? count : 0;
}

/* Full heads get the tokens that will have left the tail by the next step. */
static int step(struct kvs_policy *policy)
{
	struct state *state = policy->state;
	struct kvs_places places = {0};
	int err = 0;

	for (; !err && !state->exhausted && state->next < policy->stream.length &&
	       !kvs_policy_in_tail(policy, state->next);
	     state->next++)
		err = kvs_places_add(policy, &places, state->next, 0, policy->stream.layers, state->full);
	err = err ? err : kvs_policy_pin(policy, places.place, places.count, NULL);
	state->exhausted |= err >= 0 && (uint32_t)err < places.count;
	kvs_places_free(&places);
	return err < 0 ? err : 0;
}

static int prefilled(struct kvs_policy *policy)
{
	struct state *state = policy->state;
	uint32_t sinks = policy->stream.length < SINKS ? policy->stream.length : SINKS;
	int err = 0;

	if (policy->head_masks)
		memcpy(state->full, policy->head_masks, policy->stream.layers * sizeof(*state->full));
	else
		err = read_profile(policy);
	err = err ? err : kvs_policy_pin_tokens(policy, 0, sinks);
	state->next = sinks;
	return err ? err : step(policy);
}

const struct kvs_policy_ops kvs_policy_headwise = {
	.name = "headwise",
	.about = "full heads hold every token that fits, streaming heads the first 4 and a tail",
	.takes = KVS_TAKES_TAIL | KVS_TAKES_MASKS,
	.state_bytes = sizeof(struct state),
	.own_tail = own_tail,
	.prefilled = prefilled,
	.step = step,
};
