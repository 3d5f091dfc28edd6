// SPDX-License-Identifier: MIT
/*
 * Options behind "sim:": NAME=VALUE, separated by commas. Names are those of the QEMU device's properties
 * where both have them. Ranges of the chip's properties are the chip's business; it has its own message.
 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"
#include "sim.h"

enum kind { SIZE, NUMBER };

static const struct option {
	const char *name;
	enum kind kind;
	size_t offset, bytes; /* in struct sim_options */
	uint64_t min, max;
} options_table[] = {
#define OPTION(name, kind, member, min, max)                                                                 \
	{name, kind, offsetof(struct sim_options, member), sizeof(((struct sim_options *)0)->member),        \
	 min,  max}
	OPTION("sram", SIZE, config.sram_bytes, 1, UINT32_MAX),
	OPTION("hbm", SIZE, config.hbm_bytes, 1, 1ull << 40),
	OPTION("tags", NUMBER, config.tags, 1, UINT32_MAX),
	OPTION("streams", NUMBER, config.streams, 1, UINT32_MAX),
	OPTION("rings", NUMBER, config.rings, 1, UINT32_MAX),
	OPTION("ring-slots", NUMBER, config.ring_slots, 1, UINT32_MAX),
	OPTION("gart-pages", NUMBER, config.gart_pages, 1, UINT32_MAX),
	OPTION("burst", NUMBER, config.burst_bytes, 1, UINT32_MAX),
	OPTION("sram-latency-ns", NUMBER, config.sram_latency_ns, 0, UINT32_MAX),
	OPTION("hbm-latency-ns", NUMBER, config.hbm_latency_ns, 0, UINT32_MAX),
	OPTION("sram-gbps", NUMBER, config.sram_gbps, 0, UINT32_MAX),
	OPTION("hbm-gbps", NUMBER, config.hbm_gbps, 0, UINT32_MAX),
	OPTION("dma-gbps", NUMBER, config.dma_gbps, 0, UINT32_MAX),
	OPTION("job-overhead-ns", NUMBER, config.job_overhead_ns, 0, UINT32_MAX),
	OPTION("tag-latency-ns", NUMBER, config.tag_latency_ns, 0, UINT32_MAX),
	OPTION("threads", NUMBER, threads, 1, KVSINK_MAX_PARTS),
	OPTION("inject-skip", NUMBER, inject[KVSINK_INJECT_SKIP], 0, UINT32_MAX),
	OPTION("inject-hang", NUMBER, inject[KVSINK_INJECT_HANG], 0, UINT32_MAX),
	OPTION("inject-lost", NUMBER, inject[KVSINK_INJECT_LOST], 0, UINT32_MAX),
	OPTION("inject-dma-error", NUMBER, inject[KVSINK_INJECT_DMA_ERROR], 0, UINT32_MAX),
	OPTION("inject-ecc", NUMBER, inject[KVSINK_INJECT_ECC], 0, UINT32_MAX),
	OPTION("uid", NUMBER, uid, 0, UINT32_MAX - 1),
#undef OPTION
};

/* "1M" and the like; false if it is not a number, too large, or has another suffix. */
static bool parse_number(const char *text, enum kind kind, uint64_t *value)
{
	unsigned shift = 0;
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*value = strtoull(text, &end, 10);
	if (errno)
		return false;
	if (kind == SIZE && (*end == 'K' || *end == 'M' || *end == 'G'))
		shift = *end == 'K' ? 10 : *end == 'M' ? 20 : 30;
	if (shift)
		end++;
	if (*end || *value > UINT64_MAX >> shift)
		return false;
	*value <<= shift;
	return true;
}

static int set_number(const struct option *option, const char *text, struct sim_options *options)
{
	char *field = (char *)options + option->offset;
	uint64_t value;
	uint32_t narrow;

	if (!parse_number(text, option->kind, &value))
		return kvs_fail_open(-EINVAL, "sim: %s=%s: allowed is a number%s", option->name, text,
				     option->kind == SIZE ? ", with K, M or G behind it or without" : "");
	if (value < option->min || value > option->max)
		return kvs_fail_open(-EINVAL, "sim: %s=%s: allowed are %llu to %llu", option->name, text,
				     (unsigned long long)option->min, (unsigned long long)option->max);
	narrow = (uint32_t)value;
	if (option->bytes == sizeof(value))
		memcpy(field, &value, sizeof(value));
	else
		memcpy(field, &narrow, sizeof(narrow));
	return 0;
}

static int set_share(const char *text, struct sim_options *options)
{
	if (!*text || strlen(text) >= sizeof(options->share))
		return kvs_fail_open(-EINVAL, "sim: share=%s: allowed is a name of 1 to %zu characters", text,
				     sizeof(options->share) - 1);
	strcpy(options->share, text);
	return 0;
}

static int set_record(const char *text, struct sim_options *options)
{
	if (!*text || strlen(text) >= sizeof(options->record))
		return kvs_fail_open(-EINVAL, "sim: record=%s: allowed is a path of 1 to %zu characters",
				     text, sizeof(options->record) - 1);
	strcpy(options->record, text);
	options->has_chip = true;
	return 0;
}

static int set_option(char *text, struct sim_options *options)
{
	char *value = strchr(text, '=');

	if (!value)
		return kvs_fail_open(-EINVAL, "sim: '%s': allowed is NAME=VALUE", text);
	*value++ = 0;
	if (!strcmp(text, "share"))
		return set_share(value, options);
	if (!strcmp(text, "record"))
		return set_record(value, options);
	if (!strcmp(text, "uid"))
		options->has_uid = true;
	else
		options->has_chip = true;
	for (size_t i = 0; i < sizeof(options_table) / sizeof(options_table[0]); i++)
		if (!strcmp(text, options_table[i].name))
			return set_number(&options_table[i], value, options);
	return kvs_fail_open(-EINVAL,
			     "sim: no option '%s': allowed are sram, hbm, tags, streams, rings, ring-slots, "
			     "gart-pages, burst, *-ns, *-gbps, threads, share, uid, record, inject-*",
			     text);
}

int sim_parse(const char *text, struct sim_options *options)
{
	char *copy = strdup(text), *rest = copy, *one;
	int err = 0;

	if (!copy)
		return kvs_fail_open(-ENOMEM, "sim: out of memory");
	memset(options, 0, sizeof(*options));
	kvsink_config_default(&options->config);
	options->threads = 1;
	while (!err && *text && (one = strsep(&rest, ",")))
		err = set_option(one, options);
	free(copy);
	return err;
}

bool sim_same_chip(const struct sim_options *a, const struct sim_options *b)
{
	for (size_t i = 0; i < sizeof(options_table) / sizeof(options_table[0]); i++) {
		const struct option *option = &options_table[i];

		if (strcmp(option->name, "uid") &&
		    memcmp((const char *)a + option->offset, (const char *)b + option->offset, option->bytes))
			return false;
	}
	return !strcmp(a->record, b->record);
}
