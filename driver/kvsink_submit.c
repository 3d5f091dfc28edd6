// SPDX-License-Identifier: GPL-2.0-only
/*
 * SUBMIT. Two passes that may fail: copy and validate everything and build the jobs; then find the fences
 * to wait for. After that nothing fails: all jobs are pushed and all syncobjs signalled, or none.
 */
#include <drm/drm_drv.h>
#include <drm/drm_print.h>
#include <drm/drm_syncobj.h>
#include <linux/dma-fence-chain.h>
#include <linux/slab.h>

#include "kvsink_job.h"
#include "kvsink_stream.h"

#define KVSINK_FILE_JOBS 1024 /* with that many on their way, SUBMIT waits: they take kernel memory */

/* A syncobj to signal. */
struct kvsink_signal {
	/** @syncobj: held. */
	struct drm_syncobj *syncobj;
	/** @chain: for a timeline point, else NULL; the syncobj's once signalled. */
	struct dma_fence_chain *chain;
	/** @value: the point. */
	u64 value;
};

/* One job on its way. */
struct kvsink_submit_job {
	/** @job: with all commands. */
	struct kvsink_job *job;
	/** @syncs: as copied in. */
	struct drm_kvsink_sync *syncs;
	/** @sync_count: how many. */
	u32 sync_count;
	/** @signals: those of @syncs that signal. */
	struct kvsink_signal *signals;
	/** @signal_count: how many. */
	u32 signal_count;
};

struct kvsink_submit {
	/** @drm_file: the caller. */
	struct drm_file *drm_file;
	/** @file: the same, ours. */
	struct kvsink_file *file;
	/** @args: receives what was refused. */
	struct drm_kvsink_submit *args;
	/** @count: jobs. */
	u32 count;
	/** @jobs: and those. */
	struct kvsink_submit_job *jobs;
};

/* ---- Pass 1: build --------------------------------------------------------------------------- */

/* ATTEND, PROMOTE, EVICT and SEAL bring a list, which becomes items of the job. */
static int kvsink_submit_op(struct kvsink_submit *submit, struct kvsink_lookup *lookup,
			    const struct drm_kvsink_op *op)
{
	struct kvsink_job *job = lookup->job;
	u32 first = job->desc.item_count, element;
	const struct drm_kvsink_array *array = kvsink_logic_op_list(op, &element, &lookup->env.field);
	void *list = NULL;
	int err;

	if (array) {
		err = kvsink_logic_array(array, element, 1, KVSINK_MAX_ITEMS - first);
		if (err)
			return err;
		list = kvsink_copy_array(array, element);
		if (IS_ERR(list))
			return PTR_ERR(list);
	}
	err = kvsink_logic_build_op(&lookup->env, op, list, list, first, kvsink_job_cmd(job),
				    &job->mem->items[first]);
	if (!err && array)
		job->desc.item_count += array->count;
	kvfree(list);
	return err;
}

static int kvsink_submit_ops(struct kvsink_submit *submit, struct kvsink_lookup *lookup,
			     const struct drm_kvsink_array *array)
{
	struct drm_kvsink_op *ops;
	int err;
	u32 i;

	err = kvsink_logic_array(array, sizeof(*ops), 1, DRM_KVSINK_MAX_OPS);
	if (err)
		return err;
	ops = kvsink_copy_array(array, sizeof(*ops));
	if (IS_ERR(ops))
		return PTR_ERR(ops);
	for (i = 0; !err && i < array->count; i++) {
		submit->args->error_op = i;
		err = kvsink_submit_op(submit, lookup, &ops[i]);
		if (err)
			submit->args->error_field = lookup->env.field;
	}
	kvfree(ops);
	return err;
}

static int kvsink_submit_status(struct kvsink_lookup *lookup, const struct drm_kvsink_ref *status)
{
	struct kvsink_job *job = lookup->job;
	struct drm_gem_object *obj;

	if (status->pad || status->offset % 4)
		return -EINVAL;
	if (!status->handle)
		return status->offset ? -EINVAL : 0;
	obj = drm_gem_object_lookup(lookup->drm_file, status->handle);
	if (!obj)
		return -ENOENT;
	if (status->offset > obj->size || obj->size - status->offset < sizeof(struct drm_kvsink_job_status)) {
		drm_gem_object_put(obj);
		return -EFAULT;
	}
	job->status_bo = to_kvsink_bo(obj);
	job->status_offset = status->offset;
	return kvsink_job_hold_bo(job, obj);
}

