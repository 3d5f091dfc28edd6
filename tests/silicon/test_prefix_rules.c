// SPDX-License-Identifier: MIT
/*
 * Prefixes: who has rows, entries and bytes, how a prefix ends, what is refused. That sharing changes no
 * figure of a model: test_prefix.c.
 */
#include "harness.h"
#include "tap.h"

#define PREFIX 100u
#define TOKENS 14 /* of the publisher; pages have four */
#define ROW 128u  /* K and V of a token, layer and head */

static struct harness h;
static struct h_stream s, p; /* publisher, prefix */

static void many(struct kvsink_chip_config *config)
{
	config->streams = 64;
}

static void fresh(void)
{
	if (h.chip)
		h_close(&h);
	h_open(&h, many);
	s = h_geometry(1);
	h_stream(&h, &s);
	h_fill(&h, &s, 0, TOKENS);
}

static struct h_stream created(uint64_t id)
{
	struct h_stream n = h_geometry(id);

	n.rows = 1;
	if (h_create(&h, &n))
		tap_ok(false, "STREAM_CREATE: %s", kvsink_code_name(h.cpl.code));
	return n;
}

static struct h_stream attached(uint64_t id, uint32_t tokens)
{
	struct h_stream n = created(id);

	if (h_attach(&h, &n, PREFIX, tokens))
		tap_ok(false, "PREFIX_ATTACH: %s", kvsink_code_name(h.cpl.code));
	return n;
}

static void publish(uint32_t tokens)
{
	if (h_publish_prefix(&h, &s, PREFIX, tokens, &p))
		tap_ok(false, "PREFIX_PUBLISH: %s", kvsink_code_name(h.cpl.code));
}

static struct kvsink_stream_rec record(uint64_t id)
{
	struct kvsink_stream_rec rec;

	h_query_cmd(&h, KVSINK_QUERY_STREAMS, id, 0, 1);
	h_priv(&h);
	h_get(&h, H_ANSWER + sizeof(struct kvsink_list_head), &rec, sizeof(rec));
	return rec;
}

static uint32_t destroy(uint64_t id)
{
	h_cmd(&h, KVSINK_OP_STREAM_DESTROY)->stream_destroy.stream = id;
	return h_priv(&h);
}

static uint32_t sram_used(void)
{
	return kvsink_mmio_read(h.chip, KVSINK_REG_SRAM_USED);
}

/* What one command has added to a counter. */
static uint64_t added(unsigned counter)
{
	static uint64_t before[KVSINK_COUNTER_COUNT];
	uint64_t now = h_counter(&h, counter), more = now - before[counter];

	before[counter] = now;
	return more;
}

static uint64_t rows_from_sram(const struct h_stream *of, uint32_t token)
{
	added(KVSINK_COUNTER_KV_SRAM_READ);
	h_attend_cmd(&h, of, 0, token, 1);
	if (h_do(&h))
		tap_ok(false, "ATTEND: %s", kvsink_code_name(h.cpl.code));
	return added(KVSINK_COUNTER_KV_SRAM_READ) / ROW;
}

/* ---- residency ---- */

static void promoted_once(void)
{
	struct h_stream n = {0};
	uint64_t copied;
	bool all = true;

	fresh();
	h_queries(&h, 3, 64);
	h_promote(&h, &s, 2, 0, 2, 3);
	h_promote(&h, &s, 9, 0, 1, 1);
	h_promote(&h, &s, 12, 0, 2, 3);
	h_barrier(&h, &s);
	publish(10);
	tap_ok(record(1).entries == 1 && record(PREFIX).entries == 2 && record(1).sram_bytes == 512 &&
		       record(PREFIX).sram_bytes == 512 + 256,
	       "entries of the prefix's tokens are the prefix's, with their SRAM");
	tap_ok(rows_from_sram(&s, TOKENS - 1) == 2 + 1 + 2, "the stream reads all of them as before");
	copied = h_counter(&h, KVSINK_COUNTER_DMA_COPY);
	for (uint64_t id = 2; id < 38; id++) {
		n = attached(id, id % 2 ? 10 : 9);
		all &= rows_from_sram(&n, n.id % 2 ? 9 : 8) == (n.id % 2 ? 3 : 2);
		if (id % 3 == 0)
			destroy(id);
	}
	tap_ok(all && sram_used() == 512 + 256 + 512 && h_counter(&h, KVSINK_COUNTER_DMA_COPY) == copied,
	       "36 streams that begin with it read them, from the same SRAM, without a copy");
	tap_ok(h_promote(&h, &n, 5, 0, 2, 3) == KVSINK_CODE_SHARED && h.cpl.address == 5,
	       "a stream does not promote a prefix's rows");
	tap_ok(h_evict(&h, &n, 2) == KVSINK_CODE_NOT_RESIDENT, "nor evict them");
	tap_ok(!h_promote(&h, &p, 5, 0, 2, 3) && !h_barrier(&h, &n) && rows_from_sram(&n, 9) == 5,
	       "through the prefix they are promoted, and BARRIER of a stream waits for them");
	tap_ok(!h_evict(&h, &p, 2) && rows_from_sram(&n, 9) == 3 && rows_from_sram(&s, TOKENS - 1) == 5,
	       "and evicted, for all");
}

