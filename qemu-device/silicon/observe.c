/* SPDX-License-Identifier: MIT */
/*
 * What placement sees of ATTEND: the attention of the open step's queries becomes B, each query once, and
 * attention on sinks goes to the profile. The datapath gathers it while it has the weights in hand; K and V
 * are not read for it. A stream with PLACEMENT OFF is left alone: no sum is taken, no score byte read.
 *
 * Queries of a layer are observed in order: [observed_first, observed_end) of its layer, begun anywhere in
 * the open step. In a replay window each query of it is a step to be, and is observed by itself, in any
 * order; older queries then count for nothing.
 */
#include <string.h>

#include "chip.h"

/* Behind the last observed query of a layer: by commands that have retired, or by an earlier task of this
 * one. */
static uint32_t observed_end(const struct kvsink_item_work *work, uint32_t i)
{
	const struct kvsink_stream *s = work->stream[i];
	uint32_t end = s->layer[work->layer[i]].observed_end;

	for (uint32_t j = 0; j < i; j++) {
		const struct kvsink_attend_task *task = &work->task[j];

		if (work->stream[j] == s && work->layer[j] == work->layer[i] && task->observed)
			end = task->first + task->count;
	}
	return end;
}

/* The first query of the task that is new to B; its end if there is none, or if some before it were left out.
 */
static uint32_t first_new(const struct kvsink_item_work *work, uint32_t i)
{
	const struct kvsink_attend_task *task = &work->task[i];
	uint32_t end = observed_end(work, i), first = task->first;

	if (first < work->stream[i]->length)
		first = work->stream[i]->length;
	if (end && first > end)
		return task->first + task->count;
	return first > end ? first : end;
}

/* Bits of the tokens that are sinks now; a later change does not concern a task that is under way. */
static void copy_sinks(struct kvsink_ring *ring, struct kvsink_stream *s, uint32_t group, uint64_t *bits,
		       uint32_t tokens)
{
	const uint32_t *state = kvsink_planes(ring->chip, s, group).state;

	memset(bits, 0, (tokens + 63) / 64 * sizeof(*bits));
	for (uint32_t t = 0; t < tokens; t++)
		bits[t / 64] |= (uint64_t)!!(state[t] & KVSINK_STATE_SINK) << t % 64;
	kvsink_spend(ring, (uint64_t)tokens * sizeof(*state));
	kvsink_ledger_add(ring->chip, s, KVSINK_COUNTER_SCORE_HBM, (uint64_t)tokens * sizeof(*state));
}

/* Sums for task i, `rows` times as many as it has tokens and KV heads. */
static uint32_t take_sums(struct kvsink_ring *ring, uint32_t i, uint32_t rows)
{
	struct kvsink_item_work *work = &ring->work;
	struct kvsink_attend_task *task = &work->task[i];
	uint32_t tokens = task->first + task->count;
	uint64_t room = (uint64_t)((tokens + 63) & ~63u) * rows;

	if (room > KVSINK_OBSERVE_TOKENS - work->observed_used)
		return kvsink_fault(ring, KVSINK_CODE_TOO_BIG, room * sizeof(uint64_t));
	task->observed = work->observed + work->observed_used;
	task->sinks = work->sinks + work->observed_used / 64;
	task->sink_mass = work->sink_mass + work->sink_mass_used;
	copy_sinks(ring, work->stream[i], kvsink_stream_group(work->stream[i], work->layer[i]),
		   work->sinks + work->observed_used / 64, tokens);
	work->observed_used += (uint32_t)room;
	work->sink_mass_used += rows * task->rows.kv_heads;
	return KVSINK_CODE_OK;
}

/* In a replay window: the queries of its rows, each by itself. */
static uint32_t stage_window(struct kvsink_ring *ring, uint32_t i)
{
	struct kvsink_attend_task *task = &ring->work.task[i];
	const struct kvsink_stream *s = ring->work.stream[i];
	uint32_t end = task->first + task->count, first = task->first;

	if (first < s->length)
		first = s->length;
	if (first >= end || kvsink_window_knows(s, ring->work.layer[i], first, end))
		return KVSINK_CODE_OK;
	task->observe_first = first;
	task->observe_pitch = (end + 63) & ~63u;
	return take_sums(ring, i, end - first);
}

uint32_t kvsink_observe_stage(struct kvsink_ring *ring, uint32_t i)
{
	struct kvsink_item_work *work = &ring->work;
	struct kvsink_attend_task *task = &work->task[i];
	const struct kvsink_stream *s = work->stream[i];
	uint32_t code, first;

	if (kvsink_param(s, KVSINK_PARAM_PLACEMENT) == KVSINK_PLACEMENT_OFF)
		return KVSINK_CODE_OK;
	if (kvsink_window_open(s))
		return stage_window(ring, i);
	first = first_new(work, i);
	code = take_sums(ring, i, 1);
	if (first < task->first + task->count)
		task->observe_first = first;
	else
		task->observed = NULL;
	return code;
}

/* Another ring may have come first with the same queries, or with ones that these do not follow. */
static bool still_new(const struct kvsink_layer_params *layer, uint32_t first)
{
	return !layer->observed_end || layer->observed_end == first;
}

static void add_to_b(struct kvsink_chip *chip, struct kvsink_stream *s, uint32_t l,
		     const struct kvsink_attend_task *task)
{
	struct kvsink_layer_params *layer = &s->layer[l];
	uint64_t *mass = kvsink_planes(chip, s, kvsink_stream_group(s, l)).mass;
	uint32_t end = task->first + task->count;

	for (uint32_t t = 0; t < end; t++)
		mass[t] = kvsink_add_weighted(mass[t], task->observed[t], layer->weight);
	kvsink_dirty(chip, KVSINK_SPACE_HBM, (uint64_t)((uint8_t *)mass - chip->config.hbm),
		     end * sizeof(*mass));
	kvsink_ledger_add(chip, s, KVSINK_COUNTER_SCORE_HBM, 2ull * end * sizeof(*mass));
	kvsink_ledger_add(chip, s, KVSINK_COUNTER_OBSERVED_QUERIES,
			  (uint64_t)(end - task->observe_first) * s->q_heads);
	if (!layer->observed_end)
		layer->observed_first = task->observe_first;
	layer->observed_end = end;
}

void kvsink_observe_retire(struct kvsink_item_work *work)
{
	struct kvsink_chip *chip = work->ring->chip;

	for (uint32_t i = 0; i < work->tasks; i++) {
		const struct kvsink_attend_task *task = &work->task[i];
		struct kvsink_stream *s = work->stream[i];

		if (task->observe_pitch) {
			kvsink_window_observe(chip, s, work->layer[i], task);
			continue;
		}
		if (task->sinks)
			kvsink_profile_add(chip, s, work->layer[i], task->count, task->sink_mass);
		if (task->observed && still_new(&s->layer[work->layer[i]], task->observe_first))
			add_to_b(chip, s, work->layer[i], task);
	}
}

void kvsink_observe_clear(struct kvsink_item_work *work)
{
	memset(work->observed, 0, work->observed_used * sizeof(*work->observed));
	memset(work->sink_mass, 0, work->sink_mass_used * sizeof(*work->sink_mass));
}
