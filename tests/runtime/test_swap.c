// SPDX-License-Identifier: MIT
/*
 * Swap through the library: what a program sees of it. HBM that is short, cleared and given back; wrong
 * images and buffers; other files and tenants; resets. The test looks into the simulated memories where it
 * matters.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "inside.h"
#include "place.h"
#include "tap.h"

/* A stream with 40 tokens, its image's buffer. */
static struct kvs_buffer *open_stream(struct rig *rig, const char *device, struct rig_stream *stream)
{
	struct kvs_geometry geometry = rig_geometry(KVSINK_FORMAT_FP16);
	struct kvs_buffer *image;
	uint64_t bytes;

	rig_open(rig, device);
	rig_stream_open(rig, &geometry, stream);
	rig_append(stream, 40);
	rig_must(rig, "image", kvs_stream_image_bytes(stream->kvs, &bytes));
	rig_must(rig, "image", kvs_buffer_create(rig->device, bytes, &image));
	return image;
}

static void close_stream(struct rig *rig, struct rig_stream *stream, struct kvs_buffer *image)
{
	rig_stream_close(stream);
	kvs_buffer_free(image);
	rig_close(rig);
}

static int out(struct rig_stream *stream, struct kvs_buffer *image)
{
	return kvs_stream_swap_out(stream->kvs, (struct kvs_place){image, 0});
}

static int in(struct rig_stream *stream, struct kvs_buffer *image)
{
	return kvs_stream_swap_in(stream->kvs, (struct kvs_place){image, 0});
}

/* Attention of the last token, the same queries each time. */
static int attend(struct rig *rig, const struct rig_stream *stream)
{
	const struct drm_kvsink_attend_item item = {kvs_stream_id(stream->kvs), 1, stream->length - 1, 1, 0};

	rig->random = 7;
	rig_fill(rig, 0, 4 * 16, 2);
	rig_must(rig, "attend",
		 kvs_batch_attend(rig->batch, &item, 1, 0, rig_at(rig, 0), rig_at(rig, RIG_OUT),
				  (struct kvs_place){0}, (struct kvs_place){0}));
	return rig_run(rig, NULL);
}

/* ---- the way of a program ---- */

static void out_and_in(void)
{
	struct kvsink_stream_rec rec;
	struct kvs_buffer *image;
	struct rig_stream stream;
	float before[4 * 8];
	struct rig rig;

	image = open_stream(&rig, "sim:", &stream);
	rig_must(&rig, "attend", attend(&rig, &stream));
	memcpy(before, rig.memory + RIG_OUT, sizeof(before));
	tap_ok(!out(&stream, image), "SWAP_OUT into a buffer of just that size");
	rec = record(&rig, &stream);
	tap_ok(rec.swapped && rec.length == 40 && !rec.reserved_tokens && rec.image_bytes <= image->bytes,
	       "QUERY shows the stream: out, and as long as it was");
	tap_ok(attend(&rig, &stream) == -ENODATA && said(&rig, "SWAPPED"), "ATTEND then: %s",
	       kvs_device_error(rig.device));
	tap_ok(kvs_stream_reserve(stream.kvs, 128) == -ENODATA && said(&rig, "swapped out"),
	       "STREAM_RESERVE then: %s", kvs_device_error(rig.device));
	tap_ok(out(&stream, image) == -ENODATA, "SWAP_OUT once more: %s", kvs_device_error(rig.device));
	tap_ok(!in(&stream, image) && !record(&rig, &stream).swapped &&
		       record(&rig, &stream).reserved_tokens == 128,
	       "SWAP_IN, with all the pages that were reserved");
	memset(rig.memory + RIG_OUT, 0, sizeof(before));
	tap_ok(!attend(&rig, &stream) && !memcmp(before, rig.memory + RIG_OUT, sizeof(before)),
	       "the same output as before");
	tap_ok(in(&stream, image) == -EBUSY, "SWAP_IN once more: %s", kvs_device_error(rig.device));
	rig_append(&stream, 3);
	tap_ok(!attend(&rig, &stream), "it goes on from there");
	close_stream(&rig, &stream, image);
}

