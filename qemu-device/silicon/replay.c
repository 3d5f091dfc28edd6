/* SPDX-License-Identifier: MIT */
/*
 * Replay: a chip is told what a recording says, and what comes out is compared. A recording may be any file,
 * so each of its words is checked; the work of a record is bounded by the chip's own bounds.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "record.h"

struct replay {
	kvsink_replay_source *source;
	void *opaque;
	struct kvsink_chip *chip;
	struct kvsink_replay_result *result;
	struct kvsink_item_work *item[KVSINK_MAX_RINGS]; /* computed, not retired */
	bool stop;
};

/* The first thing that is wrong stays. */
__attribute__((format(printf, 2, 3))) static int stop(struct replay *r, const char *format, ...)
{
	va_list args;

	if (!r->stop) {
		va_start(args, format);
		vsnprintf(r->result->why, sizeof(r->result->why), format, args);
		va_end(args);
	}
	r->stop = true;
	return -1;
}

/* No chip has recorded that. */
static int wrong(struct replay *r, const char *what)
{
	if (r->stop)
		return -1;
	r->result->wrong = true;
	return stop(r, "record %llu: %s", (unsigned long long)r->result->records, what);
}

static int get(struct replay *r, void *data, size_t bytes)
{
	if (r->stop)
		return -1;
	if (r->source(r->opaque, data, bytes) == bytes)
		return 0;
	return stop(r, "record %llu: the recording ends within or before it, without a digest",
		    (unsigned long long)r->result->records);
}

static int get_words(struct replay *r, uint64_t *words, unsigned count)
{
	return get(r, words, count * sizeof(*words));
}

/* The next record is a transfer of that kind, direction and place; its `refused` goes to *refused. */
static int expect_dma(struct replay *r, enum kvsink_record_kind kind, uint64_t bus, uint32_t bytes,
		      bool *refused)
{
	const char *way = kind == KVSINK_RECORD_DMA_READ ? "read" : "write";
	uint64_t word[3];

	r->result->records++;
	if (get_words(r, word, 1))
		return -1;
	if ((word[0] & 0xff) != kind)
		return stop(r,
			    "record %llu: the chip wants to %s %u bytes at 0x%llx, the recording has a "
			    "record of kind %llu here",
			    (unsigned long long)r->result->records, way, bytes, (unsigned long long)bus,
			    (unsigned long long)(word[0] & 0xff));
	if (get_words(r, word + 1, 2))
		return -1;
	if (word[2] > 1)
		return wrong(r, "a transfer is neither done nor refused");
	if (word[0] >> 8 != bytes || word[1] != bus)
		return stop(r,
			    "record %llu: the chip wants to %s %u bytes at 0x%llx, the recording has %llu "
			    "at 0x%llx",
			    (unsigned long long)r->result->records, way, bytes, (unsigned long long)bus,
			    (unsigned long long)(word[0] >> 8), (unsigned long long)word[1]);
	*refused = word[2];
	return 0;
}

static int dma_read(void *opaque, uint64_t bus, void *buf, uint32_t bytes)
{
	struct replay *r = opaque;
	uint64_t padding = 0;
	bool refused;

	if (expect_dma(r, KVSINK_RECORD_DMA_READ, bus, bytes, &refused) || refused)
		return -1;
	if (get(r, buf, bytes) || get(r, &padding, -bytes & 7))
		return -1;
	if (padding)
		return wrong(r, "data is not padded with zeros");
	r->result->bytes_in += bytes;
	return 0;
}

static int dma_write(void *opaque, uint64_t bus, const void *buf, uint32_t bytes)
{
	struct replay *r = opaque;
	uint64_t sum;
	bool refused;

	if (expect_dma(r, KVSINK_RECORD_DMA_WRITE, bus, bytes, &refused) || get_words(r, &sum, 1))
		return -1;
	if (sum != kvsink_record_sum(buf, bytes))
		return stop(r,
			    "record %llu: the %u bytes that the chip writes at 0x%llx are not those that it "
			    "wrote then",
			    (unsigned long long)r->result->records, bytes, (unsigned long long)bus);
	r->result->bytes_out += bytes;
	return refused ? -1 : 0;
}

/* ---- records ---- */

static int bad_record(struct replay *r, uint64_t word)
{
	r->result->wrong = true;
	return stop(r, "record %llu: kind %llu with %llu is not possible here",
		    (unsigned long long)r->result->records, (unsigned long long)(word & 0xff),
		    (unsigned long long)(word >> 8));
}

