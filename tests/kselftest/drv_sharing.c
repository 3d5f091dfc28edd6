// SPDX-License-Identifier: MIT
/*
 * Two users who share a prefix, and what the one learns of the other. Root publishes and works; a child that
 * is nobody has the descriptor, and a stream that begins with the prefix. docs/uapi.md, "What one tenant
 * learns of another", is what is held here.
 */
#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "kvt.h"

#define TOKENS 22 /* pages have four */
#define CUT 14
#define IN_SRAM 3      /* of the prefix */
#define OWN_IN_SRAM 18 /* of the publisher's stream alone */
#define REGS (KVSINK_REGS_BYTES / 4)

/* What the child of kvt_as_nobody() inherits. */
static struct {
	uint64_t stream, prefix; /* the publisher's */
	int descriptor;
	int go[2], done[2]; /* to and from who works */
} theirs;

FIXTURE(sharing)
{
	int fd;
	pid_t worker;
};

/* ---- the publisher ---- */

/* Whatever has numbers of its own: jobs, events, copies, entries, streams, windows, errors. */
static int work(int fd)
{
	static uint32_t length = TOKENS;
	struct drm_kvsink_prefix_publish args = {.tokens = 4};
	struct drm_kvsink_promote promote;
	struct drm_kvsink_evict evict;
	float out[KVT_OUT];

	args.stream = kvt_stream(fd);
	if (kvt_grow(fd, theirs.stream, length, 2) || kvt_attend(fd, theirs.stream, length + 2, out) ||
	    kvt_promote(fd, theirs.stream, length, &promote) ||
	    kvt_evict(fd, theirs.stream, length, &evict) || kvt_fill(fd, args.stream, 8) ||
	    kvt_ioctl(fd, DRM_IOCTL_KVSINK_PREFIX_PUBLISH, &args) ||
	    kvt_window(fd, DRM_IOCTL_KVSINK_WINDOW_BEGIN, theirs.stream, 4) ||
	    kvt_draft(fd, theirs.stream, length + 2, length + 2, 2) ||
	    kvt_window(fd, DRM_IOCTL_KVSINK_WINDOW_COMMIT, theirs.stream, 0) ||
	    kvt_grow(fd, args.stream, 40, 1) != KVSINK_CODE_SEQUENCE)
		return -1;
	length += 2;
	return 0;
}

/* Works once for each byte, until the other end is closed. */
static void serve(int fd)
{
	char byte;

	close(theirs.go[1]);
	while (read(theirs.go[0], &byte, 1) == 1) {
		byte = work(fd) ? 'x' : '.';
		if (write(theirs.done[1], &byte, 1) != 1)
			_exit(1);
	}
	_exit(0);
}

static int let_work(void)
{
	char byte = 'w';

	return write(theirs.go[1], &byte, 1) == 1 && read(theirs.done[0], &byte, 1) == 1 && byte == '.' ? 0
													: -1;
}

FIXTURE_SETUP(sharing)
{
	struct drm_kvsink_prefix_publish args = {.tokens = CUT};
	struct drm_kvsink_prefix_handle handle = {.fd = -1};
	struct drm_kvsink_promote promote;

	self->fd = kvt_open();
	ASSERT_GE(self->fd, 0);
	theirs.stream = args.stream = kvt_stream(self->fd);
	ASSERT_EQ(0, kvt_fill(self->fd, theirs.stream, TOKENS));
	ASSERT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_PREFIX_PUBLISH, &args));
	theirs.prefix = args.prefix;
	ASSERT_EQ(0, kvt_promote(self->fd, theirs.prefix, IN_SRAM, &promote));
	ASSERT_EQ(0, kvt_promote(self->fd, theirs.stream, OWN_IN_SRAM, &promote));
	handle.handle = args.handle;
	ASSERT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_PREFIX_EXPORT, &handle));
	theirs.descriptor = handle.fd;
	ASSERT_EQ(0, pipe(theirs.go));
	ASSERT_EQ(0, pipe(theirs.done));
	self->worker = fork();
	if (!self->worker)
		serve(self->fd);
}

