/* SPDX-License-Identifier: MIT */
/*
 * The modelled clock: picoseconds in integers, moved only by commands, so the same commands in the same
 * order give the same times. Sums saturate; they never wrap.
 *
 * Model: every command costs JOB_OVERHEAD_NS. Moving n bus bytes takes the tier's latency + n / bandwidth;
 * the tiers work at the same time. While the migration engine copies, it takes DMA_GBPS off the HBM's
 * bandwidth.
 */
#include "chip.h"

#define MAX_ADVANCE_NS 1000000000u

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

uint64_t kvsink_clock_sram(const struct kvsink_chip *chip, uint64_t bus_bytes)
{
	uint64_t latency = (uint64_t)chip->config.sram_latency_ns * KVSINK_PS_PER_NS;

	return bus_bytes ? kvsink_clock_add(latency, kvsink_clock_ps(bus_bytes, chip->config.sram_gbps)) : 0;
}

uint64_t kvsink_clock_hbm(const struct kvsink_chip *chip, uint64_t bus_bytes)
{
	const struct kvsink_chip_config *config = &chip->config;
	uint64_t latency = (uint64_t)config->hbm_latency_ns * KVSINK_PS_PER_NS;
	uint32_t shared = config->hbm_gbps - config->dma_gbps;
	uint64_t start = kvsink_clock_add(chip->now_ps, latency);
	uint64_t slow_ps, all_slow_ps;

	if (!bus_bytes)
		return 0;
	slow_ps = chip->dma_free_ps > start ? chip->dma_free_ps - start : 0;
	all_slow_ps = kvsink_clock_ps(bus_bytes, shared);
	if (all_slow_ps <= slow_ps)
		return kvsink_clock_add(latency, all_slow_ps);
	/* slow_ps < all_slow_ps, so fewer than bus_bytes pass in it, and the product stays in range */
	bus_bytes -= (uint64_t)((unsigned __int128)slow_ps * shared / 1000);
	return kvsink_clock_add(latency + slow_ps, kvsink_clock_ps(bus_bytes, config->hbm_gbps));
}

void kvsink_clock_pass(struct kvsink_chip *chip, uint64_t ps)
{
	chip->now_ps = kvsink_clock_add(chip->now_ps, ps);
	kvsink_dma_catch_up(chip);
}

uint64_t kvsink_clock_copies(const struct kvsink_chip *chip, const struct kvsink_stream *stream)
{
	uint64_t end = chip->now_ps;

	for (uint32_t i = stream->first_tag; i != KVSINK_NONE; i = chip->tags[i].next)
		if (!chip->tags[i].valid && chip->tags[i].due_ps > end)
			end = chip->tags[i].due_ps;
	return end - chip->now_ps;
}

uint32_t kvsink_cmd_barrier(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	struct kvsink_stream *stream;
	uint32_t code = kvsink_stream_get(ring, cmd->barrier.stream, &stream);

	if (code)
		return code;
	ring->cost_ps = kvsink_clock_copies(ring->chip, stream);
	kvsink_ledger_add(ring->chip, stream, KVSINK_COUNTER_EXPOSED_DMA_NS, ring->cost_ps);
	return KVSINK_CODE_OK;
}

uint32_t kvsink_cmd_advance(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	if (cmd->advance.ns > MAX_ADVANCE_NS)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(advance.ns));
	ring->cost_ps = cmd->advance.ns * KVSINK_PS_PER_NS;
	return KVSINK_CODE_OK;
}
