// SPDX-License-Identifier: MIT
/* CONFIG: every parameter's bounds and scope, contradictions, what is fixed once there are scores. */
#include "steer.h"
#include "tap.h"

#define FIELD(member) ((uint64_t)offsetof(struct kvsink_cmd, member))
#define DEVICE 0
#define VALUE FIELD(config.value)
#define ALL KVSINK_GROUP_ALL
#define WEIGHT(begin, end, bits) ((begin) | (end) << 16 | (uint64_t)(bits) << 32)

static struct harness h;
static struct h_stream s; /* 4 layers in groups [0, 1) and [1, 4), 2 KV heads */

/* One CONFIG and its answer; stream 0 and TENANT_TAG are set by privileged jobs. */
struct config_case {
	uint64_t stream;
	uint32_t param, group;
	uint64_t value;
	uint32_t code;
	uint64_t address;
	const char *what;
};

static uint32_t config(uint64_t stream, uint32_t param, uint32_t group, uint64_t value, bool privileged)
{
	struct kvsink_cmd *cmd = h_cmd(&h, KVSINK_OP_CONFIG);

	cmd->config =
		(struct kvsink_cmd_config){.stream = stream, .param = param, .group = group, .value = value};
	return privileged ? h_priv(&h) : h_do(&h);
}

static uint64_t value_of(uint64_t stream, uint32_t group, uint32_t param)
{
	uint64_t value[KVSINK_PARAM_COUNT];

	steer_ask(&h, KVSINK_QUERY_PARAMS, stream, group, 0, KVSINK_PARAM_COUNT, value, sizeof(value[0]));
	return value[param];
}

#define P(name) KVSINK_PARAM_##name
#define BAD KVSINK_CODE_BAD_FIELD, VALUE

