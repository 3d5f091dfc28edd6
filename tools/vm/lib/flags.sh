# SPDX-License-Identifier: MIT
#
# How programs from the root run outside it.

# Link flags for programs that must run on the host and in the guest alike: they name the root's own loader and
# libraries by absolute path, and the guest shows the root under that path too.
program_ldflags() {
	local root
	root=$(root_dir)
	printf '%s\n' "-Wl,--dynamic-linker=$root/lib64/ld-linux-x86-64.so.2 -Wl,-rpath,$root/usr/lib/x86_64-linux-gnu"
}

# Runs a program of the root itself on the host, whatever the host's C library is. $1 program, rest: arguments
root_loader() {
	local root
	root=$(root_dir)
	"$root/lib64/ld-linux-x86-64.so.2" --library-path "$root/usr/lib/x86_64-linux-gnu" "$@"
}
