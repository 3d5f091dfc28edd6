/* SPDX-License-Identifier: MIT */
/*
 * The threshold comparator of all three embodiments: a token becomes a sink by its score (1A, CLASSIFY) or,
 * with hysteresis, by its EMA (1B and 1C, STEP_END). It ends only by the EMA, or when CLASSIFY decides anew.
 */
#include "fp.h"

#include "datapath.h"

/* Both sides are exact in binary64, so there is no rounding on which chip and model could differ. */
int kvsink_reaches(double value, uint32_t threshold)
{
	return value >= (double)kvsink_f32_from_bits(threshold);
}

int kvsink_eligible(const struct kvsink_score_view *view, uint32_t token)
{
	uint64_t first = kvsink_first_observer(view, 0);
	uint32_t l;

	if (token >= view->tokens || kvsink_observers(view, token) < KVSINK_MIN_OBSERVERS)
		return 0;
	if (!view->windows)
		return 1;
	for (l = 0; l < view->layers; l++)
		if (!view->windows[l] || view->windows[l] >= first + KVSINK_MIN_OBSERVERS)
			return 1;
	return 0;
}

int kvsink_is_sink(const struct kvsink_score_view *view, uint32_t token, uint64_t max, uint32_t t_sink)
{
	return kvsink_eligible(view, token) &&
	       kvsink_reaches((double)kvsink_score_value(view, token, max), t_sink);
}

/* A run counts the steps in a row that speak against the state; at its limit the state changes. */
uint32_t kvsink_next_state(const struct kvsink_hysteresis *h, uint32_t state, uint32_t ema)
{
	uint32_t sink = state & KVSINK_STATE_SINK, run = state & 0xffff;
	double value = (double)ema * 0x1p-32;
	int against = sink ? !kvsink_reaches(value, h->t_evict) : kvsink_reaches(value, h->t_promote);

	if (!against)
		return sink;
	if (++run < (sink ? h->n_evict : h->n_promote))
		return sink | run;
	return sink ^ KVSINK_STATE_SINK;
}
