// SPDX-License-Identifier: GPL-2.0-only
/*
 * SWAP_OUT and SWAP_IN: a stream's HBM goes back to the allocator, and is reserved anew.
 *
 * Whether a stream is out is the chip's to know: a reset or a fatal signal may come between the end of a job
 * and who waits for it. So HBM is given back only after a job of the owner's queue, behind all that could
 * know of it, has said that the stream is out and has no place. Until then it stays in stream->ranges, at the
 * latest until the stream's end. All of it runs under stream->lock.
 */
#include <drm/drm_drv.h>
#include <linux/random.h>
#include <linux/slab.h>

#include "kvsink_job.h"
#include "kvsink_stream.h"

#define KVSINK_ASK_TRIES 3 /* a reset may overtake the question, too */

static bool kvsink_swap_unknown(int err)
{
	return err == -ECANCELED || err == -ETIME;
}

static int kvsink_swap_command(struct kvsink_stream *stream, struct kvsink_file *file,
			       const struct kvsink_cmd *cmd)
{
	struct kvsink_job *job = kvsink_job_create(stream->kdev, file, true);
	int err;

	if (IS_ERR(job))
		return PTR_ERR(job);
	*kvsink_job_cmd(job) = *cmd;
	err = kvsink_job_run(job);
	kvsink_job_put(job);
	return err;
}

/* 0: it is out and has no place any more; -EBUSY: it is in HBM; anything else: nobody knows. */
static int kvsink_swap_ask(struct kvsink_stream *stream, struct kvsink_file *file)
{
	struct kvsink_cmd cmd;
	int err = -ECANCELED;
	u32 tries;

	kvsink_logic_build_swap_unplace(stream->geometry.id, &cmd);
	for (tries = 0; kvsink_swap_unknown(err) && tries < KVSINK_ASK_TRIES; tries++)
		err = kvsink_swap_command(stream, file, &cmd);
	if (!err || err == -EBUSY)
		stream->swapped = !err;
	return err;
}

/* It is out, and every job that knew of its HBM has ended. */
static void kvsink_swap_give_back(struct kvsink_stream *stream)
{
	kvsink_hbm_free(stream->kdev, &stream->ranges);
	atomic64_set(&stream->hbm_bytes, 0);
}

/* ---- SWAP_OUT -------------------------------------------------------------------------------- */

static int kvsink_swap_out(struct kvsink_stream *stream, struct kvsink_file *file, struct kvsink_job *job)
{
	int err = kvsink_job_run(job);

	if (kvsink_swap_unknown(err) && !kvsink_swap_ask(stream, file))
		err = 0;
	if (err)
		return err;
	stream->swapped = true;
	kvsink_swap_give_back(stream);
	return 0;
}

/* ---- SWAP_IN --------------------------------------------------------------------------------- */

/* All of its HBM, or -ENOSPC and none. */
static int kvsink_swap_alloc(struct kvsink_stream *stream, u64 *table, u64 *scores, u64 **pages)
{
	const struct kvsink_logic_layout *layout = &stream->layout;
	LIST_HEAD(areas);
	LIST_HEAD(runs);
	int err;

	err = kvsink_stream_add_range(stream, &areas, layout->table_bytes, table);
	err = err ? err : kvsink_stream_add_range(stream, &areas, layout->score_bytes, scores);
	err = err ? err : kvsink_stream_alloc_pages(stream, stream->pages, &runs);
	if (!err) {
		*pages = kvsink_stream_list_pages(stream, &runs, stream->pages);
		err = *pages ? 0 : -ENOMEM;
	}
	list_splice_tail(&runs, &areas);
	if (err) {
		kvsink_hbm_free_clean(stream->kdev, &areas);
		return err;
	}
	list_splice_tail(&areas, &stream->ranges);
	atomic64_set(&stream->hbm_bytes,
		     layout->table_bytes + layout->score_bytes + stream->pages * layout->page_bytes);
	return 0;
}

