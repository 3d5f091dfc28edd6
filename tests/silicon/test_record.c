// SPDX-License-Identifier: MIT
/*
 * Recordings, replay and the state digest: a chip that is told a recording does the same and has the same
 * state; what was changed in a recording is noticed; the digest knows of everything that a chip remembers.
 */
#include <stdio.h>

#include "harness.h"
#include "tap.h"

#define TOKENS 12u

static struct harness h;
static struct h_stream s, n;

/* ---- tapes ---- */

static size_t tape_bytes, tape_at, tape_room;
static uint8_t *tape;

static int write_tape(void *opaque, const void *data, size_t bytes)
{
	(void)opaque;
	if (tape_room && tape_bytes + bytes > tape_room)
		return -1;
	tape = realloc(tape, tape_bytes + bytes);
	memcpy(tape + tape_bytes, data, bytes);
	tape_bytes += bytes;
	return 0;
}

static size_t read_tape(void *opaque, void *data, size_t bytes)
{
	size_t left = tape_bytes - tape_at;

	(void)opaque;
	bytes = bytes < left ? bytes : left;
	memcpy(data, tape + tape_at, bytes);
	tape_at += bytes;
	return bytes;
}

/* 0: the same. */
static int replay(struct kvsink_replay_result *result)
{
	struct kvsink_chip_config config;
	int rc = -1;

	tape_at = 0;
	memset(result, 0, sizeof(*result));
	if (kvsink_replay_config(read_tape, NULL, &config)) {
		result->wrong = true;
		return -1;
	}
	/* a tape may ask for any size */
	if (config.sram_bytes > 1 << 20 || config.hbm_bytes > 64 << 20)
		return -1;
	config.sram = aligned_alloc(4096, (config.sram_bytes + 4096) / 4096 * 4096);
	config.hbm = aligned_alloc(4096, (config.hbm_bytes + 4096) / 4096 * 4096);
	rc = kvsink_replay(read_tape, NULL, &config, result);
	free(config.sram);
	free(config.hbm);
	return rc;
}

/* ---- what is recorded ---- */

static void begin(unsigned parts)
{
	h_open(&h, NULL);
	h.parts = parts;
	tape_bytes = 0;
	kvsink_record(h.chip, write_tape, NULL);
	kvsink_reset(h.chip, KVSINK_RESET_COLD);
	h_start(&h);
}

static void attend(const struct h_stream *stream, uint32_t mode, unsigned ring)
{
	h_queries(&h, 17 + mode, 2 * stream->q_heads * stream->d_k);
	for (uint32_t layer = 0; layer < stream->layers; layer++)
		h_attend_cmd(&h, stream, layer, TOKENS - 2, 2)->attend.mode = mode;
	h_submit(&h, ring);
	h_run(&h);
}

/* Something of everything, refusals, faults and a reset among it. */
static void story(unsigned parts)
{
	begin(parts);
	s = h_geometry(1);
	h_stream(&h, &s);
	h_fill(&h, &s, 0, TOKENS);
	h_queries(&h, 5, TOKENS * s.q_heads * s.d_k);
	h_score_cmd(&h, &s, 0, 0, TOKENS);
	h_do(&h);
	h_promote(&h, &s, 3, 0, 2, 3);
	h_promote(&h, &s, 3, 0, 2, 3); /* CONFLICT */
	h_barrier(&h, &s);
	for (uint32_t mode = 0; mode < KVSINK_ATTEND_MODE_COUNT; mode++)
		attend(&s, mode, mode % 2);
	h_publish_prefix(&h, &s, 900, 8, NULL);
	n = h_geometry(2);
	h_create(&h, &n);
	h_attach(&h, &n, 900, 6);
	kvsink_inject(h.chip, KVSINK_INJECT_DMA_ERROR, 1);
	attend(&s, KVSINK_ATTEND_SPLIT, 0);
	h.refuse_bus = h_gart_bus(H_Q / 4096);
	h.refuse_bytes = 4096;
	attend(&s, KVSINK_ATTEND_SPLIT, 1);
	h.refuse_bytes = 0;
	kvsink_mmio_write(h.chip, KVSINK_REG_CONTROL, KVSINK_CONTROL_RESET_MASK);
	h_start(&h);
	attend(&n, KVSINK_ATTEND_CANONICAL, 0);
}

static void the_same(void)
{
	struct kvsink_replay_result result;
	uint64_t digest[2];
	size_t bytes;
	int rc;

	for (unsigned i = 0; i < 2; i++) {
		story(1 + 2 * i);
		digest[i] = kvsink_digest(h.chip);
		tap_ok(!kvsink_record_end(h.chip), "%u parts: the recording is closed", h.parts);
		bytes = tape_bytes;
		kvsink_mmio_write(h.chip, KVSINK_REG_IRQ_MASK, 1);
		tap_ok(tape_bytes == bytes && h.irqs[0],
		       "what comes after is not in it; the host still hears");
		h_close(&h);
		rc = replay(&result);
		tap_ok(!rc && result.ended && result.digest == digest[i] && !*result.why && result.bytes_in &&
			       result.bytes_out,
		       "and a chip that is told it does the same: %llu records, %s",
		       (unsigned long long)result.records, *result.why ? result.why : "the same digest");
	}
	tap_ok(digest[0] == digest[1], "the digest does not depend on threads");
}

