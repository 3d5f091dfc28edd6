// SPDX-License-Identifier: MIT
/* The library's side of shared prefixes; see serve_share.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "serve_share.h"

void share_open(struct share *s, struct kvs_device *device, uint32_t most)
{
	*s = (struct share){.device = device, .most = most};
}

void share_close(struct share *s)
{
	for (uint32_t i = 0; i < s->count; i++) {
		kvs_prefix_free(s->list[i]->prefix);
		free(s->list[i]);
	}
	free(s->list);
	free(s->seen);
	*s = (struct share){0};
}

/* ---- records ---- */

/* Streams and prefixes that this process may see, to be freed; or -errno. */
static int read_streams(struct kvs_device *device, uint64_t id, struct kvsink_stream_rec **list)
{
	size_t bytes;
	void *records = NULL;
	int count = kvs_query(device, DRM_KVSINK_QUERY_STREAMS, id, 0, &records, &bytes);

	*list = NULL;
	if (count <= 0)
		return count;
	*list = calloc((size_t)count, sizeof(**list));
	for (int i = 0; *list && i < count; i++)
		memcpy(&(*list)[i], (const char *)records + (size_t)i * bytes,
		       bytes < sizeof(**list) ? bytes : sizeof(**list));
	free(records);
	return *list ? count : -ENOMEM;
}

static struct shared *find(const struct share *s, uint64_t id)
{
	for (uint32_t i = 0; i < s->count; i++)
		if (kvs_prefix_id(s->list[i]->prefix) == id)
			return s->list[i];
	return NULL;
}

/* ---- publishing and dropping ---- */

static struct shared *add(struct share *s)
{
	struct shared *new = calloc(1, sizeof(*new));

	if (new && s->count == s->room) {
		uint32_t room = s->room ? 2 * s->room : 64;
		struct shared **more = reallocarray(s->list, room, sizeof(*more));

		if (!more) {
			free(new);
			return NULL;
		}
		s->list = more;
		s->room = room;
	}
	return new;
}

int share_publish(struct share *s, struct kvs_stream *stream, uint32_t tokens, uint64_t key,
		  struct shared **to)
{
	const uint64_t name[2] = {key, tokens};
	struct shared *new = add(s);
	int rc = new ? kvs_prefix_publish(stream, tokens, name, &new->prefix) : -ENOMEM;

	if (rc) {
		free(new);
		return rc;
	}
	s->list[s->count++] = new;
	s->published++;
	share_use(s, new);
	*to = new;
	return 0;
}

void share_use(struct share *s, struct shared *shared)
{
	shared->used = ++s->clock;
}

static int add_counters(const struct share *s, const struct shared *shared, uint64_t *to)
{
	uint64_t counters[KVSINK_COUNTER_COUNT];
	int rc = kvs_counters(s->device, kvs_prefix_id(shared->prefix), counters);

	for (int i = 0; !rc && i < KVSINK_COUNTER_COUNT; i++)
		to[i] += counters[i];
	return rc;
}

int share_counters(struct share *s, uint64_t *counters)
{
	int rc = 0;

	for (int i = 0; i < KVSINK_COUNTER_COUNT; i++)
		counters[i] += s->counters[i];
	for (uint32_t i = 0; i < s->count && !rc; i++)
		rc = add_counters(s, s->list[i], counters);
	return rc;
}

int share_drop(struct share *s, struct shared *shared)
{
	int rc = add_counters(s, shared, s->counters);

	for (uint32_t i = 0; i < s->count; i++)
		if (s->list[i] == shared)
			s->list[i] = s->list[--s->count];
	kvs_prefix_free(shared->prefix);
	free(shared);
	s->dropped++;
	return rc;
}

/* ---- those that nobody uses ---- */

int share_unused(struct share *s, const struct shared *keep, struct shared **first)
{
	struct kvsink_stream_rec *list;
	int count;

	*first = NULL;
	count = s->count ? read_streams(s->device, 0, &list) : 0;
	for (int i = 0; i < count; i++) {
		struct shared *one = list[i].closed && !list[i].users ? find(s, list[i].stream) : NULL;

		if (one && one != keep && (!*first || one->used < (*first)->used))
			*first = one;
	}
	if (count > 0)
		free(list);
	return count < 0 ? count : 0;
}

static int evict_all(const struct share *s, const struct kvsink_stream_rec *rec)
{
	const struct drm_kvsink_place all = {KVSINK_TOKEN_ALL, 0, rec->layers, UINT64_MAX};
	int rc = kvs_evict(s->device, rec->stream, &all, 1);

	return rc < 0 && rc != -ENOENT ? rc : 0;
}

