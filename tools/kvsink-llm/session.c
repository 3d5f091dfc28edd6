// SPDX-License-Identifier: MIT
/* A decode session, from files to steps; see session.h. Used by decode and by --hold. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "draft.h"
#include "fail.h"
#include "logits.h"
#include "poison.h"
#include "probe.h"
#include "session.h"

#define DEFAULT_STEPS 128
#define CONTEXT 256 /* of libllama's cache, which holds one token at a time */

static int session_policy(struct session *s, const struct options *o)
{
	uint32_t layers = s->model.hook.geometry.layers;

	s->policy.t_sink = o->t_sink;
	s->policy.local_window = o->local_window;
	if (place_mode(o->mode, &s->policy.mode))
		return -1;
	if (o->groups)
		return place_groups(o->groups, layers, &s->policy.groups);
	s->policy.groups =
		o->policy ? attention_groups(layers) : (struct groups){.count = 1, .end = {(uint16_t)layers}};
	return 0;
}

/* A few tokens only: the full probe was made when the state was, by the same build, on the same model. */
static int session_probe(struct session *s)
{
	uint32_t count = s->state.rows < PROBE_SHORT ? s->state.rows : PROBE_SHORT;
	uint32_t last = s->model.hook.geometry.layers - 1;
	struct probe probe = {.device = s->device, .poison = (int)last};
	int rc;

	if (!s->state.header.probe_tokens || s->state.header.poisoned_layers != last + 1 ||
	    !(s->state.header.probe_relative <= PROBE_LIMIT))
		return fail("%s: the state was made without a probe of the model", s->state.path);
	rc = probe_run(&probe, &s->model, s->state.tokens, count);
	if (!rc)
		rc = poison_check(&s->model, last);
	if (rc)
		return rc;
	s->probe_relative = probe_worst(&probe);
	say("probe: the device agrees with libllama over %u tokens in every layer (%.2g relative); NaN "
	    "reached the logits",
	    count, s->probe_relative);
	return 0;
}

/* K and V into HBM, then the prompt's attention once more on this device, for the scores. */
static int session_load(struct session *s)
{
	const uint32_t layers = s->state.geometry.layers;
	struct hook_layer l = {.tokens = s->state.rows};

	if (state_load_all(&s->state))
		return -1;
	for (uint32_t layer = 0; layer < layers; layer++)
		if (attention_append(&s->attention, layer, 0, l.tokens,
				     state_rows(&s->state, HOOK_K, layer, 0),
				     state_rows(&s->state, HOOK_V, layer, 0)))
			return -1;
	if (attention_step(&s->attention, l.tokens))
		return -1;
	say("state: K and V of %u tokens are in HBM", l.tokens);
	for (; l.layer < layers; l.layer++) {
		l.q = state_rows(&s->state, HOOK_Q, l.layer, 0);
		if (attention_score(&s->attention, &l))
			return -1;
	}
	say("state: %u layers are scored", layers);
	return 0;
}

static double seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* Share of a query's attention that came from SRAM, mean over its heads. */
static double session_mass(const struct drm_kvsink_attend_stat *seen, uint32_t heads)
{
	double mass = 0;
	float share;

	for (uint32_t head = 0; head < heads; head++) {
		memcpy(&share, &seen[head].mass_sram, sizeof(share));
		mass += share;
	}
	return mass / heads;
}

static int session_layer(void *context, const struct hook_layer *l)
{
	struct session *s = context;
	const struct geometry *g = &s->state.geometry;

	if (s->trace &&
	    (fwrite(l->q, sizeof(float), geometry_q_row(g), s->trace) != geometry_q_row(g) ||
	     fwrite(l->k, sizeof(float), geometry_k_row(g), s->trace) != geometry_k_row(g) ||
	     (!g->v_in_k && fwrite(l->v, sizeof(float), geometry_v_row(g), s->trace) != geometry_v_row(g))))
		return fail("%s: %s", s->options->trace, strerror(errno));
	s->attention_seconds -= seconds_now();
	if (attention_attend(&s->attention, l))
		return -1;
	s->attention_seconds += seconds_now();
	for (uint32_t row = 0; row < l->tokens; row++)
		s->mass[row * g->layers + l->layer] =
			session_mass(&s->attention.seen[row * g->q_heads], g->q_heads);
	return 0;
}

static int session_counters(struct session *s, uint64_t *counters)
{
	int rc = kvs_counters(s->device, kvs_stream_id(s->attention.stream), counters);

	return rc < 0 ? attention_fail(&s->attention, "cannot read counters", rc) : 0;
}

