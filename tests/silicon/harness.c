// SPDX-License-Identifier: MIT
/* The host of harness.h. */
#include <stdio.h>

#include "harness.h"

/* Host memory: GART table, rings, commands of each slot, then the pages behind the GART. */
#define TABLE 0x0u
#define RINGS 0x10000u
#define RING_SIZE 0x2000u
#define CPLS 0x1000u
#define CMDS 0x80000u
#define SLOT_CMDS 0x4100u
#define DATA 0xc00000u

bool h_seen[KVSINK_CODE_COUNT];

static void die(const char *what, uint32_t code)
{
	printf("Bail out! %s: %s\n", what, kvsink_code_name(code));
	exit(1);
}

static uint8_t *host_at(struct harness *h, uint64_t bus, uint32_t bytes)
{
	if (bus < HOST_BUS || bus - HOST_BUS > HOST_BYTES || bytes > HOST_BYTES - (bus - HOST_BUS))
		return NULL;
	if (h->refuse_bytes && bus < h->refuse_bus + h->refuse_bytes && h->refuse_bus < bus + bytes)
		return NULL;
	return h->host + (bus - HOST_BUS);
}

static int dma_read(void *opaque, uint64_t bus, void *buf, uint32_t bytes)
{
	const uint8_t *at = host_at(opaque, bus, bytes);

	if (at)
		memcpy(buf, at, bytes);
	return !at;
}

static int dma_write(void *opaque, uint64_t bus, const void *buf, uint32_t bytes)
{
	uint8_t *at = host_at(opaque, bus, bytes);

	if (at)
		memcpy(at, buf, bytes);
	return !at;
}

static void mark_dirty(void *opaque, uint32_t space, uint64_t offset, uint64_t bytes)
{
	struct harness *h = opaque;

	if (space != KVSINK_SPACE_HBM && space != KVSINK_SPACE_SRAM)
		die("mark_dirty of another space", 0);
	if (offset + bytes > (space == KVSINK_SPACE_HBM ? h->config.hbm_bytes : h->config.sram_bytes))
		die("mark_dirty beyond the memory", 0);
	h->dirty_bytes[space] += bytes;
}

static void irq(void *opaque, unsigned vector)
{
	((struct harness *)opaque)->irqs[vector]++;
}

static void log_line(void *opaque, const char *line)
{
	struct harness *h = opaque;

	h->logs++;
	snprintf(h->log, sizeof(h->log), "%s", line);
}

uint64_t h_gart_bus(uint32_t page)
{
	return HOST_BUS + DATA + (uint64_t)(page ^ 5) * KVSINK_GART_PAGE;
}

void h_gart_set(struct harness *h, uint32_t page, uint64_t entry)
{
	memcpy(h->host + TABLE + page * sizeof(entry), &entry, sizeof(entry));
}

void h_open(struct harness *h, void (*tune)(struct kvsink_chip_config *))
{
	static const struct kvsink_host_ops ops = {dma_read, dma_write, mark_dirty, irq, log_line};
	char error[200];

	memset(h, 0, sizeof(*h));
	kvsink_config_default(&h->config);
	h->config.sram_bytes = 64 << 10;
	h->config.hbm_bytes = 16 << 20;
	h->config.tags = 32;
	h->config.streams = 4;
	h->config.rings = 2;
	h->config.ring_slots = 8;
	h->config.gart_pages = H_GART_PAGES;
	if (tune)
		tune(&h->config);
	h->host = calloc(1, HOST_BYTES);
	h->sram = h->config.sram = aligned_alloc(4096, h->config.sram_bytes);
	h->hbm = h->config.hbm = aligned_alloc(4096, h->config.hbm_bytes);
	memset(h->sram, 0xa5, h->config.sram_bytes);
	memset(h->hbm, 0xa5, h->config.hbm_bytes);
	h->chip = kvsink_create(&h->config, &ops, h, error, sizeof(error));
	if (!h->chip) {
		printf("Bail out! create: %s\n", error);
		exit(1);
	}
	for (uint32_t page = 0; page < H_GART_PAGES; page++)
		h_gart_set(h, page, h_gart_bus(page) | KVSINK_GART_VALID);
	h->parts = 1;
	h->tenant = H_TENANT;
	h->hbm_next = 1 << 20;
	h_start(h);
}

