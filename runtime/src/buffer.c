// SPDX-License-Identifier: MIT
/*
 * Buffers: host memory that the device reaches by handle, mapped for their whole life.
 */
#include <stdlib.h>

#include "internal.h"

static int map(struct kvs_device *device, uint32_t handle, size_t bytes, void **data)
{
	struct drm_kvsink_bo_mmap_offset args = {.handle = handle};
	int err = kvs_device_call(device, DRM_IOCTL_KVSINK_BO_MMAP_OFFSET, &args);

	return err ? err : device->backend.ops->map(device->backend.ctx, args.offset, bytes, data);
}

int kvs_buffer_make(struct kvs_device *device, size_t bytes, struct kvs_buffer **buffer)
{
	struct drm_kvsink_bo_create args = {.size = bytes};
	struct kvs_buffer *new = calloc(1, sizeof(*new));
	int err;

	if (!new)
		return -ENOMEM;
	err = kvs_device_call(device, DRM_IOCTL_KVSINK_BO_CREATE, &args);
	if (err)
		goto fail;
	*new = (struct kvs_buffer){.device = device, .handle = args.handle, .bytes = args.size};
	err = map(device, new->handle, new->bytes, &new->data);
	if (err) {
		device->backend.ops->close_bo(device->backend.ctx, new->handle);
		goto fail;
	}
	*buffer = new;
	return 0;
fail:
	free(new);
	return err;
}

void kvs_buffer_drop(struct kvs_buffer *buffer)
{
	struct kvs_backend *backend = &buffer->device->backend;

	backend->ops->unmap(backend->ctx, buffer->data, buffer->bytes);
	backend->ops->close_bo(backend->ctx, buffer->handle);
	free(buffer);
}

KVS_PUBLIC int kvs_buffer_create(struct kvs_device *device, size_t bytes, struct kvs_buffer **buffer)
{
	int err = kvs_buffer_make(device, bytes, buffer);

	if (err)
		return kvs_fail(device, err, "BO_CREATE: %zu bytes (1 to %llu): %s", bytes,
				DRM_KVSINK_MAX_BO_BYTES, kvs_errno_text(err));
	kvs_device_ref(device);
	return 0;
}

KVS_PUBLIC void kvs_buffer_free(struct kvs_buffer *buffer)
{
	struct kvs_device *device;

	if (!buffer)
		return;
	device = buffer->device;
	kvs_buffer_drop(buffer);
	kvs_close(device);
}

KVS_PUBLIC void *kvs_buffer_data(const struct kvs_buffer *buffer)
{
	return buffer->data;
}

KVS_PUBLIC size_t kvs_buffer_size(const struct kvs_buffer *buffer)
{
	return buffer->bytes;
}

KVS_PUBLIC uint32_t kvs_buffer_handle(const struct kvs_buffer *buffer)
{
	return buffer->handle;
}
