// SPDX-License-Identifier: MIT
/*
 * Replay windows through the library: a draft that is partly right, what is refused and in which words,
 * memory of the journal, other files and tenants, resets. That a commit equals single steps in everything:
 * tests/silicon/test_window.c.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "inside.h"
#include "place.h"
#include "tap.h"

#define PROMPT 40
#define OUT_BYTES (4 * 8 * sizeof(float)) /* of one query */

static void open_stream(struct rig *rig, const char *device, struct rig_stream *stream)
{
	struct kvs_geometry geometry = rig_geometry(KVSINK_FORMAT_FP16);

	rig_open(rig, device);
	rig_stream_open(rig, &geometry, stream);
	rig_append(stream, PROMPT);
	rig_must(rig, "config",
		 kvs_config_set(rig->device, kvs_stream_id(stream->kvs), KVSINK_GROUP_ALL,
				KVSINK_PARAM_PLACEMENT, KVSINK_PLACEMENT_AUTO));
	rig_must(rig, "config",
		 kvs_config_set(rig->device, kvs_stream_id(stream->kvs), KVSINK_GROUP_ALL,
				KVSINK_PARAM_LOCAL_WINDOW, 2));
}

static void close_stream(struct rig *rig, struct rig_stream *stream)
{
	rig_stream_close(stream);
	rig_close(rig);
}

/* Rows of tokens [first, first + count) in all layers, a function of salt and token; then their queries. */
static int decode(struct rig *rig, const struct rig_stream *stream, unsigned salt, uint32_t first,
		  uint32_t count)
{
	const struct kvs_geometry *g = &stream->geometry;
	uint32_t k = g->kv_heads * g->d_k, v = g->kv_heads * g->d_v, q = g->q_heads * g->d_k;
	struct drm_kvsink_attend_item item = {kvs_stream_id(stream->kvs), 0, first, count, 0};
	int err = 0;

	for (uint32_t l = 0; l < g->layers && !err; l++) {
		for (uint32_t i = 0; i < count; i++) {
			rig->random = (salt * 1000 + first + i) * 8 + l;
			rig_fill(rig, 4ull * i * k, k, 2);
			rig_fill(rig, (1 << 20) + 4ull * i * v, v, 2);
			rig_fill(rig, (2 << 20) + 4ull * i * q, q, 2);
		}
		item.layer = l;
		rig_must(rig, "append",
			 kvs_batch_append(rig->batch, stream->kvs, l, first, count, rig_at(rig, 0),
					  rig_at(rig, 1 << 20)));
		rig_must(rig, "attend",
			 kvs_batch_attend(rig->batch, &item, 1, KVSINK_ATTEND_CANONICAL, rig_at(rig, 2 << 20),
					  rig_at(rig, RIG_OUT + l * (64 << 10)), (struct kvs_place){0},
					  (struct kvs_place){0}));
		err = rig_run(rig, NULL);
	}
	return err;
}

static int step(struct rig *rig, const struct rig_stream *stream, unsigned salt, uint32_t first)
{
	int err = decode(rig, stream, salt, first, 1);

	rig_must(rig, "step", kvs_batch_step_end(rig->batch, stream->kvs, 1));
	return err ? err : rig_run(rig, NULL);
}

/* ---- the way of a program ---- */

