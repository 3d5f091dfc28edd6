// SPDX-License-Identifier: MIT
/*
 * The moving average: recurrence against binary64, seeding, local and sliding windows, each query once; the
 * comparator's runs step by step, and that it does not thrash.
 */
#include "steer.h"
#include "tap.h"

static struct harness h;
static struct h_stream s;
static steer_attention p;

/* A stream of 40 tokens without scores, one token a step from then on. */
static void fresh(uint32_t layers, uint32_t window)
{
	if (h.chip)
		h_close(&h);
	h_open(&h, NULL);
	s = steer_geometry(1, layers);
	s.window = window;
	h_stream(&h, &s);
	memset(p, 0, sizeof(p));
	steer_config(&h, &s, KVSINK_PARAM_LOCAL_WINDOW, 1);
	steer_config(&h, &s, KVSINK_PARAM_PLACEMENT, KVSINK_PLACEMENT_OBSERVE);
	steer_fill(&h, &s, 0, 40);
}

static double ema(uint32_t token)
{
	return steer_value(steer_look(&h, &s, 0, token).ema);
}

static bool sink(uint32_t token)
{
	return steer_look(&h, &s, 0, token).flags & KVSINK_SCORE_SINK;
}

static uint64_t *mass_plane(void)
{
	return (uint64_t *)(void *)(h.hbm + s.scores) + s.max_tokens;
}

/*
 * Random attention that differs by layer and head, weights 1, 2 and 0.5. Bound: an attention weight comes out
 * within 2e-6, its rounding and that of E to 2^-32 add at most 10 units at alpha = 0.9.
 */
static void recurrence(void)
{
	static const double weight[3] = {1, 2, 0.5};
	double want[8] = {0}, worst = 0;
	uint64_t seed = 7;

	fresh(3, 0);
	steer_config(&h, &s, KVSINK_PARAM_LAYER_WEIGHT, 1 | 2 << 16 | (uint64_t)steer_pattern(2) << 32);
	steer_config(&h, &s, KVSINK_PARAM_LAYER_WEIGHT, 2 | 3 << 16 | (uint64_t)steer_pattern(0.5) << 32);
	for (uint32_t step = 0; step < 40; step++) {
		double b[8] = {0};

		for (uint32_t l = 0; l < 3; l++) {
			for (uint32_t i = 0; i < STEER_Q_HEADS * 8; i++) {
				p[i / 8][i % 8] = h_random(&seed) % 1000 * 1e-4;
				b[i % 8] += p[i / 8][i % 8] * weight[l] / (3.5 * STEER_Q_HEADS);
			}
			steer_append(&h, &s, l, 40 + step, 1);
			steer_attend(&h, &s, l, 40 + step, 1, &p);
		}
		steer_check(h_step_end(&h, &s, 1), "STEP_END");
		for (uint32_t t = 0; t < 8; t++)
			want[t] = 0.9f * want[t] + (1 - (double)0.9f) * b[t];
	}
	for (uint32_t t = 0; t < 8; t++)
		worst = fmax(worst, fabs(ema(t) - want[t]));
	tap_ok(worst < 2e-6 + 10 * 0x1p-32, "E follows the recurrence in binary64 over 40 steps (%.2g)",
	       worst);
	tap_ok(want[0] > 0.02 && ema(39) < 1e-9, "it is large where attention went, and 0 where none did");
	tap_ok(steer_count(&h, &s, KVSINK_COUNTER_OBSERVED_QUERIES) == 40 * 3 * STEER_Q_HEADS,
	       "OBSERVED_QUERIES counts rows times heads");
	/* query 40 + n sees tokens 0 .. 39 + n from outside the window */
	tap_ok(steer_count(&h, &s, KVSINK_COUNTER_EMA_UPDATES) == 40 * 40 + 39 * 40 / 2,
	       "EMA_UPDATES counts the tokens that could be seen");
}

