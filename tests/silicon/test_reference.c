// SPDX-License-Identifier: MIT
/*
 * More than one million random operations on the chip and on the independent model of reference.h, compared
 * after every one of them: answers, entries and tails, budget, events, who shares what, and scores and
 * counters of some stream; less often rows and parameters. What is drawn is an operation, whatever number of
 * commands it takes: a step is some ten of them.
 *
 * What no comparison with a model can show is checked on the chip alone: a budget is never exceeded, a
 * contract that was in force has either been ended by its owner or has an event, and nothing is left at the
 * end of each sequence. How often each kind of operation succeeded, and by what code it was refused, is
 * printed, and a kind or a refusal that never came is a failure. KVSINK_OPS (of each sequence), KVSINK_SEED
 * (that one alone) and KVSINK_LOOK change what is run.
 */
#include <stdio.h>

#include "lockstep.h"
#include "tap.h"

#define SEQUENCES 4
#define OPS 265000u    /* of each */
#define LOOK_EVERY 32  /* operations between two looks at everything */
#define FLIGHT_EVERY 8 /* one of so many happens under a query in flight */

#define STREAM lockstep_some_stream()
#define HOLDER lockstep_some_holder()

#define KINDS(X)                                                                                             \
	X(STEP, 600, "step", lockstep_step(STREAM))                                                          \
	X(PROMOTE, 800, "promote", lockstep_promote(HOLDER))                                                 \
	X(EVICT, 200, "evict", lockstep_evict(HOLDER))                                                       \
	X(CONTRACT, 250, "contract", lockstep_contract(HOLDER))                                              \
	X(VERDICTS, 120, "verdicts", lockstep_verdicts(HOLDER))                                              \
	X(CONFIG, 300, "config", lockstep_config_any())                                                      \
	X(TIME, 200, "time", lockstep_time_passes())                                                         \
	X(SWAP, 60, "swap", lockstep_swap(STREAM))                                                           \
	X(WINDOW, 200, "window", lockstep_window(STREAM))                                                    \
	X(SEAL, 60, "seal", lockstep_seal(STREAM))                                                           \
	X(IMPORT, 30, "import", lockstep_import(STREAM))                                                     \
	X(PUBLISH, 20, "publish", lockstep_publish(STREAM))                                                  \
	X(ATTACH, 20, "attach", lockstep_attach())                                                           \
	X(FORK, 25, "fork", lockstep_fork(STREAM))                                                           \
	X(DETACH, 25, "detach", lockstep_detach(STREAM))                                                     \
	X(CLOSED, 20, "closed", lockstep_closed())                                                           \
	X(SEEN, 100, "seen", lockstep_seen(HOLDER))                                                          \
	X(CASCADE, 40, "cascade", lockstep_cascade(STREAM))                                                  \
	X(LET_GO, 15, "let go", lockstep_let_go())                                                           \
	X(BIRTH, 10, "birth", lockstep_birth())                                                              \
	X(KILL, 10, "kill", lockstep_kill())                                                                 \
	X(OWNER, 2, "kill owner", lockstep_kill_owner())                                                     \
	X(ECC, 12, "ECC error", lockstep_ecc())                                                              \
	X(RESET, 2, "reset", lockstep_reset())                                                               \
	X(COLD, 1, "cold reset", lockstep_power_cycle())

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

static unsigned long ended[KIND_COUNT][KVSINK_CODE_COUNT]; /* operations, by the code of their own command */
static unsigned long idle[KIND_COUNT];			   /* that found nothing to do */

static void note(enum kind kind)
{
	if (both.outcome == LOCKSTEP_NONE)
		idle[kind]++;
	else if (both.outcome < KVSINK_CODE_COUNT)
		ended[kind][both.outcome]++;
	else
		lockstep_differ("outcome %u", both.outcome);
}

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
	both.outcome = LOCKSTEP_NONE;
	both.ops++;
	if (below(FLIGHT_EVERY) == 0)
		lockstep_take_off();
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
	lockstep_land();
	note((enum kind)kind);
	lockstep_glance();
}

