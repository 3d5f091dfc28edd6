// SPDX-License-Identifier: MIT
/*
 * Recordings of a simulated device (record=FILE), and their replay; the form is the silicon's (record.h).
 */
#include <string.h>
#include <sys/mman.h>

#include "internal.h"
#include "kvsink_replay.h"
#include "sim.h"

/* ---- recording ---- */

static int sink(void *opaque, const void *data, size_t bytes)
{
	return fwrite(data, 1, bytes, opaque) != bytes;
}

int sim_record_begin(struct sim_chip *chip)
{
	if (!*chip->options.record)
		return 0;
	/* "x": what is there already may be an earlier recording, or no file at all */
	chip->recording = fopen(chip->options.record, "wbx");
	if (!chip->recording)
		return kvs_fail_open(-errno, "sim: record=%s: %s", chip->options.record, strerror(errno));
	kvsink_record(chip->silicon, sink, chip->recording);
	return 0;
}

/* A recording that could not be written to its end is cut off: kvs_replay() will say so. */
void sim_record_end(struct sim_chip *chip)
{
	if (!chip->recording)
		return;
	kvsink_record_end(chip->silicon);
	fclose(chip->recording);
	chip->recording = NULL;
}

/* ---- replay ---- */

static size_t source(void *opaque, void *data, size_t bytes)
{
	return fread(data, 1, bytes, opaque);
}

static int fail(struct kvs_replay_result *result, int error, const char *why)
{
	snprintf(result->why, sizeof(result->why), "%s", why);
	return error;
}

static int replay_chip(FILE *file, struct kvsink_chip_config *config, struct kvs_replay_result *result)
{
	struct kvsink_replay_result found;
	int rc;

	if (!kvsink_config_ok(config, found.why, sizeof(found.why)))
		return fail(result, -EINVAL, found.why);
	config->sram = sim_map_tier(config->sram_bytes);
	config->hbm = sim_map_tier(config->hbm_bytes);
	if (config->sram && config->hbm)
		rc = kvsink_replay(source, file, config, &found);
	else
		return fail(result, -ENOMEM, "no memory for a device of that size");
	*result = (struct kvs_replay_result){
		.records = found.records,
		.bytes_in = found.bytes_in,
		.bytes_out = found.bytes_out,
		.recorded = found.recorded,
		.digest = found.digest,
		.ended = found.ended,
	};
	if (!rc)
		return 0;
	return fail(result, found.wrong ? -EINVAL : -EBADMSG, found.why);
}

static int replay_file(FILE *file, struct kvs_replay_result *result)
{
	struct kvsink_chip_config config;
	int rc;

	if (kvsink_replay_config(source, file, &config))
		return fail(result, -EINVAL, "no recording: it does not begin as one");
	rc = replay_chip(file, &config, result);
	if (config.sram)
		munmap(config.sram, config.sram_bytes);
	if (config.hbm)
		munmap(config.hbm, config.hbm_bytes);
	return rc;
}

KVS_PUBLIC int kvs_replay(const char *path, struct kvs_replay_result *result)
{
	FILE *file = fopen(path, "rb");
	int rc;

	memset(result, 0, sizeof(*result));
	if (!file)
		return fail(result, -errno, strerror(errno));
	rc = replay_file(file, result);
	if (ferror(file))
		rc = fail(result, -EIO, "it cannot be read");
	fclose(file);
	return rc;
}
