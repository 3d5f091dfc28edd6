// SPDX-License-Identifier: MIT
/*
 * Registers: reset values, access, side effects; interrupt lines; the error latch; refused properties.
 */
#include "harness.h"
#include "tap.h"

static struct harness h;

static uint32_t rd(uint32_t offset)
{
	return kvsink_mmio_read(h.chip, offset);
}

static void wr(uint32_t offset, uint32_t value)
{
	kvsink_mmio_write(h.chip, offset, value);
}

struct reg {
	const char *name;
	uint32_t offset;
	const char *access;
};

static const struct reg regs[] = {
#define X(name, offset, access, vis, doc) {#name, offset, #access},
	KVSINK_REGS(X)
#undef X
};

static bool expected(const char *name, uint32_t *value)
{
	const struct kvsink_chip_config *c = &h.config;
	const struct {
		const char *name;
		uint32_t value;
	} table[] = {
		{"ID", KVSINK_ID_MAGIC},
		{"VERSION", KVSINK_HW_VERSION},
		{"CAPS", 0xf1f},
		{"STATUS", 1},
		{"GENERATION", 2},
		{"SRAM_BYTES", c->sram_bytes},
		{"HBM_MIB", 16},
		{"TAG_COUNT", c->tags},
		{"STREAM_COUNT", c->streams},
		{"RING_COUNT", c->rings},
		{"RING_SLOTS", c->ring_slots},
		{"GART_PAGES", c->gart_pages},
		{"BURST_BYTES", c->burst_bytes},
		{"SRAM_LATENCY_NS", c->sram_latency_ns},
		{"HBM_LATENCY_NS", c->hbm_latency_ns},
		{"SRAM_GBPS", c->sram_gbps},
		{"HBM_GBPS", c->hbm_gbps},
		{"DMA_GBPS", c->dma_gbps},
		{"JOB_OVERHEAD_NS", c->job_overhead_ns},
		{"T_SINK", 0x3dcccccd},
		{"SCORE_MODE", 1},
		{"LOCAL_WINDOW", 64},
		{"EPSILON", 0x3cf5c28f},
		{"GATE_BUFFER", 1},
		{"SRAM_BUDGET", 0xffffffff},
		{"HEAD_MASK_LO", 0xffffffff},
		{"HEAD_MASK_HI", 0xffffffff},
		{"LAYER_RANGE", 0xffff0000},
		{"TAG_LATENCY_NS", c->tag_latency_ns},
		{"SRAM_LARGEST", c->sram_bytes},
		{"T_PROMOTE", 0x3ba3d70a},
		{"T_EVICT", 0x3b03126f},
		{"ALPHA", 0x3f666666},
		{"N_PROMOTE", 2},
		{"N_DWELL", 12},
		{"N_EVICT", 4},
		{"DELTA", 0x3a83126f},
		{"TENANT_CAP", 0xffffffff},
		{"TENANT_TAG", 0xffffffff},
		{"LAYER_WEIGHT_LO", 0xffff0000},
		{"LAYER_WEIGHT_HI", 0x3f800000},
	};

	*value = 0;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (!strcmp(table[i].name, name))
			*value = table[i].value;
	return true;
}

static void reset_values(void)
{
	uint32_t want;

	kvsink_reset(h.chip, KVSINK_RESET_COLD);
	for (size_t i = 0; i < sizeof(regs) / sizeof(regs[0]); i++) {
		expected(regs[i].name, &want);
		tap_ok(rd(regs[i].offset) == want, "%s after a cold reset is 0x%x", regs[i].name, want);
	}
	tap_ok(h.logs == 0, "reading registers that exist is not logged");
}

