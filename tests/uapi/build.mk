# SPDX-License-Identifier: MIT
#
# The headers of uapi/ by themselves: what compiles, and what of it may not change unnoticed (uapi/abi.txt). And the
# kernel style of uapi/ and driver/.

TESTS_HOST += tests/uapi/abi.t tests/uapi/checkpatch.t
