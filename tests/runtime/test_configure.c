// SPDX-License-Identifier: MIT
/*
 * kvs_policy_open() that fails leaves the stream as it was: parameters of every group, tails, entries and
 * their contracts. And input that a policy must refuse, or get along with.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"
#include "place.h"
#include "tap.h"

#define DEVICE "sim:hbm=16M,sram=64K"
#define PROMPT 60

static int set(struct model *model, uint32_t group, uint32_t param, uint64_t value)
{
	return kvs_config_set(model->rig.device, model->id, group, param, value);
}

static bool line_has(struct model *model, const char *text)
{
	return strstr(kvs_device_error(model->rig.device), text);
}

/* ---- what must not change ---- */

struct state {
	uint64_t param[MODEL_GROUPS][KVSINK_PARAM_COUNT];
	struct kvsink_tag_rec tag[64];
	int tags;
};

static void read_state(struct model *model, struct state *state)
{
	size_t bytes;
	void *records;

	memset(state, 0, sizeof(*state));
	for (uint32_t g = 0; g < MODEL_GROUPS; g++) {
		rig_must(&model->rig, "params",
			 kvs_query(model->rig.device, DRM_KVSINK_QUERY_PARAMS, model->id, g, &records,
				   &bytes) < 0);
		memcpy(state->param[g], records, sizeof(state->param[g]));
		free(records);
	}
	state->tags = kvs_query(model->rig.device, DRM_KVSINK_QUERY_TAGS, model->id, 0, &records, &bytes);
	rig_must(&model->rig, "tags", state->tags < 0 || bytes != sizeof(state->tag[0]));
	memcpy(state->tag, records, (size_t)state->tags * bytes);
	free(records);
}

static bool same_entries(const struct state *a, const struct state *b)
{
	return a->tags == b->tags && !memcmp(a->tag, b->tag, sizeof(a->tag));
}

static bool same_params(const struct state *a, const struct state *b)
{
	return !memcmp(a->param, b->param, sizeof(a->param));
}

/* Values that no policy sets, some by group. */
static void distinguish(struct model *model)
{
	static const struct {
		uint32_t group, param;
		uint64_t value;
	} values[] = {
		{KVSINK_GROUP_ALL, KVSINK_PARAM_T_PROMOTE, 0x3f000000}, /* 0.5 */
		{0, KVSINK_PARAM_T_EVICT, 0x3e000000},
		{1, KVSINK_PARAM_T_EVICT, 0x3e800000},
		{0, KVSINK_PARAM_T_SINK, 0x3e800000},
		{1, KVSINK_PARAM_T_SINK, 0x3f000000},
		{KVSINK_GROUP_ALL, KVSINK_PARAM_ALPHA, 0x3e800000},
		{KVSINK_GROUP_ALL, KVSINK_PARAM_N_PROMOTE, 7},
		{KVSINK_GROUP_ALL, KVSINK_PARAM_N_EVICT, 8},
		{KVSINK_GROUP_ALL, KVSINK_PARAM_N_DWELL, 9},
		{KVSINK_GROUP_ALL, KVSINK_PARAM_DELTA, 0x3f000000},
		{KVSINK_GROUP_ALL, KVSINK_PARAM_SCORE_MODE, KVSINK_SCORE_REL},
		{KVSINK_GROUP_ALL, KVSINK_PARAM_SRAM_BUDGET, 32768},
		{0, KVSINK_PARAM_TAIL_TOKENS, 2},
		{1, KVSINK_PARAM_TAIL_TOKENS, 3},
		{KVSINK_GROUP_ALL, KVSINK_PARAM_PLACEMENT, KVSINK_PLACEMENT_OBSERVE},
	};
	const struct kvs_contract contract = {.size = sizeof(contract), .dwell_steps = 50, .priority = 3};
	const struct drm_kvsink_place places[] = {{4, 0, 4, 3}, {9, 1, 3, 1}};

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		rig_must(&model->rig, "set", set(model, values[i].group, values[i].param, values[i].value));
	rig_must(&model->rig, "promote",
		 kvs_promote(model->rig.device, model->id, places, 2, &contract, NULL));
	rig_must(&model->rig, "barrier", kvs_batch_barrier(model->rig.batch, model->stream));
	rig_must(&model->rig, "barrier", rig_run(&model->rig, NULL));
}

