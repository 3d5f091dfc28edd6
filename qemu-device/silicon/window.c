/* SPDX-License-Identifier: MIT */
/*
 * Replay windows: WINDOW_BEGIN and WINDOW_COMMIT. Rows are appended and attended on trial; then the first of
 * them become steps of the stream, one by one, and the others never were.
 *
 * Until then nothing of the stream changes but rows behind its length, and the norm maxima, of which the
 * journal has a copy: tags and tails are left alone, and what ATTEND observes goes to the journal, each query
 * by itself. So to roll back is to forget, and to commit is to make the steps that were put off, each from
 * its own part of the journal. Between two of them everything is as if the window had begun there: a commit
 * can be sliced, and a reset leaves the steps that were made.
 */
#include <string.h>

#include "chip.h"

/* ---- what it holds ---- */

/* Rows that have become steps. */
static uint32_t committed(const struct kvsink_stream *s)
{
	return s->length - s->window.first;
}

bool kvsink_window_has_room(const struct kvsink_stream *s, uint32_t layer, uint32_t count)
{
	return (uint64_t)committed(s) + s->layer[layer].appended + count <= s->window.tokens;
}

uint32_t kvsink_window_rows(const struct kvsink_stream *s)
{
	uint32_t rows = 0;

	for (uint32_t l = 0; kvsink_window_open(s) && l < s->layers; l++)
		rows = s->layer[l].appended > rows ? s->layer[l].appended : rows;
	return rows;
}

bool kvsink_window_pins(const struct kvsink_chip *chip, const struct kvsink_stream *s)
{
	return kvsink_window_open(s) && chip->host_ns - s->window.begin_ns < KVSINK_MAX_LEASE_NS;
}

/* ---- the journal ---- */

static uint64_t *mass_of(const struct kvsink_chip *chip, const struct kvsink_stream *s, uint32_t row,
			 uint32_t group)
{
	const struct kvsink_window *w = &s->window;
	uint64_t at =
		w->journal + ((uint64_t)row * s->score_groups + group) * ((uint64_t)w->first + w->tokens) * 8;

	return (uint64_t *)(void *)(chip->config.hbm + at);
}

static uint64_t *sink_mass_of(const struct kvsink_chip *chip, const struct kvsink_stream *s, uint32_t row,
			      uint32_t layer)
{
	const struct kvsink_window *w = &s->window;
	uint64_t at = w->journal + kvsink_window_mass_bytes(s->score_groups, w->first, w->tokens) +
		      ((uint64_t)row * s->layers + layer) * s->kv_heads * sizeof(uint64_t);

	return (uint64_t *)(void *)(chip->config.hbm + at);
}

static uint32_t *norms_of(const struct kvsink_chip *chip, const struct kvsink_stream *s)
{
	return (uint32_t *)(void *)sink_mass_of(chip, s, s->window.tokens, 0);
}

/* Bytes of HBM were read, or (of the journal) written. */
static void count(struct kvsink_chip *chip, struct kvsink_stream *s, const void *written, uint64_t bytes)
{
	if (written)
		kvsink_dirty(chip, KVSINK_SPACE_HBM, (uint64_t)((const uint8_t *)written - chip->config.hbm),
			     bytes);
	kvsink_ledger_add(chip, s, KVSINK_COUNTER_WINDOW_HBM, bytes);
}

static bool row_known(const struct kvsink_stream *s, uint32_t layer, uint32_t row)
{
	return s->layer[layer].journaled >> row & 1;
}

/* Has some layer of the group written the row's plane? What lay there before is none. */
static bool plane_begun(const struct kvsink_stream *s, uint32_t group, uint32_t row)
{
	for (uint32_t l = s->group[group].begin; l < s->group[group].end; l++)
		if (row_known(s, l, row))
			return true;
	return false;
}

bool kvsink_window_knows(const struct kvsink_stream *s, uint32_t layer, uint32_t first, uint32_t end)
{
	for (uint32_t t = first; t < end; t++)
		if (!row_known(s, layer, t - s->window.first))
			return false;
	return true;
}

