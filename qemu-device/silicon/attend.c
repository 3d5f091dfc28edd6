/* SPDX-License-Identifier: MIT */
/*
 * Attention: QK^T, softmax and V over the rows of two tiers, each row from the tier that its tag says.
 *
 * The rows of one KV head form two partitions, SRAM and HBM; each gives (O, lse) by a softmax with its
 * maximum subtracted, then they are merged. Work is cut into units: a block of neighbouring queries
 * times some query heads of one KV head, so that a row is fetched once for all of them. Partitions are
 * walked in tiles of 64 tokens: HBM tiles begin at multiples of 64, SRAM tiles count the head's
 * residents; both independent of the query, and masked lanes add exact zeros. So blocking, sharing
 * among threads and SIMD level change no bit.
 *
 * A unit makes three sweeps over its tiles: logits and their maximum; weights, their sum and V; and, where
 * somebody wants sums of it (SCORE, placement), the attention, once the sum is known. Tiles are kept between
 * sweeps while the scratch has room, later ones are computed again.
 */
#include "fp.h"

#include <stdbool.h>

#include "datapath.h"
#include "merge.h"
#include "vec.h"

#define TILE KVSINK_TILE
#define ROWS KVSINK_UNIT_ROWS
#define STRIDE KVSINK_ROW_STRIDE
#define TIERS 2

enum tier { SRAM, HBM };

/* Up to 64 tokens of one partition, ascending; a lane that is not present is never read. */
struct tile {
	uint64_t present; /* lanes */
	uint32_t lanes;	  /* tokens listed below */
	uint32_t token[TILE];
	const uint8_t *k[TILE], *v[TILE];
};

/* Place in a partition. */
struct cursor {
	enum tier tier;
	uint32_t next;	   /* HBM: first token of the next tile */
	uint32_t resident; /* next one to look at */
};

/* What one partition gives to one row (query and head). */
struct partial {
	float max;
	double sum; /* of e^(logit - max) */
	double lse; /* -inf: empty */
};

/* What a sweep needs: pointers into the scratch, all 64-byte aligned. */
struct unit {
	const struct kvsink_attend_task *task;
	const struct kvsink_vec_ops *ops;
	uint32_t head;		 /* KV head */
	uint32_t q_head, heads;	 /* query heads of the unit: [q_head, q_head + heads) */
	uint32_t query, queries; /* queries of the unit: [query, query + queries) */
	uint32_t rows;		 /* heads * queries; row = query in unit * heads + head in unit */
	uint32_t begin, end;	 /* tokens that some query sees */
	double *q;		 /* [ROWS][STRIDE] */
	double *acc[TIERS];	 /* [ROWS][STRIDE]: O times its sum of weights */
	double *kt;		 /* [STRIDE][TILE] */
	float *f32;		 /* [TILE][STRIDE]: K or V rows in binary32 */
	float *logits;		 /* tiles of [rows][TILE] that are kept, then one that is not */
	uint32_t keep;		 /* tiles that can be kept */
	uint32_t used;		 /* tiles seen in this sweep */
	struct partial part[TIERS][ROWS];
};

static uint32_t first_visible(const struct kvsink_attend_task *task, uint32_t token)
{
	return task->window && token >= task->window ? token - task->window + 1 : 0;
}

static uint32_t row_token(const struct unit *u, uint32_t row)
{
	return u->task->first + u->query + row / u->heads;
}

/* ---- tiles ---- */

static void tile_add(struct tile *tile, const struct unit *u, uint32_t lane, const uint8_t *k,
		     const uint8_t *v)
{
	tile->k[lane] = k;
	tile->v[lane] = v;
	if (tile->token[lane] >= u->begin && tile->token[lane] < u->end)
		tile->present |= 1ull << lane;
}

static void tile_add_hbm(struct tile *tile, const struct unit *u, uint32_t lane)
{
	const struct kvsink_rows *rows = &u->task->rows;
	uint32_t bytes = kvsink_format_bytes(rows->format);
	uint32_t token = tile->token[lane];
	uint64_t slot = (uint64_t)(token & ((1u << rows->page_shift) - 1)) * rows->kv_heads + u->head;
	const uint8_t *page;

	if (token < u->begin || token >= u->end)
		return;
	page = rows->pages[token >> rows->page_shift];
	tile_add(tile, u, lane, page + rows->k_offset + slot * rows->d_k * bytes,
		 page + rows->v_offset + slot * rows->d_v * bytes);
}

