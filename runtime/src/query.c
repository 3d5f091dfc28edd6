// SPDX-License-Identifier: MIT
/*
 * Inspection: lists of records, counters, registers and resident rows.
 *
 * One QUERY answers as many records as fit in its memory; kvs_query() asks until it has all of them.
 * What the kernel says about sizes is checked before it is believed.
 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define CHUNK_BYTES (64u << 10)

/* Records collected so far. */
struct listing {
	char *records;
	size_t record_bytes;
	uint32_t count;
	uint32_t next; /* `first` of the next QUERY */
	bool done;
};

/* Is the head consistent with CHUNK_BYTES of memory and with what came before? */
static bool head_valid(const struct drm_kvsink_list_head *head, const struct listing *list)
{
	if (!head->record_bytes || (list->count && head->record_bytes != list->record_bytes))
		return false;
	return head->written <= (CHUNK_BYTES - sizeof(*head)) / head->record_bytes &&
	       head->written <= head->total;
}

static int take(struct listing *list, const struct drm_kvsink_list_head *head)
{
	size_t bytes = (size_t)head->written * head->record_bytes;
	char *records;

	if (!head_valid(head, list))
		return -EIO;
	list->record_bytes = head->record_bytes;
	if (!head->written)
		return 0;
	records = realloc(list->records, list->count * list->record_bytes + bytes);
	if (!records)
		return -ENOMEM;
	memcpy(records + list->count * list->record_bytes, head + 1, bytes);
	list->records = records;
	list->count += head->written;
	return 0;
}

/* One QUERY: adds its records and decides whether another is needed. */
static int ask(struct kvs_device *device, struct drm_kvsink_query *args, void *memory, struct listing *list)
{
	struct drm_kvsink_list_head *head = memory;
	int err;

	memset(head, 0, sizeof(*head));
	args->first = list->next;
	args->size = CHUNK_BYTES;
	args->pointer = (uintptr_t)memory;
	err = kvs_device_call(device, DRM_IOCTL_KVSINK_QUERY, args);
	err = err ? err : take(list, head);
	if (err)
		return err;
	if (args->type == DRM_KVSINK_QUERY_EVENTS ||
	    args->type == DRM_KVSINK_QUERY_SPANS) { /* total counts from `first` on */
		list->next = head->next;
		list->done = head->written >= head->total;
	} else {
		list->next += head->written;
		list->done = list->next >= head->total;
	}
	list->done |= !head->written;
	return 0;
}

static int fail_query(struct kvs_device *device, int err, uint32_t type, uint64_t stream, uint32_t group)
{
	static const char *const names[] = {"?",      "STREAMS", "TAGS",     "COUNTERS", "SCORES", "PARAMS",
					    "EVENTS", "SINKS",	 "VERDICTS", "PROFILE",	 "SPANS"};

	return kvs_fail(device, err, "QUERY: %s (%u), stream %llu, group %u: %s",
			names[type < sizeof(names) / sizeof(names[0]) ? type : 0], type,
			(unsigned long long)stream, group, kvs_errno_text(err));
}

KVS_PUBLIC int kvs_query(struct kvs_device *device, uint32_t type, uint64_t stream, uint32_t group,
			 void **records, size_t *record_bytes)
{
	struct drm_kvsink_query args = {.type = type, .group = group, .stream = stream};
	struct listing list = {0};
	void *memory = malloc(CHUNK_BYTES);
	int err = memory ? 0 : -ENOMEM;

	*records = NULL;
	*record_bytes = 0;
	while (!err && !list.done)
		err = ask(device, &args, memory, &list);
	free(memory);
	if (err) {
		free(list.records);
		return fail_query(device, err, type, stream, group);
	}
	*records = list.records;
	*record_bytes = list.record_bytes;
	return (int)list.count;
}

KVS_PUBLIC int kvs_counters(struct kvs_device *device, uint64_t stream, uint64_t *counters)
{
	void *records;
	size_t bytes;
	int count = kvs_query(device, DRM_KVSINK_QUERY_COUNTERS, stream, 0, &records, &bytes);

	if (count < 0)
		return count;
	memset(counters, 0, KVSINK_COUNTER_COUNT * sizeof(*counters));
	for (int i = 0; i < count && i < KVSINK_COUNTER_COUNT && bytes >= sizeof(*counters); i++)
		memcpy(&counters[i], (char *)records + (size_t)i * bytes, sizeof(*counters));
	free(records);
	return 0;
}

KVS_PUBLIC int kvs_register_read(struct kvs_device *device, uint32_t offset, uint64_t *value)
{
	struct drm_kvsink_reg_read args = {.offset = offset};
	int err = kvs_device_call(device, DRM_IOCTL_KVSINK_REG_READ, &args);

	if (err)
		return kvs_fail(device, err, "REG_READ: register %#x: %s", offset, kvs_errno_text(err));
	*value = args.value;
	return 0;
}

KVS_PUBLIC int kvs_entry_read(struct kvs_stream *stream, uint32_t token, uint32_t layer, uint32_t head,
			      uint32_t generation, void *row, size_t bytes)
{
	struct drm_kvsink_entry_read args = {
		.stream = stream->id,
		.token = token,
		.layer = layer,
		.head = head,
		.generation = generation,
		.size = bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)bytes,
		.pointer = (uintptr_t)row,
	};
	int err = kvs_device_call(stream->device, DRM_IOCTL_KVSINK_ENTRY_READ, &args);

	return err ? kvs_fail(stream->device, err,
			      "ENTRY_READ: stream %llu, token %u, layer %u, head %u, generation %u, %zu "
			      "bytes: %s",
			      (unsigned long long)stream->id, token, layer, head, generation, bytes,
			      kvs_errno_text(err))
		   : 0;
}