static void open_step(void)
{
	struct kvs_buffer *image;
	struct rig_stream stream;
	struct rig rig;

	image = open_stream(&rig, "sim:", &stream);
	rig_must(&rig, "append",
		 kvs_batch_append(rig.batch, stream.kvs, 0, 40, 1, rig_at(&rig, 0), rig_at(&rig, 0)));
	rig_must(&rig, "append", rig_run(&rig, NULL));
	tap_ok(out(&stream, image) == -EBUSY && !record(&rig, &stream).swapped, "while a step is open: %s",
	       kvs_device_error(rig.device));
	rig_must(&rig, "abort", kvs_batch_step_abort(rig.batch, stream.kvs));
	rig_must(&rig, "abort", rig_run(&rig, NULL));
	rig_must(&rig, "promote", promote_one(rig.device, kvs_stream_id(stream.kvs), 5, 0, 2, 3, NULL));
	tap_ok(!out(&stream, image), "copies under way are waited for");
	close_stream(&rig, &stream, image);
}

/* ---- memory ---- */

static void memory(void)
{
	struct kvs_geometry large = rig_geometry(KVSINK_FORMAT_FP16);
	struct kvs_buffer *image;
	struct rig_stream stream, guest;
	struct rig rig;
	bool failed = true;

	image = open_stream(&rig, "sim:hbm=16M", &stream);
	tap_ok(!out(&stream, image) && free_hbm(&rig) == 16 << 20, "SWAP_OUT gives all HBM back");
	tap_ok(hbm_is_clear(&rig), "and nothing of the stream is left in it");
	large.max_tokens = 128 << 10;
	large.reserve_tokens = 16;
	rig_stream_open(&rig, &large, &guest);
	for (uint32_t tokens = 32; !kvs_stream_reserve(guest.kvs, tokens); tokens += 16)
		;
	for (unsigned i = 0; i < 3; i++)
		failed &= in(&stream, image) == -ENOSPC && record(&rig, &stream).swapped;
	tap_ok(failed && free_hbm(&rig) < 4096, "SWAP_IN without HBM: %s", kvs_device_error(rig.device));
	rig_stream_close(&guest);
	tap_ok(!in(&stream, image) && !attend(&rig, &stream), "with HBM again it comes back");
	tap_ok(!out(&stream, image), "it may leave again");
	rig_stream_close(&stream);
	tap_ok(free_hbm(&rig) == 16 << 20 && hbm_is_clear(&rig), "and end while it is out: nothing is left");
	kvs_buffer_free(image);
	rig_close(&rig);
}

/* ---- images and buffers ---- */

static void images(void)
{
	struct kvs_buffer *image, *copy, *small, *foreign;
	struct rig_stream stream;
	struct rig rig, other;
	uint64_t bytes;

	image = open_stream(&rig, "sim:hbm=16M", &stream);
	rig_open(&other, "sim:");
	rig_must(&rig, "image", kvs_stream_image_bytes(stream.kvs, &bytes));
	rig_must(&rig, "buffer", kvs_buffer_create(rig.device, 4096, &small));
	rig_must(&rig, "buffer", kvs_buffer_create(rig.device, image->bytes + 4096, &copy));
	rig_must(&other, "buffer", kvs_buffer_create(other.device, image->bytes, &foreign));
	tap_ok(out(&stream, small) == -E2BIG && said(&rig, "bytes, more than"),
	       "a buffer that is too small: %s", kvs_device_error(rig.device));
	tap_ok(out(&stream, foreign) == -EINVAL, "another device's buffer: %s", kvs_device_error(rig.device));
	tap_ok(kvs_stream_swap_out(stream.kvs, (struct kvs_place){image, image->bytes + 4096}) == -EFAULT,
	       "a place outside the buffer: %s", kvs_device_error(rig.device));
	tap_ok(kvs_stream_swap_out(stream.kvs, (struct kvs_place){copy, 2}) == -EINVAL,
	       "a place that is not aligned: %s", kvs_device_error(rig.device));
	tap_ok(!record(&rig, &stream).swapped && !attend(&rig, &stream),
	       "none of these has moved the stream");

	rig_must(&rig, "out", out(&stream, image));
	memcpy((char *)copy->data + 4096, image->data, bytes);
	((char *)image->data)[bytes / 2] ^= 1;
	tap_ok(in(&stream, image) == -EBADMSG && said(&rig, "not the image"), "a changed image: %s",
	       kvs_device_error(rig.device));
	tap_ok(in(&stream, copy) == -EBADMSG, "another buffer that does not begin with it");
	tap_ok(in(&stream, small) == -E2BIG, "a buffer that is too short: %s", kvs_device_error(rig.device));
	kvs_buffer_free(image);
	tap_ok(record(&rig, &stream).swapped && free_hbm(&rig) == 16 << 20 && hbm_is_clear(&rig),
	       "none of these has left anything in HBM");
	tap_ok(!kvs_stream_swap_in(stream.kvs, (struct kvs_place){copy, 4096}) && !attend(&rig, &stream),
	       "a true copy elsewhere is as good, the first buffer being freed");
	kvs_buffer_free(copy);
	kvs_buffer_free(foreign);
	rig_close(&other);
	close_stream(&rig, &stream, small);
}

