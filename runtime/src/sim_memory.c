// SPDX-License-Identifier: MIT
/*
 * Buffers of sim: - anonymous memory behind a range of the GART, named by handles of a file.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "sim.h"

static int map_memory(uint64_t bytes, uint8_t **data)
{
	*data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return *data == MAP_FAILED ? -ENOMEM : 0;
}

/* `bytes` is a multiple of the page size. */
int sim_bo_create(struct sim_chip *chip, uint64_t bytes, struct sim_bo **bo)
{
	struct sim_bo *new = calloc(1, sizeof(*new));
	uint64_t page;
	int err;

	if (!new)
		return -ENOMEM;
	new->bytes = bytes;
	err = sim_space_alloc(&chip->gart, bytes / KVSINK_GART_PAGE, &page);
	if (err)
		goto free_bo;
	err = map_memory(bytes, &new->data);
	if (err)
		goto free_gart;
	new->gart_page = (uint32_t)page;
	sim_gart_map(chip, new);
	*bo = new;
	return 0;
free_gart:
	sim_space_free(&chip->gart, page, bytes / KVSINK_GART_PAGE);
free_bo:
	free(new);
	return err;
}

/* The chip forgets the translations before the memory goes. */
void sim_bo_destroy(struct sim_chip *chip, struct sim_bo *bo)
{
	uint32_t pages = (uint32_t)(bo->bytes / KVSINK_GART_PAGE);
	struct sim_job *job = calloc(1, sizeof(*job));

	sim_gart_unmap(chip, bo);
	if (job) {
		kvsink_logic_build_invalidate(bo->gart_page, pages, &job->cmd[job->cmds++]);
		sim_job_run(chip, NULL, job);
		sim_space_free(&chip->gart, bo->gart_page, pages);
	} /* else the range is never used again, so that a stale translation harms nobody */
	free(job);
	munmap(bo->data, bo->bytes);
	free(bo);
}

/* A free handle; -ENOMEM. */
static int new_handle(struct sim_file *file, struct sim_bo *bo, uint32_t *handle)
{
	uint32_t i = 0;

	while (i < file->bo_room && file->bos[i])
		i++;
	if (i == file->bo_room) {
		uint32_t room = file->bo_room ? 2 * file->bo_room : 16;
		struct sim_bo **bos = realloc(file->bos, room * sizeof(*bos));

		if (!bos)
			return -ENOMEM;
		memset(bos + file->bo_room, 0, (room - file->bo_room) * sizeof(*bos));
		file->bos = bos;
		file->bo_room = room;
	}
	file->bos[i] = bo;
	*handle = i + 1;
	return 0;
}

int sim_ioctl_bo_create(struct sim_file *file, void *data)
{
	struct drm_kvsink_bo_create *args = data;
	struct sim_bo *bo;
	uint64_t bytes;
	int err;

	if (!args->size || args->flags)
		return -EINVAL;
	if (args->size > DRM_KVSINK_MAX_BO_BYTES)
		return -E2BIG;
	bytes = (args->size + KVSINK_GART_PAGE - 1) / KVSINK_GART_PAGE * KVSINK_GART_PAGE;
	err = sim_bo_create(file->chip, bytes, &bo);
	if (err)
		return err;
	err = new_handle(file, bo, &args->handle);
	if (err) {
		sim_bo_destroy(file->chip, bo);
		return err;
	}
	args->size = bytes;
	return 0;
}

struct sim_bo *sim_bo_find(struct sim_file *file, uint32_t handle)
{
	return handle && handle <= file->bo_room ? file->bos[handle - 1] : NULL;
}

/* The handle itself, where the kernel keeps it clear of other offsets. */
int sim_ioctl_bo_mmap_offset(struct sim_file *file, void *data)
{
	struct drm_kvsink_bo_mmap_offset *args = data;

	if (args->pad)
		return -EINVAL;
	if (!sim_bo_find(file, args->handle))
		return -ENOENT;
	args->offset = (uint64_t)args->handle << 32;
	return 0;
}

int sim_bo_close(struct sim_file *file, uint32_t handle)
{
	struct sim_bo *bo = sim_bo_find(file, handle);

	if (!bo)
		return -EINVAL; /* as GEM_CLOSE does */
	file->bos[handle - 1] = NULL;
	sim_bo_destroy(file->chip, bo);
	return 0;
}

void sim_bos_close(struct sim_file *file)
{
	for (uint32_t i = 0; i < file->bo_room; i++)
		if (file->bos[i])
			sim_bo_destroy(file->chip, file->bos[i]);
	if (file->answer)
		sim_bo_destroy(file->chip, file->answer);
	free(file->bos);
}
