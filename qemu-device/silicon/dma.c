/* SPDX-License-Identifier: MIT */
/*
 * Migration engine: copies promoted rows from HBM to SRAM, one at a time, in modelled time.
 *
 * Queue: copies that are due at once in order of their grant, then the deferred ones, earliest due first. A
 * copy takes the HBM's latency and its bursts at DMA_GBPS, whatever else happens; a more urgent one
 * interrupts it without loss. A deferred copy runs while no command uses HBM, or when it could not end in
 * time otherwise: that moment, start_by_ps, follows from the end of the queue backwards,
 *     start_by(k) = min(due(k), start_by(k + 1)) - left(k).
 * The bytes move and the entry becomes valid when the clock passes the end of the copy, never before; and
 * only if the entry is still the one that was granted: its generation tells. It does not matter that rows are
 * read at the end of the copy: only SEAL changes those of a stream, and it begins their copies anew.
 */
#include <string.h>

#include "chip.h"

void kvsink_dma_reset(struct kvsink_chip *chip)
{
	chip->copy_first = 0;
	chip->copy_count = 0;
}

static struct kvsink_copy *copy_at(const struct kvsink_chip *chip, uint32_t i)
{
	return &chip->copies[chip->copy_first + i];
}

/* The copy's entry, or NULL when that is gone. */
static struct kvsink_tag *copy_target(struct kvsink_chip *chip, const struct kvsink_copy *copy)
{
	struct kvsink_tag *tag = &chip->tags[copy->tag];

	return tag->stream && tag->generation == copy->generation ? tag : NULL;
}

/* ---- the queue ---- */

static uint64_t minus(uint64_t a, uint64_t b)
{
	return a > b ? a - b : 0;
}

/* Latest starts of deferred copies up to `last`, each from the one behind it. */
static void plan_starts(struct kvsink_chip *chip, uint32_t last)
{
	for (uint32_t i = last + 1; i-- > 0;) {
		struct kvsink_copy *copy = copy_at(chip, i);
		uint64_t end = copy->due_ps;

		if (!end)
			return;
		if (i + 1 < chip->copy_count && copy_at(chip, i + 1)->start_by_ps < end)
			end = copy_at(chip, i + 1)->start_by_ps;
		copy->start_by_ps = minus(end, copy->left_ps);
	}
}

/* Move the queue to the front of its array, without the copies whose entries are gone. */
static void compact(struct kvsink_chip *chip)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < chip->copy_count; i++)
		if (copy_target(chip, copy_at(chip, i)))
			chip->copies[kept++] = *copy_at(chip, i);
	chip->copy_first = 0;
	chip->copy_count = kept;
	if (kept)
		plan_starts(chip, kept - 1);
}

/* Every entry that is not valid has one copy in the queue: if there are more, some are stale. */
static void settle(struct kvsink_chip *chip)
{
	if (chip->copy_count != kvsink_dma_pending(chip) ||
	    (chip->copy_count && !copy_target(chip, copy_at(chip, 0))))
		compact(chip);
}

/* Bytes of a copy: those that it moves, and the bursts that it reads for them. */
struct copy_bytes {
	uint64_t moved, bus;
};

/* A row's K or V as it is stored, with its own scales, to `to` unless that is NULL. */
static uint32_t copy_row(const struct kvsink_chip *chip, const struct kvsink_plane *p, const uint8_t *page,
			 const struct kvsink_row *row, uint8_t *to, struct copy_bytes *bytes)
{
	bool coded = row->scales;
	uint32_t n = coded ? p->code_bytes : p->row_bytes;

	if (to)
		memcpy(to, row->data, n);
	bytes->bus += kvsink_ledger_bursts(chip, (uint64_t)(row->data - page), n);
	if (coded && p->scale_bytes) {
		if (to)
			memcpy(to + n, row->scales, p->scale_bytes);
		bytes->bus += kvsink_ledger_bursts(chip, (uint64_t)(row->scales - page), p->scale_bytes);
		n += p->scale_bytes;
	}
	bytes->moved += n;
	return n;
}

/* The rows of an entry, plane by plane, head by head; to SRAM, or only counted. */
static struct copy_bytes copy_rows(const struct kvsink_chip *chip, const struct kvsink_tag *tag, bool count)
{
	const struct kvsink_stream *s = tag->stream;
	const uint8_t *page = chip->config.hbm + tag->page;
	uint32_t slot = tag->token & ((1u << s->page_shift) - 1), n;
	uint8_t *to = count ? NULL : chip->config.sram + tag->sram_offset;
	struct copy_bytes bytes = {0};

