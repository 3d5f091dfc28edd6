// SPDX-License-Identifier: MIT
/*
 * Prefixes of the model: written from kvsink_hw.h, docs/blocks/prefix.md and decision 021. A prefix is a
 * stream that is closed; who begins with it and what it serves is found out anew each time.
 */
#include <string.h>

#include "reference_parts.h"

uint32_t ref_users(const struct ref *r, unsigned s)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < REF_STREAMS; i++)
		n += r->stream[i].used && r->stream[i].prefix == s + 1;
	return n;
}

unsigned ref_holder(const struct ref *r, unsigned s, uint32_t token)
{
	while (token < r->stream[s].shared)
		s = r->stream[s].prefix - 1;
	return s;
}

static struct ref_answer answer(uint32_t code, uint64_t address)
{
	return (struct ref_answer){.code = code, .address = address};
}

static bool step_open(const struct ref_stream *st)
{
	for (uint32_t l = 0; l < st->layers; l++)
		if (st->appended[l])
			return true;
	return false;
}

static uint32_t depth(const struct ref *r, unsigned s)
{
	uint32_t n = 0;

	for (uint32_t p = r->stream[s].prefix; p; p = r->stream[p - 1].prefix)
		n++;
	return n;
}

/* What no PREFIX command does to a stream in this state. */
static struct ref_answer check_state(const struct ref_stream *st)
{
	if (st->closed)
		return answer(KVSINK_CODE_CLOSED, st->id);
	if (st->swapped)
		return answer(KVSINK_CODE_SWAPPED, st->id);
	if (st->replay.tokens)
		return answer(KVSINK_CODE_WINDOW, st->id);
	return answer(KVSINK_CODE_OK, 0);
}

/* Sealed pages are not parted; part of a page needs a page of its own, a whole one does not. */
static struct ref_answer check_cut(const struct ref_stream *st, uint32_t tokens, bool page)
{
	uint32_t rest = tokens % REF_PAGE;

	if (rest && tokens < st->sealed)
		return answer(KVSINK_CODE_PARTED, tokens - rest);
	if (page && !rest)
		return answer(KVSINK_CODE_BAD_FIELD, UINT64_MAX);
	return answer(KVSINK_CODE_OK, 0);
}

/* Sums only if no query behind the cut is in them; E, which every step has moved, only of all tokens. */
static bool scored_behind(const struct ref_stream *st, uint32_t tokens)
{
	for (uint32_t l = 0; l < st->layers; l++)
		if (st->scored[l] > tokens)
			return true;
	return false;
}

static void inherit_scores(struct ref_stream *to, const struct ref_stream *from, uint32_t tokens)
{
	bool early = scored_behind(from, tokens), whole = tokens == from->length;

	for (uint32_t l = 0; l < from->layers && !early; l++)
		to->scored[l] = from->scored[l];
	for (uint32_t g = 0; g < from->groups; g++) {
		const struct ref_group *a = &from->group[g];
		struct ref_group *b = &to->group[g];

		for (uint32_t t = 0; t < tokens && !early; t++)
			b->sum[t] = a->sum[t];
		for (uint32_t t = 0; t < tokens && whole; t++) {
			b->ema[t] = a->ema[t];
			b->run[t] = a->run[t];
			b->sink[t] = a->sink[t];
			b->promoted[t] = a->promoted[t];
		}
		b->seeded = whole && a->seeded;
	}
}

static void inherit(struct ref_stream *to, const struct ref_stream *from, uint32_t tokens)
{
	to->length = tokens;
	to->sealed = from->sealed < tokens ? from->sealed : tokens / REF_PAGE * REF_PAGE;
	for (uint32_t l = 0; l < from->layers; l++)
		for (uint32_t t = 0; t < tokens; t++) {
			to->row[l][t] = from->row[l][t];
			to->kept[l][t] = from->kept[l][t];
		}
	inherit_scores(to, from, tokens);
}

static void count_copy(struct ref *r, const struct ref_stream *st, uint32_t tokens)
{
	r->prefix_copy += (uint64_t)tokens * st->layers * st->kv_heads * st->row_bytes;
}

/* ---- PUBLISH ---- */

static struct ref_answer check_publish(const struct ref *r, unsigned s, const struct ref_prefix *new)
{
	const struct ref_stream *st = &r->stream[s];
	struct ref_answer a = check_state(st);

