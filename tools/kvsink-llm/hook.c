// SPDX-License-Identifier: MIT
/*
 * The hook into libllama's graph; see hook.h for what it promises. Called by libllama on the thread
 * that evaluates, so it needs no lock. KVSINK_TEST_NO_HOOK builds one that computes the device's
 * output and throws it away: the poison test must notice.
 */
#include <ggml-backend.h>
#include <ggml.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hook.h"

/* What stands behind the name before the layer: "kq-12", "cache_k_l12 (view)". */
static const struct {
	const char *name;
	enum ggml_op op;
	bool suffix; /* the number may be followed by more */
} hooked[HOOK_TENSORS] = {
	[HOOK_Q] = {"kq-", GGML_OP_MUL_MAT, false},
	[HOOK_K] = {"cache_k_l", GGML_OP_SET_ROWS, true},
	[HOOK_V] = {"cache_v_l", GGML_OP_SET_ROWS, true},
	[HOOK_SOFTMAX] = {"kq_soft_max-", GGML_OP_SOFT_MAX, false},
	[HOOK_OUT] = {"kqv-", GGML_OP_MUL_MAT, false},
};

#define SEEN(which) (1u << (which))

int hook_init(struct hook *hook, uint32_t layers)
{
	memset(hook, 0, sizeof(*hook));
	hook->geometry.layers = layers;
	hook->params = calloc(layers, sizeof(*hook->params));
	return hook->params ? 0 : -1;
}

void hook_free(struct hook *hook)
{
	for (int t = 0; t < HOOK_TENSORS; t++)
		free(hook->rows[t]);
	for (uint32_t l = 0; hook->params && l < hook->geometry.layers; l++)
		free(hook->params[l].sinks);
	free(hook->params);
	memset(hook, 0, sizeof(*hook));
}

void hook_begin(struct hook *hook, const int32_t *positions, uint32_t tokens)
{
	hook->positions = positions;
	hook->tokens = tokens;
	hook->layer = 0;
	hook->seen = 0;
	hook->failed = false;
	hook->why[0] = 0;
}

static bool hook_active(const struct hook *hook)
{
	return hook->owner.rows || hook->owner.attention || hook->look;
}

int hook_end(struct hook *hook)
{
	if (hook->failed)
		return -1;
	if (!hook_active(hook) || hook->layer == hook->geometry.layers)
		return 0;
	snprintf(hook->why, sizeof(hook->why),
		 "layer %u of %u never shows rows for its cache, logits, softmax and output as %s",
		 hook->layer, hook->geometry.layers, "cache_k_l, kq, kq_soft_max, kqv");
	return -1;
}

/* "kq-12" with the right operation: which tensor, and the layer in *layer; HOOK_TENSORS if it is none. */
static enum hook_tensor hook_match(const struct ggml_tensor *tensor, uint32_t *layer)
{
	for (int t = 0; t < HOOK_TENSORS; t++) {
		size_t length = strlen(hooked[t].name);
		char *end;

		if (tensor->op != hooked[t].op || strncmp(tensor->name, hooked[t].name, length))
			continue;
		*layer = (uint32_t)strtoul(tensor->name + length, &end, 10);
		if (end != tensor->name + length && (hooked[t].suffix || !*end))
			return t;
	}
	return HOOK_TENSORS;
}

static int hook_refuse(struct hook *hook, const struct ggml_tensor *t, const char *what)
{
	hook->failed = true;
	snprintf(hook->why, sizeof(hook->why), "%s: %s (%s [%lld, %lld, %lld], %u tokens from position %u)",
		 t->name, what, ggml_type_name(t->type), (long long)t->ne[0], (long long)t->ne[1],
		 (long long)t->ne[2], hook->tokens, (unsigned)hook->positions[0]);
	return -1;
}

/* ROPE's second source holds the positions: they must be the ones we think we are at. */
static bool hook_positions(const struct hook *hook, const struct ggml_tensor *t)
{
	const struct ggml_tensor *positions = t->src[1];
	bool same = true;
	int32_t position;

	if (!positions || positions->type != GGML_TYPE_I32 || positions->ne[0] != hook->tokens)
		return false;
	for (uint32_t i = 0; i < hook->tokens && same; i++) {
		ggml_backend_tensor_get(positions, &position, i * sizeof(position), sizeof(position));
		same = position == hook->positions[i];
	}
	return same;
}

