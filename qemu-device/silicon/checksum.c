/* SPDX-License-Identifier: MIT */
/*
 * A keyed checksum: SipHash-2-4 (Aumasson and Bernstein, 2012) over 64-bit words, with the number of words
 * as the last one. Who does not know the key cannot change an image so that it still matches, so an image
 * in memory that a user writes needs no other protection.
 */
#include <string.h>

#include "checksum.h"

static uint64_t rotate(uint64_t x, unsigned by)
{
	return x << by | x >> (64 - by);
}

static void rounds(uint64_t v[4], unsigned n)
{
	while (n--) {
		v[0] += v[1];
		v[2] += v[3];
		v[1] = rotate(v[1], 13) ^ v[0];
		v[3] = rotate(v[3], 16) ^ v[2];
		v[0] = rotate(v[0], 32);
		v[2] += v[1];
		v[0] += v[3];
		v[1] = rotate(v[1], 17) ^ v[2];
		v[3] = rotate(v[3], 21) ^ v[0];
		v[2] = rotate(v[2], 32);
	}
}

static void add_word(struct kvsink_checksum *sum, uint64_t word)
{
	sum->v[3] ^= word;
	rounds(sum->v, 2);
	sum->v[0] ^= word;
	sum->words++;
}

void kvsink_checksum_begin(struct kvsink_checksum *sum, const uint64_t key[2])
{
	sum->v[0] = key[0] ^ 0x736f6d6570736575ull;
	sum->v[1] = key[1] ^ 0x646f72616e646f6dull;
	sum->v[2] = key[0] ^ 0x6c7967656e657261ull;
	sum->v[3] = key[1] ^ 0x7465646279746573ull;
	sum->words = 0;
}

void kvsink_checksum_add(struct kvsink_checksum *sum, const void *data, uint64_t bytes)
{
	const uint8_t *at = data;
	uint64_t word;

	for (; bytes; bytes -= sizeof(word), at += sizeof(word)) {
		memcpy(&word, at, sizeof(word));
		add_word(sum, word);
	}
}

uint64_t kvsink_checksum_end(struct kvsink_checksum *sum)
{
	add_word(sum, sum->words);
	sum->v[2] ^= 0xff;
	rounds(sum->v, 4);
	return sum->v[0] ^ sum->v[1] ^ sum->v[2] ^ sum->v[3];
}
