// SPDX-License-Identifier: GPL-2.0-only
/*
 * SWAP_OUT and SWAP_IN: a stream's HBM goes back to the allocator, and is reserved anew.
 *
 * Whether a stream is out is the chip's to know: a reset or a fatal signal may come between the end of a job
 * and who waits for it. Then stream->where is UNKNOWN, and the next who cares asks (kvsink_swap_settle()), in
 * a job of the owner's queue behind all that could know of the stream's HBM. Only when the chip has said that
 * the stream is out and has no place is its HBM given back; until then it stays in stream->ranges, at the
 * latest until the stream's end. All of it runs under stream->lock.
 */
#include <drm/drm_drv.h>
#include <linux/random.h>
#include <linux/slab.h>

#include "kvsink_job.h"
#include "kvsink_stream.h"

#define KVSINK_ASK_TRIES 3 /* a reset may overtake the question, too */

/* One command in a job of its own; @said is what the chip said, ABORTED if nobody heard it. */
static int kvsink_swap_command(struct kvsink_stream *stream, struct kvsink_file *file,
			       const struct kvsink_cmd *cmd, struct kvsink_completion *said)
{
	struct kvsink_job *job = kvsink_job_create(stream->kdev, file, true);
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

/* @said: the stream is out, and every job that knew of its HBM has ended. */
static void kvsink_swap_left(struct kvsink_stream *stream, const struct kvsink_completion *said)
{
	stream->where = KVSINK_LOGIC_OUT;
	stream->pages = said->result[2];
	kvsink_window_ended(stream); /* the chip swaps no stream out that has one */
	kvsink_hbm_free(stream->kdev, &stream->ranges);
	atomic64_set(&stream->hbm_bytes, 0);
}

/*
 * Ask where the stream is, if that is not known. After success it is; @said has the answer if it had to ask.
 */
int kvsink_swap_settle(struct kvsink_stream *stream, struct kvsink_file *file, struct kvsink_completion *said)
{
	struct kvsink_cmd cmd;
	u32 tries;
	int err = 0;

	kvsink_logic_build_swap_unplace(stream->geometry.id, &cmd);
	for (tries = 0; stream->where == KVSINK_LOGIC_UNKNOWN && tries < KVSINK_ASK_TRIES; tries++) {
		err = kvsink_swap_command(stream, file, &cmd, said);
		if (said->code == KVSINK_CODE_OK)
			kvsink_swap_left(stream, said);
		else if (said->code == KVSINK_CODE_BUSY)
			stream->where = KVSINK_LOGIC_IN_HBM;
		else if (said->code != KVSINK_CODE_ABORTED)
			break;
	}
	return stream->where == KVSINK_LOGIC_UNKNOWN ? err : 0;
}

static int kvsink_swap_refuse(struct kvsink_completion *said, u32 code)
{
	said->code = code;
	return kvsink_logic_errno(code);
}

/* ---- SWAP_OUT -------------------------------------------------------------------------------- */

static int kvsink_swap_out(struct kvsink_stream *stream, struct kvsink_file *file, struct kvsink_job *job,
			   struct kvsink_completion *said)
{
	const struct kvsink_completion *cpl;
	int err = kvsink_swap_settle(stream, file, said);

	if (err)
		return err;
	if (stream->where == KVSINK_LOGIC_OUT)
		return kvsink_swap_refuse(said, KVSINK_CODE_SWAPPED);
	err = kvsink_job_run(job);
	cpl = kvsink_job_result(job);
	if (!cpl) {
		stream->where = KVSINK_LOGIC_UNKNOWN;
		if (!kvsink_swap_settle(stream, file, said) && stream->where == KVSINK_LOGIC_OUT)
			return 0; /* it was in HBM before, so this job did it */
		said->code = KVSINK_CODE_ABORTED;
		return err;
	}
	*said = *cpl;
	if (!err)
		kvsink_swap_left(stream, cpl);
	return err;
}

/* ---- SWAP_IN --------------------------------------------------------------------------------- */

/* All of its HBM, or -ENOSPC and none. */
static int kvsink_swap_alloc(struct kvsink_stream *stream, u64 *table, u64 *scores, u64 **pages)
{
	const struct kvsink_logic_layout *layout = &stream->layout;
	u32 own = stream->pages - stream->own_page;
	LIST_HEAD(areas);
	LIST_HEAD(runs);
	int err;

	err = kvsink_stream_add_range(stream, &areas, layout->table_bytes, table);
	err = err ? err : kvsink_stream_add_range(stream, &areas, layout->score_bytes, scores);
	err = err ? err : kvsink_stream_alloc_pages(stream, own, &runs);
	if (!err) {
		*pages = kvsink_stream_list_pages(stream, &runs, own);
		err = *pages ? 0 : -ENOMEM;
	}
	list_splice_tail(&runs, &areas);
	if (err) {
		kvsink_hbm_free_clean(stream->kdev, &areas);
		return err;
	}
	list_splice_tail(&areas, &stream->ranges);
	atomic64_set(&stream->hbm_bytes,
		     layout->table_bytes + layout->score_bytes + own * layout->page_bytes);
	return 0;
}

static int kvsink_swap_place(struct kvsink_stream *stream, struct kvsink_file *file, u64 table, u64 scores,
			     const u64 *pages)
{
	struct kvsink_completion said;
	struct kvsink_cmd cmd;
	u32 has = stream->own_page; /* the chip has mapped those */
	int err;

	kvsink_logic_build_swap_place(stream->geometry.id, table, scores, &cmd);
	err = kvsink_swap_command(stream, file, &cmd, &said);
	while (!err && has < stream->pages)
		err = kvsink_stream_map_some(stream, file, pages + has - stream->own_page,
					     min_t(u32, stream->pages - has, KVSINK_MAP_PAGES), &has);
	return err;
}

static int kvsink_swap_in(struct kvsink_stream *stream, struct kvsink_file *file, struct kvsink_job *job,
			  struct kvsink_completion *said)
{
	const struct kvsink_completion *cpl;
	struct kvsink_completion where;
	u64 table, scores, *pages;
	int err = kvsink_swap_settle(stream, file, said);

	if (err)
		return err;
	if (stream->where == KVSINK_LOGIC_IN_HBM)
		return kvsink_swap_refuse(said, KVSINK_CODE_BUSY);
	err = kvsink_swap_alloc(stream, &table, &scores, &pages);
	if (err)
		return err;
	stream->where = KVSINK_LOGIC_UNKNOWN;
	err = kvsink_swap_place(stream, file, table, scores, pages);
	kvfree(pages);
	err = err ? err : kvsink_job_run(job);
	cpl = kvsink_job_result(job);
	if (cpl)
		*said = *cpl;
	if (!err)
		stream->where = KVSINK_LOGIC_IN_HBM;
	else if (!kvsink_swap_settle(stream, file, &where) && stream->where == KVSINK_LOGIC_IN_HBM)
		return 0; /* it was back before the reset came */
	err = kvsink_logic_swap_in_error(err);
	if (err == -ECANCELED || (err && !cpl))
		said->code = KVSINK_CODE_ABORTED;
	return err;
}

/* ---- ioctls ---------------------------------------------------------------------------------- */

typedef int kvsink_swap_fn(struct kvsink_stream *stream, struct kvsink_file *file, struct kvsink_job *job,
			   struct kvsink_completion *said);

/* @args is as it was if a signal came first: then the call is made again. */
static int kvsink_swap_locked(struct kvsink_file *file, struct drm_kvsink_swap *args, struct kvsink_job *job,
			      kvsink_swap_fn *move)
{
	struct kvsink_stream *stream = kvsink_stream_find(file, args->stream, true, false);
	struct kvsink_completion said = {0};
	int err;

	if (IS_ERR(stream))
		return PTR_ERR(stream);
	err = mutex_lock_interruptible(&stream->lock);
	if (!err) {
		err = stream->retired ? -ENOENT : move(stream, file, job, &said);
		mutex_unlock(&stream->lock);
		kvsink_logic_swap_answer(args, &said);
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
		err = kvsink_swap_locked(file, args, job, out ? kvsink_swap_out : kvsink_swap_in);
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
