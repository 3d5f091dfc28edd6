// SPDX-License-Identifier: MIT
/*
 * Streams of sim: - who owns one, its memory in HBM, and the scrub when it ends.
 *
 * HBM that was ever given to the chip is zeroed by the chip before anyone else gets it; what could not be
 * scrubbed stays taken.
 */
#include <stdlib.h>

#include "sim.h"

#define MAP_PAGES (KVSINK_MAX_ITEMS * 4) /* pages that one PAGE_MAP can name */

struct sim_stream *sim_stream_find(struct sim_chip *chip, uint64_t id)
{
	struct sim_stream *stream = chip->streams;

	while (stream && stream->geometry.id != id)
		stream = stream->next;
	return stream;
}

static int run_kernel(struct sim_chip *chip, struct sim_job *job)
{
	int err = -ECANCELED;

	for (int i = 0; i < SIM_KERNEL_TRIES && err == -ECANCELED; i++)
		err = sim_job_run(chip, NULL, job);
	return err;
}

/* ---- HBM ----------------------------------------------------------------------------------------- */

/* Ranges of HBM to scrub and give back, as many as fit into one job. */
struct scrub {
	struct sim_chip *chip;
	struct sim_job job;
};

static void scrub_flush(struct scrub *scrub)
{
	struct sim_job *job = &scrub->job;

	if (job->cmds && !run_kernel(scrub->chip, job))
		for (uint32_t i = 0; i < job->cmds; i++)
			sim_space_free(&scrub->chip->hbm, job->cmd[i].fill.dst.offset,
				       job->cmd[i].fill.bytes);
	job->cmds = 0;
}

static void scrub_add(struct scrub *scrub, uint64_t offset, uint64_t bytes)
{
	struct kvsink_cmd *last = scrub->job.cmds ? &scrub->job.cmd[scrub->job.cmds - 1] : NULL;

	if (last && last->fill.dst.offset + last->fill.bytes == offset) {
		last->fill.bytes += bytes;
		return;
	}
	if (scrub->job.cmds == KVSINK_MAX_CMDS)
		scrub_flush(scrub);
	kvsink_logic_build_scrub(offset, bytes, &scrub->job.cmd[scrub->job.cmds++]);
}

/* Pages that the chip never saw. */
void sim_stream_free_pages(struct sim_chip *chip, struct sim_stream *stream, uint32_t first, uint32_t end)
{
	while (end > first)
		sim_space_free(&chip->hbm, stream->pages[--end], stream->layout.page_bytes);
}

/* Pages [first, total), each where there is room; all or none. */
int sim_stream_alloc_pages(struct sim_chip *chip, struct sim_stream *stream, uint32_t first, uint32_t total)
{
	for (uint32_t i = first; i < total; i++) {
		int err = sim_space_alloc(&chip->hbm, stream->layout.page_bytes, &stream->pages[i]);

		if (err) {
			sim_stream_free_pages(chip, stream, first, i);
			return err;
		}
	}
	return 0;
}

int sim_stream_alloc(struct sim_chip *chip, struct sim_stream *stream, uint32_t pages)
{
	int err = sim_space_alloc(&chip->hbm, stream->layout.table_bytes, &stream->table);

	if (err)
		return err;
	err = sim_space_alloc(&chip->hbm, stream->layout.score_bytes, &stream->scores);
	if (err)
		goto free_table;
	err = sim_stream_alloc_pages(chip, stream, stream->own_page, pages);
	if (err)
		goto free_scores;
	return 0;
free_scores:
	sim_space_free(&chip->hbm, stream->scores, stream->layout.score_bytes);
free_table:
	sim_space_free(&chip->hbm, stream->table, stream->layout.table_bytes);
	return err;
}

/* ---- life ------------------------------------------------------------------------------------------ */

int sim_stream_map(struct sim_file *file, struct sim_stream *stream, struct sim_job *job, uint32_t total)
{
	int err = 0, resets = 0;

	while (!err && stream->page_count < total) {
		uint32_t count = total - stream->page_count;

		count = count < MAP_PAGES ? count : MAP_PAGES;
		kvsink_logic_build_page_map(stream->geometry.id, stream->page_count,
					    &stream->pages[stream->page_count], count, 0, &job->cmd[0],
					    job->item);
		job->cmds = 1;
		job->items = KVSINK_LOGIC_PAGE_ITEMS(count);
		job->privileged = true;
		err = sim_job_run(file->chip, file, job);
		if (!err)
			stream->page_count += count;
		else if (err == -EILSEQ && resets) /* the one before has done it */
			stream->page_count = (uint32_t)job->cpl.address;
		if ((err == -ECANCELED && ++resets < SIM_KERNEL_TRIES) || (err == -EILSEQ && resets))
			err = 0;
	}
	return err;
}

static void scrub_stream(struct scrub *scrub, const struct sim_stream *stream, uint32_t pages)
{
	scrub_add(scrub, stream->table, stream->layout.table_bytes);
	scrub_add(scrub, stream->scores, stream->layout.score_bytes);
	for (uint32_t i = stream->own_page; i < pages; i++)
		scrub_add(scrub, stream->pages[i], stream->layout.page_bytes);
	scrub_flush(scrub);
}

void sim_stream_scrub(struct sim_chip *chip, struct sim_stream *stream)
{
	struct scrub *scrub = calloc(1, sizeof(*scrub));

	if (!scrub)
		return; /* its HBM stays taken */
	scrub->chip = chip;
	scrub_stream(scrub, stream, stream->page_count);
	free(scrub);
}

