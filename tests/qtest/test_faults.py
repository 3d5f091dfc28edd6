# SPDX-License-Identifier: MIT
"""Faults: each stage of DMA, injected faults, and guests that mean harm. The device answers and goes on."""
import random
import struct

from device import DATA, GART, HOLE, MSIX, REGS, Device, command, job_error, ref
from harness import equal, test
from test_registers import check_reset_values
from uapi import CONST, STRUCTS, TABLES, const

PAGE = const("GART_PAGE")
MMCONFIG = 0xb0000000
DMA_ERROR = const("CODE_DMA_ERROR")


def check_halted(dev, ring, address):
    """Ring is halted by a bus fault at address, others are not and go on."""
    dev.wait_halted(ring)
    equal(dev.get("STATUS") & CONST["KVSINK_STATUS_HALTED_MASK"], 1 << ring + CONST["KVSINK_STATUS_HALTED_SHIFT"],
          "STATUS.HALTED")
    equal((dev.get("ERR_CODE"), dev.get("ERR_RING")), (DMA_ERROR, ring), "ERR_CODE and ERR_RING")
    equal(dev.get("ERR_ADDR_HI") << 32 | dev.get("ERR_ADDR_LO"), address, "ERR_ADDR")
    assert dev.get("IRQ_STATUS") & const("IRQ_ERROR"), "no error interrupt"
    equal(dev.ring_get(ring, "HEAD"), 0, "HEAD")


def reset_engine(dev):
    dev.set("CONTROL", CONST["KVSINK_CONTROL_RESET_MASK"])


def works(dev):
    assert dev.qemu.alive(), "QEMU is gone"
    dev.set_up()
    dev.qemu.write(DATA, b"still here")
    dev.run_ok([command("GART_INVALIDATE", count=16),
                command("COPY", src=ref("GART", 0), dst=ref("GART", PAGE), bytes=10)])
    equal(dev.data_read(PAGE, 10), b"still here", "copied bytes")


@test
def bus_master_off():
    """with Bus Master off the descriptor fetch halts the ring; an engine reset brings it back"""
    with Device() as dev:
        dev.set_up()
        dev.bus_master(False)
        dev.publish([command("ADVANCE")])
        check_halted(dev, 0, dev.jobs(0))
        dev.bus_master(True)
        dev.run_ok([command("ADVANCE")], ring=1)
        dev.ring_set(0, "DOORBELL", 1)
        dev.qemu.run_bottom_halves()
        equal(dev.ring_get(0, "STATE"), const("RING_HALTED"), "state before a reset")
        reset_engine(dev)
        works(dev)


@test
def bus_master_off_in_mid_job():
    """Bus Master off while arithmetic runs: the result is refused, then the completion halts the ring"""
    from test_streams import attend_job, create
    for threads in (0, 2):
        with Device(threads=threads) as dev:
            dev.set_up()
            create(dev)
            done = dev.ring_get(0, "HEAD")
            commands, items = attend_job(0)
            dev.publish(commands * 60, items)
            dev.bus_master(False)  # before, between or behind the commands: each must end in a halt or completely
            dev.qemu.run_bottom_halves()
            state, head = dev.ring_get(0, "STATE"), dev.ring_get(0, "HEAD")
            assert state == const("RING_HALTED") or head == done + 1, f"state {state}, HEAD {head}"
            dev.bus_master(True)
            reset_engine(dev)
            works(dev)


@test
def descriptor_fetch():
    """job descriptors where there is no memory halt the ring"""
    with Device() as dev:
        dev.set_up()
        dev.ring_set(1, "JOBS_LO", HOLE)
        dev.publish([command("ADVANCE")], ring=1)
        check_halted(dev, 1, HOLE)
        dev.run_ok([command("ADVANCE")], ring=0)
        reset_engine(dev)
        works(dev)


@test
def command_fetch():
    """commands or items where there is no memory halt the ring"""
    for field in ("cmds", "items"):
        with Device() as dev:
            dev.set_up()
            dev.publish([command("ADVANCE")], [STRUCTS["kvsink_item"]()], **{field: HOLE})
            check_halted(dev, 0, HOLE)
            reset_engine(dev)
            works(dev)


