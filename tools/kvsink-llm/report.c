// SPDX-License-Identifier: MIT
/*
 * kvsink-llm report: what a demonstration run found, as a table for people and one document for programs
 * (schema kvsink-demo/1). Every figure comes from the documents of decode, compare and prefill; the exit
 * status says whether the run holds what it promises.
 */
#include <stdio.h>
#include <string.h>

#include "fail.h"
#include "json.h"
#include "options.h"

#define LOGIT_LIMIT 1e-3 /* largest difference of a logit that is allowed */

struct report {
	struct json_object *decode, *compare, *prefill;
};

static double megabytes(uint64_t bytes)
{
	return (double)bytes / 1e6;
}

static double percent(double part, double whole)
{
	return whole > 0 ? 100 * part / whole : 0;
}

/* One token's text in quotes, line ends and other controls made visible. */
static void quoted(const char *text, char *out, size_t size)
{
	size_t used = 0;

	for (out[used++] = '"'; *text && used + 6 < size; text++) {
		if (*text == '\n')
			used += (size_t)snprintf(out + used, size - used, "\\n");
		else if ((unsigned char)*text < ' ')
			used += (size_t)snprintf(out + used, size - used, "\\x%02x", (unsigned char)*text);
		else
			out[used++] = *text;
	}
	out[used++] = '"';
	out[used] = 0;
}

static void print_promoted(const struct report *r)
{
	struct json_object *list = json_member(r->decode, "promoted");
	size_t n = list ? json_object_array_length(list) : 0;

	printf("\nPromoted by ioctl (policy 1A, %s, T_sink %.4g, local window %llu tokens)\n",
	       json_get_text(r->decode, "mode"), json_get_number(r->decode, "t_sink"),
	       (unsigned long long)json_get_integer(r->decode, "local_window"));
	printf("  %5s  %-16s  %-7s  %14s  %10s\n", "token", "text", "layers", "attention mass", "SRAM");
	for (size_t i = 0; i < n; i++) {
		struct json_object *p = json_object_array_get_idx(list, i);
		char text[64], layers[16];

		quoted(json_get_text(p, "text"), text, sizeof(text));
		snprintf(layers, sizeof(layers), "%llu-%llu",
			 (unsigned long long)json_get_integer(p, "layer_begin"),
			 (unsigned long long)json_get_integer(p, "layer_end") - 1);
		printf("  %5llu  %-16s  %-7s  %14.4f  %8llu B%s%s\n",
		       (unsigned long long)json_get_integer(p, "token"), text, layers,
		       json_get_number(p, "score"), (unsigned long long)json_get_integer(p, "sram_bytes"),
		       json_get_integer(p, "sram_bytes") ? "" : "  refused: ",
		       json_get_integer(p, "sram_bytes") ? "" : json_get_text(p, "code"));
	}
	printf("  attention mass: mean over the prompt's queries outside the window, the heads and layers of "
	       "the group\n");
}

static void print_agreement(const struct report *r)
{
	printf("\nThe same model, the same state: device against stock libllama\n");
	printf("  prefill, attention output      %.2g largest relative difference in any layer (1e-4 "
	       "allowed)\n",
	       json_get_number(r->prefill, "prefill_relative"));
	printf("  decoded tokens identical       %llu of %llu\n",
	       (unsigned long long)json_get_integer(r->compare, "identical_tokens"),
	       (unsigned long long)json_get_integer(r->compare, "steps"));
	printf("  largest logit difference       %.2g (1e-3 allowed)\n",
	       json_get_number(r->compare, "max_logit_diff"));
}

