/* SPDX-License-Identifier: MIT */
/*
 * An independent model of the placement controller's state: written from kvsink_hw.h, kv-math and docs
 * alone, with the plainest data structures, to be compared with the chip after every command.
 *
 * It knows rows by number alone and no modelled time: the attention mass of a step comes from the test, and
 * whether a copy has ended is not its business. Everything else of residency is: grants and their addresses,
 * refusals, contracts, displacement, EMA, comparator, automatic placement, tails, budgets, windows, prefixes.
 */
#ifndef KVSINK_TEST_REFERENCE_H
#define KVSINK_TEST_REFERENCE_H

#include <stdbool.h>
#include <stdint.h>

#include "kvsink_hw.h"

#define REF_STREAMS 10 /* and prefixes, which take a stream's place */
#define REF_GROUPS 2
#define REF_LAYERS 3
#define REF_TOKENS 48
#define REF_PAGE 8 /* tokens */
#define REF_PAGES (REF_TOKENS / REF_PAGE)
#define REF_ENTRIES 64 /* at least as many as the chip has tags */
#define REF_UNITS 256  /* of SRAM */
#define REF_WIDTH 64   /* of a K or V row, elements of binary32 */

struct ref_entry {
	bool used;
	uint32_t stream; /* index */
	uint32_t token, begin, end;
	uint64_t heads;
	uint32_t unit, units; /* its range of SRAM */
	uint32_t generation;
	uint32_t since, dwell, priority;
	uint64_t deadline;
	bool automatic;
};

struct ref_tail {
	uint32_t tokens, from;
	uint32_t unit, units;
	uint64_t heads;
	uint32_t begin, end; /* layers */
	uint64_t deadline;
};

struct ref_group {
	uint32_t begin, end;
	uint64_t params[KVSINK_PARAM_COUNT];
	uint64_t sum[REF_TOKENS]; /* of SCORE_IMPORT */
	bool seeded;
	uint32_t ema[REF_TOKENS];
	uint32_t run[REF_TOKENS];
	bool sink[REF_TOKENS];
	uint32_t promoted[REF_TOKENS];
	struct ref_tail tail;
};

/* A replay window: rows and queries on trial. */
struct ref_window {
	uint32_t tokens; /* 0 = none is open */
	uint32_t rows[REF_LAYERS];
	bool seen[REF_LAYERS][REF_TOKENS]; /* queries of its rows */
	uint64_t since;
};

struct ref_stream {
	bool used;
	uint64_t id;
	uint32_t tenant;
	uint32_t layers, q_heads, kv_heads, row_bytes, max_tokens;
	uint32_t groups;
	struct ref_group group[REF_GROUPS];
	uint32_t length;
	uint32_t appended[REF_LAYERS];			       /* rows of the open step */
	uint32_t window[REF_LAYERS];			       /* sliding, 0 = none */
	uint32_t first_seen[REF_LAYERS], end_seen[REF_LAYERS]; /* observed queries of it */
	uint32_t weight[REF_LAYERS];
	bool swapped;			      /* out of HBM: no rows, no scores, no steps */
	uint32_t mapped;		      /* pages */
	uint16_t row[REF_LAYERS][REF_TOKENS]; /* which of the test's rows it is */
	uint32_t scored[REF_LAYERS];	      /* queries of the prompt */
	bool seals;			      /* to INT8, K and V */
	uint32_t sealed;		      /* tokens */
	uint8_t kept[REF_LAYERS][REF_TOKENS]; /* heads whose rows a sealed page keeps as they were */
	bool closed;			      /* a prefix */
	uint64_t key[2];
	uint32_t prefix; /* that it begins with: index plus one, 0 = none */
	uint32_t shared; /* tokens of it */
	uint32_t own_page;
	struct ref_window replay;
	uint64_t broken, displaced, promotions, evictions, automatic_in, automatic_out,
		refusals; /* counters */
};

struct ref {
	uint32_t units, tags;
	uint64_t now; /* host time */
	uint64_t params[KVSINK_PARAM_COUNT];
	uint64_t prefix_copy; /* K and V bytes that PREFIX commands have copied */
	uint32_t generation;  /* of the last grant */
	uint32_t plan_from;   /* that, when the plan under way began: it replaces nothing that it has made
				 itself */
	struct ref_stream stream[REF_STREAMS];
	struct ref_entry entry[REF_ENTRIES];
};

/* What a command answers. */
struct ref_answer {
	uint32_t code;
	uint64_t address; /* if refused, where the header says what it is; else all ones */
	uint32_t bytes, generation, count,
		ended; /* as result[0..3] of PROMOTE; count also for EVICT and CONTRACT */
};

