/* SPDX-License-Identifier: MIT */
/*
 * SEAL: whole pages of a stream, in order, are quantised where they lie. A page keeps its size: what is saved
 * is bytes read, not capacity; protected rows go into the room that the codes leave.
 *
 * Everything is checked before the first page changes. Pages follow one another with all their layers and
 * heads, and stream->sealed moves with them, so between two calls of kvsink_run() the stream is sound. Nobody
 * reads it meanwhile: the command waits for items in flight.
 */
#include <string.h>

#include "chip.h"

/* Bits of protected tokens in a page, of one layer and head. */
struct protected
{
	uint64_t bits[KVSINK_PAGE_WORDS];
};

/* A page, and the items that name a token of it. */
struct page_items {
	uint32_t index, first, end; /* page; tokens */
	const struct kvsink_place_item *item[KVSINK_MAX_ITEMS];
	uint32_t count;
};

static struct page_items items_of(const struct kvsink_stream *s, const union kvsink_item *items,
				  uint32_t count, uint32_t index)
{
	struct page_items page = {.index = index, .first = index << s->page_shift};

	page.end = page.first + (1u << s->page_shift);
	for (uint32_t i = 0; i < count; i++)
		if (items[i].place.token >= page.first && items[i].place.token < page.end)
			page.item[page.count++] = &items[i].place;
	return page;
}

static struct protected protected_by(const struct page_items *page, uint32_t layer, uint32_t head)
{
	struct protected p = {{0}};

	for (uint32_t i = 0; i < page->count; i++) {
		const struct kvsink_place_item *item = page->item[i];
		uint32_t slot = item->token - page->first;

		if (layer >= item->layer_begin && layer < item->layer_end && item->head_mask >> head & 1)
			p.bits[slot / 64] |= 1ull << slot % 64;
	}
	return p;
}

static uint32_t count_of(const struct protected *p)
{
	uint32_t count = 0;

	for (unsigned word = 0; word < KVSINK_PAGE_WORDS; word++)
		count += (uint32_t)__builtin_popcountll(p->bits[word]);
	return count;
}

/* ---- checks ---- */

static uint64_t bad_item(const struct kvsink_stream *s, const struct kvsink_cmd_seal *c, uint32_t i,
			 const struct kvsink_place_item *item)
{
	if (item->token < s->sealed || item->token >= c->tokens)
		return KVSINK_ITEM_FIELD(i, place, token);
	if (item->layer_begin >= s->layers)
		return KVSINK_ITEM_FIELD(i, place, layer_begin);
	if (item->layer_end <= item->layer_begin || item->layer_end > s->layers)
		return KVSINK_ITEM_FIELD(i, place, layer_end);
	if (!item->head_mask || (s->kv_heads < 64 && item->head_mask >> s->kv_heads))
		return KVSINK_ITEM_FIELD(i, place, head_mask);
	return item->reserved[0] || item->reserved[1] ? KVSINK_ITEM_FIELD(i, place, reserved) : 0;
}

/* Protected rows that every sealed plane has room for. */
static uint32_t room_of(const struct kvsink_stream *s)
{
	struct kvsink_rows rows = kvsink_page_rows(s, 0);
	struct kvsink_plane k = kvsink_plane(&rows, false), v = kvsink_plane(&rows, true);

	if (!k.seal || !v.seal)
		return k.seal ? k.room : v.room;
	return k.room < v.room ? k.room : v.room;
}

/* Do the page's items protect more rows of a layer and head than there is room for? */
static bool crowded(const struct kvsink_stream *s, const struct page_items *page)
{
	uint32_t room = room_of(s);

	for (uint32_t l = 0; page->count > room && l < s->layers; l++)
		for (uint32_t h = 0; h < s->kv_heads; h++) {
			struct protected p = protected_by(page, l, h);

			if (count_of(&p) > room)
				return true;
		}
	return false;
}

static uint32_t check_items(struct kvsink_ring *ring, const struct kvsink_stream *s,
			    const struct kvsink_cmd_seal *c, const union kvsink_item *items)
{
	for (uint32_t i = 0; i < c->item_count; i++) {
		uint64_t field = bad_item(s, c, i, &items[i].place);

		if (field)
			return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, field);
	}
	for (uint32_t i = 0; i < c->item_count; i++) {
		struct page_items page =
			items_of(s, items, c->item_count, items[i].place.token >> s->page_shift);

		/* once a page: by its first item */
		if (page.item[0] == &items[i].place && crowded(s, &page))
			return kvsink_fault(ring, KVSINK_CODE_CROWDED, page.first);
		kvsink_spend(ring, (uint64_t)c->item_count * 8);
	}
	return KVSINK_CODE_OK;
}

