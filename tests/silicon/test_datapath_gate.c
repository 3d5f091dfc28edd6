// SPDX-License-Identifier: MIT
/*
 * Gated attention: the certificate holds against a binary64 oracle that reads every row, each criterion
 * holds, as few rows are read as that needs, and what is left unread is counted to the byte.
 */
#include "gate_fuzz.h"

/*
 * All heavy rows point one way, all light rows the other, all are as long as the longest, and that is longer
 * than the nearest binary16.
 */
static double adversary(uint32_t criterion, bool buffer, float epsilon, struct gate_sums *s)
{
	struct dp_geometry geometry = {KVSINK_FORMAT_F32, 1, 1, 16, 8, 4, 700, 1, 0, 0, 12, 0, 1, false, 0};
	struct gate_case g;

	gate_new(&g, &geometry, criterion, epsilon);
	g.c.task.gate.buffer = buffer;
	g.c.task.gate.certify = true;
	gate_adverse(&g);
	gate_norms(&g);
	gate_run(&g, 1);
	gate_look(&g, false, s);
	gate_free(&g);
	return s->worst;
}

static void adversaries(uint32_t criterion, bool buffer)
{
	struct gate_sums s = {0};

	for (int i = 0; i < 40; i++)
		adversary(criterion, buffer, 0.05f + 0.1f * dp_random(5), &s);
	tap_ok(!s.violations && !s.broken && s.worst > 0.9,
	       "%s, %s: adversarial rows come within 0.9 of the certificate and never beyond",
	       gate_names[criterion], buffer ? "score buffer" : "one pass");
	tap_diag("worst error / bound %.4f", s.worst);
}

/* ---- how much is read ---- */

