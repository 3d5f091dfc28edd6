// SPDX-License-Identifier: MIT
/*
 * Gated attention: the certificate holds against a binary64 oracle that reads every row, each criterion
 * holds, as few rows are read as that needs, and what is left unread is counted to the byte.
 */
#include "gate_fuzz.h"

/* All heavy rows point one way, all light rows the other, all are as long as the longest. */
static double adversary(uint32_t criterion, bool buffer, float epsilon, struct gate_sums *s)
{
	struct dp_geometry geometry = {KVSINK_FORMAT_F32, 1, 1, 16, 8, 4, 700, 1, 0, 0, 12, 0, 1, false};
	struct gate_case g;
	float v[8] = {0};

	gate_new(&g, &geometry, criterion, epsilon);
	g.c.task.gate.buffer = buffer;
	g.c.task.gate.certify = true;
	for (uint32_t t = 0; t < g.c.tokens; t++) {
		v[0] = dp_dot(&g.c, 0, 0, t) * g.c.task.scale > 4 ? 1.0f : -1.0f;
		memcpy(dp_row(&g.c, t, 0, true), v, sizeof(v));
	}
	gate_norms(&g);
	gate_run(&g, 1);
	gate_look(&g, s);
	gate_free(&g);
	return s->worst;
}

static void adversaries(uint32_t criterion, bool buffer)
{
	struct gate_sums s = {0};

	for (int i = 0; i < 40; i++)
		adversary(criterion, buffer, 0.01f + 0.02f * dp_random(5), &s);
	tap_ok(!s.violations && !s.broken && s.worst > 0.9,
	       "%s, %s: adversarial rows come within 0.9 of the certificate and never beyond",
	       gate_names[criterion], buffer ? "score buffer" : "one pass");
	tap_diag("worst error / bound %.4f", s.worst);
}

/* ---- how much is read ---- */

static double skipped_share(const struct gate_case *g)
{
	const struct kvsink_rows *r = &g->c.task.rows;

	return (double)g->bytes.v_skipped / (gate_judged(&g->c) * r->d_v * kvsink_format_bytes(r->format));
}

/* For one query and head the largest set that MASS lets go is known: the smallest weights, up to epsilon. */
static uint64_t most(const struct gate_case *g)
{
	struct dp_oracle o = {.a = malloc(g->c.tokens * sizeof(double))};
	uint64_t rows = 0;
	double sum = 0.0;

	dp_solve(&g->c, 0, 0, &o);
	for (;;) {
		uint32_t least = g->c.tokens;

		for (uint32_t t = 0; t < g->c.tokens; t++)
			if (o.a[t] >= 0 && (least == g->c.tokens || o.a[t] < o.a[least]))
				least = t;
		if (least == g->c.tokens || sum + o.a[least] > (double)g->c.task.gate.epsilon)
			break;
		sum += o.a[least];
		o.a[least] = -1;
		rows++;
	}
	free(o.a);
	return rows;
}

static void nearly_all(void)
{
	struct dp_geometry geometry = {KVSINK_FORMAT_F32, 1, 1, 16, 8, 4, 1500, 1, 0, 0, 8, 0, 1, false};
	struct gate_case g;
	uint64_t best, got;

	gate_new(&g, &geometry, KVSINK_GATE_MASS, 0.03f);
	gate_run(&g, 1);
	best = most(&g);
	got = g.bytes.v_skipped / (8 * sizeof(float));
	tap_ok(got <= best && got * 100 >= best * 97,
	       "MASS leaves at least 97 %% of the most that it may unread: %llu of %llu",
	       (unsigned long long)got, (unsigned long long)best);
	gate_free(&g);
}

/* The same rows for more heads or queries: fewer may go, since all must agree. */
static void agreement(void)
{
	static const uint32_t groups[] = {1, 4, 8};
	double share[3], one_query;
	struct gate_case g;

	for (int i = 0; i < 3; i++) {
		struct dp_geometry geometry = {
			KVSINK_FORMAT_F32, 1, groups[i], 16, 8, 4, 900, 1, 0, 0, 8, 0, 1, false};

		dp_seed = 77;
		gate_new(&g, &geometry, KVSINK_GATE_MASS, 0.03f);
		gate_run(&g, 1);
		share[i] = skipped_share(&g);
		gate_free(&g);
	}
	tap_ok(share[0] > share[1] && share[1] > share[2] && share[2] > 0,
	       "heads of a group agree: %.2f, %.2f, %.2f of the rows unread for 1, 4, 8 heads", share[0],
	       share[1], share[2]);
	one_query = share[0];
	dp_seed = 77;
	gate_new(&g, &(struct dp_geometry){KVSINK_FORMAT_F32, 1, 1, 16, 8, 4, 900, 6, 0, 0, 8, 0, 1, false},
		 KVSINK_GATE_MASS, 0.03f);
	gate_run(&g, 1);
	tap_ok(skipped_share(&g) < one_query && skipped_share(&g) > 0,
	       "queries of a chunk agree: %.2f of the rows for 6", skipped_share(&g));
	gate_free(&g);
}