static const struct config_case cases[] = {
	{1, P(T_SINK), ALL, 0x7f800000, BAD, "T_SINK infinite"},
	{1, P(T_SINK), ALL, 0x7fc00000, BAD, "T_SINK NaN"},
	{1, P(T_SINK), ALL, 0x80000000, BAD, "T_SINK -0"},
	{1, P(T_SINK), ALL, 0xbf800000, BAD, "T_SINK negative"},
	{1, P(T_SINK), ALL, 1ull << 32, BAD, "T_SINK beyond 32 bits"},
	{1, P(T_SINK), ALL, 0x7f7fffff, 0, 0, "T_SINK the greatest number"},
	{1, P(T_PROMOTE), ALL, 0x7fc00000, BAD, "T_PROMOTE NaN"},
	{1, P(T_EVICT), ALL, 0xff800000, BAD, "T_EVICT minus infinity"},
	{1, P(DELTA), ALL, 0x7f800000, BAD, "DELTA infinite"},
	{1, P(DELTA), ALL, 0x80000001, BAD, "DELTA negative"},
	{1, P(ALPHA), ALL, 0x3f800000, BAD, "ALPHA 1"},
	{1, P(ALPHA), ALL, 0x3f7fffff, 0, 0, "ALPHA just below 1"},
	{1, P(ALPHA), ALL, 0, 0, 0, "ALPHA 0"},
	{1, P(ALPHA), ALL, 0x7fc00000, BAD, "ALPHA NaN"},
	{1, P(ALPHA), ALL, 0xbf000000, BAD, "ALPHA negative"},
	{1, P(SCORE_MODE), ALL, 3, BAD, "a fourth SCORE_MODE"},
	{1, P(LOCAL_WINDOW), ALL, 1ull << 32, BAD, "LOCAL_WINDOW beyond 32 bits"},
	{1, P(PLACEMENT), ALL, 3, BAD, "a fourth PLACEMENT"},
	{1, P(N_PROMOTE), ALL, 0, BAD, "N_PROMOTE 0"},
	{1, P(N_PROMOTE), ALL, 65536, BAD, "N_PROMOTE 65536"},
	{1, P(N_PROMOTE), ALL, 65535, 0, 0, "N_PROMOTE 65535"},
	{1, P(N_EVICT), ALL, 0, BAD, "N_EVICT 0"},
	{1, P(N_EVICT), ALL, 65536, BAD, "N_EVICT 65536"},
	{1, P(N_DWELL), ALL, 1ull << 32, BAD, "N_DWELL beyond 32 bits"},
	{1, P(N_DWELL), ALL, 0, 0, 0, "N_DWELL 0"},
	{1, P(PRIORITY), ALL, 256, BAD, "PRIORITY 256"},
	{1, P(TAIL_TOKENS), ALL, 4097, BAD, "TAIL_TOKENS 4097"},
	{1, P(SRAM_BUDGET), ALL, 65537, BAD, "SRAM_BUDGET above the SRAM"},
	{1, P(SRAM_BUDGET), ALL, 65536, 0, 0, "SRAM_BUDGET of the whole SRAM"},
	{1, P(SRAM_BUDGET), ALL, 0xffffffff, 0, 0, "no SRAM_BUDGET"},
	{DEVICE, P(SRAM_BUDGET), ALL, 65537, BAD, "the device's SRAM_BUDGET above the SRAM"},
	{DEVICE, P(TENANT_CAP), ALL, 65537, BAD, "TENANT_CAP above the SRAM"},
	{1, P(TENANT_CAP), ALL, 1024, KVSINK_CODE_BAD_FIELD, FIELD(config.param), "TENANT_CAP of a stream"},
	{1, P(HEAD_MASK), ALL, 4, BAD, "HEAD_MASK with a head that is not there"},
	{1, P(HEAD_MASK), ALL, 0xffffffff, BAD, "HEAD_MASK of 32 heads"},
	{1, P(HEAD_MASK), ALL, UINT64_MAX, 0, 0, "HEAD_MASK of all heads"},
	{1, P(HEAD_MASK), ALL, 2, 0, 0, "HEAD_MASK of one head"},
	{1, P(LAYER_RANGE), ALL, 2 | 2 << 16, BAD, "an empty LAYER_RANGE"},
	{1, P(LAYER_RANGE), ALL, 3 | 2 << 16, BAD, "a LAYER_RANGE that ends before it begins"},
	{1, P(LAYER_RANGE), ALL, 5 << 16, BAD, "a LAYER_RANGE beyond the last layer"},
	{1, P(LAYER_RANGE), ALL, 4 | 0xffffu << 16, BAD, "a LAYER_RANGE that begins behind it"},
	{1, P(LAYER_RANGE), ALL, 1 | 4 << 16, 0, 0, "a LAYER_RANGE to the last layer"},
	{1, P(LAYER_RANGE), ALL, 0xffff0000, 0, 0, "a LAYER_RANGE without an end"},
	{DEVICE, P(LAYER_RANGE), ALL, 5 << 16, 0, 0, "the device's LAYER_RANGE knows no geometry"},
	{1, P(LAYER_WEIGHT), ALL, WEIGHT(0u, 4u, 0x43800000), BAD, "LAYER_WEIGHT 256"},
	{1, P(LAYER_WEIGHT), ALL, WEIGHT(0u, 4u, 0x80000000), BAD, "LAYER_WEIGHT negative"},
	{1, P(LAYER_WEIGHT), ALL, WEIGHT(0u, 4u, 0x7fc00000), BAD, "LAYER_WEIGHT NaN"},
	{1, P(LAYER_WEIGHT), ALL, WEIGHT(0u, 5u, 0x3f800000), BAD, "LAYER_WEIGHT beyond the last layer"},
	{1, P(LAYER_WEIGHT), ALL, WEIGHT(2u, 2u, 0x3f800000), BAD, "LAYER_WEIGHT of no layer"},
	{1, P(LAYER_WEIGHT), ALL, WEIGHT(1u, 3u, 0x40000000), 0, 0, "LAYER_WEIGHT 2 of layers 1 and 2"},
	{1, KVSINK_PARAM_COUNT, ALL, 0, KVSINK_CODE_BAD_FIELD, FIELD(config.param),
	 "a parameter that is not there"},
	{1, P(T_SINK), 2, 0, KVSINK_CODE_BAD_FIELD, FIELD(config.group), "a group that is not there"},
	{1, P(ALPHA), 0, 0, KVSINK_CODE_BAD_FIELD, FIELD(config.group),
	 "one group of a parameter of the stream"},
	{DEVICE, P(T_SINK), 0, 0, KVSINK_CODE_BAD_FIELD, FIELD(config.group), "a group of the device"},
	{1, P(T_EVICT), ALL, 0x3ba3d70a, KVSINK_CODE_CONFLICT, P(T_PROMOTE), "T_EVICT equal to T_PROMOTE"},
	{1, P(T_EVICT), ALL, 0x3f000000, KVSINK_CODE_CONFLICT, P(T_PROMOTE), "T_EVICT above T_PROMOTE"},
	{1, P(T_PROMOTE), ALL, 0x3b03126f, KVSINK_CODE_CONFLICT, P(T_EVICT), "T_PROMOTE equal to T_EVICT"},
	{1, P(T_PROMOTE), ALL, 0, KVSINK_CODE_CONFLICT, P(T_EVICT), "T_PROMOTE below T_EVICT"},
	{DEVICE, P(T_PROMOTE), ALL, 0, KVSINK_CODE_CONFLICT, P(T_EVICT),
	 "the device's T_PROMOTE below T_EVICT"},
	{DEVICE, P(T_EVICT), ALL, 0x3f800000, KVSINK_CODE_CONFLICT, P(T_PROMOTE),
	 "the device's T_EVICT above"},
	{1, P(T_EVICT), 1, 0, 0, 0, "T_EVICT 0 of one group"},
	{1, P(T_PROMOTE), 1, 1, 0, 0, "then the least T_PROMOTE"},
	{1, P(T_PROMOTE), ALL, 1, KVSINK_CODE_CONFLICT, P(T_EVICT), "which contradicts the other group"},
};

