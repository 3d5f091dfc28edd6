// SPDX-License-Identifier: MIT
/*
 * Prefixes through the library: what a program sees of them. Forks, finding by key, descriptors, other files
 * and users, HBM that is counted and given back with the last one, resets.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "inside.h"
#include "place.h"
#include "tap.h"

#define ALL (16u << 20)

static void open_stream(struct rig *rig, const char *device, struct rig_stream *stream, uint32_t tokens)
{
	struct kvs_geometry geometry = rig_geometry(KVSINK_FORMAT_FP16);

	rig_open(rig, device);
	rig_stream_open(rig, &geometry, stream);
	rig_append(stream, tokens);
}

/* Attention of a token of the stream, the same queries each time. */
static int attend(struct rig *rig, uint64_t id, uint32_t token, float out[4 * 8])
{
	const struct drm_kvsink_attend_item item = {id, 1, token, 1, 0};
	int err;

	rig->random = 7;
	rig_fill(rig, 0, 4 * 16, 2);
	rig_must(rig, "attend",
		 kvs_batch_attend(rig->batch, &item, 1, DRM_KVSINK_ATTEND_CANONICAL, rig_at(rig, 0),
				  rig_at(rig, RIG_OUT), (struct kvs_place){0}, (struct kvs_place){0}));
	err = rig_run(rig, NULL);
	memcpy(out, rig->memory + RIG_OUT, 4 * 8 * sizeof(float));
	return err;
}

static bool same_output(struct rig *rig, uint64_t a, uint64_t b, uint32_t token)
{
	float left[4 * 8], right[4 * 8];

	return !attend(rig, a, token, left) && !attend(rig, b, token, right) &&
	       !memcmp(left, right, sizeof(left));
}

/* ---- forks ---- */

static void forks(void)
{
	struct kvs_stream *mid, *deep, *tip, *none;
	struct rig_stream stream;
	struct rig rig;
	uint64_t id;

	open_stream(&rig, "sim:hbm=16M", &stream, 40);
	id = kvs_stream_id(stream.kvs);
	tap_ok(!kvs_stream_fork(stream.kvs, 21, &mid) && record_of(&rig, kvs_stream_id(mid)).length == 21,
	       "a fork in the middle of a page");
	tap_ok(same_output(&rig, id, kvs_stream_id(mid), 20), "gives the output that the stream gives there");
	tap_ok(record_of(&rig, id).shared == 21 && record_of(&rig, record_of(&rig, id).prefix).users == 2,
	       "both begin with the same prefix");
	tap_ok(!kvs_stream_fork(stream.kvs, 16, &deep) &&
		       record_of(&rig, kvs_stream_id(deep)).prefix == record_of(&rig, id).prefix,
	       "a fork of what is shared already takes less of the same one");
	tap_ok(!kvs_stream_fork(stream.kvs, 40, &tip) && same_output(&rig, id, kvs_stream_id(tip), 39),
	       "a fork of the tip is on top of it");
	rig_append(&stream, 8);
	tap_ok(!kvs_stream_reserve(mid, 128) && record_of(&rig, kvs_stream_id(mid)).reserved_tokens == 128 &&
		       same_output(&rig, id, kvs_stream_id(tip), 39),
	       "each goes on by itself");
	tap_ok(kvs_stream_fork(stream.kvs, 49, &none) == -EINVAL && said(&rig, "allowed are 1 to 48"),
	       "too late: %s", kvs_device_error(rig.device));
	tap_ok(kvs_stream_fork(stream.kvs, 0, &none) == -EINVAL, "at no token: %s",
	       kvs_device_error(rig.device));
	rig_stream_close(&stream);
	tap_ok(same_output(&rig, kvs_stream_id(mid), kvs_stream_id(tip), 15),
	       "they outlive the stream that they came from");
	kvs_stream_free(mid);
	kvs_stream_free(deep);
	tap_ok(free_hbm(&rig) < ALL, "the last one holds what it shares");
	kvs_stream_free(tip);
	tap_ok(free_hbm(&rig) == ALL && hbm_is_clear(&rig) && !record_of(&rig, 0).stream,
	       "with it all HBM comes back, cleared, and no prefix is left");
	rig_close(&rig);
}

