// SPDX-License-Identifier: MIT
/*
 * The command table, the keys of every record, and the help made from them. What stands here is what
 * the parser accepts, --help says and `help --json` lists; a test holds sinkctl(1) to it.
 */
#include "sinkctl.h"

#include <stdlib.h>
#include <string.h>

/* Tables: a row a line. */
/* clang-format off */

/* ---- keys of the records --------------------------------------------------------------------- */

#define INT(name, head, doc) { name, "integer", head, NULL, doc }
#define BYTES(name, head, doc) { name, "integer", head, sc_cell_bytes, doc }
#define TEXT(name, head, doc) { name, "string", head, NULL, doc }
#define END { 0 }

#define DEVICE_KEYS                                                                                  \
	TEXT("node", "NODE", "name of the node below /dev/accel; null for sim:"),                        \
	TEXT("name", "NAME", "name that the library opens"),                                             \
	TEXT("pci", "PCI", "PCI address; null for sim:"),                                                \
	TEXT("driver", "DRIVER", "kernel driver; null for sim:"),                                        \
	TEXT("status", "STATUS", "ok, failed, or the errno name of a device that cannot be opened")

const struct sc_key sc_device_keys[] = { DEVICE_KEYS, END };

static const struct sc_key list_keys[] = {
	DEVICE_KEYS,
	BYTES("sram_bytes", "SRAM", "size of the SRAM in bytes"),
	BYTES("hbm_bytes", "HBM", "size of the HBM in bytes"),
	END
};

static const struct sc_key info_keys[] = {
	DEVICE_KEYS,
	TEXT("hw_version", "HW VERSION", "version of the register interface, major.minor"),
	INT("caps", NULL, "register CAPS"),
	{ "caps_fields", "object", "CAPS", NULL, "its fields" },
	BYTES("sram_bytes", "SRAM", "size of the SRAM in bytes"),
	BYTES("hbm_bytes", "HBM", "size of the HBM in bytes"),
	INT("generation", "GENERATION", "contents-lost generation: grows at every reset"),
	INT("tag_count", "TAGS", "entries of the tag array"),
	INT("stream_count", "STREAMS", "streams that can exist at once"),
	INT("ring_count", "RINGS", "rings"),
	INT("ring_slots", "RING SLOTS", "jobs that one ring holds"),
	INT("gart_pages", "GART PAGES", "4 KiB pages that buffers of all clients may take together"),
	INT("burst_bytes", "BURST BYTES", "bytes of one memory burst (modelled)"),
	{ "admin", "boolean", "ADMINISTRATOR", NULL, "the caller may read what is for administrators" },
	END
};

#define REG_KEYS                                                                                     \
	TEXT("name", "NAME", "name, ringN. or counter. before it where it is one of those"),             \
	{ "offset", "integer", "OFFSET", sc_cell_offset, "byte offset in the register space" },          \
	TEXT("access", "ACCESS", "RO, RW, W1C or WO"),                                                   \
	TEXT("visibility", "VISIBLE", "who may read it: public, admin, kernel"),                         \
	INT("width", NULL, "bits")

#define VALUE_KEYS                                                                                   \
	{ "value", "integer", "VALUE", sc_cell_value, "the value as an unsigned integer" },              \
	TEXT("hex", "HEX", "the value in hexadecimal"),                                                  \
	{ "float", "number", NULL, NULL, "the number whose binary32 pattern the value is; else null" },  \
	TEXT("symbol", NULL, "name of the value where it is one of a list; else null"),                  \
	{ "fields", "object", "FIELDS", NULL, "field name to value; empty if it has no fields" }

static const struct sc_key reg_list_keys[] = {
	REG_KEYS,
	INT("count", NULL, "how many there are at most: one a ring, else 1"),
	INT("stride", NULL, "bytes from one to the next; 0 if count is 1"),
	{ "bits", "object", "FIELDS", NULL, "field name to its bits, high:low" },
	TEXT("description", "DESCRIPTION", "what it is"),
	END
};

static const struct sc_key reg_keys[] = {
	REG_KEYS, VALUE_KEYS, TEXT("description", NULL, "what it is"), END
};

