// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Streams: the geometry that STREAM_CREATE asks for, what it takes of HBM, and the commands that make,
 * extend, drop and scrub a stream.
 */
#include "check.h"

#define CREATE_REFUSE(env, member, err) kvsink_refuse(env, struct drm_kvsink_stream_create, member, err)

static uint64_t hbm_align(uint64_t bytes)
{
	return (bytes + KVSINK_HBM_ALIGN - 1) & ~(uint64_t)(KVSINK_HBM_ALIGN - 1);
}

static int check_heads(struct kvsink_logic_env *env, const struct drm_kvsink_stream_create *args)
{
	if (args->format >= KVSINK_APPEND_FORMATS)
		return CREATE_REFUSE(env, format, EINVAL);
	if (!args->kv_heads || args->kv_heads > KVSINK_MAX_KV_HEADS)
		return CREATE_REFUSE(env, kv_heads, EINVAL);
	if (!args->q_heads || args->q_heads > KVSINK_MAX_Q_HEADS || args->q_heads % args->kv_heads)
		return CREATE_REFUSE(env, q_heads, EINVAL);
	if (!args->d_k || args->d_k > KVSINK_MAX_HEAD_DIM)
		return CREATE_REFUSE(env, d_k, EINVAL);
	if (!args->d_v || args->d_v > (args->flags & KVSINK_STREAM_V_IN_K ? args->d_k : KVSINK_MAX_HEAD_DIM))
		return CREATE_REFUSE(env, d_v, EINVAL);
	return 0;
}

static int check_tokens(struct kvsink_logic_env *env, const struct drm_kvsink_stream_create *args)
{
	uint32_t page = args->page_tokens;

	if (!page || page > KVSINK_MAX_PAGE_TOKENS || (page & (page - 1)))
		return CREATE_REFUSE(env, page_tokens, EINVAL);
	if (!args->max_tokens || args->max_tokens > KVSINK_MAX_TOKENS || args->max_tokens % page)
		return CREATE_REFUSE(env, max_tokens, EINVAL);
	if (args->reserve_tokens > args->max_tokens)
		return CREATE_REFUSE(env, reserve_tokens, EINVAL);
	return 0;
}

/* The chip quantises a plane in its staging buffer. */
static bool plane_too_big(const struct drm_kvsink_stream_create *args, uint32_t seal, uint32_t d)
{
	return seal && (uint64_t)args->kv_heads * args->page_tokens * d * kvsink_format_bytes(args->format) >
			       KVSINK_STAGE_BYTES;
}

static int check_seal(struct kvsink_logic_env *env, const struct drm_kvsink_stream_create *args)
{
	if (args->pad)
		return CREATE_REFUSE(env, pad, EINVAL);
	if (args->seal_k && (args->flags & KVSINK_STREAM_V_IN_K))
		return CREATE_REFUSE(env, seal_k, EINVAL);
	if (args->seal_v && (args->flags & KVSINK_STREAM_V_IN_K))
		return CREATE_REFUSE(env, seal_v, EINVAL);
	if (!kvsink_seal_fits(args->seal_k, args->format, args->d_k, args->page_tokens, 0))
		return CREATE_REFUSE(env, seal_k, EINVAL);
	if (!kvsink_seal_fits(args->seal_v, args->format, args->d_v, args->page_tokens, 1))
		return CREATE_REFUSE(env, seal_v, EINVAL);
	if (plane_too_big(args, args->seal_k, args->d_k) || plane_too_big(args, args->seal_v, args->d_v))
		return CREATE_REFUSE(env, page_tokens, EINVAL);
	return 0;
}

/* The groups cut [0, layers) into pieces without a gap. */
static int check_groups(struct kvsink_logic_env *env, const struct drm_kvsink_stream_create *args)
{
	uint32_t groups = args->score_groups, begin = 0, g;

	if (!groups || groups > KVSINK_MAX_SCORE_GROUPS)
		return CREATE_REFUSE(env, score_groups, EINVAL);
	for (g = 0; g < KVSINK_MAX_SCORE_GROUPS; g++) {
		uint32_t end = args->group_end[g];

		if (g < groups ? end <= begin || end > args->layers.count : end != 0)
			return CREATE_REFUSE(env, group_end, EINVAL);
		if (g < groups)
			begin = end;
	}
	return begin == args->layers.count ? 0 : CREATE_REFUSE(env, group_end, EINVAL);
}

static int check_layer(const struct drm_kvsink_layer *layer)
{
	if (!layer->scale || layer->scale >= KVSINK_LOGIC_INF)
		return -EINVAL;
	if (layer->softcap >= KVSINK_LOGIC_INF)
		return -EINVAL;
	return layer->flags || layer->reserved[0] || layer->reserved[1] ? -EINVAL : 0;
}

static int check_layers(struct kvsink_logic_env *env, const struct drm_kvsink_stream_create *args,
			const struct drm_kvsink_layer *layers)
{
	uint32_t i;

	for (i = 0; i < args->layers.count; i++) {
		int err = check_layer(&layers[i]);

		if (err)
			return CREATE_REFUSE(env, layers.array, -err);
	}
	return 0;
}

int kvsink_logic_stream_create(struct kvsink_logic_env *env, const struct drm_kvsink_stream_create *args,
			       const struct drm_kvsink_layer *layers, struct kvsink_logic_stream *stream,
			       struct kvsink_logic_layout *layout)
{
	int err;

