// SPDX-License-Identifier: GPL-2.0-only
/*
 * Rings: publish jobs, collect completion records, notice hangs. The scheduler's callbacks live here.
 *
 * Everything from kvsink_run_job() to the end of a job is the way by which fences signal: no allocation, no
 * lock that is held elsewhere across an allocation. A job in flight is referenced by its ring.
 */
#include <drm/drm_drv.h>
#include <drm/drm_managed.h>
#include <drm/drm_print.h>
#include <linux/dma-mapping.h>
#include <linux/module.h>

#include "kvsink_job.h"
#include "kvsink_trace.h"

#define KVSINK_MAX_LOOKS 6 /* timeouts that one job may outlive while the chip works */

/* ---- The rings' memory ----------------------------------------------------------------------- */

static void kvsink_ring_block_release(struct kref *ref)
{
	kfree_rcu(container_of(ref, struct kvsink_ring_block, ref), rcu);
}

static void kvsink_ring_block_put(struct drm_device *dev, void *block)
{
	kref_put(&((struct kvsink_ring_block *)block)->ref, kvsink_ring_block_release);
}

int kvsink_ring_block_init(struct kvsink_device *kdev)
{
	struct kvsink_ring_block *block = kzalloc(sizeof(*block), GFP_KERNEL);

	if (!block)
		return -ENOMEM;
	kref_init(&block->ref);
	kdev->ring_block = block;
	kdev->rings = block->ring;
	return drmm_add_action_or_reset(&kdev->base, kvsink_ring_block_put, block);
}

/* ---- Hardware fences ------------------------------------------------------------------------- */

static const char *kvsink_fence_driver_name(struct dma_fence *fence)
{
	return "kvsink";
}

static const char *kvsink_fence_timeline_name(struct dma_fence *fence)
{
	static const char *const names[KVSINK_MAX_RINGS] = {
		"ring0", "ring1", "ring2", "ring3", "ring4", "ring5", "ring6", "ring7",
	};

	return names[container_of(fence, struct kvsink_fence, base)->ring];
}

/*
 * The module stays loaded while a syncobj holds a fence, because the fence calls back here. Not so for the
 * kernel's own jobs: their fences end with the device, and would otherwise keep the module for ever.
 */
static void kvsink_fence_release(struct dma_fence *fence)
{
	struct kvsink_ring_block *block = container_of(fence, struct kvsink_fence, base)->ring_block;
	bool pins_module = container_of(fence, struct kvsink_fence, base)->pins_module;

	rcu_read_lock();
	kref_put(&block->ref, kvsink_ring_block_release);
	dma_fence_free(fence);
	if (pins_module)
		module_put(THIS_MODULE);
	rcu_read_unlock();
}

static const struct dma_fence_ops kvsink_fence_ops = {
	.get_driver_name = kvsink_fence_driver_name,
	.get_timeline_name = kvsink_fence_timeline_name,
	.release = kvsink_fence_release,
};

struct kvsink_fence *kvsink_fence_alloc(struct kvsink_device *kdev, bool pins_module)
{
	struct kvsink_fence *fence = kzalloc(sizeof(*fence), GFP_KERNEL);

	if (!fence)
		return NULL;
	if (pins_module)
		__module_get(THIS_MODULE);
	fence->pins_module = pins_module;
	fence->ring_block = kdev->ring_block;
	kref_get(&fence->ring_block->ref);
	spin_lock_init(&fence->lock);
	return fence;
}

/* For a fence that was never initialised. */
void kvsink_fence_discard(struct kvsink_fence *fence)
{
	if (!fence)
		return;
	kref_put(&fence->ring_block->ref, kvsink_ring_block_release);
	if (fence->pins_module)
		module_put(THIS_MODULE);
	kfree(fence);
}

/* ---- The end of a job ------------------------------------------------------------------------ */

/* Addresses of the bus and the GART are not for users: they see offsets in their own buffers, or 0. */
static u64 kvsink_user_address(const struct kvsink_job *job)
{
	u64 address = job->cpl.address;
	u32 i;

	if (job->cpl.code == KVSINK_CODE_DMA_ERROR)
		return 0;
	if (job->cpl.code != KVSINK_CODE_BAD_RANGE && job->cpl.code != KVSINK_CODE_GART_FAULT)
		return address;
	for (i = 0; i < job->bo_count; i++) {
		u64 start = kvsink_bo_gart_offset(to_kvsink_bo(job->bos[i]));

		if (address >= start && address - start < job->bos[i]->size)
			return address - start;
	}
	return 0;
}

