# SPDX-License-Identifier: MIT
# The log gate: the lines of a kernel log that mean that something broke, whatever the tests say.

import re

MUST_NOT_APPEAR = re.compile("|".join((
    r"\bBUG\b", r"\bWARNING:", r"\bOops\b", r"Internal error", r"Kernel panic", r"general protection fault",
    r"Unable to handle", r"unable to handle",
    r"possible recursive locking", r"possible circular locking", r"possible irq lock inversion",
    r"inconsistent lock state", r"lock held when returning", r"held lock freed", r"DEBUG_LOCKS_WARN",
    r"INFO: trying to register non-static key", r"suspicious RCU usage", r"Invalid wait context",
    r"rcu.*detected (expedited )?stalls", r"rcu.*self-detected stall", r"sleeping function called",
    r"scheduling while atomic", r"\bKASAN\b", r"\bKCSAN\b", r"\bKFENCE\b", r"\bKMSAN\b", r"\bUBSAN\b",
    r"DMA-API:", r"blocked for more than \d+ seconds", r"(soft|hard) lockup", r"workqueue lockup",
    r"refcount_t:", r"list_(add|del) corruption", r"kmemleak: \d+ new suspected", r"page allocation failure",
    r"Out of memory", r"stack-protector", r"ODEBUG:", r"Memory manager not clean",
)))
# A tool that is only announced at boot has found nothing.
HARMLESS = re.compile(r"KASAN_|kasan: KernelAddressSanitizer initialized|kfence: initialized|DMA-API: preallocated"
                      r"|DMA-API: debugging enabled|ubsan: |KernelAddressSanitizer initialized")
MOST_LINES = 40


def splats(path):
    """The offending lines of the log, at most MOST_LINES of them."""
    found = []
    try:
        with open(path, "rb") as log:
            for raw in log:
                line = raw.decode("utf-8", "replace").rstrip("\r\n")
                if MUST_NOT_APPEAR.search(line) and not HARMLESS.search(line):
                    found.append(line)
    except FileNotFoundError:
        pass
    return found[:MOST_LINES]
