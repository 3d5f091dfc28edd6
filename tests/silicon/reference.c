// SPDX-License-Identifier: MIT
/* The model of reference.h. Slow and plain on purpose: no list, no cache, no incremental sum. */
#include <string.h>

#include "reference.h"

#define GRANULE KVSINK_SRAM_UNIT
#define ALL_ONES 0xffffffffu

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

/* ---- what is where ---------------------------------------------------------------------------------- */

static uint32_t used_by_stream(const struct ref *r, unsigned s)
{
	uint32_t units = 0;

	for (unsigned i = 0; i < REF_ENTRIES; i++)
		if (r->entry[i].used && r->entry[i].stream == s)
			units += r->entry[i].units;
	for (unsigned g = 0; g < r->stream[s].groups; g++)
		units += r->stream[s].group[g].tail.units;
	return units * GRANULE;
}

static uint32_t account(const struct ref *r, unsigned s)
{
	uint32_t tag = (uint32_t)r->stream[s].group[0].params[KVSINK_PARAM_TENANT_TAG];

	return tag == ALL_ONES ? r->stream[s].tenant : tag;
}

static uint32_t used_by_account(const struct ref *r, uint32_t who)
{
	uint32_t bytes = 0;

	for (unsigned s = 0; s < REF_STREAMS; s++)
		if (r->stream[s].used && account(r, s) == who)
			bytes += used_by_stream(r, s);
	return bytes;
}

uint32_t ref_used_units(const struct ref *r)
{
	uint32_t bytes = 0;

	for (unsigned s = 0; s < REF_STREAMS; s++)
		if (r->stream[s].used)
			bytes += used_by_stream(r, s);
	return bytes / GRANULE;
}

static uint32_t used_tags(const struct ref *r)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < REF_ENTRIES; i++)
		n += r->entry[i].used;
	return n;
}

static void paint(bool *map, uint32_t unit, uint32_t units)
{
	for (uint32_t i = 0; i < units; i++)
		map[unit + i] = true;
}

static void draw(const struct ref *r, bool *map)
{
	memset(map, 0, REF_UNITS * sizeof(*map));
	for (unsigned i = 0; i < REF_ENTRIES; i++)
		if (r->entry[i].used)
			paint(map, r->entry[i].unit, r->entry[i].units);
	for (unsigned s = 0; s < REF_STREAMS; s++)
		for (unsigned g = 0; r->stream[s].used && g < r->stream[s].groups; g++)
			paint(map, r->stream[s].group[g].tail.unit, r->stream[s].group[g].tail.units);
}

static bool first_fit(const struct ref *r, uint32_t units, uint32_t *unit)
{
	bool map[REF_UNITS];

	draw(r, map);
	for (uint32_t at = 0; at + units <= r->units; at++) {
		uint32_t n = 0;

		while (n < units && !map[at + n])
			n++;
		if (n == units) {
			*unit = at;
			return true;
		}
	}
	return false;
}

/* ---- limits ------------------------------------------------------------------------------------------- */

/* What is short for a grant, for the choice of victims. */
enum lack { NOTHING, STREAM_BUDGET, DEVICE_BUDGET, CAP, NO_TAG, NO_RANGE };

static const uint32_t lack_code[] = {
	[NOTHING] = KVSINK_CODE_OK,	      [STREAM_BUDGET] = KVSINK_CODE_BUDGET,
	[DEVICE_BUDGET] = KVSINK_CODE_BUDGET, [CAP] = KVSINK_CODE_TENANT_CAP,
	[NO_TAG] = KVSINK_CODE_TAGS,	      [NO_RANGE] = KVSINK_CODE_FRAGMENTED,
};

/* Of budgets and tags, wherever the bytes may lie. */
static enum lack limits(const struct ref *r, unsigned s, uint32_t units, uint32_t tags)
{
	uint64_t bytes = (uint64_t)units * GRANULE;
	uint64_t device = r->params[KVSINK_PARAM_SRAM_BUDGET];

	if (device > (uint64_t)r->units * GRANULE)
		device = (uint64_t)r->units * GRANULE;
	if (used_by_stream(r, s) + bytes > r->stream[s].group[0].params[KVSINK_PARAM_SRAM_BUDGET])
		return STREAM_BUDGET;
	if ((uint64_t)ref_used_units(r) * GRANULE + bytes > device)
		return DEVICE_BUDGET;
	if (used_by_account(r, account(r, s)) + bytes > r->params[KVSINK_PARAM_TENANT_CAP])
		return CAP;
	return used_tags(r) + tags > r->tags ? NO_TAG : NOTHING;
}

