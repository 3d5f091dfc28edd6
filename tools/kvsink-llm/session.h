/* SPDX-License-Identifier: MIT */
/*
 * A decode session: the model, its state on the device, and where the sequence stands. libllama keeps
 * no KV at all: its cache is emptied before every step and positions are given, so that each step can
 * only be right if the device's output is the one used.
 *
 * With a draft a step is one evaluation of the next token and its draft, in a replay window of the stream:
 * the tokens that greedy decoding would have chosen stay, so a step makes one token or more.
 */
#ifndef KVSINK_LLM_SESSION_H
#define KVSINK_LLM_SESSION_H

#include <kvsink_policy.h>

#include "options.h"
#include "place.h"
#include "state.h"

struct session {
	struct model model;
	struct state state;
	struct kvs_device *device;
	struct drm_kvsink_dev_info info;
	struct attention attention;
	struct policy policy;
	struct placement placement;
	struct kvs_policy *placer; /* of --policy; NULL without */
	double probe_relative;	   /* of the short probe made here */
	uint32_t position;	   /* of the next step: tokens that the stream holds */
	uint32_t steps;		   /* tokens decoded */
	uint32_t max_steps;
	uint32_t evaluations;		    /* that made them */
	uint32_t drafts, drafted, accepted; /* evaluations with a draft; tokens of all drafts; those kept */
	llama_token *text;		    /* prompt, what was decoded, and a draft behind it */
	llama_token *chosen;		    /* [max_steps], in text */
	double *mass_sram;		    /* [layers]: sum over tokens of the mean over heads */
	double *mass;			    /* [1 + draft][layers]: of the present evaluation */
	uint64_t before[KVSINK_COUNTER_COUNT]; /* of the stream, when decode began */
	double seconds, attention_seconds;     /* wall clock of all steps, and of the device's part in them */
	FILE *logits, *trace;
	const struct options *options;
};

/* What the counters say of decode so far. */
struct session_bytes {
	uint64_t uniform;   /* KV bytes that a device without SRAM would have read from HBM: geometry and
			       lengths */
	uint64_t hbm, sram; /* KV bytes read, useful */
	uint64_t hbm_bus, sram_bus; /* whole bursts */
	uint64_t modelled_ns;
	double mass_sram; /* share of the attention mass served from SRAM */
};

/* session_open - load, probe, poison, load the state into the device, place sinks. Prints why on failure. */
int session_open(struct session *session, const struct options *options);
void session_close(struct session *session);
/* session_step - one evaluation: decode a token, and what is right of its draft */
int session_step(struct session *session);
/* session_flush - the files of --logits and --trace are whole; prints which one is not */
int session_flush(struct session *session);
int session_bytes(struct session *session, struct session_bytes *bytes);

#endif
