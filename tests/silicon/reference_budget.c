// SPDX-License-Identifier: MIT
/*
 * SRAM of the model: what the entries and tails of a stream, an account and the device take, where a range is
 * free, and which limit a grant would break. Every answer is added up anew from the entries and tails.
 */
#include <string.h>

#include "reference_parts.h"

static uint32_t used_by_stream(const struct ref *r, unsigned s)
{
	uint32_t units = 0;

	for (unsigned i = 0; i < REF_ENTRIES; i++)
		if (r->entry[i].used && r->entry[i].stream == s)
			units += r->entry[i].units;
	for (unsigned g = 0; g < r->stream[s].groups; g++)
		units += r->stream[s].group[g].tail.units;
	return units * GRANULE;
}

uint32_t ref_account(const struct ref *r, unsigned s)
{
	uint32_t tag = (uint32_t)r->stream[s].group[0].params[KVSINK_PARAM_TENANT_TAG];

	return tag == ALL_ONES ? r->stream[s].tenant : tag;
}

static uint32_t used_by_account(const struct ref *r, uint32_t who)
{
	uint32_t bytes = 0;

	for (unsigned s = 0; s < REF_STREAMS; s++)
		if (r->stream[s].used && ref_account(r, s) == who)
			bytes += used_by_stream(r, s);
	return bytes;
}

uint32_t ref_used_units(const struct ref *r)
{
	uint32_t bytes = 0;

	for (unsigned s = 0; s < REF_STREAMS; s++)
		if (r->stream[s].used)
			bytes += used_by_stream(r, s);
	return bytes / GRANULE;
}

static uint32_t used_tags(const struct ref *r)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < REF_ENTRIES; i++)
		n += r->entry[i].used;
	return n;
}

static void paint(bool *map, uint32_t unit, uint32_t units)
{
	for (uint32_t i = 0; i < units; i++)
		map[unit + i] = true;
}

static void draw(const struct ref *r, bool *map)
{
	memset(map, 0, REF_UNITS * sizeof(*map));
	for (unsigned i = 0; i < REF_ENTRIES; i++)
		if (r->entry[i].used)
			paint(map, r->entry[i].unit, r->entry[i].units);
	for (unsigned s = 0; s < REF_STREAMS; s++)
		for (unsigned g = 0; r->stream[s].used && g < r->stream[s].groups; g++)
			paint(map, r->stream[s].group[g].tail.unit, r->stream[s].group[g].tail.units);
}

static bool first_fit(const struct ref *r, uint32_t units, uint32_t *unit)
{
	bool map[REF_UNITS];

	draw(r, map);
	for (uint32_t at = 0; at + units <= r->units; at++) {
		uint32_t n = 0;

		while (n < units && !map[at + n])
			n++;
		if (n == units) {
			*unit = at;
			return true;
		}
	}
	return false;
}

const uint32_t ref_lack_code[] = {
	[NOTHING] = KVSINK_CODE_OK,	      [STREAM_BUDGET] = KVSINK_CODE_BUDGET,
	[DEVICE_BUDGET] = KVSINK_CODE_BUDGET, [CAP] = KVSINK_CODE_TENANT_CAP,
	[NO_TAG] = KVSINK_CODE_TAGS,	      [NO_RANGE] = KVSINK_CODE_FRAGMENTED,
};

enum lack ref_limits(const struct ref *r, unsigned s, uint32_t units, uint32_t tags)
{
	uint64_t bytes = (uint64_t)units * GRANULE;
	uint64_t device = r->params[KVSINK_PARAM_SRAM_BUDGET];

	if (device > (uint64_t)r->units * GRANULE)
		device = (uint64_t)r->units * GRANULE;
	if (used_by_stream(r, s) + bytes > r->stream[s].group[0].params[KVSINK_PARAM_SRAM_BUDGET])
		return STREAM_BUDGET;
	if ((uint64_t)ref_used_units(r) * GRANULE + bytes > device)
		return DEVICE_BUDGET;
	if (used_by_account(r, ref_account(r, s)) + bytes > r->params[KVSINK_PARAM_TENANT_CAP])
		return CAP;
	return used_tags(r) + tags > r->tags ? NO_TAG : NOTHING;
}

enum lack ref_lacking(const struct ref *r, unsigned s, uint32_t units, bool tag, uint32_t *unit)
{
	enum lack lack = ref_limits(r, s, units, tag);

	return lack == NOTHING && !first_fit(r, units, unit) ? NO_RANGE : lack;
}

static uint32_t heads_in(uint64_t mask)
{
	return (uint32_t)__builtin_popcountll(mask);
}

uint32_t ref_units_for(const struct ref_stream *st, uint32_t layers, uint64_t heads, uint32_t tokens)
{
	uint32_t bytes = layers * heads_in(heads) * tokens * st->row_bytes;

	return (bytes + GRANULE - 1) / GRANULE;
}

uint32_t ref_entry_units(const struct ref_stream *st, const struct kvsink_place_item *item)
{
	uint32_t rows = (uint32_t)(item->layer_end - item->layer_begin) * heads_in(item->head_mask);
	uint32_t bytes =
		rows * ref_row_bytes(st, item->token, item->layer_begin, item->layer_end, item->head_mask);

	return (bytes + GRANULE - 1) / GRANULE;
}
