// SPDX-License-Identifier: MIT
/*
 * Places that somebody chose with knowledge of the whole run. Each is pinned, in the order given, as soon as
 * its token is part of the stream; none ever leaves. The limit of what a static placement can do.
 */
#include <stdlib.h>

#include "policy.h"

struct state {
	bool *done; /* [pin_count] pinned, or found not to fit */
};

static int open_pins(struct kvs_policy *policy)
{
	struct state *state = policy->state;

	state->done = calloc(policy->options.pin_count, sizeof(*state->done));
	return state->done ? 0 : kvs_fail(policy->device, -ENOMEM, "policy: out of memory");
}

static int pin_new(struct kvs_policy *policy)
{
	struct state *state = policy->state;
	struct kvs_places places = {0};
	int err = 0;

	for (unsigned i = 0; !err && i < policy->options.pin_count; i++) {
		const struct drm_kvsink_place *pin = &policy->pins[i];

		if (state->done[i] || pin->token >= policy->stream.length)
			continue;
		state->done[i] = true;
		err = kvs_places_add_place(policy, &places, pin);
	}
	err = err ? err : kvs_policy_pin(policy, places.place, places.count, NULL);
	kvs_places_free(&places);
	return err < 0 ? err : 0;
}

static void close_pins(struct kvs_policy *policy)
{
	struct state *state = policy->state;

	free(state->done);
}

const struct kvs_policy_ops kvs_policy_hindsight = {
	.name = "hindsight",
	.about = "given places, pinned as soon as they exist: the limit of static placement",
	.takes = KVS_TAKES_TAIL | KVS_TAKES_PINS,
	.state_bytes = sizeof(struct state),
	.open = open_pins,
	.prefilled = pin_new,
	.step = pin_new,
	.close = close_pins,
};
