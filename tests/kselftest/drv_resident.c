// SPDX-License-Identifier: MIT
/*
 * Residency: PROMOTE, EVICT, TAGS, ENTRY_READ.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "kvt.h"

#define TOKENS 12

struct tags {
	struct drm_kvsink_list_head head;
	struct kvsink_tag_rec recs[64];
};

FIXTURE(resident)
{
	int fd;
	uint64_t stream;
	struct kvt_bo result;
};

FIXTURE_SETUP(resident)
{
	self->fd = kvt_open();
	ASSERT_GE(self->fd, 0);
	self->stream = kvt_stream(self->fd);
	ASSERT_NE(0, self->stream);
	self->result = kvt_bo(self->fd, 4096);
	ASSERT_NE(NULL, self->result.map);
	ASSERT_EQ(0, kvt_fill(self->fd, self->stream, TOKENS));
}

FIXTURE_TEARDOWN(resident)
{
	close(self->fd);
}

static int barrier(int fd, struct kvt_bo *result, uint64_t stream)
{
	struct drm_kvsink_op op = {.type = DRM_KVSINK_OP_BARRIER, .barrier.stream = stream};
	struct drm_kvsink_job_status status;
	int err = kvt_run(fd, result, &op, 1, 0, &status);

	return err ? err : (int)status.code;
}

TEST_F(resident, promote_makes_a_tag)
{
	struct drm_kvsink_promote promote;
	struct tags tags = {0};

	ASSERT_EQ(0, kvt_promote(self->fd, self->stream, 3, &promote));
	EXPECT_EQ(KVSINK_CODE_OK, promote.code);
	EXPECT_EQ(256, promote.sram_bytes); /* 2 layers, 2 heads, 64 bytes */
	ASSERT_EQ(0, barrier(self->fd, &self->result, self->stream));
	ASSERT_EQ(0, kvt_query(self->fd, DRM_KVSINK_QUERY_TAGS, self->stream, &tags, sizeof(tags)));
	ASSERT_EQ(1, tags.head.written);
	EXPECT_EQ(self->stream, tags.recs[0].stream);
	EXPECT_EQ(3, tags.recs[0].token);
	EXPECT_EQ(0, tags.recs[0].layer_begin);
	EXPECT_EQ(KVT_LAYERS, tags.recs[0].layer_end);
	EXPECT_EQ(3, tags.recs[0].head_mask);
	EXPECT_EQ(KVSINK_TAG_VALID, tags.recs[0].flags);
	EXPECT_EQ(promote.generation, tags.recs[0].generation);
	EXPECT_EQ(KVT_ROW_BYTES, tags.recs[0].row_bytes);
}

TEST_F(resident, entry_read_returns_the_appended_rows)
{
	struct drm_kvsink_promote promote;
	float row[KVT_DK + KVT_DV];

	ASSERT_EQ(0, kvt_promote(self->fd, self->stream, 1, &promote));
	ASSERT_EQ(0, kvt_promote(self->fd, self->stream, 5, &promote));
	ASSERT_EQ(0, barrier(self->fd, &self->result, self->stream));
	for (uint32_t layer = 0; layer < KVT_LAYERS; layer++)
		for (uint32_t head = 0; head < KVT_KV_HEADS; head++) {
			struct drm_kvsink_entry_read read = {
				.stream = self->stream,
				.token = 5,
				.layer = layer,
				.head = head,
				.generation = promote.generation,
				.size = sizeof(row),
				.pointer = (uintptr_t)row,
			};

			memset(row, 0, sizeof(row));
			ASSERT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_ENTRY_READ, &read));
			for (uint32_t e = 0; e < KVT_DK; e++) {
				EXPECT_EQ(kvt_value(5, layer, head, e, false), row[e]);
			}
			for (uint32_t e = 0; e < KVT_DV; e++) {
				EXPECT_EQ(kvt_value(5, layer, head, e, true), row[KVT_DK + e]);
			}
		}
}

