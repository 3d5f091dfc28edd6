/* SPDX-License-Identifier: MIT */
/*
 * Random gated problems of every kind against the oracle: certificates and criteria must hold. The unit test
 * runs some, test_gate_fuzz.c ten million rows.
 */
#ifndef GATE_FUZZ_H
#define GATE_FUZZ_H

#include "gate_case.h"
#include "tap.h"

static const char *const gate_names[KVSINK_GATE_COUNT] = {"MASS", "ABS", "REL"};

/* ---- sums over a case ---- */

struct gate_sums {
	double worst;		     /* largest (error - rounding) / bound */
	uint64_t rows;		     /* V rows in HBM that gating judged */
	uint32_t violations, broken; /* certificates, criteria */
};

/* Rows of one KV head in HBM that some query of tokens [first, last] sees. */
static inline uint64_t gate_rows(const struct dp_case *c, uint32_t first, uint32_t last, uint32_t head)
{
	const struct kvsink_rows *rows = &c->task.rows;
	uint32_t begin = c->task.window && first >= c->task.window ? first - c->task.window + 1 : 0;
	uint64_t n = (uint64_t)last - begin + 1;

	for (const struct kvsink_resident *r = rows->resident; r < rows->resident + rows->residents; r++)
		n -= r->token >= begin && r->token <= last && r->head_mask >> head & 1;
	return n;
}

/* Each query of each KV head judges the rows that it sees. */
static inline uint64_t gate_judged(const struct dp_case *c)
{
	uint64_t rows = 0;

	for (uint32_t i = 0; i < c->task.count; i++)
		for (uint32_t h = 0; h < c->task.rows.kv_heads; h++)
			rows += gate_rows(c, c->task.first + i, c->task.first + i, h);
	return rows;
}

/* The longest V row of a KV head, by the rows themselves. */
static inline double gate_longest(const struct dp_case *c, uint32_t head)
{
	double longest = 0.0, norm;

	for (uint32_t t = 0; t < c->tokens; t++) {
		norm = gate_row_norm(c, t, head);
		longest = norm > longest ? norm : longest;
	}
	return longest;
}

/* What the criterion promises, by the certificate and by rows, norms of which may be rounded up to binary16.
 */
static inline bool gate_keeps(const struct gate_case *g, const struct gate_check *check, double longest,
			      const float *out)
{
	double epsilon = g->c.task.gate.epsilon, length = 0.0;

	for (uint32_t e = 0; e < g->c.task.rows.d_v; e++)
		length += (double)out[e] * out[e];
	switch (g->c.task.gate.criterion) {
	case KVSINK_GATE_MASS:
		return check->tau <= epsilon;
	case KVSINK_GATE_ABS:
		return check->bound <= epsilon * longest * (1 + 0x1p-10);
	default: /* in one pass REL is a promise only with CERTIFY */
		return check->bound <= epsilon * sqrt(length) ||
		       (!g->c.task.gate.buffer && !g->c.task.gate.certify);
	}
}

/*
 * Where every token's V row is a unit vector of its own, outputs tell which rows were read: is `skipped` at
 * least the attention on the others, and hardly more?
 */
static inline bool gate_tells(const struct gate_case *g, const struct gate_check *check,
			      const struct dp_oracle *o, const float *out)
{
	double tau = 0.0;

	for (uint32_t t = 0; t < g->c.tokens; t++)
		tau += out[t] == 0.0f ? o->a[t] : 0.0;
	/* weights below binary32's smallest are 0 */
	return check->tau >= tau - 1e-37 && check->tau <= tau * 1.0001 + 1e-37;
}

static inline void gate_look(const struct gate_case *g, bool telling, struct gate_sums *s)
{
	struct dp_oracle o = {.a = malloc(g->c.tokens * sizeof(double))};
	const struct kvsink_rows *r = &g->c.task.rows;
	double longest = 0.0;

	for (uint32_t h = 0; h < g->c.task.q_heads; h++) {
		if (h % (g->c.task.q_heads / r->kv_heads) == 0)
			longest = gate_longest(&g->c, h / (g->c.task.q_heads / r->kv_heads));
		for (uint32_t i = 0; i < g->c.task.count; i++) {
			const float *out = g->c.out + ((size_t)i * g->c.task.q_heads + h) * r->d_v;
			struct gate_check check = gate_check(g, i, h, &o);
			double beyond = check.error - check.rounding;

			s->violations += !(beyond <= check.bound);
			s->broken += !gate_keeps(g, &check, longest, out);
			s->broken += telling && !gate_tells(g, &check, &o, out);
			if (check.bound > 0 && beyond / check.bound > s->worst)
				s->worst = beyond / check.bound;
		}
	}
	s->rows += gate_judged(&g->c);
	free(o.a);
}

static inline struct dp_geometry gate_random_geometry(void)
{
	static const uint32_t groups[] = {1, 3, 4, 8};
	uint32_t count = dp_random(4) ? 1 : 1 + dp_random(9);

	return (struct dp_geometry){.format = dp_random(2),
				    .kv_heads = 1 + dp_random(3),
				    .group = groups[dp_random(4)],
				    .d_k = 16,
				    .d_v = 8 + 8 * dp_random(3),
				    .page_shift = dp_random(6),
				    .first = 40 + dp_random(1000),
				    .count = count,
				    .window = dp_random(5) ? 0 : 30 + dp_random(300),
				    .softcap = dp_random(6) ? 0 : 30,
				    .top = 2 + dp_random(20),
				    .resident_percent = dp_random(3) ? dp_random(6) : dp_random(101),
				    .local_window = 1,
				    .flags = dp_random(2) * KVSINK_STREAM_PER_HEAD};
}

