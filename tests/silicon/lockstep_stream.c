// SPDX-License-Identifier: MIT
/*
 * Streams in lockstep: they are born, grow by steps and die, time passes, entries are lost to ECC errors, and
 * the engine is reset. Steps are complete or not, observed or not, ended, dropped or left open.
 */
#include "lockstep.h"

#define TENANTS 2

static uint64_t next_id = 1;
static unsigned long left[REF_STREAMS]; /* when each place was left, in some order of time; 0 = never taken */
static unsigned long last_left;
static bool ecc_pending; /* injected, but nothing is lost yet */

unsigned lockstep_some_holder(void)
{
	unsigned s = below(REF_STREAMS);

	while (!both.ref.stream[s].used)
		s = (s + 1) % REF_STREAMS;
	return s;
}

unsigned lockstep_some_stream(void)
{
	unsigned s = below(REF_STREAMS);

	while (!both.ref.stream[s].used || both.ref.stream[s].closed)
		s = (s + 1) % REF_STREAMS;
	return s;
}

/*
 * The place that was left last, else the first: as the chip gives out its slots. Nothing says in what order
 * tails of different streams give way that nobody leases any more; it is that of slots, so the model has the
 * same.
 */
unsigned lockstep_free_place(void)
{
	unsigned best = REF_STREAMS;

	for (unsigned s = 0; s < REF_STREAMS; s++)
		if (!both.ref.stream[s].used && (best == REF_STREAMS || left[s] > left[best]))
			best = s;
	return best;
}

void lockstep_all_places_free(void)
{
	memset(left, 0, sizeof(left));
}

uint64_t lockstep_new_id(void)
{
	return next_id++;
}

/* Layers see all tokens or the newest, as those of stream `like` do, if that is one. */
static void choose_windows(uint32_t *window, unsigned like)
{
	for (unsigned l = 0; l < REF_LAYERS; l++)
		window[l] = like < REF_STREAMS ? both.ref.stream[like].window[l]
			    : below(2)	       ? 6 + below(12)
					       : 0;
}

static uint32_t create(const struct h_stream *st, const uint32_t *window, bool seals)
{
	union kvsink_item layer = {.layer = {.scale = 0x3e800000}};
	struct kvsink_cmd *cmd = h_cmd(&both.h, KVSINK_OP_STREAM_CREATE);
	uint16_t seal = seals ? KVSINK_FORMAT_INT8 : 0;

	cmd->stream_create = (struct kvsink_cmd_stream_create){
		.stream = st->id,
		.tenant = st->tenant,
		.layers = REF_LAYERS,
		.q_heads = 4,
		.kv_heads = 2,
		.d_k = REF_WIDTH,
		.d_v = REF_WIDTH,
		.page_tokens = REF_PAGE,
		.max_tokens = REF_TOKENS,
		.page_table = st->page_table,
		.scores = st->scores,
		.score_groups = REF_GROUPS,
		.group_end = {1, REF_LAYERS},
		.seal_k = seal,
		.seal_v = seal,
	};
	for (unsigned l = 0; l < REF_LAYERS; l++) {
		layer.layer.window = window[l];
		h_item(&both.h, &layer);
	}
	return lockstep_run_privileged();
}

/* Its table, from the first page that has none. */
void lockstep_map_pages(unsigned s)
{
	struct ref_stream *st = &both.ref.stream[s];
	struct kvsink_cmd *cmd;
	uint32_t count = REF_PAGES - st->mapped;

	if (!count)
		return;
	cmd = h_cmd(&both.h, KVSINK_OP_PAGE_MAP);
	cmd->page_map.stream = st->id;
	cmd->page_map.first_page = st->mapped;
	cmd->page_map.count = count;
	for (uint32_t i = 0; i < count; i += 4) {
		union kvsink_item item = {.pages = {0}};

		for (uint32_t j = 0; j < 4 && i + j < count; j++)
			item.pages[j] = lockstep_take_page(s, st->mapped + i + j);
		h_item(&both.h, &item);
	}
	st->mapped = REF_PAGES;
	SAME(lockstep_run_privileged(), KVSINK_CODE_OK, "PAGE_MAP");
	SAME(both.h.cpl.result[0], REF_PAGES, "pages of a table");
	SAME(both.h.cpl.result[1], st->own_page, "pages of a table that are a prefix's");
}

