#!/bin/sh
# SPDX-License-Identifier: MIT
#
# In a guest: through driver and device the same operations give what sim: gave on the host: every output
# bit, every outcome, every counter, modelled time of the streams included. B names the build folder.

cd "$(dirname "$0")/../.." || exit 1
B=${B:-build}
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
failed=0

compare() { # number, name, status, expected, got
	if [ "$3" -eq 0 ] && [ -s "$4" ] && diff "$4" "$5" > "$tmp/diff"; then
		echo "ok $1 - $2"
		return
	fi
	echo "not ok $1 - $2"
	cat "$tmp/error" "$tmp/diff" 2>/dev/null | head -20 | sed 's/^/# /'
	failed=1
}

echo 1..3
"$B/tests/parity" drm: > "$tmp/drm" 2> "$tmp/error"
compare 1 "drm: gives the bits, outcomes and counters that sim: gave on the host" $? "$B/tests/parity.sim" "$tmp/drm"
"$B/tests/parity" drm: > "$tmp/again" 2> "$tmp/error"
compare 2 "and gives them again" $? "$tmp/drm" "$tmp/again"
"$B/tests/parity" sim: > "$tmp/sim" 2> "$tmp/error"
compare 3 "so does sim: on the guest's processor" $? "$tmp/drm" "$tmp/sim"
exit $failed
