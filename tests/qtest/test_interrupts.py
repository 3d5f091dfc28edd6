# SPDX-License-Identifier: MIT
"""Interrupts: IRQ_STATUS and IRQ_MASK, MSI-X messages, masking and the pending bit array."""
from device import CAP_MSIX, Device, command
from harness import equal, test
from qemu import wait_for
from uapi import const


def bad_command():
    cmd = command("ADVANCE")
    cmd.opcode = 999
    return cmd


def arrived(dev):
    return [vector for vector in range(dev.rings + 1) if dev.msix_arrived(vector)]


@test
def message_of_each_ring():
    """the end of a job sends the message of its ring and no other"""
    for ring in range(3):
        with Device() as dev:
            dev.set_up()
            dev.msix_enable()
            dev.run_ok([command("ADVANCE")], ring=ring)
            wait_for(lambda: dev.msix_arrived(ring), f"message of ring {ring}")
            equal(arrived(dev), [ring], "messages")


@test
def message_of_errors():
    """a failed job sends the error message as well"""
    with Device() as dev:
        dev.set_up()
        dev.msix_enable()
        dev.run([bad_command()], ring=1)
        wait_for(lambda: dev.msix_arrived(dev.rings), "error message")
        equal(arrived(dev), [1, dev.rings], "messages")


@test
def masked_vector_stays_pending():
    """a masked vector sets its pending bit, and sends when it is unmasked"""
    with Device() as dev:
        dev.set_up()
        dev.msix_enable(masked=(1,))
        dev.run_ok([command("ADVANCE")], ring=1)
        wait_for(dev.msix_pending, "pending bit")
        equal(dev.msix_pending(), 2, "pending bits")
        equal(arrived(dev), [], "messages while masked")
        dev.msix_unmask(1)
        equal(arrived(dev), [1], "messages after unmasking")
        equal(dev.msix_pending(), 0, "pending bits after unmasking")


@test
def no_message_without_msix():
    """no message is sent while MSI-X is disabled"""
    with Device() as dev:
        dev.set_up()
        dev.msix_enable()
        at = dev.capability(CAP_MSIX)
        dev.config_write(at, dev.config_read(at) & 0x7fffffff)
        dev.run_ok([command("ADVANCE")], ring=0)
        dev.qemu.run_bottom_halves()
        equal(arrived(dev), [], "messages")


@test
def irq_mask():
    """a bit of IRQ_MASK that is clear holds the message back; setting it lets a pending one go"""
    with Device() as dev:
        dev.set_up()
        dev.msix_enable()
        dev.set("IRQ_MASK", 0)
        dev.run_ok([command("ADVANCE")], ring=2)
        dev.qemu.run_bottom_halves()
        equal((dev.get("IRQ_STATUS"), arrived(dev)), (4, []), "IRQ_STATUS and messages while masked")
        dev.set("IRQ_MASK", 4)
        equal(arrived(dev), [2], "messages after unmasking")


@test
def one_message_until_cleared():
    """a second job sends no second message until IRQ_STATUS was cleared"""
    with Device() as dev:
        dev.set_up()
        dev.msix_enable()
        dev.run_ok([command("ADVANCE")])
        wait_for(lambda: dev.msix_arrived(0), "first message")
        dev.msix_enable()
        dev.run_ok([command("ADVANCE")])
        dev.qemu.run_bottom_halves()
        equal(arrived(dev), [], "messages before clearing")
        dev.set("IRQ_STATUS", 1)
        dev.run_ok([command("ADVANCE")])
        wait_for(lambda: dev.msix_arrived(0), "message after clearing")


@test
def completion_precedes_message():
    """when the message arrives, HEAD and the completion record are there"""
    with Device() as dev:
        dev.set_up()
        dev.msix_enable()
        slot = dev.publish([command("ADVANCE", ns=5)])
        wait_for(lambda: dev.msix_arrived(0), "message")
        equal(dev.ring_get(0, "HEAD"), 1, "HEAD")
        equal(dev.completion(0, slot).code, const("CODE_OK"), "code")


@test
def messages_after_reset():
    """messages arrive after a function level reset, once MSI-X is set up again"""
    with Device() as dev:
        dev.set_up()
        dev.msix_enable()
        dev.function_level_reset()
        dev.map_bars()
        dev.set_up()
        dev.run_ok([command("ADVANCE")], ring=1)
        equal(arrived(dev), [], "messages before MSI-X is set up")
        dev.set("IRQ_STATUS", 2)
        dev.msix_enable()
        dev.run_ok([command("ADVANCE")], ring=1)
        wait_for(lambda: dev.msix_arrived(1), "message")
