// SPDX-License-Identifier: MIT
/*
 * Batches: operations are collected here and leave as one job. Ranges are the validator's business
 * (driver/logic, behind the ioctl); here only what handles of another device would hide is checked.
 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

KVS_PUBLIC int kvs_batch_create(struct kvs_device *device, struct kvs_batch **batch)
{
	struct kvs_batch *new = calloc(1, sizeof(*new));

	if (!new)
		return kvs_fail(device, -ENOMEM, "batch: %s", kvs_errno_text(-ENOMEM));
	new->device = device;
	kvs_device_ref(device);
	*batch = new;
	return 0;
}

KVS_PUBLIC void kvs_batch_free(struct kvs_batch *batch)
{
	if (!batch)
		return;
	kvs_close(batch->device);
	free(batch);
}

KVS_PUBLIC void kvs_batch_reset(struct kvs_batch *batch)
{
	batch->ops = 0;
	batch->items = 0;
	batch->places = 0;
}

/* Room for one more operation; it counts once commit() has seen its parts. */
static struct drm_kvsink_op *next_op(struct kvs_batch *batch, uint32_t type)
{
	struct drm_kvsink_op *op;

	if (batch->ops == DRM_KVSINK_MAX_OPS) {
		kvs_fail(batch->device, -E2BIG, "batch: %s is operation %u: allowed are %u",
			 kvs_op_name(type), batch->ops, DRM_KVSINK_MAX_OPS);
		return NULL;
	}
	op = &batch->op[batch->ops];
	memset(op, 0, sizeof(*op));
	op->type = type;
	return op;
}

static int set_stream(struct kvs_batch *batch, const struct kvs_stream *stream, __u64 *id)
{
	if (stream->device != batch->device)
		return kvs_fail(batch->device, -EACCES,
				"batch: operation %u: stream %llu belongs to another device", batch->ops,
				(unsigned long long)stream->id);
	*id = stream->id;
	return 0;
}

static int set_place(struct kvs_batch *batch, struct kvs_place place, const char *name,
		     struct drm_kvsink_ref *ref)
{
	if (!place.buffer)
		return kvs_fail(batch->device, -EINVAL, "batch: operation %u: %s has no buffer", batch->ops,
				name);
	if (place.buffer->device != batch->device)
		return kvs_fail(batch->device, -EINVAL,
				"batch: operation %u: buffer of %s belongs to another device", batch->ops,
				name);
	ref->handle = place.buffer->handle;
	ref->offset = place.offset;
	return 0;
}

/* The operation in next_op()'s place is complete, unless err says otherwise. */
static int commit(struct kvs_batch *batch, int err)
{
	if (!err)
		batch->ops++;
	return err;
}

KVS_PUBLIC int kvs_batch_append(struct kvs_batch *batch, struct kvs_stream *stream, uint32_t layer,
				uint32_t first, uint32_t count, struct kvs_place k, struct kvs_place v)
{
	struct drm_kvsink_op *op = next_op(batch, DRM_KVSINK_OP_APPEND);
	int err;

	if (!op)
		return -E2BIG;
	op->append.layer = layer;
	op->append.first = first;
	op->append.count = count;
	err = set_stream(batch, stream, &op->append.stream);
	err = err ? err : set_place(batch, k, "k", &op->append.k);
	if (!err && v.buffer)
		err = set_place(batch, v, "v", &op->append.v);
	return commit(batch, err);
}

KVS_PUBLIC int kvs_batch_copy(struct kvs_batch *batch, struct kvs_place src, struct kvs_place dst,
			      uint64_t bytes)
{
	struct drm_kvsink_op *op = next_op(batch, DRM_KVSINK_OP_COPY);
	int err;

	if (!op)
		return -E2BIG;
	op->copy.bytes = bytes;
	err = set_place(batch, src, "src", &op->copy.src);
	err = err ? err : set_place(batch, dst, "dst", &op->copy.dst);
	return commit(batch, err);
}

