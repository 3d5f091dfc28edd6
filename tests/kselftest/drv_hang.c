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

static int advance(int fd, struct kvt_bo *result, uint64_t generation, struct drm_kvsink_job_status *status)
{
	struct drm_kvsink_op op = {.type = DRM_KVSINK_OP_ADVANCE, .advance.ns = 1};

	return kvt_run(fd, result, &op, 1, generation, status);
}

TEST(a_hang_is_reset_and_the_device_goes_on)
{
	struct drm_kvsink_job_status status;
	struct drm_kvsink_promote promote;
	struct kvt_bo result;
	uint64_t generation, stream;
	int fd;

	if (!getenv("KVSINK_TEST_HANG"))
		SKIP(return, "KVSINK_TEST_HANG is not set: the device was not told to hang");
	fd = kvt_open();
	ASSERT_GE(fd, 0);
	result = kvt_bo(fd, 4096);
	ASSERT_NE(NULL, result.map);
	generation = kvt_generation(fd);
	stream = kvt_stream(fd);
	ASSERT_NE(0, stream);
	ASSERT_EQ(0, kvt_fill(fd, stream, TOKENS));
	ASSERT_EQ(0, kvt_promote(fd, stream, 1, &promote));

	/* The script beside us hears this and makes the next job hang; jobs until one was hit. */
	printf("# kvsink-test: hang\n");
	fflush(stdout);
	for (int i = 0; i < 2000 && kvt_generation(fd) == generation; i++) {
		ASSERT_EQ(0, advance(fd, &result, 0, &status));
		usleep(10000);
	}
	ASSERT_GT(kvt_generation(fd), generation);
	EXPECT_EQ(KVSINK_CODE_ABORTED, status.code);
	EXPECT_EQ(-ESTALE, advance(fd, &result, generation, &status));
	EXPECT_EQ(0, advance(fd, &result, kvt_generation(fd), &status));
	EXPECT_EQ(KVSINK_CODE_OK, status.code);
	/* tags are gone, the stream is not */
	EXPECT_EQ(0, kvt_total(fd, DRM_KVSINK_QUERY_TAGS));
	EXPECT_EQ(1, kvt_total(fd, DRM_KVSINK_QUERY_STREAMS));
	EXPECT_EQ(0, kvt_promote(fd, stream, 1, &promote));
	EXPECT_EQ(0, kvt_destroy(fd, stream));
	close(fd);
}

TEST_HARNESS_MAIN
