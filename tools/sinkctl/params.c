// SPDX-License-Identifier: MIT
/*
 * Values of the parameters of kvsink_hw.h: from the command line and back. A value is checked here so that
 * the message can say what is allowed; the driver checks it again.
 */
#include "sinkctl.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define WHOLE_RANGE 0xffff0000u
#define NO_LIMIT UINT32_MAX
#define MAX_WEIGHT 256

const struct sc_param sc_params[KVSINK_PARAM_COUNT] = {
#define DEVICE SC_DEVICE
#define STREAM SC_STREAM
#define GROUP SC_GROUP
#define X(name, index, kind, scope, def, doc) [index] = {#name, #kind, doc, scope, def},
	KVSINK_PARAMS(X)
#undef X
#undef DEVICE
#undef STREAM
#undef GROUP
};

int sc_find_param(const char *name)
{
	for (int i = 0; i < KVSINK_PARAM_COUNT; i++)
		if (!strcasecmp(name, sc_params[i].name))
			return i;
	return -1;
}

unsigned sc_param_width(int param)
{
	return !strcmp(sc_params[param].kind, "U64") ? 64 : 32;
}

/* ---- from the command line ------------------------------------------------------------------- */

static int refuse(struct sc_run *run, const struct sc_setting *setting, const char *allowed)
{
	return sc_usage(run, "%s '%s': %s", sc_params[setting->param].name, setting->text, allowed);
}

static int parse_float(struct sc_run *run, struct sc_setting *setting)
{
	uint32_t pattern;

	if (!sc_parse_float(setting->text, &pattern))
		return refuse(run, setting,
			      "a decimal number, 0 or from 1.4e-45 to 3.4028235e38, is allowed");
	if (setting->param == KVSINK_PARAM_ALPHA && !(sc_from_pattern(pattern) < 1))
		return refuse(run, setting, "a decimal number from 0 to below 1 is allowed");
	if (setting->param == KVSINK_PARAM_EPSILON && (!pattern || !(sc_from_pattern(pattern) < 1)))
		return refuse(run, setting, "a decimal number above 0 and below 1 is allowed");
	setting->value = pattern;
	return 0;
}

/* A name of value.c's list, or its number. */
static int parse_symbol(struct sc_run *run, struct sc_setting *setting, const char *allowed)
{
	const char *name, *param = sc_params[setting->param].name;

	for (uint64_t value = 0; (name = sc_symbol(param, value)); value++)
		if (!strcasecmp(name, setting->text)) {
			setting->value = value;
			return 0;
		}
	if (!sc_parse_u64(setting->text, UINT32_MAX, &setting->value) || !sc_symbol(param, setting->value))
		return refuse(run, setting, allowed);
	return 0;
}

static int parse_bytes(struct sc_run *run, struct sc_setting *setting)
{
	setting->value = NO_LIMIT;
	if (!strcmp(setting->text, "none") || sc_parse_bytes(setting->text, &setting->value))
		return 0;
	return refuse(run, setting,
		      "bytes from 0 to 4294967295 are allowed, a number with K, M or G, or none (no limit)");
}

static bool parse_range(const char *text, uint64_t *range)
{
	uint32_t begin, end;

	*range = WHOLE_RANGE;
	if (!strcmp(text, "all"))
		return true;
	if (strncmp(text, "0x", 2)) {
		if (!sc_parse_range(text, KVSINK_MAX_LAYERS, &begin, &end))
			return false;
		*range = begin | (uint64_t)end << 16;
		return true;
	}
	return sc_parse_u64(text, UINT32_MAX, range) && (*range & 0xffff) < *range >> 16;
}

static int parse_layer_range(struct sc_run *run, struct sc_setting *setting)
{
	if (parse_range(setting->text, &setting->value))
		return 0;
	return refuse(run, setting,
		      "FIRST-LAST with layers from 0 to 127 is allowed, all, or begin | end << 16 after 0x");
}

/* FIRST-LAST:WEIGHT */
static int parse_layer_weight(struct sc_run *run, struct sc_setting *setting)
{
	char *range = strdup(setting->text), *weight = strchr(range, ':');
	uint32_t pattern = 0;
	bool good = weight != NULL;

	if (good)
		*weight++ = 0;
	good = good && parse_range(range, &setting->value) && sc_parse_float(weight, &pattern) &&
	       sc_from_pattern(pattern) < MAX_WEIGHT;
	free(range);
	setting->value |= (uint64_t)pattern << 32;
	return good ? 0
		    : refuse(run, setting,
			     "FIRST-LAST:WEIGHT is allowed, such as 16-31:2 or all:1; layers from 0 to 127,"
			     " weight from 0 to below 256");
}

static int parse_head_mask(struct sc_run *run, struct sc_setting *setting)
{
	bool mask = !strncmp(setting->text, "0x", 2);

	if (mask ? sc_parse_u64(setting->text, UINT64_MAX, &setting->value)
		 : sc_parse_heads(setting->text, &setting->value)) {
		if (!strcmp(setting->text, "all"))
			setting->value = UINT64_MAX;
		return 0;
	}
	return refuse(run, setting,
		      "a list such as 0,2,4-7 of KV heads from 0 to 63 is allowed, all, or a mask after 0x");
}

static int parse_tenant_tag(struct sc_run *run, struct sc_setting *setting)
{
	setting->value = UINT32_MAX;
	if (!strcmp(setting->text, "tenant") || sc_parse_u64(setting->text, UINT32_MAX, &setting->value))
		return 0;
	return refuse(run, setting, "an integer from 0 to 4294967294 is allowed, or tenant");
}

