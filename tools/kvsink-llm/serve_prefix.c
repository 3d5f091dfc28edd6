// SPDX-License-Identifier: MIT
/*
 * The table of prefixes; see serve_prefix.h. Open addressing over keys, which are hashes already; it only
 * grows. share_*() below are the seam to the library, where rows of a prefix would be shared: it has no such
 * calls yet, so nothing is shared and every prompt is computed in full.
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
};

struct prefix_table {
	struct kvs_device *device;
	struct prefix_entry *entry; /* [room] */
	uint32_t room, count;	    /* a power of two */
	uint32_t block_tokens;
};

/*
 * ---- the seam ----
 * share_attach() will be kvs_prefix_find() and kvs_stream_attach() on a stream that is empty but configured
 * by its policy; share_publish() kvs_prefix_publish() after the STEP_END that made the block complete, the
 * handle kept in the entry until kvs_prefix_free(). libllama has nothing to share: its cache is emptied each
 * step.
 */

/* Attach the prefix of that key and so many tokens to an empty stream: 0, or -ENOENT if it is not shared. */
static int share_attach(struct prefix_table *t, struct kvs_stream *stream, uint64_t key, uint32_t tokens)
{
	(void)t;
	(void)stream;
	(void)key;
	(void)tokens;
	return -ENOENT;
}

/* Publish the first tokens of a stream under that key: 0, or -ENOENT if nothing can be shared. */
static int share_publish(struct prefix_table *t, struct kvs_stream *stream, uint64_t key, uint32_t tokens)
{
	(void)t;
	(void)stream;
	(void)key;
	(void)tokens;
	return -ENOENT;
}

/* ---- the table ---- */

struct prefix_table *prefix_create(struct kvs_device *device, uint32_t block_tokens)
{
	struct prefix_table *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	*t = (struct prefix_table){.device = device, .room = 1024, .block_tokens = block_tokens};
	t->entry = calloc(t->room, sizeof(*t->entry));
	if (t->entry)
		return t;
	free(t);
	return NULL;
}

void prefix_free(struct prefix_table *t)
{
	if (t)
		free(t->entry);
	free(t);
}

uint32_t prefix_block_tokens(const struct prefix_table *t)
{
	return t->block_tokens;
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

int64_t prefix_attach(struct prefix_table *t, struct kvs_stream *stream, const uint64_t *hash,
		      uint32_t blocks, uint32_t most, uint32_t *known)
{
	uint64_t key;
	uint32_t found;
	int rc;

	if (blocks > most / t->block_tokens)
		blocks = most / t->block_tokens;
	found = walk(t, hash, blocks, &key);
	*known = found * t->block_tokens;
	for (uint32_t n = found; n; n--) {
		walk(t, hash, n, &key);
		rc = share_attach(t, stream, key, n * t->block_tokens);
		if (rc != -ENOENT)
			return rc ? rc : (int64_t)n * t->block_tokens;
	}
	return 0;
}

int prefix_computed(struct prefix_table *t, struct kvs_stream *stream, uint32_t owner, const uint64_t *hash,
		    uint32_t blocks)
{
	uint64_t key = 0;
	int rc = 0;

	for (uint32_t i = 0; i < blocks; i++) {
		struct prefix_entry *entry;

		if (2 * (t->count + 1) > t->room && (rc = grow(t)))
			return rc;
		key = prefix_key(key, hash[i]);
		entry = slot(t, key);
		if (entry->key)
			continue;
		*entry = (struct prefix_entry){.key = key, .owner = owner};
		t->count++;
		rc = share_publish(t, stream, key, (i + 1) * t->block_tokens);
		if (rc && rc != -ENOENT)
			return rc;
	}
	return 0;
}

uint32_t prefix_owner(const struct prefix_table *t, const uint64_t *hash, uint32_t blocks)
{
	uint64_t key;

	return blocks && walk(t, hash, blocks, &key) == blocks ? slot(t, key)->owner : PREFIX_NONE;
}