static bool nothing_left(void)
{
	both.doing = "the end";
	lockstep_end_all();
	SAME(kvsink_mmio_read(both.h.chip, KVSINK_REG_SRAM_USED), 0, "bytes of SRAM that are left granted");
	SAME(kvsink_mmio_read(both.h.chip, KVSINK_REG_TAGS_VALID), 0, "entries that are left");
	SAME(kvsink_mmio_read(both.h.chip, KVSINK_REG_SRAM_LARGEST), both.h.config.sram_bytes,
	     "the largest free range of SRAM");
	SAME(kvsink_mmio_read(both.h.chip, KVSINK_REG_STREAMS_LIVE), 0, "streams that are left");
	SAME(kvsink_mmio_read(both.h.chip, KVSINK_REG_CONTRACTS), 0, "contracts that are left");
	SAME(lockstep_hbm_taken(), 0, "areas and pages that are left");
	return !both.differences;
}

static unsigned long number(const char *name, unsigned long otherwise)
{
	const char *text = getenv(name);

	return text ? strtoul(text, NULL, 0) : otherwise;
}

static void sequence(unsigned long seed)
{
	unsigned long want = number("KVSINK_OPS", OPS), every = number("KVSINK_LOOK", LOOK_EVERY);

	lockstep_open(seed);
	for (unsigned s = 0; s < 3; s++)
		lockstep_newborn(s);
	while (both.ops < want && !both.differences) {
		one_operation();
		lockstep_look();
		if (both.ops % every == 0)
			lockstep_look_closely();
	}
	tap_ok(!both.differences, "seed %lu, %lu random operations: chip and model agree after each", seed,
	       both.ops);
	tap_ok(nothing_left(), "seed %lu: no SRAM, entry, contract, stream, prefix or page is left", seed);
	lockstep_close();
}

/* ---- the mix ---- */

static void report(void)
{
	char line[400];

	for (unsigned k = 0; k < KIND_COUNT; k++) {
		int n = 0;

		for (unsigned c = 1; c < KVSINK_CODE_COUNT && n < (int)sizeof(line) - 40; c++)
			if (ended[k][c])
				n += snprintf(line + n, sizeof(line) - (size_t)n, " %s %lu",
					      kvsink_code_name(c), ended[k][c]);
		tap_diag("%-10s done %6lu, nothing to do %5lu%s%s", kinds[k].name, ended[k][KVSINK_CODE_OK],
			 idle[k], n ? ", refused:" : "", n ? line : "");
	}
	tap_diag(
		"verdicts compared %lu, rows of windows committed %lu, rows compared in HBM %lu and SRAM %lu",
		totals.verdicts, totals.committed, totals.rows, totals.copies);
	tap_diag("entries granted %lu, made by STEP_END %llu, displaced %llu, contracts broken %llu",
		 totals.granted, (unsigned long long)totals.automatic_in,
		 (unsigned long long)totals.displaced, (unsigned long long)totals.broken);
	tap_diag("queries in flight %lu, commands that waited for one %lu, that a reset overtook %lu",
		 totals.flown, totals.waited, totals.overtaken);
	tap_diag("bytes of prefixes read once for two queries %llu", (unsigned long long)totals.saved);
	tap_diag("bytes found in SRAM %llu, of these in entries of prefixes %llu; copied for prefixes %llu",
		 (unsigned long long)totals.sram_read, (unsigned long long)totals.prefix_read,
		 (unsigned long long)totals.copied);
}

