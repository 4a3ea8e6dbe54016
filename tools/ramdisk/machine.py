"""A machine that boots the ramdisk: QEMU with software emulation, several disks and interfaces, a BMC, BIOS or UEFI.

    with Machine(work, kernel=…, initrds=(…,), append="ipa-agent-token=…") as machine:
        found = machine.wait_ready()      # what the agent prints on the serial console
        api = machine.api(token)          # HTTPS, pinned to the certificate named on that console
        api.call("hardware.inventory")

Without a kernel, it boots from its disks. The guest reaches servers on the host's 127.0.0.1 as 10.0.2.2. QEMU ends with
the thread that started it, so start a machine from a thread that outlives it.
"""

import contextlib
import os
import re
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import machine_parts as parts
from machine_parts import DISKS, NICS, Disk, MachineError, Nic
from pinned import Api
from qmp import Qmp, QmpError

HOST = "10.0.2.2"  # the host's 127.0.0.1, as seen by the guest
QEMU = "qemu-system-x86_64"
READY = r"agent-router (?P<version>\S+): ready at (?P<urls>[^;]+); certificate SHA-256 (?P<fingerprint>[0-9a-f:]{95})"
FAILED = r"agent-router \S+: does not start: [^\r\n]*"
# A panic, or firmware and boot loaders that have given up.
HOPELESS = r"Kernel panic - not syncing[^\r\n]*|grub rescue>|Shell> |No bootable device"
PATIENCE_S = 240.0  # far more than a loaded machine needs; an exit or panic is detected at once
TAIL_LINES = 25
POLL_S = 0.1


