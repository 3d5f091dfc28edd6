// SPDX-License-Identifier: MIT
/* Scores: sums of attention against a binary64 oracle, observers, modes, the threshold comparator. */
#include "datapath_case.h"
#include "tap.h"

/* Every (query, head) that counted adds at most half a unit of rounding, and its own error. */
static bool sums_agree(const struct dp_case *c)
{
	struct dp_oracle o = {.a = malloc(c->tokens * sizeof(double))};
	double *sum = calloc(c->tokens, sizeof(double)), limit;
	uint32_t i, h, t;
	bool agree = true;

	for (i = 0; i < c->task.count; i++)
		for (h = 0; h < c->task.q_heads; h++) {
			dp_solve(c, i, h, &o);
			for (t = 0; (uint64_t)t + c->task.local_window <= c->task.first + i; t++)
				sum[t] += o.a[t];
		}
	for (t = 0; t < c->tokens; t++) {
		limit = 1e-5 * sum[t] + 0x1p-33 * c->task.count * c->task.q_heads;
		if (fabs(c->score[t] * 0x1p-32 - sum[t]) > limit) {
			tap_diag("token %u: %.9f, oracle %.9f", t, c->score[t] * 0x1p-32, sum[t]);
			agree = false;
		}
	}
	free(sum);
	free(o.a);
	return agree;
}

static void sums(uint32_t local_window, uint32_t window, uint32_t resident_percent, const char *name)
{
	struct dp_geometry g = {KVSINK_FORMAT_F32, 3,	3, 32, 32, 4, 0, 170, window, 0, 20, resident_percent,
				local_window,	   true};
	struct dp_case c;

	dp_new(&c, &g);
	dp_run(&c, 2);
	tap_ok(sums_agree(&c), "sums: %s", name);
	dp_free(&c);
}

/* A prompt in one piece and in chunks. */
static void chunks(void)
{
	struct dp_geometry g = {KVSINK_FORMAT_FP16, 2, 2, 32, 32, 4, 0, 200, 0, 0, 10, 0, 16, true};
	uint64_t *whole;
	struct dp_case c;
	uint32_t first;

	dp_new(&c, &g);
	dp_run(&c, 1);
	whole = malloc(c.tokens * 8);
	memcpy(whole, c.score, c.tokens * 8);
	memset(c.score, 0, c.tokens * 8);
	for (first = 0; first < 200; first += 67) {
		c.task.first = first;
		c.task.count = 200 - first < 67 ? 200 - first : 67;
		c.task.q = c.q + (size_t)first * 4 * 32;
		kvsink_attend_part(&c.task, 1, 0, 1, c.scratch);
	}
	tap_ok(!memcmp(whole, c.score, c.tokens * 8), "sums: chunks add up to the whole, bit for bit");
	free(whole);
	dp_free(&c);
}

/* Sums of a context too long for all its tiles to be kept. */
static void long_context(void)
{
	struct dp_geometry g = {KVSINK_FORMAT_F32, 1, 24, 8, 8, 4, 4900, 2, 0, 0, 10, 2, 64, true};
	struct dp_case c;

	dp_new(&c, &g);
	dp_run(&c, 1);
	tap_ok(sums_agree(&c), "sums: a context whose tiles are computed again");
	dp_free(&c);
}

/* NaN has no attention: it must not become a number, nor take others' sums with it. */
static void nan_query(void)
{
	struct dp_geometry g = {KVSINK_FORMAT_F32, 1, 2, 16, 16, 4, 0, 40, 0, 0, 10, 0, 1, true};
	struct dp_case c;
	uint64_t sum = 0;
	uint32_t t;

	dp_new(&c, &g);
	c.q[30 * 32] = NAN; /* query 30, head 0 */
	dp_run(&c, 1);
	for (t = 0; t < 40; t++)
		sum += c.score[t];
	tap_ok(sum > (uint64_t)70 << 31 && sum <= (uint64_t)79 << 32, "sums: a NaN query adds nothing");
	dp_free(&c);
}

