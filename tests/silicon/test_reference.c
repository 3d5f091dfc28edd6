// SPDX-License-Identifier: MIT
/*
 * One million random operations on the chip and on the independent model of reference.h, compared after every
 * one of them: answers, granted bytes, entries; and often everything else that either of them knows.
 *
 * What no comparison with a model can show is checked on the chip alone: a budget is never exceeded, a
 * contract that was in force has either been ended by its owner or has an event, and nothing is left at the
 * end. KVSINK_OPS and KVSINK_SEED change the number of operations and the sequence.
 */
#include "harness.h"
#include "reference.h"
#include "tap.h"

#define OPS 1000000u
#define LOOK_EVERY 64 /* operations between two looks at everything */
#define TENANTS 2

static struct harness h;
static struct ref ref;
static struct h_stream streams[REF_STREAMS];
static uint64_t seed = 1, next_id = 1;
static unsigned long ops, differences;
static uint64_t events_seen; /* number of the next event */
static uint64_t broken_told; /* contracts that CONTRACT_BROKEN events have named */
static bool ecc_pending;
static unsigned long tried[32], granted; /* so that the mix can be judged */
static const char *doing = "nothing";

static uint32_t below(uint32_t n)
{
	return h_random(&seed) % n;
}

__attribute__((format(printf, 1, 2))) static void differ(const char *format, ...)
{
	va_list args;

	if (differences++ >= 10)
		return;
	va_start(args, format);
	printf("# after %lu operations, %s: ", ops, doing);
	vprintf(format, args);
	printf("\n");
	va_end(args);
}

#define SAME(got, want, what)                                                                                \
	do {                                                                                                 \
		unsigned long long got_ = (got), want_ = (want);                                             \
		if (got_ != want_)                                                                           \
			differ("%s: chip %llu, model %llu", what, got_, want_);                              \
	} while (0)

static uint32_t run(unsigned s)
{
	ops++;
	h.host_ns = ref.now;
	h.tenant = s < REF_STREAMS ? streams[s].tenant : H_TENANT;
	return h_do(&h);
}

static uint32_t run_privileged(void)
{
	h.host_ns = ref.now;
	return h_priv(&h);
}

/* ---- looks at the chip ------------------------------------------------------------------------------ */

static uint32_t ask(uint32_t what, uint64_t stream, uint32_t group, uint32_t first, uint32_t max, void *out,
		    size_t record)
{
	struct kvsink_list_head head;

	h_query_cmd(&h, what, stream, first, max)->query.group = group;
	if (run_privileged()) {
		differ("QUERY %u: %s", what, kvsink_code_name(h.cpl.code));
		return 0;
	}
	h_get(&h, H_ANSWER, &head, sizeof(head));
	if (head.record_bytes != record)
		differ("QUERY %u: records of %u bytes, not %zu", what, head.record_bytes, record);
	else
		h_get(&h, H_ANSWER + sizeof(head), out, head.written * record);
	return head.written;
}

#define MAX_RECORDS (REF_ENTRIES + REF_STREAMS * REF_GROUPS)

static const struct ref_entry *entry_of(uint32_t generation)
{
	for (unsigned i = 0; i < REF_ENTRIES; i++)
		if (ref.entry[i].used && ref.entry[i].generation == generation)
			return &ref.entry[i];
	return NULL;
}

static void same_entry(const struct kvsink_tag_rec *tag, const struct ref_entry *e)
{
	bool force = ref_in_force(&ref, e);

	SAME(tag->stream, ref.stream[e->stream].id, "stream of an entry");
	SAME(tag->token, e->token, "token of an entry");
	SAME(tag->layer_begin, e->begin, "first layer of an entry");
	SAME(tag->layer_end, e->end, "layer end of an entry");
	SAME(tag->head_mask, e->heads, "heads of an entry");
	SAME(tag->sram_offset, e->unit * KVSINK_SRAM_UNIT, "place of an entry");
	SAME(tag->sram_bytes, e->units * KVSINK_SRAM_UNIT, "size of an entry");
	SAME(tag->age_steps, ref.stream[e->stream].length - e->since, "age of an entry");
	SAME(tag->dwell_steps, e->dwell, "dwell of an entry");
	SAME(tag->priority, e->priority, "priority of an entry");
	SAME(tag->deadline_ns, e->deadline, "deadline of an entry");
	SAME(!!(tag->flags & KVSINK_TAG_CONTRACT), force, "contract of an entry");
	SAME(!!(tag->flags & KVSINK_TAG_AUTO), e->automatic, "origin of an entry");
}

