# SPDX-License-Identifier: MIT
"""A stream from creation to attention, end to end: HBM pages, promotion, the SRAM BAR, worker threads."""
import ctypes
import math
import random
import struct

from device import SRAM, Device, command, place, ref
from harness import equal, test
from uapi import STRUCTS, TABLES, const

LAYERS, Q_HEADS, KV_HEADS, D_K, D_V, PAGE_TOKENS, MAX_TOKENS = 2, 4, 2, 16, 8, 16, 64
TOKENS = 40
PAGE_TABLE, SCORES, PAGES, PAGE_BYTES = 0x10000, 0x20000, 0x100000, 0x4000
K_AT, V_AT, Q_AT, OUT_AT, STATS_AT = 0x0, 0x8000, 0x10000, 0x18000, 0x20000  # GART offsets
SCALE = 0.25


def floats(count, seed):
    source = random.Random(seed)
    return [struct.unpack("<f", struct.pack("<f", source.uniform(-2, 2)))[0] for _ in range(count)]


def pack(values):
    return struct.pack(f"<{len(values)}f", *values)


def k_rows(layer):
    return floats(TOKENS * KV_HEADS * D_K, f"k{layer}")


def v_rows(layer):
    return floats(TOKENS * KV_HEADS * D_V, f"v{layer}")


def k_row(layer, token, head):
    at = (token * KV_HEADS + head) * D_K
    return k_rows(layer)[at:at + D_K]


def v_row(layer, token, head):
    at = (token * KV_HEADS + head) * D_V
    return v_rows(layer)[at:at + D_V]


def create(dev, stream=1):
    """The stream, its pages mapped, TOKENS tokens of both layers appended."""
    bits = struct.unpack("<I", struct.pack("<f", SCALE))[0]
    layer = STRUCTS["kvsink_item"]()
    layer.layer.scale = bits
    pages = STRUCTS["kvsink_item"]()
    pages.pages[:] = [PAGES + PAGE_BYTES * (3 - page) for page in range(4)]
    dev.run_ok([command("STREAM_CREATE", stream=stream, tenant=1000, layers=LAYERS, q_heads=Q_HEADS,
                        kv_heads=KV_HEADS, d_k=D_K, d_v=D_V, format=const("FORMAT_F32"), page_tokens=PAGE_TOKENS,
                        max_tokens=MAX_TOKENS, page_table=PAGE_TABLE, scores=SCORES, score_groups=1,
                        group_end=[LAYERS]),
                command("PAGE_MAP", stream=stream, first_item=LAYERS, count=4)], [layer] * LAYERS + [pages])
    for index in range(LAYERS):
        dev.data_write(K_AT, pack(k_rows(index)))
        dev.data_write(V_AT, pack(v_rows(index)))
        dev.run_ok([command("APPEND", stream=stream, layer=index, count=TOKENS, k=ref("GART", K_AT),
                            v=ref("GART", V_AT))])
    dev.run_ok([command("STEP_END", stream=stream, count=TOKENS)])


def attend_job(layer, stream=1, count=1):
    """ATTEND with `count` queries ending at the last token."""
    item = STRUCTS["kvsink_item"]()
    item.attend.stream, item.attend.layer = stream, layer
    item.attend.first, item.attend.count = TOKENS - count, count
    return [command("ATTEND", item_count=1, q=ref("GART", Q_AT), out=ref("GART", OUT_AT),
                    stats=ref("GART", STATS_AT))], [item]


def attend(dev, layer, **options):
    dev.data_write(Q_AT, pack(floats(Q_HEADS * D_K, "q")))
    dev.run_ok(*attend_job(layer), **options)
    out = dev.data_read(OUT_AT, 4 * Q_HEADS * D_V)
    record = STRUCTS["kvsink_attend_stat"]
    size = ctypes.sizeof(record)
    stats = [record.from_buffer_copy(dev.data_read(STATS_AT + size * head, size))
             for head in range(Q_HEADS)]
    return out, stats


ANSWER_AT = 0x30000


def entry(dev, token):
    """The tag of a token, told to a privileged job with its place in SRAM."""
    tags = dev.query("TAGS", ANSWER_AT, "kvsink_tag_rec", 64, stream=1)[1]
    return next(tag for tag in tags if tag.token == token)


