// SPDX-License-Identifier: MIT
/*
 * DEV_QUERY, REG_READ, CONFIG and QUERY: what works, and every field that must be refused.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "kvt.h"

FIXTURE(device)
{
	int fd;
	uint64_t stream;
};

FIXTURE_SETUP(device)
{
	self->fd = kvt_open();
	ASSERT_GE(self->fd, 0);
	self->stream = kvt_stream(self->fd);
	ASSERT_NE(0, self->stream);
}

FIXTURE_TEARDOWN(device)
{
	close(self->fd);
}

TEST_F(device, dev_query_without_pointer_tells_the_size)
{
	struct drm_kvsink_dev_query query = {0};

	ASSERT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_DEV_QUERY, &query));
	ASSERT_EQ(sizeof(struct drm_kvsink_dev_info), query.size);
}

TEST_F(device, dev_query_copies_the_smaller_size_and_zeroes_the_rest)
{
	unsigned char bytes[sizeof(struct drm_kvsink_dev_info) + 16];
	struct drm_kvsink_dev_query query = {.size = 8, .pointer = (uintptr_t)bytes};
	struct drm_kvsink_dev_info info;

	memset(bytes, 0xaa, sizeof(bytes));
	ASSERT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_DEV_QUERY, &query));
	EXPECT_EQ(0xaa, bytes[8]);
	query.size = sizeof(bytes);
	ASSERT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_DEV_QUERY, &query));
	memcpy(&info, bytes, sizeof(info));
	EXPECT_EQ(0, bytes[sizeof(info)]);
	EXPECT_EQ(0, bytes[sizeof(bytes) - 1]);
	EXPECT_EQ(KVSINK_HW_VERSION >> 16, info.hw_version >> 16);
	EXPECT_GT(info.sram_bytes, 0);
	EXPECT_GT(info.hbm_bytes, info.sram_bytes);
	EXPECT_GT(info.rings, 0);
	EXPECT_GT(info.gart_pages, 0);
	EXPECT_GT(info.generation, 0);
}

TEST_F(device, dev_query_refuses_unknown_types_and_bad_pointers)
{
	struct drm_kvsink_dev_query query = {.type = 1};

	EXPECT_EQ(-EINVAL, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_DEV_QUERY, &query));
	query = (struct drm_kvsink_dev_query){.size = 64, .pointer = 8};
	EXPECT_EQ(-EFAULT, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_DEV_QUERY, &query));
}

TEST_F(device, reg_read_reads_public_registers)
{
	struct drm_kvsink_reg_read read = {.offset = KVSINK_REG_ID};

	ASSERT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_REG_READ, &read));
	EXPECT_EQ(KVSINK_ID_MAGIC, read.value);
	read.offset = KVSINK_REG_GENERATION;
	ASSERT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_REG_READ, &read));
	EXPECT_EQ(kvt_generation(self->fd), read.value);
}

TEST_F(device, reg_read_reads_whole_counters_for_the_administrator)
{
	struct drm_kvsink_reg_read read = {.offset = KVSINK_COUNTER_BASE + 8 * KVSINK_COUNTER_JOBS};
	uint64_t before;

	ASSERT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_REG_READ, &read));
	before = read.value;
	ASSERT_EQ(0, kvt_destroy(self->fd, self->stream));
	ASSERT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_REG_READ, &read));
	EXPECT_GT(read.value, before);
}

TEST_F(device, reg_read_refuses_what_is_not_readable)
{
	static const uint32_t hidden[] = {KVSINK_REG_CONTROL,
					  KVSINK_REG_GART_BASE_LO,
					  KVSINK_REG_IRQ_STATUS,
					  KVSINK_RING_BASE + KVSINK_RING_DOORBELL,
					  KVSINK_COUNTER_BASE + 4,
					  2,
					  0x3ffc,
					  0xfffffffc};
	struct drm_kvsink_reg_read read = {.pad = 1};

	EXPECT_EQ(-EINVAL, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_REG_READ, &read));
	for (size_t i = 0; i < KVT_COUNT(hidden); i++) {
		read = (struct drm_kvsink_reg_read){.offset = hidden[i]};
		EXPECT_EQ(-ENOENT, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_REG_READ, &read))
		TH_LOG("register 0x%x", hidden[i]);
	}
}

TEST_F(device, config_set_is_what_config_get_reads)
{
	struct drm_kvsink_config config = {
		.stream = self->stream,
		.param = KVSINK_PARAM_T_SINK,
		.group = KVSINK_GROUP_ALL,
		.value = 0x3e800000, /* 0.25 */
	};

	ASSERT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_CONFIG_SET, &config));
	config.value = 0;
	ASSERT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_CONFIG_GET, &config));
	EXPECT_EQ(0x3e800000, config.value);
}

