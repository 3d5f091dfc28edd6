// SPDX-License-Identifier: MIT
/*
 * Values: from the command line (strictly parsed, nothing clamped) and into the tree.
 * Text from outside is reduced to printable ASCII, so that the document is valid whatever it was.
 */
#include "sinkctl.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool sc_parse_u64(const char *text, uint64_t max, uint64_t *value)
{
	bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
	const char *digits = hex ? text + 2 : text;
	unsigned long long number;

	if (!*digits || strspn(digits, hex ? "0123456789abcdefABCDEF" : "0123456789") != strlen(digits))
		return false;
	errno = 0;
	number = strtoull(digits, NULL, hex ? 16 : 10);
	if (errno || number > max)
		return false;
	*value = number;
	return true;
}

/* "A" or "A-B", both ends included, each below limit; the result is half open. */
bool sc_parse_range(const char *text, uint32_t limit, uint32_t *begin, uint32_t *end)
{
	char first[16];
	size_t length = strcspn(text, "-");
	const char *last = text[length] ? text + length + 1 : first;
	uint64_t low, high;

	if (length >= sizeof(first))
		return false;
	memcpy(first, text, length);
	first[length] = 0;
	if (!sc_parse_u64(first, limit - 1, &low) || !sc_parse_u64(last, limit - 1, &high) || low > high)
		return false;
	*begin = low;
	*end = high + 1;
	return true;
}

/* A number of bytes, with K, M or G for powers of 1024. */
bool sc_parse_bytes(const char *text, uint64_t *bytes)
{
	static const char units[] = "KMG";
	size_t length = strlen(text);
	const char *unit = length > 1 ? strchr(units, text[length - 1]) : NULL;
	unsigned shift = unit ? 10 * (unit - units + 1) : 0;
	char *digits = strndup(text, unit ? length - 1 : length);
	bool good = digits && sc_parse_u64(digits, UINT32_MAX >> shift, bytes);

	free(digits);
	if (good)
		*bytes <<= shift;
	return good;
}

