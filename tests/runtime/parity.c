/* SPDX-License-Identifier: MIT */
/*
 * parity DEVICE [SEED]: a fixed pseudo-random sequence of operations, and what the device answered, as
 * text. The same sequence through drm: in a guest and sim: on the host must print the same text: a hash
 * of every output byte after each step, outcomes of ioctls, and what the counters grew by.
 *
 * The device must have no other client and its default properties and parameters; the caller must be an
 * administrator.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "place.h"
#include "kvsink_policy.h"

#define STEPS 24
#define SWAPS 6
#define WINDOWS 8
#define WINDOW_ROWS 5
#define PREFILL 150
#define CHUNK 50
#define MAX_TOKENS 512

#define OUT_AT (2u << 20) /* where outputs lie in the buffer; inputs before */
#define STATS_AT (3u << 20)
#define LIST_AT (3u << 20 | 512u << 10)
#define MASS_AT (3u << 20 | 768u << 10)
#define POLICY_STEPS 4
#define BUFFER_BYTES (4u << 20)

/* Geometries that differ in everything. */
static const struct kvs_geometry geometries[2] = {
	{.size = sizeof(struct kvs_geometry),
	 .layers = 3,
	 .q_heads = 6,
	 .kv_heads = 2,
	 .d_k = 64,
	 .d_v = 64,
	 .format = KVSINK_FORMAT_F32,
	 .page_tokens = 16,
	 .max_tokens = MAX_TOKENS,
	 .score_groups = 2,
	 .group_end = {1, 3},
	 .seal_k = KVSINK_FORMAT_INT8,
	 .seal_v = KVSINK_FORMAT_INT4},
	{.size = sizeof(struct kvs_geometry),
	 .layers = 2,
	 .q_heads = 4,
	 .kv_heads = 4,
	 .d_k = 40,
	 .d_v = 24,
	 .format = KVSINK_FORMAT_FP16,
	 .page_tokens = 32,
	 .max_tokens = MAX_TOKENS,
	 .seal_k = KVSINK_FORMAT_INT4_CHANNEL},
};

struct run {
	struct kvs_device *device;
	struct kvs_buffer *buffer;
	struct kvs_batch *batch;
	struct kvs_stream *stream[2];
	uint32_t length[2]; /* tokens of each stream */
	char *memory;	    /* of the buffer */
	uint64_t random;
	XXH3_state_t *hash;
};

