// SPDX-License-Identifier: MIT
/*
 * ATTEND, SCORE and CLASSIFY through the rings, against plain loops in binary64 over the rows that the
 * test itself appended; the ledger against a count of its own; the same job list twice.
 */
#include "datapath.h"
#include "harness.h"
#include "tap.h"

#define TOKENS 60u

static struct harness h;
static struct h_stream s;

/* Attention of one query and head in binary64, and the weights of every token. */
static void oracle(uint32_t layer, uint32_t token, uint32_t head, const float *q, double *out, double *weight)
{
	uint32_t kv = head / (s.q_heads / s.kv_heads);
	uint32_t begin = s.window && s.window < token + 1 ? token + 1 - s.window : 0;
	float row[KVSINK_MAX_HEAD_DIM];
	double max = -INFINITY, sum = 0;

	memset(out, 0, s.d_v * sizeof(*out));
	for (uint32_t t = 0; t <= token; t++)
		weight[t] = 0;
	for (uint32_t t = begin; t <= token; t++) {
		h_row(&s, false, layer, t, kv, row);
		for (uint32_t i = 0; i < s.d_k; i++)
			weight[t] += (double)q[i] * row[i];
		weight[t] *= s.scale;
		max = fmax(max, weight[t]);
	}
	for (uint32_t t = begin; t <= token; t++)
		sum += weight[t] = exp(weight[t] - max);
	for (uint32_t t = begin; t <= token; t++) {
		weight[t] /= sum;
		h_row(&s, true, layer, t, kv, row);
		for (uint32_t i = 0; i < s.d_v; i++)
			out[i] += weight[t] * row[i];
	}
}

static void fresh(uint32_t format, uint32_t window)
{
	if (h.chip)
		h_close(&h);
	h_open(&h, NULL);
	s = h_geometry(1);
	s.format = format;
	s.window = window;
	s.d_v = 24;
	h_stream(&h, &s);
	h_fill(&h, &s, 0, TOKENS);
}

/* Largest distance between out at H_OUT and the oracle, over `count` queries from `first`. */
static double worst(uint32_t layer, uint32_t first, uint32_t count)
{
	float q[16], got[24];
	double want[24], weight[TOKENS], error = 0;

	for (uint32_t i = 0; i < count * s.q_heads; i++) {
		h_get(&h, H_Q + i * sizeof(q), q, sizeof(q));
		h_get(&h, H_OUT + i * sizeof(got), got, sizeof(got));
		oracle(layer, first + i / s.q_heads, i % s.q_heads, q, want, weight);
		for (uint32_t j = 0; j < s.d_v; j++)
			error = fmax(error, fabs(want[j] - got[j]));
	}
	return error;
}

/* Share of the attention that queries from `first` put on the token, summed over heads. */
static double mass_on(uint32_t layer, uint32_t token, uint32_t first, uint32_t count)
{
	double want[24], weight[TOKENS], mass = 0;
	float q[16];

	for (uint32_t i = 0; i < count * s.q_heads; i++) {
		uint32_t at = first + i / s.q_heads;

		h_get(&h, H_Q + i * sizeof(q), q, sizeof(q));
		oracle(layer, at, i % s.q_heads, q, want, weight);
		if (token <= at)
			mass += weight[token];
	}
	return mass;
}

static void output(uint32_t format, uint32_t window, double limit, const char *name)
{
	double error;

	fresh(format, window);
	h_queries(&h, 11, 8 * s.q_heads * s.d_k);
	h_attend_cmd(&h, &s, 1, TOKENS - 8, 8);
	tap_ok(!h_do(&h), "%s: ATTEND", name);
	error = worst(1, TOKENS - 8, 8);
	tap_ok(error < limit, "%s: agrees with the oracle (%g)", name, error);
	h_promote(&h, &s, 0, 1, 2, 3);
	h_promote(&h, &s, 41, 0, 2, 1);
	h_promote(&h, &s, TOKENS - 2, 1, 2, 2);
	h_barrier(&h, &s);
	h_attend_cmd(&h, &s, 1, TOKENS - 8, 8);
	h_do(&h);
	error = worst(1, TOKENS - 8, 8);
	tap_ok(error < limit, "%s: with resident tokens, too (%g)", name, error);
}

