// SPDX-License-Identifier: MIT
/*
 * Every result code, each from the mistake that it names, with the address that its description
 * promises. The last test checks the table: no code is without a test.
 */
#include "harness.h"
#include "tap.h"

#define FIELD(member) offsetof(struct kvsink_cmd, member)

static struct harness h;
static struct h_stream s;

static void expect(uint32_t code, uint32_t want, uint64_t address, const char *what)
{
	bool ok = code == want && h.cpl.address == address;

	tap_ok(ok, "%s: %s", kvsink_code_name(want), what);
	if (!ok)
		tap_diag("code %s, address 0x%llx, wanted 0x%llx", kvsink_code_name(code),
			 (unsigned long long)h.cpl.address, (unsigned long long)address);
}

static void commands(void)
{
	struct kvsink_cmd *cmd;

	h_cmd(&h, 99);
	expect(h_do(&h), KVSINK_CODE_BAD_OPCODE, 99, "unknown opcode");
	h_cmd(&h, 0);
	expect(h_do(&h), KVSINK_CODE_BAD_OPCODE, 0, "opcode 0");
	cmd = h_cmd(&h, KVSINK_OP_ADVANCE);
	cmd->flags = 1;
	expect(h_do(&h), KVSINK_CODE_BAD_FIELD, FIELD(flags), "unknown flag");
	cmd = h_cmd(&h, KVSINK_OP_ADVANCE);
	cmd->reserved = 1;
	expect(h_do(&h), KVSINK_CODE_BAD_FIELD, FIELD(reserved), "reserved word");
	cmd = h_cmd(&h, KVSINK_OP_ADVANCE);
	cmd->words[3] = 1;
	expect(h_do(&h), KVSINK_CODE_BAD_FIELD, FIELD(words[3]), "word behind the command's own");
	cmd = h_cmd(&h, KVSINK_OP_ADVANCE);
	cmd->advance.ns = 1000000001;
	expect(h_do(&h), KVSINK_CODE_BAD_FIELD, FIELD(advance.ns), "ADVANCE of more than a second");
	h.generation = 7;
	expect(h_do(&h), KVSINK_CODE_STALE, 1, "job of another generation");
	h.generation = 1;
	expect(h_do(&h), KVSINK_CODE_OK, 0, "job of this generation");
	h.generation = 0;
	h.desc.cmd_count = KVSINK_MAX_CMDS + 1;
	expect(h_do(&h), KVSINK_CODE_BAD_FIELD, offsetof(struct kvsink_job_desc, cmd_count),
	       "too many commands");
	h.desc.flags = 2;
	expect(h_do(&h), KVSINK_CODE_BAD_FIELD, offsetof(struct kvsink_job_desc, flags), "unknown job flag");
}

static void streams(void)
{
	struct h_stream other = h_geometry(77);

	s = h_geometry(5);
	h_stream(&h, &s);
	expect(h_create(&h, &s), KVSINK_CODE_EXISTS, 5, "a stream of that id");
	expect(h_step_end(&h, &other, 1), KVSINK_CODE_BAD_STREAM, 77, "no stream of that id");
	h.tenant = 9;
	expect(h_step_end(&h, &s, 1), KVSINK_CODE_TENANT, 5, "another tenant's stream");
	h.tenant = H_TENANT;
	for (uint64_t id = 10; id < 13; id++) {
		other = h_geometry(id);
		h_stream(&h, &other);
	}
	other = h_geometry(20);
	expect(h_create(&h, &other), KVSINK_CODE_STREAMS, 4, "one stream too many");
	h_cmd(&h, KVSINK_OP_STREAM_DESTROY)->stream_destroy.stream = 12;
	expect(h_do(&h), KVSINK_CODE_TENANT, 0, "unprivileged STREAM_DESTROY");
	h_cmd(&h, KVSINK_OP_STREAM_DESTROY)->stream_destroy.stream = 12;
	expect(h_priv(&h), KVSINK_CODE_OK, 0, "privileged STREAM_DESTROY");
	expect(h_create(&h, &other), KVSINK_CODE_OK, 0, "its place is free again");
	other = h_geometry(21);
	h_cmd(&h, KVSINK_OP_LAYER_HEADS)->layer_heads.stream = s.id;
	expect(h_do(&h), KVSINK_CODE_UNSUPPORTED, offsetof(struct kvsink_cmd, layer_heads.stream),
	       "LAYER_HEADS of a stream without PER_HEAD");
}

