// SPDX-License-Identifier: MIT
/* kvsink-bench micro: the pairs of times, their ratios, and how they are printed. */
#include "micro.h"

#include <dlfcn.h>
#include <libgen.h>
#include <libsmartcols.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fail.h"
#include "flash.h"
#include "json.h"

#define MAX_ROUNDS 99
#define SINK_STRIDE 256 /* of the tokens that are made resident */
#define PREFILL_TOKENS 4096
#define PREFILL_CHUNK 256
#define PREFILL_ROUNDS 3 /* each is a prompt of its own */

/* ns of each round, ours and what it is held against, taken in turn. */
struct pair {
	double ours[MAX_ROUNDS], other[MAX_ROUNDS];
	unsigned rounds;
};

enum ratio { SPEED, TIME }; /* other / ours, ours / other */

struct micro {
	const struct micro_options *o;
	struct machine machine;
	const struct flash_ops *flash; /* NULL: there is none, `no_flash` says why */
	char no_flash[128];
	struct json_object *json;
	struct libscols_table *table;
};

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(const double *values, unsigned n)
{
	double sorted[MAX_ROUNDS];

	memcpy(sorted, values, n * sizeof(*values));
	qsort(sorted, n, sizeof(*sorted), by_value);
	return n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

/* Of the ratios, not the ratio of medians: what disturbs a round disturbs both of its times. */
static double median_ratio(const struct pair *p, enum ratio kind)
{
	double ratio[MAX_ROUNDS];

	for (unsigned i = 0; i < p->rounds; i++)
		ratio[i] = kind == SPEED ? p->other[i] / p->ours[i] : p->ours[i] / p->other[i];
	return median(ratio, p->rounds);
}

/* ---- the comparator ---- */

static void find_flash(struct micro *m)
{
	char path[PATH_MAX + sizeof("/../lib/kvsink-bench-flash.so")], *folder;
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX);
	void *object;

#ifdef __x86_64__
	if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") ||
	    !__builtin_cpu_supports("f16c")) {
		snprintf(m->no_flash, sizeof(m->no_flash),
			 "ggml is built for AVX2, FMA and F16C, this CPU lacks them");
		return;
	}
#endif
	path[n > 0 ? n : 0] = 0;
	folder = dirname(path);
	memmove(path, folder, strlen(folder) + 1);
	strcat(path, "/../lib/kvsink-bench-flash.so");
	object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	m->flash = object ? dlsym(object, FLASH_SYMBOL) : NULL;
	if (!m->flash)
		snprintf(m->no_flash, sizeof(m->no_flash), "%s", dlerror());
}

/* ---- results ---- */

static void cell(struct libscols_line *line, unsigned column, const char *format, double value)
{
	char text[64];

	snprintf(text, sizeof(text), format, value);
	scols_line_set_data(line, column, text);
}

/* A line of the table of ratios, and the same in the document. */
static void result(struct micro *m, const char *what, const char *against, enum ratio kind,
		   const struct pair *p, const char *aim)
{
	struct json_object *o = json_object_new_object(), *list;
	struct libscols_line *line = scols_table_new_line(m->table, NULL);
	double ratio = median_ratio(p, kind);

	scols_line_set_data(line, 0, what);
	scols_line_set_data(line, 1, against);
	cell(line, 2, "%.3f", median(p->ours, p->rounds) / 1e6);
	cell(line, 3, "%.3f", median(p->other, p->rounds) / 1e6);
	scols_line_set_data(line, 4, kind == SPEED ? "speed" : "time");
	cell(line, 5, "%.2f", ratio);
	scols_line_set_data(line, 6, aim);
	json_string(o, "what", what);
	json_string(o, "against", against);
	json_number(o, "ns", median(p->ours, p->rounds));
	json_number(o, "ns_against", median(p->other, p->rounds));
	json_string(o, "of", kind == SPEED ? "speed" : "time");
	json_number(o, "ratio", ratio);
	json_string(o, "aim", aim);
	json_object_object_get_ex(m->json, "ratios", &list);
	json_object_array_add(list, o);
	say("%s, against %s: %.2f (%s)", what, against, ratio, aim);
}

