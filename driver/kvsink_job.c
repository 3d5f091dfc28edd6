// SPDX-License-Identifier: GPL-2.0-only
/*
 * Jobs from creation to release, and the queues that order them.
 *
 * The last reference to a job may go away in a fence's callback, so its release, which may end buffers and
 * thereby wait for the chip, always runs from release_wq.
 */
#include <drm/drm_drv.h>
#include <drm/drm_print.h>
#include <linux/completion.h>
#include <linux/dmapool.h>

#include "kvsink_job.h"
#include "kvsink_stream.h"

#define CREATE_TRACE_POINTS
#include "kvsink_trace.h"

#define KVSINK_KERNEL_TRIES 3 /* a reset may overtake a job of the kernel */

/* ---- Queues ---------------------------------------------------------------------------------- */

int kvsink_queue_init(struct kvsink_device *kdev, struct kvsink_queue *queue)
{
	mutex_init(&queue->lock);
	queue->last = NULL;
	return drm_sched_entity_init(&queue->entity, DRM_SCHED_PRIORITY_NORMAL, kdev->scheds,
				     kdev->ring_count, NULL);
}

/* Waits a moment for what is queued, then drops it. What a ring has already runs to its end. */
void kvsink_queue_stop(struct kvsink_queue *queue)
{
	drm_sched_entity_destroy(&queue->entity);
}

void kvsink_queue_fini(struct kvsink_queue *queue)
{
	dma_fence_put(queue->last);
	queue->last = NULL;
	mutex_destroy(&queue->lock);
}

struct dma_fence *kvsink_queue_last(struct kvsink_queue *queue)
{
	struct dma_fence *last;

	mutex_lock(&queue->lock);
	last = dma_fence_get(queue->last);
	mutex_unlock(&queue->lock);
	return last;
}

/* ---- Creation and release -------------------------------------------------------------------- */

static void kvsink_job_release_work(struct work_struct *work)
{
	struct kvsink_job *job = container_of(work, struct kvsink_job, release_work);
	struct kvsink_device *kdev = job->kdev;
	u32 i;

	if (job->initialised)
		drm_sched_job_cleanup(&job->base);
	for (i = 0; i < job->bo_count; i++)
		drm_gem_object_put(job->bos[i]);
	for (i = 0; i < job->stream_count; i++)
		kvsink_stream_put(job->streams[i]);
	kfree(job->bos);
	kfree(job->streams);
	kvsink_fence_discard(job->fence);
	dma_fence_put(job->finished);
	if (job->mem)
		dma_pool_free(kdev->cmd_pool, job->mem, job->mem_bus);
	if (job->file) {
		atomic_dec(&job->file->jobs);
		wake_up_all(&job->file->jobs_room);
		kvsink_file_put(job->file);
	}
	kfree(job);
	if (atomic_dec_and_test(&kdev->jobs_live))
		wake_up_all(&kdev->jobs_idle);
}

static void kvsink_job_release(struct kref *ref)
{
	struct kvsink_job *job = container_of(ref, struct kvsink_job, ref);

	queue_work(job->kdev->release_wq, &job->release_work);
}

void kvsink_job_put(struct kvsink_job *job)
{
	kref_put(&job->ref, kvsink_job_release);
}

/* unbind waits for jobs_live after drm_dev_unplug(), so the pool is there as long as its memory is in use. */
static int kvsink_job_alloc_mem(struct kvsink_job *job)
{
	int index;

	if (!drm_dev_enter(&job->kdev->base, &index))
		return -ENODEV;
	job->mem = dma_pool_alloc(job->kdev->cmd_pool, GFP_KERNEL, &job->mem_bus);
	drm_dev_exit(index);
	return job->mem ? 0 : -ENOMEM;
}

static struct kvsink_job *kvsink_job_alloc(struct kvsink_device *kdev)
{
	struct kvsink_job *job = NULL;
	int index;

	if (!drm_dev_enter(&kdev->base, &index))
		return ERR_PTR(-ENODEV);
	job = kzalloc(sizeof(*job), GFP_KERNEL);
	if (job)
		atomic_inc(&kdev->jobs_live);
	drm_dev_exit(index);
	return job ? job : ERR_PTR(-ENOMEM);
}

