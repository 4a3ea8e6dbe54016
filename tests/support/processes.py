"""Processes as /proc shows them."""

import contextlib
import os
import time

from tests.support.waiting import HANG_S


def pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def read(pid: int, name: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read()
    except OSError:
        return b""


def stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the state on; empty if there is no such process."""
    return read(pid, "stat").rpartition(b")")[2].decode().split()


def alive(pid: int) -> bool:
    """A zombie is not alive."""
    fields = stat(pid)
    return bool(fields) and fields[0] not in "ZX"


def parent(pid: int) -> int:
    fields = stat(pid)
    return int(fields[1]) if fields else 0


def started(pid: int) -> int:
    """Start time in clock ticks since boot."""
    return int(stat(pid)[19])


def title(pid: int) -> str:
    return read(pid, "cmdline").rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")


def children(pid: int) -> list[int]:
    return [int(text) for text in read(pid, f"task/{pid}/children").split()]


def zombies(above: int) -> list[int]:
    return [pid for pid in children(above) if stat(pid)[:1] == ["Z"]]


def rss_kib(pid: int) -> int:
    """Private memory: what a leak makes grow (pages shared with the parent do not count)."""
    lines = read(pid, "smaps_rollup").decode().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean", "Private_Dirty")))


def marked(variable: str, root: str) -> list[int]:
    """Every process that was started with variable=root, or works below `root`; zombies cannot be told."""
    found = []
    mark = f"{variable}={root}".encode()
    for pid in pids():
        cwd = ""
        with contextlib.suppress(OSError):
            cwd = os.readlink(f"/proc/{pid}/cwd")
        environ = read(pid, "environ")
        if mark in environ.split(b"\0") or f"{root}/".encode() in environ or f"{cwd}/".startswith(f"{root}/"):
            found.append(pid)
    return found


def describe(pid: int) -> str:
    return f"{pid} ({' '.join(stat(pid)[:2])}) {title(pid)}"


def kill(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def gone(pid: int) -> bool:
    """Whether the process ends."""
    give_up = time.monotonic() + HANG_S
    while alive(pid):
        if time.monotonic() > give_up:
            return False
        time.sleep(0.01)
    return True
