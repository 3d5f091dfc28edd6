// SPDX-License-Identifier: MIT
/*
 * Serving without a model: traces, the table of prefixes, and many streams at once on sim:. The model is made
 * up: rows follow from a token, its position and the layer, and the next token from all outputs of the last
 * one. So a wrong output anywhere changes everything that a request generates afterwards. Attention is
 * canonical: a request's tokens must be those that it gets alone, bit by bit.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fail.h"
#include "hash.h"
#include "serve_schedule.h"
#include "tap.h"

#define LAYERS 4
#define HEADS 8
#define WIDTH 128
#define ROW (HEADS * WIDTH) /* elements of Q, K, V or output of a token */
#define REQUESTS 18
#define CHUNK 96
#define MAX_TOKENS 128

struct fake {
	struct hook hook;
	struct hook_params params[LAYERS];
	struct serve_device device;
	struct serve_attention attention;
	struct schedule schedule;
	struct trace_request asked[REQUESTS];
	struct served served[REQUESTS];
	int32_t tokens[REQUESTS][MAX_TOKENS];
	uint64_t hash[REQUESTS][MAX_TOKENS / 16];
	float q[CHUNK * ROW], k[CHUNK * ROW], v[CHUNK * ROW], out[CHUNK * ROW];
	uint64_t outputs[CHUNK];   /* hash over the layers, of each row */
	uint64_t scores[REQUESTS]; /* hash of those that each had when its prompt was scored */
	uint32_t at_once;
};

/* What a run leaves. */
struct outcome {
	int32_t tokens[REQUESTS][MAX_TOKENS];
	uint64_t scores[REQUESTS];
	uint32_t preemptions[REQUESTS];
	uint64_t swaps, asked, kept, waits, spared;
	uint32_t shared_entries, dropped, sharing, shared_tokens, sharing_preempted;
	uint32_t at_once;
	int failed;
};

static float element(uint64_t seed)
{
	return (float)((double)(hash_bytes(&seed, sizeof(seed)) >> 40) / (1 << 23) - 1);
}

static void fill_row(float *to, int32_t token, uint32_t position, uint32_t layer, uint32_t which)
{
	uint64_t seed = ((uint64_t)(uint32_t)token << 32) + position * 4096 + layer * 16 + which;

	for (uint32_t i = 0; i < ROW; i += 16) {
		float value = element(seed * 1000003 + i);

		for (uint32_t e = i; e < i + 16; e++)
			to[e] = value * (float)(e - i + 1) / 16;
	}
}

/* Lengths that have chunks end anywhere, and requests that share their first block. */
static void make_requests(struct fake *f)
{
	for (uint32_t i = 0; i < REQUESTS; i++) {
		struct trace_request *r = &f->asked[i];

		*r = (struct trace_request){
			.line = i + 1, .prompt = 33 + 7 * i % 40, .output = 20 + 5 * i % 28};
		r->blocks = (r->prompt + 15) / 16;
		r->hash = f->hash[i];
		for (uint32_t b = 0; b < r->blocks; b++)
			f->hash[i][b] = b ? i * 100 + b : 0;
		for (uint32_t t = 0; t < r->prompt; t++)
			f->tokens[i][t] = (int32_t)(f->hash[i][t / 16] * 16 + t % 16);
		f->served[i] = (struct served){
			.asked = r, .tokens = f->tokens[i], .length = r->prompt, .arrival = i / 6};
	}
}

static int open_fake(struct fake *f, const char *name, const char *policy, uint32_t parallel,
		     uint32_t prefixes)
{
	struct drm_kvsink_dev_info info;

	f->hook.params = f->params;
	f->hook.geometry = (struct geometry){
		.layers = LAYERS, .q_heads = HEADS, .kv_heads = HEADS, .d_k = WIDTH, .d_v = WIDTH};
	for (uint32_t l = 0; l < LAYERS; l++)
		f->params[l].scale = 0.0625f;
	make_requests(f);
	if (kvs_open(name, &f->device.device) || kvs_device_info(f->device.device, &info))
		return fail("%s: %s", name, kvs_open_error());
	f->device.hook = &f->hook;
	f->device.policy = policy;
	f->device.format = KVSINK_FORMAT_FP16;
	f->device.dwell_steps = 4;
	f->device.sram_bytes = (uint32_t)(info.sram_bytes / parallel / KVSINK_SRAM_UNIT * KVSINK_SRAM_UNIT);
	f->attention.mode = DRM_KVSINK_ATTEND_CANONICAL;
	f->attention.compute_ns = 2800;
	f->schedule = (struct schedule){
		.device = &f->device,
		.attention = &f->attention,
		.prefixes = prefix_create(f->device.device, 16, prefixes, LAYERS),
		.served = f->served,
		.count = REQUESTS,
		.parallel = parallel,
		.chunk = CHUNK,
	};
	schedule_open(&f->schedule);
	return serve_attention_open(&f->attention, &f->device, CHUNK, MAX_TOKENS);
}

