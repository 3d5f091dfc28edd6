// SPDX-License-Identifier: MIT
/* Writing, reading and distrusting state files; the format is in state.h. */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <kvsink_hw.h>

#include "fail.h"
#include "hash.h"
#include "state.h"

static uint64_t state_file_bytes(const struct geometry *g, uint32_t tokens)
{
	return sizeof(struct state_header) + tokens * sizeof(llama_token) + sizeof(uint64_t) +
	       g->layers * (state_layer_elements(g, tokens - 1) * sizeof(float) + sizeof(uint64_t));
}

static struct geometry header_geometry(const struct state_header *h)
{
	struct geometry g = {
		.layers = h->layers,
		.q_heads = h->q_heads,
		.kv_heads = h->kv_heads,
		.d_k = h->d_k,
		.d_v = h->d_v,
		.v_in_k = h->flags & STATE_V_IN_K,
		.window = h->window,
	};

	memcpy(g.windowed, h->windowed, sizeof(g.windowed));
	return g;
}

static uint64_t header_hash(const struct state_header *h)
{
	return hash_bytes(h, offsetof(struct state_header, header_hash));
}

static int check_field(const char *path, const char *field, uint64_t value, uint64_t min, uint64_t max)
{
	if (value >= min && value <= max)
		return 0;
	return fail("%s: state file: %s is %llu, %llu to %llu is allowed", path, field,
		    (unsigned long long)value, (unsigned long long)min, (unsigned long long)max);
}

/* The limits keep every product below 2^50, so sizes can be computed without overflow. */
static int check_sizes(const char *path, const struct state_header *h)
{
	if (check_field(path, "tokens", h->tokens, 2, STATE_MAX_TOKENS) ||
	    check_field(path, "layers", h->layers, 1, KVSINK_MAX_LAYERS) ||
	    check_field(path, "q_heads", h->q_heads, 1, KVSINK_MAX_Q_HEADS) ||
	    check_field(path, "kv_heads", h->kv_heads, 1, KVSINK_MAX_KV_HEADS) ||
	    check_field(path, "d_k", h->d_k, 1, KVSINK_MAX_HEAD_DIM) ||
	    check_field(path, "d_v", h->d_v, 1, h->flags & STATE_V_IN_K ? h->d_k : KVSINK_MAX_HEAD_DIM) ||
	    check_field(path, "flags", h->flags, 0, STATE_FLAGS))
		return -1;
	if (h->q_heads % h->kv_heads)
		return fail("%s: state file: %u query heads are no multiple of %u KV heads", path, h->q_heads,
			    h->kv_heads);
	return 0;
}

static int check_header(const char *path, const struct state_header *h)
{
	if (memcmp(h->magic, STATE_MAGIC, sizeof(h->magic)))
		return fail("%s: not a kvsink state file", path);
	if (h->version != STATE_VERSION || h->header_bytes != sizeof(*h))
		return fail("%s: state file of version %u, %u is known", path, h->version, STATE_VERSION);
	if (h->header_hash != header_hash(h))
		return fail("%s: state file is damaged: its header has another hash than it says", path);
	return check_sizes(path, h);
}

static int check_length(const struct state *s)
{
	uint64_t expected = state_file_bytes(&s->geometry, s->header.tokens);
	struct stat st;

	if (fstat(fileno(s->file), &st))
		return fail("%s: %s", s->path, strerror(errno));
	if ((uint64_t)st.st_size == expected && s->header.file_bytes == expected)
		return 0;
	return fail("%s: state file has %lld bytes instead of %llu: cut off or grown", s->path,
		    (long long)st.st_size, (unsigned long long)expected);
}

static int check_origin(const struct state *s, const struct model *m)
{
	uint64_t build;

	if (s->header.model_hash != m->hash)
		return fail("%s: state file of another model (file hash %016llx, %s has %016llx)", s->path,
			    (unsigned long long)s->header.model_hash, m->path, (unsigned long long)m->hash);
	if (hash_build(&build))
		return -1;
	if (s->header.build_hash != build)
		return fail("%s: state file of another build of kvsink-llm (hash %016llx, this one has "
			    "%016llx): prefill again",
			    s->path, (unsigned long long)s->header.build_hash, (unsigned long long)build);
	if (s->header.layers != m->hook.geometry.layers)
		return fail("%s: state file has %u layers, the model %u", s->path, s->header.layers,
			    m->hook.geometry.layers);
	for (uint32_t i = 0; i < s->header.tokens; i++)
		if (s->tokens[i] < 0 || (uint32_t)s->tokens[i] >= m->vocab_size)
			return fail("%s: state file: token %u is %d, the model knows 0 to %u", s->path, i,
				    s->tokens[i], m->vocab_size - 1);
	return 0;
}

/* Reads bytes and the hash behind them. */
static int read_section(struct state *s, void *data, uint64_t bytes, const char *what)
{
	uint64_t hash;

	if (fread(data, 1, bytes, s->file) != bytes || fread(&hash, sizeof(hash), 1, s->file) != 1)
		return fail("%s: state file cannot be read in %s: %s", s->path, what,
			    ferror(s->file) ? strerror(errno) : "it ends early");
	if (hash != hash_bytes(data, bytes))
		return fail("%s: state file is damaged: %s has another hash than it says", s->path, what);
	return 0;
}