/* The very integers: from the plane of B that the step leaves, in units of 2^-32. */
static void integers(void)
{
	uint32_t alpha = (uint32_t)((double)0.9f * 0x1p32), want = 0, *plane;
	bool same = true;

	fresh(2, 0);
	plane = (uint32_t *)(void *)(mass_plane() + s.max_tokens);
	for (uint32_t step = 0; step < 20; step++) {
		uint64_t b;

		steer_all(&p, 3, 0.01 * (step % 7) + 0.013);
		for (uint32_t l = 0; l < 2; l++) {
			steer_append(&h, &s, l, 40 + step, 1);
			steer_attend(&h, &s, l, 40 + step, 1, &p);
		}
		b = mass_plane()[3] / (2 * STEER_Q_HEADS);
		want = (uint32_t)(((unsigned __int128)alpha * want + (0x100000000ull - alpha) * b) >> 32);
		steer_check(h_step_end(&h, &s, 1), "STEP_END");
		same &= plane[3] == want && !mass_plane()[3];
	}
	tap_ok(same && want, "E = (a E + (2^32 - a) B) >> 32 in every step, and B is cleared");
}

/* A token looks like a sink to its neighbours; they do not count. */
static void local_window(void)
{
	fresh(1, 0);
	steer_config(&h, &s, KVSINK_PARAM_LOCAL_WINDOW, 4);
	steer_config(&h, &s, KVSINK_PARAM_ALPHA, 0);
	for (uint32_t step = 0; step < 6; step++) {
		memset(p, 0, sizeof(p));
		steer_all(&p, 39 + step - 2, 0.3); /* 3 tokens back: inside */
		steer_all(&p, 39 + step - 3, 0.2); /* 4 tokens back: outside */
		steer_step(&h, &s, 40 + step, &p);
		if (step == 0)
			tap_ok(ema(37) == 0 && fabs(ema(36) - 0.2) < 1e-6,
			       "decode: a token 3 back is inside the local window of 4, one 4 back is not");
	}
	tap_ok(fabs(ema(41) - 0.2) < 1e-6 && ema(42) == 0, "and so in later steps");
	tap_ok(h_config(&h, 1, KVSINK_PARAM_LOCAL_WINDOW, 5) == KVSINK_CODE_BUSY,
	       "the window is fixed once an EMA runs");
}

/* A layer with a sliding window cannot speak about tokens that it does not see. */
static void sliding_window(void)
{
	fresh(1, 8);
	steer_config(&h, &s, KVSINK_PARAM_ALPHA, 0);
	steer_all(&p, 33, 0.5);
	steer_step(&h, &s, 40, &p); /* sees 33 .. 40 */
	tap_ok(fabs(ema(33) - 0.5) < 1e-6, "the last token in the sliding window is observed");
	steer_all(&p, 33, 0);
	steer_step(&h, &s, 41, &p);
	tap_ok(ema(33) == 0, "a token behind it has none any more: nothing can reach it");
	steer_step(&h, &s, 42, &p);
	tap_ok(ema(35) == 0, "one still inside goes on");
}

/* Behind the windows of its layers a sink is none, whatever T_EVICT and N_EVICT say. */
static void out_of_reach(void)
{
	fresh(1, 8);
	steer_config(&h, &s, KVSINK_PARAM_ALPHA, 0);
	steer_config(&h, &s, KVSINK_PARAM_T_EVICT, 0);
	steer_config(&h, &s, KVSINK_PARAM_N_PROMOTE, 1);
	steer_config(&h, &s, KVSINK_PARAM_N_EVICT, 100);
	memset(p, 0, sizeof(p));
	steer_all(&p, 35, 0.5);
	steer_step(&h, &s, 40, &p);
	steer_step(&h, &s, 41, &p); /* sees 34 .. 41 */
	tap_ok(sink(35) && fabs(ema(35) - 0.5) < 1e-6, "a sink while the sliding window reaches it");
	steer_step(&h, &s, 42, &p); /* the last query that sees 35 */
	tap_ok(sink(35), "its last query counts");
	memset(p, 0, sizeof(p));
	steer_step(&h, &s, 43, &p);
	tap_ok(!sink(35) && ema(35) == 0, "behind the window it is none at once");
	steer_step(&h, &s, 44, &p);
	tap_ok(!sink(35) && ema(35) == 0, "and stays so");
}