@test
def completion_write():
    """completion records where there is no memory halt the ring"""
    with Device() as dev:
        dev.set_up()
        dev.ring_set(2, "CPLS_LO", HOLE)
        dev.publish([command("ADVANCE")], ring=2)
        check_halted(dev, 2, HOLE)
        dev.run_ok([command("ADVANCE")], ring=0)
        reset_engine(dev)
        works(dev)


@test
def operand_transfer():
    """an operand page where there is no memory fails its job with DMA_ERROR, and the ring goes on"""
    with Device() as dev:
        dev.set_up()
        dev.qemu.writeq(GART + 8 * 5, HOLE | const("GART_VALID"))
        for source, target in ((5 * PAGE, 0), (0, 5 * PAGE)):
            done = dev.run([command("COPY", src=ref("GART", source), dst=ref("GART", target), bytes=16)])
            equal((done.code, done.address), (DMA_ERROR, HOLE), job_error(done))
            dev.run_ok([command("ADVANCE")])


@test
def gart_table():
    """a GART table where there is no memory is DMA_ERROR, an unmapped page GART_FAULT, a page beyond BAD_RANGE"""
    with Device() as dev:
        dev.set_up()

        def code_of(offset):
            return dev.run([command("FILL", dst=ref("GART", offset), bytes=8)]).code

        equal(code_of(100 * PAGE), const("CODE_GART_FAULT"), "code for an unmapped page")
        equal(code_of(256 * PAGE - 4), const("CODE_BAD_RANGE"), "code for a page beyond the table")
        dev.set("GART_BASE_LO", HOLE)
        equal(code_of(0), DMA_ERROR, "code without a table")


@test
def not_to_devices():
    """DMA reaches memory only: not its own registers, not MSI-X, not configuration space"""
    with Device() as dev:
        dev.set_up()
        dev.qemu.outl(0xcf8, 0x80000060)
        dev.qemu.outl(0xcfc, MMCONFIG | 1)
        for place in (REGS, MSIX, MMCONFIG + (4 << 15)):
            dev.qemu.writeq(GART + 8 * 7, place | const("GART_VALID"))
            for source, target in ((7 * PAGE, 0), (0, 7 * PAGE)):
                done = dev.run([command("GART_INVALIDATE", count=64),
                                command("COPY", src=ref("GART", source), dst=ref("GART", target), bytes=64)])
                equal((done.code, done.cmd), (DMA_ERROR, 1), f"0x{place:x}: {job_error(done)}")
        works(dev)


@test
def message_into_configuration_space():
    """an MSI-X message aimed at the device's own function level reset resets it, and it works again"""
    for threads in (0, 2):
        with Device(threads=threads) as dev:
            dev.set_up()
            dev.qemu.outl(0xcf8, 0x80000060)
            dev.qemu.outl(0xcfc, MMCONFIG | 1)
            dev.msix_enable()
            generation = dev.get("GENERATION")
            control = MMCONFIG + (4 << 15) + dev.capability(0x10) + 8
            for vector in range(dev.rings + 1):
                dev.qemu.writel(MSIX + 16 * vector, control)
                dev.qemu.writel(MSIX + 16 * vector + 8, 1 << 15)
            bad = command("ADVANCE")
            bad.opcode = 999
            dev.publish([bad])
            dev.qemu.run_bottom_halves()
            dev.map_bars()
            assert dev.get("GENERATION") > generation, "the message caused no reset"
            check_reset_values(dev)  # a command that went on after the reset would show in HEAD or a counter
            works(dev)


@test
def inject_dma_error():
    """inject-dma-error fails exactly that many operand transfers"""
    with Device() as dev:
        dev.set_up()
        dev.qemu.execute("qom-set", path="/machine/peripheral/dev", property="inject-dma-error", value=2)
        equal(dev.qemu.execute("qom-get", path="/machine/peripheral/dev", property="inject-dma-error"), 2, "property")
        fill = [command("FILL", dst=ref("GART", 0), bytes=8)]
        equal([dev.run(fill).code for _ in range(4)], [DMA_ERROR, DMA_ERROR, 0, 0], "codes")