/* ---- decode: one query a stream, FP16 ---- */

/* ns that one query needs at least: K and V from memory, or its multiplications and additions. */
static double limit_ns(const struct micro *m, const struct micro_bed *bed, bool *memory)
{
	double elements = (double)bed->tokens * bed->kv_heads * bed->d;
	double bytes = 1e9 * elements * 2 * 2 / m->machine.bytes_per_s;
	/* QK^T is in binary64, weights times V in binary32: a multiplication and an addition each */
	double work = elements * bed->q_heads / bed->kv_heads * 2;
	double arithmetic = 1e9 * (work / m->machine.f64_per_s + work / m->machine.f32_per_s);

	*memory = bytes > arithmetic;
	return *memory ? bytes : arithmetic;
}

static double largest_difference(const float *a, const float *b, uint32_t n)
{
	double most = 0, scale = 0;

	for (uint32_t i = 0; i < n; i++) {
		most = fmax(most, fabs((double)a[i] - b[i]));
		scale = fmax(scale, fabs((double)a[i]));
	}
	return most / scale;
}

/* ggml over the same rows, in turn with the chip. */
static int against_flash(struct micro *m, struct micro_bed *bed, struct pair *p, double *difference)
{
	uint32_t outs = bed->q_heads * bed->d;
	float *out = calloc(outs, sizeof(float));
	struct flash *flash = m->flash->open(bed->k, bed->v, bed->tokens, bed->kv_heads, bed->q_heads, bed->d,
					     m->o->threads);
	int rc = out && flash ? 0 : fail("micro: out of memory for ggml");

	for (unsigned i = 0; i < m->o->rounds && !rc; i++) {
		uint64_t ours = bed_attend(bed, DRM_KVSINK_ATTEND_SPLIT, bed->tokens - 1), begin = now_ns();

		rc = !ours ? -1 : m->flash->run(flash, bed->q, out) ? fail("micro: ggml failed") : 0;
		p->other[i] = (double)(now_ns() - begin);
		p->ours[i] = (double)ours;
	}
	p->rounds = m->o->rounds;
	if (!rc)
		*difference = largest_difference(bed->out, out, outs);
	if (flash)
		m->flash->close(flash);
	free(out);
	return rc;
}

static int alone(struct micro *m, struct micro_bed *bed, struct pair *p, double limit)
{
	for (unsigned i = 0; i < m->o->rounds; i++) {
		uint64_t ns = bed_attend(bed, DRM_KVSINK_ATTEND_SPLIT, bed->tokens - 1);

		if (!ns)
			return -1;
		p->ours[i] = (double)ns;
		p->other[i] = limit;
	}
	p->rounds = m->o->rounds;
	return 0;
}

static int decode(struct micro *m, uint32_t d, uint32_t group)
{
	struct micro_shape shape = {.d = d, .group = group, .queries = 1, .keep = m->flash};
	struct micro_bed bed;
	struct pair p = {.rounds = 0};
	double difference = 0;
	bool memory;
	char what[96];
	int rc = bed_open(&bed, m->o, &shape);

	if (rc)
		return rc;
	snprintf(what, sizeof(what), "decode d %u, %u query heads a KV head, %u tokens", d, group,
		 bed.tokens);
	bed_attend(&bed, DRM_KVSINK_ATTEND_SPLIT, bed.tokens - 1);
	rc = alone(m, &bed, &p, limit_ns(m, &bed, &memory));
	if (!rc)
		result(m, what, memory ? "memory bandwidth" : "peak without FMA", SPEED, &p, ">= 0.85");
	if (!rc && m->flash)
		rc = against_flash(m, &bed, &p, &difference);
	if (!rc && m->flash) {
		result(m, what, "flash_attn_ext", SPEED, &p, ">= 1.5");
		say("largest difference of an output to ggml's, which sums V in binary16: %.1e of the "
		    "largest",
		    difference);
	}
	bed_close(&bed);
	return rc;
}

