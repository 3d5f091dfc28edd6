# SPDX-License-Identifier: MIT
#
# docs/registers.md against what kvsink-regdoc prints.

TESTS_HOST += tests/docs/registers.t
