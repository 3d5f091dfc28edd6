// SPDX-License-Identifier: MIT
/*
 * Time: copies with deadlines, what they cost commands (exposed) and what they do not (hidden), the
 * timeline. Figures are chosen so that they can be computed by hand: HBM moves 4 bytes a ns, the migration
 * engine takes 1 of them, a command costs nothing by itself. A token's copy (two layers, two heads, 512
 * bytes of bursts) takes 150 + 512 ns; one query of one layer at token 19 reads 5,120 bytes: 150 + 1,280 ns.
 */
#include "chip.h"
#include "harness.h"
#include "tap.h"

#define COPY 662u
#define ATTEND 1430u

static struct harness h;
static struct h_stream s;

static void by_hand(struct kvsink_chip_config *config)
{
	config->hbm_gbps = 4;
	config->dma_gbps = 1;
	config->job_overhead_ns = 0;
	config->tag_latency_ns = 0;
}

static void fresh(void (*tune)(struct kvsink_chip_config *))
{
	if (h.chip)
		h_close(&h);
	h_open(&h, tune);
	s = h_geometry(1);
	h_stream(&h, &s);
	h_fill(&h, &s, 0, 20);
	h_queries(&h, 5, s.q_heads * s.d_k);
}

static uint64_t modelled(unsigned counter)
{
	return h_counter(&h, counter);
}

static uint64_t exposed(void)
{
	return modelled(KVSINK_COUNTER_EXPOSED_DMA_NS);
}

static uint64_t hidden(void)
{
	return modelled(KVSINK_COUNTER_HIDDEN_DMA_NS);
}

static uint32_t pending(void)
{
	return kvsink_mmio_read(h.chip, KVSINK_REG_COPIES_PENDING);
}

/* PROMOTE of a token that is due some ns from now. Returns the code. */
static uint32_t promote(uint32_t token, uint64_t due_ns)
{
	h_promote_cmd(&h, &s, token, 0, 2, 3)->promote.due_ns = due_ns;
	return h_do(&h);
}

/* Modelled ns that a job takes. */
static uint64_t took(uint32_t code)
{
	return code ? UINT64_MAX : h.cpl.end_ns - h.cpl.begin_ns;
}

static uint64_t attend(void)
{
	h_attend_cmd(&h, &s, 0, 19, 1);
	return took(h_do(&h));
}

static uint64_t advance(uint64_t ns)
{
	h_cmd(&h, KVSINK_OP_ADVANCE)->advance.ns = ns;
	return took(h_do(&h));
}

static uint64_t barrier(void)
{
	return took(h_barrier(&h, &s));
}

static void deferred_hides(void)
{
	fresh(by_hand);
	tap_ok(attend() == ATTEND, "without copies a query takes latency and transfer");
	tap_ok(!promote(1, 1000000) && pending() == 1, "a copy with a far deadline is queued");
	tap_ok(attend() == ATTEND && pending() == 1, "while a command reads HBM it neither runs nor delays");
	advance(COPY - 1);
	tap_ok(pending() == 1, "behind compute it runs");
	advance(1);
	tap_ok(!pending(), "and ends when its time is over");
	tap_ok(barrier() == 0 && exposed() == 0 && hidden() == COPY, "all of it hidden, nothing exposed");
}

static void urgent_is_exposed(void)
{
	fresh(by_hand);
	promote(1, 0);
	tap_ok(barrier() == COPY && exposed() == COPY && hidden() == 0,
	       "an urgent copy that BARRIER waits for is exposed in full");
	promote(2, 0);
	promote(3, 0);
	advance(500);
	tap_ok(barrier() == 2 * COPY - 500 && exposed() == 3 * COPY - 500 && hidden() == 500,
	       "compute before it hides its part");
	promote(4, 1000000);
	tap_ok(barrier() == COPY && exposed() == 4 * COPY - 500, "BARRIER waits for deferred copies as well");
}

static void competition(void)
{
	uint64_t ns;

	fresh(by_hand);
	for (uint32_t t = 0; t < 3; t++)
		promote(t, 0);
	ns = attend();
	/* 3 of 4 bytes a ns are left; the copies outlast it */
	tap_ok(ns == 150 + 5120 / 3, "beside copies a query gets HBM without the engine's share: %llu ns",
	       (unsigned long long)ns);
	tap_ok(exposed() == 5120 / 3 - 1280, "the difference is exposed: %llu ns",
	       (unsigned long long)exposed());
	advance(10000);
	tap_ok(hidden() + exposed() == 3 * COPY || hidden() + exposed() == 3 * COPY - 1,
	       "the rest of their time is hidden");

	fresh(by_hand);
	promote(1, 0);
	/* 512 of its ns compete: 1,536 bytes at 3, the other 3,584 at 4 bytes a ns */
	tap_ok(attend() == 150 + 512 + 896 && exposed() == 128,
	       "a copy that ends earlier costs for that long");
	tap_ok(!pending() && hidden() == COPY - 128, "and ends in time that the query needed anyway");
}