/* One query's attention on the tokens up to its own, in a layer, and on sinks by KV head. */
static void record(struct kvsink_chip *chip, struct kvsink_stream *s, uint32_t layer, uint32_t row,
		   const uint64_t *observed, const uint64_t *sinks)
{
	uint32_t group = kvsink_stream_group(s, layer), tokens = s->window.first + row + 1;
	uint64_t *mass = mass_of(chip, s, row, group), *sink_mass = sink_mass_of(chip, s, row, layer);
	uint64_t bytes = tokens * sizeof(*mass);
	bool begun = plane_begun(s, group, row);

	for (uint32_t t = 0; t < tokens; t++)
		mass[t] = kvsink_add_weighted(begun ? mass[t] : 0, observed[t], s->layer[layer].weight);
	memcpy(sink_mass, sinks, s->kv_heads * sizeof(*sinks));
	s->layer[layer].journaled |= 1ull << row;
	if (begun)
		count(chip, s, NULL, bytes);
	count(chip, s, mass, bytes);
	count(chip, s, sink_mass, s->kv_heads * sizeof(*sinks));
	kvsink_ledger_add(chip, s, KVSINK_COUNTER_OBSERVED_QUERIES, s->q_heads);
}

void kvsink_window_observe(struct kvsink_chip *chip, struct kvsink_stream *s, uint32_t layer,
			   const struct kvsink_attend_task *task)
{
	uint32_t end = task->first + task->count;

	for (uint32_t t = task->observe_first; t < end; t++) {
		size_t query = t - task->observe_first;

		if (!row_known(s, layer, t - s->window.first))
			record(chip, s, layer, t - s->window.first,
			       task->observed + query * task->observe_pitch,
			       task->sink_mass + query * s->kv_heads);
	}
}

/* ---- its end ---- */

/* Whatever rows are left are dropped. */
static void close_window(struct kvsink_chip *chip, struct kvsink_stream *s)
{
	uint64_t bytes = (uint64_t)s->layers * s->kv_heads * sizeof(uint32_t);
	uint32_t *max = kvsink_norm_max(chip, s, 0);

	memcpy(max, norms_of(chip, s), bytes);
	kvsink_dirty(chip, KVSINK_SPACE_HBM, (uint64_t)((uint8_t *)max - chip->config.hbm), bytes);
	count(chip, s, NULL, bytes);
	kvsink_ledger_add(chip, s, KVSINK_COUNTER_WINDOW_TOKENS, kvsink_window_rows(s));
	for (uint32_t l = 0; l < s->layers; l++) {
		s->layer[l].appended = 0;
		s->layer[l].journaled = 0;
	}
	memset(&s->window, 0, sizeof(s->window));
}

void kvsink_window_reset(struct kvsink_chip *chip, struct kvsink_stream *s)
{
	if (kvsink_window_open(s))
		close_window(chip, s);
}

/* ---- WINDOW_BEGIN ---- */

static uint32_t check_begin(struct kvsink_ring *ring, const struct kvsink_stream *s,
			    const struct kvsink_cmd_window_begin *c)
{
	uint64_t bytes = kvsink_window_bytes(s->layers, s->kv_heads, s->score_groups, s->length, c->tokens);

	if (c->reserved)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(window_begin.reserved));
	if (!c->tokens || c->tokens > KVSINK_MAX_WINDOW_TOKENS)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(window_begin.tokens));
	for (uint32_t l = 0; l < s->layers; l++)
		if (s->layer[l].appended)
			return kvsink_fault(ring, KVSINK_CODE_BUSY, s->length);
	if (c->bytes < bytes)
		return kvsink_fault(ring, KVSINK_CODE_TOO_BIG, bytes);
	return kvsink_area_check(ring, c->journal, bytes);
}

