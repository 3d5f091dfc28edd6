/* SPDX-License-Identifier: MIT */
/*
 * kvsink-bench share: what one prefix takes of SRAM and copies, and what a step of all streams that begin
 * with it reads, for more and more streams. Bytes are the device's own counters.
 */
#ifndef KVSINK_BENCH_SHARE_H
#define KVSINK_BENCH_SHARE_H

/* share_command - words behind "share"; returns the exit status */
int share_command(int argc, char **argv);

#endif
