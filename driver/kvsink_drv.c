// SPDX-License-Identifier: GPL-2.0-only
/*
 * The module: PCI binding, open files, the ioctl table.
 *
 * Version of the interface:
 *   1.0  streams, SUBMIT with timeline syncobjs, PROMOTE, EVICT, CONFIG, QUERY, REG_READ, ENTRY_READ
 */
#include <drm/drm_accel.h>
#include <drm/drm_drv.h>
#include <drm/drm_gem.h>
#include <drm/drm_ioctl.h>
#include <drm/drm_print.h>
#include <linux/cred.h>
#include <linux/dma-mapping.h>
#include <linux/dmapool.h>
#include <linux/module.h>
#include <linux/slab.h>

#include "kvsink_device.h"
#include "kvsink_gem.h"
#include "kvsink_job.h"
#include "kvsink_stream.h"

unsigned int kvsink_timeout_ms = 10000;
module_param_named(timeout_ms, kvsink_timeout_ms, uint, 0444);
MODULE_PARM_DESC(timeout_ms, "time after which a job that makes no progress has hung (default 10000)");

/* ---- Files ----------------------------------------------------------------------------------- */

static void kvsink_file_release(struct kref *ref)
{
	struct kvsink_file *file = container_of(ref, struct kvsink_file, ref);

	mutex_destroy(&file->lock);
	mutex_destroy(&file->answer_lock);
	kfree(file);
}

void kvsink_file_put(struct kvsink_file *file)
{
	kref_put(&file->ref, kvsink_file_release);
}

static int kvsink_open(struct drm_device *dev, struct drm_file *drm_file)
{
	struct kvsink_file *file = kzalloc(sizeof(*file), GFP_KERNEL);
	int err;

	if (!file)
		return -ENOMEM;
	kref_init(&file->ref);
	file->kdev = to_kvsink_device(dev);
	file->tenant = from_kuid(&init_user_ns, current_uid());
	file->client_id = drm_file->client_id;
	mutex_init(&file->lock);
	mutex_init(&file->answer_lock);
	INIT_LIST_HEAD(&file->streams);
	INIT_LIST_HEAD(&file->published);
	xa_init_flags(&file->prefixes, XA_FLAGS_ALLOC1);
	init_waitqueue_head(&file->jobs_room);
	err = kvsink_queue_init(file->kdev, &file->queue);
	if (err) {
		kvsink_file_put(file);
		return err;
	}
	drm_file->driver_priv = file;
	return 0;
}

/* The end of a file, also of a killed process: what is queued is dropped, what runs ends, then the rest. */
static void kvsink_postclose(struct drm_device *dev, struct drm_file *drm_file)
{
	struct kvsink_file *file = drm_file->driver_priv;

	kvsink_queue_stop(&file->queue);
	kvsink_streams_close(file);
	kvsink_prefixes_close(file);
	kvsink_queue_fini(&file->queue);
	if (file->answer)
		drm_gem_object_put(&file->answer->base.base);
	kvsink_file_put(file);
}

/* ---- The DRM driver -------------------------------------------------------------------------- */

