// SPDX-License-Identifier: MIT
/*
 * WINDOW_BEGIN and WINDOW_COMMIT: drafts that stay in part, what is refused, whose windows they are, HBM of
 * journals, killed processes. A reset in a window: drv_hang.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "kvt.h"

#define TOKENS 24
#define WRONG 50 /* tokens whose rows no stream has here */
#define IMAGE_BYTES (1u << 20)
#define KILLS 12

FIXTURE(window)
{
	int fd;
	uint64_t stream;
};

FIXTURE_SETUP(window)
{
	self->fd = kvt_open();
	ASSERT_GE(self->fd, 0);
	self->stream = kvt_stream(self->fd);
	ASSERT_NE(0, self->stream);
	ASSERT_EQ(0, kvt_fill(self->fd, self->stream, TOKENS));
}

FIXTURE_TEARDOWN(window)
{
	close(self->fd);
}

static int begin(int fd, uint64_t stream, uint32_t tokens)
{
	return kvt_window(fd, DRM_IOCTL_KVSINK_WINDOW_BEGIN, stream, tokens);
}

static int commit(int fd, uint64_t stream, uint32_t tokens)
{
	return kvt_window(fd, DRM_IOCTL_KVSINK_WINDOW_COMMIT, stream, tokens);
}

TEST_F(window, commits_what_was_right)
{
	float single[KVT_OUT], tried[KVT_OUT];
	struct drm_kvsink_window args = {.stream = self->stream, .tokens = 2};
	struct kvsink_stream_rec rec;
	uint64_t other = kvt_stream(self->fd);

	ASSERT_EQ(0, kvt_fill(self->fd, other, TOKENS));
	ASSERT_EQ(0, kvt_grow(self->fd, other, TOKENS, 1));
	ASSERT_EQ(0, kvt_grow(self->fd, other, TOKENS + 1, 1));
	ASSERT_EQ(0, kvt_attend(self->fd, other, TOKENS + 2, single));
	ASSERT_EQ(0, begin(self->fd, self->stream, 4));
	ASSERT_EQ(0, kvt_draft(self->fd, self->stream, TOKENS, WRONG, 4));
	ASSERT_EQ(0, kvt_record(self->fd, self->stream, &rec));
	EXPECT_EQ(4, rec.window);
	EXPECT_EQ(4, rec.window_rows);
	EXPECT_EQ(TOKENS, rec.length);
	ASSERT_EQ(0, commit(self->fd, self->stream, 0));
	ASSERT_EQ(0, begin(self->fd, self->stream, 5));
	ASSERT_EQ(0, kvt_draft(self->fd, self->stream, TOKENS, TOKENS, 2));
	ASSERT_EQ(0, kvt_draft(self->fd, self->stream, TOKENS + 2, WRONG, 1));
	ASSERT_EQ(0, kvt_attend(self->fd, self->stream, TOKENS + 2, tried));
	EXPECT_EQ(0, memcmp(single, tried, sizeof(single)));
	ASSERT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_WINDOW_COMMIT, &args));
	EXPECT_EQ(3, args.rows);
	EXPECT_EQ(0, args.code);
	ASSERT_EQ(0, kvt_record(self->fd, self->stream, &rec));
	EXPECT_EQ(TOKENS + 2, rec.length);
	EXPECT_EQ(0, rec.window);
	ASSERT_EQ(0, kvt_attend(self->fd, self->stream, TOKENS + 2, tried));
	EXPECT_EQ(0, memcmp(single, tried, sizeof(single)));
	EXPECT_EQ(0, kvt_grow(self->fd, self->stream, TOKENS + 2, 3));
}

