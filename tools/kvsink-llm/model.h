/* SPDX-License-Identifier: MIT */
/*
 * A model in stock libllama, set up as the oracle rule wants it: binary32 KV cache, flash attention off,
 * a whole batch in one evaluation, weights mapped and not repacked. One sequence, or several in one cache.
 */
#ifndef KVSINK_LLM_MODEL_H
#define KVSINK_LLM_MODEL_H

#include <llama.h>
#include <stddef.h>
#include <stdint.h>

#include "hook.h"

struct model {
	struct llama_model *llama;
	struct llama_context *context;
	const struct llama_vocab *vocab;
	struct llama_batch batch;
	uint32_t batch_tokens; /* tokens of one evaluation at most */
	uint32_t vocab_size;
	const char *path;
	char name[128]; /* general.name of the file, else its path */
	char arch[64];	/* general.architecture */
	uint64_t hash;	/* of the file */
	struct hook hook;
};

/* A token of an evaluation. */
struct model_row {
	llama_token token;
	uint32_t position;
	uint32_t sequence;
	bool logits; /* are wanted */
};

/*
 * model_open - load a model; context_tokens is what libllama's own cache shall hold, with `look` what
 * model_look() needs Prints why and returns -1 on failure. model_close() is allowed after a failure.
 */
int model_open(struct model *model, const char *path, uint32_t context_tokens, uint32_t batch_tokens,
	       int threads, bool look);
/* model_open_many - the same for evaluations that mix the tokens of so many sequences */
int model_open_many(struct model *model, const char *path, uint32_t batch_tokens, uint32_t sequences,
		    int threads);
void model_close(struct model *model);
/* model_refuse - one line that names the model and says why its attention is not the device's; returns
 * REFUSED */
int model_refuse(const struct model *model, const char *why);
/*
 * model_look - take geometry and parameters of attention from libllama's graph, with `windows` those of
 * sliding windows, too: that takes as many tokens as the window has. 0, -1 or REFUSED. Leaves libllama's
 * cache empty.
 */
int model_look(struct model *model, bool windows);
/* model_eval - evaluate tokens at positions from first on; logits are those of the last one */
int model_eval(struct model *model, const llama_token *tokens, uint32_t count, uint32_t first);
const float *model_logits(struct model *model);
/* model_eval_rows - evaluate tokens of several sequences at once, each sequence's in a row and in order */
int model_eval_rows(struct model *model, const struct model_row *rows, uint32_t count);
/* model_logits_of - logits of a row that asked for them */
const float *model_logits_of(struct model *model, uint32_t row);
/* model_forget - empty libllama's cache */
void model_forget(struct model *model);
/* model_greedy - the token with the largest logit, the first of equals */
llama_token model_greedy(const struct model *model, const float *logits);
/* model_tokenize - the tokens of a text, to be freed by the caller; returns how many, or -1 */
int model_tokenize(const struct model *model, const char *text, size_t bytes, llama_token **tokens);
/* model_piece - the text of a token, ended by 0 and cut to size */
void model_piece(const struct model *model, llama_token token, char *text, size_t size);

#endif
