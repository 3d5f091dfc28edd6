/* SPDX-License-Identifier: MIT */
/*
 * Entries come and go: PROMOTE and EVICT, and the grants and removals of STEP_END.
 *
 * PROMOTE first decides on paper (chip->trial): which entries and tails have to give way, and whether all of
 * the grant fits then. Only if it does, something happens. What gives way goes in the order priority, EMA,
 * age; contracts in force never do.
 */
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

/* A grant being planned, and what it displaces. */
struct plan {
	struct kvsink_ring *ring;
	struct kvsink_stream *stream;
	const struct kvsink_terms *terms;
	const union kvsink_item *items;
	uint32_t count;
	struct victim victim[KVSINK_MAX_DISPLACED];
	uint32_t victims;
	uint64_t address; /* of the first refusal */
};

static bool comes_first(const struct victim *a, const struct victim *b)
{
	if (a->priority != b->priority)
		return a->priority < b->priority;
	if (a->ema != b->ema)
		return a->ema < b->ema;
	return a->generation < b->generation;
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
	if (!tag->stream || tag->leaving || kvsink_in_force(p->ring->chip, tag))
		return false;
	return p->terms->deadline_ns || (tag->priority < p->terms->priority &&
					 kvsink_account(tag->stream) == kvsink_account(p->stream));
}

static void consider(struct victim *best, bool *found, const struct victim *v)
{
	if (!*found || comes_first(v, best))
		*best = *v;
	*found = true;
}

static bool planned_tail(const struct plan *p, const struct kvsink_stream *s, uint32_t group)
{
	for (uint32_t i = 0; i < p->victims; i++)
		if (p->victim[i].entry == KVSINK_NONE && p->victim[i].stream == s &&
		    p->victim[i].group == group)
			return true;
	return false;
}

/* Tails whose lease is over; those of one stream or of all. */
static void consider_tails(const struct plan *p, enum kvsink_lack lack, struct victim *best, bool *found)
{
	struct kvsink_chip *chip = p->ring->chip;

	if (!p->terms->deadline_ns || lack == KVSINK_LACK_TAGS)
		return;
	for (uint32_t i = 0; i < chip->config.streams; i++) {
		struct kvsink_stream *s = &chip->streams[i];

		for (uint32_t g = 0; s->id && s->sram_bytes && helps(p, lack, s) && g < s->score_groups;
		     g++) {
			struct victim v = {.entry = KVSINK_NONE, .stream = s, .group = g};

			if (s->group[g].tail.tokens && chip->host_ns >= s->group[g].tail.deadline_ns &&
			    !planned_tail(p, s, g))
				consider(best, found, &v);
		}
	}
}

static bool next_victim(const struct plan *p, enum kvsink_lack lack, struct victim *best)
{
	struct kvsink_chip *chip = p->ring->chip;
	bool found = false;

	if (p->victims == KVSINK_MAX_DISPLACED)
		return false;
	for (uint32_t i = 0; i < chip->config.tags; i++) {
		struct kvsink_tag *tag = &chip->tags[i];
		struct victim v = {.entry = i, .stream = tag->stream};

		if (!yields(p, tag) || !helps(p, lack, tag->stream))
			continue;
		v.priority = tag->priority;
		v.ema = kvsink_ema(chip, tag->stream, tag->layer_begin, tag->token);
		v.generation = tag->generation;
		consider(best, &found, &v);
	}
	consider_tails(p, lack, best, &found);
	kvsink_spend(p->ring, chip->config.tags * 8ull + chip->config.streams * 8ull);
	return found;
}

static void free_on_paper(struct kvsink_chip *chip, const struct victim *v)
{
	if (v->entry != KVSINK_NONE)
		kvsink_trial_release(chip, &chip->tags[v->entry]);
	else
		kvsink_trial_free(chip, v->stream, v->stream->group[v->group].tail.sram_offset, false);
}

/* What the grant lacks when the victims so far are gone: all of its bytes and tags, then a range for each
 * item. */
static enum kvsink_lack lacking(struct plan *p, uint64_t *address)
{
	struct kvsink_chip *chip = p->ring->chip;
	uint64_t bytes = 0;
	enum kvsink_lack lack;

