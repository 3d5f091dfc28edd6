// SPDX-License-Identifier: MIT
/* The runs as a table for people (libsmartcols) and as JSON. Attention mass and bytes have columns of their
 * own. */
#include <libsmartcols.h>
#include <stdlib.h>

#include "bench.h"
#include "fail.h"
#include "json.h"

static double ratio(double part, double whole)
{
	return whole > 0 ? part / whole : 0;
}

double bench_mass(const struct bench_run *run)
{
	return ratio((double)run->decode[KVSINK_COUNTER_MASS_SRAM],
		     (double)run->decode[KVSINK_COUNTER_MASS_TOTAL]);
}

double bench_hit_rate(const struct bench_run *run)
{
	uint64_t sram = run->decode[KVSINK_COUNTER_KV_SRAM_READ];

	return ratio((double)sram, (double)(sram + run->decode[KVSINK_COUNTER_KV_HBM_READ]));
}

double bench_per_step(const struct bench_plan *plan, const struct bench_run *run, enum kvsink_counter counter)
{
	return (double)run->decode[counter] / plan->steps;
}

static double promotion_latency(const struct bench_run *run)
{
	return ratio((double)run->placed[KVSINK_COUNTER_PROMOTE_LATENCY_NS],
		     (double)run->placed[KVSINK_COUNTER_PROMOTIONS_VALID]);
}

/* ---- JSON ---- */

static struct json_object *run_json(const struct bench_plan *plan, const struct bench_run *run)
{
	struct json_object *o = json_object_new_object();

	json_string(o, "policy", run->policy);
	json_integer(o, "sram_bytes", run->sram_bytes);
	json_integer(o, "tail_tokens", (uint64_t)run->tail);
	json_number(o, "mass_sram", bench_mass(run));
	json_number(o, "kv_hbm_bytes_per_step", bench_per_step(plan, run, KVSINK_COUNTER_KV_HBM_READ));
	json_number(o, "kv_hbm_bus_bytes_per_step",
		    bench_per_step(plan, run, KVSINK_COUNTER_KV_HBM_READ_BUS));
	json_number(o, "kv_sram_bytes_per_step", bench_per_step(plan, run, KVSINK_COUNTER_KV_SRAM_READ));
	json_number(o, "hit_rate", bench_hit_rate(run));
	json_integer(o, "promotions", run->placed[KVSINK_COUNTER_PROMOTIONS]);
	json_integer(o, "evictions", run->placed[KVSINK_COUNTER_EVICTIONS]);
	json_integer(o, "refusals", run->placed[KVSINK_COUNTER_REFUSALS]);
	json_integer(o, "auto_promotions", run->placed[KVSINK_COUNTER_AUTO_PROMOTIONS]);
	json_integer(o, "dma_bytes", run->placed[KVSINK_COUNTER_DMA_COPY]);
	json_integer(o, "dma_bus_bytes", run->placed[KVSINK_COUNTER_DMA_BUS]);
	json_integer(o, "tail_bytes", run->placed[KVSINK_COUNTER_TAIL_WRITE]);
	json_integer(o, "score_bytes", run->placed[KVSINK_COUNTER_SCORE_HBM]);
	json_number(o, "exposed_dma_ns_per_step", bench_per_step(plan, run, KVSINK_COUNTER_EXPOSED_DMA_NS));
	json_number(o, "hidden_dma_ns_per_step", bench_per_step(plan, run, KVSINK_COUNTER_HIDDEN_DMA_NS));
	json_number(o, "modelled_ns_per_step", bench_per_step(plan, run, KVSINK_COUNTER_MODELLED_NS));
	json_number(o, "routing_ns_per_step", bench_per_step(plan, run, KVSINK_COUNTER_ROUTING_NS));
	json_number(o, "promotion_latency_ns", promotion_latency(run));
	json_integer(o, "entries", run->entries);
	json_integer(o, "sram_used_bytes", run->sram_used);
	return o;
}

