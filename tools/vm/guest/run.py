# SPDX-License-Identifier: MIT
# Boots a guest with the device, runs one command in it, passes its output through and returns its status.
#
# The command's stdout, stderr and a control line are three virtio-serial ports, each a Unix socket here; the kernel's
# log is ttyS0, written to a file that the log gate reads afterwards. Started by tools/vm/lib/guest.sh, which names
# the parts (root, kernel, QEMU) in the environment. Python's standard library only.

import argparse
import ctypes
import os
import re
import secrets
import selectors
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time

import cpio
import loggate

TIMED_OUT, GUEST_DIED, SPLAT = 124, 125, 126
HERE = os.path.dirname(os.path.abspath(__file__))
KEEP_LOGS = 40
POWER_OFF_SECONDS = 20
DUMP_SECONDS = 5
# A model without AVX: TCG emulates vector floating point, so run-time dispatch must not choose it. The same with KVM,
# so that the accelerator changes nothing but the time.
CPU = "Nehalem"
PORTS = ("control", "stdout", "stderr")


def parts():
    """The parts that lib/guest.sh names, as a dict with short keys."""
    prefix = "KVSINK_VM_"
    return {k[len(prefix):].lower(): v for k, v in os.environ.items() if k.startswith(prefix)}


def arguments(argv):
    parser = argparse.ArgumentParser(
        prog="vm " + (argv[0] if argv else "run"), usage="vm run [options] -- CMD   |   vm shell [options]",
        epilog="status: the command's; 124 time limit; 125 the guest died or never ran the command; "
               "126 the command succeeded but the kernel's log has a splat")
    add = parser.add_argument
    add("verb", choices=("run", "shell"), help=argparse.SUPPRESS)
    add("--accel", default="tcg", help=argparse.SUPPRESS)
    add("--no-log-gate", action="store_true", help=argparse.SUPPRESS)
    add("--quiet", action="store_true", help="say nothing but what went wrong")
    add("--timeout", type=float, default=None, metavar="S", help="time limit in seconds (300; none for shell)")
    add("--memory", default="2G", metavar="SIZE", help="the guest's memory (2G)")
    add("--cpus", type=int, default=2, metavar="N", help="virtual CPUs (2)")
    add("--cpu", metavar="MODEL", default=CPU, help="CPU model (%s)" % CPU)
    add("--env", action="append", default=[], metavar="K=V", help="environment of the command (repeatable)")
    add("--append", default="", metavar="ARGS", help="more kernel arguments")
    add("--no-device", action="store_true", help="a guest without the device (and without the driver)")
    add("--direct", action="store_true", help="the device on the root bus, not behind a root port")
    add("--device-prop", action="append", default=[], metavar="K=V", help="property of the device (repeatable)")
    add("--hbm", default="512M", metavar="SIZE", help="the device's HBM (512M)")
    add("--iommu", action="store_true", help="put an IOMMU (intel-iommu) in front of the device")
    add("--no-driver", action="store_true", help="do not load the driver")
    add("--driver-param", action="append", default=[], metavar="K=V", help="parameter of the module (repeatable)")
    add("--qmp", metavar="PATH", help="offer QMP on this Unix socket")
    add("--qemu-arg", action="append", default=[], metavar="ARG", help="another argument for QEMU (repeatable)")
    add("--kernel-log", metavar="FILE", help="where the kernel's log goes (build/vm-logs/...)")
    options_part, command = split_at_dashes(argv)
    options, rest = parser.parse_known_args(options_part)
    command = rest + command
    if any(word.startswith("-") for word in rest[:1]):
        parser.error("unknown option %s (the command goes after --)" % rest[0])
    if options.verb == "run" and not command:
        parser.error("no command: vm run [options] -- CMD")
    if options.timeout is not None and not options.timeout > 0:
        parser.error("--timeout %g: seconds above 0 are wanted" % options.timeout)
    options.command = command or ["/bin/bash", "-l"]
    if options.timeout is None and options.verb == "run":
        options.timeout = 300.0
    return options


def split_at_dashes(argv):
    if "--" in argv:
        at = argv.index("--")
        return argv[:at], argv[at + 1:]
    return argv, []


def say(text):
    print("vm: " + text, file=sys.stderr, flush=True)


# --- the job: what the guest is told ---

