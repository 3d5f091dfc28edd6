// SPDX-License-Identifier: MIT
/*
 * kvsink-llm convert: the same model with its weights as binary32, which libllama itself dequantises.
 * For quantised weights ggml rounds each activation to 8 bits before it multiplies. A difference in the
 * last bit of an attention output then vanishes, or flips one such rounding and grows to tenths of a
 * logit within a few layers: stock libllama against itself with 1e-6 of noise does the same. With
 * binary32 weights both sides can be held to 1e-3.
 */
#include <stdio.h>
#include <unistd.h>

#include "fail.h"
#include "model.h"
#include "options.h"

static void no_log(enum ggml_log_level level, const char *text, void *user)
{
	(void)level;
	(void)text;
	(void)user;
}

int command_convert(const struct options *o)
{
	struct llama_model_quantize_params params = llama_model_quantize_default_params();
	char part[4096];

	if (snprintf(part, sizeof(part), "%s.part", o->files[1]) >= (int)sizeof(part))
		return fail("%s: the path is too long", o->files[1]);
	params.ftype = LLAMA_FTYPE_ALL_F32;
	params.allow_requantize = true;
	params.nthread = 2;
	llama_log_set(no_log, NULL);
	llama_backend_init();
	if (llama_model_quantize(o->files[0], part, &params)) {
		unlink(part);
		return fail("%s: libllama cannot convert it to %s", o->files[0], o->files[1]);
	}
	return rename(part, o->files[1]) ? fail("%s: cannot be put in place", o->files[1]) : 0;
}
