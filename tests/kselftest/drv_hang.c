// SPDX-License-Identifier: MIT
/*
 * Recovery from a job that never ends. Needs a device whose injected hang this test may trigger, see hang.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "kvt.h"

#define TOKENS 8

/* A job without a wait for it. */
static int start(int fd, struct kvt_bo *result, uint64_t generation, uint32_t timeline, uint64_t point)
{
	struct drm_kvsink_op op = {.type = DRM_KVSINK_OP_ADVANCE, .advance.ns = 1};
	struct drm_kvsink_sync sync = {DRM_KVSINK_SYNC_SIGNAL | DRM_KVSINK_SYNC_TIMELINE, timeline, point};
	struct drm_kvsink_job job = {
		.ops = {sizeof(op), 1, (uintptr_t)&op},
		.syncs = {sizeof(sync), 1, (uintptr_t)&sync},
		.status = {.handle = result->handle},
	};
	struct drm_kvsink_submit submit = {.generation = generation,
					   .jobs = {sizeof(job), 1, (uintptr_t)&job}};

	return kvt_submit_raw(fd, &submit);
}

/* The script beside us hears this and gives the next jobs a fault: "hang", or "lost" (work without an end).
 */
static void ask_for_some(const char *fault, int jobs)
{
	printf("# kvsink-test: %s %d\n", fault, jobs);
	fflush(stdout);
}

static void ask_for(const char *fault)
{
	ask_for_some(fault, 1);
}

FIXTURE(hang){};

FIXTURE_SETUP(hang)
{
	if (!getenv("KVSINK_TEST_HANG"))
		SKIP(return, "KVSINK_TEST_HANG is not set: the device was not told to hang");
}

FIXTURE_TEARDOWN(hang)
{
}

/* Two waits for the driver's time-out, on a machine that may be busy. */
TEST_F_TIMEOUT(hang, is_reset_and_the_device_goes_on, 120)
{
	const volatile struct drm_kvsink_job_status *status;
	struct drm_kvsink_place place = kvt_rows(1);
	struct drm_kvsink_promote promote;
	struct drm_kvsink_swap swap = {.bytes = 1 << 20};
	struct kvt_bo result, image;
	uint64_t generation, stream, point = 0;
	uint32_t timeline;
	int fd, err;

	fd = kvt_open();
	ASSERT_GE(fd, 0);
	result = kvt_bo(fd, 4096);
	ASSERT_NE(NULL, result.map);
	status = result.map;
	timeline = kvt_syncobj(fd);
	ASSERT_NE(0, timeline);
	generation = kvt_generation(fd);
	stream = kvt_stream(fd);
	ASSERT_NE(0, stream);
	ASSERT_EQ(0, kvt_fill(fd, stream, TOKENS));
	promote = (struct drm_kvsink_promote){
		.stream = stream, .places = kvt_places(&place, 1), .dwell_steps = 100};
	ASSERT_EQ(0, kvt_ioctl(fd, DRM_IOCTL_KVSINK_PROMOTE, &promote));

	/* Another stream is swapped out when it happens. */
	image = kvt_bo(fd, 1 << 20);
	swap.stream = kvt_stream(fd);
	swap.image.handle = image.handle;
	ASSERT_EQ(0, kvt_fill(fd, swap.stream, TOKENS));
	ASSERT_EQ(0, kvt_ioctl(fd, DRM_IOCTL_KVSINK_SWAP_OUT, &swap));

	ask_for("hang");
	do { /* jobs until one was hit */
		usleep(10000);
		ASSERT_EQ(0, start(fd, &result, 0, timeline, ++point));
		err = kvt_wait_point(fd, timeline, point, 2);
	} while (!err && point < 2000);
	ASSERT_EQ(-ETIME, err);
	EXPECT_EQ(~0u, status->code); /* not finished yet */
	ASSERT_EQ(0, kvt_wait_point(fd, timeline, point, 30));
	EXPECT_EQ(KVSINK_CODE_ABORTED, status->code);
	ASSERT_GT(kvt_generation(fd), generation);
	EXPECT_EQ(-ESTALE, start(fd, &result, generation, timeline, ++point));
	EXPECT_EQ(0, start(fd, &result, kvt_generation(fd), timeline, ++point));
	EXPECT_EQ(0, kvt_wait_point(fd, timeline, point, 30));
	EXPECT_EQ(KVSINK_CODE_OK, status->code);
	/* tags are gone, the stream is not; the contract was broken, and not silently */
	EXPECT_EQ(1, kvt_events(fd, stream, KVSINK_EVENT_CONTRACT_BROKEN, KVSINK_REASON_RESET));
	EXPECT_EQ(0, kvt_total(fd, DRM_KVSINK_QUERY_TAGS));
	EXPECT_EQ(2, kvt_total(fd, DRM_KVSINK_QUERY_STREAMS));
	EXPECT_EQ(0, kvt_promote(fd, stream, 1, &promote));
	EXPECT_EQ(0, kvt_destroy(fd, stream));
	swap.bytes = 1 << 20;
	EXPECT_EQ(0, kvt_ioctl(fd, DRM_IOCTL_KVSINK_SWAP_IN, &swap));
	EXPECT_EQ(0, kvt_promote(fd, swap.stream, 1, &promote));
	EXPECT_EQ(0, kvt_destroy(fd, swap.stream));
	close(fd);
}

