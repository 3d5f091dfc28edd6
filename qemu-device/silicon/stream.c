/* SPDX-License-Identifier: MIT */
/*
 * Streams: create, destroy, find. A stream's geometry never changes; its id is never used again (the
 * driver sees to that). Page table and scores lie in HBM where the driver put them.
 */
#include <string.h>

#include "chip.h"

#define F32_INFINITY 0x7f800000u

static uint32_t hash_of(const struct kvsink_chip *chip, uint64_t id)
{
	return (uint32_t)((id * 0x9e3779b97f4a7c15ull) >> 32) & (chip->hash_size - 1);
}

void kvsink_streams_reset(struct kvsink_chip *chip, enum kvsink_reset_kind kind)
{
	for (uint32_t i = 0; i < chip->config.streams; i++) {
		struct kvsink_stream *stream = &chip->streams[i];

		stream->first_tag = KVSINK_NONE;
		stream->entries = 0;
		stream->sram_bytes = 0;
		stream->locks = 0;
		/* what is on its way has no open step */
		if (stream->id && stream->swap.state == KVSINK_SWAP_NONE) {
			kvsink_ema_abort(chip, stream);
			kvsink_norm_abort(chip, stream);
		}
		if (stream->id)
			kvsink_window_reset(chip, stream);
		kvsink_swap_reset(stream);
		for (uint32_t l = 0; l < stream->layers; l++)
			stream->layer[l].appended = 0;
		if (kind == KVSINK_RESET_COLD) {
			stream->id = 0;
			stream->layers = 0;
			stream->hash_next = i + 1 < chip->config.streams ? i + 1 : KVSINK_NONE;
		}
	}
	if (kind != KVSINK_RESET_COLD)
		return;
	memset(chip->stream_hash, 0xff, chip->hash_size * sizeof(*chip->stream_hash));
	chip->free_stream = 0;
	chip->live_streams = 0;
}

struct kvsink_stream *kvsink_stream_find(struct kvsink_chip *chip, uint64_t id)
{
	uint32_t slot;

	if (!id)
		return NULL;
	slot = chip->stream_hash[hash_of(chip, id)];
	while (slot != KVSINK_NONE && chip->streams[slot].id != id)
		slot = chip->streams[slot].hash_next;
	return slot == KVSINK_NONE ? NULL : &chip->streams[slot];
}

uint32_t kvsink_stream_get(struct kvsink_ring *ring, uint64_t id, struct kvsink_stream **out)
{
	struct kvsink_stream *stream = kvsink_stream_find(ring->chip, id);

	if (!stream)
		return kvsink_fault(ring, KVSINK_CODE_BAD_STREAM, id);
	if (stream->tenant != ring->desc.tenant && !kvsink_privileged(ring))
		return kvsink_fault(ring, KVSINK_CODE_TENANT, id);
	ring->stream = stream;
	*out = stream;
	return KVSINK_CODE_OK;
}

uint32_t kvsink_stream_group(const struct kvsink_stream *stream, uint32_t layer)
{
	uint32_t group = 0;

	while (stream->group[group].end <= layer)
		group++;
	return group;
}

static bool within(uint64_t value, uint64_t min, uint64_t max)
{
	return value >= min && value <= max;
}

/* Formats that the planes cannot have, or planes that are too large to be quantised. */
static uint64_t bad_seal(const struct kvsink_cmd_stream_create *c)
{
	uint64_t elements = (uint64_t)c->kv_heads * c->page_tokens * kvsink_format_bytes(c->format);

	/* a value inside its key would need the key's scales */
	if (c->seal_k && (c->flags & KVSINK_STREAM_V_IN_K))
		return KVSINK_FIELD(stream_create.seal_k);
	if (c->seal_v && (c->flags & KVSINK_STREAM_V_IN_K))
		return KVSINK_FIELD(stream_create.seal_v);
	if (!kvsink_seal_fits(c->seal_k, c->format, c->d_k, c->page_tokens, 0))
		return KVSINK_FIELD(stream_create.seal_k);
	if (!kvsink_seal_fits(c->seal_v, c->format, c->d_v, c->page_tokens, 1))
		return KVSINK_FIELD(stream_create.seal_v);
	if ((c->seal_k && elements * c->d_k > KVSINK_STAGE_BYTES) ||
	    (c->seal_v && elements * c->d_v > KVSINK_STAGE_BYTES))
		return KVSINK_FIELD(stream_create.page_tokens);
	return 0;
}

