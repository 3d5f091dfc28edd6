// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The operations of a SUBMIT: each is checked field by field and becomes one command of the chip.
 *
 * A new operation gets a function here and a row in the table at the end. Offsets in env->field count
 * from the start of struct drm_kvsink_op.
 */
#include "check.h"

#define AT(member) offsetof(struct drm_kvsink_op, member)
#define OP_REFUSE(env, member, err) kvsink_refuse_at(env, AT(member), -(err))

#define MAX_ADVANCE_NS 1000000000ull

/* One operation on its way: what the checks share. */
struct building {
	struct kvsink_logic_env *env;
	const struct drm_kvsink_op *op;
	const struct drm_kvsink_attend_item *items; /* of an ATTEND */
	const struct drm_kvsink_place *places;	    /* of a PROMOTE, EVICT or SEAL */
	uint32_t first_item;			    /* of these, in the job */
	struct kvsink_cmd *cmd;
	union kvsink_item *out_items; /* where they go */
};

/* Handle 0 leaves an operand out: everything else of it must be 0 then. */
static int absent_operand(struct kvsink_logic_env *env, const struct drm_kvsink_ref *ref, size_t field,
			  struct kvsink_ref *out)
{
	if (ref->offset)
		return kvsink_refuse_at(env, field + offsetof(struct drm_kvsink_ref, offset), -EINVAL);
	memset(out, 0, sizeof(*out));
	return 0;
}

int kvsink_logic_operand(struct kvsink_logic_env *env, const struct drm_kvsink_ref *ref, size_t field,
			 uint64_t bytes, bool optional, struct kvsink_ref *out)
{
	struct kvsink_logic_buffer buffer;
	int err;

	if (ref->pad)
		return kvsink_refuse_at(env, field + offsetof(struct drm_kvsink_ref, pad), -EINVAL);
	if (!ref->handle && optional)
		return absent_operand(env, ref, field, out);
	err = ref->handle ? env->buffer(env->ctx, ref->handle, &buffer) : -ENOENT;
	if (err)
		return kvsink_refuse_at(env, field + offsetof(struct drm_kvsink_ref, handle), err);
	if (ref->offset % 4)
		return kvsink_refuse_at(env, field + offsetof(struct drm_kvsink_ref, offset), -EINVAL);
	if (ref->offset > buffer.bytes || bytes > buffer.bytes - ref->offset)
		return kvsink_refuse_at(env, field + offsetof(struct drm_kvsink_ref, offset), -EFAULT);

	out->space = KVSINK_SPACE_GART;
	out->reserved = 0;
	out->offset = buffer.gart_offset + ref->offset;
	return 0;
}

static int operand(struct building *b, const struct drm_kvsink_ref *ref, size_t field, uint64_t bytes,
		   bool optional, struct kvsink_ref *out)
{
	return kvsink_logic_operand(b->env, ref, field, bytes, optional, out);
}

/* Bytes of the rows of `count` tokens, below 2^36 within the limits of a stream. */
static uint64_t row_bytes(uint32_t count, uint32_t heads, uint32_t width)
{
	return (uint64_t)count * heads * width * sizeof(uint32_t);
}

static bool too_big(uint64_t a, uint64_t b)
{
	return a > KVSINK_STAGE_BYTES || b > KVSINK_STAGE_BYTES;
}

/* Offset of the field that is wrong among layer, first and count, 0 if none is. */
static size_t check_rows(const struct kvsink_logic_stream *stream, uint32_t layer, uint32_t first,
			 uint32_t count, size_t layer_at, size_t first_at, size_t count_at)
{
	if (layer >= stream->layers)
		return layer_at;
	if (first >= stream->max_tokens)
		return first_at;
	return !count || count > stream->max_tokens - first ? count_at : 0;
}

static int build_append(struct building *b)
{
	const struct drm_kvsink_op_append *args = &b->op->append;
	struct kvsink_cmd_append *append = &b->cmd->append;
	struct kvsink_logic_stream stream;
	uint64_t k_bytes, v_bytes;
	bool v_in_k;
	size_t bad;
	int err;

	if (args->pad)
		return OP_REFUSE(b->env, append.pad, EINVAL);
	err = kvsink_find_stream(b->env, args->stream, true, AT(append.stream), &stream);
	if (err)
		return err;
	bad = check_rows(&stream, args->layer, args->first, args->count, AT(append.layer), AT(append.first),
			 AT(append.count));
	if (bad)
		return kvsink_refuse_at(b->env, bad, -EINVAL);
	v_in_k = stream.flags & KVSINK_STREAM_V_IN_K;
	if (v_in_k && args->v.handle)
		return OP_REFUSE(b->env, append.v.handle, EINVAL);
	k_bytes = row_bytes(args->count, stream.kv_heads, stream.d_k);
	v_bytes = row_bytes(args->count, stream.kv_heads, stream.d_v);
	if (too_big(k_bytes, v_bytes))
		return OP_REFUSE(b->env, append.count, E2BIG);

	b->cmd->opcode = KVSINK_OP_APPEND;
	append->stream = args->stream;
	append->layer = args->layer;
	append->first = args->first;
	append->count = args->count;
	err = operand(b, &args->k, AT(append.k), k_bytes, false, &append->k);
	return err ? err : operand(b, &args->v, AT(append.v), v_bytes, v_in_k, &append->v);
}