static int run_layer(struct fake *f, uint32_t layer)
{
	struct hook_layer l = {.layer = layer, .q = f->q, .k = f->k, .v = f->v, .out = f->out};

	for (uint32_t i = 0; i < f->attention.spans; i++)
		for (uint32_t t = 0; t < f->schedule.span[i].count; t++, l.tokens++) {
			uint32_t position = f->schedule.span[i].position + t;
			int32_t token = f->schedule.of_span[i]->tokens[position];

			fill_row(f->q + l.tokens * ROW, token, position, layer, 0);
			fill_row(f->k + l.tokens * ROW, token, position, layer, 1);
			fill_row(f->v + l.tokens * ROW, token, position, layer, 2);
		}
	if (serve_attention_layer(&f->attention, &l))
		return -1;
	for (uint32_t row = 0; row < l.tokens; row++) {
		uint64_t both[2] = {f->outputs[row], hash_bytes(f->out + row * ROW, ROW * sizeof(float))};

		f->outputs[row] = hash_bytes(both, sizeof(both));
	}
	return 0;
}

/* Sums and the queries that they are of, in every group. */
static uint64_t hash_scores(struct fake *f, const struct served *r)
{
	uint64_t hash = 0;

	for (uint32_t g = 0; g < LAYERS; g++) {
		struct kvsink_score_rec *list;
		size_t bytes;
		int count = kvs_query(f->device.device, DRM_KVSINK_QUERY_SCORES,
				      kvs_stream_id(r->stream.attention.stream), g, (void **)&list, &bytes);

		for (int t = 0; t < count; t++) {
			uint64_t all[3] = {hash, list[t].sum, list[t].observers};

			hash = hash_bytes(all, sizeof(all));
		}
		if (count > 0)
			free(list);
	}
	return hash;
}

static int run_step(struct fake *f)
{
	struct schedule *s = &f->schedule;
	int rc = schedule_step(s);

	memset(f->outputs, 0, sizeof(f->outputs));
	for (uint32_t layer = 0; layer < LAYERS && !rc; layer++)
		rc = run_layer(f, layer);
	rc = rc ? rc : serve_attention_step(&f->attention);
	f->at_once = f->attention.spans > f->at_once ? f->attention.spans : f->at_once;
	for (uint32_t i = 0, spans = f->attention.spans; i < spans && !rc; i++) {
		struct served *r = s->of_span[i];

		rc = schedule_evaluated(s, i);
		if (rc != 1)
			continue;
		if (r->length == r->asked->prompt)
			f->scores[r - f->served] = hash_scores(f, r);
		r->tokens[r->length++] = (int32_t)(f->outputs[s->span[i].row + s->span[i].count - 1] % 30000);
		rc = r->length == served_total(r) ? schedule_finish(s, r) : 0;
	}
	s->step++;
	return rc;
}

static void close_fake(struct fake *f)
{
	for (uint32_t i = 0; i < REQUESTS; i++)
		if (f->served[i].stream.attention.stream)
			serve_stream_drop(&f->served[i].stream);
	serve_attention_close(&f->attention);
	prefix_free(f->schedule.prefixes);
	kvs_close(f->device.device);
	free(f);
}

static struct outcome serve(const char *name, const char *policy, uint32_t parallel, uint32_t prefixes)
{
	struct fake *f = calloc(1, sizeof(*f));
	struct outcome o = {.failed = open_fake(f, name, policy, parallel, prefixes)};

