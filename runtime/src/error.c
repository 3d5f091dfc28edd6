// SPDX-License-Identifier: MIT
/*
 * One line about what failed: names of codes, operations and fields, what is allowed, and the two places
 * where the line is kept (the device; the thread, for kvs_open()).
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"
#include "logic.h"

static _Thread_local char open_error[KVS_ERROR_BYTES];

int kvs_fail(struct kvs_device *device, int err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(device->error, sizeof(device->error), format, args);
	va_end(args);
	return err;
}

int kvs_fail_open(int err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(open_error, sizeof(open_error), format, args);
	va_end(args);
	return err;
}

void kvs_open_clear(void)
{
	open_error[0] = 0;
}

KVS_PUBLIC const char *kvs_open_error(void)
{
	return open_error;
}

KVS_PUBLIC const char *kvs_code_name(uint32_t code)
{
	switch (code) {
#define X(name, value, err, doc)                                                                             \
	case value:                                                                                          \
		return #name;
		KVSINK_CODES(X)
#undef X
	default:
		return "?";
	}
}

KVS_PUBLIC const char *kvs_code_text(uint32_t code)
{
	switch (code) {
#define X(name, value, err, doc)                                                                             \
	case value:                                                                                          \
		return doc;
		KVSINK_CODES(X)
#undef X
	default:
		return "no such result code";
	}
}

/* As kvsink_drm.h explains them. */
static const struct {
	int err;
	const char *text;
} errno_texts[] = {
	{ENOENT, "ENOENT: unknown handle, stream or entry"},
	{EACCES, "EACCES: only its owner or an administrator may do that"},
	{EPERM, "EPERM: no permission"},
	{EINVAL, "EINVAL: a field is out of range"},
	{E2BIG, "E2BIG: too many or too large"},
	{ENOSPC, "ENOSPC: out of HBM, SRAM, tags, streams or GART"},
	{EILSEQ, "EILSEQ: not the next token"},
	{EEXIST, "EEXIST: rows already resident"},
	{ESTALE, "ESTALE: the generation relied on is gone"},
	{EOPNOTSUPP, "EOPNOTSUPP: a feature that is not there"},
	{EIO, "EIO: the device failed"},
	{ENODEV, "ENODEV: the device is gone"},
	{ECANCELED, "ECANCELED: a reset overtook the job"},
	{ENOMEM, "ENOMEM: out of system memory"},
	{EFAULT, "EFAULT: a bad pointer, or an operand outside its buffer"},
	{EBUSY, "EBUSY: not in this state"},
	{ETIME, "ETIME: the deadline passed"},
	{EAGAIN, "EAGAIN: it kept changing, try again"},
	{ENODATA, "ENODATA: the stream is swapped out"},
	{EBADMSG, "EBADMSG: not the image that was swapped out"},
	{EROFS, "EROFS: a prefix does not change"},
	{ENXIO, "ENXIO: the stream shares no prefix"},
	{EXDEV, "EXDEV: another geometry, or another device"},
	{ELOOP, "ELOOP: too many prefixes on one another"},
	{EBADF, "EBADF: no descriptor"},
	{ENOTTY, "ENOTTY: the driver does not know this call"},
};

const char *kvs_errno_text(int err)
{
	for (size_t i = 0; i < sizeof(errno_texts) / sizeof(errno_texts[0]); i++)
		if (errno_texts[i].err == -err)
			return errno_texts[i].text;
	return strerror(-err);
}

const char *kvs_op_name(uint32_t type)
{
	static const char *const names[] = {
		[DRM_KVSINK_OP_APPEND] = "APPEND",
		[DRM_KVSINK_OP_COPY] = "COPY",
		[DRM_KVSINK_OP_SCORE] = "SCORE",
		[DRM_KVSINK_OP_CLASSIFY] = "CLASSIFY",
		[DRM_KVSINK_OP_BARRIER] = "BARRIER",
		[DRM_KVSINK_OP_ATTEND] = "ATTEND",
		[DRM_KVSINK_OP_STEP_END] = "STEP_END",
		[DRM_KVSINK_OP_ADVANCE] = "ADVANCE",
		[DRM_KVSINK_OP_PROMOTE] = "PROMOTE",
		[DRM_KVSINK_OP_EVICT] = "EVICT",
		[DRM_KVSINK_OP_SCORE_IMPORT] = "SCORE_IMPORT",
		[DRM_KVSINK_OP_LAYER_HEADS] = "LAYER_HEADS",
		[DRM_KVSINK_OP_SEAL] = "SEAL",
	};

	return type < sizeof(names) / sizeof(names[0]) && names[type] ? names[type] : "?";
}

