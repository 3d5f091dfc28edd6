// SPDX-License-Identifier: MIT
/*
 * Placement: PROMOTE, EVICT and the parameters that guide them. All act by stream id, so that a tool can
 * act on a running model's stream.
 */
#include <string.h>

#include "internal.h"

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
	struct reason why;
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
	why = reason(err, args.code);
	return kvs_fail(device, err, "PROMOTE: stream %llu, token %u, layers [%u, %u), heads %#llx: %s%s%.*s",
			(unsigned long long)stream, token, layer_begin, layer_end,
			(unsigned long long)head_mask, why.name, why.colon, why.length, why.text);
}

KVS_PUBLIC int kvs_evict(struct kvs_device *device, uint64_t stream, uint32_t token, uint32_t layer_begin,
			 uint32_t layer_end)
{
	struct drm_kvsink_evict args = {.stream = stream, .token = token};
	struct reason why;
	int err = check_layers(device, "EVICT", layer_begin, layer_end);

	if (err)
		return err;
	args.layer_begin = (uint16_t)layer_begin;
	args.layer_end = (uint16_t)layer_end;
	err = kvs_device_call(device, DRM_IOCTL_KVSINK_EVICT, &args);
	if (!err)
		return (int)args.entries;
	why = reason(err, args.code);
	return kvs_fail(device, err, "EVICT: stream %llu, token %u, layers [%u, %u): %s%s%.*s",
			(unsigned long long)stream, token, layer_begin, layer_end, why.name, why.colon,
			why.length, why.text);
}

static const char *param_name(uint32_t param)
{
	switch (param) {
#define X(name, index, kind, scope, def, doc)                                                                       \
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
