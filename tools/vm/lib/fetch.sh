# SPDX-License-Identifier: MIT
#
# Pinned files from the Python index that the host's pip is configured for. A file is used only with its checksum.

# $1 requirement, $2 file name, $3 sha256, rest: options of pip download
fetch_python() {
	local file=$DOWNLOADS/$2
	[ -f "$file" ] && checked "$file" "$3" && return 0
	python3 -m pip --version >/dev/null 2>&1 || die "python3 with pip is missing on this host: it fetches $2"
	step "fetch-$2" "fetching $2" download_python "$@"
}

download_python() {
	local requirement=$1 file=$2 sum=$3 tmp
	shift 3
	tmp=$(mktemp -d "$DOWNLOADS/.fetch.XXXXXX")
	printf '%s --hash=sha256:%s\n' "$requirement" "$sum" >"$tmp/requirements"
	python3 -m pip download --no-deps --progress-bar off --disable-pip-version-check "$@" --require-hashes -r "$tmp/requirements" -d "$tmp"
	checked "$tmp/$file" "$sum" || { echo "error: $file does not have its checksum $sum"; return 1; }
	mv "$tmp/$file" "$DOWNLOADS/$file"
	rm -rf "$tmp"
}
