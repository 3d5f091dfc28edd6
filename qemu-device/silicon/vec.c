/* SPDX-License-Identifier: MIT */
/*
 * Which SIMD level runs: the best that the CPU has, unless a test forces another. All give the same bits.
 *
 * The choice is one atomic pointer, so that any thread may make it.
 */
#include "datapath.h"
#include "vec.h"

#ifdef __x86_64__
static int has_sse2(void)
{
	return 1;
}

static int has_avx2(void)
{
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("f16c");
}

static int has_avx512f(void)
{
	return __builtin_cpu_supports("avx512f");
}
#else
static int has_base(void)
{
	return 1;
}
#endif

static const struct {
	const char *name;
	const struct kvsink_vec_ops *ops;
	int (*supported)(void);
} levels[] = {
#ifdef __x86_64__
	{"sse2", &kvsink_vec_sse2, has_sse2},
	{"avx2", &kvsink_vec_avx2, has_avx2},
	{"avx512f", &kvsink_vec_avx512f, has_avx512f},
#else
	{"base", &kvsink_vec_sse2, has_base},
#endif
};

#define LEVELS ((int)(sizeof(levels) / sizeof(levels[0])))

static const struct kvsink_vec_ops *current;

const char *kvsink_simd_name(int level)
{
	return level >= 0 && level < LEVELS ? levels[level].name : NULL;
}

int kvsink_simd_force(int level)
{
	if (level < 0)
		for (level = LEVELS - 1; !levels[level].supported();)
			level--;
	if (level >= LEVELS || !levels[level].supported())
		return -1;
	__atomic_store_n(&current, levels[level].ops, __ATOMIC_RELAXED);
	return 0;
}

const struct kvsink_vec_ops *kvsink_vec(void)
{
	const struct kvsink_vec_ops *ops = __atomic_load_n(&current, __ATOMIC_RELAXED);

	if (!ops) {
		kvsink_simd_force(-1);
		ops = __atomic_load_n(&current, __ATOMIC_RELAXED);
	}
	return ops;
}
