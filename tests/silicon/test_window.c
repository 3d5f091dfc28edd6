// SPDX-License-Identifier: MIT
/*
 * Replay windows: one chip makes single steps, the other speculates: some rows right, the rest wrong, whole
 * windows rolled back before. After every commit nothing that software can see may tell the streams apart.
 * What is refused, what a window pins and how it ends otherwise: test_window_end.c.
 */
#include "window_case.h"

#define PROMPT 24
#define ROUNDS 14

struct kind {
	const char *name;
	uint32_t format, seal_k, seal_v, flags, placement, tail, window;
	uint32_t budget; /* of SRAM, bytes; 0 = all */
	uint32_t groups;
	uint32_t shared; /* tokens that become those of a prefix */
};

static struct window_pair pair;
static unsigned committed, speculated, rolled_back;

static uint32_t below(uint32_t n)
{
	return h_random(&pair.seed) % n;
}

/* The code of the job that is built in both. */
static void both_do(const char *what)
{
	uint32_t code = h_do(&pair.h[0]);

	if (h_do(&pair.h[1]) != code || memcmp(pair.h[0].cpl.result, pair.h[1].cpl.result, 8))
		window_differ(&pair, what, code);
}

/* ---- what happens between windows ---- */

static void promote(uint32_t length)
{
	uint32_t token = below(length), layers = below(3), dwell = below(2) * below(9),
		 last = pair.s[0].layers;
	uint64_t deadline = below(3) ? 0 : pair.h[0].host_ns + KVSINK_MAX_LEASE_NS / 2;

	for (unsigned i = 0; i < 2; i++) {
		struct kvsink_cmd *cmd =
			h_promote_cmd(&pair.h[i], &pair.s[i], token, layers == 1, layers ? last : 1, 3);

		cmd->promote.dwell_steps = dwell;
		cmd->promote.deadline_ns = deadline;
	}
	both_do("PROMOTE");
}

static void evict(uint32_t length)
{
	uint32_t token = below(length);

	for (unsigned i = 0; i < 2; i++)
		h_evict_cmd(&pair.h[i], &pair.s[i], token, 0, pair.s[i].layers, UINT64_MAX);
	both_do("EVICT");
}

static void seal(uint32_t length)
{
	uint32_t tokens = length / pair.s[0].page_tokens * pair.s[0].page_tokens;
	uint32_t keep = tokens - 1 - below(pair.s[0].page_tokens);

	for (unsigned i = 0; i < 2; i++) {
		h_protect(&pair.h[i], keep, 0, 1, 1);
		h_seal_cmd(&pair.h[i], &pair.s[i], tokens);
	}
	both_do("SEAL");
}

static void between(uint32_t length)
{
	if (below(2))
		promote(length);
	if (below(4) == 0)
		evict(length);
	if (pair.s[0].seal_k && below(3) == 0)
		seal(length);
	if (below(4) == 0)
		pair.h[0].host_ns = pair.h[1].host_ns += KVSINK_MAX_LEASE_NS / 3;
}

/* ---- a window against single steps ---- */

/* Outputs of one query, at their place for (layer, row). */
static float outputs[2][8][KVSINK_MAX_WINDOW_TOKENS][256];

static void keep_outputs(unsigned i, uint32_t layer, uint32_t row, uint32_t count)
{
	uint32_t floats = pair.s[i].q_heads * pair.s[i].d_v;

	for (uint32_t r = 0; r < count; r++)
		h_get(&pair.h[i], H_OUT + r * floats * 4, outputs[i][layer][row + r], floats * 4);
}

static void run(unsigned i, const char *what)
{
	if (h_do(&pair.h[i]))
		window_differ(&pair, what, pair.h[i].cpl.code);
}

static void single_step(uint32_t token, uint32_t row, uint32_t skip)
{
	for (uint32_t l = 0; l < pair.s[0].layers; l++) {
		window_append_cmd(&pair.h[0], &pair.s[0], RIGHT, l, token, 1);
		run(0, "APPEND");
		if (l == skip)
			continue;
		window_attend_cmd(&pair.h[0], &pair.s[0], RIGHT, l, token, 1);
		run(0, "ATTEND");
		keep_outputs(0, l, row, 1);
	}
	if (h_step_end(&pair.h[0], &pair.s[0], 1))
		window_differ(&pair, "STEP_END", token);
}

