// SPDX-License-Identifier: MIT
/*
 * HBM in lockstep: the driver's part. Areas and pages have one owner each; pages of a publisher become the
 * prefix's. Whatever has no owner is full of garbage, so that who still reads it computes something else.
 */
#include "lockstep.h"

#define AREAS (2 * REF_STREAMS)
#define AREA_BYTES (16u << 10)
#define AREA_BASE (1u << 20)
#define PAGES 128u
#define PAGE_BASE (4u << 20)
#define GARBAGE 0xee

static unsigned area_of[AREAS], page_of[PAGES]; /* owner's index plus one */
static uint32_t table[REF_STREAMS][REF_PAGES];	/* where each page lies, as the chip has been told */

void lockstep_hbm_reset(void)
{
	memset(area_of, 0, sizeof(area_of));
	memset(page_of, 0, sizeof(page_of));
}

static unsigned take(unsigned *owner, unsigned count, unsigned s)
{
	unsigned at = below(count);

	for (unsigned i = 0; i < count && owner[at]; i++)
		at = (at + 1) % count;
	if (owner[at])
		lockstep_differ("the test is out of HBM");
	owner[at] = s + 1;
	return at;
}

void lockstep_take_area(unsigned s)
{
	uint64_t at = AREA_BASE + (uint64_t)take(area_of, AREAS, s) * AREA_BYTES;

	both.streams[s].page_table = at;
	both.streams[s].scores = at + KVSINK_HBM_ALIGN;
}

static uint64_t page_offset(uint32_t page)
{
	return PAGE_BASE + (uint64_t)page * LOCKSTEP_PAGE_BYTES;
}

uint64_t lockstep_take_page(unsigned s, uint32_t index)
{
	table[s][index] = take(page_of, PAGES, s);
	return page_offset(table[s][index]);
}

static void drop(uint32_t page)
{
	page_of[page] = 0;
	memset(both.h.hbm + page_offset(page), GARBAGE, LOCKSTEP_PAGE_BYTES);
}

void lockstep_drop_page(unsigned s, uint32_t index)
{
	drop(table[s][index]);
}

void lockstep_drop_all(unsigned s)
{
	for (unsigned i = 0; i < AREAS; i++)
		if (area_of[i] == s + 1) {
			area_of[i] = 0;
			memset(both.h.hbm + AREA_BASE + i * AREA_BYTES, GARBAGE, AREA_BYTES);
		}
	for (unsigned i = 0; i < PAGES; i++)
		if (page_of[i] == s + 1)
			drop(i);
}

void lockstep_pass_pages(unsigned from, unsigned to, uint32_t end)
{
	for (uint32_t i = 0; i < end; i++) {
		table[to][i] = table[from][i];
		if (page_of[table[from][i]] == from + 1)
			page_of[table[from][i]] = to + 1;
	}
}

void lockstep_same_page(unsigned s, unsigned of, uint32_t index)
{
	table[s][index] = table[of][index];
}

uint64_t lockstep_page_at(unsigned s, uint32_t index)
{
	return page_offset(table[s][index]);
}

unsigned lockstep_hbm_taken(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < AREAS; i++)
		n += area_of[i] != 0;
	for (unsigned i = 0; i < PAGES; i++)
		n += page_of[i] != 0;
	return n;
}
