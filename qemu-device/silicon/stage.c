/* SPDX-License-Identifier: MIT */
/*
 * Arithmetic items: staging, execution, retirement of ATTEND and SCORE.
 *
 * Staging checks everything and resolves every address: queries are read in, pages and residents looked
 * up, outputs translated; then the streams are locked and the item goes to the host. Nothing of the
 * outside is touched until it retires, in the order of the host's choice: outputs, scores, ledger, clock.
 * A reset in between changes the chip's epoch; then the item is dropped.
 */
#include <stdlib.h>
#include <string.h>

#include "record.h"

#define TAIL_ROWS (KVSINK_MAX_ITEMS * KVSINK_MAX_TAIL_TOKENS)
#define SHARED_ROWS (KVSINK_MAX_ITEMS * 512) /* entries of prefixes, once for each task that sees them */

int kvsink_work_init(struct kvsink_ring *ring)
{
	const struct kvsink_chip_config *config = &ring->chip->config;
	struct kvsink_item_work *work = &ring->work;
	uint64_t entries = config->sram_bytes / KVSINK_SRAM_UNIT;

	work->ring = ring;
	/* as many pages as HBM holds, and those of the longest stream even if it maps a page twice */
	work->pages_max = config->hbm_bytes / KVSINK_HBM_ALIGN + KVSINK_MAX_TOKENS;
	/* entries in all their layers, and a tail an item; a row of it has four bytes at least */
	work->residents_max = (entries < config->tags ? entries : config->tags) * KVSINK_MAX_LAYERS +
			      (config->sram_bytes / 4 < TAIL_ROWS ? config->sram_bytes / 4 : TAIL_ROWS) +
			      SHARED_ROWS + 1;
	work->q = calloc(1, KVSINK_STAGE_BYTES);
	work->out = calloc(1, KVSINK_STAGE_BYTES);
	work->stats = calloc(1, KVSINK_STAGE_BYTES);
	work->score = calloc(KVSINK_MAX_TOKENS, sizeof(*work->score));
	work->mass = calloc(KVSINK_STAGE_BYTES / sizeof(float), sizeof(*work->mass));
	work->observed = calloc(KVSINK_OBSERVE_TOKENS, sizeof(*work->observed));
	work->sinks = calloc(KVSINK_OBSERVE_TOKENS / 64, sizeof(*work->sinks));
	work->sink_mass = calloc(KVSINK_SINK_SUMS, sizeof(*work->sink_mass));
	work->pages = calloc(work->pages_max, sizeof(*work->pages));
	work->resident = calloc(work->residents_max, sizeof(*work->resident));
	work->scratch = calloc(KVSINK_MAX_PARTS * KVSINK_SCRATCH_FLOATS, sizeof(*work->scratch));
	return work->q && work->out && work->stats && work->score && work->mass && work->observed &&
			       work->sinks && work->sink_mass && work->pages && work->resident &&
			       work->scratch
		       ? 0
		       : -1;
}

void kvsink_work_fini(struct kvsink_ring *ring)
{
	struct kvsink_item_work *work = &ring->work;

	free(work->q);
	free(work->out);
	free(work->stats);
	free(work->score);
	free(work->mass);
	free(work->observed);
	free(work->sinks);
	free(work->sink_mass);
	free(work->pages);
	free(work->resident);
	free(work->scratch);
}

/* ---- staging ---- */

static uint64_t q_bytes(const struct kvsink_attend_task *task)
{
	return (uint64_t)task->count * task->q_heads * task->rows.d_k * sizeof(float);
}

static uint64_t out_bytes(const struct kvsink_attend_task *task)
{
	return (uint64_t)task->count * task->q_heads * task->rows.d_v * sizeof(float);
}

static uint64_t stat_bytes(const struct kvsink_attend_task *task)
{
	return (uint64_t)task->count * task->q_heads * sizeof(struct kvsink_attend_stat);
}

/* The mass operand: one float each; the sums themselves take twice that. */
static uint64_t mass_bytes(const struct kvsink_attend_task *task)
{
	return ((uint64_t)task->first + task->count) * task->rows.kv_heads * sizeof(float);
}

static uint32_t extent(const struct kvsink_attend_task *task)
{
	return task->first + task->count;
}