static int session_memory(struct session *s, const struct options *o)
{
	const uint32_t layers = s->state.geometry.layers, tokens = s->state.header.tokens;

	s->max_steps = o->tokens ? o->tokens : DEFAULT_STEPS;
	s->text = calloc((size_t)tokens + s->max_steps, sizeof(*s->text));
	s->mass_sram = calloc(layers, sizeof(*s->mass_sram));
	s->mass = calloc((size_t)(1 + o->draft) * layers, sizeof(*s->mass));
	if (!s->text || !s->mass_sram || !s->mass)
		return fail("out of memory for %u steps", s->max_steps);
	memcpy(s->text, s->state.tokens, tokens * sizeof(*s->text));
	s->chosen = s->text + tokens;
	if (o->logits && logits_create(o->logits, s->model.vocab_size, s->model.hash, &s->logits))
		return -1;
	if (o->trace && !(s->trace = fopen(o->trace, "wb")))
		return fail("%s: %s", o->trace, strerror(errno));
	return 0;
}

static int session_files(struct session *s, const struct options *o)
{
	uint32_t batch = 1 + o->draft > PROBE_SHORT ? 1 + o->draft : PROBE_SHORT;
	int rc;

	rc = model_open(&s->model, o->model, CONTEXT, batch, o->threads ? o->threads : 1, false);
	if (rc)
		return rc;
	if (state_open(&s->state, o->state, &s->model) || session_policy(s, o) || session_memory(s, o))
		return -1;
	s->model.hook.geometry =
		s->state.geometry;	   /* a model with other heads or widths is refused by the hook */
	rc = model_look(&s->model, false); /* windows are those of the state */
	if (rc)
		return rc;
	if (kvs_open(o->device, &s->device))
		return fail("--device %s: %s", o->device, kvs_open_error());
	rc = kvs_device_info(s->device, &s->info);
	if (rc)
		return fail("--device %s: %s", o->device, kvs_device_error(s->device));
	say("%s on %s, state of %u tokens", s->model.name, kvs_device_name(s->device),
	    s->state.header.tokens);
	return session_probe(s);
}

/* The policy of --policy, before there are any rows. */
static int session_placer(struct session *s)
{
	const struct options *o = s->options;
	struct kvs_policy_options options = {
		.size = sizeof(options), .sram_bytes = o->sram, .tail_tokens = KVS_TAIL_OWN};
	int rc;

	if (!o->policy)
		return 0;
	rc = kvs_policy_open(s->device, kvs_stream_id(s->attention.stream), o->policy, &options, &s->placer);
	if (!rc && kvs_policy_wants_mass(s->placer))
		return fail("--policy %s: it wants the attention of each token, which this command does not "
			    "gather",
			    o->policy);
	return rc ? attention_fail(&s->attention, o->policy, rc) : 0;
}

/* Sinks, or what --policy places at first. */
static int session_prefilled(struct session *s)
{
	int rc;

	if (s->placer) {
		rc = kvs_policy_prefilled(s->placer);
		return rc ? attention_fail(&s->attention, "initial placement", rc) : 0;
	}
	if (place_sinks(&s->attention, &s->policy, &s->placement))
		return -1;
	say("policy 1A: %u sinks at T_sink %g, %u promoted", s->placement.count, (double)s->policy.t_sink,
	    s->placement.granted);
	return 0;
}

static int session_attend(struct session *s, uint32_t *mode)
{
	static const char *const modes[] = {"split", "canonical"};

	for (*mode = 0; *mode < 2; ++*mode)
		if (!strcmp(modes[*mode], s->options->attend))
			return 0;
	return fail("--attend %s: decode knows split and canonical", s->options->attend);
}

static int session_place(struct session *s)
{
	uint32_t rows = s->state.rows, batch = 1 + s->options->draft;

	if (session_attend(s, &s->attention.mode) ||
	    attention_open(&s->attention, s->device, &s->model.hook, rows + s->max_steps,
			   rows > batch ? rows : batch, &s->policy.groups) ||
	    place_configure(&s->attention, &s->policy) || session_placer(s) || session_load(s) ||
	    session_prefilled(s))
		return -1;
	return session_counters(s, s->before);
}

int session_open(struct session *s, const struct options *o)
{
	int rc;

	memset(s, 0, sizeof(*s));
	s->options = o;
	rc = session_files(s, o);
	if (!rc)
		rc = session_place(s);
	if (rc)
		return rc;
	s->position = s->state.rows;
	s->model.hook.owner = (struct hook_owner){.attention = session_layer, .context = s};
	return 0;
}

/* What is still in memory of one of the files that the command line names. */
static int flush(FILE *file, const char *path)
{
	return file && fflush(file) ? fail("%s: %s", path, strerror(errno)) : 0;
}

int session_flush(struct session *s)
{
	return flush(s->logits, s->options->logits) || flush(s->trace, s->options->trace) ? -1 : 0;
}

