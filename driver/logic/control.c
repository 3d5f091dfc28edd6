// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * CONFIG and QUERY as one-command jobs, and the check of ENTRY_READ. Lists of places: place.c.
 *
 * Streams are looked up without ownership: any file of the tenant may act on them. Whether the tenant may
 * touch the device as a whole (stream 0) is for the caller to decide, and for the chip once more.
 */
#include "check.h"

#define CONFIG_REFUSE(env, member, err) kvsink_refuse(env, struct drm_kvsink_config, member, err)
#define QUERY_REFUSE(env, member, err) kvsink_refuse(env, struct drm_kvsink_query, member, err)
#define ENTRY_REFUSE(env, member, err) kvsink_refuse(env, struct drm_kvsink_entry_read, member, err)

enum param_kind { KIND_F32, KIND_U32, KIND_U64 };
enum param_scope { SCOPE_DEVICE, SCOPE_STREAM, SCOPE_GROUP };

static const struct {
	uint8_t kind, scope;
} params[KVSINK_PARAM_COUNT] = {
#define X(name, index, kind, scope, def, doc) [index] = {KIND_##kind, SCOPE_##scope},
	KVSINK_PARAMS(X)
#undef X
};

static int check_config(struct kvsink_logic_env *env, const struct drm_kvsink_config *args)
{
	struct kvsink_logic_stream stream = {0};
	int err = 0;

	env->field = KVSINK_LOGIC_NO_FIELD;
	if (args->param >= KVSINK_PARAM_COUNT)
		return CONFIG_REFUSE(env, param, EINVAL);
	if (args->stream)
		err = kvsink_find_stream(env, args->stream, false, offsetof(struct drm_kvsink_config, stream),
					 &stream);
	if (err || args->group == KVSINK_GROUP_ALL)
		return err;
	if (params[args->param].scope != SCOPE_GROUP || args->group >= stream.score_groups)
		return CONFIG_REFUSE(env, group, EINVAL);
	return 0;
}

/* What holds for every geometry; the chip knows what this stream and its other parameters allow. */
static bool param_valid(uint32_t param, uint64_t value)
{
	if (params[param].kind == KIND_F32 && value >= KVSINK_LOGIC_INF)
		return false;
	if (params[param].kind == KIND_U32 && value > 0xffffffffu)
		return false;
	if (param == KVSINK_PARAM_SCORE_MODE)
		return value <= KVSINK_SCORE_REL;
	if (param == KVSINK_PARAM_PLACEMENT)
		return value <= KVSINK_PLACEMENT_AUTO;
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
	if (args->stream && params[args->param].scope == SCOPE_DEVICE)
		return CONFIG_REFUSE(env, param, EINVAL);
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

/* Scores belong to a stream and a group of it, parameters of a stream to a group; other kinds know no group.
 */
static int check_query_stream(struct kvsink_logic_env *env, const struct drm_kvsink_query *args)
{
	struct kvsink_logic_stream stream = {0};
	bool grouped = args->type == DRM_KVSINK_QUERY_SCORES || args->type == DRM_KVSINK_QUERY_SINKS;
	bool needs_stream =
		grouped || args->type == DRM_KVSINK_QUERY_VERDICTS || args->type == DRM_KVSINK_QUERY_PROFILE;
	int err;

	if (needs_stream || args->stream) {
		err = kvsink_find_stream(env, args->stream, false, offsetof(struct drm_kvsink_query, stream),
					 &stream);
		if (err)
			return err;
	}
	if (args->type == DRM_KVSINK_QUERY_PARAMS && args->stream)
		grouped = true;
	if (grouped ? args->group >= stream.score_groups : args->group != 0)
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
		       (int)DRM_KVSINK_QUERY_EVENTS == (int)KVSINK_QUERY_EVENTS &&
		       (int)DRM_KVSINK_QUERY_SINKS == (int)KVSINK_QUERY_SINKS &&
		       (int)DRM_KVSINK_QUERY_VERDICTS == (int)KVSINK_QUERY_VERDICTS &&
		       (int)DRM_KVSINK_QUERY_PROFILE == (int)KVSINK_QUERY_PROFILE &&
		       (int)DRM_KVSINK_QUERY_SPANS == (int)KVSINK_QUERY_SPANS,
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
	if (!args->generation) /* no entry has it */
		return ENTRY_REFUSE(env, generation, EINVAL);
	/* whether it is the entry's row_bytes is known once that is found */
	if (args->size != kvsink_row_bytes(stream->flags, stream->d_k, stream->d_v, stream->format) &&
	    args->size != kvsink_sealed_bytes(stream->seal_k, stream->format, stream->d_k) +
				  kvsink_sealed_bytes(stream->seal_v, stream->format, stream->d_v))
		return ENTRY_REFUSE(env, size, EINVAL);
	return 0;
}
