// SPDX-License-Identifier: MIT
/*
 * Bytes and time of sealed rows, against a count by hand; gated reading of them; the same bits whatever the
 * threads, the SIMD level and the moment at which a long SEAL pauses.
 */
#include "datapath.h"
#include "seal_case.h"

#define BURST 64u

struct count {
	uint64_t useful, bus;
};

static void one(struct count *c, uint64_t at, uint64_t bytes)
{
	c->useful += bytes;
	c->bus += ((at + bytes - 1) / BURST - at / BURST + 1) * BURST;
}

static bool in_sram(uint32_t layer, uint32_t token, uint32_t head)
{
	return layer == 1 && ((token == 0) || (token == 10 && head == 1) || token == 35);
}

/*
 * K or V of one head that a block of queries, at tokens [first, last], reads from HBM: row by row, a flag for
 * every burst of codes.
 */
static struct count count_plane(bool v, uint32_t layer, uint32_t head, uint32_t first, uint32_t last)
{
	uint32_t begin = s.window && s.window < first + 1 ? first + 1 - s.window : 0, tokens = s.page_tokens;
	uint32_t plane = plane_at(v, layer), region = plane + head * tokens * row_bytes(v);
	uint32_t code = seal_of(v) ? width(v) * code_bits(seal_of(v)) / 8 : 0;
	static bool touched[65536 / BURST];
	struct count c = {0};
	bool header = false;

	for (uint32_t t = begin; t <= last; t++) {
		uint32_t slot = t % tokens;

		if (!slot || t == begin) {
			memset(touched, 0, sizeof(touched));
			header = false;
		}
		/* per channel, scales are the page's: residents need them, unless they are protected */
		if (in_sram(layer, t, head) &&
		    (t >= sealed || !is_channel(seal_of(v)) || is_protected(layer, t, head)))
			continue;
		if (t >= sealed || !seal_of(v)) {
			one(&c, plane + (slot * s.kv_heads + head) * row_bytes(v), row_bytes(v));
			continue;
		}
		if (!header)
			one(&c, region + scales_at(v), bitmap_at(v) + (tokens + 7) / 8 - scales_at(v));
		header = true;
		if (in_sram(layer, t, head))
			continue;
		if (is_protected(layer, t, head)) {
			one(&c, region + rows_at(v) + rank(layer, t, head) * row_bytes(v), row_bytes(v));
			continue;
		}
		c.useful += code;
		for (uint32_t at = region + slot * code; at < region + (slot + 1) * code; at++) {
			c.bus += touched[at / BURST] ? 0 : BURST;
			touched[at / BURST] = true;
		}
	}
	return c;
}

static struct count count_queries(uint32_t layer, uint32_t first, uint32_t count)
{
	uint32_t block = 24 / (s.q_heads / s.kv_heads), end = first + count, last;
	struct count sum = {0}, c;

	for (uint32_t t = first; t < end; t += block) {
		last = t + block < end ? t + block - 1 : end - 1;
		for (uint32_t i = 0; i < 2 * s.kv_heads; i++) {
			c = count_plane(i % 2, layer, i / 2, t, last);
			sum.useful += c.useful;
			sum.bus += c.bus;
		}
	}
	return sum;
}

static const struct {
	uint32_t seal_k, seal_v;
	const char *name;
} mixes[] = {
	{KVSINK_FORMAT_INT8, KVSINK_FORMAT_INT8, "INT8"},
	{KVSINK_FORMAT_INT8_CHANNEL, KVSINK_FORMAT_INT4, "INT8 per channel, INT4"},
	{KVSINK_FORMAT_INT4_CHANNEL, 0, "INT4 per channel, as it was"},
};

