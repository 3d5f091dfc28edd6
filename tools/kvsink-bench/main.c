// SPDX-License-Identifier: MIT
/* kvsink-bench: options, and the loop over sizes, policies and tails. */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "fail.h"

#define MAX_LIST 32

static const char usage_text[] =
	"usage: kvsink-bench model --state FILE [options]\n"
	"Replays a recorded decode for each policy and size of SRAM; prints what was read from where.\n"
	"  --state FILE       state file of `kvsink-llm prefill`: its rows are the prompt, then the decode\n"
	"  --prompt N         tokens before decode begins (default: half of the file's)\n"
	"  --tokens N         decode steps (default: the rest)\n"
	"  --policy LIST      names separated by commas (default: all; kvsink-bench policies lists them)\n"
	"  --sram LIST        bytes of SRAM, with K or M (default 256K,512K,1M)\n"
	"  --tail LIST        none, own, half or a number of tokens a layer (default none,own)\n"
	"  --device NAME      sim:OPTIONS or drm:PATH (default sim:threads=2); sim: without sram= gets each "
	"size in turn,\n"
	"                     other devices get it as the stream's budget\n"
	"  --format fp16|f32  of the stored rows (default fp16)\n"
	"  --compute NS       modelled time between two layers, in which copies can hide (default 2800: the\n"
	"                     weights of a layer of SmolLM2-135M in FP16, read at 3,200 GB/s)\n"
	"  --seed N           of policies that draw (default 1)\n"
	"  --json[=FILE]      all figures as JSON, instead of the table or, with FILE, into that file beside "
	"it\n"
	"exit status: 0 done, 1 failed, 2 usage\n";

struct options {
	const char *state, *device, *json;
	uint32_t prompt, tokens, format;
	uint64_t compute_ns, seed;
	const char *policy[MAX_LIST];
	unsigned policies;
	uint32_t sram[MAX_LIST];
	unsigned srams;
	int32_t tail[MAX_LIST];
	unsigned tails;
	bool as_json;
};

static int bad(const char *option, const char *value, const char *allowed)
{
	fail("%s %s: %s", option, value, allowed);
	return EXIT_USAGE;
}

/* A whole number up to `max`, with K or M if `units`; false if it is none. */
static bool number(const char *text, uint64_t min, uint64_t max, bool units, uint64_t *value)
{
	char *end;
	unsigned shift = 0;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	*value = strtoull(text, &end, 10);
	if (units && (*end == 'K' || *end == 'M'))
		shift = *end++ == 'K' ? 10 : 20;
	if (errno || *end || *value > max >> shift)
		return false;
	*value <<= shift;
	return *value >= min;
}

/* ---- lists ---- */

static const char *known_policy(const char *name)
{
	for (unsigned i = 0; i < kvs_policy_count(); i++)
		if (!strcmp(kvs_policy_name(i), name))
			return kvs_policy_name(i);
	return NULL;
}

static int add_policy(struct options *o, const char *word)
{
	const char *name = known_policy(word);

	if (!name || o->policies == MAX_LIST)
		return bad("--policy", word,
			   name ? "too many" : "no such policy; `kvsink-bench policies` lists them");
	o->policy[o->policies++] = name;
	return 0;
}

static int add_sram(struct options *o, const char *word)
{
	uint64_t bytes;

	if (!number(word, 64 << 10, 256 << 20, true, &bytes) || bytes % KVSINK_SRAM_UNIT ||
	    o->srams == MAX_LIST)
		return bad("--sram", word, "64K to 256M, multiples of 256, at most 32 of them");
	o->sram[o->srams++] = (uint32_t)bytes;
	return 0;
}

static int add_tail(struct options *o, const char *word)
{
	uint64_t tokens = 0;
	bool named = !strcmp(word, "none") || !strcmp(word, "own") || !strcmp(word, "half");

	if ((!named && !number(word, 1, KVSINK_MAX_TAIL_TOKENS, false, &tokens)) || o->tails == MAX_LIST)
		return bad("--tail", word, "none, own, half or 1 to 4096 tokens, at most 32 of them");
	o->tail[o->tails++] = !strcmp(word, "own")    ? KVS_TAIL_OWN
			      : !strcmp(word, "half") ? KVS_TAIL_HALF
						      : (int32_t)tokens;
	return 0;
}

static int each(struct options *o, const char *list, int (*add)(struct options *o, const char *word))
{
	char *copy = strdup(list), *rest = copy, *word;
	int rc = copy ? 0 : EXIT_FAILED;

	while (!rc && (word = strsep(&rest, ",")))
		rc = add(o, word);
	free(copy);
	return rc;
}

/* ---- options ---- */

