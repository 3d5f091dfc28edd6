// SPDX-License-Identifier: MIT
/* Loops that do nothing but read, or nothing but multiply and add, in all threads at once; the best of some.
 */
#include "machine.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "fail.h"

#define KVSINK_BENCH_THREADS 16
#define ROUNDS 7
#define CHAINS 7 /* of each operation: fills the pipes, and with one more number no register is spilled */
#define REPEATS 200000

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* What a thread did goes here, so that no compiler leaves it out. */
static volatile uint64_t sink;

/*
 * Loops for one width of registers. Chains of multiplications and of additions do not depend on one another;
 * all numbers are 1, so none runs away, but the compiler cannot know it.
 */
#define LOOPS(level, target, width)                                                                          \
	typedef uint64_t level##_u64 __attribute__((vector_size(width)));                                    \
	typedef double level##_f64 __attribute__((vector_size(width)));                                      \
	typedef float level##_f32 __attribute__((vector_size(width)));                                       \
	target static void level##_read(const void *memory, uint64_t bytes)                                  \
	{                                                                                                    \
		const level##_u64 *from = memory;                                                            \
		level##_u64 a = {0}, b = {0}, c = {0}, d = {0};                                              \
                                                                                                             \
		for (uint64_t i = 0; i < bytes / sizeof(*from); i += 4) {                                    \
			a ^= from[i];                                                                        \
			b ^= from[i + 1];                                                                    \
			c ^= from[i + 2];                                                                    \
			d ^= from[i + 3];                                                                    \
		}                                                                                            \
		sink = (a ^ b ^ c ^ d)[0];                                                                   \
	}                                                                                                    \
	ARITHMETIC(level##_multiply_f64, target, level##_f64)                                                \
	ARITHMETIC(level##_multiply_f32, target, level##_f32)

#define ARITHMETIC(name, target, vector)                                                                     \
	target static void name(const void *memory, uint64_t bytes)                                          \
	{                                                                                                    \
		const vector *from = memory;                                                                 \
		vector one = from[0], a = from[1], b = from[2], c = from[3], d = from[4], e = from[5],       \
		       f = from[6], g = from[7], t = from[8], u = from[9], v = from[10], w = from[11],       \
		       x = from[12], y = from[13], z = from[14];                                             \
                                                                                                             \
		(void)bytes;                                                                                 \
		for (unsigned r = 0; r < REPEATS; r++) {                                                     \
			a *= one, t += one;                                                                  \
			b *= one, u += one;                                                                  \
			c *= one, v += one;                                                                  \
			d *= one, w += one;                                                                  \
			e *= one, x += one;                                                                  \
			f *= one, y += one;                                                                  \
			g *= one, z += one;                                                                  \
		}                                                                                            \
		a += b + c + d + e + f + g + t + u + v + w + x + y + z;                                      \
		sink = (uint64_t)a[0];                                                                       \
	}

#define PLAIN /* what every CPU of this kind has */
LOOPS(base, PLAIN, 16)
#ifdef __x86_64__
LOOPS(avx2, __attribute__((target("avx2"))), 32)
LOOPS(avx512, __attribute__((target("avx512f"))), 64)
#endif

typedef void (*loop_fn)(const void *memory, uint64_t bytes);

struct loops {
	loop_fn read, f64, f32;
	unsigned width; /* bytes of a register */
};

static struct loops widest(void)
{
#ifdef __x86_64__
	if (__builtin_cpu_supports("avx512f"))
		return (struct loops){avx512_read, avx512_multiply_f64, avx512_multiply_f32, 64};
	if (__builtin_cpu_supports("avx2"))
		return (struct loops){avx2_read, avx2_multiply_f64, avx2_multiply_f32, 32};
#endif
	return (struct loops){base_read, base_multiply_f64, base_multiply_f32, 16};
}

/* ---- threads ---- */

struct worker {
	pthread_t thread;
	pthread_barrier_t *start;
	loop_fn work;
	const void *memory;
	uint64_t bytes, begin, end; /* times */
};

static void *worker_main(void *arg)
{
	struct worker *w = arg;

	pthread_barrier_wait(w->start);
	w->begin = now_ns();
	w->work(w->memory, w->bytes);
	w->end = now_ns();
	return NULL;
}

/* ns from the first thread's start to the last one's end; each gets an equal part of the memory. */
static double once(unsigned threads, loop_fn work, const char *memory, uint64_t bytes)
{
	struct worker w[MACHINE_MAX_THREADS];
	uint64_t part = bytes / threads / 256 * 256, begin = UINT64_MAX, end = 0;
	pthread_barrier_t start;

	pthread_barrier_init(&start, NULL, threads);
	for (unsigned i = 0; i < threads; i++) {
		w[i] = (struct worker){
			.start = &start, .work = work, .memory = memory + i * part, .bytes = part};
		if (pthread_create(&w[i].thread, NULL, worker_main, &w[i]))
			abort(); /* the barrier would wait for ever */
	}
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(w[i].thread, NULL);
		begin = w[i].begin < begin ? w[i].begin : begin;
		end = w[i].end > end ? w[i].end : end;
	}
	pthread_barrier_destroy(&start);
	return (double)(end - begin);
}

static double best(unsigned threads, loop_fn work, const char *memory, uint64_t bytes)
{
	double least = 0;

	for (unsigned i = 0; i < ROUNDS; i++) {
		double ns = once(threads, work, memory, bytes);

		least = !i || ns < least ? ns : least;
	}
	return least;
}

/* Operations a second of a loop on registers. */
static double arithmetic(unsigned threads, loop_fn loop, const char *memory, unsigned width, size_t number)
{
	return 1e9 * threads * (2.0 * CHAINS * REPEATS * width / number) / best(threads, loop, memory, 0);
}

int machine_measure(struct machine *m, unsigned threads, uint64_t bytes)
{
	struct loops loops = widest();
	char *memory = aligned_alloc(256, bytes);

	if (!memory)
		return fail("out of memory for %llu bytes", (unsigned long long)bytes);
	for (uint64_t i = 0; i < bytes / sizeof(double); i++)
		((double *)memory)[i] = 1.0;
	m->bytes_per_s = 1e9 * (double)(bytes / threads / 256 * 256 * threads) /
			 best(threads, loops.read, memory, bytes);
	m->f64_per_s = arithmetic(threads, loops.f64, memory, loops.width, sizeof(double));
	for (unsigned i = 0; i < 1024; i++)
		((float *)memory)[i] = 1.0f;
	m->f32_per_s = arithmetic(threads, loops.f32, memory, loops.width, sizeof(float));
	free(memory);
	return 0;
}