	for (int steps = 0; !o.failed && f->schedule.done < REQUESTS; steps++)
		o.failed = steps < 4000 ? run_step(f) : fail("no end after %d steps", steps);
	memcpy(o.tokens, f->tokens, sizeof(o.tokens));
	memcpy(o.scores, f->scores, sizeof(o.scores));
	for (uint32_t i = 0; i < REQUESTS; i++) {
		o.preemptions[i] = f->served[i].preemptions;
		o.sharing += f->served[i].shared > 0;
		o.shared_tokens += f->served[i].shared;
		o.sharing_preempted += f->served[i].shared && f->served[i].preemptions;
	}
	o.swaps = f->device.swaps;
	o.asked = f->device.asked;
	o.kept = f->device.kept;
	o.waits = f->device.sram_waits;
	o.spared = prefix_share(f->schedule.prefixes)->spared;
	o.shared_entries = prefix_share(f->schedule.prefixes)->shared_entries;
	o.dropped = (uint32_t)prefix_share(f->schedule.prefixes)->dropped;
	o.at_once = f->at_once;
	close_fake(f);
	return o;
}

/* ---- streams ---- */

static bool same(const struct outcome *a, const struct outcome *b)
{
	return !a->failed && !b->failed && !memcmp(a->tokens, b->tokens, sizeof(a->tokens));
}

static void test_ragged(const struct outcome *alone)
{
	static const char *const policies[] = {"uniform", "lru", "h2o", "1a", "1b", "1c"};

	for (size_t i = 0; i < sizeof(policies) / sizeof(*policies); i++) {
		struct outcome o = serve("sim:sram=8M,hbm=64M", policies[i], 18, 64);

		tap_diag("%s: %u requests share %u tokens, %u entries, %llu promotions spared", policies[i],
			 o.sharing, o.shared_tokens, o.shared_entries, (unsigned long long)o.spared);
		tap_ok(same(&o, alone) && o.at_once >= 16 && !o.swaps,
		       "%u streams at once, %s: each generates what it generates alone", o.at_once,
		       policies[i]);
		tap_ok(o.sharing == REQUESTS - 1 && o.shared_tokens == 16 * o.sharing,
		       "%s: the block that all have is computed once", policies[i]);
		tap_ok(!strcmp(policies[i], "uniform") ? !o.spared
						       : o.shared_entries && o.spared >= o.shared_entries,
		       "%s: rows of the prefix are promoted once, for all", policies[i]);
	}
}

/* h2o counts all queries, near ones too. */
static void test_scores(void)
{
	struct outcome alone = serve("sim:sram=8M,hbm=64M", "h2o", 1, 0),
		       o = serve("sim:sram=8M,hbm=64M", "h2o", 18, 64);
	uint32_t different = 0;

	for (uint32_t i = 1; i < REQUESTS; i++)
		different += alone.scores[i] != alone.scores[0];
	tap_ok(o.sharing == REQUESTS - 1 && different == REQUESTS - 1 &&
		       !memcmp(o.scores, alone.scores, sizeof(o.scores)),
	       "who begins with a prefix goes on with the scores that it would have had");
}

static void test_preemption(const struct outcome *alone)
{
	static const char *const policies[] = {"uniform", "1a", "1c"};

	for (size_t i = 0; i < sizeof(policies) / sizeof(*policies); i++) {
		struct outcome o = serve("sim:sram=8M,hbm=16M", policies[i], 18, 64);

		tap_diag("%s: %llu preemptions, of %u requests that share, %u prefixes dropped", policies[i],
			 (unsigned long long)o.swaps, o.sharing_preempted, o.dropped);
		tap_ok(same(&o, alone) && o.swaps > 0,
		       "HBM too small, %s: preempted streams go on as if nothing had been", policies[i]);
		tap_ok(!o.preemptions[0], "HBM too small, %s: the oldest is never preempted", policies[i]);
	}
}

/* Entries of requests that come and go leave SRAM in pieces, too small for the tail of the next. */
static void test_pieces(const struct outcome *alone)
{
	struct outcome o = serve("sim:sram=1300K,hbm=64M", "1b", 6, 0);

	tap_ok(same(&o, alone) && o.waits > 0, "SRAM in pieces: who finds none for a tail waits (%llu times)",
	       (unsigned long long)o.waits);
}

static void test_contracts(void)
{
	struct outcome o = serve("sim:sram=8M,hbm=16M", "1a", 18, 64);

	tap_ok(o.asked > 100 && o.kept == o.asked,
	       "contracts: what they were asked for stays through preemptions (%llu of %llu)",
	       (unsigned long long)o.kept, (unsigned long long)o.asked);
}

