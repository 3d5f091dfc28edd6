/* SPDX-License-Identifier: MIT */
/*
 * SCORE_IMPORT: scores of a group that were computed elsewhere, by a runtime that did the prefill itself.
 * Only sums that the prompt's queries could have given are taken, so a false size or unit is refused and not
 * believed.
 */
#include <string.h>

#include "chip.h"

static uint32_t check_state(struct kvsink_ring *ring, const struct kvsink_stream *s,
			    const struct kvsink_cmd_score_import *c)
{
	if (c->group >= s->score_groups)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(score_import.group));
	if (!c->count)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(score_import.count));
	if (c->count != s->length)
		return kvsink_fault(ring, KVSINK_CODE_SEQUENCE, s->length);
	for (uint32_t l = s->group[c->group].begin; l < s->group[c->group].end; l++)
		if (s->layer[l].scored)
			return kvsink_fault(ring, KVSINK_CODE_BUSY, s->layer[l].scored);
	return KVSINK_CODE_OK;
}

/* No query gives a token more than its whole attention. */
static bool sums_possible(const struct kvsink_chip *chip, const struct kvsink_stream *s, uint32_t group,
			  const uint64_t *sum)
{
	struct kvsink_view_layers layers;
	struct kvsink_score_view view;

	kvsink_score_view_of(chip, s, group, &layers, &view);
	view.tokens = s->length;
	view.scored = s->length;
	for (uint32_t t = 0; t < s->length; t++)
		if (sum[t] > (unsigned __int128)kvsink_observations(&view, t) << 16)
			return false;
	return true;
}

uint32_t kvsink_cmd_score_import(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_cmd_score_import *c = &cmd->score_import;
	struct kvsink_chip *chip = ring->chip;
	uint64_t *sum = (void *)ring->work.q, *to;
	uint64_t bytes = (uint64_t)c->count * sizeof(*sum);
	struct kvsink_stream *s;
	uint32_t code = kvsink_stream_get_hbm(ring, c->stream, &s);

	if (!code)
		code = check_state(ring, s, c);
	if (!code)
		code = kvsink_operand_check(ring, &c->src, bytes);
	if (!code)
		code = kvsink_operand_read(ring, &c->src, 0, sum, bytes);
	if (code)
		return code;
	kvsink_spend(ring, (uint64_t)c->count * s->layers);
	if (!sums_possible(chip, s, c->group, sum))
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(score_import.src));
	to = kvsink_planes(chip, s, c->group).sum;
	memcpy(to, sum, bytes);
	kvsink_dirty(chip, KVSINK_SPACE_HBM, (uint64_t)((uint8_t *)to - chip->config.hbm), bytes);
	kvsink_ledger_add(chip, s, KVSINK_COUNTER_SCORE_HBM, bytes);
	for (uint32_t l = s->group[c->group].begin; l < s->group[c->group].end; l++)
		s->layer[l].scored = c->count;
	return KVSINK_CODE_OK;
}

_Static_assert(KVSINK_MAX_TOKENS * sizeof(uint64_t) <= KVSINK_STAGE_BYTES,
	       "the longest stream's sums fit the staging");