/* ---- swap
 * -------------------------------------------------------------------------------------------------- */

#define IMAGE_BYTES (4u << 20)

/* Appended to a stream that has `pages` pages, all of them full then. */
static int fill_pages(int fd, uint64_t stream, uint32_t pages)
{
	int err = 0;

	for (uint32_t at = 0; !err && at < pages * KVT_PAGE; at += KVT_PAGE)
		err = kvt_grow(fd, stream, at, KVT_PAGE);
	return err;
}

/* PAGE_MAP has done its work, but the driver never heard of it: the stream has a page more than it knows. */
TEST_F_TIMEOUT(hang, pages_that_were_mapped_unseen_come_back_from_swap, 120)
{
	struct drm_kvsink_stream_create args = kvt_stream_args();
	struct drm_kvsink_stream_reserve reserve = {.tokens = KVT_PAGE};
	float before[KVT_OUT], after[KVT_OUT];
	struct drm_kvsink_swap swap;
	struct kvt_bo image;
	int fd = kvt_open(), err;

	ASSERT_GE(fd, 0);
	image = kvt_bo(fd, IMAGE_BYTES);
	ASSERT_NE(NULL, image.map);
	args.max_tokens = 1 << 16;
	args.reserve_tokens = 0;
	ASSERT_EQ(0, kvt_ioctl(fd, DRM_IOCTL_KVSINK_STREAM_CREATE, &args));
	reserve.stream = args.stream;
	ask_for("lost");
	do {
		usleep(20000);
		err = kvt_ioctl(fd, DRM_IOCTL_KVSINK_STREAM_RESERVE, &reserve);
		reserve.tokens += KVT_PAGE;
	} while (!err && reserve.tokens < args.max_tokens);
	ASSERT_EQ(-ETIME, err);
	reserve.tokens -= KVT_PAGE; /* this many it has, though the driver knows of a page less */
	ASSERT_EQ(0, fill_pages(fd, args.stream, reserve.tokens / KVT_PAGE));
	ASSERT_EQ(0, kvt_attend(fd, args.stream, reserve.tokens, before));
	ASSERT_EQ(0, kvt_swap(fd, DRM_IOCTL_KVSINK_SWAP_OUT, args.stream, image.handle, IMAGE_BYTES, &swap));
	ASSERT_EQ(0, kvt_swap(fd, DRM_IOCTL_KVSINK_SWAP_IN, args.stream, image.handle, IMAGE_BYTES, &swap));
	ASSERT_EQ(0, kvt_attend(fd, args.stream, reserve.tokens, after));
	EXPECT_EQ(0, memcmp(before, after, sizeof(before)));
	reserve.tokens += KVT_PAGE;
	EXPECT_EQ(0, kvt_ioctl(fd, DRM_IOCTL_KVSINK_STREAM_RESERVE, &reserve));
	EXPECT_EQ(0, kvt_destroy(fd, args.stream));
	close(fd);
}