static int raw(struct rig *rig, unsigned long request, uint64_t stream, uint32_t handle, uint32_t pad)
{
	struct drm_kvsink_swap args = {.stream = stream, .image.handle = handle, .bytes = 4096, .pad = pad};

	return kvs_device_ioctl(rig->device, request, &args);
}

static void others(void)
{
	struct rig rig, same_tenant, other_tenant;
	struct kvs_buffer *image;
	struct rig_stream stream;
	uint64_t id;

	image = open_stream(&rig, "sim:share=swap,uid=1000", &stream);
	rig_open(&same_tenant, "sim:share=swap,uid=1000");
	rig_open(&other_tenant, "sim:share=swap,uid=1001");
	id = kvs_stream_id(stream.kvs);
	tap_ok(raw(&same_tenant, DRM_IOCTL_KVSINK_SWAP_OUT, id, same_tenant.buffer->handle, 0) == -EACCES,
	       "another file of the tenant may not swap the stream");
	tap_ok(raw(&other_tenant, DRM_IOCTL_KVSINK_SWAP_OUT, id, other_tenant.buffer->handle, 0) == -ENOENT,
	       "another tenant does not even find it");
	rig_must(&rig, "out", out(&stream, image));
	tap_ok(raw(&same_tenant, DRM_IOCTL_KVSINK_SWAP_IN, id, same_tenant.buffer->handle, 0) == -EACCES &&
		       raw(&other_tenant, DRM_IOCTL_KVSINK_SWAP_IN, id, other_tenant.buffer->handle, 0) ==
			       -ENOENT,
	       "nor may they bring it back");
	tap_ok(raw(&rig, DRM_IOCTL_KVSINK_SWAP_IN, id, image->handle, 1) == -EINVAL, "a pad that is not 0");
	tap_ok(raw(&rig, DRM_IOCTL_KVSINK_SWAP_IN, id, 0, 0) == -ENOENT, "no image");
	tap_ok(raw(&rig, DRM_IOCTL_KVSINK_SWAP_IN, id, 999, 0) == -ENOENT, "an unknown image");
	tap_ok(raw(&rig, DRM_IOCTL_KVSINK_SWAP_IN, 999, image->handle, 0) == -ENOENT, "an unknown stream");
	tap_ok(evict_one(same_tenant.device, id, KVSINK_TOKEN_ALL, 0, 2) == -ENOENT,
	       "the tenant's other files may still look for its entries");
	tap_ok(!in(&stream, image), "its owner brings it back");
	rig_must(&rig, "out", out(&stream, image));
	rig_close(&same_tenant);
	close_stream(&rig, &stream, image);
	tap_ok(free_hbm(&other_tenant) == 512 << 20, "and leaves no HBM behind when it goes");
	rig_close(&other_tenant);
}

/* ---- resets ---- */

static void inject(struct rig *rig, enum kvsink_inject what, uint32_t count)
{
	kvsink_inject(chip_of(rig)->silicon, what, count);
}

