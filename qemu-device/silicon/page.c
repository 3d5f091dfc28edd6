/* SPDX-License-Identifier: MIT */
/*
 * Page tables and the layout of a page: stream-relative token -> page in HBM.
 *
 * A page holds all layers of its tokens: [layer][K then V][token in page][kv head][element]; what becomes of
 * a plane when the page is sealed is plane.c's business. The table
 * lies in HBM, so what is read from it is checked like any other input.
 */
#include <string.h>

#include "chip.h"

uint64_t kvsink_page_k(const struct kvsink_stream *stream, uint32_t layer)
{
	return (((uint64_t)layer * stream->kv_heads * stream->row_bytes) << stream->page_shift);
}

uint64_t kvsink_page_v(const struct kvsink_stream *stream, uint32_t layer)
{
	uint64_t k_token = (uint64_t)stream->kv_heads * stream->d_k * kvsink_format_bytes(stream->format);

	return kvsink_page_k(stream, layer) + (k_token << stream->page_shift);
}

static bool page_ok(const struct kvsink_chip *chip, const struct kvsink_stream *stream, uint64_t offset)
{
	return offset % KVSINK_HBM_ALIGN == 0 && offset <= chip->config.hbm_bytes &&
	       stream->page_bytes <= chip->config.hbm_bytes - offset;
}

uint32_t kvsink_page_lookup(struct kvsink_ring *ring, const struct kvsink_stream *stream, uint32_t index,
			    uint64_t *offset)
{
	struct kvsink_chip *chip = ring->chip;
	uint64_t at = stream->page_table + (uint64_t)index * sizeof(*offset);

	if (index >= stream->mapped_pages)
		return kvsink_fault(ring, KVSINK_CODE_NOT_RESERVED, (uint64_t)index << stream->page_shift);
	memcpy(offset, chip->config.hbm + at, sizeof(*offset));
	kvsink_ledger_add(chip, ring->stream, KVSINK_COUNTER_PAGE_TABLE_HBM, sizeof(*offset));
	if (!page_ok(chip, stream, *offset))
		return kvsink_fault(ring, KVSINK_CODE_BAD_RANGE, *offset);
	return KVSINK_CODE_OK;
}

uint32_t kvsink_page_resolve(struct kvsink_ring *ring, const struct kvsink_stream *stream, uint32_t first,
			     uint32_t end, const uint8_t **out)
{
	uint32_t code = KVSINK_CODE_OK;
	uint64_t offset = 0;

	for (uint32_t i = first; i < end && !code; i++) {
		code = kvsink_page_lookup(ring, stream, i, &offset);
		if (!code)
			out[i - first] = ring->chip->config.hbm + offset;
	}
	return code;
}

struct kvsink_rows kvsink_page_rows(const struct kvsink_stream *s, uint32_t layer)
{
	return (struct kvsink_rows){
		.format = s->format,
		.flags = s->flags,
		.kv_heads = s->kv_heads,
		.d_k = s->d_k,
		.d_v = s->d_v,
		.page_shift = s->page_shift,
		.sealed = s->sealed,
		.seal_k = s->seal_k,
		.seal_v = s->seal_v,
		.k_offset = kvsink_page_k(s, layer),
		.v_offset = kvsink_page_v(s, layer),
	};
}

uint64_t kvsink_page_coded(const struct kvsink_stream *s, const uint8_t *page, uint32_t layer, uint32_t token,
			   uint64_t mask)
{
	struct kvsink_rows rows = kvsink_page_rows(s, layer);
	struct kvsink_plane plane = kvsink_plane(&rows, !s->seal_k);
	uint32_t slot = token & (plane.tokens - 1);

	if (token >= s->sealed)
		return 0;
	for (uint32_t h = 0; page && h < s->kv_heads; h++)
		if (kvsink_plane_protects(&plane, page, h, slot))
			mask &= ~(1ull << h);
	return mask;
}

const uint8_t *kvsink_page_of(const struct kvsink_chip *chip, const struct kvsink_stream *s, uint32_t token)
{
	uint64_t at = s->page_table + (uint64_t)(token >> s->page_shift) * sizeof(uint64_t), offset;

	memcpy(&offset, chip->config.hbm + at, sizeof(offset));
	return page_ok(chip, s, offset) ? chip->config.hbm + offset : NULL;
}

static uint64_t item_page(const struct kvsink_ring *ring, const struct kvsink_cmd_page_map *c, uint32_t i)
{
	return ring->item[c->first_item + i / 4].pages[i % 4];
}

static uint32_t check_map(struct kvsink_ring *ring, const struct kvsink_stream *stream,
			  const struct kvsink_cmd_page_map *c)
{
	uint32_t code;

	if (c->reserved)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(page_map.reserved));
	if (c->first_page != stream->mapped_pages)
		return kvsink_fault(ring, KVSINK_CODE_SEQUENCE, stream->mapped_pages);
	if (!c->count || c->count > kvsink_stream_max_pages(stream) - stream->mapped_pages)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(page_map.count));
	code = kvsink_check_items(ring, c->first_item, ((uint64_t)c->count + 3) / 4,
				  KVSINK_FIELD(page_map.first_item));
	for (uint32_t i = 0; i < c->count && !code; i++)
		if (!page_ok(ring->chip, stream, item_page(ring, c, i)))
			code = kvsink_fault(ring, KVSINK_CODE_BAD_RANGE, item_page(ring, c, i));
	return code;
}

uint32_t kvsink_cmd_page_map(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_cmd_page_map *c = &cmd->page_map;
	struct kvsink_chip *chip = ring->chip;
	struct kvsink_stream *stream;
	uint64_t at;
	uint32_t code = kvsink_stream_get(ring, c->stream, &stream);

	/* one that is to return gets its pages before it gets their content */
	if (!code && stream->swap.state != KVSINK_SWAP_PLACED)
		code = kvsink_stream_get_hbm(ring, c->stream, &stream);
	if (code)
		return code;
	ring->result[0] = stream->mapped_pages;
	ring->result[1] = stream->own_page;
	code = check_map(ring, stream, c);
	if (code)
		return code;
	at = stream->page_table + (uint64_t)c->first_page * sizeof(uint64_t);
	for (uint32_t i = 0; i < c->count; i++) {
		uint64_t page = item_page(ring, c, i);

		memcpy(chip->config.hbm + at + i * sizeof(page), &page, sizeof(page));
	}
	kvsink_dirty(chip, KVSINK_SPACE_HBM, at, (uint64_t)c->count * sizeof(uint64_t));
	kvsink_ledger_add(chip, stream, KVSINK_COUNTER_PAGE_TABLE_HBM, (uint64_t)c->count * sizeof(uint64_t));
	stream->mapped_pages += c->count;
	ring->result[0] = stream->mapped_pages;
	return KVSINK_CODE_OK;
}
