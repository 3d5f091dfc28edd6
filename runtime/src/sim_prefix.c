// SPDX-License-Identifier: MIT
/*
 * Prefixes of sim: who holds one, its memory, and its end with the last user.
 *
 * A prefix is a stream without an owner. Its users are handles, and streams and prefixes that begin with it.
 * Descriptors are of this process: they name the prefix, but do not hold it.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "sim.h"

#define DESCRIPTOR_NAME "kvsink-sim-prefix"

/* What a descriptor's file says. */
struct descriptor {
	char name[24];
	const struct sim_chip *chip;
	uint64_t id;
};

/* ---- handles ---------------------------------------------------------------------------------------- */

static struct sim_stream *find(struct sim_file *file, uint32_t handle)
{
	return handle && handle <= file->prefix_room ? file->prefixes[handle - 1] : NULL;
}

/* 0 if memory is short. */
static uint32_t add_handle(struct sim_file *file, struct sim_stream *prefix)
{
	uint32_t i = 0, room = file->prefix_room ? 2 * file->prefix_room : 8;
	struct sim_stream **more;

	while (i < file->prefix_room && file->prefixes[i])
		i++;
	if (i == file->prefix_room) {
		more = reallocarray(file->prefixes, room, sizeof(*more));
		if (!more)
			return 0;
		memset(more + i, 0, (room - i) * sizeof(*more));
		file->prefixes = more;
		file->prefix_room = room;
	}
	file->prefixes[i] = prefix;
	prefix->users++;
	return i + 1;
}

void sim_prefix_put(struct sim_chip *chip, struct sim_stream *prefix)
{
	if (prefix && !--prefix->users)
		sim_stream_end(chip, prefix);
}

void sim_prefixes_close(struct sim_file *file)
{
	for (uint32_t i = 0; i < file->prefix_room; i++)
		sim_prefix_put(file->chip, file->prefixes[i]);
	free(file->prefixes);
}

int sim_ioctl_prefix_close(struct sim_file *file, void *data)
{
	struct drm_kvsink_prefix_handle *args = data;
	struct sim_stream *prefix;

	if (args->fd)
		return -EINVAL;
	prefix = find(file, args->handle);
	if (!prefix)
		return -ENOENT;
	file->prefixes[args->handle - 1] = NULL;
	sim_prefix_put(file->chip, prefix);
	return 0;
}