static void seeding(void)
{
	double mean = 0.25;

	fresh(1, 0);
	steer_all(&p, 2, mean);
	steer_all(&p, 20, mean);
	steer_score(&h, &s, 0, 0, 40, &p);
	memset(p, 0, sizeof(p));
	steer_step(&h, &s, 40, &p);
	tap_ok(fabs(ema(2) - 0.9 * mean) < 1e-6, "E begins with the prompt's mean attention (%g)", ema(2));
	tap_ok(ema(20) == 0, "not for a token that fewer than %u queries saw", KVSINK_MIN_OBSERVERS);
	steer_step(&h, &s, 41, &p);
	tap_ok(fabs(ema(2) - 0.81 * mean) < 1e-6, "and only in the first step");
	steer_config(&h, &s, KVSINK_PARAM_PLACEMENT, KVSINK_PLACEMENT_OFF);
	steer_step(&h, &s, 42, &p);
	tap_ok(fabs(ema(2) - 0.81 * mean) < 1e-6, "PLACEMENT OFF: E stands still");
	steer_config(&h, &s, KVSINK_PARAM_PLACEMENT, KVSINK_PLACEMENT_AUTO);
	steer_step(&h, &s, 43, &p);
	tap_ok(fabs(ema(2) - 0.9 * mean) < 1e-6, "switched on again it begins anew");
}

static void each_once(void)
{
	fresh(2, 0);
	steer_config(&h, &s, KVSINK_PARAM_ALPHA, 0);
	steer_all(&p, 3, 0.5);
	for (uint32_t l = 0; l < 2; l++)
		steer_append(&h, &s, l, 40, 4);
	steer_attend(&h, &s, 0, 40, 2, &p);
	steer_attend(&h, &s, 0, 40, 2, &p);
	steer_attend(&h, &s, 0, 41, 3, &p); /* 41 again, 42 and 43 are new */
	steer_attend(&h, &s, 1, 38, 6, &p); /* 38 and 39 are old */
	steer_check(h_step_end(&h, &s, 4), "STEP_END");
	tap_ok(steer_count(&h, &s, KVSINK_COUNTER_OBSERVED_QUERIES) == 8 * STEER_Q_HEADS,
	       "each query of the open step counts once, old ones do not");
	tap_ok(fabs(ema(3) - 0.5) < 1e-6, "B is their mean (%g)", ema(3));
	for (uint32_t l = 0; l < 2; l++)
		steer_append(&h, &s, l, 44, 3);
	steer_all(&p, 3, 0.25);
	steer_attend(&h, &s, 0, 44, 1, &p);
	steer_attend(&h, &s, 1, 44, 1, &p);
	steer_attend(&h, &s, 1, 46, 1, &p); /* 45 was left out */
	steer_check(h_step_end(&h, &s, 3), "STEP_END");
	tap_ok(steer_count(&h, &s, KVSINK_COUNTER_OBSERVED_QUERIES) == 10 * STEER_Q_HEADS &&
		       fabs(ema(3) - 0.25) < 1e-6,
	       "queries behind a gap are not taken for observed");
}

/* One command with two items of one layer, and its staging arrays once more. */
static void one_command(void)
{
	union kvsink_item item = {.attend = {.stream = 1, .first = 41, .count = 1}};

	fresh(1, 0);
	steer_config(&h, &s, KVSINK_PARAM_ALPHA, 0);
	steer_all(&p, 3, 0.5);
	for (unsigned round = 0; round < 2; round++) {
		steer_append(&h, &s, 0, 40 + 2 * round, 2);
		steer_queries(&h, &s, 40 + 2 * round, 2, &p);
		h_attend_cmd(&h, &s, 0, 40 + 2 * round, 1)->attend.item_count = 2;
		item.attend.first = 41 + 2 * round;
		h_item(&h, &item);
		steer_check(h_do(&h), "ATTEND");
		steer_check(h_step_end(&h, &s, 2), "STEP_END");
		tap_ok(fabs(ema(3) - 0.5) < 1e-6, "two items of one layer in one command (%g)", ema(3));
	}
}

