// SPDX-License-Identifier: MIT
/*
 * Prefixes: what two streams share, how it is passed on, who may and who may not, killed processes, and that
 * nothing is left.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "kvt.h"

#define TOKENS 22 /* pages have four */
#define CUT 14
#define KILLS 12

FIXTURE(prefix)
{
	int fd;
	uint64_t stream;
};

FIXTURE_SETUP(prefix)
{
	self->fd = kvt_open();
	ASSERT_GE(self->fd, 0);
	self->stream = kvt_stream(self->fd);
	ASSERT_NE(0, self->stream);
	ASSERT_EQ(0, kvt_fill(self->fd, self->stream, TOKENS));
}

FIXTURE_TEARDOWN(prefix)
{
	close(self->fd);
}

static int publish(int fd, uint64_t stream, uint32_t tokens, struct drm_kvsink_prefix_publish *args)
{
	*args = (struct drm_kvsink_prefix_publish){.stream = stream, .tokens = tokens, .key = {7, 8}};
	return kvt_ioctl(fd, DRM_IOCTL_KVSINK_PREFIX_PUBLISH, args);
}

static uint64_t empty_stream(int fd)
{
	struct drm_kvsink_stream_create args = kvt_stream_args();

	args.reserve_tokens = 0;
	return kvt_ioctl(fd, DRM_IOCTL_KVSINK_STREAM_CREATE, &args) ? 0 : args.stream;
}

static int attach(int fd, uint64_t stream, uint32_t handle, uint32_t tokens)
{
	struct drm_kvsink_prefix_attach args = {.stream = stream, .handle = handle, .tokens = tokens};

	return kvt_ioctl(fd, DRM_IOCTL_KVSINK_PREFIX_ATTACH, &args);
}

static int open_fd(int fd, int descriptor, uint32_t *handle)
{
	struct drm_kvsink_prefix_open args = {.fd = descriptor};
	int err = kvt_ioctl(fd, DRM_IOCTL_KVSINK_PREFIX_OPEN, &args);

	*handle = args.handle;
	return err;
}

static int open_id(int fd, uint64_t id, uint32_t *handle)
{
	struct drm_kvsink_prefix_open args = {.prefix = id, .fd = -1};
	int err = kvt_ioctl(fd, DRM_IOCTL_KVSINK_PREFIX_OPEN, &args);

	*handle = args.handle;
	return err;
}

static int export_fd(int fd, uint32_t handle)
{
	struct drm_kvsink_prefix_handle args = {.handle = handle, .fd = -1};
	int err = kvt_ioctl(fd, DRM_IOCTL_KVSINK_PREFIX_EXPORT, &args);

	return err ? err : args.fd;
}

static int close_handle(int fd, uint32_t handle)
{
	struct drm_kvsink_prefix_handle args = {.handle = handle};

	return kvt_ioctl(fd, DRM_IOCTL_KVSINK_PREFIX_CLOSE, &args);
}

static int detach(int fd, uint64_t stream)
{
	struct drm_kvsink_prefix_detach args = {.stream = stream};

	return kvt_ioctl(fd, DRM_IOCTL_KVSINK_PREFIX_DETACH, &args);
}

static int reserve_all(int fd, uint64_t stream)
{
	struct drm_kvsink_stream_reserve args = {.stream = stream, .tokens = KVT_MAX};

	return kvt_ioctl(fd, DRM_IOCTL_KVSINK_STREAM_RESERVE, &args);
}

