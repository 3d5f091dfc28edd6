// SPDX-License-Identifier: GPL-2.0-only
/*
 * PREFIX_*: streams that do not change, and who holds them.
 *
 * A prefix is a struct kvsink_stream without an owner. It stands in kvsink_device.streams, so that PROMOTE,
 * QUERY and the like find it within its tenant. Its users are handles of files, descriptors, and streams and
 * prefixes that begin with it; with the last one it ends as a stream does, from release_wq. A stream gives
 * its prefix back only when the chip has dropped the stream, so the chip's count agrees.
 *
 * The publisher's whole pages move to the prefix: their HBM is cut out of the publisher's ranges. What a job
 * has done whose end nobody saw is asked before anything is given back.
 */
#include <drm/drm_drv.h>
#include <drm/drm_print.h>
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/slab.h>

#include "kvsink_job.h"
#include "kvsink_stream.h"

#define KVSINK_ASK_TRIES 3 /* a reset may overtake the question, too */

/* ---- Users ----------------------------------------------------------------------------------- */

static void kvsink_prefix_end(struct kref *users)
{
	struct kvsink_stream *prefix = container_of(users, struct kvsink_stream, users);

	mutex_lock(&prefix->lock);
	prefix->retired = true;
	mutex_unlock(&prefix->lock);
	xa_erase(&prefix->kdev->streams, prefix->geometry.id);
	queue_work(prefix->kdev->release_wq, &prefix->retire_work);
}

void kvsink_prefix_put(struct kvsink_stream *prefix)
{
	kref_put(&prefix->users, kvsink_prefix_end);
}

/*
 * Until its memory is free it stands in the account of who published it, whose file may be closed by then:
 * the reference keeps the list, not the file.
 */
static void kvsink_prefix_charge(struct kvsink_stream *prefix, struct kvsink_file *file)
{
	kref_get(&file->ref);
	prefix->publisher = file;
	mutex_lock(&file->lock);
	list_add_tail(&prefix->link, &file->published);
	mutex_unlock(&file->lock);
}

void kvsink_prefix_uncharge(struct kvsink_stream *prefix)
{
	mutex_lock(&prefix->publisher->lock);
	list_del_init(&prefix->link);
	mutex_unlock(&prefix->publisher->lock);
	kvsink_file_put(prefix->publisher);
}

/* A user of the prefix behind a handle of the file, or NULL. */
static struct kvsink_stream *kvsink_prefix_get(struct kvsink_file *file, u32 handle)
{
	struct kvsink_stream *prefix;

	xa_lock(&file->prefixes);
	prefix = xa_load(&file->prefixes, handle);
	if (prefix)
		kref_get(&prefix->users);
	xa_unlock(&file->prefixes);
	return prefix;
}

/* The caller's user of the prefix goes to a new handle. */
static int kvsink_prefix_add(struct kvsink_file *file, struct kvsink_stream *prefix, u32 *handle)
{
	int err = xa_alloc(&file->prefixes, handle, prefix, xa_limit_31b, GFP_KERNEL_ACCOUNT);

	if (err)
		kvsink_prefix_put(prefix);
	return err;
}

void kvsink_prefixes_close(struct kvsink_file *file)
{
	struct kvsink_stream *prefix;
	unsigned long handle;

	xa_for_each(&file->prefixes, handle, prefix) kvsink_prefix_put(prefix);
	xa_destroy(&file->prefixes);
}

/* ---- Jobs ------------------------------------------------------------------------------------ */

/* One command of the kernel's for the file; @said is what the chip said, ABORTED if nobody heard it. */
static int kvsink_prefix_command(struct kvsink_file *file, const struct kvsink_cmd *cmd,
				 struct kvsink_completion *said)
{
	struct kvsink_job *job = kvsink_job_create(file->kdev, file, true);
	const struct kvsink_completion *cpl;
	int err;

	*said = (struct kvsink_completion){.code = KVSINK_CODE_ABORTED};
	if (IS_ERR(job))
		return PTR_ERR(job);
	*kvsink_job_cmd(job) = *cmd;
	err = kvsink_job_run(job);
	cpl = kvsink_job_result(job);
	if (cpl)
		*said = *cpl;
	kvsink_job_put(job);
	return err;
}

