/* SPDX-License-Identifier: MIT */
/*
 * Does the model use the device's output? NaN in place of one layer's attention output must make every
 * logit NaN. If it does not, the output goes nowhere and every later comparison would be worthless.
 */
#ifndef KVSINK_LLM_POISON_H
#define KVSINK_LLM_POISON_H

#include "model.h"

/* poison_check - after an evaluation in which that layer's output was NaN: did it reach the logits? */
int poison_check(struct model *model, uint32_t layer);
/* poison_layers - try each layer by itself with one token. Leaves libllama's cache empty. */
int poison_layers(struct model *model, llama_token token);

#endif
