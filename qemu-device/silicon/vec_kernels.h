/* SPDX-License-Identifier: MIT */
/*
 * Template of the SIMD kernels: what each one does stands in vec.h.
 *
 * A file that includes this sets VEC_BYTES (width of a register), VEC_ROWS (rows worked on at once) and
 * VEC_OPS (name of the table). Lanes never meet but in weights(), operations are plain IEEE multiplies
 * and adds in one order, so VEC_BYTES and VEC_ROWS change no bit.
 */
#include "fp.h"
#include "vec.h"

#define VF (VEC_BYTES / 4) /* floats in a register */
#define VD (VEC_BYTES / 8) /* doubles in a register */
#define LANES 16	   /* virtual lanes */
#define NF (LANES / VF)	   /* registers of 16 floats */
#define ND 2		   /* registers of doubles that logits() works on at once */
#define INLINE static inline __attribute__((always_inline))

typedef float vf __attribute__((vector_size(VEC_BYTES), may_alias));
typedef int32_t vi __attribute__((vector_size(VEC_BYTES), may_alias));
typedef double vd __attribute__((vector_size(VEC_BYTES), may_alias));
typedef int64_t vl __attribute__((vector_size(VEC_BYTES), may_alias));
typedef float vh __attribute__((vector_size(VEC_BYTES / 2), may_alias)); /* as many floats as doubles in vd */
typedef float vf_any __attribute__((vector_size(VEC_BYTES), may_alias, aligned(4)));
typedef uint16_t vu16_any __attribute__((vector_size(VEC_BYTES / 2), may_alias, aligned(1)));
typedef int8_t vi8_any __attribute__((vector_size(VEC_BYTES / 4), may_alias, aligned(1)));
typedef uint8_t vu8_any __attribute__((vector_size(VEC_BYTES / 4), may_alias, aligned(1)));
typedef uint8_t v16u8 __attribute__((vector_size(16), may_alias, aligned(1)));
typedef float v4f __attribute__((vector_size(16), may_alias));
typedef double v4d __attribute__((vector_size(32), may_alias));

INLINE vf select_f(vi mask, vf yes, vf no)
{
	return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}

#ifdef VEC_F16C
typedef int16_t v8hi __attribute__((vector_size(16)));

/* The CPU's own conversion: exact, and NaNs are quieted. */
INLINE vf fp16_to_f32(vu16_any half)
{
	return (vf)__builtin_ia32_vcvtph2ps256((v8hi)half);
}
#else
/* The exponent is moved by a multiplication, which also normalises subnormals; NaNs are quieted. */
INLINE vf fp16_to_f32(vu16_any packed)
{
	vi half = __builtin_convertvector(packed, vi);
	vi magnitude = (half & 0x7fff) << 13;
	vi bits = (vi)((vf)magnitude * 0x1p112f);
	vi special = magnitude >= 0x0f800000; /* infinity or NaN */
	vi nan = magnitude > 0x0f800000;

	bits = (special & (magnitude | 0x7f800000 | (nan & 0x00400000))) | (~special & bits);
	return (vf)(bits | ((half & 0x8000) << 16));
}
#endif

static void fp16_load(float *dst, const void *src, unsigned n)
{
	const uint8_t *from = src;
	uint16_t tail[VF] = {0};
	float out[VF];
	unsigned i;

	for (i = 0; i + VF <= n; i += VF)
		*(vf_any *)(dst + i) = fp16_to_f32(*(const vu16_any *)(from + 2 * i));
	if (i == n)
		return;
	memcpy(tail, from + 2 * i, 2 * (n - i));
	*(vf_any *)out = fp16_to_f32(*(const vu16_any *)tail);
	memcpy(dst + i, out, 4 * (n - i));
}

#define GROUP KVSINK_FORMAT_GROUP
#define GROUPS (KVSINK_MAX_HEAD_DIM / GROUP)

static void int8_load(float *dst, const void *codes, const void *scales, unsigned n)
{
	const int8_t *code = codes;
	float scale[GROUPS];
	unsigned i, j;

	fp16_load(scale, scales, n / GROUP);
	for (i = 0; i < n; i += GROUP) {
		float s = scale[i / GROUP];

		for (j = i; j < i + GROUP; j += VF)
			*(vf_any *)(dst + j) =
				__builtin_convertvector(
					__builtin_convertvector(*(const vi8_any *)(code + j), vi), vf) *
				s;
	}
}

