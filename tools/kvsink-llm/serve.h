/* SPDX-License-Identifier: MIT */
/*
 * kvsink-llm serve: requests of a trace over one model, with continuous batching. libllama's cache is emptied
 * before each step: all KV is the device's, one stream a request, and a preempted request has its KV in an
 * image.
 */
#ifndef KVSINK_LLM_SERVE_H
#define KVSINK_LLM_SERVE_H

#include "model.h"
#include "options.h"
#include "serve_schedule.h"

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
	struct schedule schedule;
	struct model_row *rows; /* [chunk] of a step */
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
/* serve_report - table on standard output, document in --json */
int serve_report(const struct serve *s);

#endif