/* Two streams and three items in one command: each item finds its own rows, outputs lie behind one another.
 */
static void ragged(void)
{
	struct h_stream other = h_geometry(2), first;
	union kvsink_item item = {.attend = {.stream = 2, .layer = 0, .first = 5, .count = 2}};
	struct kvsink_cmd *cmd;
	float together[4 * 4 * 24], alone[4 * 24];

	fresh(KVSINK_FORMAT_F32, 0);
	other.d_v = 24;
	h_stream(&h, &other);
	h_fill(&h, &other, 0, 10);
	first = s;
	h_queries(&h, 23, 4 * s.q_heads * s.d_k);
	cmd = h_attend_cmd(&h, &s, 1, 30, 1);
	h_item(&h, &item);
	item.attend = (struct kvsink_attend_item){.stream = 1, .layer = 0, .first = 59, .count = 1};
	h_item(&h, &item);
	cmd->attend.item_count = 3;
	tap_ok(!h_do(&h), "a ragged batch of two streams");
	h_get(&h, H_OUT, together, sizeof(together));
	h_attend_cmd(&h, &other, 0, 5, 1)->attend.q = h_gart(H_Q + 4 * 16 * 4);
	h_do(&h);
	h_get(&h, H_OUT, alone, sizeof(alone));
	tap_ok(!memcmp(together + 4 * 24, alone, sizeof(alone)), "gives each item what it gets alone");
	h_attend_cmd(&h, &first, 0, 59, 1)->attend.q = h_gart(H_Q + 3 * 4 * 16 * 4);
	h_do(&h);
	h_get(&h, H_OUT, alone, sizeof(alone));
	tap_ok(!memcmp(together + 3 * 4 * 24, alone, sizeof(alone)), "the last one, too");
	cmd = h_attend_cmd(&h, &s, 1, 30, 1);
	item.attend.stream = 99;
	h_item(&h, &item);
	cmd->attend.item_count = 2;
	tap_ok(h_do(&h) == KVSINK_CODE_BAD_STREAM, "one bad item fails the command");
	h_get(&h, H_OUT, together, sizeof(alone));
	tap_ok(!memcmp(together, alone, sizeof(alone)), "and nothing is written");
}

/* Tokens of layer 1 that are resident in the tests below, with their heads. */
static const struct {
	uint32_t token;
	uint64_t heads;
} residents[] = {{0, 3}, {7, 1}, {33, 2}, {TOKENS - 1, 3}};

static bool is_resident(uint32_t token, uint32_t head)
{
	for (unsigned i = 0; i < 4; i++)
		if (residents[i].token == token)
			return residents[i].heads >> head & 1;
	return false;
}

struct count {
	uint64_t sram, sram_bus, hbm, hbm_bus;
};

static uint64_t bursts(uint64_t at, uint64_t bytes)
{
	return ((at + bytes - 1) / 64 - at / 64 + 1) * 64;
}

/*
 * What a block of queries at tokens [first, last] reads, row by row, from geometry and the list above; SRAM
 * rows of 160 bytes lie at their rank.
 */
static struct count count_block(uint32_t layer, uint32_t first, uint32_t last)
{
	uint32_t begin = s.window && s.window < first + 1 ? first + 1 - s.window : 0;
	uint64_t k = s.d_k * 4, v = s.d_v * 4, plane_k = s.page_tokens * s.kv_heads * k;
	uint64_t layer_at = layer * (plane_k + s.page_tokens * s.kv_heads * v);
	struct count c = {0};

	for (uint32_t t = begin; t <= last; t++) {
		for (uint32_t head = 0; head < s.kv_heads; head++) {
			uint64_t row = t % s.page_tokens * s.kv_heads + head;

			if (layer == 1 && is_resident(t, head)) {
				bool second = head == 1 && is_resident(t, 0);

				c.sram += k + v;
				c.sram_bus += bursts(second ? k + v : 0, k + v);
			} else {
				c.hbm += k + v;
				c.hbm_bus += bursts(layer_at + row * k, k) +
					     bursts(layer_at + plane_k + row * v, v);
			}
		}
	}
	return c;
}

