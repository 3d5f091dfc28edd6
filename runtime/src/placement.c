// SPDX-License-Identifier: MIT
/*
 * Placement: PROMOTE, EVICT, CONTRACT and the parameters that guide them. All act by stream id, so that a
 * tool can act on a running model's stream.
 */
#include <stdio.h>
#include <string.h>

#include "internal.h"

#define PLACES_BYTES 112 /* of a line about places */

/*
 * "ENOSPC..." or, where the device said why, the code: "BUDGET: SRAM budget exhausted". What the table
 * says behind a semicolon is about the address of a completion, which these ioctls do not pass on.
 */
struct reason {
	const char *name, *colon, *text;
	int length; /* of text */
};

static struct reason reason(int err, uint32_t code)
{
	struct reason why = {.name = "", .colon = "", .text = kvs_errno_text(err)};

	if (code)
		why = (struct reason){
			.name = kvs_code_name(code), .colon = ": ", .text = kvs_code_text(code)};
	why.length = (int)strcspn(why.text, ";");
	return why;
}

/* "token 5, layers [0, 2), heads 0x3 and 7 more" */
static void print_places(char *line, const struct drm_kvsink_place *places, unsigned count)
{
	char token[16] = "all", more[24] = "";

	if (places->token != KVSINK_TOKEN_ALL)
		snprintf(token, sizeof(token), "%u", places->token);
	if (count > 1)
		snprintf(more, sizeof(more), " and %u more", count - 1);
	snprintf(line, PLACES_BYTES, "token %s, layers [%u, %u), heads %#llx%s", token, places->layer_begin,
		 places->layer_end, (unsigned long long)places->head_mask, more);
}

static int fail_places(struct kvs_device *device, const char *what, int err, uint32_t code, uint64_t stream,
		       const struct drm_kvsink_place *places, unsigned count)
{
	struct reason why = reason(err, code);
	char line[PLACES_BYTES];

	print_places(line, places, count);
	return kvs_fail(device, err, "%s: stream %llu, %s: %s%s%.*s", what, (unsigned long long)stream, line,
			why.name, why.colon, why.length, why.text);
}

static int check_places(struct kvs_device *device, const char *what, const struct drm_kvsink_place *places,
			unsigned count)
{
	if (!places || !count)
		return kvs_fail(device, -EINVAL, "%s: %u places: allowed are 1 to %u", what, count,
				DRM_KVSINK_MAX_ITEMS);
	if (count > DRM_KVSINK_MAX_ITEMS)
		return kvs_fail(device, -E2BIG, "%s: %u places: allowed are 1 to %u", what, count,
				DRM_KVSINK_MAX_ITEMS);
	return 0;
}

static struct drm_kvsink_array array_of(const struct drm_kvsink_place *places, unsigned count)
{
	return (struct drm_kvsink_array){sizeof(*places), count, (uintptr_t)places};
}

KVS_PUBLIC int kvs_promote(struct kvs_device *device, uint64_t stream, const struct drm_kvsink_place *places,
			   unsigned count, const struct kvs_contract *contract, struct kvs_grant *grant)
{
	struct drm_kvsink_promote args = {.stream = stream, .places = array_of(places, count)};
	struct kvs_contract terms;
	int err = check_places(device, "PROMOTE", places, count);

	err = err ? err : kvs_copy_contract(device, contract, &terms);
	if (grant)
		memset(grant, 0, sizeof(*grant));
	if (err)
		return err;
	args.deadline_ns = terms.deadline_ns;
	args.due_ns = terms.due_ns;
	args.dwell_steps = terms.dwell_steps;
	args.priority = terms.priority;
	args.flags = terms.partial ? DRM_KVSINK_PROMOTE_PARTIAL : 0;
	err = kvs_device_call(device, DRM_IOCTL_KVSINK_PROMOTE, &args);
	if (grant)
		*grant = (struct kvs_grant){args.code, args.granted, args.sram_bytes, args.generation};
	return err ? fail_places(device, "PROMOTE", err, args.code, stream, places, count) : 0;
}