static const struct sc_key tag_keys[] = {
	INT("stream", "STREAM", "stream id"),
	INT("tenant", NULL, "owner, a uid"),
	INT("token", "TOKEN", "token"),
	{ "layer_begin", "integer", "LAYERS", sc_cell_layers, "first layer" },
	INT("layer_end", NULL, "one past the last layer"),
	{ "heads", "array", "HEADS", NULL, "KV heads" },
	TEXT("head_mask_hex", NULL, "the same as a mask, bit h for KV head h"),
	TEXT("state", "STATE", "valid: reads go to SRAM; copying: still to HBM"),
	BYTES("sram_bytes", "SRAM", "bytes granted"),
	INT("sram_offset", NULL, "where in SRAM; null unless administrator"),
	INT("generation", "GENERATION", "of the entry: a new grant has another"),
	INT("row_bytes", NULL, "bytes of K and V of one layer and head"),
	END
};

static const struct sc_key stream_keys[] = {
	INT("stream", "STREAM", "stream id"),
	INT("tenant", "TENANT", "owner, a uid"),
	INT("length", "LENGTH", "tokens"),
	INT("layers", "LAYERS", "layers"),
	INT("q_heads", "Q HEADS", "query heads"),
	INT("kv_heads", "KV HEADS", "KV heads"),
	INT("d_k", "D_K", "elements of a key row"),
	INT("d_v", "D_V", "elements of a value row"),
	TEXT("format", "FORMAT", "F32 or FP16"),
	INT("page_tokens", NULL, "tokens of a page"),
	INT("max_tokens", "MAX", "tokens it may grow to"),
	INT("reserved_tokens", "RESERVED", "tokens that have a page"),
	INT("entries", "ENTRIES", "entries in the tag array"),
	BYTES("sram_bytes", "SRAM", "bytes granted to it"),
	INT("scored", "SCORED", "queries scored in layer 0"),
	{ "group_end", "array", NULL, NULL, "end of each score group, one past its last layer" },
	END
};

static const struct sc_key counter_keys[] = {
	TEXT("name", "COUNTER", "name"),
	INT("value", "VALUE", "the count"),
	TEXT("hex", NULL, "the count in hexadecimal"),
	TEXT("unit", "UNIT", "B, ns, 1, or 2^-32 for attention mass"),
	{ "scaled", "number", "SCALED", NULL, "value * 2^-32 of counters in that unit; else null" },
	INT("width", NULL, "bits; the counter wraps there"),
	TEXT("description", "DESCRIPTION", "what is counted"),
	END
};

#define PARAM_KEYS                                                                                   \
	TEXT("name", "PARAMETER", "name"),                                                               \
	INT("stream", "STREAM", "stream id; null for the device's default"),                             \
	TEXT("kind", NULL, "F32, U32 or U64"),                                                           \
	VALUE_KEYS

static const struct sc_key param_keys[] = {
	PARAM_KEYS, TEXT("description", "DESCRIPTION", "what it does"), END
};

static const struct sc_key param_set_keys[] = {
	PARAM_KEYS,
	INT("previous", NULL, "the value before"),
	TEXT("previous_hex", "BEFORE", "the same in hexadecimal"),
	TEXT("description", NULL, "what it does"),
	END
};

static const struct sc_key evict_keys[] = {
	INT("stream", "STREAM", "stream id"),
	INT("token", "TOKEN", "token; null for all"),
	{ "layer_begin", "integer", "LAYERS", sc_cell_layers, "entries within these layers: the first" },
	INT("layer_end", NULL, "one past the last layer"),
	INT("entries", "ENTRIES", "entries removed"),
	END
};

static const struct sc_key version_keys[] = {
	TEXT("schema", "schema", "of the JSON documents"),
	TEXT("tool", "sinkctl", "version of sinkctl"),
	TEXT("library", "libkvsink", "version of the library"),
	TEXT("registers", "registers", "register interface that the tool was built for, major.minor"),
	END
};