void h_close(struct harness *h)
{
	kvsink_destroy(h->chip);
	free(h->host);
	free(h->sram);
	free(h->hbm);
}

static uint32_t ring_reg(unsigned ring, uint32_t reg)
{
	return KVSINK_RING_BASE + ring * KVSINK_RING_STRIDE + reg;
}

void h_start(struct harness *h)
{
	uint64_t table = HOST_BUS + TABLE;

	kvsink_mmio_write(h->chip, KVSINK_REG_GART_BASE_LO, (uint32_t)table);
	kvsink_mmio_write(h->chip, KVSINK_REG_GART_BASE_HI, (uint32_t)(table >> 32));
	for (unsigned r = 0; r < h->config.rings; r++) {
		uint64_t jobs = HOST_BUS + RINGS + r * RING_SIZE;

		kvsink_mmio_write(h->chip, ring_reg(r, KVSINK_RING_JOBS_LO), (uint32_t)jobs);
		kvsink_mmio_write(h->chip, ring_reg(r, KVSINK_RING_JOBS_HI), (uint32_t)(jobs >> 32));
		kvsink_mmio_write(h->chip, ring_reg(r, KVSINK_RING_CPLS_LO), (uint32_t)(jobs + CPLS));
		kvsink_mmio_write(h->chip, ring_reg(r, KVSINK_RING_CPLS_HI), (uint32_t)((jobs + CPLS) >> 32));
		h->published[r] = 0;
	}
	kvsink_mmio_write(h->chip, KVSINK_REG_IRQ_MASK, 0xffffffff);
	kvsink_mmio_write(h->chip, KVSINK_REG_CONTROL, KVSINK_CONTROL_ENABLE_MASK);
}

struct kvsink_cmd *h_cmd(struct harness *h, unsigned opcode)
{
	struct kvsink_cmd *cmd = &h->cmds[h->desc.cmd_count++];

	memset(cmd, 0, sizeof(*cmd));
	cmd->opcode = (uint16_t)opcode;
	return cmd;
}

uint32_t h_item(struct harness *h, const union kvsink_item *item)
{
	h->items[h->desc.item_count] = *item;
	return h->desc.item_count++;
}

static struct kvsink_ref ref(uint32_t space, uint64_t offset)
{
	return (struct kvsink_ref){.space = space, .offset = offset};
}

struct kvsink_ref h_gart(uint64_t offset)
{
	return ref(KVSINK_SPACE_GART, offset);
}

struct kvsink_ref h_hbm(uint64_t offset)
{
	return ref(KVSINK_SPACE_HBM, offset);
}

struct kvsink_ref h_sram(uint64_t offset)
{
	return ref(KVSINK_SPACE_SRAM, offset);
}

uint32_t h_publish(struct harness *h, unsigned ring)
{
	uint32_t index = h->published[ring]++;
	uint32_t slot = index % h->config.ring_slots;
	uint32_t at = CMDS + (ring * h->config.ring_slots + slot) * SLOT_CMDS;

	h->desc.seqno = 1000 * (ring + 1) + index;
	h->desc.cmds = HOST_BUS + at;
	h->desc.items = h->desc.cmds + sizeof(h->cmds);
	h->desc.tenant = h->tenant;
	h->desc.flags |= h->flags;
	h->desc.generation = h->generation;
	h->desc.host_ns = h->host_ns;
	memcpy(h->host + at, h->cmds, sizeof(h->cmds));
	memcpy(h->host + at + sizeof(h->cmds), h->items, sizeof(h->items));
	memcpy(h->host + RINGS + ring * RING_SIZE + slot * sizeof(h->desc), &h->desc, sizeof(h->desc));
	memset(&h->desc, 0, sizeof(h->desc));
	return index;
}

