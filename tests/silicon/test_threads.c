// SPDX-License-Identifier: MIT
/*
 * Items on threads: their parts run at the same time as one another and as commands of another ring that
 * append to another stream, promote and let copies end. The result is that of one thread.
 */
#include <pthread.h>

#include "harness.h"
#include "tap.h"

#define THREADS 4
#define QUERIES 32u

static struct harness h;
static struct h_stream s, other;

struct part {
	struct kvsink_item_work *work;
	unsigned index;
};

static void *exec(void *opaque)
{
	const struct part *part = opaque;

	kvsink_exec(part->work, part->index, THREADS);
	return NULL;
}

static void set_up(void)
{
	h_open(&h, NULL);
	s = h_geometry(1);
	other = h_geometry(2);
	h_stream(&h, &s);
	h_stream(&h, &other);
	h_fill(&h, &s, 0, 100);
	for (uint32_t t = 0; t < 8; t++)
		h_promote(&h, &s, 9 * t, 0, 2, 3);
	h_barrier(&h, &s);
	h_queries(&h, 17, QUERIES * s.q_heads * s.d_k);
}

/* Ring 0 keeps working while ring 1's item is in flight. */
static bool busy_ring(uint32_t round)
{
	bool ok = !h_append(&h, &other, 0, round, 1) && !h_append(&h, &other, 1, round, 1) &&
		  !h_step_end(&h, &other, 1);

	return ok && !h_promote(&h, &s, 70 + round, 0, 2, 3) && !h_barrier(&h, &s);
}

/* One ATTEND on ring 1; its parts run on threads if `threaded`. */
static bool attend(bool threaded, uint32_t round, float *out)
{
	struct kvsink_item_work *work;
	struct part part[THREADS];
	pthread_t thread[THREADS];
	bool ok = true;

	h_attend_cmd(&h, &s, round % 2, 100 - QUERIES, QUERIES);
	h_submit(&h, 1);
	work = kvsink_run(h.chip, 1);
	for (unsigned i = 0; i < THREADS; i++) {
		part[i] = (struct part){work, i};
		if (!threaded)
			exec(&part[i]);
		else
			ok = !pthread_create(&thread[i], NULL, exec, &part[i]) && ok;
	}
	ok = busy_ring(round) && ok;
	for (unsigned i = 0; threaded && i < THREADS; i++)
		pthread_join(thread[i], NULL);
	kvsink_retire(h.chip, work);
	h_run(&h);
	h_get(&h, H_OUT, out, QUERIES * s.q_heads * s.d_v * sizeof(*out));
	return ok;
}

int main(void)
{
	static float once[8][QUERIES * 4 * 16], again[8][QUERIES * 4 * 16];
	uint64_t mass;
	bool ok = true;

	set_up();
	for (uint32_t round = 0; round < 8; round++)
		ok = attend(false, round, once[round]) && ok;
	tap_ok(ok, "commands that change none of its rows pass an item in flight");
	mass = h_counter(&h, KVSINK_COUNTER_MASS_SRAM);
	h_close(&h);
	set_up();
	ok = true;
	for (uint32_t round = 0; round < 8; round++)
		ok = attend(true, round, again[round]) && ok;
	tap_ok(ok, "also while threads work on it");
	tap_ok(!memcmp(once, again, sizeof(once)), "threads give the same bits");
	tap_ok(mass == h_counter(&h, KVSINK_COUNTER_MASS_SRAM), "and the same mass");
	h_close(&h);
	return tap_done();
}
