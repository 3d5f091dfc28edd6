/* SPDX-License-Identifier: MIT */
/*
 * Backend sim: a kernel in the process. It answers the ioctls of kvsink_drm.h as the driver does, with the
 * same validator (driver/logic) and the same chip (qemu-device/silicon), and keeps what the kernel would:
 * the GART, the HBM allocator, buffers, streams and their owners.
 *
 * One sim_chip is one device; each kvs_open() of it is a sim_file. The chip's lock is held through every
 * ioctl, and a job runs to its end inside it, so there is never more than one in flight.
 */
#ifndef KVS_SIM_H
#define KVS_SIM_H

#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include "backend.h"
#include "logic.h"
#include "silicon.h"

#define SIM_SYNCOBJ 1 /* the one syncobj of a file, a timeline */

/* Ranges of an address space that are free, by offset. */
struct sim_extent {
	uint64_t offset, size;
};

/* A first-fit allocator. */
struct sim_space {
	struct sim_extent *free; /* [used], sorted, never adjacent */
	uint32_t used, room;
};

/* A buffer: pages of this process, mapped into the GART. */
struct sim_bo {
	uint8_t *data;
	uint64_t bytes;
	uint32_t gart_page; /* its first one */
};

/* HBM that the chip may use as the journal of a window. */
struct sim_journal {
	struct sim_journal *next;
	uint64_t offset, bytes;
};

struct sim_stream {
	struct sim_stream *next; /* of the chip's */
	struct sim_file *owner;
	uint32_t tenant;
	struct kvsink_logic_stream geometry; /* with its id */
	struct kvsink_logic_layout layout;
	uint64_t table, scores; /* HBM offsets */
	uint64_t *pages;	/* [layout.max_pages] HBM offsets, page_count used */
	uint32_t page_count;	/* reserved ones; while it is swapped out those that it will have again */
	enum kvsink_logic_where where;
	struct sim_stream *prefix;    /* that it begins with */
	uint32_t own_page;	      /* pages before this one are the prefix's */
	uint32_t tokens;	      /* of a prefix */
	uint32_t users;		      /* of a prefix: handles, and streams and prefixes that begin with it */
	struct sim_journal *journals; /* until the chip has said that no window is open */
};

/* What is simulated, as the options say. */
struct sim_options {
	struct kvsink_chip_config config;
	uint32_t threads; /* for arithmetic */
	uint32_t inject[KVSINK_INJECT_KINDS];
	char share[32];	  /* name of a chip that several files use; empty for a chip of one's own */
	char record[256]; /* file that becomes a recording; empty: none */
	bool has_chip;	  /* an option of the chip was given */
	bool has_uid;	  /* uid= was given: an ordinary user */
	uint32_t uid;
};

struct sim_pool; /* worker threads, sim_pool.c */

struct sim_chip {
	struct sim_chip *next; /* of the shared ones */
	struct sim_options options;
	unsigned files;
	pthread_mutex_t lock; /* everything below */
	struct kvsink_chip *silicon;
	struct sim_pool *pool; /* NULL: arithmetic runs in the caller */
	FILE *recording;       /* NULL: none */
	struct sim_space gart; /* in pages */
	struct sim_space hbm;  /* in bytes */
	uint8_t **pages;       /* [gart_pages] memory behind each page of the GART, NULL if there is none */
	uint8_t *control;      /* rings, commands, GART table: memory of the kernel that the chip reaches */
	size_t control_bytes;
	uint64_t *gart_table; /* inside control, as are the next ones */
	struct kvsink_job_desc *jobs[KVSINK_MAX_RINGS];
	struct kvsink_completion *cpls[KVSINK_MAX_RINGS];
	struct kvsink_cmd *cmds; /* of the job in flight */
	union kvsink_item *items;
	uint32_t published[KVSINK_MAX_RINGS]; /* jobs given to each ring */
	uint64_t seqno;
	struct sim_stream *streams;
	uint64_t last_stream; /* id given out last */
	uint32_t next_ring;   /* of the next file */
};

struct sim_file {
	struct sim_chip *chip;
	uint32_t tenant;
	bool admin;
	uint32_t ring;
	uint64_t signalled;  /* point of the timeline that has signalled */
	struct sim_bo **bos; /* [bo_room], handle = index + 1 */
	uint32_t bo_room;
	struct sim_stream **prefixes; /* [prefix_room], handle = index + 1 */
	uint32_t prefix_room;
	struct sim_bo *answer; /* where the chip writes answers of QUERY; made when first needed */
};

/* A job under construction, and its outcome. */
struct sim_job {
	uint32_t cmds, items;
	struct kvsink_cmd cmd[KVSINK_MAX_CMDS];
	union kvsink_item item[KVSINK_MAX_ITEMS];
	uint64_t generation;
	bool privileged;	      /* the kernel's own work for a file: streams and their pages */
	struct kvsink_completion cpl; /* after sim_job_run() */
};

/* sim_options.c */
int sim_parse(const char *text, struct sim_options *options);
bool sim_same_chip(const struct sim_options *a, const struct sim_options *b);

/* sim_space.c */
int sim_space_init(struct sim_space *space, uint64_t size);
void sim_space_fini(struct sim_space *space);
int sim_space_alloc(struct sim_space *space, uint64_t size, uint64_t *offset); /* -ENOSPC */
void sim_space_free(struct sim_space *space, uint64_t offset, uint64_t size);

