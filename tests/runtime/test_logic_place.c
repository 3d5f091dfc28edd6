// SPDX-License-Identifier: MIT
/*
 * driver/logic/place.c: PROMOTE, EVICT and CONTRACT as ioctls of their own. What they refuse of their
 * arguments and of each place, and the command and items that they become.
 */
#include "logic_case.h"

static struct kvsink_cmd cmd;
static union kvsink_item items[KVSINK_MAX_ITEMS];
static struct drm_kvsink_place places[KVSINK_MAX_ITEMS];
static struct drm_kvsink_promote promote;
static struct drm_kvsink_evict evict;
static struct drm_kvsink_contract contract;

static int call_promote(void *args)
{
	(void)args;
	return kvsink_logic_build_promote(&env, &promote, places, &cmd, items);
}

static int call_evict(void *args)
{
	(void)args;
	return kvsink_logic_build_evict(&env, &evict, places, &cmd, items);
}

static int call_contract(void *args)
{
	(void)args;
	return kvsink_logic_build_contract(&env, &contract, places, &cmd, items);
}

#define PROMOTE_PLACES offsetof(struct drm_kvsink_promote, places.array)
#define EVICT_PLACES offsetof(struct drm_kvsink_evict, places.array)
#define CONTRACT_PLACES offsetof(struct drm_kvsink_contract, places.array)

static void test_promote(void)
{
	static const struct bad cases[] = {
		BAD(drm_kvsink_promote, stream, 0, ENOENT),	BAD(drm_kvsink_promote, stream, 99, ENOENT),
		BAD(drm_kvsink_promote, flags, 2, EINVAL),	BAD(drm_kvsink_promote, pad, 1, EINVAL),
		BAD(drm_kvsink_promote, priority, 256, EINVAL),
	};
	static const struct bad rows[] = {
		BAD_PLACES(PROMOTE_PLACES),
		BAD_PLACE(token, KVSINK_TOKEN_ALL, PROMOTE_PLACES),
		BAD_PLACE(head_mask, 4, PROMOTE_PLACES),
	};

	two_places(places);
	promote = (struct drm_kvsink_promote){
		.stream = FOREIGN,
		.places.count = 2,
		.deadline_ns = 5,
		.due_ns = 6,
		.dwell_steps = 7,
		.priority = 255,
		.flags = DRM_KVSINK_PROMOTE_PARTIAL,
	};
	try_all("PROMOTE", &promote, cases, COUNT(cases), call_promote);
	try_all("PROMOTE", &places[1], rows, COUNT(rows), call_promote);
	tap_ok(cmd.opcode == KVSINK_OP_PROMOTE && cmd.flags == KVSINK_PROMOTE_PARTIAL &&
		       cmd.promote.stream == FOREIGN && cmd.promote.first_item == 0 &&
		       cmd.promote.item_count == 2 && cmd.promote.deadline_ns == 5 &&
		       cmd.promote.due_ns == 6 && cmd.promote.dwell_steps == 7 && cmd.promote.priority == 255,
	       "PROMOTE: acts on other files' streams, as the arguments say");
	tap_ok(items[0].place.token == 7 && items[1].place.token == 63 && items[1].place.layer_begin == 1 &&
		       items[1].place.layer_end == 3 && items[1].place.head_mask == 2 &&
		       !items[1].place.reserved[0] && !items[1].place.reserved[1],
	       "PROMOTE: each place becomes an item");
	promote.stream = WIDE;
	places[0] = (struct drm_kvsink_place){.layer_end = 4, .head_mask = ~0ull};
	promote.places.count = 1;
	tap_ok(!call_promote(NULL), "PROMOTE: all of 64 heads");
}

/* EVICT and CONTRACT look for entries: every token, and heads that the stream lacks, may be named. */
static void test_search(void)
{
	static const struct bad evict_cases[] = {BAD(drm_kvsink_evict, stream, 99, ENOENT)};
	static const struct bad evict_rows[] = {BAD_PLACES(EVICT_PLACES)};
	static const struct bad contract_cases[] = {
		BAD(drm_kvsink_contract, stream, 99, ENOENT),
		BAD(drm_kvsink_contract, priority, 256, EINVAL),
	};
	static const struct bad contract_rows[] = {BAD_PLACES(CONTRACT_PLACES)};

	two_places(places);
	evict = (struct drm_kvsink_evict){.stream = FOREIGN, .places.count = 2};
	contract = (struct drm_kvsink_contract){
		.stream = FOREIGN, .places.count = 2, .deadline_ns = 5, .dwell_steps = 7, .priority = 255};
	try_all("EVICT", &evict, evict_cases, COUNT(evict_cases), call_evict);
	try_all("EVICT", &places[1], evict_rows, COUNT(evict_rows), call_evict);
	tap_ok(cmd.opcode == KVSINK_OP_EVICT && cmd.evict.item_count == 2 && !cmd.flags,
	       "EVICT: the command says what the arguments say");
	try_all("CONTRACT", &contract, contract_cases, COUNT(contract_cases), call_contract);
	try_all("CONTRACT", &places[1], contract_rows, COUNT(contract_rows), call_contract);
	tap_ok(cmd.opcode == KVSINK_OP_CONTRACT && cmd.contract.item_count == 2 &&
		       cmd.contract.deadline_ns == 5 && cmd.contract.dwell_steps == 7 &&
		       cmd.contract.priority == 255,
	       "CONTRACT: the command says what the arguments say");
	places[0].token = KVSINK_TOKEN_ALL;
	places[0].head_mask = ~0ull;
	tap_ok(!call_evict(NULL) && items[0].place.token == KVSINK_TOKEN_ALL && !~items[0].place.head_mask,
	       "EVICT: all tokens, all heads");
	tap_ok(!call_contract(NULL), "CONTRACT: all tokens, all heads");
}

int main(void)
{
	test_promote();
	test_search();
	return tap_done();
}
