#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
How T_sink of the demonstration was fixed, on another text than the one it decodes (data/README.md):
calibrate.py STATE [BUDGET_BYTES] lists the best-scored tokens of each score group and the smallest T_sink,
in steps of 0.01, at which everything that reaches it fits into the budget (default: a quarter of 1 MiB).
"""
import sys

from oracle import MIN_OBSERVERS, State, mean_scores

GROUPS = [(0, 12), (12, 30)]
WINDOW = 64


def main():
    state = State(sys.argv[1])
    budget = int(sys.argv[2]) if len(sys.argv) > 2 else 1 << 18
    row = 4 * (state.d_k + state.d_v) * state.kv_heads
    eligible = []
    for begin, end in GROUPS:
        scores, observers = mean_scores(state, begin, end, WINDOW)
        best = sorted(((s, t) for t, s in enumerate(scores) if observers[t] >= MIN_OBSERVERS), reverse=True)
        print(f"layers {begin}-{end - 1}:", ", ".join(f"{t}: {s:.4f}" for s, t in best[:12]))
        eligible += [(score, token, (end - begin) * row) for score, token in best]
    for step in range(1, 100):
        threshold = step / 100
        chosen = [size for score, _, size in eligible if score >= threshold]
        if sum(chosen) <= budget:
            print(f"T_sink {threshold:.2f}: {len(chosen)} tokens, {sum(chosen)} B of {budget}")
            return


main()
