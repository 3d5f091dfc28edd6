// SPDX-License-Identifier: MIT
/*
 * PROMOTE of the model: what it refuses, which entries and tails give way to a grant and in what order, and
 * lists that are granted as a whole or as far as they go. A trial that fails is undone by copying all of the
 * model back.
 */
#include "reference_parts.h"

static uint32_t check_places(const struct ref *r, unsigned s, const struct kvsink_place_item *items,
			     uint32_t count, uint64_t *address)
{
	const struct ref_stream *st = &r->stream[s];
	uint32_t range = (uint32_t)st->group[0].params[KVSINK_PARAM_LAYER_RANGE];

	for (uint32_t i = 0; i < count; i++) {
		const struct kvsink_place_item *p = &items[i];
		uint64_t allowed = ref_all_heads(st);

		if (p->layer_begin >= p->layer_end || p->layer_end > st->layers ||
		    p->layer_begin < (range & 0xffff) || p->layer_end > range >> 16)
			return KVSINK_CODE_BAD_FIELD;
		for (uint32_t l = p->layer_begin; l < p->layer_end; l++)
			allowed &= st->group[ref_group_of(st, l)].params[KVSINK_PARAM_HEAD_MASK];
		if (!p->head_mask || (p->head_mask & ~allowed) || p->token >= st->length)
			return KVSINK_CODE_BAD_FIELD;
		if (p->token < st->shared) {
			*address = p->token;
			return KVSINK_CODE_SHARED;
		}
		if (ref_resident(r, s, p->token, p->layer_begin, p->layer_end, p->head_mask))
			return KVSINK_CODE_EXISTS;
		for (uint32_t j = 0; j < i; j++)
			if (items[j].token == p->token && items[j].layer_begin < p->layer_end &&
			    p->layer_begin < items[j].layer_end && (items[j].head_mask & p->head_mask))
				return KVSINK_CODE_EXISTS;
	}
	return KVSINK_CODE_OK;
}

/* Something that may have to give way: an entry, or a tail. */
struct victim {
	struct ref_entry *entry;
	struct ref_group *tail_of;
	uint32_t stream, priority, ema, generation;
};

static bool before(const struct victim *a, const struct victim *b)
{
	if (a->priority != b->priority)
		return a->priority < b->priority;
	if (a->ema != b->ema)
		return a->ema < b->ema;
	return a->generation < b->generation;
}

static bool helps(const struct ref *r, unsigned s, enum lack lack, const struct victim *v)
{
	if (lack == STREAM_BUDGET)
		return v->stream == s;
	if (lack == CAP)
		return ref_account(r, v->stream) == ref_account(r, s);
	if (lack == NO_TAG)
		return v->entry != NULL;
	return true;
}

/* The next one to give way to a grant with these terms, or false. */
static bool next_victim(struct ref *r, unsigned s, enum lack lack, const struct ref_terms *terms,
			struct victim *best)
{
	bool found = false;

	for (unsigned i = 0; i < REF_ENTRIES; i++) {
		struct ref_entry *e = &r->entry[i];
		struct victim v = {e, NULL, e->stream, e->priority, 0, e->generation};

		if (!e->used || ref_in_force(r, e) || ref_pinned(r, e->stream))
			continue;
		if (!terms->deadline &&
		    (ref_account(r, e->stream) != ref_account(r, s) || e->priority >= terms->priority))
			continue;
		v.ema = ref_ema_of(r, e);
		if (helps(r, s, lack, &v) && (!found || before(&v, best))) {
			*best = v;
			found = true;
		}
	}
	for (unsigned t = 0; t < REF_STREAMS && terms->deadline; t++)
		for (unsigned g = 0; r->stream[t].used && g < r->stream[t].groups; g++) {
			struct ref_group *group = &r->stream[t].group[g];
			struct victim v = {NULL, group, t, 0, 0, 0};

			if (group->tail.units && !ref_pinned(r, t) && r->now >= group->tail.deadline &&
			    helps(r, s, lack, &v) && (!found || before(&v, best))) {
				*best = v;
				found = true;
			}
		}
	return found;
}

static void give_way(struct ref *r, struct victim *v)
{
	r->stream[v->stream].displaced++;
	if (v->entry)
		ref_drop(r, v->entry);
	else
		ref_drop_tail(v->tail_of);
}

static uint32_t item_units(const struct ref *r, unsigned s, const struct kvsink_place_item *p)
{
	return ref_entry_units(&r->stream[s], p);
}

/* All of the items, displacing what must; on failure `r` is as it was. */
static enum lack place_all(struct ref *r, unsigned s, const struct kvsink_place_item *items, uint32_t count,
			   const struct ref_terms *terms)
{
	struct ref keep = *r;
	enum lack first = NOTHING, lack = NOTHING;
	struct victim v = {0};
	struct ref cleared;

	for (;;) {
		uint32_t units = 0, unit;

		for (uint32_t i = 0; i < count; i++)
			units += item_units(r, s, &items[i]);
		cleared = *r;
		lack = ref_limits(r, s, units, count);
		for (uint32_t i = 0; i < count && lack == NOTHING; i++) {
			lack = ref_lacking(r, s, item_units(r, s, &items[i]), true, &unit);
			if (lack == NOTHING)
				ref_place(r, s, &items[i], terms, false);
		}
		if (lack == NOTHING)
			return NOTHING;
		if (first == NOTHING)
			first = lack;
		*r = cleared;
		if (!next_victim(r, s, lack, terms, &v)) {
			*r = keep;
			return first;
		}
		give_way(r, &v);
	}
}

void ref_note_promotion(struct ref *r, unsigned s, const struct kvsink_place_item *p)
{
	struct ref_stream *st = &r->stream[s];

	for (uint32_t g = 0; g < st->groups; g++)
		if (p->layer_begin < st->group[g].end && st->group[g].begin < p->layer_end)
			st->group[g].promoted[p->token] = st->length + 1;
	st->promotions++;
}

static void count_grant(struct ref *r, unsigned s, const struct kvsink_place_item *p, struct ref_answer *a)
{
	ref_note_promotion(r, s, p);
	a->bytes += item_units(r, s, p) * GRANULE;
	a->count++;
}

struct ref_answer ref_promote(struct ref *r, unsigned s, const struct kvsink_place_item *items,
			      uint32_t count, const struct ref_terms *asked)
{
	struct ref_terms terms = *asked;
	struct ref_answer a = {.code = r->stream[s].swapped ? KVSINK_CODE_SWAPPED : KVSINK_CODE_OK,
			       .address = UINT64_MAX};
	uint32_t next = r->generation + 1 ? r->generation + 1 : 1;
	enum lack lack = NOTHING;

	if (r->stream[s].replay.tokens)
		a.code = KVSINK_CODE_WINDOW;
	if (!a.code)
		a.code = ref_check_terms(r, &terms);
	if (!a.code)
		a.code = check_places(r, s, items, count, &a.address);
	if (a.code)
		return a;
	if (!terms.partial)
		lack = place_all(r, s, items, count, &terms);
	for (uint32_t i = 0; i < count && lack == NOTHING; i++) {
		if (terms.partial)
			lack = place_all(r, s, &items[i], 1, &terms);
		if (lack == NOTHING)
			count_grant(r, s, &items[i], &a);
	}
	if (lack != NOTHING)
		r->stream[s].refusals++;
	if (!terms.partial)
		a.code = ref_lack_code[lack];
	else
		a.ended = ref_lack_code[lack];
	a.generation = a.count ? next : 0;
	return a;
}
