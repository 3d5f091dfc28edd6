// SPDX-License-Identifier: MIT
/*
 * What each policy keeps in SRAM, step by step, on a model whose attention is made by hand (model.h):
 * expected tokens are derived from the policy's definition and the heats, never from what the library did
 * before.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "place.h"
#include "policy/policy.h"
#include "tap.h"

#define DEVICE "sim:hbm=16M,sram=64K"
#define PROMPT 60
#define HOT 5.0f /* heat: 148 times the weight of a cold token */

extern const struct kvs_policy_ops kvs_policy_stride; /* examples/policy-stride.c */

/* Options with room for `tokens` whole ones. */
static struct kvs_policy_options options_for(uint32_t tokens, int32_t tail)
{
	return (struct kvs_policy_options){.size = sizeof(struct kvs_policy_options),
					   .sram_bytes = tokens * MODEL_TOKEN_BYTES,
					   .tail_tokens = tail};
}

static void start(struct model *model, const char *name, const struct kvs_policy_options *options)
{
	model_open(model, DEVICE);
	model_policy(model, name, options);
	model_prefill(model, PROMPT);
}

/* Are exactly these tokens resident in the layer? */
static bool layer_holds(struct model *model, uint32_t layer, const uint32_t *tokens, uint32_t count)
{
	bool resident[MODEL_TOKENS], all = model_residents(model, layer, resident) == count;

	for (uint32_t i = 0; i < count; i++)
		all &= resident[tokens[i]];
	return all;
}

static void heat(struct model *model, unsigned topic, uint32_t layer, uint32_t token, float value)
{
	model->heat[topic][layer][token] = value;
}

/* ---- pins ---- */

static void test_uniform(void)
{
	struct model model;

	start(&model, "uniform", NULL);
	model_step(&model);
	tap_ok(model_holds(&model, 0, 0) && !model_tail(&model) &&
		       !model_counter(&model, KVSINK_COUNTER_MASS_SRAM),
	       "uniform: nothing is resident");
	model_close(&model);
}

static void test_positional(void)
{
	struct kvs_policy_options options = options_for(5, 0);
	struct model model;

	start(&model, "positional", &options);
	tap_ok(model_holds(&model, 0, 5), "positional: the first five tokens fit and are pinned");
	for (int i = 0; i < 3; i++)
		model_step(&model);
	tap_ok(model_holds(&model, 0, 5) && model_counter(&model, KVSINK_COUNTER_PROMOTIONS) == 5,
	       "positional: decode changes nothing");
	options.tail_tokens = 2;
	model_policy(&model, "positional", &options);
	rig_must(&model.rig, "prefilled", kvs_policy_prefilled(model.policy));
	model_step(&model);
	model_step(&model);
	tap_ok(model_holds(&model, 0, 3) && model_tail(&model) == 2,
	       "positional: a tail of two tokens leaves room for three");
	model_close(&model);
}

static void test_recent(void)
{
	struct kvs_policy_options options = options_for(5, KVS_TAIL_OWN);
	struct model model;

	start(&model, "recent", &options);
	model_step(&model);
	tap_ok(model_tail(&model) == 5 && model_holds(&model, 0, 0),
	       "recent: its tail takes all of the SRAM");
	options.tail_tokens = 0;
	model_close(&model);
	start(&model, "recent", &options);
	tap_ok(model_holds(&model, PROMPT - 5, PROMPT),
	       "recent: without a tail the newest of the prompt are pinned");
	model_step(&model);
	tap_ok(model_holds(&model, PROMPT - 5, PROMPT), "recent: and stay");
	model_close(&model);
}

/* Draws with a seed; returns how many, and which. */
static uint32_t drawn(uint64_t seed, bool *resident)
{
	struct kvs_policy_options options = options_for(5, 0);
	struct model model;
	uint32_t count;

	options.seed = seed;
	start(&model, "random", &options);
	count = model_residents(&model, 3, resident);
	model_close(&model);
	return count;
}

static void test_random(void)
{
	bool a[MODEL_TOKENS], b[MODEL_TOKENS], c[MODEL_TOKENS];

	tap_ok(drawn(1, a) == 5 && drawn(1, b) == 5 && drawn(2, c) == 5, "random: five tokens fit");
	tap_ok(!memcmp(a, b, sizeof(a)), "random: the same seed draws the same tokens");
	tap_ok(memcmp(a, c, sizeof(a)), "random: another seed draws others");
}

