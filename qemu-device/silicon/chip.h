/* SPDX-License-Identifier: MIT */
/*
 * Inside the chip: the state of every block and the functions by which blocks call one another.
 *
 * Only the control side includes this file; arithmetic lies behind datapath.h, hosts see silicon.h.
 * Locking: every function runs under the host's one lock, except kvsink_exec(), which touches only its
 * item. Rows that an item reads stay as they are because its streams are locked (stream->locks):
 * commands that would change them stall their ring until the item retires.
 * A command handler checks everything, then acts: when it fails, nothing of it was done.
 */
#ifndef KVSINK_CHIP_H
#define KVSINK_CHIP_H

#include "checksum.h"
#include "datapath.h"
#include "silicon.h"

#define KVSINK_TLB_SLOTS 64	     /* direct mapped */
#define KVSINK_NONE UINT32_MAX	     /* no such index */
#define KVSINK_REG_WORDS (0x200 / 4) /* words of the global register block */
#define KVSINK_PS_PER_NS 1000u
/*
 * How much one call of kvsink_run() may do, so that the host's lock is not held for long: bytes moved, or
 * looked at. Every command and every fetch costs KVSINK_STEP_COST besides; the last one may go beyond.
 */
#define KVSINK_QUANTUM (4u << 20)
#define KVSINK_STEP_COST (64u << 10)
/* Tokens that one ATTEND can observe, summed over its items; in a replay window over their new queries. */
#define KVSINK_OBSERVE_TOKENS (4u << 20)
#define KVSINK_SINK_SUMS ((size_t)KVSINK_MAX_ITEMS * KVSINK_MAX_WINDOW_TOKENS * KVSINK_MAX_KV_HEADS)

/* Byte offset of a field in its command, for BAD_FIELD. */
#define KVSINK_FIELD(member) ((uint64_t)offsetof(struct kvsink_cmd, member))
/* The same for a field of item i of the command: items count behind the command. */
#define KVSINK_ITEM_FIELD(i, kind, member)                                                                   \
	(sizeof(struct kvsink_cmd) + (uint64_t)(i) * sizeof(union kvsink_item) +                             \
	 offsetof(union kvsink_item, kind.member))

/*
 * The tail of a score group: the newest tokens' rows, in a ring of SRAM that APPEND writes as it writes HBM.
 * Row of (token, layer, head): offset + (((token mod tokens) * layers + layer - begin) * heads + rank) *
 * row_bytes.
 */
struct kvsink_tail {
	uint32_t tokens;		  /* that the ring holds; 0 = no tail */
	uint32_t from;			  /* first token that was appended to it: older ones are not there */
	uint32_t sram_offset, sram_bytes; /* granted range */
	uint32_t begin, end;		  /* layers */
	uint64_t head_mask;		  /* KV heads */
	uint64_t deadline_ns; /* host time until which nobody may take its place; moved by STEP_END */
};

/* Tokens of a layer that the tail holds: [next, end). */
struct kvsink_tail_range {
	const struct kvsink_tail *tail;
	uint32_t next, end;
};

/* A score group: layers [begin, end) of a stream. */
struct kvsink_group {
	uint32_t begin, end;
	bool seeded; /* the EMA runs; before, it begins with the prefill's MEAN scores */
	struct kvsink_tail tail;
	uint64_t params[KVSINK_PARAM_COUNT]; /* those of scope STREAM are the same in all groups */
};

/* Where a stream's HBM content is. */
enum kvsink_swap_state {
	KVSINK_SWAP_NONE,      /* in HBM, where it belongs */
	KVSINK_SWAP_LEAVING,   /* SWAP_OUT copies it */
	KVSINK_SWAP_OUT,       /* in host memory, and nothing in HBM */
	KVSINK_SWAP_PLACED,    /* likewise, but it has a place to return to */
	KVSINK_SWAP_RETURNING, /* SWAP_IN copies it */
};

struct kvsink_swap {
	enum kvsink_swap_state state;
	uint32_t ring;		    /* that copies it */
	uint64_t key[2];	    /* of the image's checksum */
	uint64_t written;	    /* that checksum, while the stream is out */
	uint32_t pages;		    /* that its page table had when it left */
	struct kvsink_checksum sum; /* of what was copied so far */
};

/* A replay window: rows behind the stream's length that are kept or dropped one by one. */
struct kvsink_window {
	uint32_t tokens;		/* rows that it may have in all; 0 = none is open */
	uint32_t first;			/* the stream's length at WINDOW_BEGIN: its row 0 in the journal */
	uint64_t journal;		/* HBM offset, see kvsink_window_bytes() */
	uint64_t begin_ns;		/* host time of WINDOW_BEGIN */
	uint32_t ring;			/* whose WINDOW_COMMIT is under way; KVSINK_NONE */
	uint32_t rows;			/* that it had when that began */
	uint64_t hbm_bytes, sram_bytes; /* bus bytes that it has moved */
};

/* One sequence's KV state. Slots are fixed; `id` 0 means free. */
struct kvsink_stream {
	uint64_t id;
	uint32_t tenant;    /* owner */
	uint32_t hash_next; /* next slot of the same hash chain, or next free slot */
	uint32_t layers, q_heads, kv_heads, d_k, d_v, format;
	uint32_t flags;	     /* KVSINK_STREAM_* */
	uint32_t page_shift; /* log2 of tokens a page */
	uint32_t max_tokens;
	uint32_t mapped_pages; /* entries of the page table that hold a page */
	uint32_t score_groups;
	struct kvsink_group group[KVSINK_MAX_SCORE_GROUPS];
	uint64_t page_table;	 /* HBM offset of uint64_t[max pages] */
	uint64_t scores;	 /* HBM offset of the score area, see kvsink_score_bytes() */
	uint64_t page_bytes;	 /* of one page */
	uint32_t row_bytes;	 /* K and V of one token, layer and head */
	uint32_t seal_k, seal_v; /* formats of sealed rows */
	uint32_t sealed_bytes; /* K and V of one token, layer and head once it is sealed, as it is promoted */
	uint32_t sealed;       /* tokens in sealed pages */
	uint32_t length;       /* tokens that STEP_END made part of the stream: its steps */
	uint32_t first_tag;    /* entries by token, then layer; KVSINK_NONE ends */
	uint32_t entries;      /* how many */
	uint32_t sram_bytes;   /* granted to them and to the tails */
	uint32_t locks;	       /* items in flight that read its rows */
	struct kvsink_swap swap;
	struct kvsink_window window;
	struct kvsink_stream *prefix; /* that it begins with, or NULL */
	uint32_t shared;	      /* tokens below are the prefix's */
	uint32_t own_page;	      /* pages of its table before this one are the prefix's */
	uint32_t users;		      /* of a prefix: streams and prefixes that begin with it */
	bool closed;		      /* it is a prefix: its tokens do not change */
	uint64_t key[2];	      /* of a prefix: what its publisher calls it */
	bool refused;		      /* the last STEP_END could not place a sink and has said so */
	uint64_t counters[KVSINK_COUNTER_COUNT]; /* those in ns are kept in ps */
	struct kvsink_layer_params *layer;	 /* [KVSINK_MAX_LAYERS], from the chip's arena */
};