/* The copy must begin at 338 ns, in the middle of the query. */
static void must_start(void)
{
	struct kvsink_tag_rec rec;

	fresh(by_hand);
	promote(1, 1000);
	tap_ok(attend() == 1595 && exposed() == 165, "a deferred copy competes from when it must begin on");
	tap_ok(h_entry(&h, &s, 1, &rec) && rec.flags & KVSINK_TAG_VALID && !modelled(KVSINK_COUNTER_DMA_LATE),
	       "and is in time");
	fresh(by_hand);
	promote(1, 3000);
	promote(2, 3000);
	promote(3, 2500);
	advance(100);
	/* the first must go on at 3000 - 3 * 662 + 100 = 1,114 ns: 864 of the query's compete with nothing */
	tap_ok(attend() == 150 + 864 + (5120 - 864 * 4) / 3,
	       "copies behind the first count for its latest start");
	advance(10000);
	tap_ok(!modelled(KVSINK_COUNTER_DMA_LATE), "so that all are in time");
}

static bool find_event(uint32_t code, unsigned skip, struct kvsink_event_rec *rec)
{
	struct kvsink_list_head head;

	h_query_cmd(&h, KVSINK_QUERY_EVENTS, 0, 0, 1000);
	if (h_do(&h))
		return false;
	h_get(&h, H_ANSWER, &head, sizeof(head));
	for (uint32_t i = 0; i < head.written; i++) {
		h_get(&h, H_ANSWER + sizeof(head) + i * sizeof(*rec), rec, sizeof(*rec));
		if (rec->code == code && !skip--)
			return true;
	}
	return false;
}

static void late(void)
{
	struct kvsink_event_rec rec;

	fresh(by_hand);
	promote(1, 700);
	promote(2, 700);
	advance(10000);
	tap_ok(modelled(KVSINK_COUNTER_DMA_LATE) == 1, "two copies due at once: the second is late");
	tap_ok(find_event(KVSINK_EVENT_COPY_LATE, 0, &rec) && rec.token == 2 &&
		       rec.detail == 2 * COPY - 700 && rec.layer_end == 2,
	       "which is an event with the ns");
	tap_ok(!find_event(KVSINK_EVENT_COPY_LATE, 1, &rec), "the first is not");
	tap_ok(!promote(3, COPY) && advance(COPY) == COPY && modelled(KVSINK_COUNTER_DMA_LATE) == 1,
	       "one that ends when it is due is in time");
	promote(4, COPY - 1);
	advance(COPY);
	tap_ok(modelled(KVSINK_COUNTER_DMA_LATE) == 2, "a ns later is late");
	promote(5, UINT64_MAX);
	promote(6, UINT64_MAX / 1000);
	advance(10000);
	tap_ok(!pending() && modelled(KVSINK_COUNTER_DMA_LATE) == 2, "no deadline is too far");
}

/* Tokens in the order in which their copies end. */
static void order(void)
{
	static const uint32_t want[] = {11, 12, 13, 4, 3, 1, 2};
	struct kvsink_event_rec rec;
	bool ok = true;

	fresh(by_hand);
	promote(1, 50000);
	promote(2, 50000);
	promote(3, 40000);
	promote(11, 0);
	promote(12, 0);
	promote(4, 30000);
	advance(100);
	promote(13, 0);
	advance(7 * COPY);
	for (unsigned i = 0; i < 7; i++)
		ok = ok && find_event(KVSINK_EVENT_VALID, i, &rec) && rec.token == want[i];
	tap_ok(ok, "urgent copies run by grant, then deferred ones by deadline, then by grant");

	fresh(by_hand);
	promote(1, 50000);
	advance(600);
	promote(2, 0);
	advance(COPY);
	tap_ok(find_event(KVSINK_EVENT_VALID, 0, &rec) && rec.token == 2 && pending() == 1,
	       "an urgent copy interrupts a deferred one");
	advance(COPY - 600);
	tap_ok(!pending(), "which has lost nothing by that");
}

