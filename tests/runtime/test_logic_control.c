// SPDX-License-Identifier: MIT
/*
 * driver/logic/control.c: what CONFIG, QUERY and ENTRY_READ refuse, and the commands that the first two
 * become.
 */
#include "logic_case.h"

static struct kvsink_cmd cmd;

static int call_config(void *args)
{
	return kvsink_logic_build_config(&env, args, &cmd);
}

static int config(uint32_t param, uint64_t value)
{
	struct drm_kvsink_config args = {
		.stream = OWN, .param = param, .group = KVSINK_GROUP_ALL, .value = value};

	return call_config(&args);
}

static void test_config(void)
{
	static const struct bad cases[] = {
		BAD(drm_kvsink_config, stream, 99, ENOENT),
		BAD(drm_kvsink_config, param, KVSINK_PARAM_COUNT, EINVAL),
		BAD(drm_kvsink_config, param, 0xffffffff, EINVAL),
		BAD(drm_kvsink_config, value, 0x7f800000, EINVAL), /* infinity */
		BAD(drm_kvsink_config, value, 0x7fc00000, EINVAL), /* NaN */
		BAD(drm_kvsink_config, value, 0x80000000, EINVAL), /* -0 */
		BAD(drm_kvsink_config, value, 1ull << 32, EINVAL),
	};
	struct drm_kvsink_config args = {
		.stream = OWN, .param = KVSINK_PARAM_T_SINK, .group = KVSINK_GROUP_ALL, .value = 0x7f7fffff};

	try_all("CONFIG", &args, cases, COUNT(cases), call_config);
	tap_ok(cmd.opcode == KVSINK_OP_CONFIG && cmd.config.param == KVSINK_PARAM_T_SINK &&
		       cmd.config.value == 0x7f7fffff,
	       "CONFIG: the command says what the arguments say");
	args.group = 0;
	tap_ok(!call_config(&args) && cmd.config.group == 0,
	       "CONFIG: one group of a parameter that groups have");
	args.group = 9;
	tap_ok(call_config(&args) == -EINVAL && env.field == offsetof(struct drm_kvsink_config, group),
	       "CONFIG: a group that the stream lacks is refused");
	args = (struct drm_kvsink_config){.stream = OWN, .param = KVSINK_PARAM_ALPHA, .group = 0};
	tap_ok(call_config(&args) == -EINVAL,
	       "CONFIG: a group of a parameter that only streams have is refused");
	args = (struct drm_kvsink_config){
		.stream = OWN, .param = KVSINK_PARAM_TENANT_CAP, .group = KVSINK_GROUP_ALL};
	tap_ok(call_config(&args) == -EINVAL && env.field == offsetof(struct drm_kvsink_config, param),
	       "CONFIG: a parameter of the device is refused for a stream");
	args = (struct drm_kvsink_config){
		.stream = OWN, .param = KVSINK_PARAM_T_SINK, .group = KVSINK_GROUP_ALL, .value = 0x7f7fffff};
	tap_ok(!config(KVSINK_PARAM_PLACEMENT, 2) && config(KVSINK_PARAM_PLACEMENT, 3) == -EINVAL,
	       "CONFIG: PLACEMENT is 0, 1 or 2");
	tap_ok(!config(KVSINK_PARAM_SCORE_MODE, 2) && config(KVSINK_PARAM_SCORE_MODE, 3) == -EINVAL,
	       "CONFIG: SCORE_MODE is 0, 1 or 2");
	tap_ok(!config(KVSINK_PARAM_LAYER_RANGE, 0xffff0000) &&
		       config(KVSINK_PARAM_LAYER_RANGE, 0x00030003) == -EINVAL &&
		       config(KVSINK_PARAM_LAYER_RANGE, 0x100030000) == -EINVAL,
	       "CONFIG: LAYER_RANGE is not empty and has 32 bits");
	tap_ok(!config(KVSINK_PARAM_HEAD_MASK, ~0ull) &&
		       config(KVSINK_PARAM_SRAM_BUDGET, 1ull << 32) == -EINVAL &&
		       config(KVSINK_PARAM_LOCAL_WINDOW, 1ull << 32) == -EINVAL,
	       "CONFIG: 64 bits for HEAD_MASK only");
	args.value = ~0ull; /* out */
	tap_ok(!kvsink_logic_build_config_get(&env, &args, 4096, &cmd) && cmd.opcode == KVSINK_OP_QUERY &&
		       cmd.query.what == KVSINK_QUERY_PARAMS && cmd.query.max == KVSINK_PARAM_COUNT &&
		       cmd.query.dst.offset == 4096 && cmd.query.stream == OWN,
	       "CONFIG_GET: asks for all parameters");
	args.param = KVSINK_PARAM_COUNT;
	tap_ok(kvsink_logic_build_config_get(&env, &args, 4096, &cmd) == -EINVAL,
	       "CONFIG_GET: unknown parameter");
}

