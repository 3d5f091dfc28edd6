# SPDX-License-Identifier: MIT
#
# sinkctl. All but main.c is an archive that the tests link, too.

SINKCTL_OBJS := $(patsubst %.c,$(B)/obj/%.o,$(filter-out %/main.c,$(sort $(wildcard tools/sinkctl/*.c))))
SINKCTL_PKGS := smartcols json-c libdrm
SINKCTL_LIBS = $(shell pkg-config --libs $(SINKCTL_PKGS)) -lm -lpthread

$(B)/obj/tools/sinkctl/%.o: EXTRA = -D_GNU_SOURCE -Iruntime/include $(shell pkg-config --cflags $(SINKCTL_PKGS))

PROGRAMS += $(B)/bin/sinkctl

$(B)/lib/sinkctl.a: $(SINKCTL_OBJS)
	@mkdir -p $(@D)
	@rm -f $@
	$(AR) rcs $@ $^

$(B)/bin/sinkctl: $(B)/obj/tools/sinkctl/main.o $(B)/lib/sinkctl.a $(B)/lib/libkvsink.a
	@mkdir -p $(@D)
	$(CC) $(LINK_PROG) -o $@ $^ $(SINKCTL_LIBS)
