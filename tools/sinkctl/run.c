// SPDX-License-Identifier: MIT
/*
 * One run: parse, choose devices, let the command fill the tree, print it whole. Errors go to stderr
 * as one line each and into the document; the exit code follows from them.
 */
#include "sinkctl.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* What to do about an errno of a device, where it is not said elsewhere. */
static const char *device_advice(int error, const char *code)
{
	switch (error) {
	case ENOENT: /* no such entry, else no such stream */
		return code && !strcmp(code, "NOT_RESIDENT") ? "'sinkctl tags' shows what is resident"
							     : "'sinkctl streams' lists your streams";
	case EEXIST:
		return "'sinkctl tags' shows what is resident";
	case EIO:
		return "see the kernel log";
	default:
		return NULL;
	}
}

static const char *advice(const struct sc_device *device, int error, const char *code)
{
	if (code && !strcmp(code, "BUDGET"))
		return "evict entries or raise SRAM_BUDGET";
	if (code && !strcmp(code, "TENANT_CAP"))
		return "evict entries, or an administrator raises TENANT_CAP";
	if (code && (!strcmp(code, "FRAGMENTED") || !strcmp(code, "TAGS")))
		return "evict entries";
	switch (error) {
	case EACCES:
		return "act as the owner or as administrator";
	case ENODEV:
		return "load the kvsink module; 'sinkctl list' shows what there is";
	default:
		return device && device->kvs ? device_advice(error, code) : NULL;
	}
}

static enum sc_exit exit_class(int error)
{
	switch (error) {
	case EACCES:
	case EPERM:
		return SC_DENIED;
	case ENODEV:
	case ENXIO:
		return SC_NO_DEVICE;
	default:
		return SC_FAILED;
	}
}

static void record_error(struct sc_run *run, const char *error, const char *code, const char *device,
			 const char *message, enum sc_exit class)
{
	json_object *record = json_object_new_object();
	char *line = sc_clean(message);

	sc_put_text(record, "code", error);
	sc_put_text(record, "status", code);
	sc_put_text(record, "device", device);
	sc_put_text(record, "message", line);
	json_object_array_add(run->errors, record);
	fprintf(run->err, "sinkctl: %s\n", line);
	free(line);
	/* Failures of different kinds: none of the special codes would be true. */
	run->exit = run->exit == SC_DONE || run->exit == class ? class : SC_FAILED;
}

bool sc_changes(const struct sc_run *run)
{
	return run->command->scope == SC_CHANGES || (run->command->scope == SC_MAY_CHANGE && run->changes);
}

static const char *first_text(const char *a, const char *b)
{
	return a && *a ? a : b && *b ? b : "";
}

/* The library's line may name the errno, too: once is enough. */
static void drop_name(char *details, const char *name)
{
	size_t length = strlen(name);
	char *at = strstr(details, name);

	if (at && !strncmp(at + length, ": ", 2))
		memmove(at, at + length + 2, strlen(at + length + 2) + 1);
}

int sc_error(struct sc_run *run, struct sc_device *device, int error, const char *code, const char *what,
	     const char *text)
{
	const char *name = strerrorname_np(-error) ? strerrorname_np(-error) : "EUNKNOWN";
	const char *hint = advice(device, -error, code);
	char *message = NULL, details[512];

	snprintf(details, sizeof(details), "%s",
		 first_text(text, device && device->kvs ? kvs_device_error(device->kvs) : NULL));
	drop_name(details, name);
	if (asprintf(&message, "%s%s%s: %s%s%s%s%s%s%s%s", what, device ? " on " : "",
		     device ? device->label : "", name, code ? " (" : "", code ? code : "", code ? ")" : "",
		     *details ? ": " : "", details, hint ? "; " : "", hint ? hint : "") < 0)
		message = NULL;
	record_error(run, name, code, device ? device->label : NULL, message ? message : what,
		     exit_class(-error));
	free(message);
	return error;
}

int sc_usage(struct sc_run *run, const char *format, ...)
{
	char *message = NULL;
	va_list args;

	va_start(args, format);
	if (vasprintf(&message, format, args) < 0)
		message = NULL;
	va_end(args);
	record_error(run, "EINVAL", NULL, NULL, message ? message : format, SC_USAGE);
	free(message);
	return SC_USAGE;
}

