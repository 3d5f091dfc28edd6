# SPDX-License-Identifier: MIT
#
# The guest runner tests itself with guests that have no device.

TESTS_VM += tools/vm/selftest
