// SPDX-License-Identifier: MIT
/*
 * Backend sim: the table of ioctls, lookups for the validator, and the life of a file. Every ioctl runs
 * under the chip's lock.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"
#include "sim.h"

static int find_buffer(void *ctx, uint32_t handle, struct kvsink_logic_buffer *out)
{
	const struct sim_bo *bo = sim_bo_find(ctx, handle);

	if (!bo)
		return -ENOENT;
	out->gart_offset = (uint64_t)bo->gart_page * KVSINK_GART_PAGE;
	out->bytes = bo->bytes;
	return 0;
}

static int find_stream(void *ctx, uint64_t id, bool own, struct kvsink_logic_stream *out)
{
	const struct sim_file *file = ctx;
	const struct sim_stream *stream = sim_stream_find(file->chip, id);

	if (!stream || (stream->tenant != file->tenant && !file->admin))
		return -ENOENT;
	if (own && stream->owner != file)
		return -EACCES;
	*out = stream->geometry;
	return 0;
}

void sim_env(struct sim_file *file, struct kvsink_logic_env *env)
{
	*env = (struct kvsink_logic_env){.ctx = file, .buffer = find_buffer, .stream = find_stream};
}

static bool tail_is_zero(const uint8_t *tail, uint32_t bytes)
{
	while (bytes)
		if (tail[--bytes])
			return false;
	return true;
}

int sim_copy_array(const struct drm_kvsink_array *array, uint32_t element, uint32_t min, uint32_t max,
		   void *out)
{
	const uint8_t *from = (const uint8_t *)(uintptr_t)array->array;
	int err = kvsink_logic_array(array, element, min, max);

	if (err)
		return err;
	if (array->count && !from)
		return -EFAULT;
	for (uint32_t i = 0; i < array->count; i++, from += array->stride) {
		if (!tail_is_zero(from + element, array->stride - element))
			return -E2BIG;
		memcpy((uint8_t *)out + (size_t)i * element, from, element);
	}
	return 0;
}

static const struct {
	unsigned long request;
	int (*call)(struct sim_file *file, void *data);
} ioctls[] = {
	{DRM_IOCTL_KVSINK_DEV_QUERY, sim_ioctl_dev_query},
	{DRM_IOCTL_KVSINK_BO_CREATE, sim_ioctl_bo_create},
	{DRM_IOCTL_KVSINK_BO_MMAP_OFFSET, sim_ioctl_bo_mmap_offset},
	{DRM_IOCTL_KVSINK_STREAM_CREATE, sim_ioctl_stream_create},
	{DRM_IOCTL_KVSINK_STREAM_RESERVE, sim_ioctl_stream_reserve},
	{DRM_IOCTL_KVSINK_STREAM_DESTROY, sim_ioctl_stream_destroy},
	{DRM_IOCTL_KVSINK_SUBMIT, sim_ioctl_submit},
	{DRM_IOCTL_KVSINK_PROMOTE, sim_ioctl_promote},
	{DRM_IOCTL_KVSINK_EVICT, sim_ioctl_evict},
	{DRM_IOCTL_KVSINK_CONFIG_GET, sim_ioctl_config_get},
	{DRM_IOCTL_KVSINK_CONFIG_SET, sim_ioctl_config_set},
	{DRM_IOCTL_KVSINK_QUERY, sim_ioctl_query},
	{DRM_IOCTL_KVSINK_REG_READ, sim_ioctl_reg_read},
	{DRM_IOCTL_KVSINK_ENTRY_READ, sim_ioctl_entry_read},
	{DRM_IOCTL_KVSINK_CONTRACT, sim_ioctl_contract},
	{DRM_IOCTL_KVSINK_SWAP_OUT, sim_ioctl_swap_out},
	{DRM_IOCTL_KVSINK_SWAP_IN, sim_ioctl_swap_in},
	{DRM_IOCTL_KVSINK_PREFIX_PUBLISH, sim_ioctl_prefix_publish},
	{DRM_IOCTL_KVSINK_PREFIX_OPEN, sim_ioctl_prefix_open},
	{DRM_IOCTL_KVSINK_PREFIX_CLOSE, sim_ioctl_prefix_close},
	{DRM_IOCTL_KVSINK_PREFIX_EXPORT, sim_ioctl_prefix_export},
	{DRM_IOCTL_KVSINK_PREFIX_ATTACH, sim_ioctl_prefix_attach},
	{DRM_IOCTL_KVSINK_PREFIX_DETACH, sim_ioctl_prefix_detach},
	{DRM_IOCTL_KVSINK_WINDOW_BEGIN, sim_ioctl_window_begin},
	{DRM_IOCTL_KVSINK_WINDOW_COMMIT, sim_ioctl_window_commit},
};

static int sim_ioctl(void *backend, unsigned long request, void *arg)
{
	struct sim_file *file = backend;
	int err = -ENOTTY;

	for (size_t i = 0; i < sizeof(ioctls) / sizeof(ioctls[0]); i++) {
		if (ioctls[i].request != request)
			continue;
		pthread_mutex_lock(&file->chip->lock);
		err = ioctls[i].call(file, arg);
		pthread_mutex_unlock(&file->chip->lock);
		break;
	}
	return err;
}

static int sim_map(void *backend, uint64_t offset, size_t bytes, void **memory)
{
	const struct sim_bo *bo = sim_bo_find(backend, (uint32_t)(offset >> 32));

	if (!bo || bytes > bo->bytes)
		return -EINVAL;
	*memory = bo->data;
	return 0;
}

/* The memory goes with the buffer. */
static void sim_unmap(void *backend, void *memory, size_t bytes)
{
	(void)backend;
	(void)memory;
	(void)bytes;
}

