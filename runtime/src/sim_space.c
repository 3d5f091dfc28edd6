// SPDX-License-Identifier: MIT
/*
 * A first-fit allocator of ranges of an address space: the GART's pages, the HBM's bytes. It keeps the
 * free extents, sorted and merged; who allocates remembers size and place.
 */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

int sim_space_init(struct sim_space *space, uint64_t size)
{
	space->room = 16;
	space->free = calloc(space->room, sizeof(*space->free));
	if (!space->free)
		return -ENOMEM;
	space->free[0] = (struct sim_extent){0, size};
	space->used = 1;
	return 0;
}

void sim_space_fini(struct sim_space *space)
{
	free(space->free);
}

static void remove_extent(struct sim_space *space, uint32_t i)
{
	memmove(&space->free[i], &space->free[i + 1], (--space->used - i) * sizeof(*space->free));
}

static int grow(struct sim_space *space)
{
	uint32_t room = space->room * 2;
	struct sim_extent *extents = realloc(space->free, room * sizeof(*extents));

	if (!extents)
		return -ENOMEM;
	space->free = extents;
	space->room = room;
	return 0;
}

int sim_space_alloc(struct sim_space *space, uint64_t size, uint64_t *offset)
{
	for (uint32_t i = 0; i < space->used; i++) {
		struct sim_extent *extent = &space->free[i];

		if (extent->size < size)
			continue;
		*offset = extent->offset;
		extent->offset += size;
		extent->size -= size;
		if (!extent->size)
			remove_extent(space, i);
		return 0;
	}
	return -ENOSPC;
}

void sim_space_free(struct sim_space *space, uint64_t offset, uint64_t size)
{
	uint32_t i = 0;
	bool joins_left, joins_right;

	while (i < space->used && space->free[i].offset < offset)
		i++;
	joins_left = i && space->free[i - 1].offset + space->free[i - 1].size == offset;
	joins_right = i < space->used && offset + size == space->free[i].offset;
	if (joins_left) {
		space->free[i - 1].size += size;
		if (joins_right) {
			space->free[i - 1].size += space->free[i].size;
			remove_extent(space, i);
		}
	} else if (joins_right) {
		space->free[i].offset = offset;
		space->free[i].size += size;
	} else if (space->used < space->room || !grow(space)) {
		memmove(&space->free[i + 1], &space->free[i], (space->used++ - i) * sizeof(*space->free));
		space->free[i] = (struct sim_extent){offset, size};
	}
	/* Without memory for one more extent, the range stays taken. */
}
