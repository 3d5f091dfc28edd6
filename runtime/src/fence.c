// SPDX-License-Identifier: MIT
/*
 * Submitting a batch and waiting for it. A fence value is a point of the device's timeline syncobj; the
 * job's outcome lies in slot (fence mod KVS_STATUS_SLOTS) of the device's status buffer, where the kernel
 * writes it before the point signals.
 */
#include <string.h>

#include "internal.h"

#define NOT_FINISHED 0xffffffffu /* drm_kvsink_job_status.code */

static struct drm_kvsink_job_status *status_slot(struct kvs_device *device, uint64_t fence)
{
	return (struct drm_kvsink_job_status *)device->status->data + fence % KVS_STATUS_SLOTS;
}

/* The slot's last user must have finished before the slot is written again. */
static int claim_slot(struct kvs_device *device, uint64_t fence)
{
	struct drm_kvsink_job_status *slot = status_slot(device, fence);
	int err = 0;

	if (fence > KVS_STATUS_SLOTS && __atomic_load_n(&slot->code, __ATOMIC_ACQUIRE) == NOT_FINISHED)
		err = device->backend.ops->wait(device->backend.ctx, device->backend.syncobj,
						fence - KVS_STATUS_SLOTS, INT64_MAX);
	if (!err) {
		memset(slot, 0, sizeof(*slot));
		slot->code = NOT_FINISHED;
	}
	return err;
}

static void note_types(struct kvs_batch *batch, uint64_t fence)
{
	uint8_t *types = batch->device->op_types[fence % KVS_STATUS_SLOTS];

	memset(types, 0, DRM_KVSINK_MAX_OPS);
	for (uint32_t i = 0; i < batch->ops; i++)
		types[i] = (uint8_t)batch->op[i].type;
}

KVS_PUBLIC int kvs_batch_submit(struct kvs_batch *batch, uint64_t *fence)
{
	struct kvs_device *device = batch->device;
	uint64_t point = device->last_fence + 1;
	struct drm_kvsink_sync sync = {
		.flags = DRM_KVSINK_SYNC_SIGNAL | DRM_KVSINK_SYNC_TIMELINE,
		.handle = device->backend.syncobj,
		.value = point,
	};
	struct drm_kvsink_job job = {
		.ops = {sizeof(batch->op[0]), batch->ops, (uintptr_t)batch->op},
		.syncs = {sizeof(sync), 1, (uintptr_t)&sync},
		.status = {.handle = device->status->handle,
			   .offset = point % KVS_STATUS_SLOTS * sizeof(struct drm_kvsink_job_status)},
	};
	struct drm_kvsink_submit args = {.jobs = {sizeof(job), 1, (uintptr_t)&job}};
	int err = claim_slot(device, point);

	if (err)
		return kvs_fail(device, err, "SUBMIT: waiting for job %llu: %s",
				(unsigned long long)(point - KVS_STATUS_SLOTS), kvs_errno_text(err));
	args.error_field = UINT32_MAX;
	err = kvs_device_call(device, DRM_IOCTL_KVSINK_SUBMIT, &args);
	if (err) {
		status_slot(device, point)->code = 0; /* nobody will finish it */
		return kvs_fail_submit(batch, err, args.error_op, args.error_field);
	}
	device->last_fence = point;
	note_types(batch, point);
	if (fence)
		*fence = point;
	return 0;
}

static int check_fence(struct kvs_device *device, uint64_t fence)
{
	if (!fence || fence > device->last_fence)
		return kvs_fail(device, -EINVAL, "wait: fence %llu: the last one given out is %llu",
				(unsigned long long)fence, (unsigned long long)device->last_fence);
	if (device->last_fence - fence >= KVS_STATUS_SLOTS)
		return kvs_fail(device, -ENOENT,
				"wait: fence %llu: outcomes are kept of the last %u jobs only",
				(unsigned long long)fence, KVS_STATUS_SLOTS);
	return 0;
}

KVS_PUBLIC int kvs_wait(struct kvs_device *device, uint64_t fence, int64_t deadline_ns,
			struct drm_kvsink_job_status *status)
{
	struct drm_kvsink_job_status *slot, outcome;
	int err = check_fence(device, fence);

	if (err)
		return err;
	err = device->backend.ops->wait(device->backend.ctx, device->backend.syncobj, fence, deadline_ns);
	if (err)
		return kvs_fail(device, err, "wait: fence %llu: %s", (unsigned long long)fence,
				kvs_errno_text(err));
	slot = status_slot(device, fence);
	outcome.code = __atomic_load_n(&slot->code, __ATOMIC_ACQUIRE);
	if (outcome.code == NOT_FINISHED)
		return kvs_fail(device, -EIO, "wait: fence %llu: the job ended without an outcome",
				(unsigned long long)fence);
	outcome = *slot;
	if (status)
		*status = outcome;
	return kvs_fail_job(device, &outcome, device->op_types[fence % KVS_STATUS_SLOTS]);
}

KVS_PUBLIC int kvs_batch_run(struct kvs_batch *batch, struct drm_kvsink_job_status *status)
{
	uint64_t fence;
	int err = kvs_batch_submit(batch, &fence);

	return err ? err : kvs_wait(batch->device, fence, INT64_MAX, status);
}
