// SPDX-License-Identifier: MIT
/*
 * Policies of streams that begin with a prefix: its rows are promoted once, by whoever comes first and for
 * all, and no stream's policy evicts them.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"
#include "model.h"
#include "tap.h"

#define DEVICE "sim:hbm=16M,sram=64K"
#define PROMPT 60

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

/* A second stream on the model's device that begins with `tokens` of the first, and goes on to PROMPT. */
struct heir {
	struct kvs_prefix *prefix;
	struct model second;
};

static void open_heir(struct heir *heir, struct model *first, uint32_t tokens)
{
	struct kvs_geometry geometry = first->stream->geometry;

	rig_must(&first->rig, "publish", kvs_prefix_publish(first->stream, tokens, NULL, &heir->prefix));
	heir->second = *first;
	heir->second.policy = NULL;
	rig_must(&first->rig, "attach",
		 kvs_stream_attach(first->rig.device, &geometry, heir->prefix, tokens, &heir->second.stream));
	heir->second.id = kvs_stream_id(heir->second.stream);
	heir->second.length = tokens;
}

static void close_heir(struct heir *heir, struct model *first)
{
	kvs_policy_close(heir->second.policy);
	kvs_stream_free(heir->second.stream);
	kvs_prefix_free(heir->prefix);
	model_close(first);
}

/* The model's own functions look at its stream; this is the prefix seen as one. */
static struct model prefix_of(const struct heir *heir)
{
	struct model model = heir->second;

	model.id = kvs_prefix_id(heir->prefix);
	return model;
}

static uint32_t entries_of(struct model *model)
{
	struct kvsink_stream_rec *rec;
	uint32_t entries;
	size_t size;

	rig_must(&model->rig, "streams",
		 kvs_query(model->rig.device, DRM_KVSINK_QUERY_STREAMS, model->id, 0, (void **)&rec, &size));
	entries = rec->entries;
	free(rec);
	return entries;
}

static void prefilled(struct model *model, const char *name, const struct kvs_policy_options *options)
{
	model_policy(model, name, options);
	rig_must(&model->rig, name, kvs_policy_prefilled(model->policy));
}

/* The first stream has placed before it was published: all that the second finds there it need not promote.
 */
static void test_inherits(void)
{
	struct kvs_policy_options options = options_for(12, 4);
	struct model first, prefix;
	struct heir heir;
	uint64_t promotions, read, first_read;
	int err;

	start(&first, "streamingllm", &options);
	open_heir(&heir, &first, 32);
	prefix = prefix_of(&heir);
	model_policy(&heir.second, "streamingllm", &options);
	err = kvs_policy_prefilled(heir.second.policy);
	promotions = model_counter(&heir.second, KVSINK_COUNTER_PROMOTIONS) +
		     model_counter(&prefix, KVSINK_COUNTER_PROMOTIONS);
	tap_ok(!err && !promotions && model_holds(&prefix, 0, 4) && model_holds(&heir.second, 0, 0),
	       "a prefix: what the first stream has placed is not promoted again");
	for (int i = 0; i < 6; i++) {
		model_step(&first);
		model_step(&heir.second);
	}
	tap_ok(model_holds(&prefix, 0, 4) && model_tail(&heir.second) == 4 && model_tail(&first) == 4,
	       "a prefix: its rows stay while both go on");
	first_read = model_counter(&first, KVSINK_COUNTER_KV_SRAM_READ);
	read = model_counter(&heir.second, KVSINK_COUNTER_KV_SRAM_READ);
	model_step(&first);
	model_step(&heir.second);
	first_read = model_counter(&first, KVSINK_COUNTER_KV_SRAM_READ) - first_read;
	read = model_counter(&heir.second, KVSINK_COUNTER_KV_SRAM_READ) - read;
	tap_ok(read == first_read && read == 8 * MODEL_TOKEN_BYTES,
	       "a prefix: both read them from SRAM, as they do their tails");
	close_heir(&heir, &first);
}

