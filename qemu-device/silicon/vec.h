/* SPDX-License-Identifier: MIT */
/*
 * The kernels of the datapath that SIMD levels have their own code for.
 *
 * One template (vec_kernels.h) is compiled once a level. A tile is 64 tokens; in logits and weights a lane
 * is a token, in pv an output element; no kernel adds across lanes except weights, by one fixed tree of
 * 16 virtual lanes. So the width of a register decides nothing but the speed. All arrays but those of
 * the loads are aligned to 64 bytes.
 */
#ifndef KVSINK_VEC_H
#define KVSINK_VEC_H

#include <stdint.h>

#include "kvsink_hw.h"

#define KVSINK_TILE 64			      /* tokens of a tile */
#define KVSINK_ROW_STRIDE KVSINK_MAX_HEAD_DIM /* elements between rows of q and acc */

struct kvsink_vec_ops {
	/* dst[0, n) = binary32 of n binary16 numbers, exactly */
	void (*fp16_load)(float *dst, const void *src, unsigned n);
	/*
	 * dst[0, n) = codes times their scales: int8 and int4 have a scale (int4: and a minimum) for every 32
	 * elements, n is a multiple of 32; the others scale[n], then minimum[n]. Scales are binary16.
	 */
	void (*int8_load)(float *dst, const void *codes, const void *scales, unsigned n);
	void (*int4_load)(float *dst, const void *codes, const void *scales, unsigned n);
	void (*int8_channel_load)(float *dst, const void *codes, const void *scales, unsigned n);
	void (*int4_channel_load)(float *dst, const void *codes, const void *scales, unsigned n);
	/* kt[e][64] = binary64 of rows[64][stride]; e < d rounded up to 4; stride is a multiple of 16 */
	void (*transpose)(double *kt, const float *rows, unsigned stride, unsigned d);
	/* s[row][64] = softcap(scale * (q[row] . k)), accumulated in binary64, rounded once; cap 0 = none */
	void (*logits)(float *s, const double *q, unsigned rows, const double *kt, unsigned d, double scale,
		       double cap);
	/* greatest of s[64]; NaN does not count */
	float (*max)(const float *s);
	/* s[64] = e^(s - max), returns their sum; for s <= max; -inf gives 0 */
	float (*weights)(float *s, float max);
	/* acc[row][0, n) += sum over t in [begin, end) of p[row][t] * v[t][stride]; n is a multiple of 16 */
	void (*pv)(double *acc, const float *p, unsigned rows, unsigned begin, unsigned end, const float *v,
		   unsigned n);
	/* sum[t] += p[t] * unit rounded to nearest, for t < end; p * unit in [0, 2^51] */
	void (*score)(uint64_t *sum, const float *p, double unit, unsigned end);
};

extern const struct kvsink_vec_ops kvsink_vec_sse2, kvsink_vec_avx2, kvsink_vec_avx512f;

/* The best level of this CPU, or the one that was forced. */
const struct kvsink_vec_ops *kvsink_vec(void);

#endif
