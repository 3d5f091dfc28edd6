/* SPDX-License-Identifier: MIT */
/*
 * Floating point of the datapath: every file that computes includes this first.
 *
 * Contraction into fused multiply-add is switched off here, whatever the build's flags are, and the few
 * transcendental functions are our own (libm picks its code by CPU): so all CPUs give the same bits.
 */
#ifndef KVSINK_FP_H
#define KVSINK_FP_H

#ifdef __clang__
#pragma clang fp contract(off)
#else
#pragma GCC optimize("fp-contract=off")
#endif

#include <math.h>
#include <stdint.h>
#include <string.h>

static inline uint32_t kvsink_f32_bits(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

static inline float kvsink_f32_from_bits(uint32_t bits)
{
	float value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

static inline double kvsink_f64_from_bits(uint64_t bits)
{
	double value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* The canonical NaN for every NaN: payloads depend on the order of operands, results must not. */
static inline float kvsink_f32_canonical(float value)
{
	return value == value ? value : kvsink_f32_from_bits(0x7fc00000);
}

#define KVSINK_LOG2E 1.4426950408889634
#define KVSINK_LN2_HI 0x1.62e42feep-1 /* 32 bits: n * LN2_HI is exact */
#define KVSINK_LN2_LO 0x1.a39ef35793c76p-33

/* e^x for x <= 0 within 2 ulp; 0 below -700. Taylor to the 13th term on |r| <= ln(2)/2. */
static inline double kvsink_exp64(double x)
{
	static const double inv_fact[] = {
		1.0 / 6227020800,
		1.0 / 479001600,
		1.0 / 39916800,
		1.0 / 3628800,
		1.0 / 362880,
		1.0 / 40320,
		1.0 / 5040,
		1.0 / 720,
		1.0 / 120,
		1.0 / 24,
		1.0 / 6,
		0.5,
		1.0,
		1.0,
	};
	double n, r, p = inv_fact[0];
	unsigned i;

	if (x < -700.0)
		return 0.0;
	if (!(x <= 0.0))
		return x > 0.0 ? INFINITY : x;
	n = (x * KVSINK_LOG2E + 0x1.8p52) - 0x1.8p52;
	r = (x - n * KVSINK_LN2_HI) - n * KVSINK_LN2_LO;
	for (i = 1; i < sizeof(inv_fact) / sizeof(inv_fact[0]); i++)
		p = p * r + inv_fact[i];
	return p * kvsink_f64_from_bits((uint64_t)(1023 + (int)n) << 52);
}

/* ln(x) of a normal number; 0 gives -inf. Twice the artanh series on m in [sqrt(1/2), sqrt(2)). */
static inline double kvsink_log64(double x)
{
	double f, f2, sum = 0.0;
	uint64_t bits;
	int e, k;

	if (!(x > 0.0) || x == INFINITY)
		return x == 0.0 ? -INFINITY : x < 0.0 ? NAN : x;
	memcpy(&bits, &x, sizeof(bits));
	e = (int)(bits >> 52) - 1023;
	x = kvsink_f64_from_bits((bits & 0xfffffffffffffull) | 0x3ff0000000000000ull);
	if (x > 1.4142135623730951) {
		x *= 0.5;
		e++;
	}
	f = (x - 1.0) / (x + 1.0);
	f2 = f * f;
	for (k = 23; k >= 3; k -= 2)
		sum = (sum + 1.0 / k) * f2;
	return e * KVSINK_LN2_HI + (e * KVSINK_LN2_LO + 2.0 * f * (sum + 1.0));
}

/* c * tanh(x / c), c > 0 */
static inline double kvsink_softcap64(double x, double c)
{
	double y = x / c;
	double e = kvsink_exp64(y < 0.0 ? 2.0 * y : -2.0 * y);
	double t = c * ((1.0 - e) / (1.0 + e));

	return y < 0.0 ? -t : t;
}

#endif
