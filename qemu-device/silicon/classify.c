/* SPDX-License-Identifier: MIT */
/*
 * CLASSIFY: lists the tokens of score groups that the threshold comparator takes for sinks, and the view
 * of a group's scores that it and QUERY use.
 */
#include <string.h>

#include "chip.h"

void kvsink_score_view_of(const struct kvsink_chip *chip, const struct kvsink_stream *s, uint32_t group,
			  uint32_t *windows, struct kvsink_score_view *view)
{
	uint32_t begin = s->group[group].begin, end = s->group[group].end;
	uint64_t at = s->scores + group * kvsink_score_group_bytes(s->max_tokens);
	uint32_t scored = s->max_tokens;

	for (uint32_t l = begin; l < end; l++) {
		windows[l - begin] = s->layer[l].window;
		if (s->layer[l].scored < scored)
			scored = s->layer[l].scored;
	}
	*view = (struct kvsink_score_view){
		.sum = (const uint64_t *)(const void *)(chip->config.hbm + at),
		.tokens = scored,
		.scored = scored,
		.layers = end - begin,
		.q_heads = s->q_heads,
		.local_window = (uint32_t)kvsink_param(s, KVSINK_PARAM_LOCAL_WINDOW),
		.mode = (uint32_t)kvsink_param(s, KVSINK_PARAM_SCORE_MODE),
		.windows = windows,
	};
}

static uint32_t check(struct kvsink_ring *ring, const struct kvsink_stream *s,
		      const struct kvsink_cmd_classify *c)
{
	uint64_t bytes = sizeof(struct kvsink_list_head) + (uint64_t)c->max * sizeof(struct kvsink_sink_rec);

	if (!c->group_mask || c->group_mask >> s->score_groups)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(classify.group_mask));
	/* layers of a group that have seen different numbers of queries cannot be compared */
	for (uint32_t l = 1; l < s->layers; l++) {
		uint32_t group = kvsink_stream_group(s, l), first = s->group[group].begin;

		if (c->group_mask >> group & 1 && s->layer[l].scored != s->layer[first].scored)
			return kvsink_fault(ring, KVSINK_CODE_SEQUENCE, s->layer[l].scored);
	}
	if (bytes > KVSINK_STAGE_BYTES)
		return kvsink_fault(ring, KVSINK_CODE_TOO_BIG, bytes);
	return kvsink_operand_check(ring, &c->dst, bytes);
}

struct answer {
	struct kvsink_list_head *head;
	struct kvsink_sink_rec *rec; /* behind the head */
	uint32_t max;
};

static uint32_t score_pattern(const struct kvsink_score_view *view, uint32_t token, uint64_t max)
{
	float score = kvsink_score_value(view, token, max);
	uint32_t bits;

	memcpy(&bits, &score, sizeof(bits));
	return bits;
}

static void list_group(struct kvsink_ring *ring, struct kvsink_stream *s, uint32_t group, struct answer *to)
{
	uint32_t windows[KVSINK_MAX_LAYERS];
	uint32_t t_sink = (uint32_t)s->group[group].params[KVSINK_PARAM_T_SINK];
	struct kvsink_score_view view;
	uint32_t passes;
	uint64_t max = 0;

	kvsink_score_view_of(ring->chip, s, group, windows, &view);
	passes = view.mode == KVSINK_SCORE_REL ? 2 : 1;
	if (passes > 1)
		max = kvsink_score_max(&view);
	kvsink_spend(ring, (uint64_t)view.tokens * (sizeof(uint64_t) + view.layers));
	kvsink_ledger_add(ring->chip, s, KVSINK_COUNTER_SCORE_HBM,
			  (uint64_t)passes * view.tokens * sizeof(uint64_t));
	for (uint32_t token = 0; token < view.tokens; token++) {
		if (!kvsink_is_sink(&view, token, max, t_sink) || to->head->total++ >= to->max)
			continue;
		to->rec[to->head->written++] = (struct kvsink_sink_rec){
			.group = group,
			.token = token,
			.score = score_pattern(&view, token, max),
			.observers = kvsink_observers(&view, token),
		};
	}
}

uint32_t kvsink_cmd_classify(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_cmd_classify *c = &cmd->classify;
	struct answer to = {.head = (void *)ring->work.q, .max = c->max};
	struct kvsink_stream *s;
	uint32_t code = kvsink_stream_get(ring, c->stream, &s);

	if (!code)
		code = check(ring, s, c);
	if (code)
		return code;
	to.rec = (struct kvsink_sink_rec *)(to.head + 1);
	*to.head = (struct kvsink_list_head){.record_bytes = sizeof(*to.rec)};
	for (uint32_t group = 0; group < s->score_groups; group++)
		if (c->group_mask >> group & 1)
			list_group(ring, s, group, &to);
	return kvsink_operand_write(ring, &c->dst, 0, to.head,
				    sizeof(*to.head) + to.head->written * sizeof(*to.rec));
}
