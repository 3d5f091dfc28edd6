// SPDX-License-Identifier: MIT
/*
 * Operations under a query in flight: an ATTEND is staged on ring 1 and stays there while everything else
 * goes on, until some command has to wait for it, a reset drops it, or the operation is over. What it says in
 * the end must be what it said when nothing was in its way.
 */
#include "lockstep.h"

#define RING 1
#define ALONE (H_OUT + 0x10000u)
#define FLOWN (H_OUT + 0x14000u)
#define OUT_BYTES (4u * REF_WIDTH * 4u)

static struct {
	struct kvsink_item_work *work; /* NULL = none is in flight */
	uint64_t stream;
	uint32_t index; /* of its job */
} flight;

static void query(unsigned s, uint32_t layer, uint32_t token, uint32_t out)
{
	struct kvsink_cmd *cmd = h_attend_cmd(&both.h, &both.streams[s], layer, token, 1);

	cmd->attend.mode = KVSINK_ATTEND_CANONICAL;
	cmd->attend.out = h_gart(out);
	both.h.tenant = both.streams[s].tenant;
	both.h.host_ns = both.ref.now;
}

void lockstep_take_off(void)
{
	unsigned s = lockstep_some_holder();
	const struct ref_stream *st = &both.ref.stream[s];
	uint32_t layer = below(REF_LAYERS), token;

	if (!st->length || st->swapped || lockstep_ecc_pending())
		return;
	token = below(st->length);
	query(s, layer, token, ALONE);
	SAME(h_do(&both.h), KVSINK_CODE_OK, "ATTEND alone");
	query(s, layer, token, FLOWN);
	flight.stream = st->id;
	flight.index = h_submit(&both.h, RING);
	flight.work = kvsink_run(both.h.chip, RING);
	if (!flight.work)
		lockstep_differ("an ATTEND that stages nothing");
	totals.flown++;
}

static void retire(void)
{
	struct kvsink_item_work *work = flight.work;

	flight.work = NULL;
	kvsink_exec(work, 0, 1);
	kvsink_retire(both.h.chip, work);
}

void lockstep_land(void)
{
	uint8_t alone[OUT_BYTES], flown[OUT_BYTES];

	if (!flight.work)
		return;
	retire();
	h_run(&both.h);
	SAME(h_completion(&both.h, RING, flight.index).code, KVSINK_CODE_OK, "ATTEND in flight");
	h_get(&both.h, ALONE, alone, sizeof(alone));
	h_get(&both.h, FLOWN, flown, sizeof(flown));
	if (memcmp(alone, flown, sizeof(alone)))
		lockstep_differ("rows of a query in flight were changed");
}

void lockstep_crash(void)
{
	if (flight.work)
		retire();
}

static bool ended(void)
{
	return kvsink_mmio_read(both.h.chip, KVSINK_RING_BASE + KVSINK_RING_HEAD) == both.h.published[0];
}

uint32_t lockstep_do(void)
{
	uint32_t index;

	if (!flight.work)
		return h_do(&both.h);
	index = h_submit(&both.h, 0);
	h_run(&both.h);
	if (!ended()) {
		totals.waited++;
		lockstep_land();
	}
	if (!ended())
		lockstep_differ("a command that does not end");
	both.h.cpl = h_completion(&both.h, 0, index);
	return both.h.cpl.code;
}

/* The end of the stream that the query reads, which a reset then overtakes. */
void lockstep_overtaken(void)
{
	if (!flight.work)
		return;
	h_cmd(&both.h, KVSINK_OP_STREAM_DESTROY)->stream_destroy.stream = flight.stream;
	both.h.desc.flags = KVSINK_JOB_PRIVILEGED;
	h_submit(&both.h, 0);
	h_run(&both.h);
	if (ended())
		lockstep_differ("a stream ended under a query");
	totals.overtaken++;
}