FIXTURE_TEARDOWN(sharing)
{
	close(theirs.go[1]);
	waitpid(self->worker, NULL, 0);
	close(theirs.go[0]);
	close(theirs.done[0]);
	close(theirs.done[1]);
	close(theirs.descriptor);
	close(self->fd);
}

/* ---- the other user ---- */

/* A stream that begins with the prefix; 0 if it failed. */
static uint64_t begin(int fd)
{
	struct drm_kvsink_stream_create create = kvt_stream_args();
	struct drm_kvsink_prefix_open open = {.fd = theirs.descriptor};
	struct drm_kvsink_prefix_attach attach = {.tokens = CUT};

	create.reserve_tokens = 0;
	if (kvt_ioctl(fd, DRM_IOCTL_KVSINK_STREAM_CREATE, &create) ||
	    kvt_ioctl(fd, DRM_IOCTL_KVSINK_PREFIX_OPEN, &open))
		return 0;
	attach.stream = create.stream;
	attach.handle = open.handle;
	return kvt_ioctl(fd, DRM_IOCTL_KVSINK_PREFIX_ATTACH, &attach) ? 0 : create.stream;
}

static const uint32_t kinds[] = {
	DRM_KVSINK_QUERY_STREAMS, DRM_KVSINK_QUERY_TAGS,   DRM_KVSINK_QUERY_COUNTERS,
	DRM_KVSINK_QUERY_SCORES,  DRM_KVSINK_QUERY_PARAMS, DRM_KVSINK_QUERY_EVENTS,
	DRM_KVSINK_QUERY_SPANS,	  DRM_KVSINK_QUERY_SINKS,  DRM_KVSINK_QUERY_VERDICTS,
	DRM_KVSINK_QUERY_PROFILE,
};

static int check_by_id(int fd, uint64_t stream)
{
	char answer[4096];

	if (!begin(fd))
		return 1;
	for (size_t i = 0; i < KVT_COUNT(kinds); i++)
		if (kvt_query(fd, kinds[i], stream, answer, sizeof(answer)) != -ENOENT)
			return 10 + (int)i;
	return 0;
}

TEST_F(sharing, no_kind_of_query_knows_the_others_stream)
{
	EXPECT_EQ(0, kvt_as_nobody(check_by_id, theirs.stream));
	EXPECT_EQ(0, kvt_as_nobody(check_by_id, theirs.prefix));
}

static bool is_theirs(uint64_t stream)
{
	return stream == theirs.stream || stream == theirs.prefix;
}

/* Lists of all that he may see, after the publisher has done something of everything. */
static int check_lists(int fd, uint64_t stream)
{
	static struct {
		struct drm_kvsink_list_head head;
		struct kvsink_event_rec rec[KVSINK_EVENT_SLOTS];
	} events;
	static struct {
		struct drm_kvsink_list_head head;
		struct kvsink_span_rec rec[KVSINK_SPAN_SLOTS];
	} spans;
	uint64_t own = begin(fd);

	(void)stream;
	if (!own || let_work())
		return 1;
	if (kvt_total(fd, DRM_KVSINK_QUERY_STREAMS) != 1 || kvt_total(fd, DRM_KVSINK_QUERY_TAGS))
		return 2;
	if (kvt_query(fd, DRM_KVSINK_QUERY_EVENTS, 0, &events, sizeof(events)) ||
	    kvt_query(fd, DRM_KVSINK_QUERY_SPANS, 0, &spans, sizeof(spans)))
		return 3;
	for (uint32_t i = 0; i < events.head.written; i++)
		if (events.rec[i].stream &&
		    (events.rec[i].tenant != KVT_NOBODY || is_theirs(events.rec[i].stream)))
			return 4;
	for (uint32_t i = 0; i < spans.head.written; i++)
		if (spans.rec[i].tenant != KVT_NOBODY || is_theirs(spans.rec[i].stream))
			return 5;
	if (!kvt_events(fd, own, KVSINK_EVENT_PREFIX_ATTACHED, 0) || !spans.head.written)
		return 6; /* nothing was looked at */
	return 0;
}

