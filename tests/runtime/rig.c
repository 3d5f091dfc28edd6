// SPDX-License-Identifier: MIT
/*
 * See rig.h. Rounding to binary16 is the compiler's, not the chip's.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rig.h"

void rig_must(struct rig *rig, const char *what, int err)
{
	if (err >= 0)
		return;
	printf("Bail out! %s: %d: %s\n", what, err,
	       rig->device ? kvs_device_error(rig->device) : kvs_open_error());
	exit(1);
}

void rig_open(struct rig *rig, const char *name)
{
	memset(rig, 0, sizeof(*rig));
	rig->random = 1;
	rig_must(rig, "open", kvs_open(name, &rig->device));
	rig_must(rig, "buffer", kvs_buffer_create(rig->device, RIG_BYTES, &rig->buffer));
	rig_must(rig, "batch", kvs_batch_create(rig->device, &rig->batch));
	rig->memory = kvs_buffer_data(rig->buffer);
}

void rig_close(struct rig *rig)
{
	kvs_batch_free(rig->batch);
	kvs_buffer_free(rig->buffer);
	kvs_close(rig->device);
}

struct kvs_place rig_at(struct rig *rig, uint64_t offset)
{
	return (struct kvs_place){rig->buffer, offset};
}

uint64_t rig_random(struct rig *rig)
{
	uint64_t x = rig->random;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return rig->random = x;
}

void rig_fill(struct rig *rig, uint64_t offset, uint32_t count, float scale)
{
	float *to = (float *)(rig->memory + offset);

	for (uint32_t i = 0; i < count; i++)
		to[i] = ((float)(rig_random(rig) >> 40) / 8388608.0f - 1.0f) * scale;
}

int rig_run(struct rig *rig, struct drm_kvsink_job_status *status)
{
	int err = kvs_batch_run(rig->batch, status);

	kvs_batch_reset(rig->batch);
	return err;
}

struct kvs_geometry rig_geometry(uint32_t format)
{
	return (struct kvs_geometry){
		.size = sizeof(struct kvs_geometry),
		.layers = 2,
		.q_heads = 4,
		.kv_heads = 2,
		.d_k = 16,
		.d_v = 8,
		.format = format,
		.max_tokens = 128,
	};
}

static uint32_t bits(float value)
{
	uint32_t pattern;

	memcpy(&pattern, &value, sizeof(pattern));
	return pattern;
}

void rig_stream_open(struct rig *rig, const struct kvs_geometry *geometry, struct rig_stream *stream)
{
	memset(stream, 0, sizeof(*stream));
	stream->rig = rig;
	stream->geometry = *geometry;
	rig_must(rig, "stream", kvs_stream_create(rig->device, geometry, &stream->kvs));
	for (uint32_t l = 0; l < geometry->layers; l++) {
		stream->layer[l].scale = bits(1.0f / sqrtf((float)geometry->d_k));
		if (geometry->layer)
			stream->layer[l] = geometry->layer[l];
		stream->k[l] = calloc((size_t)geometry->max_tokens * geometry->kv_heads,
				      geometry->d_k * sizeof(float));
		stream->v[l] = calloc((size_t)geometry->max_tokens * geometry->kv_heads,
				      geometry->d_v * sizeof(float));
	}
}

void rig_stream_close(struct rig_stream *stream)
{
	kvs_stream_free(stream->kvs);
	for (uint32_t l = 0; l < stream->geometry.layers; l++) {
		free(stream->k[l]);
		free(stream->v[l]);
	}
}

static void store(float *to, const void *from, uint32_t count, uint32_t format)
{
	memcpy(to, from, count * sizeof(float));
	for (uint32_t i = 0; format == KVSINK_FORMAT_FP16 && i < count; i++)
		to[i] = (float)(_Float16)to[i];
}

void rig_append(struct rig_stream *stream, uint32_t count)
{
	const struct kvs_geometry *g = &stream->geometry;
	uint32_t k = count * g->kv_heads * g->d_k, v = count * g->kv_heads * g->d_v;
	struct rig *rig = stream->rig;

	for (uint32_t l = 0; l < g->layers; l++) {
		uint64_t offset = 4ull * l * (k + v);

		rig_fill(rig, offset, k + v, 2);
		rig_must(rig, "append",
			 kvs_batch_append(rig->batch, stream->kvs, l, stream->length, count,
					  rig_at(rig, offset), rig_at(rig, offset + 4ull * k)));
		store(stream->k[l] + (size_t)stream->length * g->kv_heads * g->d_k, rig->memory + offset, k,
		      g->format);
		store(stream->v[l] + (size_t)stream->length * g->kv_heads * g->d_v,
		      rig->memory + offset + 4ull * k, v, g->format);
	}
	rig_must(rig, "step", kvs_batch_step_end(rig->batch, stream->kvs, count));
	rig_must(rig, "append", rig_run(rig, NULL));
	stream->length += count;
}

static double logit(const struct rig_stream *stream, uint32_t layer, uint32_t token, uint32_t head,
		    const float *q)
{
	const struct kvs_geometry *g = &stream->geometry;
	uint32_t kv_head = head / (g->q_heads / g->kv_heads);
	const float *k = stream->k[layer] + ((size_t)token * g->kv_heads + kv_head) * g->d_k;
	float scale, softcap;
	double sum = 0;

	memcpy(&scale, &stream->layer[layer].scale, sizeof(scale));
	memcpy(&softcap, &stream->layer[layer].softcap, sizeof(softcap));
	for (uint32_t i = 0; i < g->d_k; i++)
		sum += (double)q[i] * k[i];
	sum *= scale;
	return softcap ? softcap * tanh(sum / softcap) : sum;
}

static uint32_t first_visible(const struct rig_stream *stream, uint32_t layer, uint32_t token)
{
	uint32_t window = stream->layer[layer].window;

	return window && token + 1 > window ? token + 1 - window : 0;
}

/* Returns the log of the sum of exponentials. */
static double softmax(const struct rig_stream *stream, uint32_t layer, uint32_t token, uint32_t head,
		      const float *q, double *weights)
{
	uint32_t first = first_visible(stream, layer, token);
	double max = -INFINITY, sum = 0;

	memset(weights, 0, (token + 1) * sizeof(*weights));
	for (uint32_t t = first; t <= token; t++) {
		weights[t] = logit(stream, layer, t, head, q);
		max = fmax(max, weights[t]);
	}
	for (uint32_t t = first; t <= token; t++) {
		weights[t] = exp(weights[t] - max);
		sum += weights[t];
	}
	for (uint32_t t = first; t <= token; t++)
		weights[t] /= sum;
	return max + log(sum);
}

void rig_weights(const struct rig_stream *stream, uint32_t layer, uint32_t token, uint32_t head,
		 const float *q, double *weights)
{
	softmax(stream, layer, token, head, q, weights);
}

void rig_attend(const struct rig_stream *stream, uint32_t layer, uint32_t token, uint32_t head,
		const float *q, const bool *resident, struct rig_answer *answer)
{
	const struct kvs_geometry *g = &stream->geometry;
	uint32_t kv_head = head / (g->q_heads / g->kv_heads);
	double *weights = calloc(token + 1, sizeof(*weights));

	memset(answer, 0, sizeof(*answer));
	answer->lse = softmax(stream, layer, token, head, q, weights);
	for (uint32_t t = 0; t <= token; t++) {
		const float *v = stream->v[layer] + ((size_t)t * g->kv_heads + kv_head) * g->d_v;
		double norm = 0;

		for (uint32_t i = 0; i < g->d_v; i++) {
			answer->out[i] += weights[t] * v[i];
			norm += (double)v[i] * v[i];
		}
		answer->norm += weights[t] * sqrt(norm);
		if (resident && resident[t])
			answer->mass += weights[t];
	}
	free(weights);
}
