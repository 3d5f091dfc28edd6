/* SPDX-License-Identifier: MIT */
/* The kernels for SSE2, which every x86-64 has; elsewhere plain 16-byte vectors. */
#define VEC_BYTES 16
#define VEC_ROWS 4
#define VEC_OPS kvsink_vec_sse2
#include "vec_kernels.h"
