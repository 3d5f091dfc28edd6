// SPDX-License-Identifier: MIT
/*
 * The table of prefixes; see serve_prefix.h. Open addressing over keys, which are hashes already; it only
 * grows: what goes is the prefix, and a block that is computed again has a holder again.
 */
#define XXH_INLINE_ALL
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "serve_prefix.h"

struct prefix_entry {
	uint64_t key; /* 0: free */
	uint32_t owner;
	struct kvs_stream *holder; /* that has the block and lives */
	struct shared *shared;	   /* that begins with the path to this block */
	uint64_t *scores;	   /* [groups][tokens up to its end] */
};

struct prefix_table {
	struct share share;
	struct prefix_entry *entry; /* [room] */
	uint32_t room, count;	    /* a power of two */
	uint32_t block_tokens, groups;
};

struct prefix_table *prefix_create(struct kvs_device *device, uint32_t block_tokens, uint32_t most,
				   uint32_t groups)
{
	struct prefix_table *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	*t = (struct prefix_table){.room = 1024, .block_tokens = block_tokens, .groups = groups};
	share_open(&t->share, device, most);
	t->entry = calloc(t->room, sizeof(*t->entry));
	if (t->entry)
		return t;
	free(t);
	return NULL;
}

void prefix_free(struct prefix_table *t)
{
	if (!t)
		return;
	share_close(&t->share);
	for (uint32_t i = 0; i < t->room; i++)
		free(t->entry[i].scores);
	free(t->entry);
	free(t);
}

uint32_t prefix_block_tokens(const struct prefix_table *t)
{
	return t->block_tokens;
}

struct share *prefix_share(struct prefix_table *t)
{
	return &t->share;
}

uint64_t prefix_key(uint64_t before, uint64_t block_hash)
{
	const uint64_t both[2] = {before, block_hash};
	uint64_t key = XXH3_64bits(both, sizeof(both));

	return key ? key : 1;
}

/* Where the key is, or would be. */
static struct prefix_entry *slot(const struct prefix_table *t, uint64_t key)
{
	uint32_t at = (uint32_t)key & (t->room - 1);

	while (t->entry[at].key && t->entry[at].key != key)
		at = (at + 1) & (t->room - 1);
	return &t->entry[at];
}

static int grow(struct prefix_table *t)
{
	struct prefix_table wider = *t;

	wider.room *= 2;
	wider.entry = calloc(wider.room, sizeof(*wider.entry));
	if (!wider.entry)
		return -ENOMEM;
	for (uint32_t i = 0; i < t->room; i++)
		if (t->entry[i].key)
			*slot(&wider, t->entry[i].key) = t->entry[i];
	free(t->entry);
	*t = wider;
	return 0;
}

/* Blocks of the prompt that the table knows from its beginning on; `key` is that of the last one. */
static uint32_t walk(const struct prefix_table *t, const uint64_t *hash, uint32_t blocks, uint64_t *key)
{
	uint64_t next = 0;
	uint32_t i = 0;

	for (*key = 0; i < blocks; i++, *key = next) {
		next = prefix_key(*key, hash[i]);
		if (!slot(t, next)->key)
			break;
	}
	return i;
}

static struct prefix_entry *entry_of(const struct prefix_table *t, const uint64_t *hash, uint32_t blocks)
{
	uint64_t key;

	walk(t, hash, blocks, &key);
	return slot(t, key);
}

/* ---- prefixes on the device ---- */

/* Nobody has the block any more: its scores are of no use until it is computed again. */
static void forget(struct prefix_entry *entry)
{
	if (entry->shared || entry->holder)
		return;
	free(entry->scores);
	entry->scores = NULL;
}

int prefix_evict(struct prefix_table *t, const struct shared *keep)
{
	struct shared *first;
	int rc = share_unused(&t->share, keep, &first);

	if (rc || !first)
		return rc;
	for (uint32_t i = 0; i < t->room; i++)
		if (t->entry[i].shared == first) {
			t->entry[i].shared = NULL;
			forget(&t->entry[i]);
		}
	rc = share_drop(&t->share, first);
	return rc ? rc : 1;
}

