/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What the kernel driver and the runtime's sim: backend decide alike: validation of ioctl arguments,
 * and their translation into commands of the chip.
 *
 * Plain C without kernel headers beyond types, no lock, no sleep, no allocation, no floating point, no
 * MMIO. The caller has copied everything out of user memory before and looks up handles and streams
 * through struct kvsink_logic_env. Functions return 0 or -errno (numbers of <linux/errno.h>) and leave
 * the refused field's byte offset in the argument's struct in env->field.
 */
#ifndef KVSINK_LOGIC_H
#define KVSINK_LOGIC_H

#ifdef __KERNEL__
#include <linux/errno.h>
#include <linux/stddef.h>
#include <linux/string.h>
#include <linux/types.h>
#else
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#endif

#include "kvsink_drm.h"
#include "kvsink_hw.h"

/* A buffer, as the chip reaches it. */
struct kvsink_logic_buffer {
	uint64_t gart_offset; /* bytes */
	uint64_t bytes;
};

/* A stream, as far as arguments are checked against it. */
struct kvsink_logic_stream {
	uint64_t id;
	uint32_t layers, q_heads, kv_heads, d_k, d_v, format;
	uint32_t page_tokens, max_tokens, score_groups;
	uint32_t flags;		 /* KVSINK_STREAM_* */
	uint32_t seal_k, seal_v; /* formats to seal in */
};

struct kvsink_logic_env {
	void *ctx;
	/* 0 or -ENOENT */
	int (*buffer)(void *ctx, uint32_t handle, struct kvsink_logic_buffer *out);
	/* 0, -ENOENT (unknown, or another tenant's), -EACCES (`own` set and it is another file's) */
	int (*stream)(void *ctx, uint64_t id, bool own, struct kvsink_logic_stream *out);
	uint32_t field; /* out: offset of the refused field; ~0 if the refusal concerns none */
};

/* What STREAM_CREATE needs of HBM. */
struct kvsink_logic_layout {
	uint64_t page_bytes;  /* of one page */
	uint64_t table_bytes; /* page table, KVSINK_HBM_ALIGN aligned */
	uint64_t score_bytes; /* scores, KVSINK_HBM_ALIGN aligned */
	uint32_t reserve_pages, max_pages;
};

int kvsink_logic_stream_create(struct kvsink_logic_env *env, const struct drm_kvsink_stream_create *args,
			       const struct drm_kvsink_layer *layers, struct kvsink_logic_stream *stream,
			       struct kvsink_logic_layout *layout);
/* STREAM_RESERVE: `pages` receives how many the stream shall have in all (perhaps fewer than it has). */
int kvsink_logic_stream_reserve(struct kvsink_logic_env *env, const struct drm_kvsink_stream_reserve *args,
				struct kvsink_logic_stream *stream, uint32_t *pages);
/* The command and its items (args->layers.count of them); page table and scores lie where the caller says. */
void kvsink_logic_build_create(const struct drm_kvsink_stream_create *args,
			       const struct drm_kvsink_layer *layers, uint64_t id, uint32_t tenant,
			       uint64_t page_table, uint64_t scores, struct kvsink_cmd *cmd,
			       union kvsink_item *items);

/*
 * PAGE_MAP: `count` pages, in pages[], become the stream's pages from first_page on. Fills
 * KVSINK_LOGIC_PAGE_ITEMS(count) items from out_items, which will be item first_item of the job.
 */
#define KVSINK_LOGIC_PAGE_ITEMS(count) (((count) + 3) / 4)
void kvsink_logic_build_page_map(uint64_t stream, uint32_t first_page, const uint64_t *pages, uint32_t count,
				 uint32_t first_item, struct kvsink_cmd *cmd, union kvsink_item *out_items);
void kvsink_logic_build_destroy(uint64_t stream, struct kvsink_cmd *cmd);
/* Scrub: zero `bytes` at an HBM offset. */
void kvsink_logic_build_scrub(uint64_t hbm, uint64_t bytes, struct kvsink_cmd *cmd);
void kvsink_logic_build_invalidate(uint32_t first_page, uint32_t count, struct kvsink_cmd *cmd);

/*
 * The list that an operation brings (attend items or places), size of its elements, and where it stands in
 * struct drm_kvsink_op; NULL if it has none.
 */