static enum lack lacking(const struct ref *r, unsigned s, uint32_t units, bool tag, uint32_t *unit)
{
	enum lack lack = limits(r, s, units, tag);

	return lack == NOTHING && !first_fit(r, units, unit) ? NO_RANGE : lack;
}

/* ---- entries ------------------------------------------------------------------------------------------ */

bool ref_in_force(const struct ref *r, const struct ref_entry *e)
{
	uint32_t age = r->stream[e->stream].length - e->since;

	if (!e->deadline || r->now >= e->deadline)
		return false;
	return !e->dwell || age < e->dwell;
}

static uint32_t group_of(const struct ref_stream *st, uint32_t layer)
{
	for (uint32_t g = 0; g < st->groups; g++)
		if (layer < st->group[g].end)
			return g;
	return 0;
}

static uint32_t ema_of(const struct ref *r, const struct ref_entry *e)
{
	const struct ref_stream *st = &r->stream[e->stream];

	return st->group[group_of(st, e->begin)].ema[e->token];
}

static void drop(struct ref *r, struct ref_entry *e)
{
	r->stream[e->stream].evictions++;
	e->used = false;
}

static void drop_tail(struct ref_group *g)
{
	memset(&g->tail, 0, sizeof(g->tail));
	g->params[KVSINK_PARAM_TAIL_TOKENS] = 0;
}

static uint32_t heads_in(uint64_t mask)
{
	return (uint32_t)__builtin_popcountll(mask);
}

static uint32_t units_for(const struct ref_stream *st, uint32_t layers, uint64_t heads, uint32_t tokens)
{
	uint32_t bytes = layers * heads_in(heads) * tokens * st->row_bytes;

	return (bytes + GRANULE - 1) / GRANULE;
}

static uint64_t all_heads(const struct ref_stream *st)
{
	return (1ull << st->kv_heads) - 1;
}

