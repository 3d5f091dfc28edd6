// SPDX-License-Identifier: MIT
/*
 * kvsink-llm prefill: the model reads a prompt, the device computes its attention, and what a decode
 * needs goes into a state file. On the way the model is probed in full and poisoned layer by layer, and
 * the device's output is compared with libllama's own for every token and layer.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "hash.h"
#include "json.h"
#include "options.h"
#include "poison.h"
#include "probe.h"
#include "state.h"
#include "text.h"

#define CHUNK 512 /* tokens of one evaluation */
#define DEFAULT_TOKENS 1024

struct prefill {
	struct model model;
	struct kvs_device *device;
	struct attention attention;
	llama_token *tokens;
	uint32_t count;	    /* of tokens; all but the last are prefilled */
	float *layers;	    /* what the state file will hold, see state.h */
	float *stock;	    /* libllama's output of one layer and chunk */
	float *scored;	    /* the output of SCORE for the same */
	float *out;	    /* [layers][CHUNK]: the device's output that the model went on with */
	double *difference; /* largest relative one of each layer, device against libllama */
	struct state_header header;
};

static int prefill_tokens(struct prefill *p, const struct options *o)
{
	uint32_t wanted = o->tokens ? o->tokens : DEFAULT_TOKENS;
	size_t bytes;
	char *text = text_read(o->prompt, &bytes);
	int n;

	if (!text)
		return -1;
	n = model_tokenize(&p->model, text, bytes, &p->tokens);
	free(text);
	if (n < 0)
		return -1;
	if ((uint32_t)n < wanted || wanted < 2)
		return fail("%s has %d tokens, %u are wanted (at least 2)", o->prompt, n, wanted);
	p->count = wanted;
	return 0;
}

/* Before anything is replaced: both commands of the device against libllama, then NaN in each layer. */
static int prefill_probe(struct prefill *p)
{
	uint32_t tokens = probe_full_tokens(&p->model);
	struct probe probe = {.device = p->device, .poison = -1};
	int rc;

	if (tokens > p->count - 1)
		tokens = p->count - 1;
	rc = model_look(&p->model, true);
	if (rc)
		return rc;
	rc = probe_run(&probe, &p->model, p->tokens, tokens);
	if (rc)
		return rc;
	say("probe: the device agrees with libllama over %u tokens in %u layers (ATTEND %.2g, SCORE %.2g "
	    "relative)",
	    tokens, p->model.hook.geometry.layers, probe.attend, probe.score);
	p->header.probe_relative = (float)probe_worst(&probe);
	p->header.probe_tokens = tokens;
	rc = poison_layers(&p->model, p->tokens[0]);
	if (rc)
		return rc;
	p->header.poisoned_layers = p->model.hook.geometry.layers;
	say("poison: NaN in place of the device's output reaches the logits from each of %u layers",
	    p->header.poisoned_layers);
	return 0;
}

/* Where rows of one layer and token lie in p->layers. */
static float *prefill_rows(const struct prefill *p, enum hook_tensor which, uint32_t layer, uint32_t first)
{
	const struct geometry *g = &p->model.hook.geometry;
	uint32_t rows = p->count - 1;
	float *at = p->layers + layer * state_layer_elements(g, rows);

	if (which == HOOK_Q)
		return at + first * geometry_q_row(g);
	at += rows * geometry_q_row(g);
	if (which == HOOK_K)
		return at + first * geometry_k_row(g);
	return at + rows * geometry_k_row(g) + first * geometry_v_row(g);
}

static void prefill_difference(struct prefill *p, uint32_t layer, const float *mine, const float *other,
			       uint32_t tokens)
{
	double difference =
		relative_difference(mine, other, tokens, geometry_out_row(&p->model.hook.geometry));

	if (!(difference <= p->difference[layer]))
		p->difference[layer] = difference;
}

