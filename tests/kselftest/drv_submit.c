// SPDX-License-Identifier: MIT
/*
 * SUBMIT: a round trip against a reference, syncobjs, and everything that must be refused.
 */
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "kvt.h"

#define TOKENS 20
#define SCALE 0.5
#define QUERY_FLOATS (KVT_Q_HEADS * KVT_DK)
#define OUT_FLOATS (KVT_Q_HEADS * KVT_DV)
#define OUT_OFFSET 4096
#define STATS_OFFSET 8192

FIXTURE(submit)
{
	int fd;
	uint64_t stream;
	struct kvt_bo data;
	struct kvt_bo result;
};

FIXTURE_SETUP(submit)
{
	self->fd = kvt_open();
	ASSERT_GE(self->fd, 0);
	self->stream = kvt_stream(self->fd);
	ASSERT_NE(0, self->stream);
	self->data = kvt_bo(self->fd, 16384);
	self->result = kvt_bo(self->fd, 4096);
	ASSERT_NE(NULL, self->data.map);
	ASSERT_NE(NULL, self->result.map);
}

FIXTURE_TEARDOWN(submit)
{
	close(self->fd);
}

static struct drm_kvsink_op attend_op(const struct drm_kvsink_attend_item *item, uint32_t handle)
{
	return (struct drm_kvsink_op){
		.type = DRM_KVSINK_OP_ATTEND,
		.attend =
			{
				.items = {sizeof(*item), 1, (uintptr_t)item},
				.q = {.handle = handle},
				.out = {.handle = handle, .offset = OUT_OFFSET},
				.stats = {.handle = handle, .offset = STATS_OFFSET},
			},
	};
}

/* Attention of one query head over tokens [0, tokens), in double; returns the log-sum-exp. */
static double reference(const float *q, uint32_t layer, uint32_t head, uint32_t tokens, double *out)
{
	uint32_t kv_head = head / (KVT_Q_HEADS / KVT_KV_HEADS);
	double logits[KVT_MAX], top = -INFINITY, sum = 0;

	for (uint32_t t = 0; t < tokens; t++) {
		logits[t] = 0;
		for (uint32_t e = 0; e < KVT_DK; e++)
			logits[t] += (double)q[head * KVT_DK + e] * kvt_value(t, layer, kv_head, e, false);
		logits[t] *= SCALE;
		top = fmax(top, logits[t]);
	}
	for (uint32_t t = 0; t < tokens; t++)
		sum += exp(logits[t] - top);
	for (uint32_t e = 0; e < KVT_DV; e++) {
		out[e] = 0;
		for (uint32_t t = 0; t < tokens; t++)
			out[e] += exp(logits[t] - top) / sum * kvt_value(t, layer, kv_head, e, true);
	}
	return top + log(sum);
}

static double worst_error(const struct kvt_bo *data, uint32_t layer, uint32_t tokens)
{
	const float *q = data->map, *o = (float *)((char *)data->map + OUT_OFFSET);
	const struct drm_kvsink_attend_stat *stats = (void *)((char *)data->map + STATS_OFFSET);
	double worst = 0, out[KVT_DV], lse;
	float got;

	for (uint32_t h = 0; h < KVT_Q_HEADS; h++) {
		lse = reference(q, layer, h, tokens, out);
		memcpy(&got, &stats[h].lse, sizeof(got));
		worst = fmax(worst, fabs(got - lse));
		for (uint32_t e = 0; e < KVT_DV; e++)
			worst = fmax(worst, fabs(o[h * KVT_DV + e] - out[e]));
	}
	return worst;
}

static void fill_query(struct kvt_bo *data)
{
	for (int i = 0; i < QUERY_FLOATS; i++)
		((float *)data->map)[i] =
			kvt_value(777, 0, (uint32_t)i / KVT_DK, (uint32_t)i % KVT_DK, false) * 2;
}

TEST_F(submit, append_and_attend_agree_with_the_reference)
{
	struct drm_kvsink_job_status status;

	ASSERT_EQ(0, kvt_fill(self->fd, self->stream, TOKENS));
	fill_query(&self->data);
	for (uint32_t layer = 0; layer < KVT_LAYERS; layer++) {
		struct drm_kvsink_attend_item item = {
			.stream = self->stream, .layer = layer, .first = TOKENS - 1, .count = 1};
		struct drm_kvsink_op op = attend_op(&item, self->data.handle);

		ASSERT_EQ(0, kvt_run(self->fd, &self->result, &op, 1, 0, &status));
		ASSERT_EQ(KVSINK_CODE_OK, status.code);
		EXPECT_EQ(1, status.op);
		EXPECT_GT(status.end_ns, status.begin_ns);
		EXPECT_LT(worst_error(&self->data, layer, TOKENS), 2e-5);
	}
}

