// SPDX-License-Identifier: MIT
/*
 * What chip and model are compared by: every entry and tail with its address and contract, scores,
 * parameters, counters. What only the chip can be asked is checked as well: the log of events and the budget.
 */
#include <stdio.h>

#include "lockstep.h"
#include "reference_parts.h"

static uint64_t events_seen; /* number of the next event */

void lockstep_log_begins(void)
{
	events_seen = 0;
	both.broken_told = 0;
}

static uint32_t pattern(uint32_t ema)
{
	float value = (float)((double)ema * 0x1p-32);
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

static const struct ref_entry *entry_of(uint32_t generation)
{
	for (unsigned i = 0; i < REF_ENTRIES; i++)
		if (both.ref.entry[i].used && both.ref.entry[i].generation == generation)
			return &both.ref.entry[i];
	return NULL;
}

static void same_entry(const struct kvsink_tag_rec *tag, const struct ref_entry *e)
{
	bool force = ref_in_force(&both.ref, e);

	SAME(tag->stream, both.ref.stream[e->stream].id, "stream of an entry");
	SAME(tag->token, e->token, "token of an entry");
	SAME(tag->layer_begin, e->begin, "first layer of an entry");
	SAME(tag->layer_end, e->end, "layer end of an entry");
	SAME(tag->head_mask, e->heads, "heads of an entry");
	SAME(tag->sram_offset, e->unit * KVSINK_SRAM_UNIT, "place of an entry");
	SAME(tag->sram_bytes, e->units * KVSINK_SRAM_UNIT, "size of an entry");
	SAME(tag->age_steps, both.ref.stream[e->stream].length - e->since, "age of an entry");
	SAME(tag->dwell_steps, e->dwell, "dwell of an entry");
	SAME(tag->priority, e->priority, "priority of an entry");
	SAME(tag->deadline_ns, e->deadline, "deadline of an entry");
	SAME(!!(tag->flags & KVSINK_TAG_CONTRACT), force, "contract of an entry");
	SAME(!!(tag->flags & KVSINK_TAG_AUTO), e->automatic, "origin of an entry");
	SAME(tag->ema,
	     pattern(both.ref.stream[e->stream]
			     .group[ref_group_of(&both.ref.stream[e->stream], e->begin)]
			     .ema[e->token]),
	     "EMA of an entry");
}

static const struct ref_group *tail_at(uint32_t unit)
{
	for (unsigned s = 0; s < REF_STREAMS; s++)
		for (unsigned g = 0; both.ref.stream[s].used && g < both.ref.stream[s].groups; g++)
			if (both.ref.stream[s].group[g].tail.units &&
			    both.ref.stream[s].group[g].tail.unit == unit)
				return &both.ref.stream[s].group[g];
	return NULL;
}

static uint32_t model_places(void)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < REF_ENTRIES; i++)
		n += both.ref.entry[i].used;
	for (unsigned s = 0; s < REF_STREAMS; s++)
		for (unsigned g = 0; both.ref.stream[s].used && g < both.ref.stream[s].groups; g++)
			n += both.ref.stream[s].group[g].tail.units > 0;
	return n;
}

static void look_at_tags(bool closely)
{
	static struct kvsink_tag_rec tags[LOCKSTEP_RECORDS];
	uint32_t n = lockstep_ask(KVSINK_QUERY_TAGS, 0, 0, 0, LOCKSTEP_RECORDS, tags, sizeof(tags[0]));

	SAME(n, model_places(), "entries and tails");
	for (uint32_t i = 0; i < n; i++) {
		const struct ref_entry *e = entry_of(tags[i].generation);
		const struct ref_group *g = tail_at(tags[i].sram_offset / KVSINK_SRAM_UNIT);

		if (tags[i].flags & KVSINK_TAG_TAIL) {
			if (!g || g->tail.units * KVSINK_SRAM_UNIT != tags[i].sram_bytes)
				lockstep_differ("a tail at %u that the model lacks", tags[i].sram_offset);
		} else if (!e) {
			lockstep_differ("entry %u that the model lacks", tags[i].generation);
		} else {
			same_entry(&tags[i], e);
			if (closely)
				lockstep_look_at_entry(&tags[i], e);
		}
	}
}

