// SPDX-License-Identifier: MIT
/* The poison test; see poison.h. */
#include <math.h>

#include "fail.h"
#include "poison.h"

struct poison {
	uint32_t layer;
	const struct model *model;
};

static int poison_layer(void *context, const struct hook_layer *l)
{
	const struct poison *p = context;
	uint64_t elements = l->tokens * geometry_out_row(&p->model->hook.geometry);

	for (uint64_t i = 0; l->layer == p->layer && i < elements; i++)
		l->out[i] = NAN;
	return 0;
}

int poison_check(struct model *m, uint32_t layer)
{
	const float *logits = model_logits(m);
	uint32_t poisoned = 0;

	for (uint32_t i = 0; logits && i < m->vocab_size; i++)
		poisoned += isnan(logits[i]) != 0;
	if (poisoned == m->vocab_size)
		return 0;
	fail("poison test: NaN as attention output of layer %u reached %u of %u logits: %s does not use the "
	     "device's output",
	     layer, poisoned, m->vocab_size, m->name);
	return REFUSED;
}

int poison_layers(struct model *m, llama_token token)
{
	struct poison p = {.model = m};
	int rc = 0;

	m->hook.owner = (struct hook_owner){.attention = poison_layer, .context = &p};
	for (p.layer = 0; p.layer < m->hook.geometry.layers && !rc; p.layer++) {
		rc = model_eval(m, &token, 1, 0);
		if (!rc)
			rc = poison_check(m, p.layer);
		model_forget(m);
	}
	m->hook.owner = (struct hook_owner){0};
	return rc;
}