/* ---- shapes: those of the first layer are the model's, every other layer must have the same ---- */

static bool hook_shape(uint32_t *known, int64_t seen)
{
	if (!*known && seen > 0 && seen <= 65536)
		*known = (uint32_t)seen;
	return *known == seen;
}

/* kq = K times Q: [d_k, tokens in the cache, KV heads] and [d_k, tokens, query heads]. */
static bool hook_q_shapes(struct hook *hook, const struct ggml_tensor *t)
{
	const struct ggml_tensor *k = t->src[0], *q = t->src[1];
	struct geometry *g = &hook->geometry;

	return q->type == GGML_TYPE_F32 && q->nb[0] == sizeof(float) && q->ne[1] == hook->tokens &&
	       q->ne[3] == 1 && hook_shape(&g->d_k, q->ne[0]) && hook_shape(&g->q_heads, q->ne[2]) &&
	       hook_shape(&g->kv_heads, k->ne[2]);
}

/* kqv: [d_v, tokens, query heads]; without rows for a V cache the values must lie in the keys. */
static bool hook_out_shapes(struct hook *hook, const struct ggml_tensor *t)
{
	struct geometry *g = &hook->geometry;
	bool v_in_k = !(hook->seen & SEEN(HOOK_V));

	if (!g->d_v)
		g->v_in_k = v_in_k;
	if (!hook_shape(&g->d_v, t->ne[0]) || g->v_in_k != v_in_k ||
	    hook->elements[HOOK_K] != hook->tokens * geometry_k_row(g) ||
	    (!v_in_k && hook->elements[HOOK_V] != hook->tokens * geometry_v_row(g)))
		return false;
	return t->type == GGML_TYPE_F32 && ggml_is_contiguous(t) && t->ne[1] == hook->tokens &&
	       t->ne[3] == 1 && t->ne[2] == g->q_heads && (!v_in_k || g->d_v <= g->d_k);
}

/* ---- rows ---- */

static float *hook_room(struct hook *hook, enum hook_tensor which, uint64_t elements)
{
	if (elements > hook->capacity[which]) {
		float *rows = realloc(hook->rows[which], elements * sizeof(float));

		if (!rows)
			return NULL;
		hook->rows[which] = rows;
		hook->capacity[which] = elements;
	}
	return hook->rows[which];
}

/* Rows as they went into the cache, and what the owner makes of them, into it once more. */
static int hook_rows(struct hook *hook, enum hook_tensor which, struct ggml_tensor *t)
{
	const struct ggml_tensor *from = t->src[0], *index = t->src[1];
	const struct geometry *g = &hook->geometry;
	uint64_t width = (uint64_t)from->ne[0],
		 known = which == HOOK_K ? geometry_k_row(g) : geometry_v_row(g);
	uint64_t elements = (uint64_t)ggml_nelements(from);
	float *rows = hook_room(hook, which, elements);
	int64_t at;

	if (!rows)
		return hook_refuse(hook, t, "out of memory for its rows");
	hook->elements[which] = elements;
	if (from->type != GGML_TYPE_F32 || t->type != GGML_TYPE_F32 || index->type != GGML_TYPE_I64 ||
	    from->nb[0] != sizeof(float) || elements % hook->tokens || from->ne[2] != 1 ||
	    (g->d_v && elements != known * hook->tokens))
		return hook_refuse(hook, t, "not the type or shape of the layers before");
	for (int64_t row = 0; row < from->ne[1]; row++)
		ggml_backend_tensor_get(from, rows + (uint64_t)row * width, (size_t)row * from->nb[1],
					width * sizeof(float));
	if (!hook->owner.rows)
		return 0;
	if (hook->owner.rows(hook->owner.context, which, hook->layer, (uint32_t)hook->positions[0],
			     hook->tokens, rows))
		return -1;
	for (int64_t row = 0; row < from->ne[1]; row++) {
		ggml_backend_tensor_get(index, &at, (size_t)row * sizeof(at), sizeof(at));
		ggml_backend_tensor_set(t, rows + (uint64_t)row * width, (size_t)at * t->nb[1],
					width * sizeof(float));
	}
	return 0;
}