static const unsigned scope_device = 0, scope_stream = 1, scope_group = 2;

static unsigned scope_of(uint32_t param)
{
#define DEVICE scope_device
#define STREAM scope_stream
#define GROUP scope_group
	const unsigned scopes[KVSINK_PARAM_COUNT] = {
#define X(name, index, kind, scope, def, doc) [index] = scope,
		KVSINK_PARAMS(X)
#undef X
	};
#undef DEVICE
#undef STREAM
#undef GROUP

	return scopes[param];
}

static void look_at_params(void)
{
	uint64_t got[KVSINK_PARAM_COUNT];
	char what[40];

	lockstep_ask(KVSINK_QUERY_PARAMS, 0, 0, 0, KVSINK_PARAM_COUNT, got, sizeof(got[0]));
	for (uint32_t p = 0; p < KVSINK_PARAM_COUNT; p++) {
		snprintf(what, sizeof(what), "device parameter %u", p);
		SAME(got[p], both.ref.params[p], what);
	}
	for (unsigned s = 0; s < REF_STREAMS; s++)
		for (uint32_t g = 0; both.ref.stream[s].used && g < REF_GROUPS; g++) {
			lockstep_ask(KVSINK_QUERY_PARAMS, both.streams[s].id, g, 0, KVSINK_PARAM_COUNT, got,
				     sizeof(got[0]));
			for (uint32_t p = 0; p < KVSINK_PARAM_COUNT; p++) {
				snprintf(what, sizeof(what), "parameter %u of stream %u, group %u", p, s, g);
				if (scope_of(p) != scope_device)
					SAME(got[p], both.ref.stream[s].group[g].params[p], what);
			}
		}
}

static float ema_float(uint32_t ema)
{
	return (float)((double)ema * 0x1p-32);
}

/* As a query sees it: entries of a prefix count. */
static bool resident(unsigned s, uint32_t g, uint32_t token)
{
	const struct ref_group *group = &both.ref.stream[s].group[g];

	return ref_resident(&both.ref, ref_holder(&both.ref, s, token), token, group->begin, group->end,
			    UINT64_MAX);
}

static void look_at_scores(unsigned s)
{
	static struct kvsink_score_rec rec[REF_TOKENS];

	if (both.ref.stream[s].swapped)
		return;
	for (uint32_t g = 0; both.ref.stream[s].used && g < REF_GROUPS; g++) {
		const struct ref_group *group = &both.ref.stream[s].group[g];
		uint32_t n = lockstep_ask(KVSINK_QUERY_SCORES, both.streams[s].id, g, 0, REF_TOKENS, rec,
					  sizeof(rec[0]));

		SAME(n, both.ref.stream[s].length, "tokens with scores");
		for (uint32_t t = 0; t < n; t++) {
			float ema = ema_float(group->ema[t]), got;

			memcpy(&got, &rec[t].ema, sizeof(got));
			if (got != ema)
				lockstep_differ("EMA of token %u: chip %g, model %g", t, (double)got,
						(double)ema);
			SAME(rec[t].run, group->run[t], "run of a token");
			SAME(!!(rec[t].flags & KVSINK_SCORE_SINK), group->sink[t], "state of a token");
			SAME(rec[t].promoted, group->promoted[t], "last promotion of a token");
			SAME(rec[t].sum, group->sum[t], "sum of a token");
			SAME(!!(rec[t].flags & KVSINK_SCORE_RESIDENT), resident(s, g, t),
			     "residency of a token");
		}
	}
}

