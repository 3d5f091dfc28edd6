// SPDX-License-Identifier: MIT
/*
 * Residency in time: grant, copy, validity, eviction, budgets, resets. Rows are told apart by where the
 * ledger says they were read from, and by poisoning one of the two copies.
 */
#include "harness.h"
#include "tap.h"

#define ROW 128u /* bytes of K and V of one token, layer and head in the small geometry */

static struct harness h;
static struct h_stream s;

static uint32_t reg(uint32_t offset)
{
	return kvsink_mmio_read(h.chip, offset);
}

static void fresh(void)
{
	if (h.chip)
		h_close(&h);
	h_open(&h, NULL);
	s = h_geometry(1);
	h_stream(&h, &s);
	h_fill(&h, &s, 0, 20);
}

/* SRAM and HBM bytes of one query of `layer` at the last token. */
static uint64_t attend_sram(uint32_t layer, uint64_t *hbm)
{
	uint64_t sram = h_counter(&h, KVSINK_COUNTER_KV_SRAM_READ);
	uint64_t before = h_counter(&h, KVSINK_COUNTER_KV_HBM_READ);

	h_queries(&h, 5, s.q_heads * s.d_k);
	h_attend_cmd(&h, &s, layer, 19, 1);
	h_do(&h);
	*hbm = h_counter(&h, KVSINK_COUNTER_KV_HBM_READ) - before;
	return h_counter(&h, KVSINK_COUNTER_KV_SRAM_READ) - sram;
}

static void validity(void)
{
	uint8_t zero[2 * 2 * ROW] = {0};
	uint64_t hbm, sram;

	fresh();
	tap_ok(!h_promote(&h, &s, 7, 0, 2, 3), "PROMOTE is granted");
	tap_ok(h.cpl.result[0] == 512 && h.cpl.result[1] && h.cpl.result[2] == 1 && !h.cpl.result[3],
	       "with bytes and generation, all of it");
	tap_ok(reg(KVSINK_REG_TAGS_VALID) == 0 && reg(KVSINK_REG_SRAM_USED) == 512,
	       "granted, but not valid yet");
	tap_ok(!memcmp(h.sram, zero, sizeof(zero)), "no byte has moved yet");
	sram = attend_sram(0, &hbm);
	tap_ok(sram == 0 && hbm == 20 * 2 * ROW, "ATTEND before the end of the copy reads HBM");
	tap_ok(reg(KVSINK_REG_TAGS_VALID) == 1, "that ATTEND took longer than the copy");
	sram = attend_sram(0, &hbm);
	tap_ok(sram == 2 * ROW && hbm == 19 * 2 * ROW, "ATTEND after it reads SRAM");
	tap_ok(h_counter(&h, KVSINK_COUNTER_DMA_COPY) == 4 * ROW,
	       "the copy moved the rows of two layers and heads");
}

/* The rows in SRAM are those that were appended, by rank of layer and head. */
static void contents(void)
{
	float want[16], got[16];
	bool ok = true;

	fresh();
	h_promote(&h, &s, 9, 1, 2, 2);
	h_promote(&h, &s, 9, 0, 1, 3);
	h_barrier(&h, &s);
	h_row(&s, false, 1, 9, 1, want);
	memcpy(got, h.sram, sizeof(got));
	ok = !memcmp(want, got, sizeof(got));
	h_row(&s, true, 1, 9, 1, want);
	memcpy(got, h.sram + 64, sizeof(got));
	tap_ok(ok && !memcmp(want, got, sizeof(got)), "an entry of head 1 holds head 1's K and V");
	h_row(&s, true, 0, 9, 1, want);
	memcpy(got, h.sram + 256 + ROW + 64, sizeof(got));
	tap_ok(!memcmp(want, got, sizeof(got)), "an entry of two heads holds the second behind the first");
}

