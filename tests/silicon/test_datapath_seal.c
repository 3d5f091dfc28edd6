// SPDX-License-Identifier: MIT
/*
 * Sealed formats: the grids cover what they hold, codes are the nearest ones, groups do not touch one
 * another, a load gives exactly what is stored on every SIMD level. Codes and scales are decoded here by
 * other means.
 */
#include "datapath_case.h"
#include "tap.h"

#define TOKENS 16u
#define MAX_D 96u

static const struct {
	uint32_t format;
	const char *name;
	uint32_t codes; /* steps of a grid */
	bool channel, minimum;
} formats[] = {
	{KVSINK_FORMAT_INT8, "INT8", 127, false, false},
	{KVSINK_FORMAT_INT4, "INT4", 15, false, true},
	{KVSINK_FORMAT_INT8_CHANNEL, "INT8_CHANNEL", 255, true, true},
	{KVSINK_FORMAT_INT4_CHANNEL, "INT4_CHANNEL", 15, true, true},
};
#define FORMATS (sizeof(formats) / sizeof(formats[0]))

static float src[TOKENS * MAX_D];
static uint8_t codes[TOKENS * MAX_D], scales[TOKENS * MAX_D * 4];
static uint64_t leave[KVSINK_MAX_PAGE_TOKENS / 64];

static void seal(unsigned f, uint32_t d)
{
	memset(codes, 0, sizeof(codes));
	memset(scales, 0, sizeof(scales));
	kvsink_format_seal(formats[f].format,
			   &(struct kvsink_seal_job){codes, scales, src, leave, TOKENS, d});
}

static struct kvsink_row row_of(unsigned f, uint32_t d, uint32_t t)
{
	return (struct kvsink_row){
		.data = codes + (size_t)t * kvsink_code_bytes(formats[f].format, d),
		.scales = scales + (size_t)t * kvsink_scale_bytes(formats[f].format, d),
		.format = formats[f].format,
	};
}

static double half_at(uint32_t index)
{
	uint16_t half;

	memcpy(&half, scales + 2 * index, 2);
	return dp_half(half);
}

/* Scale and minimum of an element, by the layout of the header. */
static double scale_of(unsigned f, uint32_t d, uint32_t t, uint32_t e, double *minimum)
{
	uint32_t group = t * (d / 32) + e / 32;

	if (formats[f].channel) {
		*minimum = half_at(d + e);
		return half_at(e);
	}
	*minimum = formats[f].minimum ? half_at(2 * group + 1) : 0.0;
	return half_at(formats[f].minimum ? 2 * group : group);
}

static int code_at(unsigned f, uint32_t d, uint32_t t, uint32_t e)
{
	uint32_t index = t * d + e;

	if (formats[f].codes == 15)
		return codes[index / 2] >> index % 2 * 4 & 15;
	return formats[f].minimum ? codes[index] : (int8_t)codes[index];
}

static void fill(uint32_t d, double size)
{
	for (uint32_t i = 0; i < TOKENS * d; i++)
		src[i] = (float)(dp_normal() * size + (i % 7 == 0 ? size : 0));
}

/*
 * Against binary64: the grid covers its group, so the error is at most half a step and the rounding of the
 * sum; the step is the group's span over the codes, rounded up to binary16.
 */
static void bounds(unsigned f, uint32_t d, double size)
{
	double worst = 0.0, squares = 0.0, all = 0.0;
	uint32_t wrong = 0, wide = 0;
	float got[MAX_D];

	fill(d, size);
	seal(f, d);
	for (uint32_t t = 0; t < TOKENS; t++) {
		struct kvsink_row row = row_of(f, d, t);

		kvsink_row_load(&row, got, d);
		for (uint32_t e = 0; e < d; e++) {
			double minimum, step = scale_of(f, d, t, e, &minimum), x = src[t * d + e];
			double low = formats[f].minimum ? INFINITY : 0,
			       high = formats[f].minimum ? -INFINITY : 0;
			float product = (float)(step * code_at(f, d, t, e));

			wrong += got[e] != (float)(product + minimum);
			worst = fmax(worst, fabs(got[e] - x) / step);
			squares += (got[e] - x) * (got[e] - x);
			all += x * x;
			for (uint32_t i = 0; i < (formats[f].channel ? TOKENS : 32); i++) {
				double y = formats[f].channel ? src[i * d + e] : src[t * d + e / 32 * 32 + i];

				low = fmin(low, formats[f].minimum ? y : -fabs(y));
				high = fmax(high, formats[f].minimum ? y : fabs(y));
			}
			/* binary16 has 11 bits, and a smallest step of 2^-24 */
			wide += step >
				((high - (formats[f].minimum ? low - fabs(low) * 0x1p-10 - 0x1p-24 : 0)) /
				 formats[f].codes) *
						(1 + 0x1p-10) +
					0x1p-24;
		}
	}
	tap_ok(!wrong, "%s, d %u, size %g: a load is code times scale plus minimum, in binary32",
	       formats[f].name, d, size);
	tap_ok(worst <= 0.5 + 0x1p-10, "%s, d %u, size %g: no element is off by more than half a step (%.4f)",
	       formats[f].name, d, size, worst);
	tap_ok(!wide, "%s, d %u, size %g: no step is wider than its group asks for", formats[f].name, d,
	       size);
	tap_diag("%s, d %u, size %g: error %.5f of the rows' norm", formats[f].name, d, size,
		 sqrt(squares / all));
}

