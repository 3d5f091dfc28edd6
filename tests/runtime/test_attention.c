// SPDX-License-Identifier: MIT
/*
 * Append, score, classify, promote, barrier, attend, evict, step_end on sim:, against binary64.
 *
 * Accuracy: |o - o64| <= 8e-6 * sum_j a_j |v_j| on the stored rows.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "place.h"
#include "rig.h"
#include "tap.h"

#define BOUND 8e-6

/* Largest error of an output row in units of the bound. */
static double row_error(const float *row, const struct rig_answer *answer, uint32_t d_v)
{
	double sum = 0;

	for (uint32_t i = 0; i < d_v; i++)
		sum += (row[i] - answer->out[i]) * (row[i] - answer->out[i]);
	return sqrt(sum) / (BOUND * answer->norm);
}

static float float_of(uint32_t bits)
{
	float value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* What the device said of one item's queries, against the reference. */
struct checked {
	double row, lse, mass, tiers; /* worst errors */
};

static void check_item(const struct rig_stream *stream, const struct drm_kvsink_attend_item *item,
		       const float *q, const float *out, const struct drm_kvsink_attend_stat *stats,
		       const bool *resident, struct checked *worst)
{
	const struct kvs_geometry *g = &stream->geometry;

	for (uint32_t i = 0; i < item->count; i++)
		for (uint32_t h = 0; h < g->q_heads; h++) {
			uint32_t row = i * g->q_heads + h;
			const struct drm_kvsink_attend_stat *stat = &stats[row];
			struct rig_answer answer;
			double both;

			rig_attend(stream, item->layer, item->first + i, h, q + (size_t)row * g->d_k,
				   resident, &answer);
			both = log(exp((double)float_of(stat->lse_sram)) +
				   exp((double)float_of(stat->lse_hbm)));
			worst->row = fmax(worst->row, row_error(out + (size_t)row * g->d_v, &answer, g->d_v));
			worst->lse = fmax(worst->lse, fabs(float_of(stat->lse) - answer.lse));
			worst->mass = fmax(worst->mass, fabs(float_of(stat->mass_sram) - answer.mass));
			worst->tiers = fmax(worst->tiers, fabs(both - answer.lse));
		}
}

static void report(const struct checked *worst, const char *what)
{
	if (!tap_ok(worst->row <= 1, "%s: outputs are within 8e-6 of binary64", what))
		tap_diag("%g of the bound", worst->row);
	if (!tap_ok(worst->lse <= 1e-5, "%s: lse", what))
		tap_diag("off by %g", worst->lse);
	if (!tap_ok(worst->mass <= 1e-5, "%s: mass served from SRAM", what))
		tap_diag("off by %g", worst->mass);
	if (!tap_ok(worst->tiers <= 1e-5, "%s: lse of the two tiers add up", what))
		tap_diag("off by %g", worst->tiers);
}

/* ATTEND of the last `count` tokens of one layer. */
static void attend_last(struct rig_stream *stream, uint32_t layer, uint32_t count, const bool *resident,
			struct checked *worst)
{
	struct rig *rig = stream->rig;
	struct drm_kvsink_attend_item item = {.stream = kvs_stream_id(stream->kvs),
					      .layer = layer,
					      .first = stream->length - count,
					      .count = count};

	rig_fill(rig, 0, count * stream->geometry.q_heads * stream->geometry.d_k, 3);
	rig_must(rig, "attend",
		 kvs_batch_attend(rig->batch, &item, 1, DRM_KVSINK_ATTEND_SPLIT, rig_at(rig, 0),
				  rig_at(rig, RIG_OUT), rig_at(rig, RIG_STATS), (struct kvs_place){0}));
	rig_must(rig, "attend", rig_run(rig, NULL));
	check_item(stream, &item, (float *)rig->memory, (float *)(rig->memory + RIG_OUT),
		   (void *)(rig->memory + RIG_STATS), resident, worst);
}

static void promote_some(struct rig_stream *stream, bool *resident)
{
	static const uint32_t tokens[] = {0, 1, 17, 40, 63};

	for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++) {
		rig_must(stream->rig, "promote",
			 promote_one(stream->rig->device, kvs_stream_id(stream->kvs), tokens[i], 0,
				     stream->geometry.layers, (1ull << stream->geometry.kv_heads) - 1, NULL));
		resident[tokens[i]] = true;
	}
	rig_must(stream->rig, "barrier", kvs_batch_barrier(stream->rig->batch, stream->kvs));
	rig_must(stream->rig, "barrier", rig_run(stream->rig, NULL));
}

