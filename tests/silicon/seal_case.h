/* SPDX-License-Identifier: MIT */
/*
 * Sealed streams for the chip's tests: stored rows decoded from HBM by the layout of kvsink_hw.h, in binary64
 * and without the chip's code; attention on them; the choice of protected rows.
 */
#ifndef SEAL_CASE_H
#define SEAL_CASE_H

#include "harness.h"
#include "tap.h"

#define SEAL_TOKENS 44u /* five pages of eight, and four tokens of an open one */
#define SEALED 32u

static struct harness h;
static struct h_stream s;
static uint32_t sealed;
static void (*tune)(struct kvsink_chip_config *); /* of the next chips */

static bool is_channel(uint32_t seal)
{
	return seal == KVSINK_FORMAT_INT8_CHANNEL || seal == KVSINK_FORMAT_INT4_CHANNEL;
}

static uint32_t code_bits(uint32_t seal)
{
	return seal == KVSINK_FORMAT_INT8 || seal == KVSINK_FORMAT_INT8_CHANNEL ? 8 : 4;
}

/* The rows that the tests protect: two tokens in all heads of layer 1, one in head 0 of both layers. */
static const struct {
	uint32_t token, begin, end;
	uint64_t heads;
} islands[] = {{0, 1, 2, 3}, {18, 0, 2, 1}, {31, 1, 2, 3}};

static bool is_protected(uint32_t layer, uint32_t token, uint32_t head)
{
	for (unsigned i = 0; i < 3; i++)
		if (islands[i].token == token && layer >= islands[i].begin && layer < islands[i].end)
			return islands[i].heads >> head & 1;
	return false;
}

static double half_value(const uint8_t *at)
{
	uint16_t bits;
	double x;

	memcpy(&bits, at, 2);
	x = (bits >> 10 & 31) ? ldexp(1024 + (bits & 1023), (bits >> 10 & 31) - 25) : ldexp(bits & 1023, -24);
	return bits & 0x8000 ? -x : x;
}

static uint32_t width(bool v)
{
	return v ? s.d_v : s.d_k;
}

static uint32_t row_bytes(bool v)
{
	return width(v) * (s.format == KVSINK_FORMAT_FP16 ? 2 : 4);
}

static uint8_t *page_at(uint32_t token)
{
	uint32_t pages = s.max_tokens / s.page_tokens;
	uint64_t bytes = kvsink_page_bytes(0, s.layers, s.kv_heads, s.d_k, s.d_v, s.format, s.page_tokens);

	return h.hbm + s.pages + (pages - 1 - token / s.page_tokens) * bytes;
}

/* Offsets in a page, and in a head's region of it. */
static uint32_t plane_at(bool v, uint32_t layer)
{
	return (layer * (row_bytes(0) + row_bytes(1)) + (v ? row_bytes(0) : 0)) * s.kv_heads * s.page_tokens;
}

static uint32_t seal_of(bool v)
{
	return v ? s.seal_v : s.seal_k;
}

static uint32_t scale_bytes(bool v)
{
	return is_channel(seal_of(v)) ? 0 : width(v) / 32 * (seal_of(v) == KVSINK_FORMAT_INT4 ? 4 : 2);
}

static uint32_t scales_at(bool v)
{
	return width(v) * code_bits(seal_of(v)) / 8 * s.page_tokens;
}

static uint32_t bitmap_at(bool v)
{
	return scales_at(v) + (is_channel(seal_of(v)) ? width(v) * 4 : scale_bytes(v) * s.page_tokens);
}

static uint32_t rows_at(bool v)
{
	return (bitmap_at(v) + (s.page_tokens + 7) / 8 + 3) / 4 * 4;
}

static void plain(const uint8_t *row, bool v, double *out)
{
	float single;

	for (uint32_t e = 0; e < width(v); e++) {
		memcpy(&single, row + 4 * e, 4);
		out[e] = s.format == KVSINK_FORMAT_FP16 ? half_value(row + 2 * e) : single;
	}
}

/* Rank of a protected token: those before it in its page. */
static uint32_t rank(uint32_t layer, uint32_t token, uint32_t head)
{
	uint32_t n = 0;

	for (uint32_t t = token / s.page_tokens * s.page_tokens; t < token; t++)
		n += is_protected(layer, t, head);
	return n;
}