/* Fill in what the stream says; addresses follow later. */
static void task_init(struct kvsink_item_work *work, uint32_t i, struct kvsink_stream *s, uint32_t layer,
		      uint32_t first, uint32_t count)
{
	struct kvsink_attend_task *task = &work->task[i];

	work->stream[i] = s;
	work->layer[i] = layer;
	work->mass_sram[i] = 0;
	*task = (struct kvsink_attend_task){
		.rows = kvsink_page_rows(s, layer),
		.q_heads = s->q_heads,
		.first = first,
		.count = count,
		.scale = s->layer[layer].scale,
		.softcap = s->layer[layer].softcap,
		.window = s->layer[layer].window,
		.heads = kvsink_head_params(work->ring->chip, s, layer),
		.mode = KVSINK_ATTEND_SPLIT,
		.mass_sram = &work->mass_sram[i],
		.local_window = kvsink_param_window(s),
		.cancelled = &work->cancelled,
	};
}

/* What gated mode wants of a task: the parameters of its layer's group, and the norms of its V rows. */
static void task_gate(struct kvsink_item_work *work, uint32_t i)
{
	const struct kvsink_chip *chip = work->ring->chip;
	const struct kvsink_stream *s = work->stream[i];
	const uint64_t *params = s->group[kvsink_stream_group(s, work->layer[i])].params;
	struct kvsink_gating *gate = &work->task[i].gate;
	uint32_t epsilon = (uint32_t)params[KVSINK_PARAM_EPSILON];

	gate->criterion = (uint32_t)params[KVSINK_PARAM_GATE];
	memcpy(&gate->epsilon, &epsilon, sizeof(gate->epsilon));
	gate->buffer = params[KVSINK_PARAM_GATE_BUFFER];
	gate->certify = params[KVSINK_PARAM_CERTIFY];
	gate->norm_max = kvsink_norm_max(chip, s, work->layer[i]);
	gate->norms = kvsink_norms(chip, s, work->layer[i]);
	gate->norms_at = (uint64_t)((const uint8_t *)gate->norms - chip->config.hbm);
	gate->norm_stride = s->max_tokens;
	gate->burst_bytes = chip->config.burst_bytes;
	gate->bytes = &work->gate_bytes[i];
	work->gate_bytes[i] = (struct kvsink_gate_bytes){0};
}

/* Pages of task i: those of an earlier task of the stream, or looked up for the longest of its tasks. */
static uint32_t resolve_pages(struct kvsink_ring *ring, uint32_t i)
{
	struct kvsink_item_work *work = &ring->work;
	struct kvsink_stream *s = work->stream[i];
	uint32_t longest = extent(&work->task[i]), pages, code;

	for (uint32_t j = 0; j < work->tasks; j++) {
		if (work->stream[j] != s)
			continue;
		if (j < i) {
			work->task[i].rows.pages = work->task[j].rows.pages;
			return KVSINK_CODE_OK;
		}
		if (extent(&work->task[j]) > longest)
			longest = extent(&work->task[j]);
	}
	pages = ((longest - 1) >> s->page_shift) + 1;
	if (pages > work->pages_max - work->pages_used)
		return kvsink_fault(ring, KVSINK_CODE_TOO_BIG, (uint64_t)pages * sizeof(uint64_t));
	ring->stream = s;
	work->task[i].rows.pages = work->pages + work->pages_used;
	code = kvsink_page_resolve(ring, s, 0, pages, work->pages + work->pages_used);
	work->pages_used += pages;
	return code;
}

/* Residents of task i, or those of an earlier task of the same layer. Prefill reads HBM only. */
static uint32_t resolve_residents(struct kvsink_ring *ring, uint32_t i, uint32_t layer)
{
	struct kvsink_item_work *work = &ring->work;
	struct kvsink_rows *rows = &work->task[i].rows;

	if (work->scoring)
		return KVSINK_CODE_OK;
	for (uint32_t j = 0; j < i; j++) {
		if (work->stream[j] == work->stream[i] && work->task[j].rows.k_offset == rows->k_offset) {
			rows->resident = work->task[j].rows.resident;
			rows->residents = work->task[j].rows.residents;
			return KVSINK_CODE_OK;
		}
	}
	rows->resident = work->resident + work->residents_used;
	rows->residents = (uint32_t)kvsink_tag_residents(ring->chip, work->stream[i], layer,
							 work->resident + work->residents_used,
							 work->residents_max - work->residents_used);
	work->residents_used += rows->residents;
	/* a list that fills the arena may have been cut off */
	if (work->residents_used == work->residents_max)
		return kvsink_fault(ring, KVSINK_CODE_TOO_BIG, work->residents_max * sizeof(*work->resident));
	return KVSINK_CODE_OK;
}

