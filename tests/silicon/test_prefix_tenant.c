// SPDX-License-Identifier: MIT
/*
 * A stream of one tenant begins with a prefix of another: what its tenant is told, and what the other is. All
 * queries here are without privilege. The same through the driver: tests/kselftest/drv_sharing.
 */
#include "harness.h"
#include "tap.h"

#define PREFIX 100u
#define TOKENS 14 /* of the publisher; pages have four */
#define CUT 10
#define OTHER (H_TENANT + 1)
#define MOST 256

static struct harness h;
static struct h_stream s, p, n; /* publisher, prefix; who begins with it, of the other tenant */
static struct kvsink_list_head head;

/* The answer to a tenant; its records go to `records`. */
static uint32_t ask(uint32_t tenant, uint32_t what, uint64_t stream, void *records)
{
	uint32_t code;

	h.tenant = tenant;
	h_query_cmd(&h, what, stream, 0, MOST);
	code = h_do(&h);
	h.tenant = H_TENANT;
	if (code)
		return code;
	h_get(&h, H_ANSWER, &head, sizeof(head));
	h_get(&h, H_ANSWER + sizeof(head), records, (size_t)head.written * head.record_bytes);
	return code;
}

static void shared(void)
{
	h_open(&h, NULL);
	s = h_geometry(1);
	h_stream(&h, &s);
	h_fill(&h, &s, 0, TOKENS);
	h_publish_prefix(&h, &s, PREFIX, CUT, &p);
	n = h_geometry(2);
	n.tenant = OTHER;
	n.rows = 1;
	h_create(&h, &n);
	h_attach(&h, &n, PREFIX, CUT);
	h_promote(&h, &p, 2, 0, 2, 3);
	h_promote(&h, &s, 12, 0, 2, 3);
	h_barrier(&h, &s);
	h_queries(&h, 1, 64);
	h_attend_cmd(&h, &s, 0, TOKENS - 1, 1);
	h_do(&h);
	h.tenant = OTHER;
	h_attend_cmd(&h, &n, 0, CUT - 1, 1);
	h_do(&h);
	h.tenant = H_TENANT;
}

static void by_id(void)
{
	static uint8_t any[MOST * sizeof(struct kvsink_stream_rec)];
	bool all = true;

	for (uint32_t what = KVSINK_QUERY_STREAMS; what <= KVSINK_QUERY_SPANS; what++)
		all &= ask(OTHER, what, s.id, any) == KVSINK_CODE_TENANT &&
		       ask(OTHER, what, PREFIX, any) == KVSINK_CODE_TENANT;
	tap_ok(all, "no query knows the publisher or the prefix by its id");
	tap_ok(ask(OTHER, KVSINK_QUERY_COUNTERS, 0, any) == KVSINK_CODE_TENANT,
	       "nor the counters of the device");
}

static void records(void)
{
	static struct kvsink_stream_rec rec[MOST];
	static struct kvsink_tag_rec tag[MOST];

	tap_ok(!ask(OTHER, KVSINK_QUERY_STREAMS, 0, rec) && head.total == 1 && rec[0].stream == n.id &&
		       rec[0].prefix == PREFIX && rec[0].shared == CUT && !rec[0].users,
	       "of streams it has its own, which says what it begins with");
	tap_ok(!ask(OTHER, KVSINK_QUERY_TAGS, 0, tag) && !head.total, "of entries none");
	tap_ok(!ask(H_TENANT, KVSINK_QUERY_STREAMS, 0, rec) && head.total == 2 && rec[0].stream != n.id &&
		       rec[1].stream != n.id,
	       "the publisher does not see who begins with its prefix");
	tap_ok(rec[0].users + rec[1].users == 2, "but how many do, itself among them");
}

/* Events and spans of a tenant: does any tell of another's stream, or none of its own? */
static bool own_events(uint32_t tenant, uint64_t own, uint32_t code)
{
	static struct kvsink_event_rec rec[MOST];
	bool found = false, all = !ask(tenant, KVSINK_QUERY_EVENTS, 0, rec);

	for (uint32_t i = 0; i < head.written; i++) {
		all &= rec[i].tenant == tenant;
		found |= rec[i].stream == own && rec[i].code == code;
	}
	return all && found;
}

static bool own_spans(uint32_t tenant, uint64_t own)
{
	static struct kvsink_span_rec rec[MOST];
	bool found = false, all = !ask(tenant, KVSINK_QUERY_SPANS, 0, rec);

	for (uint32_t i = 0; i < head.written; i++) {
		all &= rec[i].tenant == tenant;
		found |= rec[i].stream == own && rec[i].what == KVSINK_OP_ATTEND;
	}
	return all && found;
}

static void logs(void)
{
	tap_ok(own_events(OTHER, n.id, KVSINK_EVENT_PREFIX_ATTACHED),
	       "of events it has that it begins with a prefix, and no other's");
	tap_ok(own_events(H_TENANT, PREFIX, KVSINK_EVENT_PREFIX_PUBLISHED), "as the publisher has its own");
	tap_ok(own_spans(OTHER, n.id) && own_spans(H_TENANT, s.id), "and so it is with the timeline");
}

static void scores(void)
{
	static struct kvsink_score_rec rec[MOST];
	bool all = !ask(OTHER, KVSINK_QUERY_SCORES, n.id, rec) && head.total == CUT;

	for (uint32_t t = 0; t < CUT && all; t++)
		all &= !(rec[t].flags & KVSINK_SCORE_RESIDENT) == (t != 2);
	tap_ok(all, "of the prefix it sees which tokens are in SRAM, and none of the publisher's behind it");
}

int main(void)
{
	shared();
	by_id();
	records();
	logs();
	scores();
	h_close(&h);
	return tap_done();
}