static const struct drm_ioctl_desc kvsink_ioctls[] = {
	DRM_IOCTL_DEF_DRV(KVSINK_DEV_QUERY, kvsink_ioctl_dev_query, 0),
	DRM_IOCTL_DEF_DRV(KVSINK_BO_CREATE, kvsink_ioctl_bo_create, 0),
	DRM_IOCTL_DEF_DRV(KVSINK_BO_MMAP_OFFSET, kvsink_ioctl_bo_mmap_offset, 0),
	DRM_IOCTL_DEF_DRV(KVSINK_STREAM_CREATE, kvsink_ioctl_stream_create, 0),
	DRM_IOCTL_DEF_DRV(KVSINK_STREAM_RESERVE, kvsink_ioctl_stream_reserve, 0),
	DRM_IOCTL_DEF_DRV(KVSINK_STREAM_DESTROY, kvsink_ioctl_stream_destroy, 0),
	DRM_IOCTL_DEF_DRV(KVSINK_SUBMIT, kvsink_ioctl_submit, 0),
	DRM_IOCTL_DEF_DRV(KVSINK_PROMOTE, kvsink_ioctl_promote, 0),
	DRM_IOCTL_DEF_DRV(KVSINK_EVICT, kvsink_ioctl_evict, 0),
	DRM_IOCTL_DEF_DRV(KVSINK_CONFIG_GET, kvsink_ioctl_config_get, 0),
	DRM_IOCTL_DEF_DRV(KVSINK_CONFIG_SET, kvsink_ioctl_config_set, 0),
	DRM_IOCTL_DEF_DRV(KVSINK_QUERY, kvsink_ioctl_query, 0),
	DRM_IOCTL_DEF_DRV(KVSINK_REG_READ, kvsink_ioctl_reg_read, 0),
	DRM_IOCTL_DEF_DRV(KVSINK_ENTRY_READ, kvsink_ioctl_entry_read, 0),
	DRM_IOCTL_DEF_DRV(KVSINK_CONTRACT, kvsink_ioctl_contract, 0),
	DRM_IOCTL_DEF_DRV(KVSINK_SWAP_OUT, kvsink_ioctl_swap_out, 0),
	DRM_IOCTL_DEF_DRV(KVSINK_SWAP_IN, kvsink_ioctl_swap_in, 0),
	DRM_IOCTL_DEF_DRV(KVSINK_PREFIX_PUBLISH, kvsink_ioctl_prefix_publish, 0),
	DRM_IOCTL_DEF_DRV(KVSINK_PREFIX_OPEN, kvsink_ioctl_prefix_open, 0),
	DRM_IOCTL_DEF_DRV(KVSINK_PREFIX_CLOSE, kvsink_ioctl_prefix_close, 0),
	DRM_IOCTL_DEF_DRV(KVSINK_PREFIX_EXPORT, kvsink_ioctl_prefix_export, 0),
	DRM_IOCTL_DEF_DRV(KVSINK_PREFIX_ATTACH, kvsink_ioctl_prefix_attach, 0),
	DRM_IOCTL_DEF_DRV(KVSINK_PREFIX_DETACH, kvsink_ioctl_prefix_detach, 0),
	DRM_IOCTL_DEF_DRV(KVSINK_WINDOW_BEGIN, kvsink_ioctl_window_begin, 0),
	DRM_IOCTL_DEF_DRV(KVSINK_WINDOW_COMMIT, kvsink_ioctl_window_commit, 0),
};

static const struct file_operations kvsink_fops = {
	.owner = THIS_MODULE,
	DRM_ACCEL_FOPS,
	.show_fdinfo = drm_show_fdinfo,
};

static const struct drm_driver kvsink_driver = {
	.driver_features = DRIVER_COMPUTE_ACCEL | DRIVER_GEM | DRIVER_SYNCOBJ | DRIVER_SYNCOBJ_TIMELINE,
	.open = kvsink_open,
	.postclose = kvsink_postclose,
	.gem_create_object = kvsink_gem_create_object,
	.ioctls = kvsink_ioctls,
	.num_ioctls = ARRAY_SIZE(kvsink_ioctls),
	.fops = &kvsink_fops,
	.show_fdinfo = kvsink_show_fdinfo,
	.name = "kvsink",
	.desc = "kvsink attention accelerator",
	.major = 1,
	.minor = 0,
};

/* ---- PCI ------------------------------------------------------------------------------------- */

