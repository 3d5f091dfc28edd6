// SPDX-License-Identifier: MIT
/*
 * driver/logic/window.c: what WINDOW_BEGIN and WINDOW_COMMIT refuse, the commands that they become, how large
 * a journal is, and their answers.
 */
#include "logic_case.h"

static struct drm_kvsink_window good_window(void)
{
	return (struct drm_kvsink_window){.stream = OWN, .tokens = 8};
}

static int call_begin(void *args)
{
	struct kvsink_logic_stream stream;

	return kvsink_logic_window_begin(&env, args, &stream);
}

static int call_commit(void *args)
{
	struct kvsink_cmd cmd;

	return kvsink_logic_build_window_commit(&env, args, &cmd);
}

static void refusals(void)
{
	static const struct bad cases[] = {
		BAD(drm_kvsink_window, stream, 0, ENOENT),
		BAD(drm_kvsink_window, stream, 99, ENOENT),
		BAD(drm_kvsink_window, stream, FOREIGN, EACCES),
		BAD(drm_kvsink_window, tokens, 65, EINVAL),
		BAD(drm_kvsink_window, tokens, UINT32_MAX, EINVAL),
		BAD(drm_kvsink_window, pad, 1, EINVAL),
	};
	static const struct bad none[] = {BAD(drm_kvsink_window, tokens, 0, EINVAL)};
	struct drm_kvsink_window args = good_window();

	try_all("WINDOW_BEGIN", &args, cases, COUNT(cases), call_begin);
	try_all("WINDOW_BEGIN", &args, none, COUNT(none), call_begin);
	try_all("WINDOW_COMMIT", &args, cases, COUNT(cases), call_commit);
	args.tokens = 0;
	tap_ok(!call_commit(&args), "WINDOW_COMMIT of 0 is a rollback");
}

static void commands(void)
{
	struct kvsink_logic_stream stream = {
		.layers = 3, .kv_heads = 2, .score_groups = 2, .page_tokens = 16};
	struct drm_kvsink_window args = good_window();
	struct kvsink_cmd cmd;

	kvsink_logic_build_window_begin(&args, 8192, 5000, &cmd);
	tap_ok(cmd.opcode == KVSINK_OP_WINDOW_BEGIN && !cmd.flags && cmd.window_begin.stream == OWN &&
		       cmd.window_begin.journal == 8192 && cmd.window_begin.bytes == 5000 &&
		       cmd.window_begin.tokens == 8 && !cmd.window_begin.reserved,
	       "WINDOW_BEGIN names the journal");
	kvsink_logic_build_window_commit(&env, &args, &cmd);
	tap_ok(cmd.opcode == KVSINK_OP_WINDOW_COMMIT && !cmd.flags && cmd.window_commit.stream == OWN &&
		       cmd.window_commit.count == 8 && !cmd.window_commit.reserved,
	       "WINDOW_COMMIT names the rows");
	/* 8 queries: two groups of 5 pages and the window's tokens; sinks of 3 layers and 2 heads; maxima */
	tap_ok(kvsink_logic_journal_bytes(&stream, 5, 8) == 8 * 2 * (80 + 8) * 8 + 8 * 3 * 2 * 8 + 3 * 2 * 4,
	       "a journal has room for every query of a stream that fills its pages");
}

static void answers(void)
{
	struct kvsink_completion cpl = {.result = {3, 5}, .address = 77};
	struct drm_kvsink_window args = good_window();

	kvsink_logic_window_answer(&args, &cpl);
	tap_ok(!args.code && args.rows == 5 && kvsink_logic_window_ended(&cpl),
	       "success tells the rows in all");
	cpl.code = KVSINK_CODE_NO_WINDOW;
	kvsink_logic_window_answer(&args, &cpl);
	tap_ok(args.code == KVSINK_CODE_NO_WINDOW && !args.rows && kvsink_logic_window_ended(&cpl),
	       "without a window there are none, and no journal is needed");
	cpl.code = KVSINK_CODE_ABORTED;
	tap_ok(!kvsink_logic_window_ended(&cpl), "what nobody saw says nothing of the journal");
	cpl.code = KVSINK_CODE_SEQUENCE;
	tap_ok(!kvsink_logic_window_ended(&cpl), "nor is it free after a refusal");
	tap_ok(kvsink_logic_errno(KVSINK_CODE_WINDOW) == -EBUSY &&
		       kvsink_logic_errno(KVSINK_CODE_NO_WINDOW) == -ENOENT,
	       "WINDOW is EBUSY, NO_WINDOW ENOENT");
}

int main(void)
{
	refusals();
	commands();
	answers();
	return tap_done();
}
