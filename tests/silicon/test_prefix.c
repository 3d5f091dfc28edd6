// SPDX-License-Identifier: MIT
/*
 * Shared prefixes change nothing that a model can see: two chips run the same sequences. On the first one
 * they begin with one another's tokens, by PUBLISH and ATTACH at any token; on the second every one is built
 * from scratch. Outputs, scores, E, norms and what was sealed must be the same, bit for bit. Who may do what
 * with a prefix, where its bytes are: test_prefix_rules.c.
 */
#include "harness.h"
#include "tap.h"

#define SEQUENCES 12
#define MAX_TOKENS 96
#define PAGE 4
#define PROMPT 11 /* tokens that are scored, all in one chunk */
#define RECORDS 128

/* What a sequence is: a seed for each token's rows and queries. */
struct sequence {
	uint64_t seed[MAX_TOKENS];
	uint32_t length, sealed;
	bool learned; /* E is that of all its steps: it never was a fork of an earlier token */
	struct h_stream s[2];
};

static struct harness shares, scratch; /* the two chips */
static struct harness *const chip[2] = {&shares, &scratch};
static struct sequence sequences[SEQUENCES];
static unsigned used, differences, compared;
static uint64_t random_state, next_id;
static uint32_t placement;
static bool seals, per_head;

static uint32_t below(uint32_t n)
{
	return h_random(&random_state) % n;
}

static void differ(const char *what, unsigned sequence, uint32_t at)
{
	if (differences++ < 5)
		tap_diag("sequence %u: %s %u differs", sequence, what, at);
}

static void must(uint32_t code, const char *what)
{
	if (!code)
		return;
	printf("Bail out! %s: %s\n", what, kvsink_code_name(code));
	exit(1);
}

/* ---- one sequence on one chip ---- */

static struct h_stream geometry(uint64_t id)
{
	struct h_stream s = h_geometry(id);

	s.format = KVSINK_FORMAT_FP16;
	s.d_k = s.d_v = 32;
	s.max_tokens = MAX_TOKENS;
	s.page_tokens = PAGE;
	if (seals) {
		s.seal_k = KVSINK_FORMAT_INT8;
		s.seal_v = KVSINK_FORMAT_INT8;
	}
	s.flags = per_head ? KVSINK_STREAM_PER_HEAD : 0;
	return s;
}

static void config(unsigned c, const struct h_stream *s)
{
	static const uint32_t params[][2] = {{KVSINK_PARAM_LOCAL_WINDOW, 2},
					     {KVSINK_PARAM_N_PROMOTE, 1},
					     {KVSINK_PARAM_T_PROMOTE, 0x3d4ccccd}, /* 0.05 */
					     {KVSINK_PARAM_T_EVICT, 0x3ca3d70a},   /* 0.02 */
					     {KVSINK_PARAM_ALPHA, 0x3f000000}};

	for (unsigned i = 0; i < sizeof(params) / sizeof(params[0]); i++)
		must(h_config(chip[c], s->id, params[i][0], params[i][1]), "CONFIG");
	must(h_config(chip[c], s->id, KVSINK_PARAM_PLACEMENT, placement), "PLACEMENT");
}

static void heads(unsigned c, const struct h_stream *s)
{
	float head[8] = {0.01f, 0.02f, 0.0f, 0.05f, -1.0f, 0.5f, -INFINITY, 2.0f};
	struct kvsink_cmd *cmd;

	for (uint32_t l = 0; per_head && l < s->layers; l++) {
		h_put(chip[c], H_FREE, head, sizeof(head));
		cmd = h_cmd(chip[c], KVSINK_OP_LAYER_HEADS);
		cmd->layer_heads = (struct kvsink_cmd_layer_heads){s->id, l, 0, h_gart(H_FREE)};
		must(h_do(chip[c]), "LAYER_HEADS");
	}
}

static void append(unsigned c, struct sequence *q, uint32_t first, uint32_t count)
{
	struct h_stream *s = &q->s[c];

	for (uint32_t l = 0; l < s->layers; l++)
		for (uint32_t t = first; t < first + count; t++) {
			s->rows = q->seed[t];
			must(h_append(chip[c], s, l, t, 1), "APPEND");
		}
}

