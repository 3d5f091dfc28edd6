// SPDX-License-Identifier: MIT
/*
 * config get, config set: the parameters of kvsink_hw.h. A value is checked here so that the message
 * can say what is allowed; the driver checks it again.
 */
#include "sinkctl.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const struct sc_param sc_params[KVSINK_PARAM_COUNT] = {
#define X(name, index, kind, scope, def, doc) [index] = {#name, #kind, doc, def},
	KVSINK_PARAMS(X)
#undef X
};

int sc_find_param(const char *name)
{
	for (int i = 0; i < KVSINK_PARAM_COUNT; i++)
		if (!strcasecmp(name, sc_params[i].name))
			return i;
	return -1;
}

static unsigned param_width(int param)
{
	return !strcmp(sc_params[param].kind, "U64") ? 64 : 32;
}

static int need_param(struct sc_run *run, const char *name)
{
	int param = sc_find_param(name);

	if (param < 0)
		return sc_usage(run, "no parameter '%s'; 'sinkctl config get' lists them", name);
	run->param = param;
	return 0;
}

/* ---- values from the command line ------------------------------------------------------------ */

/* Decimal, so that 0x3dcccccd is not taken for a number near 10^9. */
static int parse_float(struct sc_run *run, const char *text)
{
	float number;
	uint32_t pattern;
	char *end;

	number = strtof(text, &end);
	if (end == text || *end || strpbrk(text, "xX") || !isfinite(number) || signbit(number))
		return sc_usage(run, "%s '%s': a decimal number from 0 to 3.4028235e38 is allowed",
				sc_params[run->param].name, text);
	if (number == 0 && strcspn(text, "123456789") < strcspn(text, "eE"))
		return sc_usage(run, "%s '%s': too small; 0 or a number from 1.4e-45 is allowed",
				sc_params[run->param].name, text);
	memcpy(&pattern, &number, sizeof(pattern));
	run->value = pattern;
	return 0;
}

static int parse_mode(struct sc_run *run, const char *text)
{
	static const char *const names[] = {"RAW", "MEAN", "REL"};

	for (unsigned i = 0; i < 3; i++)
		if (!strcasecmp(text, names[i])) {
			run->value = i;
			return 0;
		}
	if (!sc_parse_u64(text, KVSINK_SCORE_REL, &run->value))
		return sc_usage(run, "SCORE_MODE '%s': 0 or RAW, 1 or MEAN, 2 or REL is allowed", text);
	return 0;
}

/* A number of bytes, with K, M or G for powers of 1024. */
static int parse_bytes(struct sc_run *run, const char *text)
{
	static const char units[] = "KMG";
	size_t length = strlen(text);
	const char *unit = length > 1 ? strchr(units, text[length - 1]) : NULL;
	unsigned shift = unit ? 10 * (unit - units + 1) : 0;
	char *digits = strndup(text, unit ? length - 1 : length);
	bool good = digits && sc_parse_u64(digits, UINT32_MAX >> shift, &run->value);

	free(digits);
	if (!good)
		return sc_usage(run,
				"%s '%s': bytes from 0 to 4294967295 are allowed, or a number with K, M or G",
				sc_params[run->param].name, text);
	run->value <<= shift;
	return 0;
}

static int parse_layer_range(struct sc_run *run, const char *text)
{
	uint32_t begin, end;

	if (strchr(text, '-')) {
		if (!sc_parse_range(text, KVSINK_MAX_LAYERS, &begin, &end))
			return sc_usage(run,
					"LAYER_RANGE '%s': FIRST-LAST with layers from 0 to %d is allowed",
					text, KVSINK_MAX_LAYERS - 1);
		run->value = begin | (uint64_t)end << 16;
		return 0;
	}
	if (!sc_parse_u64(text, UINT32_MAX, &run->value) || (run->value & 0xffff) >= run->value >> 16)
		return sc_usage(
			run, "LAYER_RANGE '%s': FIRST-LAST, or begin | end << 16 with begin < end is allowed",
			text);
	return 0;
}

static int parse_number(struct sc_run *run, const char *text)
{
	uint64_t max = param_width(run->param) == 64 ? UINT64_MAX : UINT32_MAX;

	if (!sc_parse_u64(text, max, &run->value))
		return sc_usage(run, "%s '%s': an integer from 0 to 0x%llx is allowed",
				sc_params[run->param].name, text, (unsigned long long)max);
	return 0;
}

static int parse_value(struct sc_run *run, const char *text)
{
	if (!strcmp(sc_params[run->param].kind, "F32"))
		return parse_float(run, text);
	switch (run->param) {
	case KVSINK_PARAM_SCORE_MODE:
		return parse_mode(run, text);
	case KVSINK_PARAM_SRAM_BUDGET:
		return parse_bytes(run, text);
	case KVSINK_PARAM_LAYER_RANGE:
		return parse_layer_range(run, text);
	default:
		return parse_number(run, text);
	}
}

int sc_config_get_prepare(struct sc_run *run)
{
	int exit = 0;

	for (int i = 0; i < run->arg_count && !exit; i++)
		exit = need_param(run, run->args[i]);
	return exit;
}

int sc_config_set_prepare(struct sc_run *run)
{
	int exit = need_param(run, run->args[0]);

	return exit ? exit : parse_value(run, run->args[1]);
}

/* ---- commands -------------------------------------------------------------------------------- */

static json_object *add_record(json_object *list, struct sc_run *run, int param, uint64_t value)
{
	json_object *record = json_object_new_object();

	sc_put_text(record, "name", sc_params[param].name);
	sc_put(record, "stream", run->target.stream ? json_object_new_uint64(run->target.stream) : NULL);
	sc_put_text(record, "kind", sc_params[param].kind);
	sc_put_value(record, sc_params[param].name, param_width(param), value);
	sc_put_text(record, "description", sc_params[param].doc);
	json_object_array_add(list, record);
	return record;
}

static int get(struct sc_run *run, struct sc_device *device, int param, uint64_t *value)
{
	int error = kvs_config_get(device->kvs, run->target.stream, param, value);

	return error ? sc_error(run, device, error, NULL, "config get", NULL) : 0;
}

int sc_config_get(struct sc_run *run, struct sc_device *device)
{
	json_object *list = sc_list(run, device, "parameters");
	int count = run->arg_count ? run->arg_count : KVSINK_PARAM_COUNT;

	for (int i = 0; i < count; i++) {
		int param = run->arg_count ? sc_find_param(run->args[i]) : i;
		uint64_t value;

		if (get(run, device, param, &value))
			return -1;
		add_record(list, run, param, value);
	}
	return 0;
}

int sc_config_set(struct sc_run *run, struct sc_device *device)
{
	json_object *list = sc_list(run, device, "parameters"), *record;
	uint64_t before, after;
	int error;

	if (get(run, device, run->param, &before))
		return -1;
	error = kvs_config_set(device->kvs, run->target.stream, run->param, run->value);
	if (error)
		return sc_error(run, device, error, NULL, "config set", NULL);
	if (get(run, device, run->param, &after))
		return -1;
	record = add_record(list, run, run->param, after);
	sc_put_u64(record, "previous", before);
	sc_put_hex(record, "previous_hex", before, param_width(run->param));
	return 0;
}
