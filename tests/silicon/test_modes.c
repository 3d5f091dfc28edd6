// SPDX-License-Identifier: MIT
/*
 * Canonical and gated ATTEND through the rings: placement while it runs, parameters by score group, the
 * ledger, norms in HBM, modelled time. What the arithmetic does is held by test_datapath_canonical.c and
 * test_datapath_gate.c.
 */
#include "steer.h"
#include "tap.h"

#define TOKENS 64u
#define ROW 16u /* bytes of a V row: four F32 */

static struct harness h;
static struct h_stream s;
static steer_attention p;

/* V rows of ones and twos; that of token 0 is the longest by far. */
static void put_v(void)
{
	float v[TOKENS * 2 * 4];

	for (uint32_t i = 0; i < TOKENS * 2 * 4; i++)
		v[i] = i < 8 ? 100.0f : 1.0f + (float)(i / 8 % 2);
	h_put(&h, H_V, v, sizeof(v));
}

/* Two layers, a group each; attention 0.5, 0.3 and 0.15 on tokens 0 to 2, 0.001 on each of 3 to 12, 0 up to
 * the last. */
static void fresh(void)
{
	if (h.chip)
		h_close(&h);
	h_open(&h, NULL);
	s = steer_geometry(1, 2);
	s.score_groups = 2;
	s.group_end[0] = 1;
	s.group_end[1] = 2;
	h_stream(&h, &s);
	put_v();
	steer_fill(&h, &s, 0, TOKENS);
	memset(p, 0, sizeof(p));
	steer_all(&p, 0, 0.5);
	steer_all(&p, 1, 0.3);
	steer_all(&p, 2, 0.15);
	for (uint32_t t = 3; t < 13; t++)
		steer_all(&p, t, 0.001);
}

static void attend(uint32_t layer, uint32_t mode)
{
	struct kvsink_cmd *cmd;

	steer_queries(&h, &s, TOKENS - 1, 1, &p);
	cmd = h_attend_cmd(&h, &s, layer, TOKENS - 1, 1);
	cmd->attend.mode = mode;
	cmd->attend.stats = h_gart(H_STATS);
	steer_check(h_do(&h), "ATTEND");
}

/* Rows of V that a gated ATTEND of the layer leaves unread, of each KV head; checks K and V bytes besides. */
static uint32_t unread(uint32_t layer, bool *bytes_ok)
{
	uint64_t skipped = steer_count(&h, &s, KVSINK_COUNTER_V_SKIPPED);
	uint64_t read = steer_count(&h, &s, KVSINK_COUNTER_KV_HBM_READ);
	uint64_t whole = (uint64_t)TOKENS * s.kv_heads * (s.d_k * 4 + ROW);

	attend(layer, KVSINK_ATTEND_GATED);
	skipped = steer_count(&h, &s, KVSINK_COUNTER_V_SKIPPED) - skipped;
	read = steer_count(&h, &s, KVSINK_COUNTER_KV_HBM_READ) - read;
	*bytes_ok = read + skipped == whole && skipped % (ROW * s.kv_heads) == 0;
	return (uint32_t)(skipped / (ROW * s.kv_heads));
}

static struct kvsink_attend_stat stat(uint32_t head)
{
	struct kvsink_attend_stat stat;

	h_get(&h, H_STATS + head * sizeof(stat), &stat, sizeof(stat));
	return stat;
}

static void by_group(void)
{
	bool ok0, ok1;
	uint32_t rows0, rows1;

	fresh();
	steer_check(h_config(&h, s.id, KVSINK_PARAM_EPSILON, steer_pattern(0.03)), "CONFIG");
	h_cmd(&h, KVSINK_OP_CONFIG)->config =
		(struct kvsink_cmd_config){s.id, KVSINK_PARAM_EPSILON, 1, steer_pattern(0.0055)};
	steer_check(h_do(&h), "CONFIG");
	rows0 = unread(0, &ok0);
	tap_ok(stat(0).skipped > 0.0099 && stat(0).skipped < 0.0101 && stat(0).bound > 2,
	       "stat: the share on unread rows, and a certificate that knows of the longest row");
	rows1 = unread(1, &ok1);
	tap_ok(rows0 == 60, "EPSILON 0.03: tokens 3 to 62 stay unread, 0.01 of the attention: %u", rows0);
	tap_ok(rows1 == 55, "EPSILON 0.0055 in another group: five of the ten light ones stay unread: %u",
	       rows1);
	tap_ok(ok0 && ok1, "K and V bytes read and V bytes unread make all bytes");
}

static void with_residents(void)
{
	bool ok;

	fresh();
	steer_check(h_promote(&h, &s, 5, 0, 1, 3), "PROMOTE");
	steer_check(h_barrier(&h, &s), "BARRIER");
	attend(0, KVSINK_ATTEND_GATED);
	tap_ok(stat(0).skipped > 0.0089 && stat(0).skipped < 0.0091,
	       "a row in SRAM is read whatever its weight");
	tap_ok(unread(0, &ok) == 59, "and is none that gating left unread");
}

