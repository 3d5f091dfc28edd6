# SPDX-License-Identifier: MIT
#
# kvsink-llm. It needs the libllama that set-up builds for the Debian root, so it belongs to the hermetic
# build, which names it in LLAMA; by hand: make LLAMA=$(build/vm path llama) build/bin/kvsink-llm

LLM_OBJS := $(patsubst %.c,$(B)/obj/%.o,$(sort $(wildcard tools/kvsink-llm/*.c)))
LLM_PKGS := json-c libdrm
LLM_LIBS = -L$(LLAMA)/lib -lllama -lggml -lggml-cpu -lggml-base $(shell pkg-config --libs $(LLM_PKGS)) \
	-static-libstdc++ -static-libgcc -lpthread -ldl -lm
LLM_FLAGS = -D_GNU_SOURCE -Iruntime/include $(shell pkg-config --cflags $(LLM_PKGS)) -isystem $(LLAMA)/include

$(B)/obj/tools/kvsink-llm/%.o: EXTRA = $(LLM_FLAGS)
# draft.c stands alone; its test is built without libllama, too.
$(B)/obj/tools/kvsink-llm/draft.o: EXTRA =

ifneq ($(LLAMA),)
PROGRAMS += $(B)/bin/kvsink-llm
endif

# libllama is C++ inside; only its C interface is used.
$(B)/bin/kvsink-llm: $(LLM_OBJS) $(B)/lib/libkvsink.a
	@mkdir -p $(@D)
	$(CXX) $(LINK_PROG) -o $@ $^ $(LLM_LIBS)