/* ---- PREFIX_PUBLISH -------------------------------------------------------------------------- */

/* Nobody saw the end of the job: is the prefix there? A negative error if nobody can tell. */
static int kvsink_prefix_exists(struct kvsink_file *file, u64 id)
{
	struct kvsink_cmd cmd = {.opcode = KVSINK_OP_BARRIER, .barrier.stream = id};
	struct kvsink_completion said;
	int err = -ECANCELED;
	u32 tries;

	for (tries = 0; tries < KVSINK_ASK_TRIES; tries++) {
		err = kvsink_prefix_command(file, &cmd, &said);
		if (said.code != KVSINK_CODE_ABORTED)
			return said.code == KVSINK_CODE_OK;
	}
	return err;
}

/* HBM of pages [first, end) leaves the stream's ranges for @to. */
static int kvsink_prefix_carve(struct kvsink_stream *stream, u32 first, u32 end, struct list_head *to)
{
	u64 page_bytes = stream->layout.page_bytes;
	int err = 0;

	while (!err && first < end) {
		u64 start = stream->page_at[first];
		u32 run = 1;

		while (first + run < end && stream->page_at[first + run] == start + run * page_bytes)
			run++;
		err = kvsink_hbm_carve(stream->kdev, &stream->ranges, start, run * page_bytes, to);
		first += run;
	}
	return err;
}

/* A prefix with its areas and, if it needs one, its page; its id is drawn. */
static struct kvsink_stream *kvsink_prefix_make(struct kvsink_stream *stream,
						const struct kvsink_logic_layout *layout, u32 tokens,
						u64 *table, u64 *scores, u64 *page)
{
	struct kvsink_stream *prefix = kvsink_stream_alloc(stream->kdev, stream->tenant);
	u32 whole = tokens / stream->geometry.page_tokens;
	int err;

	if (IS_ERR(prefix))
		return prefix;
	kref_init(&prefix->users);
	prefix->geometry = stream->geometry;
	prefix->geometry.max_tokens = layout->max_pages * stream->geometry.page_tokens;
	prefix->layout = *layout;
	prefix->tokens = tokens;
	prefix->pages = layout->max_pages;
	prefix->page_at = kvcalloc(layout->max_pages, sizeof(*prefix->page_at), GFP_KERNEL_ACCOUNT);
	err = prefix->page_at ? 0 : -ENOMEM;
	err = err ? err : kvsink_stream_add_range(prefix, &prefix->ranges, layout->table_bytes, table);
	err = err ? err : kvsink_stream_add_range(prefix, &prefix->ranges, layout->score_bytes, scores);
	*page = 0;
	if (!err && layout->reserve_pages)
		err = kvsink_stream_add_range(prefix, &prefix->ranges, layout->page_bytes, page);
	if (err) {
		kvsink_hbm_free_clean(prefix->kdev, &prefix->ranges);
		kvsink_stream_put(prefix);
		return ERR_PTR(err);
	}
	memcpy(prefix->page_at, stream->page_at, whole * sizeof(*prefix->page_at));
	if (layout->reserve_pages)
		prefix->page_at[whole] = *page;
	prefix->geometry.id = atomic64_inc_return(&stream->kdev->next_stream);
	return prefix;
}

/* The chip has said yes: who has what, and who pays for it. The stream's user of the prefix is the first. */
static void kvsink_prefix_take_over(struct kvsink_stream *stream, struct kvsink_stream *prefix,
				    struct list_head *moved)
{
	u32 whole = prefix->tokens / stream->geometry.page_tokens;
	u64 bytes = (u64)(whole - stream->own_page) * stream->layout.page_bytes;

	prefix->prefix = stream->prefix;
	prefix->own_page = stream->own_page;
	stream->prefix = prefix;
	stream->own_page = whole;
	list_splice_tail_init(moved, &prefix->ranges);
	atomic64_sub(bytes, &stream->hbm_bytes);
	atomic64_set(&prefix->hbm_bytes, bytes + prefix->layout.table_bytes + prefix->layout.score_bytes +
						 prefix->layout.reserve_pages * prefix->layout.page_bytes);
	kvsink_prefix_charge(prefix, stream->owner); /* who asked: only the owner may */
}

