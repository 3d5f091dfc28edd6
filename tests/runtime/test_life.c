// SPDX-License-Identifier: MIT
/*
 * The library's surface: names and options, lifetimes, fences, messages, lists, faults of the device.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "place.h"
#include "rig.h"
#include "tap.h"

static void refuse_name(const char *name, int err, const char *says)
{
	struct kvs_device *device = (void *)1;
	int got = kvs_open(name, &device);

	if (!tap_ok(got == err && !device && strstr(kvs_open_error(), says) &&
			    !strchr(kvs_open_error(), '\n'),
		    "kvs_open(\"%s\") is refused, and says '%s'", name, says))
		tap_diag("%d: %s", got, kvs_open_error());
}

static void test_names(void)
{
	struct kvs_device *device;

	refuse_name("", -EINVAL, "sim:OPTIONS");
	refuse_name("simulator", -EINVAL, "simulator");
	refuse_name("drm:/nonexistent/accel7", -ENODEV, "/nonexistent/accel7");
	refuse_name("drm:/dev/null", -ENODEV, "/dev/null");
	refuse_name("sim:sram", -EINVAL, "'sram'");
	refuse_name("sim:sram=", -EINVAL, "sram=");
	refuse_name("sim:sram=1X", -EINVAL, "sram=1X");
	refuse_name("sim:sram=-1", -EINVAL, "sram=-1");
	refuse_name("sim:sram=1Mb", -EINVAL, "sram=1Mb");
	refuse_name("sim:tags=1K", -EINVAL, "tags=1K");
	refuse_name("sim:tags=5", -EINVAL, "tags");
	refuse_name("sim:sram=99999999999999999999", -EINVAL, "99999999999999999999");
	refuse_name("sim:hbm=17179869184G", -EINVAL, "17179869184G");
	refuse_name("sim:sram=4G", -EINVAL, "4294967295");
	refuse_name("sim:threads=17", -EINVAL, "1 to 16");
	refuse_name("sim:,", -EINVAL, "NAME=VALUE");
	refuse_name("sim:colour=1", -EINVAL, "'colour'");
	refuse_name("sim:share=", -EINVAL, "share=");
	refuse_name("sim:ring-slots=5", -EINVAL, "ring");
	tap_ok(!kvs_open("sim:sram=128K,hbm=32M,tags=64,rings=2,burst=128,dma-gbps=7,threads=2", &device),
	       "options that are right");
	tap_ok(!strcmp(kvs_open_error(), ""), "success leaves no message");
	tap_ok(!strncmp(kvs_device_name(device), "sim:sram=128K", 13), "the device has its name");
	kvs_close(device);
	kvs_close(NULL);
}

static void test_info(void)
{
	struct drm_kvsink_dev_info info = {0};
	struct drm_kvsink_dev_query query = {.size = 8};
	struct kvs_device *device;
	uint64_t value = 0;
	char *names[2];

	kvs_open("sim:sram=128K,hbm=32M,tags=64,rings=2,ring-slots=16,gart-pages=4096,burst=128,streams=9",
		 &device);
	tap_ok(!kvs_device_info(device, &info) && info.sram_bytes == 128 << 10 &&
		       info.hbm_bytes == 32 << 20 && info.tags == 64 && info.rings == 2 &&
		       info.ring_slots == 16 && info.gart_pages == 4096 && info.burst_bytes == 128 &&
		       info.streams == 9 && info.hw_version == KVSINK_HW_VERSION && info.generation > 0,
	       "info tells the options");
	tap_ok(!kvs_device_ioctl(device, DRM_IOCTL_KVSINK_DEV_QUERY, &query) && query.size == sizeof(info),
	       "DEV_QUERY without a pointer asks for the size");
	query.type = 1;
	tap_ok(kvs_device_ioctl(device, DRM_IOCTL_KVSINK_DEV_QUERY, &query) == -EINVAL,
	       "DEV_QUERY of an unknown type");
	tap_ok(kvs_device_ioctl(device, 0x1234, &query) == -ENOTTY, "an unknown ioctl");
	tap_ok(!kvs_register_read(device, KVSINK_REG_ID, &value) && value == KVSINK_ID_MAGIC, "register ID");
	tap_ok(!kvs_register_read(device, KVSINK_COUNTER_BASE + 8 * KVSINK_COUNTER_JOBS, &value),
	       "a counter register");
	tap_ok(kvs_register_read(device, KVSINK_REG_CONTROL, &value) == -ENOENT &&
		       strstr(kvs_device_error(device), "0x10"),
	       "a register that is not readable");
	tap_ok(!strcmp(kvs_version(), "0.1.0"), "version");
	tap_ok(!strcmp(kvs_code_name(KVSINK_CODE_BUDGET), "BUDGET") && !strcmp(kvs_code_name(1000), "?") &&
		       strstr(kvs_code_text(KVSINK_CODE_BUDGET), "budget"),
	       "names and texts of codes");
	tap_ok(kvs_list(names, 0) >= 0, "kvs_list counts without room");
	kvs_close(device);
}

static void test_lifetimes(void)
{
	struct kvs_geometry geometry = rig_geometry(KVSINK_FORMAT_F32);
	struct kvs_device *device;
	struct kvs_buffer *buffer;
	struct kvs_stream *stream;
	struct kvs_batch *batch;

	kvs_open("sim:hbm=16M", &device);
	tap_ok(!kvs_buffer_create(device, 5000, &buffer) && kvs_buffer_size(buffer) == 8192,
	       "buffers are rounded up to pages");
	tap_ok(!kvs_stream_create(device, &geometry, &stream) && kvs_stream_id(stream) == 1,
	       "streams count from 1");
	tap_ok(!kvs_batch_create(device, &batch), "a batch");
	kvs_close(device);
	memset(kvs_buffer_data(buffer), 1, 8192);
	kvs_batch_append(batch, stream, 0, 0, 1, (struct kvs_place){buffer, 0},
			 (struct kvs_place){buffer, 0});
	tap_ok(!kvs_batch_run(batch, NULL), "a closed device works on while it has children");
	kvs_batch_free(batch);
	tap_ok(!kvs_stream_reserve(stream, 20), "and until the last of them is freed");
	kvs_stream_free(stream);
	kvs_buffer_free(buffer);
	kvs_buffer_free(NULL);
	kvs_stream_free(NULL);
	kvs_batch_free(NULL);
}

static void test_buffers(void)
{
	struct drm_kvsink_bo_create create = {.size = 4096, .flags = 1};
	struct drm_kvsink_bo_mmap_offset map = {.handle = 77};
	struct kvs_device *device;
	struct kvs_buffer *buffer;

	kvs_open("sim:hbm=16M,gart-pages=1024", &device);
	tap_ok(kvs_buffer_create(device, 0, &buffer) == -EINVAL, "no empty buffer");
	tap_ok(kvs_buffer_create(device, DRM_KVSINK_MAX_BO_BYTES + 1, &buffer) == -E2BIG,
	       "no buffer over 256 MiB");
	tap_ok(kvs_buffer_create(device, 8 << 20, &buffer) == -ENOSPC, "GART full: ENOSPC");
	tap_ok(kvs_device_ioctl(device, DRM_IOCTL_KVSINK_BO_CREATE, &create) == -EINVAL, "unknown flags");
	tap_ok(kvs_device_ioctl(device, DRM_IOCTL_KVSINK_BO_MMAP_OFFSET, &map) == -ENOENT, "unknown handle");
	map.pad = 1;
	tap_ok(kvs_device_ioctl(device, DRM_IOCTL_KVSINK_BO_MMAP_OFFSET, &map) == -EINVAL, "pad must be 0");
	for (int i = 0; i < 3; i++) {
		char *data;

		if (kvs_buffer_create(device, 3 << 20, &buffer))
			break;
		data = kvs_buffer_data(buffer);
		tap_ok(!data[0] && !data[(3 << 20) - 1],
		       "new memory is zero, and old GART space is used again");
		memset(data, 0xff, 3 << 20);
		kvs_buffer_free(buffer);
	}
	kvs_close(device);
}

static void test_geometry(void)
{
	struct {
		struct kvs_geometry geometry;
		uint64_t newer;
	} future = {.geometry = rig_geometry(KVSINK_FORMAT_F32)};
	struct kvs_geometry geometry = rig_geometry(KVSINK_FORMAT_F32);
	struct drm_kvsink_layer layers[2] = {{.scale = 0x3f800000}, {.scale = 0xbf800000}};
	struct kvsink_stream_rec *rec;
	struct kvs_stream *stream;
	struct kvs_device *device;
	size_t bytes;

	kvs_open("sim:hbm=16M", &device);
	future.geometry.size = sizeof(future);
	tap_ok(!kvs_stream_create(device, &future.geometry, &stream),
	       "a longer geometry with a tail of zeros");
	kvs_stream_free(stream);
	future.newer = 1;
	tap_ok(kvs_stream_create(device, &future.geometry, &stream) == -E2BIG,
	       "a longer geometry that asks for something");
	geometry.size = 0;
	tap_ok(kvs_stream_create(device, &geometry, &stream) == -EINVAL, "a geometry without size");
	geometry.size = sizeof(geometry);
	geometry.q_heads = 3;
	tap_ok(kvs_stream_create(device, &geometry, &stream) == -EINVAL &&
		       strstr(kvs_device_error(device), "q_heads = 3"),
	       "the message names field and value");
	geometry.q_heads = 4;
	geometry.layers = 200;
	tap_ok(kvs_stream_create(device, &geometry, &stream) == -EINVAL &&
		       strstr(kvs_device_error(device), "1 to 128"),
	       "and what is allowed");
	geometry.layers = 2;
	geometry.layer = layers;
	tap_ok(kvs_stream_create(device, &geometry, &stream) == -EINVAL &&
		       strstr(kvs_device_error(device), "scale"),
	       "a layer with a negative scale");
	geometry.layer = NULL;
	geometry.group_end[0] = 1;
	tap_ok(kvs_stream_create(device, &geometry, &stream) == -EINVAL &&
		       strstr(kvs_device_error(device), "group_end"),
	       "groups that leave out a layer");
	geometry.group_end[0] = 0;
	geometry.max_tokens = 33;
	tap_ok(!kvs_stream_create(device, &geometry, &stream), "max_tokens is rounded up to pages");
	tap_ok(kvs_query(device, DRM_KVSINK_QUERY_STREAMS, kvs_stream_id(stream), 0, (void **)&rec, &bytes) ==
			       1 &&
		       rec->max_tokens == 48 && rec->page_tokens == 16 && rec->reserved_tokens == 48 &&
		       rec->score_groups == 1 && rec->group_end[0] == 2 && bytes == sizeof(*rec),
	       "defaults of a geometry");
	free(rec);
	kvs_stream_free(stream);
	kvs_close(device);
}

static void test_batches(void)
{
	struct drm_kvsink_attend_item items[200] = {0};
	struct kvs_geometry geometry = rig_geometry(KVSINK_FORMAT_F32);
	struct rig_stream stream;
	struct rig rig;
	int i;

	rig_open(&rig, "sim:hbm=16M");
	rig_stream_open(&rig, &geometry, &stream);
	tap_ok(kvs_batch_run(rig.batch, NULL) == -EINVAL &&
		       strstr(kvs_device_error(rig.device), "no operation"),
	       "an empty batch is refused");
	for (i = 0; i < 64; i++)
		rig_must(&rig, "advance", kvs_batch_advance(rig.batch, 1));
	tap_ok(kvs_batch_advance(rig.batch, 1) == -E2BIG &&
		       kvs_batch_barrier(rig.batch, stream.kvs) == -E2BIG,
	       "a 65th operation is refused");
	tap_ok(!rig_run(&rig, NULL), "64 run");
	rig_must(&rig, "attend",
		 kvs_batch_attend(rig.batch, items, 200, DRM_KVSINK_ATTEND_SPLIT, rig_at(&rig, 0),
				  rig_at(&rig, 0), (struct kvs_place){0}, (struct kvs_place){0}));
	tap_ok(kvs_batch_attend(rig.batch, items, 57, DRM_KVSINK_ATTEND_SPLIT, rig_at(&rig, 0),
				rig_at(&rig, 0), (struct kvs_place){0}, (struct kvs_place){0}) == -E2BIG,
	       "a 257th attend item is refused");
	tap_ok(!kvs_batch_attend(rig.batch, items, 56, DRM_KVSINK_ATTEND_SPLIT, rig_at(&rig, 0),
				 rig_at(&rig, 0), (struct kvs_place){0}, (struct kvs_place){0}),
	       "256 are accepted");
	kvs_batch_reset(rig.batch);
	rig_must(&rig, "barrier", kvs_batch_barrier(rig.batch, stream.kvs));
	rig_must(&rig, "append",
		 kvs_batch_append(rig.batch, stream.kvs, 7, 0, 1, rig_at(&rig, 0), rig_at(&rig, 0)));
	tap_ok(rig_run(&rig, NULL) == -EINVAL &&
		       strstr(kvs_device_error(rig.device), "operation 1 (APPEND): append.layer = 7"),
	       "a refused submit names operation, field and value");
	rig_must(&rig, "append",
		 kvs_batch_append(rig.batch, stream.kvs, 0, 5, 1, rig_at(&rig, 0), rig_at(&rig, 0)));
	tap_ok(rig_run(&rig, NULL) == -EILSEQ &&
		       strstr(kvs_device_error(rig.device), "operation 0 (APPEND): SEQUENCE"),
	       "a failed job names operation and code");
	rig_stream_close(&stream);
	rig_close(&rig);
}

static void test_fences(void)
{
	struct drm_kvsink_job_status status;
	uint64_t first, fence = 0, previous = 0;
	bool ascending = true;
	struct rig rig;

	rig_open(&rig, "sim:hbm=16M");
	tap_ok(kvs_wait(rig.device, 1, INT64_MAX, NULL) == -EINVAL &&
		       kvs_wait(rig.device, 0, 0, NULL) == -EINVAL,
	       "a fence that was never given out");
	rig_must(&rig, "advance", kvs_batch_advance(rig.batch, 5));
	rig_must(&rig, "submit", kvs_batch_submit(rig.batch, &first));
	tap_ok(first > 0 && !kvs_wait(rig.device, first, 0, &status) && status.code == KVSINK_CODE_OK &&
		       status.op == 1 && status.end_ns > status.begin_ns,
	       "a fence's outcome");
	for (int i = 0; i < 1024; i++) {
		rig_must(&rig, "submit", kvs_batch_submit(rig.batch, &fence));
		ascending &= fence > previous;
		previous = fence;
	}
	tap_ok(ascending, "fence values grow");
	tap_ok(kvs_wait(rig.device, first, INT64_MAX, NULL) == -ENOENT,
	       "outcomes of 1024 jobs are kept, no more");
	tap_ok(!kvs_wait(rig.device, first + 1, INT64_MAX, &status) &&
		       !kvs_wait(rig.device, fence, INT64_MAX, NULL) && !kvs_batch_submit(rig.batch, NULL),
	       "those are");
	rig_close(&rig);
}

/* Jobs, syncs and generation of SUBMIT that kvs_batch_submit() never gets wrong. */
static void test_submit(void)
{
	struct drm_kvsink_op op[2] = {{.type = DRM_KVSINK_OP_ADVANCE, .advance = {1}}, {.type = 99}};
	struct drm_kvsink_sync sync = {.flags = DRM_KVSINK_SYNC_TIMELINE, .handle = 1, .value = 1};
	struct drm_kvsink_job jobs[2] = {{.ops = {sizeof(op[0]), 1, (uintptr_t)op}},
					 {.ops = {sizeof(op[0]), 2, (uintptr_t)op}}};
	struct drm_kvsink_submit args = {.jobs = {sizeof(jobs[0]), 2, (uintptr_t)jobs}};
	uint64_t before, after;
	struct rig rig;

	rig_open(&rig, "sim:hbm=16M");
#define SUBMIT() kvs_device_ioctl(rig.device, DRM_IOCTL_KVSINK_SUBMIT, &args)
	kvs_register_read(rig.device, KVSINK_COUNTER_BASE + 8 * KVSINK_COUNTER_JOBS, &before);
	tap_ok(SUBMIT() == -EINVAL && args.error_job == 1 && args.error_op == 1 && args.error_field == 0,
	       "a bad operation is named by job, operation and field");
	kvs_register_read(rig.device, KVSINK_COUNTER_BASE + 8 * KVSINK_COUNTER_JOBS, &after);
	tap_ok(before == after, "and then no job runs");
	jobs[1].ops.count = 1;
	tap_ok(!SUBMIT(), "two jobs");
	jobs[1].syncs = (struct drm_kvsink_array){sizeof(sync), 1, (uintptr_t)&sync};
	tap_ok(SUBMIT() == -EINVAL && args.error_job == 1, "a wait for a point without fence");
	sync.handle = 5;
	tap_ok(SUBMIT() == -ENOENT, "an unknown syncobj");
	sync.handle = 1;
	sync.flags = 4;
	tap_ok(SUBMIT() == -EINVAL, "unknown sync flags");
	sync.flags = DRM_KVSINK_SYNC_TIMELINE | DRM_KVSINK_SYNC_SIGNAL;
	tap_ok(!SUBMIT(), "a signal");
	sync.flags = DRM_KVSINK_SYNC_TIMELINE;
	tap_ok(!SUBMIT(), "then the wait is good");
	jobs[0].status = (struct drm_kvsink_ref){kvs_buffer_handle(rig.buffer), 0, RIG_BYTES - 28};
	tap_ok(SUBMIT() == -EFAULT && args.error_job == 0, "a status that leaves its buffer");
	jobs[0].status.offset = 0;
	jobs[0].status.handle = 99;
	tap_ok(SUBMIT() == -ENOENT, "a status in an unknown buffer");
	jobs[0].status = (struct drm_kvsink_ref){0};
	args.generation = 1000;
	tap_ok(SUBMIT() == -ESTALE, "a generation that is gone");
	args.generation = 0;
	args.flags = 1;
	tap_ok(SUBMIT() == -EINVAL, "unknown flags");
	args.flags = 0;
	args.pad2 = 1;
	tap_ok(SUBMIT() == -EINVAL, "a pad");
	args.pad2 = 0;
	args.jobs.count = 65;
	tap_ok(SUBMIT() == -E2BIG, "65 jobs");
	args.jobs.count = 0;
	tap_ok(SUBMIT() == -EINVAL, "no job");
	args.jobs.count = 1;
	args.jobs.array = 0;
	tap_ok(SUBMIT() == -EFAULT, "a NULL array");
#undef SUBMIT
	rig_close(&rig);
}

