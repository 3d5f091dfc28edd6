/* SPDX-License-Identifier: MIT */
/*
 * kvsink-llm serve: requests of a trace over one model, with continuous batching. Time is counted in steps,
 * one evaluation of the model each, so a run is the same every time. libllama's cache is emptied before
 * each step: all KV is the device's, one stream a request, and a preempted request has its KV in an image.
 */
#ifndef KVSINK_LLM_SERVE_H
#define KVSINK_LLM_SERVE_H

#include "model.h"
#include "options.h"
#include "serve_attention.h"
#include "serve_prefix.h"
#include "serve_trace.h"

enum served_state { SERVED_WAITING, SERVED_RUNNING, SERVED_PREEMPTED, SERVED_DONE };

struct served {
	const struct trace_request *asked;
	enum served_state state;
	uint32_t arrival;    /* step from which on it may run */
	llama_token *tokens; /* [prompt + output]: the prompt, then what was chosen */
	uint32_t length;     /* tokens of it that are known */
	uint32_t position;   /* tokens that its stream holds */
	uint32_t planned;    /* tokens that it brings to this step */
	uint32_t shared;     /* tokens of the prompt that it found in a prefix */
	uint32_t known;	     /* tokens of the prompt that earlier requests have computed, shared or not */
	uint32_t preemptions;
	uint32_t first_step, last_step; /* in which it was admitted and had its last token */
	uint64_t logits_hash;		/* of all logits that a token was chosen by, bit for bit */
	struct serve_stream stream;
};

/* Something looked at every few steps. */
struct serve_sample {
	uint32_t step, running, preempted, waiting;
	uint64_t sram_bytes; /* held by entries and tails of all streams */
	uint64_t kv_tokens;  /* in HBM */
};

struct serve {
	const struct options *o;
	struct model model;
	struct serve_device device;
	struct drm_kvsink_dev_info info;
	struct serve_attention attention;
	struct trace trace;
	struct prefix_table *prefixes;
	struct served *served; /* [trace.count], in order of arrival: the first is the oldest */
	uint32_t next;	       /* that was never admitted */
	uint32_t running, preempted, done;
	bool crowded; /* HBM was short, and no request has ended since */
	struct serve_span span[SERVE_MAX_SPANS];
	struct served *of_span[SERVE_MAX_SPANS];
	struct model_row *rows; /* [chunk] of a step */
	uint32_t step;		/* that comes next */
	uint32_t evaluations;	/* steps that evaluated anything */
	struct serve_sample *sample;
	uint32_t samples;
	uint64_t running_steps; /* sum over evaluations of requests in them */
	uint32_t most_running;
	double probe_relative;
	double seconds; /* wall clock of all steps */
};

/* serve_text - give every request the tokens of its prompt: equal blocks are equal tokens */
int serve_text(struct serve *s);
/* serve_schedule - bring back, admit, reserve, preempt: the spans of the step. 0 or -1 with a line */
int serve_schedule(struct serve *s);
/* serve_finish - a request has its last token */
int serve_finish(struct serve *s, struct served *r);
/* serve_report - table on standard output, document in --json */
int serve_report(const struct serve *s);

static inline uint32_t served_total(const struct served *r)
{
	return r->asked->prompt + r->asked->output;
}

static inline bool served_decodes(const struct served *r)
{
	return r->position >= r->asked->prompt;
}

#endif