TEST_F(resident, entry_read_finds_a_row_by_its_rank_in_the_mask)
{
	struct drm_kvsink_place place = {.token = 2, .layer_begin = 1, .layer_end = 2, .head_mask = 2};
	struct drm_kvsink_promote promote = {.stream = self->stream, .places = kvt_places(&place, 1)};
	float row[KVT_DK + KVT_DV];
	struct drm_kvsink_entry_read read = {.stream = self->stream,
					     .token = 2,
					     .layer = 1,
					     .head = 1,
					     .size = sizeof(row),
					     .pointer = (uintptr_t)row};

	ASSERT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_PROMOTE, &promote));
	ASSERT_EQ(0, barrier(self->fd, &self->result, self->stream));
	read.generation = promote.generation;
	ASSERT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_ENTRY_READ, &read));
	EXPECT_EQ(kvt_value(2, 1, 1, 0, false), row[0]);
	read.head = 0; /* not in the mask */
	EXPECT_EQ(-ENOENT, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_ENTRY_READ, &read));
}

TEST_F(resident, entry_read_refuses_each_bad_field)
{
	static const struct kvt_bad bad[] = {
		KVT_BAD(struct drm_kvsink_entry_read, stream, 1ull << 40, ENOENT),
		KVT_BAD(struct drm_kvsink_entry_read, token, KVT_MAX, EINVAL),
		KVT_BAD(struct drm_kvsink_entry_read, token, 4, ENOENT), /* not resident */
		KVT_BAD(struct drm_kvsink_entry_read, layer, KVT_LAYERS, EINVAL),
		KVT_BAD(struct drm_kvsink_entry_read, head, KVT_KV_HEADS, EINVAL),
		KVT_BAD(struct drm_kvsink_entry_read, generation, 0xffffff, ENOENT),
		KVT_BAD(struct drm_kvsink_entry_read, size, KVT_ROW_BYTES - 4, EINVAL),
		KVT_BAD(struct drm_kvsink_entry_read, size, KVT_ROW_BYTES + 4, EINVAL),
		KVT_BAD(struct drm_kvsink_entry_read, pad, 1, EINVAL),
		KVT_BAD(struct drm_kvsink_entry_read, pointer, 8, EFAULT),
	};
	struct drm_kvsink_promote promote;
	float row[KVT_DK + KVT_DV];

	ASSERT_EQ(0, kvt_promote(self->fd, self->stream, 3, &promote));
	ASSERT_EQ(0, barrier(self->fd, &self->result, self->stream));
	for (size_t i = 0; i < KVT_COUNT(bad); i++) {
		struct drm_kvsink_entry_read read = {
			.stream = self->stream,
			.token = 3,
			.generation = promote.generation,
			.size = sizeof(row),
			.pointer = (uintptr_t)row,
		};

		kvt_set(&read, &bad[i]);
		EXPECT_EQ(-bad[i].err, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_ENTRY_READ, &read))
		TH_LOG("%s", bad[i].name);
	}
}

TEST_F(resident, another_file_of_the_tenant_may_promote_but_not_read)
{
	struct drm_kvsink_promote promote;
	float row[KVT_DK + KVT_DV];
	struct drm_kvsink_entry_read read = {
		.stream = self->stream, .token = 3, .size = sizeof(row), .pointer = (uintptr_t)row};
	int other = kvt_open();

	ASSERT_GE(other, 0);
	ASSERT_EQ(0, kvt_promote(other, self->stream, 3, &promote));
	read.generation = promote.generation;
	EXPECT_EQ(-EACCES, kvt_ioctl(other, DRM_IOCTL_KVSINK_ENTRY_READ, &read));
	close(other);
}

static const struct kvt_bad bad_places[] = {
	KVT_BAD(struct drm_kvsink_place, token, KVT_MAX, EINVAL),
	KVT_BAD(struct drm_kvsink_place, layer_begin, KVT_LAYERS, EINVAL),
	KVT_BAD(struct drm_kvsink_place, layer_end, KVT_LAYERS + 1, EINVAL),
	KVT_BAD(struct drm_kvsink_place, layer_end, 0, EINVAL),
	KVT_BAD(struct drm_kvsink_place, head_mask, 0, EINVAL),
};