static int prefill_layer(void *context, const struct hook_layer *l)
{
	struct prefill *p = context;
	const struct geometry *g = &p->model.hook.geometry;
	uint64_t out = l->tokens * geometry_out_row(g);

	memcpy(prefill_rows(p, HOOK_Q, l->layer, l->first), l->q,
	       l->tokens * geometry_q_row(g) * sizeof(float));
	memcpy(prefill_rows(p, HOOK_K, l->layer, l->first), l->k,
	       l->tokens * geometry_k_row(g) * sizeof(float));
	if (!g->v_in_k)
		memcpy(prefill_rows(p, HOOK_V, l->layer, l->first), l->v,
		       l->tokens * geometry_v_row(g) * sizeof(float));
	memcpy(p->stock, l->out, out * sizeof(float));
	if (attention_attend(&p->attention, l))
		return -1;
	memcpy(p->out + l->layer * CHUNK * geometry_out_row(g), l->out, out * sizeof(float));
	prefill_difference(p, l->layer, l->out, p->stock, l->tokens);
	return 0;
}

/* A complete chunk is scored; what SCORE puts out must be what the model went on with. */
static int prefill_score(struct prefill *p, uint32_t first, uint32_t count)
{
	const struct geometry *g = &p->model.hook.geometry;
	struct hook_layer l = {.first = first, .tokens = count, .out = p->scored};

	for (; l.layer < g->layers; l.layer++) {
		l.q = prefill_rows(p, HOOK_Q, l.layer, first);
		if (attention_score(&p->attention, &l))
			return -1;
		prefill_difference(p, l.layer, p->scored, p->out + l.layer * CHUNK * geometry_out_row(g),
				   count);
	}
	return 0;
}

static int prefill_memory(struct prefill *p)
{
	const struct geometry *g = &p->model.hook.geometry;

	p->layers = malloc(g->layers * state_layer_elements(g, p->count - 1) * sizeof(float));
	p->stock = malloc(CHUNK * geometry_out_row(g) * sizeof(float));
	p->scored = malloc(CHUNK * geometry_out_row(g) * sizeof(float));
	p->out = malloc(g->layers * CHUNK * geometry_out_row(g) * sizeof(float));
	p->difference = calloc(g->layers, sizeof(*p->difference));
	if (!p->layers || !p->stock || !p->scored || !p->out || !p->difference)
		return fail("out of memory for the state of %u tokens", p->count);
	return attention_open(&p->attention, p->device, &p->model.hook, p->count - 1, CHUNK, NULL);
}

static int prefill_chunks(struct prefill *p)
{
	int rc = 0;

	p->model.hook.owner = (struct hook_owner){.attention = prefill_layer, .context = p};
	for (uint32_t first = 0, count; first < p->count - 1 && !rc; first += count) {
		count = p->count - 1 - first < CHUNK ? p->count - 1 - first : CHUNK;
		rc = model_eval(&p->model, p->tokens + first, count, first);
		if (!rc)
			rc = attention_step(&p->attention, count);
		if (!rc)
			rc = prefill_score(p, first, count);
		say("prefill: %u of %u tokens", first + count, p->count - 1);
	}
	p->model.hook.owner = (struct hook_owner){0};
	return rc;
}

/* The whole prefill is held to the probe's limit as well: the state must be one that stock would accept. */
static int prefill_check(struct prefill *p)
{
	double worst = 0;
	char why[128];

	for (uint32_t layer = 0; layer < p->model.hook.geometry.layers; layer++)
		if (!(p->difference[layer] <= worst))
			worst = p->difference[layer];
	p->header.prefill_relative = (float)worst;
	if (worst <= PROBE_LIMIT)
		return 0;
	snprintf(why, sizeof(why),
		 "in prefill the device's attention differs by %.2g relative, %.0e is allowed", worst,
		 PROBE_LIMIT);
	return model_refuse(&p->model, why);
}

/* Nothing but q.k / sqrt(d_k) in every layer? */
static bool prefill_plain(const struct prefill *p)
{
	const struct hook *hook = &p->model.hook;

	for (uint32_t l = 0; l < hook->geometry.layers; l++)
		if (hook->params[l].scale != 1.0f / sqrtf((float)hook->geometry.d_k) ||
		    hook->params[l].softcap > 0 || hook->params[l].max_bias > 0 || hook->params[l].sinks ||
		    geometry_window(&hook->geometry, l))
			return false;
	return true;
}