TEST_F(window, refuses_each_bad_field)
{
	static const struct kvt_bad bad[] = {
		KVT_BAD(struct drm_kvsink_window, stream, 0, ENOENT),
		KVT_BAD(struct drm_kvsink_window, stream, 1ull << 40, ENOENT),
		KVT_BAD(struct drm_kvsink_window, tokens, 65, EINVAL),
		KVT_BAD(struct drm_kvsink_window, tokens, ~0u, EINVAL),
		KVT_BAD(struct drm_kvsink_window, pad, 1, EINVAL),
	};
	struct kvsink_stream_rec rec;

	for (uint32_t round = 0; round < 2; round++) {
		unsigned long request =
			round ? DRM_IOCTL_KVSINK_WINDOW_COMMIT : DRM_IOCTL_KVSINK_WINDOW_BEGIN;

		for (size_t i = 0; i < KVT_COUNT(bad); i++) {
			struct drm_kvsink_window args = {.stream = self->stream, .tokens = 4};

			kvt_set(&args, &bad[i]);
			EXPECT_EQ(-bad[i].err, kvt_ioctl(self->fd, request, &args))
			TH_LOG("%s, round %u", bad[i].name, round);
			EXPECT_EQ(0, kvt_record(self->fd, self->stream, &rec));
			EXPECT_EQ(round * 4, rec.window);
		}
		if (!round)
			ASSERT_EQ(0, begin(self->fd, self->stream, 4));
	}
	EXPECT_EQ(0, commit(self->fd, self->stream, 0));
	EXPECT_EQ(-EINVAL, begin(self->fd, self->stream, 0));
}

TEST_F(window, does_not_nest_and_is_not_crossed)
{
	struct kvt_bo image = kvt_bo(self->fd, IMAGE_BYTES);
	struct drm_kvsink_config config = {.param = KVSINK_PARAM_ALPHA, .group = KVSINK_GROUP_ALL};
	struct drm_kvsink_promote promote;
	struct drm_kvsink_evict evict;
	struct drm_kvsink_swap swap;

	EXPECT_EQ(-ENOENT, commit(self->fd, self->stream, 0));
	ASSERT_EQ(0, kvt_draft(self->fd, self->stream, TOKENS, TOKENS, 1));
	EXPECT_EQ(-EBUSY, begin(self->fd, self->stream, 4)); /* a step is open */
	ASSERT_EQ(KVSINK_CODE_SEQUENCE, kvt_grow(self->fd, self->stream, TOKENS, 1));
	ASSERT_EQ(0, kvt_destroy(self->fd, self->stream));
	self->stream = kvt_stream(self->fd);
	config.stream = self->stream;
	ASSERT_EQ(0, kvt_fill(self->fd, self->stream, TOKENS));
	ASSERT_EQ(0, begin(self->fd, self->stream, 4));
	EXPECT_EQ(-EBUSY, begin(self->fd, self->stream, 4));
	EXPECT_EQ(KVSINK_CODE_TOO_BIG, kvt_draft(self->fd, self->stream, TOKENS, TOKENS, 5));
	EXPECT_EQ(KVSINK_CODE_WINDOW, kvt_grow(self->fd, self->stream, TOKENS, 1));
	EXPECT_EQ(-EINVAL, commit(self->fd, self->stream, 2));
	EXPECT_EQ(-EBUSY, kvt_promote(self->fd, self->stream, 3, &promote));
	EXPECT_EQ(KVSINK_CODE_WINDOW, promote.code);
	EXPECT_EQ(-EBUSY, kvt_evict(self->fd, self->stream, 3, &evict));
	EXPECT_EQ(-EBUSY, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_CONFIG_SET, &config));
	EXPECT_EQ(-EBUSY, kvt_swap(self->fd, DRM_IOCTL_KVSINK_SWAP_OUT, self->stream, image.handle,
				   IMAGE_BYTES, &swap));
	EXPECT_EQ(KVSINK_CODE_WINDOW, swap.code);
	EXPECT_EQ(0, commit(self->fd, self->stream, 1));
	EXPECT_EQ(0, kvt_promote(self->fd, self->stream, 3, &promote));
	kvt_bo_free(self->fd, &image);
}