TEST_F(submit, attend_over_both_tiers_agrees_with_the_reference)
{
	struct drm_kvsink_attend_item item = {
		.stream = self->stream, .layer = 1, .first = TOKENS - 1, .count = 1};
	struct drm_kvsink_op ops[2] = {
		{.type = DRM_KVSINK_OP_BARRIER, .barrier.stream = self->stream},
		attend_op(&item, self->data.handle),
	};
	const struct drm_kvsink_attend_stat *stats = (void *)((char *)self->data.map + STATS_OFFSET);
	struct drm_kvsink_promote promote;
	struct drm_kvsink_job_status status;
	float mass;

	ASSERT_EQ(0, kvt_fill(self->fd, self->stream, TOKENS));
	fill_query(&self->data);
	ASSERT_EQ(0, kvt_promote(self->fd, self->stream, 0, &promote));
	ASSERT_EQ(0, kvt_promote(self->fd, self->stream, 7, &promote));
	ASSERT_EQ(0, kvt_run(self->fd, &self->result, ops, 2, kvt_generation(self->fd), &status));
	ASSERT_EQ(KVSINK_CODE_OK, status.code);
	EXPECT_LT(worst_error(&self->data, 1, TOKENS), 2e-5);
	memcpy(&mass, &stats[0].mass_sram, sizeof(mass));
	EXPECT_GT(mass, 0.0f);
	EXPECT_LT(mass, 1.0f);
}

TEST_F(submit, copy_copies)
{
	struct drm_kvsink_op op = {
		.type = DRM_KVSINK_OP_COPY,
		.copy =
			{
				.src = {.handle = self->data.handle, .offset = 4},
				.dst = {.handle = self->data.handle, .offset = 8192},
				.bytes = 5001,
			},
	};
	struct drm_kvsink_job_status status;
	unsigned char *bytes = self->data.map;

	for (int i = 0; i < 5005; i++)
		bytes[i] = (unsigned char)(i * 7);
	ASSERT_EQ(0, kvt_run(self->fd, &self->result, &op, 1, 0, &status));
	ASSERT_EQ(KVSINK_CODE_OK, status.code);
	EXPECT_EQ(0, memcmp(bytes + 4, bytes + 8192, 5001));
	EXPECT_EQ(0, bytes[8192 + 5001]);
}

TEST_F(submit, a_failed_operation_names_itself_and_ends_its_job_only)
{
	struct drm_kvsink_op ops[3] = {
		{.type = DRM_KVSINK_OP_ADVANCE, .advance.ns = 10},
		kvt_append(self->stream, 0, 5, 1, self->data.handle, 0, 64), /* not the next token */
		{.type = DRM_KVSINK_OP_ADVANCE, .advance.ns = 10},
	};
	struct drm_kvsink_job_status status;

	ASSERT_EQ(0, kvt_run(self->fd, &self->result, ops, 3, 0, &status));
	EXPECT_EQ(KVSINK_CODE_SEQUENCE, status.code);
	EXPECT_EQ(1, status.op);
	EXPECT_EQ(0, status.address); /* the token expected */
	ASSERT_EQ(0, kvt_run(self->fd, &self->result, ops, 1, 0, &status));
	EXPECT_EQ(KVSINK_CODE_OK, status.code);
}

TEST_F(submit, rows_beyond_the_reservation_are_enospc_code)
{
	struct drm_kvsink_stream_create args = kvt_stream_args();
	struct drm_kvsink_job_status status;
	struct drm_kvsink_op op;

	args.reserve_tokens = KVT_PAGE;
	ASSERT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_KVSINK_STREAM_CREATE, &args));
	op = kvt_append(args.stream, 0, 0, KVT_PAGE + 1, self->data.handle, 0, 4096);
	ASSERT_EQ(0, kvt_run(self->fd, &self->result, &op, 1, 0, &status));
	EXPECT_EQ(KVSINK_CODE_NOT_RESERVED, status.code);
}