def job_script(options, where, trailer):
    """A shell fragment that stage2 sources."""
    driver = "" if options.no_driver or options.no_device else "1"
    cwd = os.environ.get("PWD") or os.getcwd()
    inside = any((cwd + "/").startswith(where[k] + "/") for k in ("project", "cache"))
    settings = {
        "project": where["project"], "cache": where["cache"], "root": where["root"],
        "cwd": cwd if inside else where["project"], "trailer": trailer, "driver": driver,
        "module": where["module"], "driver_depends": driver_dependencies(where["module"]),
        "driver_params": " ".join(options.driver_param), "shell": "1" if options.verb == "shell" else "",
    }
    lines = ["%s=%s" % (k, shlex.quote(v)) for k, v in settings.items()]
    lines.append("export KVSINK_MODULE=%s" % shlex.quote(where["module"]))
    lines.append("set -- %s" % " ".join(shlex.quote(word) for word in options.command))
    for setting in job_environment(options):
        name, value = setting.split("=", 1)
        lines.append("export %s=%s" % (name, shlex.quote(value)))
    return "\n".join(lines) + "\n"


def driver_dependencies(module):
    """What the module names as its dependencies in its .modinfo, as words."""
    try:
        with open(module, "rb") as file:
            found = re.search(rb"\0depends=([^\0]*)\0", file.read())
    except FileNotFoundError:
        return ""
    return found.group(1).decode().replace(",", " ") if found else ""


def check_driver_params(options, module):
    """The kernel takes any parameter and ignores those that the module does not have; here they are refused."""
    if not options.driver_param or not os.path.exists(module):
        return
    with open(module, "rb") as file:
        known = {name.decode() for name in re.findall(rb"\0parm=([^:\0]+):", file.read())}
    for setting in options.driver_param:
        if setting.split("=")[0] not in known:
            say("--driver-param %s: the driver has %s" % (setting, ", ".join(sorted(known)) or "no parameters"))
            sys.exit(2)


def job_environment(options):
    for setting in options.env:
        if not re.match(r"[A-Za-z_][A-Za-z0-9_]*=", setting):
            say("--env %s: want NAME=VALUE" % setting)
            sys.exit(2)
        yield setting
    if options.verb == "shell":
        size = os.get_terminal_size() if sys.stdin.isatty() else os.terminal_size((80, 24))
        yield "TERM=" + os.environ.get("TERM", "vt100")
        yield "LINES=%d" % size.lines
        yield "COLUMNS=%d" % size.columns


def write_initrd(path, base, job):
    """The cached initramfs with this run's init and job behind it: the kernel unpacks one after the other."""
    with open(path, "wb") as out, open(base, "rb") as cached:
        out.write(cached.read())
        out.write(b"\0" * (-out.tell() % 4))
        with open(os.path.join(HERE, "init"), "rb") as init, open(os.path.join(HERE, "stage2"), "rb") as stage2:
            out.write(cpio.archive([
                ("init", 0o100755, init.read()),
                ("job", 0o040755, b""),
                ("job/stage2", 0o100755, stage2.read()),
                ("job/job", 0o100644, job.encode("utf-8", "surrogateescape")),
            ]))


# --- QEMU ---

def kernel_arguments(options):
    # An oops ends the guest at once: what follows it is noise. Stall limits are wide because TCG shares two cores.
    words = ["console=ttyS0", "rdinit=/init", "oops=panic", "panic=-1", "rcupdate.rcu_cpu_stall_timeout=90",
             "watchdog_thresh=60", "printk.devkmsg=on", "log_buf_len=4M"]
    if not options.accel.startswith("kvm"):
        # They protect against speculation, of which TCG does none, and cost it a third of the guest's speed.
        words.append("mitigations=off")
    words.append(options.append)
    return " ".join(word for word in words if word)


def qemu_command(options, where, scratch, log):
    accel = options.accel.split(":")[0]
    accelerator = "kvm" if accel == "kvm" else "tcg,thread=multi"
    firmware = os.path.join(where["root"], "usr/share")
    command = [
        where["qemu"], "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-L", firmware + "/qemu", "-L", firmware + "/seabios",
        "-machine", "q35" + (",kernel-irqchip=split" if options.iommu and accel == "kvm" else ""),
        "-accel", accelerator, "-cpu", options.cpu, "-smp", str(options.cpus), "-m", options.memory,
        "-kernel", where["kernel"], "-initrd", scratch + "/initrd", "-append", kernel_arguments(options),
        "-chardev", "file,id=log,path=" + comma(log), "-serial", "chardev:log",
        "-device", "virtio-rng-pci",
        "-device", "virtio-serial-pci,id=ports,max_ports=8",
    ]
    for number, name in enumerate(PORTS, 1):
        command += ["-chardev", "socket,id=%s,path=%s" % (name, comma(scratch + "/" + name)),
                    "-device", "virtserialport,bus=ports.0,nr=%d,chardev=%s,name=%s" % (number, name, name)]
    for tag, read_only in (("root", True), ("cache", True), ("project", False)):
        command += ["-fsdev", "local,id=%s,path=%s,security_model=none,multidevs=remap%s"
                    % (tag, comma(where[tag]), ",readonly=on" if read_only else ""),
                    "-device", "virtio-9p-pci,fsdev=%s,mount_tag=%s" % (tag, tag)]
    if options.verb == "shell":
        command += ["-chardev", "stdio,id=tty,signal=off", "-device", "virtconsole,bus=ports.0,nr=0,chardev=tty"]
    if options.iommu:
        command += ["-device", "intel-iommu,intremap=on,caching-mode=on"]
    if options.qmp:
        command += ["-qmp", "unix:%s,server=on,wait=off" % comma(options.qmp)]
    return command + device_arguments(options) + options.qemu_arg


