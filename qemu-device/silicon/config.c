/* SPDX-License-Identifier: MIT */
/*
 * Parameters (CONFIG): of a stream, or of the device, whose values new streams take over.
 *
 * What scores mean must not change once they exist: the local window is fixed then, and so is a mode
 * that would imply another one.
 */
#include "chip.h"

enum kind { F32, U32, U64 };

const uint64_t kvsink_param_default[KVSINK_PARAM_COUNT] = {
#define X(name, index, kind, scope, def, doc) [index] = def,
	KVSINK_PARAMS(X)
#undef X
};

static const enum kind param_kind[KVSINK_PARAM_COUNT] = {
#define X(name, index, kind, scope, def, doc) [index] = kind,
	KVSINK_PARAMS(X)
#undef X
};

#define F32_MAX_FINITE 0x7f7fffffu /* non-negative finite patterns are 0 up to this */

static bool value_ok(uint32_t param, uint64_t value)
{
	if (param_kind[param] == F32 && value > F32_MAX_FINITE)
		return false;
	if (param_kind[param] == U32 && value > UINT32_MAX)
		return false;
	if (param == KVSINK_PARAM_SCORE_MODE)
		return value <= KVSINK_SCORE_REL;
	if (param == KVSINK_PARAM_LAYER_RANGE)
		return (value & 0xffff) < value >> 16;
	return true;
}

bool kvsink_stream_scored(const struct kvsink_stream *stream)
{
	for (uint32_t l = 0; l < stream->layers; l++)
		if (stream->layer[l].scored)
			return true;
	return false;
}

/* Would the local window that the scores were taken with be another one? */
static bool changes_scores(const struct kvsink_stream *stream, uint32_t param, uint64_t value)
{
	uint64_t old = kvsink_param(stream, param);

	if (old == value || !kvsink_stream_scored(stream))
		return false;
	if (param == KVSINK_PARAM_LOCAL_WINDOW)
		return true;
	return param == KVSINK_PARAM_SCORE_MODE && !kvsink_param(stream, KVSINK_PARAM_LOCAL_WINDOW) &&
	       (old == KVSINK_SCORE_RAW || value == KVSINK_SCORE_RAW);
}

uint32_t kvsink_cmd_config(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_cmd_config *c = &cmd->config;
	struct kvsink_stream *stream = NULL;
	uint32_t code = KVSINK_CODE_OK;

	if (c->param >= KVSINK_PARAM_COUNT)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(config.param));
	if (c->group != KVSINK_GROUP_ALL)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(config.group));
	if (!value_ok(c->param, c->value))
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(config.value));
	if (c->stream)
		code = kvsink_stream_get(ring, c->stream, &stream);
	else if (!kvsink_privileged(ring))
		code = kvsink_fault(ring, KVSINK_CODE_TENANT, 0);
	if (code)
		return code;
	if (stream && changes_scores(stream, c->param, c->value))
		return kvsink_fault(ring, KVSINK_CODE_BUSY, KVSINK_FIELD(config.value));
	if (!stream)
		ring->chip->params[c->param] = c->value;
	for (uint32_t g = 0; stream && g < stream->score_groups; g++)
		stream->group[g].params[c->param] = c->value;
	return KVSINK_CODE_OK;
}