static void look_at_window(unsigned s)
{
	const struct ref_stream *st = &both.ref.stream[s];
	struct kvsink_stream_rec rec = {0};
	uint32_t rows = 0;

	if (!st->used)
		return;
	lockstep_ask(KVSINK_QUERY_STREAMS, both.streams[s].id, 0, 0, 1, &rec, sizeof(rec));
	for (uint32_t l = 0; l < REF_LAYERS; l++)
		rows = st->replay.rows[l] > rows ? st->replay.rows[l] : rows;
	SAME(rec.length, st->length, "length");
	SAME(rec.window, st->replay.tokens, "rows that a window may have");
	SAME(rec.window_rows, rows, "rows of a window");
	SAME(rec.window_ns, st->replay.since, "begin of a window");
}

static void look_at_counters(unsigned s)
{
	const struct ref_stream *st = &both.ref.stream[s];
	uint64_t c[KVSINK_COUNTER_COUNT];

	if (!st->used)
		return;
	lockstep_ask(KVSINK_QUERY_COUNTERS, both.streams[s].id, 0, 0, KVSINK_COUNTER_COUNT, c, sizeof(c[0]));
	SAME(c[KVSINK_COUNTER_PROMOTIONS], st->promotions, "PROMOTIONS");
	SAME(c[KVSINK_COUNTER_EVICTIONS], st->evictions, "EVICTIONS");
	SAME(c[KVSINK_COUNTER_REFUSALS], st->refusals, "REFUSALS");
	SAME(c[KVSINK_COUNTER_AUTO_PROMOTIONS], st->automatic_in, "AUTO_PROMOTIONS");
	SAME(c[KVSINK_COUNTER_AUTO_EVICTIONS], st->automatic_out, "AUTO_EVICTIONS");
	SAME(c[KVSINK_COUNTER_DISPLACED], st->displaced, "DISPLACED");
	SAME(c[KVSINK_COUNTER_CONTRACTS_BROKEN], st->broken, "CONTRACTS_BROKEN");
}

/* Every contract that was broken has been told of: the ledger and the log agree. */
static void look_at_events(void)
{
	static struct kvsink_event_rec rec[KVSINK_EVENT_SLOTS];
	struct kvsink_list_head head;
	uint32_t n = lockstep_ask(KVSINK_QUERY_EVENTS, 0, 0, (uint32_t)events_seen, KVSINK_EVENT_SLOTS, rec,
				  sizeof(rec[0]));

	h_get(&both.h, H_ANSWER, &head, sizeof(head));
	events_seen = head.next;
	for (uint32_t i = 0; i < n; i++) {
		lockstep_same_event(&rec[i]);
		if (rec[i].code != KVSINK_EVENT_CONTRACT_BROKEN)
			continue;
		both.broken_told += rec[i].detail;
		if (rec[i].reason != KVSINK_REASON_RESET && rec[i].reason != KVSINK_REASON_ECC)
			lockstep_differ("a contract broken for reason %u", rec[i].reason);
	}
	lockstep_all_events_seen();
	SAME(h_counter(&both.h, KVSINK_COUNTER_CONTRACTS_BROKEN), both.broken_told,
	     "contracts broken without an event");
}

void lockstep_look(void)
{
	unsigned s = lockstep_some_holder();

	look_at_tags(false);
	look_at_scores(s);
	look_at_window(s);
	lockstep_look_at_record(s);
	look_at_counters(s);
	look_at_events();
}

void lockstep_look_closely(void)
{
	look_at_tags(true);
	lockstep_look_at_rows(lockstep_some_holder());
	if (below(4) == 0)
		look_at_params();
}

void lockstep_glance(void)
{
	static uint32_t before;
	uint32_t used = kvsink_mmio_read(both.h.chip, KVSINK_REG_SRAM_USED);

	if (used > before && used > kvsink_mmio_read(both.h.chip, KVSINK_REG_SRAM_BUDGET))
		lockstep_differ("%u bytes granted beyond the budget", used);
	before = used;
	SAME(used, ref_used_units(&both.ref) * KVSINK_SRAM_UNIT, "SRAM_USED");
	SAME(h_counter(&both.h, KVSINK_COUNTER_PREFIX_COPY), both.ref.prefix_copy, "PREFIX_COPY");
}