@test
def inject_ecc():
    """inject-ecc makes ATTEND lose that many entries, each an event, and read HBM instead"""
    from test_streams import attend, create, promote
    with Device() as dev:
        dev.set_up()
        create(dev)
        for token in (3, 4, 5):
            promote(dev, token)
        right, _ = attend(dev, 0)
        dev.qemu.execute("qom-set", path="/machine/peripheral/dev", property="inject-ecc", value=2)
        for left in (2, 1, 1):
            out, _ = attend(dev, 0)
            worst = max(abs(a - b) for a, b in zip(struct.unpack(f"<{len(out) // 4}f", out),
                                                   struct.unpack(f"<{len(out) // 4}f", right)))
            assert worst < 1e-5, f"output is {worst} off"
            equal(dev.get("TAGS_VALID"), left, "TAGS_VALID")
        equal(dev.counter("ECC_ERRORS"), 2, "ECC_ERRORS")
        events = dev.query("EVENTS", 0x30000, "kvsink_event_rec", 64)[1]
        equal([event.token for event in events if event.code == const("EVENT_ECC_ERROR")], [3, 4], "tokens lost")


@test
def inject_on_command_line():
    """inject-hang and inject-dma-error work on the command line, too"""
    with Device(inject_dma_error=1) as dev:
        dev.set_up()
        fill = [command("FILL", dst=ref("GART", 0), bytes=8)]
        equal([dev.run(fill).code for _ in range(2)], [DMA_ERROR, 0], "codes")
    with Device(inject_hang=1) as dev:
        dev.set_up()
        dev.publish([command("ADVANCE")])
        dev.run_ok([command("ADVANCE")], ring=1)
        equal((dev.ring_get(0, "HEAD"), dev.ring_get(0, "STATE")), (0, const("RING_BUSY")), "HEAD and STATE")


@test
def inject_hang():
    """inject-hang stops one job until CONTROL.RESET; other rings go on, the generation grows, old jobs are STALE"""
    with Device() as dev:
        dev.set_up()
        old = dev.get("GENERATION")
        dev.qemu.execute("qom-set", path="/machine/peripheral/dev", property="inject-hang", value=1)
        slot = dev.publish([command("ADVANCE")])
        for _ in range(3):
            dev.run_ok([command("ADVANCE")], ring=1)
        equal((dev.ring_get(0, "HEAD"), dev.ring_get(0, "STATE")), (0, const("RING_BUSY")), "HEAD and STATE")
        reset_engine(dev)
        assert dev.get("GENERATION") > old, "GENERATION did not grow"
        dev.qemu.run_bottom_halves()
        equal(dev.completion(0, slot).code, 0xeeeeeeee, "completion of the job that the reset dropped")
        works(dev)
        done = dev.run([command("ADVANCE")], generation=old)
        equal((done.code, done.address), (const("CODE_STALE"), dev.get("GENERATION")), job_error(done))


@test
def hostile_descriptors():
    """descriptors with impossible counts and flags are answered with BAD_FIELD and the field's offset"""
    desc = STRUCTS["kvsink_job_desc"]
    with Device() as dev:
        dev.set_up()
        for field, value in (("cmd_count", const("MAX_CMDS") + 1), ("cmd_count", 0xffffffff),
                             ("item_count", const("MAX_ITEMS") + 1), ("item_count", 0xffffffff),
                             ("flags", 2), ("flags", 0x80000000), ("reserved", 1)):
            done = dev.run([command("ADVANCE")], **{field: value})
            equal((done.code, done.address), (const("CODE_BAD_FIELD"), getattr(desc, field).offset),
                  f"{field} 0x{value:x}: {job_error(done)}")
        dev.run_ok([command("ADVANCE")])