/* The value of a record, which is of 32 bits. */
static int get_value(struct replay *r, uint64_t word, uint32_t *value)
{
	uint64_t wide;

	if (get_words(r, &wide, 1))
		return -1;
	*value = (uint32_t)wide;
	return *value == wide ? 0 : bad_record(r, word);
}

static int run(struct replay *r, uint64_t word)
{
	uint64_t ring = word >> 8;

	if (ring >= r->chip->config.rings || r->item[ring])
		return bad_record(r, word);
	r->item[ring] = kvsink_run(r->chip, (unsigned)ring);
	if (r->item[ring])
		kvsink_exec(r->item[ring], 0, 1);
	return 0;
}

static int retire(struct replay *r, uint64_t word)
{
	uint64_t ring = word >> 8;

	if (ring >= r->chip->config.rings || !r->item[ring])
		return bad_record(r, word);
	kvsink_retire(r->chip, r->item[ring]);
	r->item[ring] = NULL;
	return 0;
}

static int write_register(struct replay *r, uint64_t word)
{
	uint32_t value;

	if (word >> 8 >= KVSINK_REGS_BYTES)
		return bad_record(r, word);
	if (get_value(r, word, &value))
		return -1;
	kvsink_mmio_write(r->chip, (uint32_t)(word >> 8), value);
	return 0;
}

static int inject(struct replay *r, uint64_t word)
{
	uint32_t count;

	if (word >> 8 >= KVSINK_INJECT_KINDS)
		return bad_record(r, word);
	if (get_value(r, word, &count))
		return -1;
	kvsink_inject(r->chip, (enum kvsink_inject)(word >> 8), count);
	return 0;
}

static int reset(struct replay *r, uint64_t word)
{
	if (word >> 8 > KVSINK_RESET_ENGINE)
		return bad_record(r, word);
	kvsink_reset(r->chip, (enum kvsink_reset_kind)(word >> 8));
	return 0;
}

/* What comes behind the digest would be believed unchecked. */
static int end(struct replay *r, uint64_t word)
{
	uint8_t more;

	if (word >> 8)
		return bad_record(r, word);
	if (get_words(r, &r->result->recorded, 1))
		return -1;
	if (r->source(r->opaque, &more, 1))
		return wrong(r, "there is something behind the digest");
	r->result->ended = true;
	r->result->digest = kvsink_digest(r->chip);
	if (r->result->digest != r->result->recorded)
		stop(r, "record %llu: all transfers were the same, the digest is not",
		     (unsigned long long)r->result->records);
	return -1;
}

static int next_record(struct replay *r)
{
	uint64_t word;

	r->result->records++;
	if (get_words(r, &word, 1))
		return -1;
	switch (word & 0xff) {
	case KVSINK_RECORD_WRITE:
		return write_register(r, word);
	case KVSINK_RECORD_RUN:
		return run(r, word);
	case KVSINK_RECORD_RETIRE:
		return retire(r, word);
	case KVSINK_RECORD_RESET:
		return reset(r, word);
	case KVSINK_RECORD_INJECT:
		return inject(r, word);
	case KVSINK_RECORD_END:
		return end(r, word);
	default:
		return bad_record(r, word);
	}
}

int kvsink_replay_config(kvsink_replay_source *source, void *opaque, struct kvsink_chip_config *config)
{
	uint64_t word;

	memset(config, 0, sizeof(*config));
	if (source(opaque, &word, sizeof(word)) != sizeof(word) || word != KVSINK_RECORD_MAGIC)
		return -1;
#define X(field)                                                                                             \
	if (source(opaque, &word, sizeof(word)) != sizeof(word))                                             \
		return -1;                                                                                   \
	config->field = word;                                                                                \
	if (config->field != word)                                                                           \
		return -1;
	KVSINK_RECORD_FIELDS(X)
#undef X
	return 0;
}

int kvsink_replay(kvsink_replay_source *source, void *opaque, const struct kvsink_chip_config *config,
		  struct kvsink_replay_result *result)
{
	static const struct kvsink_host_ops ops = {.dma_read = dma_read, .dma_write = dma_write};
	struct replay r = {.source = source, .opaque = opaque, .result = result};

	memset(result, 0, sizeof(*result));
	r.chip = kvsink_create(config, &ops, &r, result->why, sizeof(result->why));
	if (!r.chip) {
		result->wrong = true;
		return -1;
	}
	while (!next_record(&r) && !r.stop)
		;
	for (unsigned i = 0; i < config->rings; i++)
		if (r.item[i])
			kvsink_retire(r.chip, r.item[i]);
	kvsink_destroy(r.chip);
	return result->ended && !r.stop ? 0 : -1;
}