static void evicted(void)
{
	fresh(by_hand);
	promote(1, 0);
	promote(2, 0);
	promote(3, 0);
	h_evict(&h, &s, 1);
	h_evict(&h, &s, 2);
	tap_ok(pending() == 1 && barrier() == COPY, "copies of evicted entries take no time");
	h_evict(&h, &s, 3);
	promote(4, 500 + 2 * COPY);
	promote(5, 500 + 2 * COPY);
	promote(6, 500 + 2 * COPY);
	h_evict(&h, &s, 5);
	/* the other two begin at 500 ns and outlast the query */
	tap_ok(attend() == 500 + (5120 - 350 * 4) / 3, "nor do they make others begin earlier");
	advance(2 * COPY);
	tap_ok(!modelled(KVSINK_COUNTER_DMA_LATE) && !pending(), "or later");
	for (uint32_t i = 0; i < 200; i++) {
		promote(7, i % 3 ? 0 : 1000 + i);
		h_evict(&h, &s, 7);
	}
	promote(8, 0);
	tap_ok(barrier() == COPY, "nor fill the queue");
}

/* Whatever happens, the engine's time is either hidden or exposed. */
static void conservation(void)
{
	uint64_t seed = 11, copies = 0, sum;
	uint32_t token = 0;

	fresh(by_hand);
	for (unsigned i = 0; i < 400; i++) {
		switch (h_random(&seed) % 5) {
		case 0:
		case 1:
			if (!promote(token % 20, h_random(&seed) % 2 ? h_random(&seed) % 4000 : 0))
				copies++;
			token++;
			break;
		case 2:
			attend();
			break;
		case 3:
			advance(h_random(&seed) % 900);
			break;
		default:
			barrier();
			h_evict(&h, &s, KVSINK_TOKEN_ALL);
		}
	}
	barrier();
	sum = hidden() + exposed();
	tap_ok(copies > 50 && hidden() > 1000 && exposed() > 1000,
	       "%u copies, %llu ns hidden, %llu ns exposed", (unsigned)copies, (unsigned long long)hidden(),
	       (unsigned long long)exposed());
	tap_ok(sum == copies * COPY || sum + 1 == copies * COPY,
	       "hidden and exposed time are all of the copies'");
	tap_ok(modelled(KVSINK_COUNTER_PROMOTIONS_VALID) == copies &&
		       modelled(KVSINK_COUNTER_DMA_BUS) == copies * 512 &&
		       modelled(KVSINK_COUNTER_DMA_COPY) == copies * 512,
	       "and bursts and bytes are counted");
}

static uint64_t of_stream(const struct h_stream *stream, unsigned counter)
{
	uint64_t value;

	h_query_cmd(&h, KVSINK_QUERY_COUNTERS, stream->id, counter, 1);
	h_do(&h);
	h_get(&h, H_ANSWER + sizeof(struct kvsink_list_head), &value, sizeof(value));
	return value;
}

static void streams_share(void)
{
	struct h_stream other = h_geometry(2);
	uint64_t before[2], all;
	struct kvsink_cmd *cmd;

	fresh(by_hand);
	h_stream(&h, &other);
	h_fill(&h, &other, 0, 20);
	h_promote(&h, &other, 1, 0, 2, 3);
	attend();
	tap_ok(of_stream(&s, KVSINK_COUNTER_EXPOSED_DMA_NS) == 128 &&
		       of_stream(&other, KVSINK_COUNTER_EXPOSED_DMA_NS) == 0,
	       "exposed time goes to the stream whose command was slowed down");
	tap_ok(of_stream(&other, KVSINK_COUNTER_HIDDEN_DMA_NS) == COPY - 128 &&
		       of_stream(&s, KVSINK_COUNTER_HIDDEN_DMA_NS) == 0,
	       "hidden time to the stream whose copy it was");
	before[0] = of_stream(&s, KVSINK_COUNTER_MODELLED_NS);
	before[1] = of_stream(&other, KVSINK_COUNTER_MODELLED_NS);
	all = modelled(KVSINK_COUNTER_MODELLED_NS);
	cmd = h_attend_cmd(&h, &s, 0, 19, 1);
	h_item(&h, &(union kvsink_item){.attend = {.stream = 2, .layer = 0, .first = 19, .count = 1}});
	cmd->attend.item_count = 2;
	h_do(&h);
	all = modelled(KVSINK_COUNTER_MODELLED_NS) - all;
	tap_ok(of_stream(&s, KVSINK_COUNTER_MODELLED_NS) - before[0] == all &&
		       of_stream(&other, KVSINK_COUNTER_MODELLED_NS) - before[1] == all && all > ATTEND,
	       "a batch of two streams takes its time from both, the device counts it once");
}

static void slow_tags(struct kvsink_chip_config *config)
{
	by_hand(config);
	config->tag_latency_ns = 7;
}

