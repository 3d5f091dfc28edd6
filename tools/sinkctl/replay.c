// SPDX-License-Identifier: MIT
/*
 * replay: a recording of a device is told to a chip of this process, and what comes out is compared. The
 * record in the document is there whether it was the same or not, as far as the replay came.
 */
#include "sinkctl.h"

#include <errno.h>

#include "kvsink_replay.h"

static void put_digest(json_object *record, const char *key, bool known, uint64_t digest)
{
	if (known)
		sc_put_hex(record, key, digest, 64);
	else
		sc_put(record, key, NULL);
}

int sc_replay(struct sc_run *run, struct sc_device *device)
{
	struct kvs_replay_result result;
	int rc = kvs_replay(run->args[0], &result);
	json_object *record;

	(void)device;
	if (rc && rc != -EBADMSG)
		return sc_error(run, NULL, rc, NULL, run->args[0], result.why);
	record = json_object_new_object();
	json_object_array_add(sc_list(run, NULL, "replays"), record);
	sc_put_text(record, "file", run->args[0]);
	sc_put_bool(record, "same", !rc);
	sc_put_u64(record, "records", result.records);
	sc_put_u64(record, "bytes_in", result.bytes_in);
	sc_put_u64(record, "bytes_out", result.bytes_out);
	put_digest(record, "recorded", result.ended, result.recorded);
	put_digest(record, "digest", result.ended, result.digest);
	return rc ? sc_error(run, NULL, rc, NULL, run->args[0], result.why) : 0;
}
