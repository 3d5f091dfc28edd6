/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kvsink: the threads that do the arithmetic of staged items.
 *
 * An item is cut into as many parts as there are threads. Parts are taken in
 * the order of submission, so the items of several rings overlap only where
 * threads would idle otherwise. The results do not depend on who computes
 * which part: the silicon guarantees it.
 */
#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "kvsink-pool.h"

/* Waits for a part; false when the pool stops. Called with the lock held. */
static bool kvsink_pool_take(KvsinkPool *pool, KvsinkWork **work,
                             unsigned *part)
{
    while (QSIMPLEQ_EMPTY(&pool->queue) && !pool->stop) {
        qemu_cond_wait(&pool->work_cond, &pool->lock);
    }
    if (pool->stop) {
        return false;
    }
    *work = QSIMPLEQ_FIRST(&pool->queue);
    *part = (*work)->next++;
    if ((*work)->next == pool->threads) {
        QSIMPLEQ_REMOVE_HEAD(&pool->queue, link);
    }
    return true;
}

/* Called with the lock held. */
static void kvsink_pool_end_part(KvsinkPool *pool, KvsinkWork *work)
{
    if (++work->done < pool->threads) {
        return;
    }
    pool->running--;
    qemu_cond_signal(&pool->idle_cond);
    qemu_bh_schedule(pool->bh);
}

static void *kvsink_pool_thread(void *opaque)
{
    KvsinkPool *pool = opaque;
    KvsinkWork *work;
    unsigned part;

    qemu_mutex_lock(&pool->lock);
    while (kvsink_pool_take(pool, &work, &part)) {
        qemu_mutex_unlock(&pool->lock);
        kvsink_exec(work->item, part, pool->threads);
        qemu_mutex_lock(&pool->lock);
        kvsink_pool_end_part(pool, work);
    }
    qemu_mutex_unlock(&pool->lock);
    return NULL;
}

void kvsink_pool_start(KvsinkPool *pool, unsigned threads, QEMUBH *bh)
{
    memset(pool, 0, sizeof(*pool));
    pool->threads = threads;
    pool->bh = bh;
    qemu_mutex_init(&pool->lock);
    qemu_cond_init(&pool->work_cond);
    qemu_cond_init(&pool->idle_cond);
    QSIMPLEQ_INIT(&pool->queue);
    for (unsigned i = 0; i < threads; i++) {
        qemu_thread_create(&pool->ids[i], "kvsink", kvsink_pool_thread, pool,
                           QEMU_THREAD_JOINABLE);
    }
}

void kvsink_pool_stop(KvsinkPool *pool)
{
    kvsink_pool_wait(pool);
    WITH_QEMU_LOCK_GUARD(&pool->lock) {
        pool->stop = true;
        qemu_cond_broadcast(&pool->work_cond);
    }
    for (unsigned i = 0; i < pool->threads; i++) {
        qemu_thread_join(&pool->ids[i]);
    }
    qemu_cond_destroy(&pool->idle_cond);
    qemu_cond_destroy(&pool->work_cond);
    qemu_mutex_destroy(&pool->lock);
}

void kvsink_pool_submit(KvsinkPool *pool, unsigned ring,
                        struct kvsink_item_work *item)
{
    KvsinkWork *work = &pool->works[ring];

    QEMU_LOCK_GUARD(&pool->lock);
    assert(!work->item);
    work->item = item;
    work->next = 0;
    work->done = 0;
    pool->running++;
    QSIMPLEQ_INSERT_TAIL(&pool->queue, work, link);
    qemu_cond_broadcast(&pool->work_cond);
}

bool kvsink_pool_busy(KvsinkPool *pool, unsigned ring)
{
    QEMU_LOCK_GUARD(&pool->lock);
    return pool->works[ring].item;
}

struct kvsink_item_work *kvsink_pool_reap(KvsinkPool *pool, unsigned ring)
{
    KvsinkWork *work = &pool->works[ring];
    struct kvsink_item_work *item = work->item;

    QEMU_LOCK_GUARD(&pool->lock);
    if (!item || work->done < pool->threads) {
        return NULL;
    }
    work->item = NULL;
    return item;
}

void kvsink_pool_wait(KvsinkPool *pool)
{
    QEMU_LOCK_GUARD(&pool->lock);
    while (pool->running) {
        qemu_cond_wait(&pool->idle_cond, &pool->lock);
    }
}
