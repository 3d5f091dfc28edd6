// SPDX-License-Identifier: MIT
/*
 * Contracts and grants of lists: all or part, who gives way and in which order, when a contract ends, what
 * breaks one, whose account is charged.
 */
#include "harness.h"
#include "tap.h"

static struct harness h;
static struct h_stream s; /* 2 layers, 2 KV heads, rows of 128 B: an entry of all takes two units */

#define ENTRY 512u
#define LEASE KVSINK_MAX_LEASE_NS

static void open_with(uint32_t tokens)
{
	h_open(&h, NULL);
	s = h_geometry(1);
	h_stream(&h, &s);
	h_fill(&h, &s, 0, tokens);
}

static struct kvsink_place_item rows(uint32_t token)
{
	return (struct kvsink_place_item){.token = token, .layer_end = 2, .head_mask = 3};
}

/* PROMOTE of tokens [first, first + count), one entry each. */
static struct kvsink_cmd *list(const struct h_stream *st, uint32_t first, uint32_t count)
{
	struct kvsink_cmd *cmd = h_cmd(&h, KVSINK_OP_PROMOTE);

	cmd->promote.stream = st->id;
	cmd->promote.first_item = h.desc.item_count;
	cmd->promote.item_count = count;
	for (uint32_t i = 0; i < count; i++)
		h_item(&h, &(union kvsink_item){.place = rows(first + i)});
	return cmd;
}

/* One entry with a contract of so many steps. */
static uint32_t hold(uint32_t token, uint32_t steps)
{
	list(&s, token, 1)->promote.dwell_steps = steps;
	return h_do(&h);
}

static struct kvsink_cmd *contract_cmd(uint32_t token)
{
	struct kvsink_cmd *cmd = h_cmd(&h, KVSINK_OP_CONTRACT);

	cmd->contract.stream = s.id;
	cmd->contract.first_item = h.desc.item_count;
	cmd->contract.item_count = 1;
	h_item(&h, &(union kvsink_item){.place = rows(token)});
	return cmd;
}

static bool has(uint32_t token)
{
	struct kvsink_tag_rec rec;

	return h_entry(&h, &s, token, &rec);
}

static bool in_force(uint32_t token)
{
	struct kvsink_tag_rec rec;

	return h_entry(&h, &s, token, &rec) && rec.flags & KVSINK_TAG_CONTRACT;
}

static void budget(uint32_t entries)
{
	if (h_config(&h, s.id, KVSINK_PARAM_SRAM_BUDGET, entries * ENTRY))
		exit(1);
}

static void steps(uint32_t n)
{
	static uint32_t length;

	if (!n) {
		length = 40;
		return;
	}
	for (uint32_t i = 0; i < n; i++)
		h_fill(&h, &s, length++, 1);
}

/* The number of such events, and the detail of the last. */
static uint32_t events(uint32_t code, uint32_t reason, uint32_t *detail)
{
	static struct kvsink_event_rec rec[KVSINK_EVENT_SLOTS];
	struct kvsink_list_head head;
	uint32_t n = 0;

	h_query_cmd(&h, KVSINK_QUERY_EVENTS, 0, 0, KVSINK_EVENT_SLOTS);
	h_priv(&h);
	h_get(&h, H_ANSWER, &head, sizeof(head));
	h_get(&h, H_ANSWER + sizeof(head), rec, head.written * sizeof(rec[0]));
	for (uint32_t i = 0; i < head.written; i++) {
		if (rec[i].code != code || rec[i].reason != reason)
			continue;
		if (detail)
			*detail = rec[i].detail;
		n++;
	}
	return n;
}

