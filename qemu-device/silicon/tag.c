/* SPDX-License-Identifier: MIT */
/*
 * Tag array: which rows are resident, and where. An entry covers one token, a range of layers and a mask
 * of KV heads; entries of one token never overlap. PROMOTE makes them, EVICT removes them.
 *
 * The entries of a stream form a list by token, then layer, which is what ATTEND walks through. The row
 * of (layer, head) lies at base + rank of (layer, head) among the entry's layers and heads.
 */
#include <string.h>

#include "chip.h"

void kvsink_tags_reset(struct kvsink_chip *chip)
{
	for (uint32_t i = 0; i < chip->config.tags; i++) {
		chip->tags[i].stream = NULL;
		chip->tags[i].valid = false;
		chip->tags[i].next = i + 1 < chip->config.tags ? i + 1 : KVSINK_NONE;
	}
	chip->free_tag = 0;
	chip->used_tags = 0;
	chip->valid_tags = 0;
}

static uint32_t heads_of(uint64_t mask)
{
	return (uint32_t)__builtin_popcountll(mask);
}

static bool covers_layer(const struct kvsink_tag *tag, uint32_t layer)
{
	return layer >= tag->layer_begin && layer < tag->layer_end;
}

uint64_t kvsink_tag_residents(struct kvsink_chip *chip, const struct kvsink_stream *stream, uint32_t layer,
			      struct kvsink_resident *out, uint64_t room)
{
	uint64_t n = 0;

	for (uint32_t i = stream->first_tag; i != KVSINK_NONE && n < room; i = chip->tags[i].next) {
		const struct kvsink_tag *tag = &chip->tags[i];
		uint32_t rank = layer - tag->layer_begin;

		if (!tag->valid || !covers_layer(tag, layer))
			continue;
		out[n++] = (struct kvsink_resident){
			.head_mask = tag->head_mask,
			.token = tag->token,
			.rows = chip->config.sram + tag->sram_offset +
				(size_t)rank * heads_of(tag->head_mask) * stream->row_bytes,
		};
	}
	return n;
}

/* Take the entry that *link names out of its stream and free its SRAM. */
static void entry_remove(struct kvsink_chip *chip, uint32_t *link)
{
	uint32_t index = *link;
	struct kvsink_tag *tag = &chip->tags[index];
	struct kvsink_stream *stream = tag->stream;

	*link = tag->next;
	kvsink_budget_release(chip, stream, tag->sram_offset);
	stream->entries--;
	chip->used_tags--;
	chip->valid_tags -= tag->valid;
	tag->stream = NULL;
	tag->valid = false;
	tag->next = chip->free_tag;
	chip->free_tag = index;
	kvsink_ledger_add(chip, stream, KVSINK_COUNTER_EVICTIONS, 1);
}

uint32_t kvsink_tag_evict(struct kvsink_chip *chip, struct kvsink_stream *stream, uint32_t token,
			  uint32_t layer_begin, uint32_t layer_end, bool log_events)
{
	uint32_t *link = &stream->first_tag;
	uint32_t removed = 0;

	while (*link != KVSINK_NONE) {
		struct kvsink_tag *tag = &chip->tags[*link];

		if ((token != KVSINK_TOKEN_ALL && tag->token != token) || tag->layer_begin < layer_begin ||
		    tag->layer_end > layer_end) {
			link = &tag->next;
			continue;
		}
		if (log_events)
			kvsink_event(chip, KVSINK_EVENT_EVICTED, stream, stream->tenant, tag->token,
				     tag->sram_bytes);
		entry_remove(chip, link);
		removed++;
	}
	return removed;
}

/* Is (layer, head) of the range and mask inside what the stream's parameters allow? */
static uint64_t forbidden_field(const struct kvsink_stream *s, const struct kvsink_place_item *c)
{
	uint32_t range = (uint32_t)kvsink_param(s, KVSINK_PARAM_LAYER_RANGE);
	uint32_t begin = range & 0xffff, end = range >> 16;
	uint64_t heads = s->kv_heads == 64 ? UINT64_MAX : (1ull << s->kv_heads) - 1;

	if (c->layer_begin >= s->layers || c->layer_begin < begin)
		return KVSINK_ITEM_FIELD(0, place, layer_begin);
	if (c->layer_end <= c->layer_begin || c->layer_end > s->layers || c->layer_end > end)
		return KVSINK_ITEM_FIELD(0, place, layer_end);
	if (!c->head_mask || c->head_mask & ~(heads & kvsink_param(s, KVSINK_PARAM_HEAD_MASK)))
		return KVSINK_ITEM_FIELD(0, place, head_mask);
	return 0;
}

static bool overlaps(const struct kvsink_chip *chip, const struct kvsink_stream *s,
		     const struct kvsink_place_item *c)
{
	for (uint32_t i = s->first_tag; i != KVSINK_NONE; i = chip->tags[i].next) {
		const struct kvsink_tag *tag = &chip->tags[i];

		if (tag->token == c->token && tag->head_mask & c->head_mask &&
		    tag->layer_begin < c->layer_end && c->layer_begin < tag->layer_end)
			return true;
	}
	return false;
}

