// SPDX-License-Identifier: MIT
/* The probe; see probe.h. The stream it uses is its own and ends with it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "probe.h"

uint32_t probe_full_tokens(const struct model *m)
{
	int window = llama_model_n_swa(m->llama);

	return PROBE_TOKENS + (window > 0 ? (uint32_t)window : 0);
}

double probe_worst(const struct probe *p)
{
	return p->attend > p->score ? p->attend : p->score;
}

/* Does the device have such streams at all? Asked before the model's layers are. */
static int probe_geometry(struct probe *p, struct model *m)
{
	const struct geometry *g = &m->hook.geometry;
	char why[160];

	if (g->q_heads <= KVSINK_MAX_Q_HEADS && g->kv_heads <= KVSINK_MAX_KV_HEADS &&
	    g->d_k <= KVSINK_MAX_HEAD_DIM && g->d_v <= KVSINK_MAX_HEAD_DIM && g->q_heads % g->kv_heads == 0)
		return 0;
	snprintf(why, sizeof(why),
		 "q_heads = %u, kv_heads = %u, d_k = %u, d_v = %u: the device has %u, a divisor up to %u, %u "
		 "and %u",
		 g->q_heads, g->kv_heads, g->d_k, g->d_v, KVSINK_MAX_Q_HEADS, KVSINK_MAX_KV_HEADS,
		 KVSINK_MAX_HEAD_DIM, KVSINK_MAX_HEAD_DIM);
	return p->error = model_refuse(m, why);
}

static int probe_start(struct probe *p, const struct hook_layer *l)
{
	const struct geometry *g = &p->model->hook.geometry;

	p->q = malloc(g->layers * l->tokens * geometry_q_row(g) * sizeof(float));
	p->stock = malloc(g->layers * l->tokens * geometry_out_row(g) * sizeof(float));
	p->out = malloc(l->tokens * geometry_out_row(g) * sizeof(float));
	if (!p->q || !p->stock || !p->out)
		return fail("out of memory for a probe of %u tokens", l->tokens);
	return attention_open(&p->attention, p->device, &p->model->hook, l->tokens, l->tokens, NULL);
}

static int probe_compare(struct probe *p, uint32_t layer, const float *stock, const char *command,
			 double *worst)
{
	uint64_t width = geometry_out_row(&p->model->hook.geometry);
	double difference = relative_difference(p->out, stock, p->tokens, width);
	char why[160];

	if (!(difference <= *worst))
		*worst = difference;
	if (difference <= PROBE_LIMIT)
		return 0;
	snprintf(why, sizeof(why),
		 "in layer %u the device's attention (%s) differs from libllama's by %.2g relative, %.0e is "
		 "allowed",
		 layer, command, difference, PROBE_LIMIT);
	return model_refuse(p->model, why);
}

static int probe_layer(void *context, const struct hook_layer *l)
{
	struct probe *p = context;
	const struct geometry *g = &p->model->hook.geometry;
	uint64_t out = l->tokens * geometry_out_row(g), q = l->tokens * geometry_q_row(g);
	struct hook_layer mine = *l;

	if (!l->layer && probe_start(p, l))
		return p->error = -1;
	memcpy(p->q + l->layer * q, l->q, q * sizeof(float));
	memcpy(p->stock + l->layer * out, l->out, out * sizeof(float));
	mine.out = p->out;
	p->error = attention_attend(&p->attention, &mine);
	if (!p->error)
		p->error = probe_compare(p, l->layer, l->out, "ATTEND", &p->attend);
	for (uint64_t i = 0; (int)l->layer == p->poison && i < out; i++)
		l->out[i] = NAN;
	return p->error;
}

/* The same queries once more, by the command that prefill scores with. */
static int probe_score(struct probe *p)
{
	const struct geometry *g = &p->model->hook.geometry;
	struct hook_layer l = {.tokens = p->tokens, .out = p->out};
	int rc = attention_step(&p->attention, p->tokens);

	for (; l.layer < g->layers && !rc; l.layer++) {
		l.q = p->q + l.layer * p->tokens * geometry_q_row(g);
		rc = attention_score(&p->attention, &l);
		if (!rc)
			rc = probe_compare(p, l.layer, p->stock + l.layer * p->tokens * geometry_out_row(g),
					   "SCORE", &p->score);
	}
	return rc;
}

int probe_run(struct probe *p, struct model *m, const llama_token *tokens, uint32_t count)
{
	int rc;

	p->model = m;
	p->tokens = count;
	if (probe_geometry(p, m))
		return p->error;
	m->hook.owner = (struct hook_owner){.attention = probe_layer, .context = p};
	rc = model_eval(m, tokens, count, 0);
	m->hook.owner = (struct hook_owner){0};
	if (!rc)
		rc = probe_score(p);
	model_forget(m);
	attention_close(&p->attention);
	free(p->q);
	free(p->stock);
	free(p->out);
	return p->error ? p->error : rc;
}
