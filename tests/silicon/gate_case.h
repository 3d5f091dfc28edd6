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
		x = dp_element(&c->task.rows, dp_row(c, token, head, true), e);
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
