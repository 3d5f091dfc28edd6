/* SPDX-License-Identifier: MIT */
/*
 * Automatic placement: which entries go and which tokens get one. A plan is made on paper (chip->plan,
 * chip->trial) and changes nothing; STEP_END carries it out in AUTO mode (1C), QUERY VERDICTS only writes it
 * down, for software that does the same by EVICT and PROMOTE (1B). So both take the same decisions.
 *
 * Order: entries whose token ceased to be a sink; then sinks without an entry by descending EMA, each
 * preceded by the entries that it replaces. An entry is left alone until it is N_DWELL steps old, and as long
 * as its contract is in force.
 */
#include <stdlib.h>

#include "chip.h"

/* A sink without an entry. */
struct candidate {
	uint32_t ema, group, token;
};

/* What a plan is made with. */
struct planner {
	struct kvsink_chip *chip;
	struct kvsink_stream *stream;
	struct candidate best[KVSINK_MAX_STEP_PROMOTIONS]; /* descending */
	uint32_t candidates;
	uint32_t victims,
		next_victim; /* chip->victims: by ascending EMA, then age; 0 of them until they are wanted */
	bool have_victims;
};

int kvsink_place_init(struct kvsink_chip *chip)
{
	uint32_t tags = chip->config.tags;

	chip->plan = calloc((size_t)tags + KVSINK_MAX_STEP_PROMOTIONS, sizeof(*chip->plan));
	chip->victims = calloc(tags, sizeof(*chip->victims));
	return chip->plan && chip->victims ? 0 : -1;
}

void kvsink_place_fini(struct kvsink_chip *chip)
{
	free(chip->plan);
	free(chip->victims);
}

/* ---- what a group allows ---- */

struct kvsink_place_item kvsink_group_rows(const struct kvsink_stream *s, uint32_t group, uint32_t token)
{
	const struct kvsink_group *g = &s->group[group];
	uint32_t range = (uint32_t)kvsink_param(s, KVSINK_PARAM_LAYER_RANGE);
	uint32_t begin = g->begin, end = g->end;
	uint64_t heads = s->kv_heads == 64 ? UINT64_MAX : (1ull << s->kv_heads) - 1;

	if (begin < (range & 0xffff))
		begin = range & 0xffff;
	if (end > range >> 16)
		end = range >> 16;
	return (struct kvsink_place_item){
		.token = token,
		.layer_begin = (uint16_t)begin,
		.layer_end = (uint16_t)(end > begin ? end : begin),
		.head_mask = g->params[KVSINK_PARAM_HEAD_MASK] & heads,
	};
}

static bool is_sink(const struct kvsink_chip *chip, const struct kvsink_stream *s, uint32_t group,
		    uint32_t token)
{
	return kvsink_planes(chip, s, group).state[token] & KVSINK_STATE_SINK;
}

static bool overlaps(const struct kvsink_tag *tag, const struct kvsink_place_item *rows)
{
	return !tag->leaving && tag->head_mask & rows->head_mask && tag->layer_begin < rows->layer_end &&
	       rows->layer_begin < tag->layer_end;
}

/* `from`: an entry of the stream's list, none of the token's before it. */
static bool is_candidate(const struct kvsink_chip *chip, const struct kvsink_stream *s, uint32_t group,
			 uint32_t token, uint32_t from)
{
	struct kvsink_place_item rows = kvsink_group_rows(s, group, token);
	uint32_t promoted = kvsink_planes(chip, s, group).promoted[token];

	if (token < s->shared) /* a prefix's rows are placed once, for all */
		return false;
	if (!is_sink(chip, s, group, token) || rows.layer_begin == rows.layer_end || !rows.head_mask ||
	    kvsink_tail_holds(s, group, token))
		return false;
	if (promoted && s->length - (promoted - 1) < kvsink_param(s, KVSINK_PARAM_N_DWELL))
		return false;
	for (; from != KVSINK_NONE && chip->tags[from].token <= token; from = chip->tags[from].next)
		if (chip->tags[from].token == token && overlaps(&chip->tags[from], &rows))
			return false;
	return true;
}

