/* SPDX-License-Identifier: MIT */
/**
 * DOC: libkvsink
 *
 * The runtime library of the kvsink accelerator. A device is opened by name:
 *
 *   "drm:"                    the first kvsink node
 *   "drm:/dev/accel/accel1"   that node
 *   "sim:"                    the same chip model in this process; options after the colon, separated by
 *                             commas, e.g. "sim:sram=256K,threads=2"; see kvs_open()
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
struct kvs_prefix;
struct kvs_batch;

/* ---- device ---------------------------------------------------------------------------------- */

/**
 * kvs_open - open a device by name
 * @name: "drm:", "drm:PATH" or "sim:OPTIONS", see above
 * @device: receives the device, to be dropped with kvs_close()
 *
 * Options of sim: sizes sram, hbm (number with K, M or G), numbers tags, streams, rings, ring-slots,
 * gart-pages, burst, timing sram-latency-ns, hbm-latency-ns, sram-gbps, hbm-gbps, dma-gbps, job-overhead-ns,
 * tag-latency-ns, threads (for arithmetic, 1 to 16, default 1), faults inject-hang, inject-lost,
 * inject-dma-error and inject-ecc (how many) and inject-skip (jobs before the first hang or lost end).
 * record=FILE, a file that does not exist yet, makes a recording for kvs_replay() (kvsink_replay.h). With
 * share=NAME every open of this process that gives the same name attaches to one chip as a file of its own
 * (its other options are left out, or the same again); uid=N opens it as that ordinary user (without it the
 * opener is an administrator).
 *
 * Returns 0, -ENODEV (none found), -EACCES, -EINVAL (bad name or option), -ENOMEM. kvs_open_error() says
 * more.
 */
int kvs_open(const char *name, struct kvs_device **device);

/**
 * kvs_close - drop the caller's reference
 * @device: a device or NULL; it lives on until its last buffer, stream and batch is freed
 */
void kvs_close(struct kvs_device *device);

/**
 * kvs_device_info - constants of a device and its contents-lost generation now
 * @device: the device
 * @info: receives them
 *
 * Returns 0 or -ENODEV.
 */
int kvs_device_info(struct kvs_device *device, struct drm_kvsink_dev_info *info);

/**
 * kvs_device_name - the name under which a device can be opened again
 * @device: the device
 *
 * Returns "drm:/dev/accel/accel0" or "sim:...", which lives as long as the device.
 */
const char *kvs_device_name(const struct kvs_device *device);

/**
 * kvs_device_error - one line about the last failed call
 * @device: the device
 *
 * Returns what failed, where, which value and what is allowed; "" if nothing failed yet. Valid until the
 * next call.
 */
const char *kvs_device_error(const struct kvs_device *device);

/**
 * kvs_device_ioctl - one ioctl of kvsink_drm.h, on either backend
 * @device: the device
 * @request: DRM_IOCTL_KVSINK_*
 * @arg: its struct
 *
 * Returns 0 or -errno.
 */
int kvs_device_ioctl(struct kvs_device *device, unsigned long request, void *arg);

/**
 * kvs_list - names of the devices that kvs_open() can reach through DRM
 * @names: receives up to @max names, each to be freed by the caller
 * @max: room in @names; may be 0
 *
 * Returns how many exist (nodes that the caller may not open are left out), or -ENOMEM.
 */
int kvs_list(char **names, unsigned max);

/**
 * kvs_open_error - one line about why the last kvs_open() or kvs_heads_load() of this thread failed
 *
 * Returns "" if it did not. Valid until the thread's next one of these calls.
 */
const char *kvs_open_error(void);

/**
 * kvs_version - version of the library
 *
 * Returns "MAJOR.MINOR.PATCH".
 */
const char *kvs_version(void);

/**
 * kvs_code_name - name of a result code
 * @code: enum kvsink_code
 *
 * Returns for example "BUDGET", "?" if there is no such code.
 */
const char *kvs_code_name(uint32_t code);

/**
 * kvs_code_text - meaning of a result code
 * @code: enum kvsink_code
 *
 * Returns one line without a full stop.
 */
const char *kvs_code_text(uint32_t code);

/* ---- buffer: host memory that the device reads and writes ---------------------------------------- */

/**
 * kvs_buffer_create - zeroed memory that the device can reach, mapped
 * @device: the device
 * @bytes: at least 1, at most DRM_KVSINK_MAX_BO_BYTES; rounded up to pages
 * @buffer: receives the buffer, to be freed with kvs_buffer_free()
 *
 * Returns 0, -EINVAL, -E2BIG, -ENOSPC (GART full), -ENOMEM, -ENODEV.
 */