static void test_attend(uint32_t format, const char *name)
{
	struct kvs_geometry geometry = rig_geometry(format);
	struct checked uniform = {0}, split = {0}, after = {0};
	bool resident[128] = {false};
	struct rig_stream stream;
	struct rig rig;
	char what[64];

	rig_open(&rig, "sim:hbm=16M");
	rig_stream_open(&rig, &geometry, &stream);
	rig_append(&stream, 70);
	rig_append(&stream, 1);
	for (uint32_t layer = 0; layer < 2; layer++)
		attend_last(&stream, layer, 3, resident, &uniform);
	snprintf(what, sizeof(what), "%s, nothing resident", name);
	report(&uniform, what);
	promote_some(&stream, resident);
	for (uint32_t layer = 0; layer < 2; layer++)
		attend_last(&stream, layer, 3, resident, &split);
	snprintf(what, sizeof(what), "%s, five tokens resident", name);
	report(&split, what);
	tap_ok(evict_one(rig.device, kvs_stream_id(stream.kvs), 17, 0, 2) == 1, "%s: one entry is evicted",
	       name);
	resident[17] = false;
	attend_last(&stream, 1, 71, resident, &after);
	snprintf(what, sizeof(what), "%s, prefill-long chunk after an eviction", name);
	report(&after, what);
	rig_stream_close(&stream);
	rig_close(&rig);
}

