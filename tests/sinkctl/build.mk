# SPDX-License-Identifier: MIT
#
# Tests of sinkctl: cli on the host with sim:, guest on a real node, document what the tutorial's test notices. Both drive stage, which keeps a stream
# alive beside the tool's own file.

TESTS_HOST += tests/sinkctl/cli tests/sinkctl/document
TESTS_GUEST += tests/sinkctl/guest
TESTS_BUILD += $(B)/tests/sinkctl-stage

$(B)/obj/tests/sinkctl/%.o: EXTRA = -D_GNU_SOURCE -Iruntime/include -Itools/sinkctl \
	$(shell pkg-config --cflags $(SINKCTL_PKGS))

$(B)/tests/sinkctl-stage: $(B)/obj/tests/sinkctl/stage.o $(B)/lib/sinkctl.a $(B)/lib/libkvsink.a
	@mkdir -p $(@D)
	$(CC) $(LINK_PROG) -Wl,--wrap=kvs_register_read -o $@ $^ $(SINKCTL_LIBS)

# The tutorial runs the real model: its prompt is prefilled on the host, again for each build of the tool.
ifneq ($(LLAMA),)
TESTS_GUEST += tests/sinkctl/tutorial
TESTS_BUILD += $(B)/tests/tutorial.state
endif

$(B)/tests/tutorial.state: $(B)/bin/kvsink-llm data/prompts/pep-0659.txt | $(LLM_SMOL)
	@mkdir -p $(@D)
	$(B)/bin/kvsink-llm prefill --model $(LLM_SMOL) --prompt data/prompts/pep-0659.txt --tokens 512 --threads 1 \
		--device sim: --state $@ --json $@.json

# cli under a name below $(B), which is what tests/mutants/run builds and runs.
$(B)/tests/sinkctl-cli: $(B)/bin/sinkctl $(B)/tests/sinkctl-stage tests/sinkctl/cli
	@printf '#!/bin/sh\nexec $(CURDIR)/tests/sinkctl/cli "$$@"\n' > $@
	@chmod +x $@
