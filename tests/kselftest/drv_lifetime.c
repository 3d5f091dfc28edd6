// SPDX-License-Identifier: MIT
/*
 * Ends: killed processes, unbinding with open files, function-level reset. Each leaves a working device.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sync_file.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "kvt.h"

#define ROUNDS 5

FIXTURE(lifetime)
{
	char pci[32]; /* address of the function */
};

static int write_sysfs(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = write(fd, text, strlen(text));
	n = n < 0 ? -errno : 0;
	close(fd);
	return (int)n;
}

/* A node that udev would make; in the guest devtmpfs does. */
static int wait_for_device(void)
{
	for (int i = 0; i < 100; i++) {
		int fd = kvt_open();

		if (fd >= 0)
			return fd;
		usleep(50000);
	}
	return -ENODEV;
}

FIXTURE_SETUP(lifetime)
{
	char path[PATH_MAX], link[PATH_MAX];
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/class/accel/%s/device", strrchr(kvt_path(), '/') + 1);
	n = readlink(path, link, sizeof(link) - 1);
	ASSERT_GT(n, 0);
	link[n] = 0;
	snprintf(self->pci, sizeof(self->pci), "%s", strrchr(link, '/') + 1);
}

/* A file kept open over unbind keeps its node's number; without one the device is accel0 again, as others
 * expect. */
FIXTURE_TEARDOWN(lifetime)
{
	EXPECT_EQ(0, write_sysfs("/sys/bus/pci/drivers/kvsink/unbind", self->pci));
	EXPECT_EQ(0, write_sysfs("/sys/bus/pci/drivers/kvsink/bind", self->pci));
	close(wait_for_device());
	chmod(kvt_path(), 0666); /* as udev does, for the tests that follow */
}

/* Everything that works on a device that works. */
static int use_device(int fd)
{
	uint64_t stream = kvt_stream(fd);
	struct drm_kvsink_promote promote;
	int err = stream ? kvt_fill(fd, stream, 8) : -ENOENT;

	err = err ? err : kvt_promote(fd, stream, 1, &promote);
	return err ? err : kvt_destroy(fd, stream);
}

/* In a child: streams, entries, and jobs without end. */
static void work_for_ever(int ready)
{
	int fd = kvt_open();
	uint64_t stream = kvt_stream(fd);
	struct kvt_bo data = kvt_bo(fd, 1 << 20);
	struct drm_kvsink_attend_item item = {.stream = stream, .first = 15, .count = 1};
	struct drm_kvsink_op ops[DRM_KVSINK_MAX_OPS];
	struct drm_kvsink_job job = {.ops = {sizeof(ops[0]), DRM_KVSINK_MAX_OPS, (uintptr_t)ops}};
	struct drm_kvsink_submit submit = {.jobs = {sizeof(job), 1, (uintptr_t)&job}};
	struct drm_kvsink_promote promote;

	if (kvt_fill(fd, stream, 16) || kvt_promote(fd, stream, 3, &promote))
		_exit(1);
	for (int i = 0; i < DRM_KVSINK_MAX_OPS; i++)
		ops[i] = (struct drm_kvsink_op){
			.type = DRM_KVSINK_OP_ATTEND,
			.attend =
				{
					.items = {sizeof(item), 1, (uintptr_t)&item},
					.q.handle = data.handle,
					.out = {.handle = data.handle, .offset = 65536},
				},
		};
	for (int i = 0; !kvt_submit_raw(fd, &submit); i++)
		if (i == 20 && write(ready, "x", 1) != 1)
			_exit(2);
	_exit(3);
}

TEST_F(lifetime, a_killed_process_leaves_nothing)
{
	int fd = kvt_open();

	ASSERT_GE(fd, 0);
	for (int round = 0; round < ROUNDS; round++) {
		int ready[2], status;
		char byte;
		pid_t pid;

		ASSERT_EQ(0, pipe(ready));
		pid = fork();
		if (!pid)
			work_for_ever(ready[1]);
		close(ready[1]);
		ASSERT_EQ(1, read(ready[0], &byte, 1));
		close(ready[0]);
		EXPECT_EQ(1, kvt_total(fd, DRM_KVSINK_QUERY_TAGS));
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status));
		EXPECT_EQ(0, kvt_total(fd, DRM_KVSINK_QUERY_STREAMS));
		EXPECT_EQ(0, kvt_total(fd, DRM_KVSINK_QUERY_TAGS));
	}
	EXPECT_EQ(0, use_device(fd));
	close(fd);
}