/* An integer with its unit: 250ns, 40us, 5ms, 30s. */
bool sc_parse_duration(const char *text, uint64_t max, uint64_t *ns)
{
	static const struct {
		const char *name;
		uint64_t ns;
	} units[] = {{"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000}};
	size_t digits = strspn(text, "0123456789");
	char number[24];

	if (!digits || digits >= sizeof(number))
		return false;
	memcpy(number, text, digits);
	number[digits] = 0;
	for (unsigned i = 0; i < sizeof(units) / sizeof(*units); i++)
		if (!strcmp(text + digits, units[i].name)) {
			if (!sc_parse_u64(number, max / units[i].ns, ns))
				return false;
			*ns *= units[i].ns;
			return true;
		}
	return false;
}

/* Decimal, so that 0x3dcccccd is not taken for a number near 10^9. */
bool sc_parse_float(const char *text, uint32_t *pattern)
{
	char *end;
	float number = strtof(text, &end);

	if (end == text || *end || strpbrk(text, "xX") || !isfinite(number) || signbit(number))
		return false;
	if (number == 0 && strcspn(text, "123456789") < strcspn(text, "eE"))
		return false;
	memcpy(pattern, &number, sizeof(*pattern));
	return true;
}

float sc_from_pattern(uint32_t pattern)
{
	float number;

	memcpy(&number, &pattern, sizeof(number));
	return number;
}

void sc_put(json_object *record, const char *key, json_object *value)
{
	json_object_object_add(record, key, value);
}

void sc_put_u64(json_object *record, const char *key, uint64_t value)
{
	sc_put(record, key, json_object_new_uint64(value));
}

void sc_put_bool(json_object *record, const char *key, bool value)
{
	sc_put(record, key, json_object_new_boolean(value));
}

void sc_put_hex(json_object *record, const char *key, uint64_t value, unsigned width)
{
	char text[24];

	snprintf(text, sizeof(text), "0x%0*" PRIx64, (int)width / 4, value);
	sc_put(record, key, json_object_new_string(text));
}

/* A copy with everything but printable ASCII replaced; NULL stays NULL. */
char *sc_clean(const char *text)
{
	char *copy = text ? strdup(text) : NULL;

	for (char *c = copy; c && *c; c++)
		if (*c < ' ' || *c > '~')
			*c = '?';
	return copy;
}

void sc_put_text(json_object *record, const char *key, const char *text)
{
	char *copy = sc_clean(text);

	sc_put(record, key, copy ? json_object_new_string(copy) : NULL);
	free(copy);
}

void sc_put_heads(json_object *record, const char *key, uint64_t mask)
{
	json_object *heads = json_object_new_array();

	for (int head = 0; head < KVSINK_MAX_KV_HEADS; head++)
		if (mask >> head & 1)
			json_object_array_add(heads, json_object_new_int(head));
	sc_put(record, key, heads);
}

/* The shortest decimal number that is this binary32; null for what JSON cannot say. */
json_object *sc_float(uint32_t pattern)
{
	char text[40];
	float number = sc_from_pattern(pattern);

	if (!isfinite(number))
		return NULL;
	for (int digits = 1; digits <= 9; digits++) {
		snprintf(text, sizeof(text) - 2, "%.*g", digits, (double)number);
		if (strtof(text, NULL) == number)
			break;
	}
	if (!strpbrk(text, ".e"))
		strcat(text, ".0");
	return json_object_new_double_s(number, text);
}

static bool is_float(const char *name)
{
	int param = sc_find_param(name);

	return param >= 0 && !strcmp(sc_params[param].kind, "F32");
}

/* Names of the values of registers and parameters that are enums; NULL if there is none. */
const char *sc_symbol(const char *name, uint64_t value)
{
	static const char *const modes[] = {
		[KVSINK_SCORE_RAW] = "RAW", [KVSINK_SCORE_MEAN] = "MEAN", [KVSINK_SCORE_REL] = "REL"};
	static const char *const placements[] = {[KVSINK_PLACEMENT_OFF] = "OFF",
						 [KVSINK_PLACEMENT_OBSERVE] = "OBSERVE",
						 [KVSINK_PLACEMENT_AUTO] = "AUTO"};
	static const char *const gates[KVSINK_GATE_COUNT] = {
		[KVSINK_GATE_MASS] = "MASS", [KVSINK_GATE_ABS] = "ABS", [KVSINK_GATE_REL] = "REL"};
	static const char *const states[] = {
		[KVSINK_RING_IDLE] = "IDLE", [KVSINK_RING_BUSY] = "BUSY", [KVSINK_RING_HALTED] = "HALTED"};
	const char *dot = strchr(name, '.');

	if (!strcmp(name, "SCORE_MODE"))
		return value < sizeof(modes) / sizeof(*modes) ? modes[value] : NULL;
	if (!strcmp(name, "PLACEMENT"))
		return value < sizeof(placements) / sizeof(*placements) ? placements[value] : NULL;
	if (!strcmp(name, "GATE"))
		return value < KVSINK_GATE_COUNT ? gates[value] : NULL;
	if (!strcmp(name, "ERR_CODE"))
		return value < KVSINK_CODE_COUNT ? kvs_code_name(value) : NULL;
	if (dot && !strncmp(name, "ring", 4) && !strcmp(dot, ".STATE"))
		return value < sizeof(states) / sizeof(*states) ? states[value] : NULL;
	return NULL;
}

void sc_put_value(json_object *record, const char *name, unsigned width, uint64_t value)
{
	sc_put_u64(record, "value", value);
	sc_put_hex(record, "hex", value, width);
	sc_put(record, "float", is_float(name) ? sc_float(value) : NULL);
	sc_put_text(record, "symbol", sc_symbol(name, value));
	sc_put(record, "fields", sc_fields(name, value));
}