const struct drm_kvsink_array *kvsink_logic_op_list(const struct drm_kvsink_op *op, uint32_t *element,
						    uint32_t *field);
/*
 * One operation of a SUBMIT. `items` or `places` are its list, copied in; `first_item` is where it will lie
 * in the job's item array, `out_items` is that place.
 */
int kvsink_logic_build_op(struct kvsink_logic_env *env, const struct drm_kvsink_op *op,
			  const struct drm_kvsink_attend_item *items, const struct drm_kvsink_place *places,
			  uint32_t first_item, struct kvsink_cmd *cmd, union kvsink_item *out_items);

/*
 * `bytes` at `ref`, which stands at offset `field` of its struct: in its buffer or refused. With `optional`,
 * handle 0 (and nothing else set) gives KVSINK_SPACE_NONE.
 */
int kvsink_logic_operand(struct kvsink_logic_env *env, const struct drm_kvsink_ref *ref, size_t field,
			 uint64_t bytes, bool optional, struct kvsink_ref *out);

/* `places` are those of args, copied in; they become the job's items from 0 on. */
int kvsink_logic_build_promote(struct kvsink_logic_env *env, const struct drm_kvsink_promote *args,
			       const struct drm_kvsink_place *places, struct kvsink_cmd *cmd,
			       union kvsink_item *items);
int kvsink_logic_build_evict(struct kvsink_logic_env *env, const struct drm_kvsink_evict *args,
			     const struct drm_kvsink_place *places, struct kvsink_cmd *cmd,
			     union kvsink_item *items);
int kvsink_logic_build_contract(struct kvsink_logic_env *env, const struct drm_kvsink_contract *args,
				const struct drm_kvsink_place *places, struct kvsink_cmd *cmd,
				union kvsink_item *items);
int kvsink_logic_build_config(struct kvsink_logic_env *env, const struct drm_kvsink_config *args,
			      struct kvsink_cmd *cmd);
/*
 * CONFIG_GET: a QUERY of all parameters into KVSINK_LOGIC_PARAMS_BYTES at dst_gart: a list head, then
 * uint64_t[KVSINK_PARAM_COUNT], of which args->param is the answer.
 */
#define KVSINK_LOGIC_PARAMS_BYTES (sizeof(struct kvsink_list_head) + KVSINK_PARAM_COUNT * sizeof(uint64_t))
int kvsink_logic_build_config_get(struct kvsink_logic_env *env, const struct drm_kvsink_config *args,
				  uint64_t dst_gart, struct kvsink_cmd *cmd);
/* dst: where the chip may write dst_bytes; sets how many records fit. */
int kvsink_logic_build_query(struct kvsink_logic_env *env, const struct drm_kvsink_query *args,
			     uint64_t dst_gart, uint32_t dst_bytes, struct kvsink_cmd *cmd);
int kvsink_logic_entry_read(struct kvsink_logic_env *env, const struct drm_kvsink_entry_read *args,
			    struct kvsink_logic_stream *stream);

/*
 * SWAP_OUT is two commands of one job: it waits for the stream's copies first. `key` is nobody's to know.
 * Before SWAP_IN the stream is placed and its pages mapped.
 */
int kvsink_logic_build_swap_out(struct kvsink_logic_env *env, const struct drm_kvsink_swap *args,
				const uint64_t key[2], struct kvsink_cmd *barrier, struct kvsink_cmd *swap);
int kvsink_logic_build_swap_in(struct kvsink_logic_env *env, const struct drm_kvsink_swap *args,
			       struct kvsink_cmd *cmd);
void kvsink_logic_build_swap_place(uint64_t stream, uint64_t page_table, uint64_t scores,
				   struct kvsink_cmd *cmd);
/* Takes the place back: OK if the stream is swapped out, BUSY if it is in HBM. */
void kvsink_logic_build_swap_unplace(uint64_t stream, struct kvsink_cmd *cmd);
/*
 * What whoever waited for a stream's moves knows of it. A reset or a fatal signal may come between the end of
 * a job and its waiter: then the chip is asked, by SWAP_PLACE with PLACE_NONE.
 */
