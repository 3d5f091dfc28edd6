// SPDX-License-Identifier: MIT
/*
 * Operands: bounds of the three spaces, translations and their caching, pages that are no neighbours,
 * COPY and FILL.
 */
#include "harness.h"
#include "tap.h"

#define END ((uint64_t)H_GART_PAGES * KVSINK_GART_PAGE)

static struct harness h;

static uint32_t copy(struct kvsink_ref src, struct kvsink_ref dst, uint64_t bytes)
{
	h_cmd(&h, KVSINK_OP_COPY)->copy = (struct kvsink_cmd_copy){src, dst, bytes};
	return h_priv(&h);
}

static uint32_t fill(struct kvsink_ref dst, uint64_t bytes, uint32_t value)
{
	h_cmd(&h, KVSINK_OP_FILL)->fill = (struct kvsink_cmd_fill){dst, bytes, value, 0};
	return h_priv(&h);
}

static void bounds(void)
{
	tap_ok(!copy(h_gart(END - 8), h_gart(0), 8), "the last bytes of the GART are an operand");
	tap_ok(copy(h_gart(END - 8), h_gart(0), 9) == KVSINK_CODE_BAD_RANGE, "one byte more is not");
	tap_ok(copy(h_gart(0), h_gart(END), 1) == KVSINK_CODE_BAD_RANGE && h.cpl.address == END,
	       "the page behind the GART is not");
	tap_ok(copy(h_gart(~0ull - 3), h_gart(0), 8) == KVSINK_CODE_BAD_RANGE,
	       "an offset whose end wraps is not");
	tap_ok(copy(h_gart(0), h_gart(4096), ~0ull) == KVSINK_CODE_BAD_RANGE, "nor a length that does");
	tap_ok(copy(h_hbm((16 << 20) - 4), h_gart(0), 8) == KVSINK_CODE_BAD_RANGE, "the HBM has an end");
	tap_ok(copy(h_sram((64 << 10) - 4), h_gart(0), 8) == KVSINK_CODE_BAD_RANGE, "the SRAM has an end");
	tap_ok(copy(h_gart(0), (struct kvsink_ref){0}, 8) == KVSINK_CODE_BAD_FIELD,
	       "space NONE is no operand");
	tap_ok(copy(h_gart(0), (struct kvsink_ref){.space = 9}, 8) == KVSINK_CODE_BAD_FIELD &&
		       h.cpl.address == offsetof(struct kvsink_cmd, copy.dst.space),
	       "nor is space 9");
	tap_ok(copy(h_gart(0), (struct kvsink_ref){.space = 1, .reserved = 1, .offset = 4096}, 8) ==
		       KVSINK_CODE_BAD_FIELD,
	       "a reserved word must be zero");
	tap_ok(copy(h_gart(0), h_gart(4), 8) == KVSINK_CODE_BAD_FIELD, "COPY refuses ranges that overlap");
	tap_ok(!copy(h_gart(0), h_gart(8), 8), "and takes neighbours");
	tap_ok(copy(h_gart(0), h_gart(8), 0) == KVSINK_CODE_BAD_FIELD, "COPY of nothing is refused");
}

static void translations(void)
{
	char text[12000], back[12000];

	for (unsigned i = 0; i < sizeof(text); i++)
		text[i] = (char)(i * 7 + i / 256);
	h_put(&h, 4000, text, sizeof(text));
	tap_ok(!copy(h_gart(4000), h_gart(50001), sizeof(text)), "an operand may cross pages");
	h_get(&h, 50001, back, sizeof(back));
	tap_ok(!memcmp(text, back, sizeof(text)), "each page is translated by itself");
	tap_ok(!copy(h_gart(4000), h_hbm(123456), sizeof(text)) &&
		       !memcmp(h.hbm + 123456, text, sizeof(text)),
	       "COPY into the HBM");
	tap_ok(h.dirty_bytes[KVSINK_SPACE_HBM] >= sizeof(text), "is told to the host");
	tap_ok(!copy(h_hbm(123456), h_gart(90000), sizeof(text)), "COPY from the HBM");
	h_get(&h, 90000, back, sizeof(back));
	tap_ok(!memcmp(text, back, sizeof(text)), "brings the bytes back");
}

