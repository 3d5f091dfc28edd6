/* SPDX-License-Identifier: MIT */
/*
 * The moving average E of each token and score group (1B, 1C), and where its planes lie.
 *
 * STEP_END moves it by B, the mean attention that the step's queries put on the token from outside its local
 * window, in integers of 2^-32. A token that no query could have seen from there keeps its E and its state,
 * but for one that lies behind the sliding windows of all layers of the group: no query can reach it any
 * more, so E is 0 and it is no sink, at once. The first observed step of a group begins with the MEAN scores
 * of the prompt, so that decode need not learn them again.
 */
#include <string.h>

#include "chip.h"

#define Q32_ONE (1ull << 32)

struct kvsink_planes kvsink_planes(const struct kvsink_chip *chip, const struct kvsink_stream *s,
				   uint32_t group)
{
	uint8_t *at = chip->config.hbm + s->scores + group * kvsink_score_group_bytes(s->max_tokens);
	struct kvsink_planes p = {.sum = (uint64_t *)(void *)at};

	p.mass = p.sum + s->max_tokens;
	p.ema = (uint32_t *)(p.mass + s->max_tokens);
	p.state = p.ema + s->max_tokens;
	p.promoted = p.state + s->max_tokens;
	return p;
}

uint32_t kvsink_tag_ema(const struct kvsink_chip *chip, const struct kvsink_tag *tag)
{
	const struct kvsink_stream *s = tag->stream;

	if (s->swap.state != KVSINK_SWAP_NONE)
		return tag->ema;
	return kvsink_planes(chip, s, kvsink_stream_group(s, tag->layer_begin)).ema[tag->token];
}

uint64_t kvsink_q32(uint64_t pattern)
{
	uint32_t bits = (uint32_t)pattern;
	float value;

	memcpy(&value, &bits, sizeof(value));
	return value < 1.0f ? (uint64_t)((double)value * 0x1p32) : Q32_ONE;
}

