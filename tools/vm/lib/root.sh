# The Debian root: compilers, libraries, the stock kernel with its headers. Everything that runs in the guest and
# everything that we build comes from here, so the host's own tools and versions do not matter.
#
# The mirror is the one that the host's apt uses; its name is read at run time and kept nowhere in the project.

ROOT_SUITE=trixie
ROOT_PACKAGES="
	build-essential pkg-config meson ninja-build cmake flex bison bc cpio
	python3 python3-venv python3-pip python3-setuptools python3-wheel python3-numpy
	libglib2.0-dev libpixman-1-dev libfdt-dev libslirp-dev libattr1-dev libcap-ng-dev zlib1g-dev
	libelf-dev libssl-dev libdrm-dev libsmartcols-dev libncurses-dev libxxhash-dev libjson-c-dev
	linux-image-amd64 linux-headers-amd64 kmod
	seabios qemu-system-data
	busybox-static sparse perl jq git file less procps psmisc xz-utils zstd rsync patch man-db ca-certificates
"
# Found here rather than where it is used, so that a change of the recipe makes a new root.
ROOT_RECIPE=1

root_dir() { printf '%s\n' "$ROOT_SUITE" "$ROOT_RECIPE" $ROOT_PACKAGES | artefact_dir root; }

# The site of the host's own Debian release, as apt sees it.
debian_mirror() {
	local codename site
	codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
	site=$(apt-get indextargets --format '$(SITE) $(RELEASE)' 2>/dev/null |
		awk -v want="$codename" '$2 == want { print $1; exit }')
	[ -n "$site" ] || site=$(apt-get indextargets --format '$(SITE)' 2>/dev/null | grep '/debian/*$' | head -n 1)
	[ -n "$site" ] && printf '%s\n' "$site"
}

have_mmdebstrap() {
	command -v mmdebstrap >/dev/null && return 0
	[ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
	step mmdebstrap "installing mmdebstrap on this host" install_mmdebstrap
}

install_mmdebstrap() {
	apt-get update
	DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends mmdebstrap
}

setup_root() {
	local dir
	dir=$(root_dir)
	[ -d "$dir" ] && return 0
	command -v apt-get >/dev/null || die "this host has no apt: set-up needs a Debian-like host (its mirror is used)"
	have_mmdebstrap || die "mmdebstrap is missing: install it (apt install mmdebstrap), then run this again"
	[ -n "$(debian_mirror)" ] || die "no Debian mirror in this host's apt sources: add one (deb ... main)"
	make_artefact root "$dir" "making the Debian $ROOT_SUITE root (about 1 GB, 2-4 min)" make_root
}

make_root() {
	local tmp=$1 mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg list
	mirror=$(debian_mirror)
	[ -f "$keyring" ] || { echo "error: $keyring is missing (apt install debian-archive-keyring)"; return 1; }
	list=$(printf '%s,' $ROOT_PACKAGES)
	# INITRD=No: the guest has its own initramfs, making Debian's takes half a minute.
	INITRD=No mmdebstrap --variant=minbase --mode="$(root_mode)" \
		--include="${list%,}" --keyring="$keyring" \
		--dpkgopt='force-unsafe-io' \
		--dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt='path-exclude=/usr/share/info/*' \
		--aptopt='Acquire::Retries "5"' \
		--customize-hook='chroot "$1" groupadd --force --system render' \
		--customize-hook='echo kvsink > "$1/etc/hostname"' \
		--customize-hook='ln -sfn /proc/self/mounts "$1/etc/mtab"' \
		"$ROOT_SUITE" "$tmp" - <<-SOURCES
		deb [signed-by=$keyring] $mirror $ROOT_SUITE main
		deb-src [signed-by=$keyring] $mirror $ROOT_SUITE main
		SOURCES
}

root_mode() { [ "$(id -u)" = 0 ] && echo root || echo unshare; }
