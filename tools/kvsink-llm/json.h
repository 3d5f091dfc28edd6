/* SPDX-License-Identifier: MIT */
/* Short hands over json-c, so that results read as lists of keys and values. Keys are literals. */
#ifndef KVSINK_LLM_JSON_H
#define KVSINK_LLM_JSON_H

#include <json-c/json.h>
#include <stdint.h>

static inline void json_string(struct json_object *o, const char *key, const char *value)
{
	json_object_object_add(o, key, json_object_new_string(value));
}

static inline void json_integer(struct json_object *o, const char *key, uint64_t value)
{
	json_object_object_add(o, key, json_object_new_uint64(value));
}

static inline void json_number(struct json_object *o, const char *key, double value)
{
	json_object_object_add(o, key, json_object_new_double(value));
}

/* json_load - a document from a file, which must be of the schema; NULL: the line is printed */
struct json_object *json_load(const char *path, const char *schema);
/* json_member - a member of a document, or NULL; as a number 0, as a text "?" if there is none */
struct json_object *json_member(struct json_object *o, const char *key);
uint64_t json_get_integer(struct json_object *o, const char *key);
double json_get_number(struct json_object *o, const char *key);
const char *json_get_text(struct json_object *o, const char *key);
/* json_text - the piece of a token as valid UTF-8: a byte that is none becomes \xNN */
void json_text(struct json_object *o, const char *key, const char *bytes);
/* json_output - write a document to a file, or to standard output if path is NULL; frees it */
int json_output(struct json_object *document, const char *path);
/* json_line - the same in one line of standard output */
void json_line(struct json_object *document);

#endif