TEST_F(lifetime, freed_memory_is_zero_for_the_next)
{
	struct drm_kvsink_op op;
	struct drm_kvsink_job_status status;
	int fd = kvt_open();
	struct kvt_bo bo;

	/* The page reserved first comes back with the next reservation; its rows must not. */
	for (int round = 0; round < 2; round++) {
		uint64_t stream = kvt_stream(fd);
		struct {
			struct drm_kvsink_list_head head;
			struct kvsink_score_rec recs[4];
		} scores = {0};
		struct drm_kvsink_query query = {
			.type = DRM_KVSINK_QUERY_SCORES,
			.stream = stream,
			.size = sizeof(scores),
			.pointer = (uintptr_t)&scores,
		};

		ASSERT_NE(0, stream);
		ASSERT_EQ(0, kvt_fill(fd, stream, 8));
		ASSERT_EQ(0, kvt_ioctl(fd, DRM_IOCTL_KVSINK_QUERY, &query));
		for (uint32_t i = 0; i < scores.head.written; i++) {
			EXPECT_EQ(0, scores.recs[i].sum);
		}
		bo = kvt_bo(fd, 16384);
		op = (struct drm_kvsink_op){
			.type = DRM_KVSINK_OP_SCORE,
			.score =
				{
					.stream = stream,
					.count = 8,
					.q.handle = bo.handle,
					.out = {.handle = bo.handle, .offset = 8192},
				},
		};
		ASSERT_EQ(0, kvt_run(fd, &bo, &op, 1, 0, &status));
		EXPECT_EQ(KVSINK_CODE_OK, status.code);
		kvt_bo_free(fd, &bo);
		ASSERT_EQ(0, kvt_destroy(fd, stream));
	}
	close(fd);
}

/* A descriptor of a prefix of the stream's first tokens, or -errno. */
static int exported_prefix(int fd, uint64_t stream)
{
	struct drm_kvsink_prefix_publish publish = {.stream = stream, .tokens = 6};
	struct drm_kvsink_prefix_handle handle = {0};
	int err = kvt_ioctl(fd, DRM_IOCTL_KVSINK_PREFIX_PUBLISH, &publish);

	handle.handle = publish.handle;
	err = err ? err : kvt_ioctl(fd, DRM_IOCTL_KVSINK_PREFIX_EXPORT, &handle);
	return err ? err : handle.fd;
}

TEST_F(lifetime, unbind_with_open_files_then_rebind)
{
	for (int round = 0; round < ROUNDS; round++) {
		struct drm_kvsink_bo_create create = {.size = 4096};
		int fd = wait_for_device();
		struct kvt_bo bo;
		struct drm_kvsink_prefix_open open_prefix = {0};
		uint32_t timeline;
		uint64_t stream;
		int prefix;

		ASSERT_GE(fd, 0);
		stream = kvt_stream(fd);
		ASSERT_NE(0, stream);
		ASSERT_EQ(0, kvt_fill(fd, stream, 8));
		bo = kvt_bo(fd, 8192);
		ASSERT_NE(NULL, bo.map);
		((volatile uint32_t *)bo.map)[0] = 77;
		timeline = kvt_syncobj(fd);
		ASSERT_NE(0, timeline);
		prefix = exported_prefix(fd, stream);
		ASSERT_GE(prefix, 0);
		ASSERT_EQ(0, write_sysfs("/sys/bus/pci/drivers/kvsink/unbind", self->pci));
		EXPECT_EQ(-ENODEV, kvt_ioctl(fd, DRM_IOCTL_KVSINK_BO_CREATE, &create));
		EXPECT_EQ(-ENODEV, kvt_destroy(fd, stream));
		EXPECT_EQ(77, ((volatile uint32_t *)bo.map)[0]);
		EXPECT_EQ(0, ((volatile uint32_t *)bo.map)[1024]);
		ASSERT_EQ(0, write_sysfs("/sys/bus/pci/drivers/kvsink/bind", self->pci));
		EXPECT_EQ(77, ((volatile uint32_t *)bo.map)[0]);
		close(fd); /* late: after the device came back */
		munmap(bo.map, bo.size);
		fd = wait_for_device();
		ASSERT_GE(fd, 0);
		chmod(kvt_path(), 0666); /* as udev does, for the tests that follow */
		EXPECT_EQ(0, kvt_total(fd, DRM_KVSINK_QUERY_STREAMS));
		open_prefix.fd = prefix;
		EXPECT_EQ(-EXDEV, kvt_ioctl(fd, DRM_IOCTL_KVSINK_PREFIX_OPEN, &open_prefix));
		EXPECT_EQ(0, use_device(fd));
		close(prefix); /* the last that holds the device as it was */
		EXPECT_EQ(0, use_device(fd));
		close(fd);
	}
}

