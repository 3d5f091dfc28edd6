// SPDX-License-Identifier: MIT
/*
 * kvsink-llm quality: what a way of attending does to the model. A text is forced through the model token by
 * token (or in chunks), with the rows of a state file as its beginning, and each step's logits say how likely
 * the next token of the text was: perplexity. Against the logits of another run of the same text: KL
 * divergence and how often the first choice agrees. Bytes are the device's own. With --check, each output is
 * compared with the exact one of the same rows: its certificate must hold.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <kvsink_policy.h>

#include "attention.h"
#include "fail.h"
#include "json.h"
#include "logits.h"
#include "options.h"
#include "state.h"

#define CONTEXT 256   /* of libllama's cache, which holds one chunk at a time */
#define ROUNDING 8e-6 /* of every mode, in units of sum a |v|; here of the largest norm */
#define DEFAULT_STEPS 256

struct quality {
	const struct options *o;
	struct model model;
	struct state state;
	struct kvs_device *device;
	struct attention attention;
	struct kvs_policy *policy;
	uint32_t prompt, steps, chunk;
	uint32_t gate; /* enum kvsink_gate */
	uint64_t before[KVSINK_COUNTER_COUNT];
	FILE *logits, *against;
	struct logits_header against_header;
	float *reference; /* logits of the other run's step */
	float *exact;	  /* outputs of the check, [chunk][q_heads][d_v] */
	double nll, reference_nll, kl;
	uint32_t judged, agreed;	 /* steps; those whose first choice is the other run's */
	uint64_t outputs, violations;	 /* of the check */
	double worst_bound, worst_error; /* largest certificate, largest error, both relative to the output */
};

/* ---- set-up ---- */

static int choose(const char *option, const char *text, const char *const *names, uint32_t *value)
{
	for (*value = 0; names[*value]; ++*value)
		if (!strcmp(names[*value], text))
			return 0;
	return fail("--%s %s: %s, %s%s%s is allowed", option, text, names[0], names[1], names[2] ? ", " : "",
		    names[2] ? names[2] : "");
}

/* 0 without the option; only K can be sealed per channel. */
static int choose_seal(const char *option, const char *text, bool channel, uint32_t *format)
{
	static const struct {
		const char *name;
		uint32_t format;
	} formats[] = {{"int8", KVSINK_FORMAT_INT8},
		       {"int4", KVSINK_FORMAT_INT4},
		       {"int8-channel", KVSINK_FORMAT_INT8_CHANNEL},
		       {"int4-channel", KVSINK_FORMAT_INT4_CHANNEL}};

	*format = 0;
	for (size_t i = 0; text && i < (channel ? 4 : 2); i++)
		if (!strcmp(formats[i].name, text))
			*format = formats[i].format;
	if (!text || *format)
		return 0;
	return fail("--%s %s: int8%s int4%s are allowed", option, text, channel ? "," : " and",
		    channel ? ", int8-channel and int4-channel" : "");
}

static int config(struct quality *q, enum kvsink_param param, uint64_t value)
{
	int rc =
		kvs_config_set(q->device, kvs_stream_id(q->attention.stream), KVSINK_GROUP_ALL, param, value);

	return rc ? attention_fail(&q->attention, "CONFIG", rc) : 0;
}

/* What options choose from lists, before anything is opened. */
static int choices(struct quality *q)
{
	static const char *const modes[] = {"split", "canonical", "gated", NULL};
	static const char *const gates[] = {"mass", "abs", "rel", NULL};
	static const char *const formats[] = {"f32", "fp16", NULL};
	const struct options *o = q->o;

	if (choose("attend", o->attend, modes, &q->attention.mode) ||
	    choose("gate", o->gate, gates, &q->gate) ||
	    choose("format", o->format, formats, &q->attention.format) ||
	    choose_seal("seal-k", o->seal_k, true, &q->attention.seal_k) ||
	    choose_seal("seal-v", o->seal_v, false, &q->attention.seal_v))
		return -1;
	if (o->sram && !o->policy)
		return fail("--sram %u: only a --policy uses SRAM", o->sram);
	return 0;
}

