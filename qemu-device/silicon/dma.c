/* SPDX-License-Identifier: MIT */
/*
 * Migration engine: copies promoted rows from HBM to SRAM, one after another, in modelled time.
 *
 * The bytes move and the entry becomes valid when the modelled clock passes the end of the copy, never
 * before; and only if the entry is still the one that was granted: an evicted one leaves a stale copy
 * in the queue, which its generation gives away. Rows of a stream never change while it lives, so it
 * does not matter that they are read at the end of the copy.
 */
#include <string.h>

#include "chip.h"

void kvsink_dma_reset(struct kvsink_chip *chip)
{
	chip->copy_first = 0;
	chip->copy_count = 0;
	chip->dma_free_ps = chip->now_ps;
}

/* The copy's entry, or NULL when that is gone. */
static struct kvsink_tag *copy_target(struct kvsink_chip *chip, const struct kvsink_copy *copy)
{
	struct kvsink_tag *tag = &chip->tags[copy->tag];

	return tag->stream && tag->generation == copy->generation ? tag : NULL;
}

/* Move the queue to the front of its array without the stale copies: at most one a tag remains. */
static void compact(struct kvsink_chip *chip)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < chip->copy_count; i++)
		if (copy_target(chip, &chip->copies[chip->copy_first + i]))
			chip->copies[kept++] = chip->copies[chip->copy_first + i];
	chip->copy_first = 0;
	chip->copy_count = kept;
}

/* Bytes of HBM bursts that the copy takes: its rows lie plane by plane, head by head. */
static uint64_t source_bursts(const struct kvsink_chip *chip, const struct kvsink_tag *tag)
{
	const struct kvsink_stream *s = tag->stream;
	uint32_t in_page = tag->token & ((1u << s->page_shift) - 1);
	uint64_t k_bytes = (uint64_t)s->d_k * kvsink_format_bytes(s->format);
	uint64_t v_bytes = (uint64_t)s->d_v * kvsink_format_bytes(s->format);
	uint64_t bus = 0;

	for (uint32_t l = tag->layer_begin; l < tag->layer_end; l++) {
		uint64_t k = tag->page + kvsink_page_k(s, l) + in_page * s->kv_heads * k_bytes;
		uint64_t v = tag->page + kvsink_page_v(s, l) + in_page * s->kv_heads * v_bytes;

		for (uint32_t h = 0; h < s->kv_heads; h++)
			if (tag->head_mask >> h & 1)
				bus += kvsink_ledger_bursts(chip, k + h * k_bytes, k_bytes) +
				       kvsink_ledger_bursts(chip, v + h * v_bytes, v_bytes);
	}
	return bus;
}

void kvsink_dma_start(struct kvsink_chip *chip, uint32_t index)
{
	struct kvsink_tag *tag = &chip->tags[index];
	uint64_t start = chip->dma_free_ps > chip->now_ps ? chip->dma_free_ps : chip->now_ps;
	uint64_t latency = (uint64_t)chip->config.hbm_latency_ns * KVSINK_PS_PER_NS;
	uint64_t ps =
		kvsink_clock_add(latency, kvsink_clock_ps(source_bursts(chip, tag), chip->config.dma_gbps));

	if (chip->copy_first + chip->copy_count == 2 * chip->config.tags)
		compact(chip);
	tag->due_ps = kvsink_clock_add(start, ps);
	chip->dma_free_ps = tag->due_ps;
	chip->copies[chip->copy_first + chip->copy_count++] = (struct kvsink_copy){
		.end_ps = tag->due_ps,
		.tag = index,
		.generation = tag->generation,
	};
}

static void copy_rows(struct kvsink_chip *chip, const struct kvsink_tag *tag)
{
	const struct kvsink_stream *s = tag->stream;
	uint32_t in_page = tag->token & ((1u << s->page_shift) - 1);
	size_t k_bytes = (size_t)s->d_k * kvsink_format_bytes(s->format);
	size_t v_bytes = (size_t)s->d_v * kvsink_format_bytes(s->format);
	uint8_t *to = chip->config.sram + tag->sram_offset;

	for (uint32_t l = tag->layer_begin; l < tag->layer_end; l++) {
		const uint8_t *page = chip->config.hbm + tag->page;
		const uint8_t *k = page + kvsink_page_k(s, l) + in_page * s->kv_heads * k_bytes;
		const uint8_t *v = page + kvsink_page_v(s, l) + in_page * s->kv_heads * v_bytes;

		for (uint32_t h = 0; h < s->kv_heads; h++) {
			if (!(tag->head_mask >> h & 1))
				continue;
			memcpy(to, k + h * k_bytes, k_bytes);
			memcpy(to + k_bytes, v + h * v_bytes, v_bytes);
			to += k_bytes + v_bytes;
		}
	}
	kvsink_dirty(chip, KVSINK_SPACE_SRAM, tag->sram_offset, tag->sram_bytes);
}

static void copy_end(struct kvsink_chip *chip, struct kvsink_tag *tag)
{
	struct kvsink_stream *stream = tag->stream;
	uint64_t rows = (uint64_t)(tag->layer_end - tag->layer_begin) * __builtin_popcountll(tag->head_mask);

	copy_rows(chip, tag);
	tag->valid = true;
	chip->valid_tags++;
	kvsink_ledger_add(chip, stream, KVSINK_COUNTER_DMA_COPY, rows * stream->row_bytes);
	kvsink_ledger_add(chip, stream, KVSINK_COUNTER_PROMOTIONS_VALID, 1);
	kvsink_event(chip, KVSINK_EVENT_VALID, stream, stream->tenant, tag->token, tag->sram_bytes);
}

void kvsink_dma_catch_up(struct kvsink_chip *chip)
{
	while (chip->copy_count && chip->copies[chip->copy_first].end_ps <= chip->now_ps) {
		struct kvsink_tag *tag = copy_target(chip, &chip->copies[chip->copy_first]);

		if (tag)
			copy_end(chip, tag);
		chip->copy_first++;
		chip->copy_count--;
	}
	if (!chip->copy_count)
		chip->copy_first = 0;
}
