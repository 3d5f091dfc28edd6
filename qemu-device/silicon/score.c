/* SPDX-License-Identifier: MIT */
/*
 * Sink score engine: what an accumulated sum of attention means. The sums are made in attend.c, in
 * integers, and layer weights applied when they are added to HBM; here they become a score in the stream's
 * mode (RAW, MEAN, REL: kv-math section 1). MEAN divides by what every observer could have given, weights
 * included.
 *
 * Query i observes token t if i >= t + local window and, in a layer with a sliding window, i < t + window.
 */
#include "fp.h"

#include "datapath.h"

#define UNIT 0x1p-32	   /* of the sums */
#define WEIGHT_ONE 0x10000 /* of a layer */

/* RAW never counts a token's attention to itself. */
uint64_t kvsink_first_observer(const struct kvsink_score_view *view, uint32_t token)
{
	uint32_t window = view->local_window;

	if (view->mode == KVSINK_SCORE_RAW && window == 0)
		window = 1;
	return (uint64_t)token + window;
}

static uint32_t observers_in_layer(const struct kvsink_score_view *view, uint32_t token, uint32_t window)
{
	uint64_t first = kvsink_first_observer(view, token);
	uint64_t end = view->scored;

	if (window && (uint64_t)token + window < end)
		end = (uint64_t)token + window;
	return end > first ? (uint32_t)(end - first) : 0;
}

uint32_t kvsink_observers(const struct kvsink_score_view *view, uint32_t token)
{
	return observers_in_layer(view, token, 0);
}

uint64_t kvsink_observations(const struct kvsink_score_view *view, uint32_t token)
{
	uint64_t sum = 0, weight;
	uint32_t l;

	for (l = 0; l < view->layers; l++) {
		weight = view->weights ? view->weights[l] : WEIGHT_ONE;
		sum += weight * observers_in_layer(view, token, view->windows ? view->windows[l] : 0);
	}
	return sum * view->q_heads;
}

uint32_t kvsink_mean_q32(uint64_t mass, uint64_t observations)
{
	unsigned __int128 mean = ((unsigned __int128)mass << 16) / observations;

	return mean < UINT32_MAX ? (uint32_t)mean : UINT32_MAX;
}

uint64_t kvsink_score_max(const struct kvsink_score_view *view)
{
	uint64_t max = 0;
	uint32_t t;

	for (t = 0; t < view->tokens; t++)
		if (view->sum[t] > max)
			max = view->sum[t];
	return max;
}

float kvsink_score_value(const struct kvsink_score_view *view, uint32_t token, uint64_t max)
{
	double sum = (double)view->sum[token];
	uint64_t n;

	switch (view->mode) {
	case KVSINK_SCORE_MEAN:
		n = kvsink_observations(view, token);
		return n ? (float)(sum * UNIT / ((double)n / WEIGHT_ONE)) : 0.0f;
	case KVSINK_SCORE_REL:
		return max ? (float)(sum / (double)max) : 0.0f;
	default:
		return (float)(sum * UNIT);
	}
}
