// SPDX-License-Identifier: MIT
/*
 * What a pair of window_case.h is compared by. Only these may differ: time, the ledger of what was read and
 * written, sink mass of the profile, and what lies in HBM behind the stream's length.
 */
#include "window_case.h"

#define RECORDS 1024
#define EVENTS 256

void window_differ(struct window_pair *p, const char *what, uint32_t at)
{
	if (p->differences++ < 5)
		tap_diag("%s %u differs", what, at);
}

void window_same(struct window_pair *p, const char *what, uint32_t at, uint64_t gart, size_t bytes)
{
	static uint8_t a[512 << 10], b[512 << 10];

	h_get(&p->h[0], gart, a, bytes);
	h_get(&p->h[1], gart, b, bytes);
	if (memcmp(a, b, bytes))
		window_differ(p, what, at);
}

static void same_answers(struct window_pair *p, const char *what, uint32_t query, uint32_t group,
			 size_t record)
{
	struct kvsink_list_head head;

	for (unsigned i = 0; i < 2; i++) {
		h_query_cmd(&p->h[i], query, 1, 0, RECORDS)->query.group = group;
		if (h_priv(&p->h[i]))
			window_differ(p, what, p->h[i].cpl.code);
	}
	h_get(&p->h[0], H_ANSWER, &head, sizeof(head));
	window_same(p, what, group, H_ANSWER, sizeof(head) + head.written * record);
}

static void same_counters(struct window_pair *p)
{
	static const uint8_t compared[] = {
		KVSINK_COUNTER_STEPS,	       KVSINK_COUNTER_PROMOTIONS,
		KVSINK_COUNTER_EVICTIONS,      KVSINK_COUNTER_REFUSALS,
		KVSINK_COUNTER_EMA_UPDATES,    KVSINK_COUNTER_AUTO_PROMOTIONS,
		KVSINK_COUNTER_AUTO_EVICTIONS, KVSINK_COUNTER_DISPLACED,
		KVSINK_COUNTER_CONTRACTS_MADE, KVSINK_COUNTER_CONTRACTS_BROKEN,
		KVSINK_COUNTER_TAIL_WRITE,     KVSINK_COUNTER_SEALED_TOKENS,
		KVSINK_COUNTER_SCORED_QUERIES,
	};
	static uint64_t c[2][KVSINK_COUNTER_COUNT];

	for (unsigned i = 0; i < 2; i++) {
		h_query_cmd(&p->h[i], KVSINK_QUERY_COUNTERS, 1, 0, KVSINK_COUNTER_COUNT);
		h_priv(&p->h[i]);
		h_get(&p->h[i], H_ANSWER + sizeof(struct kvsink_list_head), c[i], sizeof(c[i]));
	}
	for (unsigned i = 0; i < sizeof(compared); i++)
		if (c[0][compared[i]] != c[1][compared[i]])
			window_differ(p, "counter", compared[i]);
}

/* The profile saw the same queries. */
static void same_profile(struct window_pair *p)
{
	static struct kvsink_profile_rec rec[2][64];
	uint32_t n = p->s[0].layers * p->s[0].kv_heads;

	for (unsigned i = 0; i < 2; i++) {
		h_query_cmd(&p->h[i], KVSINK_QUERY_PROFILE, 1, 0, n);
		h_priv(&p->h[i]);
		h_get(&p->h[i], H_ANSWER + sizeof(struct kvsink_list_head), rec[i], n * sizeof(rec[i][0]));
	}
	for (uint32_t r = 0; r < n; r++)
		if (rec[0][r].queries != rec[1][r].queries)
			window_differ(p, "queries of the profile", r);
}

/* ---- events: the same decisions in the same order ---- */

static bool decides(const struct kvsink_event_rec *e)
{
	return e->code == KVSINK_EVENT_GRANTED || e->code == KVSINK_EVENT_EVICTED ||
	       e->code == KVSINK_EVENT_REFUSED || e->code == KVSINK_EVENT_SINK ||
	       e->code == KVSINK_EVENT_SINK_END || e->code == KVSINK_EVENT_CONTRACT_BROKEN;
}

static uint32_t decisions(struct harness *h, struct kvsink_event_rec *out)
{
	struct kvsink_list_head head;
	uint32_t n = 0;

	h_query_cmd(h, KVSINK_QUERY_EVENTS, 1, 0, KVSINK_EVENT_SLOTS);
	h_priv(h);
	h_get(h, H_ANSWER, &head, sizeof(head));
	for (uint32_t i = 0; i < head.written; i++) {
		h_get(h, H_ANSWER + sizeof(head) + i * sizeof(out[n]), &out[n], sizeof(out[n]));
		out[n].modelled_ns = 0;
		n += decides(&out[n]);
	}
	return n;
}

