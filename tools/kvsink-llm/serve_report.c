// SPDX-License-Identifier: MIT
/*
 * What a serving run found, as one document; the table is printed from the document. Attention mass and
 * bytes have keys of their own. Per token means: per token that decode brought, one a request and step.
 */
#include <string.h>

#include "fail.h"
#include "json.h"
#include "serve.h"

static double ratio(double part, double whole)
{
	return whole > 0 ? part / whole : 0;
}

static uint64_t decoded(const struct serve *s)
{
	uint64_t steps = 0;

	for (uint32_t i = 0; i < s->trace.count; i++)
		steps += s->trace.request[i].output - 1;
	return steps;
}

/* ---- the document ---- */

static void setting_json(const struct serve *s, struct json_object *o)
{
	json_string(o, "schema", "kvsink-llm-serve/1");
	json_string(o, "model", s->model.name);
	json_string(o, "device", kvs_device_name(s->device.device));
	json_string(o, "policy", s->device.policy);
	json_string(o, "attend", s->o->attend);
	json_string(o, "format", s->o->format);
	json_integer(o, "parallel", s->o->parallel);
	json_integer(o, "chunk", s->o->chunk);
	json_integer(o, "block_tokens", s->trace.block_tokens);
	json_integer(o, "scale", s->o->scale);
	json_integer(o, "scale_output", s->o->scale_output);
	json_integer(o, "step_ms", s->o->step_ms);
	json_integer(o, "compute_ns", s->o->compute);
	json_integer(o, "sram_bytes", s->info.sram_bytes);
	json_integer(o, "sram_bytes_of_stream", s->device.sram_bytes);
	json_number(o, "probe_relative", s->probe_relative);
}

static void work_json(const struct serve *s, struct json_object *o)
{
	const struct share *share = prefix_share(s->schedule.prefixes);
	uint64_t prompt = 0, shared = 0, known = 0, output = 0, sharing = 0;

	for (uint32_t i = 0; i < s->trace.count; i++) {
		prompt += s->schedule.served[i].asked->prompt;
		output += s->schedule.served[i].asked->output;
		shared += s->schedule.served[i].shared;
		known += s->schedule.served[i].known;
		sharing += s->schedule.served[i].shared > 0;
	}
	json_integer(o, "requests", s->trace.count);
	json_integer(o, "requests_done", s->schedule.done);
	json_integer(o, "prompt_tokens", prompt);
	json_integer(o, "prefilled_tokens", prompt - shared);
	json_integer(o, "shared_tokens", shared);
	json_integer(o, "known_tokens", known);
	json_integer(o, "requests_sharing", sharing);
	json_integer(o, "prefixes_published", share->published);
	json_integer(o, "prefixes_dropped", share->dropped);
	json_integer(o, "generated_tokens", output);
	json_integer(o, "decoded_tokens", decoded(s));
	json_integer(o, "steps", s->evaluations);
	json_integer(o, "most_running", s->most_running);
	json_number(o, "mean_running", ratio((double)s->running_steps, s->evaluations));
	json_number(o, "compared_relative", s->attention.difference);
	json_integer(o, "compared_rows", s->attention.compared);
	json_number(o, "seconds", s->seconds);
}

static void bytes_json(const struct serve *s, struct json_object *o)
{
	const uint64_t *c = s->device.decode;
	double tokens = (double)decoded(s), sram = (double)c[KVSINK_COUNTER_KV_SRAM_READ],
	       hbm = (double)c[KVSINK_COUNTER_KV_HBM_READ];

	json_number(o, "mass_sram",
		    ratio((double)c[KVSINK_COUNTER_MASS_SRAM], (double)c[KVSINK_COUNTER_MASS_TOTAL]));
	json_number(o, "kv_hbm_bytes_per_token", ratio(hbm, tokens));
	json_number(o, "kv_hbm_bus_bytes_per_token",
		    ratio((double)c[KVSINK_COUNTER_KV_HBM_READ_BUS], tokens));
	json_number(o, "kv_hbm_saved_bytes_per_token",
		    ratio((double)c[KVSINK_COUNTER_SHARED_HBM_SAVED], tokens));
	json_number(o, "kv_sram_bytes_per_token", ratio(sram, tokens));
	json_number(o, "hit_rate", ratio(sram, sram + hbm));
	json_number(o, "modelled_ns_per_token", ratio((double)c[KVSINK_COUNTER_MODELLED_NS], tokens));
	json_number(o, "modelled_ns_per_step", ratio((double)s->attention.modelled_ns, s->evaluations));
}