static void moved_while_copied(void)
{
	struct kvsink_tag_rec rec;
	struct h_stream n;
	float row[16];

	fresh();
	h_promote(&h, &s, 9, 0, 2, 3);
	publish(10);
	n = attached(2, 10);
	h_queries(&h, 3, 64);
	h_barrier(&h, &n);
	h_row(&s, true, 1, 9, 0, row);
	tap_ok(h_entry(&h, &p, 9, &rec) &&
		       !memcmp(h.sram + rec.sram_offset + 2 * ROW + ROW / 2, row, sizeof(row)) &&
		       rows_from_sram(&n, 9) == 2,
	       "an entry that is being copied becomes the prefix's and gets its rows");
}

static void contracts(void)
{
	struct kvsink_cmd *cmd;
	struct kvsink_tag_rec rec;

	fresh();
	h.host_ns = 1000;
	for (uint32_t t = 0; t < 2; t++) {
		cmd = h_promote_cmd(&h, &s, t, 0, 2, 3);
		cmd->promote.dwell_steps = t ? 1 : 50;
		cmd->promote.deadline_ns = 1000000;
		h_do(&h);
	}
	h_fill(&h, &s, TOKENS, 1);
	publish(10);
	tap_ok(h_entry(&h, &p, 0, &rec) && rec.flags & KVSINK_TAG_CONTRACT && rec.deadline_ns == 1000000,
	       "a contract in force goes along");
	tap_ok(h_entry(&h, &p, 1, &rec) && !(rec.flags & KVSINK_TAG_CONTRACT),
	       "one that was over stays over");
	h.host_ns = 2000000;
	h_do(&h);
	tap_ok(h_entry(&h, &p, 0, &rec) && !(rec.flags & KVSINK_TAG_CONTRACT), "its deadline ends it");
}

static void automatic(void)
{
	struct h_stream n;

	fresh();
	h_config(&h, 1, KVSINK_PARAM_LOCAL_WINDOW, 1); /* is inherited */
	publish(10);
	n = created(2);
	h_config(&h, 2, KVSINK_PARAM_N_PROMOTE, 1);
	h_config(&h, 2, KVSINK_PARAM_T_EVICT, 0);
	h_config(&h, 2, KVSINK_PARAM_T_PROMOTE, 1);
	h_config(&h, 2, KVSINK_PARAM_PLACEMENT, KVSINK_PLACEMENT_AUTO);
	h_attach(&h, &n, PREFIX, 10);
	for (uint32_t t = 10; t < 20; t++) {
		for (uint32_t l = 0; l < 2; l++)
			h_append(&h, &n, l, t, 1);
		h_queries(&h, t, 64);
		for (uint32_t l = 0; l < 2; l++) {
			h_attend_cmd(&h, &n, l, t, 1);
			h_do(&h);
		}
		h_step_end(&h, &n, 1);
	}
	tap_ok(record(2).entries > 0 && !record(PREFIX).entries,
	       "STEP_END places a stream's own rows, a prefix's are left to all");
}

/* E of the tip is inherited, and was made with them: no query was ever scored here. */
static void weights(void)
{
	struct kvsink_profile_rec rec[2];
	struct h_stream n;

	fresh();
	h_config(&h, 1, KVSINK_PARAM_LAYER_WEIGHT, 1 | 2u << 16 | 0x40000000ull << 32); /* layer 1: 2 */
	publish(TOKENS);
	n = attached(2, TOKENS);
	h_query_cmd(&h, KVSINK_QUERY_PROFILE, n.id, 1, 2);
	h_priv(&h);
	h_get(&h, H_ANSWER + sizeof(struct kvsink_list_head), rec, sizeof(rec));
	tap_ok(rec[0].layer == 0 && rec[0].weight == 0x3f800000 && rec[1].layer == 1 &&
		       rec[1].weight == 0x40000000,
	       "weights of layers are inherited with E, not their parameter alone");
}

