// SPDX-License-Identifier: MIT
/*
 * Swap: two chips do the same to the same stream, but on one of them it leaves HBM now and then and comes
 * back elsewhere. Nothing that software can see may tell them apart, but for time and the counters of swap
 * itself. What is refused meanwhile, and images that are none: test_swap_refuse.c.
 */
#include "harness.h"
#include "tap.h"

#define IMAGE H_FREE
#define IMAGE_ROOM (1u << 20)
#define STEPS 56
#define RECORDS 64

static struct harness pair[2]; /* the second one swaps */
static struct h_stream streams[2];
static uint64_t seed;
static unsigned differences, swaps;

static uint32_t below(uint32_t n)
{
	return h_random(&seed) % n;
}

/* Prints the first ones. */
static void differ(const char *what, uint32_t at)
{
	if (differences++ < 5)
		tap_diag("%s %u differs after %u swaps", what, at, swaps);
}

static void same(const char *what, uint32_t at, uint64_t gart, size_t bytes)
{
	static uint8_t a[64 << 10], b[64 << 10];

	h_get(&pair[0], gart, a, bytes);
	h_get(&pair[1], gart, b, bytes);
	if (memcmp(a, b, bytes))
		differ(what, at);
}

/* The code of the job that is built in both. */
static uint32_t both_do(const char *what)
{
	uint32_t code = h_do(&pair[0]);

	if (h_do(&pair[1]) != code || pair[0].cpl.address != pair[1].cpl.address ||
	    memcmp(pair[0].cpl.result, pair[1].cpl.result, sizeof(pair[0].cpl.result)))
		differ(what, code);
	return code;
}

/* ---- what is compared ---- */

static void same_answers(const char *what, uint32_t query, uint32_t group, size_t record)
{
	struct kvsink_list_head head;

	for (unsigned i = 0; i < 2; i++) {
		h_query_cmd(&pair[i], query, 1, 0, RECORDS)->query.group = group;
		h_priv(&pair[i]);
	}
	h_get(&pair[0], H_ANSWER, &head, sizeof(head));
	same(what, group, H_ANSWER, sizeof(head) + head.written * record);
}

static void same_counters(void)
{
	static uint64_t c[2][KVSINK_COUNTER_COUNT];

	for (unsigned i = 0; i < 2; i++) {
		h_query_cmd(&pair[i], KVSINK_QUERY_COUNTERS, 1, 0, KVSINK_COUNTER_COUNT);
		h_priv(&pair[i]);
		h_get(&pair[i], H_ANSWER + sizeof(struct kvsink_list_head), c[i], sizeof(c[i]));
	}
	for (unsigned i = 0; i < KVSINK_COUNTER_COUNT; i++) {
		bool swap = i >= KVSINK_COUNTER_SWAP_OUT && i <= KVSINK_COUNTER_SWAP_IN_BUS;
		bool moves = i == KVSINK_COUNTER_HOST_READ || i == KVSINK_COUNTER_HOST_WRITE ||
			     i == KVSINK_COUNTER_PAGE_TABLE_HBM;
		bool time = i == KVSINK_COUNTER_MODELLED_NS || i == KVSINK_COUNTER_EXPOSED_DMA_NS ||
			    i == KVSINK_COUNTER_HIDDEN_DMA_NS || i == KVSINK_COUNTER_PROMOTE_LATENCY_NS;

		if (!swap && !moves && !time && c[0][i] != c[1][i])
			differ("counter", i);
	}
}

/* Rows, scores, norms and what else lies in HBM: as images, since they lie elsewhere. */
static void same_content(void)
{
	uint64_t pages[2];
	uint32_t bytes = (uint32_t)(kvsink_head_params_at(kvsink_score_bytes(2, 2, 2, 128)) +
				    kvsink_head_params_bytes(streams[0].flags, 2, streams[0].q_heads));
	uint64_t page = kvsink_page_bytes(streams[0].flags, 2, 2, streams[0].d_k, streams[0].d_v,
					  streams[0].format, streams[0].page_tokens);

	if (memcmp(pair[0].hbm + streams[0].scores, pair[1].hbm + streams[1].scores, bytes))
		differ("score area", 0);
	for (uint32_t p = 0; p < 128 / streams[0].page_tokens; p++) {
		for (unsigned i = 0; i < 2; i++)
			memcpy(&pages[i], pair[i].hbm + streams[i].page_table + p * 8, 8);
		if (memcmp(pair[0].hbm + pages[0], pair[1].hbm + pages[1], page) && p < STEPS / 8)
			differ("page", p);
	}
}

