# SPDX-License-Identifier: GPL-2.0-only
#
# `make driver`: kvsink.ko for kernel KREL (default: the newest one with headers here) in $(DRIVER), which is $(B)/driver.
# The sources are copied there first, so that Kbuild's droppings stay out of the tree.

KREL ?= $(shell ls -d /lib/modules/*/build 2>/dev/null | sort -V | tail -n 1 | cut -d/ -f4)
KDIR ?= /lib/modules/$(KREL)/build
DRIVER ?= $(B)/driver
DRIVER_WORK := $(abspath $(DRIVER))/kbuild
DRIVER_SOURCES := Kbuild $(wildcard driver/*.c driver/*.h driver/logic/*.c driver/logic/*.h uapi/*.h)

.PHONY: driver
driver: $(DRIVER)/kvsink.ko

$(DRIVER)/kvsink.ko: $(DRIVER_SOURCES) driver/probe.sh driver/build.mk
	@test -n "$(KREL)" || { echo "driver: no kernel headers in /lib/modules/*/build; set KREL" >&2; exit 1; }
	@rm -rf $(DRIVER_WORK)/driver/*.[ch] $(DRIVER_WORK)/driver/logic/*.[ch]
	@mkdir -p $(DRIVER_WORK)
	@cp -p --parents $(DRIVER_SOURCES) $(DRIVER_WORK)
	driver/probe.sh $(KDIR) $(DRIVER_WORK)/driver/kvsink_compat_probes.h
	$(MAKE) -C $(KDIR) M=$(DRIVER_WORK) W=1 modules
	@cp $(DRIVER_WORK)/kvsink.ko $@