int kvs_buffer_create(struct kvs_device *device, size_t bytes, struct kvs_buffer **buffer);

/**
 * kvs_buffer_free - give a buffer back
 * @buffer: the buffer or NULL; jobs in flight keep its memory until they have ended
 */
void kvs_buffer_free(struct kvs_buffer *buffer);

/**
 * kvs_buffer_data - memory of a buffer
 * @buffer: the buffer
 *
 * Returns its first byte; valid until the buffer is freed, also after a reset or unplug of the device.
 */
void *kvs_buffer_data(const struct kvs_buffer *buffer);

/**
 * kvs_buffer_size - size of a buffer
 * @buffer: the buffer
 *
 * Returns bytes, a multiple of the page size.
 */
size_t kvs_buffer_size(const struct kvs_buffer *buffer);

/**
 * kvs_buffer_handle - GEM handle of a buffer, for kvs_device_ioctl()
 * @buffer: the buffer
 *
 * Returns the handle, valid on this device only.
 */
uint32_t kvs_buffer_handle(const struct kvs_buffer *buffer);

/** struct kvs_place - a place in a buffer */
struct kvs_place {
	/** @buffer: a buffer of the device that uses it. */
	struct kvs_buffer *buffer;
	/** @offset: bytes from its start, a multiple of 4. */
	uint64_t offset;
};

/* ---- stream: the KV state of one sequence ---------------------------------------------------------- */

/** struct kvs_geometry - what a stream holds. Zero a field to get its default. */
struct kvs_geometry {
	/** @size: sizeof(struct kvs_geometry) of the caller. */
	size_t size;
	/** @layers: 1 to 128. */
	uint32_t layers;
	/** @q_heads: query heads, a multiple of @kv_heads, at most 128. */
	uint32_t q_heads;
	/** @kv_heads: KV heads, at most 64. */
	uint32_t kv_heads;
	/** @d_k: elements of a key row, 1 to 576. */
	uint32_t d_k;
	/** @d_v: elements of a value row, 1 to 576; with DRM_KVSINK_STREAM_V_IN_K at most @d_k. */
	uint32_t d_v;
	/** @format: enum kvsink_format of the stored rows. */
	uint32_t format;
	/** @page_tokens: tokens of a page, a power of two up to 256; default 16. */
	uint32_t page_tokens;
	/** @max_tokens: the stream never grows beyond this; rounded up to pages. */
	uint32_t max_tokens;
	/** @reserve_tokens: tokens to reserve pages for now; default all of @max_tokens. */
	uint32_t reserve_tokens;
	/** @score_groups: 1 to 8; default 1. */
	uint32_t score_groups;
	/** @group_end: end of each score group; default: all layers in one. */
	uint16_t group_end[KVSINK_MAX_SCORE_GROUPS];
	/** @scale: multiplies q.k, of every layer; default 1/sqrt(d_k). */
	float scale;
	/** @layer: @layers of them, or NULL for @scale and nothing else in every layer. */
	const struct drm_kvsink_layer *layer;
	/** @flags: DRM_KVSINK_STREAM_*; default none. */
	uint32_t flags;
	/** @seal_k: enum kvsink_format that kvs_batch_seal() turns K rows into; default 0: they stay as they
	 * are, as they always do with DRM_KVSINK_STREAM_V_IN_K. */
	uint32_t seal_k;
	/** @seal_v: the same for V rows. */
	uint32_t seal_v;
};

/**
 * kvs_stream_create - make a stream
 * @device: the device
 * @geometry: what it holds
 * @stream: receives the stream, to be freed with kvs_stream_free()
 *
 * Returns 0, -EINVAL or -EOPNOTSUPP (kvs_device_error() names the field), -E2BIG (@geometry is of a newer
 * library and asks for something), -ENOSPC (HBM or streams; nothing is left behind), -ENODEV.
 */
int kvs_stream_create(struct kvs_device *device, const struct kvs_geometry *geometry,
		      struct kvs_stream **stream);

/**
 * kvs_stream_free - destroy a stream on the device, entries and pages with it
 * @stream: the stream or NULL
 */
void kvs_stream_free(struct kvs_stream *stream);

/**
 * kvs_stream_id - device-wide id of a stream
 * @stream: the stream
 *
 * Returns the id, which the device never uses again.
 */
uint64_t kvs_stream_id(const struct kvs_stream *stream);

/**
 * kvs_stream_reserve - reserve pages ahead
 * @stream: the stream
 * @tokens: tokens that shall have pages in all; fewer than now changes nothing
 *
 * Returns 0, -EINVAL (more than max_tokens), -ENOSPC, which leaves everything as it was, -ENODATA (it is
 * swapped out).
 */