/* Rows of a layer: `right` ones, then wrong ones up to `rows`, in one or two pieces. */
static void append_rows(uint32_t layer, uint32_t first, uint32_t right, uint32_t rows)
{
	if (right) {
		window_append_cmd(&pair.h[1], &pair.s[1], RIGHT, layer, first, right);
		run(1, "APPEND in a window");
	}
	if (rows > right) {
		window_append_cmd(&pair.h[1], &pair.s[1], 2 + below(100), layer, first + right, rows - right);
		run(1, "APPEND of wrong rows");
	}
}

/* Queries of a layer, all of them once: in one piece, or in two of which the second comes first. */
static void attend_rows(uint32_t layer, uint32_t first, uint32_t rows)
{
	uint32_t cut = below(2) ? 0 : below(rows);

	window_attend_cmd(&pair.h[1], &pair.s[1], RIGHT, layer, first + cut, rows - cut);
	run(1, "ATTEND in a window");
	keep_outputs(1, layer, cut, rows - cut);
	if (cut) { /* the first of the later ones a second time */
		window_attend_cmd(&pair.h[1], &pair.s[1], RIGHT, layer, first, cut + 1);
		run(1, "ATTEND in a window, earlier queries");
		keep_outputs(1, layer, 0, cut + 1);
	}
	if (below(4) == 0) { /* once more, and an older one: both count for nothing */
		window_attend_cmd(&pair.h[1], &pair.s[1], RIGHT, layer, first - 1, rows + 1);
		run(1, "ATTEND again");
	}
}

static void speculate(uint32_t first, uint32_t right, uint32_t rows, uint32_t skip)
{
	uint32_t room = rows + below(3);

	if (room > KVSINK_MAX_WINDOW_TOKENS)
		room = KVSINK_MAX_WINDOW_TOKENS;
	if (window_begin(&pair.h[1], &pair.s[1], pair.journal[1], room))
		window_differ(&pair, "WINDOW_BEGIN", pair.h[1].cpl.code);
	for (uint32_t l = 0; l < pair.s[1].layers; l++) {
		append_rows(l, first, right, rows);
		if (l != skip)
			attend_rows(l, first, rows);
	}
	if (window_commit(&pair.h[1], &pair.s[1], right))
		window_differ(&pair, "WINDOW_COMMIT", pair.h[1].cpl.code);
	if (pair.h[1].cpl.result[0] != right || pair.h[1].cpl.result[1] != rows)
		window_differ(&pair, "results of WINDOW_COMMIT", right);
	speculated += rows;
	committed += right;
	rolled_back += !right;
}

/* How many tokens longer the streams are. */
static uint32_t round_of(uint32_t length)
{
	uint32_t rows = below(4) ? 1 + below(9) : 1 + below(KVSINK_MAX_WINDOW_TOKENS),
		 right = below(rows + 1);
	uint32_t skip = below(6) ? UINT32_MAX : below(pair.s[0].layers);

	if (length + rows + 2 > pair.s[0].max_tokens)
		return 0;
	if (below(3) == 0) {
		speculate(length, 0, 1 + below(6), UINT32_MAX);
		window_compare(&pair, length);
	}
	speculate(length, right, rows, skip);
	for (uint32_t i = 0; i < right; i++)
		single_step(length + i, i, skip);
	for (uint32_t l = 0; l < pair.s[0].layers; l++)
		for (uint32_t i = 0; i < right && l != skip; i++)
			if (memcmp(outputs[0][l][i], outputs[1][l][i],
				   pair.s[0].q_heads * pair.s[0].d_v * sizeof(float)))
				window_differ(&pair, "output of row", i);
	window_compare(&pair, length + right);
	return right;
}

/* ---- the streams ---- */

static void configure(struct harness *h, const struct kind *kind)
{
	h_config(h, 1, KVSINK_PARAM_LOCAL_WINDOW, 2);
	h_config(h, 1, KVSINK_PARAM_ALPHA, 0x3f000000);
	h_config(h, 1, KVSINK_PARAM_T_EVICT, 0x3c75c28f);
	h_config(h, 1, KVSINK_PARAM_T_PROMOTE, 0x3cf5c28f);
	h_config(h, 1, KVSINK_PARAM_N_DWELL, 3);
	h_config(h, 1, KVSINK_PARAM_PLACEMENT, kind->placement);
	h_config(h, 1, KVSINK_PARAM_TAIL_TOKENS, kind->tail);
	if (kind->budget)
		h_config(h, 1, KVSINK_PARAM_SRAM_BUDGET, kind->budget);
}

static void score_prompt(unsigned i)
{
	for (uint32_t l = 0; l < pair.s[i].layers; l++) {
		h_queries(&pair.h[i], l, PROMPT * pair.s[i].q_heads * pair.s[i].d_k);
		h_score_cmd(&pair.h[i], &pair.s[i], l, 0, PROMPT);
		if (h_do(&pair.h[i]))
			window_differ(&pair, "SCORE", l);
	}
}

