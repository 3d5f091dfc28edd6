// SPDX-License-Identifier: MIT
/*
 * kvsink-llm: a stock llama.cpp model whose attention is computed by a kvsink device.
 * This file knows commands and options; each command has a file of its own.
 */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <kvsink.h>

#include "draft.h"
#include "fail.h"
#include "options.h"
#include "serve_attention.h"

/* Names of options stand between spaces, so that each can be looked up with its own around it. */
static const struct command {
	const char *name;
	int (*run)(const struct options *options);
	const char *needs; /* options that must be given */
	const char *takes; /* options that may be given */
	int files;	   /* arguments without an option: that many */
	const char *help;
} commands[] = {
	{"convert", command_convert, "", "", 2, "IN OUT: the model with binary32 weights"},
	{"prefill", command_prefill, " model prompt state ", " tokens device threads json ", 0,
	 "--model M --prompt FILE --tokens N --device D --state OUT"},
	{"decode", command_decode, " model state ",
	 " device tokens t-sink local-window groups mode attend policy sram draft threads logits trace json "
	 "hold ",
	 0, "--model M --state S --device D [--tokens N] [--t-sink X] [--draft N] [--hold] ..."},
	{"stock", command_stock, " model state logits ", " tokens threads json ", 0,
	 "--model M --state S [--tokens N] --logits OUT: libllama alone, from the same state"},
	{"compare", command_compare, "", " json ", 2, "A B: two files of logits"},
	{"probe", command_probe, " model ", " device tokens threads ", 0,
	 "--model M --device D [--tokens N]: is this model's attention the device's?"},
	{"quality", command_quality, " model state ",
	 " device tokens chunk apart format seal-k seal-v protect attend gate epsilon one-pass check policy "
	 "sram "
	 "logits against threads "
	 "json ",
	 0, "--model M --state S --device D [--attend gated] ...: perplexity, KL and bytes of a forced text"},
	{"drafts", command_drafts, "", " json ", 3,
	 "DRAFT.json PLAIN.json COMPARE.json [--json OUT]: a decode with drafts beside one without"},
	{"serve", command_serve, " model requests prompt ",
	 " device count parallel chunk scale scale-output max-prompt max-output step-ms dwell compute every "
	 "prefixes policy sram attend format threads json ",
	 0, "--model M --requests TRACE --prompt FILE [--policy P] ...: many requests at once"},
	{"report", command_report, "", " json ", 3,
	 "DECODE.json COMPARE.json PREFILL.json [--json OUT]: one table, one result"},
};

static const char usage_text[] =
	"options:\n"
	"  --model FILE          GGUF model\n"
	"  --prompt FILE         text; its first --tokens tokens are used\n"
	"  --state FILE          state file: Q, K, V of the prompt\n"
	"  --device NAME         drm:, drm:/dev/accel/accelN, sim: or sim:sram=1M,... (default drm:)\n"
	"  --tokens N            prefill: tokens of the prompt; decode, stock: steps (128); probe: tokens "
	"(64)\n"
	"  --t-sink X            decode: threshold of policy 1A; 0 (the default) promotes nothing\n"
	"  --local-window N      queries nearer than this do not count (64)\n"
	"  --groups 0-11,12-29   score groups; default: all layers in one\n"
	"  --mode raw|mean|rel   score mode (mean)\n"
	"  --threads N           threads of libllama (1)\n"
	"  --logits FILE         write input, choice and logits of each step\n"
	"  --trace FILE          decode: write Q, K, V of each step and layer\n"
	"  --json FILE           write the result there instead of to standard output\n"
	"  --draft N             decode: up to N tokens (1 to 16) are guessed from the text so far and "
	"verified\n"
	"                        in one evaluation; the tokens are those of plain decoding\n"
	"  --attend MODE         decode: split (the default) or canonical (always with --draft);\n"
	"                        quality: split (the default), canonical or gated; serve: not gated\n"
	"  --gate mass|abs|rel   quality: criterion of gated attention (mass)\n"
	"  --epsilon X           quality: its bound, above 0 and below 1 (0.03)\n"
	"  --one-pass            quality: without the score buffer\n"
	"  --apart               quality: each query head has rows of its own, as without grouped heads\n"
	"  --check               quality: compare each gated output with the exact one; no bytes then\n"
	"  --format f32|fp16     quality, serve: of the stored rows (f32)\n"
	"  --seal-k FORMAT       quality: int8, int4, int8-channel or int4-channel: of K in pages of 32 "
	"tokens "
	"but the newest 32 to 63 tokens\n"
	"  --seal-v int8|int4    quality: the same of V\n"
	"  --protect N           quality: the first N tokens are not quantised, 0 to 32 (0)\n"
	"  --chunk N             quality, serve: tokens of one evaluation (1; serve: 128)\n"
	"  --policy NAME         decode, quality, serve: placement policy, with its own tail; default: "
	"nothing in "
	"SRAM\n"
	"  --sram BYTES          decode, quality, serve: what the policy may use, in serve divided by "
	"--parallel "
	"(all)\n"
	"  --against FILE        quality: logits of another run of the same text\n"
	"  --requests FILE       serve: a trace, one JSON object a line: timestamp (ms), input_length, "
	"output_length and\n"
	"                        hash_ids, one a block of 512 tokens; their text is taken from --prompt\n"
	"  --count N             serve: the first N requests (all)\n"
	"  --parallel N          serve: at most N requests at once, 1 to 60 (16)\n"
	"  --scale N             serve: divides prompts and blocks, a divisor of 512 (32)\n"
	"  --scale-output N      serve: divides outputs (8)\n"
	"  --max-prompt N, --max-output N\n"
	"                        serve: what is longer afterwards is cut off (512, 64)\n"
	"  --step-ms N           serve: of the trace's time that a step takes (100)\n"
	"  --dwell N             serve: steps that contracts ask for, 0 for no contracts (4)\n"
	"  --compute NS          serve: modelled time between two layers, in which copies can hide (2800)\n"
	"  --every N             serve: steps between two looks at SRAM and queues (8)\n"
	"  --prefixes N          serve: at most N prefixes that requests share, 0 to 4096, 0 shares nothing "
	"(256)\n"
	"  --hold                decode: keep the stream open; read \"step [N]\" and \"quit\" from standard "
	"input\n"
	"exit status: 0 done, 1 failed, 2 usage (serve: also files that say what cannot be done), 3 the "
	"model was refused\n";