static void test_hindsight(void)
{
	const struct drm_kvsink_place pins[] = {{5, 0, 4, 3}, {PROMPT + 1, 1, 2, 1}, {7, 2, 4, 2}};
	const uint32_t first[] = {5}, later[] = {5, PROMPT + 1}, half[] = {5, 7};
	struct kvs_policy_options options = options_for(8, 0);
	struct model model;

	options.pins = pins;
	options.pin_count = 3;
	start(&model, "hindsight", &options);
	tap_ok(layer_holds(&model, 0, first, 1) && layer_holds(&model, 1, first, 1) &&
		       layer_holds(&model, 2, half, 2) && layer_holds(&model, 3, half, 2),
	       "hindsight: pins whose tokens exist are resident after the prompt");
	model_step(&model);
	tap_ok(layer_holds(&model, 1, first, 1), "hindsight: a token of the future is not there yet");
	model_step(&model);
	tap_ok(layer_holds(&model, 1, later, 2) && layer_holds(&model, 0, first, 1),
	       "hindsight: it is pinned once it exists, in its layers only");
	model_close(&model);
}

/* ---- caches ---- */

static void test_lru(void)
{
	struct kvs_policy_options options = options_for(4, 0);
	struct model model;
	bool moves = true;

	start(&model, "lru", &options);
	tap_ok(model_holds(&model, PROMPT - 4, PROMPT), "lru: a scan of the prompt leaves its newest rows");
	for (uint32_t i = 1; i <= 3; i++) {
		model_step(&model);
		moves &= model_holds(&model, PROMPT + i - 4, PROMPT + i);
	}
	tap_ok(moves, "lru: every step the newest row enters and the least recently read one leaves");
	model_close(&model);
	options.tail_tokens = KVS_TAIL_HALF;
	start(&model, "lru", &options);
	model_step(&model);
	tap_ok(model_tail(&model) == 2 && model_holds(&model, PROMPT - 2, PROMPT),
	       "lru: with a tail it holds what the tail will not hold in the next step");
	model_close(&model);
}

static void test_lfu(void)
{
	struct kvs_policy_options options = options_for(4, 0);
	struct model model;

	start(&model, "lfu", &options);
	for (int i = 0; i < 3; i++)
		model_step(&model);
	tap_ok(model_holds(&model, 0, 4) && model_counter(&model, KVSINK_COUNTER_EVICTIONS) == 0,
	       "lfu: the oldest rows are read most often and stay");
	model_close(&model);
}

/* Somebody else may evict: what is resident is asked of the device. */
static void test_repair(void)
{
	struct kvs_policy_options options = options_for(4, 0);
	struct model model;

	start(&model, "lfu", &options);
	rig_must(&model.rig, "evict",
		 evict_one(model.rig.device, model.id, KVSINK_TOKEN_ALL, 0, MODEL_LAYERS));
	model_step(&model);
	tap_ok(model_holds(&model, 0, 4), "lfu: entries that somebody removed come back");
	model_close(&model);
}

static void test_streamingllm(void)
{
	struct kvs_policy_options options = options_for(10, KVS_TAIL_OWN);
	struct model model;

	start(&model, "streamingllm", &options);
	model_step(&model);
	tap_ok(model_holds(&model, 0, 4) && model_tail(&model) == 6,
	       "streamingllm: the first four, and a tail of all that is left");
	model_close(&model);
	options.tail_tokens = 0;
	start(&model, "streamingllm", &options);
	model_step(&model);
	tap_ok(model_holds(&model, 0, 4) && !model_tail(&model),
	       "streamingllm: without a tail only the first four");
	model_close(&model);
}

/* ---- h2o ---- */

/* Topic 0: each group has its four tokens. Topic 1: each layer has. */
static void heat_h2o(struct model *model)
{
	for (uint32_t l = 0; l < MODEL_LAYERS; l++)
		for (uint32_t i = 0; i < 4; i++) {
			heat(model, 0, l, 10 * i + l / 2, HOT);
			heat(model, 1, l, 10 * i + 4 + l, HOT);
		}
}

static bool h2o_holds(struct model *model, uint32_t offset, uint32_t divisor)
{
	bool all = true;

	for (uint32_t l = 0; l < MODEL_LAYERS; l++) {
		uint32_t tokens[4];

		for (uint32_t i = 0; i < 4; i++)
			tokens[i] = 10 * i + offset + l / divisor;
		all &= layer_holds(model, l, tokens, 4);
	}
	return all;
}

