#!/bin/sh
# SPDX-License-Identifier: MIT
#
# In a guest: what the driver refuses is what sim: refuses on the host. B names the build folder.

cd "$(dirname "$0")/../.." || exit 1
exec "${B:-build}/tests/runtime-reserved" drm:
