// SPDX-License-Identifier: MIT
/*
 * What is said when placement or a parameter is refused: the field, its value, what is allowed; what ran out,
 * how much was wanted and how much is left.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model.h"
#include "place.h"
#include "tap.h"

#define DEVICE "sim:hbm=16M,sram=64K"

/* The line of the last failure holds `text`, and is one line. */
static void says(struct model *model, int got, int err, const char *text)
{
	const char *line = kvs_device_error(model->rig.device);

	tap_ok(got == err && strstr(line, text) && !strchr(line, '\n'), "%d, '%s': %s", err, text, line);
}

static uint32_t bits(float value)
{
	uint32_t pattern;

	memcpy(&pattern, &value, sizeof(pattern));
	return pattern;
}

static int set(struct model *model, uint32_t group, uint32_t param, uint64_t value)
{
	return kvs_config_set(model->rig.device, model->id, group, param, value);
}

static int set_all(struct model *model, uint32_t param, uint64_t value)
{
	return set(model, KVSINK_GROUP_ALL, param, value);
}

/* ---- parameters ---- */

static void test_values(struct model *model)
{
	static const struct {
		uint32_t param;
		uint64_t value;
		const char *text;
	} bad[] = {
		{KVSINK_PARAM_ALPHA, 0x3f800000,
		 "parameter ALPHA = 1: allowed are numbers from 0 to below 1"},
		{KVSINK_PARAM_T_SINK, 0xbf800000, "parameter T_SINK = -1: allowed are finite numbers from 0"},
		{KVSINK_PARAM_T_SINK, 0x7f800000, "parameter T_SINK = inf: allowed"},
		{KVSINK_PARAM_SCORE_MODE, 3,
		 "parameter SCORE_MODE = 3: allowed are 0 (RAW), 1 (MEAN) and 2 (REL)"},
		{KVSINK_PARAM_PLACEMENT, 9, "parameter PLACEMENT = 9: allowed are 0 (OFF)"},
		{KVSINK_PARAM_N_EVICT, 0, "parameter N_EVICT = 0: allowed are 1 to 65535"},
		{KVSINK_PARAM_TAIL_TOKENS, 4097, "parameter TAIL_TOKENS = 4097: allowed are 0 to 4096"},
		{KVSINK_PARAM_PRIORITY, 256, "parameter PRIORITY = 256: allowed are 0 to 255"},
		{KVSINK_PARAM_SRAM_BUDGET, 65537,
		 "parameter SRAM_BUDGET = 65537: allowed are 0 to 65536 bytes"},
		{KVSINK_PARAM_N_DWELL, 1ull << 32,
		 "parameter N_DWELL = 4294967296: allowed are 0 to 4294967295"},
		{KVSINK_PARAM_LAYER_RANGE, 0x00050000,
		 "parameter LAYER_RANGE = 0x50000: allowed are begin | end << 16"},
		{KVSINK_PARAM_HEAD_MASK, 4, "parameter HEAD_MASK = 0x4: allowed are bits of 0x3"},
		{KVSINK_PARAM_TENANT_CAP, 0, "parameter TENANT_CAP is the device's: allowed is stream 0"},
		{KVSINK_PARAM_EPSILON, 0x3f800000,
		 "parameter EPSILON = 1: allowed are numbers above 0 and below 1"},
		{KVSINK_PARAM_GATE, 3, "parameter GATE = 3: allowed are 0 (MASS), 1 (ABS) and 2 (REL)"},
		{KVSINK_PARAM_CERTIFY, 2, "parameter CERTIFY = 2: allowed are 0 and 1"},
		{99, 0, "parameter 99: allowed are 0 to 23"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		says(model, set_all(model, bad[i].param, bad[i].value), -EINVAL, bad[i].text);
	says(model, set_all(model, KVSINK_PARAM_T_EVICT, 0x3f800000), -EINVAL,
	     "parameter T_EVICT = 1: it contradicts T_PROMOTE = 0.005");
	says(model, set(model, 2, KVSINK_PARAM_T_SINK, 0), -EINVAL, "group 2: allowed are 0 to 1");
	says(model, set(model, 0, KVSINK_PARAM_ALPHA, 0), -EINVAL,
	     "group 0: parameter ALPHA is the same in all");
	says(model, kvs_config_set(model->rig.device, 99, KVSINK_GROUP_ALL, KVSINK_PARAM_ALPHA, 0), -ENOENT,
	     "stream 99, parameter ALPHA = 0: ENOENT");
	says(model, set_all(model, KVSINK_PARAM_LOCAL_WINDOW, 7), -EBUSY,
	     "it is fixed once scores or EMA exist");
}

/* ---- tails ---- */

/* 64 KiB of SRAM, of which an entry holds 1 KiB; a tail takes 1 KiB a token, half of it in each group. */
static void test_tails(struct model *model)
{
	rig_must(&model->rig, "promote", promote_one(model->rig.device, model->id, 3, 0, 4, 3, NULL));
	says(model, set_all(model, KVSINK_PARAM_TAIL_TOKENS, 64), -ENOSPC,
	     "parameter TAIL_TOKENS = 64: BUDGET: SRAM budget exhausted (wanted 65536 bytes, left 64512)");
	says(model, set(model, 1, KVSINK_PARAM_TAIL_TOKENS, 200), -ENOSPC,
	     "group 1, parameter TAIL_TOKENS = 200: BUDGET: SRAM budget exhausted (wanted 102400 bytes, left "
	     "64512)");
	rig_must(&model->rig, "mask", set(model, 1, KVSINK_PARAM_HEAD_MASK, 1));
	says(model, set_all(model, KVSINK_PARAM_TAIL_TOKENS, 100), -ENOSPC, "wanted 76800 bytes, left 64512");
	rig_must(&model->rig, "mask", set(model, 1, KVSINK_PARAM_HEAD_MASK, UINT64_MAX));
	rig_must(&model->rig, "cap",
		 kvs_config_set(model->rig.device, 0, KVSINK_GROUP_ALL, KVSINK_PARAM_TENANT_CAP, 8192));
	says(model, set_all(model, KVSINK_PARAM_TAIL_TOKENS, 8), -ENOSPC,
	     "TENANT_CAP: the tenant's share of SRAM is used up (wanted 8192 bytes, left 7168)");
	rig_must(&model->rig, "cap",
		 kvs_config_set(model->rig.device, 0, KVSINK_GROUP_ALL, KVSINK_PARAM_TENANT_CAP, UINT32_MAX));
	evict_one(model->rig.device, model->id, 3, 0, 4);
}

/* ---- places ---- */

static int promote(struct model *model, struct drm_kvsink_place third, const struct kvs_contract *contract)
{
	const struct drm_kvsink_place places[] = {{1, 0, 4, 3}, {2, 0, 4, 3}, third, {5, 0, 4, 3}};

	return kvs_promote(model->rig.device, model->id, places, 4, contract, NULL);
}

static int contract(struct model *model, struct drm_kvsink_place second)
{
	const struct drm_kvsink_place places[] = {{1, 0, 4, 3}, second};
	const struct kvs_contract terms = {.size = sizeof(terms), .dwell_steps = 2};

	return kvs_contract(model->rig.device, model->id, places, 2, &terms);
}

static void test_places(struct model *model)
{
	const struct drm_kvsink_place bad = {3, 2, 9, 3};

	says(model, promote(model, bad, NULL), -EINVAL,
	     "place 2 (token 3): layers = [2, 9): allowed are layers 0 to 3");
	says(model, promote(model, (struct drm_kvsink_place){60, 0, 4, 3}, NULL), -EINVAL,
	     "place 2 (token 60): token = 60: allowed are those below 60, which the stream has");
	says(model, promote(model, (struct drm_kvsink_place){3, 0, 4, 4}, NULL), -EINVAL,
	     "place 2 (token 3): head_mask = 0x4: allowed are bits of 0x3, at least one");
	says(model, promote(model, (struct drm_kvsink_place){3, 0, 4, 0}, NULL), -EINVAL, "head_mask = 0:");
	says(model, contract(model, bad), -EINVAL, "CONTRACT: stream 1, place 1 (token 3): layers = [2, 9)");
	says(model, kvs_evict(model->rig.device, model->id, &bad, 1), -EINVAL,
	     "EVICT: stream 1, place 0 (token 3): layers = [2, 9)");
	rig_must(&model->rig, "range", set_all(model, KVSINK_PARAM_LAYER_RANGE, 0 | 3 << 16));
	says(model, promote_one(model->rig.device, model->id, 3, 1, 4, 3, NULL), -EINVAL,
	     "layers = [1, 4): LAYER_RANGE allows [0, 3)");
	rig_must(&model->rig, "range", set_all(model, KVSINK_PARAM_LAYER_RANGE, 0xffff0000));
	rig_must(&model->rig, "mask", set(model, 1, KVSINK_PARAM_HEAD_MASK, 1));
	says(model, promote_one(model->rig.device, model->id, 3, 0, 4, 3, NULL), -EINVAL,
	     "head_mask = 0x3: HEAD_MASK of group 1 allows 0x1");
	rig_must(&model->rig, "mask", set(model, 1, KVSINK_PARAM_HEAD_MASK, UINT64_MAX));
}

/* The one that is resident already, and not the first of the list. */
static void test_exists(struct model *model)
{
	rig_must(&model->rig, "promote", promote_one(model->rig.device, model->id, 9, 2, 3, 1, NULL));
	says(model, promote(model, (struct drm_kvsink_place){9, 2, 4, 3}, NULL), -EEXIST,
	     "stream 1, token 9, layers [2, 4), heads 0x3: EXISTS");
	evict_one(model->rig.device, model->id, 9, 0, 4);
}

static void test_room(struct model *model)
{
	const struct drm_kvsink_place places[] = {{1, 0, 4, 3}, {2, 0, 4, 3}};

	rig_must(&model->rig, "budget", set_all(model, KVSINK_PARAM_SRAM_BUDGET, 1536));
	says(model, kvs_promote(model->rig.device, model->id, places, 2, NULL, NULL), -ENOSPC,
	     "and 1 more: BUDGET: SRAM budget exhausted (wanted 2048 bytes, left 1536)");
	rig_must(&model->rig, "budget", set_all(model, KVSINK_PARAM_SRAM_BUDGET, UINT32_MAX));
}

static void test_terms(struct model *model)
{
	const struct drm_kvsink_place place = {4, 0, 4, 3};
	struct kvs_contract terms = {.size = sizeof(terms), .priority = 256};
	struct timespec now;

	says(model, promote(model, place, &terms), -EINVAL, "PROMOTE: priority = 256: allowed are 0 to 255");
	says(model, kvs_contract(model->rig.device, model->id, &place, 1, &terms), -EINVAL,
	     "CONTRACT: priority = 256: allowed are 0 to 255");
	terms = (struct kvs_contract){.size = sizeof(terms), .deadline_ns = 1};
	says(model, promote(model, place, &terms), -EINVAL,
	     "deadline_ns = 1: allowed are times of CLOCK_MONOTONIC");
	clock_gettime(CLOCK_MONOTONIC, &now);
	terms.deadline_ns = ((uint64_t)now.tv_sec + 3600) * 1000000000u;
	says(model, promote(model, place, &terms), -EINVAL, "(now) to ");
	terms.priority = 0;
	says(model, kvs_contract(model->rig.device, model->id, &place, 1, &terms), -EINVAL,
	     "CONTRACT: stream 1, deadline_ns");
}

/* ---- operations ---- */

/* A job's line holds the code's text, which must be true of every operation. */
static void test_import(struct model *model)
{
	struct rig *rig = &model->rig;

	rig_must(rig, "import",
		 kvs_batch_score_import(rig->batch, model->stream, 0, 60, rig_at(rig, RIG_OUT)));
	says(model, rig_run(rig, NULL), -EBUSY,
	     "(SCORE_IMPORT): BUSY: not in this state: scores, EMA or rows exist already");
}

/* ---- calls without a name ---- */

static void test_null(struct model *model)
{
	struct kvs_device *device = (void *)1;
	struct kvs_policy *policy = (void *)1;

	tap_ok(kvs_open(NULL, &device) == -EINVAL && !device && strstr(kvs_open_error(), "no name"),
	       "kvs_open() without a name: %s", kvs_open_error());
	says(model, kvs_policy_open(model->rig.device, model->id, NULL, NULL, &policy), -EINVAL,
	     "policy '': allowed are uniform,");
	tap_ok(!policy && strstr(kvs_device_error(model->rig.device), ", 1c"), "the list goes to its end");
}

int main(void)
{
	struct model model;

	model_open(&model, DEVICE);
	model_prefill(&model, 60);
	test_values(&model);
	test_tails(&model);
	test_places(&model);
	test_exists(&model);
	test_room(&model);
	test_terms(&model);
	test_import(&model);
	test_null(&model);
	rig_must(&model.rig, "alpha", set_all(&model, KVSINK_PARAM_ALPHA, bits(0.5f)));
	model_close(&model);
	return tap_done();
}
