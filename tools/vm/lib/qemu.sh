# SPDX-License-Identifier: MIT
#
# QEMU: Debian's source package with the kvsink device in hw/kvsink.
#
# Two stages. The base is built once and lies in the cache with all its objects. Each checkout then puts its own device
# sources into that tree and builds the difference; the result is copied to its build/qemu. The base has the hooks for
# the device and an empty hw/kvsink: a new CONFIG_ symbol or trace group would rebuild nearly everything.

QEMU_CONFIGURE="
	--target-list=x86_64-softmmu --without-default-features --without-default-devices
	--with-devices-x86_64=kvsink
	--enable-system --enable-tcg --enable-kvm --enable-virtfs --enable-attr --enable-fdt=system --enable-pixman
	--disable-docs --disable-werror --disable-install-blobs --disable-debug-info --disable-download
"
QEMU_RECIPE=1
# The files of QEMU that qemu-device/patches may touch: kept pristine beside the tree, patched anew at each sync.
QEMU_PATCHED="meson.build hw/Kconfig hw/meson.build"
QEMU_DEVICE_LIST=configs/devices/x86_64-softmmu/kvsink.mak

qemu_source_dir() { { root_dir; echo "$QEMU_RECIPE"; } | artefact_dir qemu-source; }
qemu_base_dir() { { qemu_source_dir; printf '%s\n' $QEMU_CONFIGURE; cat "$VM_DIR/machine.mak"; } | artefact_dir qemu-base; }
qemu_binary() { printf '%s/build/qemu/qemu-system-x86_64\n' "$PROJECT"; }

setup_qemu() {
	setup_root || return 1
	make_artefact qemu-source "$(qemu_source_dir)" "fetching QEMU's Debian source" make_qemu_source || return 1
	make_artefact qemu-base "$(qemu_base_dir)" "building QEMU without the device (3-8 min)" make_qemu_base || return 1
	build_qemu
}

# --- the source ---

# apt in the root with state of its own, because the root is read-only. $1 folder for the state, rest: arguments
root_apt() {
	local state=$1
	shift
	mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
	root_exec apt-get -o Dir::State::Lists="$state/lists" -o Dir::Cache="$state/cache" \
		-o APT::Sandbox::User=root -o Acquire::Retries=5 "$@"
}

make_qemu_source() {
	local tmp=$1
	cd "$tmp"
	root_apt "$tmp/apt" update
	root_apt "$tmp/apt" source --only-source --download-only qemu
	root_exec dpkg-source --no-check -x qemu_*.dsc "$tmp/qemu"
	sed -n 's/^Version: //p' qemu_*.dsc | head -n 1 >version
	rm -rf apt qemu_*.xz qemu_*.gz
}

# --- what a checkout puts into QEMU's tree ---

# Makes hw/kvsink, the hooks and the device list of a tree those of this checkout, judging by content: a file that does
# not change keeps its time, so that ninja does nothing for it.
# $1 tree, $2 pristine copies of the files that are patched, $3 "stub" for no device in spite of all
sync_device() {
	local tree=$1 pristine=$2 stage status=0
	stage=$(mktemp -d)
	{
		stage_device "$stage/kvsink" "${3-}" &&
		stage_hooks "$stage/hooks" "$pristine" &&
		stage_device_list "$stage/hooks/$QEMU_DEVICE_LIST" &&
		copy_changed --delete "$stage/kvsink" "$tree/hw/kvsink" &&
		copy_changed "$stage/hooks" "$tree"
	} || status=1
	rm -rf "$stage"
	return "$status"
}

