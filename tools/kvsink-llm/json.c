// SPDX-License-Identifier: MIT
/* Results as JSON documents; see json.h. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "fail.h"
#include "json.h"

#define STYLE (JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE)

/* Length of the UTF-8 sequence at p, 0 if there is none. Good enough for pieces of a vocabulary. */
static int utf8_length(const unsigned char *p)
{
	int n = *p < 0x80		  ? 1
		: *p >= 0xc2 && *p < 0xe0 ? 2
		: (*p & 0xf0) == 0xe0	  ? 3
		: (*p & 0xf8) == 0xf0	  ? 4
					  : 0;

	for (int i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

void json_text(struct json_object *o, const char *key, const char *bytes)
{
	const unsigned char *p = (const void *)bytes;
	char text[1024];
	size_t used = 0;

	while (*p && used + 5 < sizeof(text)) {
		int n = utf8_length(p);

		if (n) {
			memcpy(text + used, p, (size_t)n);
			used += (size_t)n;
			p += n;
		} else {
			used += (size_t)snprintf(text + used, 5, "\\x%02x", *p++);
		}
	}
	text[used] = 0;
	json_string(o, key, text);
}

int json_output(struct json_object *document, const char *path)
{
	FILE *file = path ? fopen(path, "w") : stdout;
	int bad = !file || fprintf(file, "%s\n", json_object_to_json_string_ext(document, STYLE)) < 0;

	if (file && (path ? fclose(file) : fflush(file)))
		bad = 1;
	json_object_put(document);
	return bad ? fail("%s: %s", path ? path : "standard output", strerror(errno)) : 0;
}

void json_line(struct json_object *document)
{
	printf("%s\n", json_object_to_json_string_ext(document, JSON_C_TO_STRING_PLAIN |
									JSON_C_TO_STRING_NOSLASHESCAPE));
	fflush(stdout);
	json_object_put(document);
}

struct json_object *json_member(struct json_object *o, const char *key)
{
	struct json_object *value = NULL;

	json_object_object_get_ex(o, key, &value);
	return value;
}

uint64_t json_get_integer(struct json_object *o, const char *key)
{
	return json_object_get_uint64(json_member(o, key));
}

double json_get_number(struct json_object *o, const char *key)
{
	return json_object_get_double(json_member(o, key));
}

const char *json_get_text(struct json_object *o, const char *key)
{
	const char *value = json_object_get_string(json_member(o, key));

	return value ? value : "?";
}

struct json_object *json_load(const char *path, const char *schema)
{
	struct json_object *o = json_object_from_file(path);

	if (o && !strcmp(json_get_text(o, "schema"), schema))
		return o;
	fail("%s: not a document of schema %s", path, schema);
	json_object_put(o);
	return NULL;
}
