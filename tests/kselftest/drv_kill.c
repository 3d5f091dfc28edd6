// SPDX-License-Identifier: MIT
/*
 * Processes that share prefixes, speculate in windows, promote and swap are killed at random moments, many
 * times. Afterwards the device's own counts say that nothing of them is there: streams, prefixes, entries,
 * SRAM, HBM.
 *
 * The seed is printed; KVSINK_SEED sets it. What was interrupted depends on the kernel's schedule as well, so
 * a seed gives the same commands and moments, not the same run.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "kvt.h"

#define WORKERS 4
#define KILLS 60
#define MOST_US 200000 /* between two kills */
#define SLOTS 4
#define IMAGE_BYTES (1u << 20)
#define WINDOW 4

/* What a worker can do; how often it succeeded is counted. */
#define ACTIONS(X)                                                                                           \
	X(fill)                                                                                              \
	X(publish)                                                                                           \
	X(begin_with)                                                                                        \
	X(detach) X(promote) X(place_prefix) X(speculate) X(commit) X(swap_out) X(swap_in) X(end) X(export)

enum action {
#define X(name) ACTION_##name,
	ACTIONS(X)
#undef X
		ACTION_COUNT
};

struct slot {
	uint64_t stream; /* 0: none */
	uint32_t tokens;
	bool window, out;
};

struct worker {
	int fd;
	uint64_t random;
	struct slot slot[SLOTS];
	uint32_t handle[SLOTS]; /* of prefixes; 0: none */
	int descriptor[SLOTS];	/* of prefixes; -1: none */
	struct kvt_bo image[SLOTS];
};

/* ---- random ---- */

static uint32_t draw(uint64_t *random, uint32_t below)
{
	*random = *random * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)((*random >> 33) % below);
}

static uint64_t seed(void)
{
	const char *text = getenv("KVSINK_SEED");
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return text ? strtoull(text, NULL, 0) : (uint64_t)now.tv_nsec ^ (uint64_t)now.tv_sec << 20;
}

/* ---- actions: 0 if done ---- */

static int do_fill(struct worker *w, struct slot *s)
{
	uint32_t count = 1 + draw(&w->random, 12);
	int err;

	if (!s->stream) {
		*s = (struct slot){.stream = kvt_stream(w->fd)};
		if (!s->stream)
			return -1;
	}
	if (s->out || s->window || s->tokens + count > KVT_MAX)
		return -1;
	err = kvt_grow(w->fd, s->stream, s->tokens, count);
	s->tokens += err ? 0 : count;
	return err;
}

static void keep_handle(struct worker *w, uint32_t handle)
{
	uint32_t *place = &w->handle[draw(&w->random, SLOTS)];
	struct drm_kvsink_prefix_handle args = {.handle = *place};

	if (*place)
		kvt_ioctl(w->fd, DRM_IOCTL_KVSINK_PREFIX_CLOSE, &args);
	*place = handle;
}

static int do_publish(struct worker *w, struct slot *s)
{
	struct drm_kvsink_prefix_publish args = {.stream = s->stream, .key = {7, 8}};
	int err;

	if (!s->tokens)
		return -1;
	args.tokens = 1 + draw(&w->random, s->tokens);
	err = kvt_ioctl(w->fd, DRM_IOCTL_KVSINK_PREFIX_PUBLISH, &args);
	if (!err)
		keep_handle(w, args.handle);
	return err;
}

/* A prefix of any worker. */
static uint64_t some_prefix(struct worker *w)
{
	struct {
		struct drm_kvsink_list_head head;
		struct kvsink_stream_rec rec[64];
	} list;
	uint32_t found = 0;
	uint64_t id = 0;

	if (kvt_query(w->fd, DRM_KVSINK_QUERY_STREAMS, 0, &list, sizeof(list)) ||
	    list.head.record_bytes != sizeof(list.rec[0]))
		return 0;
	for (uint32_t i = 0; i < list.head.written; i++)
		if (list.rec[i].closed && !draw(&w->random, ++found))
			id = list.rec[i].stream;
	return id;
}

static int open_prefix(struct worker *w, uint32_t *tokens, uint32_t *handle)
{
	struct drm_kvsink_prefix_open args = {.fd = w->descriptor[draw(&w->random, SLOTS)]};
	int err;

	if (args.fd < 0) {
		args.fd = -1;
		args.prefix = some_prefix(w);
	}
	err = args.prefix || args.fd >= 0 ? kvt_ioctl(w->fd, DRM_IOCTL_KVSINK_PREFIX_OPEN, &args) : -1;
	*tokens = args.tokens;
	*handle = args.handle;
	return err;
}