/* Fields of struct drm_kvsink_op that can be refused, and what is allowed there. */
struct op_field {
	uint32_t type; /* of the operation; 0 = any */
	uint32_t offset, bytes;
	const char *name, *allowed;
};

#define FIELD(type, member, allowed)                                                                         \
	{type, offsetof(struct drm_kvsink_op, member), sizeof(((struct drm_kvsink_op *)0)->member), #member, \
	 allowed}
#define REF(type, member)                                                                                    \
	FIELD(type, member.handle, "a buffer of this device"), FIELD(type, member.pad, "0"),                 \
		FIELD(type, member.offset, "a multiple of 4 from which the operand fits into the buffer")
#define STREAM(type, member) FIELD(type, member, "a stream that this device handle made")
#define PLACES(type, member)                                                                                 \
	FIELD(type, member.stride, "1 to 256 items in a job"),                                               \
		FIELD(type, member.array, "places with a token, layers and heads of the stream")
#define LAYER(type, member) FIELD(type, member, "less than the stream's layers")
#define FIRST(type, member) FIELD(type, member, "less than the stream's max_tokens")
#define COUNT(type, member) FIELD(type, member, "1 to max_tokens - first, operands of at most 4 MiB")

static const struct op_field op_fields[] = {
	FIELD(0, type, "enum drm_kvsink_op_type"),
	FIELD(0, flags, "0"),
	STREAM(DRM_KVSINK_OP_APPEND, append.stream),
	LAYER(DRM_KVSINK_OP_APPEND, append.layer),
	FIRST(DRM_KVSINK_OP_APPEND, append.first),
	COUNT(DRM_KVSINK_OP_APPEND, append.count),
	REF(DRM_KVSINK_OP_APPEND, append.k),
	REF(DRM_KVSINK_OP_APPEND, append.v),
	REF(DRM_KVSINK_OP_COPY, copy.src),
	REF(DRM_KVSINK_OP_COPY, copy.dst),
	FIELD(DRM_KVSINK_OP_COPY, copy.bytes, "at least 1"),
	STREAM(DRM_KVSINK_OP_SCORE, score.stream),
	LAYER(DRM_KVSINK_OP_SCORE, score.layer),
	FIRST(DRM_KVSINK_OP_SCORE, score.first),
	COUNT(DRM_KVSINK_OP_SCORE, score.count),
	REF(DRM_KVSINK_OP_SCORE, score.q),
	REF(DRM_KVSINK_OP_SCORE, score.out),
	STREAM(DRM_KVSINK_OP_CLASSIFY, classify.stream),
	FIELD(DRM_KVSINK_OP_CLASSIFY, classify.group_mask, "at least one of the stream's score groups"),
	FIELD(DRM_KVSINK_OP_CLASSIFY, classify.max, "at most 2097152"),
	REF(DRM_KVSINK_OP_CLASSIFY, classify.dst),
	STREAM(DRM_KVSINK_OP_BARRIER, barrier.stream),
	FIELD(DRM_KVSINK_OP_ATTEND, attend.items.stride, "1 to 256 items in a job"),
	FIELD(DRM_KVSINK_OP_ATTEND, attend.items.array,
	      "items with own streams, layers and queries in range, at most 4 MiB"),
	FIELD(DRM_KVSINK_OP_ATTEND, attend.mode, "0 (split), 1 (canonical) and 2 (gated)"),
	REF(DRM_KVSINK_OP_ATTEND, attend.q),
	REF(DRM_KVSINK_OP_ATTEND, attend.out),
	REF(DRM_KVSINK_OP_ATTEND, attend.stats),
	REF(DRM_KVSINK_OP_ATTEND, attend.mass),
	STREAM(DRM_KVSINK_OP_STEP_END, step_end.stream),
	FIELD(DRM_KVSINK_OP_STEP_END, step_end.count, "1 to max_tokens, or 0 with abort"),
	FIELD(DRM_KVSINK_OP_STEP_END, step_end.abort, "0 or 1"),
	FIELD(DRM_KVSINK_OP_ADVANCE, advance.ns, "at most 1000000000"),
	STREAM(DRM_KVSINK_OP_PROMOTE, promote.stream),
	PLACES(DRM_KVSINK_OP_PROMOTE, promote.places),
	FIELD(DRM_KVSINK_OP_PROMOTE, promote.deadline_ns, "0, or CLOCK_MONOTONIC within the next 60 s"),
	FIELD(DRM_KVSINK_OP_PROMOTE, promote.due_ns, "less than 2^63"),
	FIELD(DRM_KVSINK_OP_PROMOTE, promote.priority, "0 to 255"),
	FIELD(DRM_KVSINK_OP_PROMOTE, promote.flags, "0 or PARTIAL"),
	STREAM(DRM_KVSINK_OP_EVICT, evict.stream),
	PLACES(DRM_KVSINK_OP_EVICT, evict.places),
	STREAM(DRM_KVSINK_OP_SCORE_IMPORT, score_import.stream),
	FIELD(DRM_KVSINK_OP_SCORE_IMPORT, score_import.group, "less than the stream's score groups"),
	FIELD(DRM_KVSINK_OP_SCORE_IMPORT, score_import.count, "the stream's length, at least 1"),
	REF(DRM_KVSINK_OP_SCORE_IMPORT, score_import.src),
	STREAM(DRM_KVSINK_OP_LAYER_HEADS, layer_heads.stream),
	FIELD(DRM_KVSINK_OP_LAYER_HEADS, layer_heads.layer, "less than the stream's layers"),
	REF(DRM_KVSINK_OP_LAYER_HEADS, layer_heads.src),
	FIELD(DRM_KVSINK_OP_SEAL, seal.stream,
	      "a stream that this device handle made, with a format to seal in"),
	PLACES(DRM_KVSINK_OP_SEAL, seal.places),
	FIELD(DRM_KVSINK_OP_SEAL, seal.tokens, "a multiple of page_tokens, up to max_tokens"),
};