static struct kvsink_item_work *start_attend(unsigned ring, uint32_t first)
{
	struct kvsink_item_work *work;

	h_attend_cmd(&h, &s, 0, first, 1);
	h_submit(&h, ring);
	work = kvsink_run(h.chip, ring);
	if (!work)
		steer_check(KVSINK_CODE_BUSY, "no item");
	return work;
}

static void finish(struct kvsink_item_work *work)
{
	kvsink_exec(work, 0, 1);
	kvsink_retire(h.chip, work);
}

/* Both look at the open step before either has ended. */
static void two_rings(void)
{
	struct kvsink_item_work *a, *b;

	fresh(1, 0);
	steer_config(&h, &s, KVSINK_PARAM_ALPHA, 0);
	steer_all(&p, 3, 0.5);
	steer_append(&h, &s, 0, 40, 1);
	steer_queries(&h, &s, 40, 1, &p);
	a = start_attend(0, 40);
	b = start_attend(1, 40);
	finish(b);
	finish(a);
	steer_check(h_step_end(&h, &s, 1), "STEP_END");
	tap_ok(steer_count(&h, &s, KVSINK_COUNTER_OBSERVED_QUERIES) == STEER_Q_HEADS &&
		       fabs(ema(3) - 0.5) < 1e-6,
	       "queries that two rings attend to at the same time count once (%g)", ema(3));
}

static void tune_long(struct kvsink_chip_config *config)
{
	config->hbm_bytes = 64 << 20;
}

/* As many items as observe all that one ATTEND can, and one more. */
static uint32_t attend_to_all(uint32_t items)
{
	union kvsink_item item = {.attend = {.stream = 1, .first = KVSINK_MAX_TOKENS - 1, .count = 1}};
	struct kvsink_cmd *cmd = h_attend_cmd(&h, &s, 0, KVSINK_MAX_TOKENS - 1, 1);

	for (uint32_t i = 1; i < items; i++)
		h_item(&h, &item);
	cmd->attend.item_count = items;
	return h_do(&h);
}

static void too_many_tokens(void)
{
	const uint32_t chunk = 16384, items = (4u << 20) / KVSINK_MAX_TOKENS;

	h_close(&h);
	h_open(&h, tune_long);
	s = steer_geometry(1, 1);
	s.q_heads = s.kv_heads = 1;
	s.d_k = s.d_v = 4;
	s.page_tokens = 256;
	s.max_tokens = KVSINK_MAX_TOKENS;
	h_stream(&h, &s);
	steer_config(&h, &s, KVSINK_PARAM_PLACEMENT, KVSINK_PLACEMENT_OBSERVE);
	for (uint32_t at = 0; at < KVSINK_MAX_TOKENS; at += chunk)
		h_cmd(&h, KVSINK_OP_APPEND)->append =
			(struct kvsink_cmd_append){1, 0, at, chunk, 0, h_gart(H_K), h_gart(H_V)};
	steer_check(h_do(&h), "APPEND");
	steer_check(h_step_end(&h, &s, KVSINK_MAX_TOKENS), "STEP_END");
	tap_ok(!attend_to_all(items), "one ATTEND can observe 4 Mi tokens, summed over its items");
	tap_ok(attend_to_all(items + 1) == KVSINK_CODE_TOO_BIG && h.cpl.address == KVSINK_MAX_TOKENS * 8ull,
	       "one item more is TOO_BIG");
	steer_config(&h, &s, KVSINK_PARAM_PLACEMENT, KVSINK_PLACEMENT_OFF);
	tap_ok(!attend_to_all(items + 1), "unless nothing is observed");
}

