/* SPDX-License-Identifier: MIT */
/* PROMOTE and EVICT of one place, as most tests want them. */
#ifndef KVSINK_TEST_PLACE_H
#define KVSINK_TEST_PLACE_H

#include "kvsink.h"

static inline int promote_one(struct kvs_device *device, uint64_t stream, uint32_t token, uint16_t begin,
			      uint16_t end, uint64_t heads, struct kvs_grant *grant)
{
	const struct drm_kvsink_place place = {token, begin, end, heads};

	return kvs_promote(device, stream, &place, 1, NULL, grant);
}

static inline int evict_one(struct kvs_device *device, uint64_t stream, uint32_t token, uint16_t begin,
			    uint16_t end)
{
	const struct drm_kvsink_place place = {token, begin, end, UINT64_MAX};

	return kvs_evict(device, stream, &place, 1);
}

#endif
