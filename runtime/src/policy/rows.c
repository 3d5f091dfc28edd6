// SPDX-License-Identifier: MIT
/*
 * Caches of rows: each layer keeps, of the tokens outside the tail, those with the largest keys; ties go to
 * the lower token. All layers keep equally many, as many as the SRAM that the tail leaves can hold. An entry
 * is one token in one layer. What is resident is asked of the device, so whatever removed an entry is made
 * good.
 */
#include <stdlib.h>
#include <string.h>

#include "policy.h"

double *kvs_rows_keys(struct kvs_policy *policy, struct kvs_rows *rows, uint32_t layer, uint32_t tokens)
{
	uint32_t room = rows->room[layer];

	if (tokens > room || !rows->key[layer]) { /* also of no token: NULL means that memory ran out */
		double *keys;

		room = tokens + 256;
		keys = realloc(rows->key[layer], room * sizeof(*keys));
		if (!keys) {
			kvs_fail(policy->device, -ENOMEM, "policy: out of memory");
			return NULL;
		}
		memset(keys + rows->room[layer], 0, (room - rows->room[layer]) * sizeof(*keys));
		rows->key[layer] = keys;
		rows->room[layer] = room;
	}
	return rows->key[layer];
}

void kvs_rows_free(struct kvs_rows *rows)
{
	for (uint32_t l = 0; l < KVSINK_MAX_LAYERS; l++)
		free(rows->key[l]);
	memset(rows, 0, sizeof(*rows));
}

/* The best tokens so far: a heap with the worst of them on top. */
struct best {
	const double *key;
	uint32_t *token; /* [room], count used */
	uint32_t count, room;
};

static bool worse(const struct best *best, uint32_t a, uint32_t b)
{
	return best->key[a] != best->key[b] ? best->key[a] < best->key[b] : a > b;
}

static void swap(uint32_t *a, uint32_t *b)
{
	uint32_t c = *a;

	*a = *b;
	*b = c;
}

static void sift_up(struct best *best, uint32_t i)
{
	for (; i && worse(best, best->token[i], best->token[(i - 1) / 2]); i = (i - 1) / 2)
		swap(&best->token[i], &best->token[(i - 1) / 2]);
}

static void sift_down(struct best *best, uint32_t i)
{
	for (;;) {
		uint32_t child = 2 * i + 1;

		if (child + 1 < best->count && worse(best, best->token[child + 1], best->token[child]))
			child++;
		if (child >= best->count || !worse(best, best->token[child], best->token[i]))
			return;
		swap(&best->token[i], &best->token[child]);
		i = child;
	}
}

static void offer(struct best *best, uint32_t token)
{
	if (best->count < best->room) {
		best->token[best->count] = token;
		sift_up(best, best->count++);
	} else if (best->room && worse(best, best->token[0], token)) {
		best->token[0] = token;
		sift_down(best, 0);
	}
}

/* What is resident, [layer][token]: 1, and 2 where it shall be. */
struct map {
	uint8_t *cell;
	uint32_t first, tokens; /* those before the first are not looked at */
};

#define RESIDENT 1u
#define WANTED 2u

static int read_residents(struct kvs_policy *policy, struct map *map)
{
	size_t bytes;
	void *records;
	int count =
		kvs_query(policy->device, DRM_KVSINK_QUERY_TAGS, policy->stream.stream, 0, &records, &bytes);

	for (int i = 0; i < count; i++) {
		struct kvsink_tag_rec tag;

		memcpy(&tag, (char *)records + (size_t)i * bytes, sizeof(tag));
		for (uint32_t l = tag.layer_begin; l < tag.layer_end && !(tag.flags & KVSINK_TAG_TAIL); l++)
			if (tag.token < map->tokens && l < policy->stream.layers)
				map->cell[(size_t)l * map->tokens + tag.token] |= RESIDENT;
	}
	free(records);
	return count < 0 ? count : 0;
}

/* Tokens that each layer may keep in so many bytes. */
static uint32_t capacity(const struct kvs_policy *policy, uint32_t room)
{
	uint64_t bytes = 0;

	for (uint32_t l = 0; l < policy->stream.layers; l++) {
		const struct drm_kvsink_place place = {0, (uint16_t)l, (uint16_t)(l + 1), policy->heads[l]};

		bytes += kvs_policy_entry_bytes(policy, &place);
	}
	return bytes ? (uint32_t)(room / bytes) : 0;
}

static int choose(struct kvs_policy *policy, struct kvs_rows *rows, uint32_t layer, struct map *map,
		  uint32_t *tokens, uint32_t room)
{
	struct best best = {
		.key = kvs_rows_keys(policy, rows, layer, map->tokens), .token = tokens, .room = room};

	if (!best.key)
		return -ENOMEM;
	for (uint32_t t = map->first; t < map->tokens; t++)
		if (!kvs_policy_in_tail(policy, t))
			offer(&best, t);
	for (uint32_t i = 0; i < best.count; i++)
		map->cell[(size_t)layer * map->tokens + tokens[i]] |= WANTED;
	return 0;
}

/* Places of the cells that are `what`. */
static int collect(struct kvs_policy *policy, const struct map *map, uint8_t what, struct kvs_places *places)
{
	int err = 0;

	for (uint32_t l = 0; l < policy->stream.layers; l++)
		for (uint32_t t = 0; !err && t < map->tokens; t++)
			if (map->cell[(size_t)l * map->tokens + t] == what)
				err = kvs_places_add(policy, places, t, l, l + 1, NULL);
	return err;
}

static int replace(struct kvs_policy *policy, const struct map *map)
{
	struct kvs_places out = {0}, in = {0};
	int err = collect(policy, map, RESIDENT, &out);

	err = err ? err : collect(policy, map, WANTED, &in);
	err = err ? err : kvs_policy_drop(policy, out.place, out.count);
	err = err ? err : kvs_policy_pin(policy, in.place, in.count, NULL);
	kvs_places_free(&out);
	kvs_places_free(&in);
	return err < 0 ? err : 0;
}

/* Rows from token `first` on, in so many bytes. */
static int place(struct kvs_policy *policy, struct kvs_rows *rows, uint32_t first, uint32_t bytes)
{
	struct map map = {.first = first, .tokens = policy->stream.length};
	uint32_t room = capacity(policy, bytes), *tokens;
	int err;

	if (!map.tokens)
		return 0;
	room = room < map.tokens ? room : map.tokens;
	map.cell = calloc(policy->stream.layers, map.tokens);
	tokens = calloc(room ? room : 1, sizeof(*tokens));
	err = map.cell && tokens ? read_residents(policy, &map)
				 : kvs_fail(policy->device, -ENOMEM, "policy: out of memory");
	for (uint32_t l = 0; !err && l < policy->stream.layers; l++)
		err = choose(policy, rows, l, &map, tokens, room);
	err = err ? err : replace(policy, &map);
	free(tokens);
	free(map.cell);
	return err;
}

int kvs_rows_begin(struct kvs_policy *policy, struct kvs_rows *rows)
{
	return place(policy, rows, 0, kvs_policy_room(policy));
}

int kvs_rows_place(struct kvs_policy *policy, struct kvs_rows *rows)
{
	uint32_t room = kvs_policy_room(policy), taken = policy->inherited_bytes;

	return place(policy, rows, policy->stream.shared, taken < room ? room - taken : 0);
}
