#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# tests/run counts what programs say, and turns whatever goes wrong with them into a failure.
run=$(cd "$(dirname "$0")/.." && pwd)/run
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
n=0
failed=0

# $1 what, $2 last line that is expected, $3 exit status that is expected, $4 body of the program
gives() {
	printf '#!/bin/sh\n%s\n' "$4" > "$scratch/program"
	chmod +x "$scratch/program"
	out=$("$run" --seconds 2 "$scratch/program")
	status=$?
	n=$((n + 1))
	if [ "$(tail -n 1 <<< "$out")" = "$2" ] && [ $status = "$3" ]; then
		echo "ok $n - $1"
	else
		echo "not ok $n - $1"
		echo "# expected $2 and status $3, saw status $status and:"
		sed 's/^/# /' <<< "$out"
		failed=1
	fi
}

gives "passes are counted" "2 passed, 0 failed, 0 skipped" 0 'echo 1..2; echo ok 1 - a; echo ok 2 - b'
gives "a failure is counted" "1 passed, 1 failed, 0 skipped" 1 'echo 1..2; echo ok 1; echo not ok 2; exit 1'
gives "a skip that is listed is a skip" "1 passed, 0 failed, 1 skipped" 0 \
	'echo 1..2; echo ok 1; echo "ok 2 - SIMD: x # SKIP cpu lacks x"'
gives "a skip that is not listed is a failure" "1 passed, 1 failed, 0 skipped" 1 \
	'echo 1..2; echo ok 1; echo "ok 2 - x # SKIP no reason"'
gives "a short plan is a failure" "1 passed, 1 failed, 0 skipped" 1 'echo 1..2; echo ok 1'
gives "no plan is a failure" "1 passed, 1 failed, 0 skipped" 1 'echo ok 1'
gives "an exit status without a failed test is a failure" "1 passed, 1 failed, 0 skipped" 1 'echo 1..1; echo ok 1; exit 3'
gives "a program that dies is a failure" "1 passed, 1 failed, 0 skipped" 1 'echo 1..1; echo ok 1; kill -SEGV $$'
gives "a program that hangs is a failure" "1 passed, 1 failed, 0 skipped" 1 'echo 1..1; echo ok 1; sleep 60'
gives "nothing at all is a failure" "0 passed, 1 failed, 0 skipped" 1 ''
gives "a plan of nothing is a failure" "0 passed, 1 failed, 0 skipped" 1 'echo "1..0 # SKIP why"'
gives "a whole skip by exit code is a failure unless it is listed" "0 passed, 1 failed, 0 skipped" 1 'exit 77'

n=$((n + 1))
if [ "$("$run" --total "$scratch/missing.json" | tail -n 1)" = "0 passed, 1 failed, 0 skipped" ]; then
	echo "ok $n - a run that left no results is a failure"
else
	echo "not ok $n - a run that left no results is a failure"
	failed=1
fi
echo "1..$n"
exit $failed