static void many(void)
{
	struct kvs_stream *fork[200];
	struct rig_stream stream;
	struct rig rig;
	uint32_t before, copied;
	uint64_t id;
	bool good = true;

	open_stream(&rig, "sim:hbm=64M", &stream, 40);
	id = kvs_stream_id(stream.kvs);
	rig_must(&rig, "promote", promote_one(rig.device, id, 3, 0, 2, 3, NULL));
	rig_must(&rig, "promote", promote_one(rig.device, id, 30, 0, 2, 3, NULL));
	rig_must(&rig, "barrier", kvs_batch_barrier(rig.batch, stream.kvs));
	rig_must(&rig, "barrier", rig_run(&rig, NULL));
	for (unsigned i = 0; i < 200; i++)
		rig_must(&rig, "fork", kvs_stream_fork(stream.kvs, 32, &fork[i]));
	before = record_of(&rig, record_of(&rig, id).prefix).sram_bytes;
	for (unsigned i = 0; i < 200; i++)
		good &= same_output(&rig, id, kvs_stream_id(fork[i]), 31) &&
			!record_of(&rig, kvs_stream_id(fork[i])).sram_bytes;
	copied = record_of(&rig, record_of(&rig, id).prefix).entries;
	tap_ok(good && copied == 2 && before == record_of(&rig, record_of(&rig, id).prefix).sram_bytes,
	       "200 streams read two entries of one prefix, and have no SRAM of their own");
	tap_ok(promote_one(rig.device, kvs_stream_id(fork[7]), 5, 0, 2, 3, NULL) == -EBUSY &&
		       said(&rig, "prefix"),
	       "promoting through one of them: %s", kvs_device_error(rig.device));
	for (unsigned i = 0; i < 200; i++)
		kvs_stream_free(fork[i]);
	rig_stream_close(&stream);
	tap_ok(free_hbm(&rig) == 64 << 20, "nothing is left");
	rig_close(&rig);
}

/* ---- finding and passing on ---- */

static void found(void)
{
	static const uint64_t key[2] = {0x1234, 0x5678}, other[2] = {1, 2};
	struct kvs_geometry geometry = rig_geometry(KVSINK_FORMAT_FP16), wide = geometry;
	struct kvs_prefix *prefix, *again, *longer, *none;
	struct rig_stream stream;
	struct kvs_stream *attached, *refused;
	struct rig rig, same, foreign;
	uint64_t id;

	open_stream(&rig, "sim:share=prefix,uid=1000", &stream, 40);
	id = kvs_stream_id(stream.kvs);
	rig_open(&same, "sim:share=prefix,uid=1000");
	rig_open(&foreign, "sim:share=prefix,uid=1001");
	tap_ok(!kvs_prefix_publish(stream.kvs, 20, key, &prefix) && kvs_prefix_tokens(prefix) == 20,
	       "PREFIX_PUBLISH");
	tap_ok(!kvs_prefix_publish(stream.kvs, 30, key, &longer),
	       "another with the same key, and more tokens");
	tap_ok(!kvs_prefix_find(same.device, key, &again) && kvs_prefix_id(again) == kvs_prefix_id(longer) &&
		       kvs_prefix_tokens(again) == 30,
	       "another process of the user finds the longest one by its key");
	tap_ok(kvs_prefix_find(same.device, other, &none) == -ENOENT, "an unknown key: %s",
	       kvs_device_error(same.device));
	tap_ok(kvs_prefix_find(foreign.device, key, &none) == -ENOENT, "another user does not find it");
	tap_ok(!kvs_stream_attach(same.device, &geometry, again, 25, &attached) &&
		       same_output(&same, kvs_stream_id(attached), kvs_stream_id(attached), 24),
	       "the other process begins with it");
	tap_ok(kvs_stream_attach(same.device, &geometry, again, 31, &refused) == -EINVAL,
	       "with too many tokens: %s", kvs_device_error(same.device));
	wide.d_v = 16;
	tap_ok(kvs_stream_attach(same.device, &wide, again, 20, &refused) == -EXDEV, "another geometry: %s",
	       kvs_device_error(same.device));
	tap_ok(kvs_stream_attach(rig.device, &geometry, again, 20, &refused) == -EXDEV,
	       "another handle of the device: %s", kvs_device_error(rig.device));
	rig_stream_close(&stream);
	kvs_prefix_free(prefix);
	kvs_prefix_free(longer);
	rig_close(&rig);
	tap_ok(record_of(&same, kvs_prefix_id(again)).users == 1, "it survives its publisher");
	kvs_prefix_free(again);
	tap_ok(same_output(&same, kvs_stream_id(attached), kvs_stream_id(attached), 24),
	       "and the last handle");
	kvs_stream_free(attached);
	tap_ok(free_hbm(&same) == 512 << 20, "and is gone with the last stream");
	rig_close(&foreign);
	rig_close(&same);
	(void)id;
}

