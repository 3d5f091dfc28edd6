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

/* The stream is out, as the chip has said. */
static void left(struct sim_chip *chip, struct sim_stream *stream, const struct kvsink_completion *said)
{
	stream->where = KVSINK_LOGIC_OUT;
	sim_window_ended(chip, stream); /* the chip swaps no stream out that has one */
	sim_stream_scrub(chip, stream);
	stream->page_count = said->result[2];
}

/* Ask where the stream is, if that is not known. After success it is; `said` has the answer if it had to ask.
 */
int sim_swap_settle(struct sim_file *file, struct sim_stream *stream, struct kvsink_completion *said)
{
	struct sim_job *job = calloc(1, sizeof(*job));
	int err = job ? 0 : -ENOMEM;

	for (int i = 0; job && stream->where == KVSINK_LOGIC_UNKNOWN && i < SIM_KERNEL_TRIES; i++) {
		kvsink_logic_build_swap_unplace(stream->geometry.id, &job->cmd[0]);
		err = run_command(file, job);
		*said = job->cpl;
		if (said->code == KVSINK_CODE_OK)
			left(file->chip, stream, said);
		else if (said->code == KVSINK_CODE_BUSY)
			stream->where = KVSINK_LOGIC_IN_HBM;
	}
	free(job);
	return stream->where == KVSINK_LOGIC_UNKNOWN ? err : 0;
}

static int refuse(struct sim_job *job, uint32_t code)
{
	job->cpl.code = code;
	return kvsink_logic_errno(code);
}

/* ---- SWAP_OUT -------------------------------------------------------------------------------------- */

static int swap_out(struct sim_file *file, struct sim_stream *stream, struct sim_job *job)
{
	struct kvsink_completion said;
	int err = sim_swap_settle(file, stream, &said);

	if (err)
		return err;
	if (stream->where == KVSINK_LOGIC_OUT)
		return refuse(job, KVSINK_CODE_SWAPPED);
	err = sim_job_run(file->chip, file, job);
	if (!err)
		left(file->chip, stream, &job->cpl);
	if (err != -ECANCELED)
		return err;
	stream->where = KVSINK_LOGIC_UNKNOWN;
	if (sim_swap_settle(file, stream, &said) || stream->where == KVSINK_LOGIC_IN_HBM)
		return err;
	job->cpl = said; /* it was in HBM before, so this job did it */
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
	stream->page_count = stream->own_page;
	err = err ? err : sim_stream_map(file, stream, job, pages);
	stream->page_count = pages;
	free(job);
	return err;
}

static int swap_in(struct sim_file *file, struct sim_stream *stream, struct sim_job *job)
{
	struct kvsink_completion said;
	int err = sim_swap_settle(file, stream, &said);

	if (err)
		return err;
	if (stream->where == KVSINK_LOGIC_IN_HBM)
		return refuse(job, KVSINK_CODE_BUSY);
	err = sim_stream_alloc(file->chip, stream, stream->page_count);
	if (err)
		return err;
	stream->where = KVSINK_LOGIC_UNKNOWN;
	err = place(file, stream);
	if (err)
		refuse(job, KVSINK_CODE_ABORTED);
	err = err ? err : sim_job_run(file->chip, file, job);
	if (!err)
		stream->where = KVSINK_LOGIC_IN_HBM;
	else if (!sim_swap_settle(file, stream, &said) && stream->where == KVSINK_LOGIC_IN_HBM)
		return refuse(job, KVSINK_CODE_OK); /* it was back before the reset came */
	if (kvsink_logic_swap_in_error(err) == -ECANCELED)
		return refuse(job, KVSINK_CODE_ABORTED);
	return err;
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
	job->cmds = out ? 2 : 1;
	if (out)
		err = kvsink_logic_build_swap_out(&env, args, key, &job->cmd[0], &job->cmd[1]);
	else
		err = kvsink_logic_build_swap_in(&env, args, &job->cmd[0]);
	stream = sim_stream_find(file->chip, args->stream);
	if (!err) {
		err = out ? swap_out(file, stream, job) : swap_in(file, stream, job);
		kvsink_logic_swap_answer(args, &job->cpl);
	}
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
