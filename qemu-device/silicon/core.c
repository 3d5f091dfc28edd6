/* SPDX-License-Identifier: MIT */
/*
 * The chip's life: properties, create, destroy, the two kinds of reset, fault injection.
 *
 * Everything is allocated here, once; large arrays are calloc'd and cost memory only where they are
 * touched. Reset order does not matter between blocks, since each block resets only its own state.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "record.h"

void kvsink_config_default(struct kvsink_chip_config *config)
{
	*config = (struct kvsink_chip_config){
		.sram_bytes = 1u << 20,
		.hbm_bytes = 512ull << 20,
		.tags = 4096,
		.streams = 1024,
		.rings = 4,
		.ring_slots = 256,
		.gart_pages = 1u << 18,
		.burst_bytes = 64,
		.sram_latency_ns = 5,
		.hbm_latency_ns = 150,
		.sram_gbps = 25600,
		.hbm_gbps = 3200,
		.dma_gbps = 400,
		.job_overhead_ns = 20,
		.tag_latency_ns = 2,
	};
}

/* One property that is a plain number. */
struct range {
	const char *name;
	size_t offset, size; /* of the field in the config */
	uint64_t min, max;
	uint64_t multiple; /* of this */
	bool power_of_two;
};

#define RANGE(field, lo, hi, ...)                                                                            \
	{.name = #field,                                                                                     \
	 .offset = offsetof(struct kvsink_chip_config, field),                                               \
	 .size = sizeof(((struct kvsink_chip_config *)0)->field),                                            \
	 .min = lo,                                                                                          \
	 .max = hi,                                                                                          \
	 __VA_ARGS__}

static const struct range ranges[] = {
	RANGE(sram_bytes, 64u << 10, 256u << 20, .multiple = KVSINK_SRAM_UNIT),
	RANGE(hbm_bytes, 16ull << 20, 64ull << 30, .multiple = 1u << 20),
	RANGE(tags, 16, 65536),
	RANGE(streams, 1, 16384),
	RANGE(rings, 1, KVSINK_MAX_RINGS),
	RANGE(ring_slots, 4, 4096, .power_of_two = true),
	RANGE(gart_pages, 256, 1u << 22),
	RANGE(burst_bytes, 32, 256, .power_of_two = true),
	RANGE(sram_latency_ns, 1, 100000),
	RANGE(hbm_latency_ns, 1, 100000),
	RANGE(sram_gbps, 1, 1000000),
	RANGE(hbm_gbps, 1, 1000000),
	RANGE(dma_gbps, 1, 1000000),
	RANGE(job_overhead_ns, 0, 100000),
	RANGE(tag_latency_ns, 0, 100000),
};

static uint64_t range_value(const struct kvsink_chip_config *config, const struct range *r)
{
	uint64_t wide;
	uint32_t narrow;

	if (r->size == sizeof(wide)) {
		memcpy(&wide, (const char *)config + r->offset, sizeof(wide));
		return wide;
	}
	memcpy(&narrow, (const char *)config + r->offset, sizeof(narrow));
	return narrow;
}

static bool range_ok(const struct range *r, uint64_t value, char *error, size_t size)
{
	unsigned long long v = value, min = r->min, max = r->max, multiple = r->multiple;

	if (value < r->min || value > r->max)
		snprintf(error, size, "%s: %llu is out of range, allowed are %llu to %llu", r->name, v, min,
			 max);
	else if (r->multiple && value % r->multiple)
		snprintf(error, size, "%s: %llu is not a multiple of %llu", r->name, v, multiple);
	else if (r->power_of_two && (value & (value - 1)))
		snprintf(error, size, "%s: %llu is not a power of two", r->name, v);
	else
		return true;
	return false;
}

bool kvsink_config_ok(const struct kvsink_chip_config *config, char *error, size_t size)
{
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++)
		if (!range_ok(&ranges[i], range_value(config, &ranges[i]), error, size))
			return false;
	if (config->dma_gbps >= config->hbm_gbps) {
		snprintf(error, size, "dma_gbps: %u is not below hbm_gbps %u", config->dma_gbps,
			 config->hbm_gbps);
		return false;
	}
	return true;
}

static bool memory_ok(const struct kvsink_chip_config *config, char *error, size_t size)
{
	if (!config->sram || !config->hbm || (uintptr_t)config->sram % 64 || (uintptr_t)config->hbm % 64) {
		snprintf(error, size, "sram, hbm: memory is missing or not aligned to 64 bytes");
		return false;
	}
	return true;
}

static int chip_alloc(struct kvsink_chip *chip)
{
	const struct kvsink_chip_config *config = &chip->config;

	for (chip->hash_size = 16; chip->hash_size < config->streams;)
		chip->hash_size *= 2;
	chip->streams = calloc(config->streams, sizeof(*chip->streams));
	chip->layers = calloc((size_t)config->streams * KVSINK_MAX_LAYERS, sizeof(*chip->layers));
	chip->stream_hash = calloc(chip->hash_size, sizeof(*chip->stream_hash));
	chip->tags = calloc(config->tags, sizeof(*chip->tags));
	chip->spans = calloc(config->sram_bytes / KVSINK_SRAM_UNIT, sizeof(*chip->spans));
	chip->trial.spans = calloc(config->sram_bytes / KVSINK_SRAM_UNIT + 1, sizeof(*chip->spans));
	chip->copies = calloc(2 * (size_t)config->tags, sizeof(*chip->copies));
	if (!chip->streams || !chip->layers || !chip->stream_hash || !chip->tags || !chip->spans ||
	    !chip->trial.spans || !chip->copies || kvsink_place_init(chip) || kvsink_events_init(chip))
		return -1;
	for (uint32_t i = 0; i < config->streams; i++)
		chip->streams[i].layer = chip->layers + (size_t)i * KVSINK_MAX_LAYERS;
	for (unsigned i = 0; i < config->rings; i++) {
		chip->ring[i].chip = chip;
		chip->ring[i].index = i;
		if (kvsink_work_init(&chip->ring[i]))
			return -1;
	}
	return 0;
}

