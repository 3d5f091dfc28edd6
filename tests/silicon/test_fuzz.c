// SPDX-License-Identifier: MIT
/*
 * Hostile input: jobs of random and half-random commands, registers, resets in mid-item, host memory
 * that refuses. The seed is fixed. What must hold: nothing is touched outside of the memories (the
 * sanitizers of `make silicon-asan` see to that), SRAM and tags stay consistent, and a clean job still
 * works afterwards.
 */
#include <stdio.h>

#include "harness.h"
#include "tap.h"

#define JOBS 24000

static struct harness h;
static uint64_t seed = 2026;
static struct h_stream streams[3];
static struct kvsink_item_work *flying[2];
static unsigned completed[KVSINK_CODE_COUNT];

static uint32_t below(uint32_t n)
{
	return h_random(&seed) % n;
}

static uint64_t odd_value(void)
{
	static const uint64_t values[] = {0,	      1,	  2,	      3,	  4,	 0xffff,
					  0x10000,    0x7fffffff, 0xffffffff, 1ull << 32, ~0ull, ~0ull - 3,
					  1ull << 63, 4096,	  16 << 20,   64 << 10};

	return values[below(sizeof(values) / sizeof(values[0]))];
}

static struct kvsink_ref some_ref(void)
{
	struct kvsink_ref ref = h_gart(below(8) * 0x80000);

	if (!below(6))
		ref.space = below(5);
	if (!below(10))
		ref.offset = odd_value();
	return ref;
}

static void some_create(struct kvsink_cmd *cmd)
{
	cmd->stream_create = (struct kvsink_cmd_stream_create){
		.stream = 1 + below(3),
		.tenant = H_TENANT,
		.layers = 2,
		.q_heads = 4,
		.kv_heads = 2,
		.d_k = 16,
		.d_v = 16,
		.format = (uint16_t)below(2),
		.page_tokens = 4,
		.max_tokens = 64,
		.page_table = 4096ull * below(64),
		.scores = 4096ull * below(64),
		.score_groups = 1,
		.group_end = {2},
	};
}

/* Journals lie where no stream does, mostly; windows are short, so that many end. */
static void some_window(struct kvsink_cmd *cmd, uint64_t stream)
{
	if (cmd->opcode == KVSINK_OP_WINDOW_COMMIT)
		cmd->window_commit = (struct kvsink_cmd_window_commit){stream, below(4), 0};
	else
		cmd->window_begin = (struct kvsink_cmd_window_begin){
			stream, (14u << 20) + below(64) * 4096ull, 1u << 18, 1 + below(8), 0};
	if (!below(20))
		cmd->window_begin.journal = odd_value();
}

/* Some take several calls of kvsink_run(). */
static void some_move(struct kvsink_cmd *cmd)
{
	switch (cmd->opcode) {
	case KVSINK_OP_COPY:
		cmd->copy = (struct kvsink_cmd_copy){some_ref(), some_ref(), 1 + below(20000)};
		if (!below(30))
			cmd->copy = (struct kvsink_cmd_copy){h_hbm(below(1 << 20)), h_hbm(9 << 20),
							     (5 << 20) + below(2 << 20)};
		break;
	case KVSINK_OP_FILL:
		cmd->fill = (struct kvsink_cmd_fill){some_ref(), 1 + below(20000), below(256), 0};
		if (!below(30)) {
			cmd->fill.dst = h_hbm(below(8 << 20));
			cmd->fill.bytes = (4 << 20) + below(4 << 20);
		}
		break;
	case KVSINK_OP_GART_INVALIDATE:
		cmd->gart_invalidate = (struct kvsink_cmd_gart_invalidate){below(8) * 128, 1 + below(200)};
		break;
	case KVSINK_OP_WINDOW_BEGIN:
	case KVSINK_OP_WINDOW_COMMIT:
		some_window(cmd, cmd->words[0]);
		break;
	}
}

static void some_contract(uint32_t *dwell_steps, uint64_t *deadline_ns)
{
	*dwell_steps = below(3) ? 0 : below(4);
	*deadline_ns = below(3) ? 0 : h.host_ns + below(1 << 20);
}