TEST_F(prefix, is_shared_and_each_goes_on_by_itself)
{
	float mine[KVT_OUT], theirs[KVT_OUT];
	struct drm_kvsink_prefix_publish args;
	struct drm_kvsink_promote promote;
	uint64_t other = empty_stream(self->fd);

	ASSERT_EQ(0, kvt_promote(self->fd, self->stream, 3, &promote));
	ASSERT_EQ(0, publish(self->fd, self->stream, CUT, &args));
	ASSERT_NE(0, args.prefix);
	EXPECT_EQ(0, kvt_attend(self->fd, self->stream, CUT, mine));
	ASSERT_EQ(0, attach(self->fd, other, args.handle, CUT));
	EXPECT_EQ(0, kvt_attend(self->fd, other, CUT, theirs));
	EXPECT_EQ(0, memcmp(mine, theirs, sizeof(mine)));
	EXPECT_EQ(1, kvt_total(self->fd, DRM_KVSINK_QUERY_TAGS));
	EXPECT_EQ(-EBUSY, kvt_promote(self->fd, other, 5, &promote));
	EXPECT_EQ(0, kvt_promote(self->fd, args.prefix, 5, &promote));
	/* the rest of the stream again, behind what it shares */
	ASSERT_EQ(0, reserve_all(self->fd, other));
	ASSERT_EQ(0, kvt_grow(self->fd, other, CUT, TOKENS - CUT));
	EXPECT_EQ(0, kvt_attend(self->fd, self->stream, TOKENS, mine));
	EXPECT_EQ(0, kvt_attend(self->fd, other, TOKENS, theirs));
	EXPECT_EQ(0, memcmp(mine, theirs, sizeof(mine)));
	EXPECT_EQ(0, kvt_destroy(self->fd, self->stream));
	EXPECT_EQ(0, kvt_attend(self->fd, other, TOKENS, theirs));
	EXPECT_EQ(0, memcmp(mine, theirs, sizeof(mine)));
	ASSERT_EQ(0, detach(self->fd, other));
	EXPECT_EQ(-ENXIO, detach(self->fd, other));
	EXPECT_EQ(0, close_handle(self->fd, args.handle));
	EXPECT_EQ(0, kvt_attend(self->fd, other, TOKENS, theirs));
	EXPECT_EQ(0, memcmp(mine, theirs, sizeof(mine)));
}

/* The four users of a prefix go, in another order each time. */
static int one_life(int fd, unsigned int round)
{
	uint64_t stream = kvt_stream(fd), other = empty_stream(fd);
	struct drm_kvsink_prefix_publish args;
	int descriptor, err = 0;

	if (kvt_fill(fd, stream, TOKENS) || publish(fd, stream, CUT, &args) ||
	    attach(fd, other, args.handle, CUT - 3))
		return -1;
	descriptor = export_fd(fd, args.handle);
	for (unsigned int i = round; i < round + 4; i++) {
		if (i % 4 == 0)
			err |= kvt_destroy(fd, stream);
		else if (i % 4 == 1)
			err |= kvt_destroy(fd, other);
		else if (i % 4 == 2)
			err |= close_handle(fd, args.handle);
		else
			err |= close(descriptor);
	}
	return err;
}

TEST_F(prefix, ends_with_the_last_user)
{
	uint64_t before;

	ASSERT_EQ(0, kvt_destroy(self->fd, self->stream));
	before = kvt_all_hbm();
	for (unsigned int round = 0; round < 4; round++)
		EXPECT_EQ(0, one_life(self->fd, round));
	/* the last one ends it, and does not wait for that */
	for (int i = 0; i < 200 && kvt_total(self->fd, DRM_KVSINK_QUERY_STREAMS); i++)
		usleep(10000);
	EXPECT_EQ(0, kvt_total(self->fd, DRM_KVSINK_QUERY_STREAMS));
	EXPECT_EQ(before, kvt_all_hbm());
}

/* Who wants its memory need not wait. */
TEST_F(prefix, is_gone_when_the_last_handle_is)
{
	for (unsigned int round = 0; round < 30; round++) {
		struct drm_kvsink_prefix_publish args;
		uint64_t stream = kvt_stream(self->fd);

		ASSERT_EQ(0, kvt_fill(self->fd, stream, TOKENS));
		ASSERT_EQ(0, publish(self->fd, stream, CUT, &args));
		ASSERT_EQ(0, kvt_destroy(self->fd, stream));
		EXPECT_EQ(2, kvt_total(self->fd, DRM_KVSINK_QUERY_STREAMS));
		ASSERT_EQ(0, close_handle(self->fd, args.handle));
		ASSERT_EQ(1, kvt_total(self->fd, DRM_KVSINK_QUERY_STREAMS));
	}
}

