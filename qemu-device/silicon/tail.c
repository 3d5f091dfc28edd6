/* SPDX-License-Identifier: MIT */
/*
 * Tail: the newest tokens of a score group stay in SRAM as they are appended. One range, a ring of tokens,
 * for all of the group's layers and heads that may be resident when it is set up; APPEND writes it in the
 * same pass as HBM, so its rows never cost a copy.
 *
 * Token t is in the tail for a layer iff t >= from and t >= end of the layer's rows - tokens. One that is set
 * up while a step is open begins behind the rows that the step has. Sealed tokens are not in it: their rows
 * changed. Rows of a replay window are not in it before they are committed: what they would overwrite may be
 * wanted again. It is leased: STEP_END moves the deadline; when the stream has not stepped for
 * MAX_LEASE, a grant with a contract may take its place.
 */
#include <string.h>

#include "chip.h"

static uint32_t layers_of(const struct kvsink_tail *tail)
{
	return tail->end - tail->begin;
}

static uint32_t heads_of(const struct kvsink_tail *tail)
{
	return (uint32_t)__builtin_popcountll(tail->head_mask);
}

struct kvsink_place_item kvsink_tail_rows(const struct kvsink_tail *tail)
{
	return (struct kvsink_place_item){
		.token = tail->from,
		.layer_begin = (uint16_t)tail->begin,
		.layer_end = (uint16_t)tail->end,
		.head_mask = tail->head_mask,
	};
}

/* ---- set up and dropped ---- */

/* Where the rows of layers [begin, end) end, those of the open step included: in the longest of them. */
static uint32_t end_of_rows(const struct kvsink_stream *s, uint32_t begin, uint32_t end)
{
	uint32_t open = 0;

	for (uint32_t l = begin; l < end; l++)
		open = s->layer[l].appended > open ? s->layer[l].appended : open;
	return s->length + open;
}

/* What a tail of the group would be now; without tokens, layers or heads it is none. */
static struct kvsink_tail tail_of(const struct kvsink_chip *chip, const struct kvsink_stream *s,
				  uint32_t group, uint32_t tokens)
{
	struct kvsink_place_item rows = kvsink_group_rows(s, group, 0);
	struct kvsink_tail tail = {
		.tokens = tokens,
		.from = end_of_rows(s, rows.layer_begin, rows.layer_end),
		.begin = rows.layer_begin,
		.end = rows.layer_end,
		.head_mask = rows.head_mask,
		.deadline_ns = chip->host_ns + KVSINK_MAX_LEASE_NS,
	};
	uint64_t bytes = (uint64_t)layers_of(&tail) * heads_of(&tail) * tokens * s->row_bytes;

	bytes = (bytes + KVSINK_SRAM_UNIT - 1) / KVSINK_SRAM_UNIT * KVSINK_SRAM_UNIT;
	if (!bytes)
		return (struct kvsink_tail){0};
	tail.sram_bytes = bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX; /* more than any SRAM: refused */
	return tail;
}

void kvsink_tail_drop(struct kvsink_chip *chip, struct kvsink_stream *s, uint32_t group,
		      enum kvsink_reason reason)
{
	struct kvsink_tail *tail = &s->group[group].tail;
	struct kvsink_place_item rows = kvsink_tail_rows(tail);

	if (!tail->tokens)
		return;
	kvsink_event_rows(chip, KVSINK_EVENT_EVICTED, s, &rows, tail->sram_bytes, reason);
	kvsink_budget_release(chip, s, tail->sram_offset);
	memset(tail, 0, sizeof(*tail));
	s->group[group].params[KVSINK_PARAM_TAIL_TOKENS] = 0;
}

/*
 * The same releases and grants on paper; the code of the first that fails. What is left is told as it was
 * before the groups that did fit, so that it compares with the tails of all groups.
 */
static uint32_t try_tails(struct kvsink_ring *ring, const struct kvsink_stream *s, uint32_t first,
			  uint32_t end, uint32_t tokens)
{
	struct kvsink_chip *chip = ring->chip;
	uint32_t code = KVSINK_CODE_OK;
	uint64_t address, granted = 0;

	kvsink_trial_begin(chip, s);
	for (uint32_t g = first; g < end && !code; g++) {
		struct kvsink_tail tail = tail_of(chip, s, g, tokens);

		if (s->group[g].tail.tokens)
			kvsink_trial_free(chip, s, s->group[g].tail.sram_offset, s->group[g].tail.sram_bytes,
					  false);
		if (tail.tokens)
			code = kvsink_trial_grant(chip, tail.sram_bytes, false, &address);
		granted += code ? 0 : tail.sram_bytes;
	}
	if (code == KVSINK_CODE_BUDGET || code == KVSINK_CODE_TENANT_CAP)
		address += granted;
	return code ? kvsink_fault(ring, code, address) : KVSINK_CODE_OK;
}

static void set_tail(struct kvsink_chip *chip, struct kvsink_stream *s, uint32_t group, uint32_t tokens)
{
	struct kvsink_tail tail = tail_of(chip, s, group, tokens);
	struct kvsink_place_item rows = kvsink_tail_rows(&tail);
	uint64_t at;

	kvsink_tail_drop(chip, s, group, KVSINK_REASON_CONFIG);
	if (!tail.tokens || kvsink_budget_grant(chip, s, tail.sram_bytes, false, &at))
		return;
	tail.sram_offset = (uint32_t)at;
	s->group[group].tail = tail;
	kvsink_event_rows(chip, KVSINK_EVENT_GRANTED, s, &rows, tail.sram_bytes, KVSINK_REASON_CONFIG);
}