/* A draft of five of which three are right, against a stream that makes three steps. */
static void speculation(void)
{
	struct rig_stream single, tried;
	float outputs[2][2][3][OUT_BYTES / 4];
	struct kvsink_stream_rec rec;
	struct rig rig, other;
	size_t bytes[2];
	void *scores[2];

	open_stream(&rig, "sim:", &tried);
	open_stream(&other, "sim:", &single);
	for (uint32_t i = 0; i < 3; i++) {
		rig_must(&other, "step", step(&other, &single, 1, PROMPT + i));
		for (unsigned l = 0; l < 2; l++)
			memcpy(outputs[0][l][i], other.memory + RIG_OUT + l * (64 << 10), OUT_BYTES);
	}
	tap_ok(!kvs_window_begin(tried.kvs, 6), "a window of six rows opens");
	rig_must(&rig, "a wrong draft", decode(&rig, &tried, 2, PROMPT, 4));
	rec = record(&rig, &tried);
	tap_ok(rec.window == 6 && rec.window_rows == 4 && rec.length == PROMPT && rec.window_ns,
	       "QUERY shows it, and its rows");
	tap_ok(!kvs_window_rollback(tried.kvs) && !record(&rig, &tried).window,
	       "a wrong draft is rolled back");
	rig_must(&rig, "begin", kvs_window_begin(tried.kvs, 6));
	rig_must(&rig, "draft", decode(&rig, &tried, 1, PROMPT, 5));
	for (unsigned l = 0; l < 2; l++)
		memcpy(outputs[1][l], rig.memory + RIG_OUT + l * (64 << 10), sizeof(outputs[1][l]));
	tap_ok(!memcmp(outputs[0], outputs[1], sizeof(outputs[0])),
	       "outputs of a draft are those of single steps");
	tap_ok(!kvs_window_commit(tried.kvs, 3) && record(&rig, &tried).length == PROMPT + 3,
	       "three of five rows stay");
	kvs_query(other.device, DRM_KVSINK_QUERY_SCORES, kvs_stream_id(single.kvs), 0, &scores[0], &bytes[0]);
	kvs_query(rig.device, DRM_KVSINK_QUERY_SCORES, kvs_stream_id(tried.kvs), 0, &scores[1], &bytes[1]);
	tap_ok(bytes[0] == bytes[1] && !memcmp(scores[0], scores[1], (PROMPT + 3) * bytes[0]),
	       "and the EMA is that of three steps");
	free(scores[0]);
	free(scores[1]);
	tap_ok(!step(&rig, &tried, 1, PROMPT + 3), "it goes on from there");
	close_stream(&rig, &tried);
	close_stream(&other, &single);
}

/* ---- refusals ---- */

static int promoted(struct rig *rig, const struct rig_stream *stream)
{
	return promote_one(rig->device, kvs_stream_id(stream->kvs), 3, 0, 2, 3, NULL);
}

static void refusals(void)
{
	struct kvs_buffer *image;
	struct rig_stream stream;
	struct rig rig;

	open_stream(&rig, "sim:", &stream);
	rig_must(&rig, "image", kvs_buffer_create(rig.device, 1 << 20, &image));
	tap_ok(kvs_window_begin(stream.kvs, 0) == -EINVAL && said(&rig, "allowed are 1 to 64"), "no rows: %s",
	       kvs_device_error(rig.device));
	tap_ok(kvs_window_begin(stream.kvs, 65) == -EINVAL && said(&rig, "65"), "too many rows: %s",
	       kvs_device_error(rig.device));
	tap_ok(kvs_window_commit(stream.kvs, 1) == -ENOENT && said(&rig, "no window"), "no window: %s",
	       kvs_device_error(rig.device));
	tap_ok(kvs_window_rollback(stream.kvs) == -ENOENT && said(&rig, "no window"), "nor to roll back: %s",
	       kvs_device_error(rig.device));
	rig_must(&rig, "decode", decode(&rig, &stream, 1, PROMPT, 1));
	tap_ok(kvs_window_begin(stream.kvs, 4) == -EBUSY && said(&rig, "a step is open"), "in a step: %s",
	       kvs_device_error(rig.device));
	rig_must(&rig, "abort", kvs_batch_step_abort(rig.batch, stream.kvs));
	rig_must(&rig, "abort", rig_run(&rig, NULL));
	rig_must(&rig, "begin", kvs_window_begin(stream.kvs, 4));
	tap_ok(kvs_window_begin(stream.kvs, 4) == -EBUSY && said(&rig, "do not nest"), "in a window: %s",
	       kvs_device_error(rig.device));
	tap_ok(decode(&rig, &stream, 1, PROMPT, 5) == -E2BIG, "a draft that is too long: %s",
	       kvs_device_error(rig.device));
	rig_must(&rig, "decode", decode(&rig, &stream, 1, PROMPT, 3));
	tap_ok(kvs_window_commit(stream.kvs, 4) == -EINVAL && said(&rig, "has 3 rows"),
	       "more than there are: %s", kvs_device_error(rig.device));
	tap_ok(promoted(&rig, &stream) == -EBUSY && said(&rig, "WINDOW"), "PROMOTE: %s",
	       kvs_device_error(rig.device));
	tap_ok(kvs_config_set(rig.device, kvs_stream_id(stream.kvs), KVSINK_GROUP_ALL, KVSINK_PARAM_ALPHA,
			      0) == -EBUSY &&
		       said(&rig, "window"),
	       "CONFIG_SET: %s", kvs_device_error(rig.device));
	tap_ok(kvs_stream_swap_out(stream.kvs, (struct kvs_place){image, 0}) == -EBUSY &&
		       said(&rig, "window"),
	       "SWAP_OUT: %s", kvs_device_error(rig.device));
	rig_must(&rig, "step", kvs_batch_step_end(rig.batch, stream.kvs, 3));
	tap_ok(rig_run(&rig, NULL) == -EBUSY && said(&rig, "WINDOW"), "STEP_END: %s",
	       kvs_device_error(rig.device));
	rig_must(&rig, "append",
		 kvs_batch_append(rig.batch, stream.kvs, 0, PROMPT + 3, 1, rig_at(&rig, 0), rig_at(&rig, 0)));
	rig_must(&rig, "append", rig_run(&rig, NULL));
	tap_ok(kvs_window_commit(stream.kvs, 2) == -EILSEQ && said(&rig, "layers"), "uneven layers: %s",
	       kvs_device_error(rig.device));
	tap_ok(!kvs_window_rollback(stream.kvs) && !promoted(&rig, &stream),
	       "after all of that it rolls back");
	kvs_buffer_free(image);
	close_stream(&rig, &stream);
}

