// SPDX-License-Identifier: MIT
/*
 * Structs of the caller that begin with their size: programs and library may be of different releases.
 */
#include <string.h>

#include "internal.h"

int kvs_copy_struct(struct kvs_device *device, const char *name, const void *from, size_t min_bytes, void *to,
		    size_t bytes)
{
	const unsigned char *all = from;
	size_t size;

	memcpy(&size, from, sizeof(size));
	if (size < min_bytes)
		return kvs_fail(device, -EINVAL, "%s: size = %zu: allowed is sizeof(struct kvs_%s), %zu",
				name, size, name, bytes);
	for (size_t i = bytes; i < size; i++)
		if (all[i])
			return kvs_fail(device, -E2BIG, "%s: byte %zu is set, this library knows %zu bytes",
					name, i, bytes);
	memset(to, 0, bytes);
	memcpy(to, from, size < bytes ? size : bytes);
	return 0;
}

int kvs_copy_contract(struct kvs_device *device, const struct kvs_contract *from, struct kvs_contract *to)
{
	memset(to, 0, sizeof(*to));
	if (!from)
		return 0;
	return kvs_copy_struct(device, "contract", from,
			       offsetof(struct kvs_contract, dwell_steps) + sizeof(from->dwell_steps), to,
			       sizeof(*to));
}
