// SPDX-License-Identifier: MIT
/*
 * streams, prefixes, windows: three views of what QUERY STREAMS tells.
 */
#include "sinkctl.h"

#include <stdlib.h>

/* ---- streams --------------------------------------------------------------------------------- */

static void put_groups(json_object *record, const struct kvsink_stream_rec *stream)
{
	json_object *ends = json_object_new_array();

	for (unsigned i = 0; i < stream->score_groups && i < KVSINK_MAX_SCORE_GROUPS; i++)
		json_object_array_add(ends, json_object_new_int(stream->group_end[i]));
	sc_put(record, "group_end", ends);
}

static const char *format_name(uint32_t format)
{
	switch (format) {
#define X(name, value, bits, group, minimum, doc)                                                            \
	case value:                                                                                          \
		return #name;
		KVSINK_FORMATS(X)
#undef X
	default:
		return NULL;
	}
}

static void put_flags(json_object *record, uint32_t flags)
{
	static const struct {
		uint32_t flag;
		const char *name;
	} names[] = {{KVSINK_STREAM_PER_HEAD, "PER_HEAD"}, {KVSINK_STREAM_V_IN_K, "V_IN_K"}};
	json_object *list = json_object_new_array();

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (flags & names[i].flag)
			json_object_array_add(list, json_object_new_string(names[i].name));
	sc_put(record, "flags", list);
}

static json_object *stream_record(const struct kvsink_stream_rec *stream)
{
	json_object *record = json_object_new_object();

	sc_put_u64(record, "stream", stream->stream);
	sc_put_u64(record, "tenant", stream->tenant);
	sc_put_u64(record, "length", stream->length);
	sc_put_u64(record, "layers", stream->layers);
	sc_put_u64(record, "q_heads", stream->q_heads);
	sc_put_u64(record, "kv_heads", stream->kv_heads);
	sc_put_u64(record, "d_k", stream->d_k);
	sc_put_u64(record, "d_v", stream->d_v);
	sc_put_text(record, "format", format_name(stream->format));
	sc_put_u64(record, "page_tokens", stream->page_tokens);
	sc_put_u64(record, "max_tokens", stream->max_tokens);
	sc_put_u64(record, "reserved_tokens", stream->reserved_tokens);
	sc_put_u64(record, "entries", stream->entries);
	sc_put_u64(record, "sram_bytes", stream->sram_bytes);
	sc_put_u64(record, "scored", stream->scored);
	sc_put_u64(record, "sealed", stream->sealed);
	sc_put_text(record, "seal_k", stream->seal_k ? format_name(stream->seal_k) : NULL);
	sc_put_text(record, "seal_v", stream->seal_v ? format_name(stream->seal_v) : NULL);
	put_flags(record, stream->flags);
	sc_put(record, "swapped", json_object_new_boolean(stream->swapped));
	sc_put_u64(record, "image_bytes", stream->image_bytes);
	put_groups(record, stream);
	return record;
}

int sc_streams(struct sc_run *run, struct sc_device *device)
{
	json_object *list = sc_list(run, device, "streams");
	struct sc_streams all;
	int error = sc_query_streams(run, device, run->target.stream, &all);

	for (int i = 0; !error && i < all.count; i++)
		json_object_array_add(list, stream_record(sc_stream_at(&all, i)));
	free(all.records);
	return error;
}

/* ---- prefixes -------------------------------------------------------------------------------- */

/* Ids of the records that begin with the prefix. */
static json_object *begin_with(uint64_t prefix, const struct sc_streams *all)
{
	json_object *list = json_object_new_array();

	for (int i = 0; i < all->count; i++)
		if (sc_stream_at(all, i)->prefix == prefix)
			json_object_array_add(list, json_object_new_uint64(sc_stream_at(all, i)->stream));
	return list;
}

static json_object *prefix_record(const struct kvsink_stream_rec *prefix, const struct sc_streams *all)
{
	json_object *record = json_object_new_object();
	char key[33];

	sc_put_u64(record, "prefix", prefix->stream);
	sc_put_u64(record, "tenant", prefix->tenant);
	sc_put_u64(record, "tokens", prefix->length);
	sc_put_u64(record, "begins_with", prefix->prefix);
	sc_put_u64(record, "users", prefix->users);
	sc_put(record, "streams", begin_with(prefix->stream, all));
	sc_put_u64(record, "entries", prefix->entries);
	sc_put_u64(record, "sram_bytes", prefix->sram_bytes);
	snprintf(key, sizeof(key), "%016llx%016llx", (unsigned long long)prefix->key[0],
		 (unsigned long long)prefix->key[1]);
	sc_put_text(record, "key", key);
	return record;
}

int sc_prefixes(struct sc_run *run, struct sc_device *device)
{
	json_object *list = sc_list(run, device, "prefixes");
	struct sc_streams all;
	int error = sc_query_streams(run, device, 0, &all);

	for (int i = 0; !error && i < all.count; i++)
		if (sc_stream_at(&all, i)->closed)
			json_object_array_add(list, prefix_record(sc_stream_at(&all, i), &all));
	free(all.records);
	return error;
}

/* ---- windows --------------------------------------------------------------------------------- */

static json_object *window_record(const struct kvsink_stream_rec *stream, uint64_t now)
{
	uint64_t age = now > stream->window_ns ? now - stream->window_ns : 0;
	json_object *record = json_object_new_object();

	sc_put_u64(record, "stream", stream->stream);
	sc_put_u64(record, "tenant", stream->tenant);
	sc_put_u64(record, "length", stream->length);
	sc_put_u64(record, "rows", stream->window_rows);
	sc_put_u64(record, "max_rows", stream->window);
	sc_put_u64(record, "age_ns", age);
	sc_put_bool(record, "pins", age < KVSINK_MAX_LEASE_NS);
	return record;
}

int sc_windows(struct sc_run *run, struct sc_device *device)
{
	json_object *list = sc_list(run, device, "windows");
	struct sc_streams all;
	int error = sc_query_streams(run, device, run->target.stream, &all);

	for (int i = 0; !error && i < all.count; i++)
		if (sc_stream_at(&all, i)->window)
			json_object_array_add(list, window_record(sc_stream_at(&all, i), sc_now_ns()));
	free(all.records);
	return error;
}
