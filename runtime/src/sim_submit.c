// SPDX-License-Identifier: MIT
/*
 * SUBMIT of sim: - all jobs are checked and built, then they run one after another. When the call returns
 * they have ended, so every point that it signals has signalled.
 */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

/* One job of the call. */
struct pending {
	struct sim_job job;
	struct sim_bo *status;	/* NULL for none */
	uint64_t status_offset; /* bytes into it */
	uint64_t signal;	/* point of the timeline, 0 for none */
};

/* The call while it is built. */
struct submit {
	struct sim_file *file;
	struct drm_kvsink_submit *args;
	struct kvsink_logic_env env;
	struct drm_kvsink_op ops[DRM_KVSINK_MAX_OPS]; /* of the job being built, as are the next two */
	struct drm_kvsink_sync syncs[DRM_KVSINK_MAX_SYNCS];
	struct drm_kvsink_attend_item items[DRM_KVSINK_MAX_ITEMS]; /* of one operation, as is the next */
	struct drm_kvsink_place places[DRM_KVSINK_MAX_ITEMS];
	struct pending *pending; /* [args->jobs.count] */
	uint64_t signalled; /* point of the timeline that will have signalled before the job being built */
};

static int copy_items(struct submit *submit, const struct drm_kvsink_op *op, const struct sim_job *job,
		      uint32_t *items)
{
	uint32_t element;
	const struct drm_kvsink_array *array = kvsink_logic_op_list(op, &element, &submit->env.field);
	void *to = op->type == DRM_KVSINK_OP_ATTEND ? (void *)submit->items : (void *)submit->places;
	int err;

	*items = 0;
	if (!array)
		return 0;
	err = sim_copy_array(array, element, 1, DRM_KVSINK_MAX_ITEMS, to);
	if (!err && array->count > DRM_KVSINK_MAX_ITEMS - job->items)
		err = -E2BIG;
	*items = array->count;
	return err;
}

static int build_op(struct submit *submit, const struct drm_kvsink_op *op, struct sim_job *job)
{
	uint32_t items;
	int err = copy_items(submit, op, job, &items);

	if (err)
		return err;
	err = kvsink_logic_build_op(&submit->env, op, submit->items, submit->places, job->items,
				    &job->cmd[job->cmds], &job->item[job->items]);
	if (err)
		return err;
	job->cmds++;
	job->items += items;
	return 0;
}

static int build_ops(struct submit *submit, const struct drm_kvsink_job *args, struct pending *pending)
{
	int err = sim_copy_array(&args->ops, sizeof(*submit->ops), 1, DRM_KVSINK_MAX_OPS, submit->ops);

	for (uint32_t i = 0; !err && i < args->ops.count; i++) {
		submit->args->error_op = i;
		err = build_op(submit, &submit->ops[i], &pending->job);
	}
	return err;
}

/* There is one syncobj, a timeline. A point that an earlier job of the call signals may be waited for. */
static int check_sync(struct submit *submit, const struct drm_kvsink_sync *sync, struct pending *pending)
{
	bool timeline = sync->flags & DRM_KVSINK_SYNC_TIMELINE;

	if (sync->flags & ~(DRM_KVSINK_SYNC_SIGNAL | DRM_KVSINK_SYNC_TIMELINE) || timeline == !sync->value)
		return -EINVAL;
	if (sync->handle != SIM_SYNCOBJ)
		return -ENOENT;
	if (!timeline)
		return -EINVAL;
	if (!(sync->flags & DRM_KVSINK_SYNC_SIGNAL))
		return sync->value <= submit->signalled ? 0 : -EINVAL;
	pending->signal = sync->value > pending->signal ? sync->value : pending->signal;
	return 0;
}

static int check_syncs(struct submit *submit, const struct drm_kvsink_job *args, struct pending *pending)
{
	int err =
		sim_copy_array(&args->syncs, sizeof(*submit->syncs), 0, DRM_KVSINK_MAX_SYNCS, submit->syncs);

	for (uint32_t i = 0; !err && i < args->syncs.count; i++)
		err = check_sync(submit, &submit->syncs[i], pending);
	if (pending->signal > submit->signalled)
		submit->signalled = pending->signal;
	return err;
}

