"""What a plugin has said stays, also when it opens its log, answer or events anew with `>`.

A shell empties a file that it opens with `>`, and /dev/stderr is such a file: without this, `echo failed >/dev/stderr`
would take away what the log said before, and `>"$AGENT_EVENTS"` end a critical section. The kernel tells of each open
before it happens: then all that was said is taken in. Where it does not tell (without root), the loss is noticed.
"""

import contextlib
import os
from collections.abc import Callable

from agent_router.ipc.loop import Loop
from agent_router.linux import libc
from agent_router.runner import events
from agent_router.runner.command import Command


class Guard:
    """`look` takes in what a command has written."""

    def __init__(self, loop: Loop, look: Callable[[Command], None]) -> None:
        self._look = look
        self._commands: dict[tuple[int, int], tuple[Command, int]] = {}
        try:
            self._opens: libc.OpenGuard | None = libc.OpenGuard()
            loop.watch(self._opens.fd, self._opened)
        except OSError:
            self._opens = None

    def add(self, command: Command) -> None:
        if self._opens is not None:
            for fd in _files(command):
                self._commands[_identity(fd)] = command, fd
                self._opens.add(fd)

    def remove(self, command: Command) -> None:
        if self._opens is not None:
            for fd in _files(command):
                self._commands.pop(_identity(fd), None)
                self._opens.remove(fd)

    def _opened(self, _: int) -> None:
        assert self._opens is not None
        for fd, pid in self._opens.read():
            try:
                with contextlib.suppress(OSError):
                    self._before_open(_identity(fd), pid)
            finally:
                self._opens.allow(fd)

    def _before_open(self, file: tuple[int, int], pid: int) -> None:
        command, fd = self._commands.get(file, (None, -1))
        # A process of our session is the agent itself, which reads a log.
        if command is None or os.getsid(pid) == os.getsid(0):
            return
        self._look(command)
        if fd == command.events:
            events.before_emptied(command)
        for written in (command.out, command.log):
            if written is not None and written.fd == fd:
                written.before_emptied()


def _files(command: Command) -> list[int]:
    return [written.fd for written in (command.out, command.log) if written is not None] + [command.events]


def _identity(fd: int) -> tuple[int, int]:
    info = os.fstat(fd)
    return info.st_dev, info.st_ino