/* Has any entry of the token a row of these layers and heads? */
static bool resident(const struct ref *r, unsigned s, uint32_t token, uint32_t begin, uint32_t end,
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

static struct ref_entry *place(struct ref *r, unsigned s, const struct kvsink_place_item *item,
			       const struct ref_terms *terms, bool automatic)
{
	struct ref_stream *st = &r->stream[s];
	uint32_t units = units_for(st, item->layer_end - item->layer_begin, item->head_mask, 1), unit = 0;
	unsigned i = 0;

	if (lacking(r, s, units, true, &unit) != NOTHING)
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

/* ---- streams ------------------------------------------------------------------------------------------ */

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
	st->row_bytes = kvsink_row_bytes(REF_WIDTH, REF_WIDTH, KVSINK_FORMAT_F32);
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

void ref_destroy(struct ref *r, unsigned index)
{
	for (unsigned i = 0; i < REF_ENTRIES; i++)
		if (r->entry[i].used && r->entry[i].stream == index)
			r->entry[i].used = false;
	r->stream[index].used = false;
}

/* ---- PROMOTE, EVICT, CONTRACT ---------------------------------------------------------------------------
 */

static uint32_t check_places(const struct ref *r, unsigned s, const struct kvsink_place_item *items,
			     uint32_t count)
{
	const struct ref_stream *st = &r->stream[s];
	uint32_t range = (uint32_t)st->group[0].params[KVSINK_PARAM_LAYER_RANGE];

	for (uint32_t i = 0; i < count; i++) {
		const struct kvsink_place_item *p = &items[i];
		uint64_t allowed = all_heads(st);

		if (p->layer_begin >= p->layer_end || p->layer_end > st->layers ||
		    p->layer_begin < (range & 0xffff) || p->layer_end > range >> 16)
			return KVSINK_CODE_BAD_FIELD;
		for (uint32_t l = p->layer_begin; l < p->layer_end; l++)
			allowed &= st->group[group_of(st, l)].params[KVSINK_PARAM_HEAD_MASK];
		if (!p->head_mask || (p->head_mask & ~allowed) || p->token >= st->length)
			return KVSINK_CODE_BAD_FIELD;
		if (resident(r, s, p->token, p->layer_begin, p->layer_end, p->head_mask))
			return KVSINK_CODE_EXISTS;
		for (uint32_t j = 0; j < i; j++)
			if (items[j].token == p->token && items[j].layer_begin < p->layer_end &&
			    p->layer_begin < items[j].layer_end && (items[j].head_mask & p->head_mask))
				return KVSINK_CODE_EXISTS;
	}
	return KVSINK_CODE_OK;
}

static uint32_t check_terms(const struct ref *r, struct ref_terms *terms)
{
	if (terms->priority > KVSINK_MAX_PRIORITY)
		return KVSINK_CODE_BAD_FIELD;
	if (terms->dwell && !terms->deadline)
		terms->deadline = r->now + KVSINK_MAX_LEASE_NS;
	if (terms->deadline && (terms->deadline <= r->now || terms->deadline > r->now + KVSINK_MAX_LEASE_NS))
		return KVSINK_CODE_LEASE;
	return KVSINK_CODE_OK;
}

/* Something that may have to give way: an entry, or a tail. */
struct victim {
	struct ref_entry *entry;
	struct ref_group *tail_of;
	uint32_t stream, priority, ema, generation;
};

static bool before(const struct victim *a, const struct victim *b)
{
	if (a->priority != b->priority)
		return a->priority < b->priority;
	if (a->ema != b->ema)
		return a->ema < b->ema;
	return a->generation < b->generation;
}

static bool helps(const struct ref *r, unsigned s, enum lack lack, const struct victim *v)
{
	if (lack == STREAM_BUDGET)
		return v->stream == s;
	if (lack == CAP)
		return account(r, v->stream) == account(r, s);
	if (lack == NO_TAG)
		return v->entry != NULL;
	return true;
}

/* The next one to give way to a grant with these terms, or false. */
static bool next_victim(struct ref *r, unsigned s, enum lack lack, const struct ref_terms *terms,
			struct victim *best)
{
	bool found = false;

	for (unsigned i = 0; i < REF_ENTRIES; i++) {
		struct ref_entry *e = &r->entry[i];
		struct victim v = {e, NULL, e->stream, e->priority, 0, e->generation};

		if (!e->used || ref_in_force(r, e))
			continue;
		if (!terms->deadline &&
		    (account(r, e->stream) != account(r, s) || e->priority >= terms->priority))
			continue;
		v.ema = ema_of(r, e);
		if (helps(r, s, lack, &v) && (!found || before(&v, best))) {
			*best = v;
			found = true;
		}
	}
	for (unsigned t = 0; t < REF_STREAMS && terms->deadline; t++)
		for (unsigned g = 0; r->stream[t].used && g < r->stream[t].groups; g++) {
			struct ref_group *group = &r->stream[t].group[g];
			struct victim v = {NULL, group, t, 0, 0, 0};

			if (group->tail.units && r->now >= group->tail.deadline && helps(r, s, lack, &v) &&
			    (!found || before(&v, best))) {
				*best = v;
				found = true;
			}
		}
	return found;
}

static void give_way(struct ref *r, struct victim *v)
{
	r->stream[v->stream].displaced++;
	if (v->entry)
		drop(r, v->entry);
	else
		drop_tail(v->tail_of);
}

static uint32_t item_units(const struct ref *r, unsigned s, const struct kvsink_place_item *p)
{
	return units_for(&r->stream[s], p->layer_end - p->layer_begin, p->head_mask, 1);
}

/* All of the items, displacing what must; on failure `r` is as it was. */
static enum lack place_all(struct ref *r, unsigned s, const struct kvsink_place_item *items, uint32_t count,
			   const struct ref_terms *terms)
{
	struct ref keep = *r;
	enum lack first = NOTHING, lack = NOTHING;
	struct victim v = {0};
	struct ref cleared;

	for (;;) {
		uint32_t units = 0, unit;

		for (uint32_t i = 0; i < count; i++)
			units += item_units(r, s, &items[i]);
		cleared = *r;
		lack = limits(r, s, units, count);
		for (uint32_t i = 0; i < count && lack == NOTHING; i++) {
			lack = lacking(r, s, item_units(r, s, &items[i]), true, &unit);
			if (lack == NOTHING)
				place(r, s, &items[i], terms, false);
		}
		if (lack == NOTHING)
			return NOTHING;
		if (first == NOTHING)
			first = lack;
		*r = cleared;
		if (!next_victim(r, s, lack, terms, &v)) {
			*r = keep;
			return first;
		}
		give_way(r, &v);
	}
}

static void note_promotion(struct ref *r, unsigned s, const struct kvsink_place_item *p)
{
	struct ref_stream *st = &r->stream[s];

	for (uint32_t g = 0; g < st->groups; g++)
		if (p->layer_begin < st->group[g].end && st->group[g].begin < p->layer_end)
			st->group[g].promoted[p->token] = st->length + 1;
	st->promotions++;
}

static void count_grant(struct ref *r, unsigned s, const struct kvsink_place_item *p, struct ref_answer *a)
{
	note_promotion(r, s, p);
	a->bytes += item_units(r, s, p) * GRANULE;
	a->count++;
}

struct ref_answer ref_promote(struct ref *r, unsigned s, const struct kvsink_place_item *items,
			      uint32_t count, const struct ref_terms *asked)
{
	struct ref_terms terms = *asked;
	struct ref_answer a = {.code = check_terms(r, &terms)};
	uint32_t next = r->generation + 1 ? r->generation + 1 : 1;
	enum lack lack = NOTHING;

	if (!a.code)
		a.code = check_places(r, s, items, count);
	if (a.code)
		return a;
	if (!terms.partial)
		lack = place_all(r, s, items, count, &terms);
	for (uint32_t i = 0; i < count && lack == NOTHING; i++) {
		if (terms.partial)
			lack = place_all(r, s, &items[i], 1, &terms);
		if (lack == NOTHING)
			count_grant(r, s, &items[i], &a);
	}
	if (lack != NOTHING)
		r->stream[s].refusals++;
	if (!terms.partial)
		a.code = lack_code[lack];
	else
		a.ended = lack_code[lack];
	a.generation = a.count ? next : 0;
	return a;
}

static bool named(const struct ref_entry *e, const struct kvsink_place_item *p)
{
	return (p->token == KVSINK_TOKEN_ALL || p->token == e->token) && e->begin >= p->layer_begin &&
	       e->end <= p->layer_end && !(e->heads & ~p->head_mask);
}

struct ref_answer ref_evict(struct ref *r, unsigned s, const struct kvsink_place_item *items, uint32_t count)
{
	struct ref_answer a = {0};

	for (uint32_t j = 0; j < count; j++)
		for (unsigned i = 0; i < REF_ENTRIES; i++)
			if (r->entry[i].used && r->entry[i].stream == s && named(&r->entry[i], &items[j])) {
				drop(r, &r->entry[i]);
				a.count++;
			}
	a.code = a.count ? KVSINK_CODE_OK : KVSINK_CODE_NOT_RESIDENT;
	return a;
}

struct ref_answer ref_contract(struct ref *r, unsigned s, const struct kvsink_place_item *items,
			       uint32_t count, const struct ref_terms *asked)
{
	struct ref_terms terms = *asked;
	struct ref_answer a = {.code = check_terms(r, &terms)};
	bool seen[REF_ENTRIES] = {false};

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

/* ---- CONFIG ----------------------------------------------------------------------------------------------
 */

#define INFINITE 0x7f800000u
#define ONE 0x3f800000u

enum kind { F32, U32, U64 };
enum scope { DEVICE, STREAM, GROUP };

static const struct {
	enum kind kind;
	enum scope scope;
} params[KVSINK_PARAM_COUNT] = {
#define X(name, index, kind, scope, def, doc) [index] = {kind, scope},
	KVSINK_PARAMS(X)
#undef X
};

/* Of a stream, or of the device (NULL), which knows no geometry. */
static bool value_ok(const struct ref *r, const struct ref_stream *st, uint32_t param, uint64_t value)
{
	uint32_t end = (uint32_t)(value >> 16);

	if (params[param].kind == F32)
		return value < (param == KVSINK_PARAM_ALPHA ? ONE : INFINITE);
	if (params[param].kind == U32 && value > ALL_ONES)
		return false;
	switch (param) {
	case KVSINK_PARAM_SCORE_MODE:
	case KVSINK_PARAM_PLACEMENT:
		return value <= 2;
	case KVSINK_PARAM_N_PROMOTE:
	case KVSINK_PARAM_N_EVICT:
		return value >= 1 && value <= 0xffff;
	case KVSINK_PARAM_TAIL_TOKENS:
		return value <= KVSINK_MAX_TAIL_TOKENS;
	case KVSINK_PARAM_PRIORITY:
		return value <= KVSINK_MAX_PRIORITY;
	case KVSINK_PARAM_LAYER_RANGE:
		if (st && ((value & 0xffff) >= st->layers || (end > st->layers && end != 0xffff)))
			return false;
		return (value & 0xffff) < end;
	case KVSINK_PARAM_HEAD_MASK:
		return !st || value == UINT64_MAX || !(value & ~all_heads(st));
	case KVSINK_PARAM_SRAM_BUDGET:
	case KVSINK_PARAM_TENANT_CAP:
		return value == ALL_ONES || value <= (uint64_t)r->units * GRANULE;
	}
	return true;
}

static uint32_t conflict(const uint64_t *old, uint32_t param, uint64_t value)
{
	if (param == KVSINK_PARAM_T_PROMOTE && value <= old[KVSINK_PARAM_T_EVICT])
		return KVSINK_CODE_CONFLICT;
	if (param == KVSINK_PARAM_T_EVICT && value >= old[KVSINK_PARAM_T_PROMOTE])
		return KVSINK_CODE_CONFLICT;
	return KVSINK_CODE_OK;
}

/* A new ring for the tail of group g, or the reason why there is none; then the old one stays. */
static uint32_t set_tail(struct ref *r, unsigned s, uint32_t g, uint32_t tokens)
{
	struct ref_stream *st = &r->stream[s];
	struct ref_group *group = &st->group[g];
	uint32_t range = (uint32_t)group->params[KVSINK_PARAM_LAYER_RANGE];
	struct ref_tail keep = group->tail, tail = {.tokens = tokens, .from = st->length};
	enum lack lack = NOTHING;

	for (uint32_t l = 0; l < st->layers; l++)
		if (st->appended[l])
			return KVSINK_CODE_BUSY;
	tail.begin = group->begin > (range & 0xffff) ? group->begin : range & 0xffff;
	tail.end = group->end < range >> 16 ? group->end : range >> 16;
	tail.heads = group->params[KVSINK_PARAM_HEAD_MASK] & all_heads(st);
	tail.deadline = r->now + KVSINK_MAX_LEASE_NS;
	memset(&group->tail, 0, sizeof(group->tail));
	if (!tokens || tail.begin >= tail.end || !tail.heads)
		return KVSINK_CODE_OK;
	tail.units = units_for(st, tail.end - tail.begin, tail.heads, tokens);
	lack = lacking(r, s, tail.units, false, &tail.unit);
	group->tail = lack == NOTHING ? tail : keep;
	return lack_code[lack];
}

static uint32_t config_stream(struct ref *r, unsigned s, uint32_t group, uint32_t param, uint64_t value)
{
	struct ref_stream *st = &r->stream[s];
	uint32_t first = group == KVSINK_GROUP_ALL ? 0 : group;
	uint32_t end = group == KVSINK_GROUP_ALL ? st->groups : group + 1, code = KVSINK_CODE_OK;
	struct ref keep = *r;

	for (uint32_t g = first; g < end && !code; g++)
		code = conflict(st->group[g].params, param, value);
	if (!code && param == KVSINK_PARAM_PLACEMENT && !st->group[0].params[param] && value)
		for (uint32_t g = 0; g < st->groups; g++)
			st->group[g].seeded = false;
	for (uint32_t g = first; g < end && !code; g++) {
		if (param == KVSINK_PARAM_TAIL_TOKENS)
			code = set_tail(r, s, g, (uint32_t)value);
		if (!code)
			st->group[g].params[param] = value;
	}
	if (code)
		*r = keep;
	return code;
}

uint32_t ref_config(struct ref *r, unsigned s, uint32_t group, uint32_t param, uint64_t value,
		    bool privileged)
{
	bool device = s == ALL_ONES;
	uint32_t code;

	if (param >= KVSINK_PARAM_COUNT)
		return KVSINK_CODE_BAD_FIELD;
	if (group != KVSINK_GROUP_ALL &&
	    (device || params[param].scope != GROUP || group >= r->stream[s].groups))
		return KVSINK_CODE_BAD_FIELD;
	if (!value_ok(r, device ? NULL : &r->stream[s], param, value) ||
	    (!device && params[param].scope == DEVICE))
		return KVSINK_CODE_BAD_FIELD;
	if (!privileged && (device || param == KVSINK_PARAM_TENANT_TAG))
		return KVSINK_CODE_TENANT;
	if (!device)
		return config_stream(r, s, group, param, value);
	code = conflict(r->params, param, value);
	if (!code)
		r->params[param] = value;
	return code;
}

/* ---- steps
 * ------------------------------------------------------------------------------------------------- */

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

	for (uint32_t g = 0; g < st->groups; g++) {
		struct ref_tail *t = &st->group[g].tail;
		uint32_t end = st->length;

		for (uint32_t l = t->begin; l < t->end; l++)
			if (st->length + st->appended[l] > end)
				end = st->length + st->appended[l];
		if (t->tokens && end > st->length && end > t->from + t->tokens)
			t->from = end - t->tokens;
	}
	forget_step(st);
}

/* Queries times weights that could have seen a token outside its window in the step. */
static uint64_t observers(const struct ref_stream *st, const struct ref_group *g, uint32_t token)
{
	uint64_t window = g->params[KVSINK_PARAM_LOCAL_WINDOW], sum = 0;

	if (!window && g->params[KVSINK_PARAM_SCORE_MODE] == KVSINK_SCORE_RAW)
		window = 1;
	for (uint32_t l = g->begin; l < g->end; l++)
		for (uint32_t i = st->first_seen[l]; i < st->end_seen[l]; i++)
			sum += i >= token + window ? (uint64_t)st->weight[l] * st->q_heads : 0;
	return sum;
}

static uint64_t bits_q32(uint64_t pattern)
{
	uint32_t bits = (uint32_t)pattern, mantissa = (bits & 0x7fffff) | (bits >> 23 ? 0x800000 : 0);
	int shift = (int)(bits >> 23 ? bits >> 23 : 1) - 150 + 32;

	if (shift >= 40)
		return 1ull << 32;
	if (shift >= 0)
		return (uint64_t)mantissa << shift > 0xffffffffull ? 1ull << 32 : (uint64_t)mantissa << shift;
	return shift > -32 ? mantissa >> -shift : 0;
}

/* The pattern of a threshold against an EMA in units of 2^-32, compared exactly. */
static bool reaches(uint32_t ema, uint64_t pattern)
{
	float threshold;
	uint32_t bits = (uint32_t)pattern;

	memcpy(&threshold, &bits, sizeof(threshold));
	return (double)ema * 0x1p-32 >= (double)threshold;
}

static void compare(struct ref_group *g, uint32_t token)
{
	uint64_t n = g->params[g->sink[token] ? KVSINK_PARAM_N_EVICT : KVSINK_PARAM_N_PROMOTE];
	bool speaks = g->sink[token] ? !reaches(g->ema[token], g->params[KVSINK_PARAM_T_EVICT])
				     : reaches(g->ema[token], g->params[KVSINK_PARAM_T_PROMOTE]);

	g->run[token] = speaks ? g->run[token] + 1 : 0;
	if (g->run[token] >= n) {
		g->sink[token] = !g->sink[token];
		g->run[token] = 0;
	}
}

static bool observed(const struct ref_stream *st, const struct ref_group *g)
{
	for (uint32_t l = g->begin; l < g->end; l++)
		if (!st->end_seen[l])
			return false;
	return true;
}

static void update_group(struct ref_stream *st, struct ref_group *g, const uint64_t *mass)
{
	uint64_t alpha = bits_q32(g->params[KVSINK_PARAM_ALPHA]);

	if (!observed(st, g))
		return;
	if (!g->seeded) /* the test has no scores */
		memset(g->ema, 0, sizeof(g->ema));
	g->seeded = true;
	for (uint32_t t = 0; t < st->length; t++) {
		uint64_t n = observers(st, g, t), b;

		if (!n)
			continue;
		b = (uint64_t)(((unsigned __int128)mass[t] << 16) / n);
		if (b > 0xffffffffull)
			b = 0xffffffffull;
		g->ema[t] = (uint32_t)(((unsigned __int128)alpha * g->ema[t] +
					(unsigned __int128)((1ull << 32) - alpha) * b) >>
				       32);
		compare(g, t);
	}
}

/* ---- automatic placement
 * ------------------------------------------------------------------------------------- */

struct allowed {
	uint32_t begin, end;
	uint64_t heads;
};

static struct allowed allowed_of(const struct ref_stream *st, const struct ref_group *g)
{
	uint32_t range = (uint32_t)g->params[KVSINK_PARAM_LAYER_RANGE];
	struct allowed a = {g->begin, g->end, g->params[KVSINK_PARAM_HEAD_MASK] & all_heads(st)};

	if ((range & 0xffff) > a.begin)
		a.begin = range & 0xffff;
	if (range >> 16 < a.end)
		a.end = range >> 16;
	return a;
}

static void evict_former_sinks(struct ref *r, unsigned s)
{
	struct ref_stream *st = &r->stream[s];

	for (unsigned i = 0; i < REF_ENTRIES; i++) {
		struct ref_entry *e = &r->entry[i];

		if (!e->used || e->stream != s || !e->automatic || ref_in_force(r, e) ||
		    st->group[group_of(st, e->begin)].sink[e->token])
			continue;
		if (ref_in_force(r, e) || st->length - e->since < st->group[0].params[KVSINK_PARAM_N_DWELL])
			continue;
		drop(r, e);
		st->automatic_out++;
	}
}

static bool in_tail(const struct ref_stream *st, const struct ref_group *g, uint32_t token)
{
	return g->tail.tokens && token >= g->tail.from && token + g->tail.tokens >= st->length;
}

static bool candidate(const struct ref *r, unsigned s, const struct ref_group *g, uint32_t token)
{
	const struct ref_stream *st = &r->stream[s];
	struct allowed a = allowed_of(st, g);

	if (!g->sink[token] || a.begin >= a.end || !a.heads || in_tail(st, g, token))
		return false;
	if (g->promoted[token] && st->length - (g->promoted[token] - 1) < g->params[KVSINK_PARAM_N_DWELL])
		return false;
	return !resident(r, s, token, a.begin, a.end, a.heads);
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

		if (!e->used || e->stream != s || !e->automatic || ref_in_force(r, e) ||
		    st->length - e->since < st->group[0].params[KVSINK_PARAM_N_DWELL])
			continue;
		if (ema_of(r, e) + bits_q32(st->group[0].params[KVSINK_PARAM_DELTA]) >= ema)
			continue;
		if (!best || ema_of(r, e) < ema_of(r, best) ||
		    (ema_of(r, e) == ema_of(r, best) && e->generation < best->generation))
			best = e;
	}
	return best;
}

static bool place_auto(struct ref *r, unsigned s, uint32_t group, uint32_t token)
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
	uint32_t ema = st->group[group].ema[token];
	struct ref keep = *r;

	terms.deadline = terms.dwell ? r->now + KVSINK_MAX_LEASE_NS : 0;
	while (!place(r, s, &item, &terms, true)) {
		struct ref_entry *e = weakest(r, s, ema);

		if (!e) {
			*r = keep;
			return false;
		}
		drop(r, e);
		st->automatic_out++;
	}
	note_promotion(r, s, &item);
	st->automatic_in++;
	return true;
}

