// SPDX-License-Identifier: MIT
/*
 * The rig of lockstep.h: one chip and one model at the same host time, memory for the streams, random
 * operands, and the first differences in words.
 */
#include <stdarg.h>
#include <stdio.h>

#include "lockstep.h"

struct lockstep both = {.doing = "nothing"};
struct lockstep_totals totals;

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
	return lockstep_do();
}

uint32_t lockstep_run_privileged(void)
{
	both.h.host_ns = both.ref.now;
	both.h.desc.flags = KVSINK_JOB_PRIVILEGED;
	return lockstep_do();
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

static void as_many_streams(struct kvsink_chip_config *config)
{
	config->streams = REF_STREAMS;
}

void lockstep_open(uint64_t seed)
{
	memset(&both, 0, sizeof(both));
	both.seed = seed;
	both.doing = "nothing";
	h_open(&both.h, as_many_streams);
	ref_init(&both.ref, both.h.config.sram_bytes, both.h.config.tags);
	put_operands();
	lockstep_hbm_reset();
	lockstep_all_places_free();
	lockstep_forget();
}

void lockstep_tally(void)
{
	totals.automatic_in += h_counter(&both.h, KVSINK_COUNTER_AUTO_PROMOTIONS);
	totals.automatic_out += h_counter(&both.h, KVSINK_COUNTER_AUTO_EVICTIONS);
	totals.displaced += h_counter(&both.h, KVSINK_COUNTER_DISPLACED);
	totals.broken += h_counter(&both.h, KVSINK_COUNTER_CONTRACTS_BROKEN);
	totals.copied += h_counter(&both.h, KVSINK_COUNTER_PREFIX_COPY);
}

void lockstep_close(void)
{
	lockstep_tally();
	h_close(&both.h);
}

void lockstep_answered(const struct ref_answer *want)
{
	both.outcome = both.h.cpl.code;
	SAME(both.h.cpl.code, want->code, "code");
	if (want->code && both.h.cpl.code == want->code && want->address != UINT64_MAX)
		SAME(both.h.cpl.address, want->address, "address of a refusal");
}
