// SPDX-License-Identifier: MIT
/*
 * Attention against a binary64 oracle, and what may not change a bit: SIMD level, number of parts,
 * neighbouring queries, rows that a query may not see.
 */
#include "datapath_case.h"
#include "tap.h"

#define LIMIT 8e-6 /* of the design */

static const struct dp_geometry geometries[] = {
	{KVSINK_FORMAT_F32, 3, 3, 64, 64, 4, 200, 1, 0, 0, 64, 0, 1, false, 0},
	{KVSINK_FORMAT_F32, 3, 3, 64, 64, 4, 0, 150, 0, 0, 30, 0, 64, true, 0},
	{KVSINK_FORMAT_FP16, 3, 3, 64, 64, 4, 130, 3, 0, 0, 64, 5, 1, false, 0},
	{KVSINK_FORMAT_FP16, 8, 1, 80, 48, 0, 70, 40, 0, 0, 20, 30, 1, false, 0},
	{KVSINK_FORMAT_F32, 1, 32, 33, 17, 3, 65, 3, 0, 0, 64, 50, 1, false, 0},
	{KVSINK_FORMAT_F32, 2, 4, 128, 128, 6, 100, 70, 37, 0, 64, 10, 1, false, 0},
	{KVSINK_FORMAT_FP16, 2, 2, 96, 96, 2, 500, 2, 100, 0, 40, 20, 1, false, 0},
	{KVSINK_FORMAT_F32, 2, 2, 64, 64, 4, 90, 60, 0, 50, 64, 15, 1, false, 0},
	{KVSINK_FORMAT_F32, 1, 1, 1, 1, 0, 0, 1, 0, 0, 5, 0, 1, false, 0},
	{KVSINK_FORMAT_F32, 1, 1, 1, 3, 0, 0, 9, 1, 0, 5, 0, 1, false, 0},
	{KVSINK_FORMAT_F32, 1, 2, 512, 512, 8, 64, 2, 0, 0, 64, 25, 1, false, 0},
	{KVSINK_FORMAT_FP16, 64, 1, 16, 16, 4, 63, 2, 0, 0, 64, 10, 1, false, 0},
	{KVSINK_FORMAT_F32, 1, 100, 16, 8, 4, 127, 2, 0, 30, 64, 10, 1, false, 0},
	{KVSINK_FORMAT_F32, 4, 2, 64, 64, 4, 127, 1, 0, 0, 64, 100, 1, false, 0},
	{KVSINK_FORMAT_F32, 1, 3, 64, 64, 4, 8191, 1, 0, 0, 64, 1, 1, false, 0},
	{KVSINK_FORMAT_FP16, 1, 3, 64, 64, 4, 8191, 1, 0, 0, 2, 0, 1, false, 0},
	{KVSINK_FORMAT_F32, 1, 24, 32, 32, 4, 5000, 1, 0, 0, 16, 1, 1, false, 0}, /* tiles are not all kept */
	{KVSINK_FORMAT_F32, 2, 4, 64, 64, 4, 300, 9, 0, 0, 12, 9, 1, false, KVSINK_STREAM_PER_HEAD},
	{KVSINK_FORMAT_FP16, 1, 16, 576, 512, 4, 130, 3, 0, 0, 12, 9, 1, false, KVSINK_STREAM_V_IN_K},
	/* one query: V is read 64, 32 or 16 elements at a time, by one, two and three heads */
	{KVSINK_FORMAT_FP16, 2, 1, 96, 112, 4, 200, 1, 0, 0, 20, 5, 1, false, 0},
	{KVSINK_FORMAT_FP16, 2, 2, 48, 80, 4, 200, 1, 0, 0, 20, 5, 1, false, 0},
	{KVSINK_FORMAT_FP16, 1, 3, 64, 48, 4, 200, 1, 0, 0, 20, 5, 1, false, 0},
};

#define GEOMETRIES (sizeof(geometries) / sizeof(geometries[0]))

static double worst_seen;

