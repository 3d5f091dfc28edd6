/* SPDX-License-Identifier: MIT */
/*
 * Planes: where a row lies in the K or V plane of a page, or in an entry, and in which form.
 *
 * Tokens of open pages lie as they were appended, [token][head][element]. In sealed pages each head has a
 * region of its own: codes, scales, the bitmap of protected tokens, their rows by rank (kvsink_hw.h). Which
 * tokens are sealed is state of the stream; which of them are protected stands in HBM, so it is checked like
 * any other input: a rank for which there is no room protects nothing.
 */
#include <string.h>

#include "datapath.h"

struct kvsink_plane kvsink_plane(const struct kvsink_rows *rows, bool v)
{
	uint32_t d = v ? rows->d_v : rows->d_k, seal = v ? rows->seal_v : rows->seal_k;
	uint32_t tokens = 1u << rows->page_shift;
	struct kvsink_plane p = {
		.offset = v ? rows->v_offset : rows->k_offset,
		.format = rows->format,
		.seal = seal,
		.kv_heads = rows->kv_heads,
		.tokens = tokens,
		.row_bytes = v ? kvsink_v_row_bytes(rows->flags, d, rows->format)
			       : d * kvsink_format_bytes(rows->format),
	};

	p.coded_bytes = p.row_bytes;
	if (!seal)
		return p;
	p.channel = kvsink_format_channel(seal);
	p.code_bytes = kvsink_code_bytes(seal, d);
	p.scale_bytes = kvsink_scale_bytes(seal, d);
	p.coded_bytes = p.code_bytes + p.scale_bytes;
	p.bitmap_at = kvsink_seal_bitmap_at(seal, d, tokens);
	p.rows_at = kvsink_seal_rows_at(seal, d, tokens);
	p.room = kvsink_seal_room(seal, rows->format, d, tokens);
	return p;
}

/* ---- rows in HBM ---- */

uint64_t kvsink_plane_region(const struct kvsink_plane *p, uint32_t head)
{
	return p->offset + (uint64_t)head * p->row_bytes * p->tokens;
}

static uint32_t bitmap_bytes(const struct kvsink_plane *p)
{
	return (p->tokens + 7) / 8;
}

/* Returns whether any token is protected: asked for each page and sweep, and most pages have two bytes. */
static bool bitmap_load(const struct kvsink_plane *p, const uint8_t *region, uint64_t bits[KVSINK_PAGE_WORDS])
{
	uint64_t all = 0;

	memset(bits, 0, KVSINK_PAGE_WORDS * sizeof(*bits));
	for (uint32_t i = 0; i < bitmap_bytes(p); i++) {
		uint64_t byte = region[p->bitmap_at + i];

		bits[i / 8] |= byte << i % 8 * 8;
		all |= byte;
	}
	return all;
}

static bool any(const uint64_t bits[KVSINK_PAGE_WORDS])
{
	for (uint32_t word = 0; word < KVSINK_PAGE_WORDS; word++)
		if (bits[word])
			return true;
	return false;
}

/* Rank of a protected token, or a number that is none. */
#define NO_RANK UINT32_MAX
static uint32_t rank_of(const struct kvsink_plane *p, const uint64_t *bits, uint32_t slot)
{
	uint32_t rank = 0, word;

	if (!(bits[slot / 64] >> slot % 64 & 1))
		return NO_RANK;
	for (word = 0; word < slot / 64; word++)
		rank += (uint32_t)__builtin_popcountll(bits[word]);
	rank += (uint32_t)__builtin_popcountll(bits[word] & ((1ull << slot % 64) - 1));
	return rank < p->room ? rank : NO_RANK;
}

bool kvsink_plane_protects(const struct kvsink_plane *p, const uint8_t *page, uint32_t head, uint32_t slot)
{
	uint64_t bits[KVSINK_PAGE_WORDS];

	if (!p->seal)
		return false;
	bitmap_load(p, page + kvsink_plane_region(p, head), bits);
	return rank_of(p, bits, slot) != NO_RANK;
}

struct kvsink_row kvsink_plane_coded(const struct kvsink_plane *p, const uint8_t *page, uint32_t head,
				     uint32_t slot)
{
	const uint8_t *region = page + kvsink_plane_region(p, head);
	const uint8_t *scales = region + (size_t)p->code_bytes * p->tokens;

	return (struct kvsink_row){
		.data = region + (size_t)p->code_bytes * slot,
		.scales = scales + (size_t)p->scale_bytes * slot,
		.format = p->seal,
	};
}

