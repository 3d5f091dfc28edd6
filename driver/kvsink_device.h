/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The device: registers, rings, the two address spaces that the kernel manages (GART and HBM), and what
 * open files share.
 *
 * Lifetimes: registers, rings' memory, the GART table and interrupts are devm (until unbind) and are touched
 * only inside drm_dev_enter(). Schedulers, allocators, work queues and locks are drmm (until the last close).
 */
#ifndef KVSINK_DEVICE_H
#define KVSINK_DEVICE_H

#include <drm/drm_device.h>
#include <drm/drm_file.h>
#include <drm/drm_mm.h>
#include <linux/io.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/rwsem.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "kvsink_compat.h"
#include "kvsink_drm.h"
#include "kvsink_hw.h"

struct dma_pool;
struct kvsink_bo;
struct kvsink_device;
struct kvsink_job;

/* An ordered sequence of jobs: of one file, or of the kernel itself. */
struct kvsink_queue {
	/** @entity: the scheduler's side of it; runs on any ring. */
	struct drm_sched_entity entity;
	/** @lock: protects @last, and makes arm and push of a job one step. */
	struct mutex lock;
	/** @last: finished fence of the job pushed last. */
	struct dma_fence *last;
};

struct kvsink_ring {
	/** @kdev: the device. */
	struct kvsink_device *kdev;
	/** @index: number of the ring. */
	u32 index;
	/** @name: for the scheduler. */
	char name[16];
	/** @sched: feeds this ring; its credits are the ring's slots. */
	struct drm_gpu_scheduler sched;
	/** @descs: job descriptors, one a slot. */
	struct kvsink_job_desc *descs;
	/** @descs_bus: their bus address. */
	dma_addr_t descs_bus;
	/** @cpls: completion records, one a slot. */
	struct kvsink_completion *cpls;
	/** @cpls_bus: their bus address. */
	dma_addr_t cpls_bus;
	/** @fence_context: of the hardware fences. */
	u64 fence_context;
	/** @process: held by who completes jobs, so that their fences signal in ring order. */
	struct mutex process;
	/** @lock: protects the fields below, up to @jobs. */
	spinlock_t lock;
	/** @seqno: of the last job published. */
	u64 seqno;
	/** @published: jobs published, modulo 2^32, as the chip counts them. */
	u32 published;
	/** @done: jobs completed, likewise. */
	u32 done;
	/** @head_since_ns: when the oldest job in flight became the oldest. */
	u64 head_since_ns;
	/** @jobs: jobs in flight, by slot. */
	struct kvsink_job **jobs;
	/** @commands: that the chip had ended when the timeout handler looked last; the handler's alone. */
	u64 commands;
};

/*
 * The rings' memory outlives the device: a scheduler's fence names its timeline by the scheduler, and user
 * space may hold it longer.
 */
struct kvsink_ring_block {
	/** @ref: the device, and one for each fence. */
	struct kref ref;
	/** @rcu: names are read under RCU. */
	struct rcu_head rcu;
	/** @ring: the rings. */
	struct kvsink_ring ring[KVSINK_MAX_RINGS];
};

struct kvsink_device {
	/** @base: the DRM device. */
	struct drm_device base;
	/** @pdev: the PCI function. */
	struct pci_dev *pdev;
	/** @regs: BAR0. */
	void __iomem *regs;
	/** @sram: BAR2, read by ENTRY_READ only. */
	void __iomem *sram;
	/** @info: constants; its generation field is not used, see @generation. */
	struct drm_kvsink_dev_info info;
	/** @generation: contents-lost generation; written under @reset_lock, read anywhere. */
	u32 generation;
	/**
	 * @reset_lock: held for writing while the chip is reset, for reading by who needs SRAM to stay as it
	 * is for a moment. Taken before any ring's locks.
	 */
	struct rw_semaphore reset_lock;

