// SPDX-License-Identifier: MIT
/* The datapath's own exp, log and softcap against libm, and the kernels that use them. */
#include "fp.h"

#include "datapath_case.h"
#include "tap.h"
#include "vec.h"

static void exp64(void)
{
	double x, worst = 0.0, e;
	int i;

	for (i = 0; i <= 1000000; i++) {
		x = -690.0 * i / 1000000 * i / 1000000;
		e = fabs(kvsink_exp64(x) / exp(x) - 1.0);
		worst = e > worst ? e : worst;
	}
	tap_ok(worst < 6e-16, "exp64: within 2 ulp on [-690, 0] (%.1e)", worst);
	tap_ok(kvsink_exp64(0.0) == 1.0 && kvsink_exp64(-INFINITY) == 0.0 && kvsink_exp64(-701.0) == 0.0,
	       "exp64: 0, -inf, underflow");
	tap_ok(isnan(kvsink_exp64(NAN)), "exp64: NaN");
}

static void log64(void)
{
	double x, worst = 0.0, e;
	int i;

	for (i = 0; i <= 1000000; i++) {
		x = ldexp(1.0 + i * 1e-6, i % 400 - 100);
		e = fabs(kvsink_log64(x) - log(x)) / (fabs(log(x)) + 0.5);
		worst = e > worst ? e : worst;
	}
	tap_ok(worst < 6e-16, "log64: within 3 ulp (%.1e)", worst);
	tap_ok(kvsink_log64(1.0) == 0.0 && kvsink_log64(0.0) == -INFINITY &&
		       kvsink_log64(INFINITY) == INFINITY,
	       "log64: 1, 0, infinity");
	tap_ok(isnan(kvsink_log64(NAN)) && isnan(kvsink_log64(-1.0)), "log64: NaN and negative numbers");
}

static void softcap(void)
{
	double x, worst = 0.0, e;
	int i;

	for (i = -1000000; i <= 1000000; i++) {
		x = i * 1e-3;
		e = fabs(kvsink_softcap64(x, 50.0) - 50.0 * tanh(x / 50.0));
		worst = e > worst ? e : worst;
	}
	tap_ok(worst < 1e-13, "softcap: 50 tanh(x / 50) on [-1000, 1000] (%.1e)", worst);
	tap_ok(isnan(kvsink_softcap64(NAN, 30.0)) && kvsink_softcap64(-INFINITY, 30.0) == -30.0,
	       "softcap: NaN and infinity");
}

/* e^(s - max) of a tile, and the sum. */
static void weights(const char *level)
{
	float s[KVSINK_TILE] __attribute__((aligned(64))), in[KVSINK_TILE], sum;
	double worst = 0.0, worst_sum = 0.0, exact, x;
	int i, round;

	for (round = 0; round < 20000; round++) {
		for (i = 0; i < KVSINK_TILE; i++)
			in[i] = s[i] = -(float)dp_random(86 << 16) / 65536 * (round & 1 ? 0.05f : 1.0f);
		sum = kvsink_vec()->weights(s, 0.0f);
		for (i = 0, exact = 0.0; i < KVSINK_TILE; i++) {
			x = exp(in[i]);
			exact += x;
			worst = fmax(worst, fabs(s[i] / x - 1.0));
		}
		worst_sum = fmax(worst_sum, fabs(sum / exact - 1.0));
	}
	tap_ok(worst < 2.4e-7, "exp: within 2 ulp on [-86, 0], %s (%.1e)", level, worst);
	tap_ok(worst_sum < 6e-7, "exp: sum of a tile, %s (%.1e)", level, worst_sum);
	for (i = 0; i < KVSINK_TILE; i++)
		s[i] = i == 0 ? 5.0f : i == 1 ? -INFINITY : i == 2 ? -100.0f : i == 3 ? NAN : 4.0f;
	tap_ok(kvsink_vec()->max(s) == 5.0f, "max: NaN does not count, %s", level);
	kvsink_vec()->weights(s, 5.0f);
	tap_ok(s[0] == 1.0f && s[1] == 0.0f && s[2] == 0.0f && s[3] != s[3],
	       "exp: 1 at 0, 0 at -inf and below -87, NaN for NaN, %s", level);
}

static void score(const char *level)
{
	float p[KVSINK_TILE] __attribute__((aligned(64)));
	uint64_t sum[KVSINK_TILE] __attribute__((aligned(64)));
	uint32_t wrong = 0, end;
	double unit = 1234567.75;
	int i;

	for (end = 0; end <= KVSINK_TILE; end++) {
		for (i = 0; i < KVSINK_TILE; i++) {
			p[i] = (float)dp_random(1u << 24) * 0x1p-24f;
			sum[i] = 7;
		}
		kvsink_vec()->score(sum, p, unit, end);
		for (i = 0; i < KVSINK_TILE; i++)
			wrong += sum[i] != 7 + (i < (int)end ? (uint64_t)nearbyint(p[i] * unit) : 0);
	}
	tap_ok(!wrong, "score: rounds to nearest and stops at the limit, %s", level);
}