TEST_F(prefix, refuses_a_bad_publish)
{
	struct drm_kvsink_prefix_publish args = {.stream = self->stream, .tokens = 4, .flags = 1};
	int other = kvt_open();

	EXPECT_EQ(-EINVAL, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_PREFIX_PUBLISH, &args));
	EXPECT_EQ(-EINVAL, publish(self->fd, self->stream, 0, &args));
	EXPECT_EQ(-EINVAL, publish(self->fd, self->stream, TOKENS + 1, &args));
	EXPECT_EQ(KVSINK_CODE_BAD_FIELD, args.code);
	EXPECT_EQ(-ENOENT, publish(self->fd, 1ull << 40, 4, &args));
	EXPECT_EQ(-EACCES, publish(other, self->stream, 4, &args));
	ASSERT_EQ(0, publish(self->fd, self->stream, CUT, &args));
	EXPECT_EQ(-EACCES, publish(self->fd, args.prefix, 4, &args));
	EXPECT_EQ(-EINVAL, publish(self->fd, self->stream, CUT, &args));
	close(other);
}

TEST_F(prefix, refuses_bad_handles)
{
	struct drm_kvsink_prefix_open both = {.prefix = 1, .fd = 0};
	struct drm_kvsink_prefix_attach pad = {.pad = 1};
	struct drm_kvsink_prefix_detach pad_too = {.stream = self->stream, .pad = 1};
	struct drm_kvsink_prefix_publish args;
	uint64_t empty = empty_stream(self->fd), full = kvt_stream(self->fd);
	int null = open("/dev/null", O_RDONLY);
	uint32_t none;

	ASSERT_EQ(0, publish(self->fd, self->stream, CUT, &args));
	EXPECT_EQ(-EINVAL, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_PREFIX_OPEN, &both));
	EXPECT_EQ(-EBADF, open_fd(self->fd, 999, &none));
	EXPECT_EQ(-EINVAL, open_fd(self->fd, null, &none));
	EXPECT_EQ(-EINVAL, open_fd(self->fd, self->fd, &none));
	EXPECT_EQ(-ENOENT, open_id(self->fd, self->stream, &none));
	EXPECT_EQ(-EINVAL, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_PREFIX_ATTACH, &pad));
	EXPECT_EQ(-EINVAL, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_PREFIX_DETACH, &pad_too));
	EXPECT_EQ(-ENOENT, attach(self->fd, empty, args.handle + 1, 4));
	EXPECT_EQ(-EINVAL, attach(self->fd, empty, args.handle, CUT + 1));
	EXPECT_EQ(-EINVAL, attach(self->fd, empty, args.handle, 0));
	EXPECT_EQ(-EBUSY, attach(self->fd, full, args.handle, 4));
	EXPECT_EQ(-ENXIO, detach(self->fd, full));
	EXPECT_EQ(-ENOENT, close_handle(self->fd, args.handle + 1));
	EXPECT_EQ(-ENOENT, export_fd(self->fd, 0));
	ASSERT_EQ(0, attach(self->fd, empty, args.handle, 4));
	EXPECT_EQ(-EBUSY, attach(self->fd, empty, args.handle, 4));
	EXPECT_EQ(0, close_handle(self->fd, args.handle));
	EXPECT_EQ(-ENOENT, close_handle(self->fd, args.handle));
	close(null);
}

