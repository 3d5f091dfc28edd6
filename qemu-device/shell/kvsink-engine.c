/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kvsink: everything that goes into the chip and comes out of it while the
 * guest runs: register accesses, DMA, interrupts, commands and arithmetic.
 *
 * Threading: every call into the chip but kvsink_exec() is made under the BQL.
 * A register write only latches and schedules the bottom half `bh`, which runs
 * the rings; arithmetic goes to the pool's threads, whose end schedules the
 * same bottom half, which then retires it.
 *
 * Re-entrance: a guest can aim a DMA transfer or an MSI at anything, even at
 * this device's own configuration space, where a function level reset would
 * pull the chip away under a running command. So transfers may reach memory
 * only (MemTxAttrs.memory), and interrupts are collected while the chip runs
 * and sent after it has returned.
 */
#include "qemu/osdep.h"
#include "qemu/host-utils.h"
#include "qemu/log.h"
#include "qemu/main-loop.h"
#include "hw/pci/msix.h"
#include "kvsink-device.h"
#include "trace.h"

/* ---- what the chip asks of its host ---- */

static int kvsink_dma(KvsinkState *s, uint64_t bus, void *buf, uint32_t bytes,
                      DMADirection dir)
{
    const MemTxAttrs attrs = { .memory = true };
    MemTxResult result = pci_dma_rw(PCI_DEVICE(s), bus, buf, bytes, dir, attrs);

    trace_kvsink_dma(dir == DMA_DIRECTION_FROM_DEVICE ? "write" : "read",
                     bus, bytes, result);
    return result == MEMTX_OK ? 0 : -1;
}

static int kvsink_dma_read(void *opaque, uint64_t bus, void *buf,
                           uint32_t bytes)
{
    return kvsink_dma(opaque, bus, buf, bytes, DMA_DIRECTION_TO_DEVICE);
}

static int kvsink_dma_write(void *opaque, uint64_t bus, const void *buf,
                            uint32_t bytes)
{
    return kvsink_dma(opaque, bus, (void *)buf, bytes,
                      DMA_DIRECTION_FROM_DEVICE);
}

static void kvsink_mark_dirty(void *opaque, uint32_t space, uint64_t offset,
                              uint64_t bytes)
{
    KvsinkState *s = opaque;

    memory_region_set_dirty(space == KVSINK_SPACE_SRAM ? &s->sram : s->hbm_mr,
                            offset, bytes);
}

static void kvsink_irq(void *opaque, unsigned vector)
{
    KvsinkState *s = opaque;

    s->irqs |= 1u << vector;
}

static void kvsink_log(void *opaque, const char *line)
{
    trace_kvsink_guest_error(line);
    qemu_log_mask(LOG_GUEST_ERROR, "kvsink: %s\n", line);
}

const struct kvsink_host_ops kvsink_host_ops = {
    .dma_read = kvsink_dma_read,
    .dma_write = kvsink_dma_write,
    .mark_dirty = kvsink_mark_dirty,
    .irq = kvsink_irq,
    .log = kvsink_log,
};

/*
 * To be called after each call into the chip, as the last thing: a message may
 * come back as a reset, or as an unplug that ends this device.
 */
static void kvsink_send_irqs(KvsinkState *s)
{
    while (s->irqs) {
        unsigned vector = ctz32(s->irqs);

        s->irqs &= ~(1u << vector);
        trace_kvsink_irq(vector);
        msix_notify(PCI_DEVICE(s), vector);
    }
}

/* ---- running it ---- */

void kvsink_engine_retire(KvsinkState *s)
{
    struct kvsink_item_work *item;

    for (unsigned ring = 0; s->threads && ring < s->config.rings; ring++) {
        item = kvsink_pool_reap(&s->pool, ring);
        if (item) {
            trace_kvsink_item_retire(ring);
            kvsink_retire(s->chip, item);
        }
    }
}

static void kvsink_run_ring(KvsinkState *s, unsigned ring)
{
    struct kvsink_item_work *item;

    if (s->threads && kvsink_pool_busy(&s->pool, ring)) {
        return;
    }
    item = kvsink_run(s->chip, ring);
    if (!item) {
        return;
    }
    trace_kvsink_item_submit(ring);
    if (s->threads) {
        kvsink_pool_submit(&s->pool, ring, item);
        return;
    }
    kvsink_exec(item, 0, 1);
    trace_kvsink_item_retire(ring);
    kvsink_retire(s->chip, item);
}

/*
 * Gives back the reference that kept the device alive while it sent messages. If
 * one of them unplugged it, whoever called the bottom half still looks at it.
 */
static void kvsink_release(KvsinkState *s)
{
    if (DEVICE(s)->realized) {
        object_unref(OBJECT(s));
    } else {
        aio_bh_schedule_oneshot(qemu_get_aio_context(), object_unref, s);
    }
}

/*
 * At most one item a ring and call, and a quantum of other work. A bottom half
 * that schedules itself again leaves the lock for microseconds only, which a
 * vCPU that waits for it hardly ever catches: the timer sleeps in between.
 */
#define KVSINK_TURN_NS 50000

void kvsink_engine_turn(void *opaque)
{
    KvsinkState *s = opaque;

    qemu_bh_schedule(s->bh);
}

void kvsink_engine_bh(void *opaque)
{
    KvsinkState *s = opaque;

    kvsink_engine_retire(s);
    for (unsigned ring = 0; ring < s->config.rings; ring++) {
        kvsink_run_ring(s, ring);
    }
    if (kvsink_pending(s->chip)) {
        timer_mod(s->turn, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) +
                           KVSINK_TURN_NS);
    }
    object_ref(OBJECT(s));
    kvsink_send_irqs(s);
    kvsink_release(s);
}

/* ---- registers ---- */

static uint64_t kvsink_regs_read(void *opaque, hwaddr addr, unsigned size)
{
    KvsinkState *s = opaque;
    uint32_t value = kvsink_mmio_read(s->chip, addr);

    trace_kvsink_mmio_read(addr, value);
    return value;
}

static void kvsink_regs_write(void *opaque, hwaddr addr, uint64_t value,
                              unsigned size)
{
    KvsinkState *s = opaque;

    trace_kvsink_mmio_write(addr, value);
    kvsink_mmio_write(s->chip, addr, value);
    if (kvsink_pending(s->chip)) {
        qemu_bh_schedule(s->bh);
    }
    kvsink_send_irqs(s);
}

/* A 64-bit access comes as two of 32 bits, low half first. */
const MemoryRegionOps kvsink_regs_ops = {
    .read = kvsink_regs_read,
    .write = kvsink_regs_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = { .min_access_size = 4, .max_access_size = 8 },
    .impl = { .min_access_size = 4, .max_access_size = 4 },
};
