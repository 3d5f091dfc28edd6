// SPDX-License-Identifier: MIT
/*
 * What policies share: sizes of entries and tails, lists of places, granting and removing them in as many
 * calls as it takes, parameters of the stream.
 */
#include <stdlib.h>
#include <string.h>

#include "policy.h"

/* ---- parameters ---- */

int kvs_policy_get(struct kvs_policy *policy, uint32_t group, enum kvsink_param param, uint64_t *value)
{
	return kvs_config_get(policy->device, policy->stream.stream, group, param, value);
}

int kvs_policy_set(struct kvs_policy *policy, uint32_t group, enum kvsink_param param, uint64_t value)
{
	return kvs_config_set(policy->device, policy->stream.stream, group, param, value);
}

void kvs_policy_group(const struct kvs_policy *policy, uint32_t group, uint32_t *begin, uint32_t *end)
{
	*begin = group ? policy->stream.group_end[group - 1] : 0;
	*end = policy->stream.group_end[group];
}

/* ---- sizes ---- */

static uint64_t round_up(uint64_t bytes)
{
	return (bytes + KVSINK_SRAM_UNIT - 1) / KVSINK_SRAM_UNIT * KVSINK_SRAM_UNIT;
}

static uint64_t rows_bytes(const struct kvs_policy *policy, uint32_t layers, uint64_t heads)
{
	return (uint64_t)layers * (unsigned)__builtin_popcountll(heads) * policy->row_bytes;
}

uint32_t kvs_policy_entry_bytes(const struct kvs_policy *policy, const struct drm_kvsink_place *place)
{
	return (uint32_t)round_up(
		rows_bytes(policy, place->layer_end - place->layer_begin, place->head_mask));
}

uint64_t kvs_policy_tail_bytes(const struct kvs_policy *policy, uint32_t tokens)
{
	uint64_t sum = 0;

	for (uint32_t g = 0; g < policy->stream.score_groups; g++) {
		uint32_t begin, end;
		uint64_t bytes = 0;

		kvs_policy_group(policy, g, &begin, &end);
		for (uint32_t l = begin; l < end; l++)
			bytes += rows_bytes(policy, 1, policy->heads[l]);
		sum += round_up(bytes * tokens);
	}
	return sum;
}

uint32_t kvs_policy_tail_fit(const struct kvs_policy *policy, uint64_t bytes)
{
	uint32_t low = 0, high = policy->stream.max_tokens;

	high = high < KVSINK_MAX_TAIL_TOKENS ? high : KVSINK_MAX_TAIL_TOKENS;
	while (low < high) {
		uint32_t middle = high - (high - low) / 2;

		if (kvs_policy_tail_bytes(policy, middle) <= bytes)
			low = middle;
		else
			high = middle - 1;
	}
	return low;
}

uint32_t kvs_policy_room(const struct kvs_policy *policy)
{
	return policy->sram_bytes - (uint32_t)kvs_policy_tail_bytes(policy, policy->tail_tokens);
}

bool kvs_policy_in_tail(const struct kvs_policy *policy, uint32_t token)
{
	return token >= policy->tail_from && token + policy->tail_tokens > policy->stream.length;
}

/* ---- lists of places ---- */

int kvs_places_add_place(struct kvs_policy *policy, struct kvs_places *places,
			 const struct drm_kvsink_place *place)
{
	if (places->count == places->room) {
		uint32_t room = places->room ? 2 * places->room : 64;
		struct drm_kvsink_place *more = realloc(places->place, room * sizeof(*more));

		if (!more)
			return kvs_fail(policy->device, -ENOMEM, "policy: out of memory");
		places->place = more;
		places->room = room;
	}
	places->place[places->count++] = *place;
	return 0;
}

static uint64_t mask_of(const struct kvs_policy *policy, const uint64_t *heads, uint32_t layer)
{
	return policy->heads[layer] & (heads ? heads[layer] : UINT64_MAX);
}

