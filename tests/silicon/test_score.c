// SPDX-License-Identifier: MIT
/*
 * Scores of streams: layer weights in every mode, chunks of the prompt, groups by themselves, import and its
 * refusals, CLASSIFY's states, score memory in the ledger. Sums of attention against binary64 are in
 * test_attention.c and test_datapath_score.c.
 */
#include "steer.h"
#include "tap.h"

#define PROMPT 60u

static struct harness h;
static struct h_stream s; /* 3 layers in groups [0, 1) and [1, 3) */
static steer_attention p;
static const double weight[3] = {1, 2, 0.75};

static void fresh(void)
{
	if (h.chip)
		h_close(&h);
	h_open(&h, NULL);
	s = steer_geometry(1, 3);
	s.score_groups = 2;
	s.group_end[0] = 1;
	s.group_end[1] = 3;
	h_stream(&h, &s);
	steer_config(&h, &s, KVSINK_PARAM_LOCAL_WINDOW, 5);
	for (uint32_t l = 1; l < 3; l++)
		steer_config(&h, &s, KVSINK_PARAM_LAYER_WEIGHT,
			     l | (l + 1) << 16 | (uint64_t)steer_pattern(weight[l]) << 32);
	steer_fill(&h, &s, 0, PROMPT);
}

/* Attention on tokens 0 .. 3 that differs by layer. */
static void attention(uint32_t layer)
{
	memset(p, 0, sizeof(p));
	for (uint32_t head = 0; head < STEER_Q_HEADS; head++)
		for (uint32_t t = 0; t < 4; t++)
			p[head][t] = 0.02 * (1 + t) * (1 + (layer + head) % 3);
}

static void score_all(uint32_t chunk)
{
	for (uint32_t l = 0; l < 3; l++) {
		attention(l);
		for (uint32_t at = 0; at < PROMPT; at += chunk)
			steer_score(&h, &s, l, at, at + chunk < PROMPT ? chunk : PROMPT - at, &p);
	}
}

/* Sum over the group's layers and all queries outside the window, weighted. */
static double oracle(uint32_t group, uint32_t token, double *observations)
{
	double sum = 0;

	*observations = 0;
	for (uint32_t l = group; l < (group ? 3 : 1); l++) {
		attention(l);
		for (uint32_t head = 0; head < STEER_Q_HEADS; head++)
			sum += weight[l] * p[head][token] * (PROMPT - token - 5);
		*observations += weight[l] * STEER_Q_HEADS * (PROMPT - token - 5);
	}
	return sum;
}

/*
 * An attention weight is within 1e-6 of itself, each of the (query, head) pairs adds a rounding of 2^-33 and
 * the weight one of 2^-32; the score itself is rounded to binary32 once.
 */
static void modes(void)
{
	double n, max[2] = {oracle(0, 3, &n), oracle(1, 3, &n)}, worst[3] = {0};

	fresh();
	score_all(17);
	for (uint32_t mode = 0; mode < 3; mode++) {
		steer_config(&h, &s, KVSINK_PARAM_SCORE_MODE, mode);
		for (uint32_t i = 0; i < 8; i++) {
			double sum = oracle(i / 4, i % 4, &n);
			double want = mode == KVSINK_SCORE_RAW	  ? sum
				      : mode == KVSINK_SCORE_MEAN ? sum / n
								  : sum / max[i / 4];
			double got = steer_value(steer_look(&h, &s, i / 4, i % 4).score);

			worst[mode] = fmax(worst[mode], fabs(got - want) / want);
		}
	}
	tap_ok(worst[0] < 2e-6, "RAW: weighted sums of a group (%.2g)", worst[0]);
	tap_ok(worst[1] < 2e-6, "MEAN: divided by the weighted number of queries (%.2g)", worst[1]);
	tap_ok(worst[2] < 2e-6, "REL: divided by the group's greatest (%.2g)", worst[2]);
}

