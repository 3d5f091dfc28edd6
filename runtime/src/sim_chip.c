// SPDX-License-Identifier: MIT
/*
 * The simulated device: its memory, its bus, and jobs through its rings.
 *
 * Bus addresses are not pointers: the kernel's own memory lies at CONTROL_BUS, page n of the GART at
 * PAGES_BUS + n pages, everything else does not exist. So a translation that the chip kept too long
 * is a DMA error here, as behind an IOMMU.
 *
 * sim_chip_get() and _put() take the list's lock; sim_job_run() is called under chip->lock.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "internal.h"
#include "sim.h"

#define CONTROL_BUS (1ull << 32)
#define PAGES_BUS (1ull << 40)

static pthread_mutex_t shared_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sim_chip *shared; /* chips that have a share= name */

/* ---- bus --------------------------------------------------------------------------------------- */

/* Memory behind [bus, bus + *bytes); may shorten *bytes to the end of a page. NULL if there is none. */
static uint8_t *bus_memory(struct sim_chip *chip, uint64_t bus, uint32_t *bytes)
{
	uint64_t page = (bus - PAGES_BUS) / KVSINK_GART_PAGE, at = bus % KVSINK_GART_PAGE;

	if (bus >= CONTROL_BUS && bus - CONTROL_BUS < chip->control_bytes) {
		at = bus - CONTROL_BUS;
		return *bytes <= chip->control_bytes - at ? chip->control + at : NULL;
	}
	if (bus < PAGES_BUS || page >= chip->options.config.gart_pages || !chip->pages[page])
		return NULL;
	if (*bytes > KVSINK_GART_PAGE - at)
		*bytes = (uint32_t)(KVSINK_GART_PAGE - at);
	return chip->pages[page] + at;
}

static int dma_read(void *opaque, uint64_t bus, void *buf, uint32_t bytes)
{
	uint8_t *to = buf;

	while (bytes) {
		uint32_t piece = bytes;
		const uint8_t *from = bus_memory(opaque, bus, &piece);

		if (!from)
			return -1;
		memcpy(to, from, piece);
		to += piece;
		bus += piece;
		bytes -= piece;
	}
	return 0;
}

static int dma_write(void *opaque, uint64_t bus, const void *buf, uint32_t bytes)
{
	const uint8_t *from = buf;

	while (bytes) {
		uint32_t piece = bytes;
		uint8_t *to = bus_memory(opaque, bus, &piece);

		if (!to)
			return -1;
		memcpy(to, from, piece);
		from += piece;
		bus += piece;
		bytes -= piece;
	}
	return 0;
}

/* Nobody is told of interrupts: after kvsink_run() the ring's HEAD says whether the job has ended. */
static const struct kvsink_host_ops host_ops = {
	.dma_read = dma_read,
	.dma_write = dma_write,
};

static uint64_t control_bus(const struct sim_chip *chip, const void *memory)
{
	return CONTROL_BUS + (uint64_t)((const uint8_t *)memory - chip->control);
}

/* ---- life ---------------------------------------------------------------------------------------- */

static int alloc_control(struct sim_chip *chip)
{
	const struct kvsink_chip_config *config = &chip->options.config;
	size_t jobs = config->ring_slots * sizeof(struct kvsink_job_desc);
	size_t cpls = config->ring_slots * sizeof(struct kvsink_completion);
	size_t table = config->gart_pages * sizeof(uint64_t);
	uint8_t *at;

	chip->control_bytes = config->rings * (jobs + cpls) + KVSINK_MAX_CMDS * sizeof(*chip->cmds) +
			      KVSINK_MAX_ITEMS * sizeof(*chip->items) + table;
	chip->control = calloc(1, chip->control_bytes);
	chip->pages = calloc(config->gart_pages, sizeof(*chip->pages));
	if (!chip->control || !chip->pages)
		return -ENOMEM;
	at = chip->control;
	for (uint32_t i = 0; i < config->rings; i++, at += jobs + cpls) {
		chip->jobs[i] = (struct kvsink_job_desc *)at;
		chip->cpls[i] = (struct kvsink_completion *)(at + jobs);
	}
	chip->cmds = (struct kvsink_cmd *)at;
	chip->items = (union kvsink_item *)(chip->cmds + KVSINK_MAX_CMDS);
	chip->gart_table = (uint64_t *)(chip->items + KVSINK_MAX_ITEMS);
	return 0;
}