static uint32_t check_seal(struct kvsink_ring *ring, const struct kvsink_stream *s,
			   const struct kvsink_cmd_seal *c)
{
	uint32_t page = 1u << s->page_shift;

	if (c->reserved)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(seal.reserved));
	if (!s->seal_k && !s->seal_v)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(seal.stream));
	if (c->tokens % page)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(seal.tokens));
	if (c->tokens > s->length)
		return kvsink_fault(ring, KVSINK_CODE_SEQUENCE, s->length & ~(page - 1));
	if (c->tokens <= s->sealed && !ring->progress)
		return kvsink_fault(ring, KVSINK_CODE_SEQUENCE, (uint64_t)s->sealed + page);
	if (s->sealed >> s->page_shift < s->own_page)
		return kvsink_fault(ring, KVSINK_CODE_SHARED, s->sealed);
	return KVSINK_CODE_OK;
}

static uint32_t check_pages(struct kvsink_ring *ring, const struct kvsink_stream *s, uint32_t tokens)
{
	uint32_t code = KVSINK_CODE_OK;
	uint64_t offset;

	for (uint32_t i = s->sealed >> s->page_shift; i < tokens >> s->page_shift && !code; i++)
		code = kvsink_page_lookup(ring, s, i, &offset);
	return code;
}

/* ---- one page ---- */

/* Bytes of HBM that a page takes. */
struct moved {
	uint64_t read, written, bus;
};

/* The rows of a head, in binary32. */
static const float *gather(struct kvsink_ring *ring, const struct kvsink_plane *p, uint32_t d, uint32_t head,
			   const uint8_t *saved)
{
	for (uint32_t t = 0; t < p->tokens; t++)
		kvsink_format_load(p->format, ring->work.out + (size_t)t * d,
				   saved + ((size_t)t * p->kv_heads + head) * p->row_bytes, d);
	return ring->work.out;
}

/* The head's region from the plane as it was, which lies at `saved`. */
static void seal_head(struct kvsink_ring *ring, const struct kvsink_plane *p, uint32_t d, uint32_t head,
		      const struct protected *keep, uint8_t *page, const uint8_t *saved)
{
	uint8_t *region = page + kvsink_plane_region(p, head), *row = region + p->rows_at;
	struct kvsink_seal_job job = {
		.codes = region,
		.scales = region + (size_t)p->code_bytes * p->tokens,
		.src = gather(ring, p, d, head, saved),
		.leave = keep->bits,
		.tokens = p->tokens,
		.d = d,
	};

	memset(region, 0, (size_t)p->row_bytes * p->tokens);
	kvsink_format_seal(p->seal, &job);
	memcpy(region + p->bitmap_at, keep->bits, (p->tokens + 7) / 8);
	for (uint32_t t = 0; t < p->tokens; t++)
		if (keep->bits[t / 64] >> t % 64 & 1) {
			memcpy(row, saved + ((size_t)t * p->kv_heads + head) * p->row_bytes, p->row_bytes);
			row += p->row_bytes;
		}
}

static void count_head(const struct kvsink_chip *chip, const struct kvsink_plane *p, uint32_t head,
		       uint32_t kept, struct moved *moved)
{
	uint64_t region = kvsink_plane_region(p, head), rows = (uint64_t)kept * p->row_bytes;
	uint64_t dense = p->bitmap_at + (p->tokens + 7) / 8;

	moved->written += dense + rows;
	moved->bus += kvsink_ledger_bursts(chip, region, kept ? p->rows_at + rows : dense);
}

static void seal_plane(struct kvsink_ring *ring, const struct kvsink_stream *s,
		       const struct page_items *items, uint32_t layer, bool v, uint64_t offset,
		       struct moved *moved)
{
	struct kvsink_chip *chip = ring->chip;
	struct kvsink_rows rows = kvsink_page_rows(s, layer);
	struct kvsink_plane p = kvsink_plane(&rows, v);
	uint64_t bytes = (uint64_t)p.row_bytes * p.tokens * p.kv_heads;
	uint8_t *page = chip->config.hbm + offset;

