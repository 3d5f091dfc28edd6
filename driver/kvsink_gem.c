// SPDX-License-Identifier: GPL-2.0-only
/*
 * Buffers: shmem pages, pinned and mapped for DMA and in the GART from creation to the end. User space maps
 * them shared; host pages outlive the device, so maps keep their contents through reset and unplug.
 */
#include <drm/drm_drv.h>
#include <drm/drm_print.h>
#include <drm/drm_vma_manager.h>
#include <linux/dma-mapping.h>
#include <linux/highmem.h>
#include <linux/vmalloc.h>

#include "kvsink_gem.h"

/* ---- mmap ------------------------------------------------------------------------------------ */

/* By vm_pgoff, not from the start of the VMA: munmap and mprotect split VMAs. */
static vm_fault_t kvsink_bo_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct drm_gem_object *obj = vma->vm_private_data;
	struct kvsink_bo *bo = to_kvsink_bo(obj);
	pgoff_t page = vmf->pgoff - drm_vma_node_start(&obj->vma_node);

	if (page >= obj->size >> PAGE_SHIFT)
		return VM_FAULT_SIGBUS;
	return vmf_insert_pfn(vma, vmf->address, page_to_pfn(bo->base.pages[page]));
}

/* The library's own, for what they count. */
static void kvsink_bo_vm_open(struct vm_area_struct *vma)
{
	drm_gem_shmem_vm_ops.open(vma);
}

static void kvsink_bo_vm_close(struct vm_area_struct *vma)
{
	drm_gem_shmem_vm_ops.close(vma);
}

static const struct vm_operations_struct kvsink_bo_vm_ops = {
	.fault = kvsink_bo_fault,
	.open = kvsink_bo_vm_open,
	.close = kvsink_bo_vm_close,
};

static int kvsink_bo_mmap(struct drm_gem_object *obj, struct vm_area_struct *vma)
{
	if ((vma->vm_flags & (VM_SHARED | VM_MAYWRITE)) == VM_MAYWRITE)
		return -EINVAL; /* a copy-on-write map would not be the buffer */
	return drm_gem_shmem_object_mmap(obj, vma);
}

/* ---- Life ------------------------------------------------------------------------------------ */

/* Under bos.lock. */
static void kvsink_bo_dma_unmap(struct kvsink_device *kdev, struct kvsink_bo *bo)
{
	struct sg_table *sgt = bo->base.sgt;

	lockdep_assert_held(&kdev->bos.lock);
	if (!sgt)
		return;
	bo->base.sgt = NULL;
	dma_unmap_sgtable(&kdev->pdev->dev, sgt, DMA_BIDIRECTIONAL, 0);
	sg_free_table(sgt);
	kfree(sgt);
}

static void kvsink_bo_free_work(struct work_struct *work)
{
	struct kvsink_bo *bo = container_of(work, struct kvsink_bo, free_work);
	struct kvsink_device *kdev = to_kvsink_device(bo->base.base.dev);

	if (drm_mm_node_allocated(&bo->gart))
		kvsink_gart_unmap(kdev, &bo->gart);
	mutex_lock(&kdev->bos.lock);
	kvsink_bo_dma_unmap(kdev, bo); /* not left to the library: unbind waits for this lock, not for it */
	list_del(&bo->link);
	mutex_unlock(&kdev->bos.lock);
	vunmap(bo->vaddr);
	drm_gem_shmem_free(&bo->base);
}

/* The chip must let go of the pages first; who drops the last reference need not wait for that. */
static void kvsink_bo_free(struct drm_gem_object *obj)
{
	struct kvsink_bo *bo = to_kvsink_bo(obj);

	if (drm_mm_node_allocated(&bo->gart))
		queue_work(to_kvsink_device(obj->dev)->release_wq, &bo->free_work);
	else
		kvsink_bo_free_work(&bo->free_work);
}

static const struct drm_gem_object_funcs kvsink_bo_funcs = {
	.free = kvsink_bo_free,
	.print_info = drm_gem_shmem_object_print_info,
	.pin = drm_gem_shmem_object_pin,
	.unpin = drm_gem_shmem_object_unpin,
	.get_sg_table = drm_gem_shmem_object_get_sg_table,
	.mmap = kvsink_bo_mmap,
	.vm_ops = &kvsink_bo_vm_ops,
};

struct drm_gem_object *kvsink_gem_create_object(struct drm_device *dev, size_t size)
{
	struct kvsink_bo *bo = kzalloc(sizeof(*bo), GFP_KERNEL);

