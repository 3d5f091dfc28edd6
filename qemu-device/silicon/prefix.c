/* SPDX-License-Identifier: MIT */
/*
 * Shared prefixes: streams that do not change and that others begin with.
 *
 * A prefix is a stream whose `closed` is set. A stream that begins with it has the prefix's pages in its own
 * page table, up to own_page; tokens below `shared` are the prefix's, and so are their entries: each is
 * promoted once, whoever reads it. A prefix may itself begin with another one. What can be told apart later,
 * scores and E, is copied when a stream attaches. `users` counts who begins with a prefix; while there are
 * any it cannot be destroyed.
 */
#include <string.h>

#include "chip.h"

struct kvsink_stream *kvsink_row_owner(struct kvsink_stream *s, uint32_t token)
{
	while (token < s->shared)
		s = s->prefix;
	return s;
}

/* Pages at the beginning of a stream's table that are `owner`'s or its prefixes'; 0 if it does not begin with
 * it. */
static uint32_t pages_from(const struct kvsink_stream *s, const struct kvsink_stream *owner)
{
	uint32_t pages = UINT32_MAX;

	for (; s && s != owner; s = s->prefix)
		pages = s->own_page < pages ? s->own_page : pages;
	return s ? pages : 0;
}

uint32_t kvsink_shared_tokens(const struct kvsink_stream *a, const struct kvsink_stream *b)
{
	for (const struct kvsink_stream *p = a->prefix; p; p = p->prefix) {
		uint32_t mine = pages_from(a, p), others = pages_from(b, p);

		if (others)
			return (mine < others ? mine : others) << a->page_shift;
	}
	return 0;
}

/* ---- entries that a stream sees ---- */

/* The first entry from here on that is below the end of its owner's part; else that of the next owner. */
static void settle(const struct kvsink_chip *chip, struct kvsink_entries *e)
{
	for (;;) {
		if (e->index != KVSINK_NONE && chip->tags[e->index].token < e->end[e->level])
			return;
		e->index = KVSINK_NONE;
		if (!e->level)
			return;
		e->index = e->of[--e->level]->first_tag;
	}
}

void kvsink_entries_begin(const struct kvsink_chip *chip, const struct kvsink_stream *s,
			  struct kvsink_entries *e)
{
	uint32_t end = UINT32_MAX;

	e->level = 0;
	for (;; e->level++) {
		e->of[e->level] = s;
		e->end[e->level] = end;
		if (!s->prefix)
			break;
		end = s->shared < end ? s->shared : end;
		s = s->prefix;
	}
	e->index = s->first_tag;
	settle(chip, e);
}

void kvsink_entries_next(const struct kvsink_chip *chip, struct kvsink_entries *e)
{
	e->index = chip->tags[e->index].next;
	settle(chip, e);
}

/* ---- locks ---- */

void kvsink_stream_lock(struct kvsink_stream *s)
{
	for (; s; s = s->prefix)
		s->locks++;
}

void kvsink_stream_unlock(struct kvsink_stream *s)
{
	for (; s; s = s->prefix)
		s->locks--;
}

/* ---- the end ---- */

void kvsink_prefix_release(struct kvsink_stream *s)
{
	if (s->prefix)
		s->prefix->users--;
	s->prefix = NULL;
	s->shared = 0;
	s->own_page = 0;
}

void kvsink_prefix_sealed(struct kvsink_stream *s)
{
	uint32_t pages = s->own_page << s->page_shift;

	if (s->shared <= pages || s->sealed <= pages)
		return;
	if (pages)
		s->shared = pages;
	else
		kvsink_prefix_release(s);
}

/* ---- what is inherited ---- */

static void wrote(struct kvsink_chip *chip, const void *at, uint64_t bytes)
{
	kvsink_dirty(chip, KVSINK_SPACE_HBM, (uint64_t)((const uint8_t *)at - chip->config.hbm), bytes);
}

