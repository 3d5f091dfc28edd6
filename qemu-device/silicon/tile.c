/* SPDX-License-Identifier: MIT */
/*
 * Tiles: the rows of one KV head in runs of up to 64 tokens, each row from the tier that its tag says.
 *
 * Tiles of HBM begin at multiples of 64; those of SRAM count the head's residents; mixed ones begin at
 * multiples of 64 and take each row from where it lies. None depends on the query; lanes that are not present
 * are never read.
 */
#include <string.h>

#include "unit.h"

static void tile_add(struct tile *tile, const struct unit *u, uint32_t lane)
{
	if (tile->token[lane] >= u->begin && tile->token[lane] < u->end)
		tile->present |= 1ull << lane;
}

static uint32_t slot_of(const struct unit *u, uint32_t token)
{
	return token & ((1u << u->task->rows.page_shift) - 1);
}

uint64_t kvsink_tile_v_at(const struct unit *u, uint32_t token)
{
	const struct kvsink_plane *v = &u->plane[1];

	return v->offset + ((uint64_t)slot_of(u, token) * v->kv_heads + u->head) * v->row_bytes;
}

/* The residents among the tokens of the tile at c->next; with `take` they are part of it. */
static uint64_t resident_lanes(const struct unit *u, struct cursor *c, bool take, struct tile *tile)
{
	const struct kvsink_rows *rows = &u->task->rows;
	const struct kvsink_resident *r = rows->resident;
	uint64_t mask = 0;
	uint32_t lane;

	while (c->resident < rows->residents && r[c->resident].token < c->next)
		c->resident++;
	for (; c->resident < rows->residents && r[c->resident].token - c->next < TILE; c->resident++) {
		lane = r[c->resident].token - c->next;
		if (!(r[c->resident].head_mask >> u->head & 1))
			continue;
		mask |= 1ull << lane;
		tile->resident[lane] = c->resident;
	}
	if (take)
		tile->sram = mask;
	return mask;
}

static uint64_t lanes_between(uint32_t begin, uint32_t end)
{
	uint64_t below_end = end < TILE ? (1ull << end) - 1 : ~0ull;

	return begin < TILE ? below_end & ~((1ull << begin) - 1) : 0;
}

static bool next_by_token(const struct unit *u, struct cursor *c, struct tile *tile)
{
	uint32_t begin = u->begin > c->next ? u->begin - c->next : 0, lane;
	uint64_t resident;

	if (c->next >= u->end)
		return false;
	tile->base = c->next;
	tile->lanes = TILE;
	for (lane = 0; lane < TILE; lane++)
		tile->token[lane] = c->next + lane;
	resident = resident_lanes(u, c, c->tier == MIXED, tile);
	tile->present = lanes_between(begin, u->end - c->next);
	if (c->tier != MIXED)
		tile->present &= ~resident;
	c->next += TILE;
	return true;
}

static bool next_resident(const struct unit *u, struct cursor *c, struct tile *tile)
{
	const struct kvsink_rows *rows = &u->task->rows;
	const struct kvsink_resident *r;

	for (tile->lanes = 0; tile->lanes < TILE && c->resident < rows->residents; c->resident++) {
		r = &rows->resident[c->resident];
		if (!(r->head_mask >> u->head & 1))
			continue;
		tile->token[tile->lanes] = r->token;
		tile->resident[tile->lanes] = c->resident;
		tile_add(tile, u, tile->lanes++);
	}
	tile->sram = tile->present;
	return tile->lanes > 0;
}

struct cursor kvsink_tiles(const struct unit *u, enum tier tier)
{
	return (struct cursor){.tier = tier, .next = u->begin / TILE * TILE};
}

bool kvsink_tile_next(struct unit *u, struct cursor *c, struct tile *tile)
{
	do {
		tile->present = 0;
		tile->sram = 0;
		if (kvsink_cancelled(u->task) ||
		    !(c->tier == SRAM ? next_resident(u, c, tile) : next_by_token(u, c, tile)))
			return false;
	} while (!tile->present);
	u->used++;
	return true;
}