static void test_h2o(void)
{
	struct kvs_policy_options options = options_for(8, KVS_TAIL_OWN);
	struct model model;

	model_open(&model, DEVICE);
	heat_h2o(&model);
	model_policy(&model, "h2o", &options);
	model_prefill(&model, PROMPT);
	tap_ok(h2o_holds(&model, 0, 2),
	       "h2o: half of the SRAM holds the rows with most attention in the prompt");
	model_step(&model);
	tap_ok(model_tail(&model) == 4, "h2o: the other half is a tail");
	model.topic = 1;
	for (int i = 0; i < 3; i++)
		model_step(&model);
	tap_ok(h2o_holds(&model, 0, 2), "h2o: three steps of another topic do not outweigh the prompt");
	for (int i = 0; i < 120; i++)
		model_step(&model);
	tap_ok(h2o_holds(&model, 4, 1), "h2o: in the long run each layer has its own rows of the new topic");
	model_close(&model);
	options.tail_tokens = 0;
	model_open(&model, DEVICE);
	heat_h2o(&model);
	model_policy(&model, "h2o", &options);
	model_prefill(&model, PROMPT);
	tap_ok(model_residents(&model, 0, (bool[MODEL_TOKENS]){false}) == 8 && !model_tail(&model),
	       "h2o: without a tail all of the SRAM holds such rows");
	model_close(&model);
}

/* Attention that is told before kvs_policy_prefilled() replaces the group's scores. */
static void test_h2o_told(void)
{
	struct kvs_policy_options options = options_for(4, 0);
	const uint32_t tokens[] = {3, 9, 27, 81 % PROMPT};
	float mass[MODEL_HEADS][PROMPT] = {{0}};
	struct model model;
	bool all = true;

	model_open(&model, DEVICE);
	heat_h2o(&model);
	model_policy(&model, "h2o", &options);
	for (uint32_t i = 0; i < 4; i++)
		mass[i % MODEL_HEADS][tokens[i]] = 1;
	for (uint32_t l = 0; l < MODEL_LAYERS; l++)
		rig_must(&model.rig, "layer", kvs_policy_layer(model.policy, l, PROMPT, mass[0]));
	model_prefill(&model, PROMPT);
	for (uint32_t l = 0; l < MODEL_LAYERS; l++)
		all &= layer_holds(&model, l, tokens, 4);
	tap_ok(all, "h2o: attention of the prompt that it was told by layer counts, of all heads");
	model_close(&model);
}

/* ---- headwise ---- */

static void test_headwise(void)
{
	const uint64_t masks[MODEL_LAYERS] = {1, 1, 0, 3}; /* full heads: a token costs 512 bytes */
	struct kvs_policy_options options = options_for(8, 2);
	uint32_t first[64];
	struct model model;
	bool grows = true;

	for (uint32_t t = 0; t < 64; t++)
		first[t] = t;
	options.head_masks = masks;
	start(&model, "headwise",
	      &options); /* 2 KiB tail, 4 KiB for four whole tokens, 2 KiB for four of the full heads */
	tap_ok(layer_holds(&model, 0, first, 8) && layer_holds(&model, 1, first, 8) &&
		       layer_holds(&model, 2, first, 4) && layer_holds(&model, 3, first, 8) &&
		       model_sram(&model) == options.sram_bytes,
	       "headwise: full heads hold all that fits, streaming heads the first four");
	model_step(&model);
	tap_ok(layer_holds(&model, 0, first, 8) && model_tail(&model) == 2,
	       "headwise: and a tail, both of them");
	model_close(&model);
	options.sram_bytes =
		36 * MODEL_TOKEN_BYTES; /* 2 + 4 of them, and 60 tokens of full heads behind the four */
	start(&model, "headwise", &options);
	for (uint32_t i = 1; i <= 8; i++) {
		uint32_t held = PROMPT + i - 1 < 64 ? PROMPT + i - 1 : 64;

		model_step(&model);
		grows &= layer_holds(&model, 3, first, held) && layer_holds(&model, 2, first, 4);
	}
	tap_ok(grows, "headwise: full heads take in each token that leaves the tail, until the SRAM is full");
	model_close(&model);
}

