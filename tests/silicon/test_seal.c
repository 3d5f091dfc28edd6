// SPDX-License-Identifier: MIT
/*
 * SEAL: what is stored afterwards, attention on it against binary64, refusals, entries and tails of sealed
 * tokens, and that placement changes no bit in canonical mode.
 */
#include "datapath.h"
#include "seal_case.h"

static const struct {
	uint32_t format, seal_k, seal_v;
	double worst_k, worst_v; /* half a step of rows in [-1, 1) */
	const char *name;
} mixes[] = {
	{KVSINK_FORMAT_FP16, KVSINK_FORMAT_INT8, KVSINK_FORMAT_INT8, 0.5 / 127, 0.5 / 127, "INT8, INT8"},
	{KVSINK_FORMAT_FP16, KVSINK_FORMAT_INT8_CHANNEL, KVSINK_FORMAT_INT8, 1.0 / 255, 0.5 / 127,
	 "INT8 per channel, INT8"},
	{KVSINK_FORMAT_FP16, KVSINK_FORMAT_INT4_CHANNEL, KVSINK_FORMAT_INT4, 1.0 / 15, 1.0 / 15,
	 "INT4 per channel, INT4"},
	{KVSINK_FORMAT_F32, KVSINK_FORMAT_INT4, KVSINK_FORMAT_F32, 1.0 / 15, 0, "F32: INT4, as it was"},
	{KVSINK_FORMAT_F32, KVSINK_FORMAT_F32, KVSINK_FORMAT_INT4, 0, 1.0 / 15, "F32: as it was, INT4"},
};
#define MIXES (sizeof(mixes) / sizeof(mixes[0]))

static void fresh(unsigned m, uint32_t window)
{
	open_stream(mixes[m].format, mixes[m].seal_k, mixes[m].seal_v, window);
}

/* Every row, against the one that was appended (a binary16 is off by at most 2^-12 of it). */
static void contents(unsigned m)
{
	uint32_t wide = 0, far = 0, moved = 0;
	double row[KVSINK_MAX_HEAD_DIM], half, limit;
	float sent[KVSINK_MAX_HEAD_DIM];

	fresh(m, 0);
	seal_stream();
	tap_ok(sealed == SEALED, "%s: SEAL of four pages", mixes[m].name);
	for (uint32_t i = 0; i < 2 * 2 * 2 * SEAL_TOKENS; i++) {
		bool v = i & 1;
		uint32_t head = i >> 1 & 1, layer = i >> 2 & 1, t = i >> 3;

		half = stored(v, layer, t, head, row);
		h_row(&s, v, layer, t, head, sent);
		limit = v ? mixes[m].worst_v : mixes[m].worst_k;
		wide += half > limit * (1 + 0x1p-9);
		for (uint32_t e = 0; e < width(v); e++) {
			double off = fabs(row[e] - sent[e]), rounding = fabs(sent[e]) * 0x1p-11 + 0x1p-25;

			if (s.format == KVSINK_FORMAT_F32)
				rounding = fabs(sent[e]) * 0x1p-22;
			far += off > half + rounding;
			moved += half == 0 && off > rounding;
		}
	}
	tap_ok(!wide && !far, "%s: rows are off by half a step at most, steps as wide as they must be",
	       mixes[m].name);
	tap_ok(!moved, "%s: protected and open rows are those that were appended", mixes[m].name);
}

/* Norms that gating relies on are those of the stored rows, rounded up. */
static void norms(unsigned m)
{
	const uint8_t *at,
		*norm = h.hbm + s.scores +
			kvsink_score_cleared_bytes(s.layers, s.kv_heads, s.score_groups, s.max_tokens);
	const uint8_t *maxima = norm - s.layers * s.kv_heads * 4;
	uint32_t wrong = 0;

	for (uint32_t i = 0; i < 2 * 2 * SEAL_TOKENS; i++) {
		uint32_t head = i & 1, layer = i >> 1 & 1, t = i >> 2;
		double row[KVSINK_MAX_HEAD_DIM], sum = 0, bound;
		float max;

		stored(true, layer, t, head, row);
		for (uint32_t e = 0; e < s.d_v; e++)
			sum += row[e] * row[e];
		at = norm + ((layer * s.kv_heads + head) * s.max_tokens + t) * 2;
		bound = half_value(at);
		memcpy(&max, maxima + (layer * s.kv_heads + head) * 4, 4);
		wrong += bound < sqrt(sum) || bound > sqrt(sum) * (1 + 0x1p-9) || max < bound;
	}
	tap_ok(!wrong, "%s: norms are those of the stored rows, rounded up", mixes[m].name);
}

