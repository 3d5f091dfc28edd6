/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/**
 * DOC: kvsink ioctl ABI
 *
 * A client opens /dev/accel/accelN, creates buffers (host memory that the device can reach) and
 * streams (the KV state of one sequence), and submits jobs: lists of typed operations on buffer
 * handles, stream ids and offsets. No device address ever crosses this boundary.
 *
 * Operations of one file run in the order of its ioctls. DRM_IOCTL_KVSINK_SUBMIT returns at once and
 * signals timeline syncobjs; STREAM_*, SWAP_*, PREFIX_*, WINDOW_*, PROMOTE, EVICT, CONTRACT and CONFIG_SET wait for their own
 * job and answer from its completion record. QUERY, CONFIG_GET and ENTRY_READ see what earlier calls of the file did.
 *
 * Rules for every struct: reserved fields, pads and unknown flag bits must be zero (EINVAL otherwise).
 * Arrays are struct drm_kvsink_array: elements may be longer than this header says if the tail is
 * zero (E2BIG otherwise). Thresholds and other floats are binary32 bit patterns in __u32; those of
 * parameters must be non-negative and finite.
 *
 * Errors: ENOENT unknown handle or stream, another tenant's stream included; EACCES an operation that only
 * the owning file or an administrator may do; EINVAL a field out of range; E2BIG too many or too large;
 * ENOSPC out of HBM, SRAM, tags or streams; EILSEQ not the next token; EEXIST rows already resident;
 * ESTALE the generation relied on is gone (used for nothing else); EOPNOTSUPP a feature that is not
 * there; ENODATA the stream is swapped out; EBADMSG not the image of the stream; EIO the device failed; ENODEV the device is gone; ECANCELED a reset overtook the job;
 * ETIME the job itself never ended, so the device was reset;
 * EROFS a prefix does not change; ENXIO the stream shares no prefix; EXDEV another geometry, or another device; ELOOP prefixes on too many
 * others; ENOMEM out of system memory; EFAULT a bad user pointer, or an operand outside its buffer.
 *
 * A stream belongs to the file that created it, and ends with it. Its tenant is the uid that opened
 * the file. Every file of the tenant (and CAP_SYS_ADMIN) may QUERY, CONFIG, PROMOTE, EVICT and CONTRACT it, only
 * the owning file may submit to it, extend it or read its entries.
 */
#ifndef KVSINK_DRM_H
#define KVSINK_DRM_H

#include "drm.h"

