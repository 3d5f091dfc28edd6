/* SPDX-License-Identifier: MIT */
/*
 * The hook into libllama's graph. libllama asks about every node before it computes it and calls again when
 * its value is there. The hook takes K and V where they go into libllama's cache, Q where it meets K, and
 * what the softmax is told: scale, soft cap, ALiBi, learned sinks, mask. So it needs no table of
 * architectures. At the product of weights and V it hands them over; what the owner writes into that output
 * replaces it, before the next node reads it.
 *
 * A node is matched by exact name *and* operation, since views of it carry suffixes. Each evaluation must
 * pass every layer once and in order, with the tokens, positions and shapes expected, or it fails: a model
 * built otherwise is not half understood.
 */
#ifndef KVSINK_LLM_HOOK_H
#define KVSINK_LLM_HOOK_H

#include <stdbool.h>
#include <stdint.h>

struct ggml_tensor;

#define MAX_LAYERS 128 /* of a model on the device */

struct geometry {
	uint32_t layers;
	uint32_t q_heads; /* query heads */
	uint32_t kv_heads;
	uint32_t d_k;	 /* elements of a key row */
	uint32_t d_v;	 /* elements of a value row */
	bool v_in_k;	 /* a value is the first d_v elements of its key: no V rows (MLA) */
	uint32_t window; /* tokens that a query sees in some layers; 0: none has one */
	uint64_t windowed[MAX_LAYERS / 64]; /* bit l % 64 of word l / 64: layer l has it */
};

/* What the graph says of a layer's attention: logit = softcap(scale * q.k) + slope * distance. */
struct hook_params {
	float scale, softcap; /* softcap 0: none */
	float max_bias;	      /* ALiBi: slopes follow from it; 0: none */
	float *sinks;	      /* logits of learned sinks [q_heads]; NULL: none */
	uint32_t visible;     /* tokens that the last query of this evaluation sees */
};

enum hook_tensor { HOOK_Q, HOOK_K, HOOK_V, HOOK_SOFTMAX, HOOK_OUT, HOOK_TENSORS };

/* What one layer of one evaluation looks like to the owner. */
struct hook_layer {
	uint32_t layer;
	uint32_t first; /* position of the first token; the others follow it if they are of one sequence */
	uint32_t tokens;
	const float *q; /* [tokens][q_heads][d_k] */
	const float *k; /* [tokens][kv_heads][d_k] */
	const float *v; /* [tokens][kv_heads][d_v]; nothing with v_in_k */
	float *out;	/* [tokens][q_heads][d_v]: libllama's own value */
};

/* The owner's side; context is the owner's. Either may be NULL. Nonzero ends the evaluation with an error. */
struct hook_owner {
	/* rows of K or V that go into libllama's cache: may be changed */
	int (*rows)(void *context, enum hook_tensor which, uint32_t layer, uint32_t first, uint32_t tokens,
		    float *rows);
	/* attention of a layer: what it leaves in layer->out is what the model goes on with */
	int (*attention)(void *context, const struct hook_layer *layer);
	void *context;
};

struct hook {
	struct geometry geometry;	 /* heads and widths are 0 until the first layer has been seen */
	struct hook_params *params;	 /* [layers], of the last evaluation that was looked at */
	struct hook_owner owner;	 /* both NULL: libllama computes by itself, nothing is even copied */
	bool look;			 /* take parameters and geometry although there is no owner */
	const int32_t *positions;	 /* of the tokens of this evaluation */
	uint32_t tokens;		 /* of this evaluation */
	uint32_t layer;			 /* that is expected next */
	unsigned seen;			 /* bit t: enum hook_tensor t of that layer has been seen */
	uint64_t elements[HOOK_TENSORS]; /* K and V: of the present layer */
	float *rows[HOOK_TENSORS];	 /* copies of the present layer; HOOK_SOFTMAX: scratch */
	uint64_t capacity[HOOK_TENSORS]; /* elements that they hold */
	bool failed;			 /* the evaluation has been given up */
	char why[192]; /* how the graph differs from what is expected; "" if it is the owner who failed */
};

int hook_init(struct hook *hook, uint32_t layers);
void hook_free(struct hook *hook);
/* hook_begin - before an evaluation of tokens at these positions, which stay until hook_end() */
void hook_begin(struct hook *hook, const int32_t *positions, uint32_t tokens);
/* hook_end - after it: 0 if every layer passed, else -1 and why */
int hook_end(struct hook *hook);
/* hook_callback - for llama_context_params.cb_eval, with the hook as user data */
bool hook_callback(struct ggml_tensor *tensor, bool ask, void *user);

static inline uint64_t geometry_q_row(const struct geometry *g)
{
	return (uint64_t)g->q_heads * g->d_k;
}

static inline uint64_t geometry_k_row(const struct geometry *g)
{
	return (uint64_t)g->kv_heads * g->d_k;
}

static inline uint64_t geometry_v_row(const struct geometry *g)
{
	return g->v_in_k ? 0 : (uint64_t)g->kv_heads * g->d_v;
}

static inline uint64_t geometry_out_row(const struct geometry *g)
{
	return (uint64_t)g->q_heads * g->d_v;
}

static inline uint32_t geometry_window(const struct geometry *g, uint32_t layer)
{
	return g->windowed[layer / 64] >> layer % 64 & 1 ? g->window : 0;
}

/* K and V bytes of one token in all layers and heads, binary32. */
static inline uint64_t geometry_token_bytes(const struct geometry *g)
{
	return (uint64_t)g->layers * (geometry_k_row(g) + geometry_v_row(g)) * sizeof(float);
}

#endif
