// SPDX-License-Identifier: MIT
/*
 * The three embodiments: 1A costs nothing in decode, 1C promotes, dwells, evicts and replaces at the steps
 * that its parameters say, and 1B, software that carries out VERDICTS, makes the very same placements.
 */
#include "steer.h"
#include "tap.h"

static struct harness h;
static struct h_stream s;
static steer_attention p;
static uint32_t now; /* the next token */

static void roomy(struct kvsink_chip_config *config)
{
	config->tags = 256;
	config->sram_bytes = 1 << 20;
	config->hbm_bytes = 64 << 20;
}

/* Placement by the latest step alone, at the first step, so that a test says what happens when. */
static void configure(struct harness *to, const struct h_stream *stream, uint32_t placement)
{
	steer_config(to, stream, KVSINK_PARAM_LOCAL_WINDOW, 1);
	steer_config(to, stream, KVSINK_PARAM_ALPHA, 0);
	steer_config(to, stream, KVSINK_PARAM_N_PROMOTE, 1);
	steer_config(to, stream, KVSINK_PARAM_N_EVICT, 1);
	steer_config(to, stream, KVSINK_PARAM_N_DWELL, 3);
	steer_config(to, stream, KVSINK_PARAM_PLACEMENT, placement);
}

static void fresh_with(uint32_t layers, uint32_t groups, uint32_t window)
{
	if (h.chip)
		h_close(&h);
	h_open(&h, roomy);
	s = steer_geometry(1, layers);
	s.window = window;
	s.score_groups = groups;
	if (groups == 2) {
		s.group_end[0] = 1;
		s.group_end[1] = (uint16_t)layers;
	}
	h_stream(&h, &s);
	configure(&h, &s, KVSINK_PLACEMENT_AUTO);
	steer_fill(&h, &s, 0, 40);
	now = 40;
	memset(p, 0, sizeof(p));
}

static void fresh(uint32_t layers, uint32_t groups)
{
	fresh_with(layers, groups, 0);
}

static void step(void)
{
	steer_step(&h, &s, now++, &p);
}

/* Tags without tails; room for 256. */
static uint32_t entries(struct harness *from, struct kvsink_tag_rec *rec)
{
	uint32_t n = steer_ask(from, KVSINK_QUERY_TAGS, 1, 0, 0, 256, rec, sizeof(*rec)), kept = 0;

	for (uint32_t i = 0; i < n; i++)
		if (!(rec[i].flags & KVSINK_TAG_TAIL))
			rec[kept++] = rec[i];
	return kept;
}

static uint32_t held(void)
{
	static struct kvsink_tag_rec rec[256];

	return entries(&h, rec);
}

static bool resident(uint32_t token)
{
	static struct kvsink_tag_rec rec[256];
	uint32_t n = entries(&h, rec);

	for (uint32_t i = 0; i < n; i++)
		if (rec[i].token == token)
			return true;
	return false;
}

static uint64_t counter(unsigned which)
{
	return steer_count(&h, &s, which);
}

/* ---- 1A ---- */

static void classify(void)
{
	for (uint32_t l = 0; l < s.layers; l++)
		steer_score(&h, &s, l, 0, 40, &p);
	h_cmd(&h, KVSINK_OP_CLASSIFY)->classify = (struct kvsink_cmd_classify){1, 1, 8, h_gart(H_ANSWER)};
	steer_check(h_do(&h), "CLASSIFY");
}

static const uint8_t placement_work[] = {
	KVSINK_COUNTER_SCORE_HBM,	 KVSINK_COUNTER_OBSERVED_QUERIES, KVSINK_COUNTER_EMA_UPDATES,
	KVSINK_COUNTER_PROMOTIONS,	 KVSINK_COUNTER_EVICTIONS,	  KVSINK_COUNTER_AUTO_PROMOTIONS,
	KVSINK_COUNTER_AUTO_EVICTIONS,	 KVSINK_COUNTER_DMA_COPY,	  KVSINK_COUNTER_REFUSALS,
	KVSINK_COUNTER_PROMOTIONS_VALID,
};

static uint64_t work_done(void)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < sizeof(placement_work); i++)
		sum += counter(placement_work[i]);
	return sum;
}