static void weigh(unsigned s)
{
	static const uint32_t weights[] = {0x3f800000, 0x40000000, 0x3f000000};
	uint32_t begin = below(REF_LAYERS), end = begin + 1 + below(REF_LAYERS - begin), w = below(3);

	lockstep_config(s, KVSINK_GROUP_ALL, KVSINK_PARAM_LAYER_WEIGHT,
			begin | end << 16 | (uint64_t)weights[w] << 32, true);
	for (uint32_t l = begin; l < end; l++)
		both.ref.stream[s].weight[l] = w == 1 ? 2 << 16 : w == 2 ? 1 << 15 : 1 << 16;
}

void lockstep_pageless(unsigned s, unsigned like)
{
	struct h_stream *st = &both.streams[s];
	uint32_t window[REF_LAYERS];
	bool seals = like < REF_STREAMS ? both.ref.stream[like].seals : below(2);
	struct ref_stream *model;

	lockstep_take_area(s);
	st->id = lockstep_new_id();
	st->tenant = H_TENANT + below(TENANTS);
	choose_windows(window, like);
	SAME(create(st, window, seals), KVSINK_CODE_OK, "STREAM_CREATE");
	model = ref_create(&both.ref, s, st->id, st->tenant);
	memcpy(model->window, window, sizeof(window));
	model->seals = seals;
	lockstep_config(s, KVSINK_GROUP_ALL, KVSINK_PARAM_LOCAL_WINDOW, below(below(4) ? 5 : 20), true);
	lockstep_config(s, KVSINK_GROUP_ALL, KVSINK_PARAM_SCORE_MODE, below(3), true);
	if (below(2))
		weigh(s);
	lockstep_config(s, KVSINK_GROUP_ALL, KVSINK_PARAM_ALPHA, 0x3f000000, true);
	lockstep_config(s, KVSINK_GROUP_ALL, KVSINK_PARAM_T_EVICT, 0x3a83126f, true);
	lockstep_config(s, KVSINK_GROUP_ALL, KVSINK_PARAM_T_PROMOTE, 0x3ccccccd, true);
	lockstep_config(s, KVSINK_GROUP_ALL, KVSINK_PARAM_PLACEMENT, below(3), true);
}

void lockstep_newborn(unsigned s)
{
	lockstep_pageless(s, REF_STREAMS);
	lockstep_map_pages(s);
}

void lockstep_birth(void)
{
	static const uint32_t window[REF_LAYERS];
	unsigned s = lockstep_free_place();
	struct h_stream more = both.streams[0];

	if (s < REF_STREAMS) {
		lockstep_newborn(s);
		both.outcome = KVSINK_CODE_OK;
		return;
	}
	more.id = lockstep_new_id();
	create(&more, window, false);
	lockstep_answered(&(struct ref_answer){.code = KVSINK_CODE_STREAMS, .address = REF_STREAMS});
}

/* As when its owner is killed: whatever state it is in. A prefix that is in use stays. */
void lockstep_destroy(unsigned s)
{
	uint32_t prefix = both.ref.stream[s].prefix;
	struct ref_answer want = ref_destroy(&both.ref, s);

	h_cmd(&both.h, KVSINK_OP_STREAM_DESTROY)->stream_destroy.stream = both.streams[s].id;
	both.h.desc.flags = KVSINK_JOB_PRIVILEGED;
	lockstep_run(s);
	lockstep_answered(&want);
	if (want.code)
		return;
	left[s] = ++last_left;
	lockstep_drop_all(s);
	lockstep_unused(prefix);
	both.outcome = KVSINK_CODE_OK;
}

void lockstep_kill(void)
{
	unsigned s = lockstep_some_stream();

	lockstep_destroy(s);
	lockstep_newborn(lockstep_free_place());
	both.outcome = KVSINK_CODE_OK;
}

static bool has_entry(const struct kvsink_tag_rec *tags, uint32_t n, uint32_t generation)
{
	for (uint32_t i = 0; i < n; i++)
		if (tags[i].generation == generation)
			return true;
	return false;
}