/*
 * The caller was killed and the job may be under way: as if it were done, with the stream as its only user.
 * They end together, the stream after that job and before the prefix, so each end is right whether it was
 * done or not.
 */
static struct kvsink_stream *kvsink_prefix_maybe(struct kvsink_stream *stream, struct kvsink_stream *prefix,
						 struct list_head *moved, int err)
{
	kvsink_prefix_take_over(stream, prefix, moved);
	stream->unsure = true;
	return ERR_PTR(err);
}

/* Under stream->lock. The prefix has a user for the stream, and one for the caller. */
static struct kvsink_stream *kvsink_prefix_publish(struct kvsink_stream *stream, struct kvsink_file *file,
						   struct drm_kvsink_prefix_publish *args,
						   const struct kvsink_logic_layout *layout)
{
	u32 whole = args->tokens / stream->geometry.page_tokens;
	struct kvsink_completion said;
	struct kvsink_stream *prefix;
	u64 table, scores, page;
	struct kvsink_cmd cmd;
	LIST_HEAD(moved);
	int err;

	if (whole > stream->pages)
		return ERR_PTR(-EINVAL);
	prefix = kvsink_prefix_make(stream, layout, args->tokens, &table, &scores, &page);
	if (IS_ERR(prefix))
		return prefix;
	/* where it is found there is room before the chip knows it: nobody can guess an id that was not told
	 */
	err = xa_err(xa_store(&stream->kdev->streams, prefix->geometry.id, prefix, GFP_KERNEL));
	err = err ? err : kvsink_prefix_carve(stream, stream->own_page, whole, &moved);
	if (!err) {
		kvsink_logic_build_publish(args, prefix->geometry.id, table, scores, page, &cmd);
		err = kvsink_prefix_command(file, &cmd, &said);
		args->code = said.code;
		if (err && said.code == KVSINK_CODE_ABORTED) {
			int exists = kvsink_prefix_exists(file, prefix->geometry.id);

			if (exists > 0) {
				err = 0;
				args->code = 0;
			} else if (exists < 0 && fatal_signal_pending(current)) {
				return kvsink_prefix_maybe(stream, prefix, &moved, err);
			} else if (exists < 0) {
				kvsink_hbm_lose(stream->kdev, &prefix->ranges); /* the chip may use it */
			}
		}
	}
	if (err) {
		xa_erase(&stream->kdev->streams, prefix->geometry.id);
		list_splice_tail(&moved, &stream->ranges);
		kvsink_hbm_free(stream->kdev, &prefix->ranges);
		kvsink_stream_put(prefix);
		return ERR_PTR(err);
	}
	kvsink_prefix_take_over(stream, prefix, &moved);
	kref_get(&prefix->users);
	return prefix;
}

/* ---- Streams that are asked for -------------------------------------------------------------- */

/* The file's own stream, locked, in HBM, its pages known; or an error, and @code if the chip would say it. */
static struct kvsink_stream *kvsink_prefix_lock(struct kvsink_file *file, u64 id, u32 *code)
{
	struct kvsink_stream *stream = kvsink_stream_find(file, id, true, false);
	struct kvsink_completion said;
	int err;

	if (IS_ERR(stream))
		return stream;
	err = mutex_lock_interruptible(&stream->lock);
	if (err) {
		kvsink_stream_put(stream);
		return ERR_PTR(err);
	}
	err = stream->retired ? -ENOENT : kvsink_swap_settle(stream, file, &said);
	if (!err && stream->where == KVSINK_LOGIC_OUT) {
		*code = KVSINK_CODE_SWAPPED;
		err = -ENODATA;
	}
	err = err ? err : kvsink_stream_settle_pages(stream, file);
	if (!err)
		return stream;
	mutex_unlock(&stream->lock);
	kvsink_stream_put(stream);
	return ERR_PTR(err);
}

static void kvsink_prefix_unlock(struct kvsink_stream *stream)
{
	mutex_unlock(&stream->lock);
	kvsink_stream_put(stream);
}

