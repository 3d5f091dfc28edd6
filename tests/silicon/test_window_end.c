// SPDX-License-Identifier: MIT
/*
 * Replay windows: what is refused while one is open and what is not, what a window pins and for how long, and
 * how it ends when nobody commits it: a reset, also in the middle of a commit, an uncorrectable error, the
 * stream's end. What a commit does: test_window.c.
 */
#include "window_case.h"

#define FIELD(member) offsetof(struct kvsink_cmd, member)
#define PROMPT 20
#define OBSERVED (4u << 20) /* tokens that one ATTEND can observe */
#define LONG 900	    /* tokens of a stream whose commit takes more than a quantum */

static struct window_pair pair;
static struct harness *const h = &pair.h[1];
static struct h_stream *const s = &pair.s[1];

static void expect(uint32_t code, uint32_t want, uint64_t address, const char *what)
{
	bool ok = code == want && h->cpl.address == address;

	tap_ok(ok, "%s: %s", kvsink_code_name(want), what);
	if (!ok)
		tap_diag("code %s, address 0x%llx, wanted 0x%llx", kvsink_code_name(code),
			 (unsigned long long)h->cpl.address, (unsigned long long)address);
}

/* Chip i with one stream of `tokens` tokens, in AUTO mode with tails, and room for a journal. */
static void make(unsigned i, uint32_t tokens)
{
	struct harness *chip = &pair.h[i];
	struct h_stream *stream = &pair.s[i];

	h_open(chip, NULL);
	*stream = h_geometry(1);
	stream->max_tokens = tokens + 124;
	stream->page_tokens = 4;
	h_stream(chip, stream);
	h_config(chip, 1, KVSINK_PARAM_LOCAL_WINDOW, 2);
	h_config(chip, 1, KVSINK_PARAM_ALPHA, 0x3f000000);
	h_config(chip, 1, KVSINK_PARAM_T_EVICT, 0);
	h_config(chip, 1, KVSINK_PARAM_T_PROMOTE, 0x3d4ccccd);
	h_config(chip, 1, KVSINK_PARAM_PLACEMENT, KVSINK_PLACEMENT_AUTO);
	h_config(chip, 1, KVSINK_PARAM_TAIL_TOKENS, 6);
	for (uint32_t at = 0; at < tokens; at += 60)
		h_fill(chip, stream, at, tokens - at < 60 ? tokens - at : 60);
	pair.journal[i] = chip->hbm_next;
	chip->hbm_next += JOURNAL_ROOM;
}

static void begin(uint32_t tokens)
{
	if (window_begin(h, s, pair.journal[1], tokens))
		tap_ok(false, "WINDOW_BEGIN: %s", kvsink_code_name(h->cpl.code));
}

/* ---- refusals ---- */

static struct kvsink_cmd *begin_cmd(void)
{
	struct kvsink_cmd *cmd = h_cmd(h, KVSINK_OP_WINDOW_BEGIN);

	cmd->window_begin = (struct kvsink_cmd_window_begin){
		.stream = 1, .journal = pair.journal[1], .bytes = JOURNAL_ROOM, .tokens = 4};
	return cmd;
}

static void bad_begins(void)
{
	uint64_t bytes = kvsink_window_bytes(2, 2, 2, PROMPT, 4);

	begin_cmd();
	expect(h_do(h), KVSINK_CODE_TENANT, 0, "WINDOW_BEGIN that the kernel did not write");
	begin_cmd()->window_begin.tokens = 0;
	expect(h_priv(h), KVSINK_CODE_BAD_FIELD, FIELD(window_begin.tokens), "a window without rows");
	begin_cmd()->window_begin.tokens = KVSINK_MAX_WINDOW_TOKENS + 1;
	expect(h_priv(h), KVSINK_CODE_BAD_FIELD, FIELD(window_begin.tokens), "a window of too many");
	begin_cmd()->window_begin.reserved = 1;
	expect(h_priv(h), KVSINK_CODE_BAD_FIELD, FIELD(window_begin.reserved), "a reserved word");
	begin_cmd()->window_begin.bytes = bytes - 1;
	expect(h_priv(h), KVSINK_CODE_TOO_BIG, bytes, "a journal that is too small");
	begin_cmd()->window_begin.journal++;
	expect(h_priv(h), KVSINK_CODE_BAD_RANGE, pair.journal[1] + 1, "a journal that is not aligned");
	begin_cmd()->window_begin.journal = h->config.hbm_bytes;
	expect(h_priv(h), KVSINK_CODE_BAD_RANGE, h->config.hbm_bytes, "a journal beyond the HBM");
	begin_cmd()->window_begin.stream = 9;
	expect(h_priv(h), KVSINK_CODE_BAD_STREAM, 9, "no such stream");
	expect(window_commit(h, s, 0), KVSINK_CODE_NO_WINDOW, 1, "a commit without a window");
	window_append_cmd(h, s, RIGHT, 1, PROMPT, 1);
	h_do(h);
	expect(window_begin(h, s, pair.journal[1], 4), KVSINK_CODE_BUSY, PROMPT, "a window in an open step");
	h_cmd(h, KVSINK_OP_STEP_END)->step_end.stream = 1;
	h->cmds[0].flags = KVSINK_STEP_ABORT;
	h_do(h);
	begin_cmd()->window_begin.bytes = bytes;
	expect(h_priv(h), KVSINK_CODE_OK, 0, "a journal that is just large enough");
}

