// SPDX-License-Identifier: MIT
/*
 * How much one guest can ask of its host at once, and one ring of the others: the quantum of
 * kvsink_run(), long commands that go on later, jobs taken back, rings kept waiting, plans of grants,
 * cancelled items.
 */
#include <time.h>

#include "chip.h"
#include "harness.h"
#include "tap.h"

static struct harness h;
static struct h_stream s;

static uint32_t head(unsigned ring)
{
	return kvsink_mmio_read(h.chip, KVSINK_RING_BASE + ring * KVSINK_RING_STRIDE + KVSINK_RING_HEAD);
}

static uint32_t state(unsigned ring)
{
	return kvsink_mmio_read(h.chip, KVSINK_RING_BASE + ring * KVSINK_RING_STRIDE + KVSINK_RING_STATE);
}

static void doorbell(unsigned ring, uint32_t value)
{
	kvsink_mmio_write(h.chip, KVSINK_RING_BASE + ring * KVSINK_RING_STRIDE + KVSINK_RING_DOORBELL, value);
}

static void fresh(void)
{
	if (h.chip)
		h_close(&h);
	h_open(&h, NULL);
	s = h_geometry(1);
	h_stream(&h, &s);
	h_fill(&h, &s, 0, 10);
}

/* Calls of kvsink_run() until a ring has nothing more to do. */
static unsigned calls(unsigned ring)
{
	unsigned n = 0;

	while (kvsink_pending(h.chip) && n < 1000) {
		kvsink_run(h.chip, ring);
		n++;
	}
	return n;
}

static void many_commands(void)
{
	uint64_t ns;
	uint32_t first, n;

	fresh();
	first = head(0);
	ns = h_counter(&h, KVSINK_COUNTER_MODELLED_NS);
	for (uint32_t job = 0; job < h.config.ring_slots; job++) {
		for (unsigned i = 0; i < KVSINK_MAX_CMDS; i++)
			h_cmd(&h, KVSINK_OP_ADVANCE)->advance.ns = 1;
		h_publish(&h, 0);
	}
	h_doorbell(&h, 0);
	tap_ok(!kvsink_run(h.chip, 0) && kvsink_pending(h.chip) && head(0) < first + 4,
	       "one call does not work off a ring of 512 commands");
	n = calls(0);
	tap_ok(head(0) == first + h.config.ring_slots && n > 3, "%u further calls do", n);
	ns = h_counter(&h, KVSINK_COUNTER_MODELLED_NS) - ns;
	n = h.config.ring_slots * KVSINK_MAX_CMDS;
	tap_ok(ns == (uint64_t)n * (1 + h.config.job_overhead_ns),
	       "and the modelled time is that of the commands");
	for (uint32_t job = 0; job < h.config.ring_slots; job++)
		h_publish(&h, 0);
	h_doorbell(&h, 0);
	h_run(&h);
	tap_ok(head(0) == first + 2 * h.config.ring_slots, "empty jobs cost something as well and end");
}

static uint32_t submit_fill(uint64_t at, uint64_t bytes, uint32_t value)
{
	struct kvsink_cmd *cmd = h_cmd(&h, KVSINK_OP_FILL);

	cmd->fill.dst = h_hbm(at);
	cmd->fill.bytes = bytes;
	cmd->fill.value = value;
	h.desc.flags = KVSINK_JOB_PRIVILEGED;
	return h_submit(&h, 0);
}

static bool filled(uint64_t at, uint64_t bytes, uint8_t value)
{
	for (uint64_t i = 0; i < bytes; i++)
		if (h.hbm[at + i] != value)
			return false;
	return true;
}

#define AT ((5u << 20) + 3)
#define LONG ((10u << 20) + 5)

static void long_fill(void)
{
	struct kvsink_completion cpl;
	uint32_t index;

	fresh();
	index = submit_fill(AT, LONG, 0x5a);
	kvsink_run(h.chip, 0);
	tap_ok(head(0) == index && kvsink_pending(h.chip) && h.hbm[AT] == 0x5a &&
		       h.hbm[AT + LONG - 1] != 0x5a,
	       "FILL of 10 MiB stops half way");
	h_cmd(&h, KVSINK_OP_ADVANCE);
	h_submit(&h, 1);
	kvsink_run(h.chip, 1);
	tap_ok(head(1) == 1 && head(0) == index, "another ring gets its turn in between");
	h_run(&h);
	cpl = h_completion(&h, 0, index);
	tap_ok(!cpl.code && cpl.cmd == 1, "then it completes");
	tap_ok(filled(AT, LONG, 0x5a) && h.hbm[AT - 1] != 0x5a && h.hbm[AT + LONG] != 0x5a,
	       "having filled the range and no more");

	submit_fill(AT, LONG, 1);
	kvsink_run(h.chip, 0);
	kvsink_reset(h.chip, KVSINK_RESET_ENGINE);
	h_start(&h);
	index = submit_fill(AT, 100, 2);
	h_run(&h);
	tap_ok(!h_completion(&h, 0, index).code && filled(AT, 100, 2) && h.hbm[AT + 100] == 1,
	       "a reset forgets how far it was");
}