/* ---- what several tasks read once ---- */

static uint32_t seen_from(const struct kvsink_attend_task *task)
{
	return task->window && task->window <= task->first ? task->first + 1 - task->window : 0;
}

/*
 * Rows of prefixes that an earlier task of the command reads anyway are read once and go to the queries of
 * both. Gated tasks choose their V rows by themselves.
 */
static void share_reads(struct kvsink_item_work *work, uint32_t i)
{
	struct kvsink_attend_task *task = &work->task[i];

	for (uint32_t j = 0; j < i && !work->scoring; j++) {
		const struct kvsink_attend_task *other = &work->task[j];
		uint32_t tokens;

		if (work->layer[j] != work->layer[i] || work->stream[j] == work->stream[i] ||
		    task->mode == KVSINK_ATTEND_GATED || seen_from(other) > seen_from(task))
			continue;
		tokens = kvsink_shared_tokens(work->stream[j], work->stream[i]);
		tokens =
			tokens < extent(other) - other->count + 1 ? tokens : extent(other) - other->count + 1;
		task->read_already = tokens > task->read_already ? tokens : task->read_already;
	}
}

struct operands {
	const struct kvsink_ref *q, *out, *stats, *mass; /* stats and mass may be NULL */
};

static uint32_t check_operand(struct kvsink_ring *ring, const struct kvsink_ref *ref, uint64_t bytes)
{
	if (bytes > KVSINK_STAGE_BYTES)
		return kvsink_fault(ring, KVSINK_CODE_TOO_BIG, bytes);
	return kvsink_operand_check(ring, ref, bytes);
}

/* Sizes of the operands over all tasks. */
static uint32_t check_operands(struct kvsink_ring *ring, const struct operands *op)
{
	struct kvsink_item_work *work = &ring->work;
	uint64_t q = 0, out = 0, stats = 0, mass = 0;
	uint32_t code;

	for (uint32_t i = 0; i < work->tasks; i++) {
		q += q_bytes(&work->task[i]);
		out += out_bytes(&work->task[i]);
		stats += stat_bytes(&work->task[i]);
		mass += mass_bytes(&work->task[i]);
	}
	code = check_operand(ring, op->q, q);
	if (!code)
		code = check_operand(ring, op->out, out);
	if (!code && op->stats)
		code = check_operand(ring, op->stats, stats);
	if (!code && op->mass)
		code = check_operand(ring, op->mass, mass);
	return code;
}

/* The tasks' places in the staging buffers. */
static void place_operands(struct kvsink_item_work *work, const struct operands *op)
{
	for (uint32_t i = 0, at_q = 0, at_out = 0, at_stats = 0; i < work->tasks; i++) {
		struct kvsink_attend_task *task = &work->task[i];

		task->q = (const float *)((uint8_t *)work->q + at_q);
		task->out = (float *)((uint8_t *)work->out + at_out);
		task->stats = op->stats ? (void *)((uint8_t *)work->stats + at_stats) : NULL;
		at_q += (uint32_t)q_bytes(task);
		at_out += (uint32_t)out_bytes(task);
		at_stats += (uint32_t)stat_bytes(task);
		if (op->mass) {
			task->mass = work->mass + work->mass_used;
			work->mass_used += mass_bytes(task) / sizeof(float);
		}
	}
	work->out_ref = *op->out;
	work->has_stats = op->stats;
	if (op->stats)
		work->stats_ref = *op->stats;
	work->has_mass = op->mass;
	if (op->mass)
		work->mass_ref = *op->mass;
}

static const struct kvsink_ref *wanted(const struct kvsink_ref *ref)
{
	return ref->space == KVSINK_SPACE_NONE ? NULL : ref;
}

static uint32_t read_queries(struct kvsink_ring *ring, const struct kvsink_ref *ref)
{
	struct kvsink_item_work *work = &ring->work;
	uint32_t code = KVSINK_CODE_OK;

	for (uint32_t i = 0; i < work->tasks && !code; i++) {
		uint64_t at = (uint64_t)((const uint8_t *)work->task[i].q - (const uint8_t *)work->q);

		ring->stream = work->stream[i];
		code = kvsink_operand_read(ring, ref, at, (uint8_t *)work->q + at, q_bytes(&work->task[i]));
	}
	return code;
}