enum kvsink_logic_where { KVSINK_LOGIC_IN_HBM, KVSINK_LOGIC_OUT, KVSINK_LOGIC_UNKNOWN };
/* The error of a SWAP_IN that has left the stream out: if its place was gone, a reset has taken it. */
int kvsink_logic_swap_in_error(int err);
/* The out fields, from what the chip (or its driver, in its words) has said: code, and the size of the image.
 */
void kvsink_logic_swap_answer(struct drm_kvsink_swap *args, const struct kvsink_completion *said);

/*
 * PREFIX_PUBLISH: *stream is the publisher; *layout what the prefix takes of HBM besides the publisher's
 * pages: page table, scores and, if its tokens end within a page, one page (reserve_pages).
 */
int kvsink_logic_prefix_publish(struct kvsink_logic_env *env, const struct drm_kvsink_prefix_publish *args,
				struct kvsink_logic_stream *stream, struct kvsink_logic_layout *layout);
void kvsink_logic_build_publish(const struct drm_kvsink_prefix_publish *args, uint64_t prefix,
				uint64_t page_table, uint64_t scores, uint64_t page, struct kvsink_cmd *cmd);
/* PREFIX_ATTACH: does the stream need a page of its own for the last of the tokens? */
int kvsink_logic_prefix_attach(struct kvsink_logic_env *env, const struct drm_kvsink_prefix_attach *args,
			       bool *needs_page);
void kvsink_logic_build_attach(const struct drm_kvsink_prefix_attach *args, uint64_t prefix, uint64_t page,
			       struct kvsink_cmd *cmd);
int kvsink_logic_prefix_detach(struct kvsink_logic_env *env, const struct drm_kvsink_prefix_detach *args);
/* As kvsink_logic_build_page_map(). */
void kvsink_logic_build_detach(uint64_t stream, uint32_t first_page, const uint64_t *pages, uint32_t count,
			       struct kvsink_cmd *cmd, union kvsink_item *items);
/* A PAGE_MAP that is refused (SEQUENCE) and so only tells what the stream's page table has. */
void kvsink_logic_build_ask_pages(uint64_t stream, struct kvsink_cmd *cmd);

/*
 * WINDOW_BEGIN: checked first, then the caller reserves a journal: what a stream of `pages` pages can need.
 * It is the window's until the chip says that none is open: kvsink_logic_window_ended(), or when it opens
 * another. If nobody heard the chip (reset, signal) it may be open or not.
 */
int kvsink_logic_window_begin(struct kvsink_logic_env *env, const struct drm_kvsink_window *args,
			      struct kvsink_logic_stream *stream);
uint64_t kvsink_logic_journal_bytes(const struct kvsink_logic_stream *stream, uint32_t pages,
				    uint32_t tokens);
void kvsink_logic_build_window_begin(const struct drm_kvsink_window *args, uint64_t journal, uint64_t bytes,
				     struct kvsink_cmd *cmd);
int kvsink_logic_build_window_commit(struct kvsink_logic_env *env, const struct drm_kvsink_window *args,
				     struct kvsink_cmd *cmd);
/* After an answer to WINDOW_COMMIT: no window of the stream is open. */
bool kvsink_logic_window_ended(const struct kvsink_completion *said);
/* The out fields, from what the chip has said. */
void kvsink_logic_window_answer(struct drm_kvsink_window *args, const struct kvsink_completion *said);

/* Size of one record of a QUERY type, 0 for an unknown type. */
uint32_t kvsink_logic_record_bytes(uint32_t query_type);

/* 0 = PUBLIC, 1 = ADMIN, -ENOENT = not readable or no register; *wide is set for 64-bit counters. */
int kvsink_logic_reg_access(uint32_t offset, uint32_t rings, bool *wide);

/*
 * Array header: count within [min, max], stride at least `element` and at most KVSINK_LOGIC_MAX_STRIDE;
 * -EINVAL or -E2BIG. Nothing else is asked of an empty array.
 */
#define KVSINK_LOGIC_MAX_STRIDE 4096
int kvsink_logic_array(const struct drm_kvsink_array *array, uint32_t element, uint32_t min, uint32_t max);

/* -errno for a result code of the chip. */
int kvsink_logic_errno(uint32_t code);

#endif
