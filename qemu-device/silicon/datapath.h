/* SPDX-License-Identifier: MIT */
/*
 * The datapath: QK^T, softmax and V over rows in two tiers, LSE merge, score accumulation.
 *
 * Pure arithmetic on memory that the control side resolved, bounds-checked and locked before: no chip,
 * no allocation, no I/O. Deterministic: virtual lanes (vec.h), no fused multiply-add, fixed reduction trees,
 * our own exp, integer accumulation of scores and mass: every SIMD level and every split into parts
 * gives the same bits.
 */
#ifndef KVSINK_DATAPATH_H
#define KVSINK_DATAPATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kvsink_hw.h"

/* A resident token, for one layer: its rows lie in SRAM by rank of the KV head in `head_mask`. */
struct kvsink_resident {
	uint64_t head_mask;  /* KV heads of the entry */
	uint64_t coded;	     /* those whose row is codes: K codes, their own scales, V codes, theirs */
	const uint8_t *rows; /* of the first head in the mask: K row, then V row */
	uint32_t token;
	uint32_t pitch; /* bytes from head to head */
};

/* One layer of one stream, as the tag array and the page table see it now. */
struct kvsink_rows {
	uint32_t format; /* enum kvsink_format */
	uint32_t flags;	 /* of the stream: KVSINK_STREAM_V_IN_K decides where V is */
	uint32_t kv_heads, d_k, d_v;
	uint32_t page_shift;	 /* log2 of tokens a page */
	uint32_t sealed;	 /* tokens in sealed pages */
	uint32_t seal_k, seal_v; /* their formats; 0 = the plane is as it was appended */
	/* of this layer's planes inside a page: [token in page][kv head][element], or sealed */
	uint64_t k_offset, v_offset;
	const uint8_t *const *pages;		/* address of each page in HBM */
	const struct kvsink_resident *resident; /* valid entries that cover this layer; token ascending;
						 * several entries of one token have disjoint masks */
	uint32_t residents;
};

#define KVSINK_PAGE_WORDS (KVSINK_MAX_PAGE_TOKENS / 64)

/* The K or V plane of a layer: what it takes to find a row. */
struct kvsink_plane {
	uint64_t offset; /* of the plane in a page */
	uint32_t format; /* of rows as they were appended */
	uint32_t seal;	 /* of sealed ones; 0 = they stay as they are */
	uint32_t kv_heads, tokens;
	uint32_t row_bytes;		  /* of one row as it was appended */
	uint32_t coded_bytes;		  /* of one as it is promoted once sealed: codes and its own scales */
	bool channel;			  /* scales belong to the page */
	uint32_t code_bytes, scale_bytes; /* of one sealed row */
	uint32_t bitmap_at, rows_at, room; /* in a head's region; protected rows that it holds */
};

/* What gated mode wants of a task, and what it knows of its V rows beforehand. */
struct kvsink_gating {
	uint32_t criterion;		 /* enum kvsink_gate */
	float epsilon;			 /* in (0, 1) */
	bool buffer;			 /* V rows are chosen when all logits are known; else in one pass */
	bool certify;			 /* read on where the criterion could not be certified */
	const uint32_t *norm_max;	 /* binary32 patterns [kv_heads]: no V row of the layer is longer */
	const uint16_t *norms;		 /* binary16 [kv_heads][norm_stride] by token, rounded up */
	uint32_t norm_stride;		 /* tokens */
	uint64_t norms_at;		 /* HBM offset of norms */
	uint32_t burst_bytes;		 /* of HBM */
	struct kvsink_gate_bytes *bytes; /* added to atomically; not NULL */
};

/* What gating changes of a task's bytes in HBM. */
struct kvsink_gate_bytes {
	uint64_t v_skipped, v_skipped_bus; /* V rows that were left unread */
	uint64_t norm, norm_bus;	   /* norms that were read */
	uint64_t k_again, k_again_bus;	   /* K rows that were read a second time */
};

/* Queries of one (stream, layer): query i stands at token first + i. */
struct kvsink_attend_task {
	struct kvsink_rows rows;
	uint32_t q_heads;
	uint32_t first, count;
	float scale, softcap;
	uint32_t window;		  /* 0 = none */
	const float *heads;		  /* slopes, then sink logits, [q_heads] each; or NULL */
	uint32_t mode;			  /* enum kvsink_attend_mode */
	struct kvsink_gating gate;	  /* GATED */
	const float *q;			  /* [count][q_heads][d_k] */
	float *out;			  /* [count][q_heads][d_v] */
	struct kvsink_attend_stat *stats; /* [count][q_heads] or NULL */
	/*
	 * Sums of attention, units of 2^-32, each or NULL; added atomically to what is there. Query i counts
	 * for token t if t <= first + i - local_window. They come out of the pass over K that is made anyway.
	 */
	uint64_t *score;	/* [first + count], all heads: SCORE */
	uint64_t *mass;		/* [kv_heads][first + count] */
	uint64_t *observed;	/* [first + count], all heads, of queries at observe_first and later */
	const uint64_t *sinks;	/* bit t % 64 of word t / 64: token t is a sink */
	uint64_t *sink_mass;	/* [kv_heads], on sinks; not NULL if sinks is not */
	uint32_t observe_first; /* token */
	/* not 0: each of those queries has so many tokens of `observed`, and kv_heads sums of `sink_mass`, to
	 * itself; others have none */
	uint32_t observe_pitch;
	uint32_t local_window; /* at least 1 in RAW mode */
	uint32_t read_already; /* for the ledger: tokens below are read once for this and an earlier task */
	/* results, added atomically (2^-32 units and row bytes) */
	uint64_t *mass_sram; /* may be NULL */
	/* set by another thread: end early, nobody wants the results; may be NULL */
	const bool *cancelled;
};