static void latencies(void)
{
	struct kvsink_cmd *cmd;

	fresh(by_hand);
	promote(1, 0);
	promote(2, 10000);
	advance(10000);
	tap_ok(modelled(KVSINK_COUNTER_PROMOTE_LATENCY_NS) == COPY + 2 * COPY,
	       "promotion latency is the time from grant to valid");
	tap_ok(attend() == ATTEND - 2 * 2 * 128 / 4, "rows in SRAM are read beside HBM");
	fresh(slow_tags);
	tap_ok(attend() == ATTEND + 7 && modelled(KVSINK_COUNTER_ROUTING_NS) == 7,
	       "ATTEND looks into the tag array once an item");
	cmd = h_attend_cmd(&h, &s, 0, 19, 1);
	h_item(&h, &(union kvsink_item){.attend = {.stream = 1, .layer = 1, .first = 19, .count = 1}});
	cmd->attend.item_count = 2;
	tap_ok(took(h_do(&h)) == 21 - 7 + 150 + 2 * 1280 && modelled(KVSINK_COUNTER_ROUTING_NS) == 21,
	       "two items look twice");
	h_score_cmd(&h, &s, 0, 0, 4);
	h_do(&h);
	tap_ok(modelled(KVSINK_COUNTER_ROUTING_NS) == 21, "prefill does not look");
}

/* ---- the timeline ---- */

static struct kvsink_span_rec spans[KVSINK_SPAN_SLOTS];

static struct kvsink_list_head ask_spans(uint64_t stream, uint32_t first, uint32_t max)
{
	struct kvsink_list_head head = {0};

	h_query_cmd(&h, KVSINK_QUERY_SPANS, stream, first, max);
	if (h_do(&h))
		return head;
	h_get(&h, H_ANSWER, &head, sizeof(head));
	h_get(&h, H_ANSWER + sizeof(head), spans, head.written * sizeof(spans[0]));
	return head;
}

/* Some of everything that takes time. */
static void workload(void)
{
	fresh(by_hand);
	promote(1, 0);
	promote(2, 3000);
	attend();
	advance(100);
	promote(3, 900);
	promote(4, 10);
	h_attend_cmd(&h, &s, 1, 17, 3);
	h_attend_cmd(&h, &s, 0, 99, 1); /* fails */
	h_do(&h);
	h_append(&h, &s, 0, 20, 1);
	barrier();
}

static void timeline(void)
{
	struct kvsink_list_head head;
	uint32_t first, copies = 0, commands = 0;
	bool ordered = true, apart = true;
	uint64_t last_command = 0;

	fresh(by_hand);
	first = ask_spans(0, 0, 0).next;
	head = ask_spans(0, 0, KVSINK_SPAN_SLOTS);
	/* STREAM_CREATE, PAGE_MAP, two APPENDs, STEP_END, and the QUERY before */
	tap_ok(head.total == 6 && head.written == 6 && head.record_bytes == sizeof(spans[0]),
	       "every command has a span");
	tap_ok(spans[2].what == KVSINK_OP_APPEND && spans[2].stream == 1 && spans[2].ring == 0 &&
		       spans[2].tenant == H_TENANT && spans[2].bytes == 20 * 2 * 128 &&
		       spans[2].end_ns - spans[2].begin_ns == ATTEND,
	       "with opcode, stream, ring, tenant, bytes and times");
	tap_ok(first == 0, "without room, next stays at the first");
	workload();
	head = ask_spans(0, 5, KVSINK_SPAN_SLOTS);
	for (uint32_t i = 0; i < head.written; i++) {
		ordered = ordered && spans[i].begin_ns <= spans[i].end_ns &&
			  (!i || spans[i].end_ns >= spans[i - 1].end_ns);
		if (spans[i].what == KVSINK_SPAN_COPY) {
			copies++;
			continue;
		}
		commands++;
		apart = apart && spans[i].begin_ns >= last_command;
		last_command = spans[i].end_ns;
	}
	tap_ok(copies == 4 && commands == 10, "the workload's %u commands and %u copies are all there",
	       commands, copies);
	tap_ok(ordered, "in the order of their ends");
	tap_ok(apart, "and commands do not overlap");
	for (uint32_t i = 0; i < head.written; i++) {
		if (spans[i].what == KVSINK_SPAN_COPY && spans[i].token == 4)
			tap_ok(spans[i].code == 1 && spans[i].ring == UINT32_MAX && spans[i].bytes == 512 &&
				       spans[i].stream == 1,
			       "a late copy says so");
		if (spans[i].what == KVSINK_OP_ATTEND && spans[i].code)
			tap_ok(spans[i].code == KVSINK_CODE_SEQUENCE, "a failed command has its code");
	}
}

