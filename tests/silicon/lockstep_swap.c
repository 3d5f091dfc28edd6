// SPDX-License-Identifier: MIT
/*
 * Swap in lockstep: a stream leaves HBM in whatever state it is, everything else goes on, and it comes back
 * to its other place. What it leaves behind is overwritten at once, so that nothing can still be read there.
 */
#include "lockstep.h"

#define IMAGE_BYTES 0x28000u /* of each stream */

/* Two lie behind the operands of each kind, which need less than their room. */
static uint64_t image_of(unsigned s)
{
	return s / 2 * 0x80000ull + 0x20000 + s % 2 * IMAGE_BYTES;
}

/* The score area, and those pages up to the length that are its own. */
static uint64_t image_bytes(unsigned s)
{
	uint64_t scores = kvsink_score_bytes(REF_LAYERS, 2, REF_GROUPS, REF_TOKENS);
	uint32_t pages = (both.ref.stream[s].length + REF_PAGE - 1) / REF_PAGE;
	uint32_t own = both.ref.stream[s].own_page;

	return (scores + 7) / 8 * 8 + (pages > own ? pages - own : 0) * (uint64_t)LOCKSTEP_PAGE_BYTES;
}

static void swap_out(unsigned s)
{
	uint32_t pages = both.ref.stream[s].mapped, want = ref_swap_out(&both.ref, s);
	struct kvsink_cmd *cmd;

	h_cmd(&both.h, KVSINK_OP_BARRIER)->barrier.stream = both.streams[s].id;
	cmd = h_cmd(&both.h, KVSINK_OP_SWAP_OUT);
	cmd->swap_out = (struct kvsink_cmd_swap_out){.stream = both.streams[s].id,
						     .image = h_gart(image_of(s)),
						     .bytes = IMAGE_BYTES,
						     .key = {both.ops, s}};
	SAME(lockstep_run(s), want, "SWAP_OUT");
	both.outcome = both.h.cpl.code;
	if (want)
		return;
	SAME(both.h.cpl.result[0], image_bytes(s), "bytes of an image");
	SAME(both.h.cpl.result[2], pages, "pages that a stream had");
	lockstep_drop_all(s);
}

static void swap_in(unsigned s)
{
	struct kvsink_cmd *cmd;
	uint32_t want = ref_swap_in(&both.ref, s);

	if (!want) {
		lockstep_take_area(s);
		cmd = h_cmd(&both.h, KVSINK_OP_SWAP_PLACE);
		cmd->swap_place = (struct kvsink_cmd_swap_place){
			both.streams[s].id, both.streams[s].page_table, both.streams[s].scores};
		SAME(lockstep_run_privileged(), KVSINK_CODE_OK, "SWAP_PLACE");
		both.ref.stream[s].mapped = both.ref.stream[s].own_page;
		lockstep_map_pages(s);
	}
	h_swap_in_cmd(&both.h, &both.streams[s], image_of(s));
	SAME(lockstep_run(s), want, "SWAP_IN");
	both.outcome = both.h.cpl.code;
}

void lockstep_swap(unsigned s)
{
	bool out = both.ref.stream[s].swapped;

	if (below(10) == 0)
		out = !out;
	if (out)
		swap_in(s);
	else
		swap_out(s);
}

void lockstep_refused(unsigned s)
{
	struct kvsink_cmd *cmd;

	if (below(2)) {
		h_query_cmd(&both.h, KVSINK_QUERY_VERDICTS, both.streams[s].id, 0, 1);
	} else {
		cmd = h_cmd(&both.h, KVSINK_OP_APPEND);
		cmd->append = (struct kvsink_cmd_append){.stream = both.streams[s].id,
							 .first = both.ref.stream[s].length,
							 .count = 1,
							 .k = h_gart(H_K),
							 .v = h_gart(H_V)};
	}
	SAME(lockstep_run(s), KVSINK_CODE_SWAPPED, "a stream that is out");
}
