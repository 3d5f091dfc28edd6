/* SPDX-License-Identifier: MIT */
/*
 * Prefixes on the device that a serving run keeps: published when a second request wants the tokens of a
 * first, or when a request ends, so that later ones find them. Those that no stream begins with go when HBM,
 * SRAM or their number is short, the one that was used longest ago first. This is the only file that asks the
 * library about prefixes. Functions return 0 or -errno with a line in kvs_device_error().
 */
#ifndef KVSINK_LLM_SERVE_SHARE_H
#define KVSINK_LLM_SERVE_SHARE_H

#include <kvsink.h>

/* A prefix of the run. */
struct shared {
	struct kvs_prefix *prefix;
	uint64_t used; /* when it was published or attached last, in calls */
};

struct share {
	struct kvs_device *device;
	struct shared **list; /* [count] */
	uint32_t count, room;
	uint32_t most;				 /* prefixes at once; 0: nothing is shared */
	uint64_t clock;				 /* calls */
	uint64_t counters[KVSINK_COUNTER_COUNT]; /* sums over prefixes that are gone */
	uint64_t published, dropped;
	/* entries of prefixes that a stream found when its policy placed for the first time: each is a
	 * promotion that it was spared */
	uint64_t spared;
	uint32_t *seen; /* [shared_entries] generations of these entries, ascending */
	uint32_t shared_entries;
};

void share_open(struct share *share, struct kvs_device *device, uint32_t most);
void share_close(struct share *share);
/* share_publish - -ENOSPC, -ELOOP and -ENODATA say that these tokens cannot be shared now */
int share_publish(struct share *share, struct kvs_stream *stream, uint32_t tokens, uint64_t key,
		  struct shared **to);
/* share_use - it is being attached */
void share_use(struct share *share, struct shared *shared);
/* share_unused - the prefix that shall go first, another one than `keep`; NULL if all are in use */
int share_unused(struct share *share, const struct shared *keep, struct shared **first);
int share_drop(struct share *share, struct shared *shared);
/* share_free_sram - evict entries of prefixes that are not in use, until no more than `most` bytes are taken
 */
int share_free_sram(struct share *share, const struct shared *keep, uint64_t most);
/* share_below - what a stream or prefix begins with: `stream` becomes that (0: nothing) and `end` the end of
 * what it has of it, at most what it was */
int share_below(struct kvs_device *device, uint64_t *stream, uint32_t *end);
/* share_look - count what a stream inherits, before it places anything */
int share_look(struct share *share, uint64_t stream);
/* share_counters - of all prefixes so far, to be added */
int share_counters(struct share *share, uint64_t *counters);
/* share_scores - sums of a stream's first tokens, [groups][tokens]; NULL with *rc set on failure */
uint64_t *share_scores(struct share *share, uint64_t stream, uint32_t groups, uint32_t tokens, int *rc);

#endif
