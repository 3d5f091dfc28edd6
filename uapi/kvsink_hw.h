/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The one description of the kvsink chip as software sees it: PCI identity, registers, commands,
 * job descriptors, completion records, result codes, counters, parameters and events.
 *
 * Driver, chip model, runtime and sinkctl include this file and expand its X-macro tables;
 * docs/registers.md is printed from them. A name, an offset or a meaning exists here and nowhere else.
 * All of it is little endian. "Bus address" means an address in the host's DMA space.
 */
#ifndef KVSINK_HW_H
#define KVSINK_HW_H

#ifdef __KERNEL__
#include <linux/types.h>
#else
#include <stdint.h>
#endif

/* ---- PCI identity ---------------------------------------------------------------------------- */

#define KVSINK_PCI_VENDOR 0x1234
#define KVSINK_PCI_DEVICE 0x6b76 /* "kv" */
#define KVSINK_PCI_CLASS 0x1200 /* processing accelerator */
#define KVSINK_BAR_REGS 0 /* registers, 16 KiB */
#define KVSINK_BAR_SRAM 2 /* the SRAM, prefetchable, 64 bit, driver only */
#define KVSINK_BAR_MSIX 4
#define KVSINK_REGS_BYTES 0x4000

#define KVSINK_ID_MAGIC 0x6b6e7376 /* "vsnk" read as bytes */
#define KVSINK_HW_VERSION 0x00010000 /* major << 16 | minor */

/* ---- Limits that hold for every instance; the instance's own sizes are registers ---------------- */

#define KVSINK_MAX_RINGS 8
#define KVSINK_MAX_CMDS 64 /* commands of one job */
#define KVSINK_MAX_PREFIX_DEPTH 16 /* prefixes that begin with one another */
#define KVSINK_MAX_ITEMS 256 /* items (32 bytes each) of one job */
#define KVSINK_MAX_LAYERS 128
#define KVSINK_MAX_Q_HEADS 128
#define KVSINK_MAX_KV_HEADS 64
#define KVSINK_MAX_HEAD_DIM 576 /* a multiple of 16 */
#define KVSINK_MAX_PAGE_TOKENS 256
#define KVSINK_MAX_TOKENS (1u << 18) /* of one stream */
#define KVSINK_MAX_SCORE_GROUPS 8
#define KVSINK_STAGE_BYTES (4u << 20) /* Q, O, K or V of one command at most */
#define KVSINK_MIN_OBSERVERS 32 /* fewer queries than this: a token is not eligible yet */
#define KVSINK_HBM_ALIGN 4096 /* of pages, page tables and score areas */
#define KVSINK_SRAM_UNIT 256 /* granularity of the budget */
#define KVSINK_GART_PAGE 4096
#define KVSINK_GART_VALID 1ull /* bit 0 of a GART entry; the rest is a page-aligned bus address */
#define KVSINK_TOKEN_ALL 0xffffffffu /* EVICT, CONTRACT: every token of the stream */
#define KVSINK_GROUP_ALL 0xffffffffu /* CONFIG: every score group; the only choice for other scopes than GROUP */
#define KVSINK_MAX_TAIL_TOKENS 4096 /* of one score group */
#define KVSINK_MAX_PRIORITY 255
#define KVSINK_MAX_STEP_PROMOTIONS 64 /* that one STEP_END makes */
#define KVSINK_MAX_WINDOW_TOKENS 64 /* rows that a replay window may hold */
#define KVSINK_MAX_LEASE_NS 60000000000ull /* a contract's deadline is at most this far ahead, and renewable */
#define KVSINK_EVENT_SLOTS 1024 /* events that the chip keeps; broken promises and resets have room of their own */
#define KVSINK_SPAN_SLOTS 4096 /* spans of the timeline that it keeps */

/* ---- Registers: X(name, offset, access, visibility, description) --------------------------------
 * access: RO, RW, W1C (write ones to clear), WO (reads as zero).
 * visibility: who may read it through the REG_READ ioctl: PUBLIC everyone, ADMIN CAP_SYS_ADMIN, KERNEL nobody.
 */
#define KVSINK_REGS(X)                                                                                   \
	X(ID, 0x000, RO, PUBLIC, "identification, KVSINK_ID_MAGIC; all ones when the device is gone")        \
	X(VERSION, 0x004, RO, PUBLIC, "version of the register interface")                                   \
	X(CAPS, 0x008, RO, PUBLIC, "what this instance can do")                                              \
	X(STATUS, 0x00c, RO, PUBLIC, "state of the engine")                                                  \
	X(CONTROL, 0x010, RW, KERNEL, "enable and engine reset")                                             \
	X(GENERATION, 0x014, RO, PUBLIC, "contents-lost generation: grows at every reset")                   \
	X(SRAM_BYTES, 0x020, RO, PUBLIC, "size of the SRAM in bytes")                                        \
	X(HBM_MIB, 0x024, RO, PUBLIC, "size of the HBM in MiB")                                              \
	X(TAG_COUNT, 0x028, RO, PUBLIC, "entries of the tag array")                                          \
	X(STREAM_COUNT, 0x02c, RO, PUBLIC, "streams that can exist at once")                                 \
	X(RING_COUNT, 0x030, RO, PUBLIC, "rings")                                                            \
	X(RING_SLOTS, 0x034, RO, PUBLIC, "job descriptors a ring holds, a power of two")                     \
	X(GART_PAGES, 0x038, RO, PUBLIC, "pages the GART can map")                                           \
	X(BURST_BYTES, 0x03c, RO, PUBLIC, "bytes of one memory burst (modelled)")                            \
	X(SRAM_LATENCY_NS, 0x040, RO, PUBLIC, "modelled latency of the SRAM in ns")                          \
	X(HBM_LATENCY_NS, 0x044, RO, PUBLIC, "modelled latency of the HBM in ns")                            \
	X(SRAM_GBPS, 0x048, RO, PUBLIC, "modelled bandwidth of the SRAM in GB/s")                            \
	X(HBM_GBPS, 0x04c, RO, PUBLIC, "modelled bandwidth of the HBM in GB/s")                              \
	X(DMA_GBPS, 0x050, RO, PUBLIC, "modelled bandwidth of the migration engine in GB/s")                 \
	X(JOB_OVERHEAD_NS, 0x054, RO, PUBLIC, "modelled fixed cost of a command in ns")                      \
	X(TAG_LATENCY_NS, 0x058, RO, PUBLIC, "modelled latency of one look into the tag array in ns")           \
	X(IRQ_STATUS, 0x060, W1C, KERNEL, "pending interrupts: bit r = ring r, bit 31 = error")              \
	X(IRQ_MASK, 0x064, RW, KERNEL, "a set bit lets the interrupt through")                               \
	X(ERR_CODE, 0x070, W1C, ADMIN, "first job error since it was cleared; any write clears it")          \
	X(ERR_RING, 0x074, RO, ADMIN, "ring of that error")                                                  \
	X(ERR_CMD, 0x078, RO, ADMIN, "index of the failed command in its job")                               \
	X(ERR_ADDR_LO, 0x07c, RO, ADMIN, "address of that error, low half")                                  \
	X(ERR_ADDR_HI, 0x080, RO, ADMIN, "address of that error, high half")                                 \
	X(GART_BASE_LO, 0x090, RW, KERNEL, "bus address of the GART table, low half")                        \
	X(GART_BASE_HI, 0x094, RW, KERNEL, "bus address of the GART table, high half")                       \
	X(TAGS_VALID, 0x0a0, RO, ADMIN, "valid entries of the tag array")                                    \
	X(SRAM_USED, 0x0a4, RO, ADMIN, "granted bytes of SRAM")                                              \
	X(STREAMS_LIVE, 0x0a8, RO, ADMIN, "existing streams")                                                \
	X(SRAM_LARGEST, 0x0ac, RO, ADMIN, "largest free range of SRAM in bytes")                             \
	X(COPIES_PENDING, 0x0b0, RO, ADMIN, "copies that the migration engine has yet to finish")            \
	X(CONTRACTS, 0x0b4, RO, ADMIN, "entries whose contract is in force")                                 \
	X(T_SINK, 0x0c0, RO, PUBLIC, "device default of parameter T_SINK (binary32 pattern)")                \
	X(SCORE_MODE, 0x0c4, RO, PUBLIC, "device default of parameter SCORE_MODE")                           \
	X(LOCAL_WINDOW, 0x0c8, RO, PUBLIC, "device default of parameter LOCAL_WINDOW, tokens")               \
	X(SRAM_BUDGET, 0x0cc, RO, PUBLIC, "device-wide limit of granted SRAM in bytes")                      \
	X(HEAD_MASK_LO, 0x0d0, RO, PUBLIC, "device default of parameter HEAD_MASK, low half")                \
	X(HEAD_MASK_HI, 0x0d4, RO, PUBLIC, "device default of parameter HEAD_MASK, high half")               \
	X(LAYER_RANGE, 0x0d8, RO, PUBLIC, "device default of parameter LAYER_RANGE: begin | end << 16")      \
	X(T_PROMOTE, 0x0dc, RO, PUBLIC, "device default of parameter T_PROMOTE (binary32 pattern)")          \
	X(T_EVICT, 0x0e0, RO, PUBLIC, "device default of parameter T_EVICT (binary32 pattern)")              \
	X(ALPHA, 0x0e4, RO, PUBLIC, "device default of parameter ALPHA (binary32 pattern)")                  \
	X(N_PROMOTE, 0x0e8, RO, PUBLIC, "device default of parameter N_PROMOTE, steps")                      \
	X(N_DWELL, 0x0ec, RO, PUBLIC, "device default of parameter N_DWELL, steps")                          \
	X(N_EVICT, 0x0f0, RO, PUBLIC, "device default of parameter N_EVICT, steps")                          \
	X(DELTA, 0x0f4, RO, PUBLIC, "device default of parameter DELTA (binary32 pattern)")                  \
	X(PLACEMENT, 0x0f8, RO, PUBLIC, "device default of parameter PLACEMENT")                             \
	X(TAIL_TOKENS, 0x0fc, RO, PUBLIC, "device default of parameter TAIL_TOKENS")                         \
	X(TENANT_CAP, 0x100, RO, PUBLIC, "parameter TENANT_CAP, bytes")                                      \
	X(TENANT_TAG, 0x104, RO, PUBLIC, "device default of parameter TENANT_TAG")                           \
	X(PRIORITY, 0x108, RO, PUBLIC, "device default of parameter PRIORITY")                               \
	X(LAYER_WEIGHT_LO, 0x10c, RO, PUBLIC, "device default of parameter LAYER_WEIGHT, low half")          \
	X(LAYER_WEIGHT_HI, 0x110, RO, PUBLIC, "device default of parameter LAYER_WEIGHT, high half")         \
	X(GATE, 0x114, RO, PUBLIC, "device default of parameter GATE")                                       \
	X(EPSILON, 0x118, RO, PUBLIC, "device default of parameter EPSILON (binary32 pattern)")              \
	X(GATE_BUFFER, 0x11c, RO, PUBLIC, "device default of parameter GATE_BUFFER")                         \
	X(CERTIFY, 0x120, RO, PUBLIC, "device default of parameter CERTIFY")                                 \
	X(COPY_DUE_NS, 0x124, RO, PUBLIC, "device default of parameter COPY_DUE_NS, modelled ns")

