// SPDX-License-Identifier: MIT
/*
 * Swap: what a stream that is out refuses and what it does not; images that are none; moves that are cut
 * short by bus errors, resets, other rings and the end of the stream. That swaps change nothing: test_swap.c.
 */
#include "harness.h"
#include "tap.h"

#define IMAGE H_FREE
#define OTHER_IMAGE (H_FREE + 0x40000u)
#define ROOM 0x40000u
#define BIG_ROOM (4u << 20)

static struct harness h;
static struct h_stream s;

static void fresh(void)
{
	if (h.chip)
		h_close(&h);
	h_open(&h, NULL);
	s = h_geometry(1);
	s.format = KVSINK_FORMAT_FP16;
	s.d_k = s.d_v = 32;
	s.seal_k = s.seal_v = KVSINK_FORMAT_INT8;
	s.flags = KVSINK_STREAM_PER_HEAD;
	h_stream(&h, &s);
	h_fill(&h, &s, 0, 10);
	h_promote(&h, &s, 2, 0, 2, 3);
}

static void out(void)
{
	if (h_swap_out(&h, &s, IMAGE, ROOM))
		tap_ok(false, "SWAP_OUT: %s", kvsink_code_name(h.cpl.code));
}

static bool swapped(void)
{
	struct kvsink_stream_rec rec;

	h_query_cmd(&h, KVSINK_QUERY_STREAMS, s.id, 0, 1);
	h_do(&h);
	h_get(&h, H_ANSWER + sizeof(struct kvsink_list_head), &rec, sizeof(rec));
	return rec.swapped;
}

static bool decodes(void)
{
	h_queries(&h, 3, s.q_heads * s.d_k);
	h_attend_cmd(&h, &s, 1, 9, 1);
	return !h_do(&h);
}

/* ---- refused, and not refused ---- */

static void refused(const char *what)
{
	uint32_t code = h_do(&h);

	if (!tap_ok(code == KVSINK_CODE_SWAPPED && h.cpl.address == s.id, "%s of a stream that is out", what))
		tap_diag("%s", kvsink_code_name(code));
}

static void query(uint32_t what, const char *name)
{
	h_query_cmd(&h, what, s.id, 0, 4);
	refused(name);
}

static void what_needs_hbm(void)
{
	tap_ok(h_append(&h, &s, 0, 10, 1) == KVSINK_CODE_SWAPPED, "APPEND of a stream that is out");
	h_score_cmd(&h, &s, 0, 0, 1);
	refused("SCORE");
	h_cmd(&h, KVSINK_OP_CLASSIFY)->classify = (struct kvsink_cmd_classify){1, 1, 8, h_gart(H_ANSWER)};
	refused("CLASSIFY");
	h_promote_cmd(&h, &s, 3, 0, 1, 1);
	refused("PROMOTE");
	h_attend_cmd(&h, &s, 0, 9, 1);
	refused("ATTEND");
	h_cmd(&h, KVSINK_OP_STEP_END)->step_end = (struct kvsink_cmd_step_end){1, 1, 0};
	refused("STEP_END");
	h_cmd(&h, KVSINK_OP_STEP_END)->step_end.stream = 1;
	h.cmds[0].flags = KVSINK_STEP_ABORT;
	refused("STEP_END, abort,");
	h_cmd(&h, KVSINK_OP_SCORE_IMPORT)->score_import =
		(struct kvsink_cmd_score_import){1, 0, 10, h_gart(H_K)};
	refused("SCORE_IMPORT");
	h_cmd(&h, KVSINK_OP_LAYER_HEADS)->layer_heads = (struct kvsink_cmd_layer_heads){1, 0, 0, h_gart(H_Q)};
	refused("LAYER_HEADS");
	h_seal_cmd(&h, &s, 8);
	refused("SEAL");
	tap_ok(h_map(&h, &s, 0, 1) == KVSINK_CODE_SWAPPED, "PAGE_MAP of a stream that is out");
	tap_ok(h_swap_out(&h, &s, OTHER_IMAGE, ROOM) == KVSINK_CODE_SWAPPED, "SWAP_OUT once more");
	query(KVSINK_QUERY_SCORES, "QUERY SCORES");
	query(KVSINK_QUERY_SINKS, "QUERY SINKS");
	query(KVSINK_QUERY_VERDICTS, "QUERY VERDICTS");
	query(KVSINK_QUERY_PROFILE, "QUERY PROFILE");
}