static int build_copy(struct building *b)
{
	const struct drm_kvsink_op_copy *args = &b->op->copy;
	struct kvsink_cmd_copy *copy = &b->cmd->copy;
	int err;

	if (!args->bytes)
		return OP_REFUSE(b->env, copy.bytes, EINVAL);
	b->cmd->opcode = KVSINK_OP_COPY;
	copy->bytes = args->bytes;
	err = operand(b, &args->src, AT(copy.src), args->bytes, false, &copy->src);
	err = err ? err : operand(b, &args->dst, AT(copy.dst), args->bytes, false, &copy->dst);
	if (err)
		return err;
	/* Both ranges lie inside buffers, so the sums cannot wrap. */
	if (copy->src.offset < copy->dst.offset + args->bytes &&
	    copy->dst.offset < copy->src.offset + args->bytes)
		return OP_REFUSE(b->env, copy.dst.offset, EINVAL);
	return 0;
}

static int build_score(struct building *b)
{
	const struct drm_kvsink_op_score *args = &b->op->score;
	struct kvsink_cmd_score *score = &b->cmd->score;
	struct kvsink_logic_stream stream;
	uint64_t q_bytes, out_bytes;
	size_t bad;
	int err;

	if (args->pad)
		return OP_REFUSE(b->env, score.pad, EINVAL);
	err = kvsink_find_stream(b->env, args->stream, true, AT(score.stream), &stream);
	if (err)
		return err;
	bad = check_rows(&stream, args->layer, args->first, args->count, AT(score.layer), AT(score.first),
			 AT(score.count));
	if (bad)
		return kvsink_refuse_at(b->env, bad, -EINVAL);
	q_bytes = row_bytes(args->count, stream.q_heads, stream.d_k);
	out_bytes = row_bytes(args->count, stream.q_heads, stream.d_v);
	if (too_big(q_bytes, out_bytes))
		return OP_REFUSE(b->env, score.count, E2BIG);

	b->cmd->opcode = KVSINK_OP_SCORE;
	score->stream = args->stream;
	score->layer = args->layer;
	score->first = args->first;
	score->count = args->count;
	err = operand(b, &args->q, AT(score.q), q_bytes, false, &score->q);
	return err ? err : operand(b, &args->out, AT(score.out), out_bytes, false, &score->out);
}

static int build_classify(struct building *b)
{
	const struct drm_kvsink_op_classify *args = &b->op->classify;
	struct kvsink_cmd_classify *classify = &b->cmd->classify;
	struct kvsink_logic_stream stream;
	uint64_t bytes =
		sizeof(struct drm_kvsink_list_head) + (uint64_t)args->max * sizeof(struct drm_kvsink_sink);
	int err;

	err = kvsink_find_stream(b->env, args->stream, true, AT(classify.stream), &stream);
	if (err)
		return err;
	if (!args->group_mask || args->group_mask >> stream.score_groups)
		return OP_REFUSE(b->env, classify.group_mask, EINVAL);
	if (args->max > KVSINK_MAX_SCORE_GROUPS * KVSINK_MAX_TOKENS)
		return OP_REFUSE(b->env, classify.max, E2BIG);

	b->cmd->opcode = KVSINK_OP_CLASSIFY;
	classify->stream = args->stream;
	classify->group_mask = args->group_mask;
	classify->max = args->max;
	return operand(b, &args->dst, AT(classify.dst), bytes, false, &classify->dst);
}

static int build_barrier(struct building *b)
{
	struct kvsink_logic_stream stream;

	b->cmd->opcode = KVSINK_OP_BARRIER;
	b->cmd->barrier.stream = b->op->barrier.stream;
	return kvsink_find_stream(b->env, b->op->barrier.stream, true, AT(barrier.stream), &stream);
}

