# SPDX-License-Identifier: MIT
#
# libkvsink, static and shared, in $(B)/lib. Who uses it links $(LIBKVSINK) (the static one) and adds
# $(LIBKVSINK_CFLAGS) and $(LIBKVSINK_LIBS).

LIBKVSINK_SO_VERSION := 0
LIBKVSINK := $(B)/lib/libkvsink.a
LIBKVSINK_SO := $(B)/lib/libkvsink.so
LIBKVSINK_CFLAGS = -Iruntime/include $(shell pkg-config --cflags libdrm)
LIBKVSINK_LIBS := -lpthread -lm

RUNTIME_OBJS := $(patsubst %.c,$(B)/obj/%.o,$(wildcard runtime/src/*.c runtime/src/policy/*.c))

$(B)/obj/runtime/src/%.o: EXTRA = -D_GNU_SOURCE -fPIC -fvisibility=hidden -fno-math-errno -Iqemu-device/silicon \
	-Idriver/logic $(LIBKVSINK_CFLAGS)

$(LIBKVSINK): $(RUNTIME_OBJS) $(SILICON_OBJS) $(LOGIC_OBJS)
	@mkdir -p $(@D)
	rm -f $@
	$(AR) rcs $@ $^

$(LIBKVSINK_SO).$(LIBKVSINK_SO_VERSION): $(RUNTIME_OBJS) $(SILICON_OBJS) $(LOGIC_OBJS) runtime/libkvsink.map
	@mkdir -p $(@D)
	$(CC) -shared -Wl,-soname,libkvsink.so.$(LIBKVSINK_SO_VERSION) -Wl,--version-script=runtime/libkvsink.map \
		-Wl,-z,defs -o $@ $(filter %.o,$^) $(LIBKVSINK_LIBS)

$(LIBKVSINK_SO): $(LIBKVSINK_SO).$(LIBKVSINK_SO_VERSION)
	ln -sf $(<F) $@

.PHONY: runtime
runtime: $(LIBKVSINK) $(LIBKVSINK_SO)
programs: runtime