/*
 * Without masks the profile decides. Layers 2 and 3 put nearly all of their attention on token 0, which
 * CLASSIFY makes a sink; layers 0 and 1 spread theirs.
 */
static void test_headwise_profile(void)
{
	struct kvs_policy_options options = options_for(7, 1);
	const uint32_t first[] = {0, 1, 2, 3, 4, 5, 6, 7};
	struct model model;

	model_open(&model, DEVICE);
	heat(&model, 0, 2, 0, 2 * HOT);
	heat(&model, 0, 3, 0, 2 * HOT);
	rig_must(&model.rig, "config",
		 kvs_config_set(model.rig.device, model.id, KVSINK_GROUP_ALL, KVSINK_PARAM_PLACEMENT,
				KVSINK_PLACEMENT_OBSERVE));
	model_prefill(&model, PROMPT);
	rig_must(&model.rig, "classify",
		 kvs_batch_classify(model.rig.batch, model.stream, 3, 8, rig_at(&model.rig, RIG_OUT)));
	rig_must(&model.rig, "classify", rig_run(&model.rig, NULL));
	for (int i = 0; i < 4; i++)
		model_step(&model);
	model_policy(&model, "headwise", &options);
	rig_must(&model.rig, "prefilled", kvs_policy_prefilled(model.policy));
	tap_ok(layer_holds(&model, 0, first, 8) && layer_holds(&model, 1, first, 8) &&
		       layer_holds(&model, 2, first, 4) && layer_holds(&model, 3, first, 4),
	       "headwise: without masks, heads that attend to sinks in the profile are streaming ones");
	model_close(&model);
}

/* ---- ours ---- */

/* Group 0 attends to tokens 10 and, less, 20; group 1 to 0 and, least, 15. */
static void heat_groups(struct model *model)
{
	for (uint32_t l = 0; l < 2; l++) {
		heat(model, 0, l, 10, HOT);
		heat(model, 0, l, 20, HOT - 1);
		heat(model, 0, l + 2, 0, HOT + 1);
		heat(model, 0, l + 2, 15, HOT - 2);
	}
}

static void test_1a(void)
{
	const uint32_t low[] = {10, 20}, high[] = {0, 15};
	struct kvs_policy_options options = options_for(8, 0);
	struct model model;

	model_open(&model, DEVICE);
	heat_groups(&model);
	/* cold tokens have about 1/60 of the attention at most */
	options.t_sink = 0.025f;
	model_policy(&model, "1a", &options);
	model_prefill(&model, PROMPT);
	tap_ok(layer_holds(&model, 0, low, 2) && layer_holds(&model, 1, low, 2) &&
		       layer_holds(&model, 2, high, 2) && layer_holds(&model, 3, high, 2),
	       "1a: tokens that reach T_SINK are resident in the layers of their group");
	model_step(&model);
	tap_ok(model_counter(&model, KVSINK_COUNTER_PROMOTIONS) == 4 &&
		       !model_counter(&model, KVSINK_COUNTER_EMA_UPDATES) &&
		       !model_counter(&model, KVSINK_COUNTER_OBSERVED_QUERIES),
	       "1a: decode does no placement work");
	model_close(&model);
	options.sram_bytes = 3 * MODEL_TOKEN_BYTES / 2; /* three entries of a group */
	model_open(&model, DEVICE);
	heat_groups(&model);
	model_policy(&model, "1a", &options);
	model_prefill(&model, PROMPT);
	tap_ok(layer_holds(&model, 1, low, 2) && layer_holds(&model, 2, high, 1),
	       "1a: when SRAM is short the lowest score of all groups stays out");
	model_close(&model);
}

static uint64_t param(struct model *model, uint32_t group, enum kvsink_param param)
{
	uint64_t value;

	rig_must(&model->rig, "config", kvs_config_get(model->rig.device, model->id, group, param, &value));
	return value;
}