static int hook_queries(struct hook *hook, const struct ggml_tensor *t)
{
	const struct geometry *g = &hook->geometry;
	const struct ggml_tensor *q = t->src[1];
	float *rows;

	if (!hook_q_shapes(hook, t))
		return hook_refuse(hook, t, "not the type or shape of the layers before");
	rows = hook_room(hook, HOOK_Q, hook->tokens * geometry_q_row(g));
	if (!rows)
		return hook_refuse(hook, t, "out of memory for its queries");
	for (uint32_t token = 0; token < hook->tokens; token++)
		for (uint32_t head = 0; head < g->q_heads; head++, rows += g->d_k)
			ggml_backend_tensor_get(q, rows, token * q->nb[1] + head * q->nb[2],
						g->d_k * sizeof(float));
	return 0;
}

/* ---- what the softmax is told ---- */

static float op_param(const struct ggml_tensor *t, unsigned i)
{
	float value;

	memcpy(&value, (const char *)t->op_params + i * sizeof(value), sizeof(value));
	return value;
}

static bool is_scale(const struct ggml_tensor *t)
{
	return t->op == GGML_OP_SCALE && op_param(t, 1) == 0.0f;
}

/*
 * libllama caps before the softmax scales: s * b * tanh(a * q.k). That is c * tanh(scale * q.k / c) with c =
 * s * b. False if anything else happens to the logits.
 */
static bool hook_logits(const struct ggml_tensor *softmax, struct hook_params *p)
{
	const struct ggml_tensor *outer = softmax->src[0], *tanh_, *inner;
	double scale = op_param(softmax, 0);

	p->softcap = 0.0f;
	if (is_scale(outer) && outer->src[0]->op == GGML_OP_UNARY &&
	    ggml_get_unary_op(outer->src[0]) == GGML_UNARY_OP_TANH && is_scale(outer->src[0]->src[0])) {
		tanh_ = outer->src[0];
		inner = tanh_->src[0];
		scale *= op_param(outer, 0);
		p->softcap = (float)scale;
		scale *= op_param(inner, 0);
		outer = inner->src[0];
	}
	p->scale = (float)scale;
	return outer->op == GGML_OP_MUL_MAT && p->scale > 0.0f;
}

static bool hook_sinks(const struct ggml_tensor *sinks, uint32_t heads, struct hook_params *p)
{
	free(p->sinks);
	p->sinks = NULL;
	if (!sinks)
		return true;
	if (sinks->type != GGML_TYPE_F32 || ggml_nelements(sinks) != heads)
		return false;
	p->sinks = malloc(heads * sizeof(*p->sinks));
	if (p->sinks)
		ggml_backend_tensor_get(sinks, p->sinks, 0, heads * sizeof(*p->sinks));
	return p->sinks;
}

/* How many tokens the last query sees. */
static bool hook_mask(const struct hook *hook, const struct ggml_tensor *mask, struct hook_params *p)
{
	size_t row = (hook->tokens - 1) * (mask ? mask->nb[1] : 0);
	float value;

	if (!mask || mask->type != GGML_TYPE_F32 || mask->ne[1] < hook->tokens)
		return false;
	p->visible = 0;
	for (int64_t i = 0; i < mask->ne[0]; i++) {
		ggml_backend_tensor_get(mask, &value, row + (size_t)i * sizeof(value), sizeof(value));
		p->visible += value > -INFINITY;
	}
	return true;
}

static int hook_softmax(struct hook *hook, const struct ggml_tensor *t)
{
	struct hook_params *p = &hook->params[hook->layer];

	if (!hook->look)
		return 0;
	p->max_bias = op_param(t, 1);
	if (!hook_logits(t, p))
		return hook_refuse(hook, t, "its logits are not those of scaled, perhaps capped products");
	if (!hook_sinks(t->src[2], hook->geometry.q_heads, p))
		return hook_refuse(hook, t, "its sinks are not one number a query head");
	if (!hook_mask(hook, t->src[1], p))
		return hook_refuse(hook, t, "its mask is not one of tokens in binary32");
	return 0;
}

