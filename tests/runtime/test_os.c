// SPDX-License-Identifier: MIT
/*
 * Backend drm: without a kernel: OS calls that fail, lie or never come back with an answer.
 *
 * The test's OS has three nodes: accel1 of another driver, accel2 without access, accel3 a kvsink device,
 * which is a sim: backend. Everything that is opened or mapped is counted.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "place.h"
#include "internal.h"
#include "rig.h"
#include "tap.h"

#define FD 10

struct os {
	struct kvs_backend sim;
	unsigned calls, fail_at; /* the fail_at-th call fails */
	int fail_with;
	bool failed;
	int files, maps, syncobjs, buffers;	/* that exist */
	unsigned interrupts;			/* ioctls that are to be interrupted once */
	bool swallow_jobs;			/* SUBMIT succeeds, nothing happens */
	bool time_out;				/* waits do not succeed */
	const struct drm_kvsink_list_head *lie; /* answer to QUERY, instead of the device's */
	const char *driver;
};

static bool fails(struct os *os)
{
	if (++os->calls != os->fail_at)
		return false;
	os->failed = true;
	return true;
}

static int fake_open(void *ctx, const char *path)
{
	struct os *os = ctx;
	int err;

	if (fails(os))
		return os->fail_with;
	if (!strcmp(path, "/dev/accel/accel2"))
		return -EACCES;
	if (strcmp(path, "/dev/accel/accel1") && strcmp(path, "/dev/accel/accel3"))
		return -ENOENT;
	os->driver = strchr(path, '3') ? "kvsink" : "kvsinkhole";
	err = kvs_sim_open("hbm=16M", &os->sim);
	if (err)
		return err;
	os->files++;
	return FD;
}

static void fake_close(void *ctx, int fd)
{
	struct os *os = ctx;

	if (fd != FD)
		return;
	os->sim.ops->close(os->sim.ctx);
	free(os->sim.name);
	os->files--;
	os->buffers = 0; /* the kernel ends what is left */
	os->syncobjs = 0;
}

static int fake_version(struct os *os, struct drm_version *version)
{
	size_t length = strlen(os->driver);

	memcpy(version->name, os->driver, length < version->name_len ? length : version->name_len);
	version->name_len = length;
	return 0;
}

static int fake_syncobj(struct os *os, int by, uint32_t *handle)
{
	os->syncobjs += by;
	*handle = os->sim.syncobj;
	return 0;
}

static int fake_wait(struct os *os, struct drm_syncobj_timeline_wait *wait)
{
	uint64_t point = *(uint64_t *)(uintptr_t)wait->points;

	if (os->time_out)
		return -ETIME;
	if (os->swallow_jobs)
		return 0;
	return os->sim.ops->wait(os->sim.ctx, *(uint32_t *)(uintptr_t)wait->handles, point,
				 wait->timeout_nsec);
}

static int fake_query(struct os *os, struct drm_kvsink_query *query)
{
	memcpy((void *)(uintptr_t)query->pointer, os->lie, sizeof(*os->lie));
	return 0;
}

static int fake_close_bo(struct os *os, uint32_t handle)
{
	os->buffers--;
	return os->sim.ops->close_bo(os->sim.ctx, handle);
}

static int fake_device(struct os *os, unsigned long request, void *arg)
{
	int err;

	if (request == DRM_IOCTL_KVSINK_SUBMIT && os->swallow_jobs)
		return 0;
	if (request == DRM_IOCTL_KVSINK_QUERY && os->lie)
		return fake_query(os, arg);
	err = os->sim.ops->ioctl(os->sim.ctx, request, arg);
	os->buffers += !err && request == DRM_IOCTL_KVSINK_BO_CREATE;
	return err;
}

static int fake_ioctl(void *ctx, int fd, unsigned long request, void *arg)
{
	struct os *os = ctx;

	if (fd != FD)
		return -EBADF;
	if (os->interrupts) {
		os->interrupts--;
		return -EINTR;
	}
	if (fails(os))
		return os->fail_with;
	switch (request) {
	case DRM_IOCTL_VERSION:
		return fake_version(os, arg);
	case DRM_IOCTL_SYNCOBJ_CREATE:
		return fake_syncobj(os, 1, &((struct drm_syncobj_create *)arg)->handle);
	case DRM_IOCTL_SYNCOBJ_DESTROY:
		return fake_syncobj(os, -1, &((struct drm_syncobj_destroy *)arg)->handle);
	case DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT:
		return fake_wait(os, arg);
	case DRM_IOCTL_GEM_CLOSE:
		return fake_close_bo(os, ((struct drm_gem_close *)arg)->handle);
	default:
		return fake_device(os, request, arg);
	}
}

static int fake_mmap(void *ctx, int fd, uint64_t offset, size_t bytes, void **memory)
{
	struct os *os = ctx;
	int err;

	if (fd != FD || fails(os))
		return fd != FD ? -EBADF : os->fail_with;
	err = os->sim.ops->map(os->sim.ctx, offset, bytes, memory);
	os->maps += !err;
	return err;
}