/* Values that lie half-way between two codes go to the even one. */
static void ties(unsigned f)
{
	uint32_t wrong = 0, d = 32;

	memset(leave, 0, sizeof(leave));
	for (uint32_t t = 0; t < TOKENS; t++)
		for (uint32_t e = 0; e < d; e++)
			src[t * d + e] = (float)((formats[f].channel ? t : e) % 14) + 0.5f;
	/* the ends of the grid make its step 1 and its minimum 0 */
	for (uint32_t i = 0; i < d; i++) {
		src[i] = formats[f].channel ? (float)formats[f].codes : src[i];
		src[d + i] = formats[f].channel ? 0.0f : src[d + i];
	}
	for (uint32_t t = 0; t < TOKENS; t++) {
		src[t * d] = formats[f].channel ? src[t * d] : (float)formats[f].codes;
		src[t * d + 1] = formats[f].channel ? src[t * d + 1] : 0.0f;
	}
	seal(f, d);
	for (uint32_t t = 2; t < TOKENS; t++)
		for (uint32_t e = 2; e < d; e++) {
			uint32_t below = (formats[f].channel ? t : e) % 14;

			wrong += (uint32_t)code_at(f, d, t, e) != below + (below & 1);
		}
	tap_ok(!wrong, "%s: codes are rounded to nearest, ties to even", formats[f].name);
}

/* What is left out leaves no trace, neither in its own codes nor in the others' grids. */
static void left_out(unsigned f)
{
	static uint8_t codes2[sizeof(codes)], scales2[sizeof(scales)];
	uint32_t d = 64, wrong = 0;

	fill(d, 1.0);
	leave[0] = 1u << 3 | 1u << 15;
	seal(f, d);
	memcpy(codes2, codes, sizeof(codes));
	memcpy(scales2, scales, sizeof(scales));
	for (uint32_t e = 0; e < d; e++)
		src[3 * d + e] = src[15 * d + e] = e % 2 ? NAN : 1e30f;
	seal(f, d);
	for (uint32_t e = 0; e < d; e++)
		wrong += code_at(f, d, 3, e) || code_at(f, d, 15, e);
	tap_ok(!wrong && !memcmp(codes, codes2, sizeof(codes)) && !memcmp(scales, scales2, sizeof(scales)),
	       "%s: tokens that are left out have no codes and stretch no grid", formats[f].name);
	leave[0] = 0xffff;
	seal(f, d);
	memset(codes2, 0, sizeof(codes));
	tap_ok(!memcmp(codes, codes2, sizeof(codes)), "%s: all of them may be", formats[f].name);
	memset(leave, 0, sizeof(leave));
}

/* One bad element spoils its own group and nothing else. */
static void not_finite(unsigned f, float bad, const char *what)
{
	uint32_t d = 64, wrong = 0;
	float got[MAX_D];

	fill(d, 1.0);
	src[5 * d + 40] = bad;
	seal(f, d);
	for (uint32_t t = 0; t < TOKENS; t++) {
		struct kvsink_row row = row_of(f, d, t);

		kvsink_row_load(&row, got, d);
		for (uint32_t e = 0; e < d; e++)
			wrong += (got[e] != got[e]) != (formats[f].channel ? e == 40 : t == 5 && e >= 32);
	}
	tap_ok(!wrong, "%s: %s makes its group read as NaN, the others are as they were", formats[f].name,
	       what);
}

static void extremes(unsigned f)
{
	static const float sizes[] = {0.0f, 1e-30f, 0x1p-24f, 60000.0f};
	float got[MAX_D];
	uint32_t wrong;

	for (unsigned i = 0; i < 4; i++) {
		wrong = 0;
		for (uint32_t j = 0; j < TOKENS * 32; j++)
			src[j] = j % 2 ? sizes[i] : -sizes[i];
		seal(f, 32);
		for (uint32_t t = 0; t < TOKENS; t++) {
			struct kvsink_row row = row_of(f, 32, t);

			kvsink_row_load(&row, got, 32);
			for (uint32_t e = 0; e < 32; e++)
				wrong += !(fabs(got[e] - src[t * 32 + e]) <=
					   sizes[i] * (formats[f].codes == 15 ? 0.07 : 0.005) + 0x1p-24);
		}
		tap_ok(!wrong, "%s: rows of %g and its opposite", formats[f].name, sizes[i]);
	}
}

