/* SPDX-License-Identifier: MIT */
/*
 * Random attention problems for the datapath's tests, and their solution in binary64 (libm, plain loops,
 * its own decoding of rows): shares no code with the datapath.
 */
#ifndef DATAPATH_CASE_H
#define DATAPATH_CASE_H

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "datapath.h"

struct dp_geometry {
	uint32_t format, kv_heads, group, d_k, d_v, page_shift;
	uint32_t first, count, window;
	float softcap;
	double top;		   /* greatest |logit| */
	uint32_t resident_percent; /* of (token, head) */
	uint32_t local_window;
	bool scored;
	uint32_t flags; /* KVSINK_STREAM_* */
};

struct dp_case {
	struct kvsink_attend_task task;
	uint32_t tokens;
	uint8_t *hbm, *sram;
	const uint8_t **pages;
	struct kvsink_resident *resident;
	float *q, *out, *scratch, *heads;
	struct kvsink_attend_stat *stats;
	uint64_t *score, mass;
	float *plain[2]; /* K, V of a sealed case as they are stored, [token][head][element]; else NULL */
};

static uint64_t dp_seed = 0x9e3779b97f4a7c15ull;

static inline uint32_t dp_random(uint32_t below)
{
	dp_seed ^= dp_seed << 13;
	dp_seed ^= dp_seed >> 7;
	dp_seed ^= dp_seed << 17;
	return (uint32_t)((dp_seed >> 32) * below >> 32);
}

/* Roughly normal, variance 1. */
static inline float dp_normal(void)
{
	double sum = 0.0;
	int i;

	for (i = 0; i < 12; i++)
		sum += dp_random(1u << 30) * 0x1p-30;
	return (float)(sum - 6.0);
}

static inline double dp_half(uint16_t h)
{
	int e = h >> 10 & 31, m = h & 0x3ff;
	double x = e == 31 ? (m ? NAN : INFINITY) : e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);

	return h & 0x8000 ? -x : x;
}

static inline double dp_element(const struct kvsink_rows *rows, const uint8_t *row, uint32_t e)
{
	uint16_t half;
	float single;

	if (rows->format == KVSINK_FORMAT_FP16) {
		memcpy(&half, row + 2 * e, 2);
		return dp_half(half);
	}
	memcpy(&single, row + 4 * e, 4);
	return single;
}

/* V_IN_K: a value is the head of its key row, the rows lie as far apart as keys do. */
static inline uint32_t dp_v_width(const struct kvsink_rows *r)
{
	return r->flags & KVSINK_STREAM_V_IN_K ? r->d_k : r->d_v;
}

/* Where the K (or V) row of a token and head lies in HBM. */
static inline uint8_t *dp_row(const struct dp_case *c, uint32_t token, uint32_t head, bool v)
{
	const struct kvsink_rows *r = &c->task.rows;
	size_t slot = (size_t)(token & ((1u << r->page_shift) - 1)) * r->kv_heads + head;

	return (uint8_t *)(uintptr_t)r->pages[token >> r->page_shift] + (v ? r->v_offset : r->k_offset) +
	       slot * (v ? dp_v_width(r) : r->d_k) * kvsink_format_bytes(r->format);
}

/* An element of the K (or V) row of a token and head, as it is stored. */
static inline double dp_value(const struct dp_case *c, uint32_t token, uint32_t head, bool v, uint32_t e)
{
	const struct kvsink_rows *r = &c->task.rows;

	if (c->plain[v])
		return c->plain[v][((size_t)token * r->kv_heads + head) * (v ? r->d_v : r->d_k) + e];
	return dp_element(r, dp_row(c, token, head, v), e);
}

static inline void dp_fill_rows(struct dp_case *c)
{
	struct kvsink_rows *r = &c->task.rows;
	float row[KVSINK_MAX_HEAD_DIM];
	uint32_t t, h, e;

	for (t = 0; t < c->tokens; t++)
		for (h = 0; h < r->kv_heads; h++) {
			for (e = 0; e < r->d_k; e++)
				row[e] = dp_normal();
			kvsink_format_store(r->format, dp_row(c, t, h, false), row, r->d_k);
			if (r->flags & KVSINK_STREAM_V_IN_K)
				continue;
			for (e = 0; e < r->d_v; e++)
				row[e] = dp_normal() + 0.5f;
			kvsink_format_store(r->format, dp_row(c, t, h, true), row, r->d_v);
		}
}

static inline bool dp_resident(const struct kvsink_rows *r, uint32_t token, uint32_t head)
{
	uint32_t i;

	for (i = 0; i < r->residents; i++)
		if (r->resident[i].token == token && r->resident[i].head_mask >> head & 1)
			return true;
	return false;
}

