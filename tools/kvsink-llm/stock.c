// SPDX-License-Identifier: MIT
/*
 * kvsink-llm stock: the reference. libllama decodes by itself, with its own attention and its own cache,
 * from the same state file. The prompt is evaluated once so that the cache is filled, and on the way
 * into it K and V of every layer are replaced by those of the state: bit for bit the same start, with no
 * knowledge of how libllama lays out its cache. After that nothing is hooked.
 */
#include <errno.h>
#include <string.h>

#include "fail.h"
#include "json.h"
#include "logits.h"
#include "options.h"
#include "state.h"

#define CHUNK 512 /* tokens of one evaluation while the cache is filled */
#define DEFAULT_STEPS 128

struct stock {
	struct model model;
	struct state state;
	uint64_t changed; /* elements of K and V that differed from the state's before they were replaced */
	FILE *logits;
};

static int stock_rows(void *context, enum hook_tensor which, uint32_t layer, uint32_t first, uint32_t tokens,
		      float *rows)
{
	struct stock *s = context;
	const struct geometry *g = &s->state.geometry;
	uint64_t elements = tokens * (which == HOOK_K ? geometry_k_row(g) : geometry_v_row(g));
	const float *saved = state_rows(&s->state, which, layer, first);

	for (uint64_t i = 0; i < elements; i++)
		s->changed += memcmp(&rows[i], &saved[i], sizeof(float)) != 0;
	memcpy(rows, saved, elements * sizeof(float));
	return 0;
}

static int stock_fill(struct stock *s)
{
	int rc = 0;

	s->model.hook.owner = (struct hook_owner){.rows = stock_rows, .context = s};
	s->model.hook.geometry =
		s->state.geometry; /* a model with other heads or widths is refused by the hook */
	for (uint32_t first = 0, count; first < s->state.rows && !rc; first += count) {
		count = s->state.rows - first < CHUNK ? s->state.rows - first : CHUNK;
		rc = model_eval(&s->model, s->state.tokens + first, count, first);
	}
	s->model.hook.owner = (struct hook_owner){0};
	say("stock: libllama's cache holds K and V of the state (%llu of their elements it had computed "
	    "otherwise)",
	    (unsigned long long)s->changed);
	return rc;
}

static int stock_decode(struct stock *s, const struct options *o, uint32_t steps)
{
	struct logits_step step = {.position = (int32_t)s->state.rows,
				   .input = s->state.tokens[s->state.rows]};

	for (uint32_t i = 0; i < steps; i++, step.position++, step.input = step.chosen) {
		const float *logits;
		int rc = model_eval(&s->model, &step.input, 1, (uint32_t)step.position);

		if (rc)
			return rc;
		logits = model_logits(&s->model);
		step.chosen = model_greedy(&s->model, logits);
		if (logits_write(s->logits, o->logits, &step, logits, s->model.vocab_size))
			return -1;
	}
	return fflush(s->logits) ? fail("%s: %s", o->logits, strerror(errno)) : 0;
}

static int stock_report(const struct stock *s, const struct options *o, uint32_t steps)
{
	struct json_object *document = json_object_new_object();

	json_string(document, "schema", "kvsink-llm-stock/1");
	json_string(document, "model", s->model.name);
	json_integer(document, "context_tokens", s->state.header.tokens);
	json_integer(document, "decoded_tokens", steps);
	return json_output(document, o->json);
}

static int stock(struct stock *s, const struct options *o)
{
	uint32_t steps = o->tokens ? o->tokens : DEFAULT_STEPS;
	int rc;

	if (state_open(&s->state, o->state, NULL))
		return -1;
	rc = model_open(&s->model, o->model, s->state.header.tokens + steps, CHUNK,
			o->threads ? o->threads : 1, false);
	if (rc)
		return rc;
	state_close(&s->state);
	if (state_open(&s->state, o->state, &s->model) || state_load_all(&s->state) ||
	    logits_create(o->logits, s->model.vocab_size, s->model.hash, &s->logits))
		return -1;
	rc = stock_fill(s);
	if (!rc)
		rc = stock_decode(s, o, steps);
	return rc ? rc : stock_report(s, o, steps);
}

int command_stock(const struct options *o)
{
	struct stock s = {0};
	int rc;

	rc = stock(&s, o);
	if (s.logits)
		fclose(s.logits);
	state_close(&s.state);
	model_close(&s.model);
	return rc;
}
