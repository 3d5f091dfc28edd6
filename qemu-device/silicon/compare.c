/* SPDX-License-Identifier: MIT */
/*
 * Threshold comparator: is a token a sink? Non-negative binary32 numbers order as their bit patterns do,
 * so it compares integers, as the hardware would.
 */
#include "fp.h"

#include "datapath.h"

/* Enough queries have seen the token in at least one layer of the group. */
static int eligible(const struct kvsink_score_view *view, uint32_t token)
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
	return eligible(view, token) && kvsink_f32_bits(kvsink_score_value(view, token, max)) >= t_sink;
}
