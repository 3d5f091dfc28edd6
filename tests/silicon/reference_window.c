// SPDX-License-Identifier: MIT
/*
 * Replay windows of the model. What is on trial is written down beside the stream, which is left alone; a
 * commit makes single steps of it, the others are forgotten.
 */
#include <string.h>

#include "reference_parts.h"

bool ref_pinned(const struct ref *r, unsigned s)
{
	const struct ref_window *w = &r->stream[s].replay;

	return w->tokens && r->now < w->since + KVSINK_MAX_LEASE_NS;
}

uint32_t ref_window_begin(struct ref *r, unsigned s, uint32_t tokens)
{
	struct ref_stream *st = &r->stream[s];

	if (st->closed)
		return KVSINK_CODE_CLOSED;
	if (st->replay.tokens)
		return KVSINK_CODE_WINDOW;
	if (st->swapped)
		return KVSINK_CODE_SWAPPED;
	if (!tokens || tokens > KVSINK_MAX_WINDOW_TOKENS)
		return KVSINK_CODE_BAD_FIELD;
	for (uint32_t l = 0; l < REF_LAYERS; l++)
		if (st->appended[l])
			return KVSINK_CODE_BUSY;
	st->replay = (struct ref_window){.tokens = tokens, .since = r->now};
	return KVSINK_CODE_OK;
}

uint32_t ref_window_append(struct ref *r, unsigned s, uint32_t layer, uint32_t count)
{
	struct ref_window *w = &r->stream[s].replay;

	if (w->rows[layer] + count > w->tokens)
		return KVSINK_CODE_TOO_BIG;
	w->rows[layer] += count;
	return KVSINK_CODE_OK;
}

void ref_window_attend(struct ref *r, unsigned s, uint32_t layer, uint32_t first, uint32_t count)
{
	struct ref_stream *st = &r->stream[s];

	for (uint32_t i = first; i < first + count; i++)
		if (i >= st->length && st->group[0].params[KVSINK_PARAM_PLACEMENT])
			st->replay.seen[layer][i - st->length] = true;
}

/* Row i as a step. */
static void step(struct ref *r, unsigned s, const struct ref_window *w, uint32_t i,
		 const uint64_t *const *mass)
{
	for (uint32_t l = 0; l < REF_LAYERS; l++) {
		ref_append(r, s, l, 1);
		if (w->seen[l][i])
			ref_attend(r, s, l, r->stream[s].length, 1);
	}
	ref_step_end(r, s, 1, mass);
}

uint32_t ref_window_commit(struct ref *r, unsigned s, uint32_t count,
			   const uint64_t *const mass[][REF_GROUPS])
{
	struct ref_window w = r->stream[s].replay;

	if (r->stream[s].swapped)
		return KVSINK_CODE_SWAPPED;
	if (!w.tokens)
		return KVSINK_CODE_NO_WINDOW;
	for (uint32_t l = 1; count && l < REF_LAYERS; l++)
		if (w.rows[l] != w.rows[0])
			return KVSINK_CODE_SEQUENCE;
	if (count > w.rows[0])
		return KVSINK_CODE_BAD_FIELD;
	memset(&r->stream[s].replay, 0, sizeof(w));
	for (uint32_t i = 0; i < count; i++)
		step(r, s, &w, i, mass[i]);
	return KVSINK_CODE_OK;
}