static const char *describe(const struct dp_geometry *g)
{
	static char text[160];

	snprintf(text, sizeof(text),
		 "%s, %u x %u heads, d %u/%u, %u queries at %u, window %u, cap %g, |logit| %g, %u%%",
		 g->format == KVSINK_FORMAT_FP16 ? "FP16" : "F32", g->kv_heads, g->group, g->d_k, g->d_v,
		 g->count, g->first, g->window, (double)g->softcap, g->top, g->resident_percent);
	return text;
}

static bool near(double a, double b, double limit)
{
	return a == b || fabs(a - b) <= limit;
}

/* Greatest error of all queries and heads; *stats_ok: lse and mass agree as well. */
static double worst_error(const struct dp_case *c, bool *stats_ok)
{
	struct dp_oracle o = {.a = malloc(c->tokens * sizeof(double))};
	const struct kvsink_attend_stat *s = c->stats;
	double worst = 0.0, x, mass = 0.0;
	uint32_t i, h;

	*stats_ok = true;
	for (i = 0; i < c->task.count; i++)
		for (h = 0; h < c->task.q_heads; h++, s++) {
			dp_solve(c, i, h, &o);
			x = dp_error(c, i, h, &o);
			worst = x > worst || x != x ? x : worst;
			mass += o.mass_sram;
			if (!near(s->lse, o.lse, 1e-5) || !near(s->lse_sram, o.lse_sram, 1e-5) ||
			    !near(s->lse_hbm, o.lse_hbm, 1e-5) || !near(s->mass_sram, o.mass_sram, 1e-5))
				*stats_ok = false;
		}
	if (!near(c->mass * 0x1p-32, mass, 1e-5 * c->task.count * c->task.q_heads))
		*stats_ok = false;
	free(o.a);
	return worst;
}

static void accuracy(const struct dp_geometry *g)
{
	struct dp_case c;
	bool stats_ok;
	double worst;

	dp_new(&c, g);
	dp_run(&c, 1);
	worst = worst_error(&c, &stats_ok);
	worst_seen = worst > worst_seen ? worst : worst_seen;
	if (!tap_ok(worst <= LIMIT, "oracle: output: %s", describe(g)))
		tap_diag("error %.2e", worst);
	tap_ok(stats_ok, "oracle: lse and mass: %s", describe(g));
	dp_free(&c);
}

/* |q||k| is a thousand times the logits: binary32 products would be too coarse. */
static void cancellation(void)
{
	struct dp_geometry g = {KVSINK_FORMAT_F32, 1, 2, 64, 64, 4, 200, 4, 0, 0, 64, 5, 1, false, 0};
	struct dp_case c;
	bool stats_ok;
	uint32_t t, e;
	double worst;
	float *k;

	dp_new(&c, &g);
	for (t = 0; t < c.tokens; t++)
		for (k = (float *)(void *)dp_row(&c, t, 0, false), e = 0; e < 64; e++)
			k[e] += e & 1 ? 1000.0f : -1000.0f;
	for (e = 0; e < 4 * 2 * 64; e += 2) /* the offsets cancel in q . k */
		c.q[e + 1] = c.q[e];
	dp_scale(&c, 64);
	dp_place(&c, 5);
	dp_run(&c, 1);
	worst = worst_error(&c, &stats_ok);
	if (!tap_ok(worst <= LIMIT, "oracle: output when large products cancel"))
		tap_diag("error %.2e", worst);
	dp_free(&c);
}

static size_t out_bytes(const struct dp_case *c)
{
	return (size_t)c->task.count * c->task.q_heads * c->task.rows.d_v * sizeof(float);
}

static size_t stat_bytes(const struct dp_case *c)
{
	return (size_t)c->task.count * c->task.q_heads * sizeof(*c->stats);
}

struct result {
	uint8_t *out, *stats, *score;
	uint64_t mass;
};

static struct result keep(const struct dp_case *c)
{
	struct result r = {malloc(out_bytes(c)), malloc(stat_bytes(c)), malloc(c->tokens * 8), c->mass};

	memcpy(r.out, c->out, out_bytes(c));
	memcpy(r.stats, c->stats, stat_bytes(c));
	memcpy(r.score, c->score, c->tokens * 8);
	return r;
}