static void descriptors(void)
{
	struct kvs_geometry geometry = rig_geometry(KVSINK_FORMAT_FP16);
	struct rig rig, foreign, elsewhere;
	struct kvs_prefix *prefix, *theirs, *none;
	struct rig_stream stream;
	struct kvs_stream *attached;
	float out[4 * 8];
	int fd, file = open("/dev/null", O_RDONLY);

	open_stream(&rig, "sim:share=fd,uid=1000", &stream, 40);
	rig_open(&foreign, "sim:share=fd,uid=1001");
	rig_open(&elsewhere, "sim:");
	rig_must(&rig, "publish", kvs_prefix_publish(stream.kvs, 20, NULL, &prefix));
	fd = kvs_prefix_export(prefix);
	tap_ok(fd >= 0 && fcntl(fd, F_GETFD) & FD_CLOEXEC,
	       "a descriptor, not inherited by programs that are started");
	tap_ok(!kvs_prefix_import(foreign.device, fd, &theirs) && kvs_prefix_tokens(theirs) == 20,
	       "another user opens the prefix by it");
	tap_ok(!kvs_stream_attach(foreign.device, &geometry, theirs, 18, &attached) &&
		       !attend(&foreign, kvs_stream_id(attached), 17, out),
	       "and begins with it");
	tap_ok(kvs_query(foreign.device, DRM_KVSINK_QUERY_STREAMS, kvs_prefix_id(prefix), 0, &(void *){NULL},
			 &(size_t){0}) < 1,
	       "but sees no more of it than before");
	tap_ok(kvs_prefix_import(elsewhere.device, fd, &none) == -EXDEV, "on another device: %s",
	       kvs_device_error(elsewhere.device));
	tap_ok(kvs_prefix_import(rig.device, file, &none) == -EINVAL, "a file that is no prefix: %s",
	       kvs_device_error(rig.device));
	tap_ok(kvs_prefix_import(rig.device, 9999, &none) == -EBADF, "no descriptor: %s",
	       kvs_device_error(rig.device));
	close(fd);
	close(file);
	rig_stream_close(&stream);
	kvs_prefix_free(prefix);
	rig_close(&rig);
	tap_ok(!attend(&foreign, kvs_stream_id(attached), 17, out), "it survives its publisher's process");
	kvs_prefix_free(theirs);
	kvs_stream_free(attached);
	tap_ok(free_hbm(&foreign) == 512 << 20, "and takes nothing with it");
	rig_close(&foreign);
	rig_close(&elsewhere);
}

/* ---- detach ---- */

static void detached(void)
{
	struct rig_stream stream;
	struct kvs_stream *fork;
	float before[4 * 8], after[4 * 8];
	struct rig rig;

	open_stream(&rig, "sim:hbm=16M", &stream, 40);
	rig_must(&rig, "fork", kvs_stream_fork(stream.kvs, 37, &fork));
	rig_must(&rig, "attend", attend(&rig, kvs_stream_id(fork), 36, before));
	tap_ok(!kvs_stream_detach(fork) && !record_of(&rig, kvs_stream_id(fork)).prefix, "PREFIX_DETACH");
	tap_ok(kvs_stream_detach(fork) == -ENXIO && said(&rig, "shares no prefix"), "twice: %s",
	       kvs_device_error(rig.device));
	rig_stream_close(&stream);
	tap_ok(!attend(&rig, kvs_stream_id(fork), 36, after) && !memcmp(before, after, sizeof(before)) &&
		       record_of(&rig, kvs_stream_id(fork)).length == 37,
	       "its rows are its own");
	kvs_stream_free(fork);
	tap_ok(free_hbm(&rig) == ALL && hbm_is_clear(&rig), "and go with it");
	rig_close(&rig);
}

/* ---- what is refused ---- */

