/* SPDX-License-Identifier: MIT */
/*
 * Gated attention: all K rows are read, so the weight of each row is known exactly; V rows in HBM are read
 * only until the task's criterion holds for every row (query and head) of the unit. Rows in SRAM are always
 * read.
 *
 * Notation: w_j weights e^(logit - max), Z their sum over all rows, T the rows whose V is unread, tau = sum_T
 * w_j / Z, n_j >= |v_j| and M >= n_j norms, o_S the output over the others. |o - o_S| <= tau (M + |o_S|), and
 * more tightly
 * <= sum_T w_j n_j / Z + tau |o_S|. Both are a cost a * sum_T w_j n_j + b * sum_T w_j; the criteria are
 * limits on it.
 *
 * With the score buffer, T is the set of rows with the smallest keys (a row's key is its largest share of
 * attention in any row of the unit), found by bins of keys; what |o_S| asks for beyond the first guess is
 * read in further rounds. Without it, rows are judged tile by tile, sinks and the newest first, against what
 * was seen so far. A contribution in which anything is not finite is read in full.
 */
#include "fp.h"

#include "unit.h"

#define ROUNDS 8      /* in which |o_S| may ask for more rows before all are read */
#define SLACK 0x1p-16 /* covers the rounding of weights and of sums of them */
#define BINS KVSINK_GATE_BINS

struct limit {
	double a, b, budget; /* a * unread_norm + b * unread <= budget, in shares of attention */
};

struct gate {
	struct unit *u;
	const struct kvsink_gating *g;
	double norm_max;     /* M */
	double sink[ROWS];   /* weight of the learned sink: a row that is always read, with the value 0 */
	double z[ROWS];	     /* of the rows seen, and of the sink */
	double unread[ROWS]; /* sum of weights of unread V rows */
	double unread_norm[ROWS]; /* the same, times norms */
	double spent[ROWS];	  /* while rows are chosen: cost of those left unread so far */
	struct limit limit[ROWS];
	bool everything;	    /* nothing may stay unread */
	uint32_t sram_tiles;	    /* slots of tiles before those of HBM */
	struct kvsink_read k_again; /* K rows that were read twice */
};

/* ---- sizes ---- */

static double half_value(uint16_t half)
{
	float value;

	kvsink_format_load(KVSINK_FORMAT_FP16, &value, &half, 1);
	return value;
}

/* Norm of a token's V row: its own under REL, else M. */
static double norm_of(const struct gate *gate, uint32_t token)
{
	const struct kvsink_gating *g = gate->g;

	if (g->criterion != KVSINK_GATE_REL)
		return gate->norm_max;
	return half_value(g->norms[(size_t)gate->u->head * g->norm_stride + token]);
}

/* |o_S| of a row, 0 if nothing was read. */
static double output_norm(const struct gate *gate, uint32_t row)
{
	const struct unit *u = gate->u;
	double read = u->part[SRAM][row].sum + u->part[HBM][row].sum + gate->sink[row], sum = 0.0, o;

	if (read == 0.0)
		return 0.0;
	for (uint32_t e = 0; e < u->task->rows.d_v; e++) {
		o = (u->acc[SRAM][row * STRIDE + e] + u->acc[HBM][row * STRIDE + e]) / read;
		sum += o * o;
	}
	return sqrt(sum);
}

/* ---- criteria ---- */

/* What the criterion asks of a row whose output has that norm. Rounding is on the side of reading more. */
static struct limit limit_of(const struct gate *gate, double o)
{
	double epsilon = gate->g->epsilon * (1.0 - SLACK);

	switch (gate->g->criterion) {
	case KVSINK_GATE_ABS:
		return (struct limit){.b = gate->norm_max + o, .budget = epsilon * gate->norm_max};
	case KVSINK_GATE_REL:
		return (struct limit){.a = 1.0, .b = o, .budget = epsilon * o};
	default:
		return (struct limit){.b = 1.0, .budget = epsilon};
	}
}

static bool within(const struct limit *limit, double z, double unread, double unread_norm)
{
	return z == 0.0 || limit->a * unread_norm + limit->b * unread <= limit->budget * z;
}

/* Sets the limits by the outputs as they are; true if all rows are within theirs. */
static bool certified(struct gate *gate)
{
	bool all = true;

	for (uint32_t row = 0; row < gate->u->rows; row++) {
		gate->limit[row] = limit_of(gate, output_norm(gate, row));
		all &= within(&gate->limit[row], gate->z[row], gate->unread[row], gate->unread_norm[row]);
	}
	return all;
}