/* Up to three items; the last one comes in `item`, which the caller adds. */
static void some_places(uint32_t *first_item, uint32_t *item_count, union kvsink_item *item)
{
	uint32_t n = 1 + below(3);

	*first_item = h.desc.item_count;
	*item_count = n;
	while (n--) {
		*item = (union kvsink_item){.place = {.token = below(20) ? below(50) : KVSINK_TOKEN_ALL,
						      .layer_begin = (uint16_t)below(2),
						      .layer_end = (uint16_t)(1 + below(2)),
						      .head_mask = below(5)}};
		if (n && h.desc.item_count < KVSINK_MAX_ITEMS)
			h_item(&h, item);
	}
}

/* Commands with a list of places. */
static void some_list(struct kvsink_cmd *cmd, union kvsink_item *item)
{
	switch (cmd->opcode) {
	case KVSINK_OP_PROMOTE:
		cmd->flags = below(2) ? KVSINK_PROMOTE_PARTIAL : 0;
		cmd->promote.priority = below(3);
		cmd->promote.due_ns = below(2) ? below(5000) : 0;
		some_contract(&cmd->promote.dwell_steps, &cmd->promote.deadline_ns);
		some_places(&cmd->promote.first_item, &cmd->promote.item_count, item);
		break;
	case KVSINK_OP_EVICT:
		some_places(&cmd->evict.first_item, &cmd->evict.item_count, item);
		cmd->flags = below(4) ? KVSINK_EVICT_ANY : 0;
		break;
	case KVSINK_OP_CONTRACT:
		cmd->contract.priority = below(3);
		some_contract(&cmd->contract.dwell_steps, &cmd->contract.deadline_ns);
		some_places(&cmd->contract.first_item, &cmd->contract.item_count, item);
		break;
	default: /* SEAL */
		some_places(&cmd->seal.first_item, &cmd->seal.item_count, item);
		if (below(2))
			cmd->seal.item_count = 0;
		cmd->seal.tokens = 4 * below(12);
		break;
	}
}

/* Streams leave, and come back where others may lie; not too often, or nothing else would be tried. */
static void some_swap(struct kvsink_cmd *cmd, uint64_t stream)
{
	struct kvsink_ref image = below(4) ? h_gart(H_FREE + (stream - 1) * 0x40000) : some_ref();
	uint64_t room = below(8) ? below(2) * 0x40000 : odd_value();

	switch (cmd->opcode) {
	case KVSINK_OP_SWAP_OUT:
		cmd->swap_out = (struct kvsink_cmd_swap_out){stream, image, below(4) ? 0 : room, {1, 2}};
		break;
	case KVSINK_OP_SWAP_PLACE:
		cmd->flags = below(8) == 0 ? KVSINK_PLACE_NONE : 0;
		cmd->swap_place = (struct kvsink_cmd_swap_place){stream, 4096ull * (2048 + below(1024)),
								 4096ull * (2048 + below(1024))};
		break;
	default:
		cmd->swap_in = (struct kvsink_cmd_swap_in){stream, image, room};
	}
}

/* Prefixes have the ids of streams, which are three: now one is this, now that. */
static void some_prefix(struct kvsink_cmd *cmd, uint64_t stream, union kvsink_item *item)
{
	uint64_t other = 1 + below(6);
	uint32_t tokens = 1 + below(below(3) ? 8 : 60);
	uint64_t page = tokens % 4 ? 4096ull * (2048 + below(1024)) : 0;

	switch (cmd->opcode) {
	case KVSINK_OP_PREFIX_PUBLISH:
		cmd->prefix_publish = (struct kvsink_cmd_prefix_publish){stream,
									 other,
									 4096ull * (2048 + below(1024)),
									 4096ull * (2048 + below(1024)),
									 page,
									 {7, 8},
									 tokens,
									 0};
		break;
	case KVSINK_OP_PREFIX_ATTACH:
		cmd->prefix_attach = (struct kvsink_cmd_prefix_attach){stream, other, page, tokens, 0};
		break;
	default:
		for (unsigned i = 0; i < 4; i++)
			item->pages[i] = 4096ull * (2048 + below(1024));
		cmd->prefix_detach =
			(struct kvsink_cmd_page_map){stream, below(3), below(4), h.desc.item_count, 0};
	}
}