/* Fields: X(register, field, shift, width, description) */
#define KVSINK_FIELDS(X)                                                                                 \
	X(VERSION, MINOR, 0, 16, "grows with every compatible addition")                                     \
	X(VERSION, MAJOR, 16, 16, "grows with every incompatible change")                                    \
	X(CAPS, F32, 0, 1, "rows may be binary32")                                                           \
	X(CAPS, FP16, 1, 1, "rows may be binary16")                                                          \
	X(CAPS, SPLIT, 2, 1, "ATTEND knows split mode")                                                      \
	X(CAPS, CANONICAL, 3, 1, "ATTEND knows canonical mode")                                              \
	X(CAPS, GATED, 4, 1, "ATTEND knows gated mode")                                                      \
	X(CAPS, INT8, 8, 1, "SEAL knows INT8")                                                               \
	X(CAPS, INT4, 9, 1, "SEAL knows INT4")                                                               \
	X(CAPS, INT8_CHANNEL, 10, 1, "SEAL knows INT8_CHANNEL")                                              \
	X(CAPS, INT4_CHANNEL, 11, 1, "SEAL knows INT4_CHANNEL")                                              \
	X(STATUS, READY, 0, 1, "the engine accepts work")                                                    \
	X(STATUS, ERROR, 1, 1, "ERR_CODE holds an error")                                                    \
	X(STATUS, HALTED, 8, 8, "bit r: ring r is halted by a fault in fetch or completion, until a reset")  \
	X(CONTROL, ENABLE, 0, 1, "rings run while it is set")                                                \
	X(CONTROL, RESET, 1, 1, "engine reset, reads as zero: tags and SRAM go, HBM and streams stay")       \
	X(LAYER_RANGE, BEGIN, 0, 16, "first layer")                                                          \
	X(LAYER_RANGE, END, 16, 16, "one past the last layer")

/* Registers of ring r, at KVSINK_RING_BASE + r * KVSINK_RING_STRIDE + offset. */
#define KVSINK_RING_BASE 0x1000
#define KVSINK_RING_STRIDE 0x100
#define KVSINK_RING_REGS(X)                                                                              \
	X(JOBS_LO, 0x00, RW, KERNEL, "bus address of the job descriptors, low half")                         \
	X(JOBS_HI, 0x04, RW, KERNEL, "bus address of the job descriptors, high half")                        \
	X(CPLS_LO, 0x08, RW, KERNEL, "bus address of the completion records, low half")                      \
	X(CPLS_HI, 0x0c, RW, KERNEL, "bus address of the completion records, high half")                     \
	X(DOORBELL, 0x10, RW, KERNEL, "jobs published so far, modulo 2^32; slot = index mod RING_SLOTS")     \
	X(HEAD, 0x14, RO, ADMIN, "jobs completed so far, modulo 2^32")                                       \
	X(STATE, 0x18, RO, ADMIN, "state of the ring, enum kvsink_ring_state")

enum kvsink_ring_state { KVSINK_RING_IDLE, KVSINK_RING_BUSY, KVSINK_RING_HALTED };

/*
 * Counters of the ledger: X(name, unit, description). Device-wide they are 64-bit registers at
 * KVSINK_COUNTER_BASE + 8 * index, visible to the administrator; reading the low half latches the
 * high half. The same set exists for each stream (QUERY). "useful" counts the bytes that were
 * wanted, "bus" whole bursts. Mass is attention mass in units of 2^-32; it is not bytes.
 */
#define KVSINK_COUNTER_BASE 0x2000
#define KVSINK_COUNTERS(X)                                                                               \
	X(KV_HBM_READ, "B", "K and V bytes that ATTEND read from HBM, useful")                               \
	X(KV_HBM_READ_BUS, "B", "the same in whole bursts")                                                  \
	X(KV_SRAM_READ, "B", "K and V bytes that ATTEND read from SRAM, useful")                             \
	X(KV_SRAM_READ_BUS, "B", "the same in whole bursts")                                                 \
	X(PREFILL_HBM_READ, "B", "K and V bytes that SCORE read from HBM, useful")                           \
	X(PREFILL_HBM_READ_BUS, "B", "the same in whole bursts")                                             \
	X(KV_HBM_WRITE, "B", "K and V bytes that APPEND wrote to HBM")                                       \
	X(DMA_COPY, "B", "bytes that finished promotions copied from HBM to SRAM")                           \
	X(PAGE_TABLE_HBM, "B", "page table bytes read from and written to HBM")                              \
	X(SCORE_HBM, "B", "score bytes read from and written to HBM")                                        \
	X(HOST_READ, "B", "bytes read from host memory for operands")                                        \
	X(HOST_WRITE, "B", "bytes written to host memory for results")                                       \
	X(MASS_SRAM, "2^-32", "attention mass of ATTEND served from SRAM rows")                              \
	X(MASS_TOTAL, "2^-32", "attention mass of ATTEND in all: one per query and head")                    \
	X(QUERIES, "1", "queries (rows times query heads) that ATTEND answered")                             \
	X(SCORED_QUERIES, "1", "queries (rows times query heads) that SCORE answered")                       \
	X(STEPS, "1", "tokens that STEP_END made part of a stream")                                          \
	X(PROMOTIONS, "1", "grants of SRAM")                                                                 \
	X(PROMOTIONS_VALID, "1", "grants whose copy has ended")                                              \
	X(EVICTIONS, "1", "entries that were removed")                                                       \
	X(REFUSALS, "1", "promotions that were refused: BUDGET, TENANT_CAP, FRAGMENTED or TAGS")             \
	X(JOBS, "1", "jobs completed, failed ones included; of the device only, a job may use many streams")\
	X(JOB_ERRORS, "1", "jobs that failed; of the device only")                                           \
	X(MODELLED_NS, "ns", "modelled time that commands took")                                             \
	X(EXPOSED_DMA_NS, "ns", "modelled time that commands waited for copies or were slowed down by them") \
	X(HIDDEN_DMA_NS, "ns", "modelled time of copies that delayed no command")                            \
	X(DMA_BUS, "B", "bytes of whole bursts that finished copies read from HBM")                          \
	X(DMA_LATE, "1", "copies that ended after they were due")                                            \
	X(PROMOTE_LATENCY_NS, "ns", "modelled time from grant to valid, summed over PROMOTIONS_VALID")       \
	X(ROUTING_NS, "ns", "modelled time of looks into the tag array, one an item of ATTEND")              \
	X(OBSERVED_QUERIES, "1", "queries (rows times query heads) whose attention entered the EMA")         \
	X(EMA_UPDATES, "1", "tokens (times score groups) whose EMA STEP_END has moved")                      \
	X(AUTO_PROMOTIONS, "1", "grants that STEP_END made by itself")                                       \
	X(AUTO_EVICTIONS, "1", "entries that STEP_END removed by itself")                                    \
	X(DISPLACED, "1", "entries and tails that gave way to a contract or a higher priority")              \
	X(CONTRACTS_MADE, "1", "contracts granted or renewed, one an entry")                                 \
	X(CONTRACTS_BROKEN, "1", "contracts in force that could not be kept; each has an event")             \
	X(TAIL_WRITE, "B", "K and V bytes that APPEND wrote to the tail in SRAM")                            \
	X(ECC_ERRORS, "1", "entries and tails lost to an uncorrectable error in SRAM")                                 \
	X(SPANS_LOST, "1", "spans that left the timeline for younger ones")                                  \
	X(EVENTS_LOST, "1", "events that left the log for younger ones; of a stream while it lives")         \
	X(COMMANDS, "1", "commands that have ended, failed ones included; of the device only") \
	X(V_SKIPPED, "B", "V bytes in HBM that gated ATTEND left unread, useful; KV_HBM_READ is without them") \
	X(V_SKIPPED_BUS, "B", "the same in whole bursts")                                                    \
	X(NORM_READ, "B", "bytes of V row norms that gated ATTEND, a dropped step and SEAL read from HBM, useful") \
	X(NORM_READ_BUS, "B", "the same in whole bursts")                                                    \
	X(NORM_WRITE, "B", "bytes of V row norms that APPEND and SEAL wrote to HBM")                         \
	X(HEAD_PARAMS_HBM, "B", "bytes of slopes and sink logits of query heads read from and written to HBM") \
	X(SEALED_TOKENS, "1", "tokens that SEAL has quantised")                                              \
	X(KV_SEAL_READ, "B", "K and V bytes that SEAL read from HBM")                                        \
	X(KV_SEAL_WRITE, "B", "K and V bytes that SEAL wrote to HBM: codes, scales, bitmaps, protected rows") \
	X(SWAP_OUT, "B", "bytes of images that SWAP_OUT read from HBM, useful")                              \
	X(SWAP_OUT_BUS, "B", "the same in whole bursts")                                                     \
	X(SWAP_IN, "B", "bytes of images that SWAP_IN wrote to HBM, useful")                                 \
	X(SWAP_IN_BUS, "B", "the same in whole bursts")                                                      \
	X(SHARED_HBM_SAVED, "B", "K and V bytes of prefixes that ATTEND read once for several streams, and so did not read again")  \
	X(PREFIX_COPY, "B", "K and V bytes that PREFIX commands copied within HBM: part of a page, or pages that a stream wants for itself") \
	X(WINDOW_TOKENS, "1", "rows that left a replay window: committed or dropped")                        \
	X(WINDOW_COMMITTED, "1", "those that WINDOW_COMMIT made part of the stream")                         \
	X(WINDOW_HBM, "B", "journal bytes read from and written to HBM, and rows read back for a tail")

