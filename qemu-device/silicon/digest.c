/* SPDX-License-Identifier: MIT */
/*
 * The state digest: a checksum of all that a chip remembers. Chips that were told the same, in the same
 * order, have the same digest, on every CPU and with any number of threads; two that differ in one bit of
 * memory or of a table have different ones. What is left out is what nothing can depend on: free entries,
 * translations that can be looked up again, scratch, epoch.
 *
 * Pointers count as the ids of what they point to; memory counts page by page, pages of zeros not at all.
 */
#include <string.h>

#include "chip.h"

#define DIGEST_PAGE 4096u
#define ADD(sum, ...)                                                                                        \
	do {                                                                                                 \
		const uint64_t words[] = {__VA_ARGS__};                                                      \
		kvsink_checksum_add(sum, words, sizeof(words));                                              \
	} while (0)

static void add_memory(struct kvsink_checksum *sum, const uint8_t *memory, uint64_t bytes)
{
	static const uint8_t zero[DIGEST_PAGE];
	uint64_t at, n;

	for (at = 0; at < bytes; at += n) { /* sizes of both tiers are multiples of KVSINK_SRAM_UNIT */
		n = bytes - at < DIGEST_PAGE ? bytes - at : DIGEST_PAGE;
		if (!memcmp(memory + at, zero, n))
			continue;
		ADD(sum, at);
		kvsink_checksum_add(sum, memory + at, n);
	}
}

static void add_ring(struct kvsink_checksum *sum, const struct kvsink_ring *r)
{
	ADD(sum, r->jobs, r->cpls, r->doorbell, r->head, r->halted, r->hung, r->lost, r->active, r->stalled,
	    r->work.busy);
	if (!r->active)
		return;
	ADD(sum, r->desc.seqno, r->desc.generation, r->desc.tenant, r->desc.flags, r->next_cmd, r->progress,
	    r->waits, r->begin_ps, r->fault_address);
	for (unsigned i = 0; i < sizeof(r->result) / sizeof(r->result[0]); i++)
		ADD(sum, r->result[i]);
	kvsink_checksum_add(sum, r->cmd, r->desc.cmd_count * sizeof(*r->cmd));
	kvsink_checksum_add(sum, r->item, r->desc.item_count * sizeof(*r->item));
}

static void add_group(struct kvsink_checksum *sum, const struct kvsink_group *g)
{
	const struct kvsink_tail *t = &g->tail;

	ADD(sum, g->begin, g->end, g->seeded, t->tokens);
	if (t->tokens)
		ADD(sum, t->from, t->sram_offset, t->sram_bytes, t->begin, t->end, t->head_mask,
		    t->deadline_ns);
	kvsink_checksum_add(sum, g->params, sizeof(g->params));
}

static void add_layer(struct kvsink_checksum *sum, const struct kvsink_layer_params *l)
{
	uint32_t scale, softcap;

	memcpy(&scale, &l->scale, sizeof(scale));
	memcpy(&softcap, &l->softcap, sizeof(softcap));
	ADD(sum, scale, softcap, l->window, l->appended, l->scored, l->weight, l->observed_first,
	    l->observed_end, l->profiled, l->journaled);
}

static void add_moves(struct kvsink_checksum *sum, const struct kvsink_stream *s)
{
	const struct kvsink_swap *swap = &s->swap;
	const struct kvsink_window *w = &s->window;

	ADD(sum, swap->state, w->tokens, s->closed, s->users, s->prefix ? s->prefix->id : 0, s->shared,
	    s->own_page, s->key[0], s->key[1]);
	if (swap->state)
		ADD(sum, swap->ring, swap->key[0], swap->key[1], swap->written, swap->pages);
	if (w->tokens)
		ADD(sum, w->first, w->journal, w->begin_ns, w->ring, w->rows, w->hbm_bytes, w->sram_bytes);
}

static void add_stream(struct kvsink_checksum *sum, const struct kvsink_stream *s)
{
	ADD(sum, s->id, s->tenant, s->layers, s->q_heads, s->kv_heads, s->d_k, s->d_v, s->format, s->flags,
	    s->page_shift, s->max_tokens, s->mapped_pages, s->score_groups, s->page_table, s->scores,
	    s->page_bytes, s->seal_k, s->seal_v, s->sealed, s->length, s->entries, s->sram_bytes, s->locks,
	    s->refused);
	for (uint32_t g = 0; g < s->score_groups; g++)
		add_group(sum, &s->group[g]);
	for (uint32_t l = 0; l < s->layers; l++)
		add_layer(sum, &s->layer[l]);
	add_moves(sum, s);
	kvsink_checksum_add(sum, s->counters, sizeof(s->counters));
}

