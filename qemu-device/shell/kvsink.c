/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kvsink: a PCIe accelerator for attention over a KV cache, with attention
 * sinks pinned in on-chip SRAM.
 *
 * This file is the wrapper between QEMU and the chip: PCI identity, BARs,
 * MSI-X, DMA, reset and properties. The chip itself is silicon/, which knows
 * nothing of QEMU; silicon/silicon.h is the interface.
 *
 * Usage:
 *   -object memory-backend-memfd,id=hbm0,size=512M,share=on
 *   -device kvsink,hbm=hbm0[,property=value...]
 *
 *   hbm=<id>         memory backend that is the HBM; its size is that of the
 *                    HBM (16M .. 64G). Required.
 *   sram=<size>      on-chip SRAM; BAR 2 is this, rounded up to a power of two
 *   tags=<n>         entries of the tag array
 *   streams=<n>      streams that can exist at once
 *   rings=<n>        rings; each has an MSI-X vector, and errors have one
 *   ring-slots=<n>   job descriptors a ring holds, a power of two
 *   gart-pages=<n>   pages of 4 KiB that the GART can map
 *   burst=<bytes>    one memory burst (modelled time and bus bytes)
 *   sram-latency-ns=<n>, hbm-latency-ns=<n>, job-overhead-ns=<n>,
 *   sram-gbps=<n>, hbm-gbps=<n>, dma-gbps=<n>
 *                    the modelled clock; none of it slows the emulation down
 *   threads=<n>      threads that do the arithmetic (0 .. 16, default 2); with 0
 *                    the main loop does it, in an order that depends on nothing
 *                    but the doorbells; for tests and fuzzing
 *   inject-hang=<n>  the next n jobs never end, until a reset. Can be set with
 *                    qom-set while the guest runs
 *   inject-dma-error=<n>
 *                    the next n operand transfers fail; likewise. Both read as
 *                    the number that was set last
 *
 * Ranges and defaults come from silicon/; a value out of range is refused with
 * a message that says so.
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
#include "qemu/module.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "hw/pci/msix.h"
#include "hw/pci/pci_device.h"
#include "hw/pci/pcie.h"
#include "hw/pci/pcie_aer.h"
#include "hw/qdev-properties.h"
#include "hw/resettable.h"
#include "migration/vmstate.h"
#include "system/hostmem.h"
#include "kvsink-pool.h"
#include "trace.h"

#define TYPE_KVSINK "kvsink"
OBJECT_DECLARE_SIMPLE_TYPE(KvsinkState, KVSINK)

#define KVSINK_PCIE_CAP_OFFSET 0x80
#define KVSINK_AER_CAP_OFFSET 0x100
#define KVSINK_INJECT_KINDS 2 /* of enum kvsink_inject */

struct KvsinkState {
    PCIDevice parent_obj;

    /* properties */
    struct kvsink_chip_config config;
    HostMemoryBackend *hbm;
    uint32_t threads;
    uint32_t inject[KVSINK_INJECT_KINDS]; /* as set last */

    MemoryRegion regs; /* BAR 0 */
    MemoryRegion sram_bar; /* BAR 2: a power of two, with `sram` at its start */
    MemoryRegion sram;
    MemoryRegion *hbm_mr; /* of the backend */

    struct kvsink_chip *chip; /* NULL unless realized */
    KvsinkPool pool; /* not started when threads is 0 */
    QEMUBH *bh; /* retires what has ended and runs the rings */
    uint32_t irqs; /* vectors to notify once the chip has returned */
    bool inject_due; /* `inject` was set before the chip had its first reset */
};

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

static const struct kvsink_host_ops kvsink_host_ops = {
    .dma_read = kvsink_dma_read,
    .dma_write = kvsink_dma_write,
    .mark_dirty = kvsink_mark_dirty,
    .irq = kvsink_irq,
    .log = kvsink_log,
};

