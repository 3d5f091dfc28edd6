# SPDX-License-Identifier: MIT
#
# demo, test and what they stand on: the hermetic build. It runs this same Makefile inside the Debian root
# that build/vm prepares, with B=build; programs are linked to the root's loader and libraries, so that
# build/bin/* runs on this host as it is, and unchanged in the guest.

VM := build/vm
RESULTS := build/test-results

.PHONY: setup hermetic demo test bench test-mutants check-style docs abi clean tests list-tests

$(VM):
	@mkdir -p build
	@ln -sfn ../tools/vm/vm $@

setup: $(VM)
	@$(VM) setup all

# What the hermetic build makes; only ever called inside the root, by `make hermetic`.
.PHONY: hermetic-inside
hermetic-inside: programs tests driver

tests: $(filter $(B)/%,$(TESTS_HOST) $(TESTS_GUEST) $(TESTS_VM)) $(TESTS_BUILD)

hermetic: setup
	@$(VM) root -- $(MAKE) $(if $(V),V=$(V),-s) --no-print-directory -j$$(nproc) B=build hermetic-inside \
		LINK_PROG="$$($(VM) path ldflags)" LLAMA="$$($(VM) path llama)" GGML="$$($(VM) path ggml)" \
		KSELFTEST="$$($(VM) path kselftest)" KREL="$$($(VM) path kernelrelease)"
	@$(VM) setup qemu

demo: hermetic
	@tools/demo/demo

# Inside the root: what needs no guest. On the host: what starts guests itself. In one guest: the rest.
# Names are expanded for B=build whatever B is here.
HERMETIC_TESTS = $(shell $(MAKE) -s --no-print-directory B=build LLAMA=- list-tests LIST=$(1))
list-tests:
	@echo $($(LIST))

# KERNELS=all: in guests with the newest kernel in Debian's backports, too. Programs are the same; the driver is built
# for each kernel.
KERNELS ?= stock
ifeq ($(filter stock all,$(KERNELS)),)
$(error KERNELS=$(KERNELS): allowed are stock and all)
endif

.PHONY: driver-backports test-backports
driver-backports: export KVSINK_KERNEL = backports
driver-backports: $(VM)
	@$(VM) setup root kernel
	@$(VM) root -- $(MAKE) -s --no-print-directory B=build DRIVER=build/driver-backports KREL="$$($(VM) path kernelrelease)" driver

test-backports: export KVSINK_KERNEL = backports
test-backports: driver-backports
	@echo "== tests in a guest, kernel $$($(VM) path kernelrelease)"
	@$(VM) run --timeout 1500 -- tests/run --json $(RESULTS)/guest-backports.json $(call HERMETIC_TESTS,TESTS_GUEST); \
		[ $$? -lt 124 ] || rm -f $(RESULTS)/guest-backports.json
	@echo "== tests that start guests, kernel $$($(VM) path kernelrelease)"
	-@tests/run --json $(RESULTS)/vm-backports.json --seconds 1200 $(call HERMETIC_TESTS,TESTS_VM)

test: hermetic
	@rm -rf $(RESULTS) && mkdir -p $(RESULTS)
	@echo "== tests without a guest"
	-@$(VM) root -- tests/run --json $(RESULTS)/host.json $(call HERMETIC_TESTS,TESTS_HOST)
	@echo "== tests in a guest"
	@# 124 and above: the guest died, hung or its kernel complained; then its results do not count
	@$(VM) run --timeout 1500 -- tests/run --json $(RESULTS)/guest.json $(call HERMETIC_TESTS,TESTS_GUEST); \
		[ $$? -lt 124 ] || rm -f $(RESULTS)/guest.json
	@echo "== tests that start guests"
	-@tests/run --json $(RESULTS)/vm.json --seconds 1200 $(call HERMETIC_TESTS,TESTS_VM)
ifeq ($(KERNELS),all)
	-@$(MAKE) -s --no-print-directory test-backports
endif
	@tests/run --total $(RESULTS)/host.json $(RESULTS)/guest.json $(RESULTS)/vm.json \
		$(if $(filter all,$(KERNELS)),$(RESULTS)/guest-backports.json $(RESULTS)/vm-backports.json)

bench: hermetic
	@build/bin/kvsink-bench micro
	@tools/kvsink-bench/policies
	@tools/kvsink-bench/quality
	@build/bin/kvsink-bench serve --model build/model/SmolLM2-135M-Instruct.F32.gguf --requests data/mooncake/conversation-300.jsonl \
		--prompt data/prompts/pep-0659.txt --device sim:sram=4M,hbm=48M --format fp16 --attend canonical \
		--count 20 --max-prompt 128 --max-output 48 --step-ms 200 --json=build/bench/serve.json

test-mutants: hermetic
	@tests/mutants/run

check-style:
	@tools/make/check-style

docs: setup
	@$(VM) root -- $(MAKE) -s B=build build/bin/kvsink-regdoc
	@build/bin/kvsink-regdoc > docs/registers.md

# The interface changes on purpose: record it. tests/uapi/abi.t compares.
abi: setup
	@$(VM) root -- tools/make/abi > build/abi.txt
	@mv build/abi.txt uapi/abi.txt

clean:
	rm -rf build
