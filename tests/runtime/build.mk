# SPDX-License-Identifier: MIT
#
# Tests of driver/logic (logic_*, one for each of its files) and of the runtime on sim: - test_NAME.c becomes
# tests/runtime-NAME; logic_case.h, place.h, rig and model are shared. parity is no test by itself: what it
# prints through sim: natively, as the build does it, is what it must print through drm: in a guest.

RUNTIME_TEST_NAMES := $(patsubst tests/runtime/test_%.c,%,$(sort $(wildcard tests/runtime/test_*.c)))
RUNTIME_TESTS := $(RUNTIME_TEST_NAMES:%=$(B)/tests/runtime-%)
TESTS_HOST += $(RUNTIME_TESTS) tests/runtime/symbols.t tests/runtime/parity.t
TESTS_GUEST += tests/runtime/parity-drm.t tests/runtime/reserved-drm.t
TESTS_VM += tests/runtime/replay-drm.t
TESTS_BUILD += $(B)/tests/parity $(B)/tests/parity.sim $(LIBKVSINK_SO)

# Tests may look behind the library's surface: they link the static one.
$(B)/obj/tests/runtime/%.o: EXTRA = -D_GNU_SOURCE -Itests -Iruntime/src -Idriver/logic -Iqemu-device/silicon \
	$(LIBKVSINK_CFLAGS)

$(B)/obj/examples/%.o: EXTRA = -D_GNU_SOURCE -Iruntime/src $(LIBKVSINK_CFLAGS)

# Those that decode with the model of model.h; policy also runs the example.
$(B)/tests/runtime-policy $(B)/tests/runtime-policy_prefix $(B)/tests/runtime-options $(B)/tests/runtime-messages $(B)/tests/runtime-configure: $(B)/obj/tests/runtime/model.o
$(B)/tests/runtime-policy: $(B)/obj/examples/policy-stride.o

$(RUNTIME_TESTS): $(B)/tests/runtime-%: $(B)/obj/tests/runtime/test_%.o $(B)/obj/tests/runtime/rig.o $(LIBKVSINK)
	@mkdir -p $(@D)
	$(CC) $(LINK_PROG) -o $@ $^ $(LIBKVSINK_LIBS)

$(B)/tests/parity: $(B)/obj/tests/runtime/parity.o $(LIBKVSINK)
	@mkdir -p $(@D)
	$(CC) $(LINK_PROG) -o $@ $^ $(LIBKVSINK_LIBS)

$(B)/tests/parity.sim: $(B)/tests/parity
	$(abspath $<) sim: > $@.new && mv $@.new $@

.PHONY: runtime-tests
runtime-tests: $(RUNTIME_TESTS) $(B)/tests/parity.sim runtime
