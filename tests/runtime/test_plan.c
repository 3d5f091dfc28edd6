// SPDX-License-Identifier: MIT
/*
 * Batches as a server makes them: prefill chunks of some streams and decode steps of others in one job, many
 * streams, against each stream alone; and one batch that is run for many steps, against batches made anew.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "place.h"
#include "rig.h"
#include "tap.h"

#define STREAMS 9
#define DECODERS 6 /* the first ones; the others have long prompts */
#define ROUNDS 12
#define LAYERS 2
#define CHUNK 5	      /* of a prompt */
#define REGION 0x8000 /* of each stream, for rows and what belongs to them */
#define K_AT(layer) ((layer) * 0x4000u)
#define V_AT(layer) ((layer) * 0x4000u + 0x1000u)
#define Q_AT(layer) ((layer) * 0x4000u + 0x2000u)
/* Queries of all decoding streams of a layer, one behind another. */
#define RAGGED_AT(layer) (0x100000u + (layer) * 0x10000u)
#define OUT_AT(layer) (RIG_OUT + (layer) * 0x10000u)
#define CHUNK_OUT_AT(stream, layer) (RIG_OUT + 0x100000u + (stream) * 0x8000u + (layer) * 0x4000u)

/* A server: streams on a device of its own. */
struct server {
	struct rig rig;
	struct kvs_stream *stream[STREAMS];
	uint64_t id[STREAMS];
	uint32_t length[STREAMS];
};

static struct kvs_geometry geometry;

/* The same floats for the same stream, layer and token, whoever asks. */
static void put_floats(struct server *s, uint64_t offset, uint32_t count, uint64_t what)
{
	s->rig.random = what * 0x9e3779b97f4a7c15ull + 1;
	rig_fill(&s->rig, offset, count, 2);
}

static uint64_t name_of(uint32_t stream, uint32_t layer, uint32_t token, uint32_t part)
{
	return ((uint64_t)stream * LAYERS + layer) * 4096 + token * 4ull + part;
}

static void put_rows(struct server *s, uint32_t i, uint32_t count)
{
	uint32_t k = geometry.kv_heads * geometry.d_k, v = geometry.kv_heads * geometry.d_v;
	uint32_t q = geometry.q_heads * geometry.d_k;

	for (uint32_t layer = 0; layer < LAYERS; layer++)
		for (uint32_t t = 0; t < count; t++) {
			uint64_t name = name_of(i, layer, s->length[i] + t, 0), at = i * REGION;

			put_floats(s, at + K_AT(layer) + 4ull * k * t, k, name);
			put_floats(s, at + V_AT(layer) + 4ull * v * t, v, name + 1);
			put_floats(s, at + Q_AT(layer) + 4ull * q * t, q, name + 2);
		}
}

static void open_server(struct server *s)
{
	memset(s, 0, sizeof(*s));
	rig_open(&s->rig, "sim:");
	for (uint32_t i = 0; i < STREAMS; i++) {
		rig_must(&s->rig, "stream", kvs_stream_create(s->rig.device, &geometry, &s->stream[i]));
		s->id[i] = kvs_stream_id(s->stream[i]);
		rig_must(&s->rig, "placement",
			 kvs_config_set(s->rig.device, s->id[i], KVSINK_GROUP_ALL, KVSINK_PARAM_PLACEMENT,
					KVSINK_PLACEMENT_OBSERVE));
		rig_must(&s->rig, "window",
			 kvs_config_set(s->rig.device, s->id[i], KVSINK_GROUP_ALL, KVSINK_PARAM_LOCAL_WINDOW,
					2));
	}
}

static void close_server(struct server *s)
{
	for (uint32_t i = 0; i < STREAMS; i++)
		kvs_stream_free(s->stream[i]);
	rig_close(&s->rig);
}

/* ---- operations of one stream ---- */

static void add_appends(struct server *s, struct kvs_batch *batch, uint32_t i, uint32_t count)
{
	for (uint32_t layer = 0; layer < LAYERS; layer++)
		rig_must(&s->rig, "append",
			 kvs_batch_append(batch, s->stream[i], layer, s->length[i], count,
					  rig_at(&s->rig, i * REGION + K_AT(layer)),
					  rig_at(&s->rig, i * REGION + V_AT(layer))));
}

static void add_step(struct server *s, struct kvs_batch *batch, uint32_t i, uint32_t count)
{
	rig_must(&s->rig, "step", kvs_batch_step_end(batch, s->stream[i], count));
}