/* ---- one bed against another ---- */

static int compare(struct micro *m, const char *what, const char *against, const char *aim,
		   struct micro_bed *a, struct micro_bed *b)
{
	struct pair p = {.rounds = m->o->rounds};

	bed_attend(a, DRM_KVSINK_ATTEND_SPLIT, a->tokens - 1);
	for (unsigned i = 0; i < p.rounds; i++) {
		uint64_t x = bed_attend(a, DRM_KVSINK_ATTEND_SPLIT, a->tokens - 1);
		uint64_t y = x ? bed_attend(b, DRM_KVSINK_ATTEND_SPLIT, b->tokens - 1) : 0;

		if (!y)
			return -1;
		p.ours[i] = (double)x;
		p.other[i] = (double)y;
	}
	result(m, what, against, TIME, &p, aim);
	return 0;
}

static int sealed(struct micro *m, const struct micro_shape *plain, struct micro_bed *b, uint32_t seal,
		  const char *what, const char *aim)
{
	struct micro_shape shape = *plain;
	struct micro_bed a;
	int rc;

	shape.seal = seal;
	rc = bed_open(&a, m->o, &shape);
	if (rc)
		return rc;
	rc = compare(m, what, "FP16 rows", aim, &a, b);
	bed_close(&a);
	return rc;
}

static int with_sinks(struct micro *m, const struct micro_shape *shape, struct micro_bed *b, const char *what)
{
	struct micro_bed a;
	int rc = bed_open(&a, m->o, shape);

	if (rc)
		return rc;
	rc = bed_sinks(&a, SINK_STRIDE);
	if (!rc)
		rc = compare(m, what, "HBM only", "<= 1.02", &a, b);
	bed_close(&a);
	return rc;
}

static int variants(struct micro *m, uint32_t d, uint32_t group)
{
	struct micro_shape shape = {.d = d, .group = group, .queries = 1};
	struct micro_bed plain;
	char what[3][96];
	int rc = bed_open(&plain, m->o, &shape);

	if (rc)
		return rc;
	snprintf(what[0], sizeof(what[0]), "INT8 rows, d %u, %u query heads a KV head", d, group);
	snprintf(what[1], sizeof(what[1]), "INT4 rows, d %u, %u query heads a KV head", d, group);
	snprintf(what[2], sizeof(what[2]), "split and merge, 1 token in %u in SRAM, d %u, %u query heads",
		 SINK_STRIDE, d, group);
	rc = sealed(m, &shape, &plain, KVSINK_FORMAT_INT8, what[0], "<= 0.55");
	rc = rc ? rc : sealed(m, &shape, &plain, KVSINK_FORMAT_INT4, what[1], "<= 0.35");
	rc = rc ? rc : with_sinks(m, &shape, &plain, what[2]);
	bed_close(&plain);
	return rc;
}

/* ---- prefill ---- */

/* Times of all chunks together; a bed can be scored only once. */
static int prefill_round(struct micro_bed *bed, double *with, double *without)
{
	*with = *without = 0;
	for (uint32_t first = 0; first < bed->tokens; first += PREFILL_CHUNK) {
		uint64_t plain = bed_attend(bed, DRM_KVSINK_ATTEND_SPLIT, first),
			 scored = bed_score(bed, first);

		if (!plain || !scored)
			return -1;
		*with += (double)scored;
		*without += (double)plain;
	}
	return 0;
}