/* sim_pool.c */
struct sim_pool *sim_pool_create(unsigned threads);
void sim_pool_destroy(struct sim_pool *pool);
void sim_pool_exec(struct sim_pool *pool, struct kvsink_item_work *item);

/* sim_chip.c */
int sim_chip_get(const struct sim_options *options, struct sim_chip **chip);
void sim_chip_put(struct sim_chip *chip);
/* Runs to its end; 0 or the errno of the result code. file NULL: the kernel's own job. */
int sim_job_run(struct sim_chip *chip, struct sim_file *file, struct sim_job *job);

/* Memory for a tier, all zeros; NULL if there is none. To be given back by munmap(). */
void *sim_map_tier(uint64_t bytes);

/* recording.c; an error is kvs_open()'s */
int sim_record_begin(struct sim_chip *chip);
void sim_record_end(struct sim_chip *chip);

/* Entries of the GART table, and what the bus finds there. */
void sim_gart_map(struct sim_chip *chip, const struct sim_bo *bo);
void sim_gart_unmap(struct sim_chip *chip, const struct sim_bo *bo);

/* sim_memory.c */
int sim_bo_create(struct sim_chip *chip, uint64_t bytes, struct sim_bo **bo);
void sim_bo_destroy(struct sim_chip *chip, struct sim_bo *bo);
int sim_ioctl_bo_create(struct sim_file *file, void *data);
int sim_ioctl_bo_mmap_offset(struct sim_file *file, void *data);
struct sim_bo *sim_bo_find(struct sim_file *file, uint32_t handle);
int sim_bo_close(struct sim_file *file, uint32_t handle);
void sim_bos_close(struct sim_file *file);

/* sim_stream.c */
#define SIM_KERNEL_TRIES 3 /* a reset may overtake a job of the kernel */

struct sim_stream *sim_stream_find(struct sim_chip *chip, uint64_t id);
/* Page table, scores and its own of `pages` pages, all or none; and all of it cleared and given back. */
int sim_stream_alloc(struct sim_chip *chip, struct sim_stream *stream, uint32_t pages);
void sim_stream_scrub(struct sim_chip *chip, struct sim_stream *stream);
/* One more range, cleared and given back. */
void sim_stream_scrub_range(struct sim_chip *chip, uint64_t offset, uint64_t bytes);
/* Pages [page_count, total) enter the chip's page table, as many a job as its items can name. Done again if a
 * reset overtakes a job, which may have done its work all the same. */
int sim_stream_map(struct sim_file *file, struct sim_stream *stream, struct sim_job *job, uint32_t total);
/* Pages [first, total), all or none; some that the chip never saw go back. */
int sim_stream_alloc_pages(struct sim_chip *chip, struct sim_stream *stream, uint32_t first, uint32_t total);
void sim_stream_free_pages(struct sim_chip *chip, struct sim_stream *stream, uint32_t first, uint32_t end);
/* The chip drops it, its memory is scrubbed, whom it began with has a user less. */
void sim_stream_end(struct sim_chip *chip, struct sim_stream *stream);
int sim_ioctl_stream_create(struct sim_file *file, void *data);
int sim_ioctl_stream_reserve(struct sim_file *file, void *data);
int sim_ioctl_stream_destroy(struct sim_file *file, void *data);
void sim_streams_close(struct sim_file *file);

/* sim_swap.c */
int sim_swap_settle(struct sim_file *file, struct sim_stream *stream, struct kvsink_completion *said);
int sim_ioctl_swap_out(struct sim_file *file, void *data);
int sim_ioctl_swap_in(struct sim_file *file, void *data);

/* sim_prefix.c */
int sim_ioctl_prefix_publish(struct sim_file *file, void *data);
int sim_ioctl_prefix_open(struct sim_file *file, void *data);
int sim_ioctl_prefix_close(struct sim_file *file, void *data);
int sim_ioctl_prefix_export(struct sim_file *file, void *data);
int sim_ioctl_prefix_attach(struct sim_file *file, void *data);
int sim_ioctl_prefix_detach(struct sim_file *file, void *data);
void sim_prefixes_close(struct sim_file *file);
/* One user less; the last one ends it. NULL is none. */
void sim_prefix_put(struct sim_chip *chip, struct sim_stream *prefix);

/* sim_window.c */
/* No window of the stream is open: they are cleared and given back. */
void sim_window_ended(struct sim_chip *chip, struct sim_stream *stream);
int sim_ioctl_window_begin(struct sim_file *file, void *data);
int sim_ioctl_window_commit(struct sim_file *file, void *data);

/* sim_submit.c */
int sim_ioctl_submit(struct sim_file *file, void *data);

/* sim_control.c */
int sim_ioctl_dev_query(struct sim_file *file, void *data);
int sim_ioctl_promote(struct sim_file *file, void *data);
int sim_ioctl_evict(struct sim_file *file, void *data);
int sim_ioctl_contract(struct sim_file *file, void *data);
int sim_ioctl_config_get(struct sim_file *file, void *data);
int sim_ioctl_config_set(struct sim_file *file, void *data);
int sim_ioctl_query(struct sim_file *file, void *data);
int sim_ioctl_reg_read(struct sim_file *file, void *data);
int sim_ioctl_entry_read(struct sim_file *file, void *data);

/* sim.c */
void sim_env(struct sim_file *file, struct kvsink_logic_env *env);
/* Elements of a user's array, `element` bytes each, into `out`; their tails must be zero. */
int sim_copy_array(const struct drm_kvsink_array *array, uint32_t element, uint32_t min, uint32_t max,
		   void *out);

#endif
