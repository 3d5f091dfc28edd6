# SPDX-License-Identifier: MIT
#
# kvsink-regdoc prints docs/registers.md.

PROGRAMS += $(B)/bin/kvsink-regdoc

$(B)/bin/kvsink-regdoc: $(B)/obj/tools/regdoc/regdoc.o
	@mkdir -p $(@D)
	$(CC) $(LINK_PROG) -o $@ $^