	if (a.code)
		return a;
	if (step_open(st))
		return answer(KVSINK_CODE_BUSY, UINT64_MAX);
	if (!new->id || new->tokens <= st->shared || new->tokens > st->length)
		return answer(KVSINK_CODE_BAD_FIELD, UINT64_MAX);
	if (new->taken)
		return answer(KVSINK_CODE_EXISTS, new->id);
	if (depth(r, s) >= KVSINK_MAX_PREFIX_DEPTH)
		return answer(KVSINK_CODE_DEPTH, KVSINK_MAX_PREFIX_DEPTH);
	if (new->at == REF_STREAMS)
		return answer(KVSINK_CODE_STREAMS, REF_STREAMS);
	return check_cut(st, new->tokens, new->page);
}

static void make(struct ref *r, unsigned s, const struct ref_prefix *new)
{
	const struct ref_stream *st = &r->stream[s];
	struct ref_stream *p = ref_create(r, new->at, new->id, st->tenant);

	p->closed = true;
	p->max_tokens = (new->tokens + REF_PAGE - 1) / REF_PAGE * REF_PAGE;
	p->mapped = p->max_tokens / REF_PAGE;
	p->seals = st->seals;
	memcpy(p->window, st->window, sizeof(p->window));
	memcpy(p->weight, st->weight, sizeof(p->weight));
	memcpy(p->key, new->key, sizeof(p->key));
	for (uint32_t g = 0; g < p->groups; g++) {
		memcpy(p->group[g].params, st->group[g].params, sizeof(p->group[g].params));
		p->group[g].params[KVSINK_PARAM_TAIL_TOKENS] = 0;
		p->group[g].params[KVSINK_PARAM_PLACEMENT] = KVSINK_PLACEMENT_OFF; /* it makes no steps */
	}
	p->prefix = st->prefix;
	p->shared = st->shared;
	p->own_page = st->own_page;
	inherit(p, st, new->tokens);
}

/* Nobody makes steps of a prefix: a contract ends by its deadline, or is over, and no entry is STEP_END's. */
static void move_entry(struct ref *r, struct ref_entry *e, unsigned to)
{
	if (!ref_in_force(r, e))
		e->deadline = 0;
	e->dwell = 0;
	e->automatic = false;
	e->since = r->stream[to].length;
	e->stream = to;
}

struct ref_answer ref_publish(struct ref *r, unsigned s, const struct ref_prefix *new)
{
	struct ref_answer a = check_publish(r, s, new);
	struct ref_stream *st = &r->stream[s];

	if (a.code)
		return a;
	make(r, s, new);
	for (unsigned i = 0; i < REF_ENTRIES; i++)
		if (r->entry[i].used && r->entry[i].stream == s && r->entry[i].token < new->tokens)
			move_entry(r, &r->entry[i], new->at);
	st->prefix = new->at + 1;
	st->shared = new->tokens;
	st->own_page = new->tokens / REF_PAGE;
	count_copy(r, st, new->tokens % REF_PAGE);
	return a;
}

/* ---- ATTACH ---- */

static struct ref_answer check_geometry(const struct ref_stream *st, const struct ref_stream *p)
{
	if (st->seals != p->seals)
		return answer(KVSINK_CODE_GEOMETRY, UINT64_MAX);
	for (uint32_t l = 0; l < st->layers; l++)
		if (st->window[l] != p->window[l])
			return answer(KVSINK_CODE_GEOMETRY, l);
	return answer(KVSINK_CODE_OK, 0);
}

static struct ref_answer check_attach(const struct ref *r, unsigned s, const struct ref_prefix *old)
{
	const struct ref_stream *st = &r->stream[s], *p = &r->stream[old->at];
	struct ref_answer a = check_state(st);

	if (a.code)
		return a;
	if (!p->closed)
		return answer(KVSINK_CODE_NOT_SHARED, p->id);
	if (st->length || step_open(st) || st->mapped)
		return answer(KVSINK_CODE_BUSY, UINT64_MAX);
	a = check_geometry(st, p);
	if (a.code)
		return a;
	if (!old->tokens || old->tokens > p->length)
		return answer(KVSINK_CODE_BAD_FIELD, UINT64_MAX);
	return check_cut(p, old->tokens, old->page);
}

/* What sums and E were made with goes where they go. */
static void inherit_meaning(struct ref_stream *st, const struct ref_stream *p)
{
	static const uint32_t params[] = {KVSINK_PARAM_LOCAL_WINDOW, KVSINK_PARAM_SCORE_MODE,
					  KVSINK_PARAM_LAYER_WEIGHT};
	bool scores = false;

	for (uint32_t l = 0; l < st->layers; l++)
		scores |= st->scored[l] > 0;
	if (!scores && st->length != p->length)
		return;
	memcpy(st->weight, p->weight, sizeof(st->weight));
	for (uint32_t g = 0; g < st->groups; g++)
		for (unsigned i = 0; i < sizeof(params) / sizeof(params[0]); i++)
			st->group[g].params[params[i]] = p->group[g].params[params[i]];
}

