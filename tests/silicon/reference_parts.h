/* SPDX-License-Identifier: MIT */
/*
 * What the parts of the model (reference_*.c) use of one another; a test includes reference.h. Slow and plain
 * on purpose: no list, no cache, no incremental sum.
 */
#ifndef KVSINK_TEST_REFERENCE_PARTS_H
#define KVSINK_TEST_REFERENCE_PARTS_H

#include <stddef.h>

#include "reference.h"

#define GRANULE KVSINK_SRAM_UNIT
#define ALL_ONES 0xffffffffu

/* ---- reference_budget.c ----------------------------------------------------------------------------- */

/* What is short for a grant, for the choice of victims. */
enum lack { NOTHING, STREAM_BUDGET, DEVICE_BUDGET, CAP, NO_TAG, NO_RANGE };

extern const uint32_t ref_lack_code[]; /* the result code of each */

/* The tenant tag that the stream's bytes count for. */
uint32_t ref_account(const struct ref *r, unsigned s);
/* Of budgets and tags, wherever the bytes may lie. */
enum lack ref_limits(const struct ref *r, unsigned s, uint32_t units, uint32_t tags);
/* Of everything; `unit` receives where a range of that size is free. */
enum lack ref_lacking(const struct ref *r, unsigned s, uint32_t units, bool tag, uint32_t *unit);
/* Units that an entry takes: less if all of its rows are codes. */
uint32_t ref_entry_units(const struct ref_stream *st, const struct kvsink_place_item *item);
/* Units that the rows of so many layers and tokens take, as they are appended. */
uint32_t ref_units_for(const struct ref_stream *st, uint32_t layers, uint64_t heads, uint32_t tokens);

/* ---- reference_tag.c -------------------------------------------------------------------------------- */

uint64_t ref_all_heads(const struct ref_stream *st);
uint32_t ref_group_of(const struct ref_stream *st, uint32_t layer);
uint32_t ref_ema_of(const struct ref *r, const struct ref_entry *e);
/* Has any entry of the token a row of these layers and heads? */
bool ref_resident(const struct ref *r, unsigned s, uint32_t token, uint32_t begin, uint32_t end,
		  uint64_t heads);
/* A new entry, or NULL if it does not fit as things are. */
struct ref_entry *ref_place(struct ref *r, unsigned s, const struct kvsink_place_item *item,
			    const struct ref_terms *terms, bool automatic);
void ref_drop(struct ref *r, struct ref_entry *e);
/* Result code; a dwell without deadline gets the longest one. */
uint32_t ref_check_terms(const struct ref *r, struct ref_terms *terms);

/* ---- reference_promote.c ---------------------------------------------------------------------------- */

/* An entry was made: its token was promoted in this step. */
void ref_note_promotion(struct ref *r, unsigned s, const struct kvsink_place_item *p);

/* ---- reference_window.c ----------------------------------------------------------------------------- */

/* Do the stream's entries and tails stay where they are, whoever wants their place? */
bool ref_pinned(const struct ref *r, unsigned s);

/* ---- reference_seal.c ------------------------------------------------------------------------------- */

/* Bytes from row to row, K and V, of an entry of these rows. */
uint32_t ref_row_bytes(const struct ref_stream *st, uint32_t token, uint32_t begin, uint32_t end,
		       uint64_t heads);

/* ---- reference_tail.c ------------------------------------------------------------------------------- */

/* A new ring for the tail of group g, or the code why there is none; then the old one stays. */
uint32_t ref_set_tail(struct ref *r, unsigned s, uint32_t g, uint32_t tokens);
void ref_drop_tail(struct ref_group *g);
bool ref_in_tail(const struct ref_stream *st, const struct ref_group *g, uint32_t token);
/* The open step is dropped, but has overwritten the oldest tokens. */
void ref_abort_tail(const struct ref_stream *st, struct ref_tail *t);

/* ---- reference_ema.c -------------------------------------------------------------------------------- */

/* The pattern of a binary32 from 0 to 1, in units of 2^-32. */
uint64_t ref_bits_q32(uint64_t pattern);
/* E with which the first observed step of a group begins: what the prompt's queries have put on the token. */
uint32_t ref_seed(const struct ref_stream *st, const struct ref_group *g, uint32_t token);
/* E, runs and sinks of a group, at the end of an observed step. */
void ref_update_group(struct ref_stream *st, struct ref_group *g, const uint64_t *mass);

/* ---- reference_place.c ------------------------------------------------------------------------------ */

/* What the controller evicts and promotes by itself at the end of a step, until one is refused; noted in
 * `log` unless that is NULL. */
void ref_place_sinks(struct ref *r, unsigned s, struct ref_verdicts *log);

#endif