void h_doorbell(struct harness *h, unsigned ring)
{
	kvsink_mmio_write(h->chip, ring_reg(ring, KVSINK_RING_DOORBELL), h->published[ring]);
}

uint32_t h_submit(struct harness *h, unsigned ring)
{
	uint32_t index = h_publish(h, ring);

	h_doorbell(h, ring);
	return index;
}

void h_run(struct harness *h)
{
	while (kvsink_pending(h->chip)) {
		for (unsigned r = 0; r < h->config.rings; r++) {
			struct kvsink_item_work *work = kvsink_run(h->chip, r);

			if (!work)
				continue;
			for (unsigned p = 0; p < h->parts; p++)
				kvsink_exec(work, p, h->parts);
			kvsink_retire(h->chip, work);
		}
	}
}

struct kvsink_completion h_completion(struct harness *h, unsigned ring, uint32_t index)
{
	struct kvsink_completion cpl;

	memcpy(&cpl, h->host + RINGS + ring * RING_SIZE + CPLS + index % h->config.ring_slots * sizeof(cpl),
	       sizeof(cpl));
	if (cpl.code < KVSINK_CODE_COUNT)
		h_seen[cpl.code] = true;
	return cpl;
}

uint32_t h_do(struct harness *h)
{
	uint32_t index = h_submit(h, 0);

	memset(h->host + RINGS + CPLS + index % h->config.ring_slots * sizeof(h->cpl), 0xff, sizeof(h->cpl));
	h_run(h);
	h->cpl = h_completion(h, 0, index);
	return h->cpl.code;
}

uint32_t h_priv(struct harness *h)
{
	h->desc.flags = KVSINK_JOB_PRIVILEGED;
	return h_do(h);
}

static void move(struct harness *h, uint64_t gart, uint8_t *in, const uint8_t *out, size_t bytes)
{
	for (size_t i = 0, n; i < bytes; i += n) {
		uint64_t at = gart + i, in_page = at % KVSINK_GART_PAGE;
		uint8_t *host = h->host + h_gart_bus((uint32_t)(at / KVSINK_GART_PAGE)) - HOST_BUS + in_page;

		n = bytes - i < KVSINK_GART_PAGE - in_page ? bytes - i : KVSINK_GART_PAGE - in_page;
		if (in)
			memcpy(in + i, host, n);
		else
			memcpy(host, out + i, n);
	}
}

void h_put(struct harness *h, uint64_t gart, const void *buf, size_t bytes)
{
	move(h, gart, NULL, buf, bytes);
}

void h_get(struct harness *h, uint64_t gart, void *buf, size_t bytes)
{
	move(h, gart, buf, NULL, bytes);
}

uint32_t h_random(uint64_t *state)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*state >> 32);
}

static float unit(uint64_t *state)
{
	return (float)(int32_t)h_random(state) / 2147483648.0f;
}

struct h_stream h_geometry(uint64_t id)
{
	return (struct h_stream){
		.id = id,
		.tenant = H_TENANT,
		.layers = 2,
		.q_heads = 4,
		.kv_heads = 2,
		.d_k = 16,
		.d_v = 16,
		.format = KVSINK_FORMAT_F32,
		.page_tokens = 4,
		.max_tokens = 128,
		.score_groups = 2,
		.group_end = {1, 2},
		.scale = 0.25f,
	};
}

static uint64_t take_hbm(struct harness *h, uint64_t bytes)
{
	uint64_t at = h->hbm_next;

	h->hbm_next += (bytes + KVSINK_HBM_ALIGN - 1) / KVSINK_HBM_ALIGN * KVSINK_HBM_ALIGN;
	if (h->hbm_next > h->config.hbm_bytes)
		die("harness: out of HBM", 0);
	return at;
}