int bench_json(const struct bench_plan *plan, const struct bench_run *runs, unsigned count, const char *path)
{
	struct json_object *o = json_object_new_object(), *list = json_object_new_array();
	const struct geometry *g = &plan->state->geometry;

	json_string(o, "schema", "kvsink-bench-model/1");
	json_integer(o, "layers", g->layers);
	json_integer(o, "q_heads", g->q_heads);
	json_integer(o, "kv_heads", g->kv_heads);
	json_integer(o, "row_bytes", kvsink_row_bytes(0, g->d_k, g->d_v, plan->format));
	json_integer(o, "prompt", plan->prompt);
	json_integer(o, "steps", plan->steps);
	json_string(o, "format", plan->format == KVSINK_FORMAT_FP16 ? "fp16" : "f32");
	json_integer(o, "compute_ns", plan->compute_ns);
	json_integer(o, "due_ns", plan->due_ns);
	for (unsigned i = 0; i < count; i++)
		json_object_array_add(list, run_json(plan, &runs[i]));
	json_object_object_add(o, "runs", list);
	return json_output(o, path);
}

/* ---- table ---- */

enum column {
	SRAM,
	POLICY,
	TAIL,
	MASS,
	HBM,
	BUS,
	HITS,
	PROMOTIONS,
	EVICTIONS,
	COPIED,
	EXPOSED,
	HIDDEN,
	COLUMNS
};

static const char *const headings[COLUMNS] = {
	"SRAM KiB",   "POLICY",	  "TAIL",    "MASS %",	  "HBM KB/STEP",     "BUS KB/STEP",
	"ROWS HIT %", "PROMOTED", "EVICTED", "COPIED KB", "EXPOSED ns/STEP", "HIDDEN ns/STEP",
};

static void cell(struct libscols_line *line, enum column column, const char *format, double value)
{
	char text[64];

	snprintf(text, sizeof(text), format, value);
	scols_line_set_data(line, column, text);
}

static void fill(struct libscols_line *line, const struct bench_plan *plan, const struct bench_run *run)
{
	cell(line, SRAM, "%g", run->sram_bytes / 1024.0);
	scols_line_set_data(line, POLICY, run->policy);
	cell(line, TAIL, "%.0f", run->tail);
	cell(line, MASS, "%.2f", 100 * bench_mass(run));
	cell(line, HBM, "%.1f", bench_per_step(plan, run, KVSINK_COUNTER_KV_HBM_READ) / 1000);
	cell(line, BUS, "%.1f", bench_per_step(plan, run, KVSINK_COUNTER_KV_HBM_READ_BUS) / 1000);
	cell(line, HITS, "%.3f", 100 * bench_hit_rate(run));
	cell(line, PROMOTIONS, "%.0f", (double)run->placed[KVSINK_COUNTER_PROMOTIONS]);
	cell(line, EVICTIONS, "%.0f", (double)run->placed[KVSINK_COUNTER_EVICTIONS]);
	cell(line, COPIED, "%.1f", (double)run->placed[KVSINK_COUNTER_DMA_COPY] / 1000);
	cell(line, EXPOSED, "%.0f", bench_per_step(plan, run, KVSINK_COUNTER_EXPOSED_DMA_NS));
	cell(line, HIDDEN, "%.0f", bench_per_step(plan, run, KVSINK_COUNTER_HIDDEN_DMA_NS));
}

int bench_table(const struct bench_plan *plan, const struct bench_run *runs, unsigned count)
{
	struct libscols_table *table = scols_new_table();

	if (!table)
		return fail("out of memory for a table");
	for (unsigned c = 0; c < COLUMNS; c++)
		scols_table_new_column(table, headings[c], 0, c == POLICY ? 0 : SCOLS_FL_RIGHT);
	for (unsigned i = 0; i < count; i++)
		fill(scols_table_new_line(table, NULL), plan, &runs[i]);
	scols_print_table(table);
	scols_unref_table(table);
	return 0;
}
