// SPDX-License-Identifier: MIT
/* Policy 1A on one stream; see place.h. Called once, between prefill and decode. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "fail.h"
#include "place.h"

#define MAX_SINKS 4096 /* more than the tag array of a default device holds */

static int bad_groups(const char *text, uint32_t layers, const char *why)
{
	char second[32] = "";

	if (layers > 1)
		snprintf(second, sizeof(second), ",%u-%u", layers / 2, layers - 1);
	return fail("--groups %s: %s; wanted: up to %u ranges from 0 to %u without gaps, like 0-%u%s", text,
		    why, KVSINK_MAX_SCORE_GROUPS, layers - 1, layers > 1 ? layers / 2 - 1 : 0, second);
}

int place_groups(const char *text, uint32_t layers, struct groups *groups)
{
	const char *p = text;
	unsigned begin, end, next = 0;
	int used;

	memset(groups, 0, sizeof(*groups));
	for (;;) {
		if (sscanf(p, "%u-%u%n", &begin, &end, &used) != 2)
			return bad_groups(text, layers, "not a list of ranges");
		if (groups->count == KVSINK_MAX_SCORE_GROUPS)
			return bad_groups(text, layers, "too many ranges");
		if (begin != next || end < begin || end >= layers)
			return bad_groups(text, layers,
					  "a range does not follow the one before, or leaves the model");
		next = end + 1;
		groups->end[groups->count++] = (uint16_t)next;
		p += used;
		if (*p != ',')
			break;
		p++;
	}
	if (*p || next != layers)
		return bad_groups(text, layers, "they do not cover all layers");
	return 0;
}

int place_mode(const char *text, uint32_t *mode)
{
	static const char *const names[] = {"raw", "mean", "rel"};

	for (uint32_t i = 0; i < 3; i++)
		if (!strcasecmp(text, names[i])) {
			*mode = i;
			return 0;
		}
	return fail("--mode %s: raw, mean and rel are known", text);
}

static int configure(struct attention *a, enum kvsink_param param, const char *what, uint64_t value)
{
	int rc = kvs_config_set(a->device, kvs_stream_id(a->stream), KVSINK_GROUP_ALL, param, value);

	return rc ? attention_fail(a, what, rc) : 0;
}

static uint32_t float_bits(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

int place_configure(struct attention *a, const struct policy *p)
{
	if (configure(a, KVSINK_PARAM_SCORE_MODE, "cannot set SCORE_MODE", p->mode) ||
	    configure(a, KVSINK_PARAM_LOCAL_WINDOW, "cannot set LOCAL_WINDOW", p->local_window) ||
	    configure(a, KVSINK_PARAM_T_SINK, "cannot set T_SINK", float_bits(p->t_sink)))
		return -1;
	return 0;
}

/* The device's list of sinks, into placement->tokens. */
static int classify(struct attention *a, struct kvs_buffer *buffer, uint32_t group_count,
		    struct placement *out)
{
	const struct drm_kvsink_list_head *head = kvs_buffer_data(buffer);
	const struct drm_kvsink_sink *sinks = (const void *)(head + 1);
	struct kvs_place dst = {.buffer = buffer};
	int rc;

	kvs_batch_reset(a->batch);
	rc = kvs_batch_classify(a->batch, a->stream, (1u << group_count) - 1, MAX_SINKS, dst);
	if (!rc)
		rc = kvs_batch_run(a->batch, NULL);
	kvs_batch_reset(a->batch);
	if (rc)
		return attention_fail(a, "classify", rc);
	if (head->written != head->total || head->record_bytes != sizeof(*sinks) || head->written > MAX_SINKS)
		return fail("%u tokens reach T_sink, at most %u can be placed: raise --t-sink", head->total,
			    MAX_SINKS);
	out->tokens = calloc(head->written + 1, sizeof(*out->tokens));
	if (!out->tokens)
		return fail("out of memory for %u sinks", head->written);
	out->count = head->written;
	for (uint32_t i = 0; i < out->count; i++)
		out->tokens[i].sink = sinks[i];
	return 0;
}

static int promote(struct attention *a, struct placed *p)
{
	struct kvs_grant grant = {0};
	struct drm_kvsink_place rows = {
		.token = p->sink.token,
		.layer_begin = p->layer_begin,
		.layer_end = p->layer_end,
		.head_mask = a->geometry.kv_heads < 64 ? (1ull << a->geometry.kv_heads) - 1 : ~0ull,
	};
	int rc = kvs_promote(a->device, kvs_stream_id(a->stream), &rows, 1, NULL, &grant);

	p->code = grant.code;
	if (rc && rc != -ENOSPC)
		return attention_fail(a, "promote", rc);
	p->sram_bytes = rc ? 0 : grant.sram_bytes;
	return 0;
}

static int promote_all(struct attention *a, const struct groups *groups, struct placement *out)
{
	for (uint32_t i = 0; i < out->count; i++) {
		struct placed *p = &out->tokens[i];
		uint32_t g = p->sink.group;

		if (g >= groups->count)
			return fail("the device reports a sink in score group %u, there are %u", g,
				    groups->count);
		p->layer_begin = g ? groups->end[g - 1] : 0;
		p->layer_end = groups->end[g];
		if (promote(a, p))
			return -1;
		out->granted += p->sram_bytes > 0;
	}
	return 0;
}

static int barrier(struct attention *a)
{
	int rc;

	kvs_batch_reset(a->batch);
	rc = kvs_batch_barrier(a->batch, a->stream);
	if (!rc)
		rc = kvs_batch_run(a->batch, NULL);
	kvs_batch_reset(a->batch);
	return rc ? attention_fail(a, "barrier", rc) : 0;
}

int place_sinks(struct attention *a, const struct policy *policy, struct placement *out)
{
	struct kvs_buffer *buffer;
	int rc;

	memset(out, 0, sizeof(*out));
	if (policy->t_sink <= 0)
		return 0;
	rc = kvs_buffer_create(
		a->device, sizeof(struct drm_kvsink_list_head) + MAX_SINKS * sizeof(struct drm_kvsink_sink),
		&buffer);
	if (rc)
		return attention_fail(a, "cannot create a buffer", rc);
	rc = classify(a, buffer, policy->groups.count, out);
	kvs_buffer_free(buffer);
	if (rc || promote_all(a, &policy->groups, out))
		return -1;
	return barrier(a);
}
