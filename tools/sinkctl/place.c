// SPDX-License-Identifier: MIT
/*
 * promote, evict, contract: residency of rows of any stream of the tenant. What was granted is read back
 * from the tag array, not repeated from the command line.
 */
#include "sinkctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- rows from the command line ---------------------------------------------------------------- */

/* TOKEN[:LAYERS[:HEADS]] */
static bool parse_place(const char *text, struct sc_place *place)
{
	char *copy = strdup(text), *rest = copy, *token = strsep(&rest, ":"), *layers = strsep(&rest, ":");
	char *heads = rest;
	uint32_t end;
	bool good = true;

	*place = (struct sc_place){.token = KVSINK_TOKEN_ALL};
	if (strcmp(token, "all"))
		good = !strchr(token, '-') && sc_parse_range(token, KVSINK_MAX_TOKENS, &place->token, &end);
	if (good && layers && strcmp(layers, "all"))
		good = sc_parse_range(layers, KVSINK_MAX_LAYERS, &place->layer_begin, &place->layer_end);
	if (good && heads)
		good = sc_parse_heads(heads, &place->head_mask);
	free(copy);
	return good;
}

static int check_all_tokens(struct sc_run *run)
{
	struct sc_target *target = &run->target;

	for (unsigned i = 0; i < target->places; i++)
		if (target->place[i].token == KVSINK_TOKEN_ALL && !strcmp(run->command->name, "promote"))
			return sc_usage(run, "token 'all': promote takes tokens from 0 to %u, one by one",
					KVSINK_MAX_TOKENS - 1);
	return 0;
}

int sc_places_prepare(struct sc_run *run)
{
	struct sc_target *target = &run->target;

	for (int i = 0; i < run->arg_count; i++) {
		if (target->places == DRM_KVSINK_MAX_ITEMS)
			return sc_usage(run, "'%s': too many tokens, up to %d are allowed", run->args[i],
					DRM_KVSINK_MAX_ITEMS);
		if (!parse_place(run->args[i], &target->place[target->places++]))
			return sc_usage(run,
					"'%s': TOKEN[:LAYERS[:HEADS]] is allowed, such as 5, 5:12-29 or"
					" 5:12-29:0,2",
					run->args[i]);
	}
	if (!target->places)
		return sc_usage(run, "no tokens: option --token TOKENS or arguments TOKEN[:LAYERS[:HEADS]]"
				     " are needed");
	return check_all_tokens(run);
}

/* ---- rows of a stream -------------------------------------------------------------------------- */

static int check_layers(struct sc_run *run, const struct kvsink_stream_rec *stream,
			const struct drm_kvsink_place *place)
{
	if (place->layer_end <= stream->layers)
		return 0;
	return sc_usage(run, "--layers: layer %u; stream %llu has layers 0 to %u", place->layer_end - 1,
			(unsigned long long)stream->stream, stream->layers - 1);
}

static int check_heads(struct sc_run *run, const struct kvsink_stream_rec *stream,
		       const struct drm_kvsink_place *place, uint64_t all)
{
	if (!(place->head_mask & ~all))
		return 0;
	return sc_usage(run, "--heads: head %d; stream %llu has KV heads 0 to %u",
			63 - __builtin_clzll(place->head_mask), (unsigned long long)stream->stream,
			stream->kv_heads - 1);
}

/* A token that the stream does not have cannot become resident; evict and contract just do not find it. */
static int check_token(struct sc_run *run, const struct kvsink_stream_rec *stream, uint32_t token)
{
	unsigned long long id = stream->stream;

	if (token < stream->length || strcmp(run->command->name, "promote"))
		return 0;
	if (!stream->length)
		return sc_usage(run, "--token: token %u; stream %llu has none yet", token, id);
	return sc_usage(run, "--token: token %u; stream %llu has tokens 0 to %u", token, id,
			stream->length - 1);
}

/* Fill in what the command line leaves open; what lies beyond the stream is a usage error. */
static int complete(struct sc_run *run, const struct kvsink_stream_rec *stream, const struct sc_place *from,
		    struct drm_kvsink_place *place)
{
	const struct sc_target *target = &run->target;
	uint64_t all = stream->kv_heads >= 64 ? UINT64_MAX : (1ull << stream->kv_heads) - 1;
	const bool own = from->layer_end, option = target->layer_end;

	place->token = from->token;
	place->layer_begin = own ? from->layer_begin : option ? target->layer_begin : 0;
	place->layer_end = own ? from->layer_end : option ? target->layer_end : stream->layers;
	place->head_mask = from->head_mask ? from->head_mask : target->head_mask ? target->head_mask : all;
	if (check_layers(run, stream, place) || check_heads(run, stream, place, all) ||
	    check_token(run, stream, place->token))
		return -1;
	return 0;
}

static int complete_all(struct sc_run *run, struct sc_device *device, struct drm_kvsink_place *places)
{
	struct kvsink_stream_rec stream;

	if (sc_find_stream(run, device, &stream))
		return -1;
	for (unsigned i = 0; i < run->target.places; i++)
		if (complete(run, &stream, &run->target.place[i], &places[i]))
			return -1;
	return 0;
}

/* ---- contracts --------------------------------------------------------------------------------- */

static void start_lease(struct sc_run *run)
{
	if (run->lease_ns)
		run->contract.deadline_ns = sc_now_ns() + run->lease_ns;
}

/* ---- promote ----------------------------------------------------------------------------------- */