/* ---- memory ---- */

static void memory(void)
{
	struct kvs_geometry large = rig_geometry(KVSINK_FORMAT_FP16);
	struct rig_stream stream, guest;
	uint64_t before;
	struct rig rig;

	open_stream(&rig, "sim:hbm=16M", &stream);
	before = free_hbm(&rig);
	rig_must(&rig, "begin", kvs_window_begin(stream.kvs, 8));
	tap_ok(free_hbm(&rig) < before, "a window takes HBM for its journal");
	rig_must(&rig, "decode", decode(&rig, &stream, 1, PROMPT, 8));
	tap_ok(!kvs_window_commit(stream.kvs, 2) && free_hbm(&rig) == before,
	       "which is given back at its end");
	large.max_tokens = 128 << 10;
	large.reserve_tokens = 16;
	rig_stream_open(&rig, &large, &guest);
	for (uint32_t tokens = 32; !kvs_stream_reserve(guest.kvs, tokens); tokens += 16)
		;
	tap_ok(kvs_window_begin(stream.kvs, 8) == -ENOSPC && said(&rig, "journal"), "without HBM: %s",
	       kvs_device_error(rig.device));
	rig_stream_close(&guest);
	tap_ok(!kvs_window_begin(stream.kvs, 8), "with HBM again it opens");
	rig_must(&rig, "decode", decode(&rig, &stream, 1, PROMPT + 2, 3));
	rig_stream_close(&stream);
	tap_ok(free_hbm(&rig) == 16 << 20 && hbm_is_clear(&rig),
	       "a stream that ends in a window leaves nothing behind");
	rig_close(&rig);
}

/* ---- others ---- */

static int raw(struct rig *rig, unsigned long request, uint64_t stream, uint32_t tokens, uint32_t pad)
{
	struct drm_kvsink_window args = {.stream = stream, .tokens = tokens, .pad = pad};

	return kvs_device_ioctl(rig->device, request, &args);
}

