// SPDX-License-Identifier: GPL-2.0-only
/*
 * The ioctls that are no job or one small one: DEV_QUERY, REG_READ, PROMOTE, EVICT, CONTRACT, CONFIG_SET; and
 * the copy of arrays that the others use.
 */
#include <drm/drm_drv.h>
#include <drm/drm_print.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "kvsink_job.h"
#include "kvsink_stream.h"

/*
 * A copy of array->count elements of @size bytes, whatever stride the caller has. kvsink_logic_array() has
 * bounded count and stride. Free with kvfree().
 */
void *kvsink_copy_array(const struct drm_kvsink_array *array, size_t size)
{
	void __user *from = u64_to_user_ptr(array->array);
	void *copy = kvmalloc_array(array->count, size, GFP_KERNEL);
	u32 i;
	int err = 0;

	if (!copy)
		return ERR_PTR(-ENOMEM);
	if (array->stride == size && copy_from_user(copy, from, array->count * size))
		err = -EFAULT;
	for (i = 0; array->stride != size && !err && i < array->count; i++)
		err = copy_struct_from_user(copy + i * size, size, from + (size_t)i * array->stride,
					    array->stride);
	if (!err)
		return copy;
	kvfree(copy);
	return ERR_PTR(err);
}

/* ---- DEV_QUERY, REG_READ --------------------------------------------------------------------- */

int kvsink_ioctl_dev_query(struct drm_device *dev, void *data, struct drm_file *drm_file)
{
	struct kvsink_device *kdev = to_kvsink_device(dev);
	struct drm_kvsink_dev_query *args = data;
	struct drm_kvsink_dev_info info = kdev->info;
	void __user *to = u64_to_user_ptr(args->pointer);
	u32 size = min_t(u32, args->size, sizeof(info));

	if (args->type != DRM_KVSINK_DEV_QUERY_INFO)
		return -EINVAL;
	info.generation = READ_ONCE(kdev->generation);
	if (args->pointer) {
		if (copy_to_user(to, &info, size) || clear_user(to + size, args->size - size))
			return -EFAULT;
	}
	args->size = sizeof(info);
	return 0;
}

int kvsink_ioctl_reg_read(struct drm_device *dev, void *data, struct drm_file *drm_file)
{
	struct kvsink_device *kdev = to_kvsink_device(dev);
	struct drm_kvsink_reg_read *args = data;
	int access, index;
	bool wide;

	if (args->pad)
		return -EINVAL;
	access = kvsink_logic_reg_access(args->offset, kdev->info.rings, &wide);
	if (access < 0)
		return access;
	if (access && !capable(CAP_SYS_ADMIN))
		return -EACCES;
	if (!drm_dev_enter(dev, &index))
		return -ENODEV;
	args->value = wide ? kvsink_device_counter(kdev, args->offset) : kvsink_read(kdev, args->offset);
	drm_dev_exit(index);
	/* ERR_CODE is the administrator's: so is whether some tenant's job left one there */
	if (args->offset == KVSINK_REG_STATUS && !capable(CAP_SYS_ADMIN))
		args->value &= ~(u64)KVSINK_STATUS_ERROR_MASK;
	return 0;
}

/* ---- PROMOTE, EVICT, CONTRACT, CONFIG_SET ---------------------------------------------------- */

/* A job with one command, its place, and a lookup that holds what it finds for the job. */
static struct kvsink_job *kvsink_one_command(struct drm_file *drm_file, struct kvsink_lookup *lookup,
					     struct kvsink_cmd **cmd)
{
	struct kvsink_file *file = drm_file->driver_priv;
	struct kvsink_job *job = kvsink_job_create(file->kdev, file, capable(CAP_SYS_ADMIN));

	if (IS_ERR(job))
		return job;
	*cmd = kvsink_job_cmd(job);
	kvsink_lookup_init(lookup, drm_file, job);
	return job;
}

/*
 * What the chip said about a stream's SRAM, for fdinfo. Asking it anew would cost jobs that nobody submitted;
 * what other grants displaced, and what the chip placed by itself, is known at the next QUERY of the stream.
 */
static void kvsink_note_promoted(struct kvsink_job *job)
{
	kvsink_stream_add_sram(job->streams[0], job->cpl.result[0]);
}

static void kvsink_note_evicted(struct kvsink_job *job, const struct drm_kvsink_place *place)
{
	struct kvsink_stream *stream = job->streams[0];

	if (place->token == KVSINK_TOKEN_ALL && !place->layer_begin &&
	    place->layer_end == stream->geometry.layers && !~place->head_mask)
		kvsink_stream_set_sram(stream, 0);
}

/* A one-command job with a list of places. */
struct kvsink_places_job {
	/** @lookup: holds the stream for the job. */
	struct kvsink_lookup lookup;
	/** @job: the job. */
	struct kvsink_job *job;
	/** @cmd: its command. */
	struct kvsink_cmd *cmd;
	/** @places: the list, copied in. */
	struct drm_kvsink_place *places;
	/** @count: how many. */
	u32 count;
};