uint32_t kvsink_tail_config(struct kvsink_ring *ring, struct kvsink_stream *s, uint32_t first, uint32_t end,
			    uint32_t tokens)
{
	uint32_t code = try_tails(ring, s, first, end, tokens);

	if (code)
		return code;
	for (uint32_t g = first; g < end; g++)
		set_tail(ring->chip, s, g, tokens);
	return KVSINK_CODE_OK;
}

uint32_t kvsink_tails_lost(struct kvsink_chip *chip, struct kvsink_stream *s)
{
	uint32_t broken = 0;

	for (uint32_t g = 0; g < s->score_groups; g++) {
		struct kvsink_tail *tail = &s->group[g].tail;

		broken += tail->tokens && chip->host_ns < tail->deadline_ns;
		memset(tail, 0, sizeof(*tail));
		s->group[g].params[KVSINK_PARAM_TAIL_TOKENS] = 0;
	}
	return broken;
}

/* ---- steps ---- */

bool kvsink_tail_holds(const struct kvsink_stream *s, uint32_t group, uint32_t token)
{
	const struct kvsink_tail *tail = &s->group[group].tail;

	return tail->tokens && token >= tail->from && (uint64_t)token + tail->tokens >= s->length;
}

void kvsink_tail_step(struct kvsink_chip *chip, struct kvsink_stream *s)
{
	for (uint32_t g = 0; g < s->score_groups; g++)
		if (s->group[g].tail.tokens)
			s->group[g].tail.deadline_ns = chip->host_ns + KVSINK_MAX_LEASE_NS;
}

/* The rows that are dropped lie where older ones were. */
void kvsink_tail_abort(struct kvsink_stream *s)
{
	for (uint32_t g = 0; g < s->score_groups; g++) {
		struct kvsink_tail *tail = &s->group[g].tail;
		uint32_t end = end_of_rows(s, tail->begin, tail->end);

		if (tail->tokens && end > s->length && end > tail->from + tail->tokens)
			tail->from = end - tail->tokens;
	}
}

void kvsink_tail_begin(struct kvsink_stream *s)
{
	for (uint32_t g = 0; g < s->score_groups; g++)
		s->group[g].tail.from = s->length;
}

void kvsink_tail_sealed(struct kvsink_stream *s)
{
	for (uint32_t g = 0; g < s->score_groups; g++)
		if (s->group[g].tail.tokens && s->group[g].tail.from < s->sealed)
			s->group[g].tail.from = s->sealed;
}

/* ---- rows ---- */

/* Where the token's rows of a layer lie. */
static uint8_t *rows_at(const struct kvsink_chip *chip, const struct kvsink_stream *s,
			const struct kvsink_tail *tail, uint32_t layer, uint32_t token)
{
	uint64_t row = (uint64_t)(token % tail->tokens) * layers_of(tail) + layer - tail->begin;

	return chip->config.sram + tail->sram_offset + row * heads_of(tail) * s->row_bytes;
}

uint64_t kvsink_tail_write(struct kvsink_chip *chip, struct kvsink_stream *s, uint32_t layer, uint32_t token,
			   const uint8_t *k, const uint8_t *v)
{
	const struct kvsink_tail *tail = &s->group[kvsink_stream_group(s, layer)].tail;
	size_t k_bytes = (size_t)s->d_k * kvsink_format_bytes(s->format), v_bytes = s->row_bytes - k_bytes;
	uint8_t *at, *to;

	if (!tail->tokens || layer < tail->begin || layer >= tail->end)
		return 0;
	at = to = rows_at(chip, s, tail, layer, token);
	for (uint32_t h = 0; h < s->kv_heads; h++) {
		if (!(tail->head_mask >> h & 1))
			continue;
		memcpy(to, k + h * k_bytes, k_bytes);
		memcpy(to + k_bytes, v + h * v_bytes, v_bytes);
		to += s->row_bytes;
	}
	kvsink_dirty(chip, KVSINK_SPACE_SRAM, (uint64_t)(at - chip->config.sram), (uint64_t)(to - at));
	kvsink_ledger_add(chip, s, KVSINK_COUNTER_TAIL_WRITE, (uint64_t)(to - at));
	return kvsink_ledger_bursts(chip, (uint64_t)(at - chip->config.sram), (uint64_t)(to - at));
}

struct kvsink_tail_range kvsink_tail_range(const struct kvsink_stream *s, uint32_t layer)
{
	const struct kvsink_tail *tail = &s->group[kvsink_stream_group(s, layer)].tail;
	uint32_t open = kvsink_window_open(s) ? 0 : s->layer[layer].appended;
	uint32_t end = s->length + open, next = tail->from;

	if (!tail->tokens || layer < tail->begin || layer >= tail->end)
		return (struct kvsink_tail_range){0};
	if (end > tail->tokens && end - tail->tokens > next)
		next = end - tail->tokens;
	return (struct kvsink_tail_range){.tail = tail, .next = next < end ? next : end, .end = end};
}

struct kvsink_resident kvsink_tail_resident(const struct kvsink_chip *chip, const struct kvsink_stream *s,
					    const struct kvsink_tail *tail, uint32_t layer, uint32_t token)
{
	return (struct kvsink_resident){
		.head_mask = tail->head_mask,
		.rows = rows_at(chip, s, tail, layer, token),
		.token = token,
		.pitch = s->row_bytes,
	};
}