static int parse_number(struct sc_run *run, struct sc_setting *setting, uint64_t min, uint64_t max)
{
	char allowed[80];

	if (sc_parse_u64(setting->text, max, &setting->value) && setting->value >= min)
		return 0;
	snprintf(allowed, sizeof(allowed), "an integer from %" PRIu64 " to %" PRIu64 " is allowed", min, max);
	return refuse(run, setting, allowed);
}

int sc_parse_setting(struct sc_run *run, struct sc_setting *setting)
{
	if (!strcmp(sc_params[setting->param].kind, "F32"))
		return parse_float(run, setting);
	switch (setting->param) {
	case KVSINK_PARAM_SCORE_MODE:
		return parse_symbol(run, setting, "0 or RAW, 1 or MEAN, 2 or REL is allowed");
	case KVSINK_PARAM_PLACEMENT:
		return parse_symbol(run, setting, "0 or OFF, 1 or OBSERVE, 2 or AUTO is allowed");
	case KVSINK_PARAM_GATE:
		return parse_symbol(run, setting, "0 or MASS, 1 or ABS, 2 or REL is allowed");
	case KVSINK_PARAM_GATE_BUFFER:
	case KVSINK_PARAM_CERTIFY:
		return parse_number(run, setting, 0, 1);
	case KVSINK_PARAM_SRAM_BUDGET:
	case KVSINK_PARAM_TENANT_CAP:
		return parse_bytes(run, setting);
	case KVSINK_PARAM_LAYER_RANGE:
		return parse_layer_range(run, setting);
	case KVSINK_PARAM_LAYER_WEIGHT:
		return parse_layer_weight(run, setting);
	case KVSINK_PARAM_HEAD_MASK:
		return parse_head_mask(run, setting);
	case KVSINK_PARAM_TENANT_TAG:
		return parse_tenant_tag(run, setting);
	case KVSINK_PARAM_N_PROMOTE:
	case KVSINK_PARAM_N_EVICT:
		return parse_number(run, setting, 1, 65535);
	case KVSINK_PARAM_TAIL_TOKENS:
		return parse_number(run, setting, 0, KVSINK_MAX_TAIL_TOKENS);
	case KVSINK_PARAM_PRIORITY:
		return parse_number(run, setting, 0, KVSINK_MAX_PRIORITY);
	default:
		return parse_number(run, setting, 0, UINT32_MAX);
	}
}

/* ---- and back -------------------------------------------------------------------------------- */

static void range_text(uint32_t range, char *text, size_t size)
{
	if (range >> 16 == WHOLE_RANGE >> 16 && !(range & 0xffff))
		snprintf(text, size, "all");
	else if (range >> 16 <= KVSINK_MAX_LAYERS)
		snprintf(text, size, "%u-%u", range & 0xffff, (range >> 16) - 1);
	else
		snprintf(text, size, "0x%08x", range);
}

static void mask_text(uint64_t mask, char *text, size_t size)
{
	size_t used = 0;

	if (mask == UINT64_MAX || !mask) {
		snprintf(text, size, mask ? "all" : "0x0");
		return;
	}
	for (unsigned head = 0, last; head < 64 && used < size; head = last + 1) {
		last = head;
		if (!(mask >> head & 1))
			continue;
		while (last < 63 && mask >> (last + 1) & 1)
			last++;
		used += snprintf(text + used, size - used, last > head ? "%s%u-%u" : "%s%u", used ? "," : "",
				 head, last);
	}
}

/* 64K rather than 65536. */
static void bytes_text(uint64_t bytes, char *text, size_t size)
{
	unsigned unit = 0;

	while (bytes && !(bytes & 1023) && unit < 3) {
		bytes >>= 10;
		unit++;
	}
	snprintf(text, size, "%" PRIu64 "%.1s", bytes, &"\0KMG"[unit]);
}

static void float_text(uint32_t pattern, char *text, size_t size)
{
	json_object *number = sc_float(pattern);

	snprintf(text, size, "%s", number ? json_object_get_string(number) : "?");
	json_object_put(number);
}

static void weight_text(uint64_t value, char *text, size_t size)
{
	char range[24], weight[40];

	range_text((uint32_t)value, range, sizeof(range));
	float_text(value >> 32, weight, sizeof(weight));
	snprintf(text, size, "%s:%s", range, weight);
}

static bool is_word(int param, uint64_t value, char *text, size_t size)
{
	const char *word = sc_symbol(sc_params[param].name, value);
	bool limit = param == KVSINK_PARAM_SRAM_BUDGET || param == KVSINK_PARAM_TENANT_CAP;

	if (value == NO_LIMIT && limit)
		word = "none";
	if (value == UINT32_MAX && param == KVSINK_PARAM_TENANT_TAG)
		word = "tenant";
	if (word)
		snprintf(text, size, "%s", word);
	return word;
}

void sc_param_text(int param, uint64_t value, char *text, size_t size)
{
	if (is_word(param, value, text, size))
		return;
	if (!strcmp(sc_params[param].kind, "F32"))
		float_text(value, text, size);
	else if (param == KVSINK_PARAM_SRAM_BUDGET || param == KVSINK_PARAM_TENANT_CAP)
		bytes_text(value, text, size);
	else if (param == KVSINK_PARAM_LAYER_RANGE)
		range_text(value, text, size);
	else if (param == KVSINK_PARAM_LAYER_WEIGHT)
		weight_text(value, text, size);
	else if (param == KVSINK_PARAM_HEAD_MASK)
		mask_text(value, text, size);
	else
		snprintf(text, size, "%" PRIu64, value);
}