/* ---- Result codes: X(name, value, errno, description) --------------------------------------------- */
#define KVSINK_CODES(X)                                                                                  \
	X(OK, 0, 0, "done")                                                                                  \
	X(BAD_OPCODE, 1, EINVAL, "no such command")                                                          \
	X(BAD_FIELD, 2, EINVAL, "a field of the command is out of range; address = its byte offset")         \
	X(BAD_STREAM, 3, ENOENT, "no such stream; address = its id")                                         \
	X(BAD_RANGE, 4, EFAULT, "an operand leaves its address space; address = its offset")                 \
	X(GART_FAULT, 5, EFAULT, "a page is not mapped in the GART; address = its GART offset")              \
	X(DMA_ERROR, 6, EIO, "the bus refused a transfer; address = its bus address")                        \
	X(SEQUENCE, 7, EILSEQ, "not the next token or query; address = the one expected")                    \
	X(NOT_RESERVED, 8, ENOSPC, "HBM: no page is reserved for the token; address = the token")            \
	X(BUDGET, 9, ENOSPC, "SRAM budget exhausted; address = bytes still free within it")                  \
	X(FRAGMENTED, 10, ENOSPC, "SRAM is free but not in one piece; address = largest free range")         \
	X(TAGS, 11, ENOSPC, "no free entry in the tag array")                                                \
	X(STREAMS, 12, ENOSPC, "no free stream; address = how many there are")                               \
	X(EXISTS, 13, EEXIST, "the stream exists, or an entry covers part of these rows already")            \
	X(NOT_RESIDENT, 14, ENOENT, "no entry for that token in that range; address = the token")            \
	X(STALE, 15, ESTALE, "the job relies on contents that were lost; address = the generation now")      \
	X(TENANT, 16, EACCES, "the stream belongs to another tenant; address = its id")                      \
	X(TOO_BIG, 17, E2BIG, "an operand exceeds KVSINK_STAGE_BYTES, an image its buffer, rows their window or a window its journal; address = the size") \
	X(UNSUPPORTED, 18, EOPNOTSUPP, "a feature that this instance or stream lacks; address = field offset") \
	X(BUSY, 19, EBUSY, "not in this state: scores, EMA or rows exist already, a step is open; ADVANCE: the clock is half used up") \
	X(ABORTED, 20, ECANCELED, "a reset overtook the job")                                                \
	X(CONFLICT, 21, EINVAL, "the value contradicts another parameter; address = that parameter")         \
	X(TENANT_CAP, 22, ENOSPC, "the tenant's share of SRAM is used up; address = bytes left in it")       \
	X(LEASE, 23, EINVAL, "deadline in the past or beyond MAX_LEASE; address = host time in ns")          \
	X(CROWDED, 24, E2BIG, "more protected rows of a layer and head than a sealed page has room for; address = its first token") \
	X(SWAPPED, 25, ENODATA, "the stream is swapped out: what this needs of it is not in HBM; address = its id") \
	X(IMAGE, 26, EBADMSG, "not the image that SWAP_OUT wrote; the stream stays swapped out; address = its id") \
	X(CLOSED, 27, EROFS, "the stream is a prefix, which does not change; address = its id")              \
	X(SHARED, 28, EBUSY, "the rows are a prefix's, not the stream's own, or the prefix is in use; address = the token, or how many use it") \
	X(NOT_SHARED, 29, ENXIO, "the stream shares no prefix; address = its id")                            \
	X(GEOMETRY, 30, EXDEV, "prefix and stream differ in geometry; address = the first layer that differs, or all ones") \
	X(DEPTH, 31, ELOOP, "prefixes on prefixes, KVSINK_MAX_PREFIX_DEPTH of them already; address = that limit") \
	X(PARTED, 32, EINVAL, "that would part the tokens of a sealed page; address = its first token") \
	X(WINDOW, 33, EBUSY, "a replay window of the stream is open, which this would cross; address = the stream's id") \
	X(NO_WINDOW, 34, ENOENT, "the stream has no open replay window; address = its id")

/* ---- Parameters (CONFIG): X(name, index, kind, scope, default, description) ---------------------------
 * kind: F32 = non-negative finite binary32 pattern, U32, U64.
 * scope: DEVICE only device-wide; STREAM per stream; GROUP per score group of a stream. The device-wide
 * value of the latter two is what new streams begin with. Formulas: kv-math section 1.
 */
#define KVSINK_PARAMS(X)                                                                                     \
	X(T_SINK, 0, F32, GROUP, 0x3dcccccd, "CLASSIFY: a token with at least this score is a sink (default 0.1)") \
	X(SCORE_MODE, 1, U32, STREAM, 1, "CLASSIFY: 0 RAW, 1 MEAN, 2 REL")                                       \
	X(LOCAL_WINDOW, 2, U32, STREAM, 64, "queries nearer than this many tokens do not count, in scores and EMA") \
	X(SRAM_BUDGET, 3, U32, STREAM, 0xffffffff, "SRAM bytes that the stream (or, for the device, all) may hold") \
	X(HEAD_MASK, 4, U64, GROUP, 0xffffffffffffffff, "KV heads that may become resident")                    \
	X(LAYER_RANGE, 5, U32, STREAM, 0xffff0000, "begin | end << 16, layers that may become resident")        \
	X(T_PROMOTE, 6, F32, GROUP, 0x3ba3d70a, "EMA from which a token is worth SRAM (default 0.005)")          \
	X(T_EVICT, 7, F32, GROUP, 0x3b03126f, "EMA below which it no longer is (default 0.002); below T_PROMOTE") \
	X(ALPHA, 8, F32, STREAM, 0x3f666666, "EMA: weight of the past, in [0, 1) (default 0.9)")                 \
	X(N_PROMOTE, 9, U32, STREAM, 2, "consecutive steps at T_PROMOTE before a token becomes a sink, 1 to 65535") \
	X(N_DWELL, 10, U32, STREAM, 12, "steps that an entry stays at least, and before its token is promoted again") \
	X(N_EVICT, 11, U32, STREAM, 4, "consecutive steps below T_EVICT before it ceases to be one, 1 to 65535")  \
	X(DELTA, 12, F32, STREAM, 0x3a83126f, "full SRAM: replace only for an EMA larger by this (default 0.001)") \
	X(PLACEMENT, 13, U32, STREAM, 0, "0 OFF, 1 OBSERVE (EMA; software decides), 2 AUTO (STEP_END decides)")   \
	X(TAIL_TOKENS, 14, U32, GROUP, 0, "newest tokens that stay in SRAM as they are appended, 0 to 4096")      \
	X(TENANT_CAP, 15, U32, DEVICE, 0xffffffff, "SRAM bytes that the streams of one tenant tag may hold")      \
	X(TENANT_TAG, 16, U32, STREAM, 0xffffffff, "account of the stream's SRAM, all ones = its tenant; privileged") \
	X(PRIORITY, 17, U32, STREAM, 0, "of entries that STEP_END promotes, 0 to 255")                           \
	X(LAYER_WEIGHT, 18, U64, STREAM, 0x3f800000ffff0000, "begin | end << 16 | weight (binary32) << 32: sets the weight of these layers in scores and EMA; below 256, to 2^-16") \
	X(GATE, 19, U32, GROUP, 0, "gated ATTEND: 0 MASS, 1 ABS, 2 REL, see enum kvsink_gate")                   \
	X(EPSILON, 20, F32, GROUP, 0x3cf5c28f, "gated ATTEND: the criterion's bound, above 0 and below 1 (default 0.03)") \
	X(GATE_BUFFER, 21, U32, STREAM, 1, "gated ATTEND: 1 = choose V rows once all logits are known, 0 = in one pass") \
	X(CERTIFY, 22, U32, STREAM, 0, "gated ATTEND: 1 = read every V row where the criterion could not be certified") \
	X(COPY_DUE_NS, 23, U32, STREAM, 0, "modelled ns after which copies that STEP_END starts shall have ended; 0 = at once")

enum kvsink_placement { KVSINK_PLACEMENT_OFF = 0, KVSINK_PLACEMENT_OBSERVE = 1, KVSINK_PLACEMENT_AUTO = 2 };