static uint32_t answer_bytes;

static int call_query(void *args)
{
	return kvsink_logic_build_query(&env, args, 8192, answer_bytes, &cmd);
}

static void test_query(void)
{
	static const struct bad cases[] = {
		BAD(drm_kvsink_query, type, 0, EINVAL),
		BAD(drm_kvsink_query, type, 11, EINVAL),
		BAD(drm_kvsink_query, group, 2, EINVAL),
		BAD(drm_kvsink_query, stream, 0, ENOENT), /* scores belong to a stream */
		BAD(drm_kvsink_query, stream, 99, ENOENT),
		BAD(drm_kvsink_query, size, 15, EINVAL),
		BAD(drm_kvsink_query, size, (1 << 20) + 1, E2BIG),
	};
	struct drm_kvsink_query args = {.type = DRM_KVSINK_QUERY_SCORES,
					.group = 1,
					.stream = FOREIGN,
					.first = 5,
					.size = 16 + 32 * 10 + 31};

	answer_bytes = 1 << 20;
	try_all("QUERY", &args, cases, COUNT(cases), call_query);
	tap_ok(cmd.opcode == KVSINK_OP_QUERY && cmd.query.what == KVSINK_QUERY_SCORES &&
		       cmd.query.group == 1 && cmd.query.first == 5 && cmd.query.max == 10 &&
		       cmd.query.dst.offset == 8192,
	       "QUERY: as many whole records as fit");
	answer_bytes = 16 + 32 * 4;
	tap_ok(!call_query(&args) && cmd.query.max == 4, "QUERY: no more than the answer buffer takes");
	args = (struct drm_kvsink_query){.type = DRM_KVSINK_QUERY_STREAMS, .size = 16};
	tap_ok(!call_query(&args) && !cmd.query.max, "QUERY: the head alone");
	args.group = 1;
	tap_ok(call_query(&args) == -EINVAL && env.field == offsetof(struct drm_kvsink_query, group),
	       "QUERY: only scores have groups");
}

static int call_entry(void *args)
{
	struct kvsink_logic_stream stream;

	return kvsink_logic_entry_read(&env, args, &stream);
}

static void test_entry(void)
{
	static const struct bad cases[] = {
		BAD(drm_kvsink_entry_read, stream, 99, ENOENT),
		BAD(drm_kvsink_entry_read, stream, FOREIGN, EACCES),
		BAD(drm_kvsink_entry_read, token, 64, EINVAL),
		BAD(drm_kvsink_entry_read, layer, 4, EINVAL),
		BAD(drm_kvsink_entry_read, head, 2, EINVAL),
		BAD(drm_kvsink_entry_read, generation, 0, EINVAL),
		BAD(drm_kvsink_entry_read, size, 95, EINVAL),
		BAD(drm_kvsink_entry_read, pad, 1, EINVAL),
	};
	struct drm_kvsink_entry_read args = {
		.stream = OWN, .token = 63, .layer = 3, .head = 1, .generation = 1, .size = (16 + 8) * 4};

	try_all("ENTRY_READ", &args, cases, COUNT(cases), call_entry);
	args = (struct drm_kvsink_entry_read){.stream = SEALED, .generation = 1, .size = 2 * 64};
	tap_ok(!call_entry(&args), "ENTRY_READ: rows as they were appended");
	args.size = 2 * (32 + 2);
	tap_ok(!call_entry(&args), "ENTRY_READ: or codes and scales");
	args.size--;
	tap_ok(call_entry(&args) == -EINVAL && env.field == offsetof(struct drm_kvsink_entry_read, size),
	       "ENTRY_READ: and nothing in between");
}

int main(void)
{
	test_config();
	test_query();
	test_entry();
	return tap_done();
}
