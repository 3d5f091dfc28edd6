# SPDX-License-Identifier: MIT
"""
A kvsink device on the root bus, programmed as firmware and driver would: configuration space, BARs, MSI-X, GART,
rings and jobs. Guest RAM is laid out by fixed addresses; the tests write and read it directly.
"""
import ctypes

from qemu import Qemu, wait_for
from uapi import CONST, STRUCTS, code_name, const

SLOT = 4
PROPERTIES = {
    "sram": "128K", "tags": 64, "streams": 8, "rings": 3, "ring-slots": 16, "gart-pages": 256, "burst": 128,
    "sram-latency-ns": 7, "hbm-latency-ns": 170, "sram-gbps": 20000, "hbm-gbps": 3000, "dma-gbps": 300,
    "job-overhead-ns": 30, "tag-latency-ns": 3, "threads": 0,
}
SRAM_BYTES = 128 << 10
HBM_BYTES = 16 << 20

# bus addresses
REGS, SRAM, MSIX = 0xe0000000, 0xc0000000, 0xe0010000
RINGS = 0x100000  # + 0x10000 * ring: job descriptors, then at + 0x8000 completion records
JOBS = 0x200000  # + 0x4000 * slot: commands, then at + 0x2000 items
JOB_STRIDE, ITEMS_AT = 0x4000, 0x2000
GART = 0x300000  # the table
DATA = 0x400000  # the pages that the GART maps, in order
MSI = 0x380000  # MSI messages land here, one word a vector
HOLE = 0x70000000  # no memory there

PCI_COMMAND, PCI_COMMAND_MEMORY, PCI_COMMAND_MASTER = 0x04, 2, 4
CAP_EXPRESS, CAP_MSIX = 0x10, 0x11
FLR = 1 << 15  # of Device Control


def job_error(completion):
    return f"code {code_name(completion.code)} cmd {completion.cmd} address 0x{completion.address:x}"


def ref(space, offset):
    """A struct kvsink_ref; space by its name."""
    return STRUCTS["kvsink_ref"](space=const("SPACE_" + space), offset=offset)


def command(opcode, flags=0, **fields):
    """A struct kvsink_cmd; `opcode` by name, fields of the union member of that name."""
    cmd = STRUCTS["kvsink_cmd"](opcode=const("OP_" + opcode), flags=flags)
    member = getattr(cmd, opcode.lower())
    for name, value in fields.items():
        if isinstance(value, (list, tuple)):
            array = getattr(member, name)
            array[:len(value)] = value
        else:
            setattr(member, name, value)
    return cmd


def place(token, layer_begin, layer_end, head_mask=0xffffffffffffffff):
    """An item of PROMOTE, EVICT or CONTRACT: rows of one token."""
    item = STRUCTS["kvsink_item"]()
    item.place.token, item.place.head_mask = token, head_mask
    item.place.layer_begin, item.place.layer_end = layer_begin, layer_end
    return item