def promote(dev, token, layer_begin=0, layer_end=LAYERS, head_mask=3):
    """PROMOTE and wait; the completion record of PROMOTE."""
    done = dev.run_ok([command("PROMOTE", stream=1, item_count=1)], [place(token, layer_begin, layer_end, head_mask)])
    dev.run_ok([command("BARRIER", stream=1)])
    return done


def reference(layer):
    """The last token's attention in double precision, straight from the formula."""
    queries, out = floats(Q_HEADS * D_K, "q"), []
    for q_head in range(Q_HEADS):
        query, head = queries[q_head * D_K:(q_head + 1) * D_K], q_head * KV_HEADS // Q_HEADS
        logits = [SCALE * sum(a * b for a, b in zip(query, k_row(layer, token, head))) for token in range(TOKENS)]
        top = max(logits)
        weights = [math.exp(logit - top) for logit in logits]
        for element in range(D_V):
            total = sum(weight * v_row(layer, token, head)[element] for token, weight in enumerate(weights))
            out.append(total / sum(weights))
    return out


def check_output(out, layer):
    worst = max(abs(a - b) for a, b in zip(struct.unpack(f"<{Q_HEADS * D_V}f", out), reference(layer)))
    assert worst < 1e-5, f"output of layer {layer} is {worst} off"


@test
def promote_shows_in_bar():
    """PROMOTE of a token makes the SRAM BAR show exactly its K and V rows"""
    with Device() as dev:
        dev.set_up()
        create(dev)
        done = promote(dev, 19)
        offset = entry(dev, 19).sram_offset
        expected = [value for layer in range(LAYERS) for head in range(KV_HEADS)
                    for value in k_row(layer, 19, head) + v_row(layer, 19, head)]
        equal(dev.qemu.read(SRAM + offset, 4 * len(expected)), pack(expected), "rows in the SRAM BAR")
        equal((dev.get("TAGS_VALID"), dev.get("SRAM_USED")), (1, done.result[0]), "TAGS_VALID and SRAM_USED")


@test
def promote_of_one_head():
    """an entry of one layer and head holds that row alone"""
    with Device() as dev:
        dev.set_up()
        create(dev)
        done = promote(dev, 0, 1, 2, 2)
        equal(done.result[0], 256, "bytes granted")
        equal(dev.qemu.read(SRAM + entry(dev, 0).sram_offset, 4 * (D_K + D_V)), pack(k_row(1, 0, 1) + v_row(1, 0, 1)), "row")


@test
def evict_scrubs():
    """EVICT gives the SRAM back and leaves nothing readable in the BAR"""
    with Device() as dev:
        dev.set_up()
        create(dev)
        size = promote(dev, 3).result[0]
        offset = entry(dev, 3).sram_offset
        assert any(dev.qemu.read(SRAM + offset, size)), "nothing was promoted"
        done = dev.run_ok([command("EVICT", stream=1, item_count=1)], [place(3, 0, LAYERS)])
        equal(done.result[0], 1, "entries evicted")
        equal(dev.qemu.read(SRAM + offset, size), bytes(size), "bytes in the BAR")
        equal((dev.get("TAGS_VALID"), dev.get("SRAM_USED")), (0, 0), "TAGS_VALID and SRAM_USED")


@test
def attention_is_right():
    """ATTEND through the device equals the formula, with and without resident tokens"""
    with Device() as dev:
        dev.set_up()
        create(dev)
        for layer in range(LAYERS):
            check_output(attend(dev, layer)[0], layer)
        for token in (0, 1, 17):
            promote(dev, token)
        for layer in range(LAYERS):
            before = dev.counter("KV_SRAM_READ")
            out, stats = attend(dev, layer)
            check_output(out, layer)
            assert all(0 < stat.mass_sram < 1 for stat in stats), "no attention mass on SRAM rows"
            equal(dev.counter("KV_SRAM_READ") - before, 3 * KV_HEADS * 4 * (D_K + D_V), "bytes read from SRAM")


