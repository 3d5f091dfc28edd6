// SPDX-License-Identifier: MIT
/*
 * The other ioctls of sim: - one-command jobs that answer from their completion record, QUERY through
 * a buffer that the chip writes, registers, and rows read out of the SRAM.
 */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

int sim_ioctl_dev_query(struct sim_file *file, void *data)
{
	struct drm_kvsink_dev_query *args = data;
	struct kvsink_chip *silicon = file->chip->silicon;
	const struct kvsink_chip_config *config = &file->chip->options.config;
	struct drm_kvsink_dev_info info = {
		.hw_version = kvsink_mmio_read(silicon, KVSINK_REG_VERSION),
		.caps = kvsink_mmio_read(silicon, KVSINK_REG_CAPS),
		.sram_bytes = config->sram_bytes,
		.hbm_bytes = config->hbm_bytes,
		.generation = kvsink_mmio_read(silicon, KVSINK_REG_GENERATION),
		.tags = config->tags,
		.streams = config->streams,
		.rings = config->rings,
		.ring_slots = config->ring_slots,
		.gart_pages = config->gart_pages,
		.burst_bytes = config->burst_bytes,
		.max_lease_ns = KVSINK_MAX_LEASE_NS,
	};
	uint32_t bytes = args->size < sizeof(info) ? args->size : sizeof(info);

	if (args->type != DRM_KVSINK_DEV_QUERY_INFO)
		return -EINVAL;
	if (args->pointer) {
		memset((void *)(uintptr_t)args->pointer, 0, args->size);
		memcpy((void *)(uintptr_t)args->pointer, &info, bytes);
	}
	args->size = sizeof(info);
	return 0;
}

/* ---- one-command jobs ------------------------------------------------------------------------------ */

static int run_one(struct sim_file *file, const struct kvsink_cmd *cmd, bool privileged,
		   struct kvsink_completion *cpl)
{
	struct sim_job *job = calloc(1, sizeof(*job));
	int err;

	if (!job)
		return -ENOMEM;
	job->cmd[job->cmds++] = *cmd;
	job->privileged = privileged;
	err = sim_job_run(file->chip, file, job);
	*cpl = job->cpl;
	free(job);
	return err;
}

/* A job whose one command names places. `build` is one of driver/logic's. */
typedef int build_places(struct kvsink_logic_env *env, const void *args,
			 const struct drm_kvsink_place *places, struct sim_job *job);

static int run_places(struct sim_file *file, const struct drm_kvsink_array *array, const void *args,
		      build_places *build, struct kvsink_completion *cpl)
{
	struct drm_kvsink_place places[DRM_KVSINK_MAX_ITEMS];
	struct kvsink_logic_env env;
	struct sim_job *job;
	int err = sim_copy_array(array, sizeof(*places), 1, DRM_KVSINK_MAX_ITEMS, places);

	memset(cpl, 0, sizeof(*cpl));
	if (err)
		return err;
	job = calloc(1, sizeof(*job));
	if (!job)
		return -ENOMEM;
	sim_env(file, &env);
	err = build(&env, args, places, job);
	job->cmds = 1;
	job->items = array->count;
	err = err ? err : sim_job_run(file->chip, file, job);
	*cpl = job->cpl;
	free(job);
	return err;
}

static int build_promote(struct kvsink_logic_env *env, const void *args,
			 const struct drm_kvsink_place *places, struct sim_job *job)
{
	return kvsink_logic_build_promote(env, args, places, &job->cmd[0], job->item);
}

static int build_evict(struct kvsink_logic_env *env, const void *args, const struct drm_kvsink_place *places,
		       struct sim_job *job)
{
	return kvsink_logic_build_evict(env, args, places, &job->cmd[0], job->item);
}

static int build_contract(struct kvsink_logic_env *env, const void *args,
			  const struct drm_kvsink_place *places, struct sim_job *job)
{
	return kvsink_logic_build_contract(env, args, places, &job->cmd[0], job->item);
}

/* What the code says; nothing without one. */
static uint64_t address_of(const struct kvsink_completion *cpl)
{
	return cpl->code ? cpl->address : 0;
}