void kvsink_job_write_status(struct kvsink_job *job, u32 code)
{
	struct drm_kvsink_job_status status = {
		.code = code,
		.op = job->completed ? job->cpl.cmd : 0,
		.address = job->completed ? kvsink_user_address(job) : 0,
		.begin_ns = job->completed ? job->cpl.begin_ns : 0,
		.end_ns = job->completed ? job->cpl.end_ns : 0,
	};

	if (job->status_bo)
		kvsink_bo_write(job->status_bo, job->status_offset, &status, sizeof(status));
}

/* Called once for each job in flight, by who took it out of ring->jobs, with ring->process held. */
static void kvsink_job_finish(struct kvsink_ring *ring, struct kvsink_job *job, u64 began_ns, int error)
{
	struct dma_fence *fence = job->hw_fence;

	if (job->completed)
		error = kvsink_logic_errno(job->cpl.code);
	if (job->file)
		atomic64_add(ktime_get_ns() - began_ns, &job->file->engine_ns);
	kvsink_job_write_status(job, job->completed ? job->cpl.code : KVSINK_CODE_ABORTED);
	trace_kvsink_done(job, ring->index, error);
	if (error)
		dma_fence_set_error(fence, error);
	dma_fence_signal(fence);
	dma_fence_put(fence);
	kvsink_job_put(job);
}

/* Take the oldest job out of flight. */
static struct kvsink_job *kvsink_ring_take(struct kvsink_ring *ring, u64 *began_ns)
{
	u32 slot = ring->done % ring->kdev->info.ring_slots;
	struct kvsink_job *job = ring->jobs[slot];
	u64 now = ktime_get_ns();

	lockdep_assert_held(&ring->lock);
	*began_ns = ring->head_since_ns;
	ring->jobs[slot] = NULL;
	ring->done++;
	ring->head_since_ns = now;
	return job;
}

/* The oldest job, if the chip has ended it; @head is register HEAD. */
static struct kvsink_job *kvsink_ring_next_done(struct kvsink_ring *ring, u32 head, u64 *began_ns)
{
	u32 slots = ring->kdev->info.ring_slots;
	struct kvsink_completion *cpl;
	struct kvsink_job *job = NULL;

	spin_lock(&ring->lock);
	/* A head outside of what was published: reset meanwhile, or the device is gone. */
	if (head != ring->done && head - ring->done <= ring->published - ring->done) {
		cpl = &ring->cpls[ring->done % slots];
		job = kvsink_ring_take(ring, began_ns);
		memcpy(&job->cpl, cpl, sizeof(*cpl));
		job->completed = job->cpl.seqno == job->desc.seqno;
	}
	spin_unlock(&ring->lock);
	return job;
}

void kvsink_ring_process(struct kvsink_ring *ring)
{
	struct kvsink_job *job;
	u64 began_ns;
	int index;
	u32 head;

	if (!drm_dev_enter(&ring->kdev->base, &index))
		return;
	mutex_lock(&ring->process);
	head = kvsink_read(ring->kdev, kvsink_ring_reg(ring, KVSINK_RING_HEAD));
	while ((job = kvsink_ring_next_done(ring, head, &began_ns))) {
		if (!job->completed)
			drm_err(&ring->kdev->base, "ring %u: record %llu where %llu is due\n", ring->index,
				job->cpl.seqno, job->desc.seqno);
		kvsink_job_finish(ring, job, began_ns, -EIO);
	}
	mutex_unlock(&ring->process);
	drm_dev_exit(index);
}

/* The chip has forgotten the ring, or is gone: end what was in flight. */
void kvsink_ring_abort(struct kvsink_ring *ring, struct kvsink_job *guilty, int error)
{
	struct kvsink_job *job;
	u64 began_ns;

	mutex_lock(&ring->process);
	for (;;) {
		spin_lock(&ring->lock);
		job = ring->done == ring->published ? NULL : kvsink_ring_take(ring, &began_ns);
		if (!job) {
			ring->published = 0;
			ring->done = 0;
		}
		spin_unlock(&ring->lock);
		if (!job)
			break;
		kvsink_job_finish(ring, job, began_ns, job == guilty ? -ETIME : error);
	}
	mutex_unlock(&ring->process);
}