static void threshold_only(void)
{
	uint64_t before, bytes[2];

	fresh(2, 1);
	steer_config(&h, &s, KVSINK_PARAM_PLACEMENT, KVSINK_PLACEMENT_OFF);
	steer_all(&p, 2, 0.3);
	classify();
	steer_check(h_promote(&h, &s, 2, 0, 2, 3), "PROMOTE");
	h_barrier(&h, &s);
	before = work_done();
	bytes[0] = counter(KVSINK_COUNTER_KV_HBM_READ);
	for (unsigned i = 0; i < 10; i++)
		step();
	tap_ok(work_done() == before, "1A: ten decode steps without any placement work");
	tap_ok(counter(KVSINK_COUNTER_MASS_SRAM) > 0 && resident(2), "while the sink is served from SRAM");
	bytes[0] = counter(KVSINK_COUNTER_KV_HBM_READ) - bytes[0];
	steer_config(&h, &s, KVSINK_PARAM_PLACEMENT, KVSINK_PLACEMENT_OBSERVE);
	bytes[1] = counter(KVSINK_COUNTER_KV_HBM_READ);
	for (unsigned i = 0; i < 10; i++)
		step();
	bytes[1] = counter(KVSINK_COUNTER_KV_HBM_READ) - bytes[1];
	tap_ok(work_done() > before, "1B and 1C do some");
	/* ten more tokens in the context of ten queries */
	tap_ok(bytes[1] - bytes[0] == 10 * 10 * 2 * 2 * kvsink_row_bytes(s.flags, s.d_k, s.d_v, s.format),
	       "and read no row more for it");
}

/* ---- 1C: when ---- */

static void promotion_and_dwell(void)
{
	static struct kvsink_tag_rec rec[256];
	bool right = true;

	fresh(2, 1);
	steer_config(&h, &s, KVSINK_PARAM_N_PROMOTE, 3);
	steer_config(&h, &s, KVSINK_PARAM_PRIORITY, 9);
	steer_all(&p, 2, 0.3);
	step();
	step();
	tap_ok(!resident(2), "N_PROMOTE 3: no entry after two steps");
	step();
	tap_ok(entries(&h, rec) == 1 && rec[0].token == 2 && rec[0].layer_begin == 0 &&
		       rec[0].layer_end == 2 && rec[0].head_mask == 3,
	       "an entry of the group's layers and all heads after the third");
	tap_ok(rec[0].flags & KVSINK_TAG_AUTO && rec[0].flags & KVSINK_TAG_CONTRACT &&
		       rec[0].dwell_steps == 3 && rec[0].priority == 9,
	       "with a contract of N_DWELL steps and the stream's PRIORITY");
	tap_ok(steer_look(&h, &s, 0, 2).promoted == 43 + 1, "the step of the promotion is kept");
	tap_ok(steer_events(&h, &s, KVSINK_EVENT_GRANTED, KVSINK_REASON_AUTO) == 1,
	       "an event says that AUTO did it");
	steer_config(&h, &s, KVSINK_PARAM_N_PROMOTE, 1);
	steer_all(&p, 2, 0); /* below in the next step already, but the entry dwells until step 46 */
	for (unsigned i = 0; i < 2; i++) {
		step();
		right &= resident(2);
	}
	tap_ok(right && !(steer_look(&h, &s, 0, 2).flags & KVSINK_SCORE_SINK),
	       "N_DWELL: the entry of a former sink stays 3 steps");
	step();
	tap_ok(!resident(2), "and goes in the third");
	tap_ok(steer_events(&h, &s, KVSINK_EVENT_EVICTED, KVSINK_REASON_BELOW) == 1 &&
		       counter(KVSINK_COUNTER_AUTO_EVICTIONS) == 1,
	       "for the reason BELOW");
	/* on and off: promoted at most every N_DWELL steps */
	fresh(1, 1);
	steer_config(&h, &s, KVSINK_PARAM_N_DWELL, 5);
	right = true;
	for (unsigned i = 0; i < 6; i++) {
		steer_all(&p, 2, i != 3 && i != 4 ? 0.3 : 0);
		step();
		if (i == 2)
			h_evict(&h, &s, 2); /* by hand, right after step 2 */
		right &= resident(2) == (i < 2 || i == 5);
	}
	tap_ok(right && counter(KVSINK_COUNTER_AUTO_PROMOTIONS) == 2,
	       "no token is promoted twice within N_DWELL steps");
}

