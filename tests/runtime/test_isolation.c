// SPDX-License-Identifier: MIT
/*
 * Several files on one device: what belongs to another file or tenant cannot be used, what was freed
 * cannot be seen. The test looks into the simulated memories themselves.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "place.h"
#include "inside.h"
#include "tap.h"

#define PATTERN 0x5eC0ffeeu

/* How often a word stands in memory. */
static size_t find_word(const uint8_t *memory, uint64_t bytes, uint32_t word)
{
	size_t found = 0;

	for (uint64_t at = 0; at < bytes; at += 4)
		found += !memcmp(memory + at, &word, 4);
	return found;
}

static size_t in_hbm(const struct rig *rig)
{
	return find_word(chip_of(rig)->options.config.hbm, chip_of(rig)->options.config.hbm_bytes, PATTERN);
}

static size_t in_sram(const struct rig *rig)
{
	return find_word(chip_of(rig)->options.config.sram, chip_of(rig)->options.config.sram_bytes, PATTERN);
}

/* A stream of 20 tokens that consist of the pattern, two of them resident. */
static void pattern_stream(struct rig *rig, struct rig_stream *stream)
{
	struct kvs_geometry geometry = rig_geometry(KVSINK_FORMAT_F32);
	uint32_t *words = (uint32_t *)rig->memory;

	rig_stream_open(rig, &geometry, stream);
	for (uint32_t i = 0; i < 20 * 2 * 16; i++)
		words[i] = PATTERN;
	for (uint32_t layer = 0; layer < 2; layer++)
		rig_must(rig, "append",
			 kvs_batch_append(rig->batch, stream->kvs, layer, 0, 20, rig_at(rig, 0),
					  rig_at(rig, 0)));
	rig_must(rig, "step", kvs_batch_step_end(rig->batch, stream->kvs, 20));
	rig_must(rig, "append", rig_run(rig, NULL));
	rig_must(rig, "promote", promote_one(rig->device, kvs_stream_id(stream->kvs), 3, 0, 2, 3, NULL));
	rig_must(rig, "promote", promote_one(rig->device, kvs_stream_id(stream->kvs), 7, 0, 2, 1, NULL));
	rig_must(rig, "barrier", kvs_batch_barrier(rig->batch, stream->kvs));
	rig_must(rig, "barrier", rig_run(rig, NULL));
}

static void test_scrub(void)
{
	struct kvs_device *device;
	struct rig_stream stream;
	struct rig owner, other;

	rig_open(&owner, "sim:share=scrub,hbm=16M,sram=64K");
	rig_open(&other, "sim:share=scrub");
	tap_ok(chip_of(&owner) == chip_of(&other), "share= attaches to the same chip");
	tap_ok(kvs_open("sim:share=scrub,tags=99", &device) == -EINVAL &&
		       strstr(kvs_open_error(), "share=scrub"),
	       "but not with other options");
	tap_ok(!kvs_open("sim:hbm=16M,sram=64K,share=scrub,uid=7", &device), "the same ones again are fine");
	kvs_close(device);
	tap_ok(owner.device->backend.ctx != other.device->backend.ctx, "as a file of its own");
	pattern_stream(&owner, &stream);
	tap_ok(in_hbm(&other) == 20 * 2 * 2 * 24, "rows lie in HBM while the stream lives");
	tap_ok(in_sram(&other) == 2 * 2 * 24 + 2 * 24, "promoted rows lie in SRAM");
	tap_ok(evict_one(owner.device, kvs_stream_id(stream.kvs), 7, 0, 2) == 1 &&
		       in_sram(&other) == 2 * 2 * 24,
	       "an evicted entry leaves nothing in SRAM");
	rig_stream_close(&stream);
	tap_ok(!in_hbm(&other), "a freed stream leaves nothing in HBM");
	tap_ok(!in_sram(&other), "a freed stream leaves nothing in SRAM");
	pattern_stream(&owner, &stream);
	rig_close(&owner); /* the stream's handle holds the device still */
	tap_ok(in_hbm(&other) != 0, "a stream lives as long as its handle");
	rig_stream_close(&stream);
	tap_ok(!in_hbm(&other) && !in_sram(&other) && !chip_of(&other)->streams,
	       "a closed file leaves no stream and no row behind");
	rig_close(&other);
}

/* One job on a file's device, with handles as given. */
static int submit_raw(struct rig *rig, struct drm_kvsink_op *op, struct drm_kvsink_submit *args)
{
	struct drm_kvsink_job job = {.ops = {sizeof(*op), 1, (uintptr_t)op}};

	*args = (struct drm_kvsink_submit){.jobs = {sizeof(job), 1, (uintptr_t)&job}};
	return kvs_device_ioctl(rig->device, DRM_IOCTL_KVSINK_SUBMIT, args);
}