#if defined(__cplusplus)
extern "C" {
#endif

#define DRM_KVSINK_MAX_JOBS 64 /* jobs of one SUBMIT */
#define DRM_KVSINK_MAX_OPS 64 /* operations of one job */
#define DRM_KVSINK_MAX_ITEMS 256 /* attend items and places of one job, or places of one PROMOTE, EVICT, CONTRACT */
#define DRM_KVSINK_MAX_SYNCS 64 /* sync operations of one job */
#define DRM_KVSINK_MAX_LAYERS 128
#define DRM_KVSINK_MAX_BO_BYTES (256ull << 20) /* of one buffer */
#define DRM_KVSINK_MAX_QUERY_BYTES (1u << 20) /* of one QUERY answer */

/**
 * enum drm_kvsink_ioctl_id - ioctl numbers. New ones go last.
 */
enum drm_kvsink_ioctl_id {
	/** @DRM_KVSINK_DEV_QUERY: properties of the device. */
	DRM_KVSINK_DEV_QUERY = 0,
	/** @DRM_KVSINK_BO_CREATE: make a buffer. */
	DRM_KVSINK_BO_CREATE,
	/** @DRM_KVSINK_BO_MMAP_OFFSET: where to mmap a buffer. */
	DRM_KVSINK_BO_MMAP_OFFSET,
	/** @DRM_KVSINK_STREAM_CREATE: make a stream. */
	DRM_KVSINK_STREAM_CREATE,
	/** @DRM_KVSINK_STREAM_RESERVE: reserve pages ahead. */
	DRM_KVSINK_STREAM_RESERVE,
	/** @DRM_KVSINK_STREAM_DESTROY: drop a stream. */
	DRM_KVSINK_STREAM_DESTROY,
	/** @DRM_KVSINK_SUBMIT: queue jobs. */
	DRM_KVSINK_SUBMIT,
	/** @DRM_KVSINK_PROMOTE: make a token's rows resident in SRAM. */
	DRM_KVSINK_PROMOTE,
	/** @DRM_KVSINK_EVICT: end residency. */
	DRM_KVSINK_EVICT,
	/** @DRM_KVSINK_CONFIG_GET: read a parameter. */
	DRM_KVSINK_CONFIG_GET,
	/** @DRM_KVSINK_CONFIG_SET: set a parameter. */
	DRM_KVSINK_CONFIG_SET,
	/** @DRM_KVSINK_QUERY: streams, residency, counters, scores, events. */
	DRM_KVSINK_QUERY,
	/** @DRM_KVSINK_REG_READ: read an allow-listed register. */
	DRM_KVSINK_REG_READ,
	/** @DRM_KVSINK_ENTRY_READ: copy resident rows. */
	DRM_KVSINK_ENTRY_READ,
	/** @DRM_KVSINK_CONTRACT: make, renew or end contracts of resident rows. */
	DRM_KVSINK_CONTRACT,
	/** @DRM_KVSINK_SWAP_OUT: move a stream's HBM content to a buffer. */
	DRM_KVSINK_SWAP_OUT,
	/** @DRM_KVSINK_SWAP_IN: and back. */
	DRM_KVSINK_SWAP_IN,
	/** @DRM_KVSINK_PREFIX_PUBLISH: make a prefix of a stream's first tokens. */
	DRM_KVSINK_PREFIX_PUBLISH,
	/** @DRM_KVSINK_PREFIX_OPEN: a handle for a prefix, by its id or from a descriptor. */
	DRM_KVSINK_PREFIX_OPEN,
	/** @DRM_KVSINK_PREFIX_CLOSE: give a handle back; what it was the last user of is gone on return. */
	DRM_KVSINK_PREFIX_CLOSE,
	/** @DRM_KVSINK_PREFIX_EXPORT: a descriptor that other processes may open. */
	DRM_KVSINK_PREFIX_EXPORT,
	/** @DRM_KVSINK_PREFIX_ATTACH: an empty stream begins with tokens of a prefix. */
	DRM_KVSINK_PREFIX_ATTACH,
	/** @DRM_KVSINK_PREFIX_DETACH: a stream gets rows of its own in place of its prefix's. */
	DRM_KVSINK_PREFIX_DETACH,
	/** @DRM_KVSINK_WINDOW_BEGIN: rows to come are on trial. */
	DRM_KVSINK_WINDOW_BEGIN,
	/** @DRM_KVSINK_WINDOW_COMMIT: the first of them stay, the others never were. */
	DRM_KVSINK_WINDOW_COMMIT,
};

/**
 * struct drm_kvsink_array - an array in user memory
 */
struct drm_kvsink_array {
	/** @stride: bytes of one element; at least the size this header gives it. */
	__u32 stride;
	/** @count: elements; each user states its own maximum. */
	__u32 count;
	/** @array: user pointer. */
	__u64 array;
};

/**
 * enum drm_kvsink_dev_query_type - what DEV_QUERY answers
 */
enum drm_kvsink_dev_query_type {
	/** @DRM_KVSINK_DEV_QUERY_INFO: struct drm_kvsink_dev_info. */
	DRM_KVSINK_DEV_QUERY_INFO = 0,
};

/**
 * struct drm_kvsink_dev_info - constants of the device, and its generation
 */
struct drm_kvsink_dev_info {
	/** @hw_version: register VERSION. */
	__u32 hw_version;
	/** @caps: register CAPS. */
	__u32 caps;
	/** @sram_bytes: size of the SRAM. */
	__u64 sram_bytes;
	/** @hbm_bytes: size of the HBM. */
	__u64 hbm_bytes;
	/** @generation: contents-lost generation now. */
	__u64 generation;
	/** @tags: entries of the tag array. */
	__u32 tags;
	/** @streams: streams that can exist at once. */
	__u32 streams;
	/** @rings: rings. */
	__u32 rings;
	/** @ring_slots: jobs that one ring holds. */
	__u32 ring_slots;
	/** @gart_pages: 4 KiB pages that buffers of all clients may take together. */
	__u32 gart_pages;
	/** @burst_bytes: bytes of one memory burst (modelled). */
	__u32 burst_bytes;
	/** @max_lease_ns: a contract's deadline is at most this far ahead. */
	__u64 max_lease_ns;
};

/**
 * struct drm_kvsink_dev_query - argument of DEV_QUERY
 */
struct drm_kvsink_dev_query {
	/** @type: enum drm_kvsink_dev_query_type. */
	__u32 type;
	/**
	 * @size: in: bytes at @pointer; out: bytes that the kernel knows. The smaller of the two is copied,
	 * the rest of the caller's bytes is zeroed.
	 */
	__u32 size;
	/** @pointer: user pointer; 0 asks for @size only. */
	__u64 pointer;
};

/**
 * struct drm_kvsink_bo_create - argument of BO_CREATE
 */
struct drm_kvsink_bo_create {
	/** @size: in: bytes, 1 to DRM_KVSINK_MAX_BO_BYTES; out: rounded up to pages. */
	__u64 size;
	/** @flags: 0. */
	__u32 flags;
	/** @handle: out: GEM handle, valid in this file. */
	__u32 handle;
};

/**
 * struct drm_kvsink_bo_mmap_offset - argument of BO_MMAP_OFFSET
 */
struct drm_kvsink_bo_mmap_offset {
	/** @handle: GEM handle. */
	__u32 handle;
	/** @pad: 0. */
	__u32 pad;
	/** @offset: out: offset for mmap on the device file; the map must be shared. */
	__u64 offset;
};

/**
 * struct drm_kvsink_layer - attention parameters of one layer
 */
struct drm_kvsink_layer {
	/** @scale: binary32, multiplies q.k; positive and finite. */
	__u32 scale;
	/** @softcap: binary32; 0 for none, else c in c * tanh(logit / c). */
	__u32 softcap;
	/** @window: tokens; 0 for none, else a query at i sees tokens (i - window, i]. */
	__u32 window;
	/** @flags: 0. */
	__u32 flags;
	/** @reserved: 0. */
	__u32 reserved[2];
};

/**
 * enum drm_kvsink_format - number format of stored rows: the first two for APPEND, the others for SEAL
 */
enum drm_kvsink_format {
	/** @DRM_KVSINK_FORMAT_F32: binary32. */
	DRM_KVSINK_FORMAT_F32 = 0,
	/** @DRM_KVSINK_FORMAT_FP16: binary16. */
	DRM_KVSINK_FORMAT_FP16 = 1,
	/** @DRM_KVSINK_FORMAT_INT8: codes -127 to 127, a binary16 scale for 32 elements of a row. */
	DRM_KVSINK_FORMAT_INT8 = 2,
	/** @DRM_KVSINK_FORMAT_INT4: codes 0 to 15, a binary16 scale and minimum for 32 elements of a row. */
	DRM_KVSINK_FORMAT_INT4 = 3,
	/** @DRM_KVSINK_FORMAT_INT8_CHANNEL: K: codes 0 to 255, scale and minimum for an element over a page's tokens. */
	DRM_KVSINK_FORMAT_INT8_CHANNEL = 4,
	/** @DRM_KVSINK_FORMAT_INT4_CHANNEL: the same with codes 0 to 15. */
	DRM_KVSINK_FORMAT_INT4_CHANNEL = 5,
};

/* Flags of a stream: */
#define DRM_KVSINK_STREAM_PER_HEAD (1u << 0) /* query heads have ALiBi slopes and learned sinks: DRM_KVSINK_OP_LAYER_HEADS */
#define DRM_KVSINK_STREAM_V_IN_K (1u << 1) /* a value is the first d_v elements of its key row; no V rows are stored */

/**
 * struct drm_kvsink_stream_create - argument of STREAM_CREATE
 *
 * Takes HBM for the page table, the scores (28 bytes a token and score group, 12 a layer and KV head), the norms of V rows
 * (2 bytes a token, layer and KV head) and with DRM_KVSINK_STREAM_PER_HEAD 8 bytes a layer and query head, and for the pages of
 * @reserve_tokens. ENOSPC leaves nothing behind.
 */
struct drm_kvsink_stream_create {
	/** @layers: array of struct drm_kvsink_layer, 1 to DRM_KVSINK_MAX_LAYERS. */
	struct drm_kvsink_array layers;
	/** @flags: DRM_KVSINK_STREAM_*. */
	__u32 flags;
	/** @format: enum drm_kvsink_format. */
	__u32 format;
	/** @q_heads: query heads, a multiple of @kv_heads, at most 128. */
	__u16 q_heads;
	/** @kv_heads: KV heads, at most 64. */
	__u16 kv_heads;
	/** @d_k: elements of a key row, 1 to 576. */
	__u16 d_k;
	/** @d_v: elements of a value row, 1 to 576; with DRM_KVSINK_STREAM_V_IN_K at most @d_k. */
	__u16 d_v;
	/** @page_tokens: tokens of a page: a power of two, 1 to 256. */
	__u32 page_tokens;
	/** @max_tokens: the stream never grows beyond this; a multiple of @page_tokens, at most 262144. */
	__u32 max_tokens;
	/** @reserve_tokens: tokens to reserve pages for now; at most @max_tokens. */
	__u32 reserve_tokens;
	/** @score_groups: 1 to 8. */
	__u32 score_groups;
	/**
	 * @group_end: group g covers layers [group_end[g-1], group_end[g]), the first starts at 0; strictly
	 * ascending, the last used one equals the number of layers, unused ones are 0.
	 */
	__u16 group_end[8];
	/** @stream: out: device-wide id, never used again. */
	__u64 stream;
	/**
	 * @seal_k: enum drm_kvsink_format that SEAL turns K rows into; 0: they stay as they are. Per row @d_k must be a
	 * multiple of 32, for INT4_CHANNEL of 2, and a page must have room for the scales. A plane that is
	 * sealed has at most 4 MiB in a page and layer (EINVAL of @page_tokens). 0 with DRM_KVSINK_STREAM_V_IN_K: a
	 * value inside its key would need the scales of the key.
	 */
	__u16 seal_k;
	/** @seal_v: the same for V rows; INT8 or INT4, 0 with DRM_KVSINK_STREAM_V_IN_K. */
	__u16 seal_v;
	/** @pad: 0. */
	__u32 pad;
};

/**
 * struct drm_kvsink_stream_reserve - argument of STREAM_RESERVE
 */
struct drm_kvsink_stream_reserve {
	/** @stream: id; this file must own it. */
	__u64 stream;
	/** @tokens: reserve pages until the stream can hold this many tokens in all; never shrinks. */
	__u32 tokens;
	/** @pad: 0. */
	__u32 pad;
};

/**
 * struct drm_kvsink_stream_destroy - argument of STREAM_DESTROY
 */
struct drm_kvsink_stream_destroy {
	/** @stream: id; this file must own it. Jobs in flight finish first; entries and pages are scrubbed. */
	__u64 stream;
};

/**
 * struct drm_kvsink_ref - a place in a buffer
 */
struct drm_kvsink_ref {
	/** @handle: GEM handle; 0 only where an operand is optional. */
	__u32 handle;
	/** @pad: 0. */
	__u32 pad;
	/** @offset: bytes from the start of the buffer, a multiple of 4. */
	__u64 offset;
};

/**
 * struct drm_kvsink_swap - argument of SWAP_OUT and SWAP_IN
 *
 * SWAP_OUT waits for the stream's copies, writes everything that it has in HBM to @image and gives the HBM back, cleared.
 * EBUSY while a step is open. Entries, tails and contracts stay in SRAM, as do length, parameters and counters; time goes on
 * for deadlines and leases. Until SWAP_IN, operations and queries that need rows, scores or pages are ENODATA; EVICT,
 * CONTRACT, CONFIG, ENTRY_READ, QUERY of streams, tags, counters and parameters, and STREAM_DESTROY work.
 *
 * SWAP_IN reserves as much HBM as the stream had, elsewhere perhaps, and copies @image back. ENOSPC (HBM), EBADMSG (not what
 * SWAP_OUT wrote) and every other error leave the stream swapped out, and the image good for another try. EBUSY if
 * the stream is not swapped out. A reset takes SRAM and tags but not the stream: SWAP_IN works afterwards.
 */
struct drm_kvsink_swap {
	/** @stream: id; this file must own it. */
	__u64 stream;
	/** @image: where the image lies, or shall. */
	struct drm_kvsink_ref image;
	/** @bytes: in: bytes of the buffer from there on that may be used; out: size of the image, 0 if the chip did not tell. */
	__u64 bytes;
	/** @code: out: enum kvsink_code; ABORTED: a reset came and the stream is where it was; with E2BIG TOO_BIG: the image has more than @bytes, which then says how many. */
	__u32 code;
	/** @pad: 0. */
	__u32 pad;
};

/**
 * struct drm_kvsink_prefix_publish - argument of PREFIX_PUBLISH
 *
 * The stream's first @tokens tokens become a prefix: a stream that does not change, which other streams begin with. Their pages
 * and entries are the prefix's from then on, charged to this tenant until its last handle and descriptor are closed and the last
 * stream that begins with it is gone; this stream is one of these. QUERY, CONFIG, PROMOTE, EVICT and CONTRACT name the prefix by its id
 * within the tenant; what would change it is EROFS, its rows through a stream are EBUSY.
 * EBUSY while a step or a window is open; ENOSPC (HBM, streams); ELOOP (prefixes on prefixes, too many); EINVAL where @tokens would part a sealed page.
 */
struct drm_kvsink_prefix_publish {
	/** @stream: id; this file must own it. */
	__u64 stream;
	/** @key: what the prefix shall be called: QUERY STREAMS tells it, the kernel does not look at it. */
	__u64 key[2];
	/** @tokens: more than the stream shares already, at most its length. */
	__u32 tokens;
	/** @flags: 0. */
	__u32 flags;
	/** @prefix: out: id, never used again. */
	__u64 prefix;
	/** @handle: out: handle of this file; PREFIX_CLOSE gives it back. */
	__u32 handle;
	/** @code: out: enum kvsink_code. */
	__u32 code;
};

/**
 * struct drm_kvsink_prefix_open - argument of PREFIX_OPEN
 *
 * By id within the tenant (an administrator: of any), or from a descriptor of PREFIX_EXPORT, whoever made it. ENOENT: no such prefix, or
 * another tenant's; EBADF, EINVAL: no descriptor of a prefix; EXDEV: of another device.
 */
struct drm_kvsink_prefix_open {
	/** @prefix: id, or 0: see @fd. */
	__u64 prefix;
	/** @fd: descriptor; -1 with an id. */
	__s32 fd;
	/** @handle: out: a new handle of this file. */
	__u32 handle;
	/** @tokens: out: how many it has. */
	__u32 tokens;
	/** @pad: 0. */
	__u32 pad;
};

/**
 * struct drm_kvsink_prefix_handle - argument of PREFIX_CLOSE and PREFIX_EXPORT
 */
struct drm_kvsink_prefix_handle {
	/** @handle: of this file; ENOENT if it has none such. */
	__u32 handle;
	/** @fd: EXPORT: out: a descriptor, O_CLOEXEC; it holds the prefix, too. CLOSE: 0. */
	__s32 fd;
};

/**
 * struct drm_kvsink_prefix_attach - argument of PREFIX_ATTACH
 *
 * The stream has no token, row, page (@reserve_tokens 0 in STREAM_CREATE) or score, and the prefix's geometry except for max_tokens. It
 * then has the prefix's first @tokens tokens, and what was measured of them. EBUSY (it has something already), EXDEV (another geometry), EINVAL.
 */
struct drm_kvsink_prefix_attach {
	/** @stream: id; this file must own it. */
	__u64 stream;
	/** @handle: of the prefix. */
	__u32 handle;
	/** @tokens: 1 to those of the prefix. */
	__u32 tokens;
	/** @code: out: enum kvsink_code. */
	__u32 code;
	/** @pad: 0. */
	__u32 pad;
};

/**
 * struct drm_kvsink_prefix_detach - argument of PREFIX_DETACH
 *
 * Takes HBM for all pages that the stream shares and copies them. ENXIO: it shares nothing (any more); ENOSPC: it goes on sharing what is not
 * copied yet, and may be asked again; EBUSY while a window is open.
 */
struct drm_kvsink_prefix_detach {
	/** @stream: id; this file must own it. */
	__u64 stream;
	/** @code: out: enum kvsink_code. */
	__u32 code;
	/** @pad: 0. */
	__u32 pad;
};

/**
 * struct drm_kvsink_window - argument of WINDOW_BEGIN and WINDOW_COMMIT
 *
 * WINDOW_BEGIN opens a replay window: up to @tokens rows behind the stream's length are appended and attended
 * on trial, as in one open step. EBUSY while a step or a window is open: windows do not nest. Until
 * WINDOW_COMMIT whatever would change the stream's entries, scores, parameters, sealed rows or length is
 * EBUSY (code WINDOW): STEP_END, PROMOTE, EVICT, CONTRACT, CONFIG_SET, SEAL, SCORE, SCORE_IMPORT, CLASSIFY,
 * SWAP_OUT. APPEND beyond @tokens is E2BIG. Its entries and tails give way to no grant, for max_lease_ns at
 * the longest. The window needs HBM of its own (ENOSPC), given back, cleared, when it ends.
 *
 * WINDOW_COMMIT of k tokens does what k single steps would have done, each of the next row with its query;
 * the other rows are dropped. 0 rolls back: the stream is as it was. ENOENT (code NO_WINDOW) if none is open,
 * EINVAL for more rows than there are, EILSEQ if layers have different numbers of them (unless k is 0). The
 * window stays open then. A reset ends a window as 0 does; the stream's end ends it, too.
 */
struct drm_kvsink_window {
	/** @stream: id; this file must own it. */
	__u64 stream;
	/** @tokens: WINDOW_BEGIN: rows that it may have, 1 to 64; WINDOW_COMMIT: rows that stay, at most 64.
	 */
	__u32 tokens;
	/** @pad: 0. */
	__u32 pad;
	/** @rows: out: WINDOW_COMMIT: rows that the window had. */
	__u32 rows;
	/**
	 * @code: out: enum kvsink_code; ABORTED: a reset came, so there is no window, and what QUERY shows
	 * is part of the stream is.
	 */
	__u32 code;
};

/**
 * enum drm_kvsink_op_type - operations of a job
 */
enum drm_kvsink_op_type {
	/** @DRM_KVSINK_OP_APPEND: store K and V rows, see struct drm_kvsink_op_append. */
	DRM_KVSINK_OP_APPEND = 1,
	/** @DRM_KVSINK_OP_COPY: buffer to buffer, see struct drm_kvsink_op_copy. */
	DRM_KVSINK_OP_COPY,
	/** @DRM_KVSINK_OP_SCORE: prefill attention and scores, see struct drm_kvsink_op_score. */
	DRM_KVSINK_OP_SCORE,
	/** @DRM_KVSINK_OP_CLASSIFY: list sinks, see struct drm_kvsink_op_classify. */
	DRM_KVSINK_OP_CLASSIFY,
	/** @DRM_KVSINK_OP_BARRIER: wait for promotions, see struct drm_kvsink_op_barrier. */
	DRM_KVSINK_OP_BARRIER,
	/** @DRM_KVSINK_OP_ATTEND: decode attention, see struct drm_kvsink_op_attend. */
	DRM_KVSINK_OP_ATTEND,
	/** @DRM_KVSINK_OP_STEP_END: end or abort a step, see struct drm_kvsink_op_step_end. */
	DRM_KVSINK_OP_STEP_END,
	/** @DRM_KVSINK_OP_ADVANCE: modelled compute time, see struct drm_kvsink_op_advance. */
	DRM_KVSINK_OP_ADVANCE,
	/** @DRM_KVSINK_OP_PROMOTE: grant SRAM in the job's order, see struct drm_kvsink_op_promote. */
	DRM_KVSINK_OP_PROMOTE,
	/** @DRM_KVSINK_OP_EVICT: end residency in the job's order, see struct drm_kvsink_op_evict. */
	DRM_KVSINK_OP_EVICT,
	/** @DRM_KVSINK_OP_SCORE_IMPORT: take over scores, see struct drm_kvsink_op_score_import. */
	DRM_KVSINK_OP_SCORE_IMPORT,
	/** @DRM_KVSINK_OP_LAYER_HEADS: set slopes and learned sinks, see struct drm_kvsink_op_layer_heads. */
	DRM_KVSINK_OP_LAYER_HEADS,
	/** @DRM_KVSINK_OP_SEAL: quantise closed pages, see struct drm_kvsink_op_seal. */
	DRM_KVSINK_OP_SEAL,
};

/**
 * struct drm_kvsink_op_append - store rows of one layer behind those already there
 *
 * An element that is not finite in the stream's format (NaN, an infinity, beyond 65504 in FP16) is stored as NaN.
 */
struct drm_kvsink_op_append {
	/** @stream: id. */
	__u64 stream;
	/** @layer: layer. */
	__u32 layer;
	/** @first: token of the first row: length + rows appended to this layer since; else EILSEQ. */
	__u32 first;
	/** @count: tokens, at least 1; K and V take at most 4 MiB each. */
	__u32 count;
	/** @pad: 0. */
	__u32 pad;
	/** @k: float[count][kv_heads][d_k]. */
	struct drm_kvsink_ref k;
	/** @v: float[count][kv_heads][d_v]; handle 0 in a stream with DRM_KVSINK_STREAM_V_IN_K. */
	struct drm_kvsink_ref v;
};

/**
 * struct drm_kvsink_op_copy - copy bytes between buffers
 */
struct drm_kvsink_op_copy {
	/** @src: source. */
	struct drm_kvsink_ref src;
	/** @dst: destination; may not overlap the source. */
	struct drm_kvsink_ref dst;
	/** @bytes: at least 1. */
	__u64 bytes;
};

/**
 * struct drm_kvsink_op_score - causal attention of a chunk of queries, scored in the same pass
 */
struct drm_kvsink_op_score {
	/** @stream: id. */
	__u64 stream;
	/** @layer: layer. */
	__u32 layer;
	/** @first: token of the first query: the first unscored one of this layer; else EILSEQ. */
	__u32 first;
	/** @count: queries, at least 1; their tokens must be part of the stream (EILSEQ). Q and O: at most 4 MiB each. */
	__u32 count;
	/** @pad: 0. */
	__u32 pad;
	/** @q: float[count][q_heads][d_k]. */
	struct drm_kvsink_ref q;
	/** @out: float[count][q_heads][d_v]. */
	struct drm_kvsink_ref out;
};

/**
 * struct drm_kvsink_list_head - stands before the records of CLASSIFY and QUERY
 */
struct drm_kvsink_list_head {
	/** @total: records that match. */
	__u32 total;
	/** @written: records that follow. */
	__u32 written;
	/** @record_bytes: size of one record. */
	__u32 record_bytes;
	/** @next: events and spans: number from which to go on; else 0. */
	__u32 next;
};

/**
 * struct drm_kvsink_sink - a token whose score reached T_SINK
 */
struct drm_kvsink_sink {
	/** @group: score group. */
	__u32 group;
	/** @token: token. */
	__u32 token;
	/** @score: binary32, in the stream's SCORE_MODE. */
	__u32 score;
	/** @observers: queries that could see it outside the local window, per layer. */
	__u32 observers;
};

/**
 * struct drm_kvsink_op_classify - list the sinks of score groups by the stream's T_SINK and SCORE_MODE
 */
struct drm_kvsink_op_classify {
	/** @stream: id. */
	__u64 stream;
	/** @group_mask: bit g: score group g; at least one. */
	__u32 group_mask;
	/** @max: records that fit. */
	__u32 max;
	/** @dst: struct drm_kvsink_list_head, then struct drm_kvsink_sink[max]; groups, then tokens ascending. */
	struct drm_kvsink_ref dst;
};

/**
 * struct drm_kvsink_op_barrier - wait in modelled time until the stream's copies have ended
 */
struct drm_kvsink_op_barrier {
	/** @stream: id. */
	__u64 stream;
};

/**
 * struct drm_kvsink_attend_item - queries of one stream and layer
 */
struct drm_kvsink_attend_item {
	/** @stream: id. */
	__u64 stream;
	/** @layer: layer. */
	__u32 layer;
	/** @first: token of the first query; query i sees tokens [0, first + i]. */
	__u32 first;
	/** @count: queries, at least 1. */
	__u32 count;
	/** @pad: 0. */
	__u32 pad;
};

/**
 * struct drm_kvsink_attend_stat - what one query head saw
 */
struct drm_kvsink_attend_stat {
	/** @lse: binary32: log of the sum of exp(logit), natural, with that of the query head's learned sink. */
	__u32 lse;
	/** @lse_sram: binary32: of the rows read from SRAM; -inf if none. */
	__u32 lse_sram;
	/** @lse_hbm: binary32: of the rows read from HBM; -inf if none. */
	__u32 lse_hbm;
	/** @mass_sram: binary32: share of the attention on rows read from SRAM. Mass, not bytes. */
	__u32 mass_sram;
	/** @skipped: binary32: GATED: at least the share on rows whose V was not read; else 0. */
	__u32 skipped;
	/**
	 * @bound: binary32: GATED: certificate, the norm of the output's error is at most this; else 0. Infinity in every
	 * mode if the output is not finite.
	 */
	__u32 bound;
};

/**
 * enum drm_kvsink_attend_mode - how ATTEND treats rows in SRAM and HBM
 */
enum drm_kvsink_attend_mode {
	/** @DRM_KVSINK_ATTEND_SPLIT: exact up to rounding: both tiers apart, then the merge of both. */
	DRM_KVSINK_ATTEND_SPLIT = 0,
	/** @DRM_KVSINK_ATTEND_CANONICAL: exact up to rounding, and bit-identical for every placement. */
	DRM_KVSINK_ATTEND_CANONICAL = 1,
	/** @DRM_KVSINK_ATTEND_GATED: bounded: V rows of HBM are read as far as parameters GATE and EPSILON want it. */
	DRM_KVSINK_ATTEND_GATED = 2,
};

/**
 * struct drm_kvsink_op_attend - decode attention of a ragged batch
 *
 * The items' queries lie behind one another in @q, @out and @stats. A query head that sees a K or V row with a NaN, or
 * whose query is not finite, gets an output that is not finite and, in every mode, a @bound of infinity in @stats. Other
 * outputs stay as they are, except that SEAL per channel spreads a NaN in K to its element in all rows of the page and
 * KV head that are not protected.
 */
struct drm_kvsink_op_attend {
	/** @items: array of struct drm_kvsink_attend_item; at most 256 in one job. */
	struct drm_kvsink_array items;
	/** @mode: enum drm_kvsink_attend_mode. */
	__u32 mode;
	/** @pad: 0. */
	__u32 pad;
	/** @q: float[queries][q_heads][d_k]; at most 4 MiB. */
	struct drm_kvsink_ref q;
	/** @out: float[queries][q_heads][d_v]; at most 4 MiB. */
	struct drm_kvsink_ref out;
	/** @stats: struct drm_kvsink_attend_stat[queries][q_heads]; handle 0 for none. */
	struct drm_kvsink_ref stats;
	/**
	 * @mass: float[kv_heads][first + count] of each item: attention that its queries outside the local window of
	 * token t, in the query heads of KV head h, put on t. Handle 0 for none.
	 */
	struct drm_kvsink_ref mass;
};

/**
 * struct drm_kvsink_op_step_end - make appended tokens part of the stream
 */
struct drm_kvsink_op_step_end {
	/** @stream: id. */
	__u64 stream;
	/** @count: tokens that every layer has appended; else EILSEQ. 0 with @abort. */
	__u32 count;
	/** @abort: 1: drop what was appended since the last step; 0 otherwise. */
	__u32 abort;
};

/**
 * struct drm_kvsink_op_advance - let modelled time pass
 */
struct drm_kvsink_op_advance {
	/** @ns: at most 1000000000. */
	__u64 ns;
};

/**
 * struct drm_kvsink_place - rows of one token: what becomes, or lies within which, an entry of the tag array
 */
struct drm_kvsink_place {
	/** @token: token, part of the stream; EVICT and CONTRACT: all ones for every token. */
	__u32 token;
	/** @layer_begin: first layer. */
	__u16 layer_begin;
	/** @layer_end: one past the last layer. */
	__u16 layer_end;
	/** @head_mask: bit h: KV head h; at least one. EVICT and CONTRACT may set bits that no KV head has. */
	__u64 head_mask;
};

#define DRM_KVSINK_PROMOTE_PARTIAL (1u << 0) /* grant the places that fit, up to the first that does not */

/**
 * struct drm_kvsink_op_promote - grant SRAM to places and start their copies; see struct drm_kvsink_promote
 */
struct drm_kvsink_op_promote {
	/** @stream: id. */
	__u64 stream;
	/** @places: array of struct drm_kvsink_place, at least 1; they count as items of the job. */
	struct drm_kvsink_array places;
	/** @deadline_ns: contract: CLOCK_MONOTONIC. */
	__u64 deadline_ns;
	/** @due_ns: modelled ns from now by which the copies shall end; 0 = at once. */
	__u64 due_ns;
	/** @dwell_steps: contract: steps of the stream. */
	__u32 dwell_steps;
	/** @priority: 0 to 255. */
	__u32 priority;
	/** @flags: DRM_KVSINK_PROMOTE_*. */
	__u32 flags;
	/** @pad: 0. */
	__u32 pad;
};

/**
 * struct drm_kvsink_op_evict - remove the entries that lie within places; it is no error if there is none
 */
struct drm_kvsink_op_evict {
	/** @stream: id. */
	__u64 stream;
	/** @places: array of struct drm_kvsink_place, at least 1; they count as items of the job. */
	struct drm_kvsink_array places;
};

/**
 * struct drm_kvsink_op_score_import - scores of a group that has none yet, computed elsewhere
 */
struct drm_kvsink_op_score_import {
	/** @stream: id. */
	__u64 stream;
	/** @group: score group. */
	__u32 group;
	/** @count: the stream's length; else EILSEQ. The group counts as scored by that many queries. */
	__u32 count;
	/** @src: __u64[count], attention mass in units of 2^-32, layer weights included. */
	struct drm_kvsink_ref src;
};

/**
 * struct drm_kvsink_op_layer_heads - ALiBi slopes and learned sinks of a layer's query heads
 *
 * Only in a stream with DRM_KVSINK_STREAM_PER_HEAD (EOPNOTSUPP) that has no row yet (EBUSY). Query head h at token p sees
 * token t with the logit softcap(scale * q.k) + slope[h] * (t - p), and besides the tokens a sink with the logit sink[h] and
 * the value 0. Until it is set, slopes are 0 and there are no sinks.
 */
struct drm_kvsink_op_layer_heads {
	/** @stream: id. */
	__u64 stream;
	/** @layer: layer. */
	__u32 layer;
	/** @pad: 0. */
	__u32 pad;
	/** @src: float[2][q_heads]: slopes (finite), then sinks (finite, or -inf for none); EINVAL otherwise. */
	struct drm_kvsink_ref src;
};

/**
 * struct drm_kvsink_op_seal - quantise whole pages of a stream where they lie
 *
 * A page keeps its size: what is saved is bytes read. Entries of tokens that are sealed become invalid until they
 * are copied again, with their contracts; tails forget them.
 */
struct drm_kvsink_op_seal {
	/** @stream: id; it has a format to seal in. */
	__u64 stream;
	/**
	 * @places: array of struct drm_kvsink_place, may be empty: rows that stay as they are, of tokens that are sealed
	 * now. E2BIG (CROWDED) if a page has no room for them. They count as items of the job.
	 */
	struct drm_kvsink_array places;
	/**
	 * @tokens: that are sealed afterwards: a multiple of the page's, at most the stream's length and more than are sealed
	 * already; else EILSEQ.
	 */
	__u32 tokens;
	/** @pad: 0. */
	__u32 pad;
};

/**
 * struct drm_kvsink_op - one operation
 */
struct drm_kvsink_op {
	/** @type: enum drm_kvsink_op_type. */
	__u32 type;
	/** @flags: 0. */
	__u32 flags;
	union {
		/** @append: for DRM_KVSINK_OP_APPEND. */
		struct drm_kvsink_op_append append;
		/** @copy: for DRM_KVSINK_OP_COPY. */
		struct drm_kvsink_op_copy copy;
		/** @score: for DRM_KVSINK_OP_SCORE. */
		struct drm_kvsink_op_score score;
		/** @classify: for DRM_KVSINK_OP_CLASSIFY. */
		struct drm_kvsink_op_classify classify;
		/** @barrier: for DRM_KVSINK_OP_BARRIER. */
		struct drm_kvsink_op_barrier barrier;
		/** @attend: for DRM_KVSINK_OP_ATTEND. */
		struct drm_kvsink_op_attend attend;
		/** @step_end: for DRM_KVSINK_OP_STEP_END. */
		struct drm_kvsink_op_step_end step_end;
		/** @advance: for DRM_KVSINK_OP_ADVANCE. */
		struct drm_kvsink_op_advance advance;
		/** @promote: for DRM_KVSINK_OP_PROMOTE. */
		struct drm_kvsink_op_promote promote;
		/** @evict: for DRM_KVSINK_OP_EVICT. */
		struct drm_kvsink_op_evict evict;
		/** @score_import: for DRM_KVSINK_OP_SCORE_IMPORT. */
		struct drm_kvsink_op_score_import score_import;
		/** @layer_heads: for DRM_KVSINK_OP_LAYER_HEADS. */
		struct drm_kvsink_op_layer_heads layer_heads;
		/** @seal: for DRM_KVSINK_OP_SEAL. */
		struct drm_kvsink_op_seal seal;
		/** @words: the union's size; words behind the operation's own struct must be 0. */
		__u64 words[11];
	};
};

#define DRM_KVSINK_SYNC_SIGNAL (1u << 0) /* signal instead of wait */
#define DRM_KVSINK_SYNC_TIMELINE (1u << 1) /* timeline syncobj; without it a binary one */

/**
 * struct drm_kvsink_sync - wait for or signal a syncobj
 */
struct drm_kvsink_sync {
	/** @flags: DRM_KVSINK_SYNC_*. */
	__u32 flags;
	/** @handle: syncobj handle. A wait needs a fence that exists already (EINVAL otherwise). */
	__u32 handle;
	/** @value: timeline point; 0 for a binary syncobj. */
	__u64 value;
};

/**
 * struct drm_kvsink_job_status - outcome of a job, written to its status buffer before its fence signals
 */
struct drm_kvsink_job_status {
	/** @code: enum kvsink_code of kvsink_hw.h; 0 = done. All ones: not finished yet. */
	__u32 code;
	/** @op: index of the failed operation, or the number of operations. */
	__u32 op;
	/** @address: what the code says, relative to the buffer where it concerns one. */
	__u64 address;
	/** @begin_ns: modelled time at which the job began. */
	__u64 begin_ns;
	/** @end_ns: modelled time at which it ended. */
	__u64 end_ns;
};

/**
 * struct drm_kvsink_job - operations that run in order; the first failure ends the job
 */
struct drm_kvsink_job {
	/** @ops: array of struct drm_kvsink_op, 1 to DRM_KVSINK_MAX_OPS. */
	struct drm_kvsink_array ops;
	/** @syncs: array of struct drm_kvsink_sync, at most DRM_KVSINK_MAX_SYNCS. */
	struct drm_kvsink_array syncs;
	/** @status: struct drm_kvsink_job_status, written by the kernel; handle 0 for none. */
	struct drm_kvsink_ref status;
};

/**
 * struct drm_kvsink_submit - argument of SUBMIT
 *
 * Jobs of one call run in order. Either all of them are queued or none.
 */
struct drm_kvsink_submit {
	/** @flags: 0. */
	__u32 flags;
	/** @pad: 0. */
	__u32 pad;
	/** @generation: generation that the jobs rely on (ESTALE otherwise); 0 for none. */
	__u64 generation;
	/** @jobs: array of struct drm_kvsink_job, 1 to DRM_KVSINK_MAX_JOBS. */
	struct drm_kvsink_array jobs;
	/**
	 * @error_job: out: index of the job that was refused, with @error_op; meaningful only when the call
	 * fails with an error other than EFAULT.
	 */
	__u32 error_job;
	/** @error_op: out: index of the operation that was refused. */
	__u32 error_op;
	/** @error_field: out: byte offset of the refused field in struct drm_kvsink_op; ~0 if it is none. */
	__u32 error_field;
	/** @pad2: 0. */
	__u32 pad2;
};

/**
 * struct drm_kvsink_promote - argument of PROMOTE
 *
 * Either all places are granted or none, unless DRM_KVSINK_PROMOTE_PARTIAL is set. ENOSPC names in @code what
 * ran out; with PARTIAL that is no error of the call.
 *
 * A contract (@dwell_steps or @deadline_ns) keeps each entry until the stream has made @dwell_steps steps (0:
 * no such limit) and at the longest until @deadline_ns; no other grant may take its place before. Without a
 * deadline it gets the longest lease. Whatever breaks it (reset, uncorrectable error) is an event. For a
 * contract the device displaces entries that have none in force; without one only those of lower priority of the
 * same account.
 */
struct drm_kvsink_promote {
	/** @stream: id. */
	__u64 stream;
	/** @places: array of struct drm_kvsink_place, 1 to DRM_KVSINK_MAX_ITEMS. */
	struct drm_kvsink_array places;
	/** @deadline_ns: contract: CLOCK_MONOTONIC, at most max_lease_ns ahead (EINVAL, also if past); 0 = none. */
	__u64 deadline_ns;
	/** @due_ns: modelled ns from now by which the copies shall end; 0 = at once, whatever they slow down. */
	__u64 due_ns;
	/** @dwell_steps: contract: steps of the stream; 0 = none. */
	__u32 dwell_steps;
	/** @priority: 0 to 255; among entries without a contract in force the lower one goes first. */
	__u32 priority;
	/** @flags: DRM_KVSINK_PROMOTE_*. */
	__u32 flags;
	/** @code: out: enum kvsink_code; names BUDGET, TENANT_CAP, FRAGMENTED or TAGS. */
	__u32 code;
	/** @granted: out: entries granted. */
	__u32 granted;
	/** @sram_bytes: out: bytes granted in all. */
	__u32 sram_bytes;
	/** @generation: out: generation of the first entry, for ENTRY_READ; the others count up (0 is left out). */
	__u32 generation;
	/** @pad: 0. */
	__u32 pad;
	/**
	 * @address: out: what @code says, see KVSINK_CODES: bytes left (BUDGET, TENANT_CAP), the largest free range
	 * (FRAGMENTED), a token (EXISTS, NOT_RESIDENT), host time (LEASE); 0 without a code.
	 */
	__u64 address;
};

/**
 * struct drm_kvsink_evict - argument of EVICT
 */
struct drm_kvsink_evict {
	/** @stream: id. */
	__u64 stream;
	/** @places: array of struct drm_kvsink_place, 1 to DRM_KVSINK_MAX_ITEMS; entries within them are removed. */
	struct drm_kvsink_array places;
	/** @code: out: enum kvsink_code. */
	__u32 code;
	/** @entries: out: entries removed. ENOENT if there was none. */
	__u32 entries;
};

/**
 * struct drm_kvsink_contract - argument of CONTRACT: sets the contract of the entries within places
 */
struct drm_kvsink_contract {
	/** @stream: id. */
	__u64 stream;
	/** @places: array of struct drm_kvsink_place, 1 to DRM_KVSINK_MAX_ITEMS. */
	struct drm_kvsink_array places;
	/** @deadline_ns: as in PROMOTE; 0 with @dwell_steps 0: the contract ends. */
	__u64 deadline_ns;
	/** @dwell_steps: as in PROMOTE, counted from now. */
	__u32 dwell_steps;
	/** @priority: as in PROMOTE. */
	__u32 priority;
	/** @code: out: enum kvsink_code. */
	__u32 code;
	/** @entries: out: entries whose contract was set. ENOENT if there was none. */
	__u32 entries;
	/** @address: out: as in PROMOTE. */
	__u64 address;
};

/**
 * struct drm_kvsink_config - argument of CONFIG_GET and CONFIG_SET
 */
struct drm_kvsink_config {
	/** @stream: id; 0 for the device's defaults, which only CAP_SYS_ADMIN may set. */
	__u64 stream;
	/** @param: enum kvsink_param of kvsink_hw.h. */
	__u32 param;
	/** @group: score group of a parameter of scope GROUP; all ones = every group (CONFIG_GET: the first). */
	__u32 group;
	/** @value: in or out. */
	__u64 value;
	/** @conflict: out: with EINVAL the parameter that @value contradicts; ~0 if it is none. */
	__u32 conflict;
	/** @code: out, of CONFIG_SET: enum kvsink_code; with ENOSPC what a tail ran out of. 0 if nobody asked the chip. */
	__u32 code;
	/** @address: out, of CONFIG_SET: as in PROMOTE; of a tail bytes left before any of it is granted. */
	__u64 address;
};

/**
 * enum drm_kvsink_query_type - what QUERY lists
 */
enum drm_kvsink_query_type {
	/** @DRM_KVSINK_QUERY_STREAMS: struct kvsink_stream_rec of the tenant's streams. */
	DRM_KVSINK_QUERY_STREAMS = 1,
	/** @DRM_KVSINK_QUERY_TAGS: struct kvsink_tag_rec; sram_offset is 0 except for CAP_SYS_ADMIN. */
	DRM_KVSINK_QUERY_TAGS,
	/** @DRM_KVSINK_QUERY_COUNTERS: __u64 in the order of enum kvsink_counter; stream 0 needs CAP_SYS_ADMIN. */
	DRM_KVSINK_QUERY_COUNTERS,
	/** @DRM_KVSINK_QUERY_SCORES: struct kvsink_score_rec of tokens from @first, of @group. */
	DRM_KVSINK_QUERY_SCORES,
	/** @DRM_KVSINK_QUERY_PARAMS: __u64 in the order of enum kvsink_param. */
	DRM_KVSINK_QUERY_PARAMS,
	/**
	 * @DRM_KVSINK_QUERY_EVENTS: struct kvsink_event_rec from event number @first. When events of the tenant
	 * from there on gave way to younger ones, the first record is KVSINK_EVENT_LOST and says so.
	 */
	DRM_KVSINK_QUERY_EVENTS,
	/** @DRM_KVSINK_QUERY_SINKS: struct kvsink_sink_rec of @group: what CLASSIFY would list. */
	DRM_KVSINK_QUERY_SINKS,
	/** @DRM_KVSINK_QUERY_VERDICTS: struct kvsink_verdict_rec: what STEP_END would do in AUTO mode, in its order. */
	DRM_KVSINK_QUERY_VERDICTS,
	/** @DRM_KVSINK_QUERY_PROFILE: struct kvsink_profile_rec, layer by layer, head by head. */
	DRM_KVSINK_QUERY_PROFILE,
	/** @DRM_KVSINK_QUERY_SPANS: struct kvsink_span_rec from span number @first. */
	DRM_KVSINK_QUERY_SPANS,
};

/**
 * struct drm_kvsink_query - argument of QUERY
 *
 * Record layouts are those of kvsink_hw.h; they only ever grow at their end, and
 * drm_kvsink_list_head.record_bytes tells their size.
 */
struct drm_kvsink_query {
	/** @type: enum drm_kvsink_query_type. */
	__u32 type;
	/** @group: score group, for SCORES, SINKS and PARAMS; else 0. */
	__u32 group;
	/** @stream: id; 0 for all of the tenant (COUNTERS, PARAMS: for the device). */
	__u64 stream;
	/** @first: first record wanted. */
	__u32 first;
	/** @size: bytes at @pointer: the head and as many records as fit; at most DRM_KVSINK_MAX_QUERY_BYTES. */
	__u32 size;
	/** @pointer: user pointer to struct drm_kvsink_list_head and records. */
	__u64 pointer;
};

/**
 * struct drm_kvsink_reg_read - argument of REG_READ
 */
struct drm_kvsink_reg_read {
	/** @offset: register; PUBLIC ones for all, ADMIN ones with CAP_SYS_ADMIN (EACCES otherwise). */
	__u32 offset;
	/** @pad: 0. */
	__u32 pad;
	/** @value: out: 32 bits, or 64 for a counter. */
	__u64 value;
};

/**
 * struct drm_kvsink_entry_read - argument of ENTRY_READ
 *
 * Copies K and then V of one resident (token, layer, head) as they are stored: elements, or of a sealed row
 * codes and its own scales of K, then of V. EAGAIN if the entry
 * kept changing, ENOENT if it is not valid (any more) in that generation.
 */
struct drm_kvsink_entry_read {
	/** @stream: id; this file must own it. */
	__u64 stream;
	/** @token: token. */
	__u32 token;
	/** @layer: layer. */
	__u32 layer;
	/** @head: KV head. */
	__u32 head;
	/** @generation: of the entry, from PROMOTE or QUERY TAGS; never 0: a tail cannot be read. */
	__u32 generation;
	/** @size: bytes at @pointer; must equal row_bytes of the entry's struct kvsink_tag_rec. */
	__u32 size;
	/** @pad: 0. */
	__u32 pad;
	/** @pointer: user pointer. */
	__u64 pointer;
};

#define DRM_IOCTL_KVSINK(access, id, type) DRM_##access(DRM_COMMAND_BASE + DRM_KVSINK_##id, struct drm_kvsink_##type)

#define DRM_IOCTL_KVSINK_DEV_QUERY DRM_IOCTL_KVSINK(IOWR, DEV_QUERY, dev_query)
#define DRM_IOCTL_KVSINK_BO_CREATE DRM_IOCTL_KVSINK(IOWR, BO_CREATE, bo_create)
#define DRM_IOCTL_KVSINK_BO_MMAP_OFFSET DRM_IOCTL_KVSINK(IOWR, BO_MMAP_OFFSET, bo_mmap_offset)
#define DRM_IOCTL_KVSINK_STREAM_CREATE DRM_IOCTL_KVSINK(IOWR, STREAM_CREATE, stream_create)
#define DRM_IOCTL_KVSINK_STREAM_RESERVE DRM_IOCTL_KVSINK(IOWR, STREAM_RESERVE, stream_reserve)
#define DRM_IOCTL_KVSINK_STREAM_DESTROY DRM_IOCTL_KVSINK(IOWR, STREAM_DESTROY, stream_destroy)
#define DRM_IOCTL_KVSINK_SUBMIT DRM_IOCTL_KVSINK(IOWR, SUBMIT, submit)
#define DRM_IOCTL_KVSINK_PROMOTE DRM_IOCTL_KVSINK(IOWR, PROMOTE, promote)
#define DRM_IOCTL_KVSINK_EVICT DRM_IOCTL_KVSINK(IOWR, EVICT, evict)
#define DRM_IOCTL_KVSINK_CONFIG_GET DRM_IOCTL_KVSINK(IOWR, CONFIG_GET, config)
#define DRM_IOCTL_KVSINK_CONFIG_SET DRM_IOCTL_KVSINK(IOWR, CONFIG_SET, config)
#define DRM_IOCTL_KVSINK_QUERY DRM_IOCTL_KVSINK(IOWR, QUERY, query)
#define DRM_IOCTL_KVSINK_REG_READ DRM_IOCTL_KVSINK(IOWR, REG_READ, reg_read)
#define DRM_IOCTL_KVSINK_ENTRY_READ DRM_IOCTL_KVSINK(IOWR, ENTRY_READ, entry_read)
#define DRM_IOCTL_KVSINK_CONTRACT DRM_IOCTL_KVSINK(IOWR, CONTRACT, contract)
#define DRM_IOCTL_KVSINK_SWAP_OUT DRM_IOCTL_KVSINK(IOWR, SWAP_OUT, swap)
#define DRM_IOCTL_KVSINK_SWAP_IN DRM_IOCTL_KVSINK(IOWR, SWAP_IN, swap)
#define DRM_IOCTL_KVSINK_PREFIX_PUBLISH DRM_IOCTL_KVSINK(IOWR, PREFIX_PUBLISH, prefix_publish)
#define DRM_IOCTL_KVSINK_PREFIX_OPEN DRM_IOCTL_KVSINK(IOWR, PREFIX_OPEN, prefix_open)
#define DRM_IOCTL_KVSINK_PREFIX_CLOSE DRM_IOCTL_KVSINK(IOWR, PREFIX_CLOSE, prefix_handle)
#define DRM_IOCTL_KVSINK_PREFIX_EXPORT DRM_IOCTL_KVSINK(IOWR, PREFIX_EXPORT, prefix_handle)
#define DRM_IOCTL_KVSINK_PREFIX_ATTACH DRM_IOCTL_KVSINK(IOWR, PREFIX_ATTACH, prefix_attach)
#define DRM_IOCTL_KVSINK_PREFIX_DETACH DRM_IOCTL_KVSINK(IOWR, PREFIX_DETACH, prefix_detach)
#define DRM_IOCTL_KVSINK_WINDOW_BEGIN DRM_IOCTL_KVSINK(IOWR, WINDOW_BEGIN, window)
#define DRM_IOCTL_KVSINK_WINDOW_COMMIT DRM_IOCTL_KVSINK(IOWR, WINDOW_COMMIT, window)

#if defined(__cplusplus)
}
#endif

#endif
