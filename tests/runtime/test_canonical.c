// SPDX-License-Identifier: MIT
/*
 * Canonical mode gives the same bits whoever places: every policy, with evictions in mid-decode and tails,
 * over rows as they were appended and sealed in every mix of formats, with a SEAL between decode steps.
 */
#include <stdlib.h>
#include <string.h>

#include "kvsink_policy.h"
#include "rig.h"
#include "tap.h"

#define LAYERS 4u
#define Q_HEADS 6u
#define KV_HEADS 2u
#define D 64u
#define PROMPT 200u
#define CHUNK 50u
#define STEPS 60u
#define SEALED 128u   /* of the prompt, before decode begins */
#define SEAL_STEP 24u /* then the next page, too */
#define SRAM_BYTES 60000u
#define MASS (RIG_OUT + (1u << 20))

struct mix {
	uint32_t format, seal_k, seal_v, window; /* window: of every other layer */
	const char *name;
};

static const struct mix mixes[] = {
	{KVSINK_FORMAT_F32, 0, 0, 0, "F32"},
	{KVSINK_FORMAT_FP16, KVSINK_FORMAT_INT8, KVSINK_FORMAT_INT8, 90, "INT8, a window"},
	{KVSINK_FORMAT_FP16, KVSINK_FORMAT_INT8_CHANNEL, KVSINK_FORMAT_INT4, 0, "INT8 per channel, INT4"},
	{KVSINK_FORMAT_FP16, KVSINK_FORMAT_INT4_CHANNEL, 0, 0, "INT4 per channel, FP16"},
};

typedef float outputs[STEPS][LAYERS][Q_HEADS * D];
static outputs reference, got;

static void run(struct rig *rig, const char *what)
{
	rig_must(rig, what, rig_run(rig, NULL));
}

static struct kvs_stream *create(struct rig *rig, const struct mix *mix)
{
	struct drm_kvsink_layer layer[LAYERS] = {{0}};
	struct kvs_geometry geometry = {
		.size = sizeof(geometry),
		.layers = LAYERS,
		.q_heads = Q_HEADS,
		.kv_heads = KV_HEADS,
		.d_k = D,
		.d_v = D,
		.format = mix->format,
		.page_tokens = 32,
		.max_tokens = 512,
		.score_groups = 2,
		.group_end = {LAYERS / 2, LAYERS},
		.seal_k = mix->seal_k,
		.seal_v = mix->seal_v,
		.layer = layer,
	};
	struct kvs_stream *stream;
	float scale = 0.4f;

	for (uint32_t l = 0; l < LAYERS; l++) {
		memcpy(&layer[l].scale, &scale, sizeof(scale));
		layer[l].window = l % 2 ? mix->window : 0;
	}
	rig_must(rig, "stream", kvs_stream_create(rig->device, &geometry, &stream));
	return stream;
}

/* `count` tokens to a layer; rows and, behind them, queries are those of the seed alone. */
static uint64_t append(struct rig *rig, struct kvs_stream *stream, uint32_t layer, uint32_t first,
		       uint32_t count)
{
	uint32_t row = KV_HEADS * D;

	rig_fill(rig, 0, count * (2 * row + Q_HEADS * D), 1);
	rig_must(rig, "append",
		 kvs_batch_append(rig->batch, stream, layer, first, count, rig_at(rig, 0),
				  rig_at(rig, 4ull * count * row)));
	return 8ull * count * row;
}

static void prefill(struct rig *rig, struct kvs_stream *stream)
{
	for (uint32_t first = 0; first < PROMPT; first += CHUNK) {
		for (uint32_t l = 0; l < LAYERS; l++) {
			append(rig, stream, l, first, CHUNK);
			run(rig, "append");
		}
		rig_must(rig, "step", kvs_batch_step_end(rig->batch, stream, CHUNK));
		for (uint32_t l = 0; l < LAYERS; l++) {
			rig_fill(rig, 0, CHUNK * Q_HEADS * D, 1);
			rig_must(rig, "score",
				 kvs_batch_score(rig->batch, stream, l, first, CHUNK, rig_at(rig, 0),
						 rig_at(rig, RIG_OUT)));
			run(rig, "score");
		}
	}
}

/* Whole pages, with one token of the first that stays as it is. */
static void seal(struct rig *rig, struct kvs_stream *stream, const struct mix *mix, uint32_t tokens)
{
	struct drm_kvsink_place keep = {.token = tokens - 25, .layer_end = LAYERS, .head_mask = 3};

	if (!mix->seal_k && !mix->seal_v)
		return;
	rig_must(rig, "seal", kvs_batch_seal(rig->batch, stream, tokens, &keep, 1));
	run(rig, "seal");
}

