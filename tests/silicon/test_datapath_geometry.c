// SPDX-License-Identifier: MIT
/*
 * Heads and layers of real models against the binary64 oracle, in each mode: MHA, GQA, MQA, MLA (V_IN_K),
 * soft cap, window, ALiBi, learned sinks. What canonical mode promises holds for all of them, and gated
 * mode's certificates do.
 */
#include "datapath_case.h"
#include "tap.h"

#define LIMIT 8e-6 /* of the design */
#define PER_HEAD KVSINK_STREAM_PER_HEAD
#define V_IN_K KVSINK_STREAM_V_IN_K

static const struct {
	const char *name;
	struct dp_geometry g;
} cases[] = {
	{"MHA", {KVSINK_FORMAT_F32, 4, 1, 64, 64, 4, 200, 4, 0, 0, 12, 5, 1, false, 0}},
	{"GQA with a soft cap and a window",
	 {KVSINK_FORMAT_FP16, 2, 4, 64, 48, 4, 300, 5, 120, 20, 30, 9, 1, false, 0}},
	{"MQA with ALiBi and sinks",
	 {KVSINK_FORMAT_F32, 1, 8, 64, 64, 4, 250, 6, 0, 0, 12, 5, 1, false, PER_HEAD}},
	{"GQA with sinks and a window",
	 {KVSINK_FORMAT_F32, 2, 4, 64, 64, 4, 400, 3, 128, 0, 12, 9, 1, false, PER_HEAD}},
	{"MHA with ALiBi, sinks and a soft cap",
	 {KVSINK_FORMAT_FP16, 6, 1, 32, 32, 3, 100, 40, 0, 10, 12, 20, 1, false, PER_HEAD}},
	{"MLA", {KVSINK_FORMAT_F32, 1, 16, 576, 512, 4, 150, 3, 0, 0, 12, 9, 1, false, V_IN_K}},
	{"MLA in FP16", {KVSINK_FORMAT_FP16, 1, 5, 80, 64, 4, 300, 7, 0, 0, 12, 9, 1, false, V_IN_K}},
	{"V in K of several heads, with sinks",
	 {KVSINK_FORMAT_F32, 3, 2, 48, 17, 2, 200, 6, 90, 0, 12, 30, 1, false, V_IN_K | PER_HEAD}},
	{"more query heads than a unit has rows, with sinks",
	 {KVSINK_FORMAT_F32, 1, 70, 32, 32, 4, 130, 2, 0, 0, 12, 9, 1, false, PER_HEAD}},
};

#define CASES (sizeof(cases) / sizeof(cases[0]))

/* ---- gating ---- */

struct norms {
	uint32_t *max;
	uint16_t *each;
	struct kvsink_gate_bytes bytes;
};

static struct norms norms_of(struct dp_case *c)
{
	const struct kvsink_rows *r = &c->task.rows;
	struct norms n = {calloc(r->kv_heads, sizeof(*n.max)),
			  calloc((size_t)r->kv_heads * c->tokens, sizeof(*n.each)),
			  {0}};

	for (uint32_t h = 0; h < r->kv_heads; h++) {
		double max = 0.0;

		for (uint32_t t = 0; t < c->tokens; t++) {
			double sum = 0.0;

			for (uint32_t e = 0; e < r->d_v; e++)
				sum += pow(dp_element(r, dp_row(c, t, h, true), e), 2);
			n.each[h * c->tokens + t] = kvsink_norm_round_up(sqrt(sum));
			max = fmax(max, dp_half(n.each[h * c->tokens + t]));
		}
		memcpy(&n.max[h], &(float){(float)max}, sizeof(float));
	}
	return n;
}

static void gate(struct dp_case *c, struct norms *n, uint32_t criterion, bool buffer)
{
	memset(&n->bytes, 0, sizeof(n->bytes));
	c->task.mode = KVSINK_ATTEND_GATED;
	c->task.gate = (struct kvsink_gating){
		.criterion = criterion,
		.epsilon = 0.1f,
		.buffer = buffer,
		.certify = true,
		.norm_max = n->max,
		.norms = n->each,
		.norm_stride = c->tokens,
		.burst_bytes = 32,
		.bytes = &n->bytes,
	};
}

/* ---- against the oracle ---- */

struct seen {
	double error;	/* beyond what the certificate allows, in units of sum a|v| */
	double lse;	/* greatest difference of the logs, the SRAM share's with it */
	double skipped; /* greatest tau */
};

static double distance(const struct dp_case *c, uint32_t i, uint32_t h, const struct dp_oracle *o)
{
	return dp_error(c, i, h, o) * o->norm;
}

static struct seen look(const struct dp_case *c)
{
	struct dp_oracle o = {.a = malloc(c->tokens * sizeof(double))};
	const struct kvsink_attend_stat *s = c->stats;
	struct seen seen = {0};

