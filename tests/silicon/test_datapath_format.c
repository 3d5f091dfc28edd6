// SPDX-License-Identifier: MIT
/* FP16 and F32 rows: every binary16 number, every rounding case, every SIMD level. */
#include "datapath_case.h"
#include "tap.h"

static uint32_t bits_of(float x)
{
	uint32_t b;

	memcpy(&b, &x, 4);
	return b;
}

static float float_of(uint32_t b)
{
	float x;

	memcpy(&x, &b, 4);
	return x;
}

/* What F16C gives: values exactly, NaN quieted with its payload on top. */
static uint32_t expected_load(uint16_t h)
{
	uint32_t sign = (uint32_t)(h & 0x8000) << 16;

	if ((h & 0x7fff) > 0x7c00)
		return sign | 0x7fc00000 | (uint32_t)(h & 0x3ff) << 13;
	return sign | bits_of((float)dp_half(h & 0x7fff));
}

/* All 65536 numbers in one row, whose length is odd so that a tail is left. */
static void load_all(const char *level)
{
	static uint16_t half[65537];
	static float out[65538];
	uint32_t i, wrong = 0;

	for (i = 0; i < 65537; i++)
		half[i] = (uint16_t)i;
	out[65537] = 42.0f;
	kvsink_format_load(KVSINK_FORMAT_FP16, out, half, 65537);
	for (i = 0; i < 65537; i++)
		wrong += bits_of(out[i]) != expected_load((uint16_t)i);
	tap_ok(!wrong, "FP16 to F32: all 65536 numbers, %s", level);
	tap_ok(out[65537] == 42.0f, "FP16 to F32: nothing is written behind the row, %s", level);
}

static uint16_t store(float x)
{
	uint16_t h;

	kvsink_format_store(KVSINK_FORMAT_FP16, &h, &x, 1);
	return h;
}

static void store_all(void)
{
	uint32_t i, wrong = 0;
	uint16_t expect;

	for (i = 0; i < 65536; i++) {
		expect = (i & 0x7fff) > 0x7c00 ? i | 0x200 : i;
		wrong += store(float_of(expected_load((uint16_t)i))) != expect;
	}
	tap_ok(!wrong, "F32 to FP16: all 65536 numbers come back");
}

/* Between neighbours a < b: half-way goes to the even one, a bit less to a, a bit more to b. */
static void store_rounding(void)
{
	uint32_t i, sign, wrong = 0, middle;

	for (i = 0; i < 0x7c00; i++)
		for (sign = 0; sign <= 0x8000; sign += 0x8000) {
			double a = dp_half((uint16_t)i),
			       b = i == 0x7bff ? 65536.0 : dp_half((uint16_t)(i + 1));

			middle = bits_of((float)((a + b) / 2)) | sign << 16;
			wrong += store(float_of(middle)) != (sign | (i & 1 ? i + 1 : i));
			wrong += store(float_of(middle - 1)) != (sign | i);
			wrong += store(float_of(middle + 1)) != (sign | (i + 1));
		}
	tap_ok(!wrong, "F32 to FP16: ties to even between all neighbours, overflow to infinity");
}

static void store_special(void)
{
	tap_ok(store(float_of(1)) == 0 && store(float_of(0x807fffff)) == 0x8000,
	       "F32 to FP16: binary32 subnormals become zero with their sign");
	tap_ok(store(INFINITY) == 0x7c00 && store(-INFINITY) == 0xfc00 && store(3e38f) == 0x7c00,
	       "F32 to FP16: infinity and overflow");
	tap_ok(store(float_of(0x7f800001)) == 0x7e00 && store(float_of(0xffdfe000)) == 0xfeff,
	       "F32 to FP16: NaN is quieted and keeps the top of its payload");
}

/* Against the instructions, where the CPU has them. */
#ifdef __x86_64__
#include <immintrin.h>

__attribute__((target("f16c"))) static uint32_t f16c_differences(void)
{
	uint32_t i, wrong = 0;
	float x;

	for (i = 0; i < 65536; i++) {
		x = _cvtsh_ss((uint16_t)i);
		kvsink_format_load(KVSINK_FORMAT_FP16, &x, &(uint16_t){(uint16_t)i}, 1);
		wrong += bits_of(x) != bits_of(_cvtsh_ss((uint16_t)i));
	}
	for (i = 0; i < 1u << 22; i++) {
		x = float_of(i * 1021);
		wrong += store(x) != _cvtss_sh(x, _MM_FROUND_TO_NEAREST_INT);
	}
	return wrong;
}
#endif

static void f16c(void)
{
	const char *name = "SIMD: FP16: the same bits as the F16C instructions, both ways";

#ifdef __x86_64__
	if (__builtin_cpu_supports("f16c")) {
		tap_ok(!f16c_differences(), "%s", name);
		return;
	}
#endif
	tap_skip(name, "cpu lacks f16c");
}

static void f32(void)
{
	uint32_t in[5] = {0x7f800001, 1, 0x80000000, 0x3f800000, 0xff800000}, out[5];
	uint8_t row[21];

	kvsink_format_store(KVSINK_FORMAT_F32, row + 1, (const float *)(const void *)in, 5);
	kvsink_format_load(KVSINK_FORMAT_F32, (float *)(void *)out, row + 1, 5);
	tap_ok(!memcmp(in, out, sizeof(in)), "F32: bits pass unchanged, from any address");
}

int main(void)
{
	char name[80];
	int level;

	for (level = 0; kvsink_simd_name(level); level++) {
		snprintf(name, sizeof(name), "SIMD: FP16 to F32, %s", kvsink_simd_name(level));
		if (kvsink_simd_force(level))
			tap_skip(name, "cpu lacks this level");
		else
			load_all(kvsink_simd_name(level));
	}
	kvsink_simd_force(-1);
	store_all();
	store_rounding();
	store_special();
	f16c();
	f32();
	return tap_done();
}