/* ---- keys and bins ---- */

/* A row's largest share of attention, into the lane behind the weights of the tile. */
static void make_keys(const struct gate *gate, float *w)
{
	float *key = w + (size_t)gate->u->rows * TILE, share;

	for (uint32_t row = 0; row < gate->u->rows; row++) {
		float scale = gate->z[row] > 0.0 ? (float)(1.0 / gate->z[row]) : 0.0f;

		for (uint32_t lane = 0; lane < TILE; lane++) {
			share = w[row * TILE + lane] * scale;
			key[lane] = row && key[lane] >= share ? key[lane] : share;
		}
	}
}

static uint32_t bin_of(float key)
{
	uint32_t bin = kvsink_f32_bits(key) >> 21;

	return bin < BINS ? bin : BINS - 1;
}

static void bin_tile(struct gate *gate, const struct tile *tile, const float *w)
{
	const float *key = w + (size_t)gate->u->rows * TILE;
	double *sums, *norms, norm;

	for (uint64_t lanes = tile->present; lanes; lanes &= lanes - 1) {
		uint32_t lane = (uint32_t)__builtin_ctzll(lanes);

		sums = gate->u->bins + (size_t)bin_of(key[lane]) * ROWS;
		norms = sums + BINS * ROWS;
		norm = norm_of(gate, tile->token[lane]);
		for (uint32_t row = 0; row < gate->u->rows; row++) {
			sums[row] += w[row * TILE + lane];
			norms[row] += w[row * TILE + lane] * norm;
		}
	}
}

/* The first bin that does not fit as a whole; `spent` is the cost of those before it. */
static uint32_t edge_bin(struct gate *gate)
{
	const double *sums = gate->u->bins, *norms = sums + BINS * ROWS;
	const struct limit *limit = gate->limit;
	uint32_t bin, row;

	memset(gate->spent, 0, sizeof(gate->spent));
	for (bin = 0; bin < BINS; bin++, sums += ROWS, norms += ROWS) {
		for (row = 0; row < gate->u->rows; row++)
			if (!(gate->spent[row] + limit[row].a * norms[row] + limit[row].b * sums[row] <=
			      limit[row].budget * gate->z[row]) &&
			    gate->z[row] != 0.0)
				return bin;
		for (row = 0; row < gate->u->rows; row++)
			gate->spent[row] += limit[row].a * norms[row] + limit[row].b * sums[row];
	}
	return bin;
}

/* May the lane stay unread beside those that do? Then its cost is booked. */
static bool fits(struct gate *gate, const float *w, uint32_t lane, double norm)
{
	const struct limit *limit = gate->limit;
	double cost[ROWS];
	uint32_t row;

	for (row = 0; row < gate->u->rows; row++) {
		cost[row] = gate->spent[row] + (limit[row].a * norm + limit[row].b) * w[row * TILE + lane];
		if (!(cost[row] <= limit[row].budget * gate->z[row]) && gate->z[row] != 0.0)
			return false;
	}
	memcpy(gate->spent, cost, gate->u->rows * sizeof(*cost));
	return true;
}

/* ---- reading ---- */

/* Reads the V rows of `lanes`; what stays unread is booked. */
static void read_lanes(struct gate *gate, struct tile *tile, const float *w, uint64_t lanes)
{
	struct unit *u = gate->u;
	float *p = u->logits + (size_t)u->keep * u->slot; /* the slot that is not kept */
	uint64_t *read = &u->read[tile->base / TILE];
	uint32_t row, lane;

	*read |= lanes;
	for (uint64_t rest = tile->present & ~*read; rest; rest &= rest - 1) {
		double norm;

		lane = (uint32_t)__builtin_ctzll(rest);
		norm = norm_of(gate, tile->token[lane]);
		for (row = 0; row < u->rows; row++) {
			gate->unread[row] += w[row * TILE + lane];
			gate->unread_norm[row] += w[row * TILE + lane] * norm;
		}
	}
	if (!lanes)
		return;
	for (row = 0; row < u->rows; row++)
		for (lane = 0; lane < TILE; lane++) {
			p[row * TILE + lane] = lanes >> lane & 1 ? w[row * TILE + lane] : 0.0f;
			u->part[HBM][row].sum += p[row * TILE + lane];
		}
	kvsink_add_v(u, tile, lanes, p, u->acc[HBM]);
}

