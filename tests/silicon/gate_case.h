/* SPDX-License-Identifier: MIT */
/* Gated attention problems: norms and parameters for a case of datapath_case.h, and what must hold of the
 * answer. */
#ifndef GATE_CASE_H
#define GATE_CASE_H

#include "datapath_case.h"

struct gate_case {
	struct dp_case c;
	struct kvsink_gate_bytes bytes;
	uint16_t *norms;
	uint32_t *norm_max;
};

/* What one query and head got, against the oracle. */
struct gate_check {
	double error, bound, tau; /* |o - out|, the certificate, the share on unread rows that it states */
	double rounding;	  /* of every mode: 8e-6 sum a |v| */
	bool criterion;		  /* holds by what the stat says */
};

static inline double gate_row_norm(const struct dp_case *c, uint32_t token, uint32_t head)
{
	double sum = 0.0, x;

	for (uint32_t e = 0; e < c->task.rows.d_v; e++) {
		x = dp_value(c, token, head, true, e);
		sum += x * x;
	}
	return sqrt(sum);
}

static inline double gate_norm_max(const struct gate_case *g, uint32_t head)
{
	float value;

	memcpy(&value, &g->norm_max[head], sizeof(value));
	return value;
}

/* Norms of the rows as they are now. */
static inline void gate_norms(struct gate_case *g)
{
	struct dp_case *c = &g->c;
	float value;

	for (uint32_t h = 0; h < c->task.rows.kv_heads; h++) {
		g->norm_max[h] = 0;
		for (uint32_t t = 0; t < c->tokens; t++) {
			uint16_t norm = kvsink_norm_round_up(gate_row_norm(c, t, h));

			g->norms[(size_t)h * c->tokens + t] = norm;
			value = (float)dp_half(norm);
			if (value > gate_norm_max(g, h))
				memcpy(&g->norm_max[h], &value, sizeof(value));
		}
	}
}

static inline void gate_new(struct gate_case *g, const struct dp_geometry *geometry, uint32_t criterion,
			    float epsilon)
{
	struct dp_case *c = &g->c;

	dp_new(c, geometry);
	g->norms = malloc((size_t)geometry->kv_heads * c->tokens * sizeof(*g->norms));
	g->norm_max = malloc(geometry->kv_heads * sizeof(*g->norm_max));
	gate_norms(g);
	c->task.mode = KVSINK_ATTEND_GATED;
	c->task.gate = (struct kvsink_gating){.criterion = criterion,
					      .epsilon = epsilon,
					      .buffer = true,
					      .norm_max = g->norm_max,
					      .norms = g->norms,
					      .norm_stride = c->tokens,
					      .burst_bytes = 64,
					      .bytes = &g->bytes};
}

/* ---- sealed rows ---- */

static inline double gate_half_at(const uint8_t *scales, uint32_t index)
{
	uint16_t half;

	memcpy(&half, scales + 2 * index, 2);
	return dp_half(half);
}

/* Element e of the t-th row of a head's region, by the layout of kvsink_hw.h and without the chip's code. */
static inline float gate_decode(const uint8_t *region, uint32_t seal, uint32_t d, uint32_t tokens, uint32_t t,
				uint32_t e)
{
	const uint8_t *scales = region + kvsink_code_bytes(seal, d) * tokens;
	uint32_t i = t * d + e, group = t * (d / 32) + e / 32;
	int nibble = region[i / 2] >> i % 2 * 4 & 15;

	switch (seal) {
	case KVSINK_FORMAT_INT8:
		return (float)(gate_half_at(scales, group) * (int8_t)region[i]);
	case KVSINK_FORMAT_INT4:
		return (float)(gate_half_at(scales, 2 * group) * nibble) +
		       (float)gate_half_at(scales, 2 * group + 1);
	default:
		return (float)(gate_half_at(scales, e) *
			       (seal == KVSINK_FORMAT_INT8_CHANNEL ? region[i] : nibble)) +
		       (float)gate_half_at(scales, d + e);
	}
}

/* One head of a page; its rows as they were lie at src. In half of them a token is protected, if there is
 * room. */