/* ---- Events: X(name, value, description) ------------------------------------------------------------ */
#define KVSINK_EVENTS(X)                                                                                 \
	X(GRANTED, 1, "PROMOTE got SRAM; detail = bytes")                                                    \
	X(VALID, 2, "the copy has ended, reads go to SRAM; detail = bytes")                                  \
	X(EVICTED, 3, "an entry was removed; detail = bytes")                                                \
	X(REFUSED, 4, "PROMOTE was refused; detail = result code")                                           \
	X(STREAM_CREATED, 5, "a stream came to be")                                                          \
	X(STREAM_DESTROYED, 6, "a stream is gone, its entries with it")                                      \
	X(JOB_FAILED, 7, "a job failed; detail = result code")                                               \
	X(ENGINE_RESET, 8, "tags and SRAM were lost; detail = new generation")                               \
	X(CONTRACT_BROKEN, 9, "contracts in force could not be kept; detail = how many entries and tails")             \
	X(ECC_ERROR, 10, "uncorrectable error in SRAM: the entry or tail is dropped, HBM is read; detail = bytes")   \
	X(SINK, 11, "the EMA made a token a sink of the layers' group; detail = EMA (binary32)")             \
	X(SINK_END, 12, "it no longer is one; detail = EMA (binary32)")                                      \
	X(COPY_LATE, 13, "a copy ended after it was due; detail = modelled ns too late")                     \
	X(LOST, 14, "events that were asked for gave way to younger ones; detail = how many so far, at least of this tenant") \
	X(SWAPPED_OUT, 15, "a stream has left HBM; detail = KiB of its image")                               \
	X(SWAPPED_IN, 16, "it is back; detail = KiB of its image")                                           \
	X(WINDOW_COMMITTED, 17, "a replay window has ended; detail = rows that stay | rows in all << 16")    \
	X(PREFIX_PUBLISHED, 18, "a prefix came to be; detail = its tokens")                                  \
	X(PREFIX_ATTACHED, 19, "a stream begins with a prefix; detail = tokens that they share")             \
	X(PREFIX_DETACHED, 20, "a stream has rows of its own in place of a prefix's; detail = tokens")

/* Why (event_rec.reason): X(name, value, description) */
#define KVSINK_REASONS(X)                                                                                \
	X(NONE, 0, "nothing to say")                                                                         \
	X(REQUEST, 1, "a command asked for it")                                                              \
	X(STREAM_END, 2, "the stream is gone")                                                               \
	X(BELOW, 3, "the EMA stayed below T_EVICT for N_EVICT steps")                                        \
	X(REPLACED, 4, "a token of the same stream has a larger EMA")                                        \
	X(DISPLACED, 5, "its space was wanted for a contract or a higher priority")                          \
	X(ECC, 6, "uncorrectable error")                                                                     \
	X(RESET, 7, "engine reset")                                                                          \
	X(CONFIG, 8, "a parameter was changed")                                                              \
	X(AUTO, 9, "STEP_END decided it")

/* ---- Enums from the tables --------------------------------------------------------------------------- */

enum kvsink_reg {
#define X(name, offset, access, vis, doc) KVSINK_REG_##name = offset,
	KVSINK_REGS(X)
#undef X
};

enum kvsink_ring_reg {
#define X(name, offset, access, vis, doc) KVSINK_RING_##name = offset,
	KVSINK_RING_REGS(X)
#undef X
};

/* KVSINK_<REG>_<FIELD>_SHIFT and _MASK (the mask is in place). */
enum kvsink_field {
#define X(reg, field, shift, width, doc)                     \
	KVSINK_##reg##_##field##_SHIFT = shift,                  \
	KVSINK_##reg##_##field##_MASK = (int)(((1ull << (width)) - 1) << (shift)),
	KVSINK_FIELDS(X)
#undef X
};

enum kvsink_counter {
#define X(name, unit, doc) KVSINK_COUNTER_##name,
	KVSINK_COUNTERS(X)
#undef X
	KVSINK_COUNTER_COUNT
};

enum kvsink_code {
#define X(name, value, err, doc) KVSINK_CODE_##name = value,
	KVSINK_CODES(X)
#undef X
	KVSINK_CODE_COUNT
};

enum kvsink_param {
#define X(name, index, kind, scope, def, doc) KVSINK_PARAM_##name = index,
	KVSINK_PARAMS(X)
#undef X
	KVSINK_PARAM_COUNT
};

enum kvsink_event_code {
#define X(name, value, doc) KVSINK_EVENT_##name = value,
	KVSINK_EVENTS(X)
#undef X
};

enum kvsink_reason {
#define X(name, value, doc) KVSINK_REASON_##name = value,
	KVSINK_REASONS(X)
#undef X
	KVSINK_REASON_COUNT
};

#define KVSINK_IRQ_ERROR (1u << 31)

/*
 * Number formats of stored rows: X(name, value, bits of an element or code, codes that share a scale in a row (0: all
 * of a channel within a page do), has a minimum, description). Rows are appended in one of the first two; SEAL
 * turns those of whole pages into one of the others. Further formats get a row here, one in silicon/format.c, a CAPS bit.
 */
#define KVSINK_FORMATS(X)                                                                                \
	X(F32, 0, 32, 1, 0, "binary32")                                                                      \
	X(FP16, 1, 16, 1, 0, "binary16")                                                                     \
	X(INT8, 2, 8, 32, 0, "code -127 to 127 times scale, a scale for 32 elements of a row")               \
	X(INT4, 3, 4, 32, 1, "code 0 to 15 times scale plus minimum, both for 32 elements of a row")         \
	X(INT8_CHANNEL, 4, 8, 0, 1, "K only: code 0 to 255 times scale plus minimum, both for an element over the page's tokens") \
	X(INT4_CHANNEL, 5, 4, 0, 1, "K only: the same with codes 0 to 15")

enum kvsink_format {
#define X(name, value, bits, group, minimum, doc) KVSINK_FORMAT_##name = value,
	KVSINK_FORMATS(X)
#undef X
	KVSINK_FORMAT_COUNT
};

#define KVSINK_APPEND_FORMATS 2 /* formats below this one can be appended, the others sealed */
#define KVSINK_FORMAT_GROUP 32 /* elements of a row that share a scale */

enum kvsink_score_mode { KVSINK_SCORE_RAW = 0, KVSINK_SCORE_MEAN = 1, KVSINK_SCORE_REL = 2 };

/*
 * A KV head works on KVSINK_BLOCK_ROWS queries times query heads at once, so the queries of an item (ATTEND, SCORE) are cut,
 * from its first, into blocks of KVSINK_BLOCK_ROWS / (q_heads / kv_heads), one at least. A block reads each row once that one
 * of its queries sees; so do the counters of bytes.
 */
#define KVSINK_BLOCK_ROWS 24

/*
 * SPLIT (exact up to rounding): SRAM rows and HBM rows apart, then the merge of both.
 * CANONICAL (exact up to rounding, and bit-identical for every placement): one sum in the order of tokens, each row read
 * from where it lies.
 * GATED (bounded): every K row is read, so each weight is known; V rows in HBM are read only as far as the group's GATE
 * and EPSILON want it. Rows in SRAM are always read. Queries of a block and the heads of a KV head agree on the rows.
 */
enum kvsink_attend_mode { KVSINK_ATTEND_SPLIT = 0, KVSINK_ATTEND_CANONICAL = 1, KVSINK_ATTEND_GATED = 2, KVSINK_ATTEND_MODE_COUNT };

/*
 * What gated ATTEND promises of the output o_S over the rows that were read, against o over all rows (as stored).
 * tau is the share of attention on unread rows, M the largest norm of the V rows of that layer and KV head:
 * MASS: tau <= EPSILON. ABS: |o - o_S| <= EPSILON * M. REL: |o - o_S| <= EPSILON * |o_S|.
 */
enum kvsink_gate { KVSINK_GATE_MASS = 0, KVSINK_GATE_ABS = 1, KVSINK_GATE_REL = 2, KVSINK_GATE_COUNT };

enum kvsink_space { KVSINK_SPACE_NONE = 0, KVSINK_SPACE_GART, KVSINK_SPACE_HBM, KVSINK_SPACE_SRAM };

/* ---- Jobs --------------------------------------------------------------------------------------------- */

/* One slot of a ring: KVSINK_MAX_CMDS commands at most, executed in order; the first failure ends the job. */
struct kvsink_job_desc {
	uint64_t seqno; /* returned in the completion record */
	uint64_t cmds; /* bus address of struct kvsink_cmd[cmd_count] */
	uint64_t items; /* bus address of union kvsink_item[item_count] */
	uint32_t cmd_count;
	uint32_t item_count;
	uint64_t generation; /* contents-lost generation relied on; 0 = none */
	uint32_t tenant; /* streams of other tenants are refused (TENANT) */
	uint32_t flags; /* KVSINK_JOB_* */
	uint64_t host_ns; /* CLOCK_MONOTONIC when the doorbell was rung */
	uint64_t reserved; /* 0 */
};

#define KVSINK_JOB_PRIVILEGED 1u /* may touch the streams of every tenant */

/* Written to the slot of the job when it has ended; then HEAD grows, then the interrupt is raised. */
struct kvsink_completion {
	uint64_t seqno;
	uint32_t code; /* enum kvsink_code */
	uint32_t cmd; /* index of the failed command, or the number of commands */
	uint64_t address; /* what the code says */
	uint32_t result[4]; /* of the last command that has results, see there */
	uint64_t begin_ns; /* modelled time at which the job began */
	uint64_t end_ns; /* modelled time at which it ended */
	uint64_t reserved;
};

/* Where an operand lies. Only the kernel writes commands, so only the kernel names spaces. */
struct kvsink_ref {
	uint32_t space; /* enum kvsink_space */
	uint32_t reserved; /* 0 */
	uint64_t offset; /* bytes */
};