/* The first chunk's own output is compared with the device's where rows are binary32; here it is zero. */
static void test_comparison(void)
{
	struct fake *f = calloc(1, sizeof(*f));
	int rc = open_fake(f, "sim:hbm=64M", "uniform", 2, 64);

	f->device.format = KVSINK_FORMAT_F32;
	tap_ok(!rc && run_step(f) < 0, "an output that is not libllama's is noticed");
	close_fake(f);
}

/* ---- prefixes ---- */

static void test_prefixes(void)
{
	const uint64_t one[] = {0, 1, 2, 3}, two[] = {0, 1, 7, 3}, other[] = {5, 1, 2, 3};
	struct prefix_table *t = prefix_create(NULL, 16, 8, 1);
	struct prefix_found found;
	uint32_t known, none;

	prefix_find(t, one, 4, 64, &none, &found);
	prefix_computed(t, NULL, 4, one, 3);
	prefix_computed(t, NULL, 5, two, 4);
	tap_ok(!none && prefix_owner(t, one, 3) == 4 && prefix_owner(t, two, 2) == 4 &&
		       prefix_owner(t, two, 3) == 5 && prefix_owner(t, one, 4) == PREFIX_NONE,
	       "prefixes: a block belongs to the request that had it first");
	tap_ok(prefix_owner(t, other, 1) == PREFIX_NONE && prefix_owner(t, other, 4) == PREFIX_NONE &&
		       prefix_owner(t, one + 1, 1) == PREFIX_NONE,
	       "prefixes: equal blocks behind another beginning are other blocks");
	tap_ok(!prefix_find(t, one, 4, 63, &known, &found) && known == 48 && !found.tokens &&
		       !prefix_find(t, one, 4, 47, &known, &found) && known == 32,
	       "prefixes: whole blocks only, and no more than asked for");
	for (uint64_t i = 10; i < 5000; i++)
		prefix_computed(t, NULL, (uint32_t)i, &i, 1);
	tap_ok(prefix_owner(t, (const uint64_t[]){4999}, 1) == 4999 && prefix_owner(t, one, 3) == 4,
	       "prefixes: the table grows");
	prefix_free(t);
}

static struct kvs_stream *small_stream(struct kvs_device *device, struct kvs_prefix *prefix)
{
	const struct kvs_geometry geometry = {.size = sizeof(geometry),
					      .layers = 1,
					      .q_heads = 1,
					      .kv_heads = 1,
					      .d_k = 16,
					      .d_v = 16,
					      .format = KVSINK_FORMAT_F32,
					      .max_tokens = 64};
	struct kvs_stream *stream = NULL;

	if (prefix)
		kvs_stream_attach(device, &geometry, prefix, 16, &stream);
	else
		kvs_stream_create(device, &geometry, &stream);
	return stream;
}

/* A stream of one block that ends, so that its block becomes a prefix. */
static bool leave(struct kvs_device *device, struct prefix_table *t, uint64_t hash)
{
	struct kvs_stream *stream = small_stream(device, NULL);
	struct kvs_buffer *rows;
	struct kvs_batch *batch;
	bool good = !kvs_buffer_create(device, 4096, &rows) && !kvs_batch_create(device, &batch) &&
		    !kvs_batch_append(batch, stream, 0, 0, 16, (struct kvs_place){rows, 0},
				      (struct kvs_place){rows, 2048}) &&
		    !kvs_batch_step_end(batch, stream, 16) && !kvs_batch_run(batch, NULL) &&
		    !prefix_computed(t, stream, 0, &hash, 1) && !prefix_leave(t, stream, &hash, 1);

	kvs_batch_free(batch);
	kvs_buffer_free(rows);
	kvs_stream_free(stream);
	return good;
}

static struct shared *of(struct prefix_table *t, uint64_t hash)
{
	struct prefix_found found;
	uint32_t known;

	return prefix_find(t, &hash, 1, 16, &known, &found) || known != 16 ? NULL : found.shared;
}