static void ledger(uint32_t window)
{
	static const unsigned counters[] = {KVSINK_COUNTER_KV_SRAM_READ, KVSINK_COUNTER_KV_SRAM_READ_BUS,
					    KVSINK_COUNTER_KV_HBM_READ, KVSINK_COUNTER_KV_HBM_READ_BUS};
	uint64_t before[4], got[4], mass, pages;
	struct count want = {0};
	double expected = 0;

	fresh(KVSINK_FORMAT_F32, window);
	for (unsigned i = 0; i < 4; i++)
		h_promote(&h, &s, residents[i].token, 1, 2, residents[i].heads);
	h_barrier(&h, &s);
	h_queries(&h, 31, 40 * s.q_heads * s.d_k);
	for (unsigned i = 0; i < 4; i++)
		before[i] = h_counter(&h, counters[i]);
	pages = h_counter(&h, KVSINK_COUNTER_PAGE_TABLE_HBM);
	h_attend_cmd(&h, &s, 1, TOKENS - 40, 40);
	tap_ok(!h_do(&h), "window %u: a chunk of forty queries", window);
	for (unsigned i = 0; i < 4; i++)
		got[i] = h_counter(&h, counters[i]) - before[i];
	/* two query heads a KV head: blocks of 24 / 2 queries, the last one is short */
	for (uint32_t t = TOKENS - 40; t < TOKENS; t += 12) {
		struct count one = count_block(1, t, t + 12 < TOKENS ? t + 11 : TOKENS - 1);

		want.sram += one.sram;
		want.sram_bus += one.sram_bus;
		want.hbm += one.hbm;
		want.hbm_bus += one.hbm_bus;
	}
	tap_ok(got[0] == want.sram && got[2] == want.hbm,
	       "window %u: useful bytes are those of the rows (%llu, %llu)", window,
	       (unsigned long long)got[0], (unsigned long long)got[2]);
	tap_ok(got[1] == want.sram_bus && got[3] == want.hbm_bus,
	       "window %u: bus bytes are their bursts (%llu, %llu)", window, (unsigned long long)got[1],
	       (unsigned long long)got[3]);
	tap_ok(h_counter(&h, KVSINK_COUNTER_PAGE_TABLE_HBM) - pages == 8 * TOKENS / 4,
	       "window %u: fifteen page entries", window);
	tap_ok(h_counter(&h, KVSINK_COUNTER_QUERIES) == 40 * s.q_heads &&
		       h_counter(&h, KVSINK_COUNTER_MASS_TOTAL) == (uint64_t)40 * s.q_heads << 32,
	       "window %u: queries and their mass", window);

	h_attend_cmd(&h, &s, 1, TOKENS - 1, 1);
	mass = h_counter(&h, KVSINK_COUNTER_MASS_SRAM);
	h_do(&h);
	mass = h_counter(&h, KVSINK_COUNTER_MASS_SRAM) - mass;
	for (uint32_t head = 0; head < s.q_heads; head++) {
		double out[24], weight[TOKENS];
		struct kvsink_attend_stat stat;
		float q[16];
		double share = 0;

		h_get(&h, H_Q + head * sizeof(q), q, sizeof(q));
		h_get(&h, H_STATS + head * sizeof(stat), &stat, sizeof(stat));
		oracle(1, TOKENS - 1, head, q, out, weight);
		for (uint32_t t = 0; t < TOKENS; t++)
			share += is_resident(t, head / 2) ? weight[t] : 0;
		expected += share;
		if (fabs(share - stat.mass_sram) > 1e-6)
			tap_diag("head %u: mass %g, wanted %g", head, stat.mass_sram, share);
	}
	tap_ok(fabs(mass / 4294967296.0 - expected) < 1e-5, "window %u: mass from SRAM rows is %g", window,
	       expected);
}

/* Rows of a KV head that SCORE in chunks reads: each chunk's blocks of 12 queries see all until their last.
 */
static uint64_t scored_rows(uint32_t chunk)
{
	uint64_t rows = 0;

	for (uint32_t at = 0, end; at < TOKENS; at = end) {
		end = at + chunk < TOKENS ? at + chunk : TOKENS;
		for (uint32_t first = at; first < end; first += 12)
			rows += first + 12 < end ? first + 12 : end;
	}
	return rows;
}

