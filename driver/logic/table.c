// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Questions that the tables of kvsink_hw.h answer: errno of a result code, who may read a register, how
 * large a record is; and the check of an array header.
 */
#include "logic.h"

enum kvsink_visibility { VIS_PUBLIC, VIS_ADMIN, VIS_KERNEL };

int kvsink_logic_errno(uint32_t code)
{
	switch (code) {
#define X(name, value, err, doc)                                                                             \
	case value:                                                                                          \
		return -(err);
		KVSINK_CODES(X)
#undef X
	default:
		return -EIO;
	}
}

/* Visibility of a register outside the rings and counters, VIS_KERNEL if there is none. */
static int plain_visibility(uint32_t offset)
{
	switch (offset) {
#define X(name, offset_, access, vis, doc)                                                                   \
	case offset_:                                                                                        \
		return VIS_##vis;
		KVSINK_REGS(X)
#undef X
	default:
		return VIS_KERNEL;
	}
}

static int ring_visibility(uint32_t offset, uint32_t rings)
{
	uint32_t ring = (offset - KVSINK_RING_BASE) / KVSINK_RING_STRIDE;

	if (ring >= rings)
		return VIS_KERNEL;
	switch ((offset - KVSINK_RING_BASE) % KVSINK_RING_STRIDE) {
#define X(name, offset_, access, vis, doc)                                                                   \
	case offset_:                                                                                        \
		return VIS_##vis;
		KVSINK_RING_REGS(X)
#undef X
	default:
		return VIS_KERNEL;
	}
}

int kvsink_logic_reg_access(uint32_t offset, uint32_t rings, bool *wide)
{
	int vis;

	*wide = offset >= KVSINK_COUNTER_BASE && offset < KVSINK_COUNTER_BASE + 8 * KVSINK_COUNTER_COUNT;
	if (*wide)
		vis = offset % 8 ? VIS_KERNEL : VIS_ADMIN;
	else if (offset >= KVSINK_RING_BASE && offset < KVSINK_COUNTER_BASE)
		vis = ring_visibility(offset, rings);
	else
		vis = plain_visibility(offset);
	return vis == VIS_KERNEL ? -ENOENT : vis;
}

uint32_t kvsink_logic_record_bytes(uint32_t query_type)
{
	switch (query_type) {
	case DRM_KVSINK_QUERY_STREAMS:
		return sizeof(struct kvsink_stream_rec);
	case DRM_KVSINK_QUERY_TAGS:
		return sizeof(struct kvsink_tag_rec);
	case DRM_KVSINK_QUERY_COUNTERS:
	case DRM_KVSINK_QUERY_PARAMS:
		return sizeof(uint64_t);
	case DRM_KVSINK_QUERY_SCORES:
		return sizeof(struct kvsink_score_rec);
	case DRM_KVSINK_QUERY_SINKS:
		return sizeof(struct kvsink_sink_rec);
	case DRM_KVSINK_QUERY_VERDICTS:
		return sizeof(struct kvsink_verdict_rec);
	case DRM_KVSINK_QUERY_PROFILE:
		return sizeof(struct kvsink_profile_rec);
	case DRM_KVSINK_QUERY_SPANS:
		return sizeof(struct kvsink_span_rec);
	case DRM_KVSINK_QUERY_EVENTS:
		return sizeof(struct kvsink_event_rec);
	default:
		return 0;
	}
}

int kvsink_logic_array(const struct drm_kvsink_array *array, uint32_t element, uint32_t min, uint32_t max)
{
	if (array->count < min)
		return -EINVAL;
	if (array->count > max)
		return -E2BIG;
	if (!array->count)
		return 0;
	if (array->stride < element)
		return -EINVAL;
	return array->stride > KVSINK_LOGIC_MAX_STRIDE ? -E2BIG : 0;
}
