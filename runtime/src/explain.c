// SPDX-License-Identifier: MIT
/*
 * Why PROMOTE, EVICT, CONTRACT or CONFIG was refused: which field, which value, what is allowed. The kernel
 * tells the errno and, where the chip decided, its code; the rest is asked of the device, for the message
 * only.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "explain.h"

#define TO_THE_LAST 0xffffu /* as the end of a layer range */
#define NO_LIMIT UINT32_MAX

enum param_kind { KIND_F32, KIND_U32, KIND_U64 };
enum param_scope { SCOPE_DEVICE, SCOPE_STREAM, SCOPE_GROUP };

static const struct {
	const char *name;
	uint8_t kind, scope;
} params[KVSINK_PARAM_COUNT] = {
#define X(name, index, kind, scope, def, doc) [index] = {#name, KIND_##kind, SCOPE_##scope},
	KVSINK_PARAMS(X)
#undef X
};

const char *kvs_param_name(uint32_t param)
{
	return param < KVSINK_PARAM_COUNT ? params[param].name : "?";
}

/* ---- what the stream is ---- */

static bool read_stream(struct kvs_device *device, uint64_t stream, struct kvsink_stream_rec *rec)
{
	size_t bytes;
	void *records;
	int count = stream ? kvs_query(device, DRM_KVSINK_QUERY_STREAMS, stream, 0, &records, &bytes) : -1;
	bool good = count == 1 && bytes >= sizeof(*rec);

	if (good)
		memcpy(rec, records, sizeof(*rec));
	if (count >= 0)
		free(records);
	return good;
}

static uint64_t all_heads(const struct kvsink_stream_rec *stream)
{
	return stream->kv_heads < 64 ? (1ull << stream->kv_heads) - 1 : UINT64_MAX;
}

static uint64_t units(uint64_t bytes)
{
	return (bytes + KVSINK_SRAM_UNIT - 1) / KVSINK_SRAM_UNIT * KVSINK_SRAM_UNIT;
}

static uint64_t rows_bytes(const struct kvsink_stream_rec *stream, uint32_t layers, uint64_t heads)
{
	return (uint64_t)layers * (unsigned)__builtin_popcountll(heads) *
	       kvsink_row_bytes(stream->flags, stream->d_k, stream->d_v, stream->format);
}

/* A parameter; `other` if nobody can say. */
static uint64_t value_of(struct kvs_device *device, const struct kvsink_stream_rec *stream, uint32_t group,
			 enum kvsink_param param, uint64_t other)
{
	uint64_t value;

	return kvs_config_get(device, stream->stream, group, param, &value) ? other : value;
}

static uint32_t group_begin(const struct kvsink_stream_rec *stream, uint32_t group)
{
	return group ? stream->group_end[group - 1] : 0;
}

/* ---- what was wanted ---- */

/* "BUDGET: SRAM budget exhausted (wanted 9 bytes, left 3)"; what the table says behind `;` is that number. */
static void print_code(char *line, size_t size, uint32_t code, uint64_t wanted, uint64_t address)
{
	const char *text = kvs_code_text(code);
	int used = snprintf(line, size, "%s: %.*s", kvs_code_name(code), (int)strcspn(text, ";"), text);
	const char *what = code == KVSINK_CODE_FRAGMENTED ? "largest piece" : "left";

	if (code == KVSINK_CODE_BUDGET || code == KVSINK_CODE_TENANT_CAP || code == KVSINK_CODE_FRAGMENTED)
		snprintf(line + used, size - (size_t)used, " (wanted %" PRIu64 " bytes, %s %" PRIu64 ")",
			 wanted, what, address);
}

static uint64_t places_bytes(const struct kvsink_stream_rec *stream, const struct kvs_refusal *r)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < r->count; i++)
		sum += units(rows_bytes(stream, r->places[i].layer_end - r->places[i].layer_begin,
					r->places[i].head_mask));
	return sum;
}

static uint64_t tail_bytes(struct kvs_device *device, const struct kvsink_stream_rec *stream, uint32_t group,
			   uint64_t tokens)
{
	uint64_t range = value_of(device, stream, KVSINK_GROUP_ALL, KVSINK_PARAM_LAYER_RANGE, 0xffff0000);
	uint32_t first = group == KVSINK_GROUP_ALL ? 0 : group;
	uint32_t end = group == KVSINK_GROUP_ALL ? stream->score_groups : group + 1;
	uint64_t sum = 0;

	for (uint32_t g = first; g < end; g++) {
		uint64_t mask = value_of(device, stream, g, KVSINK_PARAM_HEAD_MASK, UINT64_MAX);
		uint32_t from = group_begin(stream, g), to = stream->group_end[g];

		from = from > (range & 0xffff) ? from : range & 0xffff;
		to = to < range >> 16 ? to : (uint32_t)(range >> 16);
		if (from < to)
			sum += units(rows_bytes(stream, to - from, mask & all_heads(stream)) * tokens);
	}
	return sum;
}

