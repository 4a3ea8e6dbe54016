"""The bounded history: finished command objects, one JSON text a line, in a file on tmpfs.

The file is what GET /v1/commands/ sends, so listing 10,000 commands is one read(2). Finding
one by its id is a search of the text: rare, and cheaper than an index kept in memory.
"""

import os
from typing import Any

MAX_BYTES = 32 << 20
SEPARATOR = b",\n"


class History:
    """`keep` finished commands at the most, MAX_BYTES at the most; the oldest quarter goes when full."""

    def __init__(self, path: str, keep: int) -> None:
        self.path = path
        self._keep = keep
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        text = self._read()
        whole = text[: text.rfind(SEPARATOR) + len(SEPARATOR)] if SEPARATOR in text else b""
        if len(whole) != len(text):  # the runner died while it wrote: drop the half record
            os.ftruncate(self._fd, len(whole))
        self.size = len(whole)
        self.count = whole.count(SEPARATOR)
        self.generation = os.fstat(self._fd).st_ino

    def append(self, record: bytes) -> None:
        """Keep one finished command: a JSON object in one line that begins with its id."""
        line = record + SEPARATOR
        if os.write(self._fd, line) != len(line):
            os.ftruncate(self._fd, self.size)
            raise OSError("short write")
        self.size += len(line)
        self.count += 1
        if self.count > self._keep * 1.25 or self.size > MAX_BYTES:
            self._shrink()

    def find(self, id: str) -> bytes | None:
        """The record of a command, or None."""
        text = b"\n" + self._read()
        at = text.rfind(b'\n{"id":"%s"' % id.encode()) + 1
        return text[at : text.index(SEPARATOR, at)] if at else None

    def place(self) -> dict[str, Any]:
        """Where a reader finds the records: that much of that file, if it is still the same file."""
        return {"path": self.path, "size": self.size, "generation": self.generation}

    def ids(self) -> set[str]:
        return {line[7 : line.index(b'"', 7)].decode() for line in self._read().split(SEPARATOR) if line}

    def _read(self) -> bytes:
        return os.pread(self._fd, os.fstat(self._fd).st_size, 0)

    def _shrink(self) -> None:
        lines = self._read().split(SEPARATOR)[:-1]
        kept = lines[-self._keep :]
        while len(kept) > 1 and sum(map(len, kept)) > MAX_BYTES * 3 // 4:
            kept = kept[len(kept) // 4 + 1 :]
        text = b"".join(line + SEPARATOR for line in kept)
        fd = os.open(self.path + ".new", os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_TRUNC, 0o600)
        os.write(fd, text)
        os.rename(self.path + ".new", self.path)
        os.close(self._fd)
        self._fd, self.size, self.count = fd, len(text), len(kept)
        self.generation = os.fstat(fd).st_ino