static int prefill(struct micro *m, uint32_t d, uint32_t group)
{
	struct micro_shape shape = {
		.d = d, .group = group, .queries = PREFILL_CHUNK, .tokens = PREFILL_TOKENS};
	struct pair p = {.rounds = m->o->rounds < PREFILL_ROUNDS ? m->o->rounds : PREFILL_ROUNDS};
	char what[96];

	for (unsigned i = 0; i < p.rounds; i++) {
		struct micro_bed bed;
		int rc = bed_open(&bed, m->o, &shape);

		if (rc)
			return rc;
		rc = prefill_round(&bed, &p.ours[i], &p.other[i]);
		bed_close(&bed);
		if (rc)
			return rc;
	}
	snprintf(what, sizeof(what), "prefill of %u tokens with scores, d %u, %u query heads a KV head",
		 PREFILL_TOKENS, d, group);
	result(m, what, "without scores", TIME, &p, "<= 1.25");
	return 0;
}

/* ---- all of it ---- */

static int measure(struct micro *m)
{
	static const uint32_t rows[] = {64, 128}, groups[] = {1, 3, 4, 8};

	for (unsigned i = 0; i < 2; i++)
		for (unsigned j = 0; j < 4; j++)
			if (decode(m, rows[i], groups[j]))
				return -1;
	for (unsigned i = 0; i < 2; i++)
		for (unsigned j = 0; j < 4; j += 2)
			if (variants(m, rows[i], groups[j]))
				return -1;
	return prefill(m, 64, 3) || prefill(m, 128, 4) ? -1 : 0;
}

static int print(struct micro *m)
{
	if (m->o->as_json && !m->o->json)
		return 0;
	printf("this machine, %u threads, %llu MiB: reads %.1f GB/s; without FMA %.1f G binary64, %.1f G "
	       "binary32 "
	       "operations/s\n",
	       m->o->threads, (unsigned long long)m->o->bytes >> 20, m->machine.bytes_per_s / 1e9,
	       m->machine.f64_per_s / 1e9, m->machine.f32_per_s / 1e9);
	if (!m->flash)
		printf("no comparison with ggml: %s\n", m->no_flash);
	return scols_print_table(m->table) ? fail("micro: cannot print the table") : 0;
}

static int begin(struct micro *m)
{
	static const char *const headings[] = {"WHAT", "AGAINST", "ms", "ms AGAINST", "OF", "RATIO", "AIM"};
	const struct micro_options *o = m->o;

	if (machine_measure(&m->machine, o->threads, o->bytes))
		return -1;
	find_flash(m);
	m->json = json_object_new_object();
	json_string(m->json, "schema", "kvsink-bench-micro/1");
	json_integer(m->json, "threads", o->threads);
	json_integer(m->json, "kv_bytes", o->bytes);
	json_integer(m->json, "rounds", o->rounds);
	json_number(m->json, "bytes_per_s", m->machine.bytes_per_s);
	json_number(m->json, "f64_per_s", m->machine.f64_per_s);
	json_number(m->json, "f32_per_s", m->machine.f32_per_s);
	if (!m->flash)
		json_string(m->json, "no_flash", m->no_flash);
	json_object_object_add(m->json, "ratios", json_object_new_array());
	m->table = scols_new_table();
	if (!m->table)
		return fail("out of memory for a table");
	for (unsigned i = 0; i < sizeof(headings) / sizeof(headings[0]); i++)
		scols_table_new_column(m->table, headings[i], 0,
				       i == 2 || i == 3 || i == 5 ? SCOLS_FL_RIGHT : 0);
	return 0;
}

int micro_run(const struct micro_options *o)
{
	struct micro m = {.o = o};
	int rc = begin(&m);

	if (!rc)
		rc = measure(&m);
	if (m.table && print(&m))
		rc = -1;
	if (m.table && o->as_json)
		rc = json_output(m.json, o->json) ? -1 : rc;
	else if (m.json)
		json_object_put(m.json);
	if (m.table)
		scols_unref_table(m.table);
	return rc;
}
