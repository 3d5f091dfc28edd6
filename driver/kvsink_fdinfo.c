// SPDX-License-Identifier: GPL-2.0-only
/*
 * fdinfo of an open file: what it measured and what it holds. Nothing here asks the device; SRAM is what
 * the chip told last. A prefix is its publisher's until its memory is free, whoever begins with it.
 */
#include <drm/drm_file.h>
#include <drm/drm_print.h>

#include "kvsink_device.h"
#include "kvsink_stream.h"

/* Add up a list of the file's, under file->lock. */
static void kvsink_sum(struct kvsink_file *file, struct list_head *streams, u64 *hbm, u64 *sram)
{
	u32 generation = READ_ONCE(file->kdev->generation);
	struct kvsink_stream *stream;

	list_for_each_entry(stream, streams, link) {
		*hbm += atomic64_read(&stream->hbm_bytes);
		if (READ_ONCE(stream->sram_generation) == generation)
			*sram += atomic64_read(&stream->sram_bytes);
	}
}

void kvsink_show_fdinfo(struct drm_printer *p, struct drm_file *drm_file)
{
	struct kvsink_file *file = drm_file->driver_priv;
	u64 own = 0, shared = 0, sram = 0;

	mutex_lock(&file->lock);
	kvsink_sum(file, &file->streams, &own, &sram);
	kvsink_sum(file, &file->published, &shared, &sram);
	mutex_unlock(&file->lock);

	drm_printf(p, "drm-engine-attn:\t%llu ns\n", (u64)atomic64_read(&file->engine_ns));
	if (file->kdev->ring_count > 1)
		drm_printf(p, "drm-engine-capacity-attn:\t%u\n", file->kdev->ring_count);
	drm_printf(p, "drm-total-hbm:\t%llu KiB\n", (own + shared) / SZ_1K);
	drm_printf(p, "drm-shared-hbm:\t%llu KiB\n", shared / SZ_1K);
	/* SRAM is granted in units of 256 bytes, so it is told in bytes. */
	drm_printf(p, "drm-resident-sram:\t%llu\n", sram);
	drm_show_memory_stats(p, drm_file);
}
