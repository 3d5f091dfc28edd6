/* SPDX-License-Identifier: MIT */
/*
 * A trace of requests, made smaller: one JSON object a line, as Mooncake publishes them
 *
 *   {"timestamp": ms, "input_length": tokens, "output_length": tokens, "hash_ids": [one a block of 512]}
 *
 * Lengths are divided and rounded up, so that a request keeps its blocks, each 512 / input tokens long. What
 * is beyond max_prompt or max_output tokens is cut off. Needs neither model nor device.
 */
#ifndef KVSINK_LLM_SERVE_TRACE_H
#define KVSINK_LLM_SERVE_TRACE_H

#include <stdint.h>

#define TRACE_BLOCK 512 /* tokens of a block in the file */

struct trace_scale {
	uint32_t input;			 /* divides input lengths and blocks: a divisor of TRACE_BLOCK */
	uint32_t output;		 /* divides output lengths */
	uint32_t max_prompt, max_output; /* tokens */
};

struct trace_request {
	uint64_t arrival_ms;
	uint32_t line;	 /* of the file, from 1 */
	uint32_t prompt; /* tokens, at least 1 */
	uint32_t output; /* tokens, at least 1 */
	uint32_t blocks; /* that the prompt takes, the last one perhaps not whole */
	uint64_t *hash;	 /* [blocks] */
};

struct trace {
	struct trace_request *request; /* [count], in the order of the file */
	uint32_t count;
	uint32_t block_tokens;
};

/*
 * trace_load - the first `limit` requests of a file, scaled
 * Prints a line that names the file's line and returns USAGE if there is anything else in it, or -1.
 */
int trace_load(const char *path, const struct trace_scale *scale, uint32_t limit, struct trace *trace);
void trace_free(struct trace *trace);

#endif
