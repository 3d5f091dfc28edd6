/* SPDX-License-Identifier: MIT */
/*
 * Drafts by prompt lookup: what followed the last time when the text stood at these words. No second model
 * and no training, and worth something wherever a text repeats itself.
 */
#ifndef KVSINK_LLM_DRAFT_H
#define KVSINK_LLM_DRAFT_H

#include <stdint.h>

#define DRAFT_MAX 16 /* tokens of a draft */

/*
 * draft_lookup - guess what follows a text
 * text: [count] tokens, with room for `max` more: there the draft goes. Looks for the last 3 tokens, else the
 * last 2, else the last one, in the text before them, at the latest place that there is; what follows there
 * is the draft, which may run into itself. Returns its length: max, or 0 if none of them occurs.
 */
uint32_t draft_lookup(int32_t *text, uint32_t count, uint32_t max);

#endif
