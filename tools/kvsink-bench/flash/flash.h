/* SPDX-License-Identifier: MIT */
/*
 * The comparator: ggml's flash_attn_ext for one query token over the same K and V, in a shared object of its
 * own (flash.c), since its ggml is built for AVX2 and must not run a line on a CPU without.
 */
#ifndef KVSINK_BENCH_FLASH_H
#define KVSINK_BENCH_FLASH_H

#include <stdint.h>

#define FLASH_SYMBOL "kvsink_bench_flash"

struct flash;

/* What the shared object exports under FLASH_SYMBOL. */
struct flash_ops {
	/*
	 * flash_open - K and V in FP16: [token][kv head][element], as llama.cpp's cache has them
	 * @k, @v: float[tokens][kv_heads][d]
	 *
	 * Returns NULL if memory ran out.
	 */
	struct flash *(*open)(const float *k, const float *v, uint32_t tokens, uint32_t kv_heads,
			      uint32_t q_heads, uint32_t d, unsigned threads);
	/* flash_run - attention of q[q_heads][d] over all tokens into out[q_heads][d]; 0, or -1 */
	int (*run)(struct flash *f, const float *q, float *out);
	void (*close)(struct flash *f);
};

#endif