int kvs_stream_reserve(struct kvs_stream *stream, uint32_t tokens);

/**
 * kvs_stream_image_bytes - how much memory the stream's image takes
 * @stream: the stream
 * @bytes: receives the bytes that kvs_stream_swap_out() would write now, or has written
 *
 * It grows with the stream: scores and norms of max_tokens, and the pages of the tokens that it has.
 *
 * Returns 0 or -errno of the query.
 */
int kvs_stream_image_bytes(struct kvs_stream *stream, uint64_t *bytes);

/**
 * kvs_stream_swap_out - preempt a stream: its HBM content moves to a buffer, its HBM is free for others
 * @stream: the stream, with no step open
 * @image: where the image shall lie; the buffer has room for kvs_stream_image_bytes() from there on
 *
 * Waits for what was submitted before, and for the stream's copies to SRAM. Entries, tails and contracts stay
 * in SRAM: evict what shall not. Dwell counts steps, so it stands still; deadlines and leases run on. Until
 * kvs_stream_swap_in() everything that needs rows, scores or pages of the stream fails with -ENODATA.
 *
 * Returns 0, -EBUSY (a step is open, or another process promotes), -E2BIG (no room in the buffer, or the
 * image is larger than a buffer can be), -ENODATA (it is out already), -EIO. Whatever fails leaves it in HBM.
 */
int kvs_stream_swap_out(struct kvs_stream *stream, struct kvs_place image);

/**
 * kvs_stream_swap_in - bring a stream back
 * @stream: the stream
 * @image: the image, byte for byte as kvs_stream_swap_out() wrote it; it may lie in another buffer
 *
 * Everything goes on as if the stream had never been away, after a reset as well, but for what that took from
 * SRAM.
 *
 * Returns 0, -ENOSPC (out of HBM), -EBADMSG (not the image), -E2BIG (the buffer is shorter than the image),
 * -EBUSY (it is not swapped out), -EIO. Whatever fails leaves it swapped out, and the image good for another
 * try.
 */
int kvs_stream_swap_in(struct kvs_stream *stream, struct kvs_place image);

/* ---- prefixes: tokens that streams share ------------------------------------------------------------- */

/**
 * kvs_prefix_publish - make a prefix of a stream's first tokens
 * @stream: the stream, with no step open
 * @tokens: more than it shares already, at most its length; not within a page that is sealed
 * @key: two words by which kvs_prefix_find() finds it, such as the hash of its tokens; NULL for zeros
 * @prefix: receives the prefix; free it with kvs_prefix_free()
 *
 * Pages and entries of these tokens, with their SRAM, are the prefix's from then on, for every stream that
 * begins with it; this one is the first. It lives until the last handle, descriptor and stream of it are
 * gone. Its id is good for kvs_promote(), kvs_evict(), kvs_contract(), kvs_config_*(), kvs_query(): through a
 * stream its tokens are refused (-EBUSY).
 *
 * Returns 0, -EBUSY (a step is open), -EINVAL, -ENOSPC (HBM, streams), -ELOOP (more than
 * KVSINK_MAX_PREFIX_DEPTH on one another), -ENOMEM.
 */
int kvs_prefix_publish(struct kvs_stream *stream, uint32_t tokens, const uint64_t key[2],
		       struct kvs_prefix **prefix);

/**
 * kvs_prefix_find - find a prefix of one's own user by its key, whoever of his processes has published it
 * @device: the device
 * @key: as given to kvs_prefix_publish()
 * @prefix: receives the prefix with that key that has the most tokens
 *
 * Returns 0, -ENOENT (none), or -errno of the query.
 */
int kvs_prefix_find(struct kvs_device *device, const uint64_t key[2], struct kvs_prefix **prefix);

/**
 * kvs_prefix_export - a file descriptor that stands for the prefix
 * @prefix: the prefix
 *
 * Whoever has it may open the prefix, another user as well: it is how a prefix is passed on, over a Unix
 * socket for example. It is O_CLOEXEC and the caller closes it. In sim: it is good within the process and
 * does not hold the prefix.
 *
 * Returns the descriptor or -errno.
 */
int kvs_prefix_export(struct kvs_prefix *prefix);

/**
 * kvs_prefix_import - the prefix that a descriptor stands for
 * @device: a handle of the device that the prefix is on
 * @fd: from kvs_prefix_export(); it may be closed afterwards
 * @prefix: receives the prefix
 *
 * Returns 0, -EBADF, -EINVAL (no descriptor of a prefix), -EXDEV (of another device), -ENOENT (in sim: it is
 * gone).
 */
int kvs_prefix_import(struct kvs_device *device, int fd, struct kvs_prefix **prefix);

