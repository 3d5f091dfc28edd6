// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Prefixes: the check of what PREFIX_* ask for, what a prefix takes of HBM, and the commands.
 *
 * The user names a stream, tokens and a handle; areas and pages are the caller's choice.
 */
#include "check.h"

static uint64_t hbm_align(uint64_t bytes)
{
	return (bytes + KVSINK_HBM_ALIGN - 1) & ~(uint64_t)(KVSINK_HBM_ALIGN - 1);
}

int kvsink_logic_prefix_publish(struct kvsink_logic_env *env, const struct drm_kvsink_prefix_publish *args,
				struct kvsink_logic_stream *stream, struct kvsink_logic_layout *layout)
{
	uint32_t tokens;
	int err;

	env->field = KVSINK_LOGIC_NO_FIELD;
	if (args->flags)
		return kvsink_refuse(env, struct drm_kvsink_prefix_publish, flags, EINVAL);
	err = kvsink_find_stream(env, args->stream, true, offsetof(struct drm_kvsink_prefix_publish, stream),
				 stream);
	if (err)
		return err;
	if (!args->tokens || args->tokens > stream->max_tokens)
		return kvsink_refuse(env, struct drm_kvsink_prefix_publish, tokens, EINVAL);
	tokens = (args->tokens + stream->page_tokens - 1) / stream->page_tokens * stream->page_tokens;
	layout->page_bytes = kvsink_page_bytes(stream->flags, stream->layers, stream->kv_heads, stream->d_k,
					       stream->d_v, stream->format, stream->page_tokens);
	layout->max_pages = tokens / stream->page_tokens;
	layout->reserve_pages = args->tokens % stream->page_tokens ? 1 : 0;
	layout->table_bytes = hbm_align((uint64_t)layout->max_pages * sizeof(uint64_t));
	layout->score_bytes =
		hbm_align(kvsink_head_params_at(kvsink_score_bytes(stream->layers, stream->kv_heads,
								   stream->score_groups, tokens)) +
			  kvsink_head_params_bytes(stream->flags, stream->layers, stream->q_heads));
	return 0;
}

void kvsink_logic_build_publish(const struct drm_kvsink_prefix_publish *args, uint64_t prefix,
				uint64_t page_table, uint64_t scores, uint64_t page, struct kvsink_cmd *cmd)
{
	memset(cmd, 0, sizeof(*cmd));
	cmd->opcode = KVSINK_OP_PREFIX_PUBLISH;
	cmd->prefix_publish.stream = args->stream;
	cmd->prefix_publish.prefix = prefix;
	cmd->prefix_publish.page_table = page_table;
	cmd->prefix_publish.scores = scores;
	cmd->prefix_publish.page = page;
	cmd->prefix_publish.key[0] = args->key[0];
	cmd->prefix_publish.key[1] = args->key[1];
	cmd->prefix_publish.tokens = args->tokens;
}

int kvsink_logic_prefix_attach(struct kvsink_logic_env *env, const struct drm_kvsink_prefix_attach *args,
			       bool *needs_page)
{
	struct kvsink_logic_stream stream;
	int err;

	env->field = KVSINK_LOGIC_NO_FIELD;
	if (args->pad)
		return kvsink_refuse(env, struct drm_kvsink_prefix_attach, pad, EINVAL);
	err = kvsink_find_stream(env, args->stream, true, offsetof(struct drm_kvsink_prefix_attach, stream),
				 &stream);
	if (err)
		return err;
	if (!args->tokens || args->tokens > stream.max_tokens)
		return kvsink_refuse(env, struct drm_kvsink_prefix_attach, tokens, EINVAL);
	*needs_page = args->tokens % stream.page_tokens;
	return 0;
}

void kvsink_logic_build_attach(const struct drm_kvsink_prefix_attach *args, uint64_t prefix, uint64_t page,
			       struct kvsink_cmd *cmd)
{
	memset(cmd, 0, sizeof(*cmd));
	cmd->opcode = KVSINK_OP_PREFIX_ATTACH;
	cmd->prefix_attach.stream = args->stream;
	cmd->prefix_attach.prefix = prefix;
	cmd->prefix_attach.page = page;
	cmd->prefix_attach.tokens = args->tokens;
}

int kvsink_logic_prefix_detach(struct kvsink_logic_env *env, const struct drm_kvsink_prefix_detach *args)
{
	struct kvsink_logic_stream stream;

	env->field = KVSINK_LOGIC_NO_FIELD;
	if (args->pad)
		return kvsink_refuse(env, struct drm_kvsink_prefix_detach, pad, EINVAL);
	return kvsink_find_stream(env, args->stream, true, offsetof(struct drm_kvsink_prefix_detach, stream),
				  &stream);
}

void kvsink_logic_build_detach(uint64_t stream, uint32_t first_page, const uint64_t *pages, uint32_t count,
			       struct kvsink_cmd *cmd, union kvsink_item *items)
{
	kvsink_logic_build_page_map(stream, first_page, pages, count, 0, cmd, items);
	cmd->opcode = KVSINK_OP_PREFIX_DETACH;
}

void kvsink_logic_build_ask_pages(uint64_t stream, struct kvsink_cmd *cmd)
{
	memset(cmd, 0, sizeof(*cmd));
	cmd->opcode = KVSINK_OP_PAGE_MAP;
	cmd->page_map.stream = stream;
	cmd->page_map.first_page = 0xffffffffu;
}