static int prefill_write(struct prefill *p, const char *path)
{
	const struct geometry *g = &p->model.hook.geometry;
	struct state_header *h = &p->header;

	h->model_hash = p->model.hash;
	h->tokens = p->count;
	h->layers = g->layers;
	h->q_heads = g->q_heads;
	h->kv_heads = g->kv_heads;
	h->d_k = g->d_k;
	h->d_v = g->d_v;
	h->flags = (g->v_in_k ? STATE_V_IN_K : 0) | (prefill_plain(p) ? STATE_PLAIN : 0);
	h->window = g->window;
	memcpy(h->windowed, g->windowed, sizeof(h->windowed));
	if (hash_build(&h->build_hash))
		return -1;
	return state_write(path, h, p->tokens, p->layers);
}

static int prefill_report(const struct prefill *p, const struct options *o)
{
	struct json_object *document = json_object_new_object(), *layers = json_object_new_array();

	for (uint32_t layer = 0; layer < p->model.hook.geometry.layers; layer++)
		json_object_array_add(layers, json_object_new_double(p->difference[layer]));
	json_string(document, "schema", "kvsink-llm-prefill/1");
	json_string(document, "model", p->model.name);
	json_string(document, "device", kvs_device_name(p->device));
	json_integer(document, "tokens", p->count);
	json_integer(document, "state_bytes", p->header.file_bytes);
	json_integer(document, "probe_tokens", p->header.probe_tokens);
	json_number(document, "probe_relative", p->header.probe_relative);
	json_integer(document, "poisoned_layers", p->header.poisoned_layers);
	json_number(document, "prefill_relative", p->header.prefill_relative);
	json_object_object_add(document, "prefill_relative_by_layer", layers);
	return json_output(document, o->json);
}

static int prefill(struct prefill *p, const struct options *o)
{
	int rc;

	if (state_writable(o->state))
		return -1;
	rc = model_open(&p->model, o->model, o->tokens ? o->tokens : DEFAULT_TOKENS, CHUNK,
			o->threads ? o->threads : 1, true);
	if (!rc)
		rc = prefill_tokens(p, o);
	if (rc)
		return rc;
	if (kvs_open(o->device, &p->device))
		return fail("--device %s: %s", o->device, kvs_open_error());
	rc = prefill_probe(p);
	if (!rc)
		rc = prefill_memory(p);
	if (!rc)
		rc = prefill_chunks(p);
	if (!rc)
		rc = prefill_check(p);
	if (rc)
		return rc;
	return prefill_write(p, o->state) ? -1 : prefill_report(p, o);
}

int command_prefill(const struct options *o)
{
	struct prefill p = {0};
	int rc;

	rc = prefill(&p, o);
	attention_close(&p.attention);
	kvs_close(p.device);
	model_close(&p.model);
	free(p.tokens);
	free(p.layers);
	free(p.stock);
	free(p.scored);
	free(p.out);
	free(p.difference);
	return rc;
}

/* kvsink-llm probe: only the part above that asks whether this model may run at all. Tokens are made up. */
int command_probe(const struct options *o)
{
	struct prefill p = {0};
	int rc = -1;

	p.count = (o->tokens ? o->tokens : PROBE_TOKENS) + 1;
	p.tokens = calloc(p.count, sizeof(*p.tokens));
	if (!p.tokens)
		goto out;
	rc = model_open(&p.model, o->model, p.count, p.count, o->threads ? o->threads : 1, true);
	if (rc)
		goto out;
	rc = -1;
	for (uint32_t i = 0; i < p.count; i++)
		p.tokens[i] = (llama_token)((i * 7919u + 17) % p.model.vocab_size);
	if (kvs_open(o->device, &p.device)) {
		fail("--device %s: %s", o->device, kvs_open_error());
		goto out;
	}
	rc = prefill_probe(&p);
out:
	kvs_close(p.device);
	model_close(&p.model);
	free(p.tokens);
	return rc;
}