/* A job of @file, or of the kernel (which may do everything) if that is NULL. */
struct kvsink_job *kvsink_job_create(struct kvsink_device *kdev, struct kvsink_file *file, bool privileged)
{
	struct kvsink_job *job = kvsink_job_alloc(kdev);
	int err;

	if (IS_ERR(job))
		return job;
	kref_init(&job->ref);
	INIT_WORK(&job->release_work, kvsink_job_release_work);
	job->kdev = kdev;
	job->file = file;
	if (file) {
		kref_get(&file->ref);
		atomic_inc(&file->jobs);
	}
	job->queue = file ? &file->queue : &kdev->queue;
	err = kvsink_job_alloc_mem(job);
	if (err)
		goto err_put;
	job->desc.cmds = job->mem_bus + offsetof(struct kvsink_job_mem, cmds);
	job->desc.items = job->mem_bus + offsetof(struct kvsink_job_mem, items);
	job->desc.tenant = file ? file->tenant : 0;
	job->desc.flags = !file || privileged ? KVSINK_JOB_PRIVILEGED : 0;
	job->fence = kvsink_fence_alloc(kdev, file);
	err = job->fence ? 0 : -ENOMEM;
	if (!err)
		err = kvsink_compat_job_init(&job->base, &job->queue->entity, 1, kdev,
					     file ? file->client_id : 0);
	if (err)
		goto err_put;
	job->initialised = true;
	return job;

err_put:
	kvsink_job_put(job);
	return ERR_PTR(err);
}

/* The next free command, NULL when the job is full. */
struct kvsink_cmd *kvsink_job_cmd(struct kvsink_job *job)
{
	if (job->desc.cmd_count >= KVSINK_MAX_CMDS)
		return NULL;
	return &job->mem->cmds[job->desc.cmd_count++];
}

/* Room for one more pointer in an array that doubles. */
static void *kvsink_job_room(void *array, u32 count)
{
	if (count & (count - 1))
		return array;
	return krealloc_array(array, count ? count * 2 : 1, sizeof(void *), GFP_KERNEL);
}

/* Takes over the caller's reference, also on failure. */
int kvsink_job_hold_bo(struct kvsink_job *job, struct drm_gem_object *obj)
{
	struct drm_gem_object **bos;
	u32 i;

	for (i = 0; i < job->bo_count; i++)
		if (job->bos[i] == obj)
			goto drop;
	bos = kvsink_job_room(job->bos, job->bo_count);
	if (bos) {
		job->bos = bos;
		job->bos[job->bo_count++] = obj;
		return 0;
	}
drop:
	drm_gem_object_put(obj);
	return i < job->bo_count ? 0 : -ENOMEM;
}

/* Takes over the caller's reference, also on failure. */
int kvsink_job_hold_stream(struct kvsink_job *job, struct kvsink_stream *stream)
{
	struct kvsink_stream **streams;
	u32 i;

	for (i = 0; i < job->stream_count; i++)
		if (job->streams[i] == stream)
			goto drop;
	streams = kvsink_job_room(job->streams, job->stream_count);
	if (streams) {
		job->streams = streams;
		job->streams[job->stream_count++] = stream;
		return 0;
	}
drop:
	kvsink_stream_put(stream);
	return i < job->stream_count ? 0 : -ENOMEM;
}

/* ---- Running --------------------------------------------------------------------------------- */

/* Under queue->lock. Cannot fail; the caller's reference stays the caller's. */
void kvsink_job_push_locked(struct kvsink_job *job)
{
	lockdep_assert_held(&job->queue->lock);
	drm_sched_job_arm(&job->base);
	job->finished = dma_fence_get(&job->base.s_fence->finished);
	dma_fence_put(job->queue->last);
	job->queue->last = dma_fence_get(job->finished);
	trace_kvsink_submit(job, job->desc.cmd_count);
	kref_get(&job->ref);
	drm_sched_entity_push_job(&job->base);
}

/* Waiting for a fence so that only a fatal signal ends it: an operation must not run twice. */
struct kvsink_waiter {
	/** @cb: on the fence. */
	struct dma_fence_cb cb;
	/** @done: the fence has signalled. */
	struct completion done;
};