static void allowed(const char *what)
{
	tap_ok(!h_do(&h), "%s of a stream that is out works", what);
}

static void what_does_not(void)
{
	static const uint32_t kinds[] = {KVSINK_QUERY_STREAMS, KVSINK_QUERY_TAGS, KVSINK_QUERY_COUNTERS,
					 KVSINK_QUERY_PARAMS, KVSINK_QUERY_EVENTS};
	struct kvsink_tag_rec rec;
	union kvsink_item place = {.place = {.token = KVSINK_TOKEN_ALL, .layer_end = 2, .head_mask = 3}};

	tap_ok(h_entry(&h, &s, 2, &rec) && rec.flags & KVSINK_TAG_VALID, "its entry is still there");
	for (unsigned i = 0; i < 5; i++) {
		h_query_cmd(&h, kinds[i], s.id, 0, 4);
		allowed("QUERY");
	}
	h_cmd(&h, KVSINK_OP_CONTRACT)->contract =
		(struct kvsink_cmd_contract){.stream = 1, .item_count = 1, .dwell_steps = 4};
	h_item(&h, &place);
	allowed("CONTRACT");
	tap_ok(!h_config(&h, 1, KVSINK_PARAM_TAIL_TOKENS, 4), "CONFIG of a tail works");
	tap_ok(!h_barrier(&h, &s), "BARRIER has nothing to wait for");
	tap_ok(!h_evict(&h, &s, 2) && !h_entry(&h, &s, 2, &rec), "EVICT works");
}

static void tenants(void)
{
	h.tenant = H_TENANT + 1;
	tap_ok(h_swap_out(&h, &s, OTHER_IMAGE, ROOM) == KVSINK_CODE_TENANT,
	       "SWAP_OUT by another tenant, who does not learn that it is out");
	h_swap_in_cmd(&h, &s, IMAGE);
	tap_ok(h_do(&h) == KVSINK_CODE_TENANT, "SWAP_IN by another tenant");
	h.tenant = H_TENANT;
	h_cmd(&h, KVSINK_OP_SWAP_PLACE)->swap_place = (struct kvsink_cmd_swap_place){1, 1 << 20, 2 << 20};
	tap_ok(h_do(&h) == KVSINK_CODE_TENANT, "SWAP_PLACE without privilege");
}

/* ---- fields ---- */

static uint32_t place_at(uint64_t table, uint64_t scores, uint16_t flags)
{
	struct kvsink_cmd *cmd = h_cmd(&h, KVSINK_OP_SWAP_PLACE);

	cmd->flags = flags;
	cmd->swap_place = (struct kvsink_cmd_swap_place){1, table, scores};
	return h_priv(&h);
}

static void places(void)
{
	uint64_t end = h.config.hbm_bytes;
	uint32_t bytes, pages;

	tap_ok(place_at(0, 0, KVSINK_PLACE_NONE) == KVSINK_CODE_BUSY, "a stream in HBM has no place to lose");
	tap_ok(place_at(1 << 20, 2 << 20, 0) == KVSINK_CODE_BUSY, "nor is it given one");
	out();
	bytes = h.cpl.result[0];
	pages = h.cpl.result[2];
	tap_ok(place_at(100, 1 << 20, 0) == KVSINK_CODE_BAD_RANGE && h.cpl.address == 100,
	       "a page table that is not aligned");
	tap_ok(place_at(end, 1 << 20, 0) == KVSINK_CODE_BAD_RANGE, "a page table beyond HBM");
	tap_ok(place_at(1 << 20, end - 4096, 0) == KVSINK_CODE_BAD_RANGE, "scores that end beyond HBM");
	tap_ok(place_at(4096, 0, KVSINK_PLACE_NONE) == KVSINK_CODE_BAD_FIELD, "a place that is none");
	h_swap_in_cmd(&h, &s, IMAGE);
	tap_ok(h_do(&h) == KVSINK_CODE_BUSY, "SWAP_IN without a place");
	tap_ok(!place_at(9 << 20, 10 << 20, 0), "SWAP_PLACE");
	h_swap_in_cmd(&h, &s, IMAGE);
	tap_ok(h_do(&h) == KVSINK_CODE_NOT_RESERVED && h.cpl.address == 0, "SWAP_IN without pages");
	h_map(&h, &s, 0, 3);
	tap_ok(!place_at(0, 0, KVSINK_PLACE_NONE), "the place is taken back");
	tap_ok(h.cpl.result[0] == bytes && h.cpl.result[2] == pages,
	       "which tells the same as SWAP_OUT did, for those who saw no end of it");
	h_swap_in_cmd(&h, &s, IMAGE);
	tap_ok(h_do(&h) == KVSINK_CODE_BUSY, "and then there is none");
	tap_ok(!h_swap_in(&h, &s, IMAGE) && decodes(), "none of that has hurt the stream");
	h_swap_in_cmd(&h, &s, IMAGE);
	tap_ok(h_do(&h) == KVSINK_CODE_BUSY, "SWAP_IN of a stream in HBM");
}

