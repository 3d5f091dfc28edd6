/* SPDX-License-Identifier: MIT */
/*
 * Entries come and go: PROMOTE and EVICT, and the grants and removals of STEP_END.
 *
 * PROMOTE first decides on paper (chip->trial): which entries and tails have to give way, and whether all of
 * the grant fits then. Only if it does, something happens. What gives way goes in the order priority, EMA,
 * age; contracts in force never do, nor does what an open replay window pins. The host's lock is held
 * meanwhile, so who comes first is found out once for each kind of lack, and a plan ends after
 * KVSINK_PLAN_LOOKS.
 */
#include <stdlib.h>

#include "chip.h"

/* ---- one entry ---- */

/* From row to row: rows as they were appended need their whole length, codes less. */
static uint32_t pitch_of(const struct kvsink_chip *chip, const struct kvsink_stream *s,
			 const struct kvsink_place_item *item)
{
	const uint8_t *page;

	if (item->token >= s->sealed)
		return s->row_bytes;
	page = kvsink_page_of(chip, s, item->token);
	for (uint32_t l = item->layer_begin; l < item->layer_end; l++)
		if (kvsink_page_coded(s, page, l, item->token, item->head_mask) != item->head_mask)
			return s->row_bytes;
	return s->sealed_bytes;
}

uint32_t kvsink_entry_bytes(const struct kvsink_chip *chip, const struct kvsink_stream *s,
			    const struct kvsink_place_item *item)
{
	uint32_t heads = (uint32_t)__builtin_popcountll(item->head_mask);
	uint64_t bytes = (uint64_t)(item->layer_end - item->layer_begin) * heads * pitch_of(chip, s, item);

	return (uint32_t)((bytes + KVSINK_SRAM_UNIT - 1) / KVSINK_SRAM_UNIT * KVSINK_SRAM_UNIT);
}

uint32_t kvsink_grant(struct kvsink_ring *ring, struct kvsink_stream *s, const struct kvsink_place_item *item,
		      const struct kvsink_terms *terms, struct kvsink_tag **out)
{
	struct kvsink_chip *chip = ring->chip;
	uint32_t bytes = kvsink_entry_bytes(chip, s, item), code;
	struct kvsink_tag *tag;
	uint64_t page, at;

	code = kvsink_page_lookup(ring, s, item->token >> s->page_shift, &page);
	if (code)
		return code;
	code = kvsink_budget_grant(chip, s, bytes, true, &at);
	if (code)
		return kvsink_fault(ring, code, at);
	tag = kvsink_tag_add(chip, s, item);
	tag->page = page;
	tag->sram_offset = (uint32_t)at;
	tag->sram_bytes = bytes;
	tag->row_bytes = pitch_of(chip, s, item);
	tag->automatic = terms->automatic;
	tag->due_ps = kvsink_clock_due(chip, terms->due_ns);
	kvsink_terms_set(chip, tag, terms);
	kvsink_note_promotion(chip, s, item);
	kvsink_ledger_add(chip, s, KVSINK_COUNTER_PROMOTIONS, 1);
	kvsink_event_rows(chip, KVSINK_EVENT_GRANTED, s, item, bytes,
			  terms->automatic ? KVSINK_REASON_AUTO : KVSINK_REASON_REQUEST);
	kvsink_dma_start(chip, (uint32_t)(tag - chip->tags));
	*out = tag;
	return KVSINK_CODE_OK;
}

void kvsink_refuse(struct kvsink_ring *ring, struct kvsink_stream *s, uint32_t token, uint32_t code)
{
	kvsink_ledger_add(ring->chip, s, KVSINK_COUNTER_REFUSALS, 1);
	kvsink_event(ring->chip, KVSINK_EVENT_REFUSED, s, s->tenant, token, code);
}

