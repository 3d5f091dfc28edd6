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

#include "merge.h"
#include "unit.h"

/* ---- sweeps ---- */

static uint64_t lane_mask(uint32_t begin, uint32_t end)
{
	uint64_t below_end = end < 64 ? (1ull << end) - 1 : ~0ull;

	return begin < 64 ? below_end & ~((1ull << begin) - 1) : 0;
}

static void mask_logits(const struct unit *u, const struct tile *tile, uint32_t row, float *s)
{
	uint32_t begin, end, lane;
	uint64_t seen;

	kvsink_tile_lanes(u, tile, row, &begin, &end);
	seen = tile->present & lane_mask(begin, end);
	for (lane = 0; seen != ~0ull && lane < TILE; lane++)
		if (!(seen >> lane & 1))
			s[lane] = -INFINITY;
}

/* ALiBi: the slope of the row's query head times the distance to its query. */
static void add_slope(const struct unit *u, const struct tile *tile, uint32_t row, float *s)
{
	double slope = u->task->heads ? u->task->heads[query_head(u, row)] : 0.0;

	for (uint32_t lane = 0; slope != 0.0 && lane < tile->lanes; lane++)
		s[lane] = (float)(s[lane] + slope * ((double)tile->token[lane] - row_token(u, row)));
}

float *kvsink_tile_slot(const struct unit *u)
{
	uint32_t index = u->used - 1;

	return u->logits + (size_t)(index < u->keep ? index : u->keep) * u->slot;
}

/* Rows of one format that the kernels read themselves, of whole registers? */
static bool direct(uint32_t formats, uint32_t d)
{
	return formats & KVSINK_DIRECT && !(formats & (formats - 1)) && d == padded(d);
}

/* Rows of any format, by way of binary32. */
static void any_logits(const struct unit *u, const struct tile *tile, float *s)
{
	const struct kvsink_attend_task *task = u->task;
	uint32_t d = task->rows.d_k, n = padded64(d), lane;

	for (lane = 0; lane < TILE; lane++) {
		kvsink_tile_fetch(tile, lane, d * kvsink_format_bits(tile->row[lane].format) / 8);
		kvsink_row_load(&tile->row[lane], u->f32, d);
		u->ops->f32_widen(u->k + lane % KVSINK_K_ROWS * n, u->f32, d);
		if (lane % KVSINK_K_ROWS == KVSINK_K_ROWS - 1)
			u->ops->logits(s + lane + 1 - KVSINK_K_ROWS, u->q, u->rows, u->k, n, task->scale,
				       task->softcap);
	}
}

float *kvsink_tile_logits(const struct unit *u, struct tile *tile)
{
	const struct kvsink_attend_task *task = u->task;
	uint32_t d = task->rows.d_k, formats = kvsink_tile_rows(u, tile, false, tile->present), row;
	float *s = kvsink_tile_slot(u);

	if (direct(formats, d))
		u->ops->tile_logits(s, u->q, u->rows, tile->row, (unsigned)__builtin_ctz(formats), d,
				    task->scale, task->softcap, u->k);
	else
		any_logits(u, tile, s);
	for (row = 0; row < u->rows; row++) {
		add_slope(u, tile, row, s + row * TILE);
		mask_logits(u, tile, row, s + row * TILE);
	}
	return s;
}

bool kvsink_kept(const struct unit *u)
{
	return u->used <= u->keep;
}

void kvsink_sweep_max(struct unit *u, enum tier tier)
{
	struct cursor c = kvsink_tiles(u, tier);
	struct partial *part = part_of(u, tier);
	struct tile tile;
	uint32_t row;
	float *s, max;

	while (kvsink_tile_next(u, &c, &tile)) {
		s = kvsink_tile_logits(u, &tile);
		for (row = 0; row < u->rows; row++) {
			max = u->ops->max(s + row * TILE);
			if (max > part[row].max)
				part[row].max = max;
		}
	}
}

/* The weights of the current tile: from its logits, kept or made again. Sums only in the second sweep. */
static float *compute_weights(struct unit *u, struct tile *tile, enum tier tier, bool sum)
{
	struct partial *part = part_of(u, tier);
	float *s = kvsink_kept(u) ? kvsink_tile_slot(u) : kvsink_tile_logits(u, tile);
	uint32_t row;
	float weight;

	for (row = 0; row < u->rows; row++) {
		weight = u->ops->weights(s + row * TILE, part[row].max == -INFINITY ? 0.0f : part[row].max);
		if (sum)
			part[row].sum += weight;
	}
	return s;
}

#define DIRECT_ROWS 8 /* up to so many rows it is cheaper to convert V again than to keep it */