/* A larger epsilon never reads more; the two ways order as the notes say. */
static void monotone(void)
{
	static const float epsilons[] = {0.001f, 0.01f, 0.1f, 0.5f};
	struct dp_geometry geometry = {KVSINK_FORMAT_F32, 2, 3, 16, 16, 4, 900, 1, 0, 0, 10, 2, 1, false};
	struct gate_case g;
	double last = -1.0, one_pass;
	bool grows = true;

	gate_new(&g, &geometry, KVSINK_GATE_MASS, 0.03f);
	for (int i = 0; i < 4; i++) {
		g.c.task.gate.epsilon = epsilons[i];
		gate_run(&g, 1);
		grows &= skipped_share(&g) >= last;
		last = skipped_share(&g);
	}
	tap_ok(grows && last > 0.5, "a larger epsilon leaves more unread, up to %.2f", last);
	g.c.task.gate.buffer = false;
	gate_run(&g, 1);
	one_pass = skipped_share(&g);
	tap_ok(one_pass > 0 && one_pass < last, "one pass leaves less unread than the score buffer: %.2f",
	       one_pass);
	gate_free(&g);
}

/* ---- exactness where nothing is left out ---- */

static void all_resident(void)
{
	struct dp_geometry geometry = {KVSINK_FORMAT_FP16, 2, 2, 32, 32, 4, 200, 2, 0, 0, 20, 100, 1, false};
	struct gate_case g;
	size_t bytes = (size_t)2 * 4 * 32 * sizeof(float);
	float *gated = malloc(bytes);

	gate_new(&g, &geometry, KVSINK_GATE_MASS, 0.5f);
	gate_run(&g, 1);
	memcpy(gated, g.c.out, bytes);
	g.c.task.mode = KVSINK_ATTEND_SPLIT;
	dp_run(&g.c, 1);
	tap_ok(!memcmp(gated, g.c.out, bytes) && !g.bytes.v_skipped,
	       "rows in SRAM are always read: split mode, bit for bit");
	free(gated);
	gate_free(&g);
}

/* lse and sums of attention are of all rows, read or not. */
static void attention_is_whole(void)
{
	struct dp_geometry geometry = {KVSINK_FORMAT_F32, 1, 4, 16, 16, 4, 500, 2, 0, 0, 12, 3, 1, true};
	struct gate_case g;
	uint64_t *score;
	bool close = true, lse = true;
	float whole[8];

	gate_new(&g, &geometry, KVSINK_GATE_MASS, 0.1f);
	score = calloc(g.c.tokens, sizeof(*score));
	g.c.task.mode = KVSINK_ATTEND_SPLIT;
	dp_run(&g.c, 1);
	memcpy(score, g.c.score, g.c.tokens * sizeof(*score));
	for (int i = 0; i < 8; i++)
		whole[i] = g.c.stats[i].lse;
	g.c.task.mode = KVSINK_ATTEND_GATED;
	for (int buffer = 0; buffer < 2; buffer++) {
		g.c.task.gate.buffer = buffer;
		gate_run(&g, 1);
		for (uint32_t t = 0; t < g.c.tokens; t++)
			close &= llabs((long long)(score[t] - g.c.score[t])) < 1 << 12;
		for (int i = 0; i < 8; i++)
			lse &= fabsf(whole[i] - g.c.stats[i].lse) < 1e-5f;
	}
	tap_ok(close && lse && g.bytes.v_skipped, "sums of attention and lse count unread rows, too");
	free(score);
	gate_free(&g);
}

/* The token that head 0 looks at least. */
static uint32_t lightest(const struct dp_case *c)
{
	uint32_t least = 0;

	for (uint32_t t = 1; t < c->tokens; t++)
		if (dp_dot(c, 0, 0, t) < dp_dot(c, 0, 0, least))
			least = t;
	return least;
}

/* Rows that are not finite: read in full, so that the output is what it would be without gating. */
static void not_finite(void)
{
	struct dp_geometry geometry = {KVSINK_FORMAT_F32, 2, 1, 16, 8, 4, 300, 1, 0, 0, 8, 0, 1, false};
	struct gate_case g;
	float bad = NAN;
	bool others = true;

	gate_new(&g, &geometry, KVSINK_GATE_MASS, 0.5f);
	memcpy(dp_row(&g.c, lightest(&g.c), 0, true), &bad, sizeof(bad));
	gate_norms(&g);
	gate_run(&g, 1);
	for (int e = 8; e < 16; e++)
		others &= isfinite(g.c.out[e]);
	tap_ok(isnan(g.c.out[0]) && isinf(g.c.stats[0].bound) && others && isfinite(g.c.stats[1].bound),
	       "a V row that is not finite: its head's output and certificate say so, the other head goes "
	       "on");
	memcpy(dp_row(&g.c, 9, 1, false), &bad, sizeof(bad));
	gate_run(&g, 1);
	tap_ok(isnan(g.c.out[8]) && isinf(g.c.stats[1].bound),
	       "a K row that is not finite: nothing stays unread");
	gate_free(&g);
}