struct kvsink_layer_params {
	float scale;			       /* multiplies q.k */
	float softcap;			       /* 0 = none */
	uint32_t window;		       /* sliding window in tokens, 0 = none */
	uint32_t appended;		       /* rows behind the stream's length */
	uint32_t scored;		       /* queries that SCORE has seen */
	uint32_t weight;		       /* in scores and EMA, units of 2^-16 */
	uint32_t observed_first, observed_end; /* queries of the open step whose attention is in B */
	uint64_t profiled;  /* queries times query heads of one KV head that the profile has seen */
	uint64_t journaled; /* bit i: the journal has the query at row i of the open window */
};

/* An entry of the tag array: rows of one token in SRAM. */
struct kvsink_tag {
	struct kvsink_stream *stream; /* NULL = free */
	uint64_t head_mask;	      /* KV heads */
	uint64_t page;		      /* HBM offset of the token's page, source of the copy */
	uint64_t grant_ps;	      /* modelled time of the grant */
	uint64_t due_ps;	      /* modelled time by which the copy shall end; 0 = at once */
	uint64_t deadline_ns;	      /* contract: host time; 0 = none */
	uint32_t dwell_steps;	      /* contract: steps from since_step on; 0 = no such limit */
	uint32_t since_step;	      /* the stream's length when the contract was made */
	uint32_t priority;
	uint32_t token;
	uint16_t layer_begin, layer_end;
	uint32_t generation;		  /* of this grant; never 0 */
	uint32_t sram_offset, sram_bytes; /* granted range */
	uint32_t row_bytes;		  /* from row to row; that of sealed rows if no other is in it */
	uint32_t prev, next;		  /* entries of the stream; `next` also of free ones */
	bool valid;			  /* the copy has ended: reads go to SRAM */
	bool automatic;			  /* STEP_END has promoted it */
	uint32_t ema;			  /* of its token when the stream was swapped out */
	bool leaving; /* the plan being made removes it; false outside place.c and promote.c */
};

/* What a grant shall be: the contract of PROMOTE, or what STEP_END gives its own entries. */
struct kvsink_terms {
	uint32_t dwell_steps, priority;
	uint64_t deadline_ns; /* host time; 0 = none */
	uint64_t due_ns;      /* from now, modelled; 0 = at once */
	bool automatic;	      /* STEP_END decided it */
};

/* A granted range of SRAM. Kept sorted by offset; the gaps are what is free. */
struct kvsink_span {
	uint32_t offset, bytes;
};

/* What a grant cannot have, in the order in which it is asked for. */
enum kvsink_lack {
	KVSINK_LACK_NOTHING,
	KVSINK_LACK_STREAM,  /* budget of the stream */
	KVSINK_LACK_DEVICE,  /* budget of the device */
	KVSINK_LACK_ACCOUNT, /* TENANT_CAP */
	KVSINK_LACK_TAGS,
	KVSINK_LACK_RANGE, /* one that is large enough */
};
#define KVSINK_MAX_DISPLACED 256 /* entries and tails that give way to one command */

#define KVSINK_TRIAL_HINTS 8
/*
 * Tags and spans that a plan may look at before it gives up: as many as the largest tag array takes for all
 * of those that can give way. Lists of many different sizes in a fragmented SRAM would need more.
 */
#define KVSINK_PLAN_LOOKS (KVSINK_MAX_DISPLACED * 65536u)

/* Gaps of a trial before `index` are too small for so many bytes; 0 bytes: says nothing. */
struct kvsink_hint {
	uint32_t bytes, index;
};

/*
 * What is granted, on paper: a plan makes and takes back grants here before it does so in earnest. It begins
 * as what a stream's grants would find, and follows the very rules of the real ones.
 */
struct kvsink_trial {
	const struct kvsink_stream *stream; /* whose grants are tried */
	/* by offset, an empty one at 0 first; room for that and all entries and tails that can be */
	struct kvsink_span *spans;
	uint32_t span_count; /* used */
	uint32_t last_fit;   /* span that the last grant has lengthened */
	struct kvsink_hint hint[KVSINK_TRIAL_HINTS];
	uint32_t next_hint;		  /* to be replaced */
	uint64_t looks;			  /* at spans and, by the planner, at tags */
	uint32_t sram_used, stream_bytes; /* granted on the device, to the stream, */
	uint64_t account_bytes;		  /* and to the streams of its tenant tag */
	uint32_t used_tags;
};

#define KVSINK_EVENT_LOGS 2	/* what tells of a broken promise is in the second */
#define KVSINK_EVENT_LOSSES 256 /* places in which tenants' losses are noted, by tenant modulo this */

struct kvsink_logged_event {
	uint64_t number; /* events before it, ever */
	struct kvsink_event_rec rec;
};

/* A ring of events. */
struct kvsink_event_log {
	struct kvsink_logged_event *slot;
	uint32_t slots;
	uint64_t total; /* that were ever put in */
};

/* Events of tenants that gave way to younger ones. */
struct kvsink_event_loss {
	uint64_t behind;      /* number behind the last of them */
	uint64_t modelled_ns; /* of that one */
	uint32_t count;
};

/* Where a reader of both logs is. */
struct kvsink_event_walk {
	uint64_t at[KVSINK_EVENT_LOGS];
};

/* What the controller would do: place.c makes a list of these, STEP_END carries it out. */
struct kvsink_verdict_plan {
	enum kvsink_verdict verdict;
	enum kvsink_reason reason; /* of an eviction */
	uint32_t group, token, ema;
	uint32_t tag; /* of an eviction: the entry */
};

/* An entry that AUTO may replace. */
struct kvsink_victim {
	uint32_t ema, generation, tag;
};

/* A copy that the migration engine has yet to finish. It is stale when the tag has another generation. */
struct kvsink_copy {
	uint64_t due_ps;      /* modelled time by which it shall end; 0 = at once */
	uint64_t left_ps;     /* that it still takes */
	uint64_t start_by_ps; /* deferred: when the engine must go on, for it and those behind it to be in
				 time */
	uint64_t begin_ps;    /* when it began, if it has */
	uint64_t bus_bytes;   /* of HBM bursts */
	uint32_t tag, generation;
	bool begun;
};

/* What the engine does from now on, on paper: see kvsink_dma_look(). */
struct kvsink_dma_view {
	uint64_t now_ps;
	uint32_t next;		 /* copies before it have ended */
	struct kvsink_copy head; /* copy `next`, as it is by then */
};