static void weights_cancel(void)
{
	struct kvsink_score_rec rec;

	fresh();
	memset(p, 0, sizeof(p));
	steer_all(&p, 2, 0.3);
	for (uint32_t l = 0; l < 3; l++)
		steer_score(&h, &s, l, 0, PROMPT, &p);
	rec = steer_look(&h, &s, 1, 2);
	tap_ok(fabs(steer_value(rec.score) - 0.3) < 1e-6, "MEAN is mean attention whatever the weights: %g",
	       steer_value(rec.score));
	tap_ok(rec.observers == PROMPT - 2 - 5, "observers are queries of one layer");
	tap_ok(fabs((double)rec.sum * 0x1p-32 - 2.75 * 0.3 * STEER_Q_HEADS * (PROMPT - 7)) < 1e-4,
	       "the sum has them in it");
}

static void chunked(void)
{
	uint8_t whole[STEER_TOKENS * 8];

	fresh();
	score_all(PROMPT);
	memcpy(whole, h.hbm + s.scores, sizeof(whole));
	fresh();
	score_all(7);
	tap_ok(!memcmp(whole, h.hbm + s.scores, sizeof(whole)),
	       "chunks add up to the whole of a group with weight 1, bit for bit");
}

/* ---- import ---- */

static uint32_t import(uint32_t group, uint32_t count, const uint64_t *sum)
{
	h_put(&h, H_FREE, sum, count * sizeof(*sum));
	h_cmd(&h, KVSINK_OP_SCORE_IMPORT)->score_import = (struct kvsink_cmd_score_import){
		.stream = 1, .group = group, .count = count, .src = h_gart(H_FREE)};
	return h_do(&h);
}

static void round_trip(void)
{
	struct kvsink_score_rec want[2][PROMPT], got[PROMPT];
	uint64_t sum[2][PROMPT];
	bool same = true;

	fresh();
	score_all(30);
	for (uint32_t g = 0; g < 2; g++) {
		steer_ask(&h, KVSINK_QUERY_SCORES, 1, g, 0, PROMPT, want[g], sizeof(got[0]));
		for (uint32_t t = 0; t < PROMPT; t++)
			sum[g][t] = want[g][t].sum;
	}
	fresh();
	for (uint32_t g = 0; g < 2; g++) {
		steer_check(import(g, PROMPT, sum[g]), "SCORE_IMPORT");
		steer_ask(&h, KVSINK_QUERY_SCORES, 1, g, 0, PROMPT, got, sizeof(got[0]));
		same &= !memcmp(got, want[g], sizeof(got));
	}
	tap_ok(same, "scores that are read out and imported are the same scores");
	h_score_cmd(&h, &s, 1, 0, 4);
	tap_ok(h_do(&h) == KVSINK_CODE_SEQUENCE && h.cpl.address == PROMPT, "their layers count as scored");
	tap_ok(import(1, PROMPT, sum[1]) == KVSINK_CODE_BUSY, "a group that has scores takes no others");
	steer_fill(&h, &s, PROMPT, 2);
	attention(1);
	steer_score(&h, &s, 1, PROMPT, 2, &p);
	steer_score(&h, &s, 2, PROMPT, 2, &p);
	tap_ok(steer_look(&h, &s, 1, 1).sum > sum[1][1], "the next chunk goes on from there");
}

