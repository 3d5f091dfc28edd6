// SPDX-License-Identifier: MIT
/*
 * driver/logic: one negative test for each validation failure. Every case starts from arguments that are
 * accepted and changes one field; errno and the refused field's offset are checked.
 */
#include <string.h>

#include "logic.h"
#include "tap.h"

#define OWN 7	  /* our stream: 4 layers, 8 query heads, 2 KV heads, d_k 16, d_v 8, 64 tokens, 2 groups */
#define FOREIGN 8 /* the same, of another file */
#define WIDE 9	  /* ours: 512 wide, so that operands grow large */
#define BO 1	  /* 64 KiB at GART offset 1 MiB */
#define BO2 2	  /* 16 MiB behind it */

static int find_buffer(void *ctx, uint32_t handle, struct kvsink_logic_buffer *out)
{
	(void)ctx;
	if (handle != BO && handle != BO2)
		return -ENOENT;
	out->gart_offset = handle == BO ? 1 << 20 : 2 << 20;
	out->bytes = handle == BO ? 64 << 10 : 16 << 20;
	return 0;
}

static int find_stream(void *ctx, uint64_t id, bool own, struct kvsink_logic_stream *out)
{
	(void)ctx;
	if (id != OWN && id != FOREIGN && id != WIDE)
		return -ENOENT;
	if (own && id == FOREIGN)
		return -EACCES;
	*out = (struct kvsink_logic_stream){.id = id,
					    .layers = 4,
					    .q_heads = 8,
					    .kv_heads = 2,
					    .d_k = 16,
					    .d_v = 8,
					    .page_tokens = 16,
					    .max_tokens = 64,
					    .score_groups = 2};
	if (id == WIDE) {
		out->q_heads = out->kv_heads = 64;
		out->d_k = out->d_v = 512;
	}
	return 0;
}

static struct kvsink_logic_env env = {.buffer = find_buffer, .stream = find_stream};

/* One field of a struct that is set to something refused. */
struct bad {
	const char *name;
	size_t offset, bytes;
	uint64_t value;
	int err;
	size_t field; /* expected in env.field */
};