TEST_F(prefix, begins_nothing_of_another_geometry)
{
	struct drm_kvsink_stream_create create = kvt_stream_args();
	struct drm_kvsink_prefix_publish args;
	struct drm_kvsink_prefix_attach other = {.tokens = 4};
	uint64_t before;

	ASSERT_EQ(0, publish(self->fd, self->stream, CUT, &args));
	create.reserve_tokens = 0;
	create.d_k = create.d_v = 2 * KVT_DK;
	ASSERT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_STREAM_CREATE, &create));
	other.stream = create.stream;
	other.handle = args.handle;
	before = (uint64_t)kvt_fdinfo(self->fd, "drm-total-hbm:");
	for (other.tokens = 3; other.tokens < 6; other.tokens++) {
		EXPECT_EQ(-EXDEV, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_PREFIX_ATTACH, &other));
		EXPECT_EQ(KVSINK_CODE_GEOMETRY, other.code);
	}
	EXPECT_EQ(before, (uint64_t)kvt_fdinfo(self->fd, "drm-total-hbm:"));
	create.max_tokens = 8; /* less than the prefix has, more than what is taken of it */
	create.d_k = create.d_v = KVT_DK;
	ASSERT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_STREAM_CREATE, &create));
	EXPECT_EQ(-EINVAL, attach(self->fd, create.stream, args.handle, 9));
	EXPECT_EQ(0, attach(self->fd, create.stream, args.handle, 8));
}

/* What a window tries is no part of a prefix, and what it stands on does not move. Asking costs no memory. */
TEST_F(prefix, waits_for_the_end_of_a_window)
{
	struct drm_kvsink_prefix_publish args;
	struct drm_kvsink_prefix_detach part = {0};
	uint64_t other = empty_stream(self->fd);
	long kib;

	ASSERT_EQ(0, publish(self->fd, self->stream, CUT, &args));
	ASSERT_EQ(0, attach(self->fd, other, args.handle, CUT));
	ASSERT_EQ(0, reserve_all(self->fd, other));
	ASSERT_EQ(0, kvt_window(self->fd, DRM_IOCTL_KVSINK_WINDOW_BEGIN, other, 4));
	ASSERT_EQ(0, kvt_draft(self->fd, other, CUT, CUT, 2));
	part.stream = other;
	kib = kvt_fdinfo(self->fd, "drm-total-hbm:");
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(-EBUSY, publish(self->fd, other, CUT + 1, &args));
		EXPECT_EQ(KVSINK_CODE_WINDOW, args.code);
		EXPECT_EQ(-EBUSY, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_PREFIX_DETACH, &part));
		EXPECT_EQ(KVSINK_CODE_WINDOW, part.code);
	}
	EXPECT_EQ(kib, kvt_fdinfo(self->fd, "drm-total-hbm:"));
	ASSERT_EQ(0, kvt_window(self->fd, DRM_IOCTL_KVSINK_WINDOW_COMMIT, other, 1));
	EXPECT_EQ(0, publish(self->fd, other, CUT + 1, &args));
	EXPECT_EQ(0, detach(self->fd, other));
}

/* ---- whose account ---- */

#define PAGE_KIB 4 /* a page of the small stream, a table, scores: each once aligned */

static long hbm_kib(int fd)
{
	return kvt_fdinfo(fd, "drm-total-hbm:");
}

static long shared_kib(int fd)
{
	return kvt_fdinfo(fd, "drm-shared-hbm:");
}

TEST_F(prefix, is_charged_to_its_publisher_until_the_last_reference_is_gone)
{
	struct drm_kvsink_prefix_publish args;
	struct drm_kvsink_promote promote;
	int other = kvt_open();
	uint64_t stream = empty_stream(other);
	long own = hbm_kib(self->fd);
	uint32_t handle;

	EXPECT_EQ(0, shared_kib(self->fd));
	ASSERT_EQ(0, publish(self->fd, self->stream, CUT, &args));
	/* its pages were the stream's; a table, scores, and the copy of a part of a page are new */
	EXPECT_EQ(own + 3 * PAGE_KIB, hbm_kib(self->fd));
	EXPECT_EQ((CUT / KVT_PAGE + 3) * PAGE_KIB, shared_kib(self->fd));
	ASSERT_EQ(0, open_id(other, args.prefix, &handle));
	ASSERT_EQ(0, attach(other, stream, handle, CUT));
	EXPECT_EQ(3 * PAGE_KIB, hbm_kib(other));
	EXPECT_EQ(0, shared_kib(other));
	ASSERT_EQ(0, kvt_promote(other, args.prefix, 5, &promote));
	EXPECT_EQ((long)promote.sram_bytes, kvt_fdinfo(self->fd, "drm-resident-sram:"));
	EXPECT_EQ(0, kvt_fdinfo(other, "drm-resident-sram:"));
	ASSERT_EQ(0, kvt_destroy(self->fd, self->stream));
	ASSERT_EQ(0, close_handle(self->fd, args.handle));
	EXPECT_EQ((CUT / KVT_PAGE + 3) * PAGE_KIB, hbm_kib(self->fd));
	ASSERT_EQ(0, kvt_destroy(other, stream));
	EXPECT_EQ((CUT / KVT_PAGE + 3) * PAGE_KIB, shared_kib(self->fd));
	ASSERT_EQ(0, close_handle(other, handle)); /* the last one: gone on return */
	EXPECT_EQ(0, hbm_kib(self->fd));
	EXPECT_EQ(0, kvt_fdinfo(self->fd, "drm-resident-sram:"));
	close(other);
}