static inline void gate_seal_head(struct dp_case *c, bool v, uint32_t seal, uint32_t page, uint32_t head,
				  const float *src)
{
	const struct kvsink_rows *r = &c->task.rows;
	uint32_t d = v ? r->d_v : r->d_k, tokens = 1u << r->page_shift,
		 row = d * kvsink_format_bytes(r->format);
	uint8_t *region = dp_row(c, page * tokens, 0, v) + (size_t)head * row * tokens;
	uint32_t keep =
		kvsink_seal_room(seal, r->format, d, tokens) && dp_random(2) ? dp_random(tokens) : tokens;
	uint64_t leave[KVSINK_PAGE_WORDS + 1] = {0};

	leave[keep / 64] |= 1ull << keep % 64;
	memset(region, 0, (size_t)row * tokens);
	kvsink_format_seal(seal,
			   &(struct kvsink_seal_job){region, region + kvsink_code_bytes(seal, d) * tokens,
						     src, leave, tokens, d});
	if (keep < tokens) {
		memcpy(region + kvsink_seal_bitmap_at(seal, d, tokens), leave, (tokens + 7) / 8);
		kvsink_format_store(r->format, region + kvsink_seal_rows_at(seal, d, tokens),
				    src + (size_t)keep * d, d);
	}
	for (uint32_t t = 0; t < tokens; t++)
		for (uint32_t e = 0; e < d && t != keep; e++)
			c->plain[v][((size_t)(page * tokens + t) * r->kv_heads + head) * d + e] =
				gate_decode(region, seal, d, tokens, t, e);
}

static inline void gate_seal_plane(struct dp_case *c, bool v, uint32_t seal)
{
	const struct kvsink_rows *r = &c->task.rows;
	uint32_t d = v ? r->d_v : r->d_k, tokens = 1u << r->page_shift;
	float *plain = malloc((size_t)c->tokens * r->kv_heads * d * sizeof(float));
	float *src = malloc((size_t)tokens * r->kv_heads * d * sizeof(float));

	for (uint32_t t = 0; t < c->tokens; t++)
		for (uint32_t h = 0; h < r->kv_heads; h++)
			for (uint32_t e = 0; e < d; e++)
				plain[((size_t)t * r->kv_heads + h) * d + e] = (float)dp_value(c, t, h, v, e);
	c->plain[v] = plain;
	for (uint32_t page = 0; seal && page < c->tokens / tokens; page++) {
		for (uint32_t i = 0; i < tokens * r->kv_heads; i++)
			memcpy(src + ((size_t)(i % r->kv_heads) * tokens + i / r->kv_heads) * d,
			       plain + ((size_t)page * tokens * r->kv_heads + i) * d, d * sizeof(float));
		for (uint32_t h = 0; h < r->kv_heads; h++)
			gate_seal_head(c, v, seal, page, h, src + (size_t)h * tokens * d);
	}
	free(src);
}

/* All whole pages become codes in those formats; rows in SRAM are those of open pages only. */
static inline void gate_seal(struct gate_case *g, uint32_t seal_k, uint32_t seal_v)
{
	struct kvsink_rows *r = &g->c.task.rows;
	uint32_t residents = 0;

	gate_seal_plane(&g->c, false, seal_k);
	gate_seal_plane(&g->c, true, seal_v);
	r->seal_k = seal_k;
	r->seal_v = seal_v;
	r->sealed = g->c.tokens >> r->page_shift << r->page_shift;
	for (uint32_t i = 0; i < r->residents; i++)
		if (r->resident[i].token >= r->sealed)
			g->c.resident[residents++] = r->resident[i];
	r->residents = residents;
	gate_norms(g);
}

static inline void gate_free(struct gate_case *g)
{
	free(g->norms);
	free(g->norm_max);
	dp_free(&g->c);
}

static inline void gate_run(struct gate_case *g, unsigned parts)
{
	memset(&g->bytes, 0, sizeof(g->bytes));
	dp_run(&g->c, parts);
}

static inline struct gate_check gate_check(const struct gate_case *g, uint32_t i, uint32_t qh,
					   struct dp_oracle *o)
{
	const struct dp_case *c = &g->c;
	const struct kvsink_attend_stat *s = &c->stats[(size_t)i * c->task.q_heads + qh];
	const float *out = c->out + ((size_t)i * c->task.q_heads + qh) * c->task.rows.d_v;
	double m = gate_norm_max(g, qh / (c->task.q_heads / c->task.rows.kv_heads)), length = 0.0;
	double epsilon = c->task.gate.epsilon;
	struct gate_check check = {.bound = s->bound, .tau = s->skipped};

	dp_solve(c, i, qh, o);
	check.error = dp_error(c, i, qh, o) * o->norm;
	check.rounding = 8e-6 * o->norm;
	for (uint32_t e = 0; e < c->task.rows.d_v; e++)
		length += (double)out[e] * out[e];
	check.criterion = c->task.gate.criterion == KVSINK_GATE_MASS  ? check.tau <= epsilon
			  : c->task.gate.criterion == KVSINK_GATE_ABS ? check.bound <= epsilon * m
								      : check.bound <= epsilon * sqrt(length);
	return check;
}

#endif
