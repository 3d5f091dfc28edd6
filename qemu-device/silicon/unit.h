/* SPDX-License-Identifier: MIT */
/*
 * What the files of the datapath share while they work on a unit: tile.c walks its rows, attend.c sweeps
 * over them, gate.c chooses which V rows of HBM a gated unit reads.
 */
#ifndef KVSINK_UNIT_H
#define KVSINK_UNIT_H

#include <stdbool.h>

#include "datapath.h"
#include "fp.h"
#include "vec.h"

#define TILE KVSINK_TILE
#define ROWS KVSINK_UNIT_ROWS
#define STRIDE KVSINK_ROW_STRIDE
#define TILE_AHEAD 24 /* rows that are fetched early: about as many lines as a core of today can wait for */
#define TIERS 2

/* Which rows a sweep takes. Partial sums exist for the first two; MIXED (canonical mode) uses those of HBM.
 */
enum tier { SRAM, HBM, MIXED };

/* Up to 64 tokens of one partition, ascending; a lane that is not present is never read. */
struct tile {
	uint64_t present; /* lanes */
	uint64_t sram;	  /* lanes whose rows lie in SRAM */
	uint32_t base;	  /* HBM, MIXED: token of lane 0 */
	uint32_t lanes;	  /* tokens listed below */
	uint32_t token[TILE];
	uint32_t resident[TILE]; /* of lanes in SRAM: which one */
	/* K or V, whichever kvsink_tile_rows() looked up last; behind them what the next tile begins with, or
	 * zeros */
	struct kvsink_row row[TILE + TILE_AHEAD];
};

/* Place in a partition. */
struct cursor {
	enum tier tier;
	uint32_t next;	   /* HBM, MIXED: first token of the next tile */
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
	struct kvsink_plane plane[2]; /* K, V */
	uint32_t head;		      /* KV head */
	uint32_t q_head, heads;	      /* query heads of the unit: [q_head, q_head + heads) */
	uint32_t query, queries;      /* queries of the unit: [query, query + queries) */
	uint32_t rows;		      /* heads * queries; row = query in unit * heads + head in unit */
	uint32_t begin, end;	      /* tokens that some query sees */
	double *q;		      /* [ROWS][STRIDE] */
	double *acc[TIERS];	      /* [ROWS][STRIDE]: O times its sum of weights */
	double *k;		      /* [KVSINK_K_ROWS][STRIDE]: K rows in binary64 */
	float *f32;		      /* [TILE][STRIDE]: V rows in binary32 */
	float *logits;		      /* slots of tiles that are kept, then one that is not */
	uint32_t slot;	/* floats of a slot: [rows][TILE], and in gated units a key for each lane */
	uint32_t keep;	/* tiles that can be kept */
	uint32_t used;	/* tiles seen in this sweep */
	double *bins;	/* gate.c: [2][KVSINK_GATE_BINS][ROWS] */
	uint64_t *read; /* gate.c: lanes of each tile of 64 tokens whose V row was read */
	struct partial part[TIERS][ROWS];
	double seen[TIERS][ROWS]; /* MIXED, GATED: sum of weights by tier, of all rows that K was read of */
	double bound[ROWS];	  /* GATED: certificate */
	double skipped[ROWS];	  /* GATED: share of the attention on unread V rows, at least */
};

static inline uint32_t first_visible(const struct kvsink_attend_task *task, uint32_t token)
{
	return task->window && token >= task->window ? token - task->window + 1 : 0;
}

static inline uint32_t row_token(const struct unit *u, uint32_t row)
{
	return u->task->first + u->query + row / u->heads;
}

static inline uint32_t query_head(const struct unit *u, uint32_t row)
{
	return u->q_head + row % u->heads;
}

/* Logit of the row's learned sink, -inf if it has none. */
static inline float sink_logit(const struct unit *u, uint32_t row)
{
	return u->task->heads ? u->task->heads[u->task->q_heads + query_head(u, row)] : -INFINITY;
}

static inline uint32_t padded(uint32_t d)
{
	return (d + 15) & ~15u;
}

static inline uint32_t padded64(uint32_t d)
{
	return (d + 7) & ~7u;
}

static inline struct partial *part_of(struct unit *u, enum tier tier)
{
	return u->part[tier == SRAM ? SRAM : HBM];
}

static inline double *acc_of(const struct unit *u, enum tier tier)
{
	return u->acc[tier == SRAM ? SRAM : HBM];
}

/* ---- tile.c ---- */

/* The beginning of a partition. */
struct cursor kvsink_tiles(const struct unit *u, enum tier tier);
/* The next tile in which something is visible; counts u->used. */
bool kvsink_tile_next(struct unit *u, struct cursor *c, struct tile *tile);
/* The tile of HBM rows that begins at token `base`, a multiple of 64; false if nothing of it is visible. */
bool kvsink_tile_at(const struct unit *u, uint32_t base, struct tile *tile);
/* HBM: offset of a token's V row in its page, which is open. */
uint64_t kvsink_tile_v_at(const struct unit *u, uint32_t token);
/* Lanes that the query of a row sees: [*begin, *end). */
void kvsink_tile_lanes(const struct unit *u, const struct tile *tile, uint32_t row, uint32_t *begin,
		       uint32_t *end);
/* Lanes whose token is below `token`: they are the first ones. */
uint32_t kvsink_tile_below(const struct tile *tile, uint32_t token);
/*
 * tile->row = where the K rows (V rows if `v`) of `lanes` are; other lanes get a row of zeros. Returns bit f
 * for each format f among them.
 */
uint32_t kvsink_tile_rows(const struct unit *u, struct tile *tile, bool v, uint64_t lanes);
/* Fetches what a loop over tile->row will come to: their addresses follow no pattern that a CPU would guess.
 */
static inline void kvsink_tile_fetch(const struct tile *tile, uint32_t lane, uint32_t row_bytes)
{
	uint32_t lines = (row_bytes + 63) / 64;
	const uint8_t *data = tile->row[lane + (lines < TILE_AHEAD ? TILE_AHEAD / lines : 1)].data;

	for (uint32_t i = 0; i < lines; i++)
		__builtin_prefetch(data + (size_t)i * 64);
}

/* u->f32 = tile->row in binary32, padded with zeros to a multiple of 16 elements. */
void kvsink_tile_f32(const struct unit *u, const struct tile *tile, uint32_t d);

/* ---- attend.c ---- */

/* Where the logits, then the weights, of the current tile are kept, if kvsink_kept(). */
float *kvsink_tile_slot(const struct unit *u);
bool kvsink_kept(const struct unit *u);
/* Logits of the rows of a tile into its slot; what a row does not see is -inf. */
float *kvsink_tile_logits(const struct unit *u, struct tile *tile);
/* The maximum of each row's logits, and the tiles' logits as far as they are kept. */
void kvsink_sweep_max(struct unit *u, enum tier tier);
/* Weights, their sum and V of a partition. */
void kvsink_sweep_v(struct unit *u, enum tier tier);
/* acc += weights p times the V rows of `lanes`; p is 0 in other lanes. */
void kvsink_add_v(const struct unit *u, struct tile *tile, uint64_t lanes, const float *p, double *acc);

/* ---- gate.c ---- */

/* A gated unit from its logits to sums, accumulated V, bounds and bytes. */
void kvsink_gate_run(struct unit *u);

#endif
