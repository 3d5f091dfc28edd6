/* SPDX-License-Identifier: MIT */
/*
 * A stream whose attention the test decides. The K row of token t is the t-th unit vector, so that the t-th
 * element of a query is its logit for token t: a test gives the attention that each query head shall put on
 * each token, what is left goes to the query's own token. LOCAL_WINDOW 1 leaves that out of every sum.
 */
#ifndef STEER_H
#define STEER_H

#include <stdio.h>

#include "harness.h"

#define STEER_TOKENS 128u
#define STEER_Q_HEADS 4u

typedef double steer_attention[STEER_Q_HEADS][STEER_TOKENS];

/* A geometry to change before h_stream(): one group of `layers` layers. */
static inline struct h_stream steer_geometry(uint64_t id, uint32_t layers)
{
	struct h_stream s = h_geometry(id);

	s.layers = layers;
	s.q_heads = STEER_Q_HEADS;
	s.d_k = STEER_TOKENS;
	s.d_v = 4;
	s.scale = 1.0f;
	s.max_tokens = STEER_TOKENS;
	s.score_groups = 1;
	memset(s.group_end, 0, sizeof(s.group_end));
	s.group_end[0] = (uint16_t)layers;
	return s;
}

static inline void steer_check(uint32_t code, const char *what)
{
	if (!code)
		return;
	printf("Bail out! %s: %s\n", what, kvsink_code_name(code));
	exit(1);
}

static inline uint32_t steer_pattern(double value)
{
	float single = (float)value;
	uint32_t bits;

	memcpy(&bits, &single, sizeof(bits));
	return bits;
}

static inline double steer_value(uint32_t bits)
{
	float single;

	memcpy(&single, &bits, sizeof(single));
	return single;
}

static inline void steer_config(struct harness *h, const struct h_stream *s, uint32_t param, uint64_t value)
{
	steer_check(h_config(h, s->id, param, value), "CONFIG");
}

static inline void steer_append(struct harness *h, const struct h_stream *s, uint32_t layer, uint32_t first,
				uint32_t count)
{
	struct kvsink_cmd *cmd = h_cmd(h, KVSINK_OP_APPEND);
	float *k = calloc((size_t)count * s->kv_heads * s->d_k, sizeof(*k));

	for (uint32_t i = 0; i < count * s->kv_heads; i++)
		k[(size_t)i * s->d_k + first + i / s->kv_heads] = 1.0f;
	h_put(h, H_K, k, (size_t)count * s->kv_heads * s->d_k * sizeof(*k));
	free(k);
	cmd->append = (struct kvsink_cmd_append){.stream = s->id,
						 .layer = layer,
						 .first = first,
						 .count = count,
						 .k = h_gart(H_K),
						 .v = h_gart(H_V)};
	steer_check(h_do(h), "APPEND");
}

/* Rows of `count` tokens in every layer, as a step of their own. */
static inline void steer_fill(struct harness *h, const struct h_stream *s, uint32_t first, uint32_t count)
{
	for (uint32_t l = 0; l < s->layers; l++)
		steer_append(h, s, l, first, count);
	steer_check(h_step_end(h, s, count), "STEP_END");
}

/* Queries at [first, first + count) to H_Q. */
static inline void steer_queries(struct harness *h, const struct h_stream *s, uint32_t first, uint32_t count,
				 const steer_attention *p)
{
	float *q = malloc((size_t)count * s->q_heads * s->d_k * sizeof(*q));

	for (uint32_t i = 0; i < count * s->q_heads; i++) {
		uint32_t head = i % s->q_heads, own = first + i / s->q_heads;
		double rest = 1.0;

		for (uint32_t t = 0; t < s->d_k; t++) {
			double a = t < own ? (*p)[head][t] : 0.0;

			q[(size_t)i * s->d_k + t] = a > 0.0 ? (float)log(a) : -60.0f;
			rest -= a;
		}
		q[(size_t)i * s->d_k + own] = rest > 1e-12 ? (float)log(rest) : -60.0f;
	}
	h_put(h, H_Q, q, (size_t)count * s->q_heads * s->d_k * sizeof(*q));
	free(q);
}

static inline void steer_attend(struct harness *h, const struct h_stream *s, uint32_t layer, uint32_t first,
				uint32_t count, const steer_attention *p)
{
	steer_queries(h, s, first, count, p);
	h_attend_cmd(h, s, layer, first, count);
	steer_check(h_do(h), "ATTEND");
}

/* Every query of the chunk with the same attention. */
static inline void steer_score(struct harness *h, const struct h_stream *s, uint32_t layer, uint32_t first,
			       uint32_t count, const steer_attention *p)
{
	steer_queries(h, s, first, count, p);
	h_score_cmd(h, s, layer, first, count);
	steer_check(h_do(h), "SCORE");
}

/* One decode step of one token, the same attention in every layer. */
static inline void steer_step(struct harness *h, const struct h_stream *s, uint32_t token,
			      const steer_attention *p)
{
	for (uint32_t l = 0; l < s->layers; l++) {
		steer_append(h, s, l, token, 1);
		steer_attend(h, s, l, token, 1, p);
	}
	steer_check(h_step_end(h, s, 1), "STEP_END");
}

/* The same attention in all heads. */
static inline void steer_all(steer_attention *p, uint32_t token, double a)
{
	for (uint32_t head = 0; head < STEER_Q_HEADS; head++)
		(*p)[head][token] = a;
}

/* Records of a query; returns how many. */
static inline uint32_t steer_ask(struct harness *h, uint32_t what, uint64_t stream, uint32_t group,
				 uint32_t first, uint32_t max, void *rec, size_t bytes)
{
	struct kvsink_list_head head;

	h_query_cmd(h, what, stream, first, max)->query.group = group;
	steer_check(h_priv(h), "QUERY");
	h_get(h, H_ANSWER, &head, sizeof(head));
	if (head.record_bytes != bytes)
		steer_check(KVSINK_CODE_BAD_FIELD, "record size");
	h_get(h, H_ANSWER + sizeof(head), rec, head.written * bytes);
	return head.written;
}

static inline struct kvsink_score_rec steer_look(struct harness *h, const struct h_stream *s, uint32_t group,
						 uint32_t token)
{
	struct kvsink_score_rec rec = {0};

	steer_ask(h, KVSINK_QUERY_SCORES, s->id, group, token, 1, &rec, sizeof(rec));
	return rec;
}

static inline uint64_t steer_count(struct harness *h, const struct h_stream *s, unsigned counter)
{
	uint64_t value[KVSINK_COUNTER_COUNT];

	steer_ask(h, KVSINK_QUERY_COUNTERS, s->id, 0, 0, KVSINK_COUNTER_COUNT, value, sizeof(value[0]));
	return value[counter];
}

/* Events of a kind with a reason (or any, ~0). */
static inline uint32_t steer_events(struct harness *h, const struct h_stream *s, uint32_t code,
				    uint32_t reason)
{
	static struct kvsink_event_rec rec[KVSINK_EVENT_SLOTS];
	uint32_t n = steer_ask(h, KVSINK_QUERY_EVENTS, s->id, 0, 0, KVSINK_EVENT_SLOTS, rec, sizeof(rec[0])),
		 found = 0;

	for (uint32_t i = 0; i < n; i++)
		found += rec[i].code == code && (reason == UINT32_MAX || rec[i].reason == reason);
	return found;
}

#endif
