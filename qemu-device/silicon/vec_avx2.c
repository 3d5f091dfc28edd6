/* SPDX-License-Identifier: MIT */
/* The kernels for AVX2. */
#ifdef __x86_64__
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,f16c")
#endif

#define VEC_BYTES 32
#define VEC_ROWS 4
#define VEC_AVX2 /* and F16C: every CPU with AVX2 has it; vec.c asks all the same */
#define VEC_OPS kvsink_vec_avx2
#include "vec_kernels.h"

#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
