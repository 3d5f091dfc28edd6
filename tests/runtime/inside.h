/* SPDX-License-Identifier: MIT */
/*
 * Behind the library's surface: the simulated chip of a rig, its memory, records of its streams. For tests of
 * what must not stay behind.
 */
#ifndef KVSINK_TEST_INSIDE_H
#define KVSINK_TEST_INSIDE_H

#include <stdlib.h>
#include <string.h>

#include "internal.h"
#include "rig.h"
#include "sim.h"

static inline struct sim_chip *chip_of(const struct rig *rig)
{
	return ((struct sim_file *)rig->device->backend.ctx)->chip;
}

/* Does the line about the last failure hold the text? */
static inline bool said(const struct rig *rig, const char *text)
{
	return strstr(kvs_device_error(rig->device), text);
}

/* Of the stream or prefix; zeros if there is none. */
static inline struct kvsink_stream_rec record_of(struct rig *rig, uint64_t id)
{
	struct kvsink_stream_rec rec = {0};
	size_t bytes;
	void *list;

	if (kvs_query(rig->device, DRM_KVSINK_QUERY_STREAMS, id, 0, &list, &bytes) != 1)
		return rec;
	memcpy(&rec, list, sizeof(rec));
	free(list);
	return rec;
}

static inline struct kvsink_stream_rec record(struct rig *rig, const struct rig_stream *stream)
{
	return record_of(rig, kvs_stream_id(stream->kvs));
}

static inline uint64_t free_hbm(const struct rig *rig)
{
	const struct sim_space *space = &chip_of(rig)->hbm;
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < space->used; i++)
		bytes += space->free[i].size;
	return bytes;
}

static inline bool hbm_is_clear(const struct rig *rig)
{
	const struct kvsink_chip_config *config = &chip_of(rig)->options.config;

	for (uint64_t at = 0; at < config->hbm_bytes; at++)
		if (config->hbm[at])
			return false;
	return true;
}

#endif
