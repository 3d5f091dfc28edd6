// SPDX-License-Identifier: MIT
/*
 * Streams: every limit of the geometry, pages, appending, steps, tenants, parameters.
 */
#include "harness.h"
#include "tap.h"

#define FIELD(member) offsetof(struct kvsink_cmd, member)

static struct harness h;

/* A valid STREAM_CREATE of id 9 in the builder, for a test to spoil. */
static struct kvsink_cmd_stream_create *create(void)
{
	union kvsink_item layer = {.layer = {.scale = 0x3f800000}};
	struct kvsink_cmd *cmd = h_cmd(&h, KVSINK_OP_STREAM_CREATE);

	cmd->stream_create = (struct kvsink_cmd_stream_create){
		.stream = 9,
		.tenant = H_TENANT,
		.layers = 2,
		.q_heads = 4,
		.kv_heads = 2,
		.d_k = 8,
		.d_v = 8,
		.page_tokens = 4,
		.max_tokens = 16,
		.page_table = 4096,
		.scores = 8192,
		.score_groups = 1,
		.group_end = {2},
	};
	h_item(&h, &layer);
	h_item(&h, &layer);
	return &cmd->stream_create;
}

static void refused(const char *what, uint32_t code, uint64_t address)
{
	uint32_t got = h_priv(&h);

	tap_ok(got == code && h.cpl.address == address, "STREAM_CREATE refuses %s", what);
	if (got != code || h.cpl.address != address)
		tap_diag("%s, address %llu, wanted %s, %llu", kvsink_code_name(got),
			 (unsigned long long)h.cpl.address, kvsink_code_name(code),
			 (unsigned long long)address);
}