void kvsink_free_entry(struct kvsink_chip *chip, struct kvsink_tag *tag, enum kvsink_reason reason)
{
	struct kvsink_place_item rows = kvsink_tag_rows(tag);
	struct kvsink_stream *s = tag->stream;

	kvsink_event_rows(chip, KVSINK_EVENT_EVICTED, s, &rows, tag->sram_bytes, reason);
	kvsink_ledger_add(chip, s, KVSINK_COUNTER_EVICTIONS, 1);
	kvsink_budget_release(chip, s, tag->sram_offset);
	kvsink_tag_remove(chip, tag);
}

void kvsink_entry_renew(struct kvsink_chip *chip, struct kvsink_tag *tag)
{
	struct kvsink_place_item rows = kvsink_tag_rows(tag);

	chip->valid_tags -= tag->valid;
	tag->valid = false;
	tag->due_ps = 0;
	tag->row_bytes = pitch_of(chip, tag->stream, &rows);
	kvsink_dma_restart(chip, (uint32_t)(tag - chip->tags));
}

void kvsink_stream_leaves(struct kvsink_chip *chip, struct kvsink_stream *s)
{
	while (s->first_tag != KVSINK_NONE)
		kvsink_free_entry(chip, &chip->tags[s->first_tag], KVSINK_REASON_STREAM_END);
	for (uint32_t g = 0; g < s->score_groups; g++)
		kvsink_tail_drop(chip, s, g, KVSINK_REASON_STREAM_END);
}

/* ---- what a list may ask for ---- */

/* Where the item leaves what geometry and parameters allow; 0 if it does not. */
static uint64_t forbidden(const struct kvsink_stream *s, uint32_t i, const struct kvsink_place_item *item)
{
	uint32_t range = (uint32_t)kvsink_param(s, KVSINK_PARAM_LAYER_RANGE);
	uint64_t heads = s->kv_heads == 64 ? UINT64_MAX : (1ull << s->kv_heads) - 1;

	if (item->layer_begin >= s->layers || item->layer_begin < (range & 0xffff))
		return KVSINK_ITEM_FIELD(i, place, layer_begin);
	if (item->layer_end <= item->layer_begin || item->layer_end > s->layers ||
	    item->layer_end > range >> 16)
		return KVSINK_ITEM_FIELD(i, place, layer_end);
	for (uint32_t g = 0; g < s->score_groups; g++)
		if (s->group[g].begin < item->layer_end && item->layer_begin < s->group[g].end)
			heads &= s->group[g].params[KVSINK_PARAM_HEAD_MASK];
	if (!item->head_mask || item->head_mask & ~heads)
		return KVSINK_ITEM_FIELD(i, place, head_mask);
	if (item->token >= s->length)
		return KVSINK_ITEM_FIELD(i, place, token);
	return 0;
}

static uint64_t reserved(uint32_t i, const struct kvsink_place_item *item)
{
	return item->reserved[0] || item->reserved[1] ? KVSINK_ITEM_FIELD(i, place, reserved) : 0;
}

/* Does an entry of the stream, or an earlier item, have part of these rows? */
static bool taken(const struct kvsink_chip *chip, const struct kvsink_stream *s,
		  const union kvsink_item *items, uint32_t i)
{
	const struct kvsink_place_item *item = &items[i].place;

	for (uint32_t t = s->first_tag; t != KVSINK_NONE && chip->tags[t].token <= item->token;
	     t = chip->tags[t].next)
		if (kvsink_tag_overlaps(&chip->tags[t], item))
			return true;
	for (uint32_t j = 0; j < i; j++)
		if (items[j].place.token == item->token && items[j].place.head_mask & item->head_mask &&
		    items[j].place.layer_begin < item->layer_end &&
		    item->layer_begin < items[j].place.layer_end)
			return true;
	return false;
}

static uint32_t check_places(struct kvsink_ring *ring, const struct kvsink_stream *s,
			     const union kvsink_item *items, uint32_t count)
{
	uint32_t code = KVSINK_CODE_OK;
	uint64_t page;

	for (uint32_t i = 0; i < count && !code; i++) {
		uint64_t field = forbidden(s, i, &items[i].place);

		if (!field)
			field = reserved(i, &items[i].place);
		if (field)
			return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, field);
		if (items[i].place.token < s->shared)
			return kvsink_fault(ring, KVSINK_CODE_SHARED, items[i].place.token);
		if (taken(ring->chip, s, items, i))
			return kvsink_fault(ring, KVSINK_CODE_EXISTS, items[i].place.token);
		code = kvsink_page_lookup(ring, s, items[i].place.token >> s->page_shift, &page);
	}
	kvsink_spend(ring, (uint64_t)count * (s->entries * 8ull + count));
	return code;
}