static void work_begin(struct kvsink_item_work *work, bool scoring)
{
	work->scoring = scoring;
	work->cancelled = false;
	work->tasks = 0;
	work->pages_used = 0;
	work->residents_used = 0;
	work->mass_used = 0;
	work->observed_used = 0;
	work->sink_mass_used = 0;
	work->epoch = work->ring->chip->epoch;
}

/* All checks passed: the tasks' rows stay as they are. */
static void work_commit(struct kvsink_item_work *work)
{
	for (uint32_t i = 0; i < work->tasks; i++)
		kvsink_stream_lock(work->stream[i]);
}

static uint32_t check_item(struct kvsink_ring *ring, uint32_t i, const struct kvsink_attend_item *item)
{
	struct kvsink_stream *s;
	uint32_t code = kvsink_stream_get_hbm(ring, item->stream, &s);
	uint64_t rows;

	if (code)
		return code;
	if (item->layer >= s->layers)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_ITEM_FIELD(i, attend, layer));
	if (!item->count)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_ITEM_FIELD(i, attend, count));
	for (unsigned r = 0; r < 3; r++)
		if (item->reserved[r])
			return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD,
					    KVSINK_ITEM_FIELD(i, attend, reserved));
	rows = (uint64_t)s->length + s->layer[item->layer].appended;
	if ((uint64_t)item->first + item->count > rows)
		return kvsink_fault(ring, KVSINK_CODE_SEQUENCE, rows);
	task_init(&ring->work, i, s, item->layer, item->first, item->count);
	return KVSINK_CODE_OK;
}

/* Where V lies in K there is nothing to leave unread: split is the same, and reads no norms. */
static uint32_t mode_of(const struct kvsink_stream *s, uint32_t mode)
{
	return mode == KVSINK_ATTEND_GATED && (s->flags & KVSINK_STREAM_V_IN_K) ? KVSINK_ATTEND_SPLIT : mode;
}

uint32_t kvsink_cmd_attend(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_cmd_attend *c = &cmd->attend;
	struct operands op = {&c->q, &c->out, wanted(&c->stats), wanted(&c->mass)};
	const union kvsink_item *item;
	struct kvsink_item_work *work = &ring->work;
	uint32_t code;

	if (c->mode >= KVSINK_ATTEND_MODE_COUNT)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(attend.mode));
	if (c->reserved)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(attend.reserved));
	if (!c->item_count)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(attend.item_count));
	code = kvsink_check_items(ring, c->first_item, c->item_count, KVSINK_FIELD(attend.first_item));
	if (code)
		return code;
	item = ring->item + c->first_item;
	work_begin(work, false);
	for (; work->tasks < c->item_count && !code; work->tasks++)
		code = check_item(ring, work->tasks, &item[work->tasks].attend);
	if (!code)
		code = check_operands(ring, &op);
	if (code)
		return code;
	place_operands(work, &op);
	for (uint32_t i = 0; i < work->tasks; i++) {
		work->task[i].mode = mode_of(work->stream[i], c->mode);
		if (work->task[i].mode == KVSINK_ATTEND_GATED)
			task_gate(work, i);
	}
	kvsink_ecc_strike(ring->chip, work->stream[0], item[0].attend.layer);
	for (uint32_t i = 0; i < work->tasks && !code; i++) {
		code = resolve_pages(ring, i);
		if (!code)
			code = kvsink_observe_stage(ring, i);
		if (!code)
			code = resolve_residents(ring, i, item[i].attend.layer);
		share_reads(work, i);
	}
	if (!code)
		code = read_queries(ring, op.q);
	if (!code)
		work_commit(work);
	return code;
}

static uint32_t check_score(struct kvsink_ring *ring, const struct kvsink_stream *s,
			    const struct kvsink_cmd_score *c)
{
	if (c->reserved)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(score.reserved));
	if (c->layer >= s->layers)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(score.layer));
	if (!c->count)
		return kvsink_fault(ring, KVSINK_CODE_BAD_FIELD, KVSINK_FIELD(score.count));
	if (c->first != s->layer[c->layer].scored)
		return kvsink_fault(ring, KVSINK_CODE_SEQUENCE, s->layer[c->layer].scored);
	/* an open step may still be dropped, a score cannot be taken back */
	if ((uint64_t)c->first + c->count > s->length)
		return kvsink_fault(ring, KVSINK_CODE_SEQUENCE, s->length);
	return KVSINK_CODE_OK;
}

