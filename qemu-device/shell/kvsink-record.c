/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kvsink: record=FILE, a recording of all that goes into the chip.
 *
 * The chip makes it (silicon/record.c), under the BQL like everything else;
 * here are the file and its end, which is that of the device or of QEMU.
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qapi/error.h"
#include "system/system.h"
#include "kvsink-device.h"

static int kvsink_record_write(void *opaque, const void *data, size_t bytes)
{
    return fwrite(data, 1, bytes, opaque) != bytes;
}

static void kvsink_record_exit(Notifier *notifier, void *unused)
{
    kvsink_record_stop(container_of(notifier, KvsinkState, record_exit));
}

/* A file that is there already may be anything: it stays as it is. */
bool kvsink_record_start(KvsinkState *s, Error **errp)
{
    if (!s->record) {
        return true;
    }
    s->recording = fopen(s->record, "wbx");
    if (!s->recording) {
        error_setg_errno(errp, errno, "record: cannot make '%s'", s->record);
        return false;
    }
    kvsink_record(s->chip, kvsink_record_write, s->recording);
    s->record_exit.notify = kvsink_record_exit;
    qemu_add_exit_notifier(&s->record_exit);
    return true;
}

void kvsink_record_stop(KvsinkState *s)
{
    bool failed;

    if (!s->recording) {
        return;
    }
    qemu_remove_exit_notifier(&s->record_exit);
    failed = kvsink_record_end(s->chip);
    failed |= fclose(s->recording);
    s->recording = NULL;
    if (failed) {
        warn_report("kvsink: record: '%s' could not be written to its end",
                    s->record);
    }
}