static void fake_munmap(void *ctx, void *memory, size_t bytes)
{
	struct os *os = ctx;

	os->sim.ops->unmap(os->sim.ctx, memory, bytes);
	os->maps--;
}

static const struct kvs_os_ops fake_os = {
	.open = fake_open,
	.close = fake_close,
	.ioctl = fake_ioctl,
	.mmap = fake_mmap,
	.munmap = fake_munmap,
};

static bool nothing_left(const struct os *os)
{
	return !os->files && !os->maps && !os->syncobjs && !os->buffers;
}

/* ---- the workload: everything that asks the OS
 * ------------------------------------------------------------- */

static int use_stream(struct kvs_device *device, struct kvs_stream *stream, struct kvs_buffer *buffer,
		      struct kvs_batch *batch)
{
	struct drm_kvsink_attend_item item = {.stream = kvs_stream_id(stream), .count = 1};
	struct kvs_place at = {buffer, 0}, out = {buffer, 4096};
	uint64_t value, counters[KVSINK_COUNTER_COUNT];
	struct kvs_grant grant;
	char row[96];
	int err = 0;

	for (uint32_t layer = 0; layer < 2; layer++)
		kvs_batch_append(batch, stream, layer, 0, 1, at, at);
	kvs_batch_step_end(batch, stream, 1);
	kvs_batch_attend(batch, &item, 1, DRM_KVSINK_ATTEND_SPLIT, at, out, (struct kvs_place){0},
			 (struct kvs_place){0});
	err = kvs_batch_run(batch, NULL);
	kvs_batch_reset(batch);
	kvs_batch_barrier(batch, stream);
	err = err ? err : kvs_stream_reserve(stream, 128);
	err = err ? err : promote_one(device, item.stream, 0, 0, 2, 3, &grant);
	err = err ? err : kvs_batch_run(batch, NULL);
	err = err ? err : kvs_entry_read(stream, 0, 1, 1, grant.generation, row, sizeof(row));
	err = err ? err : kvs_config_set(device, item.stream, KVSINK_GROUP_ALL, KVSINK_PARAM_T_SINK, 5);
	err = err ? err : kvs_config_get(device, item.stream, KVSINK_GROUP_ALL, KVSINK_PARAM_T_SINK, &value);
	err = err ? err : kvs_counters(device, item.stream, counters);
	err = err ? err : kvs_register_read(device, KVSINK_REG_ID, &value);
	if (!err)
		err = evict_one(device, item.stream, 0, 0, 2);
	return err < 0 ? err : 0;
}

static int workload(struct os *os, char *message, size_t bytes)
{
	struct kvs_geometry geometry = rig_geometry(KVSINK_FORMAT_F32);
	struct drm_kvsink_dev_info info;
	struct kvs_device *device;
	struct kvs_buffer *buffer = NULL;
	struct kvs_stream *stream = NULL;
	struct kvs_batch *batch = NULL;
	int err = kvs_open_os("drm:", &fake_os, os, &device);

	if (err) {
		snprintf(message, bytes, "%s", kvs_open_error());
		return err;
	}
	geometry.reserve_tokens = 16;
	err = kvs_device_info(device, &info);
	err = err ? err : kvs_batch_create(device, &batch);
	err = err ? err : kvs_buffer_create(device, 8192, &buffer);
	err = err ? err : kvs_stream_create(device, &geometry, &stream);
	err = err ? err : use_stream(device, stream, buffer, batch);
	snprintf(message, bytes, "%s", kvs_device_error(device));
	kvs_stream_free(stream);
	kvs_batch_free(batch);
	kvs_buffer_free(buffer);
	kvs_close(device);
	return err;
}

/* The 1st, 2nd, ... call fails, until one run has none left to fail. */
static void test_failures(int with, const char *name)
{
	bool clean = true, told = true;
	unsigned n = 0, seen = 0;
	struct os os;

	do {
		char message[KVS_ERROR_BYTES];
		int err;

		os = (struct os){.fail_at = ++n, .fail_with = with};
		err = workload(&os, message, sizeof(message));
		seen += err == with;
		/* or why the node before it could not be used */
		if (err && err != with && err != -EACCES) {
			told = false;
			tap_diag("call %u: %d instead of %d: %s", n, err, with, message);
		}
		if (err && (!*message || strchr(message, '\n'))) {
			told = false;
			tap_diag("call %u: message '%s'", n, message);
		}
		if (!nothing_left(&os)) {
			clean = false;
			tap_diag("call %u: %d files, %d maps, %d syncobjs, %d buffers left", n, os.files,
				 os.maps, os.syncobjs, os.buffers);
		}
	} while (os.failed && n < 1000);
	tap_ok(!os.failed && n > 30, "%s: each of %u calls failed once", name, n - 1);
	tap_ok(told && seen > 15, "%s: the caller is told, in one line (%u times)", name, seen);
	tap_ok(clean, "%s: nothing is left open, mapped or allocated", name);
}

