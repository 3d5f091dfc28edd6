// SPDX-License-Identifier: MIT
/*
 * Bad input of policies, contracts, lists of places and head tables: one line that says what, which value and
 * what is allowed; nothing has changed afterwards.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "model.h"
#include "place.h"
#include "tap.h"

#define DEVICE "sim:hbm=16M,sram=64K"

static struct kvs_policy_options plain(void)
{
	return (struct kvs_policy_options){.size = sizeof(struct kvs_policy_options),
					   .tail_tokens = KVS_TAIL_OWN};
}

/* ---- policies ---- */

static void test_list(void)
{
	static const char *const names[] = {
		"uniform",	"random", "positional", "recent", "hindsight", "lru", "lfu",
		"streamingllm", "h2o",	  "headwise",	"1a",	  "1b",	       "1c"};
	const unsigned count = sizeof(names) / sizeof(names[0]);
	bool same = kvs_policy_count() == count, told = true;

	for (unsigned i = 0; same && i < count; i++) {
		same = !strcmp(kvs_policy_name(i), names[i]);
		told &= strlen(kvs_policy_about(i)) > 10;
	}
	tap_ok(same, "the policies are those of the documentation, in its order");
	tap_ok(told, "each says what it does");
	tap_ok(!kvs_policy_name(count) && !kvs_policy_about(count), "there are no others");
}

/* The policy is refused with a line that holds `text`, and the stream stays as it was. */
static void refused(struct model *model, const char *name, const struct kvs_policy_options *options, int err,
		    const char *text)
{
	struct kvs_policy *policy = (void *)1;
	uint64_t before, after;

	rig_must(&model->rig, "get",
		 kvs_config_get(model->rig.device, model->id, KVSINK_GROUP_ALL, KVSINK_PARAM_SRAM_BUDGET,
				&before));
	tap_ok(kvs_policy_open(model->rig.device, model->id, name, options, &policy) == err && !policy &&
		       strstr(kvs_device_error(model->rig.device), text) &&
		       !strchr(kvs_device_error(model->rig.device), '\n'),
	       "%s: %s", name, kvs_device_error(model->rig.device));
	rig_must(&model->rig, "get",
		 kvs_config_get(model->rig.device, model->id, KVSINK_GROUP_ALL, KVSINK_PARAM_SRAM_BUDGET,
				&after));
	if (before != after || !model_holds(model, 0, 3))
		tap_ok(false, "%s: a refused policy changes nothing", name);
}

static void test_ranges(struct model *model)
{
	struct kvs_policy_options options = plain();

	refused(model, "h3o", NULL, -EINVAL, "allowed are uniform, random");
	options.sram_bytes = 65537;
	refused(model, "lru", &options, -EINVAL, "sram_bytes = 65537");
	options = plain();
	options.tail_tokens = -3;
	refused(model, "lru", &options, -EINVAL, "tail_tokens = -3");
	options.tail_tokens = 4097;
	refused(model, "lru", &options, -EINVAL, "tail_tokens = 4097");
	options.tail_tokens = 65;
	refused(model, "lru", &options, -EINVAL, "64 fit into 65536 bytes");
	options = plain();
	options.t_sink = NAN;
	refused(model, "1a", &options, -EINVAL, "t_sink = ");
	options.t_sink = -0.5f;
	refused(model, "1a", &options, -EINVAL, "t_sink = -0.5");
	options.size = 4;
	refused(model, "1a", &options, -EINVAL, "size = 4");
}

static void test_kinds(struct model *model)
{
	const struct drm_kvsink_place pin = {1, 0, 4, 3};
	const uint64_t masks[MODEL_LAYERS] = {1, 1, 1, 1};
	struct kvs_policy_options options = plain();

	options.tail_tokens = 2;
	refused(model, "uniform", &options, -EINVAL, "tail_tokens");
	options = plain();
	options.t_sink = 0.5f;
	refused(model, "1b", &options, -EINVAL, "t_sink");
	options = plain();
	options.head_masks = masks;
	refused(model, "h2o", &options, -EINVAL, "head_masks");
	options = plain();
	options.pins = &pin;
	options.pin_count = 1;
	refused(model, "positional", &options, -EINVAL, "pin_count");
	options.pin_count = 0;
	refused(model, "hindsight", &options, -EINVAL, "pin_count = 0");
	options.pin_count = 1;
	options.pins = NULL;
	refused(model, "hindsight", &options, -EINVAL, "without pins");
}