static uint64_t page_bytes(const struct h_stream *s)
{
	return kvsink_page_bytes(s->flags, s->layers, s->kv_heads, s->d_k, s->d_v, s->format, s->page_tokens);
}

static uint64_t score_bytes(const struct h_stream *s)
{
	return kvsink_head_params_at(
		       kvsink_score_bytes(s->layers, s->kv_heads, s->score_groups, s->max_tokens)) +
	       kvsink_head_params_bytes(s->flags, s->layers, s->q_heads);
}

uint32_t h_create(struct harness *h, struct h_stream *s)
{
	struct kvsink_cmd *cmd = h_cmd(h, KVSINK_OP_STREAM_CREATE);
	union kvsink_item item = {.layer = {.window = s->window}};

	memcpy(&item.layer.scale, &s->scale, sizeof(s->scale));
	memcpy(&item.layer.softcap, &s->softcap, sizeof(s->softcap));
	s->page_table = take_hbm(h, (uint64_t)s->max_tokens * 8);
	s->scores = take_hbm(h, score_bytes(s));
	cmd->stream_create = (struct kvsink_cmd_stream_create){
		.stream = s->id,
		.tenant = s->tenant,
		.layers = (uint16_t)s->layers,
		.q_heads = (uint16_t)s->q_heads,
		.kv_heads = (uint16_t)s->kv_heads,
		.d_k = (uint16_t)s->d_k,
		.d_v = (uint16_t)s->d_v,
		.flags = s->flags,
		.format = (uint16_t)s->format,
		.page_tokens = s->page_tokens,
		.max_tokens = s->max_tokens,
		.page_table = s->page_table,
		.scores = s->scores,
		.score_groups = s->score_groups,
		.seal_k = (uint16_t)s->seal_k,
		.seal_v = (uint16_t)s->seal_v,
	};
	memcpy(cmd->stream_create.group_end, s->group_end, sizeof(s->group_end));
	for (uint32_t l = 0; l < s->layers && l < KVSINK_MAX_ITEMS; l++)
		h_item(h, &item);
	return h_priv(h);
}

uint32_t h_map(struct harness *h, struct h_stream *s, uint32_t first_page, uint32_t count)
{
	uint64_t pages = take_hbm(h, count * page_bytes(s));
	struct kvsink_cmd *cmd = h_cmd(h, KVSINK_OP_PAGE_MAP);

	if (!first_page)
		s->pages = pages;
	cmd->page_map.stream = s->id;
	cmd->page_map.first_page = first_page;
	cmd->page_map.count = count;
	for (uint32_t i = 0; i < count; i += 4) {
		union kvsink_item item = {.pages = {0}};

		/* neighbours in the stream are none in HBM */
		for (uint32_t j = 0; j < 4 && i + j < count; j++)
			item.pages[j] = pages + (count - 1 - i - j) * page_bytes(s);
		h_item(h, &item);
	}
	return h_priv(h);
}

uint32_t h_stream(struct harness *h, struct h_stream *s)
{
	uint32_t code = h_create(h, s);

	if (code)
		die("STREAM_CREATE", code);
	code = h_map(h, s, 0, s->max_tokens / s->page_tokens);
	if (code)
		die("PAGE_MAP", code);
	return code;
}

void h_row(const struct h_stream *s, bool v, uint32_t layer, uint32_t token, uint32_t head, float *out)
{
	uint64_t state = (s->rows ? s->rows : s->id) * 0x9e3779b9u +
			 (((uint64_t)layer * 4096 + token) * 64 + head) * 2 + v;

	h_random(&state);
	for (uint32_t i = 0; i < (v ? s->d_v : s->d_k); i++)
		out[i] = unit(&state);
}

