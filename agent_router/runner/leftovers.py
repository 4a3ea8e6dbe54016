"""Processes that a plugin left behind: find them by what they inherited, end them, reap them.

The runner is a child subreaper, so whatever double-forks out of a plugin becomes its child, and after
its death the supervisor's. A process belongs to the command whose mark it carries: a resource limit.
"""

import contextlib
import os
import resource
import signal
import zlib
from collections.abc import Iterable

from agent_router.ipc.loop import Loop
from agent_router.linux import proc
from agent_router.runner.command import Command

# getrlimit(2): kept and inherited, but without any effect since Linux 2.4.25. Unlike a variable or a title it
# survives `env -i`, setsid and exec.
RLIMIT_LOCKS = 10
FLAG = 1 << 60
PAUSE_S, MAX_PAUSE_S = 0.05, 5.0
MAX_ENDED = 20_000


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


class Marks:
    """The number that every process of a command carries; `state` keeps agents on one machine apart."""

    def __init__(self, state: str) -> None:
        self._state = FLAG | (zlib.crc32(os.fsencode(state)) & 0xFFFFFF) << 32
        self._own, self._hard = resource.getrlimit(RLIMIT_LOCKS)

    def of(self, id: str) -> int:
        return self._state | zlib.crc32(id.encode())

    def put_on(self, id: str) -> None:
        """What this process starts from now on carries it."""
        self._set(self.of(id))

    def take_off(self) -> None:
        self._set(self._own)

    def _set(self, mark: int) -> None:
        # Somebody may limit the limit: then only what is left when no command runs is found.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(RLIMIT_LOCKS, (mark, self._hard))

    def on(self, pid: int) -> int:
        """The mark on a process; 0 if it has none of this agent."""
        try:
            mark = resource.prlimit(pid, RLIMIT_LOCKS)[0]
        except OSError:
            return 0
        return mark if mark >> 32 == self._state >> 32 else 0


class Sweeper:
    """Ends what commands leave behind; `live` are the commands whose processes must be left alone."""

    def __init__(self, loop: Loop, state: str, live: dict[str, Command]) -> None:
        self._loop = loop
        self._live = live
        self.marks = Marks(state)
        self._ended: dict[int, None] = {}  # marks of commands that are over, the latest last

    def has_ended(self, ids: Iterable[str]) -> None:
        for id in ids:
            self._ended[self.marks.of(id)] = None
        while len(self._ended) > MAX_ENDED:
            del self._ended[next(iter(self._ended))]

    def kill(self, command: Command) -> None:
        """SIGKILL to all that belongs to a command but is not its process."""
        known = self._pids() | {command.pid}
        if command.adopted_until or not known.issuperset(proc.children(os.getpid())):
            self._sweep(known, self.marks.of(command.id), PAUSE_S)

    def look(self) -> None:
        """To be called now and then: end and reap what nobody has asked for."""
        reap(self._pids())
        self._sweep(self._pids(), 0, PAUSE_S)

    def _sweep(self, known: set[int], unwanted: int, pause_s: float) -> None:
        reap(known)
        strays = [*self._own_strays(known, unwanted), *self._inherited_strays(known, unwanted)]
        for pid in strays:
            _kill(pid)
        if strays:
            self._loop.later(pause_s, self._again, unwanted, min(2 * pause_s, MAX_PAUSE_S))

    def _again(self, unwanted: int, pause_s: float) -> None:
        """Reap the killed; their own children became ours only now, so look until none is left."""
        self._sweep(self._pids(), unwanted, pause_s)

    def _own_strays(self, known: set[int], unwanted: int) -> list[int]:
        """Children of this process: whatever no live command has started, without exception when none is live."""
        wanted = {self.marks.of(id) for id in self._live} - {unwanted}
        found = ((pid, self.marks.on(pid)) for pid in proc.children(os.getpid()) if pid not in known)
        return [pid for pid, mark in found if not wanted or (mark and mark not in wanted)]

    def _inherited_strays(self, known: set[int], unwanted: int) -> list[int]:
        """Children of our parent, who inherits what a dead runner leaves: only of commands that are over."""
        wanted = {self.marks.of(id) for id in self._live} - {unwanted}
        others = (pid for pid in proc.children(os.getppid()) if pid not in known and pid != os.getpid())
        found = ((pid, self.marks.on(pid)) for pid in others)
        return [pid for pid, mark in found if mark and mark not in wanted and (mark == unwanted or mark in self._ended)]

    def _pids(self) -> set[int]:
        return {command.pid for command in self._live.values()}


def reap(known: set[int]) -> None:
    """Collect dead strays; plugins of the table are left to their own order of journal and reaping."""
    for pid in proc.children(os.getpid()):
        if pid not in known:
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                continue


def _kill(pid: int) -> None:
    try:
        if os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
    except OSError:
        pass  # gone already