TEST_F(submit, a_status_may_cross_a_page)
{
	struct kvt_bo result = kvt_bo(self->fd, 8192);
	uint32_t done = kvt_syncobj(self->fd);
	struct drm_kvsink_op ops[3] = {{.type = DRM_KVSINK_OP_ADVANCE, .advance.ns = 7},
				       {.type = DRM_KVSINK_OP_ADVANCE, .advance.ns = 7},
				       {.type = DRM_KVSINK_OP_ADVANCE, .advance.ns = 7}};
	struct drm_kvsink_sync sync = {DRM_KVSINK_SYNC_SIGNAL | DRM_KVSINK_SYNC_TIMELINE, done, 1};
	struct drm_kvsink_job job = {
		.ops = {sizeof(ops[0]), 3, (uintptr_t)ops},
		.syncs = {sizeof(sync), 1, (uintptr_t)&sync},
		.status = {.handle = result.handle, .offset = 4092},
	};
	struct drm_kvsink_submit submit = {.jobs = {sizeof(job), 1, (uintptr_t)&job}};
	struct drm_kvsink_job_status status;

	ASSERT_NE(NULL, result.map);
	memset(result.map, 0xee, 8192);
	ASSERT_EQ(0, kvt_submit_raw(self->fd, &submit));
	ASSERT_EQ(0, kvt_wait_point(self->fd, done, 1, 60));
	memcpy(&status, (char *)result.map + 4092, sizeof(status));
	EXPECT_EQ(KVSINK_CODE_OK, status.code);
	EXPECT_EQ(3, status.op);
	EXPECT_GE(status.end_ns, status.begin_ns + 21);
	EXPECT_EQ(0xee, ((unsigned char *)result.map)[4091]);
	EXPECT_EQ(0xee, ((unsigned char *)result.map)[4092 + sizeof(status)]);
}

static void on_alarm(int signal)
{
	(void)signal;
}

/* A PROMOTE that ran twice would answer EEXIST, a STEP_END that ran twice SEQUENCE. */
TEST_F(submit, signals_do_not_make_an_operation_run_twice)
{
	struct sigaction action = {.sa_handler = on_alarm};
	struct itimerval often = {{0, 700}, {0, 700}}, never = {{0, 0}, {0, 0}};
	struct drm_kvsink_promote promote;
	int err = 0;

	ASSERT_EQ(0, sigaction(SIGALRM, &action, NULL));
	ASSERT_EQ(0, setitimer(ITIMER_REAL, &often, NULL));
	for (int round = 0; round < 10 && !err; round++) {
		uint64_t stream = kvt_stream(self->fd);

		err = stream ? kvt_fill(self->fd, stream, 8) : -ENOENT;
		for (uint32_t token = 0; token < 8 && !err; token++)
			err = kvt_promote(self->fd, stream, token, &promote);
		err = err ? err : kvt_destroy(self->fd, stream);
	}
	setitimer(ITIMER_REAL, &never, NULL);
	EXPECT_EQ(0, err);
}

/* ---- What is refused ------------------------------------------------------------------------- */

/* Each operation, valid but for one field. Words are those of struct drm_kvsink_op. */
static int submit_op(int fd, const struct drm_kvsink_op *op, struct drm_kvsink_submit *submit)
{
	struct drm_kvsink_job job = {.ops = {sizeof(*op), 1, (uintptr_t)op}};

	*submit = (struct drm_kvsink_submit){.jobs = {sizeof(job), 1, (uintptr_t)&job}};
	return kvt_submit_raw(fd, submit);
}

static const struct kvt_bad bad_append[] = {
	KVT_BAD(struct drm_kvsink_op, type, 0, EINVAL),
	KVT_BAD(struct drm_kvsink_op, type, 99, EINVAL),
	KVT_BAD(struct drm_kvsink_op, flags, 1, EINVAL),
	KVT_BAD(struct drm_kvsink_op, words[10], 1, EINVAL),
	KVT_BAD(struct drm_kvsink_op, append.stream, 0, ENOENT),
	KVT_BAD(struct drm_kvsink_op, append.stream, 1ull << 40, ENOENT),
	KVT_BAD(struct drm_kvsink_op, append.layer, KVT_LAYERS, EINVAL),
	KVT_BAD(struct drm_kvsink_op, append.first, KVT_MAX, EINVAL),
	KVT_BAD(struct drm_kvsink_op, append.count, 0, EINVAL),
	KVT_BAD(struct drm_kvsink_op, append.count, KVT_MAX + 1, EINVAL),
	KVT_BAD(struct drm_kvsink_op, append.count, ~0u, EINVAL),
	KVT_BAD(struct drm_kvsink_op, append.pad, 1, EINVAL),
	KVT_BAD(struct drm_kvsink_op, append.k.handle, 0, ENOENT),
	KVT_BAD(struct drm_kvsink_op, append.k.handle, 999, ENOENT),
	KVT_BAD(struct drm_kvsink_op, append.k.pad, 1, EINVAL),
	KVT_BAD(struct drm_kvsink_op, append.k.offset, 2, EINVAL),
	KVT_BAD(struct drm_kvsink_op, append.k.offset, 16384 - 60, EFAULT),
	KVT_BAD(struct drm_kvsink_op, append.k.offset, ~3ull, EFAULT),
	KVT_BAD(struct drm_kvsink_op, append.v.handle, 999, ENOENT),
	KVT_BAD(struct drm_kvsink_op, append.v.pad, 1, EINVAL),
	KVT_BAD(struct drm_kvsink_op, append.v.offset, 1 << 20, EFAULT),
};

