/* SPDX-License-Identifier: MIT */
/*
 * SWAP_OUT, SWAP_PLACE, SWAP_IN: a stream's HBM content leaves for host memory and comes back elsewhere.
 *
 * What the chip keeps of a stream that is out is what it keeps anyway: geometry, parameters, length, entries,
 * tails, contracts, counters; and the E of each entry, because entries of all streams are compared by it.
 * Nobody may need HBM of a stream that is not entirely there: kvsink_stream_get_hbm() refuses it from the
 * first piece that leaves to the last one that is back. So no step is open and no copy under way meanwhile,
 * and both moves can be sliced: ring->progress is how far the ring that does it has come in the image.
 *
 * Of the image nothing is believed. It is read once, checked as it is read, and counts only if all of it was
 * what SWAP_OUT wrote; where it goes, only the kernel says (SWAP_PLACE, PAGE_MAP).
 */
#include <string.h>

#include "chip.h"

#define PIECE (1u << 20)

/* A run of the image, and where it lies in HBM. */
struct piece {
	uint64_t hbm, bytes;
};

/* Of the score area, a multiple of 8; then come the pages. */
static uint64_t score_bytes(const struct kvsink_stream *s)
{
	uint64_t scores = kvsink_score_bytes(s->layers, s->kv_heads, s->score_groups, s->max_tokens);

	return kvsink_head_params_at(scores) + kvsink_head_params_bytes(s->flags, s->layers, s->q_heads);
}

/* Those with tokens: what others hold, nobody has read. */
static uint32_t pages_of(const struct kvsink_stream *s)
{
	return (s->length + (1u << s->page_shift) - 1) >> s->page_shift;
}

/* Of these, its own: what is a prefix's stays where it is. */
static uint32_t own_pages_of(const struct kvsink_stream *s)
{
	return pages_of(s) - s->own_page;
}

uint64_t kvsink_swap_image_bytes(const struct kvsink_stream *s)
{
	return score_bytes(s) + own_pages_of(s) * s->page_bytes;
}

bool kvsink_swapped_out(const struct kvsink_stream *s)
{
	return s->swap.state != KVSINK_SWAP_NONE && s->swap.state != KVSINK_SWAP_LEAVING;
}

uint32_t kvsink_stream_get_hbm(struct kvsink_ring *ring, uint64_t id, struct kvsink_stream **out)
{
	uint32_t code = kvsink_stream_get(ring, id, out);

	if (!code && (*out)->swap.state != KVSINK_SWAP_NONE)
		return kvsink_fault(ring, KVSINK_CODE_SWAPPED, id);
	return code;
}

static void forget_place(struct kvsink_stream *s)
{
	s->swap.state = KVSINK_SWAP_OUT;
	s->page_table = 0;
	s->scores = 0;
	s->mapped_pages = 0;
}

void kvsink_swap_reset(struct kvsink_stream *s)
{
	if (s->swap.state == KVSINK_SWAP_LEAVING)
		s->swap.state = KVSINK_SWAP_NONE;
	else if (s->swap.state != KVSINK_SWAP_NONE)
		forget_place(s);
}

/* What the driver has to know of a stream that is out. */
static void tell_size(struct kvsink_ring *ring, const struct kvsink_stream *s)
{
	uint64_t bytes = kvsink_swap_image_bytes(s);

	ring->result[0] = (uint32_t)bytes;
	ring->result[1] = (uint32_t)(bytes >> 32);
	ring->result[2] = s->swap.pages;
}

/* ---- the move ---- */

static uint32_t piece_at(struct kvsink_ring *ring, const struct kvsink_stream *s, uint64_t at,
			 struct piece *piece)
{
	uint64_t scores = score_bytes(s), within = at, left = scores - at;
	uint32_t code = KVSINK_CODE_OK;

	piece->hbm = s->scores;
	if (at >= scores) {
		code = kvsink_page_lookup(ring, s, s->own_page + (uint32_t)((at - scores) / s->page_bytes),
					  &piece->hbm);
		within = (at - scores) % s->page_bytes;
		left = s->page_bytes - within;
	}
	piece->hbm += within;
	piece->bytes = left < PIECE ? left : PIECE;
	return code;
}

/* What is in staging is what counts: host memory may change while it is read. */
static uint32_t move_piece(struct kvsink_ring *ring, struct kvsink_stream *s, const struct kvsink_ref *image,
			   bool out, const struct piece *piece)
{
	uint8_t *hbm = ring->chip->config.hbm + piece->hbm;
	void *buf = ring->work.q;
	uint32_t code;

	if (out)
		memcpy(buf, hbm, piece->bytes);
	code = out ? kvsink_operand_write(ring, image, ring->progress, buf, piece->bytes)
		   : kvsink_operand_read(ring, image, ring->progress, buf, piece->bytes);
	if (code)
		return code;
	kvsink_checksum_add(&s->swap.sum, buf, piece->bytes);
	if (!out) {
		memcpy(hbm, buf, piece->bytes);
		kvsink_dirty(ring->chip, KVSINK_SPACE_HBM, piece->hbm, piece->bytes);
	}
	kvsink_spend(ring, piece->bytes);
	ring->progress += piece->bytes;
	return KVSINK_CODE_OK;
}