/* Room for the operation's list in the job; the array's header was checked when it was copied in. */
static int check_list(struct building *b, const struct drm_kvsink_array *array, uint32_t element,
		      size_t field)
{
	int err = kvsink_logic_array(array, element, 1, KVSINK_MAX_ITEMS);

	if (!err && (b->first_item > KVSINK_MAX_ITEMS || array->count > KVSINK_MAX_ITEMS - b->first_item))
		err = -E2BIG;
	return err ? kvsink_refuse_at(b->env, field, err) : 0;
}

/* Bytes of an ATTEND's operands, summed over its items. */
struct attend_bytes {
	uint64_t q, out, stats, mass;
};

static int add_item(struct building *b, uint32_t i, struct attend_bytes *bytes)
{
	const struct drm_kvsink_attend_item *item = &b->items[i];
	struct kvsink_attend_item *out = &b->out_items[i].attend;
	struct kvsink_logic_stream stream;
	int err;

	err = kvsink_find_stream(b->env, item->stream, true, AT(attend.items.array), &stream);
	if (err)
		return err;
	if (item->pad || check_rows(&stream, item->layer, item->first, item->count, 1, 1, 1))
		return OP_REFUSE(b->env, attend.items.array, EINVAL);
	bytes->q += row_bytes(item->count, stream.q_heads, stream.d_k);
	bytes->out += row_bytes(item->count, stream.q_heads, stream.d_v);
	bytes->mass += ((uint64_t)item->first + item->count) * stream.kv_heads * sizeof(uint32_t);
	bytes->stats += (uint64_t)item->count * stream.q_heads * sizeof(struct drm_kvsink_attend_stat);
	if (too_big(bytes->q, bytes->out))
		return OP_REFUSE(b->env, attend.items.array, E2BIG);

	memset(&b->out_items[i], 0, sizeof(b->out_items[i]));
	out->stream = item->stream;
	out->layer = item->layer;
	out->first = item->first;
	out->count = item->count;
	return 0;
}

static int build_attend(struct building *b)
{
	const struct drm_kvsink_op_attend *args = &b->op->attend;
	struct kvsink_cmd_attend *attend = &b->cmd->attend;
	struct attend_bytes bytes = {0};
	uint32_t i;
	int err;

	if (args->mode >= KVSINK_ATTEND_MODE_COUNT)
		return OP_REFUSE(b->env, attend.mode, EINVAL);
	if (args->pad)
		return OP_REFUSE(b->env, attend.pad, EINVAL);
	err = check_list(b, &args->items, sizeof(*b->items), AT(attend.items));
	for (i = 0; !err && i < args->items.count; i++)
		err = add_item(b, i, &bytes);
	if (err)
		return err;

	b->cmd->opcode = KVSINK_OP_ATTEND;
	attend->first_item = b->first_item;
	attend->item_count = args->items.count;
	attend->mode = args->mode;
	err = operand(b, &args->q, AT(attend.q), bytes.q, false, &attend->q);
	err = err ? err : operand(b, &args->out, AT(attend.out), bytes.out, false, &attend->out);
	err = err ? err : operand(b, &args->mass, AT(attend.mass), bytes.mass, true, &attend->mass);
	return err ? err : operand(b, &args->stats, AT(attend.stats), bytes.stats, true, &attend->stats);
}

static int build_step_end(struct building *b)
{
	const struct drm_kvsink_op_step_end *args = &b->op->step_end;
	struct kvsink_logic_stream stream;
	int err;

	err = kvsink_find_stream(b->env, args->stream, true, AT(step_end.stream), &stream);
	if (err)
		return err;
	if (args->abort > 1)
		return OP_REFUSE(b->env, step_end.abort, EINVAL);
	if (args->abort ? args->count != 0 : !args->count || args->count > stream.max_tokens)
		return OP_REFUSE(b->env, step_end.count, EINVAL);

	b->cmd->opcode = KVSINK_OP_STEP_END;
	b->cmd->flags = args->abort ? KVSINK_STEP_ABORT : 0;
	b->cmd->step_end.stream = args->stream;
	b->cmd->step_end.count = args->count;
	return 0;
}

/* Where a field of the ioctl's argument stands in the operation. */
static uint32_t promote_field(uint32_t field)
{
	switch (field) {
	case offsetof(struct drm_kvsink_promote, stream):
		return AT(promote.stream);
	case offsetof(struct drm_kvsink_promote, places.array):
		return AT(promote.places.array);
	case offsetof(struct drm_kvsink_promote, priority):
		return AT(promote.priority);
	case offsetof(struct drm_kvsink_promote, flags):
		return AT(promote.flags);
	default:
		return AT(promote.pad);
	}
}

