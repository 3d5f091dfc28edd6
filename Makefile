# SPDX-License-Identifier: MIT
#
# kvsink: what people type. Everything that is built lies in build/ (or wherever B says).
#
#   make            libraries and programs, with the compiler and libraries of this machine
#   make demo       set-up, then a real model decodes through the device in a guest
#   make test       set-up, then every test; last line "N passed, N failed, N skipped"
#   make bench      set-up, then every placement policy on recordings of the real model
#   make test-mutants, make check-style, make docs, make abi, make install, make modules_install, make clean
#
# Each room adds its own targets in a build.mk beside its sources. Variables that they use and extend:
#   B            build folder             PROGRAMS     programs for $(B)/bin
#   CFLAGS_ALL   flags for all C         TESTS_HOST   TAP programs that run on the host
#   LINK_PROG    flags that link a program (in the hermetic build: the root's loader and libraries)
#   TESTS_GUEST  TAP programs that run in the guest, device and driver present
#   TESTS_VM     TAP programs that run on the host and start guests themselves
#   TESTS_BUILD  what must be built before any of the tests runs

B ?= build/native
CC ?= gcc
CFLAGS ?= -O2 -g
CFLAGS_ALL = -std=gnu11 -Wall -Wextra -Werror -Wmissing-prototypes -Wstrict-prototypes -fno-common \
	-ffp-contract=off -Iuapi -MMD -MP $(CFLAGS)
LINK_PROG ?=

PROGRAMS :=
TESTS_HOST :=
TESTS_GUEST :=
TESTS_VM :=
TESTS_BUILD :=

.DELETE_ON_ERROR:
.PHONY: all
all: programs

# One rule for every object: build/obj/<room>/<file>.o. A room sets flags of its own with
# target-specific EXTRA, for example: $(B)/obj/tools/sinkctl/%.o: EXTRA = ...
$(B)/obj/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC  $<"
	$(if $(V),,@)$(CC) $(CFLAGS_ALL) $(EXTRA) -c -o $@ $<

include $(sort $(wildcard qemu-device/silicon/build.mk driver/build.mk driver/logic/build.mk runtime/build.mk \
	tools/*/build.mk tests/*/build.mk))
include tools/make/commands.mk tools/make/install.mk

.PHONY: programs
programs: $(PROGRAMS)

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)
