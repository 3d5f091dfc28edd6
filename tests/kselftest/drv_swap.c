// SPDX-License-Identifier: MIT
/*
 * SWAP_OUT and SWAP_IN: HBM that goes and comes, what is refused, whose streams they are, killed processes.
 * A reset while a stream is out: drv_hang.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "kvt.h"

#define TOKENS 24
#define IMAGE_BYTES (16u << 20)
#define LONG_TOKENS KVSINK_MAX_TOKENS /* of a stream whose scores make its swap long */
#define KILLS 12

FIXTURE(swap)
{
	int fd;
	uint64_t stream;
	struct kvt_bo image;
};

FIXTURE_SETUP(swap)
{
	self->fd = kvt_open();
	ASSERT_GE(self->fd, 0);
	self->stream = kvt_stream(self->fd);
	ASSERT_NE(0, self->stream);
	ASSERT_EQ(0, kvt_fill(self->fd, self->stream, TOKENS));
	self->image = kvt_bo(self->fd, IMAGE_BYTES);
	ASSERT_NE(NULL, self->image.map);
}

FIXTURE_TEARDOWN(swap)
{
	kvt_bo_free(self->fd, &self->image);
	close(self->fd);
}

static int swap_out(int fd, uint64_t stream, uint32_t handle)
{
	struct drm_kvsink_swap args;

	return kvt_swap(fd, DRM_IOCTL_KVSINK_SWAP_OUT, stream, handle, IMAGE_BYTES, &args);
}

static int swap_in(int fd, uint64_t stream, uint32_t handle)
{
	struct drm_kvsink_swap args;

	return kvt_swap(fd, DRM_IOCTL_KVSINK_SWAP_IN, stream, handle, IMAGE_BYTES, &args);
}

static long hbm_kib(int fd)
{
	return kvt_fdinfo(fd, "drm-total-hbm:");
}

TEST_F(swap, brings_back_what_it_took)
{
	float before[KVT_Q_HEADS * KVT_DV], after[KVT_Q_HEADS * KVT_DV];
	struct drm_kvsink_swap args;
	struct drm_kvsink_promote promote;
	long kib = hbm_kib(self->fd);

	ASSERT_GT(kib, 0);
	ASSERT_EQ(0, kvt_promote(self->fd, self->stream, 3, &promote));
	ASSERT_EQ(0, kvt_attend(self->fd, self->stream, TOKENS, before));
	ASSERT_EQ(0, kvt_swap(self->fd, DRM_IOCTL_KVSINK_SWAP_OUT, self->stream, self->image.handle,
			      IMAGE_BYTES, &args));
	EXPECT_EQ(0, args.code);
	EXPECT_GT(args.bytes, TOKENS * KVT_LAYERS * KVT_KV_HEADS * KVT_ROW_BYTES);
	EXPECT_EQ(1, kvt_is_out(self->fd, self->stream));
	EXPECT_EQ(0, hbm_kib(self->fd));
	EXPECT_EQ(1, kvt_total(self->fd, DRM_KVSINK_QUERY_TAGS));
	EXPECT_EQ(KVSINK_CODE_SWAPPED, kvt_attend(self->fd, self->stream, TOKENS, after));
	EXPECT_EQ(-ENODATA, kvt_promote(self->fd, self->stream, 4, &promote));
	EXPECT_EQ(-ENODATA, swap_out(self->fd, self->stream, self->image.handle));
	ASSERT_EQ(0, kvt_swap(self->fd, DRM_IOCTL_KVSINK_SWAP_IN, self->stream, self->image.handle,
			      IMAGE_BYTES, &args));
	EXPECT_EQ(0, kvt_is_out(self->fd, self->stream));
	EXPECT_EQ(kib, hbm_kib(self->fd));
	EXPECT_EQ(0, kvt_attend(self->fd, self->stream, TOKENS, after));
	EXPECT_EQ(0, memcmp(before, after, sizeof(before)));
	EXPECT_EQ(-EBUSY, swap_in(self->fd, self->stream, self->image.handle));
	EXPECT_EQ(0, kvt_grow(self->fd, self->stream, TOKENS, 4));
}