/* Lanes of the tile at `base` that lie in SRAM. */
static uint64_t resident_lanes(const struct kvsink_rows *rows, uint32_t head, uint32_t base, struct cursor *c)
{
	const struct kvsink_resident *r = rows->resident;
	uint64_t mask = 0;

	while (c->resident < rows->residents && r[c->resident].token < base)
		c->resident++;
	for (; c->resident < rows->residents && r[c->resident].token - base < TILE; c->resident++)
		if (r[c->resident].head_mask >> head & 1)
			mask |= 1ull << (r[c->resident].token - base);
	return mask;
}

static bool next_tile_hbm(const struct unit *u, struct cursor *c, struct tile *tile)
{
	uint64_t resident;
	uint32_t lane;

	if (c->next >= u->end)
		return false;
	resident = resident_lanes(&u->task->rows, u->head, c->next, c);
	tile->lanes = TILE;
	for (lane = 0; lane < TILE; lane++) {
		tile->token[lane] = c->next + lane;
		if (!(resident >> lane & 1))
			tile_add_hbm(tile, u, lane);
	}
	c->next += TILE;
	return true;
}

static bool next_tile_sram(const struct unit *u, struct cursor *c, struct tile *tile)
{
	const struct kvsink_rows *rows = &u->task->rows;
	uint32_t bytes = kvsink_format_bytes(rows->format);
	const struct kvsink_resident *r;
	const uint8_t *k;

	for (tile->lanes = 0; tile->lanes < TILE && c->resident < rows->residents; c->resident++) {
		r = &rows->resident[c->resident];
		if (!(r->head_mask >> u->head & 1))
			continue;
		k = r->rows + (size_t)__builtin_popcountll(r->head_mask & ((1ull << u->head) - 1)) *
				      kvsink_row_bytes(rows->d_k, rows->d_v, rows->format);
		tile->token[tile->lanes] = r->token;
		tile_add(tile, u, tile->lanes++, k, k + (size_t)rows->d_k * bytes);
	}
	return tile->lanes > 0;
}

static struct cursor tiles_of(const struct unit *u, enum tier tier)
{
	return (struct cursor){.tier = tier, .next = u->begin / TILE * TILE};
}

/* The next tile in which something is visible. */
static bool next_tile(struct unit *u, struct cursor *c, struct tile *tile)
{
	do {
		tile->present = 0;
		if (kvsink_cancelled(u->task) ||
		    !(c->tier == SRAM ? next_tile_sram(u, c, tile) : next_tile_hbm(u, c, tile)))
			return false;
	} while (!tile->present);
	u->used++;
	return true;
}

/* Lanes whose token is below `token`: they are the first ones. */
static uint32_t lanes_below(const struct tile *tile, uint32_t token)
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

static uint64_t lane_mask(uint32_t begin, uint32_t end)
{
	uint64_t below_end = end < 64 ? (1ull << end) - 1 : ~0ull;

	return begin < 64 ? below_end & ~((1ull << begin) - 1) : 0;
}

/* Lanes that the query of a row sees: [*begin, *end). */
static void row_lanes(const struct unit *u, const struct tile *tile, uint32_t row, uint32_t *begin,
		      uint32_t *end)
{
	uint32_t token = row_token(u, row);

	*begin = lanes_below(tile, first_visible(u->task, token));
	*end = lanes_below(tile, token + 1);
}

/* ---- sweeps ---- */

#define AHEAD 8 /* rows that are fetched early: their addresses follow no pattern that a CPU would guess */

static void fetch_early(const struct tile *tile, const uint8_t *const *from, uint32_t lane, uint32_t bytes)
{
	if (lane >= TILE || !(tile->present >> lane & 1))
		return;
	for (uint32_t i = 0; i < bytes; i += 64)
		__builtin_prefetch(from[lane] + i);
}

/* Rows in binary32, padded with zeros to `stride`; absent lanes become zero rows. */
static void load_rows(const struct unit *u, const struct tile *tile, const uint8_t *const *from, uint32_t d,
		      uint32_t stride)
{
	uint32_t bytes = d * kvsink_format_bytes(u->task->rows.format), lane;
	float *row;

	for (lane = 0; lane < AHEAD; lane++)
		fetch_early(tile, from, lane, bytes);
	for (lane = 0; lane < TILE; lane++) {
		fetch_early(tile, from, lane + AHEAD, bytes);
		row = u->f32 + (size_t)lane * stride;
		if (!(tile->present >> lane & 1)) {
			memset(row, 0, stride * sizeof(*row));
			continue;
		}
		kvsink_format_load(u->task->rows.format, row, from[lane], d);
		memset(row + d, 0, (stride - d) * sizeof(*row));
	}
}

static uint32_t padded(uint32_t d)
{
	return (d + 15) & ~15u;
}

