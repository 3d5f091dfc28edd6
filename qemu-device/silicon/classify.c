/* SPDX-License-Identifier: MIT */
/*
 * CLASSIFY (1A): lists the tokens of score groups that the threshold comparator takes for sinks, and makes
 * them the groups' sinks. Also the view of a group's scores that it, QUERY, SCORE_IMPORT and the EMA use.
 */
#include <string.h>

#include "chip.h"

void kvsink_score_view_of(const struct kvsink_chip *chip, const struct kvsink_stream *s, uint32_t group,
			  struct kvsink_view_layers *layers, struct kvsink_score_view *view)
{
	uint32_t begin = s->group[group].begin, end = s->group[group].end;
	uint32_t scored = s->max_tokens;

	for (uint32_t l = begin; l < end; l++) {
		layers->windows[l - begin] = s->layer[l].window;
		layers->weights[l - begin] = s->layer[l].weight;
		if (s->layer[l].scored < scored)
			scored = s->layer[l].scored;
	}
	*view = (struct kvsink_score_view){
		.sum = kvsink_planes(chip, s, group).sum,
		.tokens = scored,
		.scored = scored,
		.layers = end - begin,
		.q_heads = s->q_heads,
		.local_window = (uint32_t)kvsink_param(s, KVSINK_PARAM_LOCAL_WINDOW),
		.mode = (uint32_t)kvsink_param(s, KVSINK_PARAM_SCORE_MODE),
		.windows = layers->windows,
		.weights = layers->weights,
	};
}

bool kvsink_sink_rec(const struct kvsink_score_view *view, uint32_t group, uint32_t token, uint64_t max,
		     uint32_t t_sink, struct kvsink_sink_rec *rec)
{
	float score;

	if (!kvsink_is_sink(view, token, max, t_sink))
		return false;
	score = kvsink_score_value(view, token, max);
	*rec = (struct kvsink_sink_rec){
		.group = group,
		.token = token,
		.observers = kvsink_observers(view, token),
	};
	memcpy(&rec->score, &score, sizeof(rec->score));
	return true;
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

/* A group as the comparator goes through it. */
struct pass {
	struct kvsink_view_layers layers;
	struct kvsink_score_view view;
	uint64_t max;
	uint32_t t_sink;
};

static void pass_begin(struct kvsink_ring *ring, struct kvsink_stream *s, uint32_t group, struct pass *pass)
{
	uint32_t passes = 1;

	kvsink_score_view_of(ring->chip, s, group, &pass->layers, &pass->view);
	pass->t_sink = (uint32_t)s->group[group].params[KVSINK_PARAM_T_SINK];
	pass->max = 0;
	if (pass->view.mode == KVSINK_SCORE_REL) {
		pass->max = kvsink_score_max(&pass->view);
		passes = 2;
	}
	kvsink_spend(ring, (uint64_t)pass->view.tokens * (sizeof(uint64_t) + pass->view.layers));
	kvsink_ledger_add(ring->chip, s, KVSINK_COUNTER_SCORE_HBM,
			  (uint64_t)passes * pass->view.tokens * sizeof(uint64_t));
}

static void list_group(struct kvsink_ring *ring, struct kvsink_stream *s, uint32_t group, uint32_t max,
		       struct kvsink_list_head *head)
{
	struct kvsink_sink_rec *out = (struct kvsink_sink_rec *)(head + 1), rec;
	struct pass pass;

	pass_begin(ring, s, group, &pass);
	for (uint32_t token = 0; token < pass.view.tokens; token++)
		if (kvsink_sink_rec(&pass.view, group, token, pass.max, pass.t_sink, &rec) &&
		    head->total++ < max)
			out[head->written++] = rec;
}

/* The states of a group follow from its scores alone; what its profile counted was on other sinks. */
static void set_group(struct kvsink_ring *ring, struct kvsink_stream *s, uint32_t group)
{
	uint32_t *state = kvsink_planes(ring->chip, s, group).state;
	uint64_t bytes = (uint64_t)s->length * sizeof(*state);
	struct pass pass;

	pass_begin(ring, s, group, &pass);
	for (uint32_t token = 0; token < s->length; token++)
		state[token] =
			kvsink_is_sink(&pass.view, token, pass.max, pass.t_sink) ? KVSINK_STATE_SINK : 0;
	kvsink_dirty(ring->chip, KVSINK_SPACE_HBM, (uint64_t)((uint8_t *)state - ring->chip->config.hbm),
		     bytes);
	kvsink_ledger_add(ring->chip, s, KVSINK_COUNTER_SCORE_HBM, bytes);
	kvsink_profile_clear(ring->chip, s, s->group[group].begin, s->group[group].end);
}

uint32_t kvsink_cmd_classify(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_cmd_classify *c = &cmd->classify;
	struct kvsink_list_head *head = (void *)ring->work.q;
	struct kvsink_stream *s;
	uint32_t code = kvsink_stream_get_hbm(ring, c->stream, &s);

	if (!code)
		code = check(ring, s, c);
	if (code)
		return code;
	*head = (struct kvsink_list_head){.record_bytes = sizeof(struct kvsink_sink_rec)};
	for (uint32_t group = 0; group < s->score_groups; group++)
		if (c->group_mask >> group & 1)
			list_group(ring, s, group, c->max, head);
	code = kvsink_operand_write(ring, &c->dst, 0, head,
				    sizeof(*head) + head->written * sizeof(struct kvsink_sink_rec));
	for (uint32_t group = 0; group < s->score_groups && !code; group++)
		if (c->group_mask >> group & 1)
			set_group(ring, s, group);
	return code;
}
