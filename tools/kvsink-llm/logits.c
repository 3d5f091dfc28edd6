// SPDX-License-Identifier: MIT
/* Writing and reading files of logits; see logits.h. */
#include <errno.h>
#include <string.h>

#include "fail.h"
#include "logits.h"

#define MAX_VOCAB (1u << 24)

int logits_create(const char *path, uint32_t vocab, uint64_t model_hash, FILE **file)
{
	struct logits_header header = {.version = 1, .vocab = vocab, .model_hash = model_hash};

	memcpy(header.magic, LOGITS_MAGIC, sizeof(header.magic));
	*file = fopen(path, "wb");
	if (!*file || fwrite(&header, sizeof(header), 1, *file) != 1)
		return fail("%s: %s", path, strerror(errno));
	return 0;
}

int logits_write(FILE *file, const char *path, const struct logits_step *step, const float *logits,
		 uint32_t vocab)
{
	if (fwrite(step, sizeof(*step), 1, file) != 1 || fwrite(logits, sizeof(float), vocab, file) != vocab)
		return fail("%s: %s", path, strerror(errno));
	return 0;
}

int logits_open(const char *path, struct logits_header *h, FILE **file)
{
	*file = fopen(path, "rb");
	if (!*file)
		return fail("%s: %s", path, strerror(errno));
	if (fread(h, sizeof(*h), 1, *file) != 1 || memcmp(h->magic, LOGITS_MAGIC, sizeof(h->magic)) ||
	    h->version != 1 || !h->vocab || h->vocab > MAX_VOCAB)
		return fail("%s: not a file of logits", path);
	return 0;
}

int logits_read(FILE *file, const char *path, struct logits_step *step, float *logits, uint32_t vocab)
{
	size_t n = fread(step, 1, sizeof(*step), file);

	if (!n && feof(file))
		return 0;
	if (n != sizeof(*step) || fread(logits, sizeof(float), vocab, file) != vocab)
		return fail("%s: file of logits is cut off", path);
	return 1;
}