/*
 * To be called after each call into the chip, as the last thing: a message may
 * come back as a reset.
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

static void kvsink_retire_ended(KvsinkState *s)
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

/* True when the rings should be run again, because an item has been retired. */
static bool kvsink_run_ring(KvsinkState *s, unsigned ring)
{
    struct kvsink_item_work *item;

    if (s->threads && kvsink_pool_busy(&s->pool, ring)) {
        return false;
    }
    item = kvsink_run(s->chip, ring);
    if (!item) {
        return false;
    }
    trace_kvsink_item_submit(ring);
    if (s->threads) {
        kvsink_pool_submit(&s->pool, ring, item);
        return false;
    }
    kvsink_exec(item, 0, 1);
    trace_kvsink_item_retire(ring);
    kvsink_retire(s->chip, item);
    return true;
}

/* At most one item a ring and call, so that the main loop gets its turn. */
static void kvsink_bh(void *opaque)
{
    KvsinkState *s = opaque;
    bool again = false;

    kvsink_retire_ended(s);
    for (unsigned ring = 0; ring < s->config.rings; ring++) {
        again |= kvsink_run_ring(s, ring);
    }
    if (again) {
        qemu_bh_schedule(s->bh);
    }
    kvsink_send_irqs(s);
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
static const MemoryRegionOps kvsink_regs_ops = {
    .read = kvsink_regs_read,
    .write = kvsink_regs_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = { .min_access_size = 4, .max_access_size = 8 },
    .impl = { .min_access_size = 4, .max_access_size = 4 },
};

static void kvsink_write_config(PCIDevice *dev, uint32_t addr, uint32_t value,
                                int len)
{
    pci_default_write_config(dev, addr, value, len);
    pcie_cap_flr_write_config(dev, addr, value, len);
    pcie_aer_write_config(dev, addr, value, len);
}

/* ---- reset ---- */

/*
 * Whatever is under way ends here: threads are waited for (one item a ring at
 * most), because a cold reset clears the memory they read; their items retire
 * after the reset, which drops them.
 */
static void kvsink_reset_enter(Object *obj, ResetType type)
{
    KvsinkState *s = KVSINK(obj);

    trace_kvsink_reset();
    qemu_bh_cancel(s->bh);
    if (s->threads) {
        kvsink_pool_wait(&s->pool);
    }
    kvsink_reset(s->chip, KVSINK_RESET_COLD);
    kvsink_retire_ended(s);
}

/* Nothing that happened before may be heard of after. */
static void kvsink_reset_hold(Object *obj, ResetType type)
{
    KvsinkState *s = KVSINK(obj);

    s->irqs = 0;
    pcie_cap_deverr_reset(PCI_DEVICE(s));
    memory_region_set_dirty(&s->sram, 0, s->config.sram_bytes);
    memory_region_set_dirty(s->hbm_mr, 0, s->config.hbm_bytes);
}

static void kvsink_reset_exit(Object *obj, ResetType type)
{
    KvsinkState *s = KVSINK(obj);

    for (int what = 0; s->inject_due && what < KVSINK_INJECT_KINDS; what++) {
        kvsink_inject(s->chip, what, s->inject[what]);
    }
    s->inject_due = false;
}

/* ---- coming and going ---- */

static bool kvsink_check(KvsinkState *s, Error **errp)
{
    if (s->threads > KVSINK_MAX_PARTS) {
        error_setg(errp, "threads is %" PRIu32 ", must be 0 .. %d", s->threads,
                   KVSINK_MAX_PARTS);
        return false;
    }
    if (!s->hbm) {
        error_setg(errp, "hbm is missing, must be the id of a memory backend "
                   "(-object memory-backend-memfd,id=ID,size=512M,share=on)");
        return false;
    }
    if (host_memory_backend_is_mapped(s->hbm)) {
        error_setg(errp, "hbm is '%s', must be a memory backend that nothing "
                   "else uses",
                   object_get_canonical_path_component(OBJECT(s->hbm)));
        return false;
    }
    return true;
}

/* The chip checks its own properties, so its memory comes before the check. */
static bool kvsink_create_chip(KvsinkState *s, Error **errp)
{
    uint64_t sram_bytes = ROUND_UP(MAX((uint64_t)s->config.sram_bytes, 1),
                                   4 * KiB);
    char message[256] = "";

    if (!memory_region_init_ram(&s->sram, OBJECT(s), "kvsink-sram", sram_bytes,
                                errp)) {
        return false;
    }
    s->hbm_mr = host_memory_backend_get_memory(s->hbm);
    s->config.sram = memory_region_get_ram_ptr(&s->sram);
    s->config.hbm = memory_region_get_ram_ptr(s->hbm_mr);
    s->config.hbm_bytes = memory_region_size(s->hbm_mr);
    s->chip = kvsink_create(&s->config, &kvsink_host_ops, s, message,
                            sizeof(message));
    if (!s->chip) {
        error_setg(errp, "%s", message);
        return false;
    }
    return true;
}

static void kvsink_init_bars(KvsinkState *s)
{
    PCIDevice *dev = PCI_DEVICE(s);

    memory_region_init_io(&s->regs, OBJECT(s), &kvsink_regs_ops, s,
                          "kvsink-regs", KVSINK_REGS_BYTES);
    pci_register_bar(dev, KVSINK_BAR_REGS, PCI_BASE_ADDRESS_SPACE_MEMORY,
                     &s->regs);

    memory_region_init(&s->sram_bar, OBJECT(s), "kvsink-sram-bar",
                       pow2ceil(memory_region_size(&s->sram)));
    memory_region_add_subregion(&s->sram_bar, 0, &s->sram);
    pci_register_bar(dev, KVSINK_BAR_SRAM,
                     PCI_BASE_ADDRESS_SPACE_MEMORY |
                     PCI_BASE_ADDRESS_MEM_TYPE_64 |
                     PCI_BASE_ADDRESS_MEM_PREFETCH, &s->sram_bar);
}

static bool kvsink_init_msix(KvsinkState *s, Error **errp)
{
    PCIDevice *dev = PCI_DEVICE(s);
    unsigned vectors = s->config.rings + 1;

    if (msix_init_exclusive_bar(dev, vectors, KVSINK_BAR_MSIX, errp)) {
        return false;
    }
    for (unsigned i = 0; i < vectors; i++) {
        msix_vector_use(dev, i);
    }
    return true;
}

static bool kvsink_init_pcie(PCIDevice *dev, Error **errp)
{
    if (pcie_endpoint_cap_init(dev, KVSINK_PCIE_CAP_OFFSET) < 0) {
        error_setg(errp, "the PCI Express capability does not fit");
        return false;
    }
    pcie_cap_deverr_init(dev);
    pcie_cap_flr_init(dev);
    if (pcie_aer_init(dev, PCI_ERR_VER, KVSINK_AER_CAP_OFFSET, PCI_ERR_SIZEOF,
                      errp) < 0) {
        pcie_cap_exit(dev);
        return false;
    }
    return true;
}

static void kvsink_realize(PCIDevice *dev, Error **errp)
{
    KvsinkState *s = KVSINK(dev);

    if (!kvsink_check(s, errp) || !kvsink_create_chip(s, errp)) {
        return;
    }
    kvsink_init_bars(s);
    if (!kvsink_init_msix(s, errp)) {
        goto err_chip;
    }
    if (!kvsink_init_pcie(dev, errp)) {
        goto err_msix;
    }
    host_memory_backend_set_mapped(s->hbm, true);
    vmstate_register_ram(s->hbm_mr, DEVICE(s));
    s->bh = qemu_bh_new_guarded(kvsink_bh, s, &DEVICE(s)->mem_reentrancy_guard);
    if (s->threads) {
        kvsink_pool_start(&s->pool, s->threads, s->bh);
    }
    return;

err_msix:
    msix_uninit_exclusive_bar(dev);
err_chip:
    kvsink_destroy(s->chip);
    s->chip = NULL;
}

static void kvsink_exit(PCIDevice *dev)
{
    KvsinkState *s = KVSINK(dev);

    if (s->threads) {
        kvsink_pool_stop(&s->pool);
    }
    qemu_bh_delete(s->bh);
    vmstate_unregister_ram(s->hbm_mr, DEVICE(s));
    host_memory_backend_set_mapped(s->hbm, false);
    pcie_aer_exit(dev);
    pcie_cap_exit(dev);
    msix_uninit_exclusive_bar(dev);
    kvsink_destroy(s->chip);
    s->chip = NULL;
}

/* ---- fault injection: `opaque` is the enum kvsink_inject ---- */

static void kvsink_get_inject(Object *obj, Visitor *v, const char *name,
                              void *opaque, Error **errp)
{
    visit_type_uint32(v, name, &KVSINK(obj)->inject[(uintptr_t)opaque], errp);
}

static void kvsink_set_inject(Object *obj, Visitor *v, const char *name,
                              void *opaque, Error **errp)
{
    KvsinkState *s = KVSINK(obj);
    enum kvsink_inject what = (uintptr_t)opaque;
    uint32_t count;

    if (!visit_type_uint32(v, name, &count, errp)) {
        return;
    }
    s->inject[what] = count;
    if (s->chip) {
        kvsink_inject(s->chip, what, count);
    } else {
        s->inject_due = true;
    }
}

static void kvsink_add_inject(ObjectClass *klass, const char *name,
                              enum kvsink_inject what, const char *help)
{
    object_class_property_add(klass, name, "uint32", kvsink_get_inject,
                              kvsink_set_inject, NULL, (void *)(uintptr_t)what);
    object_class_property_set_description(klass, name, help);
}

/* ---- the type ---- */

/* The defaults come from the chip, see kvsink_init(). */
#define KVSINK_PROP(_name, _field) \
    DEFINE_PROP_UNSIGNED_NODEFAULT(_name, KvsinkState, config._field, \
                                   qdev_prop_uint32, uint32_t)

static const Property kvsink_properties[] = {
    DEFINE_PROP_LINK("hbm", KvsinkState, hbm, TYPE_MEMORY_BACKEND,
                     HostMemoryBackend *),
    DEFINE_PROP_UNSIGNED_NODEFAULT("sram", KvsinkState, config.sram_bytes,
                                   qdev_prop_size32, uint32_t),
    KVSINK_PROP("tags", tags),
    KVSINK_PROP("streams", streams),
    KVSINK_PROP("rings", rings),
    KVSINK_PROP("ring-slots", ring_slots),
    KVSINK_PROP("gart-pages", gart_pages),
    KVSINK_PROP("burst", burst_bytes),
    KVSINK_PROP("sram-latency-ns", sram_latency_ns),
    KVSINK_PROP("hbm-latency-ns", hbm_latency_ns),
    KVSINK_PROP("sram-gbps", sram_gbps),
    KVSINK_PROP("hbm-gbps", hbm_gbps),
    KVSINK_PROP("dma-gbps", dma_gbps),
    KVSINK_PROP("job-overhead-ns", job_overhead_ns),
    DEFINE_PROP_UINT32("threads", KvsinkState, threads, 2),
};

/* The chip has no save and load yet: its guest cannot be migrated. */
static const VMStateDescription kvsink_vmstate = {
    .name = TYPE_KVSINK,
    .unmigratable = 1,
};

static void kvsink_init(Object *obj)
{
    kvsink_config_default(&KVSINK(obj)->config);
}

static void kvsink_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    PCIDeviceClass *pc = PCI_DEVICE_CLASS(klass);
    ResettableClass *rc = RESETTABLE_CLASS(klass);

    pc->realize = kvsink_realize;
    pc->exit = kvsink_exit;
    pc->config_write = kvsink_write_config;
    pc->vendor_id = KVSINK_PCI_VENDOR;
    pc->device_id = KVSINK_PCI_DEVICE;
    pc->class_id = KVSINK_PCI_CLASS;
    pc->revision = 1;

    rc->phases.enter = kvsink_reset_enter;
    rc->phases.hold = kvsink_reset_hold;
    rc->phases.exit = kvsink_reset_exit;

    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    dc->desc = "KV cache attention accelerator with pinned attention sinks";
    dc->vmsd = &kvsink_vmstate;
    device_class_set_props(dc, kvsink_properties);

    kvsink_add_inject(klass, "inject-hang", KVSINK_INJECT_HANG,
                      "the next n jobs never end, until a reset");
    kvsink_add_inject(klass, "inject-dma-error", KVSINK_INJECT_DMA_ERROR,
                      "the next n operand transfers fail");
}

static const TypeInfo kvsink_info = {
    .name = TYPE_KVSINK,
    .parent = TYPE_PCI_DEVICE,
    .instance_size = sizeof(KvsinkState),
    .instance_init = kvsink_init,
    .class_init = kvsink_class_init,
    .interfaces = (InterfaceInfo[]) {
        { INTERFACE_PCIE_DEVICE },
        { }
    },
};

static void kvsink_register_types(void)
{
    type_register_static(&kvsink_info);
}

type_init(kvsink_register_types)