/* Rows of random codes and scales; behind them what a kernel may fetch early. */
static struct kvsink_row rows[KVSINK_TILE + 24];
static uint8_t codes[KVSINK_TILE][2 * 192], scales[KVSINK_TILE][32];

static void random_rows(uint32_t format)
{
	for (int t = 0; t < KVSINK_TILE + 24; t++)
		rows[t] = (struct kvsink_row){codes[t % KVSINK_TILE], scales[t % KVSINK_TILE], format};
	for (int t = 0; t < KVSINK_TILE; t++) {
		for (uint32_t i = 0; i < sizeof(codes[0]); i++)
			codes[t][i] = format == KVSINK_FORMAT_FP16 && i % 2 ? 0x2c + dp_random(0x14)
									    : dp_random(256);
		for (uint32_t i = 0; i < sizeof(scales[0]); i++)
			scales[t][i] = i % 2 ? 0x2c + dp_random(0x14) : dp_random(256);
	}
}

static float p[8 * KVSINK_TILE] __attribute__((aligned(64))),
	f32[KVSINK_TILE * 192] __attribute__((aligned(64)));
static float s[2][8 * KVSINK_TILE] __attribute__((aligned(64)));
static double q[8 * KVSINK_ROW_STRIDE] __attribute__((aligned(64))), k[4 * 192] __attribute__((aligned(64)));
static double acc[2][8 * KVSINK_ROW_STRIDE] __attribute__((aligned(64)));

/* By way of binary32 in [1]; false if the kernels that read rows themselves give other bits. */
static bool same(uint32_t format, unsigned heads, unsigned n, unsigned begin, unsigned end)
{
	const struct kvsink_vec_ops *ops = kvsink_vec();

	memset(acc, 0, sizeof(acc));
	memset(s, 0, sizeof(s));
	for (unsigned t = 0; t < KVSINK_TILE; t++)
		kvsink_row_load(&rows[t], f32 + t * n, n);
	ops->pv(acc[1], p, heads, begin, end, f32, n);
	ops->tile_pv(acc[0], p, heads, begin, end, rows, format, n);
	for (unsigned t = 0; t < KVSINK_TILE; t += 4) {
		ops->f32_widen(k, f32 + t * n, 4 * n);
		ops->logits(s[1] + t, q, heads, k, n, 0.125, 30);
	}
	ops->tile_logits(s[0], q, heads, rows, format, n, 0.125, 30, k);
	return !memcmp(acc[0], acc[1], sizeof(acc[0])) && !memcmp(s[0], s[1], sizeof(s[0]));
}

static void direct(const char *level)
{
	static const uint32_t formats[] = {KVSINK_FORMAT_FP16, KVSINK_FORMAT_INT8, KVSINK_FORMAT_INT4};
	uint32_t wrong = 0;

	for (unsigned i = 0; i < 8 * KVSINK_TILE; i++)
		p[i] = (float)dp_random(1u << 24) * 0x1p-24f;
	for (unsigned i = 0; i < 8 * KVSINK_ROW_STRIDE; i++)
		q[i] = (double)dp_random(1u << 24) * 0x1p-24 - 0.5;
	for (unsigned f = 0; f < 3; f++)
		for (unsigned n = f ? 32 : 16; n <= 192; n += f ? 32 : 16)
			for (unsigned heads = 1; heads <= 8; heads++) {
				random_rows(formats[f]);
				wrong += !same(formats[f], heads, n, 0, KVSINK_TILE) +
					 !same(formats[f], heads, n, 5, 38);
			}
	tap_ok(!wrong, "rows that a kernel reads itself: the bits of binary32 ones, %s", level);
}

int main(void)
{
	char name[80];
	int level;

	exp64();
	log64();
	softcap();
	for (level = 0; kvsink_simd_name(level); level++) {
		if (kvsink_simd_force(level)) {
			snprintf(name, sizeof(name), "SIMD: kernels of %s", kvsink_simd_name(level));
			tap_skip(name, "cpu lacks this level");
			continue;
		}
		weights(kvsink_simd_name(level));
		score(kvsink_simd_name(level));
		direct(kvsink_simd_name(level));
	}
	tap_ok(kvsink_simd_force(level) == -1, "simd: a level that does not exist is refused");
	return tap_done();
}