static uint64_t whole(const struct serve *s, enum kvsink_counter counter)
{
	return s->device.prefill[counter] + s->device.decode[counter] + s->device.prefixes[counter];
}

static void placement_json(const struct serve *s, struct json_object *o)
{
	const struct serve_device *d = &s->device;
	const struct share *share = prefix_share(s->schedule.prefixes);
	uint64_t broken = whole(s, KVSINK_COUNTER_CONTRACTS_BROKEN);

	json_integer(o, "promotions", whole(s, KVSINK_COUNTER_PROMOTIONS));
	json_integer(o, "promotions_of_prefixes", s->device.prefixes[KVSINK_COUNTER_PROMOTIONS]);
	json_integer(o, "promotions_shared", share->shared_entries);
	json_integer(o, "promotions_spared", share->spared);
	json_integer(o, "evictions", whole(s, KVSINK_COUNTER_EVICTIONS));
	json_integer(o, "refusals", whole(s, KVSINK_COUNTER_REFUSALS));
	json_integer(o, "dma_bytes", whole(s, KVSINK_COUNTER_DMA_COPY));
	json_integer(o, "sram_waits", d->sram_waits);
	json_integer(o, "prefixes", s->o->prefixes);
	json_integer(o, "dwell_steps", d->dwell_steps);
	json_integer(o, "contracts_asked", d->asked);
	json_integer(o, "contracts_granted", d->granted);
	json_integer(o, "contracts_kept", d->kept);
	json_integer(o, "contracts_broken", broken);
	json_integer(o, "contracts_given_up",
		     d->granted > d->kept + broken ? d->granted - d->kept - broken : 0);
	json_integer(o, "preemptions", d->swaps);
	json_integer(o, "swap_out_bytes", whole(s, KVSINK_COUNTER_SWAP_OUT));
	json_integer(o, "swap_in_bytes", whole(s, KVSINK_COUNTER_SWAP_IN));
}

static struct json_object *series_json(const struct serve *s)
{
	struct json_object *list = json_object_new_array();

	for (uint32_t i = 0; i < s->samples; i++) {
		const struct serve_sample *p = &s->sample[i];
		struct json_object *o = json_object_new_object();

		json_integer(o, "step", p->step);
		json_integer(o, "running", p->running);
		json_integer(o, "preempted", p->preempted);
		json_integer(o, "waiting", p->waiting);
		json_integer(o, "sram_bytes", p->sram_bytes);
		json_integer(o, "hbm_tokens", p->kv_tokens);
		json_object_array_add(list, o);
	}
	return list;
}

static struct json_object *tokens_json(const struct served *r)
{
	struct json_object *list = json_object_new_array();

	for (uint32_t i = r->asked->prompt; i < r->length; i++)
		json_object_array_add(list, json_object_new_int(r->tokens[i]));
	return list;
}

static struct json_object *streams_json(const struct serve *s)
{
	struct json_object *list = json_object_new_array();
	char hash[20];

	for (uint32_t i = 0; i < s->trace.count; i++) {
		const struct served *r = &s->schedule.served[i];
		struct json_object *o = json_object_new_object();

		snprintf(hash, sizeof(hash), "%016llx", (unsigned long long)r->logits_hash);
		json_integer(o, "line", r->asked->line);
		json_integer(o, "arrival_step", r->arrival);
		json_integer(o, "first_step", r->first_step);
		json_integer(o, "last_step", r->last_step);
		json_integer(o, "prompt_tokens", r->asked->prompt);
		json_integer(o, "shared_tokens", r->shared);
		json_integer(o, "known_tokens", r->known);
		json_integer(o, "preemptions", r->preemptions);
		json_string(o, "logits_hash", hash);
		json_object_object_add(o, "tokens", tokens_json(r));
		json_object_array_add(list, o);
	}
	return list;
}

/* ---- the table, from the document ---- */