/* May the controller remove it? While software decides (OBSERVE), every entry without a contract is its own.
 */
static bool removable(const struct kvsink_chip *chip, const struct kvsink_stream *s,
		      const struct kvsink_tag *tag)
{
	bool own = tag->automatic || kvsink_param(s, KVSINK_PARAM_PLACEMENT) != KVSINK_PLACEMENT_AUTO;

	return own && !tag->leaving && !kvsink_in_force(chip, tag) &&
	       s->length - tag->since_step >= kvsink_param(s, KVSINK_PARAM_N_DWELL);
}

/* ---- the plan's parts ---- */

static void plan_eviction(struct planner *p, uint32_t index, enum kvsink_reason reason)
{
	struct kvsink_tag *tag = &p->chip->tags[index];

	p->chip->plan[p->chip->plan_count++] = (struct kvsink_verdict_plan){
		.verdict = KVSINK_VERDICT_EVICT,
		.reason = reason,
		.group = kvsink_stream_group(p->stream, tag->layer_begin),
		.token = tag->token,
		.ema = kvsink_tag_ema(p->chip, tag),
		.tag = index,
	};
	tag->leaving = true;
	kvsink_trial_release(p->chip, tag);
}

static void plan_former_sinks(struct planner *p)
{
	struct kvsink_chip *chip = p->chip;

	for (uint32_t i = p->stream->first_tag; i != KVSINK_NONE; i = chip->tags[i].next) {
		const struct kvsink_tag *tag = &chip->tags[i];

		if (removable(chip, p->stream, tag) &&
		    !is_sink(chip, p->stream, kvsink_stream_group(p->stream, tag->layer_begin), tag->token))
			plan_eviction(p, i, KVSINK_REASON_BELOW);
	}
}

static bool comes_before(const struct candidate *a, const struct candidate *b)
{
	if (a->ema != b->ema)
		return a->ema > b->ema;
	return a->group != b->group ? a->group < b->group : a->token < b->token;
}

/* Keep it if it is among the best that one step can promote. */
static void add_candidate(struct planner *p, uint32_t group, uint32_t token)
{
	struct candidate c = {kvsink_planes(p->chip, p->stream, group).ema[token], group, token};
	uint32_t at = p->candidates;

	while (at && comes_before(&c, &p->best[at - 1]))
		at--;
	if (at == KVSINK_MAX_STEP_PROMOTIONS ||
	    (at && p->best[at - 1].group == group && p->best[at - 1].token == token))
		return;
	if (p->candidates < KVSINK_MAX_STEP_PROMOTIONS)
		p->candidates++;
	for (uint32_t i = p->candidates - 1; i > at; i--)
		p->best[i] = p->best[i - 1];
	p->best[at] = c;
}

static void find_candidates(struct planner *p, uint32_t group)
{
	const struct kvsink_tag *tags = p->chip->tags;
	uint32_t entry = p->stream->first_tag;

	for (uint32_t t = 0; t < p->stream->length; t++) {
		while (entry != KVSINK_NONE && tags[entry].token < t)
			entry = tags[entry].next;
		if (is_candidate(p->chip, p->stream, group, t, entry))
			add_candidate(p, group, t);
	}
}

/* ---- replacement ---- */

static int by_ema(const void *left, const void *right)
{
	const struct kvsink_victim *a = left, *b = right;

	if (a->ema != b->ema)
		return a->ema < b->ema ? -1 : 1;
	return a->generation < b->generation ? -1 : a->generation > b->generation;
}