TEST_F(submit, append_refuses_each_bad_field)
{
	struct drm_kvsink_submit submit;

	for (size_t i = 0; i < KVT_COUNT(bad_append); i++) {
		struct drm_kvsink_op op = kvt_append(self->stream, 0, 0, 1, self->data.handle, 0, 4096);

		kvt_set(&op, &bad_append[i]);
		EXPECT_EQ(-bad_append[i].err, submit_op(self->fd, &op, &submit))
		TH_LOG("%s", bad_append[i].name);
	}
}

TEST_F(submit, score_refuses_each_bad_field)
{
	static const struct kvt_bad bad[] = {
		KVT_BAD(struct drm_kvsink_op, score.stream, 1ull << 40, ENOENT),
		KVT_BAD(struct drm_kvsink_op, score.layer, KVT_LAYERS, EINVAL),
		KVT_BAD(struct drm_kvsink_op, score.first, KVT_MAX, EINVAL),
		KVT_BAD(struct drm_kvsink_op, score.count, 0, EINVAL),
		KVT_BAD(struct drm_kvsink_op, score.pad, 1, EINVAL),
		KVT_BAD(struct drm_kvsink_op, score.q.offset, 2, EINVAL),
		KVT_BAD(struct drm_kvsink_op, score.out.handle, 0, ENOENT),
		KVT_BAD(struct drm_kvsink_op, score.out.offset, 16384, EFAULT),
		KVT_BAD(struct drm_kvsink_op, words[10], 1, EINVAL),
	};
	struct drm_kvsink_submit submit;

	for (size_t i = 0; i < KVT_COUNT(bad); i++) {
		struct drm_kvsink_op op = {
			.type = DRM_KVSINK_OP_SCORE,
			.score =
				{
					.stream = self->stream,
					.count = 1,
					.q.handle = self->data.handle,
					.out.handle = self->data.handle,
				},
		};

		kvt_set(&op, &bad[i]);
		EXPECT_EQ(-bad[i].err, submit_op(self->fd, &op, &submit)) TH_LOG("%s", bad[i].name);
	}
}

TEST_F(submit, attend_refuses_each_bad_field)
{
	static const struct kvt_bad bad[] = {
		KVT_BAD(struct drm_kvsink_op, attend.items.count, 0, EINVAL),
		KVT_BAD(struct drm_kvsink_op, attend.items.count, DRM_KVSINK_MAX_ITEMS + 1, E2BIG),
		KVT_BAD(struct drm_kvsink_op, attend.items.stride, 4, EINVAL),
		KVT_BAD(struct drm_kvsink_op, attend.items.array, 8, EFAULT),
		KVT_BAD(struct drm_kvsink_op, attend.mode, 3, EINVAL),
		KVT_BAD(struct drm_kvsink_op, attend.pad, 1, EINVAL),
		KVT_BAD(struct drm_kvsink_op, attend.q.handle, 0, ENOENT),
		KVT_BAD(struct drm_kvsink_op, attend.out.offset, 16384, EFAULT),
		KVT_BAD(struct drm_kvsink_op, attend.stats.offset, 16384, EFAULT),
		KVT_BAD(struct drm_kvsink_op, attend.stats.handle, 0, EINVAL), /* no buffer, but an offset */
	};
	static const struct kvt_bad bad_item[] = {
		KVT_BAD(struct drm_kvsink_attend_item, stream, 1ull << 40, ENOENT),
		KVT_BAD(struct drm_kvsink_attend_item, layer, KVT_LAYERS, EINVAL),
		KVT_BAD(struct drm_kvsink_attend_item, first, KVT_MAX, EINVAL),
		KVT_BAD(struct drm_kvsink_attend_item, count, 0, EINVAL),
		KVT_BAD(struct drm_kvsink_attend_item, count, KVT_MAX + 1, EINVAL),
		KVT_BAD(struct drm_kvsink_attend_item, pad, 1, EINVAL),
	};
	struct drm_kvsink_submit submit;

	for (size_t i = 0; i < KVT_COUNT(bad) + KVT_COUNT(bad_item); i++) {
		const struct kvt_bad *b = i < KVT_COUNT(bad) ? &bad[i] : &bad_item[i - KVT_COUNT(bad)];
		struct drm_kvsink_attend_item item = {.stream = self->stream, .count = 1};
		struct drm_kvsink_op op = attend_op(&item, self->data.handle);

		kvt_set(i < KVT_COUNT(bad) ? (void *)&op : (void *)&item, b);
		EXPECT_EQ(-b->err, submit_op(self->fd, &op, &submit)) TH_LOG("%s", b->name);
	}
}

