// SPDX-License-Identifier: MIT
/*
 * What must be 0 is refused when it is not, in every ioctl and every operation: each bit of each pad,
 * reserved field and unknown flag by itself, in a call that is valid otherwise. Elements of arrays may be
 * longer than the header's if their tail is 0. uapi/abi.txt says what there is, so that a new field without a
 * row here fails.
 *
 * The device is sim:, or what the first argument names: the driver has the same answers.
 */
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"
#include "kvsink_hw.h"
#include "rig.h"
#include "tap.h"

#define TOKENS 16
#define MAX_STRIDE 4096
#define SPACING (64u << 10) /* of operands in the buffer */
#define IMAGE (4u << 20)

/* A call is made of its argument and of arrays with two elements each. */
enum blob { ARGS, LAYERS, PLACES, JOBS, OPS, ITEMS, SYNCS, BLOBS };

static const char *device_name = "sim:";

struct scene {
	struct rig rig;
	uint64_t stream, empty; /* 16 tokens; none */
	uint32_t bo, handle;	/* a buffer; what the set-up of a call made */
	uint64_t point;		/* of the timeline, signalled last */
	uint32_t stride[BLOBS];
	uint64_t blob[BLOBS][2 * MAX_STRIDE / 8];
};

/* A field that must be 0 except for the bits of `known`. */
struct field {
	enum blob blob;
	const char *in, *name; /* as uapi/abi.txt has them */
	uint32_t at, bytes;
	uint64_t known;
};

struct array {
	enum blob blob;	       /* where its header stands, */
	const char *in, *name; /* as above */
	uint32_t at;
	enum blob elements; /* and where they are */
	uint32_t bytes;
};