static void hysteresis(void)
{
	uint64_t promotions;

	fresh(1, 1);
	steer_config(&h, &s, KVSINK_PARAM_ALPHA, 0x3f666666);
	steer_config(&h, &s, KVSINK_PARAM_N_PROMOTE, 2);
	steer_config(&h, &s, KVSINK_PARAM_N_EVICT, 4);
	for (unsigned i = 0; i < 80; i++) {
		steer_all(&p, 2, i % 2 ? 0.2 : 0);
		step();
	}
	promotions = counter(KVSINK_COUNTER_PROMOTIONS);
	tap_ok(promotions == 1 && !counter(KVSINK_COUNTER_EVICTIONS) && resident(2),
	       "oscillating attention: %llu promotion, no eviction in 80 steps",
	       (unsigned long long)promotions);
}

/* ---- 1C: replacement ---- */

static void one_entry_fits(void)
{
	steer_config(&h, &s, KVSINK_PARAM_SRAM_BUDGET,
		     s.layers * 2 * kvsink_row_bytes(s.flags, s.d_k, s.d_v, s.format) / 256 * 256 + 256);
}

static void replacement(void)
{
	uint64_t refusals;

	fresh(1, 1);
	one_entry_fits();
	steer_config(&h, &s, KVSINK_PARAM_DELTA, steer_pattern(0.1));
	steer_all(&p, 2, 0.2);
	step();
	steer_all(&p, 3, 0.29);
	for (unsigned i = 0; i < 4; i++)
		step();
	refusals = counter(KVSINK_COUNTER_REFUSALS);
	tap_ok(resident(2) && !resident(3), "full: an EMA larger by less than DELTA replaces nothing");
	tap_ok(refusals == 4 && steer_events(&h, &s, KVSINK_EVENT_REFUSED, UINT32_MAX) == 1,
	       "a sink is refused in each step, which is counted, and told once");
	steer_all(&p, 3, 0.31);
	step();
	tap_ok(!resident(2) && resident(3), "one larger by more than DELTA replaces the resident");
	tap_ok(steer_events(&h, &s, KVSINK_EVENT_EVICTED, KVSINK_REASON_REPLACED) == 1,
	       "for the reason REPLACED");
	steer_all(&p, 2, 0.6);
	step();
	tap_ok(resident(3), "which then dwells, whatever comes");
	step();
	step();
	tap_ok(resident(2) && !resident(3), "until N_DWELL steps are over");
	tap_ok(kvsink_mmio_read(h.chip, KVSINK_REG_SRAM_USED) <=
		       s.layers * 2 * kvsink_row_bytes(s.flags, s.d_k, s.d_v, s.format) + 256,
	       "never beyond the budget");
	refusals = steer_events(&h, &s, KVSINK_EVENT_REFUSED, UINT32_MAX);
	steer_all(&p, 3, 0);
	step();
	steer_all(&p, 4, 0.2);
	step();
	step();
	tap_ok(steer_events(&h, &s, KVSINK_EVENT_REFUSED, UINT32_MAX) == refusals + 1,
	       "after a step without a refusal the next one is told again");
}

/* Rows that no query can reach any more give way, though their E was the largest. */
static void behind_the_window(void)
{
	fresh_with(1, 1, 16);
	one_entry_fits();
	steer_all(&p, 36, 0.6);
	while (now < 52) /* query 51 is the last that sees 36 */
		step();
	tap_ok(resident(36), "sliding window: resident while a query sees it");
	memset(p, 0, sizeof(p));
	steer_all(&p, 45, 0.5);
	step();
	step();
	tap_ok(!resident(36) && resident(45), "behind the window it makes room, for less than it once had");
	tap_ok(steer_events(&h, &s, KVSINK_EVENT_EVICTED, KVSINK_REASON_BELOW) == 1, "for the reason BELOW");
}

