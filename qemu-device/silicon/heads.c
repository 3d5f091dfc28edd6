/* SPDX-License-Identifier: MIT */
/*
 * LAYER_HEADS: the ALiBi slope and the learned sink's logit of each query head of a layer.
 *
 * They lie in HBM behind the scores, so every ATTEND and SCORE reads its layer's and counts the bytes. They
 * are part of what a row's attention means, so they are fixed before the stream has one.
 */
#include "fp.h"

#include "chip.h"

static uint64_t params_at(const struct kvsink_stream *s, uint32_t layer)
{
	uint64_t scores = kvsink_score_bytes(s->layers, s->kv_heads, s->score_groups, s->max_tokens);

	return s->scores + kvsink_head_params_at(scores) + layer * kvsink_head_params_layer_bytes(s);
}

uint64_t kvsink_head_params_layer_bytes(const struct kvsink_stream *s)
{
	return kvsink_head_params_bytes(s->flags, 1, s->q_heads);
}

const float *kvsink_head_params(const struct kvsink_chip *chip, const struct kvsink_stream *s, uint32_t layer)
{
	return s->flags & KVSINK_STREAM_PER_HEAD
		       ? (const float *)(const void *)(chip->config.hbm + params_at(s, layer))
		       : NULL;
}

static void store(struct kvsink_chip *chip, struct kvsink_stream *s, uint32_t layer, const float *params)
{
	uint64_t bytes = kvsink_head_params_layer_bytes(s), at = params_at(s, layer);

	memcpy(chip->config.hbm + at, params, bytes);
	kvsink_dirty(chip, KVSINK_SPACE_HBM, at, bytes);
	kvsink_ledger_add(chip, s, KVSINK_COUNTER_HEAD_PARAMS_HBM, bytes);
}

void kvsink_head_params_reset(struct kvsink_ring *ring, struct kvsink_stream *s)
{
	float none[2 * KVSINK_MAX_Q_HEADS];

	if (!(s->flags & KVSINK_STREAM_PER_HEAD))
		return;
	for (uint32_t h = 0; h < s->q_heads; h++) {
		none[h] = 0.0f;
		none[s->q_heads + h] = -INFINITY;
	}
	for (uint32_t l = 0; l < s->layers; l++)
		store(ring->chip, s, l, none);
	kvsink_spend(ring, s->layers * kvsink_head_params_layer_bytes(s));
}

static uint32_t check_state(struct kvsink_ring *ring, const struct kvsink_stream *s,
			    const struct kvsink_cmd_layer_heads *c)
{
	if (c->reserved)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(layer_heads.reserved));
	if (!(s->flags & KVSINK_STREAM_PER_HEAD))
		return kvsink_fault(ring, KVSINK_CODE_UNSUPPORTED, KVSINK_FIELD(layer_heads.stream));
	if (c->layer >= s->layers)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(layer_heads.layer));
	for (uint32_t l = 0; l < s->layers; l++)
		if (s->length || s->layer[l].appended)
			return kvsink_fault(ring, KVSINK_CODE_BUSY, s->length);
	return KVSINK_CODE_OK;
}

/* Slopes are finite; sinks are finite or -inf. */
static bool values_ok(const float *params, uint32_t heads)
{
	for (uint32_t h = 0; h < heads; h++)
		if (!(fabsf(params[h]) < INFINITY) || !(params[heads + h] < INFINITY))
			return false;
	return true;
}

uint32_t kvsink_cmd_layer_heads(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_cmd_layer_heads *c = &cmd->layer_heads;
	float params[2 * KVSINK_MAX_Q_HEADS];
	struct kvsink_stream *s;
	uint32_t code = kvsink_stream_get_hbm(ring, c->stream, &s);

	if (!code)
		code = check_state(ring, s, c);
	if (!code)
		code = kvsink_operand_check(ring, &c->src, kvsink_head_params_layer_bytes(s));
	if (!code)
		code = kvsink_operand_read(ring, &c->src, 0, params, kvsink_head_params_layer_bytes(s));
	if (code)
		return code;
	if (!values_ok(params, s->q_heads))
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(layer_heads.src));
	store(ring->chip, s, c->layer, params);
	ring->hbm_bytes = kvsink_head_params_layer_bytes(s);
	return KVSINK_CODE_OK;
}