/* A second stream that holds `tokens` KiB of SRAM, one entry each. */
static struct kvs_stream *other_stream(struct model *model, uint32_t kilobytes)
{
	struct kvs_geometry geometry = {.size = sizeof(geometry),
					.layers = MODEL_LAYERS,
					.q_heads = MODEL_HEADS,
					.kv_heads = MODEL_HEADS,
					.d_k = MODEL_D_K,
					.d_v = MODEL_D_V,
					.format = KVSINK_FORMAT_F32,
					.max_tokens = MODEL_TOKENS};
	struct rig *rig = &model->rig;
	struct kvs_stream *stream;

	rig_must(rig, "stream", kvs_stream_create(rig->device, &geometry, &stream));
	for (uint32_t l = 0; l < MODEL_LAYERS; l++)
		rig_must(rig, "append",
			 kvs_batch_append(rig->batch, stream, l, 0, 64, rig_at(rig, 0), rig_at(rig, 65536)));
	rig_must(rig, "step", kvs_batch_step_end(rig->batch, stream, 64));
	rig_must(rig, "append", rig_run(rig, NULL));
	for (uint32_t t = 0; t < kilobytes; t++)
		rig_must(rig, "promote", promote_one(rig->device, kvs_stream_id(stream), t, 0, 4, 3, NULL));
	return stream;
}

/* ---- failures ---- */

/* A tail that fits the policy's budget, but not beside what another stream holds. */
static void test_no_room(void)
{
	static const char *const names[] = {"recent", "lru", "h2o", "1a", "1b", "1c"};
	struct kvs_policy_options options = {.size = sizeof(options), .tail_tokens = 30};
	struct state before, after;
	struct kvs_policy *policy;
	struct kvs_stream *other;
	struct model model;

	model_open(&model, DEVICE);
	model_prefill(&model, PROMPT);
	other = other_stream(&model, 40);
	distinguish(&model);
	read_state(&model, &before);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		int err = kvs_policy_open(model.rig.device, model.id, names[i], &options, &policy);

		tap_ok(err == -ENOSPC && !policy && line_has(&model, "BUDGET: wanted 30720 bytes, left "),
		       "%s: a tail that does not fit: %s", names[i], kvs_device_error(model.rig.device));
		read_state(&model, &after);
		tap_ok(same_entries(&before, &after), "%s: entries, contracts and tails are what they were",
		       names[i]);
		tap_ok(same_params(&before, &after), "%s: and so are all parameters", names[i]);
	}
	options.tail_tokens = 20;
	tap_ok(!kvs_policy_open(model.rig.device, model.id, "1b", &options, &policy),
	       "a tail that fits once the entries are gone does");
	read_state(&model, &after);
	tap_ok(after.param[0][KVSINK_PARAM_TAIL_TOKENS] == 20 &&
		       after.param[1][KVSINK_PARAM_TAIL_TOKENS] == 20 &&
		       model_sram(&model) == 20 * MODEL_TOKEN_BYTES,
	       "and is all that the stream holds");
	kvs_policy_close(policy);
	kvs_stream_free(other);
	model_close(&model);
}

/* Room enough, but in pieces: found out when the entries are gone. */
static void test_fragmented(void)
{
	struct kvs_policy_options options = {.size = sizeof(options), .tail_tokens = 30};
	struct state before, after;
	struct kvs_policy *policy;
	struct kvs_stream *other;
	struct model model;
	uint64_t id;

	model_open(&model, DEVICE);
	model_prefill(&model, PROMPT);
	other = other_stream(&model, 60);
	id = kvs_stream_id(other);
	for (uint32_t t = 0; t < 60; t += 2)
		rig_must(&model.rig, "evict", evict_one(model.rig.device, id, t, 0, 4) != 1);
	distinguish(&model);
	read_state(&model, &before);
	tap_ok(kvs_policy_open(model.rig.device, model.id, "1b", &options, &policy) == -ENOSPC &&
		       line_has(&model, "FRAGMENTED: SRAM is free but not in one piece (wanted 30720 bytes, "
					"largest piece"),
	       "no piece is large enough: %s", kvs_device_error(model.rig.device));
	read_state(&model, &after);
	tap_ok(same_params(&before, &after), "the parameters are what they were, tails included");
	kvs_stream_free(other);
	model_close(&model);
}