/* An entry of group 1 is as large as three of group 0: two of these are there, and it needs both places. */
static void several_for_one(void)
{
	uint32_t row = 2 * kvsink_row_bytes(s.flags, s.d_k, s.d_v, s.format);
	struct kvsink_cmd *cmd;

	fresh(3, 2);
	row = 2 * kvsink_row_bytes(s.flags, s.d_k, s.d_v, s.format);
	steer_config(&h, &s, KVSINK_PARAM_SRAM_BUDGET, (row / 256 + 1) * 256 * 2);
	for (uint32_t l = 0; l < 3; l++) {
		memset(p, 0, sizeof(p));
		if (l == 0) {
			steer_all(&p, 2, 0.1);
			steer_all(&p, 3, 0.2);
		}
		steer_append(&h, &s, l, now, 1);
		steer_attend(&h, &s, l, now, 1, &p);
	}
	steer_check(h_step_end(&h, &s, 1), "STEP_END");
	now++;
	tap_ok(resident(2) && resident(3) && held() == 2, "two sinks of the small group");
	steer_fill(&h, &s, now, 3); /* their contracts end */
	now += 3;
	cmd = h_cmd(&h, KVSINK_OP_CONTRACT);
	cmd->contract = (struct kvsink_cmd_contract){.stream = 1, .item_count = 1, .dwell_steps = 2};
	h_item(&h, &(union kvsink_item){.place = {.token = 3, .layer_end = 1, .head_mask = 3}});
	steer_check(h_do(&h), "CONTRACT");
	for (unsigned round = 0; round < 3; round++) {
		for (uint32_t l = 0; l < 3; l++) {
			memset(p, 0, sizeof(p));
			steer_all(&p, 2, l ? 0 : 0.1);
			steer_all(&p, 3, l ? 0 : 0.2);
			steer_all(&p, 5, l ? 0.5 : 0);
			steer_append(&h, &s, l, now, 1);
			steer_attend(&h, &s, l, now, 1, &p);
		}
		steer_check(h_step_end(&h, &s, 1), "STEP_END");
		now++;
		if (round == 1)
			tap_ok(resident(2) && resident(3) && !resident(5),
			       "one may go, the other dwells since its contract: both stay, the sink is "
			       "refused");
	}
	tap_ok(!resident(2) && !resident(3) && resident(5), "as soon as both may go, both are replaced");
}

/* What CLASSIFY found is promoted by the next STEP_END, 64 a step at most, by descending EMA. */
static void many(void)
{
	uint64_t sum[100];
	uint32_t left = 0;

	if (h.chip)
		h_close(&h);
	h_open(&h, roomy);
	s = steer_geometry(1, 1);
	h_stream(&h, &s);
	configure(&h, &s, KVSINK_PLACEMENT_AUTO);
	steer_fill(&h, &s, 0, 100);
	for (uint32_t t = 0; t < 100; t++)
		sum[t] = t < 68 ? (uint64_t)STEER_Q_HEADS * (99 - t) << 31 : 0; /* a mean of 1/2 */
	h_put(&h, H_FREE, sum, sizeof(sum));
	h_cmd(&h, KVSINK_OP_SCORE_IMPORT)->score_import =
		(struct kvsink_cmd_score_import){.stream = 1, .count = 100, .src = h_gart(H_FREE)};
	steer_check(h_do(&h), "SCORE_IMPORT");
	h_cmd(&h, KVSINK_OP_CLASSIFY)->classify = (struct kvsink_cmd_classify){1, 1, 8, h_gart(H_ANSWER)};
	steer_check(h_do(&h), "CLASSIFY");
	steer_fill(&h, &s, 100, 1);
	tap_ok(held() == KVSINK_MAX_STEP_PROMOTIONS, "68 sinks: %u are promoted in one step", held());
	for (uint32_t t = 64; t < 68; t++)
		left += !resident(t);
	tap_ok(left == 4, "with equal EMA the lower tokens first");
	steer_fill(&h, &s, 101, 1);
	tap_ok(held() == 68, "the others in the next");
}

/* The essays' geometry: a promotion costs exactly its share of heads. */
static uint32_t bytes_of_entry(uint64_t heads)
{
	static struct kvsink_tag_rec rec[256];
	uint64_t sum[34] = {0};

	if (h.chip)
		h_close(&h);
	h_open(&h, roomy);
	s = steer_geometry(1, 80);
	s.q_heads = s.kv_heads = 8;
	s.d_v = 128;
	s.format = KVSINK_FORMAT_FP16;
	s.max_tokens = 40;
	h_stream(&h, &s);
	configure(&h, &s, KVSINK_PLACEMENT_AUTO);
	steer_config(&h, &s, KVSINK_PARAM_HEAD_MASK, heads);
	steer_fill(&h, &s, 0, 34);
	sum[0] = (uint64_t)80 * 8 * 33 << 31;
	h_put(&h, H_FREE, sum, sizeof(sum));
	h_cmd(&h, KVSINK_OP_SCORE_IMPORT)->score_import =
		(struct kvsink_cmd_score_import){.stream = 1, .count = 34, .src = h_gart(H_FREE)};
	steer_check(h_do(&h), "SCORE_IMPORT");
	h_cmd(&h, KVSINK_OP_CLASSIFY)->classify = (struct kvsink_cmd_classify){1, 1, 8, h_gart(H_ANSWER)};
	steer_check(h_do(&h), "CLASSIFY");
	steer_fill(&h, &s, 34, 1);
	h_barrier(&h, &s);
	if (entries(&h, rec) != 1 || rec[0].head_mask != heads ||
	    counter(KVSINK_COUNTER_DMA_COPY) != rec[0].sram_bytes)
		return 0;
	return rec[0].sram_bytes;
}

