/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Streams as the kernel keeps them: who owns one, its geometry, and its memory in HBM.
 */
#ifndef KVSINK_STREAM_H
#define KVSINK_STREAM_H

#include <linux/completion.h>
#include <linux/dma-fence.h>

#include "kvsink_device.h"
#include "kvsink_gem.h"
#include "logic.h"

#define KVSINK_MAP_PAGES (KVSINK_MAX_ITEMS * 4) /* pages that one PAGE_MAP can name */

struct kvsink_stream {
	/** @ref: kvsink_device.streams, and one for each job and caller. */
	struct kref ref;
	/** @kdev: the device. */
	struct kvsink_device *kdev;
	/** @owner: the file that made it; for comparison only, except on the owner's own behalf. */
	struct kvsink_file *owner;
	/** @tenant: uid of the owner. */
	u32 tenant;
	/** @geometry: what arguments are checked against; constant. */
	struct kvsink_logic_stream geometry;
	/** @layout: sizes in HBM; constant. */
	struct kvsink_logic_layout layout;
	/** @lock: protects @ranges, @journals, @pages to @own_page, @where and @retired. */
	struct mutex lock;
	/** @ranges: all its HBM: page table, scores, runs of pages. */
	struct list_head ranges;
	/** @journals: HBM of windows that may be open, see kvsink_window.c. */
	struct list_head journals;
	/** @pages: pages that the chip has in its page table, or shall have after SWAP_IN. */
	u32 pages;
	/** @unsure: nobody saw the end of a job that may have changed @pages or @own_page. */
	bool unsure;
	/** @page_at: HBM offset of each page; [layout.max_pages]. */
	u64 *page_at;
	/** @prefix: that it begins with; holds a user of it. */
	struct kvsink_stream *prefix;
	/** @own_page: pages before this one are the prefix's. */
	u32 own_page;
	/** @where: its rows are; kvsink_swap_settle() ends UNKNOWN. */
	enum kvsink_logic_where where;
	/** @tokens: of a prefix; constant. */
	u32 tokens;
	/** @users: of a prefix: handles, descriptors, and what begins with it. */
	struct kref users;
	/** @retired: no longer to be used; its end is on its way. */
	bool retired;
	/** @publisher: of a prefix: the file that is charged for it; holds a reference. */
	struct kvsink_file *publisher;
	/** @link: in kvsink_file.streams, or a prefix's in kvsink_file.published. */
	struct list_head link;
	/** @hbm_bytes: HBM reserved, for fdinfo. */
	atomic64_t hbm_bytes;
	/** @sram_bytes: SRAM held, as the chip told last, for fdinfo. */
	atomic64_t sram_bytes;
	/** @sram_generation: contents-lost generation in which it told so. */
	u32 sram_generation;
	/** @after: last job of the owner that may still use it. */
	struct dma_fence *after;
	/** @after_cb: on @after, queues @retire_work. */
	struct dma_fence_cb after_cb;
	/** @retire_work: drops it in the chip, scrubs, returns the memory. */
	struct work_struct retire_work;
	/** @gone: completed when that has happened. */
	struct completion gone;
};

struct kvsink_stream *kvsink_stream_find(struct kvsink_file *file, u64 id, bool own, bool admin);
void kvsink_stream_put(struct kvsink_stream *stream);
void kvsink_stream_set_sram(struct kvsink_stream *stream, u64 bytes);
void kvsink_stream_add_sram(struct kvsink_stream *stream, u64 bytes);
void kvsink_streams_close(struct kvsink_file *file);
int kvsink_stream_add_range(struct kvsink_stream *stream, struct list_head *ranges, u64 bytes, u64 *offset);
int kvsink_stream_alloc_pages(struct kvsink_stream *stream, u32 count, struct list_head *runs);
u64 *kvsink_stream_list_pages(struct kvsink_stream *stream, struct list_head *runs, u32 count);
int kvsink_stream_map_some(struct kvsink_stream *stream, struct kvsink_file *file, const u64 *pages,
			   u32 count, u32 *has);

struct kvsink_stream *kvsink_stream_alloc(struct kvsink_device *kdev, u32 tenant);
int kvsink_stream_settle_pages(struct kvsink_stream *stream, struct kvsink_file *file);

/* kvsink_prefix.c */
void kvsink_prefix_put(struct kvsink_stream *prefix);
void kvsink_prefix_uncharge(struct kvsink_stream *prefix);
void kvsink_prefixes_close(struct kvsink_file *file);

/* kvsink_swap.c */
int kvsink_swap_settle(struct kvsink_stream *stream, struct kvsink_file *file,
		       struct kvsink_completion *said);

/* kvsink_window.c */
void kvsink_window_ended(struct kvsink_stream *stream);

/* kvsink_ioctl.c */
void *kvsink_copy_array(const struct drm_kvsink_array *array, size_t size);

#endif
