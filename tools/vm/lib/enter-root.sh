# SPDX-License-Identifier: MIT
#
# Runs in its own mount namespace, on the host: builds the file tree that a command in the Debian root sees, and
# runs the command there. The tree is a tmpfs with the root's folders bound into it read-only, so nothing a build
# does can change the root, and mount points for project and cache need no folder in it.
# $1 root, $2 project, $3 cache, $4 working directory, rest: command
set -eu

root=$1 project=$2 cache=$3 cwd=$4
shift 4

case $cwd/ in
"$project"/* | "$cache"/*) ;;
*) cwd=$project ;;
esac

mount -t tmpfs -o mode=755 kvsink-root "$root/mnt"
new=$root/mnt

for entry in "$root"/*; do
	name=${entry##*/}
	if [ -L "$entry" ]; then
		cp -P "$entry" "$new/$name"
		continue
	fi
	mkdir "$new/$name"
	case $name in
	usr | etc | var | boot)
		mount --bind "$entry" "$new/$name"
		mount -o remount,bind,ro "$new/$name"
		;;
	dev | proc | sys) mount --rbind "/$name" "$new/$name" ;;
	esac
done
chmod 1777 "$new/tmp"
for log in tmp cache; do
	mount -t tmpfs -o mode=1777 "kvsink-$log" "$new/var/$log"
done
# The resolver's file belongs to the host: networks change after the root was made.
if [ -e "$new/etc/resolv.conf" ] && [ -e /etc/resolv.conf ]; then
	mount --bind "$(readlink -f /etc/resolv.conf)" "$new/etc/resolv.conf" 2>/dev/null || true
fi

bind_at_own_path() {
	mkdir -p "$new$1" || { echo "vm: cannot show $1 inside the root: move it out of /usr, /etc, /var, /boot" >&2; exit 1; }
	mount --bind "$1" "$new$1"
}
bind_at_own_path "$cache"
bind_at_own_path "$project"

keep=()
for name in TERM SOURCE_DATE_EPOCH http_proxy https_proxy no_proxy; do
	[ -z "${!name-}" ] || keep+=("$name=${!name}")
done

exec chroot "$new" /usr/bin/env -i \
	PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
	HOME=/root LC_ALL=C.UTF-8 XDG_CACHE_HOME="${cache%/kvsink}" KVSINK_IN_ROOT="$root" "${keep[@]}" \
	/bin/sh -c 'cd "$1" && shift && exec "$@"' sh "$cwd" "$@"
