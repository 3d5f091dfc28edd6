/* SPDX-License-Identifier: MIT */
/*
 * Number formats of KV rows: one table, one row a format. A new format adds its functions here, a row in
 * KVSINK_FORMATS and a CAPS bit.
 *
 * Storing an appended row rounds to nearest even, loading it is exact; both give the bits of the F16C
 * instructions. Sealing turns rows into codes on a grid: value = scale * code + minimum, where the scale is
 * rounded up and the minimum down to binary16, so that the grid covers the group, and codes are rounded to
 * nearest even in binary64. What is stored is what a load gives: binary32 of (binary32 of scale * code) +
 * minimum. A group that is not finite, or too large for binary16, has NaN for its scale: all of it reads as
 * NaN.
 */
#include "fp.h"

#include "datapath.h"
#include "vec.h"

/* ---- rows as they are appended ---- */

/* Ties to even: for normal results by adding to the bits, for subnormal ones by the adder (0.5 has their
 * ulp). */
static uint16_t fp16_from_f32(float value)
{
	uint32_t bits = kvsink_f32_bits(value);
	uint16_t sign = (bits >> 16) & 0x8000;

	bits &= 0x7fffffff;
	if (bits > 0x7f800000) /* NaN: quiet, top of the payload kept */
		return sign | 0x7e00 | ((bits >> 13) & 0x3ff);
	if (bits >= 0x477ff000) /* 65520 and more round to infinity */
		return sign | 0x7c00;
	if (bits < 0x38800000) /* below 2^-14 */
		return sign | (kvsink_f32_bits(kvsink_f32_from_bits(bits) + 0.5f) - 0x3f000000);
	return sign | ((bits - 0x38000000 + 0xfff + ((bits >> 13) & 1)) >> 13);
}

static void fp16_store(void *row, const float *src, unsigned n)
{
	uint8_t *to = row;
	uint16_t half;
	unsigned i;

	for (i = 0; i < n; i++) {
		half = fp16_from_f32(src[i]);
		memcpy(to + 2 * i, &half, 2);
	}
}

static void fp16_load(float *dst, const void *row, const void *scales, unsigned n)
{
	(void)scales;
	kvsink_vec()->fp16_load(dst, row, n);
}

static void f32_store(void *row, const float *src, unsigned n)
{
	memcpy(row, src, (size_t)n * 4);
}

static void f32_load(float *dst, const void *row, const void *scales, unsigned n)
{
	(void)scales;
	memcpy(dst, row, (size_t)n * 4);
}

/* ---- rows as they are sealed ---- */

static void int8_load(float *dst, const void *row, const void *scales, unsigned n)
{
	kvsink_vec()->int8_load(dst, row, scales, n);
}

static void int4_load(float *dst, const void *row, const void *scales, unsigned n)
{
	kvsink_vec()->int4_load(dst, row, scales, n);
}

static void int8_channel_load(float *dst, const void *row, const void *scales, unsigned n)
{
	kvsink_vec()->int8_channel_load(dst, row, scales, n);
}

static void int4_channel_load(float *dst, const void *row, const void *scales, unsigned n)
{
	kvsink_vec()->int4_channel_load(dst, row, scales, n);
}

/* Where the codes of a group can lie: value = scale * code + minimum. */
struct grid {
	double scale, minimum;
	uint16_t scale_half, minimum_half;
	bool symmetric;
};

#define HALF_NAN 0x7e00
#define HALF_INFINITY 0x7c00

static double half_value(uint16_t half)
{
	float value;

	kvsink_vec()->fp16_load(&value, &half, 1);
	return value;
}

/* The largest binary16 that is not above x. */
static uint16_t half_below(double x)
{
	uint16_t half;

	if (x < 0.0)
		return 0x8000 | kvsink_norm_round_up(-x);
	half = fp16_from_f32((float)x);
	return half_value(half) > x ? half - 1 : half;
}

/* A grid for values in [low, high]; finite says whether all of them are. */
static struct grid grid_of(double low, double high, bool finite, bool minimum, double codes)
{
	struct grid g = {.symmetric = !minimum};

	if (minimum && finite)
		g.minimum_half = half_below(low);
	g.minimum = half_value(g.minimum_half);
	if (g.symmetric)
		high = high > -low ? high : -low;
	g.scale_half = finite ? kvsink_norm_round_up((high - g.minimum) / codes) : HALF_INFINITY;
	if ((g.scale_half & 0x7fff) >= HALF_INFINITY || (g.minimum_half & 0x7fff) >= HALF_INFINITY) {
		g.scale_half = HALF_NAN;
		g.minimum_half = minimum ? HALF_NAN : 0;
	}
	g.scale = half_value(g.scale_half);
	return g;
}

/* Adding and subtracting 1.5 * 2^52 rounds to an integer, ties to even. */
static int code_of(const struct grid *g, float x)
{
	if (!(g->scale > 0.0))
		return 0;
	return (int)(((x - g->minimum) / g->scale + 0x1.8p52) - 0x1.8p52);
}

static void put_code(uint8_t *codes, unsigned bits, size_t index, int code)
{
	if (bits == 8)
		codes[index] = (uint8_t)code;
	else
		codes[index / 2] |= (uint8_t)(code << index % 2 * 4);
}

/* What a group's grid must cover. */
struct extent {
	float low, high;
	bool finite;
};

static void cover(struct extent *e, float x)
{
	e->low = x < e->low ? x : e->low;
	e->high = x > e->high ? x : e->high;
	e->finite &= x - x == 0.0f;
}