/* A refused value leaves the old one in every group. */
static void table(void)
{
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct config_case *c = &cases[i];
		uint32_t param = c->param < KVSINK_PARAM_COUNT ? c->param : 0;
		uint64_t before[2] = {value_of(c->stream, 0, param), c->stream ? value_of(1, 1, param) : 0},
			 after[2];
		uint32_t code = config(c->stream, c->param, c->group, c->value, !c->stream);
		uint64_t address = h.cpl.address;
		bool kept, set;

		after[0] = value_of(c->stream, 0, param);
		after[1] = c->stream ? value_of(1, 1, param) : 0;
		kept = after[0] == before[0] && after[1] == before[1];
		set = after[c->group == 1] == c->value;
		tap_ok(code == c->code && (!code || address == c->address) && (code ? kept : set), "%s: %s",
		       c->what, kvsink_code_name(code));
	}
}

static void scopes(void)
{
	tap_ok(!config(1, P(T_SINK), 1, 0x3e000000, false) && value_of(1, 1, P(T_SINK)) == 0x3e000000 &&
		       value_of(1, 0, P(T_SINK)) != 0x3e000000,
	       "a parameter of one group leaves the other's alone");
	tap_ok(!config(1, P(T_SINK), ALL, 0x3e800000, false) && value_of(1, 0, P(T_SINK)) == 0x3e800000 &&
		       value_of(1, 1, P(T_SINK)) == 0x3e800000,
	       "GROUP_ALL sets all");
	tap_ok(config(1, P(TENANT_TAG), ALL, 7, false) == KVSINK_CODE_TENANT, "TENANT_TAG needs privilege");
	tap_ok(!config(1, P(TENANT_TAG), ALL, 7, true), "with it, it is set");
	tap_ok(config(0, P(T_SINK), ALL, 7, false) == KVSINK_CODE_TENANT,
	       "the device's parameters need privilege");
	tap_ok(!config(0, P(TENANT_CAP), ALL, 4096, true) && value_of(1, 0, P(TENANT_CAP)) == 4096,
	       "a stream shows the device's TENANT_CAP");
}

