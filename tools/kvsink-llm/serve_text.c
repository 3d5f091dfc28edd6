// SPDX-License-Identifier: MIT
/*
 * Prompts of a trace that has hashes only. The text of --prompt is read as tokens once; a block is a piece of
 * them that begins where the hash of its number says. So equal blocks are equal tokens, in every run, and a
 * block never cuts a token. Nothing stands before or between blocks.
 */
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "hash.h"
#include "serve.h"
#include "text.h"

static int fill(const struct serve *s, struct served *r, const llama_token *text, uint32_t count)
{
	const uint32_t block = s->trace.block_tokens;

	r->tokens = calloc(served_total(r), sizeof(*r->tokens));
	if (!r->tokens)
		return fail("out of memory for %u tokens", served_total(r));
	for (uint32_t i = 0; i < r->asked->blocks; i++) {
		uint32_t first = i * block, n = r->asked->prompt - first;
		uint64_t hash = hash_bytes(&r->asked->hash[i], sizeof(r->asked->hash[i]));

		memcpy(r->tokens + first, text + hash % (count - block),
		       (n < block ? n : block) * sizeof(*text));
	}
	r->length = r->asked->prompt;
	return 0;
}

int serve_text(struct serve *s)
{
	llama_token *tokens;
	size_t bytes;
	char *text = text_read(s->o->prompt, &bytes);
	int n, rc = 0;

	if (!text)
		return USAGE;
	n = model_tokenize(&s->model, text, bytes, &tokens);
	free(text);
	if (n < 0)
		return USAGE;
	if ((uint32_t)n <= s->trace.block_tokens) {
		fail("%s has %d tokens: more than the %u of a block are wanted", s->o->prompt, n,
		     s->trace.block_tokens);
		rc = USAGE;
	}
	for (uint32_t i = 0; i < s->trace.count && !rc; i++)
		rc = fill(s, &s->schedule.served[i], tokens, (uint32_t)n);
	free(tokens);
	return rc;
}