static void mask_logits(const struct unit *u, const struct tile *tile, uint32_t row, float *s)
{
	uint32_t begin, end, lane;
	uint64_t seen;

	row_lanes(u, tile, row, &begin, &end);
	seen = tile->present & lane_mask(begin, end);
	for (lane = 0; seen != ~0ull && lane < TILE; lane++)
		if (!(seen >> lane & 1))
			s[lane] = -INFINITY;
}

static float *tile_slot(const struct unit *u)
{
	uint32_t index = u->used - 1;

	return u->logits + (size_t)(index < u->keep ? index : u->keep) * u->rows * TILE;
}

static float *compute_logits(const struct unit *u, const struct tile *tile)
{
	const struct kvsink_attend_task *task = u->task;
	uint32_t d = task->rows.d_k, row;
	float *s = tile_slot(u);

	load_rows(u, tile, tile->k, d, padded(d));
	u->ops->transpose(u->kt, u->f32, padded(d), d);
	u->ops->logits(s, u->q, u->rows, u->kt, d, task->scale, task->softcap);
	for (row = 0; row < u->rows; row++)
		mask_logits(u, tile, row, s + row * TILE);
	return s;
}

static bool kept(const struct unit *u)
{
	return u->used <= u->keep;
}

static void sweep_max(struct unit *u, enum tier tier)
{
	struct cursor c = tiles_of(u, tier);
	struct partial *part = u->part[tier];
	struct tile tile;
	uint32_t row;
	float *s, max;

	while (next_tile(u, &c, &tile)) {
		s = compute_logits(u, &tile);
		for (row = 0; row < u->rows; row++) {
			max = u->ops->max(s + row * TILE);
			if (max > part[row].max)
				part[row].max = max;
		}
	}
}

/* The weights of the current tile: from its logits, kept or made again. Sums only in the second sweep. */
static float *compute_weights(struct unit *u, const struct tile *tile, enum tier tier, bool sum)
{
	struct partial *part = u->part[tier];
	float *s = kept(u) ? tile_slot(u) : compute_logits(u, tile);
	uint32_t row;
	float weight;

	for (row = 0; row < u->rows; row++) {
		weight = u->ops->weights(s + row * TILE, part[row].max == -INFINITY ? 0.0f : part[row].max);
		if (sum)
			part[row].sum += weight;
	}
	return s;
}

/* All rows at once if each sees every lane; else each within its range: what it may not see may be NaN. */
static void add_v(const struct unit *u, const struct tile *tile, const float *p, double *acc)
{
	uint32_t n = padded(u->task->rows.d_v), row, begin, end;
	uint32_t low = __builtin_ctzll(tile->present), high = 64 - __builtin_clzll(tile->present);
	uint32_t first_end, last_begin;

	load_rows(u, tile, tile->v, u->task->rows.d_v, n);
	row_lanes(u, tile, 0, &begin, &first_end);
	row_lanes(u, tile, u->rows - 1, &last_begin, &end);
	if (last_begin <= low && first_end >= high) {
		u->ops->pv(acc, p, u->rows, low, high, u->f32, n);
		return;
	}
	for (row = 0; row < u->rows; row++) {
		row_lanes(u, tile, row, &begin, &end);
		if (begin < end)
			u->ops->pv(acc + row * STRIDE, p + row * TILE, 1, begin, end, u->f32, n);
	}
}

static void sweep_v(struct unit *u, enum tier tier)
{
	struct cursor c = tiles_of(u, tier);
	struct tile tile;

	while (next_tile(u, &c, &tile))
		add_v(u, &tile, compute_weights(u, &tile, tier, true), u->acc[tier]);
}

/*
 * Attention on the tile's tokens of rows whose query stands at `first` or later, each within its local
 * window's limit. `unit[row]` makes attention in units of 2^-32 from a weight.
 */
static void tile_attention(const struct unit *u, const struct tile *tile, const float *p, const double *unit,
			   uint32_t first, uint64_t sum[TILE])
{
	uint32_t row, token;

	memset(sum, 0, TILE * sizeof(*sum));
	for (row = 0; row < u->rows; row++) {
		token = row_token(u, row);
		if (unit[row] > 0.0 && token >= u->task->local_window && token >= first)
			u->ops->score(sum, p + row * TILE, unit[row],
				      lanes_below(tile, token - u->task->local_window + 1));
	}
}

static void add_to_tokens(uint64_t *to, const struct tile *tile, const uint64_t sum[TILE])
{
	uint32_t lane;

	for (lane = 0; to && lane < TILE; lane++)
		if (sum[lane])
			__atomic_fetch_add(&to[tile->token[lane]], sum[lane], __ATOMIC_RELAXED);
}