static bool same(const struct dp_case *c, const struct result *r)
{
	return !memcmp(r->out, c->out, out_bytes(c)) && !memcmp(r->stats, c->stats, stat_bytes(c)) &&
	       !memcmp(r->score, c->score, c->tokens * 8) && r->mass == c->mass;
}

static void drop(struct result *r)
{
	free(r->out);
	free(r->stats);
	free(r->score);
}

/* Level 0 against `level`, over all geometries. */
static void simd_level(int level)
{
	char name[80], why[80];
	bool equal = true;
	struct dp_case c;
	struct result r;
	unsigned i;

	snprintf(name, sizeof(name), "SIMD: %s equals %s, bit for bit", kvsink_simd_name(level),
		 kvsink_simd_name(0));
	snprintf(why, sizeof(why), "cpu lacks %s", kvsink_simd_name(level));
	if (kvsink_simd_force(level)) {
		tap_skip(name, why);
		return;
	}
	for (i = 0; i < GEOMETRIES; i++) {
		dp_new(&c, &geometries[i]);
		kvsink_simd_force(0);
		dp_run(&c, 1);
		r = keep(&c);
		kvsink_simd_force(level);
		dp_run(&c, 1);
		if (!same(&c, &r)) {
			equal = false;
			tap_diag("differs: %s", describe(&geometries[i]));
		}
		drop(&r);
		dp_free(&c);
	}
	kvsink_simd_force(-1);
	tap_ok(equal, "%s", name);
}

static void parts(void)
{
	bool equal = true;
	struct dp_case c;
	struct result r;
	unsigned i, n;

	for (i = 0; i < 8; i++) {
		dp_new(&c, &geometries[i]);
		dp_run(&c, 1);
		r = keep(&c);
		for (n = 2; n <= 8; n++) {
			dp_run(&c, n);
			equal = equal && same(&c, &r);
		}
		drop(&r);
		dp_free(&c);
	}
	tap_ok(equal, "bits: 1 to 8 parts agree");
}

/* Each query alone gives what it gives among its neighbours. */
static void blocking(void)
{
	static const unsigned which[] = {1, 3, 5, 7, 9};
	bool equal = true;
	struct dp_case c;
	struct result r;
	unsigned i, n;
	size_t row, q;

	for (n = 0; n < sizeof(which) / sizeof(which[0]); n++) {
		dp_new(&c, &geometries[which[n]]);
		dp_run(&c, 1);
		r = keep(&c);
		row = (size_t)c.task.q_heads * c.task.rows.d_v * sizeof(float);
		q = (size_t)c.task.q_heads * c.task.rows.d_k;
		for (i = 0; i < geometries[which[n]].count; i++) {
			c.task.first = geometries[which[n]].first + i;
			c.task.count = 1;
			c.task.q = c.q + i * q;
			dp_run(&c, 1);
			equal = equal && !memcmp(c.out, r.out + i * row, row);
		}
		drop(&r);
		dp_free(&c);
	}
	tap_ok(equal, "bits: a query alone and among others agree");
}

/* Entries that do not cover the layer's heads, or lie outside the window, change nothing. */
static void all_in_hbm(void)
{
	struct dp_geometry g = {KVSINK_FORMAT_FP16, 2, 3, 64, 64, 4, 300, 20, 50, 0, 64, 0, 1, false, 0};
	struct dp_case c;
	struct result r;

	dp_new(&c, &g);
	dp_run(&c, 1);
	r = keep(&c);
	tap_ok(c.stats[0].lse_sram == -INFINITY && c.stats[0].mass_sram == 0.0f && c.mass == 0 &&
		       c.stats[0].lse == c.stats[0].lse_hbm,
	       "no residents: lse_sram is -inf, mass 0");
	dp_add_resident(&c, 3, 3);
	dp_add_resident(&c, 100, 2);
	dp_run(&c, 1);
	tap_ok(same(&c, &r), "bits: residents that no query sees change nothing");
	drop(&r);
	dp_free(&c);
}

