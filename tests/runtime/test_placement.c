// SPDX-License-Identifier: MIT
/*
 * Residency and memory: what PROMOTE grants and refuses, what entries hold, what ENOSPC leaves behind.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "place.h"
#include "rig.h"
#include "tap.h"

static int tags(struct rig *rig, uint64_t stream, struct kvsink_tag_rec *first)
{
	struct kvsink_tag_rec *list;
	size_t bytes;
	int count = kvs_query(rig->device, DRM_KVSINK_QUERY_TAGS, stream, 0, (void **)&list, &bytes);

	rig_must(rig, "tags", count);
	if (count && first)
		*first = list[0];
	free(list);
	return count;
}

static uint64_t counter(struct rig *rig, uint64_t stream, enum kvsink_counter which)
{
	uint64_t counters[KVSINK_COUNTER_COUNT];

	rig_must(rig, "counters", kvs_counters(rig->device, stream, counters));
	return counters[which];
}

static void barrier(struct rig_stream *stream)
{
	rig_must(stream->rig, "barrier", kvs_batch_barrier(stream->rig->batch, stream->kvs));
	rig_must(stream->rig, "barrier", rig_run(stream->rig, NULL));
}

/* ---- entries ------------------------------------------------------------------------------------------ */

static void test_entry_bytes(uint32_t format, const char *name)
{
	struct kvs_geometry geometry = rig_geometry(format);
	uint32_t row = kvsink_row_bytes(0, 16, 8, format);
	struct kvs_grant grant;
	struct rig_stream stream;
	unsigned char bytes[96];
	float *k, *v;
	bool same = true;
	struct rig rig;

	geometry.kv_heads = 4;
	geometry.layers = 3;
	rig_open(&rig, "sim:hbm=16M,dma-gbps=1"); /* a slow copy */
	rig_stream_open(&rig, &geometry, &stream);
	rig_append(&stream, 20);
	/* layers 1 and 2, heads 1 and 3: rank decides where a row lies */
	tap_ok(!promote_one(rig.device, kvs_stream_id(stream.kvs), 13, 1, 3, 0xa, &grant), "%s: promote",
	       name);
	tap_ok(grant.sram_bytes == (4 * row + 255) / 256 * 256, "%s: only the masked rows cost SRAM", name);
	tap_ok(kvs_entry_read(stream.kvs, 13, 1, 1, grant.generation, bytes, row) == -ENOENT,
	       "%s: not readable before the copy has ended", name);
	barrier(&stream);
	for (uint32_t l = 1; l < 3; l++)
		for (uint32_t h = 1; h < 4; h += 2) {
			same &= !kvs_entry_read(stream.kvs, 13, l, h, grant.generation, bytes, row);
			k = stream.k[l] + (13 * 4 + h) * 16;
			v = stream.v[l] + (13 * 4 + h) * 8;
			for (uint32_t i = 0; i < 24; i++) {
				float expected = i < 16 ? k[i] : v[i - 16], got;
				_Float16 half;

				memcpy(&got, bytes + 4 * i, 4);
				memcpy(&half, bytes + 2 * i, 2);
				same &= (format == KVSINK_FORMAT_F32 ? got : (float)half) == expected;
			}
		}
	tap_ok(same, "%s: entries hold the stored rows, K then V", name);
	tap_ok(kvs_entry_read(stream.kvs, 13, 1, 0, grant.generation, bytes, row) == -ENOENT,
	       "%s: a head outside of the mask is not resident", name);
	tap_ok(kvs_entry_read(stream.kvs, 13, 1, 1, grant.generation + 1, bytes, row) == -ENOENT,
	       "%s: another generation is not served", name);
	tap_ok(kvs_entry_read(stream.kvs, 13, 1, 1, grant.generation, bytes, row - 1) == -EINVAL,
	       "%s: another size is refused", name);
	tap_ok(evict_one(rig.device, kvs_stream_id(stream.kvs), 13, 0, 3) == 1 &&
		       kvs_entry_read(stream.kvs, 13, 1, 1, grant.generation, bytes, row) == -ENOENT,
	       "%s: nothing is read of an evicted entry", name);
	rig_stream_close(&stream);
	rig_close(&rig);
}