static int set_gate(struct quality *q)
{
	uint32_t pattern;

	memcpy(&pattern, &q->o->epsilon, sizeof(pattern));
	if (config(q, KVSINK_PARAM_GATE, q->gate) || config(q, KVSINK_PARAM_EPSILON, pattern) ||
	    config(q, KVSINK_PARAM_GATE_BUFFER, !q->o->one_pass) || config(q, KVSINK_PARAM_CERTIFY, 1))
		return -1;
	return 0;
}

static int set_policy(struct quality *q)
{
	struct kvs_policy_options options = {
		.size = sizeof(options), .sram_bytes = q->o->sram, .tail_tokens = KVS_TAIL_OWN};
	int rc;

	if (!q->o->policy)
		return 0;
	rc = kvs_policy_open(q->device, kvs_stream_id(q->attention.stream), q->o->policy, &options,
			     &q->policy);
	if (!rc && kvs_policy_wants_mass(q->policy))
		return fail("--policy %s: it wants the attention of each token, which this command does not "
			    "gather",
			    q->o->policy);
	return rc ? attention_fail(&q->attention, q->o->policy, rc) : 0;
}

/* Eight equal score groups, as the policies want them; K, V, and scores if somebody places by them. */
static int load(struct quality *q)
{
	struct hook_layer l = {.tokens = q->prompt};
	uint32_t layers = q->state.geometry.layers;

	for (uint32_t layer = 0; layer < layers; layer++)
		if (attention_append(&q->attention, layer, 0, q->prompt,
				     state_rows(&q->state, HOOK_K, layer, 0),
				     state_rows(&q->state, HOOK_V, layer, 0)))
			return -1;
	if (attention_step(&q->attention, q->prompt) ||
	    attention_seal(&q->attention, q->prompt, q->o->protect))
		return -1;
	for (; q->policy && l.layer < layers; l.layer++) {
		l.q = state_rows(&q->state, HOOK_Q, l.layer, 0);
		if (attention_score(&q->attention, &l))
			return -1;
	}
	return q->policy && kvs_policy_prefilled(q->policy)
		       ? attention_fail(&q->attention, "initial placement", -EIO)
		       : 0;
}

static int memory(struct quality *q)
{
	const struct options *o = q->o;

	q->exact = calloc((size_t)q->chunk * geometry_out_row(&q->state.geometry), sizeof(float));
	q->reference = calloc(q->model.vocab_size, sizeof(float));
	if (!q->exact || !q->reference)
		return fail("out of memory for logits");
	if (o->logits && logits_create(o->logits, q->model.vocab_size, q->model.hash, &q->logits))
		return -1;
	if (o->against && logits_open(o->against, &q->against_header, &q->against))
		return -1;
	if (o->against && q->against_header.vocab != q->model.vocab_size)
		return fail("%s: logits of another model", o->against);
	return 0;
}

static int sizes(struct quality *q)
{
	q->steps = q->o->tokens ? q->o->tokens : DEFAULT_STEPS;
	q->chunk = q->o->chunk ? q->o->chunk : 1;
	if (q->steps >= q->state.rows)
		return fail("--tokens %u: the state has %u rows, and the text begins with some of them",
			    q->steps, q->state.rows);
	q->prompt = q->state.rows - q->steps;
	return 0;
}

