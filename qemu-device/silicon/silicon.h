/* SPDX-License-Identifier: MIT */
/*
 * The kvsink chip, golden model: the interface between the chip and whatever hosts it.
 *
 * Three hosts exist: the QEMU device (shell/), the runtime's in-process sim: backend and the tests and
 * fuzzers. The chip starts no thread, allocates nothing after create and reaches outside only through
 * struct kvsink_host_ops.
 *
 * Threading: all calls on one chip are made under the host's one lock, except kvsink_exec(), which may
 * run on any threads at the same time as everything else, each part of an item once.
 *
 *   mmio_write(DOORBELL) latches -> host calls kvsink_run(ring) from its own context
 *   kvsink_run(ring)     executes commands; NULL when the ring has nothing (more) to do, or has used up its
 *                        quantum (then kvsink_pending() is true and it wants another call); else one item
 *   kvsink_exec(item, part, parts)   arithmetic, on rows that stay locked
 *   kvsink_retire(chip, item)        writes outputs (or drops them if a reset came between); then run every
 *                                    ring again: one may have waited for the rows
 */
#ifndef KVSINK_SILICON_H
#define KVSINK_SILICON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kvsink_hw.h"

#define KVSINK_MAX_PARTS 16 /* threads that one item can be spread over */

struct kvsink_chip;
struct kvsink_item_work; /* one staged arithmetic item; belongs to its ring */

/* Where the chip reaches outside. Return 0, or non-zero when the bus refused the transfer. */
struct kvsink_host_ops {
	int (*dma_read)(void *opaque, uint64_t bus, void *buf, uint32_t bytes);
	int (*dma_write)(void *opaque, uint64_t bus, const void *buf, uint32_t bytes);
	/* the chip wrote to its own memory: [offset, offset + bytes) of KVSINK_SPACE_HBM or _SRAM */
	void (*mark_dirty)(void *opaque, uint32_t space, uint64_t offset, uint64_t bytes);
	/* level of IRQ line `vector` (ring number, or rings for the error line) went up: an edge to deliver
	 */
	void (*irq)(void *opaque, unsigned vector);
	/* a guest did something wrong; one line without newline */
	void (*log)(void *opaque, const char *line);
};

/* Properties. kvsink_config_default() fills in the essays' figures; create checks the ranges. */
struct kvsink_chip_config {
	uint32_t sram_bytes;			  /* multiple of KVSINK_SRAM_UNIT, 64 KiB .. 256 MiB */
	uint64_t hbm_bytes;			  /* multiple of 1 MiB, 16 MiB .. 64 GiB */
	uint32_t tags;				  /* 16 .. 65536 */
	uint32_t streams;			  /* 1 .. 16384 */
	uint32_t rings;				  /* 1 .. KVSINK_MAX_RINGS */
	uint32_t ring_slots;			  /* power of two, 4 .. 4096 */
	uint32_t gart_pages;			  /* 256 .. 2^22 */
	uint32_t burst_bytes;			  /* power of two, 32 .. 256 */
	uint32_t sram_latency_ns, hbm_latency_ns; /* 1 .. 100000 */
	uint32_t sram_gbps, hbm_gbps, dma_gbps;	  /* 1 .. 1000000; dma_gbps < hbm_gbps */
	uint32_t job_overhead_ns;		  /* of one command, 0 .. 100000 */
	uint32_t tag_latency_ns;		  /* of one look into the tag array, 0 .. 100000 */
	uint8_t *sram; /* memory of the two tiers, owned by the host; zeroed by kvsink_reset(COLD) */
	uint8_t *hbm;
};

enum kvsink_reset_kind {
	KVSINK_RESET_COLD, /* power on, FLR: nothing survives */
	/*
	 * CONTROL.RESET: tags, SRAM, jobs and open steps go; HBM, streams and parameters stay. ENABLE is
	 * cleared, HEAD and DOORBELL start again at 0; base addresses, IRQ_MASK, counters and modelled time
	 * stay.
	 */
	KVSINK_RESET_ENGINE,
};

