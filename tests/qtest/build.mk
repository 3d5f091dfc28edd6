# SPDX-License-Identifier: MIT
#
# Tests of the QEMU device without a guest. They need build/qemu (build/vm setup qemu), nothing is compiled here.

TESTS_HOST += tests/qtest/run
