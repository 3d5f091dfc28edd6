// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * SWAP_OUT and SWAP_IN: the check of their argument, the commands that they take, and what they answer.
 *
 * The user names a stream and a buffer; page table, scores and pages to return to are the caller's choice.
 */
#include "check.h"

#define SWAP_AT(member) offsetof(struct drm_kvsink_swap, member)

static int check_swap(struct kvsink_logic_env *env, const struct drm_kvsink_swap *args,
		      struct kvsink_ref *image)
{
	struct kvsink_logic_stream stream;
	int err;

	env->field = KVSINK_LOGIC_NO_FIELD;
	if (args->pad)
		return kvsink_refuse(env, struct drm_kvsink_swap, pad, EINVAL);
	err = kvsink_find_stream(env, args->stream, true, SWAP_AT(stream), &stream);
	if (err)
		return err;
	return kvsink_logic_operand(env, &args->image, SWAP_AT(image), args->bytes, false, image);
}

int kvsink_logic_build_swap_out(struct kvsink_logic_env *env, const struct drm_kvsink_swap *args,
				const uint64_t key[2], struct kvsink_cmd *barrier, struct kvsink_cmd *swap)
{
	memset(barrier, 0, sizeof(*barrier));
	barrier->opcode = KVSINK_OP_BARRIER;
	barrier->barrier.stream = args->stream;

	memset(swap, 0, sizeof(*swap));
	swap->opcode = KVSINK_OP_SWAP_OUT;
	swap->swap_out.stream = args->stream;
	swap->swap_out.bytes = args->bytes;
	swap->swap_out.key[0] = key[0];
	swap->swap_out.key[1] = key[1];
	return check_swap(env, args, &swap->swap_out.image);
}

int kvsink_logic_build_swap_in(struct kvsink_logic_env *env, const struct drm_kvsink_swap *args,
			       struct kvsink_cmd *cmd)
{
	memset(cmd, 0, sizeof(*cmd));
	cmd->opcode = KVSINK_OP_SWAP_IN;
	cmd->swap_in.stream = args->stream;
	cmd->swap_in.bytes = args->bytes;
	return check_swap(env, args, &cmd->swap_in.image);
}

void kvsink_logic_build_swap_place(uint64_t stream, uint64_t page_table, uint64_t scores,
				   struct kvsink_cmd *cmd)
{
	memset(cmd, 0, sizeof(*cmd));
	cmd->opcode = KVSINK_OP_SWAP_PLACE;
	cmd->swap_place.stream = stream;
	cmd->swap_place.page_table = page_table;
	cmd->swap_place.scores = scores;
}

void kvsink_logic_build_swap_unplace(uint64_t stream, struct kvsink_cmd *cmd)
{
	kvsink_logic_build_swap_place(stream, 0, 0, cmd);
	cmd->flags = KVSINK_PLACE_NONE;
}

int kvsink_logic_swap_in_error(int err)
{
	return err == -EBUSY || err == -ENODATA || err == -EILSEQ ? -ECANCELED : err;
}

void kvsink_logic_swap_answer(struct drm_kvsink_swap *args, const struct kvsink_completion *said)
{
	args->bytes = 0;
	args->code = said->code;
	if (said->code == KVSINK_CODE_OK)
		args->bytes = said->result[0] | (uint64_t)said->result[1] << 32;
	else if (said->code == KVSINK_CODE_TOO_BIG)
		args->bytes = said->address;
}
