/* SPDX-License-Identifier: MIT */
/*
 * What this machine can do at most, measured: the limits that the datapath's speed is held against.
 *
 * Arithmetic limits are those of multiplications and additions that are not fused: the datapath fuses none,
 * so that every CPU gives the same bits. The kernels use the widest registers that the CPU has.
 */
#ifndef KVSINK_BENCH_MACHINE_H
#define KVSINK_BENCH_MACHINE_H

#include <stdint.h>

#define MACHINE_MAX_THREADS 16

struct machine {
	double bytes_per_s; /* sequential reading of memory, all threads together */
	double f32_per_s;   /* binary32 operations, multiplications and additions counted one each */
	double f64_per_s;   /* the same in binary64 */
};

/* now_ns - CLOCK_MONOTONIC */
uint64_t now_ns(void);
/* machine_measure - with that many threads (at most MACHINE_MAX_THREADS), reading that many bytes; -1 with a
 * line printed */
int machine_measure(struct machine *m, unsigned threads, uint64_t bytes);

#endif
