/* SPDX-License-Identifier: MIT */
/*
 * Registers: the table of KVSINK_REGS gives name and access, a few offsets have a side effect or are
 * computed when they are read. Also what hangs on registers: interrupt lines and the error latch.
 *
 * A line is up while IRQ_STATUS & IRQ_MASK has its bit; the host hears of every rise. A ring's line is
 * its number, the error line comes behind the last ring.
 */
#include <string.h>

#include "record.h"

enum access { NONE, RO, RW, W1C, WO };

struct reg_desc {
	const char *name;
	enum access access; /* NONE: no register here */
};

static const struct reg_desc global_regs[KVSINK_REG_WORDS] = {
#define X(name, offset, access, vis, doc) [(offset) / 4] = {#name, access},
	KVSINK_REGS(X)
#undef X
};

static const struct reg_desc ring_regs[KVSINK_RING_STRIDE / 4] = {
#define X(name, offset, access, vis, doc) [(offset) / 4] = {#name, access},
	KVSINK_RING_REGS(X)
#undef X
};

#define REG(name) chip->reg[KVSINK_REG_##name / 4]

bool kvsink_enabled(const struct kvsink_chip *chip)
{
	return REG(CONTROL) & KVSINK_CONTROL_ENABLE_MASK;
}

uint64_t kvsink_gart_base(const struct kvsink_chip *chip)
{
	return (uint64_t)REG(GART_BASE_HI) << 32 | REG(GART_BASE_LO);
}

static void irq_update(struct kvsink_chip *chip)
{
	uint32_t lines = REG(IRQ_STATUS) & REG(IRQ_MASK);
	uint32_t rose = lines & ~chip->irq_lines;

	chip->irq_lines = lines;
	if (!chip->ops.irq)
		return;
	for (unsigned i = 0; i < chip->config.rings; i++)
		if (rose & (1u << i))
			chip->ops.irq(chip->opaque, i);
	if (rose & KVSINK_IRQ_ERROR)
		chip->ops.irq(chip->opaque, chip->config.rings);
}

static uint32_t irq_bits(const struct kvsink_chip *chip)
{
	return ((1u << chip->config.rings) - 1) | KVSINK_IRQ_ERROR;
}

void kvsink_irq_raise(struct kvsink_chip *chip, uint32_t bits)
{
	REG(IRQ_STATUS) |= bits;
	irq_update(chip);
}

/* The first error stays until software has cleared it; every error raises the line. */
void kvsink_error_latch(struct kvsink_ring *ring, uint32_t code, uint32_t cmd, uint64_t address)
{
	struct kvsink_chip *chip = ring->chip;

	if (!REG(ERR_CODE)) {
		REG(ERR_CODE) = code;
		REG(ERR_RING) = ring->index;
		REG(ERR_CMD) = cmd;
		REG(ERR_ADDR_LO) = (uint32_t)address;
		REG(ERR_ADDR_HI) = (uint32_t)(address >> 32);
	}
	kvsink_irq_raise(chip, KVSINK_IRQ_ERROR);
}

static void error_clear(struct kvsink_chip *chip)
{
	REG(ERR_CODE) = 0;
	REG(ERR_RING) = 0;
	REG(ERR_CMD) = 0;
	REG(ERR_ADDR_LO) = 0;
	REG(ERR_ADDR_HI) = 0;
}

static void regs_constants(struct kvsink_chip *chip)
{
	const struct kvsink_chip_config *config = &chip->config;

	REG(ID) = KVSINK_ID_MAGIC;
	REG(VERSION) = KVSINK_HW_VERSION;
	REG(CAPS) = KVSINK_CAPS_F32_MASK | KVSINK_CAPS_FP16_MASK | KVSINK_CAPS_SPLIT_MASK |
		    KVSINK_CAPS_CANONICAL_MASK | KVSINK_CAPS_GATED_MASK | KVSINK_CAPS_INT8_MASK |
		    KVSINK_CAPS_INT4_MASK | KVSINK_CAPS_INT8_CHANNEL_MASK | KVSINK_CAPS_INT4_CHANNEL_MASK;
	REG(SRAM_BYTES) = config->sram_bytes;
	REG(HBM_MIB) = (uint32_t)(config->hbm_bytes >> 20);
	REG(TAG_COUNT) = config->tags;
	REG(STREAM_COUNT) = config->streams;
	REG(RING_COUNT) = config->rings;
	REG(RING_SLOTS) = config->ring_slots;
	REG(GART_PAGES) = config->gart_pages;
	REG(BURST_BYTES) = config->burst_bytes;
	REG(SRAM_LATENCY_NS) = config->sram_latency_ns;
	REG(HBM_LATENCY_NS) = config->hbm_latency_ns;
	REG(SRAM_GBPS) = config->sram_gbps;
	REG(HBM_GBPS) = config->hbm_gbps;
	REG(DMA_GBPS) = config->dma_gbps;
	REG(JOB_OVERHEAD_NS) = config->job_overhead_ns;
	REG(TAG_LATENCY_NS) = config->tag_latency_ns;
}

