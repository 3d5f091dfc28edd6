// SPDX-License-Identifier: MIT
/*
 * CONFIG of the model: which values a parameter may have, which contradict one another, and for which group,
 * stream or device they hold.
 */
#include "reference_parts.h"

#define INFINITE 0x7f800000u
#define ONE 0x3f800000u

enum kind { F32, U32, U64 };
enum scope { DEVICE, STREAM, GROUP };

static const struct {
	enum kind kind;
	enum scope scope;
} params[KVSINK_PARAM_COUNT] = {
#define X(name, index, kind, scope, def, doc) [index] = {kind, scope},
	KVSINK_PARAMS(X)
#undef X
};

/* Of a stream, or of the device (NULL), which knows no geometry. */
static bool value_ok(const struct ref *r, const struct ref_stream *st, uint32_t param, uint64_t value)
{
	uint32_t end = (uint32_t)(value >> 16);

	if (params[param].kind == F32)
		return value < (param == KVSINK_PARAM_ALPHA ? ONE : INFINITE);
	if (params[param].kind == U32 && value > ALL_ONES)
		return false;
	switch (param) {
	case KVSINK_PARAM_SCORE_MODE:
	case KVSINK_PARAM_PLACEMENT:
		return value <= 2;
	case KVSINK_PARAM_N_PROMOTE:
	case KVSINK_PARAM_N_EVICT:
		return value >= 1 && value <= 0xffff;
	case KVSINK_PARAM_TAIL_TOKENS:
		return value <= KVSINK_MAX_TAIL_TOKENS;
	case KVSINK_PARAM_PRIORITY:
		return value <= KVSINK_MAX_PRIORITY;
	case KVSINK_PARAM_LAYER_RANGE:
		if (st && ((value & 0xffff) >= st->layers || (end > st->layers && end != 0xffff)))
			return false;
		return (value & 0xffff) < end;
	case KVSINK_PARAM_HEAD_MASK:
		return !st || value == UINT64_MAX || !(value & ~ref_all_heads(st));
	case KVSINK_PARAM_SRAM_BUDGET:
	case KVSINK_PARAM_TENANT_CAP:
		return value == ALL_ONES || value <= (uint64_t)r->units * GRANULE;
	}
	return true;
}

static uint32_t conflict(const uint64_t *old, uint32_t param, uint64_t value)
{
	if (param == KVSINK_PARAM_T_PROMOTE && value <= old[KVSINK_PARAM_T_EVICT])
		return KVSINK_CODE_CONFLICT;
	if (param == KVSINK_PARAM_T_EVICT && value >= old[KVSINK_PARAM_T_PROMOTE])
		return KVSINK_CODE_CONFLICT;
	return KVSINK_CODE_OK;
}

static uint32_t config_stream(struct ref *r, unsigned s, uint32_t group, uint32_t param, uint64_t value)
{
	struct ref_stream *st = &r->stream[s];
	uint32_t first = group == KVSINK_GROUP_ALL ? 0 : group;
	uint32_t end = group == KVSINK_GROUP_ALL ? st->groups : group + 1, code = KVSINK_CODE_OK;
	struct ref keep = *r;

	for (uint32_t g = first; g < end && !code; g++)
		code = conflict(st->group[g].params, param, value);
	if (!code && param == KVSINK_PARAM_PLACEMENT && !st->group[0].params[param] && value)
		for (uint32_t g = 0; g < st->groups; g++)
			st->group[g].seeded = false;
	for (uint32_t g = first; g < end && !code; g++) {
		if (param == KVSINK_PARAM_TAIL_TOKENS)
			code = ref_set_tail(r, s, g, (uint32_t)value);
		if (!code)
			st->group[g].params[param] =
				param == KVSINK_PARAM_TAIL_TOKENS ? st->group[g].tail.tokens : value;
	}
	if (code)
		*r = keep;
	return code;
}

uint32_t ref_config(struct ref *r, unsigned s, uint32_t group, uint32_t param, uint64_t value,
		    bool privileged)
{
	bool device = s == ALL_ONES;
	uint32_t code;

	if (!device && r->stream[s].replay.tokens)
		return KVSINK_CODE_WINDOW;
	if (param >= KVSINK_PARAM_COUNT)
		return KVSINK_CODE_BAD_FIELD;
	if (group != KVSINK_GROUP_ALL &&
	    (device || params[param].scope != GROUP || group >= r->stream[s].groups))
		return KVSINK_CODE_BAD_FIELD;
	if (!value_ok(r, device ? NULL : &r->stream[s], param, value) ||
	    (!device && params[param].scope == DEVICE))
		return KVSINK_CODE_BAD_FIELD;
	if (!privileged && (device || param == KVSINK_PARAM_TENANT_TAG))
		return KVSINK_CODE_TENANT;
	if (!device)
		return config_stream(r, s, group, param, value);
	code = conflict(r->params, param, value);
	if (!code)
		r->params[param] = value;
	return code;
}
