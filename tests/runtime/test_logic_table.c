// SPDX-License-Identifier: MIT
/*
 * driver/logic/table.c: errno of a result code, who may read which register, sizes of records, and the check
 * of an array header.
 */
#include "logic.h"
#include "tap.h"

static void test_registers(void)
{
	bool wide, ok = true;

	tap_ok(kvsink_logic_reg_access(KVSINK_REG_ID, 4, &wide) == 0 && !wide, "registers: ID is public");
	tap_ok(kvsink_logic_reg_access(KVSINK_REG_ERR_CODE, 4, &wide) == 1 && !wide,
	       "registers: ERR_CODE is for administrators");
	tap_ok(kvsink_logic_reg_access(KVSINK_REG_GART_BASE_LO, 4, &wide) == -ENOENT,
	       "registers: GART_BASE is for nobody");
	tap_ok(kvsink_logic_reg_access(0x0b8, 4, &wide) == -ENOENT &&
		       kvsink_logic_reg_access(2, 4, &wide) == -ENOENT &&
		       kvsink_logic_reg_access(0xfffffffc, 4, &wide) == -ENOENT,
	       "registers: holes, odd and far offsets do not exist");
	tap_ok(kvsink_logic_reg_access(KVSINK_RING_BASE + 3 * KVSINK_RING_STRIDE + KVSINK_RING_HEAD, 4,
				       &wide) == 1 &&
		       kvsink_logic_reg_access(KVSINK_RING_BASE + 4 * KVSINK_RING_STRIDE + KVSINK_RING_HEAD,
					       4, &wide) == -ENOENT,
	       "registers: rings that exist");
	tap_ok(kvsink_logic_reg_access(KVSINK_RING_BASE + KVSINK_RING_DOORBELL, 4, &wide) == -ENOENT,
	       "registers: the doorbell is for nobody");
	for (uint32_t i = 0; i < KVSINK_COUNTER_COUNT; i++)
		ok &= kvsink_logic_reg_access(KVSINK_COUNTER_BASE + 8 * i, 4, &wide) == 1 && wide;
	tap_ok(ok, "registers: counters are wide and for administrators");
	tap_ok(kvsink_logic_reg_access(KVSINK_COUNTER_BASE + 4, 4, &wide) == -ENOENT &&
		       kvsink_logic_reg_access(KVSINK_COUNTER_BASE + 8 * KVSINK_COUNTER_COUNT, 4, &wide) ==
			       -ENOENT,
	       "registers: no high halves, no counter behind the last");
}

static void test_tables(void)
{
	struct drm_kvsink_array array = {16, 3, 0};

	tap_ok(!kvsink_logic_errno(KVSINK_CODE_OK) && kvsink_logic_errno(KVSINK_CODE_BUDGET) == -ENOSPC &&
		       kvsink_logic_errno(KVSINK_CODE_SEQUENCE) == -EILSEQ &&
		       kvsink_logic_errno(KVSINK_CODE_ABORTED) == -ECANCELED,
	       "errno of result codes");
	tap_ok(kvsink_logic_errno(KVSINK_CODE_COUNT) == -EIO && kvsink_logic_errno(~0u) == -EIO,
	       "unknown result codes are EIO");
	tap_ok(kvsink_logic_record_bytes(DRM_KVSINK_QUERY_TAGS) == sizeof(struct kvsink_tag_rec) &&
		       !kvsink_logic_record_bytes(0) && !kvsink_logic_record_bytes(11),
	       "record sizes");
	tap_ok(!kvsink_logic_array(&array, 16, 1, 3) && kvsink_logic_array(&array, 16, 4, 9) == -EINVAL &&
		       kvsink_logic_array(&array, 16, 0, 2) == -E2BIG &&
		       kvsink_logic_array(&array, 17, 1, 3) == -EINVAL,
	       "array headers: count and stride");
	array = (struct drm_kvsink_array){0};
	tap_ok(!kvsink_logic_array(&array, 16, 0, 3) && kvsink_logic_array(&array, 16, 1, 3) == -EINVAL,
	       "array headers: an empty array needs no stride");
}

int main(void)
{
	test_registers();
	test_tables();
	return tap_done();
}