/* The entries that may be replaced do not change while a plan is made, except by leaving. */
static void find_victims(struct planner *p)
{
	struct kvsink_chip *chip = p->chip;

	p->have_victims = true;
	for (uint32_t i = p->stream->first_tag; i != KVSINK_NONE; i = chip->tags[i].next) {
		const struct kvsink_tag *tag = &chip->tags[i];

		if (!removable(chip, p->stream, tag))
			continue;
		chip->victims[p->victims++] = (struct kvsink_victim){
			.ema = kvsink_tag_ema(chip, tag),
			.generation = tag->generation,
			.tag = i,
		};
	}
	qsort(chip->victims, p->victims, sizeof(*chip->victims), by_ema);
}

/* Plan the eviction of the smallest EMA if this one is larger by more than DELTA. */
static bool plan_replacement(struct planner *p, uint32_t ema)
{
	uint64_t delta = kvsink_q32(kvsink_param(p->stream, KVSINK_PARAM_DELTA));
	const struct kvsink_victim *victim;

	if (!p->have_victims)
		find_victims(p);
	victim = &p->chip->victims[p->next_victim];
	if (p->next_victim == p->victims || victim->ema + delta >= ema)
		return false;
	p->next_victim++;
	plan_eviction(p, victim->tag, KVSINK_REASON_REPLACED);
	return true;
}

/* What was planned since does not help: the entries stay. The plan ends here, so the trial need not be
 * repaired. */
static void plan_cut(struct planner *p, uint32_t count)
{
	while (p->chip->plan_count > count)
		p->chip->tags[p->chip->plan[--p->chip->plan_count].tag].leaving = false;
}

static bool planned(const struct kvsink_chip *chip, uint32_t group, uint32_t token)
{
	for (uint32_t i = 0; i < chip->plan_count; i++)
		if (chip->plan[i].verdict == KVSINK_VERDICT_PROMOTE && chip->plan[i].group == group &&
		    chip->plan[i].token == token)
			return true;
	return false;
}

/* The token of an entry that was replaced may want one again, behind the others. */
static void readmit(struct planner *p, const struct kvsink_tag *tag)
{
	const struct kvsink_stream *s = p->stream;

	for (uint32_t g = 0; g < s->score_groups; g++)
		if (tag->layer_begin < s->group[g].end && tag->layer_end > s->group[g].begin &&
		    is_candidate(p->chip, s, g, tag->token, s->first_tag) && !planned(p->chip, g, tag->token))
			add_candidate(p, g, tag->token);
}

/* The best candidate has its place in the plan; `first` is the first entry that was replaced for it. */
static void plan_grant(struct planner *p, uint32_t first)
{
	struct kvsink_chip *chip = p->chip;
	struct candidate c = p->best[0];
	uint32_t end = chip->plan_count;

	p->candidates--;
	for (uint32_t i = 0; i < p->candidates; i++)
		p->best[i] = p->best[i + 1];
	chip->plan[chip->plan_count++] = (struct kvsink_verdict_plan){
		.verdict = KVSINK_VERDICT_PROMOTE,
		.group = c.group,
		.token = c.token,
		.ema = c.ema,
	};
	for (uint32_t i = first; i < end; i++)
		readmit(p, &chip->tags[chip->plan[i].tag]);
}

static uint32_t plan_promotion(struct planner *p)
{
	struct kvsink_chip *chip = p->chip;
	struct candidate c = p->best[0];
	struct kvsink_place_item rows = kvsink_group_rows(p->stream, c.group, c.token);
	uint32_t count = chip->plan_count, bytes = kvsink_entry_bytes(chip, p->stream, &rows), code;
	uint64_t address;

	for (;;) {
		code = kvsink_trial_grant(chip, bytes, true, &address);
		if (!code)
			break;
		if (chip->trial.looks >= KVSINK_PLAN_LOOKS || !plan_replacement(p, c.ema)) {
			plan_cut(p, count);
			return code;
		}
	}
	plan_grant(p, count);
	return KVSINK_CODE_OK;
}

