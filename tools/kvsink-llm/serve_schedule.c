// SPDX-License-Identifier: MIT
/*
 * Who runs in a step. First come, first served: requests are admitted in the order of the trace while there
 * is room for another sequence, and none is admitted while one that was preempted waits. Those that decode
 * bring a token each, what is left of --chunk goes to prompts, the oldest first. Pages are reserved in that
 * order; when HBM has no more, the youngest is preempted: it keeps its SRAM and contracts, and returns when
 * a request has ended. The oldest is never preempted, so there is always progress. Prefixes that no stream
 * begins with go before anybody is preempted or waits.
 *
 * A request that could begin with a block that another one is computing now waits until that is done.
 */
#include <string.h>

#include "fail.h"
#include "serve_schedule.h"

static uint32_t left_of_prompt(const struct served *r)
{
	return r->asked->prompt - r->position;
}

static int too_small(const struct schedule *s, const struct served *r)
{
	return fail("%s: no room for the request in line %u by itself: %s",
		    kvs_device_name(s->device->device), r->asked->line, kvs_device_error(s->device->device));
}

/* ---- leaving and coming back ---- */

int schedule_finish(struct schedule *s, struct served *r)
{
	int rc = prefix_leave(s->prefixes, r->stream.attention.stream, r->asked->hash,
			      r->asked->prompt / prefix_block_tokens(s->prefixes));

	if (rc)
		return serve_fail(s->device, "prefix", rc);
	r->state = SERVED_DONE;
	r->last_step = s->step;
	s->running--;
	s->done++;
	s->crowded = false;
	return serve_stream_close(s->device, &r->stream);
}

/* HBM, streams or SRAM are short: 1 if a prefix has gone, 0 if none can, or -1. */
static int give_up_prefix(struct schedule *s, const struct shared *keep)
{
	int rc = prefix_evict(s->prefixes, keep);

	return rc < 0 ? serve_fail(s->device, "prefix", rc) : rc;
}

static int preempt(struct schedule *s, struct served *r)
{
	r->state = SERVED_PREEMPTED;
	r->planned = 0;
	r->preemptions++;
	s->running--;
	s->preempted++;
	s->crowded = true;
	return serve_stream_out(s->device, &r->stream);
}

static struct served *youngest(struct schedule *s)
{
	for (uint32_t i = s->next; i-- > 0;)
		if (s->served[i].state == SERVED_RUNNING)
			return &s->served[i];
	return NULL;
}

static int bring_back(struct schedule *s)
{
	for (uint32_t i = 0; i < s->next && s->preempted && s->running < s->parallel; i++) {
		struct served *r = &s->served[i];
		int rc;

		if (r->state != SERVED_PREEMPTED)
			continue;
		while ((rc = serve_stream_in(s->device, &r->stream)) > 0 &&
		       (rc = give_up_prefix(s, NULL)) > 0)
			;
		if (rc < 0)
			return rc;
		if (r->stream.image)
			return s->running ? 0 : too_small(s, r);
		r->state = SERVED_RUNNING;
		s->preempted--;
		s->running++;
	}
	return 0;
}

/* ---- admission ---- */

/* Will somebody soon have the block behind these tokens, which r could begin with? */
static bool is_under_way(const struct schedule *s, const struct served *r, uint32_t tokens)
{
	const uint32_t block = prefix_block_tokens(s->prefixes), wanted = tokens / block + 1;

	if (!prefix_share(s->prefixes)->most || wanted > (r->asked->prompt - 1) / block)
		return false;
	for (uint32_t i = 0; i < s->next; i++) {
		const struct served *q = &s->served[i];

		if (q->state == SERVED_RUNNING && q->asked->prompt / block >= wanted &&
		    q->position < wanted * block &&
		    !memcmp(q->asked->hash, r->asked->hash, wanted * sizeof(*r->asked->hash)))
			return true;
	}
	return false;
}

/* The stream, with its beginning and pages for its prompt: 0, -1, or 1 if there is no room. */
static int make_stream(struct schedule *s, struct served *r, const struct prefix_found *found)
{
	const struct serve_beginning begins = {found->shared ? found->shared->prefix : NULL, found->tokens,
					       found->scores};
	struct share *share = prefix_share(s->prefixes);
	int rc = share_free_sram(share, found->shared, (uint64_t)s->device->sram_bytes * (s->parallel - 1));

	if (rc)
		return serve_fail(s->device, "prefix", rc);
	rc = serve_stream_open(s->device, &r->stream, served_total(r), &begins);
	rc = rc ? rc : serve_stream_reserve(s->device, &r->stream, r->asked->prompt);
	if (rc)
		serve_stream_drop(&r->stream);
	else if (found->shared)
		share_use(share, found->shared);
	return rc;
}

/* The same, and prefixes that are not in use make room; the one that it begins with if nothing else helps. */
static int make_room(struct schedule *s, struct served *r, struct prefix_found *found)
{
	int rc, gone;

	while ((rc = make_stream(s, r, found)) > 0) {
		gone = give_up_prefix(s, found->shared);
		if (gone < 0)
			return -1;
		if (!gone && (s->running || s->preempted || !found->shared))
			return 1;
		if (!gone)
			*found = (struct prefix_found){0};
	}
	return rc;
}