static int do_begin_with(struct worker *w, struct slot *s)
{
	struct drm_kvsink_stream_create create = kvt_stream_args();
	struct drm_kvsink_prefix_attach attach = {0};
	struct drm_kvsink_stream_reserve reserve = {.tokens = KVT_MAX};
	uint32_t tokens;

	if (s->stream || open_prefix(w, &tokens, &attach.handle))
		return -1;
	keep_handle(w, attach.handle);
	create.reserve_tokens = 0;
	if (kvt_ioctl(w->fd, DRM_IOCTL_KVSINK_STREAM_CREATE, &create))
		return -1;
	attach.stream = reserve.stream = create.stream;
	attach.tokens = 1 + draw(&w->random, tokens);
	if (kvt_ioctl(w->fd, DRM_IOCTL_KVSINK_PREFIX_ATTACH, &attach) ||
	    kvt_ioctl(w->fd, DRM_IOCTL_KVSINK_STREAM_RESERVE, &reserve)) {
		kvt_destroy(w->fd, create.stream);
		return -1;
	}
	*s = (struct slot){.stream = create.stream, .tokens = attach.tokens};
	return 0;
}

static int do_detach(struct worker *w, struct slot *s)
{
	struct drm_kvsink_prefix_detach args = {.stream = s->stream};

	return kvt_ioctl(w->fd, DRM_IOCTL_KVSINK_PREFIX_DETACH, &args);
}

static int do_promote(struct worker *w, struct slot *s)
{
	struct drm_kvsink_promote args;

	return s->tokens ? kvt_promote(w->fd, s->stream, draw(&w->random, s->tokens), &args) : -1;
}

static int do_place_prefix(struct worker *w, struct slot *s)
{
	struct drm_kvsink_promote args;
	struct drm_kvsink_evict evict;
	uint64_t id = some_prefix(w);

	(void)s;
	if (id && !draw(&w->random, 3))
		return kvt_evict(w->fd, id, KVSINK_TOKEN_ALL, &evict);
	return id ? kvt_promote(w->fd, id, draw(&w->random, 8), &args) : -1;
}

static int do_speculate(struct worker *w, struct slot *s)
{
	int err = s->window || s->tokens + WINDOW > KVT_MAX
			  ? -1
			  : kvt_window(w->fd, DRM_IOCTL_KVSINK_WINDOW_BEGIN, s->stream, WINDOW);

	s->window |= !err;
	return err ? err : kvt_draft(w->fd, s->stream, s->tokens, s->tokens + 1, WINDOW);
}

static int do_commit(struct worker *w, struct slot *s)
{
	uint32_t tokens = draw(&w->random, WINDOW + 1);
	int err = s->window ? kvt_window(w->fd, DRM_IOCTL_KVSINK_WINDOW_COMMIT, s->stream, tokens) : -1;

	s->window &= !!err;
	s->tokens += err ? 0 : tokens;
	return err;
}

static int swap(struct worker *w, struct slot *s, unsigned long request)
{
	struct drm_kvsink_swap args;

	return kvt_swap(w->fd, request, s->stream, w->image[s - w->slot].handle, IMAGE_BYTES, &args);
}

static int do_swap_out(struct worker *w, struct slot *s)
{
	int err = s->window || s->out || !s->stream ? -1 : swap(w, s, DRM_IOCTL_KVSINK_SWAP_OUT);

	s->out |= !err;
	return err;
}

static int do_swap_in(struct worker *w, struct slot *s)
{
	int err = s->out ? swap(w, s, DRM_IOCTL_KVSINK_SWAP_IN) : -1;

	s->out &= !!err;
	return err;
}

static int do_end(struct worker *w, struct slot *s)
{
	uint64_t stream = s->stream;

	if (!stream || draw(&w->random, 3))
		return -1;
	*s = (struct slot){0};
	return kvt_destroy(w->fd, stream);
}