static void tails(void)
{
	struct h_stream n;

	fresh();
	publish(10);
	n = created(2);
	h_config(&h, 2, KVSINK_PARAM_TAIL_TOKENS, 4);
	h_attach(&h, &n, PREFIX, 10);
	h_queries(&h, 3, 64);
	tap_ok(rows_from_sram(&n, 9) == 0,
	       "a prefix's tokens are in no tail of a stream that begins with it");
	h_fill(&h, &n, 10, 2);
	tap_ok(rows_from_sram(&n, 11) == 4, "those that follow are");
}

/* ---- the end ---- */

static void ends(void)
{
	struct h_stream n;
	uint64_t users;

	fresh();
	h_promote(&h, &s, 2, 0, 2, 3);
	publish(8);
	n = attached(2, 8);
	tap_ok(record(PREFIX).users == 2 && record(PREFIX).closed && record(2).prefix == PREFIX &&
		       record(2).shared == 8 && record(2).own_page == 2 && record(PREFIX).key[1] == ~100ull,
	       "records tell who shares what");
	tap_ok(destroy(PREFIX) == KVSINK_CODE_SHARED && h.cpl.address == 2, "a prefix in use stays");
	destroy(1);
	users = record(PREFIX).users;
	tap_ok(users == 1 && rows_from_sram(&n, 7) == 2, "it outlives its publisher");
	destroy(2);
	tap_ok(!record(PREFIX).users && sram_used() == 512, "without users it is still there");
	tap_ok(!destroy(PREFIX) && !sram_used(), "and ends when it is asked to, with its SRAM");
	n = created(3);
	tap_ok(h_attach(&h, &n, PREFIX, 8) == KVSINK_CODE_BAD_STREAM, "then nobody begins with it");
}

static void scrubbed_page(void)
{
	const uint8_t *page;
	uint64_t offset;
	bool clear = true;

	fresh();
	publish(10);
	memcpy(&offset, h.hbm + p.page_table + 2 * 8, sizeof(offset));
	page = h.hbm + offset;
	/* [layer][K then V][token][head][element]: tokens 10 and 11 are not the prefix's */
	for (uint32_t plane = 0; plane < 4; plane++)
		for (uint32_t i = 0; i < 2 * ROW; i++)
			clear &= !page[plane * 4 * ROW + 2 * ROW + i];
	tap_ok(clear, "the copy of part of a page has no row behind the prefix");
}

static void detached(void)
{
	float before[64], after[64];
	struct h_stream n;

	fresh();
	publish(14);
	n = attached(2, 14);
	h_fill(&h, &n, 14, 3);
	h_queries(&h, 3, 64);
	h_attend_cmd(&h, &n, 1, 16, 1);
	h_do(&h);
	h_get(&h, H_OUT, before, sizeof(before));
	tap_ok(!h_detach(&h, &n, 3, 2) && record(2).own_page == 1 && record(2).prefix == PREFIX,
	       "some pages become the stream's own");
	tap_ok(h_detach(&h, &n, 3, 1) == KVSINK_CODE_SEQUENCE && h.cpl.address == 1,
	       "from the last to the first");
	tap_ok(!h_detach(&h, &n, 1, 1) && !record(2).prefix && !record(2).shared && record(PREFIX).users == 1,
	       "after the first one it shares nothing");
	tap_ok(h_detach(&h, &n, 0, 0) == KVSINK_CODE_NOT_SHARED && h.cpl.address == 2, "and does so once");
	destroy(1);
	destroy(PREFIX);
	memset(h.hbm + s.pages, 0x55, 4 * 4096);
	h_attend_cmd(&h, &n, 1, 16, 1);
	h_do(&h);
	h_get(&h, H_OUT, after, sizeof(after));
	tap_ok(!memcmp(before, after, sizeof(before)),
	       "its rows are as they were, whatever becomes of the prefix's");
	tap_ok(!h_promote(&h, &n, 3, 0, 2, 3), "it may promote them now");
}

