// SPDX-License-Identifier: MIT
/* The first tokens of the stream, whole, as many as fit. */
#include "policy.h"

static int prefilled(struct kvs_policy *policy)
{
	return kvs_policy_pin_tokens(policy, 0, policy->stream.length);
}

const struct kvs_policy_ops kvs_policy_positional = {
	.name = "positional",
	.about = "the first tokens, whole",
	.takes = KVS_TAKES_TAIL,
	.prefilled = prefilled,
};