TEST_F(lifetime, unbind_in_mid_submit)
{
	int ready[2], status, fd;
	char byte;
	pid_t pid;

	ASSERT_EQ(0, pipe(ready));
	pid = fork();
	if (!pid)
		work_for_ever(ready[1]);
	close(ready[1]);
	ASSERT_EQ(1, read(ready[0], &byte, 1));
	ASSERT_EQ(0, write_sysfs("/sys/bus/pci/drivers/kvsink/unbind", self->pci));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 3); /* its SUBMIT was refused */
	ASSERT_EQ(0, write_sysfs("/sys/bus/pci/drivers/kvsink/bind", self->pci));
	fd = wait_for_device();
	ASSERT_GE(fd, 0);
	chmod(kvt_path(), 0666);
	EXPECT_EQ(0, use_device(fd));
	close(fd);
}

TEST_F(lifetime, a_function_level_reset_ends_streams_and_grows_the_generation)
{
	char path[128];
	int fd = kvt_open();
	uint64_t generation = kvt_generation(fd), stream = kvt_stream(fd);
	struct drm_kvsink_job_status status;
	struct drm_kvsink_op op = {.type = DRM_KVSINK_OP_ADVANCE, .advance.ns = 1};
	struct kvt_bo result = kvt_bo(fd, 4096);

	ASSERT_NE(0, stream);
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/reset", self->pci);
	ASSERT_EQ(0, write_sysfs(path, "1"));
	EXPECT_GT(kvt_generation(fd), generation);
	EXPECT_EQ(-ESTALE, kvt_run(fd, &result, &op, 1, generation, &status));
	EXPECT_EQ(0, kvt_total(fd, DRM_KVSINK_QUERY_STREAMS));
	EXPECT_EQ(0, kvt_run(fd, &result, &op, 1, kvt_generation(fd), &status));
	EXPECT_EQ(0, use_device(fd));
	EXPECT_EQ(0, kvt_destroy(fd, stream));
	close(fd);
}

/* The only fence in a sync file, as the kernel describes it. */
static int fence_info(int sync_file, struct sync_fence_info *fence)
{
	struct sync_file_info info = {.num_fences = 1, .sync_fence_info = (uintptr_t)fence};

	return ioctl(sync_file, SYNC_IOC_FILE_INFO, &info) ? -errno : 0;
}

/* Queue @jobs jobs of @ops copies of @bytes: 1 MiB is some 100 us. The last one's fence, or -errno. */
static int queue_copies(int fd, uint32_t jobs, uint32_t ops, uint64_t bytes)
{
	struct kvt_bo bo = kvt_bo(fd, 2 * bytes);
	struct drm_kvsink_op op[DRM_KVSINK_MAX_OPS];
	struct drm_kvsink_sync sync = {.flags = DRM_KVSINK_SYNC_SIGNAL, .handle = kvt_syncobj(fd)};
	struct drm_kvsink_job job = {.ops = {sizeof(op[0]), ops, (uintptr_t)op},
				     .syncs = {sizeof(sync), 1, (uintptr_t)&sync}};
	struct drm_kvsink_submit submit = {.jobs = {sizeof(job), 1, (uintptr_t)&job}};
	struct drm_syncobj_handle handle = {.handle = sync.handle,
					    .flags = DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE};
	int err = 0;

	for (uint32_t i = 0; i < ops; i++)
		op[i] = (struct drm_kvsink_op){
			.type = DRM_KVSINK_OP_COPY,
			.copy = {.src.handle = bo.handle,
				 .dst = {.handle = bo.handle, .offset = bytes},
				 .bytes = bytes},
		};
	while (!err && jobs--)
		err = kvt_submit_raw(fd, &submit);
	err = err ? err : kvt_ioctl(fd, DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, &handle);
	munmap(bo.map, bo.size); /* or it keeps the file open */
	return err ? err : handle.fd;
}

