// SPDX-License-Identifier: MIT
/* Ten million V rows judged by gated attention, or as many as the first argument says; seed: the second. */
#include "gate_fuzz.h"

int main(int argc, char **argv)
{
	uint64_t rows = argc > 1 ? strtoull(argv[1], NULL, 0) : 10000000;

	if (argc > 2)
		dp_seed = strtoull(argv[2], NULL, 0) | 1;
	for (uint32_t criterion = 0; criterion < KVSINK_GATE_COUNT; criterion++)
		for (int buffer = 0; buffer < 2; buffer++)
			gate_fuzz(criterion, buffer, rows / 6 + 1);
	return tap_done();
}
