/* SPDX-License-Identifier: MIT */
/*
 * Ledger: what was read, written and done, for the device and for each stream.
 *
 * Useful bytes are those that were wanted. Bus bytes are whole bursts, taken for each contiguous read by
 * itself: a K row and a V row in HBM are two reads, in SRAM they lie together and are one; two rows that
 * share a burst count it twice, since nothing says that they are read together. Of a sealed page a block
 * reads what plane.c says. Queries of a block (kvsink_block_queries()) work on a row while it is there, so
 * the block reads each row once that one of them sees; the next block reads it again. docs/decisions/023.
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
	return kvsink_bursts(address, bytes, chip->config.burst_bytes);
}

/* Bus bytes of one KV head's rows in open pages: sum[t] of the first t tokens of any page. */
struct page_sums {
	uint32_t shift;
	uint64_t sum[KVSINK_MAX_PAGE_TOKENS + 1];
};

/* One KV head of a task, as its blocks of queries go by. */
struct head_sums {
	const struct kvsink_chip *chip;
	const struct kvsink_rows *rows;
	struct kvsink_plane plane[2];
	uint32_t head;
	struct page_sums open;
	/* residents inside the span of tokens that the block sees */
	uint64_t sram, sram_bus;       /* where they are read */
	uint64_t resident_open;	       /* those of open pages, */
	uint64_t resident_bus;	       /* and what need not be read of them in HBM */
	uint32_t page_begin, page_end; /* sealed pages that the block sees whole */
	struct kvsink_read whole;      /* and what it reads of them */
};

static void page_sums(struct head_sums *s)
{
	const struct kvsink_rows *rows = s->rows;
	struct page_sums *out = &s->open;

	/* pages are aligned to far more than a burst, so offsets within the page decide */
	out->shift = rows->page_shift;
	out->sum[0] = 0;
	for (uint32_t t = 0; t < 1u << rows->page_shift; t++) {
		uint64_t row = (uint64_t)t * rows->kv_heads + s->head;

		out->sum[t + 1] = out->sum[t];
		for (unsigned v = 0; v < 2; v++)
			out->sum[t + 1] += kvsink_ledger_bursts(
				s->chip, s->plane[v].offset + row * s->plane[v].row_bytes,
				s->plane[v].row_bytes);
	}
}

/* Bus bytes of tokens [0, end), were all pages open. */
static uint64_t bus_until(const struct page_sums *sums, uint64_t end)
{
	uint32_t tokens = 1u << sums->shift;

	return (end >> sums->shift) * sums->sum[tokens] + sums->sum[end & (tokens - 1)];
}

/* A resident comes into sight, or (sign -1) leaves it. */
static void resident_add(struct head_sums *s, const struct kvsink_resident *r, uint64_t sign)
{
	uint64_t bytes = kvsink_resident_bytes(s->plane, r, s->head);
	uint64_t at = (uint64_t)(kvsink_resident_at(r, s->head) - s->chip->config.sram);

	if (!(r->head_mask >> s->head & 1))
		return;
	s->sram += sign * bytes;
	s->sram_bus += sign * kvsink_ledger_bursts(s->chip, at, bytes);
	if (r->token < s->rows->sealed)
		return;
	s->resident_open += sign;
	s->resident_bus +=
		sign * (bus_until(&s->open, (uint64_t)r->token + 1) - bus_until(&s->open, r->token));
}

/* What a block reads of tokens [begin, end) of a sealed page. */
static struct kvsink_read page_read(const struct head_sums *s, uint32_t begin, uint32_t end)
{
	struct kvsink_page_lanes lanes = kvsink_page_lanes(s->rows, s->head, begin, end);
	const uint8_t *page = s->rows->pages[begin >> s->rows->page_shift];
	uint32_t burst = s->chip->config.burst_bytes;
	struct kvsink_read k = kvsink_plane_read(&s->plane[0], page, s->head, &lanes, burst);
	struct kvsink_read v = kvsink_plane_read(&s->plane[1], page, s->head, &lanes, burst);

	return (struct kvsink_read){k.useful + v.useful, k.bus + v.bus};
}

static struct kvsink_read whole_page(const struct head_sums *s, uint32_t index)
{
	uint32_t shift = s->rows->page_shift;

	return page_read(s, index << shift, (index + 1) << shift);
}

