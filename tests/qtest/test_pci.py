# SPDX-License-Identifier: MIT
"""What configuration space says: identity, BARs, capabilities."""
from device import CAP_EXPRESS, CAP_MSIX, SLOT, SRAM, Device
from harness import equal, test
from uapi import const

MMCONFIG = 0xb0000000
AER = 1  # extended capability


@test
def identity():
    """vendor, device, class and revision are those of uapi/kvsink_hw.h"""
    with Device() as dev:
        equal(dev.config_read(0), const("PCI_DEVICE") << 16 | const("PCI_VENDOR"), "device and vendor")
        equal(dev.config_read(8), const("PCI_CLASS") << 16 | 1, "class and revision")


@test
def bar_sizes():
    """BAR sizes: registers 16 KiB, SRAM as configured, MSI-X"""
    with Device() as dev:
        equal(dev.bar_size(const("BAR_REGS")), const("REGS_BYTES"), "BAR 0")
        equal(dev.bar_size(const("BAR_SRAM")), 128 << 10, "BAR 2")
        equal(dev.bar_size(const("BAR_MSIX")), 4096, "BAR 4")


@test
def sram_bar_kind():
    """the SRAM BAR is 64-bit and prefetchable, the register BAR is neither"""
    with Device() as dev:
        equal(dev.config_read(0x10 + 4 * const("BAR_REGS")) & 0xf, 0, "flags of BAR 0")
        equal(dev.config_read(0x10 + 4 * const("BAR_SRAM")) & 0xf, 0xc, "flags of BAR 2")


@test
def sram_bar_rounded():
    """the SRAM BAR is rounded up to a power of two, and what is beyond the SRAM keeps nothing"""
    with Device(sram="192K") as dev:
        equal(dev.get("SRAM_BYTES"), 192 << 10, "SRAM_BYTES")
        equal(dev.bar_size(const("BAR_SRAM")), 256 << 10, "BAR 2")
        for offset, kept in ((0, True), ((192 << 10) - 4, True), (192 << 10, False), ((256 << 10) - 4, False)):
            dev.qemu.writel(SRAM + offset, 0x12345678)
            equal(dev.qemu.readl(SRAM + offset) == 0x12345678, kept, f"SRAM BAR + 0x{offset:x} keeps a word")


@test
def sram_bar_above_4g():
    """the SRAM BAR works above 4 GiB"""
    with Device() as dev:
        dev.qemu.writel(SRAM + 0x100, 0xcafe)
        dev.config_write(0x10 + 4 * const("BAR_SRAM"), 0)
        dev.config_write(0x14 + 4 * const("BAR_SRAM"), 0x8)
        equal(dev.qemu.readl(0x800000000 + 0x100), 0xcafe, "word through the moved BAR")


@test
def msix_size():
    """there is an MSI-X vector for each ring and one for errors"""
    for rings in (1, 8):
        with Device(rings=rings) as dev:
            head = dev.config_read(dev.capability(CAP_MSIX))
            equal((head >> 16 & 0x7ff) + 1, rings + 1, f"vectors with {rings} rings")


@test
def express():
    """it is a PCI Express endpoint with function level reset and advanced error reporting"""
    with Device() as dev:
        at = dev.capability(CAP_EXPRESS)
        assert at, "no PCI Express capability"
        assert dev.config_read(at) >> 20 & 0xf in (0, 9), "neither endpoint nor root complex integrated endpoint"
        assert dev.config_read(at + 4) & 1 << 28, "no function level reset"
        dev.qemu.outl(0xcf8, 0x80000060)
        dev.qemu.outl(0xcfc, MMCONFIG | 1)
        equal(dev.qemu.readl(MMCONFIG + (SLOT << 15) + 0x100) & 0xffff, AER, "first extended capability")


@test
def memory_disabled():
    """with Memory Space off the BARs are gone"""
    with Device() as dev:
        equal(dev.get("ID"), const("ID_MAGIC"), "ID")
        dev.config_write(0x04, 0)
        assert dev.get("ID") != const("ID_MAGIC"), "registers still answer"
