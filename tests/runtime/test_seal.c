// SPDX-License-Identifier: MIT
/*
 * SEAL on sim:: what a program sees of it - the record, the rows of ENTRY_READ, attention that hardly
 * changes, fewer bytes, and one line for each refusal.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "place.h"
#include "rig.h"
#include "tap.h"

static struct rig rig;
static struct rig_stream stream;
static struct kvs_geometry geometry;

static void open_stream(void)
{
	rig_open(&rig, "sim:");
	geometry = rig_geometry(KVSINK_FORMAT_FP16);
	geometry.d_k = 32;
	geometry.d_v = 64;
	geometry.seal_k = KVSINK_FORMAT_INT8_CHANNEL;
	geometry.seal_v = KVSINK_FORMAT_INT8;
	rig_stream_open(&rig, &geometry, &stream);
	rig_append(&stream, 70);
}

static bool said(const char *text)
{
	return strstr(kvs_device_error(rig.device), text);
}

static int seal(uint32_t tokens, const struct drm_kvsink_place *places, uint32_t count)
{
	rig_must(&rig, "seal", kvs_batch_seal(rig.batch, stream.kvs, tokens, places, count));
	return rig_run(&rig, NULL);
}

static uint64_t counter(enum kvsink_counter which)
{
	uint64_t counters[KVSINK_COUNTER_COUNT];

	rig_must(&rig, "counters", kvs_counters(rig.device, kvs_stream_id(stream.kvs), counters));
	return counters[which];
}

static void refusals(void)
{
	struct kvs_geometry bad = geometry;
	struct kvs_stream *none;
	static const struct drm_kvsink_place crowd[] = {{0, 0, 2, 3}, {1, 0, 2, 3}, {2, 0, 2, 3},
							{3, 0, 2, 3}, {4, 0, 2, 3}, {5, 0, 2, 3},
							{6, 0, 2, 3}};

	bad.seal_v = KVSINK_FORMAT_INT8_CHANNEL;
	tap_ok(kvs_stream_create(rig.device, &bad, &none) == -EINVAL && said("seal_v = 4"),
	       "V per channel: %s", kvs_device_error(rig.device));
	bad = geometry;
	bad.d_k = 31;
	bad.seal_k = KVSINK_FORMAT_INT8;
	tap_ok(kvs_stream_create(rig.device, &bad, &none) == -EINVAL && said("seal_k = 2"),
	       "a width that does not divide: %s", kvs_device_error(rig.device));
	bad = geometry;
	bad.flags = DRM_KVSINK_STREAM_V_IN_K;
	bad.d_v = bad.d_k;
	bad.seal_v = 0;
	tap_ok(kvs_stream_create(rig.device, &bad, &none) == -EINVAL && said("V_IN_K") &&
		       said("only 0 is allowed"),
	       "K that holds V: %s", kvs_device_error(rig.device));
	tap_ok(seal(40, NULL, 0) == -EINVAL && said("seal.tokens = 40"), "part of a page: %s",
	       kvs_device_error(rig.device));
	tap_ok(seal(80, NULL, 0) == -EILSEQ && said("(SEAL): SEQUENCE"), "an open group: %s",
	       kvs_device_error(rig.device));
	tap_ok(seal(64, crowd, 7) == -E2BIG && said("(SEAL): CROWDED"), "too many protected rows: %s",
	       kvs_device_error(rig.device));
	tap_ok(seal(64, (struct drm_kvsink_place[]){{64, 0, 2, 3}}, 1) == -EINVAL,
	       "a protected row that is not sealed: %s", kvs_device_error(rig.device));
	tap_ok(!counter(KVSINK_COUNTER_SEALED_TOKENS), "nothing is sealed so far");
}

static float half(const uint8_t *at)
{
	uint16_t bits;

	memcpy(&bits, at, 2);
	return ldexpf((float)(bits & 1023) + (bits >> 10 ? 1024 : 0),
		      (bits >> 10 ? bits >> 10 & 31 : 1) - 25) *
	       (bits & 0x8000 ? -1 : 1);
}

/* V of a sealed row, against what was appended. K's scales are the page's, so its codes alone say little. */
static void entry(void)
{
	struct kvs_grant grant;
	double worst = 0, step = 0;
	uint8_t row[32 + 64 + 4], full[192];
	const float *sent = stream.v[1] + ((size_t)9 * geometry.kv_heads + 1) * geometry.d_v;

	rig_must(&rig, "promote", promote_one(rig.device, kvs_stream_id(stream.kvs), 9, 0, 2, 3, &grant));
	rig_must(&rig, "barrier", kvs_batch_barrier(rig.batch, stream.kvs));
	rig_must(&rig, "barrier", rig_run(&rig, NULL));
	tap_ok(!kvs_entry_read(stream.kvs, 9, 1, 1, grant.generation, row, sizeof(row)),
	       "ENTRY_READ gives K codes, V codes and V scales");
	for (uint32_t e = 0; e < 64; e++) {
		double scale = half(row + 96 + e / 32 * 2);

		step = fmax(step, scale);
		worst = fmax(worst, fabs(scale * (int8_t)row[32 + e] - sent[e]) / scale);
	}
	tap_ok(step > 0 && worst <= 0.501, "they are the row that was appended, but for half a step (%.3f)",
	       worst);
	tap_ok(kvs_entry_read(stream.kvs, 9, 1, 1, grant.generation, full, sizeof(full)) == -EINVAL,
	       "it does not give more than the row");
	rig_must(&rig, "promote", promote_one(rig.device, kvs_stream_id(stream.kvs), 4, 0, 2, 3, &grant));
	rig_must(&rig, "barrier", kvs_batch_barrier(rig.batch, stream.kvs));
	rig_must(&rig, "barrier", rig_run(&rig, NULL));
	sent = stream.k[1] + ((size_t)4 * geometry.kv_heads + 1) * geometry.d_k;
	worst = kvs_entry_read(stream.kvs, 4, 1, 1, grant.generation, full, sizeof(full));
	for (uint32_t e = 0; e < 32; e++)
		worst = fmax(worst, fabs(half(full + 2 * e) - sent[e]));
	tap_ok(worst == 0, "a protected row is promoted as it was appended");
}

