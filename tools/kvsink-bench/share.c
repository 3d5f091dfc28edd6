// SPDX-License-Identifier: MIT
/*
 * One prefix, more and more streams that begin with it; see share.h. The rows are random: their values change
 * no byte count.
 */
#include <errno.h>
#include <kvsink.h>
#include <libsmartcols.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "json.h"
#include "share.h"

#define LAYERS 4
#define Q_HEADS 6
#define KV_HEADS 2
#define WIDTH 64 /* of K and V rows */
#define PAGE 16
#define MAX_STREAMS 16000
#define MAX_LIST 16
#define MAX_TOKENS 4096
#define SINKS 4 /* tokens that are promoted */

static const char usage_text[] =
	"usage: kvsink-bench share [options]\n"
	"publishes a prefix, promotes four of its tokens, lets streams begin with it and attends once with "
	"all.\n"
	"  --streams LIST   how many begin with it, ascending, up to 16000 (default 1,500,10000)\n"
	"  --tokens N       of the prefix, a multiple of 16 up to 4096 (default 256)\n"
	"  --device NAME    (default sim:streams=16384,hbm=2G)\n"
	"  --json[=FILE]    as JSON, instead of the table or, with FILE, beside it\n"
	"exit status: 0 done, 1 failed, 2 usage\n";

struct line {
	uint32_t streams, entries, sram_bytes;
	uint64_t copied;	   /* HBM to SRAM, since the prefix was published */
	uint64_t hbm, sram, saved; /* K and V bytes of one step of all streams */
};

struct share {
	uint32_t streams[MAX_LIST];
	unsigned count;
	uint32_t tokens;
	const char *device_name, *json;
	bool as_json, help;
	struct kvs_device *device;
	struct kvs_stream *publisher, *stream[MAX_STREAMS];
	struct kvs_prefix *prefix;
	struct kvs_batch *batch;
	struct kvs_buffer *memory;
	uint32_t attached;
	uint64_t copied; /* by the device before the prefix was published */
	struct line line[MAX_LIST];
};

static int bad(const char *option, const char *value, const char *why)
{
	fail("%s %s: %s", option, value, why);
	return EXIT_USAGE;
}

/* ---- options ---- */

static bool number(const char *text, uint32_t min, uint32_t max, uint32_t *out)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	*out = (uint32_t)value;
	return *text >= '0' && *text <= '9' && !*end && value >= min && value <= max;
}

static int parse_list(struct share *s, const char *text)
{
	char *copy = strdup(text), *rest = copy, *word;
	bool good = copy;

	s->count = 0;
	while (good && (word = strsep(&rest, ",")))
		good = s->count < MAX_LIST && number(word, 1, MAX_STREAMS, &s->streams[s->count++]) &&
		       (s->count < 2 || s->streams[s->count - 1] > s->streams[s->count - 2]);
	free(copy);
	return good ? 0 : bad("--streams", text, "allowed are up to 16 numbers from 1 to 16000, ascending");
}

static int parse(struct share *s, int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		const char *value = i + 1 < argc ? argv[i + 1] : NULL;

		if (!strcmp(argv[i], "--help")) {
			s->help = true;
			return 0;
		}
		if (!strncmp(argv[i], "--json", 6) && (!argv[i][6] || argv[i][6] == '=')) {
			s->as_json = true;
			s->json = argv[i][6] ? argv[i] + 7 : NULL;
			continue;
		}
		if (strcmp(argv[i], "--streams") && strcmp(argv[i], "--tokens") &&
		    strcmp(argv[i], "--device"))
			return bad("argument", argv[i], "not known; share --help lists the options");
		if (!value)
			return bad(argv[i], "", "a value is missing");
		if (argv[i][2] == 'd')
			s->device_name = value;
		else if (argv[i][2] == 's' && parse_list(s, value))
			return EXIT_USAGE;
		else if (argv[i][2] == 't' &&
			 (!number(value, PAGE, MAX_TOKENS, &s->tokens) || s->tokens % PAGE))
			return bad("--tokens", value, "allowed are multiples of 16 from 16 to 4096");
		i++;
	}
	return 0;
}

/* ---- the prefix ---- */

static int trouble(const struct share *s, const char *what, int err)
{
	return err < 0 ? fail("%s: %s", what, kvs_device_error(s->device)) : 0;
}

static struct kvs_geometry geometry(const struct share *s)
{
	return (struct kvs_geometry){
		.size = sizeof(struct kvs_geometry),
		.layers = LAYERS,
		.q_heads = Q_HEADS,
		.kv_heads = KV_HEADS,
		.d_k = WIDTH,
		.d_v = WIDTH,
		.format = KVSINK_FORMAT_FP16,
		.page_tokens = PAGE,
		.max_tokens = s->tokens,
	};
}

static struct kvs_place at(const struct share *s, uint64_t offset)
{
	return (struct kvs_place){s->memory, offset};
}