static void add_to_sinks(const struct unit *u, const struct tile *tile, const uint64_t sum[TILE])
{
	const uint64_t *sinks = u->task->sinks;
	uint64_t mass = 0;
	uint32_t lane;

	for (lane = 0; sinks && lane < TILE; lane++)
		if (sum[lane] && sinks[tile->token[lane] / 64] >> tile->token[lane] % 64 & 1)
			mass += sum[lane];
	if (mass)
		__atomic_fetch_add(&u->task->sink_mass[u->head], mass, __ATOMIC_RELAXED);
}

static void sweep_score(struct unit *u, enum tier tier, const double *unit)
{
	const struct kvsink_attend_task *task = u->task;
	uint64_t *mass = task->mass ? task->mass + (size_t)u->head * (task->first + task->count) : NULL;
	struct cursor c = tiles_of(u, tier);
	uint64_t sum[TILE] __attribute__((aligned(64)));
	struct tile tile;
	float *p;

	while (next_tile(u, &c, &tile)) {
		p = kept(u) ? tile_slot(u) : compute_weights(u, &tile, tier, false);
		tile_attention(u, &tile, p, unit, 0, sum);
		add_to_tokens(task->score, &tile, sum);
		add_to_tokens(mass, &tile, sum);
		add_to_sinks(u, &tile, sum);
		if (!task->observed)
			continue;
		if (row_token(u, 0) < task->observe_first)
			tile_attention(u, &tile, p, unit, task->observe_first, sum);
		add_to_tokens(task->observed, &tile, sum);
	}
}

/* ---- units ---- */

static size_t query_index(const struct unit *u, uint32_t row)
{
	return (size_t)(u->query + row / u->heads) * u->task->q_heads + u->q_head + row % u->heads;
}

static void unit_load(struct unit *u)
{
	uint32_t d = u->task->rows.d_k, row, e, t;
	const float *q;

	for (row = 0; row < u->rows; row++) {
		q = u->task->q + query_index(u, row) * d;
		for (e = 0; e < d; e++)
			u->q[row * STRIDE + e] = q[e];
		for (t = 0; t < TIERS; t++) {
			memset(u->acc[t] + row * STRIDE, 0, padded(u->task->rows.d_v) * sizeof(double));
			u->part[t][row] = (struct partial){.max = -INFINITY};
		}
	}
}

/* An empty partition has weight 0 and is not even looked at: the other passes bit for bit. */
static double unit_output(const struct unit *u, uint32_t row, uint32_t e, const struct kvsink_merged *m)
{
	double o = 0.0;

	if (m->a != 0.0)
		o = u->acc[SRAM][row * STRIDE + e] / u->part[SRAM][row].sum;
	if (m->b == 0.0)
		return m->a == 1.0 ? o : m->a * o;
	if (m->a == 0.0)
		return u->acc[HBM][row * STRIDE + e] / u->part[HBM][row].sum;
	return m->a * o + m->b * (u->acc[HBM][row * STRIDE + e] / u->part[HBM][row].sum);
}

static void unit_stat(const struct unit *u, uint32_t row, const struct kvsink_merged *m)
{
	double lse_sram = u->part[SRAM][row].lse, mass = 0.0;
	struct kvsink_attend_stat stat;

	if (lse_sram != -INFINITY)
		mass = lse_sram < m->lse ? kvsink_exp64(lse_sram - m->lse) : 1.0;
	if (m->lse != m->lse)
		mass = 0.0;
	stat.lse = kvsink_f32_canonical((float)m->lse);
	stat.lse_sram = kvsink_f32_canonical((float)lse_sram);
	stat.lse_hbm = kvsink_f32_canonical((float)u->part[HBM][row].lse);
	stat.mass_sram = (float)mass;
	if (u->task->stats)
		u->task->stats[query_index(u, row)] = stat;
	if (u->task->mass_sram)
		__atomic_fetch_add(u->task->mass_sram, (uint64_t)(mass * 0x1p32 + 0.5), __ATOMIC_RELAXED);
}

static double score_unit(double weight, double sum)
{
	double unit = weight / sum * 0x1p32;

	return unit <= 0x1p32 ? unit : 0.0; /* 0 for NaN, too */
}

