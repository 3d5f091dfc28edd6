// SPDX-License-Identifier: MIT
/*
 * Rows and queries that are not finite: in every mode the outputs of query heads that see them are not finite
 * and those of all others are what they would be; what APPEND stores is finite or NaN.
 */
#include "harness.h"
#include "tap.h"

#define TOKENS 40u
#define BAD 9u /* token, in KV head 0 of layer 0 */

static struct harness h;
static struct h_stream s;
static const char *const modes[] = {"split", "canonical", "gated"};
static float first[3][4][16]; /* outputs of the same rows without the bad element */

/* APPENDs to layer 0, with one element of K (V) of the bad token replaced, unless it is 0. */
static void fresh(uint32_t format, float softcap, bool v, float bad)
{
	struct kvsink_cmd *cmd;
	float row[16];

	if (h.chip)
		h_close(&h);
	h_open(&h, NULL);
	s = h_geometry(1);
	s.format = format;
	s.softcap = softcap;
	s.layers = s.score_groups = 1;
	s.group_end[1] = 0;
	h_stream(&h, &s);
	for (uint32_t i = 0; i < TOKENS * s.kv_heads; i++)
		for (uint32_t what = 0; what < 2; what++) {
			h_row(&s, what, 0, i / s.kv_heads, i % s.kv_heads, row);
			if (i == BAD * s.kv_heads && what == v && bad != 0)
				row[3] = bad;
			h_put(&h, (what ? H_V : H_K) + i * sizeof(row), row, sizeof(row));
		}
	cmd = h_cmd(&h, KVSINK_OP_APPEND);
	cmd->append = (struct kvsink_cmd_append){
		.stream = s.id, .count = TOKENS, .k = h_gart(H_K), .v = h_gart(H_V)};
	h_do(&h);
	h_step_end(&h, &s, TOKENS);
	h_queries(&h, 5, s.q_heads * s.d_k);
}

static void attend(uint32_t mode, float out[4][16])
{
	struct kvsink_cmd *cmd = h_attend_cmd(&h, &s, 0, TOKENS - 1, 1);

	cmd->attend.mode = mode;
	cmd->attend.stats = h_gart(H_STATS);
	h_do(&h);
	h_get(&h, H_OUT, out, 4 * sizeof(*out));
}

static float bound(uint32_t head)
{
	struct kvsink_attend_stat stat;

	h_get(&h, H_STATS + head * sizeof(stat), &stat, sizeof(stat));
	return stat.bound;
}

/* Query heads 0 and 1 see KV head 0. */
static void look(const char *what, bool v)
{
	float out[4][16];

	for (uint32_t mode = 0; mode < 3; mode++) {
		uint32_t tell = 0;

		attend(mode, out);
		for (uint32_t head = 0; head < 2; head++)
			tell += !isfinite(out[head][3]) && (v || !isfinite(out[head][0]));
		tap_ok(tell == 2 && !memcmp(out[2], first[mode][2], 2 * sizeof(out[2])),
		       "%s, %s: outputs that see it are not finite, the others are what they were", what,
		       modes[mode]);
		tap_ok(isinf(bound(0)) && isinf(bound(1)) && isfinite(bound(2)),
		       "%s, %s: the bound is infinite for the former only", what, modes[mode]);
	}
}

static void rows(uint32_t format, float softcap, const char *name)
{
	static const float bad[] = {NAN, INFINITY, -INFINITY, 70000.0f, -70000.0f};
	char what[100];

	fresh(format, softcap, false, 0);
	for (uint32_t mode = 0; mode < 3; mode++)
		attend(mode, first[mode]);
	for (uint32_t i = 0; i < (format == KVSINK_FORMAT_FP16 ? 5u : 3u); i++)
		for (uint32_t v = 0; v < 2; v++) {
			fresh(format, softcap, v, bad[i]);
			snprintf(what, sizeof(what), "%s, soft cap %g, %g in %s", name, softcap, bad[i],
				 v ? "V" : "K");
			look(what, v);
		}
}

/* Where the third element of the bad token's K row lies; h_map() puts page i at the i-th place from the end.
 */
static const uint8_t *element(void)
{
	uint32_t pages = s.max_tokens / s.page_tokens, page = BAD / s.page_tokens;
	uint64_t bytes = kvsink_page_bytes(0, s.layers, s.kv_heads, s.d_k, s.d_v, s.format, s.page_tokens);
	uint64_t index = BAD % s.page_tokens * s.kv_heads * s.d_k + 3;

	return h.hbm + s.pages + (pages - 1 - page) * bytes + index * kvsink_format_bytes(s.format);
}

static void stored(void)
{
	float single;
	uint16_t half;

	fresh(KVSINK_FORMAT_F32, 0, false, -INFINITY);
	memcpy(&single, element(), sizeof(single));
	tap_ok(isnan(single), "F32: an infinity is stored as NaN");
	fresh(KVSINK_FORMAT_FP16, 0, false, 65520.0f);
	memcpy(&half, element(), sizeof(half));
	tap_ok((half & 0x7fff) > 0x7c00, "FP16: what rounds to infinity is stored as NaN");
	fresh(KVSINK_FORMAT_FP16, 0, false, -65519.0f);
	memcpy(&half, element(), sizeof(half));
	tap_ok(half == 0xfbff, "FP16: what rounds to the largest finite number is stored as that");
}

/* Query head 2 with an infinity; its KV head is that of query head 3. */
static void queries(float softcap)
{
	float q[4][16], out[4][16], bad = -INFINITY;

	fresh(KVSINK_FORMAT_F32, softcap, false, 0);
	for (uint32_t mode = 0; mode < 3; mode++)
		attend(mode, first[mode]);
	h_get(&h, H_Q, q, sizeof(q));
	q[2][5] = bad;
	h_put(&h, H_Q, q, sizeof(q));
	for (uint32_t mode = 0; mode < 3; mode++) {
		attend(mode, out);
		tap_ok(!isfinite(out[2][0]) && isfinite(out[3][0]) &&
			       !memcmp(out, first[mode], 2 * sizeof(*out)),
		       "soft cap %g, a query with an infinity, %s: its output is not finite, the others go "
		       "on",
		       softcap, modes[mode]);
		tap_ok(isinf(bound(2)) && isfinite(bound(3)), "soft cap %g, %s: its bound is infinite",
		       softcap, modes[mode]);
	}
}

int main(void)
{
	rows(KVSINK_FORMAT_F32, 0, "F32");
	rows(KVSINK_FORMAT_F32, 30, "F32");
	rows(KVSINK_FORMAT_FP16, 0, "FP16");
	rows(KVSINK_FORMAT_FP16, 30, "FP16");
	stored();
	queries(0);
	queries(30);
	h_close(&h);
	return tap_done();
}
