/* SPDX-License-Identifier: MIT */
/* Hashes (XXH3, 64 bit) that tie a state file to its model, its build and its own bytes. */
#ifndef KVSINK_LLM_HASH_H
#define KVSINK_LLM_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t hash_bytes(const void *data, size_t bytes);
/* hash_file - of all bytes of a file; prints why and returns -1 if it cannot be read */
int hash_file(const char *path, uint64_t *hash);
/* hash_build - of the running program, which holds libllama and libkvsink */
int hash_build(uint64_t *hash);

#endif
