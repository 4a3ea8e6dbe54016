"""Files added to a measured ramdisk by a second archive, and their reports."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
INITTAB = "usr/lib/agent-router/inittab"
AGENT = r"^agent-router: |/opt/(agent-router|ironic-python-agent)/|/bin/ironic-python-agent"
STANDALONE = "[DEFAULT]\nstandalone = true\n"


def overlay(target: Path, live: bool, standalone: bool = False) -> Path:
    """An archive for the kernel. A live image merges files below /extra; a plain one is the root itself."""
    with tempfile.TemporaryDirectory() as place:
        tree = Path(place)
        root = tree / "extra" if live else tree
        units = root / "etc/systemd/system"
        wants = units / "multi-user.target.wants"
        for directory in (root / "bench", wants, root / "etc/ironic-python-agent.d", (root / INITTAB).parent):
            directory.mkdir(parents=True, exist_ok=True)
        shutil.copy(HERE / "ramdisk_guest/listen", root / "bench")
        shutil.copy(HERE / "ramdisk_guest/report", root / "bench")
        shutil.copy(HERE / "ramdisk_guest/bench-listen.service", units)
        (wants / "bench-listen.service").symlink_to("../bench-listen.service")
        if live:  # for the lean init
            lines = (PROJECT / "ramdisk-elements/agent-router/static" / INITTAB).read_text()
            (root / INITTAB).write_text(f"{lines}::respawn:/bench/listen\n")
        if standalone:
            (root / "etc/ironic-python-agent.d/standalone.conf").write_text(STANDALONE)
        names = sorted(str(path.relative_to(tree)) for path in tree.rglob("*"))
        with target.open("wb") as file:
            subprocess.run(
                ["cpio", "--create", "--format=newc", "--quiet", "--owner=+0:+0"],
                input="\n".join(names).encode(), stdout=file, cwd=tree, check=True,
            )  # fmt: skip
    return target


class Line:
    """The second serial line of a guest: sends commands, receives their output."""

    def __init__(self, place: Path, patience_s: float = 10) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        give_up = time.monotonic() + patience_s
        while self._socket.connect_ex(str(place)):
            if time.monotonic() > give_up:
                raise TimeoutError(f"QEMU does not open {place}")
            time.sleep(0.05)

    def run(self, command: str, timeout_s: float = 120) -> str:
        self._socket.settimeout(timeout_s)
        self._socket.sendall(f"{command}\n".encode())
        said = b""
        while not said.endswith(b"end of answer\n"):
            piece = self._socket.recv(1 << 16)
            if not piece:
                raise ConnectionError("the guest is gone")
            said += piece
        return said.decode(errors="replace").removesuffix("end of answer\n")

    def close(self) -> None:
        self._socket.close()


@dataclass
class Process:
    pid: int
    parent: int = 0
    pss_kib: int = 0
    cpu_s: float = 0.0
    command: str = ""


@dataclass
class Report:
    """The output of ramdisk_guest/report."""

    memory_kib: dict[str, int] = field(default_factory=dict)
    processes: dict[int, Process] = field(default_factory=dict)

    def agent(self) -> list[Process]:
        """The processes of the agent: those running from its environment, and their children."""
        found = {pid for pid, one in self.processes.items() if re.search(AGENT, one.command)}
        while more := {pid for pid, one in self.processes.items() if one.parent in found} - found:
            found |= more
        return [self.processes[pid] for pid in sorted(found)]


def parse(text: str) -> Report:
    report = Report()
    for line in text.splitlines():
        if found := re.match(r"(\w+(?:\(\w+\))?):\s+(\d+) kB$", line):
            report.memory_kib[found[1]] = int(found[2])
        elif found := re.match(r"/proc/(\d+)/(\w+):(.*)$", line):
            pid, name, value = int(found[1]), found[2], found[3]
            process = report.processes.setdefault(pid, Process(pid))
            if name == "smaps_rollup":
                process.pss_kib = int(value.split()[1])
            elif name == "cmdline":
                process.command = value.strip()
            else:
                numbers = value.rpartition(")")[2].split()
                process.parent, process.cpu_s = int(numbers[1]), (int(numbers[11]) + int(numbers[12])) / 100
    return report