/* The record of the one that was used longest ago and has entries, streams it cannot have. */
static struct kvsink_stream_rec *oldest(const struct share *s, const struct shared *keep,
					struct kvsink_stream_rec *list, int count)
{
	struct kvsink_stream_rec *best = NULL;
	uint64_t used = UINT64_MAX;

	for (int i = 0; i < count; i++) {
		const struct shared *one = list[i].closed && !list[i].users && list[i].sram_bytes
						   ? find(s, list[i].stream)
						   : NULL;

		if (one && one != keep && one->used < used) {
			used = one->used;
			best = &list[i];
		}
	}
	return best;
}

int share_free_sram(struct share *s, const struct shared *keep, uint64_t most)
{
	struct kvsink_stream_rec *list, *rec;
	int count = s->count ? read_streams(s->device, 0, &list) : 0, rc = count < 0 ? count : 0;
	uint64_t taken = 0;

	for (int i = 0; i < count; i++)
		taken += list[i].sram_bytes;
	while (!rc && count > 0 && taken > most && (rec = oldest(s, keep, list, count))) {
		rc = evict_all(s, rec);
		taken -= rec->sram_bytes;
		rec->sram_bytes = 0;
	}
	if (count > 0)
		free(list);
	return rc;
}

/* ---- what streams inherit ---- */

/* Generations in order; one that is there already is not added. */
static int note(struct share *s, uint32_t generation)
{
	uint32_t low = 0, high = s->shared_entries;

	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (s->seen[middle] < generation)
			low = middle + 1;
		else
			high = middle;
	}
	if (low < s->shared_entries && s->seen[low] == generation)
		return 0;
	if (!(s->shared_entries & (s->shared_entries - 1))) { /* full at each power of two */
		uint32_t room = s->shared_entries ? 2 * s->shared_entries : 1;
		uint32_t *more = reallocarray(s->seen, room, sizeof(*more));

		if (!more)
			return -ENOMEM;
		s->seen = more;
	}
	memmove(s->seen + low + 1, s->seen + low, (s->shared_entries - low) * sizeof(*s->seen));
	s->seen[low] = generation;
	s->shared_entries++;
	return 0;
}

static int look_at(struct share *s, uint64_t prefix, uint32_t end)
{
	size_t bytes;
	void *records = NULL;
	int count = kvs_query(s->device, DRM_KVSINK_QUERY_TAGS, prefix, 0, &records, &bytes), rc = 0;

	for (int i = 0; i < count && !rc; i++) {
		struct kvsink_tag_rec tag;

		memcpy(&tag, (const char *)records + (size_t)i * bytes, sizeof(tag));
		if (tag.token >= end)
			continue;
		s->spared++;
		rc = note(s, tag.generation);
	}
	free(records);
	return count < 0 ? count : rc;
}

int share_below(struct kvs_device *device, uint64_t *stream, uint32_t *end)
{
	struct kvsink_stream_rec *rec;
	int count = read_streams(device, *stream, &rec);

	*stream = 0;
	if (count <= 0)
		return count;
	*end = rec->shared < *end ? rec->shared : *end;
	*stream = *end ? rec->prefix : 0;
	free(rec);
	return 0;
}

int share_look(struct share *s, uint64_t stream)
{
	uint32_t end = UINT32_MAX;
	int rc = share_below(s->device, &stream, &end);

	while (stream && !rc) {
		rc = look_at(s, stream, end);
		rc = rc ? rc : share_below(s->device, &stream, &end);
	}
	return rc;
}

uint64_t *share_scores(struct share *s, uint64_t stream, uint32_t groups, uint32_t tokens, int *rc)
{
	uint64_t *sums = calloc((size_t)groups * tokens, sizeof(*sums));

	*rc = sums ? 0 : -ENOMEM;
	for (uint32_t g = 0; g < groups && !*rc; g++) {
		size_t bytes;
		void *records = NULL;
		int count = kvs_query(s->device, DRM_KVSINK_QUERY_SCORES, stream, g, &records, &bytes);

		for (int t = 0; t < count && (uint32_t)t < tokens; t++)
			memcpy(&sums[(size_t)g * tokens + (uint32_t)t],
			       (const char *)records + (size_t)t * bytes, sizeof(*sums));
		free(records);
		*rc = count < 0 ? count : 0;
	}
	if (!*rc)
		return sums;
	free(sums);
	return NULL;
}
