# QEMU: Debian's source package with the kvsink device in hw/kvsink.
#
# Two stages. The base is built once, without the device, and lies in the cache with all its objects. Each checkout
# then puts its own device sources into that tree and builds the difference; the result is copied to its build/qemu.

QEMU_CONFIGURE="
	--target-list=x86_64-softmmu --without-default-features --without-default-devices
	--with-devices-x86_64=kvsink
	--enable-system --enable-tcg --enable-kvm --enable-virtfs --enable-attr --enable-fdt=system --enable-pixman
	--disable-docs --disable-werror --disable-install-blobs --disable-debug-info --disable-download
"
QEMU_RECIPE=1
# The files of QEMU that qemu-device/patches may touch: kept pristine beside the tree, patched anew at each sync.
QEMU_PATCHED="meson.build hw/Kconfig hw/meson.build"

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

# --- the base ---

# The device list: the machine that the runner needs, and what the checkout's device asks for.
# $1 where it goes, rest: further .mak files
write_device_list() {
	local to=$1
	shift
	cat "$VM_DIR/machine.mak" "$@" | grep '^CONFIG_' | sort -u >"$to.new"
	install_if_changed "$to.new" "$to"
}

# Moves $1 to $2 unless they are equal: an unchanged file keeps its time, so that ninja does nothing for it.
install_if_changed() {
	if cmp -s "$1" "$2"; then rm "$1"; else mv "$1" "$2"; fi
}

# Ninja's files hold absolute paths, so the tree is built under its final name, beside the artefact's folder, and an
# interrupted build goes on where it was. The tree must hold no device while it is built here.
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
	write_device_list "$tree/configs/devices/x86_64-softmmu/kvsink.mak"
	cd "$tree/build"
	[ -f build.ninja ] || root_exec ../configure $QEMU_CONFIGURE --extra-ldflags="$(program_ldflags)"
	root_exec ninja -j "$JOBS" qemu-system-x86_64
}

# --- the checkout's own ---

build_qemu() {
	local base lock binary
	base=$(qemu_base_dir)
	binary=$(qemu_binary)
	exec {lock}>"$CACHE/.qemu-build.lock"
	flock "$lock"
	sync_device "$base" || { exec {lock}>&-; return 1; }
	if [ ! -x "$binary" ] || ! qemu_is_current "$base"; then
		step qemu-device "building QEMU with this checkout's device" build_qemu_with_device "$base" ||
			{ exec {lock}>&-; return 1; }
	fi
	exec {lock}>&-
}

# What the binary was built from: a hash of everything that sync_device put into the tree.
device_hash() {
	( cd "$1.tree" && { printf '%s\n' $QEMU_PATCHED configs/devices/x86_64-softmmu/kvsink.mak
		[ ! -d hw/kvsink ] || find hw/kvsink -type f; } | sort | xargs sha256sum | sha256sum | cut -c1-16 )
}

qemu_is_current() {
	[ "$(cat "$(qemu_binary).from" 2>/dev/null)" = "$1 $(device_hash "$1")" ]
}

sync_device() {
	local base=$1 tree=$1.tree device=$PROJECT/qemu-device stage file list=()
	stage=$(mktemp -d)
	mkdir "$stage/kvsink"
	cp -r "$base/pristine" "$stage/patched"
	if [ -f "$device/shell/meson.build" ]; then
		mkdir "$stage/kvsink/silicon" "$stage/kvsink/uapi"
		cp "$device"/shell/* "$stage/kvsink/"
		cp -r "$device"/silicon/. "$stage/kvsink/silicon/"
		cp "$PROJECT"/uapi/*.h "$stage/kvsink/uapi/"
		# Meson reads this list, and so sees when a file comes or goes.
		( cd "$stage/kvsink" && ls silicon/*.c >silicon/files.list )
		list=("$stage"/kvsink/*.mak)
		for file in "$device"/patches/*.patch; do
			patch -s -d "$stage/patched" -p1 <"$file" || {
				say "FAILED: $file does not apply to QEMU $(cat "$(qemu_source_dir)/version")"
				rm -rf "$stage"
				return 1
			}
		done
		rsync_tree "$stage/kvsink" "$tree/hw/kvsink"
	fi
	for file in $QEMU_PATCHED; do
		install_if_changed "$stage/patched/$file" "$tree/$file"
	done
	[ -f "${list[0]-}" ] || list=()
	write_device_list "$tree/configs/devices/x86_64-softmmu/kvsink.mak" "${list[@]}"
	rm -rf "$stage"
}

# Makes $2 equal to $1, judging by content, with the root's rsync (the host may have none).
rsync_tree() {
	mkdir -p "$2"
	root_loader "$(root_dir)/usr/bin/rsync" -rc --delete "$1/" "$2/"
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
