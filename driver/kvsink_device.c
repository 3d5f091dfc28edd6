// SPDX-License-Identifier: GPL-2.0-only
/*
 * Bring-up, reset and stop of the chip, and the parts of the device that outlive unbind.
 *
 * A reset keeps the schedulers but ends every job in flight with an error: nothing is run again, the
 * runtime resubmits by the contents-lost generation. reset_lock is held for writing throughout.
 */
#include <drm/drm_drv.h>
#include <drm/drm_managed.h>
#include <drm/drm_print.h>
#include <linux/iopoll.h>

#include "kvsink_device.h"
#include "kvsink_gem.h"
#include "kvsink_job.h"
#include "kvsink_stream.h"
#include "kvsink_trace.h"

#define KVSINK_RESET_TIMEOUT_US 1000000

/* A 64-bit counter; inside drm_dev_enter(). */
u64 kvsink_device_counter(struct kvsink_device *kdev, u32 offset)
{
	u32 lo, hi;

	spin_lock(&kdev->counter_lock);
	lo = kvsink_read(kdev, offset);
	hi = kvsink_read(kdev, offset + 4);
	spin_unlock(&kdev->counter_lock);
	return (u64)hi << 32 | lo;
}

static void kvsink_write_control(struct kvsink_device *kdev, u32 value)
{
	kvsink_write(kdev, KVSINK_REG_CONTROL, value);
}

static int kvsink_wait_ready(struct kvsink_device *kdev)
{
	u32 status;

	return readl_poll_timeout(kdev->regs + KVSINK_REG_STATUS, status,
				  status != ~0u && (status & KVSINK_STATUS_READY_MASK), 100,
				  KVSINK_RESET_TIMEOUT_US);
}

/* Program what a reset forgets, and let the rings run. */
static int kvsink_device_program(struct kvsink_device *kdev)
{
	u32 i;

	if (kvsink_read(kdev, KVSINK_REG_ID) != KVSINK_ID_MAGIC)
		return -ENODEV;
	kvsink_write_bus(kdev, KVSINK_REG_GART_BASE_LO, kdev->gart.bus);
	for (i = 0; i < kdev->ring_count; i++)
		kvsink_ring_start(&kdev->rings[i]);
	pci_set_master(kdev->pdev);
	kvsink_write(kdev, KVSINK_REG_IRQ_STATUS, ~0u);
	kvsink_write(kdev, KVSINK_REG_IRQ_MASK, (u32)GENMASK(kdev->ring_count - 1, 0) | KVSINK_IRQ_ERROR);
	WRITE_ONCE(kdev->generation, kvsink_read(kdev, KVSINK_REG_GENERATION));
	kvsink_write_control(kdev, KVSINK_CONTROL_ENABLE_MASK);
	return 0;
}

/*
 * Engine reset, then program again. Afterwards buffers of jobs in flight are free to go, so a chip that did
 * not stop gets no DMA.
 */
static int kvsink_device_start(struct kvsink_device *kdev)
{
	int err;

	kvsink_write_control(kdev, KVSINK_CONTROL_RESET_MASK);
	err = kvsink_wait_ready(kdev);
	err = err ? err : kvsink_device_program(kdev);
	if (err)
		pci_clear_master(kdev->pdev);
	return err;
}

/* No more interrupts, no more DMA, if the device still answers. */
static void kvsink_device_stop(struct kvsink_device *kdev)
{
	if (kvsink_read(kdev, KVSINK_REG_ID) != KVSINK_ID_MAGIC)
		return;
	kvsink_write(kdev, KVSINK_REG_IRQ_MASK, 0);
	kvsink_write_control(kdev, KVSINK_CONTROL_RESET_MASK);
	if (kvsink_wait_ready(kdev))
		drm_err(&kdev->base, "the chip does not stop\n");
	pci_clear_master(kdev->pdev);
}

/* Stop feeding the rings, and keep everybody out until kvsink_device_reset_end(). */
static void kvsink_device_reset_begin(struct kvsink_device *kdev)
{
	u32 i;

	down_write(&kdev->reset_lock);
	for (i = 0; i < kdev->ring_count; i++)
		drm_sched_wqueue_stop(&kdev->rings[i].sched);
}