static void access_rules(void)
{
	for (size_t i = 0; i < sizeof(regs) / sizeof(regs[0]); i++) {
		uint32_t before = rd(regs[i].offset);

		if (strcmp(regs[i].access, "RO"))
			continue;
		wr(regs[i].offset, ~before);
		tap_ok(rd(regs[i].offset) == before, "%s is read-only", regs[i].name);
	}
	tap_ok(h.logs > 0, "writing a read-only register is logged");
	wr(KVSINK_REG_GART_BASE_LO, 0x12345000);
	wr(KVSINK_REG_GART_BASE_HI, 0x6);
	tap_ok(rd(KVSINK_REG_GART_BASE_LO) == 0x12345000 && rd(KVSINK_REG_GART_BASE_HI) == 6,
	       "GART_BASE is kept");
	wr(KVSINK_REG_IRQ_MASK, 0xffffffff);
	tap_ok(rd(KVSINK_REG_IRQ_MASK) == 0x80000003, "IRQ_MASK has a bit for each ring and the error");
	h.logs = 0;
	tap_ok(rd(0x3ffc) == 0 && h.logs == 1, "an unknown register reads 0 and is logged");
	tap_ok(rd(KVSINK_RING_BASE + 2 * KVSINK_RING_STRIDE) == 0 && h.logs == 2,
	       "so does a ring that is not there");
	tap_ok(rd(2) == 0 && h.logs == 3, "so does an unaligned offset");
	wr(0x3ffc, 1);
	tap_ok(h.logs == 4, "writing an unknown register is logged");
}

static void ring_registers(void)
{
	uint32_t base = KVSINK_RING_BASE + KVSINK_RING_STRIDE;

	for (uint32_t at = KVSINK_RING_JOBS_LO; at <= KVSINK_RING_CPLS_HI; at += 4) {
		wr(base + at, 0x1000 + at);
		tap_ok(rd(base + at) == 0x1000 + at, "ring 1 keeps its base address at 0x%x", at);
	}
	wr(base + KVSINK_RING_HEAD, 5);
	tap_ok(rd(base + KVSINK_RING_HEAD) == 0, "HEAD is read-only");
	tap_ok(rd(base + KVSINK_RING_STATE) == KVSINK_RING_IDLE, "a ring without work is IDLE");
}

static void interrupts(void)
{
	h_close(&h);
	h_open(&h, NULL);
	h_do(&h);
	tap_ok(h.irqs[0] == 1 && h.irqs[1] == 0, "a completion raises its ring's line");
	tap_ok(rd(KVSINK_REG_IRQ_STATUS) == 1, "and its status bit");
	h_do(&h);
	tap_ok(h.irqs[0] == 1, "a line that is up does not rise again");
	wr(KVSINK_REG_IRQ_STATUS, 2);
	tap_ok(rd(KVSINK_REG_IRQ_STATUS) == 1, "writing another bit clears nothing");
	wr(KVSINK_REG_IRQ_STATUS, 1);
	tap_ok(rd(KVSINK_REG_IRQ_STATUS) == 0, "writing one clears");
	wr(KVSINK_REG_IRQ_MASK, 0);
	h_do(&h);
	tap_ok(h.irqs[0] == 1 && rd(KVSINK_REG_IRQ_STATUS) == 1, "a masked line stays down, its bit is kept");
	wr(KVSINK_REG_IRQ_MASK, 1);
	tap_ok(h.irqs[0] == 2, "unmasking lets it through");
}

static void errors(void)
{
	wr(KVSINK_REG_IRQ_MASK, 0xffffffff);
	h_do(&h);
	h_cmd(&h, KVSINK_OP_ADVANCE);
	h_cmd(&h, 60000);
	h_do(&h);
	tap_ok(h.irqs[2] == 1, "a failed job raises the error line");
	tap_ok(rd(KVSINK_REG_STATUS) == 3, "STATUS tells of the error");
	tap_ok(rd(KVSINK_REG_ERR_CODE) == KVSINK_CODE_BAD_OPCODE && rd(KVSINK_REG_ERR_RING) == 0 &&
		       rd(KVSINK_REG_ERR_CMD) == 1 && rd(KVSINK_REG_ERR_ADDR_LO) == 60000,
	       "code, ring, command and address are latched");
	h_cmd(&h, KVSINK_OP_BARRIER);
	h_submit(&h, 1);
	h_run(&h);
	tap_ok(rd(KVSINK_REG_ERR_CODE) == KVSINK_CODE_BAD_OPCODE && rd(KVSINK_REG_ERR_RING) == 0,
	       "the first error stays");
	wr(KVSINK_REG_ERR_CODE, 0);
	tap_ok(!rd(KVSINK_REG_ERR_CODE) && !rd(KVSINK_REG_ERR_CMD) && !rd(KVSINK_REG_ERR_ADDR_LO),
	       "any write clears the latch");
	tap_ok(rd(KVSINK_REG_STATUS) == 1, "and the STATUS bit");
}

