/* SPDX-License-Identifier: MIT */
/**
 * DOC: libkvsink
 *
 * The runtime library of the kvsink accelerator. A device is opened by name:
 *
 *   "drm:"                    the first kvsink node
 *   "drm:/dev/accel/accel1"   that node
 *   "sim:"                    the same chip model in this process; options after the colon, separated by
 *                             commas: sram=1M, hbm=512M, tags=, streams=, rings=, threads=, and the
 *                             timing properties of the device, e.g. "sim:sram=256K,threads=2"
 *
 * Both answer the same ioctls (kvsink_drm.h) with the same validator and the same chip, so everything
 * below behaves alike on both.
 *
 * Errors: functions return 0 or a positive count on success and -errno on failure; errno is not used.
 * The codes are those of kvsink_drm.h; kvs_device_error() gives the last failure of a device in one line.
 *
 * Threads: a device and what was made from it belong to one thread at a time; different devices are
 * independent. The library starts no threads, prints nothing and handles no signals; interrupted calls
 * are restarted.
 *
 * Lifetimes: every object is reference counted by its children: closing a device with live buffers or
 * streams is safe, the device goes when the last of them does.
 */
#ifndef KVSINK_H
#define KVSINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kvsink_drm.h"
#include "kvsink_hw.h"