/* End every job in flight: @guilty with ETIME, the others with @error. */
static void kvsink_device_reset_end(struct kvsink_device *kdev, struct kvsink_job *guilty, int error)
{
	u32 i;

	for (i = 0; i < kdev->ring_count; i++)
		kvsink_ring_abort(&kdev->rings[i], guilty, error);
	for (i = 0; i < kdev->ring_count; i++)
		drm_sched_wqueue_start(&kdev->rings[i].sched);
	up_write(&kdev->reset_lock);
}

void kvsink_device_reset(struct kvsink_device *kdev, struct kvsink_job *guilty)
{
	int err = -ENODEV, index;

	kvsink_device_reset_begin(kdev);
	if (drm_dev_enter(&kdev->base, &index)) {
		err = kvsink_device_start(kdev);
		if (err)
			drm_err(&kdev->base, "engine reset failed (%d)\n", err);
		else
			drm_info(&kdev->base, "engine reset, generation %u\n", kdev->generation);
		drm_dev_exit(index);
	}
	trace_kvsink_reset(kdev, kdev->generation, err);
	kvsink_device_reset_end(kdev, guilty, -ECANCELED);
}

static void kvsink_workqueues_fini(struct drm_device *dev, void *unused)
{
	struct kvsink_device *kdev = to_kvsink_device(dev);

	/* Every file is closed: what is left ends by itself, and may still queue releases. */
	wait_event(kdev->jobs_idle, !atomic_read(&kdev->jobs_live));
	destroy_workqueue(kdev->release_wq);
}

static void kvsink_timeout_wq_fini(struct drm_device *dev, void *unused)
{
	destroy_workqueue(to_kvsink_device(dev)->timeout_wq);
}

static void kvsink_streams_fini(struct drm_device *dev, void *unused)
{
	xa_destroy(&to_kvsink_device(dev)->streams);
}

static void kvsink_queue_release(struct drm_device *dev, void *unused)
{
	kvsink_queue_stop(&to_kvsink_device(dev)->queue);
	kvsink_queue_fini(&to_kvsink_device(dev)->queue);
}

static int kvsink_device_init_locks(struct kvsink_device *kdev)
{
	struct drm_device *dev = &kdev->base;
	int err;

	init_rwsem(&kdev->reset_lock);
	spin_lock_init(&kdev->counter_lock);
	atomic_set(&kdev->jobs_live, 0);
	init_waitqueue_head(&kdev->jobs_idle);
	INIT_LIST_HEAD(&kdev->bos.list);
	INIT_LIST_HEAD(&kdev->hbm.dirty);
	INIT_LIST_HEAD(&kdev->hbm.lost);
	atomic64_set(&kdev->next_stream, 0);
	xa_init(&kdev->streams);
	err = drmm_add_action_or_reset(dev, kvsink_streams_fini, NULL);
	err = err ? err : kvsink_ring_block_init(kdev);
	err = err ? err : drmm_mutex_init(dev, &kdev->bos.lock);
	err = err ? err : drmm_mutex_init(dev, &kdev->gart.lock);
	return err ? err : drmm_mutex_init(dev, &kdev->hbm.lock);
}

/* Actions run last to first: release_wq drains before the kernel's queue, that before the schedulers. */
static int kvsink_device_init_queues(struct kvsink_device *kdev)
{
	struct drm_device *dev = &kdev->base;
	u32 i;
	int err;

	kdev->timeout_wq = alloc_ordered_workqueue("kvsink-timeout", 0);
	if (!kdev->timeout_wq)
		return -ENOMEM;
	err = drmm_add_action_or_reset(dev, kvsink_timeout_wq_fini, NULL);
	for (i = 0; !err && i < kdev->ring_count; i++)
		err = kvsink_ring_init(kdev, i);
	if (err)
		return err;
	err = kvsink_queue_init(kdev, &kdev->queue);
	err = err ? err : drmm_add_action_or_reset(dev, kvsink_queue_release, NULL);
	if (err)
		return err;
	kdev->release_wq = alloc_workqueue("kvsink-release", WQ_UNBOUND, 0);
	if (!kdev->release_wq)
		return -ENOMEM;
	return drmm_add_action_or_reset(dev, kvsink_workqueues_fini, NULL);
}

