// SPDX-License-Identifier: MIT
/*
 * Command processor: slots, order, halting, stalling, hanging, and what a reset does to work in flight.
 */
#include "harness.h"
#include "tap.h"

static struct harness h;
static struct h_stream s;

static uint32_t ring_rd(unsigned ring, uint32_t reg)
{
	return kvsink_mmio_read(h.chip, KVSINK_RING_BASE + ring * KVSINK_RING_STRIDE + reg);
}

static void ring_wr(unsigned ring, uint32_t reg, uint32_t value)
{
	kvsink_mmio_write(h.chip, KVSINK_RING_BASE + ring * KVSINK_RING_STRIDE + reg, value);
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

static void wraps(void)
{
	struct kvsink_completion cpl;
	bool ok = true;

	for (uint32_t i = 0; i < 30; i++) {
		h_cmd(&h, KVSINK_OP_ADVANCE)->advance.ns = i;
		ok = ok && !h_do(&h) && h.cpl.seqno == 1000 + ring_rd(0, KVSINK_RING_HEAD) - 1 &&
		     h.cpl.cmd == 1;
	}
	tap_ok(ok, "thirty jobs through eight slots complete in order");
	for (uint32_t i = 0; i < h.config.ring_slots; i++)
		h_publish(&h, 1);
	h_doorbell(&h, 1);
	h_run(&h);
	cpl = h_completion(&h, 1, 7);
	tap_ok(ring_rd(1, KVSINK_RING_HEAD) == 8 && cpl.seqno == 2007, "a full ring is worked off");
	h.published[1] += h.config.ring_slots + 1;
	h_doorbell(&h, 1);
	tap_ok(ring_rd(1, KVSINK_RING_STATE) == KVSINK_RING_HALTED && strstr(h.log, "doorbell"),
	       "a doorbell beyond the ring halts it: %s", h.log);
	tap_ok(kvsink_mmio_read(h.chip, KVSINK_REG_STATUS) == 0x203,
	       "STATUS names the halted ring and the error");
	tap_ok(!h_do(&h), "the other ring goes on");
}

static void head_wraps(void)
{
	uint64_t ns;

	fresh();
	for (unsigned i = 0; i < 3; i++)
		h_cmd(&h, KVSINK_OP_ADVANCE)->advance.ns = 1000;
	h_do(&h);
	ns = h.cpl.end_ns - h.cpl.begin_ns;
	tap_ok(ns == 3 * (1000 + h.config.job_overhead_ns), "a job takes the modelled time of its commands");
	h_cmd(&h, KVSINK_OP_ADVANCE);
	h_cmd(&h, KVSINK_OP_BARRIER)->barrier.stream = 99;
	h_cmd(&h, KVSINK_OP_STEP_END)->step_end = (struct kvsink_cmd_step_end){.stream = 1, .count = 1};
	h_do(&h);
	tap_ok(h.cpl.code == KVSINK_CODE_BAD_STREAM && h.cpl.cmd == 1,
	       "the first failure ends a job and is named");
	kvsink_mmio_write(h.chip, KVSINK_REG_CONTROL, 0);
	h_submit(&h, 0);
	tap_ok(!kvsink_pending(h.chip) && !kvsink_run(h.chip, 0), "a disabled chip runs nothing");
	kvsink_mmio_write(h.chip, KVSINK_REG_CONTROL, KVSINK_CONTROL_ENABLE_MASK);
	tap_ok(kvsink_pending(h.chip), "and goes on when it is enabled");
	h_run(&h);
}

static void fetch_faults(void)
{
	uint64_t jobs;

	fresh();
	h_cmd(&h, KVSINK_OP_ADVANCE);
	h_publish(&h, 0);
	jobs = (uint64_t)ring_rd(0, KVSINK_RING_JOBS_HI) << 32 | ring_rd(0, KVSINK_RING_JOBS_LO);
	h.refuse_bus = jobs;
	h.refuse_bytes = 4096;
	h_doorbell(&h, 0);
	h_run(&h);
	tap_ok(ring_rd(0, KVSINK_RING_STATE) == KVSINK_RING_HALTED,
	       "a descriptor that cannot be fetched halts the ring");
	tap_ok(kvsink_mmio_read(h.chip, KVSINK_REG_ERR_CODE) == KVSINK_CODE_DMA_ERROR, "and is latched");
	h.refuse_bytes = 0;
	h_submit(&h, 0);
	tap_ok(!kvsink_pending(h.chip), "a halted ring ignores doorbells");
	h_submit(&h, 1);
	h_run(&h);
	tap_ok(ring_rd(1, KVSINK_RING_HEAD) == 1, "the other ring does not notice");
	kvsink_mmio_write(h.chip, KVSINK_REG_CONTROL, KVSINK_CONTROL_RESET_MASK);
	h_start(&h);
	tap_ok(!h_do(&h), "a reset brings the ring back");

	h.refuse_bus = (uint64_t)ring_rd(0, KVSINK_RING_CPLS_HI) << 32 | ring_rd(0, KVSINK_RING_CPLS_LO);
	h.refuse_bytes = 4096;
	h_submit(&h, 0);
	h_run(&h);
	tap_ok(ring_rd(0, KVSINK_RING_STATE) == KVSINK_RING_HALTED && ring_rd(0, KVSINK_RING_HEAD) == 1,
	       "a completion that cannot be written halts the ring, HEAD stays");
	h.refuse_bytes = 0;
}

static struct kvsink_item_work *start_item(unsigned ring)
{
	struct kvsink_item_work *work;

	h_attend_cmd(&h, &s, 0, 9, 1);
	h_queries(&h, 3, s.q_heads * s.d_k);
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

static void stalls(void)
{
	struct h_stream other = h_geometry(2);
	struct kvsink_item_work *work;
	uint32_t evict;

	fresh();
	h_stream(&h, &other);
	h_promote(&h, &s, 4, 0, 2, 3);
	h_barrier(&h, &s);
	work = start_item(1);
	tap_ok(!kvsink_run(h.chip, 1), "a ring whose item is in flight does nothing else");
	evict = ring_rd(0, KVSINK_RING_HEAD);
	h_evict_cmd(&h, &s, 4, 0, 2, UINT64_MAX);
	h_submit(&h, 0);
	kvsink_run(h.chip, 0);
	tap_ok(ring_rd(0, KVSINK_RING_HEAD) == evict, "EVICT waits for the item that reads the rows");
	tap_ok(!kvsink_pending(h.chip), "a stalled ring is not pending");
	finish(work);
	tap_ok(kvsink_pending(h.chip), "retiring the item wakes it");
	h_run(&h);
	tap_ok(ring_rd(0, KVSINK_RING_HEAD) == evict + 1 && !h_completion(&h, 0, evict).code,
	       "and EVICT completes");

	work = start_item(1);
	h_append(&h, &s, 0, 10, 1);
	tap_ok(ring_rd(0, KVSINK_RING_HEAD) == evict + 1, "APPEND waits as well");
	h_attend_cmd(&h, &s, 0, 9, 1);
	h_submit(&h, 0);
	finish(work);
	work = kvsink_run(h.chip, 0);
	tap_ok(work && ring_rd(0, KVSINK_RING_HEAD) == evict + 2,
	       "then it goes on, and so does what stands behind it");
	struct kvsink_item_work *second = start_item(1);
	finish(work);
	h_score_cmd(&h, &s, 0, 0, 4);
	h_submit(&h, 0);
	tap_ok(second && !kvsink_run(h.chip, 0),
	       "two rings read one stream; SCORE waits for the last of them");
	finish(second);
	h_run(&h);
	tap_ok(ring_rd(0, KVSINK_RING_HEAD) == evict + 4, "and runs then");

	work = start_item(1);
	h_cmd(&h, KVSINK_OP_BARRIER)->barrier.stream = 1;
	tap_ok(!h_do(&h), "a command that changes no row passes");
	h_cmd(&h, KVSINK_OP_STREAM_DESTROY)->stream_destroy.stream = 2;
	tap_ok(!h_priv(&h), "so does one on another stream");
	h_cmd(&h, KVSINK_OP_GART_INVALIDATE)->gart_invalidate.count = 1;
	h.desc.flags = KVSINK_JOB_PRIVILEGED;
	evict = h_submit(&h, 0);
	h_run(&h);
	tap_ok(ring_rd(0, KVSINK_RING_HEAD) == evict, "GART_INVALIDATE waits for every item");
	finish(work);
	h_run(&h);
	tap_ok(ring_rd(0, KVSINK_RING_HEAD) == evict + 1, "and completes after it");
}

static void hangs(void)
{
	uint32_t head;

	fresh();
	kvsink_inject(h.chip, KVSINK_INJECT_HANG, 1);
	head = h_submit(&h, 0);
	h_run(&h);
	tap_ok(ring_rd(0, KVSINK_RING_STATE) == KVSINK_RING_BUSY && ring_rd(0, KVSINK_RING_HEAD) == head,
	       "an injected hang keeps its job");
	h_submit(&h, 1);
	h_run(&h);
	tap_ok(ring_rd(1, KVSINK_RING_HEAD) == 1, "other rings go on");
	kvsink_mmio_write(h.chip, KVSINK_REG_CONTROL, KVSINK_CONTROL_RESET_MASK);
	h_start(&h);
	tap_ok(!h_do(&h), "a reset ends the hang");
}

static void lost(void)
{
	uint64_t before;
	uint32_t head;

	fresh();
	kvsink_inject(h.chip, KVSINK_INJECT_SKIP, 1);
	kvsink_inject(h.chip, KVSINK_INJECT_LOST, 1);
	tap_ok(!h_do(&h), "an injected skip lets a job pass");
	before = h.cpl.end_ns;
	head = ring_rd(0, KVSINK_RING_HEAD);
	h_cmd(&h, KVSINK_OP_ADVANCE)->advance.ns = 5000;
	h_submit(&h, 0);
	h_run(&h);
	tap_ok(ring_rd(0, KVSINK_RING_STATE) == KVSINK_RING_BUSY && ring_rd(0, KVSINK_RING_HEAD) == head,
	       "a job whose end is lost keeps its ring");
	kvsink_mmio_write(h.chip, KVSINK_REG_CONTROL, KVSINK_CONTROL_RESET_MASK);
	h_start(&h);
	tap_ok(!h_do(&h) && h.cpl.begin_ns >= before + 5000, "until a reset; its work was done");
}

static void injected_errors(void)
{
	fresh();
	kvsink_inject(h.chip, KVSINK_INJECT_DMA_ERROR, 1);
	tap_ok(h_append(&h, &s, 0, 10, 1) == KVSINK_CODE_DMA_ERROR,
	       "an injected DMA error fails one transfer");
	tap_ok(!h_append(&h, &s, 0, 10, 1), "and no other; the failed APPEND left nothing behind");
	kvsink_inject(h.chip, KVSINK_INJECT_DMA_ERROR, 1);
	h_score_cmd(&h, &s, 0, 0, 4);
	tap_ok(h_do(&h) == KVSINK_CODE_DMA_ERROR, "a SCORE whose queries cannot be read fails");
	h_score_cmd(&h, &s, 0, 0, 4);
	tap_ok(!h_do(&h), "and can be repeated");
}

static void reset_drops(enum kvsink_reset_kind kind, const char *name)
{
	struct kvsink_item_work *work;
	float before = 42, after = 0;
	uint64_t queries;

	fresh();
	h_put(&h, H_OUT, &before, sizeof(before));
	queries = h_counter(&h, KVSINK_COUNTER_QUERIES);
	work = start_item(0);
	kvsink_exec(work, 0, 1);
	kvsink_reset(h.chip, kind);
	h_start(&h);
	if (kind == KVSINK_RESET_COLD)
		queries = 0;
	h_submit(&h, 0);
	tap_ok(!kvsink_run(h.chip, 0) && ring_rd(0, KVSINK_RING_HEAD) == 0,
	       "%s: the ring rests until the host gives its item back", name);
	kvsink_retire(h.chip, work);
	h_get(&h, H_OUT, &after, sizeof(after));
	tap_ok(after == 42, "%s: the item's outputs are dropped", name);
	tap_ok(h_counter(&h, KVSINK_COUNTER_QUERIES) == queries, "%s: and not counted", name);
	h_run(&h);
	tap_ok(ring_rd(0, KVSINK_RING_HEAD) == 1, "%s: then the ring works again", name);
}

/* A SCORE that a reset took must leave no score and no query behind. */
static void reset_drops_scores(void)
{
	struct kvsink_item_work *work;
	uint64_t sum[4];

	fresh();
	h_config(&h, 1, KVSINK_PARAM_LOCAL_WINDOW, 0);
	h_score_cmd(&h, &s, 0, 0, 10);
	h_submit(&h, 0);
	work = kvsink_run(h.chip, 0);
	kvsink_exec(work, 0, 1);
	kvsink_reset(h.chip, KVSINK_RESET_ENGINE);
	h_start(&h);
	kvsink_retire(h.chip, work);
	memcpy(sum, h.hbm + s.scores, sizeof(sum));
	tap_ok(!sum[0] && !sum[3], "a dropped SCORE adds nothing");
	h_score_cmd(&h, &s, 0, 0, 10);
	tap_ok(!h_do(&h), "and its queries can be scored again");
	memcpy(sum, h.hbm + s.scores, sizeof(sum));
	tap_ok(sum[0] >> 32 >= 4 && sum[0] >> 32 < 40, "with the sums of one pass");
}

static void copied_once(void)
{
	uint32_t index, at = 0x80000;

	fresh();
	/* commands of the next slot change behind the chip's back while the job is in flight */
	h_attend_cmd(&h, &s, 0, 9, 1);
	h_cmd(&h, KVSINK_OP_ADVANCE)->advance.ns = 5;
	index = h_submit(&h, 0);
	at += index % h.config.ring_slots * 0x4100;
	struct kvsink_item_work *work = kvsink_run(h.chip, 0);

	memset(h.host + at, 0xff, 2 * sizeof(struct kvsink_cmd));
	finish(work);
	h_run(&h);
	tap_ok(!h_completion(&h, 0, index).code, "commands are read once");
}

int main(void)
{
	fresh();
	wraps();
	head_wraps();
	fetch_faults();
	stalls();
	hangs();
	lost();
	injected_errors();
	reset_drops(KVSINK_RESET_ENGINE, "engine reset");
	reset_drops(KVSINK_RESET_COLD, "cold reset");
	reset_drops_scores();
	copied_once();
	ring_wr(0, KVSINK_RING_DOORBELL, 0);
	h_close(&h);
	return tap_done();
}