	if (!bo)
		return ERR_PTR(-ENOMEM);
	bo->base.base.funcs = &kvsink_bo_funcs;
	INIT_WORK(&bo->free_work, kvsink_bo_free_work);
	INIT_LIST_HEAD(&bo->link);
	return &bo->base.base;
}

/* Pages and their place in the GART; unbind finds the DMA map or there is none. */
static int kvsink_bo_map(struct kvsink_device *kdev, struct kvsink_bo *bo)
{
	struct sg_table *sgt;
	int index;

	if (!drm_dev_enter(&kdev->base, &index))
		return -ENODEV;
	sgt = drm_gem_shmem_get_pages_sgt(&bo->base);
	if (!IS_ERR(sgt))
		kvsink_gart_map(kdev, &bo->gart, sgt);
	drm_dev_exit(index);
	return PTR_ERR_OR_ZERO(sgt);
}

/* The GART bounds what all clients pin together, so its range comes before the pages. */
struct kvsink_bo *kvsink_bo_create(struct kvsink_device *kdev, size_t bytes)
{
	struct drm_gem_shmem_object *shmem = drm_gem_shmem_create(&kdev->base, bytes);
	struct kvsink_bo *bo;
	int err;

	if (IS_ERR(shmem))
		return ERR_CAST(shmem);
	bo = container_of(shmem, struct kvsink_bo, base);
	mutex_lock(&kdev->bos.lock);
	list_add_tail(&bo->link, &kdev->bos.list);
	mutex_unlock(&kdev->bos.lock);
	err = kvsink_gart_reserve(kdev, &bo->gart, shmem->base.size);
	err = err ? err : kvsink_bo_map(kdev, bo);
	if (err) {
		drm_gem_object_put(&shmem->base);
		return ERR_PTR(err);
	}
	return bo;
}

/* For the kernel's own buffers; the map ends with the buffer. */
int kvsink_bo_vmap(struct kvsink_bo *bo)
{
	bo->vaddr = vmap(bo->base.pages, bo->base.base.size >> PAGE_SHIFT, VM_MAP, PAGE_KERNEL);
	return bo->vaddr ? 0 : -ENOMEM;
}

/* Safe in the way of fences: no allocation, no lock. */
void kvsink_bo_write(struct kvsink_bo *bo, u64 offset, const void *data, size_t bytes)
{
	while (bytes) {
		size_t within = offset_in_page(offset);
		size_t part = min_t(size_t, bytes, PAGE_SIZE - within);

		memcpy_to_page(bo->base.pages[offset >> PAGE_SHIFT], within, data, part);
		offset += part;
		data += part;
		bytes -= part;
	}
}

/* Unbind: buffers live on with their files, but not their DMA maps. No DMA happens any more. */
void kvsink_bo_unmap_all(struct kvsink_device *kdev)
{
	struct kvsink_bo *bo;

	mutex_lock(&kdev->bos.lock);
	list_for_each_entry(bo, &kdev->bos.list, link)
		kvsink_bo_dma_unmap(kdev, bo);
	mutex_unlock(&kdev->bos.lock);
}

/* ---- ioctls ---------------------------------------------------------------------------------- */

int kvsink_ioctl_bo_create(struct drm_device *dev, void *data, struct drm_file *drm_file)
{
	struct drm_kvsink_bo_create *args = data;
	struct kvsink_bo *bo;
	int err;

	if (args->flags || !args->size)
		return -EINVAL;
	if (args->size > DRM_KVSINK_MAX_BO_BYTES)
		return -E2BIG;
	bo = kvsink_bo_create(to_kvsink_device(dev), args->size);
	if (IS_ERR(bo))
		return PTR_ERR(bo);
	args->size = bo->base.base.size;
	err = drm_gem_handle_create(drm_file, &bo->base.base, &args->handle);
	drm_gem_object_put(&bo->base.base);
	return err;
}

int kvsink_ioctl_bo_mmap_offset(struct drm_device *dev, void *data, struct drm_file *drm_file)
{
	struct drm_kvsink_bo_mmap_offset *args = data;
	struct drm_gem_object *obj;
	int err;

	if (args->pad)
		return -EINVAL;
	obj = drm_gem_object_lookup(drm_file, args->handle);
	if (!obj)
		return -ENOENT;
	err = drm_gem_create_mmap_offset(obj);
	if (!err)
		args->offset = drm_vma_node_offset_addr(&obj->vma_node);
	drm_gem_object_put(obj);
	return err;
}
