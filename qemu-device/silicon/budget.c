/* SPDX-License-Identifier: MIT */
/*
 * Budget tracker: the only allocator of SRAM. Lowest address first fit, KVSINK_SRAM_UNIT granules, one
 * contiguous range an entry or tail. A range is scrubbed when it comes back, so a grant is always zero.
 *
 * Granted ranges lie in chip->spans in order of address; free is what is between them. A trial is the same on
 * paper, for plans; the real grants are checked by the same code. Limits are asked in this order: the
 * stream's budget, the device's, the cap of the account (streams with one tenant tag), tags, a range.
 *
 * On paper a grant only lengthens the span before its gap, so that trying and undoing move nothing; an empty
 * span at 0 is always there to be lengthened. Gaps only shrink until something is released: what was too
 * small for some size need not be looked at again for it or a larger one (hints).
 */
#include <string.h>

#include "chip.h"

#define NO_CAP UINT32_MAX

void kvsink_budget_reset(struct kvsink_chip *chip)
{
	chip->span_count = 0;
	chip->sram_used = 0;
}

uint32_t kvsink_account(const struct kvsink_stream *stream)
{
	uint32_t tag = (uint32_t)kvsink_param(stream, KVSINK_PARAM_TENANT_TAG);

	return tag == UINT32_MAX ? stream->tenant : tag;
}

/* Granted to all streams of the account. Nobody asks while there is no cap. */
static uint64_t account_bytes(const struct kvsink_chip *chip, uint32_t account)
{
	uint64_t bytes = 0;

	if (chip->params[KVSINK_PARAM_TENANT_CAP] == NO_CAP)
		return 0;
	for (uint32_t i = 0; i < chip->config.streams; i++)
		if (chip->streams[i].id && chip->streams[i].sram_bytes &&
		    kvsink_account(&chip->streams[i]) == account)
			bytes += chip->streams[i].sram_bytes;
	return bytes;
}

/* What is granted now; its spans are the real ones. */
static struct kvsink_trial as_it_is(const struct kvsink_chip *chip, const struct kvsink_stream *stream)
{
	return (struct kvsink_trial){
		.stream = stream,
		.spans = chip->spans,
		.span_count = chip->span_count,
		.sram_used = chip->sram_used,
		.stream_bytes = stream->sram_bytes,
		.account_bytes = account_bytes(chip, kvsink_account(stream)),
		.used_tags = chip->used_tags,
	};
}

/* ---- ranges ---- */

/* The gap before span i (or behind the last): its start and size. */
static uint32_t gap(const struct kvsink_chip *chip, const struct kvsink_trial *t, uint32_t i, uint32_t *start)
{
	const struct kvsink_span *before = i ? &t->spans[i - 1] : NULL;
	uint32_t end = i < t->span_count ? t->spans[i].offset : chip->config.sram_bytes;

	*start = before ? before->offset + before->bytes : 0;
	return end - *start;
}

/* The first gap from *index on that is large enough: true with its index and start, or false. */
static bool first_fit(const struct kvsink_chip *chip, const struct kvsink_trial *t, uint32_t bytes,
		      uint32_t *index, uint32_t *start)
{
	for (; *index <= t->span_count; ++*index)
		if (gap(chip, t, *index, start) >= bytes)
			return true;
	return false;
}

static uint32_t largest_gap(const struct kvsink_chip *chip, const struct kvsink_trial *t)
{
	uint32_t largest = 0, start;

	for (uint32_t i = 0; i <= t->span_count; i++) {
		uint32_t size = gap(chip, t, i, &start);

		largest = size > largest ? size : largest;
	}
	return largest;
}

uint32_t kvsink_budget_largest(const struct kvsink_chip *chip)
{
	const struct kvsink_trial now = {.spans = chip->spans, .span_count = chip->span_count};

	return largest_gap(chip, &now);
}

static void insert(struct kvsink_span *spans, uint32_t *count, uint32_t index, uint32_t offset,
		   uint32_t bytes)
{
	memmove(&spans[index + 1], &spans[index], (*count - index) * sizeof(spans[0]));
	spans[index] = (struct kvsink_span){.offset = offset, .bytes = bytes};
	++*count;
}