static void lists(void)
{
	open_with(40);
	list(&s, 0, 4);
	tap_ok(h_do(&h) == 0 && h.cpl.result[2] == 4 && h.cpl.result[0] == 4 * ENTRY,
	       "a list of four places becomes four entries");
	budget(6);
	list(&s, 10, 3);
	tap_ok(h_do(&h) == KVSINK_CODE_BUDGET && h.cpl.address == 2 * ENTRY && !has(10),
	       "three places where two fit: refused as a whole, with what is left");
	list(&s, 10, 3)->flags = KVSINK_PROMOTE_PARTIAL;
	tap_ok(h_do(&h) == 0 && h.cpl.result[2] == 2 && h.cpl.result[3] == KVSINK_CODE_BUDGET && has(10) &&
		       has(11) && !has(12),
	       "with PARTIAL two of them are granted, the code says what ended it");
	list(&s, 3, 2);
	tap_ok(h_do(&h) == KVSINK_CODE_EXISTS && !has(4),
	       "a list that overlaps an entry: EXISTS, nothing granted");
	budget(40);
	list(&s, 20, 2);
	h.items[1].place.token = 20;
	tap_ok(h_do(&h) == KVSINK_CODE_EXISTS && !has(20), "a list that overlaps itself: EXISTS");
	list(&s, 20, 2);
	h.items[1].place.head_mask = 4;
	tap_ok(h_do(&h) == KVSINK_CODE_BAD_FIELD &&
		       h.cpl.address == sizeof(struct kvsink_cmd) + sizeof(union kvsink_item) +
						offsetof(struct kvsink_place_item, head_mask) &&
		       !has(20),
	       "a bad place later in the list: nothing granted, the address names the item's field");
	list(&s, 20, 0);
	tap_ok(h_do(&h) == KVSINK_CODE_BAD_FIELD, "an empty list is refused");
	h_close(&h);
}

static void refusal(void)
{
	open_with(40);
	budget(2);
	hold(0, 100);
	hold(1, 100);
	tap_ok(hold(2, 100) == KVSINK_CODE_BUDGET && has(0) && has(1),
	       "contracts in force: refusal, not oversubscription");
	list(&s, 2, 1)->promote.priority = 200;
	tap_ok(h_do(&h) == KVSINK_CODE_BUDGET && has(0) && has(1), "no priority displaces a contract");
	tap_ok(h_counter(&h, KVSINK_COUNTER_REFUSALS) == 2 && h_counter(&h, KVSINK_COUNTER_DISPLACED) == 0,
	       "both were counted as refusals, none as displaced");
	h_evict(&h, &s, 0);
	tap_ok(!has(0) && hold(2, 5) == 0, "its owner may end a contract by EVICT");
	h_close(&h);
}

static void order(void)
{
	uint32_t detail;

	open_with(40);
	budget(4);
	list(&s, 0, 1)->promote.priority = 3;
	h_do(&h);
	list(&s, 1, 1)->promote.priority = 1;
	h_do(&h);
	list(&s, 2, 1)->promote.priority = 1;
	h_do(&h);
	list(&s, 3, 1)->promote.priority = 2;
	h_do(&h);
	tap_ok(hold(10, 9) == 0 && !has(1) && has(2),
	       "the lowest priority gives way first, the older of two equal ones");
	tap_ok(hold(11, 9) == 0 && !has(2) && has(3), "then the younger");
	tap_ok(hold(12, 9) == 0 && !has(3) && has(0), "then the next priority");
	list(&s, 20, 2)->promote.dwell_steps = 9;
	tap_ok(h_do(&h) == KVSINK_CODE_BUDGET && has(0), "when it does not suffice, nobody gives way");
	tap_ok(events(KVSINK_EVENT_EVICTED, KVSINK_REASON_DISPLACED, &detail) == 3 && detail == ENTRY &&
		       h_counter(&h, KVSINK_COUNTER_DISPLACED) == 3,
	       "each has an event with the reason");
	list(&s, 21, 1)->promote.priority = 3;
	tap_ok(h_do(&h) == KVSINK_CODE_BUDGET && has(0),
	       "without a contract an equal priority displaces nobody");
	list(&s, 21, 1)->promote.priority = 4;
	tap_ok(h_do(&h) == 0 && !has(0), "a higher one does");
	h_close(&h);
}