/* A command that must be refused as it is. */
static void refused(const char *what)
{
	expect(h_do(h), KVSINK_CODE_WINDOW, 1, what);
}

static void crossing(void)
{
	begin_cmd();
	expect(h_priv(h), KVSINK_CODE_WINDOW, 1, "a window in a window");
	h_cmd(h, KVSINK_OP_STEP_END)->step_end.stream = 1;
	refused("STEP_END");
	h_cmd(h, KVSINK_OP_STEP_END)->step_end.stream = 1;
	h->cmds[0].flags = KVSINK_STEP_ABORT;
	refused("STEP_END that drops");
	h_promote_cmd(h, s, 3, 0, 2, 3);
	refused("PROMOTE");
	h_evict_cmd(h, s, 3, 0, 2, 3);
	refused("EVICT");
	h_cmd(h, KVSINK_OP_CONTRACT)->contract.stream = 1;
	refused("CONTRACT");
	expect(h_config(h, 1, KVSINK_PARAM_ALPHA, 0), KVSINK_CODE_WINDOW, 1, "CONFIG");
	h_seal_cmd(h, s, 4);
	refused("SEAL");
	h_score_cmd(h, s, 0, 0, 4);
	refused("SCORE");
	h_cmd(h, KVSINK_OP_SCORE_IMPORT)->score_import.stream = 1;
	refused("SCORE_IMPORT");
	h_cmd(h, KVSINK_OP_CLASSIFY)->classify.stream = 1;
	refused("CLASSIFY");
	h_cmd(h, KVSINK_OP_LAYER_HEADS)->layer_heads.stream = 1;
	refused("LAYER_HEADS");
	h_cmd(h, KVSINK_OP_SWAP_OUT)->swap_out.stream = 1;
	refused("SWAP_OUT");
	expect(h_publish_prefix(h, s, 7, 8, NULL), KVSINK_CODE_WINDOW, 1, "PREFIX_PUBLISH");
	expect(h_attach(h, s, 7, 8), KVSINK_CODE_WINDOW, 1, "PREFIX_ATTACH");
	expect(h_detach(h, s, 0, 1), KVSINK_CODE_WINDOW, 1, "PREFIX_DETACH");
	h->tenant = 9;
	h_evict_cmd(h, s, 3, 0, 2, 3);
	expect(h_do(h), KVSINK_CODE_TENANT, 1, "another tenant learns nothing of it");
	h->tenant = H_TENANT;
}

static void going_on(void)
{
	struct kvsink_tag_rec rec;

	tap_ok(!h_barrier(h, s), "BARRIER works in a window");
	h_query_cmd(h, KVSINK_QUERY_VERDICTS, 1, 0, 8);
	tap_ok(!h_do(h), "and QUERY");
	tap_ok(!h_config(h, 0, KVSINK_PARAM_ALPHA, 0x3f000000), "and CONFIG of the device");
	tap_ok(h_entry(h, s, 2, &rec), "its entries are there");
}

/* Pages may be reserved as they are needed. */
static void more_pages(void)
{
	struct h_stream grows = h_geometry(3);

	h_create(h, &grows);
	h_map(h, &grows, 0, 1);
	window_begin(h, &grows, pair.journal[1] + JOURNAL_ROOM / 2, 8);
	window_append_cmd(h, &grows, RIGHT, 0, 0, 5);
	expect(h_do(h), KVSINK_CODE_NOT_RESERVED, 4, "rows of a window need pages, too");
	tap_ok(!h_map(h, &grows, 1, 1), "and PAGE_MAP gives it some");
	tap_ok(!window_speculate(h, &grows, RIGHT, 0, 5) && !window_commit(h, &grows, 5), "which are used");
}