static void test_parameters(void)
{
	struct kvs_policy_options options = options_for(8, KVS_TAIL_OWN);
	struct model model;

	model_open(&model, DEVICE);
	model_policy(&model, "1c", &options); /* 4 tokens beside the tail: 1/128 and 1/256 */
	tap_ok(param(&model, 1, KVSINK_PARAM_T_PROMOTE) == 0x3c000000 &&
		       param(&model, 1, KVSINK_PARAM_T_EVICT) == 0x3b800000,
	       "1c: thresholds follow the room that the tail leaves");
	tap_ok(param(&model, KVSINK_GROUP_ALL, KVSINK_PARAM_PLACEMENT) == KVSINK_PLACEMENT_AUTO &&
		       param(&model, KVSINK_GROUP_ALL, KVSINK_PARAM_LOCAL_WINDOW) == 4 &&
		       param(&model, 0, KVSINK_PARAM_TAIL_TOKENS) == 4,
	       "1c: STEP_END places, half of the SRAM is tail");
	options.tail_tokens = 4;
	model_policy(&model, "1a", &options);
	tap_ok(param(&model, 0, KVSINK_PARAM_T_SINK) == 0x3b800000 &&
		       param(&model, KVSINK_GROUP_ALL, KVSINK_PARAM_PLACEMENT) == KVSINK_PLACEMENT_OFF,
	       "1a: without t_sink T_EVICT is the threshold, and STEP_END does nothing");
	options.tail_tokens = KVS_TAIL_OWN;
	model_policy(&model, "1a", &options);
	tap_ok(param(&model, 0, KVSINK_PARAM_TAIL_TOKENS) == 5, "1a: two thirds of the SRAM are tail");
	options.tail_tokens = 0;
	model_policy(&model, "1b", &options);
	tap_ok(param(&model, KVSINK_GROUP_ALL, KVSINK_PARAM_LOCAL_WINDOW) == 0 &&
		       param(&model, KVSINK_GROUP_ALL, KVSINK_PARAM_N_DWELL) == 1,
	       "1b: without a tail the newest tokens count at once");
	model_close(&model);
	start(&model, "1c", &options);
	options.tail_tokens = 2;
	model_policy(&model, "1b", &options);
	tap_ok(param(&model, KVSINK_GROUP_ALL, KVSINK_PARAM_LOCAL_WINDOW) == 0,
	       "1b: opened after the prompt, it takes the window that the scores have");
	model_close(&model);
}

/* What must be the same however it came to be: all but the stream, the lease, and who decided. */
static bool same_tags(struct model *a, struct model *b)
{
	struct kvsink_tag_rec *list[2];
	size_t bytes;
	int count[2];
	bool same;

	count[0] = kvs_query(a->rig.device, DRM_KVSINK_QUERY_TAGS, a->id, 0, (void **)&list[0], &bytes);
	count[1] = kvs_query(b->rig.device, DRM_KVSINK_QUERY_TAGS, b->id, 0, (void **)&list[1], &bytes);
	same = count[0] == count[1] && count[0] >= 0;
	for (int i = 0; same && i < count[0]; i++) {
		for (int j = 0; j < 2; j++) {
			list[j][i].stream = 0;
			list[j][i].deadline_ns = 0;
			list[j][i].flags &= ~KVSINK_TAG_AUTO;
		}
		same = !memcmp(&list[0][i], &list[1][i], sizeof(*list[0]));
		if (!same)
			tap_diag("entry %d: token %u/%u, layers %u/%u, offset %u/%u, generation %u/%u, age "
				 "%u/%u",
				 i, list[0][i].token, list[1][i].token, list[0][i].layer_begin,
				 list[1][i].layer_begin, list[0][i].sram_offset, list[1][i].sram_offset,
				 list[0][i].generation, list[1][i].generation, list[0][i].age_steps,
				 list[1][i].age_steps);
	}
	free(list[0]);
	free(list[1]);
	return same;
}

static void test_1b_is_1c(int32_t tail, const char *how)
{
	struct kvs_policy_options options = options_for(6, tail);
	struct model b, c;
	bool same = true;

	model_open(&b, DEVICE);
	model_open(&c, DEVICE);
	b.random_heat = c.random_heat = 6;
	model_policy(&b, "1b", &options);
	model_policy(&c, "1c", &options);
	model_prefill(&b, PROMPT);
	model_prefill(&c, PROMPT);
	for (int i = 0; same && i < 120; i++) {
		b.topic = c.topic = i / 40 % 2;
		model_step(&b);
		model_step(&c);
		same = same_tags(&b, &c);
	}
	tap_ok(same, "1b and 1c place alike in each of 120 steps, %s", how);
	tap_ok(model_counter(&c, KVSINK_COUNTER_AUTO_PROMOTIONS) > 12 &&
		       model_counter(&c, KVSINK_COUNTER_AUTO_EVICTIONS) > 4 &&
		       !model_counter(&b, KVSINK_COUNTER_AUTO_PROMOTIONS) &&
		       model_counter(&b, KVSINK_COUNTER_PROMOTIONS) ==
			       model_counter(&c, KVSINK_COUNTER_PROMOTIONS),
	       "1b by software, 1c without, %s: %llu promotions", how,
	       (unsigned long long)model_counter(&c, KVSINK_COUNTER_PROMOTIONS));
	model_close(&b);
	model_close(&c);
}