static int build_promote(struct building *b)
{
	const struct drm_kvsink_op_promote *op = &b->op->promote;
	struct drm_kvsink_promote args = {
		.stream = op->stream,
		.places = op->places,
		.deadline_ns = op->deadline_ns,
		.due_ns = op->due_ns,
		.dwell_steps = op->dwell_steps,
		.priority = op->priority,
		.flags = op->flags,
		.pad = op->pad,
	};
	int err = check_list(b, &op->places, sizeof(*b->places), AT(promote.places));

	if (err)
		return err;
	err = kvsink_build_promote(b->env, &args, b->places, true, b->cmd, b->out_items);
	if (err)
		return kvsink_refuse_at(b->env, promote_field(b->env->field), err);
	b->cmd->promote.first_item = b->first_item;
	return 0;
}

static int build_evict(struct building *b)
{
	const struct drm_kvsink_op_evict *op = &b->op->evict;
	struct drm_kvsink_evict args = {.stream = op->stream, .places = op->places};
	int err = check_list(b, &op->places, sizeof(*b->places), AT(evict.places));

	if (err)
		return err;
	err = kvsink_build_evict(b->env, &args, b->places, true, b->cmd, b->out_items);
	if (err)
		return kvsink_refuse_at(b->env,
					b->env->field == offsetof(struct drm_kvsink_evict, stream)
						? AT(evict.stream)
						: AT(evict.places.array),
					err);
	b->cmd->evict.first_item = b->first_item;
	b->cmd->flags = KVSINK_EVICT_ANY;
	return 0;
}

static int build_score_import(struct building *b)
{
	const struct drm_kvsink_op_score_import *args = &b->op->score_import;
	struct kvsink_cmd_score_import *import = &b->cmd->score_import;
	struct kvsink_logic_stream stream;
	int err = kvsink_find_stream(b->env, args->stream, true, AT(score_import.stream), &stream);

	if (err)
		return err;
	if (args->group >= stream.score_groups)
		return OP_REFUSE(b->env, score_import.group, EINVAL);
	if (!args->count || args->count > stream.max_tokens)
		return OP_REFUSE(b->env, score_import.count, EINVAL);

	b->cmd->opcode = KVSINK_OP_SCORE_IMPORT;
	import->stream = args->stream;
	import->group = args->group;
	import->count = args->count;
	return operand(b, &args->src, AT(score_import.src), (uint64_t)args->count * sizeof(uint64_t), false,
		       &import->src);
}

/* The values are the chip's to check: they lie in the buffer when the operation runs. */
static int build_layer_heads(struct building *b)
{
	const struct drm_kvsink_op_layer_heads *args = &b->op->layer_heads;
	struct kvsink_cmd_layer_heads *heads = &b->cmd->layer_heads;
	struct kvsink_logic_stream stream;
	int err = kvsink_find_stream(b->env, args->stream, true, AT(layer_heads.stream), &stream);

	if (err)
		return err;
	if (!(stream.flags & KVSINK_STREAM_PER_HEAD))
		return OP_REFUSE(b->env, layer_heads.stream, EOPNOTSUPP);
	if (args->layer >= stream.layers)
		return OP_REFUSE(b->env, layer_heads.layer, EINVAL);
	if (args->pad)
		return OP_REFUSE(b->env, layer_heads.pad, EINVAL);

	b->cmd->opcode = KVSINK_OP_LAYER_HEADS;
	heads->stream = args->stream;
	heads->layer = args->layer;
	return operand(b, &args->src, AT(layer_heads.src), row_bytes(2, stream.q_heads, 1), false,
		       &heads->src);
}

static int build_seal(struct building *b)
{
	const struct drm_kvsink_op_seal *args = &b->op->seal;
	struct kvsink_cmd_seal *seal = &b->cmd->seal;
	struct kvsink_logic_stream stream;
	int err;

	if (args->pad)
		return OP_REFUSE(b->env, seal.pad, EINVAL);
	err = kvsink_find_stream(b->env, args->stream, true, AT(seal.stream), &stream);
	if (err)
		return err;
	if (!stream.seal_k && !stream.seal_v)
		return OP_REFUSE(b->env, seal.stream, EINVAL);
	if (!args->tokens || args->tokens > stream.max_tokens || args->tokens % stream.page_tokens)
		return OP_REFUSE(b->env, seal.tokens, EINVAL);

	b->cmd->opcode = KVSINK_OP_SEAL;
	seal->stream = args->stream;
	seal->tokens = args->tokens;
	if (!args->places.count)
		return 0;
	err = check_list(b, &args->places, sizeof(*b->places), AT(seal.places));
	if (err)
		return err;
	seal->first_item = b->first_item;
	seal->item_count = args->places.count;
	return kvsink_build_seal_places(b->env, &stream, b->places, args->places.count, AT(seal.places.array),
					b->out_items);
}