/* The second of two places is spoiled: the first may not be granted either. */
TEST_F(resident, promote_refuses_each_bad_place)
{
	for (size_t i = 0; i < KVT_COUNT(bad_places); i++) {
		struct drm_kvsink_place places[2] = {kvt_rows(3), kvt_rows(4)};
		struct drm_kvsink_promote promote = {.stream = self->stream, .places = kvt_places(places, 2)};

		kvt_set(&places[1], &bad_places[i]);
		EXPECT_EQ(-bad_places[i].err, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_PROMOTE, &promote))
		TH_LOG("%s", bad_places[i].name);
	}
	EXPECT_EQ(0, kvt_total(self->fd, DRM_KVSINK_QUERY_TAGS));
}

TEST_F(resident, promote_refuses_each_bad_field)
{
	static const struct kvt_bad bad[] = {
		KVT_BAD(struct drm_kvsink_promote, stream, 0, ENOENT),
		KVT_BAD(struct drm_kvsink_promote, stream, 1ull << 40, ENOENT),
		KVT_BAD(struct drm_kvsink_promote, places.count, 0, EINVAL),
		KVT_BAD(struct drm_kvsink_promote, places.count, DRM_KVSINK_MAX_ITEMS + 1, E2BIG),
		KVT_BAD(struct drm_kvsink_promote, places.stride, 8, EINVAL),
		KVT_BAD(struct drm_kvsink_promote, places.array, 8, EFAULT),
		KVT_BAD(struct drm_kvsink_promote, priority, 256, EINVAL),
		KVT_BAD(struct drm_kvsink_promote, deadline_ns, 1, EINVAL),	/* past */
		KVT_BAD(struct drm_kvsink_promote, deadline_ns, ~0ull, EINVAL), /* too far */
		KVT_BAD(struct drm_kvsink_promote, flags, 2, EINVAL),
		KVT_BAD(struct drm_kvsink_promote, pad, 1, EINVAL),
	};

	for (size_t i = 0; i < KVT_COUNT(bad); i++) {
		struct drm_kvsink_place place = kvt_rows(3);
		struct drm_kvsink_promote promote = {.stream = self->stream, .places = kvt_places(&place, 1)};

		kvt_set(&promote, &bad[i]);
		EXPECT_EQ(-bad[i].err, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_PROMOTE, &promote))
		TH_LOG("%s", bad[i].name);
	}
	EXPECT_EQ(0, kvt_total(self->fd, DRM_KVSINK_QUERY_TAGS));
}

TEST_F(resident, a_second_entry_for_the_same_rows_is_eexist)
{
	struct drm_kvsink_promote promote;

	ASSERT_EQ(0, kvt_promote(self->fd, self->stream, 3, &promote));
	EXPECT_EQ(-EEXIST, kvt_promote(self->fd, self->stream, 3, &promote));
	EXPECT_EQ(KVSINK_CODE_EXISTS, promote.code);
}

TEST_F(resident, beyond_the_streams_budget_is_enospc_and_named)
{
	struct drm_kvsink_config config = {.stream = self->stream,
					   .param = KVSINK_PARAM_SRAM_BUDGET,
					   .group = KVSINK_GROUP_ALL,
					   .value = 512};
	struct drm_kvsink_promote promote;

	ASSERT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_CONFIG_SET, &config));
	ASSERT_EQ(0, kvt_promote(self->fd, self->stream, 0, &promote));
	EXPECT_EQ(0, promote.address);
	ASSERT_EQ(0, kvt_promote(self->fd, self->stream, 1, &promote));
	EXPECT_EQ(-ENOSPC, kvt_promote(self->fd, self->stream, 2, &promote));
	EXPECT_EQ(KVSINK_CODE_BUDGET, promote.code);
	EXPECT_EQ(0, promote.address);
}

TEST_F(resident, a_tail_that_does_not_fit_says_what_ran_out_and_how_much_is_left)
{
	struct drm_kvsink_config config = {.stream = self->stream,
					   .param = KVSINK_PARAM_SRAM_BUDGET,
					   .group = KVSINK_GROUP_ALL,
					   .value = 512};

	ASSERT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_CONFIG_SET, &config));
	EXPECT_EQ(KVSINK_CODE_OK, config.code);
	config.param = KVSINK_PARAM_TAIL_TOKENS;
	config.value = KVSINK_MAX_TAIL_TOKENS;
	EXPECT_EQ(-ENOSPC, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_CONFIG_SET, &config));
	EXPECT_EQ(KVSINK_CODE_BUDGET, config.code);
	EXPECT_EQ(512, config.address);
}