int sim_ioctl_prefix_export(struct sim_file *file, void *data)
{
	struct drm_kvsink_prefix_handle *args = data;
	const struct sim_stream *prefix = find(file, args->handle);
	struct descriptor text = {DESCRIPTOR_NAME, file->chip, 0};
	int fd;

	if (!prefix)
		return -ENOENT;
	text.id = prefix->geometry.id;
	fd = memfd_create(DESCRIPTOR_NAME, MFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (pwrite(fd, &text, sizeof(text), 0) != sizeof(text)) {
		close(fd);
		return -ENOMEM;
	}
	args->fd = fd;
	return 0;
}

static int from_descriptor(struct sim_file *file, int fd, struct sim_stream **prefix)
{
	struct descriptor text;

	if (fcntl(fd, F_GETFD) < 0)
		return -EBADF;
	if (pread(fd, &text, sizeof(text), 0) != sizeof(text) ||
	    memcmp(text.name, DESCRIPTOR_NAME, sizeof(DESCRIPTOR_NAME)))
		return -EINVAL;
	if (text.chip != file->chip)
		return -EXDEV;
	*prefix = sim_stream_find(file->chip, text.id);
	return *prefix ? 0 : -ENOENT;
}

int sim_ioctl_prefix_open(struct sim_file *file, void *data)
{
	struct drm_kvsink_prefix_open *args = data;
	struct sim_stream *prefix = NULL;
	int err = 0;

	if (args->pad || (args->prefix && args->fd != -1))
		return -EINVAL;
	if (!args->prefix)
		err = from_descriptor(file, args->fd, &prefix);
	else
		prefix = sim_stream_find(file->chip, args->prefix);
	if (err)
		return err;
	if (!prefix || prefix->owner || (args->prefix && prefix->tenant != file->tenant && !file->admin))
		return -ENOENT;
	args->handle = add_handle(file, prefix);
	args->tokens = prefix->tokens;
	return args->handle ? 0 : -ENOMEM;
}

/* ---- PREFIX_PUBLISH ---------------------------------------------------------------------------------- */

/* Its areas, the page behind the publisher's whole ones, and the list of all. */
static struct sim_stream *make(struct sim_file *file, const struct sim_stream *s,
			       const struct kvsink_logic_layout *layout, uint32_t tokens, int *err)
{
	struct sim_stream *p = calloc(1, sizeof(*p));
	uint32_t whole = tokens / s->geometry.page_tokens;

	*err = -ENOMEM;
	if (!p)
		return NULL;
	p->geometry = s->geometry;
	p->geometry.id = ++file->chip->last_stream;
	p->layout = *layout;
	p->tenant = s->tenant;
	p->tokens = tokens;
	p->pages = calloc(layout->max_pages, sizeof(*p->pages));
	p->own_page = whole; /* for the allocator: those before are there */
	if (p->pages)
		*err = sim_stream_alloc(file->chip, p, layout->max_pages);
	if (!*err) {
		memcpy(p->pages, s->pages, whole * sizeof(*p->pages));
		p->page_count = layout->max_pages;
		return p;
	}
	free(p->pages);
	free(p);
	return NULL;
}

static void unmake(struct sim_chip *chip, struct sim_stream *p)
{
	sim_stream_scrub(chip, p);
	free(p->pages);
	free(p);
}

/* A reset overtook the job: is the prefix there? */
static bool is_there(struct sim_file *file, uint64_t id)
{
	struct sim_job *job = calloc(1, sizeof(*job));
	int err = job ? -ECANCELED : -ENOMEM;

	for (int i = 0; i < SIM_KERNEL_TRIES && err == -ECANCELED; i++) {
		job->cmd[0] = (struct kvsink_cmd){.opcode = KVSINK_OP_BARRIER, .barrier = {id}};
		job->cmds = 1;
		job->privileged = true;
		err = sim_job_run(file->chip, file, job);
	}
	free(job);
	return !err;
}

/* One command in a job of its own; its code in *code. */
static int run(struct sim_file *file, const struct kvsink_cmd *cmd, uint32_t *code)
{
	struct sim_job *job = calloc(1, sizeof(*job));
	int err;

	if (!job)
		return -ENOMEM;
	job->cmd[0] = *cmd;
	job->cmds = 1;
	job->privileged = true;
	err = sim_job_run(file->chip, file, job);
	*code = job->cpl.code;
	free(job);
	return err;
}

/* The publisher's whole pages are the prefix's now; it takes its place as a user of what it began with. */
static void take_over(struct sim_chip *chip, struct sim_stream *s, struct sim_stream *p)
{
	uint32_t whole = p->own_page;

	p->prefix = s->prefix;
	p->own_page = s->own_page;
	s->prefix = p;
	s->own_page = whole;
	p->users = 1;
	p->next = chip->streams;
	chip->streams = p;
}

int sim_ioctl_prefix_publish(struct sim_file *file, void *data)
{
	struct drm_kvsink_prefix_publish *args = data;
	struct kvsink_logic_stream geometry;
	struct kvsink_logic_layout layout;
	struct kvsink_logic_env env;
	struct sim_stream *s, *p;
	struct kvsink_cmd cmd;
	int err;

	sim_env(file, &env);
	err = kvsink_logic_prefix_publish(&env, args, &geometry, &layout);
	if (err)
		return err;
	s = sim_stream_find(file->chip, args->stream);
	if (s->page_count < args->tokens / geometry.page_tokens)
		return -EINVAL; /* more tokens than it has pages for */
	p = make(file, s, &layout, args->tokens, &err);
	if (!p)
		return err;
	kvsink_logic_build_publish(args, p->geometry.id, p->table, p->scores,
				   layout.reserve_pages ? p->pages[p->own_page] : 0, &cmd);
	err = run(file, &cmd, &args->code);
	if (err == -ECANCELED && is_there(file, p->geometry.id))
		err = 0;
	if (err) {
		unmake(file->chip, p);
		return err;
	}
	args->prefix = p->geometry.id;
	take_over(file->chip, s, p);
	args->handle = add_handle(file, p);
	return args->handle ? 0 : -ENOMEM; /* the stream holds it */
}

/* ---- PREFIX_ATTACH, PREFIX_DETACH -------------------------------------------------------------------- */

int sim_ioctl_prefix_attach(struct sim_file *file, void *data)
{
	struct drm_kvsink_prefix_attach *args = data;
	struct sim_stream *s, *p = find(file, args->handle);
	struct kvsink_logic_env env;
	struct kvsink_cmd cmd;
	uint32_t whole;
	bool needs_page;
	int err;

	sim_env(file, &env);
	err = kvsink_logic_prefix_attach(&env, args, &needs_page);
	if (err)
		return err;
	if (!p)
		return -ENOENT;
	s = sim_stream_find(file->chip, args->stream);
	if (args->tokens > p->tokens)
		return -EINVAL;
	if (s->page_count || s->prefix)
		return -EBUSY;
	whole = args->tokens / s->geometry.page_tokens;
	if (needs_page)
		err = sim_stream_alloc_pages(file->chip, s, whole, whole + 1);
	if (err)
		return err;
	kvsink_logic_build_attach(args, p->geometry.id, needs_page ? s->pages[whole] : 0, &cmd);
	err = run(file, &cmd, &args->code);
	if (err == -ECANCELED) /* once more: it is refused as BUSY if it was done */
		err = run(file, &cmd, &args->code) == -EBUSY ? 0 : err;
	if (err) {
		if (needs_page)
			sim_stream_free_pages(file->chip, s, whole, whole + 1);
		return err;
	}
	args->code = KVSINK_CODE_OK;
	memcpy(s->pages, p->pages, whole * sizeof(*s->pages));
	s->own_page = whole;
	s->page_count = whole + needs_page;
	s->prefix = p;
	p->users++;
	return 0;
}

/* A reset overtook the job: how far did it come? */
static uint32_t own_page_now(struct sim_file *file, const struct sim_stream *s, struct sim_job *job)
{
	int err = -ECANCELED;

	for (int i = 0; i < SIM_KERNEL_TRIES && err == -ECANCELED; i++) {
		kvsink_logic_build_ask_pages(s->geometry.id, &job->cmd[0]);
		job->items = 0;
		err = sim_job_run(file->chip, file, job);
	}
	return err == -EILSEQ ? job->cpl.result[1] : s->own_page;
}

/* As many pages a job as its items can name; from the last to the first. */
static int detach_some(struct sim_file *file, struct sim_stream *s, const uint64_t *pages, uint32_t *code)
{
	uint32_t count = s->own_page < KVSINK_MAX_ITEMS * 4 ? s->own_page : KVSINK_MAX_ITEMS * 4;
	uint32_t first = s->own_page - count;
	struct sim_job *job = calloc(1, sizeof(*job));
	int err;

	if (!job)
		return -ENOMEM;
	kvsink_logic_build_detach(s->geometry.id, first, pages + first, count, &job->cmd[0], job->item);
	job->cmds = 1;
	job->items = KVSINK_LOGIC_PAGE_ITEMS(count);
	job->privileged = true;
	err = sim_job_run(file->chip, file, job);
	*code = job->cpl.code;
	if (err == -ECANCELED) {
		first = own_page_now(file, s, job);
		err = first == s->own_page ? err : 0;
	}
	free(job);
	if (err)
		return err;
	memcpy(s->pages + first, pages + first, (s->own_page - first) * sizeof(*pages));
	s->own_page = first;
	return 0;
}

int sim_ioctl_prefix_detach(struct sim_file *file, void *data)
{
	struct drm_kvsink_prefix_detach *args = data;
	struct kvsink_logic_env env;
	struct sim_stream *s, fresh;
	int err;

	sim_env(file, &env);
	err = kvsink_logic_prefix_detach(&env, args);
	if (err)
		return err;
	s = sim_stream_find(file->chip, args->stream);
	if (!s->prefix) {
		args->code = KVSINK_CODE_NOT_SHARED;
		return kvsink_logic_errno(args->code);
	}
	fresh = *s;
	fresh.pages = calloc(s->own_page + 1, sizeof(*fresh.pages));
	err = fresh.pages ? sim_stream_alloc_pages(file->chip, &fresh, 0, s->own_page) : -ENOMEM;
	if (!err) {
		do
			err = detach_some(file, s, fresh.pages, &args->code);
		while (!err && s->own_page);
		sim_stream_free_pages(file->chip, &fresh, 0, s->own_page);
	}
	free(fresh.pages);
	if (err)
		return err;
	sim_prefix_put(file->chip, s->prefix);
	s->prefix = NULL;
	return 0;
}