/* X(name, opcode, description) */
#define KVSINK_OPCODES(X)                                                                                \
	X(STREAM_CREATE, 1, "make a stream; items: its layers")                                              \
	X(STREAM_DESTROY, 2, "drop a stream with its entries")                                               \
	X(PAGE_MAP, 3, "put pages into a stream's page table; items: HBM offsets")                           \
	X(GART_INVALIDATE, 4, "forget translations; complete when none is in use")                           \
	X(CONFIG, 5, "set a parameter of a stream or the device")                                            \
	X(QUERY, 6, "write records about streams, entries, scores, counters, events")                        \
	X(APPEND, 7, "convert K and V rows of one layer to the stream's format and store them")              \
	X(COPY, 8, "copy bytes")                                                                             \
	X(FILL, 9, "fill with a byte (scrub)")                                                               \
	X(SCORE, 10, "prefill: causal attention of a chunk of queries, and their scores in the same pass")   \
	X(CLASSIFY, 11, "list the tokens whose score reaches T_SINK; they become the sinks of their group")  \
	X(PROMOTE, 12, "grant SRAM for tokens' rows and start the copies; items: what")                      \
	X(EVICT, 13, "remove tokens' entries; items: which")                                                 \
	X(BARRIER, 14, "wait (in modelled time) for a stream's copies")                                      \
	X(ATTEND, 15, "decode attention of a ragged batch; items: stream, layer, queries")                   \
	X(STEP_END, 16, "make the appended tokens part of the stream, or drop them; move the EMA, place")    \
	X(ADVANCE, 17, "let modelled time pass (compute elsewhere)")                                         \
	X(CONTRACT, 18, "make, renew or end the contracts of entries; items: which")                         \
	X(SCORE_IMPORT, 19, "take over scores that were computed elsewhere")                                 \
	X(LAYER_HEADS, 20, "set the ALiBi slope and the sink logit of each query head of a layer")         \
	X(SEAL, 21, "quantise whole pages of a stream in place; items: rows that stay as they are")         \
	X(SWAP_OUT, 22, "copy what a stream has in HBM to host memory; afterwards it has nothing there")     \
	X(SWAP_PLACE, 23, "give a stream that is swapped out a page table and a score area, or take them back") \
	X(SWAP_IN, 24, "copy it back")                                                                       \
	X(PREFIX_PUBLISH, 25, "make a prefix of a stream's first tokens; the stream shares it from then on") \
	X(PREFIX_ATTACH, 26, "an empty stream begins with tokens of a prefix")                               \
	X(PREFIX_DETACH, 27, "pages of a prefix are copied for one stream; after the last it shares nothing; items: where to") \
	X(WINDOW_BEGIN, 28, "open a replay window: rows to come are kept or dropped one by one")             \
	X(WINDOW_COMMIT, 29, "end it: the first rows become steps of the stream, the others are dropped")

enum kvsink_opcode {
#define X(name, value, doc) KVSINK_OP_##name = value,
	KVSINK_OPCODES(X)
#undef X
	KVSINK_OP_COUNT
};

/*
 * Flags of STREAM_CREATE.
 * PER_HEAD: query heads have an ALiBi slope and a learned sink each, see LAYER_HEADS.
 * V_IN_K: a value is the first d_v elements of its key row (d_v <= d_k): no V rows are stored, copied or read, and none have
 * norms; GATED has nothing to leave unread and is SPLIT. Such a stream is never sealed: seal_k and seal_v are 0.
 */
#define KVSINK_STREAM_PER_HEAD 1u
#define KVSINK_STREAM_V_IN_K 2u
#define KVSINK_STREAM_FLAGS 3u /* all of them */

#define KVSINK_STEP_ABORT 1u /* STEP_END flag: drop the rows appended since the last step */

struct kvsink_cmd_stream_create {
	uint64_t stream; /* id, never 0, never reused */
	uint32_t tenant; /* owner */
	uint16_t layers, q_heads, kv_heads, d_k, d_v;
	uint16_t format; /* enum kvsink_format */
	uint32_t page_tokens; /* power of two */
	uint32_t max_tokens; /* multiple of page_tokens */
	uint64_t page_table; /* HBM offset of uint64_t[max_tokens / page_tokens] */
	uint64_t scores; /* HBM offset of the score area: kvsink_score_bytes(), see there */
	uint32_t first_item; /* items [first_item, first_item + layers): struct kvsink_layer */
	uint32_t score_groups; /* 1 .. KVSINK_MAX_SCORE_GROUPS */
	uint16_t group_end[KVSINK_MAX_SCORE_GROUPS]; /* group g: layers [group_end[g-1], group_end[g]) */
	uint32_t flags; /* KVSINK_STREAM_* */
	/*
	 * formats that SEAL turns K and V into, see kvsink_seal_fits(); 0 = the plane stays as it is. A plane
	 * that is sealed takes at most KVSINK_STAGE_BYTES in a page and layer.
	 */
	uint16_t seal_k, seal_v;
};

struct kvsink_cmd_stream {
	uint64_t stream;
};

/* result[0]: pages that the table has, [1]: those before are a prefix's; also if it is refused. */
struct kvsink_cmd_page_map {
	uint64_t stream;
	uint32_t first_page; /* index in the stream's page table; must be the first unmapped one */
	uint32_t count;
	uint32_t first_item; /* each item holds four HBM offsets */
	uint32_t reserved;
};

struct kvsink_cmd_gart_invalidate {
	uint32_t first_page, count;
};

struct kvsink_cmd_config {
	uint64_t stream; /* 0 = device-wide (needs KVSINK_JOB_PRIVILEGED) */
	uint32_t param; /* enum kvsink_param */
	uint32_t group; /* score group, or KVSINK_GROUP_ALL */
	uint64_t value;
};

enum kvsink_query_what {
	KVSINK_QUERY_STREAMS = 1, /* struct kvsink_stream_rec; stream 0 = all of the tenant */
	KVSINK_QUERY_TAGS = 2, /* struct kvsink_tag_rec; likewise */
	KVSINK_QUERY_COUNTERS = 3, /* uint64_t[KVSINK_COUNTER_COUNT]; stream 0 = device (privileged) */
	KVSINK_QUERY_SCORES = 4, /* struct kvsink_score_rec of tokens [first, first + max) of `group` */
	KVSINK_QUERY_PARAMS = 5, /* uint64_t[KVSINK_PARAM_COUNT] of `group`; stream 0 = device (group 0) */
	KVSINK_QUERY_EVENTS = 6, /* struct kvsink_event_rec, oldest first, of the tenant; LOST first if some are gone */
	KVSINK_QUERY_SINKS = 7, /* struct kvsink_sink_rec of `group`, as CLASSIFY would list them; changes nothing */
	KVSINK_QUERY_VERDICTS = 8, /* struct kvsink_verdict_rec: what STEP_END would do in AUTO mode, in its order */
	KVSINK_QUERY_PROFILE = 9, /* struct kvsink_profile_rec, layer by layer, head by head */
	KVSINK_QUERY_SPANS = 10, /* struct kvsink_span_rec, oldest first, of the tenant */
};

/* Writes struct kvsink_list_head, then records [first, first + max) of those that match. */
struct kvsink_cmd_query {
	uint64_t stream;
	uint32_t what; /* enum kvsink_query_what */
	uint32_t group; /* SCORES, SINKS and PARAMS only */
	uint32_t first; /* first record wanted; EVENTS, SPANS: number of the event or span, modulo 2^32 */
	uint32_t max; /* records that fit behind the head */
	struct kvsink_ref dst; /* sizeof(head) + max * sizeof(record) bytes */
};

/* What is not finite in the stream's format is stored as NaN. */
struct kvsink_cmd_append {
	uint64_t stream;
	uint32_t layer;
	uint32_t first; /* token; must be length + tokens already appended to this layer */
	uint32_t count;
	uint32_t reserved;
	struct kvsink_ref k; /* float[count][kv_heads][d_k] */
	struct kvsink_ref v; /* float[count][kv_heads][d_v]; space NONE with V_IN_K */
};

struct kvsink_cmd_copy {
	struct kvsink_ref src, dst;
	uint64_t bytes; /* ranges may not overlap within one space */
};

struct kvsink_cmd_fill {
	struct kvsink_ref dst;
	uint64_t bytes;
	uint32_t value; /* 0 .. 255 */
	uint32_t reserved;
};

struct kvsink_cmd_score {
	uint64_t stream;
	uint32_t layer;
	uint32_t first; /* first query's token; must be the next unscored one of this layer */
	uint32_t count; /* first + count may not exceed the stream's length: an open step is not scored */
	uint32_t reserved;
	struct kvsink_ref q; /* float[count][q_heads][d_k] */
	struct kvsink_ref out; /* float[count][q_heads][d_v] */
};

/* Writes struct kvsink_list_head and struct kvsink_sink_rec, group by group, tokens ascending. */
struct kvsink_cmd_classify {
	uint64_t stream;
	uint32_t group_mask;
	uint32_t max;
	struct kvsink_ref dst;
};

#define KVSINK_PROMOTE_PARTIAL 1u /* flag: grant the items that fit, in order, up to the first that does not */