/* ---- images ---- */

static bool back(uint64_t image)
{
	return !h_swap_in(&h, &s, image) && !swapped() && decodes();
}

static void flip(uint64_t at)
{
	uint8_t byte;

	h_get(&h, at, &byte, 1);
	byte ^= 0x10;
	h_put(&h, at, &byte, 1);
}

static void images(void)
{
	static uint8_t copy[ROOM];
	struct h_stream other = h_geometry(2);
	struct kvsink_cmd *cmd;
	uint64_t bytes;
	bool all = true;

	out();
	bytes = h.cpl.result[0];
	for (uint64_t at = 0; at < bytes; at += bytes / 7) {
		flip(IMAGE + at);
		all &= h_swap_in(&h, &s, IMAGE) == KVSINK_CODE_IMAGE && swapped();
		flip(IMAGE + at);
		h.hbm_next = 4 << 20;
	}
	flip(IMAGE + bytes - 1);
	tap_ok(all && h_swap_in(&h, &s, IMAGE) == KVSINK_CODE_IMAGE && swapped(),
	       "an image with one bit changed is refused, wherever it is");
	flip(IMAGE + bytes - 1);
	h_swap_place(&h, &s);
	cmd = h_swap_in_cmd(&h, &s, IMAGE);
	cmd->swap_in.bytes = bytes - 1;
	tap_ok(h_do(&h) == KVSINK_CODE_TOO_BIG && h.cpl.address == bytes && swapped(),
	       "one byte less is too short");
	cmd = h_swap_in_cmd(&h, &s, IMAGE);
	cmd->swap_in.image = h_hbm(0);
	tap_ok(h_priv(&h) == KVSINK_CODE_BAD_FIELD, "an image in HBM");
	tap_ok(back(IMAGE), "the image itself is taken");

	h_get(&h, IMAGE, copy, sizeof(copy));
	h_fill(&h, &s, 10, 1);
	out();
	h_put(&h, OTHER_IMAGE, copy, sizeof(copy));
	tap_ok(h_swap_in(&h, &s, OTHER_IMAGE) == KVSINK_CODE_IMAGE, "an older image of the stream");
	other.format = s.format;
	other.d_k = other.d_v = 32;
	other.flags = s.flags;
	h_stream(&h, &other);
	h_fill(&h, &other, 0, 11);
	h_swap_out(&h, &other, OTHER_IMAGE, ROOM);
	tap_ok(h_swap_in(&h, &s, OTHER_IMAGE) == KVSINK_CODE_IMAGE, "an image of another stream");
	tap_ok(back(IMAGE), "and its own");
}

/* ---- moves that do not come to their end ---- */