static uint32_t move(struct kvsink_ring *ring, struct kvsink_stream *s, const struct kvsink_ref *image,
		     bool out)
{
	uint64_t end = kvsink_swap_image_bytes(s);
	struct piece piece = {0};
	uint32_t code = KVSINK_CODE_OK;

	while (!code && ring->progress < end) {
		if (ring->progress && ring->spent >= KVSINK_QUANTUM)
			return KVSINK_MORE;
		code = piece_at(ring, s, ring->progress, &piece);
		if (!code)
			code = move_piece(ring, s, image, out, &piece);
	}
	return code;
}

static void begin(struct kvsink_ring *ring, struct kvsink_stream *s, enum kvsink_swap_state state)
{
	s->swap.state = state;
	s->swap.ring = ring->index;
	kvsink_checksum_begin(&s->swap.sum, s->swap.key);
}

/* Is it this ring's move that goes on? Another stream of that id may have come, or a reset between. */
static bool goes_on(const struct kvsink_ring *ring, const struct kvsink_stream *s,
		    enum kvsink_swap_state state)
{
	return s->swap.state == state && s->swap.ring == ring->index;
}

/* All of it has moved. */
static void count(struct kvsink_ring *ring, struct kvsink_stream *s, enum kvsink_counter counter,
		  enum kvsink_event_code event)
{
	uint64_t bytes = kvsink_swap_image_bytes(s);
	/* areas and pages are aligned to more than a burst */
	uint64_t bus = kvsink_ledger_bursts(ring->chip, 0, score_bytes(s)) +
		       own_pages_of(s) * kvsink_ledger_bursts(ring->chip, 0, s->page_bytes);

	kvsink_ledger_add(ring->chip, s, counter, bytes);
	kvsink_ledger_add(ring->chip, s, counter + 1, bus);
	kvsink_event(ring->chip, event, s, s->tenant, 0, (uint32_t)((bytes + 1023) / 1024));
	ring->hbm_bytes = bus;
	tell_size(ring, s);
}

static uint32_t check_image(struct kvsink_ring *ring, const struct kvsink_stream *s,
			    const struct kvsink_ref *image, uint64_t room, uint64_t space_field)
{
	uint64_t bytes = kvsink_swap_image_bytes(s);

	if (image->space != KVSINK_SPACE_GART)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, space_field);
	if (bytes > room)
		return kvsink_fault(ring, KVSINK_CODE_TOO_BIG, bytes);
	return kvsink_operand_check(ring, image, bytes);
}

/* ---- SWAP_OUT ---- */

static uint32_t check_out(struct kvsink_ring *ring, const struct kvsink_stream *s,
			  const struct kvsink_cmd_swap_out *c)
{
	const struct kvsink_tag *tags = ring->chip->tags;

	for (uint32_t l = 0; l < s->layers; l++)
		if (s->layer[l].appended)
			return kvsink_fault(ring, KVSINK_CODE_BUSY, s->length);
	kvsink_spend(ring, s->entries * sizeof(*tags));
	for (uint32_t i = s->first_tag; i != KVSINK_NONE; i = tags[i].next)
		if (!tags[i].valid)
			return kvsink_fault(ring, KVSINK_CODE_BUSY, tags[i].token);
	return check_image(ring, s, &c->image, c->bytes, KVSINK_FIELD(swap_out.image.space));
}

static uint32_t leave(struct kvsink_ring *ring, struct kvsink_stream *s, const struct kvsink_cmd_swap_out *c)
{
	struct kvsink_tag *tags = ring->chip->tags;
	uint32_t code = check_out(ring, s, c);

	if (code)
		return code;
	if (kvsink_another_waits(ring, KVSINK_WAIT_ALL))
		return KVSINK_STALL;
	for (uint32_t i = s->first_tag; i != KVSINK_NONE; i = tags[i].next)
		tags[i].ema = kvsink_tag_ema(ring->chip, &tags[i]);
	memcpy(s->swap.key, c->key, sizeof(c->key));
	begin(ring, s, KVSINK_SWAP_LEAVING);
	return KVSINK_CODE_OK;
}

uint32_t kvsink_cmd_swap_out(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_cmd_swap_out *c = &cmd->swap_out;
	struct kvsink_stream *s;
	uint32_t code = ring->progress ? kvsink_stream_get(ring, c->stream, &s)
				       : kvsink_stream_get_hbm(ring, c->stream, &s);

	if (!code && !ring->progress)
		code = leave(ring, s, c);
	else if (!code && !goes_on(ring, s, KVSINK_SWAP_LEAVING))
		code = kvsink_fault(ring, KVSINK_CODE_SWAPPED, c->stream);
	if (code)
		return code;
	code = move(ring, s, &c->image, true);
	if (code == KVSINK_MORE)
		return code;
	s->swap.state = KVSINK_SWAP_NONE;
	if (code)
		return code;
	s->swap.pages = s->mapped_pages;
	count(ring, s, KVSINK_COUNTER_SWAP_OUT, KVSINK_EVENT_SWAPPED_OUT);
	s->swap.written = kvsink_checksum_end(&s->swap.sum);
	forget_place(s);
	return KVSINK_CODE_OK;
}