static void usage(FILE *file)
{
	fprintf(file, "usage: kvsink-llm COMMAND [options]      (kvsink %s)\n", kvs_version());
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		fprintf(file, "  %-8s %s\n", commands[i].name, commands[i].help);
	fputs(usage_text, file);
}

enum {
	OPT_NUMBER = 1,
	OPT_SINK,
	OPT_THREADS,
	OPT_HOLD,
	OPT_HELP,
	OPT_EPSILON,
	OPT_ONE_PASS,
	OPT_CHECK,
	OPT_APART,
	OPT_STRING
};

static const struct option long_options[] = {
	{"tokens", required_argument, NULL, OPT_NUMBER},
	{"local-window", required_argument, NULL, OPT_NUMBER},
	{"t-sink", required_argument, NULL, OPT_SINK},
	{"threads", required_argument, NULL, OPT_THREADS},
	{"hold", no_argument, NULL, OPT_HOLD},
	{"help", no_argument, NULL, OPT_HELP},
	{"model", required_argument, NULL, OPT_STRING},
	{"prompt", required_argument, NULL, OPT_STRING},
	{"state", required_argument, NULL, OPT_STRING},
	{"device", required_argument, NULL, OPT_STRING},
	{"logits", required_argument, NULL, OPT_STRING},
	{"trace", required_argument, NULL, OPT_STRING},
	{"json", required_argument, NULL, OPT_STRING},
	{"groups", required_argument, NULL, OPT_STRING},
	{"mode", required_argument, NULL, OPT_STRING},
	{"attend", required_argument, NULL, OPT_STRING},
	{"gate", required_argument, NULL, OPT_STRING},
	{"format", required_argument, NULL, OPT_STRING},
	{"seal-k", required_argument, NULL, OPT_STRING},
	{"seal-v", required_argument, NULL, OPT_STRING},
	{"protect", required_argument, NULL, OPT_NUMBER},
	{"policy", required_argument, NULL, OPT_STRING},
	{"against", required_argument, NULL, OPT_STRING},
	{"chunk", required_argument, NULL, OPT_NUMBER},
	{"draft", required_argument, NULL, OPT_NUMBER},
	{"sram", required_argument, NULL, OPT_NUMBER},
	{"epsilon", required_argument, NULL, OPT_EPSILON},
	{"requests", required_argument, NULL, OPT_STRING},
	{"count", required_argument, NULL, OPT_NUMBER},
	{"parallel", required_argument, NULL, OPT_NUMBER},
	{"scale", required_argument, NULL, OPT_NUMBER},
	{"scale-output", required_argument, NULL, OPT_NUMBER},
	{"max-prompt", required_argument, NULL, OPT_NUMBER},
	{"max-output", required_argument, NULL, OPT_NUMBER},
	{"step-ms", required_argument, NULL, OPT_NUMBER},
	{"dwell", required_argument, NULL, OPT_NUMBER},
	{"compute", required_argument, NULL, OPT_NUMBER},
	{"every", required_argument, NULL, OPT_NUMBER},
	{"prefixes", required_argument, NULL, OPT_NUMBER},
	{"one-pass", no_argument, NULL, OPT_ONE_PASS},
	{"check", no_argument, NULL, OPT_CHECK},
	{"apart", no_argument, NULL, OPT_APART},
	{0},
};

