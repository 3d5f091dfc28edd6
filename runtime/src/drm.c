// SPDX-License-Identifier: MIT
/*
 * Backend drm: a kvsink node of the kernel. It is found by the name that its driver reports, and all calls
 * go through struct kvs_os_ops. The device's fences are points of one timeline syncobj.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define NODE_FORMAT "/dev/accel/accel%u"
#define MAX_NODES 64
#define DRIVER_NAME "kvsink"

struct drm {
	const struct kvs_os_ops *os;
	void *os_ctx;
	int fd;
	uint32_t syncobj;
};

/*
 * Interrupted calls are restarted, as drmIoctl() does; time-outs are absolute, so that does not extend them.
 * EAGAIN is an answer (ENTRY_READ).
 */
static int call_fd(const struct kvs_os_ops *os, void *os_ctx, int fd, unsigned long request, void *arg)
{
	int err;

	do {
		err = os->ioctl(os_ctx, fd, request, arg);
	} while (err == -EINTR);
	return err;
}

static int call(struct drm *drm, unsigned long request, void *arg)
{
	return call_fd(drm->os, drm->os_ctx, drm->fd, request, arg);
}

static int drm_ioctl(void *backend, unsigned long request, void *arg)
{
	return call(backend, request, arg);
}

static int drm_map(void *backend, uint64_t offset, size_t bytes, void **memory)
{
	struct drm *drm = backend;

	return drm->os->mmap(drm->os_ctx, drm->fd, offset, bytes, memory);
}

static void drm_unmap(void *backend, void *memory, size_t bytes)
{
	struct drm *drm = backend;

	drm->os->munmap(drm->os_ctx, memory, bytes);
}

static int drm_close_bo(void *backend, uint32_t handle)
{
	struct drm_gem_close args = {.handle = handle};

	return call(backend, DRM_IOCTL_GEM_CLOSE, &args);
}

static int drm_wait(void *backend, uint32_t syncobj, uint64_t point, int64_t deadline_ns)
{
	struct drm_syncobj_timeline_wait args = {
		.handles = (uintptr_t)&syncobj,
		.points = (uintptr_t)&point,
		.timeout_nsec = deadline_ns,
		.count_handles = 1,
	};

	return call(backend, DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT, &args);
}

static void drm_close(void *backend)
{
	struct drm *drm = backend;
	struct drm_syncobj_destroy args = {.handle = drm->syncobj};

	if (drm->syncobj)
		call(drm, DRM_IOCTL_SYNCOBJ_DESTROY, &args);
	drm->os->close(drm->os_ctx, drm->fd);
	free(drm);
}

static const struct kvs_backend_ops drm_ops = {
	.ioctl = drm_ioctl,
	.map = drm_map,
	.unmap = drm_unmap,
	.close_bo = drm_close_bo,
	.wait = drm_wait,
	.close = drm_close,
};

/* 0 if the file is a kvsink node, -ENODEV if it is another driver's. */
static int check_driver(const struct kvs_os_ops *os, void *os_ctx, int fd)
{
	char name[32] = "";
	struct drm_version version = {.name = name, .name_len = sizeof(name) - 1};
	int err = call_fd(os, os_ctx, fd, DRM_IOCTL_VERSION, &version);

	if (err == -ENOTTY || err == -EINVAL)
		return -ENODEV; /* no DRM node at all */
	if (err)
		return err;
	return strcmp(name, DRIVER_NAME) ? -ENODEV : 0;
}

/* A file descriptor, or -errno. */
static int open_node(const char *path, const struct kvs_os_ops *os, void *os_ctx)
{
	int fd = os->open(os_ctx, path);
	int err;

	if (fd < 0)
		return fd;
	err = check_driver(os, os_ctx, fd);
	if (!err)
		return fd;
	os->close(os_ctx, fd);
	return err;
}

/* Opens the first kvsink node; `path` receives its name. A node without access is remembered as the reason.
 */
static int open_first(const struct kvs_os_ops *os, void *os_ctx, char *path, size_t bytes)
{
	int result = -ENODEV;

	for (unsigned i = 0; i < MAX_NODES; i++) {
		int fd;

		snprintf(path, bytes, NODE_FORMAT, i);
		fd = open_node(path, os, os_ctx);
		if (fd >= 0)
			return fd;
		if (fd != -ENOENT && fd != -ENODEV && result == -ENODEV)
			result = fd;
	}
	return result;
}

static int fail_node(const char *path, int err)
{
	const char *reason = err == -EACCES ? "EACCES: no access to the node" : kvs_errno_text(err);

	if (!*path && err == -ENODEV)
		return kvs_fail_open(
			err, "drm: no kvsink device among /dev/accel/accel0 to accel%u: is kvsink.ko loaded?",
			MAX_NODES - 1);
	if (!*path)
		return kvs_fail_open(err, "drm: no usable node in /dev/accel: %s", reason);
	if (err == -ENODEV)
		return kvs_fail_open(err, "drm:%s is not a kvsink device", path);
	return kvs_fail_open(err, "drm:%s cannot be opened: %s", path, reason);
}

static int make_syncobj(struct drm *drm)
{
	struct drm_syncobj_create args = {0};
	int err = call(drm, DRM_IOCTL_SYNCOBJ_CREATE, &args);

	drm->syncobj = args.handle;
	return err;
}

int kvs_drm_open(const char *path, const struct kvs_os_ops *os, void *os_ctx, struct kvs_backend *backend)
{
	char node[32];
	struct drm *drm;
	int fd = *path ? open_node(path, os, os_ctx) : open_first(os, os_ctx, node, sizeof(node));
	int err;

	if (fd < 0)
		return fail_node(path, fd == -ENOENT ? -ENODEV : fd);
	drm = calloc(1, sizeof(*drm));
	if (!drm) {
		os->close(os_ctx, fd);
		return kvs_fail_open(-ENOMEM, "drm: out of memory");
	}
	*drm = (struct drm){.os = os, .os_ctx = os_ctx, .fd = fd};
	err = make_syncobj(drm);
	if (!err && asprintf(&backend->name, "drm:%s", *path ? path : node) < 0)
		err = -ENOMEM;
	if (err) {
		drm_close(drm);
		return kvs_fail_open(err, "drm: no timeline syncobj: %s", kvs_errno_text(err));
	}
	backend->ops = &drm_ops;
	backend->ctx = drm;
	backend->syncobj = drm->syncobj;
	return 0;
}

int kvs_drm_list(const struct kvs_os_ops *os, void *os_ctx, char **names, unsigned max)
{
	unsigned found = 0;

	for (unsigned i = 0; i < MAX_NODES; i++) {
		char path[32];
		int fd;

		snprintf(path, sizeof(path), NODE_FORMAT, i);
		fd = open_node(path, os, os_ctx);
		if (fd < 0)
			continue;
		os->close(os_ctx, fd);
		if (found < max && asprintf(&names[found], "drm:%s", path) < 0) {
			while (found)
				free(names[--found]);
			return -ENOMEM;
		}
		found++;
	}
	return (int)found;
}
