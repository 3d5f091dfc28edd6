# SPDX-License-Identifier: MIT
"""A device behind a root port, plugged and unplugged while QEMU runs."""
from device import Device, command
from harness import equal, test

PORT = ("-device", "pcie-root-port,id=rootport,chassis=1,slot=1,addr=6",
        "-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off",
        "-object", "memory-backend-ram,id=hbm2,size=16M")


def plug(dev, **options):
    """As function 1 without a function 0: such a device leaves at once, without asking the guest."""
    dev.qemu.execute("device_add", driver="kvsink", id="second", bus="rootport", addr="0.1",
                     **{"hbm": "hbm2", **options})


def refusal(dev, **options):
    try:
        plug(dev, **options)
    except RuntimeError as error:
        return str(error)
    return "accepted"


def unplug(dev):
    dev.qemu.execute("device_del", id="second")
    dev.qemu.wait_event("DEVICE_DELETED")


@test
def plug_and_unplug():
    """a device comes and goes three times, with and without threads, and gives its backend back"""
    with Device(arguments=PORT) as dev:
        dev.set_up()
        for threads in (2, 0, 16):
            plug(dev, threads=threads)
            unplug(dev)
        dev.qemu.execute("object-del", id="hbm2")
        dev.run_ok([command("ADVANCE")])


@test
def refused_at_run_time():
    """a backend in use and a bad property are refused at run time; nothing is left behind"""
    with Device(arguments=PORT) as dev:
        dev.set_up()
        equal(refusal(dev, hbm="memory"), "device_add: hbm: memory backend 'memory' is in use already", "refusal")
        assert "tags: 3 is out of range" in refusal(dev, tags=3)
        plug(dev)
        unplug(dev)
        dev.run_ok([command("ADVANCE")])
