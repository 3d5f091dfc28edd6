/* SPDX-License-Identifier: MIT */
/*
 * Command processor: fetches job descriptors, executes their commands through the opcode table, writes
 * completion records.
 *
 * A descriptor, its commands and its items are copied in once and never read again. The first failing
 * command ends its job with a completion; the ring goes on with the next job. Only a fault in fetching
 * or completing halts the ring, until a reset. A call of kvsink_run() does at most what was published,
 * and at most a quantum of work.
 */
#include <string.h>

#include "record.h"

struct op_desc {
	kvsink_handler *handler;
	uint16_t flags;	  /* that the command knows */
	uint16_t payload; /* bytes of its struct; what lies behind must be 0 */
	bool privileged;  /* needs KVSINK_JOB_PRIVILEGED */
	bool mutates;	  /* changes or frees rows: waits for items that read the stream */
	bool stages;	  /* leaves an item of arithmetic behind */
	bool open;	  /* its stream may not be a prefix: that does not change */
	bool settled;	  /* of a stream without an open replay window */
};

#define OP(name, kind, ...)                                                                                  \
	[KVSINK_OP_##name] = {.handler = kvsink_cmd_##kind,                                                  \
			      .payload = sizeof(((struct kvsink_cmd *)0)->kind),                             \
			      __VA_ARGS__}

static const struct op_desc ops[KVSINK_OP_COUNT] = {
	OP(STREAM_CREATE, stream_create, .privileged = true),
	OP(STREAM_DESTROY, stream_destroy, .privileged = true, .mutates = true),
	OP(PAGE_MAP, page_map, .privileged = true, .open = true),
	OP(GART_INVALIDATE, gart_invalidate, .privileged = true),
	OP(CONFIG, config, .mutates = true, .settled = true),
	OP(QUERY, query),
	OP(APPEND, append, .mutates = true, .open = true),
	OP(COPY, copy),
	OP(FILL, fill, .privileged = true),
	OP(SCORE, score, .mutates = true, .stages = true, .open = true, .settled = true),
	OP(CLASSIFY, classify, .mutates = true, .settled = true),
	OP(PROMOTE, promote, .flags = KVSINK_PROMOTE_PARTIAL, .settled = true),
	OP(EVICT, evict, .flags = KVSINK_EVICT_ANY, .mutates = true, .settled = true),
	OP(BARRIER, barrier),
	OP(ATTEND, attend, .stages = true),
	OP(STEP_END, step_end, .flags = KVSINK_STEP_ABORT, .mutates = true, .open = true, .settled = true),
	OP(ADVANCE, advance),
	OP(CONTRACT, contract, .settled = true),
	OP(SCORE_IMPORT, score_import, .mutates = true, .open = true, .settled = true),
	OP(LAYER_HEADS, layer_heads, .mutates = true, .open = true, .settled = true),
	OP(SEAL, seal, .mutates = true, .open = true, .settled = true),
	OP(SWAP_OUT, swap_out, .mutates = true, .open = true, .settled = true),
	OP(SWAP_PLACE, swap_place, .flags = KVSINK_PLACE_NONE, .privileged = true),
	OP(SWAP_IN, swap_in),
	OP(PREFIX_PUBLISH, prefix_publish, .privileged = true, .mutates = true, .open = true,
	   .settled = true),
	OP(PREFIX_ATTACH, prefix_attach, .privileged = true, .mutates = true, .open = true, .settled = true),
	OP(PREFIX_DETACH, prefix_detach, .privileged = true, .mutates = true, .open = true, .settled = true),
	OP(WINDOW_BEGIN, window_begin, .privileged = true, .mutates = true, .open = true, .settled = true),
	OP(WINDOW_COMMIT, window_commit, .mutates = true),
};

_Static_assert(sizeof(struct kvsink_job_desc) == 64, "a slot is 64 bytes");
_Static_assert(sizeof(struct kvsink_completion) == 64, "a record is 64 bytes");
_Static_assert(sizeof(struct kvsink_cmd) == 128, "a command is 128 bytes");
_Static_assert(sizeof(union kvsink_item) == 32, "an item is 32 bytes");

uint32_t kvsink_fault(struct kvsink_ring *ring, uint32_t code, uint64_t address)
{
	ring->fault_address = address;
	return code;
}

