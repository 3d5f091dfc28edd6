// SPDX-License-Identifier: MIT
/* The probe; see probe.h. The stream it uses is its own and ends with it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "probe.h"

double relative_difference(const float *a, const float *b, uint32_t vectors, uint64_t width)
{
	double worst = 0;

	for (uint32_t i = 0; i < vectors; i++, a += width, b += width) {
		double error = 0, norm = 0, relative;

		for (uint64_t j = 0; j < width; j++) {
			error += ((double)a[j] - b[j]) * ((double)a[j] - b[j]);
			norm += (double)b[j] * b[j];
		}
		relative = error == 0 ? 0 : sqrt(error / norm);
		if (!(relative <= worst))
			worst = isnan(relative) ? INFINITY : relative;
	}
	return worst;
}

uint32_t probe_full_tokens(const struct model *m)
{
	int window = llama_model_n_swa(m->llama);

	return PROBE_TOKENS + (window > 0 ? (uint32_t)window : 0);
}

static int probe_start(struct probe *p, const struct hook_layer *l)
{
	const struct geometry *g = &p->model->hook.geometry;

	if (attention_open(&p->attention, p->device, g, l->tokens, l->tokens, NULL))
		return -1;
	p->stock = malloc(l->tokens * geometry_out_row(g) * sizeof(float));
	return p->stock ? 0 : fail("out of memory for a probe of %u tokens", l->tokens);
}

static int probe_compare(struct probe *p, const struct hook_layer *l)
{
	uint64_t width = geometry_out_row(&p->model->hook.geometry);
	double difference = relative_difference(l->out, p->stock, l->tokens, width);
	char why[160];

	if (!(difference <= p->worst))
		p->worst = difference;
	if (difference <= PROBE_LIMIT)
		return 0;
	snprintf(why, sizeof(why), "in layer %u the device's attention differs from libllama's by %.2g relative, %.0e is allowed",
		 l->layer, difference, PROBE_LIMIT);
	return model_refuse(p->model, why);
}

static int probe_layer(void *context, const struct hook_layer *l)
{
	struct probe *p = context;
	uint64_t elements;

	if (!l->layer && probe_start(p, l))
		return p->error = -1;
	elements = l->tokens * geometry_out_row(&p->model->hook.geometry);
	memcpy(p->stock, l->out, elements * sizeof(float));
	p->error = p->score ? attention_prefill(&p->attention, l) : attention_decode(&p->attention, l);
	if (!p->error)
		p->error = probe_compare(p, l);
	memcpy(l->out, p->stock, elements * sizeof(float));
	for (uint64_t i = 0; (int)l->layer == p->poison && i < elements; i++)
		l->out[i] = NAN;
	return p->error;
}

int probe_run(struct probe *p, struct model *m, const llama_token *tokens, uint32_t count)
{
	int rc;

	p->model = m;
	p->worst = 0;
	p->error = 0;
	p->stock = NULL;
	memset(&p->attention, 0, sizeof(p->attention));
	m->hook.owner = (struct hook_owner){ .attention = probe_layer, .context = p };
	rc = model_eval(m, tokens, count, 0);
	m->hook.owner = (struct hook_owner){ 0 };
	model_forget(m);
	attention_close(&p->attention);
	free(p->stock);
	return p->error ? p->error : rc;
}
