// SPDX-License-Identifier: MIT
/*
 * Runs of kvsink-llm serve and their table; see serve.h. Options that are not its own go to kvsink-llm as
 * they are, and kvsink-llm judges them. Each run leaves a document in a temporary file.
 */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <kvsink_policy.h>
#include <libsmartcols.h>
#include <limits.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fail.h"
#include "json.h"
#include "serve.h"

#define MAX_RUNS 16
#define MAX_WORDS 64
#define PAGING "uniform"
#define LRU "lru"
#define COMPARED "uniform,lru,streamingllm,h2o,1a,1b,1c"

extern char **environ;

static const char usage_text[] =
	"usage: kvsink-bench serve --model FILE --requests TRACE --prompt FILE [options]\n"
	"runs `kvsink-llm serve` on one trace once for each policy; prints what was read from where, and "
	"ratios\n"
	"to paging without SRAM (uniform) and LRU of the same run.\n"
	"  --policy LIST    names separated by commas (default " COMPARED "); uniform always runs, first\n"
	"  --json[=FILE]    all documents and ratios as JSON, instead of the table or, with FILE, beside it\n"
	"  others           as kvsink-llm serve takes them (kvsink-llm --help), but --device is sim: by "
	"default\n"
	"exit status: 0 done, 1 failed, 2 usage, 3 the model was refused\n";

struct serve_bench {
	const char *policy[MAX_RUNS];
	struct json_object *run[MAX_RUNS]; /* the document of each */
	unsigned count;			   /* of policies */
	unsigned done;			   /* of them, runs that are over */
	char *word[MAX_WORDS];		   /* for kvsink-llm */
	unsigned words;
	bool as_json, help, device;
	const char *json;
	char program[PATH_MAX];
};

static int bad(const char *option, const char *value, const char *why)
{
	fail("%s %s: %s", option, value, why);
	return EXIT_USAGE;
}

/* ---- options ---- */

static int add_policy(struct serve_bench *b, const char *name)
{
	for (unsigned i = 0; i < b->count; i++)
		if (!strcmp(b->policy[i], name))
			return 0;
	for (unsigned i = 0; i < kvs_policy_count(); i++)
		if (!strcmp(kvs_policy_name(i), name) && b->count < MAX_RUNS) {
			b->policy[b->count++] = kvs_policy_name(i);
			return 0;
		}
	return bad("--policy", name, "no such policy; `kvsink-bench policies` lists them");
}

static int add_policies(struct serve_bench *b, const char *list)
{
	char *copy = strdup(list), *rest = copy, *word;
	int rc = copy ? 0 : EXIT_FAILED;

	while (!rc && (word = strsep(&rest, ",")))
		rc = add_policy(b, word);
	free(copy);
	return rc;
}

static int pass_on(struct serve_bench *b, char *word)
{
	if (b->words + 8 > MAX_WORDS)
		return bad("argument", word, "too many");
	b->device |= !strncmp(word, "--device", 8);
	b->word[b->words++] = word;
	return 0;
}

static int read_word(struct serve_bench *b, int argc, char **argv, int *at)
{
	char *word = argv[*at];

	if (!strcmp(word, "--help"))
		b->help = true;
	else if (!strcmp(word, "--json"))
		b->as_json = true;
	else if (!strncmp(word, "--json=", 7))
		b->json = word + 7;
	else if (!strncmp(word, "--policy=", 9))
		return add_policies(b, word + 9);
	else if (!strcmp(word, "--policy"))
		return ++*at < argc ? add_policies(b, argv[*at]) : bad("option", word, "needs a value");
	else
		return pass_on(b, word);
	return 0;
}

static int read_words(struct serve_bench *b, int argc, char **argv)
{
	int rc = add_policy(b, PAGING);

	for (int i = 0; i < argc && !rc; i++)
		rc = read_word(b, argc, argv, &i);
	if (!rc && b->count == 1)
		rc = add_policies(b, COMPARED);
	return rc;
}

/* ---- one run ---- */

/* kvsink-llm lies beside this program. */
static int find_program(struct serve_bench *b)
{
	ssize_t n = readlink("/proc/self/exe", b->program, sizeof(b->program) - 16);
	char *slash;

	b->program[n > 0 ? n : 0] = 0;
	slash = strrchr(b->program, '/');
	if (!slash)
		return fail("cannot find the folder of this program");
	strcpy(slash + 1, "kvsink-llm");
	return access(b->program, X_OK) ? fail("%s: %s", b->program, strerror(errno)) : 0;
}