/* Adds an entry with exact copies of the rows. */
static inline void dp_add_resident(struct dp_case *c, uint32_t token, uint64_t mask)
{
	struct kvsink_rows *r = &c->task.rows;
	uint32_t b = kvsink_format_bytes(r->format),
		 row = kvsink_row_bytes(r->flags, r->d_k, r->d_v, r->format), h;
	uint8_t *to = c->sram + (size_t)r->residents * r->kv_heads * row;

	c->resident[r->residents++] =
		(struct kvsink_resident){.head_mask = mask, .rows = to, .token = token, .pitch = row};
	for (h = 0; h < r->kv_heads; h++) {
		if (!(mask >> h & 1))
			continue;
		memcpy(to, dp_row(c, token, h, false), r->d_k * b);
		if (!(r->flags & KVSINK_STREAM_V_IN_K))
			memcpy(to + r->d_k * b, dp_row(c, token, h, true), r->d_v * b);
		to += row;
	}
}

/* Heads of a token in up to two entries with disjoint masks. */
static inline void dp_place(struct dp_case *c, uint32_t percent)
{
	uint64_t first, second;
	uint32_t t, h;

	c->task.rows.residents = 0;
	for (t = 0; t < c->tokens; t++) {
		first = second = 0;
		for (h = 0; h < c->task.rows.kv_heads; h++) {
			if (dp_random(100) >= percent)
				continue;
			if (dp_random(2))
				first |= 1ull << h;
			else
				second |= 1ull << h;
		}
		if (first)
			dp_add_resident(c, t, first);
		if (second)
			dp_add_resident(c, t, second);
	}
}

static inline double dp_dot(const struct dp_case *c, uint32_t i, uint32_t qh, uint32_t token)
{
	const struct kvsink_rows *r = &c->task.rows;
	const float *q = c->q + ((size_t)i * c->task.q_heads + qh) * r->d_k;
	uint32_t head = qh / (c->task.q_heads / r->kv_heads), e;
	double sum = 0.0;

	for (e = 0; e < r->d_k; e++)
		sum += q[e] * dp_value(c, token, head, false, e);
	return sum;
}

/* Sets the scale so that the greatest |logit| is `top`. */
static inline void dp_scale(struct dp_case *c, double top)
{
	double greatest = 1e-30, x;
	uint32_t i, h, t;

	for (i = 0; i < c->task.count; i++)
		for (h = 0; h < c->task.q_heads; h++)
			for (t = 0; t <= c->task.first + i; t++) {
				x = fabs(dp_dot(c, i, h, t));
				greatest = x > greatest ? x : greatest;
			}
	c->task.scale = (float)(top / greatest * (1 - 1e-6));
}

/* Slopes of 2^-1 and less, sinks between the smallest logits and the largest, every fourth head without one.
 */
static inline void dp_heads(struct dp_case *c, double top)
{
	uint32_t n = c->task.q_heads, h;

	for (h = 0; h < n; h++) {
		c->heads[h] = (float)ldexp(1.0, -1 - (int)(8 * h / n));
		c->heads[n + h] = h % 4 == 3 ? -INFINITY : (float)((dp_random(200) / 100.0 - 1.0) * top);
	}
	c->task.heads = c->heads;
}

static inline void dp_new(struct dp_case *c, const struct dp_geometry *g)
{
	uint32_t n = g->first + g->count, q_heads = g->kv_heads * g->group, page = 1u << g->page_shift, i;
	uint32_t b = kvsink_format_bytes(g->format),
		 row = kvsink_row_bytes(g->flags, g->d_k, g->d_v, g->format);
	uint32_t pages = (n + page - 1) / page;
	size_t plane = g->flags & KVSINK_STREAM_V_IN_K ? 0 : (size_t)page * g->kv_heads * g->d_k * b;

	*c = (struct dp_case){.tokens = n};
	c->hbm = malloc((size_t)pages * page * g->kv_heads * row);
	c->sram = malloc((size_t)2 * n * g->kv_heads * row);
	c->pages = malloc(pages * sizeof(*c->pages));
	c->resident = malloc((size_t)2 * n * sizeof(*c->resident));
	c->q = malloc((size_t)g->count * q_heads * g->d_k * sizeof(float));
	c->out = malloc((size_t)g->count * q_heads * g->d_v * sizeof(float));
	c->stats = malloc((size_t)g->count * q_heads * sizeof(*c->stats));
	c->score = calloc(n, sizeof(*c->score));
	c->heads = malloc((size_t)2 * q_heads * sizeof(float));
	c->scratch = malloc(KVSINK_SCRATCH_FLOATS * sizeof(float));
	for (i = 0; i < pages; i++)
		c->pages[i] = c->hbm + (size_t)i * page * g->kv_heads * row;
	for (i = 0; i < g->count * q_heads * g->d_k; i++)
		c->q[i] = dp_normal();
	c->task = (struct kvsink_attend_task){
		.rows = {.format = g->format,
			 .flags = g->flags,
			 .kv_heads = g->kv_heads,
			 .d_k = g->d_k,
			 .d_v = g->d_v,
			 .page_shift = g->page_shift,
			 .v_offset = plane,
			 .pages = c->pages,
			 .resident = c->resident},
		.q_heads = q_heads,
		.first = g->first,
		.count = g->count,
		.softcap = g->softcap,
		.window = g->window,
		.q = c->q,
		.out = c->out,
		.stats = c->stats,
		.score = g->scored ? c->score : NULL,
		.local_window = g->local_window,
		.mass_sram = &c->mass,
	};
	dp_fill_rows(c);
	dp_scale(c, g->top);
	dp_place(c, g->resident_percent);
	if (g->flags & KVSINK_STREAM_PER_HEAD)
		dp_heads(c, g->top);
}