uint32_t kvsink_q32_pattern(uint32_t q32)
{
	float value = (float)((double)q32 * 0x1p-32);
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

uint64_t kvsink_add_weighted(uint64_t sum, uint64_t mass, uint32_t weight)
{
	unsigned __int128 more = ((unsigned __int128)mass * weight) >> 16;

	return more > UINT64_MAX - sum ? UINT64_MAX : sum + (uint64_t)more;
}

static void dirty(struct kvsink_chip *chip, const void *plane, uint64_t bytes)
{
	kvsink_dirty(chip, KVSINK_SPACE_HBM, (uint64_t)((const uint8_t *)plane - chip->config.hbm), bytes);
}

void kvsink_note_promotion(struct kvsink_chip *chip, struct kvsink_stream *s,
			   const struct kvsink_place_item *item)
{
	for (uint32_t g = 0; g < s->score_groups; g++) {
		uint32_t *promoted = kvsink_planes(chip, s, g).promoted + item->token;

		if (item->layer_begin >= s->group[g].end || item->layer_end <= s->group[g].begin)
			continue;
		*promoted = s->length + 1;
		dirty(chip, promoted, sizeof(*promoted));
		kvsink_ledger_add(chip, s, KVSINK_COUNTER_SCORE_HBM, sizeof(*promoted));
	}
}

/* Layers of a group whose queries see the same tokens; most groups are one such class. */
struct observer_class {
	uint32_t first, end; /* observed queries */
	uint32_t window;     /* sliding, 0 = none */
	uint64_t weight;     /* of the layers together, times query heads, units of 2^-16 */
};

struct observers {
	struct observer_class class[KVSINK_MAX_LAYERS];
	uint32_t classes;
	uint32_t local_window;
};

/* False if a layer of the group was not observed: then B would be of some layers only. */
static bool observers_of(const struct kvsink_stream *s, uint32_t group, struct observers *o)
{
	o->classes = 0;
	o->local_window = kvsink_param_window(s);
	for (uint32_t l = s->group[group].begin; l < s->group[group].end; l++) {
		const struct kvsink_layer_params *layer = &s->layer[l];
		uint64_t weight = (uint64_t)layer->weight * s->q_heads;
		struct observer_class *last = o->classes ? &o->class[o->classes - 1] : NULL;

		if (!layer->observed_end)
			return false;
		if (last && last->first == layer->observed_first && last->end == layer->observed_end &&
		    last->window == layer->window)
			last->weight += weight;
		else
			o->class[o->classes++] = (struct observer_class){
				layer->observed_first, layer->observed_end, layer->window, weight};
	}
	return true;
}

/* What the step's queries could have given to a token: query i sees it if t + local window <= i < t + sliding
 * window. */
static uint64_t observations(const struct observers *o, uint32_t token)
{
	uint64_t sum = 0;

	for (uint32_t c = 0; c < o->classes; c++) {
		const struct observer_class *class = &o->class[c];
		uint64_t begin = (uint64_t)token + o->local_window, end = class->end;

		if (begin < class->first)
			begin = class->first;
		if (class->window && (uint64_t)token + class->window < end)
			end = (uint64_t)token + class->window;
		if (end > begin)
			sum += (end - begin) * class->weight;
	}
	return sum;
}

/* Is it behind the sliding window of every layer, for the step's last query and so for all to come? */
static bool out_of_reach(const struct observers *o, uint32_t token)
{
	for (uint32_t c = 0; c < o->classes; c++)
		if (!o->class[c].window || (uint64_t)token + o->class[c].window > o->class[c].end)
			return false;
	return true;
}

/* E of tokens that enough of the prompt's queries saw is their mean attention, whatever the stream's
 * SCORE_MODE. Runs of an EMA before this one say nothing. */
static void seed(struct kvsink_ring *ring, struct kvsink_stream *s, uint32_t group, struct kvsink_planes *p)
{
	struct kvsink_view_layers layers;
	struct kvsink_score_view view;

	kvsink_score_view_of(ring->chip, s, group, &layers, &view);
	view.local_window = kvsink_param_window(s);
	view.mode = KVSINK_SCORE_MEAN;
	for (uint32_t t = 0; t < s->length; t++) {
		uint64_t n = kvsink_eligible(&view, t) ? kvsink_observations(&view, t) : 0;

		p->ema[t] = n ? kvsink_mean_q32(p->sum[t], n) : 0;
		p->state[t] &= KVSINK_STATE_SINK;
	}
	s->group[group].seeded = true;
	kvsink_ledger_add(ring->chip, s, KVSINK_COUNTER_SCORE_HBM,
			  (uint64_t)s->length * (sizeof(*p->sum) + sizeof(*p->ema) + 2 * sizeof(*p->state)));
}

static struct kvsink_hysteresis hysteresis_of(const struct kvsink_group *group)
{
	return (struct kvsink_hysteresis){
		.t_promote = (uint32_t)group->params[KVSINK_PARAM_T_PROMOTE],
		.t_evict = (uint32_t)group->params[KVSINK_PARAM_T_EVICT],
		.n_promote = (uint32_t)group->params[KVSINK_PARAM_N_PROMOTE],
		.n_evict = (uint32_t)group->params[KVSINK_PARAM_N_EVICT],
	};
}

/* A change of state is an event. */
static void set_state(struct kvsink_chip *chip, const struct kvsink_stream *s, uint32_t group, uint32_t token,
		      const struct kvsink_planes *p, uint32_t next)
{
	struct kvsink_place_item rows = {
		.token = token,
		.layer_begin = (uint16_t)s->group[group].begin,
		.layer_end = (uint16_t)s->group[group].end,
	};

	if ((next ^ p->state[token]) & KVSINK_STATE_SINK)
		kvsink_event_rows(chip, next & KVSINK_STATE_SINK ? KVSINK_EVENT_SINK : KVSINK_EVENT_SINK_END,
				  s, &rows, kvsink_q32_pattern(p->ema[token]), KVSINK_REASON_NONE);
	p->state[token] = next;
}

/* One token's step: false if there was nothing to do. */
static bool step_token(struct kvsink_chip *chip, const struct kvsink_stream *s, uint32_t group, uint32_t t,
		       const struct kvsink_planes *p, const struct observers *o,
		       const struct kvsink_hysteresis *h, uint64_t alpha)
{
	uint64_t n = observations(o, t);

	if (n) {
		p->ema[t] =
			(uint32_t)((alpha * p->ema[t] + (Q32_ONE - alpha) * kvsink_mean_q32(p->mass[t], n)) >>
				   32);
		set_state(chip, s, group, t, p, kvsink_next_state(h, p->state[t], p->ema[t]));
		return true;
	}
	if (!out_of_reach(o, t) || (!p->ema[t] && !p->state[t]))
		return false;
	p->ema[t] = 0;
	set_state(chip, s, group, t, p, 0);
	return true;
}

static void step_group(struct kvsink_ring *ring, struct kvsink_stream *s, uint32_t group,
		       const struct observers *o)
{
	uint64_t alpha = kvsink_q32(s->group[group].params[KVSINK_PARAM_ALPHA]), moved = 0;
	struct kvsink_planes p = kvsink_planes(ring->chip, s, group);
	struct kvsink_hysteresis h = hysteresis_of(&s->group[group]);

	if (!s->group[group].seeded)
		seed(ring, s, group, &p);
	for (uint32_t t = 0; t < s->length; t++)
		moved += step_token(ring->chip, s, group, t, &p, o, &h, alpha);
	kvsink_ledger_add(ring->chip, s, KVSINK_COUNTER_EMA_UPDATES, moved);
	kvsink_ledger_add(ring->chip, s, KVSINK_COUNTER_SCORE_HBM,
			  moved * (sizeof(*p.mass) + 2 * sizeof(*p.ema) + 2 * sizeof(*p.state)));
	dirty(ring->chip, p.ema, (uint64_t)s->length * sizeof(*p.ema));
	dirty(ring->chip, p.state, (uint64_t)s->length * sizeof(*p.state));
}

/* Tokens that some layer of the group was observed on: those may have mass. */
static uint32_t observed_tokens(const struct kvsink_stream *s, uint32_t group)
{
	uint32_t end = 0;

	for (uint32_t l = s->group[group].begin; l < s->group[group].end; l++)
		if (s->layer[l].observed_end > end)
			end = s->layer[l].observed_end;
	return end;
}

void kvsink_ema_abort(struct kvsink_chip *chip, struct kvsink_stream *s)
{
	for (uint32_t g = 0; g < s->score_groups; g++) {
		uint64_t *mass = kvsink_planes(chip, s, g).mass;
		uint64_t bytes = (uint64_t)observed_tokens(s, g) * sizeof(*mass);

		if (!bytes)
			continue;
		memset(mass, 0, bytes);
		dirty(chip, mass, bytes);
		kvsink_ledger_add(chip, s, KVSINK_COUNTER_SCORE_HBM, bytes);
	}
	for (uint32_t l = 0; l < s->layers; l++) {
		s->layer[l].observed_first = 0;
		s->layer[l].observed_end = 0;
	}
}

void kvsink_ema_step(struct kvsink_ring *ring, struct kvsink_stream *s)
{
	struct observers o;

	for (uint32_t g = 0; g < s->score_groups; g++) {
		if (kvsink_param(s, KVSINK_PARAM_PLACEMENT) == KVSINK_PLACEMENT_OFF ||
		    !observers_of(s, g, &o))
			continue;
		kvsink_spend(ring, (uint64_t)s->length * (28 + 16ull * o.classes));
		step_group(ring, s, g, &o);
	}
	kvsink_ema_abort(ring->chip, s);
}
