// SPDX-License-Identifier: MIT
/*
 * promote, evict: residency of a token of any stream of the tenant. What was granted is read back from
 * the tag array, not repeated from the command line.
 */
#include "sinkctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The stream's record: its layers and heads are the defaults. */
static int find_stream(struct sc_run *run, struct sc_device *device, struct kvsink_stream_rec *stream)
{
	void *records = NULL;
	size_t bytes;
	int count = kvs_query(device->kvs, DRM_KVSINK_QUERY_STREAMS, run->target.stream, 0, &records, &bytes);

	if (count < 0)
		return sc_error(run, device, count, NULL, run->command->name, NULL);
	if (!count || bytes < sizeof(*stream)) {
		free(records);
		return sc_error(run, device, -ENOENT, kvs_code_name(KVSINK_CODE_BAD_STREAM),
				run->command->name, "no such stream of yours");
	}
	memcpy(stream, records, sizeof(*stream));
	free(records);
	return 0;
}

/* Fill in what the command line leaves open; a range beyond the stream is a usage error. */
static int complete_target(struct sc_run *run, const struct kvsink_stream_rec *stream)
{
	struct sc_target *target = &run->target;
	uint64_t all = stream->kv_heads >= 64 ? UINT64_MAX : (1ull << stream->kv_heads) - 1;

	if (!target->layer_end)
		target->layer_end = stream->layers;
	if (!target->head_mask)
		target->head_mask = all;
	if (target->layer_end > stream->layers)
		return sc_usage(run, "--layers: layer %u; stream %llu has layers 0 to %u",
				target->layer_end - 1, (unsigned long long)stream->stream,
				stream->layers - 1);
	if (target->head_mask & ~all)
		return sc_usage(run, "--heads: head %d; stream %llu has KV heads 0 to %u",
				63 - __builtin_clzll(target->head_mask), (unsigned long long)stream->stream,
				stream->kv_heads - 1);
	return 0;
}

/* The entry that the grant made; gone already if somebody evicted it meanwhile. */
static void put_entry(struct sc_run *run, struct sc_device *device, json_object *record, uint32_t generation)
{
	void *records = NULL;
	size_t bytes;
	int count = kvs_query(device->kvs, DRM_KVSINK_QUERY_TAGS, run->target.stream, 0, &records, &bytes);
	bool admin = sc_is_admin(device);

	for (int i = 0; i < count && bytes >= sizeof(struct kvsink_tag_rec); i++) {
		struct kvsink_tag_rec *tag = (void *)((char *)records + i * bytes);

		if (tag->token == run->target.token && tag->generation == generation) {
			sc_put_tag(record, tag, admin);
			break;
		}
	}
	free(records);
}

/* A token that the stream does not have cannot become resident; evict just does not find it. */
static int check_token(struct sc_run *run, const struct kvsink_stream_rec *stream)
{
	unsigned long long id = stream->stream;

	if (run->target.token < stream->length)
		return 0;
	if (!stream->length)
		return sc_usage(run, "--token: token %u; stream %llu has none yet", run->target.token, id);
	return sc_usage(run, "--token: token %u; stream %llu has tokens 0 to %u", run->target.token, id,
			stream->length - 1);
}

int sc_promote_prepare(struct sc_run *run)
{
	if (run->target.token == KVSINK_TOKEN_ALL)
		return sc_usage(run, "--token 'all': promote takes one token from 0 to %u",
				KVSINK_MAX_TOKENS - 1);
	return 0;
}

int sc_promote(struct sc_run *run, struct sc_device *device)
{
	const struct sc_target *target = &run->target;
	json_object *list = sc_list(run, device, "granted"), *record;
	struct drm_kvsink_promote grant = {0};
	struct kvsink_stream_rec stream;
	int error;

	if (find_stream(run, device, &stream) || complete_target(run, &stream) || check_token(run, &stream))
		return -1;
	error = kvs_promote(device->kvs, target->stream, target->token, target->layer_begin,
			    target->layer_end, target->head_mask, &grant);
	if (error)
		return sc_error(run, device, error, grant.code ? kvs_code_name(grant.code) : NULL, "promote",
				NULL);
	record = json_object_new_object();
	sc_put_u64(record, "stream", target->stream);
	sc_put_u64(record, "token", target->token);
	sc_put_u64(record, "sram_bytes", grant.sram_bytes);
	sc_put_u64(record, "generation", grant.generation);
	put_entry(run, device, record, grant.generation);
	json_object_array_add(list, record);
	return 0;
}

int sc_evict(struct sc_run *run, struct sc_device *device)
{
	const struct sc_target *target = &run->target;
	json_object *list = sc_list(run, device, "evicted"), *record;
	struct kvsink_stream_rec stream;
	int entries;

	if (find_stream(run, device, &stream) || complete_target(run, &stream))
		return -1;
	entries =
		kvs_evict(device->kvs, target->stream, target->token, target->layer_begin, target->layer_end);
	if (entries < 0)
		return sc_error(run, device, entries,
				entries == -ENOENT ? kvs_code_name(KVSINK_CODE_NOT_RESIDENT) : NULL, "evict",
				NULL);
	record = json_object_new_object();
	sc_put_u64(record, "stream", target->stream);
	sc_put(record, "token",
	       target->token == KVSINK_TOKEN_ALL ? NULL : json_object_new_uint64(target->token));
	sc_put_u64(record, "layer_begin", target->layer_begin);
	sc_put_u64(record, "layer_end", target->layer_end);
	sc_put_u64(record, "entries", entries);
	json_object_array_add(list, record);
	return 0;
}