static void selectivity(void)
{
	uint32_t all = bytes_of_entry(255), some = bytes_of_entry(1 << 1 | 1 << 4 | 1 << 6);

	tap_ok(all == 327680, "80 layers, 8 KV heads, d = 128, FP16: a token takes %u B", all);
	tap_ok(some == 122880, "3 of 8 heads take %u B, in SRAM and on the bus", some);
}

static void envelope(void)
{
	static struct kvsink_tag_rec rec[256];

	fresh(3, 1);
	steer_config(&h, &s, KVSINK_PARAM_LAYER_RANGE, 1 | 2u << 16);
	steer_config(&h, &s, KVSINK_PARAM_HEAD_MASK, 2);
	steer_all(&p, 2, 0.3);
	step();
	tap_ok(entries(&h, rec) == 1 && rec[0].layer_begin == 1 && rec[0].layer_end == 2 &&
		       rec[0].head_mask == 2,
	       "LAYER_RANGE and HEAD_MASK bound what AUTO promotes");
	fresh(3, 1);
	steer_config(&h, &s, KVSINK_PARAM_HEAD_MASK, 0);
	steer_all(&p, 2, 0.3);
	step();
	tap_ok(!held() && !counter(KVSINK_COUNTER_REFUSALS),
	       "no head allowed: nothing is promoted or refused");
	h_close(&h);
	h_open(&h, roomy);
	h_config(&h, 0, KVSINK_PARAM_LAYER_RANGE, 1 | 9u << 16);
	h_config(&h, 0, KVSINK_PARAM_HEAD_MASK, 0xfe);
	s = steer_geometry(1, 3);
	h_stream(&h, &s);
	configure(&h, &s, KVSINK_PLACEMENT_AUTO);
	steer_fill(&h, &s, 0, 40);
	now = 40;
	step();
	tap_ok(entries(&h, rec) == 1 && rec[0].layer_begin == 1 && rec[0].layer_end == 3 &&
		       rec[0].head_mask == 2,
	       "of the device's defaults what the stream has counts");
}

/* What software promoted is not AUTO's, and is not promoted again. */
static void not_its_own(void)
{
	fresh(2, 1);
	steer_check(h_promote(&h, &s, 2, 1, 2, 1), "PROMOTE");
	steer_all(&p, 2, 0.3);
	step();
	tap_ok(held() == 1, "a token with an entry in part of the rows gets no other");
	steer_all(&p, 2, 0);
	for (unsigned i = 0; i < 5; i++)
		step();
	tap_ok(held() == 1, "AUTO leaves entries alone that it did not make");
	steer_config(&h, &s, KVSINK_PARAM_PLACEMENT, KVSINK_PLACEMENT_OBSERVE);
	tap_ok(steer_ask(&h, KVSINK_QUERY_VERDICTS, 1, 0, 0, 8, &(struct kvsink_verdict_rec[8]){{0}},
			 sizeof(struct kvsink_verdict_rec)) == 1,
	       "in OBSERVE mode software is told to evict it");
}

/* A token in the tail is in SRAM already. */
static void tail(void)
{
	fresh(1, 1);
	steer_config(&h, &s, KVSINK_PARAM_TAIL_TOKENS, 4);
	steer_all(&p, 40, 0.3);
	for (unsigned i = 0; i < 4; i++)
		step();
	tap_ok(!resident(40), "a sink inside the tail gets no entry");
	step();
	tap_ok(resident(40), "it gets one when it leaves the tail");
}

/* ---- 1B is 1C ---- */

static struct harness soft;
static struct h_stream soft_s;

static void place(struct harness *to, const struct h_stream *stream, const struct kvsink_verdict_rec *v)
{
	if (v->verdict == KVSINK_VERDICT_EVICT)
		h_evict_cmd(to, stream, v->token, v->layer_begin, v->layer_end, v->head_mask);
	else
		h_promote_cmd(to, stream, v->token, v->layer_begin, v->layer_end, v->head_mask)
			->promote.dwell_steps = 3;
	steer_check(h_do(to), "a verdict");
}

