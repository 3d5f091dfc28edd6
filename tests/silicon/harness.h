/* SPDX-License-Identifier: MIT */
/*
 * A host for the chip under test: memory on a bus, a GART table, rings, a builder of jobs.
 *
 * The bus has HOST_BYTES of memory at HOST_BUS and refuses everything else. GART page p is mapped to a
 * host page that is not p's neighbour, so that an operand that crosses a page shows.
 * A job is built with h_cmd() and h_item() and handed in with h_submit() or h_do(); its tenant and flags
 * are those of the harness at that moment.
 */
#ifndef KVSINK_TEST_HARNESS_H
#define KVSINK_TEST_HARNESS_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "silicon.h"

#define HOST_BUS 0x10000000ull
#define HOST_BYTES (16u << 20)
#define H_GART_PAGES 1024u
#define H_TENANT 100u

struct harness {
	struct kvsink_chip_config config;
	struct kvsink_chip *chip;
	uint8_t *host, *sram, *hbm;
	unsigned parts; /* that h_run() spreads an item over */
	unsigned irqs[KVSINK_MAX_RINGS + 1], logs;
	char log[200];			   /* the last line */
	uint64_t dirty_bytes[4];	   /* by space */
	uint64_t refuse_bus, refuse_bytes; /* transfers that touch this range fail */
	uint64_t hbm_next;		   /* HBM not yet given out */
	uint32_t published[KVSINK_MAX_RINGS];
	uint32_t tenant, flags;	     /* of the next jobs */
	uint64_t generation;	     /* likewise */
	uint64_t host_ns;	     /* likewise */
	struct kvsink_job_desc desc; /* the job being built */
	struct kvsink_cmd cmds[KVSINK_MAX_CMDS + 1];
	union kvsink_item items[KVSINK_MAX_ITEMS];
	struct kvsink_completion cpl; /* of the last h_do() */
};

/* Geometry of a stream; h_geometry() is a small one that a test changes where it matters. */
struct h_stream {
	uint64_t id;
	uint32_t tenant, layers, q_heads, kv_heads, d_k, d_v, format, seal_k, seal_v, page_tokens, max_tokens,
		score_groups;
	uint16_t group_end[KVSINK_MAX_SCORE_GROUPS];
	float scale, softcap;
	uint32_t window;
	uint32_t flags;			    /* KVSINK_STREAM_* */
	uint64_t rows;			    /* seed of its rows; 0: its id */
	uint64_t page_table, scores, pages; /* HBM offsets, set by h_stream() */
};

/* Every code that some completion of this program has carried. */
extern bool h_seen[KVSINK_CODE_COUNT];

/* `tune` may change the small default config; NULL for none. Exits when the chip cannot be made. */
void h_open(struct harness *h, void (*tune)(struct kvsink_chip_config *));
void h_close(struct harness *h);
/* Set the registers that a driver sets: GART, rings, masks, enable. Publishes nothing. */
void h_start(struct harness *h);

struct kvsink_cmd *h_cmd(struct harness *h, unsigned opcode);	   /* zeroed, behind those before */
uint32_t h_item(struct harness *h, const union kvsink_item *item); /* its index */
struct kvsink_ref h_gart(uint64_t offset);
struct kvsink_ref h_hbm(uint64_t offset);
struct kvsink_ref h_sram(uint64_t offset);

uint32_t h_publish(struct harness *h, unsigned ring); /* without the doorbell; returns its index */
void h_doorbell(struct harness *h, unsigned ring);
uint32_t h_submit(struct harness *h, unsigned ring); /* both */
void h_run(struct harness *h);			     /* until nothing is pending */
struct kvsink_completion h_completion(struct harness *h, unsigned ring, uint32_t index);
uint32_t h_do(struct harness *h);   /* submit to ring 0, run; its code, h->cpl is the record */
uint32_t h_priv(struct harness *h); /* the same as a privileged job */

void h_put(struct harness *h, uint64_t gart, const void *buf, size_t bytes);
void h_get(struct harness *h, uint64_t gart, void *buf, size_t bytes);
void h_gart_set(struct harness *h, uint32_t page, uint64_t entry);
uint64_t h_gart_bus(uint32_t page); /* that h_open() maps it to */