static int build_advance(struct building *b)
{
	if (b->op->advance.ns > MAX_ADVANCE_NS)
		return OP_REFUSE(b->env, advance.ns, EINVAL);
	b->cmd->opcode = KVSINK_OP_ADVANCE;
	b->cmd->advance.ns = b->op->advance.ns;
	return 0;
}

static const struct {
	int (*build)(struct building *b);
	uint32_t bytes; /* of its struct; what follows in the union must be 0 */
} ops[] = {
	[DRM_KVSINK_OP_APPEND] = {build_append, sizeof(struct drm_kvsink_op_append)},
	[DRM_KVSINK_OP_COPY] = {build_copy, sizeof(struct drm_kvsink_op_copy)},
	[DRM_KVSINK_OP_SCORE] = {build_score, sizeof(struct drm_kvsink_op_score)},
	[DRM_KVSINK_OP_CLASSIFY] = {build_classify, sizeof(struct drm_kvsink_op_classify)},
	[DRM_KVSINK_OP_BARRIER] = {build_barrier, sizeof(struct drm_kvsink_op_barrier)},
	[DRM_KVSINK_OP_ATTEND] = {build_attend, sizeof(struct drm_kvsink_op_attend)},
	[DRM_KVSINK_OP_STEP_END] = {build_step_end, sizeof(struct drm_kvsink_op_step_end)},
	[DRM_KVSINK_OP_ADVANCE] = {build_advance, sizeof(struct drm_kvsink_op_advance)},
	[DRM_KVSINK_OP_PROMOTE] = {build_promote, sizeof(struct drm_kvsink_op_promote)},
	[DRM_KVSINK_OP_EVICT] = {build_evict, sizeof(struct drm_kvsink_op_evict)},
	[DRM_KVSINK_OP_SCORE_IMPORT] = {build_score_import, sizeof(struct drm_kvsink_op_score_import)},
	[DRM_KVSINK_OP_LAYER_HEADS] = {build_layer_heads, sizeof(struct drm_kvsink_op_layer_heads)},
	[DRM_KVSINK_OP_SEAL] = {build_seal, sizeof(struct drm_kvsink_op_seal)},
};

#define OP_TYPES (sizeof(ops) / sizeof(ops[0]))

const struct drm_kvsink_array *kvsink_logic_op_list(const struct drm_kvsink_op *op, uint32_t *element,
						    uint32_t *field)
{
	switch (op->type) {
	case DRM_KVSINK_OP_ATTEND:
		*element = sizeof(struct drm_kvsink_attend_item);
		*field = AT(attend.items);
		return &op->attend.items;
	case DRM_KVSINK_OP_PROMOTE:
		*element = sizeof(struct drm_kvsink_place);
		*field = AT(promote.places);
		return &op->promote.places;
	case DRM_KVSINK_OP_EVICT:
		*element = sizeof(struct drm_kvsink_place);
		*field = AT(evict.places);
		return &op->evict.places;
	case DRM_KVSINK_OP_SEAL:
		*element = sizeof(struct drm_kvsink_place);
		*field = AT(seal.places);
		return op->seal.places.count ? &op->seal.places : NULL;
	default:
		return NULL;
	}
}

int kvsink_logic_build_op(struct kvsink_logic_env *env, const struct drm_kvsink_op *op,
			  const struct drm_kvsink_attend_item *items, const struct drm_kvsink_place *places,
			  uint32_t first_item, struct kvsink_cmd *cmd, union kvsink_item *out_items)
{
	struct building b = {env, op, items, places, first_item, cmd, out_items};
	uint32_t word;

	env->field = KVSINK_LOGIC_NO_FIELD;
	if (op->type >= OP_TYPES || !ops[op->type].build)
		return OP_REFUSE(env, type, EINVAL);
	if (op->flags)
		return OP_REFUSE(env, flags, EINVAL);
	for (word = ops[op->type].bytes / sizeof(op->words[0]);
	     word < sizeof(op->words) / sizeof(op->words[0]); word++)
		if (op->words[word])
			return kvsink_refuse_at(env, AT(words) + word * sizeof(op->words[0]), -EINVAL);
	memset(cmd, 0, sizeof(*cmd));
	return ops[op->type].build(&b);
}
