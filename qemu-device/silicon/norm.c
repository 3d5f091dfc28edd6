/* SPDX-License-Identifier: MIT */
/*
 * Norms of V rows: the metadata that lets gated attention bound what it leaves unread.
 *
 * APPEND and SEAL write the norm of each row as it is stored, rounded up to binary16, and keep the largest of
 * each layer and KV head. Both are upper bounds: a row that is not finite, or too large, has the norm
 * infinity. Invariant: the maximum is the largest of the norms of the rows that are there, so that a row that
 * was dropped with its step or replay window, or became shorter by SEAL, changes no promise. They lie in HBM
 * behind the scores and are counted as bytes.
 */
#include "fp.h"

#include "chip.h"

#define F16_INFINITY 0x7c00u

static uint64_t norms_at(const struct kvsink_stream *s)
{
	return s->scores + kvsink_score_cleared_bytes(s->layers, s->kv_heads, s->score_groups, s->max_tokens);
}

uint16_t *kvsink_norms(const struct kvsink_chip *chip, const struct kvsink_stream *s, uint32_t layer)
{
	uint64_t at = norms_at(s) + (uint64_t)layer * s->kv_heads * s->max_tokens * sizeof(uint16_t);

	return (uint16_t *)(void *)(chip->config.hbm + at);
}

uint32_t *kvsink_norm_max(const struct kvsink_chip *chip, const struct kvsink_stream *s, uint32_t layer)
{
	uint64_t at = norms_at(s) - (uint64_t)(s->layers - layer) * s->kv_heads * sizeof(uint32_t);

	return (uint32_t *)(void *)(chip->config.hbm + at);
}

/* The smallest binary16 that is not below x >= 0; infinity for NaN. Patterns order as their values do. */
uint16_t kvsink_norm_round_up(double x)
{
	float nearest = (float)x, back;
	uint16_t half;

	if (!(x <= 65504.0))
		return F16_INFINITY;
	kvsink_format_store(KVSINK_FORMAT_FP16, &half, &nearest, 1);
	kvsink_format_load(KVSINK_FORMAT_FP16, &back, &half, 1);
	return (double)back < x ? half + 1 : half;
}

static double norm_of(const struct kvsink_stream *s, const struct kvsink_row *row)
{
	float v[KVSINK_MAX_HEAD_DIM];
	double sum = 0.0;

	kvsink_row_load(row, v, s->d_v);
	for (uint32_t e = 0; e < s->d_v; e++)
		sum += (double)v[e] * v[e];
	/* the sum is off by less than d ulp, of which the root keeps half */
	return sqrt(sum) * (1.0 + 0x1p-43);
}

static void wrote(struct kvsink_chip *chip, const void *at, uint64_t bytes)
{
	kvsink_dirty(chip, KVSINK_SPACE_HBM, (uint64_t)((const uint8_t *)at - chip->config.hbm), bytes);
}

/* Norms are not negative, so their patterns order as they do. */
uint32_t kvsink_norm_largest(const uint16_t *norms, uint32_t count)
{
	uint16_t largest = 0;
	float value;

	for (uint32_t i = 0; i < count; i++)
		largest = norms[i] > largest ? norms[i] : largest;
	kvsink_format_load(KVSINK_FORMAT_FP16, &value, &largest, 1);
	return kvsink_f32_bits(value);
}

/* Reads norms of tokens [first, first + count) of a head; adds the bus bytes. */
static uint32_t largest_of(struct kvsink_chip *chip, struct kvsink_stream *s, const uint16_t *norms,
			   uint32_t first, uint32_t count, uint64_t *bus)
{
	uint64_t at = (uint64_t)((const uint8_t *)(norms + first) - chip->config.hbm);
	uint64_t bytes = (uint64_t)count * sizeof(*norms), bursts = kvsink_ledger_bursts(chip, at, bytes);

	*bus += bursts;
	kvsink_ledger_add(chip, s, KVSINK_COUNTER_NORM_READ, bytes);
	kvsink_ledger_add(chip, s, KVSINK_COUNTER_NORM_READ_BUS, bursts);
	return kvsink_norm_largest(norms + first, count);
}

bool kvsink_norm_reached(struct kvsink_chip *chip, struct kvsink_stream *s, uint32_t layer, uint32_t head,
			 uint32_t first, uint32_t count, uint64_t *bus)
{
	const uint16_t *norms = kvsink_norms(chip, s, layer) + (size_t)head * s->max_tokens;

	return largest_of(chip, s, norms, first, count, bus) >= kvsink_norm_max(chip, s, layer)[head];
}

void kvsink_norm_renew(struct kvsink_chip *chip, struct kvsink_stream *s, uint32_t layer, uint32_t head,
		       uint32_t tokens, uint64_t *bus)
{
	const uint16_t *norms = kvsink_norms(chip, s, layer) + (size_t)head * s->max_tokens;
	uint32_t *max = kvsink_norm_max(chip, s, layer) + head;

	*max = largest_of(chip, s, norms, 0, tokens, bus);
	wrote(chip, max, sizeof(*max));
}

uint64_t kvsink_norm_abort(struct kvsink_chip *chip, struct kvsink_stream *s)
{
	uint64_t bus = 0;

	for (uint32_t l = 0; l < s->layers && !(s->flags & KVSINK_STREAM_V_IN_K); l++)
		for (uint32_t h = 0; h < s->kv_heads && s->layer[l].appended; h++)
			if (kvsink_norm_reached(chip, s, l, h, s->length, s->layer[l].appended, &bus))
				kvsink_norm_renew(chip, s, l, h, s->length, &bus);
	return bus;
}

void kvsink_norm_row(struct kvsink_chip *chip, struct kvsink_stream *s, uint32_t layer, uint32_t head,
		     uint32_t token, const struct kvsink_row *v)
{
	uint16_t *norm = kvsink_norms(chip, s, layer) + (size_t)head * s->max_tokens + token;
	uint32_t *max = kvsink_norm_max(chip, s, layer) + head, pattern;
	float value;

	*norm = kvsink_norm_round_up(norm_of(s, v));
	kvsink_format_load(KVSINK_FORMAT_FP16, &value, norm, 1);
	pattern = kvsink_f32_bits(value);
	if (pattern > *max) {
		*max = pattern;
		wrote(chip, max, sizeof(*max));
	}
	wrote(chip, norm, sizeof(*norm));
	kvsink_ledger_add(chip, s, KVSINK_COUNTER_NORM_WRITE, sizeof(*norm));
}