static int open_all(struct quality *q)
{
	struct groups groups;

	if (model_open(&q->model, q->o->model, CONTEXT, q->o->chunk ? q->o->chunk : 1,
		       q->o->threads ? q->o->threads : 1, false) ||
	    state_open(&q->state, q->o->state, &q->model) || sizes(q) || memory(q) ||
	    state_load_all(&q->state))
		return -1;
	q->model.hook.geometry = q->state.geometry;
	if (model_look(&q->model, false)) /* windows are those of the state */
		return -1;
	if (kvs_open(q->o->device, &q->device))
		return fail("--device %s: %s", q->o->device, kvs_open_error());
	groups = attention_groups(q->state.geometry.layers);
	if (q->o->apart)
		q->attention.copies = q->state.geometry.q_heads / q->state.geometry.kv_heads;
	if (attention_open(&q->attention, q->device, &q->model.hook, q->state.rows + q->chunk, q->state.rows,
			   &groups) ||
	    set_policy(q) || set_gate(q) || load(q))
		return -1;
	return 0;
}

static void close_all(struct quality *q)
{
	kvs_policy_close(q->policy);
	attention_close(&q->attention);
	kvs_close(q->device);
	state_close(&q->state);
	model_close(&q->model);
	if (q->logits)
		fclose(q->logits);
	if (q->against)
		fclose(q->against);
	free(q->reference);
	free(q->exact);
}

/* ---- certificates on the real model ---- */

static double length(const float *x, uint32_t n)
{
	double sum = 0;

	for (uint32_t e = 0; e < n; e++)
		sum += (double)x[e] * x[e];
	return sqrt(sum);
}

static void check_row(struct quality *q, const float *out, const float *exact, float bound, float slack)
{
	uint32_t d = q->state.geometry.d_v;
	double error = 0, norm = length(exact, d);

	for (uint32_t e = 0; e < d; e++)
		error += ((double)out[e] - exact[e]) * ((double)out[e] - exact[e]);
	error = sqrt(error);
	q->outputs++;
	q->violations += !(error <= (double)bound + (double)slack);
	if (norm > 0 && error / norm > q->worst_error)
		q->worst_error = error / norm;
	if (norm > 0 && bound / norm > q->worst_bound)
		q->worst_bound = bound / norm;
}

/* The same queries once more, exactly. Its bytes are not counted: the caller takes them off. */
static int check_layer(struct quality *q, const struct hook_layer *l)
{
	const struct geometry *g = &q->state.geometry;
	struct drm_kvsink_attend_stat *seen = calloc((size_t)l->tokens * g->q_heads, sizeof(*seen));
	struct hook_layer exact = *l;
	uint32_t mode = q->attention.mode;
	int rc;

	if (!seen)
		return fail("out of memory for certificates");
	memcpy(seen, q->attention.seen, (size_t)l->tokens * g->q_heads * sizeof(*seen));
	exact.out = q->exact;
	q->attention.mode = DRM_KVSINK_ATTEND_SPLIT;
	rc = attention_attend_again(&q->attention, &exact);
	q->attention.mode = mode;
	for (uint32_t i = 0; i < l->tokens * g->q_heads && !rc; i++) {
		float bound, norm = (float)length(q->exact + (size_t)i * g->d_v, g->d_v);

		memcpy(&bound, &seen[i].bound, sizeof(bound));
		/* both outputs are rounded; a row is longer than its mean, ten times is plenty */
		check_row(q, l->out + (size_t)i * g->d_v, q->exact + (size_t)i * g->d_v, bound,
			  (float)(2 * ROUNDING * 10 * (double)norm));
	}
	free(seen);
	return rc;
}

static int layer(void *context, const struct hook_layer *l)
{
	struct quality *q = context;

	if (attention_attend(&q->attention, l))
		return -1;
	return q->o->check && q->attention.mode == DRM_KVSINK_ATTEND_GATED ? check_layer(q, l) : 0;
}

/* ---- a text's likelihood ---- */

static double log_sum(const float *logits, uint32_t n, float *top)
{
	double sum = 0;

	*top = logits[0];
	for (uint32_t i = 1; i < n; i++)
		*top = logits[i] > *top ? logits[i] : *top;
	for (uint32_t i = 0; i < n; i++)
		sum += exp((double)logits[i] - *top);
	return *top + log(sum);
}