static void timeline_is_bounded(void)
{
	struct kvsink_list_head head;
	uint32_t total;

	fresh(by_hand);
	total = ask_spans(0, 0, KVSINK_SPAN_SLOTS).next + 1;
	tap_ok(!modelled(KVSINK_COUNTER_SPANS_LOST), "the timeline is not full");
	for (unsigned i = 0; i < 100; i++) {
		for (unsigned j = 0; j < 50; j++)
			h_cmd(&h, KVSINK_OP_ADVANCE)->advance.ns = 1;
		h_do(&h);
	}
	total += 5000;
	head = ask_spans(0, 0, KVSINK_SPAN_SLOTS);
	tap_ok(head.next == total && head.total == KVSINK_SPAN_SLOTS, "it keeps the last %u of %u",
	       KVSINK_SPAN_SLOTS, total);
	tap_ok(modelled(KVSINK_COUNTER_SPANS_LOST) == total + 1 - KVSINK_SPAN_SLOTS,
	       "and counts those it lost");
	tap_ok(of_stream(&s, KVSINK_COUNTER_SPANS_LOST) == 5, "for their streams, too");
	head = ask_spans(0, total - 3, 2);
	tap_ok(head.written == 2 && head.next == total - 1, "next says where to go on");
	h.tenant = 4711;
	tap_ok(ask_spans(0, 0, 10).total == 0, "another tenant sees none of it");
	h.tenant = H_TENANT;
	attend();
	/* the QUERY of its counters and the ATTEND; what this QUERY takes is not over yet */
	tap_ok(ask_spans(1, 0, 10).total == 2 && spans[0].what == KVSINK_OP_QUERY &&
		       spans[1].what == KVSINK_OP_ATTEND,
	       "asked for a stream, only its own are listed");
}

/* As if somebody had let 106 days pass: what the chip does takes its time all the same. */
static void end_of_the_clock(void)
{
	uint64_t before, commands;

	fresh(NULL);
	h.chip->now_ps = UINT64_MAX / 2 - 1;
	h_cmd(&h, KVSINK_OP_ADVANCE)->advance.ns = 1000000000;
	tap_ok(!h_do(&h), "ADVANCE reaches half of the clock");
	before = h.chip->now_ps;
	h_cmd(&h, KVSINK_OP_ADVANCE)->advance.ns = 1;
	tap_ok(h_do(&h) == KVSINK_CODE_BUSY, "behind it ADVANCE is refused");
	tap_ok(h.chip->now_ps - before < 1000000, "and takes no more than any command");
	before = h.chip->now_ps;
	h_attend_cmd(&h, &s, 0, 9, 1);
	tap_ok(!h_do(&h) && h.chip->now_ps > before, "ATTEND still takes modelled time");

	h.chip->now_ps = UINT64_MAX;
	commands = h_counter(&h, KVSINK_COUNTER_COMMANDS);
	h_attend_cmd(&h, &s, 0, 9, 1);
	h_attend_cmd(&h, &s, 0, 9, 1);
	tap_ok(!h_do(&h) && h_counter(&h, KVSINK_COUNTER_COMMANDS) == commands + 2,
	       "when the clock stands still, COMMANDS goes on");
}

static void same_again(void)
{
	static struct kvsink_span_rec before[64];
	struct kvsink_list_head head;
	uint32_t n;

	workload();
	n = ask_spans(0, 0, 64).written;
	memcpy(before, spans, sizeof(before));
	workload();
	head = ask_spans(0, 0, 64);
	tap_ok(n > 10 && head.written == n && !memcmp(before, spans, n * sizeof(spans[0])),
	       "the same commands give the same times");
	kvsink_reset(h.chip, KVSINK_RESET_ENGINE);
	h_start(&h);
	head = ask_spans(0, 0, 64);
	tap_ok(head.written == n + 1 && !pending() && barrier() == 0,
	       "an engine reset keeps the timeline and drops the copies");
	kvsink_reset(h.chip, KVSINK_RESET_COLD);
	h_start(&h);
	tap_ok(ask_spans(0, 0, 64).total == 0, "a cold reset begins a new one");
}

int main(void)
{
	deferred_hides();
	urgent_is_exposed();
	competition();
	must_start();
	late();
	order();
	evicted();
	conservation();
	streams_share();
	latencies();
	timeline();
	timeline_is_bounded();
	same_again();
	end_of_the_clock();
	h_close(&h);
	return tap_done();
}