int kvsink_ioctl_prefix_publish(struct drm_device *dev, void *data, struct drm_file *drm_file)
{
	struct drm_kvsink_prefix_publish *args = data;
	struct kvsink_file *file = drm_file->driver_priv;
	struct kvsink_logic_stream geometry;
	struct kvsink_stream *stream, *prefix;
	struct kvsink_logic_layout layout;
	struct kvsink_lookup lookup;
	int err;

	kvsink_lookup_init(&lookup, drm_file, NULL);
	err = kvsink_logic_prefix_publish(&lookup.env, args, &geometry, &layout);
	if (err)
		return err;
	stream = kvsink_prefix_lock(file, args->stream, &args->code);
	if (IS_ERR(stream))
		return PTR_ERR(stream);
	prefix = kvsink_prefix_publish(stream, file, args, &layout);
	kvsink_prefix_unlock(stream);
	if (IS_ERR(prefix))
		return PTR_ERR(prefix);
	args->prefix = prefix->geometry.id;
	return kvsink_prefix_add(file, prefix, &args->handle);
}

/* ---- Handles and descriptors ----------------------------------------------------------------- */

static int kvsink_prefix_fd_release(struct inode *inode, struct file *filp)
{
	struct kvsink_stream *prefix = filp->private_data;
	struct drm_device *dev = &prefix->kdev->base;

	kvsink_prefix_put(prefix);
	drm_dev_put(dev);
	return 0;
}

static const struct file_operations kvsink_prefix_fops = {
	.owner = THIS_MODULE,
	.release = kvsink_prefix_fd_release,
};

int kvsink_ioctl_prefix_export(struct drm_device *dev, void *data, struct drm_file *drm_file)
{
	struct drm_kvsink_prefix_handle *args = data;
	struct kvsink_stream *prefix = kvsink_prefix_get(drm_file->driver_priv, args->handle);
	int fd;

	if (!prefix)
		return -ENOENT;
	drm_dev_get(dev);
	fd = anon_inode_getfd("[kvsink-prefix]", &kvsink_prefix_fops, prefix, O_CLOEXEC);
	if (fd < 0) {
		kvsink_prefix_put(prefix);
		drm_dev_put(dev);
		return fd;
	}
	args->fd = fd;
	return 0;
}

/* A user of the prefix that the descriptor stands for. */
static struct kvsink_stream *kvsink_prefix_from_fd(struct kvsink_device *kdev, int fd)
{
	struct file *filp = fget(fd);
	struct kvsink_stream *prefix;

	if (!filp)
		return ERR_PTR(-EBADF);
	prefix = filp->f_op == &kvsink_prefix_fops ? filp->private_data : ERR_PTR(-EINVAL);
	if (!IS_ERR(prefix) && prefix->kdev != kdev)
		prefix = ERR_PTR(-EXDEV);
	if (!IS_ERR(prefix))
		kref_get(&prefix->users); /* the descriptor holds one as long as we hold it */
	fput(filp);
	return prefix;
}

/* A user of a prefix of the file's tenant, by id. */
static struct kvsink_stream *kvsink_prefix_from_id(struct kvsink_file *file, u64 id)
{
	struct kvsink_stream *prefix = kvsink_stream_find(file, id, false, capable(CAP_SYS_ADMIN));
	bool got;

	if (IS_ERR(prefix))
		return prefix;
	got = prefix->tokens && kref_get_unless_zero(&prefix->users);
	if (!got) {
		kvsink_stream_put(prefix);
		return ERR_PTR(-ENOENT);
	}
	kvsink_stream_put(prefix); /* the user holds it */
	return prefix;
}

int kvsink_ioctl_prefix_open(struct drm_device *dev, void *data, struct drm_file *drm_file)
{
	struct drm_kvsink_prefix_open *args = data;
	struct kvsink_file *file = drm_file->driver_priv;
	struct kvsink_stream *prefix;

	if (args->pad || (args->prefix && args->fd != -1))
		return -EINVAL;
	prefix = args->prefix ? kvsink_prefix_from_id(file, args->prefix)
			      : kvsink_prefix_from_fd(file->kdev, args->fd);
	if (IS_ERR(prefix))
		return PTR_ERR(prefix);
	args->tokens = prefix->tokens;
	return kvsink_prefix_add(file, prefix, &args->handle);
}

