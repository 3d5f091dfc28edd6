// SPDX-License-Identifier: MIT
/*
 * Streams: made from a geometry whose zero fields get defaults, and extended ahead of use.
 *
 * The kernel does not say which field of STREAM_CREATE it refused; the library asks the same validator
 * (driver/logic) again, for its message only.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"
#include "logic.h"

#define DEFAULT_PAGE_TOKENS 16

static uint32_t float_bits(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

static int copy_geometry(struct kvs_device *device, const struct kvs_geometry *from,
			 struct kvs_geometry *geometry)
{
	return kvs_copy_struct(device, "geometry", from,
			       offsetof(struct kvs_geometry, layers) + sizeof(from->layers), geometry,
			       sizeof(*geometry));
}

static int check_ranges(struct kvs_device *device, const struct kvs_geometry *geometry)
{
	const struct {
		const char *name;
		uint32_t value, max;
	} ranges[] = {
		{"layers", geometry->layers, KVSINK_MAX_LAYERS},
		{"q_heads", geometry->q_heads, KVSINK_MAX_Q_HEADS},
		{"kv_heads", geometry->kv_heads, KVSINK_MAX_KV_HEADS},
		{"d_k", geometry->d_k, KVSINK_MAX_HEAD_DIM},
		{"d_v", geometry->d_v,
		 geometry->flags & DRM_KVSINK_STREAM_V_IN_K ? geometry->d_k : KVSINK_MAX_HEAD_DIM},
		{"max_tokens", geometry->max_tokens, KVSINK_MAX_TOKENS},
	};

	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		if (!ranges[i].value || ranges[i].value > ranges[i].max)
			return kvs_fail(device, -EINVAL, "geometry: %s = %u: allowed are 1 to %u",
					ranges[i].name, ranges[i].value, ranges[i].max);
	return 0;
}

static void set_defaults(struct kvs_geometry *geometry)
{
	uint32_t page;

	if (!geometry->page_tokens)
		geometry->page_tokens = DEFAULT_PAGE_TOKENS;
	page = geometry->page_tokens;
	geometry->max_tokens = (uint32_t)(((uint64_t)geometry->max_tokens + page - 1) / page * page);
	if (!geometry->reserve_tokens)
		geometry->reserve_tokens = geometry->max_tokens;
	if (!geometry->score_groups)
		geometry->score_groups = 1;
	if (geometry->score_groups == 1 && !geometry->group_end[0])
		geometry->group_end[0] = (uint16_t)geometry->layers;
	if (geometry->scale == 0)
		geometry->scale = 1 / sqrtf((float)geometry->d_k);
}

static void fill_args(const struct kvs_geometry *geometry, struct drm_kvsink_layer *layers,
		      struct drm_kvsink_stream_create *args)
{
	for (uint32_t i = 0; i < geometry->layers; i++)
		if (geometry->layer)
			layers[i] = geometry->layer[i];
		else
			layers[i] = (struct drm_kvsink_layer){.scale = float_bits(geometry->scale)};
	*args = (struct drm_kvsink_stream_create){
		.layers = {sizeof(*layers), geometry->layers, (uintptr_t)layers},
		.flags = geometry->flags,
		.format = geometry->format,
		.q_heads = (uint16_t)geometry->q_heads,
		.kv_heads = (uint16_t)geometry->kv_heads,
		.d_k = (uint16_t)geometry->d_k,
		.d_v = (uint16_t)geometry->d_v,
		.page_tokens = geometry->page_tokens,
		.max_tokens = geometry->max_tokens,
		.reserve_tokens = geometry->reserve_tokens,
		.score_groups = geometry->score_groups,
		.seal_k = (uint16_t)geometry->seal_k,
		.seal_v = (uint16_t)geometry->seal_v,
	};
	memcpy(args->group_end, geometry->group_end, sizeof(args->group_end));
}

/* What is said about a refused field. */
struct field_text {
	uint32_t field; /* offset in struct drm_kvsink_stream_create */
	uint32_t at;	/* offset of the value in struct kvs_geometry */
	const char *name, *allowed;
};

