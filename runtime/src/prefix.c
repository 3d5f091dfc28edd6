// SPDX-License-Identifier: MIT
/*
 * Prefixes: handles of what streams share. Forking is publishing what no prefix has yet, then attaching.
 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static int fail(struct kvs_device *device, int err, const char *what, uint64_t stream, uint32_t code)
{
	const char *text = code ? kvs_code_name(code) : NULL;

	if (!err)
		return 0;
	if (!text)
		return kvs_fail(device, err, "%s %llu: %s", what, (unsigned long long)stream,
				kvs_errno_text(err));
	return kvs_fail(device, err, "%s %llu: %s: %.*s", what, (unsigned long long)stream, text,
			(int)strcspn(kvs_code_text(code), ";"), kvs_code_text(code));
}

static int add_prefix(struct kvs_device *device, uint64_t id, uint32_t handle, uint32_t tokens,
		      struct kvs_prefix **prefix)
{
	struct drm_kvsink_prefix_handle close = {.handle = handle};
	struct kvs_prefix *new = malloc(sizeof(*new));

	if (!new) {
		kvs_device_call(device, DRM_IOCTL_KVSINK_PREFIX_CLOSE, &close);
		return kvs_fail(device, -ENOMEM, "prefix: %s", kvs_errno_text(-ENOMEM));
	}
	*new = (struct kvs_prefix){device, id, handle, tokens};
	kvs_device_ref(device);
	*prefix = new;
	return 0;
}

/* ---- publish, find, pass on -------------------------------------------------------------------------- */

KVS_PUBLIC int kvs_prefix_publish(struct kvs_stream *stream, uint32_t tokens, const uint64_t key[2],
				  struct kvs_prefix **prefix)
{
	struct drm_kvsink_prefix_publish args = {.stream = stream->id, .tokens = tokens};
	int err;

	if (key)
		memcpy(args.key, key, sizeof(args.key));
	err = kvs_device_call(stream->device, DRM_IOCTL_KVSINK_PREFIX_PUBLISH, &args);
	if (err == -EINVAL && !args.code)
		return kvs_fail(stream->device, err,
				"PREFIX_PUBLISH: stream %llu, %u tokens: allowed are 1 to its length",
				(unsigned long long)stream->id, tokens);
	if (err)
		return fail(stream->device, err, "PREFIX_PUBLISH: stream", stream->id, args.code);
	return add_prefix(stream->device, args.prefix, args.handle, tokens, prefix);
}

static int open_prefix(struct kvs_device *device, uint64_t id, int fd, struct kvs_prefix **prefix)
{
	struct drm_kvsink_prefix_open args = {.prefix = id, .fd = fd};
	int err = kvs_device_call(device, DRM_IOCTL_KVSINK_PREFIX_OPEN, &args);

	if (err && !id)
		return kvs_fail(device, err, "PREFIX_OPEN: descriptor %d: %s", fd,
				err == -EINVAL ? "EINVAL: it is no prefix" : kvs_errno_text(err));
	if (err)
		return fail(device, err, "PREFIX_OPEN: prefix", id, 0);
	return add_prefix(device, id, args.handle, args.tokens, prefix);
}

KVS_PUBLIC int kvs_prefix_find(struct kvs_device *device, const uint64_t key[2], struct kvs_prefix **prefix)
{
	const struct kvsink_stream_rec *rec, *best = NULL;
	size_t bytes;
	void *list;
	int count = kvs_query(device, DRM_KVSINK_QUERY_STREAMS, 0, 0, &list, &bytes), err;

	if (count < 0)
		return count;
	for (int i = 0; i < count && bytes >= sizeof(*rec); i++) {
		rec = (const void *)((const char *)list + i * bytes);
		if (rec->closed && !memcmp(rec->key, key, sizeof(rec->key)) &&
		    (!best || rec->length > best->length))
			best = rec;
	}
	err = best ? open_prefix(device, best->stream, -1, prefix)
		   : kvs_fail(device, -ENOENT, "prefix: no prefix has the key %016llx%016llx",
			      (unsigned long long)key[0], (unsigned long long)key[1]);
	free(list);
	return err;
}

KVS_PUBLIC int kvs_prefix_export(struct kvs_prefix *prefix)
{
	struct drm_kvsink_prefix_handle args = {.handle = prefix->handle};
	int err = kvs_device_call(prefix->device, DRM_IOCTL_KVSINK_PREFIX_EXPORT, &args);

	return err ? fail(prefix->device, err, "PREFIX_EXPORT: prefix", prefix->id, 0) : args.fd;
}

