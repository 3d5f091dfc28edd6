// SPDX-License-Identifier: MIT
/* The keys of every record: what the printers show and sinkctl(1) documents. A row a line. */
#include "sinkctl.h"

/* clang-format off */

#define INT(name, head, doc) { name, "integer", head, NULL, doc }
#define BYTES(name, head, doc) { name, "integer", head, sc_cell_bytes, doc }
#define TEXT(name, head, doc) { name, "string", head, NULL, doc }
#define NUMBER(name, head, doc) { name, "number", head, NULL, doc }
#define BOOL(name, head, doc) { name, "boolean", head, NULL, doc }
#define LAYERS(doc) \
	{ "layer_begin", "integer", "LAYERS", sc_cell_layers, doc ": the first" }, \
	INT("layer_end", NULL, "one past the last layer")
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
	{ "token", "integer", "TOKEN", sc_cell_tokens, "token; of a tail the first one" },
	{ "layer_begin", "integer", "LAYERS", sc_cell_layers, "first layer" },
	INT("layer_end", NULL, "one past the last layer"),
	{ "heads", "array", "HEADS", NULL, "KV heads" },
	TEXT("head_mask_hex", NULL, "the same as a mask, bit h for KV head h"),
	TEXT("state", "STATE", "valid: reads go to SRAM; copying: still to HBM"),
	BYTES("sram_bytes", "SRAM", "bytes granted"),
	INT("sram_offset", NULL, "where in SRAM; null unless administrator"),
	INT("generation", "GENERATION", "of the entry: a new grant has another; 0 for a tail"),
	INT("row_bytes", NULL, "bytes of K and V of one layer and head"),
	TEXT("kind", "KIND", "entry, auto: STEP_END has promoted it, or tail: the newest tokens of a score group"),
	INT("tokens", NULL, "1; of a tail those that it holds now"),
	{ "contract", "boolean", "CONTRACT", NULL, "its contract is in force" },
	INT("age_steps", "AGE", "steps of the stream since the grant or the contract"),
	NUMBER("ema", "EMA", "of the token in the score group of the first layer"),
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
	INT("reserved_tokens", "RESERVED", "tokens that have a page; 0 while it is swapped out"),
	INT("entries", "ENTRIES", "entries in the tag array"),
	BYTES("sram_bytes", "SRAM", "bytes granted to it"),
	INT("scored", "SCORED", "queries scored in layer 0"),
	INT("sealed", "SEALED", "tokens in sealed pages"),
	TEXT("seal_k", NULL, "format of K in them; null if it stays as it was appended"),
	TEXT("seal_v", NULL, "the same for V"),
	{ "flags", "array", "FLAGS", NULL, "PER_HEAD: query heads have slopes and sinks; V_IN_K: values lie inside keys" },
	BOOL("swapped", "SWAPPED", "its rows and scores are in a buffer of its owner, not in HBM"),
	BYTES("image_bytes", NULL, "bytes that they take there, or would take"),
	{ "group_end", "array", NULL, NULL, "end of each score group, one past its last layer" },
	END
};

static const struct sc_key prefix_keys[] = {
	INT("prefix", "PREFIX", "id of the prefix; commands on streams take it as one"),
	INT("tenant", "TENANT", "uid that has published it and is charged for it"),
	INT("tokens", "TOKENS", "its tokens"),
	INT("begins_with", "BEGINS WITH", "id of the prefix that it begins with, 0 for none"),
	INT("users", "USERS", "streams and prefixes that begin with it, those of other users among them"),
	{ "streams", "array", "STREAMS", NULL, "ids of those that the caller may see" },
	INT("entries", "ENTRIES", "entries in the tag array, read by all of them"),
	BYTES("sram_bytes", "SRAM", "bytes granted to it"),
	TEXT("key", "KEY", "what its publisher calls it, 32 hexadecimal digits"),
	END
};

