#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Every "| n | `file` | `function` |" row of docs/architecture.md, and every `file` with a `function` behind it in
# prose, names a function that the file defines.
cd "$(dirname "$0")/../.." || exit 1
n=0
failed=0
# "file function" a line: rows of the tables, then pairs in prose, which may stand in two lines
pairs() {
	grep -E '^\| [0-9]+ \|' docs/architecture.md | awk -F'|' '{ print $3, $4 }'
	grep -vE '^\|' docs/architecture.md | tr '\n' ' ' | grep -oE '`[a-z][^` ]*/[^` ]+\.c`,? +\(?`[a-z_]+`'
}

while read -r file function; do
	n=$((n + 1))
	if grep -qE "^[a-zA-Z].*\b$function\(" "$file" 2>/dev/null; then
		echo "ok $n - $file defines $function()"
	else
		echo "not ok $n - $file defines $function()"
		failed=1
	fi
done < <(pairs | tr -d '`,(')
[ "$n" -gt 35 ] || { echo "# only $n pairs were found"; failed=1; }
echo "1..$n"
exit $failed
