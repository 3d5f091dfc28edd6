#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
planes.py STATE: would bounds on K leave K itself unread? Measured on a state file of kvsink-llm prefill, for its last queries:
the share of rows that MASS may leave when their logits are known exactly (what gated mode does), from the high four bits of
INT8 codes (K in two planes), and from the box of their page of 16 tokens. A row is left if every query head of its KV head lets
it go. The bounds are sound; budgets are spent greedily from the lightest upper bound on, against what was read exactly.
"""
import sys

import numpy as np

from oracle import State

EPSILON, PAGE, GROUP, QUERIES = 0.03, 16, 32, 32


def left(upper, exact):
    """Rows that may stay unread: sum of their upper weights within EPSILON of the exact weights of the others."""
    top = exact.max()
    upper, exact = np.exp(upper - top), np.exp(exact - top)
    order = np.argsort(upper, kind="stable")
    read = exact.sum() - np.cumsum(exact[order])
    over = np.cumsum(upper[order]) > EPSILON / (1 - EPSILON) * read
    skip = np.zeros(upper.size, bool)
    skip[order[:int(np.argmax(over))]] = True
    return skip


def plane_bound(q, k):
    """Upper logits from the high four bits of codes of eight, one scale for GROUP elements of a row."""
    groups = k.reshape(k.shape[0], -1, GROUP)
    scale = np.maximum(np.abs(groups).max(axis=2, keepdims=True), 1e-30) / 127
    high = np.floor(np.rint(groups / scale) / 16)
    middle = ((16 * high + 7.5) * scale).reshape(k.shape)
    slack = 7.5 * (scale[:, :, 0] * np.abs(q).reshape(-1, GROUP).sum(axis=1)[None, :]).sum(axis=1)
    exact = (np.rint(groups / scale) * scale).reshape(k.shape)
    return middle @ q + slack, exact @ q


def box_bound(q, k):
    pages = k[:k.shape[0] // PAGE * PAGE].reshape(-1, PAGE, k.shape[1])
    bound = np.maximum(pages.min(axis=1) * q, pages.max(axis=1) * q).sum(axis=1)
    rest = k[pages.shape[0] * PAGE:] @ q
    return np.concatenate([np.repeat(bound, PAGE), rest])


def main(path):
    state = State(path)
    share = {"exact": [], "two planes": [], "box of a page": []}
    group = state.q_heads // state.kv_heads
    for layer in range(state.layers):
        for at in range(state.rows - QUERIES, state.rows, 4):
            for kv in range(state.kv_heads):
                k = state.k[layer][:at + 1, kv].astype(np.float64)
                skip = {name: np.ones(at + 1, bool) for name in share}
                for head in range(kv * group, (kv + 1) * group):
                    q = state.q[layer][at, head].astype(np.float64) / np.sqrt(state.d_k)
                    plain = k @ q
                    upper, coded = plane_bound(q, k)
                    skip["exact"] &= left(plain, plain)
                    skip["two planes"] &= left(upper, coded)
                    skip["box of a page"] &= left(box_bound(q, k), plain)
                for name, rows in skip.items():
                    share[name].append(rows.mean())
    for name, rows in share.items():
        print(f"{name:14} {100 * np.mean(rows):6.2f} % of rows left unread")


if __name__ == "__main__":
    main(sys.argv[1])