KVS_PUBLIC int kvs_batch_score(struct kvs_batch *batch, struct kvs_stream *stream, uint32_t layer,
			       uint32_t first, uint32_t count, struct kvs_place q, struct kvs_place out)
{
	struct drm_kvsink_op *op = next_op(batch, DRM_KVSINK_OP_SCORE);
	int err;

	if (!op)
		return -E2BIG;
	op->score.layer = layer;
	op->score.first = first;
	op->score.count = count;
	err = set_stream(batch, stream, &op->score.stream);
	err = err ? err : set_place(batch, q, "q", &op->score.q);
	err = err ? err : set_place(batch, out, "out", &op->score.out);
	return commit(batch, err);
}

KVS_PUBLIC int kvs_batch_classify(struct kvs_batch *batch, struct kvs_stream *stream, uint32_t group_mask,
				  uint32_t max, struct kvs_place dst)
{
	struct drm_kvsink_op *op = next_op(batch, DRM_KVSINK_OP_CLASSIFY);
	int err;

	if (!op)
		return -E2BIG;
	op->classify.group_mask = group_mask;
	op->classify.max = max;
	err = set_stream(batch, stream, &op->classify.stream);
	err = err ? err : set_place(batch, dst, "dst", &op->classify.dst);
	return commit(batch, err);
}

KVS_PUBLIC int kvs_batch_barrier(struct kvs_batch *batch, struct kvs_stream *stream)
{
	struct drm_kvsink_op *op = next_op(batch, DRM_KVSINK_OP_BARRIER);

	return op ? commit(batch, set_stream(batch, stream, &op->barrier.stream)) : -E2BIG;
}

/* Room for that many more items and places? */
static int check_items(struct kvs_batch *batch, uint32_t count)
{
	if (count <= DRM_KVSINK_MAX_ITEMS - batch->items - batch->places)
		return 0;
	return kvs_fail(
		batch->device, -E2BIG,
		"batch: operation %u: %u items behind %u: allowed are %u attend items and places in a job",
		batch->ops, count, batch->items + batch->places, DRM_KVSINK_MAX_ITEMS);
}

KVS_PUBLIC int kvs_batch_attend(struct kvs_batch *batch, const struct drm_kvsink_attend_item *items,
				uint32_t count, uint32_t mode, struct kvs_place q, struct kvs_place out,
				struct kvs_place stats, struct kvs_place mass)
{
	struct drm_kvsink_op *op = next_op(batch, DRM_KVSINK_OP_ATTEND);
	int err;

	if (!op)
		return -E2BIG;
	err = check_items(batch, count);
	if (err)
		return err;
	if (count)
		memcpy(&batch->item[batch->items], items, count * sizeof(*items));
	op->attend.items.stride = sizeof(*items);
	op->attend.items.count = count;
	op->attend.items.array = (uintptr_t)&batch->item[batch->items];
	op->attend.mode = mode;
	err = set_place(batch, q, "q", &op->attend.q);
	err = err ? err : set_place(batch, out, "out", &op->attend.out);
	if (!err && stats.buffer)
		err = set_place(batch, stats, "stats", &op->attend.stats);
	if (!err && mass.buffer)
		err = set_place(batch, mass, "mass", &op->attend.mass);
	if (!err)
		batch->items += count;
	return commit(batch, err);
}

static int add_step(struct kvs_batch *batch, struct kvs_stream *stream, uint32_t count, bool abort)
{
	struct drm_kvsink_op *op = next_op(batch, DRM_KVSINK_OP_STEP_END);

	if (!op)
		return -E2BIG;
	op->step_end.count = count;
	op->step_end.abort = abort;
	return commit(batch, set_stream(batch, stream, &op->step_end.stream));
}

KVS_PUBLIC int kvs_batch_step_end(struct kvs_batch *batch, struct kvs_stream *stream, uint32_t count)
{
	return add_step(batch, stream, count, false);
}

KVS_PUBLIC int kvs_batch_step_abort(struct kvs_batch *batch, struct kvs_stream *stream)
{
	return add_step(batch, stream, 0, true);
}

KVS_PUBLIC int kvs_batch_advance(struct kvs_batch *batch, uint64_t ns)
{
	struct drm_kvsink_op *op = next_op(batch, DRM_KVSINK_OP_ADVANCE);

	if (!op)
		return -E2BIG;
	op->advance.ns = ns;
	return commit(batch, 0);
}