static void rows(void)
{
	struct kvsink_cmd *cmd;

	expect(h_append(&h, &s, 0, 1, 1), KVSINK_CODE_SEQUENCE, 0, "APPEND that leaves a token out");
	expect(h_append(&h, &s, 0, 0, s.max_tokens + 1), KVSINK_CODE_NOT_RESERVED, s.max_tokens,
	       "APPEND beyond the mapped pages");
	expect(h_step_end(&h, &s, 1), KVSINK_CODE_SEQUENCE, 0, "STEP_END without rows");
	h_fill(&h, &s, 0, 20);
	h_attend_cmd(&h, &s, 0, 20, 1);
	expect(h_do(&h), KVSINK_CODE_SEQUENCE, 20, "ATTEND at a token that is not there");
	h_score_cmd(&h, &s, 0, 1, 1);
	expect(h_do(&h), KVSINK_CODE_SEQUENCE, 0, "SCORE that leaves a query out");
	h_score_cmd(&h, &s, 0, 0, 21);
	expect(h_do(&h), KVSINK_CODE_SEQUENCE, 20, "SCORE beyond the length");
	cmd = h_attend_cmd(&h, &s, 0, 0, 1);
	cmd->attend.mode = KVSINK_ATTEND_MODE_COUNT;
	expect(h_do(&h), KVSINK_CODE_BAD_FIELD, FIELD(attend.mode), "ATTEND in a mode that is not there");
	h_score_cmd(&h, &s, 0, 0, 20);
	expect(h_do(&h), KVSINK_CODE_OK, 0, "SCORE");
	h_cmd(&h, KVSINK_OP_CLASSIFY)->classify = (struct kvsink_cmd_classify){s.id, 1, 4, h_gart(H_ANSWER)};
	expect(h_do(&h), KVSINK_CODE_OK, 0, "CLASSIFY");
	expect(h_config(&h, s.id, KVSINK_PARAM_LOCAL_WINDOW, 3), KVSINK_CODE_BUSY, FIELD(config.value),
	       "another local window once scores exist");
	expect(h_config(&h, s.id, KVSINK_PARAM_T_SINK, 0x3f000000), KVSINK_CODE_OK, 0, "another threshold");
	expect(h_config(&h, s.id, KVSINK_PARAM_T_EVICT, 0x3f000000), KVSINK_CODE_CONFLICT,
	       KVSINK_PARAM_T_PROMOTE, "T_EVICT above T_PROMOTE");
	expect(h_config(&h, s.id, KVSINK_PARAM_T_EVICT, 0x3f000000), KVSINK_CODE_CONFLICT,
	       KVSINK_PARAM_T_PROMOTE, "T_EVICT above T_PROMOTE");
}

static void operands(void)
{
	struct kvsink_cmd *cmd;
	uint64_t end = (uint64_t)H_GART_PAGES * KVSINK_GART_PAGE;

	cmd = h_cmd(&h, KVSINK_OP_COPY);
	cmd->copy = (struct kvsink_cmd_copy){h_gart(end - 4), h_gart(0), 8};
	expect(h_do(&h), KVSINK_CODE_BAD_RANGE, end - 4, "operand crosses the end of the GART");
	h_gart_set(&h, 900, 0);
	cmd = h_cmd(&h, KVSINK_OP_COPY);
	cmd->copy = (struct kvsink_cmd_copy){h_gart(899 * 4096), h_gart(0), 8192};
	expect(h_do(&h), KVSINK_CODE_GART_FAULT, 900 * 4096, "page without a translation");
	h_gart_set(&h, 900, h_gart_bus(900) | KVSINK_GART_VALID);
	h.refuse_bus = h_gart_bus(900);
	h.refuse_bytes = 4096;
	cmd = h_cmd(&h, KVSINK_OP_COPY);
	cmd->copy = (struct kvsink_cmd_copy){h_gart(900 * 4096 + 16), h_gart(0), 16};
	expect(h_do(&h), KVSINK_CODE_DMA_ERROR, h_gart_bus(900) + 16, "bus refuses the page");
	h.refuse_bytes = 0;
	cmd = h_cmd(&h, KVSINK_OP_COPY);
	cmd->copy = (struct kvsink_cmd_copy){h_hbm(0), h_gart(0), 16};
	expect(h_do(&h), KVSINK_CODE_TENANT, 0, "unprivileged operand in HBM");
	cmd = h_query_cmd(&h, KVSINK_QUERY_TAGS, 0, 0, KVSINK_STAGE_BYTES);
	expect(h_do(&h), KVSINK_CODE_TOO_BIG,
	       16 + (uint64_t)KVSINK_STAGE_BYTES * sizeof(struct kvsink_tag_rec),
	       "answer of more than the staging buffer");
}

