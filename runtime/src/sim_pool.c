// SPDX-License-Identifier: MIT
/*
 * Worker threads of sim: (option threads=): they share out the parts of one arithmetic item at a time. The
 * chip gives the same bits whatever their number.
 */
#include <stdlib.h>

#include "sim.h"

struct sim_pool {
	pthread_mutex_t lock; /* everything below */
	pthread_cond_t work, done;
	struct kvsink_item_work *item; /* NULL: nothing to do */
	unsigned parts;		       /* of an item: workers and the caller */
	unsigned next_part, parts_done;
	bool quit;
	unsigned workers;
	pthread_t thread[KVSINK_MAX_PARTS];
};

/* Executes parts as long as there are some. Called and left with the lock held. */
static void execute(struct sim_pool *pool)
{
	while (pool->item && pool->next_part < pool->parts) {
		struct kvsink_item_work *item = pool->item;
		unsigned part = pool->next_part++;

		pthread_mutex_unlock(&pool->lock);
		kvsink_exec(item, part, pool->parts);
		pthread_mutex_lock(&pool->lock);
		if (++pool->parts_done == pool->parts)
			pthread_cond_signal(&pool->done);
	}
}

static void *worker(void *arg)
{
	struct sim_pool *pool = arg;

	pthread_mutex_lock(&pool->lock);
	while (!pool->quit) {
		execute(pool);
		if (!pool->quit)
			pthread_cond_wait(&pool->work, &pool->lock);
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

struct sim_pool *sim_pool_create(unsigned threads)
{
	struct sim_pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	pool->parts = threads;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->work, NULL);
	pthread_cond_init(&pool->done, NULL);
	while (pool->workers < threads - 1) {
		if (pthread_create(&pool->thread[pool->workers], NULL, worker, pool)) {
			sim_pool_destroy(pool);
			return NULL;
		}
		pool->workers++;
	}
	return pool;
}

void sim_pool_destroy(struct sim_pool *pool)
{
	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->quit = true;
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	while (pool->workers)
		pthread_join(pool->thread[--pool->workers], NULL);
	pthread_cond_destroy(&pool->work);
	pthread_cond_destroy(&pool->done);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}

void sim_pool_exec(struct sim_pool *pool, struct kvsink_item_work *item)
{
	if (!pool) {
		kvsink_exec(item, 0, 1);
		return;
	}
	pthread_mutex_lock(&pool->lock);
	pool->item = item;
	pool->next_part = 0;
	pool->parts_done = 0;
	pthread_cond_broadcast(&pool->work);
	execute(pool);
	while (pool->parts_done < pool->parts)
		pthread_cond_wait(&pool->done, &pool->lock);
	pool->item = NULL;
	pthread_mutex_unlock(&pool->lock);
}
