// SPDX-License-Identifier: MIT
/*
 * A stream for sinkctl to act on: opens the device given, fills a stream, and then obeys lines on stdin
 * (words separated by tabs) while sinkctl's own files come and go in this process:
 *
 *   run WORD...       sinkctl with these arguments; answers "exit CODE OUT ERR", then OUT and ERR bytes
 *   barrier           wait in modelled time for the stream's copies
 *   attend LAYER      one query of the last token in that layer
 *   score HOT         the prompt's scores, every query looks at token HOT (or at itself before it)
 *   classify          the sinks of all groups, by score
 *   step HOT [COUNT]  decode steps: all layers appended and attended, every query looks at token HOT
 *   swap 1 | swap 0   the stream out of HBM, or back
 *   window ROWS | window 0   a replay window with so many rows of draft, or rolled back
 *   share N | share 0 another stream begins with the first N tokens; or no longer
 *   extra 1 | extra 0 another stream, with every flag; or no longer
 *   later HOT COUNT   the same from another thread, a step every 20 ms; the next order but run waits for its
 * end advance NS        let modelled time pass deny N | allow    let every register read fail with -N, as a
 * broken device would; undo it
 *
 * All but run answer "done CODE". The first line of output is the stream's id. The key of token t is a unit
 * vector, so a query that is one decides which token gets (nearly) all of the attention.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "sinkctl.h"

#define LAYERS 4
#define Q_HEADS 4
#define KV_HEADS 2
#define D_K 128
#define D_V 64
#define TOKENS 20
#define MAX_TOKENS 128
#define LENGTH 16.0f /* of keys and queries: a logit of 22 */
#define WORDS 64

/* Operands in `memory`. */
#define K_AT 0
#define V_AT (64 << 10)
#define Q_AT (128 << 10)
#define OUT_AT (384 << 10)
#define IMAGE_AT (512 << 10)
#define MEMORY (1 << 20)

static struct kvs_device *device;
static struct kvs_stream *stream;
static struct kvs_batch *batch;
static struct kvs_buffer *memory;
static uint32_t length;
static int injected;

/* Steps of another thread. */
static struct {
	pthread_t thread;
	bool running;
	unsigned hot, count;
} later;

/* The linker sends sinkctl's calls here (--wrap). */
int __real_kvs_register_read(struct kvs_device *device, uint32_t offset, uint64_t *value);
int __wrap_kvs_register_read(struct kvs_device *device, uint32_t offset, uint64_t *value);

int __wrap_kvs_register_read(struct kvs_device *dev, uint32_t offset, uint64_t *value)
{
	return injected ? -injected : __real_kvs_register_read(dev, offset, value);
}

static void need(int error, const char *what)
{
	if (error >= 0)
		return;
	fprintf(stderr, "stage: %s: %s (%s)\n", what, strerror(-error),
		device ? kvs_device_error(device) : kvs_open_error());
	exit(1);
}

static struct kvs_place at(uint64_t offset)
{
	return (struct kvs_place){memory, offset};
}

static float *floats(uint64_t offset)
{
	return (float *)((char *)kvs_buffer_data(memory) + offset);
}

static void open_stream(const char *name)
{
	struct kvs_geometry geometry = {
		.size = sizeof(geometry),
		.layers = LAYERS,
		.q_heads = Q_HEADS,
		.kv_heads = KV_HEADS,
		.d_k = D_K,
		.d_v = D_V,
		.format = KVSINK_FORMAT_F32,
		.max_tokens = MAX_TOKENS,
		.score_groups = 2,
		.group_end = {LAYERS / 2, LAYERS},
	};

	need(kvs_open(name, &device), "open");
	need(kvs_stream_create(device, &geometry, &stream), "stream");
	need(kvs_batch_create(device, &batch), "batch");
	need(kvs_buffer_create(device, MEMORY, &memory), "buffer");
}