void session_close(struct session *s)
{
	free(s->placement.tokens);
	kvs_policy_close(s->placer);
	attention_close(&s->attention);
	kvs_close(s->device);
	state_close(&s->state);
	model_close(&s->model);
	if (s->logits)
		fclose(s->logits);
	if (s->trace)
		fclose(s->trace);
	free(s->text);
	free(s->mass_sram);
	free(s->mass);
	memset(s, 0, sizeof(*s));
}

/* A draft behind the next token: no longer than what is left to decode. */
static uint32_t session_draft(struct session *s)
{
	uint32_t left = s->max_steps - s->steps - 1, max = s->options->draft;

	return draft_lookup(s->text, s->position + 1, left < max ? left : max);
}

static int session_write(struct session *s, uint32_t row, const float *logits)
{
	const struct logits_step step = {.position = (int32_t)(s->position + row),
					 .input = s->text[s->position + row],
					 .chosen = s->text[s->position + row + 1]};

	return s->logits ? logits_write(s->logits, s->options->logits, &step, logits, s->model.vocab_size)
			 : 0;
}

/*
 * Greedy decoding goes through the rows of an evaluation for as long as each is the row of the token that it
 * has chosen. Its choices take the place of the draft. Returns how many rows that are; 0: a file failed.
 */
static uint32_t session_verify(struct session *s, uint32_t drafted)
{
	const uint32_t layers = s->state.geometry.layers;
	llama_token *draft = s->text + s->position + 1;
	bool right = true;
	uint32_t row;

	for (row = 0; right; row++) {
		const float *logits = model_logits_of(&s->model, row);
		llama_token chosen = model_greedy(&s->model, logits);

		right = row < drafted && draft[row] == chosen;
		draft[row] = chosen;
		for (uint32_t layer = 0; layer < layers; layer++)
			s->mass_sram[layer] += s->mass[row * layers + layer];
		if (session_write(s, row, logits))
			return 0;
	}
	return row;
}

/* Rows of an evaluation become part of the stream; software that places by steps has its turn afterwards. */
static int session_keep(struct session *s, uint32_t rows, uint32_t drafted)
{
	int rc = drafted ? attention_commit(&s->attention, rows) : attention_step(&s->attention, 1);

	if (rc || !s->placer)
		return rc;
	rc = kvs_policy_step(s->placer);
	return rc ? attention_fail(&s->attention, "placement", rc) : 0;
}

/* So many tokens of the text from the position on, each with its logits. */
static int session_evaluate(struct session *s, uint32_t count)
{
	struct model_row rows[1 + DRAFT_MAX];

	for (uint32_t i = 0; i < count; i++)
		rows[i] = (struct model_row){
			.token = s->text[s->position + i], .position = s->position + i, .logits = true};
	return model_eval_rows(&s->model, rows, count);
}

int session_step(struct session *s)
{
	uint32_t drafted, rows;
	int rc;

	if (s->steps == s->max_steps)
		return fail("no room for another step: --tokens %u are done", s->max_steps);
	drafted = session_draft(s);
	s->seconds -= seconds_now();
	model_forget(&s->model);
	if (drafted && attention_window(&s->attention, 1 + drafted))
		return -1;
	rc = session_evaluate(s, 1 + drafted);
	if (rc)
		return rc;
	rows = session_verify(s, drafted);
	if (!rows || session_keep(s, rows, drafted))
		return -1;
	s->seconds += seconds_now();
	s->steps += rows;
	s->position += rows;
	s->evaluations++;
	s->drafts += drafted > 0;
	s->drafted += drafted;
	s->accepted += rows - 1;
	return 0;
}

int session_bytes(struct session *s, struct session_bytes *b)
{
	uint64_t now[KVSINK_COUNTER_COUNT];
	uint64_t seen = 0; /* tokens that all steps have looked at */

	memset(b, 0, sizeof(*b));
	if (session_counters(s, now))
		return -1;
	for (int i = 0; i < KVSINK_COUNTER_COUNT; i++)
		now[i] -= s->before[i];
	for (uint32_t step = 0; step < s->steps; step++)
		seen += s->state.rows + step + 1;
	b->uniform = seen * geometry_token_bytes(&s->state.geometry);
	b->hbm = now[KVSINK_COUNTER_KV_HBM_READ];
	b->sram = now[KVSINK_COUNTER_KV_SRAM_READ];
	b->hbm_bus = now[KVSINK_COUNTER_KV_HBM_READ_BUS];
	b->sram_bus = now[KVSINK_COUNTER_KV_SRAM_READ_BUS];
	b->modelled_ns = now[KVSINK_COUNTER_MODELLED_NS];
	if (now[KVSINK_COUNTER_MASS_TOTAL])
		b->mass_sram = (double)now[KVSINK_COUNTER_MASS_SRAM] / (double)now[KVSINK_COUNTER_MASS_TOTAL];
	return 0;
}
