/* SPDX-License-Identifier: MIT */
/*
 * What the runtime's tests share: a device with a buffer and a batch, pseudo-random data, and a plain
 * reference of attention in binary64 that knows nothing of tiles, tiers or formats.
 */
#ifndef KVSINK_RIG_H
#define KVSINK_RIG_H

#include <stdbool.h>
#include <stdint.h>

#include "kvsink.h"

#define RIG_BYTES (8u << 20) /* of the buffer */
#define RIG_OUT (4u << 20)   /* outputs lie from here on, inputs before */
#define RIG_STATS (6u << 20)

struct rig {
	struct kvs_device *device;
	struct kvs_buffer *buffer;
	struct kvs_batch *batch;
	char *memory; /* of the buffer */
	uint64_t random;
};

/* A stream, and the rows that were appended to it, as stored (rounded to its format). */
struct rig_stream {
	struct rig *rig;
	struct kvs_stream *kvs;
	struct kvs_geometry geometry;
	struct drm_kvsink_layer layer[8]; /* parameters */
	float *k[8], *v[8];		  /* [layer][token][kv_head][d] */
	uint32_t length;		  /* tokens, the same in every layer */
};

/* What one query head saw, in binary64. */
struct rig_answer {
	double out[512];
	double lse, mass; /* mass: share of the tokens that `resident` names */
	double norm;	  /* sum of a_j * |v_j|: what errors are measured by */
};

/* Exit with a line when something fails that is not under test. */
void rig_must(struct rig *rig, const char *what, int err);

void rig_open(struct rig *rig, const char *name);
void rig_close(struct rig *rig);
struct kvs_place rig_at(struct rig *rig, uint64_t offset);
uint64_t rig_random(struct rig *rig);
/* Floats in (-scale, scale). */
void rig_fill(struct rig *rig, uint64_t offset, uint32_t count, float scale);
/* Run the batch and reset it. */
int rig_run(struct rig *rig, struct drm_kvsink_job_status *status);

/* A small geometry to start from: 2 layers, 4 and 2 heads, d 16 and 8, 128 tokens. */
struct kvs_geometry rig_geometry(uint32_t format);
void rig_stream_open(struct rig *rig, const struct kvs_geometry *geometry, struct rig_stream *stream);
void rig_stream_close(struct rig_stream *stream);
/* Append `count` random tokens to every layer and end the step. */
void rig_append(struct rig_stream *stream, uint32_t count);

/*
 * Query head `head` with q[d_k], standing at `token`. resident[token] says which tokens count for mass; NULL
 * for none.
 */
void rig_attend(const struct rig_stream *stream, uint32_t layer, uint32_t token, uint32_t head,
		const float *q, const bool *resident, struct rig_answer *answer);
/* Weight of each visible token, [token + 1]. */
void rig_weights(const struct rig_stream *stream, uint32_t layer, uint32_t token, uint32_t head,
		 const float *q, double *weights);

#endif
