# SPDX-License-Identifier: MIT
#
# Documents against the code: docs/registers.md against what kvsink-regdoc prints, docs/architecture.md against the functions.

TESTS_HOST += tests/docs/registers.t tests/docs/architecture.t