/* ---- what was changed ---- */

static void expect(const char *why, bool wrong, const char *what)
{
	struct kvsink_replay_result result;
	int rc = replay(&result);

	tap_ok(rc && strstr(result.why, why) && result.wrong == wrong, "%s: %s", what, result.why);
}

/* Offset of the n-th record of a kind from the end of the header on; a DMA record is found by its form. */
static size_t find(uint32_t kind, unsigned nth)
{
	static const unsigned words[] = {0, 2, 1, 1, 1, 2, 3, 4, 2};
	size_t at = 8 * 16;

	while (at < tape_bytes) {
		uint64_t word, refused;

		memcpy(&word, tape + at, 8);
		if ((word & 0xff) == kind && !nth--)
			return at;
		memcpy(&refused, tape + at + 16, 8);
		if ((word & 0xff) == 6 && !refused)
			at += ((word >> 8) + 7) / 8 * 8;
		at += 8 * words[word & 0xff];
	}
	return 0;
}

static uint64_t word_at(size_t at)
{
	uint64_t word;

	memcpy(&word, tape + at, sizeof(word));
	return word;
}

static void patch(size_t at, uint64_t word, const char *why, bool wrong, const char *what)
{
	uint64_t before = word_at(at);

	memcpy(tape + at, &word, sizeof(word));
	expect(why, wrong, what);
	memcpy(tape + at, &before, sizeof(before));
}

/* A recording ends with its digest: what comes behind it would not be checked. */
static void behind(void)
{
	size_t whole = tape_bytes;
	const uint8_t more = 0;

	write_tape(NULL, &more, 1);
	expect("behind the digest", true, "a byte behind the end");
	tape_bytes = whole;
	tape = realloc(tape, 2 * whole);
	memcpy(tape + whole, tape, whole);
	tape_bytes = 2 * whole;
	expect("behind the digest", true, "another recording behind the end");
	tape_bytes = whole;
}

static void changes(void)
{
	size_t write, read, sent, end, run, retire, inject, whole;

	story(1);
	kvsink_record_end(h.chip);
	h_close(&h);
	write = find(1, 3);
	run = find(2, 5);
	retire = find(3, 1);
	read = find(6, 40);
	sent = find(7, 4);
	inject = find(5, 0);
	end = find(8, 0);
	tap_ok(write && run && retire && read && sent && inject && end + 16 == tape_bytes,
	       "records of every kind, the digest is the last");
	patch(0, word_at(0) + 1, "", true, "another beginning");
	patch(8, 1 << 10, "sram_bytes", true, "a size that no chip has");
	patch(write, 1 | (uint64_t)KVSINK_REGS_BYTES << 8, "is not possible here", true,
	      "a register that does not exist");
	patch(run, 2 | 2 << 8, "is not possible here", true, "a turn of ring 2 of 2");
	patch(retire, 3 | 1 << 8, "is not possible here", true, "an end of nothing");
	patch(retire, 99, "is not possible here", true, "a record of no kind");
	patch(read, word_at(read) + (8 << 8), "bytes at", false, "a read of other length");
	patch(read + 8, word_at(read + 8) + 64, "bytes at", false, "a read from elsewhere");
	patch(sent, word_at(read), "the chip wants to", false, "a read where the chip writes");
	patch(sent + 24, word_at(sent + 24) ^ 1, "are not those", false, "another byte written");
	patch(end + 8, word_at(end + 8) ^ 1, "the digest is not", false, "another digest");
	patch(end, 8 | 1 << 8, "is not possible here", true, "an end with something to it");
	patch(write + 8, word_at(write + 8) | 1ull << 40, "is not possible here", true,
	      "a register's value of more than 32 bits");
	patch(inject + 8, word_at(inject + 8) | 1ull << 32, "is not possible here", true,
	      "faults without number");
	patch(sent + 16, 2, "neither", true, "a write that was neither done nor refused");
	patch(read + 16, 1ull << 63, "neither", true, "a read likewise");
	behind();
	whole = tape_bytes;
	tape_bytes = end;
	expect("the recording ends", false, "no end");
	tape_bytes = read + 8;
	expect("the recording ends", false, "cut off within a record");
	tape_bytes = 40;
	expect("", true, "cut off within the properties");
	tape_bytes = whole;
}

/* One bit of any operand is noticed, if only in the digest; of jobs that end well, that is before the fault.
 */