/* The row as it is stored; returns half a step of its widest grid, 0 if it was not quantised. */
static double stored(bool v, uint32_t layer, uint32_t token, uint32_t head, double *out)
{
	uint32_t slot = token % s.page_tokens, d = width(v), seal = seal_of(v);
	uint8_t *plane = page_at(token) + plane_at(v, layer);
	uint8_t *region = plane + (size_t)head * s.page_tokens * row_bytes(v),
		*scales = region + scales_at(v);
	double worst = 0;

	if (token >= sealed || !seal) {
		plain(plane + (slot * s.kv_heads + head) * row_bytes(v), v, out);
		return 0;
	}
	if (is_protected(layer, token, head)) {
		plain(region + rows_at(v) + rank(layer, token, head) * row_bytes(v), v, out);
		return 0;
	}
	for (uint32_t e = 0; e < d; e++) {
		uint32_t i = slot * d + e, group = slot * (d / 32) + e / 32;
		int code = code_bits(seal) == 8 ? region[i] : region[i / 2] >> i % 2 * 4 & 15;
		double scale, minimum = 0;

		if (is_channel(seal)) {
			scale = half_value(scales + 2 * e);
			minimum = half_value(scales + 2 * (d + e));
		} else if (seal == KVSINK_FORMAT_INT4) {
			scale = half_value(scales + 4 * group);
			minimum = half_value(scales + 4 * group + 2);
		} else {
			code = (int8_t)code;
			scale = half_value(scales + 2 * group);
		}
		out[e] = (float)((float)(scale * code) + minimum);
		worst = fmax(worst, scale / 2);
	}
	return worst;
}

/* ||out - attention on the stored rows||, for one query and head at H_OUT; *sum_of_norms = sum of a * |v|. */
static double distance_of(uint32_t layer, uint32_t token, uint32_t query, uint32_t head, double *sum_of_norms)
{
	uint32_t kv = head / (s.q_heads / s.kv_heads), at = query * s.q_heads + head;
	double weight[SEAL_TOKENS], row[KVSINK_MAX_HEAD_DIM], want[KVSINK_MAX_HEAD_DIM] = {0};
	double max = -INFINITY, sum = 0, error = 0, norms = 0;
	float q[KVSINK_MAX_HEAD_DIM], got[KVSINK_MAX_HEAD_DIM];
	uint32_t begin = s.window && s.window < token + 1 ? token + 1 - s.window : 0;

	h_get(&h, H_Q + at * s.d_k * 4, q, s.d_k * 4);
	h_get(&h, H_OUT + at * s.d_v * 4, got, s.d_v * 4);
	for (uint32_t t = begin; t <= token; t++) {
		stored(false, layer, t, kv, row);
		weight[t] = 0;
		for (uint32_t e = 0; e < s.d_k; e++)
			weight[t] += q[e] * row[e];
		weight[t] *= s.scale;
		max = fmax(max, weight[t]);
	}
	for (uint32_t t = begin; t <= token; t++)
		sum += weight[t] = exp(weight[t] - max);
	for (uint32_t t = begin; t <= token; t++) {
		double norm = 0;

		stored(true, layer, t, kv, row);
		for (uint32_t e = 0; e < s.d_v; e++) {
			want[e] += weight[t] / sum * row[e];
			norm += row[e] * row[e];
		}
		norms += weight[t] / sum * sqrt(norm);
	}
	for (uint32_t e = 0; e < s.d_v; e++)
		error += (want[e] - got[e]) * (want[e] - got[e]);
	*sum_of_norms = norms;
	return sqrt(error);
}

/* The greatest of their ratios over the queries of tokens [first, first + count). */
static inline double worst_error(uint32_t layer, uint32_t first, uint32_t count)
{
	double worst = 0, norms, distance;

	for (uint32_t i = 0; i < count; i++)
		for (uint32_t head = 0; head < s.q_heads; head++) {
			distance = distance_of(layer, first + i, i, head, &norms);
			worst = fmax(worst, distance / norms);
		}
	return worst;
}

static void open_stream(uint32_t format, uint32_t seal_k, uint32_t seal_v, uint32_t window)
{
	if (h.chip)
		h_close(&h);
	h_open(&h, tune);
	s = h_geometry(1);
	s.format = format;
	s.d_k = 32;
	s.d_v = 64;
	s.page_tokens = 8;
	s.seal_k = seal_k;
	s.seal_v = seal_v;
	s.window = window;
	h_stream(&h, &s);
	h_fill(&h, &s, 0, SEAL_TOKENS);
	h_queries(&h, 11, SEAL_TOKENS * s.q_heads * s.d_k);
	sealed = 0;
}

static void protect(void)
{
	for (unsigned i = 0; i < 3; i++)
		h_protect(&h, islands[i].token, islands[i].begin, islands[i].end, islands[i].heads);
}

static void seal_stream(void)
{
	protect();
	if (!h_seal(&h, &s, SEALED))
		sealed = SEALED;
}

static uint32_t attend(uint32_t mode, uint32_t layer, uint32_t first, uint32_t count)
{
	h_attend_cmd(&h, &s, layer, first, count)->attend.mode = mode;
	return h_do(&h);
}

#endif