static void test_no_heads(void)
{
	struct state before, after;
	struct kvs_policy *policy;
	struct model model;

	model_open(&model, DEVICE);
	model_prefill(&model, PROMPT);
	distinguish(&model);
	rig_must(&model.rig, "mask", set(&model, KVSINK_GROUP_ALL, KVSINK_PARAM_HEAD_MASK, 0));
	read_state(&model, &before);
	for (unsigned i = 0; kvs_policy_name(i); i++) {
		const char *name = kvs_policy_name(i);
		struct drm_kvsink_place pin = {1, 0, 4, 3};
		struct kvs_policy_options options = {.size = sizeof(options), .pins = &pin, .pin_count = 1};

		if (!strcmp(name, "uniform"))
			continue;
		if (strcmp(name, "hindsight"))
			options.pins = NULL, options.pin_count = 0;
		tap_ok(kvs_policy_open(model.rig.device, model.id, name, &options, &policy) == -EINVAL &&
			       line_has(&model, "no head of the stream may become resident"),
		       "%s: %s", name, kvs_device_error(model.rig.device));
	}
	read_state(&model, &after);
	tap_ok(same_params(&before, &after) && same_entries(&before, &after), "nothing has changed");
	rig_must(&model.rig, "uniform",
		 kvs_policy_open(model.rig.device, model.id, "uniform", NULL, &policy));
	kvs_policy_close(policy);
	model_close(&model);
}

/* ---- input ---- */

static void test_empty_stream(void)
{
	struct model model;

	for (unsigned i = 0; kvs_policy_name(i); i++) {
		if (!strcmp(kvs_policy_name(i), "hindsight"))
			continue;
		model_open(&model, DEVICE);
		model_policy(&model, kvs_policy_name(i), NULL);
		tap_ok(!kvs_policy_prefilled(model.policy) && !kvs_policy_step(model.policy),
		       "%s: a stream without tokens is no error", kvs_policy_name(i));
		model_close(&model);
	}
}

static void test_mass(void)
{
	static const float bad[] = {NAN, INFINITY, -INFINITY, -1e-6f};
	float mass[MODEL_HEADS * 8] = {0};
	struct model model;

	model_open(&model, DEVICE);
	model_policy(&model, "h2o", NULL);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		mass[8 + 5] = bad[i];
		tap_ok(kvs_policy_layer(model.policy, 1, 8, mass) == -EINVAL &&
			       line_has(&model, "layer 1, head 1, token 5: mass = "),
		       "h2o: %s", kvs_device_error(model.rig.device));
	}
	mass[8 + 5] = 2;
	tap_ok(!kvs_policy_layer(model.policy, 1, 8, mass), "h2o: a finite mass is taken");
	model_close(&model);
}

static unsigned traits_of(const char *name)
{
	for (unsigned i = 0; kvs_policy_name(i); i++)
		if (!strcmp(kvs_policy_name(i), name))
			return kvs_policy_traits(i);
	return ~0u;
}

static void test_traits(void)
{
	tap_ok(traits_of("1a") == KVS_POLICY_SCORES && traits_of("1b") == KVS_POLICY_EACH_STEP &&
		       !traits_of("1c") && !traits_of("recent") && !traits_of("random") &&
		       traits_of("headwise") == KVS_POLICY_EACH_STEP,
	       "what can be run from outside, and what acts in each step");
	tap_ok(traits_of("lru") & KVS_POLICY_INSIDE && traits_of("h2o") & KVS_POLICY_INSIDE &&
		       traits_of("lfu") & KVS_POLICY_INSIDE && traits_of("hindsight") & KVS_POLICY_INSIDE,
	       "what needs the process that decodes");
	tap_ok(!kvs_policy_traits(kvs_policy_count()), "there are no others");
}

int main(void)
{
	test_no_room();
	test_fragmented();
	test_no_heads();
	test_empty_stream();
	test_mass();
	test_traits();
	return tap_done();
}
