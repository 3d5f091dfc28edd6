/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kvsink: the threads that do the arithmetic of staged items.
 *
 * Everything here is called under the BQL. The threads themselves call nothing
 * but kvsink_exec(), so waiting for them under the BQL cannot deadlock. A ring
 * has at most one item in the pool.
 */
#ifndef HW_KVSINK_POOL_H
#define HW_KVSINK_POOL_H

#include "qemu/queue.h"
#include "qemu/thread.h"
#include "silicon/silicon.h"

/* The item of one ring, handed out to the threads part by part. */
typedef struct KvsinkWork {
    struct kvsink_item_work *item; /* NULL: the ring has nothing in the pool */
    unsigned next; /* first part that no thread has taken */
    unsigned done; /* parts that have ended; all of them: ready to be reaped */
    QSIMPLEQ_ENTRY(KvsinkWork) link; /* in `queue` while next < threads */
} KvsinkWork;

typedef struct KvsinkPool {
    unsigned threads; /* also the parts of each item */
    QEMUBH *bh; /* scheduled whenever an item has ended */

    QemuMutex lock; /* guards all that follows */
    QemuCond work_cond; /* queue grew, or stop was set */
    QemuCond idle_cond; /* an item ended */
    QSIMPLEQ_HEAD(, KvsinkWork) queue; /* with parts left, oldest first */
    KvsinkWork works[KVSINK_MAX_RINGS]; /* by ring */
    unsigned running; /* items that have not ended */
    bool stop;

    QemuThread ids[KVSINK_MAX_PARTS];
} KvsinkPool;

void kvsink_pool_start(KvsinkPool *pool, unsigned threads, QEMUBH *bh);
void kvsink_pool_stop(KvsinkPool *pool);

void kvsink_pool_submit(KvsinkPool *pool, unsigned ring,
                        struct kvsink_item_work *item);
bool kvsink_pool_busy(KvsinkPool *pool, unsigned ring);

/* An item of which every part has ended, or NULL; the ring is free again. */
struct kvsink_item_work *kvsink_pool_reap(KvsinkPool *pool, unsigned ring);

/* Returns when no item is under way. They wait to be reaped. */
void kvsink_pool_wait(KvsinkPool *pool);

#endif
