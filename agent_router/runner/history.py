"""The bounded history: finished command objects, one JSON text a line, in a file on tmpfs.

The file is what GET /v1/commands/ sends, so listing 10,000 commands is one read(2). Finding
one by its id is a search of the text: rare, and cheaper than an index kept in memory.
"""

import contextlib
import json
import os
from collections import deque
from collections.abc import Callable

from agent_router.ipc.messages import HistoryPlace
from agent_router.ipc.state import SEPARATOR
from agent_router.runner import state_files

MAX_BYTES = 32 << 20
COPY_BYTES = 1 << 20


class History:
    """`keep` finished commands at the most, MAX_BYTES at the most; the oldest quarter goes when full.

    What finds no room in the state directory waits for it in memory, as many as `keep` and MAX_BYTES allow.
    """

    def __init__(self, path: str, keep: int) -> None:
        self.path = path
        self._keep = keep
        self._fd = state_files.open_own(path)
        self._late: deque[tuple[bytes, Callable[[], object]]] = deque()
        text = self._read()
        whole = text[: text.rfind(b"\n") + 1]
        if len(whole) != len(text):  # the runner died while it wrote: drop the half record
            os.ftruncate(self._fd, len(whole))
        self.size, self.generation = len(whole), os.fstat(self._fd).st_ino
        records, bad = _sort_out(whole)
        self.count = len(records)
        if bad:
            state_files.keep_lines(path, bad, "records")
            self._replace(b"".join(record + SEPARATOR for record in records))

    @property
    def fd(self) -> int:
        return self._fd

    def append(self, record: bytes, then: Callable[[], object] = int) -> None:
        """Keep one finished command: a JSON object in one line that begins with its id.

        `then` is called when it is in the file.
        """
        self._late.append((record + SEPARATOR, then))
        self.write_late()
        while len(self._late) > 1 and self._too_late():
            line, then = self._late.popleft()
            print(f"<3>history: there is no room; a command is forgotten: {line[:50]!r}", flush=True)
            then()

    def _too_late(self) -> bool:
        return len(self._late) > self._keep or sum(len(line) for line, _ in self._late) > MAX_BYTES

    def write_late(self) -> None:
        """Write what waits, as far as there is room."""
        while self._late:
            line, then = self._late[0]
            try:
                self._write(line)
            except OSError as error:
                print(f"<3>history: {error}; {len(self._late)} ended commands wait for room in memory", flush=True)
                return
            self._late.popleft()
            then()

    def write_anew(self) -> None:
        """The file is gone from its directory: everything again, in a new one."""
        self._replace(self._read())

    def _write(self, line: bytes) -> None:
        if os.write(self._fd, line) != len(line):
            os.ftruncate(self._fd, self.size)
            raise OSError("short write")
        self.size += len(line)
        self.count += 1
        if self.count > self._keep * 1.25 or self.size > MAX_BYTES:
            self._shrink()

    def find(self, id: str) -> bytes | None:
        """The record of a command, or None."""
        text = b"\n" + self._read() + b"".join(line for line, _ in self._late)
        at = text.rfind(b'\n{"id":"%s"' % id.encode()) + 1
        return text[at : text.index(SEPARATOR, at)] if at else None

    def place(self) -> HistoryPlace:
        """Where a reader finds the records: that much of that file, if it is still the same file, and `late`."""
        late = [line.removesuffix(SEPARATOR).decode() for line, _ in self._late]
        return {"path": self.path, "size": self.size, "generation": self.generation, "late": late}

    def ids(self) -> set[str]:
        return {line[7 : line.index(b'"', 7)].decode() for line in self._read().split(SEPARATOR) if line}

    def _read(self) -> bytes:
        return os.pread(self._fd, os.fstat(self._fd).st_size, 0)

    def _shrink(self) -> None:
        """Keep the newest records; where there is no room for a new file, all of them."""
        with contextlib.suppress(OSError):
            self._replace(self._read()[self._oldest_to_keep() :])

    def _replace(self, text: bytes) -> None:
        """Put these records into a new file; an OSError leaves the old one."""
        new = self.path + ".new"
        state_files.clear(new)
        fd = os.open(new, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_EXCL, 0o600)
        try:
            for at in range(0, len(text), COPY_BYTES):
                part = text[at : at + COPY_BYTES]
                if os.write(fd, part) != len(part):
                    raise OSError("short write")
            os.rename(new, self.path)
        except OSError:
            os.close(fd)
            os.unlink(new)
            raise
        os.close(self._fd)
        self._fd, self.size, self.count = fd, len(text), text.count(SEPARATOR)
        self.generation = os.fstat(fd).st_ino

    def _oldest_to_keep(self) -> int:
        """Where the first record begins that is among the newest `keep` and in the last three quarters of MAX_BYTES."""
        text = self._read()
        start, drop = 0, self.count - self._keep
        while drop > 0 or self.size - start > MAX_BYTES * 3 // 4:
            after = text.index(SEPARATOR, start) + len(SEPARATOR)
            if after == len(text):
                break
            start, drop = after, drop - 1
        return start


def _sort_out(text: bytes) -> tuple[list[bytes], list[bytes]]:
    """The records in a file, each id once, and the lines that are none."""
    records: dict[str, bytes] = {}
    bad = []
    for line in text.split(b"\n")[:-1]:
        record = line.removesuffix(b",")
        try:
            found = json.loads(record)
            if not record.startswith(b'{"id":"') or record == line or found["id"] in records:
                raise ValueError("no record of ours")
            float(found["started_at"])
        except (ValueError, TypeError, LookupError, RecursionError):
            bad.append(line)
        else:
            records[found["id"]] = record
    return list(records.values()), bad