	for (uint32_t i = 0; i < c->task.count; i++)
		for (uint32_t h = 0; h < c->task.q_heads; h++, s++) {
			dp_solve(c, i, h, &o);
			seen.error = fmax(seen.error, (distance(c, i, h, &o) - s->bound) / o.norm);
			seen.lse = fmax(seen.lse, fabs(s->lse - o.lse));
			if (o.mass_sram > 0)
				seen.lse = fmax(seen.lse, fabs(s->mass_sram - o.mass_sram));
			seen.skipped = fmax(seen.skipped, s->skipped);
		}
	free(o.a);
	return seen;
}

static void exact(struct dp_case *c, const char *name, uint32_t mode, const char *mode_name)
{
	struct seen seen;

	c->task.mode = mode;
	dp_run(c, 2);
	seen = look(c);
	tap_ok(seen.error <= LIMIT, "%s, %s: output (%.1e)", name, mode_name, seen.error);
	tap_ok(seen.lse <= 2e-5, "%s, %s: lse and mass (%.1e)", name, mode_name, seen.lse);
}

/* Output bits of canonical mode, where nothing, half and everything is resident. */
static void canonical(struct dp_case *c, const char *name)
{
	static const uint32_t percent[] = {0, 50, 100, 7};
	size_t bytes = (size_t)c->task.count * c->task.q_heads * c->task.rows.d_v * sizeof(float);
	float *first = malloc(bytes);
	bool same = true;

	exact(c, name, KVSINK_ATTEND_CANONICAL, "canonical");
	memcpy(first, c->out, bytes);
	for (unsigned i = 0; i < 4; i++) {
		dp_place(c, percent[i]);
		dp_run(c, 1);
		same = same && !memcmp(first, c->out, bytes);
	}
	tap_ok(same, "%s, canonical: the same bits for every placement", name);
	free(first);
}

static void gated(struct dp_case *c, const char *name)
{
	static const char *const criteria[] = {"MASS", "ABS", "REL"};
	struct norms n = norms_of(c);
	struct seen seen;
	bool within = true;
	uint64_t skipped = 0;

	for (uint32_t criterion = 0; criterion < KVSINK_GATE_COUNT; criterion++)
		for (int buffer = 0; buffer < 2; buffer++) {
			gate(c, &n, criterion, buffer);
			dp_run(c, 2);
			seen = look(c);
			skipped += n.bytes.v_skipped;
			if (seen.error <= LIMIT && seen.lse <= 2e-5 && seen.skipped <= 0.1 * 2.01)
				continue;
			within = false;
			tap_diag("%s, buffer %d: error %.1e, lse %.1e, tau %.3f", criteria[criterion], buffer,
				 seen.error, seen.lse, seen.skipped);
		}
	tap_ok(within, "%s, gated: outputs are within their certificates", name);
	if (c->task.q_heads / c->task.rows.kv_heads <= KVSINK_UNIT_ROWS)
		tap_ok(skipped > 0, "%s, gated: V rows stay unread", name);
	free(n.max);
	free(n.each);
}

/* ---- sinks by themselves ---- */

/* The sums of attention that SCORE makes, against one minus the sinks' share. */
static void attention_adds_up(void)
{
	struct dp_geometry g = {KVSINK_FORMAT_F32, 2, 4, 32, 32, 4, 0, 90, 0, 0, 8, 20, 0, true, PER_HEAD};
	double want = 0, all = 0;
	struct dp_oracle o;
	struct dp_case c;

	for (uint32_t mode = KVSINK_ATTEND_SPLIT; mode <= KVSINK_ATTEND_CANONICAL; mode++) {
		dp_new(&c, &g);
		c.task.mode = mode;
		o.a = malloc(c.tokens * sizeof(double));
		dp_run(&c, 1);
		for (uint32_t i = 0; i < c.task.count; i++)
			for (uint32_t h = 0; h < c.task.q_heads; h++) {
				dp_solve(&c, i, h, &o);
				for (uint32_t t = 0; t < c.tokens; t++)
					want += o.a[t];
			}
		for (uint32_t t = 0; t < c.tokens; t++)
			all += (double)c.score[t] * 0x1p-32;
		tap_ok(want < 0.9 * c.task.count * c.task.q_heads * (mode + 1),
		       "sinks take attention (mode %u)", mode);
		tap_ok(fabs(all - want) < 1e-4 * want,
		       "sums of attention are those beside the sinks (mode %u: %g, %g)", mode, all, want);
		free(o.a);
		dp_free(&c);
	}
}

/*
 * With values that are all (1, 0, ...) the output says which share was read: of rows r and a sink s it is r /
 * (r + s), and tau is what is missing from r. The certificate must say that much, and no more.
 */