/* Its file is closed, its process is there: nobody is charged, and nothing is touched that is gone. */
TEST_F(prefix, may_outlive_the_file_that_is_charged)
{
	struct drm_kvsink_prefix_publish args;
	int publisher = kvt_open();
	uint64_t stream = kvt_stream(publisher), other = empty_stream(self->fd);
	uint32_t handle;

	ASSERT_EQ(0, kvt_fill(publisher, stream, TOKENS));
	ASSERT_EQ(0, publish(publisher, stream, CUT, &args));
	ASSERT_EQ(0, open_id(self->fd, args.prefix, &handle));
	ASSERT_EQ(0, attach(self->fd, other, handle, CUT));
	close(publisher);
	EXPECT_EQ(0, shared_kib(self->fd));
	ASSERT_EQ(0, kvt_destroy(self->fd, other));
	EXPECT_EQ(0, close_handle(self->fd, handle));
	EXPECT_EQ(1, kvt_total(self->fd, DRM_KVSINK_QUERY_STREAMS));
}

/* ---- other users ---- */

static int inherited; /* a descriptor, in the child of kvt_as_nobody() */

/* Without the descriptor nobody finds the prefix; with it he begins with it, and sees no more of it. */
static int check_foreign(int fd, uint64_t prefix)
{
	float out[KVT_OUT];
	struct drm_kvsink_promote promote;
	uint32_t handle;
	uint64_t stream = empty_stream(fd);

	if (open_id(fd, prefix, &handle) != -ENOENT)
		return 1;
	if (kvt_is_out(fd, prefix) != -ENOENT)
		return 2;
	if (open_fd(fd, inherited, &handle) || attach(fd, stream, handle, CUT))
		return 3;
	if (kvt_attend(fd, stream, CUT, out))
		return 4;
	if (kvt_is_out(fd, prefix) != -ENOENT || kvt_promote(fd, prefix, 2, &promote) != -ENOENT)
		return 5;
	return kvt_total(fd, DRM_KVSINK_QUERY_TAGS) ? 6 : 0;
}

TEST_F(prefix, is_another_users_by_its_descriptor_alone)
{
	struct drm_kvsink_prefix_publish args;
	struct drm_kvsink_promote promote;
	uint32_t handle;
	int other = kvt_open();

	ASSERT_EQ(0, publish(self->fd, self->stream, CUT, &args));
	ASSERT_EQ(0, kvt_promote(self->fd, args.prefix, 3, &promote));
	EXPECT_EQ(0, open_id(other, args.prefix, &handle)); /* the same user's */
	inherited = export_fd(self->fd, args.handle);
	ASSERT_GE(inherited, 0);
	EXPECT_TRUE(fcntl(inherited, F_GETFD) & FD_CLOEXEC);
	EXPECT_EQ(0, kvt_as_nobody(check_foreign, args.prefix));
	close(inherited);
	close(other);
}

/* ---- ends of processes ---- */

/* A message of one byte and one descriptor. */
struct parcel {
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec iov;
	struct msghdr msg;
};

