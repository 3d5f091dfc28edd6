# SPDX-License-Identifier: MIT
#
# Tests of sinkctl: cli on the host with sim:, guest on a real node. Both drive stage, which keeps a stream
# alive beside the tool's own file.

TESTS_HOST += tests/sinkctl/cli
TESTS_GUEST += tests/sinkctl/guest
TESTS_BUILD += $(B)/tests/sinkctl-stage

$(B)/obj/tests/sinkctl/%.o: EXTRA = -D_GNU_SOURCE -Iruntime/include -Itools/sinkctl \
	$(shell pkg-config --cflags $(SINKCTL_PKGS))

$(B)/tests/sinkctl-stage: $(B)/obj/tests/sinkctl/stage.o $(B)/lib/sinkctl.a $(B)/lib/libkvsink.a
	@mkdir -p $(@D)
	$(CC) $(LINK_PROG) -Wl,--wrap=kvs_register_read -o $@ $^ $(SINKCTL_LIBS)
