// SPDX-License-Identifier: MIT
/* Ragged attention of an evaluation; see serve_attention.h. */
#include <string.h>

#include "difference.h"
#include "fail.h"
#include "serve_attention.h"

#define ALIGN 64 /* bytes; of the operands within the buffer */

static struct kvs_place at(const struct serve_attention *a, uint64_t offset)
{
	return (struct kvs_place){.buffer = a->io, .offset = offset};
}

/* The next region of the buffer: its offset; `end` moves behind it. */
static uint64_t region(uint64_t *end, uint64_t elements)
{
	uint64_t offset = *end;

	*end = (offset + elements * sizeof(float) + ALIGN - 1) & ~(uint64_t)(ALIGN - 1);
	return offset;
}

int serve_attention_open(struct serve_attention *a, struct serve_device *device, uint32_t rows,
			 uint32_t max_tokens)
{
	const struct geometry *g = &device->hook->geometry;
	uint64_t row = geometry_q_row(g) > geometry_out_row(g) ? geometry_q_row(g) : geometry_out_row(g);
	uint64_t end = 0;
	int rc;

	a->device = device;
	a->geometry = *g;
	a->rows = rows;
	if (rows * row * sizeof(float) > KVSINK_STAGE_BYTES)
		return fail("--chunk %u: Q of so many tokens exceeds the device's %u bytes", rows,
			    KVSINK_STAGE_BYTES);
	region(&end, rows * geometry_q_row(g));
	a->k = region(&end, rows * geometry_k_row(g));
	a->v = region(&end, rows * geometry_v_row(g));
	a->out = region(&end, rows * geometry_out_row(g));
	a->mass_bytes = (uint64_t)SERVE_MAX_SPANS * g->kv_heads * max_tokens * sizeof(float);
	a->mass = region(&end, a->mass_bytes / sizeof(float));
	a->queries = region(&end, (uint64_t)g->layers * rows * geometry_q_row(g));
	rc = kvs_buffer_create(device->device, end, &a->io);
	if (!rc)
		rc = kvs_batch_create(device->device, &a->batch);
	return rc ? serve_fail(device, "cannot create a buffer", rc) : 0;
}

void serve_attention_close(struct serve_attention *a)
{
	if (a->batch)
		kvs_batch_free(a->batch);
	if (a->io)
		kvs_buffer_free(a->io);
}

static int run(struct serve_attention *a, const char *what, int rc)
{
	struct drm_kvsink_job_status status = {0};

	if (!rc)
		rc = kvs_batch_run(a->batch, &status);
	kvs_batch_reset(a->batch);
	a->modelled_ns += status.end_ns - status.begin_ns;
	return rc ? serve_fail(a->device, what, rc) : 0;
}

/* ---- one layer ---- */

static void put(const struct serve_attention *a, uint64_t offset, const float *rows, uint64_t elements)
{
	memcpy((char *)kvs_buffer_data(a->io) + offset, rows, elements * sizeof(float));
}

/* Queries of the chunks stay until they are scored. */
static uint64_t query_place(const struct serve_attention *a, uint32_t layer, uint32_t row)
{
	return a->queries + ((uint64_t)layer * a->rows + row) * geometry_q_row(&a->geometry) * sizeof(float);
}

static void put_rows(const struct serve_attention *a, const struct hook_layer *l)
{
	const struct geometry *g = &a->geometry;

	put(a, 0, l->q, l->tokens * geometry_q_row(g));
	put(a, query_place(a, l->layer, 0), l->q, l->tokens * geometry_q_row(g));
	put(a, a->k, l->k, l->tokens * geometry_k_row(g));
	if (!g->v_in_k)
		put(a, a->v, l->v, l->tokens * geometry_v_row(g));
}

static int add_append(const struct serve_attention *a, const struct serve_span *s, uint32_t layer)
{
	const struct geometry *g = &a->geometry;
	struct kvs_place v = {.buffer = NULL};

	if (!g->v_in_k)
		v = at(a, a->v + s->row * geometry_v_row(g) * sizeof(float));
	return kvs_batch_append(a->batch, s->stream->attention.stream, layer, s->position, s->count,
				at(a, a->k + s->row * geometry_k_row(g) * sizeof(float)), v);
}

/* Spans [from, to) in one ATTEND: their queries and outputs lie in a row. */
static int add_attend(const struct serve_attention *a, uint32_t layer, uint32_t from, uint32_t to, bool mass)
{
	struct drm_kvsink_attend_item items[SERVE_MAX_SPANS];
	const struct kvs_place none = {.buffer = NULL};
	uint64_t row = a->span[from].row;

	for (uint32_t i = from; i < to; i++)
		items[i - from] = (struct drm_kvsink_attend_item){
			.stream = kvs_stream_id(a->span[i].stream->attention.stream),
			.layer = layer,
			.first = a->span[i].position,
			.count = a->span[i].count,
		};
	return kvs_batch_attend(a->batch, items, to - from, a->mode,
				at(a, row * geometry_q_row(&a->geometry) * sizeof(float)),
				at(a, a->out + row * geometry_out_row(&a->geometry) * sizeof(float)), none,
				mass ? at(a, a->mass) : none);
}