static void expiry(void)
{
	open_with(40);
	steps(0);
	budget(1);
	h.host_ns = 1000;
	hold(0, 3);
	steps(2);
	tap_ok(in_force(0) && hold(1, 3) == KVSINK_CODE_BUDGET, "a dwell of three steps holds after two");
	tap_ok(kvsink_mmio_read(h.chip, KVSINK_REG_CONTRACTS) == 1, "register CONTRACTS counts it");
	steps(1);
	tap_ok(has(0) && !in_force(0) && kvsink_mmio_read(h.chip, KVSINK_REG_CONTRACTS) == 0,
	       "after three it is over, and nothing happens by itself");
	tap_ok(hold(1, 0) == KVSINK_CODE_BUDGET && has(0),
	       "a grant without a contract still displaces nobody");
	tap_ok(hold(1, 3) == 0 && !has(0), "one with a contract does");

	contract_cmd(1)->contract.deadline_ns = 5000;
	tap_ok(h_do(&h) == 0 && h.cpl.result[0] == 1, "CONTRACT sets a deadline of an entry");
	h.host_ns = 4999;
	tap_ok(hold(2, 1) == KVSINK_CODE_BUDGET, "it holds 1 ns before");
	h.host_ns = 5000;
	tap_ok(hold(2, 1) == 0 && !has(1), "and is over at the deadline");
	contract_cmd(2);
	tap_ok(h_do(&h) == 0 && !in_force(2), "CONTRACT without terms ends a contract");
	contract_cmd(30);
	tap_ok(h_do(&h) == KVSINK_CODE_NOT_RESIDENT, "CONTRACT of what is not there: NOT_RESIDENT");
	h_close(&h);
}

static uint32_t deadline(uint64_t ns)
{
	list(&s, 0, 1)->promote.deadline_ns = ns;
	return h_do(&h);
}

static void leases(void)
{
	struct kvsink_tag_rec rec;

	open_with(40);
	h.host_ns = 7000;
	tap_ok(deadline(6999) == KVSINK_CODE_LEASE && h.cpl.address == 7000 && !has(0),
	       "a deadline in the past is refused, the address is host time");
	tap_ok(deadline(7000) == KVSINK_CODE_LEASE, "so is one that is now");
	tap_ok(deadline(7001 + LEASE) == KVSINK_CODE_LEASE, "so is one beyond MAX_LEASE");
	tap_ok(deadline(7000 + LEASE) == 0, "MAX_LEASE itself is granted");
	tap_ok(hold(1, 4) == 0 && h_entry(&h, &s, 1, &rec) && rec.deadline_ns == 7000 + LEASE &&
		       rec.dwell_steps == 4,
	       "a dwell without a deadline gets MAX_LEASE");
	list(&s, 2, 1)->promote.priority = KVSINK_MAX_PRIORITY + 1;
	tap_ok(h_do(&h) == KVSINK_CODE_BAD_FIELD && !has(2), "a priority above 255 is refused");
	h.host_ns = 100;
	tap_ok(deadline(7000) != 0, "host time does not go back");
	h_close(&h);
}

static void breaking(void)
{
	uint32_t detail = 0;

	open_with(40);
	hold(0, 100);
	hold(1, 0);
	h_barrier(&h, &s);
	h_queries(&h, 1, 64);
	kvsink_inject(h.chip, KVSINK_INJECT_ECC, 2);
	h_attend_cmd(&h, &s, 0, 39, 1);
	tap_ok(h_do(&h) == 0 && !has(0) && has(1),
	       "an uncorrectable error takes the first entry of the layer");
	tap_ok(events(KVSINK_EVENT_CONTRACT_BROKEN, KVSINK_REASON_ECC, &detail) == 1 && detail == 1,
	       "its contract was in force: an event says so");
	h_attend_cmd(&h, &s, 0, 39, 1);
	h_do(&h);
	tap_ok(!has(1) && events(KVSINK_EVENT_CONTRACT_BROKEN, KVSINK_REASON_ECC, NULL) == 1 &&
		       events(KVSINK_EVENT_ECC_ERROR, KVSINK_REASON_ECC, NULL) == 2,
	       "an entry without one is lost without that event");
	hold(2, 100);
	hold(3, 100);
	hold(4, 0);
	kvsink_reset(h.chip, KVSINK_RESET_ENGINE);
	h_start(&h);
	tap_ok(events(KVSINK_EVENT_CONTRACT_BROKEN, KVSINK_REASON_RESET, &detail) == 1 && detail == 2,
	       "a reset breaks two: one event of the stream, with how many");
	tap_ok(h_counter(&h, KVSINK_COUNTER_CONTRACTS_BROKEN) == 3, "the ledger counts all three");
	h_close(&h);
}

