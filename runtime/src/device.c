// SPDX-License-Identifier: MIT
/*
 * The device: opened by name on one of the two backends, counted by its caller and its children, closed
 * with the last of them.
 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define KVS_VERSION "0.1.0"

static int open_backend(const char *name, const struct kvs_os_ops *os, void *os_ctx,
			struct kvs_backend *backend)
{
	if (!strncmp(name, "drm:", 4))
		return kvs_drm_open(name + 4, os, os_ctx, backend);
	if (!strncmp(name, "sim:", 4))
		return kvs_sim_open(name + 4, backend);
	return kvs_fail_open(-EINVAL, "device name '%s': allowed are drm:, drm:PATH and sim:OPTIONS", name);
}

static void destroy(struct kvs_device *device)
{
	if (device->status)
		kvs_buffer_drop(device->status);
	if (device->backend.ops)
		device->backend.ops->close(device->backend.ctx);
	free(device->backend.name);
	free(device->op_types);
	free(device);
}

int kvs_open_os(const char *name, const struct kvs_os_ops *os, void *os_ctx, struct kvs_device **device)
{
	struct kvs_device *new = calloc(1, sizeof(*new));
	int err;

	kvs_open_clear();
	*device = NULL;
	if (!new)
		return kvs_fail_open(-ENOMEM, "out of memory");
	new->refs = 1;
	err = open_backend(name, os, os_ctx, &new->backend);
	if (err)
		goto fail;
	new->op_types = calloc(KVS_STATUS_SLOTS, sizeof(*new->op_types));
	if (!new->op_types) {
		err = kvs_fail_open(-ENOMEM, "%s: out of memory", new->backend.name);
		goto fail;
	}
	err = kvs_buffer_make(new, KVS_STATUS_SLOTS * sizeof(struct drm_kvsink_job_status), &new->status);
	if (err) {
		kvs_fail_open(err, "%s: no status buffer: %s", new->backend.name, kvs_errno_text(err));
		goto fail;
	}
	*device = new;
	return 0;
fail:
	destroy(new);
	return err;
}

KVS_PUBLIC int kvs_open(const char *name, struct kvs_device **device)
{
	if (!name) {
		*device = NULL;
		return kvs_fail_open(-EINVAL, "no name of a device: allowed are drm:PATH and sim:OPTIONS");
	}
	return kvs_open_os(name, &kvs_os_real, NULL, device);
}

void kvs_device_ref(struct kvs_device *device)
{
	device->refs++;
}

KVS_PUBLIC void kvs_close(struct kvs_device *device)
{
	if (device && !--device->refs)
		destroy(device);
}

int kvs_device_call(struct kvs_device *device, unsigned long request, void *arg)
{
	return device->backend.ops->ioctl(device->backend.ctx, request, arg);
}

KVS_PUBLIC int kvs_device_ioctl(struct kvs_device *device, unsigned long request, void *arg)
{
	int err = kvs_device_call(device, request, arg);

	return err ? kvs_fail(device, err, "ioctl %#lx: %s", request, kvs_errno_text(err)) : 0;
}

KVS_PUBLIC int kvs_device_info(struct kvs_device *device, struct drm_kvsink_dev_info *info)
{
	struct drm_kvsink_dev_query args = {
		.type = DRM_KVSINK_DEV_QUERY_INFO,
		.size = sizeof(*info),
		.pointer = (uintptr_t)info,
	};
	int err = kvs_device_call(device, DRM_IOCTL_KVSINK_DEV_QUERY, &args);

	return err ? kvs_fail(device, err, "DEV_QUERY: %s", kvs_errno_text(err)) : 0;
}

KVS_PUBLIC const char *kvs_device_name(const struct kvs_device *device)
{
	return device->backend.name;
}

KVS_PUBLIC const char *kvs_device_error(const struct kvs_device *device)
{
	return device->error;
}

KVS_PUBLIC int kvs_list(char **names, unsigned max)
{
	return kvs_drm_list(&kvs_os_real, NULL, names, max);
}

KVS_PUBLIC const char *kvs_version(void)
{
	return KVS_VERSION;
}
