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

# The kernel of guests, and of the driver that they load: Debian's stock one, or with KVSINK_KERNEL=backports the newest
# in its backports. That one has a root of its own, the same but for the kernel and its headers; programs are always
# those of the first root.
guest_root_dir() {
	case ${KVSINK_KERNEL:-stock} in
	stock) root_dir ;;
	backports) printf '%s\n' "$ROOT_SUITE" "$ROOT_RECIPE" $ROOT_PACKAGES | artefact_dir root-backports ;;
	*) die "KVSINK_KERNEL=$KVSINK_KERNEL: allowed are stock and backports" ;;
	esac
}

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
	make_a_root root "$(root_dir)" "making the Debian $ROOT_SUITE root (about 1 GB, 2-4 min)" make_root || return 1
	[ "${KVSINK_KERNEL:-stock}" = stock ] && return
	make_a_root root-backports "$(guest_root_dir)" \
		"making a root with the kernel of $ROOT_SUITE-backports (about 1 GB, 2-4 min)" make_backports_root
}

# Arguments of make_artefact
make_a_root() {
	[ -d "$2" ] && return 0
	command -v apt-get >/dev/null || die "this host has no apt: set-up needs a Debian-like host (its mirror is used)"
	have_mmdebstrap || die "mmdebstrap is missing: install it (apt install mmdebstrap), then run this again"
	[ "$(id -u)" = 0 ] || command -v newuidmap >/dev/null ||
		die "not root and newuidmap is missing: install it (apt install uidmap), or run this as root"
	[ -n "$(debian_mirror)" ] || die "this host's apt has no Debian mirror: give one with KVSINK_DEBIAN_MIRROR=URL"
	make_artefact "$@"
}

# $1 folder, rest: more options for mmdebstrap
make_root() {
	local tmp=$1 mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg list
	mirror=$(debian_mirror)
	[ -f "$keyring" ] || { echo "error: $keyring is missing (apt install debian-archive-keyring)"; return 1; }
	list=$(printf '%s,' $ROOT_PACKAGES)
	shift
	if [ "$(id -u)" = 0 ]; then
		debstrap "$mirror" "$keyring" "${list%,}" root "$tmp" "$@"
	else
		# All files become the user's own, so that the root can be used and deleted without further rights.
		debstrap "$mirror" "$keyring" "${list%,}" unshare - "$@" |
			tar -x --no-same-owner --no-same-permissions --exclude='./dev/*' -C "$tmp"
	fi
	[ -e "$tmp/vmlinuz" ]
}

# Backports are for the kernel's packages only.
make_backports_root() {
	BACKPORTS=1 make_root "$1" --setup-hook='mkdir -p "$1/etc/apt/preferences.d"' \
		--setup-hook='printf "Package: linux-*\nPin: release n=*-backports\nPin-Priority: 990\n" >"$1/etc/apt/preferences.d/kernel"'
}

# $1 mirror, $2 keyring, $3 packages, $4 mode, $5 target, rest: more options; BACKPORTS: their packages may be had, too
debstrap() {
	local mirror=$1 keyring=$2 packages=$3 mode=$4 target=$5
	shift 5
	# INITRD=No: the guest has its own initramfs, making Debian's takes half a minute.
	INITRD=No mmdebstrap --variant=minbase --mode="$mode" \
		--format="$([ "$target" = - ] && echo tar || echo directory)" \
		--include="$packages" --keyring="$keyring" "$@" \
		--dpkgopt='force-unsafe-io' \
		--dpkgopt='path-exclude=/usr/share/doc/*' \
		--dpkgopt='path-exclude=/usr/share/locale/*' \
		--dpkgopt='path-exclude=/usr/share/info/*' \
		--aptopt='Acquire::Retries "5"' \
		--customize-hook='chroot "$1" groupadd --force --system render' \
		--customize-hook='echo kvsink > "$1/etc/hostname"' \
		--customize-hook='ln -sfn /proc/self/mounts "$1/etc/mtab"' \
		"$ROOT_SUITE" "$target" - <<-SOURCES
		deb [signed-by=$keyring] $mirror $ROOT_SUITE main
		deb-src [signed-by=$keyring] $mirror $ROOT_SUITE main
		${BACKPORTS:+deb [signed-by=$keyring] $mirror $ROOT_SUITE-backports main}
		SOURCES
}