/* These blocks of a stream that lives become a prefix; so are all that lead to them. */
static int publish(struct prefix_table *t, struct kvs_stream *stream, const uint64_t *hash, uint32_t blocks)
{
	struct shared *shared = NULL;
	uint64_t key;
	int rc = 0;

	while (t->share.count >= t->share.most && (rc = prefix_evict(t, NULL)) > 0)
		;
	if (rc < 0 || t->share.count >= t->share.most)
		return rc < 0 ? rc : -ENOSPC;
	walk(t, hash, blocks, &key);
	do
		rc = share_publish(&t->share, stream, blocks * t->block_tokens, key, &shared);
	while (rc == -ENOSPC && (rc = prefix_evict(t, NULL)) > 0);
	if (!shared)
		return rc ? rc : -ENOSPC;
	for (uint32_t n = blocks; n; n--) {
		struct prefix_entry *entry = entry_of(t, hash, n);

		if (!entry->shared)
			entry->shared = shared;
	}
	return 0;
}

/* Those for which requests go on without it. */
static bool is_refusal(int rc)
{
	return rc == -ENOSPC || rc == -ELOOP || rc == -ENODATA;
}

int prefix_find(struct prefix_table *t, const uint64_t *hash, uint32_t blocks, uint32_t most, uint32_t *known,
		struct prefix_found *found)
{
	uint64_t key;
	uint32_t n;

	*found = (struct prefix_found){0};
	if (blocks > most / t->block_tokens)
		blocks = most / t->block_tokens;
	n = walk(t, hash, blocks, &key);
	*known = n * t->block_tokens;
	for (; n && t->share.most; n--) {
		struct prefix_entry *entry = entry_of(t, hash, n);
		int rc = entry->shared || !entry->holder ? 0 : publish(t, entry->holder, hash, n);

		if (rc && !is_refusal(rc))
			return rc;
		if (!entry->shared || !entry->scores)
			continue;
		*found = (struct prefix_found){entry->shared, n * t->block_tokens, entry->scores};
		return 0;
	}
	return 0;
}

/* ---- blocks of streams ---- */

static int compute(struct prefix_table *t, struct kvs_stream *stream, uint32_t owner, uint64_t key,
		   uint32_t tokens)
{
	struct prefix_entry *entry = slot(t, key);
	int rc = 0;

	if (!entry->key) {
		*entry = (struct prefix_entry){.key = key, .owner = owner};
		t->count++;
	}
	if (!t->share.most || !stream)
		return 0;
	if (!entry->holder)
		entry->holder = stream;
	if (!entry->scores)
		entry->scores = share_scores(&t->share, kvs_stream_id(stream), t->groups, tokens, &rc);
	return rc;
}

int prefix_computed(struct prefix_table *t, struct kvs_stream *stream, uint32_t owner, const uint64_t *hash,
		    uint32_t blocks)
{
	uint64_t key = 0;

	for (uint32_t i = 0; i < blocks; i++) {
		int rc = 2 * (t->count + 1) > t->room ? grow(t) : 0;

		key = prefix_key(key, hash[i]);
		if (!rc && (i + 1 == blocks || !slot(t, key)->key))
			rc = compute(t, i + 1 == blocks ? stream : NULL, owner, key,
				     (i + 1) * t->block_tokens);
		if (rc)
			return rc;
	}
	return 0;
}

int prefix_leave(struct prefix_table *t, struct kvs_stream *stream, const uint64_t *hash, uint32_t blocks)
{
	uint64_t key;
	uint32_t n = t->share.most ? walk(t, hash, blocks, &key) : 0;
	int rc = 0;

	while (n && entry_of(t, hash, n)->holder != stream)
		n--;
	if (n && !entry_of(t, hash, n)->shared)
		rc = publish(t, stream, hash, n);
	for (; n; n--) {
		struct prefix_entry *entry = entry_of(t, hash, n);

		if (entry->holder == stream) {
			entry->holder = NULL;
			forget(entry);
		}
	}
	return is_refusal(rc) ? 0 : rc;
}

uint32_t prefix_owner(const struct prefix_table *t, const uint64_t *hash, uint32_t blocks)
{
	uint64_t key;

	return blocks && walk(t, hash, blocks, &key) == blocks ? slot(t, key)->owner : PREFIX_NONE;
}