TEST_F(sharing, lists_have_nothing_of_the_other)
{
	EXPECT_EQ(0, kvt_as_nobody(check_lists, 0));
}

/* What he does see of the prefix: that he has it, how much of it, and which of its tokens are in SRAM. */
static int check_own_stream(int fd, uint64_t stream)
{
	static struct {
		struct drm_kvsink_list_head head;
		struct kvsink_score_rec rec[KVT_MAX];
	} scores;
	struct kvsink_stream_rec rec;
	uint64_t own = begin(fd);

	(void)stream;
	if (!own || kvt_record(fd, own, &rec))
		return 1;
	if (rec.prefix != theirs.prefix || rec.shared != CUT || rec.own_page != CUT / KVT_PAGE)
		return 2;
	if (rec.users || rec.key[0] || rec.entries || rec.sram_bytes)
		return 3;
	if (kvt_query(fd, DRM_KVSINK_QUERY_SCORES, own, &scores, sizeof(scores)) || scores.head.total != CUT)
		return 4;
	for (uint32_t t = 0; t < CUT; t++)
		if (!(scores.rec[t].flags & KVSINK_SCORE_RESIDENT) != (t != IN_SRAM))
			return 5;
	return 0;
}

TEST_F(sharing, of_the_prefix_its_tokens_in_sram_can_be_seen)
{
	struct kvsink_stream_rec rec;

	EXPECT_EQ(0, kvt_as_nobody(check_own_stream, 0));
	/* and the publisher sees how many begin with it */
	ASSERT_EQ(0, kvt_record(self->fd, theirs.prefix, &rec));
	EXPECT_EQ(1, rec.users);
	EXPECT_EQ(1, rec.entries);
}

/* Nothing that he has leads to rows of the other in SRAM, or to changing them. */
static int check_rows(int fd, uint64_t stream)
{
	char row[KVT_ROW_BYTES];
	struct drm_kvsink_entry_read read = {
		.token = IN_SRAM, .generation = 1, .size = sizeof(row), .pointer = (uintptr_t)row};
	struct drm_kvsink_promote promote;
	struct drm_kvsink_evict evict;
	uint64_t own = begin(fd);

	if (!own)
		return 1;
	for (; read.generation < 8; read.generation++) {
		read.stream = stream;
		if (kvt_ioctl(fd, DRM_IOCTL_KVSINK_ENTRY_READ, &read) != -ENOENT)
			return 2;
		read.stream = own;
		if (kvt_ioctl(fd, DRM_IOCTL_KVSINK_ENTRY_READ, &read) != -ENOENT)
			return 3;
	}
	if (kvt_promote(fd, own, 5, &promote) != -EBUSY || promote.code != KVSINK_CODE_SHARED)
		return 4;
	return kvt_evict(fd, own, IN_SRAM, &evict) == -ENOENT ? 0 : 5;
}

TEST_F(sharing, entries_are_the_publishers_alone)
{
	EXPECT_EQ(0, kvt_as_nobody(check_rows, theirs.prefix));
	EXPECT_EQ(0, kvt_as_nobody(check_rows, theirs.stream));
}

/* ---- everything that can be read, before and after ---- */

struct look {
	int64_t reg[REGS]; /* or -errno, negative all the same */
	uint64_t counter[KVSINK_COUNTER_COUNT];
	struct kvsink_stream_rec rec;
	long fdinfo[3];
};

