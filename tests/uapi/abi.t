#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The headers of uapi/ compile alone, in C and C++, as 64-bit and 32-bit code; both lay everything out alike, without a
# hole; and that layout, every ioctl number and every constant are those recorded in uapi/abi.txt.

cd "$(dirname "$0")/../.." || exit 1
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
		[ -s "$3" ] && head -60 "$3" | sed 's/^/# /'
	fi
}

# The compiler's stdint.h and the kernel's asm/: 32-bit code compiles without a 32-bit C library.
flags="-Wall -Wextra -Werror -ffreestanding -isystem /usr/include/x86_64-linux-gnu -Iuapi $(pkg-config --cflags libdrm)"

alone() { # header, language, standard and more flags
	printf '#include "%s"\n' "$1" > "$tmp/alone.$2"
	compiler=${CC:-gcc}
	[ "$2" = c ] || compiler=${CXX:-g++}
	for abi in -m64 -m32; do
		# shellcheck disable=SC2086
		$compiler $abi $3 $flags -S -o /dev/null "$tmp/alone.$2" || return 1
	done > "$tmp/out" 2>&1
}

# tools/make/abi on headers with a change must say so: header, sed script, name, what it must say
notices() {
	rm -rf "$tmp/uapi" && cp -r uapi "$tmp/uapi" && sed -i "$2" "$tmp/uapi/$1"
	if cmp -s "uapi/$1" "$tmp/uapi/$1"; then
		echo "the change did not apply" > "$tmp/out"
	else
		tools/make/abi --uapi "$tmp/uapi" --compare uapi/abi.txt > "$tmp/out" 2>&1
		[ $? -eq 1 ] && grep -q -- "$4" "$tmp/out"
	fi
	result $? "$3" "$tmp/out"
}

echo 1..14
for header in kvsink_drm.h kvsink_hw.h; do
	alone $header c "-std=c99" # not pedantic: unnamed unions, as in drm.h itself
	result $? "$header compiles alone as C99, 64-bit and 32-bit" "$tmp/out"
	alone $header c "-std=c11 -pedantic"
	result $? "$header compiles alone as C11" "$tmp/out"
	alone $header cc "-std=c++11 -pedantic"
	result $? "$header compiles alone as C++11" "$tmp/out"
	alone $header cc "-std=c++20 -pedantic"
	result $? "$header compiles alone as C++20" "$tmp/out"
done

tools/make/abi --compare uapi/abi.txt > "$tmp/out" 2>&1
status=$?
[ $status -eq 0 ] || echo "If it is meant to change: 'make abi' records it, and what reads the old form is looked after." >> "$tmp/out"
result $status "the ABI is the one recorded in uapi/abi.txt" "$tmp/out"

notices kvsink_drm.h '/^struct drm_kvsink_bo_mmap_offset {/,/^}/s/__u32 pad;/__u64 pad;/' \
	"a member that lies elsewhere in 32-bit code is noticed" "64-bit and 32-bit code differ"
notices kvsink_hw.h '/^struct kvsink_tag_rec {/,/^}/s/layer_begin, //' \
	"padding that nobody named is noticed" "hole of 2 bytes at 18, before uint32_t flags"
notices kvsink_drm.h '/^#define DRM_IOCTL_KVSINK_EVICT/s/IOWR/IOW/' \
	"another direction of an ioctl is noticed" "^+ioctl DRM_IOCTL_KVSINK_EVICT = .*: direction 1"
notices kvsink_hw.h '/^struct kvsink_tag_rec {/,/^}/s/uint32_t token;/int32_t token;/' \
	"another type of the same size is noticed" "^+.*int32_t token"
notices kvsink_hw.h '/KVSINK_CODES(X)/,/^$/s/X(BUDGET, *\([0-9]*\),/X(BUDGET, 1\1,/' \
	"another value of a code is noticed" "^+.KVSINK_CODE_BUDGET = "
[ $number -eq 14 ] && [ $failed -eq 0 ]