/* Mass and bytes stand beside each other, since they are different things. */
static void print_bytes(const struct report *r)
{
	uint64_t uniform = json_get_integer(r->decode, "kv_bytes_uniform"),
		 hbm = json_get_integer(r->decode, "kv_bytes_hbm");
	uint64_t sram = json_get_integer(r->decode, "kv_bytes_sram"),
		 used = json_get_integer(r->decode, "sram_bytes_used");

	printf("\nWhere decode read its KV bytes (%llu steps after %llu tokens; useful bytes)\n",
	       (unsigned long long)json_get_integer(r->decode, "decoded_tokens"),
	       (unsigned long long)json_get_integer(r->decode, "context_tokens"));
	printf("  attention mass served from SRAM   %6.2f %%   of attention, not of bytes\n",
	       100 * json_get_number(r->decode, "mass_sram"));
	printf("  KV bytes read from SRAM           %6.2f %%   %12.3f MB\n",
	       percent((double)sram, (double)uniform), megabytes(sram));
	printf("  KV bytes read from HBM            %6.2f %%   %12.3f MB\n",
	       percent((double)hbm, (double)uniform), megabytes(hbm));
	printf("  uniform HBM would read            %6.2f %%   %12.3f MB\n", 100.0, megabytes(uniform));
	printf("  SRAM used                         %6.2f %%   %12llu B of %llu\n",
	       percent((double)used, json_get_number(r->decode, "sram_bytes")), (unsigned long long)used,
	       (unsigned long long)json_get_integer(r->decode, "sram_bytes"));
	printf("  modelled time of the device       %8.3f ms (modelled, not measured)\n",
	       json_get_number(r->decode, "modelled_ns") / 1e6);
}

/* What decode measured goes over as it is; identical_tokens and max_logit_diff come from compare. */
static struct json_object *result(const struct report *r)
{
	static const char *const keys[] = {
		"kernel",	  "device",	   "model",	      "context_tokens",
		"decoded_tokens", "promoted",	   "mass_sram",	      "kv_bytes_uniform",
		"kv_bytes_hbm",	  "kv_bytes_sram", "sram_bytes_used", "sram_bytes",
		"modelled_ns",	  "t_sink",	   "local_window",
	};
	struct json_object *o = json_object_new_object();

	json_string(o, "schema", "kvsink-demo/1");
	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
		json_object_object_add(o, keys[i], json_object_get(json_member(r->decode, keys[i])));
	json_integer(o, "identical_tokens", json_get_integer(r->compare, "identical_tokens"));
	json_number(o, "max_logit_diff", json_get_number(r->compare, "max_logit_diff"));
	json_number(o, "prefill_relative", json_get_number(r->prefill, "prefill_relative"));
	return o;
}

static int verdict(const struct report *r)
{
	uint64_t steps = json_get_integer(r->compare, "steps"),
		 same = json_get_integer(r->compare, "identical_tokens");
	double difference = json_get_number(r->compare, "max_logit_diff");

	if (!steps || same != steps || steps != json_get_integer(r->decode, "decoded_tokens"))
		return fail("the device's run leaves stock libllama's after %llu of %llu tokens",
			    (unsigned long long)same, (unsigned long long)steps);
	if (!(difference <= LOGIT_LIMIT))
		return fail("logits differ by %g, %g is allowed", difference, LOGIT_LIMIT);
	return 0;
}

static int report(const struct report *r, const struct options *o)
{
	printf("%s on %s, kernel %s\n", json_get_text(r->decode, "model"), json_get_text(r->decode, "device"),
	       json_get_text(r->decode, "kernel"));
	print_agreement(r);
	print_promoted(r);
	print_bytes(r);
	if (o->json && json_output(result(r), o->json))
		return -1;
	return verdict(r);
}

int command_report(const struct options *o)
{
	struct report r = {0};
	int rc = -1;

	r.decode = json_load(o->files[0], "kvsink-llm-decode/1");
	r.compare = json_load(o->files[1], "kvsink-llm-compare/1");
	r.prefill = json_load(o->files[2], "kvsink-llm-prefill/1");
	if (r.decode && r.compare && r.prefill)
		rc = report(&r, o);
	json_object_put(r.decode);
	json_object_put(r.compare);
	json_object_put(r.prefill);
	return rc;
}