/* `to` has the first `tokens` tokens of `from`, and nothing yet of what is measured. */
struct heir {
	struct kvsink_ring *ring;
	const struct kvsink_stream *from;
	struct kvsink_stream *to;
	uint32_t tokens;
	bool scores; /* no query behind them was scored */
	bool whole;  /* there are no others */
};

static bool scored_within(const struct kvsink_stream *s, uint32_t tokens)
{
	for (uint32_t l = 0; l < s->layers; l++)
		if (s->layer[l].scored > tokens)
			return false;
	return true;
}

static void inherit_group(const struct heir *h, uint32_t group)
{
	struct kvsink_planes from = kvsink_planes(h->ring->chip, h->from, group);
	struct kvsink_planes to = kvsink_planes(h->ring->chip, h->to, group);
	uint64_t bytes = 0;

	if (h->scores) {
		memcpy(to.sum, from.sum, h->tokens * sizeof(*to.sum));
		bytes += h->tokens * sizeof(*to.sum);
	}
	if (h->whole) {
		memcpy(to.ema, from.ema, h->tokens * sizeof(*to.ema));
		memcpy(to.state, from.state, h->tokens * sizeof(*to.state));
		memcpy(to.promoted, from.promoted, h->tokens * sizeof(*to.promoted));
		bytes += h->tokens * (sizeof(*to.ema) + sizeof(*to.state) + sizeof(*to.promoted));
		h->to->group[group].seeded = h->from->group[group].seeded;
	}
	wrote(h->ring->chip, to.sum, kvsink_score_group_bytes(h->to->max_tokens));
	kvsink_ledger_add(h->ring->chip, h->to, KVSINK_COUNTER_SCORE_HBM, 2 * bytes);
}

/* Norms of the rows; their maximum is that of the tokens that are here. */
static void inherit_norms(const struct heir *h, uint32_t layer)
{
	const struct kvsink_chip *chip = h->ring->chip;
	uint32_t *max = kvsink_norm_max(chip, h->to, layer);

	for (uint32_t head = 0; head < h->to->kv_heads; head++) {
		const uint16_t *from =
			kvsink_norms(chip, h->from, layer) + (size_t)head * h->from->max_tokens;
		uint16_t *to = kvsink_norms(chip, h->to, layer) + (size_t)head * h->to->max_tokens;

		memcpy(to, from, h->tokens * sizeof(*to));
		max[head] = h->whole ? kvsink_norm_max(chip, h->from, layer)[head]
				     : kvsink_norm_largest(to, h->tokens);
	}
}

static void inherit_layer(const struct heir *h, uint32_t l)
{
	const struct kvsink_layer_params *from = &h->from->layer[l];
	struct kvsink_layer_params *to = &h->to->layer[l];

	if (h->scores)
		to->scored = from->scored;
	if (h->whole)
		to->profiled = from->profiled;
	if (!(h->to->flags & KVSINK_STREAM_V_IN_K))
		inherit_norms(h, l);
}

/* Parameters that the numbers were made with, sums and E alike; of LAYER_WEIGHT each layer has its own. */
static void inherit_params(const struct heir *h)
{
	static const enum kvsink_param params[] = {KVSINK_PARAM_LAYER_WEIGHT, KVSINK_PARAM_LOCAL_WINDOW,
						   KVSINK_PARAM_SCORE_MODE};

	for (uint32_t g = 0; g < h->to->score_groups; g++)
		for (unsigned i = 0; i < sizeof(params) / sizeof(params[0]); i++)
			h->to->group[g].params[params[i]] = h->from->group[g].params[params[i]];
	for (uint32_t l = 0; l < h->to->layers; l++)
		h->to->layer[l].weight = h->from->layer[l].weight;
}