/* The first span from `low` on that begins there or behind. */
static uint32_t span_at(const struct kvsink_span *spans, uint32_t low, uint32_t high, uint32_t offset)
{
	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (spans[mid].offset < offset)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static void remove_span(struct kvsink_span *spans, uint32_t *count, uint32_t index)
{
	memmove(&spans[index], &spans[index + 1], (--*count - index) * sizeof(spans[0]));
}

/* ---- limits ---- */

static uint64_t left(uint64_t limit, uint64_t used)
{
	return limit > used ? limit - used : 0;
}

static uint64_t device_left(const struct kvsink_chip *chip, const struct kvsink_trial *t)
{
	uint64_t limit = chip->params[KVSINK_PARAM_SRAM_BUDGET];

	return left(limit < chip->config.sram_bytes ? limit : chip->config.sram_bytes, t->sram_used);
}

static uint64_t account_left(const struct kvsink_chip *chip, const struct kvsink_trial *t)
{
	uint64_t cap = chip->params[KVSINK_PARAM_TENANT_CAP];

	return cap == NO_CAP ? UINT64_MAX : left(cap, t->account_bytes);
}

/* Is there room for so many bytes and tags, wherever? What is lacking, with what its code says. */
static enum kvsink_lack check_limits(const struct kvsink_chip *chip, const struct kvsink_trial *t,
				     uint64_t bytes, uint32_t tags, uint64_t *address)
{
	uint64_t own = left(kvsink_param(t->stream, KVSINK_PARAM_SRAM_BUDGET), t->stream_bytes);
	uint64_t device = device_left(chip, t), account = account_left(chip, t);

	*address = own < device ? own : device;
	if (bytes > own)
		return KVSINK_LACK_STREAM;
	if (bytes > device)
		return KVSINK_LACK_DEVICE;
	*address = account;
	if (bytes > account)
		return KVSINK_LACK_ACCOUNT;
	*address = chip->config.tags;
	return tags > chip->config.tags - t->used_tags ? KVSINK_LACK_TAGS : KVSINK_LACK_NOTHING;
}

uint32_t kvsink_lack_code(enum kvsink_lack lack)
{
	static const uint32_t codes[] = {
		[KVSINK_LACK_NOTHING] = KVSINK_CODE_OK,	   [KVSINK_LACK_STREAM] = KVSINK_CODE_BUDGET,
		[KVSINK_LACK_DEVICE] = KVSINK_CODE_BUDGET, [KVSINK_LACK_ACCOUNT] = KVSINK_CODE_TENANT_CAP,
		[KVSINK_LACK_TAGS] = KVSINK_CODE_TAGS,	   [KVSINK_LACK_RANGE] = KVSINK_CODE_FRAGMENTED,
	};

	return codes[lack];
}

/* ---- on paper ---- */

void kvsink_trial_begin(struct kvsink_chip *chip, const struct kvsink_stream *stream)
{
	struct kvsink_span *spans = chip->trial.spans;

	chip->trial = as_it_is(chip, stream);
	chip->trial.spans = spans;
	chip->trial.span_count++;
	spans[0] = (struct kvsink_span){0};
	memcpy(spans + 1, chip->spans, chip->span_count * sizeof(*spans));
	chip->trial.looks = chip->span_count;
}

enum kvsink_lack kvsink_trial_limits(const struct kvsink_chip *chip, uint64_t bytes, uint32_t tags,
				     uint64_t *address)
{
	return check_limits(chip, &chip->trial, bytes, tags, address);
}

/* From which gap on there may be one for so many bytes. */
static uint32_t hinted(const struct kvsink_trial *t, uint32_t bytes)
{
	uint32_t index = 0;

	for (uint32_t i = 0; i < KVSINK_TRIAL_HINTS; i++)
		if (t->hint[i].bytes <= bytes && t->hint[i].index > index)
			index = t->hint[i].index;
	return index;
}

/* Gaps before `index` are too small for so many bytes. */
static void set_hint(struct kvsink_trial *t, uint32_t bytes, uint32_t index)
{
	uint32_t i = 0;

	while (i < KVSINK_TRIAL_HINTS && t->hint[i].bytes != bytes)
		i++;
	if (i == KVSINK_TRIAL_HINTS)
		i = t->next_hint++ % KVSINK_TRIAL_HINTS;
	t->hint[i] = (struct kvsink_hint){bytes, index};
}

/* Gaps have grown. */
static void forget_hints(struct kvsink_trial *t)
{
	memset(t->hint, 0, sizeof(t->hint));
}

uint32_t kvsink_trial_grant(struct kvsink_chip *chip, uint32_t bytes, bool needs_tag, uint64_t *address)
{
	struct kvsink_trial *t = &chip->trial;
	enum kvsink_lack lack = check_limits(chip, t, bytes, needs_tag, address);
	uint32_t from = hinted(t, bytes), index = from, start;
	bool fits;

	if (lack)
		return kvsink_lack_code(lack);
	fits = first_fit(chip, t, bytes, &index, &start);
	t->looks += index - from + 1;
	set_hint(t, bytes, index);
	if (!fits) {
		t->looks += t->span_count;
		*address = largest_gap(chip, t);
		return KVSINK_CODE_FRAGMENTED;
	}
	/* no gap lies before the empty span, so there is one to lengthen */
	t->spans[index - 1].bytes += bytes;
	t->last_fit = index - 1;
	t->sram_used += bytes;
	t->stream_bytes += bytes;
	t->account_bytes += bytes;
	t->used_tags += needs_tag;
	return KVSINK_CODE_OK;
}

void kvsink_trial_undo(struct kvsink_chip *chip, uint32_t fit, uint32_t bytes)
{
	struct kvsink_trial *t = &chip->trial;

	t->spans[fit].bytes -= bytes;
	t->sram_used -= bytes;
	t->stream_bytes -= bytes;
	t->account_bytes -= bytes;
	t->used_tags--;
	forget_hints(t);
}

void kvsink_trial_free(struct kvsink_chip *chip, const struct kvsink_stream *owner, uint32_t offset,
		       uint32_t bytes, bool has_tag)
{
	struct kvsink_trial *t = &chip->trial;
	uint32_t index = span_at(t->spans, 1, t->span_count, offset);
	struct kvsink_span *span = &t->spans[index];

	/* what was granted on paper since lies behind it in the same span */
	span->offset += bytes;
	span->bytes -= bytes;
	if (!span->bytes)
		remove_span(t->spans, &t->span_count, index);
	forget_hints(t);
	t->looks++;
	t->sram_used -= bytes;
	t->used_tags -= has_tag;
	if (owner == t->stream)
		t->stream_bytes -= bytes;
	if (kvsink_account(owner) == kvsink_account(t->stream))
		t->account_bytes -= t->account_bytes < bytes ? t->account_bytes : bytes;
}

void kvsink_trial_release(struct kvsink_chip *chip, const struct kvsink_tag *tag)
{
	kvsink_trial_free(chip, tag->stream, tag->sram_offset, tag->sram_bytes, true);
}

/* ---- in earnest ---- */

uint32_t kvsink_budget_grant(struct kvsink_chip *chip, struct kvsink_stream *stream, uint32_t bytes,
			     bool needs_tag, uint64_t *at)
{
	const struct kvsink_trial now = as_it_is(chip, stream);
	enum kvsink_lack lack = check_limits(chip, &now, bytes, needs_tag, at);
	uint32_t index = 0, start;

	if (lack)
		return kvsink_lack_code(lack);
	if (!first_fit(chip, &now, bytes, &index, &start)) {
		*at = largest_gap(chip, &now);
		return KVSINK_CODE_FRAGMENTED;
	}
	insert(chip->spans, &chip->span_count, index, start, bytes);
	chip->sram_used += bytes;
	stream->sram_bytes += bytes;
	*at = start;
	return KVSINK_CODE_OK;
}

void kvsink_budget_release(struct kvsink_chip *chip, struct kvsink_stream *stream, uint32_t offset)
{
	uint32_t index = span_at(chip->spans, 0, chip->span_count, offset), bytes = chip->spans[index].bytes;

	remove_span(chip->spans, &chip->span_count, index);
	memset(chip->config.sram + offset, 0, bytes);
	kvsink_dirty(chip, KVSINK_SPACE_SRAM, offset, bytes);
	chip->sram_used -= bytes;
	stream->sram_bytes -= bytes;
}