/*
 * When the last user goes by this, its memory is free afterwards, as with a stream. A fatal signal ends the
 * wait.
 */
int kvsink_ioctl_prefix_close(struct drm_device *dev, void *data, struct drm_file *drm_file)
{
	struct drm_kvsink_prefix_handle *args = data;
	struct kvsink_file *file = drm_file->driver_priv;
	struct kvsink_stream *prefix;
	int err = 0;

	if (args->fd)
		return -EINVAL;
	prefix = xa_erase(&file->prefixes, args->handle);
	if (!prefix)
		return -ENOENT;
	kref_get(&prefix->ref);
	if (kref_put(&prefix->users, kvsink_prefix_end))
		err = wait_for_completion_killable(&prefix->gone);
	kvsink_stream_put(prefix);
	return err;
}

/* ---- PREFIX_ATTACH --------------------------------------------------------------------------- */

/* Nobody saw the end of the job: what has the stream? 0 if the chip told. */
static int kvsink_prefix_ask_pages(struct kvsink_stream *stream, struct kvsink_file *file)
{
	int err = -ECANCELED;
	u32 tries;

	stream->unsure = true;
	for (tries = 0; err && tries < KVSINK_ASK_TRIES; tries++)
		err = kvsink_stream_settle_pages(stream, file);
	return err;
}

/*
 * Under stream->lock. When nobody can tell whether it was done, the stream holds the prefix as if it were,
 * and the caller hears of the failure: DETACH, or the stream's end, lets go of it.
 */
static int kvsink_prefix_attach(struct kvsink_stream *stream, struct kvsink_file *file,
				struct kvsink_stream *prefix, struct drm_kvsink_prefix_attach *args,
				bool needs_page)
{
	u32 whole = args->tokens / stream->geometry.page_tokens;
	struct kvsink_completion said;
	struct kvsink_cmd cmd;
	LIST_HEAD(ranges);
	u64 page = 0;
	int err = 0;

	if (args->tokens > prefix->tokens)
		return -EINVAL;
	if (stream->pages || stream->prefix)
		return -EBUSY;
	if (needs_page)
		err = kvsink_stream_add_range(stream, &ranges, stream->layout.page_bytes, &page);
	if (err)
		return err;
	kvsink_logic_build_attach(args, prefix->geometry.id, page, &cmd);
	err = kvsink_prefix_command(file, &cmd, &said);
	args->code = said.code;
	if (err && said.code == KVSINK_CODE_ABORTED && !kvsink_prefix_ask_pages(stream, file) &&
	    stream->pages) {
		err = 0;
		args->code = 0;
	}
	if (err && !stream->unsure) {
		kvsink_hbm_free(stream->kdev, &ranges);
		return err;
	}
	kref_get(&prefix->users);
	memcpy(stream->page_at, prefix->page_at, whole * sizeof(*stream->page_at));
	if (needs_page)
		stream->page_at[whole] = page;
	stream->prefix = prefix;
	stream->own_page = whole;
	stream->pages = whole + needs_page;
	list_splice_tail(&ranges, &stream->ranges);
	atomic64_add(needs_page * stream->layout.page_bytes, &stream->hbm_bytes);
	return err;
}

int kvsink_ioctl_prefix_attach(struct drm_device *dev, void *data, struct drm_file *drm_file)
{
	struct drm_kvsink_prefix_attach *args = data;
	struct kvsink_file *file = drm_file->driver_priv;
	struct kvsink_stream *stream, *prefix;
	struct kvsink_lookup lookup;
	bool needs_page;
	int err;

	kvsink_lookup_init(&lookup, drm_file, NULL);
	err = kvsink_logic_prefix_attach(&lookup.env, args, &needs_page);
	if (err)
		return err;
	prefix = kvsink_prefix_get(file, args->handle);
	if (!prefix)
		return -ENOENT;
	stream = kvsink_prefix_lock(file, args->stream, &args->code);
	err = PTR_ERR_OR_ZERO(stream);
	if (!err) {
		err = kvsink_prefix_attach(stream, file, prefix, args, needs_page);
		kvsink_prefix_unlock(stream);
	}
	kvsink_prefix_put(prefix);
	return err;
}