static double attend(float *out)
{
	struct drm_kvsink_attend_item item = {
		.stream = kvs_stream_id(stream.kvs), .layer = 1, .first = 69, .count = 1};
	uint64_t before = counter(KVSINK_COUNTER_KV_HBM_READ);

	rig.random = 99;
	rig_fill(&rig, 0, geometry.q_heads * geometry.d_k, 3);
	rig_must(&rig, "attend",
		 kvs_batch_attend(rig.batch, &item, 1, DRM_KVSINK_ATTEND_CANONICAL, rig_at(&rig, 0),
				  rig_at(&rig, RIG_OUT), (struct kvs_place){0}, (struct kvs_place){0}));
	rig_must(&rig, "attend", rig_run(&rig, NULL));
	memcpy(out, rig.memory + RIG_OUT, geometry.q_heads * geometry.d_v * sizeof(float));
	return (double)(counter(KVSINK_COUNTER_KV_HBM_READ) - before);
}

static void sealed(void)
{
	static float before[8 * 64], after[8 * 64];
	struct kvsink_stream_rec *rec;
	size_t record_bytes;
	void *records;
	double bytes, less, far = 0;

	bytes = attend(before);
	tap_ok(!seal(64, (struct drm_kvsink_place[]){{4, 0, 2, 3}}, 1),
	       "SEAL of four pages with a protected token");
	less = attend(after);
	for (uint32_t i = 0; i < geometry.q_heads * geometry.d_v; i++)
		far = fmax(far, fabs(before[i] - after[i]));
	tap_ok(far > 0 && far < 0.05, "the output hardly changes (%.4f)", far);
	tap_ok(less < 0.65 * bytes, "a query reads %.0f bytes instead of %.0f", less, bytes);
	tap_ok(kvs_query(rig.device, DRM_KVSINK_QUERY_STREAMS, kvs_stream_id(stream.kvs), 0, &records,
			 &record_bytes) == 1,
	       "QUERY finds the stream");
	rec = records;
	tap_ok(rec->sealed == 64 && rec->seal_k == KVSINK_FORMAT_INT8_CHANNEL &&
		       rec->seal_v == KVSINK_FORMAT_INT8,
	       "QUERY tells tokens and formats");
	free(records);
	tap_ok(seal(64, NULL, 0) == -EILSEQ, "once is enough: %s", kvs_device_error(rig.device));
}

int main(void)
{
	open_stream();
	refusals();
	sealed();
	entry();
	rig_stream_close(&stream);
	rig_close(&rig);
	return tap_done();
}