TEST_F(swap, refuses_each_bad_field)
{
	static const struct kvt_bad bad[] = {
		KVT_BAD(struct drm_kvsink_swap, stream, 0, ENOENT),
		KVT_BAD(struct drm_kvsink_swap, stream, 1ull << 40, ENOENT),
		KVT_BAD(struct drm_kvsink_swap, image.handle, 0, ENOENT),
		KVT_BAD(struct drm_kvsink_swap, image.handle, 999, ENOENT),
		KVT_BAD(struct drm_kvsink_swap, image.pad, 1, EINVAL),
		KVT_BAD(struct drm_kvsink_swap, image.offset, 2, EINVAL),
		KVT_BAD(struct drm_kvsink_swap, image.offset, 4, EFAULT),
		KVT_BAD(struct drm_kvsink_swap, bytes, IMAGE_BYTES + 1, EFAULT),
		KVT_BAD(struct drm_kvsink_swap, bytes, ~0ull, EFAULT),
		KVT_BAD(struct drm_kvsink_swap, bytes, 64, E2BIG),
		KVT_BAD(struct drm_kvsink_swap, pad, 1, EINVAL),
	};

	for (int round = 0; round < 2; round++) {
		unsigned long request = round ? DRM_IOCTL_KVSINK_SWAP_IN : DRM_IOCTL_KVSINK_SWAP_OUT;

		for (size_t i = 0; i < KVT_COUNT(bad); i++) {
			struct drm_kvsink_swap args = {.stream = self->stream,
						       .image.handle = self->image.handle,
						       .bytes = IMAGE_BYTES};

			kvt_set(&args, &bad[i]);
			EXPECT_EQ(-bad[i].err, kvt_ioctl(self->fd, request, &args))
			TH_LOG("%s, round %d", bad[i].name, round);
			EXPECT_EQ(round, kvt_is_out(self->fd, self->stream));
		}
		if (!round)
			ASSERT_EQ(0, swap_out(self->fd, self->stream, self->image.handle));
	}
	EXPECT_EQ(0, swap_in(self->fd, self->stream, self->image.handle));
}

TEST_F(swap, refuses_a_changed_image_and_leaves_it_out)
{
	struct drm_kvsink_swap args;
	float out[KVT_Q_HEADS * KVT_DV];
	volatile uint8_t *image = self->image.map;

	ASSERT_EQ(0, swap_out(self->fd, self->stream, self->image.handle));
	for (int round = 0; round < 20; round++) {
		image[round * 100] ^= 1;
		EXPECT_EQ(-EBADMSG, kvt_swap(self->fd, DRM_IOCTL_KVSINK_SWAP_IN, self->stream,
					     self->image.handle, IMAGE_BYTES, &args));
		EXPECT_EQ(KVSINK_CODE_IMAGE, args.code);
		image[round * 100] ^= 1;
		EXPECT_EQ(1, kvt_is_out(self->fd, self->stream));
		EXPECT_EQ(0, hbm_kib(self->fd));
	}
	ASSERT_EQ(0, swap_in(self->fd, self->stream, self->image.handle));
	EXPECT_EQ(0, kvt_attend(self->fd, self->stream, TOKENS, out));
}

TEST_F(swap, of_an_open_step_is_ebusy)
{
	struct kvt_bo rows = kvt_bo(self->fd, 4096), result = kvt_bo(self->fd, 4096);
	struct drm_kvsink_op op = kvt_append(self->stream, 0, TOKENS, 1, rows.handle, 0, 1024);
	struct drm_kvsink_op abort = {.type = DRM_KVSINK_OP_STEP_END,
				      .step_end = {.stream = self->stream, .abort = 1}};
	struct drm_kvsink_job_status status;
	struct drm_kvsink_swap args;

	ASSERT_EQ(0, kvt_run(self->fd, &result, &op, 1, 0, &status));
	EXPECT_EQ(-EBUSY, kvt_swap(self->fd, DRM_IOCTL_KVSINK_SWAP_OUT, self->stream, self->image.handle,
				   IMAGE_BYTES, &args));
	EXPECT_EQ(KVSINK_CODE_BUSY, args.code);
	ASSERT_EQ(0, kvt_run(self->fd, &result, &abort, 1, 0, &status));
	EXPECT_EQ(0, swap_out(self->fd, self->stream, self->image.handle));
	kvt_bo_free(self->fd, &rows);
	kvt_bo_free(self->fd, &result);
}

/* ---- HBM that is short ---- */

