// SPDX-License-Identifier: MIT
/*
 * Placement: PROMOTE, EVICT, CONTRACT and the parameters that guide them. All act by stream id, so that a
 * tool can act on a running model's stream.
 */
#include <string.h>

#include "explain.h"

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

static int check_terms(struct kvs_device *device, const char *what, const struct kvs_contract *terms)
{
	if (terms->priority > KVSINK_MAX_PRIORITY)
		return kvs_fail(device, -EINVAL, "%s: priority = %u: allowed are 0 to %u", what,
				terms->priority, KVSINK_MAX_PRIORITY);
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
	struct kvs_refusal refusal;
	struct kvs_contract terms;
	int err = check_places(device, "PROMOTE", places, count);

	err = err ? err : kvs_copy_contract(device, contract, &terms);
	err = err ? err : check_terms(device, "PROMOTE", &terms);
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
	refusal = (struct kvs_refusal){.what = "PROMOTE",
				       .stream = stream,
				       .places = places,
				       .count = count,
				       .code = args.code,
				       .address = args.address,
				       .deadline_ns = args.deadline_ns};
	return err ? kvs_fail_places(device, err, &refusal) : 0;
}

KVS_PUBLIC int kvs_evict(struct kvs_device *device, uint64_t stream, const struct drm_kvsink_place *places,
			 unsigned count)
{
	struct drm_kvsink_evict args = {.stream = stream, .places = array_of(places, count)};
	struct kvs_refusal refusal = {
		.what = "EVICT", .stream = stream, .places = places, .count = count, .search = true};
	int err = check_places(device, "EVICT", places, count);

	if (err)
		return err;
	err = kvs_device_call(device, DRM_IOCTL_KVSINK_EVICT, &args);
	refusal.code = args.code;
	return err ? kvs_fail_places(device, err, &refusal) : (int)args.entries;
}

KVS_PUBLIC int kvs_contract(struct kvs_device *device, uint64_t stream, const struct drm_kvsink_place *places,
			    unsigned count, const struct kvs_contract *contract)
{
	struct drm_kvsink_contract args = {.stream = stream, .places = array_of(places, count)};
	struct kvs_refusal refusal = {
		.what = "CONTRACT", .stream = stream, .places = places, .count = count, .search = true};
	struct kvs_contract terms;
	int err = check_places(device, "CONTRACT", places, count);

	err = err ? err : kvs_copy_contract(device, contract, &terms);
	err = err ? err : check_terms(device, "CONTRACT", &terms);
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
	refusal.code = args.code;
	refusal.address = args.address;
	refusal.deadline_ns = args.deadline_ns;
	return err ? kvs_fail_places(device, err, &refusal) : (int)args.entries;
}

KVS_PUBLIC int kvs_config_get(struct kvs_device *device, uint64_t stream, uint32_t group,
			      enum kvsink_param param, uint64_t *value)
{
	struct drm_kvsink_config args = {
		.stream = stream, .param = param, .group = group, .conflict = UINT32_MAX};
	int err = kvs_device_call(device, DRM_IOCTL_KVSINK_CONFIG_GET, &args);

	if (err)
		return kvs_fail_config_get(device, err, &args);
	*value = args.value;
	return 0;
}

KVS_PUBLIC int kvs_config_set(struct kvs_device *device, uint64_t stream, uint32_t group,
			      enum kvsink_param param, uint64_t value)
{
	struct drm_kvsink_config args = {
		.stream = stream, .param = param, .group = group, .value = value, .conflict = UINT32_MAX};
	int err = kvs_device_call(device, DRM_IOCTL_KVSINK_CONFIG_SET, &args);

	return err ? kvs_fail_config_set(device, err, &args) : 0;
}
