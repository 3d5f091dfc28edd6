# SPDX-License-Identifier: MIT
#
# The ground all artefacts stand on: where the cache is, how a step is run, logged, locked and published.
#
# An artefact is a folder $CACHE/<name>-<key>, where the key is a hash of what it is made from. It is made under a
# temporary name and renamed when it is complete, so a folder that exists is whole, and an interrupted set-up
# resumes at the artefact it was interrupted in. One lock an artefact lets two checkouts share the cache.

VM_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
PROJECT=$(cd "$VM_DIR/../.." && pwd -P)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/kvsink
LOGS=$CACHE/logs
DOWNLOADS=$CACHE/downloads
JOBS=${KVSINK_JOBS:-$(nproc)}
HEARTBEAT_SECONDS=30

mkdir -p "$LOGS" "$DOWNLOADS"
CACHE=$(cd "$CACHE" && pwd -P)
LOGS=$CACHE/logs
DOWNLOADS=$CACHE/downloads

say() { printf 'vm: %s\n' "$*" >&2; }

die() {
	say "$*"
	exit 1
}

# The one way a name of an artefact is turned into its folder. Reads what it is made from on stdin.
# $1 name
artefact_dir() { printf '%s/%s-%s\n' "$CACHE" "$1" "$(sha256sum | cut -c1-12)"; }

# Runs a step with its output in a log. One line when it begins, one every half minute, one when it ends.
# The command is a function; it runs in a shell of its own, because set -e means nothing in a function whose status is
# looked at, and in a session of its own, so that all of it can be ended.
# $1 name of the log, $2 what it does, rest: command
step() {
	local log=$LOGS/$1.log what=$2 start=$SECONDS beat pid status
	shift 2
	say "$what ..."
	setsid bash "$VM_DIR/vm" make-artefact "$@" </dev/null >"$log" 2>&1 &
	pid=$!
	# shellcheck disable=SC2064 # the present pid is meant
	trap "kill -TERM -- -$pid 2>/dev/null; exit 130" INT TERM
	beat=$((start + HEARTBEAT_SECONDS))
	while kill -0 "$pid" 2>/dev/null; do
		sleep 0.2
		[ "$SECONDS" -ge "$beat" ] || continue
		beat=$((SECONDS + HEARTBEAT_SECONDS))
		say "$what: $((SECONDS - start)) s; $(last_line "$log")"
	done
	wait "$pid"
	status=$?
	trap - INT TERM
	if [ "$status" != 0 ]; then
		say "FAILED: $what (status $status): $(what_failed "$log") -- log: $log"
		return 1
	fi
	say "$what: done in $((SECONDS - start)) s"
}

last_line() { tail -c 400 "$1" | tr '\r' '\n' | grep -av '^ *$' | tail -n 1 | cut -c1-100; }

# The first line that names an error; compilers say more after it, but nothing better.
what_failed() {
	local line
	line=$(grep -aiE -m 1 '(^|[ :])((fatal )?error:|E: |CMake Error)' "$1" | cut -c1-200)
	printf '%s\n' "${line:-$(last_line "$1")}"
}

# Makes an artefact unless it is there, under its lock. The maker gets the temporary folder as its argument.
# $1 name (also of lock and log), $2 final folder, $3 what it does, $4 maker
make_artefact() {
	local name=$1 dir=$2 what=$3 maker=$4 lock
	[ -d "$dir" ] && return 0
	exec {lock}>"$CACHE/.$name.lock"
	if ! flock -n "$lock"; then
		say "waiting for another set-up that makes $name"
		flock "$lock"
	fi
	if [ ! -d "$dir" ]; then
		remove_tree "$dir.tmp"
		mkdir -p "$dir.tmp"
		if ! step "$name" "$what" "$maker" "$dir.tmp" || ! mv -T "$dir.tmp" "$dir"; then
			exec {lock}>&-
			return 1
		fi
	fi
	exec {lock}>&-
}

# A half-made root may still have mounts in it: never delete through one.
remove_tree() {
	[ -e "$1" ] || return 0
	if grep -q " $1/" /proc/self/mounts; then
		die "$1 has mounts in it: unmount them, then run this again"
	fi
	rm -rf --one-file-system -- "$1"
}

# $1 file, $2 sha256
checked() { printf '%s  %s\n' "$2" "$1" | sha256sum -c --status; }
