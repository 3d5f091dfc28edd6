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
	uint32_t outcome;	   /* code of the operation's own command; LOCKSTEP_NONE without one */
	uint64_t broken_told;	   /* contracts that CONTRACT_BROKEN events have named */
};

/* Of all chips so far, so that the mix can be judged. */
struct lockstep_totals {
	unsigned long verdicts;	 /* that were compared */
	unsigned long granted;	 /* entries, by PROMOTE */
	unsigned long committed; /* rows of replay windows */
	unsigned long rows;	 /* K and V rows in HBM that were compared */
	unsigned long copies;	 /* and in SRAM */
	uint64_t sram_read;	 /* bytes that ATTEND of idle streams found in SRAM */
	uint64_t prefix_read;	 /* of these, from entries of prefixes */
	unsigned long flown, waited,
		overtaken; /* queries in flight; commands that waited; that never began */
	uint64_t saved;	   /* bytes of prefixes that were read once for two queries */
	uint64_t automatic_in, automatic_out, displaced, broken, copied;
};

extern struct lockstep_totals totals;

#define LOCKSTEP_NONE UINT32_MAX

extern struct lockstep both;

static inline uint32_t below(uint32_t n)
{
	return h_random(&both.seed) % n;
}

/* ---- lockstep.c ------------------------------------------------------------------------------------- */

/* A chip, its model, operands, and places for streams that do not exist yet. */
void lockstep_open(uint64_t seed);
void lockstep_close(void);
/* What the chip has counted goes to the totals: before a chip forgets it. */
void lockstep_tally(void);
/* Count a difference; the first ten are printed. */
__attribute__((format(printf, 1, 2))) void lockstep_differ(const char *format, ...);

#define SAME(got, want, what)                                                                                \
	do {                                                                                                 \
		unsigned long long got_ = (got), want_ = (want);                                             \
		if (got_ != want_)                                                                           \
			lockstep_differ("%s: chip %llu, model %llu", what, got_, want_);                     \
	} while (0)

/* The operation's own command has ended so: code and, where it is refused, the address. */
void lockstep_answered(const struct ref_answer *want);
/* Let the chip do the job that was built, as the owner of stream s; REF_STREAMS for none. Its code. */
uint32_t lockstep_run(unsigned s);
/* The same as the kernel. */
uint32_t lockstep_run_privileged(void);
/* QUERY the chip: how many records it wrote, which are in `out`. */
uint32_t lockstep_ask(uint32_t what, uint64_t stream, uint32_t group, uint32_t first, uint32_t max, void *out,
		      size_t record);

/* ---- lockstep_flight.c ------------------------------------------------------------------------------ */

void lockstep_take_off(void);  /* a query is in flight from now on */
void lockstep_land(void);      /* it ends, if there is one */
void lockstep_crash(void);     /* after a reset */
uint32_t lockstep_do(void);    /* h_do() beside it: lands it if the command waits for it */
void lockstep_overtaken(void); /* a command waits for it, and a reset follows */

/* ---- lockstep_hbm.c --------------------------------------------------------------------------------- */

#define LOCKSTEP_PAGE_BYTES (REF_PAGE * REF_LAYERS * 2 * 2 * REF_WIDTH * 4u)

/* HBM is given out and taken back as the driver does it; what is taken back is overwritten at once. */
void lockstep_hbm_reset(void);
void lockstep_take_area(unsigned s); /* page table and score area: streams[s] */
uint64_t lockstep_take_page(unsigned s, uint32_t index);
void lockstep_drop_page(unsigned s, uint32_t index);
void lockstep_drop_all(unsigned s);				    /* that s owns */
void lockstep_pass_pages(unsigned from, unsigned to, uint32_t end); /* those of it before page `end` */
/* Page `index` of s is where `of` has its own; s does not own it. */
void lockstep_same_page(unsigned s, unsigned of, uint32_t index);
uint64_t lockstep_page_at(unsigned s, uint32_t index);
unsigned lockstep_hbm_taken(void);

/* ---- lockstep_look.c -------------------------------------------------------------------------------- */

