/* SPDX-License-Identifier: MIT */
/*
 * APPEND: rows come in as binary32 and are stored in the stream's format; what is not finite in it is stored
 * as NaN. Rows behind the stream's length can be read by ATTEND but belong to an open step, which STEP_END
 * (step.c) closes or drops, or to a replay window (window.c).
 */
#include "chip.h"

struct rows_in {
	uint32_t elements;    /* of one token: all KV heads; 0: such rows are not stored */
	uint64_t token_bytes; /* of one token in the stream's format */
	uint64_t plane;	      /* offset of the layer's plane in a page */
	const float *src;
};

static uint32_t check_append(struct kvsink_ring *ring, const struct kvsink_stream *s,
			     const struct kvsink_cmd_append *c)
{
	uint64_t reserved = (uint64_t)s->mapped_pages << s->page_shift;
	uint64_t next;

	if (c->reserved)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(append.reserved));
	if (c->layer >= s->layers)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(append.layer));
	if (!c->count)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(append.count));
	if ((s->flags & KVSINK_STREAM_V_IN_K) && c->v.space != KVSINK_SPACE_NONE)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(append.v));
	next = (uint64_t)s->length + s->layer[c->layer].appended;
	if (c->first != next)
		return kvsink_fault(ring, KVSINK_CODE_SEQUENCE, next);
	if (next + c->count > reserved)
		return kvsink_fault(ring, KVSINK_CODE_NOT_RESERVED, reserved);
	if (kvsink_window_open(s) && !kvsink_window_has_room(s, c->layer, c->count))
		return kvsink_fault(ring, KVSINK_CODE_TOO_BIG, next + c->count - s->window.first);
	return KVSINK_CODE_OK;
}

static uint32_t fetch(struct kvsink_ring *ring, const struct kvsink_ref *ref, void *buf, uint64_t bytes)
{
	uint32_t code;

	if (bytes > KVSINK_STAGE_BYTES)
		return kvsink_fault(ring, KVSINK_CODE_TOO_BIG, bytes);
	code = kvsink_operand_check(ring, ref, bytes);
	return code ? code : kvsink_operand_read(ring, ref, 0, buf, bytes);
}

/* Store one token's K or V; returns the bus bytes. */
static uint64_t store(struct kvsink_chip *chip, const struct kvsink_stream *s, const struct rows_in *in,
		      uint64_t page, uint32_t in_page, uint32_t i)
{
	uint64_t at = page + in->plane + in_page * in->token_bytes;

	kvsink_format_append(s->format, chip->config.hbm + at, in->src + (size_t)i * in->elements,
			     in->elements);
	kvsink_dirty(chip, KVSINK_SPACE_HBM, at, in->token_bytes);
	return kvsink_ledger_bursts(chip, at, in->token_bytes);
}

/* Norms of a token's V rows of all KV heads, as they are stored. */
static void norm_rows(struct kvsink_chip *chip, struct kvsink_stream *s, uint32_t layer, uint32_t token,
		      const uint8_t *v)
{
	uint32_t bytes = kvsink_v_row_bytes(s->flags, s->d_v, s->format);

	for (uint32_t h = 0; h < s->kv_heads; h++)
		kvsink_norm_row(chip, s, layer, h, token,
				&(struct kvsink_row){.data = v + (size_t)h * bytes, .format = s->format});
}

static uint64_t store_rows(struct kvsink_ring *ring, struct kvsink_stream *s,
			   const struct kvsink_cmd_append *c, const struct rows_in *k,
			   const struct rows_in *v)
{
	struct kvsink_chip *chip = ring->chip;
	uint32_t first_page = c->first >> s->page_shift;
	uint64_t bus = 0;

	for (uint32_t i = 0; i < c->count; i++) {
		uint32_t token = c->first + i;
		uint32_t in_page = token & ((1u << s->page_shift) - 1);
		uint64_t page = (uint64_t)(ring->work.pages[(token >> s->page_shift) - first_page] -
					   chip->config.hbm);

		bus += store(chip, s, k, page, in_page, i);
		if (v->elements) {
			bus += store(chip, s, v, page, in_page, i);
			norm_rows(chip, s, c->layer, token,
				  chip->config.hbm + page + v->plane + in_page * v->token_bytes);
		}
		if (kvsink_window_open(s))
			continue; /* WINDOW_COMMIT writes the tail */
		ring->sram_bytes +=
			kvsink_tail_write(chip, s, c->layer, token,
					  chip->config.hbm + page + k->plane + in_page * k->token_bytes,
					  chip->config.hbm + page + v->plane + in_page * v->token_bytes);
	}
	return bus;
}

static struct rows_in rows_in(const struct kvsink_stream *s, uint32_t width, uint64_t plane, const float *src)
{
	uint32_t elements = s->kv_heads * width;

	return (struct rows_in){
		.elements = elements,
		.token_bytes = (uint64_t)elements * kvsink_format_bytes(s->format),
		.plane = plane,
		.src = src,
	};
}

uint32_t kvsink_cmd_append(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_cmd_append *c = &cmd->append;
	struct kvsink_item_work *work = &ring->work;
	struct kvsink_stream *s;
	struct rows_in k, v;
	uint32_t code = kvsink_stream_get_hbm(ring, c->stream, &s);
	uint64_t bus, last;

	if (!code)
		code = check_append(ring, s, c);
	if (code)
		return code;
	k = rows_in(s, s->d_k, kvsink_page_k(s, c->layer), work->q);
	v = rows_in(s, s->flags & KVSINK_STREAM_V_IN_K ? 0 : s->d_v, kvsink_page_v(s, c->layer), work->out);
	code = fetch(ring, &c->k, work->q, (uint64_t)c->count * k.elements * sizeof(float));
	if (!code && v.elements)
		code = fetch(ring, &c->v, work->out, (uint64_t)c->count * v.elements * sizeof(float));
	last = (c->first + c->count - 1) >> s->page_shift;
	if (!code)
		code = kvsink_page_resolve(ring, s, c->first >> s->page_shift, (uint32_t)last + 1,
					   work->pages);
	if (code)
		return code;
	bus = store_rows(ring, s, c, &k, &v);
	s->layer[c->layer].appended += c->count;
	kvsink_ledger_add(ring->chip, s, KVSINK_COUNTER_KV_HBM_WRITE,
			  (uint64_t)c->count * (k.token_bytes + v.token_bytes));
	ring->hbm_bytes = bus;
	return KVSINK_CODE_OK;
}
