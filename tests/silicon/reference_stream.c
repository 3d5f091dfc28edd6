// SPDX-License-Identifier: MIT
/*
 * The model's life and that of its streams: create, destroy, engine reset, and the steps by which a stream
 * grows. What a step's end decides: reference_ema.c, reference_place.c.
 */
#include <string.h>

#include "reference_parts.h"

static const uint64_t defaults[KVSINK_PARAM_COUNT] = {
#define X(name, index, kind, scope, def, doc) [index] = def,
	KVSINK_PARAMS(X)
#undef X
};

void ref_init(struct ref *r, uint32_t sram_bytes, uint32_t tags)
{
	memset(r, 0, sizeof(*r));
	r->units = sram_bytes / GRANULE;
	r->tags = tags;
	memcpy(r->params, defaults, sizeof(defaults));
}

struct ref_stream *ref_create(struct ref *r, unsigned index, uint64_t id, uint32_t tenant)
{
	struct ref_stream *st = &r->stream[index];

	memset(st, 0, sizeof(*st));
	st->used = true;
	st->id = id;
	st->tenant = tenant;
	st->layers = REF_LAYERS;
	st->q_heads = 4;
	st->kv_heads = 2;
	st->row_bytes = kvsink_row_bytes(0, REF_WIDTH, REF_WIDTH, KVSINK_FORMAT_F32);
	st->max_tokens = REF_TOKENS;
	st->groups = REF_GROUPS;
	for (uint32_t g = 0; g < REF_GROUPS; g++) {
		st->group[g].begin = g ? 1 : 0;
		st->group[g].end = g ? REF_LAYERS : 1;
		memcpy(st->group[g].params, r->params, sizeof(r->params));
		st->group[g].params[KVSINK_PARAM_SRAM_BUDGET] = ALL_ONES;
		st->group[g].params[KVSINK_PARAM_TAIL_TOKENS] = 0;
	}
	for (uint32_t l = 0; l < REF_LAYERS; l++)
		st->weight[l] = 1 << 16;
	return st;
}

struct ref_answer ref_destroy(struct ref *r, unsigned index)
{
	if (ref_users(r, index))
		return (struct ref_answer){.code = KVSINK_CODE_SHARED, .address = ref_users(r, index)};
	for (unsigned i = 0; i < REF_ENTRIES; i++)
		if (r->entry[i].used && r->entry[i].stream == index)
			r->entry[i].used = false;
	r->stream[index].used = false;
	return (struct ref_answer){.code = KVSINK_CODE_OK};
}

void ref_append(struct ref *r, unsigned s, uint32_t layer, uint32_t count)
{
	r->stream[s].appended[layer] += count;
}

void ref_attend(struct ref *r, unsigned s, uint32_t layer, uint32_t first, uint32_t count)
{
	struct ref_stream *st = &r->stream[s];

	if (!st->group[0].params[KVSINK_PARAM_PLACEMENT] || first < st->length || first < st->end_seen[layer])
		return;
	if (st->end_seen[layer] == 0)
		st->first_seen[layer] = first;
	st->end_seen[layer] = first + count;
}

static void forget_step(struct ref_stream *st)
{
	memset(st->appended, 0, sizeof(st->appended));
	memset(st->first_seen, 0, sizeof(st->first_seen));
	memset(st->end_seen, 0, sizeof(st->end_seen));
}

void ref_step_abort(struct ref *r, unsigned s)
{
	struct ref_stream *st = &r->stream[s];

	for (uint32_t g = 0; g < st->groups; g++)
		ref_abort_tail(st, &st->group[g].tail);
	forget_step(st);
}

void ref_step_end(struct ref *r, unsigned s, uint32_t count, const uint64_t *const *mass)
{
	struct ref_stream *st = &r->stream[s];
	uint64_t mode = st->group[0].params[KVSINK_PARAM_PLACEMENT];

	st->length += count;
	for (uint32_t g = 0; g < st->groups; g++) {
		if (mode)
			ref_update_group(st, &st->group[g], mass[g]);
		if (st->group[g].tail.tokens)
			st->group[g].tail.deadline = r->now + KVSINK_MAX_LEASE_NS;
	}
	forget_step(st);
	if (mode == KVSINK_PLACEMENT_AUTO)
		ref_place_sinks(r, s, NULL);
}

uint32_t ref_swap_out(struct ref *r, unsigned s)
{
	struct ref_stream *st = &r->stream[s];

	if (st->closed)
		return KVSINK_CODE_CLOSED;
	if (st->replay.tokens)
		return KVSINK_CODE_WINDOW;
	if (st->swapped)
		return KVSINK_CODE_SWAPPED;
	for (uint32_t l = 0; l < REF_LAYERS; l++)
		if (st->appended[l])
			return KVSINK_CODE_BUSY;
	st->swapped = true;
	st->mapped = 0;
	return KVSINK_CODE_OK;
}

uint32_t ref_swap_in(struct ref *r, unsigned s)
{
	bool out = r->stream[s].swapped;

	if (r->stream[s].closed)
		return KVSINK_CODE_CLOSED;
	r->stream[s].swapped = false;
	return out ? KVSINK_CODE_OK : KVSINK_CODE_BUSY;
}

void ref_reset(struct ref *r)
{
	for (unsigned i = 0; i < REF_ENTRIES; i++) {
		struct ref_entry *e = &r->entry[i];

		if (e->used)
			r->stream[e->stream].broken += ref_in_force(r, e);
		e->used = false;
	}
	for (unsigned s = 0; s < REF_STREAMS; s++) {
		if (!r->stream[s].used)
			continue;
		for (unsigned g = 0; g < r->stream[s].groups; g++) {
			struct ref_tail *t = &r->stream[s].group[g].tail;

			r->stream[s].broken += t->tokens && r->now < t->deadline;
			ref_drop_tail(&r->stream[s].group[g]);
		}
		forget_step(&r->stream[s]);
		memset(&r->stream[s].replay, 0, sizeof(r->stream[s].replay));
	}
}