/* All rows at once if each sees every lane; else each within its range: what it may not see may be NaN. */
void kvsink_add_v(const struct unit *u, struct tile *tile, uint64_t lanes, const float *p, double *acc)
{
	uint32_t d = u->task->rows.d_v, n = padded(d), row, begin, end;
	uint32_t low = __builtin_ctzll(lanes), high = 64 - __builtin_clzll(lanes);
	uint32_t first_end, last_begin, formats = kvsink_tile_rows(u, tile, true, lanes);

	kvsink_tile_lanes(u, tile, 0, &begin, &first_end);
	kvsink_tile_lanes(u, tile, u->rows - 1, &last_begin, &end);
	if (last_begin <= low && first_end >= high) {
		if (direct(formats, d) && u->rows <= DIRECT_ROWS) {
			u->ops->tile_pv(acc, p, u->rows, low, high, tile->row,
					(unsigned)__builtin_ctz(formats), n);
			return;
		}
		kvsink_tile_f32(u, tile, d);
		u->ops->pv(acc, p, u->rows, low, high, u->f32, n);
		return;
	}
	kvsink_tile_f32(u, tile, d);
	for (row = 0; row < u->rows; row++) {
		kvsink_tile_lanes(u, tile, row, &begin, &end);
		if (begin < end)
			u->ops->pv(acc + row * STRIDE, p + row * TILE, 1, begin, end, u->f32, n);
	}
}

/* What each tier has of the weights: for statistics, no output depends on it. */
static void add_seen(struct unit *u, const struct tile *tile, const float *p)
{
	uint32_t row, lane;

	for (row = 0; row < u->rows; row++)
		for (lane = 0; lane < TILE; lane++)
			u->seen[tile->sram >> lane & 1 ? SRAM : HBM][row] += p[row * TILE + lane];
}

void kvsink_sweep_v(struct unit *u, enum tier tier)
{
	struct cursor c = kvsink_tiles(u, tier);
	struct tile tile;
	float *p;

	while (kvsink_tile_next(u, &c, &tile)) {
		p = compute_weights(u, &tile, tier, true);
		if (tier == MIXED)
			add_seen(u, &tile, p);
		kvsink_add_v(u, &tile, tile.present, p, acc_of(u, tier));
	}
}

/*
 * Attention on the tile's tokens of rows from `row` on, until `end`, whose query stands at `first` or later,
 * each within its local window's limit. `unit[row]` makes attention in units of 2^-32 from a weight.
 */
static void tile_attention(const struct unit *u, const struct tile *tile, const float *p, const double *unit,
			   uint32_t row, uint32_t end, uint32_t first, uint64_t sum[TILE])
{
	uint32_t token;

	memset(sum, 0, TILE * sizeof(*sum));
	for (; row < end; row++) {
		token = row_token(u, row);
		if (unit[row] > 0.0 && token >= u->task->local_window && token >= first)
			u->ops->score(sum, p + row * TILE, unit[row],
				      kvsink_tile_below(tile, token - u->task->local_window + 1));
	}
}

static void add_to_tokens(uint64_t *to, const struct tile *tile, const uint64_t sum[TILE])
{
	uint32_t lane;

	for (lane = 0; to && lane < TILE; lane++)
		if (sum[lane])
			__atomic_fetch_add(&to[tile->token[lane]], sum[lane], __ATOMIC_RELAXED);
}

/* `to`: of the unit's KV head. */
static void add_to_sinks(const struct unit *u, uint64_t *to, const struct tile *tile,
			 const uint64_t sum[TILE])
{
	const uint64_t *sinks = u->task->sinks;
	uint64_t mass = 0;
	uint32_t lane;

	for (lane = 0; lane < TILE; lane++)
		if (sum[lane] && sinks[tile->token[lane] / 64] >> tile->token[lane] % 64 & 1)
			mass += sum[lane];
	if (mass)
		__atomic_fetch_add(to, mass, __ATOMIC_RELAXED);
}

/* Each new query of the unit by itself. */
static void observe_queries(const struct unit *u, const struct tile *tile, const float *p, const double *unit)
{
	const struct kvsink_attend_task *task = u->task;
	uint64_t sum[TILE] __attribute__((aligned(64)));
	uint32_t row;

	for (row = 0; row < u->rows; row += u->heads) {
		size_t query = row_token(u, row) - task->observe_first;

		if (row_token(u, row) < task->observe_first)
			continue;
		tile_attention(u, tile, p, unit, row, row + u->heads, 0, sum);
		add_to_tokens(task->observed + query * task->observe_pitch, tile, sum);
		add_to_sinks(u, task->sink_mass + query * task->rows.kv_heads + u->head, tile, sum);
	}
}

/* All of them in one sum. */
static void observe_unit(const struct unit *u, const struct tile *tile, const float *p, const double *unit,
			 uint64_t sum[TILE])
{
	const struct kvsink_attend_task *task = u->task;

	if (task->sinks)
		add_to_sinks(u, &task->sink_mass[u->head], tile, sum);
	if (task->observed && row_token(u, 0) < task->observe_first)
		tile_attention(u, tile, p, unit, 0, u->rows, task->observe_first, sum);
	add_to_tokens(task->observed, tile, sum);
}