TEST_F(device, config_of_the_device_reaches_new_streams)
{
	struct drm_kvsink_config config = {.param = KVSINK_PARAM_T_SINK, .group = KVSINK_GROUP_ALL}, old;
	uint64_t stream;

	ASSERT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_CONFIG_GET, &config));
	old = config;
	config.value = 0x3f000000;
	ASSERT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_CONFIG_SET, &config));
	stream = kvt_stream(self->fd);
	EXPECT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_CONFIG_SET, &old));
	ASSERT_NE(0, stream);
	config = (struct drm_kvsink_config){
		.stream = stream, .param = KVSINK_PARAM_T_SINK, .group = KVSINK_GROUP_ALL};
	ASSERT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_CONFIG_GET, &config));
	EXPECT_EQ(0x3f000000, config.value);
}

TEST_F(device, config_refuses_each_bad_field)
{
	static const struct kvt_bad bad[] = {
		KVT_BAD(struct drm_kvsink_config, stream, 1ull << 40, ENOENT),
		KVT_BAD(struct drm_kvsink_config, param, KVSINK_PARAM_COUNT, EINVAL),
		KVT_BAD(struct drm_kvsink_config, value, 0xbf800000, EINVAL), /* negative */
		KVT_BAD(struct drm_kvsink_config, value, 0x80000000, EINVAL), /* minus zero */
		KVT_BAD(struct drm_kvsink_config, value, 0x7f800000, EINVAL), /* infinite */
		KVT_BAD(struct drm_kvsink_config, value, 0x7fc00000, EINVAL), /* not a number */
		KVT_BAD(struct drm_kvsink_config, value, 1ull << 32, EINVAL), /* too wide */
	};

	for (size_t i = 0; i < KVT_COUNT(bad); i++) {
		struct drm_kvsink_config config = {
			.stream = self->stream, .param = KVSINK_PARAM_T_SINK, .group = KVSINK_GROUP_ALL};

		kvt_set(&config, &bad[i]);
		EXPECT_EQ(-bad[i].err, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_CONFIG_SET, &config))
		TH_LOG("CONFIG_SET %s", bad[i].name);
		if (bad[i].offset == offsetof(struct drm_kvsink_config, value))
			continue;
		EXPECT_EQ(-bad[i].err, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_CONFIG_GET, &config))
		TH_LOG("CONFIG_GET %s", bad[i].name);
	}
}

TEST_F(device, query_lists_the_stream_with_its_geometry)
{
	struct {
		struct drm_kvsink_list_head head;
		struct kvsink_stream_rec rec;
	} answer = {0};

	ASSERT_EQ(0, kvt_query(self->fd, DRM_KVSINK_QUERY_STREAMS, self->stream, &answer, sizeof(answer)));
	EXPECT_EQ(1, answer.head.total);
	ASSERT_EQ(1, answer.head.written);
	EXPECT_EQ(sizeof(answer.rec), answer.head.record_bytes);
	EXPECT_EQ(self->stream, answer.rec.stream);
	EXPECT_EQ(getuid(), answer.rec.tenant);
	EXPECT_EQ(KVT_LAYERS, answer.rec.layers);
	EXPECT_EQ(KVT_Q_HEADS, answer.rec.q_heads);
	EXPECT_EQ(KVT_MAX, answer.rec.reserved_tokens);
	EXPECT_EQ(0, answer.rec.length);
}

