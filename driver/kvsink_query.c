// SPDX-License-Identifier: GPL-2.0-only
/*
 * QUERY, CONFIG_GET and ENTRY_READ: the chip writes its answer into a buffer of the file that user space
 * never sees, and what the caller may know is copied from there. answer_lock is held throughout.
 */
#include <drm/drm_drv.h>
#include <drm/drm_print.h>
#include <linux/bitops.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "kvsink_job.h"
#include "kvsink_stream.h"

#define KVSINK_ENTRY_TRIES 4

/* ---- The answer buffer ----------------------------------------------------------------------- */

/* At least @bytes of it; grows to a power of two, so that few buffers come and go. */
static int kvsink_answer_reserve(struct kvsink_file *file, u32 bytes)
{
	struct kvsink_bo *bo;
	int err;

	lockdep_assert_held(&file->answer_lock);
	if (file->answer && file->answer->base.base.size >= bytes)
		return 0;
	bo = kvsink_bo_create(file->kdev, roundup_pow_of_two(max_t(u32, bytes, SZ_16K)));
	if (IS_ERR(bo))
		return PTR_ERR(bo);
	err = kvsink_bo_vmap(bo);
	if (err) {
		drm_gem_object_put(&bo->base.base);
		return err;
	}
	if (file->answer)
		drm_gem_object_put(&file->answer->base.base);
	file->answer = bo;
	return 0;
}

/* The chip may write behind our back as long as a killed caller's job runs; so bound what it says once. */
static u32 kvsink_answer_records(const struct kvsink_list_head *head, u32 room, u32 record_bytes)
{
	u32 written = READ_ONCE(head->written);

	return min_t(u32, written, (room - sizeof(*head)) / record_bytes);
}

static void *kvsink_answer(struct kvsink_file *file)
{
	return file->answer->vaddr;
}

/* A job of the file that answers @args into the answer buffer; the chip tells @privileged ones everything. */
static int kvsink_query_run(struct drm_file *drm_file, const struct drm_kvsink_query *args, bool privileged)
{
	struct kvsink_file *file = drm_file->driver_priv;
	struct kvsink_lookup lookup;
	struct kvsink_job *job;
	int err;

	err = kvsink_answer_reserve(file, args->size);
	if (err)
		return err;
	job = kvsink_job_create(file->kdev, file, privileged);
	if (IS_ERR(job))
		return PTR_ERR(job);
	kvsink_lookup_init(&lookup, drm_file, job);
	drm_gem_object_get(&file->answer->base.base);
	err = kvsink_job_hold_bo(job, &file->answer->base.base);
	err = err ? err
		  : kvsink_logic_build_query(&lookup.env, args, kvsink_bo_gart_offset(file->answer),
					     args->size, kvsink_job_cmd(job));
	err = err ? err : kvsink_job_run(job);
	kvsink_job_put(job);
	return err;
}

/* Remember for fdinfo what the chip says of streams. */
static void kvsink_note_streams(struct drm_file *drm_file, const struct kvsink_stream_rec *recs, u32 count)
{
	struct kvsink_file *file = drm_file->driver_priv;
	u32 i;

	for (i = 0; i < count; i++) {
		struct kvsink_stream *stream = kvsink_stream_find(file, recs[i].stream, false, true);

		if (IS_ERR(stream))
			continue;
		kvsink_stream_set_sram(stream, recs[i].sram_bytes);
		kvsink_stream_put(stream);
	}
}

/* ---- QUERY ----------------------------------------------------------------------------------- */

static int kvsink_query_copy(struct drm_file *drm_file, const struct drm_kvsink_query *args)
{
	struct kvsink_file *file = drm_file->driver_priv;
	struct kvsink_list_head *head = kvsink_answer(file);
	u32 record = kvsink_logic_record_bytes(args->type);
	u32 count = kvsink_answer_records(head, args->size, record);

	if (args->type == DRM_KVSINK_QUERY_STREAMS)
		kvsink_note_streams(drm_file, (void *)(head + 1), count);
	if (copy_to_user(u64_to_user_ptr(args->pointer), head, sizeof(*head) + (size_t)count * record))
		return -EFAULT;
	return 0;
}

int kvsink_ioctl_query(struct drm_device *dev, void *data, struct drm_file *drm_file)
{
	struct kvsink_file *file = drm_file->driver_priv;
	struct drm_kvsink_query *args = data;
	int err;

	if (!kvsink_logic_record_bytes(args->type) || args->size < sizeof(struct kvsink_list_head))
		return -EINVAL;
	if (args->size > DRM_KVSINK_MAX_QUERY_BYTES)
		return -E2BIG;
	if (args->type == DRM_KVSINK_QUERY_COUNTERS && !args->stream && !capable(CAP_SYS_ADMIN))
		return -EACCES;
	err = mutex_lock_interruptible(&file->answer_lock);
	if (err)
		return err;
	err = kvsink_query_run(drm_file, args, capable(CAP_SYS_ADMIN));
	err = err ? err : kvsink_query_copy(drm_file, args);
	mutex_unlock(&file->answer_lock);
	return err;
}

/* ---- CONFIG_GET ------------------------------------------------------------------------------ */