	env->field = KVSINK_LOGIC_NO_FIELD;
	err = kvsink_logic_array(&args->layers, sizeof(*layers), 1, KVSINK_MAX_LAYERS);
	if (err)
		return CREATE_REFUSE(env, layers, -err);
	if (args->flags & ~KVSINK_STREAM_FLAGS)
		return CREATE_REFUSE(env, flags, EINVAL);
	err = check_heads(env, args);
	err = err ? err : check_tokens(env, args);
	err = err ? err : check_seal(env, args);
	err = err ? err : check_groups(env, args);
	err = err ? err : check_layers(env, args, layers);
	if (err)
		return err;

	*stream = (struct kvsink_logic_stream){
		.layers = args->layers.count,
		.q_heads = args->q_heads,
		.kv_heads = args->kv_heads,
		.d_k = args->d_k,
		.d_v = args->d_v,
		.format = args->format,
		.page_tokens = args->page_tokens,
		.max_tokens = args->max_tokens,
		.score_groups = args->score_groups,
		.flags = args->flags,
		.seal_k = args->seal_k,
		.seal_v = args->seal_v,
	};
	layout->page_bytes = kvsink_page_bytes(stream->flags, stream->layers, stream->kv_heads, stream->d_k,
					       stream->d_v, stream->format, stream->page_tokens);
	layout->max_pages = args->max_tokens / args->page_tokens;
	layout->reserve_pages = (args->reserve_tokens + args->page_tokens - 1) / args->page_tokens;
	layout->table_bytes = hbm_align((uint64_t)layout->max_pages * sizeof(uint64_t));
	layout->score_bytes =
		hbm_align(kvsink_head_params_at(kvsink_score_bytes(stream->layers, stream->kv_heads,
								   args->score_groups, args->max_tokens)) +
			  kvsink_head_params_bytes(stream->flags, stream->layers, stream->q_heads));
	return 0;
}

int kvsink_logic_stream_reserve(struct kvsink_logic_env *env, const struct drm_kvsink_stream_reserve *args,
				struct kvsink_logic_stream *stream, uint32_t *pages)
{
	int err;

	env->field = KVSINK_LOGIC_NO_FIELD;
	if (args->pad)
		return kvsink_refuse(env, struct drm_kvsink_stream_reserve, pad, EINVAL);
	err = kvsink_find_stream(env, args->stream, true, offsetof(struct drm_kvsink_stream_reserve, stream),
				 stream);
	if (err)
		return err;
	if (args->tokens > stream->max_tokens)
		return kvsink_refuse(env, struct drm_kvsink_stream_reserve, tokens, EINVAL);
	*pages = (args->tokens + stream->page_tokens - 1) / stream->page_tokens;
	return 0;
}

void kvsink_logic_build_create(const struct drm_kvsink_stream_create *args,
			       const struct drm_kvsink_layer *layers, uint64_t id, uint32_t tenant,
			       uint64_t page_table, uint64_t scores, struct kvsink_cmd *cmd,
			       union kvsink_item *items)
{
	struct kvsink_cmd_stream_create *create = &cmd->stream_create;
	uint32_t i;

	memset(cmd, 0, sizeof(*cmd));
	cmd->opcode = KVSINK_OP_STREAM_CREATE;
	create->stream = id;
	create->tenant = tenant;
	create->layers = (uint16_t)args->layers.count;
	create->q_heads = args->q_heads;
	create->kv_heads = args->kv_heads;
	create->d_k = args->d_k;
	create->d_v = args->d_v;
	create->format = (uint16_t)args->format;
	create->page_tokens = args->page_tokens;
	create->max_tokens = args->max_tokens;
	create->page_table = page_table;
	create->scores = scores;
	create->score_groups = args->score_groups;
	memcpy(create->group_end, args->group_end, sizeof(create->group_end));
	create->flags = args->flags;
	create->seal_k = args->seal_k;
	create->seal_v = args->seal_v;

	memset(items, 0, args->layers.count * sizeof(*items));
	for (i = 0; i < args->layers.count; i++) {
		items[i].layer.scale = layers[i].scale;
		items[i].layer.softcap = layers[i].softcap;
		items[i].layer.window = layers[i].window;
	}
}

void kvsink_logic_build_page_map(uint64_t stream, uint32_t first_page, const uint64_t *pages, uint32_t count,
				 uint32_t first_item, struct kvsink_cmd *cmd, union kvsink_item *out_items)
{
	memset(cmd, 0, sizeof(*cmd));
	cmd->opcode = KVSINK_OP_PAGE_MAP;
	cmd->page_map.stream = stream;
	cmd->page_map.first_page = first_page;
	cmd->page_map.count = count;
	cmd->page_map.first_item = first_item;

	memset(out_items, 0, KVSINK_LOGIC_PAGE_ITEMS(count) * sizeof(*out_items));
	memcpy(out_items, pages, count * sizeof(*pages));
}

void kvsink_logic_build_destroy(uint64_t stream, struct kvsink_cmd *cmd)
{
	memset(cmd, 0, sizeof(*cmd));
	cmd->opcode = KVSINK_OP_STREAM_DESTROY;
	cmd->stream_destroy.stream = stream;
}

void kvsink_logic_build_scrub(uint64_t hbm, uint64_t bytes, struct kvsink_cmd *cmd)
{
	memset(cmd, 0, sizeof(*cmd));
	cmd->opcode = KVSINK_OP_FILL;
	cmd->fill.dst.space = KVSINK_SPACE_HBM;
	cmd->fill.dst.offset = hbm;
	cmd->fill.bytes = bytes;
}

void kvsink_logic_build_invalidate(uint32_t first_page, uint32_t count, struct kvsink_cmd *cmd)
{
	memset(cmd, 0, sizeof(*cmd));
	cmd->opcode = KVSINK_OP_GART_INVALIDATE;
	cmd->gart_invalidate.first_page = first_page;
	cmd->gart_invalidate.count = count;
}
