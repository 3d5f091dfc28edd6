// SPDX-License-Identifier: MIT
/*
 * Random PROMOTE, EVICT, CONTRACT and CONFIG: what software asks of placement, of chip and model alike. Most
 * of it is good, some is not, so that refusals are compared as well.
 */
#include "lockstep.h"

static struct kvsink_place_item some_place(unsigned s)
{
	const struct ref_stream *st = &both.ref.stream[s];
	struct kvsink_place_item p = {.token = below(st->length ? st->length : 1)};
	static const uint16_t ranges[][2] = {{0, 1}, {1, 3}, {0, 3}, {1, 2}, {2, 3}, {0, 2}, {2, 2}, {1, 4}};
	unsigned range = below(40) ? below(6) : 6 + below(2);

	p.layer_begin = ranges[range][0];
	p.layer_end = ranges[range][1];
	p.head_mask = below(40) ? 1 + below(3) : below(6);
	if (st->length > st->shared && below(4))
		p.token = st->shared + below(st->length - st->shared);
	if (below(60) == 0)
		p.token = st->length + below(2);
	return p;
}

static void push(const struct kvsink_place_item *places, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		h_item(&both.h, &(union kvsink_item){.place = places[i]});
}

static struct ref_terms some_terms(void)
{
	struct ref_terms t = {.dwell = below(2) * below(8), .priority = below(4), .partial = below(3) == 0};
	uint32_t kind = below(20);

	if (kind < 6)
		t.deadline = both.ref.now + 1 + below(2000);
	else if (kind == 6)
		t.deadline = both.ref.now ? both.ref.now - below(2) : 0;
	else if (kind == 7)
		t.deadline = both.ref.now + KVSINK_MAX_LEASE_NS + below(2);
	if (below(100) == 0)
		t.priority = KVSINK_MAX_PRIORITY + below(2);
	return t;
}

void lockstep_promote(unsigned s)
{
	struct kvsink_place_item places[4];
	struct ref_terms terms = some_terms();
	uint32_t count = 1 + below(below(3) ? 1 : 4);
	struct kvsink_cmd *cmd = h_cmd(&both.h, KVSINK_OP_PROMOTE);
	struct ref_answer want;

	for (uint32_t i = 0; i < count; i++)
		places[i] = some_place(s);
	cmd->flags = terms.partial ? KVSINK_PROMOTE_PARTIAL : 0;
	cmd->promote = (struct kvsink_cmd_promote){
		.stream = both.streams[s].id,
		.item_count = count,
		.dwell_steps = terms.dwell,
		.priority = terms.priority,
		.deadline_ns = terms.deadline,
		.due_ns = below(2) * below(5000),
	};
	push(places, count);
	want = ref_promote(&both.ref, s, places, count, &terms);
	lockstep_run(s);
	lockstep_answered(&want);
	if (want.code)
		return;
	totals.granted += want.count;
	SAME(both.h.cpl.result[0], want.bytes, "bytes granted");
	SAME(both.h.cpl.result[1], want.generation, "first generation");
	SAME(both.h.cpl.result[2], want.count, "entries granted");
	SAME(both.h.cpl.result[3], want.ended, "what ended the grant");
}

