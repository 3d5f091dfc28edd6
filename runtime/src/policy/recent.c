// SPDX-License-Identifier: MIT
/*
 * The newest tokens. With a tail (its own takes all SRAM) they move on with the stream; what the tail leaves,
 * or all of it with tail_tokens 0, is pinned once: the newest tokens of the prompt.
 */
#include "policy.h"

static uint32_t own_tail(const struct kvs_policy *policy)
{
	return kvs_policy_tail_fit(policy, policy->sram_bytes);
}

static int prefilled(struct kvs_policy *policy)
{
	struct kvs_places places = {0};
	int err = 0;

	for (uint32_t t = policy->stream.length; !err && t--;)
		if (!kvs_policy_in_tail(policy, t))
			err = kvs_places_add_token(policy, &places, t);
	err = err ? err : kvs_policy_pin(policy, places.place, places.count, NULL);
	kvs_places_free(&places);
	return err < 0 ? err : 0;
}

const struct kvs_policy_ops kvs_policy_recent = {
	.name = "recent",
	.about = "the newest tokens, in a tail that takes all SRAM",
	.takes = KVS_TAKES_TAIL,
	.own_tail = own_tail,
	.prefilled = prefilled,
};