static void resets(void)
{
	struct kvs_buffer *image;
	struct rig_stream stream;
	struct rig rig;

	image = open_stream(&rig, "sim:hbm=16M", &stream);
	inject(&rig, KVSINK_INJECT_HANG, 1);
	tap_ok(out(&stream, image) == -ECANCELED && !record(&rig, &stream).swapped && !attend(&rig, &stream),
	       "SWAP_OUT that a reset overtakes: the stream is in HBM");
	rig_must(&rig, "out", out(&stream, image));
	inject(&rig, KVSINK_INJECT_HANG, 1);
	rig_must(&rig, "barrier", kvs_batch_barrier(rig.batch, stream.kvs));
	rig_run(&rig, NULL);
	tap_ok(record(&rig, &stream).swapped && !in(&stream, image) && !attend(&rig, &stream),
	       "a reset while it is out takes nothing of it");
	rig_must(&rig, "out", out(&stream, image));
	inject(&rig, KVSINK_INJECT_HANG, 1);
	tap_ok(in(&stream, image) == -ECANCELED && record(&rig, &stream).swapped &&
		       free_hbm(&rig) == 16 << 20 && !in(&stream, image),
	       "SWAP_IN that a reset overtakes: the stream is out, and comes back with the next");
	inject(&rig, KVSINK_INJECT_DMA_ERROR, 1);
	tap_ok(out(&stream, image) == -EIO && !record(&rig, &stream).swapped, "SWAP_OUT on a bad bus: %s",
	       kvs_device_error(rig.device));
	rig_must(&rig, "out", out(&stream, image));
	inject(&rig, KVSINK_INJECT_DMA_ERROR, 1);
	tap_ok(in(&stream, image) == -EIO && record(&rig, &stream).swapped && free_hbm(&rig) == 16 << 20 &&
		       hbm_is_clear(&rig),
	       "SWAP_IN on a bad bus leaves it out, and HBM clear");
	tap_ok(!in(&stream, image) && !attend(&rig, &stream), "the next one works");
	close_stream(&rig, &stream, image);
}

/* The stream as it was: in HBM, all of its pages, the same output as `before`. */
static bool as_before(struct rig *rig, struct rig_stream *stream, const float *before)
{
	struct kvsink_stream_rec rec = record(rig, stream);

	memset(rig->memory + RIG_OUT, 0, 4 * 8 * sizeof(float));
	return !rec.swapped && rec.reserved_tokens == 128 && !attend(rig, stream) &&
	       !memcmp(before, rig->memory + RIG_OUT, 4 * 8 * sizeof(float));
}

/*
 * The job behind `skip` others hangs, or does its work without an end. Whatever job of a move that is: the
 * move is done or not, and says which; the stream is whole; HBM is given back or taken, all of it.
 */
static bool one_reset(struct rig *rig, struct rig_stream *stream, struct kvs_buffer *image,
		      enum kvsink_inject what, uint32_t skip)
{
	uint64_t all = 16 << 20, taken;
	float before[4 * 8];
	bool good = true;
	int err;

	rig_must(rig, "attend", attend(rig, stream));
	memcpy(before, rig->memory + RIG_OUT, sizeof(before));
	taken = all - free_hbm(rig);
	for (unsigned move = 0; move < 4 && good; move++) {
		bool leaves = move % 2 == 0;

		inject(rig, KVSINK_INJECT_SKIP, skip);
		inject(rig, what, move < 2);
		err = leaves ? out(stream, image) : in(stream, image);
		inject(rig, KVSINK_INJECT_SKIP, 0);
		inject(rig, what, 0);
		good = (!err || (err == -ECANCELED && move < 2)) &&
		       record(rig, stream).swapped == (leaves ? !err : !!err) &&
		       free_hbm(rig) == (record(rig, stream).swapped ? all : all - taken);
		if (err && good) /* the next one works */
			good = leaves ? !out(stream, image) : !in(stream, image);
	}
	return good && as_before(rig, stream, before);
}

static void resets_anywhere(void)
{
	struct kvs_buffer *image;
	struct rig_stream stream;
	struct rig rig;

	image = open_stream(&rig, "sim:hbm=16M", &stream);
	for (uint32_t skip = 0; skip < 6; skip++)
		tap_ok(one_reset(&rig, &stream, image, KVSINK_INJECT_HANG, skip) &&
			       one_reset(&rig, &stream, image, KVSINK_INJECT_LOST, skip),
		       "job %u of a move hangs or ends unseen", skip);
	close_stream(&rig, &stream, image);
}