static int kvsink_swap_place(struct kvsink_stream *stream, struct kvsink_file *file, u64 table, u64 scores,
			     const u64 *pages)
{
	struct kvsink_cmd cmd;
	u32 has = 0;
	int err;

	kvsink_logic_build_swap_place(stream->geometry.id, table, scores, &cmd);
	err = kvsink_swap_command(stream, file, &cmd);
	while (!err && has < stream->pages)
		err = kvsink_stream_map_some(stream, file, pages + has,
					     min_t(u32, stream->pages - has, KVSINK_MAP_PAGES), &has);
	return err;
}

static int kvsink_swap_return(struct kvsink_stream *stream, struct kvsink_file *file, struct kvsink_job *job)
{
	u64 table, scores, *pages;
	int err = kvsink_swap_alloc(stream, &table, &scores, &pages);

	if (err)
		return err;
	err = kvsink_swap_place(stream, file, table, scores, pages);
	kvfree(pages);
	return err ? err : kvsink_job_run(job);
}

static int kvsink_swap_in(struct kvsink_stream *stream, struct kvsink_file *file, struct kvsink_job *job)
{
	int err = kvsink_swap_ask(stream, file);

	if (err)
		return err;
	kvsink_swap_give_back(stream); /* what an attempt that nobody waited for has left */
	err = kvsink_swap_return(stream, file, job);
	if (!err) {
		stream->swapped = false;
		return 0;
	}
	switch (kvsink_swap_ask(stream, file)) {
	case 0:
		kvsink_swap_give_back(stream);
		return err;
	case -EBUSY:
		return 0; /* it was back before the reset came */
	default:
		return err;
	}
}

/* ---- ioctls ---------------------------------------------------------------------------------- */

typedef int kvsink_swap_fn(struct kvsink_stream *stream, struct kvsink_file *file, struct kvsink_job *job);

static int kvsink_swap_locked(struct kvsink_file *file, u64 id, struct kvsink_job *job, kvsink_swap_fn *move)
{
	struct kvsink_stream *stream = kvsink_stream_find(file, id, true, false);
	int err;

	if (IS_ERR(stream))
		return PTR_ERR(stream);
	err = mutex_lock_interruptible(&stream->lock);
	if (!err) {
		err = stream->retired ? -ENOENT : move(stream, file, job);
		mutex_unlock(&stream->lock);
	}
	kvsink_stream_put(stream);
	return err;
}

static int kvsink_swap(struct drm_kvsink_swap *args, struct drm_file *drm_file, bool out)
{
	struct kvsink_file *file = drm_file->driver_priv;
	struct kvsink_job *job = kvsink_job_create(file->kdev, file, false);
	struct kvsink_lookup lookup;
	struct kvsink_cmd *cmd;
	u64 key[2];
	int err;

	if (IS_ERR(job))
		return PTR_ERR(job);
	kvsink_lookup_init(&lookup, drm_file, job);
	get_random_bytes(key, sizeof(key));
	cmd = kvsink_job_cmd(job);
	if (out)
		err = kvsink_logic_build_swap_out(&lookup.env, args, key, cmd, kvsink_job_cmd(job));
	else
		err = kvsink_logic_build_swap_in(&lookup.env, args, cmd);
	if (!err)
		err = kvsink_swap_locked(file, args->stream, job, out ? kvsink_swap_out : kvsink_swap_in);
	kvsink_logic_swap_answer(args, job->completed ? &job->cpl : NULL);
	kvsink_job_put(job);
	return err;
}

int kvsink_ioctl_swap_out(struct drm_device *dev, void *data, struct drm_file *drm_file)
{
	return kvsink_swap(data, drm_file, true);
}

int kvsink_ioctl_swap_in(struct drm_device *dev, void *data, struct drm_file *drm_file)
{
	return kvsink_swap(data, drm_file, false);
}