static const struct sc_key help_keys[] = {
	TEXT("name", NULL, "the command"),
	TEXT("arguments", NULL, "its arguments"),
	TEXT("description", NULL, "what it does"),
	{ "changes", "boolean", NULL, NULL, "it changes the device" },
	{ "options", "array", NULL, NULL, "its options" },
	TEXT("list", NULL, "the array that its records stand in; null if the device is the record"),
	{ "keys", "array", NULL, NULL, "keys of a record: name, type, description" },
	END
};

static const struct sc_view list_view = { NULL, list_keys, false };
static const struct sc_view info_view = { NULL, info_keys, true };
static const struct sc_view reg_list_view = { "registers", reg_list_keys, false };
static const struct sc_view reg_view = { "registers", reg_keys, false };
static const struct sc_view tag_view = { "tags", tag_keys, false };
static const struct sc_view stream_view = { "streams", stream_keys, false };
static const struct sc_view counter_view = { "counters", counter_keys, false };
static const struct sc_view param_view = { "parameters", param_keys, false };
static const struct sc_view param_set_view = { "parameters", param_set_keys, false };
static const struct sc_view promote_view = { "granted", tag_keys, false };
static const struct sc_view evict_view = { "evicted", evict_keys, false };
static const struct sc_view version_view = { NULL, version_keys, true };
static const struct sc_view help_view = { "commands", help_keys, false };

/* clang-format on */

/* ---- the commands ---------------------------------------------------------------------------- */

static int run_version(struct sc_run *run, struct sc_device *device)
{
	char registers[24];

	(void)device;
	snprintf(registers, sizeof(registers), "%d.%d", KVSINK_HW_VERSION >> 16, KVSINK_HW_VERSION & 0xffff);
	sc_put_text(run->doc, "library", kvs_version());
	sc_put_text(run->doc, "registers", registers);
	return 0;
}

static int help_prepare(struct sc_run *run);
static int run_help(struct sc_run *run, struct sc_device *device);

#define ANY_REGS 256
#define RANGE (SC_BIT(STREAM) | SC_BIT(TOKEN) | SC_BIT(LAYERS))