	for (uint32_t l = tag->layer_begin; l < tag->layer_end; l++) {
		struct kvsink_rows rows = kvsink_page_rows(s, l);
		struct kvsink_plane plane[2] = {kvsink_plane(&rows, false), kvsink_plane(&rows, true)};
		uint64_t coded = kvsink_tag_coded(chip, tag, l);
		bool sealed = tag->token < s->sealed;

		for (uint32_t h = 0; h < s->kv_heads; h++) {
			if (!(tag->head_mask >> h & 1))
				continue;
			n = 0;
			for (unsigned v = 0; v < 2; v++) {
				struct kvsink_row row =
					coded >> h & 1 && plane[v].seal
						? kvsink_plane_coded(&plane[v], page, h, slot)
						: kvsink_plane_row(&plane[v], page, h, slot, sealed);

				n += copy_row(chip, &plane[v], page, &row, to ? to + n : NULL, &bytes);
			}
			to = to ? to + tag->row_bytes : NULL;
		}
	}
	return bytes;
}

void kvsink_dma_start(struct kvsink_chip *chip, uint32_t index)
{
	struct kvsink_tag *tag = &chip->tags[index];
	uint64_t bus = copy_rows(chip, tag, true).bus;
	uint64_t latency = (uint64_t)chip->config.hbm_latency_ns * KVSINK_PS_PER_NS;
	uint32_t at;

	if (chip->copy_first + chip->copy_count == 2 * chip->config.tags)
		compact(chip);
	for (at = chip->copy_count++; at && copy_at(chip, at - 1)->due_ps > tag->due_ps; at--)
		*copy_at(chip, at) = *copy_at(chip, at - 1);
	tag->grant_ps = chip->now_ps;
	*copy_at(chip, at) = (struct kvsink_copy){
		.due_ps = tag->due_ps,
		.left_ps = latency + kvsink_clock_ps(bus, chip->config.dma_gbps),
		.bus_bytes = bus,
		.tag = index,
		.generation = tag->generation,
	};
	plan_starts(chip, at);
}

void kvsink_dma_restart(struct kvsink_chip *chip, uint32_t index)
{
	for (uint32_t i = 0, kept = 0, count = chip->copy_count; i < count; i++) {
		struct kvsink_copy copy = *copy_at(chip, i);

		if (copy.tag == index && copy.generation == chip->tags[index].generation)
			chip->copy_count--;
		else
			*copy_at(chip, kept++) = copy;
	}
	if (chip->copy_count)
		plan_starts(chip, chip->copy_count - 1);
	kvsink_dma_start(chip, index);
}

/* Are the owner's entries read by the stream? */
static bool reads(const struct kvsink_stream *stream, const struct kvsink_stream *owner)
{
	while (stream && stream != owner)
		stream = stream->prefix;
	return stream && owner;
}

uint64_t kvsink_dma_wait(struct kvsink_chip *chip, const struct kvsink_stream *stream)
{
	uint64_t ps = 0, wait = 0;

	settle(chip);
	for (uint32_t i = 0; i < chip->copy_count; i++) {
		ps = kvsink_clock_add(ps, copy_at(chip, i)->left_ps);
		if (reads(stream, chip->tags[copy_at(chip, i)->tag].stream))
			wait = ps;
	}
	return wait;
}

/* ---- the end of a copy ---- */

/* What lies between shorter rows, or was there before, does not stay. */
static uint64_t move_rows(struct kvsink_chip *chip, const struct kvsink_tag *tag)
{
	uint64_t moved;

	memset(chip->config.sram + tag->sram_offset, 0, tag->sram_bytes);
	moved = copy_rows(chip, tag, false).moved;
	kvsink_dirty(chip, KVSINK_SPACE_SRAM, tag->sram_offset, tag->sram_bytes);
	return moved;
}

static struct kvsink_place_item rows_of(const struct kvsink_tag *tag)
{
	return (struct kvsink_place_item){
		.token = tag->token,
		.layer_begin = tag->layer_begin,
		.layer_end = tag->layer_end,
		.head_mask = tag->head_mask,
	};
}

static void report_late(struct kvsink_chip *chip, const struct kvsink_tag *tag, uint64_t late_ps)
{
	uint64_t ns = late_ps / KVSINK_PS_PER_NS + (late_ps % KVSINK_PS_PER_NS != 0);
	struct kvsink_place_item rows = rows_of(tag);

	kvsink_ledger_add(chip, tag->stream, KVSINK_COUNTER_DMA_LATE, 1);
	kvsink_event_rows(chip, KVSINK_EVENT_COPY_LATE, tag->stream, &rows,
			  ns < UINT32_MAX ? (uint32_t)ns : UINT32_MAX, KVSINK_REASON_NONE);
}