/* Scoring in chunks equals the attention that queries outside the local window put on each token. */
static void scores(uint32_t local)
{
	struct kvsink_score_rec rec[TOKENS];
	struct kvsink_list_head head;
	double error = 0, want;
	uint32_t at = 0;

	fresh(KVSINK_FORMAT_F32, 0);
	h_config(&h, 1, KVSINK_PARAM_LOCAL_WINDOW, local);
	h_queries(&h, 7, TOKENS * s.q_heads * s.d_k);
	for (uint32_t chunk = 13; at < TOKENS; at += chunk) {
		struct kvsink_cmd *cmd;

		chunk = chunk < TOKENS - at ? chunk : TOKENS - at;
		cmd = h_score_cmd(&h, &s, 0, at, chunk);
		cmd->score.q.offset += (uint64_t)at * s.q_heads * s.d_k * 4;
		cmd->score.out.offset += (uint64_t)at * s.q_heads * s.d_v * 4;
		if (h_do(&h))
			break;
	}
	tap_ok(at == TOKENS, "window %u: SCORE in chunks of 13", local);
	tap_ok(worst(0, 0, TOKENS) < 1e-5, "window %u: its output is causal attention", local);
	h_query_cmd(&h, KVSINK_QUERY_SCORES, 1, 0, TOKENS);
	h_do(&h);
	h_get(&h, H_ANSWER, &head, sizeof(head));
	h_get(&h, H_ANSWER + sizeof(head), rec, sizeof(rec));
	for (uint32_t t = 0; t < TOKENS; t++) {
		uint32_t first = t + local;
		double mass = 0, out[24], weight[TOKENS];
		float q[16];

		for (uint32_t i = first; i < TOKENS; i++) {
			for (uint32_t hd = 0; hd < s.q_heads; hd++) {
				h_get(&h, H_Q + (i * s.q_heads + hd) * sizeof(q), q, sizeof(q));
				oracle(0, i, hd, q, out, weight);
				mass += weight[t];
			}
		}
		error = fmax(error, fabs(mass - (double)rec[t].sum / 4294967296.0));
	}
	tap_ok(head.written == TOKENS && error < 1e-4, "window %u: sums are the mass outside the window (%g)",
	       local, error);
	want = (double)rec[2].sum / 4294967296.0 / (s.q_heads * (TOKENS - 2 - local));
	float score;
	memcpy(&score, &rec[2].score, sizeof(score));
	tap_ok(rec[2].observers == TOKENS - 2 - local && fabs(want - score) < 1e-6,
	       "window %u: MEAN divides by the queries that could see the token", local);
	tap_ok(h_counter(&h, KVSINK_COUNTER_PREFILL_HBM_READ) == scored_rows(13) * 2 * 160,
	       "window %u: bytes of the causal triangle, in blocks", local);
	tap_ok(h_counter(&h, KVSINK_COUNTER_KV_HBM_READ) == 0, "window %u: are not counted as ATTEND's",
	       local);
	tap_ok(fabs(mass_on(0, 0, 0, 1) - s.q_heads) < 1e-9, "window %u: the first query sees only itself",
	       local);
}

