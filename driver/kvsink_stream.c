// SPDX-License-Identifier: GPL-2.0-only
/*
 * Streams from STREAM_CREATE to the last scrub.
 *
 * A stream is found by id in kvsink_device.streams and belongs to the file in whose list it stands. Its end,
 * on request or with the file, is always the same: out of both, then from release_wq, after the owner's last
 * job, STREAM_DESTROY in the chip, HBM cleared, HBM returned.
 */
#include <drm/drm_drv.h>
#include <drm/drm_print.h>
#include <linux/slab.h>

#include "kvsink_job.h"
#include "kvsink_stream.h"

/* ---- References ------------------------------------------------------------------------------ */

static void kvsink_stream_release(struct kref *ref)
{
	struct kvsink_stream *stream = container_of(ref, struct kvsink_stream, ref);

	dma_fence_put(stream->after);
	mutex_destroy(&stream->lock);
	kvfree(stream->page_at);
	kfree(stream);
}

void kvsink_stream_put(struct kvsink_stream *stream)
{
	kref_put(&stream->ref, kvsink_stream_release);
}

/* A reference, or ENOENT (nothing that @file may see), or EACCES (@own, and it is another file's). */
struct kvsink_stream *kvsink_stream_find(struct kvsink_file *file, u64 id, bool own, bool admin)
{
	struct kvsink_device *kdev = file->kdev;
	struct kvsink_stream *stream;
	int err = 0;

	BUILD_BUG_ON(sizeof(long) < sizeof(id)); /* an index of the xarray */
	xa_lock(&kdev->streams);
	stream = xa_load(&kdev->streams, id);
	if (!stream || (stream->tenant != file->tenant && !admin))
		err = -ENOENT;
	else if (own && stream->owner != file)
		err = -EACCES;
	else
		kref_get(&stream->ref);
	xa_unlock(&kdev->streams);
	return err ? ERR_PTR(err) : stream;
}

void kvsink_stream_set_sram(struct kvsink_stream *stream, u64 bytes)
{
	WRITE_ONCE(stream->sram_generation, READ_ONCE(stream->kdev->generation));
	atomic64_set(&stream->sram_bytes, bytes);
}

void kvsink_stream_add_sram(struct kvsink_stream *stream, u64 bytes)
{
	if (READ_ONCE(stream->sram_generation) != READ_ONCE(stream->kdev->generation))
		kvsink_stream_set_sram(stream, bytes);
	else
		atomic64_add(bytes, &stream->sram_bytes);
}

/* ---- The end --------------------------------------------------------------------------------- */

static void kvsink_stream_retire_work(struct work_struct *work)
{
	struct kvsink_stream *stream = container_of(work, struct kvsink_stream, retire_work);
	struct kvsink_device *kdev = stream->kdev;
	struct kvsink_cmd cmd;
	int err;

	kvsink_logic_build_destroy(stream->geometry.id, &cmd);
	err = kvsink_kernel_run(kdev, &cmd, 1);
	mutex_lock(&stream->lock);
	list_splice_tail_init(&stream->journals, &stream->ranges);
	/* ENOENT: the chip never knew it, or a first try did succeed. */
	if (err && err != -ENOENT && err != -ENODEV) {
		drm_err(&kdev->base, "stream %llu stays in the chip (%d), and in its HBM\n",
			stream->geometry.id, err);
		kvsink_hbm_lose(kdev, &stream->ranges);
	}
	kvsink_hbm_free(kdev, &stream->ranges);
	mutex_unlock(&stream->lock);
	if (stream->publisher)
		kvsink_prefix_uncharge(stream);
	if (stream->prefix)
		kvsink_prefix_put(stream->prefix); /* the chip has counted it off as well */
	complete_all(&stream->gone);
	kvsink_stream_put(stream);
}

static void kvsink_stream_after(struct dma_fence *fence, struct dma_fence_cb *cb)
{
	struct kvsink_stream *stream = container_of(cb, struct kvsink_stream, after_cb);

	queue_work(stream->kdev->release_wq, &stream->retire_work);
}

/* The first call sends the stream to its end. Wait for stream->gone if it matters. */
static void kvsink_stream_retire(struct kvsink_stream *stream, struct kvsink_file *file)
{
	bool was;

	mutex_lock(&stream->lock);
	was = stream->retired;
	stream->retired = true;
	mutex_unlock(&stream->lock);
	if (was)
		return;
	xa_erase(&stream->kdev->streams, stream->geometry.id);
	stream->after = kvsink_queue_last(&file->queue);
	if (!stream->after || dma_fence_add_callback(stream->after, &stream->after_cb, kvsink_stream_after))
		queue_work(stream->kdev->release_wq, &stream->retire_work);
}

