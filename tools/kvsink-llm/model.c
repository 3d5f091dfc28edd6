// SPDX-License-Identifier: MIT
/* Loading and evaluating a model with stock libllama; see model.h. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fail.h"
#include "hash.h"
#include "model.h"

static char first_error[256]; /* libllama's first error line of a call that failed: later ones say less */

static void keep_errors(enum ggml_log_level level, const char *text, void *user)
{
	(void)user;
	if (level != GGML_LOG_LEVEL_ERROR || first_error[0])
		return;
	snprintf(first_error, sizeof(first_error), "%s", text);
	first_error[strcspn(first_error, "\n")] = 0;
}

static void model_names(struct model *m)
{
	if (llama_model_meta_val_str(m->llama, "general.name", m->name, sizeof(m->name)) <= 0)
		snprintf(m->name, sizeof(m->name), "%s", m->path);
	if (llama_model_meta_val_str(m->llama, "general.architecture", m->arch, sizeof(m->arch)) <= 0)
		snprintf(m->arch, sizeof(m->arch), "?");
}

/* Tokens of the sliding window that some layers have; 0: none. */
static uint32_t model_window(const struct model *m)
{
	int window = llama_model_n_swa(m->llama);

	return window > 0 ? (uint32_t)window : 0;
}

static int model_load(struct model *m, const char *path)
{
	struct llama_model_params params = llama_model_default_params();
	struct stat st;

	if (stat(path, &st) || !S_ISREG(st.st_mode))
		return fail("%s: no such model file", path);
	params.n_gpu_layers = 0;
	params.use_extra_bufts = false; /* repacked weights would take another rounding path */
	first_error[0] = 0;
	m->llama = llama_model_load_from_file(path, params);
	if (!m->llama)
		return fail("%s: libllama cannot load it: %s", path,
			    first_error[0] ? first_error : "no reason given");
	model_names(m);
	if (llama_model_has_encoder(m->llama) || llama_model_is_recurrent(m->llama) ||
	    llama_model_is_hybrid(m->llama) || llama_model_n_layer(m->llama) < 1)
		return model_refuse(m, "not a decoder with attention in every layer");
	if (llama_model_n_layer(m->llama) > MAX_LAYERS)
		return model_refuse(m, "more than 128 layers");
	return hash_file(path, &m->hash);
}

static int model_context(struct model *m, uint32_t context_tokens, uint32_t sequences, int threads)
{
	struct llama_context_params params = llama_context_default_params();

	params.n_ctx = context_tokens;
	params.n_batch = params.n_ubatch = m->batch_tokens;
	params.n_seq_max = sequences;
	params.kv_unified = true; /* one graph for all sequences, rows in the order of the batch */
	params.n_threads = params.n_threads_batch = threads;
	params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
	params.type_k = params.type_v = GGML_TYPE_F32;
	params.cb_eval = hook_callback;
	params.cb_eval_user_data = &m->hook;
	params.no_perf = true;
	params.op_offload = false;
	m->context = llama_init_from_model(m->llama, params);
	return m->context ? 0 : fail("%s: no context of %u tokens: %s", m->path, context_tokens, first_error);
}

static int model_start(struct model *m, const char *path, uint32_t batch_tokens)
{
	int rc;

	memset(m, 0, sizeof(*m));
	m->path = path;
	m->batch_tokens = batch_tokens;
	llama_log_set(keep_errors, NULL);
	llama_backend_init();
	rc = model_load(m, path);
	if (rc)
		return rc;
	m->vocab = llama_model_get_vocab(m->llama);
	m->vocab_size = (uint32_t)llama_vocab_n_tokens(m->vocab);
	if (hook_init(&m->hook, (uint32_t)llama_model_n_layer(m->llama)))
		return fail("%s: out of memory for its layers", path);
	m->batch = llama_batch_init((int32_t)batch_tokens, 0, 1);
	return 0;
}

int model_open(struct model *m, const char *path, uint32_t context_tokens, uint32_t batch_tokens, int threads,
	       bool look)
{
	int rc = model_start(m, path, batch_tokens);

	if (rc)
		return rc;
	if (look && context_tokens <= model_window(m))
		context_tokens = model_window(m) + 1;
	return model_context(m, context_tokens, 1, threads);
}

int model_open_many(struct model *m, const char *path, uint32_t batch_tokens, uint32_t sequences, int threads)
{
	uint32_t context_tokens;
	int rc = model_start(m, path, batch_tokens);

	if (rc)
		return rc;
	context_tokens = batch_tokens > model_window(m) ? batch_tokens : model_window(m) + 1;
	return model_context(m, context_tokens, sequences, threads);
}

void model_close(struct model *m)
{
	if (m->batch.token)
		llama_batch_free(m->batch);
	if (m->context)
		llama_free(m->context);
	if (m->llama)
		llama_model_free(m->llama);
	hook_free(&m->hook);
	memset(m, 0, sizeof(*m));
}