/* Out and in until a job of it was hit. What the call answers is true, and the stream is whole. */
static int move_until_hit(int fd, uint64_t stream, struct kvt_bo *image, const char *fault)
{
	uint64_t generation = kvt_generation(fd);
	struct drm_kvsink_swap args;
	bool out = false;
	int err;

	ask_for(fault);
	for (int i = 0; i < 4000 && kvt_generation(fd) == generation; i++) {
		unsigned long request = out ? DRM_IOCTL_KVSINK_SWAP_IN : DRM_IOCTL_KVSINK_SWAP_OUT;

		usleep(3000);
		err = kvt_swap(fd, request, stream, image->handle, IMAGE_BYTES, &args);
		if (err && err != -ETIME && err != -ECANCELED)
			return err;
		if (err && args.code != KVSINK_CODE_ABORTED)
			return -1000 - (int)args.code;
		out = err ? out : !out;
		if (kvt_is_out(fd, stream) != out)
			return -2000;
	}
	if (kvt_generation(fd) == generation)
		return -3000;
	return out ? kvt_swap(fd, DRM_IOCTL_KVSINK_SWAP_IN, stream, image->handle, IMAGE_BYTES, &args) : 0;
}

TEST_F_TIMEOUT(hang, moves_that_a_reset_overtakes_are_done_or_not, 200)
{
	float before[KVT_OUT], after[KVT_OUT];
	struct kvt_bo image;
	uint64_t stream;
	int fd = kvt_open();

	ASSERT_GE(fd, 0);
	image = kvt_bo(fd, IMAGE_BYTES);
	ASSERT_NE(NULL, image.map);
	stream = kvt_stream(fd);
	ASSERT_EQ(0, kvt_fill(fd, stream, TOKENS));
	ASSERT_EQ(0, kvt_attend(fd, stream, TOKENS, before));
	for (int round = 0; round < 6; round++) {
		EXPECT_EQ(0, move_until_hit(fd, stream, &image, round % 2 ? "hang" : "lost"))
		TH_LOG("round %d", round);
		EXPECT_EQ(0, kvt_attend(fd, stream, TOKENS, after));
		EXPECT_EQ(0, memcmp(before, after, sizeof(before)));
	}
	EXPECT_EQ(0, kvt_grow(fd, stream, TOKENS, 4));
	EXPECT_EQ(0, kvt_destroy(fd, stream));
	close(fd);
}

/* ---- replay windows ---- */

/*
 * Windows until a job of one was hit. There is none then, whatever was hit; the stream has the rows of
 * commits that were answered, and of the one that was hit all or none. Returns its length, or -errno.
 */
static int speculate_until_hit(int fd, uint64_t stream, uint32_t length, const char *fault)
{
	uint64_t generation = kvt_generation(fd);
	struct kvsink_stream_rec rec;
	int err = 0;

	ask_for(fault);
	for (int i = 0; i < 4000 && kvt_generation(fd) == generation; i++) {
		usleep(3000);
		err = kvt_window(fd, DRM_IOCTL_KVSINK_WINDOW_BEGIN, stream, 4);
		if (!err)
			err = kvt_draft(fd, stream, length, length, 2);
		if (!err || kvt_generation(fd) == generation)
			err = kvt_window(fd, DRM_IOCTL_KVSINK_WINDOW_COMMIT, stream, i == 20 ? 2 : 0);
		length += !err && i == 20 ? 2 : 0;
	}
	if (kvt_generation(fd) == generation)
		return -3000;
	err = kvt_record(fd, stream, &rec);
	if (err)
		return err;
	return rec.window || (rec.length != length && rec.length != length + 2) ? -2000 : (int)rec.length;
}