static int check_status(struct submit *submit, const struct drm_kvsink_job *args, struct pending *pending)
{
	struct kvsink_ref ref;
	int err = kvsink_logic_operand(&submit->env, &args->status, 0, sizeof(struct drm_kvsink_job_status),
				       true, &ref);

	submit->env.field = UINT32_MAX;
	if (err || !args->status.handle)
		return err;
	pending->status = sim_bo_find(submit->file, args->status.handle);
	pending->status_offset = args->status.offset;
	return 0;
}

static int build_job(struct submit *submit, const struct drm_kvsink_job *args, struct pending *pending)
{
	int err;

	submit->env.field = UINT32_MAX;
	submit->args->error_op = UINT32_MAX;
	pending->job.generation = submit->args->generation;
	err = build_ops(submit, args, pending);
	err = err ? err : check_status(submit, args, pending);
	return err ? err : check_syncs(submit, args, pending);
}

/* Addresses of the GART and the bus are the kernel's: the user sees offsets in his own buffers, or 0. */
static uint64_t user_address(const struct sim_file *file, const struct kvsink_completion *cpl)
{
	if (cpl->code == KVSINK_CODE_DMA_ERROR)
		return 0;
	if (cpl->code != KVSINK_CODE_BAD_RANGE && cpl->code != KVSINK_CODE_GART_FAULT)
		return cpl->address;
	for (uint32_t i = 0; i < file->bo_room; i++) {
		const struct sim_bo *bo = file->bos[i];
		uint64_t start = bo ? (uint64_t)bo->gart_page * KVSINK_GART_PAGE : 0;

		if (bo && cpl->address >= start && cpl->address - start < bo->bytes)
			return cpl->address - start;
	}
	return 0;
}

static void write_status(const struct sim_file *file, const struct pending *pending)
{
	const struct kvsink_completion *cpl = &pending->job.cpl;
	struct drm_kvsink_job_status status = {
		.code = cpl->code,
		.op = cpl->cmd,
		.address = user_address(file, cpl),
		.begin_ns = cpl->begin_ns,
		.end_ns = cpl->end_ns,
	};

	memcpy(pending->status->data + pending->status_offset, &status, sizeof(status));
}

static void run(struct sim_file *file, struct pending *pending)
{
	sim_job_run(file->chip, file, &pending->job); /* a failure goes into the status */
	if (pending->status)
		write_status(file, pending);
	if (pending->signal > file->signalled)
		file->signalled = pending->signal;
}

static int check_submit(const struct sim_file *file, struct drm_kvsink_submit *args)
{
	args->error_job = 0;
	args->error_op = 0;
	args->error_field = UINT32_MAX;
	if (args->flags || args->pad || args->pad2)
		return -EINVAL;
	if (args->generation &&
	    args->generation != kvsink_mmio_read(file->chip->silicon, KVSINK_REG_GENERATION))
		return -ESTALE;
	return 0;
}

static int build_jobs(struct submit *submit, const struct drm_kvsink_job *jobs)
{
	int err = 0;

	for (uint32_t i = 0; !err && i < submit->args->jobs.count; i++) {
		submit->args->error_job = i;
		err = build_job(submit, &jobs[i], &submit->pending[i]);
	}
	if (err)
		submit->args->error_field = submit->env.field;
	else
		submit->args->error_job = 0;
	return err;
}

int sim_ioctl_submit(struct sim_file *file, void *data)
{
	struct drm_kvsink_submit *args = data;
	struct drm_kvsink_job jobs[DRM_KVSINK_MAX_JOBS];
	struct submit *submit;
	int err = check_submit(file, args);

	err = err ? err : sim_copy_array(&args->jobs, sizeof(*jobs), 1, DRM_KVSINK_MAX_JOBS, jobs);
	if (err)
		return err;
	submit = calloc(1, sizeof(*submit));
	if (!submit)
		return -ENOMEM;
	submit->file = file;
	submit->args = args;
	submit->signalled = file->signalled;
	sim_env(file, &submit->env);
	submit->pending = calloc(args->jobs.count, sizeof(*submit->pending));
	err = submit->pending ? build_jobs(submit, jobs) : -ENOMEM;
	for (uint32_t i = 0; !err && i < args->jobs.count; i++)
		run(file, &submit->pending[i]);
	free(submit->pending);
	free(submit);
	return err;
}