static void ledger(unsigned m, uint32_t window)
{
	uint64_t before[3], got[3];
	struct count want;

	open_stream(KVSINK_FORMAT_FP16, mixes[m].seal_k, mixes[m].seal_v, window);
	seal_stream();
	h_promote(&h, &s, 0, 1, 2, 3);
	h_promote(&h, &s, 10, 1, 2, 2);
	h_promote(&h, &s, 35, 1, 2, 3);
	h_barrier(&h, &s);
	before[0] = h_counter(&h, KVSINK_COUNTER_KV_HBM_READ);
	before[1] = h_counter(&h, KVSINK_COUNTER_KV_HBM_READ_BUS);
	attend(KVSINK_ATTEND_SPLIT, 1, 14, 30);
	got[0] = h_counter(&h, KVSINK_COUNTER_KV_HBM_READ) - before[0];
	got[1] = h_counter(&h, KVSINK_COUNTER_KV_HBM_READ_BUS) - before[1];
	want = count_queries(1, 14, 30);
	tap_ok(got[0] == want.useful && got[1] == want.bus,
	       "%s, window %u: bytes of thirty queries, useful %llu (%llu), bus %llu (%llu)", mixes[m].name,
	       window, (unsigned long long)got[0], (unsigned long long)want.useful,
	       (unsigned long long)got[1], (unsigned long long)want.bus);
	got[0] = h_counter(&h, KVSINK_COUNTER_PREFILL_HBM_READ);
	got[1] = h_counter(&h, KVSINK_COUNTER_PREFILL_HBM_READ_BUS);
	h_score_cmd(&h, &s, 0, 0, SEAL_TOKENS);
	h_do(&h);
	got[0] = h_counter(&h, KVSINK_COUNTER_PREFILL_HBM_READ) - got[0];
	got[1] = h_counter(&h, KVSINK_COUNTER_PREFILL_HBM_READ_BUS) - got[1];
	want = count_queries(0, 0, SEAL_TOKENS);
	tap_ok(got[0] == want.useful && got[1] == want.bus, "%s, window %u: bytes of SCORE", mixes[m].name,
	       window);
}

/* One query, one page of eight tokens without protected rows, by hand: INT8, d 32 and 64, two heads. */
static void by_hand(void)
{
	uint64_t hbm, bus, ns;

	open_stream(KVSINK_FORMAT_FP16, KVSINK_FORMAT_INT8, KVSINK_FORMAT_INT8, 0);
	hbm = h_counter(&h, KVSINK_COUNTER_KV_SEAL_READ);
	ns = h_counter(&h, KVSINK_COUNTER_MODELLED_NS);
	h_seal(&h, &s, 8);
	ns = h_counter(&h, KVSINK_COUNTER_MODELLED_NS) - ns;
	/* two layers of eight tokens, two heads, 32 + 64 elements of two bytes */
	tap_ok(h_counter(&h, KVSINK_COUNTER_KV_SEAL_READ) - hbm == 2 * 8 * 2 * 96 * 2,
	       "SEAL reads whole rows");
	/* of each layer and head: 8 * (32 + 64) codes, 8 * (2 + 4) bytes of scales, two bitmaps */
	tap_ok(h_counter(&h, KVSINK_COUNTER_KV_SEAL_WRITE) == 2 * 2 * (8 * 96 + 8 * 6 + 2),
	       "and writes codes, scales and bitmaps");
	tap_ok(h_counter(&h, KVSINK_COUNTER_SEALED_TOKENS) == 8, "SEALED_TOKENS counts eight");
	/* read: 6144 B; written: K 273 B of a 512 B region in 5 bursts, V 545 B of 1024 in 9; 20 + 150 ns */
	tap_ok(ns == 170 + (6144 + 4 * (5 + 9) * 64) / 3200 || ns == 171 + (6144 + 4 * (5 + 9) * 64) / 3200,
	       "it takes the time of its bytes: %llu ns", (unsigned long long)ns);
	hbm = h_counter(&h, KVSINK_COUNTER_KV_HBM_READ);
	bus = h_counter(&h, KVSINK_COUNTER_KV_HBM_READ_BUS);
	attend(KVSINK_ATTEND_SPLIT, 0, 7, 1);
	hbm = h_counter(&h, KVSINK_COUNTER_KV_HBM_READ) - hbm;
	bus = h_counter(&h, KVSINK_COUNTER_KV_HBM_READ_BUS) - bus;
	tap_ok(hbm == 2 * (8 * 96 + 8 * 6 + 2), "a query reads as much: %llu B instead of %u",
	       (unsigned long long)hbm, 2 * 8 * 96 * 2);
	/* of each head: K 4 bursts of codes and one of scales, V 8 and one */
	tap_ok(bus == 2 * (4 + 1 + 8 + 1) * 64, "in whole bursts %llu", (unsigned long long)bus);
}