/* One token's row: a grid for every 32 elements. */
static void seal_row(uint8_t *codes, uint8_t *scales, const float *src, unsigned d, unsigned bits,
		     bool minimum)
{
	unsigned each = minimum ? 4 : 2, i, e;

	for (i = 0; i < d; i += KVSINK_FORMAT_GROUP, scales += each) {
		struct extent extent = {src[i], src[i], true};
		struct grid g;

		for (e = i; e < i + KVSINK_FORMAT_GROUP; e++)
			cover(&extent, src[e]);
		g = grid_of(extent.low, extent.high, extent.finite, minimum, bits == 8 ? 127.0 : 15.0);
		memcpy(scales, &g.scale_half, 2);
		if (minimum)
			memcpy(scales + 2, &g.minimum_half, 2);
		for (e = i; e < i + KVSINK_FORMAT_GROUP; e++)
			put_code(codes, bits, e, code_of(&g, src[e]));
	}
}

static bool left_out(const uint64_t *leave, unsigned token)
{
	return leave[token / 64] >> token % 64 & 1;
}

static void seal_rows(const struct kvsink_seal_job *job, unsigned bits, bool minimum)
{
	unsigned code_bytes = job->d * bits / 8,
		 scale_bytes = job->d / KVSINK_FORMAT_GROUP * (minimum ? 4 : 2), t;

	for (t = 0; t < job->tokens; t++)
		if (!left_out(job->leave, t))
			seal_row(job->codes + (size_t)t * code_bytes, job->scales + (size_t)t * scale_bytes,
				 job->src + (size_t)t * job->d, job->d, bits, minimum);
}

/* One element over the page's tokens. */
static void seal_channel(const struct kvsink_seal_job *job, unsigned e, unsigned bits)
{
	struct extent extent = {INFINITY, -INFINITY, true};
	struct grid g;
	unsigned t;

	for (t = 0; t < job->tokens; t++)
		if (!left_out(job->leave, t))
			cover(&extent, job->src[(size_t)t * job->d + e]);
	/* nothing but NaN, or no token at all */
	if (extent.low > extent.high)
		extent = (struct extent){0.0f, 0.0f, extent.finite};
	g = grid_of(extent.low, extent.high, extent.finite, true, bits == 8 ? 255.0 : 15.0);
	memcpy(job->scales + 2 * e, &g.scale_half, 2);
	memcpy(job->scales + 2 * (job->d + e), &g.minimum_half, 2);
	for (t = 0; t < job->tokens; t++)
		if (!left_out(job->leave, t))
			put_code(job->codes, bits, (size_t)t * job->d + e,
				 code_of(&g, job->src[(size_t)t * job->d + e]));
}

static void int8_seal(const struct kvsink_seal_job *job)
{
	seal_rows(job, 8, false);
}

static void int4_seal(const struct kvsink_seal_job *job)
{
	seal_rows(job, 4, true);
}

static void int8_channel_seal(const struct kvsink_seal_job *job)
{
	for (unsigned e = 0; e < job->d; e++)
		seal_channel(job, e, 8);
}

static void int4_channel_seal(const struct kvsink_seal_job *job)
{
	for (unsigned e = 0; e < job->d; e++)
		seal_channel(job, e, 4);
}

/* ---- the table ---- */

static const struct {
	void (*store)(void *row, const float *src, unsigned n); /* of formats that can be appended */
	void (*seal)(const struct kvsink_seal_job *job);	/* of the others */
	void (*load)(float *dst, const void *row, const void *scales, unsigned n);
	float beyond; /* of formats that can be appended: from here on magnitudes are stored as infinity */
} formats[KVSINK_FORMAT_COUNT] = {
	[KVSINK_FORMAT_F32] = {.store = f32_store, .load = f32_load, .beyond = INFINITY},
	[KVSINK_FORMAT_FP16] = {.store = fp16_store, .load = fp16_load, .beyond = 65520.0f},
	[KVSINK_FORMAT_INT8] = {.seal = int8_seal, .load = int8_load},
	[KVSINK_FORMAT_INT4] = {.seal = int4_seal, .load = int4_load},
	[KVSINK_FORMAT_INT8_CHANNEL] = {.seal = int8_channel_seal, .load = int8_channel_load},
	[KVSINK_FORMAT_INT4_CHANNEL] = {.seal = int4_channel_seal, .load = int4_channel_load},
};

void kvsink_format_store(uint32_t format, void *row, const float *src, unsigned n)
{
	formats[format].store(row, src, n);
}

void kvsink_format_append(uint32_t format, void *row, const float *src, unsigned n)
{
	const float nan = NAN, beyond = formats[format].beyond;
	uint32_t bytes = kvsink_format_bytes(format);

	formats[format].store(row, src, n);
	for (unsigned i = 0; i < n; i++)
		if (!(fabsf(src[i]) < beyond))
			formats[format].store((uint8_t *)row + (size_t)i * bytes, &nan, 1);
}

void kvsink_format_load(uint32_t format, float *dst, const void *row, unsigned n)
{
	formats[format].load(dst, row, NULL, n);
}

void kvsink_format_seal(uint32_t format, const struct kvsink_seal_job *job)
{
	formats[format].seal(job);
}

void kvsink_row_load(const struct kvsink_row *row, float *dst, unsigned n)
{
	formats[row->format].load(dst, row->data, row->scales, n);
}
