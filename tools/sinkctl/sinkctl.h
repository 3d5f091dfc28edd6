/* SPDX-License-Identifier: MIT */
/*
 * sinkctl inside: one run, its value tree and the tables that describe commands and records.
 *
 * A command fills the tree (a json_object) and cannot print. print.c turns the finished tree into a
 * table or into the JSON document, so the two cannot drift apart. The command table (commands.c) is
 * read by the parser, the help text, the printers and the test of the man page.
 */
#ifndef SINKCTL_H
#define SINKCTL_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "kvsink_policy.h"

#define SINKCTL_VERSION "0.1.0"
#define SINKCTL_SCHEMA "kvsink/1"

/* Exit codes; the same list stands in sinkctl(1). */
enum sc_exit {
	SC_DONE = 0,
	SC_FAILED = 1,
	SC_USAGE = 2,
	SC_NO_DEVICE = 3,
	SC_DENIED = 4,
};

enum sc_option_id {
	SC_OPT_DEVICE,
	SC_OPT_JSON,
	SC_OPT_HELP,
	SC_OPT_STREAM,
	SC_OPT_TOKEN,
	SC_OPT_LAYERS,
	SC_OPT_HEADS,
	SC_OPT_GROUP,
	SC_OPT_DWELL,
	SC_OPT_DEADLINE,
	SC_OPT_DUE,
	SC_OPT_PRIORITY,
	SC_OPT_PARTIAL,
	SC_OPT_END,
	SC_OPT_TOP,
	SC_OPT_LAST,
	SC_OPT_POLICY,
	SC_OPT_STEPS,
	SC_OPT_SRAM,
	SC_OPT_TAIL,
	SC_OPT_T_SINK,
	SC_OPT_PROPOSE,
	SC_OPT_APPLY,
	SC_OPT_IMPORT,
	SC_OPT_THRESHOLD,
	SC_OPT_OUTPUT,
	SC_OPT_COUNT
};

#define SC_BIT(option) (1u << SC_OPT_##option)
#define SC_GLOBAL (SC_BIT(DEVICE) | SC_BIT(JSON) | SC_BIT(HELP))

struct sc_run;
struct sc_device;

struct sc_option {
	const char *name;  /* long name without dashes */
	char letter;	   /* short name, 0 = none */
	const char *value; /* what the value is called in the help, NULL = takes none */
	const char *doc;   /* one line */
	int (*parse)(struct sc_run *run, const char *text); /* 0, or the usage error's exit code */
};

/* One key of a record: its JSON name, and how it looks in a table. */
struct sc_key {
	const char *name; /* JSON key */
	const char *type; /* JSON type if it is not null: integer, number, string, boolean, array, object */
	const char *head; /* column heading, NULL = not in the table */
	/* writes the table's cell; NULL = by type */
	void (*cell)(char *text, size_t size, json_object *record, const struct sc_key *key);
	const char *doc; /* one line for the man page */
};

/* Where a command's records stand, and their keys (ended by a NULL name). */
struct sc_view {
	const char *list; /* the array of records; NULL = the device, or the document, is the record */
	const struct sc_key *keys;
	bool pairs; /* print one record as name and value lines */
	/* draws the device's record instead of a table; colours only if asked for; NULL = a table */
	void (*draw)(FILE *text, json_object *record, bool colour);
};

enum sc_scope {
	SC_OFFLINE,    /* opens no device */
	SC_LISTS,      /* every device; none is an answer, too */
	SC_READS,      /* every device if none is named */
	SC_CHANGES,    /* exactly one device */
	SC_MAY_CHANGE, /* like SC_CHANGES if run->changes says so, else like SC_READS */
};

struct sc_command {
	const char *name; /* one or two words */
	const char *args; /* what its arguments are called, "" = none */
	int min_args, max_args;
	unsigned options;  /* SC_BIT()s besides SC_GLOBAL */
	unsigned required; /* those of them that must be given */
	enum sc_scope scope;
	const struct sc_view *view;
	int (*prepare)(struct sc_run *run); /* checks arguments before any device is opened; may be NULL */
	int (*run)(struct sc_run *run, struct sc_device *device); /* 0, or < 0 after sc_error() */
	const char *doc;					  /* one line */
	const char *more;					  /* the rest of the help */
};