TEST_F(window, ends_where_the_stream_ends)
{
	float out[KVT_OUT];

	ASSERT_EQ(0, kvt_grow(self->fd, self->stream, TOKENS, KVT_MAX - 2 - TOKENS));
	ASSERT_EQ(0, begin(self->fd, self->stream, 4));
	EXPECT_EQ(-EINVAL, kvt_draft(self->fd, self->stream, KVT_MAX - 2, KVT_MAX - 2, 4));
	EXPECT_EQ(0, kvt_draft(self->fd, self->stream, KVT_MAX - 2, KVT_MAX - 2, 2));
	EXPECT_EQ(-EINVAL, commit(self->fd, self->stream, 3)); /* more than there are */
	EXPECT_EQ(0, commit(self->fd, self->stream, 2));
	EXPECT_EQ(0, kvt_attend(self->fd, self->stream, KVT_MAX, out));
	EXPECT_EQ(0, begin(self->fd, self->stream, 1));
	EXPECT_EQ(-EINVAL, kvt_draft(self->fd, self->stream, KVT_MAX, KVT_MAX, 1));
	EXPECT_EQ(-EINVAL, commit(self->fd, self->stream, 1));
	EXPECT_EQ(0, commit(self->fd, self->stream, 0));
}

/* ---- who may ---- */

static int check_foreign(int fd, uint64_t stream)
{
	if (begin(fd, stream, 4) != -ENOENT)
		return 1;
	return commit(fd, stream, 0) != -ENOENT ? 2 : 0;
}

TEST_F(window, is_the_owners_alone)
{
	int other = kvt_open();
	struct kvsink_stream_rec rec;

	EXPECT_EQ(-EACCES, begin(other, self->stream, 4));
	EXPECT_EQ(0, kvt_as_nobody(check_foreign, self->stream));
	ASSERT_EQ(0, begin(self->fd, self->stream, 4));
	EXPECT_EQ(-EACCES, commit(other, self->stream, 0));
	EXPECT_EQ(0, kvt_as_nobody(check_foreign, self->stream));
	ASSERT_EQ(0, kvt_record(other, self->stream, &rec));
	EXPECT_EQ(4, rec.window);
	EXPECT_EQ(0, commit(self->fd, self->stream, 0));
	close(other);
}

/* ---- HBM ---- */

TEST_F(window, gives_its_journal_back)
{
	uint64_t before = kvt_all_hbm();
	int other;

	ASSERT_NE(0, before);
	for (int round = 0; round < 20; round++) {
		ASSERT_EQ(0, begin(self->fd, self->stream, 64));
		ASSERT_EQ(0, commit(self->fd, self->stream, 0));
	}
	EXPECT_EQ(before, kvt_all_hbm());
	other = kvt_open();
	ASSERT_NE(0, kvt_hog(other));
	EXPECT_EQ(-ENOSPC, begin(self->fd, self->stream, 64));
	close(other);
	EXPECT_EQ(0, begin(self->fd, self->stream, 64));
	EXPECT_GT(before, kvt_all_hbm());
	EXPECT_EQ(0, kvt_destroy(self->fd, self->stream));
	EXPECT_LT(before, kvt_all_hbm()); /* that of the stream, too */
}

/* In a child: windows for ever, or one that stays open. */
static void speculate_for_ever(int ready, bool stay)
{
	int fd = kvt_open();
	uint64_t stream = kvt_stream(fd);

	if (!stream || kvt_fill(fd, stream, TOKENS))
		_exit(1);
	for (int i = 0; !begin(fd, stream, 16); i++) {
		if (kvt_draft(fd, stream, TOKENS, WRONG, 4))
			_exit(2);
		if (i == 0 && write(ready, "x", 1) != 1)
			_exit(3);
		if (stay)
			pause();
		if (commit(fd, stream, 0))
			_exit(4);
	}
	_exit(5);
}

TEST_F_TIMEOUT(window, a_killed_process_leaves_nothing, 200)
{
	uint64_t before = kvt_all_hbm();

	ASSERT_NE(0, before);
	for (unsigned int round = 0; round < KILLS; round++) {
		/* from at once to some windows later, so that some are hit in the middle */
		EXPECT_EQ(0, kvt_kill(speculate_for_ever, round % 4 == 0, round * 3700));
		EXPECT_EQ(1, kvt_total(self->fd, DRM_KVSINK_QUERY_STREAMS));
	}
	EXPECT_EQ(before, kvt_all_hbm());
}

TEST_HARNESS_MAIN
