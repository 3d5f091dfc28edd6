// SPDX-License-Identifier: MIT
/*
 * profile: the attention that sinks get, by layer and KV head, and what follows from it: head masks of the
 * score groups and a layer range. A DuoAttention table can stand in for the profile.
 *
 * The rule, the same for both: a (layer, head) counts if its figure reaches a limit: of the profile, the
 * threshold times the largest share; of a table, the threshold itself. A group's mask has the heads that
 * count in any of its layers; the range goes from the first layer with such a head to the last. A group
 * outside of it keeps its mask.
 */
#include "sinkctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PROFILE_THRESHOLD 0.25f
#define TABLE_THRESHOLD 0.5f

/* Heads that count, of each layer. */
struct choice {
	uint64_t heads[KVSINK_MAX_LAYERS];
};

int sc_profile_prepare(struct sc_run *run)
{
	if (!(run->given & (SC_BIT(PROPOSE) | SC_BIT(IMPORT) | SC_BIT(APPLY))) &&
	    run->given & SC_BIT(THRESHOLD))
		return sc_usage(run, "--threshold is for --propose, --import and --apply");
	if (!(run->given & SC_BIT(THRESHOLD)))
		run->threshold = run->import ? TABLE_THRESHOLD : PROFILE_THRESHOLD;
	return 0;
}

static uint32_t group_of(const struct kvsink_stream_rec *stream, uint32_t layer)
{
	uint32_t group = 0;

	while (group + 1 < stream->score_groups && layer >= stream->group_end[group])
		group++;
	return group;
}

/* ---- what counts ------------------------------------------------------------------------------- */

static int choose_by_profile(struct sc_run *run, struct sc_device *device, const char *records, size_t bytes,
			     int count, struct choice *choice)
{
	float most = 0;

	for (int i = 0; i < count; i++) {
		float share = sc_from_pattern(((struct kvsink_profile_rec *)(records + i * bytes))->share);

		most = share > most ? share : most;
	}
	if (!(most > 0))
		return sc_error(
			run, device, -ENODATA, NULL, "profile",
			"no attention on sinks was observed yet: CLASSIFY or PLACEMENT makes sinks, then"
			" decode steps in PLACEMENT=OBSERVE or AUTO count it");
	for (int i = 0; i < count; i++) {
		const struct kvsink_profile_rec *rec = (void *)(records + i * bytes);

		if (sc_from_pattern(rec->share) >= run->threshold * most && rec->layer < KVSINK_MAX_LAYERS &&
		    rec->head < 64)
			choice->heads[rec->layer] |= 1ull << rec->head;
	}
	return 0;
}

static int choose_by_table(struct sc_run *run, const struct kvsink_stream_rec *stream, struct choice *choice)
{
	if (!kvs_heads_load(run->import, run->threshold, stream->layers, stream->kv_heads, choice->heads))
		return 0;
	sc_usage(run, "--import '%s': %s", run->import, kvs_open_error());
	return -EINVAL;
}

/* ---- what follows ------------------------------------------------------------------------------ */

static uint64_t group_heads(const struct kvsink_stream_rec *stream, const struct choice *choice,
			    uint32_t group)
{
	uint64_t mask = 0;
	uint32_t begin, end;

	sc_group_layers(stream, group, &begin, &end);
	for (uint32_t l = begin; l < end; l++)
		mask |= choice->heads[l];
	return mask;
}

static uint64_t layer_range(const struct kvsink_stream_rec *stream, const struct choice *choice)
{
	uint32_t first = stream->layers, end = 0;

	for (uint32_t l = 0; l < stream->layers; l++)
		if (choice->heads[l]) {
			first = first < l ? first : l;
			end = l + 1;
		}
	return end ? first | (uint64_t)end << 16 : 0;
}

/* Has the group a layer in the range? If not, its mask does not matter. */
static bool is_within(const struct kvsink_stream_rec *stream, uint32_t group, uint64_t range)
{
	uint32_t begin, end;

	sc_group_layers(stream, group, &begin, &end);
	return begin < range >> 16 && end > (range & 0xffff);
}

