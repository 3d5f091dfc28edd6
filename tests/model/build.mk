# SPDX-License-Identifier: MIT
#
# Tests of kvsink-llm. Tiny models are generated with gguf-py; they need the hermetic build, as the tool does.

LLM_KINDS := llama other granite mixture window alibi sinks mla wide mamba
LLM_TINY := $(LLM_KINDS:%=$(B)/tests/model/%.gguf)
LLM_SMOL := $(B)/model/SmolLM2-135M-Instruct.F32.gguf

# Needs no libllama.
TESTS_HOST += $(B)/tests/model-draft

$(B)/obj/tests/model/test_draft.o: EXTRA = -D_GNU_SOURCE -Itests -Itools/kvsink-llm

$(B)/tests/model-draft: $(B)/obj/tests/model/test_draft.o $(B)/obj/tools/kvsink-llm/draft.o
	@mkdir -p $(@D)
	$(CC) $(LINK_PROG) -o $@ $^

# Serving without a model: what of it needs no libllama.
SERVE_OBJS := $(patsubst %,$(B)/obj/tools/kvsink-llm/%.o,attention difference hash serve_attention serve_prefix serve_share \
	serve_schedule serve_stream serve_trace)
TESTS_HOST += $(B)/tests/model-serve

$(B)/obj/tests/model/test_serve.o: EXTRA = -Itests -Itools/kvsink-llm $(LLM_FLAGS)

$(B)/tests/model-serve: $(B)/obj/tests/model/test_serve.o $(SERVE_OBJS) $(B)/lib/libkvsink.a
	@mkdir -p $(@D)
	$(CC) $(LINK_PROG) -o $@ $^ $(shell pkg-config --libs $(LLM_PKGS)) -lpthread -lm

ifneq ($(LLAMA),)
TESTS_HOST += tests/model/host tests/model/architectures tests/model/smollm tests/model/quality tests/model/serve tests/model/speculate
TESTS_GUEST += tests/model/guest tests/model/killed
TESTS_BUILD += $(B)/tests/kvsink-llm-nohook $(LLM_TINY) $(LLM_SMOL)
endif

$(LLM_TINY): $(B)/tests/model/%.gguf: tests/model/tiny.py
	@mkdir -p $(@D)
	PYTHONPATH=$$(tools/vm/vm path gguf-py) python3 tests/model/tiny.py $* $@

# Binary32 weights: see tools/kvsink-llm/convert.c. Made once, whatever happens to the program.
$(LLM_SMOL): | $(B)/bin/kvsink-llm
	@mkdir -p $(@D)
	$(B)/bin/kvsink-llm convert $$(tools/vm/vm path model) $@

# The same program with the hook taken out: it must fail its own poison test.
$(B)/obj/tests/model/nohook.o: tools/kvsink-llm/hook.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(LLM_FLAGS) -DKVSINK_TEST_NO_HOOK -c -o $@ $<

$(B)/tests/kvsink-llm-nohook: $(filter-out %/hook.o,$(patsubst %.c,$(B)/obj/%.o,$(sort $(wildcard tools/kvsink-llm/*.c)))) \
		$(B)/obj/tests/model/nohook.o $(B)/lib/libkvsink.a
	@mkdir -p $(@D)
	$(CXX) $(LINK_PROG) -o $@ $^ $(LLM_LIBS)