static void bus_errors(void)
{
	uint64_t hole = H_GART_PAGES * (uint64_t)KVSINK_GART_PAGE;

	tap_ok(h_swap_out(&h, &s, hole - 4096, ROOM) == KVSINK_CODE_BAD_RANGE && !swapped(),
	       "SWAP_OUT beyond the GART");
	h_gart_set(&h, (IMAGE >> 12) + 2, 0);
	tap_ok(h_swap_out(&h, &s, IMAGE, ROOM) == KVSINK_CODE_GART_FAULT && !swapped(),
	       "SWAP_OUT to a page that is not mapped");
	h_gart_set(&h, (IMAGE >> 12) + 2, h_gart_bus((IMAGE >> 12) + 2) | KVSINK_GART_VALID);
	h.refuse_bus = h_gart_bus((IMAGE >> 12) + 3);
	h.refuse_bytes = 4096;
	tap_ok(h_swap_out(&h, &s, IMAGE, ROOM) == KVSINK_CODE_DMA_ERROR && !swapped() && decodes(),
	       "SWAP_OUT that the bus refuses half way leaves the stream in HBM");
	h.refuse_bytes = 0;
	out();
	h.refuse_bytes = 4096;
	tap_ok(h_swap_in(&h, &s, IMAGE) == KVSINK_CODE_DMA_ERROR && swapped(),
	       "SWAP_IN that the bus refuses half way leaves it out");
	h.refuse_bytes = 0;
	tap_ok(back(IMAGE), "and the image good");
}

static void copies(void)
{
	struct kvsink_cmd *cmd;

	h_promote(&h, &s, 5, 0, 2, 3);
	cmd = h_cmd(&h, KVSINK_OP_SWAP_OUT);
	cmd->swap_out = (struct kvsink_cmd_swap_out){.stream = 1, .image = h_gart(IMAGE), .bytes = ROOM};
	tap_ok(h_do(&h) == KVSINK_CODE_BUSY && h.cpl.address == 5, "SWAP_OUT while a copy is under way");
	tap_ok(!h_swap_out(&h, &s, IMAGE, ROOM), "behind a BARRIER it works");
	tap_ok(back(IMAGE), "and back");
}

/* A stream whose image takes several calls of kvsink_run(). */
static void big(void)
{
	h_close(&h);
	h_open(&h, NULL);
	s = h_geometry(1);
	s.d_k = s.d_v = 512;
	s.max_tokens = 160;
	h_stream(&h, &s);
	h_fill(&h, &s, 0, 160);
}

static void begin_out(unsigned ring)
{
	struct kvsink_cmd *cmd = h_cmd(&h, KVSINK_OP_SWAP_OUT);

	cmd->swap_out = (struct kvsink_cmd_swap_out){.stream = 1, .image = h_gart(0), .bytes = BIG_ROOM};
	h_submit(&h, ring);
	kvsink_run(h.chip, ring);
}

static bool half_done(unsigned ring)
{
	return kvsink_mmio_read(h.chip, KVSINK_RING_BASE + ring * KVSINK_RING_STRIDE + KVSINK_RING_HEAD) !=
	       h.published[ring];
}

/* A job on ring 0, while ring 1 stands still. */
static uint32_t beside(void)
{
	uint32_t index = h_submit(&h, 0);

	for (unsigned i = 0; i < 64 && half_done(0); i++) {
		struct kvsink_item_work *work = kvsink_run(h.chip, 0);

		if (work) {
			kvsink_exec(work, 0, 1);
			kvsink_retire(h.chip, work);
		}
	}
	return half_done(0) ? KVSINK_CODE_COUNT : h_completion(&h, 0, index).code;
}

static void slices(void)
{
	uint64_t gart = (uint64_t)H_GART_PAGES * KVSINK_GART_PAGE;

	big();
	begin_out(1);
	tap_ok(half_done(1), "a large SWAP_OUT takes several turns");
	h_attend_cmd(&h, &s, 0, 100, 1);
	h.cmds[0].attend.q = h.cmds[0].attend.out = h.cmds[0].attend.stats = h_gart(gart - 0x10000);
	tap_ok(beside() == KVSINK_CODE_SWAPPED, "between them nobody reads the stream");
	h_promote_cmd(&h, &s, 3, 0, 1, 1);
	tap_ok(beside() == KVSINK_CODE_SWAPPED, "or promotes of it");
	h_cmd(&h, KVSINK_OP_SWAP_OUT)->swap_out =
		(struct kvsink_cmd_swap_out){.stream = 1, .image = h_gart(0), .bytes = BIG_ROOM};
	tap_ok(beside() == KVSINK_CODE_SWAPPED, "or swaps it out, too");
	h.desc.flags = KVSINK_JOB_PRIVILEGED;
	h_cmd(&h, KVSINK_OP_SWAP_PLACE)->swap_place = (struct kvsink_cmd_swap_place){1, 1 << 20, 2 << 20};
	tap_ok(beside() == KVSINK_CODE_SWAPPED, "or places it");
	h.desc.flags = KVSINK_JOB_PRIVILEGED;
	h_cmd(&h, KVSINK_OP_GART_INVALIDATE)->gart_invalidate.count = 8;
	tap_ok(beside() == KVSINK_CODE_COUNT, "GART_INVALIDATE waits for its end");
	h_run(&h);
	tap_ok(!half_done(0) && !half_done(1) && h_completion(&h, 1, 0).code == KVSINK_CODE_OK,
	       "then both end well");
}