/* The whole pages in sight become [begin, end); neither end ever moves back. */
static void slide(struct head_sums *s, uint32_t begin, uint32_t end)
{
	struct kvsink_read page;

	for (; s->page_begin < begin && s->page_begin < s->page_end; s->page_begin++) {
		page = whole_page(s, s->page_begin);
		s->whole.useful -= page.useful;
		s->whole.bus -= page.bus;
	}
	if (s->page_begin < begin)
		s->page_begin = s->page_end = begin;
	for (; s->page_end < end; s->page_end++) {
		page = whole_page(s, s->page_end);
		s->whole.useful += page.useful;
		s->whole.bus += page.bus;
	}
}

static void add_part(const struct head_sums *s, uint32_t begin, uint32_t end, struct kvsink_task_bytes *out)
{
	struct kvsink_read part;

	if (begin >= end)
		return;
	part = page_read(s, begin, end);
	out->hbm += part.useful;
	out->hbm_bus += part.bus;
}

/* Sealed tokens [begin, end) that a block sees: whole pages, and what is left of the first and the last. */
static void sealed_bytes(struct head_sums *s, uint32_t begin, uint32_t end, struct kvsink_task_bytes *out)
{
	uint32_t shift = s->rows->page_shift, tokens = 1u << shift;
	uint32_t first = (begin + tokens - 1) >> shift, last = end >> shift;

	if (begin >= end)
		return;
	if (first > last) { /* within one page */
		add_part(s, begin, end, out);
		return;
	}
	slide(s, first, last);
	out->hbm += s->whole.useful;
	out->hbm_bus += s->whole.bus;
	add_part(s, begin, first << shift, out);
	add_part(s, last << shift, end, out);
}

/* Tokens [begin, end) of open pages. */
static void open_bytes(const struct head_sums *s, uint64_t begin, uint64_t end, struct kvsink_task_bytes *out)
{
	uint64_t row_bytes = s->plane[0].row_bytes + s->plane[1].row_bytes;

	if (begin >= end)
		return;
	out->hbm += (end - begin - s->resident_open) * row_bytes;
	out->hbm_bus += bus_until(&s->open, end) - bus_until(&s->open, begin) - s->resident_bus;
}

/* One KV head, tokens from `from` on; the residents that a block sees slide along with it. */
static void head_bytes(const struct kvsink_chip *chip, const struct kvsink_attend_task *task, uint32_t head,
		       uint32_t from, struct kvsink_task_bytes *out)
{
	const struct kvsink_rows *rows = &task->rows;
	struct head_sums s = {
		.chip = chip,
		.rows = rows,
		.plane = {kvsink_plane(rows, false), kvsink_plane(rows, true)},
		.head = head,
	};
	uint32_t queries = kvsink_block_queries(task), enter = 0, leave = 0;

	page_sums(&s);
	for (uint32_t i = 0; i < task->count; i += queries) {
		uint32_t first = task->first + i; /* sees farthest back; the last one sees the newest row */
		uint32_t end = task->count - i < queries ? task->first + task->count : first + queries;
		uint32_t begin = task->window && task->window <= first ? first + 1 - task->window : 0;

		if (begin < from)
			begin = from < end ? from : end;
		for (; enter < rows->residents && rows->resident[enter].token < end; enter++)
			resident_add(&s, &rows->resident[enter], 1);
		for (; leave < enter && rows->resident[leave].token < begin; leave++)
			resident_add(&s, &rows->resident[leave], -1ull);
		out->sram += s.sram;
		out->sram_bus += s.sram_bus;
		sealed_bytes(&s, begin, end < rows->sealed ? end : rows->sealed, out);
		open_bytes(&s, begin > rows->sealed ? begin : rows->sealed, end, out);
	}
}

struct kvsink_task_bytes kvsink_ledger_task(const struct kvsink_chip *chip,
					    const struct kvsink_attend_task *task)
{
	struct kvsink_task_bytes bytes = {0}, all = {0};

	for (uint32_t head = 0; head < task->rows.kv_heads; head++) {
		head_bytes(chip, task, head, task->read_already, &bytes);
		if (task->read_already)
			head_bytes(chip, task, head, 0, &all);
	}
	bytes.hbm_saved = all.hbm > bytes.hbm ? all.hbm - bytes.hbm : 0;
	return bytes;
}
