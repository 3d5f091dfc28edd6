// SPDX-License-Identifier: MIT
/*
 * driver/logic/prefix.c: what PREFIX_PUBLISH, ATTACH and DETACH refuse, what a prefix takes of HBM, and the
 * commands that they become.
 */
#include "logic_case.h"

static struct kvsink_logic_layout layout;
static bool needs_page;

static int call_publish(void *args)
{
	struct kvsink_logic_stream stream;

	return kvsink_logic_prefix_publish(&env, args, &stream, &layout);
}

static int call_attach(void *args)
{
	return kvsink_logic_prefix_attach(&env, args, &needs_page);
}

static int call_detach(void *args)
{
	return kvsink_logic_prefix_detach(&env, args);
}

static void refusals(void)
{
	static const struct bad publish[] = {
		BAD(drm_kvsink_prefix_publish, stream, 99, ENOENT),
		BAD(drm_kvsink_prefix_publish, stream, FOREIGN, EACCES),
		BAD(drm_kvsink_prefix_publish, tokens, 0, EINVAL),
		BAD(drm_kvsink_prefix_publish, tokens, 65, EINVAL),
		BAD(drm_kvsink_prefix_publish, tokens, UINT32_MAX, EINVAL),
		BAD(drm_kvsink_prefix_publish, flags, 1, EINVAL),
	};
	static const struct bad attach[] = {
		BAD(drm_kvsink_prefix_attach, stream, 99, ENOENT),
		BAD(drm_kvsink_prefix_attach, stream, FOREIGN, EACCES),
		BAD(drm_kvsink_prefix_attach, tokens, 0, EINVAL),
		BAD(drm_kvsink_prefix_attach, tokens, 65, EINVAL),
		BAD(drm_kvsink_prefix_attach, tokens, UINT32_MAX, EINVAL),
		BAD(drm_kvsink_prefix_attach, pad, 1, EINVAL),
	};
	static const struct bad detach[] = {
		BAD(drm_kvsink_prefix_detach, stream, 99, ENOENT),
		BAD(drm_kvsink_prefix_detach, stream, FOREIGN, EACCES),
		BAD(drm_kvsink_prefix_detach, pad, 1, EINVAL),
	};
	struct drm_kvsink_prefix_publish one = {.stream = OWN, .tokens = 64};
	struct drm_kvsink_prefix_attach two = {.stream = OWN, .handle = 1, .tokens = 64};
	struct drm_kvsink_prefix_detach three = {.stream = OWN};

	try_all("PREFIX_PUBLISH", &one, publish, COUNT(publish), call_publish);
	try_all("PREFIX_ATTACH", &two, attach, COUNT(attach), call_attach);
	try_all("PREFIX_DETACH", &three, detach, COUNT(detach), call_detach);
}

/* Wide enough that alignment hides nothing. */
static uint64_t scores_of(uint32_t tokens)
{
	struct drm_kvsink_prefix_publish args = {.stream = WIDE, .tokens = tokens};

	call_publish(&args);
	return layout.score_bytes;
}

static void layouts(void)
{
	struct drm_kvsink_prefix_publish args = {.stream = OWN, .tokens = 32};
	struct drm_kvsink_prefix_attach attach = {.stream = OWN, .handle = 1, .tokens = 32};

	tap_ok(!call_publish(&args) && layout.max_pages == 2 && !layout.reserve_pages,
	       "PREFIX_PUBLISH of whole pages needs none of its own");
	args.tokens = 33;
	tap_ok(!call_publish(&args) && layout.max_pages == 3 && layout.reserve_pages == 1 &&
		       layout.page_bytes == 4096 * ((4 * 2 * 24 * 4 * 16 + 4095) / 4096),
	       "of a part of one it needs that page");
	tap_ok(layout.table_bytes == 4096 && !(layout.score_bytes % 4096), "a table, and scores, aligned");
	/* what the chip checks is the area for all tokens that its pages have */
	tap_ok(layout.score_bytes >= kvsink_score_bytes(4, 2, 2, 48) && scores_of(33) == scores_of(48),
	       "with room for scores of whole pages");
	args.stream = OWN_FLAGS;
	tap_ok(!call_publish(&args) &&
		       layout.score_bytes >= kvsink_head_params_bytes(KVSINK_STREAM_FLAGS, 4, 8) +
						     kvsink_score_bytes(4, 2, 2, 48),
	       "and the parameters of the heads");
	tap_ok(!call_attach(&attach) && !needs_page, "PREFIX_ATTACH of whole pages needs no page");
	attach.tokens = 33;
	tap_ok(!call_attach(&attach) && needs_page, "of a part of one it does");
}

static void commands(void)
{
	struct drm_kvsink_prefix_publish args = {.stream = OWN, .tokens = 33, .key = {5, 6}};
	struct drm_kvsink_prefix_attach attach = {.stream = OWN, .handle = 1, .tokens = 33};
	union kvsink_item items[2] = {0};
	uint64_t pages[5] = {4096, 8192, 12288, 16384, 20480};
	struct kvsink_cmd cmd;

	kvsink_logic_build_publish(&args, 70, 4096, 8192, 12288, &cmd);
	tap_ok(cmd.opcode == KVSINK_OP_PREFIX_PUBLISH && cmd.prefix_publish.stream == OWN &&
		       cmd.prefix_publish.prefix == 70 && cmd.prefix_publish.page_table == 4096 &&
		       cmd.prefix_publish.scores == 8192 && cmd.prefix_publish.page == 12288 &&
		       cmd.prefix_publish.tokens == 33 && cmd.prefix_publish.key[0] == 5 &&
		       cmd.prefix_publish.key[1] == 6 && !cmd.prefix_publish.reserved,
	       "PREFIX_PUBLISH names its areas");
	kvsink_logic_build_attach(&attach, 70, 12288, &cmd);
	tap_ok(cmd.opcode == KVSINK_OP_PREFIX_ATTACH && cmd.prefix_attach.stream == OWN &&
		       cmd.prefix_attach.prefix == 70 && cmd.prefix_attach.page == 12288 &&
		       cmd.prefix_attach.tokens == 33 && !cmd.prefix_attach.reserved,
	       "PREFIX_ATTACH names the prefix by its id");
	kvsink_logic_build_detach(OWN, 2, pages, 5, &cmd, items);
	tap_ok(cmd.opcode == KVSINK_OP_PREFIX_DETACH && cmd.prefix_detach.stream == OWN &&
		       cmd.prefix_detach.first_page == 2 && cmd.prefix_detach.count == 5 &&
		       items[0].pages[0] == 4096 && items[1].pages[0] == 20480,
	       "PREFIX_DETACH names the new pages");
}

int main(void)
{
	refusals();
	layouts();
	commands();
	return tap_done();
}
