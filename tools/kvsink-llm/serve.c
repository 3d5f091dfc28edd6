// SPDX-License-Identifier: MIT
/* kvsink-llm serve: set-up, and the loop over steps; see serve.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fail.h"
#include "hash.h"
#include "poison.h"
#include "probe.h"
#include "serve.h"

#define DEFAULT_CHUNK 128 /* tokens of a step */

static double seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* ---- set-up ---- */

static int bad_option(const char *option, const char *value, const char *why)
{
	fail("--%s %s: %s", option, value, why);
	return USAGE;
}

static int check_policy(struct serve *s)
{
	for (unsigned i = 0; i < kvs_policy_count(); i++)
		if (!strcmp(kvs_policy_name(i), s->o->policy)) {
			s->device.policy = kvs_policy_name(i);
			return strcmp(s->o->policy, "hindsight")
				       ? 0
				       : bad_option("policy", s->o->policy,
						    "it knows the future, which serving does not");
		}
	return bad_option("policy", s->o->policy, "no such policy; `kvsink-bench policies` lists them");
}

/* Options that can be judged before anything is opened. */
static int check_options(struct serve *s)
{
	const struct options *o = s->o;

	if (strcmp(o->attend, "split") && strcmp(o->attend, "canonical"))
		return bad_option("attend", o->attend,
				  "split and canonical serve; gated is bounded, not exact");
	if (strcmp(o->format, "f32") && strcmp(o->format, "fp16"))
		return bad_option("format", o->format, "f32, fp16 is allowed");
	s->device.format = strcmp(o->format, "f32") ? KVSINK_FORMAT_FP16 : KVSINK_FORMAT_F32;
	s->attention.mode =
		strcmp(o->attend, "split") ? DRM_KVSINK_ATTEND_CANONICAL : DRM_KVSINK_ATTEND_SPLIT;
	if (TRACE_BLOCK % o->scale) {
		fail("--scale %u: a divisor of %d is wanted, so that blocks stay whole", o->scale,
		     TRACE_BLOCK);
		return USAGE;
	}
	if (o->chunk < o->parallel) {
		fail("--chunk %u: every one of --parallel %u requests brings a token", o->chunk, o->parallel);
		return USAGE;
	}
	if (access(o->model, R_OK))
		return bad_option("model", o->model, strerror(errno));
	return check_policy(s);
}

static int load_trace(struct serve *s)
{
	const struct options *o = s->o;
	const struct trace_scale scale = {.input = o->scale,
					  .output = o->scale_output,
					  .max_prompt = o->max_prompt,
					  .max_output = o->max_output};
	int rc = trace_load(o->requests, &scale, o->count, &s->trace);

	if (rc)
		return rc;
	s->schedule.served = calloc(s->trace.count, sizeof(*s->schedule.served));
	if (!s->schedule.served)
		return fail("out of memory for %u requests", s->trace.count);
	for (uint32_t i = 0; i < s->trace.count; i++) {
		uint64_t step = s->trace.request[i].arrival_ms / o->step_ms;

		s->schedule.served[i].asked = &s->trace.request[i];
		s->schedule.served[i].arrival = step < UINT32_MAX / 2 ? (uint32_t)step : UINT32_MAX / 2;
	}
	return 0;
}

static uint32_t longest(const struct serve *s)
{
	uint32_t most = 0;

	for (uint32_t i = 0; i < s->trace.count; i++)
		most = served_total(&s->schedule.served[i]) > most ? served_total(&s->schedule.served[i])
								   : most;
	return most;
}

static int check_lengths(const struct serve *s)
{
	uint32_t context = (uint32_t)llama_model_n_ctx_train(s->model.llama);

	for (uint32_t i = 0; i < s->trace.count; i++)
		if (served_total(&s->schedule.served[i]) > context) {
			fail("%s:%u: %u tokens of prompt and output, the context of %s has %u",
			     s->o->requests, s->schedule.served[i].asked->line,
			     served_total(&s->schedule.served[i]), s->model.name, context);
			return USAGE;
		}
	return 0;
}