static int kvsink_check_sync(const struct drm_kvsink_sync *sync)
{
	bool timeline = sync->flags & DRM_KVSINK_SYNC_TIMELINE;

	if (sync->flags & ~(DRM_KVSINK_SYNC_SIGNAL | DRM_KVSINK_SYNC_TIMELINE))
		return -EINVAL;
	return timeline == !sync->value ? -EINVAL : 0;
}

static int kvsink_submit_signal(struct kvsink_submit *submit, const struct drm_kvsink_sync *sync,
				struct kvsink_signal *signal)
{
	signal->value = sync->value;
	signal->syncobj = drm_syncobj_find(submit->drm_file, sync->handle);
	if (!signal->syncobj)
		return -ENOENT;
	if (sync->flags & DRM_KVSINK_SYNC_TIMELINE) {
		signal->chain = dma_fence_chain_alloc();
		if (!signal->chain)
			return -ENOMEM;
	}
	return 0;
}

static int kvsink_submit_syncs(struct kvsink_submit *submit, struct kvsink_submit_job *sjob,
			       const struct drm_kvsink_array *array)
{
	int err;
	u32 i;

	err = kvsink_logic_array(array, sizeof(*sjob->syncs), 0, DRM_KVSINK_MAX_SYNCS);
	if (err || !array->count)
		return err;
	sjob->signals = kcalloc(array->count, sizeof(*sjob->signals), GFP_KERNEL);
	if (!sjob->signals)
		return -ENOMEM;
	sjob->syncs = kvsink_copy_array(array, sizeof(*sjob->syncs));
	if (IS_ERR(sjob->syncs)) {
		err = PTR_ERR(sjob->syncs);
		sjob->syncs = NULL;
		return err;
	}
	sjob->sync_count = array->count;
	for (i = 0; !err && i < array->count; i++) {
		err = kvsink_check_sync(&sjob->syncs[i]);
		if (!err && (sjob->syncs[i].flags & DRM_KVSINK_SYNC_SIGNAL))
			err = kvsink_submit_signal(submit, &sjob->syncs[i],
						   &sjob->signals[sjob->signal_count++]);
	}
	return err;
}

static int kvsink_submit_build(struct kvsink_submit *submit, struct kvsink_submit_job *sjob,
			       const struct drm_kvsink_job *args)
{
	struct kvsink_lookup lookup;
	int err;

	sjob->job = kvsink_job_create(submit->file->kdev, submit->file, false);
	if (IS_ERR(sjob->job)) {
		err = PTR_ERR(sjob->job);
		sjob->job = NULL;
		return err;
	}
	sjob->job->desc.generation = submit->args->generation;
	kvsink_lookup_init(&lookup, submit->drm_file, sjob->job);
	err = kvsink_submit_ops(submit, &lookup, &args->ops);
	err = err ? err : kvsink_submit_status(&lookup, &args->status);
	return err ? err : kvsink_submit_syncs(submit, sjob, &args->syncs);
}

/* ---- Pass 2: wait ---------------------------------------------------------------------------- */

/* Jobs of one queue run in order, so an earlier job's signal needs no fence. */
static bool kvsink_signalled_before(struct kvsink_submit *submit, u32 job, struct drm_syncobj *syncobj,
				    u64 value)
{
	u32 i, s;

	for (i = 0; i < job; i++)
		for (s = 0; s < submit->jobs[i].signal_count; s++) {
			const struct kvsink_signal *signal = &submit->jobs[i].signals[s];

			if (signal->syncobj == syncobj && !signal->chain == !value && signal->value >= value)
				return true;
		}
	return false;
}

static int kvsink_submit_wait(struct kvsink_submit *submit, u32 job, const struct drm_kvsink_sync *sync)
{
	struct drm_syncobj *syncobj = drm_syncobj_find(submit->drm_file, sync->handle);
	struct dma_fence *fence;
	bool before;
	int err;

	if (!syncobj)
		return -ENOENT;
	before = kvsink_signalled_before(submit, job, syncobj, sync->value);
	drm_syncobj_put(syncobj);
	if (before)
		return 0;
	err = drm_syncobj_find_fence(submit->drm_file, sync->handle, sync->value, 0, &fence);
	/* add_dependency() takes over the reference */
	return err ? err : drm_sched_job_add_dependency(&submit->jobs[job].job->base, fence);
}