/**
 * kvs_prefix_id - the id of a prefix, as QUERY STREAMS shows it; 0 if it came by a descriptor
 */
uint64_t kvs_prefix_id(const struct kvs_prefix *prefix);

/**
 * kvs_prefix_tokens - how many tokens a prefix has
 */
uint32_t kvs_prefix_tokens(const struct kvs_prefix *prefix);

/**
 * kvs_prefix_free - give the handle back; NULL does nothing
 *
 * Streams that begin with the prefix keep it. If there are none, nor other handles or descriptors, its memory
 * is free on return.
 */
void kvs_prefix_free(struct kvs_prefix *prefix);

/**
 * kvs_stream_attach - make a stream that begins with tokens of a prefix
 * @device: the device
 * @geometry: the prefix's, but for max_tokens and reserve_tokens
 * @prefix: the prefix
 * @tokens: 1 to those of the prefix
 * @stream: receives the stream, of that length
 *
 * Nothing is computed or copied but the rows in the last page, if the tokens end within one, and what was
 * measured: scores, and with all tokens of the prefix EMA and profile. With scores it takes over the
 * parameters that they were made with.
 *
 * Returns 0, -EINVAL, -EXDEV (another geometry), -ENOSPC.
 */
int kvs_stream_attach(struct kvs_device *device, const struct kvs_geometry *geometry,
		      struct kvs_prefix *prefix, uint32_t tokens, struct kvs_stream **stream);

/**
 * kvs_stream_fork - a second stream that begins as this one
 * @stream: the stream, with no step open
 * @tokens: 1 to its length, in the middle of a page as well
 * @fork: receives the new stream, of the same geometry
 *
 * Publishes what is not shared yet, then attaches. Parameters are the device's defaults, see
 * kvs_stream_attach().
 *
 * Returns 0 or the error of either.
 */
int kvs_stream_fork(struct kvs_stream *stream, uint32_t tokens, struct kvs_stream **fork);

/**
 * kvs_stream_detach - give a stream rows of its own in place of its prefix's
 * @stream: the stream
 *
 * Returns 0, -ENXIO (it shares nothing), -ENOSPC (HBM): then it goes on sharing.
 */
int kvs_stream_detach(struct kvs_stream *stream);

/* ---- replay windows: rows on trial --------------------------------------------------------------- */

/**
 * kvs_window_begin - open a replay window: the rows to come are kept or dropped one by one
 * @stream: the stream, with no step and no window open
 * @tokens: rows that it may have, 1 to 64
 *
 * For speculative decoding: append the rows of a draft and attend with all of its queries, in any number of
 * batches but without kvs_batch_step_end(); then kvs_window_commit() those that were right. Meanwhile entries
 * and tails stay where they are (for max_lease_ns at the longest), and what would change them, or scores,
 * parameters, sealed rows or the length, fails with -EBUSY. A window takes 8 bytes of HBM for each of its
 * rows, score group and token of context.
 *
 * Returns 0, -EINVAL (@tokens), -EBUSY (a step or a window is open: windows do not nest), -ENOSPC (HBM),
 * -ENODATA (the stream is swapped out), -EACCES, -ECANCELED (a reset came: no window is open).
 */
int kvs_window_begin(struct kvs_stream *stream, uint32_t tokens);

/**
 * kvs_window_commit - end the window: its first rows become part of the stream
 * @stream: the stream
 * @tokens: rows that stay; every layer has appended as many rows
 *
 * Length, scores, EMA, entries, dwell, contracts, tails and norms are then what @tokens single steps would
 * have left, each of one row with the query at its place; outputs in canonical mode have been the same. The
 * other rows are dropped. Bytes that were moved and time that has passed stay counted.
 *
 * Returns 0, -ENOENT (no window is open; a reset ends them), -EINVAL (it has fewer rows), -EILSEQ (its layers
 * have not the same number of rows), -ECANCELED (a reset came: some of the rows may have become part of the
 * stream, see its length). After -EINVAL and -EILSEQ it is still open.
 */
int kvs_window_commit(struct kvs_stream *stream, uint32_t tokens);

/**
 * kvs_window_rollback - end the window: the stream is as it was
 * @stream: the stream
 *
 * kvs_window_commit() of 0 tokens; its layers may have different numbers of rows.
 *
 * Returns 0, -ENOENT (no window is open), -ECANCELED (a reset came: it has rolled back).
 */
int kvs_window_rollback(struct kvs_stream *stream);

/* ---- batch: a job under construction; operations run in order ------------------------------------ */

/**
 * kvs_batch_create - an empty batch
 * @device: the device
 * @batch: receives the batch, to be freed with kvs_batch_free()
 *
 * Returns 0 or -ENOMEM.
 */