static void add_scores(struct server *s, struct kvs_batch *batch, uint32_t i, uint32_t count)
{
	for (uint32_t layer = 0; layer < LAYERS; layer++)
		rig_must(&s->rig, "score",
			 kvs_batch_score(batch, s->stream[i], layer, s->length[i], count,
					 rig_at(&s->rig, i * REGION + Q_AT(layer)),
					 rig_at(&s->rig, CHUNK_OUT_AT(i, layer))));
}

/* Decode attention of streams [first, end), the queries of which are gathered. */
static void add_attend(struct server *s, struct kvs_batch *batch, uint32_t layer, uint32_t first,
		       uint32_t end)
{
	struct drm_kvsink_attend_item items[STREAMS];
	uint64_t q = geometry.q_heads * geometry.d_k * sizeof(float);
	uint64_t out = geometry.q_heads * geometry.d_v * sizeof(float);

	for (uint32_t i = first; i < end; i++)
		items[i - first] = (struct drm_kvsink_attend_item){s->id[i], layer, s->length[i], 1, 0};
	rig_must(&s->rig, "attend",
		 kvs_batch_attend(batch, items, end - first, DRM_KVSINK_ATTEND_SPLIT,
				  rig_at(&s->rig, RAGGED_AT(layer) + first * q),
				  rig_at(&s->rig, OUT_AT(layer) + first * out), (struct kvs_place){0},
				  (struct kvs_place){0}));
}

static void gather_queries(struct server *s)
{
	uint64_t q = geometry.q_heads * geometry.d_k * sizeof(float);

	for (uint32_t layer = 0; layer < LAYERS; layer++)
		for (uint32_t i = 0; i < DECODERS; i++)
			memcpy(s->rig.memory + RAGGED_AT(layer) + i * q,
			       s->rig.memory + i * REGION + Q_AT(layer), q);
}

/* Streams differ in length from the start, and have rows in SRAM. */
static void prompt(struct server *s, uint32_t i)
{
	uint32_t tokens = 3 + 4 * (i % 5);

	for (uint32_t done = 0; done < tokens; done++, s->length[i]++) {
		put_rows(s, i, 1);
		add_appends(s, s->rig.batch, i, 1);
		add_step(s, s->rig.batch, i, 1);
		add_scores(s, s->rig.batch, i, 1);
		rig_must(&s->rig, "prompt", rig_run(&s->rig, NULL));
	}
	rig_must(&s->rig, "promote", promote_one(s->rig.device, s->id[i], i % tokens, 0, LAYERS, 3, NULL));
	rig_must(&s->rig, "barrier", kvs_batch_barrier(s->rig.batch, s->stream[i]));
	rig_must(&s->rig, "barrier", rig_run(&s->rig, NULL));
}

/* ---- one round, in two ways ---- */

static uint32_t tokens_of(uint32_t i)
{
	return i < DECODERS ? 1 : CHUNK;
}

static void put_round(struct server *s)
{
	for (uint32_t i = 0; i < STREAMS; i++)
		put_rows(s, i, tokens_of(i));
	gather_queries(s);
}

static void end_round(struct server *s)
{
	for (uint32_t i = 0; i < STREAMS; i++)
		s->length[i] += tokens_of(i);
}

/* All streams in one job. */
static void make_mixed(struct server *s, struct kvs_batch *batch)
{
	for (uint32_t i = 0; i < STREAMS; i++)
		add_appends(s, batch, i, tokens_of(i));
	for (uint32_t layer = 0; layer < LAYERS; layer++)
		add_attend(s, batch, layer, 0, DECODERS);
	for (uint32_t i = 0; i < STREAMS; i++)
		add_step(s, batch, i, tokens_of(i));
	for (uint32_t i = DECODERS; i < STREAMS; i++)
		add_scores(s, batch, i, CHUNK);
}

static void round_mixed(struct server *s)
{
	put_round(s);
	make_mixed(s, s->rig.batch);
	rig_must(&s->rig, "mixed", rig_run(&s->rig, NULL));
	end_round(s);
}

/* Each stream in jobs of its own. */
static void round_alone(struct server *s)
{
	put_round(s);
	for (uint32_t i = 0; i < STREAMS; i++) {
		add_appends(s, s->rig.batch, i, tokens_of(i));
		for (uint32_t layer = 0; i < DECODERS && layer < LAYERS; layer++)
			add_attend(s, s->rig.batch, layer, i, i + 1);
		add_step(s, s->rig.batch, i, tokens_of(i));
		if (i >= DECODERS)
			add_scores(s, s->rig.batch, i, CHUNK);
		rig_must(&s->rig, "alone", rig_run(&s->rig, NULL));
	}
	end_round(s);
}

