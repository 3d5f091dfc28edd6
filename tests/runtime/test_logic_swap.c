// SPDX-License-Identifier: MIT
/*
 * driver/logic/swap.c: what SWAP_OUT and SWAP_IN refuse, the commands that they become, and their answers.
 */
#include "logic_case.h"

static const uint64_t key[2] = {0x1111, 0x2222};

static struct drm_kvsink_swap good_swap(void)
{
	return (struct drm_kvsink_swap){.stream = OWN, .image = {.handle = BO, .offset = 64}, .bytes = 4096};
}

static int call_out(void *args)
{
	struct kvsink_cmd barrier, swap;

	return kvsink_logic_build_swap_out(&env, args, key, &barrier, &swap);
}

static int call_in(void *args)
{
	struct kvsink_cmd cmd;

	return kvsink_logic_build_swap_in(&env, args, &cmd);
}

static void refusals(void)
{
	static const struct bad cases[] = {
		BAD(drm_kvsink_swap, stream, 0, ENOENT),
		BAD(drm_kvsink_swap, stream, 99, ENOENT),
		BAD(drm_kvsink_swap, stream, FOREIGN, EACCES),
		BAD(drm_kvsink_swap, image.handle, 0, ENOENT),
		BAD(drm_kvsink_swap, image.handle, 99, ENOENT),
		BAD(drm_kvsink_swap, image.pad, 1, EINVAL),
		BAD(drm_kvsink_swap, image.offset, 2, EINVAL),
		BAD(drm_kvsink_swap, image.offset, 64 << 10, EFAULT),
		BAD(drm_kvsink_swap, image.offset, UINT64_MAX - 3, EFAULT),
		BAD_AS(drm_kvsink_swap, bytes, 64 << 10, EFAULT, image.offset),
		BAD_AS(drm_kvsink_swap, bytes, UINT64_MAX, EFAULT, image.offset),
		BAD(drm_kvsink_swap, pad, 1, EINVAL),
	};
	struct drm_kvsink_swap args = good_swap();

	try_all("SWAP_OUT", &args, cases, COUNT(cases), call_out);
	try_all("SWAP_IN", &args, cases, COUNT(cases), call_in);
}

static void commands(void)
{
	struct drm_kvsink_swap args = good_swap();
	struct kvsink_cmd barrier, cmd;

	kvsink_logic_build_swap_out(&env, &args, key, &barrier, &cmd);
	tap_ok(barrier.opcode == KVSINK_OP_BARRIER && barrier.barrier.stream == OWN,
	       "SWAP_OUT waits for the stream's copies first");
	tap_ok(cmd.opcode == KVSINK_OP_SWAP_OUT && !cmd.flags && cmd.swap_out.stream == OWN &&
		       cmd.swap_out.image.space == KVSINK_SPACE_GART &&
		       cmd.swap_out.image.offset == (1 << 20) + 64 && cmd.swap_out.bytes == 4096 &&
		       cmd.swap_out.key[0] == key[0] && cmd.swap_out.key[1] == key[1],
	       "then comes the command");
	kvsink_logic_build_swap_in(&env, &args, &cmd);
	tap_ok(cmd.opcode == KVSINK_OP_SWAP_IN && !cmd.flags && cmd.swap_in.stream == OWN &&
		       cmd.swap_in.image.offset == (1 << 20) + 64 && cmd.swap_in.bytes == 4096 &&
		       !cmd.words[4] && !cmd.words[5],
	       "SWAP_IN names the image and no key");
	kvsink_logic_build_swap_place(OWN, 4096, 8192, &cmd);
	tap_ok(cmd.opcode == KVSINK_OP_SWAP_PLACE && !cmd.flags && cmd.swap_place.stream == OWN &&
		       cmd.swap_place.page_table == 4096 && cmd.swap_place.scores == 8192,
	       "SWAP_PLACE says where to");
	kvsink_logic_build_swap_unplace(OWN, &cmd);
	tap_ok(cmd.flags == KVSINK_PLACE_NONE && !cmd.swap_place.page_table && !cmd.swap_place.scores,
	       "and takes it back");
}

static void answers(void)
{
	struct kvsink_completion cpl = {.result = {5, 1}, .address = 77};
	struct drm_kvsink_swap args = good_swap();

	kvsink_logic_swap_answer(&args, &cpl);
	tap_ok(!args.code && args.bytes == (1ull << 32 | 5), "success tells the size of the image");
	cpl.code = KVSINK_CODE_TOO_BIG;
	kvsink_logic_swap_answer(&args, &cpl);
	tap_ok(args.code == KVSINK_CODE_TOO_BIG && args.bytes == 77, "so does a buffer that is too small");
	cpl.code = KVSINK_CODE_GART_FAULT;
	kvsink_logic_swap_answer(&args, &cpl);
	tap_ok(args.code == KVSINK_CODE_GART_FAULT && !args.bytes, "no other code's address is told");
	cpl.code = KVSINK_CODE_ABORTED;
	kvsink_logic_swap_answer(&args, &cpl);
	tap_ok(args.code == KVSINK_CODE_ABORTED && !args.bytes, "nor anything that nobody saw");
	tap_ok(kvsink_logic_swap_in_error(-EBUSY) == -ECANCELED &&
		       kvsink_logic_swap_in_error(-ENODATA) == -ECANCELED &&
		       kvsink_logic_swap_in_error(-EILSEQ) == -ECANCELED,
	       "a place that is gone was taken by a reset");
	tap_ok(kvsink_logic_swap_in_error(-EBADMSG) == -EBADMSG &&
		       kvsink_logic_swap_in_error(-ENOSPC) == -ENOSPC && !kvsink_logic_swap_in_error(0),
	       "other errors are what they are");
	tap_ok(kvsink_logic_errno(KVSINK_CODE_SWAPPED) == -ENODATA &&
		       kvsink_logic_errno(KVSINK_CODE_IMAGE) == -EBADMSG,
	       "SWAPPED and IMAGE have an errno of their own");
}

int main(void)
{
	refusals();
	commands();
	answers();
	return tap_done();
}
