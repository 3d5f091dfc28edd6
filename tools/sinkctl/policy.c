// SPDX-License-Identifier: MIT
/*
 * place: runs a policy of the library on a stream of another process, by its id. The stream's length tells
 * that a step is done; whoever decodes notices nothing but where rows are read from.
 */
#include "sinkctl.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define POLL_NS 10000000 /* each look is a QUERY: it takes modelled time, too */

static volatile sig_atomic_t interrupted;

struct watch {
	struct kvsink_stream_rec stream; /* as it is now */
	uint32_t steps, missed;
	const char *ended;
};

/* KVS_POLICY_* of a policy, or -1. */
static int traits_of(const char *policy)
{
	const char *name;

	for (unsigned i = 0; (name = kvs_policy_name(i)); i++)
		if (!strcmp(name, policy))
			return (int)kvs_policy_traits(i);
	return -1;
}

static bool has(const struct sc_run *run, int trait)
{
	return traits_of(run->policy) & trait;
}

/* "uniform, random, ..., 1c": what can be run from outside. */
static void list_names(char *text, size_t size)
{
	size_t used = 0;
	const char *name;

	*text = 0;
	for (unsigned i = 0; (name = kvs_policy_name(i)) && used < size; i++)
		if (!(kvs_policy_traits(i) & KVS_POLICY_INSIDE))
			used += snprintf(text + used, size - used, "%s%s", used ? ", " : "", name);
}

int sc_policy_prepare(struct sc_run *run)
{
	int traits = traits_of(run->policy);
	char names[256];

	if (run->contract.due_ns > UINT32_MAX)
		return sc_usage(run, "--due '%lluns': up to %uns is allowed here, what COPY_DUE_NS can hold",
				(unsigned long long)run->contract.due_ns, UINT32_MAX);
	if (traits >= 0 && !(traits & KVS_POLICY_INSIDE))
		return 0;
	list_names(names, sizeof(names));
	return sc_usage(run, "--policy '%s': %s are allowed%s", run->policy, names,
			traits >= 0 ? "; this one must run in the process that decodes" : "");
}

/* ---- watching ---------------------------------------------------------------------------------- */

static void interrupt(int number)
{
	(void)number;
	interrupted = 1;
}

static void catch_signals(bool on, struct sigaction *before)
{
	struct sigaction action = {.sa_handler = interrupt};

	if (on) {
		interrupted = 0;
		sigaction(SIGINT, &action, &before[0]);
		sigaction(SIGTERM, &action, &before[1]);
	} else {
		sigaction(SIGINT, &before[0], NULL);
		sigaction(SIGTERM, &before[1], NULL);
	}
}

/* The stream as it is now; 0 if it is gone. */
static int look(struct sc_run *run, struct sc_device *device, struct kvsink_stream_rec *stream)
{
	char *records = NULL;
	size_t bytes;
	int count = kvs_query(device->kvs, DRM_KVSINK_QUERY_STREAMS, run->target.stream, 0, (void **)&records,
			      &bytes);

	if (count == -ENOENT)
		count = 0;
	if (count < 0)
		return sc_error(run, device, count, NULL, "place", NULL);
	if (count && bytes >= sizeof(*stream))
		memcpy(stream, records, sizeof(*stream));
	free(records);
	return count;
}

/* Until the stream is longer than `length`; false when there is nothing more to wait for. */
static bool next_step(struct sc_run *run, struct sc_device *device, struct watch *watch, uint32_t length)
{
	const struct timespec pause = {.tv_nsec = POLL_NS};
	int found;

	while (!interrupted) {
		found = look(run, device, &watch->stream);
		if (found <= 0) {
			watch->ended = found ? NULL : "stream";
			return false;
		}
		if (watch->stream.length > length)
			return true;
		nanosleep(&pause, NULL);
	}
	watch->ended = "interrupt";
	return false;
}

static int fail(struct sc_run *run, struct sc_device *device, int error)
{
	return sc_error(run, device, error, NULL, "place", NULL);
}

static int follow(struct sc_run *run, struct sc_device *device, struct kvs_policy *policy,
		  struct watch *watch)
{
	bool endless = !(run->given & SC_BIT(STEPS)) && has(run, KVS_POLICY_EACH_STEP);
	uint32_t length = watch->stream.length, done;
	int error = 0;