enum {
	OPT_STATE = 1,
	OPT_PROMPT,
	OPT_TOKENS,
	OPT_POLICY,
	OPT_SRAM,
	OPT_TAIL,
	OPT_DEVICE,
	OPT_FORMAT,
	OPT_COMPUTE,
	OPT_SEED,
	OPT_JSON,
	OPT_HELP
};

static const struct option long_options[] = {
	{"state", required_argument, NULL, OPT_STATE},
	{"prompt", required_argument, NULL, OPT_PROMPT},
	{"tokens", required_argument, NULL, OPT_TOKENS},
	{"policy", required_argument, NULL, OPT_POLICY},
	{"sram", required_argument, NULL, OPT_SRAM},
	{"tail", required_argument, NULL, OPT_TAIL},
	{"device", required_argument, NULL, OPT_DEVICE},
	{"format", required_argument, NULL, OPT_FORMAT},
	{"compute", required_argument, NULL, OPT_COMPUTE},
	{"seed", required_argument, NULL, OPT_SEED},
	{"json", optional_argument, NULL, OPT_JSON},
	{"help", no_argument, NULL, OPT_HELP},
	{0},
};

static int number_option(const char *name, uint64_t min, uint64_t max, uint64_t *value)
{
	char allowed[64];

	if (number(optarg, min, max, false, value))
		return 0;
	snprintf(allowed, sizeof(allowed), "%llu to %llu is allowed", (unsigned long long)min,
		 (unsigned long long)max);
	return bad(name, optarg, allowed);
}

static int format_option(struct options *o)
{
	if (strcmp(optarg, "fp16") && strcmp(optarg, "f32"))
		return bad("--format", optarg, "fp16 and f32 are known");
	o->format = strcmp(optarg, "f32") ? KVSINK_FORMAT_FP16 : KVSINK_FORMAT_F32;
	return 0;
}

static int one_option(struct options *o, int option)
{
	uint64_t value = 0;
	int rc = 0;

	switch (option) {
	case OPT_STATE:
		o->state = optarg;
		return 0;
	case OPT_DEVICE:
		o->device = optarg;
		return 0;
	case OPT_JSON:
		o->as_json = true;
		o->json = optarg;
		return 0;
	case OPT_PROMPT:
		rc = number_option("--prompt", 1, STATE_MAX_TOKENS, &value);
		o->prompt = (uint32_t)value;
		return rc;
	case OPT_TOKENS:
		rc = number_option("--tokens", 1, STATE_MAX_TOKENS, &value);
		o->tokens = (uint32_t)value;
		return rc;
	case OPT_COMPUTE:
		return number_option("--compute", 0, 1000000000, &o->compute_ns);
	case OPT_SEED:
		return number_option("--seed", 0, UINT64_MAX, &o->seed);
	case OPT_POLICY:
		return each(o, optarg, add_policy);
	case OPT_SRAM:
		return each(o, optarg, add_sram);
	case OPT_TAIL:
		return each(o, optarg, add_tail);
	case OPT_FORMAT:
		return format_option(o);
	case OPT_HELP:
		fputs(usage_text, stdout);
		exit(0);
	}
	fputs("kvsink-bench --help tells the options\n", stderr);
	return EXIT_USAGE;
}

static int read_options(struct options *o, int argc, char **argv)
{
	int option, rc = 0;

	*o = (struct options){
		.device = "sim:threads=2", .format = KVSINK_FORMAT_FP16, .compute_ns = 2800, .seed = 1};
	while (!rc && (option = getopt_long(argc, argv, "", long_options, NULL)) != -1)
		rc = one_option(o, option);
	if (!rc && optind < argc)
		rc = bad("argument", argv[optind], "not expected");
	if (!rc && !o->state)
		rc = bad("--state", "", "is needed");
	if (!rc && !o->srams)
		rc = each(o, "256K,512K,1M", add_sram);
	if (!rc && !o->tails)
		rc = each(o, "none,own", add_tail);
	for (unsigned i = 0; !rc && !o->policies && i < kvs_policy_count(); i++)
		o->policy[i] = kvs_policy_name(i);
	if (!rc && !o->policies)
		o->policies = kvs_policy_count();
	return rc;
}

/* ---- runs ---- */

struct bench {
	const struct options *o;
	struct bench_plan plan;
	struct bench_run *runs;
	unsigned count;
};

static int open_device(const struct options *o, uint32_t sram, struct kvs_device **device)
{
	char name[256];
	bool own_size = !strncmp(o->device, "sim:", 4) && !strstr(o->device, "sram=");

	snprintf(name, sizeof(name), "%s%s%s", o->device, own_size && o->device[4] ? "," : "",
		 own_size ? "sram=" : "");
	if (own_size)
		snprintf(name + strlen(name), sizeof(name) - strlen(name), "%uK", sram >> 10);
	return kvs_open(name, device) ? fail("--device %s: %s", name, kvs_open_error()) : 0;
}