bool kvsink_privileged(const struct kvsink_ring *ring)
{
	return ring->desc.flags & KVSINK_JOB_PRIVILEGED;
}

static bool items_in_flight(const struct kvsink_chip *chip)
{
	for (unsigned i = 0; i < chip->config.rings; i++)
		if (chip->ring[i].work.busy && chip->ring[i].work.epoch == chip->epoch)
			return true;
	return false;
}

/* A COPY or FILL of another ring that has begun and will go on. */
static bool moves_half_done(const struct kvsink_ring *ring)
{
	const struct kvsink_chip *chip = ring->chip;

	for (unsigned i = 0; i < chip->config.rings; i++)
		if (chip->ring[i].progress && !chip->ring[i].halted && &chip->ring[i] != ring)
			return true;
	return false;
}

bool kvsink_wait_for(struct kvsink_ring *ring, enum kvsink_wait what)
{
	if (!items_in_flight(ring->chip) && (what != KVSINK_WAIT_ALL || !moves_half_done(ring)))
		return false;
	ring->waits = what;
	return true;
}

bool kvsink_another_waits(const struct kvsink_ring *ring, enum kvsink_wait what)
{
	const struct kvsink_chip *chip = ring->chip;

	for (unsigned i = 0; i < chip->config.rings; i++)
		if (chip->ring[i].waits >= what && &chip->ring[i] != ring)
			return true;
	return false;
}

void kvsink_rings_wake(struct kvsink_chip *chip)
{
	for (unsigned i = 0; i < chip->config.rings; i++)
		chip->ring[i].stalled = false;
}

/* The command is done, or will never be. */
static void wait_end(struct kvsink_ring *ring)
{
	if (!ring->waits && !ring->progress)
		return;
	ring->waits = KVSINK_WAIT_NONE;
	ring->progress = 0;
	kvsink_rings_wake(ring->chip);
}

void kvsink_ring_stop(struct kvsink_ring *ring)
{
	ring->halted = true;
	wait_end(ring);
}

uint32_t kvsink_check_items(struct kvsink_ring *ring, uint32_t first, uint64_t count, uint64_t field)
{
	if (first > ring->desc.item_count || count > ring->desc.item_count - first)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, field);
	return KVSINK_CODE_OK;
}

/* An item that the host still has keeps the ring's staging buffers: the ring rests until it is retired. */
void kvsink_ring_reset(struct kvsink_ring *ring, enum kvsink_reset_kind kind)
{
	if (kind == KVSINK_RESET_COLD) {
		ring->jobs = 0;
		ring->cpls = 0;
	}
	ring->doorbell = 0;
	ring->head = 0;
	ring->halted = false;
	ring->hung = false;
	ring->lost = false;
	ring->active = false;
	ring->stalled = false;
	ring->waits = KVSINK_WAIT_NONE;
	ring->progress = 0;
	ring->stream = NULL;
}

static void ring_halt(struct kvsink_ring *ring, const char *what, uint64_t bus)
{
	kvsink_log(ring->chip, "ring %u: bus refused %s at 0x%llx; ring halted", ring->index, what,
		   (unsigned long long)bus);
	kvsink_ring_stop(ring);
	ring->active = false;
	kvsink_error_latch(ring, KVSINK_CODE_DMA_ERROR, ring->next_cmd, bus);
}

static uint64_t slot_of(const struct kvsink_ring *ring, uint64_t base)
{
	return base + (uint64_t)(ring->head & (ring->chip->config.ring_slots - 1)) * 64;
}

static bool ring_read(struct kvsink_ring *ring, const char *what, uint64_t bus, void *buf, size_t bytes)
{
	struct kvsink_chip *chip = ring->chip;

	if (!bytes || !chip->ops.dma_read(chip->opaque, bus, buf, (uint32_t)bytes))
		return true;
	ring_halt(ring, what, bus);
	return false;
}

