// SPDX-License-Identifier: MIT
/*
 * Automatic placement of the model, at the end of a step: former sinks lose their entries, new ones get one
 * by descending EMA and replace weaker ones of the same stream.
 */
#include "reference_parts.h"

struct allowed {
	uint32_t begin, end;
	uint64_t heads;
};

static struct allowed allowed_of(const struct ref_stream *st, const struct ref_group *g)
{
	uint32_t range = (uint32_t)g->params[KVSINK_PARAM_LAYER_RANGE];
	struct allowed a = {g->begin, g->end, g->params[KVSINK_PARAM_HEAD_MASK] & ref_all_heads(st)};

	if ((range & 0xffff) > a.begin)
		a.begin = range & 0xffff;
	if (range >> 16 < a.end)
		a.end = range >> 16;
	return a;
}

static void note(struct ref_verdicts *log, uint32_t verdict, uint32_t group, uint32_t ema,
		 const struct kvsink_place_item *rows)
{
	if (log)
		log->rec[log->count++] = (struct kvsink_verdict_rec){
			.group = group,
			.token = rows->token,
			.verdict = verdict,
			.ema = ema,
			.layer_begin = rows->layer_begin,
			.layer_end = rows->layer_end,
			.head_mask = rows->head_mask,
		};
}

static void evict(struct ref *r, struct ref_entry *e, struct ref_verdicts *log)
{
	struct kvsink_place_item rows = {
		.token = e->token,
		.layer_begin = (uint16_t)e->begin,
		.layer_end = (uint16_t)e->end,
		.head_mask = e->heads,
	};

	note(log, KVSINK_VERDICT_EVICT, ref_group_of(&r->stream[e->stream], e->begin), ref_ema_of(r, e),
	     &rows);
	ref_drop(r, e);
	r->stream[e->stream].automatic_out++;
}

/* While software decides, every entry of the stream is the controller's. */
static bool its_own(const struct ref *r, unsigned s, const struct ref_entry *e)
{
	const struct ref_stream *st = &r->stream[s];

	return e->used && e->stream == s && !ref_in_force(r, e) &&
	       (e->automatic || st->group[0].params[KVSINK_PARAM_PLACEMENT] != KVSINK_PLACEMENT_AUTO) &&
	       st->length - e->since >= st->group[0].params[KVSINK_PARAM_N_DWELL];
}

static bool listed_before(const struct ref_entry *a, const struct ref_entry *b)
{
	if (a->token != b->token)
		return a->token < b->token;
	return a->begin != b->begin ? a->begin < b->begin : a->generation < b->generation;
}

/* By token, then layer. */
static struct ref_entry *former_sink(struct ref *r, unsigned s)
{
	const struct ref_stream *st = &r->stream[s];
	struct ref_entry *first = NULL;

	for (unsigned i = 0; i < REF_ENTRIES; i++) {
		struct ref_entry *e = &r->entry[i];

		if (its_own(r, s, e) && !st->group[ref_group_of(st, e->begin)].sink[e->token] &&
		    (!first || listed_before(e, first)))
			first = e;
	}
	return first;
}

static bool candidate(const struct ref *r, unsigned s, const struct ref_group *g, uint32_t token)
{
	const struct ref_stream *st = &r->stream[s];
	struct allowed a = allowed_of(st, g);

	if (token < st->shared) /* the prefix's */
		return false;
	if (!g->sink[token] || a.begin >= a.end || !a.heads || ref_in_tail(st, g, token))
		return false;
	if (g->promoted[token] && st->length - (g->promoted[token] - 1) < g->params[KVSINK_PARAM_N_DWELL])
		return false;
	return !ref_resident(r, s, token, a.begin, a.end, a.heads);
}

static bool best_candidate(const struct ref *r, unsigned s, uint32_t *group, uint32_t *token)
{
	const struct ref_stream *st = &r->stream[s];
	bool found = false;

	for (uint32_t g = 0; g < st->groups; g++)
		for (uint32_t t = 0; t < st->length; t++) {
			if (!candidate(r, s, &st->group[g], t))
				continue;
			if (found && st->group[g].ema[t] <= st->group[*group].ema[*token])
				continue;
			found = true;
			*group = g;
			*token = t;
		}
	return found;
}

/* The entry of the stream that the controller would give up first for a token with this EMA. */
static struct ref_entry *weakest(struct ref *r, unsigned s, uint32_t ema)
{
	struct ref_stream *st = &r->stream[s];
	struct ref_entry *best = NULL;

	for (unsigned i = 0; i < REF_ENTRIES; i++) {
		struct ref_entry *e = &r->entry[i];

		if (!its_own(r, s, e) || e->generation > r->plan_from)
			continue;
		if (ref_ema_of(r, e) + ref_bits_q32(st->group[0].params[KVSINK_PARAM_DELTA]) >= ema)
			continue;
		if (!best || ref_ema_of(r, e) < ref_ema_of(r, best) ||
		    (ref_ema_of(r, e) == ref_ema_of(r, best) && e->generation < best->generation))
			best = e;
	}
	return best;
}

static bool place_auto(struct ref *r, unsigned s, uint32_t group, uint32_t token, struct ref_verdicts *log)
{
	struct ref_stream *st = &r->stream[s];
	struct allowed a = allowed_of(st, &st->group[group]);
	struct kvsink_place_item item = {
		.token = token,
		.layer_begin = (uint16_t)a.begin,
		.layer_end = (uint16_t)a.end,
		.head_mask = a.heads,
	};
	struct ref_terms terms = {
		.dwell = (uint32_t)st->group[0].params[KVSINK_PARAM_N_DWELL],
		.priority = (uint32_t)st->group[0].params[KVSINK_PARAM_PRIORITY],
	};
	uint32_t ema = st->group[group].ema[token], noted = log ? log->count : 0;
	struct ref keep = *r;

	terms.deadline = terms.dwell ? r->now + KVSINK_MAX_LEASE_NS : 0;
	while (!ref_place(r, s, &item, &terms, true)) {
		struct ref_entry *e = weakest(r, s, ema);

		if (!e) {
			*r = keep;
			if (log)
				log->count = noted;
			return false;
		}
		evict(r, e, log);
	}
	note(log, KVSINK_VERDICT_PROMOTE, group, ema, &item);
	ref_note_promotion(r, s, &item);
	st->automatic_in++;
	return true;
}

void ref_place_sinks(struct ref *r, unsigned s, struct ref_verdicts *log)
{
	uint32_t group = 0, token = 0, made = 0;
	struct ref_entry *e;

	r->plan_from = r->generation;
	while ((e = former_sink(r, s)))
		evict(r, e, log);
	while (made++ < KVSINK_MAX_STEP_PROMOTIONS && best_candidate(r, s, &group, &token))
		if (!place_auto(r, s, group, token, log)) {
			r->stream[s].refusals++;
			return;
		}
}

void ref_verdicts(const struct ref *r, unsigned s, struct ref_verdicts *out)
{
	struct ref copy = *r;

	out->count = 0;
	ref_place_sinks(&copy, s, out);
}