int kvs_batch_create(struct kvs_device *device, struct kvs_batch **batch);

/**
 * kvs_batch_free - drop a batch; what was submitted goes on
 * @batch: the batch or NULL
 */
void kvs_batch_free(struct kvs_batch *batch);

/**
 * kvs_batch_next - the same batch one step on: plan once, run many times
 * @batch: the batch, as it was submitted last
 *
 * Moves APPEND, SCORE and ATTEND of each stream on by what the batch takes in for that stream: the tokens of
 * its STEP_ENDs; in a batch without one, as when layers are submitted one by one, those that it appends to a
 * layer; without these, the queries that it scores in a layer. A stream of which it takes in nothing stays
 * where it is. Buffers stay the same: new rows and queries go to the places of the old ones. Output and stats
 * do not depend on the position; `mass` of kvs_batch_attend() does, and grows: give it room for the last
 * step, and find its parts by the new positions. PROMOTE, EVICT, SEAL and SCORE_IMPORT name tokens that do
 * not move, so they stay as they are; deadlines too. To add or remove a stream, make the batch anew.
 *
 * Returns 0, or -E2BIG (a position would exceed 32 bits), which changes nothing. That a stream is full, or
 * pages are missing, is found where it always is: at kvs_batch_submit() and in the job.
 */
int kvs_batch_next(struct kvs_batch *batch);

/**
 * kvs_batch_reset - forget the operations
 * @batch: the batch
 */
void kvs_batch_reset(struct kvs_batch *batch);

/*
 * Each of the following adds one operation. All return 0, -E2BIG (more than DRM_KVSINK_MAX_OPS operations
 * or DRM_KVSINK_MAX_ITEMS attend items and places), -EINVAL (a place without buffer, or in a buffer of
 * another device) or -EACCES (stream of another device). Ranges and sequence are checked at submit and by the
 * device.
 */

/**
 * kvs_batch_append - store K and V rows of one layer behind those already there
 * @batch: the batch
 * @stream: the stream
 * @layer: layer
 * @first: token of the first row: the stream's length plus rows appended to this layer since
 * @count: tokens
 * @k: float[count][kv_heads][d_k]
 * @v: float[count][kv_heads][d_v]; without a buffer (NULL) in a stream with DRM_KVSINK_STREAM_V_IN_K
 *
 * Returns see above.
 */
int kvs_batch_append(struct kvs_batch *batch, struct kvs_stream *stream, uint32_t layer, uint32_t first,
		     uint32_t count, struct kvs_place k, struct kvs_place v);

/**
 * kvs_batch_copy - copy bytes between buffers
 * @batch: the batch
 * @src: source
 * @dst: destination; may not overlap the source
 * @bytes: at least 1
 *
 * Returns see above.
 */
int kvs_batch_copy(struct kvs_batch *batch, struct kvs_place src, struct kvs_place dst, uint64_t bytes);

/**
 * kvs_batch_score - causal attention of a chunk of queries, scored in the same pass (prefill)
 * @batch: the batch
 * @stream: the stream
 * @layer: layer
 * @first: token of the first query: the first unscored one of this layer
 * @count: queries; their K and V rows must be appended
 * @q: float[count][q_heads][d_k]
 * @out: float[count][q_heads][d_v]
 *
 * Returns see above.
 */
int kvs_batch_score(struct kvs_batch *batch, struct kvs_stream *stream, uint32_t layer, uint32_t first,
		    uint32_t count, struct kvs_place q, struct kvs_place out);

/**
 * kvs_batch_classify - list the sinks of score groups, by the stream's T_SINK and SCORE_MODE
 * @batch: the batch
 * @stream: the stream
 * @group_mask: bit g: score group g
 * @max: records that fit behind the head
 * @dst: struct drm_kvsink_list_head, then struct drm_kvsink_sink[max]
 *
 * Returns see above.
 */
int kvs_batch_classify(struct kvs_batch *batch, struct kvs_stream *stream, uint32_t group_mask, uint32_t max,
		       struct kvs_place dst);

/**
 * kvs_batch_barrier - wait in modelled time until the stream's copies to SRAM have ended
 * @batch: the batch
 * @stream: the stream
 *
 * Returns see above.
 */
int kvs_batch_barrier(struct kvs_batch *batch, struct kvs_stream *stream);

