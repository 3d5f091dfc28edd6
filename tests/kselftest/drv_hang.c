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

FIXTURE(hang){};

FIXTURE_SETUP(hang)
{
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

	if (!getenv("KVSINK_TEST_HANG"))
		SKIP(return, "KVSINK_TEST_HANG is not set: the device was not told to hang");
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

	/* The script beside us hears this and makes the next job hang; jobs until one was hit. */
	printf("# kvsink-test: hang\n");
	fflush(stdout);
	do {
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

TEST_HARNESS_MAIN