static void unseen(void)
{
	struct kvs_buffer *image, *other;
	struct rig_stream stream;
	struct rig rig;
	uint64_t bytes;

	image = open_stream(&rig, "sim:hbm=16M", &stream);
	rig_must(&rig, "image", kvs_stream_image_bytes(stream.kvs, &bytes));
	rig_must(&rig, "buffer", kvs_buffer_create(rig.device, bytes, &other));
	inject(&rig, KVSINK_INJECT_LOST, 1);
	tap_ok(!out(&stream, image) && record(&rig, &stream).swapped && free_hbm(&rig) == 16 << 20,
	       "SWAP_OUT that is done and ends unseen is done");
	inject(&rig, KVSINK_INJECT_HANG, 1);
	tap_ok(out(&stream, other) == -ENODATA && said(&rig, "swapped out"),
	       "one more, into another buffer, while a job hangs: %s", kvs_device_error(rig.device));
	inject(&rig, KVSINK_INJECT_HANG, 0);
	tap_ok(in(&stream, other) == -EBADMSG && !in(&stream, image), "only the first one has the image");
	rig_must(&rig, "out", out(&stream, image));
	inject(&rig, KVSINK_INJECT_SKIP, 2); /* SWAP_PLACE, PAGE_MAP */
	inject(&rig, KVSINK_INJECT_LOST, 1);
	tap_ok(!in(&stream, image) && !record(&rig, &stream).swapped, "SWAP_IN that ends unseen is done");
	rig_must(&rig, "out", out(&stream, image));
	inject(&rig, KVSINK_INJECT_SKIP, 2);
	inject(&rig, KVSINK_INJECT_LOST, 1 + SIM_KERNEL_TRIES); /* it, and all questions */
	tap_ok(in(&stream, image) == -ECANCELED, "if nobody can tell: %s", kvs_device_error(rig.device));
	tap_ok(!kvs_stream_reserve(stream.kvs, 128), "the next who cares asks: STREAM_RESERVE");
	tap_ok(in(&stream, image) == -EBUSY, "it was back");
	inject(&rig, KVSINK_INJECT_LOST, 1 + SIM_KERNEL_TRIES);
	tap_ok(out(&stream, image) == -ECANCELED && free_hbm(&rig) < 16 << 20,
	       "SWAP_OUT that nobody can tell of");
	tap_ok(kvs_stream_reserve(stream.kvs, 128) == -ENODATA && free_hbm(&rig) == 16 << 20,
	       "is told by the next question, and HBM is given back");
	tap_ok(!in(&stream, image) && !attend(&rig, &stream), "it comes back");
	kvs_buffer_free(other);
	close_stream(&rig, &stream, image);
}

static void mapped_unseen(void)
{
	struct kvs_geometry geometry = rig_geometry(KVSINK_FORMAT_FP16);
	struct kvs_buffer *image;
	struct rig_stream stream;
	struct rig rig;

	rig_open(&rig, "sim:hbm=16M");
	geometry.reserve_tokens = 16;
	rig_stream_open(&rig, &geometry, &stream);
	rig_must(&rig, "buffer", kvs_buffer_create(rig.device, 64 << 10, &image));
	inject(&rig, KVSINK_INJECT_LOST, 1);
	tap_ok(!kvs_stream_reserve(stream.kvs, 64) && record(&rig, &stream).reserved_tokens == 64,
	       "pages that were mapped unseen are mapped once");
	rig_append(&stream, 64);
	tap_ok(!out(&stream, image) && !in(&stream, image) && record(&rig, &stream).reserved_tokens == 64 &&
		       !attend(&rig, &stream),
	       "and all of them come back");
	inject(&rig, KVSINK_INJECT_HANG, SIM_KERNEL_TRIES);
	tap_ok(kvs_stream_reserve(stream.kvs, 96) == -ECANCELED &&
		       record(&rig, &stream).reserved_tokens == 64 && !kvs_stream_reserve(stream.kvs, 96),
	       "resets without end: %s", kvs_device_error(rig.device));
	close_stream(&rig, &stream, image);
}

int main(void)
{
	out_and_in();
	open_step();
	memory();
	images();
	others();
	resets();
	resets_anywhere();
	unseen();
	mapped_unseen();
	return tap_done();
}
