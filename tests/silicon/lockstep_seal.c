// SPDX-License-Identifier: MIT
/*
 * SEAL and SCORE_IMPORT in lockstep: both change what entries and E of later operations are made of.
 */
#include "lockstep.h"

#define MOST_ITEMS 12

static struct kvsink_place_item some_rows(unsigned s, uint32_t tokens)
{
	const struct ref_stream *st = &both.ref.stream[s];
	uint32_t begin = below(REF_LAYERS), count = tokens > st->sealed ? tokens - st->sealed : 1;

	if (count > REF_PAGE && both.ops % 2) /* all in one page, which may then be too many */
		count = REF_PAGE;
	return (struct kvsink_place_item){
		.token = below(60) ? st->sealed + below(count) : below(REF_TOKENS),
		.layer_begin = (uint16_t)begin,
		.layer_end = (uint16_t)(begin + (below(100) != 0) * (1 + below(REF_LAYERS - begin))),
		.head_mask = below(100) ? 1 + below(3) : 4 * below(2),
	};
}

void lockstep_seal(unsigned s)
{
	const struct ref_stream *st = &both.ref.stream[s];
	uint32_t pages = st->length / REF_PAGE, count = below(4) ? below(4) : MOST_ITEMS;
	uint32_t tokens = (below(8) && pages ? 1 + below(pages) : below(REF_PAGES + 1)) * REF_PAGE;
	struct kvsink_place_item keep[MOST_ITEMS];
	uint32_t prefix = st->prefix;
	struct kvsink_cmd *cmd;
	struct ref_answer want;

	if (below(30) == 0)
		tokens += below(REF_PAGE);
	for (uint32_t i = 0; i < count; i++) {
		keep[i] = some_rows(s, tokens);
		h_item(&both.h, &(union kvsink_item){.place = keep[i]});
	}
	cmd = h_seal_cmd(&both.h, &both.streams[s], tokens);
	cmd->seal.item_count = count;
	want = ref_seal(&both.ref, s, keep, count, tokens);
	lockstep_run(s);
	lockstep_answered(&want);
	if (!st->prefix) /* no longer, if it did */
		lockstep_unused(prefix);
	both.outcome = want.code;
}

/* Sums that queries could have given, mostly: each is below a share of what all of them have. */
void lockstep_import(unsigned s)
{
	uint32_t group = below(REF_GROUPS), length = both.ref.stream[s].length;
	uint32_t count = below(20) ? length : below(REF_TOKENS + 1);
	uint64_t sums[REF_TOKENS + 1];
	uint32_t scale = below(12) ? 1 : 64, want;

	for (uint32_t t = 0; t < count; t++)
		sums[t] = t + 20 < length ? (uint64_t)h_random(&both.seed) / 4 * scale : 0;
	h_put(&both.h, H_FREE, sums, count * sizeof(sums[0]));
	h_cmd(&both.h, KVSINK_OP_SCORE_IMPORT)->score_import =
		(struct kvsink_cmd_score_import){both.streams[s].id, group, count, h_gart(H_FREE)};
	want = ref_import(&both.ref, s, group, count, sums);
	SAME(lockstep_run(s), want, "SCORE_IMPORT");
	both.outcome = both.h.cpl.code;
}