static void short_prefix(void)
{
	struct h_stream n;

	fresh();
	publish(3);
	n = attached(2, 2);
	tap_ok(record(2).own_page == 0 && record(2).shared == 2 && record(PREFIX).users == 2,
	       "a prefix shorter than a page is shared in SRAM, its rows are copies");
	tap_ok(!h_detach(&h, &n, 0, 0) && record(PREFIX).users == 1, "it is left without copying a page");
}

/* ---- chains ---- */

static void chains(void)
{
	uint64_t id = PREFIX;
	struct h_stream n;
	uint32_t code = 0, tokens = 1;

	fresh();
	h_fill(&h, &s, TOKENS, 20);
	for (; tokens <= KVSINK_MAX_PREFIX_DEPTH && !code; tokens++)
		code = h_publish_prefix(&h, &s, id++, tokens, NULL);
	tap_ok(!code, "%u prefixes on one another", KVSINK_MAX_PREFIX_DEPTH);
	tap_ok(h_publish_prefix(&h, &s, id, tokens, NULL) == KVSINK_CODE_DEPTH, "one more is refused");
	n = created(2);
	tap_ok(!h_attach(&h, &n, PREFIX + 12, 11), "a stream begins with the last but some");
	p.id = PREFIX + 2;
	h_queries(&h, 3, 64);
	tap_ok(!h_promote(&h, &(struct h_stream){.id = PREFIX + 2}, 2, 0, 2, 3) && !h_barrier(&h, &n) &&
		       rows_from_sram(&n, 10) == 2 && rows_from_sram(&s, 30) == 2,
	       "and reads entries of the first ones");
	tap_ok(h_promote(&h, &(struct h_stream){.id = PREFIX + 3}, 2, 0, 2, 3) == KVSINK_CODE_SHARED,
	       "each has only its own tokens");
	for (destroy(2), destroy(1), id = PREFIX + KVSINK_MAX_PREFIX_DEPTH; id-- > PREFIX && !code;)
		code = destroy(id);
	tap_ok(!code && kvsink_mmio_read(h.chip, KVSINK_REG_STREAMS_LIVE) == 0 && !sram_used(),
	       "they end from the last to the first");
}

/* ---- the cascade ---- */

static void ask_both(const struct h_stream *a, const struct h_stream *b, uint32_t mode, bool together,
		     float *out)
{
	const struct h_stream *of[2] = {a, b};

	for (unsigned i = 0; i < 2; i++) {
		struct kvsink_cmd *cmd;
		union kvsink_item item = {.attend = {.stream = b->id, .layer = 0, .first = 15, .count = 1}};

		if (together && i)
			break;
		cmd = h_attend_cmd(&h, of[i], 0, 15, 1);
		cmd->attend.mode = mode;
		if (together) {
			cmd->attend.item_count = 2;
			h_item(&h, &item);
		} else {
			h_queries(&h, 7 + i, 64);
		}
		if (h_do(&h))
			tap_ok(false, "ATTEND: %s", kvsink_code_name(h.cpl.code));
		h_get(&h, H_OUT, out + i * 64, 64 * 4);
	}
	if (together)
		h_get(&h, H_OUT + 64 * 4, out + 64, 64 * 4);
}

static void cascade(void)
{
	struct h_stream a, b;
	float alone[128], together[128], q[64];
	uint64_t one, two, saved;

	fresh();
	publish(14);
	a = attached(2, 14);
	b = attached(3, 13);
	h_fill(&h, &a, 14, 2);
	b.rows = 3;
	h_fill(&h, &b, 13, 3);
	added(KVSINK_COUNTER_KV_HBM_READ);
	added(KVSINK_COUNTER_SHARED_HBM_SAVED);
	ask_both(&a, &b, KVSINK_ATTEND_CANONICAL, false, alone);
	two = added(KVSINK_COUNTER_KV_HBM_READ);
	tap_ok(two == 2 * 16 * 2 * ROW && !added(KVSINK_COUNTER_SHARED_HBM_SAVED),
	       "two commands read every row twice");
	for (unsigned i = 2; i--;) {
		h_queries(&h, 7 + i, 64);
		h_get(&h, H_Q, q, sizeof(q));
		h_put(&h, H_Q + i * sizeof(q), q, sizeof(q));
	}
	ask_both(&a, &b, KVSINK_ATTEND_CANONICAL, true, together);
	one = added(KVSINK_COUNTER_KV_HBM_READ);
	saved = added(KVSINK_COUNTER_SHARED_HBM_SAVED);
	tap_ok(saved == 12 * 2 * ROW && one + saved == two, "one reads the pages that both share once");
	tap_ok(!memcmp(alone, together, sizeof(alone)), "with the same bits");
	h_promote(&h, &p, 3, 0, 1, 3);
	h_barrier(&h, &a);
	added(KVSINK_COUNTER_KV_SRAM_READ);
	ask_both(&a, &b, KVSINK_ATTEND_SPLIT, true, together);
	tap_ok(added(KVSINK_COUNTER_KV_SRAM_READ) == 2 * ROW &&
		       added(KVSINK_COUNTER_SHARED_HBM_SAVED) == 11 * 2 * ROW,
	       "rows in SRAM, too");
	ask_both(&a, &b, KVSINK_ATTEND_GATED, true, together);
	tap_ok(!added(KVSINK_COUNTER_SHARED_HBM_SAVED), "gated queries choose by themselves");
}