static void lookup(void)
{
	uint64_t hbm;

	fresh();
	h_promote(&h, &s, 4, 1, 2, 2);
	h_promote(&h, &s, 19, 1, 2, 3);
	h_barrier(&h, &s);
	tap_ok(attend_sram(0, &hbm) == 0 && hbm == 40 * ROW, "an entry serves no layer outside its range");
	tap_ok(attend_sram(1, &hbm) == 3 * ROW && hbm == 37 * ROW,
	       "in its range it serves the heads of its mask");
	h_evict(&h, &s, KVSINK_TOKEN_ALL);
	h_promote(&h, &s, 4, 0, 1, 3);
	h_barrier(&h, &s);
	tap_ok(attend_sram(1, &hbm) == 0 && hbm == 40 * ROW, "its range ends before layer_end");
	tap_ok(attend_sram(0, &hbm) == 2 * ROW && hbm == 38 * ROW, "its first layer is");
}

/* SRAM is what is read: break the SRAM copy and only layers with an entry notice. */
static void really_read(void)
{
	float clean[64], dirty[64];
	uint64_t hbm;

	fresh();
	attend_sram(1, &hbm);
	h_get(&h, H_OUT, clean, sizeof(clean));
	h_promote(&h, &s, 4, 1, 2, 3);
	h_barrier(&h, &s);
	attend_sram(1, &hbm);
	h_get(&h, H_OUT, dirty, sizeof(dirty));
	double worst = 0;
	for (unsigned i = 0; i < 64; i++)
		worst = fmax(worst, fabs((double)clean[i] - dirty[i]));
	tap_ok(worst < 1e-5, "placement changes the output by rounding only (%g)", worst);
	for (unsigned i = 0; i < 256; i += 4) {
		float big = 100;

		memcpy(h.sram + i, &big, sizeof(big));
	}
	attend_sram(1, &hbm);
	h_get(&h, H_OUT, dirty, sizeof(dirty));
	tap_ok(fabs((double)clean[0] - dirty[0]) > 0.1, "a resident row is read from SRAM");
	attend_sram(0, &hbm);
	h_evict(&h, &s, 4);
	attend_sram(1, &hbm);
	h_get(&h, H_OUT, dirty, sizeof(dirty));
	tap_ok(!memcmp(clean, dirty, sizeof(clean)),
	       "after EVICT it is read from HBM, bit for bit as before");
}

static void barrier(void)
{
	uint64_t ns;

	fresh();
	h_promote(&h, &s, 1, 0, 2, 3);
	h_promote(&h, &s, 2, 0, 2, 3);
	tap_ok(reg(KVSINK_REG_TAGS_VALID) == 0, "two copies are under way");
	tap_ok(!h_barrier(&h, &s) && reg(KVSINK_REG_TAGS_VALID) == 2, "BARRIER waits for both");
	ns = h_counter(&h, KVSINK_COUNTER_EXPOSED_DMA_NS);
	/* the second begins when the first ends; a command's fixed cost has passed since the first began */
	tap_ok(ns > 200 && ns < 2 * (150 + 2), "and counts the wait: %llu ns", (unsigned long long)ns);
	h_barrier(&h, &s);
	tap_ok(h_counter(&h, KVSINK_COUNTER_EXPOSED_DMA_NS) == ns, "without copies it waits for nothing");
	h_promote(&h, &s, 3, 0, 2, 3);
	h_cmd(&h, KVSINK_OP_ADVANCE)->advance.ns = 100;
	h_do(&h);
	tap_ok(reg(KVSINK_REG_TAGS_VALID) == 2, "ADVANCE by less than the copy leaves it unfinished");
	h_cmd(&h, KVSINK_OP_ADVANCE)->advance.ns = 100;
	h_do(&h);
	tap_ok(reg(KVSINK_REG_TAGS_VALID) == 3, "ADVANCE beyond it ends the copy");
}

