// SPDX-License-Identifier: MIT
/* Tokens of the prompt, whole, drawn once. The same seed draws the same ones. */
#include <stdlib.h>

#include "policy.h"

/* splitmix64 */
static uint64_t draw(uint64_t *state)
{
	uint64_t x = *state += 0x9e3779b97f4a7c15ull;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

static void shuffle(uint32_t *tokens, uint32_t count, uint64_t seed)
{
	for (uint32_t i = 0; i < count; i++)
		tokens[i] = i;
	for (uint32_t i = 0; i < count; i++) {
		uint32_t j = i + (uint32_t)(draw(&seed) % (count - i)), token = tokens[i];

		tokens[i] = tokens[j];
		tokens[j] = token;
	}
}

static int prefilled(struct kvs_policy *policy)
{
	uint32_t count = policy->stream.length;
	uint32_t *tokens = calloc(count ? count : 1, sizeof(*tokens));
	struct kvs_places places = {0};
	int err = tokens ? 0 : kvs_fail(policy->device, -ENOMEM, "policy: out of memory");

	if (!err)
		shuffle(tokens, count, policy->options.seed);
	for (uint32_t i = 0; !err && i < count; i++)
		err = kvs_places_add_token(policy, &places, tokens[i]);
	err = err ? err : kvs_policy_pin(policy, places.place, places.count, NULL);
	kvs_places_free(&places);
	free(tokens);
	return err < 0 ? err : 0;
}

const struct kvs_policy_ops kvs_policy_random = {
	.name = "random",
	.about = "tokens of the prompt, whole, drawn once",
	.takes = KVS_TAKES_TAIL,
	.prefilled = prefilled,
};
