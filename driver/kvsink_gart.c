// SPDX-License-Identifier: GPL-2.0-only
/*
 * The GART: the table by which the chip finds host pages. Only the kernel writes it.
 *
 * The chip may remember valid entries. So a range is cleared, the chip confirms that it has forgotten it,
 * and only then may the pages behind it be dropped and the range be given out again.
 */
#include <drm/drm_drv.h>
#include <drm/drm_managed.h>
#include <drm/drm_print.h>
#include <linux/dma-mapping.h>
#include <linux/scatterlist.h>

#include "kvsink_gem.h"
#include "kvsink_job.h"

static void kvsink_gart_fini(struct drm_device *dev, void *unused)
{
	drm_mm_takedown(&to_kvsink_device(dev)->gart.mm);
}

int kvsink_gart_init(struct kvsink_device *kdev)
{
	size_t bytes = array_size(kdev->info.gart_pages, sizeof(*kdev->gart.table));

	kdev->gart.table = dmam_alloc_coherent(&kdev->pdev->dev, bytes, &kdev->gart.bus, GFP_KERNEL);
	if (!kdev->gart.table)
		return -ENOMEM;
	drm_mm_init(&kdev->gart.mm, 0, kdev->info.gart_pages);
	return drmm_add_action_or_reset(&kdev->base, kvsink_gart_fini, NULL);
}

static int kvsink_gart_insert(struct kvsink_device *kdev, struct drm_mm_node *node, u64 pages)
{
	int err;

	mutex_lock(&kdev->gart.lock);
	err = drm_mm_insert_node(&kdev->gart.mm, node, pages);
	mutex_unlock(&kdev->gart.lock);
	return err;
}

static void kvsink_gart_release(struct kvsink_device *kdev, struct drm_mm_node *node)
{
	mutex_lock(&kdev->gart.lock);
	drm_mm_remove_node(node);
	mutex_unlock(&kdev->gart.lock);
}

/* -ENOSPC when the GART is full, even of buffers that are about to be freed. */
int kvsink_gart_reserve(struct kvsink_device *kdev, struct drm_mm_node *node, size_t bytes)
{
	int err = kvsink_gart_insert(kdev, node, bytes / KVSINK_GART_PAGE);

	if (err == -ENOSPC) {
		flush_workqueue(kdev->release_wq);
		err = kvsink_gart_insert(kdev, node, bytes / KVSINK_GART_PAGE);
	}
	return err;
}

/* Inside drm_dev_enter(). */
void kvsink_gart_map(struct kvsink_device *kdev, struct drm_mm_node *node, struct sg_table *sgt)
{
	struct sg_dma_page_iter iter;
	u64 page = node->start;

	for_each_sgtable_dma_page(sgt, &iter, 0)
		WRITE_ONCE(kdev->gart.table[page++], sg_page_iter_dma_address(&iter) | KVSINK_GART_VALID);
}

/* From release_wq. Afterwards the chip reaches the pages no more. */
void kvsink_gart_unmap(struct kvsink_device *kdev, struct drm_mm_node *node)
{
	struct kvsink_cmd cmd;
	int err, index;

	if (drm_dev_enter(&kdev->base, &index)) {
		memset(&kdev->gart.table[node->start], 0, node->size * sizeof(*kdev->gart.table));
		drm_dev_exit(index);
	}
	kvsink_logic_build_invalidate(node->start, node->size, &cmd);
	err = kvsink_kernel_run(kdev, &cmd, 1);
	if (err && err != -ENODEV) {
		drm_err(&kdev->base, "invalidation of %llu pages at %llu failed (%d)\n", node->size,
			node->start, err);
		kvsink_device_reset(kdev, NULL); /* which forgets every translation */
	}
	kvsink_gart_release(kdev, node);
}