/* 0, or the exit status with which kvsink-llm has ended, its line printed. */
static int spawn(const struct serve_bench *b, char *const *argv)
{
	posix_spawn_file_actions_t actions;
	int status = 0, rc;
	pid_t child;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
	rc = posix_spawn(&child, b->program, &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (rc) {
		fail("%s: %s", b->program, strerror(rc));
		return EXIT_FAILED;
	}
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	fail("%s was ended by signal %d", b->program, WTERMSIG(status));
	return EXIT_FAILED;
}

static int run_policy(struct serve_bench *b, unsigned i, char *path)
{
	char *argv[MAX_WORDS + 8] = {b->program, "serve"};
	unsigned n = 2;
	int rc;

	for (unsigned w = 0; w < b->words; w++)
		argv[n++] = b->word[w];
	if (!b->device) {
		argv[n++] = "--device";
		argv[n++] = "sim:";
	}
	argv[n++] = "--policy";
	argv[n++] = (char *)b->policy[i];
	argv[n++] = "--json";
	argv[n++] = path;
	say("policy %s", b->policy[i]);
	rc = spawn(b, argv);
	if (rc)
		return rc;
	b->run[i] = json_object_from_file(path);
	if (b->run[i]) {
		b->done++;
		return 0;
	}
	fail("%s: no document in it", path);
	return EXIT_FAILED;
}

static int run_all(struct serve_bench *b)
{
	const char *folder = getenv("TMPDIR");
	char path[PATH_MAX];
	int fd, rc = 0;

	snprintf(path, sizeof(path), "%s/kvsink-bench-XXXXXX", folder ? folder : "/tmp");
	fd = mkstemp(path);
	if (fd < 0) {
		fail("%s: %s", path, strerror(errno));
		return EXIT_FAILED;
	}
	close(fd);
	for (unsigned i = 0; i < b->count && !rc; i++)
		rc = run_policy(b, i, path);
	unlink(path);
	return rc;
}

/* ---- figures ---- */

static double value(struct json_object *o, const char *key)
{
	return json_object_get_double(json_object_object_get(o, key));
}

/* The run of a policy, NULL if it is not among them. */
static struct json_object *run_of(const struct serve_bench *b, const char *policy)
{
	for (unsigned i = 0; i < b->done; i++)
		if (!strcmp(b->policy[i], policy))
			return b->run[i];
	return NULL;
}

static double over(struct json_object *run, struct json_object *other, const char *key)
{
	return other && value(other, key) > 0 ? value(run, key) / value(other, key) : 0;
}

/* Mean of the samples' SRAM, of the device's. */
static double occupancy(struct json_object *run)
{
	struct json_object *series = json_object_object_get(run, "series");
	size_t n = json_object_array_length(series);
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += value(json_object_array_get_idx(series, i), "sram_bytes");
	return n ? sum / (double)n / value(run, "sram_bytes") : 0;
}

/* Requests whose tokens are those of the first run. */
static unsigned same_tokens(const struct serve_bench *b, struct json_object *run)
{
	struct json_object *mine = json_object_object_get(run, "streams"),
			   *first = json_object_object_get(b->run[0], "streams");
	size_t n = json_object_array_length(mine);
	unsigned same = 0;

	for (size_t i = 0; i < n; i++)
		same += json_object_equal(
			json_object_object_get(json_object_array_get_idx(mine, i), "tokens"),
			json_object_object_get(json_object_array_get_idx(first, i), "tokens"));
	return same;
}

/* ---- output ---- */

static const char *const headings[] = {
	"POLICY",    "MASS %", "HIT %",	    "HBM KB/TOKEN", "BUS KB/TOKEN", "OF PAGING", "OF LRU", "us/TOKEN",
	"OF PAGING", "SHARED", "PREFILLED", "PROMOTED",	    "IN COMMON",    "SPARED",	 "ASKED",  "KEPT",
	"BROKEN",    "SRAM %", "PREEMPTED", "SWAPPED KB",   "STEPS",	    "DONE",	 "SAME",
};

static void cell(struct libscols_line *line, size_t *column, const char *format, double v)
{
	char text[64];

	snprintf(text, sizeof(text), format, v);
	scols_line_set_data(line, (*column)++, text);
}

static void fill(struct libscols_line *line, const struct serve_bench *b, unsigned i)
{
	struct json_object *r = b->run[i], *paging = b->run[0], *lru = run_of(b, LRU);
	size_t c = 1;

	scols_line_set_data(line, 0, b->policy[i]);
	cell(line, &c, "%.2f", 100 * value(r, "mass_sram"));
	cell(line, &c, "%.3f", 100 * value(r, "hit_rate"));
	cell(line, &c, "%.1f", value(r, "kv_hbm_bytes_per_token") / 1000);
	cell(line, &c, "%.1f", value(r, "kv_hbm_bus_bytes_per_token") / 1000);
	cell(line, &c, "%.4f", over(r, paging, "kv_hbm_bytes_per_token"));
	cell(line, &c, lru ? "%.4f" : "-", over(r, lru, "kv_hbm_bytes_per_token"));
	cell(line, &c, "%.2f", value(r, "modelled_ns_per_token") / 1000);
	cell(line, &c, "%.4f", over(r, paging, "modelled_ns_per_token"));
	cell(line, &c, "%.0f", value(r, "shared_tokens"));
	cell(line, &c, "%.0f", value(r, "prefilled_tokens"));
	cell(line, &c, "%.0f", value(r, "promotions"));
	cell(line, &c, "%.0f", value(r, "promotions_shared"));
	cell(line, &c, "%.0f", value(r, "promotions_spared"));
	cell(line, &c, "%.0f", value(r, "contracts_asked"));
	cell(line, &c, "%.0f", value(r, "contracts_kept"));
	cell(line, &c, "%.0f", value(r, "contracts_broken"));
	cell(line, &c, "%.1f", 100 * occupancy(r));
	cell(line, &c, "%.0f", value(r, "preemptions"));
	cell(line, &c, "%.0f", value(r, "swap_out_bytes") / 1000);
	cell(line, &c, "%.0f", value(r, "steps"));
	cell(line, &c, "%.0f", value(r, "requests_done"));
	cell(line, &c, "%.0f", same_tokens(b, r));
}

static int table(const struct serve_bench *b)
{
	struct json_object *r = b->run[0];
	struct libscols_table *t = scols_new_table();

	if (!t)
		return fail("out of memory for a table");
	printf("%s on %s: %.0f requests, %.0f tokens of prompts, %.0f generated, at most %.0f at once\n",
	       json_object_get_string(json_object_object_get(r, "model")),
	       json_object_get_string(json_object_object_get(r, "device")), value(r, "requests"),
	       value(r, "prompt_tokens"), value(r, "generated_tokens"), value(r, "most_running"));
	for (size_t c = 0; c < sizeof(headings) / sizeof(*headings); c++)
		scols_table_new_column(t, headings[c], 0, c ? SCOLS_FL_RIGHT : 0);
	for (unsigned i = 0; i < b->done; i++)
		fill(scols_table_new_line(t, NULL), b, i);
	scols_print_table(t);
	scols_unref_table(t);
	puts("MASS: attention served from SRAM; HIT: bytes served from SRAM; per token: K and V that a token "
	     "of "
	     "decode reads; us: modelled\n"
	     "SHARED, PREFILLED: tokens of prompts in prefixes, and computed; IN COMMON: entries of prefixes "
	     "that "
	     "other "
	     "requests found; SPARED: their promotions");
	return 0;
}

static struct json_object *ratios_json(const struct serve_bench *b, unsigned i)
{
	static const char *const keys[] = {"kv_hbm_bytes_per_token", "kv_hbm_bus_bytes_per_token",
					   "modelled_ns_per_token", "mass_sram"};
	static const char *const against[] = {PAGING, LRU};
	struct json_object *o = json_object_new_object(), *with;

	json_string(o, "policy", b->policy[i]);
	json_number(o, "sram_occupancy", occupancy(b->run[i]));
	json_integer(o, "same_tokens", same_tokens(b, b->run[i]));
	for (size_t a = 0; a < 2; a++) {
		if (!run_of(b, against[a]))
			continue;
		with = json_object_new_object();
		for (size_t k = 0; k < sizeof(keys) / sizeof(*keys); k++)
			json_number(with, keys[k], over(b->run[i], run_of(b, against[a]), keys[k]));
		json_object_object_add(o, against[a], with);
	}
	return o;
}

/* Before runs that may take hours. Nothing is lost of a file that is there. */
static int check_output(const struct serve_bench *b)
{
	FILE *file = b->json ? fopen(b->json, "a") : NULL;

	if (b->json && !file)
		return fail("--json=%s: %s", b->json, strerror(errno));
	if (file)
		fclose(file);
	return 0;
}

static int document(const struct serve_bench *b)
{
	struct json_object *o = json_object_new_object(), *runs = json_object_new_array(),
			   *ratios = json_object_new_array();

	json_string(o, "schema", "kvsink-bench-serve/1");
	for (unsigned i = 0; i < b->done; i++) {
		json_object_array_add(runs, json_object_get(b->run[i]));
		json_object_array_add(ratios, ratios_json(b, i));
	}
	json_object_object_add(o, "ratios", ratios);
	json_object_object_add(o, "runs", runs);
	return json_output(o, b->json);
}

static int report(const struct serve_bench *b)
{
	int rc = b->as_json || b->json ? document(b) : 0;

	return b->as_json || !table(b) ? rc : -1;
}

int serve_command(int argc, char **argv)
{
	struct serve_bench b = {.count = 0};
	int rc = read_words(&b, argc, argv);

	if (!rc && b.help)
		return fputs(usage_text, stdout) < 0 ? EXIT_FAILED : 0;
	if (!rc && (find_program(&b) || check_output(&b)))
		rc = EXIT_FAILED;
	rc = rc ? rc : run_all(&b);
	if (b.done && report(&b)) /* what was measured before a failure is true */
		rc = rc ? rc : EXIT_FAILED;
	for (unsigned i = 0; i < b.count; i++)
		json_object_put(b.run[i]);
	return rc;
}
