// SPDX-License-Identifier: MIT
/* events: what the device has noted, with codes, details and reasons in words. */
#include "sinkctl.h"

#include <stdlib.h>
#include <string.h>

struct word {
	const char *name, *text;
};

static const struct word events[] = {
#define X(name, value, doc) [value] = {#name, doc},
	KVSINK_EVENTS(X)
#undef X
};

static const struct word reasons[] = {
#define X(name, value, doc) [value] = {#name, doc},
	KVSINK_REASONS(X)
#undef X
};

#define COUNT(table) (sizeof(table) / sizeof(*(table)))

/* The detail with its unit; "" if the event has none. */
static void detail_text(const struct kvsink_event_rec *event, char *text, size_t size)
{
	unsigned detail = event->detail;

	*text = 0;
	switch (event->code) {
	case KVSINK_EVENT_GRANTED:
	case KVSINK_EVENT_VALID:
	case KVSINK_EVENT_EVICTED:
	case KVSINK_EVENT_ECC_ERROR:
		snprintf(text, size, "%u bytes", detail);
		break;
	case KVSINK_EVENT_REFUSED:
	case KVSINK_EVENT_JOB_FAILED:
		snprintf(text, size, "%s, %.*s", kvs_code_name(detail),
			 (int)strcspn(kvs_code_text(detail), ";"), kvs_code_text(detail));
		break;
	case KVSINK_EVENT_ENGINE_RESET:
		snprintf(text, size, "generation %u", detail);
		break;
	case KVSINK_EVENT_CONTRACT_BROKEN:
		snprintf(text, size, "%u entries", detail);
		break;
	case KVSINK_EVENT_SINK:
	case KVSINK_EVENT_SINK_END:
		snprintf(text, size, "EMA %.6g", (double)sc_from_pattern(detail));
		break;
	case KVSINK_EVENT_LOST:
		snprintf(text, size, "%u so far", detail);
		break;
	case KVSINK_EVENT_COPY_LATE:
		snprintf(text, size, "%u ns too late (modelled)", detail);
		break;
	case KVSINK_EVENT_WINDOW_COMMITTED:
		snprintf(text, size, "%u of %u rows stay", detail & 0xffff, detail >> 16);
		break;
	}
}

/* "an entry was removed: 46080 bytes; a token of the same stream has a larger EMA" */
static void put_words(json_object *record, const struct kvsink_event_rec *event)
{
	const char *what = event->code < COUNT(events) ? events[event->code].text : NULL;
	const char *why =
		event->reason && event->reason < COUNT(reasons) ? reasons[event->reason].text : NULL;
	char detail[160], text[400];

	what = what ? what : "an event that this tool does not know";
	detail_text(event, detail, sizeof(detail));
	snprintf(text, sizeof(text), "%.*s%s%s%s%s", (int)strcspn(what, ";"), what, *detail ? ": " : "",
		 detail, why ? "; " : "", why ? why : "");
	sc_put_text(record, "text", text);
}

static json_object *event_record(const struct kvsink_event_rec *event)
{
	json_object *record = json_object_new_object();
	bool entry = event->layer_end;

	sc_put_u64(record, "modelled_ns", event->modelled_ns);
	sc_put_text(record, "event", event->code < COUNT(events) ? events[event->code].name : NULL);
	sc_put(record, "stream", event->stream ? json_object_new_uint64(event->stream) : NULL);
	sc_put_u64(record, "tenant", event->tenant);
	sc_put(record, "token", entry ? json_object_new_uint64(event->token) : NULL);
	sc_put(record, "layer_begin", entry ? json_object_new_uint64(event->layer_begin) : NULL);
	sc_put(record, "layer_end", entry ? json_object_new_uint64(event->layer_end) : NULL);
	sc_put_text(record, "reason",
		    event->reason && event->reason < COUNT(reasons) ? reasons[event->reason].name : NULL);
	sc_put_u64(record, "detail", event->detail);
	put_words(record, event);
	return record;
}

/* What is lost may have been of any stream. */
static bool is_wanted(const struct sc_run *run, const struct kvsink_event_rec *event)
{
	return !run->target.stream || event->stream == run->target.stream || event->code == KVSINK_EVENT_LOST;
}

int sc_events(struct sc_run *run, struct sc_device *device)
{
	json_object *list = sc_list(run, device, "events");
	uint32_t wanted = 0, lost = 0, seen = 0;
	char *records = NULL;
	size_t bytes;
	int count = sc_query(run, device, DRM_KVSINK_QUERY_EVENTS, 0, 0, sizeof(struct kvsink_event_rec),
			     &records, &bytes);

	for (int i = 0; i < count; i++) {
		const struct kvsink_event_rec *event = (void *)(records + i * bytes);

		wanted += is_wanted(run, event);
		lost += event->code == KVSINK_EVENT_LOST;
	}
	/* that something was lost says nothing about the stream */
	if (count >= 0 && sc_check_past(run, device, wanted - lost))
		count = -1;
	for (int i = 0; i < count; i++) {
		const struct kvsink_event_rec *event = (void *)(records + i * bytes);

		if (is_wanted(run, event) && (!run->last || ++seen + run->last > wanted))
			json_object_array_add(list, event_record(event));
	}
	free(records);
	return count < 0 ? count : 0;
}
