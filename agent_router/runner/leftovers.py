"""Processes that a plugin left behind: find them by what they inherited, end them, reap them.

The runner is a child subreaper, so whatever double-forks out of a plugin becomes its child.
Such a process is recognised by the command's id in its environment or, for a fork of the warm
interpreter, in its title.
"""

import os
import signal
from collections.abc import Iterable

from agent_router.ipc.loop import Loop
from agent_router.linux import proc
from agent_router.runner.command import Command

PAUSE_S, MAX_PAUSE_S = 0.05, 5.0


def leaders_in(cwd: str) -> list[int]:
    """Session leaders (plugins are) that work in a directory; the search goes over all processes."""
    found = []
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
        try:
            if os.readlink(f"/proc/{pid}/cwd") == cwd and os.getsid(pid) == pid:
                found.append(pid)
        except OSError:
            continue
    return found


def kill_marked(parents: Iterable[int], known: set[int], id: str) -> int:
    """SIGKILL every child of `parents` outside `known` that carries the command's id, with its group."""
    killed = 0
    for parent in parents:
        for pid in proc.children(parent):
            if pid not in known and _carries(pid, id.encode()):
                _kill(pid)
                killed += 1
    return killed


def kill_unknown(known: set[int]) -> int:
    """SIGKILL every child of this process that is nobody's: used when no command runs."""
    unknown = [pid for pid in proc.children(os.getpid()) if pid not in known]
    for pid in unknown:
        _kill(pid)
    return len(unknown)


def reap(known: set[int]) -> None:
    """Collect dead strays; plugins of the table are left to their own order of journal and reaping."""
    for pid in proc.children(os.getpid()):
        if pid not in known:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue


class Sweeper:
    """Ends what commands leave behind; `live` are the commands whose processes must be left alone."""

    def __init__(self, loop: Loop, live: dict[str, Command]) -> None:
        self._loop = loop
        self._live = live

    def kill(self, command: Command) -> None:
        known = self._pids() | {command.pid}
        if command.adopted_until or not known.issuperset(proc.children(os.getpid())):
            self._sweep(command.id, known, PAUSE_S)

    def _sweep(self, id: str, known: set[int], pause_s: float) -> None:
        killed = kill_marked((os.getpid(), os.getppid()), known | {os.getpid()}, id)
        if not self._live:
            killed += kill_unknown(known)
        if killed:
            self._loop.later(pause_s, self._again, id, min(2 * pause_s, MAX_PAUSE_S))

    def _again(self, id: str, pause_s: float) -> None:
        """Reap the killed; their own children became ours only now, so look until none is left."""
        known = self._pids()
        reap(known)
        self._sweep(id, known, pause_s)

    def _pids(self) -> set[int]:
        return {command.pid for command in self._live.values()}


def _carries(pid: int, id: bytes) -> bool:
    """Whole words are compared: an id that a client chose may be a part of another."""
    for name, mark in (("environ", b"AGENT_COMMAND_ID=" + id), ("cmdline", id)):
        try:
            with open(f"/proc/{pid}/{name}", "rb") as file:
                text = file.read(1 << 20)
        except OSError:
            continue
        if mark in (text.split(b"\0") if name == "environ" else text.split(b" ", 1)[:1]):
            return True
    return False


def _kill(pid: int) -> None:
    try:
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass  # gone already