/*
 * Items [first_item, first_item + item_count): struct kvsink_place_item. Tokens must be part of the stream; an
 * entry never overlaps another of its token (EXISTS). Without PARTIAL all items are granted or none.
 * result[0] bytes granted, [1] generation of the first entry (those of one command count up, 0 is left out), [2] entries
 * granted, [3] with PARTIAL the code that ended the grant, which is not an error of the command.
 *
 * Contract: while it is in force no other grant may take the entry's place. It is in force until the stream
 * has made dwell_steps steps (0: no such limit) and at the longest until host time passes deadline_ns; with
 * neither there is none. dwell_steps without a deadline gets MAX_LEASE. An EVICT of the tenant ends it.
 * When SRAM, a budget or tags are short, a grant with a contract displaces entries without one in force (in any stream,
 * but only for lack of the device's SRAM or tags; within its own stream or tenant tag for lack of their budgets); a
 * grant without one displaces only entries of its tenant tag with a lower priority. Order: lowest priority, smallest
 * EMA, oldest grant.
 */
struct kvsink_cmd_promote {
	uint64_t stream;
	uint32_t first_item, item_count;
	uint32_t dwell_steps;
	uint32_t priority; /* 0 .. KVSINK_MAX_PRIORITY */
	uint64_t deadline_ns; /* CLOCK_MONOTONIC; 0 = none */
	uint64_t due_ns; /* modelled ns from now by which the copies shall end; 0 = at once, whatever they slow down */
};

#define KVSINK_EVICT_ANY 1u /* flag: nothing to remove is no error */

/*
 * Removes the entries of each item's token (or KVSINK_TOKEN_ALL) that lie within its layers and heads. result[0] how
 * many; NOT_RESIDENT if none at all.
 */
struct kvsink_cmd_evict {
	uint64_t stream;
	uint32_t first_item, item_count; /* struct kvsink_place_item */
};

/* Sets the contract of the entries that the items name, as EVICT would find them. result[0] how many. */
struct kvsink_cmd_contract {
	uint64_t stream;
	uint32_t first_item, item_count; /* struct kvsink_place_item */
	uint32_t dwell_steps; /* counted from now */
	uint32_t priority;
	uint64_t deadline_ns; /* 0 with dwell_steps 0: the contract ends */
};

/*
 * Quantises the pages up to `tokens`, which is a multiple of page_tokens, at most the length and more than what is
 * sealed (SEQUENCE: an open group cannot be sealed, a sealed one not again). Rows that the items name, within the tokens
 * that are sealed now, are protected: they stay as they are. CROWDED if a page has no room for them. No place
 * changes, so what is saved is bytes read. Entries of these tokens become invalid and are copied again; a tail
 * forgets them.
 */
struct kvsink_cmd_seal {
	uint64_t stream;
	uint32_t first_item, item_count; /* struct kvsink_place_item; may be none */
	uint32_t tokens; /* that are sealed afterwards */
	uint32_t reserved;
};

/*
 * Scores of a group without any, of all tokens of the stream: SEQUENCE if count is not its length, BUSY if a layer of
 * the group was scored. The layers count as scored by `count` queries; a sum larger than those can give is BAD_FIELD.
 */
struct kvsink_cmd_score_import {
	uint64_t stream;
	uint32_t group;
	uint32_t count;
	struct kvsink_ref src; /* uint64_t[count], attention mass in units of 2^-32, layer weights included */
};

/*
 * What the query heads of a layer have of their own. BUSY once the stream has a row; UNSUPPORTED without PER_HEAD.
 * Query head h at token p sees token t with the logit softcap(scale * q.k) + slope[h] * (t - p), and besides the tokens a
 * sink with logit sink[h] and the value 0, in every mode: attention on tokens adds up to less than 1. Slopes are finite;
 * sinks are finite, or -inf for none. STREAM_CREATE sets 0 and -inf.
 */
struct kvsink_cmd_layer_heads {
	uint64_t stream;
	uint32_t layer;
	uint32_t reserved;
	struct kvsink_ref src; /* float[2][q_heads]: slopes, then sinks */
};

/*
 * The image of a stream: its score area (kvsink_score_bytes() padded to 8 bytes, and what PER_HEAD adds), then its pages up
 * to the length. BUSY while a step is open or a copy under way, SWAPPED if it is swapped out already, TOO_BIG if the image needs
 * more than `bytes`. While the stream is swapped out, everything that needs a row, a score or a page of it is
 * SWAPPED; entries, tails, contracts, parameters and counters stay. result[0], [1]: bytes of the image, low and high half;
 * result[2]: pages that the stream's page table had, as SWAP_PLACE and SWAP_IN tell it, too.
 */
struct kvsink_cmd_swap_out {
	uint64_t stream;
	struct kvsink_ref image;
	uint64_t bytes; /* that may be written there */
	uint64_t key[2]; /* of the checksum, which never leaves the chip: unknown to who may change the image */
};

#define KVSINK_PLACE_NONE 1u /* SWAP_PLACE flag: the place is taken back */

/*
 * Where a stream that is swapped out shall be next: then PAGE_MAP fills its page table from page 0 on, with at least
 * the pages of the image, then SWAP_IN. Whatever fails in between, or a reset, takes the place back. BUSY if the stream
 * is not swapped out. result[] as SWAP_OUT has told, so who saw no end of that may learn from PLACE_NONE what it did.
 */
struct kvsink_cmd_swap_place {
	uint64_t stream;
	uint64_t page_table, scores; /* as in STREAM_CREATE; 0 with PLACE_NONE */
};

/*
 * The image is checked as it is read, once; IMAGE if it is another one: then the stream is as it was before, and what was
 * written to its new place is nobody's. BUSY without a place.
 */
struct kvsink_cmd_swap_in {
	uint64_t stream;
	struct kvsink_ref image;
	uint64_t bytes; /* that may be read there; TOO_BIG if the image has more */
};

/*
 * A prefix is a stream that does not change (CLOSED) and that others begin with. It takes a stream's slot and id; QUERY, CLASSIFY,
 * PROMOTE, EVICT, CONTRACT, BARRIER and CONFIG name it as they name a stream. Tokens below `shared` of a stream are its prefix's:
 * their pages are in its page table, their entries serve its reads, both are the prefix's alone (PROMOTE through the stream: SHARED).
 *
 * PUBLISH: tokens [0, tokens) of the stream, at least one more than it shares already, become the prefix; its entries of them go along,
 * with contracts that end by their deadline alone. Pages before tokens / page_tokens are the prefix's from then on. Of the page behind
 * them, if tokens end within it, `page` gets a copy that ends there; the stream keeps its own. Scores go along if no query behind
 * `tokens` was scored; EMA, profile and what CLASSIFY said if `tokens` is the length. The prefix's max_tokens is `tokens`, up to a
 * page: page_table and scores are as large as that needs. BUSY while a step is open; PARTED if `tokens` end within a sealed page.
 */
struct kvsink_cmd_prefix_publish {
	uint64_t stream;
	uint64_t prefix; /* its id: as of STREAM_CREATE */
	uint64_t page_table, scores; /* as of STREAM_CREATE */
	uint64_t page; /* HBM offset; 0 if `tokens` is a multiple of page_tokens */
	uint64_t key[2];
	uint32_t tokens;
	uint32_t reserved;
};

/*
 * The stream has no token, row, page or score yet and the prefix's geometry (max_tokens may differ): then it has the first `tokens` tokens of the
 * prefix, their pages, and a copy of part of a page in `page` if they end within one. It inherits as PUBLISH does, and with scores
 * or EMA what they were made with: LAYER_WEIGHT, LOCAL_WINDOW, SCORE_MODE; and slopes and sinks of its heads.
 */
struct kvsink_cmd_prefix_attach {
	uint64_t stream;
	uint64_t prefix;
	uint64_t page; /* HBM offset; 0 if `tokens` is a multiple of page_tokens */
	uint32_t tokens; /* 1 to those of the prefix */
	uint32_t reserved;
};

/*
 * PREFIX_DETACH has the payload of PAGE_MAP: pages [first_page, first_page + count), the last that the stream does not own (SEQUENCE:
 * first_page + count must be own_page), are copied to those that the items name. Once it owns page 0 it shares nothing; NOT_SHARED then.
 */

/*
 * Opens a replay window of the stream, of up to `tokens` rows behind its length: BUSY while a step is open, WINDOW while a window
 * is. Until WINDOW_COMMIT, rows are appended and attended as in one open step, but a tail is not written, and the attention of each
 * query goes to the journal by itself. What would change entries, scores, parameters, rows or the length of the stream is WINDOW
 * meanwhile. No grant displaces its entries and tails, until host time is MAX_LEASE past this command. The journal is the chip's:
 * TOO_BIG if `bytes` is less than kvsink_window_bytes(), see there. A reset ends the window as WINDOW_COMMIT of 0 does.
 */
struct kvsink_cmd_window_begin {
	uint64_t stream;
	uint64_t journal; /* HBM offset, aligned as a score area */
	uint64_t bytes; /* set aside there */
	uint32_t tokens; /* 1 .. KVSINK_MAX_WINDOW_TOKENS */
	uint32_t reserved;
};

/*
 * Does what `count` single steps would have done, each of the window's next row with its own query: STEP_END in all its parts, and
 * the rows that a tail has missed. The other rows are dropped and the window is closed: with 0 the stream is as it was at
 * WINDOW_BEGIN. NO_WINDOW if none is open; SEQUENCE if `count` is not 0 and layers have different numbers of rows; BAD_FIELD if
 * there are fewer. result[0] rows that stay, [1] rows in all.
 */
struct kvsink_cmd_window_commit {
	uint64_t stream;
	uint32_t count;
	uint32_t reserved;
};

/*
 * Items lie behind one another in q, out, stats and mass. stats and mass may have space NONE.
 * Query i of an item stands at token first + i and sees tokens [0, first + i] of its layer.
 * mass[h][t] is the attention that the item's queries outside t's LOCAL_WINDOW, in the query heads of KV head h,
 * put on token t. In a stream with PLACEMENT above OFF the same sums of queries in the open step, each once, enter B
 * of the step, and those on sinks the profile; rows are not read again for it.
 */