static void of_a_prefix(void)
{
	struct h_stream first = h_geometry(2), prefix;

	h_stream(h, &first);
	h_fill(h, &first, 0, 8);
	h_publish_prefix(h, &first, 7, 6, &prefix);
	expect(window_begin(h, &prefix, pair.journal[1] + JOURNAL_ROOM / 2, 8), KVSINK_CODE_CLOSED, 7,
	       "a prefix has no windows");
}

static void rows(void)
{
	struct kvsink_stream_rec rec;

	window_append_cmd(h, s, RIGHT, 0, PROMPT, 5);
	expect(h_do(h), KVSINK_CODE_TOO_BIG, 5, "more rows than the window was opened for");
	window_append_cmd(h, s, RIGHT, 0, PROMPT, 3);
	expect(h_do(h), KVSINK_CODE_OK, 0, "as many");
	window_append_cmd(h, s, RIGHT, 0, PROMPT + 3, 2);
	expect(h_do(h), KVSINK_CODE_TOO_BIG, 5, "more in a second piece");
	window_append_cmd(h, s, RIGHT, 0, PROMPT + 2, 1);
	expect(h_do(h), KVSINK_CODE_SEQUENCE, PROMPT + 3, "a row that is there");
	rec = window_record(h, s);
	tap_ok(rec.window == 4 && rec.window_rows == 3 && rec.window_ns == h->host_ns && rec.length == PROMPT,
	       "QUERY tells the window, its rows, and since when it is open");
	expect(window_commit(h, s, 2), KVSINK_CODE_SEQUENCE, PROMPT, "layers have not the same rows");
	window_append_cmd(h, s, RIGHT, 1, PROMPT, 3);
	h_do(h);
	expect(window_commit(h, s, 4), KVSINK_CODE_BAD_FIELD, FIELD(window_commit.count),
	       "more than was speculated");
	window_commit_cmd(h, s, 1)->window_commit.reserved = 1;
	expect(h_do(h), KVSINK_CODE_BAD_FIELD, FIELD(window_commit.reserved), "a reserved word");
	expect(window_commit(h, s, 2), KVSINK_CODE_OK, 0, "two of three");
	rec = window_record(h, s);
	tap_ok(rec.length == PROMPT + 2 && !rec.window && !rec.window_rows && !rec.window_ns,
	       "then the stream is two tokens longer and has no window");
	begin(4);
	window_append_cmd(h, s, RIGHT, 0, PROMPT + 2, 3);
	h_do(h);
	expect(window_commit(h, s, 0), KVSINK_CODE_OK, 0, "layers that differ are rolled back");
	expect(h_swap_out(h, s, H_FREE, 1 << 20), KVSINK_CODE_OK, 0, "SWAP_OUT");
	expect(window_begin(h, s, pair.journal[1], 4), KVSINK_CODE_SWAPPED, 1,
	       "a window of a stream that is out");
}

static void refusals(void)
{
	make(1, PROMPT);
	h_promote(h, s, 2, 0, 2, 3);
	bad_begins();
	crossing();
	going_on();
	more_pages();
	rows();
	of_a_prefix();
	h_close(h);
}

/* ---- pins ---- */

/* Another stream's grant with a contract, of all the SRAM there is but for what is under contract. */
static uint32_t grab(const struct h_stream *other)
{
	h_promote_cmd(h, other, 1, 0, 2, 3)->promote.deadline_ns = h->host_ns + 1000;
	return h_do(h);
}

static void pins(void)
{
	struct h_stream other = h_geometry(2);
	struct kvsink_tag_rec rec;

	make(1, PROMPT);
	h->host_ns = 1;
	h_stream(h, &other);
	h_fill(h, &other, 0, 8);
	h_config(h, 1, KVSINK_PARAM_TAIL_TOKENS, 0);
	h_promote(h, s, 2, 0, 2, 3);
	h_barrier(h, s);
	h_config(h, 0, KVSINK_PARAM_SRAM_BUDGET, 512);
	begin(4);
	expect(grab(&other), KVSINK_CODE_BUDGET, 0,
	       "a contract elsewhere does not displace what a window pins");
	tap_ok(h_entry(h, s, 2, &rec) && !(rec.flags & KVSINK_TAG_CONTRACT), "though it has no contract");
	h->host_ns += KVSINK_MAX_LEASE_NS - 1;
	expect(grab(&other), KVSINK_CODE_BUDGET, 0, "nor as long as the window's lease runs");
	h->host_ns += 1;
	expect(grab(&other), KVSINK_CODE_OK, 0, "then it does");
	tap_ok(!h_entry(h, s, 2, &rec) && window_record(h, s).window == 4, "and the window stays open");
	tap_ok(!window_speculate(h, s, RIGHT, PROMPT, 2) && !window_commit(h, s, 2), "and can be committed");
	h_close(h);
}