static void refused_imports(void)
{
	uint64_t sum[PROMPT + 1] = {0}, most = (uint64_t)STEER_Q_HEADS * (PROMPT - 9 - 5) << 32;

	fresh();
	tap_ok(import(0, PROMPT - 1, sum) == KVSINK_CODE_SEQUENCE && h.cpl.address == PROMPT,
	       "too few are refused");
	tap_ok(import(0, PROMPT + 1, sum) == KVSINK_CODE_SEQUENCE, "so are too many");
	tap_ok(import(0, 0, sum) == KVSINK_CODE_BAD_FIELD, "and none");
	tap_ok(import(2, PROMPT, sum) == KVSINK_CODE_BAD_FIELD, "there is no third group");
	sum[9] = most + 1;
	tap_ok(import(0, PROMPT, sum) == KVSINK_CODE_BAD_FIELD,
	       "more than all attention there was is refused");
	tap_ok(!steer_look(&h, &s, 0, 9).sum && !steer_look(&h, &s, 0, 0).observers,
	       "and nothing of it is kept");
	sum[9] = most;
	tap_ok(!import(0, PROMPT, sum), "all of it is the limit");
	tap_ok(steer_look(&h, &s, 0, 9).score == 0x3f800000, "which is a score of 1");
	sum[9] = 0;
	sum[PROMPT - 2] = 1;
	tap_ok(import(1, PROMPT, sum) == KVSINK_CODE_BAD_FIELD, "a token that no query could see has none");
	sum[PROMPT - 2] = 0;
	sum[9] = most * 11 / 4; /* 2.75 */
	tap_ok(!import(1, PROMPT, sum), "weights belong to the limit");
	h_cmd(&h, KVSINK_OP_SCORE_IMPORT)->score_import =
		(struct kvsink_cmd_score_import){.stream = 9, .count = 1, .src = h_gart(H_FREE)};
	tap_ok(h_do(&h) == KVSINK_CODE_BAD_STREAM, "the stream must exist");
	fresh();
	h_cmd(&h, KVSINK_OP_SCORE_IMPORT)->score_import = (struct kvsink_cmd_score_import){
		.stream = 1, .count = PROMPT, .src = h_gart(H_GART_PAGES * 4096ull - 8)};
	tap_ok(h_do(&h) == KVSINK_CODE_BAD_RANGE, "so must all of the sums");
}

/* ---- CLASSIFY and SINKS ---- */

static uint32_t sinks(uint32_t what, uint32_t group, struct kvsink_sink_rec *rec)
{
	struct kvsink_list_head head;

	if (what == KVSINK_QUERY_SINKS)
		return steer_ask(&h, what, 1, group, 0, 8, rec, sizeof(*rec));
	h_cmd(&h, KVSINK_OP_CLASSIFY)->classify =
		(struct kvsink_cmd_classify){1, 1u << group, 8, h_gart(H_ANSWER)};
	steer_check(h_do(&h), "CLASSIFY");
	h_get(&h, H_ANSWER, &head, sizeof(head));
	h_get(&h, H_ANSWER + sizeof(head), rec, head.written * sizeof(*rec));
	return head.written;
}

static bool is_sink(uint32_t group, uint32_t token)
{
	return steer_look(&h, &s, group, token).flags & KVSINK_SCORE_SINK;
}

static void states(void)
{
	struct kvsink_sink_rec asked[8], classified[8];
	uint32_t n;

	fresh();
	score_all(PROMPT);
	steer_config(&h, &s, KVSINK_PARAM_T_SINK, steer_pattern(0.1));
	n = sinks(KVSINK_QUERY_SINKS, 1, asked);
	tap_ok(n == 2 && asked[0].token == 2 && asked[1].token == 3, "SINKS lists what reaches T_SINK");
	tap_ok(!is_sink(1, 2), "and changes nothing");
	tap_ok(sinks(0, 1, classified) == n && !memcmp(asked, classified, n * sizeof(asked[0])),
	       "CLASSIFY lists the same");
	tap_ok(is_sink(1, 2) && is_sink(1, 3) && !is_sink(1, 1) && !is_sink(0, 3),
	       "and makes them sinks of their group");
	steer_config(&h, &s, KVSINK_PARAM_T_SINK, classified[1].score);
	tap_ok(sinks(0, 1, classified) == 1 && !is_sink(1, 2) && is_sink(1, 3),
	       "a score at T_SINK reaches it; others end");
	steer_config(&h, &s, KVSINK_PARAM_T_SINK, classified[0].score + 1);
	tap_ok(sinks(0, 1, classified) == 0 && !is_sink(1, 3), "one unit of binary32 below does not");
}