/* Places are copied, so that the caller's may go before the batch is submitted. */
static int set_places(struct kvs_batch *batch, const struct drm_kvsink_place *places, uint32_t count,
		      struct drm_kvsink_array *array)
{
	int err = check_items(batch, count);

	if (err)
		return err;
	if (count)
		memcpy(&batch->place[batch->places], places, count * sizeof(*places));
	array->stride = sizeof(*places);
	array->count = count;
	array->array = (uintptr_t)&batch->place[batch->places];
	return 0;
}

static int commit_places(struct kvs_batch *batch, uint32_t count, int err)
{
	if (!err)
		batch->places += count;
	return commit(batch, err);
}

KVS_PUBLIC int kvs_batch_promote(struct kvs_batch *batch, struct kvs_stream *stream,
				 const struct drm_kvsink_place *places, uint32_t count,
				 const struct kvs_contract *contract)
{
	struct drm_kvsink_op *op = next_op(batch, DRM_KVSINK_OP_PROMOTE);
	struct kvs_contract terms;
	int err;

	if (!op)
		return -E2BIG;
	err = kvs_copy_contract(batch->device, contract, &terms);
	if (err)
		return err;
	op->promote.deadline_ns = terms.deadline_ns;
	op->promote.due_ns = terms.due_ns;
	op->promote.dwell_steps = terms.dwell_steps;
	op->promote.priority = terms.priority;
	op->promote.flags = terms.partial ? DRM_KVSINK_PROMOTE_PARTIAL : 0;
	err = set_stream(batch, stream, &op->promote.stream);
	err = err ? err : set_places(batch, places, count, &op->promote.places);
	return commit_places(batch, count, err);
}

KVS_PUBLIC int kvs_batch_evict(struct kvs_batch *batch, struct kvs_stream *stream,
			       const struct drm_kvsink_place *places, uint32_t count)
{
	struct drm_kvsink_op *op = next_op(batch, DRM_KVSINK_OP_EVICT);
	int err;

	if (!op)
		return -E2BIG;
	err = set_stream(batch, stream, &op->evict.stream);
	err = err ? err : set_places(batch, places, count, &op->evict.places);
	return commit_places(batch, count, err);
}

KVS_PUBLIC int kvs_batch_seal(struct kvs_batch *batch, struct kvs_stream *stream, uint32_t tokens,
			      const struct drm_kvsink_place *places, uint32_t count)
{
	struct drm_kvsink_op *op = next_op(batch, DRM_KVSINK_OP_SEAL);
	int err;

	if (!op)
		return -E2BIG;
	op->seal.tokens = tokens;
	err = set_stream(batch, stream, &op->seal.stream);
	err = err ? err : set_places(batch, places, count, &op->seal.places);
	return commit_places(batch, count, err);
}

KVS_PUBLIC int kvs_batch_score_import(struct kvs_batch *batch, struct kvs_stream *stream, uint32_t group,
				      uint32_t count, struct kvs_place src)
{
	struct drm_kvsink_op *op = next_op(batch, DRM_KVSINK_OP_SCORE_IMPORT);
	int err;

	if (!op)
		return -E2BIG;
	op->score_import.group = group;
	op->score_import.count = count;
	err = set_stream(batch, stream, &op->score_import.stream);
	err = err ? err : set_place(batch, src, "src", &op->score_import.src);
	return commit(batch, err);
}

KVS_PUBLIC int kvs_batch_layer_heads(struct kvs_batch *batch, struct kvs_stream *stream, uint32_t layer,
				     struct kvs_place src)
{
	struct drm_kvsink_op *op = next_op(batch, DRM_KVSINK_OP_LAYER_HEADS);
	int err;

	if (!op)
		return -E2BIG;
	op->layer_heads.layer = layer;
	err = set_stream(batch, stream, &op->layer_heads.stream);
	err = err ? err : set_place(batch, src, "src", &op->layer_heads.src);
	return commit(batch, err);
}