static void oracle(unsigned m, uint32_t window)
{
	double split, canonical, prefill;

	fresh(m, window);
	seal_stream();
	h_promote(&h, &s, 0, 0, 2, 3);
	h_promote(&h, &s, 9, 1, 2, 2);
	h_promote(&h, &s, 18, 0, 2, 3);
	h_promote(&h, &s, 40, 1, 2, 1);
	h_barrier(&h, &s);
	tap_ok(!attend(KVSINK_ATTEND_SPLIT, 1, SEAL_TOKENS - 12, 12), "%s, window %u: ATTEND", mixes[m].name,
	       window);
	split = worst_error(1, SEAL_TOKENS - 12, 12);
	attend(KVSINK_ATTEND_CANONICAL, 1, 20, 24);
	canonical = worst_error(1, 20, 24);
	h_score_cmd(&h, &s, 0, 0, SEAL_TOKENS);
	h_do(&h);
	prefill = worst_error(0, 0, SEAL_TOKENS);
	tap_ok(split < 8e-6 && canonical < 8e-6 && prefill < 8e-6,
	       "%s, window %u: attention on the stored rows is right in split (%.1e), canonical (%.1e) and "
	       "SCORE (%.1e)",
	       mixes[m].name, window, split, canonical, prefill);
}

static uint32_t output_bytes(uint32_t count)
{
	return count * s.q_heads * s.d_v * 4;
}

/* Promotions, evictions and reads at random; the canonical output never changes. */
static void placements(unsigned m)
{
	static uint8_t first[24 * 4 * 64 * 4], got[sizeof(first)];
	uint64_t state = 7 + m;
	uint32_t changed = 0, resident = 0;

	fresh(m, m % 2 ? 17 : 0);
	seal_stream();
	attend(KVSINK_ATTEND_CANONICAL, 1, 20, 24);
	h_get(&h, H_OUT, first, output_bytes(24));
	for (uint32_t i = 0; i < 60; i++) {
		uint32_t token = h_random(&state) % SEAL_TOKENS, layer = h_random(&state) % 2;

		if (h_random(&state) % 3)
			h_promote(&h, &s, token, layer, 2, 1 + h_random(&state) % 3);
		else
			h_evict(&h, &s, token);
		if (h_random(&state) % 2)
			h_barrier(&h, &s);
		attend(KVSINK_ATTEND_CANONICAL, 1, 20, 24);
		h_get(&h, H_OUT, got, output_bytes(24));
		changed += memcmp(first, got, output_bytes(24)) != 0;
	}
	resident = kvsink_mmio_read(h.chip, KVSINK_REG_TAGS_VALID);
	tap_ok(!changed && resident > 5, "%s: 60 placements, one canonical output (%u entries at the end)",
	       mixes[m].name, resident);
}

static uint64_t field(size_t member)
{
	return sizeof(struct kvsink_cmd) + member;
}

