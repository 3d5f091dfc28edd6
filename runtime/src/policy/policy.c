// SPDX-License-Identifier: MIT
/*
 * The life of a policy: options are checked before anything is changed, then the stream is configured
 * (configure.c), then the policy's own functions are called.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy.h"

static const struct kvs_policy_ops *const policies[] = {
#define X(name) &kvs_policy_##name,
	KVS_POLICIES(X)
#undef X
};

#define COUNT ((unsigned)(sizeof(policies) / sizeof(policies[0])))

KVS_PUBLIC unsigned kvs_policy_count(void)
{
	return COUNT;
}

KVS_PUBLIC const char *kvs_policy_name(unsigned index)
{
	return index < COUNT ? policies[index]->name : NULL;
}

KVS_PUBLIC const char *kvs_policy_about(unsigned index)
{
	return index < COUNT ? policies[index]->about : NULL;
}

KVS_PUBLIC unsigned kvs_policy_traits(unsigned index)
{
	const struct kvs_policy_ops *ops = index < COUNT ? policies[index] : NULL;

	if (!ops)
		return 0;
	return (ops->layer || ops->takes & KVS_TAKES_PINS ? KVS_POLICY_INSIDE : 0) |
	       (ops->step ? KVS_POLICY_EACH_STEP : 0) | (ops->needs_scores ? KVS_POLICY_SCORES : 0);
}

/* ---- what the stream is ---- */

int kvs_policy_refresh(struct kvs_policy *policy)
{
	size_t bytes;
	void *records;
	int count = kvs_query(policy->device, DRM_KVSINK_QUERY_STREAMS, policy->stream.stream, 0, &records,
			      &bytes);

	if (count < 0)
		return count;
	if (!count || bytes < sizeof(policy->stream)) {
		free(records);
		return kvs_fail(policy->device, -ENOENT, "policy: stream %llu does not exist",
				(unsigned long long)policy->stream.stream);
	}
	memcpy(&policy->stream, records, sizeof(policy->stream));
	free(records);
	return 0;
}

/* heads[]: what HEAD_MASK of the groups and LAYER_RANGE allow now. */
static int read_masks(struct kvs_policy *policy)
{
	uint64_t all = policy->stream.kv_heads < 64 ? (1ull << policy->stream.kv_heads) - 1 : UINT64_MAX;
	uint64_t range, mask;
	int err = kvs_policy_get(policy, KVSINK_GROUP_ALL, KVSINK_PARAM_LAYER_RANGE, &range);

	for (uint32_t g = 0; !err && g < policy->stream.score_groups; g++) {
		uint32_t begin, end;

		kvs_policy_group(policy, g, &begin, &end);
		err = kvs_policy_get(policy, g, KVSINK_PARAM_HEAD_MASK, &mask);
		for (uint32_t l = begin; !err && l < end; l++)
			policy->heads[l] = l >= (range & 0xffff) && l < range >> 16 ? mask & all : 0;
	}
	return err;
}

static int read_stream(struct kvs_policy *policy, uint64_t stream)
{
	int err;

	policy->stream.stream = stream;
	if (!stream) /* QUERY takes it for all of them */
		return kvs_fail(policy->device, -ENOENT, "policy: stream 0: allowed is the id of a stream");
	err = kvs_policy_refresh(policy);
	err = err ? err : read_masks(policy);
	err = err ? err : kvs_policy_inherit(policy);
	policy->row_bytes = kvsink_row_bytes(policy->stream.flags, policy->stream.d_k, policy->stream.d_v,
					     policy->stream.format);
	return err;
}

/* ---- options ---- */

static int refuse(struct kvs_policy *policy, const char *option)
{
	return kvs_fail(policy->device, -EINVAL,
			"policy %s: %s is set: allowed is 0, it is not an option of this policy",
			policy->ops->name, option);
}

