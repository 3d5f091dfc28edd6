/* SPDX-License-Identifier: MIT */
/*
 * A small model whose attention is made by hand: what the tests of policies decode with.
 *
 * 4 layers in 2 score groups, 2 heads, a row of 128 bytes: a token takes 256 bytes in a layer, 512 in a
 * group, 1024 in all. A key has two coordinates, one a topic; the query looks at one of them. So a token's
 * weight under a topic is exp(heat of that topic).
 */
#ifndef KVSINK_TEST_MODEL_H
#define KVSINK_TEST_MODEL_H

#include "kvsink_policy.h"
#include "rig.h"

#define MODEL_LAYERS 4
#define MODEL_HEADS 2
#define MODEL_GROUPS 2
#define MODEL_TOKENS 512
#define MODEL_D_K 2
#define MODEL_D_V 30
#define MODEL_TOKEN_BYTES 1024

struct model {
	struct rig rig;
	struct kvs_stream *stream;
	uint64_t id;
	struct kvs_policy *policy; /* NULL: none */
	uint32_t length;
	unsigned topic; /* that queries look at: 0 or 1 */
	/* heat of tokens yet to come, by topic; else 0 */
	float heat[2][MODEL_LAYERS][MODEL_TOKENS];
	double random_heat;				  /* tokens get random heats up to this */
	float out[MODEL_LAYERS][MODEL_HEADS * MODEL_D_V]; /* [head][element] of the last step */
};

void model_open(struct model *model, const char *device);
void model_close(struct model *model);
/* Exits if it does not open. */
void model_policy(struct model *model, const char *name, const struct kvs_policy_options *options);
/* Append and score a prompt, then kvs_policy_prefilled() and a barrier. */
void model_prefill(struct model *model, uint32_t tokens);
/* One decode step with its policy's calls, and a barrier. */
void model_step(struct model *model);

uint64_t model_counter(struct model *model, enum kvsink_counter counter);
/* Which tokens have an entry that covers the layer, [MODEL_TOKENS]. Returns how many. */
uint32_t model_residents(struct model *model, uint32_t layer, bool *resident);
/* Are exactly tokens [begin, end) resident in every layer? */
bool model_holds(struct model *model, uint32_t begin, uint32_t end);
/* Tokens that the tails of all groups hold, ~0 if they differ. */
uint32_t model_tail(struct model *model);
/* SRAM of the stream, tails included. */
uint32_t model_sram(struct model *model);

#endif
