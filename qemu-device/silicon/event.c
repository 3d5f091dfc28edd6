/* SPDX-License-Identifier: MIT */
/* The log of the last KVSINK_EVENT_SLOTS events, numbered modulo 2^32; QUERY reads it. */
#include "chip.h"

void kvsink_event(struct kvsink_chip *chip, enum kvsink_event_code code, const struct kvsink_stream *stream,
		  uint32_t tenant, uint32_t token, uint32_t detail)
{
	chip->events[chip->event_next++ % KVSINK_EVENT_SLOTS] = (struct kvsink_event_rec){
		.modelled_ns = chip->now_ps / KVSINK_PS_PER_NS,
		.stream = stream ? stream->id : 0,
		.code = code,
		.tenant = tenant,
		.token = token,
		.detail = detail,
	};
	chip->event_total++;
}

void kvsink_event_rows(struct kvsink_chip *chip, enum kvsink_event_code code,
		       const struct kvsink_stream *stream, const struct kvsink_place_item *rows,
		       uint32_t detail, enum kvsink_reason reason)
{
	struct kvsink_event_rec *event = &chip->events[chip->event_next % KVSINK_EVENT_SLOTS];

	kvsink_event(chip, code, stream, stream->tenant, rows->token, detail);
	event->layer_begin = rows->layer_begin;
	event->layer_end = rows->layer_end;
	event->reason = reason;
}