static void long_copy(void)
{
	struct kvsink_cmd *cmd;
	uint32_t bytes = 7u << 20, index;
	uint64_t seed = 5;

	fresh();
	for (uint32_t i = 0; i < bytes; i += 4) {
		uint32_t word = h_random(&seed);

		memcpy(h.hbm + (1u << 20) + i, &word, 4);
	}
	cmd = h_cmd(&h, KVSINK_OP_COPY);
	cmd->copy = (struct kvsink_cmd_copy){h_hbm(1u << 20), h_hbm(8u << 20), bytes};
	h.desc.flags = KVSINK_JOB_PRIVILEGED;
	index = h_submit(&h, 0);
	kvsink_run(h.chip, 0);
	tap_ok(head(0) == index && kvsink_pending(h.chip), "COPY of 7 MiB stops half way");
	h_run(&h);
	tap_ok(!h_completion(&h, 0, index).code && !memcmp(h.hbm + (1u << 20), h.hbm + (8u << 20), bytes),
	       "and completes with every byte");
}

static struct kvsink_item_work *start_item(unsigned ring)
{
	struct kvsink_item_work *work;

	h_attend_cmd(&h, &s, 0, 9, 1);
	h_submit(&h, ring);
	work = kvsink_run(h.chip, ring);
	if (!work)
		printf("Bail out! no item\n");
	return work;
}

static void finish(struct kvsink_item_work *work)
{
	kvsink_exec(work, 0, 1);
	kvsink_retire(h.chip, work);
}

static void fill_meets_items(void)
{
	struct kvsink_item_work *work;
	uint32_t index;

	fresh();
	index = submit_fill(AT, LONG, 0x5a);
	kvsink_run(h.chip, 0);
	work = start_item(1);
	kvsink_run(h.chip, 0);
	tap_ok(head(0) == index && !kvsink_pending(h.chip),
	       "a FILL half way waits for an item that came since");
	finish(work);
	h_run(&h);
	tap_ok(head(0) == index + 1 && filled(AT, LONG, 0x5a), "and goes on after it");
}

static uint32_t submit_invalidate(unsigned ring)
{
	h_cmd(&h, KVSINK_OP_GART_INVALIDATE)->gart_invalidate.count = 1;
	h.desc.flags = KVSINK_JOB_PRIVILEGED;
	return h_submit(&h, ring);
}

/* A COPY half way would write where the driver lets somebody else in once GART_INVALIDATE is complete. */
static void fill_meets_invalidate(void)
{
	uint32_t index, other;

	fresh();
	index = submit_fill(AT, LONG, 0x5a);
	submit_fill(AT, LONG, 0x5b);
	kvsink_run(h.chip, 0);
	other = submit_invalidate(1);
	kvsink_run(h.chip, 1);
	tap_ok(head(1) == other, "GART_INVALIDATE waits for a long move of another ring");
	while (head(0) == index)
		kvsink_run(h.chip, 0);
	tap_ok(head(0) == index + 1 && h.hbm[AT] == 0x5a, "which goes on, but the next does not begin");
	kvsink_run(h.chip, 1);
	tap_ok(head(1) == other + 1, "before GART_INVALIDATE has had its turn");
	h_run(&h);
	tap_ok(head(0) == index + 2 && filled(AT, LONG, 0x5b), "then it does");

	submit_fill(AT, LONG, 1);
	kvsink_run(h.chip, 0);
	other = submit_invalidate(1);
	kvsink_run(h.chip, 1);
	doorbell(0, head(0) + 1000);
	h_run(&h);
	tap_ok(state(0) == KVSINK_RING_HALTED && head(1) == other + 1, "nor is a halted ring waited for");
}

static void taken_back(void)
{
	struct kvsink_item_work *work;
	uint32_t published;

	fresh();
	work = start_item(1);
	published = h.published[1];
	doorbell(1, published - 1);
	tap_ok(state(1) == KVSINK_RING_HALTED && strstr(h.log, "doorbell"),
	       "a doorbell that takes a job back halts the ring: %s", h.log);
	finish(work);
	tap_ok(!kvsink_pending(h.chip), "HEAD does not pass the doorbell: nothing is pending");
	doorbell(0, h.published[0]);
	tap_ok(state(0) == KVSINK_RING_IDLE, "ringing for nothing new is fine");
}