/* Rows of `heads` unit vectors each: the one of token first + row, or of `hot` from that token on. */
static void fill_rows(float *rows, unsigned heads, uint32_t first, uint32_t count, uint32_t hot)
{
	memset(rows, 0, (size_t)count * heads * D_K * sizeof(*rows));
	for (uint32_t i = 0; i < count; i++)
		for (unsigned h = 0; h < heads; h++) {
			uint32_t token = first + i < hot ? first + i : hot;

			rows[(i * heads + h) * D_K + token % D_K] = LENGTH;
		}
}

static void add_append(uint32_t count)
{
	fill_rows(floats(K_AT), KV_HEADS, length, count, UINT32_MAX);
	for (uint32_t i = 0; i < count * KV_HEADS * D_V; i++)
		floats(V_AT)[i] = (float)((i + length) * 37 % 101) / 64.0f;
	for (unsigned layer = 0; layer < LAYERS; layer++)
		need(kvs_batch_append(batch, stream, layer, length, count, at(K_AT), at(V_AT)), "append");
}

static void fill_stream(void)
{
	add_append(TOKENS);
	need(kvs_batch_step_end(batch, stream, TOKENS), "step_end");
	need(kvs_batch_run(batch, NULL), "fill");
	length = TOKENS;
}

static void add_attend(unsigned layer, uint32_t token)
{
	struct drm_kvsink_attend_item item = {
		.stream = kvs_stream_id(stream), .layer = layer, .first = token, .count = 1};
	struct kvs_place none = {NULL, 0};

	need(kvs_batch_attend(batch, &item, 1, DRM_KVSINK_ATTEND_SPLIT, at(Q_AT), at(OUT_AT), none, none),
	     "attend");
}

static int attend(unsigned layer)
{
	kvs_batch_reset(batch);
	fill_rows(floats(Q_AT), Q_HEADS, length - 1, 1, 0);
	add_attend(layer, length - 1);
	return kvs_batch_run(batch, NULL);
}

static int barrier(void)
{
	kvs_batch_reset(batch);
	need(kvs_batch_barrier(batch, stream), "barrier");
	return kvs_batch_run(batch, NULL);
}

static int advance(uint64_t ns)
{
	kvs_batch_reset(batch);
	need(kvs_batch_advance(batch, ns), "advance");
	return kvs_batch_run(batch, NULL);
}

static int score(uint32_t hot)
{
	kvs_batch_reset(batch);
	fill_rows(floats(Q_AT), Q_HEADS, 0, length, hot);
	for (unsigned layer = 0; layer < LAYERS; layer++)
		need(kvs_batch_score(batch, stream, layer, 0, length, at(Q_AT), at(OUT_AT)), "score");
	return kvs_batch_run(batch, NULL);
}

static int classify(void)
{
	kvs_batch_reset(batch);
	need(kvs_batch_classify(batch, stream, 3, MAX_TOKENS, at(OUT_AT)), "classify");
	return kvs_batch_run(batch, NULL);
}

static int step(uint32_t hot)
{
	int error;

	if (length == MAX_TOKENS)
		return -ENOSPC;
	kvs_batch_reset(batch);
	add_append(1);
	fill_rows(floats(Q_AT), Q_HEADS, length, 1, hot);
	for (unsigned layer = 0; layer < LAYERS; layer++)
		add_attend(layer, length);
	need(kvs_batch_step_end(batch, stream, 1), "step_end");
	error = kvs_batch_run(batch, NULL);
	length += !error;
	return error;
}

static int steps(uint32_t hot, unsigned count)
{
	int error = 0;

	while (!error && count--)
		error = step(hot);
	return error;
}

static void *step_later(void *unused)
{
	const struct timespec pause = {.tv_nsec = 20000000};

	(void)unused;
	while (later.count--) {
		nanosleep(&pause, NULL);
		need(step(later.hot), "step");
	}
	return NULL;
}

static int start_later(uint32_t hot, unsigned count)
{
	later.hot = hot;
	later.count = count;
	later.running = !pthread_create(&later.thread, NULL, step_later, NULL);
	return later.running ? 0 : -1;
}

