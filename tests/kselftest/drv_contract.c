// SPDX-License-Identifier: MIT
/*
 * Residency contracts through the driver: lists, partial grants, refusal, expiry by steps and by the clock,
 * two tenants under a cap, a holder that is killed; and parameters that contradict one another.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "kvt.h"

#define TOKENS 16
#define ENTRY 256 /* SRAM of all rows of a token */
#define NOBODY 65534

FIXTURE(contract)
{
	int fd;
	uint64_t stream;
};

FIXTURE_SETUP(contract)
{
	self->fd = kvt_open();
	ASSERT_GE(self->fd, 0);
	self->stream = kvt_stream(self->fd);
	ASSERT_NE(0, self->stream);
	ASSERT_EQ(0, kvt_fill(self->fd, self->stream, TOKENS));
}

FIXTURE_TEARDOWN(contract)
{
	struct drm_kvsink_config cap = {
		.param = KVSINK_PARAM_TENANT_CAP, .group = KVSINK_GROUP_ALL, .value = 0xffffffff};

	kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_CONFIG_SET, &cap);
	close(self->fd);
}

static int set(int fd, uint64_t stream, uint32_t group, uint32_t param, uint64_t value, uint32_t *conflict)
{
	struct drm_kvsink_config config = {.stream = stream, .param = param, .group = group, .value = value};
	int err = kvt_ioctl(fd, DRM_IOCTL_KVSINK_CONFIG_SET, &config);

	if (conflict)
		*conflict = config.conflict;
	return err;
}

static int set_all(int fd, uint64_t stream, uint32_t param, uint64_t value)
{
	return set(fd, stream, KVSINK_GROUP_ALL, param, value, NULL);
}

