"""Boot one ramdisk in QEMU until its agent responds, and measure time, CPU and memory."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import os
import re
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ramdisk_guest as guest

sys.path.insert(0, str(guest.PROJECT / "tools/ramdisk"))

from machine import HOST, Machine
from machine_parts import Disk, Nic

MEMORY_MIB = 3072
DISK_MIB = 8192  # sparse; IPA waits half a minute for a disk of 4 GiB or more
POLL_S = 0.25
ANSWER_S = 1.0  # QEMU's forward accepts before the guest listens, so waiting longer is useless
PATIENCE_S = 1200.0
CPU_LIMIT_S = 500.0
# Idle: QEMU uses less than this share of a CPU for some seconds.
REST_SHARE, REST_S, REST_PATIENCE_S = 0.3, 4, 90
MAC = "52:54:00:0a:0e:01"
HOPELESS = r"Kernel panic|cannot be mounted|System is deadlocked on memory"
MARKS = {"init": r"Run /init as init process", "systemd": r"systemd\[1\]: systemd \d+"}


@dataclass(frozen=True)
class Image:
    """`path` without its suffix; `live`: a squashfs in a small initramfs; `standalone`: IPA
    that asks no conductor."""

    name: str
    path: Path
    live: bool = True
    append: str = ""
    standalone: bool = False

    @property
    def kernel(self) -> Path:
        return Path(f"{self.path}.kernel")

    @property
    def initramfs(self) -> Path:
        return Path(f"{self.path}.initramfs")


@dataclass
class Boot:
    """The cost of one boot: times and CPU seconds since QEMU started. `failure`: why the agent never responded."""

    cpu_s: dict[str, float] = field(default_factory=dict)
    wall_s: dict[str, float] = field(default_factory=dict)
    taken_mb: float = 0.0
    used_mb: float = 0.0  # the same without memory reserved by the kernel at boot
    pss_mib: float = 0.0
    memory_kib: dict[str, int] = field(default_factory=dict)
    biggest: list[str] = field(default_factory=list)
    extra: dict[str, str] = field(default_factory=dict)
    scheme: str = ""
    failure: str = ""


def boot(
    image: Image,
    work: Path,
    ironic_port: int,
    memory_mib: int = MEMORY_MIB,
    commands: tuple[str, ...] = (),
    report: bool = True,
) -> Boot:
    """One boot. `commands` run in the guest at the end, for debugging."""
    work.mkdir(parents=True, exist_ok=True)
    extra = guest.overlay(work / "overlay.cpio", image.live, image.standalone)
    serial = work / "line"
    serial.unlink(missing_ok=True)
    # The same for all. PXE boot loaders add BOOTIF; without it, IPA's image looks for virtual media for 30 s.
    append = f"BOOTIF=01-{MAC.replace(':', '-')} ipa-api-url=http://{HOST}:{ironic_port} {image.append}"
    machine = Machine(
        work,
        image.kernel,
        (image.initramfs, extra),
        append,
        memory_mib=memory_mib,
        bmc=False,
        disks=(Disk("BENCH", DISK_MIB),),
        nics=(Nic(MAC),),
        extra=("-chardev", f"socket,id=line,path={serial},server=on,wait=off", "-serial", "chardev:line"),
    )
    with _lock(), machine:
        return _measure(machine, serial, memory_mib, commands, report)


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    """BENCH_LOCK: a file that other programs also lock while they run a machine."""
    path = os.environ.get("BENCH_LOCK")
    if not path:
        yield
        return
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _measure(machine: Machine, serial: Path, memory_mib: int, commands: tuple[str, ...], report: bool) -> Boot:
    result, stop = Boot(), threading.Event()
    watcher = threading.Thread(target=_watch, args=(machine, result, stop), daemon=True)
    watcher.start()
    try:
        _first_answer(machine, result)
        if not result.failure and (report or commands):
            _rest(machine)
            line = guest.Line(serial)
            _note_memory(result, guest.parse(line.run("/bench/report")), memory_mib)
            result.extra = {command: line.run(command) for command in commands}
            line.close()
    finally:
        stop.set()
        watcher.join()
    return result


def _watch(machine: Machine, result: Boot, stop: threading.Event) -> None:
    """Record when marks appear on the console, and stop waiting for a machine that will never respond."""
    while not stop.wait(0.05):
        cpu_s, text = machine.cpu_seconds, machine.console()
        for name, pattern in MARKS.items():
            if name not in result.cpu_s and re.search(pattern, text):
                result.cpu_s[name], result.wall_s[name] = cpu_s, time.monotonic() - machine.started
        if "answer" in result.cpu_s:
            continue
        if found := re.search(HOPELESS, text):
            result.failure = found[0]
        elif cpu_s > CPU_LIMIT_S or time.monotonic() - machine.started > PATIENCE_S:
            result.failure = f"no response after {cpu_s:.0f} CPU s"


def _first_answer(machine: Machine, result: Boot) -> None:
    while not result.failure:
        begin = time.monotonic()
        for scheme in ("https", "http"):
            if not _answers(scheme, machine.port):
                continue
            result.cpu_s["answer"], result.wall_s["answer"] = machine.cpu_seconds, time.monotonic() - machine.started
            result.scheme = scheme
            return
        if not machine.running:
            result.failure = result.failure or "the machine ended"
        time.sleep(max(0.0, POLL_S - (time.monotonic() - begin)))


def _answers(scheme: str, port: int) -> bool:
    """One complete response to GET /v1/status, without checking the certificate."""
    if scheme == "https":
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=ANSWER_S, context=context
        )
    else:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
    with contextlib.closing(connection):
        try:
            connection.request("GET", "/v1/status")
            answer = connection.getresponse()
            answer.read()
        except (OSError, http.client.HTTPException):
            return False
    return answer.status == 200


def _rest(machine: Machine) -> None:
    """Wait until the guest is idle."""
    give_up, quiet = time.monotonic() + REST_PATIENCE_S, 0
    while quiet < REST_S and time.monotonic() < give_up:
        before = machine.cpu_seconds
        time.sleep(1)
        quiet = quiet + 1 if machine.cpu_seconds - before < REST_SHARE else 0


def _note_memory(result: Boot, report: guest.Report, memory_mib: int) -> None:
    result.memory_kib = report.memory_kib
    result.taken_mb = (memory_mib - report.memory_kib["MemAvailable"] / 1024) * 1.048576
    result.used_mb = (report.memory_kib["MemTotal"] - report.memory_kib["MemAvailable"]) * 1.024e-3
    result.pss_mib = sum(one.pss_kib for one in report.agent()) / 1024
    biggest: list[Any] = sorted(report.processes.values(), key=lambda one: -one.pss_kib)[:12]
    result.biggest = [f"{one.pss_kib} KiB, {one.cpu_s:.2f} CPU s: {one.command[:100]}" for one in biggest]