TEST_F(submit, small_operations_refuse_each_bad_field)
{
	struct drm_kvsink_op base[] = {
		{
			.type = DRM_KVSINK_OP_COPY,
			.copy =
				{
					.src.handle = self->data.handle,
					.dst = {.handle = self->data.handle, .offset = 8192},
					.bytes = 64,
				},
		},
		{
			.type = DRM_KVSINK_OP_CLASSIFY,
			.classify = {self->stream, 1, 4, {.handle = self->data.handle}},
		},
		{.type = DRM_KVSINK_OP_BARRIER, .barrier.stream = self->stream},
		kvt_step_end(self->stream, 1),
		{.type = DRM_KVSINK_OP_ADVANCE, .advance.ns = 1},
	};
	static const struct {
		int base;
		struct kvt_bad bad;
	} table[] = {
		{0, KVT_BAD(struct drm_kvsink_op, copy.bytes, 0, EINVAL)},
		{0, KVT_BAD(struct drm_kvsink_op, copy.bytes, 16384, EFAULT)},
		{0, KVT_BAD(struct drm_kvsink_op, copy.bytes, ~0ull, EFAULT)},
		{0, KVT_BAD(struct drm_kvsink_op, copy.dst.offset, 32, EINVAL)}, /* overlaps */
		{0, KVT_BAD(struct drm_kvsink_op, copy.src.pad, 1, EINVAL)},
		{1, KVT_BAD(struct drm_kvsink_op, classify.stream, 1ull << 40, ENOENT)},
		{1, KVT_BAD(struct drm_kvsink_op, classify.group_mask, 0, EINVAL)},
		{1, KVT_BAD(struct drm_kvsink_op, classify.group_mask, 2, EINVAL)},
		{1, KVT_BAD(struct drm_kvsink_op, classify.max, 2048, EFAULT)},
		{1, KVT_BAD(struct drm_kvsink_op, classify.dst.pad, 1, EINVAL)},
		{2, KVT_BAD(struct drm_kvsink_op, barrier.stream, 1ull << 40, ENOENT)},
		{2, KVT_BAD(struct drm_kvsink_op, words[1], 1, EINVAL)},
		{3, KVT_BAD(struct drm_kvsink_op, step_end.stream, 1ull << 40, ENOENT)},
		{3, KVT_BAD(struct drm_kvsink_op, step_end.count, 0, EINVAL)},
		{3, KVT_BAD(struct drm_kvsink_op, step_end.abort, 1, EINVAL)}, /* with a count */
		{3, KVT_BAD(struct drm_kvsink_op, step_end.abort, 2, EINVAL)},
		{4, KVT_BAD(struct drm_kvsink_op, advance.ns, 1000000001, EINVAL)},
	};
	struct drm_kvsink_submit submit;

	for (size_t i = 0; i < KVT_COUNT(table); i++) {
		struct drm_kvsink_op op = base[table[i].base];

		kvt_set(&op, &table[i].bad);
		EXPECT_EQ(-table[i].bad.err, submit_op(self->fd, &op, &submit))
		TH_LOG("%s", table[i].bad.name);
	}
}

TEST_F(submit, the_refused_place_is_named)
{
	struct drm_kvsink_op ops[2] = {{.type = DRM_KVSINK_OP_ADVANCE}, {.type = DRM_KVSINK_OP_ADVANCE}};
	struct drm_kvsink_job jobs[2] = {
		{.ops = {sizeof(ops[0]), 1, (uintptr_t)ops}},
		{.ops = {sizeof(ops[0]), 2, (uintptr_t)ops}},
	};
	struct drm_kvsink_submit submit = {.jobs = {sizeof(jobs[0]), 2, (uintptr_t)jobs}};

	ops[1].advance.ns = ~0ull;
	ASSERT_EQ(-EINVAL, kvt_submit_raw(self->fd, &submit));
	EXPECT_EQ(1, submit.error_job);
	EXPECT_EQ(1, submit.error_op);
	EXPECT_EQ(offsetof(struct drm_kvsink_op, advance.ns), submit.error_field);
}

