# SPDX-License-Identifier: MIT
#
# Tests of the chip: test_NAME.c becomes tests/silicon-NAME. `make silicon-asan` runs all of them once
# more under ASan and UBSan, objects of their own in $(B)/asan.

SILICON_TEST_NAMES := $(patsubst tests/silicon/test_%.c,%,$(sort $(wildcard tests/silicon/test_*.c)))
SILICON_TESTS := $(SILICON_TEST_NAMES:%=$(B)/tests/silicon-%)
TESTS_HOST += $(SILICON_TESTS)

$(B)/obj/tests/silicon/%.o: EXTRA = -Iqemu-device/silicon -Itests

$(SILICON_TESTS): $(B)/tests/silicon-%: $(B)/obj/tests/silicon/test_%.o $(B)/obj/tests/silicon/harness.o \
		$(SILICON_OBJS)
	@mkdir -p $(@D)
	$(CC) $(LINK_PROG) -o $@ $^ -lpthread -lm

# The independent model, and what does the same to it and to the chip.
$(B)/tests/silicon-reference: $(patsubst %.c,$(B)/obj/%.o,$(sort $(wildcard tests/silicon/reference_*.c \
	tests/silicon/lockstep*.c)))

# What both tests of replay windows compare.
$(B)/tests/silicon-window $(B)/tests/silicon-window_end: $(B)/obj/tests/silicon/window_same.o

.PHONY: silicon-tests silicon-asan
silicon-tests: $(SILICON_TESTS)

silicon-asan:
	@$(MAKE) -s B=$(B)/asan CFLAGS="-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined" \
		LINK_PROG="-fsanitize=address,undefined" silicon-tests
	@set -e; for t in $(SILICON_TEST_NAMES); do $(B)/asan/tests/silicon-$$t; done