/* Registers that may be read: how many. Their values must not depend on anybody. */
static int look_at_registers(int fd, int64_t *reg)
{
	int n = 0;

	for (uint32_t i = 0; i < REGS; i++) {
		struct drm_kvsink_reg_read read = {.offset = i * 4};
		int err = kvt_ioctl(fd, DRM_IOCTL_KVSINK_REG_READ, &read);

		reg[i] = err ? err : (int64_t)(read.value & INT64_MAX);
		n += !err;
	}
	return n;
}

static int look(int fd, uint64_t own, struct look *out)
{
	static const char *const keys[] = {"drm-total-hbm:", "drm-shared-hbm:", "drm-resident-sram:"};
	struct {
		struct drm_kvsink_list_head head;
		uint64_t counter[KVSINK_COUNTER_COUNT];
	} counters;

	if (look_at_registers(fd, out->reg) < 20 ||
	    kvt_query(fd, DRM_KVSINK_QUERY_COUNTERS, own, &counters, sizeof(counters)) ||
	    kvt_record(fd, own, &out->rec))
		return -1;
	memcpy(out->counter, counters.counter, sizeof(out->counter));
	for (size_t i = 0; i < KVT_COUNT(keys); i++)
		out->fdinfo[i] = kvt_fdinfo(fd, keys[i]);
	return 0;
}

/* Counters of his stream: asking for them is counted, too, the same each time. */
static int counters_moved_alike(const struct look *a, const struct look *b, const struct look *c)
{
	for (uint32_t i = 0; i < KVSINK_COUNTER_COUNT; i++)
		if (b->counter[i] - a->counter[i] != c->counter[i] - b->counter[i])
			return 0;
	return 1;
}

static int check_unmoved(int fd, uint64_t stream)
{
	static struct look idle, before, after;
	float out[KVT_OUT];
	uint64_t own = begin(fd);

	(void)stream;
	/* he has numbers of his own */
	if (!own || kvt_attend(fd, own, CUT, out) || look(fd, own, &idle) || look(fd, own, &before))
		return 1;
	if (let_work() || let_work())
		return 2;
	if (look(fd, own, &after))
		return 3;
	for (uint32_t i = 0; i < REGS; i++)
		if (before.reg[i] != after.reg[i])
			return 4;
	if (!before.counter[KVSINK_COUNTER_MODELLED_NS] || !counters_moved_alike(&idle, &before, &after))
		return 5;
	if (memcmp(&before.rec, &after.rec, sizeof(before.rec)))
		return 6;
	return memcmp(before.fdinfo, after.fdinfo, sizeof(before.fdinfo)) ? 7 : 0;
}

TEST_F(sharing, no_register_or_counter_moves_with_the_others_work)
{
	EXPECT_EQ(0, kvt_as_nobody(check_unmoved, 0));
}

/* The device as a whole is the administrator's, for who shares as for who does not. */
static int check_device(int fd, uint64_t stream)
{
	static const uint32_t regs[] = {KVSINK_REG_SRAM_USED,
					KVSINK_REG_STREAMS_LIVE,
					KVSINK_REG_ERR_CODE,
					KVSINK_COUNTER_BASE,
					KVSINK_COUNTER_BASE + 8 * KVSINK_COUNTER_COMMANDS,
					KVSINK_COUNTER_BASE + 8 * KVSINK_COUNTER_MODELLED_NS};
	char answer[4096];

	(void)stream;
	if (!begin(fd) || kvt_query(fd, DRM_KVSINK_QUERY_COUNTERS, 0, answer, sizeof(answer)) != -EACCES)
		return 1;
	for (size_t i = 0; i < KVT_COUNT(regs); i++) {
		struct drm_kvsink_reg_read read = {.offset = regs[i]};

		if (kvt_ioctl(fd, DRM_IOCTL_KVSINK_REG_READ, &read) != -EACCES)
			return 10 + (int)i;
	}
	return 0;
}

TEST_F(sharing, the_clock_and_counters_of_the_device_are_the_administrators)
{
	EXPECT_EQ(0, kvt_as_nobody(check_device, 0));
}

TEST_HARNESS_MAIN