/* ---- places ---- */

/* "token 5, layers [0, 2), heads 0x3" */
static void print_place(char *line, size_t size, const struct drm_kvsink_place *place)
{
	char token[16] = "all";

	if (place->token != KVSINK_TOKEN_ALL)
		snprintf(token, sizeof(token), "%u", place->token);
	snprintf(line, size, "token %s, layers [%u, %u), heads %#llx", token, place->layer_begin,
		 place->layer_end, (unsigned long long)place->head_mask);
}

/* What of a place cannot be in any stream of this geometry; false: nothing. */
static bool outside(char *line, size_t size, const struct kvsink_stream_rec *stream,
		    const struct drm_kvsink_place *place, bool search)
{
	uint32_t tokens = search ? stream->max_tokens : stream->length;

	if (place->token >= tokens && !(search && place->token == KVSINK_TOKEN_ALL))
		snprintf(line, size, "token = %u: allowed are those below %u%s", place->token, tokens,
			 search ? ", or all ones" : ", which the stream has");
	else if (place->layer_begin >= place->layer_end || place->layer_end > stream->layers)
		snprintf(line, size, "layers = [%u, %u): allowed are layers 0 to %u, at least one",
			 place->layer_begin, place->layer_end, stream->layers - 1);
	else if (!place->head_mask || (!search && place->head_mask & ~all_heads(stream)))
		snprintf(line, size, "head_mask = %#llx: allowed are bits of %#llx, at least one",
			 (unsigned long long)place->head_mask, (unsigned long long)all_heads(stream));
	else
		return false;
	return true;
}

/* What of it LAYER_RANGE and HEAD_MASK forbid. */
static bool forbidden(char *line, size_t size, struct kvs_device *device,
		      const struct kvsink_stream_rec *stream, const struct drm_kvsink_place *place)
{
	uint64_t range = value_of(device, stream, KVSINK_GROUP_ALL, KVSINK_PARAM_LAYER_RANGE, 0xffff0000);

	if (place->layer_begin < (range & 0xffff) || place->layer_end > range >> 16) {
		snprintf(line, size, "layers = [%u, %u): LAYER_RANGE allows [%u, %u)", place->layer_begin,
			 place->layer_end, (unsigned)(range & 0xffff), (unsigned)(range >> 16));
		return true;
	}
	for (uint32_t g = 0; g < stream->score_groups; g++) {
		uint64_t mask = value_of(device, stream, g, KVSINK_PARAM_HEAD_MASK, UINT64_MAX);

		if (group_begin(stream, g) >= place->layer_end ||
		    place->layer_begin >= stream->group_end[g] || !(place->head_mask & ~mask))
			continue;
		snprintf(line, size, "head_mask = %#llx: HEAD_MASK of group %u allows %#llx",
			 (unsigned long long)place->head_mask, g,
			 (unsigned long long)(mask & all_heads(stream)));
		return true;
	}
	return false;
}

/* The first place that cannot be. */
static bool find_bad_place(char *line, size_t size, struct kvs_device *device,
			   const struct kvsink_stream_rec *stream, const struct kvs_refusal *r, unsigned *at)
{
	for (*at = 0; *at < r->count; ++*at)
		if (outside(line, size, stream, &r->places[*at], r->search) ||
		    (!r->search && forbidden(line, size, device, stream, &r->places[*at])))
			return true;
	return false;
}

/* The place that the chip's answer names by its token, where only one has it; else the first stands for all.
 */
static void print_named(char *line, size_t size, const struct kvs_refusal *r)
{
	unsigned found = 0, at = 0;

	for (unsigned i = 0; i < r->count; i++)
		if (r->places[i].token == r->address && !found++)
			at = i;
	if (r->code == KVSINK_CODE_EXISTS && found > 1) {
		snprintf(line, size, "token %" PRIu64, r->address);
		return;
	}
	print_place(line, size, &r->places[r->code == KVSINK_CODE_EXISTS ? at : 0]);
	if (r->count > 1 && r->code != KVSINK_CODE_EXISTS)
		snprintf(line + strlen(line), size - strlen(line), " and %u more", r->count - 1);
}

