/* SPDX-License-Identifier: MIT */
/* Lines about refused placement and parameters. */
#ifndef KVS_EXPLAIN_H
#define KVS_EXPLAIN_H

#include "internal.h"

/* A refused PROMOTE, EVICT or CONTRACT. */
struct kvs_refusal {
	const char *what; /* its name */
	uint64_t stream;
	const struct drm_kvsink_place *places; /* [count] */
	unsigned count;
	bool search;	      /* places may name all tokens, and heads that the stream lacks */
	uint32_t code;	      /* of the chip; 0 if it was not asked */
	uint64_t address;     /* what the code says */
	uint64_t deadline_ns; /* of the contract */
};

/* Leave a line and return err. */
int kvs_fail_places(struct kvs_device *device, int err, const struct kvs_refusal *refusal);
int kvs_fail_config_get(struct kvs_device *device, int err, const struct drm_kvsink_config *args);
int kvs_fail_config_set(struct kvs_device *device, int err, const struct drm_kvsink_config *args);

/* "ALPHA"; "?" if there is none. */
const char *kvs_param_name(uint32_t param);

#endif