static void others(void)
{
	struct rig rig, same_tenant, other_tenant;
	struct rig_stream stream;
	uint64_t id;

	open_stream(&rig, "sim:share=window,uid=1000", &stream);
	rig_open(&same_tenant, "sim:share=window,uid=1000");
	rig_open(&other_tenant, "sim:share=window,uid=1001");
	id = kvs_stream_id(stream.kvs);
	tap_ok(raw(&same_tenant, DRM_IOCTL_KVSINK_WINDOW_BEGIN, id, 4, 0) == -EACCES &&
		       raw(&other_tenant, DRM_IOCTL_KVSINK_WINDOW_BEGIN, id, 4, 0) == -ENOENT,
	       "only its owner opens a window of a stream");
	rig_must(&rig, "begin", kvs_window_begin(stream.kvs, 4));
	tap_ok(raw(&same_tenant, DRM_IOCTL_KVSINK_WINDOW_COMMIT, id, 0, 0) == -EACCES &&
		       raw(&other_tenant, DRM_IOCTL_KVSINK_WINDOW_COMMIT, id, 0, 0) == -ENOENT,
	       "and only its owner closes it");
	tap_ok(evict_one(same_tenant.device, id, KVSINK_TOKEN_ALL, 0, 2) == -EBUSY,
	       "the tenant's other files may not evict meanwhile: %s", kvs_device_error(same_tenant.device));
	tap_ok(raw(&rig, DRM_IOCTL_KVSINK_WINDOW_COMMIT, id, 0, 1) == -EINVAL &&
		       raw(&rig, DRM_IOCTL_KVSINK_WINDOW_COMMIT, id, 65, 0) == -EINVAL &&
		       raw(&rig, DRM_IOCTL_KVSINK_WINDOW_COMMIT, 999, 0, 0) == -ENOENT,
	       "bad fields are refused");
	rig_close(&same_tenant);
	rig_stream_close(&stream);
	rig_close(&rig);
	tap_ok(free_hbm(&other_tenant) == 512 << 20, "a file that goes in a window leaves no HBM behind");
	rig_close(&other_tenant);
}

/* ---- resets ---- */

/* What a reset leaves when it overtakes a call: no window; HBM all but what the next call finds out. */
static bool overtaken(struct rig *rig, struct rig_stream *stream, enum kvsink_inject what, bool commits)
{
	uint64_t before = free_hbm(rig);
	uint32_t length = record(rig, stream).length, now;
	bool good = true;
	int err;

	if (commits) {
		rig_must(rig, "begin", kvs_window_begin(stream->kvs, 4));
		rig_must(rig, "decode", decode(rig, stream, 1, length, 3));
	}
	kvsink_inject(chip_of(rig)->silicon, what, 1);
	err = commits ? kvs_window_commit(stream->kvs, 2) : kvs_window_begin(stream->kvs, 4);
	now = record(rig, stream).length;
	good = err == -ECANCELED && !record(rig, stream).window &&
	       now == length + (commits && what == KVSINK_INJECT_LOST ? 2 : 0);
	good = good && kvs_window_rollback(stream->kvs) == -ENOENT && free_hbm(rig) == before;
	good = good && !kvs_window_begin(stream->kvs, 4) && !decode(rig, stream, 1, now, 2) &&
	       !kvs_window_commit(stream->kvs, 1) && record(rig, stream).length == now + 1;
	return good && free_hbm(rig) == before;
}

static void resets(void)
{
	struct rig_stream stream;
	uint64_t before;
	struct rig rig;

	open_stream(&rig, "sim:hbm=16M", &stream);
	tap_ok(overtaken(&rig, &stream, KVSINK_INJECT_HANG, false), "WINDOW_BEGIN that hangs");
	tap_ok(overtaken(&rig, &stream, KVSINK_INJECT_LOST, false), "WINDOW_BEGIN whose end nobody saw");
	tap_ok(overtaken(&rig, &stream, KVSINK_INJECT_HANG, true), "WINDOW_COMMIT that hangs");
	tap_ok(overtaken(&rig, &stream, KVSINK_INJECT_LOST, true), "WINDOW_COMMIT whose end nobody saw");
	before = free_hbm(&rig);
	for (unsigned i = 0; i < 3; i++) {
		kvsink_inject(chip_of(&rig)->silicon, KVSINK_INJECT_LOST, 1);
		kvs_window_begin(stream.kvs, 4);
	}
	tap_ok(free_hbm(&rig) < before && !kvs_window_begin(stream.kvs, 4) &&
		       !kvs_window_rollback(stream.kvs) && free_hbm(&rig) == before,
	       "several of them: the next window gives back what they have kept");
	kvsink_inject(chip_of(&rig)->silicon, KVSINK_INJECT_LOST, 1);
	kvs_window_begin(stream.kvs, 4);
	rig_stream_close(&stream);
	tap_ok(free_hbm(&rig) == 16 << 20 && hbm_is_clear(&rig), "so does the stream's end");
	rig_close(&rig);
}

int main(void)
{
	speculation();
	refusals();
	memory();
	others();
	resets();
	return tap_done();
}
