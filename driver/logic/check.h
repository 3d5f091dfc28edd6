/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Helpers of driver/logic, for its own files only: refusing a field, looking up a stream.
 */
#ifndef KVSINK_LOGIC_CHECK_H
#define KVSINK_LOGIC_CHECK_H

#include "logic.h"

#define KVSINK_LOGIC_NO_FIELD 0xffffffffu
#define KVSINK_LOGIC_INF 0x7f800000u /* binary32 infinity: below it, patterns are non-negative and finite */

/* Leave the offset of `member` in env->field and return -err. */
#define kvsink_refuse(env, type, member, err) kvsink_refuse_at(env, offsetof(type, member), -(err))

static inline int kvsink_refuse_at(struct kvsink_logic_env *env, size_t field, int err)
{
	env->field = (uint32_t)field;
	return err;
}

/* Look up a stream; `field` is where its id stands. */
static inline int kvsink_find_stream(struct kvsink_logic_env *env, uint64_t id, bool own, size_t field,
				     struct kvsink_logic_stream *stream)
{
	int err = id ? env->stream(env->ctx, id, own, stream) : -ENOENT;

	return err ? kvsink_refuse_at(env, field, err) : 0;
}

/* [begin, end) is a non-empty range of the stream's layers. */
static inline bool kvsink_layers_valid(const struct kvsink_logic_stream *stream, uint32_t begin, uint32_t end)
{
	return begin < end && end <= stream->layers;
}

/*
 * place.c; with `own` the file must own the stream. Items [0, args->places.count) of the command are filled
 * in.
 */
int kvsink_build_promote(struct kvsink_logic_env *env, const struct drm_kvsink_promote *args,
			 const struct drm_kvsink_place *places, bool own, struct kvsink_cmd *cmd,
			 union kvsink_item *items);
int kvsink_build_evict(struct kvsink_logic_env *env, const struct drm_kvsink_evict *args,
		       const struct drm_kvsink_place *places, bool own, struct kvsink_cmd *cmd,
		       union kvsink_item *items);
/* SEAL: `places` within the stream become `items`; field is where they are named. */
int kvsink_build_seal_places(struct kvsink_logic_env *env, const struct kvsink_logic_stream *stream,
			     const struct drm_kvsink_place *places, uint32_t count, size_t field,
			     union kvsink_item *items);

#endif
