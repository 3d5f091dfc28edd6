/* SPDX-License-Identifier: MIT */
/*
 * Tag array: which rows are resident, and where. An entry covers one token, a range of layers and a mask
 * of KV heads; entries of one token never overlap. promote.c makes and removes them.
 *
 * The entries of a stream form a list by token, then layer, which is what ATTEND walks through, behind those
 * of its prefixes and together with the tail. The row of (layer, head) lies at base + rank of (layer, head)
 * among the entry's layers and heads times row_bytes. Which rows of a sealed token are codes belongs to the
 * entry; the model looks it up in the page.
 */
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

bool kvsink_tag_covers(const struct kvsink_tag *tag, uint32_t layer)
{
	return layer >= tag->layer_begin && layer < tag->layer_end;
}

bool kvsink_tag_named(const struct kvsink_tag *tag, const struct kvsink_place_item *item)
{
	return (item->token == KVSINK_TOKEN_ALL || item->token == tag->token) &&
	       tag->layer_begin >= item->layer_begin && tag->layer_end <= item->layer_end &&
	       !(tag->head_mask & ~item->head_mask);
}

bool kvsink_tag_overlaps(const struct kvsink_tag *tag, const struct kvsink_place_item *item)
{
	return tag->token == item->token && tag->head_mask & item->head_mask &&
	       tag->layer_begin < item->layer_end && item->layer_begin < tag->layer_end;
}

struct kvsink_place_item kvsink_tag_rows(const struct kvsink_tag *tag)
{
	return (struct kvsink_place_item){
		.token = tag->token,
		.layer_begin = tag->layer_begin,
		.layer_end = tag->layer_end,
		.head_mask = tag->head_mask,
	};
}

/* ---- the list of a stream ---- */

static uint32_t *link_to(struct kvsink_chip *chip, struct kvsink_stream *s, uint32_t prev)
{
	return prev == KVSINK_NONE ? &s->first_tag : &chip->tags[prev].next;
}

struct kvsink_tag *kvsink_tag_add(struct kvsink_chip *chip, struct kvsink_stream *s,
				  const struct kvsink_place_item *item)
{
	uint32_t index = chip->free_tag, prev = KVSINK_NONE, next = s->first_tag;
	struct kvsink_tag *tag = &chip->tags[index];

	while (next != KVSINK_NONE && (chip->tags[next].token < item->token ||
				       (chip->tags[next].token == item->token &&
					chip->tags[next].layer_begin <= item->layer_begin))) {
		prev = next;
		next = chip->tags[next].next;
	}
	chip->free_tag = tag->next;
	*tag = (struct kvsink_tag){
		.stream = s,
		.token = item->token,
		.layer_begin = item->layer_begin,
		.layer_end = item->layer_end,
		.head_mask = item->head_mask,
		.prev = prev,
		.next = next,
	};
	*link_to(chip, s, prev) = index;
	if (next != KVSINK_NONE)
		chip->tags[next].prev = index;
	if (!++chip->tag_generation)
		chip->tag_generation = 1;
	tag->generation = chip->tag_generation;
	s->entries++;
	chip->used_tags++;
	return tag;
}

void kvsink_tag_remove(struct kvsink_chip *chip, struct kvsink_tag *tag)
{
	struct kvsink_stream *s = tag->stream;

	*link_to(chip, s, tag->prev) = tag->next;
	if (tag->next != KVSINK_NONE)
		chip->tags[tag->next].prev = tag->prev;
	s->entries--;
	chip->used_tags--;
	chip->valid_tags -= tag->valid;
	tag->stream = NULL;
	tag->valid = false;
	tag->next = chip->free_tag;
	chip->free_tag = (uint32_t)(tag - chip->tags);
}

/* ---- what ATTEND reads from SRAM ---- */

/* The first valid entry of the layer from this one on. */
static void covering(const struct kvsink_chip *chip, struct kvsink_entries *e, uint32_t layer)
{
	while (e->index != KVSINK_NONE &&
	       !(chip->tags[e->index].valid && kvsink_tag_covers(&chip->tags[e->index], layer)))
		kvsink_entries_next(chip, e);
}

static void next_covering(const struct kvsink_chip *chip, struct kvsink_entries *e, uint32_t layer)
{
	kvsink_entries_next(chip, e);
	covering(chip, e, layer);
}

/* Where rows are close together there is room for codes only. */
uint64_t kvsink_tag_coded(const struct kvsink_chip *chip, const struct kvsink_tag *tag, uint32_t layer)
{
	const struct kvsink_stream *s = tag->stream;

	if (tag->row_bytes < s->row_bytes)
		return tag->head_mask;
	return kvsink_page_coded(s, chip->config.hbm + tag->page, layer, tag->token, tag->head_mask);
}

static struct kvsink_resident resident_of(const struct kvsink_chip *chip, const struct kvsink_tag *tag,
					  uint32_t layer)
{
	uint32_t rank = layer - tag->layer_begin;

	return (struct kvsink_resident){
		.head_mask = tag->head_mask,
		.coded = kvsink_tag_coded(chip, tag, layer),
		.token = tag->token,
		.pitch = tag->row_bytes,
		.rows = chip->config.sram + tag->sram_offset +
			(size_t)rank * heads_of(tag->head_mask) * tag->row_bytes,
	};
}

uint64_t kvsink_tag_residents(struct kvsink_chip *chip, const struct kvsink_stream *s, uint32_t layer,
			      struct kvsink_resident *out, uint64_t room)
{
	struct kvsink_tail_range tail = kvsink_tail_range(s, layer);
	struct kvsink_entries e;
	uint64_t n = 0, first;

	kvsink_entries_begin(chip, s, &e);
	covering(chip, &e, layer);
	while (n < room && (e.index != KVSINK_NONE || tail.next < tail.end)) {
		uint32_t token = e.index == KVSINK_NONE ? KVSINK_NONE : chip->tags[e.index].token, heads = 0;
		bool tailed = tail.next < tail.end && tail.next <= token;

		if (tailed)
			token = tail.next++;
		for (first = n; n < room && e.index != KVSINK_NONE && chip->tags[e.index].token == token;
		     next_covering(chip, &e, layer)) {
			heads += heads_of(chip->tags[e.index].head_mask);
			out[n++] = resident_of(chip, &chip->tags[e.index], layer);
		}
		/* both cover the token: masks of residents are disjoint, so the one with more heads it is */
		if (tailed && heads_of(tail.tail->head_mask) > heads) {
			n = first;
			out[n++] = kvsink_tail_resident(chip, s, tail.tail, layer, token);
		}
	}
	return n;
}