static void add_tag(struct kvsink_checksum *sum, const struct kvsink_tag *t, uint32_t index)
{
	ADD(sum, index, t->stream->id, t->head_mask, t->page, t->grant_ps, t->due_ps, t->deadline_ns,
	    t->dwell_steps, t->since_step, t->priority, t->token, t->layer_begin, t->layer_end, t->generation,
	    t->sram_offset, t->sram_bytes, t->row_bytes, t->valid, t->automatic, t->ema);
}

static void add_copies(struct kvsink_checksum *sum, const struct kvsink_chip *chip)
{
	for (uint32_t i = 0; i < chip->copy_count; i++) {
		const struct kvsink_copy *c = &chip->copies[chip->copy_first + i];

		ADD(sum, c->due_ps, c->left_ps, c->start_by_ps, c->begin_ps, c->bus_bytes, c->tag,
		    c->generation, c->begun);
	}
}

/* What software can still ask for: events that are kept, whose were lost, and the timeline. */
static void add_logs(struct kvsink_checksum *sum, const struct kvsink_chip *chip)
{
	ADD(sum, chip->event_next, chip->span_total);
	for (unsigned l = 0; l < KVSINK_EVENT_LOGS; l++) {
		const struct kvsink_event_log *log = &chip->event_log[l];

		ADD(sum, log->total);
		for (uint32_t i = 0; i < log->slots && i < log->total; i++) {
			ADD(sum, log->slot[i].number);
			kvsink_checksum_add(sum, &log->slot[i].rec, sizeof(log->slot[i].rec));
		}
	}
	for (unsigned i = 0; i < KVSINK_EVENT_LOSSES; i++)
		if (chip->event_loss[i].count)
			ADD(sum, i, chip->event_loss[i].behind, chip->event_loss[i].modelled_ns,
			    chip->event_loss[i].count);
	kvsink_checksum_add(sum, chip->spans_log, sizeof(chip->spans_log));
}

static void add_tables(struct kvsink_checksum *sum, const struct kvsink_chip *chip)
{
	for (uint32_t i = 0; i < chip->config.streams; i++)
		if (chip->streams[i].id)
			add_stream(sum, &chip->streams[i]);
	for (uint32_t i = 0; i < chip->config.tags; i++)
		if (chip->tags[i].stream)
			add_tag(sum, &chip->tags[i], i);
	for (uint32_t i = 0; i < chip->span_count; i++)
		ADD(sum, chip->spans[i].offset, chip->spans[i].bytes);
	add_copies(sum, chip);
	add_logs(sum, chip);
}

uint64_t kvsink_digest(const struct kvsink_chip *chip)
{
	static const uint64_t key[2];
	struct kvsink_checksum sum;

	_Static_assert(sizeof(struct kvsink_event_rec) % 8 == 0 && sizeof(struct kvsink_span_rec) % 8 == 0 &&
			       sizeof(struct kvsink_cmd) % 8 == 0 && sizeof(union kvsink_item) % 8 == 0 &&
			       sizeof(chip->reg) % 8 == 0,
		       "checksums are of words");
	kvsink_checksum_begin(&sum, key);
	kvsink_checksum_add(&sum, chip->reg, sizeof(chip->reg));
	kvsink_checksum_add(&sum, chip->counters, sizeof(chip->counters));
	kvsink_checksum_add(&sum, chip->params, sizeof(chip->params));
	ADD(&sum, chip->irq_lines, chip->now_ps, chip->host_ns, chip->live_streams, chip->used_tags,
	    chip->valid_tags, chip->tag_generation, chip->sram_used);
	for (unsigned what = 0; what < KVSINK_INJECT_KINDS; what++)
		ADD(&sum, chip->inject[what]);
	for (unsigned i = 0; i < chip->config.rings; i++)
		add_ring(&sum, &chip->ring[i]);
	add_tables(&sum, chip);
	add_memory(&sum, chip->config.sram, chip->config.sram_bytes);
	add_memory(&sum, chip->config.hbm, chip->config.hbm_bytes);
	return kvsink_checksum_end(&sum);
}
