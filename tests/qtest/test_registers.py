# SPDX-License-Identifier: MIT
"""Every register of the table: value after reset, what can be written, how wide it may be accessed."""
from device import REGS, SRAM_BYTES, HBM_BYTES, PROPERTIES, Device, command
from harness import equal, test
from uapi import CONST, TABLES, const

PARAM_DEFAULT = {row[0]: int(row[4], 0) for row in TABLES["PARAMS"]}
RESET_VALUES = {
    "ID": const("ID_MAGIC"), "VERSION": const("HW_VERSION"), "CAPS": 0xf1f, "STATUS": CONST["KVSINK_STATUS_READY_MASK"],
    "CONTROL": 0, "SRAM_BYTES": SRAM_BYTES, "HBM_MIB": HBM_BYTES >> 20, "TAG_COUNT": PROPERTIES["tags"],
    "STREAM_COUNT": PROPERTIES["streams"], "RING_COUNT": PROPERTIES["rings"], "RING_SLOTS": PROPERTIES["ring-slots"],
    "GART_PAGES": PROPERTIES["gart-pages"], "BURST_BYTES": PROPERTIES["burst"],
    "SRAM_LATENCY_NS": PROPERTIES["sram-latency-ns"], "HBM_LATENCY_NS": PROPERTIES["hbm-latency-ns"],
    "SRAM_GBPS": PROPERTIES["sram-gbps"], "HBM_GBPS": PROPERTIES["hbm-gbps"], "DMA_GBPS": PROPERTIES["dma-gbps"],
    "JOB_OVERHEAD_NS": PROPERTIES["job-overhead-ns"], "TAG_LATENCY_NS": PROPERTIES["tag-latency-ns"], "IRQ_STATUS": 0, "IRQ_MASK": 0, "ERR_CODE": 0, "ERR_RING": 0,
    "ERR_CMD": 0, "ERR_ADDR_LO": 0, "ERR_ADDR_HI": 0, "GART_BASE_LO": 0, "GART_BASE_HI": 0, "TAGS_VALID": 0,
    "SRAM_USED": 0, "STREAMS_LIVE": 0, "SRAM_LARGEST": SRAM_BYTES, "COPIES_PENDING": 0, "CONTRACTS": 0,
}
for name, value in PARAM_DEFAULT.items():  # a 64-bit parameter has two registers
    RESET_VALUES.update({name: value & 0xffffffff, name + "_LO": value & 0xffffffff, name + "_HI": value >> 32})


def check_reset_values(dev):
    """GENERATION is not among them: it grows."""
    for row in TABLES["REGS"]:
        if row[0] != "GENERATION":
            equal(dev.get(row[0]), RESET_VALUES[row[0]], row[0])
    for ring in range(dev.rings):
        for row in TABLES["RING_REGS"]:
            equal(dev.ring_get(ring, row[0]), 0, f"{row[0]} of ring {ring}")
    for row in TABLES["COUNTERS"]:
        equal(dev.counter(row[0]), 0, f"counter {row[0]}")


@test
def reset_values():
    """after reset every register, ring register and counter has its documented value"""
    with Device() as dev:
        check_reset_values(dev)
        assert dev.get("GENERATION") >= 1, "GENERATION 0 means none"


@test
def read_only():
    """registers that the table calls RO keep their value"""
    with Device() as dev:
        for row in TABLES["REGS"]:
            before = dev.get(row[0])
            if row[2] == "RO":
                dev.set(row[0], ~before & 0xffffffff)
                equal(dev.get(row[0]), before, row[0])
        for row in TABLES["RING_REGS"]:
            if row[2] == "RO":
                dev.ring_set(1, row[0], 0xffffffff)
                equal(dev.ring_get(1, row[0]), 0, row[0])
        address = REGS + const("COUNTER_BASE")
        dev.qemu.writeq(address, 0xffffffffffffffff)
        equal(dev.qemu.readq(address), 0, "first counter")
        check_reset_values(dev)


@test
def read_write():
    """base addresses and the interrupt mask hold what is written, IRQ_MASK only bits that exist"""
    with Device() as dev:
        for name in ("GART_BASE_LO", "GART_BASE_HI"):
            dev.set(name, 0x5a5a5000)
            equal(dev.get(name), 0x5a5a5000, name)
        dev.set("IRQ_MASK", 0xffffffff)
        equal(dev.get("IRQ_MASK"), const("IRQ_ERROR") | (1 << dev.rings) - 1, "IRQ_MASK")
        for ring in range(dev.rings):
            for name in ("JOBS_LO", "JOBS_HI", "CPLS_LO", "CPLS_HI"):
                dev.ring_set(ring, name, 0x1000 * (ring + 1))
        for ring in range(dev.rings):
            for name in ("JOBS_LO", "JOBS_HI", "CPLS_LO", "CPLS_HI"):
                equal(dev.ring_get(ring, name), 0x1000 * (ring + 1), f"{name} of ring {ring}")