/* ---- what V rows are ---- */

enum gate_kind {
	GATE_PLAIN,   /* random */
	GATE_ADVERSE, /* heavy rows one way, light rows the other, as far off as rows can be */
	GATE_TELLING, /* a unit vector for each token */
	GATE_KINDS
};

/* The attention from which on a row is heavy, if the light ones shall have a little more than EPSILON. */
static inline double gate_heavy(const struct gate_case *g, const struct dp_oracle *o)
{
	double from = 1e-9, light = 0.0;

	for (; light < 1.1 * (double)g->c.task.gate.epsilon && from < 1; from *= 1.2) {
		light = 0.0;
		for (uint32_t t = 0; t < g->c.tokens; t++)
			light += o->a[t] < from * 1.2 ? o->a[t] : 0.0;
	}
	return from;
}

/* Norms of adverse rows are no binary16 and nearer to the one below: 1 + 0x1.8p-12. */
static inline void gate_adverse(struct gate_case *g)
{
	struct kvsink_rows *r = &g->c.task.rows;
	struct dp_oracle o = {.a = malloc(g->c.tokens * sizeof(double))};
	float v[KVSINK_MAX_HEAD_DIM] = {0};

	for (uint32_t h = 0; h < r->kv_heads; h++) {
		double heavy;

		dp_solve(&g->c, 0, h * (g->c.task.q_heads / r->kv_heads), &o);
		heavy = gate_heavy(g, &o);
		for (uint32_t t = 0; t < g->c.tokens; t++) {
			v[0] = o.a[t] >= heavy ? 1.0f : -1.0f;
			v[1] = v[0] * 0.02706f;
			kvsink_format_store(r->format, dp_row(&g->c, t, h, true), v, r->d_v);
		}
	}
	free(o.a);
}

static inline void gate_telling(struct gate_case *g)
{
	for (uint32_t t = 0; t < g->c.tokens; t++) {
		float v[KVSINK_MAX_HEAD_DIM] = {0};

		v[t] = 1.0f;
		kvsink_format_store(g->c.task.rows.format, dp_row(&g->c, t, 0, true), v, g->c.task.rows.d_v);
	}
}

/* Residents hold copies of the rows as they were. */
static inline void gate_place(struct gate_case *g, uint32_t percent)
{
	dp_place(&g->c, percent);
	gate_norms(g);
}

/* ---- the fuzz ---- */

/* Half of the problems may be sealed, in any formats that the geometry can have. */
static inline void gate_random_seal(struct gate_case *g)
{
	const struct kvsink_rows *r = &g->c.task.rows;
	uint32_t tokens = 1u << r->page_shift, seal[2];

	for (uint32_t v = 0; v < 2; v++) {
		seal[v] = dp_random(KVSINK_FORMAT_COUNT);
		if (!kvsink_seal_fits(seal[v], r->format, v ? r->d_v : r->d_k, tokens, (int)v))
			seal[v] = 0;
	}
	if (seal[0] || seal[1])
		gate_seal(g, seal[0], seal[1]);
}

static inline enum gate_kind gate_random_kind(struct dp_geometry *geometry)
{
	enum gate_kind kind = dp_random(8) ? GATE_PLAIN : dp_random(3) ? GATE_ADVERSE : GATE_TELLING;

	if (!dp_random(3)) {
		geometry->d_k = 32;
		geometry->d_v = 32;
	}
	if (kind != GATE_TELLING)
		return kind;
	geometry->kv_heads = 1;
	geometry->first = 40 + dp_random(400);
	geometry->d_v = geometry->first + geometry->count;
	return kind;
}

/* Random problems of every kind until `rows` V rows were judged. */
static inline void gate_fuzz(uint32_t criterion, bool buffer, uint64_t rows)
{
	static const float epsilons[] = {0.001f, 0.01f, 0.03f, 0.1f, 0.5f};
	uint32_t kinds[GATE_KINDS] = {0}, sealed = 0;
	struct gate_sums s = {0};
	uint64_t skipped = 0;

	while (s.rows < rows && !s.violations && !s.broken) {
		struct dp_geometry geometry = gate_random_geometry();
		enum gate_kind kind = gate_random_kind(&geometry);
		struct gate_case g;

		gate_new(&g, &geometry, criterion, epsilons[dp_random(5)]);
		if (kind == GATE_ADVERSE)
			gate_adverse(&g);
		if (kind == GATE_TELLING)
			gate_telling(&g);
		if (kind != GATE_PLAIN)
			gate_place(&g, geometry.resident_percent);
		if (kind != GATE_TELLING && dp_random(2))
			gate_random_seal(&g);
		g.c.task.gate.buffer = buffer;
		g.c.task.gate.certify = dp_random(2);
		gate_run(&g, 1 + dp_random(3));
		gate_look(&g, kind == GATE_TELLING, &s);
		skipped += g.bytes.v_skipped;
		kinds[kind]++;
		sealed += g.c.task.rows.sealed > 0;
		gate_free(&g);
	}
	tap_ok(!s.violations && !s.broken && skipped,
	       "%s, %s: %llu rows judged, no output further off than its certificate", gate_names[criterion],
	       buffer ? "score buffer" : "one pass", (unsigned long long)s.rows);
	tap_diag("worst error / bound %.3f, %u violations, %u criteria broken; %u problems with random V "
		 "rows, %u "
		 "with adverse ones, %u with telling ones; %u sealed",
		 s.worst, s.violations, s.broken, kinds[GATE_PLAIN], kinds[GATE_ADVERSE], kinds[GATE_TELLING],
		 sealed);
}

#endif