struct kvsink_chip *kvsink_create(const struct kvsink_chip_config *config, const struct kvsink_host_ops *ops,
				  void *opaque, char *error, size_t error_size)
{
	struct kvsink_chip *chip;

	if (!kvsink_config_ok(config, error, error_size) || !memory_ok(config, error, error_size))
		return NULL;
	chip = calloc(1, sizeof(*chip));
	if (chip) {
		chip->config = *config;
		chip->ops = *ops;
		chip->opaque = opaque;
		if (!chip_alloc(chip)) {
			kvsink_chip_reset(chip, KVSINK_RESET_COLD);
			return chip;
		}
	}
	snprintf(error, error_size, "memory is short: the chip's tables do not fit");
	kvsink_destroy(chip);
	return NULL;
}

void kvsink_destroy(struct kvsink_chip *chip)
{
	if (!chip)
		return;
	for (unsigned i = 0; i < chip->config.rings; i++)
		kvsink_work_fini(&chip->ring[i]);
	kvsink_events_fini(chip);
	kvsink_place_fini(chip);
	free(chip->copies);
	free(chip->trial.spans);
	free(chip->spans);
	free(chip->tags);
	free(chip->stream_hash);
	free(chip->layers);
	free(chip->streams);
	free(chip);
}

/*
 * Zero memory, but do not write where it is zero already: HBM is large and mostly never touched, and
 * a write would make the host commit it.
 */
static void clear(struct kvsink_chip *chip, uint32_t space, uint8_t *mem, uint64_t bytes)
{
	static const uint8_t zero[4096];

	for (uint64_t at = 0; at < bytes; at += sizeof(zero)) {
		size_t n = bytes - at < sizeof(zero) ? (size_t)(bytes - at) : sizeof(zero);

		if (!memcmp(mem + at, zero, n))
			continue;
		memset(mem + at, 0, n);
		kvsink_dirty(chip, space, at, n);
	}
}

void kvsink_chip_reset(struct kvsink_chip *chip, enum kvsink_reset_kind kind)
{
	chip->epoch++;
	kvsink_cancel(chip);
	kvsink_regs_reset(chip, kind);
	kvsink_gart_flush(chip);
	for (unsigned i = 0; i < chip->config.rings; i++)
		kvsink_ring_reset(&chip->ring[i], kind);
	if (kind == KVSINK_RESET_ENGINE)
		kvsink_contracts_lost(chip);
	kvsink_tags_reset(chip);
	kvsink_budget_reset(chip);
	kvsink_dma_reset(chip);
	kvsink_streams_reset(chip, kind);
	clear(chip, KVSINK_SPACE_SRAM, chip->config.sram, chip->config.sram_bytes);
	if (kind == KVSINK_RESET_COLD) {
		clear(chip, KVSINK_SPACE_HBM, chip->config.hbm, chip->config.hbm_bytes);
		memcpy(chip->params, kvsink_param_default, sizeof(chip->params));
		memset(chip->counters, 0, sizeof(chip->counters));
		kvsink_events_reset(chip);
		chip->now_ps = 0;
		chip->host_ns = 0;
		kvsink_trace_reset(chip);
		memset(chip->inject, 0, sizeof(chip->inject));
		return;
	}
	kvsink_event(chip, KVSINK_EVENT_ENGINE_RESET, NULL, 0, 0, chip->reg[KVSINK_REG_GENERATION / 4]);
}

void kvsink_reset(struct kvsink_chip *chip, enum kvsink_reset_kind kind)
{
	kvsink_note(chip, KVSINK_RECORD_RESET, kind);
	kvsink_chip_reset(chip, kind);
}

void kvsink_inject(struct kvsink_chip *chip, enum kvsink_inject what, uint32_t count)
{
	kvsink_note_value(chip, KVSINK_RECORD_INJECT, what, count);
	chip->inject[what] = count;
}

bool kvsink_take_injected(struct kvsink_chip *chip, enum kvsink_inject what)
{
	if (!chip->inject[what])
		return false;
	chip->inject[what]--;
	return true;
}

void kvsink_log(struct kvsink_chip *chip, const char *format, ...)
{
	char line[160];
	va_list args;

	if (!chip->ops.log)
		return;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	chip->ops.log(chip->opaque, line);
}

void kvsink_dirty(struct kvsink_chip *chip, uint32_t space, uint64_t offset, uint64_t bytes)
{
	if (chip->ops.mark_dirty)
		chip->ops.mark_dirty(chip->opaque, space, offset, bytes);
}

const char *kvsink_code_name(uint32_t code)
{
	static const char *const names[] = {
#define X(name, value, err, doc) [value] = #name,
		KVSINK_CODES(X)
#undef X
	};

	return code < KVSINK_CODE_COUNT ? names[code] : "?";
}
