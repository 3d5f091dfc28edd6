// SPDX-License-Identifier: MIT
/*
 * Prefixes in lockstep. What the driver knows of them is done as it does it: who holds a handle, when a
 * prefix that nobody has ends, which pages change owners. Their records, events and rows: lockstep_share.c.
 */
#include "lockstep.h"

#define ANY_PAGE (4u << 20) /* an offset that could be a page's, for commands that are refused */

static bool held[REF_STREAMS]; /* some handle of the prefix is open */

void lockstep_forget(void)
{
	memset(held, 0, sizeof(held));
	lockstep_forget_events();
	lockstep_log_begins();
}

static unsigned some_prefix(void)
{
	unsigned p = below(REF_STREAMS);

	for (unsigned i = 0; i < REF_STREAMS; i++, p = (p + 1) % REF_STREAMS)
		if (both.ref.stream[p].used && both.ref.stream[p].closed)
			return p;
	return REF_STREAMS;
}

static unsigned streams(void)
{
	unsigned n = 0;

	for (unsigned s = 0; s < REF_STREAMS; s++)
		n += both.ref.stream[s].used && !both.ref.stream[s].closed;
	return n;
}

/* Mostly: then somebody has to go, but not `keep` nor what it begins with. */
static unsigned make_room(unsigned keep)
{
	unsigned s = lockstep_free_place();

	for (unsigned tries = 0; s == REF_STREAMS && tries < 8 && below(10); tries++) {
		unsigned victim = lockstep_some_holder();

		if (victim == keep || ref_users(&both.ref, victim))
			continue;
		if (!both.ref.stream[victim].closed && streams() < 3)
			continue;
		held[victim] = false;
		lockstep_destroy(victim);
		s = lockstep_free_place();
	}
	return s;
}

void lockstep_unused(uint32_t prefix)
{
	if (prefix && !held[prefix - 1] && !ref_users(&both.ref, prefix - 1))
		lockstep_destroy(prefix - 1);
}

/* ---- PUBLISH ---- */

static uint32_t some_tokens(const struct ref_stream *st, uint32_t least)
{
	if (below(24) == 0)
		return below(REF_TOKENS + 2);
	if (below(3) == 0 || st->length <= least)
		return st->length;
	return least + 1 + below(st->length - least);
}

/* The driver's part of a prefix that the chip has made. */
static void take_over(unsigned s, const struct ref_prefix *new, uint64_t page_table)
{
	uint32_t whole = new->tokens / REF_PAGE;

	both.streams[new->at].id = new->id;
	both.streams[new->at].tenant = both.streams[s].tenant;
	both.streams[new->at].page_table = page_table;
	both.streams[new->at].scores = page_table + KVSINK_HBM_ALIGN;
	lockstep_pass_pages(s, new->at, whole);
	held[new->at] = true;
	lockstep_expect(KVSINK_EVENT_PREFIX_PUBLISHED, new->id, new->tokens);
}

static bool publish(unsigned s, struct ref_prefix *new)
{
	struct ref_answer want = ref_publish(&both.ref, s, new);
	uint64_t table = both.streams[s].page_table, page = new->page ? ANY_PAGE : 0;
	struct kvsink_cmd *cmd;

	if (!want.code) {
		lockstep_take_area(new->at);
		table = both.streams[new->at].page_table;
		page = new->page ? lockstep_take_page(new->at, new->tokens / REF_PAGE) : 0;
	}
	cmd = h_cmd(&both.h, KVSINK_OP_PREFIX_PUBLISH);
	cmd->prefix_publish = (struct kvsink_cmd_prefix_publish){.stream = both.streams[s].id,
								 .prefix = new->id,
								 .page_table = table,
								 .scores = table + KVSINK_HBM_ALIGN,
								 .page = page,
								 .key = {new->key[0], new->key[1]},
								 .tokens = new->tokens};
	both.h.desc.flags = KVSINK_JOB_PRIVILEGED;
	lockstep_run(s);
	lockstep_answered(&want);
	if (!want.code)
		take_over(s, new, table);
	return !want.code;
}

static struct ref_prefix prefix_of(unsigned at, uint32_t tokens)
{
	return (struct ref_prefix){
		.id = lockstep_new_id(),
		.at = at,
		.tokens = tokens,
		.page = tokens % REF_PAGE != 0,
		.key = {h_random(&both.seed), both.ops},
	};
}