static int kvsink_device_read_info(struct kvsink_device *kdev)
{
	struct drm_kvsink_dev_info *info = &kdev->info;

	if (kvsink_read(kdev, KVSINK_REG_ID) != KVSINK_ID_MAGIC)
		return dev_err_probe(&kdev->pdev->dev, -ENODEV,
				     "register ID reads 0x%08x, 0x%08x is wanted\n",
				     kvsink_read(kdev, KVSINK_REG_ID), KVSINK_ID_MAGIC);
	info->hw_version = kvsink_read(kdev, KVSINK_REG_VERSION);
	if (info->hw_version >> 16 != KVSINK_HW_VERSION >> 16)
		return dev_err_probe(&kdev->pdev->dev, -ENODEV, "register interface %u, %u is wanted\n",
				     info->hw_version >> 16, KVSINK_HW_VERSION >> 16);
	info->caps = kvsink_read(kdev, KVSINK_REG_CAPS);
	info->sram_bytes = kvsink_read(kdev, KVSINK_REG_SRAM_BYTES);
	info->hbm_bytes = (u64)kvsink_read(kdev, KVSINK_REG_HBM_MIB) << 20;
	info->tags = kvsink_read(kdev, KVSINK_REG_TAG_COUNT);
	info->streams = kvsink_read(kdev, KVSINK_REG_STREAM_COUNT);
	info->rings = kvsink_read(kdev, KVSINK_REG_RING_COUNT);
	info->ring_slots = kvsink_read(kdev, KVSINK_REG_RING_SLOTS);
	info->gart_pages = kvsink_read(kdev, KVSINK_REG_GART_PAGES);
	info->burst_bytes = kvsink_read(kdev, KVSINK_REG_BURST_BYTES);
	info->max_lease_ns = KVSINK_MAX_LEASE_NS;
	if (!info->rings || info->rings > KVSINK_MAX_RINGS || !is_power_of_2(info->ring_slots) ||
	    !info->gart_pages || !info->hbm_bytes ||
	    info->sram_bytes > pci_resource_len(kdev->pdev, KVSINK_BAR_SRAM))
		return dev_err_probe(&kdev->pdev->dev, -ENODEV, "the chip's sizes make no sense\n");
	return 0;
}

/* A function-level reset forgets the streams of whoever drove the chip before. */
static int kvsink_device_cold_reset(struct kvsink_device *kdev)
{
	struct pci_dev *pdev = kdev->pdev;
	int err;

	pci_save_state(pdev);
	err = pcie_reset_flr(pdev, PCI_RESET_DO_RESET);
	pci_restore_state(pdev);
	return err ? dev_err_probe(&pdev->dev, err, "function-level reset failed\n") : 0;
}

/* Around a function-level reset that somebody else does: nothing survives it, streams included. */
void kvsink_device_flr_begin(struct kvsink_device *kdev)
{
	kvsink_device_reset_begin(kdev);
}

void kvsink_device_flr_end(struct kvsink_device *kdev)
{
	int err = -ENODEV, index;

	if (drm_dev_enter(&kdev->base, &index)) {
		err = kvsink_device_start(kdev);
		drm_dev_exit(index);
	}
	if (err)
		drm_err(&kdev->base, "the chip does not start after a function-level reset (%d)\n", err);
	trace_kvsink_reset(kdev, kdev->generation, err);
	kvsink_device_reset_end(kdev, NULL, -ECANCELED);
}

/* The chip stops and whatever was in flight ends: before the binding ends, after drm_dev_unplug(). */
void kvsink_device_quiesce(struct kvsink_device *kdev)
{
	kvsink_device_reset_begin(kdev);
	kvsink_device_stop(kdev);
	kvsink_device_reset_end(kdev, NULL, -ENODEV);
	flush_workqueue(kdev->timeout_wq);
	/* Their commands live in DMA memory that ends with the binding. */
	wait_event(kdev->jobs_idle, !atomic_read(&kdev->jobs_live));
	flush_workqueue(kdev->release_wq);
}

/* Everything between mapped BARs and drm_dev_register(). */
int kvsink_device_init(struct kvsink_device *kdev)
{
	int err;

	err = kvsink_device_read_info(kdev);
	err = err ? err : kvsink_device_cold_reset(kdev);
	err = err ? err : kvsink_device_init_locks(kdev);
	err = err ? err : kvsink_irq_init(kdev);
	err = err ? err : kvsink_gart_init(kdev);
	err = err ? err : kvsink_hbm_init(kdev);
	err = err ? err : kvsink_device_init_queues(kdev);
	if (err)
		return err;
	err = kvsink_device_start(kdev);
	err = err ? err : kvsink_hbm_scrub_all(kdev);
	if (err) {
		dev_err(&kdev->pdev->dev, "the chip does not start (%d)\n", err);
		kvsink_device_quiesce(kdev);
	}
	return err;
}
