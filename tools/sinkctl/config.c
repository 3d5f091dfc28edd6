// SPDX-License-Identifier: MIT
/*
 * config: shows and sets parameters. What the device would refuse is found out before anything is set, so
 * that a command line does all or nothing; what fails nevertheless is taken back.
 */
#include "sinkctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LAST_LAYER 0xffffu /* as the end of a range */

/* What parameters were, to be restored when a later one fails. */
struct undo {
	int param;
	uint32_t group;
	uint64_t value;
};

struct context {
	struct sc_run *run;
	struct sc_device *device;
	struct kvsink_stream_rec stream; /* if target.stream */
	uint32_t groups;		 /* of the stream; 1 for the device */
	uint32_t group;			 /* the one that is meant, or KVSINK_GROUP_ALL */
	struct undo undo[SC_MAX_SETTINGS * KVSINK_MAX_SCORE_GROUPS];
	unsigned undos;
	uint32_t weight[KVSINK_MAX_LAYERS]; /* of the layers (patterns) before anything was set */
};

/* ---- the command line -------------------------------------------------------------------------- */

static int add_setting(struct sc_run *run, const char *text)
{
	struct sc_setting *setting = &run->setting[run->settings];
	size_t length = strcspn(text, "=");
	char *name = strndup(text, length);

	*setting = (struct sc_setting){.param = sc_find_param(name), .set = text[length] == '='};
	free(name);
	if (setting->param < 0)
		return sc_usage(run, "no parameter '%.*s'; 'sinkctl config device' lists them", (int)length,
				text);
	for (unsigned i = 0; setting->set && i < run->settings; i++)
		if (run->setting[i].set && run->setting[i].param == setting->param &&
		    setting->param != KVSINK_PARAM_LAYER_WEIGHT)
			return sc_usage(run, "%s is given twice", sc_params[setting->param].name);
	setting->text = text + length + 1;
	run->settings++;
	run->changes |= setting->set;
	return setting->set ? sc_parse_setting(run, setting) : 0;
}

static int check_scope(struct sc_run *run, const struct sc_setting *setting)
{
	const struct sc_param *param = &sc_params[setting->param];

	if (run->target.stream && param->scope == SC_DEVICE)
		return sc_usage(
			run, "%s is the device's, not a stream's: 'sinkctl config device %s...' is allowed",
			param->name, param->name);
	if (run->group != KVSINK_GROUP_ALL && param->scope != SC_GROUP)
		return sc_usage(run, "--group '%u': %s is the same in all score groups; leave --group out",
				run->group, param->name);
	return 0;
}

int sc_config_prepare(struct sc_run *run)
{
	const char *target = run->args[0];
	int exit = 0;

	if (strcmp(target, "device") &&
	    (!sc_parse_u64(target, UINT64_MAX, &run->target.stream) || !run->target.stream))
		return sc_usage(run, "config '%s': a stream id from 1 is allowed, or device", target);
	if (!run->target.stream && run->group != KVSINK_GROUP_ALL)
		return sc_usage(run, "--group '%u': the device's defaults have no score groups", run->group);
	for (int i = 1; i < run->arg_count && !exit; i++) {
		exit = add_setting(run, run->args[i]);
		exit = exit ? exit : check_scope(run, &run->setting[run->settings - 1]);
	}
	return exit;
}

/* ---- reading ----------------------------------------------------------------------------------- */

static int get(struct context *c, int param, uint32_t group, uint64_t *value)
{
	uint64_t stream = c->run->target.stream;
	int error;

	if (!stream || sc_params[param].scope != SC_GROUP)
		group = KVSINK_GROUP_ALL;
	error = kvs_config_get(c->device->kvs, stream, group, param, value);
	return error ? sc_error(c->run, c->device, error, NULL, c->run->command->name, NULL) : 0;
}