/* Elements longer than ours: fine with a tail of zeros. */
static void test_strides(void)
{
	struct {
		struct drm_kvsink_op op;
		uint64_t newer;
	} ops[2] = {{.op = {.type = DRM_KVSINK_OP_ADVANCE}}, {.op = {.type = DRM_KVSINK_OP_ADVANCE}}};
	struct drm_kvsink_job job = {.ops = {sizeof(ops[0]), 2, (uintptr_t)ops}};
	struct drm_kvsink_submit args = {.jobs = {sizeof(job), 1, (uintptr_t)&job}};
	struct rig rig;

	rig_open(&rig, "sim:hbm=16M");
	tap_ok(!kvs_device_ioctl(rig.device, DRM_IOCTL_KVSINK_SUBMIT, &args),
	       "longer elements with a tail of zeros");
	ops[1].newer = 1ull << 63;
	tap_ok(kvs_device_ioctl(rig.device, DRM_IOCTL_KVSINK_SUBMIT, &args) == -E2BIG,
	       "a tail that is not zero: E2BIG");
	rig_close(&rig);
}

static void test_lists(void)
{
	struct kvs_geometry geometry = rig_geometry(KVSINK_FORMAT_F32);
	struct kvs_stream *streams[1000];
	struct kvsink_stream_rec *recs;
	struct kvsink_event_rec *events;
	bool ascending = true;
	struct rig rig;
	size_t bytes;
	void *list;
	int count;

	rig_open(&rig, "sim:hbm=64M");
	tap_ok(kvs_query(rig.device, DRM_KVSINK_QUERY_STREAMS, 0, 0, &list, &bytes) == 0 && !list,
	       "an empty list");
	geometry.page_tokens = geometry.max_tokens = 1;
	for (int i = 0; i < 1000; i++)
		rig_must(&rig, "stream", kvs_stream_create(rig.device, &geometry, &streams[i]));
	count = kvs_query(rig.device, DRM_KVSINK_QUERY_STREAMS, 0, 0, (void **)&recs, &bytes);
	tap_ok(count == 1000 && bytes == sizeof(*recs), "a list of more than one answer's length (%d)",
	       count);
	for (int i = 1; i < count; i++)
		ascending &= recs[i].stream > recs[i - 1].stream;
	tap_ok(ascending, "with every stream once");
	free(recs);
	count = kvs_query(rig.device, DRM_KVSINK_QUERY_EVENTS, 0, 0, (void **)&events, &bytes);
	tap_ok(count > 0 && events[count - 1].code == KVSINK_EVENT_STREAM_CREATED, "events");
	free(events);
	tap_ok(kvs_query(rig.device, DRM_KVSINK_QUERY_PARAMS, 0, 0, &list, &bytes) == KVSINK_PARAM_COUNT &&
		       ((uint64_t *)list)[KVSINK_PARAM_LOCAL_WINDOW] == 64,
	       "parameters");
	free(list);
	tap_ok(kvs_query(rig.device, 99, 0, 0, &list, &bytes) == -EINVAL && !list, "an unknown kind");
	tap_ok(kvs_query(rig.device, DRM_KVSINK_QUERY_TAGS, 99999, 0, &list, &bytes) == -ENOENT && !list,
	       "an unknown stream");
	for (int i = 0; i < 1000; i++)
		kvs_stream_free(streams[i]);
	rig_close(&rig);
}

