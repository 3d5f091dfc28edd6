# SPDX-License-Identifier: MIT
#
# kselftest's headers and checkpatch, from Debian's linux-source package. The package itself stays in the downloads:
# the debug kernel is built from it.

KSELFTEST_RECIPE=1
KSELFTEST_FILES="
	tools/testing/selftests/kselftest.h
	tools/testing/selftests/kselftest_harness.h
	scripts/checkpatch.pl
	scripts/spelling.txt
	scripts/const_structs.checkpatch
"

kselftest_dir() { { root_dir; printf '%s\n' "$KSELFTEST_RECIPE" $KSELFTEST_FILES; } | artefact_dir kselftest; }

setup_kselftest() {
	setup_root || return 1
	make_artefact kselftest "$(kselftest_dir)" "taking kselftest's headers out of linux-source (150 MB)" make_kselftest
}

make_kselftest() {
	local tmp=$1 series deb file pattern=()
	series=$(kernel_release | cut -d. -f1,2)
	cd "$tmp"
	root_apt "$tmp/apt" update
	root_apt "$tmp/apt" download "linux-source-$series"
	rm -rf apt
	deb=$(echo linux-source-"$series"_*.deb)
	for file in $KSELFTEST_FILES; do
		pattern+=("linux-source-$series/$file")
	done
	root_exec sh -c '
		dpkg-deb --fsys-tarfile "$1" | tar -xO "./usr/src/linux-source-$2.tar.xz" | { shift 2; tar -xJ --strip-components=1 "$@"; }
	' sh "$deb" "$series" "${pattern[@]}"
	mkdir include
	mv tools/testing/selftests/*.h include/
	rm -rf tools
	mv "$deb" "$DOWNLOADS/"
}
