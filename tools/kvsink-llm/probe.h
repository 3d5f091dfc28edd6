/* SPDX-License-Identifier: MIT */
/*
 * Is the device's attention this model's attention? A few tokens go through the model as it is, and the
 * device's output is compared with libllama's own in every layer, before it replaces any. A model with
 * an attention that is more than the graph told the hook (hook.h), or that the device has not, is refused by
 * name.
 */
#ifndef KVSINK_LLM_PROBE_H
#define KVSINK_LLM_PROBE_H

#include "attention.h"
#include "difference.h"
#include "model.h"

#define PROBE_TOKENS 64 /* of a full probe; a model with sliding windows needs this many more */
#define PROBE_SHORT 4	/* of the one that a guest repeats */

struct probe {
	struct kvs_device *device;
	int poison;	      /* layer whose output becomes NaN after the comparison; -1 for none */
	double attend, score; /* out: largest relative difference of either command */
	/* while it runs */
	const struct model *model;
	struct attention attention;
	uint32_t tokens;
	float *q, *stock; /* queries and libllama's output of every layer */
	float *out;	  /* the device's, of one */
	int error;	  /* 0, -1 or REFUSED */
};

/* probe_run - compare over the tokens; 0, -1, or REFUSED with the line printed. Leaves libllama's cache
 * empty. */
int probe_run(struct probe *probe, struct model *model, const llama_token *tokens, uint32_t count);
/* probe_worst - the larger of both differences */
double probe_worst(const struct probe *probe);
/* probe_full_tokens - how many tokens a full probe of this model needs */
uint32_t probe_full_tokens(const struct model *model);

#endif
