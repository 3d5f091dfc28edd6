# SPDX-License-Identifier: MIT
"""
What the tests of sinkctl share: TAP, running the tool (as a program, or inside sinkctl-stage), a strict JSON
parser, and the checks that hold for every document.
"""
import json
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.join(ROOT, os.environ.get("B", "build"))
SINKCTL = os.path.join(BUILD, "bin", "sinkctl")
STAGE = os.path.join(BUILD, "tests", "sinkctl-stage")

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(ROOT, "tests", "qtest"))
import uapi  # noqa: E402  (reads the tables of kvsink_hw.h; nothing of the tool)


class Tap:
    """Test results; every test is a function that raises AssertionError to fail."""

    def __init__(self):
        self.count = self.failed = 0

    def run(self, tests):
        print(f"1..{len(tests)}", flush=True)
        for name, test in tests:
            self.count += 1
            try:
                test()
                print(f"ok {self.count} - {name}", flush=True)
            except Exception as error:  # a test that breaks has failed
                self.failed += 1
                print(f"not ok {self.count} - {name}")
                for line in f"{type(error).__name__}: {error}".splitlines()[:30]:
                    print("# " + line, flush=True)
        return 1 if self.failed else 0


def equal(seen, wanted, what=""):
    assert seen == wanted, f"{what}: {seen!r}, expected {wanted!r}"


class Result:
    def __init__(self, words, code, out, err):
        self.words, self.code, self.out, self.err = words, code, out, err

    def __str__(self):
        return f"sinkctl {' '.join(self.words)}: exit {self.code}\n{self.out}{self.err}"


def program(*words, prefix=()):
    done = subprocess.run([*prefix, SINKCTL, *words], capture_output=True, text=True, timeout=300)
    return Result(words, done.returncode, done.stdout, done.stderr)


class Stage:
    """sinkctl-stage: a live stream, and sinkctl in the same process."""

    def __init__(self, device):
        self.device = device
        self.child = subprocess.Popen([STAGE, device], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        first = self.child.stdout.readline()
        assert first.strip(), f"sinkctl-stage {device} did not start"
        self.stream = int(first)

    def order(self, *words):
        self.child.stdin.write("\t".join(words).encode() + b"\n")
        self.child.stdin.flush()
        answer = self.child.stdout.readline().split()
        assert answer, f"sinkctl-stage died at {words}"
        return [int(number) for number in answer[1:]]

    def do(self, *words):
        equal(self.order(*words), [0], " ".join(words))

    def run(self, *words, device=None):
        words = ("-d", device or self.device) + words
        code, out, err = self.order("run", *words)
        return Result(words, code, self.child.stdout.read(out).decode(), self.child.stdout.read(err).decode())

    def tool(self, *words):
        """A command that must succeed, and the device's part of its document."""
        return only_device(document(self.run(*words, "--json"), 0))

    def close(self):
        self.child.stdin.close()
        equal(self.child.wait(60), 0, "exit code of sinkctl-stage")


def refuse(text):
    raise ValueError(f"{text} is not JSON")


def unique(pairs):
    keys = [key for key, _ in pairs]
    assert len(keys) == len(set(keys)), f"a key stands twice: {keys}"
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", key) for key in keys), f"keys are not snake_case: {keys}"
    return dict(pairs)


def parse(text):
    return json.loads(text, parse_constant=refuse, object_pairs_hook=unique)


def document(result, code=None):
    """The one document of a run with --json, after the checks that hold for each."""
    if code is not None:
        assert result.code == code, f"expected exit {code}: {result}"
    assert result.out.endswith("}\n") and result.out.isascii(), result
    doc = parse(result.out)
    equal(list(doc)[:5], ["schema", "command", "tool", "devices", "errors"], "first keys")
    equal(doc["schema"], "kvsink/1", "schema")
    for error in doc["errors"]:
        equal(sorted(error), ["code", "device", "message", "status"], "keys of an error")
        assert error["message"] in result.err, f"the message is not on stderr: {result}"
    equal(bool(doc["errors"]), result.code != 0, f"errors and exit code {result}")
    lines = [line for line in result.err.splitlines() if not line.startswith("sinkctl: note: ")]
    equal(len(lines), len(doc["errors"]), f"one line an error {result}")
    return doc


def only_device(doc):
    equal(len(doc["devices"]), 1, "number of devices")
    return doc["devices"][0]


def fails(result, code, *parts):
    """The run failed with that code and one line that has all the parts."""
    assert result.code == code, f"expected exit {code}: {result}"
    lines = [line for line in result.err.splitlines() if not line.startswith("sinkctl: note: ")]
    assert len(lines) == 1 and lines[0].startswith("sinkctl: "), f"one line on stderr: {result}"
    for part in parts:
        assert part in lines[0], f"'{part}' is missing: {result}"
    return result


def table(text):
    """Rows of a table as words; the first is the heading."""
    return [line.split() for line in text.splitlines()]


TYPES = {"integer": int, "number": float, "string": str, "boolean": bool, "array": list, "object": dict}


def check_record(record, keys, extra=()):
    """Every described key is there, with its type or null, and no other."""
    equal(sorted(record), sorted({key["name"] for key in keys} | set(extra)), "keys of a record")
    for key in keys:
        value = record[key["name"]]
        assert value is None or type(value) is TYPES[key["type"]], f"{key['name']} is {value!r}, not {key['type']}"


def readable_registers(rings, admin=True):
    """name -> (offset, access, visibility, width) of what REG_READ allows, from the header's tables."""
    number = lambda text: uapi.CONST.get(text) if text in uapi.CONST else int(text, 0)
    regs = {row[0]: (number(row[1]), row[2], row[3].lower(), 32) for row in uapi.TABLES["REGS"]}
    for ring in range(rings):
        base = uapi.CONST["KVSINK_RING_BASE"] + ring * uapi.CONST["KVSINK_RING_STRIDE"]
        for row in uapi.TABLES["RING_REGS"]:
            regs[f"ring{ring}.{row[0]}"] = (base + number(row[1]), row[2], row[3].lower(), 32)
    for index, row in enumerate(uapi.TABLES["COUNTERS"]):
        regs["counter." + row[0]] = (uapi.CONST["KVSINK_COUNTER_BASE"] + 8 * index, "RO", "admin", 64)
    wanted = {"public", "admin"} if admin else {"public"}
    return {name: reg for name, reg in regs.items() if reg[2] in wanted}


def check_dump(device, rings, admin=True):
    """Every register that may be read, once, as the header describes it. Returns name -> record."""
    seen = {record["name"]: record for record in device["registers"]}
    equal(len(seen), len(device["registers"]), "a register stands twice; distinct names")
    wanted = readable_registers(rings, admin)
    equal(sorted(seen), sorted(wanted), "registers of the dump")
    for name, record in seen.items():
        described = (record["offset"], record["access"], record["visibility"], record["width"])
        equal(described, wanted[name], name)
        equal(record["hex"], f"0x{record['value']:0{record['width'] // 4}x}", name)
        fields = {row[1].lower(): record["value"] >> int(row[2]) & (1 << int(row[3])) - 1
                  for row in uapi.TABLES["FIELDS"] if row[0] == name}
        equal(record["fields"], fields, f"fields of {name}")
    return seen
