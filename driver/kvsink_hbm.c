// SPDX-License-Identifier: GPL-2.0-only
/*
 * HBM: given out in ranges when a stream is made or extended, never while a command executes.
 *
 * What is given out is zero: a range is cleared by the chip before it returns to drm_mm. A range whose
 * clearing failed waits in hbm.dirty, and is tried again before anybody hears ENOSPC.
 */
#include <drm/drm_drv.h>
#include <drm/drm_managed.h>
#include <drm/drm_print.h>
#include <linux/slab.h>

#include "kvsink_gem.h"
#include "kvsink_job.h"

static void kvsink_hbm_fini(struct drm_device *dev, void *unused)
{
	struct kvsink_device *kdev = to_kvsink_device(dev);

	kvsink_hbm_free_clean(kdev, &kdev->hbm.dirty);
	kvsink_hbm_free_clean(kdev, &kdev->hbm.lost);
	drm_mm_takedown(&kdev->hbm.mm);
}

int kvsink_hbm_init(struct kvsink_device *kdev)
{
	drm_mm_init(&kdev->hbm.mm, 0, kdev->info.hbm_bytes);
	return drmm_add_action_or_reset(&kdev->base, kvsink_hbm_fini, NULL);
}

/*
 * Before the device is registered: whatever was there. In many commands, because the chip's clock, by which
 * the timeout handler knows a long job from a hung one, moves with each.
 */
int kvsink_hbm_scrub_all(struct kvsink_device *kdev)
{
	u64 step = ALIGN(kdev->info.hbm_bytes / KVSINK_MAX_CMDS, KVSINK_HBM_ALIGN), offset;
	struct kvsink_cmd *cmds = kcalloc(KVSINK_MAX_CMDS, sizeof(*cmds), GFP_KERNEL);
	u32 count = 0;
	int err;

	if (!cmds)
		return -ENOMEM;
	for (offset = 0; offset < kdev->info.hbm_bytes; offset += step)
		kvsink_logic_build_scrub(offset, min(step, kdev->info.hbm_bytes - offset), &cmds[count++]);
	err = kvsink_kernel_run(kdev, cmds, count);
	kfree(cmds);
	return err;
}

/* Return ranges that are clean, or that nobody will see again. Empties the list. */
void kvsink_hbm_free_clean(struct kvsink_device *kdev, struct list_head *ranges)
{
	struct kvsink_hbm_range *range, *next;

	mutex_lock(&kdev->hbm.lock);
	list_for_each_entry_safe(range, next, ranges, link) {
		drm_mm_remove_node(&range->node);
		list_del(&range->link);
		kfree(range);
	}
	mutex_unlock(&kdev->hbm.lock);
}

/* Clear up to one job's worth of ranges, moved from the head of @ranges to @clean. */
static int kvsink_hbm_scrub_some(struct kvsink_device *kdev, struct list_head *ranges,
				 struct list_head *clean)
{
	struct kvsink_cmd *cmds = kcalloc(KVSINK_MAX_CMDS, sizeof(*cmds), GFP_KERNEL);
	struct kvsink_hbm_range *range, *next;
	u32 count = 0;
	int err;

	if (!cmds)
		return -ENOMEM;
	list_for_each_entry(range, ranges, link) {
		if (count == KVSINK_MAX_CMDS)
			break;
		kvsink_logic_build_scrub(range->node.start, range->node.size, &cmds[count++]);
	}
	err = kvsink_kernel_run(kdev, cmds, count);
	kfree(cmds);
	if (err && err != -ENODEV) /* gone: the next probe clears everything */
		return err;
	list_for_each_entry_safe(range, next, ranges, link) {
		if (!count--)
			break;
		list_move_tail(&range->link, clean);
	}
	return 0;
}

/* Clear, then return. Empties the list; what cannot be cleared goes to hbm.dirty. */
void kvsink_hbm_free(struct kvsink_device *kdev, struct list_head *ranges)
{
	LIST_HEAD(clean);
	int err = 0;

	while (!err && !list_empty(ranges))
		err = kvsink_hbm_scrub_some(kdev, ranges, &clean);
	kvsink_hbm_free_clean(kdev, &clean);
	if (!err)
		return;
	drm_err(&kdev->base, "HBM could not be cleared (%d), it stays out of use\n", err);
	mutex_lock(&kdev->hbm.lock);
	list_splice_tail_init(ranges, &kdev->hbm.dirty);
	mutex_unlock(&kdev->hbm.lock);
}