void sim_stream_scrub_range(struct sim_chip *chip, uint64_t offset, uint64_t bytes)
{
	struct scrub *scrub = calloc(1, sizeof(*scrub));

	if (!scrub)
		return; /* it stays taken */
	scrub->chip = chip;
	scrub_add(scrub, offset, bytes);
	scrub_flush(scrub);
	free(scrub);
}

/* The chip drops it, then all of its memory is scrubbed. */
static void retire(struct sim_chip *chip, struct sim_stream *stream, uint32_t pages)
{
	struct scrub *scrub = calloc(1, sizeof(*scrub));
	int err;

	if (!scrub)
		return; /* its HBM stays taken */
	scrub->chip = chip;
	kvsink_logic_build_destroy(stream->geometry.id, &scrub->job.cmd[scrub->job.cmds++]);
	err = run_kernel(chip, &scrub->job);
	scrub->job.cmds = 0;
	if (stream->where != KVSINK_LOGIC_OUT && (!err || err == -ENOENT))
		scrub_stream(scrub, stream, pages);
	if (!err || err == -ENOENT)
		sim_window_ended(chip, stream);
	free(scrub);
}

static void free_stream(struct sim_stream *stream)
{
	if (stream)
		free(stream->pages);
	free(stream);
}

static int start_stream(struct sim_file *file, struct sim_stream *stream,
			const struct drm_kvsink_stream_create *args, const struct drm_kvsink_layer *layers)
{
	struct sim_job *job = calloc(1, sizeof(*job));
	int err;

	if (!job)
		return -ENOMEM;
	stream->geometry.id = ++file->chip->last_stream;
	kvsink_logic_build_create(args, layers, stream->geometry.id, file->tenant, stream->table,
				  stream->scores, &job->cmd[0], job->item);
	job->cmds = 1;
	job->items = args->layers.count;
	job->privileged = true;
	err = sim_job_run(file->chip, file, job);
	err = err ? err : sim_stream_map(file, stream, job, stream->layout.reserve_pages);
	free(job);
	return err;
}

int sim_ioctl_stream_create(struct sim_file *file, void *data)
{
	struct drm_kvsink_stream_create *args = data;
	struct drm_kvsink_layer layers[KVSINK_MAX_LAYERS];
	struct sim_stream *stream = calloc(1, sizeof(*stream));
	struct kvsink_logic_env env;
	int err;

	sim_env(file, &env);
	err = stream ? sim_copy_array(&args->layers, sizeof(*layers), 1, KVSINK_MAX_LAYERS, layers) : -ENOMEM;
	if (!err)
		err = kvsink_logic_stream_create(&env, args, layers, &stream->geometry, &stream->layout);
	if (err)
		goto fail;
	stream->owner = file;
	stream->tenant = file->tenant;
	stream->pages = calloc(stream->layout.max_pages, sizeof(*stream->pages));
	err = stream->pages ? sim_stream_alloc(file->chip, stream, stream->layout.reserve_pages) : -ENOMEM;
	if (err)
		goto fail;
	err = start_stream(file, stream, args, layers);
	if (err) {
		retire(file->chip, stream, stream->layout.reserve_pages);
		goto fail;
	}
	stream->next = file->chip->streams;
	file->chip->streams = stream;
	args->stream = stream->geometry.id;
	return 0;
fail:
	free_stream(stream);
	return err;
}

int sim_ioctl_stream_reserve(struct sim_file *file, void *data)
{
	struct drm_kvsink_stream_reserve *args = data;
	struct kvsink_logic_stream geometry;
	struct kvsink_completion said;
	struct kvsink_logic_env env;
	struct sim_stream *stream;
	struct sim_job *job;
	uint32_t total;
	int err;

	sim_env(file, &env);
	err = kvsink_logic_stream_reserve(&env, args, &geometry, &total);
	if (err)
		return err;
	stream = sim_stream_find(file->chip, args->stream);
	err = sim_swap_settle(file, stream, &said);
	if (err)
		return err;
	if (stream->where == KVSINK_LOGIC_OUT)
		return -ENODATA;
	if (total <= stream->page_count)
		return 0;
	err = sim_stream_alloc_pages(file->chip, stream, stream->page_count, total);
	if (err)
		return err;
	job = calloc(1, sizeof(*job));
	err = job ? sim_stream_map(file, stream, job, total) : -ENOMEM;
	if (err && err != -ECANCELED) /* else the chip may have them: they stay taken */
		sim_stream_free_pages(file->chip, stream, stream->page_count, total);
	free(job);
	return err;
}

static void unlink_stream(struct sim_chip *chip, struct sim_stream *stream)
{
	struct sim_stream **at = &chip->streams;

	while (*at != stream)
		at = &(*at)->next;
	*at = stream->next;
}

void sim_stream_end(struct sim_chip *chip, struct sim_stream *stream)
{
	unlink_stream(chip, stream);
	retire(chip, stream, stream->page_count);
	sim_prefix_put(chip, stream->prefix);
	free_stream(stream);
}

int sim_ioctl_stream_destroy(struct sim_file *file, void *data)
{
	struct drm_kvsink_stream_destroy *args = data;
	struct kvsink_logic_stream geometry;
	struct kvsink_logic_env env;
	int err;

	sim_env(file, &env);
	err = env.stream(env.ctx, args->stream, true, &geometry);
	if (!err)
		sim_stream_end(file->chip, sim_stream_find(file->chip, args->stream));
	return err;
}

void sim_streams_close(struct sim_file *file)
{
	struct sim_stream *stream = file->chip->streams, *next;

	for (; stream; stream = next) {
		next = stream->next;
		if (stream->owner == file)
			sim_stream_end(file->chip, stream);
	}
}