/* Tokens [first, first + count), one entry each. */
static int hold(int fd, uint64_t stream, uint32_t first, uint32_t count, struct drm_kvsink_promote *terms)
{
	struct drm_kvsink_place places[TOKENS];

	for (uint32_t i = 0; i < count; i++)
		places[i] = kvt_rows(first + i);
	terms->stream = stream;
	terms->places = kvt_places(places, count);
	return kvt_ioctl(fd, DRM_IOCTL_KVSINK_PROMOTE, terms);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int tags_with(int fd, uint64_t stream, uint32_t flags)
{
	struct {
		struct drm_kvsink_list_head head;
		struct kvsink_tag_rec recs[TOKENS];
	} tags = {0};
	int n = 0;

	if (kvt_query(fd, DRM_KVSINK_QUERY_TAGS, stream, &tags, sizeof(tags)))
		return -1;
	for (uint32_t i = 0; i < tags.head.written; i++)
		n += (tags.recs[i].flags & flags) == flags;
	return n;
}

TEST_F(contract, a_list_is_granted_as_a_whole_or_not_at_all)
{
	struct drm_kvsink_promote terms = {0};

	ASSERT_EQ(0, set_all(self->fd, self->stream, KVSINK_PARAM_SRAM_BUDGET, 3 * ENTRY));
	EXPECT_EQ(-ENOSPC, hold(self->fd, self->stream, 0, 4, &terms));
	EXPECT_EQ(KVSINK_CODE_BUDGET, terms.code);
	EXPECT_EQ(0, terms.granted);
	EXPECT_EQ(0, kvt_total(self->fd, DRM_KVSINK_QUERY_TAGS));
	terms = (struct drm_kvsink_promote){.flags = DRM_KVSINK_PROMOTE_PARTIAL};
	EXPECT_EQ(0, hold(self->fd, self->stream, 0, 4, &terms));
	EXPECT_EQ(KVSINK_CODE_BUDGET, terms.code);
	EXPECT_EQ(3, terms.granted);
	EXPECT_EQ(3 * ENTRY, terms.sram_bytes);
	EXPECT_EQ(3, kvt_total(self->fd, DRM_KVSINK_QUERY_TAGS));
}

TEST_F(contract, one_in_force_is_not_displaced_and_a_soft_entry_is)
{
	struct drm_kvsink_promote terms = {.dwell_steps = 4};

	ASSERT_EQ(0, set_all(self->fd, self->stream, KVSINK_PARAM_SRAM_BUDGET, 2 * ENTRY));
	ASSERT_EQ(0, hold(self->fd, self->stream, 0, 1, &terms));
	terms = (struct drm_kvsink_promote){.priority = 255};
	ASSERT_EQ(0, hold(self->fd, self->stream, 1, 1, &terms));
	terms = (struct drm_kvsink_promote){.dwell_steps = 4};
	ASSERT_EQ(0, hold(self->fd, self->stream, 2, 1, &terms));
	EXPECT_EQ(2, tags_with(self->fd, self->stream, KVSINK_TAG_CONTRACT));
	EXPECT_EQ(1, kvt_events(self->fd, self->stream, KVSINK_EVENT_EVICTED, KVSINK_REASON_DISPLACED));
	EXPECT_EQ(-ENOSPC, hold(self->fd, self->stream, 3, 1, &terms));
}

TEST_F(contract, it_ends_after_its_steps)
{
	struct drm_kvsink_promote terms = {.dwell_steps = 2};

	ASSERT_EQ(0, hold(self->fd, self->stream, 0, 1, &terms));
	ASSERT_EQ(0, kvt_grow(self->fd, self->stream, TOKENS, 1));
	EXPECT_EQ(1, tags_with(self->fd, self->stream, KVSINK_TAG_CONTRACT));
	ASSERT_EQ(0, kvt_grow(self->fd, self->stream, TOKENS + 1, 1));
	EXPECT_EQ(0, tags_with(self->fd, self->stream, KVSINK_TAG_CONTRACT));
	EXPECT_EQ(1, tags_with(self->fd, self->stream, 0));
}

TEST_F(contract, it_ends_at_its_deadline_by_the_hosts_clock)
{
	struct drm_kvsink_promote terms = {.deadline_ns = now_ns() + 3000000000ull};
	struct drm_kvsink_contract contract = {.stream = self->stream, .dwell_steps = 5};
	struct drm_kvsink_place place = kvt_rows(0);

	ASSERT_EQ(0, hold(self->fd, self->stream, 0, 1, &terms));
	EXPECT_EQ(1, tags_with(self->fd, self->stream, KVSINK_TAG_CONTRACT));
	while (now_ns() < terms.deadline_ns)
		usleep(50000);
	EXPECT_EQ(0, tags_with(self->fd, self->stream, KVSINK_TAG_CONTRACT));
	contract.places = kvt_places(&place, 1);
	EXPECT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_CONTRACT, &contract));
	EXPECT_EQ(1, contract.entries);
	EXPECT_EQ(1, tags_with(self->fd, self->stream, KVSINK_TAG_CONTRACT));
}

TEST_F(contract, contract_refuses_each_bad_field)
{
	static const struct kvt_bad bad[] = {
		KVT_BAD(struct drm_kvsink_contract, stream, 1ull << 40, ENOENT),
		KVT_BAD(struct drm_kvsink_contract, places.count, 0, EINVAL),
		KVT_BAD(struct drm_kvsink_contract, places.array, 8, EFAULT),
		KVT_BAD(struct drm_kvsink_contract, priority, 256, EINVAL),
		KVT_BAD(struct drm_kvsink_contract, deadline_ns, 1, EINVAL),
		KVT_BAD(struct drm_kvsink_contract, deadline_ns, ~0ull, EINVAL),
	};
	struct drm_kvsink_promote promote;
	struct drm_kvsink_place place = kvt_rows(3);
	struct drm_kvsink_contract args = {
		.stream = self->stream, .places = kvt_places(&place, 1), .dwell_steps = 1};

	EXPECT_EQ(-ENOENT, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_CONTRACT, &args));
	EXPECT_EQ(KVSINK_CODE_NOT_RESIDENT, args.code);
	ASSERT_EQ(0, kvt_promote(self->fd, self->stream, 3, &promote));
	for (size_t i = 0; i < KVT_COUNT(bad); i++) {
		args = (struct drm_kvsink_contract){
			.stream = self->stream, .places = kvt_places(&place, 1), .dwell_steps = 1};
		kvt_set(&args, &bad[i]);
		EXPECT_EQ(-bad[i].err, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_CONTRACT, &args))
		TH_LOG("%s", bad[i].name);
	}
	EXPECT_EQ(0, tags_with(self->fd, self->stream, KVSINK_TAG_CONTRACT));
}

