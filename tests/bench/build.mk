# SPDX-License-Identifier: MIT
#
# Tests of kvsink-bench: recordings of the real model on the host, of a generated one in the guest.

ifneq ($(LLAMA),)
TESTS_HOST += tests/bench/host tests/bench/micro tests/bench/share
TESTS_GUEST += tests/bench/guest
TESTS_BUILD += $(LLM_TINY) $(LLM_SMOL)
endif