TEST_F(device, query_counters_and_events_answer)
{
	struct {
		struct drm_kvsink_list_head head;
		uint64_t counters[KVSINK_COUNTER_COUNT];
	} counters = {0};
	struct {
		struct drm_kvsink_list_head head;
		struct kvsink_event_rec recs[8];
	} events = {0};

	ASSERT_EQ(0, kvt_query(self->fd, DRM_KVSINK_QUERY_COUNTERS, 0, &counters, sizeof(counters)));
	EXPECT_EQ(KVSINK_COUNTER_COUNT, counters.head.written);
	EXPECT_GT(counters.counters[KVSINK_COUNTER_JOBS], 0);
	ASSERT_EQ(0, kvt_query(self->fd, DRM_KVSINK_QUERY_EVENTS, 0, &events, sizeof(events)));
	EXPECT_GT(events.head.written, 0);
}

TEST_F(device, query_refuses_each_bad_field)
{
	static const struct kvt_bad bad[] = {
		KVT_BAD(struct drm_kvsink_query, type, 0, EINVAL),
		KVT_BAD(struct drm_kvsink_query, type, 99, EINVAL),
		KVT_BAD(struct drm_kvsink_query, group, 1, EINVAL),
		KVT_BAD(struct drm_kvsink_query, stream, 1ull << 40, ENOENT),
		KVT_BAD(struct drm_kvsink_query, size, 0, EINVAL),
		KVT_BAD(struct drm_kvsink_query, size, sizeof(struct drm_kvsink_list_head) - 1, EINVAL),
		KVT_BAD(struct drm_kvsink_query, size, DRM_KVSINK_MAX_QUERY_BYTES + 1, E2BIG),
		KVT_BAD(struct drm_kvsink_query, pointer, 8, EFAULT),
	};
	char answer[512];

	for (size_t i = 0; i < KVT_COUNT(bad); i++) {
		struct drm_kvsink_query query = {
			.type = DRM_KVSINK_QUERY_STREAMS,
			.stream = self->stream,
			.size = sizeof(answer),
			.pointer = (uintptr_t)answer,
		};

		kvt_set(&query, &bad[i]);
		EXPECT_EQ(-bad[i].err, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_QUERY, &query))
		TH_LOG("%s", bad[i].name);
	}
}

TEST_F(device, unknown_ioctl_is_refused)
{
	EXPECT_EQ(-EINVAL, kvt_ioctl(self->fd, DRM_IO(DRM_COMMAND_BASE + DRM_KVSINK_ENTRY_READ + 1), NULL));
}

TEST_F(device, fdinfo_has_the_documented_keys)
{
	static const char *const keys[] = {
		"drm-driver:\tkvsink", "drm-client-id:",  "drm-pdev:",		"drm-engine-attn:",
		"drm-total-hbm:",      "drm-shared-hbm:", "drm-resident-sram:", "drm-total-memory:"};
	char path[64], text[4096];
	unsigned long long ns = 0, kib = 0;
	int fd;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", self->fd);
	fd = open(path, O_RDONLY);
	ASSERT_GE(fd, 0);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	ASSERT_GT(n, 0);
	text[n] = 0;
	for (size_t i = 0; i < KVT_COUNT(keys); i++) {
		EXPECT_TRUE(strstr(text, keys[i])) TH_LOG("%s", keys[i]);
	}
	ASSERT_EQ(1, sscanf(strstr(text, "drm-engine-attn:"), "drm-engine-attn: %llu ns", &ns));
	EXPECT_GT(ns, 0);
	ASSERT_EQ(1, sscanf(strstr(text, "drm-total-hbm:"), "drm-total-hbm: %llu KiB", &kib));
	/* a page table, scores, and 16 pages of 2 layers, 2 heads, 4 tokens, 64 bytes: 4 KiB each once
	 * aligned */
	EXPECT_EQ(4 + 4 + 16 * 4, kib);
}

TEST_HARNESS_MAIN