static void compare(void)
{
	same_answers("entries", KVSINK_QUERY_TAGS, 0, sizeof(struct kvsink_tag_rec));
	for (uint32_t g = 0; g < 2; g++) {
		same_answers("scores of group", KVSINK_QUERY_SCORES, g, sizeof(struct kvsink_score_rec));
		same_answers("parameters of group", KVSINK_QUERY_PARAMS, g, sizeof(uint64_t));
	}
	same_answers("verdicts", KVSINK_QUERY_VERDICTS, 0, sizeof(struct kvsink_verdict_rec));
	same_answers("profile", KVSINK_QUERY_PROFILE, 0, sizeof(struct kvsink_profile_rec));
	same_counters();
}

/* ---- what is done ---- */

static void swap(void)
{
	uint8_t *old;
	uint64_t page;

	/* only the second one leaves, but copies end in both */
	h_barrier(&pair[0], &streams[0]);
	if (h_swap_out(&pair[1], &streams[1], IMAGE, IMAGE_ROOM))
		differ("SWAP_OUT", pair[1].cpl.code);
	page = kvsink_page_bytes(streams[1].flags, 2, 2, streams[1].d_k, streams[1].d_v, streams[1].format,
				 streams[1].page_tokens);
	old = pair[1].hbm + streams[1].page_table;
	/* whoever has it next writes to it; and what is given out is zero */
	memset(old, 0x5a, streams[1].pages + 128 / streams[1].page_tokens * page - streams[1].page_table);
	if (below(4) == 0) /* an idle stretch, beyond every lease */
		pair[0].host_ns = pair[1].host_ns += KVSINK_MAX_LEASE_NS / 3;
	pair[1].hbm_next = swaps++ % 2 ? 1 << 20 : 8 << 20;
	memset(pair[1].hbm + pair[1].hbm_next, 0, 4 << 20);
	if (h_swap_in(&pair[1], &streams[1], IMAGE))
		differ("SWAP_IN", pair[1].cpl.code);
}

static void promote(uint32_t length)
{
	uint32_t token = below(length), layers = below(3), dwell = below(2) * below(9);
	uint64_t deadline = below(3) ? 0 : pair[0].host_ns + KVSINK_MAX_LEASE_NS / 2;

	for (unsigned i = 0; i < 2; i++) {
		struct kvsink_cmd *cmd =
			h_promote_cmd(&pair[i], &streams[i], token, layers == 1, layers ? 2 : 1, 3);

		cmd->promote.dwell_steps = dwell;
		cmd->promote.deadline_ns = deadline;
	}
	both_do("PROMOTE");
}

static void seal(uint32_t length)
{
	uint32_t tokens = length / streams[0].page_tokens * streams[0].page_tokens;
	uint32_t keep = tokens - 1 - below(streams[0].page_tokens);

	for (unsigned i = 0; i < 2; i++) {
		h_protect(&pair[i], keep, 0, 1, 1);
		h_seal_cmd(&pair[i], &streams[i], tokens);
	}
	both_do("SEAL");
}

static void attend(uint32_t layer, uint32_t token)
{
	uint32_t mode = below(KVSINK_ATTEND_MODE_COUNT), heads = streams[0].q_heads;
	uint64_t queries = h_random(&seed);

	for (unsigned i = 0; i < 2; i++) {
		h_queries(&pair[i], queries, heads * streams[i].d_k);
		h_attend_cmd(&pair[i], &streams[i], layer, token, 1)->attend.mode = mode;
	}
	if (both_do("ATTEND"))
		differ("ATTEND is refused, mode", mode);
	same("output at token", token, H_OUT, heads * streams[0].d_v * sizeof(float));
	same("stats at token", token, H_STATS, heads * sizeof(struct kvsink_attend_stat));
}

