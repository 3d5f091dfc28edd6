/* SPDX-License-Identifier: MIT */
/*
 * Shared prefixes of a serving run: which blocks an earlier request already has, and who has them.
 *
 * A block is known by the hash of the whole prompt up to its end, so a chain of keys is a path in a radix
 * tree, and the longest known prefix is found key by key. The table tells a request how many tokens of its
 * prompt need not be computed, and takes in the blocks that a request has computed. Whether rows are really
 * shared is the library's answer: this is the only file that asks it.
 */
#ifndef KVSINK_LLM_SERVE_PREFIX_H
#define KVSINK_LLM_SERVE_PREFIX_H

#include <stdint.h>

struct kvs_device;
struct kvs_stream;
struct prefix_table;

#define PREFIX_NONE UINT32_MAX /* nobody owns it */

struct prefix_table *prefix_create(struct kvs_device *device, uint32_t block_tokens);
void prefix_free(struct prefix_table *table);
uint32_t prefix_block_tokens(const struct prefix_table *table);

/* prefix_key - the key of a block whose predecessor has the key `before` (0 for the first block) */
uint64_t prefix_key(uint64_t before, uint64_t block_hash);

/*
 * prefix_attach - give an empty stream the longest prefix that is there and may be shared
 * At most `most` of the prompt's tokens, whole blocks. `known` receives the tokens of blocks that earlier
 * requests have computed, shared or not. Returns the tokens that the stream has now, or -errno.
 */
int64_t prefix_attach(struct prefix_table *table, struct kvs_stream *stream, const uint64_t *hash,
		      uint32_t blocks, uint32_t most, uint32_t *known);

/* prefix_computed - request `owner` has the first `blocks` blocks of its prompt in its stream: 0 or -errno */
int prefix_computed(struct prefix_table *table, struct kvs_stream *stream, uint32_t owner,
		    const uint64_t *hash, uint32_t blocks);

/* prefix_owner - the request that computed the last of these blocks first; PREFIX_NONE if none has */
uint32_t prefix_owner(const struct prefix_table *table, const uint64_t *hash, uint32_t blocks);

#endif
