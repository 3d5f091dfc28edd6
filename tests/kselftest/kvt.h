/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the driver share: the device, calls that return -errno, a small stream with its rows,
 * and tables of arguments that must be refused.
 */
#ifndef KVT_H
#define KVT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kvsink_drm.h"
#include "kvsink_hw.h"

/* The small stream of most tests. */
#define KVT_LAYERS 2
#define KVT_Q_HEADS 4
#define KVT_KV_HEADS 2
#define KVT_DK 8
#define KVT_DV 8
#define KVT_PAGE 4
#define KVT_MAX 64
#define KVT_ROW_BYTES ((KVT_DK + KVT_DV) * 4)

struct kvt_bo {
	uint32_t handle;
	uint64_t size;
	void *map;
};

/* One field, set alone to a value that must be refused. */
struct kvt_bad {
	const char *name;
	size_t offset, bytes;
	uint64_t value;
	int err;
};

#define KVT_BAD(type, field, value, err)                                                                     \
	{#field " = " #value, offsetof(type, field), sizeof(((type *)0)->field), value, err}
#define KVT_COUNT(array) (sizeof(array) / sizeof((array)[0]))

const char *kvt_path(void); /* of the device node */
int kvt_open(void);
int kvt_open_second(void);				 /* another device, in guests that have one */
int kvt_ioctl(int fd, unsigned long request, void *arg); /* 0 or -errno */
void kvt_set(void *args, const struct kvt_bad *bad);

struct kvt_bo kvt_bo(int fd, uint64_t size); /* map is NULL if it failed */
void kvt_bo_free(int fd, struct kvt_bo *bo);

/* An argument for the small stream; the layers are static. */
struct drm_kvsink_stream_create kvt_stream_args(void);
uint64_t kvt_stream(int fd); /* 0 if it failed */
int kvt_destroy(int fd, uint64_t stream);

/* Submit one job and wait for its end: 0 or -errno of SUBMIT; status receives what the kernel wrote. */
int kvt_submit_raw(int fd, struct drm_kvsink_submit *submit);
int kvt_run(int fd, struct kvt_bo *status_bo, const struct drm_kvsink_op *ops, uint32_t count,
	    uint64_t generation, struct drm_kvsink_job_status *status);

/* Tokens of the small stream, all layers, and STEP_END; rows are kvt_value(). */
float kvt_value(uint32_t token, uint32_t layer, uint32_t head, uint32_t element, bool v);
int kvt_fill(int fd, uint64_t stream, uint32_t tokens);
int kvt_grow(int fd, uint64_t stream, uint32_t first, uint32_t tokens); /* the same, behind `first` tokens */
/* Without STEP_END, and with the rows of tokens `as` and later. */
int kvt_draft(int fd, uint64_t stream, uint32_t first, uint32_t as, uint32_t tokens);
struct drm_kvsink_op kvt_append(uint64_t stream, uint32_t layer, uint32_t first, uint32_t count,
				uint32_t handle, uint64_t k, uint64_t v);
struct drm_kvsink_op kvt_step_end(uint64_t stream, uint32_t count);

/* All rows of a token, and a list of such. */
struct drm_kvsink_place kvt_rows(uint32_t token);
struct drm_kvsink_array kvt_places(const struct drm_kvsink_place *places, uint32_t count);
int kvt_evict(int fd, uint64_t stream, uint32_t token, struct drm_kvsink_evict *out);
int kvt_promote(int fd, uint64_t stream, uint32_t token, struct drm_kvsink_promote *out);
/* QUERY into buf; 0 or -errno. Its head is at the front. */
int kvt_query(int fd, uint32_t type, uint64_t stream, void *buf, uint32_t size);
/* How many events of the stream say so; -1 on failure. */
int kvt_events(int fd, uint64_t stream, uint32_t code, uint32_t reason);
/* Streams or tags that this file may see. */
int kvt_total(int fd, uint32_t type);
uint64_t kvt_generation(int fd);
/* What fdinfo says of a file: the number behind a key such as "drm-total-hbm:", -1 without that key. */
long kvt_fdinfo(int fd, const char *key);

/*
 * Another user, without privileges, opens the device and checks something about a stream of ours: what it
 * returns, or 101 if it could not become nobody, 102 if it could not open the device, 103 if it died.
 */
#define KVT_NOBODY 65534
int kvt_as_nobody(int (*check)(int fd, uint64_t stream), uint64_t stream);

/* Output of the last of `tokens` tokens' queries, layer 0, wherever rows lie; the job's code, or -errno. */
#define KVT_OUT (KVT_Q_HEADS * KVT_DV)
int kvt_attend(int fd, uint64_t stream, uint32_t tokens, float out[KVT_OUT]);
/* SWAP_OUT or SWAP_IN of an image at the start of a buffer. */
int kvt_swap(int fd, unsigned long request, uint64_t stream, uint32_t handle, uint64_t bytes,
	     struct drm_kvsink_swap *args);
int kvt_is_out(int fd, uint64_t stream); /* 1, 0 or -errno */
int kvt_record(int fd, uint64_t stream, struct kvsink_stream_rec *rec);
/* WINDOW_BEGIN or WINDOW_COMMIT. */
int kvt_window(int fd, unsigned long request, uint64_t stream, uint32_t tokens);
/* Take all HBM: how much that was, in units of its own. The streams end with the file. And how much there is
 * to take. */
uint64_t kvt_hog(int fd);
uint64_t kvt_all_hbm(void);

/*
 * A child does @work for ever, which writes a byte to @ready once it is under way, and is killed so much
 * later. 0, its exit code if it ended by itself, or negative if it never came so far.
 */
int kvt_kill(void (*work)(int ready, bool variant), bool variant, unsigned int after_us);

uint32_t kvt_syncobj(int fd);
int kvt_wait_point(int fd, uint32_t syncobj, uint64_t point, int64_t seconds);

#endif