	kvsink_trial_begin(chip, p->stream);
	for (uint32_t i = 0; i < p->victims; i++)
		free_on_paper(chip, &p->victim[i]);
	for (uint32_t i = 0; i < p->count; i++)
		bytes += kvsink_entry_bytes(chip, p->stream, &p->items[i].place);
	lack = kvsink_trial_limits(chip, bytes, p->count, address);
	for (uint32_t i = 0; i < p->count && !lack; i++)
		if (kvsink_trial_grant(chip, kvsink_entry_bytes(chip, p->stream, &p->items[i].place), true,
				       address))
			lack = KVSINK_LACK_RANGE;
	kvsink_spend(p->ring, (uint64_t)chip->span_count * (p->count + 1) * 8);
	return lack;
}

/* Find out who has to give way. NOTHING, or what was lacking first; then nobody does. */
static enum kvsink_lack make_plan(struct plan *p)
{
	struct kvsink_chip *chip = p->ring->chip;
	enum kvsink_lack first = lacking(p, &p->address), lack = first;
	uint64_t address;

	while (lack && next_victim(p, lack, &p->victim[p->victims])) {
		if (p->victim[p->victims].entry != KVSINK_NONE)
			chip->tags[p->victim[p->victims].entry].leaving = true;
		p->victims++;
		lack = lacking(p, &address);
	}
	for (uint32_t i = 0; i < p->victims; i++)
		if (p->victim[i].entry != KVSINK_NONE)
			chip->tags[p->victim[i].entry].leaving = false;
	return lack ? first : KVSINK_LACK_NOTHING;
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

/* All of the items, or none. */
static uint32_t grant_items(struct kvsink_ring *ring, struct kvsink_stream *s, const union kvsink_item *items,
			    uint32_t count, const struct kvsink_terms *terms)
{
	struct plan p = {.ring = ring, .stream = s, .terms = terms, .items = items, .count = count};
	uint32_t code = kvsink_lack_code(make_plan(&p));
	struct kvsink_tag *tag;

	if (code) {
		kvsink_refuse(ring, s, items[0].place.token, code);
		return kvsink_fault(ring, code, p.address);
	}
	for (uint32_t i = 0; i < p.victims; i++)
		displace(ring->chip, &p.victim[i]);
	for (uint32_t i = 0; i < count && !code; i++) {
		code = kvsink_grant(ring, s, &items[i].place, terms, &tag);
		if (!code)
			set_results(ring, tag);
	}
	return code;
}

/* Must someone give way, whose rows an item in flight may be reading? */
static bool disturbs(struct kvsink_ring *ring, struct kvsink_stream *s, const union kvsink_item *items,
		     uint32_t count, const struct kvsink_terms *terms)
{
	struct plan p = {.ring = ring, .stream = s, .items = items, .count = count};
	uint64_t address;

	return (terms->deadline_ns || terms->priority) && lacking(&p, &address);
}

uint32_t kvsink_cmd_promote(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_cmd_promote *c = &cmd->promote;
	const union kvsink_item *items = kvsink_items(ring, c->first_item);
	struct kvsink_terms terms = {c->dwell_steps, c->priority, c->deadline_ns, c->due_ns, false};
	bool partial = cmd->flags & KVSINK_PROMOTE_PARTIAL;
	struct kvsink_stream *s;
	uint32_t step = partial ? 1 : c->item_count, code = kvsink_stream_get(ring, c->stream, &s);

	if (!code)
		code = check_list(ring, c->first_item, c->item_count, KVSINK_FIELD(promote.first_item));
	if (!code)
		code = kvsink_terms_check(ring, &terms, KVSINK_FIELD(promote.priority));
	if (!code)
		code = check_places(ring, s, items, c->item_count);
	if (code)
		return code;
	if (disturbs(ring, s, items, c->item_count, &terms) && kvsink_wait_for(ring, KVSINK_WAIT_ITEMS))
		return KVSINK_STALL;
	for (unsigned i = 0; i < 4; i++)
		ring->result[i] = 0;
	for (uint32_t i = 0; i < c->item_count && !code; i += step)
		code = grant_items(ring, s, &items[i], step, &terms);
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