static uint64_t gated_sum(unsigned counter, unsigned skipped, uint32_t first, uint32_t count, uint64_t *saved)
{
	uint64_t read = h_counter(&h, counter);

	*saved = h_counter(&h, skipped);
	attend(KVSINK_ATTEND_GATED, 1, first, count);
	*saved = h_counter(&h, skipped) - *saved;
	return h_counter(&h, counter) - read;
}

static void gated(unsigned m, uint32_t window)
{
	uint64_t full, read, saved, bus_full, bus_read, bus_saved;
	struct kvsink_attend_stat stat;
	double error, norms;
	uint32_t broken = 0;

	open_stream(KVSINK_FORMAT_FP16, mixes[m].seal_k, mixes[m].seal_v, window);
	s.scale = 1;
	h_close(&h);
	h_open(&h, NULL);
	h_stream(&h, &s);
	h_fill(&h, &s, 0, SEAL_TOKENS);
	h_queries(&h, 11, SEAL_TOKENS * s.q_heads * s.d_k);
	seal_stream();
	h_promote(&h, &s, 0, 1, 2, 3);
	h_barrier(&h, &s);
	h_config(&h, 1, KVSINK_PARAM_EPSILON, 0x3d4ccccd); /* 0.05 */
	full = h_counter(&h, KVSINK_COUNTER_KV_HBM_READ);
	bus_full = h_counter(&h, KVSINK_COUNTER_KV_HBM_READ_BUS);
	attend(KVSINK_ATTEND_SPLIT, 1, 38, 6);
	full = h_counter(&h, KVSINK_COUNTER_KV_HBM_READ) - full;
	bus_full = h_counter(&h, KVSINK_COUNTER_KV_HBM_READ_BUS) - bus_full;
	read = gated_sum(KVSINK_COUNTER_KV_HBM_READ, KVSINK_COUNTER_V_SKIPPED, 38, 6, &saved);
	for (uint32_t i = 0; i < 6 * s.q_heads; i++) {
		h_get(&h, H_STATS + i * sizeof(stat), &stat, sizeof(stat));
		error = distance_of(1, 38 + i / s.q_heads, i / s.q_heads, i % s.q_heads, &norms);
		broken += stat.skipped > 0.05f || error > stat.bound + 8e-6 * norms;
	}
	tap_ok(saved && read + saved == full,
	       "%s, window %u: gated: what was read and what was not are all (%llu, %llu)", mixes[m].name,
	       window, (unsigned long long)read, (unsigned long long)saved);
	bus_read = gated_sum(KVSINK_COUNTER_KV_HBM_READ_BUS, KVSINK_COUNTER_V_SKIPPED_BUS, 38, 6, &bus_saved);
	tap_ok(bus_read + bus_saved == bus_full, "%s, window %u: gated: in bursts, too (%llu, %llu)",
	       mixes[m].name, window, (unsigned long long)bus_read, (unsigned long long)bus_saved);
	tap_ok(!broken, "%s, window %u: gated: no certificate is broken", mixes[m].name, window);
}

/* A list of jobs on mixed rows; everything that comes of it. */
static uint8_t *play(unsigned m, unsigned parts, size_t *bytes)
{
	static const unsigned modes[] = {KVSINK_ATTEND_SPLIT, KVSINK_ATTEND_CANONICAL, KVSINK_ATTEND_GATED};
	uint32_t out = 20 * 4 * 64 * 4;
	uint8_t *all, *at;

	open_stream(KVSINK_FORMAT_FP16, mixes[m].seal_k, mixes[m].seal_v, 0);
	h.parts = parts;
	for (uint32_t t = 0; t < 40; t += 3)
		h_promote(&h, &s, t, t % 2, 2, 1 + t % 3);
	seal_stream();
	*bytes = 3 * out + h.config.hbm_bytes + h.config.sram_bytes + 8 * KVSINK_COUNTER_COUNT;
	at = all = malloc(*bytes);
	for (unsigned i = 0; i < 3; i++, at += out) {
		attend(modes[i], i % 2, SEAL_TOKENS - 20, 20);
		h_get(&h, H_OUT, at, out);
	}
	memcpy(at, h.hbm, h.config.hbm_bytes);
	memcpy(at + h.config.hbm_bytes, h.sram, h.config.sram_bytes);
	at += h.config.hbm_bytes + h.config.sram_bytes;
	for (unsigned i = 0; i < KVSINK_COUNTER_COUNT; i++, at += 8) {
		uint64_t value = h_counter(&h, i);

		memcpy(at, &value, 8);
	}
	return all;
}

