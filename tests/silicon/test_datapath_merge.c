// SPDX-License-Identifier: MIT
/* LSE merge: vectors, empty partitions bit for bit, extremes, and the algebra against binary64. */
#include "datapath_case.h"
#include "tap.h"

#define N 16

static const float one[N] = {1.5f, -2.0f, 0.0f, -0.0f, 1e-40f, 3e38f, 0.1f, 7.0f};
static const float two[N] = {-0.5f, 4.0f, 1.0f, 2.0f, 1.0f, -3e38f, 0.2f, 9.0f};

/* Merge of (one, lse_a) and (two, lse_b) within rounding of the formula; lse likewise. */
static void vector(float lse_a, float lse_b, const char *name)
{
	double top = lse_a > lse_b ? lse_a : lse_b, a = exp(lse_a - top), b = exp(lse_b - top), expect;
	bool close = true;
	float o[N], lse = lse_a;
	int i;

	memcpy(o, one, sizeof(o));
	kvsink_merge(o, &lse, two, lse_b, N);
	for (i = 0; i < N; i++) {
		expect = (a * one[i] + b * two[i]) / (a + b);
		close = close && fabs(o[i] - expect) <=
					 1.2e-7 * (fabs(one[i]) * a + fabs(two[i]) * b) / (a + b) + 1e-44;
	}
	tap_ok(close, "merge: output, %s", name);
	expect = top + log(a + b);
	tap_ok(fabs(lse - expect) <= 6e-8 * fabs(expect) + 1e-40, "merge: lse, %s", name);
}

static void empties(void)
{
	float o[N], lse = 3.25f, nothing[N];
	int i;

	for (i = 0; i < N; i++)
		nothing[i] = NAN; /* the output of an empty partition is not looked at */
	memcpy(o, one, sizeof(o));
	kvsink_merge(o, &lse, nothing, -INFINITY, N);
	tap_ok(!memcmp(o, one, sizeof(o)) && lse == 3.25f, "merge: second empty: the first, bit for bit");
	memcpy(o, nothing, sizeof(o));
	lse = -INFINITY;
	kvsink_merge(o, &lse, one, -77.125f, N);
	tap_ok(!memcmp(o, one, sizeof(o)) && lse == -77.125f, "merge: first empty: the second, bit for bit");
	memcpy(o, nothing, sizeof(o));
	lse = -INFINITY;
	kvsink_merge(o, &lse, nothing, -INFINITY, N);
	for (i = 0; i < N && o[i] == 0.0f; i++)
		;
	tap_ok(i == N && lse == -INFINITY, "merge: both empty: O = 0, lse = -inf");
}

static void symmetry(void)
{
	float a[N], b[N], lse_a = 1.25f, lse_b = 2.5f;

	memcpy(a, one, sizeof(a));
	memcpy(b, two, sizeof(b));
	kvsink_merge(a, &lse_a, two, 2.5f, N);
	kvsink_merge(b, &lse_b, one, 1.25f, N);
	tap_ok(!memcmp(a, b, sizeof(a)) && lse_a == lse_b, "merge: the order of two does not matter");
}

/* The softmax over 60 values in three partitions equals the softmax over all. */
static void partitions(void)
{
	double x[60], v[60], z = 0.0, o = 0.0, top, part_z, part_o;
	float got = NAN, lse = -INFINITY;
	int i, p;

	for (i = 0; i < 60; i++) {
		x[i] = 10 * dp_normal();
		v[i] = dp_normal();
		z += exp(x[i]);
		o += exp(x[i]) * v[i];
	}
	for (p = 0; p < 3; p++) {
		for (i = p, top = -INFINITY; i < 60; i += 3)
			top = fmax(top, x[i]);
		for (i = p, part_z = part_o = 0.0; i < 60; i += 3) {
			part_z += exp(x[i] - top);
			part_o += exp(x[i] - top) * v[i];
		}
		kvsink_merge(&got, &lse, &(float){(float)(part_o / part_z)}, (float)(top + log(part_z)), 1);
	}
	tap_ok(fabs(got - o / z) < 4e-6 && fabs(lse - log(z)) < 4e-6,
	       "merge: three partitions make the whole");
}

int main(void)
{
	vector(0.0f, 0.0f, "equal lse");
	vector(1.0f, 2.0f, "lse 1 and 2");
	vector(64.0f, 63.0f, "lse 64 and 63");
	vector(-70.0f, -70.5f, "negative lse");
	vector(3e38f, 2e38f, "lse near overflow");
	vector(-3e38f, 3e38f, "opposite extremes");
	vector(0.0f, -1e-40f, "subnormal lse");
	vector(0.0f, -90.0f, "weight below binary32's range");
	empties();
	symmetry();
	partitions();
	return tap_done();
}
