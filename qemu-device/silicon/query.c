/* SPDX-License-Identifier: MIT */
/*
 * QUERY: writes records about streams, entries, counters, scores, parameters and events.
 *
 * A job sees its own tenant's streams; a privileged one sees all. Answers are put together in the ring's
 * staging buffer, then written behind one another: the head and as many records as there are.
 */
#include <string.h>

#include "chip.h"

/* Records are built on the stack: padding would show what lay there before. */
_Static_assert(sizeof(struct kvsink_stream_rec) == 152, "no padding in a stream's record");
_Static_assert(sizeof(struct kvsink_tag_rec) == 80 && sizeof(struct kvsink_event_rec) == 40 &&
		       sizeof(struct kvsink_span_rec) == 48 && sizeof(struct kvsink_verdict_rec) == 32,
	       "no padding in the others");

/* What is being put together. */
struct answer {
	struct kvsink_ring *ring;
	const struct kvsink_cmd_query *c;
	struct kvsink_stream *stream; /* asked for; NULL = all, or the device */
	struct kvsink_list_head *head;
	uint8_t *rec; /* behind the head */
};

struct query_desc {
	uint32_t record_bytes;
	bool needs_stream; /* stream 0 makes no sense */
	bool needs_hbm;	   /* the stream may not be swapped out */
	void (*list)(struct answer *to);
};

/* One record that matches: counted, and written if it is among those wanted. */
static void emit(struct answer *to, const void *rec)
{
	struct kvsink_list_head *head = to->head;

	if (head->total++ < to->c->first || head->written == to->c->max)
		return;
	memcpy(to->rec + (size_t)head->written * head->record_bytes, rec, head->record_bytes);
	head->written++;
}

/* May the job see this stream, and did it ask for it? */
static bool wanted(const struct answer *to, const struct kvsink_stream *s)
{
	if (!s->id || (to->stream && to->stream != s))
		return false;
	return kvsink_privileged(to->ring) || s->tenant == to->ring->desc.tenant;
}

static void emit_stream(struct answer *to, const struct kvsink_stream *s)
{
	struct kvsink_stream_rec rec = {
		.stream = s->id,
		.tenant = s->tenant,
		.length = s->length,
		.layers = (uint16_t)s->layers,
		.q_heads = (uint16_t)s->q_heads,
		.kv_heads = (uint16_t)s->kv_heads,
		.d_k = (uint16_t)s->d_k,
		.d_v = (uint16_t)s->d_v,
		.format = (uint16_t)s->format,
		.page_tokens = 1u << s->page_shift,
		.max_tokens = s->max_tokens,
		.reserved_tokens = kvsink_swapped_out(s) ? 0 : s->mapped_pages << s->page_shift,
		.entries = s->entries,
		.sram_bytes = s->sram_bytes,
		.scored = s->layer[0].scored,
		.score_groups = s->score_groups,
		.flags = s->flags,
		.sealed = s->sealed,
		.seal_k = (uint16_t)s->seal_k,
		.seal_v = (uint16_t)s->seal_v,
		.swapped = kvsink_swapped_out(s),
		.image_bytes = kvsink_swap_image_bytes(s),
		.prefix = s->prefix ? s->prefix->id : 0,
		.shared = s->shared,
		.users = s->users,
		.closed = s->closed,
		.own_page = s->own_page,
		.key = {s->key[0], s->key[1]},
		.window = s->window.tokens,
		.window_rows = kvsink_window_rows(s),
		.window_ns = s->window.begin_ns,
	};

	for (uint32_t g = 0; g < s->score_groups; g++)
		rec.group_end[g] = (uint16_t)s->group[g].end;
	emit(to, &rec);
}

static void list_streams(struct answer *to)
{
	const struct kvsink_chip *chip = to->ring->chip;

	kvsink_spend(to->ring, (uint64_t)chip->config.streams * 64);
	for (uint32_t i = 0; i < chip->config.streams; i++)
		if (wanted(to, &chip->streams[i]))
			emit_stream(to, &chip->streams[i]);
}

