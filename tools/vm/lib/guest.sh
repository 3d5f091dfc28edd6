# SPDX-License-Identifier: MIT
#
# Starting the guest: hands guest/run.py the paths of everything it needs, and decides between KVM and TCG.

guest_usage() {
	cat <<-END
	Options of run and shell (vm run --help has all of them):
	  --timeout S   --memory SIZE   --cpus N   --env K=V   --append KERNEL-ARGUMENTS   --kernel-log FILE
	  --no-device   --no-driver   --direct   --device-prop K=V   --hbm SIZE   --driver-param K=V   --iommu   --qmp PATH
	END
}

# The runner is Python from the root, through the root's own loader: no Python is needed on the host.
guest_python() { PYTHONHOME=$(root_dir)/usr root_loader "$(root_dir)/usr/bin/python3" -B "$@"; }

# The driver of the stock kernel is in build/driver, that of another one in build/driver-NAME.
driver_module() {
	local kernel=${KVSINK_KERNEL:-stock}
	[ "$kernel" = stock ] && kernel= || kernel=-$kernel
	echo "$PROJECT/build/driver$kernel/kvsink.ko"
}

# $1 run or shell, rest: the user's options and command
guest() {
	local verb=$1
	shift
	case ${1-} in
	-h | --help)
		if [ -d "$(root_dir)" ]; then guest_run "$verb" --help; else usage; fi
		return
		;;
	esac
	setup_root && setup_kernel || exit 125
	[ -x "$(qemu_binary)" ] || setup_qemu || exit 125
	guest_run "$verb" --accel "$(accelerator)" "$@"
}

guest_run() {
	KVSINK_VM_ROOT=$(guest_root_dir) KVSINK_VM_MODULE=$(driver_module) KVSINK_VM_CACHE=$CACHE KVSINK_VM_PROJECT=$PROJECT \
	KVSINK_VM_QEMU=$(qemu_binary) KVSINK_VM_KERNEL=$(kernel_image) KVSINK_VM_INITRAMFS=$(initramfs_image) \
		guest_python "$VM_DIR/guest/run.py" "$@"
}

# --- KVM or TCG ---
# A node that opens proves nothing: on some hosts VMs are created and then the kernel hangs in its decompressor. So
# the very kernel is booted once, with a watchdog, and the answer is kept for this kernel, QEMU and machine.

kvm_verdict_file() {
	{ kernel_release; cat "$(qemu_source_dir)/version"; uname -srv; grep -m 1 '^model name' /proc/cpuinfo; cat /sys/class/dmi/id/product_uuid 2>/dev/null; } |
		sha256sum | cut -c1-12 | sed "s|^|$CACHE/kvm-probe-|"
}

setup_kvm() { accelerator >/dev/null; }

accelerator() {
	local verdict
	verdict=$(kvm_verdict_file)
	if [ "${KVSINK_ACCEL:-}" ]; then
		echo "$KVSINK_ACCEL"
	elif ! [ -r /dev/kvm ] || ! [ -w /dev/kvm ]; then
		echo tcg:this host has no usable /dev/kvm
	else
		[ -s "$verdict" ] || probe_kvm >"$verdict"
		cat "$verdict"
	fi
}

probe_kvm() {
	say "trying KVM with a boot (at most 20 s; the answer is kept) ..."
	if guest_run run --accel kvm:probe --no-device --no-log-gate --timeout 20 --quiet --kernel-log "$LOGS/kvm-probe-kernel.log" -- true 2>"$LOGS/kvm-probe.log"; then
		echo kvm:a probe boot worked
	else
		echo tcg:a probe boot with KVM failed
	fi
}
