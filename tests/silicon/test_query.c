// SPDX-License-Identifier: MIT
/*
 * QUERY: records, paging by first and max, what other tenants see, the event log.
 */
#include "harness.h"
#include "tap.h"

static struct harness h;
static struct h_stream s, other;
static struct kvsink_list_head head;

static uint32_t ask(uint32_t what, uint64_t stream, uint32_t first, uint32_t max, void *rec, size_t bytes)
{
	uint32_t code;

	h_query_cmd(&h, what, stream, first, max);
	code = h_do(&h);
	h_get(&h, H_ANSWER, &head, sizeof(head));
	h_get(&h, H_ANSWER + sizeof(head), rec, bytes);
	return code;
}

static void streams(void)
{
	struct kvsink_stream_rec rec[4];

	tap_ok(!ask(KVSINK_QUERY_STREAMS, 0, 0, 4, rec, sizeof(rec)) && head.written == 1 &&
		       rec[0].stream == 1,
	       "a tenant sees its own streams");
	tap_ok(rec[0].length == 20 && rec[0].layers == 2 && rec[0].q_heads == 4 && rec[0].kv_heads == 2 &&
		       rec[0].d_k == 16 && rec[0].page_tokens == 4 && rec[0].max_tokens == 128 &&
		       rec[0].reserved_tokens == 128 && rec[0].tenant == H_TENANT &&
		       rec[0].group_end[1] == 2 && rec[0].score_groups == 2,
	       "with their geometry and length");
	tap_ok(rec[0].entries == 3 && rec[0].sram_bytes == 1280, "and what they hold of the SRAM");
	h.flags = KVSINK_JOB_PRIVILEGED;
	ask(KVSINK_QUERY_STREAMS, 0, 0, 4, rec, sizeof(rec));
	tap_ok(head.total == 2 && head.written == 2 && head.record_bytes == sizeof(rec[0]),
	       "a privileged job sees all");
	ask(KVSINK_QUERY_STREAMS, 0, 1, 1, rec, sizeof(rec));
	tap_ok(head.total == 2 && head.written == 1 && rec[0].stream == 2,
	       "first and max choose a part of the list");
	h.flags = 0;
	tap_ok(ask(KVSINK_QUERY_STREAMS, 2, 0, 4, rec, sizeof(rec)) == KVSINK_CODE_TENANT,
	       "another tenant's stream is refused");
}

static void tags(void)
{
	struct kvsink_tag_rec rec[8];

	ask(KVSINK_QUERY_TAGS, 1, 0, 8, rec, sizeof(rec));
	tap_ok(head.written == 3 && rec[0].token == 2 && rec[1].token == 5 && rec[2].token == 9,
	       "tags come by token");
	tap_ok(rec[0].layer_begin == 0 && rec[0].layer_end == 2 && rec[0].head_mask == 3 &&
		       rec[0].row_bytes == 128 && rec[0].sram_bytes == 512 &&
		       rec[0].flags == KVSINK_TAG_VALID,
	       "with range, mask, size and state");
	tap_ok(rec[1].flags == 0, "a copy under way is not valid");
	tap_ok(rec[2].sram_offset == 0, "a tenant is not told where in SRAM");
	h.flags = KVSINK_JOB_PRIVILEGED;
	ask(KVSINK_QUERY_TAGS, 0, 0, 8, rec, sizeof(rec));
	tap_ok(head.written == 4 && rec[3].stream == 2 && rec[0].sram_offset == 512, "the driver is");
	h.flags = 0;
}

static void counters(void)
{
	uint64_t value[KVSINK_COUNTER_COUNT], before;

	tap_ok(ask(KVSINK_QUERY_COUNTERS, 0, 0, 64, value, sizeof(value)) == KVSINK_CODE_TENANT,
	       "the device's counters need privilege");
	tap_ok(!ask(KVSINK_QUERY_COUNTERS, 1, 0, 64, value, sizeof(value)) &&
		       head.written == KVSINK_COUNTER_COUNT,
	       "a stream's counters do not");
	tap_ok(value[KVSINK_COUNTER_STEPS] == 20 && value[KVSINK_COUNTER_PROMOTIONS] == 3 &&
		       value[KVSINK_COUNTER_KV_HBM_WRITE] == 20 * 2 * 2 * 128,
	       "and count that stream only");
	before = h_counter(&h, KVSINK_COUNTER_STEPS);
	h.flags = KVSINK_JOB_PRIVILEGED;
	ask(KVSINK_QUERY_COUNTERS, 0, 0, 64, value, sizeof(value));
	h.flags = 0;
	tap_ok(value[KVSINK_COUNTER_STEPS] == before && before == 24,
	       "the device's are those of the registers");
	ask(KVSINK_QUERY_COUNTERS, 1, KVSINK_COUNTER_STEPS, 1, value, sizeof(value[0]));
	tap_ok(head.written == 1 && value[0] == 20, "one counter can be asked for");
}