/* What the controller would do, in order. */
struct ref_verdicts {
	struct kvsink_verdict_rec rec[REF_ENTRIES + KVSINK_MAX_STEP_PROMOTIONS];
	uint32_t count;
};

struct ref_terms {
	uint32_t dwell, priority;
	uint64_t deadline;
	bool partial;
};

void ref_init(struct ref *r, uint32_t sram_bytes, uint32_t tags);
struct ref_stream *ref_create(struct ref *r, unsigned index, uint64_t id, uint32_t tenant);
struct ref_answer ref_destroy(struct ref *r, unsigned index);
void ref_reset(struct ref *r); /* engine reset */

struct ref_answer ref_promote(struct ref *r, unsigned s, const struct kvsink_place_item *items,
			      uint32_t count, const struct ref_terms *terms);
struct ref_answer ref_evict(struct ref *r, unsigned s, const struct kvsink_place_item *items, uint32_t count);
struct ref_answer ref_contract(struct ref *r, unsigned s, const struct kvsink_place_item *items,
			       uint32_t count, const struct ref_terms *terms);
/* E in the records is in units of 2^-32 */
void ref_verdicts(const struct ref *r, unsigned s, struct ref_verdicts *out);
/* stream ~0 = the device */
uint32_t ref_config(struct ref *r, unsigned s, uint32_t group, uint32_t param, uint64_t value,
		    bool privileged);

void ref_append(struct ref *r, unsigned s, uint32_t layer, uint32_t count);
void ref_attend(struct ref *r, unsigned s, uint32_t layer, uint32_t first, uint32_t count);
/* mass[g][t]: the plane `mass` of the chip before the step ends */
void ref_step_end(struct ref *r, unsigned s, uint32_t count, const uint64_t *const *mass);
void ref_step_abort(struct ref *r, unsigned s);
/* What SWAP_OUT, behind a BARRIER, and SWAP_IN of the right image answer. */
uint32_t ref_swap_out(struct ref *r, unsigned s);
uint32_t ref_swap_in(struct ref *r, unsigned s);
/* mass[i][g][t] of COMMIT: attention of the query at row i, as it lies in the chip's journal */
uint32_t ref_window_begin(struct ref *r, unsigned s, uint32_t tokens);
uint32_t ref_window_append(struct ref *r, unsigned s, uint32_t layer, uint32_t count);
void ref_window_attend(struct ref *r, unsigned s, uint32_t layer, uint32_t first, uint32_t count);
uint32_t ref_window_commit(struct ref *r, unsigned s, uint32_t count,
			   const uint64_t *const mass[][REF_GROUPS]);
/* sums[t], units of 2^-32 */
uint32_t ref_import(struct ref *r, unsigned s, uint32_t group, uint32_t count, const uint64_t *sums);
struct ref_answer ref_seal(struct ref *r, unsigned s, const struct kvsink_place_item *keep, uint32_t count,
			   uint32_t tokens);

/* What a PREFIX command says, as far as the model cares. */
struct ref_prefix {
	uint64_t id;	 /* of the new one */
	unsigned at;	 /* its index: a free one, REF_STREAMS if there is none; ATTACH: which */
	bool taken;	 /* the id is that of another stream */
	bool page;	 /* a page is given for part of one */
	uint32_t tokens; /* that are to be shared */
	uint64_t key[2];
};

struct ref_answer ref_publish(struct ref *r, unsigned s, const struct ref_prefix *new);
struct ref_answer ref_attach(struct ref *r, unsigned s, const struct ref_prefix *old);
struct ref_answer ref_detach(struct ref *r, unsigned s, uint32_t first_page, uint32_t count);
uint32_t ref_users(const struct ref *r, unsigned s); /* streams and prefixes that begin with it */
/* Whose entries serve reads of a token of stream s. */
unsigned ref_holder(const struct ref *r, unsigned s, uint32_t token);
/* Whole pages at the beginning of both that are the same memory. */
uint32_t ref_common_pages(const struct ref *r, unsigned a, unsigned b);
/* K and V bytes that a query at `token` of an idle stream reads from SRAM, all copies ended. */
uint64_t ref_sram_bytes(const struct ref *r, unsigned s, uint32_t layer, uint32_t token);

/* an uncorrectable error in the first valid entry of a layer, as the chip reports it */
void ref_lose(struct ref *r, uint32_t generation);
void ref_lose_tail(struct ref *r, unsigned s, uint32_t group);

bool ref_in_force(const struct ref *r, const struct ref_entry *e);
uint32_t ref_used_units(const struct ref *r);

#endif