static void residency(void)
{
	uint32_t token;

	expect(h_evict(&h, &s, 3), KVSINK_CODE_NOT_RESIDENT, 3, "EVICT of what is not there");
	expect(h_promote(&h, &s, 3, 0, 2, 3), KVSINK_CODE_OK, 0, "PROMOTE");
	expect(h_promote(&h, &s, 3, 1, 2, 2), KVSINK_CODE_EXISTS, 3, "PROMOTE of rows that are resident");
	expect(h_config(&h, s.id, KVSINK_PARAM_SRAM_BUDGET, 1024), KVSINK_CODE_OK, 0,
	       "a budget of 1024 bytes");
	expect(h_promote(&h, &s, 4, 0, 2, 3), KVSINK_CODE_OK, 0, "PROMOTE up to the budget");
	expect(h_promote(&h, &s, 5, 0, 2, 3), KVSINK_CODE_BUDGET, 0, "PROMOTE beyond the budget");
	h_config(&h, s.id, KVSINK_PARAM_SRAM_BUDGET, 0xffffffff);
	h_config(&h, 0, KVSINK_PARAM_TENANT_CAP, 1280);
	expect(h_promote(&h, &s, 5, 0, 2, 3), KVSINK_CODE_TENANT_CAP, 256,
	       "PROMOTE beyond the tenant's share");
	h_config(&h, 0, KVSINK_PARAM_TENANT_CAP, 0xffffffff);
	h.host_ns = 5000;
	h_promote_cmd(&h, &s, 5, 0, 2, 3)->promote.deadline_ns = 4999;
	expect(h_do(&h), KVSINK_CODE_LEASE, 5000, "PROMOTE with a deadline in the past");
	for (token = 5; token < 20; token++)
		h_promote(&h, &s, token, 0, 2, 3);
	h_fill(&h, &s, 20, 20);
	for (; token < 35; token++)
		h_promote(&h, &s, token, 0, 2, 3);
	expect(h_promote(&h, &s, 39, 0, 2, 3), KVSINK_CODE_TAGS, 32, "PROMOTE without a free entry");
}

static void fragmentation(void)
{
	struct h_stream wide = h_geometry(1);
	struct kvsink_tag_rec rec;

	h_close(&h);
	h_open(&h, NULL);
	wide.layers = 32; /* half of a token's layers take 16 * 2 * 128 = 4 KiB of SRAM */
	wide.group_end[1] = 32;
	h_stream(&h, &wide);
	h_fill(&h, &wide, 0, 20);
	for (uint32_t token = 0; token < 16; token++)
		h_promote(&h, &wide, token, 0, 16, 3);
	tap_ok(kvsink_mmio_read(h.chip, KVSINK_REG_SRAM_USED) == 64 << 10,
	       "sixteen entries of 4 KiB fill the SRAM");
	h_evict(&h, &wide, 3);
	h_evict(&h, &wide, 9);
	expect(h_promote(&h, &wide, 17, 0, 32, 3), KVSINK_CODE_FRAGMENTED, 4096, "two gaps are not one");
	h_evict(&h, &wide, 8);
	expect(h_promote(&h, &wide, 17, 0, 32, 3), KVSINK_CODE_OK, 0, "neighbouring gaps are one");
	tap_ok(h_entry(&h, &wide, 17, &rec) && rec.sram_offset == 8 * 4096,
	       "first fit skips a gap that is too small");
	expect(h_promote(&h, &wide, 18, 0, 32, 3), KVSINK_CODE_BUDGET, 4096, "free bytes are told");
	expect(h_promote(&h, &wide, 18, 0, 8, 3), KVSINK_CODE_OK, 0, "a smaller entry");
	tap_ok(h_entry(&h, &wide, 18, &rec) && rec.sram_offset == 3 * 4096, "the lowest gap is taken");
}

static void sealing(void)
{
	struct h_stream sealed = h_geometry(1);

	h_close(&h);
	h_open(&h, NULL);
	sealed.format = KVSINK_FORMAT_FP16;
	sealed.d_k = sealed.d_v = 32;
	sealed.seal_k = sealed.seal_v = KVSINK_FORMAT_INT8;
	h_stream(&h, &sealed);
	h_fill(&h, &sealed, 0, 10);
	expect(h_seal(&h, &sealed, 6), KVSINK_CODE_BAD_FIELD, FIELD(seal.tokens), "SEAL of half a page");
	expect(h_seal(&h, &sealed, 12), KVSINK_CODE_SEQUENCE, 8, "SEAL of an open group");
	h_protect(&h, 4, 0, 1, 1);
	h_protect(&h, 7, 0, 1, 1);
	expect(h_seal(&h, &sealed, 8), KVSINK_CODE_CROWDED, 4,
	       "more protected rows than a page has room for");
	expect(h_seal(&h, &sealed, 8), KVSINK_CODE_OK, 0, "SEAL");
}