struct ref_answer ref_attach(struct ref *r, unsigned s, const struct ref_prefix *old)
{
	struct ref_answer a = check_attach(r, s, old);
	const struct ref_stream *p = &r->stream[old->at];
	struct ref_stream *st = &r->stream[s];

	if (a.code)
		return a;
	inherit(st, p, old->tokens);
	st->prefix = old->at + 1;
	st->shared = old->tokens;
	st->own_page = old->tokens / REF_PAGE;
	st->mapped = (old->tokens + REF_PAGE - 1) / REF_PAGE;
	inherit_meaning(st, p);
	for (uint32_t g = 0; g < st->groups; g++)
		if (st->group[g].tail.tokens)
			st->group[g].tail.from = old->tokens;
	count_copy(r, st, old->tokens % REF_PAGE);
	return a;
}

/* ---- DETACH ---- */

struct ref_answer ref_detach(struct ref *r, unsigned s, uint32_t first_page, uint32_t count)
{
	struct ref_stream *st = &r->stream[s];
	struct ref_answer a = check_state(st);

	if (a.code)
		return a;
	if (!st->prefix)
		return answer(KVSINK_CODE_NOT_SHARED, st->id);
	if (!count && st->own_page)
		return answer(KVSINK_CODE_BAD_FIELD, UINT64_MAX);
	if (first_page + count != st->own_page)
		return answer(KVSINK_CODE_SEQUENCE, st->own_page);
	st->own_page = first_page;
	if (!first_page) /* till then the prefix's entries serve it, wherever its rows are */
		st->prefix = st->shared = 0;
	count_copy(r, st, count * REF_PAGE);
	return a;
}

/* ---- reads ---- */

static bool in_tail(const struct ref_stream *st, const struct ref_tail *tail, uint32_t layer, uint32_t token)
{
	return tail->tokens && layer >= tail->begin && layer < tail->end && token >= tail->from &&
	       token + tail->tokens >= st->length + st->appended[layer];
}

/* Of one layer, in the heads of an entry: codes are shorter than rows that were kept. */
static uint32_t entry_bytes(const struct ref_stream *st, const struct ref_entry *e, uint32_t layer)
{
	uint32_t bytes = 0;

	for (uint32_t h = 0; h < st->kv_heads; h++)
		if (e->heads >> h & 1)
			bytes += ref_row_bytes(st, e->token, layer, layer + 1, 1ull << h);
	return bytes;
}

/* One place serves a token of a layer: the entries or the tail, whichever has more heads. */
static uint64_t token_bytes(const struct ref *r, unsigned s, uint32_t layer, uint32_t token)
{
	const struct ref_tail *tail = &r->stream[s].group[ref_group_of(&r->stream[s], layer)].tail;
	unsigned of = ref_holder(r, s, token);
	uint32_t heads = 0, bytes = 0, of_tail = 0;

	for (unsigned i = 0; i < REF_ENTRIES; i++) {
		const struct ref_entry *e = &r->entry[i];

		if (!e->used || e->stream != of || e->token != token || layer < e->begin || layer >= e->end)
			continue;
		heads += (uint32_t)__builtin_popcountll(e->heads);
		bytes += entry_bytes(&r->stream[of], e, layer);
	}
	if (in_tail(&r->stream[s], tail, layer, token))
		of_tail = (uint32_t)__builtin_popcountll(tail->heads);
	return of_tail > heads ? (uint64_t)of_tail * r->stream[s].row_bytes : bytes;
}

uint64_t ref_sram_bytes(const struct ref *r, unsigned s, uint32_t layer, uint32_t token)
{
	uint32_t window = r->stream[s].window[layer];
	uint32_t first = window && token + 1 > window ? token + 1 - window : 0;
	uint64_t bytes = 0;

	for (uint32_t t = first; t <= token; t++)
		bytes += token_bytes(r, s, layer, t);
	return bytes;
}

/* A prefix owns those that streams share with it. */
static unsigned page_owner(const struct ref *r, unsigned s, uint32_t page)
{
	while (page < r->stream[s].own_page)
		s = r->stream[s].prefix - 1;
	return s;
}

uint32_t ref_common_pages(const struct ref *r, unsigned a, unsigned b)
{
	uint32_t n = 0;

	while ((n + 1) * REF_PAGE <= r->stream[a].length && (n + 1) * REF_PAGE <= r->stream[b].length &&
	       page_owner(r, a, n) == page_owner(r, b, n))
		n++;
	return n;
}