/* One valid translation. */
struct kvsink_tlb_slot {
	uint64_t bus;  /* of the page */
	uint32_t page; /* GART page; KVSINK_NONE = empty slot */
};

/* Ledger of one staged task: what it reads, counted when it is executed, booked when it retires. */
struct kvsink_task_bytes {
	uint64_t sram, sram_bus, hbm, hbm_bus;
	uint64_t hbm_saved; /* that an earlier task of the command reads anyway; not in the others */
};

/* One item of arithmetic. It belongs to its ring and is staged, executed and retired in turn. */
struct kvsink_item_work {
	struct kvsink_ring *ring;
	bool busy;	/* the host has it; nothing here may change */
	bool cancelled; /* a reset drops it: kvsink_exec() may stop; written while threads read it */
	bool scoring;	/* SCORE, else ATTEND */
	uint64_t epoch; /* of the chip when it was staged: another one now means a reset came between */
	uint32_t tasks; /* used entries of the arrays below */
	struct kvsink_attend_task task[KVSINK_MAX_ITEMS];
	struct kvsink_task_bytes bytes[KVSINK_MAX_ITEMS];
	struct kvsink_stream *stream[KVSINK_MAX_ITEMS];	       /* locked while busy, unless a reset came */
	struct kvsink_gate_bytes gate_bytes[KVSINK_MAX_ITEMS]; /* of gated tasks */
	uint64_t mass_sram[KVSINK_MAX_ITEMS];		       /* attention on SRAM rows, units of 2^-32 */
	uint32_t layer[KVSINK_MAX_ITEMS];		       /* of each task */
	struct kvsink_ref out_ref, stats_ref, mass_ref;	       /* where outputs go when it retires */
	bool has_stats, has_mass;			       /* which of them are wanted */
	float *q, *out;			  /* KVSINK_STAGE_BYTES each; staging of every other command, too */
	struct kvsink_attend_stat *stats; /* KVSINK_STAGE_BYTES */
	uint64_t *score;		  /* [KVSINK_MAX_TOKENS], zero between items */
	uint64_t *mass;			  /* [KVSINK_STAGE_BYTES / 4], likewise; sums per KV head and token */
	uint64_t mass_used;
	uint64_t *observed;	/* [KVSINK_OBSERVE_TOKENS], likewise; sums per token for the EMA */
	uint64_t *sinks;	/* [KVSINK_OBSERVE_TOKENS / 64], bits of the same tokens */
	uint64_t *sink_mass;	/* [KVSINK_SINK_SUMS], zero between items: for the profile */
	uint32_t observed_used; /* of both arrays by tokens, a multiple of 64 */
	uint32_t sink_mass_used;
	const uint8_t **pages; /* arena of page addresses, pages_max of them */
	uint64_t pages_used, pages_max;
	struct kvsink_resident *resident; /* arena of resident lists, residents_max of them */
	uint64_t residents_used, residents_max;
	float *scratch; /* [KVSINK_MAX_PARTS][KVSINK_SCRATCH_FLOATS] */
};

/*
 * A command that waits for others' work. Until it is done, no ring begins more of that, so that rings that
 * always have some cannot keep it waiting for ever.
 */
enum kvsink_wait {
	KVSINK_WAIT_NONE,
	KVSINK_WAIT_ITEMS, /* for every item in flight */
	KVSINK_WAIT_ALL,   /* and for every COPY and FILL that is half done */
};

/* One ring of the command processor. */
struct kvsink_ring {
	struct kvsink_chip *chip;
	unsigned index;
	uint64_t jobs, cpls;	     /* bus addresses */
	uint32_t doorbell, head;     /* jobs published and completed, modulo 2^32 */
	bool halted;		     /* fault in fetch or completion, until a reset */
	bool hung;		     /* injected: the job never ends, until a reset */
	bool lost;		     /* injected: it hangs when its work is done */
	bool active;		     /* a job was fetched and has not ended */
	bool stalled;		     /* its command waits until some item retires */
	enum kvsink_wait waits;	     /* what its command waits for */
	struct kvsink_job_desc desc; /* the job, copied in once */
	struct kvsink_cmd cmd[KVSINK_MAX_CMDS];
	union kvsink_item item[KVSINK_MAX_ITEMS];
	uint32_t next_cmd;	/* command to execute next */
	uint64_t progress;	/* bytes that it has moved, when it takes several calls; SEAL: of the bus */
	uint64_t spent;		/* of this call's quantum */
	uint32_t result[4];	/* of the last command that has results */
	uint64_t fault_address; /* of the last failure */
	uint64_t begin_ps;	/* modelled time at which the job began */
	/* the command's time beyond the fixed cost, set by its handler, passed by kvsink_clock_pass() */
	uint64_t cost_ps;		/* compute */
	uint64_t wait_ps;		/* for copies */
	uint64_t hbm_bytes, sram_bytes; /* bus bytes that it moves, both at the same time */
	uint32_t looks;			/* into the tag array */
	bool shared;			/* its time goes to every stream of `work` instead of `stream` */
	struct kvsink_stream *stream;	/* whose ledger the command's bytes and time go to; may be NULL */
	struct kvsink_item_work work;
};

/* A recording under way: record.c. */
struct kvsink_probe {
	kvsink_record_sink *sink; /* NULL: none */
	void *opaque;
	struct kvsink_host_ops host; /* behind the probe's own */
	void *host_opaque;
	bool failed; /* the sink did not take all of it */
};