static int fill(struct share *s)
{
	float *rows = kvs_buffer_data(s->memory);
	int err = 0;

	for (uint32_t i = 0; i < s->tokens * KV_HEADS * WIDTH; i++)
		rows[i] = (float)((i * 2654435761u) >> 20) / 4096.0f - 0.5f;
	kvs_batch_reset(s->batch);
	for (uint32_t l = 0; l < LAYERS && !err; l++)
		err = kvs_batch_append(s->batch, s->publisher, l, 0, s->tokens, at(s, 0), at(s, 0));
	err = err ? err : kvs_batch_step_end(s->batch, s->publisher, s->tokens);
	err = err ? err : kvs_batch_run(s->batch, NULL);
	return trouble(s, "rows", err);
}

/* Four tokens of the prefix in all layers and heads, as a placement policy would. */
static int promote(struct share *s)
{
	struct drm_kvsink_place places[SINKS];
	struct kvs_contract contract = {.size = sizeof(contract)};
	struct kvs_grant grant = {0};
	int err;

	for (uint32_t i = 0; i < SINKS; i++)
		places[i] = (struct drm_kvsink_place){
			.token = i, .layer_end = LAYERS, .head_mask = (1u << KV_HEADS) - 1};
	err = kvs_promote(s->device, kvs_prefix_id(s->prefix), places, SINKS, &contract, &grant);
	kvs_batch_reset(s->batch);
	err = err ? err : kvs_batch_barrier(s->batch, s->publisher);
	err = err ? err : kvs_batch_run(s->batch, NULL);
	return trouble(s, "promote", err);
}

static int begin(struct share *s)
{
	struct kvs_geometry g = geometry(s);
	uint64_t bytes = (uint64_t)MAX_TOKENS * KV_HEADS * WIDTH * sizeof(float);
	uint64_t counters[KVSINK_COUNTER_COUNT];
	int err;

	if (kvs_open(s->device_name, &s->device))
		return fail("--device %s: %s", s->device_name, kvs_open_error());
	err = kvs_batch_create(s->device, &s->batch);
	err = err ? err : kvs_buffer_create(s->device, bytes, &s->memory);
	err = err ? err : kvs_stream_create(s->device, &g, &s->publisher);
	if (trouble(s, "publisher", err) || fill(s))
		return -1;
	if (trouble(s, "counters", kvs_counters(s->device, 0, counters)))
		return -1;
	s->copied = counters[KVSINK_COUNTER_DMA_COPY];
	err = kvs_prefix_publish(s->publisher, s->tokens, NULL, &s->prefix);
	return trouble(s, "publish", err) || promote(s) ? -1 : 0;
}

/* ---- streams ---- */

static int attach_until(struct share *s, uint32_t streams)
{
	struct kvs_geometry g = geometry(s);
	int err = 0;

	while (!err && s->attached < streams) {
		err = kvs_stream_attach(s->device, &g, s->prefix, s->tokens, &s->stream[s->attached]);
		s->attached += !err;
	}
	return trouble(s, "attach", err);
}

/* The last token's queries of streams [first, first + count), all layers. */
static int attend_some(struct share *s, uint32_t first, uint32_t count)
{
	struct drm_kvsink_attend_item item[DRM_KVSINK_MAX_ITEMS];
	uint64_t out = (uint64_t)DRM_KVSINK_MAX_ITEMS * Q_HEADS * WIDTH * sizeof(float);
	struct kvs_place none = {NULL, 0};
	int err = 0;

	for (uint32_t l = 0; l < LAYERS && !err; l++) {
		for (uint32_t i = 0; i < count; i++)
			item[i] =
				(struct drm_kvsink_attend_item){.stream = kvs_stream_id(s->stream[first + i]),
								.layer = l,
								.first = s->tokens - 1,
								.count = 1};
		kvs_batch_reset(s->batch);
		err = kvs_batch_attend(s->batch, item, count, DRM_KVSINK_ATTEND_CANONICAL, at(s, 0),
				       at(s, out), none, none);
		err = err ? err : kvs_batch_run(s->batch, NULL);
	}
	return trouble(s, "attend", err);
}

static int attend_all(struct share *s)
{
	for (uint32_t first = 0; first < s->attached; first += DRM_KVSINK_MAX_ITEMS) {
		uint32_t count = s->attached - first;

		if (attend_some(s, first, count < DRM_KVSINK_MAX_ITEMS ? count : DRM_KVSINK_MAX_ITEMS))
			return -1;
	}
	return 0;
}

/* What the prefix has, and what all streams together have of SRAM. */
static int look(struct share *s, struct line *line)
{
	const struct kvsink_stream_rec *rec;
	size_t bytes;
	void *list;
	int count = kvs_query(s->device, DRM_KVSINK_QUERY_STREAMS, 0, 0, &list, &bytes);

	if (count < 0)
		return trouble(s, "query", count);
	for (int i = 0; i < count; i++) {
		rec = (const void *)((const char *)list + i * bytes);
		line->entries += rec->entries;
		line->sram_bytes += rec->sram_bytes;
	}
	free(list);
	return 0;
}