static void observers(void)
{
	static const uint32_t windows[] = {0, 100};
	struct kvsink_score_view v = {.tokens = 200,
				      .scored = 200,
				      .layers = 2,
				      .q_heads = 3,
				      .local_window = 64,
				      .mode = KVSINK_SCORE_MEAN,
				      .windows = windows};
	uint64_t sum[200];
	uint32_t t, i, n;
	bool equal = true;
	int l;

	v.sum = sum;
	for (t = 0; t < 200; t++) {
		sum[t] = (uint64_t)(t + 1) << 28;
		for (l = 0, n = 0; l < 2; l++)
			for (i = 0; i < 200; i++)
				n += i >= t + 64 && (!windows[l] || i < t + windows[l]);
		equal = equal &&
			kvsink_score_value(&v, t, 0) == (n ? (float)(sum[t] * 0x1p-32 / (3.0 * n)) : 0.0f);
		equal = equal && kvsink_observers(&v, t) == (t < 136 ? 136 - t : 0);
	}
	tap_ok(equal, "MEAN: divides by heads and by the queries that could see the token, layer by layer");
	v.local_window = 0;
	tap_ok(kvsink_observers(&v, 10) == 190, "observers: a local window of 0 counts the diagonal in MEAN");
	v.mode = KVSINK_SCORE_RAW;
	tap_ok(kvsink_observers(&v, 10) == 189, "observers: RAW leaves the diagonal out");
	v.local_window = UINT32_MAX;
	tap_ok(kvsink_observers(&v, UINT32_MAX) == 0, "observers: no overflow");
}

static void modes(void)
{
	uint64_t sum[4] = {3ull << 32, 6ull << 32, 0, 1ull << 31};
	struct kvsink_score_view v = {
		.sum = sum, .tokens = 4, .scored = 100, .layers = 1, .q_heads = 2, .mode = KVSINK_SCORE_RAW};

	tap_ok(kvsink_score_max(&v) == 6ull << 32, "the greatest sum");
	tap_ok(kvsink_score_value(&v, 0, 0) == 3.0f && kvsink_score_value(&v, 3, 0) == 0.5f, "RAW: the sum");
	v.mode = KVSINK_SCORE_REL;
	tap_ok(kvsink_score_value(&v, 0, 6ull << 32) == 0.5f && kvsink_score_value(&v, 1, 6ull << 32) == 1.0f,
	       "REL: the sum over the greatest");
	tap_ok(kvsink_score_value(&v, 2, 0) == 0.0f, "REL: 0 when all are 0");
}

static uint32_t float_bits(float x)
{
	uint32_t b;

	memcpy(&b, &x, 4);
	return b;
}

static void comparator(void)
{
	static const uint32_t narrow[] = {90, 95}, wide[] = {90, 96};
	uint64_t sum[200];
	struct kvsink_score_view v = {.sum = sum,
				      .tokens = 200,
				      .scored = 200,
				      .layers = 2,
				      .q_heads = 1,
				      .local_window = 64,
				      .mode = KVSINK_SCORE_MEAN};
	uint32_t bits, t;

	for (t = 0; t < 200; t++)
		sum[t] = 20ull << 32;
	bits = float_bits(kvsink_score_value(&v, 0, 0));
	tap_ok(kvsink_is_sink(&v, 0, 0, bits), "comparator: a score equal to T_SINK is a sink");
	tap_ok(!kvsink_is_sink(&v, 0, 0, bits + 1), "comparator: one bit less is none");
	tap_ok(kvsink_is_sink(&v, 0, 0, 0), "comparator: T_SINK 0 takes every eligible token");
	tap_ok(kvsink_is_sink(&v, 104, 0, 0) && !kvsink_is_sink(&v, 105, 0, 0),
	       "comparator: 32 observers are enough, 31 are not");
	v.windows = narrow;
	tap_ok(!kvsink_is_sink(&v, 0, 0, 0), "comparator: no layer's window leaves 32 observers");
	v.windows = wide;
	tap_ok(kvsink_is_sink(&v, 0, 0, 0), "comparator: one layer's window leaves 32 observers");
	v.windows = (const uint32_t[]){32, 32};
	v.local_window = 0;
	tap_ok(kvsink_is_sink(&v, 0, 0, 0), "comparator: MEAN counts the diagonal among the 32");
	v.mode = KVSINK_SCORE_RAW;
	tap_ok(!kvsink_is_sink(&v, 0, 0, 0), "comparator: RAW does not");
	v.windows = (const uint32_t[]){33, 1};
	tap_ok(kvsink_is_sink(&v, 0, 0, 0), "comparator: RAW needs a window one wider");
	v.windows = NULL;
	v.tokens = 5;
	tap_ok(!kvsink_is_sink(&v, 5, 0, 0), "comparator: a token without a score is none");
}

int main(void)
{
	sums(1, 0, 0, "local window 1");
	sums(0, 0, 0, "local window 0 counts the diagonal");
	sums(64, 0, 0, "local window 64");
	sums(16, 40, 0, "local window 16, sliding window 40");
	sums(50, 40, 0, "nothing when the sliding window is within the local one");
	sums(8, 0, 20, "residents count like the others");
	chunks();
	long_context();
	nan_query();
	observers();
	modes();
	comparator();
	return tap_done();
}
