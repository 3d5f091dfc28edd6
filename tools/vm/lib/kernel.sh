# The guest's kernel is the root's own, whatever version Debian has today; the small initramfs that mounts the root.

kernel_release() {
	local root
	root=$(root_dir)
	[ -d "$root" ] || die "the root is not there yet: run '$VM_DIR/vm setup root'"
	ls "$root/lib/modules" | sort -V | tail -n 1
}

kernel_image() { printf '%s/boot/vmlinuz-%s\n' "$(root_dir)" "$(kernel_release)"; }

# Modules that the initramfs must have loaded before it can mount anything; what they need is found out.
INITRAMFS_MODULES="9pnet_virtio 9p overlay"
INITRAMFS_RECIPE=1

initramfs_dir() { { root_dir; printf '%s\n' "$INITRAMFS_RECIPE" $INITRAMFS_MODULES; } | artefact_dir initramfs; }
initramfs_image() { printf '%s/initramfs.cpio\n' "$(initramfs_dir)"; }

setup_kernel() {
	setup_root || return 1
	make_artefact initramfs "$(initramfs_dir)" "making the guest's initramfs for kernel $(kernel_release)" make_initramfs
}

# Only busybox and modules: the init script is put beside them at each run (guest/run.py), so it needs no cache.
make_initramfs() {
	local tree=$1/tree
	mkdir -p "$tree/bin" "$tree/modules" "$tree/proc" "$tree/sys" "$tree/dev" "$tree/new"
	cp "$(root_dir)/bin/busybox" "$tree/bin/"
	ln -s busybox "$tree/bin/sh"
	root_exec sh -euc '
		cd "$1"; release=$2; shift 2
		modprobe --all --show-depends --set-version "$release" "$@" | while read -r verb file options; do
			[ "$verb" = insmod ] || continue
			name=${file##*/}; name=${name%%.ko*}
			[ ! -e "modules/$name.ko" ] || continue
			case $file in
			*.xz) xz -dc "$file" >"modules/$name.ko" ;;
			*.zst) zstd -qdc "$file" >"modules/$name.ko" ;;
			*) cp "$file" "modules/$name.ko" ;;
			esac
			echo "$name" >>modules/order
		done
		find . | cpio --quiet -o -H newc >../initramfs.cpio
	' sh "$tree" "$(kernel_release)" $INITRAMFS_MODULES
	rm -rf "$tree"
}
