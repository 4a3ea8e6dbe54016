"""Processes that a plugin left behind: find them by what they inherited, end them, reap them.

The runner is a child subreaper, so whatever double-forks out of a plugin becomes its child.
Such a process is recognised by the command's id in its environment or, for a fork of the warm
interpreter, in its title.
"""

import os
import signal
from collections.abc import Iterable


def children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
            return [int(text) for text in file.read().split()]
    except OSError:
        return []


def kill_marked(parents: Iterable[int], known: set[int], id: str) -> int:
    """SIGKILL every child of `parents` outside `known` that carries the command's id, with its group."""
    killed = 0
    for parent in parents:
        for pid in children(parent):
            if pid not in known and _carries(pid, id.encode()):
                _kill(pid)
                killed += 1
    return killed


def kill_unknown(known: set[int]) -> int:
    """SIGKILL every child of this process that is nobody's: used when no command runs."""
    unknown = [pid for pid in children(os.getpid()) if pid not in known]
    for pid in unknown:
        _kill(pid)
    return len(unknown)


def reap(known: set[int]) -> None:
    """Collect dead strays; plugins of the table are left to their own order of journal and reaping."""
    for pid in children(os.getpid()):
        if pid not in known:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue


def _carries(pid: int, mark: bytes) -> bool:
    for name in ("environ", "cmdline"):
        try:
            with open(f"/proc/{pid}/{name}", "rb") as file:
                if mark in file.read(1 << 20):
                    return True
        except OSError:
            continue
    return False


def _kill(pid: int) -> None:
    try:
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass  # gone already


def start_ticks(pid: int) -> int:
    """Start time of a process in clock ticks since boot (proc(5) field 22); -1 if it is gone."""
    fields = stat_fields(pid)
    return int(fields[19]) if fields else -1


def stat_fields(pid: int) -> list[bytes]:
    """Fields of /proc/PID/stat from the state (field 3) on; empty if the process is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rsplit(b")", 1)[1].split()
    except OSError:
        return []