static void prefill(unsigned c, struct sequence *q)
{
	append(c, q, 0, PROMPT);
	must(h_step_end(chip[c], &q->s[c], PROMPT), "STEP_END");
	for (uint32_t l = 0; l < q->s[c].layers; l++) {
		h_queries(chip[c], q->seed[PROMPT - 1], PROMPT * 4 * 32);
		h_score_cmd(chip[c], &q->s[c], l, 0, PROMPT);
		must(h_do(chip[c]), "SCORE");
	}
}

static void attend(unsigned c, struct sequence *q, uint32_t layer, uint32_t token, uint32_t mode)
{
	h_queries(chip[c], q->seed[token] + layer, 4 * 32);
	h_attend_cmd(chip[c], &q->s[c], layer, token, 1)->attend.mode = mode;
	must(h_do(chip[c]), "ATTEND");
}

static void decode(unsigned c, struct sequence *q, uint32_t token)
{
	append(c, q, token, 1);
	for (uint32_t l = 0; l < q->s[c].layers; l++)
		attend(c, q, l, token, KVSINK_ATTEND_CANONICAL);
	must(h_step_end(chip[c], &q->s[c], 1), "STEP_END");
}

static void seal(unsigned c, struct sequence *q)
{
	if (q->sealed)
		must(h_seal(chip[c], &q->s[c], q->sealed), "SEAL");
}

static void begin(unsigned c, struct sequence *q)
{
	q->s[c] = geometry(next_id);
	must(h_create(chip[c], &q->s[c]), "STREAM_CREATE");
	config(c, &q->s[c]);
}

static void from_scratch(unsigned c, struct sequence *q)
{
	begin(c, q);
	must(h_map(chip[c], &q->s[c], 0, MAX_TOKENS / PAGE), "PAGE_MAP");
	heads(c, &q->s[c]);
	prefill(c, q);
	for (uint32_t t = PROMPT; t < q->length; t++)
		decode(c, q, t);
	seal(c, q);
}

/* ---- what happens to both ---- */

static void grow(unsigned i)
{
	struct sequence *q = &sequences[i];

	if (q->length == MAX_TOKENS)
		return;
	q->seed[q->length] = h_random(&random_state) | 1;
	for (unsigned c = 0; c < 2; c++)
		decode(c, q, q->length);
	q->length++;
}

static void new_sequence(void)
{
	struct sequence *q = &sequences[used++];

	*q = (struct sequence){.length = PROMPT, .learned = true};
	next_id++;
	for (uint32_t t = 0; t < PROMPT; t++)
		q->seed[t] = h_random(&random_state) | 1;
	for (unsigned c = 0; c < 2; c++)
		from_scratch(c, q);
}

/* Who has the tokens, and how many: the stream's record. */
static struct kvsink_stream_rec record(const struct h_stream *s)
{
	struct kvsink_stream_rec rec;

	h_query_cmd(&shares, KVSINK_QUERY_STREAMS, s->id, 0, 1);
	h_do(&shares);
	h_get(&shares, H_ANSWER + sizeof(struct kvsink_list_head), &rec, sizeof(rec));
	return rec;
}

/* A sequence that begins with `tokens` tokens of another: published first if no prefix has them all. */
static void branch(unsigned from, uint32_t tokens)
{
	struct sequence *parent = &sequences[from], *q = &sequences[used++];
	struct kvsink_stream_rec rec = record(&parent->s[0]);
	bool whole;

	if (tokens < parent->sealed) /* sealed pages are not parted */
		tokens = (tokens + PAGE - 1) / PAGE * PAGE;
	whole = tokens == parent->length;
	*q = *parent;
	q->length = tokens;
	q->sealed = parent->sealed < tokens ? parent->sealed : tokens / PAGE * PAGE;
	q->learned = whole && parent->learned;
	if (tokens > rec.shared) {
		must(h_publish_prefix(&shares, &parent->s[0], ++next_id, tokens, NULL), "PREFIX_PUBLISH");
		rec = record(&parent->s[0]);
	}
	next_id++;
	begin(0, q);
	must(h_attach(&shares, &q->s[0], rec.prefix, tokens), "PREFIX_ATTACH");
	from_scratch(1, q);
}

