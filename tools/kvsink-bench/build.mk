# SPDX-License-Identifier: MIT
#
# kvsink-bench reads the state files of kvsink-llm with its reader, whose header names a type of libllama: it
# belongs to the hermetic build, too. Nothing of libllama is linked.

BENCH_OBJS := $(patsubst %.c,$(B)/obj/%.o,$(sort $(wildcard tools/kvsink-bench/*.c)))
BENCH_READER := $(B)/obj/tools/kvsink-llm/state.o $(B)/obj/tools/kvsink-llm/hash.o $(B)/obj/tools/kvsink-llm/json.o
BENCH_PKGS := smartcols json-c libdrm

$(B)/obj/tools/kvsink-bench/%.o: EXTRA = -D_GNU_SOURCE -Iruntime/include -Itools/kvsink-llm -Itools/kvsink-bench/flash \
	$(shell pkg-config --cflags $(BENCH_PKGS)) -isystem $(LLAMA)/include

ifneq ($(LLAMA),)
PROGRAMS += $(B)/bin/kvsink-bench $(B)/lib/kvsink-bench-flash.so
endif

# The comparator of micro, loaded when it is asked for: its ggml is built for AVX2 and links nothing of ours.
$(B)/obj/tools/kvsink-bench/flash/%.o: EXTRA = -D_GNU_SOURCE -fPIC -fvisibility=hidden -isystem $(GGML)/include

$(B)/lib/kvsink-bench-flash.so: $(B)/obj/tools/kvsink-bench/flash/flash.o
	@mkdir -p $(@D)
	$(CC) -shared $(LINK_PROG) -Wl,-z,defs -Wl,--exclude-libs,ALL -o $@ $^ $(GGML)/lib/libggml.a \
		$(GGML)/lib/libggml-cpu.a $(GGML)/lib/libggml-base.a -lstdc++ -lpthread -ldl -lm

$(B)/bin/kvsink-bench: $(BENCH_OBJS) $(BENCH_READER) $(B)/lib/libkvsink.a
	@mkdir -p $(@D)
	$(CC) $(LINK_PROG) -o $@ $^ $(shell pkg-config --libs $(BENCH_PKGS)) -lm -lpthread -ldl