/* 0, -1, or 1 if there is no room, or if it is worth waiting. */
static int admit(struct schedule *s, struct served *r)
{
	struct prefix_found found;
	int rc = prefix_find(s->prefixes, r->asked->hash, r->asked->blocks, r->asked->prompt - 1, &r->known,
			     &found);

	if (rc)
		return serve_fail(s->device, "prefix", rc);
	if (is_under_way(s, r, found.tokens))
		return 1;
	rc = make_room(s, r, &found);
	if (rc > 0) {
		s->device->sram_waits += s->device->no_sram;
		return s->running || s->preempted ? 1 : too_small(s, r);
	}
	if (rc)
		return -1;
	r->shared = r->position = found.tokens;
	r->state = SERVED_RUNNING;
	r->first_step = s->step;
	s->running++;
	s->next++;
	return 0;
}

static int admit_all(struct schedule *s)
{
	int rc = 0;

	if (!s->running && !s->preempted && s->next < s->count && s->served[s->next].arrival > s->step)
		s->step = s->served[s->next].arrival; /* nothing to do until then */
	while (!rc && !s->preempted && s->running < s->parallel && s->next < s->count &&
	       s->served[s->next].arrival <= s->step)
		rc = admit(s, &s->served[s->next]);
	return rc < 0 ? rc : 0;
}

/* ---- who brings what ---- */

/* Pages for what r wants to bring, at the cost of the youngest. Afterwards r may be preempted itself. */
static int reserve(struct schedule *s, struct served *r, uint32_t tokens)
{
	int rc;

	while (r->state == SERVED_RUNNING &&
	       (rc = serve_stream_reserve(s->device, &r->stream, r->position + tokens))) {
		if (rc > 0)
			rc = give_up_prefix(s, NULL);
		if (rc < 0)
			return rc;
		if (rc > 0)
			continue;
		if (s->running == 1)
			return too_small(s, r);
		if (preempt(s, youngest(s)))
			return -1;
	}
	r->planned = r->state == SERVED_RUNNING ? tokens : 0;
	return 0;
}

static int plan(struct schedule *s)
{
	uint32_t room = s->chunk, tokens;

	for (uint32_t i = 0; i < s->next; i++)
		room -= s->served[i].state == SERVED_RUNNING && served_decodes(&s->served[i]);
	for (uint32_t i = 0; i < s->next; i++) {
		struct served *r = &s->served[i];

		r->planned = 0;
		if (r->state != SERVED_RUNNING)
			continue;
		tokens = served_decodes(r) ? 1 : left_of_prompt(r) < room ? left_of_prompt(r) : room;
		if (tokens && reserve(s, r, tokens))
			return -1;
		room -= served_decodes(r) ? 0 : r->planned;
	}
	return 0;
}

static void add_span(struct schedule *s, struct served *r, uint32_t *row)
{
	struct serve_attention *a = s->attention;

	s->of_span[a->spans] = r;
	s->span[a->spans++] = (struct serve_span){
		.stream = &r->stream,
		.position = r->position,
		.count = r->planned,
		.row = *row,
		.decode = served_decodes(r),
	};
	*row += r->planned;
}

static void make_spans(struct schedule *s)
{
	struct serve_attention *a = s->attention;
	uint32_t row = 0;

	a->span = s->span;
	a->spans = 0;
	for (uint32_t i = 0; i < s->next; i++)
		if (s->served[i].planned && served_decodes(&s->served[i]))
			add_span(s, &s->served[i], &row);
	a->decoding = a->spans;
	for (uint32_t i = 0; i < s->next; i++)
		if (s->served[i].planned && !served_decodes(&s->served[i]))
			add_span(s, &s->served[i], &row);
}

int schedule_step(struct schedule *s)
{
	if ((!s->crowded || !s->running) && (bring_back(s) || admit_all(s)))
		return -1;
	if (plan(s))
		return -1;
	make_spans(s);
	return s->attention->spans ? 0 : fail("step %u: nobody can run", s->step);
}

/* ---- after the evaluation ---- */

static int block_scored(void *context, uint32_t i, uint32_t tokens)
{
	struct schedule *s = context;
	struct served *r = s->of_span[i];
	int rc = prefix_computed(s->prefixes, r->stream.attention.stream, (uint32_t)(r - s->served),
				 r->asked->hash, tokens / prefix_block_tokens(s->prefixes));

	return rc ? serve_fail(s->device, "prefix", rc) : 0;
}

void schedule_open(struct schedule *s)
{
	s->attention->block_tokens = prefix_block_tokens(s->prefixes);
	s->attention->block_scored = block_scored;
	s->attention->context = s;
}

static int prompt_done(struct schedule *s, struct served *r)
{
	int rc = share_look(prefix_share(s->prefixes), kvs_stream_id(r->stream.attention.stream));

	return rc ? serve_fail(s->device, "prefix", rc) : serve_stream_prefilled(s->device, &r->stream);
}

int schedule_evaluated(struct schedule *s, uint32_t i)
{
	struct served *r = s->of_span[i];
	int rc;

	r->position += s->span[i].count;
	if (s->span[i].decode)
		rc = serve_stream_stepped(s->device, &r->stream);
	else
		rc = served_decodes(r) ? prompt_done(s, r) : 0;
	return rc ? rc : served_decodes(r);
}
