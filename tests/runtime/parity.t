#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The same operations give the same bits, outcomes, counters and modelled times, whatever the number of
# worker threads and rings. B names the build folder.

cd "$(dirname "$0")/../.." || exit 1
parity=${B:-build}/tests/parity
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
number=0
failed=0

same() { # name of the test, device, seed
	number=$((number + 1))
	if "$parity" "$2" "$3" > "$tmp/other" 2> "$tmp/error" && [ -s "$tmp/other" ] &&
		diff "$tmp/seed$3" "$tmp/other" > "$tmp/diff"; then
		echo "ok $number - $1"
	else
		echo "not ok $number - $1"
		cat "$tmp/error" "$tmp/diff" 2>/dev/null | head -10 | sed 's/^/# /'
		failed=1
	fi
}

echo 1..6
"$parity" sim: 1 > "$tmp/seed1"
"$parity" sim: 2 > "$tmp/seed2"
same "a second run prints the same" sim: 1
same "four threads give the same bits" sim:threads=4 1
same "sixteen threads give the same bits" sim:threads=16 1
same "another seed, three threads" sim:threads=3 2
same "one ring gives the same" sim:rings=1 1
number=6
if cmp -s "$tmp/seed1" "$tmp/seed2"; then
	echo "not ok 6 - the seed makes a difference"
	failed=1
else
	echo "ok 6 - the seed makes a difference"
fi
exit $failed