static const struct op_field *find_field(uint32_t type, uint32_t offset)
{
	for (size_t i = 0; i < sizeof(op_fields) / sizeof(op_fields[0]); i++)
		if ((!op_fields[i].type || op_fields[i].type == type) && op_fields[i].offset == offset)
			return &op_fields[i];
	return NULL;
}

static unsigned long long field_value(const struct drm_kvsink_op *op, const struct op_field *field)
{
	uint64_t value = 0;

	memcpy(&value, (const char *)op + field->offset, field->bytes);
	return value;
}

int kvs_fail_submit(struct kvs_batch *batch, int err, uint32_t op_index, uint32_t field)
{
	const struct op_field *known;
	const struct drm_kvsink_op *op;

	if (!batch->ops)
		return kvs_fail(batch->device, err, "SUBMIT: the batch has no operation");
	if (op_index >= batch->ops || field == UINT32_MAX)
		return kvs_fail(batch->device, err, "SUBMIT: %u operations: %s", batch->ops,
				kvs_errno_text(err));
	op = &batch->op[op_index];
	known = find_field(op->type, field);
	if (!known)
		return kvs_fail(batch->device, err, "SUBMIT: operation %u (%s), byte %u: %s", op_index,
				kvs_op_name(op->type), field, kvs_errno_text(err));
	return kvs_fail(batch->device, err, "SUBMIT: operation %u (%s): %s = %llu: allowed: %s (%s)",
			op_index, kvs_op_name(op->type), known->name, field_value(op, known), known->allowed,
			kvs_errno_text(err));
}

int kvs_fail_job(struct kvs_device *device, const struct drm_kvsink_job_status *status,
		 const uint8_t *op_types)
{
	const char *name = status->op < DRM_KVSINK_MAX_OPS ? kvs_op_name(op_types[status->op]) : "?";
	int err = kvsink_logic_errno(status->code);

	if (!err)
		return 0;
	return kvs_fail(device, err, "operation %u (%s): %s: %s: %llu", status->op, name,
			kvs_code_name(status->code), kvs_code_text(status->code),
			(unsigned long long)status->address);
}