struct kvsink_chip {
	struct kvsink_chip_config config;
	struct kvsink_host_ops ops;
	void *opaque; /* for ops */
	struct kvsink_probe probe;
	uint64_t epoch;				 /* grows at every reset; never told to anyone */
	uint32_t reg[KVSINK_REG_WORDS];		 /* global registers, by offset / 4 */
	uint32_t counter_latch;			 /* high half of the counter whose low half was read last */
	uint32_t irq_lines;			 /* level of each line, as last seen */
	uint64_t now_ps;			 /* the modelled clock */
	uint64_t counters[KVSINK_COUNTER_COUNT]; /* device-wide ledger; those in ns are kept in ps */
	uint64_t params[KVSINK_PARAM_COUNT];	 /* defaults of new streams, and the device-wide limits */
	uint64_t host_ns;			 /* host time, as the youngest doorbell told it */
	struct kvsink_tlb_slot tlb[KVSINK_TLB_SLOTS];
	struct kvsink_stream *streams;	    /* [config.streams] */
	struct kvsink_layer_params *layers; /* arena: [config.streams][KVSINK_MAX_LAYERS] */
	uint32_t *stream_hash;		    /* [hash_size] first slot of each chain */
	uint32_t hash_size;		    /* power of two */
	uint32_t free_stream;		    /* first free slot */
	uint32_t live_streams;
	struct kvsink_tag *tags; /* [config.tags] */
	uint32_t free_tag;	 /* first free entry */
	uint32_t used_tags, valid_tags;
	uint32_t tag_generation;   /* of the last grant */
	struct kvsink_span *spans; /* as many as SRAM has units, span_count used, by offset */
	uint32_t span_count;
	uint32_t sram_used;		 /* bytes granted */
	struct kvsink_copy *copies;	 /* [2 * config.tags], in the order in which they run */
	uint32_t copy_first, copy_count; /* the part of `copies` in use */
	struct kvsink_event_log event_log[KVSINK_EVENT_LOGS];
	struct kvsink_event_loss event_loss[KVSINK_EVENT_LOSSES];
	uint64_t event_next; /* number of the next event; software sees it modulo 2^32 */
	struct kvsink_span_rec spans_log[KVSINK_SPAN_SLOTS]; /* the timeline */
	uint32_t span_next;				     /* number of the next span, modulo 2^32 */
	uint64_t span_total;				     /* spans ever */
	uint32_t inject[KVSINK_INJECT_KINDS];		     /* how many are still to come */
	struct kvsink_trial trial;			     /* of the plan being made */
	struct kvsink_verdict_plan *plan;		     /* [config.tags + KVSINK_MAX_STEP_PROMOTIONS] */
	uint32_t plan_count;
	struct kvsink_victim *victims; /* [config.tags], while a plan is made */
	struct kvsink_ring ring[KVSINK_MAX_RINGS];
};

/* ---- core.c: life ---- */

/* Is a fault of that kind still to come? Then it comes now. */
bool kvsink_take_injected(struct kvsink_chip *chip, enum kvsink_inject what);
__attribute__((format(printf, 2, 3))) void kvsink_log(struct kvsink_chip *chip, const char *format, ...);
void kvsink_dirty(struct kvsink_chip *chip, uint32_t space, uint64_t offset, uint64_t bytes);
/* kvsink_reset(), from within the chip. */
void kvsink_chip_reset(struct kvsink_chip *chip, enum kvsink_reset_kind kind);

/* ---- regs.c: registers, interrupts, error latch ---- */

void kvsink_regs_reset(struct kvsink_chip *chip, enum kvsink_reset_kind kind);
bool kvsink_enabled(const struct kvsink_chip *chip);
void kvsink_irq_raise(struct kvsink_chip *chip, uint32_t bits); /* of IRQ_STATUS */
void kvsink_error_latch(struct kvsink_ring *ring, uint32_t code, uint32_t cmd, uint64_t address);
uint64_t kvsink_gart_base(const struct kvsink_chip *chip);

/* ---- ring.c: command processor ---- */

/* A handler returns a result code. Codes below never leave the chip. */
#define KVSINK_STALL 0x10000u /* wait for an item in flight, then execute the command again */
#define KVSINK_MORE 0x10001u  /* the quantum is used up: execute it again, from ring->progress on */

/* Remember what the code says and return it. */
uint32_t kvsink_fault(struct kvsink_ring *ring, uint32_t code, uint64_t address);
void kvsink_ring_reset(struct kvsink_ring *ring, enum kvsink_reset_kind kind);
bool kvsink_privileged(const struct kvsink_ring *ring);
/* True, for KVSINK_STALL, while there is something to wait for. */
bool kvsink_wait_for(struct kvsink_ring *ring, enum kvsink_wait what);
/* Does another ring wait for what this one is about to begin? */
bool kvsink_another_waits(const struct kvsink_ring *ring, enum kvsink_wait what);
/* Stalled commands may try again. */
void kvsink_rings_wake(struct kvsink_chip *chip);
/* The ring does nothing more until a reset. */
void kvsink_ring_stop(struct kvsink_ring *ring);
static inline void kvsink_spend(struct kvsink_ring *ring, uint64_t bytes)
{
	ring->spent = bytes < UINT64_MAX - ring->spent ? ring->spent + bytes : UINT64_MAX;
}
/* The command after `code` came out: clock, ledger, next command or end of the job. */
void kvsink_ring_advance(struct kvsink_ring *ring, uint32_t code);
/* Items [first, first + count) lie inside the job's? Else BAD_FIELD at `field`. */
uint32_t kvsink_check_items(struct kvsink_ring *ring, uint32_t first, uint64_t count, uint64_t field);
/* Item `first`, which may be checked later. */
static inline const union kvsink_item *kvsink_items(const struct kvsink_ring *ring, uint32_t first)
{
	return ring->item + (first < KVSINK_MAX_ITEMS ? first : 0);
}

/* ---- commands: one handler each, called from the opcode table in ring.c ---- */

typedef uint32_t kvsink_handler(struct kvsink_ring *ring, const struct kvsink_cmd *cmd);

kvsink_handler kvsink_cmd_stream_create, kvsink_cmd_stream_destroy; /* stream.c */
kvsink_handler kvsink_cmd_page_map;				    /* page.c */
kvsink_handler kvsink_cmd_gart_invalidate;			    /* gart.c */
kvsink_handler kvsink_cmd_config;				    /* config.c */
kvsink_handler kvsink_cmd_query;				    /* query.c */
kvsink_handler kvsink_cmd_append;				    /* append.c */
kvsink_handler kvsink_cmd_step_end;				    /* step.c */
kvsink_handler kvsink_cmd_copy, kvsink_cmd_fill;		    /* copy.c */
kvsink_handler kvsink_cmd_score, kvsink_cmd_attend;		    /* stage.c */
kvsink_handler kvsink_cmd_classify;				    /* classify.c */
kvsink_handler kvsink_cmd_promote, kvsink_cmd_evict;		    /* promote.c */
kvsink_handler kvsink_cmd_contract;				    /* dwell.c */
kvsink_handler kvsink_cmd_score_import;				    /* import.c */
kvsink_handler kvsink_cmd_layer_heads;				    /* heads.c */
kvsink_handler kvsink_cmd_seal;					    /* seal.c */
kvsink_handler kvsink_cmd_barrier, kvsink_cmd_advance;		    /* clock.c */
kvsink_handler kvsink_cmd_swap_out, kvsink_cmd_swap_place;	    /* swap.c */
kvsink_handler kvsink_cmd_swap_in;
kvsink_handler kvsink_cmd_window_begin, kvsink_cmd_window_commit;			      /* window.c */
kvsink_handler kvsink_cmd_prefix_publish, kvsink_cmd_prefix_attach, kvsink_cmd_prefix_detach; /* prefix.c */

/* ---- gart.c: operands in the three spaces ---- */