/* Copies that ended after they were due, in decode steps of changing attention. */
static uint64_t late_copies(const char *name, uint32_t due_ns, int32_t config_ns)
{
	struct kvs_policy_options options = options_for(6, 0);
	struct model model;
	uint64_t late;

	options.due_ns = due_ns;
	model_open(&model, DEVICE);
	model.random_heat = 6;
	model_policy(&model, name, &options);
	model_prefill(&model, PROMPT);
	if (config_ns >= 0)
		rig_must(&model.rig, "COPY_DUE_NS",
			 kvs_config_set(model.rig.device, model.id, KVSINK_GROUP_ALL,
					KVSINK_PARAM_COPY_DUE_NS, (uint64_t)config_ns));
	late = model_counter(&model, KVSINK_COUNTER_DMA_LATE);
	for (int i = 0; i < 40; i++)
		model_step(&model);
	late = model_counter(&model, KVSINK_COUNTER_DMA_LATE) - late;
	model_close(&model);
	return late;
}

static void test_due(void)
{
	static const char *const names[] = {"lru", "1b", "1c"};

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		tap_ok(late_copies(names[i], 1, -1) && !late_copies(names[i], 1000000, -1) &&
			       !late_copies(names[i], 0, -1),
		       "%s: due_ns is the deadline of its copies; without it they have none", names[i]);
	tap_ok(late_copies("1b", 0, 1) > 5 && late_copies("1c", 0, 1) > 5,
	       "1b and 1c: what CONFIG sets afterwards holds");
}

/* An entry that somebody made of all layers: no group of its own, but one verdict. */
static void test_1b_across_groups(void)
{
	struct kvs_policy_options options = options_for(6, 0);
	bool resident[MODEL_TOKENS];
	struct model model;

	model_open(&model, DEVICE);
	for (uint32_t l = 0; l < MODEL_LAYERS; l++)
		heat(&model, 0, l, 1, 2 * HOT); /* nothing is left for token 3 */
	model_policy(&model, "1b", &options);
	model_prefill(&model, PROMPT);
	promote_one(model.rig.device, model.id, 3, 0, MODEL_LAYERS, 3, NULL);
	model_residents(&model, 0, resident);
	tap_ok(resident[3], "1b: somebody else promotes a token in all layers");
	for (int i = 0; i < 20; i++)
		model_step(&model);
	model_residents(&model, 0, resident);
	tap_ok(!resident[3], "1b: evicts it, though its entry has layers of two groups");
	model_close(&model);
}

/* Attention served from SRAM by steps of a topic that the prompt did not have. */
static uint64_t served_after_change(const char *name)
{
	struct kvs_policy_options options = options_for(4, 0);
	struct model model;
	uint64_t served;

	model_open(&model, DEVICE);
	for (uint32_t l = 0; l < MODEL_LAYERS; l++)
		for (uint32_t i = 0; i < 4; i++) {
			heat(&model, 0, l, 10 * i + l / 2, HOT);
			heat(&model, 1, l, 10 * i + 4 + l / 2, HOT);
		}
	model_policy(&model, name, &options);
	model_prefill(&model, PROMPT);
	for (int i = 0; i < 10; i++)
		model_step(&model);
	model.topic = 1;
	served = model_counter(&model, KVSINK_COUNTER_MASS_SRAM);
	for (int i = 0; i < 60; i++)
		model_step(&model);
	served = model_counter(&model, KVSINK_COUNTER_MASS_SRAM) - served;
	model_close(&model);
	return served;
}

static void test_topic_change(void)
{
	uint64_t a = served_after_change("1a"), b = served_after_change("1b"), c = served_after_change("1c");

	tap_ok(b > 2 * a && c > 2 * a, "1b and 1c follow a change of topic, 1a cannot");
	tap_ok(b == c, "and serve the same attention");
}

/* ---- all of them ---- */

