// SPDX-License-Identifier: MIT
/*
 * STREAM_CREATE, STREAM_RESERVE, STREAM_DESTROY.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "kvt.h"

FIXTURE(stream)
{
	int fd;
};

FIXTURE_SETUP(stream)
{
	self->fd = kvt_open();
	ASSERT_GE(self->fd, 0);
}

FIXTURE_TEARDOWN(stream)
{
	close(self->fd);
}

TEST_F(stream, ids_are_never_used_again)
{
	uint64_t first = kvt_stream(self->fd), second;

	ASSERT_NE(0, first);
	ASSERT_EQ(0, kvt_destroy(self->fd, first));
	second = kvt_stream(self->fd);
	EXPECT_GT(second, first);
	EXPECT_EQ(-ENOENT, kvt_destroy(self->fd, first));
	EXPECT_EQ(-ENOENT, kvt_destroy(self->fd, 0));
}

TEST_F(stream, create_refuses_each_bad_field)
{
	static const struct kvt_bad bad[] = {
		KVT_BAD(struct drm_kvsink_stream_create, layers.count, 0, EINVAL),
		KVT_BAD(struct drm_kvsink_stream_create, layers.count, DRM_KVSINK_MAX_LAYERS + 1, E2BIG),
		KVT_BAD(struct drm_kvsink_stream_create, layers.stride, sizeof(struct drm_kvsink_layer) - 4,
			EINVAL),
		KVT_BAD(struct drm_kvsink_stream_create, layers.stride, 0, EINVAL),
		KVT_BAD(struct drm_kvsink_stream_create, layers.stride, ~0u, E2BIG),
		KVT_BAD(struct drm_kvsink_stream_create, layers.array, 8, EFAULT),
		KVT_BAD(struct drm_kvsink_stream_create, flags, 4, EINVAL),
		KVT_BAD(struct drm_kvsink_stream_create, format, 2, EINVAL),
		KVT_BAD(struct drm_kvsink_stream_create, q_heads, 0, EINVAL),
		KVT_BAD(struct drm_kvsink_stream_create, q_heads, 3, EINVAL),
		KVT_BAD(struct drm_kvsink_stream_create, q_heads, 130, EINVAL),
		KVT_BAD(struct drm_kvsink_stream_create, kv_heads, 0, EINVAL),
		KVT_BAD(struct drm_kvsink_stream_create, kv_heads, 65, EINVAL),
		KVT_BAD(struct drm_kvsink_stream_create, d_k, 0, EINVAL),
		KVT_BAD(struct drm_kvsink_stream_create, d_k, 577, EINVAL),
		KVT_BAD(struct drm_kvsink_stream_create, d_v, 0, EINVAL),
		KVT_BAD(struct drm_kvsink_stream_create, d_v, 577, EINVAL),
		KVT_BAD(struct drm_kvsink_stream_create, page_tokens, 0, EINVAL),
		KVT_BAD(struct drm_kvsink_stream_create, page_tokens, 3, EINVAL),
		KVT_BAD(struct drm_kvsink_stream_create, page_tokens, 512, EINVAL),
		KVT_BAD(struct drm_kvsink_stream_create, max_tokens, 0, EINVAL),
		KVT_BAD(struct drm_kvsink_stream_create, max_tokens, KVT_MAX + 1, EINVAL),
		KVT_BAD(struct drm_kvsink_stream_create, max_tokens, KVSINK_MAX_TOKENS + KVT_PAGE, EINVAL),
		KVT_BAD(struct drm_kvsink_stream_create, reserve_tokens, KVT_MAX + 1, EINVAL),
		KVT_BAD(struct drm_kvsink_stream_create, score_groups, 0, EINVAL),
		KVT_BAD(struct drm_kvsink_stream_create, score_groups, 2, EINVAL),
		KVT_BAD(struct drm_kvsink_stream_create, score_groups, 9, EINVAL),
		KVT_BAD(struct drm_kvsink_stream_create, group_end[0], 1, EINVAL),
		KVT_BAD(struct drm_kvsink_stream_create, group_end[0], 3, EINVAL),
		KVT_BAD(struct drm_kvsink_stream_create, group_end[7], 2, EINVAL),
	};

	for (size_t i = 0; i < KVT_COUNT(bad); i++) {
		struct drm_kvsink_stream_create args = kvt_stream_args();

		kvt_set(&args, &bad[i]);
		EXPECT_EQ(-bad[i].err, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_STREAM_CREATE, &args))
		TH_LOG("%s", bad[i].name);
	}
	EXPECT_EQ(0, kvt_total(self->fd, DRM_KVSINK_QUERY_STREAMS));
}

TEST_F(stream, create_refuses_each_bad_layer_field)
{
	static const struct kvt_bad bad[] = {
		KVT_BAD(struct drm_kvsink_layer, scale, 0, EINVAL),
		KVT_BAD(struct drm_kvsink_layer, scale, 0xbf800000, EINVAL),
		KVT_BAD(struct drm_kvsink_layer, scale, 0x7f800000, EINVAL),
		KVT_BAD(struct drm_kvsink_layer, scale, 0x7fc00000, EINVAL),
		KVT_BAD(struct drm_kvsink_layer, softcap, 0x80000000, EINVAL),
		KVT_BAD(struct drm_kvsink_layer, softcap, 0x7f800000, EINVAL),
		KVT_BAD(struct drm_kvsink_layer, reserved[0], 0x3f800000, EINVAL),
		KVT_BAD(struct drm_kvsink_layer, reserved[1], 0x3f800000, EINVAL),
		KVT_BAD(struct drm_kvsink_layer, flags, 1, EINVAL),
	};

	for (size_t i = 0; i < KVT_COUNT(bad); i++) {
		struct drm_kvsink_layer layers[KVT_LAYERS] = {{.scale = 0x3f000000}, {.scale = 0x3f000000}};
		struct drm_kvsink_stream_create args = kvt_stream_args();

		args.layers.array = (uintptr_t)layers;
		kvt_set(&layers[KVT_LAYERS - 1], &bad[i]);
		EXPECT_EQ(-bad[i].err, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_STREAM_CREATE, &args))
		TH_LOG("%s", bad[i].name);
	}
}

TEST_F(stream, longer_layers_must_end_in_zeroes)
{
	struct {
		struct drm_kvsink_layer layer;
		uint32_t tail[2];
	} layers[KVT_LAYERS] = {{.layer.scale = 0x3f000000}, {.layer.scale = 0x3f000000}};
	struct drm_kvsink_stream_create args = kvt_stream_args();

	args.layers.array = (uintptr_t)layers;
	args.layers.stride = sizeof(layers[0]);
	EXPECT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_STREAM_CREATE, &args));
	layers[1].tail[1] = 1;
	EXPECT_EQ(-E2BIG, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_STREAM_CREATE, &args));
}

static uint32_t reserved_tokens(int fd, uint64_t stream)
{
	struct {
		struct drm_kvsink_list_head head;
		struct kvsink_stream_rec rec;
	} answer = {0};

	return kvt_query(fd, DRM_KVSINK_QUERY_STREAMS, stream, &answer, sizeof(answer))
		       ? ~0u
		       : answer.rec.reserved_tokens;
}

TEST_F(stream, reserve_adds_pages_and_never_shrinks)
{
	struct drm_kvsink_stream_create args = kvt_stream_args();
	struct drm_kvsink_stream_reserve reserve = {.tokens = 9};

	args.reserve_tokens = 0;
	ASSERT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_STREAM_CREATE, &args));
	EXPECT_EQ(0, reserved_tokens(self->fd, args.stream));
	reserve.stream = args.stream;
	ASSERT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_STREAM_RESERVE, &reserve));
	EXPECT_EQ(12, reserved_tokens(self->fd, args.stream));
	reserve.tokens = 1;
	ASSERT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_STREAM_RESERVE, &reserve));
	EXPECT_EQ(12, reserved_tokens(self->fd, args.stream));
}

TEST_F(stream, many_pages_are_mapped)
{
	struct drm_kvsink_stream_create args = kvt_stream_args();

	args.page_tokens = 1;
	args.max_tokens = 8192;
	args.reserve_tokens = 5000; /* more than one PAGE_MAP can name */
	ASSERT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_STREAM_CREATE, &args));
	EXPECT_EQ(5000, reserved_tokens(self->fd, args.stream));
}