void kvsink_gart_flush(struct kvsink_chip *chip);
/* Fields, privilege, bounds and every translation of [ref, ref + bytes). */
uint32_t kvsink_operand_check(struct kvsink_ring *ring, const struct kvsink_ref *ref, uint64_t bytes);
/* Move bytes at ref->offset + at; checked before. */
uint32_t kvsink_operand_read(struct kvsink_ring *ring, const struct kvsink_ref *ref, uint64_t at, void *buf,
			     uint64_t bytes);
uint32_t kvsink_operand_write(struct kvsink_ring *ring, const struct kvsink_ref *ref, uint64_t at,
			      const void *buf, uint64_t bytes);

/* ---- stream.c ---- */

void kvsink_streams_reset(struct kvsink_chip *chip, enum kvsink_reset_kind kind);
struct kvsink_stream *kvsink_stream_find(struct kvsink_chip *chip, uint64_t id);
/* Find it and check the job's tenant; it becomes ring->stream. */
uint32_t kvsink_stream_get(struct kvsink_ring *ring, uint64_t id, struct kvsink_stream **out);
/* A free slot, entered under that id; the caller knows that there is one, and fills it. */
struct kvsink_stream *kvsink_stream_take(struct kvsink_chip *chip, uint64_t id);
/* [offset, offset + bytes) is an aligned area of HBM? Else BAD_RANGE. */
uint32_t kvsink_area_check(struct kvsink_ring *ring, uint64_t offset, uint64_t bytes);
/* Score group of a layer. */
uint32_t kvsink_stream_group(const struct kvsink_stream *stream, uint32_t layer);
static inline uint32_t kvsink_stream_max_pages(const struct kvsink_stream *stream)
{
	return stream->max_tokens >> stream->page_shift;
}

/* ---- prefix.c: what streams share ---- */

/* The entries that a stream sees, by token: its prefixes' first. */
struct kvsink_entries {
	const struct kvsink_stream *of[KVSINK_MAX_PREFIX_DEPTH + 1]; /* the stream, its prefix, that one's */
	uint32_t end[KVSINK_MAX_PREFIX_DEPTH + 1];		     /* tokens of each below this one */
	uint32_t level;						     /* whose entry it is */
	uint32_t index;						     /* the entry; KVSINK_NONE: no more */
};
void kvsink_entries_begin(const struct kvsink_chip *chip, const struct kvsink_stream *stream,
			  struct kvsink_entries *entries);
void kvsink_entries_next(const struct kvsink_chip *chip, struct kvsink_entries *entries);
/* Whose the token's rows are: the stream's, or those of a prefix that it begins with. */
struct kvsink_stream *kvsink_row_owner(struct kvsink_stream *stream, uint32_t token);
/* An item in flight reads rows of the stream and of its prefixes; no more. */
void kvsink_stream_lock(struct kvsink_stream *stream);
void kvsink_stream_unlock(struct kvsink_stream *stream);
/* Tokens at the beginning of both streams that lie in the same pages. */
uint32_t kvsink_shared_tokens(const struct kvsink_stream *a, const struct kvsink_stream *b);
/* Its page table, a new one, begins with the prefix's pages. */
void kvsink_prefix_map(struct kvsink_chip *chip, struct kvsink_stream *stream);
/* It shares nothing any more. */
void kvsink_prefix_release(struct kvsink_stream *stream);
/* SEAL changed rows of its own page that are copies of the prefix's: they are its own now. */
void kvsink_prefix_sealed(struct kvsink_stream *stream);

/* ---- swap.c: streams that are not in HBM ---- */

/* kvsink_stream_get(), and all of the stream is in HBM: else SWAPPED. */
uint32_t kvsink_stream_get_hbm(struct kvsink_ring *ring, uint64_t id, struct kvsink_stream **out);
bool kvsink_swapped_out(const struct kvsink_stream *stream);
/* Of the image as it is, or would be now. */
uint64_t kvsink_swap_image_bytes(const struct kvsink_stream *stream);
/* A reset ends a move that is under way: the stream stays where it was. */
void kvsink_swap_reset(struct kvsink_stream *stream);

/* ---- window.c: replay windows ---- */

static inline bool kvsink_window_open(const struct kvsink_stream *stream)
{
	return stream->window.tokens;
}
/* May APPEND add so many rows to a layer? */
bool kvsink_window_has_room(const struct kvsink_stream *stream, uint32_t layer, uint32_t count);
/* Rows that it has, in the layer with most; 0 without one. */
uint32_t kvsink_window_rows(const struct kvsink_stream *stream);
/* Does an open window still keep the stream's entries and tails from giving way? */
bool kvsink_window_pins(const struct kvsink_chip *chip, const struct kvsink_stream *stream);
/* Has the journal the attention of all queries of a layer at tokens [first, end)? */
bool kvsink_window_knows(const struct kvsink_stream *stream, uint32_t layer, uint32_t first, uint32_t end);
/* ATTEND has retired: what it has observed enters the journal, each query once. */
void kvsink_window_observe(struct kvsink_chip *chip, struct kvsink_stream *stream, uint32_t layer,
			   const struct kvsink_attend_task *task);
/* A reset ends it: what it changed is as before, but for rows that are part of the stream already. */
void kvsink_window_reset(struct kvsink_chip *chip, struct kvsink_stream *stream);

/* ---- step.c ---- */

/* `count` rows, which every layer has, become part of the stream, and what follows from that. */
void kvsink_step_make(struct kvsink_ring *ring, struct kvsink_stream *stream, uint32_t count);

/* ---- page.c: page tables and row addresses ---- */

/* HBM offset of the stream's page with that index, read from the page table and checked. */
uint32_t kvsink_page_lookup(struct kvsink_ring *ring, const struct kvsink_stream *stream, uint32_t index,
			    uint64_t *offset);
/* Addresses of pages [first, end); `out` has room for KVSINK_MAX_TOKENS of them at least. */
uint32_t kvsink_page_resolve(struct kvsink_ring *ring, const struct kvsink_stream *stream, uint32_t first,
			     uint32_t end, const uint8_t **out);
/* Where the planes of a layer begin inside a page. */
uint64_t kvsink_page_k(const struct kvsink_stream *stream, uint32_t layer);
uint64_t kvsink_page_v(const struct kvsink_stream *stream, uint32_t layer);
/* The rows of a layer as they are stored; pages and residents are the caller's. */
struct kvsink_rows kvsink_page_rows(const struct kvsink_stream *stream, uint32_t layer);
/* KV heads in `mask` whose row of the token, in a page at `page`, is codes. */
uint64_t kvsink_page_coded(const struct kvsink_stream *stream, const uint8_t *page, uint32_t layer,
			   uint32_t token, uint64_t mask);
/* The page of a token that is part of the stream, as a tag knows it: no look at HBM is counted. */
const uint8_t *kvsink_page_of(const struct kvsink_chip *chip, const struct kvsink_stream *stream,
			      uint32_t token);

