/* SPDX-License-Identifier: MIT */
/*
 * Template of the SIMD kernels: what each one does stands in vec.h.
 *
 * A file that includes this sets VEC_BYTES (width of a register), VEC_ROWS (rows worked on at once) and
 * VEC_OPS (name of the table). Virtual lanes meet in one tree, operations are plain IEEE multiplies and adds
 * in one order, so VEC_BYTES and VEC_ROWS change no bit.
 */
#include "fp.h"

#include "datapath.h"
#include "vec.h"

#define VF (VEC_BYTES / 4) /* floats in a register */
#define VD (VEC_BYTES / 8) /* doubles in a register */
#define LANES 16	   /* virtual lanes */
#define NF (LANES / VF)	   /* registers of 16 floats */
#define LANES64 8	   /* virtual lanes of binary64 */
#define ND (LANES64 / VD)  /* registers of 8 doubles */
#define INLINE static inline __attribute__((always_inline))

typedef float vf __attribute__((vector_size(VEC_BYTES), may_alias));
typedef int32_t vi __attribute__((vector_size(VEC_BYTES), may_alias));
typedef double vd __attribute__((vector_size(VEC_BYTES), may_alias));
typedef double vd_any __attribute__((vector_size(VEC_BYTES), may_alias, aligned(8)));
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

#ifdef VEC_AVX2
typedef int16_t v8hi __attribute__((vector_size(16)));
typedef uint32_t vu __attribute__((vector_size(VEC_BYTES)));

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

/* As many bytes as there are floats in a register, with a sign or without. */
#ifdef VEC_AVX2
typedef char v16qi __attribute__((vector_size(16)));
typedef int64_t v2di __attribute__((vector_size(16)));

INLINE v16qi eight_bytes(const void *bytes)
{
	int64_t low;

	memcpy(&low, bytes, sizeof(low));
	return (v16qi)(v2di){low, 0};
}

INLINE vf signed_to_f32(const int8_t *code)
{
	return __builtin_convertvector((vi)__builtin_ia32_pmovsxbd256(eight_bytes(code)), vf);
}

INLINE vf code_to_f32(const uint8_t *code)
{
	return __builtin_convertvector((vi)__builtin_ia32_pmovzxbd256(eight_bytes(code)), vf);
}
#else
INLINE vf signed_to_f32(const int8_t *code)
{
	return __builtin_convertvector(__builtin_convertvector(*(const vi8_any *)code, vi), vf);
}

INLINE vf code_to_f32(const uint8_t *code)
{
	return __builtin_convertvector(__builtin_convertvector(*(const vu8_any *)code, vi), vf);
}
#endif

/* A binary16 number in every element. */
INLINE vf fp16_to_all(const uint8_t *half)
{
	uint16_t bits;

	memcpy(&bits, half, sizeof(bits));
	return fp16_to_f32((vu16_any){0} + bits);
}

/* Twice `bytes` codes of four bits, one in each byte; bytes is at most 8 and a constant where this is
 * inlined. */
