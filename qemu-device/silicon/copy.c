/* SPDX-License-Identifier: MIT */
/*
 * COPY and FILL: plain moves of bytes, in pieces of the ring's staging buffer.
 *
 * Both ends are checked whole before the first byte moves; only a bus error can stop one half way.
 * Writing to HBM or SRAM waits for items in flight: it may be memory that they read. A long one goes on
 * in later calls of kvsink_run(); ring->progress says from where.
 */
#include <string.h>

#include "chip.h"

/* May it begin, or go on, now? */
static bool must_wait(struct kvsink_ring *ring, const struct kvsink_ref *dst)
{
	if (!ring->progress && kvsink_another_waits(ring, KVSINK_WAIT_ALL))
		return true;
	return dst->space != KVSINK_SPACE_GART && kvsink_wait_for(ring, KVSINK_WAIT_ITEMS);
}

static bool overlap(const struct kvsink_ref *a, const struct kvsink_ref *b, uint64_t bytes)
{
	/* in bounds, so the sums cannot wrap */
	return a->space == b->space && a->offset < b->offset + bytes && b->offset < a->offset + bytes;
}

#define PIECE (1u << 20)

static uint64_t piece(uint64_t left)
{
	return left < PIECE ? left : PIECE;
}

static uint32_t check_copy(struct kvsink_ring *ring, const struct kvsink_cmd_copy *c)
{
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
	return KVSINK_CODE_OK;
}

uint32_t kvsink_cmd_copy(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_cmd_copy *c = &cmd->copy;
	uint32_t code = ring->progress ? KVSINK_CODE_OK : check_copy(ring, c);
	void *buf = ring->work.q;

	if (code)
		return code;
	if (must_wait(ring, &c->dst))
		return KVSINK_STALL;
	for (uint64_t n; ring->progress < c->bytes && !code; ring->progress += n) {
		if (ring->spent >= KVSINK_QUANTUM)
			return KVSINK_MORE;
		n = piece(c->bytes - ring->progress);
		code = kvsink_operand_read(ring, &c->src, ring->progress, buf, n);
		if (!code)
			code = kvsink_operand_write(ring, &c->dst, ring->progress, buf, n);
	}
	return code;
}

static uint32_t check_fill(struct kvsink_ring *ring, const struct kvsink_cmd_fill *c)
{
	if (!c->bytes)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(fill.bytes));
	if (c->value > 255)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(fill.value));
	if (c->reserved)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(fill.reserved));
	return kvsink_operand_check(ring, &c->dst, c->bytes);
}

uint32_t kvsink_cmd_fill(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_cmd_fill *c = &cmd->fill;
	uint32_t code = ring->progress ? KVSINK_CODE_OK : check_fill(ring, c);
	void *buf = ring->work.q;

	if (code)
		return code;
	if (must_wait(ring, &c->dst))
		return KVSINK_STALL;
	memset(buf, (int)c->value, piece(c->bytes - ring->progress));
	for (uint64_t n; ring->progress < c->bytes && !code; ring->progress += n) {
		if (ring->spent >= KVSINK_QUANTUM)
			return KVSINK_MORE;
		n = piece(c->bytes - ring->progress);
		code = kvsink_operand_write(ring, &c->dst, ring->progress, buf, n);
	}
	return code;
}
