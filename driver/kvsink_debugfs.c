// SPDX-License-Identifier: GPL-2.0-only
/*
 * debugfs: rings, HBM and GART as the driver keeps them. Not an interface; for people who debug.
 */
#include <drm/drm_debugfs.h>
#include <drm/drm_print.h>
#include <linux/seq_file.h>

#include "kvsink_device.h"

static int kvsink_debugfs_rings(struct seq_file *m, void *unused)
{
	struct drm_debugfs_entry *entry = m->private;
	struct kvsink_device *kdev = to_kvsink_device(entry->dev);
	u32 i;

	seq_printf(m, "generation %u, %d jobs\n", READ_ONCE(kdev->generation), atomic_read(&kdev->jobs_live));
	for (i = 0; i < kdev->ring_count; i++) {
		struct kvsink_ring *ring = &kdev->rings[i];
		u32 published, done;

		spin_lock(&ring->lock);
		published = ring->published;
		done = ring->done;
		spin_unlock(&ring->lock);
		seq_printf(m, "ring %u: %u published, %u done\n", i, published, done);
	}
	return 0;
}

static int kvsink_debugfs_hbm(struct seq_file *m, void *unused)
{
	struct drm_debugfs_entry *entry = m->private;
	struct kvsink_device *kdev = to_kvsink_device(entry->dev);
	struct drm_printer p = drm_seq_file_printer(m);

	mutex_lock(&kdev->hbm.lock);
	drm_mm_print(&kdev->hbm.mm, &p);
	mutex_unlock(&kdev->hbm.lock);
	return 0;
}

static int kvsink_debugfs_gart(struct seq_file *m, void *unused)
{
	struct drm_debugfs_entry *entry = m->private;
	struct kvsink_device *kdev = to_kvsink_device(entry->dev);
	struct drm_printer p = drm_seq_file_printer(m);

	mutex_lock(&kdev->gart.lock);
	drm_mm_print(&kdev->gart.mm, &p);
	mutex_unlock(&kdev->gart.lock);
	return 0;
}

static const struct drm_debugfs_info kvsink_debugfs_files[] = {
	{"rings", kvsink_debugfs_rings, 0, NULL},
	{"hbm", kvsink_debugfs_hbm, 0, NULL},
	{"gart", kvsink_debugfs_gart, 0, NULL},
};

/* Before drm_dev_register(). */
void kvsink_debugfs_init(struct kvsink_device *kdev)
{
	drm_debugfs_add_files(&kdev->base, kvsink_debugfs_files, ARRAY_SIZE(kvsink_debugfs_files));
}
