// SPDX-License-Identifier: MIT
/*
 * What 1a, 1b and 1c share: the parameters with which they served most attention of a real model
 * (docs/policies.md). They are set once, when the policy is opened; what CONFIG sets later stays.
 */
#include <string.h>

#include "policy.h"

static const struct {
	enum kvsink_param param;
	float value; /* of kind F32, or a number */
	bool is_float;
} parameters[] = {
	{KVSINK_PARAM_SCORE_MODE, KVSINK_SCORE_MEAN, false},
	{KVSINK_PARAM_LOCAL_WINDOW, 8, false},
	{KVSINK_PARAM_ALPHA, 0.95f, true},
	{KVSINK_PARAM_N_DWELL, 4, false},
};

uint32_t kvs_policy_ours_tail(const struct kvs_policy *policy)
{
	return kvs_policy_tail_fit(policy, policy->sram_bytes / 2);
}

/* The window is fixed once scores exist: then it stays as it is. */
int kvs_policy_ours_open(struct kvs_policy *policy)
{
	int err = 0;

	for (size_t i = 0; !err && i < sizeof(parameters) / sizeof(parameters[0]); i++) {
		uint32_t value = (uint32_t)parameters[i].value;

		if (parameters[i].is_float)
			memcpy(&value, &parameters[i].value, sizeof(value));
		err = kvs_policy_set(policy, KVSINK_GROUP_ALL, parameters[i].param, value);
		if (err == -EBUSY)
			err = 0;
	}
	return err;
}