static int fail_deadline(struct kvs_device *device, int err, const struct kvs_refusal *r)
{
	return kvs_fail(device, err,
			"%s: stream %llu, deadline_ns = %" PRIu64
			": allowed are times of CLOCK_MONOTONIC from %" PRIu64 " (now) to %" PRIu64,
			r->what, (unsigned long long)r->stream, r->deadline_ns, r->address + 1,
			r->address + (uint64_t)KVSINK_MAX_LEASE_NS);
}

int kvs_fail_places(struct kvs_device *device, int err, const struct kvs_refusal *r)
{
	struct kvsink_stream_rec stream = {0};
	char place[80], why[150];
	bool known;
	unsigned at;

	if (r->code == KVSINK_CODE_LEASE)
		return fail_deadline(device, err, r);
	known = read_stream(device, r->stream, &stream);
	if (err == -EINVAL && known && find_bad_place(why, sizeof(why), device, &stream, r, &at))
		return kvs_fail(device, err, "%s: stream %llu, place %u (token %u): %s", r->what,
				(unsigned long long)r->stream, at, r->places[at].token, why);
	print_named(place, sizeof(place), r);
	if (r->code)
		print_code(why, sizeof(why), r->code, known ? places_bytes(&stream, r) : 0, r->address);
	else
		snprintf(why, sizeof(why), "%s", kvs_errno_text(err));
	return kvs_fail(device, err, "%s: stream %llu, %s: %s", r->what, (unsigned long long)r->stream, place,
			why);
}

/* ---- parameters ---- */

static void print_value(char *line, size_t size, uint32_t param, uint64_t value)
{
	bool bits = param == KVSINK_PARAM_HEAD_MASK || param == KVSINK_PARAM_LAYER_RANGE ||
		    param == KVSINK_PARAM_LAYER_WEIGHT;
	uint32_t pattern = (uint32_t)value;
	float number;

	memcpy(&number, &pattern, sizeof(number));
	if (params[param].kind == KIND_F32 && value <= UINT32_MAX)
		snprintf(line, size, "%g", (double)number);
	else
		snprintf(line, size, bits || params[param].kind == KIND_F32 ? "%#" PRIx64 : "%" PRIu64,
			 value);
}

static void print_bytes(char *line, size_t size, struct kvs_device *device)
{
	struct drm_kvsink_dev_info info = {0};

	kvs_device_info(device, &info);
	snprintf(line, size, "0 to %llu bytes, or %u for no limit", (unsigned long long)info.sram_bytes,
		 NO_LIMIT);
}

static void print_range(char *line, size_t size, const struct kvsink_stream_rec *stream, const char *more)
{
	char last[24] = "";

	if (stream->layers)
		snprintf(last, sizeof(last), " <= %u", stream->layers);
	snprintf(line, size, "begin | end << 16%s with begin < end%s, or end = %#x for all", more, last,
		 TO_THE_LAST);
}

static void print_allowed(char *line, size_t size, struct kvs_device *device,
			  const struct kvsink_stream_rec *stream, uint32_t param)
{
	const char *text = "0 to 4294967295";

	switch (param) {
	case KVSINK_PARAM_ALPHA:
		text = "numbers from 0 to below 1";
		break;
	case KVSINK_PARAM_EPSILON:
		text = "numbers above 0 and below 1";
		break;
	case KVSINK_PARAM_GATE:
		text = "0 (MASS), 1 (ABS) and 2 (REL)";
		break;
	case KVSINK_PARAM_GATE_BUFFER:
	case KVSINK_PARAM_CERTIFY:
		text = "0 and 1";
		break;
	case KVSINK_PARAM_SCORE_MODE:
		text = "0 (RAW), 1 (MEAN) and 2 (REL)";
		break;
	case KVSINK_PARAM_PLACEMENT:
		text = "0 (OFF), 1 (OBSERVE) and 2 (AUTO)";
		break;
	case KVSINK_PARAM_N_PROMOTE:
	case KVSINK_PARAM_N_EVICT:
		text = "1 to 65535";
		break;
	case KVSINK_PARAM_SRAM_BUDGET:
	case KVSINK_PARAM_TENANT_CAP:
		print_bytes(line, size, device);
		return;
	case KVSINK_PARAM_TAIL_TOKENS:
		snprintf(line, size, "0 to %u", KVSINK_MAX_TAIL_TOKENS);
		return;
	case KVSINK_PARAM_PRIORITY:
		snprintf(line, size, "0 to %u", KVSINK_MAX_PRIORITY);
		return;
	case KVSINK_PARAM_LAYER_RANGE:
		print_range(line, size, stream, "");
		return;
	case KVSINK_PARAM_LAYER_WEIGHT:
		print_range(line, size, stream, " | binary32 below 256 << 32");
		return;
	case KVSINK_PARAM_HEAD_MASK:
		snprintf(line, size, "bits of %#" PRIx64 ", or all ones", all_heads(stream));
		return;
	default:
		text = params[param].kind == KIND_F32 ? "finite numbers from 0" : text;
	}
	snprintf(line, size, "%s", text);
}