/* A tail's record has generation 0: no row may be found through it, nor in its stead. */
static void test_tail_rows(void)
{
	struct kvs_geometry geometry = rig_geometry(KVSINK_FORMAT_F32);
	struct rig_stream stream;
	unsigned char bytes[96];
	bool refused = true;
	struct rig rig;
	uint64_t id;

	rig_open(&rig, "sim:hbm=16M");
	rig_stream_open(&rig, &geometry, &stream);
	id = kvs_stream_id(stream.kvs);
	rig_must(&rig, "tail",
		 kvs_config_set(rig.device, id, KVSINK_GROUP_ALL, KVSINK_PARAM_TAIL_TOKENS, 16));
	rig_append(&stream, 20);
	for (uint32_t t = 0; t < 20; t++)
		refused &= kvs_entry_read(stream.kvs, t, 0, 0, 0, bytes, sizeof(bytes)) == -EINVAL;
	tap_ok(refused, "generation 0 reads no row of a tail");
	rig_stream_close(&stream);
	rig_close(&rig);
}

static void test_promote(void)
{
	struct kvs_geometry geometry = rig_geometry(KVSINK_FORMAT_F32);
	struct kvs_grant grant;
	struct kvsink_tag_rec tag;
	struct rig_stream stream;
	struct rig rig;
	uint64_t id;

	rig_open(&rig, "sim:hbm=16M");
	rig_stream_open(&rig, &geometry, &stream);
	rig_append(&stream, 20);
	id = kvs_stream_id(stream.kvs);
	tap_ok(promote_one(rig.device, id, 20, 0, 2, 3, NULL) == -EINVAL,
	       "a token that is not there cannot be promoted");
	tap_ok(!promote_one(rig.device, id, 5, 0, 1, 3, NULL), "promote layer 0");
	tap_ok(promote_one(rig.device, id, 5, 0, 2, 2, &grant) == -EEXIST && grant.code == KVSINK_CODE_EXISTS,
	       "rows are resident once: EEXIST");
	tap_ok(strstr(kvs_device_error(rig.device), "EXISTS") &&
		       strstr(kvs_device_error(rig.device), "token 5"),
	       "the message names token and code");
	tap_ok(!promote_one(rig.device, id, 5, 1, 2, 1, NULL) && tags(&rig, id, &tag) == 2,
	       "another layer of the token is another entry");
	tap_ok(tag.stream == id && tag.token == 5 && tag.layer_begin == 0 && tag.layer_end == 1 &&
		       tag.head_mask == 3,
	       "QUERY TAGS tells what is resident");
	tap_ok(evict_one(rig.device, id, 5, 1, 2) == 1 && tags(&rig, id, NULL) == 1, "evict one layer");
	tap_ok(evict_one(rig.device, id, 5, 1, 2) == -ENOENT, "nothing there to evict: ENOENT");
	tap_ok(!promote_one(rig.device, id, 6, 0, 2, 3, NULL) &&
		       evict_one(rig.device, id, KVSINK_TOKEN_ALL, 0, 2) == 2 && tags(&rig, id, NULL) == 0,
	       "evict everything");
	rig_must(&rig, "config", kvs_config_set(rig.device, id, KVSINK_GROUP_ALL, KVSINK_PARAM_HEAD_MASK, 1));
	tap_ok(promote_one(rig.device, id, 5, 0, 2, 2, NULL) == -EINVAL, "HEAD_MASK limits promotion");
	rig_must(&rig, "config",
		 kvs_config_set(rig.device, id, KVSINK_GROUP_ALL, KVSINK_PARAM_LAYER_RANGE, 1 | 2 << 16));
	tap_ok(promote_one(rig.device, id, 5, 0, 2, 1, NULL) == -EINVAL &&
		       !promote_one(rig.device, id, 5, 1, 2, 1, NULL),
	       "LAYER_RANGE limits promotion");
	tap_ok(promote_one(rig.device, id, 5, 2, 2, 1, NULL) == -EINVAL &&
		       promote_one(rig.device, id, 5, 1, 3, 1, NULL) == -EINVAL,
	       "layers must be a range of the stream's");
	rig_stream_close(&stream);
	rig_close(&rig);
}

/* ---- out of SRAM ----------------------------------------------------------------------------------------
 */