static void operands(void)
{
	struct kvsink_replay_result result;
	unsigned missed = 0, tried = 0;
	size_t at, byte, fault = find(5, 0);

	for (unsigned nth = 0; (at = find(6, nth)) && at < fault; nth++) {
		if (word_at(at + 8) < h_gart_bus(5) || word_at(at + 16))
			continue;
		byte = at + 24 + (word_at(at) >> 8) - 1 - 4 * tried; /* of an exponent */
		tape[byte] ^= 0x10;
		missed += !replay(&result);
		tape[byte] ^= 0x10;
		tried++;
	}
	tap_ok(!missed && tried > 10, "a bit of each of %u pieces of operands: noticed", tried);
	tap_ok(!replay(&result), "and the tape as it was is the same still");
}

static void full(void)
{
	struct kvsink_replay_result result;
	int rc;

	tape_room = 4000;
	story(1);
	tap_ok(kvsink_record_end(h.chip) == -1, "a recording that does not fit says so");
	h_close(&h);
	tape_room = 0;
	rc = replay(&result);
	tap_ok(rc && !result.ended, "and is not the same: %s", result.why);
}

/* ---- the digest ---- */

static uint64_t seen[64];
static unsigned seens;

static void differs(const char *what)
{
	uint64_t now = kvsink_digest(h.chip);
	bool news = true;

	for (unsigned i = 0; i < seens; i++)
		news = news && seen[i] != now;
	tap_ok(news && now == kvsink_digest(h.chip), "the digest knows of %s", what);
	seen[seens++] = now;
}

static void digest(void)
{
	story(1);
	differs("all that so far");
	h_config(&h, 1, KVSINK_PARAM_T_SINK, 0x3f000000);
	differs("a parameter of a stream");
	kvsink_inject(h.chip, KVSINK_INJECT_HANG, 3);
	differs("faults to come");
	kvsink_inject(h.chip, KVSINK_INJECT_HANG, 0);
	kvsink_mmio_write(h.chip, KVSINK_REG_IRQ_MASK, 1);
	differs("a register");
	h.hbm[h.config.hbm_bytes - 1] ^= 1;
	differs("a bit of HBM");
	h.sram[h.config.sram_bytes - 1] ^= 0x80;
	differs("a bit of SRAM");
	h_promote(&h, &s, 9, 0, 1, 1);
	differs("a copy under way");
	h_barrier(&h, &s);
	differs("its end");
	h_append(&h, &s, 0, TOKENS, 1);
	differs("an open step");
	h_publish(&h, 1);
	h_doorbell(&h, 1);
	differs("a job that waits");
	h_close(&h);
}

static void destroy(uint64_t id)
{
	h_cmd(&h, KVSINK_OP_STREAM_DESTROY)->stream_destroy.stream = id;
	h_priv(&h);
}

/* A tenant comes, and goes; of what happened to it only that it was lost is left. */
static void lose_events(uint32_t tenant)
{
	struct h_stream gone = h_geometry(50);

	gone.tenant = tenant;
	h_stream(&h, &gone);
	h_fill(&h, &gone, 0, 1);
	h_promote(&h, &gone, 0, 0, 1, 1);
	h_barrier(&h, &gone);
	destroy(gone.id);
	for (uint32_t i = 0; i < KVSINK_SPAN_SLOTS; i++) { /* of the timeline likewise */
		h_promote(&h, &s, 11, 0, 1, 1);
		h_evict(&h, &s, 11);
	}
}

/* The same commands at the same cost, with another value in one of them. */
static uint64_t variant(unsigned which, unsigned value)
{
	struct kvsink_cmd *cmd;
	uint64_t digest;

	story(1);
	h_promote(&h, &s, 9, 0, 1, 1);
	h_barrier(&h, &s);
	if (which == 0)
		h_config(&h, 1, KVSINK_PARAM_T_SINK, 0x3f000000 + value);
	if (which == 1)
		h_config(&h, 1, KVSINK_PARAM_N_DWELL, 7 + value);
	if (which == 2) {
		cmd = h_promote_cmd(&h, &s, 10, 0, 1, 1);
		cmd->promote.priority = 1 + value;
		h_do(&h);
	}
	if (which == 3)
		h_promote(&h, &s, 10, value, 1 + value, 1);
	if (which == 4)
		h_config(&h, 0, KVSINK_PARAM_N_DWELL, 7 + value);
	if (which == 5)
		lose_events(60 + value);
	digest = kvsink_digest(h.chip);
	h_close(&h);
	return digest;
}

static void values(void)
{
	static const char *const what[] = {"a threshold",
					   "a count",
					   "a contract's priority",
					   "an entry's layer",
					   "a default of the device",
					   "whose events were lost"};

	for (unsigned i = 0; i < 6; i++)
		tap_ok(variant(i, 0) != variant(i, 1) && variant(i, 0) == variant(i, 0), "and of %s",
		       what[i]);
}

int main(void)
{
	the_same();
	changes();
	operands();
	full();
	digest();
	values();
	free(tape);
	return tap_done();
}