/* ---- swap, seal, reset ---- */

static void swapped(void)
{
	float before[64], after[64];
	struct kvsink_cmd *cmd;
	struct h_stream n;
	uint64_t image;

	fresh();
	publish(14);
	n = attached(2, 14);
	h_fill(&h, &n, 14, 3);
	h_queries(&h, 3, 64);
	h_attend_cmd(&h, &n, 1, 16, 1);
	h_do(&h);
	h_get(&h, H_OUT, before, sizeof(before));
	image = record(2).image_bytes;
	tap_ok(record(1).image_bytes - image == 0 || record(1).own_page == 3,
	       "images are of the pages that are a stream's own");
	tap_ok(!h_swap_out(&h, &n, H_FREE, image) && h.cpl.result[2] == 32, "it leaves");
	cmd = h_cmd(&h, KVSINK_OP_SWAP_PLACE);
	cmd->swap_place = (struct kvsink_cmd_swap_place){2, 12 << 20, 13 << 20};
	tap_ok(!h_priv(&h) && !h_map(&h, &n, 3, 2), "its new table begins with the prefix's pages");
	h_swap_in_cmd(&h, &n, H_FREE);
	tap_ok(!h_do(&h), "it comes back");
	h_attend_cmd(&h, &n, 1, 16, 1);
	h_do(&h);
	h_get(&h, H_OUT, after, sizeof(after));
	tap_ok(!memcmp(before, after, sizeof(before)), "as it was");
	kvsink_mmio_write(h.chip, KVSINK_REG_CONTROL, KVSINK_CONTROL_RESET_MASK);
	h_start(&h);
	h_attend_cmd(&h, &n, 1, 16, 1);
	h_do(&h);
	h_get(&h, H_OUT, after, sizeof(after));
	tap_ok(!memcmp(before, after, sizeof(before)) && record(PREFIX).users == 2, "a reset parts nobody");
}

static void seal_geometry(struct h_stream *g)
{
	g->format = KVSINK_FORMAT_FP16;
	g->d_k = g->d_v = 32;
	g->seal_k = g->seal_v = KVSINK_FORMAT_INT8;
}

static void sealed(void)
{
	struct h_stream n;

	if (h.chip)
		h_close(&h);
	h_open(&h, many);
	s = h_geometry(1);
	seal_geometry(&s);
	h_stream(&h, &s);
	h_fill(&h, &s, 0, TOKENS);
	h_seal(&h, &s, 4);
	tap_ok(h_publish_prefix(&h, &s, PREFIX, 3, &p) == KVSINK_CODE_PARTED && h.cpl.address == 0,
	       "no prefix ends within a sealed page");
	publish(10);
	n = h_geometry(2);
	seal_geometry(&n);
	h_create(&h, &n);
	tap_ok(h_attach(&h, &n, PREFIX, 2) == KVSINK_CODE_PARTED, "nor does what a stream takes of it");
	tap_ok(!h_attach(&h, &n, PREFIX, 10) && record(2).sealed == 4, "what is sealed is inherited");
	h_fill(&h, &n, 10, 4);
	tap_ok(h_seal(&h, &n, 12) == KVSINK_CODE_SHARED && h.cpl.address == 4,
	       "a prefix's pages are not sealed");
	h_promote(&h, &p, 9, 0, 2, 3);
	h_barrier(&h, &n);
	h_queries(&h, 3, 128);
	tap_ok(rows_from_sram(&n, 13) == 2, "an entry in the page that was copied serves the stream");
}