static void pinned_tail(void)
{
	struct h_stream other = h_geometry(2);

	make(1, PROMPT);
	h->host_ns = 1;
	h_stream(h, &other);
	h_fill(h, &other, 0, 8);
	h_config(h, 0, KVSINK_PARAM_SRAM_BUDGET, kvsink_mmio_read(h->chip, KVSINK_REG_SRAM_USED));
	h->host_ns += KVSINK_MAX_LEASE_NS + 5;
	begin(4);
	expect(grab(&other), KVSINK_CODE_BUDGET, 0, "nor a tail whose own lease is over");
	window_commit(h, s, 0);
	expect(grab(&other), KVSINK_CODE_OK, 0, "which it does once the window is closed");
	h_close(h);
}

/* ---- an uncorrectable error ---- */

static void error(void)
{
	struct kvsink_tag_rec rec;
	float before[64], after[64];

	make(1, PROMPT);
	h_promote(h, s, 2, 0, 2, 3);
	h_barrier(h, s);
	begin(4);
	window_append_cmd(h, s, RIGHT, 0, PROMPT, 2);
	h_do(h);
	window_attend_cmd(h, s, RIGHT, 0, PROMPT, 1);
	h_do(h);
	h_get(h, H_OUT, before, sizeof(before));
	kvsink_inject(h->chip, KVSINK_INJECT_ECC, 1);
	window_attend_cmd(h, s, RIGHT, 0, PROMPT, 1);
	h_do(h);
	h_get(h, H_OUT, after, sizeof(after));
	tap_ok(!h_entry(h, s, 2, &rec) && h_counter(h, KVSINK_COUNTER_ECC_ERRORS) == 1 &&
		       !memcmp(before, after, sizeof(before)),
	       "an uncorrectable error in a window takes an entry and changes no output");
	tap_ok(!window_commit(h, s, 0), "and the window goes on");
	h_close(h);
}

/* ---- resets ---- */

static void reset(unsigned i)
{
	kvsink_reset(pair.h[i].chip, KVSINK_RESET_ENGINE);
	h_start(&pair.h[i]);
}

static void single_steps(uint32_t first, uint32_t count)
{
	for (uint32_t t = first; t < first + count; t++) {
		window_speculate(&pair.h[0], &pair.s[0], RIGHT, t, 1);
		h_step_end(&pair.h[0], &pair.s[0], 1);
	}
}

static void reset_in_window(void)
{
	make(0, PROMPT);
	make(1, PROMPT);
	pair.differences = 0;
	begin(8);
	window_speculate(h, s, 77, PROMPT, 5);
	reset(0);
	reset(1);
	window_compare(&pair, PROMPT);
	tap_ok(!pair.differences, "a reset in a window: as if it had not been");
	expect(window_commit(h, s, 2), KVSINK_CODE_NO_WINDOW, 1, "then there is none");
	begin(8);
	window_speculate(h, s, RIGHT, PROMPT, 3);
	window_commit(h, s, 3);
	single_steps(PROMPT, 3);
	window_compare(&pair, PROMPT + 3);
	tap_ok(!pair.differences, "and the next one counts from there");
	h_close(&pair.h[0]);
	h_close(&pair.h[1]);
}

/* Rows that a commit of 64 has made steps of when its quantum is used up; it has not ended. */
static uint32_t half_commit(void)
{
	begin(KVSINK_MAX_WINDOW_TOKENS);
	window_speculate(h, s, RIGHT, LONG, KVSINK_MAX_WINDOW_TOKENS);
	window_commit_cmd(h, s, KVSINK_MAX_WINDOW_TOKENS);
	h_submit(h, 0);
	kvsink_run(h->chip, 0);
	h_query_cmd(h, KVSINK_QUERY_STREAMS, 1, 0, 1);
	h_submit(h, 1);
	kvsink_run(h->chip, 1);
	struct kvsink_stream_rec rec;

	h_get(h, H_ANSWER + sizeof(struct kvsink_list_head), &rec, sizeof(rec));
	return rec.window ? rec.length - LONG : 0;
}