static void kvsink_stream_unlink(struct kvsink_stream *stream, struct kvsink_file *file)
{
	bool linked;

	mutex_lock(&file->lock);
	linked = !list_empty(&stream->link);
	list_del_init(&stream->link);
	mutex_unlock(&file->lock);
	if (linked)
		kvsink_stream_put(stream);
}

/* End a stream on its owner's behalf. A fatal signal ends the wait; the file's end will wait again. */
static int kvsink_stream_end(struct kvsink_stream *stream, struct kvsink_file *file)
{
	int err;

	kvsink_stream_retire(stream, file);
	err = wait_for_completion_killable(&stream->gone);
	if (!err)
		kvsink_stream_unlink(stream, file);
	return err;
}

/* The file is closed: its queue takes no more jobs. Nothing of its streams is left afterwards. */
void kvsink_streams_close(struct kvsink_file *file)
{
	struct kvsink_stream *stream, *next;

	list_for_each_entry(stream, &file->streams, link)
		kvsink_stream_retire(stream, file);
	list_for_each_entry_safe(stream, next, &file->streams, link) {
		wait_for_completion(&stream->gone);
		kvsink_stream_unlink(stream, file);
	}
}

/* ---- Memory ---------------------------------------------------------------------------------- */

int kvsink_stream_add_range(struct kvsink_stream *stream, struct list_head *ranges, u64 bytes, u64 *offset)
{
	struct kvsink_hbm_range *range = kvsink_hbm_alloc(stream->kdev, bytes);

	if (IS_ERR(range))
		return PTR_ERR(range);
	list_add_tail(&range->link, ranges);
	if (offset)
		*offset = range->node.start;
	return 0;
}

/* @count pages in as few runs as HBM has; all of them or -ENOSPC and none. */
int kvsink_stream_alloc_pages(struct kvsink_stream *stream, u32 count, struct list_head *runs)
{
	u64 page_bytes = stream->layout.page_bytes;
	u32 run = count;

	while (count) {
		int err;

		run = min(run, count);
		err = kvsink_stream_add_range(stream, runs, run * page_bytes, NULL);
		if (!err) {
			count -= run;
		} else if (err == -ENOSPC && run > 1) {
			run /= 2;
		} else {
			kvsink_hbm_free_clean(stream->kdev, runs);
			return err;
		}
	}
	return 0;
}

/* HBM offsets of all pages in @runs; free with kvfree(). */
u64 *kvsink_stream_list_pages(struct kvsink_stream *stream, struct list_head *runs, u32 count)
{
	u64 *pages = kvmalloc_array(count, sizeof(*pages), GFP_KERNEL);
	struct kvsink_hbm_range *run;
	u64 offset;
	u32 n = 0;

	if (!pages)
		return NULL;
	list_for_each_entry(run, runs, link)
		for (offset = 0; offset < run->node.size; offset += stream->layout.page_bytes)
			pages[n++] = run->node.start + offset;
	return pages;
}

/* If nobody knows how many pages the chip has for it, and how many of them are a prefix's: ask. */
int kvsink_stream_settle_pages(struct kvsink_stream *stream, struct kvsink_file *file)
{
	const struct kvsink_completion *cpl;
	struct kvsink_job *job;
	int err;

	if (!stream->unsure)
		return 0;
	job = kvsink_job_create(stream->kdev, file, true);
	if (IS_ERR(job))
		return PTR_ERR(job);
	kvsink_logic_build_ask_pages(stream->geometry.id, kvsink_job_cmd(job));
	err = kvsink_job_run(job);
	cpl = kvsink_job_result(job);
	if (cpl && cpl->code == KVSINK_CODE_SEQUENCE) {
		stream->pages = cpl->result[0];
		stream->own_page = cpl->result[1];
		stream->unsure = false;
		err = 0;
	}
	kvsink_job_put(job);
	return err;
}

/*
 * One PAGE_MAP behind the @has pages that the chip has. It has more than we know of when nobody waited for
 * the end of an earlier one (reset, signal): -EILSEQ then, and @has is right again.
 */
int kvsink_stream_map_some(struct kvsink_stream *stream, struct kvsink_file *file, const u64 *pages,
			   u32 count, u32 *has)
{
	struct kvsink_job *job = kvsink_job_create(stream->kdev, file, true);
	int err;

	if (IS_ERR(job))
		return PTR_ERR(job);
	kvsink_logic_build_page_map(stream->geometry.id, *has, pages, count, 0, kvsink_job_cmd(job),
				    job->mem->items);
	job->desc.item_count = KVSINK_LOGIC_PAGE_ITEMS(count);
	memcpy(stream->page_at + *has, pages, count * sizeof(*pages)); /* whatever becomes known of the job */
	err = kvsink_job_run(job);
	stream->unsure |= !kvsink_job_result(job);
	if (!err)
		*has += count;
	else if (err == -EILSEQ)
		*has = job->cpl.address;
	kvsink_job_put(job);
	return err;
}

