// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The ioctls that are one-command jobs: PROMOTE, EVICT, CONFIG, QUERY; and the check of ENTRY_READ.
 *
 * Streams are looked up without ownership: any file of the tenant may act on them. Whether the tenant may
 * touch the device as a whole (stream 0) is for the caller to decide, and for the chip once more.
 */
#include "check.h"

#define PROMOTE_REFUSE(env, member, err) kvsink_refuse(env, struct drm_kvsink_promote, member, err)
#define EVICT_REFUSE(env, member, err) kvsink_refuse(env, struct drm_kvsink_evict, member, err)
#define CONFIG_REFUSE(env, member, err) kvsink_refuse(env, struct drm_kvsink_config, member, err)
#define QUERY_REFUSE(env, member, err) kvsink_refuse(env, struct drm_kvsink_query, member, err)
#define ENTRY_REFUSE(env, member, err) kvsink_refuse(env, struct drm_kvsink_entry_read, member, err)

enum param_kind { KIND_F32, KIND_U32, KIND_U64 };

__attribute__((unused)) static bool heads_valid(const struct kvsink_logic_stream *stream, uint64_t mask)
{
	return mask && (stream->kv_heads >= 64 || !(mask >> stream->kv_heads));
}

static int places_ok(const struct kvsink_logic_stream *st, const struct drm_kvsink_place *p, uint32_t n,
		     bool all, union kvsink_item *items)
{
	for (uint32_t i = 0; i < n; i++) {
		uint64_t heads = st->kv_heads < 64 ? (1ull << st->kv_heads) - 1 : ~0ull;
		if (p[i].token >= st->max_tokens && !(all && p[i].token == KVSINK_TOKEN_ALL))
			return -EINVAL;
		if (!kvsink_layers_valid(st, p[i].layer_begin, p[i].layer_end))
			return -EINVAL;
		if (!p[i].head_mask || (!all && (p[i].head_mask & ~heads)))
			return -EINVAL;
		memset(&items[i], 0, sizeof(items[i]));
		items[i].place = (struct kvsink_place_item){p[i].token,
							    p[i].layer_begin,
							    p[i].layer_end,
							    all ? p[i].head_mask & heads : p[i].head_mask,
							    {0}};
		if (!items[i].place.head_mask)
			return -EINVAL;
	}
	return 0;
}
int kvsink_logic_build_promote(struct kvsink_logic_env *env, const struct drm_kvsink_promote *args,
			       const struct drm_kvsink_place *places, struct kvsink_cmd *cmd,
			       union kvsink_item *items)
{
	struct kvsink_logic_stream st;
	int err = kvsink_find_stream(env, args->stream, false, 0, &st);
	if (!err)
		err = places_ok(&st, places, args->places.count, false, items);
	if (err)
		return err;
	if (args->priority > 255)
		return -EINVAL;
	memset(cmd, 0, sizeof(*cmd));
	cmd->opcode = KVSINK_OP_PROMOTE;
	cmd->flags = args->flags;
	cmd->promote = (struct kvsink_cmd_promote){
		args->stream,	   0,		args->places.count, args->dwell_steps, args->priority,
		args->deadline_ns, args->due_ns};
	return 0;
}
int kvsink_logic_build_evict(struct kvsink_logic_env *env, const struct drm_kvsink_evict *args,
			     const struct drm_kvsink_place *places, struct kvsink_cmd *cmd,
			     union kvsink_item *items)
{
	struct kvsink_logic_stream st;
	int err = kvsink_find_stream(env, args->stream, false, 0, &st);
	if (!err)
		err = places_ok(&st, places, args->places.count, true, items);
	if (err)
		return err;
	memset(cmd, 0, sizeof(*cmd));
	cmd->opcode = KVSINK_OP_EVICT;
	cmd->evict = (struct kvsink_cmd_evict){args->stream, 0, args->places.count};
	return 0;
}
int kvsink_logic_build_contract(struct kvsink_logic_env *env, const struct drm_kvsink_contract *args,
				const struct drm_kvsink_place *places, struct kvsink_cmd *cmd,
				union kvsink_item *items)
{
	struct kvsink_logic_stream st;
	int err = kvsink_find_stream(env, args->stream, false, 0, &st);
	if (!err)
		err = places_ok(&st, places, args->places.count, true, items);
	if (err)
		return err;
	if (args->priority > 255)
		return -EINVAL;
	memset(cmd, 0, sizeof(*cmd));
	cmd->opcode = KVSINK_OP_CONTRACT;
	cmd->contract = (struct kvsink_cmd_contract){
		args->stream, 0, args->places.count, args->dwell_steps, args->priority, args->deadline_ns};
	return 0;
}