static int kvsink_places_begin(struct kvsink_places_job *pj, struct drm_file *drm_file,
			       const struct drm_kvsink_array *array)
{
	int err = kvsink_logic_array(array, sizeof(*pj->places), 1, KVSINK_MAX_ITEMS);

	if (err)
		return err;
	pj->count = array->count;
	pj->places = kvsink_copy_array(array, sizeof(*pj->places));
	if (IS_ERR(pj->places))
		return PTR_ERR(pj->places);
	pj->job = kvsink_one_command(drm_file, &pj->lookup, &pj->cmd);
	if (!IS_ERR(pj->job))
		return 0;
	kvfree(pj->places);
	return PTR_ERR(pj->job);
}

/* What the chip said of a job that has run; @address only with a code. */
static void kvsink_job_said(const struct kvsink_job *job, u32 *code, u64 *address)
{
	const struct kvsink_completion *cpl = kvsink_job_result(job);

	*code = cpl ? cpl->code : KVSINK_CODE_ABORTED;
	*address = cpl && cpl->code ? cpl->address : 0;
}

/* Run it if it could be built. */
static int kvsink_places_run(struct kvsink_places_job *pj, int err, u32 *code, u64 *address)
{
	*code = 0;
	*address = 0;
	if (err)
		return err;
	pj->job->desc.item_count = pj->count;
	err = kvsink_job_run(pj->job);
	kvsink_job_said(pj->job, code, address);
	return err;
}

static void kvsink_places_end(struct kvsink_places_job *pj)
{
	kvsink_job_put(pj->job);
	kvfree(pj->places);
}

int kvsink_ioctl_promote(struct drm_device *dev, void *data, struct drm_file *drm_file)
{
	struct drm_kvsink_promote *args = data;
	struct kvsink_places_job pj;
	int err = kvsink_places_begin(&pj, drm_file, &args->places);

	if (err)
		return err;
	err = kvsink_logic_build_promote(&pj.lookup.env, args, pj.places, pj.cmd, pj.job->mem->items);
	args->granted = 0;
	args->sram_bytes = 0;
	args->generation = 0;
	err = kvsink_places_run(&pj, err, &args->code, &args->address);
	if (!err) {
		args->sram_bytes = pj.job->cpl.result[0];
		args->generation = pj.job->cpl.result[1];
		args->granted = pj.job->cpl.result[2];
		args->code = pj.job->cpl.result[3];
		kvsink_note_promoted(pj.job);
	}
	kvsink_places_end(&pj);
	return err;
}

int kvsink_ioctl_evict(struct drm_device *dev, void *data, struct drm_file *drm_file)
{
	struct drm_kvsink_evict *args = data;
	struct kvsink_places_job pj;
	int err = kvsink_places_begin(&pj, drm_file, &args->places);
	u64 address;

	if (err)
		return err;
	err = kvsink_logic_build_evict(&pj.lookup.env, args, pj.places, pj.cmd, pj.job->mem->items);
	args->entries = 0;
	err = kvsink_places_run(&pj, err, &args->code, &address);
	if (!err) {
		args->entries = pj.job->cpl.result[0];
		kvsink_note_evicted(pj.job, pj.places);
	}
	kvsink_places_end(&pj);
	return err;
}

int kvsink_ioctl_contract(struct drm_device *dev, void *data, struct drm_file *drm_file)
{
	struct drm_kvsink_contract *args = data;
	struct kvsink_places_job pj;
	int err = kvsink_places_begin(&pj, drm_file, &args->places);

	if (err)
		return err;
	err = kvsink_logic_build_contract(&pj.lookup.env, args, pj.places, pj.cmd, pj.job->mem->items);
	args->entries = 0;
	err = kvsink_places_run(&pj, err, &args->code, &args->address);
	if (!err)
		args->entries = pj.job->cpl.result[0];
	kvsink_places_end(&pj);
	return err;
}

int kvsink_ioctl_config_set(struct drm_device *dev, void *data, struct drm_file *drm_file)
{
	struct drm_kvsink_config *args = data;
	struct kvsink_lookup lookup;
	struct kvsink_cmd *cmd;
	struct kvsink_job *job = kvsink_one_command(drm_file, &lookup, &cmd);
	int err;

	if (IS_ERR(job))
		return PTR_ERR(job);
	err = kvsink_logic_build_config(&lookup.env, args, cmd);
	if (!err && !args->stream && !lookup.admin)
		err = -EACCES;
	args->conflict = ~0u;
	args->code = 0;
	args->address = 0;
	if (!err) {
		err = kvsink_job_run(job);
		kvsink_job_said(job, &args->code, &args->address);
		if (args->code == KVSINK_CODE_CONFLICT)
			args->conflict = (u32)args->address;
	}
	kvsink_job_put(job);
	return err;
}