static uint32_t tag_flags(const struct kvsink_chip *chip, const struct kvsink_tag *tag)
{
	return (tag->valid ? KVSINK_TAG_VALID : 0) | (tag->automatic ? KVSINK_TAG_AUTO : 0) |
	       (kvsink_in_force(chip, tag) ? KVSINK_TAG_CONTRACT : 0);
}

/* Where an entry lies in SRAM is only for the driver to know. */
static void emit_tag(struct answer *to, const struct kvsink_tag *tag)
{
	const struct kvsink_chip *chip = to->ring->chip;
	struct kvsink_tag_rec rec = {
		.stream = tag->stream->id,
		.tenant = tag->stream->tenant,
		.token = tag->token,
		.layer_begin = tag->layer_begin,
		.layer_end = tag->layer_end,
		.flags = tag_flags(chip, tag),
		.head_mask = tag->head_mask,
		.sram_offset = kvsink_privileged(to->ring) ? tag->sram_offset : 0,
		.sram_bytes = tag->sram_bytes,
		.generation = tag->generation,
		.row_bytes = tag->row_bytes,
		.tokens = 1,
		.age_steps = tag->stream->length - tag->since_step,
		.dwell_steps = tag->dwell_steps,
		.priority = tag->priority,
		.deadline_ns = tag->deadline_ns,
		.ema = kvsink_q32_pattern(kvsink_tag_ema(chip, tag)),
	};

	emit(to, &rec);
}

static void emit_tail(struct answer *to, const struct kvsink_stream *s, const struct kvsink_tail *tail)
{
	struct kvsink_tail_range held = kvsink_tail_range(s, tail->begin);
	struct kvsink_tag_rec rec = {
		.stream = s->id,
		.tenant = s->tenant,
		.token = held.next,
		.layer_begin = (uint16_t)tail->begin,
		.layer_end = (uint16_t)tail->end,
		.flags = KVSINK_TAG_VALID | KVSINK_TAG_TAIL |
			 (to->ring->chip->host_ns < tail->deadline_ns ? KVSINK_TAG_CONTRACT : 0),
		.head_mask = tail->head_mask,
		.sram_offset = kvsink_privileged(to->ring) ? tail->sram_offset : 0,
		.sram_bytes = tail->sram_bytes,
		.row_bytes = s->row_bytes,
		.tokens = held.end - held.next,
		.deadline_ns = tail->deadline_ns,
	};

	emit(to, &rec);
}

static void list_tags(struct answer *to)
{
	const struct kvsink_chip *chip = to->ring->chip;

	kvsink_spend(to->ring, ((uint64_t)chip->config.streams + chip->used_tags) * 64);
	for (uint32_t i = 0; i < chip->config.streams; i++) {
		const struct kvsink_stream *s = &chip->streams[i];

		if (!wanted(to, s))
			continue;
		for (uint32_t t = s->first_tag; t != KVSINK_NONE; t = chip->tags[t].next)
			emit_tag(to, &chip->tags[t]);
		for (uint32_t g = 0; g < s->score_groups; g++)
			if (s->group[g].tail.tokens)
				emit_tail(to, s, &s->group[g].tail);
	}
}

static void list_counters(struct answer *to)
{
	const uint64_t *counters = to->stream ? to->stream->counters : to->ring->chip->counters;

	for (unsigned i = 0; i < KVSINK_COUNTER_COUNT; i++) {
		uint64_t value = kvsink_ledger_value(counters, i);

		emit(to, &value);
	}
}

/* A parameter that only the device has is shown with its value there. */
static void list_params(struct answer *to)
{
	static const bool device_only[KVSINK_PARAM_COUNT] = {[KVSINK_PARAM_TENANT_CAP] = true};
	const uint64_t *device = to->ring->chip->params;
	const uint64_t *params = to->stream ? to->stream->group[to->c->group].params : device;

	for (unsigned i = 0; i < KVSINK_PARAM_COUNT; i++)
		emit(to, device_only[i] ? &device[i] : &params[i]);
}