static void events(void)
{
	static struct kvsink_event_rec rec[1200];
	uint32_t next;

	h.flags = KVSINK_JOB_PRIVILEGED;
	ask(KVSINK_QUERY_EVENTS, 0, 0, 1200, rec, sizeof(rec));
	tap_ok(rec[0].code == KVSINK_EVENT_STREAM_CREATED && rec[0].stream == 1,
	       "the first event is the first stream");
	next = head.next;
	h.flags = 0;
	ask(KVSINK_QUERY_EVENTS, 0, 0, 1200, rec, sizeof(rec));
	bool own = head.written > 0;
	for (uint32_t i = 0; i < head.written; i++)
		own = own && rec[i].tenant == H_TENANT;
	tap_ok(own, "a tenant sees its own events");
	h_evict(&h, &s, 2);
	ask(KVSINK_QUERY_EVENTS, 0, next, 10, rec, sizeof(rec[0]) * 10);
	bool evicted = false;
	for (uint32_t i = 0; i < head.written; i++)
		evicted = evicted ||
			  (rec[i].code == KVSINK_EVENT_EVICTED && rec[i].token == 2 && rec[i].detail == 512);
	tap_ok(evicted, "from a number on, what happened since");
	ask(KVSINK_QUERY_EVENTS, 0, next, 0, rec, sizeof(rec[0]));
	tap_ok(head.total > 0 && head.written == 0 && head.next - next < 10,
	       "without room, next stays at what is left");
	next = head.next;
	for (unsigned i = 0; i < 600; i++) {
		h_promote(&h, &s, 11, 0, 1, 1);
		h_evict(&h, &s, 11);
	}
	ask(KVSINK_QUERY_EVENTS, 0, 0, 1200, rec, sizeof(rec));
	tap_ok(head.written == 1 + KVSINK_EVENT_SLOTS && rec[0].code == KVSINK_EVENT_LOST &&
		       head.next - next >= 1200,
	       "the log keeps the last %u and says that there were more", KVSINK_EVENT_SLOTS);
	tap_ok(rec[KVSINK_EVENT_SLOTS].code == KVSINK_EVENT_EVICTED &&
		       rec[KVSINK_EVENT_SLOTS - 1].code == KVSINK_EVENT_GRANTED,
	       "oldest first");
	kvsink_reset(h.chip, KVSINK_RESET_ENGINE);
	h_start(&h);
	h.tenant = 4711;
	ask(KVSINK_QUERY_EVENTS, 0, 0, 1200, rec, sizeof(rec));
	tap_ok(head.written == 1 && rec[0].code == KVSINK_EVENT_ENGINE_RESET &&
		       rec[0].detail == kvsink_mmio_read(h.chip, KVSINK_REG_GENERATION),
	       "a reset is told to every tenant");
	h.tenant = H_TENANT;
}

static void refusals(void)
{
	uint64_t rec[8];

	tap_ok(ask(0, 1, 0, 1, rec, 8) == KVSINK_CODE_BAD_FIELD &&
		       ask(11, 1, 0, 1, rec, 8) == KVSINK_CODE_BAD_FIELD,
	       "what is not there cannot be asked for");
	tap_ok(ask(KVSINK_QUERY_SCORES, 0, 0, 1, rec, 8) == KVSINK_CODE_BAD_STREAM,
	       "scores belong to a stream");
	h_query_cmd(&h, KVSINK_QUERY_SCORES, 1, 0, 1)->query.group = 2;
	tap_ok(h_do(&h) == KVSINK_CODE_BAD_FIELD, "and to a group that it has");
	h_query_cmd(&h, KVSINK_QUERY_TAGS, 1, 0, 1)->query.group = 1;
	tap_ok(h_do(&h) == KVSINK_CODE_BAD_FIELD, "tags have no group");
	h_query_cmd(&h, KVSINK_QUERY_TAGS, 1, 0, 2)->query.dst.offset = H_GART_PAGES * 4096ull - 100;
	tap_ok(h_do(&h) == KVSINK_CODE_BAD_RANGE, "room for all records asked for must be there");
	tap_ok(!ask(KVSINK_QUERY_SCORES, 1, 0, 8, rec, 8) && head.total == 20 && !rec[0],
	       "without SCORE all scores are zero");
}

/* Tokens 2 (valid), 5 and 9 (copies under way) of stream 1; one entry of another tenant's stream 2. */
static void set_up(void)
{
	h_open(&h, NULL);
	s = h_geometry(1);
	other = h_geometry(2);
	other.tenant = 7;
	h_stream(&h, &s);
	h_stream(&h, &other);
	h_fill(&h, &s, 0, 20);
	h_fill(&h, &other, 0, 4);
	h.tenant = 7;
	h_promote(&h, &other, 0, 0, 2, 3);
	h.tenant = H_TENANT;
	h_promote(&h, &s, 2, 0, 2, 3);
	h_barrier(&h, &s);
	h_promote(&h, &s, 9, 0, 1, 3);
	h_promote(&h, &s, 5, 0, 2, 3);
}

int main(void)
{
	set_up();
	tags();
	streams();
	counters();
	events();
	refusals();
	h_close(&h);
	return tap_done();
}