#define NO_FIELD 0xffffffffu
#define AT(type, member) offsetof(struct type, member), sizeof(((struct type *)0)->member)
#define BAD(type, member, value, err)                                                                        \
	{#member " = " #value, AT(type, member), value, -(err), offsetof(struct type, member)}
/* The refused field is another one than the changed one. */
#define BAD_AS(type, member, value, err, field)                                                              \
	{#member " = " #value, AT(type, member), value, -(err), offsetof(struct type, field)}
/* A field of the place that is tried; the refusal names `at`. */
#define BAD_PLACE(member, value, at)                                                                         \
	{"place." #member " = " #value, AT(drm_kvsink_place, member), value, -EINVAL, at}
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Change one field, call, change it back. */
static void try_all(const char *what, void *args, const struct bad *cases, size_t count,
		    int (*call)(void *args))
{
	for (size_t i = 0; i < count; i++) {
		uint64_t saved = 0;
		int err;

		memcpy(&saved, (char *)args + cases[i].offset, cases[i].bytes);
		memcpy((char *)args + cases[i].offset, &cases[i].value, cases[i].bytes);
		err = call(args);
		memcpy((char *)args + cases[i].offset, &saved, cases[i].bytes);
		if (!tap_ok(err == cases[i].err && env.field == cases[i].field, "%s: %s is refused", what,
			    cases[i].name))
			tap_diag("errno %d, expected %d; field %u, expected %zu", err, cases[i].err,
				 env.field, cases[i].field);
	}
	tap_ok(!call(args), "%s: accepted without the change", what);
}

/* ---- operations ------------------------------------------------------------------------------------ */

static struct kvsink_cmd cmd;
static union kvsink_item items[KVSINK_MAX_ITEMS];
static struct drm_kvsink_attend_item attend_items[KVSINK_MAX_ITEMS];
static struct drm_kvsink_place places[KVSINK_MAX_ITEMS];
static uint32_t first_item;

static int call_op(void *args)
{
	memset(&cmd, 0xff, sizeof(cmd));
	return kvsink_logic_build_op(&env, args, attend_items, places, first_item, &cmd, items);
}

#define BAD_OP(member, value, err) BAD(drm_kvsink_op, member, value, err)
#define BAD_REF(ref)                                                                                         \
	BAD_OP(ref.handle, 0, ENOENT), BAD_OP(ref.handle, 99, ENOENT), BAD_OP(ref.pad, 1, EINVAL),           \
		BAD_OP(ref.offset, 2, EINVAL), BAD_OP(ref.offset, 64 << 10, EFAULT),                         \
		BAD_OP(ref.offset, ~3ull, EFAULT)
#define BAD_STREAM(member)                                                                                   \
	BAD_OP(member, 0, ENOENT), BAD_OP(member, 99, ENOENT), BAD_OP(member, FOREIGN, EACCES)
#define BAD_HEAD(last_word)                                                                                  \
	BAD_OP(flags, 1, EINVAL), BAD_OP(words[last_word], 1, EINVAL), BAD_OP(words[10], 1ull << 63, EINVAL)

static void test_append(void)
{
	static const struct bad cases[] = {
		BAD_HEAD(7),
		BAD_STREAM(append.stream),
		BAD_OP(append.layer, 4, EINVAL),
		BAD_OP(append.first, 64, EINVAL),
		BAD_OP(append.first, 0xffffffff, EINVAL),
		BAD_OP(append.count, 0, EINVAL),
		BAD_OP(append.count, 63, EINVAL), /* first is 2 */
		BAD_OP(append.count, 0xffffffff, EINVAL),
		BAD_OP(append.pad, 1, EINVAL),
		BAD_REF(append.k),
		BAD_REF(append.v),
		BAD_OP(append.k.offset, (64 << 10) - 3 * 2 * 16 * 4 + 4, EFAULT), /* one float too far */
	};
	struct drm_kvsink_op op = {
		.type = DRM_KVSINK_OP_APPEND,
		.append = {.stream = OWN,
			   .layer = 3,
			   .first = 2,
			   .count = 3,
			   .k = {BO, 0, 16},
			   .v = {BO, 0, 4096}},
	};

	try_all("APPEND", &op, cases, COUNT(cases), call_op);
	tap_ok(cmd.opcode == KVSINK_OP_APPEND && cmd.append.stream == OWN && cmd.append.layer == 3 &&
		       cmd.append.first == 2 && cmd.append.count == 3 && !cmd.append.reserved && !cmd.flags,
	       "APPEND: the command says what the operation says");
	tap_ok(cmd.append.k.space == KVSINK_SPACE_GART && cmd.append.k.offset == (1 << 20) + 16 &&
		       cmd.append.v.offset == (1 << 20) + 4096,
	       "APPEND: operands are GART offsets");
	op.append.k.offset = (64 << 10) - 3 * 2 * 16 * 4;
	tap_ok(!call_op(&op), "APPEND: K may end where its buffer ends");
	op.append = (struct drm_kvsink_op_append){
		.stream = WIDE, .count = 33, .k = {BO2, 0, 0}, .v = {BO2, 0, 0}};
	tap_ok(call_op(&op) == -E2BIG && env.field == offsetof(struct drm_kvsink_op, append.count),
	       "APPEND: more than 4 MiB of rows is refused");
	op.append.count = 32;
	tap_ok(!call_op(&op), "APPEND: 4 MiB of rows is accepted");
}

static void test_copy(void)
{
	static const struct bad cases[] = {
		BAD_HEAD(5),
		BAD_REF(copy.src),
		BAD_REF(copy.dst),
		BAD_OP(copy.bytes, 0, EINVAL),
		BAD_AS(drm_kvsink_op, copy.bytes, 65537, EFAULT, copy.src.offset),
		BAD_AS(drm_kvsink_op, copy.bytes, ~0ull, EFAULT, copy.src.offset),
		BAD_OP(copy.dst.offset, 96, EINVAL), /* overlaps the last 4 bytes of the source */
		BAD_OP(copy.dst.offset, 0, EINVAL),
	};
	struct drm_kvsink_op op = {
		.type = DRM_KVSINK_OP_COPY,
		.copy = {.src = {BO, 0, 0}, .dst = {BO, 0, 100}, .bytes = 100},
	};

	try_all("COPY", &op, cases, COUNT(cases), call_op);
	tap_ok(cmd.opcode == KVSINK_OP_COPY && cmd.copy.bytes == 100 && cmd.copy.src.offset == 1 << 20 &&
		       cmd.copy.dst.offset == (1 << 20) + 100,
	       "COPY: the command says what the operation says");
	op.copy.bytes = 3;
	tap_ok(!call_op(&op), "COPY: any number of bytes");
}

static void test_score(void)
{
	static const struct bad cases[] = {
		BAD_HEAD(7),
		BAD_STREAM(score.stream),
		BAD_OP(score.layer, 4, EINVAL),
		BAD_OP(score.first, 64, EINVAL),
		BAD_OP(score.count, 0, EINVAL),
		BAD_OP(score.count, 65, EINVAL),
		BAD_OP(score.pad, 1, EINVAL),
		BAD_REF(score.q),
		BAD_REF(score.out),
	};
	struct drm_kvsink_op op = {
		.type = DRM_KVSINK_OP_SCORE,
		.score = {.stream = OWN, .layer = 1, .count = 5, .q = {BO, 0, 0}, .out = {BO, 0, 8192}},
	};

	try_all("SCORE", &op, cases, COUNT(cases), call_op);
	tap_ok(cmd.opcode == KVSINK_OP_SCORE && cmd.score.layer == 1 && cmd.score.count == 5 &&
		       cmd.score.out.offset == (1 << 20) + 8192,
	       "SCORE: the command says what the operation says");
	op.score = (struct drm_kvsink_op_score){
		.stream = WIDE, .count = 33, .q = {BO2, 0, 0}, .out = {BO2, 0, 0}};
	tap_ok(call_op(&op) == -E2BIG && env.field == offsetof(struct drm_kvsink_op, score.count),
	       "SCORE: more than 4 MiB of queries is refused");
}

static void test_classify(void)
{
	static const struct bad cases[] = {
		BAD_HEAD(4),
		BAD_STREAM(classify.stream),
		BAD_OP(classify.group_mask, 0, EINVAL),
		BAD_OP(classify.group_mask, 4, EINVAL),
		BAD_OP(classify.max, (8 << 18) + 1, E2BIG),
		BAD_AS(drm_kvsink_op, classify.max, 4096, EFAULT, classify.dst.offset),
		BAD_REF(classify.dst),
	};
	struct drm_kvsink_op op = {
		.type = DRM_KVSINK_OP_CLASSIFY,
		.classify = {.stream = OWN, .group_mask = 3, .max = 4095, .dst = {BO, 0, 0}},
	};

	try_all("CLASSIFY", &op, cases, COUNT(cases), call_op);
	tap_ok(cmd.opcode == KVSINK_OP_CLASSIFY && cmd.classify.group_mask == 3 && cmd.classify.max == 4095,
	       "CLASSIFY: the command says what the operation says");
}

static void test_small_ops(void)
{
	static const struct bad barrier[] = {BAD_HEAD(1), BAD_STREAM(barrier.stream)};
	static const struct bad advance[] = {BAD_HEAD(1), BAD_OP(advance.ns, 1000000001, EINVAL)};
	static const struct bad step[] = {
		BAD_HEAD(2),
		BAD_STREAM(step_end.stream),
		BAD_OP(step_end.abort, 2, EINVAL),
		BAD_AS(drm_kvsink_op, step_end.abort, 1, EINVAL, step_end.count),
		BAD_OP(step_end.count, 0, EINVAL),
		BAD_OP(step_end.count, 65, EINVAL),
	};
	struct drm_kvsink_op op = {.type = DRM_KVSINK_OP_BARRIER, .barrier = {OWN}};

	try_all("BARRIER", &op, barrier, COUNT(barrier), call_op);
	tap_ok(cmd.opcode == KVSINK_OP_BARRIER && cmd.barrier.stream == OWN, "BARRIER: names its stream");
	op = (struct drm_kvsink_op){.type = DRM_KVSINK_OP_ADVANCE, .advance = {1000000000}};
	try_all("ADVANCE", &op, advance, COUNT(advance), call_op);
	tap_ok(cmd.opcode == KVSINK_OP_ADVANCE && cmd.advance.ns == 1000000000, "ADVANCE: carries its time");
	op = (struct drm_kvsink_op){.type = DRM_KVSINK_OP_STEP_END, .step_end = {OWN, 64, 0}};
	try_all("STEP_END", &op, step, COUNT(step), call_op);
	tap_ok(cmd.opcode == KVSINK_OP_STEP_END && cmd.step_end.count == 64 && !cmd.flags,
	       "STEP_END: counts");
	op.step_end = (struct drm_kvsink_op_step_end){OWN, 0, 1};
	tap_ok(!call_op(&op) && cmd.flags == KVSINK_STEP_ABORT, "STEP_END: abort is a flag of the command");
	op.type = 0;
	tap_ok(call_op(&op) == -EINVAL && env.field == 0, "operation 0 is refused");
	op.type = DRM_KVSINK_OP_SCORE_IMPORT + 1;
	tap_ok(call_op(&op) == -EINVAL && env.field == 0, "an unknown operation is refused");
	op.type = 0xffffffff;
	tap_ok(call_op(&op) == -EINVAL && env.field == 0, "operation 0xffffffff is refused");
}

static int call_item(void *args)
{
	struct drm_kvsink_op op = {
		.type = DRM_KVSINK_OP_ATTEND,
		.attend = {.items = {sizeof(*attend_items), 2, 0}, .q = {BO, 0, 0}, .out = {BO, 0, 16384}},
	};

	(void)args; /* the second item */
	return call_op(&op);
}

static void test_attend_items(void)
{
	static const struct bad cases[] = {
#define BAD_ITEM(member, value, err)                                                                         \
	{#member " = " #value, AT(drm_kvsink_attend_item, member), value, -(err),                            \
	 offsetof(struct drm_kvsink_op, attend.items.array)}
		BAD_ITEM(stream, 0, ENOENT),	     BAD_ITEM(stream, 99, ENOENT),
		BAD_ITEM(stream, FOREIGN, EACCES),   BAD_ITEM(layer, 4, EINVAL),
		BAD_ITEM(first, 64, EINVAL),	     BAD_ITEM(count, 0, EINVAL),
		BAD_ITEM(count, 0xffffffff, EINVAL), BAD_ITEM(pad, 1, EINVAL),
#undef BAD_ITEM
	};

	attend_items[0] = (struct drm_kvsink_attend_item){.stream = OWN, .layer = 0, .first = 5, .count = 1};
	attend_items[1] = (struct drm_kvsink_attend_item){.stream = OWN, .layer = 3, .first = 60, .count = 4};
	try_all("attend item", &attend_items[1], cases, COUNT(cases), call_item);
	tap_ok(items[0].attend.stream == OWN && items[0].attend.first == 5 && items[1].attend.layer == 3 &&
		       items[1].attend.count == 4 && !items[1].attend.reserved[2],
	       "attend items are translated");
}

static void test_attend(void)
{
	static const struct bad cases[] = {
		BAD_OP(flags, 1, EINVAL),
		BAD_OP(attend.mass.handle, 99, ENOENT),
		BAD_OP(attend.mass.pad, 1, EINVAL),
		BAD_AS(drm_kvsink_op, attend.items.count, 0, EINVAL, attend.items),
		BAD_AS(drm_kvsink_op, attend.items.count, 257, E2BIG, attend.items),
		BAD_AS(drm_kvsink_op, attend.items.stride, 8, EINVAL, attend.items),
		BAD_AS(drm_kvsink_op, attend.items.stride, 4104, E2BIG, attend.items),
		BAD_OP(attend.mode, 1, EINVAL),
		BAD_OP(attend.pad, 1, EINVAL),
		BAD_REF(attend.q),
		BAD_REF(attend.out),
		BAD_OP(attend.stats.handle, 99, ENOENT),
		BAD_OP(attend.stats.pad, 1, EINVAL),
		BAD_OP(attend.stats.offset, 65536 - 5 * 8 * 16 + 4, EFAULT),
		BAD_OP(attend.stats.handle, 0, EINVAL), /* with an offset */
	};
	struct drm_kvsink_op op = {
		.type = DRM_KVSINK_OP_ATTEND,
		.attend = {.items = {sizeof(*attend_items), 2, 0},
			   .q = {BO, 0, 0},
			   .out = {BO, 0, 16384},
			   .stats = {BO, 0, 32768}},
	};
	struct bad *no_stats = (struct bad[]){cases[COUNT(cases) - 1]};

	no_stats->field = offsetof(struct drm_kvsink_op, attend.stats.offset);
	try_all("ATTEND", &op, cases, COUNT(cases) - 1, call_op);
	try_all("ATTEND", &op, no_stats, 1, call_op);
	first_item = 254;
	tap_ok(!call_op(&op) && cmd.attend.first_item == 254 && cmd.attend.item_count == 2,
	       "ATTEND: items may fill the job");
	first_item = 255;
	tap_ok(call_op(&op) == -E2BIG && env.field == offsetof(struct drm_kvsink_op, attend.items),
	       "ATTEND: a 257th item of the job is refused");
	first_item = 0;
	op.attend.stats = (struct drm_kvsink_ref){0};
	tap_ok(!call_op(&op) && cmd.attend.stats.space == KVSINK_SPACE_NONE, "ATTEND: stats may be left out");
	attend_items[0].stream = attend_items[1].stream = WIDE;
	attend_items[0].count = 30;
	op.attend.q = op.attend.out = (struct drm_kvsink_ref){BO2, 0, 0};
	tap_ok(call_op(&op) == -E2BIG && env.field == offsetof(struct drm_kvsink_op, attend.items.array),
	       "ATTEND: items that take more than 4 MiB together are refused");
	attend_items[0].count = 28;
	tap_ok(!call_op(&op), "ATTEND: 4 MiB are accepted");
}

/* ---- STREAM_CREATE ------------------------------------------------------------------------------------- */

static struct drm_kvsink_layer layers[KVSINK_MAX_LAYERS];
static struct kvsink_logic_stream stream;
static struct kvsink_logic_layout layout;

static struct drm_kvsink_stream_create create_args(void)
{
	return (struct drm_kvsink_stream_create){
		.layers = {sizeof(*layers), 4, 0},
		.format = DRM_KVSINK_FORMAT_FP16,
		.q_heads = 8,
		.kv_heads = 2,
		.d_k = 16,
		.d_v = 8,
		.page_tokens = 16,
		.max_tokens = 160,
		.reserve_tokens = 17,
		.score_groups = 2,
		.group_end = {1, 4},
	};
}

static int call_create(void *args)
{
	return kvsink_logic_stream_create(&env, args, layers, &stream, &layout);
}

static int call_layer(void *args)
{
	struct drm_kvsink_stream_create create = create_args();

	(void)args; /* the last layer */
	return call_create(&create);
}

#define BAD_CREATE(member, value, err) BAD(drm_kvsink_stream_create, member, value, err)
#define BAD_GROUP(member, value) BAD_AS(drm_kvsink_stream_create, member, value, EINVAL, group_end)

static void test_create(void)
{
	static const struct bad cases[] = {
		BAD_AS(drm_kvsink_stream_create, layers.count, 0, EINVAL, layers),
		BAD_AS(drm_kvsink_stream_create, layers.count, 129, E2BIG, layers),
		BAD_AS(drm_kvsink_stream_create, layers.stride, 20, EINVAL, layers),
		BAD_CREATE(flags, 1, EINVAL),
		BAD_CREATE(format, 2, EINVAL),
		BAD_CREATE(kv_heads, 0, EINVAL),
		BAD_CREATE(kv_heads, 65, EINVAL),
		BAD_AS(drm_kvsink_stream_create, kv_heads, 3, EINVAL, q_heads),
		BAD_CREATE(q_heads, 0, EINVAL),
		BAD_CREATE(q_heads, 130, EINVAL),
		BAD_CREATE(q_heads, 7, EINVAL),
		BAD_CREATE(d_k, 0, EINVAL),
		BAD_CREATE(d_k, 513, EINVAL),
		BAD_CREATE(d_v, 0, EINVAL),
		BAD_CREATE(d_v, 513, EINVAL),
		BAD_CREATE(page_tokens, 0, EINVAL),
		BAD_CREATE(page_tokens, 24, EINVAL),
		BAD_CREATE(page_tokens, 512, EINVAL),
		BAD_CREATE(max_tokens, 0, EINVAL),
		BAD_CREATE(max_tokens, 161, EINVAL),
		BAD_CREATE(max_tokens, 262160, EINVAL),
		BAD_CREATE(reserve_tokens, 161, EINVAL),
		BAD_CREATE(score_groups, 0, EINVAL),
		BAD_CREATE(score_groups, 9, EINVAL),
		BAD_GROUP(score_groups, 1), /* leaves a layer without group, and an unused end */
		BAD_GROUP(score_groups, 3),
		BAD_GROUP(group_end[0], 0),
		BAD_GROUP(group_end[0], 4),
		BAD_GROUP(group_end[1], 3),
		BAD_GROUP(group_end[1], 5),
		BAD_GROUP(group_end[2], 5),
		BAD_GROUP(group_end[7], 1),
	};
	struct drm_kvsink_stream_create args = create_args();

	for (int i = 0; i < 4; i++)
		layers[i] = (struct drm_kvsink_layer){.scale = 0x3e800000};
	try_all("STREAM_CREATE", &args, cases, COUNT(cases), call_create);
	tap_ok(stream.layers == 4 && stream.kv_heads == 2 && stream.max_tokens == 160 && stream.format == 1,
	       "STREAM_CREATE: geometry is kept");
	tap_ok(layout.page_bytes == 8192 && layout.max_pages == 10 && layout.reserve_pages == 2 &&
		       layout.table_bytes == 4096 && layout.score_bytes == 12288,
	       "STREAM_CREATE: 4 layers, 2 heads, 24 halves, 16 tokens make pages of 8 KiB; 17 tokens need "
	       "2");
}

static void test_layers(void)
{
	static const struct bad cases[] = {
#define BAD_LAYER(member, value, err)                                                                        \
	{#member " = " #value, AT(drm_kvsink_layer, member), value, -(err),                                  \
	 offsetof(struct drm_kvsink_stream_create, layers.array)}
		BAD_LAYER(scale, 0, EINVAL),
		BAD_LAYER(scale, 0x7f800000, EINVAL),
		BAD_LAYER(scale, 0x7fc00000, EINVAL),
		BAD_LAYER(scale, 0xbf800000, EINVAL),
		BAD_LAYER(softcap, 0x7f800000, EINVAL),
		BAD_LAYER(softcap, 0x80000000, EINVAL),
		BAD_LAYER(alibi_slope, 1, EOPNOTSUPP),
		BAD_LAYER(sink_logit, 0x80000000, EOPNOTSUPP),
		BAD_LAYER(flags, 1, EINVAL),
#undef BAD_LAYER
	};
	struct drm_kvsink_stream_create args = create_args();

	layers[3].softcap = 0x41f00000;
	layers[3].window = 5;
	try_all("layer", &layers[3], cases, COUNT(cases), call_layer);
	kvsink_logic_build_create(&args, layers, 42, 1000, 4096, 8192, &cmd, items);
	tap_ok(cmd.opcode == KVSINK_OP_STREAM_CREATE && cmd.stream_create.stream == 42 &&
		       cmd.stream_create.tenant == 1000 && cmd.stream_create.layers == 4 &&
		       cmd.stream_create.page_table == 4096 && cmd.stream_create.scores == 8192 &&
		       cmd.stream_create.group_end[1] == 4 && cmd.stream_create.d_v == 8,
	       "STREAM_CREATE: the command says what the arguments say");
	tap_ok(items[3].layer.softcap == 0x41f00000 && items[3].layer.window == 5 &&
		       items[0].layer.scale == 0x3e800000 && !items[3].layer.reserved[1],
	       "STREAM_CREATE: items carry the layers");
}

static uint32_t pages;

static int call_reserve(void *args)
{
	return kvsink_logic_stream_reserve(&env, args, &stream, &pages);
}

static void test_reserve(void)
{
	static const struct bad cases[] = {
		BAD(drm_kvsink_stream_reserve, stream, 99, ENOENT),
		BAD(drm_kvsink_stream_reserve, stream, FOREIGN, EACCES),
		BAD(drm_kvsink_stream_reserve, tokens, 65, EINVAL),
		BAD(drm_kvsink_stream_reserve, pad, 1, EINVAL),
	};
	struct drm_kvsink_stream_reserve args = {.stream = OWN, .tokens = 33};
	const uint64_t offsets[5] = {1, 2, 3, 4, 5};

	try_all("STREAM_RESERVE", &args, cases, COUNT(cases), call_reserve);
	tap_ok(pages == 3, "STREAM_RESERVE: 33 tokens need 3 pages of 16");
	kvsink_logic_build_page_map(OWN, 2, offsets, 5, 10, &cmd, items);
	tap_ok(cmd.opcode == KVSINK_OP_PAGE_MAP && cmd.page_map.first_page == 2 && cmd.page_map.count == 5 &&
		       cmd.page_map.first_item == 10 && items[0].pages[3] == 4 && items[1].pages[0] == 5 &&
		       !items[1].pages[1] && KVSINK_LOGIC_PAGE_ITEMS(5) == 2,
	       "PAGE_MAP: four pages an item");
}

/* ---- one-command ioctls
 * ------------------------------------------------------------------------------------ */

static struct drm_kvsink_promote promote;
static struct drm_kvsink_evict evict;
static struct drm_kvsink_contract contract;

static int call_promote(void *args)
{
	(void)args;
	return kvsink_logic_build_promote(&env, &promote, places, &cmd, items);
}

static int call_evict(void *args)
{
	(void)args;
	return kvsink_logic_build_evict(&env, &evict, places, &cmd, items);
}

static int call_contract(void *args)
{
	(void)args;
	return kvsink_logic_build_contract(&env, &contract, places, &cmd, items);
}

#define PROMOTE_PLACES offsetof(struct drm_kvsink_promote, places.array)
#define EVICT_PLACES offsetof(struct drm_kvsink_evict, places.array)
#define CONTRACT_PLACES offsetof(struct drm_kvsink_contract, places.array)

/* What every list refuses; `at` is where the list stands. */
#define BAD_PLACES(at)                                                                                       \
	BAD_PLACE(token, 64, at), BAD_PLACE(layer_begin, 3, at), BAD_PLACE(layer_end, 5, at),                \
		BAD_PLACE(head_mask, 0, at)

static void two_places(void)
{
	places[0] = (struct drm_kvsink_place){.token = 7, .layer_end = 4, .head_mask = 3};
	places[1] = (struct drm_kvsink_place){.token = 63, .layer_begin = 1, .layer_end = 3, .head_mask = 2};
}

static void test_promote(void)
{
	static const struct bad cases[] = {
		BAD(drm_kvsink_promote, stream, 0, ENOENT),	BAD(drm_kvsink_promote, stream, 99, ENOENT),
		BAD(drm_kvsink_promote, flags, 2, EINVAL),	BAD(drm_kvsink_promote, pad, 1, EINVAL),
		BAD(drm_kvsink_promote, priority, 256, EINVAL),
	};
	static const struct bad rows[] = {
		BAD_PLACES(PROMOTE_PLACES),
		BAD_PLACE(token, KVSINK_TOKEN_ALL, PROMOTE_PLACES),
		BAD_PLACE(head_mask, 4, PROMOTE_PLACES),
	};

	two_places();
	promote = (struct drm_kvsink_promote){
		.stream = FOREIGN,
		.places.count = 2,
		.deadline_ns = 5,
		.due_ns = 6,
		.dwell_steps = 7,
		.priority = 255,
		.flags = DRM_KVSINK_PROMOTE_PARTIAL,
	};
	try_all("PROMOTE", &promote, cases, COUNT(cases), call_promote);
	try_all("PROMOTE", &places[1], rows, COUNT(rows), call_promote);
	tap_ok(cmd.opcode == KVSINK_OP_PROMOTE && cmd.flags == KVSINK_PROMOTE_PARTIAL &&
		       cmd.promote.stream == FOREIGN && cmd.promote.first_item == 0 &&
		       cmd.promote.item_count == 2 && cmd.promote.deadline_ns == 5 &&
		       cmd.promote.due_ns == 6 && cmd.promote.dwell_steps == 7 && cmd.promote.priority == 255,
	       "PROMOTE: acts on other files' streams, as the arguments say");
	tap_ok(items[0].place.token == 7 && items[1].place.token == 63 && items[1].place.layer_begin == 1 &&
		       items[1].place.layer_end == 3 && items[1].place.head_mask == 2 &&
		       !items[1].place.reserved[0] && !items[1].place.reserved[1],
	       "PROMOTE: each place becomes an item");
	promote.stream = WIDE;
	places[0] = (struct drm_kvsink_place){.layer_end = 4, .head_mask = ~0ull};
	promote.places.count = 1;
	tap_ok(!call_promote(NULL), "PROMOTE: all of 64 heads");
}

/* EVICT and CONTRACT look for entries: every token, and heads that the stream lacks, may be named. */
static void test_search(void)
{
	static const struct bad evict_cases[] = {BAD(drm_kvsink_evict, stream, 99, ENOENT)};
	static const struct bad evict_rows[] = {BAD_PLACES(EVICT_PLACES)};
	static const struct bad contract_cases[] = {
		BAD(drm_kvsink_contract, stream, 99, ENOENT),
		BAD(drm_kvsink_contract, priority, 256, EINVAL),
	};
	static const struct bad contract_rows[] = {BAD_PLACES(CONTRACT_PLACES)};

	two_places();
	evict = (struct drm_kvsink_evict){.stream = FOREIGN, .places.count = 2};
	contract = (struct drm_kvsink_contract){
		.stream = FOREIGN, .places.count = 2, .deadline_ns = 5, .dwell_steps = 7, .priority = 255};
	try_all("EVICT", &evict, evict_cases, COUNT(evict_cases), call_evict);
	try_all("EVICT", &places[1], evict_rows, COUNT(evict_rows), call_evict);
	tap_ok(cmd.opcode == KVSINK_OP_EVICT && cmd.evict.item_count == 2 && !cmd.flags,
	       "EVICT: the command says what the arguments say");
	try_all("CONTRACT", &contract, contract_cases, COUNT(contract_cases), call_contract);
	try_all("CONTRACT", &places[1], contract_rows, COUNT(contract_rows), call_contract);
	tap_ok(cmd.opcode == KVSINK_OP_CONTRACT && cmd.contract.item_count == 2 &&
		       cmd.contract.deadline_ns == 5 && cmd.contract.dwell_steps == 7 &&
		       cmd.contract.priority == 255,
	       "CONTRACT: the command says what the arguments say");
	places[0].token = KVSINK_TOKEN_ALL;
	places[0].head_mask = ~0ull;
	tap_ok(!call_evict(NULL) && items[0].place.token == KVSINK_TOKEN_ALL && !~items[0].place.head_mask,
	       "EVICT: all tokens, all heads");
	tap_ok(!call_contract(NULL), "CONTRACT: all tokens, all heads");
}

/* The same lists as operations of SUBMIT: only the owner's, with the offsets of struct drm_kvsink_op. */
static void test_list_operations(void)
{
	static const struct bad cases[] = {
		BAD_STREAM(promote.stream),
		BAD_OP(promote.flags, 2, EINVAL),
		BAD_OP(promote.pad, 1, EINVAL),
		BAD_OP(promote.priority, 256, EINVAL),
		BAD_AS(drm_kvsink_op, promote.places.count, 0, EINVAL, promote.places),
		BAD_AS(drm_kvsink_op, promote.places.count, 257, E2BIG, promote.places),
	};
	static const struct bad rows[] = {BAD_PLACES(offsetof(struct drm_kvsink_op, promote.places.array))};
	static const struct bad evict_cases[] = {BAD_STREAM(evict.stream)};
	static const struct bad import_cases[] = {
		BAD_STREAM(score_import.stream),
		BAD_OP(score_import.group, 8, EINVAL),
		BAD_OP(score_import.count, 0, EINVAL),
		BAD_OP(score_import.count, 65, EINVAL),
		BAD_REF(score_import.src),
	};
	struct drm_kvsink_op op = {
		.type = DRM_KVSINK_OP_PROMOTE,
		.promote = {.stream = OWN, .places = {sizeof(*places), 2, 0}, .dwell_steps = 3},
	};

	two_places();
	first_item = 9;
	try_all("PROMOTE operation", &op, cases, COUNT(cases), call_op);
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct drm_kvsink_place saved = places[1];

		memcpy((char *)&places[1] + rows[i].offset, &rows[i].value, rows[i].bytes);
		tap_ok(call_op(&op) == -EINVAL && env.field == rows[i].field,
		       "PROMOTE operation: %s is refused", rows[i].name);
		places[1] = saved;
	}
	tap_ok(!call_op(&op) && cmd.promote.first_item == 9 && cmd.promote.item_count == 2 &&
		       cmd.promote.dwell_steps == 3,
	       "PROMOTE operation: its places are items of the job");
	first_item = 255;
	tap_ok(call_op(&op) == -E2BIG, "PROMOTE operation: a 257th item of the job is refused");
	first_item = 9;
	op = (struct drm_kvsink_op){.type = DRM_KVSINK_OP_EVICT,
				    .evict = {.stream = OWN, .places = {sizeof(*places), 2, 0}}};
	try_all("EVICT operation", &op, evict_cases, COUNT(evict_cases), call_op);
	tap_ok(cmd.evict.first_item == 9 && cmd.flags == KVSINK_EVICT_ANY,
	       "EVICT operation: nothing to remove is no error");
	first_item = 0;
	op = (struct drm_kvsink_op){
		.type = DRM_KVSINK_OP_SCORE_IMPORT,
		.score_import = {.stream = OWN, .group = 0, .count = 64, .src = {BO, 0, 0}}};
	try_all("SCORE_IMPORT", &op, import_cases, COUNT(import_cases), call_op);
	tap_ok(cmd.opcode == KVSINK_OP_SCORE_IMPORT && cmd.score_import.count == 64,
	       "SCORE_IMPORT: the command says what the operation says");
}

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
		BAD(drm_kvsink_config, pad, 1, EINVAL),
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
		BAD(drm_kvsink_entry_read, size, 95, EINVAL),
		BAD(drm_kvsink_entry_read, pad, 1, EINVAL),
	};
	struct drm_kvsink_entry_read args = {
		.stream = OWN, .token = 63, .layer = 3, .head = 1, .size = (16 + 8) * 4};

	try_all("ENTRY_READ", &args, cases, COUNT(cases), call_entry);
}