/* Before anything is replaced: the device against libllama, then NaN in place of each layer's output. */
static int prove(struct serve *s)
{
	struct probe probe = {.device = s->device.device, .poison = -1};
	uint32_t count = probe_full_tokens(&s->model);
	llama_token *tokens = calloc(count, sizeof(*tokens));
	int rc = tokens ? 0 : fail("out of memory for a probe");

	for (uint32_t i = 0; !rc && i < count; i++)
		tokens[i] = (llama_token)((i * 7919u + 17) % s->model.vocab_size);
	if (count > s->model.batch_tokens)
		count = s->model.batch_tokens;
	if (!rc)
		rc = probe_run(&probe, &s->model, tokens, count);
	if (!rc)
		rc = poison_layers(&s->model, tokens[0]);
	free(tokens);
	s->probe_relative = probe_worst(&probe);
	if (!rc)
		say("probe: the device agrees with libllama over %u tokens in every layer (%.2g relative); "
		    "NaN in "
		    "its place reaches the logits",
		    count, s->probe_relative);
	return rc;
}

static int open_device(struct serve *s)
{
	struct serve_device *d = &s->device;
	int rc;

	if (kvs_open(s->o->device, &d->device))
		return fail("--device %s: %s", s->o->device, kvs_open_error());
	rc = kvs_device_info(d->device, &s->info);
	if (rc)
		return serve_fail(d, "cannot look at it", rc);
	d->hook = &s->model.hook;
	d->dwell_steps = s->o->dwell;
	d->sram_bytes = (s->o->sram ? s->o->sram : s->info.sram_bytes) / s->o->parallel / KVSINK_SRAM_UNIT *
			KVSINK_SRAM_UNIT;
	return 0;
}

static int serve_memory(struct serve *s)
{
	struct schedule *q = &s->schedule;

	q->device = &s->device;
	q->attention = &s->attention;
	q->count = s->trace.count;
	q->parallel = s->o->parallel;
	q->chunk = s->o->chunk;
	q->prefixes = prefix_create(s->device.device, s->trace.block_tokens, s->o->prefixes,
				    attention_groups(s->device.hook->geometry.layers).count);
	s->rows = calloc(s->o->chunk, sizeof(*s->rows));
	if (!s->rows || !q->prefixes)
		return fail("out of memory for the rows of a step");
	schedule_open(q);
	return serve_attention_open(&s->attention, &s->device, s->o->chunk, longest(s));
}

static int serve_open(struct serve *s)
{
	int rc = check_options(s);

	rc = rc ? rc : load_trace(s);
	rc = rc ? rc
		: model_open_many(&s->model, s->o->model, s->o->chunk, s->o->parallel,
				  s->o->threads ? s->o->threads : 1);
	rc = rc ? rc : check_lengths(s);
	rc = rc ? rc : serve_text(s);
	rc = rc ? rc : model_look(&s->model, true);
	rc = rc ? rc : open_device(s);
	rc = rc ? rc : prove(s);
	rc = rc ? rc : serve_memory(s);
	s->attention.compute_ns = s->o->compute;
	s->model.hook.owner =
		(struct hook_owner){.attention = serve_attention_layer, .context = &s->attention};
	return rc;
}

static void serve_close(struct serve *s)
{
	for (uint32_t i = 0; s->schedule.served && i < s->trace.count; i++) {
		if (s->schedule.served[i].stream.attention.stream)
			serve_stream_drop(&s->schedule.served[i].stream);
		free(s->schedule.served[i].tokens);
	}
	serve_attention_close(&s->attention);
	prefix_free(s->schedule.prefixes);
	kvs_close(s->device.device);
	model_close(&s->model);
	trace_free(&s->trace);
	free(s->schedule.served);
	free(s->rows);
	free(s->sample);
}

/* ---- a step ---- */

static uint32_t fill_rows(struct serve *s)
{
	uint32_t rows = 0;

	for (uint32_t i = 0; i < s->attention.spans; i++) {
		const struct served *r = s->schedule.of_span[i];
		uint32_t end = r->position + r->planned;

		for (uint32_t position = r->position; position < end; position++)
			s->rows[rows++] = (struct model_row){
				.token = r->tokens[position],
				.position = position,
				.sequence = i,
				.logits = position + 1 == r->length,
			};
	}
	return rows;
}