/* clang-format off */
const struct sc_command sc_commands[] = {
	{ "list", "", 0, 0, 0, 0, SC_LISTS, &list_view, NULL, sc_list_devices,
	  "list the devices",
	  "No device is an answer, too: an empty list and exit code 0." },
	{ "info", "", 0, 0, 0, 0, SC_READS, &info_view, NULL, sc_info,
	  "show a device's constants and its generation", "" },
	{ "regs list", "", 0, 0, 0, 0, SC_OFFLINE, &reg_list_view, NULL, sc_regs_list,
	  "list the registers that exist, without a device",
	  "Registers of a ring are listed once, for ring 0; count and stride say where the others are." },
	{ "regs read", "REGISTER...", 1, ANY_REGS, 0, 0, SC_READS, &reg_view, sc_regs_read_prepare, sc_regs_read,
	  "read registers by name or offset",
	  "REGISTER is a name of 'regs list' (T_SINK, ring0.HEAD, counter.STEPS) or an offset (0x0c0).\n"
	  "Registers with visibility admin are for administrators (CAP_SYS_ADMIN), kernel ones for nobody." },
	{ "regs dump", "", 0, 0, 0, 0, SC_READS, &reg_view, NULL, sc_regs_dump,
	  "read every register that the caller may read",
	  "The registers are read one after the other, not as a consistent set (\"consistent\": false).\n"
	  "\"hidden\" counts those that are left out because they are for administrators." },
	{ "regs decode", "REGISTER VALUE", 2, 2, 0, 0, SC_OFFLINE, &reg_view, sc_regs_decode_prepare,
	  sc_regs_decode, "say what a register's value means, without a device", "" },
	{ "tags", "", 0, 0, SC_BIT(STREAM), 0, SC_READS, &tag_view, NULL, sc_tags,
	  "show which tokens are resident in SRAM",
	  "Entries of one's own streams; of all streams for administrators." },
	{ "streams", "", 0, 0, SC_BIT(STREAM), 0, SC_READS, &stream_view, NULL, sc_streams,
	  "show the streams", "One's own streams; all streams for administrators." },
	{ "counters", "", 0, 0, SC_BIT(STREAM), 0, SC_READS, &counter_view, NULL, sc_counters,
	  "show the byte ledger and the other counters",
	  "Of the device for administrators (\"scope\": \"device\"), summed over one's own streams for others\n"
	  "(\"tenant\"), or of one stream (\"stream\"). Attention mass is not bytes." },
	{ "config get", "[PARAMETER...]", 0, KVSINK_PARAM_COUNT, SC_BIT(STREAM), 0, SC_READS, &param_view,
	  sc_config_get_prepare, sc_config_get, "show parameters of a stream, or the device's defaults", "" },
	{ "config set", "PARAMETER VALUE", 2, 2, SC_BIT(STREAM), 0, SC_CHANGES, &param_set_view,
	  sc_config_set_prepare, sc_config_set, "set a parameter of a stream, or the device's default",
	  "T_SINK takes a decimal number, SCORE_MODE a name or number, SRAM_BUDGET bytes with K, M or G,\n"
	  "LAYER_RANGE first-last. The device's defaults are for administrators (CAP_SYS_ADMIN)." },
	{ "promote", "", 0, 0, RANGE | SC_BIT(HEADS), SC_BIT(STREAM) | SC_BIT(TOKEN), SC_CHANGES, &promote_view,
	  sc_promote_prepare, sc_promote, "make a token's rows resident in SRAM",
	  "Shows what was granted. A refusal names what ran out: BUDGET, FRAGMENTED or TAGS." },
	{ "evict", "", 0, 0, RANGE, SC_BIT(STREAM) | SC_BIT(TOKEN), SC_CHANGES, &evict_view, NULL, sc_evict,
	  "end the residency of a token, or of all with --token all",
	  "Removes the entries that lie within the layers." },
	{ "version", "", 0, 0, 0, 0, SC_OFFLINE, &version_view, NULL, run_version,
	  "show the versions of tool and library", "" },
	{ "help", "[COMMAND]", 0, 2, 0, 0, SC_OFFLINE, &help_view, help_prepare, run_help,
	  "list the commands, or say how one is used", "" },
	END
};
/* clang-format on */

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

/* ---- looking up ------------------------------------------------------------------------------ */

static bool is_first_word(const char *name, const char *word)
{
	size_t length = strcspn(name, " ");

	return strlen(word) == length && !strncmp(name, word, length);
}

const struct sc_command *sc_find_command(const char *first, const char *second, int *words)
{
	for (const struct sc_command *command = sc_commands; command->name; command++) {
		const char *space = strchr(command->name, ' ');

		if (!is_first_word(command->name, first))
			continue;
		*words = space ? 2 : 1;
		if (!space || (second && !strcmp(space + 1, second)))
			return command;
	}
	return NULL;
}

/* The first of two words of some command? */
bool sc_is_group(const char *word)
{
	for (const struct sc_command *command = sc_commands; command->name; command++)
		if (strchr(command->name, ' ') && is_first_word(command->name, word))
			return true;
	return false;
}

/* ---- help ------------------------------------------------------------------------------------ */

static void help_option(FILE *out, const struct sc_option *option)
{
	char name[40];

	snprintf(name, sizeof(name), "-%c, --%s%s%s", option->letter, option->name, option->value ? " " : "",
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

void sc_help_all(FILE *out)
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
			fprintf(out, required ? " --%s %s" : " [--%s %s]", option->name, option->value);
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
	sc_put(record, "changes", json_object_new_boolean(command->scope == SC_CHANGES));
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
	if (!is_first_word(command->name, run->args[0]))
		return false;
	return run->arg_count == 1 || (space && !strcmp(space + 1, run->args[1]));
}

static int help_prepare(struct sc_run *run)
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

static int run_help(struct sc_run *run, struct sc_device *device)
{
	json_object *list = sc_list(run, NULL, "commands");
	const struct sc_command *command;
	size_t size;
	FILE *text = open_memstream(&run->text, &size);

	(void)device;
	if (!run->arg_count)
		sc_help_all(text);
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