static void same_events(struct window_pair *p)
{
	static struct kvsink_event_rec rec[2][KVSINK_EVENT_SLOTS + 1];
	uint32_t n = decisions(&p->h[0], rec[0]), m = decisions(&p->h[1], rec[1]);

	/* of a full log the older ones may be gone */
	for (uint32_t i = 1; i <= EVENTS && i <= n && i <= m; i++)
		if (memcmp(&rec[0][n - i], &rec[1][m - i], sizeof(rec[0][0]))) {
			window_differ(p, "event", i);
			return;
		}
}

/* ---- HBM ---- */

static void same_planes(struct window_pair *p, uint32_t length)
{
	static const uint32_t width[] = {8, 8, 4, 4, 4};
	static const char *const name[] = {"sum", "mass", "ema", "state", "promoted"};
	uint32_t max = p->s[0].max_tokens;

	for (uint32_t g = 0; g < p->s[0].score_groups; g++) {
		uint64_t at = g * kvsink_score_group_bytes(max);

		for (unsigned i = 0; i < 5; i++) {
			if (memcmp(p->h[0].hbm + p->s[0].scores + at, p->h[1].hbm + p->s[1].scores + at,
				   (size_t)length * width[i]))
				window_differ(p, name[i], g);
			at += max * width[i];
		}
	}
}

static void same_norms(struct window_pair *p, uint32_t length)
{
	uint32_t rows = p->s[0].layers * p->s[0].kv_heads, max = p->s[0].max_tokens;
	uint64_t end =
		kvsink_score_cleared_bytes(p->s[0].layers, p->s[0].kv_heads, p->s[0].score_groups, max);
	const uint8_t *a = p->h[0].hbm + p->s[0].scores + end, *b = p->h[1].hbm + p->s[1].scores + end;

	if (memcmp(a - rows * 4, b - rows * 4, rows * 4))
		window_differ(p, "norm maxima at length", length);
	for (uint32_t r = 0; r < rows && !(p->s[0].flags & KVSINK_STREAM_V_IN_K); r++)
		if (memcmp(a + (size_t)r * max * 2, b + (size_t)r * max * 2, length * 2))
			window_differ(p, "norms of row", r);
}

static const uint8_t *page_of(const struct harness *h, const struct h_stream *s, uint32_t index)
{
	uint64_t page;

	memcpy(&page, h->hbm + s->page_table + index * 8, 8);
	return h->hbm + page;
}

/* Whole pages, and of the last one the rows below the length. */
static void same_pages(struct window_pair *p, uint32_t length)
{
	const struct h_stream *s = &p->s[0];
	uint64_t bytes = kvsink_page_bytes(s->flags, s->layers, s->kv_heads, s->d_k, s->d_v, s->format,
					   s->page_tokens);
	uint32_t full = length / s->page_tokens, rest = length % s->page_tokens;
	uint64_t row = (uint64_t)s->kv_heads * s->d_k * kvsink_format_bytes(s->format);

	for (uint32_t i = 0; i < full; i++)
		if (memcmp(page_of(&p->h[0], s, i), page_of(&p->h[1], &p->s[1], i), bytes))
			window_differ(p, "page", i);
	if (rest && memcmp(page_of(&p->h[0], s, full), page_of(&p->h[1], &p->s[1], full), rest * row))
		window_differ(p, "last page", full);
}

void window_compare(struct window_pair *p, uint32_t length)
{
	for (unsigned i = 0; i < 2; i++)
		h_barrier(&p->h[i], &p->s[i]);
	same_answers(p, "stream", KVSINK_QUERY_STREAMS, 0, sizeof(struct kvsink_stream_rec));
	same_answers(p, "entries", KVSINK_QUERY_TAGS, 0, sizeof(struct kvsink_tag_rec));
	for (uint32_t g = 0; g < p->s[0].score_groups; g++) {
		same_answers(p, "scores of group", KVSINK_QUERY_SCORES, g, sizeof(struct kvsink_score_rec));
		same_answers(p, "sinks of group", KVSINK_QUERY_SINKS, g, sizeof(struct kvsink_sink_rec));
		same_answers(p, "parameters of group", KVSINK_QUERY_PARAMS, g, sizeof(uint64_t));
	}
	same_answers(p, "verdicts", KVSINK_QUERY_VERDICTS, 0, sizeof(struct kvsink_verdict_rec));
	same_counters(p);
	same_profile(p);
	same_events(p);
	same_planes(p, length);
	same_norms(p, length);
	same_pages(p, length);
}