static double divergence(const float *p, double lse_p, const float *q, double lse_q, uint32_t n)
{
	double kl = 0;

	for (uint32_t i = 0; i < n; i++)
		kl += exp(p[i] - lse_p) * ((p[i] - lse_p) - (q[i] - lse_q));
	return kl;
}

static int compare(struct quality *q, const struct logits_step *step, const float *logits, double lse,
		   llama_token next)
{
	struct logits_step other;
	uint32_t n = q->model.vocab_size;
	double lse_other;
	float top;
	int more = logits_read(q->against, q->o->against, &other, q->reference, n);

	if (more < 0)
		return -1;
	if (!more)
		return fail("%s has fewer steps than this run", q->o->against);
	if (other.position != step->position || other.input != step->input)
		return fail("%s is of another text: position %d, token %d instead of %d, %d", q->o->against,
			    other.position, other.input, step->position, step->input);
	lse_other = log_sum(q->reference, n, &top);
	q->reference_nll += lse_other - q->reference[next];
	q->kl += divergence(q->reference, lse_other, logits, lse, n);
	q->agreed += other.chosen == step->chosen;
	return 0;
}

static int judge(struct quality *q, uint32_t position)
{
	const float *logits = model_logits(&q->model);
	llama_token next = q->state.tokens[position + 1];
	struct logits_step step = {.position = (int32_t)position,
				   .input = q->state.tokens[position],
				   .chosen = model_greedy(&q->model, logits)};
	float top;
	double lse = log_sum(logits, q->model.vocab_size, &top);

	q->nll += lse - logits[next];
	q->judged++;
	if (q->against && compare(q, &step, logits, lse, next))
		return -1;
	return q->logits ? logits_write(q->logits, q->o->logits, &step, logits, q->model.vocab_size) : 0;
}

/* libllama gives the logits of a chunk's last token: that one is judged. */
static int run_chunk(struct quality *q, uint32_t first, uint32_t count)
{
	model_forget(&q->model);
	if (model_eval(&q->model, q->state.tokens + first, count, first) ||
	    attention_step(&q->attention, count) ||
	    attention_seal(&q->attention, first + count, q->o->protect))
		return -1;
	if (q->policy && kvs_policy_step(q->policy))
		return attention_fail(&q->attention, "placement", -EIO);
	return judge(q, first + count - 1);
}

static int run_text(struct quality *q)
{
	uint32_t end = q->prompt + q->steps;

	if (kvs_counters(q->device, kvs_stream_id(q->attention.stream), q->before) < 0)
		return fail("cannot read counters");
	q->model.hook.owner = (struct hook_owner){.attention = layer, .context = q};
	for (uint32_t first = q->prompt, count; first < end; first += count) {
		count = end - first < q->chunk ? end - first : q->chunk;
		if (run_chunk(q, first, count))
			return -1;
		if (first / 128 != (first + count) / 128)
			say("quality: %u of %u tokens", first + count - q->prompt, q->steps);
	}
	return q->logits && fflush(q->logits) ? fail("%s: %s", q->o->logits, strerror(errno)) : 0;
}

/* ---- report ---- */

static double ratio(double part, double whole)
{
	return whole > 0 ? part / whole : 0;
}

static void model_json(const struct quality *q, struct json_object *o)
{
	double ppl = exp(q->nll / q->judged), other = exp(q->reference_nll / q->judged);

	json_integer(o, "prompt", q->prompt);
	json_integer(o, "steps", q->steps);
	json_integer(o, "chunk", q->chunk);
	json_integer(o, "judged", q->judged);
	json_number(o, "ppl", ppl);
	if (!q->against)
		return;
	json_number(o, "ppl_reference", other);
	json_number(o, "ppl_change", ppl / other - 1);
	json_number(o, "kl", q->kl / q->judged);
	json_number(o, "first_choice_agrees", ratio(q->agreed, q->judged));
}

