# SPDX-License-Identifier: MIT
"""record=FILE: what went into the device, replayed by sinkctl on the host; files that cannot be."""
import json
import os
import subprocess
import tempfile

from device import SRAM, Device, command, place
from harness import equal, test
from qemu import start_and_fail
from test_reset import RESETS
from test_streams import attend, create, promote

SINKCTL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "build", "bin", "sinkctl")


def replay(path):
    """(exit status, its record or None, standard error)"""
    done = subprocess.run([SINKCTL, "replay", path, "--json"], capture_output=True, text=True, check=False)
    records = json.loads(done.stdout).get("replays")
    return done.returncode, records[0] if records else None, done.stderr


def work(dev):
    dev.set_up()
    create(dev)
    promote(dev, 3)
    dev.run([command("PROMOTE", stream=1, item_count=1)], [place(3, 0, 2)])  # refused: it is there
    for layer in (0, 1):
        attend(dev, layer, ring=layer)


@test
def the_same_again():
    """jobs, refusals, threads, an injected error and all kinds of reset are replayed, up to the same digest"""
    for threads in (0, 3):
        with tempfile.TemporaryDirectory(prefix="kvsink-record-") as folder:
            path = os.path.join(folder, "tape")
            with Device(threads=threads, record=path) as dev:
                work(dev)
                dev.qemu.execute("qom-set", path="/machine/peripheral/dev", property="inject-dma-error", value=1)
                dev.run([command("QUERY", what=0, max=1)])
                for _, reset in RESETS:
                    reset(dev)
                    dev.map_bars()
                    work(dev)
            status, record, stderr = replay(path)
            assert status == 0 and record["same"] and record["digest"] == record["recorded"], (record, stderr)
            assert record["records"] > 200 and record["bytes_in"] > 50000, record


@test
def written_behind_its_back():
    """SRAM that the guest writes through its BAR is not in a recording: the replay says what differs"""
    with tempfile.TemporaryDirectory(prefix="kvsink-record-") as folder:
        path = os.path.join(folder, "tape")
        with Device(record=path) as dev:
            work(dev)
            dev.qemu.write(SRAM + 8192, b"graffiti")
        status, record, stderr = replay(path)
        assert status == 1 and not record["same"] and "the digest is not" in stderr, (record, stderr)


@test
def killed():
    """the recording of a killed QEMU has no digest, and the replay says so"""
    with tempfile.TemporaryDirectory(prefix="kvsink-record-") as folder:
        path = os.path.join(folder, "tape")
        dev = Device(record=path)
        work(dev)
        dev.qemu.process.kill()
        dev.qemu.process.wait()
        dev.qemu.close()
        status, record, stderr = replay(path)
        equal((status, record["digest"]), (1, None), "of a killed QEMU")
        assert "the recording ends" in stderr and len(stderr.splitlines()) == 1, stderr


@test
def files():
    """a file that exists, and a folder that does not, are refused with one line"""
    with tempfile.TemporaryDirectory(prefix="kvsink-record-") as folder:
        path = os.path.join(folder, "tape")
        with open(path, "w", encoding="ascii") as file:
            file.write("precious")
        for name in (path, os.path.join(folder, "none", "tape")):
            status, lines = start_and_fail(f"kvsink,hbm=memory,record={name}")
            equal((status, len(lines)), (1, 1), f"{name}: {lines}")
            assert f"record: cannot make '{name}'" in lines[0], lines
        with open(path, encoding="ascii") as file:
            equal(file.read(), "precious", "the file")