/* ---- tag.c: tag array ---- */

void kvsink_tags_reset(struct kvsink_chip *chip);
/* Is it of the layer? Does the item of an EVICT name it? Does it have rows of the item? */
bool kvsink_tag_covers(const struct kvsink_tag *tag, uint32_t layer);
bool kvsink_tag_named(const struct kvsink_tag *tag, const struct kvsink_place_item *item);
bool kvsink_tag_overlaps(const struct kvsink_tag *tag, const struct kvsink_place_item *item);
struct kvsink_place_item kvsink_tag_rows(const struct kvsink_tag *tag);
/* A new entry in the stream's list; the caller knows that there is a free one. And out of it; its SRAM is the
 * caller's. */
struct kvsink_tag *kvsink_tag_add(struct kvsink_chip *chip, struct kvsink_stream *stream,
				  const struct kvsink_place_item *item);
void kvsink_tag_remove(struct kvsink_chip *chip, struct kvsink_tag *tag);
/* KV heads of the entry whose row of the layer is codes. */
uint64_t kvsink_tag_coded(const struct kvsink_chip *chip, const struct kvsink_tag *tag, uint32_t layer);
/*
 * What ATTEND of the layer reads from SRAM, token ascending: valid entries and the tail. Where both have a
 * token, it is the one with more heads. `out` holds `room`. Returns how many.
 */
uint64_t kvsink_tag_residents(struct kvsink_chip *chip, const struct kvsink_stream *stream, uint32_t layer,
			      struct kvsink_resident *out, uint64_t room);

/* ---- budget.c: the only allocator of SRAM ---- */

void kvsink_budget_reset(struct kvsink_chip *chip);
/* Whose cap counts: the stream's tenant tag, or its tenant. */
uint32_t kvsink_account(const struct kvsink_stream *stream);
uint32_t kvsink_budget_largest(const struct kvsink_chip *chip);
/* OK with the range's offset in *at; or the code of what is lacking, with what it says in *at. */
uint32_t kvsink_budget_grant(struct kvsink_chip *chip, struct kvsink_stream *stream, uint32_t bytes,
			     bool needs_tag, uint64_t *at);
/* Scrub and take back. */
void kvsink_budget_release(struct kvsink_chip *chip, struct kvsink_stream *stream, uint32_t offset);
uint32_t kvsink_lack_code(enum kvsink_lack lack);

/* The grants as they are, for a plan of the stream's. */
void kvsink_trial_begin(struct kvsink_chip *chip, const struct kvsink_stream *stream);
/* Budgets and tags for so much more, without a range. */
enum kvsink_lack kvsink_trial_limits(const struct kvsink_chip *chip, uint64_t bytes, uint32_t tags,
				     uint64_t *address);
/* Tags (unless it is a tail), budgets and a range for one more entry: OK, or the code with which PROMOTE
 * refuses. */
uint32_t kvsink_trial_grant(struct kvsink_chip *chip, uint32_t bytes, bool needs_tag, uint64_t *address);
/* Take back an entry's grant, whose last_fit was `fit`; nothing was released since. */
void kvsink_trial_undo(struct kvsink_chip *chip, uint32_t fit, uint32_t bytes);
/* What is granted in earnest goes. */
void kvsink_trial_release(struct kvsink_chip *chip, const struct kvsink_tag *tag);
void kvsink_trial_free(struct kvsink_chip *chip, const struct kvsink_stream *owner, uint32_t offset,
		       uint32_t bytes, bool has_tag);

/* ---- promote.c: entries come and go; used by PROMOTE, EVICT and STEP_END ---- */

/* SRAM that an entry takes: a multiple of KVSINK_SRAM_UNIT. */
uint32_t kvsink_entry_bytes(const struct kvsink_chip *chip, const struct kvsink_stream *stream,
			    const struct kvsink_place_item *item);
/* SEAL changed its rows: it is invalid until they are copied again; place and contract stay. */
void kvsink_entry_renew(struct kvsink_chip *chip, struct kvsink_tag *tag);
/*
 * One entry, with its contract, event, counters, note of the promotion and copy. It displaces nothing; item
 * and terms were checked. OK with *out, or why not, with nothing done and the fault's address set; the
 * refusal is not yet reported.
 */
uint32_t kvsink_grant(struct kvsink_ring *ring, struct kvsink_stream *stream,
		      const struct kvsink_place_item *item, const struct kvsink_terms *terms,
		      struct kvsink_tag **out);
/* The refusal's event and counter. */
void kvsink_refuse(struct kvsink_ring *ring, struct kvsink_stream *stream, uint32_t token, uint32_t code);
/* The entry goes, with event and counters. */
void kvsink_free_entry(struct kvsink_chip *chip, struct kvsink_tag *tag, enum kvsink_reason reason);
/* All that the stream holds goes. */
void kvsink_stream_leaves(struct kvsink_chip *chip, struct kvsink_stream *stream);
/* Items that name entries: at least one, inside the job's, each with layers and heads; `field` is that of
 * first_item. */
uint32_t kvsink_search_check(struct kvsink_ring *ring, uint32_t first, uint32_t count, uint64_t field);

/* ---- dwell.c: contracts ---- */

bool kvsink_in_force(const struct kvsink_chip *chip, const struct kvsink_tag *tag);
/* Priority and deadline are in range? A dwell without a deadline gets MAX_LEASE. */
uint32_t kvsink_terms_check(struct kvsink_ring *ring, struct kvsink_terms *terms, uint64_t priority_field);
void kvsink_terms_set(struct kvsink_chip *chip, struct kvsink_tag *tag, const struct kvsink_terms *terms);
/* An injected uncorrectable error hits the first valid entry of the layer, else a tail with rows of it, if no
 * item in flight reads the stream. */
void kvsink_ecc_strike(struct kvsink_chip *chip, struct kvsink_stream *stream, uint32_t layer);
/* An engine reset takes everything: one event a stream that had contracts in force; tails end. */
void kvsink_contracts_lost(struct kvsink_chip *chip);

/* ---- tail.c: the newest rows ---- */

/* CONFIG TAIL_TOKENS of groups [first, end): all of them or, with a code, none. */
uint32_t kvsink_tail_config(struct kvsink_ring *ring, struct kvsink_stream *stream, uint32_t first,
			    uint32_t end, uint32_t tokens);
/* Its layers and heads, and the first token that was appended to it. */
struct kvsink_place_item kvsink_tail_rows(const struct kvsink_tail *tail);
/* Is the token in the group's tail while no step is open? */
bool kvsink_tail_holds(const struct kvsink_stream *stream, uint32_t group, uint32_t token);
/* STEP_END: leases move on; or, before the open step's rows are dropped, the ring forgets what they
 * overwrote. */