static int check_config(struct kvsink_logic_env *env, const struct drm_kvsink_config *args)
{
	struct kvsink_logic_stream stream;

	env->field = KVSINK_LOGIC_NO_FIELD;
	if (args->pad)
		return CONFIG_REFUSE(env, pad, EINVAL);
	if (args->param >= KVSINK_PARAM_COUNT)
		return CONFIG_REFUSE(env, param, EINVAL);
	if (!args->stream)
		return 0;
	return kvsink_find_stream(env, args->stream, false, offsetof(struct drm_kvsink_config, stream),
				  &stream);
}

static bool param_valid(uint32_t param, uint64_t value)
{
	static const uint8_t kinds[KVSINK_PARAM_COUNT] = {
#define X(name, index, kind, scope, def, doc) [index] = KIND_##kind,
		KVSINK_PARAMS(X)
#undef X
	};

	if (kinds[param] == KIND_F32 && value >= KVSINK_LOGIC_INF)
		return false;
	if (kinds[param] == KIND_U32 && value > 0xffffffffu)
		return false;
	if (param == KVSINK_PARAM_SCORE_MODE)
		return value <= KVSINK_SCORE_REL;
	if (param == KVSINK_PARAM_LAYER_RANGE)
		return (value & 0xffff) < value >> 16;
	return true;
}

int kvsink_logic_build_config(struct kvsink_logic_env *env, const struct drm_kvsink_config *args,
			      struct kvsink_cmd *cmd)
{
	int err = check_config(env, args);

	if (err)
		return err;
	if (!param_valid(args->param, args->value))
		return CONFIG_REFUSE(env, value, EINVAL);

	memset(cmd, 0, sizeof(*cmd));
	cmd->opcode = KVSINK_OP_CONFIG;
	cmd->config.stream = args->stream;
	cmd->config.param = args->param;
	cmd->config.group = args->group;
	cmd->config.value = args->value;
	return 0;
}

int kvsink_logic_build_config_get(struct kvsink_logic_env *env, const struct drm_kvsink_config *args,
				  uint64_t dst_gart, struct kvsink_cmd *cmd)
{
	int err = check_config(env, args);

	if (err)
		return err;
	memset(cmd, 0, sizeof(*cmd));
	cmd->opcode = KVSINK_OP_QUERY;
	cmd->query.stream = args->stream;
	cmd->query.what = KVSINK_QUERY_PARAMS;
	cmd->query.group = args->group == KVSINK_GROUP_ALL ? 0 : args->group;
	cmd->query.max = KVSINK_PARAM_COUNT;
	cmd->query.dst.space = KVSINK_SPACE_GART;
	cmd->query.dst.offset = dst_gart;
	return 0;
}

/* Scores belong to a stream and a group of it; other kinds know no group and may do without a stream. */
static int check_query_stream(struct kvsink_logic_env *env, const struct drm_kvsink_query *args)
{
	struct kvsink_logic_stream stream = {0};
	bool scores = args->type == DRM_KVSINK_QUERY_SCORES || args->type == DRM_KVSINK_QUERY_SINKS;
	int err;

	if (scores || args->stream) {
		err = kvsink_find_stream(env, args->stream, false, offsetof(struct drm_kvsink_query, stream),
					 &stream);
		if (err)
			return err;
	}
	if (scores ? args->group >= stream.score_groups : args->group != 0)
		return QUERY_REFUSE(env, group, EINVAL);
	return 0;
}