static int kvsink_config_get(struct drm_file *drm_file, struct drm_kvsink_config *args)
{
	struct kvsink_file *file = drm_file->driver_priv;
	struct kvsink_lookup lookup;
	struct kvsink_job *job;
	u64 *values;
	int err;

	err = kvsink_answer_reserve(file, KVSINK_LOGIC_PARAMS_BYTES);
	if (err)
		return err;
	job = kvsink_job_create(file->kdev, file, capable(CAP_SYS_ADMIN));
	if (IS_ERR(job))
		return PTR_ERR(job);
	kvsink_lookup_init(&lookup, drm_file, job);
	drm_gem_object_get(&file->answer->base.base);
	err = kvsink_job_hold_bo(job, &file->answer->base.base);
	err = err ? err
		  : kvsink_logic_build_config_get(&lookup.env, args, kvsink_bo_gart_offset(file->answer),
						  kvsink_job_cmd(job));
	err = err ? err : kvsink_job_run(job);
	kvsink_job_put(job);
	if (err)
		return err;
	values = kvsink_answer(file) + sizeof(struct kvsink_list_head);
	args->value = values[args->param];
	return 0;
}

int kvsink_ioctl_config_get(struct drm_device *dev, void *data, struct drm_file *drm_file)
{
	struct kvsink_file *file = drm_file->driver_priv;
	int err;

	err = mutex_lock_interruptible(&file->answer_lock);
	if (err)
		return err;
	err = kvsink_config_get(drm_file, data);
	mutex_unlock(&file->answer_lock);
	return err;
}

/* ---- ENTRY_READ ------------------------------------------------------------------------------ */

/* A tail has no generation, and its rows change: only entries can be read. */
static bool kvsink_tag_covers(const struct kvsink_tag_rec *tag, const struct drm_kvsink_entry_read *args)
{
	return !(tag->flags & KVSINK_TAG_TAIL) && tag->token == args->token &&
	       tag->generation == args->generation && (tag->flags & KVSINK_TAG_VALID) &&
	       tag->layer_begin <= args->layer && args->layer < tag->layer_end &&
	       tag->head_mask & BIT_ULL(args->head);
}

static s64 kvsink_row_offset(const struct kvsink_tag_rec *tag, const struct drm_kvsink_entry_read *args)
{
	u32 rank = (args->layer - tag->layer_begin) * hweight64(tag->head_mask) +
		   hweight64(tag->head_mask & (BIT_ULL(args->head) - 1));

	return tag->sram_offset + (s64)rank * tag->row_bytes;
}

/*
 * Ask the chip where the entry is: SRAM offset of the wanted row, or -ENOENT. A list that is longer than one
 * answer is read page by page; the chip has at most info.tags entries and some tails, so there are few.
 */
static s64 kvsink_entry_find(struct drm_file *drm_file, const struct drm_kvsink_entry_read *args)
{
	struct kvsink_file *file = drm_file->driver_priv;
	struct drm_kvsink_query query = {
		.type = DRM_KVSINK_QUERY_TAGS,
		.stream = args->stream,
		.size = min_t(u64, DRM_KVSINK_MAX_QUERY_BYTES,
			      sizeof(struct kvsink_list_head) +
				      (u64)file->kdev->info.tags * sizeof(struct kvsink_tag_rec)),
	};
	struct kvsink_list_head *head;
	struct kvsink_tag_rec *tag;
	u32 count, total, i;
	int err;

	do {
		/* The caller owns the stream; the place of its entry stays with us. */
		err = kvsink_query_run(drm_file, &query, true);
		if (err)
			return err;
		head = kvsink_answer(file);
		tag = (void *)(head + 1);
		count = kvsink_answer_records(head, query.size, sizeof(*tag));
		total = READ_ONCE(head->total);
		for (i = 0; i < count; i++)
			if (kvsink_tag_covers(&tag[i], args))
				return args->size == tag[i].row_bytes ? kvsink_row_offset(&tag[i], args)
								      : -EINVAL;
		query.first += count;
	} while (count && query.first < total);
	return -ENOENT;
}

/* Bytes of SRAM as they are now, while no reset happens. */
static int kvsink_entry_copy(struct kvsink_device *kdev, void *row, u64 offset, u32 size)
{
	int index, err = -EIO;

	if (!drm_dev_enter(&kdev->base, &index))
		return -ENODEV;
	down_read(&kdev->reset_lock);
	if (offset + size <= kdev->info.sram_bytes) {
		memcpy_fromio(row, kdev->sram + offset, size);
		err = 0;
	}
	up_read(&kdev->reset_lock);
	drm_dev_exit(index);
	return err;
}

/* An entry's generation never comes twice: the same place before and after means the bytes are its own. */
static int kvsink_entry_read(struct drm_file *drm_file, const struct drm_kvsink_entry_read *args, void *row)
{
	struct kvsink_file *file = drm_file->driver_priv;
	u32 tries;

	for (tries = 0; tries < KVSINK_ENTRY_TRIES; tries++) {
		s64 before = kvsink_entry_find(drm_file, args), after;
		int err = before < 0 ? before : kvsink_entry_copy(file->kdev, row, before, args->size);

		if (err)
			return err;
		after = kvsink_entry_find(drm_file, args);
		if (after == before)
			return 0;
		if (after < 0)
			return after;
	}
	return -EAGAIN;
}

int kvsink_ioctl_entry_read(struct drm_device *dev, void *data, struct drm_file *drm_file)
{
	struct kvsink_file *file = drm_file->driver_priv;
	struct drm_kvsink_entry_read *args = data;
	struct kvsink_logic_stream geometry;
	struct kvsink_lookup lookup;
	void *row;
	int err;

	kvsink_lookup_init(&lookup, drm_file, NULL);
	err = kvsink_logic_entry_read(&lookup.env, args, &geometry);
	if (err)
		return err;
	row = kmalloc(args->size, GFP_KERNEL);
	if (!row)
		return -ENOMEM;
	err = mutex_lock_interruptible(&file->answer_lock);
	if (!err) {
		err = kvsink_entry_read(drm_file, args, row);
		mutex_unlock(&file->answer_lock);
	}
	if (!err && copy_to_user(u64_to_user_ptr(args->pointer), row, args->size))
		err = -EFAULT;
	kfree(row);
	return err;
}
