// SPDX-License-Identifier: MIT
/*
 * The two printers of the finished tree: one JSON document by json-c, or a table by libsmartcols whose
 * columns the command's view names. Output is built whole and then written.
 */
#include "sinkctl.h"

#include <inttypes.h>
#include <libsmartcols.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CELL_BYTES 512

/* ---- the tree is complete: a key that a view names is never missing -------------------------- */

static void complete_record(json_object *record, const struct sc_key *keys)
{
	for (; keys->name; keys++)
		if (!json_object_object_get_ex(record, keys->name, NULL))
			sc_put(record, keys->name, NULL);
}

static void complete_list(json_object *owner, const struct sc_view *view)
{
	json_object *list;

	if (!view->list) {
		complete_record(owner, view->keys);
		return;
	}
	if (!json_object_object_get_ex(owner, view->list, &list)) {
		list = json_object_new_array();
		sc_put(owner, view->list, list);
	}
	for (size_t i = 0; i < json_object_array_length(list); i++)
		complete_record(json_object_array_get_idx(list, i), view->keys);
}

void sc_complete(struct sc_run *run)
{
	json_object *device;

	for (size_t i = 0; i < json_object_array_length(run->devices); i++) {
		device = json_object_array_get_idx(run->devices, i);
		complete_record(device, sc_device_keys);
		complete_list(device, run->command->view);
	}
	if (run->command && run->command->scope == SC_OFFLINE && !run->help)
		complete_list(run->doc, run->command->view);
}

/* ---- cells ----------------------------------------------------------------------------------- */

json_object *sc_get(json_object *record, const char *key)
{
	return json_object_object_get(record, key);
}

uint64_t sc_get_u64(json_object *record, const char *key)
{
	return json_object_get_uint64(sc_get(record, key));
}

/* "4 MiB" where that is exact, else the number of bytes. */
void sc_cell_bytes(char *text, size_t size, json_object *record, const struct sc_key *key)
{
	static const char *const units[] = {"", " KiB", " MiB", " GiB", " TiB"};
	uint64_t bytes = json_object_get_uint64(sc_get(record, key->name));
	unsigned unit = 0;

	while (bytes && !(bytes & 1023) && unit < 4) {
		bytes >>= 10;
		unit++;
	}
	snprintf(text, size, "%" PRIu64 "%s", bytes, units[unit]);
}

void sc_cell_offset(char *text, size_t size, json_object *record, const struct sc_key *key)
{
	snprintf(text, size, "0x%03" PRIx64, json_object_get_uint64(sc_get(record, key->name)));
}

/* The half-open range [layer_begin, layer_end) the way people say it. */
void sc_cell_layers(char *text, size_t size, json_object *record, const struct sc_key *key)
{
	uint64_t begin = json_object_get_uint64(sc_get(record, key->name));
	uint64_t end = json_object_get_uint64(sc_get(record, "layer_end"));

	if (end == begin + 1)
		snprintf(text, size, "%" PRIu64, begin);
	else
		snprintf(text, size, "%" PRIu64 "-%" PRIu64, begin, end - 1);
}

/* One token, or of a tail the range that it holds now. */
void sc_cell_tokens(char *text, size_t size, json_object *record, const struct sc_key *key)
{
	uint64_t first = sc_get_u64(record, key->name), count = sc_get_u64(record, "tokens");

	if (!count)
		snprintf(text, size, "none yet");
	else if (count == 1)
		snprintf(text, size, "%" PRIu64, first);
	else
		snprintf(text, size, "%" PRIu64 "-%" PRIu64, first, first + count - 1);
}

/* A time in the largest unit of which it has at least one, with three digits behind the point at most. */
void sc_cell_ns(char *text, size_t size, json_object *record, const struct sc_key *key)
{
	static const char *const units[] = {"ns", "us", "ms", "s"};
	double time = (double)sc_get_u64(record, key->name);
	unsigned unit = 0;

	for (; time >= 1000 && unit < 3; unit++)
		time /= 1000;
	snprintf(text, size, unit ? "%.3f %s" : "%.0f %s", time, units[unit]);
}