static const struct ref_group *tail_at(uint32_t unit)
{
	for (unsigned s = 0; s < REF_STREAMS; s++)
		for (unsigned g = 0; ref.stream[s].used && g < ref.stream[s].groups; g++)
			if (ref.stream[s].group[g].tail.units && ref.stream[s].group[g].tail.unit == unit)
				return &ref.stream[s].group[g];
	return NULL;
}

static uint32_t model_places(void)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < REF_ENTRIES; i++)
		n += ref.entry[i].used;
	for (unsigned s = 0; s < REF_STREAMS; s++)
		for (unsigned g = 0; ref.stream[s].used && g < ref.stream[s].groups; g++)
			n += ref.stream[s].group[g].tail.units > 0;
	return n;
}

static void look_at_tags(void)
{
	static struct kvsink_tag_rec tags[MAX_RECORDS];
	uint32_t n = ask(KVSINK_QUERY_TAGS, 0, 0, 0, MAX_RECORDS, tags, sizeof(tags[0]));

	SAME(n, model_places(), "entries and tails");
	for (uint32_t i = 0; i < n; i++) {
		const struct ref_entry *e = entry_of(tags[i].generation);
		const struct ref_group *g = tail_at(tags[i].sram_offset / KVSINK_SRAM_UNIT);

		if (tags[i].flags & KVSINK_TAG_TAIL) {
			if (!g || g->tail.units * KVSINK_SRAM_UNIT != tags[i].sram_bytes)
				differ("a tail at %u that the model lacks", tags[i].sram_offset);
		} else if (!e) {
			differ("entry %u that the model lacks", tags[i].generation);
		} else {
			same_entry(&tags[i], e);
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

	ask(KVSINK_QUERY_PARAMS, 0, 0, 0, KVSINK_PARAM_COUNT, got, sizeof(got[0]));
	for (uint32_t p = 0; p < KVSINK_PARAM_COUNT; p++) {
		snprintf(what, sizeof(what), "device parameter %u", p);
		SAME(got[p], ref.params[p], what);
	}
	for (unsigned s = 0; s < REF_STREAMS; s++)
		for (uint32_t g = 0; ref.stream[s].used && g < REF_GROUPS; g++) {
			ask(KVSINK_QUERY_PARAMS, streams[s].id, g, 0, KVSINK_PARAM_COUNT, got,
			    sizeof(got[0]));
			for (uint32_t p = 0; p < KVSINK_PARAM_COUNT; p++) {
				snprintf(what, sizeof(what), "parameter %u of stream %u, group %u", p, s, g);
				if (scope_of(p) != scope_device)
					SAME(got[p], ref.stream[s].group[g].params[p], what);
			}
		}
}

static float ema_float(uint32_t ema)
{
	return (float)((double)ema * 0x1p-32);
}

static void look_at_scores(unsigned s)
{
	static struct kvsink_score_rec rec[REF_TOKENS];

	for (uint32_t g = 0; ref.stream[s].used && g < REF_GROUPS; g++) {
		const struct ref_group *group = &ref.stream[s].group[g];
		uint32_t n = ask(KVSINK_QUERY_SCORES, streams[s].id, g, 0, REF_TOKENS, rec, sizeof(rec[0]));

		SAME(n, ref.stream[s].length, "tokens with scores");
		for (uint32_t t = 0; t < n; t++) {
			float ema = ema_float(group->ema[t]), got;

			memcpy(&got, &rec[t].ema, sizeof(got));
			if (got != ema)
				differ("EMA of token %u: chip %g, model %g", t, (double)got, (double)ema);
			SAME(rec[t].run, group->run[t], "run of a token");
			SAME(!!(rec[t].flags & KVSINK_SCORE_SINK), group->sink[t], "state of a token");
			SAME(rec[t].promoted, group->promoted[t], "last promotion of a token");
		}
	}
}

static void look_at_counters(unsigned s)
{
	const struct ref_stream *st = &ref.stream[s];
	uint64_t c[KVSINK_COUNTER_COUNT];

	if (!st->used)
		return;
	ask(KVSINK_QUERY_COUNTERS, streams[s].id, 0, 0, KVSINK_COUNTER_COUNT, c, sizeof(c[0]));
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
	uint32_t n = ask(KVSINK_QUERY_EVENTS, 0, 0, (uint32_t)events_seen, KVSINK_EVENT_SLOTS, rec,
			 sizeof(rec[0]));

	h_get(&h, H_ANSWER, &head, sizeof(head));
	events_seen = head.next;
	for (uint32_t i = 0; i < n; i++) {
		if (rec[i].code != KVSINK_EVENT_CONTRACT_BROKEN)
			continue;
		broken_told += rec[i].detail;
		if (rec[i].reason != KVSINK_REASON_RESET && rec[i].reason != KVSINK_REASON_ECC)
			differ("a contract broken for reason %u", rec[i].reason);
	}
	SAME(h_counter(&h, KVSINK_COUNTER_CONTRACTS_BROKEN), broken_told,
	     "contracts broken without an event");
}

static void look_everywhere(void)
{
	unsigned s = below(REF_STREAMS);

	look_at_tags();
	look_at_scores(s);
	look_at_counters(s);
	look_at_events();
	if (below(4) == 0)
		look_at_params();
}

/* After every operation. */
static void glance(void)
{
	static uint32_t before;
	uint32_t used = kvsink_mmio_read(h.chip, KVSINK_REG_SRAM_USED);

	if (used > before && used > kvsink_mmio_read(h.chip, KVSINK_REG_SRAM_BUDGET))
		differ("%u bytes granted beyond the budget", used);
	before = used;
	SAME(used, ref_used_units(&ref) * KVSINK_SRAM_UNIT, "SRAM_USED");
}

/* ---- operations ------------------------------------------------------------------------------------- */

static struct kvsink_place_item some_place(unsigned s)
{
	const struct ref_stream *st = &ref.stream[s];
	struct kvsink_place_item p = {.token = below(st->length ? st->length : 1)};
	static const uint16_t ranges[][2] = {{0, 1}, {1, 3}, {0, 3}, {1, 2}, {2, 3}, {0, 2}, {2, 2}, {1, 4}};
	unsigned range = below(40) ? below(6) : 6 + below(2);

	p.layer_begin = ranges[range][0];
	p.layer_end = ranges[range][1];
	p.head_mask = below(40) ? 1 + below(3) : below(6);
	if (below(60) == 0)
		p.token = st->length + below(2);
	return p;
}

static void push(const struct kvsink_place_item *places, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		h_item(&h, &(union kvsink_item){.place = places[i]});
}

static struct ref_terms some_terms(void)
{
	struct ref_terms t = {.dwell = below(2) * below(8), .priority = below(4), .partial = below(3) == 0};
	uint32_t kind = below(20);

	if (kind < 6)
		t.deadline = ref.now + 1 + below(2000);
	else if (kind == 6)
		t.deadline = ref.now ? ref.now - below(2) : 0;
	else if (kind == 7)
		t.deadline = ref.now + KVSINK_MAX_LEASE_NS + below(2);
	if (below(100) == 0)
		t.priority = KVSINK_MAX_PRIORITY + below(2);
	return t;
}

static unsigned some_stream(void)
{
	unsigned s = below(REF_STREAMS);

	while (!ref.stream[s].used)
		s = (s + 1) % REF_STREAMS;
	return s;
}

static void promote(unsigned s)
{
	struct kvsink_place_item places[4];
	struct ref_terms terms = some_terms();
	uint32_t count = 1 + below(below(3) ? 1 : 4);
	struct kvsink_cmd *cmd = h_cmd(&h, KVSINK_OP_PROMOTE);
	struct ref_answer want;

	for (uint32_t i = 0; i < count; i++)
		places[i] = some_place(s);
	cmd->flags = terms.partial ? KVSINK_PROMOTE_PARTIAL : 0;
	cmd->promote = (struct kvsink_cmd_promote){
		.stream = streams[s].id,
		.item_count = count,
		.dwell_steps = terms.dwell,
		.priority = terms.priority,
		.deadline_ns = terms.deadline,
		.due_ns = below(2) * below(5000),
	};
	push(places, count);
	want = ref_promote(&ref, s, places, count, &terms);
	SAME(run(s), want.code, "code");
	if (want.code)
		return;
	granted += want.count;
	SAME(h.cpl.result[0], want.bytes, "bytes granted");
	SAME(h.cpl.result[1], want.generation, "first generation");
	SAME(h.cpl.result[2], want.count, "entries granted");
	SAME(h.cpl.result[3], want.ended, "what ended the grant");
}

static struct kvsink_place_item some_search(unsigned s)
{
	struct kvsink_place_item p = {.layer_end = REF_LAYERS, .head_mask = 3};
	const struct ref_entry *e = &ref.entry[below(REF_ENTRIES)];

	if (below(20) == 0) {
		p.token = KVSINK_TOKEN_ALL;
	} else if (below(4) && e->used && e->stream == s) {
		p = (struct kvsink_place_item){e->token, (uint16_t)e->begin, (uint16_t)e->end, e->heads, {0}};
	} else {
		p.token = below(REF_TOKENS);
		p.layer_begin = (uint16_t)below(2);
		p.head_mask = 1 + below(3);
	}
	return p;
}

static void evict(unsigned s)
{
	struct kvsink_place_item places[2] = {some_search(s), some_search(s)};
	uint32_t count = 1 + below(2);
	struct kvsink_cmd *cmd = h_cmd(&h, KVSINK_OP_EVICT);
	struct ref_answer want;

	cmd->flags = below(2) ? KVSINK_EVICT_ANY : 0;
	cmd->evict = (struct kvsink_cmd_evict){.stream = streams[s].id, .item_count = count};
	push(places, count);
	want = ref_evict(&ref, s, places, count);
	if (cmd->flags)
		want.code = KVSINK_CODE_OK;
	SAME(run(s), want.code, "code");
	if (!want.code)
		SAME(h.cpl.result[0], want.count, "entries removed");
}

static void contract(unsigned s)
{
	struct kvsink_place_item places[2] = {some_search(s), some_search(s)};
	uint32_t count = 1 + below(2);
	struct ref_terms terms = some_terms();
	struct kvsink_cmd *cmd = h_cmd(&h, KVSINK_OP_CONTRACT);
	struct ref_answer want;

	cmd->contract = (struct kvsink_cmd_contract){
		.stream = streams[s].id,
		.item_count = count,
		.dwell_steps = terms.dwell,
		.priority = terms.priority,
		.deadline_ns = terms.deadline,
	};
	push(places, count);
	want = ref_contract(&ref, s, places, count, &terms);
	SAME(run(s), want.code, "code");
	if (!want.code)
		SAME(h.cpl.result[0], want.count, "entries under contract");
}

/* Values that are good, and some that are not. */
static uint64_t some_value(uint32_t param)
{
	static const uint32_t floats[] = {0,	      0x3a83126f, 0x3c23d70a, 0x3ccccccd,
					  0x3d75c28f, 0x3dcccccd, 0x3f000000, 0x3f800000,
					  0x7f800000, 0x7fc00000, 0xbf800000, 0x7f7fffff};
	bool odd = below(12) == 0;

	switch (param) {
	case KVSINK_PARAM_T_SINK:
	case KVSINK_PARAM_T_PROMOTE:
	case KVSINK_PARAM_T_EVICT:
	case KVSINK_PARAM_DELTA:
	case KVSINK_PARAM_ALPHA:
		return floats[below(odd ? 12 : 6)] | (uint64_t)(odd && below(4) == 0) << 32;
	case KVSINK_PARAM_SRAM_BUDGET:
		return below(3) ? below(72) * 1024u : odd ? 1ull << 32 : 0xffffffffu;
	case KVSINK_PARAM_TENANT_CAP:
		return below(2) ? below(72) * 1024u : 0xffffffffu;
	case KVSINK_PARAM_HEAD_MASK:
		return below(4) ? 1 + below(3) : UINT64_MAX;
	case KVSINK_PARAM_LAYER_RANGE:
		return below(3) ? 0xffff0000u : odd ? below(4) | below(4) << 16 : below(2) | 3u << 16;
	case KVSINK_PARAM_N_PROMOTE:
	case KVSINK_PARAM_N_EVICT:
		return odd ? below(2) * 65536u : 1 + below(3);
	case KVSINK_PARAM_N_DWELL:
		return odd ? 0xffffffffu : below(6);
	case KVSINK_PARAM_PLACEMENT:
		return odd ? 3 : below(3);
	case KVSINK_PARAM_TAIL_TOKENS:
		return odd ? KVSINK_MAX_TAIL_TOKENS + below(2) : below(9);
	case KVSINK_PARAM_PRIORITY:
		return odd ? 255 + below(2) : below(4);
	case KVSINK_PARAM_TENANT_TAG:
		return below(2) ? 0xffffffffu : below(3);
	}
	return odd ? 1ull << 32 : below(4);
}

static void config(unsigned s, uint32_t group, uint32_t param, uint64_t value, bool privileged)
{
	struct kvsink_cmd *cmd = h_cmd(&h, KVSINK_OP_CONFIG);
	uint32_t want = ref_config(&ref, s, group, param, value, privileged);

	cmd->config = (struct kvsink_cmd_config){.stream = s < REF_STREAMS ? streams[s].id : 0,
						 .param = param,
						 .group = group,
						 .value = value};
	h.desc.flags = privileged ? KVSINK_JOB_PRIVILEGED : 0;
	SAME(run(s), want, "code");
	if (h.cpl.code != want)
		differ("CONFIG parameter %u = %llx, group %x, stream %u: chip %s, model %s", param,
		       (unsigned long long)value, group, s, kvsink_code_name(h.cpl.code),
		       kvsink_code_name(want));
}

/* LOCAL_WINDOW, LAYER_WEIGHT and SCORE_MODE are fixed while a stream lives: newborn() sets them. */
static void some_config(void)
{
	static const uint8_t params[] = {
		KVSINK_PARAM_T_SINK,	  KVSINK_PARAM_SRAM_BUDGET, KVSINK_PARAM_HEAD_MASK,
		KVSINK_PARAM_LAYER_RANGE, KVSINK_PARAM_T_PROMOTE,   KVSINK_PARAM_T_EVICT,
		KVSINK_PARAM_ALPHA,	  KVSINK_PARAM_N_PROMOTE,   KVSINK_PARAM_N_DWELL,
		KVSINK_PARAM_N_EVICT,	  KVSINK_PARAM_DELTA,	    KVSINK_PARAM_PLACEMENT,
		KVSINK_PARAM_TAIL_TOKENS, KVSINK_PARAM_TENANT_CAP,  KVSINK_PARAM_TENANT_TAG,
		KVSINK_PARAM_PRIORITY,
	};
	uint32_t param = params[below(sizeof(params))];
	unsigned s = below(5) ? some_stream() : UINT32_MAX;
	uint32_t group = below(2) ? KVSINK_GROUP_ALL : below(3);

	if (below(100) == 0)
		param = KVSINK_PARAM_COUNT + below(3);
	config(s, group, param, some_value(param), below(10) != 0);
}

static void create(unsigned s)
{
	union kvsink_item layer = {.layer = {.scale = 0x3e800000}};
	struct kvsink_cmd *cmd = h_cmd(&h, KVSINK_OP_STREAM_CREATE);
	struct h_stream *st = &streams[s];

	st->id = next_id++;
	st->tenant = H_TENANT + below(TENANTS);
	cmd->stream_create = (struct kvsink_cmd_stream_create){
		.stream = st->id,
		.tenant = st->tenant,
		.layers = REF_LAYERS,
		.q_heads = 4,
		.kv_heads = 2,
		.d_k = REF_WIDTH,
		.d_v = REF_WIDTH,
		.page_tokens = 16,
		.max_tokens = REF_TOKENS,
		.page_table = st->page_table,
		.scores = st->scores,
		.score_groups = REF_GROUPS,
		.group_end = {1, REF_LAYERS},
	};
	for (unsigned l = 0; l < REF_LAYERS; l++)
		h_item(&h, &layer);
	h.desc.flags = KVSINK_JOB_PRIVILEGED;
	SAME(run(s), KVSINK_CODE_OK, "STREAM_CREATE");
	ref_create(&ref, s, st->id, st->tenant);
}

static void map_pages(const struct h_stream *st)
{
	uint64_t page = kvsink_page_bytes(REF_LAYERS, 2, REF_WIDTH, REF_WIDTH, KVSINK_FORMAT_F32, 16);
	struct kvsink_cmd *cmd = h_cmd(&h, KVSINK_OP_PAGE_MAP);
	union kvsink_item item = {.pages = {st->pages, st->pages + page, st->pages + 2 * page}};

	cmd->page_map.stream = st->id;
	cmd->page_map.count = REF_TOKENS / 16;
	h_item(&h, &item);
	SAME(run_privileged(), KVSINK_CODE_OK, "PAGE_MAP");
}

static void weigh(unsigned s)
{
	static const uint32_t weights[] = {0x3f800000, 0x40000000, 0x3f000000};
	uint32_t begin = below(REF_LAYERS), end = begin + 1 + below(REF_LAYERS - begin), w = below(3);

	config(s, KVSINK_GROUP_ALL, KVSINK_PARAM_LAYER_WEIGHT, begin | end << 16 | (uint64_t)weights[w] << 32,
	       true);
	for (uint32_t l = begin; l < end; l++)
		ref.stream[s].weight[l] = w == 1 ? 2 << 16 : w == 2 ? 1 << 15 : 1 << 16;
}

static void newborn(unsigned s)
{
	create(s);
	map_pages(&streams[s]);
	config(s, KVSINK_GROUP_ALL, KVSINK_PARAM_LOCAL_WINDOW, below(5), true);
	config(s, KVSINK_GROUP_ALL, KVSINK_PARAM_SCORE_MODE, below(3), true);
	if (below(2))
		weigh(s);
	config(s, KVSINK_GROUP_ALL, KVSINK_PARAM_ALPHA, 0x3f000000, true);
	config(s, KVSINK_GROUP_ALL, KVSINK_PARAM_T_EVICT, 0x3a83126f, true);
	config(s, KVSINK_GROUP_ALL, KVSINK_PARAM_T_PROMOTE, 0x3ccccccd, true);
	config(s, KVSINK_GROUP_ALL, KVSINK_PARAM_PLACEMENT, below(3), true);
}

/* As when its owner is killed: whatever state it is in. */
static void destroy(unsigned s)
{
	h_cmd(&h, KVSINK_OP_STREAM_DESTROY)->stream_destroy.stream = streams[s].id;
	h.desc.flags = KVSINK_JOB_PRIVILEGED;
	SAME(run(s), KVSINK_CODE_OK, "STREAM_DESTROY");
	ref_destroy(&ref, s);
}

/* An entry that the chip no longer has was lost to the injected error. */
static void find_the_loss(unsigned s)
{
	static struct kvsink_tag_rec tags[MAX_RECORDS];
	uint32_t n = ask(KVSINK_QUERY_TAGS, streams[s].id, 0, 0, MAX_RECORDS, tags, sizeof(tags[0]));
	unsigned lost = 0;

	for (unsigned i = 0; i < REF_ENTRIES; i++) {
		bool there = false;

		if (!ref.entry[i].used || ref.entry[i].stream != s)
			continue;
		for (uint32_t j = 0; j < n; j++)
			there |= tags[j].generation == ref.entry[i].generation;
		if (there)
			continue;
		ref_lose(&ref, ref.entry[i].generation);
		lost++;
	}
	if (lost > 1)
		differ("one error took %u entries", lost);
	ecc_pending = lost == 0;
}

static void attend(unsigned s, uint32_t layer, uint32_t first, uint32_t count)
{
	h_attend_cmd(&h, &streams[s], layer, first, count);
	SAME(run(s), KVSINK_CODE_OK, "ATTEND");
	ref_attend(&ref, s, layer, first, count);
	if (ecc_pending)
		find_the_loss(s);
}

static void append(unsigned s, uint32_t layer, uint32_t count)
{
	struct kvsink_cmd *cmd = h_cmd(&h, KVSINK_OP_APPEND);
	uint32_t from = below(16) * 512; /* rows lie there for the whole test */

	cmd->append = (struct kvsink_cmd_append){
		.stream = streams[s].id,
		.layer = layer,
		.first = ref.stream[s].length + ref.stream[s].appended[layer],
		.count = count,
		.k = h_gart(H_K + from),
		.v = h_gart(H_V + from),
	};
	SAME(run(s), KVSINK_CODE_OK, "APPEND");
	ref_append(&ref, s, layer, count);
}

static void end_step(unsigned s, uint32_t count)
{
	const uint64_t *mass[REF_GROUPS];
	static uint64_t copy[REF_GROUPS][REF_TOKENS];
	struct kvsink_cmd *cmd = h_cmd(&h, KVSINK_OP_STEP_END);

	for (uint32_t g = 0; g < REF_GROUPS; g++) {
		uint64_t at = streams[s].scores + g * kvsink_score_group_bytes(REF_TOKENS) + REF_TOKENS * 8;

		memcpy(copy[g], h.hbm + at, sizeof(copy[g]));
		mass[g] = copy[g];
	}
	cmd->step_end.stream = streams[s].id;
	cmd->step_end.count = count;
	cmd->flags = below(12) == 0 ? KVSINK_STEP_ABORT : 0;
	if (cmd->flags)
		ref_step_abort(&ref, s);
	else
		ref_step_end(&ref, s, count, mass);
	SAME(run(s), KVSINK_CODE_OK, "STEP_END");
}

static void step(unsigned s)
{
	struct ref_stream *st = &ref.stream[s];
	uint32_t count = 1 + below(3), skip = below(8) ? REF_LAYERS : below(REF_LAYERS);

	if (st->length + count > REF_TOKENS) {
		destroy(s);
		newborn(s);
		return;
	}
	for (uint32_t l = 0; l < REF_LAYERS; l++) {
		append(s, l, count);
		if (l == skip)
			continue;
		attend(s, l, st->length, count);
		if (below(16) == 0)
			attend(s, l, st->length, count); /* once more: counts once */
		if (st->length && below(16) == 0)
			attend(s, l, below(st->length), 1);
	}
	if (below(100) == 0)
		return; /* the next step finds it open */
	end_step(s, count);
}

/* A step may have been left open: then it is dropped. */
static void whole_step(unsigned s)
{
	struct kvsink_cmd *cmd;

	for (uint32_t l = 0; l < REF_LAYERS; l++) {
		if (!ref.stream[s].appended[l])
			continue;
		cmd = h_cmd(&h, KVSINK_OP_STEP_END);
		cmd->step_end.stream = streams[s].id;
		cmd->flags = KVSINK_STEP_ABORT;
		SAME(run(s), KVSINK_CODE_OK, "STEP_END, abort");
		ref_step_abort(&ref, s);
		return;
	}
	step(s);
}

static void reset(void)
{
	kvsink_reset(h.chip, KVSINK_RESET_ENGINE);
	h_start(&h);
	ref_reset(&ref);
	ops++;
}

static void time_passes(void)
{
	ref.now += below(10) ? below(1000) : below(8) ? below(100000) : KVSINK_MAX_LEASE_NS;
	h_cmd(&h, KVSINK_OP_ADVANCE)->advance.ns = below(3000);
	SAME(run(REF_STREAMS), KVSINK_CODE_OK, "ADVANCE");
}

#define KINDS(X)                                                                                             \
	X(STEP, 400, "step", whole_step(some_stream()))                                                      \
	X(PROMOTE, 800, "promote", promote(some_stream()))                                                   \
	X(EVICT, 250, "evict", evict(some_stream()))                                                         \
	X(CONTRACT, 300, "contract", contract(some_stream()))                                                \
	X(CONFIG, 300, "config", some_config())                                                              \
	X(TIME, 200, "time", time_passes())                                                                  \
	X(KILL, 12, "kill", unsigned s = some_stream(); destroy(s); newborn(s))                              \
	X(                                                                                                   \
		ECC, 12, "ECC error", if (!ecc_pending) {                                                    \
			ecc_pending = true;                                                                  \
			kvsink_inject(h.chip, KVSINK_INJECT_ECC, 1);                                         \
		})                                                                                           \
	X(RESET, 2, "reset", reset())

enum kind {
#define X(name, weight, text, act) KIND_##name,
	KINDS(X)
#undef X
		KIND_COUNT
};

static const struct {
	unsigned weight;
	const char *name;
} kinds[] = {
#define X(name, weight, text, act) {weight, text},
	KINDS(X)
#undef X
};

static void one_operation(void)
{
	unsigned sum = 0, kind = 0;
	uint32_t at;

	for (unsigned k = 0; k < KIND_COUNT; k++)
		sum += kinds[k].weight;
	at = below(sum);
	while (at >= kinds[kind].weight)
		at -= kinds[kind++].weight;
	doing = kinds[kind].name;
	tried[kind]++;
	switch ((enum kind)kind) {
#define X(name, weight, text, act)                                                                           \
	case KIND_##name: {                                                                                  \
		act;                                                                                         \
	} break;
		KINDS(X)
#undef X
	case KIND_COUNT:
		break;
	}
	glance();
}

/* Rows and queries are written once: the sequence is what is random. */
static void put_operands(void)
{
	float *row = malloc(64 * 1024);
	uint64_t state = 7;

	for (unsigned i = 0; i < 16384; i++)
		row[i] = (float)(int32_t)h_random(&state) * 0x1p-30f;
	h_put(&h, H_K, row, 64 * 1024);
	h_put(&h, H_V, row, 64 * 1024);
	h_put(&h, H_Q, row, 64 * 1024);
	free(row);
}

static void lay_out(void)
{
	uint64_t page = kvsink_page_bytes(REF_LAYERS, 2, REF_WIDTH, REF_WIDTH, KVSINK_FORMAT_F32, 16),
		 at = 1 << 20;

	for (unsigned s = 0; s < REF_STREAMS; s++) {
		streams[s].page_table = at;
		streams[s].scores = at + KVSINK_HBM_ALIGN;
		streams[s].pages = at + (64 << 10);
		at = streams[s].pages + 4 * page;
	}
}

static void nothing_left(void)
{
	for (unsigned s = 0; s < REF_STREAMS; s++)
		destroy(s);
	tap_ok(kvsink_mmio_read(h.chip, KVSINK_REG_SRAM_USED) == 0, "no byte of SRAM is left granted");
	tap_ok(kvsink_mmio_read(h.chip, KVSINK_REG_TAGS_VALID) == 0, "no entry is left");
	tap_ok(kvsink_mmio_read(h.chip, KVSINK_REG_SRAM_LARGEST) == h.config.sram_bytes,
	       "SRAM is one free range again");
	tap_ok(kvsink_mmio_read(h.chip, KVSINK_REG_STREAMS_LIVE) == 0, "no stream is left");
}

static unsigned long number(const char *name, unsigned long otherwise)
{
	const char *text = getenv(name);

	return text ? strtoul(text, NULL, 0) : otherwise;
}

static void report(void)
{
	for (unsigned k = 0; k < KIND_COUNT; k++)
		tap_diag("%-9s %lu", kinds[k].name, tried[k]);
	tap_diag("entries granted %lu, made by STEP_END %llu, displaced %llu, contracts broken %llu", granted,
		 (unsigned long long)h_counter(&h, KVSINK_COUNTER_AUTO_PROMOTIONS),
		 (unsigned long long)h_counter(&h, KVSINK_COUNTER_DISPLACED),
		 (unsigned long long)broken_told);
}

int main(void)
{
	unsigned long want = number("KVSINK_OPS", OPS), every = number("KVSINK_LOOK", LOOK_EVERY), looked = 0;

	seed = number("KVSINK_SEED", 1);
	h_open(&h, NULL);
	ref_init(&ref, h.config.sram_bytes, h.config.tags);
	put_operands();
	lay_out();
	for (unsigned s = 0; s < REF_STREAMS; s++)
		newborn(s);
	while (ops < want && !differences) {
		one_operation();
		if (ops - looked >= every) {
			looked = ops;
			look_everywhere();
		}
	}
	report();
	tap_ok(!differences, "%lu random operations: chip and model agree after each", ops);
	tap_ok(h_counter(&h, KVSINK_COUNTER_CONTRACTS_BROKEN) && h_counter(&h, KVSINK_COUNTER_DISPLACED) &&
		       h_counter(&h, KVSINK_COUNTER_AUTO_EVICTIONS),
	       "contracts were broken, entries displaced, automatic ones evicted: the mix reaches them");
	nothing_left();
	h_close(&h);
	return tap_done();
}