static bool done_already(const struct bench *b, const struct bench_run *run)
{
	for (unsigned i = 0; i < b->count; i++)
		if (b->runs[i].policy == run->policy && b->runs[i].sram_bytes == run->sram_bytes &&
		    b->runs[i].tail == run->tail)
			return true;
	return false;
}

/* `own` of a policy without a tail of its own is half of the SRAM, if it takes a tail, else none. */
static int one_run(struct bench *b, struct kvs_device *device, const char *policy, uint32_t sram,
		   int32_t tail)
{
	struct bench_run *run = &b->runs[b->count];
	int rc;

	*run = (struct bench_run){.policy = policy, .sram_bytes = sram, .tail = tail};
	if (tail >= 0 && done_already(b, run))
		return 0;
	rc = bench_replay(device, &b->plan, run);
	if (rc == 1)
		return one_run(b, device, policy, sram, tail == KVS_TAIL_OWN ? KVS_TAIL_HALF : 0);
	if (rc < 0)
		return rc;
	if (done_already(b, run))
		return 0;
	b->count++;
	say("%s, %u KiB, tail %d: %.2f %% of the attention mass from SRAM", policy, sram >> 10, run->tail,
	    100 * bench_mass(run));
	return 0;
}

static int run_size(struct bench *b, uint32_t sram)
{
	struct kvs_device *device = NULL;
	int rc = open_device(b->o, sram, &device);

	for (unsigned p = 0; p < b->o->policies && !rc; p++) {
		if (!strcmp(b->o->policy[p], "hindsight") && !b->plan.pins)
			rc = bench_pins(device, &b->plan);
		for (unsigned t = 0; t < b->o->tails && !rc; t++)
			rc = one_run(b, device, b->o->policy[p], sram, b->o->tail[t]);
	}
	kvs_close(device);
	return rc;
}

static int make_plan(struct bench *b, const struct state *state)
{
	const struct options *o = b->o;
	uint32_t prompt = o->prompt ? o->prompt : state->rows / 2;
	uint32_t steps = o->tokens ? o->tokens : state->rows > prompt ? state->rows - prompt : 0;

	if (!steps || !prompt || (uint64_t)prompt + steps > state->rows)
		return fail("%s: %u tokens of prompt and %u steps, the file has %u rows", o->state, prompt,
			    steps, state->rows);
	b->plan = (struct bench_plan){
		.state = state,
		.prompt = prompt,
		.steps = steps,
		.format = o->format,
		.compute_ns = o->compute_ns,
		.seed = o->seed,
	};
	b->runs = calloc((size_t)o->policies * o->srams * o->tails + 1, sizeof(*b->runs));
	return b->runs ? 0 : fail("out of memory for the results");
}

static int run_model(const struct options *o)
{
	struct bench b = {.o = o};
	struct state state = {0};
	int rc = state_open(&state, o->state, NULL);

	if (!rc && !(state.header.flags & STATE_PLAIN))
		rc = fail("%s: its model's attention has more than q.k / sqrt(d_k): a replay knows only that",
			  o->state);
	if (!rc)
		rc = make_plan(&b, &state);
	if (!rc)
		rc = state_load_all(&state);
	for (unsigned s = 0; s < o->srams && !rc; s++)
		rc = run_size(&b, o->sram[s]);
	if (!rc && o->as_json)
		rc = bench_json(&b.plan, b.runs, b.count, o->json);
	if (!rc && (!o->as_json || o->json))
		rc = bench_table(&b.plan, b.runs, b.count);
	free(b.plan.pins);
	free(b.runs);
	state_close(&state);
	return rc ? EXIT_FAILED : 0;
}

static int list_policies(void)
{
	for (unsigned i = 0; i < kvs_policy_count(); i++)
		printf("%-14s %s\n", kvs_policy_name(i), kvs_policy_about(i));
	return 0;
}

int main(int argc, char **argv)
{
	struct options o;
	int rc;

	if (argc == 2 && !strcmp(argv[1], "policies"))
		return list_policies();
	if (argc == 2 && !strcmp(argv[1], "--help")) {
		fputs(usage_text, stdout);
		return 0;
	}
	if (argc < 2 || strcmp(argv[1], "model")) {
		fprintf(stderr, "kvsink-bench: %s: model and policies are the commands; --help tells more\n",
			argc < 2 ? "no command" : argv[1]);
		return EXIT_USAGE;
	}
	rc = read_options(&o, argc - 1, argv + 1);
	return rc ? rc : run_model(&o);
}