/* The stream seals its own copy of the page in which the prefix ends: those rows are others now. */
static void sealed_copy(void)
{
	struct h_stream n;

	if (h.chip)
		h_close(&h);
	h_open(&h, many);
	s = h_geometry(1);
	seal_geometry(&s);
	h_stream(&h, &s);
	h_fill(&h, &s, 0, TOKENS);
	h_seal(&h, &s, 8);
	publish(10);
	n = h_geometry(2);
	seal_geometry(&n);
	h_create(&h, &n);
	h_attach(&h, &n, PREFIX, 10);
	h_fill(&h, &n, 10, 4);
	h_promote(&h, &p, 9, 0, 2, 3);
	h_promote(&h, &p, 1, 0, 2, 3);
	h_barrier(&h, &n);
	h_queries(&h, 3, 128);
	tap_ok(rows_from_sram(&n, 13) > 2 && !h_seal(&h, &n, 12) && record(2).shared == 8,
	       "a page of its own may be sealed, and its tokens are no longer the prefix's");
	added(KVSINK_COUNTER_KV_SRAM_READ);
	h_attend_cmd(&h, &n, 0, 13, 1);
	h_do(&h);
	tap_ok(added(KVSINK_COUNTER_KV_SRAM_READ) == 2 * (32 + 2) * 2,
	       "entries of them do not serve it any more");
}

/* ---- refused ---- */

static uint32_t publish_with(uint32_t tokens, uint64_t id, uint64_t table, uint64_t scores, uint64_t page)
{
	h_cmd(&h, KVSINK_OP_PREFIX_PUBLISH)->prefix_publish =
		(struct kvsink_cmd_prefix_publish){.stream = 1,
						   .prefix = id,
						   .page_table = table,
						   .scores = scores,
						   .page = page,
						   .tokens = tokens};
	return h_priv(&h);
}

static uint32_t attach_with(uint64_t stream, uint64_t prefix, uint32_t tokens, uint64_t page)
{
	h_cmd(&h, KVSINK_OP_PREFIX_ATTACH)->prefix_attach = (struct kvsink_cmd_prefix_attach){
		.stream = stream, .prefix = prefix, .page = page, .tokens = tokens};
	return h_priv(&h);
}

static void refused_publish(void)
{
	uint64_t end = h.config.hbm_bytes;

	h_append(&h, &s, 0, TOKENS, 1);
	tap_ok(publish_with(8, 9, 8 << 20, 9 << 20, 0) == KVSINK_CODE_BUSY, "PUBLISH in an open step");
	h_cmd(&h, KVSINK_OP_STEP_END)->step_end.stream = 1;
	h.cmds[h.desc.cmd_count - 1].flags = KVSINK_STEP_ABORT;
	h_do(&h);
	tap_ok(publish_with(0, 9, 8 << 20, 9 << 20, 0) == KVSINK_CODE_BAD_FIELD, "of no token");
	tap_ok(publish_with(15, 9, 8 << 20, 9 << 20, 0) == KVSINK_CODE_BAD_FIELD, "of more than there are");
	tap_ok(publish_with(8, 0, 8 << 20, 9 << 20, 0) == KVSINK_CODE_BAD_FIELD, "without an id");
	tap_ok(publish_with(8, 1, 8 << 20, 9 << 20, 0) == KVSINK_CODE_EXISTS,
	       "with the id of another stream");
	tap_ok(publish_with(8, 9, 100, 9 << 20, 0) == KVSINK_CODE_BAD_RANGE,
	       "with a table that is not aligned");
	tap_ok(publish_with(8, 9, 8 << 20, end, 0) == KVSINK_CODE_BAD_RANGE, "with scores beyond HBM");
	tap_ok(publish_with(9, 9, 8 << 20, 9 << 20, end) == KVSINK_CODE_BAD_RANGE, "with a page beyond HBM");
	tap_ok(publish_with(8, 9, 8 << 20, 9 << 20, 4096) == KVSINK_CODE_BAD_FIELD,
	       "with a page that it needs not");
	h_cmd(&h, KVSINK_OP_PREFIX_PUBLISH)->prefix_publish =
		(struct kvsink_cmd_prefix_publish){.stream = 1, .prefix = 9, .tokens = 8};
	tap_ok(h_do(&h) == KVSINK_CODE_TENANT, "without privilege");
	tap_ok(record(1).length == TOKENS && !record(1).prefix &&
		       kvsink_mmio_read(h.chip, KVSINK_REG_STREAMS_LIVE) == 1,
	       "none of these has done anything");
}