static void wrap(struct parcel *p)
{
	*p = (struct parcel){.byte = 'x'};
	p->iov = (struct iovec){&p->byte, 1};
	p->msg = (struct msghdr){.msg_iov = &p->iov,
				 .msg_iovlen = 1,
				 .msg_control = p->control,
				 .msg_controllen = sizeof(p->control)};
}

/* In a child: publish, send the descriptor, and die. */
static void publish_and_die(int socket)
{
	struct drm_kvsink_prefix_publish args;
	int fd = kvt_open(), descriptor;
	uint64_t stream = kvt_stream(fd);
	struct cmsghdr *cmsg;
	struct parcel p;

	if (kvt_fill(fd, stream, TOKENS) || publish(fd, stream, CUT, &args))
		_exit(1);
	descriptor = export_fd(fd, args.handle);
	wrap(&p);
	cmsg = CMSG_FIRSTHDR(&p.msg);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &descriptor, sizeof(int));
	_exit(sendmsg(socket, &p.msg, 0) == 1 ? 0 : 2);
}

static int received(int socket)
{
	int descriptor = -1;
	struct parcel p;

	wrap(&p);
	if (recvmsg(socket, &p.msg, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&p.msg))
		memcpy(&descriptor, CMSG_DATA(CMSG_FIRSTHDR(&p.msg)), sizeof(int));
	return descriptor;
}

TEST_F(prefix, survives_its_publisher)
{
	float mine[KVT_OUT], theirs[KVT_OUT];
	int sockets[2], status, descriptor;
	uint64_t stream = empty_stream(self->fd);
	uint32_t handle;
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	pid = fork();
	if (!pid)
		publish_and_die(sockets[1]);
	descriptor = received(sockets[0]);
	ASSERT_GE(descriptor, 0);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	ASSERT_EQ(0, open_fd(self->fd, descriptor, &handle));
	close(descriptor);
	ASSERT_EQ(0, attach(self->fd, stream, handle, CUT));
	EXPECT_EQ(0, close_handle(self->fd, handle));
	EXPECT_EQ(0, kvt_attend(self->fd, self->stream, CUT, mine));
	EXPECT_EQ(0, kvt_attend(self->fd, stream, CUT, theirs));
	EXPECT_EQ(0, memcmp(mine, theirs, sizeof(mine)));
	EXPECT_EQ(3,
		  kvt_total(self->fd, DRM_KVSINK_QUERY_STREAMS)); /* ours, the one that shares, the prefix */
	EXPECT_EQ(0, kvt_destroy(self->fd, stream));
	for (int i = 0; i < 200 && kvt_total(self->fd, DRM_KVSINK_QUERY_STREAMS) > 1; i++)
		usleep(10000);
	EXPECT_EQ(1, kvt_total(self->fd, DRM_KVSINK_QUERY_STREAMS));
}

/* In a child: publish, attach and, or not, detach, for ever. */
static void share_for_ever(int ready, bool detaches)
{
	struct drm_kvsink_prefix_publish args;
	int fd = kvt_open();

	for (int i = 0;; i++) {
		uint64_t stream = kvt_stream(fd), other = empty_stream(fd);

		if (kvt_fill(fd, stream, TOKENS) || publish(fd, stream, CUT, &args) ||
		    attach(fd, other, args.handle, CUT - i % 3) || (detaches && detach(fd, other)) ||
		    close_handle(fd, args.handle) || kvt_destroy(fd, stream) || kvt_destroy(fd, other))
			_exit(1);
		if (!i && write(ready, "x", 1) != 1)
			_exit(2);
	}
}

TEST_F_TIMEOUT(prefix, killed_sharers_leave_nothing, 120)
{
	uint64_t before = kvt_all_hbm();

	for (unsigned int round = 0; round < KILLS; round++)
		EXPECT_EQ(0, kvt_kill(share_for_ever, round % 2, round * 2900));
	for (int i = 0; i < 200 && kvt_total(self->fd, DRM_KVSINK_QUERY_STREAMS) > 1; i++)
		usleep(10000);
	EXPECT_EQ(1, kvt_total(self->fd, DRM_KVSINK_QUERY_STREAMS));
	EXPECT_EQ(before, kvt_all_hbm());
}

