# SPDX-License-Identifier: MIT
"""A device behind a root port, plugged and unplugged while QEMU runs."""
from device import CAP_EXPRESS, MSIX, Device, command
from harness import equal, test
from qemu import Qemu

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


class Behind(Device):
    """The only device behind the root port, there from the start, all its addresses routed to it."""
    ECAM = 0xb0000000

    def __init__(self):
        self.qemu = Qemu(None, arguments=PORT + (
            "-device", "kvsink,id=second,bus=rootport,addr=0,hbm=hbm2,rings=3,ring-slots=16,gart-pages=256"))
        self.rings, self.slots, self.seqno = 3, 16, 0x1000
        self.select = 0  # the northbridge
        self.config_write(0x60, self.ECAM | 1)
        self.select = 6 << 11  # the port
        self.config_write(0x18, 0x010100)
        self.config_write(0x20, 0xe000e000)
        self.config_write(0x24, 0xc000c000)
        self.bus_master(True)
        self.slot_control = self.ECAM + (6 << 15) + self.capability(CAP_EXPRESS) + 0x18
        self.select = 1 << 16  # the device
        self.map_bars()

    def config_address(self, offset):
        self.qemu.outl(0xcf8, 0x80000000 | self.select | offset & 0xfc)


@test
def message_that_unplugs():
    """a device whose own message cuts its power goes quietly, with another message still to send"""
    with Behind() as dev:
        dev.set_up()
        dev.msix_enable()
        dev.qemu.writel(MSIX, dev.slot_control)
        dev.qemu.writel(MSIX + 8, 0x700)  # power off, indicator off
        wrong = command("ADVANCE")
        wrong.opcode = 999
        dev.publish([wrong])
        dev.qemu.wait_event("DEVICE_DELETED")
        equal(dev.config_read(0), 0xffffffff, "identity of what is gone")
        dev.qemu.execute("object-del", id="hbm2")
