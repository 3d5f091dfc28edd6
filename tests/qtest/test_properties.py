# SPDX-License-Identifier: MIT
"""Properties: what is refused, with which line; what is accepted at its limits."""
from device import Device, command
from harness import equal, test
from qemu import start_and_fail

HBM = "hbm=memory"
LIMITS = "sram=64K,tags=16,streams=1,rings=1,ring-slots=4,gart-pages=256,burst=32,job-overhead-ns=0,tag-latency-ns=0"


def refused(device, *words, **options):
    """QEMU exits with 1 and one line that holds all the words."""
    status, lines = start_and_fail(device, **options)
    equal(status, 1, f"exit status with {device}: {lines}")
    equal(len(lines), 1, f"lines with {device}: {lines}")
    for word in words:
        assert word in lines[0], f"'{word}' is missing in: {lines[0]}"


def out_of_range(name, value, low, high):
    refused(f"kvsink,{HBM},{name}={value}", f"{name}: {value}", str(low), str(high))


@test
def sram_size():
    """sram: below, above and off the granularity are refused"""
    out_of_range("sram", 3, 64 << 10, 256 << 20)
    out_of_range("sram", 0, 64 << 10, 256 << 20)
    out_of_range("sram", 512 << 20, 64 << 10, 256 << 20)
    refused(f"kvsink,{HBM},sram=65537", "sram: 65537", "multiple of 256")
    refused(f"kvsink,{HBM},sram=5G", "sram", "5368709120")


@test
def counts():
    """tags, streams, rings, ring-slots, gart-pages and threads are checked against their ranges"""
    for name, low, high in (("tags", 16, 65536), ("streams", 1, 16384), ("rings", 1, 8), ("ring-slots", 4, 4096),
                            ("gart-pages", 256, 1 << 22), ("threads", 0, 16)):
        out_of_range(name, high + 1, low, high)
        if low:
            out_of_range(name, low - 1, low, high)
    refused(f"kvsink,{HBM},ring-slots=24", "ring-slots: 24", "power of two")


@test
def model_figures():
    """burst, latencies and bandwidths are checked; the migration engine must be slower than the HBM"""
    for name in ("sram-latency-ns", "hbm-latency-ns", "sram-gbps", "hbm-gbps", "dma-gbps"):
        high = 100000 if "latency" in name else 1000000
        out_of_range(name, 0, 1, high)
        out_of_range(name, high + 1, 1, high)
    out_of_range("job-overhead-ns", 100001, 0, 100000)
    out_of_range("tag-latency-ns", 100001, 0, 100000)
    out_of_range("burst", 16, 32, 256)
    refused(f"kvsink,{HBM},burst=48", "burst: 48", "power of two")
    refused(f"kvsink,{HBM},hbm-gbps=100,dma-gbps=100", "dma-gbps: 100", "below hbm")


@test
def hbm_backend():
    """hbm is required, must be a memory backend, of a size that the chip can have, used by nothing else"""
    refused("kvsink", "hbm: missing")
    refused("kvsink,hbm=nothing", "nothing")
    refused(f"kvsink,{HBM}", "hbm: 1048576", str(16 << 20), hbm_bytes=1 << 20)
    refused(f"kvsink,{HBM}", "hbm", "multiple of 1048576", hbm_bytes=(16 << 20) + 4096)
    refused(f"kvsink,{HBM}", "hbm: memory backend 'memory' is in use already", arguments=("-device", f"kvsink,{HBM}"))


@test
def unknown_property():
    """a property that does not exist is refused"""
    refused(f"kvsink,{HBM},sram-bytes=1M", "sram-bytes")


@test
def smallest():
    """the smallest device works"""
    with Device(**dict(pair.split("=") for pair in LIMITS.split(","))) as dev:
        dev.set_up()
        dev.run_ok([command("ADVANCE")])
        equal(dev.get("SRAM_BYTES"), 64 << 10, "SRAM_BYTES")


@test
def largest():
    """the largest counts work"""
    with Device(hbm_bytes=256 << 20, sram="256M", tags=65536, streams=16384, rings=8, ring_slots=4096,
                gart_pages=1 << 22, threads=16) as dev:
        equal(dev.get("SRAM_BYTES"), 256 << 20, "SRAM_BYTES")
        equal((dev.get("TAG_COUNT"), dev.get("STREAM_COUNT")), (65536, 16384), "TAG_COUNT and STREAM_COUNT")