struct kvsink_row kvsink_plane_row(const struct kvsink_plane *p, const uint8_t *page, uint32_t head,
				   uint32_t slot, bool sealed)
{
	struct kvsink_row row;

	kvsink_plane_rows(p, page, head, slot, 1, sealed, &row);
	return row;
}

/* Rows that follow one another at equal distances. */
static uint32_t even_rows(struct kvsink_row row, size_t step, size_t scale_step, uint32_t count,
			  struct kvsink_row *rows)
{
	for (uint32_t i = 0; i < count; i++, row.data += step, row.scales += scale_step)
		rows[i] = row;
	return 1u << row.format;
}

/* Some rows of the page are protected. */
static uint32_t mixed_rows(const struct kvsink_plane *p, const uint8_t *page, uint32_t head, uint32_t slot,
			   uint32_t count, const uint64_t *bits, struct kvsink_row *rows)
{
	uint32_t formats = 0, rank;

	for (uint32_t i = 0; i < count; i++) {
		rank = rank_of(p, bits, slot + i);
		rows[i] = kvsink_plane_coded(p, page, head, slot + i);
		if (rank != NO_RANK)
			rows[i] = (struct kvsink_row){
				.data = page + kvsink_plane_region(p, head) + p->rows_at +
					(size_t)rank * p->row_bytes,
				.format = p->format,
			};
		formats |= 1u << rows[i].format;
	}
	return formats;
}

uint32_t kvsink_plane_rows(const struct kvsink_plane *p, const uint8_t *page, uint32_t head, uint32_t slot,
			   uint32_t count, bool sealed, struct kvsink_row *rows)
{
	struct kvsink_row row = {.format = p->format};
	uint64_t bits[KVSINK_PAGE_WORDS];

	if (!sealed || !p->seal) {
		row.data = page + p->offset + ((uint64_t)slot * p->kv_heads + head) * p->row_bytes;
		return even_rows(row, (size_t)p->kv_heads * p->row_bytes, 0, count, rows);
	}
	if (bitmap_load(p, page + kvsink_plane_region(p, head), bits))
		return mixed_rows(p, page, head, slot, count, bits, rows);
	return even_rows(kvsink_plane_coded(p, page, head, slot), p->code_bytes, p->scale_bytes, count, rows);
}

/* ---- rows in SRAM ---- */

uint32_t kvsink_resident_bytes(const struct kvsink_plane plane[2], const struct kvsink_resident *r,
			       uint32_t head)
{
	if (r->coded >> head & 1)
		return plane[0].coded_bytes + plane[1].coded_bytes;
	return plane[0].row_bytes + plane[1].row_bytes;
}

const uint8_t *kvsink_resident_at(const struct kvsink_resident *r, uint32_t head)
{
	return r->rows + (size_t)__builtin_popcountll(r->head_mask & ((1ull << head) - 1)) * r->pitch;
}

struct kvsink_row kvsink_resident_row(const struct kvsink_rows *rows, const struct kvsink_plane plane[2],
				      const struct kvsink_resident *r, uint32_t head, bool v)
{
	const struct kvsink_plane *p = &plane[v];
	const uint8_t *at = kvsink_resident_at(r, head), *page;
	bool coded = r->coded >> head & 1;

	if (v)
		at += coded ? plane[0].coded_bytes : plane[0].row_bytes;
	if (!coded || !p->seal)
		return (struct kvsink_row){.data = at, .format = p->format};
	if (!p->channel)
		return (struct kvsink_row){.data = at, .scales = at + p->code_bytes, .format = p->seal};
	page = rows->pages[r->token >> rows->page_shift];
	return (struct kvsink_row){
		.data = at,
		.scales = kvsink_plane_coded(p, page, head, 0).scales,
		.format = p->seal,
	};
}

/* ---- what a query reads of a sealed page ---- */

static void set_range(uint64_t bits[KVSINK_PAGE_WORDS], uint32_t begin, uint32_t end)
{
	for (uint32_t word = begin / 64; word * 64 < end; word++) {
		uint32_t low = begin > word * 64 ? begin - word * 64 : 0, high = end - word * 64;

		bits[word] |= (high < 64 ? (1ull << high) - 1 : ~0ull) & ~((1ull << low) - 1);
	}
}