/* The record tells the id only to those who may see it; a descriptor is enough to attach. */
KVS_PUBLIC int kvs_prefix_import(struct kvs_device *device, int fd, struct kvs_prefix **prefix)
{
	return open_prefix(device, 0, fd, prefix);
}

KVS_PUBLIC uint64_t kvs_prefix_id(const struct kvs_prefix *prefix)
{
	return prefix->id;
}

KVS_PUBLIC uint32_t kvs_prefix_tokens(const struct kvs_prefix *prefix)
{
	return prefix->tokens;
}

KVS_PUBLIC void kvs_prefix_free(struct kvs_prefix *prefix)
{
	struct drm_kvsink_prefix_handle args = {0};

	if (!prefix)
		return;
	args.handle = prefix->handle;
	kvs_device_call(prefix->device, DRM_IOCTL_KVSINK_PREFIX_CLOSE, &args);
	kvs_close(prefix->device);
	free(prefix);
}

/* ---- streams that begin with one ----------------------------------------------------------------------- */

static int attach(struct kvs_stream *stream, struct kvs_prefix *prefix, uint32_t tokens)
{
	struct drm_kvsink_prefix_attach args = {
		.stream = stream->id, .handle = prefix->handle, .tokens = tokens};
	int err = kvs_device_call(stream->device, DRM_IOCTL_KVSINK_PREFIX_ATTACH, &args);

	if (err == -EINVAL && !args.code)
		return kvs_fail(stream->device, err,
				"PREFIX_ATTACH: %u tokens: allowed are 1 to %u, and the stream's max_tokens",
				tokens, prefix->tokens);
	return err ? fail(stream->device, err, "PREFIX_ATTACH: stream", stream->id, args.code)
		   : kvs_stream_reserve(stream, stream->geometry.reserve_tokens);
}

KVS_PUBLIC int kvs_stream_attach(struct kvs_device *device, const struct kvs_geometry *geometry,
				 struct kvs_prefix *prefix, uint32_t tokens, struct kvs_stream **stream)
{
	struct kvs_stream *new;
	int err;

	if (prefix->device != device)
		return kvs_fail(device, -EXDEV,
				"PREFIX_ATTACH: the prefix needs to be of the stream's device");
	err = kvs_stream_make(device, geometry, true, &new);
	if (err)
		return err;
	err = attach(new, prefix, tokens);
	if (err)
		kvs_stream_free(new);
	else
		*stream = new;
	return err;
}

/* What the stream shares already. */
static int read_record(struct kvs_stream *stream, struct kvsink_stream_rec *rec)
{
	size_t bytes;
	void *list;
	int count = kvs_query(stream->device, DRM_KVSINK_QUERY_STREAMS, stream->id, 0, &list, &bytes);

	if (count < 0)
		return count;
	if (count == 1 && bytes >= sizeof(*rec))
		memcpy(rec, list, sizeof(*rec));
	free(list);
	return count == 1 && bytes >= sizeof(*rec)
		       ? 0
		       : kvs_fail(stream->device, -EOPNOTSUPP, "fork: the device knows no prefixes");
}

KVS_PUBLIC int kvs_stream_fork(struct kvs_stream *stream, uint32_t tokens, struct kvs_stream **fork)
{
	struct kvsink_stream_rec rec;
	struct kvs_prefix *prefix;
	int err = read_record(stream, &rec);

	if (err)
		return err;
	if (!tokens || tokens > rec.length)
		return kvs_fail(stream->device, -EINVAL,
				"fork: stream %llu at %u tokens: allowed are 1 to %u",
				(unsigned long long)stream->id, tokens, rec.length);
	err = tokens > rec.shared ? kvs_prefix_publish(stream, tokens, NULL, &prefix)
				  : open_prefix(stream->device, rec.prefix, -1, &prefix);
	if (err)
		return err;
	err = kvs_stream_attach(stream->device, &stream->geometry, prefix, tokens, fork);
	kvs_prefix_free(prefix);
	return err;
}

KVS_PUBLIC int kvs_stream_detach(struct kvs_stream *stream)
{
	struct drm_kvsink_prefix_detach args = {.stream = stream->id};
	int err = kvs_device_call(stream->device, DRM_IOCTL_KVSINK_PREFIX_DETACH, &args);

	return fail(stream->device, err, "PREFIX_DETACH: stream", stream->id, args.code);
}
