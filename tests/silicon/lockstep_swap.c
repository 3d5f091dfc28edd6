// SPDX-License-Identifier: MIT
/*
 * Swap in lockstep: a stream leaves HBM in whatever state it is, everything else goes on, and it comes back
 * to its other place. What it leaves behind is overwritten at once, so that nothing can still be read there.
 */
#include "lockstep.h"

#define IMAGE_BYTES 0x40000u /* of each stream */

static unsigned place[REF_STREAMS]; /* where each lies, or has lain last */

static uint64_t image_of(unsigned s)
{
	return H_FREE + s * IMAGE_BYTES;
}

static void swap_out(unsigned s)
{
	uint32_t want = ref_swap_out(&both.ref, s);
	struct kvsink_cmd *cmd;

	h_cmd(&both.h, KVSINK_OP_BARRIER)->barrier.stream = both.streams[s].id;
	cmd = h_cmd(&both.h, KVSINK_OP_SWAP_OUT);
	cmd->swap_out = (struct kvsink_cmd_swap_out){.stream = both.streams[s].id,
						     .image = h_gart(image_of(s)),
						     .bytes = IMAGE_BYTES,
						     .key = {both.ops, s}};
	SAME(lockstep_run(s), want, "SWAP_OUT");
	if (!want)
		memset(both.h.hbm + both.streams[s].page_table, 0xee, LOCKSTEP_PLACE_BYTES);
}

static void swap_in(unsigned s)
{
	struct kvsink_cmd *cmd;
	uint32_t want = ref_swap_in(&both.ref, s);

	if (!want) {
		place[s] ^= 1;
		lockstep_lay_out(s, place[s]);
		cmd = h_cmd(&both.h, KVSINK_OP_SWAP_PLACE);
		cmd->swap_place = (struct kvsink_cmd_swap_place){
			both.streams[s].id, both.streams[s].page_table, both.streams[s].scores};
		SAME(lockstep_run_privileged(), KVSINK_CODE_OK, "SWAP_PLACE");
		lockstep_map_pages(s);
	}
	h_swap_in_cmd(&both.h, &both.streams[s], image_of(s));
	SAME(lockstep_run(s), want, "SWAP_IN");
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
