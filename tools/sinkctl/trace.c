// SPDX-License-Identifier: MIT
/*
 * trace: the modelled timeline as JSON of Chrome's trace event format, which Perfetto opens. A process a
 * device; a thread a ring, and one for the migration engine. Times are modelled microseconds.
 */
#include "sinkctl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COPY_THREAD 1000 /* behind all rings */

static const char *const opcodes[KVSINK_OP_COUNT] = {
#define X(name, value, doc) [value] = #name,
	KVSINK_OPCODES(X)
#undef X
};

struct tally {
	uint64_t spans, copies, late, begin_ns, end_ns;
	uint64_t rings; /* bit r: ring r has a span */
};

static const char *span_name(const struct kvsink_span_rec *span)
{
	if (span->what == KVSINK_SPAN_COPY)
		return "copy";
	return span->what < KVSINK_OP_COUNT && opcodes[span->what] ? opcodes[span->what] : "?";
}

static void count_span(struct tally *tally, const struct kvsink_span_rec *span)
{
	bool copy = span->what == KVSINK_SPAN_COPY;

	if (!tally->spans || span->begin_ns < tally->begin_ns)
		tally->begin_ns = span->begin_ns;
	if (span->end_ns > tally->end_ns)
		tally->end_ns = span->end_ns;
	tally->spans++;
	tally->copies += copy;
	tally->late += copy && span->code;
	if (!copy && span->ring < 64)
		tally->rings |= 1ull << span->ring;
}

/* A complete event. Nanoseconds are written as thousandths of a microsecond: nothing is rounded. */
static void write_span(FILE *file, const struct kvsink_span_rec *span, bool first)
{
	bool copy = span->what == KVSINK_SPAN_COPY;
	uint64_t length = span->end_ns - span->begin_ns;

	fprintf(file,
		"%s{\"name\":\"%s\",\"cat\":\"%s\",\"ph\":\"X\",\"pid\":1,\"tid\":%u,"
		"\"ts\":%" PRIu64 ".%03u,\"dur\":%" PRIu64 ".%03u,"
		"\"args\":{\"stream\":%" PRIu64 ",\"tenant\":%u,\"bus_bytes\":%u",
		first ? "\n" : ",\n", span_name(span), copy ? "copy" : "command",
		copy ? COPY_THREAD : span->ring, span->begin_ns / 1000, (unsigned)(span->begin_ns % 1000),
		length / 1000, (unsigned)(length % 1000), span->stream, span->tenant, span->bytes);
	if (copy)
		fprintf(file, ",\"token\":%u,\"late\":%s}}", span->token, span->code ? "true" : "false");
	else
		fprintf(file, ",\"code\":\"%s\"}}", kvs_code_name(span->code));
}

static void write_name(FILE *file, unsigned thread, const char *name)
{
	fprintf(file,
		",\n{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":1,\"tid\":%u,\"args\":{\"name\":\"%s\"}}",
		thread, name);
}

static void write_names(FILE *file, const struct tally *tally, const char *device)
{
	char ring[24], *label = sc_clean(device);

	for (char *c = label; c && *c; c++)
		if (*c == '"' || *c == '\\')
			*c = '?';
	fprintf(file,
		"%s{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":1,\"args\":{\"name\":\"%s (modelled "
		"time)\"}}",
		tally->spans ? ",\n" : "\n", label ? label : "kvsink");
	free(label);
	for (unsigned r = 0; r < 64; r++) {
		if (!(tally->rings >> r & 1))
			continue;
		snprintf(ring, sizeof(ring), "ring %u", r);
		write_name(file, r, ring);
	}
	if (tally->copies)
		write_name(file, COPY_THREAD, "copies HBM to SRAM");
}

static bool is_wanted(const struct sc_run *run, const struct kvsink_span_rec *span)
{
	return !run->target.stream || span->stream == run->target.stream;
}

static void write_all(struct sc_run *run, const char *device, FILE *file, const char *records, size_t bytes,
		      int count, struct tally *tally)
{
	fprintf(file, "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[");
	for (int i = 0; i < count; i++) {
		const struct kvsink_span_rec *span = (void *)(records + i * bytes);

		if (!is_wanted(run, span))
			continue;
		write_span(file, span, !tally->spans);
		count_span(tally, span);
	}
	write_names(file, tally, device);
	fprintf(file, "\n]}\n");
}

/* A device or a pipe that was named as the file stays. */
static void remove_file(const char *path)
{
	struct stat info;

	if (!lstat(path, &info) && S_ISREG(info.st_mode))
		unlink(path);
}

/* The whole file, or none: what cannot be written is removed. */
static int write_file(struct sc_run *run, struct sc_device *device, const char *records, size_t bytes,
		      int count, struct tally *tally)
{
	FILE *file = fopen(run->output, "w");
	int error;

	if (!file)
		goto failed;
	errno = 0;
	write_all(run, device->label, file, records, bytes, count, tally);
	error = ferror(file) || fflush(file) ? errno : 0;
	if (fclose(file) && !error)
		error = errno;
	if (!error)
		return 0;
	remove_file(run->output);
	errno = error;
failed:
	return sc_error(run, NULL, -errno, NULL, "trace", run->output);
}

static void put_record(struct sc_run *run, struct sc_device *device, const struct tally *tally)
{
	json_object *record = json_object_new_object();

	sc_put_text(record, "file", run->output);
	sc_put_u64(record, "spans", tally->spans);
	sc_put_u64(record, "commands", tally->spans - tally->copies);
	sc_put_u64(record, "copies", tally->copies);
	sc_put_u64(record, "late", tally->late);
	sc_put_u64(record, "begin_ns", tally->begin_ns);
	sc_put_u64(record, "end_ns", tally->end_ns);
	json_object_array_add(sc_list(run, device, "traces"), record);
}

int sc_trace(struct sc_run *run, struct sc_device *device)
{
	struct tally tally = {0};
	char *records = NULL;
	uint32_t wanted = 0;
	size_t bytes;
	int error, count = sc_query(run, device, DRM_KVSINK_QUERY_SPANS, 0, 0, sizeof(struct kvsink_span_rec),
				    &records, &bytes);

	sc_list(run, device, "traces");
	if (count < 0)
		return count;
	for (int i = 0; i < count; i++)
		wanted += is_wanted(run, (void *)(records + i * bytes));
	error = sc_check_past(run, device, wanted);
	error = error ? error : write_file(run, device, records, bytes, count, &tally);
	free(records);
	if (!error)
		put_record(run, device, &tally);
	return error;
}