void sc_note(struct sc_run *run, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("sinkctl: note: ", run->err);
	vfprintf(run->err, format, args);
	fputc('\n', run->err);
	va_end(args);
}

json_object *sc_list(struct sc_run *run, struct sc_device *device, const char *name)
{
	json_object *owner = device ? device->record : run->doc, *list;

	if (!json_object_object_get_ex(owner, name, &list)) {
		list = json_object_new_array();
		sc_put(owner, name, list);
	}
	return list;
}

static int visit(struct sc_run *run, const char *name)
{
	struct sc_device device = {.label = name, .record = json_object_new_object()};
	int error = kvs_open(name, &device.kvs);

	json_object_array_add(run->devices, device.record);
	sc_identify(&device, name);
	if (error) {
		/* A node that is not there is no device, whatever open() called it; sim: has other files. */
		if (error == -ENOENT && strncmp(name, "sim:", 4))
			error = -ENODEV;
		sc_put_text(device.record, "status", strerrorname_np(-error));
		if (error == -EINVAL) { /* an option of sim: that does not exist, say */
			sc_usage(run, "-d '%s': %s", name, kvs_open_error());
			return error;
		}
		return sc_error(run, &device, error, NULL, "open", kvs_open_error());
	}
	error = run->command->run(run, &device);
	sc_put_text(device.record, "status", error ? "failed" : "ok");
	kvs_close(device.kvs);
	return error;
}

static void execute(struct sc_run *run)
{
	char **names;
	int count;

	if (run->command->scope == SC_OFFLINE) {
		run->command->run(run, NULL);
		return;
	}
	count = sc_select(run, &names);
	for (int i = 0; i < count; i++)
		if (!visit(run, names[i]))
			run->partial = true;
	for (int i = 0; i < count; i++)
		free(names[i]);
	free(names);
	if (run->exit > SC_FAILED && run->exit != SC_USAGE && run->partial)
		run->exit = SC_FAILED;
}

static void show_help(struct sc_run *run)
{
	size_t size;
	FILE *text;

	if (run->json) {
		json_object_array_add(sc_list(run, NULL, "commands"), sc_command_record(run->command));
		return;
	}
	text = open_memstream(&run->text, &size);
	sc_help_command(text, run->command);
	fclose(text);
}

static void start(struct sc_run *run)
{
	run->doc = json_object_new_object();
	run->devices = json_object_new_array();
	run->errors = json_object_new_array();
	sc_put_text(run->doc, "schema", SINKCTL_SCHEMA);
	sc_put(run->doc, "command", NULL);
	sc_put_text(run->doc, "tool", SINKCTL_VERSION);
	sc_put(run->doc, "devices", run->devices);
	sc_put(run->doc, "errors", run->errors);
}

/* --json counts wherever it stands, so that a wrong command line is answered with a document, too. */
static bool wants_json(int argc, char **argv)
{
	for (int i = 1; i < argc && strcmp(argv[i], "--"); i++)
		if (!strcmp(argv[i], "--json") || !strcmp(argv[i], "-j"))
			return true;
	return false;
}

int sinkctl_run(int argc, char **argv, FILE *out, FILE *err)
{
	struct sc_run run = {.out = out,
			     .err = err,
			     .json = wants_json(argc, argv),
			     .group = KVSINK_GROUP_ALL,
			     .tail = KVS_TAIL_OWN,
			     .contract = {.size = sizeof(run.contract)}};

	run.args = calloc(argc + 1, sizeof(*run.args));
	start(&run);
	if (!sc_parse(&run, argc, argv)) {
		if (run.help)
			show_help(&run);
		else
			execute(&run);
	}
	if (run.command)
		sc_put_text(run.doc, "command", run.command->name);
	sc_complete(&run);
	if (sc_print(&run) && run.exit == SC_DONE) {
		fprintf(err, "sinkctl: writing the output failed: %s\n", strerrorname_np(errno));
		run.exit = SC_FAILED;
	}
	json_object_put(run.doc);
	free(run.text);
	free(run.args);
	return run.exit;
}

int sinkctl_main(int argc, char **argv)
{
	return sinkctl_run(argc, argv, stdout, stderr);
}