static int check_kinds(struct kvs_policy *policy)
{
	const struct kvs_policy_options *options = &policy->options;
	unsigned takes = policy->ops->takes;

	if (options->tail_tokens > 0 && !(takes & KVS_TAKES_TAIL))
		return refuse(policy, "tail_tokens");
	if (options->head_masks && !(takes & KVS_TAKES_MASKS))
		return refuse(policy, "head_masks");
	if (options->pin_count && !(takes & KVS_TAKES_PINS))
		return refuse(policy, "pin_count");
	if (options->t_sink != 0 && !(takes & KVS_TAKES_T_SINK))
		return refuse(policy, "t_sink");
	return 0;
}

static int check_values(struct kvs_policy *policy)
{
	const struct kvs_policy_options *options = &policy->options;
	const char *name = policy->ops->name;

	if (options->tail_tokens < KVS_TAIL_HALF || options->tail_tokens > KVSINK_MAX_TAIL_TOKENS)
		return kvs_fail(policy->device, -EINVAL,
				"policy %s: tail_tokens = %d: allowed are -2 (half of the SRAM), -1 (its "
				"own) and 0 to %u",
				name, options->tail_tokens, KVSINK_MAX_TAIL_TOKENS);
	if (!isfinite(options->t_sink) || options->t_sink < 0)
		return kvs_fail(policy->device, -EINVAL,
				"policy %s: t_sink = %g: allowed are finite scores, not negative", name,
				(double)options->t_sink);
	if (options->pin_count && !options->pins)
		return kvs_fail(policy->device, -EINVAL, "policy %s: pin_count = %u without pins", name,
				options->pin_count);
	if (!options->pin_count && (policy->ops->takes & KVS_TAKES_PINS))
		return kvs_fail(policy->device, -EINVAL, "policy %s: pin_count = 0: allowed is at least 1",
				name);
	return 0;
}

/* Masks and pins against the stream's geometry. */
static int check_geometry(struct kvs_policy *policy)
{
	const struct kvs_policy_options *options = &policy->options;
	const struct kvsink_stream_rec *stream = &policy->stream;

	for (uint32_t l = 0; options->head_masks && l < stream->layers; l++)
		if (stream->kv_heads < 64 && options->head_masks[l] >> stream->kv_heads)
			return kvs_fail(policy->device, -EINVAL,
					"policy %s: head_masks[%u] = %#llx: the stream has %u KV heads",
					policy->ops->name, l, (unsigned long long)options->head_masks[l],
					stream->kv_heads);
	for (unsigned i = 0; i < options->pin_count; i++) {
		const struct drm_kvsink_place *pin = &options->pins[i];

		if (pin->token >= stream->max_tokens || pin->layer_begin >= pin->layer_end ||
		    pin->layer_end > stream->layers || !pin->head_mask ||
		    (stream->kv_heads < 64 && pin->head_mask >> stream->kv_heads))
			return kvs_fail(policy->device, -EINVAL,
					"policy %s: pin %u: token %u, layers [%u, %u), heads %#llx: the "
					"stream has %u "
					"tokens at most, %u layers, %u KV heads",
					policy->ops->name, i, pin->token, pin->layer_begin, pin->layer_end,
					(unsigned long long)pin->head_mask, stream->max_tokens,
					stream->layers, stream->kv_heads);
	}
	return 0;
}

/* A policy that places anything needs heads that may become resident. */
static int check_heads(struct kvs_policy *policy)
{
	const struct kvs_policy_ops *ops = policy->ops;

	if (!ops->prefilled && !ops->step && ops->placement == KVSINK_PLACEMENT_OFF)
		return 0;
	for (uint32_t l = 0; l < policy->stream.layers; l++)
		if (policy->heads[l])
			return 0;
	return kvs_fail(
		policy->device, -EINVAL,
		"policy %s: no head of the stream may become resident: HEAD_MASK and LAYER_RANGE leave none",
		ops->name);
}

