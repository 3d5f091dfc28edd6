// SPDX-License-Identifier: MIT
/*
 * Rows of a stream that are a prefix's. The first stream of a prefix whose policy wants them in SRAM promotes
 * them, through the prefix's id; all others find them there. So a prefix's rows are promoted once for any
 * number of streams, and no policy ever evicts them: somebody else may read them.
 *
 * Entries of prefixes that the stream reads count in its policy's SRAM as its own do. Prefixes of another
 * tenant are left alone: their ids are not told.
 */
#include <stdlib.h>
#include <string.h>

#include "policy.h"

#define NOBODY UINT32_MAX

/* ---- who owns what ---- */

/* The next prefix below: tokens [0, end) of it, less what is below that again. 0: none that may be seen. */
static int next_owner(struct kvs_policy *policy, uint64_t *id, uint32_t *end)
{
	struct kvsink_stream_rec rec;
	size_t bytes;
	void *records;
	int count = kvs_query(policy->device, DRM_KVSINK_QUERY_STREAMS, *id, 0, &records, &bytes);

	if (count <= 0 || bytes < sizeof(rec)) {
		if (count > 0)
			free(records);
		return count == -ENOENT || count >= 0 ? 0 : count;
	}
	memcpy(&rec, records, sizeof(rec));
	free(records);
	policy->owner[policy->owners++] =
		(struct kvs_owner){.id = *id, .begin = rec.shared < *end ? rec.shared : *end, .end = *end};
	*end = rec.shared < *end ? rec.shared : *end;
	*id = rec.prefix;
	return 1;
}

static int keep_tags(struct kvs_policy *policy, const void *records, size_t bytes, int count,
		     const struct kvs_owner *owner)
{
	struct kvsink_tag_rec *more =
		reallocarray(policy->inherited, policy->inherited_count + (uint32_t)count, sizeof(*more));

	if (!more)
		return kvs_fail(policy->device, -ENOMEM, "policy: out of memory");
	policy->inherited = more;
	for (int i = 0; i < count; i++) {
		struct kvsink_tag_rec *tag = &more[policy->inherited_count];

		memset(tag, 0, sizeof(*tag));
		memcpy(tag, (const char *)records + (size_t)i * bytes,
		       bytes < sizeof(*tag) ? bytes : sizeof(*tag));
		if (tag->token >= owner->end)
			continue;
		policy->inherited_bytes += tag->sram_bytes;
		policy->inherited_count++;
	}
	return 0;
}

static int read_tags(struct kvs_policy *policy, const struct kvs_owner *owner)
{
	size_t bytes;
	void *records;
	int count = kvs_query(policy->device, DRM_KVSINK_QUERY_TAGS, owner->id, 0, &records, &bytes);
	int err = count < 0 ? count : 0;

	if (count > 0) {
		err = keep_tags(policy, records, bytes, count, owner);
		free(records);
	}
	return err;
}

/* The stream's own entries and tails may take what those of its prefixes leave, but the tail stays. */
static int set_budget(struct kvs_policy *policy)
{
	uint32_t tail = policy->sram_bytes - kvs_policy_room(policy), own = tail;

	if (policy->inherited_bytes < policy->sram_bytes - tail)
		own = policy->sram_bytes - policy->inherited_bytes;
	return kvs_policy_set(policy, KVSINK_GROUP_ALL, KVSINK_PARAM_SRAM_BUDGET, own);
}

int kvs_policy_inherit(struct kvs_policy *policy)
{
	uint64_t id = policy->stream.prefix;
	uint32_t end = policy->stream.shared;
	int more = 1, err = 0;

	policy->owners = 0;
	policy->inherited_count = 0;
	policy->inherited_bytes = 0;
	policy->inherited_of = id;
	policy->inherited_end = end;
	while (more > 0 && id && end && policy->owners < KVSINK_MAX_PREFIX_DEPTH)
		more = next_owner(policy, &id, &end);
	for (uint32_t i = 0; !err && more >= 0 && i < policy->owners; i++)
		err = read_tags(policy, &policy->owner[i]);
	return more < 0 ? more : err;
}