static uint64_t sram_read(void)
{
	uint64_t before = h_counter(&h, KVSINK_COUNTER_KV_SRAM_READ);

	h_attend_cmd(&h, &s, 0, 45, 1);
	h_do(&h);
	return h_counter(&h, KVSINK_COUNTER_KV_SRAM_READ) - before;
}

/* A tail is hit when no entry is: its lease is a contract like any other. */
static void tail_struck(void)
{
	uint32_t detail = 0;
	float want[64], got[64], worst = 0;

	open_with(40);
	steps(0);
	h_queries(&h, 1, 64);
	h_config(&h, s.id, KVSINK_PARAM_TAIL_TOKENS, 4);
	kvsink_inject(h.chip, KVSINK_INJECT_ECC, 1);
	h_attend_cmd(&h, &s, 0, 39, 1);
	tap_ok(h_do(&h) == 0 && h_counter(&h, KVSINK_COUNTER_ECC_ERRORS) == 0,
	       "a tail without rows is not hit");
	kvsink_inject(h.chip, KVSINK_INJECT_ECC, 0);
	steps(6);
	tap_ok(sram_read(), "rows come from the tail");
	h_get(&h, H_OUT, want, sizeof(want));
	kvsink_inject(h.chip, KVSINK_INJECT_ECC, 1);
	tap_ok(!sram_read() && h_counter(&h, KVSINK_COUNTER_ECC_ERRORS) == 1,
	       "an uncorrectable error takes a tail: its rows come from HBM");
	h_get(&h, H_OUT, got, sizeof(got));
	for (unsigned i = 0; i < 64; i++)
		worst = fmaxf(worst, fabsf(got[i] - want[i]));
	tap_ok(worst < 1e-5f, "and are the same up to rounding");
	tap_ok(events(KVSINK_EVENT_ECC_ERROR, KVSINK_REASON_ECC, &detail) == 1 && detail == 4 * 2 * 128,
	       "an event tells of the error, with the tail's bytes");
	tap_ok(events(KVSINK_EVENT_CONTRACT_BROKEN, KVSINK_REASON_ECC, &detail) == 1 && detail == 1,
	       "its lease was in force: an event says so");
	h.host_ns += 2 * LEASE;
	kvsink_inject(h.chip, KVSINK_INJECT_ECC, 1);
	h_attend_cmd(&h, &s, 1, 45, 1);
	tap_ok(h_do(&h) == 0 && h_counter(&h, KVSINK_COUNTER_ECC_ERRORS) == 2 &&
		       events(KVSINK_EVENT_CONTRACT_BROKEN, KVSINK_REASON_ECC, NULL) == 1,
	       "one whose lease is over is lost without that event");
	tap_ok(kvsink_mmio_read(h.chip, KVSINK_REG_SRAM_USED) == 0, "their SRAM is free");
	h_close(&h);
}

/* Rows that an item in flight reads stay as they are: the error comes with the next ATTEND. */
static void no_strike_in_flight(void)
{
	struct kvsink_item_work *work;

	open_with(40);
	hold(0, 100);
	h_barrier(&h, &s);
	h_queries(&h, 1, 64);
	h_attend_cmd(&h, &s, 1, 39, 1);
	h_submit(&h, 1);
	work = kvsink_run(h.chip, 1);
	kvsink_inject(h.chip, KVSINK_INJECT_ECC, 1);
	h_attend_cmd(&h, &s, 0, 39, 1);
	tap_ok(work && h_do(&h) == 0 && has(0), "no error strikes rows that an item in flight reads");
	kvsink_exec(work, 0, 1);
	kvsink_retire(h.chip, work);
	h_attend_cmd(&h, &s, 0, 39, 1);
	tap_ok(h_do(&h) == 0 && !has(0), "when it has retired, one does");
	h_close(&h);
}