#define SC_MAX_SETTINGS 64

/* Rows that the command line names; what it leaves open is 0 until the stream is known. */
struct sc_place {
	uint32_t token;			 /* KVSINK_TOKEN_ALL = all */
	uint32_t layer_begin, layer_end; /* [begin, end); both 0 = --layers, else all */
	uint64_t head_mask;		 /* 0 = --heads, else all */
};

/* What the options say about rows. */
struct sc_target {
	uint64_t stream;			     /* 0 = none given */
	uint32_t layer_begin, layer_end;	     /* --layers: [begin, end); both 0 = all */
	uint64_t head_mask;			     /* --heads; 0 = all */
	struct sc_place place[DRM_KVSINK_MAX_ITEMS]; /* of --token and of arguments */
	unsigned places;
};

/* One NAME[=VALUE] of config. */
struct sc_setting {
	int param; /* row of sc_params */
	bool set;
	uint64_t value;
	const char *text; /* the value as it was typed */
};

struct sc_run {
	FILE *out, *err;
	const struct sc_command *command; /* NULL until the command line has named one */
	bool json, help;
	unsigned given;	    /* SC_BIT()s seen */
	const char *device; /* of -d, or NULL */
	struct sc_target target;
	uint32_t group;		      /* of --group; KVSINK_GROUP_ALL = none given */
	struct kvs_contract contract; /* of --dwell, --deadline, --due, --priority, --partial */
	uint64_t lease_ns;	      /* --deadline from now; 0 = none */
	uint32_t top, last;	      /* 0 = all */
	const char *policy, *import, *output;
	uint32_t steps, sram_bytes;
	int32_t tail; /* of kvs_policy_options */
	float t_sink, threshold;
	bool apply;
	char **args; /* arguments behind the command */
	int arg_count;
	struct sc_setting setting[SC_MAX_SETTINGS]; /* config */
	unsigned settings;
	bool changes;	  /* SC_MAY_CHANGE: it does */
	uint64_t value;	  /* regs decode: the value */
	json_object *doc; /* the document; it owns the two below */
	json_object *devices, *errors;
	char *text;	   /* help text instead of a table, to be freed; or NULL */
	bool partial;	   /* something succeeded although there are errors */
	enum sc_exit exit; /* of the first error; SC_DONE so far */
};

struct sc_device {
	struct kvs_device *kvs;
	const char *label;   /* how messages call it: node, or the library's name */
	json_object *record; /* its entry in devices[] */
};

/* run.c */
int sinkctl_main(int argc, char **argv);
int sinkctl_run(int argc, char **argv, FILE *out, FILE *err);
/* Report a failure: what failed, with -errno, the chip's code or NULL, and details or NULL. Returns @error.
 */
int sc_error(struct sc_run *run, struct sc_device *device, int error, const char *code, const char *what,
	     const char *details);