static void reset_in_commit(void)
{
	uint32_t made;

	make(0, LONG);
	make(1, LONG);
	pair.differences = 0;
	made = half_commit();
	tap_ok(made > 4 && made < KVSINK_MAX_WINDOW_TOKENS, "a long commit is sliced: %u rows at first",
	       made);
	reset(1);
	single_steps(LONG, made);
	reset(0);
	window_compare(&pair, LONG + made);
	tap_ok(!pair.differences, "a reset in a commit leaves the steps that were made, and nothing else");
	h_close(&pair.h[0]);
	h_close(&pair.h[1]);
}

static void others_in_commit(void)
{
	struct kvsink_completion cpl;

	make(1, LONG);
	half_commit();
	window_commit_cmd(h, s, 1);
	h_submit(h, 1);
	kvsink_run(h->chip, 1);
	h_run(h);
	cpl = h_completion(h, 0, h->published[0] - 1);
	tap_ok(cpl.code == KVSINK_CODE_NO_WINDOW,
	       "another ring's commit ends the window, and the first one says so");
	h_close(h);
	make(1, LONG);
	half_commit();
	h_cmd(h, KVSINK_OP_STREAM_DESTROY)->stream_destroy.stream = 1;
	h->desc.flags = KVSINK_JOB_PRIVILEGED;
	h_submit(h, 1);
	kvsink_run(h->chip, 1);
	h_run(h);
	cpl = h_completion(h, 0, h->published[0] - 1);
	tap_ok(cpl.code == KVSINK_CODE_BAD_STREAM && !kvsink_mmio_read(h->chip, KVSINK_REG_SRAM_USED),
	       "the stream's end in a commit ends both");
	h_close(h);
	make(1, LONG);
	half_commit();
	h_run(h);
	tap_ok(window_record(h, s).length == LONG + KVSINK_MAX_WINDOW_TOKENS,
	       "left alone it ends as it should");
	h_close(h);
}

/* ---- the stream's end ---- */

static void stream_end(void)
{
	make(1, PROMPT);
	begin(4);
	window_speculate(h, s, RIGHT, PROMPT, 2);
	h_cmd(h, KVSINK_OP_STREAM_DESTROY)->stream_destroy.stream = 1;
	tap_ok(!h_priv(h) && !kvsink_mmio_read(h->chip, KVSINK_REG_STREAMS_LIVE) &&
		       !kvsink_mmio_read(h->chip, KVSINK_REG_SRAM_USED),
	       "STREAM_DESTROY ends a window, and nothing is left");
	h->hbm_next = 1 << 20;
	h_stream(h, s);
	tap_ok(!window_record(h, s).window, "the next stream in its place has none");
	begin(4);
	kvsink_reset(h->chip, KVSINK_RESET_COLD);
	tap_ok(!kvsink_mmio_read(h->chip, KVSINK_REG_STREAMS_LIVE), "a function-level reset ends all");
	h_close(h);
}

/* ---- what one ATTEND can observe ---- */

/* The code of an ATTEND of `n` items, each of all 64 queries of the window. */
static uint32_t attend_items(uint32_t n)
{
	union kvsink_item item = {.attend = {.stream = 1, .first = LONG, .count = KVSINK_MAX_WINDOW_TOKENS}};
	struct kvsink_cmd *cmd = h_attend_cmd(h, s, 0, LONG, KVSINK_MAX_WINDOW_TOKENS);

	cmd->attend.q = cmd->attend.out = h_gart(0);
	cmd->attend.stats = (struct kvsink_ref){0};
	for (uint32_t i = 1; i < n; i++)
		h_item(h, &item);
	cmd->attend.item_count = n;
	return h_do(h);
}

static void limit(void)
{
	uint32_t each = 64 * ((LONG + KVSINK_MAX_WINDOW_TOKENS + 63) & ~63u);

	make(1, LONG);
	begin(KVSINK_MAX_WINDOW_TOKENS);
	window_append_cmd(h, s, RIGHT, 0, LONG, KVSINK_MAX_WINDOW_TOKENS);
	h_do(h);
	expect(attend_items(OBSERVED / each + 1), KVSINK_CODE_TOO_BIG, each * 8ull,
	       "ATTEND of more queries than it has sums for");
	expect(attend_items(OBSERVED / each), KVSINK_CODE_OK, 0, "as many as it has");
	h_close(h);
}

int main(void)
{
	refusals();
	pins();
	pinned_tail();
	error();
	reset_in_window();
	reset_in_commit();
	others_in_commit();
	stream_end();
	limit();
	return tap_done();
}