static void refused_attach(void)
{
	struct h_stream n = created(2), other = h_geometry(3);
	uint64_t end = h.config.hbm_bytes;

	publish(10);
	tap_ok(attach_with(2, 1, 8, 0) == KVSINK_CODE_NOT_SHARED, "ATTACH to a stream that is no prefix");
	tap_ok(attach_with(2, PREFIX, 0, 0) == KVSINK_CODE_BAD_FIELD &&
		       attach_with(2, PREFIX, 11, 0) == KVSINK_CODE_BAD_FIELD,
	       "of no token, or of more than it has");
	tap_ok(attach_with(2, PREFIX, 9, end) == KVSINK_CODE_BAD_RANGE, "with a page beyond HBM");
	tap_ok(attach_with(2, PREFIX, 8, 4096) == KVSINK_CODE_BAD_FIELD, "with a page that it needs not");
	tap_ok(attach_with(1, PREFIX, 8, 0) == KVSINK_CODE_BUSY, "of a stream that has tokens");
	h_map(&h, &n, 0, 1);
	tap_ok(attach_with(2, PREFIX, 8, 0) == KVSINK_CODE_BUSY, "or pages");
	other.kv_heads = 4;
	h_create(&h, &other);
	tap_ok(attach_with(3, PREFIX, 8, 0) == KVSINK_CODE_GEOMETRY && h.cpl.address == UINT64_MAX,
	       "of another geometry");
	other = h_geometry(4);
	other.window = 5;
	h_create(&h, &other);
	tap_ok(attach_with(4, PREFIX, 8, 0) == KVSINK_CODE_GEOMETRY && h.cpl.address == 0,
	       "or with other layers");
	other = h_geometry(5);
	other.max_tokens = 8;
	h_create(&h, &other);
	tap_ok(attach_with(5, PREFIX, 9, 4096) == KVSINK_CODE_BAD_FIELD, "of more than the stream may have");
	tap_ok(attach_with(77, PREFIX, 8, 0) == KVSINK_CODE_BAD_STREAM &&
		       attach_with(2, 77, 8, 0) == KVSINK_CODE_BAD_STREAM,
	       "of what is not there");
	tap_ok(record(PREFIX).users == 1, "none of these has attached anything");
}

/* Whatever would change a prefix. */
static void closed(void)
{
	static const uint16_t ops[] = {
		KVSINK_OP_PAGE_MAP,	  KVSINK_OP_APPEND,	   KVSINK_OP_SCORE,	   KVSINK_OP_STEP_END,
		KVSINK_OP_SCORE_IMPORT,	  KVSINK_OP_LAYER_HEADS,   KVSINK_OP_SEAL,	   KVSINK_OP_SWAP_OUT,
		KVSINK_OP_PREFIX_PUBLISH, KVSINK_OP_PREFIX_ATTACH, KVSINK_OP_PREFIX_DETACH};
	bool all = true;

	for (unsigned i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		h_cmd(&h, ops[i])->words[0] = PREFIX;
		all &= h_priv(&h) == KVSINK_CODE_CLOSED && h.cpl.address == PREFIX;
	}
	tap_ok(all, "nothing changes a prefix");
	h.tenant = H_TENANT + 1;
	h_cmd(&h, KVSINK_OP_APPEND)->words[0] = PREFIX;
	tap_ok(h_do(&h) == KVSINK_CODE_TENANT, "another tenant is not even told that it is one");
	h.tenant = H_TENANT;
	h_queries(&h, 3, 64);
	h_attend_cmd(&h, &p, 0, 9, 1);
	tap_ok(!h_do(&h), "it may be attended to");
	tap_ok(!h_config(&h, PREFIX, KVSINK_PARAM_T_SINK, 0), "and have parameters");
}

int main(void)
{
	promoted_once();
	moved_while_copied();
	contracts();
	automatic();
	weights();
	tails();
	ends();
	scrubbed_page();
	detached();
	short_prefix();
	chains();
	cascade();
	swapped();
	sealed();
	sealed_copy();
	fresh();
	refused_publish();
	refused_attach();
	closed();
	h_close(&h);
	return tap_done();
}