INLINE void unpack4(uint8_t *to, const uint8_t *pairs, const unsigned bytes)
{
	v16u8 both = {0}, low, high;

	memcpy(&both, pairs, bytes);
	low = both & 15;
	high = both >> 4;
	*(v16u8 *)to =
		__builtin_shufflevector(low, high, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
}

/*
 * Register j of 16 codes of four bits, one number in each element. Without shifts of their own for each
 * element they pass through `code`, which is filled with register 0.
 */
INLINE vf pairs_to_f32(const uint8_t *pairs, unsigned j, uint8_t *code)
{
#ifdef VEC_AVX2
	uint32_t eight;

	(void)code;
	memcpy(&eight, pairs + 4 * j, sizeof(eight));
	return __builtin_convertvector((vi)((((vu){0} + eight) >> (vu){0, 4, 8, 12, 16, 20, 24, 28}) & 15),
				       vf);
#else
	if (!j)
		unpack4(code, pairs, LANES / 2);
	return code_to_f32(code + j * VF);
#endif
}

/* What the codes of a group are multiplied with, and what is added. */
struct grid {
	vf scale, minimum;
};

INLINE struct grid grid_load(const unsigned format, const struct kvsink_row *row, unsigned e)
{
	struct grid g = {{0}, {0}};

	if (format == KVSINK_FORMAT_INT8)
		g.scale = fp16_to_all(row->scales + e / GROUP * 2);
	if (format == KVSINK_FORMAT_INT4) {
		g.scale = fp16_to_all(row->scales + e / GROUP * 4);
		g.minimum = fp16_to_all(row->scales + e / GROUP * 4 + 2);
	}
	return g;
}

/*
 * x = 16 elements of a row from element e on, a multiple of 16, in binary32; `g` is the grid of their group.
 * `format` is a constant where this is inlined.
 */
INLINE void lanes_load(const unsigned format, vf x[NF], const struct kvsink_row *row, unsigned e,
		       const struct grid *g)
{
	uint8_t code[LANES] __attribute__((aligned(16)));
	unsigned j;

#pragma GCC unroll 4
	for (j = 0; j < NF; j++) {
		if (format == KVSINK_FORMAT_FP16)
			x[j] = fp16_to_f32(*(const vu16_any *)(row->data + 2 * (e + j * VF)));
		else if (format == KVSINK_FORMAT_INT8)
			x[j] = signed_to_f32((const int8_t *)row->data + e + j * VF) * g->scale;
		else
			x[j] = pairs_to_f32(row->data + e / 2, j, code) * g->scale + g->minimum;
	}
}

/* Elements that are worked on at once: those that share a grid. */
INLINE unsigned step_of(const unsigned format)
{
	return format == KVSINK_FORMAT_FP16 ? LANES : GROUP;
}

INLINE void row_load_all(const unsigned format, float *dst, const void *codes, const void *scales, unsigned n)
{
	const struct kvsink_row row = {.data = codes, .scales = scales};
	unsigned i, j;
	vf x[NF];

	for (i = 0; i < n; i += LANES) {
		struct grid g = grid_load(format, &row, i);

		lanes_load(format, x, &row, i, &g);
		for (j = 0; j < NF; j++)
			*(vf_any *)(dst + i + j * VF) = x[j];
	}
}

static void int8_load(float *dst, const void *codes, const void *scales, unsigned n)
{
	row_load_all(KVSINK_FORMAT_INT8, dst, codes, scales, n);
}

static void int4_load(float *dst, const void *codes, const void *scales, unsigned n)
{
	row_load_all(KVSINK_FORMAT_INT4, dst, codes, scales, n);
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
		const uint8_t *from = pairs + i / 2;

		if (n - i < GROUP)
			from = memcpy(last, from, (n - i) / 2);
		unpack4(code, from, 8);
		unpack4(code + 16, from + 8, 8);
		channel_group(dst + i, code, scale + 2 * i, minimum + 2 * i, n - i < GROUP ? n - i : GROUP);
	}
}

/* ---- q.k ---- */

/* Both halves of a register of floats as doubles. */
INLINE void widen(double *to, vf x)
{
#ifdef VEC_AVX2
	*(vd_any *)to = (vd)__builtin_ia32_cvtps2pd256(__builtin_shufflevector(x, x, 0, 1, 2, 3));
	*(vd_any *)(to + VD) = (vd)__builtin_ia32_cvtps2pd256(__builtin_shufflevector(x, x, 4, 5, 6, 7));
#else
	float f[VF] __attribute__((aligned(VEC_BYTES)));

	*(vf *)f = x;
	*(vd_any *)to = __builtin_convertvector(*(const vh *)f, vd);
	*(vd_any *)(to + VD) = __builtin_convertvector(*(const vh *)(f + VD), vd);
#endif
}

INLINE void pad(double *dst, unsigned n)
{
	for (; n % LANES64; n++)
		dst[n] = 0.0;
}

static void f32_widen(double *dst, const float *src, unsigned n)
{
	unsigned i;

	for (i = 0; i + VF <= n; i += VF)
		widen(dst + i, *(const vf_any *)(src + i));
	for (; i < n; i++)
		dst[i] = src[i];
	pad(dst, n);
}