static void classify(void)
{
	struct kvsink_list_head head;
	struct kvsink_sink_rec rec[8];
	float k[TOKENS * 32], score;
	uint32_t threshold = 0x3e800000; /* 0.25 */

	fresh(KVSINK_FORMAT_F32, 0);
	h_close(&h);
	h_open(&h, NULL);
	h_stream(&h, &s);
	/* every query is all ones; token 5 has the key that answers it */
	for (uint32_t i = 0; i < TOKENS * 32; i++)
		k[i] = i / 32 == 5 ? 2.0f : 0;
	h_put(&h, H_K, k, sizeof(k));
	for (uint32_t l = 0; l < 2; l++) {
		struct kvsink_cmd *cmd = h_cmd(&h, KVSINK_OP_APPEND);

		cmd->append = (struct kvsink_cmd_append){
			.stream = 1, .layer = l, .count = TOKENS, .k = h_gart(H_K), .v = h_gart(H_V)};
	}
	h_do(&h);
	h_step_end(&h, &s, TOKENS);
	h_config(&h, 1, KVSINK_PARAM_LOCAL_WINDOW, 4);
	h_config(&h, 1, KVSINK_PARAM_T_SINK, threshold);
	for (uint32_t i = 0; i < TOKENS * 64; i++) {
		float one = 1;

		h_put(&h, H_Q + i * 4, &one, 4);
	}
	h_score_cmd(&h, &s, 1, 0, TOKENS);
	tap_ok(!h_do(&h), "SCORE of layer 1");
	h_cmd(&h, KVSINK_OP_CLASSIFY)->classify = (struct kvsink_cmd_classify){1, 3, 8, h_gart(H_ANSWER)};
	tap_ok(!h_do(&h), "CLASSIFY");
	h_get(&h, H_ANSWER, &head, sizeof(head));
	h_get(&h, H_ANSWER + sizeof(head), rec, sizeof(rec));
	memcpy(&score, &rec[0].score, sizeof(score));
	tap_ok(head.total == 1 && head.written == 1 && rec[0].token == 5 && rec[0].group == 1,
	       "finds the one sink, in the group of layer 1");
	tap_ok(score > 0.9 && score <= 1 && rec[0].observers == TOKENS - 9, "with score %g and %u observers",
	       score, rec[0].observers);
	h_cmd(&h, KVSINK_OP_CLASSIFY)->classify = (struct kvsink_cmd_classify){1, 3, 0, h_gart(H_ANSWER)};
	h_do(&h);
	h_get(&h, H_ANSWER, &head, sizeof(head));
	tap_ok(head.total == 1 && head.written == 0, "without room it tells how many there are");
	h_cmd(&h, KVSINK_OP_CLASSIFY)->classify = (struct kvsink_cmd_classify){1, 4, 0, h_gart(H_ANSWER)};
	tap_ok(h_do(&h) == KVSINK_CODE_BAD_FIELD, "a group that is not there is refused");
	h_config(&h, 1, KVSINK_PARAM_SCORE_MODE, KVSINK_SCORE_REL);
	h_config(&h, 1, KVSINK_PARAM_T_SINK, 0x3f800000);
	h_cmd(&h, KVSINK_OP_CLASSIFY)->classify = (struct kvsink_cmd_classify){1, 2, 8, h_gart(H_ANSWER)};
	h_do(&h);
	h_get(&h, H_ANSWER, &head, sizeof(head));
	h_get(&h, H_ANSWER + sizeof(head), rec, sizeof(rec));
	tap_ok(head.written == 1 && rec[0].token == 5 && rec[0].score == 0x3f800000,
	       "in REL mode the greatest has score 1");
}

static void time_of_attend(void)
{
	uint64_t sram, hbm, ns, want;

	fresh(KVSINK_FORMAT_F32, 0);
	h_promote(&h, &s, 3, 0, 2, 3);
	h_barrier(&h, &s);
	sram = h_counter(&h, KVSINK_COUNTER_KV_SRAM_READ_BUS);
	hbm = h_counter(&h, KVSINK_COUNTER_KV_HBM_READ_BUS);
	ns = h_counter(&h, KVSINK_COUNTER_MODELLED_NS);
	h_attend_cmd(&h, &s, 0, TOKENS - 1, 1);
	h_do(&h);
	sram = h_counter(&h, KVSINK_COUNTER_KV_SRAM_READ_BUS) - sram;
	hbm = h_counter(&h, KVSINK_COUNTER_KV_HBM_READ_BUS) - hbm;
	ns = h_counter(&h, KVSINK_COUNTER_MODELLED_NS) - ns;
	want = 20 + 2 + 150 + hbm / 3200; /* overhead, look, latency, transfer */
	tap_ok(sram && (ns == want || ns == want + 1),
	       "ATTEND takes its slower tier's time: %llu ns for %llu bytes", (unsigned long long)ns,
	       (unsigned long long)hbm);
	h_promote(&h, &s, 4, 0, 2, 3);
	ns = h_counter(&h, KVSINK_COUNTER_MODELLED_NS);
	h_attend_cmd(&h, &s, 0, TOKENS - 1, 1);
	h_do(&h);
	ns = h_counter(&h, KVSINK_COUNTER_MODELLED_NS) - ns;
	tap_ok(ns >= want, "a copy under way makes it no faster: %llu ns", (unsigned long long)ns);
}

