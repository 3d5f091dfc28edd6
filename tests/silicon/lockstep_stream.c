// SPDX-License-Identifier: MIT
/*
 * Streams in lockstep: they are born, grow by steps and die, time passes, entries are lost to ECC errors, and
 * the engine is reset. Steps are complete or not, observed or not, ended, dropped or left open.
 */
#include "lockstep.h"

#define TENANTS 2

static uint64_t next_id = 1;
static bool ecc_pending; /* injected, but nothing is lost yet */

unsigned lockstep_some_stream(void)
{
	unsigned s = below(REF_STREAMS);

	while (!both.ref.stream[s].used)
		s = (s + 1) % REF_STREAMS;
	return s;
}

static void create(unsigned s)
{
	union kvsink_item layer = {.layer = {.scale = 0x3e800000}};
	struct kvsink_cmd *cmd = h_cmd(&both.h, KVSINK_OP_STREAM_CREATE);
	struct h_stream *st = &both.streams[s];
	uint32_t window[REF_LAYERS];

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
	for (unsigned l = 0; l < REF_LAYERS; l++) {
		layer.layer.window = window[l] = below(2) ? 6 + below(12) : 0;
		h_item(&both.h, &layer);
	}
	both.h.desc.flags = KVSINK_JOB_PRIVILEGED;
	SAME(lockstep_run(s), KVSINK_CODE_OK, "STREAM_CREATE");
	ref_create(&both.ref, s, st->id, st->tenant);
	memcpy(both.ref.stream[s].window, window, sizeof(window));
}

void lockstep_map_pages(unsigned s)
{
	const struct h_stream *st = &both.streams[s];
	uint64_t page = kvsink_page_bytes(0, REF_LAYERS, 2, REF_WIDTH, REF_WIDTH, KVSINK_FORMAT_F32, 16);
	struct kvsink_cmd *cmd = h_cmd(&both.h, KVSINK_OP_PAGE_MAP);
	union kvsink_item item = {.pages = {st->pages, st->pages + page, st->pages + 2 * page}};

	cmd->page_map.stream = st->id;
	cmd->page_map.count = REF_TOKENS / 16;
	h_item(&both.h, &item);
	SAME(lockstep_run_privileged(), KVSINK_CODE_OK, "PAGE_MAP");
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

void lockstep_newborn(unsigned s)
{
	create(s);
	lockstep_map_pages(s);
	lockstep_config(s, KVSINK_GROUP_ALL, KVSINK_PARAM_LOCAL_WINDOW, below(below(4) ? 5 : 20), true);
	lockstep_config(s, KVSINK_GROUP_ALL, KVSINK_PARAM_SCORE_MODE, below(3), true);
	if (below(2))
		weigh(s);
	lockstep_config(s, KVSINK_GROUP_ALL, KVSINK_PARAM_ALPHA, 0x3f000000, true);
	lockstep_config(s, KVSINK_GROUP_ALL, KVSINK_PARAM_T_EVICT, 0x3a83126f, true);
	lockstep_config(s, KVSINK_GROUP_ALL, KVSINK_PARAM_T_PROMOTE, 0x3ccccccd, true);
	lockstep_config(s, KVSINK_GROUP_ALL, KVSINK_PARAM_PLACEMENT, below(3), true);
}

/* As when its owner is killed: whatever state it is in. */
void lockstep_destroy(unsigned s)
{
	h_cmd(&both.h, KVSINK_OP_STREAM_DESTROY)->stream_destroy.stream = both.streams[s].id;
	both.h.desc.flags = KVSINK_JOB_PRIVILEGED;
	SAME(lockstep_run(s), KVSINK_CODE_OK, "STREAM_DESTROY");
	ref_destroy(&both.ref, s);
}

static bool has_entry(const struct kvsink_tag_rec *tags, uint32_t n, uint32_t generation)
{
	for (uint32_t i = 0; i < n; i++)
		if (tags[i].generation == generation)
			return true;
	return false;
}

static bool has_tail(const struct kvsink_tag_rec *tags, uint32_t n, const struct ref_tail *tail)
{
	for (uint32_t i = 0; i < n; i++)
		if (tags[i].flags & KVSINK_TAG_TAIL && tags[i].layer_begin == tail->begin)
			return true;
	return false;
}

/* What the chip no longer has was lost to the injected error: an entry of the layer, else a tail of it. */
static void find_the_loss(unsigned s, uint32_t layer)
{
	static struct kvsink_tag_rec tags[LOCKSTEP_RECORDS];
	uint32_t n = lockstep_ask(KVSINK_QUERY_TAGS, both.streams[s].id, 0, 0, LOCKSTEP_RECORDS, tags,
				  sizeof(tags[0]));
	struct ref_stream *st = &both.ref.stream[s];
	unsigned lost = 0;

	for (unsigned i = 0; i < REF_ENTRIES; i++) {
		const struct ref_entry *e = &both.ref.entry[i];

		if (!e->used || e->stream != s || has_entry(tags, n, e->generation))
			continue;
		if (layer < e->begin || layer >= e->end)
			lockstep_differ("an error in layer %u took an entry of others", layer);
		ref_lose(&both.ref, e->generation);
		lost++;
	}
	for (uint32_t g = 0; g < st->groups; g++) {
		const struct ref_tail *tail = &st->group[g].tail;

		if (!tail->tokens || has_tail(tags, n, tail))
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
	return lockstep_run(s);
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
		lockstep_newborn(s);
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
		return;
	}
	step(s);
}

void lockstep_ecc(void)
{
	if (ecc_pending)
		return;
	ecc_pending = true;
	kvsink_inject(both.h.chip, KVSINK_INJECT_ECC, 1);
}

void lockstep_reset(void)
{
	kvsink_reset(both.h.chip, KVSINK_RESET_ENGINE);
	h_start(&both.h);
	ref_reset(&both.ref);
}

void lockstep_time_passes(void)
{
	both.ref.now += below(10) ? below(1000) : below(8) ? below(100000) : KVSINK_MAX_LEASE_NS;
	h_cmd(&both.h, KVSINK_OP_ADVANCE)->advance.ns = below(3000);
	SAME(lockstep_run(REF_STREAMS), KVSINK_CODE_OK, "ADVANCE");
}
