// SPDX-License-Identifier: MIT
/* Embodiment 1C: STEP_END places by itself (PLACEMENT is AUTO). There is nothing left to do for software. */
#include "policy.h"

const struct kvs_policy_ops kvs_policy_1c = {
	.name = "1c",
	.about = "the chip's EMA and comparator, carried out by STEP_END itself, and a tail",
	.takes = KVS_TAKES_TAIL,
	.placement = KVSINK_PLACEMENT_AUTO,
	.own_tail = kvs_policy_half_tail,
	.open = kvs_policy_ours_open,
	.prefilled = kvs_policy_ours_prefilled,
};
