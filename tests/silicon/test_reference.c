// SPDX-License-Identifier: MIT
/*
 * One million random operations on the chip and on the independent model of reference.h, compared after every
 * one of them: answers, granted bytes, entries; and often everything else that either of them knows. What is
 * drawn is an operation, whatever number of commands it takes: a step is some ten of them.
 *
 * What no comparison with a model can show is checked on the chip alone: a budget is never exceeded, a
 * contract that was in force has either been ended by its owner or has an event, and nothing is left at the
 * end. KVSINK_OPS and KVSINK_SEED change the number of operations and the sequence.
 */
#include <stdio.h>

#include "lockstep.h"
#include "tap.h"

#define OPS 1000000u
#define LOOK_EVERY 32 /* operations between two looks at everything */

#define KINDS(X)                                                                                             \
	X(STEP, 400, "step", lockstep_step(lockstep_some_stream()))                                          \
	X(PROMOTE, 800, "promote", lockstep_promote(lockstep_some_stream()))                                 \
	X(EVICT, 250, "evict", lockstep_evict(lockstep_some_stream()))                                       \
	X(CONTRACT, 300, "contract", lockstep_contract(lockstep_some_stream()))                              \
	X(VERDICTS, 150, "verdicts", lockstep_verdicts(lockstep_some_stream()))                              \
	X(CONFIG, 300, "config", lockstep_config_any())                                                      \
	X(TIME, 200, "time", lockstep_time_passes())                                                         \
	X(SWAP, 60, "swap", lockstep_swap(lockstep_some_stream()))                                           \
	X(WINDOW, 300, "window", lockstep_window(lockstep_some_stream()))                                    \
	X(KILL, 12, "kill", unsigned s = lockstep_some_stream(); lockstep_destroy(s); lockstep_newborn(s))   \
	X(ECC, 12, "ECC error", lockstep_ecc())                                                              \
	X(RESET, 2, "reset", lockstep_reset())

enum kind {
#define X(name, weight, text, act) KIND_##name,
	KINDS(X)
#undef X
		KIND_COUNT
};

static const struct {
	unsigned weight;
	const char *name;
} kinds[] = {
#define X(name, weight, text, act) {weight, text},
	KINDS(X)
#undef X
};

static unsigned long tried[KIND_COUNT]; /* so that the mix can be judged */

static void one_operation(void)
{
	unsigned sum = 0, kind = 0;
	uint32_t at;

	for (unsigned k = 0; k < KIND_COUNT; k++)
		sum += kinds[k].weight;
	at = below(sum);
	while (at >= kinds[kind].weight)
		at -= kinds[kind++].weight;
	both.doing = kinds[kind].name;
	tried[kind]++;
	both.ops++;
	switch ((enum kind)kind) {
#define X(name, weight, text, act)                                                                           \
	case KIND_##name: {                                                                                  \
		act;                                                                                         \
	} break;
		KINDS(X)
#undef X
	case KIND_COUNT:
		break;
	}
	lockstep_glance();
}

static void nothing_left(void)
{
	for (unsigned s = 0; s < REF_STREAMS; s++)
		lockstep_destroy(s);
	tap_ok(kvsink_mmio_read(both.h.chip, KVSINK_REG_SRAM_USED) == 0, "no byte of SRAM is left granted");
	tap_ok(kvsink_mmio_read(both.h.chip, KVSINK_REG_TAGS_VALID) == 0, "no entry is left");
	tap_ok(kvsink_mmio_read(both.h.chip, KVSINK_REG_SRAM_LARGEST) == both.h.config.sram_bytes,
	       "SRAM is one free range again");
	tap_ok(kvsink_mmio_read(both.h.chip, KVSINK_REG_STREAMS_LIVE) == 0, "no stream is left");
}

static unsigned long number(const char *name, unsigned long otherwise)
{
	const char *text = getenv(name);

	return text ? strtoul(text, NULL, 0) : otherwise;
}

static void report(void)
{
	for (unsigned k = 0; k < KIND_COUNT; k++)
		tap_diag("%-9s %lu", kinds[k].name, tried[k]);
	tap_diag("verdicts compared %lu, rows of windows committed %lu", both.verdicts, both.committed);
	tap_diag("entries granted %lu, made by STEP_END %llu, displaced %llu, contracts broken %llu",
		 both.granted, (unsigned long long)h_counter(&both.h, KVSINK_COUNTER_AUTO_PROMOTIONS),
		 (unsigned long long)h_counter(&both.h, KVSINK_COUNTER_DISPLACED),
		 (unsigned long long)both.broken_told);
}

int main(void)
{
	unsigned long want = number("KVSINK_OPS", OPS), every = number("KVSINK_LOOK", LOOK_EVERY), looked = 0;

	lockstep_open(number("KVSINK_SEED", 1));
	for (unsigned s = 0; s < REF_STREAMS; s++)
		lockstep_newborn(s);
	while (both.ops < want && !both.differences) {
		one_operation();
		if (both.ops - looked >= every) {
			looked = both.ops;
			lockstep_look();
		}
	}
	report();
	tap_ok(!both.differences, "%lu random operations: chip and model agree after each", both.ops);
	tap_ok(h_counter(&both.h, KVSINK_COUNTER_CONTRACTS_BROKEN) &&
		       h_counter(&both.h, KVSINK_COUNTER_DISPLACED) &&
		       h_counter(&both.h, KVSINK_COUNTER_AUTO_EVICTIONS) && both.verdicts && both.committed,
	       "contracts were broken, entries displaced, automatic ones evicted, verdicts given, windows "
	       "committed: the mix reaches them");
	nothing_left();
	h_close(&both.h);
	return tap_done();
}