static uint32_t check_desc(struct kvsink_ring *ring)
{
	const struct kvsink_job_desc *desc = &ring->desc;
	uint32_t generation = ring->chip->reg[KVSINK_REG_GENERATION / 4];

	if (desc->cmd_count > KVSINK_MAX_CMDS)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, offsetof(struct kvsink_job_desc, cmd_count));
	if (desc->item_count > KVSINK_MAX_ITEMS)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD,
				    offsetof(struct kvsink_job_desc, item_count));
	if (desc->flags & ~KVSINK_JOB_PRIVILEGED)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, offsetof(struct kvsink_job_desc, flags));
	if (desc->reserved)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, offsetof(struct kvsink_job_desc, reserved));
	if (desc->generation && desc->generation != generation)
		return kvsink_fault(ring, KVSINK_CODE_STALE, generation);
	return KVSINK_CODE_OK;
}

/* Write the completion, then HEAD, then the interrupt. */
static void ring_complete(struct kvsink_ring *ring, uint32_t code)
{
	struct kvsink_chip *chip = ring->chip;
	uint64_t bus = slot_of(ring, ring->cpls);
	struct kvsink_completion cpl = {
		.seqno = ring->desc.seqno,
		.code = code,
		.cmd = ring->next_cmd,
		.address = code ? ring->fault_address : 0,
		.begin_ns = ring->begin_ps / KVSINK_PS_PER_NS,
		.end_ns = chip->now_ps / KVSINK_PS_PER_NS,
	};

	if (ring->lost) {
		ring->hung = true;
		return;
	}
	memcpy(cpl.result, ring->result, sizeof(cpl.result));
	kvsink_ledger_add(chip, NULL, KVSINK_COUNTER_JOBS, 1);
	if (code) {
		kvsink_ledger_add(chip, NULL, KVSINK_COUNTER_JOB_ERRORS, 1);
		kvsink_event(chip, KVSINK_EVENT_JOB_FAILED, NULL, ring->desc.tenant, 0, code);
		kvsink_error_latch(ring, code, ring->next_cmd, ring->fault_address);
	}
	if (chip->ops.dma_write(chip->opaque, bus, &cpl, sizeof(cpl))) {
		ring_halt(ring, "the completion record", bus);
		return;
	}
	ring->active = false;
	ring->head++;
	kvsink_irq_raise(chip, 1u << ring->index);
}

/* Which fault, if any, this job has. */
static void take_fault(struct kvsink_ring *ring)
{
	struct kvsink_chip *chip = ring->chip;

	if (kvsink_take_injected(chip, KVSINK_INJECT_SKIP))
		return;
	ring->hung = kvsink_take_injected(chip, KVSINK_INJECT_HANG);
	ring->lost = !ring->hung && kvsink_take_injected(chip, KVSINK_INJECT_LOST);
}

/* Copy the next job in. False when there is nothing to execute: it failed, hangs, or the ring halted. */
static bool ring_fetch(struct kvsink_ring *ring)
{
	struct kvsink_chip *chip = ring->chip;
	struct kvsink_job_desc *desc = &ring->desc;
	uint32_t code;

	ring->next_cmd = 0;
	if (!ring_read(ring, "a job descriptor", slot_of(ring, ring->jobs), desc, sizeof(*desc)))
		return false;
	ring->active = true;
	ring->begin_ps = chip->now_ps;
	memset(ring->result, 0, sizeof(ring->result));
	take_fault(ring);
	if (ring->hung)
		return false;
	code = check_desc(ring);
	if (code) {
		ring_complete(ring, code);
		return false;
	}
	if (desc->host_ns > chip->host_ns)
		chip->host_ns = desc->host_ns;
	return ring_read(ring, "commands", desc->cmds, ring->cmd, desc->cmd_count * sizeof(ring->cmd[0])) &&
	       ring_read(ring, "items", desc->items, ring->item, desc->item_count * sizeof(ring->item[0]));
}

static uint32_t check_payload(struct kvsink_ring *ring, const struct kvsink_cmd *cmd,
			      const struct op_desc *op)
{
	const uint8_t *bytes = (const uint8_t *)cmd;

	if (cmd->flags & ~op->flags)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(flags));
	if (cmd->reserved)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(reserved));
	for (size_t i = KVSINK_FIELD(words) + op->payload; i < sizeof(*cmd); i++)
		if (bytes[i])
			return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, i);
	return KVSINK_CODE_OK;
}

/* Every command that changes a stream names it in its first word; NULL: its handler will say so. */
static const struct kvsink_stream *stream_of(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	return kvsink_stream_find(ring->chip, cmd->words[0]);
}

static bool stream_locked(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_stream *stream = stream_of(ring, cmd);

	return stream && stream->locks;
}