TEST_F_TIMEOUT(hang, windows_that_a_reset_overtakes_are_over, 200)
{
	uint64_t stream, before = kvt_all_hbm();
	int fd = kvt_open(), length = TOKENS;
	float out[KVT_OUT];

	ASSERT_GE(fd, 0);
	stream = kvt_stream(fd);
	ASSERT_EQ(0, kvt_fill(fd, stream, TOKENS));
	for (int round = 0; round < 6; round++) {
		length = speculate_until_hit(fd, stream, (uint32_t)length, round % 2 ? "hang" : "lost");
		ASSERT_GE(length, TOKENS)
		TH_LOG("round %d: %d", round, length);
		EXPECT_EQ(0, kvt_window(fd, DRM_IOCTL_KVSINK_WINDOW_BEGIN, stream, 4));
		EXPECT_EQ(0, kvt_draft(fd, stream, (uint32_t)length, (uint32_t)length, 1));
		EXPECT_EQ(0, kvt_window(fd, DRM_IOCTL_KVSINK_WINDOW_COMMIT, stream, 1));
		length++;
		EXPECT_EQ(0, kvt_attend(fd, stream, (uint32_t)length, out));
	}
	EXPECT_EQ(0, kvt_destroy(fd, stream));
	close(fd);
	EXPECT_EQ(before, kvt_all_hbm());
}

/* ---- one command, hit on purpose ---- */

#define LENGTH 22
#define CUT 14
#define TRIES 4 /* the fault may come too late, on a busy machine */
#define LATE (-1000)
#define SETTLE_US 700000

/* What a command works on, and what came of it. */
struct scene {
	int fd;
	uint64_t stream, other; /* one with rows; one that is empty or begins with a prefix of it */
	uint32_t handle;	/* of the prefix; 0: none yet */
	uint32_t code;
};

static int do_publish(struct scene *s)
{
	struct drm_kvsink_prefix_publish args = {.stream = s->stream, .tokens = CUT};
	int err = kvt_ioctl(s->fd, DRM_IOCTL_KVSINK_PREFIX_PUBLISH, &args);

	s->handle = err ? s->handle : args.handle;
	s->code = args.code;
	return err;
}

static int do_attach(struct scene *s)
{
	struct drm_kvsink_prefix_attach args = {.stream = s->other, .handle = s->handle, .tokens = CUT};
	int err = kvt_ioctl(s->fd, DRM_IOCTL_KVSINK_PREFIX_ATTACH, &args);

	s->code = args.code;
	return err;
}

static int do_detach(struct scene *s)
{
	struct drm_kvsink_prefix_detach args = {.stream = s->other};
	int err = kvt_ioctl(s->fd, DRM_IOCTL_KVSINK_PREFIX_DETACH, &args);

	s->code = args.code;
	return err;
}

static int do_commit(struct scene *s)
{
	struct drm_kvsink_window args = {.stream = s->stream, .tokens = 2};
	int err = kvt_ioctl(s->fd, DRM_IOCTL_KVSINK_WINDOW_COMMIT, &args);

	s->code = args.code;
	return err;
}

static int speculate(struct scene *s)
{
	int err = kvt_window(s->fd, DRM_IOCTL_KVSINK_WINDOW_BEGIN, s->stream, 4);

	return err ? err : kvt_draft(s->fd, s->stream, LENGTH, LENGTH, 3);
}

/* Does the stream hold the first rows that every stream here has? */
static int same_rows(struct scene *s, uint64_t stream, uint32_t tokens)
{
	float is[KVT_OUT], should[KVT_OUT];
	uint64_t scratch = kvt_stream(s->fd);
	int err = kvt_fill(s->fd, scratch, tokens);

	err = err ? err : kvt_attend(s->fd, scratch, tokens, should);
	err = err ? err : kvt_attend(s->fd, stream, tokens, is);
	err = err ? err : kvt_destroy(s->fd, scratch);
	return err ? err : memcmp(is, should, sizeof(is));
}

static int length_of(struct scene *s, uint64_t stream)
{
	struct kvsink_stream_rec rec;
	int err = kvt_record(s->fd, stream, &rec);

	return err ? err : (int)rec.length;
}

static bool shares(struct scene *s, uint64_t stream)
{
	struct kvsink_stream_rec rec;

	return !kvt_record(s->fd, stream, &rec) && rec.prefix;
}