static void make(unsigned i, const struct kind *kind)
{
	struct harness *h = &pair.h[i];
	struct h_stream *s = &pair.s[i];

	h_open(h, NULL);
	h->parts = 1 + 2 * i;
	*s = h_geometry(1);
	s->d_k = s->d_v = 32;
	s->page_tokens = 8;
	s->layers = kind->groups + 1;
	s->score_groups = kind->groups;
	for (uint32_t g = 0; g < KVSINK_MAX_SCORE_GROUPS; g++)
		s->group_end[g] = g < kind->groups ? (uint16_t)(g + 1 + (g + 1 == kind->groups)) : 0;
	s->max_tokens = 192;
	s->format = kind->format;
	s->seal_k = kind->seal_k;
	s->seal_v = kind->seal_v;
	s->flags = kind->flags;
	s->window = kind->window;
	h_stream(h, s);
	configure(h, kind);
	h_fill(h, s, 0, PROMPT);
	score_prompt(i);
	if (kind->shared && h_publish_prefix(h, s, 2, kind->shared, NULL))
		window_differ(&pair, "PREFIX_PUBLISH", h->cpl.code);
	pair.journal[i] = h->hbm_next;
}

static void twins(const struct kind *kind)
{
	uint32_t length = PROMPT;

	pair.differences = committed = speculated = rolled_back = 0;
	for (unsigned i = 0; i < 2; i++)
		make(i, kind);
	for (unsigned i = 0; i < ROUNDS; i++) {
		between(length);
		length += round_of(length);
	}
	tap_ok(!pair.differences, "%s: %u of %u rows committed, %u windows rolled back: as single steps",
	       kind->name, committed, speculated, rolled_back);
	tap_ok(committed > 10 && h_counter(&pair.h[1], KVSINK_COUNTER_WINDOW_COMMITTED) == committed &&
		       h_counter(&pair.h[1], KVSINK_COUNTER_WINDOW_TOKENS) == speculated,
	       "%s: rows are counted", kind->name);
	tap_ok(!(kind->placement == KVSINK_PLACEMENT_AUTO) ||
		       h_counter(&pair.h[1], KVSINK_COUNTER_AUTO_PROMOTIONS) > 3,
	       "%s: the controller took part", kind->name);
	for (unsigned i = 0; i < 2; i++)
		h_close(&pair.h[i]);
}

int main(void)
{
	static const struct kind kinds[] = {
		{"1C, two groups", KVSINK_FORMAT_F32, 0, 0, 0, KVSINK_PLACEMENT_AUTO, 0, 0, 0, 2, 0},
		{"1C, small budget", KVSINK_FORMAT_F32, 0, 0, 0, KVSINK_PLACEMENT_AUTO, 0, 0, 3072, 1, 0},
		{"1C, tails, three groups", KVSINK_FORMAT_FP16, 0, 0, 0, KVSINK_PLACEMENT_AUTO, 5, 0, 0, 3,
		 0},
		{"1C, tails, sliding windows", KVSINK_FORMAT_F32, 0, 0, 0, KVSINK_PLACEMENT_AUTO, 7, 30, 0, 2,
		 0},
		{"1B, tails", KVSINK_FORMAT_FP16, 0, 0, 0, KVSINK_PLACEMENT_OBSERVE, 6, 0, 0, 2, 0},
		{"no placement, tails", KVSINK_FORMAT_FP16, 0, 0, 0, KVSINK_PLACEMENT_OFF, 4, 0, 0, 2, 0},
		{"1C, sealed, tails", KVSINK_FORMAT_FP16, KVSINK_FORMAT_INT8, KVSINK_FORMAT_INT8, 0,
		 KVSINK_PLACEMENT_AUTO, 6, 0, 0, 2, 0},
		{"1C, values in keys, tails", KVSINK_FORMAT_FP16, 0, 0, KVSINK_STREAM_V_IN_K,
		 KVSINK_PLACEMENT_AUTO, 3, 0, 4096, 2, 0},
		{"1C, on a prefix, tails", KVSINK_FORMAT_FP16, KVSINK_FORMAT_INT8, KVSINK_FORMAT_INT8, 0,
		 KVSINK_PLACEMENT_AUTO, 4, 0, 0, 2, 19},
	};

	pair.seed = 20262;
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		for (unsigned again = 0; again < 3; again++)
			twins(&kinds[i]);
	return tap_done();
}