static void test_foreign_buffer(void)
{
	struct kvs_buffer *buffers[4], *theirs;
	struct drm_kvsink_submit args;
	struct drm_kvsink_op op;
	struct rig a, b;

	rig_open(&a, "sim:share=bo,hbm=16M");
	rig_open(&b, "sim:share=bo");
	for (int i = 0; i < 4; i++) /* handles that b does not have */
		rig_must(&a, "buffer", kvs_buffer_create(a.device, 4096, &buffers[i]));
	theirs = buffers[3];
	tap_ok(kvs_batch_copy(b.batch, (struct kvs_place){theirs, 0}, rig_at(&b, 0), 4) == -EINVAL,
	       "a buffer of another device object is refused");
	tap_ok(strstr(kvs_device_error(b.device), "another device") != NULL, "the message says so");
	op = (struct drm_kvsink_op){
		.type = DRM_KVSINK_OP_COPY,
		.copy = {.src = {kvs_buffer_handle(theirs), 0, 0},
			 .dst = {kvs_buffer_handle(b.buffer), 0, 0},
			 .bytes = 4},
	};
	tap_ok(submit_raw(&b, &op, &args) == -ENOENT && args.error_op == 0 &&
		       args.error_field == offsetof(struct drm_kvsink_op, copy.src.handle),
	       "a handle of another file means nothing in this one");
	tap_ok(kvs_batch_copy(b.batch, (struct kvs_place){NULL, 0}, rig_at(&b, 0), 4) == -EINVAL,
	       "a place without a buffer is refused");
	op.copy.src = (struct drm_kvsink_ref){kvs_buffer_handle(b.buffer), 0, RIG_BYTES - 4};
	op.copy.bytes = 8;
	op.copy.dst.offset = 4096;
	tap_ok(submit_raw(&b, &op, &args) == -EFAULT, "an operand cannot leave its buffer");
	for (int i = 0; i < 4; i++)
		kvs_buffer_free(buffers[i]);
	rig_close(&a);
	rig_close(&b);
}

static int step_raw(struct rig *rig, uint64_t stream)
{
	struct drm_kvsink_op op = {.type = DRM_KVSINK_OP_STEP_END,
				   .step_end = {.stream = stream, .abort = 1}};
	struct drm_kvsink_submit args;

	return submit_raw(rig, &op, &args);
}

static void test_foreign_stream(void)
{
	struct drm_kvsink_stream_destroy destroy;
	struct drm_kvsink_stream_reserve reserve = {.tokens = 1};
	struct rig_stream stream;
	struct rig owner, mate, admin, stranger;
	uint64_t id, value;
	char row[96];
	void *list;
	size_t bytes;

	rig_open(&admin, "sim:share=stream,hbm=16M,gart-pages=65536");
	rig_open(&owner, "sim:share=stream,uid=1000");
	rig_open(&mate, "sim:share=stream,uid=1000");
	rig_open(&stranger, "sim:share=stream,uid=1001");
	pattern_stream(&owner, &stream);
	id = kvs_stream_id(stream.kvs);
	tap_ok(kvs_batch_barrier(mate.batch, stream.kvs) == -EACCES,
	       "the library refuses a stream of another device object");
	tap_ok(step_raw(&mate, id) == -EACCES,
	       "another file of the tenant may not submit to a stream: EACCES");
	tap_ok(step_raw(&admin, id) == -EACCES, "not even the administrator");
	tap_ok(step_raw(&stranger, id) == -ENOENT, "for another tenant there is no such stream: ENOENT");
	destroy.stream = reserve.stream = id;
	tap_ok(kvs_device_ioctl(mate.device, DRM_IOCTL_KVSINK_STREAM_DESTROY, &destroy) == -EACCES &&
		       kvs_device_ioctl(mate.device, DRM_IOCTL_KVSINK_STREAM_RESERVE, &reserve) == -EACCES,
	       "another file may not destroy or extend it");
	tap_ok(kvs_device_ioctl(stranger.device, DRM_IOCTL_KVSINK_STREAM_DESTROY, &destroy) == -ENOENT,
	       "nor may a stranger");
	tap_ok(!promote_one(mate.device, id, 9, 0, 2, 1, NULL) && evict_one(mate.device, id, 9, 0, 2) == 1,
	       "the tenant's other files may promote and evict");
	tap_ok(!promote_one(admin.device, id, 9, 0, 2, 1, NULL) && evict_one(admin.device, id, 9, 0, 2) == 1,
	       "so may the administrator");
	tap_ok(promote_one(stranger.device, id, 9, 0, 2, 1, NULL) == -ENOENT &&
		       evict_one(stranger.device, id, 3, 0, 2) == -ENOENT &&
		       kvs_config_get(stranger.device, id, KVSINK_GROUP_ALL, KVSINK_PARAM_T_SINK, &value) ==
			       -ENOENT &&
		       kvs_config_set(stranger.device, id, KVSINK_GROUP_ALL, KVSINK_PARAM_T_SINK, 0) ==
			       -ENOENT,
	       "a stranger may do nothing of that");
	tap_ok(kvs_query(mate.device, DRM_KVSINK_QUERY_STREAMS, 0, 0, &list, &bytes) == 1,
	       "the tenant's streams are listed");
	free(list);
	tap_ok(kvs_query(stranger.device, DRM_KVSINK_QUERY_STREAMS, 0, 0, &list, &bytes) == 0 && !list,
	       "a stranger sees none");
	tap_ok(kvs_query(stranger.device, DRM_KVSINK_QUERY_TAGS, 0, 0, &list, &bytes) == 0 && !list,
	       "and no entries");
	tap_ok(kvs_query(stranger.device, DRM_KVSINK_QUERY_COUNTERS, id, 0, &list, &bytes) == -ENOENT,
	       "and no counters");
	tap_ok(kvs_entry_read(&(struct kvs_stream){.device = mate.device, .id = id}, 3, 0, 0, 1, row, 96) ==
		       -EACCES,
	       "only the owner reads rows");
	rig_stream_close(&stream);
	rig_close(&owner);
	rig_close(&mate);
	rig_close(&stranger);
	rig_close(&admin);
}