static void evict_in_flight(void)
{
	struct kvsink_tag_rec rec;
	uint32_t generation;
	uint8_t zero[512] = {0};

	fresh();
	h_promote(&h, &s, 7, 0, 2, 3);
	generation = h.cpl.result[1];
	tap_ok(!h_evict(&h, &s, 7) && h.cpl.result[0] == 1, "an entry can be evicted before its copy ends");
	h_cmd(&h, KVSINK_OP_ADVANCE)->advance.ns = 10000;
	h_do(&h);
	tap_ok(!memcmp(h.sram, zero, 512) && reg(KVSINK_REG_TAGS_VALID) == 0,
	       "its copy moves nothing and validates nothing");
	tap_ok(h_counter(&h, KVSINK_COUNTER_PROMOTIONS_VALID) == 0, "and is not counted");

	h_promote(&h, &s, 7, 0, 2, 3);
	h_evict(&h, &s, 7);
	h_promote(&h, &s, 8, 0, 2, 3);
	tap_ok(h.cpl.result[1] != generation, "another token gets another generation");
	tap_ok(h_entry(&h, &s, 8, &rec) && !rec.sram_offset, "and the same place");
	/* since the grants: 160 ns, which a copy takes, and 120 ns */
	h_cmd(&h, KVSINK_OP_ADVANCE)->advance.ns = 60;
	h_do(&h);
	tap_ok(reg(KVSINK_REG_TAGS_VALID) == 0, "the stale copy's end does not validate it");
	h_barrier(&h, &s);
	tap_ok(reg(KVSINK_REG_TAGS_VALID) == 1, "its own copy's end does");
	/* the same within one command: token 9 takes the entry, tag and all, of token 7 whose copy is half
	 * done */
	h_evict(&h, &s, KVSINK_TOKEN_ALL);
	h_config(&h, 1, KVSINK_PARAM_SRAM_BUDGET, 512);
	h_promote(&h, &s, 7, 0, 2, 3);
	h_cmd(&h, KVSINK_OP_ADVANCE)->advance.ns = 60;
	h_do(&h);
	h_promote_cmd(&h, &s, 9, 0, 2, 3)->promote.dwell_steps = 5;
	tap_ok(!h_do(&h) && !h_entry(&h, &s, 7, &rec), "a displaced entry's place goes to another");
	h_cmd(&h, KVSINK_OP_ADVANCE)->advance.ns = 50;
	h_do(&h);
	tap_ok(reg(KVSINK_REG_TAGS_VALID) == 0, "but the displaced one's copy does not validate it");
	h_evict(&h, &s, KVSINK_TOKEN_ALL);
	h_config(&h, 1, KVSINK_PARAM_SRAM_BUDGET, 0xffffffff);
	h_promote(&h, &s, 8, 0, 2, 3);
	h_barrier(&h, &s);
	/* more copies than the queue holds, all but one stale */
	for (unsigned i = 0; i < 200; i++) {
		h_promote(&h, &s, 9, 0, 2, 3);
		h_evict(&h, &s, 9);
	}
	h_promote(&h, &s, 10, 0, 2, 3);
	h_barrier(&h, &s);
	tap_ok(reg(KVSINK_REG_TAGS_VALID) == 2, "stale copies do not fill the engine's queue");
}

static void scrubbed(void)
{
	uint8_t zero[512] = {0};

	fresh();
	h_promote(&h, &s, 7, 0, 2, 3);
	h_barrier(&h, &s);
	tap_ok(memcmp(h.sram, zero, 512), "a valid entry has bytes");
	h_evict(&h, &s, 7);
	tap_ok(!memcmp(h.sram, zero, 512), "EVICT scrubs them");
	h_promote(&h, &s, 7, 0, 2, 3);
	h_barrier(&h, &s);
	h_cmd(&h, KVSINK_OP_STREAM_DESTROY)->stream_destroy.stream = 1;
	h_priv(&h);
	tap_ok(!memcmp(h.sram, zero, 512) && !reg(KVSINK_REG_SRAM_USED) && !reg(KVSINK_REG_TAGS_VALID),
	       "so does STREAM_DESTROY, and nothing is left");
}