/* A value with what it means: 1 (MEAN), 0.1, 0x00010000 with its fields stays a number. */
void sc_cell_value(char *text, size_t size, json_object *record, const struct sc_key *key)
{
	json_object *symbol = sc_get(record, "symbol"), *number = sc_get(record, "float");
	const char *value = json_object_get_string(number ? number : sc_get(record, key->name));

	if (symbol)
		snprintf(text, size, "%s (%s)", value, json_object_get_string(symbol));
	else
		snprintf(text, size, "%s", value);
}

static void cell_object(char *text, size_t size, json_object *object)
{
	size_t used = 0;

	json_object_object_foreach(object, name, value)
	{
		int n = snprintf(text + used, size - used, "%s%s=%s", used ? " " : "", name,
				 json_object_get_string(value));

		if (n < 0 || used + n >= size)
			return;
		used += n;
	}
}

/* Ascending integers, neighbours as ranges: 0-2,5. */
static void cell_array(char *text, size_t size, json_object *array)
{
	size_t length = json_object_array_length(array), used = 0;

	for (size_t i = 0, last; i < length; i = last + 1) {
		int64_t first = json_object_get_int64(json_object_array_get_idx(array, i));
		int64_t value = first;
		int n;

		for (last = i; last + 1 < length; last++, value++)
			if (json_object_get_int64(json_object_array_get_idx(array, last + 1)) != value + 1)
				break;
		n = snprintf(text + used, size - used, last > i ? "%s%" PRId64 "-%" PRId64 : "%s%" PRId64,
			     used ? "," : "", first, value);
		if (n < 0 || used + n >= size)
			return;
		used += n;
	}
}

static void cell_words(char *text, size_t size, json_object *array)
{
	size_t used = 0;

	for (size_t i = 0; i < json_object_array_length(array); i++) {
		int n = snprintf(text + used, size - used, "%s%s", used ? "," : "",
				 json_object_get_string(json_object_array_get_idx(array, i)));

		if (n < 0 || used + n >= size)
			return;
		used += n;
	}
}

static void cell_list(char *text, size_t size, json_object *array)
{
	if (!json_object_array_length(array))
		snprintf(text, size, "-");
	else if (json_object_is_type(json_object_array_get_idx(array, 0), json_type_string))
		cell_words(text, size, array);
	else
		cell_array(text, size, array);
}

static void cell_plain(char *text, size_t size, json_object *value)
{
	*text = 0;
	if (json_object_is_type(value, json_type_object))
		cell_object(text, size, value);
	else if (json_object_is_type(value, json_type_array))
		cell_list(text, size, value);
	else if (json_object_is_type(value, json_type_boolean))
		snprintf(text, size, "%s", json_object_get_boolean(value) ? "yes" : "no");
	else if (json_object_is_type(value, json_type_double))
		snprintf(text, size, "%.6g", json_object_get_double(value));
	else
		snprintf(text, size, "%s", json_object_get_string(value));
}

static void cell(char *text, size_t size, json_object *record, const struct sc_key *key)
{
	json_object *value = sc_get(record, key->name);

	if (!value)
		snprintf(text, size, "-");
	else if (key->cell)
		key->cell(text, size, record, key);
	else
		cell_plain(text, size, value);
}

/* ---- tables ---------------------------------------------------------------------------------- */

/* Never narrower than the data unless it goes to a terminal. */
static struct libscols_table *new_table(FILE *out)
{
	struct libscols_table *table = scols_new_table();
	bool terminal = fileno(out) >= 0 && isatty(fileno(out));

	if (table)
		scols_table_set_termforce(table, terminal ? SCOLS_TERMFORCE_AUTO : SCOLS_TERMFORCE_NEVER);
	return table;
}

static bool is_right(const struct sc_key *key)
{
	return !strcmp(key->type, "integer") || !strcmp(key->type, "number");
}

static void add_row(struct libscols_table *table, const struct sc_key *keys, const char *device,
		    json_object *record)
{
	struct libscols_line *line = scols_table_new_line(table, NULL);
	char text[CELL_BYTES];
	int column = 0;

	if (device)
		scols_line_set_data(line, column++, device);
	for (; keys->name; keys++) {
		if (!keys->head)
			continue;
		cell(text, sizeof(text), record, keys);
		scols_line_set_data(line, column++, text);
	}
}

static void add_list(struct libscols_table *table, const struct sc_view *view, const char *device,
		     json_object *owner)
{
	json_object *list;

	if (!view->list) {
		add_row(table, view->keys, device, owner);
		return;
	}
	list = sc_get(owner, view->list);
	for (size_t i = 0; i < json_object_array_length(list); i++)
		add_row(table, view->keys, device, json_object_array_get_idx(list, i));
}

