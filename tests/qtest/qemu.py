# SPDX-License-Identifier: MIT
"""
One QEMU process without a running CPU, driven through its qtest socket (memory and ports) and its QMP socket.

Both sockets lie in a temporary folder; every wait has a time limit, and close() ends the process whatever happened.
"""
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time

SECONDS = 20  # limit of each single answer
POLL_SECONDS = 10  # limit of wait_for()
HERE = os.path.dirname(os.path.abspath(__file__))


def binary():
    """$KVSINK_QEMU, or the one that `build/vm setup qemu` makes."""
    return os.environ.get("KVSINK_QEMU") or os.path.join(HERE, "..", "..", "build", "qemu", "qemu-system-x86_64")


def has_device():
    try:
        done = subprocess.run([binary(), "-device", "kvsink,help"], stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=SECONDS, check=False)
    except OSError:
        return False
    return b"hbm=" in done.stdout


def make_firmware(folder):
    """Files that the machine wants to load, although nothing executes them."""
    for name, size in (("bios", 64 << 10), ("kvmvapic.bin", 9 << 10)):
        with open(os.path.join(folder, name), "wb") as image:
            image.truncate(size)


class Line:
    """A listening UNIX socket to which QEMU connects; text, line by line."""

    def __init__(self, path):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(1)
        self.listener.settimeout(SECONDS)
        self.peer = None

    def accept(self):
        connection, _ = self.listener.accept()
        connection.settimeout(SECONDS)
        self.peer = connection.makefile("rw", encoding="utf-8", newline="\n")

    def write(self, text):
        self.peer.write(text + "\n")
        self.peer.flush()

    def read(self):
        line = self.peer.readline()
        if not line:
            raise ConnectionError("QEMU closed the connection: it exited or crashed")
        return line.rstrip("\n")

    def close(self):
        for end in (self.peer, self.listener):
            if end:
                try:
                    end.close()
                except OSError:
                    pass


class Qemu:
    RAM = 64 << 20

    def __init__(self, device=None, hbm_bytes=16 << 20, arguments=()):
        """`device`: text behind -device, or None; the memory backend's id is "memory"."""
        self.folder = tempfile.mkdtemp(prefix="kvsink-qtest-")
        self.hbm_path = os.path.join(self.folder, "hbm")
        self.log_path = os.path.join(self.folder, "log")
        self.events = []  # names of QMP events, in order, not yet waited for
        self.qtest, self.qmp = Line(self.folder + "/qtest"), Line(self.folder + "/qmp")
        make_firmware(self.folder)
        command = self.command(self.folder, hbm_bytes, device, arguments)
        command += ["-qtest", f"unix:{self.folder}/qtest", "-qtest-log", os.devnull,
                    "-qmp", f"unix:{self.folder}/qmp", "-d", "guest_errors", "-D", self.log_path]
        with open(self.folder + "/stderr", "wb") as stderr:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr)
        try:
            self.connect()
        except (OSError, ConnectionError) as error:
            text = self.stderr()
            self.close()
            raise RuntimeError(f"QEMU did not start ({error}): {text}") from error

    @staticmethod
    def command(folder, hbm_bytes, device, arguments=()):
        command = [binary(), "-machine", "q35", "-accel", "qtest", "-m", str(Qemu.RAM >> 20), "-nodefaults",
                   "-display", "none", "-L", folder, "-bios", "bios",
                   "-object", f"memory-backend-file,id=memory,size={hbm_bytes},mem-path={folder}/hbm,share=on"]
        if device:
            command += ["-device", device]
        return command + list(arguments)

    def connect(self):
        for line in (self.qmp, self.qtest):
            line.accept()
        self.qmp.read()  # greeting
        self.execute("qmp_capabilities")

    def stderr(self):
        with open(self.folder + "/stderr", encoding="utf-8", errors="replace") as text:
            return text.read().strip()

    def log(self):
        """What the device logged as guest errors so far."""
        with open(self.log_path, encoding="utf-8", errors="replace") as text:
            return text.read()

    def alive(self):
        return self.process.poll() is None

    def close(self):
        self.qtest.close()
        self.qmp.close()
        if self.alive():
            self.process.terminate()
        try:
            self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---- QMP ----

    def execute(self, command, **arguments):
        self.qmp.write(json.dumps({"execute": command, "arguments": arguments}))
        while True:
            answer = self.next_message()
            if "error" in answer:
                raise RuntimeError(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def next_message(self):
        message = json.loads(self.qmp.read())
        if "event" in message:
            self.events.append(message["event"])
        return message

    def wait_event(self, name):
        """Waits for an event; those before it are forgotten."""
        while name not in self.events:
            self.next_message()
        del self.events[:self.events.index(name) + 1]

    # ---- qtest ----

    def ask(self, text):
        self.qtest.write(text)
        answer = self.qtest.read()
        while answer.startswith("IRQ "):
            answer = self.qtest.read()
        if not answer.startswith("OK"):
            raise RuntimeError(f"qtest: {text[:60]}: {answer}")
        return answer[3:]

    def readl(self, address):
        return int(self.ask(f"readl 0x{address:x}"), 16)

    def readq(self, address):
        return int(self.ask(f"readq 0x{address:x}"), 16)

    def writel(self, address, value):
        self.ask(f"writel 0x{address:x} 0x{value:x}")

    def writeq(self, address, value):
        self.ask(f"writeq 0x{address:x} 0x{value:x}")

    def read(self, address, count):
        return bytes.fromhex(self.ask(f"read 0x{address:x} 0x{count:x}")[2:])

    def write(self, address, data):
        self.ask(f"write 0x{address:x} 0x{len(data):x} 0x{bytes(data).hex()}")

    def memset(self, address, count, value):
        self.ask(f"memset 0x{address:x} 0x{count:x} 0x{value:x}")

    def outl(self, port, value):
        self.ask(f"outl 0x{port:x} 0x{value:x}")

    def inl(self, port):
        return int(self.ask(f"inl 0x{port:x}"), 16)

    def run_bottom_halves(self):
        """Gives the main loop some turns, for tests that expect nothing to happen."""
        for _ in range(20):
            self.ask("clock_step 1000")
            time.sleep(0.002)


def wait_for(condition, what):
    """Polls until `condition()` is true; the time limit is a failure."""
    end = time.monotonic() + POLL_SECONDS
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {POLL_SECONDS} s")
        time.sleep(0.001)


def start_and_fail(device, hbm_bytes=16 << 20, arguments=()):
    """Runs QEMU with properties that it must refuse. Returns (exit status, lines on stderr)."""
    folder = tempfile.mkdtemp(prefix="kvsink-qtest-")
    try:
        make_firmware(folder)
        command = Qemu.command(folder, hbm_bytes, device, arguments)
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False)
        return done.returncode, done.stderr.decode("utf-8", "replace").splitlines()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