/**
 * kvs_batch_attend - decode attention of a ragged batch
 * @batch: the batch
 * @items: streams, layers and queries; copied
 * @count: items
 * @mode: enum drm_kvsink_attend_mode: split, canonical (bit-identical for every placement) or gated (bounded:
 *GATE and EPSILON of the layers' score groups say how far, stats tell the bound that was achieved)
 * @q: float[queries][q_heads][d_k], item behind item
 * @out: float[queries][q_heads][d_v]
 * @stats: struct drm_kvsink_attend_stat[queries][q_heads]; a NULL buffer for none
 * @mass: float[kv_heads][first + count] of each item, item behind item: attention that its queries outside
 *the local window of token t, in the query heads of KV head h, put on t; a NULL buffer for none
 *
 * Returns see above.
 */
int kvs_batch_attend(struct kvs_batch *batch, const struct drm_kvsink_attend_item *items, uint32_t count,
		     uint32_t mode, struct kvs_place q, struct kvs_place out, struct kvs_place stats,
		     struct kvs_place mass);

/**
 * kvs_merge - attention over two disjoint sets of tokens becomes attention over both
 * @out: float[d_v], output of one query head over the first set; receives that over both
 * @stat: what ATTEND said of it; receives that of both
 * @out2: output of the same query head over the second set
 * @stat2: what ATTEND said of that
 * @d_v: elements of an output
 *
 * An empty set (lse -inf) leaves the other as it is, bit for bit. Certificates compose: `bound` and `skipped`
 * become the means of both, weighted by the sets' shares of attention; those are exact, since lse counts
 * unread rows, too. The inputs' binary32 rounding of lse (some 1e-6 of the output) comes on top of `bound`.
 * An infinite bound (an output that is not finite) stays infinite. A learned sink counts in the lse of each
 * set whose stream has it, so only one may.
 *
 * Returns 0; -EINVAL if an lse is NaN or infinite, nothing is changed then.
 */
int kvs_merge(float *out, struct drm_kvsink_attend_stat *stat, const float *out2,
	      const struct drm_kvsink_attend_stat *stat2, uint32_t d_v);

/**
 * kvs_batch_step_end - make appended tokens part of the stream
 * @batch: the batch
 * @stream: the stream
 * @count: tokens that every layer has appended
 *
 * Returns see above.
 */
int kvs_batch_step_end(struct kvs_batch *batch, struct kvs_stream *stream, uint32_t count);

/**
 * kvs_batch_step_abort - drop what was appended since the last step
 * @batch: the batch
 * @stream: the stream
 *
 * Returns see above.
 */
int kvs_batch_step_abort(struct kvs_batch *batch, struct kvs_stream *stream);

/**
 * kvs_batch_advance - let modelled time pass
 * @batch: the batch
 * @ns: at most 1000000000
 *
 * Returns see above.
 */
int kvs_batch_advance(struct kvs_batch *batch, uint64_t ns);

/** struct kvs_contract - how long rows stay in SRAM, and when they must be there. Zero is a plain grant. */
struct kvs_contract {
	/** @size: sizeof(struct kvs_contract) of the caller. */
	size_t size;
	/** @dwell_steps: steps of the stream that an entry stays at least; 0 for no such limit. */
	uint32_t dwell_steps;
	/** @priority: 0 to 255: without a contract in force the lower one goes first. */
	uint32_t priority;
	/**
	 * @deadline_ns: CLOCK_MONOTONIC at which the contract ends at the latest, at most max_lease_ns ahead;
	 * 0 with
	 * @dwell_steps: the longest lease; 0 without: no contract.
	 */
	uint64_t deadline_ns;
	/** @due_ns: modelled ns from now by which the copies shall end; 0 = at once, whatever they slow down.
	 */
	uint64_t due_ns;
	/** @partial: grant the places that fit, in order, up to the first that does not. */
	bool partial;
};

/**
 * kvs_batch_promote - make rows resident in SRAM, in the order of the batch
 * @batch: the batch
 * @stream: the stream
 * @places: what becomes an entry each; copied
 * @count: places, at least 1
 * @contract: contract and due time; NULL for none
 *
 * A refusal fails the job. Returns see above.
 */
int kvs_batch_promote(struct kvs_batch *batch, struct kvs_stream *stream,
		      const struct drm_kvsink_place *places, uint32_t count,
		      const struct kvs_contract *contract);

/**
 * kvs_batch_evict - end residency of the entries that lie within places; it is no error if there is none
 * @batch: the batch
 * @stream: the stream
 * @places: copied; token KVSINK_TOKEN_ALL for every token
 * @count: places, at least 1
 *
 * Returns see above.
 */
int kvs_batch_evict(struct kvs_batch *batch, struct kvs_stream *stream, const struct drm_kvsink_place *places,
		    uint32_t count);