static void inherit(const struct heir *h)
{
	struct kvsink_chip *chip = h->ring->chip;
	const struct kvsink_stream *from = h->from;
	struct kvsink_stream *to = h->to;
	uint64_t norms = (uint64_t)from->layers * from->kv_heads * h->tokens * sizeof(uint16_t);
	uint64_t head_params = kvsink_head_params_bytes(from->flags, from->layers, from->q_heads);

	for (uint32_t g = 0; g < to->score_groups; g++)
		inherit_group(h, g);
	for (uint32_t l = 0; l < to->layers; l++)
		inherit_layer(h, l);
	if (h->whole)
		memcpy(kvsink_profile(chip, to), kvsink_profile(chip, from),
		       (size_t)to->layers * to->kv_heads * sizeof(uint64_t));
	if ((h->scores && kvsink_stream_scored(from)) || h->whole)
		inherit_params(h);
	if (head_params)
		memcpy((void *)kvsink_head_params(chip, to, 0), kvsink_head_params(chip, from, 0),
		       head_params);
	wrote(chip, chip->config.hbm + to->scores,
	      kvsink_head_params_at(
		      kvsink_score_bytes(to->layers, to->kv_heads, to->score_groups, to->max_tokens)) +
		      head_params);
	kvsink_ledger_add(chip, to, KVSINK_COUNTER_NORM_WRITE, norms);
	kvsink_spend(h->ring, norms + (uint64_t)h->tokens * to->score_groups * 28);
	to->sealed = from->sealed < h->tokens ? from->sealed : h->tokens & ~((1u << to->page_shift) - 1);
}

/* ---- pages ---- */

static uint32_t in_page(const struct kvsink_stream *s, uint32_t tokens)
{
	return tokens & ((1u << s->page_shift) - 1);
}

/* Entries [0, pages) of the table. */
static void copy_table(struct kvsink_chip *chip, const struct kvsink_stream *from, struct kvsink_stream *to,
		       uint32_t pages)
{
	uint64_t bytes = pages * sizeof(uint64_t);

	memcpy(chip->config.hbm + to->page_table, chip->config.hbm + from->page_table, bytes);
	kvsink_dirty(chip, KVSINK_SPACE_HBM, to->page_table, bytes);
	kvsink_ledger_add(chip, to, KVSINK_COUNTER_PAGE_TABLE_HBM, 2 * bytes);
}

static void set_page(struct kvsink_chip *chip, struct kvsink_stream *s, uint32_t index, uint64_t page)
{
	uint64_t at = s->page_table + (uint64_t)index * sizeof(page);

	memcpy(chip->config.hbm + at, &page, sizeof(page));
	kvsink_dirty(chip, KVSINK_SPACE_HBM, at, sizeof(page));
	kvsink_ledger_add(chip, s, KVSINK_COUNTER_PAGE_TABLE_HBM, sizeof(page));
}

/* The prefix's table has all of them, its own prefix's among them. */
void kvsink_prefix_map(struct kvsink_chip *chip, struct kvsink_stream *s)
{
	s->mapped_pages = s->own_page;
	if (s->own_page)
		copy_table(chip, s->prefix, s, s->own_page);
}

/* Rows of the first `tokens` tokens of a page that is not sealed; the rest of `to` becomes 0. */
static void copy_rows(struct kvsink_ring *ring, struct kvsink_stream *s, uint64_t from, uint64_t to,
		      uint32_t tokens)
{
	uint64_t k = (uint64_t)s->kv_heads * s->d_k * kvsink_format_bytes(s->format);
	uint64_t v = (uint64_t)s->kv_heads * s->row_bytes - k;
	uint8_t *hbm = ring->chip->config.hbm;

	memset(hbm + to, 0, s->page_bytes);
	for (uint32_t l = 0; l < s->layers; l++) {
		memcpy(hbm + to + kvsink_page_k(s, l), hbm + from + kvsink_page_k(s, l), k * tokens);
		if (v)
			memcpy(hbm + to + kvsink_page_v(s, l), hbm + from + kvsink_page_v(s, l), v * tokens);
	}
	kvsink_dirty(ring->chip, KVSINK_SPACE_HBM, to, s->page_bytes);
	kvsink_ledger_add(ring->chip, s, KVSINK_COUNTER_PREFIX_COPY, (k + v) * tokens * s->layers);
	kvsink_spend(ring, s->page_bytes);
	ring->hbm_bytes += 2 * kvsink_ledger_bursts(ring->chip, 0, (k + v) * tokens * s->layers);
}

