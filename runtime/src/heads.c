// SPDX-License-Identifier: MIT
/*
 * Tables of learned head weights (DuoAttention): one line a layer, one weight a KV head. A head that weighs
 * at least the threshold needs the whole context ("full"), the others live on sinks and recent tokens
 * ("streaming").
 */
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

struct table {
	const char *path;
	double threshold;
	uint32_t layers, kv_heads;
	locale_t numbers; /* C, whatever the program's locale */
	uint32_t line;	  /* being read, from 1 */
	uint32_t layer;	  /* rows that were read */
	uint64_t masks[KVSINK_MAX_LAYERS];
};

/* A row: its weights, and nothing behind them. */
static int parse_row(struct table *table, const char *text)
{
	uint64_t mask = 0;

	for (uint32_t head = 0; head < table->kv_heads; head++) {
		char *end;
		double weight = strtod_l(text, &end, table->numbers);

		if (end == text || !isfinite(weight) || !strchr("\t\r\n ", *end))
			return kvs_fail_open(-EINVAL,
					     "%s:%u: weight %u is no number: allowed are %u finite ones, "
					     "separated by tabs",
					     table->path, table->line, head, table->kv_heads);
		mask |= (uint64_t)(weight >= table->threshold) << head;
		text = end;
	}
	text += strspn(text, "\t\r\n ");
	if (*text)
		return kvs_fail_open(-EINVAL, "%s:%u: more than %u weights, the stream's KV heads",
				     table->path, table->line, table->kv_heads);
	table->masks[table->layer++] = mask;
	return 0;
}

static int parse_line(struct table *table, const char *text)
{
	text += strspn(text, "\t\r\n ");
	if (!*text || *text == '#')
		return 0;
	if (table->layer == table->layers)
		return kvs_fail_open(-EINVAL, "%s:%u: more than %u layers", table->path, table->line,
				     table->layers);
	return parse_row(table, text);
}

static int parse_file(struct table *table, FILE *file)
{
	char *text = NULL;
	size_t room = 0;
	int err = 0;

	while (!err && getline(&text, &room, file) >= 0) {
		table->line++;
		err = parse_line(table, text);
	}
	free(text);
	if (!err && ferror(file))
		err = kvs_fail_open(-EIO, "%s: cannot be read", table->path);
	if (!err && table->layer != table->layers)
		err = kvs_fail_open(-EINVAL, "%s: %u layers: the stream has %u", table->path, table->layer,
				    table->layers);
	return err;
}

static int load(struct table *table)
{
	FILE *file = fopen(table->path, "re");
	int err;

	if (!file) {
		err = -errno;
		return kvs_fail_open(err, "%s: %s", table->path, strerror(-err));
	}
	table->numbers = newlocale(LC_ALL_MASK, "C", (locale_t)0);
	err = table->numbers ? parse_file(table, file) : kvs_fail_open(-ENOMEM, "out of memory");
	if (table->numbers)
		freelocale(table->numbers);
	fclose(file);
	return err;
}

KVS_PUBLIC int kvs_heads_load(const char *path, double threshold, uint32_t layers, uint32_t kv_heads,
			      uint64_t *masks)
{
	struct table table = {.path = path, .threshold = threshold, .layers = layers, .kv_heads = kv_heads};
	int err;

	kvs_open_clear();
	if (!layers || layers > KVSINK_MAX_LAYERS || !kv_heads || kv_heads > KVSINK_MAX_KV_HEADS ||
	    !isfinite(threshold))
		return kvs_fail_open(-EINVAL,
				     "%s: %u layers, %u KV heads, threshold %g: allowed are 1 to %u, 1 to %u "
				     "and a finite one",
				     path, layers, kv_heads, threshold, KVSINK_MAX_LAYERS,
				     KVSINK_MAX_KV_HEADS);
	err = load(&table);
	if (!err)
		memcpy(masks, table.masks, layers * sizeof(*masks));
	return err;
}
