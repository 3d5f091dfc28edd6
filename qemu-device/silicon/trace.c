/* SPDX-License-Identifier: MIT */
/*
 * The timeline: a log of the last KVSINK_SPAN_SLOTS spans, one for each command and each copy that ended, in
 * the order of their ends, numbered modulo 2^32. QUERY reads it. A span that gives way to a younger one is
 * counted (SPANS_LOST). An engine reset keeps it, as it keeps modelled time.
 */
#include <string.h>

#include "chip.h"

void kvsink_trace_reset(struct kvsink_chip *chip)
{
	memset(chip->spans_log, 0, sizeof(chip->spans_log));
	chip->span_next = 0;
	chip->span_total = 0;
}

static void add(struct kvsink_chip *chip, const struct kvsink_span_rec *span)
{
	struct kvsink_span_rec *slot = &chip->spans_log[chip->span_next++ % KVSINK_SPAN_SLOTS];

	if (chip->span_total++ >= KVSINK_SPAN_SLOTS)
		kvsink_ledger_add(chip, kvsink_stream_find(chip, slot->stream), KVSINK_COUNTER_SPANS_LOST, 1);
	*slot = *span;
}

/* Of all tasks of the ring's item, or NULL. */
static const struct kvsink_stream *common_stream(const struct kvsink_item_work *work)
{
	for (uint32_t i = 1; i < work->tasks; i++)
		if (work->stream[i] != work->stream[0])
			return NULL;
	return work->stream[0];
}

static uint32_t saturate(uint64_t bytes)
{
	return bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX;
}

void kvsink_trace_command(const struct kvsink_ring *ring, uint64_t begin_ps, uint32_t code)
{
	const struct kvsink_stream *stream = ring->shared ? common_stream(&ring->work) : ring->stream;
	uint32_t opcode = ring->cmd[ring->next_cmd].opcode;
	struct kvsink_span_rec span = {
		.begin_ns = begin_ps / KVSINK_PS_PER_NS,
		.end_ns = ring->chip->now_ps / KVSINK_PS_PER_NS,
		.stream = stream ? stream->id : 0,
		.what = opcode < KVSINK_OP_COUNT ? opcode : 0,
		.ring = ring->index,
		.tenant = ring->desc.tenant,
		.bytes = saturate(ring->hbm_bytes),
		.code = code,
	};

	add(ring->chip, &span);
}

void kvsink_trace_copy(struct kvsink_chip *chip, const struct kvsink_tag *tag, const struct kvsink_copy *copy,
		       bool late)
{
	struct kvsink_span_rec span = {
		.begin_ns = copy->begin_ps / KVSINK_PS_PER_NS,
		.end_ns = chip->now_ps / KVSINK_PS_PER_NS,
		.stream = tag->stream->id,
		.what = KVSINK_SPAN_COPY,
		.ring = KVSINK_NONE,
		.tenant = tag->stream->tenant,
		.token = tag->token,
		.bytes = saturate(copy->bus_bytes),
		.code = late,
	};

	add(chip, &span);
}