/* The lanes that the limits leave no choice but to read; ascending, so `spent` sees them in order of tokens.
 */
static uint64_t wanted(struct gate *gate, const struct tile *tile, const float *w, uint32_t edge)
{
	const float *key = w + (size_t)gate->u->rows * TILE;
	uint64_t lanes = 0;

	for (uint64_t rest = tile->present & ~gate->u->read[tile->base / TILE]; rest; rest &= rest - 1) {
		uint32_t lane = (uint32_t)__builtin_ctzll(rest), bin = bin_of(key[lane]);

		if (gate->everything || bin > edge ||
		    (bin == edge && !fits(gate, w, lane, norm_of(gate, tile->token[lane]))))
			lanes |= 1ull << lane;
	}
	return lanes;
}

static void round_of_reading(struct gate *gate)
{
	struct unit *u = gate->u;
	uint32_t edge = gate->everything ? 0 : edge_bin(gate);
	struct cursor c = kvsink_tiles(u, HBM);
	struct tile tile;
	float *w;

	memset(gate->unread, 0, sizeof(gate->unread));
	memset(gate->unread_norm, 0, sizeof(gate->unread_norm));
	u->used = gate->sram_tiles;
	while (kvsink_tile_next(u, &c, &tile)) {
		w = kvsink_tile_slot(u);
		read_lanes(gate, &tile, w, wanted(gate, &tile, w, edge));
	}
}

/* ---- with the score buffer ---- */

/* One maximum for both tiers and the sink, so that their weights can be compared. */
static void share_max(struct gate *gate)
{
	struct unit *u = gate->u;

	for (uint32_t row = 0; row < u->rows; row++) {
		struct partial *sram = &u->part[SRAM][row], *hbm = &u->part[HBM][row];
		float max = sram->max > hbm->max ? sram->max : hbm->max, sink = sink_logit(u, row);

		max = sink > max ? sink : max;
		sram->max = hbm->max = max;
		gate->sink[row] = sink == -INFINITY ? 0.0 : kvsink_exp64((double)sink - max);
	}
}

/* Weights in the place of logits; u->seen[HBM] is their sum. */
static void tile_weights(struct unit *u, float *s)
{
	for (uint32_t row = 0; row < u->rows; row++) {
		float max = u->part[HBM][row].max;

		u->seen[HBM][row] += u->ops->weights(s + row * TILE, max == -INFINITY ? 0.0f : max);
	}
}

static void know_all(struct gate *gate)
{
	struct unit *u = gate->u;

	for (uint32_t row = 0; row < u->rows; row++) {
		u->seen[SRAM][row] = u->part[SRAM][row].sum;
		gate->z[row] = u->seen[SRAM][row] + u->seen[HBM][row] + gate->sink[row];
		gate->everything |= !(gate->z[row] < INFINITY);
	}
}

static void fill_bins(struct gate *gate)
{
	struct unit *u = gate->u;
	struct cursor c = kvsink_tiles(u, HBM);
	struct tile tile;
	float *w;

	memset(u->bins, 0, 2 * BINS * ROWS * sizeof(*u->bins));
	u->used = gate->sram_tiles;
	while (kvsink_tile_next(u, &c, &tile)) {
		w = kvsink_tile_slot(u);
		make_keys(gate, w);
		bin_tile(gate, &tile, w);
	}
}

static void run_buffered(struct gate *gate)
{
	struct unit *u = gate->u;
	struct cursor c;
	struct tile tile;
	uint32_t round;

	share_max(gate);
	u->used = 0;
	kvsink_sweep_v(u, SRAM);
	gate->sram_tiles = u->used;
	for (c = kvsink_tiles(u, HBM); kvsink_tile_next(u, &c, &tile);)
		tile_weights(u, kvsink_tile_slot(u));
	know_all(gate);
	fill_bins(gate);
	/* the first guess: as if |o_S| cost nothing */
	for (round = 0; round < u->rows; round++)
		gate->limit[round] = (struct limit){.b = 1.0, .budget = gate->g->epsilon * (1.0 - SLACK)};
	round_of_reading(gate);
	for (round = 0; round < ROUNDS && !certified(gate); round++)
		round_of_reading(gate);
	if (round < ROUNDS || certified(gate))
		return;
	gate->everything = true;
	round_of_reading(gate);
}

