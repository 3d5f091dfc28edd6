// SPDX-License-Identifier: MIT
/*
 * What the log of events keeps when somebody fills it: broken promises are told of in any case, and who
 * misses something else learns that it does.
 */
#include "harness.h"
#include "tap.h"

#define OTHER (H_TENANT + 1)
#define MANY 1100u /* streams: more than the log has slots */

static struct harness h;
static struct h_stream s, other;
static struct kvsink_list_head head;
static struct kvsink_event_rec rec[3 * KVSINK_EVENT_SLOTS];

/* Events of the tenant from a number on. */
static uint32_t list(uint32_t tenant, uint32_t first)
{
	h.tenant = tenant;
	h_query_cmd(&h, KVSINK_QUERY_EVENTS, 0, first, 3 * KVSINK_EVENT_SLOTS);
	if (h_do(&h))
		printf("Bail out! QUERY EVENTS: %s\n", kvsink_code_name(h.cpl.code));
	h.tenant = H_TENANT;
	h_get(&h, H_ANSWER, &head, sizeof(head));
	h_get(&h, H_ANSWER + sizeof(head), rec, head.written * sizeof(rec[0]));
	return head.written;
}

static uint32_t count(uint32_t n, uint32_t code)
{
	uint32_t found = 0;

	for (uint32_t i = 0; i < n; i++)
		found += rec[i].code == code;
	return found;
}

/* Two events each time: GRANTED and EVICTED. */
static void flood(struct h_stream *of, uint32_t times)
{
	h.tenant = of->tenant;
	for (uint32_t i = 0; i < times; i++) {
		h_promote(&h, of, 3, 0, 1, 1);
		h_evict(&h, of, 3);
	}
	h.tenant = H_TENANT;
}

static uint64_t lost_of(const struct h_stream *of)
{
	uint64_t value;

	h_query_cmd(&h, KVSINK_QUERY_COUNTERS, of->id, KVSINK_COUNTER_EVENTS_LOST, 1);
	h_priv(&h);
	h_get(&h, H_ANSWER + sizeof(head), &value, sizeof(value));
	return value;
}

static void two_streams(void)
{
	h_open(&h, NULL);
	s = h_geometry(1);
	other = h_geometry(2);
	other.tenant = OTHER;
	h_stream(&h, &s);
	h_stream(&h, &other);
	h_fill(&h, &s, 0, 10);
	h_fill(&h, &other, 0, 10);
}

/* A contract of tenant 100 breaks; tenant 101 is busy. */
static void promises_stay(void)
{
	uint32_t n, before, after;

	two_streams();
	h_promote_cmd(&h, &s, 0, 0, 2, 3)->promote.dwell_steps = 50;
	h_do(&h);
	h_barrier(&h, &s);
	h_queries(&h, 1, 64);
	list(H_TENANT, 0);
	before = head.next;
	kvsink_inject(h.chip, KVSINK_INJECT_ECC, 1);
	h_attend_cmd(&h, &s, 0, 9, 1);
	h_do(&h);
	h_promote(&h, &s, 5, 0, 1, 1);
	h_barrier(&h, &s);
	list(H_TENANT, before);
	after = head.next;
	flood(&other, 3 * KVSINK_EVENT_SLOTS);
	n = list(H_TENANT, before);
	tap_ok(count(n, KVSINK_EVENT_CONTRACT_BROKEN) == 1 && count(n, KVSINK_EVENT_ECC_ERROR) == 1,
	       "no flood of events takes one that tells of a broken promise");
	tap_ok(n == 3 && rec[0].code == KVSINK_EVENT_LOST && rec[0].tenant == H_TENANT && rec[0].detail,
	       "who asked for others is told that they are gone");
	tap_ok(rec[1].code == KVSINK_EVENT_ECC_ERROR && rec[2].code == KVSINK_EVENT_CONTRACT_BROKEN,
	       "what is left comes in its order");
	tap_ok(lost_of(&s) > 0 && lost_of(&other) > 4 * KVSINK_EVENT_SLOTS &&
		       h_counter(&h, KVSINK_COUNTER_EVENTS_LOST) == lost_of(&s) + lost_of(&other),
	       "EVENTS_LOST counts them, of the device and of each stream");
	n = list(H_TENANT, after);
	tap_ok(count(n, KVSINK_EVENT_LOST) == 0, "a reader who had read them has lost nothing");
	h_promote(&h, &s, 7, 0, 1, 1);
	n = list(H_TENANT, after);
	tap_ok(n == 1 && rec[0].code == KVSINK_EVENT_GRANTED && rec[0].token == 7,
	       "and goes on where it was");
	n = list(OTHER, head.next - 4);
	tap_ok(count(n, KVSINK_EVENT_LOST) == 0, "nor has one who asks only for what is there");
	h_close(&h);
}

/* Merged by number, whichever ring they lie in. */
static void one_order(void)
{
	uint32_t n, first;
	bool rising = true;

	two_streams();
	list(H_TENANT, 0);
	first = head.next;
	h_promote(&h, &s, 3, 0, 2, 3);
	kvsink_reset(h.chip, KVSINK_RESET_ENGINE);
	h_start(&h);
	h_promote(&h, &s, 4, 0, 2, 3);
	kvsink_reset(h.chip, KVSINK_RESET_ENGINE);
	h_start(&h);
	h_promote(&h, &s, 5, 0, 2, 3);
	n = list(H_TENANT, first);
	for (uint32_t i = 0; i < n; i++)
		rising &= rec[i].code == (i % 2 ? KVSINK_EVENT_ENGINE_RESET : KVSINK_EVENT_GRANTED);
	tap_ok(n == 5 && rising, "both rings are listed as one");
	h_query_cmd(&h, KVSINK_QUERY_EVENTS, 0, first, 3);
	h_do(&h);
	h_get(&h, H_ANSWER, &head, sizeof(head));
	tap_ok(head.total == 5 && head.written == 3 && list(H_TENANT, head.next) == 2 &&
		       rec[0].code == KVSINK_EVENT_ENGINE_RESET,
	       "and page by page");
	h_close(&h);
}

static void tune_many(struct kvsink_chip_config *config)
{
	config->streams = MANY;
	config->tags = 2048;
	config->sram_bytes = 1 << 20;
	config->hbm_bytes = 64 << 20;
}

/* Every stream of the chip has a contract when the engine is reset. */
static void all_streams(void)
{
	uint32_t n, first;

	h_open(&h, tune_many);
	for (uint32_t i = 0; i < MANY; i++) {
		s = h_geometry(i + 1);
		s.max_tokens = 4;
		h_stream(&h, &s);
		h_fill(&h, &s, 0, 4);
		h_promote_cmd(&h, &s, 0, 0, 1, 1)->promote.dwell_steps = 50;
		h_do(&h);
	}
	list(H_TENANT, 0);
	first = head.next;
	kvsink_reset(h.chip, KVSINK_RESET_ENGINE);
	h_start(&h);
	n = list(H_TENANT, first);
	tap_ok(count(n, KVSINK_EVENT_CONTRACT_BROKEN) == MANY && count(n, KVSINK_EVENT_LOST) == 0,
	       "a reset that breaks a contract of each of %u streams tells of every one", MANY);
	flood(&s, KVSINK_EVENT_SLOTS);
	n = list(H_TENANT, first);
	tap_ok(count(n, KVSINK_EVENT_CONTRACT_BROKEN) == MANY, "and still does later");
	h_close(&h);
}

int main(void)
{
	promises_stay();
	one_order();
	all_streams();
	return tap_done();
}