/* Does an entry of the token, its own or a prefix's, cover layers of the group? *entries moves along with the
 * token. */
static bool resident(const struct answer *to, uint32_t token, struct kvsink_entries *entries)
{
	const struct kvsink_chip *chip = to->ring->chip;
	const struct kvsink_group *group = &to->stream->group[to->c->group];
	bool found = false;

	for (; entries->index != KVSINK_NONE && chip->tags[entries->index].token <= token;
	     kvsink_entries_next(chip, entries)) {
		const struct kvsink_tag *tag = &chip->tags[entries->index];

		found |=
			tag->token == token && tag->layer_begin < group->end && tag->layer_end > group->begin;
	}
	return found;
}

static struct kvsink_score_rec score_rec(const struct kvsink_score_view *view, const struct kvsink_planes *p,
					 uint32_t token, uint64_t max)
{
	struct kvsink_score_rec rec = {
		.sum = p->sum[token],
		.observers = kvsink_observers(view, token),
		.ema = kvsink_q32_pattern(p->ema[token]),
		.run = (uint16_t)(p->state[token] & 0xffff),
		.flags = p->state[token] & KVSINK_STATE_SINK ? KVSINK_SCORE_SINK : 0,
		.promoted = p->promoted[token],
	};
	float score = kvsink_score_value(view, token, max);

	memcpy(&rec.score, &score, sizeof(rec.score));
	return rec;
}

static void list_scores(struct answer *to)
{
	const struct kvsink_chip *chip = to->ring->chip;
	const struct kvsink_stream *s = to->stream;
	struct kvsink_planes p = kvsink_planes(chip, s, to->c->group);
	struct kvsink_view_layers layers;
	struct kvsink_score_view view;
	struct kvsink_entries entries;
	uint64_t max = 0, reads;

	kvsink_score_view_of(chip, s, to->c->group, &layers, &view);
	if (view.mode == KVSINK_SCORE_REL)
		max = kvsink_score_max(&view);
	to->head->total = s->length;
	kvsink_entries_begin(chip, s, &entries);
	kvsink_spend(to->ring, (uint64_t)view.tokens * (sizeof(uint64_t) + view.layers) + s->entries * 64ull);
	for (uint32_t t = to->c->first; t < s->length && to->head->written < to->c->max; t++) {
		struct kvsink_score_rec rec = score_rec(&view, &p, t, max);

		if (resident(to, t, &entries))
			rec.flags |= KVSINK_SCORE_RESIDENT;
		memcpy(to->rec + (size_t)to->head->written++ * sizeof(rec), &rec, sizeof(rec));
	}
	reads = to->head->written * 20ull +
		(view.mode == KVSINK_SCORE_REL ? view.tokens * sizeof(uint64_t) : 0);
	kvsink_ledger_add(to->ring->chip, to->stream, KVSINK_COUNTER_SCORE_HBM, reads);
}

static void list_sinks(struct answer *to)
{
	uint32_t t_sink = (uint32_t)to->stream->group[to->c->group].params[KVSINK_PARAM_T_SINK];
	struct kvsink_view_layers layers;
	struct kvsink_score_view view;
	struct kvsink_sink_rec rec;
	uint64_t max = 0;

	kvsink_score_view_of(to->ring->chip, to->stream, to->c->group, &layers, &view);
	if (view.mode == KVSINK_SCORE_REL)
		max = kvsink_score_max(&view);
	kvsink_spend(to->ring, (uint64_t)view.tokens * (sizeof(uint64_t) + view.layers));
	kvsink_ledger_add(to->ring->chip, to->stream, KVSINK_COUNTER_SCORE_HBM,
			  view.tokens * sizeof(uint64_t) * (view.mode == KVSINK_SCORE_REL ? 2 : 1));
	for (uint32_t t = 0; t < view.tokens; t++)
		if (kvsink_sink_rec(&view, to->c->group, t, max, t_sink, &rec))
			emit(to, &rec);
}