static bool has_tail(const struct kvsink_tag_rec *tags, uint32_t n, uint64_t stream,
		     const struct ref_tail *tail)
{
	for (uint32_t i = 0; i < n; i++)
		if (tags[i].flags & KVSINK_TAG_TAIL && tags[i].stream == stream &&
		    tags[i].layer_begin == tail->begin)
			return true;
	return false;
}

/* Was it an entry that a query of the layer reads: the stream's, or of a prefix that it begins with? */
static bool could_strike(unsigned s, uint32_t layer, const struct ref_entry *e)
{
	return layer >= e->begin && layer < e->end && ref_holder(&both.ref, s, e->token) == e->stream;
}

/* What the chip no longer has was lost to the injected error: an entry of the layer, else a tail of it. */
static void find_the_loss(unsigned s, uint32_t layer)
{
	static struct kvsink_tag_rec tags[LOCKSTEP_RECORDS];
	uint32_t n = lockstep_ask(KVSINK_QUERY_TAGS, 0, 0, 0, LOCKSTEP_RECORDS, tags, sizeof(tags[0]));
	struct ref_stream *st = &both.ref.stream[s];
	unsigned lost = 0;

	for (unsigned i = 0; i < REF_ENTRIES; i++) {
		const struct ref_entry *e = &both.ref.entry[i];

		if (!e->used || has_entry(tags, n, e->generation))
			continue;
		if (!could_strike(s, layer, e))
			lockstep_differ("an error in layer %u took an entry that it does not read", layer);
		ref_lose(&both.ref, e->generation);
		lost++;
	}
	for (uint32_t g = 0; g < st->groups; g++) {
		const struct ref_tail *tail = &st->group[g].tail;

		if (!tail->tokens || has_tail(tags, n, st->id, tail))
			continue;
		if (lost || layer < tail->begin || layer >= tail->end)
			lockstep_differ("an error in layer %u took a tail of others", layer);
		ref_lose_tail(&both.ref, s, g);
		lost++;
	}
	if (lost > 1)
		lockstep_differ("one error took %u entries and tails", lost);
	ecc_pending = lost == 0;
}

void lockstep_after_attend(unsigned s, uint32_t layer)
{
	if (ecc_pending)
		find_the_loss(s, layer);
}

static void attend(unsigned s, uint32_t layer, uint32_t first, uint32_t count)
{
	h_attend_cmd(&both.h, &both.streams[s], layer, first, count);
	SAME(lockstep_run(s), KVSINK_CODE_OK, "ATTEND");
	ref_attend(&both.ref, s, layer, first, count);
	lockstep_after_attend(s, layer);
}

uint32_t lockstep_append(unsigned s, uint32_t layer, uint32_t first, uint32_t count)
{
	struct kvsink_cmd *cmd = h_cmd(&both.h, KVSINK_OP_APPEND);
	uint32_t from = below(16) * 512; /* rows lie there for the whole test */

	cmd->append = (struct kvsink_cmd_append){
		.stream = both.streams[s].id,
		.layer = layer,
		.first = first,
		.count = count,
		.k = h_gart(H_K + from),
		.v = h_gart(H_V + from),
	};
	if (lockstep_run(s))
		return both.h.cpl.code;
	for (uint32_t i = 0; i < count; i++)
		both.ref.stream[s].row[layer][first + i] = (uint16_t)(from / 512 + i);
	return KVSINK_CODE_OK;
}

static void append(unsigned s, uint32_t layer, uint32_t count)
{
	uint32_t first = both.ref.stream[s].length + both.ref.stream[s].appended[layer];

	SAME(lockstep_append(s, layer, first, count), KVSINK_CODE_OK, "APPEND");
	ref_append(&both.ref, s, layer, count);
}