static const struct sc_key window_keys[] = {
	INT("stream", "STREAM", "stream id"),
	INT("tenant", "TENANT", "owner, a uid"),
	INT("length", "LENGTH", "tokens of the stream: its rows behind them are on trial"),
	INT("rows", "ROWS", "rows on trial, in the layer that has most"),
	INT("max_rows", "MAX", "rows that the window was opened for"),
	{ "age_ns", "integer", "AGE", sc_cell_ns, "time since it was opened" },
	BOOL("pins", "PINS", "no grant displaces entries and tails of the stream"),
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

static const struct sc_key map_keys[] = {
	INT("layer", "LAYER", "layer"),
	INT("group", NULL, "its score group"),
	INT("entries", "ENTRIES", "entries that hold rows of it"),
	INT("rows", "ROWS", "resident rows (tokens times KV heads), tail included"),
	BYTES("bytes", "BYTES", "their bytes"),
	INT("tail_begin", NULL, "first token in the tail; null without one"),
	INT("tail_end", NULL, "one past the last token in the tail"),
	{ "tokens", "array", "TOKENS", NULL, "resident tokens, those of the tail left out" },
	{ "copying", "array", NULL, NULL, "those of them whose copy is under way" },
	END
};

static const struct sc_key contract_keys[] = {
	INT("stream", "STREAM", "stream id"),
	INT("tenant", NULL, "owner, a uid"),
	{ "token", "integer", "TOKEN", sc_cell_tokens, "token; of a tail the first one" },
	INT("tokens", NULL, "1; of a tail those that it holds now"),
	LAYERS("layers"),
	{ "heads", "array", "HEADS", NULL, "KV heads" },
	TEXT("kind", "KIND", "entry, auto or tail, as in tags"),
	BYTES("sram_bytes", "SRAM", "bytes granted"),
	INT("dwell_steps", "DWELL", "steps that it stays at least; null if the contract has no such limit"),
	INT("dwell_left", "STEPS LEFT", "those that are left"),
	INT("deadline_ns", NULL, "CLOCK_MONOTONIC at which it ends at the latest"),
	{ "deadline_left_ns", "integer", "TIME LEFT", sc_cell_ns, "time that is left" },
	INT("priority", "PRIORITY", "without a contract in force the lower one goes first"),
	INT("generation", NULL, "of the entry; 0 for a tail"),
	END
};

static const struct sc_key contract_set_keys[] = {
	INT("stream", "STREAM", "stream id"),
	INT("entries", "ENTRIES", "entries whose contract was made, renewed or ended"),
	INT("dwell_steps", "DWELL", "steps that they stay at least from now; null if there is no such limit"),
	{ "deadline_ns", "integer", NULL, NULL, "CLOCK_MONOTONIC; null if none was given" },
	{ "lease_ns", "integer", "TIME", sc_cell_ns, "the same from now; null if none was given" },
	INT("priority", "PRIORITY", "priority"),
	BOOL("ended", NULL, "the contracts were ended"),
	END
};

static const struct sc_key score_keys[] = {
	INT("group", "GROUP", "score group"),
	INT("token", "TOKEN", "token"),
	TEXT("state", "STATE", "sink, rising (EMA speaks for it), falling (against it), young (too few observers), or none"),
	BOOL("sink", NULL, "the comparator takes it for a sink"),
	BOOL("resident", "RESIDENT", "an entry covers part of the group's layers"),
	NUMBER("score", "SCORE", "S in the stream's SCORE_MODE"),
	NUMBER("ema", "EMA", "E"),
	INT("run", "RUN", "consecutive steps that speak for a change of its state"),
	INT("observers", "OBSERVERS", "queries of one layer that could see it outside its local window"),
	INT("sum", NULL, "attention mass in units of 2^-32"),
	NUMBER("mass", "MASS", "the same as a number"),
	INT("promoted_step", "PROMOTED", "step of its last promotion; null = never"),
	END
};

static const struct sc_key verdict_keys[] = {
	INT("stream", "STREAM", "stream id"),
	INT("group", "GROUP", "score group"),
	LAYERS("layers of the entry"),
	INT("token", "TOKEN", "token"),
	TEXT("verdict", "VERDICT", "evict or promote"),
	NUMBER("ema", "EMA", "its EMA"),
	END
};

static const struct sc_key profile_keys[] = {
	INT("layer", "LAYER", "layer"),
	INT("group", "GROUP", "its score group"),
	INT("head", "HEAD", "KV head"),
	INT("mass", NULL, "attention on the group's sinks in units of 2^-32"),
	INT("queries", "QUERIES", "observed queries times the query heads of the KV head"),
	NUMBER("share", "SHARE", "mass / queries: mean attention on sinks"),
	NUMBER("weight", "WEIGHT", "of the layer, in scores and EMA"),
	END
};

static const struct sc_key event_keys[] = {
	INT("modelled_ns", "MODELLED NS", "modelled time"),
	TEXT("event", "EVENT", "what happened"),
	INT("stream", "STREAM", "stream id; null if it concerns none"),
	INT("tenant", NULL, "owner, a uid"),
	INT("token", "TOKEN", "token; null if it concerns no entry"),
	LAYERS("layers of the entry"),
	TEXT("reason", "REASON", "why; null if there is nothing to say"),
	INT("detail", NULL, "as the event's description says"),
	TEXT("text", "IN WORDS", "event, detail and reason in words"),
	END
};

static const struct sc_key trace_keys[] = {
	TEXT("file", "FILE", "what was written"),
	INT("spans", "SPANS", "spans in it"),
	INT("commands", "COMMANDS", "of commands"),
	INT("copies", "COPIES", "of copies"),
	INT("late", "LATE", "copies that ended after they were due"),
	{ "begin_ns", "integer", "FROM", sc_cell_ns, "modelled time of the first" },
	{ "end_ns", "integer", "TO", sc_cell_ns, "modelled time at which the last one ended" },
	END
};

static const struct sc_key config_keys[] = {
	TEXT("name", "PARAMETER", "name"),
	INT("stream", "STREAM", "stream id; null for the device's default"),
	INT("group", "GROUP", "score group; null if the value is the same in all"),
	TEXT("scope", NULL, "of what the parameter is: device, stream or group"),
	TEXT("kind", NULL, "F32, U32 or U64"),
	TEXT("text", "VALUE", "the value as the command line takes it"),
	TEXT("previous_text", "BEFORE", "the value before it was set; null if it was not"),
	INT("value", NULL, "the value as an unsigned integer"),
	TEXT("hex", NULL, "the value in hexadecimal"),
	NUMBER("float", NULL, "the number whose binary32 pattern the value is; else null"),
	TEXT("symbol", NULL, "name of the value where it is one of a list; else null"),
	{ "fields", "object", NULL, NULL, "field name to value; empty if it has no fields" },
	INT("previous", NULL, "the value before it was set; null if it was not"),
	TEXT("previous_hex", NULL, "the same in hexadecimal"),
	TEXT("description", "DESCRIPTION", "what it does"),
	END
};

static const struct sc_key evict_keys[] = {
	INT("stream", "STREAM", "stream id"),
	INT("places", NULL, "places that were named"),
	INT("token", "TOKEN", "token; null for all or several"),
	LAYERS("entries within these layers, of the first place"),
	INT("entries", "ENTRIES", "entries removed"),
	END
};

static const struct sc_key place_keys[] = {
	INT("stream", "STREAM", "stream id"),
	TEXT("policy", "POLICY", "the policy"),
	INT("steps", "STEPS", "steps of the stream that were seen"),
	INT("missed", "MISSED", "those of them that came too fast to be acted on one by one"),
	INT("promotions", "PROMOTIONS", "grants meanwhile"),
	INT("evictions", "EVICTIONS", "entries removed meanwhile"),
	INT("refusals", NULL, "grants that were refused meanwhile"),
	INT("entries", "ENTRIES", "entries of the stream now"),
	BYTES("sram_bytes", "SRAM", "bytes granted to it now, tails included"),
	INT("tail_tokens", "TAIL", "tokens that stay in SRAM as they are appended"),
	TEXT("ended", "ENDED BY", "placed, steps, interrupt, or stream: it is gone"),
	END
};

static const struct sc_key replay_keys[] = {
	TEXT("file", "FILE", "the recording"),
	BOOL("same", "SAME", "every transfer and the digest are the same"),
	INT("records", "RECORDS", "register writes, turns of rings, resets and transfers looked at"),
	{ "bytes_in", "integer", "READ", sc_cell_bytes, "bytes that the chip read by DMA" },
	{ "bytes_out", "integer", "WRITTEN", sc_cell_bytes, "bytes that it wrote, and that were compared" },
	TEXT("recorded", "RECORDED", "digest of the state in the recording; null if it was not closed, or the replay did not get there"),
	TEXT("digest", "DIGEST", "that of the replayed chip"),
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

const struct sc_view sc_list_view = { .list = NULL, .keys = list_keys };
const struct sc_view sc_info_view = { .list = NULL, .keys = info_keys, .pairs = true };
const struct sc_view sc_reg_list_view = { .list = "registers", .keys = reg_list_keys };
const struct sc_view sc_reg_view = { .list = "registers", .keys = reg_keys };
const struct sc_view sc_tag_view = { .list = "tags", .keys = tag_keys };
const struct sc_view sc_map_view = { .list = "layers", .keys = map_keys, .draw = sc_draw_map };
const struct sc_view sc_contract_view = { .list = "contracts", .keys = contract_keys };
const struct sc_view sc_stream_view = { .list = "streams", .keys = stream_keys };
const struct sc_view sc_prefix_view = { .list = "prefixes", .keys = prefix_keys };
const struct sc_view sc_window_view = { .list = "windows", .keys = window_keys };
const struct sc_view sc_counter_view = { .list = "counters", .keys = counter_keys };
const struct sc_view sc_score_view = { .list = "scores", .keys = score_keys };
const struct sc_view sc_verdict_view = { .list = "verdicts", .keys = verdict_keys };
const struct sc_view sc_profile_view = { .list = "profile", .keys = profile_keys, .draw = sc_draw_profile };
const struct sc_view sc_event_view = { .list = "events", .keys = event_keys };
const struct sc_view sc_trace_view = { .list = "traces", .keys = trace_keys };
const struct sc_view sc_config_view = { .list = "parameters", .keys = config_keys };
const struct sc_view sc_promote_view = { .list = "granted", .keys = tag_keys };
const struct sc_view sc_contract_set_view = { .list = "contracts", .keys = contract_set_keys };
const struct sc_view sc_evict_view = { .list = "evicted", .keys = evict_keys };
const struct sc_view sc_place_view = { .list = "placements", .keys = place_keys };
const struct sc_view sc_replay_view = { .list = "replays", .keys = replay_keys };
const struct sc_view sc_version_view = { .list = NULL, .keys = version_keys, .pairs = true };
const struct sc_view sc_help_view = { .list = "commands", .keys = help_keys };

/* clang-format on */
