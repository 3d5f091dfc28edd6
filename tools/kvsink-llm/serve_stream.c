// SPDX-License-Identifier: MIT
/* A request's stream on the device; see serve_stream.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "serve_share.h"
#include "serve_stream.h"

int serve_fail(const struct serve_device *d, const char *what, int error)
{
	const char *line = kvs_device_error(d->device);

	return fail("%s: %s: %s", kvs_device_name(d->device), what, *line ? line : strerror(-error));
}

/* ---- life ---- */

static int open_policy(struct serve_device *d, struct serve_stream *s)
{
	struct kvs_policy_options options = {
		.size = sizeof(options), .sram_bytes = d->sram_bytes, .tail_tokens = KVS_TAIL_OWN};
	int rc = kvs_policy_open(d->device, kvs_stream_id(s->attention.stream), d->policy, &options,
				 &s->policy);

	d->no_sram = rc == -ENOSPC; /* SRAM is free, but a tail wants it in one piece */
	if (d->no_sram)
		return 1;
	if (rc)
		return serve_fail(d, d->policy, rc);
	d->wants_mass = kvs_policy_wants_mass(s->policy);
	return 0;
}

/* Queries that it has not computed itself; 0 as well if the prefix had its scores. Or -errno. */
static int scores_missing(struct serve_device *d, const struct serve_stream *s)
{
	struct kvsink_stream_rec rec = {0};
	size_t bytes;
	void *records = NULL;
	int count = kvs_query(d->device, DRM_KVSINK_QUERY_STREAMS, kvs_stream_id(s->attention.stream), 0,
			      &records, &bytes);

	if (count > 0)
		memcpy(&rec, records, bytes < sizeof(rec) ? bytes : sizeof(rec));
	free(records);
	return count < 0 ? count : rec.length && !rec.scored;
}

static int import_group(struct serve_stream *s, struct kvs_buffer *buffer, uint32_t group,
			const struct serve_beginning *begins)
{
	struct kvs_batch *batch = s->attention.batch;
	int rc;

	memcpy(kvs_buffer_data(buffer), begins->scores + (size_t)group * begins->tokens,
	       begins->tokens * sizeof(*begins->scores));
	kvs_batch_reset(batch);
	rc = kvs_batch_score_import(batch, s->attention.stream, group, begins->tokens,
				    (struct kvs_place){.buffer = buffer});
	rc = rc ? rc : kvs_batch_run(batch, NULL);
	kvs_batch_reset(batch);
	return rc;
}

/* The scores that it would have, had it computed its beginning itself. */
static int import_scores(struct serve_device *d, struct serve_stream *s, const struct serve_beginning *begins)
{
	const uint32_t groups = attention_groups(d->hook->geometry.layers).count;
	struct kvs_buffer *buffer;
	int rc = begins->prefix ? scores_missing(d, s) : 0;

	if (rc <= 0)
		return rc ? serve_fail(d, "cannot look at a stream", rc) : 0;
	rc = kvs_buffer_create(d->device, begins->tokens * sizeof(*begins->scores), &buffer);
	if (rc)
		return serve_fail(d, "cannot create a buffer", rc);
	for (uint32_t g = 0; g < groups && !rc; g++)
		rc = import_group(s, buffer, g, begins);
	kvs_buffer_free(buffer);
	return rc ? serve_fail(d, "scores of a prefix", rc) : 0;
}

int serve_stream_open(struct serve_device *d, struct serve_stream *s, uint32_t max_tokens,
		      const struct serve_beginning *begins)
{
	struct groups groups = attention_groups(d->hook->geometry.layers);
	int rc;

	*s = (struct serve_stream){.attention = {.format = d->format,
						 .reserve = 1,
						 .prefix = begins->prefix,
						 .prefix_tokens = begins->tokens}};
	d->no_sram = false;
	rc = attention_create(&s->attention, d->device, d->hook, max_tokens, &groups);
	if (rc == -ENOSPC)
		return 1;
	if (rc)
		return serve_fail(d, "cannot create a stream", rc);
	if (attention_prepare(&s->attention, d->hook, 1))
		return -1;
	rc = open_policy(d, s);
	return rc ? rc : import_scores(d, s, begins);
}