#ifdef __cplusplus
extern "C" {
#endif

struct kvs_device;
struct kvs_buffer;
struct kvs_stream;
struct kvs_batch;

/* ---- device ---------------------------------------------------------------------------------- */

/** kvs_open - open a device by name; -ENODEV none found, -EACCES no access, -EINVAL bad name or option */
int kvs_open(const char *name, struct kvs_device **device);

/** kvs_close - drop the caller's reference; NULL is allowed */
void kvs_close(struct kvs_device *device);

/** kvs_device_info - constants and the contents-lost generation now */
int kvs_device_info(struct kvs_device *device, struct drm_kvsink_dev_info *info);

/** kvs_device_name - "drm:/dev/accel/accel0" or "sim:..."; lives as long as the device */
const char *kvs_device_name(const struct kvs_device *device);

/** kvs_device_error - one line about the last failed call: what, where, which value; "" if none failed */
const char *kvs_device_error(const struct kvs_device *device);

/** kvs_device_ioctl - one ioctl of kvsink_drm.h (DRM_IOCTL_KVSINK_*), on either backend; 0 or -errno */
int kvs_device_ioctl(struct kvs_device *device, unsigned long request, void *arg);

/**
 * kvs_list - names of the devices that kvs_open() can reach through DRM
 * @names: receives up to @max names, each to be freed by the caller
 *
 * Returns how many exist.
 */
int kvs_list(char **names, unsigned max);

/** kvs_open_error - one line about why the last kvs_open() of this thread failed; "" if it did not */
const char *kvs_open_error(void);

/** kvs_version - "0.1.0" */
const char *kvs_version(void);

/** kvs_code_name - name of an enum kvsink_code, "?" if unknown; kvs_code_text - its meaning */
const char *kvs_code_name(uint32_t code);
const char *kvs_code_text(uint32_t code);

/* ---- buffer: host memory that the device reads and writes ---------------------------------------- */

/** kvs_buffer_create - @bytes of zeroed memory, mapped */
int kvs_buffer_create(struct kvs_device *device, size_t bytes, struct kvs_buffer **buffer);
void kvs_buffer_free(struct kvs_buffer *buffer);
/** kvs_buffer_data - its memory; valid until the buffer is freed */
void *kvs_buffer_data(const struct kvs_buffer *buffer);
/** kvs_buffer_size - its size in bytes, rounded up to pages */
size_t kvs_buffer_size(const struct kvs_buffer *buffer);
/** kvs_buffer_handle - its GEM handle */
uint32_t kvs_buffer_handle(const struct kvs_buffer *buffer);

/* ---- stream: the KV state of one sequence ---------------------------------------------------------- */

/** struct kvs_geometry - what a stream holds. Zero a field to get its default. */
struct kvs_geometry {
	/** @size: sizeof(struct kvs_geometry) of the caller. */
	size_t size;
	/** @layers: 1 to 128. */
	uint32_t layers;
	/** @q_heads: query heads, a multiple of @kv_heads. */
	uint32_t q_heads;
	/** @kv_heads: KV heads, at most 64. */
	uint32_t kv_heads;
	/** @d_k: elements of a key row. */
	uint32_t d_k;
	/** @d_v: elements of a value row. */
	uint32_t d_v;
	/** @format: enum kvsink_format of the stored rows. */
	uint32_t format;
	/** @page_tokens: default 16. */
	uint32_t page_tokens;
	/** @max_tokens: rounded up to pages. */
	uint32_t max_tokens;
	/** @reserve_tokens: pages to reserve now; default all of @max_tokens. */
	uint32_t reserve_tokens;
	/** @score_groups: default 1. */
	uint32_t score_groups;
	/** @group_end: end of each score group; default: all layers in one. */
	uint16_t group_end[KVSINK_MAX_SCORE_GROUPS];
	/** @scale: multiplies q.k, of every layer; default 1/sqrt(d_k). */
	float scale;
	/** @layer: @layers of them, or NULL for @scale and nothing else in every layer. */
	const struct drm_kvsink_layer *layer;
};

int kvs_stream_create(struct kvs_device *device, const struct kvs_geometry *geometry, struct kvs_stream **stream);
/** kvs_stream_free - destroy the stream on the device, entries and pages with it */
void kvs_stream_free(struct kvs_stream *stream);
uint64_t kvs_stream_id(const struct kvs_stream *stream);
/** kvs_stream_reserve - pages for @tokens in all; -ENOSPC leaves everything as it was */
int kvs_stream_reserve(struct kvs_stream *stream, uint32_t tokens);

/* ---- batch: a job under construction; operations run in order ------------------------------------ */

/** struct kvs_place - a place in a buffer; @offset in bytes, a multiple of 4 */
struct kvs_place {
	struct kvs_buffer *buffer;
	uint64_t offset;
};

int kvs_batch_create(struct kvs_device *device, struct kvs_batch **batch);
void kvs_batch_free(struct kvs_batch *batch);
/** kvs_batch_reset - forget the operations */
void kvs_batch_reset(struct kvs_batch *batch);

/*
 * Each adds one operation (-E2BIG beyond 64, or 256 attend items). Shapes and rules: kvsink_drm.h.
 */
int kvs_batch_append(struct kvs_batch *batch, struct kvs_stream *stream, uint32_t layer, uint32_t first,
		     uint32_t count, struct kvs_place k, struct kvs_place v);
int kvs_batch_copy(struct kvs_batch *batch, struct kvs_place src, struct kvs_place dst, uint64_t bytes);
int kvs_batch_score(struct kvs_batch *batch, struct kvs_stream *stream, uint32_t layer, uint32_t first,
		    uint32_t count, struct kvs_place q, struct kvs_place out);
int kvs_batch_classify(struct kvs_batch *batch, struct kvs_stream *stream, uint32_t group_mask, uint32_t max,
		       struct kvs_place dst);
int kvs_batch_barrier(struct kvs_batch *batch, struct kvs_stream *stream);
/** kvs_batch_attend - @stats.buffer may be NULL */
int kvs_batch_attend(struct kvs_batch *batch, const struct drm_kvsink_attend_item *items, uint32_t count,
		     struct kvs_place q, struct kvs_place out, struct kvs_place stats);
int kvs_batch_step_end(struct kvs_batch *batch, struct kvs_stream *stream, uint32_t count);
int kvs_batch_step_abort(struct kvs_batch *batch, struct kvs_stream *stream);
int kvs_batch_advance(struct kvs_batch *batch, uint64_t ns);

/** kvs_batch_submit - queue it and return a fence value (> 0) in @fence; the batch may then be reset and reused */
int kvs_batch_submit(struct kvs_batch *batch, uint64_t *fence);
/**
 * kvs_wait - wait for a fence value of this device
 * @deadline_ns: absolute CLOCK_MONOTONIC; INT64_MAX for no limit
 *
 * -ETIME when the deadline passed; else the outcome of that job: 0 or the errno of its result code.
 * @status may be NULL; otherwise it receives the code, the failed operation and the modelled times.
 */
int kvs_wait(struct kvs_device *device, uint64_t fence, int64_t deadline_ns, struct drm_kvsink_job_status *status);
/** kvs_batch_run - submit and wait without limit */
int kvs_batch_run(struct kvs_batch *batch, struct drm_kvsink_job_status *status);

/* ---- placement and inspection: by stream id, so that any file of the tenant can act ---------------- */

/** kvs_promote - @grant may be NULL; on -ENOSPC its code says BUDGET, FRAGMENTED or TAGS */
int kvs_promote(struct kvs_device *device, uint64_t stream, uint32_t token, uint32_t layer_begin,
		uint32_t layer_end, uint64_t head_mask, struct drm_kvsink_promote *grant);
/** kvs_evict - returns how many entries were removed, -ENOENT if none */
int kvs_evict(struct kvs_device *device, uint64_t stream, uint32_t token, uint32_t layer_begin,
	      uint32_t layer_end);
/** kvs_config_get, kvs_config_set - a parameter of a stream, or of the device (stream 0) */
int kvs_config_get(struct kvs_device *device, uint64_t stream, enum kvsink_param param, uint64_t *value);
int kvs_config_set(struct kvs_device *device, uint64_t stream, enum kvsink_param param, uint64_t value);

/**
 * kvs_query - all records of a kind
 * @type: enum drm_kvsink_query_type
 * @group: score group for SCORES, else 0
 * @records: receives an array to be freed by the caller (NULL if there is none)
 * @record_bytes: receives the size of one record
 *
 * Returns the number of records.
 */
int kvs_query(struct kvs_device *device, uint32_t type, uint64_t stream, uint32_t group, void **records,
	      size_t *record_bytes);
/** kvs_counters - @counters[KVSINK_COUNTER_COUNT]; stream 0: of the device */
int kvs_counters(struct kvs_device *device, uint64_t stream, uint64_t *counters);
/** kvs_register_read - -ENOENT no such register, -EACCES administrators only */
int kvs_register_read(struct kvs_device *device, uint32_t offset, uint64_t *value);
/** kvs_entry_read - one resident row pair: K, then V, as stored */
int kvs_entry_read(struct kvs_stream *stream, uint32_t token, uint32_t layer, uint32_t head,
		   uint32_t generation, void *row, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