static void budgets(void)
{
	struct h_stream other = h_geometry(2);

	fresh();
	h_stream(&h, &other);
	h_fill(&h, &other, 0, 4);
	h_config(&h, 0, KVSINK_PARAM_SRAM_BUDGET, 1536);
	h_config(&h, 1, KVSINK_PARAM_SRAM_BUDGET, 1024);
	tap_ok(!h_promote(&h, &s, 0, 0, 2, 3) && !h_promote(&h, &s, 1, 0, 2, 3),
	       "two entries fit a budget of two");
	tap_ok(h_promote(&h, &s, 2, 0, 1, 1) == KVSINK_CODE_BUDGET && h.cpl.address == 0, "not a third");
	tap_ok(!h_promote(&h, &other, 0, 0, 2, 3), "another stream has its own budget");
	tap_ok(h_promote(&h, &other, 1, 0, 2, 3) == KVSINK_CODE_BUDGET,
	       "but the device's budget holds for all");
	tap_ok(h_counter(&h, KVSINK_COUNTER_REFUSALS) == 2, "refusals are counted");
	h_evict(&h, &s, 0);
	tap_ok(reg(KVSINK_REG_SRAM_LARGEST) == h.config.sram_bytes - 3 * 512,
	       "the largest free range lies behind the last entry");
	tap_ok(!h_promote(&h, &other, 1, 0, 2, 3), "what was evicted is free for others");
	tap_ok(h_config(&h, 2, KVSINK_PARAM_SRAM_BUDGET, 0) == 0 &&
		       h_promote(&h, &other, 2, 0, 2, 3) == KVSINK_CODE_BUDGET,
	       "a budget below what is granted refuses more");
}

/* Registers about all entries. */
static void registers(void)
{
	fresh();
	h.host_ns = 1000;
	h_promote_cmd(&h, &s, 1, 0, 2, 3)->promote.dwell_steps = 2;
	h_do(&h);
	h_promote_cmd(&h, &s, 2, 0, 2, 3)->promote.deadline_ns = 3000;
	h_do(&h);
	h_promote(&h, &s, 3, 0, 2, 3);
	tap_ok(reg(KVSINK_REG_CONTRACTS) == 2, "CONTRACTS counts contracts in force");
	tap_ok(reg(KVSINK_REG_COPIES_PENDING) == 3 && reg(KVSINK_REG_TAGS_VALID) == 0,
	       "COPIES_PENDING the copies that have yet to end");
	tap_ok(reg(KVSINK_REG_SRAM_LARGEST) == h.config.sram_bytes - 3 * 512,
	       "SRAM_LARGEST the largest free range");
	h_fill(&h, &s, 20, 2);
	tap_ok(reg(KVSINK_REG_CONTRACTS) == 1, "one ends with its steps");
	h.host_ns = 3000;
	h_barrier(&h, &s);
	tap_ok(reg(KVSINK_REG_CONTRACTS) == 0, "the other when host time comes to its deadline");
	tap_ok(reg(KVSINK_REG_COPIES_PENDING) == 0 && reg(KVSINK_REG_TAGS_VALID) == 3,
	       "and BARRIER ends the copies");
	h_evict(&h, &s, 2);
	tap_ok(reg(KVSINK_REG_SRAM_LARGEST) == h.config.sram_bytes - 3 * 512,
	       "a small gap is not the largest");
}