int serve_stream_reserve(struct serve_device *d, struct serve_stream *s, uint32_t tokens)
{
	int rc = tokens > s->reserved ? kvs_stream_reserve(s->attention.stream, tokens) : 0;

	if (rc == -ENOSPC)
		return 1;
	if (rc)
		return serve_fail(d, "cannot reserve pages", rc);
	s->reserved = tokens > s->reserved ? tokens : s->reserved;
	return 0;
}

void serve_stream_drop(struct serve_stream *s)
{
	kvs_policy_close(s->policy);
	if (s->image)
		kvs_buffer_free(s->image);
	attention_close(&s->attention);
	free(s->pledged);
	*s = (struct serve_stream){0};
}

static int ledger(struct serve_device *d, const struct serve_stream *s, uint64_t *counters)
{
	int rc = kvs_counters(d->device, kvs_stream_id(s->attention.stream), counters);

	return rc < 0 ? serve_fail(d, "cannot read counters", rc) : 0;
}

/*
 * ---- contracts ----
 * What is resident after the first step of decode shall serve dwell_steps more: it may go at the STEP_END of
 * the last of them, so it is looked at after the one before.
 */

static int is_pledged(const struct serve_stream *s, const struct kvsink_tag_rec *tag)
{
	for (uint32_t i = 0; i < s->pledges; i++)
		if (s->pledged[i] == tag->generation)
			return 1;
	return 0;
}

/* Entries of a stream, or of all (0), tails left out; to be freed by the caller. Returns how many, or -1. */
static int entries(struct serve_device *d, uint64_t stream, struct kvsink_tag_rec **list)
{
	size_t bytes;
	void *records = NULL;
	int count = kvs_query(d->device, DRM_KVSINK_QUERY_TAGS, stream, 0, &records, &bytes);
	int n = 0;

	if (count < 0)
		return serve_fail(d, "cannot list tags", count);
	*list = calloc((size_t)count + 1, sizeof(**list));
	for (int i = 0; *list && i < count; i++) {
		memcpy(&(*list)[n], (const char *)records + (size_t)i * bytes, sizeof(**list));
		n += !((*list)[n].flags & KVSINK_TAG_TAIL);
	}
	free(records);
	return *list ? n : fail("out of memory for %d tags", count);
}

static int ask_some(struct serve_device *d, uint64_t stream, const struct kvsink_tag_rec *tags,
		    unsigned count)
{
	const struct kvs_contract contract = {.size = sizeof(contract), .dwell_steps = d->dwell_steps};
	struct drm_kvsink_place places[DRM_KVSINK_MAX_ITEMS];
	int rc;

	for (unsigned i = 0; i < count; i++)
		places[i] = (struct drm_kvsink_place){
			.token = tags[i].token,
			.layer_begin = tags[i].layer_begin,
			.layer_end = tags[i].layer_end,
			.head_mask = tags[i].head_mask,
		};
	rc = kvs_contract(d->device, stream, places, count, &contract);
	if (rc < 0 && rc != -ENOENT)
		return serve_fail(d, "contract", rc);
	d->asked += count;
	d->granted += rc > 0 ? (unsigned)rc : 0;
	return 0;
}

static int pledge(struct serve_stream *s, const struct kvsink_tag_rec *tags, int count)
{
	uint32_t *more = reallocarray(s->pledged, s->pledges + (size_t)count + 1, sizeof(*more));

	if (!more)
		return fail("out of memory for %d contracts", count);
	s->pledged = more;
	for (int i = 0; i < count; i++)
		s->pledged[s->pledges++] = tags[i].generation;
	return 0;
}

