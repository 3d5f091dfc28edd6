/* SPDX-License-Identifier: MIT */
/*
 * Attention of many requests at once. The rows of an evaluation lie span by span, a span being what one
 * request brings: one token that it decodes, or a chunk of its prompt. A layer is one job on the device:
 * each span's APPEND, then one ragged ATTEND over the spans that decode and one over the chunks. When the
 * last layer is done, one job ends every span's step, and the chunks are scored.
 *
 * libllama's cache holds nothing but the evaluation, so its own attention is right only for a chunk that
 * begins its prompt. That is compared with the device's before it is replaced.
 */
#ifndef KVSINK_LLM_SERVE_ATTENTION_H
#define KVSINK_LLM_SERVE_ATTENTION_H

#include "serve_stream.h"

#define SERVE_MAX_SPANS 60 /* with three operations more they are one job */

struct serve_span {
	struct serve_stream *stream;
	uint32_t position; /* of its first token */
	uint32_t count;	   /* tokens */
	uint32_t row;	   /* of its first token in the evaluation */
	bool decode;	   /* spans that decode come first */
};

struct serve_attention {
	struct serve_device *device;
	struct geometry geometry;
	uint32_t mode;	     /* enum drm_kvsink_attend_mode */
	uint64_t compute_ns; /* modelled time between two layers */
	uint32_t rows;	     /* of an evaluation at most */
	struct kvs_batch *batch;
	struct kvs_buffer *io;
	uint64_t k, v, out, mass, queries; /* offsets in io; Q lies at 0 */
	uint64_t mass_bytes;
	/* chunks are scored in pieces that end with a block; of each that does this is told */
	uint32_t block_tokens; /* 0: in one piece, and nobody is told */
	int (*block_scored)(void *context, uint32_t span, uint32_t tokens);
	void *context;
	const struct serve_span *span; /* [spans] of this evaluation */
	uint32_t spans, decoding;
	double difference;    /* largest relative one, device against libllama, where that is right */
	uint64_t compared;    /* rows and layers */
	uint64_t modelled_ns; /* of all jobs, time between layers included */
};

/* max_tokens: of a stream. Each prints why and returns -1 on failure. */
int serve_attention_open(struct serve_attention *a, struct serve_device *device, uint32_t rows,
			 uint32_t max_tokens);
void serve_attention_close(struct serve_attention *a);
/* serve_attention_layer - for struct hook_owner, with a struct serve_attention whose spans are set */
int serve_attention_layer(void *context, const struct hook_layer *layer);
/* serve_attention_step - the evaluation is done: STEP_END of every span, SCORE of the chunks */
int serve_attention_step(struct serve_attention *a);

#endif