static uint32_t check_page(struct kvsink_ring *ring, const struct kvsink_stream *s, uint32_t tokens,
			   uint64_t page, uint64_t field)
{
	if (!in_page(s, tokens))
		return page ? kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, field) : KVSINK_CODE_OK;
	return kvsink_area_check(ring, page, s->page_bytes);
}

/* May a copy end there? */
static uint32_t check_cut(struct kvsink_ring *ring, const struct kvsink_stream *s, uint32_t tokens)
{
	if (in_page(s, tokens) && tokens < s->sealed)
		return kvsink_fault(ring, KVSINK_CODE_PARTED, tokens - in_page(s, tokens));
	return KVSINK_CODE_OK;
}

/* ---- PREFIX_PUBLISH ---- */

static uint32_t depth_of(const struct kvsink_stream *s)
{
	uint32_t depth = 0;

	for (; s->prefix; s = s->prefix)
		depth++;
	return depth;
}

static uint64_t score_area(const struct kvsink_stream *s, uint32_t max_tokens)
{
	return kvsink_head_params_at(
		       kvsink_score_bytes(s->layers, s->kv_heads, s->score_groups, max_tokens)) +
	       kvsink_head_params_bytes(s->flags, s->layers, s->q_heads);
}

static uint32_t check_publish(struct kvsink_ring *ring, const struct kvsink_stream *s,
			      const struct kvsink_cmd_prefix_publish *c, uint32_t max_tokens)
{
	struct kvsink_chip *chip = ring->chip;
	uint32_t code;

	for (uint32_t l = 0; l < s->layers; l++)
		if (s->layer[l].appended)
			return kvsink_fault(ring, KVSINK_CODE_BUSY, s->length);
	if (!c->prefix)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(prefix_publish.prefix));
	if (c->reserved)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(prefix_publish.reserved));
	if (c->tokens <= s->shared || c->tokens > s->length)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(prefix_publish.tokens));
	if (kvsink_stream_find(chip, c->prefix))
		return kvsink_fault(ring, KVSINK_CODE_EXISTS, c->prefix);
	if (depth_of(s) == KVSINK_MAX_PREFIX_DEPTH)
		return kvsink_fault(ring, KVSINK_CODE_DEPTH, KVSINK_MAX_PREFIX_DEPTH);
	if (chip->free_stream == KVSINK_NONE)
		return kvsink_fault(ring, KVSINK_CODE_STREAMS, chip->config.streams);
	code = check_cut(ring, s, c->tokens);
	if (!code)
		code = kvsink_area_check(ring, c->page_table,
					 (uint64_t)(max_tokens >> s->page_shift) * sizeof(uint64_t));
	if (!code)
		code = kvsink_area_check(ring, c->scores, score_area(s, max_tokens));
	return code ? code : check_page(ring, s, c->tokens, c->page, KVSINK_FIELD(prefix_publish.page));
}

