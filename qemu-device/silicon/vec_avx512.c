/* SPDX-License-Identifier: MIT */
/* The kernels for AVX-512F. */
#ifdef __x86_64__
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f"))), apply_to = function)
#else
#pragma GCC target("avx512f")
#endif

#define VEC_BYTES 64
#define VEC_ROWS 8
#define VEC_OPS kvsink_vec_avx512f
#include "vec_kernels.h"

#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