/* ---- PREFIX_DETACH --------------------------------------------------------------------------- */

/* As many pages as one job can name, the last that are shared; @pages are for all of them. */
static int kvsink_prefix_detach_some(struct kvsink_stream *stream, struct kvsink_file *file, const u64 *pages,
				     u32 *code)
{
	u32 count = min_t(u32, stream->own_page, KVSINK_MAP_PAGES), first = stream->own_page - count;
	struct kvsink_job *job = kvsink_job_create(stream->kdev, file, true);
	const struct kvsink_completion *cpl;
	int err;

	if (IS_ERR(job))
		return PTR_ERR(job);
	kvsink_logic_build_detach(stream->geometry.id, first, pages + first, count, kvsink_job_cmd(job),
				  job->mem->items);
	job->desc.item_count = KVSINK_LOGIC_PAGE_ITEMS(count);
	err = kvsink_job_run(job);
	cpl = kvsink_job_result(job);
	*code = cpl ? cpl->code : KVSINK_CODE_ABORTED;
	if (*code != KVSINK_CODE_WINDOW)
		memcpy(stream->page_at + first, pages + first, count * sizeof(*pages));
	if (!err)
		stream->own_page = first;
	stream->unsure |= !cpl;
	kvsink_job_put(job);
	return err;
}

/*
 * Under stream->lock. The new pages stay the stream's until its end, unless a window is open: then the chip
 * has touched none of them, and asking again and again costs nothing.
 */
static int kvsink_prefix_detach(struct kvsink_stream *stream, struct kvsink_file *file, u32 *code)
{
	struct kvsink_stream *prefix = stream->prefix;
	u32 count = stream->own_page;
	u64 *pages = NULL;
	LIST_HEAD(runs);
	int err;

	*code = KVSINK_CODE_OK;
	if (!prefix) {
		*code = KVSINK_CODE_NOT_SHARED;
		return kvsink_logic_errno(*code);
	}
	err = kvsink_stream_alloc_pages(stream, count, &runs);
	if (err)
		return err;
	pages = kvsink_stream_list_pages(stream, &runs, count);
	if (!pages) {
		kvsink_hbm_free_clean(stream->kdev, &runs);
		return -ENOMEM;
	}
	do {
		u32 before = stream->own_page;

		err = kvsink_prefix_detach_some(stream, file, pages, code);
		if (err && *code == KVSINK_CODE_ABORTED && !kvsink_stream_settle_pages(stream, file) &&
		    stream->own_page < before)
			err = 0; /* it was done, or some of it */
	} while (!err && stream->own_page);
	kvfree(pages);
	if (*code == KVSINK_CODE_WINDOW) {
		kvsink_hbm_free_clean(stream->kdev, &runs);
		return err;
	}
	list_splice_tail(&runs, &stream->ranges);
	atomic64_add(count * stream->layout.page_bytes, &stream->hbm_bytes);
	/* what the chip says of a stream that has parted already */
	if (err && *code != KVSINK_CODE_NOT_SHARED)
		return err;
	stream->prefix = NULL;
	kvsink_prefix_put(prefix);
	*code = KVSINK_CODE_OK;
	return 0;
}

int kvsink_ioctl_prefix_detach(struct drm_device *dev, void *data, struct drm_file *drm_file)
{
	struct drm_kvsink_prefix_detach *args = data;
	struct kvsink_file *file = drm_file->driver_priv;
	struct kvsink_stream *stream;
	struct kvsink_lookup lookup;
	int err;

	kvsink_lookup_init(&lookup, drm_file, NULL);
	err = kvsink_logic_prefix_detach(&lookup.env, args);
	if (err)
		return err;
	stream = kvsink_prefix_lock(file, args->stream, &args->code);
	if (IS_ERR(stream))
		return PTR_ERR(stream);
	err = kvsink_prefix_detach(stream, file, &args->code);
	kvsink_prefix_unlock(stream);
	return err;
}