void *sim_map_tier(uint64_t bytes)
{
	void *memory =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		return NULL;
	madvise(memory, bytes,
		MADV_HUGEPAGE); /* attention walks all of it: fewer page walks; a kernel may refuse */
	return memory;
}

static void write_bus(struct sim_chip *chip, uint32_t lo, uint64_t bus)
{
	kvsink_mmio_write(chip->silicon, lo, (uint32_t)bus);
	kvsink_mmio_write(chip->silicon, lo + 4, (uint32_t)(bus >> 32));
}

/* Program everything, as after power on or a reset. */
static void start(struct sim_chip *chip)
{
	write_bus(chip, KVSINK_REG_GART_BASE_LO, control_bus(chip, chip->gart_table));
	for (uint32_t i = 0; i < chip->options.config.rings; i++) {
		uint32_t base = KVSINK_RING_BASE + i * KVSINK_RING_STRIDE;

		write_bus(chip, base + KVSINK_RING_JOBS_LO, control_bus(chip, chip->jobs[i]));
		write_bus(chip, base + KVSINK_RING_CPLS_LO, control_bus(chip, chip->cpls[i]));
		chip->published[i] = kvsink_mmio_read(chip->silicon, base + KVSINK_RING_HEAD);
	}
	kvsink_mmio_write(chip->silicon, KVSINK_REG_CONTROL, KVSINK_CONTROL_ENABLE_MASK);
}

static void destroy(struct sim_chip *chip)
{
	sim_record_end(chip);
	kvsink_destroy(chip->silicon);
	sim_pool_destroy(chip->pool);
	sim_space_fini(&chip->gart);
	sim_space_fini(&chip->hbm);
	if (chip->options.config.sram)
		munmap(chip->options.config.sram, chip->options.config.sram_bytes);
	if (chip->options.config.hbm)
		munmap(chip->options.config.hbm, chip->options.config.hbm_bytes);
	free(chip->control);
	free(chip->pages);
	pthread_mutex_destroy(&chip->lock);
	free(chip);
}

/* Memory of the tiers first: the chip checks the properties, and wants it there. */
static int build(struct sim_chip *chip)
{
	struct kvsink_chip_config *config = &chip->options.config;
	char text[160] = "";
	int err;

	config->sram = sim_map_tier(config->sram_bytes);
	config->hbm = sim_map_tier(config->hbm_bytes);
	if (!config->sram || !config->hbm)
		return kvs_fail_open(-ENOMEM, "sim: no memory for sram=%u and hbm=%llu bytes",
				     config->sram_bytes, (unsigned long long)config->hbm_bytes);
	chip->silicon = kvsink_create(config, &host_ops, chip, text, sizeof(text));
	if (!chip->silicon)
		return kvs_fail_open(-EINVAL, "sim: %s", text);
	if (chip->options.threads > 1)
		chip->pool = sim_pool_create(chip->options.threads);
	if ((chip->options.threads > 1 && !chip->pool) || alloc_control(chip) ||
	    sim_space_init(&chip->gart, config->gart_pages) || sim_space_init(&chip->hbm, config->hbm_bytes))
		return kvs_fail_open(-ENOMEM, "sim: out of memory");
	err = sim_record_begin(chip);
	if (err)
		return err;
	start(chip);
	for (int what = 0; what < KVSINK_INJECT_KINDS; what++)
		kvsink_inject(chip->silicon, what, chip->options.inject[what]);
	return 0;
}

static int create(const struct sim_options *options, struct sim_chip **chip)
{
	struct sim_chip *new = calloc(1, sizeof(*new));
	int err;

	if (!new)
		return kvs_fail_open(-ENOMEM, "sim: out of memory");
	new->options = *options;
	new->files = 1;
	pthread_mutex_init(&new->lock, NULL);
	err = build(new);
	if (err) {
		destroy(new);
		return err;
	}
	if (*options->share) {
		new->next = shared;
		shared = new;
	}
	*chip = new;
	return 0;
}

static struct sim_chip *find_shared(const char *name)
{
	struct sim_chip *chip = *name ? shared : NULL;

	while (chip && strcmp(chip->options.share, name))
		chip = chip->next;
	return chip;
}