	watch->ended = endless || run->steps ? "steps" : "placed";
	while (!error && (endless || watch->steps < run->steps) && next_step(run, device, watch, length)) {
		done = watch->stream.length - length;
		length = watch->stream.length;
		watch->steps += done;
		watch->missed += done - 1;
		error = kvs_policy_step(policy);
		if (error == -ENOENT) { /* the stream ended meanwhile */
			watch->ended = "stream";
			return 0;
		}
	}
	if (error)
		return fail(run, device, error);
	return watch->ended ? 0 : -1;
}

/* ---- the command ------------------------------------------------------------------------------- */

static void put_counters(struct sc_run *run, struct sc_device *device, json_object *record,
			 const uint64_t *before)
{
	static const struct {
		const char *key;
		enum kvsink_counter counter;
	} rows[] = {{"promotions", KVSINK_COUNTER_PROMOTIONS},
		    {"evictions", KVSINK_COUNTER_EVICTIONS},
		    {"refusals", KVSINK_COUNTER_REFUSALS}};
	uint64_t now[KVSINK_COUNTER_COUNT];

	if (kvs_counters(device->kvs, run->target.stream, now))
		return; /* the stream is gone, and its counters with it */
	for (unsigned i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		sc_put_u64(record, rows[i].key, now[rows[i].counter] - before[rows[i].counter]);
}

static void put_record(struct sc_run *run, struct sc_device *device, struct watch *watch,
		       const uint64_t *before)
{
	json_object *record = json_object_new_object();
	uint64_t tail = 0;

	sc_put_u64(record, "stream", run->target.stream);
	sc_put_text(record, "policy", run->policy);
	sc_put_u64(record, "steps", watch->steps);
	sc_put_u64(record, "missed", watch->missed);
	put_counters(run, device, record, before);
	if (strcmp(watch->ended, "stream") && look(run, device, &watch->stream) > 0) {
		sc_put_u64(record, "entries", watch->stream.entries);
		sc_put_u64(record, "sram_bytes", watch->stream.sram_bytes);
	}
	if (!kvs_config_get(device->kvs, run->target.stream, KVSINK_GROUP_ALL, KVSINK_PARAM_TAIL_TOKENS,
			    &tail))
		sc_put_u64(record, "tail_tokens", tail);
	sc_put_text(record, "ended", watch->ended);
	json_object_array_add(sc_list(run, device, "placements"), record);
}

static int run_policy(struct sc_run *run, struct sc_device *device, struct kvs_policy *policy,
		      struct watch *watch, const uint64_t *before)
{
	int error = kvs_policy_prefilled(policy);

	error = error ? fail(run, device, error) : follow(run, device, policy, watch);
	if (!error)
		put_record(run, device, watch, before);
	return error;
}

/* Nothing has changed yet. */
static int check_scored(struct sc_run *run, struct sc_device *device, const struct kvsink_stream_rec *stream)
{
	char why[120];

	if (stream->scored || !has(run, KVS_POLICY_SCORES))
		return 0;
	snprintf(why, sizeof(why), "stream %llu has no scores, and policy %s places by them",
		 (unsigned long long)stream->stream, run->policy);
	return sc_error(run, device, -ENODATA, NULL, "place", why);
}

int sc_policy(struct sc_run *run, struct sc_device *device)
{
	struct kvs_policy_options options = {.size = sizeof(options),
					     .sram_bytes = run->sram_bytes,
					     .tail_tokens = run->tail,
					     .t_sink = run->t_sink,
					     .due_ns = (uint32_t)run->contract.due_ns};
	uint64_t before[KVSINK_COUNTER_COUNT];
	struct kvs_policy *policy;
	struct sigaction actions[2];
	struct watch watch = {0};
	int error;

	sc_list(run, device, "placements");
	if (sc_find_stream(run, device, &watch.stream) || check_scored(run, device, &watch.stream))
		return -1;
	error = kvs_counters(device->kvs, run->target.stream, before);
	error = error ? error
		      : kvs_policy_open(device->kvs, run->target.stream, run->policy, &options, &policy);
	if (error == -EINVAL) {
		sc_usage(run, "%s", kvs_device_error(device->kvs));
		return error;
	}
	if (error)
		return fail(run, device, error);
	catch_signals(true, actions);
	error = run_policy(run, device, policy, &watch, before);
	catch_signals(false, actions);
	kvs_policy_close(policy);
	return error;
}
