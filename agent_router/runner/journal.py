"""The journal: what was started, what ended, in an order that makes every death of the runner harmless.

Lines, each by one write(2) to an O_APPEND file:

    B boottime {head}           the intent to run, before the process exists
    P id pid boottime           it exists
    X id status reason time message   it ended; written before the process is reaped
    J id                        its verdict is in the history, its process is gone: nothing is left to do

A child without X has not been reaped by us, so its status reaches the supervisor.
"""

import json
import os
from collections.abc import Iterable

from agent_router.ipc.messages import Run
from agent_router.linux.clock import boottime
from agent_router.runner.command import Command

COMPACT_BYTES = 1 << 20
FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class Journal:
    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = os.open(path, FLAGS, 0o600)
        self._size = os.fstat(self._fd).st_size
        self._cut = False  # the last line is half a line

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
        """Rewrite with the live commands only; rename(2) makes it all or nothing."""
        if self._size < COMPACT_BYTES:
            return
        text = b""
        for command in live:
            text += _intent(command)
            if command.pid:
                text += b"P %s %d %.3f\n" % (command.id.encode(), command.pid, command.started_boot)
            if command.reason:
                text += _end(command)
        fd = os.open(self._path + ".new", FLAGS | os.O_TRUNC, 0o600)
        try:
            if os.write(fd, text) != len(text):
                raise OSError("short write")
            os.rename(self._path + ".new", self._path)
        except OSError:
            os.close(fd)
            os.unlink(self._path + ".new")
            return
        os.close(self._fd)
        self._fd, self._size, self._cut = fd, len(text), False

    def replay(self) -> list[Command]:
        """The commands of the journal in order, as far as its lines tell."""
        found: dict[str, Command] = {}
        for line in os.pread(self._fd, self._size, 0).split(b"\n"):
            kind, _, rest = line.partition(b" ")
            try:
                if kind == b"B":
                    asked, _, head_text = rest.partition(b" ")
                    head: Run = json.loads(head_text)
                    found[head["id"]] = Command(head, head_text)
                    found[head["id"]].asked_boot = float(asked)
                elif kind == b"P":
                    id, pid, boot = rest.decode().split()
                    found[id].pid, found[id].started_boot = int(pid), float(boot)
                elif kind == b"X":
                    id, status, reason, at, message = rest.decode().split(" ", 4)
                    found[id].status = None if status == "-" else int(status)
                    found[id].reason, found[id].ended_at, found[id].message = reason, float(at), message
                elif kind == b"J":
                    del found[rest.decode()]
            except (ValueError, KeyError):
                continue  # a line cut short by a full disk
        return list(found.values())


def _intent(command: Command) -> bytes:
    return b"B %.3f %s\n" % (command.asked_boot, command.head_text)


def _end(command: Command) -> bytes:
    status = "-" if command.status is None else str(command.status)
    message = command.message.replace("\n", " ")
    return f"X {command.id} {status} {command.reason} {command.ended_at:.6f} {message}\n".encode()
