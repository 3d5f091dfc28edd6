/* SPDX-License-Identifier: MIT */
/*
 * Chip and model in lockstep: each operation is done to both, random in whatever it is not told, and their
 * answers are compared. Differences are counted and printed; what passes or fails is up to the program.
 */
#ifndef KVSINK_TEST_LOCKSTEP_H
#define KVSINK_TEST_LOCKSTEP_H

#include "harness.h"
#include "reference.h"

struct lockstep {
	struct harness h;
	struct ref ref; /* ref.now is the host time of both */
	struct h_stream streams[REF_STREAMS];
	uint64_t seed;		   /* of everything that is random */
	unsigned long ops;	   /* that were drawn so far, however many commands each took */
	unsigned long differences; /* so far */
	const char *doing;	   /* the operation, for messages */
	unsigned long verdicts;	   /* that were compared */
	unsigned long granted;	   /* entries, by PROMOTE */
	unsigned long committed;   /* rows of replay windows */
	uint64_t broken_told;	   /* contracts that CONTRACT_BROKEN events have named */
};

extern struct lockstep both;

static inline uint32_t below(uint32_t n)
{
	return h_random(&both.seed) % n;
}

/* ---- lockstep.c ------------------------------------------------------------------------------------- */

/* A chip, its model, operands, and places for streams that do not exist yet. */
void lockstep_open(uint64_t seed);
/* Where stream s lies in HBM: it has two places, 0 and 1, of so many bytes. */
#define LOCKSTEP_PLACE_BYTES (512u << 10)
void lockstep_lay_out(unsigned s, unsigned place);
/* Count a difference; the first ten are printed. */
__attribute__((format(printf, 1, 2))) void lockstep_differ(const char *format, ...);

#define SAME(got, want, what)                                                                                \
	do {                                                                                                 \
		unsigned long long got_ = (got), want_ = (want);                                             \
		if (got_ != want_)                                                                           \
			lockstep_differ("%s: chip %llu, model %llu", what, got_, want_);                     \
	} while (0)

/* Let the chip do the job that was built, as the owner of stream s; REF_STREAMS for none. Its code. */
uint32_t lockstep_run(unsigned s);
/* The same as the kernel. */
uint32_t lockstep_run_privileged(void);
/* QUERY the chip: how many records it wrote, which are in `out`. */
uint32_t lockstep_ask(uint32_t what, uint64_t stream, uint32_t group, uint32_t first, uint32_t max, void *out,
		      size_t record);

/* ---- lockstep_look.c -------------------------------------------------------------------------------- */

#define LOCKSTEP_RECORDS (REF_ENTRIES + REF_STREAMS * REF_GROUPS) /* of tags, at most */

void lockstep_glance(void); /* at what every operation may change: for after each */
void lockstep_look(void);   /* at everything, scores and counters of one stream */

/* ---- lockstep_place.c ------------------------------------------------------------------------------- */

void lockstep_promote(unsigned s);
void lockstep_evict(unsigned s);
void lockstep_contract(unsigned s);
void lockstep_verdicts(unsigned s); /* QUERY VERDICTS against what the model's controller would do */
void lockstep_config(unsigned s, uint32_t group, uint32_t param, uint64_t value, bool privileged);
void lockstep_config_any(void); /* of some stream or the device */

/* ---- lockstep_stream.c ------------------------------------------------------------------------------ */

unsigned lockstep_some_stream(void); /* that exists */
void lockstep_newborn(unsigned s);   /* created, with pages and parameters */
void lockstep_map_pages(unsigned s); /* all of them, where it lies */
void lockstep_destroy(unsigned s);
/* One step, or an end of the one that was left open. A stream that is full is destroyed and born again. */
void lockstep_step(unsigned s);
void lockstep_ecc(void); /* at most one injected error at a time */
void lockstep_reset(void);
void lockstep_time_passes(void);

/* An injected error may have struck in this layer: then the model loses the same. */
void lockstep_after_attend(unsigned s, uint32_t layer);
/* APPEND of random rows: its code. */
uint32_t lockstep_append(unsigned s, uint32_t layer, uint32_t first, uint32_t count);

/* ---- lockstep_window.c ------------------------------------------------------------------------------ */

/* A replay window is opened, grows or ends. */
void lockstep_window(unsigned s);
/* It ends now, if one is open; sometimes after a step that is refused. */
void lockstep_window_end(unsigned s);

/* ---- lockstep_swap.c -------------------------------------------------------------------------------- */

/* Out of HBM, or back to its other place: whichever it is not. Sometimes what it is, which is refused. */
void lockstep_swap(unsigned s);
/* A step, or a query, of a stream that is out: refused by the chip. */
void lockstep_refused(unsigned s);

#endif
