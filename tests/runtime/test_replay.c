// SPDX-License-Identifier: MIT
/*
 * Recordings of a simulated device through the library: two files on one chip, a fork, a window, swap and a
 * lost end; the replay is the same, for any number of threads. Files that are none, are there already, or
 * were cut off.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kvsink_replay.h"
#include "rig.h"
#include "tap.h"

static char folder[] = "/tmp/kvsink-replay-XXXXXX", path[64];

static void window(struct rig_stream *s, unsigned count)
{
	struct rig *rig = s->rig;

	rig_must(rig, "begin", kvs_window_begin(s->kvs, 4));
	rig_fill(rig, 0, 1 << 16, 1.0f);
	for (uint32_t l = 0; l < s->geometry.layers; l++)
		rig_must(rig, "append",
			 kvs_batch_append(rig->batch, s->kvs, l, s->length, 3, rig_at(rig, 0),
					  rig_at(rig, 1 << 15)));
	rig_must(rig, "speculate", rig_run(rig, NULL));
	rig_must(rig, "commit", kvs_window_commit(s->kvs, count));
}

static void swap(struct rig *rig, struct kvs_stream *stream)
{
	rig_must(rig, "out", kvs_stream_swap_out(stream, rig_at(rig, RIG_OUT)));
	rig_must(rig, "in", kvs_stream_swap_in(stream, rig_at(rig, RIG_OUT)));
}

static void record(const char *options)
{
	struct kvs_geometry geometry = rig_geometry(KVSINK_FORMAT_FP16);
	const struct drm_kvsink_place place = {3, 0, 2, 3};
	struct rig_stream a, b;
	struct rig rig, other;
	struct kvs_stream *fork;
	char name[256];

	unlink(path);
	snprintf(name, sizeof(name), "sim:hbm=16M,sram=64K,share=tape,record=%s%s", path, options);
	rig_open(&rig, name);
	rig_open(&other, "sim:share=tape");
	rig_stream_open(&rig, &geometry, &a);
	rig_stream_open(&other, &geometry, &b);
	rig_append(&a, 20);
	rig_append(&b, 5);
	rig_must(&rig, "promote", kvs_promote(rig.device, kvs_stream_id(a.kvs), &place, 1, NULL, NULL));
	rig_must(&rig, "fork", kvs_stream_fork(a.kvs, 13, &fork));
	window(&b, 2);
	swap(&other, b.kvs);
	kvs_stream_free(fork);
	rig_stream_close(&b);
	rig_stream_close(&a);
	rig_close(&other);
	rig_close(&rig);
}

static void same(void)
{
	static const char *const options[] = {"", ",threads=3"};
	struct kvs_replay_result r[2];
	int rc;

	for (unsigned i = 0; i < 2; i++) {
		record(options[i]);
		rc = kvs_replay(path, &r[i]);
		tap_ok(!rc && r[i].ended && r[i].digest == r[i].recorded && !*r[i].why &&
			       r[i].records > 100 && r[i].bytes_in > 1000 && r[i].bytes_out > 1000,
		       "sim:%s: %llu records are replayed, with the same digest%s%s", options[i],
		       (unsigned long long)r[i].records, *r[i].why ? ": " : "", r[i].why);
	}
	tap_ok(r[0].records == r[1].records, "threads do not show in it");
}

/* A device that was hung up and reset meanwhile. */
static void reset(void)
{
	struct kvs_geometry geometry = rig_geometry(KVSINK_FORMAT_F32);
	struct kvs_replay_result r;
	struct rig_stream s;
	struct rig rig;
	char name[160];
	int rc;

	unlink(path);
	snprintf(name, sizeof(name), "sim:hbm=16M,sram=64K,inject-skip=6,inject-lost=1,record=%s", path);
	rig_open(&rig, name);
	rig_stream_open(&rig, &geometry, &s);
	for (unsigned i = 0; i < 8; i++) {
		rig_must(&rig, "step", kvs_batch_step_end(rig.batch, s.kvs, 0));
		rc = rig_run(&rig, NULL);
		if (rc)
			break;
	}
	tap_ok(rc, "a job is lost: %d", rc);
	rig_stream_close(&s);
	rig_close(&rig);
	rc = kvs_replay(path, &r);
	tap_ok(!rc, "its reset is replayed: %s", *r.why ? r.why : "the same");
}

/* ---- files ---- */

static void put(const void *data, size_t bytes)
{
	FILE *file = fopen(path, "wb");

	if (!file || fwrite(data, 1, bytes, file) != bytes || fclose(file))
		exit(1);
}

static void refused(int err, const char *text, const char *what)
{
	struct kvs_replay_result r;
	int rc = kvs_replay(path, &r);

	tap_ok(rc == err && strstr(r.why, text) && !strchr(r.why, '\n'), "%s: %s (%d)", what, r.why, rc);
}

/* Another value in word `index` of the file, for once. */
static void property(unsigned index, uint64_t value, const char *text, const char *what)
{
	FILE *file = fopen(path, "r+b");
	uint64_t before;

	if (!file || fseek(file, 8 * index, SEEK_SET) || fread(&before, 8, 1, file) != 1 ||
	    fseek(file, 8 * index, SEEK_SET) || fwrite(&value, 8, 1, file) != 1 || fflush(file))
		exit(1);
	refused(-EINVAL, text, what);
	if (fseek(file, 8 * index, SEEK_SET) || fwrite(&before, 8, 1, file) != 1 || fclose(file))
		exit(1);
}

static void files(void)
{
	struct kvs_device *device = NULL;
	char name[160];
	int err;

	record("");
	snprintf(name, sizeof(name), "sim:hbm=16M,record=%s", path);
	err = kvs_open(name, &device);
	tap_ok(err == -EEXIST && !device && strstr(kvs_open_error(), path), "a file that is there stays: %s",
	       kvs_open_error());
	property(1, 0, "sram_bytes: 0 is out of range", "a device without SRAM");
	property(2, 1ull << 47, "hbm_bytes: 140737488355328 is out of range",
		 "one of a size that no chip has");
	if (truncate(path, 5000))
		exit(1);
	refused(-EBADMSG, "the recording ends", "cut off");
	put("no recording at all, but long enough to be one", 46);
	refused(-EINVAL, "no recording", "another file");
	put("", 0);
	refused(-EINVAL, "no recording", "an empty file");
	unlink(path);
	refused(-ENOENT, "No such file", "no file");
	err = kvs_open("sim:record=/nowhere/at/all", &device);
	tap_ok(err == -ENOENT && strstr(kvs_open_error(), "/nowhere/at/all"), "no folder: %s",
	       kvs_open_error());
	err = kvs_open("sim:record=", &device);
	tap_ok(err == -EINVAL && strstr(kvs_open_error(), "allowed is a path"), "no name: %s",
	       kvs_open_error());
}

int main(void)
{
	if (!mkdtemp(folder))
		return 1;
	snprintf(path, sizeof(path), "%s/tape", folder);
	same();
	reset();
	files();
	unlink(path);
	rmdir(folder);
	return tap_done();
}
