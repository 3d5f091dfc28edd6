/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Buffers: host pages that the chip reaches through the GART; and ranges of HBM, which only the kernel
 * ever names.
 */
#ifndef KVSINK_GEM_H
#define KVSINK_GEM_H

#include <drm/drm_gem_shmem_helper.h>

#include "kvsink_device.h"

struct kvsink_bo {
	/** @base: pages, pinned and mapped for DMA for as long as the buffer lives. */
	struct drm_gem_shmem_object base;
	/** @gart: where the chip sees it, in pages. */
	struct drm_mm_node gart;
	/** @link: in kvsink_device.bos. */
	struct list_head link;
	/** @vaddr: kernel map of the pages, for the kernel's own buffers. */
	void *vaddr;
	/** @free_work: the end of the buffer, which waits for the chip. */
	struct work_struct free_work;
};

#define to_kvsink_bo(obj) container_of(to_drm_gem_shmem_obj(obj), struct kvsink_bo, base)

struct kvsink_hbm_range {
	/** @node: offset and bytes. */
	struct drm_mm_node node;
	/** @link: in its owner's list, or in kvsink_device.hbm.dirty. */
	struct list_head link;
};

/* kvsink_gem.c */
struct drm_gem_object *kvsink_gem_create_object(struct drm_device *dev, size_t size);
struct kvsink_bo *kvsink_bo_create(struct kvsink_device *kdev, size_t bytes);
int kvsink_bo_vmap(struct kvsink_bo *bo);
void kvsink_bo_write(struct kvsink_bo *bo, u64 offset, const void *data, size_t bytes);
void kvsink_bo_unmap_all(struct kvsink_device *kdev);

static inline u64 kvsink_bo_gart_offset(const struct kvsink_bo *bo)
{
	return bo->gart.start * KVSINK_GART_PAGE;
}

/* kvsink_gart.c */
int kvsink_gart_init(struct kvsink_device *kdev);
int kvsink_gart_reserve(struct kvsink_device *kdev, struct drm_mm_node *node, size_t bytes);
void kvsink_gart_map(struct kvsink_device *kdev, struct drm_mm_node *node, struct sg_table *sgt);
void kvsink_gart_unmap(struct kvsink_device *kdev, struct drm_mm_node *node);

/* kvsink_hbm.c */
int kvsink_hbm_init(struct kvsink_device *kdev);
struct kvsink_hbm_range *kvsink_hbm_alloc(struct kvsink_device *kdev, u64 bytes);
void kvsink_hbm_free_clean(struct kvsink_device *kdev, struct list_head *ranges);
void kvsink_hbm_free(struct kvsink_device *kdev, struct list_head *ranges);
int kvsink_hbm_carve(struct kvsink_device *kdev, struct list_head *ranges, u64 start, u64 bytes,
		     struct list_head *to);
void kvsink_hbm_lose(struct kvsink_device *kdev, struct list_head *ranges);
int kvsink_hbm_scrub_all(struct kvsink_device *kdev);

#endif
