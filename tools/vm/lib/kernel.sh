# SPDX-License-Identifier: MIT
#
# The guest's kernel is its root's own, whatever version Debian has today; the small initramfs that mounts the root.

kernel_release() {
	local root
	root=$(guest_root_dir)
	[ -d "$root" ] || die "the root is not there yet: run '$VM_DIR/vm setup root'"
	ls "$root/lib/modules" | sort -V | tail -n 1
}

kernel_image() { printf '%s/boot/vmlinuz-%s\n' "$(guest_root_dir)" "$(kernel_release)"; }

# Modules that the initramfs needs before it can mount anything, and those that the driver may depend on. They lie in
# it uncompressed, each with a list of what must be loaded for it, because unpacking one costs a second under TCG.
MOUNT_MODULES="9pnet_virtio 9p overlay"
DRIVER_MODULES="drm gpu-sched drm_exec drm_buddy drm_gpuvm drm_shmem_helper drm_kms_helper"
INITRAMFS_RECIPE=2

initramfs_dir() { { guest_root_dir; printf '%s\n' "$INITRAMFS_RECIPE" $MOUNT_MODULES $DRIVER_MODULES; } | artefact_dir initramfs; }
initramfs_image() { printf '%s/initramfs.cpio\n' "$(initramfs_dir)"; }

setup_kernel() {
	setup_root || return 1
	make_artefact initramfs "$(initramfs_dir)" "making the guest's initramfs for kernel $(kernel_release)" make_initramfs
}

# Only busybox and modules: the init script is put beside them at each run (guest/run.py), so it needs no cache.
make_initramfs() {
	local tree=$1/tree
	mkdir -p "$tree/bin" "$tree/modules" "$tree/proc" "$tree/sys" "$tree/dev" "$tree/new"
	cp "$(guest_root_dir)/bin/busybox" "$tree/bin/"
	ln -s busybox "$tree/bin/sh"
	# shellcheck disable=SC2016 # expanded in the root
	root_exec sh -euc '
		cd "$1/modules"; release=$2; mount_modules=$3; driver_modules=$4
		for module in $mount_modules $driver_modules; do
			modprobe --show-depends --set-version "$release" "$module" >show || continue
			while read -r verb file options; do
				[ "$verb" = insmod ] || continue
				name=${file##*/}; name=${name%%.ko*}
				echo "$name" >>"$module.order"
				[ ! -e "$name.ko" ] || continue
				case $file in
				*.xz) xz -dc "$file" >"$name.ko" ;;
				*.zst) zstd -qdc "$file" >"$name.ko" ;;
				*) cp "$file" "$name.ko" ;;
				esac
			done <show
		done
		for module in $mount_modules; do cat "$module.order"; done | awk "!seen[\$0]++" >mount.order
		rm show
		cd ..; find . | cpio --quiet -o -H newc >../initramfs.cpio
	' sh "$tree" "$(kernel_release)" "$MOUNT_MODULES" "$DRIVER_MODULES"
	rm -rf "$tree"
}
