/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What differs between the kernels that kvsink builds on, and nothing else. The driver is written against
 * the newest interface; KVSINK_HAVE_* come from probe.sh.
 */
#ifndef KVSINK_COMPAT_H
#define KVSINK_COMPAT_H

#include <drm/gpu_scheduler.h>
#include <linux/list.h>
#include <linux/spinlock.h>

#ifndef KVSINK_HAVE_DRM_SCHED_INIT_ARGS
struct drm_sched_init_args {
	const struct drm_sched_backend_ops *ops;
	struct workqueue_struct *submit_wq;
	struct workqueue_struct *timeout_wq;
	u32 num_rqs;
	u32 credit_limit;
	unsigned int hang_limit;
	long timeout;
	atomic_t *score;
	const char *name;
	struct device *dev;
};
#endif

static inline int kvsink_compat_sched_init(struct drm_gpu_scheduler *sched, struct drm_sched_init_args *args)
{
#if defined(KVSINK_HAVE_DRM_SCHED_INIT_ARGS) && defined(KVSINK_HAVE_DRM_SCHED_INIT_ARGS_NUM_RQS)
	args->num_rqs = DRM_SCHED_PRIORITY_COUNT;
#endif
#ifdef KVSINK_HAVE_DRM_SCHED_INIT_ARGS
	return drm_sched_init(sched, args);
#else
	return drm_sched_init(sched, args->ops, args->submit_wq, DRM_SCHED_PRIORITY_COUNT, args->credit_limit,
			      args->hang_limit, args->timeout, args->timeout_wq, args->score, args->name,
			      args->dev);
#endif
}

static inline int kvsink_compat_job_init(struct drm_sched_job *job, struct drm_sched_entity *entity,
					 u32 credits, void *owner, u64 client_id)
{
#ifdef KVSINK_HAVE_DRM_SCHED_JOB_INIT_CLIENT_ID
	return drm_sched_job_init(job, entity, credits, owner, client_id);
#else
	return drm_sched_job_init(job, entity, credits, owner);
#endif
}

/*
 * End of a timeout handler when the job needs nothing more from the scheduler: it has signalled, or it
 * is still running. Where the scheduler does not know NO_HANG it has taken the job off its list before and
 * forgets it, so put it back; then kick the freeing of what has signalled meanwhile.
 */
static inline enum drm_gpu_sched_stat kvsink_compat_keep_job(struct drm_gpu_scheduler *sched,
							     struct drm_sched_job *job)
{
#ifdef KVSINK_HAVE_DRM_SCHED_STAT_NO_HANG
	return DRM_GPU_SCHED_STAT_NO_HANG;
#else
	spin_lock(&sched->job_list_lock);
	list_add(&job->list, &sched->pending_list);
	spin_unlock(&sched->job_list_lock);
	drm_sched_wqueue_start(sched);
	return DRM_GPU_SCHED_STAT_NOMINAL;
#endif
}

#endif
