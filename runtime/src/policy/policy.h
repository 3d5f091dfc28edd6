/* SPDX-License-Identifier: MIT */
/*
 * The interface of a placement policy, and what policies share. One file holds one policy: a struct
 * kvs_policy_ops, named in KVS_POLICIES below. docs/policies.md leads through an example.
 *
 * A policy sees the device through PROMOTE, EVICT, CONFIG and QUERY only. Running out of SRAM is no error:
 * what fits is placed. Functions return 0 or -errno with a line in kvs_device_error().
 */
#ifndef KVS_POLICY_H
#define KVS_POLICY_H

#include "../internal.h"
#include "kvsink_policy.h"

/* Every policy, in the order of kvs_policy_name(). */
#define KVS_POLICIES(X)                                                                                      \
	X(uniform)                                                                                           \
	X(random)                                                                                            \
	X(positional)                                                                                        \
	X(recent) X(hindsight) X(lru) X(lfu) X(streamingllm) X(h2o) X(headwise) X(1a) X(1b) X(1c)

/* Options that a policy understands; others are refused when they are set. */
#define KVS_TAKES_TAIL 1u
#define KVS_TAKES_MASKS 2u
#define KVS_TAKES_PINS 4u
#define KVS_TAKES_T_SINK 8u

struct kvs_policy_ops {
	const char *name;
	const char *about;		 /* one line */
	unsigned takes;			 /* KVS_TAKES_* */
	enum kvsink_placement placement; /* of the stream while the policy runs */
	bool wants_mass;		 /* layer() needs attention per token */
	bool needs_scores;		 /* prefilled() places by them */
	size_t state_bytes;		 /* of kvs_policy.state, zeroed */
	/* tokens of the policy's own tail, for tail_tokens -1; NULL: none */
	uint32_t (*own_tail)(const struct kvs_policy *policy);
	/* each may be NULL: */
	int (*open)(struct kvs_policy
			    *policy); /* sets parameters; entries and tails are still the earlier ones */
	int (*prefilled)(struct kvs_policy *policy); /* the stream was just refreshed, as for step() */
	int (*layer)(struct kvs_policy *policy, uint32_t layer, uint32_t tokens, const float *mass);
	int (*step)(struct kvs_policy *policy);
	void (*close)(struct kvs_policy *policy); /* frees what the state points to, not the state */
};

/* A prefix that the stream begins with: tokens [begin, end) are its own. */
struct kvs_owner {
	uint64_t id;
	uint32_t begin, end;
};

struct kvs_policy {
	struct kvs_device *device;
	const struct kvs_policy_ops *ops;
	struct kvsink_stream_rec stream;   /* as it was at the last call of the user */
	struct kvs_policy_options options; /* with copies of what it points to */
	uint64_t *head_masks;		   /* the copies: [layers] or NULL */
	struct drm_kvsink_place *pins;
	uint64_t heads[KVSINK_MAX_LAYERS]; /* KV heads of each layer that HEAD_MASK and LAYER_RANGE allow */
	uint32_t row_bytes;		   /* K and V of one token, layer and head */
	uint32_t sram_bytes;		   /* that the stream may hold */
	uint32_t tail_tokens, tail_from;   /* ring of the newest tokens; older than tail_from are not in it */
	struct kvs_owner owner[KVSINK_MAX_PREFIX_DEPTH]; /* [owners], the last tokens first */
	uint32_t owners;
	struct kvsink_tag_rec *inherited; /* [inherited_count] entries of prefixes that the stream reads */
	uint32_t inherited_count, inherited_bytes;
	uint64_t inherited_of;	/* what the stream began with when they were read: */
	uint32_t inherited_end; /* the prefix, and tokens of it */
	void *state;		/* of the policy */
};

#define X(name) extern const struct kvs_policy_ops kvs_policy_##name;
KVS_POLICIES(X)
#undef X

/* kvs_policy_open() with a policy that need not be in the list. */
int kvs_policy_start(struct kvs_device *device, uint64_t stream, const struct kvs_policy_ops *ops,
		     const struct kvs_policy_options *options, struct kvs_policy **policy);

/* Clear and configure the stream; if it fails, its parameters are what they were. */
int kvs_policy_configure(struct kvs_policy *policy);

/* policy->stream, anew. */
int kvs_policy_refresh(struct kvs_policy *policy);

/* ---- owners.c: rows of prefixes ---- */

/* Prefixes of the stream and their entries, anew; the second one also sets what that leaves for its own. */
int kvs_policy_inherit(struct kvs_policy *policy);
int kvs_policy_inherit_budget(struct kvs_policy *policy);
/* kvs_policy_pin() of a stream with a prefix: rows of the prefix become resident for all of its streams;
 * those that are already count as placed. */