/* As before, or what newer kernels say of every fence that has signalled: then nobody asks the driver. */
static bool name_stays(const char *before, const char *after, const char *signalled)
{
	return !strcmp(before, after) || !strcmp(after, signalled);
}

/* Unbind, let go of the last file, and ask a fence for its names: what they need must still be there. */
static void outlive(struct __test_metadata *_metadata, const char *pci, int fd, int fence)
{
	struct sync_fence_info before = {0}, after = {0};

	EXPECT_EQ(0, fence_info(fence, &before));
	EXPECT_EQ(0, write_sysfs("/sys/bus/pci/drivers/kvsink/unbind", pci));
	close(fd);
	EXPECT_EQ(0, fence_info(fence, &after));
	EXPECT_TRUE(name_stays(before.obj_name, after.obj_name, "signaled-timeline"));
	EXPECT_TRUE(name_stays(before.driver_name, after.driver_name, "detached-driver"));
	EXPECT_NE(0, after.status); /* signalled */
	close(fence);
	EXPECT_EQ(0, write_sysfs("/sys/bus/pci/drivers/kvsink/bind", pci));
	close(wait_for_device());
}

TEST_F(lifetime, a_fence_outlives_the_device)
{
	int fd = kvt_open(), fence;

	ASSERT_GE(fd, 0);
	fence = queue_copies(fd, 1, 1, 1 << 20);
	ASSERT_GE(fence, 0);
	outlive(_metadata, self->pci, fd, fence);
}

/* More jobs than the rings hold: the last one never runs. */
TEST_F(lifetime, a_fence_of_a_job_that_never_ran_outlives_the_device)
{
	int fd = kvt_open(), fence;

	ASSERT_GE(fd, 0);
	fence = queue_copies(fd, 500, DRM_KVSINK_MAX_OPS, 1 << 20);
	ASSERT_GE(fence, 0);
	outlive(_metadata, self->pci, fd, fence);
}

TEST_F(lifetime, a_killed_jobs_fence_outlives_the_device)
{
	int ready[2], pidfd, fence, status;
	struct pollfd poll_fence = {.events = POLLIN};
	pid_t pid;

	ASSERT_EQ(0, pipe(ready));
	pid = fork();
	if (!pid) {
		fence = queue_copies(kvt_open(), 500, DRM_KVSINK_MAX_OPS, 1 << 20);
		if (write(ready[1], &fence, sizeof(fence)) == sizeof(fence))
			pause();
		_exit(1);
	}
	ASSERT_EQ((ssize_t)sizeof(fence), read(ready[0], &fence, sizeof(fence)));
	ASSERT_GE(fence, 0);
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	fence = (int)syscall(SYS_pidfd_getfd, pidfd, fence, 0);
	ASSERT_GE(fence, 0);
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	poll_fence.fd = fence;
	EXPECT_EQ(1, poll(&poll_fence, 1, 60000));
	close(pidfd);
	outlive(_metadata, self->pci, -1, fence);
}

/*
 * 40 GB of copies, in jobs that run for longer than it takes to submit them: seconds on any machine, where
 * the tests below need some hundred milliseconds.
 */
#define LONG_JOBS 40
#define LONG_BYTES (16 << 20)

/* What one tenant drops while its jobs are queued holds up nobody else. */
TEST_F_TIMEOUT(lifetime, the_end_of_a_busy_stream_delays_no_other, 200)
{
	int busy = kvt_open(), other = kvt_open(), fence, status;
	uint64_t doomed = kvt_stream(busy), stream;
	struct pollfd poll_fence = {.events = POLLIN};
	pid_t pid;

	ASSERT_NE(0, doomed);
	fence = queue_copies(busy, 2 * LONG_JOBS, DRM_KVSINK_MAX_OPS, LONG_BYTES);
	ASSERT_GE(fence, 0);
	pid = fork();
	if (!pid)
		_exit(-kvt_destroy(busy, doomed));
	usleep(200000); /* it waits for the copies now */
	for (int i = 0; i < 3; i++) {
		stream = kvt_stream(other);
		EXPECT_NE(0, stream);
		EXPECT_EQ(0, kvt_destroy(other, stream));
	}
	poll_fence.fd = fence;
	EXPECT_EQ(0, poll(&poll_fence, 1, 0)); /* still copying */
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(1, poll(&poll_fence, 1, 0));
	close(fence);
	close(busy);
	close(other);
}