TEST_F(resident, evict_removes_what_it_names)
{
	struct drm_kvsink_promote promote;
	struct drm_kvsink_evict args;

	for (uint32_t token = 0; token < 4; token++) {
		ASSERT_EQ(0, kvt_promote(self->fd, self->stream, token, &promote));
	}
	ASSERT_EQ(0, kvt_evict(self->fd, self->stream, 2, &args));
	EXPECT_EQ(1, args.entries);
	EXPECT_EQ(-ENOENT, kvt_evict(self->fd, self->stream, 2, &args));
	EXPECT_EQ(KVSINK_CODE_NOT_RESIDENT, args.code);
	EXPECT_EQ(3, kvt_total(self->fd, DRM_KVSINK_QUERY_TAGS));
	ASSERT_EQ(0, kvt_evict(self->fd, self->stream, KVSINK_TOKEN_ALL, &args));
	EXPECT_EQ(3, args.entries);
	EXPECT_EQ(0, kvt_total(self->fd, DRM_KVSINK_QUERY_TAGS));
}

static long fdinfo_sram(int fd)
{
	return kvt_fdinfo(fd, "drm-resident-sram:");
}

TEST_F(resident, fdinfo_counts_the_sram_of_the_file)
{
	struct drm_kvsink_promote promote;
	struct drm_kvsink_evict args;

	EXPECT_EQ(0, fdinfo_sram(self->fd));
	ASSERT_EQ(0, kvt_promote(self->fd, self->stream, 0, &promote));
	ASSERT_EQ(0, kvt_promote(self->fd, self->stream, 1, &promote));
	EXPECT_EQ((long)(2 * promote.sram_bytes), fdinfo_sram(self->fd));
	ASSERT_EQ(0, kvt_evict(self->fd, self->stream, 0, &args));
	ASSERT_EQ(1, kvt_total(self->fd, DRM_KVSINK_QUERY_TAGS));
	ASSERT_EQ(0, kvt_evict(self->fd, self->stream, KVSINK_TOKEN_ALL, &args));
	EXPECT_EQ(0, fdinfo_sram(self->fd));
}

TEST_F(resident, evict_refuses_each_bad_field)
{
	static const struct kvt_bad bad[] = {
		KVT_BAD(struct drm_kvsink_evict, stream, 1ull << 40, ENOENT),
		KVT_BAD(struct drm_kvsink_evict, places.count, 0, EINVAL),
		KVT_BAD(struct drm_kvsink_evict, places.array, 8, EFAULT),
	};
	struct drm_kvsink_place place;
	struct drm_kvsink_evict args;

	for (size_t i = 0; i < KVT_COUNT(bad); i++) {
		place = kvt_rows(3);
		args = (struct drm_kvsink_evict){.stream = self->stream, .places = kvt_places(&place, 1)};
		kvt_set(&args, &bad[i]);
		EXPECT_EQ(-bad[i].err, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_EVICT, &args))
		TH_LOG("%s", bad[i].name);
	}
	for (size_t i = 0; i < KVT_COUNT(bad_places); i++) {
		place = kvt_rows(3);
		args = (struct drm_kvsink_evict){.stream = self->stream, .places = kvt_places(&place, 1)};
		kvt_set(&place, &bad_places[i]);
		EXPECT_EQ(-bad_places[i].err, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_EVICT, &args))
		TH_LOG("%s", bad_places[i].name);
	}
}

TEST_F(resident, nothing_resident_is_left_by_a_destroyed_stream)
{
	struct drm_kvsink_promote promote;

	ASSERT_EQ(0, kvt_promote(self->fd, self->stream, 3, &promote));
	ASSERT_EQ(0, kvt_destroy(self->fd, self->stream));
	EXPECT_EQ(0, kvt_total(self->fd, DRM_KVSINK_QUERY_TAGS));
	EXPECT_EQ(0, kvt_total(self->fd, DRM_KVSINK_QUERY_STREAMS));
}

TEST_HARNESS_MAIN
