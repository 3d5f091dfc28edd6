/* SPDX-License-Identifier: MIT */
/*
 * Budget tracker: the only allocator of SRAM. Lowest address first fit, KVSINK_SRAM_UNIT granules, one
 * contiguous range an entry. A range is scrubbed when it comes back, so a grant is always zero.
 *
 * Granted ranges lie in chip->spans in order of address; free is what is between them.
 */
#include <string.h>

#include "chip.h"

void kvsink_budget_reset(struct kvsink_chip *chip)
{
	chip->span_count = 0;
	chip->sram_used = 0;
}

static uint32_t left(uint64_t limit, uint32_t used)
{
	return limit > used ? (uint32_t)(limit - used) : 0;
}

/* Bytes that the device's and the stream's budget still allow. */
static uint32_t allowance(const struct kvsink_chip *chip, const struct kvsink_stream *stream)
{
	uint64_t limit = chip->params[KVSINK_PARAM_SRAM_BUDGET];
	uint32_t device, own;

	if (limit > chip->config.sram_bytes)
		limit = chip->config.sram_bytes;
	device = left(limit, chip->sram_used);
	own = left(kvsink_param(stream, KVSINK_PARAM_SRAM_BUDGET), stream->sram_bytes);
	return device < own ? device : own;
}

/* The gap before span i (or behind the last): its start and size. */
static uint32_t gap(const struct kvsink_chip *chip, uint32_t i, uint32_t *start)
{
	const struct kvsink_span *before = i ? &chip->spans[i - 1] : NULL;
	uint32_t end = i < chip->span_count ? chip->spans[i].offset : chip->config.sram_bytes;

	*start = before ? before->offset + before->bytes : 0;
	return end - *start;
}

uint32_t kvsink_budget_grant(struct kvsink_chip *chip, struct kvsink_stream *stream, uint32_t bytes,
			     uint32_t *offset)
{
	uint32_t room = allowance(chip, stream);
	uint32_t largest = 0, i, start;

	*offset = room;
	if (bytes > room)
		return KVSINK_CODE_BUDGET;
	for (i = 0; i <= chip->span_count; i++) {
		uint32_t size = gap(chip, i, &start);

		if (size >= bytes)
			break;
		largest = size > largest ? size : largest;
	}
	if (i > chip->span_count) {
		*offset = largest;
		return KVSINK_CODE_FRAGMENTED;
	}
	memmove(&chip->spans[i + 1], &chip->spans[i], (chip->span_count - i) * sizeof(chip->spans[0]));
	chip->spans[i] = (struct kvsink_span){.offset = start, .bytes = bytes};
	chip->span_count++;
	chip->sram_used += bytes;
	stream->sram_bytes += bytes;
	*offset = start;
	return KVSINK_CODE_OK;
}

static uint32_t span_at(const struct kvsink_chip *chip, uint32_t offset)
{
	uint32_t low = 0, high = chip->span_count;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (chip->spans[mid].offset < offset)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

void kvsink_budget_release(struct kvsink_chip *chip, struct kvsink_stream *stream, uint32_t offset)
{
	uint32_t i = span_at(chip, offset);
	uint32_t bytes = chip->spans[i].bytes;

	memset(chip->config.sram + offset, 0, bytes);
	kvsink_dirty(chip, KVSINK_SPACE_SRAM, offset, bytes);
	chip->span_count--;
	memmove(&chip->spans[i], &chip->spans[i + 1], (chip->span_count - i) * sizeof(chip->spans[0]));
	chip->sram_used -= bytes;
	stream->sram_bytes -= bytes;
}
