// SPDX-License-Identifier: MIT
/*
 * kvsink-llm drafts: what speculative decoding was worth, as a table for people and one document for programs
 * (schema kvsink-llm-drafts/1), both from the same values. Every figure comes from the documents of two
 * decodes and of the comparison of their logits; the exit status says whether the tokens were the same.
 *
 * The last token and its draft are one block of queries as long as they fit (KVSINK_BLOCK_ROWS), and a block
 * reads each row once, whether its guesses were right or wrong. What becomes fewer besides are evaluations,
 * each of which reads all weights once.
 */
#include <stdio.h>
#include <string.h>

#include "fail.h"
#include "json.h"
#include "options.h"

struct drafts {
	struct json_object *draft, *plain, *compare;
};

static const struct row {
	const char *key, *what;
	const char *hbm, *sram; /* bytes for each decoded token: sum of both; NULL: the value of the key */
	bool fraction;
} rows[] = {
	{"steps", "evaluations of the model", NULL, NULL, false},
	{"drafts", "of these with a draft", NULL, NULL, false},
	{"drafted", "tokens drafted", NULL, NULL, false},
	{"accepted", "tokens accepted", NULL, NULL, false},
	{"acceptance", "acceptance rate", NULL, NULL, true},
	{"kv_bytes_per_token", "KV bytes per token, useful", "kv_bytes_hbm", "kv_bytes_sram", false},
	{"kv_bus_bytes_per_token", "KV bytes per token, on the bus", "kv_bytes_hbm_bus", "kv_bytes_sram_bus",
	 false},
	{"hbm_bus_bytes_per_token", "  of these from HBM", "kv_bytes_hbm_bus", "", false},
};

/* A document without decoded tokens has no figure for one: 0. */
static double value(const struct row *row, struct json_object *decode)
{
	double tokens = json_get_number(decode, "decoded_tokens");

	if (!row->hbm)
		return json_get_number(decode, row->key);
	return tokens > 0 ? (json_get_number(decode, row->hbm) + json_get_number(decode, row->sram)) / tokens
			  : 0;
}

static void side_json(struct json_object *o, const char *key, struct json_object *decode)
{
	struct json_object *side = json_object_new_object();

	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		json_number(side, rows[i].key, value(&rows[i], decode));
	json_object_object_add(o, key, side);
}

static struct json_object *result(const struct drafts *d)
{
	static const char *const keys[] = {"model",	     "device",	       "policy",
					   "context_tokens", "decoded_tokens", "draft"};
	static const char *const compared[] = {"identical_tokens", "max_logit_diff", "logits",
					       "differing_logits"};
	struct json_object *o = json_object_new_object();

	json_string(o, "schema", "kvsink-llm-drafts/1");
	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++)
		json_object_object_add(o, keys[i], json_object_get(json_member(d->draft, keys[i])));
	for (size_t i = 0; i < sizeof(compared) / sizeof(*compared); i++)
		json_object_object_add(o, compared[i], json_object_get(json_member(d->compare, compared[i])));
	side_json(o, "speculative", d->draft);
	side_json(o, "plain", d->plain);
	return o;
}

static void print_value(const struct row *row, struct json_object *side)
{
	double number = json_get_number(side, row->key);

	if (row->fraction)
		printf("  %11.1f %%", 100 * number);
	else
		printf("  %13.0f", number);
}

static void print_table(struct json_object *o)
{
	struct json_object *speculative = json_member(o, "speculative"), *plain = json_member(o, "plain");

	printf("%s on %s, policy %s: %llu tokens after %llu, drafts of up to %llu\n",
	       json_get_text(o, "model"), json_get_text(o, "device"), json_get_text(o, "policy"),
	       (unsigned long long)json_get_integer(o, "decoded_tokens"),
	       (unsigned long long)json_get_integer(o, "context_tokens"),
	       (unsigned long long)json_get_integer(o, "draft"));
	printf("  %-30s  %13s  %13s\n", "", "drafts", "plain");
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		printf("  %-30s", rows[i].what);
		print_value(&rows[i], speculative);
		print_value(&rows[i], plain);
		putchar('\n');
	}
	printf("  identical tokens %llu, logits that differ %llu of %llu, by %.2g at most\n",
	       (unsigned long long)json_get_integer(o, "identical_tokens"),
	       (unsigned long long)json_get_integer(o, "differing_logits"),
	       (unsigned long long)json_get_integer(o, "logits"), json_get_number(o, "max_logit_diff"));
	printf("  bytes: a block of queries (24 rows: queries times query heads of a KV head) reads each row "
	       "once, for wrong guesses, too\n");
}

static int check(const struct drafts *d)
{
	static const char *const same[] = {"model", "context_tokens", "decoded_tokens", "attend", "policy"};

	for (size_t i = 0; i < sizeof(same) / sizeof(*same); i++)
		if (strcmp(json_get_text(d->draft, same[i]), json_get_text(d->plain, same[i])))
			return fail("the runs are not of one kind: %s is %s and %s", same[i],
				    json_get_text(d->draft, same[i]), json_get_text(d->plain, same[i]));
	if (!json_get_integer(d->draft, "draft") || json_get_integer(d->plain, "draft"))
		return fail("the first run must have drafts and the second one none");
	return 0;
}

static int verdict(const struct drafts *d)
{
	uint64_t tokens = json_get_integer(d->draft, "decoded_tokens");

	if (json_get_integer(d->compare, "steps") != tokens ||
	    json_get_integer(d->compare, "identical_tokens") != tokens ||
	    !json_object_equal(json_member(d->draft, "tokens"), json_member(d->plain, "tokens")))
		return fail("the run with drafts leaves the plain one's tokens after %llu of %llu",
			    (unsigned long long)json_get_integer(d->compare, "identical_tokens"),
			    (unsigned long long)tokens);
	return 0;
}

static int drafts(const struct drafts *d, const struct options *o)
{
	struct json_object *document;

	if (check(d))
		return -1;
	document = result(d);
	print_table(document);
	if (!o->json)
		json_object_put(document);
	else if (json_output(document, o->json))
		return -1;
	return verdict(d);
}

int command_drafts(const struct options *o)
{
	struct drafts d = {.draft = json_load(o->files[0], "kvsink-llm-decode/1"),
			   .plain = json_load(o->files[1], "kvsink-llm-decode/1"),
			   .compare = json_load(o->files[2], "kvsink-llm-compare/1")};
	int rc = -1;

	if (d.draft && d.plain && d.compare)
		rc = drafts(&d, o);
	json_object_put(d.draft);
	json_object_put(d.plain);
	json_object_put(d.compare);
	return rc;
}