/* The first resident whose token is not below. */
static uint32_t resident_from(const struct kvsink_rows *rows, uint32_t token)
{
	uint32_t low = 0, high = rows->residents, mid;

	while (low < high) {
		mid = (low + high) / 2;
		if (rows->resident[mid].token < token)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

struct kvsink_page_lanes kvsink_page_lanes(const struct kvsink_rows *rows, uint32_t head, uint32_t begin,
					   uint32_t end)
{
	uint32_t mask = (1u << rows->page_shift) - 1, first = begin & ~mask, slot;
	struct kvsink_page_lanes lanes = {0};

	set_range(lanes.hbm, begin - first, end - first);
	for (uint32_t i = resident_from(rows, begin); i < rows->residents && rows->resident[i].token < end;
	     i++) {
		const struct kvsink_resident *r = &rows->resident[i];

		if (!(r->head_mask >> head & 1))
			continue;
		slot = r->token & mask;
		lanes.hbm[slot / 64] &= ~(1ull << slot % 64);
		lanes.coded[slot / 64] |= (r->coded >> head & 1) << slot % 64;
	}
	return lanes;
}

static void add_read(struct kvsink_read *to, uint64_t at, uint64_t bytes, uint32_t burst)
{
	to->useful += bytes;
	to->bus += kvsink_bursts(at, bytes, burst);
}

/* Codes of a region are read together: a burst that two of them share counts once. */
static void add_codes(struct kvsink_read *to, uint64_t at, uint64_t bytes, uint32_t burst, uint64_t *next)
{
	uint64_t first = at / burst * burst, end = (at + bytes + burst - 1) / burst * burst;

	to->useful += bytes;
	first = first > *next ? first : *next;
	if (end > first)
		to->bus += end - first;
	*next = end;
}

/* Slots in one run? Then [*begin, *end). */
static bool one_run(const uint64_t bits[KVSINK_PAGE_WORDS], uint32_t *begin, uint32_t *end)
{
	uint32_t count = 0;

	for (uint32_t word = 0; word < KVSINK_PAGE_WORDS; word++) {
		if (!bits[word])
			continue;
		if (!count)
			*begin = word * 64 + (uint32_t)__builtin_ctzll(bits[word]);
		*end = word * 64 + 64 - (uint32_t)__builtin_clzll(bits[word]);
		count += (uint32_t)__builtin_popcountll(bits[word]);
	}
	return count && *end - *begin == count;
}

/* Slot by slot. */
static struct kvsink_read read_slots(const struct kvsink_plane *p, const uint64_t *bits, uint32_t head,
				     const uint64_t hbm[KVSINK_PAGE_WORDS], uint32_t burst)
{
	uint64_t region = kvsink_plane_region(p, head), next = 0;
	struct kvsink_read read = {0};

	for (uint32_t word = 0; word < KVSINK_PAGE_WORDS; word++)
		for (uint64_t rest = hbm[word]; rest; rest &= rest - 1) {
			uint32_t slot = word * 64 + (uint32_t)__builtin_ctzll(rest),
				 rank = rank_of(p, bits, slot);

			if (!p->seal)
				add_read(&read,
					 p->offset + ((uint64_t)slot * p->kv_heads + head) * p->row_bytes,
					 p->row_bytes, burst);
			else if (rank != NO_RANK)
				add_read(&read, region + p->rows_at + (uint64_t)rank * p->row_bytes,
					 p->row_bytes, burst);
			else
				add_codes(&read, region + (uint64_t)slot * p->code_bytes, p->code_bytes,
					  burst, &next);
		}
	return read;
}

struct kvsink_read kvsink_plane_read(const struct kvsink_plane *p, const uint8_t *page, uint32_t head,
				     const struct kvsink_page_lanes *lanes, uint32_t burst)
{
	uint64_t region = kvsink_plane_region(p, head), bits[KVSINK_PAGE_WORDS] = {0};
	uint64_t scales = region + (uint64_t)p->code_bytes * p->tokens;
	struct kvsink_read read = {0};
	uint32_t begin, end;
	bool islands = p->seal && bitmap_load(p, page + region, bits);

	if (p->seal && !islands && one_run(lanes->hbm, &begin, &end)) /* the same, faster */
		add_read(&read, region + (uint64_t)begin * p->code_bytes,
			 (uint64_t)(end - begin) * p->code_bytes, burst);
	else
		read = read_slots(p, bits, head, lanes->hbm, burst);
	if (p->seal && (any(lanes->hbm) || (p->channel && any(lanes->coded))))
		add_read(&read, scales, region + p->bitmap_at + bitmap_bytes(p) - scales, burst);
	return read;
}
