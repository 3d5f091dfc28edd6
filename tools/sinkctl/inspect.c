// SPDX-License-Identifier: MIT
/*
 * tags, contracts, streams, prefixes, windows, counters: what the device says about the caller's streams, or
 * all for administrators. And the queries that the other commands share.
 */
#include "sinkctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const struct {
	const char *name, *unit, *doc;
} counter_rows[KVSINK_COUNTER_COUNT] = {
#define X(name, unit, doc) {#name, unit, doc},
	KVSINK_COUNTERS(X)
#undef X
};

/* ---- what commands share --------------------------------------------------------------------- */

int sc_query(struct sc_run *run, struct sc_device *device, uint32_t type, uint64_t stream, uint32_t group,
	     size_t expected, char **records, size_t *bytes)
{
	int count = kvs_query(device->kvs, type, stream, group, (void **)records, bytes);

	if (count < 0)
		return sc_error(run, device, count, NULL, run->command->name, NULL);
	if (count && *bytes < expected) {
		free(*records);
		*records = NULL;
		return sc_error(run, device, -EPROTO, NULL, run->command->name,
				"the device's records are older than this tool");
	}
	return count;
}

int sc_find_stream(struct sc_run *run, struct sc_device *device, struct kvsink_stream_rec *stream)
{
	char *records = NULL;
	size_t bytes;
	int count = sc_query(run, device, DRM_KVSINK_QUERY_STREAMS, run->target.stream, 0, sizeof(*stream),
			     &records, &bytes);

	if (count > 0)
		memcpy(stream, records, sizeof(*stream));
	free(records);
	if (!count)
		return sc_error(run, device, -ENOENT, kvs_code_name(KVSINK_CODE_BAD_STREAM),
				run->command->name, "no such stream of yours");
	return count < 0 ? count : 0;
}

int sc_check_past(struct sc_run *run, struct sc_device *device, uint32_t records)
{
	struct kvsink_stream_rec stream;

	return run->target.stream && !records && sc_find_stream(run, device, &stream) ? -1 : 0;
}

void sc_group_layers(const struct kvsink_stream_rec *stream, uint32_t group, uint32_t *begin, uint32_t *end)
{
	*begin = group ? stream->group_end[group - 1] : 0;
	*end = stream->group_end[group];
}

int sc_check_group(struct sc_run *run, const struct kvsink_stream_rec *stream)
{
	if (run->group == KVSINK_GROUP_ALL || run->group < stream->score_groups)
		return 0;
	return sc_usage(run, "--group '%u': stream %llu has score groups 0 to %u", run->group,
			(unsigned long long)stream->stream, stream->score_groups - 1);
}

/* ---- tags ------------------------------------------------------------------------------------ */

static const char *tag_kind(const struct kvsink_tag_rec *tag)
{
	return tag->flags & KVSINK_TAG_TAIL ? "tail" : tag->flags & KVSINK_TAG_AUTO ? "auto" : "entry";
}

void sc_put_tag(json_object *record, const struct kvsink_tag_rec *tag, bool admin)
{
	bool tail = tag->flags & KVSINK_TAG_TAIL;

	sc_put_u64(record, "stream", tag->stream);
	sc_put_u64(record, "tenant", tag->tenant);
	sc_put_u64(record, "token", tag->token);
	sc_put_u64(record, "layer_begin", tag->layer_begin);
	sc_put_u64(record, "layer_end", tag->layer_end);
	sc_put_heads(record, "heads", tag->head_mask);
	sc_put_hex(record, "head_mask_hex", tag->head_mask, 64);
	sc_put_text(record, "state", tag->flags & KVSINK_TAG_VALID ? "valid" : "copying");
	sc_put_u64(record, "sram_bytes", tag->sram_bytes);
	/* Others are told 0, which would look like an address. */
	sc_put(record, "sram_offset", admin ? json_object_new_uint64(tag->sram_offset) : NULL);
	sc_put_u64(record, "generation", tag->generation);
	sc_put_u64(record, "row_bytes", tag->row_bytes);
	sc_put_text(record, "kind", tag_kind(tag));
	sc_put_u64(record, "tokens", tag->tokens);
	sc_put_bool(record, "contract", tag->flags & KVSINK_TAG_CONTRACT);
	sc_put_u64(record, "age_steps", tag->age_steps);
	sc_put(record, "ema", tail ? NULL : sc_float(tag->ema));
}