/* Defaults are those of the table; a new stream takes over the device's, save for what takes SRAM. */
static void inheritance(void)
{
	static const uint64_t defaults[KVSINK_PARAM_COUNT] = {
#define X(name, index, kind, scope, def, doc) [index] = def,
		KVSINK_PARAMS(X)
#undef X
	};
	struct h_stream later = steer_geometry(2, 4);
	struct kvsink_profile_rec rec[8];
	bool same = true;

	for (uint32_t i = 0; i < KVSINK_PARAM_COUNT; i++)
		same &= value_of(1, 1, i) == defaults[i];
	tap_ok(same, "a stream begins with the table's defaults");
	config(0, P(T_SINK), ALL, 0x3f000000, true);
	config(0, P(TAIL_TOKENS), ALL, 16, true);
	config(0, P(SRAM_BUDGET), ALL, 32768, true);
	config(0, P(LAYER_WEIGHT), ALL, WEIGHT(1u, 9u, 0x40000000), true);
	h_stream(&h, &later);
	tap_ok(value_of(2, 0, P(T_SINK)) == 0x3f000000, "a new stream takes over the device's value");
	tap_ok(value_of(2, 0, P(TAIL_TOKENS)) == 0 && value_of(2, 0, P(SRAM_BUDGET)) == 0xffffffff,
	       "but neither its tail nor its budget");
	steer_ask(&h, KVSINK_QUERY_PROFILE, 2, 0, 0, 8, rec, sizeof(rec[0]));
	tap_ok(rec[0].weight == 0x3f800000 && rec[2].weight == 0x40000000 && rec[7].weight == 0x40000000,
	       "weights of layers that it has");
}

/* What scores mean does not change under them. */
static void fixed(void)
{
	steer_attention p = {{0}};

	config(1, P(LAYER_WEIGHT), ALL, WEIGHT(1u, 3u, 0x40000000), false);
	steer_fill(&h, &s, 0, 4);
	steer_score(&h, &s, 0, 0, 4, &p);
	tap_ok(config(1, P(LOCAL_WINDOW), ALL, 3, false) == KVSINK_CODE_BUSY,
	       "LOCAL_WINDOW is fixed with scores");
	tap_ok(!config(1, P(LOCAL_WINDOW), ALL, 64, false), "the same again is no change");
	tap_ok(config(1, P(LAYER_WEIGHT), ALL, WEIGHT(0u, 1u, 0x40000000), false) == KVSINK_CODE_BUSY,
	       "LAYER_WEIGHT is fixed with scores");
	tap_ok(!config(1, P(LAYER_WEIGHT), ALL, WEIGHT(1u, 3u, 0x40000000), false), "likewise");
	tap_ok(!config(1, P(SCORE_MODE), ALL, KVSINK_SCORE_RAW, false),
	       "with a window, RAW means the same sums");
}

static void fixed_by_ema(void)
{
	struct h_stream t = steer_geometry(3, 1);
	steer_attention p = {{0}};

	h_stream(&h, &t);
	config(3, P(PLACEMENT), ALL, KVSINK_PLACEMENT_OBSERVE, false);
	steer_fill(&h, &t, 0, 4);
	tap_ok(!config(3, P(LOCAL_WINDOW), ALL, 2, false), "before a step was observed, the window is free");
	steer_append(&h, &t, 0, 4, 1);
	steer_attend(&h, &t, 0, 4, 1, &p);
	tap_ok(config(3, P(LOCAL_WINDOW), ALL, 3, false) == KVSINK_CODE_BUSY,
	       "not while B is being gathered");
	steer_check(h_step_end(&h, &t, 1), "STEP_END");
	tap_ok(config(3, P(LAYER_WEIGHT), ALL, WEIGHT(0u, 1u, 0x40000000), false) == KVSINK_CODE_BUSY,
	       "nor once an EMA runs");
}

int main(void)
{
	h_open(&h, NULL);
	s = steer_geometry(1, 4);
	s.score_groups = 2;
	s.group_end[0] = 1;
	s.group_end[1] = 4;
	h_stream(&h, &s);
	inheritance();
	h_close(&h);
	h_open(&h, NULL);
	h_stream(&h, &s);
	table();
	scopes();
	h_close(&h);
	h_open(&h, NULL);
	h_stream(&h, &s);
	fixed();
	fixed_by_ema();
	h_close(&h);
	return tap_done();
}