/* Seals what is full, on both. */
static void seal_more(unsigned i)
{
	struct sequence *q = &sequences[i];
	uint32_t own = record(&q->s[0]).own_page * PAGE, tokens = q->length / PAGE * PAGE;

	if (!seals || tokens <= q->sealed || q->sealed < own)
		return;
	q->sealed = tokens;
	seal(0, q);
	seal(1, q);
}

/* ---- what is compared ---- */

static void same_bytes(unsigned i, const char *what, uint32_t at, uint32_t gart, size_t bytes)
{
	static uint8_t a[64 << 10], b[64 << 10];

	h_get(&shares, gart, a, bytes);
	h_get(&scratch, gart, b, bytes);
	compared++;
	if (memcmp(a, b, bytes))
		differ(what, i, at);
}

static void same_outputs(unsigned i)
{
	struct sequence *q = &sequences[i];

	for (uint32_t mode = 0; mode < KVSINK_ATTEND_MODE_COUNT; mode++)
		for (uint32_t l = 0; l < q->s[0].layers; l++) {
			for (unsigned c = 0; c < 2; c++)
				attend(c, q, l, q->length - 1, mode);
			same_bytes(i, "output of mode", mode, H_OUT, 4 * 32 * sizeof(float));
			same_bytes(i, "certificates of mode", mode, H_STATS,
				   4 * sizeof(struct kvsink_attend_stat));
		}
}

static void same_answers(unsigned i, const char *what, uint32_t query, size_t record_bytes)
{
	for (uint32_t group = 0; group < 2; group++) {
		for (unsigned c = 0; c < 2; c++) {
			h_query_cmd(chip[c], query, sequences[i].s[c].id, 0, RECORDS)->query.group =
				query == KVSINK_QUERY_VERDICTS ? 0 : group;
			must(h_do(chip[c]), what);
		}
		same_bytes(i, what, group, H_ANSWER,
			   sizeof(struct kvsink_list_head) + RECORDS * record_bytes);
	}
}

static void clear_answers(void)
{
	static const uint8_t zero[64 << 10];

	for (unsigned c = 0; c < 2; c++)
		h_put(chip[c], H_ANSWER, zero, sizeof(zero));
}

static void compare_all(void)
{
	for (unsigned i = 0; i < used; i++) {
		clear_answers();
		same_outputs(i);
		/* SCORES shows E, too: of forks in the past it is another */
		if (placement && !sequences[i].learned)
			continue;
		same_answers(i, "scores of group", KVSINK_QUERY_SCORES, sizeof(struct kvsink_score_rec));
		same_answers(i, "sinks of group", KVSINK_QUERY_SINKS, sizeof(struct kvsink_sink_rec));
	}
}

/* ---- programs ---- */

static void many_streams(struct kvsink_chip_config *config)
{
	config->streams = 64;
	config->hbm_bytes = 64 << 20;
}

static void run(uint64_t seed, uint32_t steps, const char *what)
{
	h_open(&shares, many_streams);
	h_open(&scratch, many_streams);
	random_state = seed;
	used = differences = compared = 0;
	next_id = 0;
	new_sequence();
	for (uint32_t i = 0; i < steps; i++) {
		unsigned at = below(used);
		uint32_t length = sequences[at].length;

		switch (below(8)) {
		case 0:
			if (used < SEQUENCES)
				branch(at, PROMPT + below(length - PROMPT + 1));
			break;
		case 1:
			if (used < SEQUENCES)
				branch(at, length);
			break;
		case 2:
			seal_more(at);
			break;
		default:
			grow(at);
		}
		if (i % 16 == 15)
			compare_all();
	}
	compare_all();
	tap_ok(!differences && used > 5, "%s: %u sequences, %u comparisons", what, used, compared);
	h_close(&shares);
	h_close(&scratch);
}

int main(void)
{
	placement = KVSINK_PLACEMENT_OFF;
	for (uint64_t seed = 1; seed <= 3; seed++)
		run(seed, 200, "forks at any token");
	per_head = true;
	run(4, 200, "slopes and sinks of heads");
	per_head = false;
	seals = true;
	for (uint64_t seed = 8; seed <= 10; seed++)
		run(seed, 200, "sealed pages");
	seals = false;
	placement = KVSINK_PLACEMENT_OBSERVE;
	for (uint64_t seed = 5; seed <= 7; seed++)
		run(seed, 200, "with E");
	return tap_done();
}