static void test_places_of_options(struct model *model)
{
	const uint64_t masks[MODEL_LAYERS] = {1, 1, 4, 1};
	struct drm_kvsink_place pin = {1, 0, 4, 3};
	struct kvs_policy_options options = plain();

	options.head_masks = masks;
	refused(model, "headwise", &options, -EINVAL, "head_masks[2] = 0x4: the stream has 2 KV heads");
	options = plain();
	options.pins = &pin;
	options.pin_count = 1;
	pin.token = MODEL_TOKENS;
	refused(model, "hindsight", &options, -EINVAL, "pin 0: token 512");
	pin = (struct drm_kvsink_place){1, 2, 2, 3};
	refused(model, "hindsight", &options, -EINVAL, "layers [2, 2)");
	pin = (struct drm_kvsink_place){1, 0, 5, 3};
	refused(model, "hindsight", &options, -EINVAL, "layers [0, 5)");
	pin = (struct drm_kvsink_place){1, 0, 4, 4};
	refused(model, "hindsight", &options, -EINVAL, "heads 0x4");
}

static void test_size_first(struct model *model)
{
	struct {
		struct kvs_policy_options options;
		uint64_t more;
	} newer = {plain(), 0};
	struct kvs_policy *policy;

	newer.options.size = sizeof(newer);
	tap_ok(!kvs_policy_open(model->rig.device, model->id, "uniform", &newer.options, &policy),
	       "options of a newer library that ask for nothing new are accepted");
	kvs_policy_close(policy);
	newer.more = 1;
	tap_ok(kvs_policy_open(model->rig.device, model->id, "uniform", &newer.options, &policy) == -E2BIG,
	       "those that do are refused: E2BIG");
}

static void test_calls(struct model *model)
{
	float mass[MODEL_HEADS * 8] = {0};
	struct kvs_policy *policy;

	tap_ok(kvs_policy_open(model->rig.device, 0, "lru", NULL, &policy) == -ENOENT &&
		       kvs_policy_open(model->rig.device, 999, "lru", NULL, &policy) == -ENOENT,
	       "no such stream: ENOENT");
	rig_must(&model->rig, "open", kvs_policy_open(model->rig.device, model->id, "h2o", NULL, &policy));
	tap_ok(kvs_policy_wants_mass(policy), "h2o wants the attention of each token");
	tap_ok(kvs_policy_layer(policy, MODEL_LAYERS, 8, mass) == -EINVAL &&
		       kvs_policy_layer(policy, 0, 0, mass) == -EINVAL &&
		       kvs_policy_layer(policy, 0, MODEL_TOKENS + 1, mass) == -EINVAL,
	       "a layer or a number of tokens that cannot be: EINVAL");
	tap_ok(kvs_policy_layer(policy, 0, 8, NULL) == -EINVAL && !kvs_policy_layer(policy, 0, 8, mass),
	       "it cannot do without");
	kvs_policy_close(policy);
	kvs_policy_close(NULL);
}

static void test_policies(void)
{
	struct kvs_policy_options options = plain();
	struct model model;

	options.sram_bytes = 3 * MODEL_TOKEN_BYTES;
	model_open(&model, DEVICE);
	model_policy(&model, "positional", &options);
	model_prefill(&model, 60);
	test_ranges(&model);
	test_kinds(&model);
	test_places_of_options(&model);
	test_size_first(&model);
	test_calls(&model);
	model_close(&model);
}

/* A stream that is gone ends the policy's calls, not the program. */
static void test_stream_end(void)
{
	struct kvs_policy *policy;
	struct model model;

	model_open(&model, DEVICE);
	rig_must(&model.rig, "open", kvs_policy_open(model.rig.device, model.id, "lru", NULL, &policy));
	kvs_stream_free(model.stream);
	model.stream = NULL;
	tap_ok(kvs_policy_prefilled(policy) == -ENOENT && kvs_policy_step(policy) == -ENOENT,
	       "a policy whose stream has ended says so");
	kvs_policy_close(policy);
	model_close(&model);
}

/* ---- lists of places and contracts ---- */

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static struct kvsink_tag_rec first_tag(struct model *model)
{
	struct kvsink_tag_rec *list, tag = {0};
	size_t bytes;
	int count = kvs_query(model->rig.device, DRM_KVSINK_QUERY_TAGS, model->id, 0, (void **)&list, &bytes);

	if (count > 0)
		tag = list[0];
	free(list);
	return tag;
}

