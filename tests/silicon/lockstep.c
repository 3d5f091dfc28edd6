// SPDX-License-Identifier: MIT
/*
 * The rig of lockstep.h: one chip and one model at the same host time, memory for the streams, random
 * operands, and the first differences in words.
 */
#include <stdarg.h>
#include <stdio.h>

#include "lockstep.h"

struct lockstep both = {.doing = "nothing"};

void lockstep_differ(const char *format, ...)
{
	va_list args;

	if (both.differences++ >= 10)
		return;
	va_start(args, format);
	printf("# after %lu operations, %s: ", both.ops, both.doing);
	vprintf(format, args);
	printf("\n");
	va_end(args);
}

uint32_t lockstep_run(unsigned s)
{
	both.h.host_ns = both.ref.now;
	both.h.tenant = s < REF_STREAMS ? both.streams[s].tenant : H_TENANT;
	return h_do(&both.h);
}

uint32_t lockstep_run_privileged(void)
{
	both.h.host_ns = both.ref.now;
	return h_priv(&both.h);
}

uint32_t lockstep_ask(uint32_t what, uint64_t stream, uint32_t group, uint32_t first, uint32_t max, void *out,
		      size_t record)
{
	struct kvsink_list_head head;

	h_query_cmd(&both.h, what, stream, first, max)->query.group = group;
	if (lockstep_run_privileged()) {
		lockstep_differ("QUERY %u: %s", what, kvsink_code_name(both.h.cpl.code));
		return 0;
	}
	h_get(&both.h, H_ANSWER, &head, sizeof(head));
	if (head.record_bytes != record)
		lockstep_differ("QUERY %u: records of %u bytes, not %zu", what, head.record_bytes, record);
	else
		h_get(&both.h, H_ANSWER + sizeof(head), out, head.written * record);
	return head.written;
}

/* Rows and queries are written once: the sequence is what is random. */
static void put_operands(void)
{
	float *row = malloc(64 * 1024);
	uint64_t state = 7;

	for (unsigned i = 0; i < 16384; i++)
		row[i] = (float)(int32_t)h_random(&state) * 0x1p-30f;
	h_put(&both.h, H_K, row, 64 * 1024);
	h_put(&both.h, H_V, row, 64 * 1024);
	h_put(&both.h, H_Q, row, 64 * 1024);
	free(row);
}

void lockstep_lay_out(unsigned s, unsigned place)
{
	uint64_t at = (1 << 20) + (2 * s + place) * LOCKSTEP_PLACE_BYTES;

	both.streams[s].page_table = at;
	both.streams[s].scores = at + KVSINK_HBM_ALIGN;
	both.streams[s].pages = at + (64 << 10);
}

void lockstep_open(uint64_t seed)
{
	both.seed = seed;
	h_open(&both.h, NULL);
	ref_init(&both.ref, both.h.config.sram_bytes, both.h.config.tags);
	put_operands();
	for (unsigned s = 0; s < REF_STREAMS; s++)
		lockstep_lay_out(s, 0);
}