/* A token of which too little is known to be a sink may have the greatest sum. */
static void greatest_of_all(void)
{
	double want = 0.05 * (PROMPT - 2 - 5) / (0.9 * (PROMPT - 50 - 5));
	struct kvsink_sink_rec rec[8];

	fresh();
	memset(p, 0, sizeof(p));
	steer_all(&p, 2, 0.05);
	steer_all(&p, 50, 0.9);
	steer_score(&h, &s, 0, 0, PROMPT, &p);
	steer_config(&h, &s, KVSINK_PARAM_SCORE_MODE, KVSINK_SCORE_REL);
	tap_ok(fabs(steer_value(steer_look(&h, &s, 0, 2).score) - want) < 2e-6 &&
		       steer_look(&h, &s, 0, 50).score == 0x3f800000,
	       "REL divides by the greatest sum of all tokens, eligible or not");
	steer_config(&h, &s, KVSINK_PARAM_T_SINK, steer_pattern(want + 0.01));
	tap_ok(sinks(KVSINK_QUERY_SINKS, 0, rec) == 0 && sinks(0, 0, rec) == 0, "SINKS and CLASSIFY do, too");
	steer_config(&h, &s, KVSINK_PARAM_T_SINK, steer_pattern(want - 0.01));
	tap_ok(sinks(KVSINK_QUERY_SINKS, 0, rec) == 1 && rec[0].token == 2 && sinks(0, 0, rec) == 1,
	       "and take none for a sink that is not eligible");
}

/* What layers have seen of different numbers of queries cannot be compared. */
static void uneven_layers(void)
{
	fresh();
	memset(p, 0, sizeof(p));
	steer_score(&h, &s, 0, 0, PROMPT, &p);
	steer_score(&h, &s, 1, 0, PROMPT, &p);
	steer_score(&h, &s, 2, 0, 40, &p);
	h_cmd(&h, KVSINK_OP_CLASSIFY)->classify = (struct kvsink_cmd_classify){1, 2, 8, h_gart(H_ANSWER)};
	tap_ok(h_do(&h) == KVSINK_CODE_SEQUENCE && h.cpl.address == 40,
	       "CLASSIFY of a group whose layers were scored unevenly: SEQUENCE, with the queries of one");
	h_cmd(&h, KVSINK_OP_CLASSIFY)->classify = (struct kvsink_cmd_classify){1, 3, 8, h_gart(H_ANSWER)};
	tap_ok(h_do(&h) == KVSINK_CODE_SEQUENCE, "so with another group");
	h_cmd(&h, KVSINK_OP_CLASSIFY)->classify = (struct kvsink_cmd_classify){1, 1, 8, h_gart(H_ANSWER)};
	tap_ok(!h_do(&h), "the other alone is listed");
}

/* Bytes of scores are HBM traffic like any other. */
static void ledger(void)
{
	uint64_t before;

	fresh();
	tap_ok(steer_count(&h, &s, KVSINK_COUNTER_SCORE_HBM) ==
		       kvsink_score_cleared_bytes(3, 2, 2, STEER_TOKENS),
	       "the area is cleared when the stream is created: %llu B",
	       (unsigned long long)kvsink_score_cleared_bytes(3, 2, 2, STEER_TOKENS));
	before = steer_count(&h, &s, KVSINK_COUNTER_SCORE_HBM);
	attention(0);
	steer_score(&h, &s, 0, 0, 40, &p);
	tap_ok(steer_count(&h, &s, KVSINK_COUNTER_SCORE_HBM) - before == 2 * 40 * 8,
	       "SCORE reads and writes a sum a token");
}

int main(void)
{
	modes();
	weights_cancel();
	chunked();
	round_trip();
	refused_imports();
	states();
	greatest_of_all();
	uneven_layers();
	ledger();
	h_close(&h);
	return tap_done();
}