static int kvsink_submit_waits(struct kvsink_submit *submit, u32 job)
{
	struct kvsink_submit_job *sjob = &submit->jobs[job];
	int err = 0;
	u32 i;

	for (i = 0; !err && i < sjob->sync_count; i++)
		if (!(sjob->syncs[i].flags & DRM_KVSINK_SYNC_SIGNAL))
			err = kvsink_submit_wait(submit, job, &sjob->syncs[i]);
	return err;
}

/* ---- The point of no return ------------------------------------------------------------------ */

static void kvsink_submit_signals(struct kvsink_submit_job *sjob)
{
	u32 i;

	for (i = 0; i < sjob->signal_count; i++) {
		struct kvsink_signal *signal = &sjob->signals[i];

		if (signal->chain)
			drm_syncobj_add_point(signal->syncobj, signal->chain, sjob->job->finished,
					      signal->value);
		else
			drm_syncobj_replace_fence(signal->syncobj, sjob->job->finished);
		signal->chain = NULL;
	}
}

static void kvsink_submit_push(struct kvsink_submit *submit)
{
	struct kvsink_queue *queue = &submit->file->queue;
	u32 i;

	mutex_lock(&queue->lock);
	for (i = 0; i < submit->count; i++) {
		kvsink_job_write_status(submit->jobs[i].job, ~0u);
		kvsink_job_push_locked(submit->jobs[i].job);
		kvsink_submit_signals(&submit->jobs[i]);
	}
	mutex_unlock(&queue->lock);
}

/* ---- The ioctl ------------------------------------------------------------------------------- */

static void kvsink_submit_job_fini(struct kvsink_submit_job *sjob)
{
	u32 i;

	for (i = 0; i < sjob->signal_count; i++) {
		dma_fence_chain_free(sjob->signals[i].chain);
		if (sjob->signals[i].syncobj)
			drm_syncobj_put(sjob->signals[i].syncobj);
	}
	kfree(sjob->signals);
	kvfree(sjob->syncs);
	if (sjob->job)
		kvsink_job_put(sjob->job);
}

static int kvsink_submit_jobs(struct kvsink_submit *submit, const struct drm_kvsink_job *jobs)
{
	int err = 0;
	u32 i;

	for (i = 0; !err && i < submit->count; i++) {
		submit->args->error_job = i;
		submit->args->error_op = ~0u;
		submit->args->error_field = ~0u;
		err = kvsink_submit_build(submit, &submit->jobs[i], &jobs[i]);
	}
	for (i = 0; !err && i < submit->count; i++) {
		submit->args->error_job = i;
		err = kvsink_submit_waits(submit, i);
	}
	if (err)
		return err;
	submit->args->error_job = 0;
	submit->args->error_op = 0;
	submit->args->error_field = ~0u;
	kvsink_submit_push(submit);
	return 0;
}

int kvsink_ioctl_submit(struct drm_device *dev, void *data, struct drm_file *drm_file)
{
	struct drm_kvsink_submit *args = data;
	struct kvsink_submit submit = {
		.drm_file = drm_file,
		.file = drm_file->driver_priv,
		.args = args,
		.count = args->jobs.count,
	};
	struct drm_kvsink_job *jobs;
	int err;
	u32 i;

	if (args->flags || args->pad || args->pad2)
		return -EINVAL;
	if (args->generation && args->generation != READ_ONCE(submit.file->kdev->generation))
		return -ESTALE;
	err = kvsink_logic_array(&args->jobs, sizeof(*jobs), 1, DRM_KVSINK_MAX_JOBS);
	if (err)
		return err;
	err = wait_event_interruptible(submit.file->jobs_room,
				       atomic_read(&submit.file->jobs) < KVSINK_FILE_JOBS);
	if (err)
		return err;
	jobs = kvsink_copy_array(&args->jobs, sizeof(*jobs));
	if (IS_ERR(jobs))
		return PTR_ERR(jobs);
	submit.jobs = kcalloc(submit.count, sizeof(*submit.jobs), GFP_KERNEL);
	err = submit.jobs ? kvsink_submit_jobs(&submit, jobs) : -ENOMEM;
	for (i = 0; submit.jobs && i < submit.count; i++)
		kvsink_submit_job_fini(&submit.jobs[i]);
	kfree(submit.jobs);
	kvfree(jobs);
	return err;
}
