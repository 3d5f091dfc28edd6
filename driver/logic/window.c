// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * WINDOW_BEGIN and WINDOW_COMMIT: the check of their argument, the commands that they become, and what they
 * answer. Where the journal lies is the caller's choice.
 */
#include "check.h"

#define WINDOW_AT(member) offsetof(struct drm_kvsink_window, member)

static int check_window(struct kvsink_logic_env *env, const struct drm_kvsink_window *args, uint32_t min,
			struct kvsink_logic_stream *stream)
{
	env->field = KVSINK_LOGIC_NO_FIELD;
	if (args->pad)
		return kvsink_refuse(env, struct drm_kvsink_window, pad, EINVAL);
	if (args->tokens < min || args->tokens > KVSINK_MAX_WINDOW_TOKENS)
		return kvsink_refuse(env, struct drm_kvsink_window, tokens, EINVAL);
	return kvsink_find_stream(env, args->stream, true, WINDOW_AT(stream), stream);
}

int kvsink_logic_window_begin(struct kvsink_logic_env *env, const struct drm_kvsink_window *args,
			      struct kvsink_logic_stream *stream)
{
	return check_window(env, args, 1, stream);
}

uint64_t kvsink_logic_journal_bytes(const struct kvsink_logic_stream *stream, uint32_t pages, uint32_t tokens)
{
	return kvsink_window_bytes(stream->layers, stream->kv_heads, stream->score_groups,
				   pages * stream->page_tokens, tokens);
}

void kvsink_logic_build_window_begin(const struct drm_kvsink_window *args, uint64_t journal, uint64_t bytes,
				     struct kvsink_cmd *cmd)
{
	memset(cmd, 0, sizeof(*cmd));
	cmd->opcode = KVSINK_OP_WINDOW_BEGIN;
	cmd->window_begin.stream = args->stream;
	cmd->window_begin.journal = journal;
	cmd->window_begin.bytes = bytes;
	cmd->window_begin.tokens = args->tokens;
}

int kvsink_logic_build_window_commit(struct kvsink_logic_env *env, const struct drm_kvsink_window *args,
				     struct kvsink_cmd *cmd)
{
	struct kvsink_logic_stream stream;

	memset(cmd, 0, sizeof(*cmd));
	cmd->opcode = KVSINK_OP_WINDOW_COMMIT;
	cmd->window_commit.stream = args->stream;
	cmd->window_commit.count = args->tokens;
	return check_window(env, args, 0, &stream);
}

bool kvsink_logic_window_ended(const struct kvsink_completion *said)
{
	return said->code == KVSINK_CODE_OK || said->code == KVSINK_CODE_NO_WINDOW;
}

void kvsink_logic_window_answer(struct drm_kvsink_window *args, const struct kvsink_completion *said)
{
	args->code = said->code;
	args->rows = said->code == KVSINK_CODE_OK ? said->result[1] : 0;
}
