// SPDX-License-Identifier: MIT
/*
 * Example: a placement policy of one's own. It pins every n-th token of the prompt, and while decoding goes
 * on every n-th new one, until the SRAM is full. docs/policies.md leads through this file;
 * tests/runtime/test_policy.c runs it.
 *
 * To make it a policy of the library: move it to runtime/src/policy/stride.c and add X(stride) to
 * KVS_POLICIES in policy.h. It then has a name in kvs_policy_open(), sinkctl and kvsink-bench.
 */
#include "policy/policy.h"

#define STRIDE 8u

/* Zeroed when the policy is opened, freed when it is closed. */
struct state {
	uint32_t next; /* token to look at next */
};

/* Called after each STEP_END; policy->stream is what the stream is now. */
static int step(struct kvs_policy *policy)
{
	struct state *state = policy->state;
	struct kvs_places places = {0};
	int err = 0;

	for (; !err && state->next < policy->stream.length; state->next += STRIDE)
		err = kvs_places_add_token(policy, &places, state->next);
	/* What no longer fits is left out: that is no error. */
	err = err ? err : kvs_policy_pin(policy, places.place, places.count, NULL);
	kvs_places_free(&places);
	return err < 0 ? err : 0;
}

const struct kvs_policy_ops kvs_policy_stride = {
	.name = "stride",
	.about = "every 8th token, whole",
	.takes = KVS_TAKES_TAIL,
	.state_bytes = sizeof(struct state),
	.prefilled = step,
	.step = step,
};