	/** @ring_block: memory of @rings. */
	struct kvsink_ring_block *ring_block;
	/** @rings: the rings in use. */
	struct kvsink_ring *rings;
	/** @ring_count: how many of them. */
	u32 ring_count;
	/** @scheds: all of them, for entities. */
	struct drm_gpu_scheduler *scheds[KVSINK_MAX_RINGS];
	/** @timeout_wq: ordered, so that timeout handlers, which reset the whole device, never overlap. */
	struct workqueue_struct *timeout_wq;
	/** @release_wq: frees jobs, buffers and streams, which may have to wait for the chip. */
	struct workqueue_struct *release_wq;
	/** @queue: jobs of the kernel: scrubs and invalidations. */
	struct kvsink_queue queue;
	/** @cmd_pool: memory of jobs' commands. */
	struct dma_pool *cmd_pool;
	/** @jobs_live: jobs whose memory is not freed yet. */
	atomic_t jobs_live;
	/** @jobs_idle: woken when @jobs_live drops to 0. */
	wait_queue_head_t jobs_idle;

	/** @gart: page-granular address space of buffers. */
	struct {
		/** @gart.lock: protects @gart.mm. */
		struct mutex lock;
		/** @gart.mm: in pages. */
		struct drm_mm mm;
		/** @gart.table: read by the chip; an entry belongs to the owner of its range in @gart.mm. */
		u64 *table;
		/** @gart.bus: its bus address. */
		dma_addr_t bus;
	} gart;

	/** @hbm: the chip's memory. */
	struct {
		/** @hbm.lock: protects @hbm.mm, @hbm.dirty and @hbm.lost. */
		struct mutex lock;
		/** @hbm.mm: in bytes. */
		struct drm_mm mm;
		/** @hbm.dirty: ranges whose scrub failed; nobody gets them before one succeeds. */
		struct list_head dirty;
		/** @hbm.lost: ranges of streams that the chip did not let go; nobody gets them again. */
		struct list_head lost;
	} hbm;

	/** @bos: all buffers, so that unbind can end their DMA maps. */
	struct {
		/** @bos.lock: protects @bos.list. */
		struct mutex lock;
		/** @bos.list: struct kvsink_bo.link. */
		struct list_head list;
	} bos;

	/** @streams: struct kvsink_stream by id; locked by itself. */
	struct xarray streams;
	/** @next_stream: the last id given out. */
	atomic64_t next_stream;
	/** @counter_lock: reading a counter's low half latches its high half, so both are read under it. */
	spinlock_t counter_lock;
};

/* Memory of one open file; jobs in flight keep it, but not the drm_file, beyond its end. */
struct kvsink_file {
	/** @ref: the drm_file, and one for each job and each prefix in @published. */
	struct kref ref;
	/** @kdev: the device. */
	struct kvsink_device *kdev;
	/** @tenant: uid that opened the file. */
	u32 tenant;
	/** @client_id: of the drm_file, for traces. */
	u64 client_id;
	/** @queue: the file's jobs, in the order of its ioctls. */
	struct kvsink_queue queue;
	/** @lock: protects @streams and @published. */
	struct mutex lock;
	/** @streams: struct kvsink_stream.link. */
	struct list_head streams;
	/** @published: prefixes that are charged to the file, likewise. */
	struct list_head published;
	/** @prefixes: handles: struct kvsink_stream of prefixes. */
	struct xarray prefixes;
	/** @answer_lock: protects @answer, held from the QUERY job until its bytes are copied. */
	struct mutex answer_lock;
	/** @answer: where the chip writes answers of QUERY; made when first needed. */
	struct kvsink_bo *answer;
	/** @jobs: jobs of the file whose memory is not freed yet. */
	atomic_t jobs;
	/** @jobs_room: woken when @jobs drops. */
	wait_queue_head_t jobs_room;
	/** @engine_ns: measured time that the file's jobs kept a ring busy. */
	atomic64_t engine_ns;
};

#define to_kvsink_device(dev) container_of(dev, struct kvsink_device, base)

static inline u32 kvsink_read(struct kvsink_device *kdev, u32 reg)
{
	return readl(kdev->regs + reg);
}

static inline void kvsink_write(struct kvsink_device *kdev, u32 reg, u32 value)
{
	writel(value, kdev->regs + reg);
}

static inline u32 kvsink_ring_reg(const struct kvsink_ring *ring, enum kvsink_ring_reg reg)
{
	return KVSINK_RING_BASE + ring->index * KVSINK_RING_STRIDE + reg;
}