enum kvsink_inject {
	KVSINK_INJECT_SKIP, /* the next `count` jobs neither hang nor are lost, whatever the next two say */
	KVSINK_INJECT_HANG, /* the next `count` jobs never begin, nor end, until a reset */
	KVSINK_INJECT_LOST, /* the next `count` jobs do their work, but never end, until a reset */
	KVSINK_INJECT_DMA_ERROR, /* the next `count` operand transfers fail */
	KVSINK_INJECT_ECC,	 /* the next `count` ATTENDs with rows in SRAM lose an entry or a tail */
	KVSINK_INJECT_KINDS,
};

void kvsink_config_default(struct kvsink_chip_config *config);

/* Properties that a chip can have, whatever its memory; else `error` says which one is out of range. */
bool kvsink_config_ok(const struct kvsink_chip_config *config, char *error, size_t size);

/* NULL when a property is out of range or memory is short; then `error` says what, which value, what is
 * allowed. */
struct kvsink_chip *kvsink_create(const struct kvsink_chip_config *config, const struct kvsink_host_ops *ops,
				  void *opaque, char *error, size_t error_size);
void kvsink_destroy(struct kvsink_chip *chip);

/* 32-bit registers; offset is a multiple of 4 below KVSINK_REGS_BYTES. Unknown ones read 0 and are logged. */
uint32_t kvsink_mmio_read(struct kvsink_chip *chip, uint32_t offset);
void kvsink_mmio_write(struct kvsink_chip *chip, uint32_t offset, uint32_t value);

/* True when some ring may have work: the host then calls kvsink_run() for every ring. */
bool kvsink_pending(const struct kvsink_chip *chip);

struct kvsink_item_work *kvsink_run(struct kvsink_chip *chip, unsigned ring);
void kvsink_exec(struct kvsink_item_work *item, unsigned part, unsigned parts);
void kvsink_retire(struct kvsink_chip *chip, struct kvsink_item_work *item);

/* Items in flight end early and are dropped when they retire; the host must still retire them. */
void kvsink_reset(struct kvsink_chip *chip, enum kvsink_reset_kind kind);

/* A reset or the end follows: items in flight need not be computed to their end. */
void kvsink_cancel(struct kvsink_chip *chip);

void kvsink_inject(struct kvsink_chip *chip, enum kvsink_inject what, uint32_t count);

/* ---- recordings: deterministic replay ---- */

/* Of everything that the chip remembers, memory included: digest.c. */
uint64_t kvsink_digest(const struct kvsink_chip *chip);

/* Takes the next bytes of a recording; non-zero: it cannot, and the recording is spoilt. */
typedef int kvsink_record_sink(void *opaque, const void *data, size_t bytes);
/* From now on all that goes into the chip is recorded. To be called right after kvsink_create(). */
void kvsink_record(struct kvsink_chip *chip, kvsink_record_sink *sink, void *opaque);
/* The digest is written, no more is recorded. -1: some of it could not be written. */
int kvsink_record_end(struct kvsink_chip *chip);

/* Gives the next `bytes` of a recording, or as many as there are. */
typedef size_t kvsink_replay_source(void *opaque, void *data, size_t bytes);

struct kvsink_replay_result {
	uint64_t records;	      /* that were looked at */
	uint64_t bytes_in, bytes_out; /* moved by DMA */
	bool wrong;		      /* it has a record that cannot be */
	bool ended;		      /* the recording has a digest, */
	uint64_t recorded;	      /* this one; */
	uint64_t digest;	      /* and the replayed chip has this one */
	char why[200];		      /* what is not the same, or wrong with the recording; "" */
};

/* The beginning of a recording: the chip's properties, without its memory. -1: it is no recording. */
int kvsink_replay_config(kvsink_replay_source *source, void *opaque, struct kvsink_chip_config *config);
/* The rest of it, on a chip with those properties and memory full of zeros. 0: all transfers and the digest
 * are the same. */
int kvsink_replay(kvsink_replay_source *source, void *opaque, const struct kvsink_chip_config *config,
		  struct kvsink_replay_result *result);

const char *kvsink_code_name(uint32_t code); /* "BUDGET", or "?" */

#endif