#define AT(type, member) offsetof(struct drm_kvsink_##type, member)
#define BYTES(type, member) sizeof(((struct drm_kvsink_##type *)0)->member)
#define BITS(blob, type, member, known)                                                                      \
	{blob, "drm_kvsink_" #type, #member, AT(type, member), BYTES(type, member), known}
#define ZERO(blob, type, member) BITS(blob, type, member, 0)
#define ARRAY(blob, type, member, elements, element)                                                         \
	{blob, "drm_kvsink_" #type, #member, AT(type, member), elements, sizeof(struct drm_kvsink_##element)}
/* The same of an operation, and the words behind its own struct. */
#define OP_BITS(op, member, known)                                                                           \
	{OPS,                                                                                                \
	 "drm_kvsink_op_" #op,                                                                               \
	 #member,                                                                                            \
	 offsetof(struct drm_kvsink_op, op.member),                                                          \
	 sizeof(((struct drm_kvsink_op *)0)->op.member),                                                     \
	 known}
#define OP_ZERO(op, member) OP_BITS(op, member, 0)
#define OP_ARRAY(op, member, elements, element)                                                              \
	{OPS,	   "drm_kvsink_op_" #op,                                                                     \
	 #member,  offsetof(struct drm_kvsink_op, op.member),                                                \
	 elements, sizeof(struct drm_kvsink_##element)}
#define OP_WORDS(op)                                                                                         \
	{OPS,                                                                                                \
	 "drm_kvsink_op",                                                                                    \
	 "words",                                                                                            \
	 offsetof(struct drm_kvsink_op, words) + sizeof(struct drm_kvsink_op_##op),                          \
	 sizeof(((struct drm_kvsink_op *)0)->words) - sizeof(struct drm_kvsink_op_##op),                     \
	 0}

struct call {
	const char *name;
	unsigned long request;
	void (*setup)(struct scene *s); /* once, or NULL */
	void (*make)(struct scene *s);	/* a valid call */
	void (*undo)(struct scene *s);	/* after it was made: once more is valid; or NULL: it is made once */
	uint32_t op;			/* of SUBMIT */
	struct field fields[16];
	struct array arrays[4];
};

static void *at(struct scene *s, enum blob blob, uint32_t element)
{
	return (char *)s->blob[blob] + (size_t)element * s->stride[blob];
}

static struct drm_kvsink_array two(struct scene *s, enum blob blob)
{
	return (struct drm_kvsink_array){s->stride[blob], 2, (uintptr_t)s->blob[blob]};
}

static int issue(struct scene *s, unsigned long request)
{
	return kvs_device_ioctl(s->rig.device, request, s->blob[ARGS]);
}

static struct drm_kvsink_ref place(struct scene *s, uint32_t slot)
{
	return (struct drm_kvsink_ref){s->bo, 0, (uint64_t)slot * SPACING};
}

/* ---- Valid calls ----------------------------------------------------------------------------- */

static void make_dev_query(struct scene *s)
{
	*(struct drm_kvsink_dev_query *)at(s, ARGS, 0) = (struct drm_kvsink_dev_query){0};
}

static void make_bo_create(struct scene *s)
{
	*(struct drm_kvsink_bo_create *)at(s, ARGS, 0) = (struct drm_kvsink_bo_create){.size = 1};
}

static void make_bo_mmap_offset(struct scene *s)
{
	struct drm_kvsink_bo_mmap_offset args = {.handle = s->bo};

	memcpy(at(s, ARGS, 0), &args, sizeof(args));
}

static void make_stream_create(struct scene *s)
{
	struct drm_kvsink_stream_create args = {
		.layers = two(s, LAYERS),
		.flags = DRM_KVSINK_STREAM_PER_HEAD,
		.q_heads = 4,
		.kv_heads = 2,
		.d_k = 32,
		.d_v = 32,
		.page_tokens = 16,
		.max_tokens = 64,
		.score_groups = 1,
		.group_end = {2},
		.seal_k = DRM_KVSINK_FORMAT_INT8,
		.seal_v = DRM_KVSINK_FORMAT_INT8,
	};

	for (uint32_t i = 0; i < 2; i++)
		*(struct drm_kvsink_layer *)at(s, LAYERS, i) = (struct drm_kvsink_layer){.scale = 0x3f800000};
	memcpy(at(s, ARGS, 0), &args, sizeof(args));
}

static void undo_stream_create(struct scene *s)
{
	struct drm_kvsink_stream_destroy args = {((struct drm_kvsink_stream_create *)at(s, ARGS, 0))->stream};

	rig_must(&s->rig, "destroy", kvs_device_ioctl(s->rig.device, DRM_IOCTL_KVSINK_STREAM_DESTROY, &args));
}

/* For arguments that begin with a stream and need nothing else. */
static void make_stream(struct scene *s)
{
	*(uint64_t *)at(s, ARGS, 0) = s->stream;
}

static void fill_places(struct scene *s)
{
	for (uint32_t i = 0; i < 2; i++)
		*(struct drm_kvsink_place *)at(s, PLACES, i) = (struct drm_kvsink_place){i, 0, 2, 3};
}

static void make_promote(struct scene *s)
{
	struct drm_kvsink_promote args = {.stream = s->stream, .places = two(s, PLACES)};

	fill_places(s);
	memcpy(at(s, ARGS, 0), &args, sizeof(args));
}

static void make_evict(struct scene *s)
{
	struct drm_kvsink_evict args = {.stream = s->stream, .places = two(s, PLACES)};

	fill_places(s);
	memcpy(at(s, ARGS, 0), &args, sizeof(args));
}

static void evict_all(struct scene *s)
{
	struct drm_kvsink_place all = {KVSINK_TOKEN_ALL, 0, 2, ~0ull};
	struct drm_kvsink_evict args = {.stream = s->stream, .places = {sizeof(all), 1, (uintptr_t)&all}};

	rig_must(&s->rig, "evict", kvs_device_ioctl(s->rig.device, DRM_IOCTL_KVSINK_EVICT, &args));
}

/* One job that must run. */
static void submit_ops(struct scene *s, struct drm_kvsink_op *ops, uint32_t count)
{
	struct drm_kvsink_job job = {.ops = {sizeof(*ops), count, (uintptr_t)ops}};
	struct drm_kvsink_submit args = {.jobs = {sizeof(job), 1, (uintptr_t)&job}};

	rig_must(&s->rig, "submit", kvs_device_ioctl(s->rig.device, DRM_IOCTL_KVSINK_SUBMIT, &args));
}

/* Tokens 0 and 1 become entries; the first one's generation is the set-up's handle. */
static void promote_two(struct scene *s)
{
	struct drm_kvsink_op barrier = {.type = DRM_KVSINK_OP_BARRIER, .barrier = {s->stream}};
	struct drm_kvsink_place places[2] = {{0, 0, 2, 3}, {1, 0, 2, 3}};
	struct drm_kvsink_promote args = {.stream = s->stream,
					  .places = {sizeof(places[0]), 2, (uintptr_t)places}};

	rig_must(&s->rig, "promote", kvs_device_ioctl(s->rig.device, DRM_IOCTL_KVSINK_PROMOTE, &args));
	s->handle = args.generation;
	submit_ops(s, &barrier, 1); /* valid when their rows are there */
}

static void make_contract(struct scene *s)
{
	struct drm_kvsink_contract args = {.stream = s->stream, .places = two(s, PLACES), .dwell_steps = 1};

	fill_places(s);
	memcpy(at(s, ARGS, 0), &args, sizeof(args));
}

static void nothing(struct scene *s)
{
	(void)s;
}

static void make_config(struct scene *s)
{
	struct drm_kvsink_config args = {.stream = s->stream, .group = KVSINK_GROUP_ALL};

	memcpy(at(s, ARGS, 0), &args, sizeof(args));
}

static void make_query(struct scene *s)
{
	struct drm_kvsink_query args = {
		.type = DRM_KVSINK_QUERY_STREAMS, .size = MAX_STRIDE, .pointer = (uintptr_t)s->blob[PLACES]};

	memcpy(at(s, ARGS, 0), &args, sizeof(args));
}

static void make_reg_read(struct scene *s)
{
	*(struct drm_kvsink_reg_read *)at(s, ARGS, 0) = (struct drm_kvsink_reg_read){KVSINK_REG_ID, 0, 0};
}

static void make_entry_read(struct scene *s)
{
	struct drm_kvsink_entry_read args = {
		.stream = s->stream,
		.generation = s->handle,
		.size = kvsink_row_bytes(0, 32, 32, KVSINK_FORMAT_F32),
		.pointer = (uintptr_t)s->blob[PLACES],
	};

	memcpy(at(s, ARGS, 0), &args, sizeof(args));
}

static void make_swap(struct scene *s)
{
	struct drm_kvsink_swap args = {.stream = s->stream, .image = {s->bo, 0, IMAGE}, .bytes = IMAGE};

	memcpy(at(s, ARGS, 0), &args, sizeof(args));
}

static void swap_out(struct scene *s)
{
	make_swap(s);
	rig_must(&s->rig, "swap out", issue(s, DRM_IOCTL_KVSINK_SWAP_OUT));
}

static void make_publish(struct scene *s)
{
	struct drm_kvsink_prefix_publish args = {.stream = s->stream, .tokens = TOKENS};

	memcpy(at(s, ARGS, 0), &args, sizeof(args));
}

static void publish(struct scene *s)
{
	make_publish(s);
	rig_must(&s->rig, "publish", issue(s, DRM_IOCTL_KVSINK_PREFIX_PUBLISH));
	s->handle = ((struct drm_kvsink_prefix_publish *)at(s, ARGS, 0))->handle;
	s->point = ((struct drm_kvsink_prefix_publish *)at(s, ARGS, 0))->prefix;
}

static void make_open(struct scene *s)
{
	struct drm_kvsink_prefix_open args = {.prefix = s->point, .fd = -1};

	memcpy(at(s, ARGS, 0), &args, sizeof(args));
}

static void make_handle(struct scene *s)
{
	struct drm_kvsink_prefix_handle args = {.handle = s->handle};

	memcpy(at(s, ARGS, 0), &args, sizeof(args));
}

static void make_attach(struct scene *s)
{
	struct drm_kvsink_prefix_attach args = {.stream = s->empty, .handle = s->handle, .tokens = TOKENS};

	memcpy(at(s, ARGS, 0), &args, sizeof(args));
}

static void make_window(struct scene *s)
{
	struct drm_kvsink_window args = {.stream = s->stream, .tokens = 4};

	memcpy(at(s, ARGS, 0), &args, sizeof(args));
}

static void window_begin(struct scene *s)
{
	make_window(s);
	rig_must(&s->rig, "window", issue(s, DRM_IOCTL_KVSINK_WINDOW_BEGIN));
}

static void make_commit(struct scene *s)
{
	struct drm_kvsink_window args = {.stream = s->stream};

	memcpy(at(s, ARGS, 0), &args, sizeof(args));
}

/* ---- SUBMIT ---------------------------------------------------------------------------------- */

/* A valid operation of that type: accepted, whatever comes of it. */
static struct drm_kvsink_op valid_op(struct scene *s, uint32_t type)
{
	struct drm_kvsink_op op = {.type = type};
	struct drm_kvsink_ref a = place(s, 0), b = place(s, 1), c = place(s, 2), d = place(s, 3);

	fill_places(s);
	for (uint32_t i = 0; i < 2; i++)
		*(struct drm_kvsink_attend_item *)at(s, ITEMS, i) =
			(struct drm_kvsink_attend_item){s->stream, i, TOKENS - 1, 1, 0};
	switch (type) {
	case DRM_KVSINK_OP_APPEND:
		op.append = (struct drm_kvsink_op_append){s->stream, 0, TOKENS, 1, 0, a, b};
		break;
	case DRM_KVSINK_OP_COPY:
		op.copy = (struct drm_kvsink_op_copy){a, b, 4};
		break;
	case DRM_KVSINK_OP_SCORE:
		op.score = (struct drm_kvsink_op_score){s->stream, 0, 0, TOKENS, 0, a, b};
		break;
	case DRM_KVSINK_OP_CLASSIFY:
		op.classify = (struct drm_kvsink_op_classify){s->stream, 1, 4, b};
		break;
	case DRM_KVSINK_OP_BARRIER:
		op.barrier.stream = s->stream;
		break;
	case DRM_KVSINK_OP_ATTEND:
		op.attend = (struct drm_kvsink_op_attend){
			.items = two(s, ITEMS), .q = a, .out = b, .stats = c, .mass = d};
		break;
	case DRM_KVSINK_OP_STEP_END:
		op.step_end = (struct drm_kvsink_op_step_end){s->stream, 0, 1};
		break;
	case DRM_KVSINK_OP_ADVANCE:
		op.advance.ns = 1;
		break;
	case DRM_KVSINK_OP_PROMOTE:
		op.promote = (struct drm_kvsink_op_promote){.stream = s->stream, .places = two(s, PLACES)};
		break;
	case DRM_KVSINK_OP_EVICT:
		op.evict = (struct drm_kvsink_op_evict){s->stream, two(s, PLACES)};
		break;
	case DRM_KVSINK_OP_SCORE_IMPORT:
		op.score_import = (struct drm_kvsink_op_score_import){s->stream, 0, TOKENS, a};
		break;
	case DRM_KVSINK_OP_LAYER_HEADS:
		op.layer_heads = (struct drm_kvsink_op_layer_heads){s->stream, 0, 0, a};
		break;
	default:
		op.seal = (struct drm_kvsink_op_seal){s->stream, two(s, PLACES), TOKENS, 0};
	}
	return op;
}

/* Two jobs of two operations: the one in question, and some modelled time. */
static void make_submit_of(struct scene *s, uint32_t type)
{
	struct drm_kvsink_submit args = {.jobs = two(s, JOBS)};
	uint64_t first = s->point + 1;

	for (uint32_t i = 0; i < 2; i++) {
		*(struct drm_kvsink_op *)at(s, OPS, i) = valid_op(s, i ? DRM_KVSINK_OP_ADVANCE : type);
		*(struct drm_kvsink_sync *)at(s, SYNCS, i) =
			(struct drm_kvsink_sync){DRM_KVSINK_SYNC_SIGNAL | DRM_KVSINK_SYNC_TIMELINE,
						 s->rig.device->backend.syncobj, first + i};
		*(struct drm_kvsink_job *)at(s, JOBS, i) = (struct drm_kvsink_job){.ops = two(s, OPS)};
	}
	/* the second job signals nothing: a point is signalled once */
	((struct drm_kvsink_job *)at(s, JOBS, 0))->syncs = two(s, SYNCS);
	((struct drm_kvsink_job *)at(s, JOBS, 0))->status = place(s, 4);
	memcpy(at(s, ARGS, 0), &args, sizeof(args));
}

static void undo_submit(struct scene *s)
{
	s->point += 2;
}

/* ---- The table ------------------------------------------------------------------------------- */

#define CALL(ioctl, setup_, make_, undo_)                                                                    \
	.name = #ioctl, .request = DRM_IOCTL_KVSINK_##ioctl, .setup = setup_, .make = make_, .undo = undo_
#define SUBMIT_OF(type)                                                                                      \
	.name = "SUBMIT of " #type, .request = DRM_IOCTL_KVSINK_SUBMIT, .undo = undo_submit,                 \
	.op = DRM_KVSINK_OP_##type
#define STREAM_FLAGS (DRM_KVSINK_STREAM_PER_HEAD | DRM_KVSINK_STREAM_V_IN_K)
#define SYNC_FLAGS (DRM_KVSINK_SYNC_SIGNAL | DRM_KVSINK_SYNC_TIMELINE)

static const struct call calls[] = {
	{CALL(DEV_QUERY, NULL, make_dev_query, NULL), .fields = {ZERO(ARGS, dev_query, type)}},
	{CALL(BO_CREATE, NULL, make_bo_create, NULL), .fields = {ZERO(ARGS, bo_create, flags)}},
	{CALL(BO_MMAP_OFFSET, NULL, make_bo_mmap_offset, NULL), .fields = {ZERO(ARGS, bo_mmap_offset, pad)}},
	{CALL(STREAM_CREATE, NULL, make_stream_create, undo_stream_create),
	 .fields = {BITS(ARGS, stream_create, flags, STREAM_FLAGS), ZERO(ARGS, stream_create, pad),
		    ZERO(ARGS, stream_create, group_end[1]), ZERO(ARGS, stream_create, group_end[7]),
		    ZERO(LAYERS, layer, flags), ZERO(LAYERS, layer, reserved)},
	 .arrays = {ARRAY(ARGS, stream_create, layers, LAYERS, layer)}},
	{CALL(STREAM_RESERVE, NULL, make_stream, NULL), .fields = {ZERO(ARGS, stream_reserve, pad)}},
	{CALL(STREAM_DESTROY, NULL, make_stream, NULL)},
	{CALL(PROMOTE, NULL, make_promote, evict_all),
	 .fields = {BITS(ARGS, promote, flags, DRM_KVSINK_PROMOTE_PARTIAL), ZERO(ARGS, promote, pad)},
	 .arrays = {ARRAY(ARGS, promote, places, PLACES, place)}},
	{CALL(EVICT, promote_two, make_evict, promote_two),
	 .arrays = {ARRAY(ARGS, evict, places, PLACES, place)}},
	{CALL(CONTRACT, promote_two, make_contract, nothing),
	 .arrays = {ARRAY(ARGS, contract, places, PLACES, place)}},
	{CALL(CONFIG_GET, NULL, make_config, NULL)},
	{CALL(CONFIG_SET, NULL, make_config, NULL)},
	{CALL(QUERY, NULL, make_query, NULL), .fields = {ZERO(ARGS, query, group)}},
	{CALL(REG_READ, NULL, make_reg_read, NULL), .fields = {ZERO(ARGS, reg_read, pad)}},
	{CALL(ENTRY_READ, promote_two, make_entry_read, NULL), .fields = {ZERO(ARGS, entry_read, pad)}},
	{CALL(SWAP_OUT, NULL, make_swap, NULL),
	 .fields = {ZERO(ARGS, swap, image.pad), ZERO(ARGS, swap, pad)}},
	{CALL(SWAP_IN, swap_out, make_swap, NULL),
	 .fields = {ZERO(ARGS, swap, image.pad), ZERO(ARGS, swap, pad)}},
	{CALL(PREFIX_PUBLISH, NULL, make_publish, NULL), .fields = {ZERO(ARGS, prefix_publish, flags)}},
	{CALL(PREFIX_OPEN, publish, make_open, NULL), .fields = {ZERO(ARGS, prefix_open, pad)}},
	{CALL(PREFIX_CLOSE, publish, make_handle, NULL), .fields = {ZERO(ARGS, prefix_handle, fd)}},
	{CALL(PREFIX_EXPORT, publish, make_handle, NULL)},
	{CALL(PREFIX_ATTACH, publish, make_attach, NULL), .fields = {ZERO(ARGS, prefix_attach, pad)}},
	{CALL(PREFIX_DETACH, publish, make_stream, NULL), .fields = {ZERO(ARGS, prefix_detach, pad)}},
	{CALL(WINDOW_BEGIN, NULL, make_window, NULL), .fields = {ZERO(ARGS, window, pad)}},
	{CALL(WINDOW_COMMIT, window_begin, make_commit, NULL), .fields = {ZERO(ARGS, window, pad)}},
	{SUBMIT_OF(ADVANCE),
	 .fields = {ZERO(ARGS, submit, flags), ZERO(ARGS, submit, pad), ZERO(ARGS, submit, pad2),
		    ZERO(JOBS, job, status.pad), BITS(SYNCS, sync, flags, SYNC_FLAGS), ZERO(OPS, op, flags),
		    OP_WORDS(advance)},
	 .arrays = {ARRAY(ARGS, submit, jobs, JOBS, job), ARRAY(JOBS, job, ops, OPS, op),
		    ARRAY(JOBS, job, syncs, SYNCS, sync)}},
	{SUBMIT_OF(APPEND),
	 .fields = {OP_ZERO(append, pad), OP_ZERO(append, k.pad), OP_ZERO(append, v.pad), OP_WORDS(append)}},
	{SUBMIT_OF(COPY), .fields = {OP_ZERO(copy, src.pad), OP_ZERO(copy, dst.pad), OP_WORDS(copy)}},
	{SUBMIT_OF(SCORE),
	 .fields = {OP_ZERO(score, pad), OP_ZERO(score, q.pad), OP_ZERO(score, out.pad), OP_WORDS(score)}},
	{SUBMIT_OF(CLASSIFY), .fields = {OP_ZERO(classify, dst.pad), OP_WORDS(classify)}},
	{SUBMIT_OF(BARRIER), .fields = {OP_WORDS(barrier)}},
	{SUBMIT_OF(ATTEND),
	 .fields = {OP_ZERO(attend, pad), OP_ZERO(attend, q.pad), OP_ZERO(attend, out.pad),
		    OP_ZERO(attend, stats.pad), OP_ZERO(attend, mass.pad), ZERO(ITEMS, attend_item, pad)},
	 .arrays = {OP_ARRAY(attend, items, ITEMS, attend_item)}},
	{SUBMIT_OF(STEP_END), .fields = {OP_BITS(step_end, abort, 1), OP_WORDS(step_end)}},
	{SUBMIT_OF(PROMOTE),
	 .fields = {OP_BITS(promote, flags, DRM_KVSINK_PROMOTE_PARTIAL), OP_ZERO(promote, pad),
		    OP_WORDS(promote)},
	 .arrays = {OP_ARRAY(promote, places, PLACES, place)}},
	{SUBMIT_OF(EVICT), .fields = {OP_WORDS(evict)}, .arrays = {OP_ARRAY(evict, places, PLACES, place)}},
	{SUBMIT_OF(SCORE_IMPORT), .fields = {OP_ZERO(score_import, src.pad), OP_WORDS(score_import)}},
	{SUBMIT_OF(LAYER_HEADS),
	 .fields = {OP_ZERO(layer_heads, pad), OP_ZERO(layer_heads, src.pad), OP_WORDS(layer_heads)}},
	{SUBMIT_OF(SEAL), .fields = {OP_ZERO(seal, pad), OP_WORDS(seal)},
	 .arrays = {OP_ARRAY(seal, places, PLACES, place)}},
};

#define CALLS (sizeof(calls) / sizeof(calls[0]))

/* ---- Making them ----------------------------------------------------------------------------- */

static const uint32_t element_bytes[BLOBS] = {
	[LAYERS] = sizeof(struct drm_kvsink_layer),	 [PLACES] = sizeof(struct drm_kvsink_place),
	[JOBS] = sizeof(struct drm_kvsink_job),		 [OPS] = sizeof(struct drm_kvsink_op),
	[ITEMS] = sizeof(struct drm_kvsink_attend_item), [SYNCS] = sizeof(struct drm_kvsink_sync),
};

/* Everything 0, elements as long as the header says, then the valid call. */
static void make(struct scene *s, const struct call *call, const struct array *array, uint32_t stride)
{
	memset(s->blob, 0, sizeof(s->blob));
	memcpy(s->stride, element_bytes, sizeof(s->stride));
	if (array)
		s->stride[array->elements] = stride;
	if (call->op)
		make_submit_of(s, call->op);
	else
		call->make(s);
}

static uint64_t make_a_stream(struct scene *s)
{
	memcpy(s->stride, element_bytes, sizeof(s->stride));
	make_stream_create(s);
	rig_must(&s->rig, "stream", issue(s, DRM_IOCTL_KVSINK_STREAM_CREATE));
	return ((struct drm_kvsink_stream_create *)at(s, ARGS, 0))->stream;
}

/* A stream of 16 tokens that are all 0, and an empty one. */
static void scene_open(struct scene *s)
{
	struct drm_kvsink_op ops[3];
	struct drm_kvsink_stream_reserve reserve = {.tokens = 64};

	memset(s, 0, sizeof(*s));
	rig_open(&s->rig, device_name);
	s->bo = kvs_buffer_handle(s->rig.buffer);
	s->point = 1000;
	s->empty = make_a_stream(s);
	reserve.stream = s->stream = make_a_stream(s);
	rig_must(&s->rig, "reserve",
		 kvs_device_ioctl(s->rig.device, DRM_IOCTL_KVSINK_STREAM_RESERVE, &reserve));
	for (uint32_t layer = 0; layer < 2; layer++)
		ops[layer] = (struct drm_kvsink_op){
			.type = DRM_KVSINK_OP_APPEND,
			.append = {s->stream, layer, 0, TOKENS, 0, place(s, 0), place(s, 1)},
		};
	ops[2] = (struct drm_kvsink_op){.type = DRM_KVSINK_OP_STEP_END, .step_end = {s->stream, TOKENS, 0}};
	submit_ops(s, ops, 3);
}

/* A refused operation names the field, or where the struct that has it is named. */
static bool named(struct scene *s, const struct call *call, const struct field *field)
{
	const struct drm_kvsink_submit *args = at(s, ARGS, 0);
	uint32_t at_byte = args->error_field;

	if (!call->op || field->blob != OPS)
		return true;
	return args->error_job == 0 && args->error_op == 0 && at_byte >= (field->at & ~7u) &&
	       at_byte < field->at + field->bytes;
}

static uint32_t refused_bits;

/* Each bit that is not known, alone. */
static void check_field(struct scene *s, const struct call *call, const struct field *field)
{
	int accepted = -1, unnamed = -1;

	for (uint32_t bit = 0; bit < 8 * field->bytes; bit++) {
		if (bit < 64 && field->known >> bit & 1)
			continue;
		make(s, call, NULL, 0);
		((uint8_t *)at(s, field->blob, 0))[field->at + bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (issue(s, call->request) != -EINVAL)
			accepted = (int)bit;
		else if (!named(s, call, field))
			unnamed = (int)bit;
		refused_bits++;
	}
	if (!tap_ok(accepted < 0 && unnamed < 0, "%s: %s.%s is refused when it is not 0", call->name,
		    field->in, field->name))
		tap_diag("bit %d accepted, bit %d without a name", accepted, unnamed);
}

static int with_stride(struct scene *s, const struct call *call, const struct array *array, uint32_t stride,
		       int dirty)
{
	int err;

	make(s, call, array, stride);
	if (dirty >= 0) /* the last byte of that element */
		((uint8_t *)at(s, array->elements, (uint32_t)dirty))[stride - 1] = 1;
	err = issue(s, call->request);
	if (!err)
		call->undo(s);
	return err;
}

static void check_array(struct scene *s, const struct call *call, const struct array *array)
{
	const struct {
		uint32_t stride;
		int dirty, err;
	} cases[] = {
		{array->bytes, -1, 0},	 {array->bytes + 1, -1, 0},	  {array->bytes + 8, -1, 0},
		{MAX_STRIDE, -1, 0},	 {array->bytes + 8, 0, -E2BIG},	  {array->bytes + 8, 1, -E2BIG},
		{MAX_STRIDE, 1, -E2BIG}, {array->bytes - 1, -1, -EINVAL}, {array->bytes - 8, -1, -EINVAL},
		{0, -1, -EINVAL},	 {MAX_STRIDE + 1, -1, -E2BIG},	  {~0u, -1, -E2BIG},
	};
	int wrong = -1;

	for (uint32_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct drm_kvsink_array *header;
		uint32_t stride = cases[i].stride;
		int err;

		if (stride >= array->bytes && stride <= MAX_STRIDE) {
			err = with_stride(s, call, array, stride, cases[i].dirty);
		} else { /* nothing that could be filled in */
			make(s, call, NULL, 0);
			header = (void *)((char *)at(s, array->blob, 0) + array->at);
			header->stride = stride;
			err = issue(s, call->request);
		}
		if (err == cases[i].err)
			continue;
		wrong = (int)i;
		tap_diag("stride %u, element %d not 0 at its end: %d, not %d", stride, cases[i].dirty, err,
			 cases[i].err);
	}
	tap_ok(wrong < 0, "%s: %s.%s: longer elements pass with a tail of 0, others do not", call->name,
	       array->in, array->name);
}

static void check_call(const struct call *call)
{
	struct scene *s = calloc(1, sizeof(*s));

	scene_open(s);
	memcpy(s->stride, element_bytes, sizeof(s->stride));
	if (call->setup)
		call->setup(s);
	for (const struct field *field = call->fields; field->name; field++)
		check_field(s, call, field);
	for (const struct array *array = call->arrays; array->name; array++)
		check_array(s, call, array);
	make(s, call, NULL, 0);
	tap_ok(!issue(s, call->request), "%s is valid without that", call->name);
	rig_close(&s->rig);
	free(s);
}

/* ---- Nothing is missing ---------------------------------------------------------------------- */

static bool has_row(const char *in, const char *name)
{
	for (uint32_t c = 0; c < CALLS; c++) {
		for (const struct field *f = calls[c].fields; f->name; f++)
			if (!strcmp(f->in, in) && !strcmp(f->name, name))
				return true;
		for (const struct array *a = calls[c].arrays; a->name; a++)
			if (!strcmp(a->in, in) && !strcmp(a->name, name))
				return true;
	}
	return false;
}

static bool has_call(unsigned long request)
{
	for (uint32_t c = 0; c < CALLS; c++)
		if (calls[c].request == request)
			return true;
	return false;
}

/* A member as abi.txt has it: does it need a row, and has it one? */
static bool member_covered(const char *in, char *text)
{
	char *name = strrchr(text, ' ') + 1, nested[64];

	name[strcspn(name, "[")] = 0;
	if (!strcmp(in, "drm_kvsink_ref") || !strncmp(in, "kvsink", 6))
		return true; /* a reference is asked where it stands */
	if (strstr(text, "struct drm_kvsink_array "))
		return has_row(in, name);
	snprintf(nested, sizeof(nested), "%s.pad", name);
	if (strstr(text, "struct drm_kvsink_ref "))
		return has_row(in, nested);
	if (!strncmp(name, "pad", 3) || !strcmp(name, "flags") || !strcmp(name, "reserved"))
		return has_row(in, name);
	return true;
}

static void test_complete(void)
{
	FILE *abi = fopen("uapi/abi.txt", "r");
	char line[256], in[64] = "";
	unsigned long request;
	unsigned ioctls = 0, members = 0, missing = 0;

	while (abi && fgets(line, sizeof(line), abi)) {
		bool covered = true;

		line[strcspn(line, "\n")] = 0;
		if (sscanf(line, "ioctl %*s = %lx", &request) == 1) {
			ioctls++;
			covered = has_call(request);
		} else if (line[0] != '\t') {
			if (sscanf(line, "struct %63s of", in) != 1)
				in[0] = 0;
		} else if (in[0]) {
			members++;
			covered = member_covered(in, line);
		}
		if (!covered)
			tap_diag("no row: %s %s", in, line);
		missing += !covered;
	}
	tap_ok(abi && ioctls && members && !missing,
	       "every ioctl, pad, reserved field, flags and array of uapi/abi.txt has its row");
	if (abi)
		fclose(abi);
}

int main(int argc, char **argv)
{
	if (argc > 1)
		device_name = argv[1];
	test_complete();
	for (uint32_t c = 0; c < CALLS; c++)
		check_call(&calls[c]);
	tap_diag("%u bits refused", refused_bits);
	return tap_done();
}