/* An engine reset keeps what software has programmed: masks and base addresses. The rings stop. */
void kvsink_regs_reset(struct kvsink_chip *chip, enum kvsink_reset_kind kind)
{
	uint32_t generation = REG(GENERATION);

	if (kind == KVSINK_RESET_COLD) {
		memset(chip->reg, 0, sizeof(chip->reg));
		regs_constants(chip);
	}
	REG(GENERATION) = generation + 1 ? generation + 1 : 1;
	REG(CONTROL) = 0;
	REG(IRQ_STATUS) = 0;
	error_clear(chip);
	chip->counter_latch = 0;
	irq_update(chip);
}

static uint32_t status(const struct kvsink_chip *chip)
{
	uint32_t value = KVSINK_STATUS_READY_MASK;

	if (REG(ERR_CODE))
		value |= KVSINK_STATUS_ERROR_MASK;
	for (unsigned i = 0; i < chip->config.rings; i++)
		if (chip->ring[i].halted)
			value |= 1u << (KVSINK_STATUS_HALTED_SHIFT + i);
	return value;
}

/* Registers that show the device-wide value of a parameter. */
static const struct {
	uint32_t offset;
	enum kvsink_param param;
	unsigned shift; /* of the bits that it shows */
} param_regs[] = {
	{KVSINK_REG_T_SINK, KVSINK_PARAM_T_SINK, 0},
	{KVSINK_REG_SCORE_MODE, KVSINK_PARAM_SCORE_MODE, 0},
	{KVSINK_REG_LOCAL_WINDOW, KVSINK_PARAM_LOCAL_WINDOW, 0},
	{KVSINK_REG_SRAM_BUDGET, KVSINK_PARAM_SRAM_BUDGET, 0},
	{KVSINK_REG_HEAD_MASK_LO, KVSINK_PARAM_HEAD_MASK, 0},
	{KVSINK_REG_HEAD_MASK_HI, KVSINK_PARAM_HEAD_MASK, 32},
	{KVSINK_REG_LAYER_RANGE, KVSINK_PARAM_LAYER_RANGE, 0},
	{KVSINK_REG_T_PROMOTE, KVSINK_PARAM_T_PROMOTE, 0},
	{KVSINK_REG_T_EVICT, KVSINK_PARAM_T_EVICT, 0},
	{KVSINK_REG_ALPHA, KVSINK_PARAM_ALPHA, 0},
	{KVSINK_REG_N_PROMOTE, KVSINK_PARAM_N_PROMOTE, 0},
	{KVSINK_REG_N_DWELL, KVSINK_PARAM_N_DWELL, 0},
	{KVSINK_REG_N_EVICT, KVSINK_PARAM_N_EVICT, 0},
	{KVSINK_REG_DELTA, KVSINK_PARAM_DELTA, 0},
	{KVSINK_REG_PLACEMENT, KVSINK_PARAM_PLACEMENT, 0},
	{KVSINK_REG_TAIL_TOKENS, KVSINK_PARAM_TAIL_TOKENS, 0},
	{KVSINK_REG_TENANT_CAP, KVSINK_PARAM_TENANT_CAP, 0},
	{KVSINK_REG_TENANT_TAG, KVSINK_PARAM_TENANT_TAG, 0},
	{KVSINK_REG_PRIORITY, KVSINK_PARAM_PRIORITY, 0},
	{KVSINK_REG_LAYER_WEIGHT_LO, KVSINK_PARAM_LAYER_WEIGHT, 0},
	{KVSINK_REG_LAYER_WEIGHT_HI, KVSINK_PARAM_LAYER_WEIGHT, 32},
	{KVSINK_REG_GATE, KVSINK_PARAM_GATE, 0},
	{KVSINK_REG_EPSILON, KVSINK_PARAM_EPSILON, 0},
	{KVSINK_REG_GATE_BUFFER, KVSINK_PARAM_GATE_BUFFER, 0},
	{KVSINK_REG_CERTIFY, KVSINK_PARAM_CERTIFY, 0},
	{KVSINK_REG_COPY_DUE_NS, KVSINK_PARAM_COPY_DUE_NS, 0},
};