int sim_ioctl_promote(struct sim_file *file, void *data)
{
	struct drm_kvsink_promote *args = data;
	struct kvsink_completion cpl;
	int err = run_places(file, &args->places, args, build_promote, &cpl);

	args->code = err ? cpl.code : cpl.result[3];
	args->address = address_of(&cpl);
	args->sram_bytes = err ? 0 : cpl.result[0];
	args->generation = err ? 0 : cpl.result[1];
	args->granted = err ? 0 : cpl.result[2];
	return err;
}

int sim_ioctl_evict(struct sim_file *file, void *data)
{
	struct drm_kvsink_evict *args = data;
	struct kvsink_completion cpl;
	int err = run_places(file, &args->places, args, build_evict, &cpl);

	args->code = cpl.code;
	args->entries = err ? 0 : cpl.result[0];
	return err;
}

int sim_ioctl_contract(struct sim_file *file, void *data)
{
	struct drm_kvsink_contract *args = data;
	struct kvsink_completion cpl;
	int err = run_places(file, &args->places, args, build_contract, &cpl);

	args->code = cpl.code;
	args->address = address_of(&cpl);
	args->entries = err ? 0 : cpl.result[0];
	return err;
}

int sim_ioctl_config_set(struct sim_file *file, void *data)
{
	struct drm_kvsink_config *args = data;
	struct kvsink_completion cpl;
	struct kvsink_logic_env env;
	struct kvsink_cmd cmd;
	int err;

	args->conflict = UINT32_MAX;
	args->code = 0;
	args->address = 0;
	sim_env(file, &env);
	err = kvsink_logic_build_config(&env, args, &cmd);
	if (err)
		return err;
	if (!cmd.config.stream && !file->admin)
		return -EACCES;
	err = run_one(file, &cmd, false, &cpl);
	args->code = cpl.code;
	args->address = address_of(&cpl);
	args->conflict = cpl.code == KVSINK_CODE_CONFLICT ? (uint32_t)cpl.address : UINT32_MAX;
	return err;
}

/* ---- QUERY ----------------------------------------------------------------------------------------- */

/* The file's answer buffer; smaller on a device with a small GART. */
static int get_answer(struct sim_file *file, uint64_t *gart, uint32_t *bytes)
{
	uint64_t quarter = (uint64_t)file->chip->options.config.gart_pages / 4 * KVSINK_GART_PAGE;
	uint64_t size = quarter < DRM_KVSINK_MAX_QUERY_BYTES ? quarter : DRM_KVSINK_MAX_QUERY_BYTES;
	int err = file->answer ? 0 : sim_bo_create(file->chip, size, &file->answer);

	if (err)
		return err;
	*gart = (uint64_t)file->answer->gart_page * KVSINK_GART_PAGE;
	*bytes = (uint32_t)file->answer->bytes;
	return 0;
}

int sim_ioctl_config_get(struct sim_file *file, void *data)
{
	struct drm_kvsink_config *args = data;
	struct kvsink_completion cpl;
	struct kvsink_logic_env env;
	struct kvsink_cmd cmd;
	uint64_t gart;
	uint32_t bytes;
	int err = get_answer(file, &gart, &bytes);

	if (err)
		return err;
	sim_env(file, &env);
	err = kvsink_logic_build_config_get(&env, args, gart, &cmd);
	err = err ? err : run_one(file, &cmd, false, &cpl);
	if (!err)
		memcpy(&args->value,
		       file->answer->data + sizeof(struct kvsink_list_head) +
			       args->param * sizeof(args->value),
		       sizeof(args->value));
	return err;
}

/* SRAM offsets are for administrators. */
static void hide_offsets(struct kvsink_list_head *head)
{
	struct kvsink_tag_rec *tags = (struct kvsink_tag_rec *)(head + 1);

	for (uint32_t i = 0; i < head->written; i++)
		tags[i].sram_offset = 0;
}

/* Run a QUERY; the answer lies in file->answer. The chip tells privileged ones everything. */
static int query(struct sim_file *file, const struct drm_kvsink_query *args, bool privileged)
{
	struct kvsink_completion cpl;
	struct kvsink_logic_env env;
	struct kvsink_cmd cmd;
	uint64_t gart;
	uint32_t bytes;
	int err = get_answer(file, &gart, &bytes);

	if (err)
		return err;
	sim_env(file, &env);
	err = kvsink_logic_build_query(&env, args, gart, bytes, &cmd);
	if (err)
		return err;
	if (args->type == DRM_KVSINK_QUERY_COUNTERS && !args->stream && !file->admin)
		return -EACCES;
	return run_one(file, &cmd, privileged, &cpl);
}

