/* SPDX-License-Identifier: MIT */
/* How far the device's outputs are from libllama's, and how far they may be. */
#ifndef KVSINK_LLM_DIFFERENCE_H
#define KVSINK_LLM_DIFFERENCE_H

#include <stdint.h>

#define PROBE_LIMIT 1e-4 /* relative difference that is allowed, of each token's output in each layer */

/* relative_difference - largest of |a - b| / |b| over vectors of a width (Euclidean); NaN counts as infinite
 */
double relative_difference(const float *a, const float *b, uint32_t vectors, uint64_t width);

#endif
