// SPDX-License-Identifier: MIT
/*
 * Canonical mode: one sum in the order of tokens, so that no placement changes a bit of the output, of lse or
 * of the sums of attention; only what each tier had of it differs. Accuracy against the binary64 oracle.
 */
#include "datapath_case.h"
#include "tap.h"

#define LIMIT 8e-6 /* of the design */

static const struct dp_geometry geometries[] = {
	{KVSINK_FORMAT_F32, 3, 3, 64, 64, 4, 200, 1, 0, 0, 64, 0, 1, false},
	{KVSINK_FORMAT_FP16, 3, 3, 64, 64, 4, 130, 3, 0, 0, 64, 0, 1, true},
	{KVSINK_FORMAT_FP16, 8, 1, 80, 48, 0, 70, 40, 0, 0, 20, 0, 1, false},
	{KVSINK_FORMAT_F32, 1, 32, 33, 17, 3, 65, 3, 0, 0, 64, 0, 1, true},
	{KVSINK_FORMAT_F32, 2, 4, 128, 128, 6, 100, 70, 37, 0, 64, 0, 1, true},
	{KVSINK_FORMAT_FP16, 2, 2, 96, 96, 2, 500, 2, 100, 30, 40, 0, 1, false},
	{KVSINK_FORMAT_F32, 1, 24, 32, 32, 4, 5000, 1, 0, 0, 16, 0, 1, false}, /* tiles are not all kept */
};

#define GEOMETRIES (sizeof(geometries) / sizeof(geometries[0]))

/* What may not depend on the placement. */
struct result {
	float *out, *lse;
	uint64_t *score;
};

static size_t outputs(const struct dp_case *c)
{
	return (size_t)c->task.count * c->task.q_heads;
}

static struct result result_of(const struct dp_case *c)
{
	size_t n = outputs(c), d = c->task.rows.d_v, i;
	struct result r = {.out = malloc(n * d * sizeof(float)),
			   .lse = malloc(n * sizeof(float)),
			   .score = malloc(c->tokens * sizeof(uint64_t))};

	memcpy(r.out, c->out, n * d * sizeof(float));
	memcpy(r.score, c->score, c->tokens * sizeof(uint64_t));
	for (i = 0; i < n; i++)
		r.lse[i] = c->stats[i].lse;
	return r;
}

static bool result_equal(const struct dp_case *c, const struct result *r)
{
	size_t n = outputs(c), i;
	bool equal = !memcmp(r->out, c->out, n * c->task.rows.d_v * sizeof(float)) &&
		     !memcmp(r->score, c->score, c->tokens * sizeof(uint64_t));

	for (i = 0; i < n; i++)
		equal &= !memcmp(&r->lse[i], &c->stats[i].lse, sizeof(float));
	return equal;
}

static void result_free(struct result *r)
{
	free(r->out);
	free(r->lse);
	free(r->score);
}

static bool close_to(double a, double b)
{
	return a == b || fabs(a - b) <= 1e-5;
}

/* Greatest error of the outputs; *stats_ok: what the tiers had agrees with the oracle. */
static double worst_error(const struct dp_case *c, bool *stats_ok)
{
	struct dp_oracle o = {.a = malloc(c->tokens * sizeof(double))};
	const struct kvsink_attend_stat *s = c->stats;
	double worst = 0.0, x;
	uint32_t i, h;

	*stats_ok = true;
	for (i = 0; i < c->task.count; i++)
		for (h = 0; h < c->task.q_heads; h++, s++) {
			dp_solve(c, i, h, &o);
			x = dp_error(c, i, h, &o);
			worst = x > worst || x != x ? x : worst;
			*stats_ok &= close_to(s->lse, o.lse) && close_to(s->lse_sram, o.lse_sram) &&
				     close_to(s->lse_hbm, o.lse_hbm) && close_to(s->mass_sram, o.mass_sram) &&
				     s->skipped == 0.0f && s->bound == 0.0f;
		}
	free(o.a);
	return worst;
}

static void placements(const struct dp_geometry *g, unsigned index)
{
	static const uint32_t percent[] = {1, 10, 50, 90, 100};
	struct result first;
	struct dp_case c;
	bool equal = true, stats_ok, ok;
	double worst;

	dp_new(&c, g);
	c.task.mode = KVSINK_ATTEND_CANONICAL;
	dp_run(&c, 1);
	first = result_of(&c);
	for (unsigned i = 0; i < sizeof(percent) / sizeof(percent[0]); i++) {
		dp_place(&c, percent[i]);
		dp_run(&c, 1 + i % 3);
		equal &= result_equal(&c, &first);
	}
	tap_ok(equal, "geometry %u: equal bits for every placement and number of parts", index);
	dp_place(&c, 20);
	dp_run(&c, 1);
	worst = worst_error(&c, &stats_ok);
	ok = tap_ok(worst <= LIMIT, "geometry %u: output agrees with the oracle", index);
	if (!ok)
		tap_diag("error %.2e", worst);
	tap_ok(stats_ok, "geometry %u: shares of the tiers agree with the oracle", index);
	result_free(&first);
	dp_free(&c);
}

/* With nothing resident there is one partition in either mode. */
static void equals_split(void)
{
	struct result split;
	struct dp_case c;

	dp_new(&c, &geometries[0]);
	dp_run(&c, 1);
	split = result_of(&c);
	c.task.mode = KVSINK_ATTEND_CANONICAL;
	dp_run(&c, 1);
	tap_ok(result_equal(&c, &split), "without residents it is split mode, bit for bit");
	result_free(&split);
	dp_free(&c);
}

static void levels(void)
{
	struct result first;
	struct dp_case c;

	dp_new(&c, &geometries[1]);
	c.task.mode = KVSINK_ATTEND_CANONICAL;
	kvsink_simd_force(0);
	dp_place(&c, 30);
	dp_run(&c, 1);
	first = result_of(&c);
	for (int level = 1; kvsink_simd_name(level); level++) {
		if (kvsink_simd_force(level)) {
			tap_skip("SIMD: canonical on this level", "cpu lacks it");
			continue;
		}
		dp_place(&c, 60);
		dp_run(&c, 2);
		tap_ok(result_equal(&c, &first), "SIMD: %s gives the bits of %s", kvsink_simd_name(level),
		       kvsink_simd_name(0));
	}
	kvsink_simd_force(-1);
	result_free(&first);
	dp_free(&c);
}

int main(void)
{
	for (unsigned i = 0; i < GEOMETRIES; i++)
		placements(&geometries[i], i);
	equals_split();
	levels();
	return tap_done();
}
