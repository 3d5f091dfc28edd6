// SPDX-License-Identifier: MIT
/*
 * StreamingLLM (arXiv 2309.17453) as a placement: the first four tokens and the newest ones. Rows in between
 * are read from HBM instead of being dropped, so the output stays exact.
 */
#include "policy.h"

#define SINKS 4u

static uint32_t own_tail(const struct kvs_policy *policy)
{
	uint64_t sinks = 0;

	for (uint32_t l = 0, run; l < policy->stream.layers; l = run) {
		struct drm_kvsink_place place = {0, (uint16_t)l, 0, policy->heads[l]};

		for (run = l + 1; run < policy->stream.layers && policy->heads[run] == place.head_mask;)
			run++;
		place.layer_end = (uint16_t)run;
		sinks += SINKS * kvs_policy_entry_bytes(policy, &place);
	}
	return sinks < policy->sram_bytes ? kvs_policy_tail_fit(policy, policy->sram_bytes - sinks) : 0;
}

static int prefilled(struct kvs_policy *policy)
{
	return kvs_policy_pin_tokens(policy, 0,
				     policy->stream.length < SINKS ? policy->stream.length : SINKS);
}

const struct kvs_policy_ops kvs_policy_streamingllm = {
	.name = "streamingllm",
	.about = "the first 4 tokens and a tail of the newest",
	.takes = KVS_TAKES_TAIL,
	.own_tail = own_tail,
	.prefilled = prefilled,
};