int kvs_places_add(struct kvs_policy *policy, struct kvs_places *places, uint32_t token, uint32_t begin,
		   uint32_t end, const uint64_t *heads)
{
	int err = 0;

	for (uint32_t l = begin, run; !err && l < end; l = run) {
		struct drm_kvsink_place place = {token, (uint16_t)l, 0, mask_of(policy, heads, l)};

		run = l + 1;
		while (run < end && mask_of(policy, heads, run) == place.head_mask)
			run++;
		place.layer_end = (uint16_t)run;
		if (place.head_mask)
			err = kvs_places_add_place(policy, places, &place);
	}
	return err;
}

int kvs_places_add_token(struct kvs_policy *policy, struct kvs_places *places, uint32_t token)
{
	return kvs_places_add(policy, places, token, 0, policy->stream.layers, NULL);
}

void kvs_places_free(struct kvs_places *places)
{
	free(places->place);
	memset(places, 0, sizeof(*places));
}

/* ---- granting ---- */

/* The next places that are smaller than `limit`, as many as one call takes; `next` moves behind them. */
static unsigned gather(const struct kvs_policy *policy, const struct drm_kvsink_place *places, uint32_t count,
		       uint32_t limit, uint32_t *next, struct drm_kvsink_place *chunk, uint32_t *index)
{
	unsigned n = 0;

	for (; *next < count && n < DRM_KVSINK_MAX_ITEMS; ++*next)
		if (kvs_policy_entry_bytes(policy, &places[*next]) < limit) {
			index[n] = *next;
			chunk[n++] = places[*next];
		}
	return n;
}

int kvs_policy_pin_on(struct kvs_policy *policy, uint64_t stream, const struct drm_kvsink_place *places,
		      uint32_t count, const struct kvs_contract *contract)
{
	struct drm_kvsink_place chunk[DRM_KVSINK_MAX_ITEMS];
	struct kvs_contract terms = {.size = sizeof(terms), .due_ns = policy->options.due_ns};
	uint32_t index[DRM_KVSINK_MAX_ITEMS], next = 0, limit = UINT32_MAX;
	struct kvs_grant grant;
	int granted = 0;

	if (contract)
		terms = *contract;
	terms.partial = true;
	for (;;) {
		unsigned n = gather(policy, places, count, limit, &next, chunk, index);
		int err = n ? kvs_promote(policy->device, stream, chunk, n, &terms, &grant) : 0;

		if (err || !n)
			return err ? err : granted;
		granted += (int)grant.granted;
		if (grant.granted >= n)
			continue;
		if (grant.code == KVSINK_CODE_TAGS)
			return granted;
		limit = kvs_policy_entry_bytes(policy, &chunk[grant.granted]);
		next = index[grant.granted] + 1;
	}
}

int kvs_policy_pin(struct kvs_policy *policy, const struct drm_kvsink_place *places, uint32_t count,
		   const struct kvs_contract *contract)
{
	return policy->stream.shared
		       ? kvs_policy_pin_shared(policy, places, count, contract)
		       : kvs_policy_pin_on(policy, policy->stream.stream, places, count, contract);
}

int kvs_policy_drop(struct kvs_policy *policy, const struct drm_kvsink_place *places, uint32_t count)
{
	for (uint32_t i = 0; i < count; i += DRM_KVSINK_MAX_ITEMS) {
		uint32_t n = count - i < DRM_KVSINK_MAX_ITEMS ? count - i : DRM_KVSINK_MAX_ITEMS;
		int removed = kvs_evict(policy->device, policy->stream.stream, places + i, n);

		if (removed < 0 && removed != -ENOENT)
			return removed;
	}
	return 0;
}

int kvs_policy_pin_tokens(struct kvs_policy *policy, uint32_t begin, uint32_t end)
{
	struct kvs_places places = {0};
	int err = 0;

	for (uint32_t t = begin; !err && t < end; t++)
		err = kvs_places_add_token(policy, &places, t);
	err = err ? err : kvs_policy_pin(policy, places.place, places.count, NULL);
	kvs_places_free(&places);
	return err < 0 ? err : 0;
}