static const char **string_option(struct options *o, const char *name)
{
	const struct {
		const char *name;
		const char **value;
	} strings[] = {
		{"model", &o->model},	  {"prompt", &o->prompt},     {"state", &o->state},
		{"device", &o->device},	  {"logits", &o->logits},     {"trace", &o->trace},
		{"json", &o->json},	  {"groups", &o->groups},     {"mode", &o->mode},
		{"attend", &o->attend},	  {"gate", &o->gate},	      {"format", &o->format},
		{"seal-k", &o->seal_k},	  {"seal-v", &o->seal_v},     {"policy", &o->policy},
		{"against", &o->against}, {"requests", &o->requests},
	};

	for (size_t i = 0; i < sizeof(strings) / sizeof(*strings); i++)
		if (!strcmp(strings[i].name, name))
			return strings[i].value;
	return NULL;
}

static int parse_number(const char *name, const char *text, uint32_t min, uint32_t max, uint32_t *value)
{
	char *end;
	unsigned long long n;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno || end == text || *end || *text == '-' || n < min || n > max)
		return fail("--%s %s: a number from %u to %u is wanted", name, text, min, max);
	*value = (uint32_t)n;
	return 0;
}

static int parse_score(const char *text, float *value)
{
	char *end;

	*value = strtof(text, &end);
	if (end == text || *end || !isfinite(*value) || *value < 0)
		return fail("--t-sink %s: a finite number that is not negative is wanted", text);
	return 0;
}

static int parse_epsilon(const char *text, float *value)
{
	char *end;

	*value = strtof(text, &end);
	if (end == text || *end || !(*value > 0) || !(*value < 1))
		return fail("--epsilon %s: a number above 0 and below 1 is wanted", text);
	return 0;
}

static const struct {
	const char *name;
	uint32_t min, max;
	size_t offset; /* in struct options */
} numbers[] = {
	{"tokens", 1, 1u << 18, offsetof(struct options, tokens)},
	{"local-window", 0, 1u << 18, offsetof(struct options, local_window)},
	{"chunk", 1, 256, offsetof(struct options, chunk)},
	{"protect", 0, 32, offsetof(struct options, protect)},
	{"draft", 1, DRAFT_MAX, offsetof(struct options, draft)},
	{"sram", 1, 1u << 31, offsetof(struct options, sram)},
	{"count", 1, 1u << 20, offsetof(struct options, count)},
	{"parallel", 1, SERVE_MAX_SPANS, offsetof(struct options, parallel)},
	{"scale", 1, 512, offsetof(struct options, scale)},
	{"scale-output", 1, 1u << 16, offsetof(struct options, scale_output)},
	{"max-prompt", 1, 1u << 18, offsetof(struct options, max_prompt)},
	{"max-output", 1, 1u << 18, offsetof(struct options, max_output)},
	{"step-ms", 1, 1u << 20, offsetof(struct options, step_ms)},
	{"dwell", 0, 1u << 16, offsetof(struct options, dwell)},
	{"compute", 0, 1000000000, offsetof(struct options, compute)},
	{"every", 1, 1u << 16, offsetof(struct options, every)},
	{"prefixes", 0, 4096, offsetof(struct options, prefixes)},
};

static int number_option(struct options *o, const char *name, const char *text)
{
	size_t i = 0;

	while (strcmp(numbers[i].name, name))
		i++;
	return parse_number(name, text, numbers[i].min, numbers[i].max,
			    (uint32_t *)((char *)o + numbers[i].offset));
}

static int parse_option(struct options *o, int option, const char *name, const char *value)
{
	uint32_t threads;

	switch (option) {
	case OPT_NUMBER:
		return number_option(o, name, value);
	case OPT_SINK:
		return parse_score(value, &o->t_sink);
	case OPT_THREADS:
		if (parse_number(name, value, 1, 256, &threads))
			return -1;
		o->threads = (int)threads;
		return 0;
	case OPT_HOLD:
		o->hold = true;
		return 0;
	case OPT_EPSILON:
		return parse_epsilon(value, &o->epsilon);
	case OPT_ONE_PASS:
		o->one_pass = true;
		return 0;
	case OPT_APART:
		o->apart = true;
		return 0;
	case OPT_CHECK:
		o->check = true;
		return 0;
	default:
		*string_option(o, name) = value;
		return 0;
	}
}