/* Of the gaps between granted ranges. */
static uint32_t sram_largest(const struct kvsink_chip *chip)
{
	uint32_t end = 0, largest = 0;

	for (uint32_t i = 0; i <= chip->span_count; i++) {
		bool last = i == chip->span_count;
		uint32_t next = last ? chip->config.sram_bytes : chip->spans[i].offset;

		largest = next - end > largest ? next - end : largest;
		end = last ? next : next + chip->spans[i].bytes;
	}
	return largest;
}

static uint32_t contracts(const struct kvsink_chip *chip)
{
	uint32_t n = 0;

	for (uint32_t i = 0; chip->used_tags && i < chip->config.tags; i++)
		n += chip->tags[i].stream && kvsink_in_force(chip, &chip->tags[i]);
	return n;
}

static uint32_t global_read(const struct kvsink_chip *chip, uint32_t offset)
{
	switch (offset) {
	case KVSINK_REG_STATUS:
		return status(chip);
	case KVSINK_REG_TAGS_VALID:
		return chip->valid_tags;
	case KVSINK_REG_SRAM_USED:
		return chip->sram_used;
	case KVSINK_REG_STREAMS_LIVE:
		return chip->live_streams;
	case KVSINK_REG_SRAM_LARGEST:
		return sram_largest(chip);
	case KVSINK_REG_COPIES_PENDING:
		return kvsink_dma_pending(chip);
	case KVSINK_REG_CONTRACTS:
		return contracts(chip);
	}
	for (size_t i = 0; i < sizeof(param_regs) / sizeof(param_regs[0]); i++)
		if (param_regs[i].offset == offset)
			return (uint32_t)(chip->params[param_regs[i].param] >> param_regs[i].shift);
	return chip->reg[offset / 4];
}

static uint32_t ring_state(const struct kvsink_ring *ring)
{
	if (ring->halted)
		return KVSINK_RING_HALTED;
	if (ring->active || (kvsink_enabled(ring->chip) && ring->doorbell != ring->head))
		return KVSINK_RING_BUSY;
	return KVSINK_RING_IDLE;
}

static uint32_t ring_read(const struct kvsink_ring *ring, uint32_t offset)
{
	switch (offset) {
	case KVSINK_RING_JOBS_LO:
		return (uint32_t)ring->jobs;
	case KVSINK_RING_JOBS_HI:
		return (uint32_t)(ring->jobs >> 32);
	case KVSINK_RING_CPLS_LO:
		return (uint32_t)ring->cpls;
	case KVSINK_RING_CPLS_HI:
		return (uint32_t)(ring->cpls >> 32);
	case KVSINK_RING_DOORBELL:
		return ring->doorbell;
	case KVSINK_RING_HEAD:
		return ring->head;
	default:
		return ring_state(ring);
	}
}

static uint32_t counter_read(struct kvsink_chip *chip, uint32_t at)
{
	uint64_t value;

	if (at & 4)
		return chip->counter_latch;
	value = kvsink_ledger_value(chip->counters, at / 8);
	chip->counter_latch = (uint32_t)(value >> 32);
	return (uint32_t)value;
}

/* The ring and its register at `offset`, or NULL. */
static struct kvsink_ring *ring_at(struct kvsink_chip *chip, uint32_t offset, uint32_t *reg)
{
	uint32_t at = offset - KVSINK_RING_BASE;

	if (offset < KVSINK_RING_BASE || at / KVSINK_RING_STRIDE >= chip->config.rings)
		return NULL;
	*reg = at % KVSINK_RING_STRIDE;
	return ring_regs[*reg / 4].access == NONE ? NULL : &chip->ring[at / KVSINK_RING_STRIDE];
}

static bool is_counter(uint32_t offset)
{
	return offset >= KVSINK_COUNTER_BASE && offset < KVSINK_COUNTER_BASE + 8 * KVSINK_COUNTER_COUNT;
}

