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

static inline uint64_t gate_judged(const struct dp_case *c)
{
	uint64_t rows = 0;

	for (uint32_t i = 0; i < c->task.count; i++)
		for (uint32_t h = 0; h < c->task.rows.kv_heads; h++)
			rows += kvsink_count_rows(&c->task.rows, c->task.window, c->task.first + i, h).hbm;
	return rows;
}

static inline void gate_look(const struct gate_case *g, struct gate_sums *s)
{
	struct dp_oracle o = {.a = malloc(g->c.tokens * sizeof(double))};

	for (uint32_t i = 0; i < g->c.task.count; i++)
		for (uint32_t h = 0; h < g->c.task.q_heads; h++) {
			struct gate_check check = gate_check(g, i, h, &o);
			double beyond = check.error - check.rounding;

			s->violations += !(beyond <= check.bound);
			s->broken += !check.criterion;
			if (check.bound > 0 && beyond / check.bound > s->worst)
				s->worst = beyond / check.bound;
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
				    .local_window = 1};
}

/* Random problems of every kind until `rows` V rows were judged. */
static inline void gate_fuzz(uint32_t criterion, bool buffer, uint64_t rows)
{
	static const float epsilons[] = {0.001f, 0.01f, 0.03f, 0.1f, 0.5f};
	struct gate_sums s = {0};
	uint64_t skipped = 0;

	while (s.rows < rows && !s.violations && !s.broken) {
		struct dp_geometry geometry = gate_random_geometry();
		struct gate_case g;

		gate_new(&g, &geometry, criterion, epsilons[dp_random(5)]);
		g.c.task.gate.buffer = buffer;
		/* MASS and ABS hold by themselves; REL in one pass is a promise only with CERTIFY */
		g.c.task.gate.certify = criterion == KVSINK_GATE_REL || dp_random(2);
		gate_run(&g, 1 + dp_random(3));
		gate_look(&g, &s);
		skipped += g.bytes.v_skipped;
		gate_free(&g);
	}
	tap_ok(!s.violations && !s.broken && skipped,
	       "%s, %s: %llu rows judged, no output further off than its certificate", gate_names[criterion],
	       buffer ? "score buffer" : "one pass", (unsigned long long)s.rows);
	tap_diag("worst error / bound %.3f, %u violations, %u criteria broken", s.worst, s.violations,
		 s.broken);
}

#endif