static void list_verdicts(struct answer *to)
{
	const struct kvsink_chip *chip = to->ring->chip;
	uint32_t refused;

	kvsink_place_plan(to->ring, to->stream, &refused);
	for (uint32_t i = 0; i < chip->plan_count; i++) {
		const struct kvsink_verdict_plan *plan = &chip->plan[i];
		struct kvsink_place_item rows =
			plan->verdict == KVSINK_VERDICT_EVICT
				? kvsink_tag_rows(&chip->tags[plan->tag])
				: kvsink_group_rows(to->stream, plan->group, plan->token);
		struct kvsink_verdict_rec rec = {
			.group = plan->group,
			.token = plan->token,
			.verdict = plan->verdict,
			.ema = kvsink_q32_pattern(plan->ema),
			.layer_begin = rows.layer_begin,
			.layer_end = rows.layer_end,
			.head_mask = rows.head_mask,
		};

		emit(to, &rec);
	}
}

static void list_profile(struct answer *to)
{
	const struct kvsink_stream *s = to->stream;

	for (uint32_t l = 0; l < s->layers; l++)
		for (uint32_t h = 0; h < s->kv_heads; h++) {
			struct kvsink_profile_rec rec = kvsink_profile_rec(to->ring->chip, s, l, h);

			emit(to, &rec);
		}
	kvsink_ledger_add(to->ring->chip, to->stream, KVSINK_COUNTER_SCORE_HBM,
			  (uint64_t)s->layers * s->kv_heads * sizeof(uint64_t));
}

/* ---- logs: from a number on; `next` is where to go on ---- */

/* A record that is wanted, with its number. */
static void emit_numbered(struct answer *to, uint32_t number, const void *rec)
{
	struct kvsink_list_head *head = to->head;

	if (head->total++ == to->c->max)
		head->next = number;
	if (head->written < to->c->max)
		memcpy(to->rec + (size_t)head->written++ * head->record_bytes, rec, head->record_bytes);
}

/* Resets concern every tenant; anything else only the one it happened to. */
static bool event_wanted(const struct answer *to, const struct kvsink_event_rec *event)
{
	if (to->stream && event->stream != to->stream->id)
		return false;
	return kvsink_privileged(to->ring) || event->tenant == to->ring->desc.tenant ||
	       event->code == KVSINK_EVENT_ENGINE_RESET;
}

static void list_events(struct answer *to)
{
	const struct kvsink_chip *chip = to->ring->chip;
	const uint32_t *tenant = kvsink_privileged(to->ring) ? NULL : &to->ring->desc.tenant;
	uint64_t number = kvsink_event_number(chip, to->c->first);
	const struct kvsink_logged_event *event;
	struct kvsink_event_walk walk;
	struct kvsink_event_rec lost;

	to->head->next = (uint32_t)chip->event_next;
	if (kvsink_event_lost(chip, tenant, number, &lost))
		emit_numbered(to, (uint32_t)number, &lost);
	for (unsigned i = 0; i < KVSINK_EVENT_LOGS; i++)
		kvsink_spend(to->ring, (uint64_t)chip->event_log[i].slots * sizeof(*event));
	kvsink_event_seek(chip, &walk, number);
	while ((event = kvsink_event_step(chip, &walk)))
		if (event_wanted(to, &event->rec))
			emit_numbered(to, (uint32_t)event->number, &event->rec);
}

static bool span_wanted(const struct answer *to, const struct kvsink_span_rec *span)
{
	if (to->stream && span->stream != to->stream->id)
		return false;
	return kvsink_privileged(to->ring) || span->tenant == to->ring->desc.tenant;
}