uint32_t h_append(struct harness *h, const struct h_stream *s, uint32_t layer, uint32_t first, uint32_t count)
{
	struct kvsink_cmd *cmd = h_cmd(h, KVSINK_OP_APPEND);
	float row[KVSINK_MAX_HEAD_DIM];

	for (uint32_t i = 0; i < count * s->kv_heads; i++) {
		h_row(s, false, layer, first + i / s->kv_heads, i % s->kv_heads, row);
		h_put(h, H_K + (uint64_t)i * s->d_k * 4, row, s->d_k * 4);
		h_row(s, true, layer, first + i / s->kv_heads, i % s->kv_heads, row);
		h_put(h, H_V + (uint64_t)i * s->d_v * 4, row, s->d_v * 4);
	}
	cmd->append = (struct kvsink_cmd_append){.stream = s->id,
						 .layer = layer,
						 .first = first,
						 .count = count,
						 .k = h_gart(H_K),
						 .v = h_gart(H_V)};
	if (s->flags & KVSINK_STREAM_V_IN_K)
		cmd->append.v = (struct kvsink_ref){0};
	return h_do(h);
}

uint32_t h_publish_prefix(struct harness *h, const struct h_stream *s, uint64_t id, uint32_t tokens,
			  struct h_stream *prefix)
{
	struct kvsink_cmd *cmd = h_cmd(h, KVSINK_OP_PREFIX_PUBLISH);
	struct h_stream p = *s;

	p.id = id;
	p.max_tokens = (tokens + s->page_tokens - 1) / s->page_tokens * s->page_tokens;
	p.page_table = take_hbm(h, (uint64_t)p.max_tokens * 8);
	p.scores = take_hbm(h, score_bytes(&p));
	cmd->prefix_publish = (struct kvsink_cmd_prefix_publish){
		.stream = s->id,
		.prefix = id,
		.page_table = p.page_table,
		.scores = p.scores,
		.page = tokens % s->page_tokens ? take_hbm(h, page_bytes(s)) : 0,
		.key = {id, ~id},
		.tokens = tokens,
	};
	if (prefix)
		*prefix = p;
	return h_priv(h);
}

uint32_t h_attach(struct harness *h, struct h_stream *s, uint64_t prefix, uint32_t tokens)
{
	uint32_t pages = (tokens + s->page_tokens - 1) / s->page_tokens, all = s->max_tokens / s->page_tokens;
	struct kvsink_cmd *cmd = h_cmd(h, KVSINK_OP_PREFIX_ATTACH);
	uint32_t code;

	cmd->prefix_attach = (struct kvsink_cmd_prefix_attach){
		.stream = s->id,
		.prefix = prefix,
		.page = tokens % s->page_tokens ? take_hbm(h, page_bytes(s)) : 0,
		.tokens = tokens,
	};
	code = h_priv(h);
	return code || pages == all ? code : h_map(h, s, pages, all - pages);
}

uint32_t h_detach(struct harness *h, const struct h_stream *s, uint32_t shared, uint32_t count)
{
	struct kvsink_cmd *cmd = h_cmd(h, KVSINK_OP_PREFIX_DETACH);

	cmd->prefix_detach =
		(struct kvsink_cmd_page_map){.stream = s->id, .first_page = shared - count, .count = count};
	for (uint32_t i = 0; i < count; i += 4) {
		union kvsink_item item = {.pages = {0}};

		for (uint32_t j = 0; j < 4 && i + j < count; j++)
			item.pages[j] = take_hbm(h, page_bytes(s));
		h_item(h, &item);
	}
	return h_priv(h);
}

uint32_t h_step_end(struct harness *h, const struct h_stream *s, uint32_t count)
{
	struct kvsink_cmd *cmd = h_cmd(h, KVSINK_OP_STEP_END);

	cmd->step_end.stream = s->id;
	cmd->step_end.count = count;
	return h_do(h);
}

void h_fill(struct harness *h, const struct h_stream *s, uint32_t first, uint32_t count)
{
	uint32_t tenant = h->tenant, code = 0;

	h->tenant = s->tenant;
	for (uint32_t l = 0; l < s->layers && !code; l++)
		code = h_append(h, s, l, first, count);
	if (!code)
		code = h_step_end(h, s, count);
	if (code)
		die("filling a stream", code);
	h->tenant = tenant;
}