static struct kvsink_place_item some_search(unsigned s)
{
	struct kvsink_place_item p = {.layer_end = REF_LAYERS, .head_mask = 3};
	const struct ref_entry *e = &both.ref.entry[below(REF_ENTRIES)];

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

void lockstep_evict(unsigned s)
{
	struct kvsink_place_item places[2] = {some_search(s), some_search(s)};
	uint32_t count = 1 + below(2);
	struct kvsink_cmd *cmd = h_cmd(&both.h, KVSINK_OP_EVICT);
	struct ref_answer want;

	cmd->flags = below(2) ? KVSINK_EVICT_ANY : 0;
	cmd->evict = (struct kvsink_cmd_evict){.stream = both.streams[s].id, .item_count = count};
	push(places, count);
	want = ref_evict(&both.ref, s, places, count);
	if (cmd->flags && want.code == KVSINK_CODE_NOT_RESIDENT)
		want.code = KVSINK_CODE_OK;
	SAME(lockstep_run(s), want.code, "code");
	both.outcome = both.h.cpl.code;
	if (!want.code)
		SAME(both.h.cpl.result[0], want.count, "entries removed");
}

void lockstep_contract(unsigned s)
{
	struct kvsink_place_item places[2] = {some_search(s), some_search(s)};
	uint32_t count = 1 + below(2);
	struct ref_terms terms = some_terms();
	struct kvsink_cmd *cmd = h_cmd(&both.h, KVSINK_OP_CONTRACT);
	struct ref_answer want;

	cmd->contract = (struct kvsink_cmd_contract){
		.stream = both.streams[s].id,
		.item_count = count,
		.dwell_steps = terms.dwell,
		.priority = terms.priority,
		.deadline_ns = terms.deadline,
	};
	push(places, count);
	want = ref_contract(&both.ref, s, places, count, &terms);
	SAME(lockstep_run(s), want.code, "code");
	both.outcome = both.h.cpl.code;
	if (!want.code)
		SAME(both.h.cpl.result[0], want.count, "entries under contract");
}

static uint32_t pattern(uint32_t ema)
{
	float value = (float)((double)ema * 0x1p-32);
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

void lockstep_verdicts(unsigned s)
{
	static struct kvsink_verdict_rec got[REF_ENTRIES + KVSINK_MAX_STEP_PROMOTIONS];
	static struct ref_verdicts want;
	uint32_t n;

	if (both.ref.stream[s].swapped) {
		lockstep_refused(s);
		both.outcome = both.h.cpl.code;
		return;
	}
	both.outcome = KVSINK_CODE_OK;
	n = lockstep_ask(KVSINK_QUERY_VERDICTS, both.streams[s].id, 0, 0, sizeof(got) / sizeof(got[0]), got,
			 sizeof(got[0]));
	ref_verdicts(&both.ref, s, &want);
	SAME(n, want.count, "verdicts");
	for (uint32_t i = 0; i < n && i < want.count; i++) {
		want.rec[i].ema = pattern(want.rec[i].ema);
		if (memcmp(&got[i], &want.rec[i], sizeof(got[i])))
			lockstep_differ("verdict %u: chip %u of token %u, model %u of token %u", i,
					got[i].verdict, got[i].token, want.rec[i].verdict, want.rec[i].token);
	}
	totals.verdicts += n;
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

void lockstep_config(unsigned s, uint32_t group, uint32_t param, uint64_t value, bool privileged)
{
	struct kvsink_cmd *cmd = h_cmd(&both.h, KVSINK_OP_CONFIG);
	uint32_t want = ref_config(&both.ref, s, group, param, value, privileged);

	cmd->config = (struct kvsink_cmd_config){.stream = s < REF_STREAMS ? both.streams[s].id : 0,
						 .param = param,
						 .group = group,
						 .value = value};
	both.h.desc.flags = privileged ? KVSINK_JOB_PRIVILEGED : 0;
	SAME(lockstep_run(s), want, "code");
	both.outcome = both.h.cpl.code;
	if (both.h.cpl.code != want)
		lockstep_differ("CONFIG parameter %u = %llx, group %x, stream %u: chip %s, model %s", param,
				(unsigned long long)value, group, s, kvsink_code_name(both.h.cpl.code),
				kvsink_code_name(want));
}

/* LOCAL_WINDOW, LAYER_WEIGHT and SCORE_MODE are fixed while a stream lives: lockstep_newborn() sets them. */
void lockstep_config_any(void)
{
	static const uint8_t params[] = {
		KVSINK_PARAM_T_SINK,	  KVSINK_PARAM_SRAM_BUDGET, KVSINK_PARAM_HEAD_MASK,
		KVSINK_PARAM_LAYER_RANGE, KVSINK_PARAM_T_PROMOTE,   KVSINK_PARAM_T_EVICT,
		KVSINK_PARAM_ALPHA,	  KVSINK_PARAM_N_PROMOTE,   KVSINK_PARAM_N_DWELL,
		KVSINK_PARAM_N_EVICT,	  KVSINK_PARAM_DELTA,	    KVSINK_PARAM_PLACEMENT,
		KVSINK_PARAM_TAIL_TOKENS, KVSINK_PARAM_TENANT_CAP,  KVSINK_PARAM_TENANT_TAG,
		KVSINK_PARAM_PRIORITY,	  KVSINK_PARAM_COPY_DUE_NS,
	};
	uint32_t param = params[below(sizeof(params))];
	unsigned s = below(5) ? lockstep_some_holder() : UINT32_MAX;
	uint32_t group = below(2) ? KVSINK_GROUP_ALL : below(3);

	if (below(100) == 0)
		param = KVSINK_PARAM_COUNT + below(3);
	lockstep_config(s, group, param, some_value(param), below(10) != 0);
}