static void partly_observed(void)
{
	fresh(2, 0);
	steer_config(&h, &s, KVSINK_PARAM_ALPHA, 0);
	steer_all(&p, 3, 0.5);
	for (uint32_t l = 0; l < 2; l++)
		steer_append(&h, &s, l, 40, 1);
	steer_attend(&h, &s, 0, 40, 1, &p);
	steer_check(h_step_end(&h, &s, 1), "STEP_END");
	tap_ok(ema(3) == 0 && !mass_plane()[3],
	       "a group with a layer that nobody attended to keeps its E, B is dropped");
	for (uint32_t l = 0; l < 2; l++) {
		steer_append(&h, &s, l, 41, 1);
		steer_attend(&h, &s, l, 41, 1, &p);
	}
	h_cmd(&h, KVSINK_OP_STEP_END)->step_end.stream = 1;
	h.cmds[0].flags = KVSINK_STEP_ABORT;
	steer_check(h_do(&h), "STEP_END");
	tap_ok(!mass_plane()[3], "an aborted step drops B");
	steer_all(&p, 3, 0.125);
	steer_step(&h, &s, 41, &p);
	tap_ok(fabs(ema(3) - 0.125) < 1e-6, "and its queries may be observed again");
	steer_append(&h, &s, 0, 42, 1);
	steer_attend(&h, &s, 0, 42, 1, &p);
	kvsink_reset(h.chip, KVSINK_RESET_ENGINE);
	h_start(&h);
	tap_ok(!mass_plane()[3] && fabs(ema(3) - 0.125) < 1e-6, "an engine reset drops B and keeps E");
}

/* The run of a token after each step, and when its state changes. */
static void runs(void)
{
	static const double attention[] = {.5, .5, 0, .5, .5, .5, 0, 0, 0, .5, 0, 0, 0, 0};
	static const char expected[] = "12012ssss" /* three in a row: a sink; the last is 3 below */
				       "S1230";	   /* .5 speaks for it; then 4 in a row: none */
	char seen[sizeof(expected)] = "";

	fresh(1, 0);
	steer_config(&h, &s, KVSINK_PARAM_ALPHA, 0);
	steer_config(&h, &s, KVSINK_PARAM_N_PROMOTE, 3);
	steer_config(&h, &s, KVSINK_PARAM_N_EVICT, 4);
	for (uint32_t step = 0; step < sizeof(attention) / sizeof(attention[0]); step++) {
		struct kvsink_score_rec rec;

		steer_all(&p, 3, attention[step]);
		steer_step(&h, &s, 40 + step, &p);
		rec = steer_look(&h, &s, 0, 3);
		seen[step] = (char)('0' + rec.run);
		if (rec.flags & KVSINK_SCORE_SINK && step < 9)
			seen[step] = 's';
		else if (rec.flags & KVSINK_SCORE_SINK && rec.run == 0)
			seen[step] = 'S';
	}
	tap_ok(!strcmp(seen, expected), "runs of T_PROMOTE and T_EVICT: %s, expected %s", seen, expected);
	tap_ok(steer_events(&h, &s, KVSINK_EVENT_SINK, UINT32_MAX) == 1 &&
		       steer_events(&h, &s, KVSINK_EVENT_SINK_END, UINT32_MAX) == 1,
	       "one event when it becomes a sink, one when it ends");
}

/* Switched off after two steps of three, and on again: the run does not go on where it was. */
static void runs_anew(void)
{
	fresh(1, 0);
	steer_config(&h, &s, KVSINK_PARAM_ALPHA, 0);
	steer_config(&h, &s, KVSINK_PARAM_N_PROMOTE, 3);
	steer_all(&p, 3, 0.5);
	steer_step(&h, &s, 40, &p);
	steer_step(&h, &s, 41, &p);
	steer_config(&h, &s, KVSINK_PARAM_PLACEMENT, KVSINK_PLACEMENT_OFF);
	steer_config(&h, &s, KVSINK_PARAM_PLACEMENT, KVSINK_PLACEMENT_OBSERVE);
	steer_step(&h, &s, 42, &p);
	tap_ok(!sink(3) && steer_look(&h, &s, 0, 3).run == 1, "with a new EMA runs begin anew");
	steer_step(&h, &s, 43, &p);
	steer_step(&h, &s, 44, &p);
	tap_ok(sink(3), "three steps later it is a sink");
	steer_config(&h, &s, KVSINK_PARAM_PLACEMENT, KVSINK_PLACEMENT_OFF);
	steer_config(&h, &s, KVSINK_PARAM_PLACEMENT, KVSINK_PLACEMENT_OBSERVE);
	steer_step(&h, &s, 45, &p);
	tap_ok(sink(3), "which it remains");
}

