// SPDX-License-Identifier: MIT
/*
 * The command table. What stands here is what the parser accepts, --help says and `help --json` lists; a
 * test holds sinkctl(1) to it.
 */
#include "sinkctl.h"

#include <string.h>

static int run_version(struct sc_run *run, struct sc_device *device)
{
	char registers[24];

	(void)device;
	snprintf(registers, sizeof(registers), "%d.%d", KVSINK_HW_VERSION >> 16, KVSINK_HW_VERSION & 0xffff);
	sc_put_text(run->doc, "library", kvs_version());
	sc_put_text(run->doc, "registers", registers);
	return 0;
}

#define ANY_REGS 256
#define ROWS (SC_BIT(STREAM) | SC_BIT(TOKEN) | SC_BIT(LAYERS) | SC_BIT(HEADS))
#define CONTRACT (SC_BIT(DWELL) | SC_BIT(DEADLINE) | SC_BIT(PRIORITY))
#define PROFILE (SC_BIT(PROPOSE) | SC_BIT(APPLY) | SC_BIT(IMPORT) | SC_BIT(THRESHOLD))
#define POLICY (SC_BIT(POLICY) | SC_BIT(STEPS) | SC_BIT(SRAM) | SC_BIT(TAIL) | SC_BIT(T_SINK) | SC_BIT(DUE))