static void begin_in(unsigned ring)
{
	h_swap_place(&h, &s);
	h_swap_in_cmd(&h, &s, 0);
	h_submit(&h, ring);
	kvsink_run(h.chip, ring);
}

/* The stream is out; its image lies at GART 0. */
static void resets(void)
{
	begin_in(1);
	tap_ok(half_done(1), "a large SWAP_IN takes several turns");
	kvsink_reset(h.chip, KVSINK_RESET_ENGINE);
	h_start(&h);
	h_swap_in_cmd(&h, &s, 0);
	tap_ok(h_do(&h) == KVSINK_CODE_BUSY, "a reset ends it: the stream is out, without a place");
	h.hbm_next = 8 << 20;
	tap_ok(!h_swap_in(&h, &s, 0), "the image is good after the reset");
	begin_out(1);
	kvsink_reset(h.chip, KVSINK_RESET_ENGINE);
	h_start(&h);
	h_cmd(&h, KVSINK_OP_BARRIER)->barrier.stream = 1;
	h_attend_cmd(&h, &s, 0, 100, 1);
	tap_ok(!h_do(&h), "a reset during SWAP_OUT leaves the stream in HBM");
	h_swap_out(&h, &s, 0, BIG_ROOM);
	kvsink_reset(h.chip, KVSINK_RESET_ENGINE);
	h_start(&h);
	h.hbm_next = 1 << 20;
	tap_ok(!h_swap_in(&h, &s, 0), "and one between the two does no harm");
}

static void destroyed(void)
{
	uint32_t index;

	begin_out(1);
	h.desc.flags = KVSINK_JOB_PRIVILEGED;
	h_cmd(&h, KVSINK_OP_STREAM_DESTROY)->stream_destroy.stream = 1;
	tap_ok(!beside(), "a stream may end in the middle of its swap");
	index = h.published[1] - 1;
	h_run(&h);
	tap_ok(h_completion(&h, 1, index).code == KVSINK_CODE_BAD_STREAM, "which then fails");
	fresh();
	out();
	h_cmd(&h, KVSINK_OP_STREAM_DESTROY)->stream_destroy.stream = 1;
	tap_ok(!h_priv(&h) && !kvsink_mmio_read(h.chip, KVSINK_REG_SRAM_USED) &&
		       !kvsink_mmio_read(h.chip, KVSINK_REG_STREAMS_LIVE),
	       "a stream may end while it is out, and leaves nothing in SRAM");
	h_swap_in_cmd(&h, &s, IMAGE);
	tap_ok(h_do(&h) == KVSINK_CODE_BAD_STREAM, "its image is nobody's then");
}

static void reset_takes_sram(void)
{
	struct kvsink_tag_rec rec;

	fresh();
	out();
	kvsink_reset(h.chip, KVSINK_RESET_ENGINE);
	h_start(&h);
	tap_ok(!h_entry(&h, &s, 2, &rec) && swapped(), "a reset takes the entries of a stream that is out");
	tap_ok(back(IMAGE), "and nothing else");
}

int main(void)
{
	fresh();
	out();
	what_needs_hbm();
	tenants();
	what_does_not();
	tap_ok(back(IMAGE), "nothing of that has hurt the stream");
	fresh();
	places();
	fresh();
	images();
	fresh();
	bus_errors();
	copies();
	slices();
	resets();
	destroyed();
	reset_takes_sram();
	h_close(&h);
	return tap_done();
}