/* ---- what is compared ---- */

static bool same_outputs(const struct server *a, const struct server *b)
{
	return !memcmp(a->rig.memory + RIG_OUT, b->rig.memory + RIG_OUT, RIG_BYTES - RIG_OUT);
}

static bool same_records(struct server *a, struct server *b, uint32_t type, uint32_t i)
{
	void *x, *y;
	size_t bytes;
	int n = kvs_query(a->rig.device, type, a->id[i], 0, &x, &bytes);
	bool same = n >= 0 && kvs_query(b->rig.device, type, b->id[i], 0, &y, &bytes) == n &&
		    !memcmp(x, y, (size_t)n * bytes);

	if (n >= 0)
		free(x);
	free(y);
	return same;
}

static bool same_streams(struct server *a, struct server *b)
{
	bool same = true;

	for (uint32_t i = 0; i < STREAMS; i++)
		same &= same_records(a, b, DRM_KVSINK_QUERY_STREAMS, i) &&
			same_records(a, b, DRM_KVSINK_QUERY_TAGS, i) &&
			same_records(a, b, DRM_KVSINK_QUERY_SCORES, i);
	return same;
}

static void prompts(struct server *a, struct server *b)
{
	open_server(a);
	open_server(b);
	for (uint32_t i = 0; i < STREAMS; i++) {
		prompt(a, i);
		prompt(b, i);
	}
}

static void ragged(void)
{
	static struct server mixed, alone;
	bool same = true;

	prompts(&mixed, &alone);
	for (uint32_t n = 0; n < ROUNDS; n++) {
		round_mixed(&mixed);
		round_alone(&alone);
		same &= same_outputs(&mixed, &alone);
	}
	tap_ok(same, "prefill chunks and decode steps of %u streams in one job: each output as alone",
	       STREAMS);
	tap_ok(same_streams(&mixed, &alone), "and the streams' lengths, entries, scores and E, too");
	close_server(&mixed);
	close_server(&alone);
}

/* ---- plans ---- */

static void planned(void)
{
	static struct server plan, fresh;
	bool same = true;

	prompts(&plan, &fresh);
	make_mixed(&plan, plan.rig.batch);
	for (uint32_t n = 0; n < ROUNDS; n++) {
		put_round(&plan);
		rig_must(&plan.rig, "planned", kvs_batch_run(plan.rig.batch, NULL));
		rig_must(&plan.rig, "next", kvs_batch_next(plan.rig.batch));
		end_round(&plan);
		round_mixed(&fresh);
		same &= same_outputs(&plan, &fresh);
	}
	tap_ok(same, "one batch, run %u times, gives what batches made anew give", ROUNDS);
	tap_ok(same_streams(&plan, &fresh), "and leaves the streams alike");
	close_server(&plan);
	close_server(&fresh);
}

/* Layers are submitted one by one, as a model computes them: only the last batch has the STEP_ENDs. */
static void by_layer(void)
{
	static struct server plan, fresh;
	struct kvs_batch *batch[LAYERS + 1], *scores;
	bool same = true;

	prompts(&plan, &fresh);
	for (uint32_t b = 0; b <= LAYERS; b++)
		rig_must(&plan.rig, "batch", kvs_batch_create(plan.rig.device, &batch[b]));
	rig_must(&plan.rig, "batch", kvs_batch_create(plan.rig.device, &scores));
	for (uint32_t layer = 0; layer < LAYERS; layer++) {
		for (uint32_t i = 0; i < STREAMS; i++)
			rig_must(&plan.rig, "append",
				 kvs_batch_append(batch[layer], plan.stream[i], layer, plan.length[i],
						  tokens_of(i), rig_at(&plan.rig, i * REGION + K_AT(layer)),
						  rig_at(&plan.rig, i * REGION + V_AT(layer))));
		add_attend(&plan, batch[layer], layer, 0, DECODERS);
	}
	for (uint32_t i = 0; i < STREAMS; i++)
		add_step(&plan, batch[LAYERS], i, tokens_of(i));
	for (uint32_t i = DECODERS; i < STREAMS; i++)
		add_scores(&plan, scores, i, CHUNK);
	for (uint32_t n = 0; n < ROUNDS; n++) {
		put_round(&plan);
		for (uint32_t b = 0; b <= LAYERS + 1; b++) {
			struct kvs_batch *now = b <= LAYERS ? batch[b] : scores;

			rig_must(&plan.rig, "layer", kvs_batch_run(now, NULL));
			rig_must(&plan.rig, "next", kvs_batch_next(now));
		}
		end_round(&plan);
		round_mixed(&fresh);
		same &= same_outputs(&plan, &fresh);
	}
	tap_ok(same && same_streams(&plan, &fresh), "batches of one layer each, without a STEP_END of their "
						    "own, move on by what they append, those of "
						    "SCORE by what they score");
	for (uint32_t b = 0; b <= LAYERS; b++)
		kvs_batch_free(batch[b]);
	kvs_batch_free(scores);
	close_server(&plan);
	close_server(&fresh);
}

