// SPDX-License-Identifier: MIT
/* kvsink-llm decode: greedy decode through the device, and what it found as one JSON document. */
#include <errno.h>
#include <stdlib.h>
#include <sys/utsname.h>

#include "fail.h"
#include "hold.h"
#include "json.h"
#include "options.h"
#include "session.h"

static struct json_object *placed_json(const struct session *s, const struct placed *p)
{
	struct json_object *o = json_object_new_object();
	union {
		uint32_t bits;
		float value;
	} score = {.bits = p->sink.score};
	char piece[128];

	model_piece(&s->model, s->state.tokens[p->sink.token], piece, sizeof(piece));
	json_integer(o, "token", p->sink.token);
	json_text(o, "text", piece);
	json_integer(o, "group", p->sink.group);
	json_integer(o, "layer_begin", p->layer_begin);
	json_integer(o, "layer_end", p->layer_end);
	json_number(o, "score", (double)score.value);
	json_integer(o, "observers", p->sink.observers);
	json_integer(o, "sram_bytes", p->sram_bytes);
	json_string(o, "code", kvs_code_name(p->code));
	return o;
}

static struct json_object *promoted_json(const struct session *s)
{
	struct json_object *list = json_object_new_array();

	for (uint32_t i = 0; i < s->placement.count; i++)
		json_object_array_add(list, placed_json(s, &s->placement.tokens[i]));
	return list;
}

static struct json_object *tag_json(const struct kvsink_tag_rec *tag)
{
	struct json_object *o = json_object_new_object();

	json_integer(o, "token", tag->token);
	json_integer(o, "layer_begin", tag->layer_begin);
	json_integer(o, "layer_end", tag->layer_end);
	json_integer(o, "head_mask", tag->head_mask);
	json_integer(o, "sram_bytes", tag->sram_bytes);
	json_integer(o, "row_bytes", tag->row_bytes);
	json_object_object_add(o, "valid", json_object_new_boolean(tag->flags & KVSINK_TAG_VALID));
	return o;
}

/* The tag array as it is now, by the way that sinkctl takes, and the SRAM that its entries hold. */
static int tags_json(struct session *s, struct json_object *document)
{
	struct json_object *list = json_object_new_array();
	uint64_t used = 0;
	void *records = NULL;
	size_t bytes;
	int n = kvs_query(s->device, DRM_KVSINK_QUERY_TAGS, kvs_stream_id(s->attention.stream), 0, &records,
			  &bytes);

	json_object_object_add(document, "tags", list);
	if (n < 0)
		return attention_fail(&s->attention, "cannot list tags", n);
	if (n && bytes < sizeof(struct kvsink_tag_rec))
		return fail("tag records of %zu bytes are too short", bytes);
	for (int i = 0; i < n; i++) {
		const struct kvsink_tag_rec *tag = (const void *)((const char *)records + (size_t)i * bytes);

		used += tag->sram_bytes;
		json_object_array_add(list, tag_json(tag));
	}
	free(records);
	json_integer(document, "sram_bytes_used", used);
	return 0;
}

static void layers_json(const struct session *s, struct json_object *document)
{
	struct json_object *list = json_object_new_array();

	for (uint32_t layer = 0; layer < s->state.geometry.layers; layer++)
		json_object_array_add(
			list, json_object_new_double(s->mass_sram[layer] / (s->steps ? s->steps : 1)));
	json_object_object_add(document, "mass_sram_by_layer", list);
}

static void tokens_json(const struct session *s, struct json_object *document)
{
	struct json_object *list = json_object_new_array();

	for (uint32_t i = 0; i < s->steps; i++)
		json_object_array_add(list, json_object_new_int(s->chosen[i]));
	json_object_object_add(document, "tokens", list);
}

static void geometry_json(const struct geometry *g, struct json_object *document)
{
	json_integer(document, "layers", g->layers);
	json_integer(document, "q_heads", g->q_heads);
	json_integer(document, "kv_heads", g->kv_heads);
	json_integer(document, "d_k", g->d_k);
	json_integer(document, "d_v", g->d_v);
}

static void session_json(const struct session *s, struct json_object *document)
{
	struct utsname system = {.release = "?"};

	uname(&system);
	json_string(document, "schema", "kvsink-llm-decode/1");
	json_string(document, "model", s->model.name);
	json_string(document, "kernel", system.release);
	json_string(document, "device", kvs_device_name(s->device));
	json_integer(document, "stream", kvs_stream_id(s->attention.stream));
	geometry_json(&s->state.geometry, document);
	json_number(document, "t_sink", (double)s->policy.t_sink);
	json_integer(document, "local_window", s->policy.local_window);
	json_string(document, "mode", s->options->mode);
	json_string(document, "attend", s->options->attend);
	json_string(document, "policy", s->options->policy ? s->options->policy : "none");
	json_integer(document, "context_tokens", s->state.header.tokens);
	json_integer(document, "decoded_tokens", s->steps);
	json_number(document, "probe_relative", s->probe_relative);
	json_number(document, "decode_seconds", s->seconds);
	json_number(document, "attention_seconds", s->attention_seconds);
}

/* steps are evaluations: decoded_tokens = steps + accepted */
static void drafts_json(const struct session *s, struct json_object *document)
{
	json_integer(document, "draft", s->options->draft);
	json_integer(document, "steps", s->evaluations);
	json_integer(document, "drafts", s->drafts);
	json_integer(document, "drafted", s->drafted);
	json_integer(document, "accepted", s->accepted);
	json_number(document, "acceptance", s->drafted ? (double)s->accepted / s->drafted : 0);
}

static int bytes_json(struct session *s, struct json_object *document)
{
	struct session_bytes b;

	if (session_bytes(s, &b))
		return -1;
	json_number(document, "mass_sram", b.mass_sram);
	json_integer(document, "kv_bytes_uniform", b.uniform);
	json_integer(document, "kv_bytes_hbm", b.hbm);
	json_integer(document, "kv_bytes_sram", b.sram);
	json_integer(document, "kv_bytes_hbm_bus", b.hbm_bus);
	json_integer(document, "kv_bytes_sram_bus", b.sram_bus);
	json_integer(document, "sram_bytes", s->info.sram_bytes);
	json_integer(document, "modelled_ns", b.modelled_ns);
	return 0;
}

static int decode_report(struct session *s)
{
	struct json_object *document = json_object_new_object();

	session_json(s, document);
	drafts_json(s, document);
	json_object_object_add(document, "promoted", promoted_json(s));
	layers_json(s, document);
	tokens_json(s, document);
	if (bytes_json(s, document) || tags_json(s, document)) {
		json_object_put(document);
		return -1;
	}
	return json_output(document, s->options->json);
}

static int decode_steps(struct session *s)
{
	while (s->steps < s->max_steps) {
		uint32_t before = s->steps;
		int rc = session_step(s);

		if (rc)
			return rc;
		if (before / 16 != s->steps / 16 || s->steps == s->max_steps)
			say("decode: %u of %u tokens", s->steps, s->max_steps);
	}
	return 0;
}

int command_decode(const struct options *o)
{
	struct session session;
	int rc;

	rc = session_open(&session, o);
	if (!rc)
		rc = o->hold ? hold(&session) : decode_steps(&session);
	if (!rc)
		rc = session_flush(&session);
	if (!rc && (!o->hold || o->json))
		rc = decode_report(&session);
	session_close(&session);
	return rc;
}
