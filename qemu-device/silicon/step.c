/* SPDX-License-Identifier: MIT */
/*
 * STEP_END: the rows appended since the last step become part of the stream, all layers together, or are
 * dropped. This is the one moment at which the controller acts by itself: E and comparator move, then, in
 * AUTO mode, entries. WINDOW_COMMIT (window.c) makes steps in the same way.
 */
#include "chip.h"

static void forget_open_step(struct kvsink_stream *s)
{
	for (uint32_t l = 0; l < s->layers; l++)
		s->layer[l].appended = 0;
}

static uint32_t step_abort(struct kvsink_ring *ring, struct kvsink_stream *s)
{
	kvsink_tail_abort(s);
	kvsink_ema_abort(ring->chip, s);
	ring->hbm_bytes = kvsink_norm_abort(ring->chip, s);
	kvsink_spend(ring, ring->hbm_bytes);
	forget_open_step(s);
	return KVSINK_CODE_OK;
}

void kvsink_step_make(struct kvsink_ring *ring, struct kvsink_stream *s, uint32_t count)
{
	for (uint32_t l = 0; l < s->layers; l++)
		s->layer[l].appended -= count;
	s->length += count;
	kvsink_ledger_add(ring->chip, s, KVSINK_COUNTER_STEPS, count);
	kvsink_ema_step(ring, s);
	kvsink_tail_step(ring->chip, s);
	if (kvsink_param(s, KVSINK_PARAM_PLACEMENT) == KVSINK_PLACEMENT_AUTO)
		kvsink_place_auto(ring, s);
}

uint32_t kvsink_cmd_step_end(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_cmd_step_end *c = &cmd->step_end;
	struct kvsink_stream *s;
	uint32_t code = kvsink_stream_get_hbm(ring, c->stream, &s);

	if (code)
		return code;
	if (c->reserved)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(step_end.reserved));
	if (cmd->flags & KVSINK_STEP_ABORT)
		return step_abort(ring, s);
	if (!c->count)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(step_end.count));
	for (uint32_t l = 0; l < s->layers; l++)
		if (s->layer[l].appended != c->count)
			return kvsink_fault(ring, KVSINK_CODE_SEQUENCE,
					    (uint64_t)s->length + s->layer[l].appended);
	kvsink_step_make(ring, s, c->count);
	return KVSINK_CODE_OK;
}
