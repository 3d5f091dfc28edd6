#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What the driver makes of parity's operations, and its own jobs, recorded by the QEMU device and replayed on
# the host. Starts a guest. B names the build folder.

cd "$(dirname "$0")/../.." || exit 1
B=${B:-build}
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

echo 1..3
if "$B/vm" run --quiet --timeout 400 --device-prop record="$tmp/tape" -- "$B/tests/parity" drm: 1 > "$tmp/lines" 2> "$tmp/error" &&
	cmp -s "$tmp/lines" "$B/tests/parity.sim"; then
	echo "ok 1 - in a guest that is recorded the device does what it does in sim:"
else
	echo "not ok 1 - in a guest that is recorded the device does what it does in sim:"
	tail -5 "$tmp/error" | sed 's/^/# /'
fi
if "$B/bin/sinkctl" replay "$tmp/tape" > "$tmp/table" 2> "$tmp/error"; then
	echo "ok 2 - and a chip on the host does it again"
else
	echo "not ok 2 - and a chip on the host does it again"
fi
sed 's/^/# /' "$tmp/table" "$tmp/error"
printf '\377' | dd of="$tmp/tape" bs=1 seek=40000 conv=notrunc 2> /dev/null
if ! "$B/bin/sinkctl" replay "$tmp/tape" > /dev/null 2> "$tmp/error" && [ "$(wc -l < "$tmp/error")" -eq 1 ]; then
	echo "ok 3 - with another byte in the recording it does not"
else
	echo "not ok 3 - with another byte in the recording it does not"
fi
sed 's/^/# /' "$tmp/error"