@dataclass
class Machine:
    """`work` is its directory: disks, console log, UEFI variables. Started again with it, it is the same machine."""

    work: Path
    kernel: Path | None = None
    initrds: tuple[Path, ...] = ()
    append: str = ""
    uefi: bool = False
    memory_mib: int = 768
    cpus: int = 2
    disks: tuple[Disk, ...] = DISKS
    nics: tuple[Nic, ...] = NICS
    sticks: tuple[Path, ...] = ()
    cds: tuple[Path, ...] = ()
    bmc: bool = True
    terminal: bool = False  # also connect the serial console to this terminal
    extra: tuple[str, ...] = ()
    guest_port: int = 9999
    host_port: int = 0  # port on the host's 127.0.0.1 that is forwarded to it; 0: a free one
    guest_address: str = ""  # address that it is forwarded to; default: QEMU's first DHCP address
    qmp: Qmp = field(init=False)
    port: int = field(init=False, default=0)
    started: float = field(init=False, default=0.0)
    ready: "Ready | None" = field(init=False, default=None)
    _process: "subprocess.Popen[bytes] | None" = field(init=False, default=None)
    _cpu_s: float = field(init=False, default=0.0)

    # ---- life

    def __enter__(self) -> "Machine":
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.quit()

    def start(self) -> "Machine":
        self.work.mkdir(parents=True, exist_ok=True)
        self.console_log.write_bytes(b"")
        ours, theirs = socket.socketpair()
        with theirs:
            self.started = time.monotonic()
            self._process = self._launch(theirs.fileno())
        try:
            self.qmp = Qmp(ours)
        except QmpError:
            raise self.failure("QEMU did not start") from None
        network = self.qmp("human-monitor-command", **{"command-line": "info usernet"})
        found = re.search(r"127\.0\.0\.1\s+(\d+)", network)
        self.port = int(found[1]) if found else 0
        return self

    def _launch(self, qmp_fd: int) -> "subprocess.Popen[bytes]":
        # QEMU must not outlive this program, whatever happens.
        argv = ["setpriv", "--pdeathsig", "KILL", *self.command_line(qmp_fd)]
        files = (qmp_fd, *(nic.tap for nic in self.nics if nic.tap is not None))
        with (self.work / "qemu.log").open("wb") as log:
            try:
                # In its own session, so that we handle Ctrl-C; a console on the terminal needs our process group.
                return subprocess.Popen(
                    argv,
                    pass_fds=files,
                    stderr=log,
                    start_new_session=not self.terminal,
                    stdin=None if self.terminal else subprocess.DEVNULL,
                    stdout=None if self.terminal else log,
                )
            except FileNotFoundError:
                raise MachineError("setpriv (of the package util-linux) is missing") from None

    def command_line(self, qmp_fd: int) -> list[str]:
        log = parts.escaped(self.console_log)
        serial = f"stdio,id=serial,mux=on,signal=off,logfile={log}" if self.terminal else f"file,id=serial,path={log}"
        argv = [
            # Without graphics, so that the BIOS and boot loaders also use the serial console.
            *(QEMU, "-machine", "q35,graphics=off", "-accel", "tcg,thread=multi", "-cpu", "max"),
            *("-smp", str(self.cpus)),
            *("-m", f"{self.memory_mib}M", "-display", "none", "-no-reboot", "-nodefaults", "-vga", "none"),
            *("-chardev", serial, "-serial", "chardev:serial"),
            *("-chardev", f"socket,id=qmp,fd={qmp_fd}", "-mon", "chardev=qmp,mode=control"),
        ]
        if self.kernel:
            initrd = parts.concatenated(self.initrds, self.work / "initrd")
            # Exit at once on a panic instead of waiting for a timeout.
            append = f"console=ttyS0 panic=-1 {self.append}".strip()
            argv += ["-kernel", str(self.kernel), "-initrd", str(initrd), "-append", append]
        argv += parts.firmware_arguments(self.uefi, self.work)
        for index, disk in enumerate(self.disks, 1):
            argv += disk.arguments(self.work, index)
        argv += parts.nic_arguments(self.nics, f"{self.guest_address}:{self.guest_port}", self.host_port)
        argv += parts.bmc_arguments() if self.bmc else []
        return [*argv, *parts.stick_arguments(self.sticks), *parts.cd_arguments(self.cds), *self.extra]

    def quit(self) -> None:
        """Power it off hard; it may be off already."""
        if self._process is None:
            return
        self._note_cpu()
        with contextlib.suppress(QmpError, AttributeError):
            self.qmp("quit", timeout_s=5)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        (self.work / "initrd").unlink(missing_ok=True)  # as large as the ramdisk

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    # ---- console

    @property
    def console_log(self) -> Path:
        return self.work / "console.log"

    def console(self) -> str:
        """The console output, without escape sequences."""
        text = self.console_log.read_bytes().decode(errors="replace")
        return re.sub(r"\x1b\[[0-9;=?]*[A-Za-z]|\x1b[c()][0B]?|[\r\0]", "", text)

    def wait_for(self, pattern: str, timeout_s: float = PATIENCE_S, fatal: str = HOPELESS) -> "re.Match[str]":
        """The first match of `pattern` on the console. Fails early if the machine exits or `fatal` matches."""
        end = time.monotonic() + timeout_s
        while True:
            alive = self.running  # checked first, so that its last output counts
            text = self.console()
            if found := re.search(pattern, text):
                self._note_cpu()
                return found
            if broken := re.search(fatal, text):
                raise self.failure(f"the machine says: {broken[0]}")
            if not alive:
                raise self.failure(f"the machine ended before it printed {pattern!r}")
            if time.monotonic() > end:
                raise self.failure(f"the machine did not print {pattern!r} within {timeout_s:g} s")
            self._note_cpu()
            time.sleep(POLL_S)

    def failure(self, sentence: str) -> MachineError:
        """An error that includes QEMU's messages and the end of the console log."""
        said = (self.work / "qemu.log").read_text(errors="replace").strip()
        tail = "\n".join(self.console().splitlines()[-TAIL_LINES:])
        return MachineError(f"{sentence}\nQEMU: {said or '(nothing)'}\nend of {self.console_log}:\n{tail}")

    def wait_ready(self, timeout_s: float = PATIENCE_S) -> "Ready":
        """Wait until the agent reports on the console that it listens."""
        found = self.wait_for(READY, timeout_s, f"{HOPELESS}|{FAILED}")
        seconds = time.monotonic() - self.started
        self.ready = Ready(found["version"], found["urls"].split(), found["fingerprint"], seconds, self.cpu_seconds)
        return self.ready

    # ---- network and monitor

    @property
    def url(self) -> str:
        """The agent's URL from outside."""
        return f"https://127.0.0.1:{self.port}"

    def api(self, token: str) -> Api:
        """A client for its agent. The serial console, which shows the certificate's fingerprint, is trusted."""
        if self.ready is None:
            raise MachineError("call wait_ready() first: the console shows the certificate's fingerprint")
        return Api("127.0.0.1", self.port, self.ready.fingerprint, token)

    def plug_stick(self, file: Path, name: str = "plugged") -> None:
        """Insert a USB stick into the running machine."""
        image = {"driver": "file", "filename": str(file)}
        self.qmp("blockdev-add", **{"node-name": name, "driver": "raw", "file": image})
        self.qmp("device_add", driver="usb-storage", bus="usb.0", drive=name, id=f"usb-{name}", serial=f"STICK-{name}")

    def unplug_stick(self, name: str = "plugged") -> None:
        self.qmp("device_del", id=f"usb-{name}")
        self.qmp.wait_event("DEVICE_DELETED")
        self.qmp("blockdev-del", **{"node-name": name})

    def set_cable(self, index: int, plugged: bool) -> None:
        """Plug or unplug the cable of interface `index`, counted from 0."""
        self.qmp("set_link", name=f"nic{index}", up=plugged)

    # ---- cost

    @property
    def cpu_seconds(self) -> float:
        """CPU time used by QEMU; unlike wall time, hardly affected by other load."""
        self._note_cpu()
        return self._cpu_s

    def _note_cpu(self) -> None:
        if self._process is not None:
            with contextlib.suppress(OSError, IndexError):  # it may have ended
                fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
                self._cpu_s = max(self._cpu_s, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))


@dataclass(frozen=True)
class Ready:
    """What the agent reported on the console, and the time until then."""

    version: str
    urls: list[str]
    fingerprint: str
    seconds: float
    cpu_seconds: float


def missing_parts(ramdisk: Path) -> str:
    """A sentence that says what is missing to boot `ramdisk` (path without suffix), or an empty string."""
    for suffix in ("kernel", "initramfs"):
        if not Path(f"{ramdisk}.{suffix}").exists():
            return f"{ramdisk}.{suffix} is missing; build it with make ramdisk (as root)"
    if not any((Path(directory) / QEMU).exists() for directory in os.get_exec_path()):
        return f"{QEMU} is missing; install the package qemu-system-x86"
    return ""
