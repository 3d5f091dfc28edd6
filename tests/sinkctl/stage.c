// SPDX-License-Identifier: MIT
/*
 * A stream for sinkctl to act on: opens the device given, fills a stream, and then obeys lines on stdin
 * (words separated by tabs) while sinkctl's own files come and go in this process:
 *
 *   run WORD...       sinkctl with these arguments; answers "exit CODE OUT ERR", then OUT and ERR bytes
 *   barrier           wait in modelled time for the stream's copies
 *   attend LAYER      one query of the last token in that layer
 *   deny N | allow    let every register read fail with -N, as a broken device would; undo it
 *
 * All but run answer "done CODE". The first line of output is the stream's id.
 */
#include <stdlib.h>
#include <string.h>

#include "sinkctl.h"

#define LAYERS 4
#define Q_HEADS 4
#define KV_HEADS 2
#define D_K 128
#define D_V 64
#define TOKENS 20
#define WORDS 32

static struct kvs_device *device;
static struct kvs_stream *stream;
static struct kvs_batch *batch;
static struct kvs_buffer *memory;
static int injected;

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
		.max_tokens = 64,
	};

	need(kvs_open(name, &device), "open");
	need(kvs_stream_create(device, &geometry, &stream), "stream");
	need(kvs_batch_create(device, &batch), "batch");
	need(kvs_buffer_create(device, 1 << 16, &memory), "buffer");
}

static void fill_stream(void)
{
	struct kvs_place k = {memory, 0}, v = {memory, 1 << 15};
	float *rows = kvs_buffer_data(memory);

	for (int i = 0; i < 1 << 14; i++)
		rows[i] = (i * 37 % 101 - 50) / 64.0f;
	for (int layer = 0; layer < LAYERS; layer++)
		need(kvs_batch_append(batch, stream, layer, 0, TOKENS, k, v), "append");
	need(kvs_batch_step_end(batch, stream, TOKENS), "step_end");
	need(kvs_batch_run(batch, NULL), "fill");
}

static int attend(unsigned layer)
{
	struct drm_kvsink_attend_item item = {
		.stream = kvs_stream_id(stream),
		.layer = layer,
		.first = TOKENS - 1,
		.count = 1,
	};
	struct kvs_place q = {memory, 0}, out = {memory, 1 << 15}, none = {NULL, 0};

	kvs_batch_reset(batch);
	need(kvs_batch_attend(batch, &item, 1, q, out, none), "attend");
	return kvs_batch_run(batch, NULL);
}

static int barrier(void)
{
	kvs_batch_reset(batch);
	need(kvs_batch_barrier(batch, stream), "barrier");
	return kvs_batch_run(batch, NULL);
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

static void obey(int argc, char **argv)
{
	int code = 0;

	if (!strcmp(argv[0], "run")) {
		run_tool(argc, argv);
		return;
	}
	if (!strcmp(argv[0], "barrier"))
		code = barrier();
	else if (!strcmp(argv[0], "attend"))
		code = attend(atoi(argv[1]));
	else
		injected = strcmp(argv[0], "deny") ? 0 : atoi(argv[1]);
	printf("done %d\n", code);
}

int main(int argc, char **argv)
{
	char *line = NULL, *words[WORDS + 1];
	size_t room = 0;
	ssize_t length;

	if (argc != 2) {
		fprintf(stderr, "usage: sinkctl-stage DEVICE\n");
		return 2;
	}
	open_stream(argv[1]);
	fill_stream();
	printf("%llu\n", (unsigned long long)kvs_stream_id(stream));
	fflush(stdout);
	while ((length = getline(&line, &room, stdin)) > 0) {
		char *rest = line, *word;
		int count = 0;

		line[length - 1] = 0;
		while (count < WORDS && (word = strsep(&rest, "\t")))
			words[count++] = word;
		words[count] = NULL;
		obey(count, words);
		fflush(stdout);
	}
	free(line);
	kvs_buffer_free(memory);
	kvs_batch_free(batch);
	kvs_stream_free(stream);
	kvs_close(device);
	return 0;
}
