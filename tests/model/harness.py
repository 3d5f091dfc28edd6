# SPDX-License-Identifier: MIT
"""What the tests of kvsink-llm share: TAP, running the tool, and the checks of a whole decode run."""
import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import oracle  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("B", "build"))
TOOL = os.path.join(BUILD, "bin", "kvsink-llm")
NO_HOOK = os.path.join(BUILD, "tests", "kvsink-llm-nohook")
SMOL = os.path.join(BUILD, "model", "SmolLM2-135M-Instruct.F32.gguf")
PROMPT = os.path.join(ROOT, "data", "prompts", "pep-0659.txt")

folder = tempfile.mkdtemp(prefix="kvsink-llm-")
atexit.register(shutil.rmtree, folder, True)


def tiny(kind):
    return os.path.join(BUILD, "tests", "model", kind + ".gguf")


def path(name):
    return os.path.join(folder, name)


class Skip(Exception):
    """A test that cannot run here, and why; tests/allowed-skips must know it."""


def run_tests(tests):
    """Each test is (name, function); a function that raises has failed, or (Skip) says why it cannot run. Returns the
    exit status."""
    failed = 0
    print(f"1..{len(tests)}", flush=True)
    for number, (name, test) in enumerate(tests, 1):
        try:
            test()
            print(f"ok {number} - {name}", flush=True)
        except Skip as why:
            print(f"ok {number} - {name} # SKIP {why}", flush=True)
        except Exception as error:  # whatever breaks a test fails it
            failed += 1
            print(f"not ok {number} - {name}")
            for line in f"{type(error).__name__}: {error}".splitlines()[:40]:
                print("# " + line, flush=True)
    return 1 if failed else 0


def run(command, *words, program=TOOL, code=0, stdin=None):
    """Runs the tool; its exit status must be code. Returns what it wrote to (stdout, stderr)."""
    done = subprocess.run([program, command, *map(str, words)], capture_output=True, text=True, timeout=600,
                          input=stdin, errors="replace")
    assert done.returncode == code, f"{command} {words}: exit {done.returncode}, expected {code}\n{done.stderr}"
    return done.stdout, done.stderr


def refused(command, *words, says, code=1, program=TOOL):
    """The tool must fail with one line (behind lines of progress) that says each of the words in `says`."""
    _, err = run(command, *words, code=code, program=program)
    lines = [line for line in err.splitlines() if not line.startswith("  ")]
    assert len(lines) == 1, f"one line was expected:\n{err}"
    for word in says:
        assert word in lines[0], f"'{word}' is not in: {lines[0]}"


def near(seen, wanted, tolerance, what):
    assert abs(seen - wanted) <= tolerance, f"{what}: {seen}, expected {wanted} within {tolerance}"


class Case:
    """A model, a prompt and a policy: prefill, decode on a device, the stock reference, and what must hold."""

    def __init__(self, model, device, tokens, steps, groups, t_sink, window=64):
        self.model, self.device, self.tokens, self.steps = model, device, tokens, steps
        self.groups, self.t_sink, self.window = groups, t_sink, window
        self.state = self.decoded = None

    def prefill(self):
        out, _ = run("prefill", "--model", self.model, "--prompt", PROMPT, "--tokens", self.tokens, "--device",
                     self.device, "--state", path("state"))
        report = json.loads(out)
        assert report["prefill_relative"] <= 1e-4, f"prefill differs by {report['prefill_relative']}"
        assert report["probe_relative"] <= 1e-4 and report["prefill_relative"] > 0, report
        assert report["poisoned_layers"] == len(report["prefill_relative_by_layer"]), report
        self.state = oracle.State(path("state"))
        assert self.state.rows == self.tokens - 1

    def decode(self):
        groups = ",".join(f"{begin}-{end - 1}" for begin, end in self.groups)
        run("decode", "--model", self.model, "--state", path("state"), "--device", self.device, "--tokens", self.steps,
            "--t-sink", self.t_sink, "--local-window", self.window, "--groups", groups, "--mode", "mean",
            "--logits", path("device.logits"), "--trace", path("trace"), "--json", path("decode.json"))
        with open(path("decode.json"), encoding="utf-8") as file:
            self.decoded = json.load(file)
        assert self.decoded["decoded_tokens"] == self.steps and len(self.decoded["tokens"]) == self.steps

    def stock(self):
        run("stock", "--model", self.model, "--state", path("state"), "--tokens", self.steps, "--logits",
            path("stock.logits"))
        out, _ = run("compare", path("device.logits"), path("stock.logits"))
        report = json.loads(out)
        assert report["steps"] == self.steps and report["identical_tokens"] == self.steps, report
        assert report["max_logit_diff"] <= 1e-3, report

    def promoted(self):
        seen = {(p["group"], p["token"]): p["score"] for p in self.decoded["promoted"]}
        wanted = oracle.sinks(self.state, self.groups, self.window, self.t_sink, 1e-5)
        sure = {key for key, score in wanted.items() if score > self.t_sink + 1e-5}
        assert sure, "the policy finds no sink: this test would say nothing"
        assert sure <= set(seen) <= set(wanted), f"device {sorted(seen)}, oracle {sorted(wanted)}"
        for key, score in seen.items():
            near(score, wanted[key], 1e-5, f"score of {key}")

    def placed(self):
        granted = {(p["token"], p["layer_begin"], p["layer_end"]) for p in self.decoded["promoted"] if p["sram_bytes"]}
        tags = {(t["token"], t["layer_begin"], t["layer_end"]) for t in self.decoded["tags"]}
        assert granted and granted == tags, f"promoted {granted}, tags {tags}"
        assert all(tag["valid"] for tag in self.decoded["tags"])
        used = sum(tag["sram_bytes"] for tag in self.decoded["tags"])
        assert used == self.decoded["sram_bytes_used"] <= self.decoded["sram_bytes"], used

    def reckoned(self):
        mass = oracle.decode_mass(self.state, path("trace"), self.steps, self.decoded["tags"])
        near(self.decoded["mass_sram"], mass, 1e-5, "attention mass from SRAM")
        near(sum(self.decoded["mass_sram_by_layer"]) / self.state.layers, mass, 1e-5, "mean of the layers' masses")
        every, sram = oracle.decode_bytes(self.state, self.steps, self.decoded["tags"])
        seen = (self.decoded["kv_bytes_uniform"], self.decoded["kv_bytes_sram"], self.decoded["kv_bytes_hbm"])
        assert seen == (every, sram, every - sram) and sram > 0, f"{seen}, expected {every} {sram} {every - sram}"

    def tests(self):
        return [
            ("prefill: the device's attention agrees with stock in every layer", self.prefill),
            ("decode: runs through the device", self.decode),
            ("decode: tokens identical to stock, logits within 1e-3", self.stock),
            ("placement: the promoted tokens are those of the oracle", self.promoted),
            ("placement: tags are what was promoted", self.placed),
            ("ledger: mass and bytes are those of the oracle", self.reckoned),
        ]