/* Loads of every length have the bits of the first level, and write nothing behind the row. */
static void levels(unsigned f)
{
	static float first[TOKENS][MAX_D + 1];
	float got[MAX_D + 1];
	uint32_t step = formats[f].channel ? 2 : 32, wrong;
	char name[80];

	for (int level = 0; kvsink_simd_name(level); level++) {
		snprintf(name, sizeof(name), "SIMD: %s, %s", formats[f].name, kvsink_simd_name(level));
		if (kvsink_simd_force(level)) {
			tap_skip(name, "cpu lacks this level");
			continue;
		}
		wrong = 0;
		for (uint32_t d = step; d <= MAX_D; d += step) {
			dp_seed = d;
			fill(d, 3.0);
			src[d / 2] = NAN;
			seal(f, d);
			for (uint32_t t = 0; t < TOKENS; t++) {
				struct kvsink_row row = row_of(f, d, t);
				double minimum;

				got[d] = 42.0f;
				kvsink_row_load(&row, got, d);
				wrong += got[d] != 42.0f;
				for (uint32_t e = 0; e < d; e++) {
					double scale = scale_of(f, d, t, e, &minimum);
					float want = (float)((float)(scale * code_at(f, d, t, e)) + minimum);

					wrong += want == want ? got[e] != want : got[e] == got[e];
				}
				if (d < MAX_D)
					continue;
				if (!level)
					memcpy(first[t], got, sizeof(got));
				wrong += memcmp(first[t], got, sizeof(got)) != 0;
			}
		}
		tap_ok(!wrong, "SIMD: %s loads, every length, %s", formats[f].name, kvsink_simd_name(level));
	}
	kvsink_simd_force(-1);
}

static void sizes(void)
{
	/* a page of 16 tokens of 64 binary16 elements: 2,048 bytes */
	tap_ok(kvsink_seal_rows_at(KVSINK_FORMAT_INT8, 64, 16) == 16 * 64 + 16 * 4 + 2 + 2 &&
		       kvsink_seal_room(KVSINK_FORMAT_INT8, KVSINK_FORMAT_FP16, 64, 16) == 7,
	       "INT8: 16 tokens of 64 elements leave room for 7 protected rows");
	tap_ok(kvsink_seal_room(KVSINK_FORMAT_INT4, KVSINK_FORMAT_FP16, 64, 16) == 10 &&
		       kvsink_seal_room(KVSINK_FORMAT_INT8_CHANNEL, KVSINK_FORMAT_FP16, 64, 16) == 5 &&
		       kvsink_seal_room(KVSINK_FORMAT_INT4_CHANNEL, KVSINK_FORMAT_FP16, 64, 16) == 9,
	       "INT4 for 10, INT8_CHANNEL for 5, INT4_CHANNEL for 9");
	tap_ok(kvsink_sealed_bytes(KVSINK_FORMAT_INT8, KVSINK_FORMAT_FP16, 64) == 68 &&
		       kvsink_sealed_bytes(KVSINK_FORMAT_INT4, KVSINK_FORMAT_FP16, 64) == 40 &&
		       kvsink_sealed_bytes(KVSINK_FORMAT_INT8_CHANNEL, KVSINK_FORMAT_FP16, 64) == 64 &&
		       kvsink_sealed_bytes(KVSINK_FORMAT_F32, KVSINK_FORMAT_FP16, 64) == 128,
	       "a sealed row has its codes and its own scales");
	tap_ok(!kvsink_seal_fits(KVSINK_FORMAT_INT8, KVSINK_FORMAT_FP16, 48, 16, 0) &&
		       !kvsink_seal_fits(KVSINK_FORMAT_INT4, KVSINK_FORMAT_FP16, 16, 16, 0) &&
		       !kvsink_seal_fits(KVSINK_FORMAT_INT4_CHANNEL, KVSINK_FORMAT_FP16, 33, 16, 0) &&
		       kvsink_seal_fits(KVSINK_FORMAT_INT8_CHANNEL, KVSINK_FORMAT_FP16, 33, 16, 0),
	       "widths that do not divide do not fit");
	tap_ok(!kvsink_seal_fits(KVSINK_FORMAT_INT8_CHANNEL, KVSINK_FORMAT_FP16, 64, 2, 0) &&
		       kvsink_seal_fits(KVSINK_FORMAT_INT8_CHANNEL, KVSINK_FORMAT_FP16, 64, 8, 0),
	       "per channel, a page needs room for its scales");
	tap_ok(!kvsink_seal_fits(KVSINK_FORMAT_INT8_CHANNEL, KVSINK_FORMAT_FP16, 64, 16, 1) &&
		       !kvsink_seal_fits(KVSINK_FORMAT_FP16, KVSINK_FORMAT_FP16, 64, 16, 0) &&
		       !kvsink_seal_fits(KVSINK_FORMAT_COUNT, KVSINK_FORMAT_FP16, 64, 16, 0),
	       "V is never sealed per channel, and nothing in a format to append");
}

int main(void)
{
	for (unsigned f = 0; f < FORMATS; f++) {
		bounds(f, 64, 1.0);
		bounds(f, 96, 1e-4);
		bounds(f, 32, 5000.0);
		ties(f);
		left_out(f);
		not_finite(f, NAN, "NaN");
		not_finite(f, INFINITY, "infinity");
		not_finite(f, -1e30f, "a value beyond binary16");
		extremes(f);
		levels(f);
	}
	sizes();
	return tap_done();
}