/* A hang is ended by a reset, after which the device works. */
static void test_hang(void)
{
	struct kvs_geometry geometry = rig_geometry(KVSINK_FORMAT_F32);
	struct drm_kvsink_dev_info before, after;
	struct drm_kvsink_job_status status;
	struct rig_stream stream;
	struct rig rig;
	void *list;
	size_t bytes;

	rig_open(&rig, "sim:hbm=16M,inject-hang=1");
	rig_must(&rig, "info", kvs_device_info(rig.device, &before));
	rig_must(&rig, "advance", kvs_batch_advance(rig.batch, 1));
	tap_ok(rig_run(&rig, &status) == -ECANCELED && status.code == KVSINK_CODE_ABORTED,
	       "a hung job ends: ECANCELED");
	tap_ok(!kvs_device_info(rig.device, &after) && after.generation == before.generation + 1,
	       "the contents-lost generation grew");
	rig_stream_open(&rig, &geometry, &stream);
	rig_append(&stream, 5);
	tap_ok(!promote_one(rig.device, kvs_stream_id(stream.kvs), 3, 0, 2, 3, NULL), "the device works on");
	tap_ok(kvs_query(rig.device, DRM_KVSINK_QUERY_EVENTS, 0, 0, &list, &bytes) > 0, "with its events");
	free(list);
	rig_stream_close(&stream);
	rig_close(&rig);
}

static void test_dma_error(void)
{
	struct drm_kvsink_job_status status;
	struct rig rig;

	rig_open(&rig, "sim:hbm=16M,inject-dma-error=1");
	rig_must(&rig, "copy", kvs_batch_copy(rig.batch, rig_at(&rig, 0), rig_at(&rig, 4096), 4));
	tap_ok(kvs_batch_run(rig.batch, &status) == -EIO && status.code == KVSINK_CODE_DMA_ERROR &&
		       !status.address,
	       "a refused transfer fails its job, and no bus address is told");
	tap_ok(!kvs_batch_run(rig.batch, &status), "the next one works");
	rig_close(&rig);
}

int main(void)
{
	test_names();
	test_info();
	test_lifetimes();
	test_buffers();
	test_geometry();
	test_batches();
	test_fences();
	test_submit();
	test_strides();
	test_lists();
	test_hang();
	test_dma_error();
	return tap_done();
}
