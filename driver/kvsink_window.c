// SPDX-License-Identifier: GPL-2.0-only
/*
 * WINDOW_BEGIN and WINDOW_COMMIT: the journal of a replay window comes from the allocator, and goes back.
 *
 * Whether a window is open is the chip's to know: a reset may have ended it, and a reset or a fatal signal
 * may come between the end of a job and who waits for it. So a journal stays in stream->journals until the
 * chip has said that no window is open, or has opened another one; at the latest until the stream's end. Jobs
 * of the owner run in order, so such an answer speaks for all that were before. All of it runs under
 * stream->lock.
 */
#include <drm/drm_drv.h>

#include "kvsink_job.h"
#include "kvsink_stream.h"

void kvsink_window_ended(struct kvsink_stream *stream)
{
	struct kvsink_hbm_range *journal;

	list_for_each_entry(journal, &stream->journals, link)
		atomic64_sub(journal->node.size, &stream->hbm_bytes);
	kvsink_hbm_free(stream->kdev, &stream->journals);
}

/* ---- WINDOW_BEGIN ---------------------------------------------------------------------------- */

/* What becomes of its journal; @said is NULL if nobody heard the chip. */
static void kvsink_window_settle(struct kvsink_stream *stream, struct kvsink_hbm_range *journal,
				 const struct kvsink_completion *said)
{
	LIST_HEAD(unused);

	if (said && said->code) {
		list_add(&journal->link, &unused);
		kvsink_hbm_free_clean(stream->kdev, &unused);
		return;
	}
	if (said)
		kvsink_window_ended(stream);
	list_add_tail(&journal->link, &stream->journals);
	atomic64_add(journal->node.size, &stream->hbm_bytes);
}

static int kvsink_window_begin_once(struct kvsink_stream *stream, struct kvsink_file *file,
				    const struct drm_kvsink_window *args, u64 bytes,
				    struct kvsink_completion *said)
{
	struct kvsink_hbm_range *journal = kvsink_hbm_alloc(stream->kdev, bytes);
	const struct kvsink_completion *cpl;
	struct kvsink_job *job;
	LIST_HEAD(unused);
	int err;

	if (IS_ERR(journal))
		return PTR_ERR(journal);
	job = kvsink_job_create(stream->kdev, file, true);
	if (IS_ERR(job)) {
		list_add(&journal->link, &unused);
		kvsink_hbm_free_clean(stream->kdev, &unused);
		return PTR_ERR(job);
	}
	kvsink_logic_build_window_begin(args, journal->node.start, bytes, kvsink_job_cmd(job));
	err = kvsink_job_run(job);
	cpl = kvsink_job_result(job);
	*said = cpl ? *cpl : (struct kvsink_completion){.code = KVSINK_CODE_ABORTED};
	kvsink_window_settle(stream, journal, cpl);
	kvsink_job_put(job);
	return err;
}

static int kvsink_window_begin(struct kvsink_stream *stream, struct kvsink_file *file,
			       const struct drm_kvsink_window *args, struct kvsink_completion *said)
{
	u64 bytes = kvsink_logic_journal_bytes(&stream->geometry, stream->pages, args->tokens);
	int err = kvsink_window_begin_once(stream, file, args, bytes, said);

	/* it has pages of which nobody told us */
	if (said->code == KVSINK_CODE_TOO_BIG)
		err = kvsink_window_begin_once(stream, file, args, said->address, said);
	return err;
}

/* ---- WINDOW_COMMIT --------------------------------------------------------------------------- */

static int kvsink_window_commit(struct kvsink_stream *stream, struct kvsink_job *job,
				struct kvsink_completion *said)
{
	const struct kvsink_completion *cpl;
	int err = kvsink_job_run(job);

	cpl = kvsink_job_result(job);
	*said = cpl ? *cpl : (struct kvsink_completion){.code = KVSINK_CODE_ABORTED};
	if (kvsink_logic_window_ended(said))
		kvsink_window_ended(stream);
	return err;
}

/* ---- ioctls ---------------------------------------------------------------------------------- */

/* @job is WINDOW_COMMIT's; NULL: WINDOW_BEGIN. */
static int kvsink_window_locked(struct kvsink_file *file, struct drm_kvsink_window *args,
				struct kvsink_job *job)
{
	struct kvsink_stream *stream = kvsink_stream_find(file, args->stream, true, false);
	struct kvsink_completion said = {0};
	int err;

	if (IS_ERR(stream))
		return PTR_ERR(stream);
	err = mutex_lock_interruptible(&stream->lock);
	if (!err) {
		if (stream->retired)
			err = -ENOENT;
		else if (job)
			err = kvsink_window_commit(stream, job, &said);
		else
			err = kvsink_window_begin(stream, file, args, &said);
		mutex_unlock(&stream->lock);
		kvsink_logic_window_answer(args, &said);
	}
	kvsink_stream_put(stream);
	return err;
}

int kvsink_ioctl_window_begin(struct drm_device *dev, void *data, struct drm_file *drm_file)
{
	struct kvsink_logic_stream geometry;
	struct kvsink_lookup lookup;
	int err;

	kvsink_lookup_init(&lookup, drm_file, NULL);
	err = kvsink_logic_window_begin(&lookup.env, data, &geometry);
	return err ? err : kvsink_window_locked(drm_file->driver_priv, data, NULL);
}

int kvsink_ioctl_window_commit(struct drm_device *dev, void *data, struct drm_file *drm_file)
{
	struct kvsink_file *file = drm_file->driver_priv;
	struct kvsink_job *job = kvsink_job_create(file->kdev, file, false);
	struct kvsink_lookup lookup;
	int err;

	if (IS_ERR(job))
		return PTR_ERR(job);
	kvsink_lookup_init(&lookup, drm_file, job);
	err = kvsink_logic_build_window_commit(&lookup.env, data, kvsink_job_cmd(job));
	if (!err)
		err = kvsink_window_locked(file, data, job);
	kvsink_job_put(job);
	return err;
}