TEST_F(submit, submit_refuses_each_bad_field)
{
	static const struct kvt_bad bad[] = {
		KVT_BAD(struct drm_kvsink_submit, flags, 1, EINVAL),
		KVT_BAD(struct drm_kvsink_submit, pad, 1, EINVAL),
		KVT_BAD(struct drm_kvsink_submit, pad2, 1, EINVAL),
		KVT_BAD(struct drm_kvsink_submit, generation, ~0ull, ESTALE),
		KVT_BAD(struct drm_kvsink_submit, jobs.count, 0, EINVAL),
		KVT_BAD(struct drm_kvsink_submit, jobs.count, DRM_KVSINK_MAX_JOBS + 1, E2BIG),
		KVT_BAD(struct drm_kvsink_submit, jobs.stride, 8, EINVAL),
		KVT_BAD(struct drm_kvsink_submit, jobs.stride, 1 << 16, E2BIG),
		KVT_BAD(struct drm_kvsink_submit, jobs.array, 8, EFAULT),
	};
	static const struct kvt_bad bad_job[] = {
		KVT_BAD(struct drm_kvsink_job, ops.count, 0, EINVAL),
		KVT_BAD(struct drm_kvsink_job, ops.count, DRM_KVSINK_MAX_OPS + 1, E2BIG),
		KVT_BAD(struct drm_kvsink_job, ops.stride, 8, EINVAL),
		KVT_BAD(struct drm_kvsink_job, ops.array, 8, EFAULT),
		KVT_BAD(struct drm_kvsink_job, syncs.count, DRM_KVSINK_MAX_SYNCS + 1, E2BIG),
		KVT_BAD(struct drm_kvsink_job, syncs.count, 1, EINVAL), /* no stride */
		KVT_BAD(struct drm_kvsink_job, status.pad, 1, EINVAL),
		KVT_BAD(struct drm_kvsink_job, status.offset, 4, EINVAL), /* without a handle */
		KVT_BAD(struct drm_kvsink_job, status.handle, 999, ENOENT),
	};
	struct drm_kvsink_op op = {.type = DRM_KVSINK_OP_ADVANCE};

	for (size_t i = 0; i < KVT_COUNT(bad) + KVT_COUNT(bad_job); i++) {
		const struct kvt_bad *b = i < KVT_COUNT(bad) ? &bad[i] : &bad_job[i - KVT_COUNT(bad)];
		struct drm_kvsink_job job = {.ops = {sizeof(op), 1, (uintptr_t)&op}};
		struct drm_kvsink_submit submit = {.jobs = {sizeof(job), 1, (uintptr_t)&job}};

		kvt_set(i < KVT_COUNT(bad) ? (void *)&submit : (void *)&job, b);
		EXPECT_EQ(-b->err, kvt_submit_raw(self->fd, &submit)) TH_LOG("%s", b->name);
	}
}

TEST_F(submit, a_status_that_does_not_fit_is_refused)
{
	struct drm_kvsink_op op = {.type = DRM_KVSINK_OP_ADVANCE};
	struct drm_kvsink_job job = {
		.ops = {sizeof(op), 1, (uintptr_t)&op},
		.status = {.handle = self->result.handle, .offset = 4096 - 28},
	};
	struct drm_kvsink_submit submit = {.jobs = {sizeof(job), 1, (uintptr_t)&job}};

	EXPECT_EQ(-EFAULT, kvt_submit_raw(self->fd, &submit));
	job.status.offset = 2;
	EXPECT_EQ(-EINVAL, kvt_submit_raw(self->fd, &submit));
}

