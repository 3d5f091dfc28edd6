// SPDX-License-Identifier: MIT
/* scores, verdicts: what the controller knows of tokens, and what it would do now. */
#include "sinkctl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- scores ------------------------------------------------------------------------------------ */

/* A token's record with where it stands. */
struct row {
	uint32_t group, token;
	struct kvsink_score_rec score;
};

struct rows {
	struct row *row;
	size_t count;
	bool by_ema;
};

static bool is_sink(const struct kvsink_score_rec *score)
{
	return score->flags & KVSINK_SCORE_SINK;
}

static const char *state(const struct kvsink_score_rec *score)
{
	if (is_sink(score))
		return score->run ? "falling" : "sink";
	if (score->run)
		return "rising";
	return score->observers < KVSINK_MIN_OBSERVERS && !score->ema ? "young" : "none";
}

static json_object *score_record(const struct row *row)
{
	const struct kvsink_score_rec *score = &row->score;
	json_object *record = json_object_new_object();

	sc_put_u64(record, "group", row->group);
	sc_put_u64(record, "token", row->token);
	sc_put_text(record, "state", state(score));
	sc_put_bool(record, "sink", is_sink(score));
	sc_put_bool(record, "resident", score->flags & KVSINK_SCORE_RESIDENT);
	sc_put(record, "score", sc_float(score->score));
	sc_put(record, "ema", sc_float(score->ema));
	sc_put_u64(record, "run", score->run);
	sc_put_u64(record, "observers", score->observers);
	sc_put_u64(record, "sum", score->sum);
	sc_put(record, "mass", json_object_new_double(score->sum / 4294967296.0));
	sc_put(record, "promoted_step", score->promoted ? json_object_new_uint64(score->promoted - 1) : NULL);
	return record;
}

static int add_group(struct sc_run *run, struct sc_device *device, uint32_t group, struct rows *rows)
{
	char *records = NULL;
	size_t bytes;
	int count = sc_query(run, device, DRM_KVSINK_QUERY_SCORES, run->target.stream, group,
			     sizeof(struct kvsink_score_rec), &records, &bytes);
	struct row *more;

	if (count <= 0)
		return count;
	more = realloc(rows->row, (rows->count + count) * sizeof(*more));
	if (!more) {
		free(records);
		return sc_error(run, device, -ENOMEM, NULL, run->command->name, NULL);
	}
	rows->row = more;
	for (int i = 0; i < count; i++) {
		struct row *row = &rows->row[rows->count++];

		row->group = group;
		row->token = i;
		memcpy(&row->score, records + i * bytes, sizeof(row->score));
		rows->by_ema |= row->score.ema;
	}
	free(records);
	return 0;
}

/* Patterns of non-negative floats order as the floats do. */
static int compare(uint32_t a, uint32_t b, const struct row *left, const struct row *right)
{
	if (a != b)
		return a < b ? 1 : -1;
	if (left->group != right->group)
		return left->group < right->group ? -1 : 1;
	return left->token < right->token ? -1 : left->token > right->token;
}

static int by_ema(const void *a, const void *b)
{
	const struct row *left = a, *right = b;

	return compare(left->score.ema, right->score.ema, left, right);
}

static int by_score(const void *a, const void *b)
{
	const struct row *left = a, *right = b;

	return compare(left->score.score, right->score.score, left, right);
}

int sc_scores(struct sc_run *run, struct sc_device *device)
{
	json_object *list = sc_list(run, device, "scores");
	struct kvsink_stream_rec stream;
	struct rows rows = {0};
	int error = sc_find_stream(run, device, &stream);

	if (error || sc_check_group(run, &stream))
		return -1;
	for (uint32_t g = 0; g < stream.score_groups && !error; g++)
		if (run->group == KVSINK_GROUP_ALL || run->group == g)
			error = add_group(run, device, g, &rows);
	if (run->top && rows.count)
		qsort(rows.row, rows.count, sizeof(*rows.row), rows.by_ema ? by_ema : by_score);
	for (size_t i = 0; !error && i < rows.count && (!run->top || i < run->top); i++)
		json_object_array_add(list, score_record(&rows.row[i]));
	free(rows.row);
	return error;
}

/* ---- verdicts ---------------------------------------------------------------------------------- */

static json_object *verdict_record(const struct kvsink_stream_rec *stream,
				   const struct kvsink_verdict_rec *verdict)
{
	json_object *record = json_object_new_object();
	bool evict = verdict->verdict == KVSINK_VERDICT_EVICT;

	sc_put_u64(record, "stream", stream->stream);
	sc_put_u64(record, "group", verdict->group);
	sc_put_u64(record, "layer_begin", verdict->layer_begin);
	sc_put_u64(record, "layer_end", verdict->layer_end);
	sc_put_u64(record, "token", verdict->token);
	sc_put_text(record, "verdict", evict ? "evict" : "promote");
	sc_put(record, "ema", sc_float(verdict->ema));
	return record;
}

int sc_verdicts(struct sc_run *run, struct sc_device *device)
{
	json_object *list = sc_list(run, device, "verdicts");
	struct kvsink_stream_rec stream;
	char *records = NULL;
	size_t bytes;
	int count;

	if (sc_find_stream(run, device, &stream))
		return -1;
	count = sc_query(run, device, DRM_KVSINK_QUERY_VERDICTS, stream.stream, 0,
			 sizeof(struct kvsink_verdict_rec), &records, &bytes);
	for (int i = 0; i < count; i++)
		json_object_array_add(list, verdict_record(&stream, (void *)(records + i * bytes)));
	free(records);
	return count < 0 ? count : 0;
}