TEST_F(stream, reserve_refuses_each_bad_field)
{
	static const struct kvt_bad bad[] = {
		KVT_BAD(struct drm_kvsink_stream_reserve, stream, 0, ENOENT),
		KVT_BAD(struct drm_kvsink_stream_reserve, stream, 1ull << 40, ENOENT),
		KVT_BAD(struct drm_kvsink_stream_reserve, tokens, KVT_MAX + 1, EINVAL),
		KVT_BAD(struct drm_kvsink_stream_reserve, pad, 1, EINVAL),
	};
	uint64_t stream = kvt_stream(self->fd);

	for (size_t i = 0; i < KVT_COUNT(bad); i++) {
		struct drm_kvsink_stream_reserve args = {.stream = stream, .tokens = 4};

		kvt_set(&args, &bad[i]);
		EXPECT_EQ(-bad[i].err, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_STREAM_RESERVE, &args))
		TH_LOG("%s", bad[i].name);
	}
}

TEST_F(stream, another_file_may_neither_extend_nor_destroy)
{
	struct drm_kvsink_stream_reserve reserve = {.stream = kvt_stream(self->fd), .tokens = 4};
	int other = kvt_open();

	ASSERT_GE(other, 0);
	EXPECT_EQ(-EACCES, kvt_ioctl(other, DRM_IOCTL_KVSINK_STREAM_RESERVE, &reserve));
	EXPECT_EQ(-EACCES, kvt_destroy(other, reserve.stream));
	close(other);
}

