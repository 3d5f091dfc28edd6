// SPDX-License-Identifier: MIT
/*
 * kvsink-llm compare: two files of logits, step by step, for as long as both decoded the same tokens.
 * Nothing is forced on either side, so after the first difference they say nothing about each other.
 */
#include <math.h>
#include <stdlib.h>

#include "fail.h"
#include "json.h"
#include "logits.h"
#include "options.h"

struct side {
	const char *path;
	FILE *file;
	struct logits_header header;
	struct logits_step step;
	float *logits;
};

struct comparison {
	uint32_t steps;	       /* that both files have */
	uint32_t identical;    /* chosen tokens, from the first step on */
	double max_difference; /* of any logit, over steps with the same past */
	uint64_t differing;    /* logits of these steps that are not the same number */
	uint64_t compared;
};

static int side_open(struct side *s, const char *path)
{
	s->path = path;
	if (logits_open(path, &s->header, &s->file))
		return -1;
	s->logits = malloc((size_t)s->header.vocab * sizeof(float));
	return s->logits ? 0 : fail("out of memory for %u logits", s->header.vocab);
}

static void side_close(struct side *s)
{
	if (s->file)
		fclose(s->file);
	free(s->logits);
}

static double largest_difference(const struct side *a, const struct side *b)
{
	double largest = 0;

	for (uint32_t i = 0; i < a->header.vocab; i++) {
		double difference = fabs((double)a->logits[i] - b->logits[i]);

		if (!(difference <= largest))
			largest = isnan(difference) ? INFINITY : difference;
	}
	return largest;
}

static uint64_t differing(const struct side *a, const struct side *b)
{
	uint64_t count = 0;

	for (uint32_t i = 0; i < a->header.vocab; i++)
		count += a->logits[i] != b->logits[i];
	return count;
}

static void compare_step(const struct side *a, const struct side *b, struct comparison *c)
{
	double difference;

	if (c->identical != c->steps++ || a->step.input != b->step.input)
		return;
	difference = largest_difference(a, b);
	c->differing += differing(a, b);
	c->compared += a->header.vocab;
	if (difference > c->max_difference)
		c->max_difference = difference;
	c->identical += a->step.chosen == b->step.chosen;
}

static int compare_files(struct side *a, struct side *b, struct comparison *c)
{
	if (a->header.vocab != b->header.vocab || a->header.model_hash != b->header.model_hash)
		return fail("%s and %s are of different models", a->path, b->path);
	for (;;) {
		int more = logits_read(a->file, a->path, &a->step, a->logits, a->header.vocab);
		int more_b = logits_read(b->file, b->path, &b->step, b->logits, b->header.vocab);

		if (more < 0 || more_b < 0)
			return -1;
		if (!more && !more_b)
			return 0;
		if (!more || !more_b)
			return fail("%s has fewer steps than %s", more ? b->path : a->path,
				    more ? a->path : b->path);
		if (a->step.position != b->step.position)
			return fail("%s is at position %d where %s is at %d", a->path, a->step.position,
				    b->path, b->step.position);
		compare_step(a, b, c);
	}
}

static int compare_report(const struct comparison *c, const struct options *o)
{
	struct json_object *document = json_object_new_object();

	json_string(document, "schema", "kvsink-llm-compare/1");
	json_integer(document, "steps", c->steps);
	json_integer(document, "identical_tokens", c->identical);
	json_number(document, "max_logit_diff", c->max_difference);
	json_integer(document, "logits", c->compared);
	json_integer(document, "differing_logits", c->differing);
	return json_output(document, o->json);
}

int command_compare(const struct options *o)
{
	struct side a = {0}, b = {0};
	struct comparison c = {0};
	int rc = -1;

	if (!side_open(&a, o->files[0]) && !side_open(&b, o->files[1]))
		rc = compare_files(&a, &b, &c);
	side_close(&a);
	side_close(&b);
	return rc ? rc : compare_report(&c, o);
}