static void sweep_score(struct unit *u, enum tier tier, const double *unit)
{
	const struct kvsink_attend_task *task = u->task;
	uint64_t *mass = task->mass ? task->mass + (size_t)u->head * (task->first + task->count) : NULL;
	struct cursor c = kvsink_tiles(u, tier);
	uint64_t sum[TILE] __attribute__((aligned(64)));
	struct tile tile;
	float *p;

	while (kvsink_tile_next(u, &c, &tile)) {
		p = kvsink_kept(u) ? kvsink_tile_slot(u) : compute_weights(u, &tile, tier, false);
		tile_attention(u, &tile, p, unit, 0, u->rows, 0, sum);
		add_to_tokens(task->score, &tile, sum);
		add_to_tokens(mass, &tile, sum);
		if (task->observe_pitch)
			observe_queries(u, &tile, p, unit);
		else
			observe_unit(u, &tile, p, unit, sum);
	}
}

/* ---- units ---- */

static size_t query_index(const struct unit *u, uint32_t row)
{
	return (size_t)(u->query + row / u->heads) * u->task->q_heads + query_head(u, row);
}

/* An infinity would pass for a row that is not visible, or for the end of a soft cap. */
static double finite_or_nan(float x)
{
	return x - x == 0.0f ? x : NAN;
}