/* The first field of the geometry that is out of range, or 0. */
static uint64_t bad_geometry(const struct kvsink_cmd_stream_create *c)
{
	if (!within(c->layers, 1, KVSINK_MAX_LAYERS))
		return KVSINK_FIELD(stream_create.layers);
	if (!within(c->kv_heads, 1, KVSINK_MAX_KV_HEADS))
		return KVSINK_FIELD(stream_create.kv_heads);
	if (!within(c->q_heads, 1, KVSINK_MAX_Q_HEADS) || c->q_heads % c->kv_heads)
		return KVSINK_FIELD(stream_create.q_heads);
	if (!within(c->d_k, 1, KVSINK_MAX_HEAD_DIM))
		return KVSINK_FIELD(stream_create.d_k);
	if (c->flags & ~KVSINK_STREAM_FLAGS)
		return KVSINK_FIELD(stream_create.flags);
	if (!within(c->d_v, 1, c->flags & KVSINK_STREAM_V_IN_K ? c->d_k : KVSINK_MAX_HEAD_DIM))
		return KVSINK_FIELD(stream_create.d_v);
	if (c->format >= KVSINK_APPEND_FORMATS)
		return KVSINK_FIELD(stream_create.format);
	if (!within(c->page_tokens, 1, KVSINK_MAX_PAGE_TOKENS) || (c->page_tokens & (c->page_tokens - 1)))
		return KVSINK_FIELD(stream_create.page_tokens);
	if (!within(c->max_tokens, 1, KVSINK_MAX_TOKENS) || c->max_tokens % c->page_tokens)
		return KVSINK_FIELD(stream_create.max_tokens);
	return bad_seal(c);
}

static uint64_t bad_groups(const struct kvsink_cmd_stream_create *c)
{
	uint32_t before = 0;

	if (!within(c->score_groups, 1, KVSINK_MAX_SCORE_GROUPS))
		return KVSINK_FIELD(stream_create.score_groups);
	for (uint32_t g = 0; g < KVSINK_MAX_SCORE_GROUPS; g++) {
		bool last = g + 1 == c->score_groups;

		if (g >= c->score_groups ? c->group_end[g] != 0 : c->group_end[g] <= before)
			return KVSINK_FIELD(stream_create.group_end) + g * sizeof(c->group_end[0]);
		if (last && c->group_end[g] != c->layers)
			return KVSINK_FIELD(stream_create.group_end) + g * sizeof(c->group_end[0]);
		before = c->group_end[g];
	}
	return 0;
}

static uint64_t score_bytes(const struct kvsink_cmd_stream_create *c)
{
	return kvsink_head_params_at(
		       kvsink_score_bytes(c->layers, c->kv_heads, c->score_groups, c->max_tokens)) +
	       kvsink_head_params_bytes(c->flags, c->layers, c->q_heads);
}

uint32_t kvsink_area_check(struct kvsink_ring *ring, uint64_t offset, uint64_t bytes)
{
	uint64_t hbm_bytes = ring->chip->config.hbm_bytes;

	if (offset % KVSINK_HBM_ALIGN || offset > hbm_bytes || bytes > hbm_bytes - offset)
		return kvsink_fault(ring, KVSINK_CODE_BAD_RANGE, offset);
	return KVSINK_CODE_OK;
}

