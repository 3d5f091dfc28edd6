// SPDX-License-Identifier: MIT
/*
 * The command line. Options may stand anywhere; getopt_long sees the global ones until the command
 * is known, then those that the command table allows as well. Nothing is executed here.
 */
#include "sinkctl.h"

#include <ctype.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

/* What getopt_long needs for the options in the set. */
static void getopt_tables(unsigned set, struct option *longs, char *shorts)
{
	*shorts++ = '+';
	*shorts++ = ':';
	for (int i = 0; i < SC_OPT_COUNT; i++) {
		if (!(set & 1u << i))
			continue;
		*longs++ = (struct option){sc_options[i].name, !!sc_options[i].value, NULL, 256 + i};
		if (!sc_options[i].letter)
			continue;
		*shorts++ = sc_options[i].letter;
		if (sc_options[i].value)
			*shorts++ = ':';
	}
	*longs = (struct option){0};
	*shorts = 0;
}

static int take_option(struct sc_run *run, int found, const char *word)
{
	int i = 0;

	if (found == '?')
		return sc_usage(run, "no option '%s' here; --help lists them", word);
	if (found == ':')
		return sc_usage(run, "option '%s' needs a value", word);
	while (found != 256 + i && found != sc_options[i].letter)
		i++;
	if (run->given & 1u << i && sc_options[i].value)
		return sc_usage(run, "option --%s is given twice", sc_options[i].name);
	run->given |= 1u << i;
	return sc_options[i].parse(run, optarg);
}

static bool is_argument(const char *word)
{
	bool number = word[0] == '-' && (isdigit((unsigned char)word[1]) || word[1] == '.');

	return word[0] != '-' || !word[1] || number;
}

/*
 * Options of the set, from argv[first] on; other words are moved to run->args. With `until_word` it
 * stops at the first of those. Returns where it stopped, or -1.
 */
static int scan(struct sc_run *run, int argc, char **argv, int first, unsigned set, bool until_word)
{
	struct option longs[SC_OPT_COUNT + 1];
	char shorts[2 * SC_OPT_COUNT + 3];

	getopt_tables(set, longs, shorts);
	optind = 0; /* glibc: forget an earlier scan */
	opterr = 0;
	argv += first - 1; /* getopt skips a program's name */
	argc -= first - 1;
	for (int next = 1; next < argc;) {
		const char *word = argv[next];
		int found;

		if (is_argument(word)) {
			if (until_word)
				return first - 1 + next;
			run->args[run->arg_count++] = argv[next++];
			optind = next;
			continue;
		}
		found = getopt_long(argc, argv, shorts, longs, NULL);
		if (found == -1) { /* "--": the rest are arguments */
			while (!until_word && ++next < argc)
				run->args[run->arg_count++] = argv[next];
			return first - 1 + (until_word ? optind : argc);
		}
		if (take_option(run, found, word))
			return -1;
		next = optind;
	}
	return first - 1 + argc;
}

static int check(struct sc_run *run)
{
	const struct sc_command *command = run->command;
	unsigned missing = command->required & ~run->given;

	for (int i = 0; i < SC_OPT_COUNT; i++)
		if (missing & 1u << i)
			return sc_usage(run, "option --%s %s is needed", sc_options[i].name,
					sc_options[i].value);
	if (run->arg_count < command->min_args)
		return sc_usage(run, "arguments are missing: %s %s", command->name, command->args);
	if (run->arg_count > command->max_args)
		return sc_usage(run, "argument '%s' is too much: %s %s", run->args[command->max_args],
				command->name, command->args);
	if (command->scope == SC_OFFLINE && run->given & SC_BIT(DEVICE))
		sc_note(run, "%s needs no device; -d is not used", command->name);
	return command->prepare ? command->prepare(run) : 0;
}

static int find_command(struct sc_run *run, int at, int argc, char **argv)
{
	const char *second = at + 1 < argc ? argv[at + 1] : NULL;
	int words;

	if (at >= argc) {
		if (run->help) {
			run->help = false;
			run->command = sc_find_command("help", NULL, &words);
			return argc;
		}
		sc_usage(run, "no command; 'sinkctl help' lists them");
		return -1;
	}
	run->command = sc_find_command(argv[at], second, &words);
	if (run->command)
		return at + words;
	if (sc_is_group(argv[at]))
		sc_usage(run, "no command '%s %s'; 'sinkctl help %s' lists them", argv[at],
			 second ? second : "", argv[at]);
	else
		sc_usage(run, "no command '%s'; 'sinkctl help' lists them", argv[at]);
	return -1;
}

/* Fills the run; 0, or the exit code after a usage error. */
int sc_parse(struct sc_run *run, int argc, char **argv)
{
	int at = scan(run, argc, argv, 1, SC_GLOBAL, true);

	if (at < 0)
		return SC_USAGE;
	at = find_command(run, at, argc, argv);
	if (at < 0)
		return SC_USAGE;
	if (at < argc && scan(run, argc, argv, at, SC_GLOBAL | run->command->options, false) < 0)
		return SC_USAGE;
	return run->help ? 0 : check(run);
}