static void finish_later(void)
{
	if (later.running)
		pthread_join(later.thread, NULL);
	later.running = false;
}

static int window(uint32_t rows)
{
	int error = rows ? kvs_window_begin(stream, rows + 1) : kvs_window_rollback(stream);

	if (error || !rows)
		return error;
	kvs_batch_reset(batch);
	add_append(rows);
	return kvs_batch_run(batch, NULL);
}

static int extra(bool there)
{
	static struct kvs_stream *other;
	struct kvs_geometry geometry = {
		.size = sizeof(geometry),
		.layers = 1,
		.q_heads = Q_HEADS,
		.kv_heads = 1,
		.d_k = 24,
		.d_v = 16,
		.max_tokens = 16,
		.flags = KVSINK_STREAM_FLAGS,
	};

	if (there)
		return kvs_stream_create(device, &geometry, &other);
	kvs_stream_free(other);
	return 0;
}

static int share(uint32_t tokens)
{
	static struct kvs_stream *fork;

	if (tokens)
		return kvs_stream_fork(stream, tokens, &fork);
	kvs_stream_free(fork);
	return kvs_stream_detach(stream);
}

static void run_tool(int argc, char **argv)
{
	char *text[2];
	size_t size[2];
	FILE *out = open_memstream(&text[0], &size[0]), *err = open_memstream(&text[1], &size[1]);
	int code = sinkctl_run(argc, argv, out, err);

	fclose(out);
	fclose(err);
	printf("exit %d %zu %zu\n", code, size[0], size[1]);
	fwrite(text[0], 1, size[0], stdout);
	fwrite(text[1], 1, size[1], stdout);
	free(text[0]);
	free(text[1]);
}

static int order(char **argv)
{
	unsigned long first = argv[1] ? strtoul(argv[1], NULL, 10) : 0;
	unsigned long second = argv[1] && argv[2] ? strtoul(argv[2], NULL, 10) : 1;

	if (!strcmp(argv[0], "barrier"))
		return barrier();
	if (!strcmp(argv[0], "attend"))
		return attend(first);
	if (!strcmp(argv[0], "score"))
		return score(first);
	if (!strcmp(argv[0], "classify"))
		return classify();
	if (!strcmp(argv[0], "step"))
		return steps(first, second);
	if (!strcmp(argv[0], "swap"))
		return first ? kvs_stream_swap_out(stream, at(IMAGE_AT))
			     : kvs_stream_swap_in(stream, at(IMAGE_AT));
	if (!strcmp(argv[0], "window"))
		return window(first);
	if (!strcmp(argv[0], "extra"))
		return extra(first);
	if (!strcmp(argv[0], "share"))
		return share(first);
	if (!strcmp(argv[0], "later"))
		return start_later(first, second);
	if (!strcmp(argv[0], "advance"))
		return advance(first);
	injected = strcmp(argv[0], "deny") ? 0 : first;
	return 0;
}

static void obey(int argc, char **argv)
{
	if (!strcmp(argv[0], "run")) {
		run_tool(argc, argv);
		return;
	}
	finish_later();
	printf("done %d\n", order(argv));
}

int main(int argc, char **argv)
{
	char *line = NULL, *words[WORDS + 1];
	size_t room = 0;
	ssize_t bytes;

	if (argc != 2) {
		fprintf(stderr, "usage: sinkctl-stage DEVICE\n");
		return 2;
	}
	open_stream(argv[1]);
	fill_stream();
	printf("%llu\n", (unsigned long long)kvs_stream_id(stream));
	fflush(stdout);
	while ((bytes = getline(&line, &room, stdin)) > 0) {
		char *rest = line, *word;
		int count = 0;

		line[bytes - 1] = 0;
		while (count < WORDS && (word = strsep(&rest, "\t")))
			words[count++] = word;
		words[count] = NULL;
		obey(count, words);
		fflush(stdout);
	}
	finish_later();
	free(line);
	kvs_buffer_free(memory);
	kvs_batch_free(batch);
	kvs_stream_free(stream);
	kvs_close(device);
	return 0;
}