/* May the job know anything of it? */
static bool seen(const struct kvsink_ring *ring, const struct kvsink_stream *stream)
{
	return stream && (stream->tenant == ring->desc.tenant || kvsink_privileged(ring));
}

/* Of another tenant it is not even said that it is a prefix, or has an open replay window. */
static bool stream_closed(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_stream *stream = stream_of(ring, cmd);

	return seen(ring, stream) && stream->closed;
}

static bool in_window(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_stream *stream = stream_of(ring, cmd);

	return seen(ring, stream) && kvsink_window_open(stream);
}

static uint32_t execute(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct op_desc *op = &ops[cmd->opcode < KVSINK_OP_COUNT ? cmd->opcode : 0];
	uint32_t code;

	if (!op->handler)
		return kvsink_fault(ring, KVSINK_CODE_BAD_OPCODE, cmd->opcode);
	code = check_payload(ring, cmd, op);
	if (code)
		return code;
	if (op->privileged && !kvsink_privileged(ring))
		return kvsink_fault(ring, KVSINK_CODE_TENANT, 0);
	if (op->open && stream_closed(ring, cmd))
		return kvsink_fault(ring, KVSINK_CODE_CLOSED, cmd->words[0]);
	if (op->settled && in_window(ring, cmd))
		return kvsink_fault(ring, KVSINK_CODE_WINDOW, cmd->words[0]);
	if ((op->mutates && stream_locked(ring, cmd)) ||
	    (op->stages && kvsink_another_waits(ring, KVSINK_WAIT_ITEMS)))
		return KVSINK_STALL;
	return op->handler(ring, cmd);
}

void kvsink_ring_advance(struct kvsink_ring *ring, uint32_t code)
{
	wait_end(ring);
	kvsink_ledger_add(ring->chip, NULL, KVSINK_COUNTER_COMMANDS, 1);
	kvsink_clock_pass(ring, code);
	if (code)
		ring_complete(ring, code);
	else
		ring->next_cmd++;
}

static void command_begin(struct kvsink_ring *ring)
{
	ring->stream = NULL;
	ring->cost_ps = 0;
	ring->wait_ps = 0;
	ring->hbm_bytes = 0;
	ring->sram_bytes = 0;
	ring->looks = 0;
	ring->shared = false;
}

/* Execute one command. Returns the item that it staged, if any. */
static struct kvsink_item_work *ring_step(struct kvsink_ring *ring)
{
	const struct kvsink_cmd *cmd = &ring->cmd[ring->next_cmd];
	uint32_t code;

	if (ring->next_cmd == ring->desc.cmd_count) {
		ring_complete(ring, KVSINK_CODE_OK);
		return NULL;
	}
	command_begin(ring);
	code = execute(ring, cmd);
	if (code == KVSINK_STALL || code == KVSINK_MORE) {
		ring->stalled = code == KVSINK_STALL;
		return NULL;
	}
	if (!code && ops[cmd->opcode].stages) {
		ring->work.busy = true;
		return &ring->work;
	}
	kvsink_ring_advance(ring, code);
	return NULL;
}

static bool ring_ready(const struct kvsink_ring *ring)
{
	if (ring->halted || ring->hung || ring->stalled || ring->work.busy || !kvsink_enabled(ring->chip))
		return false;
	return ring->active || ring->doorbell != ring->head;
}

bool kvsink_pending(const struct kvsink_chip *chip)
{
	for (unsigned i = 0; i < chip->config.rings; i++)
		if (ring_ready(&chip->ring[i]))
			return true;
	return false;
}

struct kvsink_item_work *kvsink_run(struct kvsink_chip *chip, unsigned index)
{
	struct kvsink_ring *ring;
	struct kvsink_item_work *work;

	if (index >= chip->config.rings)
		return NULL;
	ring = &chip->ring[index];
	if (ring_ready(ring))
		kvsink_note(chip, KVSINK_RECORD_RUN, index);
	for (ring->spent = 0; ring_ready(ring) && ring->spent < KVSINK_QUANTUM;) {
		kvsink_spend(ring, KVSINK_STEP_COST);
		if (!ring->active && !ring_fetch(ring))
			continue;
		work = ring_step(ring);
		if (work)
			return work;
	}
	return NULL;
}