/* Entries of one grant count up from the first generation; 0 is left out. */
static bool is_granted(const struct kvs_grant *grant, uint32_t generation)
{
	uint32_t distance = generation - grant->generation;

	if (generation < grant->generation)
		distance--; /* it went past 0 */
	return generation && distance < grant->granted;
}

/* The entries that the grant made; some may be gone already if somebody evicted them meanwhile. */
static int put_granted(struct sc_run *run, struct sc_device *device, const struct kvs_grant *grant)
{
	json_object *list = sc_list(run, device, "granted"), *record;
	bool admin = sc_is_admin(device);
	char *tags = NULL;
	size_t bytes;
	int count = sc_query(run, device, DRM_KVSINK_QUERY_TAGS, run->target.stream, 0,
			     sizeof(struct kvsink_tag_rec), &tags, &bytes);

	for (int i = 0; i < count; i++) {
		const struct kvsink_tag_rec *tag = (void *)(tags + i * bytes);

		if (!is_granted(grant, tag->generation))
			continue;
		record = json_object_new_object();
		sc_put_tag(record, tag, admin);
		json_object_array_add(list, record);
	}
	free(tags);
	return count < 0 ? count : 0;
}

static void put_grant(struct sc_run *run, struct sc_device *device, const struct kvs_grant *grant)
{
	const char *code = grant->code ? kvs_code_name(grant->code) : NULL;

	sc_put_u64(device->record, "places", run->target.places);
	sc_put_u64(device->record, "entries", grant->granted);
	sc_put_u64(device->record, "sram_bytes", grant->sram_bytes);
	sc_put_text(device->record, "ended_by", code);
	if (code)
		sc_note(run, "%s: %u of %u places granted; %s: %.*s", device->label, grant->granted,
			run->target.places, code, (int)strcspn(kvs_code_text(grant->code), ";"),
			kvs_code_text(grant->code));
}

int sc_promote(struct sc_run *run, struct sc_device *device)
{
	struct drm_kvsink_place places[DRM_KVSINK_MAX_ITEMS];
	struct kvs_grant grant = {0};
	int error;

	sc_list(run, device, "granted");
	if (complete_all(run, device, places))
		return -1;
	start_lease(run);
	error = kvs_promote(device->kvs, run->target.stream, places, run->target.places, &run->contract,
			    &grant);
	if (error)
		return sc_error(run, device, error, grant.code ? kvs_code_name(grant.code) : NULL, "promote",
				NULL);
	put_grant(run, device, &grant);
	return grant.granted ? put_granted(run, device, &grant) : 0;
}

/* ---- evict, contract ------------------------------------------------------------------------------ */

static int fail_entries(struct sc_run *run, struct sc_device *device, int error)
{
	return sc_error(run, device, error, error == -ENOENT ? kvs_code_name(KVSINK_CODE_NOT_RESIDENT) : NULL,
			run->command->name, NULL);
}

int sc_evict(struct sc_run *run, struct sc_device *device)
{
	json_object *list = sc_list(run, device, "evicted"), *record;
	struct drm_kvsink_place places[DRM_KVSINK_MAX_ITEMS];
	unsigned count = run->target.places;
	bool one = count == 1 && run->target.place[0].token != KVSINK_TOKEN_ALL;
	int entries;

	if (complete_all(run, device, places))
		return -1;
	entries = kvs_evict(device->kvs, run->target.stream, places, count);
	if (entries < 0)
		return fail_entries(run, device, entries);
	record = json_object_new_object();
	sc_put_u64(record, "stream", run->target.stream);
	sc_put_u64(record, "places", count);
	sc_put(record, "token", one ? json_object_new_uint64(places->token) : NULL);
	sc_put_u64(record, "layer_begin", places->layer_begin);
	sc_put_u64(record, "layer_end", places->layer_end);
	sc_put_u64(record, "entries", entries);
	json_object_array_add(list, record);
	return 0;
}

int sc_contract_prepare(struct sc_run *run)
{
	const unsigned terms = SC_BIT(DWELL) | SC_BIT(DEADLINE);
	bool end = run->given & SC_BIT(END);

	if (end && run->given & (terms | SC_BIT(PRIORITY)))
		return sc_usage(run,
				"--end ends contracts: --dwell, --deadline and --priority are not allowed"
				" with it");
	if (!end && !(run->given & terms))
		return sc_usage(run, "option --dwell STEPS or --deadline TIME is needed, or --end");
	return sc_places_prepare(run);
}

int sc_contract(struct sc_run *run, struct sc_device *device)
{
	json_object *list = sc_list(run, device, "contracts"), *record;
	struct drm_kvsink_place places[DRM_KVSINK_MAX_ITEMS];
	const struct kvs_contract *contract = &run->contract;
	int entries;

	if (complete_all(run, device, places))
		return -1;
	start_lease(run);
	entries = kvs_contract(device->kvs, run->target.stream, places, run->target.places, contract);
	if (entries < 0)
		return fail_entries(run, device, entries);
	record = json_object_new_object();
	sc_put_u64(record, "stream", run->target.stream);
	sc_put_u64(record, "entries", entries);
	sc_put(record, "dwell_steps",
	       contract->dwell_steps ? json_object_new_uint64(contract->dwell_steps) : NULL);
	sc_put(record, "deadline_ns",
	       contract->deadline_ns ? json_object_new_uint64(contract->deadline_ns) : NULL);
	sc_put(record, "lease_ns", run->lease_ns ? json_object_new_uint64(run->lease_ns) : NULL);
	sc_put_u64(record, "priority", contract->priority);
	sc_put_bool(record, "ended", run->given & SC_BIT(END));
	json_object_array_add(list, record);
	return 0;
}