/* In a child: whatever is refused, with a window open or not, for ever. The code of the first that was not.
 */
static void be_refused_for_ever(int ready, bool in_window)
{
	struct drm_kvsink_prefix_publish args;
	int fd = kvt_open();
	uint64_t stream = kvt_stream(fd), other = empty_stream(fd);
	uint32_t none;

	if (kvt_fill(fd, stream, TOKENS) || publish(fd, stream, CUT, &args) ||
	    attach(fd, other, args.handle, CUT - 1) || reserve_all(fd, other) ||
	    kvt_window(fd, DRM_IOCTL_KVSINK_WINDOW_BEGIN, in_window ? other : stream, 4) ||
	    kvt_draft(fd, in_window ? other : stream, in_window ? CUT - 1 : TOKENS, 0, 2))
		_exit(1);
	for (int i = 0;; i++) {
		uint64_t third = kvt_stream(fd);

		if (publish(fd, in_window ? other : stream, CUT, &args) != -EBUSY)
			_exit(2);
		if (in_window ? detach(fd, other) != -EBUSY : detach(fd, third) != -ENXIO)
			_exit(3);
		if (attach(fd, third, 99, 4) != -ENOENT || open_fd(fd, fd, &none) != -EINVAL)
			_exit(4);
		if (kvt_window(fd, DRM_IOCTL_KVSINK_WINDOW_COMMIT, in_window ? other : stream, 3) != -EINVAL)
			_exit(5);
		if (kvt_destroy(fd, third) || (!i && write(ready, "x", 1) != 1))
			_exit(6);
	}
}

TEST_F_TIMEOUT(prefix, killed_while_refused_leaves_nothing, 120)
{
	uint64_t before = kvt_all_hbm();

	for (unsigned int round = 0; round < KILLS; round++)
		EXPECT_EQ(0, kvt_kill(be_refused_for_ever, round % 2, round * 1900));
	for (int i = 0; i < 200 && kvt_total(self->fd, DRM_KVSINK_QUERY_STREAMS) > 1; i++)
		usleep(10000);
	EXPECT_EQ(1, kvt_total(self->fd, DRM_KVSINK_QUERY_STREAMS));
	EXPECT_EQ(before, kvt_all_hbm());
}

TEST_F(prefix, swaps_only_what_is_its_own)
{
	float before[KVT_OUT], after[KVT_OUT];
	struct drm_kvsink_prefix_publish args;
	struct kvt_bo image = kvt_bo(self->fd, 1 << 20);
	struct drm_kvsink_swap swap;
	uint64_t other = empty_stream(self->fd);

	ASSERT_EQ(0, publish(self->fd, self->stream, CUT, &args));
	ASSERT_EQ(0, attach(self->fd, other, args.handle, CUT));
	ASSERT_EQ(0, reserve_all(self->fd, other));
	ASSERT_EQ(0, kvt_grow(self->fd, other, CUT, TOKENS - CUT));
	ASSERT_EQ(0, kvt_attend(self->fd, other, TOKENS, before));
	ASSERT_EQ(0, kvt_swap(self->fd, DRM_IOCTL_KVSINK_SWAP_OUT, other, image.handle, 1 << 20, &swap));
	EXPECT_EQ(-ENODATA, detach(self->fd, other));
	EXPECT_EQ(-ENODATA, publish(self->fd, other, TOKENS, &args));
	ASSERT_EQ(0, kvt_swap(self->fd, DRM_IOCTL_KVSINK_SWAP_IN, other, image.handle, 1 << 20, &swap));
	EXPECT_EQ(0, kvt_attend(self->fd, other, TOKENS, after));
	EXPECT_EQ(0, memcmp(before, after, sizeof(before)));
	kvt_bo_free(self->fd, &image);
}

TEST_HARNESS_MAIN
