/* SPDX-License-Identifier: MIT */
/*
 * Checksum of what the chip writes to host memory and wants to read again, unchanged (checksum.c).
 */
#ifndef KVSINK_CHECKSUM_H
#define KVSINK_CHECKSUM_H

#include <stdint.h>

struct kvsink_checksum {
	uint64_t v[4];
	uint64_t words; /* that are in it */
};

void kvsink_checksum_begin(struct kvsink_checksum *sum, const uint64_t key[2]);
/* `bytes` is a multiple of 8. */
void kvsink_checksum_add(struct kvsink_checksum *sum, const void *data, uint64_t bytes);
uint64_t kvsink_checksum_end(struct kvsink_checksum *sum);

#endif