/* It was published before anybody placed: the first who does promotes for all, through the prefix. */
static void test_places_for_all(const char *name)
{
	struct kvs_policy_options options = options_for(8, 0);
	struct model first, prefix;
	struct heir heir;
	uint32_t entries;
	bool stay = true;

	model_open(&first, DEVICE);
	first.random_heat = 6;
	model_prefill(&first, PROMPT);
	open_heir(&heir, &first, PROMPT);
	prefix = prefix_of(&heir);
	prefilled(&first, name, &options);
	entries = entries_of(&prefix);
	tap_ok(entries && model_counter(&prefix, KVSINK_COUNTER_PROMOTIONS) == entries &&
		       model_holds(&first, 0, 0) && model_sram(&prefix) <= options.sram_bytes,
	       "%s: the first stream places %u entries for all", name, entries);
	prefilled(&heir.second, name, &options);
	tap_ok(model_counter(&prefix, KVSINK_COUNTER_PROMOTIONS) == entries &&
		       !model_counter(&heir.second, KVSINK_COUNTER_PROMOTIONS),
	       "%s: the second finds them, and promotes nothing", name);
	for (int i = 0; i < 12; i++) {
		model_step(&first);
		model_step(&heir.second);
		stay &= entries_of(&prefix) == entries && model_sram(&prefix) + model_sram(&first) <= 8192 &&
			model_sram(&prefix) + model_sram(&heir.second) <= 8192;
	}
	tap_ok(stay && !model_counter(&prefix, KVSINK_COUNTER_EVICTIONS),
	       "%s: they stay, and count in the budget of both", name);
	close_heir(&heir, &first);
}

/* Published under a policy that moves: what it has in the prefix stays, and it goes on with its own rows. */
static void test_published_later(const char *name)
{
	struct kvs_policy_options options = options_for(6, 0);
	struct model first, prefix;
	struct heir heir;
	uint32_t entries;
	bool good = true;

	model_open(&first, DEVICE);
	first.random_heat = 6;
	model_policy(&first, name, &options);
	model_prefill(&first, PROMPT);
	for (int i = 0; i < 20; i++)
		model_step(&first);
	open_heir(&heir, &first, 48);
	prefix = prefix_of(&heir);
	entries = entries_of(&prefix);
	for (int i = 0; i < 20; i++) {
		model_step(&first);
		good &= entries_of(&prefix) == entries;
	}
	tap_ok(good && !model_counter(&prefix, KVSINK_COUNTER_EVICTIONS),
	       "%s, published in mid-run: it goes on without the prefix's rows (%u entries)", name, entries);
	close_heir(&heir, &first);
}

/* Half of what it keeps is the prefix's now: the rows behind come next, not the same ones again. */
static void test_published_in_part(void)
{
	struct kvs_policy_options options = options_for(6, 0);
	struct model first, prefix;
	struct heir heir;

	start(&first, "lfu", &options);
	open_heir(&heir, &first, 3);
	prefix = prefix_of(&heir);
	for (int i = 0; i < 3; i++)
		model_step(&first);
	tap_ok(model_holds(&prefix, 0, 3) && model_holds(&first, 3, 6),
	       "lfu, published in part: the prefix's rows are not its own to place");
	close_heir(&heir, &first);
}

/* A prefix of another user: it can be read, not placed. */
static void test_foreign_prefix(void)
{
	struct kvs_policy_options options = options_for(8, KVS_TAIL_OWN);
	struct kvs_prefix *theirs;
	struct model first, second;
	struct kvs_geometry geometry;
	struct heir heir;
	int fd;

	model_open(&first, "sim:hbm=16M,sram=64K,share=foreign-prefix,uid=1000");
	model_prefill(&first, PROMPT);
	open_heir(&heir, &first, 32);
	fd = kvs_prefix_export(heir.prefix);
	second = first;
	second.policy = NULL;
	rig_open(&second.rig, "sim:share=foreign-prefix,uid=1001");
	rig_must(&second.rig, "import", kvs_prefix_import(second.rig.device, fd, &theirs));
	close(fd);
	geometry = first.stream->geometry;
	rig_must(&second.rig, "attach",
		 kvs_stream_attach(second.rig.device, &geometry, theirs, 32, &second.stream));
	second.id = kvs_stream_id(second.stream);
	second.length = 32;
	prefilled(&second, "positional", &options);
	for (int i = 0; i < 3; i++)
		model_step(&second);
	tap_ok(!entries_of(&(struct model){.rig = first.rig, .id = kvs_prefix_id(heir.prefix)}),
	       "a prefix of another user is left alone");
	kvs_policy_close(second.policy);
	kvs_prefix_free(theirs);
	kvs_stream_free(second.stream);
	rig_close(&second.rig);
	close_heir(&heir, &first);
}

int main(void)
{
	static const char *const names[] = {"positional", "random",	  "recent", "lru", "lfu", "h2o",
					    "headwise",	  "streamingllm", "1a",	    "1b",  "1c"};

	test_inherits();
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		test_places_for_all(names[i]);
		test_published_later(names[i]);
	}
	test_published_in_part();
	test_foreign_prefix();
	return tap_done();
}