int kvsink_logic_build_query(struct kvsink_logic_env *env, const struct drm_kvsink_query *args,
			     uint64_t dst_gart, uint32_t dst_bytes, struct kvsink_cmd *cmd)
{
	uint32_t record = kvsink_logic_record_bytes(args->type);
	uint32_t bytes = args->size < dst_bytes ? args->size : dst_bytes;
	int err;

	env->field = KVSINK_LOGIC_NO_FIELD;
	if (!record)
		return QUERY_REFUSE(env, type, EINVAL);
	err = check_query_stream(env, args);
	if (err)
		return err;
	if (args->size > DRM_KVSINK_MAX_QUERY_BYTES)
		return QUERY_REFUSE(env, size, E2BIG);
	if (bytes < sizeof(struct kvsink_list_head))
		return QUERY_REFUSE(env, size, EINVAL);

	memset(cmd, 0, sizeof(*cmd));
	cmd->opcode = KVSINK_OP_QUERY;
	cmd->query.stream = args->stream;
	cmd->query.what = args->type; /* the two enums agree, see below */
	cmd->query.group = args->group;
	cmd->query.first = args->first;
	cmd->query.max = (bytes - (uint32_t)sizeof(struct kvsink_list_head)) / record;
	cmd->query.dst.space = KVSINK_SPACE_GART;
	cmd->query.dst.offset = dst_gart;
	return 0;
}

_Static_assert((int)DRM_KVSINK_QUERY_STREAMS == (int)KVSINK_QUERY_STREAMS &&
		       (int)DRM_KVSINK_QUERY_TAGS == (int)KVSINK_QUERY_TAGS &&
		       (int)DRM_KVSINK_QUERY_COUNTERS == (int)KVSINK_QUERY_COUNTERS &&
		       (int)DRM_KVSINK_QUERY_SCORES == (int)KVSINK_QUERY_SCORES &&
		       (int)DRM_KVSINK_QUERY_PARAMS == (int)KVSINK_QUERY_PARAMS &&
		       (int)DRM_KVSINK_QUERY_EVENTS == (int)KVSINK_QUERY_EVENTS,
	       "QUERY kinds have one numbering");
_Static_assert(sizeof(struct drm_kvsink_list_head) == sizeof(struct kvsink_list_head) &&
		       sizeof(struct drm_kvsink_sink) == sizeof(struct kvsink_sink_rec) &&
		       sizeof(struct drm_kvsink_attend_stat) == sizeof(struct kvsink_attend_stat),
	       "what the chip writes is what the user reads");

int kvsink_logic_entry_read(struct kvsink_logic_env *env, const struct drm_kvsink_entry_read *args,
			    struct kvsink_logic_stream *stream)
{
	int err;

	env->field = KVSINK_LOGIC_NO_FIELD;
	if (args->pad)
		return ENTRY_REFUSE(env, pad, EINVAL);
	err = kvsink_find_stream(env, args->stream, true, offsetof(struct drm_kvsink_entry_read, stream),
				 stream);
	if (err)
		return err;
	if (args->token >= stream->max_tokens)
		return ENTRY_REFUSE(env, token, EINVAL);
	if (args->layer >= stream->layers)
		return ENTRY_REFUSE(env, layer, EINVAL);
	if (args->head >= stream->kv_heads)
		return ENTRY_REFUSE(env, head, EINVAL);
	if (args->size != kvsink_row_bytes(stream->d_k, stream->d_v, stream->format))
		return ENTRY_REFUSE(env, size, EINVAL);
	return 0;
}