TEST_F(contract, a_killed_holder_gives_back_what_its_contracts_held)
{
	int ready[2], status;
	char byte;
	pid_t pid;

	ASSERT_EQ(0, pipe(ready));
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		int fd = kvt_open();
		uint64_t stream = kvt_stream(fd);
		struct drm_kvsink_promote terms = {.dwell_steps = 1000};

		if (!stream || kvt_fill(fd, stream, TOKENS) || hold(fd, stream, 0, TOKENS, &terms) ||
		    set_all(fd, stream, KVSINK_PARAM_TAIL_TOKENS, 4) || write(ready[1], "x", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	ASSERT_EQ(1, read(ready[0], &byte, 1));
	EXPECT_EQ(TOKENS + 1, kvt_total(self->fd, DRM_KVSINK_QUERY_TAGS)); /* entries and the tail */
	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	for (int i = 0; i < 200 && kvt_total(self->fd, DRM_KVSINK_QUERY_TAGS); i++)
		usleep(20000);
	EXPECT_EQ(0, kvt_total(self->fd, DRM_KVSINK_QUERY_TAGS));
	EXPECT_EQ(1, kvt_total(self->fd, DRM_KVSINK_QUERY_STREAMS));
}

/* As another user: its own cap is full, ours is not; and our contracts are none of its business. */
static int other_tenant(uint64_t stream)
{
	struct drm_kvsink_promote terms = {.dwell_steps = 4};
	struct drm_kvsink_contract contract = {.stream = stream};
	struct drm_kvsink_place place = kvt_rows(0);
	uint64_t own;
	int fd;

	if (setgid(NOBODY) || setuid(NOBODY))
		return 1;
	fd = kvt_open();
	own = kvt_stream(fd);
	if (!own || kvt_fill(fd, own, TOKENS))
		return 2;
	if (hold(fd, own, 0, 2, &terms))
		return 3;
	terms = (struct drm_kvsink_promote){.dwell_steps = 4};
	if (hold(fd, own, 2, 1, &terms) != -ENOSPC || terms.code != KVSINK_CODE_TENANT_CAP)
		return 4;
	contract.places = kvt_places(&place, 1);
	if (kvt_ioctl(fd, DRM_IOCTL_KVSINK_CONTRACT, &contract) != -ENOENT)
		return 5;
	if (set_all(fd, 0, KVSINK_PARAM_TENANT_CAP, 0xffffffff) != -EACCES)
		return 6;
	return set_all(fd, own, KVSINK_PARAM_TENANT_TAG, 0) == -EACCES ? 0 : 7;
}

TEST_F(contract, each_tenant_has_its_cap)
{
	struct drm_kvsink_promote terms = {.dwell_steps = 4};
	int status;
	pid_t pid;

	ASSERT_EQ(0, set_all(self->fd, 0, KVSINK_PARAM_TENANT_CAP, 2 * ENTRY));
	ASSERT_EQ(0, hold(self->fd, self->stream, 0, 2, &terms));
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid)
		_exit(other_tenant(self->stream));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status));
	EXPECT_EQ(2, tags_with(self->fd, self->stream, KVSINK_TAG_CONTRACT));
}

struct setting {
	uint32_t param;
	uint64_t good, bad;
};