/* 2 layers, 2 heads of 96 bytes: an entry takes 512 bytes. */
static void test_budget(void)
{
	struct kvs_geometry geometry = rig_geometry(KVSINK_FORMAT_F32);
	struct kvs_grant grant;
	struct rig_stream stream;
	struct rig rig;
	uint64_t id;

	rig_open(&rig, "sim:sram=64K,hbm=16M,tags=4096");
	rig_stream_open(&rig, &geometry, &stream);
	rig_append(&stream, 128);
	id = kvs_stream_id(stream.kvs);
	rig_must(&rig, "config",
		 kvs_config_set(rig.device, id, KVSINK_GROUP_ALL, KVSINK_PARAM_SRAM_BUDGET, 1024));
	tap_ok(!promote_one(rig.device, id, 0, 0, 2, 3, NULL) &&
		       !promote_one(rig.device, id, 1, 0, 2, 3, NULL),
	       "a stream may use its budget");
	tap_ok(promote_one(rig.device, id, 2, 0, 2, 3, &grant) == -ENOSPC &&
		       grant.code == KVSINK_CODE_BUDGET && !grant.sram_bytes && tags(&rig, id, NULL) == 2,
	       "beyond its budget: ENOSPC, BUDGET, and no entry");
	tap_ok(counter(&rig, id, KVSINK_COUNTER_REFUSALS) == 1, "the refusal is counted");
	tap_ok(strstr(kvs_device_error(rig.device), "BUDGET"), "the message says BUDGET");
	rig_must(&rig, "config",
		 kvs_config_set(rig.device, id, KVSINK_GROUP_ALL, KVSINK_PARAM_SRAM_BUDGET, 0xffffffff));
	for (uint32_t t = 2; t < 128; t++)
		rig_must(&rig, "fill", promote_one(rig.device, id, t, 0, 2, 3, NULL));
	tap_ok(evict_one(rig.device, id, 10, 0, 2) == 1 && evict_one(rig.device, id, 100, 0, 2) == 1,
	       "SRAM is full; two holes of 512 bytes are made");
	rig_stream_close(&stream);
	rig_close(&rig);
}

static void test_fragmented(void)
{
	struct kvs_geometry small = rig_geometry(KVSINK_FORMAT_F32), large = small;
	struct kvs_grant grant;
	struct rig_stream streams[2];
	struct rig rig;
	uint64_t ids[2];

	large.layers = 4; /* an entry of all layers takes 768 bytes, more than one hole */
	rig_open(&rig, "sim:sram=64K,hbm=16M");
	rig_stream_open(&rig, &small, &streams[0]);
	rig_stream_open(&rig, &large, &streams[1]);
	rig_append(&streams[0], 128);
	rig_append(&streams[1], 1);
	ids[0] = kvs_stream_id(streams[0].kvs);
	ids[1] = kvs_stream_id(streams[1].kvs);
	for (uint32_t t = 0; t < 128; t++)
		rig_must(&rig, "fill", promote_one(rig.device, ids[0], t, 0, 2, 3, NULL));
	tap_ok(promote_one(rig.device, ids[1], 0, 0, 4, 3, &grant) == -ENOSPC &&
		       grant.code == KVSINK_CODE_BUDGET,
	       "SRAM is full: BUDGET");
	evict_one(rig.device, ids[0], 10, 0, 2);
	evict_one(rig.device, ids[0], 100, 0, 2);
	tap_ok(promote_one(rig.device, ids[1], 0, 0, 4, 3, &grant) == -ENOSPC &&
		       grant.code == KVSINK_CODE_FRAGMENTED && tags(&rig, ids[1], NULL) == 0,
	       "1024 bytes are free, but not in one piece: FRAGMENTED");
	evict_one(rig.device, ids[0], 11, 0, 2);
	tap_ok(!promote_one(rig.device, ids[1], 0, 0, 4, 3, &grant) && grant.sram_bytes == 768,
	       "with the neighbour gone it fits");
	rig_stream_close(&streams[0]);
	rig_stream_close(&streams[1]);
	rig_close(&rig);
}