/* Refusals that the sequences are for. */
static const struct {
	enum kind kind;
	uint32_t code;
} refusals[] = {
	{KIND_PROMOTE, KVSINK_CODE_SHARED},    {KIND_PROMOTE, KVSINK_CODE_EXISTS},
	{KIND_PROMOTE, KVSINK_CODE_BUDGET},    {KIND_PROMOTE, KVSINK_CODE_TENANT_CAP},
	{KIND_PROMOTE, KVSINK_CODE_TAGS},      {KIND_PROMOTE, KVSINK_CODE_FRAGMENTED},
	{KIND_PROMOTE, KVSINK_CODE_WINDOW},    {KIND_PROMOTE, KVSINK_CODE_SWAPPED},
	{KIND_EVICT, KVSINK_CODE_WINDOW},      {KIND_CONTRACT, KVSINK_CODE_LEASE},
	{KIND_CONFIG, KVSINK_CODE_WINDOW},     {KIND_CONFIG, KVSINK_CODE_CONFLICT},
	{KIND_SWAP, KVSINK_CODE_WINDOW},       {KIND_SWAP, KVSINK_CODE_BUSY},
	{KIND_WINDOW, KVSINK_CODE_WINDOW},     {KIND_WINDOW, KVSINK_CODE_SWAPPED},
	{KIND_SEAL, KVSINK_CODE_SHARED},       {KIND_SEAL, KVSINK_CODE_WINDOW},
	{KIND_SEAL, KVSINK_CODE_SEQUENCE},     {KIND_SEAL, KVSINK_CODE_CROWDED},
	{KIND_SEAL, KVSINK_CODE_SWAPPED},      {KIND_IMPORT, KVSINK_CODE_BUSY},
	{KIND_PUBLISH, KVSINK_CODE_BUSY},      {KIND_PUBLISH, KVSINK_CODE_WINDOW},
	{KIND_PUBLISH, KVSINK_CODE_SWAPPED},   {KIND_PUBLISH, KVSINK_CODE_PARTED},
	{KIND_PUBLISH, KVSINK_CODE_BAD_FIELD}, {KIND_PUBLISH, KVSINK_CODE_EXISTS},
	{KIND_PUBLISH, KVSINK_CODE_STREAMS},   {KIND_ATTACH, KVSINK_CODE_BUSY},
	{KIND_ATTACH, KVSINK_CODE_NOT_SHARED}, {KIND_ATTACH, KVSINK_CODE_GEOMETRY},
	{KIND_ATTACH, KVSINK_CODE_PARTED},     {KIND_ATTACH, KVSINK_CODE_BAD_FIELD},
	{KIND_ATTACH, KVSINK_CODE_WINDOW},     {KIND_ATTACH, KVSINK_CODE_SWAPPED},
	{KIND_DETACH, KVSINK_CODE_NOT_SHARED}, {KIND_DETACH, KVSINK_CODE_SEQUENCE},
	{KIND_DETACH, KVSINK_CODE_WINDOW},     {KIND_DETACH, KVSINK_CODE_SWAPPED},
	{KIND_LET_GO, KVSINK_CODE_SHARED},     {KIND_CLOSED, KVSINK_CODE_CLOSED},
	{KIND_BIRTH, KVSINK_CODE_STREAMS},
};

static void judge_mix(void)
{
	unsigned lacking = 0;

	for (unsigned k = 0; k < KIND_COUNT; k++)
		if (k != KIND_CLOSED && !ended[k][KVSINK_CODE_OK]) {
			tap_diag("%s never succeeded", kinds[k].name);
			lacking++;
		}
	for (unsigned i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
		if (!ended[refusals[i].kind][refusals[i].code]) {
			tap_diag("%s was never refused as %s", kinds[refusals[i].kind].name,
				 kvsink_code_name(refusals[i].code));
			lacking++;
		}
	tap_ok(!lacking, "every kind of operation succeeded, and was refused for every reason of %zu",
	       sizeof(refusals) / sizeof(refusals[0]));
	tap_ok(totals.broken && totals.displaced && totals.automatic_out && totals.verdicts &&
		       totals.committed && totals.rows && totals.copies && totals.prefix_read &&
		       totals.copied && totals.saved && totals.waited && totals.overtaken,
	       "contracts were broken, entries displaced, automatic ones evicted, verdicts given, windows "
	       "committed, rows compared, entries of prefixes read, pages copied and read once for two, "
	       "commands "
	       "waited for a query, resets overtook some: the mix reaches them");
}

int main(void)
{
	unsigned long only = number("KVSINK_SEED", 0);

	for (unsigned long seed = 1; seed <= SEQUENCES && !only; seed++)
		sequence(seed);
	if (only)
		sequence(only);
	report();
	judge_mix();
	return tap_done();
}