struct h_stream h_geometry(uint64_t id);
uint32_t h_create(struct harness *h, struct h_stream *s); /* STREAM_CREATE at a fresh place of HBM */
uint32_t h_map(struct harness *h, struct h_stream *s, uint32_t first_page, uint32_t count);
uint32_t h_stream(struct harness *h, struct h_stream *s); /* both, all of its pages; exits on failure */
/* APPEND rows of random floats; the same seed, layer and token give the same rows. */
uint32_t h_append(struct harness *h, const struct h_stream *s, uint32_t layer, uint32_t first,
		  uint32_t count);
uint32_t h_step_end(struct harness *h, const struct h_stream *s, uint32_t count);
void h_fill(struct harness *h, const struct h_stream *s, uint32_t first,
	    uint32_t count); /* exits on failure */
/* The row of K (or V) that h_append() has sent. */
void h_row(const struct h_stream *s, bool v, uint32_t layer, uint32_t token, uint32_t head, float *out);
/* PROMOTE and EVICT with one item. */
struct kvsink_cmd *h_promote_cmd(struct harness *h, const struct h_stream *s, uint32_t token, uint32_t begin,
				 uint32_t end, uint64_t heads);
struct kvsink_cmd *h_evict_cmd(struct harness *h, const struct h_stream *s, uint32_t token, uint32_t begin,
			       uint32_t end, uint64_t heads);
uint32_t h_promote(struct harness *h, const struct h_stream *s, uint32_t token, uint32_t begin, uint32_t end,
		   uint64_t heads);
uint32_t h_evict(struct harness *h, const struct h_stream *s, uint32_t token);
uint32_t h_barrier(struct harness *h, const struct h_stream *s);
uint32_t h_config(struct harness *h, uint64_t stream, uint32_t param, uint64_t value);
/* SEAL with the items that were added since the last command was handed in. */
struct kvsink_cmd *h_seal_cmd(struct harness *h, const struct h_stream *s, uint32_t tokens);
/* A row to protect, as an item of the command being built. */
void h_protect(struct harness *h, uint32_t token, uint32_t begin, uint32_t end, uint64_t heads);
uint32_t h_seal(struct harness *h, const struct h_stream *s, uint32_t tokens);
/* BARRIER and SWAP_OUT, with `room` bytes for the image at a GART offset; a key that the test does not use.
 */
uint32_t h_swap_out(struct harness *h, const struct h_stream *s, uint64_t image, uint64_t room);
/* A fresh place, with all of its pages, in other order than before; exits on failure. */
void h_swap_place(struct harness *h, struct h_stream *s);
/* SWAP_IN alone, with all the room in the world. */
struct kvsink_cmd *h_swap_in_cmd(struct harness *h, const struct h_stream *s, uint64_t image);
uint32_t h_swap_in(struct harness *h, struct h_stream *s, uint64_t image); /* both */
/* Builders of commands whose operands lie at the places below. */
struct kvsink_cmd *h_attend_cmd(struct harness *h, const struct h_stream *s, uint32_t layer, uint32_t first,
				uint32_t count);
struct kvsink_cmd *h_score_cmd(struct harness *h, const struct h_stream *s, uint32_t layer, uint32_t first,
			       uint32_t count);
struct kvsink_cmd *h_query_cmd(struct harness *h, uint32_t what, uint64_t stream, uint32_t first,
			       uint32_t max);
/* The stream's first tokens become prefix `id`, in HBM of its own; *prefix describes it (may be NULL). */
uint32_t h_publish_prefix(struct harness *h, const struct h_stream *s, uint64_t id, uint32_t tokens,
			  struct h_stream *prefix);
/* PREFIX_ATTACH of a stream that h_create() has made, and pages for all its other tokens. */
uint32_t h_attach(struct harness *h, struct h_stream *s, uint64_t prefix, uint32_t tokens);
/* The last `count` of the `shared` pages that it does not own become its own. */
uint32_t h_detach(struct harness *h, const struct h_stream *s, uint32_t shared, uint32_t count);
/* The record of the token's first entry; false if it has none. */
bool h_entry(struct harness *h, const struct h_stream *s, uint32_t token, struct kvsink_tag_rec *rec);
uint64_t h_counter(struct harness *h, unsigned counter); /* device-wide, from the registers */
uint32_t h_random(uint64_t *state);
void h_queries(struct harness *h, uint64_t seed, uint32_t floats); /* random floats at H_Q */

/* GART offsets of operands: 512 KiB each. */
#define H_K 0x000000u
#define H_V 0x080000u
#define H_Q 0x100000u
#define H_OUT 0x180000u
#define H_STATS 0x200000u
#define H_ANSWER 0x280000u
#define H_FREE 0x300000u

#endif
