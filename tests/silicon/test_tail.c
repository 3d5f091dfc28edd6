// SPDX-License-Identifier: MIT
/* The tail: what it holds, that it equals HBM, who is refused, when it gives way. */
#include "harness.h"
#include "tap.h"

static struct harness h;
static struct h_stream s; /* groups: layer 0, layer 1 */
static uint32_t length;

#define ROW 128u /* K and V of one layer and head */

static void open_stream(void)
{
	h_open(&h, NULL);
	s = h_geometry(1);
	h_stream(&h, &s);
	length = 0;
}

static void grow(uint32_t tokens)
{
	for (uint32_t i = 0; i < tokens; i++)
		h_fill(&h, &s, length++, 1);
}

static uint32_t tail(uint32_t group, uint32_t tokens)
{
	struct kvsink_cmd *cmd = h_cmd(&h, KVSINK_OP_CONFIG);

	cmd->config = (struct kvsink_cmd_config){
		.stream = s.id, .param = KVSINK_PARAM_TAIL_TOKENS, .group = group, .value = tokens};
	return h_do(&h);
}

/* TAIL_TOKENS of a group, as QUERY PARAMS tells it. */
static uint64_t tail_tokens(uint32_t group)
{
	uint64_t value[KVSINK_PARAM_COUNT];

	h_query_cmd(&h, KVSINK_QUERY_PARAMS, s.id, 0, KVSINK_PARAM_COUNT)->query.group = group;
	h_do(&h);
	h_get(&h, H_ANSWER + sizeof(struct kvsink_list_head), value, sizeof(value));
	return value[KVSINK_PARAM_TAIL_TOKENS];
}

/* The tail's record of a group that begins with `layer`. */
static bool record(uint32_t layer, struct kvsink_tag_rec *out)
{
	static struct kvsink_tag_rec rec[64];
	struct kvsink_list_head head;

	h_query_cmd(&h, KVSINK_QUERY_TAGS, s.id, 0, 64);
	h_priv(&h);
	h_get(&h, H_ANSWER, &head, sizeof(head));
	h_get(&h, H_ANSWER + sizeof(head), rec, head.written * sizeof(rec[0]));
	for (uint32_t i = 0; i < head.written; i++)
		if (rec[i].flags & KVSINK_TAG_TAIL && rec[i].layer_begin == layer) {
			*out = rec[i];
			return true;
		}
	return false;
}

static bool holds(uint32_t layer, uint32_t token, uint32_t tokens)
{
	struct kvsink_tag_rec rec;

	return record(layer, &rec) && rec.token == token && rec.tokens == tokens;
}

/* Where a tenant is told that the second tail lies. */
static uint32_t told_offset(uint32_t flags)
{
	struct kvsink_tag_rec rec[2];

	h_query_cmd(&h, KVSINK_QUERY_TAGS, s.id, 0, 2);
	h.desc.flags = flags;
	h_do(&h);
	h_get(&h, H_ANSWER + sizeof(struct kvsink_list_head), rec, sizeof(rec));
	return rec[1].sram_offset;
}

/* ATTEND of the newest token: the rows that were read from SRAM. */
static uint64_t rows_from_sram(uint32_t layer)
{
	uint64_t before = h_counter(&h, KVSINK_COUNTER_KV_SRAM_READ);

	h_attend_cmd(&h, &s, layer, length - 1, 1);
	h_do(&h);
	return (h_counter(&h, KVSINK_COUNTER_KV_SRAM_READ) - before) / ROW;
}

/* Does the ring of a layer hold the rows that were appended, for all that it claims? */
static bool same_rows(uint32_t layer)
{
	struct kvsink_tag_rec rec;
	float k[16], v[16];

	if (!record(layer, &rec))
		return false;
	for (uint32_t t = rec.token; t < rec.token + rec.tokens; t++)
		for (uint32_t head = 0; head < 2; head++) {
			uint64_t ring = rec.sram_bytes / (2 * ROW);
			const uint8_t *at = h.sram + rec.sram_offset + (t % ring * 2 + head) * ROW;

			h_row(&s, false, layer, t, head, k);
			h_row(&s, true, layer, t, head, v);
			if (memcmp(at, k, sizeof(k)) || memcmp(at + sizeof(k), v, sizeof(v)))
				return false;
		}
	return true;
}