int sc_tags(struct sc_run *run, struct sc_device *device)
{
	json_object *list = sc_list(run, device, "tags"), *record;
	bool admin = sc_is_admin(device);
	size_t bytes;
	char *tags = NULL;
	int count = sc_query(run, device, DRM_KVSINK_QUERY_TAGS, run->target.stream, 0,
			     sizeof(struct kvsink_tag_rec), &tags, &bytes);

	if (count < 0)
		return count;
	for (int i = 0; i < count; i++) {
		record = json_object_new_object();
		sc_put_tag(record, (struct kvsink_tag_rec *)(tags + i * bytes), admin);
		json_object_array_add(list, record);
	}
	free(tags);
	return 0;
}

/* ---- contracts ------------------------------------------------------------------------------- */

/* null where the contract does not count steps: 0 left would mean that it is over. */
static void put_dwell(json_object *record, const struct kvsink_tag_rec *tag)
{
	uint32_t left = tag->dwell_steps > tag->age_steps ? tag->dwell_steps - tag->age_steps : 0;

	sc_put(record, "dwell_steps", tag->dwell_steps ? json_object_new_uint64(tag->dwell_steps) : NULL);
	sc_put(record, "dwell_left", tag->dwell_steps ? json_object_new_uint64(left) : NULL);
}

static void put_deadline(json_object *record, uint64_t deadline_ns, uint64_t now)
{
	uint64_t left = deadline_ns > now ? deadline_ns - now : 0;

	sc_put(record, "deadline_ns", deadline_ns ? json_object_new_uint64(deadline_ns) : NULL);
	sc_put(record, "deadline_left_ns", deadline_ns ? json_object_new_uint64(left) : NULL);
}

static json_object *contract_record(const struct kvsink_tag_rec *tag, uint64_t now)
{
	json_object *record = json_object_new_object();

	sc_put_u64(record, "stream", tag->stream);
	sc_put_u64(record, "tenant", tag->tenant);
	sc_put_u64(record, "token", tag->token);
	sc_put_u64(record, "tokens", tag->tokens);
	sc_put_u64(record, "layer_begin", tag->layer_begin);
	sc_put_u64(record, "layer_end", tag->layer_end);
	sc_put_heads(record, "heads", tag->head_mask);
	sc_put_text(record, "kind", tag_kind(tag));
	sc_put_u64(record, "sram_bytes", tag->sram_bytes);
	put_dwell(record, tag);
	put_deadline(record, tag->deadline_ns, now);
	sc_put_u64(record, "priority", tag->priority);
	sc_put_u64(record, "generation", tag->generation);
	return record;
}

static uint64_t monotonic_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int sc_contracts(struct sc_run *run, struct sc_device *device)
{
	json_object *list = sc_list(run, device, "contracts");
	uint64_t now = monotonic_ns();
	size_t bytes;
	char *tags = NULL;
	int count = sc_query(run, device, DRM_KVSINK_QUERY_TAGS, run->target.stream, 0,
			     sizeof(struct kvsink_tag_rec), &tags, &bytes);

	if (count < 0)
		return count;
	for (int i = 0; i < count; i++) {
		const struct kvsink_tag_rec *tag = (void *)(tags + i * bytes);

		if (tag->flags & KVSINK_TAG_CONTRACT)
			json_object_array_add(list, contract_record(tag, now));
	}
	free(tags);
	return 0;
}

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
	size_t bytes;
	char *streams = NULL;
	int count = sc_query(run, device, DRM_KVSINK_QUERY_STREAMS, run->target.stream, 0,
			     sizeof(struct kvsink_stream_rec), &streams, &bytes);

	if (count < 0)
		return count;
	for (int i = 0; i < count; i++)
		json_object_array_add(list, stream_record((struct kvsink_stream_rec *)(streams + i * bytes)));
	free(streams);
	return 0;
}

/* ---- prefixes -------------------------------------------------------------------------------- */

/* Ids of the records that begin with the prefix. */
static json_object *begin_with(uint64_t prefix, const char *streams, int count, size_t bytes)
{
	json_object *list = json_object_new_array();

	for (int i = 0; i < count; i++) {
		const struct kvsink_stream_rec *stream = (const void *)(streams + i * bytes);

		if (stream->prefix == prefix)
			json_object_array_add(list, json_object_new_uint64(stream->stream));
	}
	return list;
}

static json_object *prefix_record(const struct kvsink_stream_rec *prefix)
{
	json_object *record = json_object_new_object();

	sc_put_u64(record, "prefix", prefix->stream);
	sc_put_u64(record, "tenant", prefix->tenant);
	sc_put_u64(record, "tokens", prefix->length);
	sc_put_u64(record, "begins_with", prefix->prefix);
	sc_put_u64(record, "users", prefix->users);
	return record;
}

