"""The journal: what was started, what ended, in an order that makes every death of the runner harmless.

Lines, each by one write(2) to an O_APPEND file:

    B boottime {head}           the intent to run, before the process exists
    P id pid boottime           it exists
    X id status reason time message   it ended; written before the process is reaped
    J id                        its verdict is in the history, its process is gone: nothing is left to do

A child without X has not been reaped by us, so its status reaches the supervisor.
"""

import contextlib
import json
import math
import os
from collections.abc import Iterable

from agent_router.ipc.messages import Run
from agent_router.linux.clock import boottime
from agent_router.runner import checks, state_files
from agent_router.runner.command import Command

COMPACT_BYTES = 1 << 20


class Journal:
    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = state_files.open_own(path)
        self._size = os.fstat(self._fd).st_size
        self._cut = False  # the last line is half a line

    @property
    def fd(self) -> int:
        return self._fd

    def begin(self, command: Command) -> None:
        command.asked_boot = boottime()
        self._write(_intent(command))

    def started(self, command: Command) -> None:
        command.started_boot = boottime()
        self._write(b"P %s %d %.3f\n" % (command.id.encode(), command.pid, command.started_boot))

    def ended(self, command: Command) -> None:
        self._write(_end(command))

    def judged(self, command: Command) -> None:
        self._write(b"J %s\n" % command.id.encode())

    def _write(self, line: bytes) -> None:
        if self._cut:
            line = b"\0\n" + line  # what has this at its end is passed over
        try:
            written = os.write(self._fd, line)
        except OSError as error:  # a full state directory must not end the runner
            print(f"<3>journal: {error.strerror}; a restart of the agent may forget commands", flush=True)
            return
        self._cut = written < len(line)
        self._size += written

    def compact_if_large(self, live: Iterable[Command]) -> None:
        if self._size >= COMPACT_BYTES:
            with contextlib.suppress(OSError):  # no room: it goes on in the old file
                self.compact(live)

    def compact(self, live: Iterable[Command]) -> None:
        """Rewrite with the live commands only; rename(2) makes it all or nothing."""
        text = b""
        for command in live:
            text += _intent(command)
            if command.pid:
                text += b"P %s %d %.3f\n" % (command.id.encode(), command.pid, command.started_boot)
            if command.reason:
                text += _end(command)
        new = self._path + ".new"
        state_files.clear(new)
        fd = state_files.open_own(new)
        try:
            if os.write(fd, text) != len(text):
                raise OSError("short write")
            os.rename(new, self._path)
        except OSError:
            os.close(fd)
            os.unlink(new)
            raise
        os.close(self._fd)
        self._fd, self._size, self._cut = fd, len(text), False

    def replay(self) -> list[Command]:
        """The commands of the journal in order, as far as its lines tell."""
        found: dict[str, Command] = {}
        unreadable = []
        for line in os.pread(self._fd, self._size, 0).split(b"\n"):
            try:
                _replay(found, line)
            except LookupError:
                continue  # of a command whose intent found no room
            except (ValueError, TypeError, OverflowError, RecursionError):
                unreadable.append(line)
        if unreadable:
            state_files.keep_lines(self._path, unreadable, "lines")
            with contextlib.suppress(OSError):
                self.compact(found.values())  # told once, not at each start
        return list(found.values())


def _replay(found: dict[str, Command], line: bytes) -> None:
    kind, _, rest = line.partition(b" ")
    if kind == b"B":
        asked, _, head_text = rest.partition(b" ")
        head: Run = checks.message(json.loads(head_text))
        command = Command(head, head_text)
        command.asked_boot = _finite(asked)
        found[head["id"]] = command
    elif kind == b"P":
        id, pid, boot = rest.decode().split()
        if int(pid) < 2:
            raise ValueError("no plugin has this pid")
        found[id].pid, found[id].started_boot = int(pid), _finite(boot)
    elif kind == b"X":
        id, status, reason, at, message = rest.decode().split(" ", 4)
        command, status_number, ended_at = found[id], None if status == "-" else int(status), _finite(at)
        command.status, command.reason, command.ended_at, command.message = status_number, reason, ended_at, message
    elif kind == b"J":
        del found[rest.decode()]
    elif line.strip(b"\0"):
        raise ValueError("none of our lines")


def _finite(text: str | bytes) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("not a time")
    return number


def _intent(command: Command) -> bytes:
    return b"B %.3f %s\n" % (command.asked_boot, command.head_text)


def _end(command: Command) -> bytes:
    status = "-" if command.status is None else str(command.status)
    message = command.message.replace("\n", " ")
    return f"X {command.id} {status} {command.reason} {command.ended_at:.6f} {message}\n".encode()
