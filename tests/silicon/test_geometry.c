// SPDX-License-Identifier: MIT
/*
 * Streams with parameters of query heads (LAYER_HEADS) and with values inside their keys (V_IN_K), through
 * the rings: when a command is refused, what ATTEND gives, which bytes are counted.
 */
#include "harness.h"
#include "tap.h"

#define TOKENS 40u
#define D_K 16u
#define FIELD(member) offsetof(struct kvsink_cmd, member)

static struct harness h;
static struct h_stream s;

static void fresh(uint32_t flags, uint32_t d_v)
{
	if (h.chip)
		h_close(&h);
	h_open(&h, NULL);
	s = h_geometry(1);
	s.flags = flags;
	s.d_v = d_v;
	h_stream(&h, &s);
}

static uint32_t set_heads(uint32_t layer, const float *params)
{
	h_put(&h, H_FREE, params, 2 * s.q_heads * sizeof(*params));
	h_cmd(&h, KVSINK_OP_LAYER_HEADS)->layer_heads =
		(struct kvsink_cmd_layer_heads){.stream = s.id, .layer = layer, .src = h_gart(H_FREE)};
	return h_do(&h);
}

/* One query and head in binary64; `heads` may be NULL. */
static double worst(uint32_t layer, uint32_t token, const float *heads)
{
	float q[D_K], k[D_K], v[D_K], got[D_K];
	double error = 0;

	for (uint32_t head = 0; head < s.q_heads; head++) {
		uint32_t kv = head / (s.q_heads / s.kv_heads);
		double slope = heads ? heads[head] : 0, sink = heads ? heads[s.q_heads + head] : -INFINITY;
		double want[D_K] = {0}, sum = exp(sink);

		h_get(&h, H_Q + head * s.d_k * 4, q, s.d_k * 4);
		h_get(&h, H_OUT + head * s.d_v * 4, got, s.d_v * 4);
		for (uint32_t t = 0; t <= token; t++) {
			double logit = 0;

			h_row(&s, false, layer, t, kv, k);
			h_row(&s, true, layer, t, kv, v);
			for (uint32_t i = 0; i < s.d_k; i++)
				logit += (double)q[i] * k[i];
			logit = exp(logit * s.scale + slope * ((double)t - token));
			sum += logit;
			for (uint32_t i = 0; i < s.d_v; i++)
				want[i] += logit * (s.flags & KVSINK_STREAM_V_IN_K ? k[i] : v[i]);
		}
		for (uint32_t i = 0; i < s.d_v; i++)
			error = fmax(error, fabs(want[i] / sum - got[i]));
	}
	return error;
}

static double attend(uint32_t layer, uint32_t mode, const float *heads)
{
	h_queries(&h, 11, s.q_heads * s.d_k);
	h_attend_cmd(&h, &s, layer, TOKENS - 1, 1)->attend.mode = mode;
	return h_do(&h) ? INFINITY : worst(layer, TOKENS - 1, heads);
}

static void every_mode(uint32_t layer, const float *heads, const char *name)
{
	for (uint32_t mode = 0; mode < KVSINK_ATTEND_MODE_COUNT; mode++) {
		double limit = mode == KVSINK_ATTEND_GATED ? 0.3 : 1e-5, error = attend(layer, mode, heads);

		tap_ok(error < limit, "%s: mode %u agrees with the oracle (%g)", name, mode, error);
	}
}