static inline bool kvsink_cancelled(const struct kvsink_attend_task *task)
{
	return task->cancelled && __atomic_load_n(task->cancelled, __ATOMIC_RELAXED);
}

/*
 * The part-th of `parts` shares of the work: units are (block of queries, KV head), handed out round robin.
 * `scratch` holds KVSINK_SCRATCH_FLOATS floats, whatever the context, and belongs to this part.
 */
void kvsink_attend_part(const struct kvsink_attend_task *tasks, unsigned count, unsigned part, unsigned parts,
			float *scratch);

/* Queries of a block of the task, see KVSINK_BLOCK_ROWS. */
uint32_t kvsink_block_queries(const struct kvsink_attend_task *task);

/* A unit's rows (query times query head) and the logits it keeps between its sweeps. */
#define KVSINK_UNIT_ROWS KVSINK_BLOCK_ROWS
#define KVSINK_UNIT_LOGITS (KVSINK_UNIT_ROWS * 64 * 64)

#define KVSINK_GATE_BINS 512 /* of keys: a binary32 in [0, 1] by exponent and two bits */

/*
 * Four K rows (binary64), queries and two outputs (binary64), a tile of V rows; logits; bins of two sums
 * (binary64), a bit for each token; alignment.
 */
#define KVSINK_SCRATCH_FLOATS                                                                                \
	((size_t)(2 * 4 + 6 * KVSINK_UNIT_ROWS + 64) * KVSINK_MAX_HEAD_DIM + KVSINK_UNIT_LOGITS +            \
	 4 * KVSINK_GATE_BINS * KVSINK_UNIT_ROWS + KVSINK_MAX_TOKENS / 32 + 16)

/* ---- planes: rows as they are stored ---- */

/* A row: elements, or codes and what they are multiplied with. */
struct kvsink_row {
	const uint8_t *data, *scales;
	uint32_t format;
};

struct kvsink_plane kvsink_plane(const struct kvsink_rows *rows, bool v);
/* Where a head's region of a sealed page begins. */
uint64_t kvsink_plane_region(const struct kvsink_plane *p, uint32_t head);
/* Is the token of a sealed page protected? */
bool kvsink_plane_protects(const struct kvsink_plane *p, const uint8_t *page, uint32_t head, uint32_t slot);
/* The row of a page's token. */
struct kvsink_row kvsink_plane_row(const struct kvsink_plane *p, const uint8_t *page, uint32_t head,
				   uint32_t slot, bool sealed);
/* kvsink_plane_row() of `count` tokens of a page, sealed or not; their formats by bit. */
uint32_t kvsink_plane_rows(const struct kvsink_plane *p, const uint8_t *page, uint32_t head, uint32_t slot,
			   uint32_t count, bool sealed, struct kvsink_row *rows);
/* The codes of a token, whether or not it is protected. */
struct kvsink_row kvsink_plane_coded(const struct kvsink_plane *p, const uint8_t *page, uint32_t head,
				     uint32_t slot);
/* A resident's row of a head that it has; `plane` is K's, then V's. */
struct kvsink_row kvsink_resident_row(const struct kvsink_rows *rows, const struct kvsink_plane plane[2],
				      const struct kvsink_resident *r, uint32_t head, bool v);
const uint8_t *kvsink_resident_at(const struct kvsink_resident *r, uint32_t head);
uint32_t kvsink_resident_bytes(const struct kvsink_plane plane[2], const struct kvsink_resident *r,
			       uint32_t head);

static inline uint64_t kvsink_bursts(uint64_t at, uint64_t bytes, uint32_t burst)
{
	return bytes ? ((at + bytes - 1) / burst - at / burst + 1) * burst : 0;
}

/* Tokens of a page, for one head: those that are read from HBM, and residents that are codes. */
struct kvsink_page_lanes {
	uint64_t hbm[KVSINK_PAGE_WORDS], coded[KVSINK_PAGE_WORDS];
};
/* Tokens [begin, end) lie in one page. */
struct kvsink_page_lanes kvsink_page_lanes(const struct kvsink_rows *rows, uint32_t head, uint32_t begin,
					   uint32_t end);