class Device:
    def __init__(self, hbm_bytes=HBM_BYTES, arguments=(), **properties):
        settings = {**PROPERTIES, **{name.replace("_", "-"): value for name, value in properties.items()}}
        text = f"kvsink,id=dev,bus=pcie.0,addr={SLOT},hbm=memory," + ",".join(f"{k}={v}" for k, v in settings.items())
        self.qemu = Qemu(text, hbm_bytes, arguments)
        self.rings, self.slots = int(settings["rings"]), int(settings["ring-slots"])
        self.published = [0] * self.rings
        self.seqno = 0x1000
        try:
            self.map_bars()
        except Exception:
            self.qemu.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.qemu.close()

    # ---- configuration space ----

    def config_address(self, offset):
        self.qemu.outl(0xcf8, 0x80000000 | SLOT << 11 | offset & 0xfc)

    def config_read(self, offset):
        self.config_address(offset)
        return self.qemu.inl(0xcfc)

    def config_write(self, offset, value):
        self.config_address(offset)
        self.qemu.outl(0xcfc, value)

    def capability(self, wanted):
        """Offset of a capability of the classic list, or 0."""
        at = self.config_read(0x34) & 0xfc
        while at:
            head = self.config_read(at)
            if head & 0xff == wanted:
                return at
            at = head >> 8 & 0xfc
        return 0

    def bar_size(self, index):
        """Size as software finds it; the BAR keeps its address."""
        at = 0x10 + 4 * index
        old = self.config_read(at)
        self.config_write(at, 0xffffffff)
        size = self.config_read(at) & ~0xf
        self.config_write(at, old)
        return (~size & 0xffffffff) + 1

    def map_bars(self):
        for index, address in ((const("BAR_REGS"), REGS), (const("BAR_SRAM"), SRAM), (const("BAR_MSIX"), MSIX)):
            self.config_write(0x10 + 4 * index, address)
        self.config_write(0x10 + 4 * (const("BAR_SRAM") + 1), 0)
        self.bus_master(True)

    def bus_master(self, on):
        status = self.config_read(PCI_COMMAND) & 0xffff0000
        self.config_write(PCI_COMMAND, status | PCI_COMMAND_MEMORY | (PCI_COMMAND_MASTER if on else 0))

    def function_level_reset(self):
        at = self.capability(CAP_EXPRESS) + 8
        self.config_write(at, self.config_read(at) & 0xffff | FLR)

    # ---- registers ----

    def get(self, name):
        return self.qemu.readl(REGS + const("REG_" + name))

    def set(self, name, value):
        self.qemu.writel(REGS + const("REG_" + name), value)

    @staticmethod
    def ring_address(ring, name):
        return REGS + const("RING_BASE") + ring * const("RING_STRIDE") + const("RING_" + name)

    def ring_get(self, ring, name):
        return self.qemu.readl(self.ring_address(ring, name))

    def ring_set(self, ring, name, value):
        self.qemu.writel(self.ring_address(ring, name), value)

    def counter(self, name):
        return self.qemu.readq(REGS + const("COUNTER_BASE") + 8 * const("COUNTER_" + name))

    # ---- what a driver does at probe ----

    def set_up(self, pages=64):
        """GART with `pages` mapped pages, all rings, all interrupts let through, engine enabled."""
        table = b"".join((DATA + i * const("GART_PAGE") | const("GART_VALID")).to_bytes(8, "little")
                         for i in range(pages))
        self.qemu.memset(GART, 8 * 256, 0)
        self.qemu.write(GART, table)
        self.set("GART_BASE_LO", GART)
        self.set("GART_BASE_HI", 0)
        self.published = [0] * self.rings
        for ring in range(self.rings):
            for name, address in (("JOBS", self.jobs(ring)), ("CPLS", self.completions(ring))):
                self.ring_set(ring, name + "_LO", address)
                self.ring_set(ring, name + "_HI", 0)
            self.ring_set(ring, "DOORBELL", self.ring_get(ring, "HEAD"))
            self.published[ring] = self.ring_get(ring, "HEAD")
        self.set("IRQ_MASK", 0xffffffff)
        self.set("CONTROL", CONST["KVSINK_CONTROL_ENABLE_MASK"])

    @staticmethod
    def jobs(ring):
        return RINGS + 0x10000 * ring

    def completions(self, ring):
        return self.jobs(ring) + 0x8000

    # ---- jobs ----

    def publish(self, commands, items=(), /, ring=0, **fields):
        """Writes a job into its slot and rings the doorbell; `fields` override those of the descriptor."""
        slot = self.published[ring] % self.slots
        memory = JOBS + JOB_STRIDE * (ring * self.slots + slot)
        self.qemu.write(memory, b"".join(map(bytes, commands)) or b"\0")
        if items:
            self.qemu.write(memory + ITEMS_AT, b"".join(map(bytes, items)))
        self.seqno += 1
        values = {"seqno": self.seqno, "cmds": memory, "items": memory + ITEMS_AT, "cmd_count": len(commands),
                  "item_count": len(items), "tenant": 1000, "flags": const("JOB_PRIVILEGED"), **fields}
        descriptor = STRUCTS["kvsink_job_desc"](**values)
        self.qemu.write(self.jobs(ring) + slot * ctypes.sizeof(descriptor), bytes(descriptor))
        self.qemu.memset(self.completions(ring) + slot * 64, 64, 0xee)
        self.published[ring] += 1
        self.ring_set(ring, "DOORBELL", self.published[ring])
        return slot

    def completion(self, ring, slot):
        kind = STRUCTS["kvsink_completion"]
        return kind.from_buffer_copy(self.qemu.read(self.completions(ring) + slot * ctypes.sizeof(kind),
                                                    ctypes.sizeof(kind)))

    def run(self, commands, items=(), /, ring=0, **fields):
        """Publishes a job, waits for its end and returns its completion record."""
        slot = self.publish(commands, items, ring=ring, **fields)
        wait_for(lambda: self.ring_get(ring, "HEAD") == self.published[ring], f"end of job in ring {ring}")
        done = self.completion(ring, slot)
        assert done.seqno == self.seqno, f"completion of job 0x{done.seqno:x}, not of 0x{self.seqno:x}"
        return done

    def run_ok(self, commands, items=(), /, ring=0, **fields):
        done = self.run(commands, items, ring=ring, **fields)
        assert done.code == const("CODE_OK"), job_error(done)
        return done

    def wait_halted(self, ring):
        wait_for(lambda: self.ring_get(ring, "STATE") == const("RING_HALTED"), f"halt of ring {ring}")

    def query(self, what, at, record, count, **fields):
        """Records of a QUERY whose answer goes to GART offset `at`: (head, records)."""
        kind, head_kind = STRUCTS[record] if isinstance(record, str) else record, STRUCTS["kvsink_list_head"]
        self.run_ok([command("QUERY", what=const("QUERY_" + what), max=count, dst=ref("GART", at), **fields)])
        size = ctypes.sizeof(kind)
        answer = self.data_read(at, ctypes.sizeof(head_kind) + count * size)
        head = head_kind.from_buffer_copy(answer)
        return head, [kind.from_buffer_copy(answer, ctypes.sizeof(head_kind) + i * size) for i in range(head.written)]

    # ---- guest memory behind the GART ----

    def data_write(self, offset, data):
        for at in range(0, len(data), 4096):
            self.qemu.write(DATA + offset + at, data[at:at + 4096])

    def data_read(self, offset, count):
        return b"".join(self.qemu.read(DATA + offset + at, min(4096, count - at)) for at in range(0, count, 4096))

    # ---- MSI-X ----

    def msix_enable(self, masked=()):
        """Every vector writes 0x4b00 + vector to its own word at MSI."""
        self.qemu.memset(MSI, 64, 0)
        for vector in range(self.rings + 1):
            entry = MSIX + 16 * vector
            self.qemu.writel(entry, MSI + 4 * vector)
            self.qemu.writel(entry + 4, 0)
            self.qemu.writel(entry + 8, 0x4b00 + vector)
            self.qemu.writel(entry + 12, 1 if vector in masked else 0)
        at = self.capability(CAP_MSIX)
        self.config_write(at, self.config_read(at) & 0xffff | 1 << 31)

    def msix_unmask(self, vector):
        self.qemu.writel(MSIX + 16 * vector + 12, 0)

    def msix_arrived(self, vector):
        return self.qemu.readl(MSI + 4 * vector) == 0x4b00 + vector

    def msix_pending(self):
        pba = self.config_read(self.capability(CAP_MSIX) + 8)
        assert pba & 7 == const("BAR_MSIX"), f"the PBA lies in BAR {pba & 7}"
        return self.qemu.readl(MSIX + (pba & ~7))
