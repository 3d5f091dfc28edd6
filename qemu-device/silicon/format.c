/* SPDX-License-Identifier: MIT */
/*
 * Number formats of KV rows: one table, one row a format. A new format adds its pair of functions here,
 * a number in enum kvsink_format and a CAPS bit.
 *
 * Store rounds to nearest even, load is exact; both give the bits of the F16C instructions.
 */
#include "fp.h"

#include "datapath.h"
#include "vec.h"

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

static void fp16_load(float *dst, const void *row, unsigned n)
{
	kvsink_vec()->fp16_load(dst, row, n);
}

static void f32_store(void *row, const float *src, unsigned n)
{
	memcpy(row, src, (size_t)n * 4);
}

static void f32_load(float *dst, const void *row, unsigned n)
{
	memcpy(dst, row, (size_t)n * 4);
}

static const struct {
	void (*store)(void *row, const float *src, unsigned n);
	void (*load)(float *dst, const void *row, unsigned n);
} formats[KVSINK_FORMAT_COUNT] = {
	[KVSINK_FORMAT_F32] = {f32_store, f32_load},
	[KVSINK_FORMAT_FP16] = {fp16_store, fp16_load},
};

void kvsink_format_store(uint32_t format, void *row, const float *src, unsigned n)
{
	formats[format].store(row, src, n);
}

void kvsink_format_load(uint32_t format, float *dst, const void *row, unsigned n)
{
	formats[format].load(dst, row, n);
}
