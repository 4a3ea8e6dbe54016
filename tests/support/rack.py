"""The machines of these tests, one after the other on one place: two emulated ones at a time would only be slower."""

import base64
import io
import shutil
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from machine import Machine
from pinned import Api

TOKEN = "0123456789abcdef-acceptance"
STATIC_ADDRESS = "10.0.2.77"


@dataclass
class Boot:
    """For the table at the end of the run."""

    name: str
    machine: Machine
    up_s: float = 0.0
    up_cpu_s: float = 0.0
    off_s: float = 0.0


@dataclass
class Rack:
    """`get(name, make)` is the running machine of that name; the one that ran before is switched off for it."""

    root: Path
    boots: list[Boot] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # figures that tests have measured
    _failed: dict[str, Exception] = field(default_factory=dict)

    def get(self, name: str, make: Callable[[Path], Machine]) -> Machine:
        """Booted once; when that failed, every test that wants it gets the reason at once."""
        if name in self._failed:
            raise self._failed[name]
        if self.boots and self.boots[-1].name == name and self.boots[-1].machine.running:
            return self.boots[-1].machine
        self.clear()
        work = self.root / name
        shutil.rmtree(work, ignore_errors=True)
        try:
            machine = make(work)
            boot = Boot(name, machine)
            self.boots.append(boot)
            machine.start()
            machine.wait_ready()
            self.note_up()
        except Exception as error:
            self._failed[name] = error
            raise
        return machine

    def start(self, name: str, machine: Machine) -> Machine:
        """One that boots something else than the ramdisk: it is for the test to wait for it."""
        self.clear()
        self.boots.append(Boot(name, machine))
        return machine.start()

    def note_up(self) -> None:
        boot = self.boots[-1]
        boot.up_s, boot.up_cpu_s = time.monotonic() - boot.machine.started, boot.machine.cpu_seconds

    def clear(self) -> None:
        if self.boots and self.boots[-1].machine.running:
            boot = self.boots[-1]
            boot.machine.quit()
            boot.off_s = time.monotonic() - boot.machine.started

    def table(self) -> list[str]:
        lines = [f"{'boot':24} {'up, s':>8} {'CPU s':>8} {'off, s':>8} {'CPU s':>8}  firmware, memory"]
        for boot in self.boots:
            kind = f"{'UEFI' if boot.machine.uefi else 'BIOS'}, {boot.machine.memory_mib} MiB"
            lines.append(
                f"{boot.name:24} {boot.up_s:8.1f} {boot.up_cpu_s:8.1f} {boot.off_s:8.1f} "
                f"{boot.machine.cpu_seconds:8.1f}  {kind}"
            )
        return lines + self.notes


@dataclass(frozen=True)
class Guest:
    """A running machine and the agent in it."""

    machine: Machine
    api: Api

    def shell(self, script: str) -> str:
        """What a shell in the guest prints; it must succeed. The plugin is that of overlay.py."""
        answer = self.api.call("test.shell", script=script)
        assert answer["status"] == 0, f"{script}: {answer}"
        output: str = answer["output"]
        return output.strip()

    def disk_file(self, serial: str) -> Path:
        """The file behind a disk. What the guest has flushed stands in it at once."""
        return next(
            disk.file or self.machine.work / f"{serial}.raw" for disk in self.machine.disks if disk.serial == serial
        )

    def device(self, serial: str) -> str:
        """Its device file in the guest."""
        found = [disk["name"] for disk in self.api.call("disk.list")["disks"] if disk["serial"] == serial]
        assert len(found) == 1, f"disks with the serial {serial}: {found}"
        name: str = found[0]
        return name


def collected(guest: Guest) -> dict[str, bytes]:
    """The files in the archive of log.collect."""
    packed = base64.b64decode(guest.api.call("log.collect")["system_logs"])
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        return {member.name: file.read() for member in archive if (file := archive.extractfile(member))}


def first_difference(image: Path, disk: Path) -> int | None:
    """The MiB in which `disk` has something else than `image`, or None. Comparing bytes, pytest would print them."""
    with image.open("rb") as first, disk.open("rb") as second:
        while piece := first.read(1 << 20):
            if second.read(len(piece)) != piece:
                return (first.tell() - 1) >> 20
    return None