uint32_t kvsink_cmd_score(struct kvsink_ring *ring, const struct kvsink_cmd *cmd)
{
	const struct kvsink_cmd_score *c = &cmd->score;
	struct operands op = {&c->q, &c->out, NULL, NULL};
	struct kvsink_item_work *work = &ring->work;
	struct kvsink_stream *s;
	uint32_t code = kvsink_stream_get_hbm(ring, c->stream, &s);

	if (!code)
		code = check_score(ring, s, c);
	if (code)
		return code;
	work_begin(work, true);
	work->tasks = 1;
	task_init(work, 0, s, c->layer, c->first, c->count);
	work->task[0].score = work->score;
	code = check_operands(ring, &op);
	if (code)
		return code;
	place_operands(work, &op);
	code = resolve_pages(ring, 0);
	if (!code)
		code = read_queries(ring, op.q);
	if (!code)
		work_commit(work);
	return code;
}

/* ---- execution ---- */

/* Also counts what the tasks read: with many residents that takes too long under the host's lock. */
void kvsink_exec(struct kvsink_item_work *work, unsigned part, unsigned parts)
{
	if (part >= parts || parts > KVSINK_MAX_PARTS)
		return;
	for (uint32_t i = part; i < work->tasks && !kvsink_cancelled(&work->task[i]); i += parts)
		work->bytes[i] = kvsink_ledger_task(work->ring->chip, &work->task[i]);
	kvsink_attend_part(work->task, work->tasks, part, parts,
			   work->scratch + part * KVSINK_SCRATCH_FLOATS);
}

void kvsink_cancel(struct kvsink_chip *chip)
{
	for (unsigned i = 0; i < chip->config.rings; i++)
		if (chip->ring[i].work.busy)
			__atomic_store_n(&chip->ring[i].work.cancelled, true, __ATOMIC_RELAXED);
}

/* ---- retirement ---- */

static uint32_t write_outputs(struct kvsink_ring *ring)
{
	struct kvsink_item_work *work = &ring->work;
	uint32_t code = KVSINK_CODE_OK;

	for (uint32_t i = 0; i < work->tasks && !code; i++) {
		const struct kvsink_attend_task *task = &work->task[i];
		uint64_t at = (uint64_t)((const uint8_t *)task->out - (const uint8_t *)work->out);

		ring->stream = work->stream[i];
		code = kvsink_operand_write(ring, &work->out_ref, at, task->out, out_bytes(task));
		if (code || !work->has_stats)
			continue;
		at = (uint64_t)((const uint8_t *)task->stats - (const uint8_t *)work->stats);
		code = kvsink_operand_write(ring, &work->stats_ref, at, task->stats, stat_bytes(task));
	}
	return code;
}

/* Sums become binary32, in the place where they lie: a float never overtakes the sum that it is made of. */
static uint32_t write_mass(struct kvsink_ring *ring)
{
	struct kvsink_item_work *work = &ring->work;
	uint8_t *bytes = (uint8_t *)work->mass;

	if (!work->has_mass)
		return KVSINK_CODE_OK;
	for (uint64_t i = 0; i < work->mass_used; i++) {
		uint64_t sum;
		float value;

		memcpy(&sum, bytes + i * sizeof(sum), sizeof(sum));
		value = (float)((double)sum * 0x1p-32);
		memcpy(bytes + i * sizeof(value), &value, sizeof(value));
	}
	return kvsink_operand_write(ring, &work->mass_ref, 0, bytes, work->mass_used * sizeof(float));
}

static void add_scores(struct kvsink_item_work *work)
{
	struct kvsink_chip *chip = work->ring->chip;
	struct kvsink_stream *s = work->stream[0];
	uint64_t bytes = (uint64_t)extent(&work->task[0]) * sizeof(uint64_t);
	struct kvsink_layer_params *layer = &s->layer[work->layer[0]];
	uint64_t *sum = kvsink_planes(chip, s, kvsink_stream_group(s, work->layer[0])).sum;

	for (uint32_t t = 0; t < extent(&work->task[0]); t++)
		sum[t] = kvsink_add_weighted(sum[t], work->score[t], layer->weight);
	kvsink_dirty(chip, KVSINK_SPACE_HBM, (uint64_t)((uint8_t *)sum - chip->config.hbm), bytes);
	layer->scored = extent(&work->task[0]);
	kvsink_ledger_add(chip, s, KVSINK_COUNTER_SCORE_HBM, 2 * bytes);
}