/* ---- bytes ---- */

static void bytes(void)
{
	/* rows of 20 B at 0, 20, 40 .. in the page: some share a burst of 64 B, some need two */
	struct dp_geometry geometry = {KVSINK_FORMAT_F32, 1, 1, 5, 5, 2, 63, 1, 0, 0, 1, 0, 1, false};
	struct gate_case g;
	uint64_t bus = 0;

	gate_new(&g, &geometry, KVSINK_GATE_MASS, 0.999f);
	g.c.task.gate.norms_at = 0x1002;
	gate_run(&g, 1);
	tap_ok(g.bytes.norm == 4 && g.bytes.norm_bus == 64, "MASS reads one maximum of norms");
	g.c.task.gate.criterion = KVSINK_GATE_REL;
	gate_run(&g, 1);
	tap_ok(g.bytes.norm == 4 + 2 * 64 && g.bytes.norm_bus == 64 + 192,
	       "REL reads a norm for each row, in whole bursts");
	g.c.task.gate.criterion = KVSINK_GATE_MASS;
	for (uint32_t e = 0; e < 5; e++) /* all weights equal: exactly the first 63 go */
		g.c.q[e] = 0.0f;
	gate_run(&g, 1);
	for (uint32_t t = 0; t < 63; t++) {
		uint64_t at = 4 * 5 * 4 + (t & 3) * 20;

		bus += ((at + 19) / 64 - at / 64 + 1) * 64;
	}
	tap_ok(g.bytes.v_skipped == 63 * 20 && g.bytes.v_skipped_bus == bus,
	       "63 of 64 rows unread: %llu B, %llu B of bursts", (unsigned long long)g.bytes.v_skipped,
	       (unsigned long long)g.bytes.v_skipped_bus);
	gate_free(&g);
}

/* ---- the same everywhere ---- */

static void same_bits(void)
{
	struct dp_geometry geometry = {KVSINK_FORMAT_FP16, 3, 3, 64, 64, 4, 700, 9, 0, 0, 20, 3, 1, true};
	struct kvsink_attend_stat first[81];
	struct kvsink_gate_bytes bytes_first;
	struct gate_case g;

	for (uint32_t criterion = 0; criterion < KVSINK_GATE_COUNT; criterion++) {
		bool equal = true;

		gate_new(&g, &geometry, criterion, 0.03f);
		kvsink_simd_force(0);
		gate_run(&g, 1);
		memcpy(first, g.c.stats, sizeof(first));
		bytes_first = g.bytes;
		for (int level = 0; kvsink_simd_name(level); level++)
			for (unsigned parts = 1; parts <= 3; parts++) {
				if (kvsink_simd_force(level))
					continue;
				gate_run(&g, parts);
				equal &= !memcmp(first, g.c.stats, sizeof(first)) &&
					 !memcmp(&bytes_first, &g.bytes, sizeof(bytes_first));
			}
		tap_ok(equal, "%s: equal bits and bytes for every SIMD level and number of parts",
		       gate_names[criterion]);
		kvsink_simd_force(-1);
		gate_free(&g);
	}
}

/* The norms that gating trusts are never below the truth. */
static void round_up(void)
{
	bool above = true, tight = true;

	for (int i = 0; i < 200000; i++) {
		double x = exp((dp_random(1u << 30) * 0x1p-30 - 0.5) * 40),
		       y = dp_half(kvsink_norm_round_up(x));

		above &= y >= x;
		tight &= x > 65504 || x < 1e-4 || y <= x * (1 + 0x1p-10);
	}
	tap_ok(above && tight, "norms are rounded up, by less than one part in 1,024");
	tap_ok(isinf(dp_half(kvsink_norm_round_up(NAN))) && isinf(dp_half(kvsink_norm_round_up(1e9))) &&
		       kvsink_norm_round_up(0.0) == 0,
	       "what is no number or too large has the norm infinity, zero has zero");
}

int main(void)
{
	round_up();
	bytes();
	all_resident();
	attention_is_whole();
	not_finite();
	nearly_all();
	agreement();
	monotone();
	same_bits();
	for (uint32_t criterion = 0; criterion < KVSINK_GATE_COUNT; criterion++)
		for (int buffer = 0; buffer < 2; buffer++) {
			adversaries(criterion, buffer);
			gate_fuzz(criterion, buffer, 50000);
		}
	return tap_done();
}