static void contents(void)
{
	open_stream();
	h_queries(&h, 3, 64);
	grow(3);
	tap_ok(tail(KVSINK_GROUP_ALL, 4) == 0 && holds(0, 3, 0),
	       "a tail begins empty: older rows are not in it");
	tap_ok(kvsink_mmio_read(h.chip, KVSINK_REG_SRAM_USED) == 2 * 4 * 2 * ROW,
	       "and takes its SRAM at once");
	grow(2);
	tap_ok(holds(0, 3, 2) && rows_from_sram(0) == 4, "two tokens later ATTEND reads their rows from it");
	grow(7);
	tap_ok(holds(0, 8, 4) && rows_from_sram(1) == 8, "it holds the newest four when it has gone round");
	tap_ok(same_rows(0) && same_rows(1), "what it holds equals what was appended");
	tap_ok(told_offset(KVSINK_JOB_PRIVILEGED) == 4 * 2 * ROW && told_offset(0) == 0,
	       "a tenant is not told where in SRAM, the driver is");
	tap_ok(h_counter(&h, KVSINK_COUNTER_TAIL_WRITE) == 9 * 2 * 2 * ROW, "TAIL_WRITE counts the bytes");
	tap_ok(h_counter(&h, KVSINK_COUNTER_DMA_COPY) == 0, "no copy was needed");
	h_close(&h);
}

static void dropped_step(void)
{
	struct kvsink_cmd *cmd;

	open_stream();
	tail(KVSINK_GROUP_ALL, 4);
	grow(10);
	h_append(&h, &s, 0, 10, 2);
	cmd = h_cmd(&h, KVSINK_OP_STEP_END);
	cmd->step_end.stream = s.id;
	cmd->flags = KVSINK_STEP_ABORT;
	h_do(&h);
	tap_ok(holds(0, 8, 2), "a dropped step takes the rows with it that it had overwritten");
	tap_ok(holds(1, 6, 4), "a group without rows in that step keeps its own");
	grow(1);
	tap_ok(holds(0, 8, 3) && same_rows(0), "it goes on from there");
	h_close(&h);
}

/* Set up while a step is open: what the step has appended is not in it, in none of the layers. */
static void in_mid_step(void)
{
	struct kvsink_cmd *cmd;

	open_stream();
	h_queries(&h, 3, 64);
	grow(3);
	h_append(&h, &s, 0, 3, 2);
	tap_ok(tail(KVSINK_GROUP_ALL, 4) == 0 && holds(0, 5, 0) && holds(1, 3, 0),
	       "a tail set up in mid-step begins behind the rows of that step");
	h_append(&h, &s, 1, 3, 2);
	length += 2;
	h_step_end(&h, &s, 2);
	tap_ok(holds(0, 5, 0) && holds(1, 3, 2) && rows_from_sram(0) == 0 && rows_from_sram(1) == 4,
	       "a layer that came later in the step has its rows in it");
	grow(1);
	tap_ok(holds(0, 5, 1) && same_rows(0) && same_rows(1), "it goes on with the next step");
	h_append(&h, &s, 0, 6, 3);
	tap_ok(tail(0, 8) == 0 && holds(0, 9, 0), "another length in mid-step begins anew");
	cmd = h_cmd(&h, KVSINK_OP_STEP_END);
	cmd->step_end.stream = s.id;
	cmd->flags = KVSINK_STEP_ABORT;
	h_do(&h);
	grow(2);
	tap_ok(holds(0, 8, 0), "rows of a dropped step are not taken for later ones");
	grow(2);
	tap_ok(holds(0, 9, 1) && same_rows(0), "and it goes on behind them");
	tap_ok(tail(KVSINK_GROUP_ALL, 0) == 0, "a tail ends");
	h_append(&h, &s, 0, 10, 2);
	tap_ok(tail(0, 1) == 0 && tail(0, 0) == 0 && kvsink_mmio_read(h.chip, KVSINK_REG_SRAM_USED) == 0,
	       "also in mid-step");
	h_close(&h);
}

