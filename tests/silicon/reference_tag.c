// SPDX-License-Identifier: MIT
/*
 * Entries of the model and their contracts: which rows are resident, when a contract is in force, what EVICT
 * and CONTRACT find, and what an uncorrectable error takes. PROMOTE: reference_promote.c.
 */
#include "reference_parts.h"

bool ref_in_force(const struct ref *r, const struct ref_entry *e)
{
	uint32_t age = r->stream[e->stream].length - e->since;

	if (!e->deadline || r->now >= e->deadline)
		return false;
	return !e->dwell || age < e->dwell;
}

uint32_t ref_group_of(const struct ref_stream *st, uint32_t layer)
{
	for (uint32_t g = 0; g < st->groups; g++)
		if (layer < st->group[g].end)
			return g;
	return 0;
}

uint32_t ref_ema_of(const struct ref *r, const struct ref_entry *e)
{
	const struct ref_stream *st = &r->stream[e->stream];

	return st->group[ref_group_of(st, e->begin)].ema[e->token];
}

void ref_drop(struct ref *r, struct ref_entry *e)
{
	r->stream[e->stream].evictions++;
	e->used = false;
}

uint64_t ref_all_heads(const struct ref_stream *st)
{
	return (1ull << st->kv_heads) - 1;
}

bool ref_resident(const struct ref *r, unsigned s, uint32_t token, uint32_t begin, uint32_t end,
		  uint64_t heads)
{
	for (unsigned i = 0; i < REF_ENTRIES; i++) {
		const struct ref_entry *e = &r->entry[i];

		if (e->used && e->stream == s && e->token == token && e->begin < end && begin < e->end &&
		    (e->heads & heads))
			return true;
	}
	return false;
}

struct ref_entry *ref_place(struct ref *r, unsigned s, const struct kvsink_place_item *item,
			    const struct ref_terms *terms, bool automatic)
{
	struct ref_stream *st = &r->stream[s];
	uint32_t units = ref_entry_units(st, item), unit = 0;
	unsigned i = 0;

	if (ref_lacking(r, s, units, true, &unit) != NOTHING)
		return NULL;
	while (r->entry[i].used)
		i++;
	r->generation = r->generation + 1 ? r->generation + 1 : 1;
	r->entry[i] = (struct ref_entry){
		.used = true,
		.stream = s,
		.token = item->token,
		.begin = item->layer_begin,
		.end = item->layer_end,
		.heads = item->head_mask,
		.unit = unit,
		.units = units,
		.generation = r->generation,
		.since = st->length,
		.dwell = terms->dwell,
		.priority = terms->priority,
		.deadline = terms->deadline,
		.automatic = automatic,
	};
	return &r->entry[i];
}

static bool named(const struct ref_entry *e, const struct kvsink_place_item *p)
{
	return (p->token == KVSINK_TOKEN_ALL || p->token == e->token) && e->begin >= p->layer_begin &&
	       e->end <= p->layer_end && !(e->heads & ~p->head_mask);
}

struct ref_answer ref_evict(struct ref *r, unsigned s, const struct kvsink_place_item *items, uint32_t count)
{
	struct ref_answer a = {0};

	if (r->stream[s].replay.tokens) {
		a.code = KVSINK_CODE_WINDOW;
		return a;
	}
	for (uint32_t j = 0; j < count; j++)
		for (unsigned i = 0; i < REF_ENTRIES; i++)
			if (r->entry[i].used && r->entry[i].stream == s && named(&r->entry[i], &items[j])) {
				ref_drop(r, &r->entry[i]);
				a.count++;
			}
	a.code = a.count ? KVSINK_CODE_OK : KVSINK_CODE_NOT_RESIDENT;
	return a;
}

uint32_t ref_check_terms(const struct ref *r, struct ref_terms *terms)
{
	if (terms->priority > KVSINK_MAX_PRIORITY)
		return KVSINK_CODE_BAD_FIELD;
	if (terms->dwell && !terms->deadline)
		terms->deadline = r->now + KVSINK_MAX_LEASE_NS;
	if (terms->deadline && (terms->deadline <= r->now || terms->deadline > r->now + KVSINK_MAX_LEASE_NS))
		return KVSINK_CODE_LEASE;
	return KVSINK_CODE_OK;
}

struct ref_answer ref_contract(struct ref *r, unsigned s, const struct kvsink_place_item *items,
			       uint32_t count, const struct ref_terms *asked)
{
	struct ref_terms terms = *asked;
	struct ref_answer a = {.code = ref_check_terms(r, &terms)};
	bool seen[REF_ENTRIES] = {false};

	if (r->stream[s].replay.tokens)
		a.code = KVSINK_CODE_WINDOW;
	for (uint32_t j = 0; j < count && !a.code; j++)
		for (unsigned i = 0; i < REF_ENTRIES; i++) {
			struct ref_entry *e = &r->entry[i];

			if (!e->used || e->stream != s || !named(e, &items[j]) || seen[i])
				continue;
			seen[i] = true;
			e->since = r->stream[s].length;
			e->dwell = terms.dwell;
			e->priority = terms.priority;
			e->deadline = terms.deadline;
			a.count++;
		}
	if (!a.code && !a.count)
		a.code = KVSINK_CODE_NOT_RESIDENT;
	return a;
}

void ref_lose(struct ref *r, uint32_t generation)
{
	for (unsigned i = 0; i < REF_ENTRIES; i++) {
		struct ref_entry *e = &r->entry[i];

		if (!e->used || e->generation != generation)
			continue;
		r->stream[e->stream].broken += ref_in_force(r, e);
		ref_drop(r, e);
	}
}