/* A copy that lasts long enough for the whole read: bandwidth is what it leaves. */
static void slow_copy(struct kvsink_chip_config *config)
{
	config->dma_gbps = 1;
	config->hbm_gbps = 2;
	config->hbm_latency_ns = 1;
}

static void shared_bandwidth(void)
{
	uint64_t alone, shared;

	h_close(&h);
	h_open(&h, slow_copy);
	s = h_geometry(1);
	s.layers = 32;
	s.group_end[1] = 32;
	h_stream(&h, &s);
	h_fill(&h, &s, 0, 8);
	h_attend_cmd(&h, &s, 0, 7, 1);
	h_do(&h);
	alone = h.cpl.end_ns - h.cpl.begin_ns;
	h_promote(&h, &s, 1, 0, 32, 3);
	h_attend_cmd(&h, &s, 0, 7, 1);
	h_do(&h);
	shared = h.cpl.end_ns - h.cpl.begin_ns;
	tap_ok(alone == 20 + 2 + 1 + 2048 / 2 && shared == 20 + 2 + 1 + 2048,
	       "a copy takes its bandwidth off the HBM: %llu, %llu ns", (unsigned long long)alone,
	       (unsigned long long)shared);
}

/* A list of jobs that uses everything; out gets outputs, scores, SRAM and counters. */
static uint8_t *play(unsigned parts, size_t *bytes)
{
	uint8_t *all, *at;

	fresh(KVSINK_FORMAT_FP16, 0);
	h.parts = parts;
	h_queries(&h, 99, TOKENS * s.q_heads * s.d_k);
	for (uint32_t l = 0; l < 2; l++) {
		h_score_cmd(&h, &s, l, 0, TOKENS);
		h_do(&h);
	}
	for (uint32_t t = 0; t < 20; t += 3)
		h_promote(&h, &s, t, t % 2, 2, 1 + t % 3);
	h_attend_cmd(&h, &s, 0, TOKENS - 9, 9);
	h_do(&h);
	h_evict(&h, &s, 3);
	h_barrier(&h, &s);
	h_attend_cmd(&h, &s, 1, TOKENS - 20, 20);
	h_do(&h);
	*bytes = 20 * 4 * (24 * 4 + 16) + 2 * TOKENS * 8 + (64 << 10) + 8 * KVSINK_COUNTER_COUNT;
	at = all = malloc(*bytes);
	h_get(&h, H_OUT, at, 20 * 4 * 24 * 4);
	at += 20 * 4 * 24 * 4;
	h_get(&h, H_STATS, at, 20 * 4 * 16);
	at += 20 * 4 * 16;
	memcpy(at, h.hbm + s.scores, TOKENS * 8);
	memcpy(at + TOKENS * 8, h.hbm + s.scores + s.max_tokens * 8, TOKENS * 8);
	at += 2 * TOKENS * 8;
	memcpy(at, h.sram, 64 << 10);
	at += 64 << 10;
	for (unsigned i = 0; i < KVSINK_COUNTER_COUNT; i++, at += 8) {
		uint64_t value = h_counter(&h, i);

		memcpy(at, &value, 8);
	}
	return all;
}

static void determinism(void)
{
	size_t bytes;
	uint8_t *once = play(1, &bytes), *twice = play(1, &bytes), *parts = play(4, &bytes),
		*most = play(16, &bytes);

	tap_ok(!memcmp(once, twice, bytes), "the same jobs give the same bytes, scores, counters and times");
	tap_ok(!memcmp(once, parts, bytes), "in four parts, too");
	tap_ok(!memcmp(once, most, bytes), "and in sixteen");
	free(once);
	free(twice);
	free(parts);
	free(most);
}

int main(void)
{
	output(KVSINK_FORMAT_F32, 0, 1e-5, "F32");
	output(KVSINK_FORMAT_FP16, 0, 2e-3, "FP16");
	output(KVSINK_FORMAT_F32, 10, 1e-5, "sliding window");
	ragged();
	ledger(0);
	ledger(25);
	scores(0);
	scores(9);
	classify();
	time_of_attend();
	shared_bandwidth();
	determinism();
	h_close(&h);
	return tap_done();
}
