// SPDX-License-Identifier: MIT
/*
 * driver/logic/stream.c: what STREAM_CREATE and STREAM_RESERVE refuse, what a stream takes of HBM, and the
 * commands that make, extend, drop and scrub it.
 */
#include "logic_case.h"

static struct kvsink_cmd cmd;
static union kvsink_item items[KVSINK_MAX_ITEMS];
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
		BAD_CREATE(flags, 4, EINVAL),
		BAD_CREATE(format, 2, EINVAL),
		BAD_CREATE(kv_heads, 0, EINVAL),
		BAD_CREATE(kv_heads, 65, EINVAL),
		BAD_AS(drm_kvsink_stream_create, kv_heads, 3, EINVAL, q_heads),
		BAD_CREATE(q_heads, 0, EINVAL),
		BAD_CREATE(q_heads, 130, EINVAL),
		BAD_CREATE(q_heads, 7, EINVAL),
		BAD_CREATE(d_k, 0, EINVAL),
		BAD_CREATE(d_k, 577, EINVAL),
		BAD_CREATE(d_v, 0, EINVAL),
		BAD_CREATE(d_v, 577, EINVAL),
		BAD_CREATE(page_tokens, 0, EINVAL),
		BAD_CREATE(page_tokens, 24, EINVAL),
		BAD_CREATE(page_tokens, 512, EINVAL),
		BAD_CREATE(max_tokens, 0, EINVAL),
		BAD_CREATE(max_tokens, 161, EINVAL),
		BAD_CREATE(max_tokens, 262160, EINVAL),
		BAD_CREATE(reserve_tokens, 161, EINVAL),
		BAD_CREATE(seal_k, DRM_KVSINK_FORMAT_FP16, EINVAL), /* to append */
		BAD_CREATE(seal_k, DRM_KVSINK_FORMAT_INT8, EINVAL), /* 16 elements are not 32 */
		BAD_CREATE(seal_k, KVSINK_FORMAT_COUNT, EINVAL),
		BAD_CREATE(seal_v, DRM_KVSINK_FORMAT_INT4, EINVAL),
		BAD_CREATE(seal_v, DRM_KVSINK_FORMAT_INT8_CHANNEL, EINVAL), /* of K only */
		BAD_CREATE(pad, 1, EINVAL),
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
	args.kv_heads = args.q_heads = 64;
	args.d_k = 512;
	args.d_v = 32;
	args.page_tokens = 128;
	args.max_tokens = args.reserve_tokens = 128;
	args.seal_v = DRM_KVSINK_FORMAT_INT4;
	tap_ok(!call_create(&args) && stream.seal_v == DRM_KVSINK_FORMAT_INT4,
	       "STREAM_CREATE: formats are kept");
	args.seal_k = DRM_KVSINK_FORMAT_INT8;
	tap_ok(call_create(&args) == -EINVAL &&
		       env.field == offsetof(struct drm_kvsink_stream_create, page_tokens),
	       "STREAM_CREATE: a plane of 8 MiB cannot be sealed");
	args = create_args();
	args.flags = DRM_KVSINK_STREAM_V_IN_K;
	args.d_k = args.d_v = 32;
	args.seal_k = DRM_KVSINK_FORMAT_INT8;
	tap_ok(call_create(&args) == -EINVAL &&
		       env.field == offsetof(struct drm_kvsink_stream_create, seal_k),
	       "STREAM_CREATE: K that holds V cannot be sealed");
	args.seal_v = args.seal_k;
	args.seal_k = 0;
	tap_ok(call_create(&args) == -EINVAL &&
		       env.field == offsetof(struct drm_kvsink_stream_create, seal_v),
	       "STREAM_CREATE: nor can V by itself");
	args = create_args();
	call_create(&args);
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
		BAD_LAYER(reserved[0], 1, EINVAL),
		BAD_LAYER(reserved[1], 0x80000000, EINVAL),
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

static void test_housekeeping(void)
{
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
	test_create();
	test_layers();
	test_reserve();
	test_housekeeping();
	return tap_done();
}