/* @done tells how many the chip has for sure. */
static int kvsink_stream_map(struct kvsink_stream *stream, struct kvsink_file *file, struct list_head *runs,
			     u32 count, u32 *done)
{
	u64 *pages = kvsink_stream_list_pages(stream, runs, count);
	int err = pages ? 0 : -ENOMEM;
	u32 part;

	for (*done = 0; !err && *done < count; *done += err ? 0 : part) {
		part = min_t(u32, count - *done, KVSINK_MAP_PAGES);
		err = kvsink_stream_map_some(stream, file, pages + *done, part, &stream->pages);
	}
	kvfree(pages);
	return err;
}

/*
 * Under stream->lock: bring the stream to @pages pages. All HBM is there before the first job. When a job
 * fails (reset, signal) the stream keeps what it got until its end, unless the chip has said no.
 */
static int kvsink_stream_grow_once(struct kvsink_stream *stream, struct kvsink_file *file, u32 count)
{
	LIST_HEAD(runs);
	u32 done;
	int err;

	err = kvsink_stream_alloc_pages(stream, count, &runs);
	if (err)
		return err;
	err = kvsink_stream_map(stream, file, &runs, count, &done);
	if (!done && (err == -EILSEQ || err == -ENODATA || err == -ENOMEM)) {
		kvsink_hbm_free_clean(stream->kdev, &runs);
		return err;
	}
	list_splice_tail(&runs, &stream->ranges);
	atomic64_add(count * stream->layout.page_bytes, &stream->hbm_bytes);
	return err;
}

static int kvsink_stream_grow(struct kvsink_stream *stream, struct kvsink_file *file, u32 pages)
{
	int err = kvsink_stream_settle_pages(stream, file);
	u32 tries;

	if (err)
		return err;
	err = -EILSEQ;
	for (tries = 0; err == -EILSEQ && tries < 2; tries++)
		err = pages > stream->pages ? kvsink_stream_grow_once(stream, file, pages - stream->pages)
					    : 0;
	return err;
}

/* ---- STREAM_CREATE --------------------------------------------------------------------------- */

/* Without an owner. */
struct kvsink_stream *kvsink_stream_alloc(struct kvsink_device *kdev, u32 tenant)
{
	struct kvsink_stream *stream = kzalloc(sizeof(*stream), GFP_KERNEL);

	if (!stream)
		return ERR_PTR(-ENOMEM);
	kref_init(&stream->ref);
	mutex_init(&stream->lock);
	INIT_LIST_HEAD(&stream->ranges);
	INIT_LIST_HEAD(&stream->journals);
	INIT_LIST_HEAD(&stream->link);
	INIT_WORK(&stream->retire_work, kvsink_stream_retire_work);
	init_completion(&stream->gone);
	stream->kdev = kdev;
	stream->tenant = tenant;
	return stream;
}

/* Give it an id and enter it where it is found; from here on its end is kvsink_stream_retire(). */
static int kvsink_stream_publish(struct kvsink_stream *stream, struct kvsink_file *file)
{
	int err;

	stream->geometry.id = atomic64_inc_return(&stream->kdev->next_stream);
	err = xa_err(xa_store(&stream->kdev->streams, stream->geometry.id, stream, GFP_KERNEL));
	if (err)
		return err;
	kref_get(&stream->ref);
	mutex_lock(&file->lock);
	list_add_tail(&stream->link, &file->streams);
	mutex_unlock(&file->lock);
	return 0;
}

static int kvsink_stream_create_in_chip(struct kvsink_stream *stream, struct kvsink_file *file,
					const struct drm_kvsink_stream_create *args,
					const struct drm_kvsink_layer *layers, u64 table, u64 scores)
{
	struct kvsink_job *job = kvsink_job_create(stream->kdev, file, true);
	int err;

	if (IS_ERR(job))
		return PTR_ERR(job);
	kvsink_logic_build_create(args, layers, stream->geometry.id, stream->tenant, table, scores,
				  kvsink_job_cmd(job), job->mem->items);
	job->desc.item_count = args->layers.count;
	err = kvsink_job_run(job);
	kvsink_job_put(job);
	return err;
}

