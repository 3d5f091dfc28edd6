// SPDX-License-Identifier: MIT
/*
 * One stream on the device for one sequence of the model; see attention.h. A layer of a decode step or of a
 * prefill chunk is one job (APPEND, ATTEND). STEP_END is a job of its own, since only after the last layer
 * it is known that none has failed; SCORE comes after it.
 */
#include <math.h>
#include <string.h>

#include "attention.h"
#include "fail.h"

#define CHUNK_ALIGN 64 /* bytes; of the operands within the buffer */

int attention_fail(const struct attention *a, const char *what, int error)
{
	const char *line = kvs_device_error(a->device);

	return fail("%s: %s: %s", kvs_device_name(a->device), what, *line ? line : strerror(-error));
}

static struct kvs_place place(const struct attention *a, uint64_t offset)
{
	return (struct kvs_place){.buffer = a->io, .offset = offset};
}

static uint64_t align(uint64_t bytes)
{
	return (bytes + CHUNK_ALIGN - 1) & ~(uint64_t)(CHUNK_ALIGN - 1);
}

static int attention_buffers(struct attention *a, uint32_t chunk)
{
	const struct geometry *g = &a->geometry;
	uint64_t row = geometry_q_row(g) > geometry_out_row(g) ? geometry_q_row(g) : geometry_out_row(g);
	uint64_t limit = KVSINK_STAGE_BYTES / (row * sizeof(float));
	int rc;

	a->chunk = chunk < limit ? chunk : (uint32_t)limit;
	a->k = align(a->chunk * geometry_q_row(g) * sizeof(float));
	a->v = align(a->k + a->chunk * geometry_k_row(g) * sizeof(float));
	a->out = align(a->v + a->chunk * geometry_v_row(g) * sizeof(float));
	a->stats = align(a->out + a->chunk * geometry_out_row(g) * sizeof(float));
	/* slopes and sinks lie at the beginning, once */
	if (a->stats < 2 * g->q_heads * sizeof(float))
		a->stats = align(2 * g->q_heads * sizeof(float));
	rc = kvs_buffer_create(
		a->device, a->stats + (uint64_t)a->chunk * g->q_heads * sizeof(struct drm_kvsink_attend_stat),
		&a->io);
	if (rc)
		return attention_fail(a, "cannot create a buffer", rc);
	a->seen = (const void *)((const char *)kvs_buffer_data(a->io) + a->stats);
	rc = kvs_batch_create(a->device, &a->batch);
	return rc ? attention_fail(a, "cannot create a batch", rc) : 0;
}