static void end_step(unsigned s, uint32_t count)
{
	const uint64_t *mass[REF_GROUPS];
	static uint64_t copy[REF_GROUPS][REF_TOKENS];
	struct kvsink_cmd *cmd = h_cmd(&both.h, KVSINK_OP_STEP_END);

	for (uint32_t g = 0; g < REF_GROUPS; g++) {
		uint64_t at =
			both.streams[s].scores + g * kvsink_score_group_bytes(REF_TOKENS) + REF_TOKENS * 8;

		memcpy(copy[g], both.h.hbm + at, sizeof(copy[g]));
		mass[g] = copy[g];
	}
	cmd->step_end.stream = both.streams[s].id;
	cmd->step_end.count = count;
	cmd->flags = below(12) == 0 ? KVSINK_STEP_ABORT : 0;
	if (cmd->flags)
		ref_step_abort(&both.ref, s);
	else
		ref_step_end(&both.ref, s, count, mass);
	SAME(lockstep_run(s), KVSINK_CODE_OK, "STEP_END");
}

static void step(unsigned s)
{
	struct ref_stream *st = &both.ref.stream[s];
	uint32_t count = 1 + below(3), skip = below(8) ? REF_LAYERS : below(REF_LAYERS);

	if (st->length + count > REF_TOKENS) {
		lockstep_destroy(s);
		lockstep_newborn(lockstep_free_place());
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
void lockstep_step(unsigned s)
{
	struct kvsink_cmd *cmd;

	if (both.ref.stream[s].swapped && below(4) == 0) {
		lockstep_refused(s);
		both.outcome = both.h.cpl.code;
		return;
	}
	while (both.ref.stream[s].swapped)
		lockstep_swap(s);
	lockstep_window_end(s);
	for (uint32_t l = 0; l < REF_LAYERS; l++) {
		if (!both.ref.stream[s].appended[l])
			continue;
		cmd = h_cmd(&both.h, KVSINK_OP_STEP_END);
		cmd->step_end.stream = both.streams[s].id;
		cmd->flags = KVSINK_STEP_ABORT;
		SAME(lockstep_run(s), KVSINK_CODE_OK, "STEP_END, abort");
		ref_step_abort(&both.ref, s);
		both.outcome = KVSINK_CODE_OK;
		return;
	}
	step(s);
	both.outcome = KVSINK_CODE_OK;
}

bool lockstep_ecc_pending(void)
{
	return ecc_pending;
}

void lockstep_ecc(void)
{
	if (ecc_pending)
		return;
	ecc_pending = true;
	both.outcome = KVSINK_CODE_OK;
	kvsink_inject(both.h.chip, KVSINK_INJECT_ECC, 1);
}

void lockstep_reset(void)
{
	if (below(2))
		lockstep_overtaken();
	if (below(2))
		kvsink_reset(both.h.chip, KVSINK_RESET_ENGINE);
	else
		kvsink_mmio_write(both.h.chip, KVSINK_REG_CONTROL, KVSINK_CONTROL_RESET_MASK);
	lockstep_crash();
	h_start(&both.h);
	ref_reset(&both.ref);
	both.outcome = KVSINK_CODE_OK;
}

/* Time goes on all the same. */
void lockstep_power_cycle(void)
{
	uint32_t generation = both.ref.generation; /* no two grants have the same, whatever comes between */
	uint64_t now = both.ref.now;

	lockstep_tally();
	kvsink_reset(both.h.chip, KVSINK_RESET_COLD);
	lockstep_crash();
	h_start(&both.h);
	ref_init(&both.ref, both.h.config.sram_bytes, both.h.config.tags);
	both.ref.now = now;
	both.ref.generation = generation;
	ecc_pending = false;
	lockstep_all_places_free();
	lockstep_hbm_reset();
	lockstep_forget();
	SAME(kvsink_mmio_read(both.h.chip, KVSINK_REG_STREAMS_LIVE), 0,
	     "streams after a function-level reset");
	for (unsigned s = 0; s < 3; s++)
		lockstep_newborn(s);
	both.outcome = KVSINK_CODE_OK;
}

void lockstep_time_passes(void)
{
	both.ref.now += below(10) ? below(1000) : below(8) ? below(100000) : KVSINK_MAX_LEASE_NS;
	h_cmd(&both.h, KVSINK_OP_ADVANCE)->advance.ns = below(3000);
	SAME(lockstep_run(REF_STREAMS), KVSINK_CODE_OK, "ADVANCE");
	both.outcome = both.h.cpl.code;
}