#define FIELD(name, allowed)                                                                                 \
	{offsetof(struct drm_kvsink_stream_create, name), offsetof(struct kvs_geometry, name), #name, allowed}

static const struct field_text field_texts[] = {
	FIELD(flags, "allowed are 1 (PER_HEAD) and 2 (V_IN_K), together as well"),
	FIELD(format, "allowed are 0 (F32) and 1 (FP16)"),
	FIELD(q_heads, "allowed are multiples of kv_heads up to 128"),
	FIELD(page_tokens,
	      "allowed are powers of two up to 256; a plane to be sealed has at most 4 MiB a page"),
	FIELD(max_tokens, "allowed are multiples of page_tokens up to 262144"),
	FIELD(reserve_tokens, "allowed is at most max_tokens"),
	FIELD(score_groups, "allowed are 1 to 8"),
	FIELD(seal_k,
	      "allowed are 0 (never), and the formats of SEAL as far as d_k divides and a page has room"),
	FIELD(seal_v, "allowed are 0 (never), 2 (INT8) and 3 (INT4) for a d_v that is a multiple of 32"),
};

/* A value inside its key would need the key's scales. */
static bool seals_v_in_k(const struct kvs_geometry *geometry, uint32_t field)
{
	return geometry->flags & DRM_KVSINK_STREAM_V_IN_K &&
	       (field == offsetof(struct drm_kvsink_stream_create, seal_k) ||
		field == offsetof(struct drm_kvsink_stream_create, seal_v));
}

static int fail_field(struct kvs_device *device, int err, const struct kvs_geometry *geometry, uint32_t field)
{
	for (size_t i = 0; i < sizeof(field_texts) / sizeof(field_texts[0]); i++) {
		const struct field_text *text = &field_texts[i];
		uint32_t value;

		if (text->field != field)
			continue;
		memcpy(&value, (const char *)geometry + text->at, sizeof(value));
		if (seals_v_in_k(geometry, field))
			return kvs_fail(device, err,
					"STREAM_CREATE: %s = %u: only 0 is allowed in a stream with V_IN_K",
					text->name, value);
		return kvs_fail(device, err, "STREAM_CREATE: %s = %u: %s", text->name, value, text->allowed);
	}
	if (field == offsetof(struct drm_kvsink_stream_create, group_end))
		return kvs_fail(device, err,
				"STREAM_CREATE: group_end: must ascend strictly and end at %u, the layers",
				geometry->layers);
	return kvs_fail(device, err,
			"STREAM_CREATE: a layer's scale (positive, finite), softcap (not negative, "
			"finite), flags or reserved fields (0): %s",
			kvs_errno_text(err));
}

static int fail_create(struct kvs_device *device, int err, const struct kvs_geometry *geometry,
		       const struct drm_kvsink_stream_create *args, const struct drm_kvsink_layer *layers)
{
	struct kvsink_logic_env env = {0};
	struct kvsink_logic_stream stream;
	struct kvsink_logic_layout layout;
	uint64_t bytes;

	if (kvsink_logic_stream_create(&env, args, layers, &stream, &layout))
		return fail_field(device, err, geometry, env.field);
	bytes = layout.table_bytes + layout.score_bytes + layout.page_bytes * layout.reserve_pages;
	return kvs_fail(device, err, "STREAM_CREATE: %u layers, %u tokens reserved, %llu bytes of HBM: %s",
			geometry->layers, geometry->reserve_tokens, (unsigned long long)bytes,
			kvs_errno_text(err));
}

int kvs_stream_make(struct kvs_device *device, const struct kvs_geometry *geometry, bool empty,
		    struct kvs_stream **stream)
{
	struct drm_kvsink_layer layers[KVSINK_MAX_LAYERS];
	struct drm_kvsink_stream_create args;
	struct kvs_geometry full;
	struct kvs_stream *new;
	int err = copy_geometry(device, geometry, &full);

	err = err ? err : check_ranges(device, &full);
	if (err)
		return err;
	new = calloc(1, sizeof(*new));
	if (new)
		new->layers = calloc(full.layers, sizeof(*layers));
	if (!new || !new->layers) {
		free(new);
		return kvs_fail(device, -ENOMEM, "STREAM_CREATE: %s", kvs_errno_text(-ENOMEM));
	}
	set_defaults(&full);
	fill_args(&full, layers, &args);
	if (empty)
		args.reserve_tokens = 0;
	err = kvs_device_call(device, DRM_IOCTL_KVSINK_STREAM_CREATE, &args);
	if (err) {
		free(new->layers);
		free(new);
		return fail_create(device, err, &full, &args, layers);
	}
	memcpy(new->layers, layers, full.layers * sizeof(*layers));
	full.layer = new->layers;
	new->device = device;
	new->id = args.stream;
	new->geometry = full;
	kvs_device_ref(device);
	*stream = new;
	return 0;
}

KVS_PUBLIC int kvs_stream_create(struct kvs_device *device, const struct kvs_geometry *geometry,
				 struct kvs_stream **stream)
{
	return kvs_stream_make(device, geometry, false, stream);
}

KVS_PUBLIC void kvs_stream_free(struct kvs_stream *stream)
{
	struct drm_kvsink_stream_destroy args;

	if (!stream)
		return;
	args.stream = stream->id;
	/* It can only fail when the device is gone, and then the stream is gone too. */
	kvs_device_call(stream->device, DRM_IOCTL_KVSINK_STREAM_DESTROY, &args);
	kvs_close(stream->device);
	free(stream->layers);
	free(stream);
}

KVS_PUBLIC uint64_t kvs_stream_id(const struct kvs_stream *stream)
{
	return stream->id;
}

KVS_PUBLIC int kvs_stream_reserve(struct kvs_stream *stream, uint32_t tokens)
{
	struct drm_kvsink_stream_reserve args = {.stream = stream->id, .tokens = tokens};
	int err = kvs_device_call(stream->device, DRM_IOCTL_KVSINK_STREAM_RESERVE, &args);

	return err ? kvs_fail(stream->device, err, "STREAM_RESERVE: stream %llu, %u tokens: %s",
			      (unsigned long long)stream->id, tokens, kvs_errno_text(err))
		   : 0;
}