/* Nobody has seen the end of its first reservation; the next one goes on where the chip is. */
TEST_F_TIMEOUT(lifetime, a_killed_reservation_leaves_the_stream_usable, 120)
{
	struct drm_kvsink_stream_create args = kvt_stream_args();
	struct drm_kvsink_stream_reserve reserve = {.tokens = 8};
	int fd = kvt_open(), fence, status;
	pid_t pid;

	ASSERT_GE(fd, 0);
	args.reserve_tokens = 0;
	ASSERT_EQ(0, kvt_ioctl(fd, DRM_IOCTL_KVSINK_STREAM_CREATE, &args));
	reserve.stream = args.stream;
	fence = queue_copies(fd, LONG_JOBS, DRM_KVSINK_MAX_OPS, LONG_BYTES);
	ASSERT_GE(fence, 0);
	pid = fork(); /* shares the file */
	if (!pid)
		_exit(-kvt_ioctl(fd, DRM_IOCTL_KVSINK_STREAM_RESERVE, &reserve));
	usleep(100000); /* it waits behind the copies now */
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(0, kvt_ioctl(fd, DRM_IOCTL_KVSINK_STREAM_RESERVE, &reserve));
	reserve.tokens = KVT_MAX;
	EXPECT_EQ(0, kvt_ioctl(fd, DRM_IOCTL_KVSINK_STREAM_RESERVE, &reserve));
	EXPECT_EQ(0, kvt_fill(fd, args.stream, 16));
	EXPECT_EQ(0, kvt_destroy(fd, args.stream));
	close(fence);
	close(fd);
}

/* The module that the guest was started with. */
static int load_module(void)
{
	const char *path = getenv("KVSINK_MODULE");
	int fd = path ? open(path, O_RDONLY) : -1, err;

	err = fd < 0 || syscall(SYS_finit_module, fd, "", 0) ? -errno : 0;
	close(fd);
	return err;
}

static int unload_module(void)
{
	int err = -EAGAIN;

	/* what was closed just now may take a moment */
	for (int i = 0; i < 100 && err == -EAGAIN; i++) {
		err = syscall(SYS_delete_module, "kvsink", O_NONBLOCK) ? -errno : 0;
		usleep(50000);
	}
	return err;
}

TEST_F(lifetime, the_module_unloads_but_not_while_a_fence_is_held)
{
	struct drm_syncobj_handle handle = {.fd = -1};
	struct kvt_bo result;
	struct drm_kvsink_job_status status;
	struct drm_kvsink_op op = {.type = DRM_KVSINK_OP_ADVANCE, .advance.ns = 1};
	struct drm_kvsink_job job = {.ops = {sizeof(op), 1, (uintptr_t)&op}};
	struct drm_kvsink_sync sync = {.flags = DRM_KVSINK_SYNC_SIGNAL};
	struct drm_kvsink_submit submit = {.jobs = {sizeof(job), 1, (uintptr_t)&job}};
	int fd = kvt_open();

	ASSERT_GE(fd, 0);
	result = kvt_bo(fd, 4096);
	sync.handle = handle.handle = kvt_syncobj(fd);
	job.syncs = (struct drm_kvsink_array){sizeof(sync), 1, (uintptr_t)&sync};
	ASSERT_EQ(0, kvt_submit_raw(fd, &submit));
	ASSERT_EQ(0, kvt_run(fd, &result, &op, 1, 0, &status)); /* in order: the first has ended */
	ASSERT_EQ(0, kvt_ioctl(fd, DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, &handle));
	munmap(result.map, result.size);
	close(fd);
	EXPECT_EQ(-EAGAIN, unload_module());
	close(handle.fd);
	ASSERT_EQ(0, unload_module());
	ASSERT_EQ(0, load_module());
	fd = wait_for_device();
	ASSERT_GE(fd, 0);
	EXPECT_EQ(0, use_device(fd));
	close(fd);
}

TEST_HARNESS_MAIN