/* A line of the proposal: what, the value, and the command that sets it. */
static void put_proposal(struct sc_run *run, json_object *list, int param, uint32_t group, uint64_t value)
{
	json_object *record = json_object_new_object();
	char text[80], command[160], option[24] = "";

	sc_param_text(param, value, text, sizeof(text));
	if (group != KVSINK_GROUP_ALL)
		snprintf(option, sizeof(option), " --group %u", group);
	snprintf(command, sizeof(command), "sinkctl config %llu%s %s=%s",
		 (unsigned long long)run->target.stream, option, sc_params[param].name, text);
	sc_put_text(record, "name", sc_params[param].name);
	sc_put(record, "group", group == KVSINK_GROUP_ALL ? NULL : json_object_new_uint64(group));
	sc_put_text(record, "text", text);
	sc_put_u64(record, "value", value);
	sc_put_hex(record, "hex", value, 64);
	sc_put_text(record, "command", command);
	json_object_array_add(list, record);
}

static int apply_one(struct sc_run *run, struct sc_device *device, int param, uint32_t group, uint64_t value,
		     json_object *list)
{
	struct sc_setting setting = {.param = param, .set = true, .value = value};

	put_proposal(run, sc_list(run, device, "proposal"), param, group, value);
	return run->apply ? sc_apply(run, device, &setting, 1, group, list) : 0;
}

static int propose(struct sc_run *run, struct sc_device *device, const struct kvsink_stream_rec *stream,
		   const struct choice *choice)
{
	uint64_t range = layer_range(stream, choice);
	json_object *set = run->apply ? sc_list(run, device, "parameters") : NULL;
	int error;

	if (!range)
		return sc_error(run, device, -ENODATA, NULL, "profile", "no head reaches the threshold");
	error = apply_one(run, device, KVSINK_PARAM_LAYER_RANGE, KVSINK_GROUP_ALL, range, set);
	for (uint32_t g = 0; g < stream->score_groups && !error; g++)
		if (is_within(stream, g, range))
			error = apply_one(run, device, KVSINK_PARAM_HEAD_MASK, g,
					  group_heads(stream, choice, g), set);
	if (!error)
		sc_put_bool(device->record, "applied", run->apply);
	return error;
}

/* ---- the command ------------------------------------------------------------------------------- */

static json_object *profile_record(const struct kvsink_stream_rec *stream,
				   const struct kvsink_profile_rec *rec)
{
	json_object *record = json_object_new_object();

	sc_put_u64(record, "layer", rec->layer);
	sc_put_u64(record, "group", group_of(stream, rec->layer));
	sc_put_u64(record, "head", rec->head);
	sc_put_u64(record, "mass", rec->mass);
	sc_put_u64(record, "queries", rec->queries);
	sc_put(record, "share", sc_float(rec->share));
	sc_put(record, "weight", sc_float(rec->weight));
	return record;
}

int sc_profile(struct sc_run *run, struct sc_device *device)
{
	json_object *list = sc_list(run, device, "profile");
	struct choice choice = {0};
	struct kvsink_stream_rec stream;
	char *records = NULL;
	size_t bytes;
	int count, error = 0;

	if (sc_find_stream(run, device, &stream))
		return -1;
	count = sc_query(run, device, DRM_KVSINK_QUERY_PROFILE, stream.stream, 0,
			 sizeof(struct kvsink_profile_rec), &records, &bytes);
	if (count < 0)
		return count;
	for (int i = 0; i < count; i++)
		json_object_array_add(list, profile_record(&stream, (void *)(records + i * bytes)));
	if (run->import)
		error = choose_by_table(run, &stream, &choice);
	else if (run->given & (SC_BIT(PROPOSE) | SC_BIT(APPLY)))
		error = choose_by_profile(run, device, records, bytes, count, &choice);
	if (!error && run->given & (SC_BIT(PROPOSE) | SC_BIT(IMPORT) | SC_BIT(APPLY)))
		error = propose(run, device, &stream, &choice);
	free(records);
	return error;
}