void lockstep_publish(unsigned s)
{
	unsigned at = make_room(s);
	struct ref_prefix new = prefix_of(at, some_tokens(&both.ref.stream[s], both.ref.stream[s].shared));

	if (below(50) == 0) {
		new.taken = below(2);
		new.id = new.taken ? both.streams[lockstep_some_holder()].id : 0;
	}
	if (below(50) == 0)
		new.page = true;
	publish(s, &new);
}

/* ---- ATTACH ---- */

static bool attach(unsigned s, const struct ref_prefix *old)
{
	struct ref_answer want = ref_attach(&both.ref, s, old);
	uint64_t page = old->page ? ANY_PAGE : 0;
	uint32_t whole = old->tokens / REF_PAGE;
	struct kvsink_cmd *cmd;

	if (!want.code && page)
		page = lockstep_take_page(s, whole);
	cmd = h_cmd(&both.h, KVSINK_OP_PREFIX_ATTACH);
	cmd->prefix_attach = (struct kvsink_cmd_prefix_attach){.stream = both.streams[s].id,
							       .prefix = both.streams[old->at].id,
							       .page = page,
							       .tokens = old->tokens};
	both.h.desc.flags = KVSINK_JOB_PRIVILEGED;
	lockstep_run(s);
	lockstep_answered(&want);
	if (want.code)
		return false;
	for (uint32_t i = 0; i < whole; i++)
		lockstep_same_page(s, old->at, i);
	lockstep_expect(KVSINK_EVENT_PREFIX_ATTACHED, both.streams[s].id, old->tokens);
	return true;
}

/* A tail, or a window, that it has before it has a token. */
static void prepare(unsigned s)
{
	if (below(4) == 0)
		lockstep_config(s, KVSINK_GROUP_ALL, KVSINK_PARAM_TAIL_TOKENS, 1 + below(6), true);
	if (below(16) == 0)
		lockstep_window(s);
	if (below(16) == 0)
		lockstep_swap(s);
}

static void attach_newborn(unsigned s, const struct ref_prefix *old, unsigned like)
{
	uint32_t outcome;

	lockstep_pageless(s, like);
	prepare(s);
	attach(s, old);
	outcome = both.outcome;
	if (both.ref.stream[s].swapped)
		lockstep_swap(s);
	else
		lockstep_map_pages(s);
	both.outcome = outcome;
}

void lockstep_attach(void)
{
	unsigned p = some_prefix(), s;
	struct ref_prefix old;
	uint32_t outcome;
	bool was_held;

	if (p == REF_STREAMS)
		return;
	if (below(30) == 0)
		p = lockstep_some_stream(); /* which is none */
	old = prefix_of(p, some_tokens(&both.ref.stream[p], 0));
	if (below(50) == 0)
		old.page = true;
	was_held = held[p];
	held[p] = true; /* by this call */
	s = below(8) ? make_room(p) : REF_STREAMS;
	if (s == REF_STREAMS)
		attach(lockstep_some_stream(), &old);
	else
		attach_newborn(s, &old, below(8) ? p : REF_STREAMS);
	outcome = both.outcome;
	held[p] = was_held;
	if (both.ref.stream[p].closed)
		lockstep_unused(p + 1);
	both.outcome = outcome;
}

void lockstep_fork(unsigned s)
{
	struct ref_stream *st = &both.ref.stream[s];
	struct ref_prefix new;
	unsigned at;

	if (!st->length)
		return;
	new = prefix_of(REF_STREAMS, 1 + below(st->length));
	if (new.tokens > st->shared) {
		new.at = make_room(s);
		if (!publish(s, &new))
			return;
	}
	new.at = st->prefix - 1;
	at = make_room(s);
	if (at < REF_STREAMS)
		attach_newborn(at, &new, new.at);
}

/* ---- DETACH ---- */

static void fill_pages(unsigned s, uint32_t first, uint32_t count, bool take)
{
	for (uint32_t i = 0; i < count; i += 4) {
		union kvsink_item item = {.pages = {0}};

		for (uint32_t j = 0; j < 4 && i + j < count; j++)
			item.pages[j] = take ? lockstep_take_page(s, first + i + j) : ANY_PAGE;
		h_item(&both.h, &item);
	}
}