static void caching(void)
{
	char one = 1, two = 2, got;
	uint32_t page = 700;

	h_put(&h, page * 4096, &one, 1);
	h_put(&h, (page + 2) * 4096, &two, 1);
	copy(h_gart(page * 4096), h_gart(0), 1);
	h_gart_set(&h, page, h_gart_bus(page + 2) | KVSINK_GART_VALID);
	h_cmd(&h, KVSINK_OP_GART_INVALIDATE)->gart_invalidate = (struct kvsink_cmd_gart_invalidate){page, 1};
	tap_ok(!h_priv(&h), "GART_INVALIDATE");
	copy(h_gart(page * 4096), h_gart(0), 1);
	h_get(&h, 0, &got, 1);
	tap_ok(got == 2, "makes the chip read the entry anew");
	h_gart_set(&h, page, 0);
	h_cmd(&h, KVSINK_OP_GART_INVALIDATE)->gart_invalidate =
		(struct kvsink_cmd_gart_invalidate){page - 3, 10};
	h_priv(&h);
	tap_ok(copy(h_gart(page * 4096), h_gart(0), 1) == KVSINK_CODE_GART_FAULT,
	       "an entry that is not valid faults");
	h_gart_set(&h, page, h_gart_bus(page) | KVSINK_GART_VALID);
	tap_ok(!copy(h_gart(page * 4096), h_gart(0), 1), "an invalid one is never cached");
	h_cmd(&h, KVSINK_OP_GART_INVALIDATE)->gart_invalidate =
		(struct kvsink_cmd_gart_invalidate){H_GART_PAGES - 1, 2};
	tap_ok(h_priv(&h) == KVSINK_CODE_BAD_FIELD, "GART_INVALIDATE beyond the table is refused");
	h_cmd(&h, KVSINK_OP_GART_INVALIDATE)->gart_invalidate = (struct kvsink_cmd_gart_invalidate){0, 1};
	tap_ok(h_do(&h) == KVSINK_CODE_TENANT, "and without privilege");
	kvsink_mmio_write(h.chip, KVSINK_REG_GART_BASE_HI, 0xff);
	tap_ok(copy(h_gart(0), h_gart(4096), 1) == KVSINK_CODE_DMA_ERROR,
	       "a table that cannot be read is a DMA error");
	h_start(&h);
	h_close(&h);
	h_open(&h, NULL);
}

static void nothing_half_done(void)
{
	char before[8192] = {0}, after[8192];

	h_gart_set(&h, 301, 0);
	h_put(&h, 302 * 4096, "x", 1);
	h_get(&h, 298 * 4096, before, sizeof(before));
	tap_ok(copy(h_gart(0), h_gart(298 * 4096), 4 * 4096) == KVSINK_CODE_GART_FAULT,
	       "the fourth page of COPY faults");
	h_get(&h, 298 * 4096, after, sizeof(after));
	tap_ok(!memcmp(before, after, sizeof(after)), "the first three were not written");
}

static void filling(void)
{
	tap_ok(!fill(h_hbm(1000), 5u << 20, 0xee), "FILL of more than the staging buffer");
	tap_ok(h.hbm[999] == 0 && h.hbm[1000] == 0xee && h.hbm[1000 + (5 << 20) - 1] == 0xee &&
		       h.hbm[1000 + (5 << 20)] == 0,
	       "fills what it says and no more");
	tap_ok(fill(h_hbm(0), 8, 256) == KVSINK_CODE_BAD_FIELD, "a byte ends at 255");
	tap_ok(fill(h_hbm(0), 0, 0) == KVSINK_CODE_BAD_FIELD, "FILL of nothing is refused");
	h_cmd(&h, KVSINK_OP_FILL)->fill = (struct kvsink_cmd_fill){h_gart(0), 8, 0, 0};
	tap_ok(h_do(&h) == KVSINK_CODE_TENANT, "FILL needs privilege");
}

int main(void)
{
	h_open(&h, NULL);
	bounds();
	translations();
	caching();
	nothing_half_done();
	filling();
	h_close(&h);
	return tap_done();
}
