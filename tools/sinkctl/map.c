// SPDX-License-Identifier: MIT
/* map: by layer, which tokens of a stream have rows in SRAM, from its entries and tails. */
#include "sinkctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct layer {
	uint64_t *heads; /* [length] KV heads of each token that are resident; of entries, then of the tail,
			    too */
	bool *copying;	 /* [length] an entry's copy is under way */
	unsigned entries;
	uint32_t tail_begin, tail_end;
};

struct map {
	struct kvsink_stream_rec stream;
	struct layer layer[KVSINK_MAX_LAYERS];
};

static int allocate(struct map *map)
{
	for (uint32_t l = 0; l < map->stream.layers; l++) {
		map->layer[l].heads = calloc(map->stream.length + 1, sizeof(uint64_t));
		map->layer[l].copying = calloc(map->stream.length + 1, sizeof(bool));
		if (!map->layer[l].heads || !map->layer[l].copying)
			return -ENOMEM;
	}
	return 0;
}

static void release(struct map *map)
{
	for (uint32_t l = 0; l < KVSINK_MAX_LAYERS; l++) {
		free(map->layer[l].heads);
		free(map->layer[l].copying);
	}
	free(map);
}

static void add_entry(struct map *map, struct layer *layer, const struct kvsink_tag_rec *tag)
{
	layer->entries++;
	if (tag->token >= map->stream.length)
		return;
	layer->heads[tag->token] |= tag->head_mask;
	layer->copying[tag->token] |= !(tag->flags & KVSINK_TAG_VALID);
}

/* Its tokens may be newer than the length: a step may be open. */
static void add_tail(struct map *map, struct layer *layer, const struct kvsink_tag_rec *tag)
{
	layer->tail_begin = tag->token;
	layer->tail_end = tag->token + tag->tokens;
	for (uint32_t t = tag->token; t < layer->tail_end && t < map->stream.length; t++)
		layer->heads[t] |= tag->head_mask;
}

static void add_tag(struct map *map, const struct kvsink_tag_rec *tag)
{
	for (uint32_t l = tag->layer_begin; l < tag->layer_end && l < map->stream.layers; l++) {
		if (tag->flags & KVSINK_TAG_TAIL)
			add_tail(map, &map->layer[l], tag);
		else
			add_entry(map, &map->layer[l], tag);
	}
}

/* ---- records ----------------------------------------------------------------------------------- */

static bool in_tail(const struct layer *layer, uint32_t token)
{
	return token >= layer->tail_begin && token < layer->tail_end;
}

static json_object *tokens_of(const struct map *map, const struct layer *layer, bool copying)
{
	json_object *list = json_object_new_array();

	for (uint32_t t = 0; t < map->stream.length; t++)
		if (layer->heads[t] && !in_tail(layer, t) && (!copying || layer->copying[t]))
			json_object_array_add(list, json_object_new_int(t));
	return list;
}

static uint64_t rows_of(const struct map *map, const struct layer *layer)
{
	uint64_t rows = 0;

	for (uint32_t t = 0; t < map->stream.length; t++)
		rows += __builtin_popcountll(layer->heads[t]);
	return rows;
}

static json_object *layer_record(const struct map *map, uint32_t l, uint32_t group)
{
	const struct layer *layer = &map->layer[l];
	const struct kvsink_stream_rec *s = &map->stream;
	json_object *record = json_object_new_object();
	uint64_t rows = rows_of(map, layer);
	bool tail = layer->tail_end > layer->tail_begin;

	sc_put_u64(record, "layer", l);
	sc_put_u64(record, "group", group);
	sc_put_u64(record, "entries", layer->entries);
	sc_put_u64(record, "rows", rows);
	sc_put_u64(record, "bytes", rows * kvsink_row_bytes(s->flags, s->d_k, s->d_v, s->format));
	sc_put(record, "tail_begin", tail ? json_object_new_uint64(layer->tail_begin) : NULL);
	sc_put(record, "tail_end", tail ? json_object_new_uint64(layer->tail_end) : NULL);
	sc_put(record, "tokens", tokens_of(map, layer, false));
	sc_put(record, "copying", tokens_of(map, layer, true));
	return record;
}

static void put_map(struct sc_run *run, struct sc_device *device, const struct map *map)
{
	json_object *list = sc_list(run, device, "layers");
	uint32_t group = 0;

	sc_put_u64(device->record, "stream", map->stream.stream);
	sc_put_u64(device->record, "length", map->stream.length);
	for (uint32_t l = 0; l < map->stream.layers; l++) {
		while (group + 1 < map->stream.score_groups && l >= map->stream.group_end[group])
			group++;
		json_object_array_add(list, layer_record(map, l, group));
	}
}

static int fill(struct sc_run *run, struct sc_device *device, struct map *map)
{
	char *tags = NULL;
	size_t bytes;
	int count;

	if (sc_find_stream(run, device, &map->stream))
		return -1;
	if (allocate(map))
		return sc_error(run, device, -ENOMEM, NULL, "map", NULL);
	count = sc_query(run, device, DRM_KVSINK_QUERY_TAGS, map->stream.stream, 0,
			 sizeof(struct kvsink_tag_rec), &tags, &bytes);
	for (int i = 0; i < count; i++)
		add_tag(map, (void *)(tags + i * bytes));
	free(tags);
	return count < 0 ? count : 0;
}

int sc_map(struct sc_run *run, struct sc_device *device)
{
	struct map *map = calloc(1, sizeof(*map));
	int error;

	sc_list(run, device, "layers");
	if (!map)
		return sc_error(run, device, -ENOMEM, NULL, "map", NULL);
	error = fill(run, device, map);
	if (!error)
		put_map(run, device, map);
	release(map);
	return error;
}