TEST_F(swap, in_without_hbm_is_enospc_and_works_later)
{
	float out[KVT_Q_HEADS * KVT_DV];
	int other = kvt_open();

	ASSERT_GE(other, 0);
	ASSERT_EQ(0, swap_out(self->fd, self->stream, self->image.handle));
	ASSERT_NE(0, kvt_hog(other));
	for (int round = 0; round < 3; round++) {
		EXPECT_EQ(-ENOSPC, swap_in(self->fd, self->stream, self->image.handle));
		EXPECT_EQ(1, kvt_is_out(self->fd, self->stream));
	}
	close(other);
	ASSERT_EQ(0, swap_in(self->fd, self->stream, self->image.handle));
	EXPECT_EQ(0, kvt_attend(self->fd, self->stream, TOKENS, out));
}

/* ---- who may ---- */

static int check_foreign(int fd, uint64_t stream)
{
	struct kvt_bo image = kvt_bo(fd, IMAGE_BYTES);

	if (swap_out(fd, stream, image.handle) != -ENOENT)
		return 1;
	return swap_in(fd, stream, image.handle) != -ENOENT ? 2 : 0;
}

TEST_F(swap, is_the_owners_alone)
{
	int other = kvt_open();
	struct kvt_bo image = kvt_bo(other, IMAGE_BYTES);

	EXPECT_EQ(-EACCES, swap_out(other, self->stream, image.handle));
	EXPECT_EQ(0, kvt_as_nobody(check_foreign, self->stream));
	ASSERT_EQ(0, swap_out(self->fd, self->stream, self->image.handle));
	EXPECT_EQ(-EACCES, swap_in(other, self->stream, image.handle));
	EXPECT_EQ(0, kvt_as_nobody(check_foreign, self->stream));
	EXPECT_EQ(1, kvt_is_out(other, self->stream));
	EXPECT_EQ(0, swap_in(self->fd, self->stream, self->image.handle));
	kvt_bo_free(other, &image);
	close(other);
}

/* ---- ends ---- */

static uint64_t long_stream(int fd)
{
	struct drm_kvsink_stream_create args = kvt_stream_args();

	args.max_tokens = LONG_TOKENS;
	args.reserve_tokens = KVT_MAX;
	return kvt_ioctl(fd, DRM_IOCTL_KVSINK_STREAM_CREATE, &args) ? 0 : args.stream;
}

/* In a child: out and in for ever, or out and then nothing. */
static void swap_for_ever(int ready, bool stay_out)
{
	int fd = kvt_open();
	uint64_t stream = long_stream(fd);
	struct kvt_bo image = kvt_bo(fd, IMAGE_BYTES);

	if (!stream || kvt_fill(fd, stream, TOKENS))
		_exit(1);
	for (int i = 0; !swap_out(fd, stream, image.handle); i++) {
		if (i == 0 && write(ready, "x", 1) != 1)
			_exit(2);
		if (stay_out)
			pause();
		if (swap_in(fd, stream, image.handle))
			_exit(3);
	}
	_exit(4);
}

TEST_F_TIMEOUT(swap, a_killed_process_leaves_nothing, 200)
{
	uint64_t before = kvt_all_hbm();

	ASSERT_NE(0, before);
	for (unsigned int round = 0; round < KILLS; round++) {
		/* from at once to some swaps later, so that some are hit in the middle */
		EXPECT_EQ(0, kvt_kill(swap_for_ever, round % 4 == 0, round * 3700));
		EXPECT_EQ(1, kvt_total(self->fd, DRM_KVSINK_QUERY_STREAMS));
	}
	EXPECT_EQ(before, kvt_all_hbm());
	ASSERT_EQ(0, swap_out(self->fd, self->stream, self->image.handle));
	ASSERT_EQ(0, swap_in(self->fd, self->stream, self->image.handle));
}

TEST_F(swap, a_stream_that_is_out_may_end)
{
	uint64_t before = kvt_all_hbm();

	ASSERT_EQ(0, swap_out(self->fd, self->stream, self->image.handle));
	ASSERT_EQ(0, kvt_destroy(self->fd, self->stream));
	EXPECT_EQ(-ENOENT, swap_in(self->fd, self->stream, self->image.handle));
	EXPECT_EQ(0, kvt_total(self->fd, DRM_KVSINK_QUERY_STREAMS));
	EXPECT_LT(before, kvt_all_hbm());
}

TEST_HARNESS_MAIN