/* ---- tables
 * ------------------------------------------------------------------------------------------------- */

static void test_registers(void)
{
	bool wide, ok = true;

	tap_ok(kvsink_logic_reg_access(KVSINK_REG_ID, 4, &wide) == 0 && !wide, "registers: ID is public");
	tap_ok(kvsink_logic_reg_access(KVSINK_REG_ERR_CODE, 4, &wide) == 1 && !wide,
	       "registers: ERR_CODE is for administrators");
	tap_ok(kvsink_logic_reg_access(KVSINK_REG_GART_BASE_LO, 4, &wide) == -ENOENT,
	       "registers: GART_BASE is for nobody");
	tap_ok(kvsink_logic_reg_access(0x0b8, 4, &wide) == -ENOENT &&
		       kvsink_logic_reg_access(2, 4, &wide) == -ENOENT &&
		       kvsink_logic_reg_access(0xfffffffc, 4, &wide) == -ENOENT,
	       "registers: holes, odd and far offsets do not exist");
	tap_ok(kvsink_logic_reg_access(KVSINK_RING_BASE + 3 * KVSINK_RING_STRIDE + KVSINK_RING_HEAD, 4,
				       &wide) == 1 &&
		       kvsink_logic_reg_access(KVSINK_RING_BASE + 4 * KVSINK_RING_STRIDE + KVSINK_RING_HEAD,
					       4, &wide) == -ENOENT,
	       "registers: rings that exist");
	tap_ok(kvsink_logic_reg_access(KVSINK_RING_BASE + KVSINK_RING_DOORBELL, 4, &wide) == -ENOENT,
	       "registers: the doorbell is for nobody");
	for (uint32_t i = 0; i < KVSINK_COUNTER_COUNT; i++)
		ok &= kvsink_logic_reg_access(KVSINK_COUNTER_BASE + 8 * i, 4, &wide) == 1 && wide;
	tap_ok(ok, "registers: counters are wide and for administrators");
	tap_ok(kvsink_logic_reg_access(KVSINK_COUNTER_BASE + 4, 4, &wide) == -ENOENT &&
		       kvsink_logic_reg_access(KVSINK_COUNTER_BASE + 8 * KVSINK_COUNTER_COUNT, 4, &wide) ==
			       -ENOENT,
	       "registers: no high halves, no counter behind the last");
}

