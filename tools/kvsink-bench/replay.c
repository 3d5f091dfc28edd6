// SPDX-License-Identifier: MIT
/*
 * One replay: a stream is made, the policy is opened, the prompt is appended and scored in chunks, then each
 * token is appended and attends layer by layer, as a decode does it. The policy is called where
 * kvsink_policy.h says.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "fail.h"

#define CHUNK 256     /* tokens of one append or score */
#define JOB_LAYERS 20 /* of a decode step in one job: three operations each */
#define PROFILED 256  /* newest tokens of the prompt that attend once more for the profile */
#define ALIGN 64u

struct replay {
	const struct bench_plan *plan;
	const struct geometry *g;
	struct kvs_device *device;
	struct kvs_stream *stream;
	struct kvs_batch *batch;
	struct kvs_buffer *io;
	struct kvs_policy *policy;
	uint32_t groups;	     /* score groups */
	bool mass;		     /* ATTEND gives the attention of each token */
	uint64_t q, k, v, out, sums; /* offsets into io; of layer l behind those of the layers before it */
	float *prompt_sums;	     /* [layers][kv_heads][prompt] */
	double *observed;	     /* bench_observe(): [prompt + steps] */
};

static int replay_fail(const struct replay *r, const char *what, int error)
{
	const char *line = kvs_device_error(r->device);

	return fail("%s: %s: %s", kvs_device_name(r->device), what, *line ? line : strerror(-error));
}

static struct kvs_place at(const struct replay *r, uint64_t offset)
{
	return (struct kvs_place){.buffer = r->io, .offset = offset};
}

