/* SPDX-License-Identifier: MIT */
/*
 * What one request has on the device while it is served: its stream, its placement policy, the contracts of
 * what that made resident, and its image while it is preempted. Every function prints why and returns -1 on
 * failure unless it says otherwise.
 */
#ifndef KVSINK_LLM_SERVE_STREAM_H
#define KVSINK_LLM_SERVE_STREAM_H

#include <kvsink.h>
#include <kvsink_policy.h>

#include "attention.h"

/* What all requests of a run have in common. */
struct serve_device {
	struct kvs_device *device;
	const struct hook *hook;
	const char *policy;   /* its name */
	uint32_t sram_bytes;  /* of a stream */
	uint32_t format;      /* enum kvsink_format */
	uint32_t dwell_steps; /* of contracts; 0: none are asked for */
	bool wants_mass;      /* the policy does */
	bool no_sram;	      /* for the tail of the stream that was to be opened last */
	/* sums over the streams that have ended */
	uint64_t prefill[KVSINK_COUNTER_COUNT], decode[KVSINK_COUNTER_COUNT];
	uint64_t prefixes[KVSINK_COUNTER_COUNT]; /* what policies did to prefixes; set in the end */
	uint64_t swaps;				 /* streams swapped out */
	uint64_t sram_waits;	       /* times that a stream found no SRAM in one piece for its tail */
	uint64_t asked, granted, kept; /* contracts, one an entry */
};

struct serve_stream {
	struct attention attention; /* with the stream; none yet, or no more: NULL */
	struct kvs_policy *policy;
	struct kvs_buffer *image; /* of a stream that is swapped out */
	uint32_t reserved;	  /* tokens that have pages */
	uint32_t decoded;	  /* steps */
	uint32_t *pledged;	  /* [pledges] generations of entries under contract */
	uint32_t pledges;
	uint64_t before[KVSINK_COUNTER_COUNT]; /* its ledger when decode began */
};

/* serve_fail - the line for a failed call of the library; returns -1 */
int serve_fail(const struct serve_device *d, const char *what, int error);

/* What a stream begins with. */
struct serve_beginning {
	struct kvs_prefix *prefix; /* NULL: nothing */
	uint32_t tokens;	   /* of it */
	const uint64_t *scores;	   /* [groups][tokens] that they have, in the groups of attention_groups() */
};

/* serve_stream_open - with next to no pages of its own yet: 0, -1, or 1 if HBM, streams or SRAM for a tail
 * are short */
int serve_stream_open(struct serve_device *d, struct serve_stream *s, uint32_t max_tokens,
		      const struct serve_beginning *begins);
/* serve_stream_reserve - pages for so many tokens in all: 0, -1, or 1 if HBM is short */
int serve_stream_reserve(struct serve_device *d, struct serve_stream *s, uint32_t tokens);
/* serve_stream_prefilled - the prompt is scored: the policy places for the first time */
int serve_stream_prefilled(struct serve_device *d, struct serve_stream *s);
/* serve_stream_stepped - a decode step has ended: the policy places, contracts are asked for or looked at */
int serve_stream_stepped(struct serve_device *d, struct serve_stream *s);
/* serve_stream_out - preempt; serve_stream_in - bring back: 0, -1, or 1 if HBM is short */
int serve_stream_out(struct serve_device *d, struct serve_stream *s);
int serve_stream_in(struct serve_device *d, struct serve_stream *s);
/* serve_stream_close - add its ledger to the sums and end it */
int serve_stream_close(struct serve_device *d, struct serve_stream *s);
/* serve_stream_drop - end it after a failure, without a word */
void serve_stream_drop(struct serve_stream *s);

#endif
