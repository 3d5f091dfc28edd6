// SPDX-License-Identifier: MIT
/*
 * What shows who shares what: records of streams, events, each row in HBM and in SRAM, and how much of a
 * query's reads SRAM serves.
 */
#include <stdio.h>

#include "lockstep.h"

#define ROW_BYTES (2u * REF_WIDTH * 4u) /* K, or V, of one token and layer: two heads */
#define HEAD_BYTES (ROW_BYTES / 2)
#define OUT_BYTES (4u * REF_WIDTH * 4u) /* of a query; that is also what it takes of H_Q */
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

/* The copy in SRAM, by layer and head, K before V. */
void lockstep_look_at_entry(const struct kvsink_tag_rec *tag, const struct ref_entry *e)
{
	const uint8_t *at = both.h.sram + tag->sram_offset;
	const struct ref_stream *st = &both.ref.stream[e->stream];
	uint8_t want[ROW_BYTES];

	if (!(tag->flags & KVSINK_TAG_VALID) || e->token < st->sealed)
		return;
	for (uint32_t l = e->begin; l < e->end; l++)
		for (uint32_t head = 0; head < 2; head++)
			for (unsigned v = 0; v < 2 && e->heads >> head & 1; v++, at += HEAD_BYTES) {
				h_get(&both.h, (v ? H_V : H_K) + st->row[l][e->token] * ROW_BYTES, want,
				      sizeof(want));
				if (memcmp(at, want + head * HEAD_BYTES, HEAD_BYTES))
					lockstep_differ("a row of token %u, layer %u in SRAM is another",
							e->token, l);
				totals.copies++;
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
	lockstep_land();
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

/* ---- two that share pages ---- */

static unsigned sharer_of(unsigned s)
{
	unsigned other = below(REF_STREAMS);

	for (unsigned i = 0; i < REF_STREAMS; i++, other = (other + 1) % REF_STREAMS)
		if (other != s && both.ref.stream[other].used && !both.ref.stream[other].swapped &&
		    both.ref.stream[other].length && ref_common_pages(&both.ref, s, other))
			return other;
	return REF_STREAMS;
}

static void ask_last(unsigned a, unsigned b, uint32_t layer, uint32_t q, uint32_t out)
{
	struct kvsink_cmd *cmd =
		h_attend_cmd(&both.h, &both.streams[a], layer, both.ref.stream[a].length - 1, 1);
	union kvsink_item item = {
		.attend = {both.streams[b].id, layer, both.ref.stream[b].length - 1, 1, {0}}};

	cmd->attend.mode = KVSINK_ATTEND_CANONICAL;
	cmd->attend.q = h_gart(H_Q + q);
	cmd->attend.out = h_gart(H_OUT + out);
	if (a != b) {
		cmd->attend.item_count = 2;
		h_item(&both.h, &item);
	}
	both.h.desc.flags = KVSINK_JOB_PRIVILEGED; /* they may be of two tenants */
	SAME(lockstep_run(a), KVSINK_CODE_OK, "ATTEND");
	lockstep_after_attend(a, layer);
	if (a != b)
		lockstep_after_attend(b, layer);
}

static void wait_for_copies(unsigned s)
{
	h_cmd(&both.h, KVSINK_OP_BARRIER)->barrier.stream = both.streams[s].id;
	SAME(lockstep_run(s), KVSINK_CODE_OK, "BARRIER");
}

/* Has it a tail that began before these tokens were a prefix's? Then it reads some of them there. */
static bool tail_reaches(unsigned s, uint32_t layer, uint32_t tokens)
{
	const struct ref_group *g = both.ref.stream[s].group + (layer >= both.ref.stream[s].group[1].begin);

	return g->tail.tokens && g->tail.from < tokens;
}

/* Of layers that see everything, in streams whose rows are as they were appended. */
static bool can_tell(unsigned a, unsigned b, uint32_t layer, uint32_t tokens)
{
	return !both.ref.stream[a].window[layer] && !both.ref.stream[a].sealed &&
	       !both.ref.stream[b].sealed && !tail_reaches(a, layer, tokens) &&
	       !tail_reaches(b, layer, tokens);
}

void lockstep_cascade(unsigned s)
{
	unsigned other = REF_STREAMS;
	uint8_t alone[2 * OUT_BYTES], together[2 * OUT_BYTES];
	uint32_t layer = below(REF_LAYERS);
	uint64_t sram, saved, common, rows;

	lockstep_land();
	if (!both.ref.stream[s].swapped && both.ref.stream[s].length && !lockstep_ecc_pending())
		other = sharer_of(s);
	if (other == REF_STREAMS)
		return;
	wait_for_copies(s);
	wait_for_copies(other);
	ask_last(s, s, layer, 0, 0);
	ask_last(other, other, layer, OUT_BYTES, OUT_BYTES);
	h_get(&both.h, H_OUT, alone, sizeof(alone));
	sram = h_counter(&both.h, KVSINK_COUNTER_KV_SRAM_READ);
	saved = h_counter(&both.h, KVSINK_COUNTER_SHARED_HBM_SAVED);
	ask_last(s, other, layer, 0, 0);
	sram = h_counter(&both.h, KVSINK_COUNTER_KV_SRAM_READ) - sram;
	saved = h_counter(&both.h, KVSINK_COUNTER_SHARED_HBM_SAVED) - saved;
	h_get(&both.h, H_OUT, together, sizeof(together));
	if (memcmp(alone, together, sizeof(alone)))
		lockstep_differ("two queries together say something else than alone");
	both.outcome = KVSINK_CODE_OK;
	totals.saved += saved;
	rows = ref_common_pages(&both.ref, s, other) * REF_PAGE;
	if (!can_tell(s, other, layer, (uint32_t)rows))
		return;
	common = ref_sram_bytes(&both.ref, s, layer, (uint32_t)rows - 1);
	SAME(saved, rows * 2 * ROW_BYTES - common, "bytes that were read once for two");
	SAME(sram,
	     ref_sram_bytes(&both.ref, s, layer, both.ref.stream[s].length - 1) +
		     ref_sram_bytes(&both.ref, other, layer, both.ref.stream[other].length - 1) - common,
	     "bytes that two queries read from SRAM");
}
