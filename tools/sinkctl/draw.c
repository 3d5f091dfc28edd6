// SPDX-License-Identifier: MIT
/*
 * What is drawn instead of a table, from the finished tree like every table: the heat map of the profile
 * and the residency map. Plain ASCII; colours come on top of it, so that a file or a pipe gets the same.
 */
#include "sinkctl.h"

#include <inttypes.h>
#include <string.h>

#define MAP_COLUMNS 96

/* Colours from cold to hot, of 256. */
static const int heat[] = {236, 18, 25, 31, 36, 106, 178, 208, 202, 196};

#define HEATS ((int)(sizeof(heat) / sizeof(*heat)))

/* A cell of `width` characters; share is 0 to 1. */
static void draw_cell(FILE *text, const char *cell, double share, bool colour)
{
	int i = (int)(share * HEATS);

	if (i > HEATS - 1)
		i = HEATS - 1;
	if (colour)
		fprintf(text, "\033[48;5;%dm\033[38;5;%dm%s\033[0m", heat[i], i < 4 ? 252 : 16, cell);
	else
		fputs(cell, text);
}

/* ---- profile ----------------------------------------------------------------------------------- */

static double share_of(json_object *record)
{
	return json_object_get_double(sc_get(record, "share"));
}

static double largest(json_object *list)
{
	double most = 0;

	for (size_t i = 0; i < json_object_array_length(list); i++) {
		double share = share_of(json_object_array_get_idx(list, i));

		most = share > most ? share : most;
	}
	return most;
}

static void draw_heads(FILE *text, json_object *list)
{
	uint64_t layer = sc_get_u64(json_object_array_get_idx(list, 0), "layer");

	fprintf(text, "LAYER  GROUP  SHARE OF ATTENTION ON SINKS, BY KV HEAD\n             ");
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		json_object *record = json_object_array_get_idx(list, i);

		if (sc_get_u64(record, "layer") != layer)
			break;
		fprintf(text, " %5" PRIu64, sc_get_u64(record, "head"));
	}
	fputc('\n', text);
}

static void draw_proposal(FILE *text, json_object *list, bool applied)
{
	if (!list)
		return;
	fprintf(text, "\n%s:\n", applied ? "set" : "proposal");
	for (size_t i = 0; i < json_object_array_length(list); i++)
		fprintf(text, "  %s\n",
			json_object_get_string(sc_get(json_object_array_get_idx(list, i), "command")));
}

void sc_draw_profile(FILE *text, json_object *device, bool colour)
{
	json_object *list = sc_get(device, "profile");
	double most = largest(list);
	int64_t layer = -1;
	char cell[16];

	if (!json_object_array_length(list))
		return;
	draw_heads(text, list);
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		json_object *record = json_object_array_get_idx(list, i);

		if ((int64_t)sc_get_u64(record, "layer") != layer) {
			layer = sc_get_u64(record, "layer");
			fprintf(text, "%s%5" PRId64 "  %5" PRIu64 " ", i ? "\n" : "", layer,
				sc_get_u64(record, "group"));
		}
		snprintf(cell, sizeof(cell), "%5.3f", share_of(record));
		fputc(' ', text);
		draw_cell(text, cell, most > 0 ? share_of(record) / most : 0, colour);
	}
	fputc('\n', text);
	draw_proposal(text, sc_get(device, "proposal"), json_object_get_boolean(sc_get(device, "applied")));
}

/* ---- map --------------------------------------------------------------------------------------- */

/* Tokens of the array within [begin, end). */
static unsigned within(json_object *array, uint64_t begin, uint64_t end)
{
	unsigned count = 0;

	for (size_t i = 0; i < json_object_array_length(array); i++) {
		uint64_t token = json_object_get_uint64(json_object_array_get_idx(array, i));

		count += token >= begin && token < end;
	}
	return count;
}

/* What a column of tokens [begin, end) shows: t tail, c copying, else how many of them are resident. */
static char symbol(json_object *layer, uint64_t begin, uint64_t end, double *share)
{
	uint64_t tail = sc_get_u64(layer, "tail_begin"), tail_end = sc_get_u64(layer, "tail_end");
	unsigned resident = within(sc_get(layer, "tokens"), begin, end);

	*share = (double)resident / (double)(end - begin);
	if (tail < end && tail_end > begin) {
		*share = 1;
		return 't';
	}
	if (within(sc_get(layer, "copying"), begin, end))
		return 'c';
	return !resident ? '.' : resident == end - begin ? '#' : '+';
}

static void draw_layer(FILE *text, json_object *layer, uint64_t length, uint64_t step, bool colour)
{
	char cell[2] = "", bytes[40];
	const struct sc_key key = {.name = "bytes"};

	sc_cell_bytes(bytes, sizeof(bytes), layer, &key);
	fprintf(text, "%5" PRIu64 "  ", sc_get_u64(layer, "layer"));
	for (uint64_t begin = 0; begin < length; begin += step) {
		uint64_t end = begin + step < length ? begin + step : length;
		double share;

		cell[0] = symbol(layer, begin, end, &share);
		draw_cell(text, cell, share, colour);
	}
	fprintf(text, "  %s\n", bytes);
}

void sc_draw_map(FILE *text, json_object *device, bool colour)
{
	json_object *list = sc_get(device, "layers");
	uint64_t length = sc_get_u64(device, "length"), step = (length + MAP_COLUMNS - 1) / MAP_COLUMNS;

	if (!json_object_array_length(list))
		return;
	fprintf(text,
		"LAYER  %" PRIu64 " TOKENS, %" PRIu64 " A COLUMN; # all in SRAM, + some, . none, c copying,"
		" t tail; BYTES\n",
		length, step ? step : 1);
	for (size_t i = 0; i < json_object_array_length(list); i++)
		draw_layer(text, json_object_array_get_idx(list, i), length, step, colour);
}
