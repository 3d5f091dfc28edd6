#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The library's surface: exported symbols are those of runtime/libkvsink.symbols, each is declared and
# documented in the header, and the headers compile alone as C11 and C++. B names the build folder.

cd "$(dirname "$0")/../.." || exit 1
B=${B:-build}
lib=$B/lib/libkvsink.so
list=runtime/libkvsink.symbols
headers="runtime/include/kvsink.h runtime/include/kvsink_policy.h runtime/include/kvsink_replay.h"
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
number=0
failed=0

result() { # status, name, file with diagnostics
	number=$((number + 1))
	if [ "$1" -eq 0 ]; then
		echo "ok $number - $2"
	else
		echo "not ok $number - $2"
		failed=1
		[ -s "$3" ] && head -20 "$3" | sed 's/^/# /'
	fi
}

echo 1..7
nm -D --defined-only "$lib" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | LC_ALL=C sort > "$tmp/exported"
diff "$list" "$tmp/exported" > "$tmp/out" 2>&1
result $? "exported symbols are those of $list" "$tmp/out"

readelf -d "$lib" > "$tmp/out" 2>&1
grep -q 'SONAME.*\[libkvsink\.so\.0\]' "$tmp/out"
result $? "the soname is libkvsink.so.0" "$tmp/out"

sed -n 's/^\t\(kvs_[a-z_]*\);$/\1/p' runtime/libkvsink.map | LC_ALL=C sort | diff "$list" - > "$tmp/out" 2>&1
result $? "the symbol map lists the same" "$tmp/out"

: > "$tmp/out"
while read -r name; do
	# shellcheck disable=SC2086
	grep -q "^ \* $name - " $headers || echo "$name" >> "$tmp/out"
done < "$list"
[ -s "$list" ] && [ ! -s "$tmp/out" ]
result $? "every function has its comment in a header" "$tmp/out"

flags="-Iuapi -Iruntime/include $(pkg-config --cflags libdrm)"
printf '#include "kvsink_policy.h"\n#include "kvsink_replay.h"\n' > "$tmp/alone.c"
cp "$tmp/alone.c" "$tmp/alone.cc"
# shellcheck disable=SC2086
${CC:-gcc} -std=c11 -Wall -Wextra -Werror $flags -c -o /dev/null "$tmp/alone.c" > "$tmp/out" 2>&1
result $? "the headers compile alone as C11" "$tmp/out"
# shellcheck disable=SC2086
${CXX:-g++} -std=c++11 -Wall -Wextra -Werror $flags -c -o /dev/null "$tmp/alone.cc" > "$tmp/out" 2>&1
result $? "the headers compile alone as C++11" "$tmp/out"

# Every function is called by some test of this folder.
: > "$tmp/out"
while read -r name; do
	grep -q "\<$name(" tests/runtime/*.c || echo "$name" >> "$tmp/out"
done < "$list"
[ ! -s "$tmp/out" ]
result $? "every function is called by a test" "$tmp/out"
exit $failed
