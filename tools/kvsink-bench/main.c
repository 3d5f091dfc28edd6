// SPDX-License-Identifier: MIT
/* kvsink-bench: options, and the loop over sizes, policies and tails. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "fail.h"
#include "micro.h"
#include "serve.h"
#include "share.h"

#define MAX_LIST 32

static const char usage_text[] =
	"usage: kvsink-bench model --state FILE [options]\n"
	"       kvsink-bench micro [options]\n"
	"       kvsink-bench serve --model FILE --requests TRACE --prompt FILE [options]\n"
	"       kvsink-bench share [options]\n"
	"       kvsink-bench policies     lists the placement policies and what each does\n"
	"model replays a recorded decode for each policy and size of SRAM; prints what was read from where.\n"
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
	"  --due NS           modelled time in which the copies of a step's promotions shall end; 0: they "
	"begin at\n"
	"                     once (default: --compute for each layer, as long as the next step computes)\n"
	"  --seed N           of policies that draw (default 1)\n"
	"  --json[=FILE]      all figures as JSON, instead of the table or, with FILE, into that file beside "
	"it\n"
	"micro times the datapath through sim: and prints ratios, against this machine's limits among "
	"others.\n"
	"  --threads N        1 to 16 (default 2)\n"
	"  --bytes N          of K and V in FP16, with K or M, 4M to 1024M (default 64M): more than the "
	"caches "
	"hold\n"
	"  --rounds N         that times are taken in turn, 1 to 99 (default 15); ratios are medians\n"
	"  --json[=FILE]      as above\n"
	"serve serves a trace of requests once for each policy; serve --help has its options.\n"
	"share lets up to 10,000 streams begin with one prefix; share --help has its options.\n"
	"exit status: 0 done, 1 failed, 2 usage\n";

struct options {
	const char *state, *device, *json;
	uint32_t prompt, tokens, format;
	uint64_t compute_ns, due_ns, seed;
	bool due_given;
	const char *policy[MAX_LIST];
	unsigned policies;
	uint32_t sram[MAX_LIST];
	unsigned srams;
	int32_t tail[MAX_LIST];
	unsigned tails;
	uint64_t threads, bytes, rounds; /* micro */
	bool as_json, help;
};