static uint64_t region(uint64_t *next, uint64_t floats)
{
	uint64_t offset = *next;

	*next += (floats * sizeof(float) + ALIGN - 1) / ALIGN * ALIGN;
	return offset;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint32_t tokens_of(const struct bench_plan *plan)
{
	return plan->prompt + plan->steps;
}

static int replay_buffers(struct replay *r)
{
	const struct geometry *g = r->g;
	uint64_t rows = larger(CHUNK, g->layers), next = 0;
	int rc;

	r->q = region(&next, rows * geometry_q_row(g));
	r->k = region(&next, rows * geometry_k_row(g));
	r->v = region(&next, rows * geometry_v_row(g));
	r->out = region(&next, rows * geometry_out_row(g));
	r->sums = region(&next, (uint64_t)g->layers * g->kv_heads * tokens_of(r->plan));
	rc = kvs_buffer_create(r->device, next, &r->io);
	if (rc)
		return replay_fail(r, "cannot create a buffer", rc);
	rc = kvs_batch_create(r->device, &r->batch);
	if (rc)
		return replay_fail(r, "cannot create a batch", rc);
	r->prompt_sums = calloc((uint64_t)g->layers * g->kv_heads * r->plan->prompt, sizeof(float));
	return r->prompt_sums ? 0 : fail("out of memory for the attention of %u tokens", r->plan->prompt);
}

static int replay_open(struct replay *r, struct kvs_device *device, const struct bench_plan *plan)
{
	const struct geometry *g = &plan->state->geometry;
	struct kvs_geometry geometry = {
		.size = sizeof(geometry),
		.layers = g->layers,
		.q_heads = g->q_heads,
		.kv_heads = g->kv_heads,
		.d_k = g->d_k,
		.d_v = g->d_v,
		.format = plan->format,
		.max_tokens = tokens_of(plan),
		.score_groups = g->layers < BENCH_GROUPS ? g->layers : BENCH_GROUPS,
	};
	int rc;

	*r = (struct replay){.plan = plan, .g = g, .device = device, .groups = geometry.score_groups};
	for (uint32_t i = 0; i < geometry.score_groups; i++)
		geometry.group_end[i] = (uint16_t)(((i + 1) * g->layers * 2 + geometry.score_groups) /
						   (2 * geometry.score_groups));
	rc = kvs_stream_create(device, &geometry, &r->stream);
	return rc ? replay_fail(r, "cannot create a stream", rc) : replay_buffers(r);
}

static void replay_close(struct replay *r)
{
	kvs_policy_close(r->policy);
	if (r->batch)
		kvs_batch_free(r->batch);
	if (r->io)
		kvs_buffer_free(r->io);
	if (r->stream)
		kvs_stream_free(r->stream);
	free(r->prompt_sums);
}

/* ---- jobs ---- */

static void put(const struct replay *r, enum hook_tensor which, uint32_t layer, uint32_t token,
		uint32_t count, uint64_t offset, uint64_t row)
{
	memcpy((char *)kvs_buffer_data(r->io) + offset, state_rows(r->plan->state, which, layer, token),
	       count * row * sizeof(float));
}

static int run(struct replay *r, const char *what, int rc)
{
	if (!rc)
		rc = kvs_batch_run(r->batch, NULL);
	kvs_batch_reset(r->batch);
	return rc ? replay_fail(r, what, rc) : 0;
}

/* APPEND of a layer's rows; they lie in slot `slot` of the operands. */
static int add_append(struct replay *r, uint32_t layer, uint32_t first, uint32_t count, uint32_t slot)
{
	uint64_t k = r->k + slot * geometry_k_row(r->g) * sizeof(float);
	uint64_t v = r->v + slot * geometry_v_row(r->g) * sizeof(float);

	put(r, HOOK_K, layer, first, count, k, geometry_k_row(r->g));
	put(r, HOOK_V, layer, first, count, v, geometry_v_row(r->g));
	return kvs_batch_append(r->batch, r->stream, layer, first, count, at(r, k), at(r, v));
}

static int add_attend(struct replay *r, uint32_t layer, uint32_t first, uint32_t count, uint32_t slot)
{
	struct drm_kvsink_attend_item item = {
		.stream = kvs_stream_id(r->stream), .layer = layer, .first = first, .count = count};
	uint64_t q = r->q + slot * geometry_q_row(r->g) * sizeof(float);
	uint64_t out = r->out + slot * geometry_out_row(r->g) * sizeof(float);
	uint64_t sums = r->sums + (uint64_t)slot * r->g->kv_heads * tokens_of(r->plan) * sizeof(float);
	struct kvs_place none = {.buffer = NULL};

	put(r, HOOK_Q, layer, first, count, q, geometry_q_row(r->g));
	return kvs_batch_attend(r->batch, &item, 1, DRM_KVSINK_ATTEND_SPLIT, at(r, q), at(r, out), none,
				r->mass ? at(r, sums) : none);
}

static const float *sums_of(const struct replay *r, uint32_t slot)
{
	return (const float *)((const char *)kvs_buffer_data(r->io) + r->sums) +
	       (uint64_t)slot * r->g->kv_heads * tokens_of(r->plan);
}

static int step_end(struct replay *r, uint32_t count)
{
	return run(r, "STEP_END", kvs_batch_step_end(r->batch, r->stream, count));
}

/* ---- prompt ---- */

/* Attention of the chunk's queries, summed up for policies that want that of the whole prompt. */
static int prompt_attention(struct replay *r, uint32_t layer, uint32_t first, uint32_t count)
{
	uint32_t prompt = r->plan->prompt, tokens = first + count;
	float *to = r->prompt_sums + (uint64_t)layer * r->g->kv_heads * prompt;
	const float *from = sums_of(r, 0);

	if (run(r, "ATTEND of the prompt", add_attend(r, layer, first, count, 0)))
		return -1;
	for (uint32_t h = 0; h < r->g->kv_heads; h++)
		for (uint32_t t = 0; t < tokens; t++)
			to[(uint64_t)h * prompt + t] += from[(uint64_t)h * tokens + t];
	return 0;
}

static int prompt_chunk(struct replay *r, uint32_t first, uint32_t count)
{
	for (uint32_t l = 0; l < r->g->layers; l++)
		if (run(r, "APPEND", add_append(r, l, first, count, 0)))
			return -1;
	if (step_end(r, count))
		return -1;
	for (uint32_t l = 0; l < r->g->layers; l++) {
		put(r, HOOK_Q, l, first, count, r->q, geometry_q_row(r->g));
		if (run(r, "SCORE",
			kvs_batch_score(r->batch, r->stream, l, first, count, at(r, r->q), at(r, r->out))))
			return -1;
		if (r->mass && r->policy && prompt_attention(r, l, first, count))
			return -1;
	}
	return 0;
}

static int replay_prompt(struct replay *r)
{
	uint32_t prompt = r->plan->prompt;
	int rc = 0;

	for (uint32_t first = 0, count; first < prompt && !rc; first += count) {
		count = prompt - first < CHUNK ? prompt - first : CHUNK;
		rc = prompt_chunk(r, first, count);
	}
	return rc;
}

static int set(struct replay *r, enum kvsink_param param, uint64_t value)
{
	int rc = kvs_config_set(r->device, kvs_stream_id(r->stream), KVSINK_GROUP_ALL, param, value);

	return rc ? replay_fail(r, "CONFIG", rc) : 0;
}

/* The heads' share of attention on sinks: CLASSIFY says what they are, then the prompt's end attends once
 * more. */
static int profile_prompt(struct replay *r)
{
	uint32_t prompt = r->plan->prompt, count = prompt < PROFILED ? prompt : PROFILED;
	int rc = run(r, "CLASSIFY",
		     kvs_batch_classify(r->batch, r->stream, (1u << r->groups) - 1, 0, at(r, r->out)));

	if (rc || set(r, KVSINK_PARAM_PLACEMENT, KVSINK_PLACEMENT_OBSERVE))
		return -1;
	for (uint32_t l = 0; l < r->g->layers && !rc; l++)
		rc = run(r, "ATTEND of the profile", add_attend(r, l, prompt - count, count, 0));
	return rc ? rc : set(r, KVSINK_PARAM_PLACEMENT, KVSINK_PLACEMENT_OFF);
}

static int place_prompt(struct replay *r)
{
	int rc = 0;

	for (uint32_t l = 0; r->mass && l < r->g->layers && !rc; l++)
		rc = kvs_policy_layer(r->policy, l, r->plan->prompt,
				      r->prompt_sums + (uint64_t)l * r->g->kv_heads * r->plan->prompt);
	if (!rc)
		rc = kvs_policy_prefilled(r->policy);
	if (rc)
		return replay_fail(r, "initial placement", rc);
	return run(r, "BARRIER", kvs_batch_barrier(r->batch, r->stream));
}

/* ---- decode ---- */

static int decode_layers(struct replay *r, uint32_t token)
{
	uint32_t layers = r->g->layers;
	int rc = 0;

	for (uint32_t l = 0; l < layers; l++) {
		rc = rc ? rc : add_append(r, l, token, 1, l);
		rc = rc ? rc : add_attend(r, l, token, 1, l);
		rc = rc ? rc : kvs_batch_advance(r->batch, r->plan->compute_ns);
		if ((l + 1) % JOB_LAYERS && l + 1 < layers)
			continue;
		if (run(r, "decode", rc))
			return -1;
	}
	return 0;
}

static void observe(struct replay *r, uint32_t tokens)
{
	for (uint32_t l = 0; l < r->g->layers; l++) {
		const float *sums = sums_of(r, l);

		for (uint32_t i = 0; i < r->g->kv_heads * tokens; i++)
			r->observed[i % tokens] += sums[i];
	}
}

static int decode_step(struct replay *r, uint32_t token)
{
	int rc = decode_layers(r, token);

	if (rc)
		return rc;
	if (r->observed)
		observe(r, token + 1);
	for (uint32_t l = 0; r->policy && l < r->g->layers && !rc; l++)
		rc = kvs_policy_layer(r->policy, l, token + 1, r->mass ? sums_of(r, l) : NULL);
	if (rc)
		return replay_fail(r, "placement after a layer", rc);
	if (step_end(r, 1))
		return -1;
	rc = r->policy ? kvs_policy_step(r->policy) : 0;
	return rc ? replay_fail(r, "placement after a step", rc) : 0;
}

static int replay_decode(struct replay *r)
{
	for (uint32_t i = 0; i < r->plan->steps; i++)
		if (decode_step(r, r->plan->prompt + i))
			return -1;
	return 0;
}

/* ---- one run ---- */

/* The tail that the policy really has: 0 also for one that takes none. */
static int tail_of(struct replay *r, int32_t *tail)
{
	uint64_t value;
	int rc = kvs_config_get(r->device, kvs_stream_id(r->stream), 0, KVSINK_PARAM_TAIL_TOKENS, &value);

	if (rc)
		return replay_fail(r, "TAIL_TOKENS", rc);
	*tail = (int32_t)value;
	return 0;
}

static int open_policy(struct replay *r, struct bench_run *b)
{
	bool hindsight = !strcmp(b->policy, "hindsight");
	struct kvs_policy_options options = {
		.size = sizeof(options),
		.sram_bytes = b->sram_bytes,
		.tail_tokens = b->tail,
		.seed = strcmp(b->policy, "random") ? 0 : r->plan->seed,
		.pins = hindsight ? r->plan->pins : NULL,
		.pin_count = hindsight ? r->plan->pin_count : 0,
		.due_ns = r->plan->due_ns,
	};
	int rc = kvs_policy_open(r->device, kvs_stream_id(r->stream), b->policy, &options, &r->policy);

	if (rc)
		return replay_fail(r, b->policy, rc);
	r->mass = kvs_policy_wants_mass(r->policy);
	return tail_of(r, &b->tail);
}

static int counters(struct replay *r, uint64_t *values)
{
	int rc = kvs_counters(r->device, kvs_stream_id(r->stream), values);

	return rc ? replay_fail(r, "counters", rc) : 0;
}

static int final_state(struct replay *r, struct bench_run *b)
{
	struct kvsink_stream_rec *rec;
	void *records = NULL;
	size_t bytes;
	int n = kvs_query(r->device, DRM_KVSINK_QUERY_STREAMS, kvs_stream_id(r->stream), 0, &records, &bytes);

	if (n != 1 || bytes < sizeof(*rec)) {
		free(records);
		return n < 0 ? replay_fail(r, "stream", n) : fail("the stream is listed %d times", n);
	}
	rec = records;
	b->entries = rec->entries;
	b->sram_used = rec->sram_bytes;
	free(records);
	return 0;
}

static void since(uint64_t *values, const uint64_t *before)
{
	for (unsigned i = 0; i < KVSINK_COUNTER_COUNT; i++)
		values[i] -= before[i];
}

static int measure(struct replay *r, struct bench_run *b)
{
	uint64_t prompt[KVSINK_COUNTER_COUNT], start[KVSINK_COUNTER_COUNT];

	if (replay_prompt(r) || (!strcmp(b->policy, "headwise") && profile_prompt(r)) ||
	    counters(r, prompt) || place_prompt(r) || counters(r, start) || replay_decode(r) ||
	    counters(r, b->decode))
		return -1;
	memcpy(b->placed, b->decode, sizeof(b->placed));
	since(b->placed, prompt);
	since(b->decode, start);
	return final_state(r, b);
}

int bench_replay(struct kvs_device *device, const struct bench_plan *plan, struct bench_run *b)
{
	int32_t wanted = b->tail;
	struct replay r;
	int rc = replay_open(&r, device, plan);

	if (!rc)
		rc = open_policy(&r, b);
	if (!rc && wanted && !b->tail)
		rc = 1;
	if (!rc)
		rc = measure(&r, b);
	replay_close(&r);
	return rc;
}

/* Without a policy, local window 0: every query counts. */
int bench_observe(struct kvs_device *device, const struct bench_plan *plan, double *mass)
{
	struct replay r;
	int rc = replay_open(&r, device, plan);

	r.mass = true;
	r.observed = mass;
	if (!rc)
		rc = set(&r, KVSINK_PARAM_LOCAL_WINDOW, 0);
	if (!rc)
		rc = replay_prompt(&r);
	if (!rc)
		rc = replay_decode(&r);
	replay_close(&r);
	return rc;
}
