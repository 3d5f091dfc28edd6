/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kvsink: the state of the QEMU device, and what its files have in common.
 */
#ifndef HW_KVSINK_DEVICE_H
#define HW_KVSINK_DEVICE_H

#include "hw/pci/pci_device.h"
#include "system/hostmem.h"
#include "kvsink-pool.h"

#define TYPE_KVSINK "kvsink"
OBJECT_DECLARE_SIMPLE_TYPE(KvsinkState, KVSINK)

struct KvsinkState {
    PCIDevice parent_obj;

    /* properties */
    struct kvsink_chip_config config;
    HostMemoryBackend *hbm;
    uint32_t threads;
    uint32_t inject[KVSINK_INJECT_KINDS]; /* as set last */
    char *record; /* file to record to, or NULL */

    MemoryRegion regs; /* BAR 0 */
    MemoryRegion sram_bar; /* BAR 2: a power of two, with `sram` at its start */
    MemoryRegion sram;
    MemoryRegion *hbm_mr; /* of the backend */

    struct kvsink_chip *chip; /* NULL unless realized */
    KvsinkPool pool; /* not started when threads is 0 */
    QEMUBH *bh; /* retires what has ended and runs the rings */
    QEMUTimer *turn; /* schedules it again when the vCPUs have had the lock */
    uint32_t irqs; /* vectors to notify once the chip has returned */
    bool inject_due; /* `inject` was set before the chip had its first reset */
    FILE *recording; /* NULL: none */
    Notifier record_exit; /* QEMU ends: the recording does, too */
};

/* ---- kvsink-engine.c ---- */

extern const struct kvsink_host_ops kvsink_host_ops;
extern const MemoryRegionOps kvsink_regs_ops;

/* The bottom half: retires what has ended and runs the rings. */
void kvsink_engine_bh(void *opaque);
void kvsink_engine_turn(void *opaque);

/* Retires the items whose arithmetic has ended. */
void kvsink_engine_retire(KvsinkState *s);

/* ---- kvsink-record.c ---- */

bool kvsink_record_start(KvsinkState *s, Error **errp);
void kvsink_record_stop(KvsinkState *s);

#endif