/* Its geometry and parameters, nothing of what it has. */
static void become_like(struct kvsink_stream *p, const struct kvsink_stream *s)
{
	struct kvsink_stream fresh = {
		.id = p->id, .hash_next = p->hash_next, .layer = p->layer, .first_tag = KVSINK_NONE};

	fresh.tenant = s->tenant;
	fresh.layers = s->layers;
	fresh.q_heads = s->q_heads;
	fresh.kv_heads = s->kv_heads;
	fresh.d_k = s->d_k;
	fresh.d_v = s->d_v;
	fresh.format = s->format;
	fresh.flags = s->flags;
	fresh.page_shift = s->page_shift;
	fresh.score_groups = s->score_groups;
	fresh.page_bytes = s->page_bytes;
	fresh.row_bytes = s->row_bytes;
	fresh.seal_k = s->seal_k;
	fresh.seal_v = s->seal_v;
	fresh.sealed_bytes = s->sealed_bytes;
	for (uint32_t g = 0; g < s->score_groups; g++) {
		fresh.group[g].begin = s->group[g].begin;
		fresh.group[g].end = s->group[g].end;
		memcpy(fresh.group[g].params, s->group[g].params, sizeof(fresh.group[g].params));
		fresh.group[g].params[KVSINK_PARAM_PLACEMENT] = KVSINK_PLACEMENT_OFF;
		fresh.group[g].params[KVSINK_PARAM_TAIL_TOKENS] = 0;
	}
	*p = fresh;
	for (uint32_t l = 0; l < s->layers; l++)
		p->layer[l] = (struct kvsink_layer_params){
			.scale = s->layer[l].scale,
			.softcap = s->layer[l].softcap,
			.window = s->layer[l].window,
			.weight = s->layer[l].weight,
		};
}

/* Entries of the prefix's tokens are its own now; no step of it will ever end a contract. */
static void take_entries(struct kvsink_chip *chip, struct kvsink_stream *s, struct kvsink_stream *p,
			 uint64_t partial_page)
{
	uint32_t first = s->first_tag, last = KVSINK_NONE, i = first;

	for (; i != KVSINK_NONE && chip->tags[i].token < p->length; i = chip->tags[i].next) {
		struct kvsink_tag *tag = &chip->tags[i];

		if (!kvsink_in_force(chip, tag))
			tag->deadline_ns = 0;
		tag->stream = p;
		tag->automatic = false;
		tag->dwell_steps = 0;
		tag->since_step = p->length;
		if (in_page(p, p->length) && tag->token >> p->page_shift == p->length >> p->page_shift)
			tag->page = partial_page;
		p->entries++;
		p->sram_bytes += tag->sram_bytes;
		last = i;
	}
	if (last == KVSINK_NONE)
		return;
	s->entries -= p->entries;
	s->sram_bytes -= p->sram_bytes;
	p->first_tag = first;
	s->first_tag = i;
	chip->tags[last].next = KVSINK_NONE;
	if (i != KVSINK_NONE)
		chip->tags[i].prev = KVSINK_NONE;
}

static void take_pages(struct kvsink_ring *ring, struct kvsink_stream *s, struct kvsink_stream *p,
		       const struct kvsink_cmd_prefix_publish *c, uint64_t from)
{
	uint32_t whole = c->tokens >> s->page_shift, part = in_page(s, c->tokens);

	copy_table(ring->chip, s, p, whole);
	p->mapped_pages = whole + !!part;
	if (part) {
		copy_rows(ring, p, from, c->page, part);
		set_page(ring->chip, p, whole, c->page);
	}
}