@test
def threads_change_nothing():
    """0, 1, 2 and 5 worker threads give the same bits"""
    results = []
    for threads in (0, 1, 2, 5):
        with Device(threads=threads) as dev:
            dev.set_up()
            create(dev)
            promote(dev, 2, head_mask=1)
            results.append([(attend(dev, layer)[0], dev.counter("MASS_SRAM")) for layer in range(LAYERS)])
            check_output(results[-1][0][0], 0)
    for other in results[1:]:
        equal(other, results[0], "outputs and attention mass")


@test
def rings_share_the_workers():
    """items of all rings in flight at once come out right"""
    with Device(threads=3) as dev:
        dev.set_up()
        create(dev)
        alone = [attend(dev, layer)[0] for layer in range(LAYERS)]
        size = 4 * Q_HEADS * D_V
        for turn in range(8):
            for ring in range(dev.rings):
                commands, items = attend_job((turn + ring) % LAYERS)
                commands[0].attend.out = ref("GART", OUT_AT + 0x400 * (ring * 8 + turn))
                commands[0].attend.stats = ref("NONE", 0)
                dev.publish(commands, items, ring=ring)
        for ring in range(dev.rings):
            dev.run_ok([command("ADVANCE")], ring=ring)
        for turn in range(8):
            for ring in range(dev.rings):
                equal(dev.data_read(OUT_AT + 0x400 * (ring * 8 + turn), size), alone[(turn + ring) % LAYERS],
                      f"output {turn} of ring {ring}")


@test
def tenants():
    """a stream of another tenant is refused to a job without privilege"""
    with Device() as dev:
        dev.set_up()
        create(dev)
        job = [command("PROMOTE", stream=1, item_count=1)], [place(0, 0, 1, 1)]
        equal(dev.run(*job, tenant=1001, flags=0).code, const("CODE_TENANT"), "code for tenant 1001")
        equal(dev.run(*job, tenant=1000, flags=0).code, const("CODE_OK"), "code for tenant 1000")


def spans(dev):
    return dev.query("SPANS", ANSWER_AT, "kvsink_span_rec", 64)[1]


def timed_job(dev):
    """A copy at once, one with time, attention beside them, compute, a wait."""
    commands, items = attend_job(0)
    commands[0].attend.first_item = 2
    dev.run_ok([command("PROMOTE", stream=1, item_count=1),
                command("PROMOTE", stream=1, first_item=1, item_count=1, due_ns=1000000), commands[0],
                command("ADVANCE", ns=500), command("BARRIER", stream=1)],
               [place(5, 0, LAYERS, 3), place(6, 0, LAYERS, 3)] + items)


@test
def timeline():
    """SPANS lists every command and copy with its modelled time, in the order of their ends"""
    with Device() as dev:
        dev.set_up()
        create(dev)
        before = len(spans(dev)) + 1
        timed_job(dev)
        new = spans(dev)[before:]
        names = ["COPY" if span.what == const("SPAN_COPY") else TABLES["OPCODES"][span.what - 1][0] for span in new]
        equal(sorted(names), sorted(["PROMOTE", "PROMOTE", "ATTEND", "ADVANCE", "BARRIER", "COPY", "COPY"]), "spans")
        ends = [span.end_ns for span in new]
        equal(ends, sorted(ends), "order")
        copies = [span for span in new if span.what == const("SPAN_COPY")]
        equal([(span.token, span.ring, span.code) for span in copies], [(5, 0xffffffff, 0), (6, 0xffffffff, 0)], "copies")
        equal(dev.counter("DMA_LATE"), 0, "late copies")
        busy = sum(span.end_ns - span.begin_ns for span in copies)
        assert 0 <= busy - dev.counter("HIDDEN_DMA_NS") - dev.counter("EXPOSED_DMA_NS") + 2 <= 4, "hidden and exposed time"


@test
def time_depends_on_commands_only():
    """the same commands give the same modelled times, whatever the number of threads"""
    results = []
    for threads in (0, 2, 0):
        with Device(threads=threads) as dev:
            dev.set_up()
            create(dev)
            timed_job(dev)
            results.append([bytes(span) for span in spans(dev)])
    assert len(results[0]) > 10, "hardly any spans"
    equal(results[1:], results[:1] * 2, "spans")