/* ---- The scheduler's callbacks --------------------------------------------------------------- */

static void kvsink_ring_publish(struct kvsink_ring *ring, struct kvsink_job *job)
{
	u32 slot;

	spin_lock(&ring->lock);
	slot = ring->published % ring->kdev->info.ring_slots;
	job->run_ns = ktime_get_ns();
	job->desc.seqno = ++ring->seqno;
	job->desc.host_ns = job->run_ns;
	if (ring->published == ring->done)
		ring->head_since_ns = job->run_ns;
	ring->jobs[slot] = job;
	memcpy(&ring->descs[slot], &job->desc, sizeof(job->desc));
	ring->published++;
	/* The descriptor must be there before the chip is told. */
	wmb();
	kvsink_write(ring->kdev, kvsink_ring_reg(ring, KVSINK_RING_DOORBELL), ring->published);
	spin_unlock(&ring->lock);
}

static struct dma_fence *kvsink_run_job(struct drm_sched_job *sched_job)
{
	struct kvsink_job *job = to_kvsink_job(sched_job);
	struct kvsink_ring *ring = container_of(sched_job->sched, struct kvsink_ring, sched);
	struct kvsink_fence *fence = job->fence;
	int index;

	if (sched_job->s_fence->finished.error) {
		kvsink_job_write_status(job, KVSINK_CODE_ABORTED);
		return NULL;
	}
	if (!drm_dev_enter(&ring->kdev->base, &index)) {
		kvsink_job_write_status(job, KVSINK_CODE_ABORTED);
		return ERR_PTR(-ENODEV);
	}
	job->fence = NULL;
	fence->ring = ring->index;
	dma_fence_init(&fence->base, &kvsink_fence_ops, &fence->lock, ring->fence_context,
		       (u32)ring->seqno + 1);
	job->hw_fence = dma_fence_get(&fence->base);
	kref_get(&job->ref);
	trace_kvsink_run(job, ring->index);
	kvsink_ring_publish(ring, job);
	drm_dev_exit(index);
	return &fence->base;
}

static bool kvsink_ring_halted(struct kvsink_ring *ring)
{
	return kvsink_read(ring->kdev, kvsink_ring_reg(ring, KVSINK_RING_STATE)) == KVSINK_RING_HALTED;
}

/*
 * No job of the ring has ended for a whole timeout. The timer is coarse, so three quarters of it count.
 */
static bool kvsink_ring_overdue(struct kvsink_ring *ring)
{
	u64 since_ns;

	spin_lock(&ring->lock);
	since_ns = ktime_get_ns() - ring->head_since_ns;
	spin_unlock(&ring->lock);
	return since_ns >= jiffies_to_nsecs(ring->sched.timeout) / 4 * 3;
}

/*
 * A long job may go on while the chip ends commands. Its clock would not do: it stands still when commands
 * take no modelled time. Other rings end commands, too, hence the limit.
 */
static bool kvsink_job_progresses(struct kvsink_ring *ring, struct kvsink_job *job)
{
	u64 commands = kvsink_device_counter(ring->kdev, KVSINK_COUNTER_BASE + 8 * KVSINK_COUNTER_COMMANDS);
	bool moved = commands != ring->commands;

	ring->commands = commands;
	return moved && job->looks++ < KVSINK_MAX_LOOKS;
}

static bool kvsink_job_hangs(struct kvsink_ring *ring, struct kvsink_job *job)
{
	bool hangs;
	int index;

	kvsink_ring_process(ring);
	if (dma_fence_is_signaled(&job->base.s_fence->finished))
		return false;
	if (!drm_dev_enter(&ring->kdev->base, &index))
		return false;
	hangs = kvsink_ring_halted(ring) || (kvsink_ring_overdue(ring) && !kvsink_job_progresses(ring, job));
	drm_dev_exit(index);
	return hangs;
}

static enum drm_gpu_sched_stat kvsink_timedout_job(struct drm_sched_job *sched_job)
{
	struct kvsink_job *job = to_kvsink_job(sched_job);
	struct kvsink_ring *ring = container_of(sched_job->sched, struct kvsink_ring, sched);
	struct kvsink_device *kdev = ring->kdev;
	enum drm_gpu_sched_stat status;
	bool hangs;