static int sim_close_bo(void *backend, uint32_t handle)
{
	struct sim_file *file = backend;
	int err;

	pthread_mutex_lock(&file->chip->lock);
	err = sim_bo_close(file, handle);
	pthread_mutex_unlock(&file->chip->lock);
	return err;
}

/* Jobs have ended when SUBMIT returns. */
static int sim_wait(void *backend, uint32_t syncobj, uint64_t point, int64_t deadline_ns)
{
	const struct sim_file *file = backend;

	(void)deadline_ns;
	if (syncobj != SIM_SYNCOBJ)
		return -ENOENT;
	return point <= file->signalled ? 0 : -EINVAL;
}

static void sim_close(void *backend)
{
	struct sim_file *file = backend;
	struct sim_chip *chip = file->chip;

	pthread_mutex_lock(&chip->lock);
	sim_streams_close(file);
	sim_prefixes_close(file);
	sim_bos_close(file);
	pthread_mutex_unlock(&chip->lock);
	free(file);
	sim_chip_put(chip);
}

static const struct kvs_backend_ops sim_ops = {
	.ioctl = sim_ioctl,
	.map = sim_map,
	.unmap = sim_unmap,
	.close_bo = sim_close_bo,
	.wait = sim_wait,
	.close = sim_close,
};

static struct sim_file *open_file(const struct sim_options *options)
{
	struct sim_file *file = calloc(1, sizeof(*file));

	if (!file) {
		kvs_fail_open(-ENOMEM, "sim: out of memory");
		return NULL;
	}
	file->tenant = options->has_uid ? options->uid : (uint32_t)getuid();
	file->admin = !options->has_uid;
	return file;
}

int kvs_sim_open(const char *text, struct kvs_backend *backend)
{
	struct sim_options options;
	struct sim_file *file;
	int err = sim_parse(text, &options);

	if (err)
		return err;
	file = open_file(&options);
	if (!file)
		return -ENOMEM;
	err = sim_chip_get(&options, &file->chip);
	if (err) {
		free(file);
		return err;
	}
	pthread_mutex_lock(&file->chip->lock);
	file->ring = file->chip->next_ring++ % file->chip->options.config.rings;
	pthread_mutex_unlock(&file->chip->lock);
	backend->ops = &sim_ops;
	backend->ctx = file;
	backend->syncobj = SIM_SYNCOBJ;
	if (asprintf(&backend->name, "sim:%s", text) >= 0)
		return 0;
	backend->name = NULL;
	return kvs_fail_open(-ENOMEM, "sim: out of memory"); /* the caller closes the backend */
}
