"""CPU and memory of a process tree.

CPU time comes from a separate control group for a server and everything it starts (cgroup v1
cpuacct, else cgroup v2), else from /proc, with a resolution of 10 ms.
"""

import contextlib
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """The process and all its descendants."""
    found = [pid]
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split():
                found += tree(int(child))
    return found


def pss_kib(pids: list[int], key: str = "Pss") -> int:
    """Total proportional set size of these processes, KiB; dead ones count as 0."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += int(re.search(rf"^{key}: +(\d+)", text, re.MULTILINE)[1])
    return total


def peak_rss_kib(pids: list[int]) -> int:
    """Sum of each process's peak resident size since reset_peak, KiB."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])
    return total


def reset_peak(pids: list[int]) -> None:
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def tmpfs_bytes(directory: str | Path) -> int:
    """Memory used by the files of a directory on a tmpfs."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
    return total


class CgroupMeter:
    """A child of our own group: call `enter` in the child before exec, then seconds() at any time."""

    numbers = iter(range(1 << 30))

    def __init__(self, parent: Path, file: str, pattern: str, unit: float) -> None:
        self.path = parent / f"agent-router-bench-{os.getpid()}-{next(self.numbers)}"
        self.path.mkdir()
        self._file, self._pattern, self._unit = self.path / file, re.compile(pattern), unit

    def enter(self) -> None:
        (self.path / "cgroup.procs").write_text("0")

    def seconds(self) -> float:
        return int(self._pattern.search(self._file.read_text())[1]) * self._unit

    def pids(self, root: int) -> list[int]:
        return [int(pid) for pid in (self.path / "cgroup.procs").read_text().split()]

    def close(self) -> None:
        for _ in range(100):
            try:
                return self.path.rmdir()
            except OSError:
                time.sleep(0.02)


class ProcMeter:
    """utime and stime of the tree, including reaped descendants; `root` is set after the start."""

    root = 0

    def enter(self) -> None:
        pass

    def seconds(self) -> float:
        total = 0
        for pid in tree(self.root):
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
                total += sum(map(int, fields[11:15]))
        return total / TICKS

    def pids(self, root: int) -> list[int]:
        return tree(root)

    def close(self) -> None:
        pass


Meter = CgroupMeter | ProcMeter


def choose(wanted: str = "") -> tuple[str, Callable[[], Meter]]:
    """The best meter available on this machine: its name and its factory. `wanted`: v1, v2 or proc."""
    kinds = {
        "v1": ("cpuacct", "cpuacct.usage", r"(\d+)", 1e-9),
        "v2": ("", "cpu.stat", r"usage_usec (\d+)", 1e-6),
    }
    for kind, (controller, *how) in kinds.items():
        parent = _own_group(controller)
        if wanted in ("", kind) and parent is not None:
            with contextlib.suppress(OSError, TypeError):
                _try(CgroupMeter(parent, *how))
                return f"cgroup {kind}", lambda parent=parent, how=how: CgroupMeter(parent, *how)
    return "/proc, resolution 10 ms", ProcMeter


def _own_group(controller: str) -> Path | None:
    """The directory of our own group in this controller's hierarchy ("" is cgroup v2)."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    kind = "cgroup" if controller else "cgroup2"
    places = [line[1] for line in mounts if line[2] == kind and (not controller or controller in line[3].split(","))]
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if places and (controller in controllers.split(",") if controller else controllers == ""):
            return Path(places[0] + path)
    return None


def _try(meter: CgroupMeter) -> None:
    """Raise OSError if a process cannot be moved into the group and measured there."""
    try:
        pid = os.fork()
        if pid == 0:
            try:
                meter.enter()
                os._exit(0)
            finally:
                os._exit(1)
        if os.waitpid(pid, 0)[1] or meter.seconds() <= 0:
            raise OSError("this control group does not measure")
    finally:
        meter.close()


def kill(pids: list[int]) -> None:
    """Kill these processes, which must belong to the caller."""
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
