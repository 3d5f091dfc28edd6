// SPDX-License-Identifier: MIT
/*
 * Tenants: what another uid may see and do. Runs as root, with children that are somebody else.
 */
#include <errno.h>
#include <grp.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "kvt.h"

FIXTURE(tenant)
{
	int fd;
	uint64_t stream;
};

FIXTURE_SETUP(tenant)
{
	self->fd = kvt_open();
	ASSERT_GE(self->fd, 0);
	self->stream = kvt_stream(self->fd);
	ASSERT_NE(0, self->stream);
	ASSERT_EQ(0, kvt_fill(self->fd, self->stream, 8));
}

FIXTURE_TEARDOWN(tenant)
{
	close(self->fd);
}

/* 0, or the number of the first thing that was not as it should be. */
static int check_stream_hidden(int fd, uint64_t stream)
{
	struct drm_kvsink_promote promote;
	struct drm_kvsink_evict evict;
	struct drm_kvsink_config config = {.stream = stream};
	struct drm_kvsink_op op = {.type = DRM_KVSINK_OP_BARRIER, .barrier.stream = stream};
	struct drm_kvsink_job job = {.ops = {sizeof(op), 1, (uintptr_t)&op}};
	struct drm_kvsink_submit submit = {.jobs = {sizeof(job), 1, (uintptr_t)&job}};
	struct drm_kvsink_list_head head;

	if (kvt_promote(fd, stream, 0, &promote) != -ENOENT)
		return 1;
	if (kvt_evict(fd, stream, 0, &evict) != -ENOENT)
		return 2;
	if (kvt_ioctl(fd, DRM_IOCTL_KVSINK_CONFIG_GET, &config) != -ENOENT)
		return 3;
	if (kvt_submit_raw(fd, &submit) != -ENOENT)
		return 4;
	if (kvt_destroy(fd, stream) != -ENOENT)
		return 5;
	if (kvt_query(fd, DRM_KVSINK_QUERY_STREAMS, stream, &head, sizeof(head)) != -ENOENT)
		return 6;
	return 0;
}

TEST_F(tenant, another_uids_stream_is_enoent)
{
	EXPECT_EQ(0, kvt_as_nobody(check_stream_hidden, self->stream));
}

static int check_lists(int fd, uint64_t stream)
{
	struct {
		struct drm_kvsink_list_head head;
		struct kvsink_tag_rec recs[4];
	} tags = {0};
	struct drm_kvsink_promote promote;
	uint64_t own = kvt_stream(fd);

	if (kvt_total(fd, DRM_KVSINK_QUERY_STREAMS) != 1)
		return 1;
	if (kvt_total(fd, DRM_KVSINK_QUERY_TAGS) != 0)
		return 2;
	if (!own || own == stream || kvt_fill(fd, own, 8))
		return 3;
	if (kvt_promote(fd, own, 1, &promote))
		return 4;
	if (kvt_query(fd, DRM_KVSINK_QUERY_TAGS, 0, &tags, sizeof(tags)) || tags.head.total != 1)
		return 5;
	return tags.recs[0].stream == own && !tags.recs[0].sram_offset ? 0 : 6;
}

TEST_F(tenant, lists_show_only_the_tenants_own)
{
	struct drm_kvsink_promote promote;

	/* takes the first place in SRAM, so that the other's entry lies elsewhere */
	ASSERT_EQ(0, kvt_promote(self->fd, self->stream, 3, &promote));
	EXPECT_EQ(0, kvt_as_nobody(check_lists, self->stream));
}

static int check_events(int fd, uint64_t stream)
{
	struct {
		struct drm_kvsink_list_head head;
		struct kvsink_event_rec recs[256];
	} events = {0};

	if (kvt_query(fd, DRM_KVSINK_QUERY_EVENTS, 0, &events, sizeof(events)))
		return 1;
	for (uint32_t i = 0; i < events.head.written; i++)
		if (events.recs[i].stream == stream ||
		    (events.recs[i].stream && events.recs[i].tenant != KVT_NOBODY))
			return 2;
	return 0;
}

TEST_F(tenant, events_show_only_the_tenants_own)
{
	EXPECT_EQ(0, kvt_as_nobody(check_events, self->stream));
}