bool kvsink_tile_at(const struct unit *u, uint32_t base, struct tile *tile)
{
	const struct kvsink_rows *rows = &u->task->rows;
	struct cursor c = {.tier = HBM, .next = base};
	uint32_t high = rows->residents, mid;

	while (c.resident < high) {
		mid = (c.resident + high) / 2;
		if (rows->resident[mid].token < base)
			c.resident = mid + 1;
		else
			high = mid;
	}
	tile->present = 0;
	tile->sram = 0;
	return !kvsink_cancelled(u->task) && next_by_token(u, &c, tile) && tile->present;
}

uint32_t kvsink_tile_below(const struct tile *tile, uint32_t token)
{
	uint32_t low = 0, high = tile->lanes, mid;

	while (low < high) {
		mid = (low + high) / 2;
		if (tile->token[mid] < token)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

void kvsink_tile_lanes(const struct unit *u, const struct tile *tile, uint32_t row, uint32_t *begin,
		       uint32_t *end)
{
	uint32_t token = row_token(u, row);

	*begin = kvsink_tile_below(tile, first_visible(u->task, token));
	*end = kvsink_tile_below(tile, token + 1);
}

/* ---- rows ---- */

static const uint8_t zeros[KVSINK_MAX_HEAD_DIM * 4];

/* Rows of lanes [lane, last), page by page; lanes may go beyond the tile. */
static uint32_t hbm_rows(const struct unit *u, struct tile *tile, bool v, uint32_t lane, uint32_t last)
{
	const struct kvsink_rows *rows = &u->task->rows;
	uint32_t page = 1u << rows->page_shift, formats = 0, token, slot, end;

	for (; lane < last; lane = end) {
		token = tile->base + lane;
		slot = token & (page - 1);
		end = lane + page - slot < last ? lane + page - slot : last;
		formats |= kvsink_plane_rows(&u->plane[v], rows->pages[token >> rows->page_shift], u->head,
					     slot, end - lane, token < rows->sealed, &tile->row[lane]);
	}
	return formats;
}

/* The lanes' rows in HBM, and what lies between them; returns how many rows of the next tile follow. */
static uint32_t tile_rows_hbm(const struct unit *u, struct tile *tile, bool v, uint64_t lanes,
			      uint32_t *formats)
{
	uint32_t first = (uint32_t)__builtin_ctzll(lanes), last = 64 - (uint32_t)__builtin_clzll(lanes);
	uint32_t rest = u->end - tile->base, ahead;

	*formats = hbm_rows(u, tile, v, first, last);
	if (rest <= TILE)
		return 0;
	ahead = rest - TILE < TILE_AHEAD ? rest - TILE : TILE_AHEAD;
	hbm_rows(u, tile, v, TILE, TILE + ahead);
	return ahead;
}

uint32_t kvsink_tile_rows(const struct unit *u, struct tile *tile, bool v, uint64_t lanes)
{
	const struct kvsink_rows *rows = &u->task->rows;
	const struct kvsink_row none = {.data = zeros, .scales = zeros, .format = rows->format};
	uint32_t formats = 0, ahead = 0, lane;
	uint64_t rest;

	v = v && !(rows->flags & KVSINK_STREAM_V_IN_K);
	if (lanes & ~tile->sram)
		ahead = tile_rows_hbm(u, tile, v, lanes & ~tile->sram, &formats);
	for (rest = lanes & tile->sram; rest; rest &= rest - 1) {
		lane = (uint32_t)__builtin_ctzll(rest);
		tile->row[lane] = kvsink_resident_row(rows, u->plane, &rows->resident[tile->resident[lane]],
						      u->head, v);
		formats |= 1u << tile->row[lane].format;
	}
	for (rest = ~lanes; rest; rest &= rest - 1)
		tile->row[__builtin_ctzll(rest)] = none;
	for (lane = ahead; lane < TILE_AHEAD; lane++)
		tile->row[TILE + lane] = none;
	return formats;
}

void kvsink_tile_f32(const struct unit *u, const struct tile *tile, uint32_t d)
{
	uint32_t stride = padded(d), lane;
	float *row;

	for (lane = 0; lane < TILE; lane++) {
		row = u->f32 + (size_t)lane * stride;
		kvsink_tile_fetch(tile, lane, d * kvsink_format_bits(tile->row[lane].format) / 8);
		kvsink_row_load(&tile->row[lane], row, d);
		for (uint32_t e = d; e < stride; e++)
			row[e] = 0.0f;
	}
}