static json_object *new_record(struct context *c, int param, uint32_t group, uint64_t value)
{
	static const char *const scopes[] = {"device", "stream", "group"};
	json_object *record = json_object_new_object();
	uint64_t stream = c->run->target.stream;
	char text[80];

	sc_param_text(param, value, text, sizeof(text));
	sc_put_text(record, "name", sc_params[param].name);
	sc_put(record, "stream", stream ? json_object_new_uint64(stream) : NULL);
	sc_put(record, "group", group == KVSINK_GROUP_ALL ? NULL : json_object_new_uint64(group));
	sc_put_text(record, "scope", scopes[sc_params[param].scope]);
	sc_put_text(record, "kind", sc_params[param].kind);
	sc_put_text(record, "text", text);
	sc_put_value(record, sc_params[param].name, sc_param_width(param), value);
	sc_put_text(record, "description", sc_params[param].doc);
	return record;
}

static void put_previous(json_object *record, int param, uint64_t value)
{
	char text[80];

	sc_param_text(param, value, text, sizeof(text));
	sc_put_text(record, "previous_text", text);
	sc_put_u64(record, "previous", value);
	sc_put_hex(record, "previous_hex", value, sc_param_width(param));
}

/* Groups that a parameter has here: [first, end). */
static void groups_of(const struct context *c, int param, uint32_t *first, uint32_t *end)
{
	bool one = c->group != KVSINK_GROUP_ALL;

	*first = one ? c->group : 0;
	*end = one ? c->group + 1 : sc_params[param].scope == SC_GROUP ? c->groups : 1;
}

/* Values of [first, end); true if they are the same in all groups. */
static int read_groups(struct context *c, int param, uint64_t *values, bool *same)
{
	uint32_t first, end;

	groups_of(c, param, &first, &end);
	*same = c->group == KVSINK_GROUP_ALL;
	for (uint32_t g = first; g < end; g++) {
		if (get(c, param, g, &values[g]))
			return -1;
		*same &= values[g] == values[first];
	}
	return 0;
}

/* One record if all groups agree, else one a group. @before: values before it was set, or NULL. */
static int show(struct context *c, int param, const uint64_t *before, json_object *list)
{
	uint64_t values[KVSINK_MAX_SCORE_GROUPS];
	uint32_t first, end;
	bool same;

	if (read_groups(c, param, values, &same))
		return -1;
	groups_of(c, param, &first, &end);
	for (uint32_t g = first; before && g < end; g++)
		same &= before[g] == before[first];
	for (uint32_t g = first; g < (same ? first + 1 : end); g++) {
		json_object *record = new_record(c, param, same ? KVSINK_GROUP_ALL : g, values[g]);

		if (before)
			put_previous(record, param, before[g]);
		json_object_array_add(list, record);
	}
	return 0;
}

/* ---- weights of layers --------------------------------------------------------------------------- */

/* LAYER_WEIGHT only tells what was set last: what each layer has stands in the profile. */
static int read_weights(struct context *c, uint32_t *weight)
{
	char *records = NULL;
	size_t bytes;
	int count = sc_query(c->run, c->device, DRM_KVSINK_QUERY_PROFILE, c->run->target.stream, 0,
			     sizeof(struct kvsink_profile_rec), &records, &bytes);

	for (int i = 0; i < count; i++) {
		const struct kvsink_profile_rec *rec = (const void *)(records + i * bytes);

		if (rec->layer < c->stream.layers)
			weight[rec->layer] = rec->weight;
	}
	free(records);
	return count < 0 ? -1 : 0;
}

static bool has_weights(const struct context *c, int param)
{
	return param == KVSINK_PARAM_LAYER_WEIGHT && c->run->target.stream;
}

/* A run of layers as LAYER_WEIGHT takes it; all of them are `all`. */
static uint64_t weight_value(const struct context *c, uint32_t begin, uint32_t end, uint32_t weight)
{
	return begin | (uint64_t)(!begin && end == c->stream.layers ? LAST_LAYER : end) << 16 |
	       (uint64_t)weight << 32;
}

/* The end of the layers from `begin` on that have the same weight, in both lists. */
static uint32_t same_weights(const struct context *c, const uint32_t *now, const uint32_t *before,
			     uint32_t begin)
{
	uint32_t end = begin + 1;

	while (end < c->stream.layers && now[end] == now[begin] && before[end] == before[begin])
		end++;
	return end;
}