static uint32_t place(struct harness *h, uint32_t token, uint32_t begin, uint32_t end, uint64_t heads)
{
	return h_item(h, &(union kvsink_item){.place = {.token = token,
							.layer_begin = (uint16_t)begin,
							.layer_end = (uint16_t)end,
							.head_mask = heads}});
}

struct kvsink_cmd *h_promote_cmd(struct harness *h, const struct h_stream *s, uint32_t token, uint32_t begin,
				 uint32_t end, uint64_t heads)
{
	struct kvsink_cmd *cmd = h_cmd(h, KVSINK_OP_PROMOTE);

	cmd->promote.stream = s->id;
	cmd->promote.first_item = place(h, token, begin, end, heads);
	cmd->promote.item_count = 1;
	return cmd;
}

uint32_t h_promote(struct harness *h, const struct h_stream *s, uint32_t token, uint32_t begin, uint32_t end,
		   uint64_t heads)
{
	h_promote_cmd(h, s, token, begin, end, heads);
	return h_do(h);
}

struct kvsink_cmd *h_evict_cmd(struct harness *h, const struct h_stream *s, uint32_t token, uint32_t begin,
			       uint32_t end, uint64_t heads)
{
	struct kvsink_cmd *cmd = h_cmd(h, KVSINK_OP_EVICT);

	cmd->evict.stream = s->id;
	cmd->evict.first_item = place(h, token, begin, end, heads);
	cmd->evict.item_count = 1;
	return cmd;
}

uint32_t h_evict(struct harness *h, const struct h_stream *s, uint32_t token)
{
	h_evict_cmd(h, s, token, 0, s->layers, UINT64_MAX);
	return h_do(h);
}

void h_protect(struct harness *h, uint32_t token, uint32_t begin, uint32_t end, uint64_t heads)
{
	place(h, token, begin, end, heads);
}

struct kvsink_cmd *h_seal_cmd(struct harness *h, const struct h_stream *s, uint32_t tokens)
{
	struct kvsink_cmd *cmd = h_cmd(h, KVSINK_OP_SEAL);

	cmd->seal.stream = s->id;
	cmd->seal.item_count = h->desc.item_count;
	cmd->seal.tokens = tokens;
	return cmd;
}

uint32_t h_seal(struct harness *h, const struct h_stream *s, uint32_t tokens)
{
	h_seal_cmd(h, s, tokens);
	return h_do(h);
}

uint32_t h_barrier(struct harness *h, const struct h_stream *s)
{
	h_cmd(h, KVSINK_OP_BARRIER)->barrier.stream = s->id;
	return h_do(h);
}

uint32_t h_config(struct harness *h, uint64_t stream, uint32_t param, uint64_t value)
{
	struct kvsink_cmd *cmd = h_cmd(h, KVSINK_OP_CONFIG);

	cmd->config.stream = stream;
	cmd->config.param = param;
	cmd->config.group = KVSINK_GROUP_ALL;
	cmd->config.value = value;
	return stream ? h_do(h) : h_priv(h);
}

uint32_t h_swap_out(struct harness *h, const struct h_stream *s, uint64_t image, uint64_t room)
{
	struct kvsink_cmd *cmd;

	h_cmd(h, KVSINK_OP_BARRIER)->barrier.stream = s->id;
	cmd = h_cmd(h, KVSINK_OP_SWAP_OUT);
	cmd->swap_out = (struct kvsink_cmd_swap_out){
		.stream = s->id, .image = h_gart(image), .bytes = room, .key = {s->id, 0x5eed}};
	return h_do(h);
}