/* Ring 1 always has an item in flight when ring 0 looks, as it may have where it comes first. */
static void no_starvation(void)
{
	struct kvsink_item_work *work;
	uint32_t index;

	fresh();
	work = start_item(1);
	h_cmd(&h, KVSINK_OP_GART_INVALIDATE)->gart_invalidate.count = 1;
	h.desc.flags = KVSINK_JOB_PRIVILEGED;
	index = h_submit(&h, 0);
	kvsink_run(h.chip, 0);
	h_attend_cmd(&h, &s, 0, 9, 1);
	h_submit(&h, 1);
	finish(work);
	tap_ok(!kvsink_run(h.chip, 1), "no ring stages an item before one that waits for all of them");
	kvsink_run(h.chip, 0);
	tap_ok(head(0) == index + 1, "which then has its turn");
	work = kvsink_run(h.chip, 1);
	tap_ok(work, "after which the others go on");

	h_cmd(&h, KVSINK_OP_GART_INVALIDATE)->gart_invalidate.count = 1;
	h.desc.flags = KVSINK_JOB_PRIVILEGED;
	h_submit(&h, 0);
	kvsink_run(h.chip, 0);
	h_attend_cmd(&h, &s, 0, 9, 1);
	h_submit(&h, 1);
	finish(work);
	kvsink_run(h.chip, 1);
	doorbell(0, head(0) + 1000);
	work = kvsink_run(h.chip, 1);
	tap_ok(state(0) == KVSINK_RING_HALTED && work, "a ring that halts while it waits holds nobody up");
	if (work)
		finish(work);
}

/* ---- PROMOTE ---- */

/* One entry fits into the stream's budget, and token 0 has it, without a contract. */
static void room_for_one(uint32_t bytes)
{
	fresh();
	h_config(&h, s.id, KVSINK_PARAM_SRAM_BUDGET, 512);
	h_promote(&h, &s, 0, 0, 2, 3);
	h_barrier(&h, &s);
	h_config(&h, s.id, KVSINK_PARAM_SRAM_BUDGET, bytes);
}

static uint32_t submit_contract(uint32_t token, uint16_t flags)
{
	struct kvsink_cmd *cmd = h_promote_cmd(&h, &s, token, 0, 2, 3);

	cmd->flags = flags;
	cmd->promote.dwell_steps = 5;
	return h_submit(&h, 0);
}

static void grants_wait(void)
{
	struct kvsink_item_work *work;
	struct kvsink_tag_rec rec;
	uint32_t index;

	room_for_one(512);
	work = start_item(1);
	index = submit_contract(1, 0);
	kvsink_run(h.chip, 0);
	tap_ok(head(0) == index && !kvsink_pending(h.chip),
	       "a grant that displaces waits for the items in flight");
	finish(work);
	h_run(&h);
	tap_ok(head(0) == index + 1 && !h_completion(&h, 0, index).code && h_entry(&h, &s, 1, &rec) &&
		       !h_entry(&h, &s, 0, &rec),
	       "then it is made");

	room_for_one(0);
	work = start_item(1);
	index = submit_contract(1, 0);
	kvsink_run(h.chip, 0);
	tap_ok(head(0) == index + 1 && h_completion(&h, 0, index).code == KVSINK_CODE_BUDGET,
	       "one that could displace nothing is refused at once");
	index = submit_contract(1, KVSINK_PROMOTE_PARTIAL);
	kvsink_run(h.chip, 0);
	tap_ok(head(0) == index + 1 && h_completion(&h, 0, index).result[3] == KVSINK_CODE_BUDGET,
	       "in part as well");
	finish(work);
}

#define SINGLES 8192u /* entries of one granule: one layer and head of a token with rows of 8 B */
#define LARGEST 128u  /* granules of the largest but the last item of the list */
#define SMALLEST 2u

static void tune_fragments(struct kvsink_chip_config *config)
{
	uint32_t units = SINGLES;

	for (uint32_t n = SMALLEST; n <= LARGEST; n++)
		units += n;
	config->sram_bytes = units * KVSINK_SRAM_UNIT;
	config->hbm_bytes = 64 << 20;
	config->tags = 2 * SINGLES;
}

