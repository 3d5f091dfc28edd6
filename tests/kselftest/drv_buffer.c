// SPDX-License-Identifier: MIT
/*
 * Buffers: creation, maps and their limits.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "kvt.h"

#define PAGE 4096

FIXTURE(buffer)
{
	int fd;
};

FIXTURE_SETUP(buffer)
{
	self->fd = kvt_open();
	ASSERT_GE(self->fd, 0);
}

FIXTURE_TEARDOWN(buffer)
{
	close(self->fd);
}

TEST_F(buffer, create_rounds_up_to_pages_and_is_zero)
{
	struct kvt_bo bo = kvt_bo(self->fd, PAGE + 1);
	const unsigned char *bytes = bo.map;

	ASSERT_NE(NULL, bo.map);
	EXPECT_EQ(2 * PAGE, bo.size);
	for (uint64_t i = 0; i < bo.size; i++) {
		ASSERT_EQ(0, bytes[i]);
	}
}

TEST_F(buffer, create_refuses_each_bad_field)
{
	static const struct kvt_bad bad[] = {
		KVT_BAD(struct drm_kvsink_bo_create, size, 0, EINVAL),
		KVT_BAD(struct drm_kvsink_bo_create, size, DRM_KVSINK_MAX_BO_BYTES + 1, E2BIG),
		KVT_BAD(struct drm_kvsink_bo_create, size, ~0ull, E2BIG),
		KVT_BAD(struct drm_kvsink_bo_create, flags, 1, EINVAL),
		KVT_BAD(struct drm_kvsink_bo_create, flags, 1u << 31, EINVAL),
	};

	for (size_t i = 0; i < KVT_COUNT(bad); i++) {
		struct drm_kvsink_bo_create create = {.size = PAGE};

		kvt_set(&create, &bad[i]);
		EXPECT_EQ(-bad[i].err, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_BO_CREATE, &create))
		TH_LOG("%s", bad[i].name);
	}
}

TEST_F(buffer, the_largest_size_works)
{
	struct drm_kvsink_bo_create create = {.size = DRM_KVSINK_MAX_BO_BYTES};

	EXPECT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_BO_CREATE, &create));
}

TEST_F(buffer, mmap_offset_refuses_each_bad_field)
{
	struct kvt_bo bo = kvt_bo(self->fd, PAGE);
	struct drm_kvsink_bo_mmap_offset offset = {.handle = bo.handle, .pad = 1};

	EXPECT_EQ(-EINVAL, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_BO_MMAP_OFFSET, &offset));
	offset = (struct drm_kvsink_bo_mmap_offset){.handle = bo.handle + 1};
	EXPECT_EQ(-ENOENT, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_BO_MMAP_OFFSET, &offset));
	offset = (struct drm_kvsink_bo_mmap_offset){0};
	EXPECT_EQ(-ENOENT, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_BO_MMAP_OFFSET, &offset));
}

static uint64_t map_offset(int fd, uint32_t handle)
{
	struct drm_kvsink_bo_mmap_offset offset = {.handle = handle};

	return kvt_ioctl(fd, DRM_IOCTL_KVSINK_BO_MMAP_OFFSET, &offset) ? 0 : offset.offset;
}

TEST_F(buffer, a_writable_private_map_is_refused)
{
	struct kvt_bo bo = kvt_bo(self->fd, PAGE);
	off_t offset = (off_t)map_offset(self->fd, bo.handle);
	void *map;

	ASSERT_NE(0, offset);
	errno = 0;
	map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, self->fd, offset);
	EXPECT_EQ(MAP_FAILED, map);
	EXPECT_EQ(EINVAL, errno);
	map = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, self->fd, offset); /* could become writable later */
	EXPECT_EQ(MAP_FAILED, map);
}

TEST_F(buffer, no_other_offset_can_be_mapped)
{
	struct kvt_bo bo = kvt_bo(self->fd, PAGE);
	off_t offset = (off_t)map_offset(self->fd, bo.handle);
	int other = kvt_open();

	ASSERT_GE(other, 0);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, PROT_READ, MAP_SHARED, self->fd, 0));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, self->fd, offset));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, PAGE, PROT_READ, MAP_SHARED, other, offset));
	close(other);
}

TEST_F(buffer, a_split_map_shows_the_right_pages)
{
	struct kvt_bo bo = kvt_bo(self->fd, 4 * PAGE);
	off_t offset = (off_t)map_offset(self->fd, bo.handle);
	volatile uint32_t *again;

	ASSERT_NE(NULL, bo.map);
	for (uint32_t i = 0; i < 4; i++)
		((uint32_t *)bo.map)[i * PAGE / 4] = 100 + i;
	again = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, self->fd, offset);
	ASSERT_NE(MAP_FAILED, (void *)again);
	ASSERT_EQ(0, munmap((char *)(uintptr_t)again + PAGE, PAGE));
	EXPECT_EQ(100, again[0]);
	EXPECT_EQ(102, again[2 * PAGE / 4]);
	EXPECT_EQ(103, again[3 * PAGE / 4]);
}

TEST_F(buffer, a_map_outlives_its_handle)
{
	struct kvt_bo bo = kvt_bo(self->fd, PAGE);
	struct drm_gem_close gem_close = {.handle = bo.handle};
	volatile uint32_t *word = bo.map;

	ASSERT_NE(NULL, bo.map);
	*word = 42;
	ASSERT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_GEM_CLOSE, &gem_close));
	EXPECT_EQ(42, *word);
}

/* The GART is 1 GiB by default: 256 MiB buffers until it is full, then again. */
TEST_F(buffer, a_full_gart_is_enospc_and_frees_again)
{
	struct drm_kvsink_dev_info info = {0};
	struct drm_kvsink_dev_query query = {.size = sizeof(info), .pointer = (uintptr_t)&info};
	uint32_t handles[16], count = 0;
	int err = 0;

	ASSERT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_DEV_QUERY, &query));
	if ((uint64_t)info.gart_pages * PAGE > (1ull << 30))
		SKIP(return, "the GART is larger than the guest's memory");
	while (count < 16 && !err) {
		struct drm_kvsink_bo_create create = {.size = DRM_KVSINK_MAX_BO_BYTES};

		err = kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_BO_CREATE, &create);
		handles[count++] = create.handle;
	}
	EXPECT_EQ(-ENOSPC, err);
	for (uint32_t i = 0; i + 1 < count; i++) {
		struct drm_gem_close gem_close = {.handle = handles[i]};

		EXPECT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_GEM_CLOSE, &gem_close));
	}
	EXPECT_NE(NULL, kvt_bo(self->fd, DRM_KVSINK_MAX_BO_BYTES).map);
}

TEST_HARNESS_MAIN
