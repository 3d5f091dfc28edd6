/* SPDX-License-Identifier: MIT */
/*
 * The form of a recording: KVSINK_RECORD_MAGIC, the configuration (kvsink_record_config()), then records, all
 * of them little-endian 64-bit words: one word with the kind in its low byte and `a` above it, and what the
 * kind has behind it. Data is padded with zeros to a multiple of 8 bytes.
 */
#ifndef KVSINK_RECORD_H
#define KVSINK_RECORD_H

#include "chip.h"

#define KVSINK_RECORD_MAGIC 0x31646365726b7673ull /* "svkrecd1" */

enum kvsink_record_kind {
	KVSINK_RECORD_WRITE = 1, /* a = offset; value */
	KVSINK_RECORD_RUN,	 /* a = ring */
	KVSINK_RECORD_RETIRE,	 /* a = ring */
	KVSINK_RECORD_RESET,	 /* a = enum kvsink_reset_kind */
	KVSINK_RECORD_INJECT,	 /* a = enum kvsink_inject; count */
	KVSINK_RECORD_DMA_READ,	 /* a = bytes; bus, refused, data unless refused */
	KVSINK_RECORD_DMA_WRITE, /* a = bytes; bus, refused, checksum of the data */
	KVSINK_RECORD_END,	 /* a = 0; digest */
};

/* Fields of the configuration, in the order of a recording. */
/* clang-format off */
#define KVSINK_RECORD_FIELDS(X) \
	X(sram_bytes) X(hbm_bytes) X(tags) X(streams) X(rings) X(ring_slots) X(gart_pages) X(burst_bytes) \
	X(sram_latency_ns) X(hbm_latency_ns) X(sram_gbps) X(hbm_gbps) X(dma_gbps) X(job_overhead_ns) X(tag_latency_ns)
/* clang-format on */

static inline uint64_t kvsink_record_word(enum kvsink_record_kind kind, uint32_t a)
{
	return (uint64_t)a << 8 | (uint64_t)kind;
}

/* What a call of the host told the chip, if somebody records it. */
void kvsink_note(struct kvsink_chip *chip, enum kvsink_record_kind kind, uint32_t a);
void kvsink_note_value(struct kvsink_chip *chip, enum kvsink_record_kind kind, uint32_t a, uint32_t value);

/* Of what a transfer wrote. */
uint64_t kvsink_record_sum(const void *data, uint32_t bytes);

#endif