static uint32_t check_list(struct kvsink_ring *ring, uint32_t first, uint32_t count, uint64_t field)
{
	uint32_t code = kvsink_check_items(ring, first, count, field);

	return code || count ? code : kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, field + sizeof(first));
}

uint32_t kvsink_search_check(struct kvsink_ring *ring, uint32_t first, uint32_t count, uint64_t field)
{
	uint32_t code = check_list(ring, first, count, field);

	for (uint32_t i = 0; !code && i < count; i++) {
		const struct kvsink_place_item *item = &ring->item[first + i].place;
		uint64_t bad = reserved(i, item);

		if (!item->head_mask)
			bad = KVSINK_ITEM_FIELD(i, place, head_mask);
		if (item->layer_end <= item->layer_begin)
			bad = KVSINK_ITEM_FIELD(i, place, layer_end);
		if (bad)
			code = kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, bad);
	}
	return code;
}

/* ---- who gives way ---- */

/* One that does: an entry, or (entry NONE) the tail of a group. */
struct victim {
	uint32_t entry, priority, ema, generation;
	struct kvsink_stream *stream;
	uint32_t group;
};

/* Those whose going would help with some lack, at most as many as one command displaces; the first one first.
 */
struct order {
	struct victim victim[KVSINK_MAX_DISPLACED];
	uint32_t count, next;
	bool made;
};

/* A grant being planned, and what it displaces. */
struct plan {
	struct kvsink_ring *ring;
	struct kvsink_stream *stream;
	const struct kvsink_terms *terms;
	const union kvsink_item *items;
	uint32_t count;
	struct order order[KVSINK_LACK_RANGE + 1];
	struct victim victim[KVSINK_MAX_DISPLACED];
	uint32_t victims;
	uint32_t fit[KVSINK_MAX_ITEMS];		  /* span of the trial that item i lengthened */
	uint32_t victims_until[KVSINK_MAX_ITEMS]; /* of them, those that go before item i is granted */
	uint32_t granted;			  /* items that fit */
	enum kvsink_lack lack;			  /* of the first that does not */
	uint64_t address;			  /* what its code says */
};

static bool comes_first(const struct victim *a, const struct victim *b)
{
	if (a->priority != b->priority)
		return a->priority < b->priority;
	if (a->ema != b->ema)
		return a->ema < b->ema;
	if (a->generation != b->generation)
		return a->generation < b->generation;
	return a->stream != b->stream ? a->stream < b->stream : a->group < b->group;
}

static int by_turn(const void *a, const void *b)
{
	return comes_first(a, b) ? -1 : comes_first(b, a);
}

/* A heap whose first victim is the one that comes last: the children of `at` are in order, `at` may not be.
 */
static void sift_down(struct victim *heap, uint32_t count, uint32_t at)
{
	struct victim v = heap[at];
	uint32_t child;

	for (; (child = 2 * at + 1) < count; at = child) {
		if (child + 1 < count && comes_first(&heap[child], &heap[child + 1]))
			child++;
		if (!comes_first(&v, &heap[child]))
			break;
		heap[at] = heap[child];
	}
	heap[at] = v;
}

/* Keep it if it is among the first. */
static void consider(struct order *o, const struct victim *v)
{
	if (o->count == KVSINK_MAX_DISPLACED) {
		if (!comes_first(v, &o->victim[0]))
			return;
		o->victim[0] = *v;
		sift_down(o->victim, o->count, 0);
		return;
	}
	o->victim[o->count++] = *v;
	for (uint32_t i = o->count / 2; o->count == KVSINK_MAX_DISPLACED && i-- > 0;)
		sift_down(o->victim, o->count, i);
}

