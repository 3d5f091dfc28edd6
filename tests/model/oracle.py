# SPDX-License-Identifier: MIT
"""
An independent reckoning of what the device says about a decode run: sink scores from a state file's Q and
K, attention mass and KV bytes from a trace of decode's Q and K. NumPy in binary64, by the definitions
(scores: mean attention of the queries outside the local window; mass: softmax), no code of ours.
"""
import struct

import numpy as np

HEADER = "<8sIIQQQ8I2f2I2QQ"
V_IN_K = 1
MIN_OBSERVERS = 32


class State:
    """A state file; q, k, v are [layer][token][head][element]."""

    def __init__(self, path):
        with open(path, "rb") as file:
            data = file.read()
        fields = struct.unpack_from(HEADER, data)
        (self.magic, _, size, _, self.model, _, tokens, self.layers, self.q_heads, self.kv_heads, self.d_k,
         self.d_v) = fields[:12]
        assert self.magic == b"kvsinkSF", "no state file"
        self.rows = tokens - 1
        self.flags, self.window = fields[16:18]
        self.tokens = np.frombuffer(data, "<i4", tokens, size)
        at = size + 4 * tokens + 8
        self.q, self.k, self.v = [], [], []
        for _ in range(self.layers):
            for rows, heads, width in ((self.q, self.q_heads, self.d_k), (self.k, self.kv_heads, self.d_k),
                                       (self.v, self.kv_heads, 0 if self.flags & V_IN_K else self.d_v)):
                count = self.rows * heads * width
                rows.append(np.frombuffer(data, "<f4", count, at).reshape(self.rows, heads, width))
                at += 4 * count
            at += 8
        assert at == len(data), "state file of another length"


def attention(q, k):
    """Causal attention weights of one head: [queries][tokens], queries are the last ones."""
    logits = q.astype(np.float64) @ k.astype(np.float64).T / np.sqrt(q.shape[1])
    first = k.shape[0] - q.shape[0]
    hidden = np.arange(k.shape[0])[None, :] > first + np.arange(q.shape[0])[:, None]
    logits[hidden] = -np.inf
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def mean_scores(state, begin, end, window):
    """MEAN score of each token in a group of layers, and how many queries observed it."""
    n = state.rows
    token, query = np.arange(n)[None, :], np.arange(n)[:, None]
    counted = query >= token + window
    observers = counted.sum(axis=0)
    total = np.zeros(n)
    for layer in range(begin, end):
        for head in range(state.q_heads):
            shared = head // (state.q_heads // state.kv_heads)
            weights = attention(state.q[layer][:, head], state.k[layer][:, shared])
            total += np.where(counted, weights, 0).sum(axis=0)
    scale = observers * (end - begin) * state.q_heads
    return np.divide(total, scale, out=np.zeros(n), where=scale > 0), observers


def sinks(state, groups, window, t_sink, slack=0.0):
    """{(group, token): score} of the eligible tokens whose score reaches t_sink - slack."""
    found = {}
    for group, (begin, end) in enumerate(groups):
        scores, observers = mean_scores(state, begin, end, window)
        for token in np.nonzero((scores >= t_sink - slack) & (observers >= MIN_OBSERVERS))[0]:
            found[group, int(token)] = float(scores[token])
    return found


def decode_mass(state, trace, steps, tags):
    """Share of decode's attention mass on rows that the tags name, mean over steps, layers and query heads."""
    widths = (state.q_heads * state.d_k, state.kv_heads * state.d_k, state.kv_heads * state.d_v)
    rows = np.fromfile(trace, "<f4").reshape(steps, state.layers, sum(widths))
    q = rows[:, :, :widths[0]].reshape(steps, state.layers, state.q_heads, state.d_k)
    k = rows[:, :, widths[0]:widths[0] + widths[1]].reshape(steps, state.layers, state.kv_heads, state.d_k)
    total = 0.0
    for layer in range(state.layers):
        keys = np.concatenate([state.k[layer], k[:, layer]])
        for head in range(state.q_heads):
            shared = head // (state.q_heads // state.kv_heads)
            resident = [tag["token"] for tag in tags
                        if tag["layer_begin"] <= layer < tag["layer_end"] and tag["head_mask"] >> shared & 1]
            total += attention(q[:, layer, head], keys[:, shared])[:, resident].sum()
    return total / (steps * state.layers * state.q_heads)


def decode_bytes(state, steps, tags):
    """KV bytes of decode in all, and of them those that the tags serve: every step reads every row once."""
    row = 4 * (state.d_k + state.d_v)
    every = sum(state.rows + step + 1 for step in range(steps)) * state.layers * state.kv_heads * row
    heads = (1 << state.kv_heads) - 1
    entries = sum((tag["layer_end"] - tag["layer_begin"]) * bin(tag["head_mask"] & heads).count("1") for tag in tags)
    return every, steps * entries * row