static double value(struct json_object *o, const char *key)
{
	return json_object_get_double(json_object_object_get(o, key));
}

static const char *text(struct json_object *o, const char *key)
{
	return json_object_get_string(json_object_object_get(o, key));
}

static const struct {
	const char *key, *label, *format;
	double scale;
} lines[] = {
	{"requests_done", "requests done", "%.0f", 1},
	{"steps", "steps", "%.0f", 1},
	{"mean_running", "requests in a step, mean", "%.1f", 1},
	{"most_running", "requests in a step, most", "%.0f", 1},
	{"prompt_tokens", "tokens of prompts", "%.0f", 1},
	{"known_tokens", "  of them computed by earlier requests", "%.0f", 1},
	{"shared_tokens", "  of them not computed again", "%.0f", 1},
	{"generated_tokens", "tokens generated", "%.0f", 1},
	{"mass_sram", "attention mass served from SRAM", "%.2f %%   of attention, not of bytes", 100},
	{"hit_rate", "KV bytes read from SRAM", "%.3f %%   of bytes", 100},
	{"kv_hbm_bytes_per_token", "KV bytes read from HBM a token", "%.1f KB useful", 1e-3},
	{"kv_hbm_bus_bytes_per_token", "  in whole bursts", "%.1f KB on the bus", 1e-3},
	{"kv_hbm_saved_bytes_per_token", "  not read again for another request", "%.1f KB", 1e-3},
	{"promotions", "entries promoted", "%.0f", 1},
	{"promotions_shared", "  found in a prefix by other requests", "%.0f", 1},
	{"promotions_spared", "  promotions that these were spared", "%.0f", 1},
	{"evictions", "  evicted", "%.0f", 1},
	{"refusals", "  refused", "%.0f", 1},
	{"sram_waits", "waits for SRAM in one piece", "%.0f steps", 1},
	{"contracts_asked", "contracts asked for", "%.0f", 1},
	{"contracts_kept", "  kept", "%.0f", 1},
	{"contracts_broken", "  broken by the device", "%.0f", 1},
	{"contracts_given_up", "  given up by the policy", "%.0f", 1},
	{"preemptions", "preemptions", "%.0f", 1},
	{"swap_out_bytes", "  swapped out", "%.1f KB", 1e-3},
	{"swap_in_bytes", "  swapped in", "%.1f KB", 1e-3},
	{"modelled_ns_per_token", "attention of a token", "%.2f us (modelled, not measured)", 1e-3},
};

static void print_series(struct json_object *list, double sram_bytes)
{
	size_t n = json_object_array_length(list), step = n / 12 + 1;

	printf("\n  %6s %8s %9s %8s %10s %10s\n", "STEP", "RUNNING", "PREEMPTED", "WAITING", "SRAM %",
	       "HBM TOKENS");
	for (size_t i = 0; i < n; i += step) {
		struct json_object *p = json_object_array_get_idx(list, i);

		printf("  %6.0f %8.0f %9.0f %8.0f %10.1f %10.0f\n", value(p, "step"), value(p, "running"),
		       value(p, "preempted"), value(p, "waiting"),
		       100 * ratio(value(p, "sram_bytes"), sram_bytes), value(p, "hbm_tokens"));
	}
}

static int print(struct json_object *o)
{
	printf("%s on %s, policy %s, at most %.0f requests at once\n", text(o, "model"), text(o, "device"),
	       text(o, "policy"), value(o, "parallel"));
	for (size_t i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
		printf("  %-40s ", lines[i].label);
		printf(lines[i].format, lines[i].scale * value(o, lines[i].key));
		putchar('\n');
	}
	print_series(json_object_object_get(o, "series"), value(o, "sram_bytes"));
	return fflush(stdout) || ferror(stdout) ? fail("standard output: %s", strerror(errno)) : 0;
}

int serve_report(const struct serve *s)
{
	struct json_object *o = json_object_new_object();
	int rc;

	setting_json(s, o);
	work_json(s, o);
	bytes_json(s, o);
	placement_json(s, o);
	json_object_object_add(o, "series", series_json(s));
	json_object_object_add(o, "streams", streams_json(s));
	rc = print(o);
	if (!rc && s->o->json)
		return json_output(o, s->o->json);
	json_object_put(o);
	return rc;
}