#define LOCKSTEP_RECORDS (REF_ENTRIES + REF_STREAMS * REF_GROUPS) /* of tags, at most */

void lockstep_glance(void);	  /* at what every operation may change: for after each */
void lockstep_log_begins(void);	  /* of a chip that has logged nothing */
void lockstep_look(void);	  /* at everything else that is state, scores and counters of one stream */
void lockstep_look_closely(void); /* at rows, and all parameters */

/* ---- lockstep_place.c ------------------------------------------------------------------------------- */

void lockstep_promote(unsigned s);
void lockstep_evict(unsigned s);
void lockstep_contract(unsigned s);
void lockstep_verdicts(unsigned s); /* QUERY VERDICTS against what the model's controller would do */
void lockstep_config(unsigned s, uint32_t group, uint32_t param, uint64_t value, bool privileged);
void lockstep_config_any(void); /* of some stream or the device */

/* ---- lockstep_stream.c ------------------------------------------------------------------------------ */

unsigned lockstep_some_stream(void); /* that exists, and is no prefix */
unsigned lockstep_some_holder(void); /* or a prefix */
unsigned lockstep_free_place(void);  /* REF_STREAMS if there is none */
void lockstep_all_places_free(void); /* of a new chip */
uint64_t lockstep_new_id(void);
void lockstep_birth(void);			   /* of a stream, or STREAMS */
void lockstep_newborn(unsigned s);		   /* created, with pages and parameters */
void lockstep_pageless(unsigned s, unsigned like); /* without pages, perhaps with the geometry of another */
void lockstep_map_pages(unsigned s);		   /* all that it lacks */
void lockstep_destroy(unsigned s);		   /* and every prefix that nobody has any more */
void lockstep_kill(void);			   /* a stream; there is always one afterwards */
/* One step, or an end of the one that was left open. A stream that is full is destroyed and born again. */
void lockstep_step(unsigned s);
bool lockstep_ecc_pending(void);
void lockstep_ecc(void); /* at most one injected error at a time */
void lockstep_reset(void);
void lockstep_power_cycle(void); /* or function-level reset: nothing survives */
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

/* ---- lockstep_seal.c -------------------------------------------------------------------------------- */

void lockstep_seal(unsigned s);
void lockstep_import(unsigned s);

/* ---- lockstep_prefix.c ------------------------------------------------------------------------------ */

void lockstep_publish(unsigned s);
void lockstep_attach(void);
void lockstep_fork(unsigned s); /* at any token: published if no prefix has it, then attached */
void lockstep_detach(unsigned s);
void lockstep_closed(void);	       /* a command that would change a prefix */
void lockstep_let_go(void);	       /* a handle of a prefix is closed */
void lockstep_unused(uint32_t prefix); /* index plus one: it ends if nobody has it any more */
void lockstep_end_all(void);	       /* every stream, and every prefix with its last user */
void lockstep_kill_owner(void);	       /* all streams and handles of a tenant at once */
void lockstep_forget(void);	       /* handles and events: nothing has survived */

/* ---- lockstep_share.c ------------------------------------------------------------------------------- */

void lockstep_seen(unsigned s);	   /* what a query finds in SRAM */
void lockstep_cascade(unsigned s); /* its query and that of another that shares its pages */
void lockstep_expect(uint32_t code, uint64_t stream, uint32_t detail); /* an event of prefixes */
void lockstep_same_event(const struct kvsink_event_rec *rec);
void lockstep_all_events_seen(void);
void lockstep_forget_events(void);
void lockstep_look_at_record(unsigned s);
void lockstep_look_at_entry(const struct kvsink_tag_rec *tag, const struct ref_entry *e);
void lockstep_look_at_rows(unsigned s); /* each K and V row in HBM that is no code */

/* ---- lockstep_swap.c -------------------------------------------------------------------------------- */

/* Out of HBM, or back to its other place: whichever it is not. Sometimes what it is, which is refused. */
void lockstep_swap(unsigned s);
/* A step, or a query, of a stream that is out: refused by the chip. */
void lockstep_refused(unsigned s);

#endif