struct kvsink_cmd_attend {
	uint32_t first_item, item_count; /* struct kvsink_attend_item */
	uint32_t mode; /* enum kvsink_attend_mode */
	uint32_t reserved;
	struct kvsink_ref q; /* float[queries][q_heads][d_k] */
	struct kvsink_ref out; /* float[queries][q_heads][d_v] */
	struct kvsink_ref stats; /* struct kvsink_attend_stat[queries][q_heads] */
	struct kvsink_ref mass; /* float[kv_heads][first + count] an item; or space NONE */
};

struct kvsink_cmd_step_end {
	uint64_t stream;
	uint32_t count; /* tokens that every layer must have appended; ignored with KVSINK_STEP_ABORT */
	uint32_t reserved;
};

/* BUSY once the clock, which saturates at 2^64 ps, has passed half of that: the rest is for what the chip does. */
struct kvsink_cmd_advance {
	uint64_t ns; /* 10^9 at most */
};

struct kvsink_cmd {
	uint16_t opcode; /* enum kvsink_opcode */
	uint16_t flags; /* 0, or what the command documents */
	uint32_t reserved; /* 0 */
	union {
		struct kvsink_cmd_stream_create stream_create;
		struct kvsink_cmd_stream stream_destroy;
		struct kvsink_cmd_page_map page_map;
		struct kvsink_cmd_gart_invalidate gart_invalidate;
		struct kvsink_cmd_config config;
		struct kvsink_cmd_query query;
		struct kvsink_cmd_append append;
		struct kvsink_cmd_copy copy;
		struct kvsink_cmd_fill fill;
		struct kvsink_cmd_score score;
		struct kvsink_cmd_classify classify;
		struct kvsink_cmd_promote promote;
		struct kvsink_cmd_evict evict;
		struct kvsink_cmd_stream barrier;
		struct kvsink_cmd_attend attend;
		struct kvsink_cmd_step_end step_end;
		struct kvsink_cmd_advance advance;
		struct kvsink_cmd_contract contract;
		struct kvsink_cmd_score_import score_import;
		struct kvsink_cmd_layer_heads layer_heads;
		struct kvsink_cmd_seal seal;
		struct kvsink_cmd_swap_out swap_out;
		struct kvsink_cmd_swap_place swap_place;
		struct kvsink_cmd_swap_in swap_in;
		struct kvsink_cmd_prefix_publish prefix_publish;
		struct kvsink_cmd_prefix_attach prefix_attach;
		struct kvsink_cmd_page_map prefix_detach;
		struct kvsink_cmd_window_begin window_begin;
		struct kvsink_cmd_window_commit window_commit;
		uint64_t words[15];
	};
};

/* Attention parameters of one layer. Floats are binary32 patterns. */
struct kvsink_layer {
	uint32_t scale; /* > 0, finite; multiplies q.k */
	uint32_t softcap; /* 0 = none, else c: logit = c * tanh(logit / c) */
	uint32_t window; /* 0 = none, else query i sees tokens (i - window, i] */
	uint32_t flags; /* 0 */
	uint32_t reserved[4]; /* 0 */
};

struct kvsink_attend_item {
	uint64_t stream;
	uint32_t layer;
	uint32_t first; /* token of the first query */
	uint32_t count; /* queries */
	uint32_t reserved[3]; /* 0 */
};

/* Rows of one token: what PROMOTE makes one entry of, and EVICT and CONTRACT look for. */
struct kvsink_place_item {
	uint32_t token;
	uint16_t layer_begin, layer_end; /* [begin, end) */
	uint64_t head_mask; /* bit h: KV head h */
	uint64_t reserved[2]; /* 0 */
};

union kvsink_item {
	struct kvsink_layer layer;
	struct kvsink_attend_item attend;
	struct kvsink_place_item place;
	uint64_t pages[4];
};

/* ---- Records that commands write ---------------------------------------------------------------------- */

struct kvsink_list_head {
	uint32_t total; /* records that match in all */
	uint32_t written; /* records behind this head */
	uint32_t record_bytes;
	uint32_t next; /* EVENTS, SPANS: number from which to go on; else 0 */
};

struct kvsink_stream_rec {
	uint64_t stream;
	uint32_t tenant;
	uint32_t length; /* tokens */
	uint16_t layers, q_heads, kv_heads, d_k, d_v, format;
	uint32_t page_tokens, max_tokens;
	uint32_t reserved_tokens; /* tokens that have a page; 0 while it is swapped out */
	uint32_t entries; /* tags */
	uint32_t sram_bytes;
	uint32_t scored; /* queries scored in layer 0 */
	uint32_t score_groups;
	uint16_t group_end[KVSINK_MAX_SCORE_GROUPS];
	uint32_t flags; /* KVSINK_STREAM_* */
	uint32_t sealed; /* tokens in sealed pages */
	uint16_t seal_k, seal_v; /* enum kvsink_format */
	uint32_t swapped; /* 1: SWAP_OUT took it out of HBM */
	uint64_t image_bytes; /* of the image that SWAP_OUT has written, or would write now */
	uint64_t prefix; /* id of the prefix that it begins with, 0 = none */
	uint32_t shared; /* tokens that are the prefix's */
	uint32_t users; /* of a prefix: streams and prefixes that begin with it; else 0 */
	uint32_t closed; /* 1: it is a prefix */
	uint32_t own_page; /* pages of its table before this one are the prefix's */
	uint64_t key[2]; /* of a prefix: what its publisher calls it */
	uint32_t window; /* rows that its open replay window may hold; 0 = none is open */
	uint32_t window_rows; /* that it holds, in the layer that has most */
	uint64_t window_ns; /* CLOCK_MONOTONIC at WINDOW_BEGIN, as the chip knew it */
};

#define KVSINK_TAG_VALID 1u /* reads go to SRAM; without it the copy is still under way */
#define KVSINK_TAG_AUTO 2u /* STEP_END has promoted it */
#define KVSINK_TAG_CONTRACT 4u /* its contract is in force */
#define KVSINK_TAG_TAIL 8u /* the tail of a score group: `tokens` newest ones, one range for all */

struct kvsink_tag_rec {
	uint64_t stream;
	uint32_t tenant;
	uint32_t token; /* the first one */
	uint16_t layer_begin, layer_end;
	uint32_t flags; /* KVSINK_TAG_* */
	uint64_t head_mask;
	uint32_t sram_offset;
	uint32_t sram_bytes; /* granted, a multiple of KVSINK_SRAM_UNIT */
	uint32_t generation; /* of the entry: another grant of the same tag has another; 0 for a tail */
	uint32_t row_bytes; /* from row to row: K and V of one layer and head; less if all of them are sealed */
	uint32_t tokens; /* 1; of a tail: those that it holds now */
	uint32_t age_steps; /* steps of the stream since the grant or the contract */
	uint32_t dwell_steps; /* of the contract */
	uint32_t priority;
	uint64_t deadline_ns; /* of the contract */
	uint32_t ema; /* of its token in the group of its first layer (binary32 pattern); 0 for a tail */
	uint32_t reserved; /* 0 */
};

#define KVSINK_SCORE_SINK 1u /* the comparator takes the token for a sink */
#define KVSINK_SCORE_RESIDENT 2u /* an entry of the token covers part of the group's layers */

struct kvsink_score_rec {
	uint64_t sum; /* attention mass, units of 2^-32 */
	uint32_t observers; /* queries that could see the token outside its local window, one layer */
	uint32_t score; /* binary32 pattern, in the stream's SCORE_MODE */
	uint32_t ema; /* binary32 pattern */
	uint16_t run; /* consecutive steps that speak for a change of its state */
	uint16_t flags; /* KVSINK_SCORE_* */
	uint32_t promoted; /* step of the last promotion, plus one; 0 = never */
	uint32_t reserved; /* 0 */
};

struct kvsink_sink_rec {
	uint32_t group;
	uint32_t token;
	uint32_t score; /* binary32 pattern */
	uint32_t observers;
};

enum kvsink_verdict { KVSINK_VERDICT_EVICT = 1, KVSINK_VERDICT_PROMOTE = 2 };

/* One EVICT or PROMOTE of exactly these rows. An entry to evict may have layers of several groups. */
struct kvsink_verdict_rec {
	uint32_t group; /* whose EMA decided: that of the first layer */
	uint32_t token;
	uint32_t verdict; /* enum kvsink_verdict */
	uint32_t ema; /* binary32 pattern */
	uint16_t layer_begin, layer_end;
	uint32_t reserved; /* 0 */
	uint64_t head_mask;
};

struct kvsink_profile_rec {
	uint32_t layer, head; /* KV head */
	uint64_t mass; /* attention on the group's sinks, units of 2^-32 */
	uint64_t queries; /* observed ones times the query heads of the KV head */
	uint32_t share; /* mass / queries: mean sink mass (binary32 pattern) */
	uint32_t weight; /* of the layer (binary32 pattern) */
};

struct kvsink_event_rec {
	uint64_t modelled_ns;
	uint64_t stream; /* 0 = none */
	uint32_t code; /* enum kvsink_event_code */
	uint32_t tenant;
	uint32_t token;
	uint32_t detail;
	uint16_t layer_begin, layer_end; /* of the entry; 0, 0 if none */
	uint32_t reason; /* enum kvsink_reason */
};

#define KVSINK_SPAN_COPY 0x100u /* span_rec.what: a copy of the migration engine; others are opcodes */

/* Something that took modelled time. */
struct kvsink_span_rec {
	uint64_t begin_ns, end_ns; /* modelled */
	uint64_t stream; /* 0 = none, or several */
	uint32_t what; /* enum kvsink_opcode or KVSINK_SPAN_COPY */
	uint32_t ring; /* of the command; ~0 for copies */
	uint32_t tenant;
	uint32_t token; /* of the copy; else 0 */
	uint32_t bytes; /* bus bytes of the copy, or that the command moved from or to HBM (saturating) */
	uint32_t code; /* enum kvsink_code of the command; for a copy 1 if it was late */
};