	down_read(&kdev->reset_lock);
	hangs = kvsink_job_hangs(ring, job);
	up_read(&kdev->reset_lock);
	if (hangs) {
		drm_err(&kdev->base, "ring %u: job %llu hangs, resetting the engine\n", ring->index,
			job->desc.seqno);
		trace_kvsink_timeout(job, ring->index);
		kvsink_device_reset(kdev, job);
	}
	/*
	 * Ended, aborted or still running: in each case its fence says all, and the scheduler keeps it. That
	 * may start the scheduler, so not while somebody else resets the chip.
	 */
	down_read(&kdev->reset_lock);
	status = kvsink_compat_keep_job(&ring->sched, sched_job);
	up_read(&kdev->reset_lock);
	return status;
}

/*
 * A job that never ran (its file was closed, the device is gone) has no hardware fence. Its scheduler's fence
 * gets one all the same, for what that keeps: the module and the ring's name.
 */
static void kvsink_job_never_ran(struct kvsink_job *job)
{
	struct kvsink_ring *ring = container_of(job->base.sched, struct kvsink_ring, sched);
	struct kvsink_fence *fence = job->fence;

	job->fence = NULL;
	fence->ring = ring->index;
	dma_fence_init(&fence->base, &kvsink_fence_ops, &fence->lock, ring->fence_context, 0);
	dma_fence_set_error(&fence->base, -ECANCELED);
	dma_fence_signal(&fence->base);
	/* pairs with the acquire of the scheduler's fence, when somebody sets a deadline */
	smp_store_release(&job->base.s_fence->parent, &fence->base);
}

static void kvsink_free_job(struct drm_sched_job *sched_job)
{
	struct kvsink_job *job = to_kvsink_job(sched_job);

	if (job->fence)
		kvsink_job_never_ran(job);
	drm_sched_job_cleanup(sched_job);
	job->initialised = false;
	kvsink_job_put(job);
}

const struct drm_sched_backend_ops kvsink_sched_ops = {
	.run_job = kvsink_run_job,
	.timedout_job = kvsink_timedout_job,
	.free_job = kvsink_free_job,
};

/* ---- Set-up ---------------------------------------------------------------------------------- */

/* After a reset, with nothing in flight that the chip knows of. */
void kvsink_ring_start(struct kvsink_ring *ring)
{
	kvsink_write_bus(ring->kdev, kvsink_ring_reg(ring, KVSINK_RING_JOBS_LO), ring->descs_bus);
	kvsink_write_bus(ring->kdev, kvsink_ring_reg(ring, KVSINK_RING_CPLS_LO), ring->cpls_bus);
}

static void kvsink_ring_fini(struct drm_device *dev, void *data)
{
	struct kvsink_ring *ring = data;

	drm_sched_fini(&ring->sched);
}

int kvsink_ring_init(struct kvsink_device *kdev, u32 index)
{
	struct kvsink_ring *ring = &kdev->rings[index];
	struct device *parent = &kdev->pdev->dev;
	u32 slots = kdev->info.ring_slots;
	struct drm_sched_init_args args = {
		.ops = &kvsink_sched_ops,
		.timeout_wq = kdev->timeout_wq,
		.credit_limit = slots,
		.timeout = msecs_to_jiffies(kvsink_timeout_ms),
		.name = ring->name,
		.dev = parent,
	};
	int err;

	snprintf(ring->name, sizeof(ring->name), "kvsink-ring%u", index);
	ring->fence_context = dma_fence_context_alloc(1);
	ring->jobs = drmm_kcalloc(&kdev->base, slots, sizeof(*ring->jobs), GFP_KERNEL);
	ring->descs = dmam_alloc_coherent(parent, slots * sizeof(*ring->descs), &ring->descs_bus, GFP_KERNEL);
	ring->cpls = dmam_alloc_coherent(parent, slots * sizeof(*ring->cpls), &ring->cpls_bus, GFP_KERNEL);
	if (!ring->jobs || !ring->descs || !ring->cpls)
		return -ENOMEM;
	err = kvsink_compat_sched_init(&ring->sched, &args);
	if (err)
		return err;
	kdev->scheds[index] = &ring->sched;
	return drmm_add_action_or_reset(&kdev->base, kvsink_ring_fini, ring);
}