/* clang-format off */
const struct sc_command sc_commands[] = {
	{ "list", "", 0, 0, 0, 0, SC_LISTS, &sc_list_view, NULL, sc_list_devices,
	  "list the devices",
	  "No device is an answer, too: an empty list and exit code 0." },
	{ "info", "", 0, 0, 0, 0, SC_READS, &sc_info_view, NULL, sc_info,
	  "show a device's constants and its generation", "" },
	{ "regs list", "", 0, 0, 0, 0, SC_OFFLINE, &sc_reg_list_view, NULL, sc_regs_list,
	  "list the registers that exist, without a device",
	  "Registers of a ring are listed once, for ring 0; count and stride say where the others are." },
	{ "regs read", "REGISTER...", 1, ANY_REGS, 0, 0, SC_READS, &sc_reg_view, sc_regs_read_prepare, sc_regs_read,
	  "read registers by name or offset",
	  "REGISTER is a name of 'regs list' (T_SINK, ring0.HEAD, counter.STEPS) or an offset (0x0c0).\n"
	  "Registers with visibility admin are for administrators (CAP_SYS_ADMIN), kernel ones for nobody." },
	{ "regs dump", "", 0, 0, 0, 0, SC_READS, &sc_reg_view, NULL, sc_regs_dump,
	  "read every register that the caller may read",
	  "The registers are read one after the other, not as a consistent set (\"consistent\": false).\n"
	  "\"hidden\" counts those that are left out because they are for administrators." },
	{ "regs decode", "REGISTER VALUE", 2, 2, 0, 0, SC_OFFLINE, &sc_reg_view, sc_regs_decode_prepare,
	  sc_regs_decode, "say what a register's value means, without a device", "" },
	{ "streams", "", 0, 0, SC_BIT(STREAM), 0, SC_READS, &sc_stream_view, NULL, sc_streams,
	  "show the streams", "One's own streams; all streams for administrators." },
	{ "tags", "", 0, 0, SC_BIT(STREAM), 0, SC_READS, &sc_tag_view, NULL, sc_tags,
	  "show which tokens are resident in SRAM",
	  "Entries and tails of one's own streams; of all streams for administrators." },
	{ "map", "", 0, 0, SC_BIT(STREAM), SC_BIT(STREAM), SC_READS, &sc_map_view, NULL, sc_map,
	  "show by layer and token which rows of a stream are resident",
	  "A line a layer, a column a token or several: how much of their rows is in SRAM; t: in the tail." },
	{ "contracts", "", 0, 0, SC_BIT(STREAM), 0, SC_READS, &sc_contract_view, NULL, sc_contracts,
	  "show the contracts in force: dwell and time left, priority",
	  "A contract holds while both are left, those that are set." },
	{ "prefixes", "", 0, 0, 0, 0, SC_READS, &sc_prefix_view, NULL, sc_prefixes,
	  "show the prefixes that streams share, and which streams begin with each",
	  "Those of one's own user; all of them for administrators." },
	{ "windows", "", 0, 0, SC_BIT(STREAM), 0, SC_READS, &sc_window_view, NULL, sc_windows,
	  "show the open replay windows: rows on trial, and for how long",
	  "One's own streams; all streams for administrators. A window pins its stream's entries for a minute at most." },
	{ "counters", "", 0, 0, SC_BIT(STREAM), 0, SC_READS, &sc_counter_view, NULL, sc_counters,
	  "show the byte ledger and the other counters",
	  "Of the device for administrators (\"scope\": \"device\"), summed over one's own streams for others\n"
	  "(\"tenant\"), or of one stream (\"stream\"). Attention mass is not bytes." },
	{ "scores", "", 0, 0, SC_BIT(STREAM) | SC_BIT(GROUP) | SC_BIT(TOP), SC_BIT(STREAM), SC_READS, &sc_score_view,
	  NULL, sc_scores, "show score, EMA and state of a stream's tokens",
	  "With --top the highest first: by EMA once there is one, before by score." },
	{ "verdicts", "", 0, 0, SC_BIT(STREAM), SC_BIT(STREAM), SC_READS, &sc_verdict_view, NULL, sc_verdicts,
	  "show what the controller would do to a stream now, in its order", "" },
	{ "profile", "", 0, 0, SC_BIT(STREAM) | PROFILE, SC_BIT(STREAM), SC_MAY_CHANGE, &sc_profile_view,
	  sc_profile_prepare, sc_profile, "show the attention that sinks get, by layer and KV head",
	  "--propose prints the parameters that limit residency to the heads and layers where sinks get at least\n"
	  "--threshold (default 0.25) of the largest mass; with --import the full heads of a DuoAttention table,\n"
	  "weight at least --threshold (default 0.5). A score group gets the heads of all its layers. --apply sets them." },
	{ "events", "", 0, 0, SC_BIT(STREAM) | SC_BIT(LAST), 0, SC_READS, &sc_event_view, NULL, sc_events,
	  "show what happened, and why",
	  "The device keeps the newest 1024. Those of one's own streams; all for administrators." },
	{ "trace", "", 0, 0, SC_BIT(STREAM) | SC_BIT(OUTPUT), SC_BIT(OUTPUT), SC_READS, &sc_trace_view, NULL, sc_trace,
	  "write the modelled timeline as a trace that Perfetto opens",
	  "Commands by ring, and copies of the migration engine; the device keeps the newest 4096." },
	{ "config", "STREAM|device [NAME[=VALUE]]...", 1, SC_MAX_SETTINGS, SC_BIT(GROUP), 0, SC_MAY_CHANGE,
	  &sc_config_view, sc_config_prepare, sc_config, "show or set parameters of a stream, or the device's defaults",
	  "Without NAMEs all of them. Either every VALUE is set or none. Numbers are decimal, or hexadecimal after 0x;\n"
	  "SCORE_MODE and PLACEMENT take names, SRAM_BUDGET and TENANT_CAP bytes with K, M or G, or none,\n"
	  "HEAD_MASK a list such as 0,2 or a mask after 0x, LAYER_RANGE FIRST-LAST, LAYER_WEIGHT FIRST-LAST:WEIGHT;\n"
	  "the latter three take all for heads and layers. LAYER_WEIGHT is shown for each run of layers with one weight.\n"
	  "The device's defaults are for administrators (CAP_SYS_ADMIN)." },
	{ "promote", "[TOKEN[:LAYERS[:HEADS]]]...", 0, DRM_KVSINK_MAX_ITEMS, ROWS | CONTRACT | SC_BIT(DUE) | SC_BIT(PARTIAL),
	  SC_BIT(STREAM), SC_CHANGES, &sc_promote_view, sc_places_prepare, sc_promote,
	  "make rows resident in SRAM",
	  "Shows what was granted: all or nothing, or with --partial what fits. A refusal names what ran out:\n"
	  "BUDGET, TENANT_CAP, FRAGMENTED or TAGS. --dwell or --deadline make it a contract." },
	{ "contract", "[TOKEN[:LAYERS[:HEADS]]]...", 0, DRM_KVSINK_MAX_ITEMS, ROWS | CONTRACT | SC_BIT(END),
	  SC_BIT(STREAM), SC_CHANGES, &sc_contract_set_view, sc_contract_prepare, sc_contract,
	  "make, renew or end the contracts of entries",
	  "Those that lie within the layers and heads. --dwell counts from now. --end ends them." },
	{ "evict", "[TOKEN[:LAYERS[:HEADS]]]...", 0, DRM_KVSINK_MAX_ITEMS, ROWS, SC_BIT(STREAM), SC_CHANGES,
	  &sc_evict_view, sc_places_prepare, sc_evict,
	  "end the residency of tokens, or of all with --token all",
	  "Removes the entries that lie within the layers and heads." },
	{ "place", "", 0, 0, SC_BIT(STREAM) | POLICY, SC_BIT(STREAM) | SC_BIT(POLICY), SC_CHANGES, &sc_place_view,
	  sc_policy_prepare, sc_policy, "run a placement policy on a stream of another process",
	  "Replaces the stream's entries, tails and placement parameters. 1a places once, by the prompt's scores;\n"
	  "1b and headwise act after each step until interrupted; 1c leaves it to the device. What is resident stays." },
	{ "replay", "FILE", 1, 1, 0, 0, SC_OFFLINE, &sc_replay_view, NULL, sc_replay,
	  "replay a recording of a device, and say whether the same comes out",
	  "A device that was opened as sim:record=FILE, or QEMU's with the property record=FILE, has made it. Every\n"
	  "transfer and the digest of the state in the end are compared. Exit code 0: the same; 1: not, or not closed." },
	{ "version", "", 0, 0, 0, 0, SC_OFFLINE, &sc_version_view, NULL, run_version,
	  "show the versions of tool and library", "" },
	{ "help", "[COMMAND]", 0, 2, 0, 0, SC_OFFLINE, &sc_help_view, sc_help_prepare, sc_help,
	  "list the commands, or say how one is used", "" },
	{ 0 }
};
/* clang-format on */

bool sc_is_first_word(const char *name, const char *word)
{
	size_t length = strcspn(name, " ");

	return strlen(word) == length && !strncmp(name, word, length);
}

const struct sc_command *sc_find_command(const char *first, const char *second, int *words)
{
	for (const struct sc_command *command = sc_commands; command->name; command++) {
		const char *space = strchr(command->name, ' ');

		if (!sc_is_first_word(command->name, first))
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
		if (strchr(command->name, ' ') && sc_is_first_word(command->name, word))
			return true;
	return false;
}