static void criteria(void)
{
	static const char *const names[] = {"MASS", "ABS", "REL"};
	uint64_t norms[3];

	for (uint32_t gate = 0; gate < KVSINK_GATE_COUNT; gate++) {
		uint64_t before, left;

		fresh();
		steer_config(&h, &s, KVSINK_PARAM_GATE, gate);
		steer_config(&h, &s, KVSINK_PARAM_CERTIFY, 1);
		/* without a sink in SRAM one pass under REL reads its first tile in full: nothing to compare
		 * with */
		steer_check(h_promote(&h, &s, 0, 0, 2, 3), "PROMOTE");
		steer_check(h_barrier(&h, &s), "BARRIER");
		before = steer_count(&h, &s, KVSINK_COUNTER_NORM_READ);
		attend(0, KVSINK_ATTEND_GATED);
		norms[gate] = steer_count(&h, &s, KVSINK_COUNTER_NORM_READ) - before;
		left = steer_count(&h, &s, KVSINK_COUNTER_V_SKIPPED);
		steer_config(&h, &s, KVSINK_PARAM_GATE_BUFFER, 0);
		attend(0, KVSINK_ATTEND_GATED);
		left = steer_count(&h, &s, KVSINK_COUNTER_V_SKIPPED) - left;
		tap_ok(left > 0 && stat(0).bound < 1, "%s in one pass leaves %llu B unread", names[gate],
		       (unsigned long long)left);
	}
	tap_ok(norms[0] == 4 * s.kv_heads && norms[1] == norms[0] &&
		       norms[2] == (4 + 2 * TOKENS) * s.kv_heads,
	       "norms: a maximum under MASS and ABS, one a row besides under REL");
}

static void norms(void)
{
	fresh();
	tap_ok(steer_count(&h, &s, KVSINK_COUNTER_NORM_WRITE) == (uint64_t)2 * TOKENS * s.layers * s.kv_heads,
	       "APPEND writes two bytes of norm a row");
	tap_ok(!steer_count(&h, &s, KVSINK_COUNTER_NORM_READ) &&
		       !steer_count(&h, &s, KVSINK_COUNTER_V_SKIPPED),
	       "nobody reads them but gated ATTEND");
	attend(0, KVSINK_ATTEND_SPLIT);
	attend(0, KVSINK_ATTEND_CANONICAL);
	tap_ok(!steer_count(&h, &s, KVSINK_COUNTER_NORM_READ) && stat(0).bound == 0 && stat(0).skipped == 0,
	       "split and canonical mode leave nothing unread");
}

static uint64_t time_of(uint32_t mode)
{
	uint64_t before = steer_count(&h, &s, KVSINK_COUNTER_MODELLED_NS);

	attend(0, mode);
	return steer_count(&h, &s, KVSINK_COUNTER_MODELLED_NS) - before;
}

/* Two bytes a ns, so that bytes decide. */
static void slow(struct kvsink_chip_config *c)
{
	c->hbm_gbps = 2;
	c->dma_gbps = 1;
}

static void time_follows_bytes(void)
{
	uint64_t split, gated, bus;

	fresh();
	h_close(&h);
	h_open(&h, slow);
	h_stream(&h, &s);
	put_v();
	steer_fill(&h, &s, 0, TOKENS);
	split = time_of(KVSINK_ATTEND_SPLIT);
	gated = time_of(KVSINK_ATTEND_GATED);
	bus = steer_count(&h, &s, KVSINK_COUNTER_V_SKIPPED_BUS) -
	      steer_count(&h, &s, KVSINK_COUNTER_NORM_READ_BUS);
	tap_ok(2 * (split - gated) == bus, "unread bursts take no modelled time, norms do: %llu ns less",
	       (unsigned long long)(split - gated));
}

static void bad(void)
{
	static const struct {
		const char *what;
		uint32_t param;
		uint64_t value;
	} cases[] = {
		{"EPSILON 0", KVSINK_PARAM_EPSILON, 0},
		{"EPSILON 1", KVSINK_PARAM_EPSILON, 0x3f800000},
		{"EPSILON NaN", KVSINK_PARAM_EPSILON, 0x7fc00000},
		{"EPSILON infinite", KVSINK_PARAM_EPSILON, 0x7f800000},
		{"EPSILON -0.03", KVSINK_PARAM_EPSILON, 0xbcf5c28f},
		{"GATE 3", KVSINK_PARAM_GATE, 3},
		{"GATE_BUFFER 2", KVSINK_PARAM_GATE_BUFFER, 2},
		{"CERTIFY 2", KVSINK_PARAM_CERTIFY, 2},
	};

	fresh();
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		tap_ok(h_config(&h, s.id, cases[i].param, cases[i].value) == KVSINK_CODE_BAD_FIELD,
		       "%s is refused", cases[i].what);
}

/* ---- canonical, while entries and tails come and go ---- */

static void move_something(uint64_t *random)
{
	uint32_t token = h_random(random) % TOKENS, what = h_random(random) % 10;

	if (what < 6)
		h_promote(&h, &s, token, h_random(random) % 2, 2, 1 + h_random(random) % 3);
	else if (what < 8)
		h_evict(&h, &s, token);
	else if (what == 8)
		h_barrier(&h, &s);
	else
		h_config(&h, s.id, KVSINK_PARAM_TAIL_TOKENS, h_random(random) % 5);
}

static void placements(void)
{
	float first[2][4 * 4], now[2][4 * 4];
	uint64_t random = 12345;
	bool equal = true;
	uint32_t moved = 0, used = 0;

	fresh();
	for (uint32_t step = 0; step < 400; step++) {
		for (uint32_t l = 0; l < 2; l++) {
			attend(l, KVSINK_ATTEND_CANONICAL);
			h_get(&h, H_OUT, step ? now[l] : first[l], sizeof(now[l]));
		}
		equal &= !step || !memcmp(first, now, sizeof(first));
		used += stat(0).mass_sram > 0;
		move_something(&random);
		moved++;
	}
	tap_ok(equal && used > 100, "equal bits while entries come and go: %u moves, SRAM used in %u steps",
	       moved, used);
}

int main(void)
{
	by_group();
	with_residents();
	criteria();
	norms();
	time_follows_bytes();
	bad();
	placements();
	h_close(&h);
	return tap_done();
}
