/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Jobs: a list of commands on its way through a queue and a ring.
 *
 * Create, fill in commands (kvsink_job_cmd), hold what they touch, then either push and forget (SUBMIT) or
 * kvsink_job_run(). All memory is there before the push; nothing is allocated afterwards.
 */
#ifndef KVSINK_JOB_H
#define KVSINK_JOB_H

#include <linux/dma-fence.h>

#include "kvsink_device.h"
#include "kvsink_gem.h"
#include "logic.h"

struct kvsink_stream;

/* What the chip reads of one job. */
struct kvsink_job_mem {
	struct kvsink_cmd cmds[KVSINK_MAX_CMDS];
	union kvsink_item items[KVSINK_MAX_ITEMS];
};

/* Signals when the chip has ended the job. User space may hold it longer than file, device and driver. */
struct kvsink_fence {
	/** @base: initialised when the job runs. */
	struct dma_fence base;
	/** @lock: for @base. */
	spinlock_t lock;
	/** @ring: for the timeline's name. */
	u32 ring;
	/** @pins_module: it holds a reference to the module. */
	bool pins_module;
	/** @ring_block: held for the scheduler's fence, which this one's reference outlives. */
	struct kvsink_ring_block *ring_block;
};

struct kvsink_job {
	/** @base: the scheduler's side of it. */
	struct drm_sched_job base;
	/** @ref: the creator, the scheduler, and the ring while it is in flight. */
	struct kref ref;
	/** @kdev: the device. */
	struct kvsink_device *kdev;
	/** @queue: where it is pushed. */
	struct kvsink_queue *queue;
	/** @file: whose job it is, NULL for the kernel's. */
	struct kvsink_file *file;
	/** @initialised: @base needs drm_sched_job_cleanup(). */
	bool initialised;
	/** @desc: as it will be written to a slot. */
	struct kvsink_job_desc desc;
	/** @mem: commands and items. */
	struct kvsink_job_mem *mem;
	/** @mem_bus: their bus address. */
	dma_addr_t mem_bus;
	/** @fence: hardware fence; NULL once the job runs, the ring has it then. */
	struct kvsink_fence *fence;
	/** @hw_fence: @fence while the job is in flight. */
	struct dma_fence *hw_fence;
	/** @finished: the scheduler's fence, once pushed. */
	struct dma_fence *finished;
	/** @cpl: the completion record; see kvsink_job_result(). */
	struct kvsink_completion cpl;
	/** @completed: the chip has ended the job (as opposed to: nobody will know). */
	bool completed;
	/** @status_bo: where the outcome goes, or NULL; held in @bos. */
	struct kvsink_bo *status_bo;
	/** @status_offset: bytes into it. */
	u64 status_offset;
	/** @run_ns: when it was published. */
	u64 run_ns;
	/** @looks: how often the timeout handler has let it go on. */
	u32 looks;
	/** @bos: buffers that it keeps alive. */
	struct drm_gem_object **bos;
	/** @bo_count: how many. */
	u32 bo_count;
	/** @streams: streams that it keeps alive. */
	struct kvsink_stream **streams;
	/** @stream_count: how many. */
	u32 stream_count;
	/** @release_work: frees it outside of the fences' way. */
	struct work_struct release_work;
};

#define to_kvsink_job(job) container_of(job, struct kvsink_job, base)

/* How an ioctl looks up what its arguments name, for driver/logic; what it finds is kept by the job. */
struct kvsink_lookup {
	/** @env: callbacks, with this struct as ctx. */
	struct kvsink_logic_env env;
	/** @drm_file: handles are its. */
	struct drm_file *drm_file;
	/** @file: the same, ours. */
	struct kvsink_file *file;
	/** @job: holds what is found; NULL: nothing is held. */
	struct kvsink_job *job;
	/** @admin: sees all tenants' streams. */
	bool admin;
};

/* kvsink_job.c */
int kvsink_queue_init(struct kvsink_device *kdev, struct kvsink_queue *queue);
void kvsink_queue_stop(struct kvsink_queue *queue);
void kvsink_queue_fini(struct kvsink_queue *queue);
struct dma_fence *kvsink_queue_last(struct kvsink_queue *queue);
struct kvsink_job *kvsink_job_create(struct kvsink_device *kdev, struct kvsink_file *file, bool privileged);
void kvsink_job_put(struct kvsink_job *job);
struct kvsink_cmd *kvsink_job_cmd(struct kvsink_job *job);
int kvsink_job_hold_bo(struct kvsink_job *job, struct drm_gem_object *obj);
int kvsink_job_hold_stream(struct kvsink_job *job, struct kvsink_stream *stream);
void kvsink_job_push_locked(struct kvsink_job *job);
int kvsink_job_run(struct kvsink_job *job);
const struct kvsink_completion *kvsink_job_result(const struct kvsink_job *job);
int kvsink_kernel_run(struct kvsink_device *kdev, const struct kvsink_cmd *cmds, u32 count);
void kvsink_lookup_init(struct kvsink_lookup *lookup, struct drm_file *drm_file, struct kvsink_job *job);

/* kvsink_ring.c */
extern const struct drm_sched_backend_ops kvsink_sched_ops;
int kvsink_ring_block_init(struct kvsink_device *kdev);
int kvsink_ring_init(struct kvsink_device *kdev, u32 index);
void kvsink_ring_start(struct kvsink_ring *ring);
void kvsink_ring_process(struct kvsink_ring *ring);
void kvsink_ring_abort(struct kvsink_ring *ring, struct kvsink_job *guilty, int error);
void kvsink_job_write_status(struct kvsink_job *job, u32 code);
struct kvsink_fence *kvsink_fence_alloc(struct kvsink_device *kdev, bool pins_module);
void kvsink_fence_discard(struct kvsink_fence *fence);

#endif