uint32_t kvsink_cmd_window_begin(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_cmd_window_begin *c = &cmd->window_begin;
	struct kvsink_stream *s;
	uint32_t code = kvsink_stream_get_hbm(ring, c->stream, &s);
	uint64_t bytes;

	if (!code)
		code = check_begin(ring, s, c);
	if (code)
		return code;
	s->window = (struct kvsink_window){
		.tokens = c->tokens,
		.first = s->length,
		.journal = c->journal,
		.begin_ns = ring->chip->host_ns,
		.ring = KVSINK_NONE,
	};
	bytes = (uint64_t)s->layers * s->kv_heads * sizeof(uint32_t);
	memcpy(norms_of(ring->chip, s), kvsink_norm_max(ring->chip, s, 0), bytes);
	count(ring->chip, s, norms_of(ring->chip, s), bytes);
	return KVSINK_CODE_OK;
}

/* ---- WINDOW_COMMIT ---- */

/* The page of row `token`, among those that were looked up from the stream's length on. */
static const uint8_t *page_of(const struct kvsink_ring *ring, const struct kvsink_stream *s, uint32_t first,
			      uint32_t token)
{
	return ring->work.pages[(token >> s->page_shift) - (first >> s->page_shift)];
}

/* What APPEND has not done: the row enters the tails of its layers. */
static void write_tails(struct kvsink_ring *ring, struct kvsink_stream *s, const uint8_t *page)
{
	uint32_t in_page = s->length & ((1u << s->page_shift) - 1);
	uint64_t k_bytes = (uint64_t)s->kv_heads * s->d_k * kvsink_format_bytes(s->format);
	uint64_t v_bytes = (uint64_t)s->kv_heads * s->row_bytes - k_bytes;

	for (uint32_t l = 0; l < s->layers; l++) {
		const uint8_t *k = page + kvsink_page_k(s, l) + in_page * k_bytes;
		const uint8_t *v = page + kvsink_page_v(s, l) + in_page * v_bytes;
		uint64_t before = s->counters[KVSINK_COUNTER_TAIL_WRITE], bytes;

		s->window.sram_bytes += kvsink_tail_write(ring->chip, s, l, s->length, k, v);
		bytes = s->counters[KVSINK_COUNTER_TAIL_WRITE] - before;
		s->window.hbm_bytes += kvsink_ledger_bursts(ring->chip, 0, bytes);
		count(ring->chip, s, NULL, bytes);
	}
}

/* The row's norms belong to the stream now. */
static void keep_norms(struct kvsink_chip *chip, struct kvsink_stream *s)
{
	uint32_t *kept = norms_of(chip, s), heads = s->flags & KVSINK_STREAM_V_IN_K ? 0 : s->kv_heads;

	for (uint32_t l = 0; l < s->layers; l++)
		for (uint32_t h = 0; h < heads; h++) {
			uint16_t norm = kvsink_norms(chip, s, l)[(size_t)h * s->max_tokens + s->length];
			uint32_t pattern = kvsink_norm_largest(&norm, 1), *max = &kept[l * s->kv_heads + h];

			*max = pattern > *max ? pattern : *max;
		}
	count(chip, s, kept, (uint64_t)s->layers * s->kv_heads * sizeof(*kept));
}

/* B and the profile, as if the row's query had been made now. */
static void recall(struct kvsink_ring *ring, struct kvsink_stream *s)
{
	uint32_t row = committed(s), tokens = s->length + 1;
	struct kvsink_chip *chip = ring->chip;

	for (uint32_t g = 0; g < s->score_groups; g++) {
		uint64_t *mass = kvsink_planes(chip, s, g).mass;

		if (!plane_begun(s, g, row))
			continue;
		memcpy(mass, mass_of(chip, s, row, g), tokens * sizeof(*mass));
		kvsink_dirty(chip, KVSINK_SPACE_HBM, (uint64_t)((uint8_t *)mass - chip->config.hbm),
			     tokens * sizeof(*mass));
		count(chip, s, NULL, tokens * sizeof(*mass));
		kvsink_ledger_add(chip, s, KVSINK_COUNTER_SCORE_HBM, tokens * sizeof(*mass));
		kvsink_spend(ring, tokens * sizeof(*mass));
	}
	for (uint32_t l = 0; l < s->layers; l++) {
		if (!row_known(s, l, row))
			continue;
		kvsink_profile_add(chip, s, l, 1, sink_mass_of(chip, s, row, l));
		count(chip, s, NULL, s->kv_heads * sizeof(uint64_t));
		s->layer[l].observed_first = s->length;
		s->layer[l].observed_end = s->length + 1;
	}
}