static void test_eviction(void)
{
	struct kvs_device *device;
	struct prefix_table *t;
	struct kvs_stream *user;
	bool good = !kvs_open("sim:hbm=16M", &device);

	t = prefix_create(device, 16, 3, 1);
	good = good && leave(device, t, 1) && leave(device, t, 2) && leave(device, t, 3);
	tap_ok(good && of(t, 1) && of(t, 2) && of(t, 3), "prefixes: what a request had computed outlives it");
	share_use(prefix_share(t), of(t, 1));
	tap_ok(prefix_evict(t, NULL) == 1 && of(t, 1) && !of(t, 2) && of(t, 3),
	       "prefixes: the one used longest ago goes first");
	user = small_stream(device, of(t, 1)->prefix);
	tap_ok(prefix_evict(t, of(t, 3)) == 0 && prefix_evict(t, NULL) == 1 && !of(t, 3) &&
		       prefix_evict(t, NULL) == 0 && of(t, 1),
	       "prefixes: those in use stay, and one that is to be kept");
	tap_ok(leave(device, t, 4) && leave(device, t, 2) && leave(device, t, 5) && of(t, 5) && of(t, 2) &&
		       of(t, 1) && !of(t, 4),
	       "prefixes: no more at once than are allowed; what went can come back");
	kvs_stream_free(user);
	prefix_free(t);
	kvs_close(device);
}

/* ---- traces ---- */

static int load(const char *text, const struct trace_scale *scale, struct trace *trace)
{
	char path[] = "/tmp/kvsink-trace-XXXXXX";
	int fd = mkstemp(path), rc;
	FILE *file = fdopen(fd, "w");

	fputs(text, file);
	fclose(file);
	rc = trace_load(path, scale, 100, trace);
	unlink(path);
	return rc;
}

static void test_scale(void)
{
	const struct trace_scale scale = {.input = 32, .output = 8, .max_prompt = 40, .max_output = 5};
	struct trace t;
	int rc = load("{\"timestamp\": 7, \"input_length\": 1025, \"output_length\": 17, \"hash_ids\": [3, "
		      "9, 4]}\n\n"
		      "{\"timestamp\": 9, \"input_length\": 2048, \"output_length\": 80, \"hash_ids\": [3, "
		      "1, 2, 5]}\n",
		      &scale, &t);

	tap_ok(!rc && t.count == 2 && t.block_tokens == 16 && t.request[0].prompt == 33 &&
		       t.request[0].blocks == 3 && t.request[0].output == 3 && t.request[0].hash[2] == 4 &&
		       t.request[0].arrival_ms == 7,
	       "trace: lengths are divided and rounded up, blocks keep their hashes");
	tap_ok(!rc && t.request[1].prompt == 40 && t.request[1].blocks == 3 && t.request[1].output == 5 &&
		       t.request[1].line == 3,
	       "trace: what is too long is cut off");
	trace_free(&t);
}

static void test_bad_traces(void)
{
	static const char *const bad[] = {
		"",
		"hello\n",
		"[1]\n",
		"{\"timestamp\": 0, \"input_length\": 0, \"output_length\": 1, \"hash_ids\": []}\n",
		"{\"timestamp\": 0, \"input_length\": 5, \"output_length\": 0, \"hash_ids\": [1]}\n",
		"{\"timestamp\": 0, \"input_length\": 5.5, \"output_length\": 1, \"hash_ids\": [1]}\n",
		"{\"timestamp\": 0, \"input_length\": 513, \"output_length\": 1, \"hash_ids\": [1]}\n",
		"{\"timestamp\": 0, \"input_length\": 5, \"output_length\": 1, \"hash_ids\": [-1]}\n",
		"{\"timestamp\": 0, \"input_length\": 5, \"output_length\": 1}\n",
		"{\"timestamp\": -1, \"input_length\": 5, \"output_length\": 1, \"hash_ids\": [1]}\n",
		"{\"timestamp\": 5, \"input_length\": 5, \"output_length\": 1, \"hash_ids\": [1]}\n"
		"{\"timestamp\": 4, \"input_length\": 5, \"output_length\": 1, \"hash_ids\": [1]}\n",
	};
	const struct trace_scale scale = {.input = 32, .output = 8, .max_prompt = 40, .max_output = 5};
	size_t refused = 0;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct trace t;

		refused += load(bad[i], &scale, &t) == USAGE;
		trace_free(&t);
	}
	tap_ok(refused == sizeof(bad) / sizeof(*bad), "trace: lines that are no requests are refused");
}

int main(void)
{
	struct outcome alone = serve("sim:sram=8M,hbm=64M", "uniform", 1, 0);

	test_scale();
	test_bad_traces();
	test_prefixes();
	test_eviction();
	test_ragged(&alone);
	test_scores();
	test_preemption(&alone);
	test_pieces(&alone);
	test_contracts();
	test_comparison();
	return tap_done();
}
