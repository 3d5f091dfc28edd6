/* SPDX-License-Identifier: MIT */
/*
 * The state file: a prompt's tokens and, of all but the last of them, Q, K and V in every layer, as the
 * model's graph had them (after ROPE), binary32. It is what a prefill on one machine hands to a decode
 * on another. Little endian:
 *
 *   struct state_header
 *   int32 token[tokens]                   followed by their hash
 *   for each layer: Q[rows][q_heads][d_k], K[rows][kv_heads][d_k], V[rows][kv_heads][d_v] (not with V_IN_K)
 *                                         followed by the hash of all three
 *
 * with rows = tokens - 1. Written and read layer by layer. A reader believes nothing: magic, version,
 * every size, every hash, the model and the build are checked, and nothing may follow the last layer.
 */
#ifndef KVSINK_LLM_STATE_H
#define KVSINK_LLM_STATE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "hook.h"
#include "model.h"

#define STATE_MAGIC "kvsinkSF"
#define STATE_VERSION 2
#define STATE_MAX_TOKENS (1u << 18)

#define STATE_V_IN_K 1u /* a value is the first d_v elements of its key */
#define STATE_PLAIN 2u	/* attention is q.k / sqrt(d_k) in every layer, and nothing else */
#define STATE_FLAGS 3u

struct state_header {
	char magic[8];
	uint32_t version;
	uint32_t header_bytes;
	uint64_t file_bytes;
	uint64_t model_hash; /* of the model file */
	uint64_t build_hash; /* of the program that wrote it */
	uint32_t tokens;     /* in the file; rows are one fewer */
	uint32_t layers, q_heads, kv_heads, d_k, d_v;
	uint32_t probe_tokens;	  /* of the probe that this model and build passed on the way here */
	uint32_t poisoned_layers; /* layers in which NaN reached the logits */
	float probe_relative;	  /* largest relative difference of the probe */
	float prefill_relative;	  /* of the whole prefill */
	uint32_t flags;		  /* STATE_* */
	uint32_t window;	  /* tokens of a sliding window, 0: no layer has one */
	uint64_t windowed[MAX_LAYERS / 64]; /* bit l % 64 of word l / 64: layer l has it */
	uint64_t header_hash;		    /* of all before it */
};

struct state {
	struct state_header header;
	struct geometry geometry; /* from the header */
	uint32_t rows;		  /* tokens whose Q, K and V are there */
	llama_token *tokens;	  /* [header.tokens] */
	float *layers;		  /* Q, K, V of all layers after state_load_all() */
	FILE *file;
	const char *path;
};

/* Q, K and V of one layer, behind one another. */
static inline uint64_t state_layer_elements(const struct geometry *g, uint32_t rows)
{
	return rows * (geometry_q_row(g) + geometry_k_row(g) + geometry_v_row(g));
}

/*
 * state_open - read and check everything in front of the layers
 * model may be NULL where only the numbers matter. Prints why and returns -1; state_close() is allowed then.
 */
int state_open(struct state *state, const char *path, const struct model *model);
void state_close(struct state *state);
/* state_load_all - read and check the layers, one after the other */
int state_load_all(struct state *state);
/* state_rows - after state_load_all(): Q, K or V of one layer from a token on */
const float *state_rows(const struct state *state, enum hook_tensor which, uint32_t layer, uint32_t first);

/* state_writable - can a state file be put there? To be asked before the work that it shall hold. */
int state_writable(const char *path);
/* What a writer brings: the header's own fields are filled in, layers lie as state_load_all() has them. */
int state_write(const char *path, struct state_header *header, const llama_token *tokens,
		const float *layers);

#endif