static double distance(const struct model *a, const struct model *b)
{
	double worst = 0;

	for (uint32_t l = 0; l < MODEL_LAYERS; l++)
		for (uint32_t i = 0; i < MODEL_HEADS * MODEL_D_V; i++)
			worst = fmax(worst, fabs((double)a->out[l][i] - (double)b->out[l][i]));
	return worst;
}

/* Budget in every step; outputs as without any SRAM. `pins` go to the policy that takes them. */
static void test_budget(const char *name, int32_t tail, const char *how)
{
	const struct drm_kvsink_place pins[] = {
		{5, 0, 4, 3}, {PROMPT + 2, 0, 4, 3}, {7, 0, 4, 3}, {8, 0, 4, 3}, {9, 0, 4, 3}};
	struct kvs_policy_options options = options_for(0, tail);
	struct model model, uniform;
	uint32_t most = 0;
	double worst = 0;

	options.sram_bytes = 5000; /* no multiple of anything */
	if (!strcmp(name, "hindsight")) {
		options.pins = pins;
		options.pin_count = 5;
	}
	model_open(&model, DEVICE);
	model_open(&uniform, DEVICE);
	model.random_heat = uniform.random_heat = 6;
	model_policy(&model, name, &options);
	model_prefill(&model, PROMPT);
	model_prefill(&uniform, PROMPT);
	for (int i = 0; i < 20; i++) {
		model_step(&model);
		model_step(&uniform);
		most = model_sram(&model) > most ? model_sram(&model) : most;
		worst = fmax(worst, distance(&model, &uniform));
	}
	tap_ok(most <= 5000 && (most > 2500 || !strcmp(name, "uniform") || !strcmp(name, "1a")),
	       "%s, %s: the budget holds in every step (%u of 5000 bytes)", name, how, most);
	tap_ok(worst < 1e-5, "%s, %s: outputs do not depend on placement", name, how);
	model_close(&model);
	model_close(&uniform);
}

static void test_budgets(void)
{
	for (unsigned i = 0; i < kvs_policy_count(); i++) {
		test_budget(kvs_policy_name(i), KVS_TAIL_OWN, "its own tail");
		test_budget(kvs_policy_name(i), 0, "no tail");
		test_budget(kvs_policy_name(i), KVS_TAIL_HALF, "half tail");
	}
}

/* ---- the example, and another process ---- */

static void test_example(void)
{
	struct kvs_policy_options options = options_for(9, 0);
	const uint32_t tokens[] = {0, 8, 16, 24, 32, 40, 48, 56, 64};
	struct model model;

	model_open(&model, DEVICE);
	rig_must(&model.rig, "stride",
		 kvs_policy_start(model.rig.device, model.id, &kvs_policy_stride, &options, &model.policy));
	model_prefill(&model, PROMPT);
	tap_ok(layer_holds(&model, 2, tokens, 8),
	       "examples/policy-stride.c: every eighth token of the prompt");
	for (int i = 0; i < 20; i++)
		model_step(&model);
	tap_ok(layer_holds(&model, 2, tokens, 9),
	       "examples/policy-stride.c: and of those that follow, until SRAM is full");
	model_close(&model);
}

static void test_other_file(void)
{
	struct kvs_policy_options options = options_for(3, 0);
	struct kvs_device *mate;
	struct kvs_policy *policy;
	struct model model;

	model_open(&model, "sim:hbm=16M,sram=64K,share=policy,uid=1000");
	rig_must(&model.rig, "mate", kvs_open("sim:share=policy,uid=1000", &mate));
	tap_ok(!kvs_policy_open(mate, model.id, "positional", &options, &policy),
	       "a policy opens on the stream of another process of the tenant");
	model_prefill(&model, PROMPT);
	tap_ok(!kvs_policy_prefilled(policy) && model_holds(&model, 0, 3), "and places its rows");
	kvs_policy_close(policy);
	kvs_close(mate);
	model_close(&model);
}

int main(void)
{
	test_uniform();
	test_positional();
	test_recent();
	test_random();
	test_hindsight();
	test_lru();
	test_lfu();
	test_repair();
	test_streamingllm();
	test_h2o();
	test_h2o_told();
	test_headwise();
	test_headwise_profile();
	test_1a();
	test_parameters();
	test_1b_is_1c(0, "no tail");
	test_1b_is_1c(2, "with a tail");
	test_1b_across_groups();
	test_due();
	test_topic_change();
	test_budgets();
	test_example();
	test_other_file();
	return tap_done();
}
