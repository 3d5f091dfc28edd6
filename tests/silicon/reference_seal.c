// SPDX-License-Identifier: MIT
/*
 * SEAL and SCORE_IMPORT of the model: how many tokens are codes and which rows of them are not, what that
 * makes of an entry's size, and the sums with which E begins. What the codes are is compared elsewhere.
 */
#include "reference_parts.h"

#define CODES 68u /* bytes of a row of 64 elements as INT8: codes and two scales */

uint32_t ref_row_bytes(const struct ref_stream *st, uint32_t token, uint32_t begin, uint32_t end,
		       uint64_t heads)
{
	bool whole = token >= st->sealed;

	for (uint32_t l = begin; l < end; l++)
		whole = whole || (st->kept[l][token] & heads);
	return whole ? st->row_bytes : 2 * CODES;
}

/* Protected rows that a head's region of a page has room for: what the codes have freed. */
static uint32_t room(void)
{
	uint32_t taken = REF_PAGE * CODES + (REF_PAGE + 7) / 8;

	taken = (taken + 3) / 4 * 4;
	return (REF_PAGE * REF_WIDTH * 4 - taken) / (REF_WIDTH * 4);
}

static uint32_t check_items(const struct ref_stream *st, const struct kvsink_place_item *keep, uint32_t count,
			    uint32_t tokens)
{
	for (uint32_t i = 0; i < count; i++) {
		const struct kvsink_place_item *p = &keep[i];

		if (p->token < st->sealed || p->token >= tokens || p->layer_begin >= p->layer_end ||
		    p->layer_end > st->layers || !p->head_mask || (p->head_mask & ~ref_all_heads(st)))
			return KVSINK_CODE_BAD_FIELD;
	}
	return KVSINK_CODE_OK;
}

/* Too many protected rows in some region of the page? */
static bool crowded(const struct ref_stream *st, uint32_t first)
{
	for (uint32_t l = 0; l < st->layers; l++)
		for (uint32_t h = 0; h < st->kv_heads; h++) {
			uint32_t n = 0;

			for (uint32_t t = first; t < first + REF_PAGE; t++)
				n += st->kept[l][t] >> h & 1;
			if (n > room())
				return true;
		}
	return false;
}

static struct ref_answer refused(uint32_t code, uint64_t address)
{
	return (struct ref_answer){.code = code, .address = address};
}

static struct ref_answer check(const struct ref_stream *st, uint32_t tokens)
{
	if (st->closed)
		return refused(KVSINK_CODE_CLOSED, st->id);
	if (st->swapped)
		return refused(KVSINK_CODE_SWAPPED, st->id);
	if (st->replay.tokens)
		return refused(KVSINK_CODE_WINDOW, st->id);
	if (!st->seals || tokens % REF_PAGE)
		return refused(KVSINK_CODE_BAD_FIELD, UINT64_MAX);
	if (tokens <= st->sealed || tokens > st->length)
		return refused(KVSINK_CODE_SEQUENCE, UINT64_MAX);
	if (st->sealed < st->own_page * REF_PAGE)
		return refused(KVSINK_CODE_SHARED, st->sealed);
	return refused(KVSINK_CODE_OK, 0);
}

/* Rows that the stream has of its own are codes now: no longer the prefix's, even in its own copy. */
static void part(struct ref_stream *st)
{
	if (st->shared > st->own_page * REF_PAGE)
		st->shared = st->own_page * REF_PAGE;
	if (!st->shared)
		st->prefix = 0;
}

struct ref_answer ref_seal(struct ref *r, unsigned s, const struct kvsink_place_item *keep, uint32_t count,
			   uint32_t tokens)
{
	struct ref_stream *st = &r->stream[s], before = *st;
	struct ref_answer a = check(st, tokens);

	if (!a.code)
		a = refused(check_items(st, keep, count, tokens), UINT64_MAX);
	if (a.code)
		return a;
	for (uint32_t i = 0; i < count; i++)
		for (uint32_t l = keep[i].layer_begin; l < keep[i].layer_end; l++)
			st->kept[l][keep[i].token] |= (uint8_t)keep[i].head_mask;
	for (uint32_t t = st->sealed; t < tokens; t += REF_PAGE)
		if (crowded(st, t)) {
			*st = before;
			return refused(KVSINK_CODE_CROWDED, t);
		}
	st->sealed = tokens;
	part(st);
	for (uint32_t g = 0; g < st->groups; g++)
		if (st->group[g].tail.tokens && st->group[g].tail.from < tokens)
			st->group[g].tail.from = tokens;
	return a;
}

/* Queries of the prompt, times weights, that could see the token from outside its local window. */
static uint64_t prompt_observers(const struct ref_stream *st, const struct ref_group *g, uint32_t token,
				 bool all_scored)
{
	uint64_t window = g->params[KVSINK_PARAM_LOCAL_WINDOW], sum = 0;

	if (!window && g->params[KVSINK_PARAM_SCORE_MODE] == KVSINK_SCORE_RAW)
		window = 1;
	for (uint32_t l = g->begin; l < g->end; l++)
		for (uint32_t i = 0; i < (all_scored ? st->length : st->scored[l]); i++)
			if (i >= token + window && (!st->window[l] || i < token + st->window[l]))
				sum += (uint64_t)st->weight[l] * st->q_heads;
	return sum;
}

uint32_t ref_seed(const struct ref_stream *st, const struct ref_group *g, uint32_t token)
{
	uint64_t n = prompt_observers(st, g, token, false), window = g->params[KVSINK_PARAM_LOCAL_WINDOW];
	uint64_t mean;

	if (!window && g->params[KVSINK_PARAM_SCORE_MODE] == KVSINK_SCORE_RAW)
		window = 1;
	if (!n || st->scored[g->begin] < token + window + KVSINK_MIN_OBSERVERS)
		return 0;
	mean = (uint64_t)(((unsigned __int128)g->sum[token] << 16) / n);
	return mean < ALL_ONES ? (uint32_t)mean : ALL_ONES;
}

uint32_t ref_import(struct ref *r, unsigned s, uint32_t group, uint32_t count, const uint64_t *sums)
{
	struct ref_stream *st = &r->stream[s];
	struct ref_group *g = &st->group[group];

	if (st->closed)
		return KVSINK_CODE_CLOSED;
	if (st->swapped)
		return KVSINK_CODE_SWAPPED;
	if (st->replay.tokens)
		return KVSINK_CODE_WINDOW;
	if (!count)
		return KVSINK_CODE_BAD_FIELD;
	if (count != st->length)
		return KVSINK_CODE_SEQUENCE;
	for (uint32_t l = g->begin; l < g->end; l++)
		if (st->scored[l])
			return KVSINK_CODE_BUSY;
	for (uint32_t t = 0; t < count; t++)
		if (sums[t] > (unsigned __int128)prompt_observers(st, g, t, true) << 16)
			return KVSINK_CODE_BAD_FIELD;
	for (uint32_t t = 0; t < count; t++)
		g->sum[t] = sums[t];
	for (uint32_t l = g->begin; l < g->end; l++)
		st->scored[l] = count;
	return KVSINK_CODE_OK;
}
