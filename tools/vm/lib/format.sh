# SPDX-License-Identifier: MIT
#
# clang-format, in one version for everybody, out of its wheel: Debian's package would add 200 MB to the root.

FORMAT_WHEEL=clang_format-19.1.7-py2.py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl
FORMAT_WHEEL_SHA256=f4906fb463dd2033032978f56962caab268c9428a384126b9400543eb667f11c
FORMAT_REQUIREMENT=clang-format==19.1.7

format_dir() { echo "$FORMAT_WHEEL_SHA256" | artefact_dir clang-format; }

setup_format() {
	[ -d "$(format_dir)" ] && return 0
	fetch_python "$FORMAT_REQUIREMENT" "$FORMAT_WHEEL" "$FORMAT_WHEEL_SHA256" --only-binary :all: || return 1
	make_artefact clang-format "$(format_dir)" "unpacking clang-format" make_format
}

make_format() {
	python3 -m zipfile -e "$DOWNLOADS/$FORMAT_WHEEL" "$1/wheel"
	find "$1/wheel" -name clang-format -path '*/bin/*' -exec mv {} "$1/clang-format" \;
	chmod 755 "$1/clang-format"
	rm -rf "$1/wheel"
	"$1/clang-format" --version
}