/* ---- the output ---- */

/* libllama has [query head][token][d_v], the owner [token][query head][d_v]. */
static void hook_turn(const struct geometry *g, uint32_t tokens, float *to, const float *from, bool to_owner)
{
	for (uint32_t token = 0; token < tokens; token++)
		for (uint32_t head = 0; head < g->q_heads; head++) {
			size_t owners = ((size_t)token * g->q_heads + head) * g->d_v;
			size_t llamas = ((size_t)head * tokens + token) * g->d_v;

			memcpy(to + (to_owner ? owners : llamas), from + (to_owner ? llamas : owners),
			       g->d_v * sizeof(float));
		}
}

static void hook_write(struct hook *hook, struct ggml_tensor *t)
{
	float *turned = hook->rows[HOOK_SOFTMAX];

	hook_turn(&hook->geometry, hook->tokens, turned, hook->rows[HOOK_OUT], false);
#ifndef KVSINK_TEST_NO_HOOK
	ggml_backend_tensor_set(t, turned, 0, (size_t)ggml_nelements(t) * sizeof(float));
#else
	(void)t;
#endif
}

static int hook_attention(struct hook *hook, struct ggml_tensor *t)
{
	uint64_t elements = hook->tokens * geometry_out_row(&hook->geometry);
	struct hook_layer layer = {
		.layer = hook->layer,
		.first = (uint32_t)hook->positions[0],
		.tokens = hook->tokens,
		.q = hook->rows[HOOK_Q],
		.k = hook->rows[HOOK_K],
		.v = hook->rows[HOOK_V],
		.out = hook_room(hook, HOOK_OUT, elements),
	};

	hook->layer++;
	if (!hook->owner.attention)
		return 0;
	if (!layer.out || !hook_room(hook, HOOK_SOFTMAX, elements))
		return hook_refuse(hook, t, "out of memory for its output");
	ggml_backend_tensor_get(t, hook->rows[HOOK_SOFTMAX], 0, elements * sizeof(float));
	hook_turn(&hook->geometry, hook->tokens, layer.out, hook->rows[HOOK_SOFTMAX], true);
	if (hook->owner.attention(hook->owner.context, &layer))
		return -1;
	hook_write(hook, t);
	return 0;
}

static int hook_output(struct hook *hook, struct ggml_tensor *t)
{
	const unsigned wanted = SEEN(HOOK_Q) | SEEN(HOOK_K) | SEEN(HOOK_SOFTMAX);

	if ((hook->seen & wanted) != wanted)
		return hook_refuse(hook, t, "the layer's keys, queries or softmax were not seen before it");
	if (!hook_out_shapes(hook, t))
		return hook_refuse(hook, t, "not the type or shape of the layers before");
	hook->seen = 0;
	return hook_attention(hook, t);
}

static int hook_node(struct hook *hook, enum hook_tensor which, uint32_t layer, struct ggml_tensor *t)
{
	if (layer != hook->layer || layer >= hook->geometry.layers || (hook->seen & SEEN(which)))
		return hook_refuse(hook, t, "not the layer expected next");
	if (which == HOOK_OUT)
		return hook_output(hook, t);
	hook->seen |= SEEN(which);
	if (which == HOOK_Q)
		return hook_queries(hook, t);
	return which == HOOK_SOFTMAX ? hook_softmax(hook, t) : hook_rows(hook, which, t);
}

bool hook_callback(struct ggml_tensor *tensor, bool ask, void *user)
{
	struct hook *hook = user;
	enum hook_tensor which;
	uint32_t layer;

	if (!hook_active(hook))
		return !ask;
	which = hook_match(tensor, &layer);
	if (ask)
		return which != HOOK_TENSORS || tensor->op == GGML_OP_ROPE;
	if (hook->failed)
		return false;
	if (which == HOOK_TENSORS && tensor->op == GGML_OP_ROPE && !hook_positions(hook, tensor))
		hook_refuse(hook, tensor, "not at the positions expected");
	if (which != HOOK_TENSORS && hook_node(hook, which, layer, tensor))
		hook->failed = true;
	return !hook->failed;
}
