// SPDX-License-Identifier: MIT
/*
 * SWAP_OUT and SWAP_IN of sim: - as the driver does them, except that every job has ended when it was run.
 *
 * A job that a reset overtook may have done its work all the same: then the chip is asked.
 */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

static int run_command(struct sim_file *file, struct sim_job *job)
{
	job->cmds = 1;
	job->items = 0;
	job->privileged = true;
	return sim_job_run(file->chip, file, job);
}

/* 0: the stream is out and has no place any more; -EBUSY: it is in HBM; anything else: nobody knows. */
static int ask(struct sim_file *file, struct sim_stream *stream)
{
	struct sim_job *job = calloc(1, sizeof(*job));
	int err = job ? -ECANCELED : -ENOMEM;

	for (int i = 0; i < SIM_KERNEL_TRIES && err == -ECANCELED; i++) {
		kvsink_logic_build_swap_unplace(stream->geometry.id, &job->cmd[0]);
		err = run_command(file, job);
	}
	if (!err || err == -EBUSY)
		stream->swapped = !err;
	free(job);
	return err;
}

/* ---- SWAP_OUT -------------------------------------------------------------------------------------- */

static int swap_out(struct sim_file *file, struct sim_stream *stream, struct sim_job *job)
{
	int err = sim_job_run(file->chip, file, job);

	if (err == -ECANCELED && !ask(file, stream))
		err = 0;
	if (err)
		return err;
	stream->swapped = true;
	sim_stream_scrub(file->chip, stream);
	return 0;
}

/* ---- SWAP_IN --------------------------------------------------------------------------------------- */

static int place(struct sim_file *file, struct sim_stream *stream)
{
	struct sim_job *job = calloc(1, sizeof(*job));
	uint32_t pages = stream->page_count;
	int err = -ENOMEM;

	if (job) {
		kvsink_logic_build_swap_place(stream->geometry.id, stream->table, stream->scores,
					      &job->cmd[0]);
		err = run_command(file, job);
	}
	stream->page_count = 0;
	err = err ? err : sim_stream_map(file, stream, job, pages);
	stream->page_count = pages;
	free(job);
	return err;
}

static int swap_in(struct sim_file *file, struct sim_stream *stream, struct sim_job *job)
{
	bool has_hbm = !stream->swapped; /* as far as anybody knew */
	int err = ask(file, stream), settled;

	if (!err && has_hbm)
		sim_stream_scrub(file->chip, stream);
	err = err ? err : sim_stream_alloc(file->chip, stream, stream->page_count);
	if (err)
		return err;
	stream->swapped = false; /* it has HBM, which its end will scrub */
	err = place(file, stream);
	err = err ? err : sim_job_run(file->chip, file, job);
	settled = err ? ask(file, stream) : 0;
	if (err && !settled)
		sim_stream_scrub(file->chip, stream);
	return settled == -EBUSY ? 0 : err;
}

/* ---- ioctls ---------------------------------------------------------------------------------------- */

static int swap(struct sim_file *file, struct drm_kvsink_swap *args, bool out)
{
	/* the process can read its own chip: there is nobody to hide a key from */
	static const uint64_t key[2] = {1, 2};
	struct sim_job *job = calloc(1, sizeof(*job));
	struct kvsink_logic_env env;
	struct sim_stream *stream;
	int err;

	if (!job)
		return -ENOMEM;
	sim_env(file, &env);
	job->cpl.code = KVSINK_CODE_COUNT; /* not run */
	job->cmds = out ? 2 : 1;
	if (out)
		err = kvsink_logic_build_swap_out(&env, args, key, &job->cmd[0], &job->cmd[1]);
	else
		err = kvsink_logic_build_swap_in(&env, args, &job->cmd[0]);
	stream = sim_stream_find(file->chip, args->stream);
	if (!err)
		err = out ? swap_out(file, stream, job) : swap_in(file, stream, job);
	kvsink_logic_swap_answer(
		args,
		job->cpl.code < KVSINK_CODE_COUNT && job->cpl.code != KVSINK_CODE_ABORTED ? &job->cpl : NULL);
	free(job);
	return err;
}

int sim_ioctl_swap_out(struct sim_file *file, void *data)
{
	return swap(file, data, true);
}

int sim_ioctl_swap_in(struct sim_file *file, void *data)
{
	return swap(file, data, false);
}