/* E exactly at a threshold: T_PROMOTE is reached, T_EVICT is not passed. */
static void thresholds(void)
{
	double at;

	fresh(1, 0);
	steer_config(&h, &s, KVSINK_PARAM_ALPHA, 0);
	steer_config(&h, &s, KVSINK_PARAM_N_PROMOTE, 1);
	steer_config(&h, &s, KVSINK_PARAM_N_EVICT, 1);
	steer_all(&p, 3, 0.5);
	steer_step(&h, &s, 40, &p);
	at = ema(3);
	steer_config(&h, &s, KVSINK_PARAM_T_EVICT, 0);
	steer_config(&h, &s, KVSINK_PARAM_T_PROMOTE, steer_pattern(at));
	steer_fill(&h, &s, 41, 1); /* nobody attends: no turn of the comparator */
	tap_ok(sink(3), "0.5 is a sink");
	steer_config(&h, &s, KVSINK_PARAM_T_EVICT, steer_pattern(at) - 1);
	steer_step(&h, &s, 42, &p);
	tap_ok(sink(3), "an EMA above T_EVICT by one unit of binary32 keeps it");
	steer_config(&h, &s, KVSINK_PARAM_T_PROMOTE, steer_pattern(at) + 2);
	steer_config(&h, &s, KVSINK_PARAM_T_EVICT, steer_pattern(at) + 1);
	steer_step(&h, &s, 43, &p);
	tap_ok(!sink(3), "one below it ends it");
	steer_step(&h, &s, 44, &p);
	tap_ok(!sink(3), "an EMA below T_PROMOTE by two units does not make one");
}

/* Input that jumps across both thresholds in every step. */
static void oscillation(void)
{
	uint32_t changes;

	fresh(1, 0);
	steer_config(&h, &s, KVSINK_PARAM_ALPHA, 0);
	for (uint32_t step = 0; step < 40; step++) {
		steer_all(&p, 3, step % 2 ? 0.5 : 0);
		steer_step(&h, &s, 40 + step, &p);
	}
	changes = steer_events(&h, &s, KVSINK_EVENT_SINK, UINT32_MAX);
	tap_ok(!changes, "attention that comes in every other step makes no sink (%u)", changes);
	for (uint32_t step = 0; step < 3; step++)
		steer_step(&h, &s, 80 + step, &p);
	for (uint32_t step = 0; step < 40; step++) {
		steer_all(&p, 3, step % 4 == 3 ? 0.5 : 0);
		steer_step(&h, &s, 83 + step, &p);
	}
	changes = steer_events(&h, &s, KVSINK_EVENT_SINK, UINT32_MAX) +
		  steer_events(&h, &s, KVSINK_EVENT_SINK_END, UINT32_MAX);
	tap_ok(changes == 1 && sink(3), "and, once it is one, gaps shorter than N_EVICT do not end it (%u)",
	       changes);
}

/* The band between the thresholds decides nothing. */
static void band(void)
{
	fresh(1, 0);
	steer_config(&h, &s, KVSINK_PARAM_ALPHA, 0);
	steer_all(&p, 3, 0.5);
	steer_all(&p, 5, 0.003);
	for (uint32_t step = 0; step < 4; step++)
		steer_step(&h, &s, 40 + step, &p);
	steer_all(&p, 3, 0.003); /* between 0.002 and 0.005 */
	for (uint32_t step = 0; step < 20; step++)
		steer_step(&h, &s, 44 + step, &p);
	tap_ok(sink(3) && !sink(5),
	       "between T_EVICT and T_PROMOTE a sink stays one, and no token becomes one");
}

int main(void)
{
	recurrence();
	integers();
	local_window();
	sliding_window();
	out_of_reach();
	seeding();
	each_once();
	one_command();
	two_rings();
	too_many_tokens();
	partly_observed();
	runs();
	runs_anew();
	thresholds();
	oscillation();
	band();
	h_close(&h);
	return tap_done();
}
