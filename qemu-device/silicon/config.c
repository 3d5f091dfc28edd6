/* SPDX-License-Identifier: MIT */
/*
 * Parameters (CONFIG): of a score group, of a stream, or of the device, whose values new streams take over.
 *
 * What scores and EMA mean must not change once they exist: local window and layer weights are fixed then,
 * and so is a mode that would imply another window. Thresholds that contradict one another are refused,
 * whichever comes second.
 */
#include <string.h>

#include "chip.h"

enum kind { F32, U32, U64 };
enum scope { DEVICE, STREAM, GROUP };

const uint64_t kvsink_param_default[KVSINK_PARAM_COUNT] = {
#define X(name, index, kind, scope, def, doc) [index] = def,
	KVSINK_PARAMS(X)
#undef X
};

static const struct {
	enum kind kind;
	enum scope scope;
} params[KVSINK_PARAM_COUNT] = {
#define X(name, index, kind, scope, def, doc) [index] = {kind, scope},
	KVSINK_PARAMS(X)
#undef X
};

#define F32_INFINITY 0x7f800000u /* non-negative finite patterns are those below */
#define F32_ONE 0x3f800000u
#define F32_256 0x43800000u
#define NO_LIMIT UINT32_MAX
#define TO_THE_LAST 0xffffu /* as the end of a layer range */

uint32_t kvsink_weight_q16(uint32_t pattern)
{
	float weight;

	memcpy(&weight, &pattern, sizeof(weight));
	return (uint32_t)((double)weight * 0x1p16);
}

bool kvsink_stream_scored(const struct kvsink_stream *stream)
{
	for (uint32_t l = 0; l < stream->layers; l++)
		if (stream->layer[l].scored)
			return true;
	return false;
}

/* ---- values ---- */

/* begin | end << 16; the device knows no geometry, a stream's range must lie within it. */
static bool range_ok(const struct kvsink_stream *s, uint32_t range)
{
	uint32_t begin = range & 0xffff, end = range >> 16;

	if (begin >= end)
		return false;
	return !s || (begin < s->layers && (end <= s->layers || end == TO_THE_LAST));
}

static bool mask_ok(const struct kvsink_stream *s, uint64_t mask)
{
	return !s || s->kv_heads == 64 || mask == UINT64_MAX || mask >> s->kv_heads == 0;
}

static bool number_ok(const struct kvsink_chip *chip, const struct kvsink_stream *s, uint32_t param,
		      uint64_t value)
{
	switch (param) {
	case KVSINK_PARAM_SCORE_MODE:
		return value <= KVSINK_SCORE_REL;
	case KVSINK_PARAM_PLACEMENT:
		return value <= KVSINK_PLACEMENT_AUTO;
	case KVSINK_PARAM_GATE:
		return value < KVSINK_GATE_COUNT;
	case KVSINK_PARAM_GATE_BUFFER:
	case KVSINK_PARAM_CERTIFY:
		return value <= 1;
	case KVSINK_PARAM_SRAM_BUDGET:
	case KVSINK_PARAM_TENANT_CAP:
		return value <= chip->config.sram_bytes || value == NO_LIMIT;
	case KVSINK_PARAM_N_PROMOTE:
	case KVSINK_PARAM_N_EVICT:
		return value >= 1 && value <= 0xffff;
	case KVSINK_PARAM_TAIL_TOKENS:
		return value <= KVSINK_MAX_TAIL_TOKENS;
	case KVSINK_PARAM_PRIORITY:
		return value <= KVSINK_MAX_PRIORITY;
	case KVSINK_PARAM_LAYER_RANGE:
		return range_ok(s, (uint32_t)value);
	case KVSINK_PARAM_HEAD_MASK:
		return mask_ok(s, value);
	case KVSINK_PARAM_LAYER_WEIGHT:
		return range_ok(s, (uint32_t)value) && value >> 32 < F32_256;
	}
	return true;
}

static bool value_ok(const struct kvsink_chip *chip, const struct kvsink_stream *s, uint32_t param,
		     uint64_t value)
{
	if (param == KVSINK_PARAM_EPSILON && !value)
		return false;
	if (params[param].kind == F32)
		return value < (param == KVSINK_PARAM_ALPHA || param == KVSINK_PARAM_EPSILON ? F32_ONE
											     : F32_INFINITY);
	if (params[param].kind == U32 && value > UINT32_MAX)
		return false;
	return number_ok(chip, s, param, value);
}

/* ---- what a value may not contradict ---- */

/* The parameter that the value contradicts, or KVSINK_PARAM_COUNT. Patterns order as their values do. */
static uint32_t contradicts(const uint64_t *old, uint32_t param, uint64_t value)
{
	if (param == KVSINK_PARAM_T_PROMOTE && value <= old[KVSINK_PARAM_T_EVICT])
		return KVSINK_PARAM_T_EVICT;
	if (param == KVSINK_PARAM_T_EVICT && value >= old[KVSINK_PARAM_T_PROMOTE])
		return KVSINK_PARAM_T_PROMOTE;
	return KVSINK_PARAM_COUNT;
}

