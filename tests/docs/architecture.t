#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Every "| n | `file` | `function` |" row of docs/architecture.md names a function that the file defines.
cd "$(dirname "$0")/../.." || exit 1
n=0
failed=0
while IFS='|' read -r _ _ file function _; do
	file=$(tr -d '` ' <<<"$file")
	function=$(tr -d '` ' <<<"$function")
	n=$((n + 1))
	if grep -qE "^[a-zA-Z].*\b$function\(" "$file" 2>/dev/null; then
		echo "ok $n - $file defines $function()"
	else
		echo "not ok $n - $file defines $function()"
		failed=1
	fi
done < <(grep -E '^\| [0-9]+ \|' docs/architecture.md)
echo "1..$n"
exit $failed