static int measure(struct share *s, uint32_t streams, struct line *line)
{
	uint64_t before[KVSINK_COUNTER_COUNT], after[KVSINK_COUNTER_COUNT];

	*line = (struct line){.streams = streams};
	if (attach_until(s, streams) || trouble(s, "counters", kvs_counters(s->device, 0, before)) ||
	    attend_all(s) || trouble(s, "counters", kvs_counters(s->device, 0, after)))
		return -1;
	line->copied = after[KVSINK_COUNTER_DMA_COPY] - s->copied;
	line->hbm = after[KVSINK_COUNTER_KV_HBM_READ] - before[KVSINK_COUNTER_KV_HBM_READ];
	line->sram = after[KVSINK_COUNTER_KV_SRAM_READ] - before[KVSINK_COUNTER_KV_SRAM_READ];
	line->saved = after[KVSINK_COUNTER_SHARED_HBM_SAVED] - before[KVSINK_COUNTER_SHARED_HBM_SAVED];
	return look(s, line);
}

static void end(struct share *s)
{
	for (uint32_t i = 0; i < s->attached; i++)
		kvs_stream_free(s->stream[i]);
	kvs_prefix_free(s->prefix);
	kvs_stream_free(s->publisher);
	kvs_buffer_free(s->memory);
	kvs_batch_free(s->batch);
	if (s->device)
		kvs_close(s->device);
}

/* ---- what is printed ---- */

static int print_json(const struct share *s)
{
	struct json_object *o = json_object_new_object(), *list = json_object_new_array();

	json_string(o, "schema", "kvsink-bench-share/1");
	json_string(o, "device", s->device_name);
	json_integer(o, "tokens", s->tokens);
	for (unsigned i = 0; i < s->count; i++) {
		const struct line *line = &s->line[i];
		struct json_object *record = json_object_new_object();

		json_integer(record, "streams", line->streams);
		json_integer(record, "entries", line->entries);
		json_integer(record, "sram_bytes", line->sram_bytes);
		json_integer(record, "copied_bytes", line->copied);
		json_integer(record, "kv_hbm_bytes", line->hbm);
		json_integer(record, "kv_sram_bytes", line->sram);
		json_integer(record, "kv_hbm_bytes_saved", line->saved);
		json_object_array_add(list, record);
	}
	json_object_object_add(o, "lines", list);
	return json_output(o, s->json);
}

static void cell(struct libscols_line *line, size_t column, const char *format, double value)
{
	char text[64];

	snprintf(text, sizeof(text), format, value);
	scols_line_set_data(line, column, text);
}

static int print_table(const struct share *s)
{
	static const char *const headings[] = {"STREAMS",
					       "ENTRIES",
					       "SRAM BYTES",
					       "PROMOTED BYTES",
					       "HBM KB/STREAM STEP",
					       "WITHOUT SHARING KB",
					       "HBM SAVED %"};
	struct libscols_table *table = scols_new_table();

	if (!table)
		return fail("out of memory for a table");
	for (size_t c = 0; c < sizeof(headings) / sizeof(headings[0]); c++)
		scols_table_new_column(table, headings[c], 0, SCOLS_FL_RIGHT);
	for (unsigned i = 0; i < s->count; i++) {
		struct libscols_line *to = scols_table_new_line(table, NULL);
		const struct line *line = &s->line[i];
		double all = (double)(line->hbm + line->saved);

		cell(to, 0, "%.0f", line->streams);
		cell(to, 1, "%.0f", line->entries);
		cell(to, 2, "%.0f", line->sram_bytes);
		cell(to, 3, "%.0f", (double)line->copied);
		cell(to, 4, "%.2f", (double)line->hbm / line->streams / 1000);
		cell(to, 5, "%.2f", all / line->streams / 1000);
		cell(to, 6, "%.2f", all ? 100 * (double)line->saved / all : 0);
	}
	scols_print_table(table);
	scols_unref_table(table);
	return 0;
}

int share_command(int argc, char **argv)
{
	static struct share s = {.streams = {1, 500, 10000},
				 .count = 3,
				 .tokens = 256,
				 .device_name = "sim:streams=16384,hbm=2G"};
	int rc = parse(&s, argc, argv);

	if (rc || s.help) {
		if (s.help)
			fputs(usage_text, stdout);
		return rc;
	}
	rc = begin(&s);
	for (unsigned i = 0; i < s.count && !rc; i++)
		rc = measure(&s, s.streams[i], &s.line[i]);
	if (!rc && s.as_json)
		rc = print_json(&s);
	if (!rc && (!s.as_json || s.json))
		rc = print_table(&s);
	end(&s);
	return rc ? EXIT_FAILED : 0;
}
