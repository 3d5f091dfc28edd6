/* SPDX-License-Identifier: MIT */
/**
 * DOC: placement policies
 *
 * A policy decides which rows of a stream lie in SRAM. All of them act by stream id through PROMOTE, EVICT,
 * CONFIG and QUERY only, so they run on any device, also from another process than the stream's owner.
 * docs/policies.md says what each does and how to add one.
 *
 * Around a decode loop:
 *
 *   kvs_policy_open()        after the stream was made, before or after its prompt
 *   ... prompt: APPEND, STEP_END, SCORE ...
 *   kvs_policy_prefilled()   then a BARRIER, if decode shall find the rows
 *   for each token, for each layer: APPEND, ATTEND (with mass, if kvs_policy_wants_mass())
 *       kvs_policy_layer()
 *   STEP_END
 *       kvs_policy_step()
 *   kvs_policy_close()       residents stay
 *
 * A policy belongs to its device's thread. It keeps a reference on the device, none on the stream.
 */
#ifndef KVSINK_POLICY_H
#define KVSINK_POLICY_H

#include "kvsink.h"

#ifdef __cplusplus
extern "C" {
#endif

struct kvs_policy;

#define KVS_TAIL_OWN (-1) /* tail_tokens: what the policy chooses */
#define KVS_TAIL_HALF                                                                                        \
	(-2) /* tail_tokens: as many as half of sram_bytes holds; none for a policy without tails */

/** struct kvs_policy_options - what a policy may use. Zero a field to get its default. */
struct kvs_policy_options {
	/** @size: sizeof(struct kvs_policy_options) of the caller. */
	size_t size;
	/** @sram_bytes: SRAM of the stream, tails included; 0 for all of the device. */
	uint32_t sram_bytes;
	/** @tail_tokens: newest tokens that stay in SRAM, of every layer; 0 for none, or KVS_TAIL_OWN,
	 * KVS_TAIL_HALF. */
	int32_t tail_tokens;
	/** @seed: of policies that draw. */
	uint64_t seed;
	/** @t_sink: score from which 1a takes a token for a sink; 0 for the policy's own. */
	float t_sink;
	/** @head_masks: [layers] full heads of each layer, for headwise; NULL for none. */
	const uint64_t *head_masks;
	/** @pins: what hindsight makes resident, in this order; copied. */
	const struct drm_kvsink_place *pins;
	/** @pin_count: how many. */
	unsigned pin_count;
	/** @due_ns: modelled time in which copies of a step's promotions shall end, so that they can hide
	 * behind compute (ADVANCE); 0: they begin at once. Becomes COPY_DUE_NS of the stream. */
	uint32_t due_ns;
};

/**
 * kvs_policy_count - how many policies there are
 *
 * Returns at least 1.
 */
unsigned kvs_policy_count(void);

/**
 * kvs_policy_name - name of a policy
 * @index: less than kvs_policy_count()
 *
 * Returns for example "h2o"; NULL beyond the last one.
 */
const char *kvs_policy_name(unsigned index);

/**
 * kvs_policy_about - what a policy does
 * @index: less than kvs_policy_count()
 *
 * Returns one line without a full stop; NULL beyond the last one.
 */
const char *kvs_policy_about(unsigned index);

/* kvs_policy_traits() */
#define KVS_POLICY_INSIDE (1u << 0)    /* needs kvs_policy_layer(), or the future */
#define KVS_POLICY_EACH_STEP (1u << 1) /* kvs_policy_step() does something */
#define KVS_POLICY_SCORES (1u << 2)    /* places by the scores of the prompt, nothing without them */

/**
 * kvs_policy_traits - what a policy needs
 * @index: less than kvs_policy_count()
 *
 * Returns KVS_POLICY_* flags; 0 beyond the last one.
 */
unsigned kvs_policy_traits(unsigned index);

/**
 * kvs_policy_open - choose a policy for a stream and configure the stream for it
 * @device: the device
 * @stream: stream id; its entries, tails and placement parameters are replaced
 * @name: of the policy
 * @options: what it may use; NULL for defaults and KVS_TAIL_OWN
 * @policy: receives the policy, to be dropped with kvs_policy_close()
 *
 * Options are checked before anything changes, and parameters are put back when something fails later: then
 * entries are gone only if a tail that fits by its size found no piece that is large enough (FRAGMENTED), or
 * if somebody else took the SRAM meanwhile. Not put back are the rows of an earlier tail and an EMA that was
 * running (PLACEMENT begins it anew).
 *
 * Returns 0, -EINVAL (no such policy, an option that is out of range or not this policy's, or HEAD_MASK and
 * LAYER_RANGE leave no head: kvs_device_error() says which), -E2BIG (@options is of a newer library), -ENOENT
 * (stream), -ENOSPC (a tail that does not fit; the line names the code, bytes wanted and left), -ENOMEM.
 */
int kvs_policy_open(struct kvs_device *device, uint64_t stream, const char *name,
		    const struct kvs_policy_options *options, struct kvs_policy **policy);

/**
 * kvs_policy_wants_mass - does kvs_policy_layer() need the attention of each token?
 * @policy: the policy
 *
 * Returns true if ATTEND shall be given its operand `mass`.
 */
bool kvs_policy_wants_mass(const struct kvs_policy *policy);

/**
 * kvs_policy_prefilled - the prompt is part of the stream and scored: place rows for the first time
 * @policy: the policy
 *
 * Returns 0 or -errno with a line in kvs_device_error(). SRAM that runs out is no error: what fits is placed.
 */
int kvs_policy_prefilled(struct kvs_policy *policy);

/**
 * kvs_policy_layer - a layer's ATTEND of a decode step is done
 * @policy: the policy
 * @layer: layer
 * @tokens: tokens that the query saw, its own included
 * @mass: float[kv_heads][tokens], operand `mass` of that ATTEND; NULL if the policy does not want it
 *
 * Call it for each layer of a step in ascending order.
 *
 * Returns as kvs_policy_prefilled() does; -EINVAL for a layer or a number of tokens that cannot be, and for
 * mass that is negative, infinite or not a number.
 */
int kvs_policy_layer(struct kvs_policy *policy, uint32_t layer, uint32_t tokens, const float *mass);

/**
 * kvs_policy_step - STEP_END is done: place rows for the next step
 * @policy: the policy
 *
 * Returns as kvs_policy_prefilled() does.
 */
int kvs_policy_step(struct kvs_policy *policy);

/**
 * kvs_policy_close - forget a policy; what is resident stays, and the stream stays configured
 * @policy: the policy or NULL
 */
void kvs_policy_close(struct kvs_policy *policy);

#ifdef __cplusplus
}
#endif

#endif