static void per_head(void)
{
	float params[8] = {0.5f, 0.25f, 0.0f, -0.125f, 0.7f, -INFINITY, 2.0f, -1.0f}, bad[8];
	uint64_t before;

	fresh(0, D_K);
	tap_ok(set_heads(0, params) == KVSINK_CODE_UNSUPPORTED && h.cpl.address == FIELD(layer_heads.stream),
	       "LAYER_HEADS of a stream without PER_HEAD is refused");
	fresh(KVSINK_STREAM_PER_HEAD, D_K);
	tap_ok(s.q_heads == 4, "the harness has four query heads");
	tap_ok(set_heads(s.layers, params) == KVSINK_CODE_BAD_FIELD &&
		       h.cpl.address == FIELD(layer_heads.layer),
	       "of a layer that the stream has not");
	for (unsigned i = 0; i < 3; i++) {
		memcpy(bad, params, sizeof(bad));
		bad[i == 0 ? 1 : 6] = i == 1 ? INFINITY : NAN;
		tap_ok(set_heads(1, bad) == KVSINK_CODE_BAD_FIELD && h.cpl.address == FIELD(layer_heads.src),
		       "%s is refused",
		       i == 0	? "a slope NaN"
		       : i == 1 ? "a sink of +inf"
				: "a sink NaN");
	}
	h_cmd(&h, KVSINK_OP_LAYER_HEADS)->layer_heads =
		(struct kvsink_cmd_layer_heads){.stream = s.id, .reserved = 1, .src = h_gart(H_FREE)};
	tap_ok(h_do(&h) == KVSINK_CODE_BAD_FIELD && h.cpl.address == FIELD(layer_heads.reserved),
	       "so is a reserved field");
	before = h_counter(&h, KVSINK_COUNTER_HEAD_PARAMS_HBM);
	tap_ok(before == s.layers * 4 * 8, "STREAM_CREATE counts what it cleared");
	tap_ok(!set_heads(1, params), "slopes and sinks of a layer");
	h_fill(&h, &s, 0, TOKENS);
	tap_ok(set_heads(1, params) == KVSINK_CODE_BUSY, "with a row in the stream they are fixed");
	every_mode(1, params, "slopes and sinks");
	every_mode(0, NULL, "a layer whose heads were not set");
	tap_ok(h_counter(&h, KVSINK_COUNTER_HEAD_PARAMS_HBM) == before + 7 * 4 * 8,
	       "each pass reads and counts them");
}

static struct kvsink_cmd *append_cmd(uint32_t count)
{
	struct kvsink_cmd *cmd = h_cmd(&h, KVSINK_OP_APPEND);

	cmd->append = (struct kvsink_cmd_append){
		.stream = s.id, .count = count, .k = h_gart(H_K), .v = h_gart(H_V)};
	return cmd;
}

static void v_in_k(void)
{
	uint32_t layers, row = s.kv_heads * D_K * 4;
	struct kvsink_tag_rec rec;
	uint64_t written, read;

	fresh(KVSINK_STREAM_V_IN_K, 12);
	layers = s.layers;
	append_cmd(1);
	tap_ok(h_do(&h) == KVSINK_CODE_BAD_FIELD && h.cpl.address == FIELD(append.v),
	       "APPEND with V rows is refused");
	h_fill(&h, &s, 0, TOKENS);
	written = h_counter(&h, KVSINK_COUNTER_KV_HBM_WRITE);
	tap_ok(written == (uint64_t)TOKENS * layers * row, "key rows are written once, values not at all");
	tap_ok(!h_counter(&h, KVSINK_COUNTER_NORM_WRITE), "no norms are written");
	every_mode(1, NULL, "values in keys");
	tap_ok(!h_counter(&h, KVSINK_COUNTER_V_SKIPPED) && !h_counter(&h, KVSINK_COUNTER_NORM_READ),
	       "gated mode has nothing to leave unread");
	read = h_counter(&h, KVSINK_COUNTER_KV_HBM_READ);
	tap_ok(read == (uint64_t)3 * TOKENS * row, "every row is read once a pass");
	tap_ok(!h_promote(&h, &s, 3, 0, layers, 3) && !h_promote(&h, &s, 39, 1, 2, 1), "rows are promoted");
	h_barrier(&h, &s);
	every_mode(1, NULL, "values in resident keys");
	tap_ok(h_entry(&h, &s, 39, &rec) && rec.row_bytes == D_K * 4, "a resident row is a key row");
	tap_ok(h_counter(&h, KVSINK_COUNTER_DMA_COPY) == layers * row + D_K * 4,
	       "a copy moves key rows only");
	tap_ok(h_counter(&h, KVSINK_COUNTER_KV_SRAM_READ) == 3 * (row + D_K * 4),
	       "what SRAM serves is counted once");
	h_config(&h, s.id, KVSINK_PARAM_TAIL_TOKENS, 8);
	h_fill(&h, &s, TOKENS, 4);
	tap_ok(h_counter(&h, KVSINK_COUNTER_TAIL_WRITE) == 4 * layers * row, "so is the tail");
}

int main(void)
{
	per_head();
	v_in_k();
	h_close(&h);
	return tap_done();
}