/* A record for each run of layers with the same weight, now and before. */
static int show_weights(struct context *c, bool was_set, json_object *list)
{
	uint32_t now[KVSINK_MAX_LAYERS];
	const uint32_t *before = was_set ? c->weight : now;

	if (read_weights(c, now))
		return -1;
	for (uint32_t l = 0, end; l < c->stream.layers; l = end) {
		json_object *record;

		end = same_weights(c, now, before, l);
		record = new_record(c, KVSINK_PARAM_LAYER_WEIGHT, KVSINK_GROUP_ALL,
				    weight_value(c, l, end, now[l]));
		if (was_set)
			put_previous(record, KVSINK_PARAM_LAYER_WEIGHT, weight_value(c, l, end, before[l]));
		json_object_array_add(list, record);
	}
	return 0;
}

/* As they were. */
static int restore_weights(struct context *c)
{
	int error = 0;

	for (uint32_t l = 0, end; l < c->stream.layers && !error; l = end) {
		end = same_weights(c, c->weight, c->weight, l);
		error = kvs_config_set(c->device->kvs, c->run->target.stream, KVSINK_GROUP_ALL,
				       KVSINK_PARAM_LAYER_WEIGHT, weight_value(c, l, end, c->weight[l]));
	}
	return error;
}

static int show_setting(struct context *c, const struct sc_setting *setting, const uint64_t *before,
			json_object *list)
{
	if (has_weights(c, setting->param))
		return show_weights(c, setting->set, list);
	return show(c, setting->param, setting->set ? before : NULL, list);
}

static bool is_shown(const struct context *c, int param)
{
	if (c->run->target.stream && sc_params[param].scope == SC_DEVICE)
		return false;
	return c->group == KVSINK_GROUP_ALL || sc_params[param].scope == SC_GROUP;
}

/* ---- checking ---------------------------------------------------------------------------------- */

static int refuse(struct context *c, const struct sc_setting *setting, const char *what, unsigned value,
		  unsigned last)
{
	char text[80];

	sc_param_text(setting->param, setting->value, text, sizeof(text));
	return sc_usage(c->run, "%s '%s': %s %u; stream %llu has %ss 0 to %u", sc_params[setting->param].name,
			setting->text ? setting->text : text, what, value,
			(unsigned long long)c->stream.stream, what, last);
}

static int check_range(struct context *c, const struct sc_setting *setting)
{
	uint32_t begin = setting->value & 0xffff, end = (uint32_t)setting->value >> 16;

	if (begin >= c->stream.layers)
		return refuse(c, setting, "layer", begin, c->stream.layers - 1);
	if (end > c->stream.layers && end != LAST_LAYER)
		return refuse(c, setting, "layer", end - 1, c->stream.layers - 1);
	return 0;
}

static int check_mask(struct context *c, const struct sc_setting *setting)
{
	if (c->stream.kv_heads == 64 || setting->value == UINT64_MAX ||
	    !(setting->value >> c->stream.kv_heads))
		return 0;
	return refuse(c, setting, "KV head", 63 - __builtin_clzll(setting->value), c->stream.kv_heads - 1);
}

static int check_bytes(struct context *c, const struct sc_setting *setting)
{
	struct drm_kvsink_dev_info info = {0};

	if (setting->value == UINT32_MAX || kvs_device_info(c->device->kvs, &info) ||
	    setting->value <= info.sram_bytes)
		return 0;
	return sc_usage(c->run, "%s '%s': the device has %llu bytes of SRAM; as much is allowed, or none",
			sc_params[setting->param].name, setting->text, (unsigned long long)info.sram_bytes);
}

static int check_value(struct context *c, const struct sc_setting *setting)
{
	bool stream = c->run->target.stream;

	switch (setting->param) {
	case KVSINK_PARAM_LAYER_RANGE:
	case KVSINK_PARAM_LAYER_WEIGHT:
		return stream ? check_range(c, setting) : 0;
	case KVSINK_PARAM_HEAD_MASK:
		return stream ? check_mask(c, setting) : 0;
	case KVSINK_PARAM_SRAM_BUDGET:
	case KVSINK_PARAM_TENANT_CAP:
		return check_bytes(c, setting);
	default:
		return 0;
	}
}