static int bad(const char *option, const char *value, const char *allowed)
{
	fail("%s%s%s: %s", option, *value ? " " : "", value, allowed);
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

static int number_option(const char *name, const char *text, uint64_t min, uint64_t max, uint64_t *value)
{
	char allowed[64];

	if (number(text, min, max, false, value))
		return 0;
	snprintf(allowed, sizeof(allowed), "%llu to %llu is allowed", (unsigned long long)min,
		 (unsigned long long)max);
	return bad(name, text, allowed);
}

static int set_tokens(const char *name, const char *text, uint32_t *tokens)
{
	uint64_t value = 0;
	int rc = number_option(name, text, 1, STATE_MAX_TOKENS, &value);

	*tokens = (uint32_t)value;
	return rc;
}

static int set_state(struct options *o, const char *text)
{
	o->state = text;
	return 0;
}

static int set_prompt(struct options *o, const char *text)
{
	return set_tokens("--prompt", text, &o->prompt);
}

static int set_steps(struct options *o, const char *text)
{
	return set_tokens("--tokens", text, &o->tokens);
}

static int set_policies(struct options *o, const char *text)
{
	return each(o, text, add_policy);
}

static int set_srams(struct options *o, const char *text)
{
	return each(o, text, add_sram);
}

static int set_tails(struct options *o, const char *text)
{
	return each(o, text, add_tail);
}

static int set_device(struct options *o, const char *text)
{
	o->device = text;
	return 0;
}

static int set_format(struct options *o, const char *text)
{
	if (strcmp(text, "fp16") && strcmp(text, "f32"))
		return bad("--format", text, "fp16 and f32 are known");
	o->format = strcmp(text, "f32") ? KVSINK_FORMAT_FP16 : KVSINK_FORMAT_F32;
	return 0;
}

static int set_compute(struct options *o, const char *text)
{
	return number_option("--compute", text, 0, 1000000000, &o->compute_ns);
}

static int set_due(struct options *o, const char *text)
{
	o->due_given = true;
	return number_option("--due", text, 0, UINT32_MAX, &o->due_ns);
}

static int set_seed(struct options *o, const char *text)
{
	return number_option("--seed", text, 0, UINT64_MAX, &o->seed);
}

static int set_threads(struct options *o, const char *text)
{
	return number_option("--threads", text, 1, MACHINE_MAX_THREADS, &o->threads);
}

static int set_bytes(struct options *o, const char *text)
{
	return number(text, 4 << 20, 1024 << 20, true, &o->bytes)
		       ? 0
		       : bad("--bytes", text, "4M to 1024M is allowed");
}

static int set_rounds(struct options *o, const char *text)
{
	return number_option("--rounds", text, 1, 99, &o->rounds);
}

static int set_json(struct options *o, const char *text)
{
	o->as_json = true;
	o->json = text;
	return 0;
}

static int set_help(struct options *o, const char *text)
{
	(void)text;
	o->help = true;
	return 0;
}

enum value { NONE, MAY, MUST };
enum { MODEL = 1, MICRO = 2 };

static const struct {
	const char *name;
	enum value value;
	unsigned commands; /* that it belongs to */
	int (*set)(struct options *o, const char *text);
} known_options[] = {
	{"--state", MUST, MODEL, set_state},	  {"--prompt", MUST, MODEL, set_prompt},
	{"--tokens", MUST, MODEL, set_steps},	  {"--policy", MUST, MODEL, set_policies},
	{"--sram", MUST, MODEL, set_srams},	  {"--tail", MUST, MODEL, set_tails},
	{"--device", MUST, MODEL, set_device},	  {"--format", MUST, MODEL, set_format},
	{"--compute", MUST, MODEL, set_compute},  {"--due", MUST, MODEL, set_due},
	{"--seed", MUST, MODEL, set_seed},	  {"--threads", MUST, MICRO, set_threads},
	{"--bytes", MUST, MICRO, set_bytes},	  {"--rounds", MUST, MICRO, set_rounds},
	{"--json", MAY, MODEL | MICRO, set_json}, {"--help", NONE, MODEL | MICRO, set_help},
};

#define OPTIONS (sizeof(known_options) / sizeof(known_options[0]))

/* One option and its value, by its whole name: what is abbreviated today may be ambiguous tomorrow. */
static int read_option(struct options *o, unsigned command, char **argv, int argc, int *at)
{
	const char *word = argv[*at], *equals = strchr(word, '=');
	size_t length = equals ? (size_t)(equals - word) : strlen(word), i = 0;
	const char *text = equals ? equals + 1 : NULL;

	if (strncmp(word, "--", 2))
		return bad("argument", word, "not expected");
	while (i < OPTIONS &&
	       (!(known_options[i].commands & command) || strlen(known_options[i].name) != length ||
		strncmp(known_options[i].name, word, length)))
		i++;
	if (i == OPTIONS)
		return bad("option", word, "there is none of this name; --help lists them");
	if (text && known_options[i].value == NONE)
		return bad("option", word, "takes no value");
	if (!text && known_options[i].value == MUST) {
		if (*at + 1 == argc)
			return bad("option", word, "needs a value");
		text = argv[++*at];
	}
	return known_options[i].set(o, text);
}

static int set_defaults(struct options *o)
{
	int rc = o->srams ? 0 : each(o, "256K,512K,1M", add_sram);

	if (!rc && !o->tails)
		rc = each(o, "none,own", add_tail);
	for (unsigned i = 0; !rc && !o->policies && i < kvs_policy_count(); i++)
		o->policy[i] = kvs_policy_name(i);
	if (!rc && !o->policies)
		o->policies = kvs_policy_count();
	return rc;
}

static int read_options(struct options *o, unsigned command, int argc, char **argv)
{
	int rc = 0;

	*o = (struct options){
		.device = "sim:threads=2",
		.format = KVSINK_FORMAT_FP16,
		.compute_ns = 2800,
		.seed = 1,
		.threads = 2,
		.bytes = 64 << 20,
		.rounds = 15,
	};
	for (int i = 0; i < argc && !rc; i++)
		rc = read_option(o, command, argv, argc, &i);
	if (rc || o->help || command != MODEL)
		return rc;
	return o->state ? set_defaults(o) : bad("--state", "", "is needed");
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
		snprintf(name + strlen(name), sizeof(name) - strlen(name), "%u", sram);
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
	say("%s, %g KiB, tail %d: %.2f %% of the attention mass from SRAM", policy, sram / 1024.0, run->tail,
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

/* Copies may take as long as the next step computes. */
static uint32_t due_of(const struct options *o, const struct geometry *g)
{
	uint64_t step_ns = o->compute_ns * g->layers;

	if (o->due_given)
		return (uint32_t)o->due_ns;
	return step_ns < UINT32_MAX ? (uint32_t)step_ns : UINT32_MAX;
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
		.due_ns = due_of(o, &state->geometry),
		.seed = o->seed,
	};
	b->runs = calloc((size_t)o->policies * o->srams * o->tails + 1, sizeof(*b->runs));
	return b->runs ? 0 : fail("out of memory for the results");
}

/* ---- before the first run: it may take hours, and what cannot work is known now ---- */

/* Nothing is lost of a file that is there. */
static int check_output(const struct options *o)
{
	FILE *file = o->json ? fopen(o->json, "a") : NULL;

	if (o->json && !file)
		return fail("--json=%s: %s", o->json, strerror(errno));
	if (file)
		fclose(file);
	return 0;
}

/* Every tail that is a number of tokens must fit into every size. */
static int check_tails(const struct bench *b, uint32_t sram)
{
	const struct geometry *g = &b->plan.state->geometry;
	uint64_t token =
		(uint64_t)g->layers * g->kv_heads * kvsink_row_bytes(0, g->d_k, g->d_v, b->plan.format);

	for (unsigned t = 0; t < b->o->tails; t++)
		if (b->o->tail[t] > 0 && b->o->tail[t] * token > sram)
			return fail("--tail %d: %llu bytes of rows; %llu tokens fit into --sram %u",
				    b->o->tail[t], (unsigned long long)(b->o->tail[t] * token),
				    (unsigned long long)(sram / token), sram);
	return 0;
}

static int check_sizes(const struct bench *b)
{
	for (unsigned s = 0; s < b->o->srams; s++) {
		struct drm_kvsink_dev_info info = {0};
		struct kvs_device *device = NULL;
		uint32_t sram = b->o->sram[s];
		int rc = open_device(b->o, sram, &device);

		if (!rc && kvs_device_info(device, &info))
			rc = fail("--device %s: %s", b->o->device, kvs_device_error(device));
		if (!rc && sram > info.sram_bytes)
			rc = fail("--sram %u: %s has %llu bytes", sram, kvs_device_name(device),
				  (unsigned long long)info.sram_bytes);
		kvs_close(device);
		rc = rc ? rc : check_tails(b, sram);
		if (rc)
			return rc;
	}
	return 0;
}

/* ---- commands ---- */

static int report(const struct bench *b)
{
	const struct options *o = b->o;
	int rc = o->as_json ? bench_json(&b->plan, b->runs, b->count, o->json) : 0;

	if (!o->as_json || o->json)
		rc = bench_table(&b->plan, b->runs, b->count) ? -1 : rc;
	return rc;
}

static int run_model(const struct options *o)
{
	struct bench b = {.o = o};
	struct state state = {0};
	int rc = state_open(&state, o->state, NULL);

	if (!rc && !(state.header.flags & STATE_PLAIN))
		rc = fail("%s: its model's attention has more than q.k / sqrt(d_k): a replay knows only that",
			  o->state);
	rc = rc ? rc : make_plan(&b, &state);
	rc = rc ? rc : check_output(o);
	rc = rc ? rc : check_sizes(&b);
	rc = rc ? rc : state_load_all(&state);
	for (unsigned s = 0; s < o->srams && !rc; s++)
		rc = run_size(&b, o->sram[s]);
	if (!rc || b.count) /* what was measured before a failure is true */
		rc = report(&b) ? -1 : rc;
	free(b.plan.pins);
	free(b.runs);
	state_close(&state);
	return rc ? EXIT_FAILED : 0;
}

static void list_policies(void)
{
	for (unsigned i = 0; i < kvs_policy_count(); i++)
		printf("%-14s %s\n", kvs_policy_name(i), kvs_policy_about(i));
}

static int model(int argc, char **argv)
{
	struct options o;
	int rc = read_options(&o, MODEL, argc, argv);

	if (!rc && o.help)
		fputs(usage_text, stdout);
	return rc || o.help ? rc : run_model(&o);
}

static int micro(int argc, char **argv)
{
	struct micro_options micro;
	struct options o;
	int rc = read_options(&o, MICRO, argc, argv);

	if (!rc && o.help)
		fputs(usage_text, stdout);
	if (rc || o.help)
		return rc;
	micro = (struct micro_options){
		.threads = (unsigned)o.threads,
		.bytes = o.bytes,
		.rounds = (unsigned)o.rounds,
		.as_json = o.as_json,
		.json = o.json,
	};
	return check_output(&o) || micro_run(&micro) ? EXIT_FAILED : 0;
}

static int command(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "no command";

	if (!strcmp(name, "model"))
		return model(argc - 2, argv + 2);
	if (!strcmp(name, "micro"))
		return micro(argc - 2, argv + 2);
	if (!strcmp(name, "serve"))
		return serve_command(argc - 2, argv + 2);
	if (!strcmp(name, "share"))
		return share_command(argc - 2, argv + 2);
	if (strcmp(name, "policies") && strcmp(name, "--help"))
		return bad(name, "", "model, micro, serve, share, policies and --help are known");
	if (argc > 2)
		return bad("argument", argv[2], "not expected");
	if (!strcmp(name, "policies"))
		list_policies();
	else
		fputs(usage_text, stdout);
	return 0;
}

/* A file that is opened must not become standard output. */
int main(int argc, char **argv)
{
	int rc;

	if (fcntl(STDOUT_FILENO, F_GETFD) < 0) {
		fail("standard output: %s", strerror(errno));
		return EXIT_FAILED;
	}
	rc = command(argc, argv);
	if ((fflush(stdout) || ferror(stdout)) && !rc) {
		fail("standard output: %s", strerror(errno));
		rc = EXIT_FAILED;
	}
	return rc;
}