/* ---- in one pass ---- */

/* The maximum of a row grew: everything so far was in units of the old one. */
static void rescale(struct gate *gate, uint32_t row, float max)
{
	struct unit *u = gate->u;
	float old = u->part[HBM][row].max;
	double factor = old == -INFINITY ? 0.0 : kvsink_exp64((double)old - max);

	for (uint32_t t = 0; t < TIERS; t++) {
		u->part[t][row].max = max;
		u->part[t][row].sum *= factor;
		u->seen[t][row] *= factor;
		for (uint32_t e = 0; e < padded(u->task->rows.d_v); e++)
			u->acc[t][row * STRIDE + e] *= factor;
	}
	gate->sink[row] *= factor;
	gate->unread[row] *= factor;
	gate->unread_norm[row] *= factor;
}

/* Weights of a tile against the maximum so far, which it may move. */
static float *weigh(struct gate *gate, struct tile *tile)
{
	struct unit *u = gate->u;
	float *s, max;

	u->used = 1;
	s = kvsink_tile_logits(u, tile);
	for (uint32_t row = 0; row < u->rows; row++) {
		max = u->ops->max(s + row * TILE);
		if (max > u->part[HBM][row].max)
			rescale(gate, row, max);
	}
	tile_weights(u, s);
	for (uint32_t row = 0; row < u->rows; row++)
		gate->z[row] = u->seen[SRAM][row] + u->seen[HBM][row] + gate->sink[row];
	return s;
}

/* Each row may leave its part of the budget unread: N of them stay within it, since Z only grows. */
static uint64_t too_heavy(struct gate *gate, const struct tile *tile, const float *w, double rows)
{
	uint64_t lanes = 0;

	for (uint64_t rest = tile->present; rest; rest &= rest - 1) {
		uint32_t lane = (uint32_t)__builtin_ctzll(rest);
		double norm = norm_of(gate, tile->token[lane]);

		for (uint32_t row = 0; row < gate->u->rows; row++) {
			const struct limit *limit = &gate->limit[row];
			double cost = (limit->a * norm + limit->b) * w[row * TILE + lane] * rows;

			if (!(cost <= limit->budget * gate->z[row]))
				lanes |= 1ull << lane;
		}
	}
	return gate->everything ? tile->present : lanes;
}

/* |o_S| <= M bounds it for ABS before anything is read; REL takes it as it is so far. */
static void limits_so_far(struct gate *gate)
{
	for (uint32_t row = 0; row < gate->u->rows; row++)
		gate->limit[row] =
			limit_of(gate, gate->g->criterion == KVSINK_GATE_ABS ? gate->norm_max
									     : output_norm(gate, row));
}

static uint32_t rows_in_hbm(const struct unit *u)
{
	const struct kvsink_rows *rows = &u->task->rows;
	uint32_t count = u->end - u->begin;

	for (const struct kvsink_resident *r = rows->resident; r < rows->resident + rows->residents; r++)
		count -= r->token >= u->begin && r->token < u->end && (r->head_mask >> u->head & 1);
	return count;
}

/* Newest tiles first: after the sinks they have the most attention, which lets more of the others go. */
static void pass(struct gate *gate)
{
	struct unit *u = gate->u;
	double rows = rows_in_hbm(u);
	struct tile tile;
	float *w;

	for (uint32_t end = (u->end + TILE - 1) / TILE * TILE; end > u->begin; end -= TILE) {
		if (!kvsink_tile_at(u, end - TILE, &tile))
			continue;
		w = weigh(gate, &tile);
		limits_so_far(gate);
		read_lanes(gate, &tile, w, too_heavy(gate, &tile, w, rows));
	}
}

/* Of tokens [begin, end) of a page, those in HBM whose V row was read, or was not. */
static struct kvsink_page_lanes lanes_that(const struct gate *gate, uint32_t begin, uint32_t end, bool read)
{
	const struct unit *u = gate->u;
	uint32_t first = begin & ~((1u << u->task->rows.page_shift) - 1);
	struct kvsink_page_lanes lanes = kvsink_page_lanes(&u->task->rows, u->head, begin, end);

