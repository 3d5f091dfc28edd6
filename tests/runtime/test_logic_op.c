// SPDX-License-Identifier: MIT
/*
 * driver/logic/op.c: the operations of SUBMIT. Everything that each of them refuses, the command that it
 * becomes when it is accepted, and what lists of attend items and places take of a job.
 */
#include "logic_case.h"

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
	op.type = DRM_KVSINK_OP_SEAL + 1;
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
		BAD_OP(attend.mode, 3, EINVAL),
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

/* PROMOTE and EVICT as operations: only of the owner's streams, with the offsets of struct drm_kvsink_op. */
static void test_place_lists(void)
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
	struct drm_kvsink_op op = {
		.type = DRM_KVSINK_OP_PROMOTE,
		.promote = {.stream = OWN, .places = {sizeof(*places), 2, 0}, .dwell_steps = 3},
	};

	two_places(places);
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
}

static void test_seal(void)
{
	static const struct bad cases[] = {
		BAD_STREAM(seal.stream),
		BAD_OP(seal.stream, OWN, EINVAL), /* has no format to seal in */
		BAD_OP(seal.tokens, 0, EINVAL),
		BAD_OP(seal.tokens, 40, EINVAL),
		BAD_OP(seal.tokens, 80, EINVAL),
		BAD_OP(seal.pad, 1, EINVAL),
		BAD_AS(drm_kvsink_op, seal.places.count, 257, E2BIG, seal.places),
	};
	static const struct bad rows[] = {BAD_PLACES(offsetof(struct drm_kvsink_op, seal.places.array))};
	struct drm_kvsink_op op = {
		.type = DRM_KVSINK_OP_SEAL,
		.seal = {.stream = SEALED, .tokens = 48, .places = {sizeof(*places), 2, 0}},
	};
	uint32_t element, field;

	two_places(places);
	first_item = 9;
	try_all("SEAL", &op, cases, COUNT(cases), call_op);
	for (size_t i = 0; i < COUNT(rows); i++) {
		struct drm_kvsink_place saved = places[1];

		memcpy((char *)&places[1] + rows[i].offset, &rows[i].value, rows[i].bytes);
		tap_ok(call_op(&op) == -EINVAL && env.field == rows[i].field, "SEAL: %s is refused",
		       rows[i].name);
		places[1] = saved;
	}
	tap_ok(!call_op(&op) && cmd.opcode == KVSINK_OP_SEAL && cmd.seal.tokens == 48 &&
		       cmd.seal.first_item == 9 && cmd.seal.item_count == 2 && items[1].place.token == 63,
	       "SEAL: its places are items of the job");
	tap_ok(kvsink_logic_op_list(&op, &element, &field) == &op.seal.places && element == sizeof(*places),
	       "SEAL: brings a list");
	op.seal.places = (struct drm_kvsink_array){0};
	tap_ok(!kvsink_logic_op_list(&op, &element, &field) && !call_op(&op) && !cmd.seal.item_count,
	       "SEAL: which may be empty");
	first_item = 0;
}

static void test_score_import(void)
{
	static const struct bad cases[] = {
		BAD_STREAM(score_import.stream),
		BAD_OP(score_import.group, 8, EINVAL),
		BAD_OP(score_import.count, 0, EINVAL),
		BAD_OP(score_import.count, 65, EINVAL),
		BAD_REF(score_import.src),
	};
	struct drm_kvsink_op op = {
		.type = DRM_KVSINK_OP_SCORE_IMPORT,
		.score_import = {.stream = OWN, .group = 0, .count = 64, .src = {BO, 0, 0}},
	};

	try_all("SCORE_IMPORT", &op, cases, COUNT(cases), call_op);
	tap_ok(cmd.opcode == KVSINK_OP_SCORE_IMPORT && cmd.score_import.count == 64,
	       "SCORE_IMPORT: the command says what the operation says");
}

static void test_layer_heads(void)
{
	static const struct bad cases[] = {
		BAD_STREAM(layer_heads.stream),
		BAD_OP(layer_heads.stream, OWN, EOPNOTSUPP),
		BAD_OP(layer_heads.layer, 4, EINVAL),
		BAD_OP(layer_heads.pad, 1, EINVAL),
		BAD_REF(layer_heads.src),
	};
	struct drm_kvsink_op op = {
		.type = DRM_KVSINK_OP_LAYER_HEADS,
		.layer_heads = {.stream = OWN_FLAGS, .layer = 3, .src = {BO, 0, 65536 - 64}},
	};

	try_all("LAYER_HEADS", &op, cases, COUNT(cases), call_op);
	tap_ok(cmd.opcode == KVSINK_OP_LAYER_HEADS && cmd.layer_heads.layer == 3 &&
		       cmd.layer_heads.src.space == KVSINK_SPACE_GART,
	       "LAYER_HEADS: the command says what the operation says");
	op.layer_heads.src.offset += 4;
	tap_ok(call_op(&op) == -EFAULT, "LAYER_HEADS: two floats a query head are wanted");
}

static void test_v_in_k(void)
{
	static const struct bad cases[] = {
		BAD_OP(append.v.handle, BO, EINVAL),
		BAD_OP(append.v.offset, 4, EINVAL),
	};
	struct drm_kvsink_op op = {
		.type = DRM_KVSINK_OP_APPEND,
		.append = {.stream = OWN_FLAGS, .first = 5, .count = 2, .k = {BO, 0, 0}},
	};

	try_all("APPEND, V in K", &op, cases, COUNT(cases), call_op);
	tap_ok(cmd.append.k.space == KVSINK_SPACE_GART && cmd.append.v.space == KVSINK_SPACE_NONE,
	       "APPEND, V in K: the command has no V");
}

static void test_operand(void)
{
	struct kvsink_ref ref;

	tap_ok(kvsink_logic_operand(&env, &(struct drm_kvsink_ref){BO, 0, 65504}, 0, 32, false, &ref) == 0 &&
		       kvsink_logic_operand(&env, &(struct drm_kvsink_ref){BO, 0, 65508}, 100, 32, true,
					    &ref) == -EFAULT &&
		       env.field == 108,
	       "operands: the field's offset counts from the struct that holds it");
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
	test_place_lists();
	test_score_import();
	test_layer_heads();
	test_v_in_k();
	test_seal();
	test_operand();
	return tap_done();
}