/* Software's entries need not be those that the chip would make: a verdict names the rows. */
static void across_groups(void)
{
	struct kvsink_verdict_rec v = {0};

	fresh(3, 2);
	steer_config(&h, &s, KVSINK_PARAM_PLACEMENT, KVSINK_PLACEMENT_OBSERVE);
	steer_check(h_promote(&h, &s, 2, 0, 3, 1), "PROMOTE");
	steer_check(h_promote(&h, &s, 2, 0, 1, 2), "PROMOTE");
	h_barrier(&h, &s);
	for (unsigned i = 0; i < 5; i++)
		step();
	tap_ok(steer_ask(&h, KVSINK_QUERY_VERDICTS, 1, 0, 0, 1, &v, sizeof(v)) == 1 &&
		       v.verdict == KVSINK_VERDICT_EVICT && v.layer_begin == 0 && v.layer_end == 3 &&
		       v.head_mask == 1,
	       "an entry of two groups is named by its rows");
	place(&h, &s, &v);
	tap_ok(h.cpl.result[0] == 1 && held() == 1, "EVICT of them removes it and nothing else");
}

/* A plan looks at the state of every token, group by group. */
static void plan_ledger(void)
{
	struct kvsink_verdict_rec v;
	uint64_t before, tokens;

	fresh(3, 2);
	step();
	tokens = counter(KVSINK_COUNTER_STEPS);
	steer_config(&h, &s, KVSINK_PARAM_PLACEMENT, KVSINK_PLACEMENT_OBSERVE);
	before = counter(KVSINK_COUNTER_SCORE_HBM);
	steer_ask(&h, KVSINK_QUERY_VERDICTS, 1, 0, 0, 1, &v, sizeof(v));
	tap_ok(counter(KVSINK_COUNTER_SCORE_HBM) - before == tokens * 2 * 4,
	       "a plan reads 4 bytes of score memory a token and group");
}

/* ---- copies in time ---- */

/* What copies of eight automatic entries cost: the next step attends first, then computes. */
static void copies_of_a_step(uint32_t due_ns, uint64_t *exposed, uint64_t *hidden, uint64_t *late)
{
	fresh(2, 2);
	steer_config(&h, &s, KVSINK_PARAM_COPY_DUE_NS, due_ns);
	for (uint32_t t = 2; t < 10; t += 2)
		steer_all(&p, t, 0.2);
	step();
	steer_append(&h, &s, 0, now, 1);
	steer_attend(&h, &s, 0, now, 1, (const steer_attention *)&p);
	h_cmd(&h, KVSINK_OP_ADVANCE)->advance.ns = 5000;
	steer_check(h_do(&h), "ADVANCE");
	*exposed = counter(KVSINK_COUNTER_EXPOSED_DMA_NS);
	*hidden = counter(KVSINK_COUNTER_HIDDEN_DMA_NS);
	*late = counter(KVSINK_COUNTER_DMA_LATE);
}

static void due(void)
{
	uint64_t exposed[3], hidden[3], late[3];
	static const uint32_t ns[3] = {0, 4000, 1};

	for (unsigned i = 0; i < 3; i++)
		copies_of_a_step(ns[i], &exposed[i], &hidden[i], &late[i]);
	tap_ok(exposed[0] > 0 && !late[0],
	       "1C: copies that are due at once slow the next ATTEND down (%llu ns)",
	       (unsigned long long)exposed[0]);
	/* counters are in whole ns, rounded down */
	tap_ok(!exposed[1] && !late[1] && hidden[1] - (exposed[0] + hidden[0]) <= 1,
	       "with COPY_DUE_NS they wait for ADVANCE: all of the %llu ns are hidden, none is late",
	       (unsigned long long)hidden[1]);
	tap_ok(late[2] == 8, "what cannot be in time is told: DMA_LATE");
}

/* The same random attention, some of it moving on, on both. */
static void random_attention(uint64_t *seed, uint32_t token, unsigned phase)
{
	memset(p, 0, sizeof(p));
	for (unsigned i = 0; i < (phase % 3 == 2 ? 0 : 10); i++) { /* every third phase is quiet */
		uint32_t t = (h_random(seed) % 6 + phase * 7 + i) % token;

		for (uint32_t head = 0; head < STEER_Q_HEADS; head++)
			p[head][t] = h_random(seed) % 100 * 0.0008;
	}
}