static int kvsink_map_bars(struct kvsink_device *kdev)
{
	struct pci_dev *pdev = kdev->pdev;

	if (pci_resource_len(pdev, KVSINK_BAR_REGS) < KVSINK_REGS_BYTES)
		return dev_err_probe(&pdev->dev, -ENODEV, "BAR%u is too small\n", KVSINK_BAR_REGS);
	kdev->regs = pcim_iomap_region(pdev, KVSINK_BAR_REGS, "kvsink-regs");
	if (IS_ERR(kdev->regs))
		return PTR_ERR(kdev->regs);
	kdev->sram = pcim_iomap_region(pdev, KVSINK_BAR_SRAM, "kvsink-sram");
	return PTR_ERR_OR_ZERO(kdev->sram);
}

static void kvsink_destroy_pool(void *pool)
{
	dma_pool_destroy(pool);
}

static int kvsink_create_pool(struct kvsink_device *kdev)
{
	struct device *parent = &kdev->pdev->dev;

	kdev->cmd_pool = dma_pool_create("kvsink-cmds", parent, sizeof(struct kvsink_job_mem), 64, 0);
	if (!kdev->cmd_pool)
		return -ENOMEM;
	return devm_add_action_or_reset(parent, kvsink_destroy_pool, kdev->cmd_pool);
}

static int kvsink_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct kvsink_device *kdev;
	int err;

	kdev = devm_drm_dev_alloc(&pdev->dev, &kvsink_driver, struct kvsink_device, base);
	if (IS_ERR(kdev))
		return PTR_ERR(kdev);
	kdev->pdev = pdev;
	pci_set_drvdata(pdev, kdev);
	err = pcim_enable_device(pdev);
	err = err ? err : dma_set_mask_and_coherent(&pdev->dev, DMA_BIT_MASK(64));
	err = err ? err : kvsink_map_bars(kdev);
	err = err ? err : kvsink_create_pool(kdev);
	err = err ? err : kvsink_device_init(kdev);
	if (err)
		return err;
	kvsink_debugfs_init(kdev);
	err = drm_dev_register(&kdev->base, 0);
	if (err) {
		kvsink_device_quiesce(kdev);
		return err;
	}
	drm_info(&kdev->base, "%llu KiB SRAM, %llu MiB HBM, %u rings, generation %u\n",
		 kdev->info.sram_bytes >> 10, kdev->info.hbm_bytes >> 20, kdev->ring_count, kdev->generation);
	return 0;
}

static void kvsink_remove(struct pci_dev *pdev)
{
	struct kvsink_device *kdev = pci_get_drvdata(pdev);

	drm_dev_unplug(&kdev->base);
	kvsink_device_quiesce(kdev);
	kvsink_bo_unmap_all(kdev);
}

/* DMA must be quiet before another kernel starts. */
static void kvsink_shutdown(struct pci_dev *pdev)
{
	struct kvsink_device *kdev = pci_get_drvdata(pdev);

	drm_dev_unplug(&kdev->base);
	kvsink_device_quiesce(kdev);
}

static void kvsink_reset_prepare(struct pci_dev *pdev)
{
	kvsink_device_flr_begin(pci_get_drvdata(pdev));
}

static void kvsink_reset_done(struct pci_dev *pdev)
{
	kvsink_device_flr_end(pci_get_drvdata(pdev));
}

static const struct pci_error_handlers kvsink_error_handlers = {
	.reset_prepare = kvsink_reset_prepare,
	.reset_done = kvsink_reset_done,
};

static const struct pci_device_id kvsink_ids[] = {{PCI_DEVICE(KVSINK_PCI_VENDOR, KVSINK_PCI_DEVICE)}, {}};
MODULE_DEVICE_TABLE(pci, kvsink_ids);

static struct pci_driver kvsink_pci_driver = {
	.name = "kvsink",
	.id_table = kvsink_ids,
	.probe = kvsink_probe,
	.remove = kvsink_remove,
	.shutdown = kvsink_shutdown,
	.err_handler = &kvsink_error_handlers,
};
module_pci_driver(kvsink_pci_driver);

MODULE_DESCRIPTION("kvsink attention accelerator");
MODULE_LICENSE("GPL");