/* Areas of HBM that the driver set aside. */
static uint32_t check_areas(struct kvsink_ring *ring, const struct kvsink_cmd_stream_create *c)
{
	uint64_t table = (uint64_t)(c->max_tokens / c->page_tokens) * sizeof(uint64_t);
	uint32_t code = kvsink_area_check(ring, c->page_table, table);

	return code ? code : kvsink_area_check(ring, c->scores, score_bytes(c));
}

/* Layer i of the command. Patterns of finite non-negative floats are those below infinity's. */
static uint32_t check_layer(struct kvsink_ring *ring, uint32_t i, const struct kvsink_layer *layer)
{
	if (!within(layer->scale, 1, F32_INFINITY - 1))
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_ITEM_FIELD(i, layer, scale));
	if (layer->softcap >= F32_INFINITY)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_ITEM_FIELD(i, layer, softcap));
	if (layer->flags)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_ITEM_FIELD(i, layer, flags));
	for (unsigned r = 0; r < 4; r++)
		if (layer->reserved[r])
			return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD,
					    KVSINK_ITEM_FIELD(i, layer, reserved));
	return KVSINK_CODE_OK;
}

static uint32_t check_create(struct kvsink_ring *ring, const struct kvsink_cmd_stream_create *c)
{
	uint64_t field = c->stream ? bad_geometry(c) : KVSINK_FIELD(stream_create.stream);
	uint32_t code;

	if (!field)
		field = bad_groups(c);
	if (field)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, field);
	code = check_areas(ring, c);
	if (!code)
		code = kvsink_check_items(ring, c->first_item, c->layers,
					  KVSINK_FIELD(stream_create.first_item));
	for (uint32_t l = 0; l < c->layers && !code; l++)
		code = check_layer(ring, l, &ring->item[c->first_item + l].layer);
	return code;
}

struct kvsink_stream *kvsink_stream_take(struct kvsink_chip *chip, uint64_t id)
{
	uint32_t slot = chip->free_stream;
	struct kvsink_stream *stream = &chip->streams[slot];
	struct kvsink_layer_params *layer = stream->layer;
	uint32_t *chain = &chip->stream_hash[hash_of(chip, id)];

	chip->free_stream = stream->hash_next;
	*stream = (struct kvsink_stream){
		.id = id, .layer = layer, .hash_next = *chain, .first_tag = KVSINK_NONE};
	*chain = slot;
	chip->live_streams++;
	return stream;
}

static void slot_give(struct kvsink_chip *chip, struct kvsink_stream *stream)
{
	uint32_t slot = (uint32_t)(stream - chip->streams);
	uint32_t *link = &chip->stream_hash[hash_of(chip, stream->id)];

	while (*link != slot)
		link = &chip->streams[*link].hash_next;
	*link = stream->hash_next;
	stream->id = 0;
	stream->layers = 0;
	stream->hash_next = chip->free_stream;
	chip->free_stream = slot;
	chip->live_streams--;
}

static void set_layer(struct kvsink_layer_params *to, const struct kvsink_layer *from)
{
	memset(to, 0, sizeof(*to));
	memcpy(&to->scale, &from->scale, sizeof(to->scale));
	memcpy(&to->softcap, &from->softcap, sizeof(to->softcap));
	to->window = from->window;
}

static void set_geometry(struct kvsink_stream *stream, const struct kvsink_cmd_stream_create *c)
{
	stream->tenant = c->tenant;
	stream->layers = c->layers;
	stream->q_heads = c->q_heads;
	stream->kv_heads = c->kv_heads;
	stream->d_k = c->d_k;
	stream->d_v = c->d_v;
	stream->format = c->format;
	stream->flags = c->flags;
	stream->page_shift = (uint32_t)__builtin_ctz(c->page_tokens);
	stream->max_tokens = c->max_tokens;
	stream->score_groups = c->score_groups;
	for (uint32_t g = 0; g < c->score_groups; g++)
		stream->group[g] =
			(struct kvsink_group){.begin = g ? c->group_end[g - 1] : 0, .end = c->group_end[g]};
	stream->page_table = c->page_table;
	stream->scores = c->scores;
	stream->page_bytes = kvsink_page_bytes(c->flags, c->layers, c->kv_heads, c->d_k, c->d_v, c->format,
					       c->page_tokens);
	stream->row_bytes = kvsink_row_bytes(c->flags, c->d_k, c->d_v, c->format);
	stream->seal_k = c->seal_k;
	stream->seal_v = c->seal_v;
	stream->sealed_bytes = kvsink_sealed_bytes(c->seal_k, c->format, c->d_k) +
			       kvsink_sealed_bytes(c->seal_v, c->format, c->d_v);
}