/* Would it help if something of this stream went? */
static bool helps(const struct plan *p, enum kvsink_lack lack, const struct kvsink_stream *owner)
{
	if (lack == KVSINK_LACK_STREAM)
		return owner == p->stream;
	return lack != KVSINK_LACK_ACCOUNT || kvsink_account(owner) == kvsink_account(p->stream);
}

static bool yields(const struct plan *p, const struct kvsink_tag *tag)
{
	if (!tag->stream || tag->leaving || kvsink_in_force(p->ring->chip, tag) ||
	    kvsink_window_pins(p->ring->chip, tag->stream))
		return false;
	return p->terms->deadline_ns || (tag->priority < p->terms->priority &&
					 kvsink_account(tag->stream) == kvsink_account(p->stream));
}

static bool planned_tail(const struct plan *p, const struct kvsink_stream *s, uint32_t group)
{
	for (uint32_t i = 0; i < p->victims; i++)
		if (p->victim[i].entry == KVSINK_NONE && p->victim[i].stream == s &&
		    p->victim[i].group == group)
			return true;
	return false;
}

static void consider_entries(const struct plan *p, enum kvsink_lack lack, struct order *o)
{
	struct kvsink_chip *chip = p->ring->chip;

	for (uint32_t i = 0; i < chip->config.tags; i++) {
		struct kvsink_tag *tag = &chip->tags[i];
		struct victim v = {.entry = i, .stream = tag->stream};

		if (!yields(p, tag) || !helps(p, lack, tag->stream))
			continue;
		v.priority = tag->priority;
		v.ema = kvsink_tag_ema(chip, tag);
		v.generation = tag->generation;
		consider(o, &v);
	}
	chip->trial.looks += chip->config.tags;
}

/* Tails whose lease is over; those of one stream or of all. */
static void consider_tails(const struct plan *p, enum kvsink_lack lack, struct order *o)
{
	struct kvsink_chip *chip = p->ring->chip;

	if (!p->terms->deadline_ns || lack == KVSINK_LACK_TAGS)
		return;
	for (uint32_t i = 0; i < chip->config.streams; i++) {
		struct kvsink_stream *s = &chip->streams[i];

		if (kvsink_window_pins(chip, s))
			continue;
		for (uint32_t g = 0; s->id && s->sram_bytes && helps(p, lack, s) && g < s->score_groups;
		     g++) {
			struct victim v = {.entry = KVSINK_NONE, .stream = s, .group = g};

			if (s->group[g].tail.tokens && chip->host_ns >= s->group[g].tail.deadline_ns)
				consider(o, &v);
		}
	}
	chip->trial.looks += chip->config.streams;
}

/* Nothing but the plan itself changes the order while it is made. */
static void find_order(struct plan *p, enum kvsink_lack lack)
{
	struct order *o = &p->order[lack];

	o->made = true;
	if (!p->terms->deadline_ns && !p->terms->priority)
		return;
	consider_entries(p, lack, o);
	consider_tails(p, lack, o);
	qsort(o->victim, o->count, sizeof(o->victim[0]), by_turn);
}

/* For another lack. */
static bool gone(const struct plan *p, const struct victim *v)
{
	if (v->entry != KVSINK_NONE)
		return p->ring->chip->tags[v->entry].leaving;
	return planned_tail(p, v->stream, v->group);
}

/* One more gives way, on paper. */
static bool next_victim(struct plan *p, enum kvsink_lack lack)
{
	struct kvsink_chip *chip = p->ring->chip;
	struct order *o = &p->order[lack];
	const struct victim *v;

	if (!o->made)
		find_order(p, lack);
	while (o->next < o->count && gone(p, &o->victim[o->next]))
		o->next++;
	if (o->next == o->count || p->victims == KVSINK_MAX_DISPLACED)
		return false;
	v = &o->victim[o->next++];
	p->victim[p->victims++] = *v;
	if (v->entry != KVSINK_NONE) {
		chip->tags[v->entry].leaving = true;
		kvsink_trial_release(chip, &chip->tags[v->entry]);
	} else {
		const struct kvsink_tail *tail = &v->stream->group[v->group].tail;

		kvsink_trial_free(chip, v->stream, tail->sram_offset, tail->sram_bytes, false);
	}
	return true;
}

