/* SPDX-License-Identifier: MIT */
/*
 * The kernels of the datapath that SIMD levels have their own code for.
 *
 * One template (vec_kernels.h) is compiled once a level. A tile is 64 tokens. Sums run in virtual lanes,
 * whatever the width of a register: in logits 8 of binary64, element e in lane e % 8; in weights 16 of
 * binary32, which are tokens; both are added up by one fixed tree. In pv a lane is an element of the output.
 * So the width decides nothing but the speed. All arrays but those of the loads are aligned to 64 bytes.
 */
#ifndef KVSINK_VEC_H
#define KVSINK_VEC_H

#include <stdint.h>

#include "kvsink_hw.h"

#define KVSINK_TILE 64			      /* tokens of a tile */
#define KVSINK_ROW_STRIDE KVSINK_MAX_HEAD_DIM /* elements between rows of q and acc */
#define KVSINK_K_ROWS 4			      /* of a call of logits */

/* Formats that some kernels read themselves. */
#define KVSINK_DIRECT (1u << KVSINK_FORMAT_FP16 | 1u << KVSINK_FORMAT_INT8 | 1u << KVSINK_FORMAT_INT4)

struct kvsink_row;

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
	/* dst[0, n) = binary64 of n numbers, then zeros up to a multiple of 8 */
	void (*f32_widen)(double *dst, const float *src, unsigned n);
	/*
	 * s[row][0..3] = softcap(scale * (q[row] . k[t])) of four tokens, k[4][n], accumulated in binary64,
	 * rounded once; n is a multiple of 8, s has rows of 64; cap 0 = none
	 */
	void (*logits)(float *s, const double *q, unsigned rows, const double *k, unsigned n, double scale,
		       double cap);
	/*
	 * the same of 64 tokens, straight from their rows, whose format is one of KVSINK_DIRECT; d is a
	 * multiple of 16; `k` is room for four rows
	 */
	void (*tile_logits)(float *s, const double *q, unsigned rows, const struct kvsink_row *row,
			    unsigned format, unsigned d, double scale, double cap, double *k);
	/* greatest of s[64]; NaN does not count */
	float (*max)(const float *s);
	/* s[64] = e^(s - max), returns their sum; for s <= max; -inf gives 0 */
	float (*weights)(float *s, float max);
	/* acc[row][0, n) += sum over t in [begin, end) of p[row][t] * v[t][stride]; n is a multiple of 16 */
	void (*pv)(double *acc, const float *p, unsigned rows, unsigned begin, unsigned end, const float *v,
		   unsigned n);
	/* the same, straight from the rows; format and n as in tile_logits */
	void (*tile_pv)(double *acc, const float *p, unsigned rows, unsigned begin, unsigned end,
			const struct kvsink_row *v, unsigned format, unsigned n);
	/* sum[t] += p[t] * unit rounded to nearest, for t < end; p * unit in [0, 2^51] */
	void (*score)(uint64_t *sum, const float *p, double unit, unsigned end);
};

extern const struct kvsink_vec_ops kvsink_vec_sse2, kvsink_vec_avx2, kvsink_vec_avx512f;

/* The best level of this CPU, or the one that was forced. */
const struct kvsink_vec_ops *kvsink_vec(void);

#endif