static void tau_is_right(void)
{
	struct dp_geometry g = {KVSINK_FORMAT_F32, 1, 4, 64, 64, 4, 300, 2, 0, 0, 6, 9, 1, false, PER_HEAD};
	double worst = 0, most = 0;
	struct dp_oracle o;
	struct norms n;
	struct dp_case c;

	dp_new(&c, &g);
	for (uint32_t h = 4; h < 8; h++)
		c.heads[h] = 2.0f;
	for (uint32_t t = 0; t < c.tokens; t++)
		for (uint32_t e = 0; e < 64; e++)
			((float *)(void *)dp_row(&c, t, 0, true))[e] = e == 0;
	dp_place(&c, 9);
	n = norms_of(&c);
	o.a = malloc(c.tokens * sizeof(double));
	for (int buffer = 0; buffer < 2; buffer++) {
		gate(&c, &n, KVSINK_GATE_MASS, buffer);
		dp_run(&c, 1);
		for (uint32_t i = 0; i < 8; i++) {
			double rows = 0, out = c.out[(size_t)i * 64], sink;

			dp_solve(&c, i / 4, i % 4, &o);
			for (uint32_t t = 0; t < c.tokens; t++)
				rows += o.a[t];
			sink = 1 - rows;
			worst = fmax(worst, fabs(rows - sink * out / (1 - out) - c.stats[i].skipped));
			most = fmax(most, c.stats[i].skipped);
		}
	}
	tap_ok(most > 0.03 && worst < 1e-4, "a sink counts in tau (%g at most, off by %g)", most, worst);
	free(o.a);
	free(n.max);
	free(n.each);
	dp_free(&c);
}

/* Slopes of 0 and sinks of -inf are none: not a bit differs from a stream that has no such parameters. */
static void none(void)
{
	struct dp_geometry g = {KVSINK_FORMAT_F32, 2, 3, 64, 64, 4, 200, 4, 0, 0, 12, 9, 1, true, PER_HEAD};
	size_t bytes = 4 * 6 * 64 * sizeof(float);
	float *with = malloc(bytes);
	struct kvsink_attend_stat stats[4 * 6];
	struct norms n;
	struct dp_case c;
	bool same = true;

	dp_new(&c, &g);
	n = norms_of(&c);
	for (uint32_t h = 0; h < 6; h++) {
		c.heads[h] = 0.0f;
		c.heads[6 + h] = -INFINITY;
	}
	for (uint32_t mode = 0; mode < KVSINK_ATTEND_MODE_COUNT; mode++) {
		gate(&c, &n, KVSINK_GATE_ABS, true);
		c.task.mode = mode;
		c.task.heads = c.heads;
		dp_run(&c, 1);
		memcpy(with, c.out, bytes);
		memcpy(stats, c.stats, sizeof(stats));
		c.task.heads = NULL;
		dp_run(&c, 1);
		same = same && !memcmp(with, c.out, bytes) && !memcmp(stats, c.stats, sizeof(stats));
	}
	tap_ok(same, "no slopes and no sinks: the same bits as without the parameters, in every mode");
	free(with);
	free(n.max);
	free(n.each);
	dp_free(&c);
}

/* A sink that takes everything leaves zeros; a row that is not finite still shows. */
static void extremes(void)
{
	struct dp_geometry g = {KVSINK_FORMAT_F32, 1, 2, 32, 32, 4, 100, 1, 0, 0, 12, 9, 1, true, PER_HEAD};
	struct norms n;
	struct dp_case c;
	bool zero = true, nan = true;

	dp_new(&c, &g);
	n = norms_of(&c);
	c.heads[2] = c.heads[3] = 3e38f;
	for (uint32_t mode = 0; mode < KVSINK_ATTEND_MODE_COUNT; mode++) {
		gate(&c, &n, KVSINK_GATE_MASS, true);
		c.task.mode = mode;
		dp_run(&c, 1);
		for (uint32_t e = 0; e < 64; e++)
			zero = zero && c.out[e] == 0.0f;
		zero = zero && c.stats[0].lse == 3e38f && c.stats[0].mass_sram == 0.0f;
	}
	tap_ok(zero, "a sink that takes all attention leaves zeros, in every mode");
	c.heads[2] = c.heads[3] = 1.0f;
	((float *)(void *)dp_row(&c, 50, 0, true))[3] = NAN;
	dp_place(&c, 0);
	free(n.max);
	free(n.each);
	n = norms_of(&c);
	n.max[0] = 0x7f800000;
	for (uint32_t mode = 0; mode < KVSINK_ATTEND_MODE_COUNT; mode++) {
		gate(&c, &n, KVSINK_GATE_MASS, true);
		c.task.mode = mode;
		dp_run(&c, 1);
		nan = nan && c.out[3] != c.out[3] && c.out[32 + 3] != c.out[32 + 3];
	}
	tap_ok(nan, "a sink hides no NaN, in any mode");
	free(n.max);
	free(n.each);
	dp_free(&c);
}

int main(void)
{
	struct dp_case c;

	for (unsigned i = 0; i < CASES; i++) {
		dp_new(&c, &cases[i].g);
		exact(&c, cases[i].name, KVSINK_ATTEND_SPLIT, "split");
		if (!(cases[i].g.flags & V_IN_K))
			gated(&c, cases[i].name);
		canonical(&c, cases[i].name);
		dp_free(&c);
	}
	attention_adds_up();
	tau_is_right();
	none();
	extremes();
	return tap_done();
}