/* part[token][4]: lanes j and j + 4 are added. `tokens` is a constant where this is inlined. */
INLINE void store_lanes(double (*part)[4], vd (*acc)[ND], const unsigned tokens)
{
	double lane[LANES64] __attribute__((aligned(64)));
	unsigned t, j;

#pragma GCC unroll 8
	for (t = 0; t < tokens; t++) {
#pragma GCC unroll 8
		for (j = 0; j < ND; j++)
			*(vd *)(lane + j * VD) = acc[t][j];
		*(v4d *)part[t] = *(const v4d *)lane + *(const v4d *)(lane + 4);
	}
}

/* q of `rows` rows times k of `tokens` tokens. Both are constants where this is inlined. */
INLINE void dot_block(double (*part)[KVSINK_K_ROWS][4], const double *q, const unsigned rows, const double *k,
		      const unsigned tokens, unsigned n)
{
	vd acc[2][KVSINK_K_ROWS][ND] = {0};
	unsigned e, i, t, j;

	for (e = 0; e < n; e += LANES64) {
#pragma GCC unroll 8
		for (j = 0; j < ND; j++)
#pragma GCC unroll 8
			for (t = 0; t < tokens; t++)
#pragma GCC unroll 8
				for (i = 0; i < rows; i++)
					acc[i][t][j] += *(const vd *)(k + t * n + e + j * VD) *
							*(const vd *)(q + i * KVSINK_ROW_STRIDE + e + j * VD);
	}
#pragma GCC unroll 8
	for (i = 0; i < rows; i++)
		store_lanes(part[i], acc[i], tokens);
}

/* Logits of a row and four tokens: (lane 0 + lane 1) + (lane 2 + lane 3), scaled and capped. */
INLINE void logit_store(float *s, double (*part)[4], double scale, double cap)
{
	v4d a = *(const v4d *)part[0], b = *(const v4d *)part[1];
	v4d c = *(const v4d *)part[2], d = *(const v4d *)part[3];
	v4d ab = __builtin_shufflevector(a, b, 0, 4, 2, 6) + __builtin_shufflevector(a, b, 1, 5, 3, 7);
	v4d cd = __builtin_shufflevector(c, d, 0, 4, 2, 6) + __builtin_shufflevector(c, d, 1, 5, 3, 7);
	v4d dot = __builtin_shufflevector(ab, cd, 0, 1, 4, 5) + __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
	unsigned i;

	dot *= scale;
	if (cap > 0.0)
		for (i = 0; i < 4; i++)
			dot[i] = kvsink_softcap64(dot[i], cap);
	*(v4f *)s = __builtin_convertvector(dot, v4f);
}

static void logits(float *s, const double *q, unsigned rows, const double *k, unsigned n, double scale,
		   double cap)
{
	double part[2][KVSINK_K_ROWS][4] __attribute__((aligned(64)));
	unsigned r;

	for (r = 0; r + 2 <= rows; r += 2) {
		const double *at = q + (size_t)r * KVSINK_ROW_STRIDE;

		dot_block(part, at, 2, k, 2, n);
		dot_block((double(*)[KVSINK_K_ROWS][4])part[0][2], at, 2, k + 2 * n, 2, n);
		logit_store(s + r * KVSINK_TILE, part[0], scale, cap);
		logit_store(s + (r + 1) * KVSINK_TILE, part[1], scale, cap);
	}
	if (r == rows)
		return;
	dot_block(part, q + (size_t)r * KVSINK_ROW_STRIDE, 1, k, KVSINK_K_ROWS, n);
	logit_store(s + r * KVSINK_TILE, part[0], scale, cap);
}

#define FETCH 24 /* lines that are on their way: about as many as a core of today can wait for */

INLINE unsigned row_lines(unsigned format, unsigned n)
{
	unsigned bytes = format == KVSINK_FORMAT_FP16 ? 2 * n : format == KVSINK_FORMAT_INT8 ? n : n / 2;

	return (bytes + 63) / 64;
}

/* What comes FETCH lines later; tile->row has so many rows behind its last one. */
INLINE void fetch(const struct kvsink_row *row, unsigned lines)
{
	const uint8_t *data = row[lines < FETCH ? FETCH / lines : 1].data;
	unsigned i;

	for (i = 0; i < lines; i++)
		__builtin_prefetch(data + 64 * i);
}

