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
	struct dp_geometry g = {
		KVSINK_FORMAT_F32, 3,	 3, 32, 32, 4, 0, 170, window, 0, 20, resident_percent,
		local_window,	   true, 0};
	struct dp_case c;

	dp_new(&c, &g);
	dp_run(&c, 2);
	tap_ok(sums_agree(&c), "sums: %s", name);
	dp_free(&c);
}

/* A prompt in one piece and in chunks. */
static void chunks(void)
{
	struct dp_geometry g = {KVSINK_FORMAT_FP16, 2, 2, 32, 32, 4, 0, 200, 0, 0, 10, 0, 16, true, 0};
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
	struct dp_geometry g = {KVSINK_FORMAT_F32, 1, 24, 8, 8, 4, 4900, 2, 0, 0, 10, 2, 64, true, 0};
	struct dp_case c;

	dp_new(&c, &g);
	dp_run(&c, 1);
	tap_ok(sums_agree(&c), "sums: a context whose tiles are computed again");
	dp_free(&c);
}

/* NaN has no attention: it must not become a number, nor take others' sums with it. */
static void nan_query(void)
{
	struct dp_geometry g = {KVSINK_FORMAT_F32, 1, 2, 16, 16, 4, 0, 40, 0, 0, 10, 0, 1, true, 0};
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

/*
 * Everything that is gathered is made of the same integers: sums per head add up to those of all heads, those
 * of the later queries are what a run of them alone gives, sink mass is the sum over the sinks.
 */
static void gathered(uint32_t group, uint32_t first, uint32_t count, uint32_t window, unsigned parts,
		     const char *name)
{
	struct dp_geometry g = {
		KVSINK_FORMAT_FP16, 3, group, 32, 24, 4, first, count, window, 0, 10, 15, 16, true, 0};
	uint32_t tokens = first + count, words = (tokens + 63) / 64, later = first + count / 2 + 1, t, kv;
	uint64_t *mass = calloc(3 * tokens, 8), *observed = calloc(tokens, 8), *sinks = calloc(words, 8);
	uint64_t sink_mass[3] = {0}, want[3] = {0}, *all;
	bool adds = true, shares = true, alone = true;
	struct dp_case c;

	dp_new(&c, &g);
	for (t = 0; t < words; t++)
		sinks[t] = (uint64_t)dp_random(1u << 31) << 32 | dp_random(1u << 31);
	c.task.mass = mass;
	c.task.observed = observed;
	c.task.observe_first = later;
	c.task.sinks = sinks;
	c.task.sink_mass = sink_mass;
	dp_run(&c, parts);
	for (t = 0; t < tokens; t++) {
		adds = adds && mass[t] + mass[tokens + t] + mass[2 * tokens + t] == c.score[t];
		for (kv = 0; kv < 3; kv++)
			want[kv] += sinks[t / 64] >> t % 64 & 1 ? mass[kv * tokens + t] : 0;
	}
	shares = !memcmp(want, sink_mass, sizeof(want)) && want[0];
	all = malloc(tokens * 8);
	memcpy(all, observed, tokens * 8);
	c.task.mass = c.task.observed = c.task.sink_mass = NULL;
	c.task.sinks = NULL;
	c.task.q += (size_t)(later - first) * c.task.q_heads * c.task.rows.d_k;
	c.task.first = later;
	c.task.count = tokens - later;
	dp_run(&c, 1);
	alone = c.task.count && !memcmp(all, c.score, tokens * 8);
	tap_ok(adds && shares && alone, "gathered: %s: per head %s, on sinks %s, of later queries %s", name,
	       adds ? "adds up" : "does not", shares ? "adds up" : "does not", alone ? "agrees" : "does not");
	free(all);
	free(mass);
	free(observed);
	free(sinks);
	dp_free(&c);
}

/* One query's sums, alone: of all tokens, and by KV head of the sinks. */
static bool same_alone(struct dp_case *c, uint32_t token, const uint64_t *sinks, const uint64_t *observed,
		       const uint64_t *sink_mass)
{
	const float *q = c->task.q;
	uint32_t first = c->task.first, count = c->task.count;
	uint64_t *mass = calloc(3 * (token + 1), 8), want[3] = {0};
	bool same;

	c->task.q += (size_t)(token - first) * c->task.q_heads * c->task.rows.d_k;
	c->task.first = token;
	c->task.count = 1;
	c->task.mass = mass;
	dp_run(c, 1);
	for (uint32_t t = 0; t <= token; t++)
		for (uint32_t kv = 0; kv < 3; kv++)
			want[kv] += sinks[t / 64] >> t % 64 & 1 ? mass[kv * (token + 1) + t] : 0;
	same = !memcmp(observed, c->score, (token + 1) * 8) && !memcmp(want, sink_mass, sizeof(want));
	c->task.q = q;
	c->task.first = first;
	c->task.count = count;
	c->task.mass = NULL;
	free(mass);
	return same;
}

/* With a pitch, queries are gathered each by itself; those before the first have no place. */
static void apart(uint32_t group, uint32_t first, uint32_t count, uint32_t window, unsigned parts,
		  const char *name)
{
	struct dp_geometry g = {
		KVSINK_FORMAT_FP16, 3, group, 32, 24, 4, first, count, window, 0, 10, 15, 16, true, 0};
	uint32_t pitch = (first + count + 63) & ~63u, from = first + count / 3, rows = first + count - from;
	uint64_t *observed = calloc((size_t)rows * pitch, 8), *sink_mass = calloc(rows * 3, 8);
	uint64_t *sinks = calloc(pitch / 64, 8);
	uint32_t same = 0;
	struct dp_case c;

	dp_new(&c, &g);
	for (uint32_t t = 0; t < pitch / 64; t++)
		sinks[t] = (uint64_t)dp_random(1u << 31) << 32 | dp_random(1u << 31);
	c.task.observed = observed;
	c.task.observe_first = from;
	c.task.observe_pitch = pitch;
	c.task.sinks = sinks;
	c.task.sink_mass = sink_mass;
	dp_run(&c, parts);
	c.task.observed = c.task.sink_mass = NULL;
	c.task.sinks = NULL;
	c.task.observe_pitch = 0;
	for (uint32_t r = 0; r < rows; r++)
		same += same_alone(&c, from + r, sinks, observed + (size_t)r * pitch, sink_mass + r * 3);
	tap_ok(same == rows, "gathered apart: %s: %u of %u queries as if alone", name, same, rows);
	free(observed);
	free(sink_mass);
	free(sinks);
	dp_free(&c);
}

static void weights(void)
{
	static const uint32_t q16[] = {1 << 16, 3 << 15, 0}; /* 1, 1.5, 0 */
	uint64_t sum[1] = {100ull << 32};
	struct kvsink_score_view v = {.sum = sum,
				      .tokens = 1,
				      .scored = 101,
				      .layers = 3,
				      .q_heads = 2,
				      .local_window = 1,
				      .mode = KVSINK_SCORE_MEAN,
				      .weights = q16};

	tap_ok(kvsink_observations(&v, 0) == 100 * 2 * (5ull << 15),
	       "MEAN: a layer's queries count by its weight");
	tap_ok(kvsink_score_value(&v, 0, 0) == 0.2f, "MEAN: 100 / (100 * 2 * 2.5)");
	tap_ok(kvsink_mean_q32(1ull << 32, 3ull << 16) == 0x55555555 &&
		       kvsink_mean_q32(UINT64_MAX, 1) == UINT32_MAX &&
		       kvsink_mean_q32(5ull << 32, 5ull << 16) == UINT32_MAX,
	       "mean: rounded down, and below 1");
}

/* The state machine by itself: what a run becomes with each EMA. */
static void hysteresis(void)
{
	struct kvsink_hysteresis n = {0x3f000000, 0x3e800000, 3, 2}; /* 1/2, 1/4 */
	uint32_t high = 1u << 31, low = (1u << 30) - 1, between = 1u << 30, state = 0;

	state = kvsink_next_state(&n, state, high);
	tap_ok(state == 1 && kvsink_next_state(&n, state, high - 1) == 0,
	       "run: E at T_PROMOTE counts, one unit below ends it");
	state = kvsink_next_state(&n, state, high);
	tap_ok(state == 2, "run: two are not three");
	state = kvsink_next_state(&n, state, high);
	tap_ok(state == KVSINK_STATE_SINK, "run: the third makes a sink, with a new run");
	tap_ok(kvsink_next_state(&n, state, between) == KVSINK_STATE_SINK,
	       "run: E at T_EVICT does not count against it");
	state = kvsink_next_state(&n, state, low);
	tap_ok(state == (KVSINK_STATE_SINK | 1), "run: one unit below does");
	tap_ok(kvsink_next_state(&n, state, between) == KVSINK_STATE_SINK, "run: and is forgotten");
	tap_ok(kvsink_next_state(&n, state, low) == 0, "run: the second in a row ends the sink");
	n.n_promote = 65535;
	tap_ok(kvsink_next_state(&n, 65533, high) == 65534 &&
		       kvsink_next_state(&n, 65534, high) == KVSINK_STATE_SINK,
	       "run: the longest run");
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
	gathered(1, 0, 90, 0, 1, "a prompt");
	gathered(3, 150, 4, 0, 2, "a few queries");
	gathered(30, 70, 9, 50, 3, "heads in several units, sliding window");
	gathered(24, 4890, 10, 0, 1, "tiles that are computed again");
	apart(1, 100, 3, 0, 1, "three queries");
	apart(4, 70, 33, 0, 3, "blocks of queries in three parts");
	apart(8, 150, 17, 40, 2, "a sliding window in two parts");
	observers();
	modes();
	weights();
	comparator();
	hysteresis();
	return tap_done();
}