static void model_put(struct model *m, uint32_t at, const struct model_row *row)
{
	m->batch.token[at] = row->token;
	m->batch.pos[at] = (llama_pos)row->position;
	m->batch.n_seq_id[at] = 1;
	m->batch.seq_id[at][0] = (llama_seq_id)row->sequence;
	m->batch.logits[at] = row->logits;
}

int model_refuse(const struct model *m, const char *why)
{
	fail("model '%s' (%s, %s) is refused: %s", m->name, m->arch, m->path, why);
	return REFUSED;
}

/* What lies in the batch. */
static int model_run(struct model *m, uint32_t count)
{
	int rc, hooked;

	m->batch.n_tokens = (int32_t)count;
	hook_begin(&m->hook, m->batch.pos, count);
	first_error[0] = 0;
	rc = llama_decode(m->context, m->batch);
	hooked = hook_end(&m->hook);
	if (hooked)
		return m->hook.why[0] ? model_refuse(m, m->hook.why) : -1;
	return rc ? fail("%s: libllama failed at position %d with %d: %s", m->path, m->batch.pos[0], rc,
			 first_error)
		  : 0;
}

static int model_fits(const struct model *m, uint32_t count)
{
	if (!count || count > m->batch_tokens)
		return fail("%u tokens in one evaluation: 1 to %u are possible", count, m->batch_tokens);
	return 0;
}

int model_eval(struct model *m, const llama_token *tokens, uint32_t count, uint32_t first)
{
	if (model_fits(m, count))
		return -1;
	for (uint32_t i = 0; i < count; i++) {
		struct model_row row = {.token = tokens[i], .position = first + i, .logits = i + 1 == count};

		model_put(m, i, &row);
	}
	return model_run(m, count);
}

int model_eval_rows(struct model *m, const struct model_row *rows, uint32_t count)
{
	if (model_fits(m, count))
		return -1;
	for (uint32_t i = 0; i < count; i++)
		model_put(m, i, &rows[i]);
	return model_run(m, count);
}

/* Which layers hide tokens that are older than the window? `count` tokens are in the cache, one more than the
 * window. */
static int model_windows(struct model *m, uint32_t count)
{
	struct geometry *g = &m->hook.geometry;
	char why[128];

	memset(g->windowed, 0, sizeof(g->windowed));
	g->window = count - 1;
	for (uint32_t l = 0; l < g->layers; l++) {
		uint32_t visible = m->hook.params[l].visible;

		if (visible == count)
			continue;
		if (visible != g->window) {
			snprintf(why, sizeof(why),
				 "in layer %u a query sees %u of %u tokens: neither all nor a window of %u",
				 l, visible, count, g->window);
			return model_refuse(m, why);
		}
		g->windowed[l / 64] |= 1ull << l % 64;
	}
	return 0;
}

int model_look(struct model *m, bool windows)
{
	uint32_t tokens = windows ? model_window(m) + 1 : 1, step;
	llama_token token[512];
	int rc = 0;

	m->hook.look = true;
	for (uint32_t first = 0; first < tokens && !rc; first += step) {
		step = m->batch_tokens < 512 ? m->batch_tokens : 512;
		step = tokens - first < step ? tokens - first : step;
		for (uint32_t i = 0; i < step; i++)
			token[i] = (llama_token)(((first + i) * 7919u + 17) % m->vocab_size);
		rc = model_eval(m, token, step, first);
	}
	m->hook.look = false;
	model_forget(m);
	return rc || tokens == 1 ? rc : model_windows(m, tokens);
}

const float *model_logits(struct model *m)
{
	return llama_get_logits_ith(m->context, -1);
}

const float *model_logits_of(struct model *m, uint32_t row)
{
	return llama_get_logits_ith(m->context, (int32_t)row);
}

void model_forget(struct model *m)
{
	llama_memory_clear(llama_get_memory(m->context), false);
}

llama_token model_greedy(const struct model *m, const float *logits)
{
	uint32_t best = 0;

	for (uint32_t i = 1; i < m->vocab_size; i++)
		if (logits[i] > logits[best])
			best = i;
	return (llama_token)best;
}

int model_tokenize(const struct model *m, const char *text, size_t bytes, llama_token **tokens)
{
	int n;

	if (bytes > INT32_MAX)
		return fail("a prompt of %zu bytes is too long", bytes);
	n = -llama_tokenize(m->vocab, text, (int32_t)bytes, NULL, 0, true,
			    false); /* asks for the number only */
	*tokens = n > 0 ? malloc((size_t)n * sizeof(**tokens)) : NULL;
	if (!*tokens)
		return fail("%s: its vocabulary makes nothing of a prompt of %zu bytes", m->path, bytes);
	return llama_tokenize(m->vocab, text, (int32_t)bytes, *tokens, n, true, false);
}

void model_piece(const struct model *m, llama_token token, char *text, size_t size)
{
	int n = llama_token_to_piece(m->vocab, token, text, (int32_t)size - 1, 0, true);

	text[n > 0 ? n : 0] = 0;
}