int sim_ioctl_query(struct sim_file *file, void *data)
{
	struct drm_kvsink_query *args = data;
	struct kvsink_list_head *head;
	int err = query(file, args, false);

	if (err)
		return err;
	if (!args->pointer)
		return -EFAULT;
	head = (struct kvsink_list_head *)file->answer->data;
	if (args->type == DRM_KVSINK_QUERY_TAGS && !file->admin)
		hide_offsets(head);
	memcpy((void *)(uintptr_t)args->pointer, head,
	       sizeof(*head) + (size_t)head->written * head->record_bytes);
	return 0;
}

/* ---- registers and rows ------------------------------------------------------------------------------ */

int sim_ioctl_reg_read(struct sim_file *file, void *data)
{
	struct drm_kvsink_reg_read *args = data;
	struct sim_chip *chip = file->chip;
	bool wide;
	int access = kvsink_logic_reg_access(args->offset, chip->options.config.rings, &wide);

	if (args->pad)
		return -EINVAL;
	if (access < 0)
		return access;
	if (access && !file->admin)
		return -EACCES;
	args->value = kvsink_mmio_read(chip->silicon, args->offset);
	if (wide)
		args->value |= (uint64_t)kvsink_mmio_read(chip->silicon, args->offset + 4) << 32;
	return 0;
}

/* A tail has no generation, and its rows change: only entries can be read. */
static bool tag_matches(const struct kvsink_tag_rec *tag, const struct drm_kvsink_entry_read *args)
{
	return !(tag->flags & KVSINK_TAG_TAIL) && tag->token == args->token &&
	       tag->generation == args->generation && (tag->flags & KVSINK_TAG_VALID) &&
	       args->layer >= tag->layer_begin && args->layer < tag->layer_end &&
	       (tag->head_mask >> args->head & 1);
}

/* -ENOENT if no valid entry has that row in that generation. */
static int find_tag(struct sim_file *file, const struct drm_kvsink_entry_read *args,
		    struct kvsink_tag_rec *tag)
{
	struct drm_kvsink_query list = {
		.type = DRM_KVSINK_QUERY_TAGS,
		.stream = args->stream,
		.size = DRM_KVSINK_MAX_QUERY_BYTES,
	};
	const struct kvsink_list_head *head;
	const struct kvsink_tag_rec *tags;

	do {
		int err = query(file, &list, true);

		if (err)
			return err;
		head = (const struct kvsink_list_head *)file->answer->data;
		tags = (const struct kvsink_tag_rec *)(head + 1);
		for (uint32_t i = 0; i < head->written; i++)
			if (tag_matches(&tags[i], args)) {
				*tag = tags[i];
				return 0;
			}
		list.first += head->written;
	} while (head->written && list.first < head->total);
	return -ENOENT;
}

/* Nothing changes under the chip's lock, so unlike the driver one look at the tag is enough. */
int sim_ioctl_entry_read(struct sim_file *file, void *data)
{
	const struct drm_kvsink_entry_read *args = data;
	struct kvsink_logic_stream stream;
	struct kvsink_logic_env env;
	struct kvsink_tag_rec tag;
	uint64_t below, rank;
	int err;

	sim_env(file, &env);
	err = kvsink_logic_entry_read(&env, args, &stream);
	err = err ? err : find_tag(file, args, &tag);
	if (err)
		return err;
	if (args->size != tag.row_bytes)
		return -EINVAL;
	below = tag.head_mask & ((1ull << args->head) - 1);
	rank = (uint64_t)(args->layer - tag.layer_begin) * (unsigned)__builtin_popcountll(tag.head_mask) +
	       (unsigned)__builtin_popcountll(below);
	memcpy((void *)(uintptr_t)args->pointer,
	       file->chip->options.config.sram + tag.sram_offset + rank * tag.row_bytes, args->size);
	return 0;
}