static const struct sc_setting *find(const struct sc_setting *settings, unsigned count, int param)
{
	for (unsigned i = 0; i < count; i++)
		if (settings[i].set && settings[i].param == param)
			return &settings[i];
	return NULL;
}

/* T_EVICT stays below T_PROMOTE in every group that is meant. */
static int check_thresholds(struct context *c, const struct sc_setting *settings, unsigned count)
{
	const struct sc_setting *promote = find(settings, count, KVSINK_PARAM_T_PROMOTE);
	const struct sc_setting *evict = find(settings, count, KVSINK_PARAM_T_EVICT);
	uint32_t first, end;

	groups_of(c, KVSINK_PARAM_T_PROMOTE, &first, &end);
	for (uint32_t g = first; (promote || evict) && g < end; g++) {
		uint64_t up, down;
		char text[2][40];

		if (get(c, KVSINK_PARAM_T_PROMOTE, g, &up) || get(c, KVSINK_PARAM_T_EVICT, g, &down))
			return -1;
		up = promote ? promote->value : up;
		down = evict ? evict->value : down;
		if (down < up) /* patterns order as their values do */
			continue;
		sc_param_text(KVSINK_PARAM_T_PROMOTE, up, text[0], sizeof(text[0]));
		sc_param_text(KVSINK_PARAM_T_EVICT, down, text[1], sizeof(text[1]));
		return sc_usage(c->run,
				"%s '%s': T_EVICT %s is not below T_PROMOTE %s (group %u); T_EVICT below"
				" T_PROMOTE is allowed",
				evict ? "T_EVICT" : "T_PROMOTE", evict ? evict->text : promote->text, text[1],
				text[0], g);
	}
	return 0;
}

/* ---- setting ----------------------------------------------------------------------------------- */

static int set(struct context *c, int param, uint32_t group, uint64_t value)
{
	uint64_t stream = c->run->target.stream;
	char why[80];
	int error;

	if (!stream || sc_params[param].scope != SC_GROUP)
		group = KVSINK_GROUP_ALL;
	error = kvs_config_set(c->device->kvs, stream, group, param, value);
	snprintf(why, sizeof(why), "%s is fixed once scores or EMA exist", sc_params[param].name);
	if (error == -EBUSY)
		return sc_error(c->run, c->device, error, kvs_code_name(KVSINK_CODE_BUSY),
				c->run->command->name, why);
	return error ? sc_error(c->run, c->device, error, NULL, c->run->command->name, NULL) : 0;
}

static void take_back(struct context *c)
{
	while (c->undos) {
		const struct undo *undo = &c->undo[--c->undos];
		uint64_t stream = c->run->target.stream;

		if (has_weights(c, undo->param)
			    ? restore_weights(c)
			    : kvs_config_set(c->device->kvs, stream, undo->group, undo->param, undo->value))
			sc_note(c->run, "%s: %s could not be set back", c->device->label,
				sc_params[undo->param].name);
	}
}

/* In each group by itself, with what it was remembered. */
static int set_groups(struct context *c, int param, uint64_t value)
{
	uint32_t first, end;

	groups_of(c, param, &first, &end);
	for (uint32_t g = first; g < end; g++) {
		struct undo undo = {param, g, 0};

		if (!c->run->target.stream || sc_params[param].scope != SC_GROUP)
			undo.group = KVSINK_GROUP_ALL;
		if (get(c, param, g, &undo.value) || set(c, param, g, value))
			return -1;
		c->undo[c->undos++] = undo;
	}
	return 0;
}

