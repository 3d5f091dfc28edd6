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

static void tile_add_hbm(struct tile *tile, const struct unit *u, uint32_t lane)
{
	const struct kvsink_rows *rows = &u->task->rows;
	uint32_t token = tile->token[lane], slot = slot_of(u, token);
	bool sealed = token < rows->sealed;
	const uint8_t *page;

	if (token < u->begin || token >= u->end)
		return;
	page = rows->pages[token >> rows->page_shift];
	tile->k[lane] = kvsink_plane_row(&u->plane[0], page, u->head, slot, sealed);
	tile->v[lane] = rows->flags & KVSINK_STREAM_V_IN_K
				? tile->k[lane]
				: kvsink_plane_row(&u->plane[1], page, u->head, slot, sealed);
	tile_add(tile, u, lane);
}

/* The head's rows of a resident. */
static void tile_add_sram(struct tile *tile, const struct unit *u, uint32_t lane,
			  const struct kvsink_resident *r)
{
	const struct kvsink_rows *rows = &u->task->rows;

	tile->sram |= 1ull << lane;
	tile_add(tile, u, lane);
	if (!(tile->present >> lane & 1))
		return;
	tile->k[lane] = kvsink_resident_row(rows, u->plane, r, u->head, false);
	tile->v[lane] = rows->flags & KVSINK_STREAM_V_IN_K
				? tile->k[lane]
				: kvsink_resident_row(rows, u->plane, r, u->head, true);
}

/* The residents among the tokens of the tile at c->next: left out, or with `take` read from SRAM. */
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
		if (take)
			tile_add_sram(tile, u, lane, &r[c->resident]);
	}
	return mask;
}

static bool next_by_token(const struct unit *u, struct cursor *c, struct tile *tile)
{
	uint64_t resident;
	uint32_t lane;

	if (c->next >= u->end)
		return false;
	tile->base = c->next;
	tile->lanes = TILE;
	for (lane = 0; lane < TILE; lane++)
		tile->token[lane] = c->next + lane;
	resident = resident_lanes(u, c, c->tier == MIXED, tile);
	for (lane = 0; lane < TILE; lane++)
		if (!(resident >> lane & 1))
			tile_add_hbm(tile, u, lane);
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
		tile_add_sram(tile, u, tile->lanes++, r);
	}
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

#define AHEAD 8 /* rows that are fetched early: their addresses follow no pattern that a CPU would guess */

static void fetch_early(uint64_t lanes, const struct kvsink_row *rows, uint32_t lane, uint32_t d)
{
	uint32_t bytes;

	if (lane >= TILE || !(lanes >> lane & 1))
		return;
	bytes = d * kvsink_format_bits(rows[lane].format) / 8;
	for (uint32_t i = 0; i < bytes; i += 64)
		__builtin_prefetch(rows[lane].data + i);
	if (rows[lane].scales)
		__builtin_prefetch(rows[lane].scales);
}

/* Rows in binary32, padded with zeros to a multiple of 16 elements; lanes that are not wanted become zero
 * rows. */
static void load_rows(const struct unit *u, uint64_t lanes, const struct kvsink_row *rows, uint32_t d)
{
	uint32_t stride = padded(d), lane;
	float *row;

	for (lane = 0; lane < AHEAD; lane++)
		fetch_early(lanes, rows, lane, d);
	for (lane = 0; lane < TILE; lane++) {
		fetch_early(lanes, rows, lane + AHEAD, d);
		row = u->f32 + (size_t)lane * stride;
		if (!(lanes >> lane & 1)) {
			memset(row, 0, stride * sizeof(*row));
			continue;
		}
		kvsink_row_load(&rows[lane], row, d);
		memset(row + d, 0, (stride - d) * sizeof(*row));
	}
}

void kvsink_tile_k(const struct unit *u, const struct tile *tile)
{
	load_rows(u, tile->present, tile->k, u->task->rows.d_k);
}

void kvsink_tile_v(const struct unit *u, const struct tile *tile, uint64_t lanes)
{
	load_rows(u, tile->present & lanes, tile->v, u->task->rows.d_v);
}