static bool is_listed(const char *list, const char *name)
{
	size_t length = strlen(name);

	for (const char *p = list; (p = strstr(p, name)); p++)
		if (p > list && p[-1] == ' ' && p[length] == ' ')
			return true;
	return false;
}

static int check_words(const struct command *c, const struct options *o, const bool *given)
{
	for (int i = 0; long_options[i].name; i++) {
		const char *name = long_options[i].name;

		if (given[i] && !is_listed(c->needs, name) && !is_listed(c->takes, name))
			return fail("--%s: %s has no such option (see kvsink-llm --help)", name, c->name);
		if (!given[i] && is_listed(c->needs, name))
			return fail("%s needs --%s: %s", c->name, name, c->help);
	}
	if (o->file_count != c->files)
		return fail("%s takes %d files, %d are given: %s", c->name, c->files, o->file_count, c->help);
	return 0;
}

/* What only gated attention has would be ignored elsewhere; --check would even find no violation. */
static int check_gated(const struct options *o, const bool *given)
{
	static const char *const gated[] = {"gate", "epsilon", "one-pass", "check"};

	if (o->attend && !strcmp(o->attend, "gated"))
		return 0;
	for (int i = 0; long_options[i].name; i++)
		for (unsigned j = 0; given[i] && j < sizeof(gated) / sizeof(*gated); j++)
			if (!strcmp(long_options[i].name, gated[j]))
				return fail("--%s: only --attend gated has it", gated[j]);
	return 0;
}

/* Options that contradict each other, and the default of --attend. */
static int check_modes(struct options *o)
{
	if (o->draft && o->hold)
		return fail("--draft %u: with --hold each step is one token", o->draft);
	if (o->draft && o->trace)
		return fail("--draft %u: --trace %s would have the rows of wrong guesses, too", o->draft,
			    o->trace);
	if (o->draft && o->attend && strcmp(o->attend, "canonical"))
		return fail("--draft %u: --attend %s depends on what is resident; canonical does not",
			    o->draft, o->attend);
	if (o->sram && !o->policy)
		return fail("--sram %u: it is what a policy may use, and there is no --policy", o->sram);
	if (o->policy && o->t_sink > 0)
		return fail("--policy %s: it places by itself, --t-sink %g is of policy 1A alone", o->policy,
			    (double)o->t_sink);
	if (!o->attend)
		o->attend = o->draft ? "canonical" : "split";
	return 0;
}

static int parse_options(const struct command *c, int argc, char **argv, struct options *o)
{
	bool given[sizeof(long_options) / sizeof(*long_options)] = {false};
	int option, index = 0;

	argv[0] = "kvsink-llm"; /* as getopt is to call this program */
	while ((option = getopt_long(argc, argv, "", long_options, &index)) != -1) {
		if (option == OPT_HELP) {
			usage(stdout);
			exit(0);
		}
		if (option == '?' || parse_option(o, option, long_options[index].name, optarg))
			return -1;
		given[index] = true;
	}
	for (; optind < argc; optind++) {
		if (o->file_count == 3)
			return fail("'%s': too many arguments", argv[optind]);
		o->files[o->file_count++] = argv[optind];
	}
	return check_words(c, o, given) || check_gated(o, given) || check_modes(o) ? -1 : 0;
}

static int run(int (*command)(const struct options *), const struct options *options)
{
	int rc = command(options);

	return !rc ? 0 : rc == REFUSED ? EXIT_REFUSED : rc == USAGE ? EXIT_USAGE : EXIT_FAILED;
}

int main(int argc, char **argv)
{
	struct options options = {.device = "drm:",
				  .local_window = 64,
				  .mode = "mean",
				  .gate = "mass",
				  .format = "f32",
				  .epsilon = 0.03f,
				  .count = UINT32_MAX,
				  .parallel = 16,
				  .scale = 32,
				  .scale_output = 8,
				  .max_prompt = 512,
				  .max_output = 64,
				  .step_ms = 100,
				  .dwell = 4,
				  .compute = 2800,
				  .every = 8,
				  .prefixes = 256};

	if (argc < 2) {
		usage(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		usage(stdout);
		return 0;
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
		if (!strcmp(argv[1], commands[i].name))
			return parse_options(&commands[i], argc - 1, argv + 1, &options)
				       ? EXIT_USAGE
				       : run(commands[i].run, &options);
	fail("'%s': no such command (see kvsink-llm --help)", argv[1]);
	return EXIT_USAGE;
}