	for (uint32_t token = begin; token < end; token++)
		if ((u->read[token / TILE] >> token % TILE & 1) != read)
			lanes.hbm[(token - first) / 64] &= ~(1ull << (token - first) % 64);
	return lanes;
}

/* K rows of a page's tokens [begin, end) that are read a second time, with the scales that they need. */
static void again_page(struct gate *gate, uint32_t begin, uint32_t end)
{
	const struct unit *u = gate->u;
	const struct kvsink_rows *rows = &u->task->rows;
	struct kvsink_page_lanes lanes = lanes_that(gate, begin, end, false);
	struct kvsink_plane k = u->plane[0];
	struct kvsink_read read;

	memset(lanes.coded, 0, sizeof(lanes.coded)); /* what lies in SRAM is not read again */
	if (begin >= rows->sealed)
		k.seal = 0;
	read = kvsink_plane_read(&k, rows->pages[begin >> rows->page_shift], u->head, &lanes,
				 gate->g->burst_bytes);
	gate->k_again.useful += read.useful;
	gate->k_again.bus += read.bus;
}

/* Once for the unit's queries, as in the ledger: rows that one of them sees and whose V is still unread. */
static void note_again(struct gate *gate)
{
	const struct unit *u = gate->u;
	uint32_t page = 1u << u->task->rows.page_shift, begin, next;

	for (begin = u->begin; begin < u->end; begin = next) {
		next = (begin & ~(page - 1)) + page;
		again_page(gate, begin, next < u->end ? next : u->end);
	}
}

/* What was left unread is read after all; its weights are gone, so K is read a second time. */
static void read_rest(struct gate *gate)
{
	struct unit *u = gate->u;
	struct tile tile;
	float *s;

	note_again(gate);
	memset(gate->unread, 0, sizeof(gate->unread));
	memset(gate->unread_norm, 0, sizeof(gate->unread_norm));
	for (uint32_t base = u->begin / TILE * TILE; base < u->end; base += TILE) {
		if (!kvsink_tile_at(u, base, &tile))
			continue;
		tile.present &= ~u->read[base / TILE];
		if (!tile.present)
			continue;
		u->used = 1;
		s = kvsink_tile_logits(u, &tile);
		for (uint32_t row = 0; row < u->rows; row++)
			u->ops->weights(s + row * TILE, u->part[HBM][row].max);
		read_lanes(gate, &tile, s, tile.present);
	}
}

static void run_one_pass(struct gate *gate)
{
	struct unit *u = gate->u;

	u->keep = 1; /* two slots: weights, and those that are read */
	u->used = 0;
	share_max(gate);
	kvsink_sweep_v(u, SRAM);
	for (uint32_t row = 0; row < u->rows; row++) {
		u->seen[SRAM][row] = u->part[SRAM][row].sum;
		gate->z[row] = u->seen[SRAM][row] + gate->sink[row];
	}
	pass(gate);
	if (!certified(gate) && gate->g->certify)
		read_rest(gate);
	u->keep = 0;
}

/* ---- results ---- */

static void certificate(struct gate *gate, uint32_t row)
{
	struct unit *u = gate->u;
	double z = gate->z[row], o = output_norm(gate, row), tau = z > 0.0 ? gate->unread[row] / z : 0.0,
	       bound;

	bound = tau * (gate->norm_max + o);
	if (gate->g->criterion == KVSINK_GATE_REL)
		bound = z > 0.0 ? gate->unread_norm[row] / z + tau * o : 0.0;
	if (gate->unread[row] == 0.0)
		bound = 0.0;
	u->skipped[row] = tau * (1.0 + SLACK);
	u->bound[row] = o < INFINITY ? bound * (1.0 + SLACK) : INFINITY;
}

static void add(uint64_t *to, uint64_t n)
{
	__atomic_fetch_add(to, n, __ATOMIC_RELAXED);
}

/* Once for the unit's queries, as in the ledger: unread rows of open pages that one of them sees. */
static void book_open(const struct gate *gate, const struct tile *tile)
{
	const struct unit *u = gate->u;
	uint32_t bytes = u->task->rows.d_v * kvsink_format_bytes(u->task->rows.format);
	uint64_t unread = tile->present & ~u->read[tile->base / TILE], rows = 0, bus = 0;
	uint32_t sealed = u->task->rows.sealed > tile->base ? u->task->rows.sealed - tile->base : 0;

	for (unread = sealed < TILE ? unread >> sealed << sealed : 0; unread; unread &= unread - 1) {
		uint32_t token = tile->token[__builtin_ctzll(unread)];

		rows++;
		bus += kvsink_bursts(kvsink_tile_v_at(u, token), bytes, gate->g->burst_bytes);
	}
	add(&gate->g->bytes->v_skipped, rows * bytes);
	add(&gate->g->bytes->v_skipped_bus, bus);
}