/* They stay, those behind the first `count`. The trial is of no use then. */
static void withdraw(struct plan *p, uint32_t count)
{
	while (p->victims > count) {
		const struct victim *v = &p->victim[--p->victims];

		if (v->entry != KVSINK_NONE)
			p->ring->chip->tags[v->entry].leaving = false;
	}
}

static uint32_t item_bytes(const struct plan *p, uint32_t i)
{
	return kvsink_entry_bytes(p->ring->chip, p->stream, &p->items[i].place);
}

/* A range for each of the items, on paper; or none of them. */
static bool ranges_fit(struct plan *p, uint32_t first, uint32_t end, uint64_t *address)
{
	struct kvsink_chip *chip = p->ring->chip;
	uint32_t i = first;

	for (; i < end && !kvsink_trial_grant(chip, item_bytes(p, i), true, address); i++)
		p->fit[i] = chip->trial.last_fit;
	if (i == end)
		return true;
	while (i-- > first)
		kvsink_trial_undo(chip, p->fit[i], item_bytes(p, i));
	return false;
}

/* What items [first, end) lack: all of their bytes and tags, then a range for each. With NOTHING they are
 * granted on paper. */
static enum kvsink_lack lacking(struct plan *p, uint32_t first, uint32_t end, uint64_t *address)
{
	uint64_t bytes = 0;
	enum kvsink_lack lack;

	for (uint32_t i = first; i < end; i++)
		bytes += item_bytes(p, i);
	lack = kvsink_trial_limits(p->ring->chip, bytes, end - first, address);
	if (!lack && !ranges_fit(p, first, end, address))
		lack = KVSINK_LACK_RANGE;
	return lack;
}

/* Find out who has to give way for some items. NOTHING, or what was lacking first; then nobody does. */
static enum kvsink_lack make_room(struct plan *p, uint32_t first, uint32_t end)
{
	const struct kvsink_trial *trial = &p->ring->chip->trial;
	enum kvsink_lack before = lacking(p, first, end, &p->address), lack = before;
	uint32_t victims = p->victims;
	uint64_t address;

	while (lack && trial->looks < KVSINK_PLAN_LOOKS && next_victim(p, lack))
		lack = lacking(p, first, end, &address);
	if (!lack)
		return KVSINK_LACK_NOTHING;
	withdraw(p, victims);
	return before;
}

/* All of the items or none; in part, those before the first that does not fit. */
static void make_plan(struct plan *p, bool partial)
{
	struct kvsink_chip *chip = p->ring->chip;
	uint32_t step = partial ? 1 : p->count, victims;

	kvsink_trial_begin(chip, p->stream);
	while (p->granted < p->count && !p->lack) {
		p->lack = make_room(p, p->granted, p->granted + step);
		if (p->lack)
			break;
		p->victims_until[p->granted] = p->victims;
		p->granted += step;
	}
	victims = p->victims;
	withdraw(p, 0);
	p->victims = victims;
	kvsink_spend(p->ring, chip->trial.looks * 8);
}

static void displace(struct kvsink_chip *chip, const struct victim *v)
{
	kvsink_ledger_add(chip, v->stream, KVSINK_COUNTER_DISPLACED, 1);
	if (v->entry != KVSINK_NONE)
		kvsink_free_entry(chip, &chip->tags[v->entry], KVSINK_REASON_DISPLACED);
	else
		kvsink_tail_drop(chip, v->stream, v->group, KVSINK_REASON_DISPLACED);
}

/* ---- PROMOTE ---- */

static void set_results(struct kvsink_ring *ring, const struct kvsink_tag *tag)
{
	ring->result[0] += tag->sram_bytes;
	if (!ring->result[2]++)
		ring->result[1] = tag->generation;
}