static uint32_t float_bits(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

static void layer_params(const struct hook *hook, struct drm_kvsink_layer *layers)
{
	for (uint32_t l = 0; l < hook->geometry.layers; l++)
		layers[l] = (struct drm_kvsink_layer){
			.scale = float_bits(hook->params[l].scale),
			.softcap = float_bits(hook->params[l].softcap),
			.window = geometry_window(&hook->geometry, l),
		};
}

/* Do query heads have anything of their own? */
static bool per_head(const struct hook *hook)
{
	for (uint32_t l = 0; l < hook->geometry.layers; l++)
		if (hook->params[l].max_bias > 0 || hook->params[l].sinks)
			return true;
	return false;
}

/* ALiBi's slopes as ggml's softmax has them: powers of 2^(-max_bias / n), n the power of two that is not
 * above `heads`. */
static float slope_of(float max_bias, uint32_t head, uint32_t heads)
{
	uint32_t n = 1;

	if (!(max_bias > 0))
		return 0.0f;
	while (2 * n <= heads)
		n *= 2;
	if (head < n)
		return powf(powf(2.0f, -max_bias / (float)n), (float)(head + 1));
	return powf(powf(2.0f, -max_bias / 2.0f / (float)n), (float)(2 * (head - n) + 1));
}

/* Slopes and learned sinks of all layers: before any row. */
static int attention_heads(struct attention *a, const struct hook *hook)
{
	const uint32_t heads = a->geometry.q_heads;
	float *to = kvs_buffer_data(a->io);
	int rc = 0;

	for (uint32_t l = 0; l < a->geometry.layers && !rc; l++) {
		for (uint32_t h = 0; h < heads; h++) {
			to[h] = slope_of(hook->params[l].max_bias, h, heads);
			to[heads + h] = hook->params[l].sinks ? hook->params[l].sinks[h] : -INFINITY;
		}
		kvs_batch_reset(a->batch);
		rc = kvs_batch_layer_heads(a->batch, a->stream, l, place(a, 0));
		rc = rc ? rc : kvs_batch_run(a->batch, NULL);
	}
	return rc ? attention_fail(a, "cannot set slopes and sinks", rc) : 0;
}

int attention_create(struct attention *a, struct kvs_device *device, const struct hook *hook,
		     uint32_t max_tokens, const struct groups *groups)
{
	const struct geometry *g = &hook->geometry;
	struct drm_kvsink_layer layers[MAX_LAYERS];
	const uint32_t copies = a->copies ? a->copies : 1;
	struct kvs_geometry stream = {
		.size = sizeof(stream),
		.layers = g->layers,
		.q_heads = g->q_heads,
		.kv_heads = g->kv_heads * copies,
		.d_k = g->d_k,
		.d_v = g->d_v,
		.format = a->format,
		.seal_k = a->seal_k,
		.seal_v = a->seal_v,
		.page_tokens = a->seal_k || a->seal_v ? ATTENTION_PAGE : 0,
		.max_tokens = max_tokens,
		.reserve_tokens = a->reserve,
		.score_groups = groups ? groups->count : 0,
		.layer = layers,
		.flags = (g->v_in_k ? DRM_KVSINK_STREAM_V_IN_K : 0) |
			 (per_head(hook) ? DRM_KVSINK_STREAM_PER_HEAD : 0),
	};

	*a = (struct attention){.format = a->format,
				.mode = a->mode,
				.seal_k = a->seal_k,
				.seal_v = a->seal_v,
				.reserve = a->reserve,
				.prefix = a->prefix,
				.prefix_tokens = a->prefix_tokens,
				.copies = copies};
	a->device = device;
	a->geometry = *g;
	a->geometry.kv_heads *= copies;
	layer_params(hook, layers);
	if (groups)
		memcpy(stream.group_end, groups->end, sizeof(stream.group_end));
	return a->prefix ? kvs_stream_attach(device, &stream, a->prefix, a->prefix_tokens, &a->stream)
			 : kvs_stream_create(device, &stream, &a->stream);
}

int attention_prepare(struct attention *a, const struct hook *hook, uint32_t chunk)
{
	if (attention_buffers(a, chunk))
		return -1;
	return per_head(hook) && !a->prefix ? attention_heads(a, hook) : 0; /* a prefix has them already */
}

int attention_open(struct attention *a, struct kvs_device *device, const struct hook *hook,
		   uint32_t max_tokens, uint32_t chunk, const struct groups *groups)
{
	int rc = attention_create(a, device, hook, max_tokens, groups);

	return rc ? attention_fail(a, "cannot create a stream", rc) : attention_prepare(a, hook, chunk);
}

struct groups attention_groups(uint32_t layers)
{
	struct groups groups = {.count = layers < KVSINK_MAX_SCORE_GROUPS ? layers : KVSINK_MAX_SCORE_GROUPS};

	for (uint32_t g = 0; g < groups.count; g++)
		groups.end[g] = (uint16_t)((2 * (g + 1) * layers + groups.count) / (2 * groups.count));
	return groups;
}

void attention_close(struct attention *a)
{
	if (a->batch)
		kvs_batch_free(a->batch);
	if (a->stream)
		kvs_stream_free(a->stream);
	if (a->io)
		kvs_buffer_free(a->io);
	memset(a, 0, sizeof(*a));
}

static void put(const struct attention *a, uint64_t offset, const float *rows, uint64_t elements)
{
	memcpy((char *)kvs_buffer_data(a->io) + offset, rows, elements * sizeof(float));
}

static int attention_run(struct attention *a, const char *what, uint32_t layer)
{
	char where[64];
	int rc = kvs_batch_run(a->batch, NULL);

	kvs_batch_reset(a->batch);
	if (!rc)
		return 0;
	snprintf(where, sizeof(where), "%s of layer %u", what, layer);
	return attention_fail(a, where, rc);
}

/* Rows of K or V heads of d elements, each head as often as the stream has it: query head h reads copy h. */
static void put_heads(const struct attention *a, uint64_t offset, const float *rows, uint64_t heads,
		      uint32_t d)
{
	for (uint64_t head = 0; head < heads; head++, rows += d)
		for (uint32_t i = 0; i < a->copies; i++, offset += d * sizeof(float))
			put(a, offset, rows, d);
}

/* APPEND of rows [from, from + count) of a layer's call, into the batch. */
static int add_append(struct attention *a, const struct hook_layer *l, uint32_t from, uint32_t count)
{
	const struct geometry *g = &a->geometry;
	const uint64_t heads = g->kv_heads / a->copies;
	int rc;

	put_heads(a, a->k, l->k + from * heads * g->d_k, count * heads, g->d_k);
	if (!g->v_in_k)
		put_heads(a, a->v, l->v + from * heads * g->d_v, count * heads, g->d_v);
	rc = kvs_batch_append(a->batch, a->stream, l->layer, l->first + from, count, place(a, a->k),
			      g->v_in_k ? (struct kvs_place){.buffer = NULL} : place(a, a->v));
	return rc ? attention_fail(a, "append", rc) : 0;
}

static int add_attend(struct attention *a, const struct hook_layer *l, uint32_t from, uint32_t count)
{
	struct drm_kvsink_attend_item item = {
		.stream = kvs_stream_id(a->stream),
		.layer = l->layer,
		.first = l->first + from,
		.count = count,
	};
	int rc;

	put(a, 0, l->q + from * geometry_q_row(&a->geometry), count * geometry_q_row(&a->geometry));
	rc = kvs_batch_attend(a->batch, &item, 1, a->mode, place(a, 0), place(a, a->out), place(a, a->stats),
			      (struct kvs_place){.buffer = NULL});
	return rc ? attention_fail(a, "attend", rc) : 0;
}

static int add_score(struct attention *a, const struct hook_layer *l, uint32_t from, uint32_t count)
{
	int rc;

	put(a, 0, l->q + from * geometry_q_row(&a->geometry), count * geometry_q_row(&a->geometry));
	rc = kvs_batch_score(a->batch, a->stream, l->layer, l->first + from, count, place(a, 0),
			     place(a, a->out));
	return rc ? attention_fail(a, "score", rc) : 0;
}

static void take(const struct attention *a, const struct hook_layer *l, uint32_t from, uint32_t count)
{
	uint64_t row = geometry_out_row(&a->geometry);

	memcpy(l->out + from * row, (char *)kvs_buffer_data(a->io) + a->out, count * row * sizeof(float));
}

typedef int add_operation(struct attention *a, const struct hook_layer *l, uint32_t from, uint32_t count);

/* One job with up to two operations for each chunk of a layer's rows. */
static int attention_chunks(struct attention *a, const struct hook_layer *l, const char *what,
			    add_operation *first, add_operation *second)
{
	for (uint32_t from = 0, count; from < l->tokens; from += count) {
		count = l->tokens - from < a->chunk ? l->tokens - from : a->chunk;
		kvs_batch_reset(a->batch);
		if (first(a, l, from, count) || (second && second(a, l, from, count)) ||
		    attention_run(a, what, l->layer))
			return -1;
		if (l->out)
			take(a, l, from, count);
	}
	return 0;
}

int attention_append(struct attention *a, uint32_t layer, uint32_t first, uint32_t tokens, const float *k,
		     const float *v)
{
	struct hook_layer l = {.layer = layer, .first = first, .tokens = tokens, .k = k, .v = v};

	return attention_chunks(a, &l, "append", add_append, NULL);
}

int attention_attend(struct attention *a, const struct hook_layer *l)
{
	return attention_chunks(a, l, "append and attend", add_append, add_attend);
}

int attention_attend_again(struct attention *a, const struct hook_layer *l)
{
	return attention_chunks(a, l, "attend", add_attend, NULL);
}

int attention_score(struct attention *a, const struct hook_layer *l)
{
	return attention_chunks(a, l, "score", add_score, NULL);
}

int attention_step(struct attention *a, uint32_t tokens)
{
	int rc;

	kvs_batch_reset(a->batch);
	rc = kvs_batch_step_end(a->batch, a->stream, tokens);
	if (rc)
		return attention_fail(a, "step end", rc);
	return attention_run(a, "step end", a->geometry.layers - 1);
}

int attention_window(struct attention *a, uint32_t tokens)
{
	int rc = kvs_window_begin(a->stream, tokens);

	return rc ? attention_fail(a, "window", rc) : 0;
}

int attention_commit(struct attention *a, uint32_t tokens)
{
	int rc = kvs_window_commit(a->stream, tokens);

	return rc ? attention_fail(a, "commit", rc) : 0;
}

int attention_seal(struct attention *a, uint32_t length, uint32_t islands)
{
	struct drm_kvsink_place place[ATTENTION_PAGE];
	uint32_t end = length / ATTENTION_PAGE * ATTENTION_PAGE, count;
	int rc = 0;

	end = end > ATTENTION_TAIL ? end - ATTENTION_TAIL : 0;
	for (; (a->seal_k || a->seal_v) && a->sealed < end && !rc; a->sealed += ATTENTION_PAGE) {
		for (count = 0; count < ATTENTION_PAGE && a->sealed + count < islands; count++)
			place[count] = (struct drm_kvsink_place){
				.token = a->sealed + count,
				.layer_end = (uint16_t)a->geometry.layers,
				.head_mask = ~0ull >> (64 - a->geometry.kv_heads),
			};
		kvs_batch_reset(a->batch);
		rc = kvs_batch_seal(a->batch, a->stream, a->sealed + ATTENTION_PAGE, place, count);
		if (rc)
			return attention_fail(a, "seal", rc);
		rc = attention_run(a, "seal", a->geometry.layers - 1);
	}
	return rc;
}