static void made(void)
{
	open_with(40);
	list(&s, 0, 3)->promote.dwell_steps = 5;
	h_do(&h);
	list(&s, 5, 2);
	h_do(&h);
	tap_ok(h_counter(&h, KVSINK_COUNTER_CONTRACTS_MADE) == 3,
	       "CONTRACTS_MADE counts one an entry, and none without terms");
	contract_cmd(5)->contract.dwell_steps = 9;
	h_do(&h);
	contract_cmd(0)->contract.dwell_steps = 9;
	h_do(&h);
	tap_ok(h_counter(&h, KVSINK_COUNTER_CONTRACTS_MADE) == 5, "made later or renewed, it counts");
	contract_cmd(0);
	h_do(&h);
	tap_ok(h_counter(&h, KVSINK_COUNTER_CONTRACTS_MADE) == 5, "the end of one does not");
	h_close(&h);
}

/* Two tenants, a cap; then one account for both. */
static void accounts(void)
{
	struct h_stream t;

	open_with(40);
	t = h_geometry(2);
	t.tenant = H_TENANT + 1;
	h_stream(&h, &t);
	h_fill(&h, &t, 0, 10);
	h_config(&h, 0, KVSINK_PARAM_TENANT_CAP, 3 * ENTRY);
	list(&s, 0, 3);
	tap_ok(h_do(&h) == 0, "a tenant may hold what its cap says");
	list(&s, 5, 1);
	tap_ok(h_do(&h) == KVSINK_CODE_TENANT_CAP && h.cpl.address == 0, "not more");
	h.tenant = t.tenant;
	list(&t, 0, 3);
	tap_ok(h_do(&h) == 0, "the other tenant has a cap of its own");
	h.tenant = H_TENANT;
	list(&s, 5, 1)->promote.dwell_steps = 5;
	tap_ok(h_do(&h) == 0 && !has(0),
	       "for lack of its cap, a contract displaces entries of its own account only");
	h.desc.flags = KVSINK_JOB_PRIVILEGED;
	tap_ok(h_config(&h, t.id, KVSINK_PARAM_TENANT_TAG, H_TENANT) == 0,
	       "an administrator makes it one account");
	h_evict(&h, &s, 1);
	list(&s, 1, 1);
	tap_ok(h_do(&h) == KVSINK_CODE_TENANT_CAP, "then both count against one cap");
	h_cmd(&h, KVSINK_OP_STREAM_DESTROY)->stream_destroy.stream = t.id;
	h_priv(&h);
	list(&s, 1, 1);
	tap_ok(h_do(&h) == 0, "what a stream held is free when it ends");
	h_close(&h);
}

/* Contracts of other tenants, and soft entries of theirs. */
static void tenants(void)
{
	struct h_stream t;

	open_with(40);
	t = h_geometry(2);
	t.tenant = H_TENANT + 1;
	h_stream(&h, &t);
	h_fill(&h, &t, 0, 10);
	h_config(&h, 0, KVSINK_PARAM_SRAM_BUDGET, 4 * ENTRY);
	h.tenant = t.tenant;
	list(&t, 0, 2);
	h_do(&h);
	list(&t, 5, 2)->promote.dwell_steps = 50;
	h_do(&h);
	h.tenant = H_TENANT;
	list(&s, 0, 1)->promote.priority = 9;
	tap_ok(h_do(&h) == KVSINK_CODE_BUDGET, "a priority displaces nothing of another tenant");
	list(&s, 0, 2)->promote.dwell_steps = 5;
	tap_ok(h_do(&h) == 0 && has(0) && has(1),
	       "a contract displaces soft entries of another, for lack of the device's SRAM");
	list(&s, 2, 1)->promote.dwell_steps = 5;
	tap_ok(h_do(&h) == KVSINK_CODE_BUDGET, "never its contracts");
	h_close(&h);
}

int main(void)
{
	lists();
	refusal();
	order();
	expiry();
	leases();
	breaking();
	tail_struck();
	no_strike_in_flight();
	made();
	accounts();
	tenants();
	return tap_done();
}