uint32_t kvsink_cmd_prefix_publish(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_cmd_prefix_publish *c = &cmd->prefix_publish;
	struct kvsink_chip *chip = ring->chip;
	struct kvsink_stream *s, *p;
	uint32_t code = kvsink_stream_get_hbm(ring, c->stream, &s), max_tokens;
	uint64_t from = 0, cleared;

	if (code)
		return code;
	max_tokens = (c->tokens + (1u << s->page_shift) - 1) >> s->page_shift << s->page_shift;
	code = check_publish(ring, s, c, max_tokens);
	if (!code && in_page(s, c->tokens))
		code = kvsink_page_lookup(ring, s, c->tokens >> s->page_shift, &from);
	if (code)
		return code;
	p = kvsink_stream_take(chip, c->prefix);
	become_like(p, s);
	p->closed = true;
	p->max_tokens = max_tokens;
	p->page_table = c->page_table;
	p->scores = c->scores;
	p->length = c->tokens;
	memcpy(p->key, c->key, sizeof(p->key));
	cleared = kvsink_score_cleared_bytes(s->layers, s->kv_heads, s->score_groups, max_tokens);
	memset(chip->config.hbm + c->scores, 0, cleared);
	kvsink_spend(ring, cleared);
	take_pages(ring, s, p, c, from);
	inherit(&(struct heir){ring, s, p, c->tokens, scored_within(s, c->tokens), c->tokens == s->length});
	take_entries(chip, s, p, c->page);
	p->prefix = s->prefix; /* whose user it is now, in the stream's place */
	p->shared = s->shared;
	p->own_page = s->own_page;
	s->prefix = p;
	s->shared = c->tokens;
	s->own_page = c->tokens >> s->page_shift;
	p->users = 1;
	kvsink_event(chip, KVSINK_EVENT_PREFIX_PUBLISHED, p, p->tenant, 0, c->tokens);
	return KVSINK_CODE_OK;
}

/* ---- PREFIX_ATTACH ---- */

/* The first layer that differs, all ones if something else does; `layers` if nothing does. */
static uint64_t differs(const struct kvsink_stream *s, const struct kvsink_stream *p)
{
	if (s->layers != p->layers || s->q_heads != p->q_heads || s->kv_heads != p->kv_heads ||
	    s->d_k != p->d_k || s->d_v != p->d_v || s->format != p->format || s->flags != p->flags ||
	    s->page_shift != p->page_shift || s->score_groups != p->score_groups || s->seal_k != p->seal_k ||
	    s->seal_v != p->seal_v)
		return UINT64_MAX;
	for (uint32_t g = 0; g < s->score_groups; g++)
		if (s->group[g].end != p->group[g].end)
			return UINT64_MAX;
	for (uint32_t l = 0; l < s->layers; l++)
		if (memcmp(&s->layer[l].scale, &p->layer[l].scale, sizeof(float)) ||
		    memcmp(&s->layer[l].softcap, &p->layer[l].softcap, sizeof(float)) ||
		    s->layer[l].window != p->layer[l].window)
			return l;
	return s->layers;
}

static bool is_fresh(const struct kvsink_stream *s)
{
	if (s->length || s->mapped_pages || s->prefix || kvsink_stream_scored(s))
		return false;
	for (uint32_t l = 0; l < s->layers; l++)
		if (s->layer[l].appended)
			return false;
	return true;
}

static uint32_t check_attach(struct kvsink_ring *ring, const struct kvsink_stream *s,
			     const struct kvsink_stream *p, const struct kvsink_cmd_prefix_attach *c)
{
	uint64_t at;
	uint32_t code;

	if (!p->closed)
		return kvsink_fault(ring, KVSINK_CODE_NOT_SHARED, p->id);
	if (!is_fresh(s))
		return kvsink_fault(ring, KVSINK_CODE_BUSY, s->length);
	at = differs(s, p);
	if (at != s->layers)
		return kvsink_fault(ring, KVSINK_CODE_GEOMETRY, at);
	if (!c->tokens || c->tokens > p->length || c->tokens > s->max_tokens)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(prefix_attach.tokens));
	if (c->reserved)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(prefix_attach.reserved));
	code = check_cut(ring, p, c->tokens);
	return code ? code : check_page(ring, s, c->tokens, c->page, KVSINK_FIELD(prefix_attach.page));
}