static void choose(struct serve *s, struct served *r, uint32_t row)
{
	const float *logits = model_logits_of(&s->model, row);
	uint64_t both[2] = {r->logits_hash, hash_bytes(logits, s->model.vocab_size * sizeof(*logits))};

	r->logits_hash = hash_bytes(both, sizeof(both));
	r->tokens[r->length++] = model_greedy(&s->model, logits);
}

/* What a request does with the step that has just ended. */
static int advance(struct serve *s, uint32_t i)
{
	struct served *r = s->schedule.of_span[i];
	const struct serve_span *span = &s->schedule.span[i];
	int rc = schedule_evaluated(&s->schedule, i);

	if (rc != 1)
		return rc;
	choose(s, r, span->row + span->count - 1);
	return r->length == served_total(r) ? schedule_finish(&s->schedule, r) : 0;
}

static int look_around(struct serve *s)
{
	struct serve_sample *more = realloc(s->sample, (s->samples + 1) * sizeof(*more));
	const struct schedule *q = &s->schedule;
	struct serve_sample *to;
	size_t bytes;
	void *records;
	int count;

	if (!more)
		return fail("out of memory for samples");
	s->sample = more;
	count = kvs_query(s->device.device, DRM_KVSINK_QUERY_STREAMS, 0, 0, &records, &bytes);
	if (count < 0)
		return serve_fail(&s->device, "cannot list streams", count);
	to = &s->sample[s->samples++];
	*to = (struct serve_sample){.step = q->step, .running = q->running, .preempted = q->preempted};
	for (uint32_t i = q->next; i < q->count && q->served[i].arrival <= q->step; i++)
		to->waiting++;
	for (int i = 0; i < count; i++) {
		const struct kvsink_stream_rec *rec =
			(const void *)((const char *)records + (size_t)i * bytes);

		to->sram_bytes += rec->sram_bytes;
		to->kv_tokens += rec->swapped ? 0 : rec->length - rec->shared;
	}
	free(records);
	return 0;
}

static int serve_step(struct serve *s)
{
	uint32_t rows, spans;
	int rc;

	if (schedule_step(&s->schedule))
		return -1;
	rows = fill_rows(s);
	spans = s->attention.spans;
	model_forget(&s->model);
	rc = model_eval_rows(&s->model, s->rows, rows);
	rc = rc ? rc : serve_attention_step(&s->attention);
	if (!rc && s->evaluations % s->o->every == 0)
		rc = look_around(s);
	s->running_steps += spans;
	s->most_running = spans > s->most_running ? spans : s->most_running;
	for (uint32_t i = 0; i < spans && !rc; i++)
		rc = advance(s, i);
	s->schedule.step++;
	s->evaluations++;
	return rc;
}

static int serve_run(struct serve *s)
{
	const struct schedule *q = &s->schedule;
	uint32_t said = 0;
	int rc = 0;

	s->seconds = -seconds_now();
	for (; !rc && q->done < q->count; said = q->done) {
		rc = serve_step(s);
		if (q->done / 8 != said / 8 || (q->done == q->count && !rc))
			say("serve: %u of %u requests done in %u steps", q->done, q->count, s->evaluations);
	}
	s->seconds += seconds_now();
	if (!rc && share_counters(prefix_share(q->prefixes), s->device.prefixes))
		return serve_fail(&s->device, "counters of prefixes", -EIO);
	return rc;
}

int command_serve(const struct options *o)
{
	struct options mine = *o;
	struct serve s = {.o = &mine};
	int rc;

	mine.chunk = o->chunk ? o->chunk : DEFAULT_CHUNK;
	mine.policy = o->policy ? o->policy : "uniform";
	rc = serve_open(&s);
	if (!rc)
		rc = serve_run(&s);
	if (!rc)
		rc = serve_report(&s);
	serve_close(&s);
	return rc;
}
