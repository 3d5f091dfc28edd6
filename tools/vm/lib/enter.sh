# SPDX-License-Identifier: MIT
#
# Running a command inside the Debian root, with the project and the cache at their own absolute paths.

# $@ command; the working directory is kept. Needs root, or unprivileged user namespaces.
root_exec() {
	local root flags=(--mount --propagation private)
	root=$(guest_root_dir)
	if [ "${KVSINK_IN_ROOT:-}" = "$root" ]; then
		"$@"
		return
	fi
	[ -d "$root" ] || die "the root is not there yet: run '$VM_DIR/vm setup root'"
	[ "$(id -u)" = 0 ] || flags+=(--user --map-root-user)
	unshare "${flags[@]}" -- bash "$VM_DIR/lib/enter-root.sh" "$root" "$PROJECT" "$CACHE" "$PWD" "$@"
}
