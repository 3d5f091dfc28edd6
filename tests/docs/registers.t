#!/bin/sh
# SPDX-License-Identifier: MIT
#
# docs/registers.md is what kvsink-regdoc prints, and holds every name of the header's tables.
# B names the build folder (default: build).

cd "$(dirname "$0")/../.." || exit 1
regdoc=${B:-build}/bin/kvsink-regdoc
printed=$(mktemp) || exit 1
trap 'rm -f "$printed"' EXIT
failed=0

result() { # status, name
	if [ "$1" -eq 0 ]; then
		echo "ok $2"
	else
		echo "not ok $2"
		failed=1
	fi
}

echo 1..2
"$regdoc" > "$printed" && diff -u docs/registers.md "$printed" > "$printed.diff"
status=$?
result $status "1 - docs/registers.md is up to date (make docs writes it)"
[ $status -eq 0 ] || head -40 "$printed.diff" | sed 's/^/# /'
rm -f "$printed.diff"

# Names from the tables' own text, independent of the compiler.
missing=
for name in $(sed -n 's/^\tX(\([A-Z][A-Z0-9_]*\), .*/\1/p' uapi/kvsink_hw.h | sort -u); do
	grep -q "\`$name\`" docs/registers.md || missing="$missing $name"
done
names=$(sed -n 's/^\tX(\([A-Z][A-Z0-9_]*\), .*/\1/p' uapi/kvsink_hw.h | sort -u | wc -l)
[ -z "$missing" ] && [ "$names" -gt 100 ]
result $? "2 - every name of the header's tables is in docs/registers.md ($names names)"
[ -z "$missing" ] || echo "# missing:$missing"
exit $failed