/* Takes what gating left unread off the bytes of HBM, adds what it read besides. */
static void book_gate(struct kvsink_item_work *work, uint32_t i)
{
	const struct kvsink_gate_bytes *gate = &work->gate_bytes[i];
	struct kvsink_task_bytes *bytes = &work->bytes[i];
	struct kvsink_chip *chip = work->ring->chip;
	struct kvsink_stream *s = work->stream[i];

	bytes->hbm += gate->k_again - gate->v_skipped;
	bytes->hbm_bus += gate->k_again_bus - gate->v_skipped_bus;
	work->ring->hbm_bytes += gate->norm_bus;
	kvsink_ledger_add(chip, s, KVSINK_COUNTER_V_SKIPPED, gate->v_skipped);
	kvsink_ledger_add(chip, s, KVSINK_COUNTER_V_SKIPPED_BUS, gate->v_skipped_bus);
	kvsink_ledger_add(chip, s, KVSINK_COUNTER_NORM_READ, gate->norm);
	kvsink_ledger_add(chip, s, KVSINK_COUNTER_NORM_READ_BUS, gate->norm_bus);
}

static void book_task(struct kvsink_item_work *work, uint32_t i)
{
	struct kvsink_chip *chip = work->ring->chip;
	struct kvsink_stream *s = work->stream[i];
	const struct kvsink_task_bytes *bytes = &work->bytes[i];
	uint64_t queries = (uint64_t)work->task[i].count * work->task[i].q_heads;

	kvsink_ledger_add(chip, s, KVSINK_COUNTER_HEAD_PARAMS_HBM, kvsink_head_params_layer_bytes(s));
	if (work->scoring) {
		kvsink_ledger_add(chip, s, KVSINK_COUNTER_PREFILL_HBM_READ, bytes->hbm);
		kvsink_ledger_add(chip, s, KVSINK_COUNTER_PREFILL_HBM_READ_BUS, bytes->hbm_bus);
		kvsink_ledger_add(chip, s, KVSINK_COUNTER_SCORED_QUERIES, queries);
		return;
	}
	kvsink_ledger_add(chip, s, KVSINK_COUNTER_SHARED_HBM_SAVED, bytes->hbm_saved);
	kvsink_ledger_add(chip, s, KVSINK_COUNTER_KV_HBM_READ, bytes->hbm);
	kvsink_ledger_add(chip, s, KVSINK_COUNTER_KV_HBM_READ_BUS, bytes->hbm_bus);
	kvsink_ledger_add(chip, s, KVSINK_COUNTER_KV_SRAM_READ, bytes->sram);
	kvsink_ledger_add(chip, s, KVSINK_COUNTER_KV_SRAM_READ_BUS, bytes->sram_bus);
	kvsink_ledger_add(chip, s, KVSINK_COUNTER_MASS_SRAM, work->mass_sram[i]);
	kvsink_ledger_add(chip, s, KVSINK_COUNTER_MASS_TOTAL, queries << 32);
	kvsink_ledger_add(chip, s, KVSINK_COUNTER_QUERIES, queries);
}

static void work_end(struct kvsink_item_work *work)
{
	struct kvsink_ring *ring = work->ring;
	uint32_t code;

	for (uint32_t i = 0; i < work->tasks; i++) {
		kvsink_stream_unlock(work->stream[i]);
		if (work->task[i].mode == KVSINK_ATTEND_GATED)
			book_gate(work, i);
		book_task(work, i);
		ring->hbm_bytes += work->bytes[i].hbm_bus + kvsink_head_params_layer_bytes(work->stream[i]);
		ring->sram_bytes += work->bytes[i].sram_bus;
	}
	code = write_outputs(ring);
	if (!code)
		code = write_mass(ring);
	if (!code && work->scoring)
		add_scores(work);
	if (!code)
		kvsink_observe_retire(work);
	ring->shared = true;
	ring->looks = work->scoring ? 0 : work->tasks;
	kvsink_ring_advance(ring, code);
}

void kvsink_retire(struct kvsink_chip *chip, struct kvsink_item_work *work)
{
	if (!work->busy)
		return;
	kvsink_note(chip, KVSINK_RECORD_RETIRE, work->ring->index);
	work->busy = false;
	if (work->epoch == chip->epoch)
		work_end(work);
	if (work->scoring)
		memset(work->score, 0, extent(&work->task[0]) * sizeof(*work->score));
	memset(work->mass, 0, work->mass_used * sizeof(*work->mass));
	kvsink_observe_clear(work);
	kvsink_rings_wake(chip);
}
