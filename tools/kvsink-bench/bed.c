// SPDX-License-Identifier: MIT
/* A stream of one layer with random rows, and timed jobs on it. */
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "micro.h"

#define CHUNK 1024 /* tokens of an APPEND */
#define STAGE 256  /* queries of an ATTEND or SCORE at most */

static int bed_fail(const struct micro_bed *bed, const char *what, int error)
{
	const char *line = bed->device ? kvs_device_error(bed->device) : kvs_open_error();

	return fail("micro: %s: %s", what, *line ? line : strerror(-error));
}

/* Sums of four uniform numbers: near enough to normal, the same on every machine. */
static float random_number(uint64_t *state)
{
	float sum = -2.0f;

	for (unsigned i = 0; i < 4; i++) {
		*state = *state * 6364136223846793005u + 1442695040888963407u;
		sum += (float)(*state >> 40) * 0x1p-24f;
	}
	return sum * 1.7320508f; /* variance 1 */
}

static void fill(float *to, uint64_t n, uint64_t *state)
{
	for (uint64_t i = 0; i < n; i++)
		to[i] = random_number(state);
}

static struct kvs_place at(const struct micro_bed *bed, const void *memory)
{
	return (struct kvs_place){
		.buffer = bed->io,
		.offset = (uint64_t)((const char *)memory - (const char *)kvs_buffer_data(bed->io)),
	};
}

static int run(struct micro_bed *bed, const char *what, int rc)
{
	if (!rc)
		rc = kvs_batch_run(bed->batch, NULL);
	kvs_batch_reset(bed->batch);
	return rc ? bed_fail(bed, what, rc) : 0;
}

/* ---- making it ---- */

static int open_stream(struct micro_bed *bed, const struct micro_options *o, const struct micro_shape *shape)
{
	struct kvs_geometry geometry = {
		.size = sizeof(geometry),
		.layers = 1,
		.q_heads = bed->q_heads,
		.kv_heads = bed->kv_heads,
		.d_k = bed->d,
		.d_v = bed->d,
		.format = KVSINK_FORMAT_FP16,
		.max_tokens = bed->tokens,
		.seal_k = shape->seal,
		.seal_v = shape->seal,
	};
	char name[128];
	int rc;

	snprintf(name, sizeof(name), "sim:threads=%u,hbm=%lluM", o->threads,
		 (unsigned long long)(o->bytes >> 20) * 2 + 64);
	rc = kvs_open(name, &bed->device);
	if (rc)
		return bed_fail(bed, name, rc);
	rc = kvs_stream_create(bed->device, &geometry, &bed->stream);
	return rc ? bed_fail(bed, "STREAM_CREATE", rc) : 0;
}

static int open_memory(struct micro_bed *bed, bool keep)
{
	uint64_t row = (uint64_t)bed->kv_heads * bed->d, q = (uint64_t)STAGE * bed->q_heads * bed->d;
	int rc = kvs_buffer_create(bed->device, (2 * q + 2 * CHUNK * row) * sizeof(float), &bed->io);

	rc = rc ? rc : kvs_batch_create(bed->device, &bed->batch);
	if (rc)
		return bed_fail(bed, "memory", rc);
	bed->q = kvs_buffer_data(bed->io);
	bed->out = bed->q + q;
	if (!keep)
		return 0;
	bed->k = malloc(bed->tokens * row * sizeof(float));
	bed->v = malloc(bed->tokens * row * sizeof(float));
	return bed->k && bed->v ? 0 : bed_fail(bed, "rows", -ENOMEM);
}

static int append(struct micro_bed *bed, uint32_t first, uint32_t count, uint64_t *state)
{
	uint64_t row = (uint64_t)bed->kv_heads * bed->d;
	float *k = bed->out + (uint64_t)STAGE * bed->q_heads * bed->d, *v = k + CHUNK * row;

	fill(k, count * row, state);
	fill(v, count * row, state);
	if (bed->k) {
		memcpy(bed->k + first * row, k, count * row * sizeof(float));
		memcpy(bed->v + first * row, v, count * row * sizeof(float));
	}
	if (run(bed, "APPEND",
		kvs_batch_append(bed->batch, bed->stream, 0, first, count, at(bed, k), at(bed, v))))
		return -1;
	return run(bed, "STEP_END", kvs_batch_step_end(bed->batch, bed->stream, count));
}

static int fill_rows(struct micro_bed *bed, const struct micro_shape *shape)
{
	uint64_t state = 1;

	fill(bed->q, (uint64_t)STAGE * bed->q_heads * bed->d, &state);
	for (uint32_t first = 0; first < bed->tokens; first += CHUNK)
		if (append(bed, first, CHUNK, &state))
			return -1;
	if (!shape->seal)
		return 0;
	return run(bed, "SEAL", kvs_batch_seal(bed->batch, bed->stream, bed->tokens, NULL, 0));
}

int bed_open(struct micro_bed *bed, const struct micro_options *o, const struct micro_shape *shape)
{
	uint64_t token = (uint64_t)MICRO_KV_HEADS * 2 * shape->d * 2; /* bytes in FP16 */

	*bed = (struct micro_bed){
		.tokens = shape->tokens ? shape->tokens : (uint32_t)(o->bytes / token / CHUNK * CHUNK),
		.kv_heads = MICRO_KV_HEADS,
		.q_heads = MICRO_KV_HEADS * shape->group,
		.d = shape->d,
		.queries = shape->queries,
	};
	if (!open_stream(bed, o, shape) && !open_memory(bed, shape->keep) && !fill_rows(bed, shape))
		return 0;
	bed_close(bed);
	return -1;
}

void bed_close(struct micro_bed *bed)
{
	if (bed->batch)
		kvs_batch_free(bed->batch);
	kvs_buffer_free(bed->io);
	kvs_stream_free(bed->stream);
	if (bed->device)
		kvs_close(bed->device);
	free(bed->k);
	free(bed->v);
	*bed = (struct micro_bed){0};
}

int bed_sinks(struct micro_bed *bed, uint32_t stride)
{
	int rc = 0;

	for (uint32_t token = 0; token < bed->tokens && !rc; token += stride) {
		struct drm_kvsink_place place = {
			.token = token,
			.layer_end = 1,
			.head_mask = (1ull << bed->kv_heads) - 1,
		};

		rc = kvs_promote(bed->device, kvs_stream_id(bed->stream), &place, 1, NULL, NULL);
	}
	if (rc)
		return bed_fail(bed, "PROMOTE", rc);
	return run(bed, "BARRIER", kvs_batch_barrier(bed->batch, bed->stream));
}

/* ---- timed jobs ---- */

static uint64_t timed(struct micro_bed *bed, const char *what, int rc)
{
	uint64_t begin = now_ns();

	return run(bed, what, rc) ? 0 : now_ns() - begin;
}

uint64_t bed_attend(struct micro_bed *bed, uint32_t mode, uint32_t first)
{
	struct drm_kvsink_attend_item item = {
		.stream = kvs_stream_id(bed->stream),
		.first = first,
		.count = bed->queries,
	};
	struct kvs_place none = {.buffer = NULL};

	return timed(
		bed, "ATTEND",
		kvs_batch_attend(bed->batch, &item, 1, mode, at(bed, bed->q), at(bed, bed->out), none, none));
}

uint64_t bed_score(struct micro_bed *bed, uint32_t first)
{
	return timed(bed, "SCORE",
		     kvs_batch_score(bed->batch, bed->stream, 0, first, bed->queries, at(bed, bed->q),
				     at(bed, bed->out)));
}
