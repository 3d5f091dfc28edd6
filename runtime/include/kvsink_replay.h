/* SPDX-License-Identifier: MIT */
/**
 * DOC: deterministic replay
 *
 * A device can record all that goes into it: "sim:record=FILE", or the property record=FILE of the QEMU
 * device. Such a recording has everything that a chip needs to do the same again, and a checksum of all that
 * came out, at the end of the whole state (its digest). Replaying it needs no device.
 */
#ifndef KVSINK_REPLAY_H
#define KVSINK_REPLAY_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/** struct kvs_replay_result - what a replay found. */
struct kvs_replay_result {
	/** @records: register writes, turns of rings, resets and transfers that were looked at. */
	uint64_t records;
	/** @bytes_in: bytes that the chip read by DMA. */
	uint64_t bytes_in;
	/** @bytes_out: bytes that it wrote by DMA, each transfer compared with the recording's checksum. */
	uint64_t bytes_out;
	/** @recorded: state digest in the recording; valid if @ended. */
	uint64_t recorded;
	/** @digest: state digest of the replayed chip; valid if @ended. */
	uint64_t digest;
	/** @ended: the recording was closed: it has a digest, and the replay has come to it. */
	bool ended;
	/** @why: what is not the same, or what is wrong with the file, in one line; "" if all is well. */
	char why[256];
};

/**
 * kvs_replay - replay a recording on a chip of its own and compare what comes out
 * @path: the recording
 * @result: receives what was found
 *
 * Takes as much memory as the recorded device's SRAM and the used part of its HBM.
 *
 * Returns 0 if every transfer and the digest are the same; -EINVAL if the file is no recording or has a wrong
 * record; -EBADMSG if something differs, or the recording was not closed; -ENOMEM; or why the file cannot be
 * read. @result->why says more.
 */
int kvs_replay(const char *path, struct kvs_replay_result *result);

#ifdef __cplusplus
}
#endif

#endif
