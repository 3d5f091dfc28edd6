// SPDX-License-Identifier: MIT
/* Reading a trace of requests; see serve_trace.h. json-c parses, here it is checked. */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "serve_trace.h"

#define MAX_LENGTH (1u << 24) /* tokens of a request in the file */

struct reader {
	const char *path;
	uint32_t line;
	const struct trace_scale *scale;
	struct trace *trace;
	uint32_t room; /* requests that trace->request has room for */
};

__attribute__((format(printf, 2, 3))) static int bad_line(const struct reader *r, const char *format, ...)
{
	char why[128];
	va_list args;

	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	fail("%s:%u: %s", r->path, r->line, why);
	return USAGE;
}

static int whole_number(const struct reader *r, struct json_object *o, const char *key, int64_t min,
			int64_t max, int64_t *value)
{
	struct json_object *member;

	if (!json_object_object_get_ex(o, key, &member))
		return bad_line(r, "%s is missing", key);
	*value = json_object_get_int64(member);
	if (!json_object_is_type(member, json_type_int) || *value < min || *value > max)
		return bad_line(r, "%s is no whole number from %lld to %lld", key, (long long)min,
				(long long)max);
	return 0;
}

static uint32_t scaled(int64_t length, uint32_t by, uint32_t max)
{
	uint64_t n = ((uint64_t)length + by - 1) / by;

	return n < max ? (uint32_t)n : max;
}

/* The hashes of the blocks that are left of the prompt. */
static int read_blocks(const struct reader *r, struct json_object *o, int64_t input, struct trace_request *to)
{
	const uint32_t block = r->trace->block_tokens;
	struct json_object *list;
	int64_t wanted = (input + TRACE_BLOCK - 1) / TRACE_BLOCK;

	if (!json_object_object_get_ex(o, "hash_ids", &list) || !json_object_is_type(list, json_type_array))
		return bad_line(r, "hash_ids is no list");
	if ((int64_t)json_object_array_length(list) != wanted)
		return bad_line(r, "%zu hash_ids for %lld tokens: one for each %d tokens is wanted",
				json_object_array_length(list), (long long)input, TRACE_BLOCK);
	to->blocks = (to->prompt + block - 1) / block;
	to->hash = calloc(to->blocks, sizeof(*to->hash));
	if (!to->hash)
		return fail("out of memory for %u blocks", to->blocks);
	for (uint32_t i = 0; i < to->blocks; i++) {
		struct json_object *id = json_object_array_get_idx(list, i);

		if (!json_object_is_type(id, json_type_int) || json_object_get_int64(id) < 0)
			return bad_line(r, "hash_ids[%u] is no whole number that is not negative", i);
		to->hash[i] = (uint64_t)json_object_get_int64(id);
	}
	return 0;
}

static int read_request(const struct reader *r, struct json_object *o, struct trace_request *to)
{
	int64_t timestamp, input, output;
	int rc;

	if (!json_object_is_type(o, json_type_object))
		return bad_line(r, "no JSON object");
	rc = whole_number(r, o, "timestamp", 0, INT64_MAX, &timestamp);
	rc = rc ? rc : whole_number(r, o, "input_length", 1, MAX_LENGTH, &input);
	rc = rc ? rc : whole_number(r, o, "output_length", 1, MAX_LENGTH, &output);
	if (rc)
		return rc;
	to->line = r->line;
	to->arrival_ms = (uint64_t)timestamp;
	to->prompt = scaled(input, r->scale->input, r->scale->max_prompt);
	to->output = scaled(output, r->scale->output, r->scale->max_output);
	return read_blocks(r, o, input, to);
}

static int add_request(struct reader *r, struct json_object *o)
{
	struct trace *t = r->trace;

	if (t->count == r->room) {
		uint32_t room = r->room ? 2 * r->room : 64;
		struct trace_request *more = realloc(t->request, room * sizeof(*more));

		if (!more)
			return fail("out of memory for %u requests", room);
		t->request = more;
		r->room = room;
	}
	memset(&t->request[t->count], 0, sizeof(*t->request));
	return read_request(r, o, &t->request[t->count++]);
}

static int read_line(struct reader *r, const char *line)
{
	enum json_tokener_error error;
	struct json_object *o = json_tokener_parse_verbose(line, &error);
	int rc;

	if (!o)
		return bad_line(r, "no JSON object: %s", json_tokener_error_desc(error));
	rc = add_request(r, o);
	if (!rc && r->trace->count > 1 &&
	    r->trace->request[r->trace->count - 1].arrival_ms <
		    r->trace->request[r->trace->count - 2].arrival_ms)
		rc = bad_line(r, "timestamp is earlier than that of the request before");
	json_object_put(o);
	return rc;
}

static int read_file(struct reader *r, FILE *file, uint32_t limit)
{
	char *line = NULL;
	size_t size = 0;
	int rc = 0;

	while (!rc && r->trace->count < limit && getline(&line, &size, file) >= 0) {
		r->line++;
		if (line[strspn(line, " \t\r\n")])
			rc = read_line(r, line);
	}
	free(line);
	if (!rc && ferror(file)) {
		fail("%s: %s", r->path, strerror(errno));
		rc = USAGE;
	}
	return rc;
}

int trace_load(const char *path, const struct trace_scale *scale, uint32_t limit, struct trace *trace)
{
	struct reader r = {.path = path, .scale = scale, .trace = trace};
	FILE *file;
	int rc;

	*trace = (struct trace){.block_tokens = TRACE_BLOCK / scale->input};
	file = fopen(path, "r");
	if (!file) {
		fail("%s: %s", path, strerror(errno));
		return USAGE;
	}
	rc = read_file(&r, file, limit);
	fclose(file);
	if (!rc && !trace->count) {
		fail("%s: no request in it", path);
		rc = USAGE;
	}
	return rc;
}

void trace_free(struct trace *trace)
{
	for (uint32_t i = 0; i < trace->count; i++)
		free(trace->request[i].hash);
	free(trace->request);
	*trace = (struct trace){0};
}