/* Both thresholds of each group, in the order in which they never contradict each other. */
static int set_thresholds(struct context *c, uint64_t promote, uint64_t evict)
{
	const uint32_t all = c->group;
	uint32_t first, end;
	int result = 0;

	groups_of(c, KVSINK_PARAM_T_PROMOTE, &first, &end);
	for (uint32_t g = first; g < end && !result; g++) {
		uint64_t up;

		c->group = c->run->target.stream ? g : KVSINK_GROUP_ALL;
		result = get(c, KVSINK_PARAM_T_PROMOTE, g, &up);
		if (!result && evict >= up)
			result = set_groups(c, KVSINK_PARAM_T_PROMOTE, promote);
		result = result ? result : set_groups(c, KVSINK_PARAM_T_EVICT, evict);
		if (!result && evict < up)
			result = set_groups(c, KVSINK_PARAM_T_PROMOTE, promote);
	}
	c->group = all;
	return result;
}

/* The tail comes last, at once for all groups: the device takes or refuses it whole, and it may be refused.
 */
static int rank(int param)
{
	return param == KVSINK_PARAM_LAYER_WEIGHT ? 0 : param == KVSINK_PARAM_TAIL_TOKENS ? 2 : 1;
}

static int set_one(struct context *c, const struct sc_setting *setting, const struct sc_setting *promote,
		   const struct sc_setting *evict)
{
	if (promote && evict && setting == promote)
		return set_thresholds(c, promote->value, evict->value);
	if (promote && evict && setting == evict)
		return 0;
	if (setting->param == KVSINK_PARAM_TAIL_TOKENS)
		return set(c, setting->param, c->group, setting->value);
	return set_groups(c, setting->param, setting->value);
}

static int set_all(struct context *c, const struct sc_setting *settings, unsigned count)
{
	const struct sc_setting *promote = find(settings, count, KVSINK_PARAM_T_PROMOTE);
	const struct sc_setting *evict = find(settings, count, KVSINK_PARAM_T_EVICT);

	for (int turn = 0; turn < 3; turn++)
		for (unsigned i = 0; i < count; i++)
			if (settings[i].set && rank(settings[i].param) == turn &&
			    set_one(c, &settings[i], promote, evict)) {
				take_back(c);
				return -1;
			}
	return 0;
}

/* ---- commands ---------------------------------------------------------------------------------- */

static int start(struct context *c, uint32_t group)
{
	c->groups = 1;
	c->group = group;
	if (!c->run->target.stream)
		return 0;
	if (sc_find_stream(c->run, c->device, &c->stream) || sc_check_group(c->run, &c->stream))
		return -1;
	c->groups = c->stream.score_groups;
	return 0;
}

static int apply(struct context *c, const struct sc_setting *settings, unsigned count, json_object *list)
{
	uint64_t before[SC_MAX_SETTINGS][KVSINK_MAX_SCORE_GROUPS];
	bool same;

	for (unsigned i = 0; i < count; i++)
		if (settings[i].set && check_value(c, &settings[i]))
			return -1;
	if (check_thresholds(c, settings, count))
		return -1;
	for (unsigned i = 0; i < count; i++)
		if (read_groups(c, settings[i].param, before[i], &same) ||
		    (has_weights(c, settings[i].param) && read_weights(c, c->weight)))
			return -1;
	if (set_all(c, settings, count))
		return -1;
	for (unsigned i = 0; i < count; i++)
		if (show_setting(c, &settings[i], before[i], list))
			return -1;
	return 0;
}

int sc_apply(struct sc_run *run, struct sc_device *device, const struct sc_setting *settings, unsigned count,
	     uint32_t group, json_object *list)
{
	struct context *c = calloc(1, sizeof(*c));
	int result;

	if (!c)
		return sc_error(run, device, -ENOMEM, NULL, run->command->name, NULL);
	c->run = run;
	c->device = device;
	result = start(c, group);
	for (int i = 0; !result && !count && i < KVSINK_PARAM_COUNT; i++)
		if (is_shown(c, i))
			result = show_setting(c, &(struct sc_setting){.param = i}, NULL, list);
	if (!result && count)
		result = apply(c, settings, count, list);
	free(c);
	return result;
}

int sc_config(struct sc_run *run, struct sc_device *device)
{
	return sc_apply(run, device, run->setting, run->settings, run->group,
			sc_list(run, device, "parameters"));
}
