// SPDX-License-Identifier: MIT
/*
 * WINDOW_BEGIN and WINDOW_COMMIT of sim: - as the driver does them.
 *
 * A journal is reserved before the job and is the chip's until it has said that no window is open. A job that
 * a reset overtook may have opened one all the same, which the reset has ended: its journal waits for the
 * next answer.
 */
#include <stdlib.h>

#include "sim.h"

void sim_window_ended(struct sim_chip *chip, struct sim_stream *stream)
{
	struct sim_journal *journal;

	while ((journal = stream->journals)) {
		stream->journals = journal->next;
		sim_stream_scrub_range(chip, journal->offset, journal->bytes);
		free(journal);
	}
}

static struct sim_journal *reserve(struct sim_chip *chip, uint64_t bytes, int *err)
{
	struct sim_journal *journal = calloc(1, sizeof(*journal));

	*err = journal ? sim_space_alloc(&chip->hbm, bytes, &journal->offset) : -ENOMEM;
	if (*err) {
		free(journal);
		return NULL;
	}
	journal->bytes = bytes;
	return journal;
}

/* What becomes of the journal of a WINDOW_BEGIN that has run. */
static void settle(struct sim_chip *chip, struct sim_stream *stream, struct sim_journal *journal, int err)
{
	if (err && err != -ECANCELED) { /* refused: the chip has not touched it */
		sim_space_free(&chip->hbm, journal->offset, journal->bytes);
		free(journal);
		return;
	}
	if (!err)
		sim_window_ended(chip, stream); /* any that was open before */
	journal->next = stream->journals;
	stream->journals = journal;
}

static int begin(struct sim_file *file, struct sim_stream *stream, const struct drm_kvsink_window *args,
		 uint64_t bytes, struct sim_job *job)
{
	struct sim_journal *journal;
	int err;

	bytes = (bytes + KVSINK_HBM_ALIGN - 1) / KVSINK_HBM_ALIGN * KVSINK_HBM_ALIGN;
	journal = reserve(file->chip, bytes, &err);
	if (!journal)
		return err;
	kvsink_logic_build_window_begin(args, journal->offset, bytes, &job->cmd[0]);
	job->cmds = 1;
	job->privileged = true;
	err = sim_job_run(file->chip, file, job);
	settle(file->chip, stream, journal, err);
	return err;
}

int sim_ioctl_window_begin(struct sim_file *file, void *data)
{
	struct drm_kvsink_window *args = data;
	struct sim_job *job = calloc(1, sizeof(*job));
	struct kvsink_logic_stream geometry;
	struct kvsink_logic_env env;
	struct sim_stream *stream;
	int err;

	if (!job)
		return -ENOMEM;
	sim_env(file, &env);
	err = kvsink_logic_window_begin(&env, args, &geometry);
	if (!err) {
		stream = sim_stream_find(file->chip, args->stream);
		err = begin(file, stream, args,
			    kvsink_logic_journal_bytes(&geometry, stream->page_count, args->tokens), job);
		if (job->cpl.code == KVSINK_CODE_TOO_BIG) /* it has pages that a reset kept from us */
			err = begin(file, stream, args, job->cpl.address, job);
		kvsink_logic_window_answer(args, &job->cpl);
	}
	free(job);
	return err;
}

int sim_ioctl_window_commit(struct sim_file *file, void *data)
{
	struct drm_kvsink_window *args = data;
	struct sim_job *job = calloc(1, sizeof(*job));
	struct kvsink_logic_env env;
	int err;

	if (!job)
		return -ENOMEM;
	sim_env(file, &env);
	err = kvsink_logic_build_window_commit(&env, args, &job->cmd[0]);
	if (!err) {
		job->cmds = 1;
		err = sim_job_run(file->chip, file, job);
		if (kvsink_logic_window_ended(&job->cpl))
			sim_window_ended(file->chip, sim_stream_find(file->chip, args->stream));
		kvsink_logic_window_answer(args, &job->cpl);
	}
	free(job);
	return err;
}
