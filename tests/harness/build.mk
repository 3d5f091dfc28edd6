# SPDX-License-Identifier: MIT
#
# The test runner, tested.

TESTS_HOST += tests/harness/run.t