/* Each: was it done, and if so, is what there should be there? */
static int published(struct scene *s)
{
	return shares(s, s->stream) ? !same_rows(s, s->stream, LENGTH) && !do_attach(s) : 0;
}

static int attached(struct scene *s)
{
	return shares(s, s->other) ? !same_rows(s, s->other, CUT) : 0;
}

static int detached(struct scene *s)
{
	return shares(s, s->other) ? 0 : !same_rows(s, s->other, CUT);
}

static int committed(struct scene *s)
{
	return length_of(s, s->stream) == LENGTH + 2 ? !same_rows(s, s->stream, LENGTH + 2) : 0;
}

static const struct command {
	const char *name;
	int (*prepare[2])(struct scene *s);
	int (*run)(struct scene *s);
	int (*done)(struct scene *s);
	bool answers; /* 0 if the work was done, whoever saw the end of it */
} commands[] = {
	{"PREFIX_PUBLISH", {NULL, NULL}, do_publish, published, true},
	{"PREFIX_ATTACH", {do_publish, NULL}, do_attach, attached, true},
	{"PREFIX_DETACH", {do_publish, do_attach}, do_detach, detached, true},
	{"WINDOW_COMMIT", {speculate, NULL}, do_commit, committed, false},
};

static int set_up(struct scene *s, const struct command *c)
{
	struct drm_kvsink_stream_create create = kvt_stream_args();
	int err;

	*s = (struct scene){.fd = kvt_open()};
	create.reserve_tokens = 0;
	s->stream = kvt_stream(s->fd);
	err = kvt_ioctl(s->fd, DRM_IOCTL_KVSINK_STREAM_CREATE, &create);
	s->other = create.stream;
	err = err ? err : kvt_fill(s->fd, s->stream, LENGTH);
	for (int i = 0; i < 2 && !err; i++)
		err = c->prepare[i] ? c->prepare[i](s) : 0;
	return err;
}

/* The command with its first `jobs` jobs hit: what it said, or LATE if something else was hit. */
static int hit(struct scene *s, const struct command *c, const char *fault, int jobs)
{
	int err = LATE;

	for (int i = 0; i < TRIES && err == LATE; i++) {
		if (!set_up(s, c)) {
			uint64_t generation = kvt_generation(s->fd);

			usleep(SETTLE_US); /* buffers that were freed go by jobs of the kernel */
			ask_for_some(fault, jobs);
			usleep(SETTLE_US);
			err = c->run(s);
			err = kvt_generation(s->fd) == generation ? LATE : err;
		}
		if (err == LATE)
			close(s->fd);
	}
	return err;
}

static uint64_t sram_used(int fd)
{
	struct drm_kvsink_reg_read read = {.offset = KVSINK_REG_SRAM_USED};

	return kvt_ioctl(fd, DRM_IOCTL_KVSINK_REG_READ, &read) ? UINT64_MAX : read.value;
}

/* Streams and prefixes of a file that was closed: the last stream ends a prefix, and nobody waits for that.
 */
static int left(void)
{
	int fd = kvt_open(), n = -1;

	for (int i = 0; i < 300 && n; i++) {
		usleep(10000);
		n = kvt_total(fd, DRM_KVSINK_QUERY_STREAMS);
	}
	n += sram_used(fd) || kvt_total(fd, DRM_KVSINK_QUERY_TAGS) ? 10000 : 0;
	close(fd);
	return n;
}

static uint64_t hbm_at_rest(uint64_t wanted)
{
	uint64_t all = 0;

	for (int i = 0; i < 20 && all != wanted; i++) {
		usleep(i * 20000);
		all = kvt_all_hbm();
	}
	return all;
}