static int do_export(struct worker *w, struct slot *s)
{
	uint32_t i = (uint32_t)(s - w->slot);
	struct drm_kvsink_prefix_handle args = {.handle = w->handle[i], .fd = -1};

	if (w->descriptor[i] >= 0) {
		close(w->descriptor[i]);
		w->descriptor[i] = -1;
		return 0;
	}
	if (!args.handle || kvt_ioctl(w->fd, DRM_IOCTL_KVSINK_PREFIX_EXPORT, &args))
		return -1;
	w->descriptor[i] = args.fd;
	return 0;
}

static int (*const actions[ACTION_COUNT])(struct worker *w, struct slot *s) = {
#define X(name) do_##name,
	ACTIONS(X)
#undef X
};

/* ---- workers ---- */

static void work(uint64_t random, volatile uint32_t *done)
{
	struct worker w = {.fd = kvt_open(), .random = random};

	for (uint32_t i = 0; i < SLOTS; i++) {
		w.descriptor[i] = -1;
		w.image[i] = kvt_bo(w.fd, IMAGE_BYTES);
	}
	for (;;) {
		enum action action = draw(&w.random, ACTION_COUNT);

		if (!actions[action](&w, &w.slot[draw(&w.random, SLOTS)]))
			done[action]++;
	}
}

static pid_t start(uint64_t *random, volatile uint32_t *done)
{
	uint64_t own = (uint64_t)draw(random, 1u << 30) << 20;
	pid_t pid = fork();

	if (!pid)
		work(own, done);
	return pid;
}

/* 0 if it was alive until then. */
static int end(pid_t pid)
{
	int status;

	if (pid < 0 || kill(pid, SIGKILL) || waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL ? 0 : -1;
}

/* ---- what is left ---- */

static uint64_t sram_used(int fd)
{
	struct drm_kvsink_reg_read read = {.offset = KVSINK_REG_SRAM_USED};

	return kvt_ioctl(fd, DRM_IOCTL_KVSINK_REG_READ, &read) ? UINT64_MAX : read.value;
}

/* The last stream ends a prefix, and does not wait for that. */
static int streams_left(int fd)
{
	int left;

	for (int i = 0; i < 500; i++) {
		left = kvt_total(fd, DRM_KVSINK_QUERY_STREAMS);
		if (!left)
			break;
		usleep(10000);
	}
	return left;
}

/* The chip forgets a prefix before its memory is cleared. */
static uint64_t all_hbm(uint64_t wanted)
{
	uint64_t all = 0;

	for (int i = 0; i < 20 && all != wanted; i++) {
		usleep(i * 20000);
		all = kvt_all_hbm();
	}
	return all;
}

FIXTURE(kill)
{
	int fd;
};

FIXTURE_SETUP(kill)
{
	self->fd = kvt_open();
	ASSERT_GE(self->fd, 0);
}

FIXTURE_TEARDOWN(kill)
{
	close(self->fd);
}

TEST_F_TIMEOUT(kill, at_random_leaves_nothing, 200)
{
	volatile uint32_t *done = mmap(NULL, ACTION_COUNT * sizeof(*done), PROT_READ | PROT_WRITE,
				       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t random = seed(), hbm = kvt_all_hbm();
	pid_t pid[WORKERS];

	printf("# KVSINK_SEED=%#llx\n", (unsigned long long)random);
	ASSERT_EQ(0, kvt_total(self->fd, DRM_KVSINK_QUERY_STREAMS));
	ASSERT_EQ(0, sram_used(self->fd));
	for (int i = 0; i < WORKERS; i++)
		pid[i] = start(&random, done);
	for (int i = 0; i < KILLS; i++) {
		uint32_t victim = draw(&random, WORKERS);

		usleep(draw(&random, MOST_US));
		EXPECT_EQ(0, end(pid[victim]));
		pid[victim] = start(&random, done);
	}
	for (int i = 0; i < WORKERS; i++)
		EXPECT_EQ(0, end(pid[i]));
	EXPECT_EQ(0, streams_left(self->fd));
	EXPECT_EQ(0, kvt_total(self->fd, DRM_KVSINK_QUERY_TAGS));
	EXPECT_EQ(0, sram_used(self->fd));
	EXPECT_EQ(hbm, all_hbm(hbm));
#define X(name)                                                                                              \
	printf("# " #name ": %u\n", done[ACTION_##name]);                                                    \
	EXPECT_NE(0, done[ACTION_##name]);
	ACTIONS(X)
#undef X
}

TEST_HARNESS_MAIN