static int bytes_json(const struct quality *q, struct json_object *o)
{
	uint64_t now[KVSINK_COUNTER_COUNT], whole;
	double norms, hbm, queries;

	if (kvs_counters(q->device, kvs_stream_id(q->attention.stream), now) < 0)
		return fail("cannot read counters");
	for (int i = 0; i < KVSINK_COUNTER_COUNT; i++)
		now[i] -= q->before[i];
	norms = (double)now[KVSINK_COUNTER_NORM_READ];
	hbm = (double)now[KVSINK_COUNTER_KV_HBM_READ];
	whole = now[KVSINK_COUNTER_KV_HBM_READ] + now[KVSINK_COUNTER_KV_SRAM_READ] +
		now[KVSINK_COUNTER_V_SKIPPED];
	queries = q->steps;
	json_number(o, "kv_bytes_per_token", (double)whole / queries);
	json_number(o, "kv_hbm_bytes_per_token", hbm / queries);
	json_number(o, "kv_hbm_bus_bytes_per_token", (double)now[KVSINK_COUNTER_KV_HBM_READ_BUS] / queries);
	json_number(o, "kv_sram_bytes_per_token", (double)now[KVSINK_COUNTER_KV_SRAM_READ] / queries);
	json_number(o, "v_skipped_bytes_per_token", (double)now[KVSINK_COUNTER_V_SKIPPED] / queries);
	json_number(o, "norm_bytes_per_token", norms / queries);
	json_number(o, "norm_bus_bytes_per_token", (double)now[KVSINK_COUNTER_NORM_READ_BUS] / queries);
	json_number(o, "saved", 1 - ratio(hbm + norms, (double)whole));
	json_number(o, "v_rows_skipped", 2 * ratio((double)now[KVSINK_COUNTER_V_SKIPPED], (double)whole));
	json_number(o, "mass_sram",
		    ratio((double)now[KVSINK_COUNTER_MASS_SRAM], (double)now[KVSINK_COUNTER_MASS_TOTAL]));
	json_number(o, "modelled_ns_per_token", (double)now[KVSINK_COUNTER_MODELLED_NS] / queries);
	return 0;
}

static int report(const struct quality *q)
{
	struct json_object *o = json_object_new_object();

	json_string(o, "schema", "kvsink-llm-quality/1");
	json_string(o, "model", q->model.name);
	json_string(o, "device", kvs_device_name(q->device));
	json_string(o, "format", q->o->format);
	json_string(o, "seal_k", q->o->seal_k ? q->o->seal_k : "none");
	json_string(o, "seal_v", q->o->seal_v ? q->o->seal_v : "none");
	json_integer(o, "protect", q->o->protect);
	json_string(o, "attend", q->o->attend);
	json_string(o, "gate", q->o->gate);
	json_number(o, "epsilon", (double)q->o->epsilon);
	json_integer(o, "one_pass", q->o->one_pass);
	json_integer(o, "apart", q->o->apart);
	json_string(o, "policy", q->o->policy ? q->o->policy : "none");
	model_json(q, o);
	/* a checked run has read everything twice */
	if (q->o->check) {
		json_integer(o, "outputs_checked", q->outputs);
		json_integer(o, "certificate_violations", q->violations);
		json_number(o, "largest_relative_error", q->worst_error);
		json_number(o, "largest_relative_bound", q->worst_bound);
	} else if (bytes_json(q, o)) {
		json_object_put(o);
		return -1;
	}
	return json_output(o, q->o->json);
}

int command_quality(const struct options *o)
{
	struct quality q = {.o = o};
	int rc;

	if (choices(&q))
		return USAGE;
	rc = open_all(&q);
	if (!rc)
		rc = run_text(&q);
	if (!rc)
		rc = report(&q);
	close_all(&q);
	return rc;
}
