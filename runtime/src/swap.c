// SPDX-License-Identifier: MIT
/*
 * Swap: a stream's HBM content in a buffer of the caller's. What is refused, and why, is the device's
 * business; here a place becomes an argument, and an error a line.
 */
#include <stdlib.h>

#include "internal.h"

KVS_PUBLIC int kvs_stream_image_bytes(struct kvs_stream *stream, uint64_t *bytes)
{
	struct kvsink_stream_rec *rec;
	size_t record_bytes;
	void *records;
	int count =
		kvs_query(stream->device, DRM_KVSINK_QUERY_STREAMS, stream->id, 0, &records, &record_bytes);

	if (count < 0)
		return count;
	rec = records;
	if (count == 1 && record_bytes >= sizeof(*rec))
		*bytes = rec->image_bytes;
	free(records);
	return count == 1 && record_bytes >= sizeof(*rec)
		       ? 0
		       : kvs_fail(stream->device, -EOPNOTSUPP, "swap: the device tells no image size");
}

static int swap(struct kvs_stream *stream, const char *name, unsigned long request, struct kvs_place image)
{
	struct drm_kvsink_swap args = {.stream = stream->id, .image.offset = image.offset};
	unsigned long long id = stream->id;
	int err;

	if (!image.buffer || image.buffer->device != stream->device)
		return kvs_fail(stream->device, -EINVAL,
				"%s: stream %llu: image needs a buffer of its device", name, id);
	args.image.handle = image.buffer->handle;
	args.bytes = image.offset < image.buffer->bytes ? image.buffer->bytes - image.offset : 0;
	err = kvs_device_call(stream->device, request, &args);
	if (err == -E2BIG)
		return kvs_fail(
			stream->device, err,
			"%s: stream %llu: the image has %llu bytes, more than the buffer from there on", name,
			id, (unsigned long long)args.bytes);
	return err ? kvs_fail(stream->device, err, "%s: stream %llu: %s", name, id,
			      args.code == KVSINK_CODE_WINDOW ? "EBUSY: a replay window is open"
							      : kvs_errno_text(err))
		   : 0;
}

KVS_PUBLIC int kvs_stream_swap_out(struct kvs_stream *stream, struct kvs_place image)
{
	return swap(stream, "SWAP_OUT", DRM_IOCTL_KVSINK_SWAP_OUT, image);
}

KVS_PUBLIC int kvs_stream_swap_in(struct kvs_stream *stream, struct kvs_place image)
{
	return swap(stream, "SWAP_IN", DRM_IOCTL_KVSINK_SWAP_IN, image);
}