static void test_lists(void)
{
	struct drm_kvsink_place places[257];
	struct kvs_contract partial = {.size = sizeof(partial), .partial = true};
	struct kvs_grant grant;
	struct model model;

	for (uint32_t t = 0; t < 257; t++)
		places[t] = (struct drm_kvsink_place){t, 0, 4, 3};
	model_open(&model, DEVICE);
	model_prefill(&model, 300);
	tap_ok(!kvs_promote(model.rig.device, model.id, places, 64, NULL, &grant) && grant.granted == 64 &&
		       grant.sram_bytes == 65536 && grant.generation,
	       "a list of places is granted as a whole");
	tap_ok(kvs_evict(model.rig.device, model.id, places, 64) == 64, "and removed as a whole");
	tap_ok(kvs_promote(model.rig.device, model.id, places, 65, NULL, &grant) == -ENOSPC &&
		       !grant.granted && grant.code == KVSINK_CODE_BUDGET && model_holds(&model, 0, 0),
	       "one place too many, and nothing is granted");
	tap_ok(strstr(kvs_device_error(model.rig.device), "and 64 more: BUDGET"), "the line: %s",
	       kvs_device_error(model.rig.device));
	tap_ok(!kvs_promote(model.rig.device, model.id, places, 65, &partial, &grant) &&
		       grant.granted == 64 && grant.code == KVSINK_CODE_BUDGET && model_holds(&model, 0, 64),
	       "a partial grant takes what fits, and says what ended it");
	tap_ok(kvs_promote(model.rig.device, model.id, places, 257, NULL, &grant) == -E2BIG &&
		       kvs_evict(model.rig.device, model.id, places, 257) == -E2BIG &&
		       kvs_contract(model.rig.device, model.id, places, 257, &partial) == -E2BIG,
	       "more than 256 places: E2BIG");
	tap_ok(kvs_promote(model.rig.device, model.id, places, 0, NULL, NULL) == -EINVAL &&
		       kvs_evict(model.rig.device, model.id, NULL, 1) == -EINVAL,
	       "no places: EINVAL");
	model_close(&model);
}

static void test_contracts(void)
{
	const struct drm_kvsink_place place = {7, 0, 4, 3};
	struct kvs_contract contract = {.size = sizeof(contract), .dwell_steps = 3, .priority = 9};
	struct kvsink_tag_rec tag;
	struct model model;

	model_open(&model, DEVICE);
	model_prefill(&model, 60);
	tap_ok(!kvs_promote(model.rig.device, model.id, &place, 1, &contract, NULL),
	       "a grant with a contract");
	tag = first_tag(&model);
	tap_ok((tag.flags & KVSINK_TAG_CONTRACT) && tag.dwell_steps == 3 && tag.priority == 9 &&
		       tag.deadline_ns > now_ns() && tag.deadline_ns <= now_ns() + KVSINK_MAX_LEASE_NS,
	       "a dwell without a deadline gets the longest lease");
	for (int i = 0; i < 3; i++)
		model_step(&model);
	tag = first_tag(&model);
	tap_ok(tag.token == 7 && !(tag.flags & KVSINK_TAG_CONTRACT) && tag.age_steps == 3,
	       "after its steps the entry stays and the contract is over");
	contract = (struct kvs_contract){.size = sizeof(contract), .deadline_ns = now_ns() + 5000000000u};
	tap_ok(kvs_contract(model.rig.device, model.id, &place, 1, &contract) == 1 &&
		       (first_tag(&model).flags & KVSINK_TAG_CONTRACT),
	       "CONTRACT makes a new one");
	contract.deadline_ns = 0;
	tap_ok(kvs_contract(model.rig.device, model.id, &place, 1, &contract) == 1 &&
		       !(first_tag(&model).flags & KVSINK_TAG_CONTRACT),
	       "and ends it");
	contract.due_ns = 1;
	tap_ok(kvs_contract(model.rig.device, model.id, &place, 1, &contract) == -EINVAL &&
		       strstr(kvs_device_error(model.rig.device), "due_ns = 1"),
	       "CONTRACT takes no due time: %s", kvs_device_error(model.rig.device));
	contract = (struct kvs_contract){.size = sizeof(contract), .deadline_ns = 1};
	tap_ok(kvs_contract(model.rig.device, model.id, &place, 1, &contract) == -EINVAL,
	       "a deadline in the past: EINVAL");
	contract = (struct kvs_contract){.size = sizeof(contract), .priority = 256};
	tap_ok(kvs_contract(model.rig.device, model.id, &place, 1, &contract) == -EINVAL,
	       "priority 256: EINVAL");
	model_close(&model);
}

