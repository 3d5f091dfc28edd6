/* SPDX-License-Identifier: MIT */
/*
 * The log of events, numbered as they come; QUERY reads it.
 *
 * Any tenant can make as many events as it likes, so those that tell of a broken promise have a ring of their
 * own, which nothing else fills: one for each stream at once (a reset) and KVSINK_EVENT_SLOTS more. An event
 * that gives way to a younger one is counted, and its tenant is remembered: a reader who asks for it is told
 * (event LOST). Tenants share the places for that, so one may be told of another's loss, but none misses its
 * own.
 */
#include <stdlib.h>
#include <string.h>

#include "chip.h"

int kvsink_events_init(struct kvsink_chip *chip)
{
	chip->event_log[0].slots = KVSINK_EVENT_SLOTS;
	chip->event_log[1].slots = KVSINK_EVENT_SLOTS + chip->config.streams;
	for (unsigned i = 0; i < KVSINK_EVENT_LOGS; i++) {
		struct kvsink_event_log *log = &chip->event_log[i];

		log->slot = calloc(log->slots, sizeof(*log->slot));
		if (!log->slot)
			return -1;
	}
	return 0;
}

void kvsink_events_fini(struct kvsink_chip *chip)
{
	for (unsigned i = 0; i < KVSINK_EVENT_LOGS; i++)
		free(chip->event_log[i].slot);
}

void kvsink_events_reset(struct kvsink_chip *chip)
{
	for (unsigned i = 0; i < KVSINK_EVENT_LOGS; i++)
		chip->event_log[i].total = 0;
	memset(chip->event_loss, 0, sizeof(chip->event_loss));
	chip->event_next = 0;
}

/* ---- writing ---- */

/* Does it tell of a promise that was not kept? */
static bool breaks_promise(uint32_t code)
{
	return code == KVSINK_EVENT_CONTRACT_BROKEN || code == KVSINK_EVENT_ECC_ERROR ||
	       code == KVSINK_EVENT_ENGINE_RESET;
}

static void lose(struct kvsink_chip *chip, const struct kvsink_logged_event *event)
{
	const struct kvsink_event_rec *rec = &event->rec;
	bool everyones = rec->code == KVSINK_EVENT_ENGINE_RESET;

	kvsink_ledger_add(chip, kvsink_stream_find(chip, rec->stream), KVSINK_COUNTER_EVENTS_LOST, 1);
	for (uint32_t i = 0; i < KVSINK_EVENT_LOSSES; i++) {
		struct kvsink_event_loss *loss = &chip->event_loss[i];

		if (!everyones && i != rec->tenant % KVSINK_EVENT_LOSSES)
			continue;
		loss->behind = event->number + 1;
		loss->modelled_ns = rec->modelled_ns;
		loss->count++;
	}
}

static struct kvsink_event_rec *next_slot(struct kvsink_chip *chip, enum kvsink_event_code code)
{
	struct kvsink_event_log *log = &chip->event_log[breaks_promise(code)];
	struct kvsink_logged_event *slot = &log->slot[log->total % log->slots];

	if (log->total++ >= log->slots)
		lose(chip, slot);
	slot->number = chip->event_next++;
	return &slot->rec;
}

static struct kvsink_event_rec *add(struct kvsink_chip *chip, enum kvsink_event_code code,
				    const struct kvsink_stream *stream, uint32_t tenant, uint32_t token,
				    uint32_t detail)
{
	struct kvsink_event_rec *rec = next_slot(chip, code);

	*rec = (struct kvsink_event_rec){
		.modelled_ns = chip->now_ps / KVSINK_PS_PER_NS,
		.stream = stream ? stream->id : 0,
		.code = code,
		.tenant = tenant,
		.token = token,
		.detail = detail,
	};
	return rec;
}

void kvsink_event(struct kvsink_chip *chip, enum kvsink_event_code code, const struct kvsink_stream *stream,
		  uint32_t tenant, uint32_t token, uint32_t detail)
{
	add(chip, code, stream, tenant, token, detail);
}

void kvsink_event_rows(struct kvsink_chip *chip, enum kvsink_event_code code,
		       const struct kvsink_stream *stream, const struct kvsink_place_item *rows,
		       uint32_t detail, enum kvsink_reason reason)
{
	struct kvsink_event_rec *rec = add(chip, code, stream, stream->tenant, rows->token, detail);

	rec->layer_begin = rows->layer_begin;
	rec->layer_end = rows->layer_end;
	rec->reason = reason;
}

/* ---- reading ---- */

uint64_t kvsink_event_number(const struct kvsink_chip *chip, uint32_t first)
{
	uint32_t back = (uint32_t)chip->event_next - first;

	return back < chip->event_next ? chip->event_next - back : 0;
}

void kvsink_event_seek(const struct kvsink_chip *chip, struct kvsink_event_walk *walk, uint64_t number)
{
	for (unsigned i = 0; i < KVSINK_EVENT_LOGS; i++) {
		const struct kvsink_event_log *log = &chip->event_log[i];
		uint64_t at = log->total < log->slots ? 0 : log->total - log->slots;

		while (at < log->total && log->slot[at % log->slots].number < number)
			at++;
		walk->at[i] = at;
	}
}

const struct kvsink_logged_event *kvsink_event_step(const struct kvsink_chip *chip,
						    struct kvsink_event_walk *walk)
{
	const struct kvsink_logged_event *first = NULL;
	unsigned from = 0;

	for (unsigned i = 0; i < KVSINK_EVENT_LOGS; i++) {
		const struct kvsink_event_log *log = &chip->event_log[i];
		const struct kvsink_logged_event *event = &log->slot[walk->at[i] % log->slots];

		if (walk->at[i] == log->total || (first && first->number < event->number))
			continue;
		first = event;
		from = i;
	}
	walk->at[from] += first != NULL;
	return first;
}

bool kvsink_event_lost(const struct kvsink_chip *chip, const uint32_t *tenant, uint64_t number,
		       struct kvsink_event_rec *rec)
{
	struct kvsink_event_loss sum = {0};

	for (uint32_t i = 0; i < KVSINK_EVENT_LOSSES; i++) {
		const struct kvsink_event_loss *loss = &chip->event_loss[i];

		if (loss->behind <= number || (tenant && i != *tenant % KVSINK_EVENT_LOSSES))
			continue;
		if (loss->behind > sum.behind) {
			sum.behind = loss->behind;
			sum.modelled_ns = loss->modelled_ns;
		}
		sum.count += loss->count;
	}
	*rec = (struct kvsink_event_rec){
		.modelled_ns = sum.modelled_ns,
		.code = KVSINK_EVENT_LOST,
		.tenant = tenant ? *tenant : 0,
		.detail = sum.count,
	};
	return sum.count;
}