static void copy_end(struct kvsink_chip *chip, struct kvsink_tag *tag, const struct kvsink_copy *copy)
{
	struct kvsink_stream *stream = tag->stream;
	uint64_t late_ps = copy->due_ps ? minus(chip->now_ps, copy->due_ps) : 0;
	struct kvsink_place_item item = rows_of(tag);
	uint64_t moved = move_rows(chip, tag);

	tag->valid = true;
	chip->valid_tags++;
	kvsink_ledger_add(chip, stream, KVSINK_COUNTER_DMA_COPY, moved);
	kvsink_ledger_add(chip, stream, KVSINK_COUNTER_DMA_BUS, copy->bus_bytes);
	kvsink_ledger_add(chip, stream, KVSINK_COUNTER_PROMOTIONS_VALID, 1);
	kvsink_ledger_add(chip, stream, KVSINK_COUNTER_PROMOTE_LATENCY_NS, chip->now_ps - tag->grant_ps);
	kvsink_event_rows(chip, KVSINK_EVENT_VALID, stream, &item, tag->sram_bytes, KVSINK_REASON_NONE);
	if (late_ps)
		report_late(chip, tag, late_ps);
	kvsink_trace_copy(chip, tag, copy, late_ps != 0);
}

/* ---- time ---- */

void kvsink_dma_look(struct kvsink_chip *chip, struct kvsink_dma_view *view)
{
	settle(chip);
	*view = (struct kvsink_dma_view){.now_ps = chip->now_ps};
	if (chip->copy_count)
		view->head = *copy_at(chip, 0);
}

bool kvsink_dma_phase(const struct kvsink_chip *chip, const struct kvsink_dma_view *view, bool quiet,
		      uint64_t *ps)
{
	const struct kvsink_copy *head = &view->head;

	if (view->next == chip->copy_count) {
		*ps = UINT64_MAX;
		return false;
	}
	if (quiet || !head->due_ps || head->start_by_ps <= view->now_ps) {
		*ps = head->left_ps;
		return true;
	}
	*ps = head->start_by_ps - view->now_ps;
	return false;
}

void kvsink_dma_step(const struct kvsink_chip *chip, struct kvsink_dma_view *view, bool copying, uint64_t ps)
{
	view->now_ps = kvsink_clock_add(view->now_ps, ps);
	if (!copying)
		return;
	view->head.left_ps -= ps;
	view->head.start_by_ps = kvsink_clock_add(view->head.start_by_ps, ps);
	if (!view->head.left_ps && ++view->next < chip->copy_count)
		view->head = *copy_at(chip, view->next);
}

/* The first copy runs for a while, of which commands feel *exposed at most. */
static void run_head(struct kvsink_chip *chip, uint64_t ps, uint64_t *exposed)
{
	struct kvsink_copy *copy = copy_at(chip, 0), done;
	struct kvsink_tag *tag = copy_target(chip, copy);
	uint64_t felt = *exposed < ps ? *exposed : ps;

	*exposed -= felt;
	kvsink_ledger_add(chip, tag->stream, KVSINK_COUNTER_HIDDEN_DMA_NS, ps - felt);
	if (!copy->begun) {
		copy->begun = true;
		copy->begin_ps = chip->now_ps;
	}
	copy->left_ps -= ps;
	copy->start_by_ps = kvsink_clock_add(copy->start_by_ps, ps);
	chip->now_ps = kvsink_clock_add(chip->now_ps, ps);
	if (copy->left_ps)
		return;
	done = *copy;
	chip->copy_first++;
	chip->copy_count--;
	if (!chip->copy_count)
		chip->copy_first = 0;
	copy_end(chip, tag, &done);
}

uint64_t kvsink_dma_pass(struct kvsink_chip *chip, uint64_t ps, bool quiet, uint64_t exposed)
{
	uint64_t left = exposed, step;
	struct kvsink_dma_view view;

	for (; ps; ps -= step) {
		kvsink_dma_look(chip, &view);
		if (!kvsink_dma_phase(chip, &view, quiet, &step)) {
			step = step < ps ? step : ps;
			chip->now_ps = kvsink_clock_add(chip->now_ps, step);
			continue;
		}
		step = step < ps ? step : ps;
		run_head(chip, step, &left);
	}
	return exposed - left;
}