@test
def control():
    """CONTROL keeps ENABLE alone; RESET reads as zero"""
    with Device() as dev:
        enable, reset = CONST["KVSINK_CONTROL_ENABLE_MASK"], CONST["KVSINK_CONTROL_RESET_MASK"]
        dev.set("CONTROL", enable)
        equal(dev.get("CONTROL"), enable, "CONTROL")
        dev.set("CONTROL", 0xffffffff)
        equal(dev.get("CONTROL") & ~enable, 0, "CONTROL without ENABLE")
        dev.set("CONTROL", reset)
        equal(dev.get("CONTROL"), 0, "CONTROL after a reset without ENABLE")


@test
def write_one_to_clear():
    """IRQ_STATUS clears only the bits written; writing ERR_CODE clears the error and STATUS.ERROR"""
    with Device() as dev:
        dev.set_up()
        dev.set("IRQ_MASK", 0)
        dev.run([command("ADVANCE")], ring=2)
        bad = command("ADVANCE")
        bad.opcode = 0x7777
        dev.run([bad], ring=0)
        equal(dev.get("IRQ_STATUS"), const("IRQ_ERROR") | 5, "IRQ_STATUS")
        dev.set("IRQ_STATUS", 4)
        equal(dev.get("IRQ_STATUS"), const("IRQ_ERROR") | 1, "IRQ_STATUS after clearing bit 2")
        dev.set("IRQ_STATUS", 0)
        equal(dev.get("IRQ_STATUS"), const("IRQ_ERROR") | 1, "IRQ_STATUS after writing 0")
        dev.set("IRQ_STATUS", 0xffffffff)
        equal(dev.get("IRQ_STATUS"), 0, "IRQ_STATUS after clearing all")
        equal(dev.get("ERR_CODE"), const("CODE_BAD_OPCODE"), "ERR_CODE")
        equal(dev.get("STATUS") & CONST["KVSINK_STATUS_ERROR_MASK"], CONST["KVSINK_STATUS_ERROR_MASK"], "STATUS.ERROR")
        dev.set("ERR_CODE", 1)
        equal(dev.get("ERR_CODE"), 0, "ERR_CODE after clearing")
        equal(dev.get("STATUS"), CONST["KVSINK_STATUS_READY_MASK"], "STATUS after clearing")


@test
def wide_access():
    """a 64-bit access reads and writes two registers"""
    with Device() as dev:
        equal(dev.qemu.readq(REGS), const("HW_VERSION") << 32 | const("ID_MAGIC"), "ID and VERSION")
        dev.qemu.writeq(REGS + const("REG_GART_BASE_LO") - const("REG_GART_BASE_LO") % 8, 0x1234567089abc000)
        equal((dev.get("GART_BASE_HI"), dev.get("GART_BASE_LO")), (0x12345670, 0x89abc000), "GART_BASE")


@test
def counters_latch():
    """reading the low half of a counter latches its high half for either width"""
    with Device() as dev:
        dev.set_up()
        dev.run([command("ADVANCE", ns=0x300000007)])
        address = REGS + const("COUNTER_BASE") + 8 * const("COUNTER_JOBS")
        equal(dev.qemu.readq(address), 1, "JOBS")
        equal((dev.qemu.readl(address), dev.qemu.readl(address + 4)), (1, 0), "JOBS by halves")


@test
def narrow_access():
    """8-bit, 16-bit and unaligned accesses change nothing"""
    with Device() as dev:
        address = REGS + const("REG_GART_BASE_LO")
        dev.set("GART_BASE_LO", 0x11223000)
        for text in (f"writeb 0x{address:x} 0xff", f"writew 0x{address:x} 0xffff",
                     f"writel 0x{address + 2:x} 0xffffffff"):
            dev.qemu.ask(text)
            equal(dev.get("GART_BASE_LO"), 0x11223000, f"GART_BASE_LO after {text}")
            equal(dev.get("GART_BASE_HI"), 0, f"GART_BASE_HI after {text}")


@test
def unknown_offsets():
    """every offset that the tables do not name reads 0 and takes no write"""
    known = {const("REG_" + row[0]) for row in TABLES["REGS"]}
    for ring in range(PROPERTIES["rings"]):
        known |= {const("RING_BASE") + ring * const("RING_STRIDE") + const("RING_" + row[0])
                  for row in TABLES["RING_REGS"]}
    known |= set(range(const("COUNTER_BASE"), const("COUNTER_BASE") + 8 * len(TABLES["COUNTERS"]), 4))
    with Device() as dev:
        for offset in range(0, const("REGS_BYTES"), 4):
            if offset not in known:
                dev.qemu.writel(REGS + offset, 0xffffffff)
                equal(dev.qemu.readl(REGS + offset), 0, f"offset 0x{offset:x}")
        check_reset_values(dev)
        assert "offset 0x3ffc" in dev.qemu.log(), "an unknown offset is not logged as a guest error"