static void refused(void)
{
	struct kvs_geometry geometry = rig_geometry(KVSINK_FORMAT_FP16);
	struct drm_kvsink_prefix_publish publish;
	struct drm_kvsink_prefix_attach attach_args;
	struct drm_kvsink_prefix_handle handle = {.handle = 77};
	struct rig_stream stream;
	struct kvs_stream *empty;
	struct kvs_prefix *prefix;
	struct rig rig, other;

	open_stream(&rig, "sim:share=refused,hbm=16M", &stream, 40);
	rig_open(&other, "sim:share=refused,hbm=16M");
	tap_ok(kvs_prefix_publish(stream.kvs, 41, NULL, &prefix) == -EINVAL, "more tokens than there are: %s",
	       kvs_device_error(rig.device));
	rig_must(&rig, "append",
		 kvs_batch_append(rig.batch, stream.kvs, 0, 40, 1, rig_at(&rig, 0), rig_at(&rig, 0)));
	rig_must(&rig, "append", rig_run(&rig, NULL));
	tap_ok(kvs_prefix_publish(stream.kvs, 20, NULL, &prefix) == -EBUSY, "in an open step: %s",
	       kvs_device_error(rig.device));
	rig_must(&rig, "abort", kvs_batch_step_abort(rig.batch, stream.kvs));
	rig_must(&rig, "abort", rig_run(&rig, NULL));
	publish = (struct drm_kvsink_prefix_publish){
		.stream = kvs_stream_id(stream.kvs), .tokens = 8, .flags = 1};
	tap_ok(kvs_device_ioctl(rig.device, DRM_IOCTL_KVSINK_PREFIX_PUBLISH, &publish) == -EINVAL,
	       "an unknown flag");
	publish.flags = 0;
	tap_ok(kvs_device_ioctl(other.device, DRM_IOCTL_KVSINK_PREFIX_PUBLISH, &publish) == -EACCES,
	       "another file's stream");
	tap_ok(kvs_device_ioctl(rig.device, DRM_IOCTL_KVSINK_PREFIX_CLOSE, &handle) == -ENOENT &&
		       kvs_device_ioctl(rig.device, DRM_IOCTL_KVSINK_PREFIX_EXPORT, &handle) == -ENOENT,
	       "an unknown handle");
	rig_must(&rig, "publish", kvs_prefix_publish(stream.kvs, 20, NULL, &prefix));
	rig_must(&rig, "stream", kvs_stream_create(rig.device, &geometry, &empty));
	attach_args = (struct drm_kvsink_prefix_attach){
		.stream = kvs_stream_id(empty), .handle = prefix->handle, .tokens = 8};
	tap_ok(kvs_device_ioctl(rig.device, DRM_IOCTL_KVSINK_PREFIX_ATTACH, &attach_args) == -EBUSY,
	       "a stream that has pages");
	attach_args.handle = 99;
	tap_ok(kvs_device_ioctl(rig.device, DRM_IOCTL_KVSINK_PREFIX_ATTACH, &attach_args) == -ENOENT,
	       "no prefix");
	kvs_stream_free(empty);
	kvs_prefix_free(prefix);
	kvs_prefix_free(NULL);
	rig_stream_close(&stream);
	tap_ok(free_hbm(&rig) == ALL, "none of these has left anything behind");
	rig_close(&other);
	rig_close(&rig);
}

/* ---- resets ---- */

static void inject(struct rig *rig, enum kvsink_inject what, uint32_t count)
{
	kvsink_inject(chip_of(rig)->silicon, what, count);
}

/* A job hangs, or does its work without an end: the call is done or not, and nothing is left of one that is
 * not. */
static bool one_reset(enum kvsink_inject what, uint32_t skip, unsigned *failed)
{
	struct rig_stream stream;
	struct kvs_stream *fork;
	struct rig rig;
	uint64_t id;
	bool good;
	int err;

	open_stream(&rig, "sim:hbm=16M", &stream, 40);
	id = kvs_stream_id(stream.kvs);
	inject(&rig, KVSINK_INJECT_SKIP, skip);
	inject(&rig, what, 1);
	err = kvs_stream_fork(stream.kvs, 21, &fork);
	inject(&rig, KVSINK_INJECT_SKIP, 0);
	inject(&rig, what, 0);
	*failed += err == -ECANCELED;
	if (err)
		err = err == -ECANCELED ? kvs_stream_fork(stream.kvs, 21, &fork) : err;
	good = !err && same_output(&rig, id, kvs_stream_id(fork), 20);
	if (err)
		tap_diag("fork: %s", kvs_device_error(rig.device));
	inject(&rig, KVSINK_INJECT_SKIP, skip);
	inject(&rig, what, 1);
	err = kvs_stream_detach(fork);
	inject(&rig, KVSINK_INJECT_SKIP, 0);
	inject(&rig, what, 0);
	if (err == -ECANCELED || err == -ENXIO)
		err = kvs_stream_detach(fork);
	if (err && err != -ENXIO)
		tap_diag("detach: %s", kvs_device_error(rig.device));
	good &= (!err || err == -ENXIO) && same_output(&rig, id, kvs_stream_id(fork), 20);
	kvs_stream_free(fork);
	rig_stream_close(&stream);
	good &= free_hbm(&rig) == ALL && hbm_is_clear(&rig);
	rig_close(&rig);
	return good;
}

static void resets(void)
{
	unsigned failed = 0;

	for (uint32_t skip = 0; skip < 8; skip++)
		tap_ok(one_reset(KVSINK_INJECT_HANG, skip, &failed) &&
			       one_reset(KVSINK_INJECT_LOST, skip, &failed),
		       "job %u of a fork and a detach hangs or ends unseen", skip);
	tap_ok(failed, "some forks were refused by it");
}

int main(void)
{
	forks();
	many();
	found();
	descriptors();
	detached();
	refused();
	resets();
	return tap_done();
}