void h_swap_place(struct harness *h, struct h_stream *s)
{
	struct kvsink_cmd *cmd = h_cmd(h, KVSINK_OP_SWAP_PLACE);
	uint32_t code;

	s->page_table = take_hbm(h, (uint64_t)s->max_tokens * 8);
	s->scores = take_hbm(h, score_bytes(s));
	cmd->swap_place = (struct kvsink_cmd_swap_place){s->id, s->page_table, s->scores};
	code = h_priv(h);
	if (code)
		die("SWAP_PLACE", code);
	code = h_map(h, s, 0, s->max_tokens / s->page_tokens);
	if (code)
		die("PAGE_MAP", code);
}

struct kvsink_cmd *h_swap_in_cmd(struct harness *h, const struct h_stream *s, uint64_t image)
{
	struct kvsink_cmd *cmd = h_cmd(h, KVSINK_OP_SWAP_IN);

	cmd->swap_in =
		(struct kvsink_cmd_swap_in){.stream = s->id, .image = h_gart(image), .bytes = UINT64_MAX};
	return cmd;
}

uint32_t h_swap_in(struct harness *h, struct h_stream *s, uint64_t image)
{
	h_swap_place(h, s);
	h_swap_in_cmd(h, s, image);
	return h_do(h);
}

struct kvsink_cmd *h_attend_cmd(struct harness *h, const struct h_stream *s, uint32_t layer, uint32_t first,
				uint32_t count)
{
	struct kvsink_cmd *cmd = h_cmd(h, KVSINK_OP_ATTEND);
	union kvsink_item item = {
		.attend = {.stream = s->id, .layer = layer, .first = first, .count = count}};

	cmd->attend = (struct kvsink_cmd_attend){
		.first_item = h_item(h, &item),
		.item_count = 1,
		.q = h_gart(H_Q),
		.out = h_gart(H_OUT),
		.stats = h_gart(H_STATS),
	};
	return cmd;
}

struct kvsink_cmd *h_score_cmd(struct harness *h, const struct h_stream *s, uint32_t layer, uint32_t first,
			       uint32_t count)
{
	struct kvsink_cmd *cmd = h_cmd(h, KVSINK_OP_SCORE);

	cmd->score = (struct kvsink_cmd_score){
		.stream = s->id,
		.layer = layer,
		.first = first,
		.count = count,
		.q = h_gart(H_Q),
		.out = h_gart(H_OUT),
	};
	return cmd;
}

struct kvsink_cmd *h_query_cmd(struct harness *h, uint32_t what, uint64_t stream, uint32_t first,
			       uint32_t max)
{
	struct kvsink_cmd *cmd = h_cmd(h, KVSINK_OP_QUERY);

	cmd->query = (struct kvsink_cmd_query){
		.stream = stream, .what = what, .first = first, .max = max, .dst = h_gart(H_ANSWER)};
	return cmd;
}

bool h_entry(struct harness *h, const struct h_stream *s, uint32_t token, struct kvsink_tag_rec *rec)
{
	uint32_t place = H_ANSWER + sizeof(struct kvsink_list_head);
	struct kvsink_list_head list;

	h_query_cmd(h, KVSINK_QUERY_TAGS, s->id, 0, 4096);
	if (h_priv(h))
		return false;
	h_get(h, H_ANSWER, &list, sizeof(list));
	for (uint32_t i = 0; i < list.written; i++) {
		h_get(h, place + i * sizeof(*rec), rec, sizeof(*rec));
		if (rec->token == token && !(rec->flags & KVSINK_TAG_TAIL))
			return true;
	}
	return false;
}

uint64_t h_counter(struct harness *h, unsigned counter)
{
	uint32_t low = kvsink_mmio_read(h->chip, KVSINK_COUNTER_BASE + 8 * counter);

	return (uint64_t)kvsink_mmio_read(h->chip, KVSINK_COUNTER_BASE + 8 * counter + 4) << 32 | low;
}

void h_queries(struct harness *h, uint64_t seed, uint32_t floats)
{
	for (uint32_t i = 0; i < floats; i++) {
		float value = 2 * unit(&seed);

		h_put(h, H_Q + (uint64_t)i * sizeof(value), &value, sizeof(value));
	}
}
