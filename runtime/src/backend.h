/* SPDX-License-Identifier: MIT */
/*
 * What lies under a device: the kernel (drm.c) or the chip model in this process (sim.c). Both answer the
 * ioctls of kvsink_drm.h; the rest of the library does not know which it is.
 *
 * Under drm: lies one more table, the OS calls, so that tests can inject failures.
 */
#ifndef KVS_BACKEND_H
#define KVS_BACKEND_H

#include <stddef.h>
#include <stdint.h>

/* Functions return 0 or -errno. */
struct kvs_backend_ops {
	int (*ioctl)(void *backend, unsigned long request, void *arg);
	/* map a buffer: `offset` is BO_MMAP_OFFSET's answer */
	int (*map)(void *backend, uint64_t offset, size_t bytes, void **memory);
	void (*unmap)(void *backend, void *memory, size_t bytes);
	int (*close_bo)(void *backend, uint32_t handle);
	/* wait until point `point` of the device's timeline syncobj has signalled; -ETIME */
	int (*wait)(void *backend, uint32_t syncobj, uint64_t point, int64_t deadline_ns);
	void (*close)(void *backend);
};

/* What opening a backend gives. */
struct kvs_backend {
	const struct kvs_backend_ops *ops;
	void *ctx;	  /* first argument of the ops */
	uint32_t syncobj; /* timeline that the device's fences are points of */
	char *name;	  /* malloc'ed; kvs_device_name() */
};

/* OS calls under drm:, -errno on failure. `ctx` is the test's. */
struct kvs_os_ops {
	int (*open)(void *ctx, const char *path); /* a file descriptor */
	void (*close)(void *ctx, int fd);
	int (*ioctl)(void *ctx, int fd, unsigned long request, void *arg);
	int (*mmap)(void *ctx, int fd, uint64_t offset, size_t bytes, void **memory);
	void (*munmap)(void *ctx, void *memory, size_t bytes);
};

extern const struct kvs_os_ops kvs_os_real;

/* `path` may be empty: the first kvsink node then. Errors have their line in kvs_open_error(). */
int kvs_drm_open(const char *path, const struct kvs_os_ops *os, void *os_ctx, struct kvs_backend *backend);
int kvs_drm_list(const struct kvs_os_ops *os, void *os_ctx, char **names, unsigned max);
/* `options` is what follows "sim:". */
int kvs_sim_open(const char *options, struct kvs_backend *backend);

#endif
