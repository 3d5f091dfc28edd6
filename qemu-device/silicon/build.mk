# SPDX-License-Identifier: MIT
#
# The chip: every .c file of this folder, as objects for whoever hosts it (sim:, tests, shell).

SILICON_SRCS := $(sort $(wildcard qemu-device/silicon/*.c))
SILICON_OBJS = $(SILICON_SRCS:%.c=$(B)/obj/%.o)

$(B)/obj/qemu-device/silicon/%.o: EXTRA = -Iqemu-device/silicon -fPIC -fvisibility=hidden