	if (!p.seal)
		return;
	memcpy(ring->work.q, page + p.offset, bytes);
	moved->read += bytes;
	moved->bus += kvsink_ledger_bursts(chip, p.offset, bytes);
	for (uint32_t h = 0; h < s->kv_heads; h++) {
		struct protected keep = protected_by(items, layer, h);

		seal_head(ring, &p, v ? s->d_v : s->d_k, h, &keep, page, (const uint8_t *)ring->work.q);
		count_head(chip, &p, h, count_of(&keep), moved);
	}
	kvsink_dirty(chip, KVSINK_SPACE_HBM, offset + p.offset, bytes);
}

/* What the rows are now is what norms have to bound; the longest may have become shorter. */
static void renew_norms(struct kvsink_ring *ring, struct kvsink_stream *s, uint32_t layer, uint32_t first,
			const uint8_t *page, uint64_t *bus)
{
	struct kvsink_rows rows = kvsink_page_rows(s, layer);
	struct kvsink_plane v = kvsink_plane(&rows, true);
	uint32_t tokens = s->length + s->layer[layer].appended;

	for (uint32_t h = 0; h < s->kv_heads; h++) {
		bool longest = kvsink_norm_reached(ring->chip, s, layer, h, first, v.tokens, bus);

		for (uint32_t t = 0; t < v.tokens; t++) {
			struct kvsink_row row = kvsink_plane_row(&v, page, h, t, true);

			kvsink_norm_row(ring->chip, s, layer, h, first + t, &row);
		}
		if (longest)
			kvsink_norm_renew(ring->chip, s, layer, h, tokens, bus);
	}
}

/* Entries of the page's tokens hold what is no longer stored: they are copied again, in place. */
static void renew_entries(struct kvsink_chip *chip, struct kvsink_stream *s, const struct page_items *page)
{
	for (uint32_t i = s->first_tag; i != KVSINK_NONE && chip->tags[i].token < page->end;
	     i = chip->tags[i].next)
		if (chip->tags[i].token >= page->first)
			kvsink_entry_renew(chip, &chip->tags[i]);
}

static uint32_t seal_page(struct kvsink_ring *ring, struct kvsink_stream *s, const struct page_items *page)
{
	struct kvsink_chip *chip = ring->chip;
	struct moved moved = {0};
	uint64_t offset;
	uint32_t code = kvsink_page_lookup(ring, s, page->index, &offset);

	/* checked before the first page; but another ring may have done things since */
	if (!code && crowded(s, page))
		code = kvsink_fault(ring, KVSINK_CODE_CROWDED, page->first);
	if (code)
		return code;
	for (uint32_t l = 0; l < s->layers; l++) {
		seal_plane(ring, s, page, l, false, offset, &moved);
		seal_plane(ring, s, page, l, true, offset, &moved);
		if (s->seal_v)
			renew_norms(ring, s, l, page->first, chip->config.hbm + offset, &moved.bus);
	}
	s->sealed = page->end;
	kvsink_prefix_sealed(s);
	renew_entries(chip, s, page);
	kvsink_tail_sealed(s);
	kvsink_ledger_add(chip, s, KVSINK_COUNTER_SEALED_TOKENS, page->end - page->first);
	kvsink_ledger_add(chip, s, KVSINK_COUNTER_KV_SEAL_READ, moved.read);
	kvsink_ledger_add(chip, s, KVSINK_COUNTER_KV_SEAL_WRITE, moved.written);
	ring->progress += moved.bus;
	kvsink_spend(ring, moved.read + moved.written);
	return KVSINK_CODE_OK;
}

uint32_t kvsink_cmd_seal(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_cmd_seal *c = &cmd->seal;
	const union kvsink_item *items = kvsink_items(ring, c->first_item);
	struct kvsink_stream *s;
	uint32_t code = kvsink_stream_get_hbm(ring, c->stream, &s);

	if (!code)
		code = kvsink_check_items(ring, c->first_item, c->item_count, KVSINK_FIELD(seal.first_item));
	if (!code)
		code = check_seal(ring, s, c);
	if (!code && !ring->progress)
		code = check_items(ring, s, c, items);
	if (!code && !ring->progress)
		code = check_pages(ring, s, c->tokens);
	while (!code && s->sealed < c->tokens) {
		struct page_items page = items_of(s, items, c->item_count, s->sealed >> s->page_shift);

		if (ring->progress && ring->spent >= KVSINK_QUANTUM)
			return KVSINK_MORE;
		code = seal_page(ring, s, &page);
	}
	ring->hbm_bytes = ring->progress;
	return code;
}
