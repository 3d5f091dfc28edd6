/* SPDX-License-Identifier: MIT */
/*
 * Contracts: a promise that an entry keeps its place, for so many steps of its stream and until host time
 * passes a deadline. Expiry is passive: nothing runs when a contract ends, the entry may merely be displaced
 * from then on. What breaks one that is in force, a reset or an uncorrectable error, is told of by an event.
 */
#include <string.h>

#include "chip.h"

bool kvsink_in_force(const struct kvsink_chip *chip, const struct kvsink_tag *tag)
{
	if (!tag->deadline_ns || chip->host_ns >= tag->deadline_ns)
		return false;
	return !tag->dwell_steps || tag->stream->length - tag->since_step < tag->dwell_steps;
}

uint32_t kvsink_terms_check(struct kvsink_ring *ring, struct kvsink_terms *terms, uint64_t priority_field)
{
	uint64_t now = ring->chip->host_ns, last = now + KVSINK_MAX_LEASE_NS;

	if (terms->priority > KVSINK_MAX_PRIORITY)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, priority_field);
	if (terms->dwell_steps && !terms->deadline_ns)
		terms->deadline_ns = last;
	if (terms->deadline_ns && (terms->deadline_ns <= now || terms->deadline_ns > last))
		return kvsink_fault(ring, KVSINK_CODE_LEASE, now);
	return KVSINK_CODE_OK;
}

void kvsink_terms_set(struct kvsink_chip *chip, struct kvsink_tag *tag, const struct kvsink_terms *terms)
{
	tag->since_step = tag->stream->length;
	tag->dwell_steps = terms->dwell_steps;
	tag->priority = terms->priority;
	tag->deadline_ns = terms->deadline_ns;
	if (terms->deadline_ns)
		kvsink_ledger_add(chip, tag->stream, KVSINK_COUNTER_CONTRACTS_MADE, 1);
}

/* ---- CONTRACT ---- */

/* Is the entry named by one of the items? */
static bool named(const struct kvsink_tag *tag, const union kvsink_item *items, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (kvsink_tag_named(tag, &items[i].place))
			return true;
	return false;
}

uint32_t kvsink_cmd_contract(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_cmd_contract *c = &cmd->contract;
	const union kvsink_item *items = kvsink_items(ring, c->first_item);
	struct kvsink_terms terms = {c->dwell_steps, c->priority, c->deadline_ns, 0, false};
	struct kvsink_chip *chip = ring->chip;
	struct kvsink_stream *s;
	uint32_t code = kvsink_stream_get(ring, c->stream, &s);

	if (!code)
		code = kvsink_search_check(ring, c->first_item, c->item_count,
					   KVSINK_FIELD(contract.first_item));
	if (!code)
		code = kvsink_terms_check(ring, &terms, KVSINK_FIELD(contract.priority));
	if (code)
		return code;
	ring->result[0] = 0;
	kvsink_spend(ring, (uint64_t)s->entries * c->item_count * 8);
	for (uint32_t i = s->first_tag; i != KVSINK_NONE; i = chip->tags[i].next) {
		if (!named(&chip->tags[i], items, c->item_count))
			continue;
		kvsink_terms_set(chip, &chip->tags[i], &terms);
		ring->result[0]++;
	}
	return ring->result[0] ? KVSINK_CODE_OK
			       : kvsink_fault(ring, KVSINK_CODE_NOT_RESIDENT, items[0].place.token);
}

/* ---- what breaks a contract ---- */

static void tell(struct kvsink_chip *chip, struct kvsink_stream *s, const struct kvsink_place_item *rows,
		 uint32_t count, enum kvsink_reason reason)
{
	kvsink_ledger_add(chip, s, KVSINK_COUNTER_CONTRACTS_BROKEN, count);
	kvsink_event_rows(chip, KVSINK_EVENT_CONTRACT_BROKEN, s, rows, count, reason);
}

static void strike_entry(struct kvsink_chip *chip, struct kvsink_tag *tag)
{
	struct kvsink_place_item rows = kvsink_tag_rows(tag);
	struct kvsink_stream *s = tag->stream;
	bool broken = kvsink_in_force(chip, tag);

	kvsink_event_rows(chip, KVSINK_EVENT_ECC_ERROR, s, &rows, tag->sram_bytes, KVSINK_REASON_ECC);
	kvsink_free_entry(chip, tag, KVSINK_REASON_ECC);
	if (broken)
		tell(chip, s, &rows, 1, KVSINK_REASON_ECC);
}

static void strike_tail(struct kvsink_chip *chip, struct kvsink_stream *s, uint32_t group)
{
	const struct kvsink_tail *tail = &s->group[group].tail;
	struct kvsink_place_item rows = kvsink_tail_rows(tail);
	bool broken = chip->host_ns < tail->deadline_ns;

	kvsink_event_rows(chip, KVSINK_EVENT_ECC_ERROR, s, &rows, tail->sram_bytes, KVSINK_REASON_ECC);
	kvsink_tail_drop(chip, s, group, KVSINK_REASON_ECC);
	if (broken)
		tell(chip, s, &rows, 1, KVSINK_REASON_ECC);
}

/* A prefix's rows may be under way for another stream. */
static bool may_be_struck(const struct kvsink_tag *tag, uint32_t layer)
{
	return tag->valid && kvsink_tag_covers(tag, layer) && !tag->stream->locks;
}

void kvsink_ecc_strike(struct kvsink_chip *chip, struct kvsink_stream *s, uint32_t layer)
{
	struct kvsink_tail_range tail = kvsink_tail_range(s, layer);
	struct kvsink_entries e;

	if (!chip->inject[KVSINK_INJECT_ECC] || s->locks)
		return;
	kvsink_entries_begin(chip, s, &e);
	while (e.index != KVSINK_NONE && !may_be_struck(&chip->tags[e.index], layer))
		kvsink_entries_next(chip, &e);
	if (e.index == KVSINK_NONE && tail.next >= tail.end)
		return;
	kvsink_take_injected(chip, KVSINK_INJECT_ECC);
	kvsink_ledger_add(chip, s, KVSINK_COUNTER_ECC_ERRORS, 1);
	if (e.index != KVSINK_NONE)
		strike_entry(chip, &chip->tags[e.index]);
	else
		strike_tail(chip, s, kvsink_stream_group(s, layer));
}

void kvsink_contracts_lost(struct kvsink_chip *chip)
{
	static const struct kvsink_place_item none;

	for (uint32_t i = 0; i < chip->config.streams; i++) {
		struct kvsink_stream *s = &chip->streams[i];
		uint32_t broken = 0;

		if (!s->id)
			continue;
		for (uint32_t t = s->first_tag; t != KVSINK_NONE; t = chip->tags[t].next)
			broken += kvsink_in_force(chip, &chip->tags[t]);
		broken += kvsink_tails_lost(chip, s);
		if (broken)
			tell(chip, s, &none, broken, KVSINK_REASON_RESET);
	}
}