static void score(uint32_t tokens)
{
	for (uint32_t layer = 0; layer < 2; layer++) {
		for (unsigned i = 0; i < 2; i++) {
			h_queries(&pair[i], layer, tokens * streams[i].q_heads * streams[i].d_k);
			h_score_cmd(&pair[i], &streams[i], layer, 0, tokens);
		}
		if (both_do("SCORE"))
			differ("SCORE is refused, layer", layer);
	}
}

static void step(uint32_t token)
{
	for (uint32_t layer = 0; layer < 2; layer++) {
		for (unsigned i = 0; i < 2; i++)
			h_append(&pair[i], &streams[i], layer, token, 1);
		attend(layer, token);
	}
	for (unsigned i = 0; i < 2; i++)
		h_step_end(&pair[i], &streams[i], 1);
}

static void decode(void)
{
	for (uint32_t token = 24; token < 24 + STEPS; token++) {
		if (below(3) == 0)
			promote(token);
		if (streams[0].seal_k && below(6) == 0)
			seal(token);
		if (below(4) == 0)
			swap();
		step(token);
		compare();
	}
	same_content();
}

/* ---- the streams ---- */

struct kind {
	const char *name;
	uint32_t format, seal_k, seal_v, flags, placement, tail;
};

static void configure(struct harness *h, const struct kind *kind)
{
	h_config(h, 1, KVSINK_PARAM_LOCAL_WINDOW, 2);
	h_config(h, 1, KVSINK_PARAM_ALPHA, 0x3f000000);
	h_config(h, 1, KVSINK_PARAM_T_EVICT, 0x3ccccccd);
	h_config(h, 1, KVSINK_PARAM_T_PROMOTE, 0x3d4ccccd);
	h_config(h, 1, KVSINK_PARAM_N_DWELL, 3);
	h_config(h, 1, KVSINK_PARAM_EPSILON, 0x3e4ccccd);
	h_config(h, 1, KVSINK_PARAM_PLACEMENT, kind->placement);
	h_config(h, 1, KVSINK_PARAM_TAIL_TOKENS, kind->tail);
}

/* Slopes and sinks of the query heads, from what lies at H_Q. */
static void give_heads(struct harness *h, const struct h_stream *s)
{
	h_queries(h, 5, 2 * s->q_heads);
	for (uint32_t l = 0; s->flags & KVSINK_STREAM_PER_HEAD && l < 2; l++) {
		h_cmd(h, KVSINK_OP_LAYER_HEADS)->layer_heads =
			(struct kvsink_cmd_layer_heads){s->id, l, 0, h_gart(H_Q)};
		if (h_do(h))
			differ("LAYER_HEADS of layer", l);
	}
}

static void make(unsigned i, const struct kind *kind)
{
	struct h_stream *s = &streams[i];

	h_open(&pair[i], NULL);
	*s = h_geometry(1);
	s->d_k = s->d_v = 32;
	s->page_tokens = 8;
	s->format = kind->format;
	s->seal_k = kind->seal_k;
	s->seal_v = kind->seal_v;
	s->flags = kind->flags;
	h_stream(&pair[i], s);
	give_heads(&pair[i], s);
	configure(&pair[i], kind);
	h_fill(&pair[i], s, 0, 24);
}

static void twins(const struct kind *kind)
{
	differences = swaps = 0;
	for (unsigned i = 0; i < 2; i++)
		make(i, kind);
	score(24);
	decode();
	tap_ok(swaps > 5 && !differences, "%s: %u swaps in mid-decode change no bit", kind->name, swaps);
	tap_ok(h_counter(&pair[1], KVSINK_COUNTER_PROMOTIONS_VALID) > 5 &&
		       (!kind->seal_k || h_counter(&pair[1], KVSINK_COUNTER_SEALED_TOKENS)) &&
		       (!kind->tail || h_counter(&pair[1], KVSINK_COUNTER_TAIL_WRITE)),
	       "%s: entries, seals and tails took part", kind->name);
	for (unsigned i = 0; i < 2; i++)
		h_close(&pair[i]);
}

/* ---- bytes and time ---- */