/* PROMOTE or EVICT of entries [first, first + step * KVSINK_MAX_ITEMS) of token 0, each of one granule. */
static void singles(unsigned opcode, uint32_t first, uint32_t step)
{
	struct kvsink_cmd *cmd = h_cmd(&h, opcode);

	cmd->promote.stream = s.id;
	cmd->promote.item_count = KVSINK_MAX_ITEMS;
	for (uint32_t i = 0; i < KVSINK_MAX_ITEMS; i++) {
		uint32_t n = first + i * step;
		union kvsink_item item = {.place = {.layer_begin = (uint16_t)(n / 64),
						    .layer_end = (uint16_t)(n / 64 + 1),
						    .head_mask = 1ull << n % 64}};

		h_item(&h, &item);
	}
	if (h_do(&h))
		printf("Bail out! fragments: %s\n", kvsink_code_name(h.cpl.code));
}

/* Half of its granules are free, one by one; behind them there is just room for the list but its last item.
 */
static void open_fragments(void)
{
	h_close(&h);
	h_open(&h, tune_fragments);
	s = h_geometry(1);
	s.layers = 128;
	s.q_heads = s.kv_heads = 64;
	s.d_k = s.d_v = 1;
	s.max_tokens = 256;
	s.group_end[0] = 64;
	s.group_end[1] = 128;
	h_stream(&h, &s);
	for (uint32_t at = 0; at < 256; at += 16)
		h_fill(&h, &s, at, 16);
	for (uint32_t n = SINGLES; n; n -= KVSINK_MAX_ITEMS)
		singles(KVSINK_OP_PROMOTE, n - KVSINK_MAX_ITEMS, 1);
	for (uint32_t n = 0; n < SINGLES; n += 2 * KVSINK_MAX_ITEMS)
		singles(KVSINK_OP_EVICT, n, 2);
}

/* Every size is looked for anew, after each of the entries that give way: that must come to an end. */
static void plans_end(void)
{
	struct kvsink_cmd *cmd;
	uint32_t index, token = 1;

	open_fragments();
	cmd = h_promote_cmd(&h, &s, token++, 0, (uint16_t)LARGEST, UINT32_MAX);
	for (uint32_t n = LARGEST - 1; n >= SMALLEST; n--)
		h_item(&h, &(union kvsink_item){.place = {token++, 0, (uint16_t)n, UINT32_MAX, {0}}});
	h_item(&h, &(union kvsink_item){.place = {token++, 0, (uint16_t)(LARGEST / 2 + 1), UINT64_MAX, {0}}});
	cmd->promote.item_count = h.desc.item_count;
	cmd->promote.dwell_steps = 5;
	index = h_submit(&h, 0);
	kvsink_run(h.chip, 0);
	tap_ok(h_completion(&h, 0, index).code == KVSINK_CODE_FRAGMENTED &&
		       h_counter(&h, KVSINK_COUNTER_DISPLACED) == 0,
	       "a list of many sizes in a fragmented SRAM is refused when its plan takes too long");
	tap_ok(h.chip->ring[0].spent / 8 < KVSINK_PLAN_LOOKS + 2ull * LARGEST * SINGLES,
	       "after %llu looks at tags and spans", (unsigned long long)h.chip->ring[0].spent / 8);
}

static double cpu_seconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static double timed_item(bool cancel)
{
	struct kvsink_item_work *work;
	double begin;

	h_score_cmd(&h, &s, 0, 0, 1000);
	h_submit(&h, 0);
	work = kvsink_run(h.chip, 0);
	if (cancel)
		kvsink_reset(h.chip, KVSINK_RESET_ENGINE);
	begin = cpu_seconds();
	kvsink_exec(work, 0, 1);
	begin = cpu_seconds() - begin;
	kvsink_retire(h.chip, work);
	return begin;
}

/* The host waits for items when it resets the device: they must not take the time they would need. */
static void cancelled(void)
{
	double full, short_time;

	h_close(&h);
	h_open(&h, NULL);
	s = h_geometry(1);
	s.max_tokens = 1024;
	h_stream(&h, &s);
	for (uint32_t at = 0; at < 1000; at += 100)
		h_fill(&h, &s, at, 100);
	short_time = timed_item(true);
	h_start(&h);
	full = timed_item(false);
	tap_ok(short_time * 4 < full, "a reset ends items early: %.6f s instead of %.6f s", short_time, full);
}

int main(void)
{
	many_commands();
	long_fill();
	long_copy();
	fill_meets_items();
	fill_meets_invalidate();
	taken_back();
	no_starvation();
	grants_wait();
	plans_end();
	cancelled();
	h_close(&h);
	return tap_done();
}