static void test_tag_limit(void)
{
	struct kvs_geometry geometry = rig_geometry(KVSINK_FORMAT_F32);
	struct kvs_grant grant;
	struct rig_stream stream;
	struct rig rig;

	rig_open(&rig, "sim:tags=16,hbm=16M");
	rig_stream_open(&rig, &geometry, &stream);
	rig_append(&stream, 20);
	for (uint32_t t = 0; t < 16; t++)
		rig_must(&rig, "fill", promote_one(rig.device, kvs_stream_id(stream.kvs), t, 0, 2, 3, NULL));
	tap_ok(promote_one(rig.device, kvs_stream_id(stream.kvs), 16, 0, 2, 3, &grant) == -ENOSPC &&
		       grant.code == KVSINK_CODE_TAGS && tags(&rig, kvs_stream_id(stream.kvs), NULL) == 16,
	       "no free entry in the tag array: ENOSPC, TAGS");
	rig_stream_close(&stream);
	rig_close(&rig);
}

/* ---- out of HBM ------------------------------------------------------------------------------------------
 */

/* Streams that fit, by trying; all are freed again. */
static int streams_that_fit(struct rig *rig, const struct kvs_geometry *geometry)
{
	struct kvs_stream *streams[64];
	int count = 0, err = 0;

	while (count < 64) {
		err = kvs_stream_create(rig->device, geometry, &streams[count]);
		if (err)
			break;
		count++;
	}
	for (int i = 0; i < count; i++)
		kvs_stream_free(streams[i]);
	return err && err != -ENOSPC ? err : count;
}

static void test_hbm(void)
{
	struct kvs_geometry geometry = rig_geometry(KVSINK_FORMAT_F32), huge;
	struct kvs_stream *stream;
	struct rig rig;
	int fit;

	geometry.d_k = geometry.d_v = 512;
	geometry.max_tokens = 192; /* 3 MiB of pages in 16 */
	huge = geometry;
	huge.max_tokens = 2048;
	rig_open(&rig, "sim:hbm=16M");
	fit = streams_that_fit(&rig, &geometry);
	tap_ok(fit == 5, "five streams of 3 MiB fit into 16 MiB of HBM (%d)", fit);
	tap_ok(kvs_stream_create(rig.device, &huge, &stream) == -ENOSPC, "out of HBM: ENOSPC");
	tap_ok(strstr(kvs_device_error(rig.device), "HBM") != NULL,
	       "the message says how much HBM was wanted");
	tap_ok(streams_that_fit(&rig, &geometry) == fit, "ENOSPC left nothing behind");
	huge.reserve_tokens = 100;
	rig_must(&rig, "stream", kvs_stream_create(rig.device, &huge, &stream));
	tap_ok(kvs_stream_reserve(stream, 2048) == -ENOSPC, "STREAM_RESERVE beyond HBM: ENOSPC");
	tap_ok(kvs_stream_reserve(stream, 2049) == -EINVAL, "STREAM_RESERVE beyond max_tokens: EINVAL");
	tap_ok(!kvs_stream_reserve(stream, 500) && !kvs_stream_reserve(stream, 10),
	       "STREAM_RESERVE grows and never shrinks");
	for (uint32_t layer = 0; layer < 2; layer++)
		rig_must(
			&rig, "append",
			kvs_batch_append(rig.batch, stream, layer, 0, 500, rig_at(&rig, 0), rig_at(&rig, 0)));
	tap_ok(!rig_run(&rig, NULL), "reserved tokens can be appended");
	rig_must(&rig, "append",
		 kvs_batch_append(rig.batch, stream, 0, 500, 100, rig_at(&rig, 0), rig_at(&rig, 0)));
	tap_ok(rig_run(&rig, NULL) == -ENOSPC, "tokens without a page are refused");
	kvs_stream_free(stream);
	tap_ok(streams_that_fit(&rig, &geometry) == fit, "everything came back");
	rig_close(&rig);
}

static void test_stream_limit(void)
{
	struct kvs_geometry geometry = rig_geometry(KVSINK_FORMAT_F32);
	struct rig rig;

	rig_open(&rig, "sim:streams=3,hbm=16M");
	tap_ok(streams_that_fit(&rig, &geometry) == 3, "the chip's streams run out: ENOSPC");
	tap_ok(streams_that_fit(&rig, &geometry) == 3, "and come back");
	rig_close(&rig);
}

int main(void)
{
	test_entry_bytes(KVSINK_FORMAT_F32, "F32");
	test_entry_bytes(KVSINK_FORMAT_FP16, "FP16");
	test_tail_rows();
	test_promote();
	test_budget();
	test_fragmented();
	test_tag_limit();
	test_hbm();
	test_stream_limit();
	return tap_done();
}
