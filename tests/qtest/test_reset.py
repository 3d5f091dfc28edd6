# SPDX-License-Identifier: MIT
"""Resets: engine reset, function level reset, system reset, unplug; idle and in the middle of a job."""
import random

from device import SRAM, Device, command, job_error, place, ref
from harness import equal, test
from test_registers import check_reset_values
from test_streams import attend, attend_job, check_output, create, entry
from uapi import CONST, const


def system_reset(dev):
    dev.qemu.execute("system_reset")
    dev.qemu.wait_event("RESET")


RESETS = (("function level reset", Device.function_level_reset), ("system reset", system_reset))


def check_after_cold_reset(dev, generation):
    """Nothing is left of what was; the device works."""
    equal(dev.config_read(0x10), 0, "BAR 0 after a reset")
    dev.map_bars()
    check_reset_values(dev)
    assert dev.get("GENERATION") > generation, "GENERATION did not grow"
    equal(dev.qemu.read(SRAM, 4096), bytes(4096), "SRAM")
    dev.set_up()
    create(dev)
    check_output(attend(dev, 0)[0], 0)


def hbm_is_zero(dev):
    with open(dev.qemu.hbm_path, "rb") as hbm:
        return not any(hbm.read())


@test
def cold_resets():
    """function level and system reset: registers, BARs, SRAM, HBM and streams are as after power-on"""
    for name, reset in RESETS:
        with Device() as dev:
            dev.set_up()
            create(dev)
            dev.run_ok([command("PROMOTE", stream=1, item_count=1)], [place(0, 0, 1, 1)])
            assert not hbm_is_zero(dev), "nothing was written to HBM"
            generation = dev.get("GENERATION")
            reset(dev)
            assert hbm_is_zero(dev), f"HBM is not cleared by a {name}"
            check_after_cold_reset(dev, generation)


@test
def cold_reset_of_hung_job():
    """function level and system reset end a hung job"""
    for _, reset in RESETS:
        with Device() as dev:
            dev.set_up()
            dev.qemu.execute("qom-set", path="/machine/peripheral/dev", property="inject-hang", value=1)
            slot = dev.publish([command("ADVANCE")])
            dev.qemu.run_bottom_halves()
            equal(dev.ring_get(0, "STATE"), const("RING_BUSY"), "STATE before the reset")
            generation = dev.get("GENERATION")
            reset(dev)
            equal(dev.completion(0, slot).code, 0xeeeeeeee, "completion of the hung job")
            check_after_cold_reset(dev, generation)


@test
def cold_reset_in_mid_job():
    """function level and system reset at any moment of running jobs leave nothing behind"""
    source = random.Random(3)
    for threads in (0, 2):
        with Device(threads=threads) as dev:
            for turn in range(12):
                dev.set_up()
                create(dev)
                generation = dev.get("GENERATION")
                commands, items = attend_job(0)
                for ring in range(dev.rings):
                    dev.publish(commands * 60, items, ring=ring)
                for _ in range(source.randrange(20)):
                    dev.get("ID")
                RESETS[turn % 2][1](dev)
                assert hbm_is_zero(dev), "HBM is not cleared"
                for ring in range(dev.rings):
                    dev.qemu.memset(dev.completions(ring), 64 * dev.slots, 0xdd)
                dev.data_write(0x18000, b"\x55" * 128)
                dev.qemu.run_bottom_halves()
                for ring in range(dev.rings):
                    equal(set(dev.qemu.read(dev.completions(ring), 64 * dev.slots)), {0xdd}, "completions afterwards")
                equal(dev.data_read(0x18000, 128), b"\x55" * 128, "outputs afterwards")
                check_after_cold_reset(dev, generation)
                RESETS[0][1](dev)
                dev.map_bars()


@test
def engine_reset():
    """CONTROL.RESET drops tags and SRAM, keeps HBM, streams and base addresses, and the generation grows"""
    with Device() as dev:
        dev.set_up()
        create(dev)
        before = attend(dev, 0)[0]
        dev.run_ok([command("PROMOTE", stream=1, item_count=1), command("BARRIER", stream=1)], [place(0, 0, 2, 3)])
        offset = entry(dev, 0).sram_offset
        generation = dev.get("GENERATION")
        dev.set("CONTROL", CONST["KVSINK_CONTROL_RESET_MASK"])
        equal(dev.get("GENERATION"), generation + 1, "GENERATION")
        equal((dev.get("TAGS_VALID"), dev.get("SRAM_USED"), dev.get("STREAMS_LIVE")), (0, 0, 1),
              "TAGS_VALID, SRAM_USED, STREAMS_LIVE")
        equal(dev.qemu.read(SRAM + offset, 64), bytes(64), "SRAM")
        dev.set_up()
        equal(attend(dev, 0)[0], before, "attention after the reset")


@test
def engine_reset_in_mid_job():
    """CONTROL.RESET at any moment of running jobs: what completes afterwards is only new work"""
    source = random.Random(5)
    for threads in (0, 2):
        with Device(threads=threads) as dev:
            dev.set_up()
            create(dev)
            right = attend(dev, 1)[0]
            for _ in range(30):
                commands, items = attend_job(0)
                for ring in range(dev.rings):
                    dev.publish(commands * 60, items, ring=ring)
                for _ in range(source.randrange(20)):
                    dev.get("ID")
                dev.set("CONTROL", CONST["KVSINK_CONTROL_RESET_MASK"])
                for ring in range(dev.rings):
                    equal(dev.ring_get(ring, "HEAD"), 0, "HEAD")
                dev.set_up()
                for ring in range(dev.rings):
                    dev.run_ok([command("ADVANCE")], ring=ring)
                equal(attend(dev, 1)[0], right, "attention after the reset")


@test
def many_resets():
    """200 function level resets: the generation counts each, the last device works"""
    with Device() as dev:
        first = dev.get("GENERATION")
        for _ in range(200):
            dev.function_level_reset()
        dev.map_bars()
        equal(dev.get("GENERATION"), first + 200, "GENERATION")
        dev.set_up()
        dev.run_ok([command("FILL", dst=ref("GART", 0), bytes=64, value=1)])


@test
def injection_ends_with_reset():
    """faults that were injected but not used are gone after a function level reset"""
    with Device() as dev:
        dev.set_up()
        dev.qemu.execute("qom-set", path="/machine/peripheral/dev", property="inject-dma-error", value=5)
        dev.function_level_reset()
        dev.map_bars()
        dev.set_up()
        done = dev.run([command("FILL", dst=ref("GART", 0), bytes=64, value=1)])
        equal(done.code, const("CODE_OK"), job_error(done))
