// SPDX-License-Identifier: GPL-2.0-only
/*
 * fdinfo of an open file: what it measured and what it holds. Nothing here asks the device; SRAM is what
 * the chip told last.
 */
#include <drm/drm_file.h>
#include <drm/drm_print.h>

#include "kvsink_device.h"
#include "kvsink_stream.h"

void kvsink_show_fdinfo(struct drm_printer *p, struct drm_file *drm_file)
{
	struct kvsink_file *file = drm_file->driver_priv;
	u32 generation = READ_ONCE(file->kdev->generation);
	struct kvsink_stream *stream;
	u64 hbm = 0, sram = 0;

	mutex_lock(&file->lock);
	list_for_each_entry(stream, &file->streams, link) {
		hbm += atomic64_read(&stream->hbm_bytes);
		if (READ_ONCE(stream->sram_generation) == generation)
			sram += atomic64_read(&stream->sram_bytes);
	}
	mutex_unlock(&file->lock);

	drm_printf(p, "drm-engine-attn:\t%llu ns\n", (u64)atomic64_read(&file->engine_ns));
	if (file->kdev->ring_count > 1)
		drm_printf(p, "drm-engine-capacity-attn:\t%u\n", file->kdev->ring_count);
	drm_printf(p, "drm-total-hbm:\t%llu KiB\n", hbm / SZ_1K);
	/* SRAM is granted in units of 256 bytes, so it is told in bytes. */
	drm_printf(p, "drm-resident-sram:\t%llu\n", sram);
	drm_show_memory_stats(p, drm_file);
}