int kvs_policy_pin_shared(struct kvs_policy *policy, const struct drm_kvsink_place *places, uint32_t count,
			  const struct kvs_contract *contract);

/* ---- sizes ---- */

/* SRAM of one entry, or of a tail of `tokens` in every group. */
uint32_t kvs_policy_entry_bytes(const struct kvs_policy *policy, const struct drm_kvsink_place *place);
uint64_t kvs_policy_tail_bytes(const struct kvs_policy *policy, uint32_t tokens);
/* Longest tail that fits into `bytes`. */
uint32_t kvs_policy_tail_fit(const struct kvs_policy *policy, uint64_t bytes);
/* What the tail leaves for entries. */
uint32_t kvs_policy_room(const struct kvs_policy *policy);
/* Will the token be in the tail in the next step? */
bool kvs_policy_in_tail(const struct kvs_policy *policy, uint32_t token);

/* ---- placing ---- */

/* Places in the making. */
struct kvs_places {
	struct drm_kvsink_place *place; /* [room], count used */
	uint32_t count, room;
};

/*
 * Rows of a token in layers [begin, end): one place for each run of layers with the same heads of
 * heads[layer] (NULL: all that are allowed). -ENOMEM.
 */
int kvs_places_add(struct kvs_policy *policy, struct kvs_places *places, uint32_t token, uint32_t begin,
		   uint32_t end, const uint64_t *heads);
int kvs_places_add_place(struct kvs_policy *policy, struct kvs_places *places,
			 const struct drm_kvsink_place *place);
/* The whole token. */
int kvs_places_add_token(struct kvs_policy *policy, struct kvs_places *places, uint32_t token);
void kvs_places_free(struct kvs_places *places);

/* Make places resident, in their order; what does not fit is left out, smaller ones behind it are tried.
 * Those of prefixes are kept for all who begin with them. Returns how many are resident. */
int kvs_policy_pin(struct kvs_policy *policy, const struct drm_kvsink_place *places, uint32_t count,
		   const struct kvs_contract *contract);
/* The same of one stream or prefix, whatever the policy's stream shares. */
int kvs_policy_pin_on(struct kvs_policy *policy, uint64_t stream, const struct drm_kvsink_place *places,
		      uint32_t count, const struct kvs_contract *contract);
/* End their residency; those that are not resident are no error. */
int kvs_policy_drop(struct kvs_policy *policy, const struct drm_kvsink_place *places, uint32_t count);
/* kvs_policy_pin() of whole tokens [begin, end). */
int kvs_policy_pin_tokens(struct kvs_policy *policy, uint32_t begin, uint32_t end);

/* ---- the stream's parameters ---- */

int kvs_policy_get(struct kvs_policy *policy, uint32_t group, enum kvsink_param param, uint64_t *value);
int kvs_policy_set(struct kvs_policy *policy, uint32_t group, enum kvsink_param param, uint64_t value);
/* Layers of a score group. */
void kvs_policy_group(const struct kvs_policy *policy, uint32_t group, uint32_t *begin, uint32_t *end);

/* ---- ours.c: what 1a, 1b and 1c share ---- */

/* Tails of about half of the SRAM, and two thirds. */
uint32_t kvs_policy_half_tail(const struct kvs_policy *policy);
uint32_t kvs_policy_long_tail(const struct kvs_policy *policy);
/* Parameters. */
int kvs_policy_ours_open(struct kvs_policy *policy);
/* Promote tokens for the layers of their groups, best score first; the list is sorted. */
int kvs_policy_pin_best(struct kvs_policy *policy, struct kvsink_sink_rec *sinks, uint32_t count);
/* prefilled() of those that place during decode: rows of prefixes that nobody has placed, by score. */
int kvs_policy_ours_prefilled(struct kvs_policy *policy);

/* ---- rows.c: caches of rows, layer by layer ---- */

/* Each layer keeps the rows with the largest keys. */
struct kvs_rows {
	double *key[KVSINK_MAX_LAYERS];	  /* [room] by token */
	uint32_t room[KVSINK_MAX_LAYERS]; /* keys of a layer; those that nobody set are 0 */
};

/* Keys of tokens [0, tokens) of a layer; NULL: out of memory. */
double *kvs_rows_keys(struct kvs_policy *policy, struct kvs_rows *rows, uint32_t layer, uint32_t tokens);
/* Residents become those with the largest keys among the tokens outside the tail, equally many in each layer.
 * kvs_rows_begin() looks at rows of prefixes, too; afterwards they stay as they are. */
int kvs_rows_begin(struct kvs_policy *policy, struct kvs_rows *rows);
int kvs_rows_place(struct kvs_policy *policy, struct kvs_rows *rows);
void kvs_rows_free(struct kvs_rows *rows);

#endif