/* PROMOTE, EVICT and SCORE_IMPORT inside a batch, in its order. */
static void test_batch(void)
{
	struct kvs_contract contract = {.size = sizeof(contract), .dwell_steps = 5};
	const struct drm_kvsink_place places[] = {{1, 0, 4, 3}, {2, 0, 4, 3}},
				      all = {KVSINK_TOKEN_ALL, 0, 4, 3};
	struct drm_kvsink_job_status status;
	struct kvs_batch *batch;
	struct model model;
	uint64_t *scores;

	model_open(&model, DEVICE);
	batch = model.rig.batch;
	model_prefill(&model, 60);
	kvs_batch_promote(batch, model.stream, places, 2, &contract);
	kvs_batch_evict(batch, model.stream, &all, 1);
	kvs_batch_evict(batch, model.stream, &all, 1); /* nothing left: no error in a batch */
	kvs_batch_promote(batch, model.stream, &places[1], 1, NULL);
	kvs_batch_barrier(batch, model.stream);
	tap_ok(!rig_run(&model.rig, &status) && model_holds(&model, 2, 3),
	       "PROMOTE and EVICT run in the order of their batch");
	kvs_batch_promote(batch, model.stream, places, 2, NULL);
	tap_ok(rig_run(&model.rig, &status) == -EEXIST && status.code == KVSINK_CODE_EXISTS &&
		       status.op == 0 && strstr(kvs_device_error(model.rig.device), "(PROMOTE): EXISTS"),
	       "a refusal fails the job: %s", kvs_device_error(model.rig.device));
	kvs_batch_promote(batch, model.stream, (struct drm_kvsink_place[]){{3, 3, 9, 3}}, 1, NULL);
	tap_ok(rig_run(&model.rig, NULL) == -EINVAL &&
		       strstr(kvs_device_error(model.rig.device), "operation 0 (PROMOTE)"),
	       "places out of range: %s", kvs_device_error(model.rig.device));
	model_close(&model);

	model_open(&model, DEVICE);
	scores = (uint64_t *)(model.rig.memory + RIG_OUT);
	tap_ok(!kvs_batch_score_import(model.rig.batch, model.stream, 0, 7, rig_at(&model.rig, RIG_OUT)) &&
		       rig_run(&model.rig, NULL) == -EILSEQ && scores[0] == 0,
	       "SCORE_IMPORT of another number of tokens: EILSEQ");
	model_close(&model);
}

/* ---- head tables ---- */

static int load(const char *text, uint32_t layers, uint32_t heads, uint64_t *masks)
{
	char path[] = "/tmp/kvsink-heads-XXXXXX";
	int fd = mkstemp(path), err;

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		rig_must(&(struct rig){0}, "mkstemp", -1);
	close(fd);
	err = kvs_heads_load(path, 0.5, layers, heads, masks);
	unlink(path);
	return err;
}

static void bad_table(const char *text, const char *expected)
{
	uint64_t masks[2] = {7, 7};

	tap_ok(load(text, 2, 3, masks) == -EINVAL && strstr(kvs_open_error(), expected) && masks[0] == 7 &&
		       masks[1] == 7,
	       "table refused: ...%s", strstr(kvs_open_error(), ":") ? strstr(kvs_open_error(), ":") : "");
}

static void test_tables(void)
{
	uint64_t masks[32];
	unsigned full = 0;

	tap_ok(!load("# a head\n\n0.5\t0.49\t1\n-1e-5\t0\t9.9e-01\n", 2, 3, masks) && masks[0] == 5 &&
		       masks[1] == 4,
	       "weights that reach the threshold make full heads");
	bad_table("1\t1\t1\n", "1 layers: the stream has 2");
	bad_table("1\t1\t1\n1\t1\t1\n1\t1\t1\n", ":3: more than 2 layers");
	bad_table("1\t1\t1\n1\t1\n", ":2: weight 2 is no number");
	bad_table("1\t1\t1\t1\n1\t1\t1\n", ":1: more than 3 weights");
	bad_table("1\tx\t1\n1\t1\t1\n", ":1: weight 1 is no number");
	bad_table("1\tnan\t1\n1\t1\t1\n", ":1: weight 1 is no number");
	bad_table("1\t0,5\t1\n1\t1\t1\n", ":1: weight 1 is no number");
	tap_ok(kvs_heads_load("/nonexistent", 0.5, 2, 3, masks) == -ENOENT &&
		       strstr(kvs_open_error(), "/nonexistent"),
	       "no such file: %s", kvs_open_error());
	tap_ok(kvs_heads_load("/", 0.5, 2, 3, masks) < 0 &&
		       kvs_heads_load("x", 0.5, 0, 3, masks) == -EINVAL &&
		       kvs_heads_load("x", 0.5, 2, 65, masks) == -EINVAL &&
		       kvs_heads_load("x", NAN, 2, 3, masks) == -EINVAL,
	       "a folder, no layers, 65 heads, no threshold");
	tap_ok(!kvs_heads_load("data/duo-attention/Meta-Llama-3.1-8B-Instruct.tsv", 0.1, 32, 8, masks),
	       "a table of DuoAttention is read");
	for (uint32_t l = 0; l < 32; l++)
		full += (unsigned)__builtin_popcountll(masks[l]);
	tap_ok(full == 256 - 12, "few heads are confidently streaming: %u of 256", 256 - full);
}

int main(void)
{
	test_list();
	test_policies();
	test_stream_end();
	test_lists();
	test_contracts();
	test_batch();
	test_tables();
	return tap_done();
}
