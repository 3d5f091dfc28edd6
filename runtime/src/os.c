// SPDX-License-Identifier: MIT
/*
 * The real OS calls under drm:. Nothing is decided here.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backend.h"

static int os_open(void *ctx, const char *path)
{
	int fd;

	(void)ctx;
	do {
		fd = open(path, O_RDWR | O_CLOEXEC);
	} while (fd < 0 && errno == EINTR);
	return fd < 0 ? -errno : fd;
}

static void os_close(void *ctx, int fd)
{
	(void)ctx;
	close(fd);
}

static int os_ioctl(void *ctx, int fd, unsigned long request, void *arg)
{
	(void)ctx;
	return ioctl(fd, request, arg) < 0 ? -errno : 0;
}

static int os_mmap(void *ctx, int fd, uint64_t offset, size_t bytes, void **memory)
{
	(void)ctx;
	*memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
	return *memory == MAP_FAILED ? -errno : 0;
}

static void os_munmap(void *ctx, void *memory, size_t bytes)
{
	(void)ctx;
	munmap(memory, bytes);
}

const struct kvs_os_ops kvs_os_real = {
	.open = os_open,
	.close = os_close,
	.ioctl = os_ioctl,
	.mmap = os_mmap,
	.munmap = os_munmap,
};