static void refusals(void)
{
	struct kvsink_cmd *cmd;
	uint8_t *before = malloc(h.config.hbm_bytes);

	fresh(1, 0); /* K has room for one protected row a page */
	memcpy(before, h.hbm, h.config.hbm_bytes);
	tap_ok(h_seal(&h, &s, 12) == KVSINK_CODE_BAD_FIELD &&
		       h.cpl.address == offsetof(struct kvsink_cmd, seal.tokens),
	       "part of a page is refused");
	tap_ok(h_seal(&h, &s, 48) == KVSINK_CODE_SEQUENCE && h.cpl.address == 40,
	       "an open group is refused, with the tokens that could be sealed");
	tap_ok(h_seal(&h, &s, 0) == KVSINK_CODE_SEQUENCE && h.cpl.address == 8, "no page at all is refused");
	h_protect(&h, 32, 0, 2, 3);
	tap_ok(h_seal(&h, &s, 32) == KVSINK_CODE_BAD_FIELD &&
		       h.cpl.address == field(offsetof(struct kvsink_place_item, token)),
	       "a protected token behind the sealed ones is refused");
	h_protect(&h, 3, 1, 3, 3);
	tap_ok(h_seal(&h, &s, 32) == KVSINK_CODE_BAD_FIELD &&
		       h.cpl.address == field(offsetof(struct kvsink_place_item, layer_end)),
	       "so is one of a layer that is not there");
	h_protect(&h, 3, 1, 2, 4);
	tap_ok(h_seal(&h, &s, 32) == KVSINK_CODE_BAD_FIELD &&
		       h.cpl.address == field(offsetof(struct kvsink_place_item, head_mask)),
	       "and one of a head");
	h_protect(&h, 17, 0, 1, 3);
	h_protect(&h, 18, 1, 2, 3);
	h_protect(&h, 18, 0, 1, 2);
	tap_ok(h_seal(&h, &s, 32) == KVSINK_CODE_CROWDED && h.cpl.address == 16,
	       "more protected rows of a head than its page has room for are refused, with the page");
	cmd = h_seal_cmd(&h, &s, 8);
	cmd->seal.reserved = 1;
	tap_ok(h_do(&h) == KVSINK_CODE_BAD_FIELD, "a reserved field is refused");
	cmd = h_seal_cmd(&h, &s, 8);
	cmd->seal.item_count = 1;
	tap_ok(h_do(&h) == KVSINK_CODE_BAD_FIELD, "items that the job does not have are refused");
	tap_ok(!memcmp(before, h.hbm, h.config.hbm_bytes), "nothing was changed so far");
	h_protect(&h, 17, 0, 1, 3);
	h_protect(&h, 17, 0, 2, 2);
	h_protect(&h, 9, 0, 2, 3);
	tap_ok(!h_seal(&h, &s, 24), "the same token twice is one row");
	tap_ok(h_seal(&h, &s, 24) == KVSINK_CODE_SEQUENCE && h.cpl.address == 32,
	       "a sealed page is not sealed again");
	h_protect(&h, 9, 0, 2, 3);
	tap_ok(h_seal(&h, &s, 32) == KVSINK_CODE_BAD_FIELD, "and a sealed token not protected any more");
	tap_ok(!h_seal(&h, &s, 40), "it goes on from there");
	open_stream(KVSINK_FORMAT_FP16, 0, 0, 0);
	tap_ok(h_seal(&h, &s, 8) == KVSINK_CODE_BAD_FIELD &&
		       h.cpl.address == offsetof(struct kvsink_cmd, seal.stream),
	       "a stream without a format to seal in is never sealed");
	free(before);
}

static uint32_t create(uint32_t seal_k, uint32_t seal_v, uint32_t page)
{
	struct h_stream other = s;

	other.id = 9;
	other.seal_k = seal_k;
	other.seal_v = seal_v;
	other.page_tokens = page;
	return h_create(&h, &other);
}

static void geometry(void)
{
	uint64_t k = offsetof(struct kvsink_cmd, stream_create.seal_k);
	uint64_t v = offsetof(struct kvsink_cmd, stream_create.seal_v);

	fresh(0, 0);
	tap_ok(create(KVSINK_FORMAT_FP16, 0, 8) == KVSINK_CODE_BAD_FIELD && h.cpl.address == k,
	       "a format to append is none to seal in");
	tap_ok(create(KVSINK_FORMAT_COUNT, 0, 8) == KVSINK_CODE_BAD_FIELD && h.cpl.address == k,
	       "nor is an unknown one");
	tap_ok(create(0, KVSINK_FORMAT_INT8_CHANNEL, 8) == KVSINK_CODE_BAD_FIELD && h.cpl.address == v,
	       "V cannot be sealed per channel");
	tap_ok(create(KVSINK_FORMAT_INT8_CHANNEL, 0, 2) == KVSINK_CODE_BAD_FIELD && h.cpl.address == k,
	       "a page without room for the channels' scales is refused");
	s.flags = KVSINK_STREAM_V_IN_K;
	s.d_v = s.d_k;
	tap_ok(create(KVSINK_FORMAT_INT8, 0, 8) == KVSINK_CODE_BAD_FIELD && h.cpl.address == k &&
		       create(KVSINK_FORMAT_INT4_CHANNEL, 0, 8) == KVSINK_CODE_BAD_FIELD &&
		       h.cpl.address == k,
	       "K that holds V cannot be sealed");
	tap_ok(create(0, KVSINK_FORMAT_INT8, 8) == KVSINK_CODE_BAD_FIELD && h.cpl.address == v,
	       "nor can V by itself");
	s.flags = 0;
	s.d_v = 48;
	tap_ok(create(0, KVSINK_FORMAT_INT4, 8) == KVSINK_CODE_BAD_FIELD && h.cpl.address == v,
	       "a width that does not divide is refused");
	s.d_k = 512;
	s.kv_heads = s.q_heads = 64;
	tap_ok(create(KVSINK_FORMAT_INT8, 0, 128) == KVSINK_CODE_BAD_FIELD &&
		       h.cpl.address == offsetof(struct kvsink_cmd, stream_create.page_tokens),
	       "a plane that does not fit into the staging buffer is refused");
}

