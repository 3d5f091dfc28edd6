// SPDX-License-Identifier: MIT
/*
 * Moving average and comparator of the model: B from the attention mass of a step and from who could have
 * observed a token, E in integers of 2^-32, runs and sinks.
 */
#include <string.h>

#include "reference_parts.h"

/* Queries times weights that could have seen a token outside its window, and inside the layer's, in the step.
 */
static uint64_t observers(const struct ref_stream *st, const struct ref_group *g, uint32_t token)
{
	uint64_t window = g->params[KVSINK_PARAM_LOCAL_WINDOW], sum = 0;

	if (!window && g->params[KVSINK_PARAM_SCORE_MODE] == KVSINK_SCORE_RAW)
		window = 1;
	for (uint32_t l = g->begin; l < g->end; l++)
		for (uint32_t i = st->first_seen[l]; i < st->end_seen[l]; i++)
			sum += i >= token + window && (!st->window[l] || i < token + st->window[l])
				       ? (uint64_t)st->weight[l] * st->q_heads
				       : 0;
	return sum;
}

/* Can a query behind the step's last one see it in some layer? */
static bool within_reach(const struct ref_stream *st, const struct ref_group *g, uint32_t token)
{
	for (uint32_t l = g->begin; l < g->end; l++)
		if (!st->window[l] || st->end_seen[l] < token + st->window[l])
			return true;
	return false;
}

uint64_t ref_bits_q32(uint64_t pattern)
{
	uint32_t bits = (uint32_t)pattern, mantissa = (bits & 0x7fffff) | (bits >> 23 ? 0x800000 : 0);
	int shift = (int)(bits >> 23 ? bits >> 23 : 1) - 150 + 32;

	if (shift >= 40)
		return 1ull << 32;
	if (shift >= 0)
		return (uint64_t)mantissa << shift > 0xffffffffull ? 1ull << 32 : (uint64_t)mantissa << shift;
	return shift > -32 ? mantissa >> -shift : 0;
}

/* The pattern of a threshold against an EMA in units of 2^-32, compared exactly. */
static bool reaches(uint32_t ema, uint64_t pattern)
{
	float threshold;
	uint32_t bits = (uint32_t)pattern;

	memcpy(&threshold, &bits, sizeof(threshold));
	return (double)ema * 0x1p-32 >= (double)threshold;
}

static void compare(struct ref_group *g, uint32_t token)
{
	uint64_t n = g->params[g->sink[token] ? KVSINK_PARAM_N_EVICT : KVSINK_PARAM_N_PROMOTE];
	bool speaks = g->sink[token] ? !reaches(g->ema[token], g->params[KVSINK_PARAM_T_EVICT])
				     : reaches(g->ema[token], g->params[KVSINK_PARAM_T_PROMOTE]);

	g->run[token] = speaks ? g->run[token] + 1 : 0;
	if (g->run[token] >= n) {
		g->sink[token] = !g->sink[token];
		g->run[token] = 0;
	}
}

static bool observed(const struct ref_stream *st, const struct ref_group *g)
{
	for (uint32_t l = g->begin; l < g->end; l++)
		if (!st->end_seen[l])
			return false;
	return true;
}

void ref_update_group(struct ref_stream *st, struct ref_group *g, const uint64_t *mass)
{
	uint64_t alpha = ref_bits_q32(g->params[KVSINK_PARAM_ALPHA]);

	if (!observed(st, g))
		return;
	for (uint32_t t = 0; t < st->length && !g->seeded; t++) {
		g->ema[t] = ref_seed(st, g, t);
		g->run[t] = 0;
	}
	g->seeded = true;
	for (uint32_t t = 0; t < st->length; t++) {
		uint64_t n = observers(st, g, t), b;

		if (!n && !within_reach(st, g, t)) {
			g->ema[t] = 0;
			g->sink[t] = false;
			g->run[t] = 0;
		}
		if (!n)
			continue;
		b = (uint64_t)(((unsigned __int128)mass[t] << 16) / n);
		if (b > 0xffffffffull)
			b = 0xffffffffull;
		g->ema[t] = (uint32_t)(((unsigned __int128)alpha * g->ema[t] +
					(unsigned __int128)((1ull << 32) - alpha) * b) >>
				       32);
		compare(g, t);
	}
}