static struct kvs_policy *open_policy(struct rig *rig, uint64_t id, unsigned index)
{
	static const struct drm_kvsink_place pins[] = {{3, 0, 3, 3}, {50, 1, 2, 1}};
	const char *name = kvs_policy_name(index);
	struct kvs_policy_options options = {.size = sizeof(options),
					     .sram_bytes = SRAM_BYTES,
					     .tail_tokens = index % 2 ? KVS_TAIL_HALF : KVS_TAIL_OWN,
					     .seed = index};
	struct kvs_policy *policy;

	if (!strcmp(name, "hindsight")) {
		options.pins = pins;
		options.pin_count = 2;
	}
	if (!strcmp(name, "uniform"))
		options.tail_tokens = 0;
	rig_must(rig, name, kvs_policy_open(rig->device, id, name, &options, &policy));
	rig_must(rig, name, kvs_policy_prefilled(policy));
	return policy;
}

static void decode(struct rig *rig, struct kvs_stream *stream, struct kvs_policy *policy,
		   const struct mix *mix, outputs out)
{
	for (uint32_t step = 0; step < STEPS; step++) {
		uint32_t token = PROMPT + step;

		for (uint32_t l = 0; l < LAYERS; l++) {
			struct drm_kvsink_attend_item item = {kvs_stream_id(stream), l, token, 1, 0};
			uint64_t q = append(rig, stream, l, token, 1);

			rig_must(rig, "attend",
				 kvs_batch_attend(rig->batch, &item, 1, DRM_KVSINK_ATTEND_CANONICAL,
						  rig_at(rig, q), rig_at(rig, RIG_OUT), (struct kvs_place){0},
						  rig_at(rig, MASS)));
			run(rig, "attend");
			memcpy(out[step][l], rig->memory + RIG_OUT, sizeof(out[step][l]));
			rig_must(rig, "layer",
				 kvs_policy_layer(policy, l, token + 1, (float *)(rig->memory + MASS)));
		}
		rig_must(rig, "step", kvs_batch_step_end(rig->batch, stream, 1));
		rig_must(rig, "time", kvs_batch_advance(rig->batch, 3000));
		run(rig, "step");
		if (step == SEAL_STEP)
			seal(rig, stream, mix, SEALED + 64);
		rig_must(rig, "policy", kvs_policy_step(policy));
	}
}

struct use {
	uint64_t evictions, read;
};

static struct use decode_with(const struct mix *mix, unsigned index, outputs out)
{
	uint64_t counters[KVSINK_COUNTER_COUNT];
	struct kvs_policy *policy;
	struct kvs_stream *stream;
	struct rig rig;

	rig_open(&rig, "sim:threads=2");
	stream = create(&rig, mix);
	prefill(&rig, stream);
	seal(&rig, stream, mix, SEALED);
	policy = open_policy(&rig, kvs_stream_id(stream), index);
	rig_must(&rig, "barrier", kvs_batch_barrier(rig.batch, stream));
	run(&rig, "barrier");
	decode(&rig, stream, policy, mix, out);
	rig_must(&rig, "counters", kvs_counters(rig.device, kvs_stream_id(stream), counters));
	kvs_policy_close(policy);
	kvs_stream_free(stream);
	rig_close(&rig);
	return (struct use){counters[KVSINK_COUNTER_EVICTIONS], counters[KVSINK_COUNTER_KV_SRAM_READ]};
}

/* uniform, which has nothing in SRAM, comes first. */
static void every_policy(const struct mix *mix)
{
	uint64_t evictions = 0;

	decode_with(mix, 0, reference);
	for (unsigned i = 1; i < kvs_policy_count(); i++) {
		struct use use = decode_with(mix, i, got);

		evictions += use.evictions;
		tap_ok(!memcmp(reference, got, sizeof(got)) && use.read,
		       "%s, %s: the bits of uniform; %llu KB from SRAM, %llu evictions", mix->name,
		       kvs_policy_name(i), (unsigned long long)use.read / 1000,
		       (unsigned long long)use.evictions);
	}
	tap_ok(evictions > 100, "%s: entries did leave while decode went on", mix->name);
}

int main(void)
{
	tap_ok(!strcmp(kvs_policy_name(0), "uniform"), "the first policy is uniform");
	for (unsigned m = 0; m < sizeof(mixes) / sizeof(mixes[0]); m++)
		every_policy(&mixes[m]);
	return tap_done();
}