/* Bytes of a promoted row whose token is sealed, by hand: K codes, their scales, V codes, theirs. */
static uint32_t coded_bytes(void)
{
	uint32_t bytes = 0;

	for (unsigned v = 0; v < 2; v++)
		bytes += seal_of(v) ? width(v) * code_bits(seal_of(v)) / 8 + scale_bytes(v) : row_bytes(v);
	return bytes;
}

static uint64_t from_sram(uint32_t layer)
{
	uint64_t before = h_counter(&h, KVSINK_COUNTER_KV_SRAM_READ);

	attend(KVSINK_ATTEND_SPLIT, layer, SEAL_TOKENS - 1, 1);
	return h_counter(&h, KVSINK_COUNTER_KV_SRAM_READ) - before;
}

static void promoted(unsigned m)
{
	uint32_t full = 0, coded;
	struct kvsink_tag_rec rec;
	uint64_t copied;
	uint8_t *region;

	fresh(m, 0);
	seal_stream();
	full = row_bytes(0) + row_bytes(1);
	coded = coded_bytes();
	copied = h_counter(&h, KVSINK_COUNTER_DMA_COPY);
	h_promote(&h, &s, 9, 0, 2, 3);
	h_barrier(&h, &s);
	tap_ok(h_entry(&h, &s, 9, &rec) && rec.row_bytes == coded &&
		       rec.sram_bytes == (4 * coded + 255) / 256 * 256 &&
		       h_counter(&h, KVSINK_COUNTER_DMA_COPY) - copied == 4 * coded,
	       "%s: an entry of a sealed token takes the room of its codes", mixes[m].name);
	region = page_at(9) + plane_at(0, 1) + 1 * s.page_tokens * row_bytes(0);
	if (seal_of(0))
		tap_ok(!memcmp(h.sram + rec.sram_offset + 3 * coded,
			       region + 1 * width(0) * code_bits(seal_of(0)) / 8,
			       width(0) * code_bits(seal_of(0)) / 8) &&
			       !memcmp(h.sram + rec.sram_offset + 3 * coded +
					       width(0) * code_bits(seal_of(0)) / 8,
				       region + scales_at(0) + 1 * scale_bytes(0), scale_bytes(0)),
		       "%s: they are the stored bits, scales behind codes", mixes[m].name);
	tap_ok(from_sram(1) == 2 * coded, "%s: and are what ATTEND reads", mixes[m].name);
	h_evict(&h, &s, 9);
	copied = h_counter(&h, KVSINK_COUNTER_DMA_COPY);
	h_promote(&h, &s, 18, 0, 1, 3); /* protected in head 0 */
	h_barrier(&h, &s);
	tap_ok(h_entry(&h, &s, 18, &rec) && rec.row_bytes == full &&
		       h_counter(&h, KVSINK_COUNTER_DMA_COPY) - copied == full + coded &&
		       from_sram(0) == full + coded,
	       "%s: with a protected row among them rows have their full distance", mixes[m].name);
}

/* Copies that take longer than the commands of a test. */
static void slow_copies(struct kvsink_chip_config *config)
{
	config->dma_gbps = 1;
}

