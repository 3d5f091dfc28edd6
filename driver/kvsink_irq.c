// SPDX-License-Identifier: GPL-2.0-only
/*
 * Interrupts: one MSI-X vector a ring, one for errors. With fewer vectors fewer rings are used, and errors
 * are seen by the timeout handler.
 *
 * The top half acknowledges, the thread completes jobs: what ends after the acknowledge raises again.
 */
#include <drm/drm_drv.h>
#include <drm/drm_print.h>
#include <linux/interrupt.h>

#include "kvsink_device.h"
#include "kvsink_job.h"

static irqreturn_t kvsink_irq_ring(int irq, void *data)
{
	struct kvsink_ring *ring = data;

	kvsink_write(ring->kdev, KVSINK_REG_IRQ_STATUS, BIT(ring->index));
	return IRQ_WAKE_THREAD;
}

static irqreturn_t kvsink_irq_ring_thread(int irq, void *data)
{
	kvsink_ring_process(data);
	return IRQ_HANDLED;
}

static irqreturn_t kvsink_irq_error(int irq, void *data)
{
	struct kvsink_device *kdev = data;

	kvsink_write(kdev, KVSINK_REG_IRQ_STATUS, KVSINK_IRQ_ERROR);
	return IRQ_WAKE_THREAD;
}

/* A job's error is its owner's business; a halted ring is ours. */
static irqreturn_t kvsink_irq_error_thread(int irq, void *data)
{
	struct kvsink_device *kdev = data;
	u32 halted, i;
	int index;

	if (!drm_dev_enter(&kdev->base, &index))
		return IRQ_HANDLED;
	drm_dbg(&kdev->base, "ring %u: code %u at command %u, address 0x%08x%08x\n",
		kvsink_read(kdev, KVSINK_REG_ERR_RING), kvsink_read(kdev, KVSINK_REG_ERR_CODE),
		kvsink_read(kdev, KVSINK_REG_ERR_CMD), kvsink_read(kdev, KVSINK_REG_ERR_ADDR_HI),
		kvsink_read(kdev, KVSINK_REG_ERR_ADDR_LO));
	kvsink_write(kdev, KVSINK_REG_ERR_CODE, ~0u);
	halted = (kvsink_read(kdev, KVSINK_REG_STATUS) & KVSINK_STATUS_HALTED_MASK) >>
		 KVSINK_STATUS_HALTED_SHIFT;
	for (i = 0; i < kdev->ring_count; i++)
		if (halted & BIT(i))
			drm_sched_fault(&kdev->rings[i].sched);
	drm_dev_exit(index);
	return IRQ_HANDLED;
}

int kvsink_irq_init(struct kvsink_device *kdev)
{
	struct pci_dev *pdev = kdev->pdev;
	u32 i, rings = kdev->info.rings;
	int vectors, err;

	vectors = pci_alloc_irq_vectors(pdev, 1, rings + 1, PCI_IRQ_MSIX);
	if (vectors < 0)
		return dev_err_probe(&pdev->dev, vectors, "no interrupt vector\n");
	kdev->ring_count = min_t(u32, rings, vectors);
	for (i = 0; i < kdev->ring_count; i++) {
		struct kvsink_ring *ring = &kdev->rings[i];

		ring->kdev = kdev;
		ring->index = i;
		spin_lock_init(&ring->lock);
		mutex_init(&ring->process);
		err = devm_request_threaded_irq(&pdev->dev, pci_irq_vector(pdev, i), kvsink_irq_ring,
						kvsink_irq_ring_thread, 0, "kvsink-ring", ring);
		if (err)
			return err;
	}
	if (vectors <= rings)
		return 0;
	return devm_request_threaded_irq(&pdev->dev, pci_irq_vector(pdev, rings), kvsink_irq_error,
					 kvsink_irq_error_thread, 0, "kvsink-error", kdev);
}