INLINE void row_widen(const unsigned format, double *dst, const struct kvsink_row *row, unsigned n)
{
	unsigned e, i, j;
	vf x[NF];

	for (e = 0; e < n; e += step_of(format)) {
		struct grid g = grid_load(format, row, e);

#pragma GCC unroll 2
		for (i = e; i < e + step_of(format); i += LANES) {
			lanes_load(format, x, row, i, &g);
#pragma GCC unroll 4
			for (j = 0; j < NF; j++)
				widen(dst + i + j * VF, x[j]);
		}
	}
}

/* acc += q times k, 16 elements of each. */
INLINE void add_products(vd acc[ND], const double *q, const vf x[NF])
{
	double k[LANES] __attribute__((aligned(64)));
	unsigned i, j;

#pragma GCC unroll 4
	for (i = 0; i < NF; i++)
		widen(k + i * VF, x[i]);
#pragma GCC unroll 2
	for (i = 0; i < LANES; i += LANES64)
#pragma GCC unroll 4
		for (j = 0; j < ND; j++)
			acc[j] += *(const vd *)(k + i + j * VD) * *(const vd *)(q + i + j * VD);
}

/* dot_block() of one row of q, straight from the rows: each element is needed only once. */
INLINE void direct_dot_block(const unsigned format, double (*part)[4], const double *q,
			     const struct kvsink_row *row, unsigned d)
{
	vd acc[KVSINK_K_ROWS][ND] = {0};
	unsigned e, t, i;
	vf x[NF];

	for (e = 0; e < d; e += step_of(format)) {
#pragma GCC unroll 8
		for (t = 0; t < KVSINK_K_ROWS; t++) {
			struct grid g = grid_load(format, row + t, e);

#pragma GCC unroll 2
			for (i = e; i < e + step_of(format); i += LANES) {
				lanes_load(format, x, row + t, i, &g);
				add_products(acc[t], q + i, x);
			}
		}
	}
	store_lanes(part, acc, KVSINK_K_ROWS);
}

INLINE void logits_of(const unsigned format, float *s, const double *q, unsigned rows,
		      const struct kvsink_row *row, unsigned d, double scale, double cap, double *k)
{
	double part[KVSINK_K_ROWS][4] __attribute__((aligned(64)));
	unsigned t, i, lines = row_lines(format, d);

	for (t = 0; t < KVSINK_TILE; t += KVSINK_K_ROWS, s += KVSINK_K_ROWS) {
		for (i = 0; i < KVSINK_K_ROWS; i++)
			fetch(row + t + i, lines);
		if (rows == 1) {
			direct_dot_block(format, part, q, row + t, d);
			logit_store(s, part, scale, cap);
			continue;
		}
		for (i = 0; i < KVSINK_K_ROWS; i++)
			row_widen(format, k + i * d, row + t + i, d);
		logits(s, q, rows, k, d, scale, cap);
	}
}

static void tile_logits(float *s, const double *q, unsigned rows, const struct kvsink_row *row,
			unsigned format, unsigned d, double scale, double cap, double *k)
{
	if (format == KVSINK_FORMAT_FP16)
		logits_of(KVSINK_FORMAT_FP16, s, q, rows, row, d, scale, cap, k);
	else if (format == KVSINK_FORMAT_INT8)
		logits_of(KVSINK_FORMAT_INT8, s, q, rows, row, d, scale, cap, k);
	else
		logits_of(KVSINK_FORMAT_INT4, s, q, rows, row, d, scale, cap, k);
}

/* ---- softmax ---- */

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

/* ---- weights times V ---- */