/* What is saved of a sealed page: all of it, without what is read. Tokens [begin, end) are of the page. */
static void save_sealed(const struct gate *gate, uint32_t begin, uint32_t end)
{
	const struct unit *u = gate->u;
	const struct kvsink_rows *rows = &u->task->rows;
	struct kvsink_page_lanes all = kvsink_page_lanes(rows, u->head, begin, end);
	struct kvsink_page_lanes kept = lanes_that(gate, begin, end, true);
	const uint8_t *page = rows->pages[begin >> rows->page_shift];
	struct kvsink_read before, after;

	if (!memcmp(&all, &kept, sizeof(all)))
		return;
	before = kvsink_plane_read(&u->plane[1], page, u->head, &all, gate->g->burst_bytes);
	after = kvsink_plane_read(&u->plane[1], page, u->head, &kept, gate->g->burst_bytes);
	add(&gate->g->bytes->v_skipped, before.useful - after.useful);
	add(&gate->g->bytes->v_skipped_bus, before.bus - after.bus);
}

static void book_sealed(const struct gate *gate)
{
	const struct unit *u = gate->u;
	const struct kvsink_rows *rows = &u->task->rows;
	uint32_t page = 1u << rows->page_shift, end = u->end < rows->sealed ? u->end : rows->sealed, begin,
		 next;

	for (begin = u->begin; begin < end; begin = next) {
		next = (begin & ~(page - 1)) + page;
		save_sealed(gate, begin, next < end ? next : end);
	}
}

/* M, and under REL the norms of all rows that the unit sees. */
static void book_norms(const struct gate *gate)
{
	const struct unit *u = gate->u;
	const struct kvsink_gating *g = gate->g;
	uint64_t at = g->norms_at + ((uint64_t)u->head * g->norm_stride + u->begin) * sizeof(uint16_t);
	uint64_t bytes = (uint64_t)(u->end - u->begin) * sizeof(uint16_t);
	bool each = g->criterion == KVSINK_GATE_REL;

	add(&g->bytes->norm, sizeof(uint32_t) + (each ? bytes : 0));
	add(&g->bytes->norm_bus, g->burst_bytes + (each ? kvsink_bursts(at, bytes, g->burst_bytes) : 0));
}

static void book(struct gate *gate)
{
	struct unit *u = gate->u;
	struct cursor c = kvsink_tiles(u, HBM);
	struct tile tile;

	while (kvsink_tile_next(u, &c, &tile))
		book_open(gate, &tile);
	book_sealed(gate);
	book_norms(gate);
	add(&gate->g->bytes->k_again, gate->k_again.useful);
	add(&gate->g->bytes->k_again_bus, gate->k_again.bus);
}

/* The score buffer holds the tiles of this unit. */
static bool buffer_holds(const struct unit *u)
{
	return u->used <= u->keep;
}

void kvsink_gate_run(struct unit *u)
{
	const struct kvsink_gating *g = &u->task->gate;
	struct gate gate = {.u = u, .g = g, .norm_max = kvsink_f32_from_bits(g->norm_max[u->head])};

	/* a KV head with more query heads than a unit has rows would need the agreement of several units */
	gate.everything = !(gate.norm_max < INFINITY) || u->heads < u->task->q_heads / u->task->rows.kv_heads;
	memset(u->read + u->begin / TILE, 0, ((u->end - 1) / TILE - u->begin / TILE + 1) * sizeof(*u->read));
	u->used = 0;
	kvsink_sweep_max(u, SRAM);
	if (g->buffer)
		kvsink_sweep_max(u, HBM);
	if (g->buffer && buffer_holds(u)) {
		run_buffered(&gate);
	} else {
		for (uint32_t row = 0; row < u->rows; row++)
			u->part[HBM][row].max = -INFINITY;
		run_one_pass(&gate);
	}
	for (uint32_t row = 0; row < u->rows; row++)
		certificate(&gate, row);
	book(&gate);
}
