/* SPDX-License-Identifier: MIT */
/*
 * Who runs in a step of a serving run. Time is counted in steps, one evaluation of the model each, so a run
 * is the same every time. Needs a device, but no model: what a request's tokens are is nothing to it.
 */
#ifndef KVSINK_LLM_SERVE_SCHEDULE_H
#define KVSINK_LLM_SERVE_SCHEDULE_H

#include "serve_attention.h"
#include "serve_prefix.h"
#include "serve_trace.h"

enum served_state { SERVED_WAITING, SERVED_RUNNING, SERVED_PREEMPTED, SERVED_DONE };

struct served {
	const struct trace_request *asked;
	enum served_state state;
	uint32_t arrival;  /* step from which on it may run */
	uint32_t position; /* tokens that its stream holds */
	uint32_t planned;  /* tokens that it brings to this step */
	uint32_t shared;   /* tokens of the prompt that it found in a prefix */
	uint32_t known;	   /* tokens of the prompt that earlier requests have computed, shared or not */
	uint32_t preemptions;
	uint32_t first_step, last_step; /* in which it was admitted and had its last token */
	struct serve_stream stream;
	int32_t *tokens;      /* [prompt + output]: the prompt, then what was chosen */
	uint32_t length;      /* tokens of it that are known */
	uint64_t logits_hash; /* of all logits that a token was chosen by, bit for bit */
};

struct schedule {
	struct serve_device *device;
	struct serve_attention *attention; /* gets the spans */
	struct prefix_table *prefixes;
	struct served *served; /* [count], in order of arrival: the first is the oldest */
	uint32_t count;
	uint32_t parallel; /* requests at once, at most SERVE_MAX_SPANS */
	uint32_t chunk;	   /* tokens of a step, at least parallel */
	uint32_t step;	   /* that comes next */
	uint32_t next;	   /* request that was never admitted */
	uint32_t running, preempted, done;
	bool crowded; /* HBM was short, and no request has ended since */
	struct serve_span span[SERVE_MAX_SPANS];
	struct served *of_span[SERVE_MAX_SPANS];
};

/* schedule_open - after the fields above were set: blocks are told to the table of prefixes */
void schedule_open(struct schedule *s);
/* schedule_step - bring back, admit, reserve, preempt: the spans of the step, at least one. 0 or -1 with a
 * line */
int schedule_step(struct schedule *s);
/* schedule_evaluated - what span i brought is in its stream; 1 if its request now has a token to choose */
int schedule_evaluated(struct schedule *s, uint32_t i);
/* schedule_finish - a request has its last token */
int schedule_finish(struct schedule *s, struct served *r);

static inline uint32_t served_total(const struct served *r)
{
	return r->asked->prompt + r->asked->output;
}

static inline bool served_decodes(const struct served *r)
{
	return r->position >= r->asked->prompt;
}

#endif