void ref_step_end(struct ref *r, unsigned s, uint32_t count, const uint64_t *const *mass)
{
	struct ref_stream *st = &r->stream[s];
	uint64_t mode = st->group[0].params[KVSINK_PARAM_PLACEMENT];
	uint32_t group = 0, token = 0, made = 0;

	st->length += count;
	for (uint32_t g = 0; g < st->groups; g++) {
		if (mode)
			update_group(st, &st->group[g], mass[g]);
		if (st->group[g].tail.tokens)
			st->group[g].tail.deadline = r->now + KVSINK_MAX_LEASE_NS;
	}
	forget_step(st);
	if (mode != KVSINK_PLACEMENT_AUTO)
		return;
	evict_former_sinks(r, s);
	while (made++ < KVSINK_MAX_STEP_PROMOTIONS && best_candidate(r, s, &group, &token))
		if (!place_auto(r, s, group, token)) {
			st->refusals++;
			return;
		}
}

/* ---- what breaks contracts
 * -------------------------------------------------------------------------------------- */

void ref_lose(struct ref *r, uint32_t generation)
{
	for (unsigned i = 0; i < REF_ENTRIES; i++) {
		struct ref_entry *e = &r->entry[i];

		if (!e->used || e->generation != generation)
			continue;
		r->stream[e->stream].broken += ref_in_force(r, e);
		drop(r, e);
	}
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
			drop_tail(&r->stream[s].group[g]);
		}
		forget_step(&r->stream[s]);
	}
}
