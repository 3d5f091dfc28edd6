/* SPDX-License-Identifier: MIT */
/*
 * kvsink-bench model: replays the Q, K and V of a real decode through a device, once for each placement
 * policy and size of SRAM, and reports what was read from where.
 *
 * Routing is exact, so placement changes neither attention nor what the model would do next: the rows of one
 * recording (a state file of kvsink-llm) serve every policy. Mass, bytes and times are the device's own
 * counters of the stream; docs/bench.md says what each figure means.
 */
#ifndef KVSINK_BENCH_H
#define KVSINK_BENCH_H

#include <kvsink.h>
#include <kvsink_policy.h>
#include <stdbool.h>
#include <stdint.h>

#include "state.h"

#define BENCH_GROUPS 8 /* score groups of equal size */

/* What is replayed. */
struct bench_plan {
	const struct state *state;     /* with its layers loaded */
	uint32_t prompt;	       /* tokens that are scored before decode begins */
	uint32_t steps;		       /* tokens decoded, one a step */
	uint32_t format;	       /* enum kvsink_format of the stored rows */
	uint64_t compute_ns;	       /* modelled time between the attention of two layers */
	uint32_t due_ns;	       /* modelled time for the copies of a step's promotions; 0: at once */
	uint64_t seed;		       /* of policies that draw */
	struct drm_kvsink_place *pins; /* for hindsight, best first; NULL while nobody asked */
	unsigned pin_count;
};

/* One run of one policy. */
struct bench_run {
	const char *policy;
	uint32_t sram_bytes;
	int32_t tail; /* as kvs_policy_options.tail_tokens; after the run the tokens that it had */
	uint64_t placed[KVSINK_COUNTER_COUNT]; /* ledger from the end of the prompt on */
	uint64_t decode[KVSINK_COUNTER_COUNT]; /* from the first decode step on */
	uint32_t entries;		       /* in the tag array in the end */
	uint32_t sram_used;		       /* by entries and tails in the end */
};

/* bench_replay - one run on a device; -1 with a line printed, 1 if the policy cannot have that tail */
int bench_replay(struct kvs_device *device, const struct bench_plan *plan, struct bench_run *run);
/* bench_observe - attention of all decode queries on each token, all layers and heads: double[prompt + steps]
 */
int bench_observe(struct kvs_device *device, const struct bench_plan *plan, double *mass);
/* bench_pins - the tokens with most of it, as places for hindsight */
int bench_pins(struct kvs_device *device, struct bench_plan *plan);

/* bench_table, bench_json - all runs, in order */
int bench_table(const struct bench_plan *plan, const struct bench_run *runs, unsigned count);
int bench_json(const struct bench_plan *plan, const struct bench_run *runs, unsigned count, const char *path);

/* Shares and means, for both printers. */
double bench_mass(const struct bench_run *run);	    /* attention mass served from SRAM */
double bench_hit_rate(const struct bench_run *run); /* K and V bytes read from SRAM, of all */
double bench_per_step(const struct bench_plan *plan, const struct bench_run *run,
		      enum kvsink_counter counter);

#endif
