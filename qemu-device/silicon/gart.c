/* SPDX-License-Identifier: MIT */
/*
 * GART and operands: where (space, offset) leads, and moving bytes there and back.
 *
 * The GART table lies in host memory and only the kernel writes it. The chip keeps valid translations
 * in a small TLB and never caches an invalid one; GART_INVALIDATE drops them. Every operand is checked
 * against the size of its space, whatever the driver checked before.
 */
#include <string.h>

#include "chip.h"

void kvsink_gart_flush(struct kvsink_chip *chip)
{
	for (unsigned i = 0; i < KVSINK_TLB_SLOTS; i++)
		chip->tlb[i].page = KVSINK_NONE;
}

/* Bus address of a GART page that lies within the table. */
static uint32_t translate(struct kvsink_ring *ring, uint32_t page, uint64_t *bus)
{
	struct kvsink_chip *chip = ring->chip;
	struct kvsink_tlb_slot *slot = &chip->tlb[page % KVSINK_TLB_SLOTS];
	uint64_t at = kvsink_gart_base(chip) + (uint64_t)page * sizeof(uint64_t);
	uint64_t entry;

	if (slot->page != page) {
		if (chip->ops.dma_read(chip->opaque, at, &entry, sizeof(entry)))
			return kvsink_fault(ring, KVSINK_CODE_DMA_ERROR, at);
		if (!(entry & KVSINK_GART_VALID))
			return kvsink_fault(ring, KVSINK_CODE_GART_FAULT, (uint64_t)page * KVSINK_GART_PAGE);
		slot->page = page;
		slot->bus = entry & ~(uint64_t)(KVSINK_GART_PAGE - 1);
	}
	*bus = slot->bus;
	return KVSINK_CODE_OK;
}

static uint64_t space_bytes(const struct kvsink_chip *chip, uint32_t space)
{
	switch (space) {
	case KVSINK_SPACE_GART:
		return (uint64_t)chip->config.gart_pages * KVSINK_GART_PAGE;
	case KVSINK_SPACE_HBM:
		return chip->config.hbm_bytes;
	case KVSINK_SPACE_SRAM:
		return chip->config.sram_bytes;
	default:
		return 0;
	}
}

/* Byte offset of a member of `ref` in the ring's present command. */
static uint64_t ref_field(const struct kvsink_ring *ring, const void *member)
{
	return (uint64_t)((const uint8_t *)member - (const uint8_t *)&ring->cmd[ring->next_cmd]);
}

static uint32_t check_pages(struct kvsink_ring *ring, uint64_t offset, uint64_t bytes)
{
	uint64_t bus, page = offset / KVSINK_GART_PAGE;
	uint64_t end = (offset + bytes + KVSINK_GART_PAGE - 1) / KVSINK_GART_PAGE;
	uint32_t code = KVSINK_CODE_OK;

	for (; page < end && !code; page++)
		code = translate(ring, (uint32_t)page, &bus);
	return code;
}

uint32_t kvsink_operand_check(struct kvsink_ring *ring, const struct kvsink_ref *ref, uint64_t bytes)
{
	uint64_t size = space_bytes(ring->chip, ref->space);

	if (!size)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, ref_field(ring, &ref->space));
	if (ref->reserved)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, ref_field(ring, &ref->reserved));
	if (ref->space != KVSINK_SPACE_GART && !kvsink_privileged(ring))
		return kvsink_fault(ring, KVSINK_CODE_TENANT, 0);
	if (ref->offset > size || bytes > size - ref->offset)
		return kvsink_fault(ring, KVSINK_CODE_BAD_RANGE, ref->offset);
	return ref->space == KVSINK_SPACE_GART ? check_pages(ring, ref->offset, bytes) : KVSINK_CODE_OK;
}

/* One transfer within a page. Exactly one of `in` and `out` is set. */
static uint32_t transfer(struct kvsink_ring *ring, uint64_t bus, void *in, const void *out, uint32_t bytes)
{
	struct kvsink_chip *chip = ring->chip;
	int refused;

	if (kvsink_take_injected(chip, KVSINK_INJECT_DMA_ERROR))
		return kvsink_fault(ring, KVSINK_CODE_DMA_ERROR, bus);
	if (in)
		refused = chip->ops.dma_read(chip->opaque, bus, in, bytes);
	else
		refused = chip->ops.dma_write(chip->opaque, bus, out, bytes);
	if (refused)
		return kvsink_fault(ring, KVSINK_CODE_DMA_ERROR, bus);
	kvsink_ledger_add(chip, ring->stream, in ? KVSINK_COUNTER_HOST_READ : KVSINK_COUNTER_HOST_WRITE,
			  bytes);
	return KVSINK_CODE_OK;
}

static uint32_t gart_move(struct kvsink_ring *ring, uint64_t offset, uint8_t *in, const uint8_t *out,
			  uint64_t bytes)
{
	while (bytes) {
		uint32_t within = offset % KVSINK_GART_PAGE;
		uint32_t n = KVSINK_GART_PAGE - within;
		uint64_t bus;
		uint32_t code;

		if (n > bytes)
			n = (uint32_t)bytes;
		code = translate(ring, (uint32_t)(offset / KVSINK_GART_PAGE), &bus);
		if (!code)
			code = transfer(ring, bus + within, in, out, n);
		if (code)
			return code;
		in = in ? in + n : NULL;
		out = out ? out + n : NULL;
		offset += n;
		bytes -= n;
	}
	return KVSINK_CODE_OK;
}

static uint8_t *space_memory(const struct kvsink_chip *chip, uint32_t space)
{
	return space == KVSINK_SPACE_HBM ? chip->config.hbm : chip->config.sram;
}

uint32_t kvsink_operand_read(struct kvsink_ring *ring, const struct kvsink_ref *ref, uint64_t at, void *buf,
			     uint64_t bytes)
{
	kvsink_spend(ring, bytes);
	if (ref->space == KVSINK_SPACE_GART)
		return gart_move(ring, ref->offset + at, buf, NULL, bytes);
	memcpy(buf, space_memory(ring->chip, ref->space) + ref->offset + at, bytes);
	return KVSINK_CODE_OK;
}

uint32_t kvsink_operand_write(struct kvsink_ring *ring, const struct kvsink_ref *ref, uint64_t at,
			      const void *buf, uint64_t bytes)
{
	kvsink_spend(ring, bytes);
	if (ref->space == KVSINK_SPACE_GART)
		return gart_move(ring, ref->offset + at, NULL, buf, bytes);
	memcpy(space_memory(ring->chip, ref->space) + ref->offset + at, buf, bytes);
	kvsink_dirty(ring->chip, ref->space, ref->offset + at, bytes);
	return KVSINK_CODE_OK;
}

/*
 * Complete when no item in flight and no half-done COPY can still write through a translation that goes
 * away: the driver frees the pages behind it, or gives the offsets to somebody else, next.
 */
uint32_t kvsink_cmd_gart_invalidate(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_cmd_gart_invalidate *c = &cmd->gart_invalidate;
	struct kvsink_chip *chip = ring->chip;

	if (c->first_page >= chip->config.gart_pages)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(gart_invalidate.first_page));
	if (!c->count || c->count > chip->config.gart_pages - c->first_page)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(gart_invalidate.count));
	if (kvsink_wait_for(ring, KVSINK_WAIT_ALL))
		return KVSINK_STALL;
	for (unsigned i = 0; i < KVSINK_TLB_SLOTS; i++)
		if (chip->tlb[i].page - c->first_page < c->count)
			chip->tlb[i].page = KVSINK_NONE;
	return KVSINK_CODE_OK;
}