/* In earnest. The code of what was refused. */
static uint32_t carry_out(struct plan *p)
{
	uint32_t code = KVSINK_CODE_OK, victim = 0;
	struct kvsink_tag *tag;

	for (uint32_t i = 0; i < p->granted && !code; i++) {
		while (victim < p->victims_until[i])
			displace(p->ring->chip, &p->victim[victim++]);
		code = kvsink_grant(p->ring, p->stream, &p->items[i].place, p->terms, &tag);
		if (!code)
			set_results(p->ring, tag);
	}
	if (code || !p->lack)
		return code;
	code = kvsink_lack_code(p->lack);
	kvsink_refuse(p->ring, p->stream, p->items[p->granted].place.token, code);
	return kvsink_fault(p->ring, code, p->address);
}

static uint32_t check_promote(struct kvsink_ring *ring, const struct kvsink_cmd_promote *c,
			      struct kvsink_terms *terms, struct kvsink_stream **s)
{
	uint32_t code = kvsink_stream_get_hbm(ring, c->stream, s);

	if (!code)
		code = check_list(ring, c->first_item, c->item_count, KVSINK_FIELD(promote.first_item));
	if (!code)
		code = kvsink_terms_check(ring, terms, KVSINK_FIELD(promote.priority));
	if (!code)
		code = check_places(ring, *s, kvsink_items(ring, c->first_item), c->item_count);
	return code;
}

/* Rows of what gives way may be read by items in flight: then it waits for them, and plans anew. */
uint32_t kvsink_cmd_promote(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_cmd_promote *c = &cmd->promote;
	struct kvsink_terms terms = {c->dwell_steps, c->priority, c->deadline_ns, c->due_ns, false};
	struct plan p = {.ring = ring,
			 .terms = &terms,
			 .items = kvsink_items(ring, c->first_item),
			 .count = c->item_count};
	bool partial = cmd->flags & KVSINK_PROMOTE_PARTIAL;
	uint32_t code;

	if (ring->waits && kvsink_wait_for(ring, KVSINK_WAIT_ITEMS))
		return KVSINK_STALL;
	code = check_promote(ring, c, &terms, &p.stream);
	if (code)
		return code;
	make_plan(&p, partial);
	if (p.victims && kvsink_wait_for(ring, KVSINK_WAIT_ITEMS))
		return KVSINK_STALL;
	for (unsigned i = 0; i < 4; i++)
		ring->result[i] = 0;
	code = carry_out(&p);
	if (!partial)
		return code;
	ring->result[3] = code;
	return KVSINK_CODE_OK;
}

/* ---- EVICT ---- */

static uint32_t evict_named(struct kvsink_chip *chip, struct kvsink_stream *s,
			    const struct kvsink_place_item *item)
{
	uint32_t removed = 0, next;

	for (uint32_t i = s->first_tag; i != KVSINK_NONE; i = next) {
		next = chip->tags[i].next;
		if (!kvsink_tag_named(&chip->tags[i], item))
			continue;
		kvsink_free_entry(chip, &chip->tags[i], KVSINK_REASON_REQUEST);
		removed++;
	}
	return removed;
}

uint32_t kvsink_cmd_evict(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_cmd_evict *c = &cmd->evict;
	const union kvsink_item *items = kvsink_items(ring, c->first_item);
	struct kvsink_stream *s;
	uint32_t code = kvsink_stream_get(ring, c->stream, &s);

	if (!code)
		code = kvsink_search_check(ring, c->first_item, c->item_count,
					   KVSINK_FIELD(evict.first_item));
	if (code)
		return code;
	kvsink_spend(ring, (uint64_t)s->entries * c->item_count * 8);
	ring->result[0] = 0;
	for (uint32_t i = 0; i < c->item_count; i++)
		ring->result[0] += evict_named(ring->chip, s, &items[i].place);
	if (!ring->result[0] && !(cmd->flags & KVSINK_EVICT_ANY))
		return kvsink_fault(ring, KVSINK_CODE_NOT_RESIDENT, items[0].place.token);
	return KVSINK_CODE_OK;
}