static void parameters(void)
{
	fresh();
	h_config(&h, 1, KVSINK_PARAM_HEAD_MASK, 2);
	tap_ok(h_promote(&h, &s, 0, 0, 1, 1) == KVSINK_CODE_BAD_FIELD, "HEAD_MASK forbids head 0");
	tap_ok(!h_promote(&h, &s, 0, 0, 1, 2), "and allows head 1");
	tap_ok(h_promote(&h, &s, 1, 0, 1, 4) == KVSINK_CODE_BAD_FIELD,
	       "a head that the stream lacks is refused");
	h_config(&h, 1, KVSINK_PARAM_LAYER_RANGE, 1 | 2 << 16);
	tap_ok(h_promote(&h, &s, 1, 0, 2, 2) == KVSINK_CODE_BAD_FIELD, "LAYER_RANGE forbids layer 0");
	tap_ok(!h_promote(&h, &s, 1, 1, 2, 2), "and allows layer 1");
	tap_ok(h_promote(&h, &s, 20, 1, 2, 2) == KVSINK_CODE_BAD_FIELD,
	       "a token beyond the length is refused");
	tap_ok(h_promote(&h, &s, 2, 1, 1, 2) == KVSINK_CODE_BAD_FIELD, "so is an empty layer range");
	tap_ok(h_promote(&h, &s, 2, 1, 2, 0) == KVSINK_CODE_BAD_FIELD, "and an empty head mask");
}

static void evict_ranges(void)
{
	fresh();
	h_promote(&h, &s, 3, 0, 1, 3);
	h_promote(&h, &s, 3, 1, 2, 3);
	h_promote(&h, &s, 4, 0, 2, 3);
	h_evict_cmd(&h, &s, KVSINK_TOKEN_ALL, 1, 2, UINT64_MAX);
	tap_ok(!h_do(&h) && h.cpl.result[0] == 1,
	       "EVICT removes entries that lie within the range, not those beyond");
	tap_ok(!h_evict(&h, &s, KVSINK_TOKEN_ALL) && h.cpl.result[0] == 2,
	       "EVICT of all tokens removes the rest");
	tap_ok(h_counter(&h, KVSINK_COUNTER_EVICTIONS) == 3, "evictions are counted");
}

static void resets(void)
{
	uint64_t hbm;

	fresh();
	h_promote(&h, &s, 3, 0, 2, 3);
	h_barrier(&h, &s);
	h_promote(&h, &s, 4, 0, 2, 3);
	h_append(&h, &s, 0, 20, 1);
	kvsink_reset(h.chip, KVSINK_RESET_ENGINE);
	h_start(&h);
	tap_ok(!reg(KVSINK_REG_TAGS_VALID) && !reg(KVSINK_REG_SRAM_USED),
	       "an engine reset drops the entries");
	tap_ok(reg(KVSINK_REG_STREAMS_LIVE) == 1, "and keeps the streams");
	h_cmd(&h, KVSINK_OP_ADVANCE)->advance.ns = 10000;
	h_do(&h);
	tap_ok(!reg(KVSINK_REG_TAGS_VALID), "a copy that was under way never ends");
	tap_ok(attend_sram(0, &hbm) == 0 && hbm == 40 * ROW, "the rows are still in HBM");
	tap_ok(h_append(&h, &s, 0, 20, 1) == 0, "the open step was dropped");
	h.generation = reg(KVSINK_REG_GENERATION) - 1;
	tap_ok(h_promote(&h, &s, 3, 0, 2, 3) == KVSINK_CODE_STALE, "a job of the generation before is STALE");
	h.generation++;
	tap_ok(h_promote(&h, &s, 3, 0, 2, 3) == 0, "one of this generation works");
	h.generation = 0;
	kvsink_reset(h.chip, KVSINK_RESET_COLD);
	tap_ok(!reg(KVSINK_REG_STREAMS_LIVE) && !h.hbm[s.pages], "a cold reset leaves nothing");
}

int main(void)
{
	validity();
	contents();
	lookup();
	really_read();
	barrier();
	evict_in_flight();
	scrubbed();
	budgets();
	parameters();
	registers();
	evict_ranges();
	resets();
	h_close(&h);
	return tap_done();
}
