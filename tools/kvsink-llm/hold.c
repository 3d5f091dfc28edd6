// SPDX-License-Identifier: MIT
/* --hold: one request a line, one answer a line; see hold.h. A bad request is answered and changes nothing.
 */
#include <stdio.h>
#include <string.h>

#include "fail.h"
#include "hold.h"
#include "json.h"

static struct json_object *answer(const struct session *s, const char *event)
{
	struct json_object *o = json_object_new_object();

	json_string(o, "schema", "kvsink-llm-hold/1");
	json_string(o, "event", event);
	json_integer(o, "stream", kvs_stream_id(s->attention.stream));
	json_integer(o, "length", s->position);
	json_integer(o, "steps", s->steps);
	return o;
}

static int answer_bytes(struct session *s, struct json_object *o)
{
	struct session_bytes b;

	if (session_bytes(s, &b)) {
		json_object_put(o);
		return -1;
	}
	json_number(o, "mass_sram", b.mass_sram);
	json_integer(o, "kv_bytes_uniform", b.uniform);
	json_integer(o, "kv_bytes_hbm", b.hbm);
	json_integer(o, "kv_bytes_sram", b.sram);
	json_integer(o, "modelled_ns", b.modelled_ns);
	json_line(o);
	return 0;
}

static int answer_error(const struct session *s, const char *request, const char *why)
{
	struct json_object *o = answer(s, "error");

	json_text(o, "request", request);
	json_string(o, "message", why);
	json_line(o);
	return 0;
}

static int hold_step(struct session *s, const char *request, unsigned count)
{
	struct json_object *o, *tokens;
	uint32_t first = s->steps;
	int rc;

	if (!count || count > s->max_steps - s->steps)
		return answer_error(s, request,
				    "no room for so many steps: --tokens says how many there are in all");
	while (s->steps < first + count) {
		rc = session_step(s);
		if (rc)
			return rc;
	}
	o = answer(s, "step");
	tokens = json_object_new_array();
	for (uint32_t i = first; i < s->steps; i++)
		json_object_array_add(tokens, json_object_new_int(s->chosen[i]));
	json_object_object_add(o, "tokens", tokens);
	return answer_bytes(s, o);
}

/* Returns 1 to end. */
static int hold_request(struct session *s, char *line)
{
	unsigned count = 1;
	int used = 0;

	line[strcspn(line, "\r\n")] = 0;
	if (!strcmp(line, "quit"))
		return 1;
	if (!strcmp(line, "stats"))
		return answer_bytes(s, answer(s, "stats"));
	if (!strcmp(line, "step") || (sscanf(line, "step %u%n", &count, &used) == 1 && !line[used]))
		return hold_step(s, line, count);
	return answer_error(s, line, "unknown request: step [N], stats and quit are known");
}

int hold(struct session *s)
{
	char line[128];
	int rc = answer_bytes(s, answer(s, "ready"));

	while (!rc && fgets(line, sizeof(line), stdin))
		rc = hold_request(s, line);
	return rc == 1 ? 0 : rc;
}