uint32_t kvsink_cmd_prefix_attach(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_cmd_prefix_attach *c = &cmd->prefix_attach;
	struct kvsink_chip *chip = ring->chip;
	struct kvsink_stream *s, *p;
	uint32_t code = kvsink_stream_get(ring, c->prefix, &p), whole, part;
	uint64_t from = 0;

	if (!code)
		code = kvsink_stream_get_hbm(ring, c->stream, &s);
	if (!code)
		code = check_attach(ring, s, p, c);
	if (code)
		return code;
	whole = c->tokens >> s->page_shift;
	part = in_page(s, c->tokens);
	if (part)
		code = kvsink_page_lookup(ring, p, whole, &from);
	if (code)
		return code;
	copy_table(chip, p, s, whole);
	if (part) {
		copy_rows(ring, s, from, c->page, part);
		set_page(chip, s, whole, c->page);
	}
	s->mapped_pages = whole + !!part;
	s->length = c->tokens;
	inherit(&(struct heir){ring, p, s, c->tokens, scored_within(p, c->tokens), c->tokens == p->length});
	s->prefix = p;
	s->shared = c->tokens;
	s->own_page = whole;
	p->users++;
	kvsink_tail_begin(s);
	kvsink_event(chip, KVSINK_EVENT_PREFIX_ATTACHED, s, s->tenant, 0, c->tokens);
	return KVSINK_CODE_OK;
}

/* ---- PREFIX_DETACH ---- */

static uint64_t new_page(const struct kvsink_ring *ring, const struct kvsink_cmd_page_map *c, uint32_t index)
{
	uint32_t i = index - c->first_page;

	return ring->item[c->first_item + i / 4].pages[i % 4];
}

static uint32_t check_detach(struct kvsink_ring *ring, const struct kvsink_stream *s,
			     const struct kvsink_cmd_page_map *c)
{
	uint32_t code;

	if (!s->prefix)
		return kvsink_fault(ring, KVSINK_CODE_NOT_SHARED, s->id);
	if (c->reserved)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(prefix_detach.reserved));
	if (!c->count && s->own_page)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(prefix_detach.count));
	if ((uint64_t)c->first_page + c->count != s->own_page + ring->progress)
		return kvsink_fault(ring, KVSINK_CODE_SEQUENCE, s->own_page);
	code = kvsink_check_items(ring, c->first_item, ((uint64_t)c->count + 3) / 4,
				  KVSINK_FIELD(prefix_detach.first_item));
	for (uint32_t i = c->first_page; i < c->first_page + c->count && !code; i++)
		code = kvsink_area_check(ring, new_page(ring, c, i), s->page_bytes);
	return code;
}

static uint32_t detach_page(struct kvsink_ring *ring, struct kvsink_stream *s, uint64_t to)
{
	uint8_t *hbm = ring->chip->config.hbm;
	uint64_t from;
	uint32_t code = kvsink_page_lookup(ring, s, s->own_page - 1, &from);

	if (code)
		return code;
	memcpy(hbm + to, hbm + from, s->page_bytes);
	kvsink_dirty(ring->chip, KVSINK_SPACE_HBM, to, s->page_bytes);
	kvsink_ledger_add(ring->chip, s, KVSINK_COUNTER_PREFIX_COPY, s->page_bytes);
	kvsink_spend(ring, s->page_bytes);
	set_page(ring->chip, s, --s->own_page, to);
	return KVSINK_CODE_OK;
}

/* From the last page to the first, so that what is shared is always a beginning. */
uint32_t kvsink_cmd_prefix_detach(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_cmd_page_map *c = &cmd->prefix_detach;
	struct kvsink_stream *s;
	uint32_t code = kvsink_stream_get_hbm(ring, c->stream, &s);

	if (!code)
		code = check_detach(ring, s, c);
	while (!code && ring->progress < c->count) {
		if (ring->progress && ring->spent >= KVSINK_QUANTUM)
			return KVSINK_MORE;
		code = detach_page(ring, s, new_page(ring, c, s->own_page - 1));
		ring->progress++;
	}
	if (code)
		return code;
	ring->hbm_bytes = 2ull * c->count * s->page_bytes;
	if (s->own_page)
		return KVSINK_CODE_OK;
	kvsink_event(ring->chip, KVSINK_EVENT_PREFIX_DETACHED, s, s->tenant, 0, s->shared);
	kvsink_prefix_release(s);
	return KVSINK_CODE_OK;
}