uint32_t kvsink_place_plan(struct kvsink_ring *ring, struct kvsink_stream *s, uint32_t *refused_token)
{
	struct planner p = {.chip = ring->chip, .stream = s};
	uint32_t code = KVSINK_CODE_OK;

	ring->chip->plan_count = 0;
	kvsink_trial_begin(ring->chip, s);
	plan_former_sinks(&p);
	for (uint32_t g = 0; g < s->score_groups; g++)
		find_candidates(&p, g);
	for (uint32_t made = 0; made < KVSINK_MAX_STEP_PROMOTIONS && p.candidates && !code; made++)
		code = plan_promotion(&p);
	if (code)
		*refused_token = p.best[0].token;
	for (uint32_t i = 0; i < ring->chip->plan_count; i++)
		if (ring->chip->plan[i].verdict == KVSINK_VERDICT_EVICT)
			ring->chip->tags[ring->chip->plan[i].tag].leaving = false;
	kvsink_spend(ring, (uint64_t)s->length * s->score_groups * 12 + (uint64_t)s->entries * 64 +
				   ring->chip->trial.looks * 8);
	kvsink_ledger_add(ring->chip, s, KVSINK_COUNTER_SCORE_HBM,
			  (uint64_t)s->length * s->score_groups * sizeof(uint32_t));
	return code;
}

/* ---- 1C ---- */

static struct kvsink_terms terms_of(const struct kvsink_chip *chip, const struct kvsink_stream *s)
{
	uint32_t dwell = (uint32_t)kvsink_param(s, KVSINK_PARAM_N_DWELL);

	return (struct kvsink_terms){
		.dwell_steps = dwell,
		.priority = (uint32_t)kvsink_param(s, KVSINK_PARAM_PRIORITY),
		.deadline_ns = dwell ? chip->host_ns + KVSINK_MAX_LEASE_NS : 0,
		.due_ns = kvsink_param(s, KVSINK_PARAM_COPY_DUE_NS),
		.automatic = true,
	};
}

static uint32_t carry_out(struct kvsink_ring *ring, struct kvsink_stream *s,
			  const struct kvsink_verdict_plan *v)
{
	struct kvsink_chip *chip = ring->chip;
	struct kvsink_terms terms = terms_of(chip, s);
	struct kvsink_place_item rows = kvsink_group_rows(s, v->group, v->token);
	struct kvsink_tag *tag;
	uint32_t code;

	if (v->verdict == KVSINK_VERDICT_EVICT) {
		kvsink_free_entry(chip, &chip->tags[v->tag], v->reason);
		kvsink_ledger_add(chip, s, KVSINK_COUNTER_AUTO_EVICTIONS, 1);
		return KVSINK_CODE_OK;
	}
	code = kvsink_grant(ring, s, &rows, &terms, &tag);
	if (!code)
		kvsink_ledger_add(chip, s, KVSINK_COUNTER_AUTO_PROMOTIONS, 1);
	return code;
}

/* SRAM that is full of larger EMAs stays so for many steps: each is counted, the first is told. */
static void refuse(struct kvsink_ring *ring, struct kvsink_stream *s, uint32_t token, uint32_t code)
{
	if (s->refused)
		kvsink_ledger_add(ring->chip, s, KVSINK_COUNTER_REFUSALS, 1);
	else
		kvsink_refuse(ring, s, token, code);
	s->refused = true;
}

void kvsink_place_auto(struct kvsink_ring *ring, struct kvsink_stream *s)
{
	uint32_t token = 0, refused = kvsink_place_plan(ring, s, &token), code = KVSINK_CODE_OK;

	for (uint32_t i = 0; i < ring->chip->plan_count && !code; i++) {
		code = carry_out(ring, s, &ring->chip->plan[i]);
		token = code ? ring->chip->plan[i].token : token;
	}
	/* a plan does not look into the page table: an entry without a page for its token fails here */
	if (code || refused)
		refuse(ring, s, token, code ? code : refused);
	else
		s->refused = false;
}
