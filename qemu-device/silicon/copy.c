/* SPDX-License-Identifier: MIT */
/*
 * COPY and FILL: plain moves of bytes, in pieces of the ring's staging buffer.
 *
 * Both ends are checked whole before the first byte moves; only a bus error can stop one half way.
 * Writing to HBM or SRAM waits for items in flight: it may be memory that they read.
 */
#include <string.h>

#include "chip.h"

/* May the destination be written now? */
static bool must_wait(const struct kvsink_ring *ring, const struct kvsink_ref *dst)
{
	return dst->space != KVSINK_SPACE_GART && kvsink_items_in_flight(ring->chip);
}

static bool overlap(const struct kvsink_ref *a, const struct kvsink_ref *b, uint64_t bytes)
{
	/* in bounds, so the sums cannot wrap */
	return a->space == b->space && a->offset < b->offset + bytes && b->offset < a->offset + bytes;
}

static uint64_t piece(uint64_t left)
{
	return left < KVSINK_STAGE_BYTES ? left : KVSINK_STAGE_BYTES;
}

uint32_t kvsink_cmd_copy(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_cmd_copy *c = &cmd->copy;
	void *buf = ring->work.q;
	uint32_t code;

	if (!c->bytes)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(copy.bytes));
	code = kvsink_operand_check(ring, &c->src, c->bytes);
	if (!code)
		code = kvsink_operand_check(ring, &c->dst, c->bytes);
	if (code)
		return code;
	if (overlap(&c->src, &c->dst, c->bytes))
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(copy.dst.offset));
	if (must_wait(ring, &c->dst))
		return KVSINK_STALL;
	for (uint64_t at = 0, n; at < c->bytes && !code; at += n) {
		n = piece(c->bytes - at);
		code = kvsink_operand_read(ring, &c->src, at, buf, n);
		if (!code)
			code = kvsink_operand_write(ring, &c->dst, at, buf, n);
	}
	return code;
}

uint32_t kvsink_cmd_fill(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_cmd_fill *c = &cmd->fill;
	void *buf = ring->work.q;
	uint32_t code;

	if (!c->bytes)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(fill.bytes));
	if (c->value > 255)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(fill.value));
	if (c->reserved)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(fill.reserved));
	code = kvsink_operand_check(ring, &c->dst, c->bytes);
	if (code)
		return code;
	if (must_wait(ring, &c->dst))
		return KVSINK_STALL;
	memset(buf, (int)c->value, piece(c->bytes));
	for (uint64_t at = 0, n; at < c->bytes && !code; at += n) {
		n = piece(c->bytes - at);
		code = kvsink_operand_write(ring, &c->dst, at, buf, n);
	}
	return code;
}