static void list_spans(struct answer *to)
{
	const struct kvsink_chip *chip = to->ring->chip;
	uint32_t kept = chip->span_total < KVSINK_SPAN_SLOTS ? (uint32_t)chip->span_total : KVSINK_SPAN_SLOTS;
	uint32_t number = to->c->first;

	if (chip->span_next - number > kept)
		number = chip->span_next - kept;
	to->head->next = chip->span_next;
	kvsink_spend(to->ring, (uint64_t)(chip->span_next - number) * to->head->record_bytes);
	for (; number != chip->span_next; number++) {
		const struct kvsink_span_rec *span = &chip->spans_log[number % KVSINK_SPAN_SLOTS];

		if (span_wanted(to, span))
			emit_numbered(to, number, span);
	}
}

static const struct query_desc queries[] = {
	[KVSINK_QUERY_STREAMS] = {sizeof(struct kvsink_stream_rec), false, false, list_streams},
	[KVSINK_QUERY_TAGS] = {sizeof(struct kvsink_tag_rec), false, false, list_tags},
	[KVSINK_QUERY_COUNTERS] = {sizeof(uint64_t), false, false, list_counters},
	[KVSINK_QUERY_SCORES] = {sizeof(struct kvsink_score_rec), true, true, list_scores},
	[KVSINK_QUERY_PARAMS] = {sizeof(uint64_t), false, false, list_params},
	[KVSINK_QUERY_EVENTS] = {sizeof(struct kvsink_event_rec), false, false, list_events},
	[KVSINK_QUERY_SPANS] = {sizeof(struct kvsink_span_rec), false, false, list_spans},
	[KVSINK_QUERY_SINKS] = {sizeof(struct kvsink_sink_rec), true, true, list_sinks},
	[KVSINK_QUERY_VERDICTS] = {sizeof(struct kvsink_verdict_rec), true, true, list_verdicts},
	[KVSINK_QUERY_PROFILE] = {sizeof(struct kvsink_profile_rec), true, true, list_profile},
};

static uint32_t check_scope(struct answer *to, const struct query_desc *query)
{
	const struct kvsink_cmd_query *c = to->c;
	struct kvsink_ring *ring = to->ring;
	uint32_t groups, code = KVSINK_CODE_OK;

	if (query->needs_hbm)
		code = kvsink_stream_get_hbm(ring, c->stream, &to->stream);
	else if (c->stream || query->needs_stream)
		code = kvsink_stream_get(ring, c->stream, &to->stream);
	else if (c->what == KVSINK_QUERY_COUNTERS && !kvsink_privileged(ring))
		code = kvsink_fault(ring, KVSINK_CODE_TENANT, 0);
	if (code)
		return code;
	groups = to->stream && (c->what == KVSINK_QUERY_SCORES || c->what == KVSINK_QUERY_PARAMS ||
				c->what == KVSINK_QUERY_SINKS)
			 ? to->stream->score_groups
			 : 1;
	if (c->group >= groups)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(query.group));
	return KVSINK_CODE_OK;
}

uint32_t kvsink_cmd_query(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_cmd_query *c = &cmd->query;
	struct answer to = {.ring = ring, .c = c, .head = (void *)ring->work.q};
	const struct query_desc *query;
	uint64_t bytes;
	uint32_t code;

	if (c->what >= sizeof(queries) / sizeof(queries[0]) || !queries[c->what].list)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(query.what));
	query = &queries[c->what];
	code = check_scope(&to, query);
	if (code)
		return code;
	bytes = sizeof(*to.head) + (uint64_t)c->max * query->record_bytes;
	if (bytes > KVSINK_STAGE_BYTES)
		return kvsink_fault(ring, KVSINK_CODE_TOO_BIG, bytes);
	code = kvsink_operand_check(ring, &c->dst, bytes);
	if (code)
		return code;
	to.rec = (uint8_t *)(to.head + 1);
	*to.head = (struct kvsink_list_head){.record_bytes = query->record_bytes};
	query->list(&to);
	return kvsink_operand_write(ring, &c->dst, 0, to.head,
				    sizeof(*to.head) + (uint64_t)to.head->written * query->record_bytes);
}
