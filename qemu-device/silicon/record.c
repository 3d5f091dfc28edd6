/* SPDX-License-Identifier: MIT */
/*
 * Recordings: what a probe on all pins of the chip would see. What goes in is kept as it is, what comes out
 * as a checksum; kvsink_replay() (replay.c) tells a chip the same again. Every call into the chip that
 * changes it is made under the host's one lock, so the order in the recording is the order in which they were
 * made.
 *
 * Not seen: what a guest writes to SRAM through its BAR, behind the chip's back.
 */
#include <string.h>

#include "record.h"

static void put(struct kvsink_chip *chip, const void *data, size_t bytes)
{
	struct kvsink_probe *p = &chip->probe;

	if (!p->failed && p->sink(p->opaque, data, bytes))
		p->failed = true;
}

static void put_word(struct kvsink_chip *chip, uint64_t word)
{
	put(chip, &word, sizeof(word));
}

uint64_t kvsink_record_sum(const void *data, uint32_t bytes)
{
	static const uint64_t key[2];
	struct kvsink_checksum sum;
	uint32_t whole = bytes & ~7u;
	uint64_t rest = 0;

	kvsink_checksum_begin(&sum, key);
	kvsink_checksum_add(&sum, data, whole);
	memcpy(&rest, (const uint8_t *)data + whole, bytes - whole);
	kvsink_checksum_add(&sum, &rest, sizeof(rest));
	return kvsink_checksum_end(&sum);
}

/* ---- between the chip and its host ---- */

static int dma_read(void *opaque, uint64_t bus, void *buf, uint32_t bytes)
{
	struct kvsink_chip *chip = opaque;
	int refused = chip->probe.host.dma_read(chip->probe.host_opaque, bus, buf, bytes);
	const uint64_t zero = 0;

	put_word(chip, kvsink_record_word(KVSINK_RECORD_DMA_READ, bytes));
	put_word(chip, bus);
	put_word(chip, refused != 0);
	if (refused)
		return refused;
	put(chip, buf, bytes);
	put(chip, &zero, -bytes & 7);
	return 0;
}

static int dma_write(void *opaque, uint64_t bus, const void *buf, uint32_t bytes)
{
	struct kvsink_chip *chip = opaque;
	int refused = chip->probe.host.dma_write(chip->probe.host_opaque, bus, buf, bytes);

	put_word(chip, kvsink_record_word(KVSINK_RECORD_DMA_WRITE, bytes));
	put_word(chip, bus);
	put_word(chip, refused != 0);
	put_word(chip, kvsink_record_sum(buf, bytes));
	return refused;
}

static void mark_dirty(void *opaque, uint32_t space, uint64_t offset, uint64_t bytes)
{
	struct kvsink_chip *chip = opaque;

	if (chip->probe.host.mark_dirty)
		chip->probe.host.mark_dirty(chip->probe.host_opaque, space, offset, bytes);
}

static void irq(void *opaque, unsigned vector)
{
	struct kvsink_chip *chip = opaque;

	if (chip->probe.host.irq)
		chip->probe.host.irq(chip->probe.host_opaque, vector);
}

static void log_line(void *opaque, const char *line)
{
	struct kvsink_chip *chip = opaque;

	if (chip->probe.host.log)
		chip->probe.host.log(chip->probe.host_opaque, line);
}

/* ---- the probe ---- */

void kvsink_record(struct kvsink_chip *chip, kvsink_record_sink *sink, void *opaque)
{
	static const struct kvsink_host_ops ops = {
		.dma_read = dma_read,
		.dma_write = dma_write,
		.mark_dirty = mark_dirty,
		.irq = irq,
		.log = log_line,
	};

	chip->probe = (struct kvsink_probe){
		.sink = sink,
		.opaque = opaque,
		.host = chip->ops,
		.host_opaque = chip->opaque,
	};
	chip->ops = ops;
	chip->opaque = chip;
	put_word(chip, KVSINK_RECORD_MAGIC);
#define X(field) put_word(chip, chip->config.field);
	KVSINK_RECORD_FIELDS(X)
#undef X
}

void kvsink_note(struct kvsink_chip *chip, enum kvsink_record_kind kind, uint32_t a)
{
	if (chip->probe.sink)
		put_word(chip, kvsink_record_word(kind, a));
}

void kvsink_note_value(struct kvsink_chip *chip, enum kvsink_record_kind kind, uint32_t a, uint32_t value)
{
	kvsink_note(chip, kind, a);
	if (chip->probe.sink)
		put_word(chip, value);
}

int kvsink_record_end(struct kvsink_chip *chip)
{
	if (!chip->probe.sink)
		return 0;
	put_word(chip, kvsink_record_word(KVSINK_RECORD_END, 0));
	put_word(chip, kvsink_digest(chip));
	chip->ops = chip->probe.host;
	chip->opaque = chip->probe.host_opaque;
	chip->probe.sink = NULL;
	return chip->probe.failed ? -1 : 0;
}
