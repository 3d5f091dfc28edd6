// SPDX-License-Identifier: MIT
/*
 * Plans: a batch that is run again one step later. Positions are the only thing in it that depends on the
 * step, and the batch itself says how far they move.
 */
#include "internal.h"

/* Tokens that the batch appends to a layer, or scores in it: the layer of the first such operation. */
static uint64_t taken(const struct kvs_batch *batch, uint64_t stream, uint32_t type)
{
	const struct drm_kvsink_op_append *first = NULL, *rows;
	uint64_t tokens = 0;

	/* SCORE begins as APPEND does, see below */
	for (uint32_t i = 0; i < batch->ops; i++) {
		rows = &batch->op[i].append;
		if (batch->op[i].type != type || rows->stream != stream)
			continue;
		first = first ? first : rows;
		tokens += rows->layer == first->layer ? rows->count : 0;
	}
	return tokens;
}

#define ALIKE(member)                                                                                        \
	(offsetof(struct drm_kvsink_op, append.member) == offsetof(struct drm_kvsink_op, score.member))
_Static_assert(ALIKE(stream) && ALIKE(layer) && ALIKE(first) && ALIKE(count), "SCORE begins as APPEND does");

static uint64_t stepped(const struct kvs_batch *batch, uint64_t stream)
{
	uint64_t tokens = 0;

	for (uint32_t i = 0; i < batch->ops; i++)
		if (batch->op[i].type == DRM_KVSINK_OP_STEP_END && batch->op[i].step_end.stream == stream)
			tokens += batch->op[i].step_end.count;
	return tokens;
}

/* How far positions of the stream move. */
static uint64_t step_of(const struct kvs_batch *batch, uint64_t stream)
{
	uint64_t tokens = stepped(batch, stream);

	tokens = tokens ? tokens : taken(batch, stream, DRM_KVSINK_OP_APPEND);
	return tokens ? tokens : taken(batch, stream, DRM_KVSINK_OP_SCORE);
}

/* Where it is next; past 32 bits if it cannot be said. */
static uint64_t moved(const struct kvs_batch *batch, uint64_t stream, uint32_t first)
{
	return first + step_of(batch, stream);
}

static int check(const struct kvs_batch *batch, uint32_t op, uint64_t stream, uint32_t first)
{
	if (moved(batch, stream, first) <= UINT32_MAX)
		return 0;
	return kvs_fail(batch->device, -E2BIG, "next: operation %u (%s): stream %llu cannot move on from %u",
			op, kvs_op_name(batch->op[op].type), (unsigned long long)stream, first);
}

static bool has_rows(const struct drm_kvsink_op *op)
{
	return op->type == DRM_KVSINK_OP_APPEND || op->type == DRM_KVSINK_OP_SCORE;
}

/* The operation whose list item i is in. */
static uint32_t op_of_item(const struct kvs_batch *batch, uint32_t i)
{
	uint32_t op = 0;

	for (uint32_t end = 0; op < batch->ops; op++) {
		end += batch->op[op].type == DRM_KVSINK_OP_ATTEND ? batch->op[op].attend.items.count : 0;
		if (i < end)
			break;
	}
	return op;
}

static int check_all(const struct kvs_batch *batch)
{
	int err = 0;

	for (uint32_t i = 0; i < batch->ops && !err; i++)
		if (has_rows(&batch->op[i]))
			err = check(batch, i, batch->op[i].append.stream, batch->op[i].append.first);
	for (uint32_t i = 0; i < batch->items && !err; i++)
		err = check(batch, op_of_item(batch, i), batch->item[i].stream, batch->item[i].first);
	return err;
}

KVS_PUBLIC int kvs_batch_next(struct kvs_batch *batch)
{
	int err = check_all(batch);

	if (err)
		return err;
	for (uint32_t i = 0; i < batch->items; i++)
		batch->item[i].first = (uint32_t)moved(batch, batch->item[i].stream, batch->item[i].first);
	/* positions say nothing about how far they move, so one after another will do */
	for (uint32_t i = 0; i < batch->ops; i++)
		if (has_rows(&batch->op[i]))
			batch->op[i].append.first =
				(uint32_t)moved(batch, batch->op[i].append.stream, batch->op[i].append.first);
	return 0;
}
