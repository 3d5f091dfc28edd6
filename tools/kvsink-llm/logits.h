/* SPDX-License-Identifier: MIT */
/* A file of logits: what went into each decode step, what came out, and which token was chosen. */
#ifndef KVSINK_LLM_LOGITS_H
#define KVSINK_LLM_LOGITS_H

#include <stdint.h>
#include <stdio.h>

#define LOGITS_MAGIC "kvsinkLG"

struct logits_header {
	char magic[8];
	uint32_t version;    /* 1 */
	uint32_t vocab;	     /* logits of a step */
	uint64_t model_hash; /* of the model file */
};

/* Followed by float[vocab]. */
struct logits_step {
	int32_t position;
	int32_t input;	   /* token that was decoded at that position */
	int32_t chosen;	   /* token that follows, greedily */
	uint32_t reserved; /* 0 */
};

/* Each prints why and returns -1 on failure; logits_read returns 1 for a step and 0 at the end. */
int logits_create(const char *path, uint32_t vocab, uint64_t model_hash, FILE **file);
int logits_write(FILE *file, const char *path, const struct logits_step *step, const float *logits,
		 uint32_t vocab);
int logits_open(const char *path, struct logits_header *header, FILE **file);
int logits_read(FILE *file, const char *path, struct logits_step *step, float *logits, uint32_t vocab);

#endif