static int layer_job(struct serve_attention *a, uint32_t layer)
{
	int rc = a->compute_ns ? kvs_batch_advance(a->batch, a->compute_ns) : 0;

	for (uint32_t i = 0; i < a->spans && !rc; i++)
		rc = add_append(a, &a->span[i], layer);
	if (!rc && a->decoding)
		rc = add_attend(a, layer, 0, a->decoding, a->device->wants_mass);
	if (!rc && a->decoding < a->spans)
		rc = add_attend(a, layer, a->decoding, a->spans, false);
	return run(a, "append and attend", rc);
}

/* Libllama's own output of chunks that begin a prompt, against the device's. */
static int compare(struct serve_attention *a, const struct hook_layer *l)
{
	uint64_t width = geometry_out_row(&a->geometry);
	const float *mine = (const float *)((const char *)kvs_buffer_data(a->io) + a->out);

	for (uint32_t i = a->decoding; i < a->spans; i++) {
		const struct serve_span *s = &a->span[i];
		double d;

		if (s->position || a->device->format != KVSINK_FORMAT_F32)
			continue;
		d = relative_difference(mine + s->row * width, l->out + s->row * width, s->count, width);
		a->difference = d > a->difference ? d : a->difference;
		a->compared += s->count;
	}
	return a->difference <= PROBE_LIMIT ? 0
					    : fail("layer %u: the device's attention differs from libllama's "
						   "by %.2g relative, %.0e is "
						   "allowed",
						   l->layer, a->difference, PROBE_LIMIT);
}

/* Each policy learns what its stream's query saw. */
static int tell_policies(struct serve_attention *a, uint32_t layer)
{
	const float *mass = (const float *)((const char *)kvs_buffer_data(a->io) + a->mass);

	for (uint32_t i = 0; i < a->decoding; i++) {
		uint32_t tokens = a->span[i].position + 1;
		int rc = kvs_policy_layer(a->span[i].stream->policy, layer, tokens,
					  a->device->wants_mass ? mass : NULL);

		if (rc)
			return serve_fail(a->device, "placement", rc);
		mass += (uint64_t)a->geometry.kv_heads * tokens;
	}
	return 0;
}

int serve_attention_layer(void *context, const struct hook_layer *l)
{
	struct serve_attention *a = context;

	put_rows(a, l);
	if (layer_job(a, l->layer) || compare(a, l))
		return -1;
	memcpy(l->out, (const char *)kvs_buffer_data(a->io) + a->out,
	       l->tokens * geometry_out_row(&a->geometry) * sizeof(float));
	return tell_policies(a, l->layer);
}

/* ---- the end of a step ---- */

static int end_steps(struct serve_attention *a)
{
	int rc = 0;

	for (uint32_t i = 0; i < a->spans && !rc; i++)
		rc = kvs_batch_step_end(a->batch, a->span[i].stream->attention.stream, a->span[i].count);
	return run(a, "step end", rc);
}

/* Tokens [from, to) of a chunk in all layers, as many to a job as it takes. What SCORE puts out is the
 * attention that was used. */
static int score_piece(struct serve_attention *a, const struct serve_span *s, uint32_t from, uint32_t to)
{
	uint32_t row = s->row + from - s->position;

	for (uint32_t layer = 0, end; layer < a->geometry.layers; layer = end) {
		int rc = 0;

		end = layer + DRM_KVSINK_MAX_OPS < a->geometry.layers ? layer + DRM_KVSINK_MAX_OPS
								      : a->geometry.layers;
		for (uint32_t l = layer; l < end && !rc; l++)
			rc = kvs_batch_score(a->batch, s->stream->attention.stream, l, from, to - from,
					     at(a, query_place(a, l, row)), at(a, a->out));
		if (run(a, "score", rc))
			return -1;
	}
	return 0;
}

static int score(struct serve_attention *a, uint32_t i)
{
	const struct serve_span *s = &a->span[i];
	const uint32_t end = s->position + s->count, block = a->block_tokens;

	for (uint32_t from = s->position, to; from < end; from = to) {
		to = block ? (from / block + 1) * block : end;
		to = to < end ? to : end;
		if (score_piece(a, s, from, to))
			return -1;
		if (block && to % block == 0 && a->block_scored(a->context, i, to))
			return -1;
	}
	return 0;
}

int serve_attention_step(struct serve_attention *a)
{
	int rc = end_steps(a);

	for (uint32_t i = a->decoding; i < a->spans && !rc; i++)
		rc = score(a, i);
	return rc;
}