static bool said(struct server *s, const char *text)
{
	return strstr(kvs_device_error(s->rig.device), text);
}

static void full(void)
{
	static struct server s;
	const struct drm_kvsink_attend_item item = {.stream = 1, .first = 5, .count = 1};
	struct rig *rig = &s.rig;
	int err = 0, runs = 0;

	open_server(&s);
	put_rows(&s, 0, 1);
	add_appends(&s, rig->batch, 0, 1);
	add_step(&s, rig->batch, 0, 1);
	while (!err && ++runs < 1000) {
		err = kvs_batch_run(rig->batch, NULL);
		rig_must(rig, "next", kvs_batch_next(rig->batch));
	}
	tap_ok(err == -EINVAL && runs == 129 && said(&s, "first = 128"),
	       "a planned stream that is full is found as always: %s", kvs_device_error(rig->device));
	kvs_batch_reset(rig->batch);
	rig_must(rig, "append",
		 kvs_batch_append(rig->batch, s.stream[1], 0, 4, 1, rig_at(rig, 0), rig_at(rig, 0)));
	rig_must(rig, "append",
		 kvs_batch_append(rig->batch, s.stream[0], 0, UINT32_MAX, 1, rig_at(rig, 0), rig_at(rig, 0)));
	tap_ok(kvs_batch_next(rig->batch) == -E2BIG && said(&s, "operation 1 (APPEND)"), "past 32 bits: %s",
	       kvs_device_error(rig->device));
	tap_ok(kvs_batch_run(rig->batch, NULL) == -EINVAL && said(&s, "first = 4294967295"),
	       "nothing has moved then");
	kvs_batch_reset(rig->batch);
	tap_ok(!kvs_batch_next(rig->batch), "an empty batch has nothing to move");
	rig_must(rig, "attend",
		 kvs_batch_attend(rig->batch, &item, 1, 0, rig_at(rig, 0), rig_at(rig, RIG_OUT),
				  (struct kvs_place){0}, (struct kvs_place){0}));
	rig_must(rig, "abort", kvs_batch_step_abort(rig->batch, s.stream[0]));
	rig_must(rig, "next", kvs_batch_next(rig->batch));
	tap_ok(!kvs_batch_run(rig->batch, NULL), "a batch that takes in nothing stays where it is");
	close_server(&s);
}

/* The size of `mass` follows the position: its parts lie elsewhere in each step. */
static void mass(void)
{
	static struct server s;
	struct rig *rig = &s.rig;
	struct drm_kvsink_attend_item items[2];
	uint64_t at = RIG_STATS;
	bool good = true;

	open_server(&s);
	for (uint32_t i = 0; i < 2; i++)
		prompt(&s, i);
	for (uint32_t i = 0; i < 2; i++) {
		items[i] = (struct drm_kvsink_attend_item){s.id[i], 0, s.length[i], 1, 0};
		put_rows(&s, i, 1);
		add_appends(&s, rig->batch, i, 1);
	}
	rig_must(rig, "attend",
		 kvs_batch_attend(rig->batch, items, 2, 0, rig_at(rig, RAGGED_AT(0)), rig_at(rig, RIG_OUT),
				  (struct kvs_place){0}, rig_at(rig, at)));
	for (uint32_t i = 0; i < 2; i++)
		add_step(&s, rig->batch, i, 1);
	for (uint32_t n = 0; n < 4; n++) {
		uint32_t floats = geometry.kv_heads * (s.length[0] + s.length[1] + 2 * n + 2);
		uint32_t *end = (uint32_t *)(rig->memory + at) + floats;

		memset(rig->memory + at, 0xff, 4096);
		rig_must(rig, "run", kvs_batch_run(rig->batch, NULL));
		rig_must(rig, "next", kvs_batch_next(rig->batch));
		good &= end[-1] != UINT32_MAX && end[0] == UINT32_MAX;
	}
	tap_ok(good, "a planned ATTEND writes as much mass as each step has tokens, item behind item");
	close_server(&s);
}

int main(void)
{
	geometry = rig_geometry(KVSINK_FORMAT_FP16);
	ragged();
	planned();
	by_layer();
	full();
	mass();
	return tap_done();
}
