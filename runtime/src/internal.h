/* SPDX-License-Identifier: MIT */
/*
 * The library's objects. One thread at a time uses a device and what was made from it, so nothing here
 * is locked and reference counts are plain.
 */
#ifndef KVS_INTERNAL_H
#define KVS_INTERNAL_H

#include <errno.h>

#include "backend.h"
#include "kvsink.h"

#define KVS_PUBLIC __attribute__((visibility("default")))

#define KVS_ERROR_BYTES 256
#define KVS_STATUS_SLOTS 1024 /* outcomes that are remembered */

struct kvs_device {
	struct kvs_backend backend;
	unsigned refs;		   /* the caller's, and one a buffer, stream and batch */
	struct kvs_buffer *status; /* struct drm_kvsink_job_status[KVS_STATUS_SLOTS], slot = fence mod that */
	uint8_t (*op_types)[DRM_KVSINK_MAX_OPS]; /* [KVS_STATUS_SLOTS]: what the jobs consist of, for messages
						  */
	uint64_t last_fence;			 /* handed out last; 0 = none yet */
	char error[KVS_ERROR_BYTES];		 /* kvs_device_error() */
};

struct kvs_buffer {
	struct kvs_device *device;
	uint32_t handle;
	size_t bytes;
	void *data;
};

struct kvs_stream {
	struct kvs_device *device;
	uint64_t id;
	struct kvs_geometry geometry;	 /* complete; for its forks */
	struct drm_kvsink_layer *layers; /* [geometry.layers], what geometry.layer points to */
};

struct kvs_prefix {
	struct kvs_device *device;
	uint64_t id;
	uint32_t handle, tokens;
};

struct kvs_batch {
	struct kvs_device *device;
	uint32_t ops, items, places; /* how many; the latter two count together */
	struct drm_kvsink_op op[DRM_KVSINK_MAX_OPS];
	struct drm_kvsink_attend_item item[DRM_KVSINK_MAX_ITEMS]; /* ATTENDs point into it, */
	struct drm_kvsink_place place[DRM_KVSINK_MAX_ITEMS];	  /* PROMOTEs and EVICTs into this */
};

/*
 * A size-first struct of the caller, which may be shorter than ours, or longer with a tail of zeros.
 * `min_bytes` must be there; what is missing becomes zero.
 */
int kvs_copy_struct(struct kvs_device *device, const char *name, const void *from, size_t min_bytes, void *to,
		    size_t bytes);
/* A contract as PROMOTE and CONTRACT want it; NULL gives zeros. `deadline_ns` and so on are checked below. */
int kvs_copy_contract(struct kvs_device *device, const struct kvs_contract *from, struct kvs_contract *to);

/* Tests put their own OS calls under drm:. */
int kvs_open_os(const char *name, const struct kvs_os_ops *os, void *os_ctx, struct kvs_device **device);

void kvs_device_ref(struct kvs_device *device);
/* stream.c: kvs_stream_create(), with `empty` without pages, for a prefix to come. */
int kvs_stream_make(struct kvs_device *device, const struct kvs_geometry *geometry, bool empty,
		    struct kvs_stream **stream);
int kvs_device_call(struct kvs_device *device, unsigned long request, void *arg); /* leaves no message */

/* Without a reference of its own on the device. */
int kvs_buffer_make(struct kvs_device *device, size_t bytes, struct kvs_buffer **buffer);
void kvs_buffer_drop(struct kvs_buffer *buffer);

/* Leave a line for kvs_device_error(), or kvs_open_error(), and return err. */
__attribute__((format(printf, 3, 4))) int kvs_fail(struct kvs_device *device, int err, const char *format,
						   ...);
__attribute__((format(printf, 2, 3))) int kvs_fail_open(int err, const char *format, ...);
void kvs_open_clear(void);

/* "EINVAL: ..." of a negative errno, as kvsink_drm.h explains it. */
const char *kvs_errno_text(int err);
/* "APPEND"; "?" if unknown. */
const char *kvs_op_name(uint32_t type);
/* A refused submit, from error_op and error_field; returns err. */
int kvs_fail_submit(struct kvs_batch *batch, int err, uint32_t op, uint32_t field);
/* The outcome of a job as 0 or -errno, with a message if it failed. */
int kvs_fail_job(struct kvs_device *device, const struct drm_kvsink_job_status *status,
		 const uint8_t *op_types);

#endif
