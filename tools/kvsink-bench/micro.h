/* SPDX-License-Identifier: MIT */
/*
 * kvsink-bench micro: how fast the datapath is, as ratios of times taken in turn in one run.
 *
 * Everything goes through the library and a device (sim:), so that a time is what a user waits for.
 * docs/bench.md says what each figure means.
 */
#ifndef KVSINK_BENCH_MICRO_H
#define KVSINK_BENCH_MICRO_H

#include <kvsink.h>
#include <stdbool.h>
#include <stdint.h>

#include "machine.h"

struct micro_options {
	unsigned threads; /* 1 to MACHINE_MAX_THREADS */
	uint64_t bytes;	  /* of K and V in FP16 */
	unsigned rounds;  /* that times are taken in turn */
	bool as_json;
	const char *json; /* file, or NULL */
};

int micro_run(const struct micro_options *o);

/* ---- bed.c: one stream of one layer, full of rows ---- */

struct micro_bed {
	struct kvs_device *device;
	struct kvs_stream *stream;
	struct kvs_batch *batch;
	struct kvs_buffer *io;
	uint32_t tokens, kv_heads, q_heads, d, queries; /* queries: of an ATTEND */
	float *q, *out;					/* in io: [queries][q_heads][d] */
	float *k, *v; /* what was appended, if it is kept: [tokens][kv_heads][d] */
};

struct micro_shape {
	uint32_t d, group; /* elements of a row; query heads of a KV head */
	uint32_t seal;	   /* enum kvsink_format of K and V; 0 = FP16 */
	uint32_t queries;  /* of an ATTEND or SCORE, at most 256 */
	uint32_t tokens;   /* 0: as many as the options' bytes hold */
	bool keep;	   /* bed->k, bed->v */
};

#define MICRO_KV_HEADS 4

int bed_open(struct micro_bed *bed, const struct micro_options *o, const struct micro_shape *shape);
void bed_close(struct micro_bed *bed);
/* bed_sinks - makes every stride-th token resident in SRAM */
int bed_sinks(struct micro_bed *bed, uint32_t stride);
/* bed_attend, bed_score - ns of one job, queries from token `first` on; 0 with a line printed */
uint64_t bed_attend(struct micro_bed *bed, uint32_t mode, uint32_t first);
uint64_t bed_score(struct micro_bed *bed, uint32_t first);

#endif