/* Of the V bytes in HBM that one block of queries would read: of one KV head, times all. */
static double skipped_share(const struct gate_case *g)
{
	const struct kvsink_attend_task *task = &g->c.task;
	uint64_t rows = 0;

	for (uint32_t h = 0; h < task->rows.kv_heads; h++)
		rows += gate_rows(&g->c, task->first, task->first + task->count - 1, h);
	return (double)g->bytes.v_skipped / (rows * task->rows.d_v * kvsink_format_bytes(task->rows.format));
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
	struct dp_geometry geometry = {KVSINK_FORMAT_F32, 1, 1, 16, 8, 4, 1500, 1, 0, 0, 8, 0, 1, false, 0};
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
			KVSINK_FORMAT_F32, 1, groups[i], 16, 8, 4, 900, 1, 0, 0, 8, 0, 1, false, 0};

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
	gate_new(&g,
		 &(struct dp_geometry){KVSINK_FORMAT_F32, 1, 1, 16, 8, 4, 900, 6, 0, 0, 8, 0, 1, false, 0},
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
	struct dp_geometry geometry = {KVSINK_FORMAT_F32, 2, 3, 16, 16, 4, 900, 1, 0, 0, 10, 2, 1, false, 0};
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
	struct dp_geometry geometry = {
		KVSINK_FORMAT_FP16, 2, 2, 32, 32, 4, 200, 2, 0, 0, 20, 100, 1, false, 0};
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
	struct dp_geometry geometry = {KVSINK_FORMAT_F32, 1, 4, 16, 16, 4, 500, 2, 0, 0, 12, 3, 1, true, 0};
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
	struct dp_geometry geometry = {KVSINK_FORMAT_F32, 2, 1, 16, 8, 4, 300, 1, 0, 0, 8, 0, 1, false, 0};
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
	struct dp_geometry geometry = {KVSINK_FORMAT_F32, 1, 1, 5, 5, 2, 63, 1, 0, 0, 1, 0, 1, false, 0};
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

/* A window moves the first norm that a query reads, not only their number: here to the last byte pair of a
 * burst. */
static void norms_of_a_window(void)
{
	struct dp_geometry geometry = {KVSINK_FORMAT_F32, 2, 1, 8, 8, 2, 99, 1, 33, 0, 4, 0, 1, false, 0};
	struct gate_case g;

	gate_new(&g, &geometry, KVSINK_GATE_REL, 0.1f);
	/* tokens 67 to 99; head 1's norms are 200 bytes behind head 0's */
	g.c.task.gate.norms_at = 64 - 2 * 67 % 64 - 2;
	gate_run(&g, 1);
	tap_ok(g.bytes.norm == 2 * (4 + 2 * 33) && g.bytes.norm_bus == 2 * 64 + 128 + 128,
	       "under a sliding window REL reads norms of the rows that are seen: %llu B, %llu B of bursts",
	       (unsigned long long)g.bytes.norm, (unsigned long long)g.bytes.norm_bus);
	gate_free(&g);
}

/* More query heads than a unit has rows: nobody could ask the others. */
static void many_heads(void)
{
	for (uint32_t group = 24; group <= 50; group += 13) {
		struct dp_geometry geometry = {
			KVSINK_FORMAT_F32, 1, group, 16, 8, 4, 300, 1, 0, 0, 8, 0, 1, false, 0};
		struct gate_case g;
		bool exact = true;

		gate_new(&g, &geometry, KVSINK_GATE_MASS, 0.5f);
		gate_run(&g, 1);
		for (uint32_t i = 0; i < group; i++)
			exact &= g.c.stats[i].skipped == 0 && g.c.stats[i].bound == 0;
		tap_ok(exact == (group > 24) && !g.bytes.v_skipped == exact,
		       "%u query heads of a KV head: %s", group,
		       group > 24 ? "nothing stays unread" : "they agree");
		gate_free(&g);
	}
}

/* ---- K rows that are read again ---- */

struct again {
	uint64_t useful, bus;
};

static void one_read(struct again *a, uint64_t at, uint64_t bytes)
{
	a->useful += bytes;
	a->bus += ((at + bytes - 1) / 64 - at / 64 + 1) * 64;
}

/* K rows of one page, of 16 tokens and one head, that a block reads: those of `tokens`, by bit. */
static void read_page(const struct dp_case *c, uint32_t page, uint32_t tokens, struct again *a)
{
	const struct kvsink_rows *r = &c->task.rows;
	uint32_t row = r->d_k * 4, code = r->seal_k ? kvsink_code_bytes(r->seal_k, r->d_k) : 0;
	bool sealed = r->seal_k && page * 16 < r->sealed, touched[64] = {false};
	uint32_t scales = code * 16, bitmap = sealed ? kvsink_seal_bitmap_at(r->seal_k, r->d_k, 16) : 0;
	uint16_t kept = 0;

	if (sealed)
		memcpy(&kept, r->pages[page] + r->k_offset + bitmap, sizeof(kept));
	if (sealed && tokens)
		one_read(a, r->k_offset + scales, bitmap + 2 - scales);
	for (uint32_t slot = 0; slot < 16; slot++) {
		uint64_t at = r->k_offset + (uint64_t)slot * (sealed ? code : row);

		if (!(tokens >> slot & 1))
			continue;
		if (!sealed) {
			one_read(a, at, row);
			continue;
		}
		if (kept >> slot & 1) { /* gate_seal() protects one at most */
			one_read(a, r->k_offset + kvsink_seal_rows_at(r->seal_k, r->d_k, 16), row);
			continue;
		}
		a->useful += code;
		for (uint32_t i = 0; i < code; i++) {
			a->bus += touched[(at + i) / 64] ? 0 : 64;
			touched[(at + i) / 64] = true;
		}
	}
}

/* What a block of queries reads of the tokens that the last one's output says are unread. */
static struct again read_unread(const struct dp_case *c)
{
	const float *out = c->out + (size_t)(c->task.count - 1) * c->task.rows.d_v + 1;
	struct again a = {0};

	for (uint32_t page = 0; page * 16 < c->tokens; page++) {
		uint32_t tokens = 0;

		for (uint32_t t = page * 16; t < page * 16 + 16 && t < c->task.first + c->task.count; t++)
			tokens |= (out[t] == 0.0f) << t % 16;
		read_page(c, page, tokens, &a);
	}
	return a;
}

/*
 * The newer half of the V rows points one way, the older the other, so that REL in one pass lets too much go;
 * besides each row has a small element of its own, so that the output tells which rows were read.
 */
static void opposed_rows(struct gate_case *g)
{
	for (uint32_t t = 0; t < g->c.tokens; t++) {
		float v[KVSINK_MAX_HEAD_DIM] = {t >= g->c.tokens / 2 ? 1.0f : -1.0f};

		v[1 + t] = 0x1p-6f;
		memcpy(dp_row(&g->c, t, 0, true), v, (1 + g->c.tokens) * sizeof(float));
	}
	gate_norms(g);
}

static void read_again(uint32_t seal, uint32_t count, const char *name)
{
	struct again want = {0};
	struct gate_case g = {.norms = NULL};

	for (uint32_t tries = 0; tries < 400 && !g.bytes.k_again; tries++) {
		struct dp_geometry geometry = {
			KVSINK_FORMAT_F32, 1, 1, 32,	501, 4, 500 - count, count, 0, 0,
			2 + tries % 12,	   0, 1, false, 0};

		if (tries)
			gate_free(&g);
		gate_new(&g, &geometry, KVSINK_GATE_REL, 0.1f + 0.2f * (tries % 2));
		opposed_rows(&g);
		if (seal)
			gate_seal(&g, seal, 0);
		g.c.task.gate.buffer = false;
		gate_run(&g, 1);
		want = read_unread(&g.c);
		g.c.task.gate.certify = true;
		gate_run(&g, 1);
	}
	tap_ok(g.bytes.k_again == want.useful && g.bytes.k_again_bus == want.bus && want.useful &&
		       !g.bytes.v_skipped,
	       "CERTIFY, %s, %u queries: K is read again as the ledger counts it: %llu B (%llu), %llu B "
	       "(%llu) of bursts",
	       name, count, (unsigned long long)g.bytes.k_again, (unsigned long long)want.useful,
	       (unsigned long long)g.bytes.k_again_bus, (unsigned long long)want.bus);
	gate_free(&g);
}

/* ---- the same everywhere ---- */

static void same_bits(void)
{
	struct dp_geometry geometry = {KVSINK_FORMAT_FP16, 3, 3, 64, 64, 4, 700, 9, 0, 0, 20, 3, 1, true, 0};
	struct kvsink_attend_stat first[81];
	static float out[81 * 64];
	struct kvsink_gate_bytes bytes_first;
	struct gate_case g;

	for (uint32_t criterion = 0; criterion < KVSINK_GATE_COUNT; criterion++) {
		bool equal = true;

		gate_new(&g, &geometry, criterion, 0.03f);
		kvsink_simd_force(0);
		gate_run(&g, 1);
		memcpy(first, g.c.stats, sizeof(first));
		memcpy(out, g.c.out, sizeof(out));
		bytes_first = g.bytes;
		for (int level = 0; kvsink_simd_name(level); level++)
			for (unsigned parts = 1; parts <= 3; parts++) {
				if (kvsink_simd_force(level))
					continue;
				gate_run(&g, parts);
				equal &= !memcmp(first, g.c.stats, sizeof(first)) &&
					 !memcmp(out, g.c.out, sizeof(out)) &&
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
	norms_of_a_window();
	many_heads();
	for (uint32_t count = 1; count <= 2; count++) {
		read_again(0, count, "rows as they were appended");
		read_again(KVSINK_FORMAT_INT8_CHANNEL, count, "INT8 per channel");
		read_again(KVSINK_FORMAT_INT8, count, "INT8");
	}
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