static void unit_load(struct unit *u)
{
	uint32_t d = u->task->rows.d_k, row, e, t;
	const float *q;

	for (row = 0; row < u->rows; row++) {
		q = u->task->q + query_index(u, row) * d;
		for (e = 0; e < padded64(d); e++)
			u->q[row * STRIDE + e] = e < d ? finite_or_nan(q[e]) : 0.0;
		for (t = 0; t < TIERS; t++) {
			memset(u->acc[t] + row * STRIDE, 0, padded(u->task->rows.d_v) * sizeof(double));
			u->part[t][row] = (struct partial){.max = -INFINITY};
			u->seen[t][row] = 0.0;
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

static double lse_of(double max, double sum)
{
	return sum == 0.0 ? -INFINITY : max + kvsink_log64(sum);
}

/* Where both tiers share a maximum, their sums tell more than the merged states: gated rows, tiers of one
 * sum. */
static void stat_of_sums(const struct unit *u, uint32_t row, struct kvsink_merged *m, double *lse_sram,
			 double *lse_hbm)
{
	bool gated = u->task->mode == KVSINK_ATTEND_GATED;
	double max = u->part[HBM][row].max;

	*lse_sram = lse_of(max, u->seen[SRAM][row]);
	*lse_hbm = lse_of(max, gated ? u->part[HBM][row].sum : u->seen[HBM][row]);
	m->lse = lse_of(max, u->seen[SRAM][row] + u->seen[HBM][row]);
}

/* The learned sink is one more state (O = 0, lse = its logit): the share that is left to rows of that lse. */
static double share_beside_sink(const struct unit *u, uint32_t row, double lse)
{
	return lse == -INFINITY ? 1.0 : kvsink_merge_weights(lse, sink_logit(u, row)).a;
}

static double lse_with_sink(const struct unit *u, uint32_t row, double lse)
{
	return kvsink_merge_weights(lse, sink_logit(u, row)).lse;
}

/* An output that is not finite is marked by an infinite bound, in every mode. */
static double bound_of(const struct unit *u, uint32_t row)
{
	const float *out = u->task->out + query_index(u, row) * u->task->rows.d_v;

	for (uint32_t e = 0; e < u->task->rows.d_v; e++)
		if (!(fabsf(out[e]) < INFINITY))
			return INFINITY;
	return u->task->mode == KVSINK_ATTEND_GATED ? u->bound[row] : 0.0;
}

/* Behind the output, which the bound depends on. */
static void unit_stat(const struct unit *u, uint32_t row, struct kvsink_merged m)
{
	double lse_sram = u->part[SRAM][row].lse, lse_hbm = u->part[HBM][row].lse, mass = 0.0;
	struct kvsink_attend_stat stat = {0};

	if (u->task->mode != KVSINK_ATTEND_SPLIT)
		stat_of_sums(u, row, &m, &lse_sram, &lse_hbm);
	m.lse = lse_with_sink(u, row, m.lse);
	if (lse_sram != -INFINITY)
		mass = lse_sram < m.lse ? kvsink_exp64(lse_sram - m.lse) : 1.0;
	if (m.lse != m.lse)
		mass = 0.0;
	stat.lse = kvsink_f32_canonical((float)m.lse);
	stat.lse_sram = kvsink_f32_canonical((float)lse_sram);
	stat.lse_hbm = kvsink_f32_canonical((float)lse_hbm);
	stat.mass_sram = (float)mass;
	stat.bound = kvsink_f32_canonical((float)bound_of(u, row));
	if (u->task->mode == KVSINK_ATTEND_GATED)
		stat.skipped = kvsink_f32_canonical((float)u->skipped[row]);
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

static double gated_unit(const struct unit *u, uint32_t row)
{
	double sum = u->seen[SRAM][row] + u->seen[HBM][row];

	return score_unit(share_beside_sink(u, row, lse_of(u->part[HBM][row].max, sum)), sum);
}

/* Merges the partitions of a row and its sink, writes its output; unit: see sweep_score(). */
static void unit_merge(struct unit *u, uint32_t row, double unit[TIERS][ROWS])
{
	uint32_t d = u->task->rows.d_v, e, t;
	float *out = u->task->out + query_index(u, row) * d;
	struct kvsink_merged m;
	double share;

	for (t = 0; t < TIERS; t++)
		u->part[t][row].lse = lse_of(u->part[t][row].max, u->part[t][row].sum);
	m = kvsink_merge_weights(u->part[SRAM][row].lse, u->part[HBM][row].lse);
	share = share_beside_sink(u, row, m.lse);
	for (e = 0; e < d; e++)
		out[e] = kvsink_f32_canonical((float)(share * unit_output(u, row, e, &m)));
	unit[SRAM][row] = score_unit(share * m.a, u->part[SRAM][row].sum);
	unit[HBM][row] = score_unit(share * m.b, u->part[HBM][row].sum);
	/* attention is a share of all rows, unread ones included */
	if (u->task->mode == KVSINK_ATTEND_GATED)
		unit[SRAM][row] = unit[HBM][row] = gated_unit(u, row);
	unit_stat(u, row, m);
}

static void unit_sweep(struct unit *u)
{
	if (u->task->mode == KVSINK_ATTEND_GATED) {
		kvsink_gate_run(u);
		return;
	}
	u->used = 0;
	if (u->task->mode == KVSINK_ATTEND_CANONICAL) {
		kvsink_sweep_max(u, MIXED);
		u->used = 0;
		kvsink_sweep_v(u, MIXED);
		return;
	}
	kvsink_sweep_max(u, SRAM);
	kvsink_sweep_max(u, HBM);
	u->used = 0;
	kvsink_sweep_v(u, SRAM);
	kvsink_sweep_v(u, HBM);
}

static void unit_attention(struct unit *u, double unit[TIERS][ROWS])
{
	if (!u->task->score && !u->task->mass && !u->task->observed && !u->task->sinks)
		return;
	u->used = 0;
	if (u->task->mode == KVSINK_ATTEND_CANONICAL) {
		sweep_score(u, MIXED, unit[HBM]);
		return;
	}
	sweep_score(u, SRAM, unit[SRAM]);
	sweep_score(u, HBM, unit[HBM]);
}

static void unit_run(struct unit *u)
{
	double unit[TIERS][ROWS];
	uint32_t row, last = u->task->first + u->query + u->queries - 1;

	u->begin = first_visible(u->task, u->task->first + u->query);
	u->end = last + 1;
	u->rows = u->heads * u->queries;
	u->slot = (u->rows + (u->task->mode == KVSINK_ATTEND_GATED)) * TILE;
	u->keep = KVSINK_UNIT_LOGITS / u->slot - 1;
	unit_load(u);
	unit_sweep(u);
	for (row = 0; row < u->rows; row++)
		unit_merge(u, row, unit);
	unit_attention(u, unit);
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

uint32_t kvsink_block_queries(const struct kvsink_attend_task *task)
{
	return cut_task(task).queries;
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

	u->k = (double *)at;
	u->q = u->k + STRIDE * KVSINK_K_ROWS;
	u->acc[SRAM] = u->q + ROWS * STRIDE;
	u->acc[HBM] = u->acc[SRAM] + ROWS * STRIDE;
	u->f32 = (float *)(u->acc[HBM] + ROWS * STRIDE);
	u->logits = u->f32 + TILE * STRIDE;
	u->bins = (double *)(u->logits + KVSINK_UNIT_LOGITS);
	u->read = (uint64_t *)(u->bins + 2 * KVSINK_GATE_BINS * ROWS);
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
		u.plane[0] = kvsink_plane(&u.task->rows, false);
		u.plane[1] = kvsink_plane(&u.task->rows, true);
		c = cut_task(u.task);
		units = c.blocks * c.slices * u.task->rows.kv_heads;
		for (index = 0; index < units && !kvsink_cancelled(u.task);
		     index++, turn = turn + 1 < parts ? turn + 1 : 0)
			if (turn == part)
				run_unit(&u, &c, index);
	}
}