static void test_tables(void)
{
	struct drm_kvsink_array array = {16, 3, 0};
	struct kvsink_ref ref;

	tap_ok(!kvsink_logic_errno(KVSINK_CODE_OK) && kvsink_logic_errno(KVSINK_CODE_BUDGET) == -ENOSPC &&
		       kvsink_logic_errno(KVSINK_CODE_SEQUENCE) == -EILSEQ &&
		       kvsink_logic_errno(KVSINK_CODE_ABORTED) == -ECANCELED,
	       "errno of result codes");
	tap_ok(kvsink_logic_errno(KVSINK_CODE_COUNT) == -EIO && kvsink_logic_errno(~0u) == -EIO,
	       "unknown result codes are EIO");
	tap_ok(kvsink_logic_record_bytes(DRM_KVSINK_QUERY_TAGS) == sizeof(struct kvsink_tag_rec) &&
		       !kvsink_logic_record_bytes(0) && !kvsink_logic_record_bytes(11),
	       "record sizes");
	tap_ok(!kvsink_logic_array(&array, 16, 1, 3) && kvsink_logic_array(&array, 16, 4, 9) == -EINVAL &&
		       kvsink_logic_array(&array, 16, 0, 2) == -E2BIG &&
		       kvsink_logic_array(&array, 17, 1, 3) == -EINVAL,
	       "array headers: count and stride");
	array = (struct drm_kvsink_array){0};
	tap_ok(!kvsink_logic_array(&array, 16, 0, 3) && kvsink_logic_array(&array, 16, 1, 3) == -EINVAL,
	       "array headers: an empty array needs no stride");
	tap_ok(kvsink_logic_operand(&env, &(struct drm_kvsink_ref){BO, 0, 65504}, 0, 32, false, &ref) == 0 &&
		       kvsink_logic_operand(&env, &(struct drm_kvsink_ref){BO, 0, 65508}, 100, 32, true,
					    &ref) == -EFAULT &&
		       env.field == 108,
	       "operands: the field's offset counts from the struct that holds it");
	kvsink_logic_build_scrub(4096, 8192, &cmd);
	tap_ok(cmd.opcode == KVSINK_OP_FILL && cmd.fill.dst.space == KVSINK_SPACE_HBM &&
		       cmd.fill.dst.offset == 4096 && cmd.fill.bytes == 8192 && !cmd.fill.value,
	       "scrub fills HBM with zeros");
	kvsink_logic_build_invalidate(3, 5, &cmd);
	tap_ok(cmd.opcode == KVSINK_OP_GART_INVALIDATE && cmd.gart_invalidate.first_page == 3 &&
		       cmd.gart_invalidate.count == 5,
	       "invalidate names pages");
	kvsink_logic_build_destroy(42, &cmd);
	tap_ok(cmd.opcode == KVSINK_OP_STREAM_DESTROY && cmd.stream_destroy.stream == 42,
	       "destroy names the stream");
}

int main(void)
{
	test_append();
	test_copy();
	test_score();
	test_classify();
	test_small_ops();
	test_attend_items();
	test_attend();
	test_create();
	test_layers();
	test_reserve();
	test_promote();
	test_search();
	test_list_operations();
	test_config();
	test_query();
	test_entry();
	test_registers();
	test_tables();
	return tap_done();
}