/* 32 codes of four bits, one in each byte. */
INLINE void unpack4(uint8_t *to, const uint8_t *pairs)
{
	v16u8 both = *(const v16u8 *)pairs, low = both & 15, high = both >> 4;

	*(v16u8 *)to =
		__builtin_shufflevector(low, high, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
	*(v16u8 *)(to + 16) = __builtin_shufflevector(low, high, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29,
						      14, 30, 15, 31);
}

INLINE vf code_to_f32(const uint8_t *code)
{
	return __builtin_convertvector(__builtin_convertvector(*(const vu8_any *)code, vi), vf);
}

static void int4_load(float *dst, const void *codes, const void *scales, unsigned n)
{
	const uint8_t *pairs = codes;
	uint8_t code[GROUP];
	float scale[2 * GROUPS]; /* and minimum, in turn */
	unsigned i, j;

	fp16_load(scale, scales, n / GROUP * 2);
	for (i = 0; i < n; i += GROUP, pairs += GROUP / 2) {
		float s = scale[i / GROUP * 2], minimum = scale[i / GROUP * 2 + 1];

		unpack4(code, pairs);
		for (j = 0; j < GROUP; j += VF)
			*(vf_any *)(dst + i + j) = code_to_f32(code + j) * s + minimum;
	}
}

INLINE void channel_group_whole(float *dst, const uint8_t *code, const uint8_t *scale, const uint8_t *minimum)
{
	unsigned j;

	for (j = 0; j < GROUP; j += VF)
		*(vf_any *)(dst + j) =
			code_to_f32(code + j) * fp16_to_f32(*(const vu16_any *)(scale + 2 * j)) +
			fp16_to_f32(*(const vu16_any *)(minimum + 2 * j));
}

/* At most GROUP elements; fewer come by way of buffers, for whole registers are read and written. */
INLINE void channel_group(float *dst, const uint8_t *code, const uint8_t *scale, const uint8_t *minimum,
			  unsigned n)
{
	uint8_t c[GROUP] = {0}, s[2 * GROUP] = {0}, m[2 * GROUP] = {0};
	float out[GROUP];

	if (n < GROUP) {
		memcpy(c, code, n);
		memcpy(s, scale, 2 * n);
		memcpy(m, minimum, 2 * n);
		channel_group_whole(out, c, s, m);
		memcpy(dst, out, n * sizeof(*out));
		return;
	}
	channel_group_whole(dst, code, scale, minimum);
}

static void int8_channel_load(float *dst, const void *codes, const void *scales, unsigned n)
{
	const uint8_t *code = codes, *scale = scales, *minimum = scale + 2 * n;
	unsigned i;

	for (i = 0; i < n; i += GROUP)
		channel_group(dst + i, code + i, scale + 2 * i, minimum + 2 * i,
			      n - i < GROUP ? n - i : GROUP);
}

static void int4_channel_load(float *dst, const void *codes, const void *scales, unsigned n)
{
	const uint8_t *pairs = codes, *scale = scales, *minimum = scale + 2 * n;
	uint8_t code[GROUP], last[GROUP / 2] = {0};
	unsigned i;

	for (i = 0; i < n; i += GROUP) {
		if (n - i < GROUP)
			memcpy(last, pairs + i / 2, (n - i) / 2);
		unpack4(code, n - i < GROUP ? last : pairs + i / 2);
		channel_group(dst + i, code, scale + 2 * i, minimum + 2 * i, n - i < GROUP ? n - i : GROUP);
	}
}

/* Columns e .. e+3 of four rows. */
INLINE void transpose4(double *kt, const float *rows, unsigned stride)
{
	v4f a = *(const v4f *)rows, b = *(const v4f *)(rows + stride);
	v4f c = *(const v4f *)(rows + 2 * stride), d = *(const v4f *)(rows + 3 * stride);
	v4f ab0 = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab1 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
	v4f cd0 = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd1 = __builtin_shufflevector(c, d, 2, 6, 3, 7);
	v4f e0 = __builtin_shufflevector(ab0, cd0, 0, 1, 4, 5),
	    e1 = __builtin_shufflevector(ab0, cd0, 2, 3, 6, 7);
	v4f e2 = __builtin_shufflevector(ab1, cd1, 0, 1, 4, 5),
	    e3 = __builtin_shufflevector(ab1, cd1, 2, 3, 6, 7);

	*(v4d *)kt = __builtin_convertvector(e0, v4d);
	*(v4d *)(kt + KVSINK_TILE) = __builtin_convertvector(e1, v4d);
	*(v4d *)(kt + 2 * KVSINK_TILE) = __builtin_convertvector(e2, v4d);
	*(v4d *)(kt + 3 * KVSINK_TILE) = __builtin_convertvector(e3, v4d);
}

static void transpose(double *kt, const float *rows, unsigned stride, unsigned d)
{
	unsigned e, t;

	for (e = 0; e < d; e += 4)
		for (t = 0; t < KVSINK_TILE; t += 4)
			transpose4(kt + (size_t)e * KVSINK_TILE + t, rows + (size_t)t * stride + e, stride);
}

INLINE void logit_store(float *s, vd dot, double scale, double cap)
{
	unsigned i;

	dot *= scale;
	if (cap > 0.0)
		for (i = 0; i < VD; i++)
			dot[i] = kvsink_softcap64(dot[i], cap);
	*(vh *)s = __builtin_convertvector(dot, vh);
}

/* `rows` is a constant where this is inlined. */
INLINE void logit_block(float *s, const double *q, const unsigned rows, const double *kt, unsigned d,
			double scale, double cap)
{
	vd acc[VEC_ROWS][ND] = {0};
	unsigned e, i, j;

	for (e = 0; e < d; e++) {
#pragma GCC unroll 8
		for (i = 0; i < rows; i++)
#pragma GCC unroll 4
			for (j = 0; j < ND; j++)
				acc[i][j] += *(const vd *)(kt + (size_t)e * KVSINK_TILE + j * VD) *
					     q[i * KVSINK_ROW_STRIDE + e];
	}
#pragma GCC unroll 8
	for (i = 0; i < rows; i++)
#pragma GCC unroll 4
		for (j = 0; j < ND; j++)
			logit_store(s + i * KVSINK_TILE + j * VD, acc[i][j], scale, cap);
}

static void logits(float *s, const double *q, unsigned rows, const double *kt, unsigned d, double scale,
		   double cap)
{
	unsigned t, r;

	for (t = 0; t < KVSINK_TILE; t += ND * VD) {
		for (r = 0; r + VEC_ROWS <= rows; r += VEC_ROWS)
			logit_block(s + r * KVSINK_TILE + t, q + (size_t)r * KVSINK_ROW_STRIDE, VEC_ROWS,
				    kt + t, d, scale, cap);
		for (; r < rows; r++)
			logit_block(s + r * KVSINK_TILE + t, q + (size_t)r * KVSINK_ROW_STRIDE, 1, kt + t, d,
				    scale, cap);
	}
}

static float max(const float *s)
{
	vf best = *(const vf *)s;
	float result = -INFINITY;
	unsigned i;

	best = select_f(best == best, best, (vf){0} - INFINITY);
	for (i = VF; i < KVSINK_TILE; i += VF) {
		vf x = *(const vf *)(s + i);

		best = select_f(x > best, x, best);
	}
	for (i = 0; i < VF; i++)
		result = best[i] > result ? best[i] : result;
	return result;
}

/* e^x for x <= 0 within 2 ulp, 1 at 0, 0 below -87, NaN for NaN. Taylor to the 7th power on |r| <= ln(2)/2.
 */
INLINE vf exp_f(vf x)
{
	vi tiny = x < -87.0f;
	vf y = select_f(tiny, (vf){0}, x);
	vf n = (y * (float)KVSINK_LOG2E + 0x1.8p23f) - 0x1.8p23f;
	vf r = (y - n * 0x1.63p-1f) + n * 0x1.bd0106p-13f; /* ln(2) = 0x1.63p-1 - 0x1.bd0106p-13 */
	vf p = r * (1.0f / 5040) + 1.0f / 720;

	p = p * r + 1.0f / 120;
	p = p * r + 1.0f / 24;
	p = p * r + 1.0f / 6;
	p = p * r + 0.5f;
	p = (p * r) * r + r + 1.0f;
	/* n of a NaN is anything in an int; p stays NaN whatever it is multiplied with but 0 bits */
	p = p * (vf)((__builtin_convertvector(select_f(n == n, n, (vf){0}), vi) + 127) << 23);
	return select_f(tiny, (vf){0}, p);
}

static float weights(float *s, float max)
{
	float lane[LANES] __attribute__((aligned(64)));
	unsigned i, j;

	for (j = 0; j < NF; j++) {
		vf part[KVSINK_TILE / LANES];

		for (i = 0; i < KVSINK_TILE / LANES; i++) {
			vf *x = (vf *)(s + i * LANES + j * VF);

			*x = part[i] = exp_f(*x - max);
		}
		*(vf *)(lane + j * VF) = (part[0] + part[1]) + (part[2] + part[3]);
	}
	for (i = LANES / 2; i; i /= 2)
		for (j = 0; j < i; j++)
			lane[j] += lane[j + i];
	return lane[0];
}

INLINE void pv_block(double *acc, const float *p, const unsigned rows, unsigned begin, unsigned end,
		     const float *v, unsigned stride)
{
	vf sum[VEC_ROWS][NF] = {0};
	unsigned t, i, j;

	for (t = begin; t < end; t++) {
#pragma GCC unroll 8
		for (i = 0; i < rows; i++)
#pragma GCC unroll 4
			for (j = 0; j < NF; j++)
				sum[i][j] += *(const vf *)(v + (size_t)t * stride + j * VF) *
					     p[i * KVSINK_TILE + t];
	}
#pragma GCC unroll 8
	for (i = 0; i < rows; i++)
#pragma GCC unroll 4
		for (j = 0; j < NF; j++) {
			float part[VF] __attribute__((aligned(64)));
			unsigned k;

			*(vf *)part = sum[i][j];
			for (k = 0; k < VF; k += VD)
				*(vd *)(acc + i * KVSINK_ROW_STRIDE + j * VF + k) +=
					__builtin_convertvector(*(vh *)(part + k), vd);
		}
}

static void pv(double *acc, const float *p, unsigned rows, unsigned begin, unsigned end, const float *v,
	       unsigned n)
{
	unsigned e, r;

	for (e = 0; e < n; e += LANES) {
		for (r = 0; r + VEC_ROWS <= rows; r += VEC_ROWS)
			pv_block(acc + (size_t)r * KVSINK_ROW_STRIDE + e, p + r * KVSINK_TILE, VEC_ROWS,
				 begin, end, v + e, n);
		for (; r < rows; r++)
			pv_block(acc + (size_t)r * KVSINK_ROW_STRIDE + e, p + r * KVSINK_TILE, 1, begin, end,
				 v + e, n);
	}
}

/* Adding 2^52 rounds to an integer and leaves it in the low bits. */
static void score(uint64_t *sum, const float *p, double unit, unsigned end)
{
	uint64_t bits;
	double x;
	unsigned t;

	for (t = 0; t + VD <= end; t += VD) {
		vd y = __builtin_convertvector(*(const vh *)(p + t), vd) * unit + 0x1p52;

		*(vl *)(sum + t) += (vl)y - 0x4330000000000000ll;
	}
	for (; t < end; t++) {
		x = (double)p[t] * unit + 0x1p52;
		memcpy(&bits, &x, sizeof(bits));
		sum[t] += bits - 0x4330000000000000ull;
	}
}

const struct kvsink_vec_ops VEC_OPS = {
	.fp16_load = fp16_load,
	.int8_load = int8_load,
	.int4_load = int4_load,
	.int8_channel_load = int8_channel_load,
	.int4_channel_load = int4_channel_load,
	.transpose = transpose,
	.logits = logits,
	.max = max,
	.weights = weights,
	.pv = pv,
	.score = score,
};