static void swapping(void)
{
	struct h_stream moved = h_geometry(2);
	uint8_t byte;

	h_stream(&h, &moved);
	h_fill(&h, &moved, 0, 5);
	expect(h_swap_out(&h, &moved, H_FREE, 4096), KVSINK_CODE_TOO_BIG,
	       kvsink_score_bytes(2, 2, 2, 128) + 2 * 4096, "an image that needs more room");
	h_append(&h, &moved, 0, 5, 1);
	expect(h_swap_out(&h, &moved, H_FREE, 1 << 20), KVSINK_CODE_BUSY, 5, "SWAP_OUT of an open step");
	h_cmd(&h, KVSINK_OP_STEP_END)->step_end.stream = 2;
	h.cmds[0].flags = KVSINK_STEP_ABORT;
	h_do(&h);
	expect(h_swap_out(&h, &moved, H_FREE, 1 << 20), KVSINK_CODE_OK, 0, "SWAP_OUT");
	expect(h_append(&h, &moved, 0, 5, 1), KVSINK_CODE_SWAPPED, 2, "APPEND to a stream that is out");
	h_swap_in_cmd(&h, &moved, H_FREE);
	expect(h_do(&h), KVSINK_CODE_BUSY, 2, "SWAP_IN without a place");
	h_get(&h, H_FREE + 9000, &byte, 1);
	byte ^= 1;
	h_put(&h, H_FREE + 9000, &byte, 1);
	expect(h_swap_in(&h, &moved, H_FREE), KVSINK_CODE_IMAGE, 2, "SWAP_IN of a changed image");
}

static void windows(void)
{
	struct h_stream tried = h_geometry(3);
	struct kvsink_cmd *cmd;

	h_stream(&h, &tried);
	h_fill(&h, &tried, 0, 5);
	h_cmd(&h, KVSINK_OP_WINDOW_COMMIT)->window_commit.stream = 3;
	expect(h_do(&h), KVSINK_CODE_NO_WINDOW, 3, "WINDOW_COMMIT without a window");
	cmd = h_cmd(&h, KVSINK_OP_WINDOW_BEGIN);
	cmd->window_begin = (struct kvsink_cmd_window_begin){3, 8 << 20, 1 << 20, 4, 0};
	expect(h_priv(&h), KVSINK_CODE_OK, 0, "WINDOW_BEGIN");
	expect(h_step_end(&h, &tried, 1), KVSINK_CODE_WINDOW, 3, "STEP_END in a window");
}

static void many_streams(struct kvsink_chip_config *config)
{
	config->streams = 32;
}

static void sharing(void)
{
	struct h_stream first = h_geometry(1), other = h_geometry(3), prefix;

	h_close(&h);
	h_open(&h, many_streams);
	first.format = KVSINK_FORMAT_FP16;
	first.d_k = first.d_v = 32;
	first.seal_k = first.seal_v = KVSINK_FORMAT_INT8;
	h_stream(&h, &first);
	h_fill(&h, &first, 0, 30);
	h_seal(&h, &first, 4);
	expect(h_publish_prefix(&h, &first, 2, 3, &prefix), KVSINK_CODE_PARTED, 0,
	       "a prefix that ends within a sealed page");
	expect(h_detach(&h, &first, 0, 0), KVSINK_CODE_NOT_SHARED, 1,
	       "PREFIX_DETACH of a stream that shares nothing");
	expect(h_publish_prefix(&h, &first, 2, 4, &prefix), KVSINK_CODE_OK, 0, "PREFIX_PUBLISH");
	expect(h_append(&h, &prefix, 0, 4, 1), KVSINK_CODE_CLOSED, 2, "APPEND to a prefix");
	expect(h_promote(&h, &first, 3, 0, 2, 3), KVSINK_CODE_SHARED, 3, "PROMOTE of a prefix's token");
	h_create(&h, &other);
	expect(h_attach(&h, &other, 2, 4), KVSINK_CODE_GEOMETRY, UINT64_MAX,
	       "PREFIX_ATTACH of another geometry");
	for (uint32_t i = 1; i < KVSINK_MAX_PREFIX_DEPTH; i++)
		h_publish_prefix(&h, &first, 3 + i, 4 + i, NULL);
	expect(h_publish_prefix(&h, &first, 30, 30, NULL), KVSINK_CODE_DEPTH, KVSINK_MAX_PREFIX_DEPTH,
	       "a prefix on too many others");
}

static void all_seen(void)
{
	for (uint32_t code = 0; code < KVSINK_CODE_COUNT; code++) {
		/* ABORTED is the driver's answer for jobs that a reset took: the chip completes none of them
		 */
		if (code != KVSINK_CODE_ABORTED)
			tap_ok(h_seen[code], "some completion carried %s", kvsink_code_name(code));
	}
}

int main(void)
{
	h_open(&h, NULL);
	commands();
	streams();
	rows();
	operands();
	residency();
	fragmentation();
	sealing();
	swapping();
	windows();
	sharing();
	all_seen();
	h_close(&h);
	return tap_done();
}
