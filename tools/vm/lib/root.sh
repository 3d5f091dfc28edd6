# SPDX-License-Identifier: MIT
#
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
# Raise it when the way the root is made changes; a change of the packages is seen by itself.
ROOT_RECIPE=1

root_dir() { printf '%s\n' "$ROOT_SUITE" "$ROOT_RECIPE" $ROOT_PACKAGES | artefact_dir root; }

# The site of the host's own Debian release, as apt sees it. A host that is no Debian names one itself.
debian_mirror() {
	local codename
	if [ -n "${KVSINK_DEBIAN_MIRROR:-}" ]; then
		echo "$KVSINK_DEBIAN_MIRROR"
		return
	fi
	# shellcheck source=/dev/null
	codename=$(. /etc/os-release && [ "$ID" = debian ] && printf '%s' "${VERSION_CODENAME:-}")
	# shellcheck disable=SC2016 # apt's own variables
	apt-get indextargets --format '$(SITE) $(RELEASE)' 2>/dev/null |
		awk -v want="$codename" '$2 == want { print $1; exit }'
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
	[ "$(id -u)" = 0 ] || command -v newuidmap >/dev/null ||
		die "not root and newuidmap is missing: install it (apt install uidmap), or run this as root"
	[ -n "$(debian_mirror)" ] || die "this host's apt has no Debian mirror: give one with KVSINK_DEBIAN_MIRROR=URL"
	make_artefact root "$dir" "making the Debian $ROOT_SUITE root (about 1 GB, 2-4 min)" make_root
}

make_root() {
	local tmp=$1 mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg list
	mirror=$(debian_mirror)
	[ -f "$keyring" ] || { echo "error: $keyring is missing (apt install debian-archive-keyring)"; return 1; }
	list=$(printf '%s,' $ROOT_PACKAGES)
	if [ "$(id -u)" = 0 ]; then
		debstrap "$mirror" "$keyring" "${list%,}" root "$tmp"
	else
		# All files become the user's own, so that the root can be used and deleted without further rights.
		debstrap "$mirror" "$keyring" "${list%,}" unshare - |
			tar -x --no-same-owner --no-same-permissions --exclude='./dev/*' -C "$tmp"
	fi
	[ -e "$tmp/vmlinuz" ]
}

# $1 mirror, $2 keyring, $3 packages, $4 mode, $5 target
debstrap() {
	# INITRD=No: the guest has its own initramfs, making Debian's takes half a minute.
	INITRD=No mmdebstrap --variant=minbase --mode="$4" --format="$([ "$5" = - ] && echo tar || echo directory)" \
		--include="$3" --keyring="$2" \
		--dpkgopt='force-unsafe-io' \
		--dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt='path-exclude=/usr/share/info/*' \
		--aptopt='Acquire::Retries "5"' \
		--customize-hook='chroot "$1" groupadd --force --system render' \
		--customize-hook='echo kvsink > "$1/etc/hostname"' \
		--customize-hook='ln -sfn /proc/self/mounts "$1/etc/mtab"' \
		"$ROOT_SUITE" "$5" - <<-SOURCES
		deb [signed-by=$2] $1 $ROOT_SUITE main
		deb-src [signed-by=$2] $1 $ROOT_SUITE main
		SOURCES
}