static void kvsink_waiter_wake(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	complete(&container_of(cb, struct kvsink_waiter, cb)->done);
}

static int kvsink_wait_killable(struct dma_fence *fence)
{
	struct kvsink_waiter waiter = {.done = COMPLETION_INITIALIZER_ONSTACK(waiter.done)};
	int err;

	if (dma_fence_add_callback(fence, &waiter.cb, kvsink_waiter_wake))
		return 0; /* signalled already */
	err = wait_for_completion_killable(&waiter.done);
	if (err)
		dma_fence_remove_callback(fence, &waiter.cb);
	return err;
}

/* What the chip has said, or NULL: it was not asked, or nobody saw its answer (reset, signal, bad record). */
const struct kvsink_completion *kvsink_job_result(const struct kvsink_job *job)
{
	return job->finished && dma_fence_is_signaled(job->finished) && job->completed ? &job->cpl : NULL;
}

/*
 * Push and wait; 0 or the error of the result code, job->cpl has the rest. The kernel's own jobs are
 * waited for without a way out; they end, because hung ones are ended.
 */
int kvsink_job_run(struct kvsink_job *job)
{
	int err = 0;

	mutex_lock(&job->queue->lock);
	kvsink_job_push_locked(job);
	mutex_unlock(&job->queue->lock);
	if (job->file)
		err = kvsink_wait_killable(job->finished);
	else
		dma_fence_wait(job->finished, false);
	if (err)
		return err;
	return job->completed ? kvsink_logic_errno(job->cpl.code) : job->finished->error;
}

/*
 * Run commands as the kernel; again when a reset came between, so all of them may run twice. The kernel has
 * one queue for all tenants: its jobs wait for nobody's fence.
 */
int kvsink_kernel_run(struct kvsink_device *kdev, const struct kvsink_cmd *cmds, u32 count)
{
	int err = -ECANCELED;
	u32 tries;

	for (tries = 0; tries < KVSINK_KERNEL_TRIES && (err == -ECANCELED || err == -ETIME); tries++) {
		struct kvsink_job *job = kvsink_job_create(kdev, NULL, true);

		if (IS_ERR(job))
			return PTR_ERR(job);
		memcpy(job->mem->cmds, cmds, count * sizeof(*cmds));
		job->desc.cmd_count = count;
		err = kvsink_job_run(job);
		kvsink_job_put(job);
	}
	return err;
}

/* ---- Lookup for driver/logic ----------------------------------------------------------------- */

static int kvsink_lookup_buffer(void *ctx, u32 handle, struct kvsink_logic_buffer *out)
{
	struct kvsink_lookup *lookup = ctx;
	struct drm_gem_object *obj = drm_gem_object_lookup(lookup->drm_file, handle);

	if (!obj)
		return -ENOENT;
	out->gart_offset = kvsink_bo_gart_offset(to_kvsink_bo(obj));
	out->bytes = obj->size;
	return kvsink_job_hold_bo(lookup->job, obj);
}

static int kvsink_lookup_stream(void *ctx, u64 id, bool own, struct kvsink_logic_stream *out)
{
	struct kvsink_lookup *lookup = ctx;
	struct kvsink_stream *stream = kvsink_stream_find(lookup->file, id, own, lookup->admin);

	if (IS_ERR(stream))
		return PTR_ERR(stream);
	*out = stream->geometry;
	if (lookup->job)
		return kvsink_job_hold_stream(lookup->job, stream);
	kvsink_stream_put(stream);
	return 0;
}

/* Without a job only streams can be looked up. */
void kvsink_lookup_init(struct kvsink_lookup *lookup, struct drm_file *drm_file, struct kvsink_job *job)
{
	*lookup = (struct kvsink_lookup){
		.drm_file = drm_file,
		.file = drm_file->driver_priv,
		.job = job,
		.admin = capable(CAP_SYS_ADMIN),
	};
	lookup->env.ctx = lookup;
	lookup->env.buffer = kvsink_lookup_buffer;
	lookup->env.stream = kvsink_lookup_stream;
	lookup->env.field = ~0u;
}
