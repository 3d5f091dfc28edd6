# SPDX-License-Identifier: MIT
#
# The headers of uapi/ by themselves: what compiles, and what of it may not change unnoticed (uapi/abi.txt).

TESTS_HOST += tests/uapi/abi.t
