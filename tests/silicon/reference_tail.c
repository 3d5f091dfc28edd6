// SPDX-License-Identifier: MIT
/*
 * Tails of the model: the range of SRAM that a group's newest tokens take, from which token on it holds them,
 * and its lease. What they hold is compared elsewhere.
 */
#include <string.h>

#include "reference_parts.h"

void ref_drop_tail(struct ref_group *g)
{
	memset(&g->tail, 0, sizeof(g->tail));
	g->params[KVSINK_PARAM_TAIL_TOKENS] = 0;
}

uint32_t ref_set_tail(struct ref *r, unsigned s, uint32_t g, uint32_t tokens)
{
	struct ref_stream *st = &r->stream[s];
	struct ref_group *group = &st->group[g];
	uint32_t range = (uint32_t)group->params[KVSINK_PARAM_LAYER_RANGE];
	struct ref_tail keep = group->tail, tail = {.tokens = tokens, .from = st->length};
	enum lack lack = NOTHING;

	tail.begin = group->begin > (range & 0xffff) ? group->begin : range & 0xffff;
	tail.end = group->end < range >> 16 ? group->end : range >> 16;
	for (uint32_t l = tail.begin; l < tail.end; l++) /* rows that are there are not in it */
		if (st->length + st->appended[l] > tail.from)
			tail.from = st->length + st->appended[l];
	tail.heads = group->params[KVSINK_PARAM_HEAD_MASK] & ref_all_heads(st);
	tail.deadline = r->now + KVSINK_MAX_LEASE_NS;
	memset(&group->tail, 0, sizeof(group->tail));
	if (!tokens || tail.begin >= tail.end || !tail.heads)
		return KVSINK_CODE_OK;
	tail.units = ref_units_for(st, tail.end - tail.begin, tail.heads, tokens);
	lack = ref_lacking(r, s, tail.units, false, &tail.unit);
	group->tail = lack == NOTHING ? tail : keep;
	return ref_lack_code[lack];
}

void ref_lose_tail(struct ref *r, unsigned s, uint32_t group)
{
	struct ref_group *g = &r->stream[s].group[group];

	r->stream[s].broken += r->now < g->tail.deadline;
	ref_drop_tail(g);
}

bool ref_in_tail(const struct ref_stream *st, const struct ref_group *g, uint32_t token)
{
	return g->tail.tokens && token >= g->tail.from && token + g->tail.tokens >= st->length;
}

void ref_abort_tail(const struct ref_stream *st, struct ref_tail *t)
{
	uint32_t end = st->length;

	for (uint32_t l = t->begin; l < t->end; l++)
		if (st->length + st->appended[l] > end)
			end = st->length + st->appended[l];
	if (t->tokens && end > st->length && end > t->from + t->tokens)
		t->from = end - t->tokens;
}
