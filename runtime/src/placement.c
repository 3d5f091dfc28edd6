// SPDX-License-Identifier: MIT
/*
 * Placement: PROMOTE, EVICT and the parameters that guide them. All act by stream id, so that a tool can
 * act on a running model's stream.
 */
#include "internal.h"

/* "ENOSPC..." or, where the device said why, the code: "BUDGET: SRAM budget exhausted". */
static const char *reason(int err, uint32_t code, const char **name)
{
	*name = code ? kvs_code_name(code) : "";
	return code ? kvs_code_text(code) : kvs_errno_text(err);
}

static int check_layers(struct kvs_device *device, const char *what, uint32_t begin, uint32_t end)
{
	if (begin < end && end <= KVSINK_MAX_LAYERS)
		return 0;
	return kvs_fail(device, -EINVAL, "%s: layers [%u, %u): allowed is a non-empty range up to %u", what,
			begin, end, KVSINK_MAX_LAYERS);
}

KVS_PUBLIC int kvs_promote(struct kvs_device *device, uint64_t stream, uint32_t token, uint32_t layer_begin,
			   uint32_t layer_end, uint64_t head_mask, struct drm_kvsink_promote *grant)
{
	struct drm_kvsink_promote args = {.stream = stream, .token = token, .head_mask = head_mask};
	const char *name, *text;
	int err = check_layers(device, "PROMOTE", layer_begin, layer_end);

	if (err)
		return err;
	args.layer_begin = (uint16_t)layer_begin;
	args.layer_end = (uint16_t)layer_end;
	err = kvs_device_call(device, DRM_IOCTL_KVSINK_PROMOTE, &args);
	if (grant)
		*grant = args;
	if (!err)
		return 0;
	text = reason(err, args.code, &name);
	return kvs_fail(device, err, "PROMOTE: stream %llu, token %u, layers [%u, %u), heads %#llx: %s%s%s",
			(unsigned long long)stream, token, layer_begin, layer_end,
			(unsigned long long)head_mask, name, *name ? ": " : "", text);
}

KVS_PUBLIC int kvs_evict(struct kvs_device *device, uint64_t stream, uint32_t token, uint32_t layer_begin,
			 uint32_t layer_end)
{
	struct drm_kvsink_evict args = {.stream = stream, .token = token};
	const char *name, *text;
	int err = check_layers(device, "EVICT", layer_begin, layer_end);

	if (err)
		return err;
	args.layer_begin = (uint16_t)layer_begin;
	args.layer_end = (uint16_t)layer_end;
	err = kvs_device_call(device, DRM_IOCTL_KVSINK_EVICT, &args);
	if (!err)
		return (int)args.entries;
	text = reason(err, args.code, &name);
	return kvs_fail(device, err, "EVICT: stream %llu, token %u, layers [%u, %u): %s%s%s",
			(unsigned long long)stream, token, layer_begin, layer_end, name, *name ? ": " : "",
			text);
}

static const char *param_name(uint32_t param)
{
	switch (param) {
#define X(name, index, kind, def, doc)                                                                       \
	case index:                                                                                          \
		return #name;
		KVSINK_PARAMS(X)
#undef X
	default:
		return "?";
	}
}

KVS_PUBLIC int kvs_config_get(struct kvs_device *device, uint64_t stream, enum kvsink_param param,
			      uint64_t *value)
{
	struct drm_kvsink_config args = {.stream = stream, .param = param};
	int err = kvs_device_call(device, DRM_IOCTL_KVSINK_CONFIG_GET, &args);

	if (err)
		return kvs_fail(device, err, "CONFIG_GET: stream %llu, parameter %u (%s): %s",
				(unsigned long long)stream, param, param_name(param), kvs_errno_text(err));
	*value = args.value;
	return 0;
}

KVS_PUBLIC int kvs_config_set(struct kvs_device *device, uint64_t stream, enum kvsink_param param,
			      uint64_t value)
{
	struct drm_kvsink_config args = {.stream = stream, .param = param, .value = value};
	int err = kvs_device_call(device, DRM_IOCTL_KVSINK_CONFIG_SET, &args);

	return err ? kvs_fail(device, err, "CONFIG_SET: stream %llu, parameter %u (%s) = %#llx: %s",
			      (unsigned long long)stream, param, param_name(param), (unsigned long long)value,
			      kvs_errno_text(err))
		   : 0;
}