void kvsink_tail_step(struct kvsink_chip *chip, struct kvsink_stream *stream);
void kvsink_tail_abort(struct kvsink_stream *stream);
/* Nothing of it is in a tail yet. */
void kvsink_tail_begin(struct kvsink_stream *stream);
/* SEAL: sealed tokens are in no tail. */
void kvsink_tail_sealed(struct kvsink_stream *stream);
void kvsink_tail_drop(struct kvsink_chip *chip, struct kvsink_stream *stream, uint32_t group,
		      enum kvsink_reason reason);
/* A reset has taken the SRAM: how many leases it broke. */
uint32_t kvsink_tails_lost(struct kvsink_chip *chip, struct kvsink_stream *stream);
/* APPEND: one token's stored rows of all heads; returns the bus bytes. */
uint64_t kvsink_tail_write(struct kvsink_chip *chip, struct kvsink_stream *stream, uint32_t layer,
			   uint32_t token, const uint8_t *k, const uint8_t *v);
struct kvsink_tail_range kvsink_tail_range(const struct kvsink_stream *stream, uint32_t layer);
struct kvsink_resident kvsink_tail_resident(const struct kvsink_chip *chip,
					    const struct kvsink_stream *stream,
					    const struct kvsink_tail *tail, uint32_t layer, uint32_t token);

/* ---- place.c: AUTO ---- */

/* The rows that an automatic entry or the tail of a group has; no layers or no heads: it can have none. */
struct kvsink_place_item kvsink_group_rows(const struct kvsink_stream *stream, uint32_t group,
					   uint32_t token);
int kvsink_place_init(struct kvsink_chip *chip);
void kvsink_place_fini(struct kvsink_chip *chip);
/* What AUTO would do now: chip->plan. The code of the refusal that ended it, or OK. */
uint32_t kvsink_place_plan(struct kvsink_ring *ring, struct kvsink_stream *stream, uint32_t *refused_token);
void kvsink_place_auto(struct kvsink_ring *ring, struct kvsink_stream *stream);

/* ---- ema.c: planes of the score area ---- */

struct kvsink_planes {
	uint64_t *sum, *mass;
	uint32_t *ema, *state, *promoted;
};
struct kvsink_planes kvsink_planes(const struct kvsink_chip *chip, const struct kvsink_stream *stream,
				   uint32_t group);
uint64_t *kvsink_profile(const struct kvsink_chip *chip, const struct kvsink_stream *stream);
/* E of an entry's token in the group of its first layer, units of 2^-32; also while the stream is swapped
 * out.
 */
uint32_t kvsink_tag_ema(const struct kvsink_chip *chip, const struct kvsink_tag *tag);
/* Of a binary32 pattern in units of 2^-32, and back; the former saturates at 2^32. */
uint64_t kvsink_q32(uint64_t pattern);
uint32_t kvsink_q32_pattern(uint32_t value);
/* sum + mass * weight (units of 2^-16), saturating. */
uint64_t kvsink_add_weighted(uint64_t sum, uint64_t mass, uint32_t weight);
/* Plane `promoted` of every group that the item touches. */
void kvsink_note_promotion(struct kvsink_chip *chip, struct kvsink_stream *stream,
			   const struct kvsink_place_item *item);
/* STEP_END, with the length moved on: E and comparator from B of the step. */
void kvsink_ema_step(struct kvsink_ring *ring, struct kvsink_stream *stream);
/* The open step is dropped: B of it, too. */
void kvsink_ema_abort(struct kvsink_chip *chip, struct kvsink_stream *stream);

/* ---- norm.c: norms of V rows ---- */

/* binary16 [kv_heads][max_tokens] and binary32 patterns [kv_heads] of a layer, both upper bounds. */
uint16_t *kvsink_norms(const struct kvsink_chip *chip, const struct kvsink_stream *stream, uint32_t layer);
uint32_t *kvsink_norm_max(const struct kvsink_chip *chip, const struct kvsink_stream *stream, uint32_t layer);
/* The largest of binary16 norms, as a binary32 pattern; 0 for none. */
uint32_t kvsink_norm_largest(const uint16_t *norms, uint32_t count);
/*
 * Is one of the rows [first, first + count) of a KV head as long as the longest? Unless it is, the maximum is
 * that of the others already. Adds the bus bytes.
 */
bool kvsink_norm_reached(struct kvsink_chip *chip, struct kvsink_stream *stream, uint32_t layer,
			 uint32_t head, uint32_t first, uint32_t count, uint64_t *bus);
/* The maximum of a KV head, from the norms of its first `tokens` tokens. Adds the bus bytes. */
void kvsink_norm_renew(struct kvsink_chip *chip, struct kvsink_stream *stream, uint32_t layer, uint32_t head,
		       uint32_t tokens, uint64_t *bus);
/* Maxima without the open step's rows, before these are dropped; returns the bus bytes. */
uint64_t kvsink_norm_abort(struct kvsink_chip *chip, struct kvsink_stream *stream);
/* A token's V row of a KV head was stored. */
void kvsink_norm_row(struct kvsink_chip *chip, struct kvsink_stream *stream, uint32_t layer, uint32_t head,
		     uint32_t token, const struct kvsink_row *v);

/* ---- heads.c: what query heads have of their own ---- */

/* Slopes, then sink logits, float[q_heads] each; NULL if the stream has none. */
const float *kvsink_head_params(const struct kvsink_chip *chip, const struct kvsink_stream *stream,
				uint32_t layer);
/* Bytes of one layer's; 0 if the stream has none. */
uint64_t kvsink_head_params_layer_bytes(const struct kvsink_stream *stream);
/* A new stream: no slopes, no sinks. */
void kvsink_head_params_reset(struct kvsink_ring *ring, struct kvsink_stream *stream);

/* ---- dma.c: migration engine ---- */

void kvsink_dma_reset(struct kvsink_chip *chip);
/* Queue the copy of a new entry, by its due_ps; notes the time of the grant. */
void kvsink_dma_start(struct kvsink_chip *chip, uint32_t tag);
/* The same, in place of one that may be queued already. */
void kvsink_dma_restart(struct kvsink_chip *chip, uint32_t tag);
/* Entries that are not valid yet; each has one copy. */
static inline uint32_t kvsink_dma_pending(const struct kvsink_chip *chip)
{
	return chip->used_tags - chip->valid_tags;
}
/* Until the stream's last copy ends, if nothing uses HBM. */
uint64_t kvsink_dma_wait(struct kvsink_chip *chip, const struct kvsink_stream *stream);
/*
 * Time passes, in which commands use HBM or leave it alone (quiet); copies that end by then end. Of the
 * copies' time `exposed` was felt by commands, the rest is hidden; returns how much of it there was.
 */