static int check_admin_only(int fd, uint64_t stream)
{
	struct drm_kvsink_config config = {
		.param = KVSINK_PARAM_T_SINK, .group = KVSINK_GROUP_ALL, .value = 0x3f000000};
	struct drm_kvsink_reg_read read = {.offset = KVSINK_REG_SRAM_USED};
	char answer[1024];

	(void)stream;
	if (kvt_ioctl(fd, DRM_IOCTL_KVSINK_CONFIG_SET, &config) != -EACCES)
		return 1;
	if (kvt_ioctl(fd, DRM_IOCTL_KVSINK_REG_READ, &read) != -EACCES)
		return 2;
	if (kvt_query(fd, DRM_KVSINK_QUERY_COUNTERS, 0, answer, sizeof(answer)) != -EACCES)
		return 3;
	read.offset = KVSINK_COUNTER_BASE;
	return kvt_ioctl(fd, DRM_IOCTL_KVSINK_REG_READ, &read) == -EACCES ? 0 : 4;
}

TEST_F(tenant, the_device_as_a_whole_is_the_administrators)
{
	EXPECT_EQ(0, kvt_as_nobody(check_admin_only, self->stream));
}

static int check_ordinary_use(int fd, uint64_t stream)
{
	struct drm_kvsink_config config = {.param = KVSINK_PARAM_T_SINK, .group = KVSINK_GROUP_ALL};
	struct drm_kvsink_reg_read read = {.offset = KVSINK_REG_SRAM_BYTES};
	uint64_t own = kvt_stream(fd);
	char answer[1024];

	(void)stream;
	if (kvt_ioctl(fd, DRM_IOCTL_KVSINK_CONFIG_GET, &config) || !config.value)
		return 1;
	if (kvt_ioctl(fd, DRM_IOCTL_KVSINK_REG_READ, &read) || !read.value)
		return 2;
	if (!own || kvt_query(fd, DRM_KVSINK_QUERY_COUNTERS, own, answer, sizeof(answer)))
		return 3;
	config = (struct drm_kvsink_config){
		.stream = own, .param = KVSINK_PARAM_LOCAL_WINDOW, .group = KVSINK_GROUP_ALL, .value = 8};
	return kvt_ioctl(fd, DRM_IOCTL_KVSINK_CONFIG_SET, &config) ? 4 : 0;
}

TEST_F(tenant, ordinary_use_needs_no_privilege)
{
	EXPECT_EQ(0, kvt_as_nobody(check_ordinary_use, self->stream));
}

/* A stream of nobody, kept open by a child until the pipe closes. */
TEST_F(tenant, the_administrator_sees_and_acts_on_every_tenant)
{
	struct drm_kvsink_promote promote;
	uint64_t stream = 0;
	int ready[2], go[2];
	pid_t pid;

	ASSERT_EQ(0, pipe(ready));
	ASSERT_EQ(0, pipe(go));
	pid = fork();
	if (!pid) {
		char byte;
		int fd;

		close(go[1]);
		if (setgroups(0, NULL) || setgid(KVT_NOBODY) || setuid(KVT_NOBODY))
			_exit(1);
		fd = kvt_open();
		stream = kvt_stream(fd);
		if (kvt_fill(fd, stream, 8))
			stream = 0;
		if (write(ready[1], &stream, sizeof(stream)) != sizeof(stream))
			_exit(2);
		_exit(read(go[0], &byte, 1) ? 3 : 0);
	}
	ASSERT_EQ((ssize_t)sizeof(stream), read(ready[0], &stream, sizeof(stream)));
	ASSERT_NE(0, stream);
	EXPECT_EQ(2, kvt_total(self->fd, DRM_KVSINK_QUERY_STREAMS));
	EXPECT_EQ(0, kvt_promote(self->fd, stream, 2, &promote));
	close(go[1]);
	close(go[0]);
	ASSERT_EQ(pid, waitpid(pid, NULL, 0));
	EXPECT_EQ(1, kvt_total(self->fd, DRM_KVSINK_QUERY_STREAMS));
	EXPECT_EQ(0, kvt_total(self->fd, DRM_KVSINK_QUERY_TAGS));
}

TEST_HARNESS_MAIN