TEST_F(submit, caps_are_reached_and_longer_elements_must_end_in_zeroes)
{
	static struct {
		struct drm_kvsink_op op;
		uint64_t tail;
	} ops[DRM_KVSINK_MAX_OPS];
	static struct drm_kvsink_job jobs[DRM_KVSINK_MAX_JOBS];
	struct drm_kvsink_submit submit = {.jobs = {sizeof(jobs[0]), DRM_KVSINK_MAX_JOBS, (uintptr_t)jobs}};

	for (int i = 0; i < DRM_KVSINK_MAX_OPS; i++)
		ops[i].op.type = DRM_KVSINK_OP_ADVANCE;
	for (int i = 0; i < DRM_KVSINK_MAX_JOBS; i++)
		jobs[i].ops = (struct drm_kvsink_array){sizeof(ops[0]), DRM_KVSINK_MAX_OPS, (uintptr_t)ops};
	EXPECT_EQ(0, kvt_submit_raw(self->fd, &submit));
	ops[DRM_KVSINK_MAX_OPS - 1].tail = 1;
	EXPECT_EQ(-E2BIG, kvt_submit_raw(self->fd, &submit));
}

TEST_F(submit, items_of_one_job_are_capped_together)
{
	static struct drm_kvsink_attend_item items[DRM_KVSINK_MAX_ITEMS];
	struct kvt_bo large = kvt_bo(self->fd, 1 << 20);
	struct drm_kvsink_op ops[2];
	struct drm_kvsink_job job = {.ops = {sizeof(ops[0]), 2, (uintptr_t)ops}};
	struct drm_kvsink_submit submit = {.jobs = {sizeof(job), 1, (uintptr_t)&job}};

	for (int i = 0; i < DRM_KVSINK_MAX_ITEMS; i++)
		items[i] = (struct drm_kvsink_attend_item){.stream = self->stream, .count = 1};
	for (int i = 0; i < 2; i++) {
		ops[i] = attend_op(items, large.handle);
		ops[i].attend.items.count = DRM_KVSINK_MAX_ITEMS / 2;
		ops[i].attend.out.offset = 256 << 10;
		ops[i].attend.stats.offset = 512 << 10;
	}
	EXPECT_EQ(0, kvt_submit_raw(self->fd, &submit));
	ops[1].attend.items.count++;
	EXPECT_EQ(-E2BIG, kvt_submit_raw(self->fd, &submit));
}

/* ---- Syncobjs -------------------------------------------------------------------------------- */

static int submit_sync(int fd, const struct drm_kvsink_sync *syncs, uint32_t count)
{
	struct drm_kvsink_op op = {.type = DRM_KVSINK_OP_ADVANCE, .advance.ns = 1};
	struct drm_kvsink_job job = {
		.ops = {sizeof(op), 1, (uintptr_t)&op},
		.syncs = {sizeof(*syncs), count, (uintptr_t)syncs},
	};
	struct drm_kvsink_submit submit = {.jobs = {sizeof(job), 1, (uintptr_t)&job}};

	return kvt_submit_raw(fd, &submit);
}

TEST_F(submit, timeline_points_signal_in_order)
{
	uint32_t timeline = kvt_syncobj(self->fd);
	uint64_t point;

	for (uint64_t i = 1; i <= 100; i++) {
		struct drm_kvsink_sync syncs[2] = {
			{DRM_KVSINK_SYNC_SIGNAL | DRM_KVSINK_SYNC_TIMELINE, timeline, i},
			{DRM_KVSINK_SYNC_TIMELINE, timeline, i - 1},
		};

		ASSERT_EQ(0, submit_sync(self->fd, syncs, i > 1 ? 2 : 1));
	}
	ASSERT_EQ(0, kvt_wait_point(self->fd, timeline, 100, 60));
	{
		struct drm_syncobj_timeline_array query = {
			.handles = (uintptr_t)&timeline, .points = (uintptr_t)&point, .count_handles = 1};

		ASSERT_EQ(0, kvt_ioctl(self->fd, DRM_IOCTL_SYNCOBJ_QUERY, &query));
		EXPECT_EQ(100, point);
	}
}

TEST_F(submit, binary_syncobjs_work)
{
	uint32_t binary = kvt_syncobj(self->fd);
	struct drm_kvsink_sync signal = {DRM_KVSINK_SYNC_SIGNAL, binary, 0};
	struct drm_kvsink_sync wait = {0, binary, 0};

	EXPECT_EQ(-EINVAL, submit_sync(self->fd, &wait, 1)); /* no fence yet */
	ASSERT_EQ(0, submit_sync(self->fd, &signal, 1));
	EXPECT_EQ(0, submit_sync(self->fd, &wait, 1));
}