/* What is wrong with parameter or group; false: nothing. */
static bool bad_target(char *line, size_t size, const struct drm_kvsink_config *args,
		       const struct kvsink_stream_rec *stream)
{
	const char *name = kvs_param_name(args->param);

	if (args->param >= KVSINK_PARAM_COUNT)
		snprintf(line, size, "parameter %u: allowed are 0 to %u", args->param,
			 KVSINK_PARAM_COUNT - 1);
	else if (args->stream && params[args->param].scope == SCOPE_DEVICE)
		snprintf(line, size, "parameter %s is the device's: allowed is stream 0", name);
	else if (args->group != KVSINK_GROUP_ALL && params[args->param].scope != SCOPE_GROUP)
		snprintf(line, size, "group %u: parameter %s is the same in all of them: allowed is all ones",
			 args->group, name);
	else if (args->group != KVSINK_GROUP_ALL && args->group >= stream->score_groups)
		snprintf(line, size, "group %u: allowed are 0 to %u, or all ones", args->group,
			 stream->score_groups - 1);
	else
		return false;
	return true;
}

static void print_why(char *line, size_t size, struct kvs_device *device, int err,
		      const struct drm_kvsink_config *args, const struct kvsink_stream_rec *stream)
{
	int used;

	if (err == -EINVAL && args->conflict < KVSINK_PARAM_COUNT) {
		used = snprintf(line, size, "it contradicts %s = ", kvs_param_name(args->conflict));
		print_value(line + used, size - (size_t)used, args->conflict,
			    value_of(device, stream, args->group, args->conflict, 0));
	} else if (err == -EINVAL) {
		used = snprintf(line, size, "allowed are ");
		print_allowed(line + used, size - (size_t)used, device, stream, args->param);
	} else if (args->code == KVSINK_CODE_WINDOW) {
		snprintf(line, size, "EBUSY: a replay window is open");
	} else if (args->code == KVSINK_CODE_BUSY) {
		snprintf(line, size, "%s: it is fixed once scores or EMA exist", kvs_errno_text(err));
	} else if (args->code && err == -ENOSPC) {
		print_code(line, size, args->code, tail_bytes(device, stream, args->group, args->value),
			   args->address);
	} else {
		snprintf(line, size, "%s", kvs_errno_text(err));
	}
}

/* False if there is nothing wrong with parameter and group, as far as one can tell. */
static bool fail_target(struct kvs_device *device, int err, const char *what,
			const struct drm_kvsink_config *args, struct kvsink_stream_rec *stream)
{
	char why[120];

	*stream = (struct kvsink_stream_rec){.kv_heads = 64, .score_groups = KVSINK_MAX_SCORE_GROUPS};
	if (args->stream && !read_stream(device, args->stream, stream) && args->param < KVSINK_PARAM_COUNT)
		return false;
	if (!bad_target(why, sizeof(why), args, stream))
		return false;
	kvs_fail(device, err, "%s: stream %llu, %s", what, (unsigned long long)args->stream, why);
	return true;
}

static void print_group(char *line, size_t size, uint32_t group)
{
	*line = 0;
	if (group != KVSINK_GROUP_ALL)
		snprintf(line, size, "group %u, ", group);
}

int kvs_fail_config_get(struct kvs_device *device, int err, const struct drm_kvsink_config *args)
{
	struct kvsink_stream_rec stream;
	char group[24];

	if (fail_target(device, err, "CONFIG_GET", args, &stream))
		return err;
	print_group(group, sizeof(group), args->group);
	return kvs_fail(device, err, "CONFIG_GET: stream %llu, %sparameter %s: %s",
			(unsigned long long)args->stream, group, kvs_param_name(args->param),
			kvs_errno_text(err));
}

int kvs_fail_config_set(struct kvs_device *device, int err, const struct drm_kvsink_config *args)
{
	struct kvsink_stream_rec stream;
	char group[24], value[40], why[150];

	if (fail_target(device, err, "CONFIG_SET", args, &stream))
		return err;
	print_group(group, sizeof(group), args->group);
	print_value(value, sizeof(value), args->param, args->value);
	print_why(why, sizeof(why), device, err, args, &stream);
	return kvs_fail(device, err, "CONFIG_SET: stream %llu, %sparameter %s = %s: %s",
			(unsigned long long)args->stream, group, kvs_param_name(args->param), value, why);
}