/* Report a wrong command line; returns SC_USAGE. */
int sc_usage(struct sc_run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* One line on stderr; the JSON document does not contain it. */
void sc_note(struct sc_run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* An array of the device's record, or of the document (device NULL). */
json_object *sc_list(struct sc_run *run, struct sc_device *device, const char *name);
/* Does it change a device? Then it must be told which. */
bool sc_changes(const struct sc_run *run);

/* parse.c, options.c */
extern const struct sc_option sc_options[SC_OPT_COUNT];
int sc_parse(struct sc_run *run, int argc, char **argv);
bool sc_parse_heads(const char *text, uint64_t *mask);

/* commands.c, views.c, help.c */
extern const struct sc_command sc_commands[];
const struct sc_command *sc_find_command(const char *first, const char *second, int *words);
bool sc_is_first_word(const char *name, const char *word);
bool sc_is_group(const char *word);
extern const struct sc_key sc_device_keys[];
extern const struct sc_view sc_list_view, sc_info_view, sc_reg_list_view, sc_reg_view, sc_tag_view,
	sc_map_view, sc_contract_view, sc_stream_view, sc_prefix_view, sc_window_view, sc_counter_view,
	sc_score_view, sc_verdict_view, sc_profile_view, sc_event_view, sc_trace_view, sc_config_view,
	sc_promote_view, sc_contract_set_view, sc_evict_view, sc_place_view, sc_replay_view, sc_version_view,
	sc_help_view;
void sc_help_command(FILE *out, const struct sc_command *command);
json_object *sc_command_record(const struct sc_command *command);
int sc_help_prepare(struct sc_run *run);
int sc_help(struct sc_run *run, struct sc_device *device);

/* print.c, draw.c */
void sc_complete(struct sc_run *run);
int sc_print(struct sc_run *run);
json_object *sc_get(json_object *record, const char *key);
uint64_t sc_get_u64(json_object *record, const char *key);
void sc_cell_bytes(char *text, size_t size, json_object *record, const struct sc_key *key);
void sc_cell_offset(char *text, size_t size, json_object *record, const struct sc_key *key);
void sc_cell_layers(char *text, size_t size, json_object *record, const struct sc_key *key);
void sc_cell_tokens(char *text, size_t size, json_object *record, const struct sc_key *key);
void sc_cell_value(char *text, size_t size, json_object *record, const struct sc_key *key);
void sc_cell_ns(char *text, size_t size, json_object *record, const struct sc_key *key);
void sc_draw_profile(FILE *text, json_object *record, bool colour);
void sc_draw_map(FILE *text, json_object *record, bool colour);

/* value.c */
bool sc_parse_u64(const char *text, uint64_t max, uint64_t *value);
bool sc_parse_range(const char *text, uint32_t limit, uint32_t *begin, uint32_t *end);
bool sc_parse_bytes(const char *text, uint64_t *bytes);
bool sc_parse_duration(const char *text, uint64_t max, uint64_t *ns);
/* A decimal, finite, not negative and not lost in rounding; its binary32 pattern. */
bool sc_parse_float(const char *text, uint32_t *pattern);
float sc_from_pattern(uint32_t pattern);
void sc_put(json_object *record, const char *key, json_object *value);
void sc_put_u64(json_object *record, const char *key, uint64_t value);
void sc_put_bool(json_object *record, const char *key, bool value);
void sc_put_hex(json_object *record, const char *key, uint64_t value, unsigned width);
void sc_put_text(json_object *record, const char *key, const char *text);
void sc_put_heads(json_object *record, const char *key, uint64_t mask);
json_object *sc_float(uint32_t pattern);
/* value, hex, float, symbol and fields of a register or parameter */
void sc_put_value(json_object *record, const char *name, unsigned width, uint64_t value);
char *sc_clean(const char *text);

/* params.c */
enum sc_param_scope { SC_DEVICE, SC_STREAM, SC_GROUP };

struct sc_param {
	const char *name, *kind, *doc;
	enum sc_param_scope scope;
	uint64_t initial; /* the table's default */
};
extern const struct sc_param sc_params[KVSINK_PARAM_COUNT];
int sc_find_param(const char *name);
unsigned sc_param_width(int param);
/* setting->text to its value; 0, or the exit code after a usage error */
int sc_parse_setting(struct sc_run *run, struct sc_setting *setting);
/* The value as sc_parse_setting() takes it. */
void sc_param_text(int param, uint64_t value, char *text, size_t size);
const char *sc_symbol(const char *name, uint64_t value);

/* config.c */
int sc_config_prepare(struct sc_run *run);
int sc_config(struct sc_run *run, struct sc_device *device);
/* All settings for the group (KVSINK_GROUP_ALL: every one), or none; adds their records. */
int sc_apply(struct sc_run *run, struct sc_device *device, const struct sc_setting *settings, unsigned count,
	     uint32_t group, json_object *list);

/* regs.c */
int sc_regs_list(struct sc_run *run, struct sc_device *device);
int sc_regs_read_prepare(struct sc_run *run);
int sc_regs_read(struct sc_run *run, struct sc_device *device);
int sc_regs_dump(struct sc_run *run, struct sc_device *device);
int sc_regs_decode_prepare(struct sc_run *run);
int sc_regs_decode(struct sc_run *run, struct sc_device *device);
json_object *sc_fields(const char *reg, uint64_t value);

/* device.c */
/* Names of the devices that the run is about, each and the array to be freed; < 0 after reporting. */
int sc_select(struct sc_run *run, char ***names);
void sc_identify(struct sc_device *device, const char *name);
bool sc_is_admin(struct sc_device *device);
int sc_list_devices(struct sc_run *run, struct sc_device *device);
int sc_info(struct sc_run *run, struct sc_device *device);

/* inspect.c */
/*
 * All records of a kind, each at least @expected bytes; an older device's shorter ones are refused.
 * Returns their number or < 0 after reporting.
 */
int sc_query(struct sc_run *run, struct sc_device *device, uint32_t type, uint64_t stream, uint32_t group,
	     size_t expected, char **records, size_t *bytes);
/* Records of the stream, or of all streams and prefixes (id 0); `records` is to be freed. < 0 after
 * reporting. */
struct sc_streams {
	char *records;
	size_t bytes; /* of one */
	int count;
};
int sc_query_streams(struct sc_run *run, struct sc_device *device, uint64_t id, struct sc_streams *streams);
const struct kvsink_stream_rec *sc_stream_at(const struct sc_streams *streams, int i);
uint64_t sc_now_ns(void);
/* The stream's record; < 0 after reporting that there is none. */
int sc_find_stream(struct sc_run *run, struct sc_device *device, struct kvsink_stream_rec *stream);
/* Records of the past name streams that ended, too. An error if neither they nor the device know --stream. */
int sc_check_past(struct sc_run *run, struct sc_device *device, uint32_t records);
/* Layers of a score group. */
void sc_group_layers(const struct kvsink_stream_rec *stream, uint32_t group, uint32_t *begin, uint32_t *end);
/* --group is one of the stream's; 0, or the exit code after a usage error. */
int sc_check_group(struct sc_run *run, const struct kvsink_stream_rec *stream);
int sc_tags(struct sc_run *run, struct sc_device *device);
int sc_contracts(struct sc_run *run, struct sc_device *device);
int sc_counters(struct sc_run *run, struct sc_device *device);
void sc_put_tag(json_object *record, const struct kvsink_tag_rec *tag, bool admin);

/* streams.c */
int sc_streams(struct sc_run *run, struct sc_device *device);
int sc_windows(struct sc_run *run, struct sc_device *device);
int sc_prefixes(struct sc_run *run, struct sc_device *device);

/* place.c */
int sc_places_prepare(struct sc_run *run);
int sc_promote(struct sc_run *run, struct sc_device *device);
int sc_evict(struct sc_run *run, struct sc_device *device);
int sc_contract_prepare(struct sc_run *run);
int sc_contract(struct sc_run *run, struct sc_device *device);

/* scores.c: scores, verdicts */
int sc_scores(struct sc_run *run, struct sc_device *device);
int sc_verdicts(struct sc_run *run, struct sc_device *device);

/* replay.c */
int sc_replay(struct sc_run *run, struct sc_device *device);

/* profile.c, map.c, events.c, trace.c, policy.c */
int sc_profile_prepare(struct sc_run *run);
int sc_profile(struct sc_run *run, struct sc_device *device);
int sc_map(struct sc_run *run, struct sc_device *device);
int sc_events(struct sc_run *run, struct sc_device *device);
int sc_trace(struct sc_run *run, struct sc_device *device);
int sc_policy_prepare(struct sc_run *run);
int sc_policy(struct sc_run *run, struct sc_device *device);

#endif