/* What an ordinary user cannot do on the device as a whole. */
static void test_ordinary_user(void)
{
	uint64_t counters[KVSINK_COUNTER_COUNT], value;
	struct kvsink_tag_rec *list;
	struct kvs_grant grant;
	struct rig_stream stream;
	struct rig admin, user;
	unsigned char row[96];
	size_t bytes;

	rig_open(&admin, "sim:share=user,hbm=16M");
	rig_open(&user, "sim:share=user,uid=1000");
	tap_ok(kvs_counters(user.device, 0, counters) == -EACCES && !kvs_counters(admin.device, 0, counters),
	       "device counters are for administrators");
	tap_ok(kvs_register_read(user.device, KVSINK_REG_SRAM_USED, &value) == -EACCES &&
		       !kvs_register_read(admin.device, KVSINK_REG_SRAM_USED, &value),
	       "so are ADMIN registers");
	tap_ok(kvs_config_set(user.device, 0, KVSINK_GROUP_ALL, KVSINK_PARAM_T_SINK, 1) == -EACCES &&
		       !kvs_config_set(admin.device, 0, KVSINK_GROUP_ALL, KVSINK_PARAM_T_SINK, 1) &&
		       !kvs_config_get(user.device, 0, KVSINK_GROUP_ALL, KVSINK_PARAM_T_SINK, &value) &&
		       value == 1,
	       "and the device's defaults, which everyone reads");
	pattern_stream(&user, &stream);
	tap_ok(kvs_query(user.device, DRM_KVSINK_QUERY_TAGS, 0, 0, (void **)&list, &bytes) == 2 &&
		       !list[0].sram_offset && !list[1].sram_offset,
	       "where entries lie is hidden from users");
	free(list);
	tap_ok(kvs_query(admin.device, DRM_KVSINK_QUERY_TAGS, 0, 0, (void **)&list, &bytes) == 2 &&
		       list[1].sram_offset,
	       "administrators see it");
	free(list);
	stream.length = 20;
	rig_append(&stream, 1); /* with rows of its own */
	rig_must(&user, "promote", promote_one(user.device, kvs_stream_id(stream.kvs), 20, 0, 2, 3, &grant));
	rig_must(&user, "barrier", kvs_batch_barrier(user.batch, stream.kvs));
	rig_must(&user, "barrier", rig_run(&user, NULL));
	tap_ok(!kvs_entry_read(stream.kvs, 20, 1, 1, grant.generation, row, 96) &&
		       !memcmp(row, stream.k[1] + (20 * 2 + 1) * 16, 64),
	       "a user reads his own rows, wherever they lie");
	rig_stream_close(&stream);
	rig_close(&user);
	rig_close(&admin);
}

/* Two threads, two files, one chip: nothing but the chip's own order is shared. */
static void *hammer(void *arg)
{
	struct rig *rig = arg;

	for (int i = 0; i < 50; i++) {
		struct rig_stream stream;

		pattern_stream(rig, &stream);
		rig_stream_close(&stream);
	}
	return NULL;
}

static void test_threads(void)
{
	struct rig rigs[2];
	pthread_t thread;

	rig_open(&rigs[0], "sim:share=threads,hbm=16M,threads=3");
	rig_open(&rigs[1], "sim:share=threads,uid=5");
	pthread_create(&thread, NULL, hammer, &rigs[0]);
	hammer(&rigs[1]);
	pthread_join(thread, NULL);
	tap_ok(!in_hbm(&rigs[0]) && !in_sram(&rigs[0]) && !chip_of(&rigs[0])->streams,
	       "two threads on two files leave nothing behind");
	rig_close(&rigs[0]);
	rig_close(&rigs[1]);
}

int main(void)
{
	test_scrub();
	test_foreign_buffer();
	test_foreign_stream();
	test_ordinary_user();
	test_threads();
	return tap_done();
}