/**
 * kvs_batch_seal - quantise whole pages of a stream where they lie
 * @batch: the batch
 * @stream: the stream; its geometry has a format to seal in
 * @tokens: that are sealed afterwards: a multiple of page_tokens, at most the length, more than are sealed
 * already
 * @places: copied; rows that stay as they are, of tokens that are sealed now; NULL for none
 * @count: places
 *
 * Returns see above.
 */
int kvs_batch_seal(struct kvs_batch *batch, struct kvs_stream *stream, uint32_t tokens,
		   const struct drm_kvsink_place *places, uint32_t count);

/**
 * kvs_batch_score_import - take over scores of a group that has none yet
 * @batch: the batch
 * @stream: the stream
 * @group: score group
 * @count: the stream's length
 * @src: uint64_t[count], attention mass in units of 2^-32, layer weights included
 *
 * Returns see above.
 */
int kvs_batch_score_import(struct kvs_batch *batch, struct kvs_stream *stream, uint32_t group, uint32_t count,
			   struct kvs_place src);

/**
 * kvs_batch_layer_heads - ALiBi slopes and learned sinks of a layer's query heads
 * @batch: the batch
 * @stream: a stream with DRM_KVSINK_STREAM_PER_HEAD that has no row yet (-EOPNOTSUPP, -EBUSY when it runs)
 * @layer: layer
 * @src: float[2][q_heads]: slopes, finite; then sink logits, finite or -inf for none
 *
 * Returns see above.
 */
int kvs_batch_layer_heads(struct kvs_batch *batch, struct kvs_stream *stream, uint32_t layer,
			  struct kvs_place src);

/**
 * kvs_batch_submit - queue a batch as one job
 * @batch: the batch; it may be reset and reused at once
 * @fence: receives a fence value, > 0 and growing; may be NULL
 *
 * Returns 0, or why the job was refused: then nothing of it runs, and kvs_device_error() names the
 * operation and the field.
 */
int kvs_batch_submit(struct kvs_batch *batch, uint64_t *fence);

/**
 * kvs_wait - wait for a job, and for all earlier ones of this device
 * @device: the device
 * @fence: from kvs_batch_submit()
 * @deadline_ns: absolute CLOCK_MONOTONIC; INT64_MAX for no limit
 * @status: receives code, failed operation and modelled times; may be NULL
 *
 * Returns the job's outcome: 0 or the errno of its result code; -ETIME when the deadline passed, -EINVAL
 * for a fence that was never given out, -ENOENT for one so old (1024 jobs) that its outcome is forgotten.
 */
int kvs_wait(struct kvs_device *device, uint64_t fence, int64_t deadline_ns,
	     struct drm_kvsink_job_status *status);

/**
 * kvs_batch_run - submit a batch and wait for it without limit
 * @batch: the batch
 * @status: as in kvs_wait(); may be NULL
 *
 * Returns as kvs_batch_submit() and kvs_wait() do.
 */
int kvs_batch_run(struct kvs_batch *batch, struct drm_kvsink_job_status *status);

/* ---- placement and inspection: by stream id, so that any file of the tenant can act ---------------- */

/** struct kvs_grant - what a promotion got */
struct kvs_grant {
	/** @code: enum kvsink_code: why it was refused, or, of a partial grant, what ended it. */
	uint32_t code;
	/** @granted: entries. */
	uint32_t granted;
	/** @sram_bytes: bytes of SRAM in all. */
	uint32_t sram_bytes;
	/** @generation: of the first entry; the others count up (0 is left out). */
	uint32_t generation;
};

/**
 * kvs_promote - make rows resident in SRAM
 * @device: the device
 * @stream: stream id
 * @places: what becomes an entry each; tokens must be part of the stream
 * @count: places, 1 to DRM_KVSINK_MAX_ITEMS
 * @contract: contract and due time; NULL for none
 * @grant: receives what was granted, or the refusal's code; may be NULL
 *
 * All places are granted or none, unless the contract says partial: then running out is no error.
 *
 * Returns 0, -ENOSPC (the code says BUDGET, TENANT_CAP, FRAGMENTED or TAGS), -EEXIST (rows already resident),
 * -ENOENT, -EINVAL, -E2BIG.
 */
int kvs_promote(struct kvs_device *device, uint64_t stream, const struct drm_kvsink_place *places,
		unsigned count, const struct kvs_contract *contract, struct kvs_grant *grant);

/**
 * kvs_evict - end residency of the entries that lie within places
 * @device: the device
 * @stream: stream id
 * @places: token (KVSINK_TOKEN_ALL for every one), layers and heads
 * @count: places, 1 to DRM_KVSINK_MAX_ITEMS
 *
 * Returns how many entries were removed, -ENOENT if there was none, -EINVAL, -E2BIG.
 */
