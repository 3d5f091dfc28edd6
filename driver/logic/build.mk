# SPDX-License-Identifier: MIT
# Validation and translation shared with the kernel driver: objects for user space.

LOGIC_OBJS := $(patsubst %.c,$(B)/obj/%.o,$(wildcard driver/logic/*.c))

$(LOGIC_OBJS): EXTRA = -fPIC -fvisibility=hidden $(shell pkg-config --cflags libdrm)
