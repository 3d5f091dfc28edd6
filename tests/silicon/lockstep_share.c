// SPDX-License-Identifier: MIT
/*
 * What shows who shares what: records of streams, events, each row in HBM and in SRAM, and how much of a
 * query's reads SRAM serves.
 */
#include <stdio.h>

#include "lockstep.h"

#define ROW_BYTES (2u * REF_WIDTH * 4u) /* K, or V, of one token and layer: two heads */
#define EXPECTED 256u

/* ---- events ---- */

static struct {
	uint32_t code, detail;
	uint64_t stream;
} expected[EXPECTED];
static unsigned expected_first, expected_end;

void lockstep_forget_events(void)
{
	expected_first = expected_end = 0;
}

void lockstep_expect(uint32_t code, uint64_t stream, uint32_t detail)
{
	expected[expected_end % EXPECTED].code = code;
	expected[expected_end % EXPECTED].stream = stream;
	expected[expected_end++ % EXPECTED].detail = detail;
}

void lockstep_same_event(const struct kvsink_event_rec *rec)
{
	unsigned at = expected_first % EXPECTED;

	if (rec->code < KVSINK_EVENT_PREFIX_PUBLISHED || rec->code > KVSINK_EVENT_PREFIX_DETACHED)
		return;
	if (expected_first == expected_end) {
		lockstep_differ("event %u of %u that nothing has caused", rec->code, rec->detail);
		return;
	}
	SAME(rec->code, expected[at].code, "code of an event");
	SAME(rec->stream, expected[at].stream, "stream of an event");
	SAME(rec->detail, expected[at].detail, "detail of an event");
	expected_first++;
}

void lockstep_all_events_seen(void)
{
	SAME(expected_first, expected_end, "events of prefixes");
	expected_first = expected_end;
}

/* ---- records ---- */

static uint32_t entries_of(unsigned s)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < REF_ENTRIES; i++)
		n += both.ref.entry[i].used && both.ref.entry[i].stream == s;
	return n;
}

void lockstep_look_at_record(unsigned s)
{
	const struct ref_stream *st = &both.ref.stream[s];
	struct kvsink_stream_rec rec = {0};

	if (!st->used)
		return;
	lockstep_ask(KVSINK_QUERY_STREAMS, both.streams[s].id, 0, 0, 1, &rec, sizeof(rec));
	SAME(rec.tenant, st->tenant, "tenant");
	SAME(rec.max_tokens, st->max_tokens, "tokens at most");
	SAME(rec.reserved_tokens, st->mapped * REF_PAGE, "tokens with a page");
	SAME(rec.entries, entries_of(s), "entries of a stream");
	SAME(rec.scored, st->scored[0], "queries scored");
	SAME(rec.sealed, st->sealed, "tokens sealed");
	SAME(rec.swapped, st->swapped, "swapped");
	SAME(rec.prefix, st->prefix ? both.ref.stream[st->prefix - 1].id : 0, "prefix");
	SAME(rec.shared, st->shared, "tokens shared");
	SAME(rec.own_page, st->own_page, "first page of its own");
	SAME(rec.users, ref_users(&both.ref, s), "users");
	SAME(rec.closed, st->closed, "closed");
	SAME(rec.key[0], st->key[0], "key");
	SAME(rec.key[1], st->key[1], "key, second half");
}

/* ---- rows ---- */

static void same_row(const uint8_t *got, unsigned s, bool v, uint32_t layer, uint32_t token,
		     const char *where)
{
	uint8_t want[ROW_BYTES];

	h_get(&both.h, (v ? H_V : H_K) + both.ref.stream[s].row[layer][token] * ROW_BYTES, want,
	      sizeof(want));
	if (memcmp(got, want, sizeof(want)))
		lockstep_differ("%c of token %u, layer %u of stream %u in %s is another row", v ? 'V' : 'K',
				token, layer, s, where);
	totals.rows++;
}

static const uint8_t *plane(unsigned s, uint32_t page, uint32_t layer, bool v)
{
	uint64_t at;

	memcpy(&at, both.h.hbm + both.streams[s].page_table + page * sizeof(at), sizeof(at));
	SAME(at, lockstep_page_at(s, page), "place of a page");
	return both.h.hbm + lockstep_page_at(s, page) + (layer * 2 + v) * REF_PAGE * ROW_BYTES;
}

/* Behind a prefix's last token its page is empty. */
static void same_end(unsigned s, uint32_t layer, bool v)
{
	const struct ref_stream *st = &both.ref.stream[s];
	uint32_t rest = st->length % REF_PAGE;
	const uint8_t *at;

	if (!st->closed || !rest)
		return;
	at = plane(s, st->length / REF_PAGE, layer, v);
	for (uint32_t i = rest * ROW_BYTES; i < REF_PAGE * ROW_BYTES; i++)
		if (at[i]) {
			lockstep_differ("something lies behind the last token of a prefix");
			return;
		}
}

void lockstep_look_at_rows(unsigned s)
{
	const struct ref_stream *st = &both.ref.stream[s];

	if (!st->used || st->swapped)
		return;
	for (uint32_t l = 0; l < REF_LAYERS; l++)
		for (unsigned v = 0; v < 2; v++) {
			for (uint32_t t = st->sealed; t < st->length; t++)
				same_row(plane(s, t / REF_PAGE, l, v) + t % REF_PAGE * ROW_BYTES, s, v, l, t,
					 "HBM");
			same_end(s, l, v);
		}
}

/* ---- reads ---- */

/* Everything is idle: copies have ended, and the query is one of a token that is there. */
void lockstep_seen(unsigned s)
{
	const struct ref_stream *st = &both.ref.stream[s];
	uint32_t layer = below(REF_LAYERS),
		 token = st->length ? below(3) ? st->length - 1 : below(st->length) : 0;
	bool certain = !lockstep_ecc_pending();
	uint64_t before, want;

	if (!st->length)
		return;
	h_cmd(&both.h, KVSINK_OP_BARRIER)->barrier.stream = st->id;
	h_attend_cmd(&both.h, &both.streams[s], layer, token, 1);
	before = h_counter(&both.h, KVSINK_COUNTER_KV_SRAM_READ);
	want = ref_sram_bytes(&both.ref, s, layer, token);
	SAME(lockstep_run(s), st->swapped ? KVSINK_CODE_SWAPPED : KVSINK_CODE_OK, "ATTEND");
	both.outcome = both.h.cpl.code;
	if (st->swapped)
		return;
	if (certain)
		SAME(h_counter(&both.h, KVSINK_COUNTER_KV_SRAM_READ) - before, want, "bytes read from SRAM");
	totals.sram_read += want;
	if (ref_holder(&both.ref, s, 0) != s)
		totals.prefix_read += want;
	lockstep_after_attend(s, layer);
}
