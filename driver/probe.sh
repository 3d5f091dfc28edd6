#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# Asks the kernel in KDIR what it has, by compiling one small source a feature, and writes the answers as
# macros. Names are those of features, never of versions: Debian's stable series moves under its users.
# Two canaries come first, so that a broken toolchain never looks like an absent feature.
#
# usage: probe.sh KDIR HEADER

set -eu

kdir=$1
header=$2
work=${header%.h}.d
stamp=$(cat "$0" "$kdir/include/generated/utsrelease.h" "$kdir/include/generated/compile.h" 2>/dev/null | cksum)

if [ -f "$header" ] && grep -qF "/* stamp $stamp */" "$header"; then
	exit 0
fi

rm -rf "$work"
mkdir -p "$work"
features=

# probe NAME: the source is read from standard input.
probe() {
	features="$features $1"
	cat >"$work/$1.c"
}

probe canary_good <<END
#include <drm/gpu_scheduler.h>
void probe(struct drm_gpu_scheduler *sched);
void probe(struct drm_gpu_scheduler *sched) { drm_sched_fini(sched); }
END

probe canary_bad <<END
#include <drm/gpu_scheduler.h>
void probe(struct drm_gpu_scheduler *sched);
void probe(struct drm_gpu_scheduler *sched) { kvsink_there_is_no_such_function(sched); }
END

probe drm_sched_init_args <<END
#include <drm/gpu_scheduler.h>
int probe(struct drm_gpu_scheduler *sched);
int probe(struct drm_gpu_scheduler *sched)
{
	struct drm_sched_init_args args = { .credit_limit = 1 };

	return drm_sched_init(sched, &args);
}
END

probe drm_sched_init_args_num_rqs <<END
#include <drm/gpu_scheduler.h>
u32 probe(struct drm_sched_init_args *args);
u32 probe(struct drm_sched_init_args *args) { return args->num_rqs; }
END

probe drm_sched_job_init_client_id <<END
#include <drm/gpu_scheduler.h>
int probe(struct drm_sched_job *job, struct drm_sched_entity *entity);
int probe(struct drm_sched_job *job, struct drm_sched_entity *entity)
{
	return drm_sched_job_init(job, entity, 1, NULL, (u64)1);
}
END

probe drm_sched_stat_no_hang <<END
#include <drm/gpu_scheduler.h>
enum drm_gpu_sched_stat probe(void);
enum drm_gpu_sched_stat probe(void) { return DRM_GPU_SCHED_STAT_NO_HANG; }
END

objects=
for feature in $features; do
	objects="$objects $feature.o"
done
printf 'obj-m :=%s\nccflags-y := -Werror\n' "$objects" >"$work/Kbuild"
# -k: a source that does not compile is an answer, not the end.
make -k -j"$(nproc)" -C "$kdir" M="$(cd "$work" && pwd)" $objects >"$work/log" 2>&1 || true

if [ ! -f "$work/canary_good.o" ] || [ -f "$work/canary_bad.o" ]; then
	echo "probe.sh: cannot compile for $kdir; the compiler said:" >&2
	sed -n '1,40p' "$work/log" >&2
	exit 1
fi

{
	echo "/* SPDX-License-Identifier: GPL-2.0-only */"
	echo "/* Written by probe.sh for $kdir. */"
	echo "/* stamp $stamp */"
	for feature in $features; do
		case $feature in canary_*) continue ;; esac
		macro=KVSINK_HAVE_$(echo "$feature" | tr a-z A-Z)
		if [ -f "$work/$feature.o" ]; then
			echo "#define $macro 1"
		else
			echo "/* $macro: no */"
		fi
	done
} >"$header.new"
mv "$header.new" "$header"
