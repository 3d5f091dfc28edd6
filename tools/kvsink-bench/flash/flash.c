// SPDX-License-Identifier: MIT
/* flash_attn_ext of ggml's CPU backend: a graph of one node, made once and run many times. */
#include "flash.h"

#include <ggml-backend.h>
#include <ggml-cpu.h>
#include <ggml.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct flash {
	struct ggml_context *ctx;
	struct ggml_cgraph *graph;
	struct ggml_tensor *q, *k, *v, *out;
	struct ggml_cplan plan;
	struct ggml_threadpool *pool;
	uint8_t *work;
};

/* [tokens][kv head][d] in memory is d fastest; flash_attn_ext wants d, tokens, heads: a view tells it the
 * strides. */
static struct ggml_tensor *cache_view(struct ggml_context *ctx, struct ggml_tensor *rows, uint32_t tokens,
				      uint32_t kv_heads, uint32_t d)
{
	return ggml_view_3d(ctx, rows, d, tokens, kv_heads,
			    ggml_row_size(GGML_TYPE_F16, (int64_t)d * kv_heads),
			    ggml_row_size(GGML_TYPE_F16, d), 0);
}

static void flash_close(struct flash *f)
{
	if (f->pool)
		ggml_threadpool_free(f->pool);
	free(f->work);
	if (f->ctx)
		ggml_free(f->ctx);
	free(f);
}

static int flash_plan(struct flash *f, unsigned threads)
{
	struct ggml_threadpool_params params = ggml_threadpool_params_default((int)threads);

	params.poll = 0; /* its threads would go on spinning while the other side is timed */
	f->pool = ggml_threadpool_new(&params);
	f->plan = ggml_graph_plan(f->graph, (int)threads, f->pool);
	f->work = malloc(f->plan.work_size + 1);
	f->plan.work_data = f->work;
	return f->pool && f->work ? 0 : -1;
}

static struct flash *flash_open(const float *k, const float *v, uint32_t tokens, uint32_t kv_heads,
				uint32_t q_heads, uint32_t d, unsigned threads)
{
	int64_t elements = (int64_t)tokens * kv_heads * d;
	struct ggml_init_params params = {.mem_size =
						  (size_t)elements * 2 * sizeof(ggml_fp16_t) + (16 << 20)};
	struct flash *f = calloc(1, sizeof(*f));
	struct ggml_tensor *k_rows, *v_rows;

	if (!f)
		return NULL;
	ggml_cpu_init();
	f->ctx = ggml_init(params);
	if (!f->ctx)
		goto none;
	k_rows = ggml_new_tensor_1d(f->ctx, GGML_TYPE_F16, elements);
	v_rows = ggml_new_tensor_1d(f->ctx, GGML_TYPE_F16, elements);
	ggml_fp32_to_fp16_row(k, k_rows->data, elements);
	ggml_fp32_to_fp16_row(v, v_rows->data, elements);
	f->k = cache_view(f->ctx, k_rows, tokens, kv_heads, d);
	f->v = cache_view(f->ctx, v_rows, tokens, kv_heads, d);
	f->q = ggml_new_tensor_3d(f->ctx, GGML_TYPE_F32, d, 1, q_heads);
	f->out = ggml_flash_attn_ext(f->ctx, f->q, f->k, f->v, NULL, 1.0f / sqrtf((float)d), 0.0f, 0.0f);
	f->graph = ggml_new_graph(f->ctx);
	ggml_build_forward_expand(f->graph, f->out);
	if (!flash_plan(f, threads))
		return f;
none:
	flash_close(f);
	return NULL;
}

static int flash_run(struct flash *f, const float *q, float *out)
{
	memcpy(f->q->data, q, ggml_nbytes(f->q));
	if (ggml_graph_compute(f->graph, &f->plan) != GGML_STATUS_SUCCESS)
		return -1;
	memcpy(out, f->out->data, ggml_nbytes(f->out));
	return 0;
}

__attribute__((visibility("default"))) const struct flash_ops kvsink_bench_flash = {
	.open = flash_open,
	.run = flash_run,
	.close = flash_close,
};