static void commit_row(struct kvsink_ring *ring, struct kvsink_stream *s, const uint8_t *page)
{
	write_tails(ring, s, page);
	keep_norms(ring->chip, s);
	recall(ring, s);
	kvsink_step_make(ring, s, 1);
	kvsink_ledger_add(ring->chip, s, KVSINK_COUNTER_WINDOW_TOKENS, 1);
	kvsink_ledger_add(ring->chip, s, KVSINK_COUNTER_WINDOW_COMMITTED, 1);
}

/* ring->progress counts the rows that have become steps. */
static uint32_t commit_rows(struct kvsink_ring *ring, struct kvsink_stream *s, uint32_t rows)
{
	uint32_t first = s->length, end = first + rows - (uint32_t)ring->progress, code;

	if (first == end)
		return KVSINK_CODE_OK;
	code = kvsink_page_resolve(ring, s, first >> s->page_shift, ((end - 1) >> s->page_shift) + 1,
				   ring->work.pages);
	while (!code && s->length < end) {
		if (ring->progress && ring->spent >= KVSINK_QUANTUM)
			return KVSINK_MORE;
		commit_row(ring, s, page_of(ring, s, first, s->length));
		ring->progress++;
	}
	return code;
}

static uint32_t check_commit(struct kvsink_ring *ring, const struct kvsink_stream *s,
			     const struct kvsink_cmd_window_commit *c)
{
	if (c->reserved)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(window_commit.reserved));
	if (!kvsink_window_open(s))
		return kvsink_fault(ring, KVSINK_CODE_NO_WINDOW, s->id);
	for (uint32_t l = 1; c->count && l < s->layers; l++)
		if (s->layer[l].appended != s->layer[0].appended)
			return kvsink_fault(ring, KVSINK_CODE_SEQUENCE,
					    (uint64_t)s->length + s->layer[l].appended);
	if (c->count > s->layer[0].appended && c->count)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(window_commit.count));
	return KVSINK_CODE_OK;
}

/* Another window may have come, or another COMMIT, or a reset between. */
static uint32_t goes_on(struct kvsink_ring *ring, const struct kvsink_stream *s)
{
	return kvsink_window_open(s) && s->window.ring == ring->index
		       ? KVSINK_CODE_OK
		       : kvsink_fault(ring, KVSINK_CODE_NO_WINDOW, s->id);
}

static uint32_t begin_commit(struct kvsink_ring *ring, struct kvsink_stream *s,
			     const struct kvsink_cmd_window_commit *c)
{
	uint32_t code = check_commit(ring, s, c);

	if (code)
		return code;
	s->window.ring = ring->index;
	s->window.rows = kvsink_window_rows(s);
	return KVSINK_CODE_OK;
}

uint32_t kvsink_cmd_window_commit(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_cmd_window_commit *c = &cmd->window_commit;
	struct kvsink_stream *s;
	uint32_t code = kvsink_stream_get_hbm(ring, c->stream, &s);

	if (!code)
		code = ring->progress ? goes_on(ring, s) : begin_commit(ring, s, c);
	if (!code)
		code = commit_rows(ring, s, c->count);
	if (code)
		return code;
	ring->result[0] = c->count;
	ring->result[1] = s->window.rows;
	ring->hbm_bytes = s->window.hbm_bytes;
	ring->sram_bytes = s->window.sram_bytes;
	kvsink_event(ring->chip, KVSINK_EVENT_WINDOW_COMMITTED, s, s->tenant, s->length,
		     c->count | s->window.rows << 16);
	close_window(ring->chip, s);
	return KVSINK_CODE_OK;
}
