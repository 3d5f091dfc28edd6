/* SPDX-License-Identifier: MIT */
/*
 * Head/layer profiler: how much of the attention of each (layer, KV head) goes to the sinks of the layer's
 * group.
 *
 * The datapath adds the sums up (attend.c); here they are kept, in HBM behind the planes of the score groups.
 * Mass over queries is the mean sink mass by which software chooses head masks and layer ranges.
 */
#include <string.h>

#include "chip.h"

uint64_t *kvsink_profile(const struct kvsink_chip *chip, const struct kvsink_stream *s)
{
	uint64_t at = s->scores + s->score_groups * kvsink_score_group_bytes(s->max_tokens);

	return (uint64_t *)(void *)(chip->config.hbm + at);
}

/* The counters of a layer changed: told to the host and to the ledger. */
static void touched(struct kvsink_chip *chip, struct kvsink_stream *s, const uint64_t *mass, uint64_t bytes,
		    unsigned passes)
{
	kvsink_dirty(chip, KVSINK_SPACE_HBM, (uint64_t)((const uint8_t *)mass - chip->config.hbm), bytes);
	kvsink_ledger_add(chip, s, KVSINK_COUNTER_SCORE_HBM, passes * bytes);
}

void kvsink_profile_add(struct kvsink_chip *chip, struct kvsink_stream *s, uint32_t layer, uint64_t queries,
			const uint64_t *sink_mass)
{
	uint64_t *mass = kvsink_profile(chip, s) + (size_t)layer * s->kv_heads;

	s->layer[layer].profiled += queries * (s->q_heads / s->kv_heads);
	for (uint32_t h = 0; h < s->kv_heads; h++)
		mass[h] = mass[h] > UINT64_MAX - sink_mass[h] ? UINT64_MAX : mass[h] + sink_mass[h];
	touched(chip, s, mass, s->kv_heads * sizeof(*mass), 2);
}

void kvsink_profile_clear(struct kvsink_chip *chip, struct kvsink_stream *s, uint32_t begin, uint32_t end)
{
	uint64_t *mass = kvsink_profile(chip, s) + (size_t)begin * s->kv_heads;
	uint64_t bytes = (uint64_t)(end - begin) * s->kv_heads * sizeof(*mass);

	for (uint32_t l = begin; l < end; l++)
		s->layer[l].profiled = 0;
	memset(mass, 0, bytes);
	touched(chip, s, mass, bytes, 1);
}

struct kvsink_profile_rec kvsink_profile_rec(const struct kvsink_chip *chip, const struct kvsink_stream *s,
					     uint32_t layer, uint32_t head)
{
	struct kvsink_profile_rec rec = {
		.layer = layer,
		.head = head,
		.mass = kvsink_profile(chip, s)[(size_t)layer * s->kv_heads + head],
		.queries = s->layer[layer].profiled,
	};
	float share = rec.queries ? (float)((double)rec.mass * 0x1p-32 / (double)rec.queries) : 0.0f;
	float weight = (float)((double)s->layer[layer].weight * 0x1p-16);

	memcpy(&rec.share, &share, sizeof(rec.share));
	memcpy(&rec.weight, &weight, sizeof(rec.weight));
	return rec;
}