int sc_prefixes(struct sc_run *run, struct sc_device *device)
{
	json_object *list = sc_list(run, device, "prefixes"), *record;
	size_t bytes;
	char *streams = NULL, key[33];
	int count = sc_query(run, device, DRM_KVSINK_QUERY_STREAMS, 0, 0, sizeof(struct kvsink_stream_rec),
			     &streams, &bytes);

	for (int i = 0; i < count; i++) {
		const struct kvsink_stream_rec *prefix = (void *)(streams + i * bytes);

		if (!prefix->closed)
			continue;
		record = prefix_record(prefix);
		sc_put(record, "streams", begin_with(prefix->stream, streams, count, bytes));
		sc_put_u64(record, "entries", prefix->entries);
		sc_put_u64(record, "sram_bytes", prefix->sram_bytes);
		snprintf(key, sizeof(key), "%016llx%016llx", (unsigned long long)prefix->key[0],
			 (unsigned long long)prefix->key[1]);
		sc_put_text(record, "key", key);
		json_object_array_add(list, record);
	}
	free(streams);
	return count < 0 ? count : 0;
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
	uint64_t now = monotonic_ns();
	size_t bytes;
	char *streams = NULL;
	int count = sc_query(run, device, DRM_KVSINK_QUERY_STREAMS, run->target.stream, 0,
			     sizeof(struct kvsink_stream_rec), &streams, &bytes);

	if (count < 0)
		return count;
	for (int i = 0; i < count; i++) {
		const struct kvsink_stream_rec *stream = (void *)(streams + i * bytes);

		if (stream->window)
			json_object_array_add(list, window_record(stream, now));
	}
	free(streams);
	return 0;
}

/* ---- counters -------------------------------------------------------------------------------- */

/* The sum over the caller's streams: what an ordinary user may know of the device. */
static int sum_streams(struct sc_run *run, struct sc_device *device, uint64_t *sum)
{
	uint64_t counters[KVSINK_COUNTER_COUNT];
	size_t bytes;
	char *streams = NULL;
	int error = 0, count = sc_query(run, device, DRM_KVSINK_QUERY_STREAMS, 0, 0,
					sizeof(struct kvsink_stream_rec), &streams, &bytes);

	for (int i = 0; i < count && !error; i++) {
		error = kvs_counters(device->kvs, ((struct kvsink_stream_rec *)(streams + i * bytes))->stream,
				     counters);
		if (error == -ENOENT) { /* it ended meanwhile */
			error = 0;
			continue;
		}
		for (int c = 0; c < KVSINK_COUNTER_COUNT && !error; c++)
			sum[c] += counters[c];
	}
	free(streams);
	if (error)
		sc_error(run, device, error, NULL, "counters", NULL);
	return count < 0 ? count : error;
}

static void add_counters(json_object *list, const uint64_t *counters)
{
	for (int i = 0; i < KVSINK_COUNTER_COUNT; i++) {
		json_object *record = json_object_new_object();
		bool fixed = !strcmp(counter_rows[i].unit, "2^-32");

		sc_put_text(record, "name", counter_rows[i].name);
		sc_put_u64(record, "value", counters[i]);
		sc_put_hex(record, "hex", counters[i], 64);
		sc_put_text(record, "unit", counter_rows[i].unit);
		sc_put(record, "scaled", fixed ? json_object_new_double(counters[i] / 4294967296.0) : NULL);
		sc_put_u64(record, "width", 64);
		sc_put_text(record, "description", counter_rows[i].doc);
		json_object_array_add(list, record);
	}
}

int sc_counters(struct sc_run *run, struct sc_device *device)
{
	json_object *list = sc_list(run, device, "counters");
	uint64_t counters[KVSINK_COUNTER_COUNT] = {0};
	const char *scope = run->target.stream ? "stream" : "device";
	int error = kvs_counters(device->kvs, run->target.stream, counters);

	if (error == -EACCES && !run->target.stream) {
		scope = "tenant";
		memset(counters, 0, sizeof(counters));
		if (sum_streams(run, device, counters))
			return -1;
		sc_note(run,
			"%s: the device's counters are for administrators (CAP_SYS_ADMIN); this is the sum"
			" over your streams that exist now",
			device->label);
	} else if (error) {
		return sc_error(run, device, error, NULL, "counters", NULL);
	}
	sc_put_text(device->record, "scope", scope);
	add_counters(list, counters);
	return 0;
}