/* splitmix64: the same everywhere. */
static uint64_t next(struct run *run)
{
	uint64_t z = run->random += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static uint32_t below(struct run *run, uint32_t n)
{
	return (uint32_t)(next(run) % n);
}

static void fail(struct run *run, const char *what, int err)
{
	fprintf(stderr, "parity: %s: %d: %s\n", what, err, run->device ? kvs_device_error(run->device) : "");
	exit(1);
}

static void must(struct run *run, const char *what, int err)
{
	if (err < 0)
		fail(run, what, err);
}

static struct kvs_place at(struct run *run, uint64_t offset)
{
	return (struct kvs_place){run->buffer, offset};
}

/* Floats in (-2, 2). */
static void fill(struct run *run, uint64_t offset, uint32_t count)
{
	float *to = (float *)(run->memory + offset);

	for (uint32_t i = 0; i < count; i++)
		to[i] = ((float)(next(run) >> 40) / 8388608.0f - 1.0f) * 2.0f;
}

static void absorb(struct run *run, uint64_t offset, size_t bytes)
{
	XXH3_64bits_update(run->hash, run->memory + offset, bytes);
}

static void print_hash(struct run *run, const char *what, uint32_t index)
{
	printf("%s %u %016llx\n", what, index, (unsigned long long)XXH3_64bits_digest(run->hash));
}

/* Run the batch and print its outcome. */
static int go(struct run *run, const char *what)
{
	struct drm_kvsink_job_status status;
	int err = kvs_batch_run(run->batch, &status);

	kvs_batch_reset(run->batch);
	if (err && !status.code)
		fail(run, what, err);
	printf("%s %s op %u address %llu\n", what, kvs_code_name(status.code), status.op,
	       (unsigned long long)status.address);
	return err;
}

/* Rows of all layers, behind those that there are. */
static void append_rows(struct run *run, unsigned s, uint32_t count)
{
	const struct kvs_geometry *g = &geometries[s];
	uint64_t offset = 0;

	for (uint32_t layer = 0; layer < g->layers; layer++) {
		uint32_t k = count * g->kv_heads * g->d_k, v = count * g->kv_heads * g->d_v;

		fill(run, offset, k + v);
		must(run, "append",
		     kvs_batch_append(run->batch, run->stream[s], layer, run->length[s], count,
				      at(run, offset), at(run, offset + 4ull * k)));
		offset += 4ull * (k + v);
	}
}

static void append(struct run *run, unsigned s, uint32_t count)
{
	append_rows(run, s, count);
	must(run, "step_end", kvs_batch_step_end(run->batch, run->stream[s], count));
	run->length[s] += count;
}

static void prefill(struct run *run, unsigned s)
{
	const struct kvs_geometry *g = &geometries[s];

	for (uint32_t first = 0; first < PREFILL; first += CHUNK) {
		append(run, s, CHUNK);
		go(run, "prefill");
		for (uint32_t layer = 0; layer < g->layers; layer++) {
			fill(run, 0, CHUNK * g->q_heads * g->d_k);
			must(run, "score",
			     kvs_batch_score(run->batch, run->stream[s], layer, first, CHUNK, at(run, 0),
					     at(run, OUT_AT)));
			go(run, "score");
			absorb(run, OUT_AT, 4ull * CHUNK * g->q_heads * g->d_v);
		}
	}
	print_hash(run, "prefill", s);
}

/* T_SINK low enough for some tokens, both modes that need no second pass and the one that does. */
static void classify(struct run *run, unsigned s, uint32_t mode)
{
	static const uint32_t t_sink[] = {0x40000000, 0x3c03126f, 0x3f4ccccd}; /* 2.0, 0.008, 0.8 */
	uint64_t id = kvs_stream_id(run->stream[s]), value;
	struct drm_kvsink_list_head *head = (void *)(run->memory + LIST_AT);

	must(run, "config", kvs_config_set(run->device, id, KVSINK_GROUP_ALL, KVSINK_PARAM_SCORE_MODE, mode));
	must(run, "config",
	     kvs_config_set(run->device, id, KVSINK_GROUP_ALL, KVSINK_PARAM_T_SINK, t_sink[mode]));
	must(run, "config", kvs_config_get(run->device, id, KVSINK_GROUP_ALL, KVSINK_PARAM_T_SINK, &value));
	must(run, "classify",
	     kvs_batch_classify(run->batch, run->stream[s], (1u << (s ? 1 : 2)) - 1, 512, at(run, LIST_AT)));
	go(run, "classify");
	absorb(run, LIST_AT, sizeof(*head) + (size_t)head->written * head->record_bytes);
	printf("sinks %u total %u T_SINK %llx\n", head->written, head->total, (unsigned long long)value);
	print_hash(run, "classify", mode);
}

static void promote(struct run *run, unsigned s)
{
	const struct kvs_geometry *g = &geometries[s];
	uint32_t token = below(run, run->length[s]), begin = below(run, g->layers);
	uint32_t end = begin + 1 + below(run, g->layers - begin);
	uint64_t mask = 1 + below(run, (1u << g->kv_heads) - 1);
	struct kvs_grant grant;
	int err = promote_one(run->device, kvs_stream_id(run->stream[s]), token, begin, end, mask, &grant);

	printf("promote %u [%u,%u) %llx: %d %s bytes %u\n", token, begin, end, (unsigned long long)mask, err,
	       kvs_code_name(grant.code), grant.sram_bytes);
}

static void evict(struct run *run, unsigned s)
{
	uint32_t token = below(run, 4) ? below(run, run->length[s]) : KVSINK_TOKEN_ALL;
	int entries = evict_one(run->device, kvs_stream_id(run->stream[s]), token, 0, geometries[s].layers);

	printf("evict %u: %d\n", token, entries);
}

/* One ragged batch over both streams: the newest token of each layer, and a short chunk now and then. */
static void attend(struct run *run, uint32_t mode)
{
	struct drm_kvsink_attend_item items[8];
	uint32_t count = 0, queries_floats = 0, out_floats = 0, stats = 0, mass = 0; /* mass: bytes */

	for (unsigned s = 0; s < 2; s++)
		for (uint32_t layer = 0; layer < geometries[s].layers; layer++) {
			uint32_t n = below(run, 3) ? 1 : 1 + below(run, 7);

			items[count++] = (struct drm_kvsink_attend_item){
				.stream = kvs_stream_id(run->stream[s]),
				.layer = layer,
				.first = run->length[s] - n,
				.count = n,
			};
			queries_floats += n * geometries[s].q_heads * geometries[s].d_k;
			out_floats += n * geometries[s].q_heads * geometries[s].d_v;
			stats += n * geometries[s].q_heads;
			mass += 4 * geometries[s].kv_heads * run->length[s];
		}
	fill(run, 0, queries_floats);
	must(run, "attend",
	     kvs_batch_attend(run->batch, items, count, mode, at(run, 0), at(run, OUT_AT), at(run, STATS_AT),
			      at(run, MASS_AT)));
	go(run, "attend");
	absorb(run, OUT_AT, 4ull * out_floats);
	absorb(run, STATS_AT, sizeof(struct drm_kvsink_attend_stat) * (size_t)stats);
	absorb(run, MASS_AT, mass);
}

/* Every criterion, with and without the score buffer, differently for the two streams. */
static void gate(struct run *run, uint32_t index)
{
	for (unsigned s = 0; s < 2; s++) {
		uint64_t id = kvs_stream_id(run->stream[s]);

		must(run, "gate",
		     kvs_config_set(run->device, id, KVSINK_GROUP_ALL, KVSINK_PARAM_GATE,
				    (index / 3 + s) % 3));
		must(run, "epsilon",
		     kvs_config_set(run->device, id, KVSINK_GROUP_ALL, KVSINK_PARAM_EPSILON, 0x3dcccccd + s));
		must(run, "buffer",
		     kvs_config_set(run->device, id, KVSINK_GROUP_ALL, KVSINK_PARAM_GATE_BUFFER,
				    (index / 9 + s) % 2));
	}
}

/* Whole pages behind the newest 16 tokens, one row of the first new page protected. */
static void seal(struct run *run, unsigned s)
{
	const struct kvs_geometry *g = &geometries[s];
	uint32_t tokens = (run->length[s] - 16) / g->page_tokens * g->page_tokens;
	const struct drm_kvsink_place place = {tokens - 1 - below(run, g->page_tokens), 0,
					       (uint16_t)g->layers, 2};

	must(run, "seal", kvs_batch_seal(run->batch, run->stream[s], tokens, &place, 1));
	go(run, "seal");
}

static void step(struct run *run, uint32_t index)
{
	gate(run, index);
	if (index % 8 == 4) {
		seal(run, 0);
		seal(run, 1);
	}
	for (unsigned s = 0; s < 2; s++) {
		if (below(run, 3))
			promote(run, s);
		if (!below(run, 5))
			evict(run, s);
		append(run, s, 1 + below(run, 3));
	}
	go(run, "append");
	must(run, "advance", kvs_batch_advance(run->batch, below(run, 2000)));
	if (below(run, 2))
		must(run, "barrier", kvs_batch_barrier(run->batch, run->stream[below(run, 2)]));
	attend(run, index % 3);
	print_hash(run, "step", index);
}

/* A small budget, grants until it is used up, and a barrier that has to wait for the copies. */
static void crowd(struct run *run)
{
	uint64_t id = kvs_stream_id(run->stream[0]);

	printf("evict all: %d\n", evict_one(run->device, id, KVSINK_TOKEN_ALL, 0, geometries[0].layers));
	must(run, "config",
	     kvs_config_set(run->device, id, KVSINK_GROUP_ALL, KVSINK_PARAM_SRAM_BUDGET, 16384));
	for (uint32_t token = 0; token < 7; token++) {
		struct kvs_grant grant;
		int err = promote_one(run->device, id, token, 0, 3, 3, &grant);

		printf("crowd %u: %d %s bytes %u\n", token, err, kvs_code_name(grant.code), grant.sram_bytes);
	}
	must(run, "barrier", kvs_batch_barrier(run->batch, run->stream[0]));
	attend(run, DRM_KVSINK_ATTEND_SPLIT);
	print_hash(run, "crowd", 0);
}

/* Returns how many there are. */
static int absorb_tags(struct run *run, unsigned s)
{
	void *list;
	size_t bytes;
	int count = kvs_query(run->device, DRM_KVSINK_QUERY_TAGS, kvs_stream_id(run->stream[s]), 0, &list,
			      &bytes);

	must(run, "tags", count);
	for (int i = 0; i < count; i++) {
		struct kvsink_tag_rec *tag = &((struct kvsink_tag_rec *)list)[i];

		tag->stream = s; /* ids, tenants and generations depend on what ran before */
		tag->tenant = 0;
		tag->generation = 0;
		tag->deadline_ns = 0; /* host time */
	}
	XXH3_64bits_update(run->hash, list, (size_t)count * bytes);
	free(list);
	return count;
}

/* ---- policies ---- */

/* One token, appended and attended to layer by layer, with the policy's calls. */
static void policy_step(struct run *run, struct kvs_policy *policy)
{
	const struct kvs_geometry *g = &geometries[0];
	struct kvs_stream *stream = run->stream[0];
	uint32_t token = run->length[0], k = g->kv_heads * g->d_k, v = g->kv_heads * g->d_v;

	for (uint32_t layer = 0; layer < g->layers; layer++) {
		const struct drm_kvsink_attend_item item = {kvs_stream_id(stream), layer, token, 1, 0};

		fill(run, 0, k + v + g->q_heads * g->d_k);
		must(run, "append",
		     kvs_batch_append(run->batch, stream, layer, token, 1, at(run, 0), at(run, 4ull * k)));
		must(run, "attend",
		     kvs_batch_attend(run->batch, &item, 1, DRM_KVSINK_ATTEND_SPLIT, at(run, 4ull * (k + v)),
				      at(run, OUT_AT), at(run, STATS_AT), at(run, MASS_AT)));
		must(run, "decode", kvs_batch_run(run->batch, NULL));
		kvs_batch_reset(run->batch);
		absorb(run, OUT_AT, 4ull * g->q_heads * g->d_v);
		absorb(run, STATS_AT, g->q_heads * sizeof(struct drm_kvsink_attend_stat));
		absorb(run, MASS_AT, 4ull * g->kv_heads * (token + 1));
		must(run, "layer",
		     kvs_policy_layer(policy, layer, token + 1, (float *)(run->memory + MASS_AT)));
	}
	must(run, "step", kvs_batch_step_end(run->batch, stream, 1));
	must(run, "advance", kvs_batch_advance(run->batch, 500));
	must(run, "decode", kvs_batch_run(run->batch, NULL));
	kvs_batch_reset(run->batch);
	run->length[0]++;
	must(run, "policy", kvs_policy_step(policy));
}

/* Entries of stream 0 after each step of each policy; the counters come at the end. */
static void policies(struct run *run)
{
	const struct drm_kvsink_place pins[] = {{3, 0, 3, 3}, {50, 1, 2, 1}};
	uint64_t id = kvs_stream_id(run->stream[0]);

	for (unsigned i = 0; i < kvs_policy_count(); i++) {
		const char *name = kvs_policy_name(i);
		struct kvs_policy_options options = {.size = sizeof(options),
						     .sram_bytes = 40000,
						     .tail_tokens = KVS_TAIL_HALF,
						     .seed = i};
		struct kvs_policy *policy;

		if (!strcmp(name, "hindsight")) {
			options.pins = pins;
			options.pin_count = 2;
		}
		must(run, name, kvs_policy_open(run->device, id, name, &options, &policy));
		must(run, name, kvs_policy_prefilled(policy));
		for (int n = 0; n < POLICY_STEPS; n++) {
			policy_step(run, policy);
			absorb_tags(run, 0);
		}
		kvs_policy_close(policy);
		print_hash(run, name, i);
	}
}

/* What the device refuses must agree, too. */
static void refusals(struct run *run)
{
	append(run, 0, 1);
	run->length[0]--;
	must(run, "append",
	     kvs_batch_append(run->batch, run->stream[0], 0, run->length[0], 1, at(run, 0), at(run, 0)));
	go(run, "refused"); /* the second append is not the next token, the first stays */
	run->length[0]++;
	must(run, "abort", kvs_batch_step_abort(run->batch, run->stream[0]));
	go(run, "abort");
	must(run, "append", kvs_batch_append(run->batch, run->stream[0], 9, 0, 1, at(run, 0), at(run, 0)));
	printf("layer 9: %d: %s\n", kvs_batch_run(run->batch, NULL), kvs_device_error(run->device));
	kvs_batch_reset(run->batch);
}

static void records(struct run *run)
{
	for (unsigned s = 0; s < 2; s++) {
		void *list;
		size_t bytes;
		int count = kvs_query(run->device, DRM_KVSINK_QUERY_SCORES, kvs_stream_id(run->stream[s]), 0,
				      &list, &bytes);

		must(run, "scores", count);
		XXH3_64bits_update(run->hash, list, (size_t)count * bytes);
		free(list);
		printf("tags of stream %u: %d\n", s, absorb_tags(run, s));
	}
	print_hash(run, "records", 0);
}

/*
 * A stream's ledger starts at 0. The device's does not: differences of its times, which are rounded to ns,
 * depend on where its clock stood, so they are left out; the streams' times tell the same. What its logs lost
 * depends on what clients before us had left in them.
 */
static void print_counters(struct run *run, const char *of, uint64_t stream, const uint64_t *before)
{
	static const struct {
		const char *name, *unit;
	} counters[] = {
#define X(name, unit, doc) {#name, unit},
		KVSINK_COUNTERS(X)
#undef X
	};
	uint64_t now[KVSINK_COUNTER_COUNT];

	must(run, "counters", kvs_counters(run->device, stream, now));
	for (int i = 0; i < KVSINK_COUNTER_COUNT; i++)
		if (!before || (strcmp(counters[i].unit, "ns") && i != KVSINK_COUNTER_SPANS_LOST &&
				i != KVSINK_COUNTER_EVENTS_LOST))
			printf("%s %s %llu\n", of, counters[i].name,
			       (unsigned long long)(now[i] - (before ? before[i] : 0)));
}

/*
 * Streams leave HBM and come back between steps. The kernel's scrubs are the device's business, so what they
 * take must meet no copy: all have ended before.
 */
static void swaps(struct run *run)
{
	for (uint32_t i = 0; i < SWAPS; i++) {
		struct kvs_stream *stream = run->stream[i & 1];
		struct kvs_buffer *image;
		uint64_t bytes;

		for (unsigned s = 0; s < 2; s++)
			must(run, "barrier", kvs_batch_barrier(run->batch, run->stream[s]));
		must(run, "barrier", kvs_batch_run(run->batch, NULL));
		kvs_batch_reset(run->batch);
		must(run, "image", kvs_stream_image_bytes(stream, &bytes));
		must(run, "image", kvs_buffer_create(run->device, bytes, &image));
		must(run, "out", kvs_stream_swap_out(stream, (struct kvs_place){image, 0}));
		XXH3_64bits_update(run->hash, kvs_buffer_data(image), bytes);
		printf("image of %llu bytes\n", (unsigned long long)bytes);
		must(run, "seal", kvs_batch_seal(run->batch, stream, 32, NULL, 0));
		printf("seal: %d\n", kvs_batch_run(run->batch, NULL));
		kvs_batch_reset(run->batch);
		((char *)kvs_buffer_data(image))[bytes - 1] ^= 1;
		printf("changed: %d\n", kvs_stream_swap_in(stream, (struct kvs_place){image, 0}));
		((char *)kvs_buffer_data(image))[bytes - 1] ^= 1;
		must(run, "in", kvs_stream_swap_in(stream, (struct kvs_place){image, 0}));
		kvs_buffer_free(image);
		step(run, STEPS + i);
	}
	print_hash(run, "swaps", SWAPS);
}

/* Drafts of which some rows stay, and calls that are refused. As with swaps, no copy may meet the scrubs. */
static void windows(struct run *run)
{
	for (unsigned s = 0; s < 2; s++) {
		must(run, "placement",
		     kvs_config_set(run->device, kvs_stream_id(run->stream[s]), KVSINK_GROUP_ALL,
				    KVSINK_PARAM_PLACEMENT, KVSINK_PLACEMENT_OBSERVE));
		must(run, "barrier", kvs_batch_barrier(run->batch, run->stream[s]));
	}
	go(run, "barrier");
	for (uint32_t i = 0; i < WINDOWS; i++) {
		unsigned s = i & 1;

		must(run, "begin", kvs_window_begin(run->stream[s], WINDOW_ROWS));
		printf("nested: %d\n", kvs_window_begin(run->stream[s], WINDOW_ROWS));
		append_rows(run, s, WINDOW_ROWS);
		go(run, "draft");
		run->length[s] += WINDOW_ROWS;
		attend(run, i % 2 ? DRM_KVSINK_ATTEND_CANONICAL : DRM_KVSINK_ATTEND_SPLIT);
		run->length[s] -= WINDOW_ROWS;
		must(run, "step_end", kvs_batch_step_end(run->batch, run->stream[s], WINDOW_ROWS));
		printf("step: %d\n", kvs_batch_run(run->batch, NULL));
		kvs_batch_reset(run->batch);
		printf("more: %d\n", kvs_window_commit(run->stream[s], WINDOW_ROWS + 1));
		must(run, "commit", kvs_window_commit(run->stream[s], i % (WINDOW_ROWS + 1)));
		run->length[s] += i % (WINDOW_ROWS + 1);
		printf("none: %d\n", kvs_window_rollback(run->stream[s]));
	}
	print_hash(run, "windows", WINDOWS);
}

/* Until what a client before us left to the kernel (freed buffers, say) is done: its jobs would be counted.
 */
static void settle(struct run *run)
{
	const struct timespec pause = {.tv_nsec = 100000000};
	uint64_t jobs = 0, before;
	int tries = 50;

	do {
		before = jobs;
		nanosleep(&pause, NULL);
		must(run, "jobs",
		     kvs_register_read(run->device, KVSINK_COUNTER_BASE + 8 * KVSINK_COUNTER_JOBS, &jobs));
	} while (jobs != before && --tries);
}

static void set_up(struct run *run, const char *name, uint64_t seed)
{
	int err = kvs_open(name, &run->device);

	if (err) {
		fprintf(stderr, "parity: %s\n", kvs_open_error());
		exit(1);
	}
	run->random = seed;
	run->hash = XXH3_createState();
	XXH3_64bits_reset(run->hash);
	must(run, "buffer", kvs_buffer_create(run->device, BUFFER_BYTES, &run->buffer));
	must(run, "batch", kvs_batch_create(run->device, &run->batch));
	for (unsigned s = 0; s < 2; s++)
		must(run, "stream", kvs_stream_create(run->device, &geometries[s], &run->stream[s]));
	run->memory = kvs_buffer_data(run->buffer);
}

static void tear_down(struct run *run)
{
	for (unsigned s = 0; s < 2; s++)
		kvs_stream_free(run->stream[s]);
	kvs_batch_free(run->batch);
	kvs_buffer_free(run->buffer);
	kvs_close(run->device);
	XXH3_freeState(run->hash);
}

int main(int argc, char **argv)
{
	struct run run = {0};
	uint64_t before[KVSINK_COUNTER_COUNT];

	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: parity DEVICE [SEED]\n");
		return 2;
	}
	set_up(&run, argv[1], argc > 2 ? strtoull(argv[2], NULL, 0) : 1);
	settle(&run);
	must(&run, "counters", kvs_counters(run.device, 0, before));
	prefill(&run, 0);
	prefill(&run, 1);
	for (uint32_t mode = 0; mode < 3; mode++)
		classify(&run, mode & 1, mode);
	for (uint32_t i = 0; i < STEPS; i++)
		step(&run, i);
	crowd(&run);
	policies(&run);
	refusals(&run);
	records(&run);
	print_counters(&run, "stream 0", kvs_stream_id(run.stream[0]), NULL);
	print_counters(&run, "stream 1", kvs_stream_id(run.stream[1]), NULL);
	print_counters(&run, "device", 0, before);
	swaps(&run);
	records(&run);
	print_counters(&run, "swapped stream 0", kvs_stream_id(run.stream[0]), NULL);
	print_counters(&run, "swapped stream 1", kvs_stream_id(run.stream[1]), NULL);
	windows(&run);
	records(&run);
	print_counters(&run, "speculating stream 0", kvs_stream_id(run.stream[0]), NULL);
	print_counters(&run, "speculating stream 1", kvs_stream_id(run.stream[1]), NULL);
	tear_down(&run);
	return 0;
}