/* Merges the partitions of a row, writes its output; unit: see sweep_score(). */
static void unit_merge(struct unit *u, uint32_t row, double unit[TIERS][ROWS])
{
	uint32_t d = u->task->rows.d_v, e, t;
	float *out = u->task->out + query_index(u, row) * d;
	struct partial *part;
	struct kvsink_merged m;

	for (t = 0; t < TIERS; t++) {
		part = &u->part[t][row];
		part->lse = part->sum == 0.0 ? -INFINITY : part->max + kvsink_log64(part->sum);
	}
	m = kvsink_merge_weights(u->part[SRAM][row].lse, u->part[HBM][row].lse);
	for (e = 0; e < d; e++)
		out[e] = kvsink_f32_canonical((float)unit_output(u, row, e, &m));
	unit[SRAM][row] = score_unit(m.a, u->part[SRAM][row].sum);
	unit[HBM][row] = score_unit(m.b, u->part[HBM][row].sum);
	unit_stat(u, row, &m);
}

static void unit_run(struct unit *u)
{
	double unit[TIERS][ROWS];
	uint32_t row, last = u->task->first + u->query + u->queries - 1;

	u->begin = first_visible(u->task, u->task->first + u->query);
	u->end = last + 1;
	u->rows = u->heads * u->queries;
	u->keep = KVSINK_UNIT_LOGITS / (u->rows * TILE) - 1;
	unit_load(u);
	u->used = 0;
	sweep_max(u, SRAM);
	sweep_max(u, HBM);
	u->used = 0;
	sweep_v(u, SRAM);
	sweep_v(u, HBM);
	for (row = 0; row < u->rows; row++)
		unit_merge(u, row, unit);
	if (!u->task->score && !u->task->mass && !u->task->observed && !u->task->sinks)
		return;
	u->used = 0;
	sweep_score(u, SRAM, unit[SRAM]);
	sweep_score(u, HBM, unit[HBM]);
}

/* How a task is cut: query heads of a unit, units of a group, queries of a unit. */
struct cut {
	uint32_t group, heads, slices, queries, blocks;
};

static struct cut cut_task(const struct kvsink_attend_task *task)
{
	struct cut c = {.group = task->q_heads / task->rows.kv_heads};

	c.slices = (c.group + ROWS - 1) / ROWS;
	c.heads = (c.group + c.slices - 1) / c.slices;
	c.queries = ROWS / c.heads;
	c.blocks = (task->count + c.queries - 1) / c.queries;
	return c;
}

static void run_unit(struct unit *u, const struct cut *c, uint32_t index)
{
	uint32_t block = index % c->blocks, slice = index / c->blocks % c->slices;
	uint32_t skip = slice * c->heads;

	u->head = index / c->blocks / c->slices;
	u->q_head = u->head * c->group + skip;
	u->heads = c->group - skip < c->heads ? c->group - skip : c->heads;
	u->query = block * c->queries;
	u->queries = u->task->count - u->query < c->queries ? u->task->count - u->query : c->queries;
	if (skip < c->group)
		unit_run(u);
}

static void place_scratch(struct unit *u, float *scratch)
{
	float *at = (float *)(((uintptr_t)scratch + 63) & ~(uintptr_t)63);

	u->kt = (double *)at;
	u->q = u->kt + STRIDE * TILE;
	u->acc[SRAM] = u->q + ROWS * STRIDE;
	u->acc[HBM] = u->acc[SRAM] + ROWS * STRIDE;
	u->f32 = (float *)(u->acc[HBM] + ROWS * STRIDE);
	u->logits = u->f32 + TILE * STRIDE;
}

void kvsink_attend_part(const struct kvsink_attend_task *tasks, unsigned count, unsigned part, unsigned parts,
			float *scratch)
{
	struct unit u = {.ops = kvsink_vec()};
	uint32_t index, units, turn = 0;
	struct cut c;
	unsigned i;

	place_scratch(&u, scratch);
	for (i = 0; i < count; i++) {
		u.task = &tasks[i];
		c = cut_task(u.task);
		units = c.blocks * c.slices * u.task->rows.kv_heads;
		for (index = 0; index < units && !kvsink_cancelled(u.task);
		     index++, turn = turn + 1 < parts ? turn + 1 : 0)
			if (turn == part)
				run_unit(&u, &c, index);
	}
}

/* ---- bytes ---- */

struct kvsink_row_count kvsink_count_rows(const struct kvsink_rows *rows, uint32_t window, uint32_t token,
					  uint32_t head)
{
	uint32_t begin = window && token >= window ? token - window + 1 : 0;
	struct kvsink_row_count n = {.hbm = (uint64_t)token - begin + 1};
	const struct kvsink_resident *r;

	for (r = rows->resident; r < rows->resident + rows->residents; r++) {
		if (r->token < begin || r->token > token || !(r->head_mask >> head & 1))
			continue;
		n.sram++;
		n.hbm--;
	}
	return n;
}