uint32_t kvsink_mmio_read(struct kvsink_chip *chip, uint32_t offset)
{
	struct kvsink_ring *ring;
	uint32_t reg;

	if (offset % 4 == 0) {
		if (offset / 4 < KVSINK_REG_WORDS && global_regs[offset / 4].access != NONE)
			return global_read(chip, offset);
		ring = ring_at(chip, offset, &reg);
		if (ring)
			return ring_read(ring, reg);
		if (is_counter(offset))
			return counter_read(chip, offset - KVSINK_COUNTER_BASE);
	}
	kvsink_log(chip, "read of offset 0x%x: no such register", offset);
	return 0;
}

static void control_write(struct kvsink_chip *chip, uint32_t value)
{
	if (value & KVSINK_CONTROL_RESET_MASK)
		kvsink_chip_reset(chip, KVSINK_RESET_ENGINE);
	REG(CONTROL) = value & KVSINK_CONTROL_ENABLE_MASK;
}

static void global_write(struct kvsink_chip *chip, uint32_t offset, uint32_t value)
{
	switch (offset) {
	case KVSINK_REG_CONTROL:
		control_write(chip, value);
		break;
	case KVSINK_REG_IRQ_STATUS:
		REG(IRQ_STATUS) &= ~value;
		irq_update(chip);
		break;
	case KVSINK_REG_IRQ_MASK:
		REG(IRQ_MASK) = value & irq_bits(chip);
		irq_update(chip);
		break;
	case KVSINK_REG_ERR_CODE:
		error_clear(chip);
		break;
	case KVSINK_REG_GART_BASE_LO:
	case KVSINK_REG_GART_BASE_HI:
		chip->reg[offset / 4] = value;
		kvsink_gart_flush(chip);
		break;
	}
}

static uint64_t set_low(uint64_t whole, uint32_t value)
{
	return (whole & ~0xffffffffull) | value;
}

static uint64_t set_high(uint64_t whole, uint32_t value)
{
	return (whole & 0xffffffffull) | (uint64_t)value << 32;
}

/* Jobs cannot be taken back: HEAD would pass the doorbell, and all 2^32 jobs would seem published. */
static void doorbell_write(struct kvsink_ring *ring, uint32_t value)
{
	uint32_t published = ring->doorbell - ring->head;

	if (ring->halted)
		return;
	if (value - ring->head >= published && value - ring->head <= ring->chip->config.ring_slots) {
		ring->doorbell = value;
		return;
	}
	kvsink_log(ring->chip, "ring %u: doorbell %u is not %u to %u jobs ahead of head %u; ring halted",
		   ring->index, value, published, ring->chip->config.ring_slots, ring->head);
	kvsink_ring_stop(ring);
	kvsink_error_latch(ring, KVSINK_CODE_BAD_FIELD, 0, KVSINK_RING_DOORBELL);
}

static void ring_write(struct kvsink_ring *ring, uint32_t offset, uint32_t value)
{
	switch (offset) {
	case KVSINK_RING_JOBS_LO:
		ring->jobs = set_low(ring->jobs, value);
		break;
	case KVSINK_RING_JOBS_HI:
		ring->jobs = set_high(ring->jobs, value);
		break;
	case KVSINK_RING_CPLS_LO:
		ring->cpls = set_low(ring->cpls, value);
		break;
	case KVSINK_RING_CPLS_HI:
		ring->cpls = set_high(ring->cpls, value);
		break;
	case KVSINK_RING_DOORBELL:
		doorbell_write(ring, value);
		break;
	}
}

void kvsink_mmio_write(struct kvsink_chip *chip, uint32_t offset, uint32_t value)
{
	struct kvsink_ring *ring;
	uint32_t reg;

	kvsink_note_value(chip, KVSINK_RECORD_WRITE, offset, value);
	if (offset % 4 == 0) {
		if (offset / 4 < KVSINK_REG_WORDS && global_regs[offset / 4].access > RO) {
			global_write(chip, offset, value);
			return;
		}
		ring = ring_at(chip, offset, &reg);
		if (ring && ring_regs[reg / 4].access > RO) {
			ring_write(ring, reg, value);
			return;
		}
	}
	kvsink_log(chip, "write of 0x%x to offset 0x%x: no such register, or read-only", value, offset);
}