static struct kvs_device *open_fake(struct os *os)
{
	struct kvs_device *device;
	int err = kvs_open_os("drm:", &fake_os, os, &device);

	if (err) {
		printf("Bail out! %s\n", kvs_open_error());
		exit(1);
	}
	return device;
}

static void test_open(void)
{
	struct os os = {0};
	struct kvs_device *device = open_fake(&os);
	char *names[3] = {NULL};

	tap_ok(!strcmp(kvs_device_name(device), "drm:/dev/accel/accel3"), "drm: finds the first kvsink node");
	kvs_close(device);
	tap_ok(nothing_left(&os), "and closes it");
	tap_ok(!kvs_open_os("drm:/dev/accel/accel3", &fake_os, &os, &device), "a node by name");
	kvs_close(device);
	tap_ok(kvs_open_os("drm:/dev/accel/accel1", &fake_os, &os, &device) == -ENODEV &&
		       strstr(kvs_open_error(), "not a kvsink device"),
	       "another driver's node is refused, even if its name begins alike");
	tap_ok(kvs_open_os("drm:/dev/accel/accel2", &fake_os, &os, &device) == -EACCES &&
		       strstr(kvs_open_error(), "EACCES"),
	       "a node without access");
	tap_ok(kvs_open_os("drm:/dev/accel/accel9", &fake_os, &os, &device) == -ENODEV,
	       "a node that does not exist");
	tap_ok(kvs_drm_list(&fake_os, &os, names, 3) == 1 && !strcmp(names[0], "drm:/dev/accel/accel3") &&
		       !names[1],
	       "kvs_list names the kvsink nodes");
	free(names[0]);
	tap_ok(nothing_left(&os), "nothing is left open");
}

static void test_interrupts(void)
{
	struct os os = {.interrupts = 3};
	struct kvs_device *device = open_fake(&os);
	struct drm_kvsink_dev_info info;

	os.interrupts = 5;
	tap_ok(!kvs_device_info(device, &info) && !os.interrupts, "interrupted calls are restarted");
	kvs_close(device);
}

static void test_waits(void)
{
	struct drm_kvsink_job_status status;
	struct os os = {0};
	struct kvs_device *device = open_fake(&os);
	struct kvs_batch *batch;
	uint64_t fence;

	kvs_batch_create(device, &batch);
	kvs_batch_advance(batch, 1);
	os.time_out = true;
	tap_ok(!kvs_batch_submit(batch, &fence) && kvs_wait(device, fence, 0, &status) == -ETIME,
	       "a deadline that passed: ETIME");
	os.time_out = false;
	tap_ok(!kvs_wait(device, fence, INT64_MAX, &status) && status.code == KVSINK_CODE_OK,
	       "and the wait again");
	os.swallow_jobs = true;
	tap_ok(kvs_batch_run(batch, &status) == -EIO, "a job that ended without an outcome: EIO");
	os.swallow_jobs = false;
	os.fail_at = os.calls + 1;
	os.fail_with = -ENODEV;
	tap_ok(kvs_batch_submit(batch, &fence) == -ENODEV, "a device that is gone: ENODEV");
	tap_ok(!kvs_batch_run(batch, NULL), "a refused submit takes no fence value with it");
	kvs_batch_free(batch);
	kvs_close(device);
}

/* What the kernel says of its lists is not believed. */
static void test_lies(void)
{
	const struct drm_kvsink_list_head lies[] = {
		{.total = 10, .written = 10, .record_bytes = 0},
		{.total = 0xffffffff, .written = 0xffffffff, .record_bytes = 0xffffffff},
		{.total = 100000, .written = 100000, .record_bytes = 8},
		{.total = 1, .written = 2, .record_bytes = 8},
	};
	struct os os = {0};
	struct kvs_device *device = open_fake(&os);
	bool refused = true;
	size_t bytes;
	void *list;

	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		os.lie = &lies[i];
		refused &= kvs_query(device, DRM_KVSINK_QUERY_STREAMS, 0, 0, &list, &bytes) == -EIO && !list;
	}
	tap_ok(refused, "lists that cannot be true are refused: EIO");
	os.lie = &(const struct drm_kvsink_list_head){.total = 5, .written = 0, .record_bytes = 8};
	tap_ok(kvs_query(device, DRM_KVSINK_QUERY_STREAMS, 0, 0, &list, &bytes) == 0 && !list,
	       "a list that gets no longer ends");
	kvs_close(device);
	tap_ok(nothing_left(&os), "nothing is left");
}

int main(void)
{
	test_open();
	test_interrupts();
	test_waits();
	test_lies();
	test_failures(-ENODEV, "ENODEV");
	test_failures(-ENOMEM, "ENOMEM");
	test_failures(-EIO, "EIO");
	return tap_done();
}
