# SPDX-License-Identifier: MIT
"""What the tests of kvsink-bench share: recordings, runs, and what holds for every result."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "model"))
import harness  # noqa: E402
from harness import path, run  # noqa: E402

BENCH = os.path.join(harness.BUILD, "bin", "kvsink-bench")
OURS = ("1a", "1b", "1c")
OFFLINE = ("uniform", "hindsight")  # no placement, and one that knows the future


def record(model, prompt, tokens, device, name):
    run("prefill", "--model", model, "--prompt", prompt, "--tokens", tokens, "--device", device, "--state", path(name))
    return path(name)


def bench(*words, code=0):
    out, err = run("model", *words, program=BENCH, code=code)
    return out if code == 0 else err


def runs(*words):
    return json.loads(bench(*words, "--json"))


def one_line(words, says, code):
    err = bench(*words, code=code)
    lines = [line for line in err.splitlines() if not line.startswith("  ")]
    assert len(lines) == 1, f"one line was expected:\n{err}"
    for word in says:
        assert word in lines[0], f"'{word}' is not in: {lines[0]}"


def best(result, policies, sram=None):
    return max((r for r in result["runs"] if r["policy"] in policies and sram in (None, r["sram_bytes"])),
               key=lambda r: r["mass_sram"])


def check_bytes(result):
    """Every step reads every K and V row once, from SRAM or from HBM."""
    first, steps, row_bytes = result["prompt"], result["steps"], result["row_bytes"]
    rows = sum(range(first + 1, first + steps + 1)) * result["layers"] * result["kv_heads"]
    for r in result["runs"]:
        read = (r["kv_hbm_bytes_per_step"] + r["kv_sram_bytes_per_step"]) * steps
        assert round(read) == rows * row_bytes, f"{r['policy']}: {read} bytes read instead of {rows * row_bytes}"
        hits = r["kv_sram_bytes_per_step"] * steps / (rows * row_bytes)
        assert abs(r["hit_rate"] - hits) < 1e-12, f"{r['policy']}: hit rate {r['hit_rate']}, {hits} by its bytes"
        assert r["kv_hbm_bus_bytes_per_step"] >= r["kv_hbm_bytes_per_step"], r["policy"]
        assert r["sram_used_bytes"] <= r["sram_bytes"], f"{r['policy']} holds {r['sram_used_bytes']} bytes"
