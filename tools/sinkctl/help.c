// SPDX-License-Identifier: MIT
/* help: text and records made from the tables of commands, options and keys. */
#include "sinkctl.h"

#include <stdlib.h>
#include <string.h>

static const struct {
	enum sc_exit code;
	const char *doc;
} exits[] = {
	{SC_DONE, "done"},
	{SC_FAILED, "the operation failed, wholly or in part"},
	{SC_USAGE, "usage error: command, option or argument, or several devices and none named"},
	{SC_NO_DEVICE, "no such device, or driver not loaded"},
	{SC_DENIED, "permission denied"},
};

static void help_option(FILE *out, const struct sc_option *option)
{
	char name[40], letter[8] = "    ";

	if (option->letter)
		snprintf(letter, sizeof(letter), "-%c, ", option->letter);
	snprintf(name, sizeof(name), "%s--%s%s%s", letter, option->name, option->value ? " " : "",
		 option->value ? option->value : "");
	fprintf(out, "  %-26s  %s\n", name, option->doc);
}

static void help_options(FILE *out, unsigned set)
{
	for (int i = 0; i < SC_OPT_COUNT; i++)
		if (set & 1u << i)
			help_option(out, &sc_options[i]);
}

static void help_line(FILE *out, const struct sc_command *command)
{
	char usage[40];

	snprintf(usage, sizeof(usage), "%s %s", command->name, command->args);
	fprintf(out, "  %-26s  %s\n", usage, command->doc);
}

static void help_all(FILE *out)
{
	fprintf(out, "usage: sinkctl [-d DEVICE] [--json] COMMAND [OPTIONS]\n\n"
		     "See and control the residency of attention sinks on kvsink devices.\n\ncommands:\n");
	for (const struct sc_command *command = sc_commands; command->name; command++)
		help_line(out, command);
	fprintf(out, "\noptions of every command:\n");
	help_options(out, SC_GLOBAL);
	fprintf(out, "\nexit codes:\n");
	for (unsigned i = 0; i < sizeof(exits) / sizeof(*exits); i++)
		fprintf(out, "  %d  %s\n", exits[i].code, exits[i].doc);
}

void sc_help_command(FILE *out, const struct sc_command *command)
{
	fprintf(out, "usage: sinkctl [-d DEVICE] [--json] %s", command->name);
	for (int i = 0; i < SC_OPT_COUNT; i++) {
		const struct sc_option *option = &sc_options[i];
		bool required = command->required & 1u << i;

		if (command->options & 1u << i)
			fprintf(out, required ? " --%s%s%s" : " [--%s%s%s]", option->name,
				option->value ? " " : "", option->value ? option->value : "");
	}
	fprintf(out, "%s%s\n\n%s\n", *command->args ? " " : "", command->args, command->doc);
	if (*command->more)
		fprintf(out, "%s\n", command->more);
	fprintf(out, "\noptions:\n");
	help_options(out, SC_GLOBAL | command->options);
}

static json_object *key_records(const struct sc_key *keys)
{
	json_object *list = json_object_new_array();

	for (; keys->name; keys++) {
		json_object *record = json_object_new_object();

		sc_put_text(record, "name", keys->name);
		sc_put_text(record, "type", keys->type);
		sc_put_text(record, "description", keys->doc);
		json_object_array_add(list, record);
	}
	return list;
}

json_object *sc_command_record(const struct sc_command *command)
{
	json_object *record = json_object_new_object(), *options = json_object_new_array();

	for (int i = 0; i < SC_OPT_COUNT; i++)
		if ((SC_GLOBAL | command->options) & 1u << i)
			json_object_array_add(options, json_object_new_string(sc_options[i].name));
	sc_put_text(record, "name", command->name);
	sc_put_text(record, "arguments", command->args);
	sc_put_text(record, "description", command->doc);
	sc_put(record, "changes", json_object_new_boolean(command->scope >= SC_CHANGES));
	sc_put(record, "options", options);
	sc_put_text(record, "list", command->view->list);
	sc_put(record, "keys", key_records(command->view->keys));
	return record;
}

/* Does the command match the words behind `help`? "regs" matches all of that group. */
static bool help_wants(const struct sc_run *run, const struct sc_command *command)
{
	const char *space = strchr(command->name, ' ');

	if (!run->arg_count)
		return true;
	if (!sc_is_first_word(command->name, run->args[0]))
		return false;
	return run->arg_count == 1 || (space && !strcmp(space + 1, run->args[1]));
}

int sc_help_prepare(struct sc_run *run)
{
	for (const struct sc_command *command = sc_commands; command->name; command++)
		if (help_wants(run, command))
			return 0;
	return sc_usage(run, "no command '%s%s%s'; 'sinkctl help' lists them", run->args[0],
			run->arg_count > 1 ? " " : "", run->arg_count > 1 ? run->args[1] : "");
}

static void put_exits(json_object *doc)
{
	json_object *list = json_object_new_array();

	for (unsigned i = 0; i < sizeof(exits) / sizeof(*exits); i++) {
		json_object *record = json_object_new_object();

		sc_put_u64(record, "code", exits[i].code);
		sc_put_text(record, "description", exits[i].doc);
		json_object_array_add(list, record);
	}
	sc_put(doc, "exit_codes", list);
}

int sc_help(struct sc_run *run, struct sc_device *device)
{
	json_object *list = sc_list(run, NULL, "commands");
	const struct sc_command *command;
	size_t size;
	FILE *text = open_memstream(&run->text, &size);

	(void)device;
	if (!run->arg_count)
		help_all(text);
	for (command = sc_commands; command->name; command++) {
		if (!help_wants(run, command))
			continue;
		json_object_array_add(list, sc_command_record(command));
		if (run->arg_count)
			sc_help_command(text, command);
	}
	fclose(text);
	sc_put(run->doc, "device_keys", key_records(sc_device_keys));
	put_exits(run->doc);
	return 0;
}
