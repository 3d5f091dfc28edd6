// SPDX-License-Identifier: MIT
/* Hindsight: the tokens that served most attention in the decode that is going to be replayed. */
#include <stdlib.h>

#include "bench.h"
#include "fail.h"

struct ranked {
	double mass;
	uint32_t token;
};

static int by_mass(const void *left, const void *right)
{
	const struct ranked *a = left, *b = right;

	if (a->mass != b->mass)
		return a->mass > b->mass ? -1 : 1;
	return a->token < b->token ? -1 : 1;
}

static int rank(struct kvs_device *device, const struct bench_plan *plan, struct ranked *ranked,
		uint32_t tokens)
{
	double *mass = calloc(tokens, sizeof(*mass));
	int rc = mass ? bench_observe(device, plan, mass) : fail("out of memory for %u tokens", tokens);

	for (uint32_t t = 0; t < tokens && !rc; t++)
		ranked[t] = (struct ranked){mass[t], t};
	free(mass);
	if (!rc)
		qsort(ranked, tokens, sizeof(*ranked), by_mass);
	return rc;
}

int bench_pins(struct kvs_device *device, struct bench_plan *plan)
{
	const struct geometry *g = &plan->state->geometry;
	uint32_t tokens = plan->prompt + plan->steps;
	struct ranked *ranked = calloc(tokens, sizeof(*ranked));
	int rc;

	plan->pins = calloc(tokens, sizeof(*plan->pins));
	rc = ranked && plan->pins ? rank(device, plan, ranked, tokens)
				  : fail("out of memory for %u pins", tokens);
	for (uint32_t i = 0; i < tokens && !rc; i++)
		plan->pins[plan->pin_count++] = (struct drm_kvsink_place){
			.token = ranked[i].token,
			.layer_end = (uint16_t)g->layers,
			.head_mask = g->kv_heads < 64 ? (1ull << g->kv_heads) - 1 : ~0ull,
		};
	free(ranked);
	return rc;
}
