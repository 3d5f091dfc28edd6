// SPDX-License-Identifier: MIT
/*
 * tags, contracts, counters: what the device says about the caller's streams, or all for administrators. And
 * the queries that the other commands share.
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

int sc_query_streams(struct sc_run *run, struct sc_device *device, uint64_t id, struct sc_streams *streams)
{
	streams->records = NULL;
	streams->count = sc_query(run, device, DRM_KVSINK_QUERY_STREAMS, id, 0,
				  sizeof(struct kvsink_stream_rec), &streams->records, &streams->bytes);
	return streams->count < 0 ? streams->count : 0;
}

const struct kvsink_stream_rec *sc_stream_at(const struct sc_streams *streams, int i)
{
	return (const void *)(streams->records + i * streams->bytes);
}

int sc_find_stream(struct sc_run *run, struct sc_device *device, struct kvsink_stream_rec *stream)
{
	struct sc_streams found;
	int count = sc_query_streams(run, device, run->target.stream, &found);

	if (!count && found.count)
		*stream = *sc_stream_at(&found, 0);
	count = count ? count : found.count;
	free(found.records);
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

uint64_t sc_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + now.tv_nsec;
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

int sc_contracts(struct sc_run *run, struct sc_device *device)
{
	json_object *list = sc_list(run, device, "contracts");
	uint64_t now = sc_now_ns();
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

/* ---- counters -------------------------------------------------------------------------------- */

/* The sum over the caller's streams: what an ordinary user may know of the device. */
static int sum_streams(struct sc_run *run, struct sc_device *device, uint64_t *sum)
{
	uint64_t counters[KVSINK_COUNTER_COUNT];
	struct sc_streams all;
	int error = sc_query_streams(run, device, 0, &all);

	if (error)
		return error;
	for (int i = 0; i < all.count && !error; i++) {
		error = kvs_counters(device->kvs, sc_stream_at(&all, i)->stream, counters);
		if (error == -ENOENT) { /* it ended meanwhile */
			error = 0;
			continue;
		}
		for (int c = 0; c < KVSINK_COUNTER_COUNT && !error; c++)
			sum[c] += counters[c];
	}
	free(all.records);
	return error ? sc_error(run, device, error, NULL, "counters", NULL) : 0;
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