/* 64 KiB a page: fills any HBM quickly. */
static struct drm_kvsink_stream_create large_stream(uint32_t tokens)
{
	struct drm_kvsink_stream_create args = kvt_stream_args();

	args.d_k = args.d_v = 512;
	args.page_tokens = 256;
	args.max_tokens = KVSINK_MAX_TOKENS;
	args.reserve_tokens = tokens;
	return args;
}

TEST_F(stream, out_of_hbm_is_enospc_and_leaves_nothing)
{
	struct drm_kvsink_stream_create args;
	struct drm_kvsink_stream_reserve reserve;
	uint64_t streams[64];
	uint32_t count = 0, tokens;
	int err = 0;

	while (count < 64 && !err) {
		args = large_stream(4096);
		err = kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_STREAM_CREATE, &args);
		if (!err)
			streams[count++] = args.stream;
	}
	ASSERT_EQ(-ENOSPC, err);
	ASSERT_GT(count, 1);
	EXPECT_EQ((int)count, kvt_total(self->fd, DRM_KVSINK_QUERY_STREAMS));
	tokens = reserved_tokens(self->fd, streams[0]);
	reserve = (struct drm_kvsink_stream_reserve){.stream = streams[0], .tokens = KVSINK_MAX_TOKENS};
	EXPECT_EQ(-ENOSPC, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_STREAM_RESERVE, &reserve));
	EXPECT_EQ(tokens, reserved_tokens(self->fd, streams[0]));
	ASSERT_EQ(0, kvt_destroy(self->fd, streams[0]));
	args = large_stream(4096);
	EXPECT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_STREAM_CREATE, &args));
}

TEST_F(stream, all_hbm_returns_with_the_file)
{
	struct drm_kvsink_stream_create args;
	uint32_t count[2];

	for (int round = 0; round < 2; round++) {
		int fd = kvt_open(), err = 0;

		ASSERT_GE(fd, 0);
		for (count[round] = 0; count[round] < 64 && !err; count[round] += !err) {
			args = large_stream(4096);
			err = kvt_ioctl(fd, DRM_IOCTL_KVSINK_STREAM_CREATE, &args);
		}
		EXPECT_EQ(-ENOSPC, err);
		close(fd);
	}
	EXPECT_EQ(count[0], count[1]);
}

TEST_HARNESS_MAIN