static void add_pairs(struct libscols_table *table, const struct sc_view *view, const char *device,
		      json_object *record)
{
	char text[CELL_BYTES];

	for (const struct sc_key *key = view->keys; key->name; key++) {
		struct libscols_line *line;
		int column = 0;

		if (!key->head)
			continue;
		line = scols_table_new_line(table, NULL);
		if (device)
			scols_line_set_data(line, column++, device);
		cell(text, sizeof(text), record, key);
		scols_line_set_data(line, column++, key->head);
		scols_line_set_data(line, column, text);
	}
}

static void add_columns(struct libscols_table *table, const struct sc_view *view, bool several)
{
	if (several)
		scols_table_new_column(table, "DEVICE", 0, 0);
	if (view->pairs) {
		scols_table_new_column(table, "PROPERTY", 0, 0);
		scols_table_new_column(table, "VALUE", 0, 0);
		return;
	}
	for (const struct sc_key *key = view->keys; key->name; key++)
		if (key->head)
			scols_table_new_column(table, key->head, 0, is_right(key) ? SCOLS_FL_RIGHT : 0);
}

/* A device that could not be opened has nothing to show but itself, in the list. */
static bool is_shown(struct sc_run *run, json_object *device)
{
	const char *status = json_object_get_string(sc_get(device, "status"));

	return run->command->scope == SC_LISTS || !strcmp(status, "ok") || !strcmp(status, "failed");
}

static void fill(struct sc_run *run, struct libscols_table *table)
{
	void (*add)(struct libscols_table *, const struct sc_view *, const char *, json_object *);
	const struct sc_view *view = run->command->view;
	size_t devices = json_object_array_length(run->devices);
	bool several = devices > 1 && view->list;

	add = view->pairs ? add_pairs : add_list;
	add_columns(table, view, several);
	if (run->command->scope == SC_OFFLINE)
		add(table, view, NULL, run->doc);
	for (size_t i = 0; i < devices; i++) {
		json_object *device = json_object_array_get_idx(run->devices, i);

		if (!is_shown(run, device))
			continue;
		add(table, view, several ? json_object_get_string(sc_get(device, "name")) : NULL, device);
	}
}

static char *table_text(struct sc_run *run)
{
	struct libscols_table *table = new_table(run->out);
	char *text = NULL;

	if (!table)
		return NULL;
	fill(run, table);
	if (!scols_table_is_empty(table))
		scols_print_table_to_string(table, &text);
	else
		text = strdup("");
	scols_unref_table(table);
	return text;
}

/* What the view draws of each device. */
static char *drawn_text(struct sc_run *run)
{
	int fd = fileno(run->out);
	bool colour = fd >= 0 && isatty(fd) && !getenv("NO_COLOR");
	char *text = NULL;
	size_t size;
	FILE *file = open_memstream(&text, &size);

	for (size_t i = 0; file && i < json_object_array_length(run->devices); i++) {
		json_object *device = json_object_array_get_idx(run->devices, i);

		if (!is_shown(run, device))
			continue;
		if (json_object_array_length(run->devices) > 1)
			fprintf(file, "%s:\n", json_object_get_string(sc_get(device, "name")));
		run->command->view->draw(file, device, colour);
	}
	if (file)
		fclose(file);
	return text;
}

/* 0, or -1 with errno set. */
int sc_print(struct sc_run *run)
{
	int flags = JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE;
	int failed;

	if (run->json) {
		failed = fprintf(run->out, "%s\n", json_object_to_json_string_ext(run->doc, flags)) < 0;
		return failed | fflush(run->out);
	}
	/* Nothing to show besides the message on stderr. */
	if (!run->text && (!run->command || run->exit == SC_USAGE))
		return 0;
	if (!run->text)
		run->text = run->command->view->draw ? drawn_text(run) : table_text(run);
	if (!run->text)
		return -1;
	failed = fputs(run->text, run->out) < 0;
	/* libsmartcols leaves the last newline to us. */
	if (*run->text && run->text[strlen(run->text) - 1] != '\n')
		failed |= fputc('\n', run->out) < 0;
	return failed | fflush(run->out);
}