static void counted(void)
{
	struct harness *h = &pair[0];
	struct h_stream s = h_geometry(1);
	uint64_t image = kvsink_score_bytes(2, 2, 2, 128) + 3 * 4096, before, host;
	struct kvsink_stream_rec rec;

	h_open(h, NULL);
	h_stream(h, &s);
	h_fill(h, &s, 0, 9);
	h_query_cmd(h, KVSINK_QUERY_STREAMS, 1, 0, 1);
	h_do(h);
	h_get(h, H_ANSWER + sizeof(struct kvsink_list_head), &rec, sizeof(rec));
	tap_ok(rec.image_bytes == image && !rec.swapped && rec.reserved_tokens == 128,
	       "QUERY tells the image's size before: scores and the pages of nine tokens");
	before = h_counter(h, KVSINK_COUNTER_MODELLED_NS);
	host = h_counter(h, KVSINK_COUNTER_HOST_WRITE);
	h_swap_out(h, &s, IMAGE, image);
	tap_ok((h->cpl.result[0] | (uint64_t)h->cpl.result[1] << 32) == image &&
		       h_counter(h, KVSINK_COUNTER_SWAP_OUT) == image &&
		       h_counter(h, KVSINK_COUNTER_HOST_WRITE) - host == image,
	       "SWAP_OUT into just enough room counts its bytes");
	tap_ok(h->cpl.result[2] == s.max_tokens / s.page_tokens, "and tells how many pages the stream had");
	tap_ok(h_counter(h, KVSINK_COUNTER_SWAP_OUT_BUS) == (image + 63) / 64 * 64,
	       "and whole bursts of HBM");
	/* 150 ns latency, 3200 GB/s, two commands of 20 ns */
	tap_ok(h_counter(h, KVSINK_COUNTER_MODELLED_NS) - before == 190 + (image + 63) / 64 * 64 / 3200,
	       "its modelled time is that of its bytes");
	h_query_cmd(h, KVSINK_QUERY_STREAMS, 1, 0, 1);
	h_do(h);
	h_get(h, H_ANSWER + sizeof(struct kvsink_list_head), &rec, sizeof(rec));
	tap_ok(rec.image_bytes == image && rec.swapped && !rec.reserved_tokens && rec.length == 9,
	       "QUERY tells that the stream is out, and how long it is");
	h_swap_in(h, &s, IMAGE);
	tap_ok(h_counter(h, KVSINK_COUNTER_SWAP_IN) == image &&
		       h_counter(h, KVSINK_COUNTER_SWAP_IN_BUS) == (image + 63) / 64 * 64,
	       "SWAP_IN counts the same");
	h_close(h);
}

int main(void)
{
	static const struct kind kinds[] = {
		{"F32, 1C", KVSINK_FORMAT_F32, 0, 0, 0, KVSINK_PLACEMENT_AUTO, 0},
		{"FP16, 1B, tails", KVSINK_FORMAT_FP16, 0, 0, 0, KVSINK_PLACEMENT_OBSERVE, 6},
		{"FP16, no placement", KVSINK_FORMAT_FP16, 0, 0, 0, KVSINK_PLACEMENT_OFF, 0},
		{"INT8, 1C, tails", KVSINK_FORMAT_FP16, KVSINK_FORMAT_INT8, KVSINK_FORMAT_INT8, 0,
		 KVSINK_PLACEMENT_AUTO, 5},
		{"INT4, 1C", KVSINK_FORMAT_FP16, KVSINK_FORMAT_INT4, KVSINK_FORMAT_INT4, 0,
		 KVSINK_PLACEMENT_AUTO, 0},
		{"INT8 per channel, 1B", KVSINK_FORMAT_F32, KVSINK_FORMAT_INT8_CHANNEL, KVSINK_FORMAT_INT4, 0,
		 KVSINK_PLACEMENT_OBSERVE, 0},
		{"INT4 per channel, 1C", KVSINK_FORMAT_FP16, KVSINK_FORMAT_INT4_CHANNEL, KVSINK_FORMAT_INT8,
		 0, KVSINK_PLACEMENT_AUTO, 4},
		{"values in keys, 1C", KVSINK_FORMAT_FP16, 0, 0, KVSINK_STREAM_V_IN_K, KVSINK_PLACEMENT_AUTO,
		 3},
		{"slopes and sinks, 1C", KVSINK_FORMAT_F32, 0, 0, KVSINK_STREAM_PER_HEAD,
		 KVSINK_PLACEMENT_AUTO, 0},
	};

	seed = 20260;
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		twins(&kinds[i]);
	counted();
	return tap_done();
}