#define BAD(member, bad)                                                                                     \
	do {                                                                                                 \
		create()->member = bad;                                                                      \
		refused(#member " = " #bad, KVSINK_CODE_BAD_FIELD, FIELD(stream_create.member));             \
	} while (0)

static void limits(void)
{
	BAD(stream, 0);
	BAD(layers, 0);
	BAD(layers, 129);
	BAD(q_heads, 0);
	BAD(q_heads, 3);
	BAD(q_heads, 130);
	BAD(kv_heads, 0);
	BAD(kv_heads, 65);
	BAD(d_k, 0);
	BAD(d_k, 577);
	BAD(d_v, 0);
	BAD(d_v, 577);
	BAD(flags, 4);
	BAD(format, KVSINK_FORMAT_COUNT);
	BAD(page_tokens, 0);
	BAD(page_tokens, 3);
	BAD(page_tokens, 512);
	BAD(max_tokens, 0);
	BAD(max_tokens, 18);
	BAD(max_tokens, (1u << 18) + 4);
	BAD(score_groups, 0);
	BAD(score_groups, 9);
	BAD(group_end[0], 1);
	BAD(group_end[0], 3);
	BAD(group_end[1], 2);
	BAD(first_item, 1);
	BAD(first_item, 0xffffffff);
	create()->score_groups = 2;
	refused("a group without layers", KVSINK_CODE_BAD_FIELD, FIELD(stream_create.group_end[1]));
}

static void areas(void)
{
	create()->page_table = 4097;
	refused("a page table that is not aligned", KVSINK_CODE_BAD_RANGE, 4097);
	create()->page_table = 16 << 20;
	refused("a page table behind the HBM", KVSINK_CODE_BAD_RANGE, 16 << 20);
	create()->scores = 0xfffffffffffff000ull;
	refused("scores whose end wraps", KVSINK_CODE_BAD_RANGE, 0xfffffffffffff000ull);
	create()->max_tokens = 1 << 18;
	h.cmds[0].stream_create.scores = (16 << 20) - 4096;
	refused("scores that leave the HBM", KVSINK_CODE_BAD_RANGE, (16 << 20) - 4096);
}

static void layers(void)
{
	uint64_t base = sizeof(struct kvsink_cmd) + sizeof(union kvsink_item);

	create();
	h.items[1].layer.scale = 0;
	refused("scale 0", KVSINK_CODE_BAD_FIELD, base + offsetof(struct kvsink_layer, scale));
	create();
	h.items[1].layer.scale = 0xbf800000;
	refused("a negative scale", KVSINK_CODE_BAD_FIELD, base + offsetof(struct kvsink_layer, scale));
	create();
	h.items[1].layer.scale = 0x7fc00000;
	refused("scale NaN", KVSINK_CODE_BAD_FIELD, base + offsetof(struct kvsink_layer, scale));
	create();
	h.items[1].layer.softcap = 0x7f800000;
	refused("an infinite softcap", KVSINK_CODE_BAD_FIELD, base + offsetof(struct kvsink_layer, softcap));
	create();
	h.items[1].layer.flags = 1;
	refused("a layer flag", KVSINK_CODE_BAD_FIELD, base + offsetof(struct kvsink_layer, flags));
	tap_ok(kvsink_mmio_read(h.chip, KVSINK_REG_STREAMS_LIVE) == 0, "nothing is left of what was refused");
	create();
	tap_ok(!h_priv(&h), "the same command unspoilt makes a stream");
	create();
	tap_ok(h_do(&h) == KVSINK_CODE_TENANT, "an unprivileged job makes none");
}

static void many(void)
{
	struct h_stream s[4];
	bool ok = true;

	h_close(&h);
	h_open(&h, NULL);
	for (unsigned round = 0; round < 40; round++) {
		for (unsigned i = 0; i < 4; i++) {
			s[i] = h_geometry(1 + round * 4 + i);
			s[i].page_tokens = 16;
			s[i].max_tokens = 16;
			h.hbm_next = (1 + i) << 20;
			ok = ok && !h_create(&h, &s[i]);
		}
		for (unsigned i = 0; i < 4; i++) {
			h_cmd(&h, KVSINK_OP_STREAM_DESTROY)->stream_destroy.stream =
				s[(i * 3 + round) % 4].id;
			ok = ok && !h_priv(&h);
		}
	}
	tap_ok(ok && !kvsink_mmio_read(h.chip, KVSINK_REG_STREAMS_LIVE), "streams come and go in any order");
}

static void pages(void)
{
	struct h_stream s = h_geometry(1);
	struct kvsink_cmd *cmd;
	union kvsink_item item = {.pages = {1 << 20, 4097, 0, 0}};

	h_close(&h);
	h_open(&h, NULL);
	h_create(&h, &s);
	tap_ok(h_append(&h, &s, 0, 0, 1) == KVSINK_CODE_NOT_RESERVED, "a stream without pages takes no row");
	tap_ok(h_map(&h, &s, 1, 1) == KVSINK_CODE_SEQUENCE && h.cpl.address == 0,
	       "pages are mapped in order");
	tap_ok(!h_map(&h, &s, 0, 2) && !h_append(&h, &s, 0, 0, 8), "two pages of four take eight rows");
	tap_ok(h_append(&h, &s, 0, 8, 1) == KVSINK_CODE_NOT_RESERVED && h.cpl.address == 8, "not a ninth");
	tap_ok(!h_map(&h, &s, 2, 30), "a stream grows to max_tokens");
	tap_ok(h_map(&h, &s, 32, 1) == KVSINK_CODE_BAD_FIELD, "and no further");
	s = h_geometry(2);
	h_create(&h, &s);
	cmd = h_cmd(&h, KVSINK_OP_PAGE_MAP);
	cmd->page_map = (struct kvsink_cmd_page_map){2, 0, 2, h_item(&h, &item), 0};
	tap_ok(h_priv(&h) == KVSINK_CODE_BAD_RANGE && h.cpl.address == 4097,
	       "a page that is not aligned is refused");
	item.pages[1] = (16 << 20);
	cmd = h_cmd(&h, KVSINK_OP_PAGE_MAP);
	cmd->page_map = (struct kvsink_cmd_page_map){2, 0, 2, h_item(&h, &item), 0};
	tap_ok(h_priv(&h) == KVSINK_CODE_BAD_RANGE, "a page beyond the HBM is refused");
	cmd = h_cmd(&h, KVSINK_OP_PAGE_MAP);
	cmd->page_map = (struct kvsink_cmd_page_map){2, 0, 5, h_item(&h, &item), 0};
	tap_ok(h_priv(&h) == KVSINK_CODE_BAD_FIELD && h.cpl.address == FIELD(page_map.first_item),
	       "more pages than items are refused");
	cmd = h_cmd(&h, KVSINK_OP_QUERY);
	cmd->query = (struct kvsink_cmd_query){
		.stream = 2, .what = KVSINK_QUERY_STREAMS, .max = 1, .dst = h_gart(H_ANSWER)};
	h_do(&h);
	struct kvsink_stream_rec rec;
	h_get(&h, H_ANSWER + 16, &rec, sizeof(rec));
	tap_ok(rec.reserved_tokens == 0, "a refused PAGE_MAP maps nothing");
}

/* A page table that was overwritten in HBM must not lead the chip out of it. */
static void broken_table(void)
{
	struct h_stream s = h_geometry(1);
	uint64_t bad = 1ull << 50;

	h_close(&h);
	h_open(&h, NULL);
	h_stream(&h, &s);
	h_fill(&h, &s, 0, 8);
	memcpy(h.hbm + s.page_table + 8, &bad, sizeof(bad));
	h_attend_cmd(&h, &s, 0, 7, 1);
	tap_ok(h_do(&h) == KVSINK_CODE_BAD_RANGE && h.cpl.address == bad,
	       "ATTEND refuses a page outside of the HBM");
	h_attend_cmd(&h, &s, 0, 3, 1);
	tap_ok(!h_do(&h), "a query that does not need it works");
	tap_ok(h_promote(&h, &s, 5, 0, 1, 1) == KVSINK_CODE_BAD_RANGE, "PROMOTE refuses it");
}

static void steps(void)
{
	struct h_stream s = h_geometry(1);
	struct kvsink_cmd *cmd;

	h_close(&h);
	h_open(&h, NULL);
	h_stream(&h, &s);
	h_append(&h, &s, 0, 0, 2);
	tap_ok(h_step_end(&h, &s, 2) == KVSINK_CODE_SEQUENCE && h.cpl.address == 0,
	       "a step ends when all layers have it");
	h_append(&h, &s, 1, 0, 1);
	tap_ok(h_step_end(&h, &s, 2) == KVSINK_CODE_SEQUENCE && h.cpl.address == 1, "and all of its tokens");
	h_append(&h, &s, 1, 1, 1);
	h_attend_cmd(&h, &s, 1, 1, 1);
	tap_ok(!h_do(&h), "ATTEND sees rows of the open step");
	tap_ok(h_promote(&h, &s, 1, 0, 1, 1) == KVSINK_CODE_BAD_FIELD, "PROMOTE does not");
	h_score_cmd(&h, &s, 0, 0, 2);
	tap_ok(h_do(&h) == KVSINK_CODE_SEQUENCE && h.cpl.address == 0, "nor does SCORE");
	tap_ok(!h_step_end(&h, &s, 2), "then the step ends");
	tap_ok(h_counter(&h, KVSINK_COUNTER_STEPS) == 2, "its tokens are counted");
	h_append(&h, &s, 0, 2, 3);
	h_append(&h, &s, 1, 2, 1);
	cmd = h_cmd(&h, KVSINK_OP_STEP_END);
	cmd->flags = KVSINK_STEP_ABORT;
	cmd->step_end.stream = 1;
	tap_ok(!h_do(&h), "an open step can be dropped");
	h_attend_cmd(&h, &s, 0, 2, 1);
	tap_ok(h_do(&h) == KVSINK_CODE_SEQUENCE && h.cpl.address == 2, "its rows are gone");
	tap_ok(!h_append(&h, &s, 0, 2, 1) && !h_append(&h, &s, 1, 2, 1) && !h_step_end(&h, &s, 1),
	       "and can be appended anew");
	tap_ok(h_step_end(&h, &s, 0) == KVSINK_CODE_BAD_FIELD, "a step of no token is refused");
}

static void parameters(void)
{
	struct h_stream s = h_geometry(1);

	h_close(&h);
	h_open(&h, NULL);
	h_config(&h, 0, KVSINK_PARAM_T_SINK, 0x3e800000);
	h_config(&h, 0, KVSINK_PARAM_SRAM_BUDGET, 4096);
	h_stream(&h, &s);
	h_query_cmd(&h, KVSINK_QUERY_PARAMS, 1, 0, 10);
	h_do(&h);
	uint64_t param[KVSINK_PARAM_COUNT];
	h_get(&h, H_ANSWER + 16, param, sizeof(param));
	tap_ok(param[KVSINK_PARAM_T_SINK] == 0x3e800000, "a stream takes over the device's defaults");
	tap_ok(param[KVSINK_PARAM_SRAM_BUDGET] == 0xffffffff, "but not its budget");
	tap_ok(kvsink_mmio_read(h.chip, KVSINK_REG_T_SINK) == 0x3e800000,
	       "the register shows the device's default");
	tap_ok(h_config(&h, 1, KVSINK_PARAM_T_SINK, 0x7f800000) == KVSINK_CODE_BAD_FIELD,
	       "infinity is no threshold");
	tap_ok(h_config(&h, 1, KVSINK_PARAM_T_SINK, 0x80000000) == KVSINK_CODE_BAD_FIELD,
	       "nor is minus zero");
	tap_ok(h_config(&h, 1, KVSINK_PARAM_SCORE_MODE, 3) == KVSINK_CODE_BAD_FIELD,
	       "there is no fourth mode");
	tap_ok(h_config(&h, 1, KVSINK_PARAM_LOCAL_WINDOW, 1ull << 32) == KVSINK_CODE_BAD_FIELD,
	       "a U32 has 32 bits");
	tap_ok(h_config(&h, 1, KVSINK_PARAM_LAYER_RANGE, 2 | 2 << 16) == KVSINK_CODE_BAD_FIELD,
	       "a range is not empty");
	tap_ok(h_config(&h, 1, KVSINK_PARAM_COUNT, 0) == KVSINK_CODE_BAD_FIELD,
	       "there is no further parameter");
	h_cmd(&h, KVSINK_OP_CONFIG)->config.group = KVSINK_GROUP_ALL;
	tap_ok(h_do(&h) == KVSINK_CODE_TENANT, "the device's defaults need privilege");
	h.tenant = 5;
	tap_ok(h_config(&h, 1, KVSINK_PARAM_T_SINK, 0) == KVSINK_CODE_TENANT,
	       "another tenant's stream is refused");
	h.tenant = H_TENANT;
	h_config(&h, 1, KVSINK_PARAM_LOCAL_WINDOW, 0);
	h_fill(&h, &s, 0, 4);
	h_score_cmd(&h, &s, 0, 0, 4);
	h_do(&h);
	tap_ok(h_config(&h, 1, KVSINK_PARAM_SCORE_MODE, 0) == KVSINK_CODE_BUSY,
	       "RAW without a window would be another window");
	tap_ok(!h_config(&h, 1, KVSINK_PARAM_SCORE_MODE, 2), "REL would not");
	tap_ok(!h_config(&h, 1, KVSINK_PARAM_LOCAL_WINDOW, 0), "setting the same window is no change");
}

int main(void)
{
	h_open(&h, NULL);
	limits();
	areas();
	layers();
	many();
	pages();
	broken_table();
	steps();
	parameters();
	h_close(&h);
	return tap_done();
}