static uint32_t check_promote(struct kvsink_ring *ring, const struct kvsink_stream *s,
			      const struct kvsink_place_item *c)
{
	uint64_t field = forbidden_field(s, c);

	if (field)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, field);
	if (c->token >= s->length)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_ITEM_FIELD(0, place, token));
	if (overlaps(ring->chip, s, c))
		return kvsink_fault(ring, KVSINK_CODE_EXISTS, c->token);
	return KVSINK_CODE_OK;
}

static uint32_t refuse(struct kvsink_ring *ring, const struct kvsink_stream *s, uint32_t token, uint32_t code,
		       uint64_t address)
{
	kvsink_ledger_add(ring->chip, ring->stream, KVSINK_COUNTER_REFUSALS, 1);
	kvsink_event(ring->chip, KVSINK_EVENT_REFUSED, s, s->tenant, token, code);
	return kvsink_fault(ring, code, address);
}

/* Enter the first free entry into the stream's list. */
static struct kvsink_tag *entry_add(struct kvsink_chip *chip, struct kvsink_stream *s,
				    const struct kvsink_place_item *c)
{
	uint32_t index = chip->free_tag, *link = &s->first_tag;
	struct kvsink_tag *tag = &chip->tags[index];

	while (*link != KVSINK_NONE &&
	       (chip->tags[*link].token < c->token ||
		(chip->tags[*link].token == c->token && chip->tags[*link].layer_begin <= c->layer_begin)))
		link = &chip->tags[*link].next;
	chip->free_tag = tag->next;
	*tag = (struct kvsink_tag){
		.stream = s,
		.token = c->token,
		.layer_begin = c->layer_begin,
		.layer_end = c->layer_end,
		.head_mask = c->head_mask,
		.next = *link,
	};
	*link = index;
	if (!++chip->tag_generation)
		chip->tag_generation = 1;
	tag->generation = chip->tag_generation;
	s->entries++;
	chip->used_tags++;
	return tag;
}

static void set_result(struct kvsink_ring *ring, const struct kvsink_tag *tag)
{
	ring->result[0] = tag->sram_bytes;
	ring->result[1] = tag->generation;
	ring->result[2] = 1;
}

static uint32_t granted_bytes(const struct kvsink_stream *s, const struct kvsink_place_item *c)
{
	uint32_t bytes = (uint32_t)(c->layer_end - c->layer_begin) * heads_of(c->head_mask) * s->row_bytes;

	return (bytes + KVSINK_SRAM_UNIT - 1) / KVSINK_SRAM_UNIT * KVSINK_SRAM_UNIT;
}

uint32_t kvsink_cmd_promote(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_place_item *c = &ring->item[cmd->promote.first_item].place;
	struct kvsink_chip *chip = ring->chip;
	struct kvsink_stream *s;
	struct kvsink_tag *tag;
	uint32_t offset, bytes, code = kvsink_stream_get(ring, cmd->promote.stream, &s);
	uint64_t page;

	if (!code)
		code = kvsink_check_items(ring, cmd->promote.first_item, cmd->promote.item_count,
					  KVSINK_FIELD(promote.first_item));
	if (!code && cmd->promote.item_count != 1)
		code = kvsink_fault(ring, KVSINK_CODE_UNSUPPORTED, KVSINK_FIELD(promote.item_count));
	if (!code)
		code = check_promote(ring, s, c);
	if (!code)
		code = kvsink_page_lookup(ring, s, c->token >> s->page_shift, &page);
	if (code)
		return code;
	if (chip->free_tag == KVSINK_NONE)
		return refuse(ring, s, c->token, KVSINK_CODE_TAGS, chip->config.tags);
	bytes = granted_bytes(s, c);
	code = kvsink_budget_grant(chip, s, bytes, &offset);
	if (code)
		return refuse(ring, s, c->token, code, offset);
	tag = entry_add(chip, s, c);
	tag->page = page;
	tag->sram_offset = offset;
	tag->sram_bytes = bytes;
	set_result(ring, tag);
	kvsink_ledger_add(chip, s, KVSINK_COUNTER_PROMOTIONS, 1);
	kvsink_event(chip, KVSINK_EVENT_GRANTED, s, s->tenant, c->token, bytes);
	kvsink_dma_start(chip, (uint32_t)(tag - chip->tags));
	return KVSINK_CODE_OK;
}

uint32_t kvsink_cmd_evict(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_place_item *c = &ring->item[cmd->evict.first_item].place;
	struct kvsink_stream *s;
	uint32_t code = kvsink_stream_get(ring, cmd->evict.stream, &s);

	if (!code)
		code = kvsink_check_items(ring, cmd->evict.first_item, cmd->evict.item_count,
					  KVSINK_FIELD(evict.first_item));
	if (code)
		return code;
	if (cmd->evict.item_count != 1)
		return kvsink_fault(ring, KVSINK_CODE_UNSUPPORTED, KVSINK_FIELD(evict.item_count));
	if (c->layer_end <= c->layer_begin)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_ITEM_FIELD(0, place, layer_end));
	ring->result[0] = kvsink_tag_evict(ring->chip, s, c->token, c->layer_begin, c->layer_end, true);
	if (!ring->result[0])
		return kvsink_fault(ring, KVSINK_CODE_NOT_RESIDENT, c->token);
	return KVSINK_CODE_OK;
}