/* The tier is really read: a resident's HBM row may be garbage, and a row in HBM is not read from SRAM. */
static void tiers(void)
{
	struct dp_geometry g = {KVSINK_FORMAT_F32, 8, 2, 32, 32, 4, 200, 3, 0, 0, 20, 0, 1, false, 0};
	uint32_t h, e, b = 0;
	struct dp_case c;
	struct result r;
	float *row;

	dp_new(&c, &g);
	dp_add_resident(&c, 7, 0x52); /* 3 of 8 heads */
	dp_add_resident(&c, 7, 0x01); /* another entry of the token */
	dp_add_resident(&c, 130, 0xff);
	dp_run(&c, 1);
	r = keep(&c);
	for (h = 0; h < 8; h++)
		for (e = 0; e < 32; e++) {
			row = (float *)(void *)dp_row(&c, 7, h, e & 1);
			if (0x53 >> h & 1)
				row[e] = NAN;
			((float *)(void *)dp_row(&c, 130, h, true))[e] = INFINITY;
		}
	dp_run(&c, 1);
	tap_ok(same(&c, &r), "tiers: rows of residents are read from SRAM only (3 of 8 heads, two entries)");
	for (h = 0; h < 16; h++)
		b += c.stats[h].mass_sram > 0.0f;
	tap_ok(b == 16, "tiers: mass is served from SRAM");
	drop(&r);
	dp_free(&c);
}

/* NaN in rows that a query may not see must not reach it; NaN in one that it sees must. */
static void poison(void)
{
	struct dp_geometry g = {KVSINK_FORMAT_F32, 1, 2, 32, 32, 4, 50, 40, 30, 0, 20, 10, 1, false, 0};
	uint32_t i, e, clean = 0, dirty = 0;
	struct dp_case c;
	struct result r;
	size_t row;

	dp_new(&c, &g);
	c.task.rows.residents = 0;
	dp_run(&c, 1);
	r = keep(&c);
	row = 2 * 32 * sizeof(float);
	for (e = 0; e < 32; e++) {
		((float *)(void *)dp_row(&c, 60, 0, true))[e] = NAN;
		((float *)(void *)dp_row(&c, 60, 0, false))[e] = NAN;
	}
	dp_run(&c, 1);
	for (i = 0; i < 40; i++) {
		if (i < 10) /* tokens 50 .. 59; with window 30 the last that sees 60 is 89, the last query */
			clean += !memcmp((uint8_t *)c.out + i * row, r.out + i * row, row);
		else
			dirty += c.out[i * 64] != c.out[i * 64];
	}
	tap_ok(clean == 10, "poison: NaN in later rows does not reach a query");
	tap_ok(dirty == 30, "poison: NaN in a visible row reaches the output");
	drop(&r);
	dp_free(&c);
}

static void ragged(void)
{
	struct kvsink_attend_task tasks[3];
	struct dp_case c[3];
	struct result r[3];
	bool equal = true;
	unsigned i, part;

	for (i = 0; i < 3; i++) {
		dp_new(&c[i], &geometries[2 + i]);
		dp_run(&c[i], 1);
		r[i] = keep(&c[i]);
		memset(c[i].out, 0xff, out_bytes(&c[i]));
		c[i].mass = 0;
		tasks[i] = c[i].task;
	}
	for (part = 0; part < 3; part++)
		kvsink_attend_part(tasks, 3, part, 3, c[0].scratch);
	for (i = 0; i < 3; i++) {
		equal = equal && same(&c[i], &r[i]);
		drop(&r[i]);
		dp_free(&c[i]);
	}
	tap_ok(equal, "bits: tasks of a batch and each alone agree");
}

int main(void)
{
	unsigned i;
	int level;

	for (i = 0; i < GEOMETRIES; i++)
		accuracy(&geometries[i]);
	tap_diag("greatest error %.2e of sum a|v|, allowed %.0e", worst_seen, LIMIT);
	cancellation();
	for (level = 1; kvsink_simd_name(level); level++)
		simd_level(level);
	parts();
	blocking();
	all_in_hbm();
	tiers();
	poison();
	ragged();
	return tap_done();
}