int kvs_policy_inherit_budget(struct kvs_policy *policy)
{
	int err = kvs_policy_inherit(policy);

	return err ? err : set_budget(policy);
}

/* ---- promoting for all ---- */

/* Index of the prefix, `owners` if it is the stream itself. */
static uint32_t owner_of(const struct kvs_policy *policy, uint32_t token)
{
	if (token >= policy->stream.shared)
		return policy->owners;
	for (uint32_t i = 0; i < policy->owners; i++)
		if (token >= policy->owner[i].begin && token < policy->owner[i].end)
			return i;
	return NOBODY;
}

static bool is_inherited(const struct kvs_policy *policy, const struct drm_kvsink_place *place)
{
	for (uint32_t i = 0; i < policy->inherited_count; i++) {
		const struct kvsink_tag_rec *tag = &policy->inherited[i];

		if (tag->token == place->token && tag->layer_begin < place->layer_end &&
		    place->layer_begin < tag->layer_end && tag->head_mask & place->head_mask)
			return true;
	}
	return false;
}

/* Bytes that neither the stream's entries and tails nor those of its prefixes take. */
static int64_t left(struct kvs_policy *policy)
{
	int err = kvs_policy_refresh(policy);
	int64_t bytes = (int64_t)policy->sram_bytes - policy->stream.sram_bytes - policy->inherited_bytes;

	return err ? err : bytes > 0 ? bytes : 0;
}

/* Places that fit, in their order, to those who own them. Returns how many are inherited already. */
static int sort_out(struct kvs_policy *policy, const struct drm_kvsink_place *places, uint32_t count,
		    int64_t room, struct kvs_places *of)
{
	int found = 0, err = 0;

	for (uint32_t i = 0; !err && i < count; i++) {
		uint32_t owner = owner_of(policy, places[i].token),
			 bytes = kvs_policy_entry_bytes(policy, &places[i]);

		if (owner < policy->owners && is_inherited(policy, &places[i]))
			found++;
		else if (owner != NOBODY && bytes <= room) {
			room -= bytes;
			err = kvs_places_add_place(policy, &of[owner], &places[i]);
		}
	}
	return err ? err : found;
}

/* A prefix makes no steps: contracts that count them would never end. */
static int promote_all(struct kvs_policy *policy, const struct kvs_places *of,
		       const struct kvs_contract *contract)
{
	int granted = 0;

	for (uint32_t i = 0; i <= policy->owners; i++) {
		bool own = i == policy->owners;
		int n = kvs_policy_pin_on(policy, own ? policy->stream.stream : policy->owner[i].id,
					  of[i].place, of[i].count, own ? contract : NULL);

		if (n < 0)
			return n;
		granted += n;
	}
	return granted;
}

int kvs_policy_pin_shared(struct kvs_policy *policy, const struct drm_kvsink_place *places, uint32_t count,
			  const struct kvs_contract *contract)
{
	struct kvs_places of[KVSINK_MAX_PREFIX_DEPTH + 1] = {{0}};
	int64_t room = left(policy);
	int found = room < 0 ? (int)room : sort_out(policy, places, count, room, of), granted = 0, err = 0;
	bool changes = false;

	for (uint32_t i = 0; i < policy->owners; i++)
		changes |= of[i].count > 0;
	if (found >= 0)
		granted = promote_all(policy, of, contract);
	for (uint32_t i = 0; i <= KVSINK_MAX_PREFIX_DEPTH; i++)
		kvs_places_free(&of[i]);
	if (found >= 0 && changes)
		err = kvs_policy_inherit_budget(policy);
	if (found < 0 || granted < 0)
		return found < 0 ? found : granted;
	return err ? err : found + granted;
}
