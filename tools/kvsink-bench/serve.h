/* SPDX-License-Identifier: MIT */
/*
 * kvsink-bench serve: the same trace of requests through kvsink-llm serve, once for each placement policy,
 * and what each has read, as ratios to paging (everything in HBM) and LRU measured in the same run.
 */
#ifndef KVSINK_BENCH_SERVE_H
#define KVSINK_BENCH_SERVE_H

/* serve_command - words behind "serve"; returns the exit status */
int serve_command(int argc, char **argv);

#endif