/* Rows of a stream, and what is asked of them. */
static void some_rows(struct kvsink_cmd *cmd, const struct h_stream *s, uint32_t layer, uint32_t first,
		      uint32_t count)
{
	switch (cmd->opcode) {
	case KVSINK_OP_APPEND:
		cmd->append =
			(struct kvsink_cmd_append){s->id, layer, first, count, 0, some_ref(), some_ref()};
		break;
	case KVSINK_OP_SCORE:
		cmd->score = (struct kvsink_cmd_score){s->id, layer, first, count, 0, some_ref(), some_ref()};
		break;
	case KVSINK_OP_CLASSIFY:
		cmd->classify = (struct kvsink_cmd_classify){s->id, 1 + below(3), below(50), some_ref()};
		break;
	case KVSINK_OP_SCORE_IMPORT:
		cmd->score_import = (struct kvsink_cmd_score_import){
			.stream = s->id, .group = below(2), .count = 40, .src = some_ref()};
		break;
	case KVSINK_OP_ATTEND:
		cmd->attend = (struct kvsink_cmd_attend){0,	     1 + below(4), 0,	       0,
							 some_ref(), some_ref(),   some_ref(), some_ref()};
		break;
	}
}

/* A command that would often be valid. */
static void some_cmd(void)
{
	const struct h_stream *s = &streams[below(3)];
	unsigned op = 1 + below(KVSINK_OP_COUNT - 1);
	uint32_t first = below(70), count = 1 + below(8), layer = below(2);
	struct kvsink_cmd *cmd;
	union kvsink_item item = {
		.attend = {.stream = s->id, .layer = layer, .first = first, .count = count}};

	cmd = h_cmd(&h, op);
	cmd->words[0] = s->id;
	switch (op) {
	case KVSINK_OP_STREAM_CREATE:
		some_create(cmd);
		item.layer = (struct kvsink_layer){.scale = 0x3f800000, .window = below(3) * 7};
		h_item(&h, &item);
		break;
	case KVSINK_OP_PAGE_MAP:
		for (unsigned i = 0; i < 4; i++)
			item.pages[i] = 4096ull * below(4096);
		cmd->page_map = (struct kvsink_cmd_page_map){s->id, below(4), 1 + below(4), 0, 0};
		break;
	case KVSINK_OP_CONFIG:
		cmd->config.param = below(KVSINK_PARAM_COUNT + 1);
		cmd->config.group = below(3) ? KVSINK_GROUP_ALL : below(3);
		cmd->config.value = below(3) ? below(5) : odd_value();
		break;
	case KVSINK_OP_QUERY:
		cmd->query = (struct kvsink_cmd_query){below(2) ? s->id : 0, below(12), below(2), below(40),
						       below(300),	     some_ref()};
		break;
	case KVSINK_OP_APPEND:
	case KVSINK_OP_SCORE:
	case KVSINK_OP_CLASSIFY:
	case KVSINK_OP_SCORE_IMPORT:
	case KVSINK_OP_ATTEND:
		some_rows(cmd, s, layer, first, count);
		break;
	case KVSINK_OP_PROMOTE:
	case KVSINK_OP_EVICT:
	case KVSINK_OP_CONTRACT:
	case KVSINK_OP_SEAL:
		some_list(cmd, &item);
		break;
	case KVSINK_OP_STEP_END:
		cmd->step_end.count = count;
		break;
	case KVSINK_OP_ADVANCE:
		cmd->advance.ns = below(300);
		break;
	case KVSINK_OP_SWAP_OUT:
	case KVSINK_OP_SWAP_PLACE:
	case KVSINK_OP_SWAP_IN:
		some_swap(cmd, s->id);
		break;
	case KVSINK_OP_PREFIX_PUBLISH:
	case KVSINK_OP_PREFIX_ATTACH:
	case KVSINK_OP_PREFIX_DETACH:
		some_prefix(cmd, s->id, &item);
		break;
	default:
		some_move(cmd);
	}
	if (h.desc.item_count < KVSINK_MAX_ITEMS)
		h_item(&h, &item);
	if (!below(8))
		cmd->words[below(15)] = odd_value();
	if (!below(60))
		for (unsigned i = 0; i < 15; i++)
			cmd->words[i] = (uint64_t)h_random(&seed) << 32 | h_random(&seed);
}

/* Advance a ring; items stay in flight for a while, so that rings meet. */
static void step(unsigned ring)
{
	if (flying[ring] && below(2)) {
		kvsink_exec(flying[ring], 0, 1);
		kvsink_retire(h.chip, flying[ring]);
		flying[ring] = NULL;
	}
	struct kvsink_item_work *work = kvsink_run(h.chip, ring);

	if (work)
		flying[ring] = work;
}