static bool has_statistics(const struct kvsink_stream *s)
{
	for (uint32_t g = 0; g < s->score_groups; g++)
		if (s->group[g].seeded)
			return true;
	for (uint32_t l = 0; l < s->layers; l++)
		if (s->layer[l].scored || s->layer[l].observed_end)
			return true;
	return false;
}

static void weight_range(const struct kvsink_stream *s, uint64_t value, uint32_t *begin, uint32_t *end)
{
	*begin = (uint32_t)value & 0xffff;
	*end = (uint32_t)value >> 16;
	if (*end > s->layers)
		*end = s->layers;
}

static bool changes_weights(const struct kvsink_stream *s, uint64_t value)
{
	uint32_t weight = kvsink_weight_q16((uint32_t)(value >> 32)), l, end;

	for (weight_range(s, value, &l, &end); l < end; l++)
		if (s->layer[l].weight != weight)
			return true;
	return false;
}

/* Would what was added up so far mean something else? */
static bool changes_statistics(const struct kvsink_stream *s, uint32_t param, uint64_t value)
{
	uint64_t old = kvsink_param(s, param);

	if (!has_statistics(s))
		return false;
	if (param == KVSINK_PARAM_LAYER_WEIGHT)
		return changes_weights(s, value);
	if (param == KVSINK_PARAM_LOCAL_WINDOW)
		return old != value;
	return param == KVSINK_PARAM_SCORE_MODE && old != value &&
	       !kvsink_param(s, KVSINK_PARAM_LOCAL_WINDOW) &&
	       (old == KVSINK_SCORE_RAW || value == KVSINK_SCORE_RAW);
}

/* ---- what a value does ---- */

void kvsink_set_weights(struct kvsink_stream *s, uint64_t value)
{
	uint32_t weight = kvsink_weight_q16((uint32_t)(value >> 32)), l, end;

	for (weight_range(s, value, &l, &end); l < end; l++)
		s->layer[l].weight = weight;
}

/* The EMA begins anew when placement is switched on. */
static void start_placement(struct kvsink_stream *s)
{
	for (uint32_t g = 0; g < s->score_groups; g++)
		s->group[g].seeded = false;
}

static uint32_t set_stream(struct kvsink_ring *ring, struct kvsink_stream *s,
			   const struct kvsink_cmd_config *c)
{
	uint32_t first = c->group == KVSINK_GROUP_ALL ? 0 : c->group;
	uint32_t end = c->group == KVSINK_GROUP_ALL ? s->score_groups : c->group + 1;
	uint32_t other, code;

	for (uint32_t g = first; g < end; g++) {
		other = contradicts(s->group[g].params, c->param, c->value);
		if (other < KVSINK_PARAM_COUNT)
			return kvsink_fault(ring, KVSINK_CODE_CONFLICT, other);
	}
	if (changes_statistics(s, c->param, c->value))
		return kvsink_fault(ring, KVSINK_CODE_BUSY, KVSINK_FIELD(config.value));
	if (c->param == KVSINK_PARAM_TAIL_TOKENS) {
		code = kvsink_tail_config(ring, s, first, end, (uint32_t)c->value);
		if (code)
			return code;
	}
	if (c->param == KVSINK_PARAM_LAYER_WEIGHT)
		kvsink_set_weights(s, c->value);
	if (c->param == KVSINK_PARAM_PLACEMENT && !kvsink_param(s, c->param) && c->value)
		start_placement(s);
	/* a tail of no layers or heads is none */
	for (uint32_t g = first; g < end; g++)
		s->group[g].params[c->param] =
			c->param == KVSINK_PARAM_TAIL_TOKENS ? s->group[g].tail.tokens : c->value;
	return KVSINK_CODE_OK;
}

static uint32_t set_device(struct kvsink_ring *ring, const struct kvsink_cmd_config *c)
{
	uint32_t other = contradicts(ring->chip->params, c->param, c->value);

	if (other < KVSINK_PARAM_COUNT)
		return kvsink_fault(ring, KVSINK_CODE_CONFLICT, other);
	ring->chip->params[c->param] = c->value;
	return KVSINK_CODE_OK;
}

static uint32_t check(struct kvsink_ring *ring, const struct kvsink_stream *s,
		      const struct kvsink_cmd_config *c)
{
	if (c->param >= KVSINK_PARAM_COUNT || (s && params[c->param].scope == DEVICE))
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(config.param));
	if (c->group != KVSINK_GROUP_ALL &&
	    (!s || params[c->param].scope != GROUP || c->group >= s->score_groups))
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(config.group));
	if (!value_ok(ring->chip, s, c->param, c->value))
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(config.value));
	if ((!s || c->param == KVSINK_PARAM_TENANT_TAG) && !kvsink_privileged(ring))
		return kvsink_fault(ring, KVSINK_CODE_TENANT, c->stream);
	return KVSINK_CODE_OK;
}

uint32_t kvsink_cmd_config(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_cmd_config *c = &cmd->config;
	struct kvsink_stream *s = NULL;
	uint32_t code = c->stream ? kvsink_stream_get(ring, c->stream, &s) : KVSINK_CODE_OK;

	if (!code)
		code = check(ring, s, c);
	if (code)
		return code;
	return s ? set_stream(ring, s, c) : set_device(ring, c);
}