/*
 * What one query reads of a sealed page's plane for one head. Codes by the bursts that they touch, protected
 * rows each by itself, scales and bitmap once if anything needs them: rows in HBM do, and residents whose
 * scales belong to the page.
 */
struct kvsink_read {
	uint64_t useful, bus;
};
struct kvsink_read kvsink_plane_read(const struct kvsink_plane *p, const uint8_t *page, uint32_t head,
				     const struct kvsink_page_lanes *lanes, uint32_t burst);

/* ---- merge: partial states (O, lse), kv-math section 2 ---- */

/* o[n], lse become the merge of (o, lse) and (o2, lse2). Both empty: lse = -inf, o = 0. */
void kvsink_merge(float *o, float *lse, const float *o2, float lse2, unsigned n);

/* ---- formats ---- */

/* Of formats that can be appended: store rounds to nearest even, load is exact. */
void kvsink_format_store(uint32_t format, void *row, const float *src, unsigned n);
void kvsink_format_load(uint32_t format, float *dst, const void *row, unsigned n);
/* Store, but an element that is not finite, or too large for the format, becomes NaN: an infinity would pass
 * for a row that is not visible (q.k = -inf), or for the end of a soft cap. */
void kvsink_format_append(uint32_t format, void *row, const float *src, unsigned n);

/* Rows of one KV head in one page that become codes; codes and scales are zero before. */
struct kvsink_seal_job {
	uint8_t *codes, *scales;
	const float *src;      /* [tokens][d] */
	const uint64_t *leave; /* bit t: token t stays as it is, and counts for no grid */
	unsigned tokens, d;
};
void kvsink_format_seal(uint32_t format, const struct kvsink_seal_job *job);

/* A row's n elements in binary32: exactly what is stored. */
void kvsink_row_load(const struct kvsink_row *row, float *dst, unsigned n);

/* The smallest binary16 that is not below x >= 0; infinity for what is larger, and NaN. */
uint16_t kvsink_norm_round_up(double x);

/* ---- scores and classification (kv-math section 1) ---- */

struct kvsink_score_view {
	const uint64_t *sum; /* [tokens], units of 2^-32 */
	uint32_t tokens;     /* tokens that have a score: [0, tokens) */
	uint32_t scored;     /* queries scored in each layer of the group */
	uint32_t layers;     /* layers of the group */
	uint32_t q_heads;
	uint32_t local_window;
	uint32_t mode; /* enum kvsink_score_mode */
	const uint32_t
		*windows; /* sliding window of each layer of the group, 0 = none; NULL = none has one */
	const uint32_t *weights; /* of each layer of the group, units of 2^-16; NULL = all 1 */
};

/* The first query whose attention on the token counts. */
uint64_t kvsink_first_observer(const struct kvsink_score_view *view, uint32_t token);
/* Queries of one layer (without a sliding window) that could see token t outside its local window. */
uint32_t kvsink_observers(const struct kvsink_score_view *view, uint32_t token);
/* Query heads of all layers that could see it, times the layers' weights, units of 2^-16. */
uint64_t kvsink_observations(const struct kvsink_score_view *view, uint32_t token);
/* Mean attention, units of 2^-32, rounded down and below 1: mass in 2^-32 over observations in 2^-16, not 0.
 */
uint32_t kvsink_mean_q32(uint64_t mass, uint64_t observations);
/* The score in the view's mode; `max` is the greatest sum of the view (REL), from kvsink_score_max(). */
float kvsink_score_value(const struct kvsink_score_view *view, uint32_t token, uint64_t max);
uint64_t kvsink_score_max(const struct kvsink_score_view *view);
/*
 * The threshold comparator: is a value, exact in binary64, at least a threshold, a non-negative binary32
 * pattern? Everything that makes or ends a sink asks it: CLASSIFY with a score, STEP_END with an EMA.
 */
int kvsink_reaches(double value, uint32_t threshold);
/* Enough queries have seen the token in at least one layer of the group. */
int kvsink_eligible(const struct kvsink_score_view *view, uint32_t token);
/* Eligible, and its score reaches t_sink. */
int kvsink_is_sink(const struct kvsink_score_view *view, uint32_t token, uint64_t max, uint32_t t_sink);
/* Hysteresis: what becomes of a state (run in bits 0..15, KVSINK_STATE_SINK) when the EMA, units of 2^-32, is
 * this. */
struct kvsink_hysteresis {
	uint32_t t_promote, t_evict; /* binary32 patterns */
	uint32_t n_promote, n_evict; /* steps in a row, at least 1 */
};
#define KVSINK_STATE_SINK 0x10000u
uint32_t kvsink_next_state(const struct kvsink_hysteresis *h, uint32_t state, uint32_t ema);

/* SIMD levels, for tests: name of level i or NULL; force one (0 = ok, -1 = the CPU lacks it); -1 = best. */
const char *kvsink_simd_name(int level);
int kvsink_simd_force(int level);

#endif
