// SPDX-License-Identifier: MIT
/*
 * The hook into libllama's graph; see hook.h for what it promises. Called by libllama on the thread
 * that evaluates, so it needs no lock. KVSINK_TEST_NO_HOOK builds one that computes the device's
 * output and throws it away: the poison test must notice.
 */
#include <ggml-backend.h>
#include <ggml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hook.h"

static const struct {
	const char *name;
	enum ggml_op op;
} hooked[HOOK_TENSORS] = {
	[HOOK_Q] = {"Qcur", GGML_OP_ROPE},
	[HOOK_K] = {"Kcur", GGML_OP_ROPE},
	[HOOK_V] = {"Vcur", GGML_OP_RESHAPE},
	[HOOK_OUT] = {"kqv_out", GGML_OP_CONT},
};

#define HOOK_ALL ((1u << HOOK_OUT) - 1) /* Q, K and V */

void hook_init(struct hook *hook, uint32_t layers)
{
	memset(hook, 0, sizeof(*hook));
	hook->geometry.layers = layers;
}

void hook_free(struct hook *hook)
{
	for (int t = 0; t < HOOK_TENSORS; t++)
		free(hook->rows[t]);
	memset(hook, 0, sizeof(*hook));
}

void hook_begin(struct hook *hook, uint32_t first, uint32_t tokens)
{
	hook->first = first;
	hook->tokens = tokens;
	hook->layer = 0;
	hook->seen = 0;
	hook->failed = false;
	hook->why[0] = 0;
}

static bool hook_active(const struct hook *hook)
{
	return hook->owner.rows || hook->owner.attention;
}

int hook_end(struct hook *hook)
{
	if (hook->failed)
		return -1;
	if (!hook_active(hook) || hook->layer == hook->geometry.layers)
		return 0;
	snprintf(hook->why, sizeof(hook->why),
		 "layer %u of %u never shows its Q, K, V and attention output as %s", hook->layer,
		 hook->geometry.layers, "Qcur, Kcur, Vcur, kqv_out");
	return -1;
}

/* "Qcur-12" with the right operation: which tensor, and the layer in *layer; HOOK_TENSORS if it is none. */
static enum hook_tensor hook_match(const struct ggml_tensor *tensor, uint32_t *layer)
{
	for (int t = 0; t < HOOK_TENSORS; t++) {
		size_t length = strlen(hooked[t].name);
		char *end;

		if (tensor->op != hooked[t].op || strncmp(tensor->name, hooked[t].name, length) ||
		    tensor->name[length] != '-')
			continue;
		*layer = (uint32_t)strtoul(tensor->name + length + 1, &end, 10);
		if (end != tensor->name + length + 1 && !*end)
			return t;
	}
	return HOOK_TENSORS;
}

/* Heads and width of the first layer are the model's; every other layer must have the same. */
static bool hook_shape(uint32_t *known, int64_t seen)
{
	if (!*known && seen > 0 && seen <= 65536)
		*known = (uint32_t)seen;
	return *known == seen;
}

static bool hook_shapes(struct hook *hook, enum hook_tensor which, const struct ggml_tensor *t)
{
	struct geometry *g = &hook->geometry;
	int64_t tokens = which == HOOK_OUT ? t->ne[1] : t->ne[2];

	if (t->type != GGML_TYPE_F32 || !ggml_is_contiguous(t) || tokens != hook->tokens)
		return false;
	switch (which) {
	case HOOK_Q:
		return hook_shape(&g->d_k, t->ne[0]) && hook_shape(&g->q_heads, t->ne[1]);
	case HOOK_K:
		return hook_shape(&g->d_k, t->ne[0]) && hook_shape(&g->kv_heads, t->ne[1]);
	case HOOK_V:
		return hook_shape(&g->d_v, t->ne[0]) && hook_shape(&g->kv_heads, t->ne[1]);
	default:
		return t->ne[0] == (int64_t)geometry_out_row(g) && t->ne[2] == 1;
	}
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
		same = position == (int32_t)(hook->first + i);
	}
	return same;
}

static int hook_refuse(struct hook *hook, const struct ggml_tensor *t, const char *what)
{
	hook->failed = true;
	snprintf(hook->why, sizeof(hook->why), "%s: %s (%s [%lld, %lld, %lld], %u tokens from position %u)",
		 t->name, what, ggml_type_name(t->type), (long long)t->ne[0], (long long)t->ne[1],
		 (long long)t->ne[2], hook->tokens, hook->first);
	return -1;
}

static int hook_copy(struct hook *hook, enum hook_tensor which, const struct ggml_tensor *t)
{
	uint64_t elements = (uint64_t)ggml_nelements(t);

	if (elements > hook->capacity[which]) {
		float *rows = realloc(hook->rows[which], elements * sizeof(float));

		if (!rows)
			return hook_refuse(hook, t, "out of memory for its copy");
		hook->rows[which] = rows;
		hook->capacity[which] = elements;
	}
	ggml_backend_tensor_get(t, hook->rows[which], 0, elements * sizeof(float));
	return 0;
}

static void hook_write(struct hook *hook, enum hook_tensor which, struct ggml_tensor *t)
{
	ggml_backend_tensor_set(t, hook->rows[which], 0, (size_t)ggml_nelements(t) * sizeof(float));
}

static int hook_rows(struct hook *hook, enum hook_tensor which, struct ggml_tensor *t)
{
	if (which != HOOK_V && !hook_positions(hook, t))
		return hook_refuse(hook, t, "not at the positions expected");
	if (hook_copy(hook, which, t))
		return -1;
	hook->seen |= 1u << which;
	if (which == HOOK_Q || !hook->owner.rows)
		return 0;
	if (hook->owner.rows(hook->owner.context, which, hook->layer, hook->first, hook->tokens,
			     hook->rows[which]))
		return -1;
	hook_write(hook, which, t);
	return 0;
}

static int hook_attention(struct hook *hook, struct ggml_tensor *t)
{
	struct hook_layer layer = {
		.layer = hook->layer,
		.first = hook->first,
		.tokens = hook->tokens,
		.q = hook->rows[HOOK_Q],
		.k = hook->rows[HOOK_K],
		.v = hook->rows[HOOK_V],
	};

	if (hook->seen != HOOK_ALL)
		return hook_refuse(hook, t, "the layer's Q, K or V was not seen before it");
	hook->seen = 0;
	hook->layer++;
	if (!hook->owner.attention)
		return 0;
	if (hook_copy(hook, HOOK_OUT, t))
		return -1;
	layer.out = hook->rows[HOOK_OUT];
	if (hook->owner.attention(hook->owner.context, &layer))
		return -1;
#ifndef KVSINK_TEST_NO_HOOK
	hook_write(hook, HOOK_OUT, t);
#endif
	return 0;
}

static int hook_node(struct hook *hook, enum hook_tensor which, uint32_t layer, struct ggml_tensor *t)
{
	if (layer != hook->layer || (hook->seen & 1u << which))
		return hook_refuse(hook, t, "not the layer expected next");
	if (!hook_shapes(hook, which, t))
		return hook_refuse(hook, t, "not the type or shape of the layers before");
	return which == HOOK_OUT ? hook_attention(hook, t) : hook_rows(hook, which, t);
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
		return which != HOOK_TENSORS;
	if (which == HOOK_TENSORS || hook->failed)
		return !hook->failed;
	if (hook_node(hook, which, layer, tensor))
		hook->failed = true;
	return !hook->failed;
}