static int read_front(struct state *s)
{
	if (fread(&s->header, sizeof(s->header), 1, s->file) != 1)
		return fail("%s: not a kvsink state file: too short", s->path);
	if (check_header(s->path, &s->header))
		return -1;
	s->geometry = header_geometry(&s->header);
	s->rows = s->header.tokens - 1;
	if (check_length(s))
		return -1;
	s->tokens = malloc(s->header.tokens * sizeof(*s->tokens));
	if (!s->tokens)
		return fail("%s: out of memory for %u tokens", s->path, s->header.tokens);
	return read_section(s, s->tokens, s->header.tokens * sizeof(*s->tokens), "its tokens");
}

int state_open(struct state *s, const char *path, const struct model *model)
{
	memset(s, 0, sizeof(*s));
	s->path = path;
	s->file = fopen(path, "rb");
	if (!s->file)
		return fail("%s: %s", path, strerror(errno));
	if (read_front(s))
		return -1;
	return model ? check_origin(s, model) : 0;
}

void state_close(struct state *s)
{
	if (s->file)
		fclose(s->file);
	free(s->tokens);
	free(s->layers);
	memset(s, 0, sizeof(*s));
}

int state_load_all(struct state *s)
{
	uint64_t elements = state_layer_elements(&s->geometry, s->rows);
	char what[32];

	s->layers = malloc(s->geometry.layers * elements * sizeof(float));
	if (!s->layers)
		return fail("%s: out of memory for %u layers", s->path, s->geometry.layers);
	for (uint32_t layer = 0; layer < s->geometry.layers; layer++) {
		snprintf(what, sizeof(what), "layer %u", layer);
		if (read_section(s, s->layers + layer * elements, elements * sizeof(float), what))
			return -1;
	}
	return 0;
}

const float *state_rows(const struct state *s, enum hook_tensor which, uint32_t layer, uint32_t first)
{
	const struct geometry *g = &s->geometry;
	const float *rows = s->layers + layer * state_layer_elements(g, s->rows);

	if (which == HOOK_Q)
		return rows + first * geometry_q_row(g);
	rows += s->rows * geometry_q_row(g);
	if (which == HOOK_K)
		return rows + first * geometry_k_row(g);
	return rows + s->rows * geometry_k_row(g) + first * geometry_v_row(g);
}

static int write_section(FILE *file, const void *data, uint64_t bytes)
{
	uint64_t hash = hash_bytes(data, bytes);

	return fwrite(data, 1, bytes, file) == bytes && fwrite(&hash, sizeof(hash), 1, file) == 1 ? 0 : -1;
}

static int write_all(FILE *file, const struct state_header *h, const llama_token *tokens, const float *layers)
{
	struct geometry g = header_geometry(h);
	uint64_t elements = state_layer_elements(&g, h->tokens - 1);

	if (fwrite(h, sizeof(*h), 1, file) != 1 || write_section(file, tokens, h->tokens * sizeof(*tokens)))
		return -1;
	for (uint32_t layer = 0; layer < g.layers; layer++)
		if (write_section(file, layers + layer * elements, elements * sizeof(float)))
			return -1;
	return 0;
}

/* The rename at the end would put a file in the place of a device or a pipe. */
static int check_place(const char *path)
{
	struct stat st;

	if (stat(path, &st) || S_ISREG(st.st_mode))
		return 0;
	return fail("%s: not a regular file: a new or a regular file is wanted", path);
}

int state_writable(const char *path)
{
	char part[4096];
	FILE *file;

	if (check_place(path))
		return -1;
	if (snprintf(part, sizeof(part), "%s.part", path) >= (int)sizeof(part))
		return fail("%s: the path is too long", path);
	file = fopen(part, "wb");
	if (!file)
		return fail("%s: %s", part, strerror(errno));
	fclose(file);
	unlink(part);
	return 0;
}

/* Under a temporary name first: a state file that exists is a whole one. */
int state_write(const char *path, struct state_header *h, const llama_token *tokens, const float *layers)
{
	struct geometry g = header_geometry(h);
	char part[4096];
	FILE *file;
	int bad;

	memcpy(h->magic, STATE_MAGIC, sizeof(h->magic));
	h->version = STATE_VERSION;
	h->header_bytes = sizeof(*h);
	h->file_bytes = state_file_bytes(&g, h->tokens);
	h->header_hash = header_hash(h);
	if (snprintf(part, sizeof(part), "%s.part", path) >= (int)sizeof(part))
		return fail("%s: the path is too long", path);
	file = fopen(part, "wb");
	if (!file)
		return fail("%s: %s", part, strerror(errno));
	bad = write_all(file, h, tokens, layers);
	bad |= fclose(file);
	if (bad || rename(part, path)) {
		fail("%s: %s", path, strerror(errno));
		unlink(part);
		return -1;
	}
	return 0;
}
