/* SPDX-License-Identifier: MIT */
/*
 * Attention of a model on the device: one stream on libkvsink, its layers appended and attended one by
 * one, in the order in which the model's graph asks for them; scored once a chunk is complete.
 *
 * Rows are handed over in the model's own order, [token][head][element], binary32. Every function
 * prints why and returns -1 on failure.
 */
#ifndef KVSINK_LLM_ATTENTION_H
#define KVSINK_LLM_ATTENTION_H

#include <kvsink.h>

#include "hook.h"

/* Score groups as --groups names them: group g covers layers [end[g-1], end[g]). */
struct groups {
	uint32_t count; /* 0: all layers in one */
	uint16_t end[KVSINK_MAX_SCORE_GROUPS];
};

struct attention {
	struct geometry geometry;
	struct kvs_device *device; /* the caller's */
	struct kvs_stream *stream;
	struct kvs_batch *batch;
	struct kvs_buffer *io;			   /* Q, K, V, O and the statistics of one chunk */
	uint32_t format;			   /* enum kvsink_format; set before attention_open() */
	uint32_t seal_k, seal_v;		   /* likewise, formats to seal in; 0 = none */
	uint32_t copies;			   /* likewise: of each K and V head; 0 = 1 */
	uint32_t reserve;			   /* likewise: tokens that get pages now; 0 = all */
	struct kvs_prefix *prefix;		   /* likewise: that the stream begins with; NULL = none */
	uint32_t prefix_tokens;			   /* likewise: so many of its tokens */
	uint32_t sealed;			   /* tokens */
	uint32_t mode;				   /* enum drm_kvsink_attend_mode of attention_attend() */
	uint32_t chunk;				   /* tokens that fit into it */
	uint64_t k, v, out, stats;		   /* offsets in io; Q lies at 0 */
	const struct drm_kvsink_attend_stat *seen; /* [tokens][q_heads] of the last attend, in io */
};

/* attention_open - a stream for max_tokens of the model that the hook has looked at; chunk: tokens that one
 * call will bring at most (larger ones are split) */
int attention_open(struct attention *attention, struct kvs_device *device, const struct hook *hook,
		   uint32_t max_tokens, uint32_t chunk, const struct groups *groups);
/* attention_create - its first half: the stream; 0 or -errno, without a line */
int attention_create(struct attention *attention, struct kvs_device *device, const struct hook *hook,
		     uint32_t max_tokens, const struct groups *groups);
/* attention_prepare - its second half: buffers, and what query heads have of their own */
int attention_prepare(struct attention *attention, const struct hook *hook, uint32_t chunk);
/* attention_groups - as many score groups of equal size as there can be, as placement policies want them */
struct groups attention_groups(uint32_t layers);
void attention_close(struct attention *attention);
/* attention_fail - the line for a failed call of the library; returns -1 */
int attention_fail(const struct attention *attention, const char *what, int error);
/* attention_append - a layer's rows [first, first + tokens), behind those that it has */
int attention_append(struct attention *attention, uint32_t layer, uint32_t first, uint32_t tokens,
		     const float *k, const float *v);
/* attention_attend - append a layer's rows and attend to everything so far, into layer->out */
int attention_attend(struct attention *attention, const struct hook_layer *layer);
/* attention_attend_again - the same queries over the rows that are there already */
int attention_attend_again(struct attention *attention, const struct hook_layer *layer);
/*
 * attention_score - causal attention of queries that are part of the stream, and their scores
 * Only after attention_step(): an open step may still be dropped, a score cannot be taken back.
 */
int attention_score(struct attention *attention, const struct hook_layer *layer);
/* attention_step - the tokens appended to all layers become part of the stream */
int attention_step(struct attention *attention, uint32_t tokens);
/* attention_window - up to `tokens` rows of each layer on trial; attention_commit - the first of them stay */
int attention_window(struct attention *attention, uint32_t tokens);
int attention_commit(struct attention *attention, uint32_t tokens);
/*
 * attention_seal - quantise whole pages up to `length` but for a tail of ATTENTION_TAIL tokens at least;
 * those below `islands` stay as they are in all layers and heads
 */
#define ATTENTION_PAGE 32 /* tokens, of streams that are sealed */
#define ATTENTION_TAIL 32
int attention_seal(struct attention *attention, uint32_t length, uint32_t islands);

#endif