/* ---- SWAP_PLACE ---- */

/* Whoever wants to place it, or bring it back: is it out, and is nobody at it? */
static uint32_t check_out_there(struct kvsink_ring *ring, const struct kvsink_stream *s)
{
	if (s->swap.state == KVSINK_SWAP_LEAVING || s->swap.state == KVSINK_SWAP_RETURNING)
		return kvsink_fault(ring, KVSINK_CODE_SWAPPED, s->id);
	return s->swap.state == KVSINK_SWAP_NONE ? kvsink_fault(ring, KVSINK_CODE_BUSY, s->id)
						 : KVSINK_CODE_OK;
}

uint32_t kvsink_cmd_swap_place(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_cmd_swap_place *c = &cmd->swap_place;
	bool none = cmd->flags & KVSINK_PLACE_NONE;
	struct kvsink_stream *s;
	uint32_t code = kvsink_stream_get(ring, c->stream, &s);

	if (!code)
		code = check_out_there(ring, s);
	if (!code && none && c->page_table)
		code = kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(swap_place.page_table));
	if (!code && none && c->scores)
		code = kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(swap_place.scores));
	if (!code)
		code = kvsink_area_check(ring, c->page_table, kvsink_stream_max_pages(s) * sizeof(uint64_t));
	if (!code)
		code = kvsink_area_check(ring, c->scores, score_bytes(s));
	if (code)
		return code;
	forget_place(s);
	tell_size(ring, s);
	if (none)
		return KVSINK_CODE_OK;
	s->swap.state = KVSINK_SWAP_PLACED;
	s->page_table = c->page_table;
	s->scores = c->scores;
	kvsink_prefix_map(ring->chip, s);
	return KVSINK_CODE_OK;
}

/* ---- SWAP_IN ---- */

static uint32_t check_in(struct kvsink_ring *ring, const struct kvsink_stream *s,
			 const struct kvsink_cmd_swap_in *c)
{
	uint32_t code = check_out_there(ring, s);

	if (code)
		return code;
	if (s->swap.state != KVSINK_SWAP_PLACED)
		return kvsink_fault(ring, KVSINK_CODE_BUSY, s->id);
	if (s->mapped_pages < pages_of(s))
		return kvsink_fault(ring, KVSINK_CODE_NOT_RESERVED,
				    (uint64_t)s->mapped_pages << s->page_shift);
	return check_image(ring, s, &c->image, c->bytes, KVSINK_FIELD(swap_in.image.space));
}

/* Entries may be copied again: from where their rows are now. */
static uint32_t find_pages(struct kvsink_ring *ring, struct kvsink_stream *s)
{
	struct kvsink_tag *tags = ring->chip->tags;
	uint32_t code = KVSINK_CODE_OK;
	uint64_t page;

	kvsink_spend(ring, s->entries * sizeof(*tags));
	for (uint32_t i = s->first_tag; i != KVSINK_NONE && !code; i = tags[i].next) {
		code = kvsink_page_lookup(ring, s, tags[i].token >> s->page_shift, &page);
		if (!code)
			tags[i].page = page;
	}
	return code;
}

static uint32_t enter(struct kvsink_ring *ring, struct kvsink_stream *s, const struct kvsink_cmd_swap_in *c)
{
	uint32_t code = check_in(ring, s, c);

	if (code)
		return code;
	if (kvsink_another_waits(ring, KVSINK_WAIT_ALL))
		return KVSINK_STALL;
	begin(ring, s, KVSINK_SWAP_RETURNING);
	return KVSINK_CODE_OK;
}

uint32_t kvsink_cmd_swap_in(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_cmd_swap_in *c = &cmd->swap_in;
	struct kvsink_stream *s;
	uint32_t code = kvsink_stream_get(ring, c->stream, &s);

	if (!code && !ring->progress)
		code = enter(ring, s, c);
	else if (!code && !goes_on(ring, s, KVSINK_SWAP_RETURNING))
		code = kvsink_fault(ring, KVSINK_CODE_SWAPPED, c->stream);
	if (code)
		return code;
	code = move(ring, s, &c->image, false);
	if (code == KVSINK_MORE)
		return code;
	if (!code && kvsink_checksum_end(&s->swap.sum) != s->swap.written)
		code = kvsink_fault(ring, KVSINK_CODE_IMAGE, c->stream);
	if (!code)
		code = find_pages(ring, s);
	if (code) {
		forget_place(s);
		return code;
	}
	s->swap.state = KVSINK_SWAP_NONE;
	count(ring, s, KVSINK_COUNTER_SWAP_IN, KVSINK_EVENT_SWAPPED_IN);
	return KVSINK_CODE_OK;
}