static int choose_budget(struct kvs_policy *policy)
{
	struct drm_kvsink_dev_info info = {0};
	int err = kvs_device_info(policy->device, &info);

	if (err)
		return err;
	policy->sram_bytes =
		policy->options.sram_bytes ? policy->options.sram_bytes : (uint32_t)info.sram_bytes;
	if (policy->sram_bytes <= info.sram_bytes)
		return 0;
	return kvs_fail(policy->device, -EINVAL, "policy %s: sram_bytes = %u: the device has %llu",
			policy->ops->name, policy->sram_bytes, (unsigned long long)info.sram_bytes);
}

static int choose_tail(struct kvs_policy *policy)
{
	int32_t wanted = policy->options.tail_tokens;
	uint32_t most = kvs_policy_tail_fit(policy, policy->sram_bytes);

	if (wanted == KVS_TAIL_OWN)
		policy->tail_tokens = policy->ops->own_tail ? policy->ops->own_tail(policy) : 0;
	else if (wanted == KVS_TAIL_HALF && (policy->ops->takes & KVS_TAKES_TAIL))
		policy->tail_tokens = kvs_policy_tail_fit(policy, policy->sram_bytes / 2);
	else
		policy->tail_tokens = wanted > 0 ? (uint32_t)wanted : 0;
	if (policy->tail_tokens <= most)
		return 0;
	return kvs_fail(policy->device, -EINVAL, "policy %s: tail_tokens = %u: %u fit into %u bytes of SRAM",
			policy->ops->name, policy->tail_tokens, most, policy->sram_bytes);
}

/* Copies of what the options point to: the caller's may go. */
static int keep_arrays(struct kvs_policy *policy)
{
	struct kvs_policy_options *options = &policy->options;

	if (options->head_masks) {
		policy->head_masks = calloc(policy->stream.layers, sizeof(*policy->head_masks));
		if (!policy->head_masks)
			return kvs_fail(policy->device, -ENOMEM, "policy: out of memory");
		memcpy(policy->head_masks, options->head_masks,
		       policy->stream.layers * sizeof(*policy->head_masks));
	}
	if (options->pin_count) {
		policy->pins = calloc(options->pin_count, sizeof(*policy->pins));
		if (!policy->pins)
			return kvs_fail(policy->device, -ENOMEM, "policy: out of memory");
		memcpy(policy->pins, options->pins, options->pin_count * sizeof(*policy->pins));
	}
	options->head_masks = policy->head_masks;
	options->pins = policy->pins;
	return 0;
}

static int take_options(struct kvs_policy *policy, const struct kvs_policy_options *options)
{
	const struct kvs_policy_options none = {.size = sizeof(none), .tail_tokens = KVS_TAIL_OWN};
	int err = kvs_copy_struct(policy->device, "policy_options", options ? options : &none,
				  offsetof(struct kvs_policy_options, tail_tokens) + sizeof(none.tail_tokens),
				  &policy->options, sizeof(policy->options));

	err = err ? err : check_kinds(policy);
	err = err ? err : check_values(policy);
	err = err ? err : check_geometry(policy);
	err = err ? err : check_heads(policy);
	err = err ? err : choose_budget(policy);
	err = err ? err : choose_tail(policy);
	return err ? err : keep_arrays(policy);
}

/* ---- life ---- */

int kvs_policy_start(struct kvs_device *device, uint64_t stream, const struct kvs_policy_ops *ops,
		     const struct kvs_policy_options *options, struct kvs_policy **policy)
{
	struct kvs_policy *new = calloc(1, sizeof(*new));
	int err;

	*policy = NULL;
	if (new)
		new->state = calloc(1, ops->state_bytes ? ops->state_bytes : 1);
	if (!new || !new->state) {
		free(new);
		return kvs_fail(device, -ENOMEM, "policy: out of memory");
	}
	new->device = device;
	new->ops = ops;
	kvs_device_ref(device);
	err = read_stream(new, stream);
	err = err ? err : take_options(new, options);
	err = err ? err : kvs_policy_configure(new);
	if (err) {
		kvs_policy_close(new);
		return err;
	}
	*policy = new;
	return 0;
}