static void refusals(void)
{
	open_stream();
	grow(2);
	tail(KVSINK_GROUP_ALL, 3);
	grow(5);
	h_config(&h, s.id, KVSINK_PARAM_SRAM_BUDGET, 2 * 8 * 2 * ROW);
	tap_ok(tail(KVSINK_GROUP_ALL, 9) == KVSINK_CODE_BUDGET && holds(0, 4, 3) && holds(1, 4, 3) &&
		       same_rows(0),
	       "a longer tail that does not fit is refused, both groups keep theirs");
	tap_ok(tail(0, 9) == 0 && holds(0, 7, 0) && holds(1, 4, 3), "one group alone may have it");
	tap_ok(tail(0, KVSINK_MAX_TAIL_TOKENS + 1) == KVSINK_CODE_BAD_FIELD, "4,097 tokens are refused");
	tap_ok(tail(2, 1) == KVSINK_CODE_BAD_FIELD, "a group that is not there is refused");
	tap_ok(tail(KVSINK_GROUP_ALL, 0) == 0 && kvsink_mmio_read(h.chip, KVSINK_REG_SRAM_USED) == 0,
	       "0 ends the tails and gives their SRAM back");
	h_close(&h);
}

static void heads(void)
{
	struct kvsink_cmd *cmd;

	open_stream();
	h_queries(&h, 3, 64);
	cmd = h_cmd(&h, KVSINK_OP_CONFIG);
	cmd->config = (struct kvsink_cmd_config){s.id, KVSINK_PARAM_HEAD_MASK, 0, 2};
	h_do(&h);
	tail(KVSINK_GROUP_ALL, 4);
	grow(6);
	tap_ok(rows_from_sram(0) == 4 && rows_from_sram(1) == 8, "a tail has the heads of HEAD_MASK");
	h_promote(&h, &s, 5, 1, 2, 3);
	h_barrier(&h, &s);
	tap_ok(rows_from_sram(1) == 8, "a token in the tail and in an entry is read once");
	h_config(&h, s.id, KVSINK_PARAM_LAYER_RANGE, 1 | 2u << 16);
	tap_ok(rows_from_sram(0) == 4 && tail(KVSINK_GROUP_ALL, 4) == 0 && rows_from_sram(0) == 0,
	       "LAYER_RANGE counts from the next setting on");
	tap_ok(tail_tokens(0) == 0 && tail_tokens(1) == 4,
	       "TAIL_TOKENS of a group without layers for a tail reads 0");
	h_close(&h);
}

static void lease(void)
{
	struct kvsink_cmd *cmd;

	open_stream();
	h.host_ns = 1000;
	tail(0, 4);
	grow(4);
	h_config(&h, s.id, KVSINK_PARAM_SRAM_BUDGET, 4 * 2 * ROW);
	h.host_ns = 1000 + KVSINK_MAX_LEASE_NS - 1;
	cmd = h_promote_cmd(&h, &s, 0, 0, 2, 3);
	cmd->promote.dwell_steps = 5;
	tap_ok(h_do(&h) == KVSINK_CODE_BUDGET && holds(0, 0, 4), "a tail that is leased gives way to nobody");
	grow(1);
	h.host_ns += KVSINK_MAX_LEASE_NS - 1;
	cmd = h_promote_cmd(&h, &s, 0, 0, 2, 3);
	cmd->promote.dwell_steps = 5;
	tap_ok(h_do(&h) == KVSINK_CODE_BUDGET, "a step renews the lease");
	h.host_ns += 1;
	tap_ok(h_promote(&h, &s, 0, 0, 2, 3) == KVSINK_CODE_BUDGET,
	       "when it is over, a plain grant still displaces nothing");
	cmd = h_promote_cmd(&h, &s, 0, 0, 2, 3);
	cmd->promote.dwell_steps = 5;
	tap_ok(h_do(&h) == 0 && !holds(0, 1, 4) && h_counter(&h, KVSINK_COUNTER_DISPLACED) == 1,
	       "a contract takes the whole tail");
	h_close(&h);
}

int main(void)
{
	contents();
	dropped_step();
	in_mid_step();
	refusals();
	heads();
	lease();
	return tap_done();
}