int sim_chip_get(const struct sim_options *options, struct sim_chip **chip)
{
	int err = 0;

	pthread_mutex_lock(&shared_lock);
	*chip = find_shared(options->share);
	if (!*chip)
		err = create(options, chip);
	else if (options->has_chip && !sim_same_chip(options, &(*chip)->options))
		err = kvs_fail_open(-EINVAL, "sim: share=%s exists with other options", options->share);
	else
		(*chip)->files++;
	pthread_mutex_unlock(&shared_lock);
	return err;
}

void sim_chip_put(struct sim_chip *chip)
{
	struct sim_chip **at;
	bool last;

	pthread_mutex_lock(&shared_lock);
	last = !--chip->files;
	for (at = &shared; last && *at; at = &(*at)->next)
		if (*at == chip) {
			*at = chip->next;
			break;
		}
	pthread_mutex_unlock(&shared_lock);
	if (last)
		destroy(chip);
}

/* ---- jobs ------------------------------------------------------------------------------------------ */

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Returns the slot. */
static uint32_t publish(struct sim_chip *chip, const struct sim_file *file, const struct sim_job *job,
			uint32_t ring)
{
	uint32_t slot = chip->published[ring] % chip->options.config.ring_slots;

	memcpy(chip->cmds, job->cmd, job->cmds * sizeof(*job->cmd));
	memcpy(chip->items, job->item, job->items * sizeof(*job->item));
	chip->jobs[ring][slot] = (struct kvsink_job_desc){
		.seqno = ++chip->seqno,
		.cmds = control_bus(chip, chip->cmds),
		.items = control_bus(chip, chip->items),
		.cmd_count = job->cmds,
		.item_count = job->items,
		.generation = job->generation,
		.tenant = file ? file->tenant : 0,
		.flags = !file || job->privileged || file->admin ? KVSINK_JOB_PRIVILEGED : 0,
		.host_ns = now_ns(),
	};
	chip->published[ring]++;
	kvsink_mmio_write(chip->silicon, KVSINK_RING_BASE + ring * KVSINK_RING_STRIDE + KVSINK_RING_DOORBELL,
			  chip->published[ring]);
	return slot;
}

/* Until no ring has work left. */
static void run_rings(struct sim_chip *chip)
{
	while (kvsink_pending(chip->silicon)) {
		for (uint32_t i = 0; i < chip->options.config.rings; i++) {
			struct kvsink_item_work *item = kvsink_run(chip->silicon, i);

			if (!item)
				continue;
			sim_pool_exec(chip->pool, item);
			kvsink_retire(chip->silicon, item);
		}
	}
}

/* The job never ended: do as the driver does when its timer runs out. */
static void reset(struct sim_chip *chip, struct sim_job *job)
{
	kvsink_mmio_write(chip->silicon, KVSINK_REG_CONTROL, KVSINK_CONTROL_RESET_MASK);
	start(chip);
	job->cpl = (struct kvsink_completion){.code = KVSINK_CODE_ABORTED};
}

int sim_job_run(struct sim_chip *chip, struct sim_file *file, struct sim_job *job)
{
	uint32_t ring = file ? file->ring : 0;
	uint32_t slot = publish(chip, file, job, ring);

	run_rings(chip);
	job->cpl = chip->cpls[ring][slot];
	if (kvsink_mmio_read(chip->silicon, KVSINK_RING_BASE + ring * KVSINK_RING_STRIDE +
						    KVSINK_RING_HEAD) != chip->published[ring])
		reset(chip, job);
	return kvsink_logic_errno(job->cpl.code);
}

/* PAGES_BUS is known to this file only. */
void sim_gart_map(struct sim_chip *chip, const struct sim_bo *bo)
{
	for (uint64_t i = 0; i < bo->bytes / KVSINK_GART_PAGE; i++) {
		uint64_t page = bo->gart_page + i;

		chip->pages[page] = bo->data + i * KVSINK_GART_PAGE;
		chip->gart_table[page] = (PAGES_BUS + page * KVSINK_GART_PAGE) | KVSINK_GART_VALID;
	}
}

void sim_gart_unmap(struct sim_chip *chip, const struct sim_bo *bo)
{
	for (uint64_t i = 0; i < bo->bytes / KVSINK_GART_PAGE; i++) {
		chip->gart_table[bo->gart_page + i] = 0;
		chip->pages[bo->gart_page + i] = NULL;
	}
}
