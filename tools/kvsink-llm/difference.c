// SPDX-License-Identifier: MIT
/* See difference.h. */
#include <math.h>

#include "difference.h"

double relative_difference(const float *a, const float *b, uint32_t vectors, uint64_t width)
{
	double worst = 0;

	for (uint32_t i = 0; i < vectors; i++, a += width, b += width) {
		double error = 0, norm = 0, relative;

		for (uint64_t j = 0; j < width; j++) {
			error += ((double)a[j] - b[j]) * ((double)a[j] - b[j]);
			norm += (double)b[j] * b[j];
		}
		relative = error == 0 ? 0 : sqrt(error / norm);
		if (!(relative <= worst))
			worst = isnan(relative) ? INFINITY : relative;
	}
	return worst;
}