/* acc += sum, of 16 elements of each row. */
INLINE void pv_store(double *acc, vf (*sum)[NF], const unsigned rows)
{
	unsigned i, j, k;

#pragma GCC unroll 8
	for (i = 0; i < rows; i++)
#pragma GCC unroll 4
		for (j = 0; j < NF; j++) {
			float part[VF] __attribute__((aligned(64)));

			*(vf *)part = sum[i][j];
			for (k = 0; k < VF; k += VD)
				*(vd *)(acc + i * KVSINK_ROW_STRIDE + j * VF + k) +=
					__builtin_convertvector(*(vh *)(part + k), vd);
		}
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
	pv_store(acc, sum, rows);
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

/*
 * Elements whose sums over a tile `rows` rows hold in (eight) registers. One query head has all of a row of
 * 64: it is read in one go, before lines of rows that lie a power of two apart push each other out of the
 * cache.
 */
INLINE unsigned pv_width(const unsigned rows)
{
	unsigned width = (VF == 4 ? 32 : 64) / rows / LANES * LANES;

	return width ? width : LANES;
}

/*
 * `format`, `rows` and `width`, a multiple of 16, are constants where this is inlined; lines of a row that
 * are fetched early, 0 for none.
 */
INLINE void direct_pv_block(const unsigned format, double *acc, const float *p, const unsigned rows,
			    const unsigned width, unsigned begin, unsigned end, const struct kvsink_row *v,
			    unsigned e, unsigned lines)
{
	vf sum[64 / LANES][VEC_ROWS][NF] = {0}, x[NF];
	struct grid g = {{0}, {0}};
	unsigned t, i, j, w;

	for (t = begin; t < end; t++) {
		if (lines)
			fetch(v + t, lines);
#pragma GCC unroll 8
		for (w = 0; w < width / LANES; w++) {
			if (w * LANES % GROUP == 0)
				g = grid_load(format, v + t, e + w * LANES);
			lanes_load(format, x, v + t, e + w * LANES, &g);
#pragma GCC unroll 8
			for (i = 0; i < rows; i++)
#pragma GCC unroll 4
				for (j = 0; j < NF; j++)
					sum[w][i][j] += x[j] * p[i * KVSINK_TILE + t];
		}
	}
#pragma GCC unroll 8
	for (w = 0; w < width / LANES; w++)
		pv_store(acc + w * LANES, sum[w], rows);
}

/* All n elements of `rows` rows: as wide as it goes, then what is left. */
INLINE void direct_pv_rows(const unsigned format, double *acc, const float *p, const unsigned rows,
			   unsigned begin, unsigned end, const struct kvsink_row *v, unsigned n,
			   unsigned lines)
{
	unsigned e;

	for (e = 0; e + pv_width(rows) <= n; e += pv_width(rows), lines = 0)
		direct_pv_block(format, acc + e, p, rows, pv_width(rows), begin, end, v, e, lines);
	for (; e < n; e += LANES, lines = 0)
		direct_pv_block(format, acc + e, p, rows, LANES, begin, end, v, e, lines);
}

INLINE void pv_of(const unsigned format, double *acc, const float *p, unsigned rows, unsigned begin,
		  unsigned end, const struct kvsink_row *v, unsigned n)
{
	unsigned lines = row_lines(format, n);

	for (; rows >= 4; rows -= 4, acc += 4 * KVSINK_ROW_STRIDE, p += 4 * KVSINK_TILE, lines = 0)
		direct_pv_rows(format, acc, p, 4, begin, end, v, n, lines);
	if (rows == 3)
		direct_pv_rows(format, acc, p, 3, begin, end, v, n, lines);
	else if (rows == 2)
		direct_pv_rows(format, acc, p, 2, begin, end, v, n, lines);
	else if (rows)
		direct_pv_rows(format, acc, p, 1, begin, end, v, n, lines);
}

static void tile_pv(double *acc, const float *p, unsigned rows, unsigned begin, unsigned end,
		    const struct kvsink_row *v, unsigned format, unsigned n)
{
	if (format == KVSINK_FORMAT_FP16)
		pv_of(KVSINK_FORMAT_FP16, acc, p, rows, begin, end, v, n);
	else if (format == KVSINK_FORMAT_INT8)
		pv_of(KVSINK_FORMAT_INT8, acc, p, rows, begin, end, v, n);
	else
		pv_of(KVSINK_FORMAT_INT4, acc, p, rows, begin, end, v, n);
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
	.f32_widen = f32_widen,
	.logits = logits,
	.tile_logits = tile_logits,
	.max = max,
	.weights = weights,
	.pv = pv,
	.tile_pv = tile_pv,
	.score = score,
};