int kvs_evict(struct kvs_device *device, uint64_t stream, const struct drm_kvsink_place *places,
	      unsigned count);

/**
 * kvs_contract - make, renew or end the contracts of the entries that lie within places
 * @device: the device
 * @stream: stream id
 * @places: as of kvs_evict()
 * @count: places, 1 to DRM_KVSINK_MAX_ITEMS
 * @contract: what holds from now on; dwell_steps 0 with deadline_ns 0 ends contracts. due_ns and partial must
 * be 0
 *
 * Returns how many entries it concerns, -ENOENT if there was none, -EINVAL, -E2BIG.
 */
int kvs_contract(struct kvs_device *device, uint64_t stream, const struct drm_kvsink_place *places,
		 unsigned count, const struct kvs_contract *contract);

/**
 * kvs_config_get - read a parameter
 * @device: the device
 * @stream: stream id; 0 for the device's default
 * @group: score group; KVSINK_GROUP_ALL for parameters of another scope (of scope GROUP: the first group)
 * @param: parameter
 * @value: receives it; binary32 patterns in the low half
 *
 * Returns 0, -ENOENT, -EINVAL.
 */
int kvs_config_get(struct kvs_device *device, uint64_t stream, uint32_t group, enum kvsink_param param,
		   uint64_t *value);

/**
 * kvs_config_set - set a parameter
 * @device: the device
 * @stream: stream id; 0 for the device's default (administrators only)
 * @group: score group, or KVSINK_GROUP_ALL for every one, and for parameters of another scope
 * @param: parameter
 * @value: its value; ranges stand in kvsink_hw.h
 *
 * Returns 0, -EINVAL (kvs_device_error() names the parameter that it contradicts), -ENOENT, -EACCES, -EBUSY
 * (not in this state), -ENOSPC (a tail that does not fit).
 */
int kvs_config_set(struct kvs_device *device, uint64_t stream, uint32_t group, enum kvsink_param param,
		   uint64_t value);

/**
 * kvs_heads_load - head masks from a table of learned head weights (data/duo-attention)
 * @path: a table: one line a layer, one finite weight a KV head, separated by tabs; lines that begin with #
 *and empty ones are left out
 * @threshold: a head with at least this weight is a full one
 * @layers: lines that the table must have, at most 128
 * @kv_heads: weights that each line must have, at most 64
 * @masks: receives [layers] masks of the full heads; unchanged on failure
 *
 * Returns 0, -EINVAL (not such a table), or why the file cannot be read; kvs_open_error() has the line.
 */
int kvs_heads_load(const char *path, double threshold, uint32_t layers, uint32_t kv_heads, uint64_t *masks);

/**
 * kvs_query - all records of a kind
 * @device: the device
 * @type: enum drm_kvsink_query_type
 * @stream: stream id; 0 for all of the tenant, or for the device
 * @group: score group for SCORES, SINKS and PARAMS, else 0
 * @records: receives an array to be freed by the caller (NULL if there is none)
 * @record_bytes: receives the size of one record
 *
 * Returns the number of records, -EINVAL, -ENOENT, -EACCES, -ENOMEM.
 */
int kvs_query(struct kvs_device *device, uint32_t type, uint64_t stream, uint32_t group, void **records,
	      size_t *record_bytes);

/**
 * kvs_counters - the ledger of a stream or the device
 * @device: the device
 * @stream: stream id; 0 for the device (administrators only)
 * @counters: receives KVSINK_COUNTER_COUNT values; those a device does not have yet are 0
 *
 * Returns 0, -ENOENT, -EACCES.
 */
int kvs_counters(struct kvs_device *device, uint64_t stream, uint64_t *counters);

/**
 * kvs_register_read - read a register that the driver's list allows
 * @device: the device
 * @offset: its offset
 * @value: receives 32 bits, or 64 of a counter
 *
 * Returns 0, -ENOENT (no such register, or not readable), -EACCES (administrators only).
 */
int kvs_register_read(struct kvs_device *device, uint32_t offset, uint64_t *value);

/**
 * kvs_entry_read - copy one resident row pair: K, then V, as stored
 * @stream: the stream
 * @token: token
 * @layer: layer
 * @head: KV head
 * @generation: of the entry, from kvs_promote() or kvs_query()
 * @row: receives it
 * @bytes: its size: row_bytes of the entry's struct kvsink_tag_rec
 *
 * Returns 0, -ENOENT (not resident, or not in that generation), -EAGAIN (it kept changing), -EINVAL.
 */
int kvs_entry_read(struct kvs_stream *stream, uint32_t token, uint32_t layer, uint32_t head,
		   uint32_t generation, void *row, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