/* Entries that are there when their token is sealed. */
static void renewed(unsigned m)
{
	struct kvsink_tag_rec rec, later;
	uint32_t coded, full;

	tune = slow_copies;
	fresh(m, 0);
	tune = NULL;
	coded = coded_bytes();
	full = row_bytes(0) + row_bytes(1);
	h_promote_cmd(&h, &s, 9, 1, 2, 3)->promote.dwell_steps = 5;
	h_do(&h);
	h_promote(&h, &s, 40, 1, 2, 3);
	h_barrier(&h, &s);
	h_promote(&h, &s, 10, 1, 2, 3); /* its copy is under way */
	h_entry(&h, &s, 9, &rec);
	protect();
	h_seal_cmd(&h, &s, SEALED);
	h_do(&h);
	sealed = SEALED;
	tap_ok(h_entry(&h, &s, 9, &later) && !(later.flags & KVSINK_TAG_VALID) &&
		       later.flags & KVSINK_TAG_CONTRACT && later.generation == rec.generation &&
		       later.sram_bytes == rec.sram_bytes && later.row_bytes == coded,
	       "%s: an entry whose token is sealed is invalid, keeps place, contract and generation",
	       mixes[m].name);
	tap_ok(from_sram(1) == 2 * full, "%s: until it is copied again its rows come from HBM",
	       mixes[m].name);
	tap_ok(worst_error(1, SEAL_TOKENS - 1, 1) < 8e-6, "%s: and are those that are stored now",
	       mixes[m].name);
	h_barrier(&h, &s);
	tap_ok(h_entry(&h, &s, 9, &later) && later.flags & KVSINK_TAG_VALID &&
		       from_sram(1) == 4 * coded + 2 * full,
	       "%s: BARRIER waits for the new copies, of that under way, too", mixes[m].name);
	tap_ok(worst_error(1, SEAL_TOKENS - 1, 1) < 8e-6, "%s: what they hold is what is stored",
	       mixes[m].name);
	tap_ok(kvsink_mmio_read(h.chip, KVSINK_REG_COPIES_PENDING) == 0, "%s: no copy is left over",
	       mixes[m].name);
}

static void tail(void)
{
	uint64_t rows;

	if (h.chip)
		h_close(&h);
	h_open(&h, NULL);
	s = h_geometry(1);
	s.format = KVSINK_FORMAT_FP16;
	s.d_k = 32;
	s.d_v = 64;
	s.page_tokens = 8;
	s.seal_k = s.seal_v = KVSINK_FORMAT_INT8;
	sealed = 0;
	h_stream(&h, &s);
	h_config(&h, 1, KVSINK_PARAM_TAIL_TOKENS, 16);
	h_fill(&h, &s, 0, SEAL_TOKENS);
	h_queries(&h, 11, s.q_heads * s.d_k);
	rows = row_bytes(0) + row_bytes(1);
	tap_ok(from_sram(1) == 16 * 2 * rows, "a tail of 16 tokens");
	seal_stream();
	tap_ok(from_sram(1) == 12 * 2 * rows, "it forgets tokens that are sealed");
	tap_ok(worst_error(1, SEAL_TOKENS - 1, 1) < 8e-6, "and they are read as they are stored");
	h_fill(&h, &s, SEAL_TOKENS, 2);
	attend(KVSINK_ATTEND_SPLIT, 0, SEAL_TOKENS + 1, 1);
	tap_ok(h_counter(&h, KVSINK_COUNTER_KV_SRAM_READ) == (16 + 12 + 14) * 2 * rows,
	       "it grows again behind them");
}

static void not_finite(void)
{
	uint32_t wrong = 0, spoilt = 0;
	float bad = INFINITY, out[64];

	fresh(0, 0);
	h_close(&h);
	h_open(&h, NULL);
	h_stream(&h, &s);
	for (uint32_t l = 0; l < 2; l++) {
		struct kvsink_cmd *cmd = h_cmd(&h, KVSINK_OP_APPEND);
		float row[64] = {0};

		for (uint32_t i = 0; i < 16 * 2; i++) {
			h_put(&h, H_K + i * 128, row, 128);
			h_put(&h, H_V + i * 256, row, 256);
		}
		h_put(&h, H_V + (5 * 2 + 1) * 256 + 40 * 4, &bad, 4);
		cmd->append = (struct kvsink_cmd_append){
			.stream = 1, .layer = l, .count = 16, .k = h_gart(H_K), .v = h_gart(H_V)};
		h_do(&h);
	}
	h_step_end(&h, &s, 16);
	h_seal(&h, &s, 16);
	h_queries(&h, 3, 256);
	attend(KVSINK_ATTEND_CANONICAL, 1, 15, 1);
	for (uint32_t head = 0; head < 4; head++) {
		h_get(&h, H_OUT + head * 256, out, sizeof(out));
		for (uint32_t e = 0; e < 64; e++) {
			bool group = head >= 2 && e >= 32;

			spoilt += group && out[e] == out[e];
			wrong += !group && out[e] != 0;
		}
	}
	tap_ok(!spoilt && !wrong, "an infinite element makes its group of the output NaN and nothing else");
}

int main(void)
{
	for (unsigned m = 0; m < MIXES; m++) {
		contents(m);
		norms(m);
		oracle(m, 0);
		oracle(m, 13);
		placements(m);
		promoted(m);
		renewed(m);
	}
	refusals();
	geometry();
	tail();
	not_finite();
	h_close(&h);
	return tap_done();
}