KVS_PUBLIC int kvs_evict(struct kvs_device *device, uint64_t stream, const struct drm_kvsink_place *places,
			 unsigned count)
{
	struct drm_kvsink_evict args = {.stream = stream, .places = array_of(places, count)};
	int err = check_places(device, "EVICT", places, count);

	if (err)
		return err;
	err = kvs_device_call(device, DRM_IOCTL_KVSINK_EVICT, &args);
	return err ? fail_places(device, "EVICT", err, args.code, stream, places, count) : (int)args.entries;
}

KVS_PUBLIC int kvs_contract(struct kvs_device *device, uint64_t stream, const struct drm_kvsink_place *places,
			    unsigned count, const struct kvs_contract *contract)
{
	struct drm_kvsink_contract args = {.stream = stream, .places = array_of(places, count)};
	struct kvs_contract terms;
	int err = check_places(device, "CONTRACT", places, count);

	err = err ? err : kvs_copy_contract(device, contract, &terms);
	if (err)
		return err;
	if (terms.due_ns || terms.partial)
		return kvs_fail(device, -EINVAL,
				"CONTRACT: due_ns = %llu, partial = %u: allowed is 0, they are of grants",
				(unsigned long long)terms.due_ns, terms.partial);
	args.deadline_ns = terms.deadline_ns;
	args.dwell_steps = terms.dwell_steps;
	args.priority = terms.priority;
	err = kvs_device_call(device, DRM_IOCTL_KVSINK_CONTRACT, &args);
	return err ? fail_places(device, "CONTRACT", err, args.code, stream, places, count)
		   : (int)args.entries;
}

static const char *param_name(uint32_t param)
{
	switch (param) {
#define X(name, index, kind, scope, def, doc)                                                                \
	case index:                                                                                          \
		return #name;
		KVSINK_PARAMS(X)
#undef X
	default:
		return "?";
	}
}

/* "stream 1, group 2, parameter 6 (T_PROMOTE)" */
static void print_param(char *line, size_t bytes, const struct drm_kvsink_config *args)
{
	char group[24] = "";

	if (args->group != KVSINK_GROUP_ALL)
		snprintf(group, sizeof(group), "group %u, ", args->group);
	snprintf(line, bytes, "stream %llu, %sparameter %u (%s)", (unsigned long long)args->stream, group,
		 args->param, param_name(args->param));
}

KVS_PUBLIC int kvs_config_get(struct kvs_device *device, uint64_t stream, uint32_t group,
			      enum kvsink_param param, uint64_t *value)
{
	struct drm_kvsink_config args = {.stream = stream, .param = param, .group = group};
	int err = kvs_device_call(device, DRM_IOCTL_KVSINK_CONFIG_GET, &args);
	char line[PLACES_BYTES];

	if (err) {
		print_param(line, sizeof(line), &args);
		return kvs_fail(device, err, "CONFIG_GET: %s: %s", line, kvs_errno_text(err));
	}
	*value = args.value;
	return 0;
}

KVS_PUBLIC int kvs_config_set(struct kvs_device *device, uint64_t stream, uint32_t group,
			      enum kvsink_param param, uint64_t value)
{
	struct drm_kvsink_config args = {
		.stream = stream, .param = param, .group = group, .value = value, .conflict = UINT32_MAX};
	int err = kvs_device_call(device, DRM_IOCTL_KVSINK_CONFIG_SET, &args);
	char line[PLACES_BYTES];

	if (!err)
		return 0;
	print_param(line, sizeof(line), &args);
	if (err == -EINVAL && args.conflict < KVSINK_PARAM_COUNT)
		return kvs_fail(device, err, "CONFIG_SET: %s = %#llx contradicts %s", line,
				(unsigned long long)value, param_name(args.conflict));
	return kvs_fail(device, err, "CONFIG_SET: %s = %#llx: %s", line, (unsigned long long)value,
			kvs_errno_text(err));
}
