/* SPDX-License-Identifier: MIT */
/*
 * What the tests of driver/logic share: an environment with two buffers and three streams, and try_all(),
 * one negative test for each way to be refused. It starts from arguments that are accepted and changes one
 * field at a time; errno and the refused field's offset are checked.
 */
#ifndef KVSINK_TEST_LOGIC_CASE_H
#define KVSINK_TEST_LOGIC_CASE_H

#include <string.h>

#include "logic.h"
#include "tap.h"

#define OWN 7	     /* our stream: 4 layers, 8 query heads, 2 KV heads, d_k 16, d_v 8, 64 tokens, 2 groups */
#define FOREIGN 8    /* the same, of another file */
#define WIDE 9	     /* ours: 512 wide, so that operands grow large */
#define OWN_FLAGS 10 /* ours: with every flag */
#define SEALED 11    /* ours: FP16, d 32, sealed in INT8 */
#define BO 1	     /* 64 KiB at GART offset 1 MiB */
#define BO2 2	     /* 16 MiB behind it */

static inline int find_buffer(void *ctx, uint32_t handle, struct kvsink_logic_buffer *out)
{
	(void)ctx;
	if (handle != BO && handle != BO2)
		return -ENOENT;
	out->gart_offset = handle == BO ? 1 << 20 : 2 << 20;
	out->bytes = handle == BO ? 64 << 10 : 16 << 20;
	return 0;
}

static inline int find_stream(void *ctx, uint64_t id, bool own, struct kvsink_logic_stream *out)
{
	(void)ctx;
	if (id != OWN && id != FOREIGN && id != WIDE && id != OWN_FLAGS && id != SEALED)
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
	if (id == OWN_FLAGS)
		out->flags = KVSINK_STREAM_FLAGS;
	if (id == WIDE) {
		out->q_heads = out->kv_heads = 64;
		out->d_k = out->d_v = 512;
	}
	if (id == SEALED) {
		out->d_k = out->d_v = 32;
		out->format = KVSINK_FORMAT_FP16;
		out->seal_k = out->seal_v = KVSINK_FORMAT_INT8;
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

#define AT(type, member) offsetof(struct type, member), sizeof(((struct type *)0)->member)
#define BAD(type, member, value, err)                                                                        \
	{#member " = " #value, AT(type, member), value, -(err), offsetof(struct type, member)}
/* The refused field is another one than the changed one. */
#define BAD_AS(type, member, value, err, field)                                                              \
	{#member " = " #value, AT(type, member), value, -(err), offsetof(struct type, field)}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Change one field, call, change it back. */
static inline void try_all(const char *what, void *args, const struct bad *cases, size_t count,
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

/* A field of the place that is tried; the refusal names `at`. */
#define BAD_PLACE(member, value, at)                                                                         \
	{"place." #member " = " #value, AT(drm_kvsink_place, member), value, -EINVAL, at}

/* What every list refuses; `at` is where the list stands. */
#define BAD_PLACES(at)                                                                                       \
	BAD_PLACE(token, 64, at), BAD_PLACE(layer_begin, 3, at), BAD_PLACE(layer_end, 5, at),                \
		BAD_PLACE(head_mask, 0, at)

/* All layers and heads of token 7, two layers of head 1 of the last token. */
static inline void two_places(struct drm_kvsink_place *places)
{
	places[0] = (struct drm_kvsink_place){.token = 7, .layer_end = 4, .head_mask = 3};
	places[1] = (struct drm_kvsink_place){.token = 63, .layer_begin = 1, .layer_end = 3, .head_mask = 2};
}

#endif
