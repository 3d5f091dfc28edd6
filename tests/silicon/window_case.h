/* SPDX-License-Identifier: MIT */
/*
 * Two chips with the same stream: what one does by single steps, the other does in replay windows. Rows and
 * queries are a function of (salt, layer, token), so that a wrong row is one of another salt.
 */
#ifndef WINDOW_CASE_H
#define WINDOW_CASE_H

#include "harness.h"
#include "tap.h"

#define SINGLE 0
#define WINDOWED 1
#define RIGHT 1u /* salt of the rows that stay */
#define JOURNAL_ROOM (2u << 20)

struct window_pair {
	struct harness h[2];
	struct h_stream s[2];
	uint64_t journal[2]; /* HBM offsets */
	uint64_t seed;
	unsigned differences;
};

static inline void window_floats(struct harness *h, uint32_t gart, uint64_t seed, uint32_t count, float size)
{
	float *value = malloc(count * sizeof(*value));

	h_random(&seed);
	for (uint32_t i = 0; i < count; i++)
		value[i] = (float)(int32_t)h_random(&seed) * 0x1p-31f * size;
	h_put(h, gart, value, count * sizeof(*value));
	free(value);
}

static inline uint64_t window_salted(uint32_t salt, uint32_t layer, uint32_t token, uint32_t what)
{
	return ((uint64_t)salt << 40 ^ (uint64_t)layer << 32 ^ token) * 8 + what;
}

/* APPEND of tokens [first, first + count), to be run. */
static inline struct kvsink_cmd *window_append_cmd(struct harness *h, const struct h_stream *s, uint32_t salt,
						   uint32_t layer, uint32_t first, uint32_t count)
{
	uint32_t k = s->kv_heads * s->d_k, v = s->kv_heads * s->d_v;
	struct kvsink_cmd *cmd = h_cmd(h, KVSINK_OP_APPEND);

	for (uint32_t i = 0; i < count; i++) {
		window_floats(h, H_K + i * k * 4, window_salted(salt, layer, first + i, 0), k, 1);
		window_floats(h, H_V + i * v * 4, window_salted(salt, layer, first + i, 1), v, 1);
	}
	cmd->append = (struct kvsink_cmd_append){.stream = s->id,
						 .layer = layer,
						 .first = first,
						 .count = count,
						 .k = h_gart(H_K),
						 .v = h_gart(H_V)};
	if (s->flags & KVSINK_STREAM_V_IN_K)
		cmd->append.v = (struct kvsink_ref){0};
	return cmd;
}

/* ATTEND of the queries at those tokens, in canonical mode: its outputs lie at H_OUT. */
static inline struct kvsink_cmd *window_attend_cmd(struct harness *h, const struct h_stream *s, uint32_t salt,
						   uint32_t layer, uint32_t first, uint32_t count)
{
	uint32_t q = s->q_heads * s->d_k;
	struct kvsink_cmd *cmd;

	for (uint32_t i = 0; i < count; i++)
		window_floats(h, H_Q + i * q * 4, window_salted(salt, layer, first + i, 2), q, 5);
	cmd = h_attend_cmd(h, s, layer, first, count);
	cmd->attend.mode = KVSINK_ATTEND_CANONICAL;
	return cmd;
}

/* What lies where the journal will be is nobody's: garbage. */
static inline uint32_t window_begin(struct harness *h, const struct h_stream *s, uint64_t journal,
				    uint32_t tokens)
{
	struct kvsink_cmd *cmd = h_cmd(h, KVSINK_OP_WINDOW_BEGIN);

	cmd->window_begin = (struct kvsink_cmd_window_begin){
		.stream = s->id, .journal = journal, .bytes = JOURNAL_ROOM, .tokens = tokens};
	return h_priv(h);
}

static inline struct kvsink_cmd *window_commit_cmd(struct harness *h, const struct h_stream *s,
						   uint32_t count)
{
	struct kvsink_cmd *cmd = h_cmd(h, KVSINK_OP_WINDOW_COMMIT);

	cmd->window_commit = (struct kvsink_cmd_window_commit){.stream = s->id, .count = count};
	return cmd;
}

static inline uint32_t window_commit(struct harness *h, const struct h_stream *s, uint32_t count)
{
	window_commit_cmd(h, s, count);
	return h_do(h);
}

/* One row in all layers, each with its query. */
static inline uint32_t window_speculate(struct harness *h, const struct h_stream *s, uint32_t salt,
					uint32_t first, uint32_t count)
{
	uint32_t code = 0;

	for (uint32_t l = 0; l < s->layers && !code; l++) {
		window_append_cmd(h, s, salt, l, first, count);
		code = h_do(h);
		window_attend_cmd(h, s, salt, l, first, count);
		code = code ? code : h_do(h);
	}
	return code;
}

static inline struct kvsink_stream_rec window_record(struct harness *h, const struct h_stream *s)
{
	struct kvsink_stream_rec rec = {0};

	h_query_cmd(h, KVSINK_QUERY_STREAMS, s->id, 0, 1);
	h_priv(h);
	h_get(h, H_ANSWER + sizeof(struct kvsink_list_head), &rec, sizeof(rec));
	return rec;
}

/* ---- what is compared; window_same.c ---------------------------------------------------------------- */

/* Everything that software can see of the stream, and its content of HBM; entries once their copies ended. */
void window_compare(struct window_pair *p, uint32_t length);
/* Prints the first ones. */
void window_differ(struct window_pair *p, const char *what, uint32_t at);
void window_same(struct window_pair *p, const char *what, uint32_t at, uint64_t gart, size_t bytes);

#endif