/* What the chip may still use is nobody else's, ever. Empties the list. */
void kvsink_hbm_lose(struct kvsink_device *kdev, struct list_head *ranges)
{
	mutex_lock(&kdev->hbm.lock);
	list_splice_tail_init(ranges, &kdev->hbm.lost);
	mutex_unlock(&kdev->hbm.lock);
}

static int kvsink_hbm_insert(struct kvsink_device *kdev, struct kvsink_hbm_range *range, u64 bytes)
{
	int err;

	mutex_lock(&kdev->hbm.lock);
	err = drm_mm_insert_node_generic(&kdev->hbm.mm, &range->node, bytes, KVSINK_HBM_ALIGN, 0,
					 DRM_MM_INSERT_BEST);
	mutex_unlock(&kdev->hbm.lock);
	return err;
}

/* True if there was something to try again. */
static bool kvsink_hbm_retry_dirty(struct kvsink_device *kdev)
{
	LIST_HEAD(dirty);

	mutex_lock(&kdev->hbm.lock);
	list_splice_init(&kdev->hbm.dirty, &dirty);
	mutex_unlock(&kdev->hbm.lock);
	if (list_empty(&dirty))
		return false;
	kvsink_hbm_free(kdev, &dirty);
	return true;
}

struct kvsink_hbm_range *kvsink_hbm_alloc(struct kvsink_device *kdev, u64 bytes)
{
	struct kvsink_hbm_range *range = kzalloc(sizeof(*range), GFP_KERNEL);
	int err;

	if (!range)
		return ERR_PTR(-ENOMEM);
	err = kvsink_hbm_insert(kdev, range, bytes);
	if (err == -ENOSPC && kvsink_hbm_retry_dirty(kdev))
		err = kvsink_hbm_insert(kdev, range, bytes);
	if (err) {
		kfree(range);
		return ERR_PTR(err);
	}
	return range;
}

/* ---- Parts of ranges ------------------------------------------------------------------------- */

static struct kvsink_hbm_range *kvsink_hbm_find(struct list_head *ranges, u64 at)
{
	struct kvsink_hbm_range *range;

	list_for_each_entry(range, ranges, link)
		if (at >= range->node.start && at - range->node.start < range->node.size)
			return range;
	return NULL;
}

/* [start, end) becomes @part's; nothing if it is empty. The place was taken until now, so it is free. */
static void kvsink_hbm_retake(struct kvsink_device *kdev, struct kvsink_hbm_range *part, u64 start, u64 end,
			      struct list_head *list)
{
	part->node.start = start;
	part->node.size = end - start;
	if (start == end || WARN_ON(drm_mm_reserve_node(&kdev->hbm.mm, &part->node))) {
		kfree(part);
		return;
	}
	list_add_tail(&part->link, list);
}

/*
 * [start, start + bytes), or as much of it as lies in one of @ranges, goes to @to; what is left of that range
 * stays. Returns the bytes, or -ENOMEM and nothing has moved.
 */
static s64 kvsink_hbm_carve_some(struct kvsink_device *kdev, struct list_head *ranges, u64 start, u64 bytes,
				 struct list_head *to)
{
	struct kvsink_hbm_range *range = kvsink_hbm_find(ranges, start), *part[3] = {0};
	u64 first, end, last;
	int i;

	if (!range)
		return -ENOENT;
	for (i = 0; i < 3; i++) {
		part[i] = kzalloc(sizeof(*part[i]), GFP_KERNEL);
		if (!part[i])
			goto nomem;
	}
	mutex_lock(&kdev->hbm.lock);
	first = range->node.start;
	last = first + range->node.size;
	end = min(last, start + bytes);
	drm_mm_remove_node(&range->node);
	list_del(&range->link);
	kvsink_hbm_retake(kdev, part[0], first, start, ranges);
	kvsink_hbm_retake(kdev, part[1], start, end, to);
	kvsink_hbm_retake(kdev, part[2], end, last, ranges);
	mutex_unlock(&kdev->hbm.lock);
	kfree(range);
	return end - start;
nomem:
	while (i--)
		kfree(part[i]);
	return -ENOMEM;
}

/* All of it; after -ENOMEM some may have gone. */
int kvsink_hbm_carve(struct kvsink_device *kdev, struct list_head *ranges, u64 start, u64 bytes,
		     struct list_head *to)
{
	while (bytes) {
		s64 some = kvsink_hbm_carve_some(kdev, ranges, start, bytes, to);

		if (some < 0)
			return some;
		start += some;
		bytes -= some;
	}
	return 0;
}