struct kvsink_attend_stat {
	float lse; /* natural log, of all rows the query sees, unread ones included, and of its learned sink */
	float lse_sram; /* of the rows read from SRAM; -inf if none */
	float lse_hbm; /* of the rows read from HBM (V rows, too); -inf if none */
	float mass_sram; /* share of the attention on rows read from SRAM */
	float skipped; /* GATED: at least the share on rows whose V was not read (tau); 0 in other modes */
	/*
	 * GATED, the certificate: |o - out| is at most this, beside the rounding of every mode; 0 in others. Infinity in
	 * every mode if the output is not finite.
	 */
	float bound;
};

/* ---- Sizes that both sides must compute alike ------------------------------------------------------------ */

static inline uint32_t kvsink_format_bytes(uint32_t format)
{
	return format == KVSINK_FORMAT_FP16 ? 2 : 4;
}

/* Bytes of the V row of one token, layer and KV head: of its own, so none with V_IN_K. */
static inline uint32_t kvsink_v_row_bytes(uint32_t flags, uint32_t d_v, uint32_t format)
{
	return flags & KVSINK_STREAM_V_IN_K ? 0 : d_v * kvsink_format_bytes(format);
}

/* Bytes of the K and V rows of one token, layer and KV head. */
static inline uint32_t kvsink_row_bytes(uint32_t flags, uint32_t d_k, uint32_t d_v, uint32_t format)
{
	return d_k * kvsink_format_bytes(format) + kvsink_v_row_bytes(flags, d_v, format);
}

/*
 * The score area of a stream, 8-byte aligned planes one behind another: for each score group
 *   uint64_t sum[max_tokens]       attention mass of SCORE, layer weights included, units of 2^-32
 *   uint64_t mass[max_tokens]      the same of the open step (B before it is divided)
 *   uint32_t ema[max_tokens]       E, units of 2^-32
 *   uint32_t state[max_tokens]     bits 0..15 run, bit 16 sink
 *   uint32_t promoted[max_tokens]  step of the last promotion, plus one
 * (padded to 8 bytes), then
 *   uint64_t profile[layers][kv_heads]             attention mass on sinks
 *   uint32_t norm_max[layers][kv_heads]            binary32: the largest of the norms of its rows
 *   uint16_t norm[layers][kv_heads][max_tokens]    binary16, rounded up: norm of each V row as stored
 * and with PER_HEAD, padded to 8 bytes:
 *   float head[layers][2][q_heads]                 slopes, then sink logits
 */
static inline uint64_t kvsink_score_group_bytes(uint32_t max_tokens)
{
	return ((uint64_t)max_tokens * 28 + 7) & ~(uint64_t)7;
}

/* What of it STREAM_CREATE clears: all but the norms, which APPEND writes before anybody reads them. */
static inline uint64_t kvsink_score_cleared_bytes(uint32_t layers, uint32_t kv_heads, uint32_t groups, uint32_t max_tokens)
{
	return groups * kvsink_score_group_bytes(max_tokens) + (uint64_t)layers * kv_heads * 12;
}

static inline uint64_t kvsink_score_bytes(uint32_t layers, uint32_t kv_heads, uint32_t groups, uint32_t max_tokens)
{
	return kvsink_score_cleared_bytes(layers, kv_heads, groups, max_tokens) +
	       (uint64_t)layers * kv_heads * max_tokens * 2;
}

/* What PER_HEAD adds at the end, and where in the area it begins. */
static inline uint64_t kvsink_head_params_bytes(uint32_t flags, uint32_t layers, uint32_t q_heads)
{
	return flags & KVSINK_STREAM_PER_HEAD ? (uint64_t)layers * q_heads * 8 : 0;
}

static inline uint64_t kvsink_head_params_at(uint64_t score_bytes)
{
	return (score_bytes + 7) & ~(uint64_t)7;
}

/*
 * The journal of a replay window of n tokens, parts one behind another:
 *   uint64_t mass[n][groups][tokens]           attention of each query on each token, layer weights included
 *   uint64_t sink_mass[n][layers][kv_heads]    the same on the sinks, by layer and KV head
 *   uint32_t norm_max[layers][kv_heads]        binary32: of the rows that are part of the stream
 * tokens = the length at WINDOW_BEGIN + n.
 */
static inline uint64_t kvsink_window_mass_bytes(uint32_t groups, uint32_t length, uint32_t n)
{
	return (uint64_t)n * groups * ((uint64_t)length + n) * 8;
}

static inline uint64_t kvsink_window_bytes(uint32_t layers, uint32_t kv_heads, uint32_t groups, uint32_t length,
					   uint32_t n)
{
	return kvsink_window_mass_bytes(groups, length, n) + (uint64_t)layers * kv_heads * (n * 8 + 4);
}

/*
 * Bytes of one page, KVSINK_HBM_ALIGN aligned. It holds all layers of its tokens:
 * [layer][K then V][token in page][kv head][element]. The limits above keep it below 2^40.
 */
static inline uint64_t kvsink_page_bytes(uint32_t flags, uint32_t layers, uint32_t kv_heads, uint32_t d_k, uint32_t d_v,
					 uint32_t format, uint32_t page_tokens)
{
	uint64_t bytes = (uint64_t)layers * kv_heads * kvsink_row_bytes(flags, d_k, d_v, format) * page_tokens;

	return (bytes + KVSINK_HBM_ALIGN - 1) & ~(uint64_t)(KVSINK_HBM_ALIGN - 1);
}

/*
 * A sealed page: within a layer's K (or V) plane each KV head has a region of its own, as large as its rows were:
 *   codes[token][element]      4-bit ones in pairs, the even element in the low half
 *   scales                     binary16; INT8: [token][group]; INT4: [token][group]{scale, minimum};
 *                              per channel: scale[element], then minimum[element]
 *   bitmap                     bit t: token t of the page is protected, its code and scales are 0
 *   rows[rank][element]        of protected tokens, as they were appended; rank = protected tokens before it
 * The rest is 0. Codes and scales lie dense, the bitmap has whole bytes, the rows begin at a multiple of 4.
 */
static inline uint32_t kvsink_format_bits(uint32_t format)
{
	switch (format) {
#define X(name, value, bits, group, minimum, doc) case value: return bits;
	KVSINK_FORMATS(X)
#undef X
	default: return 0;
	}
}

static inline int kvsink_format_channel(uint32_t format)
{
	return format == KVSINK_FORMAT_INT8_CHANNEL || format == KVSINK_FORMAT_INT4_CHANNEL;
}

/* Bytes of one sealed row's codes. */
static inline uint32_t kvsink_code_bytes(uint32_t seal, uint32_t d)
{
	return d * kvsink_format_bits(seal) / 8;
}

/* Bytes of its own scales: none per channel. */
static inline uint32_t kvsink_scale_bytes(uint32_t seal, uint32_t d)
{
	uint32_t each = seal == KVSINK_FORMAT_INT4 ? 4 : 2;

	return kvsink_format_channel(seal) ? 0 : d / KVSINK_FORMAT_GROUP * each;
}

/* Bytes of all scales of one page and head. */
static inline uint32_t kvsink_page_scale_bytes(uint32_t seal, uint32_t d, uint32_t page_tokens)
{
	return kvsink_format_channel(seal) ? d * 4 : kvsink_scale_bytes(seal, d) * page_tokens;
}

/* Offset of the bitmap in a head's region, and of the protected rows. */
static inline uint32_t kvsink_seal_bitmap_at(uint32_t seal, uint32_t d, uint32_t page_tokens)
{
	return kvsink_code_bytes(seal, d) * page_tokens + kvsink_page_scale_bytes(seal, d, page_tokens);
}

static inline uint32_t kvsink_seal_rows_at(uint32_t seal, uint32_t d, uint32_t page_tokens)
{
	return (kvsink_seal_bitmap_at(seal, d, page_tokens) + (page_tokens + 7) / 8 + 3) & ~3u;
}

/* How many protected rows a region has room for: what quantising has freed. */
static inline uint32_t kvsink_seal_room(uint32_t seal, uint32_t format, uint32_t d, uint32_t page_tokens)
{
	uint32_t row = d * kvsink_format_bytes(format), at = kvsink_seal_rows_at(seal, d, page_tokens);

	return at < row * page_tokens ? (row * page_tokens - at) / row : 0;
}

/* Can a plane of that width be sealed so? 0 says that it never will be. */
static inline int kvsink_seal_fits(uint32_t seal, uint32_t format, uint32_t d, uint32_t page_tokens, int is_v)
{
	uint32_t unit = seal == KVSINK_FORMAT_INT8_CHANNEL ? 1 :
			seal == KVSINK_FORMAT_INT4_CHANNEL ? 2 : KVSINK_FORMAT_GROUP;

	if (!seal)
		return 1;
	if (seal < KVSINK_APPEND_FORMATS || seal >= KVSINK_FORMAT_COUNT || (is_v && kvsink_format_channel(seal)))
		return 0;
	return d % unit == 0 &&
	       kvsink_seal_rows_at(seal, d, page_tokens) <= d * kvsink_format_bytes(format) * page_tokens;
}

/* Bytes of a row of one head as PROMOTE copies it: codes and their own scales. */
static inline uint32_t kvsink_sealed_bytes(uint32_t seal, uint32_t format, uint32_t d)
{
	return seal ? kvsink_code_bytes(seal, d) + kvsink_scale_bytes(seal, d) : d * kvsink_format_bytes(format);
}

#endif
