// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * PROMOTE, EVICT and CONTRACT: lists of places become items of a one-command job. The operations of SUBMIT
 * with the same names, and SEAL, go through the same checks (op.c).
 *
 * What depends on the stream's state (its length, its entries, host time, budgets) is checked by the chip.
 */
#include "check.h"

#define PROMOTE_REFUSE(env, member, err) kvsink_refuse(env, struct drm_kvsink_promote, member, err)
#define CONTRACT_REFUSE(env, member, err) kvsink_refuse(env, struct drm_kvsink_contract, member, err)

/* Places of PROMOTE lie within the stream; those of a search may name all tokens, and heads that it lacks. */
static bool place_valid(const struct kvsink_logic_stream *stream, const struct drm_kvsink_place *place,
			bool search)
{
	bool all_tokens = search && place->token == KVSINK_TOKEN_ALL;

	if (place->token >= stream->max_tokens && !all_tokens)
		return false;
	if (!kvsink_layers_valid(stream, place->layer_begin, place->layer_end) || !place->head_mask)
		return false;
	return search || stream->kv_heads >= 64 || !(place->head_mask >> stream->kv_heads);
}

static bool places_valid(const struct kvsink_logic_stream *stream, const struct drm_kvsink_place *places,
			 uint32_t count, bool search)
{
	uint32_t i;

	for (i = 0; i < count; i++)
		if (!place_valid(stream, &places[i], search))
			return false;
	return true;
}

static void build_items(const struct drm_kvsink_place *places, uint32_t count, union kvsink_item *items)
{
	uint32_t i;

	memset(items, 0, count * sizeof(*items));
	for (i = 0; i < count; i++) {
		items[i].place.token = places[i].token;
		items[i].place.layer_begin = places[i].layer_begin;
		items[i].place.layer_end = places[i].layer_end;
		items[i].place.head_mask = places[i].head_mask;
	}
}

int kvsink_build_promote(struct kvsink_logic_env *env, const struct drm_kvsink_promote *args,
			 const struct drm_kvsink_place *places, bool own, struct kvsink_cmd *cmd,
			 union kvsink_item *items)
{
	struct kvsink_logic_stream stream;
	int err;

	env->field = KVSINK_LOGIC_NO_FIELD;
	if (args->flags & ~DRM_KVSINK_PROMOTE_PARTIAL)
		return PROMOTE_REFUSE(env, flags, EINVAL);
	if (args->pad)
		return PROMOTE_REFUSE(env, pad, EINVAL);
	if (args->priority > KVSINK_MAX_PRIORITY)
		return PROMOTE_REFUSE(env, priority, EINVAL);
	err = kvsink_find_stream(env, args->stream, own, offsetof(struct drm_kvsink_promote, stream),
				 &stream);
	if (err)
		return err;
	if (!places_valid(&stream, places, args->places.count, false))
		return PROMOTE_REFUSE(env, places.array, EINVAL);

	build_items(places, args->places.count, items);
	memset(cmd, 0, sizeof(*cmd));
	cmd->opcode = KVSINK_OP_PROMOTE;
	cmd->flags = args->flags & DRM_KVSINK_PROMOTE_PARTIAL ? KVSINK_PROMOTE_PARTIAL : 0;
	cmd->promote.stream = args->stream;
	cmd->promote.item_count = args->places.count;
	cmd->promote.dwell_steps = args->dwell_steps;
	cmd->promote.priority = args->priority;
	cmd->promote.deadline_ns = args->deadline_ns;
	cmd->promote.due_ns = args->due_ns;
	return 0;
}

int kvsink_logic_build_promote(struct kvsink_logic_env *env, const struct drm_kvsink_promote *args,
			       const struct drm_kvsink_place *places, struct kvsink_cmd *cmd,
			       union kvsink_item *items)
{
	return kvsink_build_promote(env, args, places, false, cmd, items);
}

int kvsink_build_evict(struct kvsink_logic_env *env, const struct drm_kvsink_evict *args,
		       const struct drm_kvsink_place *places, bool own, struct kvsink_cmd *cmd,
		       union kvsink_item *items)
{
	struct kvsink_logic_stream stream;
	int err;

	env->field = KVSINK_LOGIC_NO_FIELD;
	err = kvsink_find_stream(env, args->stream, own, offsetof(struct drm_kvsink_evict, stream), &stream);
	if (err)
		return err;
	if (!places_valid(&stream, places, args->places.count, true))
		return kvsink_refuse(env, struct drm_kvsink_evict, places.array, EINVAL);

	build_items(places, args->places.count, items);
	memset(cmd, 0, sizeof(*cmd));
	cmd->opcode = KVSINK_OP_EVICT;
	cmd->evict.stream = args->stream;
	cmd->evict.item_count = args->places.count;
	return 0;
}

int kvsink_logic_build_evict(struct kvsink_logic_env *env, const struct drm_kvsink_evict *args,
			     const struct drm_kvsink_place *places, struct kvsink_cmd *cmd,
			     union kvsink_item *items)
{
	return kvsink_build_evict(env, args, places, false, cmd, items);
}

int kvsink_logic_build_contract(struct kvsink_logic_env *env, const struct drm_kvsink_contract *args,
				const struct drm_kvsink_place *places, struct kvsink_cmd *cmd,
				union kvsink_item *items)
{
	struct kvsink_logic_stream stream;
	int err;

	env->field = KVSINK_LOGIC_NO_FIELD;
	if (args->priority > KVSINK_MAX_PRIORITY)
		return CONTRACT_REFUSE(env, priority, EINVAL);
	err = kvsink_find_stream(env, args->stream, false, offsetof(struct drm_kvsink_contract, stream),
				 &stream);
	if (err)
		return err;
	if (!places_valid(&stream, places, args->places.count, true))
		return CONTRACT_REFUSE(env, places.array, EINVAL);

	build_items(places, args->places.count, items);
	memset(cmd, 0, sizeof(*cmd));
	cmd->opcode = KVSINK_OP_CONTRACT;
	cmd->contract.stream = args->stream;
	cmd->contract.item_count = args->places.count;
	cmd->contract.dwell_steps = args->dwell_steps;
	cmd->contract.priority = args->priority;
	cmd->contract.deadline_ns = args->deadline_ns;
	return 0;
}

int kvsink_build_seal_places(struct kvsink_logic_env *env, const struct kvsink_logic_stream *stream,
			     const struct drm_kvsink_place *places, uint32_t count, size_t field,
			     union kvsink_item *items)
{
	if (!places_valid(stream, places, count, false))
		return kvsink_refuse_at(env, field, -EINVAL);
	build_items(places, count, items);
	return 0;
}

_Static_assert(DRM_KVSINK_PROMOTE_PARTIAL == KVSINK_PROMOTE_PARTIAL, "one numbering of flags");