def device_arguments(options):
    if options.no_device:
        return []
    result = ["-object", "memory-backend-ram,id=hbm,size=%s" % options.hbm]
    device = ["kvsink", "id=kvsink0", "hbm=hbm"]
    if options.direct:
        device.append("bus=pcie.0")
    else:
        result += ["-device", "pcie-root-port,id=rp0,bus=pcie.0,chassis=1,slot=1"]
        device.append("bus=rp0")
    return result + ["-device", ",".join(device + options.device_prop)]


def comma(path):
    """QEMU's own escape for a comma in an option."""
    return path.replace(",", ",,")


def has_device(qemu):
    listing = subprocess.run([qemu, "-device", "help"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return 'name "kvsink"' in listing.stdout


def die_with_parent():
    """So that no guest outlives its runner, however the runner ends (1 is PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)


# --- passing output through ---

class Stream:
    """One of the command's output streams: what comes from the guest goes to `fd` until the trailer."""

    def __init__(self, fd, trailer):
        self.fd, self.trailer, self.held, self.complete = fd, trailer, b"", False

    def feed(self, data):
        data = self.held + data
        at = data.find(self.trailer)
        if at >= 0:
            self.write(data[:at])
            self.held, self.complete = b"", True
            return
        keep = self.partial_trailer(data)
        self.write(data[:len(data) - keep])
        self.held = data[len(data) - keep:]

    def partial_trailer(self, data):
        """How many last bytes may be the trailer's beginning."""
        for size in range(min(len(data), len(self.trailer) - 1), 0, -1):
            if self.trailer.startswith(data[-size:]):
                return size
        return 0

    def flush(self):
        self.write(self.held)
        self.held = b""

    def write(self, data):
        while data:
            try:
                data = data[os.write(self.fd, data):]
            except BlockingIOError:
                time.sleep(0.01)
            except BrokenPipeError:
                return


class Control:
    """The guest's reports, a line each: begin, exit N, failed WHY, dumped."""

    def __init__(self, peer=None):
        self.peer, self.text, self.status, self.began, self.failure, self.dumped = peer, b"", None, False, None, False

    complete = property(lambda self: self.status is not None or self.failure is not None)

    def feed(self, data):
        self.text += data
        *lines, self.text = self.text.split(b"\n")
        for line in lines:
            verb, _, rest = line.decode("utf-8", "replace").partition(" ")
            if verb == "exit":
                self.status = int(rest)
            elif verb == "failed":
                self.failure = rest
            elif verb == "begin":
                self.began = True
            elif verb == "dumped":
                self.dumped = True

    def flush(self):
        pass


class Guest:
    """One guest from its start to its end."""

    def __init__(self, options, where, scratch, log):
        self.options, self.scratch, self.log = options, scratch, log
        trailer = secrets.token_hex(24)
        self.control = Control()
        self.handlers = {"control": self.control, "stdout": Stream(1, trailer.encode()), "stderr": Stream(2, trailer.encode())}
        write_initrd(scratch + "/initrd", where["initramfs"], job_script(options, where, trailer))
        self.selector = selectors.DefaultSelector()
        self.listen()
        self.started = time.monotonic()
        stdin = None if options.verb == "shell" else subprocess.DEVNULL
        self.messages = open(scratch + "/qemu-messages", "w+b")
        shell = options.verb == "shell"
        self.process = subprocess.Popen(
            qemu_command(options, where, scratch, log), stdin=stdin, stdout=None if shell else self.messages,
            stderr=self.messages, preexec_fn=die_with_parent)

    def listen(self):
        for name in PORTS:
            server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            server.bind(self.scratch + "/" + name)
            server.listen(1)
            self.selector.register(server, selectors.EVENT_READ, ("accept", name))

    def pump(self, seconds):
        for key, _ in self.selector.select(seconds):
            what, name = key.data
            if what == "accept":
                peer, _ = key.fileobj.accept()
                self.selector.unregister(key.fileobj)
                key.fileobj.close()
                self.selector.register(peer, selectors.EVENT_READ, ("read", name))
                if name == "control":
                    self.control.peer = peer
                continue
            try:
                data = key.fileobj.recv(1 << 16)
            except ConnectionError:
                data = b""
            if data:
                self.handlers[name].feed(data)
            else:
                self.selector.unregister(key.fileobj)

    def drain(self):
        """After QEMU's end: what is still in the sockets."""
        while any(key.data[0] == "read" for key in self.selector.get_map().values()):
            self.pump(0.1)
        for handler in self.handlers.values():
            handler.flush()

    def finished(self):
        streams = () if self.options.verb == "shell" else ("stdout", "stderr")
        return self.control.complete and all(self.handlers[name].complete for name in streams)

    def wait(self):
        """Runs until QEMU ends. True if it did so in time."""
        limit = self.options.timeout
        deadline = self.started + limit if limit else None
        end = None
        while self.process.poll() is None:
            now = time.monotonic()
            if end is None and self.finished():
                end = now + POWER_OFF_SECONDS
            if end is not None and now > end:
                say("the guest does not power off: ended")
                self.stop()
            elif end is None and deadline is not None and now > deadline:
                self.dump()
                self.stop()
                self.drain()
                return False
            self.pump(0.2)
        self.drain()
        return True

    def dump(self):
        """Asks the guest's kernel for its tasks, for the log."""
        if self.control.peer is None or not self.control.began:
            return
        try:
            self.control.peer.sendall(b"dump\n")
        except OSError:
            return
        until = time.monotonic() + DUMP_SECONDS
        while time.monotonic() < until and not self.control.dumped and self.process.poll() is None:
            self.pump(0.2)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def last_message(self):
        self.messages.seek(0)
        text = self.messages.read().decode("utf-8", "replace").strip()
        return text.splitlines()[-1] if text else ""


# --- the verdict ---

def verdict(guest, in_time, options):
    control = guest.control
    seconds = time.monotonic() - guest.started
    splats = [] if options.no_log_gate else loggate.splats(guest.log)
    for line in splats:
        print("vm: kernel: " + line, file=sys.stderr, flush=True)
    if not in_time:
        say("time limit of %g s reached; kernel log: %s" % (options.timeout, guest.log))
        return TIMED_OUT
    if control.failure:
        say("%s; kernel log: %s" % (control.failure, guest.log))
        return GUEST_DIED
    if control.status is None:
        what = "while the command ran" if control.began else "before the command ran"
        say("the guest died %s after %.1f s: %s; kernel log: %s"
            % (what, seconds, guest.last_message() or "no message from QEMU", guest.log))
        return GUEST_DIED
    if splats:
        say("the kernel's log has %d line(s) that must not be there; log: %s" % (len(splats), guest.log))
        return control.status or SPLAT
    return control.status


def log_file(options, where):
    if options.kernel_log:
        os.makedirs(os.path.dirname(os.path.abspath(options.kernel_log)), exist_ok=True)
        return os.path.abspath(options.kernel_log)
    folder = where["project"] + "/build/vm-logs"
    os.makedirs(folder, exist_ok=True)
    old = sorted(name for name in os.listdir(folder) if re.fullmatch(r"\d{8}-\d{6}-\d+\.log", name))
    for name in old[:-KEEP_LOGS]:
        os.unlink(os.path.join(folder, name))
    return os.path.join(folder, "%s-%d.log" % (time.strftime("%Y%m%d-%H%M%S"), os.getpid()))


def main():
    options, where = arguments(sys.argv[1:]), parts()
    if not options.no_device and not has_device(where["qemu"]):
        say("this QEMU has no kvsink device (run 'build/vm setup qemu', or use --no-device): " + where["qemu"])
        return GUEST_DIED
    check_driver_params(options, where["module"])
    try:
        log = log_file(options, where)
    except OSError as error:
        say("--kernel-log %s: %s" % (options.kernel_log, error.strerror))
        return 2
    accel, _, why = options.accel.partition(":")
    if not options.quiet:
        say("accelerator: %s%s" % (accel, " (%s)" % why if why else ""))
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda signum, frame: sys.exit(128 + signum))
    with tempfile.TemporaryDirectory(prefix="kvsink-vm-") as scratch:
        guest = Guest(options, where, scratch, log)
        try:
            in_time = guest.wait()
        except BaseException:
            guest.stop()
            raise
        return verdict(guest, in_time, options)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