static void determinism(unsigned m)
{
	size_t bytes;
	uint8_t *once, *again;

	once = play(m, 1, &bytes);
	again = play(m, 2, &bytes);
	tap_ok(!memcmp(once, again, bytes), "%s: two threads' shares give the same bits and counters",
	       mixes[m].name);
	free(again);
	for (int level = 0; kvsink_simd_name(level); level++) {
		char name[80];

		snprintf(name, sizeof(name), "SIMD: %s: %s gives them, too", mixes[m].name,
			 kvsink_simd_name(level));
		if (kvsink_simd_force(level)) {
			tap_skip(name, "cpu lacks this level");
			continue;
		}
		again = play(m, 1, &bytes);
		tap_ok(!memcmp(once, again, bytes), "%s", name);
		free(again);
	}
	kvsink_simd_force(-1);
	free(once);
}

/* More than one quantum: the ring pauses between pages, and the stream is sound then. */
static void large(struct kvsink_chip_config *config)
{
	config->hbm_bytes = 64 << 20;
}

static void long_seal(void)
{
	struct kvsink_stream_rec rec;
	uint32_t index, query;

	h_close(&h);
	h_open(&h, large);
	s = h_geometry(1);
	s.layers = 16;
	s.group_end[1] = 16;
	s.kv_heads = s.q_heads = 8;
	s.d_k = s.d_v = 64;
	s.page_tokens = 16;
	s.max_tokens = 256;
	s.format = KVSINK_FORMAT_F32;
	s.seal_k = s.seal_v = KVSINK_FORMAT_INT8;
	h_stream(&h, &s);
	h_fill(&h, &s, 0, 64);
	h_fill(&h, &s, 64, 64);
	h_seal_cmd(&h, &s, 128);
	index = h_submit(&h, 0);
	kvsink_run(h.chip, 0);
	h_query_cmd(&h, KVSINK_QUERY_STREAMS, 1, 0, 1);
	query = h_submit(&h, 1);
	kvsink_run(h.chip, 1);
	h_get(&h, H_ANSWER + sizeof(struct kvsink_list_head), &rec, sizeof(rec));
	tap_ok(!h_completion(&h, 1, query).code && rec.sealed > 0 && rec.sealed < 128 && rec.sealed % 16 == 0,
	       "a long SEAL pauses between pages: %u tokens are sealed", rec.sealed);
	tap_ok(rec.seal_k == KVSINK_FORMAT_INT8 && rec.seal_v == KVSINK_FORMAT_INT8,
	       "QUERY tells the formats");
	h_run(&h);
	tap_ok(!h_completion(&h, 0, index).code && h_counter(&h, KVSINK_COUNTER_SEALED_TOKENS) == 128 &&
		       h_counter(&h, KVSINK_COUNTER_KV_SEAL_READ) == 128ull * 16 * 8 * 128 * 4,
	       "and goes on to its end");
	/* 8 MiB read, 2.2 MiB written */
	index = (uint32_t)(h_completion(&h, 0, index).end_ns - h_completion(&h, 0, index).begin_ns);
	tap_ok(index > 10600000 / 3200 && index < 12000000 / 3200, "its time is that of all its bytes: %u ns",
	       index);
}

int main(void)
{
	by_hand();
	for (unsigned m = 0; m < 3; m++) {
		ledger(m, 0);
		ledger(m, 13);
		gated(m, 0);
		gated(m, 21);
		determinism(m);
	}
	long_seal();
	h_close(&h);
	return tap_done();
}
