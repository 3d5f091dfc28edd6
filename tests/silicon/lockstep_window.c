// SPDX-License-Identifier: MIT
/*
 * Replay windows in lockstep: opened, grown and ended by operations of their own, so that everything else
 * comes between. What the queries of a window have put on each token is read from the chip's journal, whose
 * place is filled with garbage before.
 */
#include "lockstep.h"

#define JOURNALS (2u << 20) /* HBM offset; each stream has one */
#define JOURNAL_BYTES (64u << 10)
#define MOST_TOKENS 9

static struct {
	uint32_t first, tokens; /* that the journal was made for */
} journal[REF_STREAMS];

static uint64_t journal_of(unsigned s)
{
	return JOURNALS + s * JOURNAL_BYTES;
}

static void begin(unsigned s)
{
	uint32_t tokens = below(20) ? 1 + below(MOST_TOKENS) : below(2) * (KVSINK_MAX_WINDOW_TOKENS + 1);
	uint32_t want = ref_window_begin(&both.ref, s, tokens);
	struct kvsink_cmd *cmd = h_cmd(&both.h, KVSINK_OP_WINDOW_BEGIN);

	cmd->window_begin =
		(struct kvsink_cmd_window_begin){both.streams[s].id, journal_of(s), JOURNAL_BYTES, tokens, 0};
	if (!want) {
		memset(both.h.hbm + journal_of(s), (int)below(256), JOURNAL_BYTES);
		journal[s].first = both.ref.stream[s].length;
		journal[s].tokens = tokens;
	}
	SAME(lockstep_run_privileged(), want, "WINDOW_BEGIN");
	both.outcome = both.h.cpl.code;
}

/* Some rows of a layer, or queries of those that are there, in any order and perhaps twice. */
static void grow_layer(unsigned s, uint32_t layer)
{
	struct ref_stream *st = &both.ref.stream[s];
	uint32_t rows = st->replay.rows[layer], count = 1 + below(3), first = st->length + rows;

	if (st->length + rows + count <= REF_TOKENS) {
		SAME(lockstep_append(s, layer, first, count), ref_window_append(&both.ref, s, layer, count),
		     "APPEND in a window");
		rows = st->replay.rows[layer];
	}
	if (!rows || below(8) == 0)
		return;
	first = below(3) ? 0 : below(rows);
	count = 1 + below(rows - first);
	h_attend_cmd(&both.h, &both.streams[s], layer, st->length + first, count);
	SAME(lockstep_run(s), KVSINK_CODE_OK, "ATTEND in a window");
	ref_window_attend(&both.ref, s, layer, st->length + first, count);
	lockstep_after_attend(s, layer);
}

/* So that all layers have as many rows. */
static void level(unsigned s)
{
	struct ref_window *w = &both.ref.stream[s].replay;
	uint32_t most = 0;

	for (uint32_t l = 0; l < REF_LAYERS; l++)
		most = w->rows[l] > most ? w->rows[l] : most;
	for (uint32_t l = 0; l < REF_LAYERS; l++) {
		if (w->rows[l] == most)
			continue;
		SAME(lockstep_append(s, l, both.ref.stream[s].length + w->rows[l], most - w->rows[l]),
		     ref_window_append(&both.ref, s, l, most - w->rows[l]), "APPEND that levels");
	}
}

static void commit(unsigned s)
{
	static uint64_t copy[KVSINK_MAX_WINDOW_TOKENS][REF_GROUPS][REF_TOKENS + MOST_TOKENS];
	static const uint64_t *mass[KVSINK_MAX_WINDOW_TOKENS][REF_GROUPS];
	uint32_t rows = both.ref.stream[s].replay.rows[0], count = below(4) ? below(rows + 1) : below(12);
	uint32_t tokens = journal[s].first + journal[s].tokens, n = journal[s].tokens, want;

	for (uint32_t i = 0; i < n; i++)
		for (uint32_t g = 0; g < REF_GROUPS; g++) {
			memcpy(copy[i][g], both.h.hbm + journal_of(s) + (i * REF_GROUPS + g) * tokens * 8ull,
			       (journal[s].first + i + 1) * sizeof(uint64_t));
			mass[i][g] = copy[i][g];
		}
	h_cmd(&both.h, KVSINK_OP_WINDOW_COMMIT)->window_commit =
		(struct kvsink_cmd_window_commit){both.streams[s].id, count, 0};
	want = ref_window_commit(&both.ref, s, count, mass);
	SAME(lockstep_run(s), want, "WINDOW_COMMIT");
	both.outcome = both.h.cpl.code;
	totals.committed += want ? 0 : count;
}

void lockstep_window(unsigned s)
{
	const struct ref_window *w = &both.ref.stream[s].replay;

	if (!w->tokens || below(40) == 0) {
		begin(s);
		if (!w->tokens && below(8) == 0)
			commit(s);
	} else if (below(5) == 0) {
		if (below(8))
			level(s);
		commit(s);
	} else {
		for (uint32_t l = 0; l < REF_LAYERS; l++)
			if (below(8))
				grow_layer(s, l);
		both.outcome = KVSINK_CODE_OK;
	}
}

void lockstep_window_end(unsigned s)
{
	struct kvsink_cmd *cmd;

	if (both.ref.stream[s].replay.tokens && below(4) == 0) {
		cmd = h_cmd(&both.h, KVSINK_OP_STEP_END);
		cmd->step_end.stream = both.streams[s].id;
		cmd->flags = below(2) ? KVSINK_STEP_ABORT : 0;
		SAME(lockstep_run(s), KVSINK_CODE_WINDOW, "STEP_END in a window");
	}
	while (both.ref.stream[s].replay.tokens) {
		level(s);
		commit(s);
	}
}