/* The device's budget is a limit of its own, not a default of the streams'; a tail takes SRAM, so each asks
 * for its own. */
static void set_params(const struct kvsink_chip *chip, struct kvsink_stream *stream)
{
	for (uint32_t g = 0; g < stream->score_groups; g++) {
		uint64_t *params = stream->group[g].params;

		memcpy(params, chip->params, sizeof(chip->params));
		params[KVSINK_PARAM_SRAM_BUDGET] = kvsink_param_default[KVSINK_PARAM_SRAM_BUDGET];
		params[KVSINK_PARAM_TAIL_TOKENS] = 0;
	}
	for (uint32_t l = 0; l < stream->layers; l++)
		stream->layer[l].weight = 1 << 16;
	kvsink_set_weights(stream, kvsink_param(stream, KVSINK_PARAM_LAYER_WEIGHT));
}

uint32_t kvsink_cmd_stream_create(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_cmd_stream_create *c = &cmd->stream_create;
	struct kvsink_chip *chip = ring->chip;
	struct kvsink_stream *stream;
	uint32_t code = check_create(ring, c);
	uint64_t cleared;

	if (code)
		return code;
	if (kvsink_stream_find(chip, c->stream))
		return kvsink_fault(ring, KVSINK_CODE_EXISTS, c->stream);
	if (chip->free_stream == KVSINK_NONE)
		return kvsink_fault(ring, KVSINK_CODE_STREAMS, chip->config.streams);
	stream = kvsink_stream_take(chip, c->stream);
	set_geometry(stream, c);
	for (uint32_t l = 0; l < c->layers; l++)
		set_layer(&stream->layer[l], &ring->item[c->first_item + l].layer);
	set_params(chip, stream);
	ring->stream = stream;
	cleared = kvsink_score_cleared_bytes(c->layers, c->kv_heads, c->score_groups, c->max_tokens);
	kvsink_spend(ring, cleared);
	memset(chip->config.hbm + c->scores, 0, cleared);
	kvsink_dirty(chip, KVSINK_SPACE_HBM, c->scores, cleared);
	kvsink_ledger_add(chip, stream, KVSINK_COUNTER_SCORE_HBM, cleared);
	kvsink_head_params_reset(ring, stream);
	kvsink_event(chip, KVSINK_EVENT_STREAM_CREATED, stream, stream->tenant, 0, 0);
	return KVSINK_CODE_OK;
}

/* Its pages stay as they are: scrubbing them is the driver's FILL. Its SRAM is scrubbed here. */
uint32_t kvsink_cmd_stream_destroy(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	struct kvsink_chip *chip = ring->chip;
	struct kvsink_stream *stream;
	uint32_t code = kvsink_stream_get(ring, cmd->stream_destroy.stream, &stream);

	if (!code && stream->users)
		code = kvsink_fault(ring, KVSINK_CODE_SHARED, stream->users);
	if (code)
		return code;
	kvsink_stream_leaves(chip, stream);
	kvsink_prefix_release(stream);
	kvsink_event(chip, KVSINK_EVENT_STREAM_DESTROYED, stream, stream->tenant, 0, stream->length);
	ring->stream = NULL;
	slot_give(chip, stream);
	return KVSINK_CODE_OK;
}