/* Entries of tokens before `end` of a stream, or of a prefix: without steps of its own its contracts end with
 * their lease. */
static int ask_of(struct serve_device *d, struct serve_stream *s, uint64_t stream, uint32_t end)
{
	struct kvsink_tag_rec *tags;
	int all = entries(d, stream, &tags), count = 0, rc = all < 0 ? -1 : 0;

	if (rc)
		return rc;
	for (int i = 0; i < all; i++)
		if (tags[i].token < end)
			tags[count++] = tags[i];
	rc = pledge(s, tags, count);
	for (int i = 0; !rc && i < count; i += DRM_KVSINK_MAX_ITEMS)
		rc = ask_some(d, stream, tags + i,
			      count - i < DRM_KVSINK_MAX_ITEMS ? (unsigned)(count - i)
							       : DRM_KVSINK_MAX_ITEMS);
	free(tags);
	return rc;
}

static int ask(struct serve_device *d, struct serve_stream *s)
{
	uint64_t stream = kvs_stream_id(s->attention.stream);
	uint32_t end = UINT32_MAX;

	while (stream) {
		int rc;

		if (ask_of(d, s, stream, end))
			return -1;
		rc = share_below(d->device, &stream, &end);
		if (rc)
			return serve_fail(d, "cannot look at a stream", rc);
	}
	return 0;
}

/* Which entries are still there, now that the last step begins for which they were asked? Or the request
 * ends. They may be a prefix's by now. */
static int look_back(struct serve_device *d, struct serve_stream *s)
{
	struct kvsink_tag_rec *tags;
	int count;

	if (!s->pledges)
		return 0;
	count = entries(d, 0, &tags);
	if (count < 0)
		return -1;
	for (int i = 0; i < count; i++)
		d->kept += (unsigned)is_pledged(s, &tags[i]);
	free(tags);
	s->pledges = 0;
	return 0;
}

/* ---- steps ---- */

int serve_stream_prefilled(struct serve_device *d, struct serve_stream *s)
{
	int rc = kvs_policy_prefilled(s->policy);

	if (rc)
		return serve_fail(d, "first placement", rc);
	return ledger(d, s, s->before);
}

int serve_stream_stepped(struct serve_device *d, struct serve_stream *s)
{
	int rc = kvs_policy_step(s->policy);

	if (rc)
		return serve_fail(d, "placement", rc);
	s->decoded++;
	if (d->dwell_steps && s->decoded == 1 && ask(d, s))
		return -1;
	return s->decoded == d->dwell_steps ? look_back(d, s) : 0;
}

int serve_stream_close(struct serve_device *d, struct serve_stream *s)
{
	uint64_t now[KVSINK_COUNTER_COUNT];

	if (look_back(d, s) || ledger(d, s, now))
		return -1;
	for (int i = 0; i < KVSINK_COUNTER_COUNT; i++) {
		d->prefill[i] += s->before[i];
		d->decode[i] += now[i] - s->before[i];
	}
	serve_stream_drop(s);
	return 0;
}

/* ---- preemption ---- */

int serve_stream_out(struct serve_device *d, struct serve_stream *s)
{
	uint64_t bytes;
	int rc = kvs_stream_image_bytes(s->attention.stream, &bytes);

	if (!rc)
		rc = kvs_buffer_create(d->device, bytes, &s->image);
	if (!rc)
		rc = kvs_stream_swap_out(s->attention.stream, (struct kvs_place){.buffer = s->image});
	if (rc)
		return serve_fail(d, "preemption", rc);
	s->reserved = 0;
	d->swaps++;
	return 0;
}

int serve_stream_in(struct serve_device *d, struct serve_stream *s)
{
	int rc = kvs_stream_swap_in(s->attention.stream, (struct kvs_place){.buffer = s->image});

	if (rc == -ENOSPC)
		return 1;
	if (rc)
		return serve_fail(d, "return after a preemption", rc);
	kvs_buffer_free(s->image);
	s->image = NULL;
	return 0;
}