TEST_F(contract, each_parameter_takes_good_values_and_refuses_bad_ones)
{
	static const struct setting settings[] = {
		{KVSINK_PARAM_T_SINK, 0x3f000000, 0x7fc00000},
		{KVSINK_PARAM_SCORE_MODE, 2, 3},
		{KVSINK_PARAM_LOCAL_WINDOW, 4, 1ull << 32},
		{KVSINK_PARAM_SRAM_BUDGET, 4096, 0xfffffffe},
		{KVSINK_PARAM_HEAD_MASK, 1, 1 << KVT_KV_HEADS},
		{KVSINK_PARAM_LAYER_RANGE, 2u << 16, 3u << 16},
		{KVSINK_PARAM_T_EVICT, 0x3a83126f, 0xbf800000},
		{KVSINK_PARAM_T_PROMOTE, 0x3dcccccd, 0x7f800000},
		{KVSINK_PARAM_ALPHA, 0x3f000000, 0x3f800000},
		{KVSINK_PARAM_N_PROMOTE, 3, 0},
		{KVSINK_PARAM_N_DWELL, 7, 1ull << 32},
		{KVSINK_PARAM_N_EVICT, 2, 65536},
		{KVSINK_PARAM_DELTA, 0x3a83126f, 0x80000000},
		{KVSINK_PARAM_PLACEMENT, 2, 3},
		{KVSINK_PARAM_TAIL_TOKENS, 3, 4097},
		{KVSINK_PARAM_TENANT_TAG, 5, 1ull << 32},
		{KVSINK_PARAM_PRIORITY, 200, 256},
		{KVSINK_PARAM_LAYER_WEIGHT, 0x4000000000020000, 0x4380000000020000},
		{KVSINK_PARAM_COPY_DUE_NS, 2800, 1ull << 32},
	};
	uint64_t fresh = kvt_stream(self->fd);

	for (size_t i = 0; i < KVT_COUNT(settings); i++) {
		struct drm_kvsink_config got = {
			.stream = fresh, .param = settings[i].param, .group = KVSINK_GROUP_ALL};

		EXPECT_EQ(-EINVAL, set_all(self->fd, fresh, settings[i].param, settings[i].bad))
		TH_LOG("parameter %u", settings[i].param);
		EXPECT_EQ(0, set_all(self->fd, fresh, settings[i].param, settings[i].good))
		TH_LOG("parameter %u", settings[i].param);
		EXPECT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_CONFIG_GET, &got));
		EXPECT_EQ(settings[i].good, got.value)
		TH_LOG("parameter %u", settings[i].param);
	}
	EXPECT_EQ(-EINVAL, set_all(self->fd, fresh, KVSINK_PARAM_TENANT_CAP, 4096)); /* the device's only */
}

TEST_F(contract, contradicting_thresholds_are_refused_and_named)
{
	uint32_t conflict;

	ASSERT_EQ(0, set(self->fd, self->stream, 0, KVSINK_PARAM_T_PROMOTE, 0x3d000000, &conflict));
	EXPECT_EQ(~0u, conflict);
	EXPECT_EQ(-EINVAL, set(self->fd, self->stream, 0, KVSINK_PARAM_T_EVICT, 0x3d000000, &conflict));
	EXPECT_EQ(KVSINK_PARAM_T_PROMOTE, conflict);
	EXPECT_EQ(-EINVAL,
		  set(self->fd, self->stream, KVSINK_GROUP_ALL, KVSINK_PARAM_T_PROMOTE, 0, &conflict));
	EXPECT_EQ(KVSINK_PARAM_T_EVICT, conflict);
	EXPECT_EQ(-EINVAL, set(self->fd, self->stream, 9, KVSINK_PARAM_T_EVICT, 0, &conflict));
	EXPECT_EQ(~0u, conflict);
}

TEST_F(contract, a_tail_is_listed_and_grows_with_the_stream)
{
	uint64_t stream = kvt_stream(self->fd);

	ASSERT_EQ(0, set_all(self->fd, stream, KVSINK_PARAM_TAIL_TOKENS, 4));
	EXPECT_EQ(1, tags_with(self->fd, stream, KVSINK_TAG_TAIL));
	ASSERT_EQ(0, kvt_fill(self->fd, stream, 3));
	EXPECT_EQ(1, tags_with(self->fd, stream, KVSINK_TAG_TAIL | KVSINK_TAG_VALID));
	ASSERT_EQ(0, set_all(self->fd, stream, KVSINK_PARAM_SRAM_BUDGET, 4 * ENTRY));
	EXPECT_EQ(-ENOSPC, set_all(self->fd, stream, KVSINK_PARAM_TAIL_TOKENS, 5));
	EXPECT_EQ(1, tags_with(self->fd, stream, KVSINK_TAG_TAIL));
	ASSERT_EQ(0, set_all(self->fd, stream, KVSINK_PARAM_TAIL_TOKENS, 0));
	EXPECT_EQ(0, tags_with(self->fd, stream, KVSINK_TAG_TAIL));
}

TEST_HARNESS_MAIN