/* Everything that can fail for want of memory comes first, so that ENOSPC leaves nothing behind. */
static int kvsink_stream_set_up(struct kvsink_stream *stream, struct kvsink_file *file,
				struct drm_kvsink_stream_create *args, const struct drm_kvsink_layer *layers)
{
	const struct kvsink_logic_layout *layout = &stream->layout;
	u64 table, scores;
	int err;

	stream->page_at = kvcalloc(layout->max_pages, sizeof(*stream->page_at), GFP_KERNEL_ACCOUNT);
	err = stream->page_at ? 0 : -ENOMEM;
	err = err ? err : kvsink_stream_add_range(stream, &stream->ranges, layout->table_bytes, &table);
	err = err ? err : kvsink_stream_add_range(stream, &stream->ranges, layout->score_bytes, &scores);
	kref_get(&stream->ref); /* ours; the first one goes to kvsink_device.streams */
	err = err ? err : kvsink_stream_publish(stream, file);
	if (err) {
		kvsink_hbm_free_clean(stream->kdev, &stream->ranges);
		kvsink_stream_put(stream);
		kvsink_stream_put(stream);
		return err;
	}
	atomic64_set(&stream->hbm_bytes, layout->table_bytes + layout->score_bytes);
	mutex_lock(&stream->lock);
	err = stream->retired ? -ENOENT
			      : kvsink_stream_create_in_chip(stream, file, args, layers, table, scores);
	err = err ? err : kvsink_stream_grow(stream, file, layout->reserve_pages);
	mutex_unlock(&stream->lock);
	args->stream = stream->geometry.id;
	if (err)
		kvsink_stream_end(stream, file);
	kvsink_stream_put(stream);
	return err;
}

int kvsink_ioctl_stream_create(struct drm_device *dev, void *data, struct drm_file *drm_file)
{
	struct drm_kvsink_stream_create *args = data;
	struct kvsink_file *file = drm_file->driver_priv;
	struct drm_kvsink_layer *layers;
	struct kvsink_stream *stream;
	struct kvsink_lookup lookup;
	int err;

	err = kvsink_logic_array(&args->layers, sizeof(*layers), 1, DRM_KVSINK_MAX_LAYERS);
	if (err)
		return err;
	layers = kvsink_copy_array(&args->layers, sizeof(*layers));
	if (IS_ERR(layers))
		return PTR_ERR(layers);
	stream = kvsink_stream_alloc(file->kdev, file->tenant);
	if (IS_ERR(stream)) {
		kvfree(layers);
		return PTR_ERR(stream);
	}
	stream->owner = file;
	kvsink_lookup_init(&lookup, drm_file, NULL);
	err = kvsink_logic_stream_create(&lookup.env, args, layers, &stream->geometry, &stream->layout);
	if (err)
		kvsink_stream_put(stream);
	else
		err = kvsink_stream_set_up(stream, file, args, layers);
	kvfree(layers);
	return err;
}

/* ---- STREAM_RESERVE, STREAM_DESTROY ---------------------------------------------------------- */

int kvsink_ioctl_stream_reserve(struct drm_device *dev, void *data, struct drm_file *drm_file)
{
	struct drm_kvsink_stream_reserve *args = data;
	struct kvsink_file *file = drm_file->driver_priv;
	struct kvsink_logic_stream geometry;
	struct kvsink_completion said;
	struct kvsink_stream *stream;
	struct kvsink_lookup lookup;
	u32 pages;
	int err;

	kvsink_lookup_init(&lookup, drm_file, NULL);
	err = kvsink_logic_stream_reserve(&lookup.env, args, &geometry, &pages);
	if (err)
		return err;
	stream = kvsink_stream_find(file, args->stream, true, false);
	if (IS_ERR(stream))
		return PTR_ERR(stream);
	err = mutex_lock_interruptible(&stream->lock);
	if (!err) {
		err = stream->retired ? -ENOENT : kvsink_swap_settle(stream, file, &said);
		if (!err)
			err = stream->where == KVSINK_LOGIC_OUT ? -ENODATA
								: kvsink_stream_grow(stream, file, pages);
		mutex_unlock(&stream->lock);
	}
	kvsink_stream_put(stream);
	return err;
}

int kvsink_ioctl_stream_destroy(struct drm_device *dev, void *data, struct drm_file *drm_file)
{
	struct drm_kvsink_stream_destroy *args = data;
	struct kvsink_file *file = drm_file->driver_priv;
	struct kvsink_stream *stream;
	int err;

	stream = kvsink_stream_find(file, args->stream, true, false);
	if (IS_ERR(stream))
		return PTR_ERR(stream);
	err = kvsink_stream_end(stream, file);
	kvsink_stream_put(stream);
	return err;
}