static uint32_t bits_of(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

/* Sliding window and softcap are per layer. */
static void test_layers(void)
{
	const struct drm_kvsink_layer layers[2] = {{.scale = bits_of(0.5f), .window = 9},
						   {.scale = bits_of(0.25f), .softcap = bits_of(2.0f)}};
	struct kvs_geometry geometry = rig_geometry(KVSINK_FORMAT_F32);
	struct checked windowed = {0}, capped = {0};
	bool resident[128] = {false};
	struct rig_stream stream;
	struct rig rig;

	geometry.layer = layers;
	rig_open(&rig, "sim:hbm=16M");
	rig_stream_open(&rig, &geometry, &stream);
	rig_append(&stream, 70);
	promote_some(&stream, resident);
	attend_last(&stream, 0, 5, resident, &windowed);
	report(&windowed, "sliding window of 9");
	attend_last(&stream, 1, 5, resident, &capped);
	report(&capped, "softcap of 2");
	rig_stream_close(&stream);
	rig_close(&rig);
}

/* Two streams of different geometry in one ATTEND. */
static void test_ragged(void)
{
	struct kvs_geometry a = rig_geometry(KVSINK_FORMAT_F32), b = rig_geometry(KVSINK_FORMAT_FP16);
	struct drm_kvsink_attend_item items[3];
	struct rig_stream streams[2];
	struct checked worst = {0};
	struct rig rig;
	const float *q;

	b.q_heads = 3;
	b.kv_heads = 1;
	b.d_k = 5;
	b.d_v = 7;
	b.layers = 1;
	rig_open(&rig, "sim:hbm=16M");
	rig_stream_open(&rig, &a, &streams[0]);
	rig_stream_open(&rig, &b, &streams[1]);
	rig_append(&streams[0], 33);
	rig_append(&streams[1], 20);
	items[0] = (struct drm_kvsink_attend_item){kvs_stream_id(streams[0].kvs), 1, 32, 1, 0};
	items[1] = (struct drm_kvsink_attend_item){kvs_stream_id(streams[1].kvs), 0, 16, 4, 0};
	items[2] = (struct drm_kvsink_attend_item){kvs_stream_id(streams[0].kvs), 0, 30, 3, 0};
	rig_fill(&rig, 0, 1000, 2);
	rig_must(&rig, "attend",
		 kvs_batch_attend(rig.batch, items, 3, DRM_KVSINK_ATTEND_SPLIT, rig_at(&rig, 0),
				  rig_at(&rig, RIG_OUT), rig_at(&rig, RIG_STATS), (struct kvs_place){0}));
	rig_must(&rig, "attend", rig_run(&rig, NULL));
	q = (float *)rig.memory;
	check_item(&streams[0], &items[0], q, (float *)(rig.memory + RIG_OUT),
		   (void *)(rig.memory + RIG_STATS), NULL, &worst);
	check_item(&streams[1], &items[1], q + 4 * 16, (float *)(rig.memory + RIG_OUT) + 4 * 8,
		   (struct drm_kvsink_attend_stat *)(rig.memory + RIG_STATS) + 4, NULL, &worst);
	check_item(&streams[0], &items[2], q + 4 * 16 + 4 * 3 * 5,
		   (float *)(rig.memory + RIG_OUT) + 4 * 8 + 4 * 3 * 7,
		   (struct drm_kvsink_attend_stat *)(rig.memory + RIG_STATS) + 4 + 4 * 3, NULL, &worst);
	report(&worst, "ragged batch of two geometries");
	rig_stream_close(&streams[0]);
	rig_stream_close(&streams[1]);
	rig_close(&rig);
}

/* ---- scores ---------------------------------------------------------------------------------------------
 */

#define TOKENS 100
#define WINDOW 4

/* SCORE all tokens in two chunks; sums[layer][token] are the reference's, in binary64. */
static void score_all(struct rig_stream *stream, double sums[2][TOKENS], struct checked *worst)
{
	const struct kvs_geometry *g = &stream->geometry;
	static const uint32_t chunks[] = {0, 37, TOKENS};
	struct rig *rig = stream->rig;

	for (uint32_t layer = 0; layer < 2; layer++)
		for (int c = 0; c < 2; c++) {
			uint32_t first = chunks[c], count = chunks[c + 1] - first;
			const float *q = (float *)rig->memory, *out = (float *)(rig->memory + RIG_OUT);

			rig_fill(rig, 0, count * g->q_heads * g->d_k, 3);
			rig_must(rig, "score",
				 kvs_batch_score(rig->batch, stream->kvs, layer, first, count, rig_at(rig, 0),
						 rig_at(rig, RIG_OUT)));
			rig_must(rig, "score", rig_run(rig, NULL));
			for (uint32_t r = 0; r < count * g->q_heads; r++) {
				uint32_t token = first + r / g->q_heads;
				struct rig_answer answer;
				double weights[TOKENS];

				rig_attend(stream, layer, token, r % g->q_heads, q + r * g->d_k, NULL,
					   &answer);
				worst->row = fmax(worst->row, row_error(out + r * g->d_v, &answer, g->d_v));
				rig_weights(stream, layer, token, r % g->q_heads, q + r * g->d_k, weights);
				for (uint32_t t = 0; t + WINDOW <= token; t++)
					sums[layer][t] += weights[t];
			}
		}
}

/* Queries of one layer that see the token outside of the local window. */
static uint32_t observers(uint32_t token)
{
	return token + WINDOW < TOKENS ? TOKENS - WINDOW - token : 0;
}

static void check_scores(struct rig_stream *stream, double sums[2][TOKENS])
{
	struct kvsink_score_rec *scores;
	double worst_sum = 0, worst_mean = 0;
	bool observed = true;
	size_t bytes;
	int count = kvs_query(stream->rig->device, DRM_KVSINK_QUERY_SCORES, kvs_stream_id(stream->kvs), 0,
			      (void **)&scores, &bytes);

	tap_ok(count == TOKENS && bytes == sizeof(*scores), "scores: one record a token");
	for (int t = 0; t < count; t++) {
		double sum = sums[0][t] + sums[1][t], mean = observers(t) ? sum / (2 * 4 * observers(t)) : 0;

		worst_sum = fmax(worst_sum, fabs((double)scores[t].sum / 4294967296.0 - sum));
		worst_mean = fmax(worst_mean, fabs(float_of(scores[t].score) - mean));
		observed &= scores[t].observers == observers(t);
	}
	if (!tap_ok(worst_sum < 1e-4, "scores: sums of both layers agree with binary64"))
		tap_diag("off by %g", worst_sum);
	if (!tap_ok(worst_mean < 1e-6, "scores: MEAN divides by layers, heads and observers"))
		tap_diag("off by %g", worst_mean);
	tap_ok(observed, "scores: observers leave out the local window");
	free(scores);
}

/* CLASSIFY in a mode against the reference; tokens within 1e-5 of the threshold may go either way. */
static void check_classify(struct rig_stream *stream, double sums[2][TOKENS], uint32_t mode, float t_sink)
{
	static const char *const names[] = {"RAW", "MEAN", "REL"};
	struct drm_kvsink_list_head *head = (void *)(stream->rig->memory + RIG_OUT);
	const struct drm_kvsink_sink *sinks = (void *)(head + 1);
	uint64_t id = kvs_stream_id(stream->kvs);
	bool listed[TOKENS] = {false}, right = true, ascending = true;
	double max = 0;
	int found = 0;

	rig_must(stream->rig, "config",
		 kvs_config_set(stream->rig->device, id, KVSINK_GROUP_ALL, KVSINK_PARAM_SCORE_MODE, mode));
	rig_must(stream->rig, "config",
		 kvs_config_set(stream->rig->device, id, KVSINK_GROUP_ALL, KVSINK_PARAM_T_SINK,
				bits_of(t_sink)));
	rig_must(
		stream->rig, "classify",
		kvs_batch_classify(stream->rig->batch, stream->kvs, 1, TOKENS, rig_at(stream->rig, RIG_OUT)));
	rig_must(stream->rig, "classify", rig_run(stream->rig, NULL));
	for (uint32_t i = 0; i < head->written; i++) {
		ascending &= !i || sinks[i].token > sinks[i - 1].token;
		listed[sinks[i].token] = sinks[i].group == 0;
	}
	for (uint32_t t = 0; t < TOKENS; t++)
		max = fmax(max, sums[0][t] + sums[1][t]);
	for (uint32_t t = 0; t < TOKENS; t++) {
		double sum = sums[0][t] + sums[1][t];
		double score = mode == 0 ? sum : mode == 1 ? sum / (8.0 * fmax(observers(t), 1)) : sum / max;
		bool sink = observers(t) >= KVSINK_MIN_OBSERVERS && score >= t_sink;

		found += sink;
		right &= sink == listed[t] || fabs(score - t_sink) < 1e-5;
	}
	tap_ok(right && ascending && head->written == head->total && found > 0 && found < TOKENS,
	       "classify: %s lists the tokens that reach T_SINK, %d of them", names[mode], found);
}

static void test_scores(void)
{
	static double sums[2][TOKENS];
	struct kvs_geometry geometry = rig_geometry(KVSINK_FORMAT_FP16);
	struct checked worst = {0};
	struct rig_stream stream;
	struct rig rig;

	rig_open(&rig, "sim:hbm=16M");
	rig_stream_open(&rig, &geometry, &stream);
	rig_must(&rig, "config",
		 kvs_config_set(rig.device, kvs_stream_id(stream.kvs), KVSINK_GROUP_ALL,
				KVSINK_PARAM_LOCAL_WINDOW, WINDOW));
	rig_append(&stream, TOKENS);
	score_all(&stream, sums, &worst);
	tap_ok(worst.row <= 1, "score: outputs of both chunks are within 8e-6 of binary64");
	check_scores(&stream, sums);
	check_classify(&stream, sums, KVSINK_SCORE_RAW, 10);
	check_classify(&stream, sums, KVSINK_SCORE_MEAN, 0.02f);
	check_classify(&stream, sums, KVSINK_SCORE_REL, 0.5f);
	tap_ok(kvs_config_set(rig.device, kvs_stream_id(stream.kvs), KVSINK_GROUP_ALL,
			      KVSINK_PARAM_LOCAL_WINDOW, 5) == -EBUSY,
	       "the local window is fixed once scores exist");
	rig_stream_close(&stream);
	rig_close(&rig);
}

/* ---- what models ask of heads ----------------------------------------------------------------------------
 */

/* Sinks that take nearly everything leave nearly nothing. */
static void test_heads(void)
{
	struct kvs_geometry geometry = rig_geometry(KVSINK_FORMAT_F32);
	const float heads[8] = {0, 0, 0, 0, 30, 30, 30, 30};
	struct drm_kvsink_job_status status;
	struct rig_stream stream;
	float largest = 0;
	struct rig rig;

	geometry.flags = DRM_KVSINK_STREAM_PER_HEAD;
	rig_open(&rig, "sim:hbm=16M");
	rig_stream_open(&rig, &geometry, &stream);
	memcpy(rig.memory, heads, sizeof(heads));
	rig_must(&rig, "heads", kvs_batch_layer_heads(rig.batch, stream.kvs, 1, rig_at(&rig, 0)));
	tap_ok(!rig_run(&rig, NULL), "LAYER_HEADS sets the sinks of a layer");
	rig_append(&stream, 10);
	rig_must(&rig, "heads", kvs_batch_layer_heads(rig.batch, stream.kvs, 1, rig_at(&rig, 0)));
	tap_ok(rig_run(&rig, &status) == -EBUSY, "once there are rows they are fixed");
	rig_fill(&rig, 0, 4 * 16, 1);
	rig_must(&rig, "attend",
		 kvs_batch_attend(
			 rig.batch,
			 &(struct drm_kvsink_attend_item){
				 .stream = kvs_stream_id(stream.kvs), .layer = 1, .first = 9, .count = 1},
			 1, KVSINK_ATTEND_CANONICAL, rig_at(&rig, 0), rig_at(&rig, 4096),
			 (struct kvs_place){0}, (struct kvs_place){0}));
	tap_ok(!rig_run(&rig, NULL), "ATTEND with sinks");
	for (int i = 0; i < 4 * 8; i++)
		largest = fmaxf(largest, fabsf(((const float *)(const void *)(rig.memory + 4096))[i]));
	tap_ok(largest < 1e-6f && largest > 0, "sinks take the attention that they are given (%g)",
	       (double)largest);
	rig_stream_close(&stream);
	rig_close(&rig);
}

/* Values that lie in keys: the same output as with a copy of them as V. */
static void test_v_in_k(void)
{
	struct kvs_geometry geometry = rig_geometry(KVSINK_FORMAT_FP16);
	struct kvs_stream *streams[2];
	float out[2][4 * 8];
	struct rig rig;

	rig_open(&rig, "sim:hbm=16M");
	geometry.d_v = 17;
	geometry.flags = DRM_KVSINK_STREAM_V_IN_K;
	tap_ok(kvs_stream_create(rig.device, &geometry, &streams[0]) == -EINVAL &&
		       strstr(kvs_device_error(rig.device), "d_v = 17: allowed are 1 to 16"),
	       "a value is no longer than its key: %s", kvs_device_error(rig.device));
	geometry.d_v = 8;
	geometry.kv_heads = 1;
	rig_fill(&rig, 0, 5 * 16 + 4 * 16, 2);
	for (int i = 0; i < 5 * 8; i++)
		memcpy(rig.memory + 8192 + 4 * i, rig.memory + 4 * (i / 8 * 16 + i % 8), 4);
	for (int i = 0; i < 2; i++) {
		geometry.flags = i ? 0 : DRM_KVSINK_STREAM_V_IN_K;
		rig_must(&rig, "stream", kvs_stream_create(rig.device, &geometry, &streams[i]));
		rig_must(&rig, "append",
			 kvs_batch_append(rig.batch, streams[i], 0, 0, 5, rig_at(&rig, 0),
					  i ? rig_at(&rig, 8192) : (struct kvs_place){0}));
		rig_must(
			&rig, "attend",
			kvs_batch_attend(rig.batch,
					 &(struct drm_kvsink_attend_item){
						 .stream = kvs_stream_id(streams[i]), .first = 4, .count = 1},
					 1, KVSINK_ATTEND_SPLIT, rig_at(&rig, 5 * 64), rig_at(&rig, 4096),
					 (struct kvs_place){0}, (struct kvs_place){0}));
		rig_must(&rig, "run", rig_run(&rig, NULL));
		memcpy(out[i], rig.memory + 4096, sizeof(out[i]));
	}
	tap_ok(!memcmp(out[0], out[1], sizeof(out[0])), "values in keys give what copies of them give");
	rig_must(&rig, "append",
		 kvs_batch_append(rig.batch, streams[0], 1, 0, 1, rig_at(&rig, 0), rig_at(&rig, 0)));
	tap_ok(rig_run(&rig, NULL) == -EINVAL, "V rows of their own are refused: %s",
	       kvs_device_error(rig.device));
	kvs_stream_free(streams[0]);
	kvs_stream_free(streams[1]);
	rig_close(&rig);
}

/* ---- steps ------------------------------------------------------------------------------------------------
 */

static void test_steps(void)
{
	struct kvs_geometry geometry = rig_geometry(KVSINK_FORMAT_F32);
	struct drm_kvsink_job_status status;
	struct checked worst = {0};
	struct rig_stream stream;
	struct rig rig;

	rig_open(&rig, "sim:hbm=16M");
	rig_stream_open(&rig, &geometry, &stream);
	rig_append(&stream, 10);
	rig_must(&rig, "append",
		 kvs_batch_append(rig.batch, stream.kvs, 0, 10, 1, rig_at(&rig, 0), rig_at(&rig, 0)));
	rig_must(&rig, "end", kvs_batch_step_end(rig.batch, stream.kvs, 1));
	tap_ok(rig_run(&rig, &status) == -EILSEQ && status.code == KVSINK_CODE_SEQUENCE && status.op == 1,
	       "a step does not end before every layer is appended");
	rig_must(&rig, "abort", kvs_batch_step_abort(rig.batch, stream.kvs));
	tap_ok(!rig_run(&rig, NULL), "a step can be aborted");
	rig_append(&stream, 1); /* the same token again */
	attend_last(&stream, 0, 2, NULL, &worst);
	tap_ok(worst.row <= 1, "what an aborted step appended is gone");
	rig_must(&rig, "append",
		 kvs_batch_append(rig.batch, stream.kvs, 0, 9, 1, rig_at(&rig, 0), rig_at(&rig, 0)));
	tap_ok(rig_run(&rig, &status) == -EILSEQ && status.address == 11,
	       "a token that is there already is refused");
	rig_must(&rig, "append",
		 kvs_batch_append(rig.batch, stream.kvs, 0, 11, 1, rig_at(&rig, 0), rig_at(&rig, 0)));
	rig_must(&rig, "append",
		 kvs_batch_append(rig.batch, stream.kvs, 0, 11, 1, rig_at(&rig, 0), rig_at(&rig, 0)));
	tap_ok(rig_run(&rig, &status) == -EILSEQ && status.code == KVSINK_CODE_SEQUENCE && status.op == 1 &&
		       status.address == 12 && strstr(kvs_device_error(rig.device), "SEQUENCE"),
	       "two writers of one token in a batch: %s", kvs_device_error(rig.device));
	rig_must(&rig, "abort", kvs_batch_step_abort(rig.batch, stream.kvs));
	tap_ok(!rig_run(&rig, NULL), "the step of the first of them can be aborted");
	rig_fill(&rig, 0, 100, 1);
	rig_must(&rig, "copy", kvs_batch_copy(rig.batch, rig_at(&rig, 0), rig_at(&rig, 400), 397));
	tap_ok(!rig_run(&rig, NULL) && !memcmp(rig.memory, rig.memory + 400, 397), "COPY copies");
	rig_must(&rig, "advance", kvs_batch_advance(rig.batch, 12345));
	tap_ok(!rig_run(&rig, &status) && status.end_ns - status.begin_ns >= 12345 &&
		       status.end_ns - status.begin_ns < 13345,
	       "ADVANCE lets modelled time pass");
	rig_stream_close(&stream);
	rig_close(&rig);
}

int main(void)
{
	test_attend(KVSINK_FORMAT_F32, "F32");
	test_attend(KVSINK_FORMAT_FP16, "FP16");
	test_layers();
	test_ragged();
	test_scores();
	test_heads();
	test_v_in_k();
	test_steps();
	return tap_done();
}
