# SPDX-License-Identifier: MIT
"""Jobs from doorbell to completion record: descriptors, GART, rings."""
import os

from device import DATA, GART, Device, command, job_error, ref
from harness import equal, test
from uapi import CONST, STRUCTS, TABLES, const

PAGE = const("GART_PAGE")


@test
def query_round_trip():
    """QUERY writes its records through the GART and the completion record says so"""
    with Device() as dev:
        dev.set_up()
        count = len(TABLES["COUNTERS"])
        done = dev.run_ok([command("QUERY", what=const("QUERY_COUNTERS"), max=count, dst=ref("GART", 0x1000))])
        equal(done.cmd, 1, "commands executed")
        assert done.end_ns > done.begin_ns, "no modelled time passed"
        head = STRUCTS["kvsink_list_head"].from_buffer_copy(dev.data_read(0x1000, 16))
        equal((head.total, head.written, head.record_bytes, head.next), (count, count, 8, 0), "list head")
        equal((dev.ring_get(0, "HEAD"), dev.ring_get(0, "STATE")), (1, const("RING_IDLE")), "HEAD and STATE")
        equal(dev.get("IRQ_STATUS"), 1, "IRQ_STATUS")
        equal(dev.counter("JOBS"), 1, "JOBS")


@test
def copy_through_gart():
    """COPY follows the GART page by page, across page borders and at odd offsets"""
    data = os.urandom(3 * PAGE + 77)
    with Device() as dev:
        dev.set_up()
        order = [9, 3, 7, 1]  # GART page i is data page order[i]
        for page, place in enumerate(order):
            dev.qemu.writeq(GART + 8 * page, DATA + place * PAGE | const("GART_VALID"))
        for page in range(4):
            dev.qemu.write(DATA + order[page] * PAGE, data[page * PAGE:(page + 1) * PAGE].ljust(PAGE, b"\0"))
        dev.run_ok([command("GART_INVALIDATE", count=16),
                    command("COPY", src=ref("GART", 5), dst=ref("GART", 20 * PAGE + 11), bytes=len(data) - 5)])
        equal(dev.data_read(20 * PAGE + 11, len(data) - 5), data[5:], "copied bytes")
        equal(dev.data_read(20 * PAGE, 11), bytes(11), "bytes before")
        equal(dev.counter("HOST_READ"), len(data) - 5, "HOST_READ")


@test
def copy_through_hbm():
    """bytes survive a way through HBM and SRAM, and the backend's file shows the HBM copy"""
    data = os.urandom(10000)
    with Device() as dev:
        dev.set_up()
        dev.data_write(0, data)
        dev.run_ok([command("COPY", src=ref("GART", 0), dst=ref("HBM", 0x123456), bytes=len(data)),
                    command("COPY", src=ref("HBM", 0x123456), dst=ref("SRAM", 0x101), bytes=len(data)),
                    command("COPY", src=ref("SRAM", 0x101), dst=ref("GART", 0x8000), bytes=len(data))])
        equal(dev.data_read(0x8000, len(data)), data, "bytes that came back")
        with open(dev.qemu.hbm_path, "rb") as hbm:
            hbm.seek(0x123456)
            equal(hbm.read(len(data)), data, "bytes in HBM")


@test
def ring_wraps():
    """a ring goes round: 40 jobs through 16 slots, each with its own completion record"""
    with Device() as dev:
        dev.set_up()
        for number in range(40):
            done = dev.run_ok([command("ADVANCE", ns=100)], ring=1)
            equal(dev.ring_get(1, "HEAD"), number + 1, "HEAD")
            equal(done.cmd, 1, "commands executed")
        equal(dev.counter("JOBS"), 40, "JOBS")


@test
def batch_of_jobs():
    """one doorbell publishes many jobs; they complete in order in modelled time"""
    with Device() as dev:
        dev.set_up()
        dev.set("CONTROL", 0)
        slots = [dev.publish([command("ADVANCE", ns=1000)]) for _ in range(dev.slots)]
        dev.qemu.run_bottom_halves()
        equal(dev.ring_get(0, "HEAD"), 0, "HEAD while the engine is disabled")
        dev.set("CONTROL", CONST["KVSINK_CONTROL_ENABLE_MASK"])
        dev.run_ok([command("ADVANCE")], ring=1)
        ends = [dev.completion(0, slot).end_ns for slot in slots]
        equal(dev.ring_get(0, "HEAD"), dev.slots, "HEAD")
        equal(ends, sorted(ends), "ends in modelled time")


@test
def empty_job():
    """a job without commands completes"""
    with Device() as dev:
        dev.set_up()
        equal(dev.run_ok([]).cmd, 0, "commands executed")


@test
def stops_at_first_failure():
    """the first failing command ends its job; what came before stays, what comes behind is not executed"""
    with Device() as dev:
        dev.set_up()
        fills = [command("FILL", dst=ref("GART", PAGE * page), bytes=8, value=0x77) for page in (1, 2)]
        bad = command("COPY", src=ref("GART", 0), dst=ref("GART", PAGE), bytes=0)
        done = dev.run([fills[0], bad, fills[1]])
        equal((done.code, done.cmd), (const("CODE_BAD_FIELD"), 1), job_error(done))
        equal(dev.data_read(PAGE, 8), b"\x77" * 8, "bytes of the command before")
        equal(dev.data_read(2 * PAGE, 8), bytes(8), "bytes of the command behind")
        names = ("ERR_CODE", "ERR_RING", "ERR_CMD")
        equal([dev.get(name) for name in names], [const("CODE_BAD_FIELD"), 0, 1], "error registers")
        dev.run_ok([fills[1]])


@test
def rings_are_independent():
    """jobs of all rings complete, each in its own ring"""
    with Device(rings=8) as dev:
        dev.set_up()
        for ring in reversed(range(8)):
            dev.run_ok([command("ADVANCE", ns=ring)], ring=ring)
            equal([dev.ring_get(r, "HEAD") for r in range(8)], [int(r >= ring) for r in range(8)], "HEADs")
        equal(dev.get("IRQ_STATUS"), 0xff, "IRQ_STATUS")


@test
def privilege():
    """a job without KVSINK_JOB_PRIVILEGED reaches neither HBM nor SRAM"""
    with Device() as dev:
        dev.set_up()
        for space in ("HBM", "SRAM"):
            done = dev.run([command("COPY", src=ref(space, 0), dst=ref("GART", 0), bytes=64)], flags=0)
            equal(done.code, const("CODE_TENANT"), job_error(done))
        dev.run_ok([command("COPY", src=ref("GART", 64), dst=ref("GART", 0), bytes=64)], flags=0)