static int fail_name(struct kvs_device *device, const char *name)
{
	char names[KVS_ERROR_BYTES];
	size_t used = 0;

	for (unsigned i = 0; i < COUNT && used < sizeof(names); i++)
		used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s", i ? ", " : "",
					 policies[i]->name);
	return kvs_fail(device, -EINVAL, "policy '%s': allowed are %s", name ? name : "", names);
}

KVS_PUBLIC int kvs_policy_open(struct kvs_device *device, uint64_t stream, const char *name,
			       const struct kvs_policy_options *options, struct kvs_policy **policy)
{
	*policy = NULL;
	for (unsigned i = 0; name && i < COUNT; i++)
		if (!strcmp(policies[i]->name, name))
			return kvs_policy_start(device, stream, policies[i], options, policy);
	return fail_name(device, name);
}

KVS_PUBLIC bool kvs_policy_wants_mass(const struct kvs_policy *policy)
{
	return policy->ops->wants_mass;
}

KVS_PUBLIC int kvs_policy_prefilled(struct kvs_policy *policy)
{
	int err = kvs_policy_refresh(policy);

	if (!err && policy->stream.shared)
		err = kvs_policy_inherit_budget(policy);
	return err || !policy->ops->prefilled ? err : policy->ops->prefilled(policy);
}

/* It goes into sums that decide for the rest of the run. */
static int check_mass(struct kvs_policy *policy, uint32_t layer, uint32_t tokens, const float *mass)
{
	if (!mass)
		return kvs_fail(policy->device, -EINVAL, "policy %s: layer %u: no mass", policy->ops->name,
				layer);
	for (size_t i = 0; i < (size_t)policy->stream.kv_heads * tokens; i++)
		if (!(mass[i] >= 0) || isinf(mass[i]))
			return kvs_fail(
				policy->device, -EINVAL,
				"policy %s: layer %u, head %zu, token %zu: mass = %g: allowed are finite "
				"numbers from 0",
				policy->ops->name, layer, i / tokens, i % tokens, (double)mass[i]);
	return 0;
}

KVS_PUBLIC int kvs_policy_layer(struct kvs_policy *policy, uint32_t layer, uint32_t tokens, const float *mass)
{
	if (layer >= policy->stream.layers || !tokens || tokens > policy->stream.max_tokens)
		return kvs_fail(
			policy->device, -EINVAL,
			"policy %s: layer %u, %u tokens: allowed are layers below %u and 1 to %u tokens",
			policy->ops->name, layer, tokens, policy->stream.layers, policy->stream.max_tokens);
	if (policy->ops->wants_mass && check_mass(policy, layer, tokens, mass))
		return -EINVAL;
	return policy->ops->layer ? policy->ops->layer(policy, layer, tokens, mass) : 0;
}

/* Somebody may have published the stream's first tokens since: their entries are the prefix's now. */
static int follow(struct kvs_policy *policy)
{
	int err = kvs_policy_refresh(policy);

	if (err ||
	    (policy->stream.prefix == policy->inherited_of && policy->stream.shared == policy->inherited_end))
		return err;
	return kvs_policy_inherit_budget(policy);
}

KVS_PUBLIC int kvs_policy_step(struct kvs_policy *policy)
{
	int err = policy->ops->step ? follow(policy) : 0;

	return err || !policy->ops->step ? err : policy->ops->step(policy);
}

KVS_PUBLIC void kvs_policy_close(struct kvs_policy *policy)
{
	if (!policy)
		return;
	if (policy->ops->close)
		policy->ops->close(policy);
	kvs_close(policy->device);
	free(policy->head_masks);
	free(policy->pins);
	free(policy->inherited);
	free(policy->state);
	free(policy);
}