static void observed_step(struct harness *to, const struct h_stream *stream, uint32_t token, uint64_t seed,
			  unsigned phase)
{
	for (uint32_t l = 0; l < stream->layers; l++) {
		random_attention(&seed, token, phase);
		steer_append(to, stream, l, token, 1);
		steer_attend(to, stream, l, token, 1, &p);
	}
	steer_check(h_step_end(to, stream, 1), "STEP_END");
}

/* Same tokens, rows, places in SRAM and contracts. */
static bool same_entries(void)
{
	static struct kvsink_tag_rec a[256], b[256];
	uint32_t n = entries(&h, a);

	if (entries(&soft, b) != n)
		return false;
	for (uint32_t i = 0; i < n; i++)
		if (a[i].token != b[i].token || a[i].layer_begin != b[i].layer_begin ||
		    a[i].layer_end != b[i].layer_end || a[i].head_mask != b[i].head_mask ||
		    a[i].sram_offset != b[i].sram_offset || a[i].age_steps != b[i].age_steps ||
		    a[i].dwell_steps != b[i].dwell_steps || a[i].generation != b[i].generation ||
		    a[i].ema != b[i].ema)
			return false;
	return true;
}

static void soft_like_hard(void)
{
	static struct kvsink_verdict_rec verdict[256];
	unsigned differ = 0, verdicts = 0;
	uint64_t seed = 99;

	fresh(3, 2);
	h_open(&soft, roomy);
	soft_s = steer_geometry(1, 3);
	soft_s.score_groups = 2;
	soft_s.group_end[0] = 1;
	soft_s.group_end[1] = 3;
	h_stream(&soft, &soft_s);
	configure(&soft, &soft_s, KVSINK_PLACEMENT_OBSERVE);
	steer_fill(&soft, &soft_s, 0, 40);
	for (unsigned i = 0; i < 2; i++) {
		struct harness *to = i ? &soft : &h;
		struct h_stream *stream = i ? &soft_s : &s;

		steer_config(to, stream, KVSINK_PARAM_ALPHA, 0x3f000000);
		steer_config(to, stream, KVSINK_PARAM_SRAM_BUDGET, 20480);
		steer_config(to, stream, KVSINK_PARAM_N_EVICT, 2);
	}
	for (unsigned i = 0; i < 80; i++) {
		uint32_t n;

		seed += 1000;
		observed_step(&h, &s, 40 + i, seed, i / 10);
		observed_step(&soft, &soft_s, 40 + i, seed, i / 10);
		n = steer_ask(&soft, KVSINK_QUERY_VERDICTS, 1, 0, 0, 256, verdict, sizeof(verdict[0]));
		for (uint32_t v = 0; v < n; v++)
			place(&soft, &soft_s, &verdict[v]);
		verdicts += n;
		differ += !same_entries();
		/* attention over two tiers is rounded otherwise: the copies of both end before the next step
		 */
		h_barrier(&h, &s);
		h_barrier(&soft, &soft_s);
	}
	tap_ok(!differ,
	       "1B, software that carries out VERDICTS, has the entries of 1C after each of 80 steps (%u "
	       "verdicts)",
	       verdicts);
	tap_ok(steer_events(&h, &s, KVSINK_EVENT_EVICTED, KVSINK_REASON_REPLACED) > 5 &&
		       steer_events(&h, &s, KVSINK_EVENT_EVICTED, KVSINK_REASON_BELOW) > 5 && verdicts > 50,
	       "with evictions and replacements among them");
	tap_ok(steer_count(&soft, &soft_s, KVSINK_COUNTER_AUTO_PROMOTIONS) == 0 &&
		       steer_count(&soft, &soft_s, KVSINK_COUNTER_PROMOTIONS) ==
			       counter(KVSINK_COUNTER_AUTO_PROMOTIONS),
	       "promotions: software's there, the chip's here, as many");
	h_close(&soft);
}

int main(void)
{
	threshold_only();
	promotion_and_dwell();
	hysteresis();
	replacement();
	behind_the_window();
	several_for_one();
	many();
	selectivity();
	envelope();
	not_its_own();
	tail();
	across_groups();
	plan_ledger();
	due();
	soft_like_hard();
	h_close(&h);
	return tap_done();
}
