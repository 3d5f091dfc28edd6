// SPDX-License-Identifier: MIT
/*
 * The options: what each takes, checked for form and range. What depends on a stream (its layers, its
 * length) is checked once the stream is known.
 */
#include "sinkctl.h"

#include <stdlib.h>
#include <string.h>

#define MAX_STEPS 1000000000u

static int parse_device(struct sc_run *run, const char *text)
{
	run->device = text;
	return 0;
}

static int parse_json(struct sc_run *run, const char *text)
{
	(void)text;
	run->json = true;
	return 0;
}

static int parse_help(struct sc_run *run, const char *text)
{
	(void)text;
	run->help = true;
	return 0;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static int parse_stream(struct sc_run *run, const char *text)
{
	if (sc_parse_u64(text, UINT64_MAX, &run->target.stream) && run->target.stream)
		return 0;
	return sc_usage(run, "--stream '%s': a stream id from 1 is allowed; 'sinkctl streams' lists them",
			text);
}

static int add_tokens(struct sc_run *run, const char *text, uint32_t begin, uint32_t end)
{
	struct sc_target *target = &run->target;

	if (end - begin > DRM_KVSINK_MAX_ITEMS - target->places)
		return sc_usage(run, "--token '%s': too many tokens, up to %d are allowed", text,
				DRM_KVSINK_MAX_ITEMS);
	while (begin < end)
		target->place[target->places++] = (struct sc_place){.token = begin++};
	return 0;
}

/* "all", or tokens and ranges of tokens separated by commas. */
static int parse_token(struct sc_run *run, const char *text)
{
	struct sc_target *target = &run->target;
	char *copy, *rest, *part;
	uint32_t begin, end;
	int exit = 0;

	if (!strcmp(text, "all")) {
		target->place[target->places++] = (struct sc_place){.token = KVSINK_TOKEN_ALL};
		return 0;
	}
	rest = copy = strdup(text);
	while (!exit && (part = strsep(&rest, ",")))
		exit = sc_parse_range(part, KVSINK_MAX_TOKENS, &begin, &end)
			       ? add_tokens(run, text, begin, end)
			       : sc_usage(run,
					  "--token '%s': tokens from 0 to %u are allowed, such as 0,5,9-12;"
					  " evict and contract take 'all', too",
					  text, KVSINK_MAX_TOKENS - 1);
	free(copy);
	return exit;
}

static int parse_layers(struct sc_run *run, const char *text)
{
	if (sc_parse_range(text, KVSINK_MAX_LAYERS, &run->target.layer_begin, &run->target.layer_end))
		return 0;
	return sc_usage(run, "--layers '%s': FIRST-LAST with layers from 0 to %d is allowed", text,
			KVSINK_MAX_LAYERS - 1);
}

/* Heads and ranges of heads separated by commas; "all" is 0, which stands for what the stream has. */
bool sc_parse_heads(const char *text, uint64_t *mask)
{
	char *copy, *rest, *part;
	uint32_t begin, end;
	bool good = true;

	*mask = 0;
	if (!strcmp(text, "all"))
		return true;
	rest = copy = strdup(text);
	while (good && (part = strsep(&rest, ","))) {
		good = sc_parse_range(part, KVSINK_MAX_KV_HEADS, &begin, &end);
		while (good && begin < end)
			*mask |= 1ull << begin++;
	}
	free(copy);
	return good;
}

static int parse_heads(struct sc_run *run, const char *text)
{
	if (sc_parse_heads(text, &run->target.head_mask))
		return 0;
	return sc_usage(run, "--heads '%s': 'all' or a list such as 0,2,4-7 of heads from 0 to %d is allowed",
			text, KVSINK_MAX_KV_HEADS - 1);
}

/* ---- numbers --------------------------------------------------------------------------------- */

static int parse_number(struct sc_run *run, const char *option, const char *text, uint32_t min, uint32_t max,
			uint32_t *number)
{
	uint64_t value;

	if (!sc_parse_u64(text, max, &value) || value < min)
		return sc_usage(run, "--%s '%s': a number from %u to %u is allowed", option, text, min, max);
	*number = value;
	return 0;
}

static int parse_group(struct sc_run *run, const char *text)
{
	return parse_number(run, "group", text, 0, KVSINK_MAX_SCORE_GROUPS - 1, &run->group);
}

static int parse_dwell(struct sc_run *run, const char *text)
{
	return parse_number(run, "dwell", text, 1, KVSINK_MAX_TOKENS, &run->contract.dwell_steps);
}

static int parse_priority(struct sc_run *run, const char *text)
{
	return parse_number(run, "priority", text, 0, KVSINK_MAX_PRIORITY, &run->contract.priority);
}

static int parse_top(struct sc_run *run, const char *text)
{
	return parse_number(run, "top", text, 1, KVSINK_MAX_TOKENS, &run->top);
}

static int parse_last(struct sc_run *run, const char *text)
{
	return parse_number(run, "last", text, 1, KVSINK_EVENT_SLOTS, &run->last);
}

static int parse_steps(struct sc_run *run, const char *text)
{
	return parse_number(run, "steps", text, 0, MAX_STEPS, &run->steps);
}

/* ---- times and sizes ------------------------------------------------------------------------- */

static int parse_deadline(struct sc_run *run, const char *text)
{
	if (sc_parse_duration(text, KVSINK_MAX_LEASE_NS, &run->lease_ns) && run->lease_ns)
		return 0;
	return sc_usage(run,
			"--deadline '%s': a time from now with its unit (ns, us, ms, s), from 1ns to %llus,"
			" is allowed",
			text, KVSINK_MAX_LEASE_NS / 1000000000);
}

static int parse_due(struct sc_run *run, const char *text)
{
	if (sc_parse_duration(text, KVSINK_MAX_LEASE_NS, &run->contract.due_ns))
		return 0;
	return sc_usage(
		run,
		"--due '%s': a modelled time from now with its unit (ns, us, ms, s), from 0s to %llus,"
		" is allowed",
		text, KVSINK_MAX_LEASE_NS / 1000000000);
}

static int parse_sram(struct sc_run *run, const char *text)
{
	uint64_t bytes;

	if (!sc_parse_bytes(text, &bytes) || !bytes)
		return sc_usage(run,
				"--sram '%s': bytes from 1 to 4294967295 are allowed, or a number with"
				" K, M or G",
				text);
	run->sram_bytes = bytes;
	return 0;
}

static int parse_tail(struct sc_run *run, const char *text)
{
	uint64_t tokens;

	if (!strcmp(text, "own"))
		run->tail = KVS_TAIL_OWN;
	else if (!strcmp(text, "half"))
		run->tail = KVS_TAIL_HALF;
	else if (sc_parse_u64(text, KVSINK_MAX_TAIL_TOKENS, &tokens))
		run->tail = (int32_t)tokens;
	else
		return sc_usage(run, "--tail '%s': tokens from 0 to %u, 'own' or 'half' are allowed", text,
				KVSINK_MAX_TAIL_TOKENS);
	return 0;
}

static int parse_t_sink(struct sc_run *run, const char *text)
{
	uint32_t pattern;

	if (!sc_parse_float(text, &pattern) || !pattern)
		return sc_usage(run, "--t-sink '%s': a decimal number above 0 is allowed", text);
	run->t_sink = sc_from_pattern(pattern);
	return 0;
}

static int parse_threshold(struct sc_run *run, const char *text)
{
	uint32_t pattern;

	if (!sc_parse_float(text, &pattern) || sc_from_pattern(pattern) > 1)
		return sc_usage(run, "--threshold '%s': a decimal number from 0 to 1 is allowed", text);
	run->threshold = sc_from_pattern(pattern);
	return 0;
}

/* ---- words ----------------------------------------------------------------------------------- */

static int parse_partial(struct sc_run *run, const char *text)
{
	(void)text;
	run->contract.partial = true;
	return 0;
}

static int parse_flag(struct sc_run *run, const char *text)
{
	(void)run;
	(void)text;
	return 0; /* run->given has it */
}

static int parse_apply(struct sc_run *run, const char *text)
{
	(void)text;
	run->apply = run->changes = true;
	return 0;
}

static int parse_policy(struct sc_run *run, const char *text)
{
	run->policy = text;
	return 0;
}

static int parse_import(struct sc_run *run, const char *text)
{
	run->import = text;
	return 0;
}

static int parse_output(struct sc_run *run, const char *text)
{
	run->output = text;
	return *text ? 0 : sc_usage(run, "--output '': a name of a file is allowed");
}

/* clang-format off */
const struct sc_option sc_options[SC_OPT_COUNT] = {
	[SC_OPT_DEVICE] = { "device", 'd', "DEVICE",
		"accelN, its path, its PCI address, its number in 'list', or a library name such as sim:",
		parse_device },
	[SC_OPT_JSON] = { "json", 'j', NULL, "print one JSON document instead of a table", parse_json },
	[SC_OPT_HELP] = { "help", 'h', NULL, "say how the command is used", parse_help },
	[SC_OPT_STREAM] = { "stream", 's', "ID", "the stream", parse_stream },
	[SC_OPT_TOKEN] = { "token", 't', "TOKENS", "tokens, counted from 0, such as 0,5,9-12", parse_token },
	[SC_OPT_LAYERS] = { "layers", 'l', "FIRST-LAST", "layers, both included; default: all of the stream",
		parse_layers },
	[SC_OPT_HEADS] = { "heads", 'H', "LIST", "KV heads, such as 0,2,4-7; default: all", parse_heads },
	[SC_OPT_GROUP] = { "group", 'g', "GROUP", "the score group; default: all", parse_group },
	[SC_OPT_DWELL] = { "dwell", 0, "STEPS", "contract: stay at least for that many steps of the stream",
		parse_dwell },
	[SC_OPT_DEADLINE] = { "deadline", 0, "TIME", "contract: ends at the latest then, such as 500ms or 30s from now",
		parse_deadline },
	[SC_OPT_DUE] = { "due", 0, "TIME", "modelled time by which the copies shall end; default: at once", parse_due },
	[SC_OPT_PRIORITY] = { "priority", 0, "NUMBER", "0 to 255: without a contract in force the lower one goes first",
		parse_priority },
	[SC_OPT_PARTIAL] = { "partial", 0, NULL, "grant what fits, up to the first that does not", parse_partial },
	[SC_OPT_END] = { "end", 0, NULL, "end the contracts", parse_flag },
	[SC_OPT_TOP] = { "top", 0, "N", "only the N highest", parse_top },
	[SC_OPT_LAST] = { "last", 0, "N", "only the N newest", parse_last },
	[SC_OPT_POLICY] = { "policy", 0, "NAME", "the policy, such as 1a, 1b or 1c", parse_policy },
	[SC_OPT_STEPS] = { "steps", 0, "N", "stay for N steps of the stream; default: until interrupted if the policy"
		" acts in each", parse_steps },
	[SC_OPT_SRAM] = { "sram", 0, "BYTES", "SRAM of the stream, with K, M or G; default: all", parse_sram },
	[SC_OPT_TAIL] = { "tail", 0, "TOKENS", "newest tokens that stay in SRAM, own or half; default: own", parse_tail },
	[SC_OPT_T_SINK] = { "t-sink", 0, "NUMBER", "1a: the score that makes a sink; default: the policy's own",
		parse_t_sink },
	[SC_OPT_PROPOSE] = { "propose", 0, NULL, "print head masks and a layer range", parse_flag },
	[SC_OPT_APPLY] = { "apply", 0, NULL, "set what is proposed", parse_apply },
	[SC_OPT_IMPORT] = { "import", 0, "FILE", "propose the full heads of a DuoAttention table", parse_import },
	[SC_OPT_THRESHOLD] = { "threshold", 0, "NUMBER", "0 to 1: share of the largest mass, or weight of the table, that"
		" counts", parse_threshold },
	[SC_OPT_OUTPUT] = { "output", 'o', "FILE", "the file to write", parse_output },
};
/* clang-format on */
