/* SPDX-License-Identifier: MIT */
/*
 * Shared prefixes of a serving run: which blocks an earlier request already has, and who has them.
 *
 * A block is known by the hash of the whole prompt up to its end, so a chain of keys is a path in a radix
 * tree, and the longest known prefix is found key by key. A request that finds one attaches to it instead of
 * computing its tokens. Nobody has to ask for that: a stream's blocks become a prefix when a second request
 * wants them, with what the first one's policy has placed, and when it ends.
 *
 * Scores of a block's end are kept here, as they were when no query behind it had been scored: a stream that
 * attaches goes on with the scores that it would have had. Functions return 0 or -errno unless they say
 * otherwise.
 */
#ifndef KVSINK_LLM_SERVE_PREFIX_H
#define KVSINK_LLM_SERVE_PREFIX_H

#include "serve_share.h"

struct prefix_table;

#define PREFIX_NONE UINT32_MAX /* nobody owns it */

/* What a prompt can begin with. */
struct prefix_found {
	struct shared *shared; /* NULL: nothing */
	uint32_t tokens;
	const uint64_t *scores; /* [groups][tokens] at their end */
};

/* most: prefixes at once, 0 shares nothing; groups: score groups of the streams */
struct prefix_table *prefix_create(struct kvs_device *device, uint32_t block_tokens, uint32_t most,
				   uint32_t groups);
void prefix_free(struct prefix_table *table);
uint32_t prefix_block_tokens(const struct prefix_table *table);
struct share *prefix_share(struct prefix_table *table);

/* prefix_key - the key of a block whose predecessor has the key `before` (0 for the first block) */
uint64_t prefix_key(uint64_t before, uint64_t block_hash);

/*
 * prefix_find - the longest prefix of a prompt that is there and may be shared
 * At most `most` of the prompt's tokens, whole blocks. `known` receives the tokens of blocks that earlier
 * requests have computed, shared or not.
 */
int prefix_find(struct prefix_table *table, const uint64_t *hash, uint32_t blocks, uint32_t most,
		uint32_t *known, struct prefix_found *found);

/* prefix_computed - request `owner` has the first `blocks` blocks of its prompt in its stream, scored, and no
 * query behind them; blocks before them were told already */
int prefix_computed(struct prefix_table *table, struct kvs_stream *stream, uint32_t owner,
		    const uint64_t *hash, uint32_t blocks);

/* prefix_leave - the stream is about to end: its whole blocks become a prefix, if no other has them */
int prefix_leave(struct prefix_table *table, struct kvs_stream *stream, const uint64_t *hash,
		 uint32_t blocks);

/* prefix_evict - the prefix that was used longest ago and is not in use goes, but not `keep`: 1, 0 if there
 * is none, or -errno */
int prefix_evict(struct prefix_table *table, const struct shared *keep);

/* prefix_owner - the request that computed the last of these blocks first; PREFIX_NONE if none has */
uint32_t prefix_owner(const struct prefix_table *table, const uint64_t *hash, uint32_t blocks);

#endif
