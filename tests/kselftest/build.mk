# SPDX-License-Identifier: MIT
#
# Tests of the driver, run in the guest. KSELFTEST is the folder of kselftest_harness.h, from the kernel's
# own sources; without it (a native build) there is nothing to build here.

KSELFTEST_NAMES := drv_device drv_buffer drv_stream drv_submit drv_resident drv_contract drv_swap drv_prefix drv_window drv_kill drv_tenant drv_sharing drv_lifetime drv_hang
KSELFTEST_PROGRAMS := $(KSELFTEST_NAMES:%=$(B)/tests/kselftest/%)

$(B)/obj/tests/kselftest/%.o: EXTRA = -D_GNU_SOURCE -Wno-missing-prototypes -isystem $(KSELFTEST) $(shell pkg-config --cflags libdrm)

$(KSELFTEST_PROGRAMS): $(B)/tests/kselftest/%: $(B)/obj/tests/kselftest/%.o $(B)/obj/tests/kselftest/kvt.o
	@mkdir -p $(@D)
	$(CC) $(LINK_PROG) -o $@ $^ -lm

# drv_hang wants a device that hangs: it starts a guest of its own through the script hang.
ifneq ($(KSELFTEST),)
TESTS_BUILD += $(KSELFTEST_PROGRAMS)
endif
TESTS_GUEST += $(filter-out %/drv_hang,$(KSELFTEST_PROGRAMS))
TESTS_VM += tests/kselftest/hang