/* Not done: ETIME, as it was, and it can be done again. */
TEST_F_TIMEOUT(hang, commands_that_never_begin_have_done_nothing, 200)
{
	uint64_t before = kvt_all_hbm();
	struct scene s;

	for (size_t i = 0; i < KVT_COUNT(commands); i++) {
		const struct command *c = &commands[i];

		/* once the question after it, too */
		for (int jobs = 1; jobs <= (c->answers ? 2 : 1); jobs++) {
			EXPECT_EQ(-ETIME, hit(&s, c, "hang", jobs))
			TH_LOG("%s, %d", c->name, jobs);
			EXPECT_EQ(KVSINK_CODE_ABORTED, s.code);
			EXPECT_EQ(0, c->done(&s))
			TH_LOG("%s, %d", c->name, jobs);
			EXPECT_EQ(0, c->run == do_commit ? speculate(&s) : 0);
			EXPECT_EQ(0, c->run(&s))
			TH_LOG("%s, %d", c->name, jobs);
			EXPECT_EQ(1, c->done(&s))
			TH_LOG("%s, %d", c->name, jobs);
			close(s.fd);
			EXPECT_EQ(0, left());
		}
	}
	EXPECT_EQ(before, hbm_at_rest(before));
}

/* Done, but the driver did not see it: the driver asks. Of a commit the stream's length tells. */
TEST_F_TIMEOUT(hang, commands_whose_end_is_lost_are_done, 200)
{
	uint64_t before = kvt_all_hbm();
	struct scene s;

	for (size_t i = 0; i < KVT_COUNT(commands); i++) {
		const struct command *c = &commands[i];
		int err = hit(&s, c, "lost", 1);

		EXPECT_EQ(c->answers ? 0 : -ETIME, err)
		TH_LOG("%s", c->name);
		EXPECT_EQ(c->answers ? KVSINK_CODE_OK : KVSINK_CODE_ABORTED, s.code);
		EXPECT_EQ(1, c->done(&s))
		TH_LOG("%s", c->name);
		EXPECT_EQ(0, kvt_window(s.fd, DRM_IOCTL_KVSINK_WINDOW_BEGIN, s.stream, 4));
		close(s.fd);
		EXPECT_EQ(0, left());
	}
	EXPECT_EQ(before, hbm_at_rest(before));
}

/* Every question is hit as well: the call fails, and the stream can be made whole, whatever was done. */
TEST_F_TIMEOUT(hang, an_attach_of_which_nobody_can_tell_can_be_undone, 200)
{
	uint64_t before = kvt_all_hbm();
	struct scene s;

	for (int round = 0; round < 2; round++) {
		ASSERT_EQ(-ETIME, hit(&s, &commands[1], round ? "lost" : "hang", 4));
		EXPECT_EQ(KVSINK_CODE_ABORTED, s.code);
		EXPECT_EQ(round, shares(&s, s.other));
		EXPECT_EQ(-EBUSY, do_attach(&s));
		EXPECT_EQ(0, do_detach(&s));
		EXPECT_FALSE(shares(&s, s.other));
		EXPECT_EQ(round ? -EBUSY : 0, do_attach(&s));
		EXPECT_EQ(0, same_rows(&s, s.other, CUT));
		close(s.fd);
		EXPECT_EQ(0, left());
	}
	EXPECT_EQ(before, hbm_at_rest(before));
}

/* ---- two devices ---- */

TEST_F(hang, a_prefix_of_another_device_is_refused)
{
	struct drm_kvsink_prefix_handle exported = {.fd = -1};
	struct drm_kvsink_prefix_open open = {0};
	int second = kvt_open_second();
	struct scene s;

	ASSERT_GE(second, 0);
	ASSERT_EQ(0, set_up(&s, &commands[1]));
	exported.handle = s.handle;
	ASSERT_EQ(0, kvt_ioctl(s.fd, DRM_IOCTL_KVSINK_PREFIX_EXPORT, &exported));
	open.fd = exported.fd;
	EXPECT_EQ(-EXDEV, kvt_ioctl(second, DRM_IOCTL_KVSINK_PREFIX_OPEN, &open));
	EXPECT_EQ(0, kvt_ioctl(s.fd, DRM_IOCTL_KVSINK_PREFIX_OPEN, &open));
	close(exported.fd);
	close(second);
	close(s.fd);
	EXPECT_EQ(0, left());
}

TEST_HARNESS_MAIN