static void settle(void)
{
	for (unsigned round = 0; round < 100; round++)
		for (unsigned r = 0; r < 2; r++)
			step(r);
}

static uint32_t reg(uint32_t offset)
{
	return kvsink_mmio_read(h.chip, offset);
}

static uint32_t head(unsigned ring)
{
	return reg(KVSINK_RING_BASE + ring * KVSINK_RING_STRIDE + KVSINK_RING_HEAD);
}

/* Entries by QUERY: no two overlap in SRAM, none leaves it, their sum is what the register says. */
static bool consistent(void)
{
	static struct kvsink_tag_rec rec[64];
	struct kvsink_list_head list;
	uint64_t sum = 0;
	uint32_t valid = 0;

	h_query_cmd(&h, KVSINK_QUERY_TAGS, 0, 0, 64);
	if (h_priv(&h))
		return false;
	h_get(&h, H_ANSWER, &list, sizeof(list));
	h_get(&h, H_ANSWER + sizeof(list), rec, list.written * sizeof(rec[0]));
	for (uint32_t i = 0; i < list.written; i++) {
		sum += rec[i].sram_bytes;
		valid += rec[i].flags & KVSINK_TAG_VALID;
		if (rec[i].sram_offset + (uint64_t)rec[i].sram_bytes > h.config.sram_bytes)
			return false;
		for (uint32_t j = 0; j < i; j++)
			if (rec[i].sram_offset < rec[j].sram_offset + rec[j].sram_bytes &&
			    rec[j].sram_offset < rec[i].sram_offset + rec[i].sram_bytes)
				return false;
	}
	return sum == reg(KVSINK_REG_SRAM_USED) && valid == reg(KVSINK_REG_TAGS_VALID);
}

static void start_over(enum kvsink_reset_kind kind)
{
	kvsink_reset(h.chip, kind);
	h_start(&h);
	for (uint32_t page = 0; page < H_GART_PAGES; page++)
		h_gart_set(&h, page, h_gart_bus(page) | KVSINK_GART_VALID);
	h.refuse_bytes = 0;
	kvsink_inject(h.chip, KVSINK_INJECT_DMA_ERROR, 0);
	kvsink_inject(h.chip, KVSINK_INJECT_HANG, 0);
	kvsink_inject(h.chip, KVSINK_INJECT_ECC, 0);
}

static void mischief(void)
{
	switch (below(9)) {
	case 8:
		kvsink_inject(h.chip, KVSINK_INJECT_ECC, 1 + below(3));
		break;
	case 0:
		h_gart_set(&h, below(8) * 128, odd_value());
		break;
	case 1:
		kvsink_inject(h.chip, KVSINK_INJECT_DMA_ERROR, 1);
		break;
	case 2:
		h.refuse_bus = HOST_BUS + below(HOST_BYTES);
		h.refuse_bytes = below(2) * 4096;
		break;
	case 3:
		kvsink_mmio_write(h.chip, below(KVSINK_REGS_BYTES / 4) * 4, (uint32_t)odd_value());
		break;
	case 4:
		memset(h.hbm + below(64) * 4096, (int)below(256),
		       4096); /* page tables and scores lie there */
		/* and there pages, with the bitmaps of sealed ones */
		memset(h.hbm + (1 << 20) + below(1 << 20), (int)below(256), below(2048));
		break;
	case 5:
		kvsink_reset(h.chip, below(4) ? KVSINK_RESET_ENGINE : KVSINK_RESET_COLD);
		h_start(&h);
		break;
	case 6:
		for (uint32_t at = 0; at < 0x1000; at += 4)
			(void)reg(at);
		break;
	default:
		start_over(KVSINK_RESET_ENGINE);
	}
}

static void set_up(void)
{
	h.hbm_next = 1 << 20;
	for (unsigned i = 0; i < 3; i++) {
		streams[i] = h_geometry(1 + i);
		if (i) {
			streams[i].d_k = streams[i].d_v = 32;
			streams[i].format = i == 1 ? KVSINK_FORMAT_F32 : KVSINK_FORMAT_FP16;
			streams[i].seal_k = i == 1 ? KVSINK_FORMAT_INT8 : KVSINK_FORMAT_INT4_CHANNEL;
			streams[i].seal_v = i == 1 ? KVSINK_FORMAT_INT4 : KVSINK_FORMAT_INT8;
		}
		h_stream(&h, &streams[i]);
		h_fill(&h, &streams[i], 0, 40);
	}
}