/* A register pair <lo, lo + 4> that takes a bus address. */
static inline void kvsink_write_bus(struct kvsink_device *kdev, u32 lo, dma_addr_t bus)
{
	kvsink_write(kdev, lo, lower_32_bits(bus));
	kvsink_write(kdev, lo + 4, upper_32_bits(bus));
}

extern unsigned int kvsink_timeout_ms;

/* kvsink_device.c */
int kvsink_device_init(struct kvsink_device *kdev);
void kvsink_device_quiesce(struct kvsink_device *kdev);
void kvsink_device_reset(struct kvsink_device *kdev, struct kvsink_job *guilty);
void kvsink_device_flr_begin(struct kvsink_device *kdev);
void kvsink_device_flr_end(struct kvsink_device *kdev);

u64 kvsink_device_counter(struct kvsink_device *kdev, u32 offset);

/* kvsink_irq.c */
int kvsink_irq_init(struct kvsink_device *kdev);

/* kvsink_debugfs.c */
void kvsink_debugfs_init(struct kvsink_device *kdev);

/* kvsink_fdinfo.c */
void kvsink_show_fdinfo(struct drm_printer *p, struct drm_file *drm_file);

/* kvsink_drv.c */
void kvsink_file_put(struct kvsink_file *file);

/*
 * kvsink_ioctl.c, kvsink_query.c, kvsink_submit.c, kvsink_stream.c, kvsink_swap.c, kvsink_window.c,
 * kvsink_prefix.c, kvsink_gem.c
 */
int kvsink_ioctl_dev_query(struct drm_device *dev, void *data, struct drm_file *drm_file);
int kvsink_ioctl_bo_create(struct drm_device *dev, void *data, struct drm_file *drm_file);
int kvsink_ioctl_bo_mmap_offset(struct drm_device *dev, void *data, struct drm_file *drm_file);
int kvsink_ioctl_stream_create(struct drm_device *dev, void *data, struct drm_file *drm_file);
int kvsink_ioctl_stream_reserve(struct drm_device *dev, void *data, struct drm_file *drm_file);
int kvsink_ioctl_stream_destroy(struct drm_device *dev, void *data, struct drm_file *drm_file);
int kvsink_ioctl_submit(struct drm_device *dev, void *data, struct drm_file *drm_file);
int kvsink_ioctl_promote(struct drm_device *dev, void *data, struct drm_file *drm_file);
int kvsink_ioctl_evict(struct drm_device *dev, void *data, struct drm_file *drm_file);
int kvsink_ioctl_contract(struct drm_device *dev, void *data, struct drm_file *drm_file);
int kvsink_ioctl_config_get(struct drm_device *dev, void *data, struct drm_file *drm_file);
int kvsink_ioctl_config_set(struct drm_device *dev, void *data, struct drm_file *drm_file);
int kvsink_ioctl_query(struct drm_device *dev, void *data, struct drm_file *drm_file);
int kvsink_ioctl_reg_read(struct drm_device *dev, void *data, struct drm_file *drm_file);
int kvsink_ioctl_swap_out(struct drm_device *dev, void *data, struct drm_file *drm_file);
int kvsink_ioctl_swap_in(struct drm_device *dev, void *data, struct drm_file *drm_file);
int kvsink_ioctl_window_begin(struct drm_device *dev, void *data, struct drm_file *drm_file);
int kvsink_ioctl_window_commit(struct drm_device *dev, void *data, struct drm_file *drm_file);
int kvsink_ioctl_prefix_publish(struct drm_device *dev, void *data, struct drm_file *drm_file);
int kvsink_ioctl_prefix_open(struct drm_device *dev, void *data, struct drm_file *drm_file);
int kvsink_ioctl_prefix_close(struct drm_device *dev, void *data, struct drm_file *drm_file);
int kvsink_ioctl_prefix_export(struct drm_device *dev, void *data, struct drm_file *drm_file);
int kvsink_ioctl_prefix_attach(struct drm_device *dev, void *data, struct drm_file *drm_file);
int kvsink_ioctl_prefix_detach(struct drm_device *dev, void *data, struct drm_file *drm_file);
int kvsink_ioctl_entry_read(struct drm_device *dev, void *data, struct drm_file *drm_file);

#endif
