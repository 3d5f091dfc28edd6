// SPDX-License-Identifier: MIT
/*
 * Replay windows: rows on trial. The device does all of it; here an error becomes a line.
 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* Rows of the open window; 0 if nobody can say. For the message only. */
static unsigned rows_of(struct kvs_stream *stream)
{
	struct kvsink_stream_rec rec = {0};
	size_t bytes;
	void *records;
	int count = kvs_query(stream->device, DRM_KVSINK_QUERY_STREAMS, stream->id, 0, &records, &bytes);

	if (count < 0)
		return 0;
	if (count == 1 && bytes >= sizeof(rec))
		memcpy(&rec, records, sizeof(rec));
	free(records);
	return rec.window_rows;
}

/* What the errno alone does not say. */
static const char *reason(uint32_t code, int err)
{
	switch (code) {
	case KVSINK_CODE_WINDOW:
		return "EBUSY: a window is open, and windows do not nest";
	case KVSINK_CODE_BUSY:
		return "EBUSY: a step is open";
	case KVSINK_CODE_NO_WINDOW:
		return "ENOENT: no window is open";
	case KVSINK_CODE_SEQUENCE:
		return "EILSEQ: the layers do not have the same number of rows";
	default:
		return err == -ENOSPC ? "ENOSPC: no HBM for its journal" : kvs_errno_text(err);
	}
}

KVS_PUBLIC int kvs_window_begin(struct kvs_stream *stream, uint32_t tokens)
{
	struct drm_kvsink_window args = {.stream = stream->id, .tokens = tokens};
	unsigned long long id = stream->id;
	int err = kvs_device_call(stream->device, DRM_IOCTL_KVSINK_WINDOW_BEGIN, &args);

	if (err == -EINVAL)
		return kvs_fail(stream->device, err,
				"WINDOW_BEGIN: stream %llu, tokens = %u: allowed are 1 to %u", id, tokens,
				KVSINK_MAX_WINDOW_TOKENS);
	return err ? kvs_fail(stream->device, err, "WINDOW_BEGIN: stream %llu, tokens = %u: %s", id, tokens,
			      reason(args.code, err))
		   : 0;
}

static int commit(struct kvs_stream *stream, const char *name, uint32_t tokens)
{
	struct drm_kvsink_window args = {.stream = stream->id, .tokens = tokens};
	unsigned long long id = stream->id;
	int err = kvs_device_call(stream->device, DRM_IOCTL_KVSINK_WINDOW_COMMIT, &args);

	if (err == -EINVAL)
		return kvs_fail(stream->device, err, "%s: stream %llu, tokens = %u: the window has %u rows",
				name, id, tokens, rows_of(stream));
	return err ? kvs_fail(stream->device, err, "%s: stream %llu: %s", name, id, reason(args.code, err))
		   : 0;
}

KVS_PUBLIC int kvs_window_commit(struct kvs_stream *stream, uint32_t tokens)
{
	return commit(stream, "WINDOW_COMMIT", tokens);
}

KVS_PUBLIC int kvs_window_rollback(struct kvs_stream *stream)
{
	return commit(stream, "WINDOW_COMMIT of 0", 0);
}