TEST_F(submit, a_job_may_wait_for_an_earlier_one_of_the_same_call)
{
	uint32_t timeline = kvt_syncobj(self->fd);
	struct drm_kvsink_op op = {.type = DRM_KVSINK_OP_ADVANCE, .advance.ns = 1};
	struct drm_kvsink_sync signal = {DRM_KVSINK_SYNC_SIGNAL | DRM_KVSINK_SYNC_TIMELINE, timeline, 5};
	struct drm_kvsink_sync syncs[2] = {
		{DRM_KVSINK_SYNC_TIMELINE, timeline, 5},
		{DRM_KVSINK_SYNC_SIGNAL | DRM_KVSINK_SYNC_TIMELINE, timeline, 6},
	};
	struct drm_kvsink_job jobs[2] = {
		{.ops = {sizeof(op), 1, (uintptr_t)&op}, .syncs = {sizeof(signal), 1, (uintptr_t)&signal}},
		{.ops = {sizeof(op), 1, (uintptr_t)&op}, .syncs = {sizeof(syncs[0]), 2, (uintptr_t)syncs}},
	};
	struct drm_kvsink_submit submit = {.jobs = {sizeof(jobs[0]), 2, (uintptr_t)jobs}};

	ASSERT_EQ(0, kvt_submit_raw(self->fd, &submit));
	EXPECT_EQ(0, kvt_wait_point(self->fd, timeline, 6, 60));
	syncs[0].value = 7; /* signalled by nobody */
	syncs[1].value = 9;
	signal.value = 8;
	submit.jobs.array = (uintptr_t)&jobs[1];
	submit.jobs.count = 1;
	EXPECT_EQ(-EINVAL, kvt_submit_raw(self->fd, &submit));
}

TEST_F(submit, syncs_refuse_each_bad_field)
{
	uint32_t handle = kvt_syncobj(self->fd);
	const struct {
		struct drm_kvsink_sync sync;
		int err;
	} bad[] = {
		{{4, handle, 0}, EINVAL},
		{{DRM_KVSINK_SYNC_SIGNAL, handle, 1}, EINVAL}, /* binary with a value */
		{{0, handle, 1}, EINVAL},
		{{DRM_KVSINK_SYNC_SIGNAL | DRM_KVSINK_SYNC_TIMELINE, handle, 0}, EINVAL},
		{{DRM_KVSINK_SYNC_TIMELINE, handle, 3}, EINVAL}, /* no such point */
		{{DRM_KVSINK_SYNC_SIGNAL, 999, 0}, ENOENT},
		{{0, 999, 0}, ENOENT},
	};

	for (size_t i = 0; i < KVT_COUNT(bad); i++) {
		EXPECT_EQ(-bad[i].err, submit_sync(self->fd, &bad[i].sync, 1)) TH_LOG("sync %zu", i);
	}
}

TEST_F(submit, a_refused_batch_queues_nothing)
{
	uint32_t timeline = kvt_syncobj(self->fd);
	struct drm_kvsink_op good = {.type = DRM_KVSINK_OP_ADVANCE}, bad = {.type = 99};
	struct drm_kvsink_sync signal = {DRM_KVSINK_SYNC_SIGNAL | DRM_KVSINK_SYNC_TIMELINE, timeline, 1};
	struct drm_kvsink_job jobs[2] = {
		{.ops = {sizeof(good), 1, (uintptr_t)&good},
		 .syncs = {sizeof(signal), 1, (uintptr_t)&signal}},
		{.ops = {sizeof(bad), 1, (uintptr_t)&bad}},
	};
	struct drm_kvsink_submit submit = {.jobs = {sizeof(jobs[0]), 2, (uintptr_t)jobs}};

	ASSERT_EQ(-EINVAL, kvt_submit_raw(self->fd, &submit));
	EXPECT_EQ(-ETIME, kvt_wait_point(self->fd, timeline, 1, 0));
}

TEST_F(submit, another_files_stream_is_eacces)
{
	struct drm_kvsink_op op = {.type = DRM_KVSINK_OP_BARRIER, .barrier.stream = self->stream};
	struct drm_kvsink_submit submit;
	int other = kvt_open();

	ASSERT_GE(other, 0);
	EXPECT_EQ(-EACCES, submit_op(other, &op, &submit));
	close(other);
}

TEST_F(submit, another_files_buffer_is_enoent)
{
	struct drm_kvsink_op op = {
		.type = DRM_KVSINK_OP_COPY,
		.copy =
			{
				.src.handle = self->data.handle,
				.dst = {.handle = self->data.handle, .offset = 8192},
				.bytes = 4,
			},
	};
	struct drm_kvsink_submit submit;
	int other = kvt_open();

	ASSERT_GE(other, 0);
	EXPECT_EQ(-ENOENT, submit_op(other, &op, &submit));
	close(other);
}

TEST_HARNESS_MAIN