static void counters(void)
{
	uint32_t at = KVSINK_COUNTER_BASE + 8 * KVSINK_COUNTER_MODELLED_NS;
	uint32_t low, high;

	for (int i = 0; i < 8; i++) {
		h_cmd(&h, KVSINK_OP_ADVANCE)->advance.ns = 1000000000;
		h_do(&h);
	}
	low = rd(at);
	h_cmd(&h, KVSINK_OP_ADVANCE)->advance.ns = 1000000000;
	h_do(&h);
	high = rd(at + 4);
	tap_ok(((uint64_t)high << 32 | low) / 1000000000 == 8,
	       "the low half of a counter latches the high half");
	tap_ok(rd(KVSINK_COUNTER_BASE + 8 * KVSINK_COUNTER_COUNT) == 0,
	       "there is nothing behind the last counter");
}

/* Each with a value that is not its default. */
static void parameters(void)
{
	static const struct {
		const char *name;
		uint32_t offset, param;
		uint64_t value;
		unsigned shift;
	} table[] = {
		{"T_SINK", KVSINK_REG_T_SINK, KVSINK_PARAM_T_SINK, 0x3e000000, 0},
		{"SCORE_MODE", KVSINK_REG_SCORE_MODE, KVSINK_PARAM_SCORE_MODE, 2, 0},
		{"LOCAL_WINDOW", KVSINK_REG_LOCAL_WINDOW, KVSINK_PARAM_LOCAL_WINDOW, 17, 0},
		{"SRAM_BUDGET", KVSINK_REG_SRAM_BUDGET, KVSINK_PARAM_SRAM_BUDGET, 4096, 0},
		{"HEAD_MASK_LO", KVSINK_REG_HEAD_MASK_LO, KVSINK_PARAM_HEAD_MASK, 0x100000002, 0},
		{"HEAD_MASK_HI", KVSINK_REG_HEAD_MASK_HI, KVSINK_PARAM_HEAD_MASK, 0x100000002, 32},
		{"LAYER_RANGE", KVSINK_REG_LAYER_RANGE, KVSINK_PARAM_LAYER_RANGE, 2 | 9 << 16, 0},
		{"T_PROMOTE", KVSINK_REG_T_PROMOTE, KVSINK_PARAM_T_PROMOTE, 0x3e800000, 0},
		{"T_EVICT", KVSINK_REG_T_EVICT, KVSINK_PARAM_T_EVICT, 0x3d000000, 0},
		{"ALPHA", KVSINK_REG_ALPHA, KVSINK_PARAM_ALPHA, 0x3f000000, 0},
		{"N_PROMOTE", KVSINK_REG_N_PROMOTE, KVSINK_PARAM_N_PROMOTE, 5, 0},
		{"N_DWELL", KVSINK_REG_N_DWELL, KVSINK_PARAM_N_DWELL, 6, 0},
		{"N_EVICT", KVSINK_REG_N_EVICT, KVSINK_PARAM_N_EVICT, 7, 0},
		{"DELTA", KVSINK_REG_DELTA, KVSINK_PARAM_DELTA, 0x3c000000, 0},
		{"PLACEMENT", KVSINK_REG_PLACEMENT, KVSINK_PARAM_PLACEMENT, 1, 0},
		{"TAIL_TOKENS", KVSINK_REG_TAIL_TOKENS, KVSINK_PARAM_TAIL_TOKENS, 8, 0},
		{"TENANT_CAP", KVSINK_REG_TENANT_CAP, KVSINK_PARAM_TENANT_CAP, 8192, 0},
		{"TENANT_TAG", KVSINK_REG_TENANT_TAG, KVSINK_PARAM_TENANT_TAG, 77, 0},
		{"PRIORITY", KVSINK_REG_PRIORITY, KVSINK_PARAM_PRIORITY, 3, 0},
		{"LAYER_WEIGHT_LO", KVSINK_REG_LAYER_WEIGHT_LO, KVSINK_PARAM_LAYER_WEIGHT, 0x4000000000040001,
		 0},
		{"LAYER_WEIGHT_HI", KVSINK_REG_LAYER_WEIGHT_HI, KVSINK_PARAM_LAYER_WEIGHT, 0x4000000000040001,
		 32},
		{"GATE", KVSINK_REG_GATE, KVSINK_PARAM_GATE, 2, 0},
		{"EPSILON", KVSINK_REG_EPSILON, KVSINK_PARAM_EPSILON, 0x3d800000, 0},
		{"GATE_BUFFER", KVSINK_REG_GATE_BUFFER, KVSINK_PARAM_GATE_BUFFER, 0, 0},
		{"CERTIFY", KVSINK_REG_CERTIFY, KVSINK_PARAM_CERTIFY, 1, 0},
		{"COPY_DUE_NS", KVSINK_REG_COPY_DUE_NS, KVSINK_PARAM_COPY_DUE_NS, 2800, 0},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		tap_ok(!h_config(&h, 0, table[i].param, table[i].value) &&
			       rd(table[i].offset) == (uint32_t)(table[i].value >> table[i].shift),
		       "%s shows the device's default", table[i].name);
}

static void engine_reset(void)
{
	uint32_t generation = rd(KVSINK_REG_GENERATION);

	wr(KVSINK_REG_CONTROL, KVSINK_CONTROL_RESET_MASK);
	tap_ok(rd(KVSINK_REG_GENERATION) == generation + 1, "an engine reset grows the generation");
	tap_ok(rd(KVSINK_REG_CONTROL) == 0, "RESET reads as zero, ENABLE is what was written");
	tap_ok(rd(KVSINK_RING_BASE + KVSINK_RING_HEAD) == 0 &&
		       rd(KVSINK_RING_BASE + KVSINK_RING_DOORBELL) == 0,
	       "HEAD and DOORBELL start again");
	tap_ok(rd(KVSINK_RING_BASE + KVSINK_RING_JOBS_LO) != 0, "base addresses stay");
	kvsink_reset(h.chip, KVSINK_RESET_COLD);
	tap_ok(rd(KVSINK_REG_GENERATION) == generation + 2, "a cold reset grows it as well");
	tap_ok(rd(KVSINK_RING_BASE + KVSINK_RING_JOBS_LO) == 0, "a cold reset clears base addresses");
}

static void refused(const char *what, struct kvsink_chip_config config, const char *words)
{
	static const struct kvsink_host_ops none;
	struct kvsink_chip *chip;
	char error[200] = "";

	chip = kvsink_create(&config, &none, NULL, error, sizeof(error));
	tap_ok(!chip && strstr(error, words), "%s is refused: %s", what, error);
	kvsink_destroy(chip);
}

static void properties(void)
{
	struct kvsink_chip_config c = h.config;

	c.sram_bytes = 65536 + 1;
	refused("an SRAM of 65537 bytes", c, "sram_bytes: 65537 is not a multiple of 256");
	c = h.config;
	c.hbm_bytes = 1 << 20;
	refused("an HBM of 1 MiB", c,
		"hbm_bytes: 1048576 is out of range, allowed are 16777216 to 68719476736");
	c = h.config;
	c.ring_slots = 12;
	refused("a ring of 12 slots", c, "ring_slots: 12 is not a power of two");
	c = h.config;
	c.rings = 9;
	refused("a ninth ring", c, "rings: 9 is out of range");
	c = h.config;
	c.dma_gbps = c.hbm_gbps;
	refused("a copy as fast as the HBM", c, "dma_gbps");
	c = h.config;
	c.tag_latency_ns = 100001;
	refused("a tag array that takes longer than 100 us", c,
		"tag_latency_ns: 100001 is out of range, allowed are 0 to 100000");
	c = h.config;
	c.hbm = NULL;
	refused("an HBM without memory", c, "memory is missing");
}

int main(void)
{
	h_open(&h, NULL);
	reset_values();
	access_rules();
	ring_registers();
	interrupts();
	errors();
	counters();
	parameters();
	properties();
	engine_reset();
	h_close(&h);
	return tap_done();
}
