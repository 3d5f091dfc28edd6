/* SPDX-License-Identifier: MIT */
/*
 * Policy 1A: the device classifies the tokens of each score group against T_sink, and each sink is
 * promoted, once and for good, for the layers of its group.
 */
#ifndef KVSINK_LLM_PLACE_H
#define KVSINK_LLM_PLACE_H

#include "attention.h"

struct policy {
	float t_sink;	       /* threshold; 0: no token is promoted */
	uint32_t local_window; /* queries nearer than this do not count */
	uint32_t mode;	       /* enum kvsink_score_mode */
	struct groups groups;
};

struct placed {
	struct drm_kvsink_sink sink;
	uint16_t layer_begin, layer_end;
	uint32_t sram_bytes; /* granted; 0 if refused */
	uint32_t code;	     /* enum kvsink_code of the promotion */
};

struct placement {
	struct placed *tokens; /* in order of group and token */
	uint32_t count;
	uint32_t granted;
};

/* place_groups - parse "0-11,12-29" for a model of so many layers */
int place_groups(const char *text, uint32_t layers, struct groups *groups);
/* place_mode - parse raw, mean or rel */
int place_mode(const char *text, uint32_t *mode);
/* place_configure - hand the policy to the stream; before it has any score */
int place_configure(struct attention *attention, const struct policy *policy);
/*
 * place_sinks - classify, promote by ioctl, wait for the copies
 * Refusals for lack of SRAM or tags are results, not errors. Free placement->tokens afterwards.
 */
int place_sinks(struct attention *attention, const struct policy *policy, struct placement *placement);

#endif
