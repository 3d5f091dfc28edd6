// SPDX-License-Identifier: MIT
/* Drafts by prompt lookup; see draft.h. A linear search: the model costs thousands of times as much. */
#include <string.h>

#include "draft.h"

#define LONGEST 3 /* tokens that are looked for */

/* The token behind the latest earlier occurrence of the last n; 0 if there is none. */
static uint32_t find(const int32_t *text, uint32_t count, uint32_t n)
{
	const int32_t *suffix = text + count - n;

	for (uint32_t end = count - 1; end >= n; end--)
		if (!memcmp(text + end - n, suffix, n * sizeof(*text)))
			return end;
	return 0;
}

uint32_t draft_lookup(int32_t *text, uint32_t count, uint32_t max)
{
	uint32_t from = 0;

	for (uint32_t n = LONGEST; n && !from; n--)
		from = count > n ? find(text, count, n) : 0;
	if (!from)
		return 0;
	for (uint32_t i = 0; i < max; i++)
		text[count + i] = text[from + i];
	return max;
}