static void throw_jobs(unsigned jobs)
{
	for (unsigned i = 0; i < jobs; i++) {
		unsigned ring = below(2), cmds = below(6);
		uint32_t index, before = head(ring);

		for (unsigned c = 0; c < cmds; c++)
			some_cmd();
		if (!below(50))
			h.desc.cmd_count = (uint32_t)odd_value();
		if (!below(50))
			h.desc.item_count = (uint32_t)odd_value();
		h.flags = below(2) ? KVSINK_JOB_PRIVILEGED : 0;
		h.generation = below(30) ? 0 : 1 + below(4);
		h.host_ns += below(1 << 18);
		if (h.published[ring] - before >= h.config.ring_slots) {
			memset(&h.desc, 0, sizeof(h.desc));
		} else {
			index = h_submit(&h, ring);
			for (unsigned n = 0; n < 4; n++)
				step(below(2));
			if (head(ring) == index + 1) {
				uint32_t code = h_completion(&h, ring, index).code;

				completed[code < KVSINK_CODE_COUNT ? code : 0]++;
			}
		}
		if (!below(20))
			mischief();
		if (!below(60)) {
			settle();
			start_over(KVSINK_RESET_COLD);
			h.flags = 0;
			h.generation = 0;
			set_up();
		}
	}
}

/* ---- all of it again ---- */

static int to_tape(void *opaque, const void *data, size_t bytes)
{
	return fwrite(data, 1, bytes, opaque) != bytes;
}

static size_t from_tape(void *opaque, void *data, size_t bytes)
{
	return fread(data, 1, bytes, opaque);
}

static FILE *record(void)
{
	FILE *tape = tmpfile();

	if (!tape) {
		printf("Bail out! no file to record to\n");
		exit(1);
	}
	kvsink_record(h.chip, to_tape, tape);
	start_over(KVSINK_RESET_COLD);
	return tape;
}

static void replay(FILE *tape)
{
	struct kvsink_replay_result result;
	struct kvsink_chip_config config;
	int rc = kvsink_record_end(h.chip);

	rewind(tape);
	rc |= kvsink_replay_config(from_tape, tape, &config);
	config.sram = aligned_alloc(4096, config.sram_bytes);
	config.hbm = aligned_alloc(4096, config.hbm_bytes);
	rc |= kvsink_replay(from_tape, tape, &config, &result);
	tap_ok(!rc,
	       "another chip that is told the same does the same: %llu records, %llu and %llu bytes of DMA "
	       "%s",
	       (unsigned long long)result.records, (unsigned long long)result.bytes_in,
	       (unsigned long long)result.bytes_out, result.why);
	free(config.sram);
	free(config.hbm);
	fclose(tape);
}

int main(void)
{
	unsigned codes = 0;
	FILE *tape;

	h_open(&h, NULL);
	tape = record();
	set_up();
	for (unsigned round = 0; round < 6; round++) {
		throw_jobs(JOBS / 6);
		settle();
		start_over(KVSINK_RESET_ENGINE);
		h.flags = 0;
		h.generation = 0;
		tap_ok(consistent(), "after %u jobs tags and SRAM agree", JOBS / 6 * (round + 1));
		for (uint32_t t = 0; t < 12; t++)
			h_promote(&h, &streams[t % 3], t, 0, 2, 3);
		tap_ok(consistent(), "and with new entries");
	}
	for (unsigned i = 0; i < KVSINK_CODE_COUNT; i++) {
		tap_diag("%-12s %u", kvsink_code_name(i), completed[i]);
		codes += completed[i] > 0;
	}
	tap_ok(completed[KVSINK_CODE_OK] > JOBS / 20, "enough of the jobs were valid to reach deep");
	tap_ok(codes >= 12, "and failed in %u different ways", codes - 1);
	start_over(KVSINK_RESET_COLD);
	set_up();
	h_attend_cmd(&h, &streams[0], 1, 39, 1);
	tap_ok(!h_do(&h), "then a clean job works");
	replay(tape);
	h_close(&h);
	return tap_done();
}
