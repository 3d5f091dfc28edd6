/* SPDX-License-Identifier: MIT */
/*
 * Ledger: what was read, written and done, for the device and for each stream.
 *
 * Useful bytes are those that were wanted. Bus bytes are whole bursts, taken for each contiguous read by
 * itself: a K row and a V row in HBM are two reads, in SRAM they lie together and are one; two rows that
 * share a burst count it twice, since nothing says that they are read together. Every query reads its
 * rows itself.
 */
#include <string.h>

#include "chip.h"

/* Counters in ns are kept in ps, so that nothing is lost to rounding. */
static const bool in_ps[KVSINK_COUNTER_COUNT] = {
	[KVSINK_COUNTER_MODELLED_NS] = true,   [KVSINK_COUNTER_EXPOSED_DMA_NS] = true,
	[KVSINK_COUNTER_HIDDEN_DMA_NS] = true, [KVSINK_COUNTER_PROMOTE_LATENCY_NS] = true,
	[KVSINK_COUNTER_ROUTING_NS] = true,
};

void kvsink_ledger_add(struct kvsink_chip *chip, struct kvsink_stream *stream, enum kvsink_counter counter,
		       uint64_t n)
{
	chip->counters[counter] += n;
	if (stream)
		stream->counters[counter] += n;
}

uint64_t kvsink_ledger_value(const uint64_t *counters, unsigned counter)
{
	return in_ps[counter] ? counters[counter] / KVSINK_PS_PER_NS : counters[counter];
}

uint64_t kvsink_ledger_bursts(const struct kvsink_chip *chip, uint64_t address, uint64_t bytes)
{
	uint64_t mask = ~(uint64_t)(chip->config.burst_bytes - 1);

	return bytes ? ((address + bytes - 1) & mask) - (address & mask) + chip->config.burst_bytes : 0;
}

/* Bus bytes of one KV head's rows in HBM: sum[t] of the first t tokens of any page. */
struct page_sums {
	uint32_t shift;
	uint64_t sum[KVSINK_MAX_PAGE_TOKENS + 1];
};

static void page_sums(const struct kvsink_chip *chip, const struct kvsink_rows *rows, uint32_t head,
		      struct page_sums *out)
{
	uint64_t k_bytes = (uint64_t)rows->d_k * kvsink_format_bytes(rows->format);
	uint64_t v_bytes = kvsink_v_row_bytes(rows->flags, rows->d_v, rows->format);

	/* pages are aligned to far more than a burst, so offsets within the page decide */
	out->shift = rows->page_shift;
	out->sum[0] = 0;
	for (uint32_t t = 0; t < 1u << rows->page_shift; t++) {
		uint64_t row = (uint64_t)t * rows->kv_heads + head;

		out->sum[t + 1] = out->sum[t] +
				  kvsink_ledger_bursts(chip, rows->k_offset + row * k_bytes, k_bytes) +
				  kvsink_ledger_bursts(chip, rows->v_offset + row * v_bytes, v_bytes);
	}
}

/* Bus bytes of tokens [0, end). */
static uint64_t bus_until(const struct page_sums *sums, uint64_t end)
{
	uint32_t tokens = 1u << sums->shift;

	return (end >> sums->shift) * sums->sum[tokens] + sums->sum[end & (tokens - 1)];
}

/* Resident rows of one head inside the span of tokens that a query sees. */
struct resident_sums {
	uint64_t rows;
	uint64_t sram_bus; /* where they are read */
	uint64_t hbm_bus;  /* where they need not be read */
};

static void resident_add(const struct kvsink_chip *chip, const struct kvsink_rows *rows, uint32_t head,
			 const struct page_sums *sums, const struct kvsink_resident *r, uint64_t sign,
			 struct resident_sums *out)
{
	uint64_t row_bytes = kvsink_row_bytes(rows->flags, rows->d_k, rows->d_v, rows->format);
	uint64_t below = r->head_mask & ((1ull << head) - 1);
	uint64_t at = (uint64_t)(r->rows - chip->config.sram) + __builtin_popcountll(below) * row_bytes;

	if (!(r->head_mask >> head & 1))
		return;
	out->rows += sign;
	out->sram_bus += sign * kvsink_ledger_bursts(chip, at, row_bytes);
	out->hbm_bus += sign * (bus_until(sums, (uint64_t)r->token + 1) - bus_until(sums, r->token));
}

/* One KV head; the residents that queries see slide along with them. */
static void head_bytes(const struct kvsink_chip *chip, const struct kvsink_attend_task *task, uint32_t head,
		       struct kvsink_task_bytes *out)
{
	const struct kvsink_rows *rows = &task->rows;
	uint64_t row_bytes = kvsink_row_bytes(rows->flags, rows->d_k, rows->d_v, rows->format);
	struct resident_sums in = {0};
	uint32_t enter = 0, leave = 0;
	struct page_sums sums;

	page_sums(chip, rows, head, &sums);
	for (uint32_t i = 0; i < task->count; i++) {
		uint64_t end = (uint64_t)task->first + i + 1;
		uint64_t begin = task->window && task->window < end ? end - task->window : 0;

		for (; enter < rows->residents && rows->resident[enter].token < end; enter++)
			resident_add(chip, rows, head, &sums, &rows->resident[enter], 1, &in);
		for (; leave < enter && rows->resident[leave].token < begin; leave++)
			resident_add(chip, rows, head, &sums, &rows->resident[leave], -1ull, &in);
		out->sram += in.rows * row_bytes;
		out->sram_bus += in.sram_bus;
		out->hbm += (end - begin - in.rows) * row_bytes;
		out->hbm_bus += bus_until(&sums, end) - bus_until(&sums, begin) - in.hbm_bus;
	}
}

struct kvsink_task_bytes kvsink_ledger_task(const struct kvsink_chip *chip,
					    const struct kvsink_attend_task *task)
{
	struct kvsink_task_bytes bytes = {0};

	for (uint32_t head = 0; head < task->rows.kv_heads; head++)
		head_bytes(chip, task, head, &bytes);
	return bytes;
}
