/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kvsink: a PCIe accelerator for attention over a KV cache, with attention
 * sinks pinned in on-chip SRAM.
 *
 * The chip itself is silicon/, which knows nothing of QEMU; silicon/silicon.h
 * is the interface. This file makes a PCI device of it: identity, BARs, MSI-X,
 * reset and properties. kvsink-engine.c runs it, kvsink-pool.c is its threads,
 * kvsink-record.c keeps a recording of it.
 *
 * Usage:
 *   -object memory-backend-ram,id=hbm0,size=512M
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
 *   tag-latency-ns=<n>, sram-gbps=<n>, hbm-gbps=<n>, dma-gbps=<n>
 *                    the modelled clock; none of it slows the emulation down
 *   threads=<n>      threads that do the arithmetic (0..16, default 2). With 0
 *                    the main loop does it, in an order that depends on nothing
 *                    but the doorbells; for tests and fuzzing
 *   inject-hang=<n>  the next n jobs never begin, nor end, until a reset. Can be
 *                    set with qom-set while the guest runs
 *   inject-lost=<n>  the next n jobs do their work, but never end; likewise
 *   inject-skip=<n>  hangs and lost ends begin after n more jobs; likewise
 *   inject-dma-error=<n>
 *                    the next n operand transfers fail; likewise
 *   inject-ecc=<n>   the next n ATTENDs that find an entry in SRAM lose the
 *                    first one to an uncorrectable error; likewise. All of
 *                    them read as the number that was set last
 *
 *   record=<file>    a new file that becomes a recording of all that goes into
 *                    the chip, for sinkctl replay
 *
 * Ranges and defaults come from silicon/; a value out of range is refused with
 * a message that says so.
 */
#include "qemu/osdep.h"
#include "qemu/host-utils.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "hw/pci/msix.h"
#include "hw/pci/pcie.h"
#include "hw/pci/pcie_aer.h"
#include "hw/qdev-properties.h"
#include "hw/resettable.h"
#include "migration/vmstate.h"
#include "kvsink-device.h"
#include "trace.h"

#define KVSINK_PCIE_CAP_OFFSET 0x80
#define KVSINK_AER_CAP_OFFSET 0x100

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
 * most, cancelled, or a guest could make the main loop wait for minutes),
 * because a cold reset clears the memory they read; their items retire after
 * the reset, which drops them.
 */
static void kvsink_reset_enter(Object *obj, ResetType type)
{
    KvsinkState *s = KVSINK(obj);

    trace_kvsink_reset();
    qemu_bh_cancel(s->bh);
    timer_del(s->turn);
    kvsink_cancel(s->chip);
    if (s->threads) {
        kvsink_pool_wait(&s->pool);
    }
    kvsink_reset(s->chip, KVSINK_RESET_COLD);
    kvsink_engine_retire(s);
}

/* Nothing that happened before may be heard of after. */
static void kvsink_reset_hold(Object *obj, ResetType type)
{
    KvsinkState *s = KVSINK(obj);

    s->irqs = 0;
    pcie_cap_deverr_reset(PCI_DEVICE(s));
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
        error_setg(errp, "threads: %" PRIu32 " is out of range, allowed are "
                   "0 to %d", s->threads, KVSINK_MAX_PARTS);
        return false;
    }
    if (!s->hbm) {
        error_setg(errp, "hbm: missing, must be the id of a memory backend "
                   "(-object memory-backend-ram,id=ID,size=512M)");
        return false;
    }
    if (host_memory_backend_is_mapped(s->hbm)) {
        error_setg(errp, "hbm: memory backend '%s' is in use already",
                   object_get_canonical_path_component(OBJECT(s->hbm)));
        return false;
    }
    return true;
}

/*
 * The chip names the field of its configuration that is wrong ("ring_slots: 3
 * is not a power of two"); users know it as the property ring-slots.
 */
static void kvsink_refuse(const char *message, Error **errp)
{
    g_auto(GStrv) part = g_strsplit(message, ":", 2);

    if (!part[0] || !part[1]) {
        error_setg(errp, "%s", message);
        return;
    }
    if (g_str_has_suffix(part[0], "_bytes")) {
        part[0][strlen(part[0]) - strlen("_bytes")] = '\0';
    }
    error_setg(errp, "%s:%s", g_strdelimit(part[0], "_", '-'), part[1]);
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
        kvsink_refuse(message, errp);
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

/* A region inside one of the same owner keeps that owner alive. */
static void kvsink_exit_bars(KvsinkState *s)
{
    memory_region_del_subregion(&s->sram_bar, &s->sram);
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
        goto err_bars;
    }
    if (!kvsink_init_pcie(dev, errp)) {
        goto err_msix;
    }
    if (!kvsink_record_start(s, errp)) {
        goto err_pcie;
    }
    host_memory_backend_set_mapped(s->hbm, true);
    vmstate_register_ram(s->hbm_mr, DEVICE(s));
    s->turn = timer_new_ns(QEMU_CLOCK_REALTIME, kvsink_engine_turn, s);
    s->bh = qemu_bh_new_guarded(kvsink_engine_bh, s,
                                &DEVICE(s)->mem_reentrancy_guard);
    if (s->threads) {
        kvsink_pool_start(&s->pool, s->threads, s->bh);
    }
    return;

err_pcie:
    pcie_aer_exit(dev);
    pcie_cap_exit(dev);
err_msix:
    msix_uninit_exclusive_bar(dev);
err_bars:
    kvsink_exit_bars(s);
    kvsink_destroy(s->chip);
    s->chip = NULL;
}

static void kvsink_exit(PCIDevice *dev)
{
    KvsinkState *s = KVSINK(dev);

    s->irqs = 0; /* a message may have unplugged the device that sends them */
    kvsink_cancel(s->chip);
    if (s->threads) {
        kvsink_pool_stop(&s->pool);
    }
    qemu_bh_delete(s->bh);
    timer_free(s->turn);
    kvsink_record_stop(s);
    vmstate_unregister_ram(s->hbm_mr, DEVICE(s));
    host_memory_backend_set_mapped(s->hbm, false);
    pcie_aer_exit(dev);
    pcie_cap_exit(dev);
    msix_uninit_exclusive_bar(dev);
    kvsink_exit_bars(s);
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
    KVSINK_PROP("tag-latency-ns", tag_latency_ns),
    DEFINE_PROP_UINT32("threads", KvsinkState, threads, 2),
    DEFINE_PROP_STRING("record", KvsinkState, record),
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
                      "the next n jobs never begin, nor end, until a reset");
    kvsink_add_inject(klass, "inject-lost", KVSINK_INJECT_LOST,
                      "the next n jobs do their work, but never end");
    kvsink_add_inject(klass, "inject-skip", KVSINK_INJECT_SKIP,
                      "hangs and lost ends begin after n more jobs");
    kvsink_add_inject(klass, "inject-dma-error", KVSINK_INJECT_DMA_ERROR,
                      "the next n operand transfers fail");
    kvsink_add_inject(klass, "inject-ecc", KVSINK_INJECT_ECC,
                      "the next n ATTENDs with rows in SRAM lose an entry or a tail");
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