@test
def hostile_opcodes():
    """every opcode that does not exist is BAD_OPCODE"""
    with Device() as dev:
        dev.set_up()
        for opcode in (0, len(TABLES["OPCODES"]) + 1, 0x7fff, 0xffff):
            cmd = command("ADVANCE")
            cmd.opcode = opcode
            done = dev.run([cmd])
            equal(done.code, const("CODE_BAD_OPCODE"), f"opcode {opcode}: {job_error(done)}")


@test
def hostile_addresses():
    """sums that wrap, ranges that leave a space and unknown spaces are refused"""
    huge = 0xffffffffffffffff
    bad_range, bad_field = const("CODE_BAD_RANGE"), const("CODE_BAD_FIELD")
    with Device() as dev:
        dev.set_up()
        for space, size in (("GART", 256 * PAGE), ("HBM", 16 << 20), ("SRAM", 128 << 10)):
            for offset, count in ((huge, 1), (huge, huge), (1, huge), (size - 1, 2), (size, 1), (0, size + 1),
                                  (1 << 63, 1 << 63), (huge - 4095, 4097)):
                done = dev.run([command("COPY", src=ref(space, offset), dst=ref("GART", 0), bytes=count)])
                equal(done.code, bad_range, f"{space} 0x{offset:x} + 0x{count:x}: {job_error(done)}")
        for space in (0, 4, 0xffffffff):
            where = ref("GART", 0)
            where.space = space
            done = dev.run([command("COPY", src=where, dst=ref("GART", 0), bytes=8)])
            equal(done.code, bad_field, f"space {space}: {job_error(done)}")
        works(dev)


@test
def hostile_bus_addresses():
    """ring addresses near 2^64 halt the ring and nothing else"""
    for register in ("JOBS", "CPLS"):
        with Device() as dev:
            dev.set_up()
            dev.ring_set(0, register + "_LO", 0xffffffe0)
            dev.ring_set(0, register + "_HI", 0xffffffff)
            dev.publish([command("ADVANCE")])
            dev.wait_halted(0)
            reset_engine(dev)
            works(dev)


@test
def hostile_doorbell():
    """a doorbell further ahead than the ring is long halts the ring"""
    with Device() as dev:
        dev.set_up()
        dev.ring_set(0, "DOORBELL", dev.slots + 1)
        dev.wait_halted(0)
        equal(dev.get("ERR_CODE"), const("CODE_BAD_FIELD"), "ERR_CODE")
        dev.run_ok([command("ADVANCE")], ring=1)
        reset_engine(dev)
        works(dev)


@test
def hostile_noise():
    """2,000 random commands with every opcode are each answered, and the device still works"""
    source = random.Random(7)
    interesting = [0, 1, 2, 15, 16, 255, 256, 4095, 4096, 0x7fffffff, 0x80000000, 0xffffffff, 1 << 32, (1 << 63) - 1,
                   1 << 63, (1 << 64) - 1]
    with Device(threads=2) as dev:
        dev.set_up()
        for turn in range(250):
            commands = []
            for _ in range(8):
                cmd = STRUCTS["kvsink_cmd"](opcode=source.randrange(len(TABLES["OPCODES"]) + 2))
                for word in range(source.randrange(8)):
                    cmd.words[word] = source.choice(interesting) ^ (source.choice(interesting) << 32 & (1 << 64) - 1)
                commands.append(cmd)
            items = [STRUCTS["kvsink_item"](pages=(STRUCTS["kvsink_item"]().pages.__class__)(
                *(source.choice(interesting) for _ in range(4)))) for _ in range(3)]
            for cmd in commands:  # one job each: the first failure would hide the rest
                done = dev.run([cmd], items, ring=turn % dev.rings, flags=source.randrange(2))
                assert done.code < len(TABLES["CODES"]), f"code {done.code}"
        works(dev)


@test
def commands_in_mmio_window():
    """commands fetched from the device's own registers halt the ring: no recursion"""
    with Device() as dev:
        dev.set_up()
        dev.publish([command("ADVANCE")], cmds=REGS)
        check_halted(dev, 0, REGS)
        reset_engine(dev)
        works(dev)