uint64_t kvsink_dma_pass(struct kvsink_chip *chip, uint64_t ps, bool quiet, uint64_t exposed);
/* On paper, until the next call that changes the queue or the clock: does it copy, and for how long? */
void kvsink_dma_look(struct kvsink_chip *chip, struct kvsink_dma_view *view);
bool kvsink_dma_phase(const struct kvsink_chip *chip, const struct kvsink_dma_view *view, bool quiet,
		      uint64_t *ps);
void kvsink_dma_step(const struct kvsink_chip *chip, struct kvsink_dma_view *view, bool copying, uint64_t ps);

/* ---- clock.c: modelled time ---- */

/* The time of the ring's command passes; it has ended with `code`. */
void kvsink_clock_pass(struct kvsink_ring *ring, uint32_t code);
uint64_t kvsink_clock_ps(uint64_t bytes, uint32_t gbps);
uint64_t kvsink_clock_add(uint64_t a_ps, uint64_t b_ps); /* saturates */
/* The modelled time that is due_ns from now, for tag->due_ps; 0 stays 0. */
uint64_t kvsink_clock_due(const struct kvsink_chip *chip, uint64_t due_ns);

/* ---- trace.c: the timeline ---- */

void kvsink_trace_reset(struct kvsink_chip *chip);
/* The ring's command has ended now. */
void kvsink_trace_command(const struct kvsink_ring *ring, uint64_t begin_ps, uint32_t code);
void kvsink_trace_copy(struct kvsink_chip *chip, const struct kvsink_tag *tag, const struct kvsink_copy *copy,
		       bool late);

/* ---- ledger.c: bytes and counts ---- */

/* Device-wide, and for the stream when there is one. */
void kvsink_ledger_add(struct kvsink_chip *chip, struct kvsink_stream *stream, enum kvsink_counter counter,
		       uint64_t n);
/* A counter as software sees it. */
uint64_t kvsink_ledger_value(const uint64_t *counters, unsigned counter);
/* Bytes of the bursts that [address, address + bytes) touches. */
uint64_t kvsink_ledger_bursts(const struct kvsink_chip *chip, uint64_t address, uint64_t bytes);
/* What a task reads. */
struct kvsink_task_bytes kvsink_ledger_task(const struct kvsink_chip *chip,
					    const struct kvsink_attend_task *task);

/* ---- event.c ---- */

int kvsink_events_init(struct kvsink_chip *chip);
void kvsink_events_fini(struct kvsink_chip *chip);
void kvsink_events_reset(struct kvsink_chip *chip);
/* The event that software means by its number modulo 2^32: the youngest one, or 0. */
uint64_t kvsink_event_number(const struct kvsink_chip *chip, uint32_t first);
/* Events from `number` on that are still there, in their order; NULL behind the last. */
void kvsink_event_seek(const struct kvsink_chip *chip, struct kvsink_event_walk *walk, uint64_t number);
const struct kvsink_logged_event *kvsink_event_step(const struct kvsink_chip *chip,
						    struct kvsink_event_walk *walk);
/* Are some from `number` on gone, of the tenant's or (NULL) of anyone's? The event that tells so. */
bool kvsink_event_lost(const struct kvsink_chip *chip, const uint32_t *tenant, uint64_t number,
		       struct kvsink_event_rec *rec);

void kvsink_event(struct kvsink_chip *chip, enum kvsink_event_code code, const struct kvsink_stream *stream,
		  uint32_t tenant, uint32_t token, uint32_t detail);
/* About rows of a stream, with the reason. */
void kvsink_event_rows(struct kvsink_chip *chip, enum kvsink_event_code code,
		       const struct kvsink_stream *stream, const struct kvsink_place_item *rows,
		       uint32_t detail, enum kvsink_reason reason);

/* ---- stage.c: arithmetic items ---- */

/* Allocate the staging buffers of a ring, at create. */
int kvsink_work_init(struct kvsink_ring *ring);
void kvsink_work_fini(struct kvsink_ring *ring);

/* ---- observe.c: attention of the open step, gathered by ATTEND ---- */

/* What of task i, of a stream with placement, shall be gathered. */
uint32_t kvsink_observe_stage(struct kvsink_ring *ring, uint32_t i);
/* The tasks have ended well: B, profile, which queries were observed. */
void kvsink_observe_retire(struct kvsink_item_work *work);
/* They have ended, well or not. */
void kvsink_observe_clear(struct kvsink_item_work *work);

/* ---- profile.c: sink mass by layer and head ---- */

void kvsink_profile_add(struct kvsink_chip *chip, struct kvsink_stream *stream, uint32_t layer,
			uint64_t queries, const uint64_t *sink_mass);
/* The sinks of layers [begin, end) are others now. */
void kvsink_profile_clear(struct kvsink_chip *chip, struct kvsink_stream *stream, uint32_t begin,
			  uint32_t end);
struct kvsink_profile_rec kvsink_profile_rec(const struct kvsink_chip *chip,
					     const struct kvsink_stream *stream, uint32_t layer,
					     uint32_t head);

/* ---- config.c: parameters ---- */

extern const uint64_t kvsink_param_default[KVSINK_PARAM_COUNT];
static inline uint64_t kvsink_param(const struct kvsink_stream *stream, enum kvsink_param param)
{
	return stream->group[0].params[param];
}
static inline uint32_t kvsink_param_window(const struct kvsink_stream *stream)
{
	uint32_t window = (uint32_t)kvsink_param(stream, KVSINK_PARAM_LOCAL_WINDOW);

	return !window && kvsink_param(stream, KVSINK_PARAM_SCORE_MODE) == KVSINK_SCORE_RAW ? 1 : window;
}
/* Queries scored in any layer of the stream. */
bool kvsink_stream_scored(const struct kvsink_stream *stream);

/* A layer's weight from a binary32 pattern below 256, units of 2^-16. */
uint32_t kvsink_weight_q16(uint32_t pattern);
/* What a value of LAYER_WEIGHT says, as far as the stream has those layers. */
void kvsink_set_weights(struct kvsink_stream *stream, uint64_t value);

/* ---- classify.c ---- */

/* Arrays that a view points to. */
struct kvsink_view_layers {
	uint32_t windows[KVSINK_MAX_LAYERS], weights[KVSINK_MAX_LAYERS];
};
/* The scores of a group, as datapath.h wants them. */
void kvsink_score_view_of(const struct kvsink_chip *chip, const struct kvsink_stream *stream, uint32_t group,
			  struct kvsink_view_layers *layers, struct kvsink_score_view *view);
/* One token of the list that CLASSIFY writes; false if the comparator takes it for none. */
bool kvsink_sink_rec(const struct kvsink_score_view *view, uint32_t group, uint32_t token, uint64_t max,
		     uint32_t t_sink, struct kvsink_sink_rec *rec);

#endif