void lockstep_detach(unsigned s)
{
	const struct ref_stream *st = &both.ref.stream[s];
	uint32_t count = below(st->own_page + 1), first = st->own_page - count;
	uint32_t prefix = st->prefix, shared = st->shared;
	struct kvsink_cmd *cmd;
	struct ref_answer want;

	if (below(3) == 0) {
		count = st->own_page;
		first = 0;
	}
	if (below(16) == 0)
		first = below(REF_PAGES);
	cmd = h_cmd(&both.h, KVSINK_OP_PREFIX_DETACH);
	cmd->prefix_detach =
		(struct kvsink_cmd_page_map){.stream = st->id, .first_page = first, .count = count};
	want = ref_detach(&both.ref, s, first, count);
	fill_pages(s, first, count, !want.code);
	both.h.desc.flags = KVSINK_JOB_PRIVILEGED;
	lockstep_run(s);
	lockstep_answered(&want);
	if (want.code)
		return;
	if (!st->prefix) {
		lockstep_expect(KVSINK_EVENT_PREFIX_DETACHED, st->id, shared);
		lockstep_unused(prefix);
	}
	both.outcome = KVSINK_CODE_OK;
}

/* ---- the end of a prefix ---- */

void lockstep_let_go(void)
{
	unsigned p = some_prefix();

	if (p == REF_STREAMS)
		return;
	if (below(3) == 0 || !ref_users(&both.ref, p)) {
		lockstep_destroy(p); /* SHARED, if somebody has it */
		return;
	}
	held[p] = false;
	both.outcome = KVSINK_CODE_OK;
}

static void kill_streams(uint32_t tenant)
{
	for (unsigned s = 0; s < REF_STREAMS; s++)
		if (both.ref.stream[s].used && !both.ref.stream[s].closed && both.streams[s].tenant == tenant)
			lockstep_destroy(s);
}

static void close_handles(uint32_t tenant)
{
	for (unsigned p = 0; p < REF_STREAMS; p++)
		if (both.ref.stream[p].used && both.ref.stream[p].closed &&
		    both.streams[p].tenant == tenant) {
			held[p] = false;
			lockstep_unused(p + 1);
		}
}

void lockstep_end_all(void)
{
	for (unsigned s = 0; s < REF_STREAMS; s++)
		if (both.ref.stream[s].used && both.ref.stream[s].closed)
			held[s] = false;
	for (unsigned s = 0; s < REF_STREAMS; s++)
		if (both.ref.stream[s].used && both.ref.stream[s].closed)
			lockstep_unused(s + 1);
	for (unsigned s = 0; s < REF_STREAMS; s++)
		if (both.ref.stream[s].used && !both.ref.stream[s].closed)
			lockstep_destroy(s);
}

/* In either order; whoever else shares a prefix keeps it. */
void lockstep_kill_owner(void)
{
	uint32_t tenant = both.streams[lockstep_some_stream()].tenant;
	bool first = below(2);

	if (first)
		close_handles(tenant);
	kill_streams(tenant);
	if (!first)
		close_handles(tenant);
	for (unsigned s = 0; s < REF_STREAMS; s++)
		if (both.ref.stream[s].used && both.ref.stream[s].closed && !held[s] &&
		    !ref_users(&both.ref, s))
			lockstep_differ("a prefix is left that nobody has");
	while (streams() < 2 && lockstep_free_place() < REF_STREAMS)
		lockstep_newborn(lockstep_free_place());
	if (!streams())
		lockstep_differ("prefixes alone fill the chip");
	both.outcome = KVSINK_CODE_OK;
}

/* ---- what a prefix refuses ---- */

void lockstep_closed(void)
{
	static const uint16_t ops[] = {
		KVSINK_OP_PAGE_MAP,	 KVSINK_OP_APPEND,	  KVSINK_OP_SCORE,
		KVSINK_OP_STEP_END,	 KVSINK_OP_SCORE_IMPORT,  KVSINK_OP_LAYER_HEADS,
		KVSINK_OP_SEAL,		 KVSINK_OP_SWAP_OUT,	  KVSINK_OP_PREFIX_PUBLISH,
		KVSINK_OP_PREFIX_ATTACH, KVSINK_OP_PREFIX_DETACH, KVSINK_OP_WINDOW_BEGIN};
	unsigned p = some_prefix();
	struct ref_answer want = {.code = KVSINK_CODE_CLOSED};

	if (p == REF_STREAMS)
		return;
	want.address = both.streams[p].id;
	h_cmd(&both.h, ops[below(sizeof(ops) / sizeof(ops[0]))])->words[0] = want.address;
	both.h.desc.flags = KVSINK_JOB_PRIVILEGED;
	lockstep_run(p);
	lockstep_answered(&want);
}