stage_device() {
	local to=$1 device=$PROJECT/qemu-device
	mkdir -p "$to/silicon" "$to/uapi"
	if [ "$2" = stub ] || [ ! -f "$device/shell/meson.build" ]; then
		cp "$VM_DIR"/qemu-stub/* "$to/"
		return
	fi
	cp "$device"/shell/* "$to/" && cp -r "$device"/silicon/. "$to/silicon/" && cp "$PROJECT"/uapi/*.h "$to/uapi/" || return 1
	# Meson reads this list, and so sees when a file comes or goes.
	( cd "$to" && ls silicon/*.c >silicon/files.list )
}

stage_hooks() {
	local to=$1 file
	cp -r "$2" "$to"
	for file in "$PROJECT"/qemu-device/patches/*.patch; do
		patch -s -d "$to" -p1 <"$file" && continue
		say "FAILED: $file does not apply to QEMU $(cat "$(qemu_source_dir)/version")"
		return 1
	done
}

# The machine that the runner needs, and what the checkout's device asks for.
stage_device_list() {
	local lists=("$VM_DIR/machine.mak" "$PROJECT/qemu-device/shell/kvsink.mak")
	[ -f "${lists[1]}" ] || unset 'lists[1]'
	mkdir -p "$(dirname "$1")"
	{ echo CONFIG_KVSINK=y; cat "${lists[@]}"; } | grep -o '^CONFIG_[A-Z0-9_]*=[yn]' | sort -u >"$1"
}

# With the root's rsync, as the host may have none. [--delete] $1 from, $2 to
copy_changed() {
	local flags=-rc
	[ "$1" != --delete ] || { flags="-rc --delete"; shift; }
	mkdir -p "$2"
	root_loader "$(root_dir)/usr/bin/rsync" $flags "$1/" "$2/"
}

# --- the base ---

# Ninja's files hold absolute paths, so the tree is built under its final name, beside the artefact's folder, and an
# interrupted build goes on where it was.
make_qemu_base() {
	local tmp=$1 tree=${1%.tmp}.tree source file
	source=$(qemu_source_dir)/qemu
	for file in $QEMU_PATCHED; do
		install -D "$source/$file" "$tmp/pristine/$file"
	done
	if [ ! -d "$tree" ]; then
		remove_tree "$tree.tmp"
		cp -a "$source" "$tree.tmp"
		mkdir "$tree.tmp/build"
		mv "$tree.tmp" "$tree"
	fi
	sync_device "$tree" "$tmp/pristine" stub
	cd "$tree/build"
	[ -f build.ninja ] || root_exec ../configure $QEMU_CONFIGURE --extra-ldflags="$(program_ldflags)"
	root_exec ninja -j "$JOBS" qemu-system-x86_64
}

# --- the checkout's own ---

build_qemu() {
	local base lock status=0
	base=$(qemu_base_dir)
	exec {lock}>"$CACHE/.qemu-build.lock"
	if ! flock -n "$lock"; then
		say "waiting for another checkout that builds QEMU"
		flock "$lock"
	fi
	sync_device "$base.tree" "$base/pristine" && {
		qemu_is_current "$base" ||
			step qemu-device "building QEMU with this checkout's device" build_qemu_with_device "$base"
	} || status=1
	exec {lock}>&-
	return "$status"
}

# What the binary was built from: a hash of everything that sync_device put into the tree.
device_hash() {
	( cd "$1.tree" && { printf '%s\n' $QEMU_PATCHED "$QEMU_DEVICE_LIST"; find hw/kvsink -type f; } |
		sort | xargs sha256sum | sha256sum | cut -c1-16 )
}

qemu_is_current() {
	[ -x "$(qemu_binary)" ] && [ "$(cat "$(qemu_binary).from" 2>/dev/null)" = "$1 $(device_hash "$1")" ]
}

build_qemu_with_device() {
	local base=$1 tree=$1.tree binary
	binary=$(qemu_binary)
	cd "$tree/build"
	root_exec ninja -j "$JOBS" qemu-system-x86_64
	mkdir -p "$(dirname "$binary")"
	root_exec strip -o "$binary.new" qemu-system-x86_64
	mv "$binary.new" "$binary"
	echo "$base $(device_hash "$base")" >"$binary.from"
}
