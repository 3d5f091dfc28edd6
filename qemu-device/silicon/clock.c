/* SPDX-License-Identifier: MIT */
/*
 * The modelled clock: picoseconds in integers, moved only by commands, so the same commands in the same
 * order give the same times. Sums saturate; they never wrap.
 *
 * Model: a command waits (BARRIER), then takes JOB_OVERHEAD_NS, its compute time (ADVANCE) and
 * TAG_LATENCY_NS for each look into the tag array, then moves its bytes: latency + bus bytes / bandwidth
 * of the tier, both tiers at the same time. While a copy runs it takes DMA_GBPS off the HBM's bandwidth.
 * Time that a command would not have needed without the copies is exposed, the rest of theirs is hidden.
 */
#include "chip.h"

#define MAX_ADVANCE_NS 1000000000u
#define MAX_ADVANCED_PS (UINT64_MAX / 2) /* of the clock: nobody can use up all of it by ADVANCE alone */

uint64_t kvsink_clock_add(uint64_t a_ps, uint64_t b_ps)
{
	return a_ps > UINT64_MAX - b_ps ? UINT64_MAX : a_ps + b_ps;
}

/* 1 GB/s is one byte in 1000 ps. Rounded up. */
uint64_t kvsink_clock_ps(uint64_t bytes, uint32_t gbps)
{
	if (bytes > UINT64_MAX / 1001)
		return UINT64_MAX;
	return (bytes * 1000 + gbps - 1) / gbps;
}

uint64_t kvsink_clock_due(const struct kvsink_chip *chip, uint64_t due_ns)
{
	if (due_ns > UINT64_MAX / KVSINK_PS_PER_NS)
		return UINT64_MAX;
	return due_ns ? kvsink_clock_add(chip->now_ps, due_ns * KVSINK_PS_PER_NS) : 0;
}

/* Latency and transfer of a tier that does nothing else. */
static uint64_t alone(uint64_t bus_bytes, uint32_t latency_ns, uint32_t gbps)
{
	uint64_t latency = (uint64_t)latency_ns * KVSINK_PS_PER_NS;

	return bus_bytes ? kvsink_clock_add(latency, kvsink_clock_ps(bus_bytes, gbps)) : 0;
}

/* The view moves on by `ps` while a command uses HBM. */
static void look_ahead(const struct kvsink_chip *chip, struct kvsink_dma_view *view, uint64_t ps)
{
	for (uint64_t step; ps; ps -= step) {
		bool copying = kvsink_dma_phase(chip, view, false, &step);

		step = step < ps ? step : ps;
		kvsink_dma_step(chip, view, copying, step);
	}
}

/* From now: what HBM takes for the bytes beside the copies that run then. */
static uint64_t hbm_shared(struct kvsink_chip *chip, uint64_t bus_bytes)
{
	const struct kvsink_chip_config *config = &chip->config;
	uint64_t ps = (uint64_t)config->hbm_latency_ns * KVSINK_PS_PER_NS, step, need;
	struct kvsink_dma_view view;

	if (!bus_bytes)
		return 0;
	kvsink_dma_look(chip, &view);
	look_ahead(chip, &view, ps);
	for (;;) {
		bool copying = kvsink_dma_phase(chip, &view, false, &step);
		uint32_t gbps = config->hbm_gbps - (copying ? config->dma_gbps : 0);

		need = kvsink_clock_ps(bus_bytes, gbps);
		if (need <= step)
			return kvsink_clock_add(ps, need);
		/* step < need, so fewer than bus_bytes pass in it, and the product stays in range */
		bus_bytes -= (uint64_t)((unsigned __int128)step * gbps / 1000);
		ps = kvsink_clock_add(ps, step);
		kvsink_dma_step(chip, &view, copying, step);
	}
}

/* To the device, and to the streams of the command. */
static void book(struct kvsink_ring *ring, enum kvsink_counter counter, uint64_t ps)
{
	struct kvsink_item_work *work = &ring->work;

	if (!ring->shared) {
		kvsink_ledger_add(ring->chip, ring->stream, counter, ps);
		return;
	}
	kvsink_ledger_add(ring->chip, NULL, counter, ps);
	/* a batch of several streams takes its time from each of them; the device counts it once */
	for (uint32_t i = 0, j; i < work->tasks; i++) {
		for (j = 0; work->stream[j] != work->stream[i]; j++)
			;
		if (j == i)
			work->stream[i]->counters[counter] += ps;
	}
}

/* The command's bytes move. Returns how long copies have delayed it. */
static uint64_t transfer(struct kvsink_ring *ring)
{
	struct kvsink_chip *chip = ring->chip;
	const struct kvsink_chip_config *config = &chip->config;
	uint64_t sram_ps = alone(ring->sram_bytes, config->sram_latency_ns, config->sram_gbps);
	uint64_t alone_ps = alone(ring->hbm_bytes, config->hbm_latency_ns, config->hbm_gbps);
	uint64_t hbm_ps = hbm_shared(chip, ring->hbm_bytes);
	uint64_t exposed;

	alone_ps = alone_ps > sram_ps ? alone_ps : sram_ps;
	exposed = kvsink_dma_pass(chip, hbm_ps, false, hbm_ps > alone_ps ? hbm_ps - alone_ps : 0);
	if (sram_ps > hbm_ps)
		kvsink_dma_pass(chip, sram_ps - hbm_ps, true, 0);
	return exposed;
}

void kvsink_clock_pass(struct kvsink_ring *ring, uint32_t code)
{
	struct kvsink_chip *chip = ring->chip;
	const struct kvsink_chip_config *config = &chip->config;
	uint64_t begin_ps = chip->now_ps, copied = chip->counters[KVSINK_COUNTER_DMA_COPY];
	uint64_t looks_ps = (uint64_t)ring->looks * config->tag_latency_ns * KVSINK_PS_PER_NS;
	uint64_t fixed_ps = (uint64_t)config->job_overhead_ns * KVSINK_PS_PER_NS + looks_ps;
	uint64_t exposed = kvsink_dma_pass(chip, ring->wait_ps, true, ring->wait_ps);

	kvsink_dma_pass(chip, kvsink_clock_add(ring->cost_ps, fixed_ps), true, 0);
	exposed += transfer(ring);
	book(ring, KVSINK_COUNTER_MODELLED_NS, chip->now_ps - begin_ps);
	book(ring, KVSINK_COUNTER_EXPOSED_DMA_NS, exposed);
	book(ring, KVSINK_COUNTER_ROUTING_NS, looks_ps);
	kvsink_trace_command(ring, begin_ps, code);
	copied = chip->counters[KVSINK_COUNTER_DMA_COPY] - copied;
	kvsink_spend(ring, copied + chip->copy_count * sizeof(struct kvsink_copy));
}

uint32_t kvsink_cmd_barrier(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	struct kvsink_stream *stream;
	uint32_t code = kvsink_stream_get(ring, cmd->barrier.stream, &stream);

	if (code)
		return code;
	ring->wait_ps = kvsink_dma_wait(ring->chip, stream);
	return KVSINK_CODE_OK;
}

uint32_t kvsink_cmd_advance(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	if (cmd->advance.ns > MAX_ADVANCE_NS)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(advance.ns));
	if (ring->chip->now_ps > MAX_ADVANCED_PS)
		return kvsink_fault(ring, KVSINK_CODE_BUSY, KVSINK_FIELD(advance.ns));
	ring->cost_ps = cmd->advance.ns * KVSINK_PS_PER_NS;
	return KVSINK_CODE_OK;
}