static inline void dp_free(struct dp_case *c)
{
	free(c->hbm);
	free(c->sram);
	free(c->pages);
	free(c->resident);
	free(c->q);
	free(c->out);
	free(c->stats);
	free(c->score);
	free(c->heads);
	free(c->scratch);
	free(c->plain[0]);
	free(c->plain[1]);
}

/* Runs the datapath in `parts` shares, last one first. */
static inline void dp_run(struct dp_case *c, unsigned parts)
{
	unsigned part;

	c->mass = 0;
	memset(c->score, 0, c->tokens * sizeof(*c->score));
	memset(c->out, 0xff, (size_t)c->task.count * c->task.q_heads * c->task.rows.d_v * sizeof(float));
	for (part = parts; part-- > 0;)
		kvsink_attend_part(&c->task, 1, part, parts, c->scratch);
}

/* One query and head in binary64. */
struct dp_oracle {
	double o[KVSINK_MAX_HEAD_DIM];
	double lse, lse_sram, lse_hbm, mass_sram;
	double norm; /* sum of a * |v| */
	double *a;   /* [tokens] */
};

static inline void dp_solve(const struct dp_case *c, uint32_t i, uint32_t qh, struct dp_oracle *o)
{
	const struct kvsink_attend_task *task = &c->task;
	const struct kvsink_rows *r = &task->rows;
	uint32_t p = task->first + i, head = qh / (task->q_heads / r->kv_heads), t, e;
	uint32_t begin = task->window && p + 1 > task->window ? p + 1 - task->window : 0;
	double slope = task->heads ? task->heads[qh] : 0.0;
	double sink = task->heads ? task->heads[task->q_heads + qh] : -INFINITY;
	double top = sink, z[2] = {0.0, 0.0}, all, x, norm;

	memset(o->o, 0, sizeof(o->o));
	memset(o->a, 0, c->tokens * sizeof(double));
	for (t = begin; t <= p; t++) {
		x = dp_dot(c, i, qh, t) * task->scale;
		o->a[t] = task->softcap > 0 ? task->softcap * tanh(x / task->softcap) : x;
		o->a[t] += slope * ((double)t - p);
		top = o->a[t] > top ? o->a[t] : top;
	}
	for (t = begin; t <= p; t++) {
		o->a[t] = exp(o->a[t] - top);
		z[dp_resident(r, t, head)] += o->a[t];
	}
	all = z[0] + z[1] + exp(sink - top);
	o->lse = top + log(all);
	o->lse_sram = top + log(z[1]);
	o->lse_hbm = top + log(z[0]);
	o->mass_sram = z[1] / all;
	o->norm = 0.0;
	for (t = begin; t <= p; t++) {
		o->a[t] /= all;
		for (e = 0, norm = 0.0; e < r->d_v; e++) {
			x = dp_value(c, t, head, true, e);
			o->o[e] += o->a[t] * x;
			norm += x * x;
		}
		o->norm += o->a[t] * sqrt(norm);
	}
}

/* ||out - oracle||_2 / sum of a * |v| */
static inline double dp_error(const struct dp_case *c, uint32_t i, uint32_t qh, const struct dp_oracle *o)
{
	uint32_t d = c->task.rows.d_v, e;
	const float *out = c->out + ((size_t)i * c->task.q_heads + qh) * d;
	double sum = 0.0;

	for (e = 0; e < d; e++)
		sum += (out[e] - o->o[e]) * (out[e] - o->o[e]);
	return sqrt(sum) / o->norm;
}

#endif
